"""The lived-in host has the cases it promises; `make run`, which test_run.py shows, seeds the other kind of engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import machine, trees
from tests.lab.engine import LabEngine
from tests.lab.seed import BASE_NAME_LABEL, Host, make_young_dangling, seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.registry import LabRegistry

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", params=["containerd"])
def lived_in(request: pytest.FixtureRequest, registry: LabRegistry) -> Iterator[tuple[LabEngine, Host]]:
    """An engine of its own, seeded once."""
    machine.ensure(machine.ENGINE, "a private engine")
    trees.ensure(trees.NEW_ENGINE)
    with LabEngine(request.param) as started:
        started.forward(registry.port)
        yield started, seed(started, registry)


@pytest.fixture
def engine(lived_in: tuple[LabEngine, Host]) -> LabEngine:
    return lived_in[0]


@pytest.fixture
def host(lived_in: tuple[LabEngine, Host]) -> Host:
    return lived_in[1]


def pulled_digest(engine: LabEngine, reference: str) -> str:
    (only,) = engine.client().inspect_image(reference)["RepoDigests"]
    return str(only).partition("@")[2]


def test_seeded_host_has_the_promised_cases(engine: LabEngine, registry: LabRegistry, host: Host) -> None:
    client = engine.client()

    nginx, redis = "library/nginx", "library/redis"
    assert registry.digest(nginx, "latest") == pulled_digest(engine, host.nginx)
    assert registry.digest(redis, "7.2") != pulled_digest(engine, host.redis)

    runs = client.inspect_container("worker")["Image"]
    assert runs != client.inspect_image(host.worker)["Id"]

    *_, release, alias = (client.inspect_image(reference)["Id"] for reference in host.api)
    assert release == alias

    below = client.inspect_image(host.base)["RootFS"]["Layers"]
    above = client.inspect_image(host.billing)["RootFS"]["Layers"]
    assert above[: len(below)] == below
    assert len(above) > len(below)
    labels = client.inspect_image(host.agent)["Config"]["Labels"]
    assert labels[BASE_NAME_LABEL] == "docker.io/library/centos:7"

    volumes = {m["Name"] for m in client.inspect_container("db")["Mounts"]}
    assert len(volumes) == 2
    orphans = client.volumes(filters={"dangling": True})["Volumes"]
    assert {volume["Name"] for volume in orphans} == set(host.orphans)


def test_few_dangling_images_stay_below_a_quarter(engine: LabEngine, host: Host) -> None:
    young = make_young_dangling(engine)
    client = engine.client()
    dangling = {image["Id"] for image in client.images(filters={"dangling": True})}
    assert dangling >= {*host.dangling, young}
    everything = client.images()
    assert len(everything) >= 16
    assert len(dangling) / len(everything) < 0.25


def test_container_without_limits_and_one_with_host_namespaces(engine: LabEngine, host: Host) -> None:
    client = engine.client()
    assert client.inspect_container("web")["HostConfig"]["Memory"] == 0
    debug = client.inspect_container("debug")["HostConfig"]
    assert debug["Privileged"]
    assert (debug["PidMode"], debug["NetworkMode"], debug["IpcMode"]) == ("host",) * 3
    assert client.inspect_container("migrate")["State"]["ExitCode"] == 3
    assert set(host.containers) == {name.lstrip("/") for c in client.containers(all=True) for name in c["Names"]}

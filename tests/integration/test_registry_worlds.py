"""Registries with quirks: what an engine of either kind pulls from, we can tell the digest of."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from dockwarden.config.settings import RegistrySettings
from dockwarden.engine import DockerEngine
from dockwarden.ports import Ask, Reply
from dockwarden.registry import HttpRegistry
from tests.integration.worlds import PULLED, Scene, passed_on, world
from tests.lab import trees
from tests.lab.engine import LabEngine
from tests.lab.images import ImageSpec
from tests.lab.machine import LabError
from tests.lab.registry import LabRegistry
from tests.lab.waiting import PATIENCE
from tests.unit.misbehaving import Misbehaving, http

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.unit.misbehaving import Asked

SOON = PATIENCE
ALICE = RegistrySettings(username="alice", password=SecretStr("secret"))
NAMES = list(PULLED)
PASSWORD = "a rather long secret, " * 3


@pytest.fixture(scope="module")
def digest(registry: LabRegistry) -> str:
    return registry.push("worlds/app", "1", ImageSpec(labels={"of": "worlds"}))


def logins(host: str) -> dict[str, dict[str, object]]:
    """Docker's `config.json`, as it is found on hosts, with a login for alice somewhere in it, or none."""
    auth = base64.b64encode(b"alice:" + PASSWORD.encode()).decode()
    wrapped = base64.encodebytes(b"alice:" + PASSWORD.encode()).decode()
    return {
        "plain": {"auths": {host: {"auth": auth}}},
        "wrapped": {"auths": {host: {"auth": wrapped}}},
        "the store is not installed": {"credsStore": "is-not-installed", "auths": {host: {"auth": auth}}},
        "the helper is not installed": {"credHelpers": {host: "is-not-installed"}, "auths": {host: {"auth": auth}}},
        "no helper for this one": {"credHelpers": {host: ""}, "credsStore": "x", "auths": {host: {"auth": auth}}},
        "open: the store is not installed": {"credsStore": "is-not-installed"},
        "open: malformed": {"auths": {host: {"auth": "%%%"}}},
        "open: no shape": {"auths": []},
    }


@pytest.mark.parametrize("name", logins(""))
def test_a_login_that_the_command_line_finds_we_find(graph_engine: LabEngine, tmp_path: Path, name: str) -> None:
    """Whether it is needed, or the registry is open to all; no helper is installed here."""
    with LabRegistry(htpasswd=None if name.startswith("open") else {"alice": PASSWORD}) as hub:
        digest = hub.push("worlds/app", "1", ImageSpec(labels={"for": "alice"}))
        (tmp_path / "config.json").write_text(json.dumps(logins(hub.host)[name]))
        graph_engine.forward(hub.port)
        tag = f"{hub.host}/worlds/app:1"
        graph_engine.docker("--config", str(tmp_path), "pull", "--quiet", tag)
        with contextlib.closing(HttpRegistry(docker_config=tmp_path / "config.json", environ={})) as ours:
            assert ours.ask(Ask("digest", tag), 0).result(SOON) == Reply(digest=digest)


@pytest.mark.parametrize(("tree", "is_below"), [(trees.NEW_ENGINE, True), (trees.NEWEST_ENGINE, False)])
def test_a_mirror_with_a_path_is_asked_where_the_engine_asks_it(
    registry: LabRegistry,
    tree: trees.Tree,
    is_below: bool,  # noqa: FBT001
) -> None:
    """As for Harbor's projects that cache Docker Hub; graph stores take no such mirror."""
    digest = registry.push("worlds/cache/library/app", "1", ImageSpec(labels={"of": "the cache"}))
    registry.push("library/app", "1", ImageSpec(labels={"of": "somebody else"}))

    def answer(asked: Asked) -> Iterable[bytes]:
        base, path = "/worlds/cache/v2/", asked.split()[1].partition("?")[0]
        if is_below == path.startswith(base) and path != "/v2/":
            return [http(404)]
        at = f"/v2/worlds/cache/{path.removeprefix(base)}" if path.startswith(base) else path
        return [Scene(registry, passed_on, passed_on).passed(asked.to(at))]

    with Misbehaving(answer) as mirror, LabEngine("containerd", tree=tree) as engine:
        engine.forward(int(mirror.host.partition(":")[2]))
        engine.more = {"registry-mirrors": [f"http://{mirror.host}/worlds/cache"]}
        engine.restart()
        engine.docker("pull", "--quiet", "app:1")
        with contextlib.closing(DockerEngine(engine.host)) as docker:
            info = docker.connect()
        nobody = {"docker.io": RegistrySettings(ca_file=Path("/nonexistent"))}
        no_login = Path("/nonexistent")
        given = HttpRegistry(hosts=nobody, docker_config=no_login, environ={}, engine=lambda: info)
        with contextlib.closing(given) as ours:
            assert ours.ask(Ask("digest", "app:1"), 0).result(SOON) == Reply(digest=digest)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_engine_pulls_we_can_tell(
    empty_engine: LabEngine, registry: LabRegistry, digest: str, name: str
) -> None:
    with world(registry, name) as scene:
        one, two = scene.hosts
        for host in scene.hosts:
            empty_engine.forward(int(host.host.partition(":")[2]))
        tag = f"{one.host}/worlds/app:1"
        try:
            empty_engine.docker("pull", "--quiet", tag)
            pulls = True
        except LabError:
            pulls = False
        assert pulls == (empty_engine.kind in PULLED[name][2])
        one.asked.clear()
        two.asked.clear()
        given = HttpRegistry(hosts={one.host: ALICE}, docker_config=Path("/nonexistent"), environ={})
        with contextlib.closing(given) as ours:
            for _ in range(3):
                assert ours.ask(Ask("digest", tag), 0).result(SOON) == Reply(digest=digest)
            assert ours.ask(Ask("manifest", f"{one.host}/worlds/app@{digest}")).result(SOON).config
            assert ours.ask(Ask("tags", f"{one.host}/worlds/app")).result(SOON) == Reply(tags=("1",))
        if "passed on" not in name:  # who names a server of tokens himself, trusts it
            assert not [asked for asked in two.asked if asked.header("Authorization").startswith("Basic")]
        heads = [asked for asked in one.asked if asked.startswith("HEAD")]
        if name.startswith("HEAD"):  # remembered
            assert len(heads) == 1
        if name in ("plain", "tokens"):
            assert len(heads) == 3 + (name == "tokens")
            assert len([asked for asked in one.asked if "/token" in asked]) == (name == "tokens")
            assert len([asked for asked in one.asked if asked.startswith("GET /v2")]) == 2

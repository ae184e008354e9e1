"""The engine is late, dies, freezes, forbids, or forgets: the daemon says so, stays, and is right again afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import docker.errors
import pytest

from tests.e2e.harness import full, policy
from tests.lab import images
from tests.lab.engine import LabEngine
from tests.lab.images import ImageSpec
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.conftest import Start

LATEST, STALE = "no-latest-tag", "stale-container"
ALL_TAGS = policy("any-tag", "tag", "true", trigger={"events": ["image.tag"]})


@pytest.mark.parametrize("own_engine", ["containerd"], indirect=True)  # the store has no part in it
def test_engine_that_comes_after_the_daemon(own_engine: LabEngine, start: Start) -> None:
    own_engine.stop()
    daemon = start(own_engine, [LATEST])
    missing = daemon.wait("engine.unreachable")
    assert missing["level"] == "error"
    assert f"{own_engine.socket} does not exist: is the engine running?" in missing["error"]
    assert daemon.get("/healthz").status == 200
    answer = daemon.get("/readyz")
    assert answer.status == 503
    assert "does not exist" in answer.text
    assert "inventory: not listed yet" in answer.text
    assert daemon.value("dockwarden_engine_up") == 0

    own_engine.start()
    own_engine.load(ImageSpec(tags=("e2e/late:latest",)))

    daemon.wait("finding.opened", policy=LATEST, name=full("e2e/late:latest"))
    daemon.ready()
    assert daemon.value("dockwarden_engine_up") == 1
    assert daemon.value("dockwarden_engine_info", image_store=own_engine.kind) == 1
    daemon.until_true_to(own_engine)
    assert len(daemon.said("engine.unreachable")) == 1  # the first of many failed attempts; the rest would be noise


def test_engine_that_crashes_while_things_change(own_engine: LabEngine, start: Start) -> None:
    engine = own_engine
    engine.load(
        replace(images.busybox("e2e/app:1", "e2e/app:old"), labels={"r": "old"}),
        replace(images.busybox("e2e/app:new"), labels={"r": "new"}),
        ImageSpec(tags=("e2e/gone:latest",), labels={"e2e": "gone"}),
    )
    engine.docker("create", "--name=app", "e2e/app:1")
    engine.docker("volume", "create", "forgotten")
    stale = policy(
        "stale-even-stopped", "container", "container.freshness != 'current'", trigger={"events": ["image.tag"]}
    )
    daemon = start(engine, [LATEST, stale]).ready()
    assert daemon.findings(LATEST) == {full("e2e/gone:latest")}

    engine.kill()
    daemon.wait("engine.unreachable")
    daemon.until(lambda: daemon.get("/readyz").status == 503, "readiness to end")
    assert daemon.value("dockwarden_engine_up") == 0
    assert daemon.get("/healthz").status == 200
    mark = daemon.mark
    os.kill(daemon.process.pid, signal.SIGSTOP)  # it must not see how the changes came about
    engine.start_again()
    engine.docker("image", "rm", "e2e/gone:latest")
    engine.docker("tag", "e2e/app:new", "e2e/app:1")
    engine.docker("tag", "e2e/app:new", "e2e/app:latest")
    engine.load(ImageSpec(labels={"e2e": "nameless"}))
    engine.docker("volume", "rm", "forgotten")
    engine.docker("volume", "create", "fresh")
    engine.docker("network", "create", "fresh")
    engine.docker("create", "--name=late", "e2e/app:old")
    os.kill(daemon.process.pid, signal.SIGCONT)

    daemon.wait("inventory.listed", after=mark, reason="reconnect")
    daemon.wait("finding.resolved", after=mark, policy=LATEST, name=full("e2e/gone:latest"), why="gone")
    daemon.wait("finding.opened", after=mark, policy=LATEST, name=full("e2e/app:latest"))
    daemon.wait("finding.opened", after=mark, policy="stale-even-stopped", name="app")
    daemon.until_true_to(engine)
    assert daemon.get("/readyz").status == 200
    assert daemon.value("dockwarden_engine_up") == 1
    assert daemon.value("dockwarden_events_reconnects_total") == 1
    assert daemon.value("dockwarden_inventory_resyncs_total", reason="reconnect") == 1
    assert len(daemon.said("finding.opened", policy=LATEST, name=full("e2e/gone:latest"))) == 1


@pytest.mark.parametrize("own_engine", ["graph"], indirect=True)  # the other one waits 5 s for its open streams
def test_engine_that_restarts_in_order(own_engine: LabEngine, start: Start) -> None:
    engine = own_engine
    engine.load(images.busybox("e2e/app:1"))
    engine.docker("run", "--detach", "--name=app", "e2e/app:1")
    daemon = start(engine, [LATEST]).ready()
    engine.restart()
    daemon.wait("inventory.listed", reason="reconnect")
    daemon.until_true_to(engine)
    (container,) = daemon.api("inventory", "subject=container")
    assert container["state"] == "exited"


def test_another_engine_at_the_same_address_ends_the_daemon(
    any_engine: LabEngine, start: Start, tmp_path: Path
) -> None:
    """What it knows is of the former one; its supervisor starts it anew, and then it knows nothing."""
    address = tmp_path / "docker.sock"
    with LabEngine("graph") as former:
        former.load(ImageSpec(tags=("e2e/former:latest",)))
        address.symlink_to(former.socket)
        daemon = start(f"unix://{address}", [LATEST]).ready()
        address.unlink()
        address.symlink_to(any_engine.socket)
        former.kill()
        assert daemon.ended() == 1
    reason = daemon.wait("daemon.thread_failed")
    assert reason["level"] == "critical"
    assert "the engine is another one now" in reason["error"]
    assert daemon.strange == []
    any_engine.load(ImageSpec(tags=("e2e/present:1",)))
    mark = daemon.mark
    daemon.restart()
    daemon.ready()
    daemon.wait("ledger.other_engine", after=mark)
    daemon.wait("finding.resolved", after=mark, name=full("e2e/former:latest"), why="gone")
    daemon.until_true_to(any_engine)


@pytest.mark.parametrize("own_engine", ["graph"], indirect=True)  # the store has no part in it
def test_frozen_engine_is_noticed_and_forgiven(own_engine: LabEngine, start: Start) -> None:
    engine = own_engine
    engine.load(ImageSpec(tags=("e2e/app:1",)))
    daemon = start(engine, [LATEST], settings={"engine": {"event_window": "2s", "timeout": "3s"}}).ready()

    engine.pause()
    daemon.until(lambda: daemon.get("/readyz").status == 503, "the freeze to be noticed")
    assert "did not answer in time" in daemon.get("/readyz").text
    assert daemon.value("dockwarden_engine_up") == 0
    assert daemon.get("/healthz").status == 200
    assert daemon.wait("engine.unreachable")["level"] == "error"
    mark = daemon.mark
    engine.resume()
    engine.docker("tag", "e2e/app:1", "e2e/app:latest")

    daemon.wait("finding.opened", after=mark, policy=LATEST)
    daemon.until(lambda: daemon.get("/readyz").status == 200, "readiness")
    daemon.until_true_to(engine)


@pytest.mark.parametrize("own_engine", ["containerd"], indirect=True)  # the store has no part in it
def test_short_freeze_inside_a_window_loses_nothing(own_engine: LabEngine, start: Start) -> None:
    engine = own_engine
    engine.load(ImageSpec(tags=("e2e/app:1",)))
    daemon = start(engine, [ALL_TAGS]).ready()
    engine.pause()
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(engine.docker, "tag", "e2e/app:1", "e2e/app:2")  # waits inside the frozen engine
        assert daemon.get("/readyz").status == 200
        engine.resume()
        asked.result()
    daemon.wait("finding.opened", policy="any-tag", name=full("e2e/app:2"))
    daemon.until_true_to(engine)
    daemon.until(daemon.was_listed_anew_only_when_stalled, "a reason for each list")
    assert daemon.value("dockwarden_events_reconnects_total") == 0


def test_socket_without_permission_names_group_and_remedy(graph_engine: LabEngine, start: Start) -> None:
    # An unprivileged user, with the one right to read this checkout wherever it lies; connecting needs to write.
    nobody = (
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
        "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
    )  # fmt: skip
    socket = graph_engine.socket
    os.chown(socket, 0, 4242)
    try:
        daemon = start(graph_engine, [LATEST], under=nobody, settings={"state_dir": "/proc/dockwarden"})
        refused = daemon.wait("engine.unreachable")["error"]
        assert refused == (
            f"permission denied on {socket}, which belongs to group 4242, which has no name here: "
            "add the user to it, or run the container with --group-add 4242"
        )
        assert "--group-add 4242" in daemon.get("/readyz").text
        assert daemon.get("/healthz").status == 200
        os.chown(socket, 0, 65534)
        daemon.ready()  # the engine's administrator followed the advice
        assert daemon.value("dockwarden_engine_up") == 1
    finally:
        os.chown(socket, 0, 0)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_objects_that_are_gone_before_they_can_be_looked_at(empty_engine: LabEngine, start: Start) -> None:
    engine = empty_engine
    engine.load(images.busybox("e2e/base:1"))
    daemon = start(engine, [LATEST, STALE, "container-limits", "unused-network", ALL_TAGS]).ready()
    rounds = 15
    go = threading.Barrier(4)

    def repeat(make_and_remove: Callable[[docker.APIClient, int], None]) -> None:
        client = engine.client()
        go.wait()
        for i in range(rounds):
            make_and_remove(client, i)

    def container(client: docker.APIClient, i: int) -> None:
        made = client.create_container("e2e/base:1", name=f"gone-{i}")
        client.remove_container(made["Id"], v=True, force=True)

    def tag(client: docker.APIClient, i: int) -> None:
        client.tag("e2e/base:1", f"e2e/gone{i}", "latest")
        client.remove_image(f"e2e/gone{i}:latest")

    def volume(client: docker.APIClient, i: int) -> None:
        client.create_volume(f"gone-{i}")
        client.remove_volume(f"gone-{i}")

    def network(client: docker.APIClient, i: int) -> None:
        with contextlib.suppress(docker.errors.APIError):  # it may run out of address ranges
            client.remove_network(client.create_network(f"gone-{i}")["Id"])

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(repeat, work) for work in (container, tag, volume, network)]:
            done.result()

    daemon.until_true_to(engine)
    assert {row["name"] for row in daemon.api("findings")} == {full("e2e/base:1")}
    assert daemon.process.poll() is None
    assert [line for line in daemon.lines if line["level"] in ("error", "critical")] == []
    until(lambda: daemon.value("dockwarden_queue_length") == 0, "an empty queue")
    daemon.until(daemon.was_listed_anew_only_when_stalled, "a reason for each list")

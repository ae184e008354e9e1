"""Enforcement on containers, volumes, networks and a full disk: what goes, what never does, and when it is enough."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import command
from tests.e2e.harness import policy, write_policies
from tests.lab import images, machine, trees
from tests.lab.engine import LabEngine
from tests.lab.images import ImageSpec, rootfs
from tests.lab.machine import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Start
    from tests.lab.engine import Kind

pytestmark = pytest.mark.slow
ALWAYS: dict[str, object] = {
    "mode": "enforce", "trigger": {"every": "5s"}, "limits": {"max_objects": 100, "max_percent": 100}
}  # fmt: skip
CONTAINERS = policy("containers", "container", "!container.running", action="remove", **{**ALWAYS, "for": "2s"})
VOLUMES = policy("volumes", "volume", "!volume.in_use", action="remove", **{**ALWAYS, "for": "2s"})
CHOSEN = policy("chosen", "volume", "volume.name == 'e2e-doomed'", action="remove", **{**ALWAYS, "for": "2s"})
NETWORKS = policy("networks", "network", "network.name != ''", action="remove", **ALWAYS)
HEAL = policy(
    "heal", "container", "container.health == 'unhealthy'", action={"restart": {"most": "2 per 1h"}},
    **{**ALWAYS, "trigger": {"events": ["container.health"]}},
)  # fmt: skip
HOPELESS = policy(
    "hopeless", "container", "container.given_up", trigger={"events": ["container.health"], "every": "5s"}
)
UPDATE = policy(
    "update", "container", "container.freshness == 'recreate-needed'",
    action={"update": {"steady": "4s", "within": "1m", "keep_old": "1h"}}, **{**ALWAYS, "trigger": {"every": "5s"}},
)  # fmt: skip
STOPPED = policy("stopped", "container", "container.name == 'stray'", action="stop", **ALWAYS)


def names(engine: LabEngine, kind: str) -> set[str]:
    form = "{{.Names}}" if kind == "container" else "{{.Name}}"
    arguments = ("--all",) if kind == "container" else ()
    return set(engine.docker(kind, "ls", *arguments, "--format", form).split())


@pytest.mark.parametrize("engine", ["containerd"], indirect=True)  # the store has no part in it
def test_what_is_unhealthy_is_restarted_with_what_lives_in_it_until_that_is_hopeless(
    empty_engine: LabEngine, start: Start
) -> None:
    engine = empty_engine
    engine.load(images.busybox("e2e/app:1"))
    check = ("--health-cmd=test ! -e /ill", "--health-interval=1s", "--health-retries=1", "--stop-signal=KILL")
    engine.docker("run", "--detach", "--name=ill", *check, "e2e/app:1")
    engine.docker("run", "--detach", "--name=side", "--network=container:ill", "e2e/app:1")
    before = engine.docker("inspect", "--format={{.State.StartedAt}}", "side")
    daemon = start(engine, [HEAL, HOPELESS]).ready()
    engine.docker("exec", "ill", "sh", "-c", ": >/ill")
    mark = 0
    for _ in range(2):
        daemon.wait("action.applied", after=mark, policy="heal", name="ill", detail="and with it side")
        mark = daemon.mark
    daemon.wait("action.refused", policy="heal", name="ill", reason="gave_up")
    daemon.wait("finding.opened", policy="hopeless", name="ill")
    assert engine.docker("inspect", "--format={{.State.StartedAt}}", "side") != before
    engine.docker("exec", "ill", "busybox", "rm", "/ill")
    daemon.wait("finding.resolved", policy="hopeless", name="ill")


@pytest.mark.parametrize("engine", ["containerd"], indirect=True)  # integration/test_update.py has both
def test_a_container_is_updated_and_goes_back_by_itself_when_that_does_not_come_up(
    empty_engine: LabEngine, start: Start
) -> None:
    engine, app = empty_engine, "e2e/app:1"

    def ship(version: str, cmd: tuple[str, ...] = ("sleep", "1000000"), **more: Any) -> None:
        # A containerd store keeps no image that has lost its last name to a load, and without it nothing is updated.
        spec = images.busybox(app, f"e2e/kept:{version}", cmd=cmd)
        engine.load(replace(spec, env=("PATH=/bin", f"V={version}"), **more))

    def told(name: str, form: str) -> str:
        return engine.docker("inspect", f"--format={form}", name)

    def now(form: str) -> str:
        with suppress(LabError):  # amid a swap nobody has the name
            return told("web", form)
        return ""

    ship("1", volumes=("/own",))
    engine.docker("network", "create", "e2e-net")
    engine.docker("run", "--detach", "--name=web", "--network=e2e-net", "--network-alias=www", "--env=MINE=1",
                  "--volume=e2e-data:/data", "--restart=always", app)  # fmt: skip
    engine.docker("exec", "web", "sh", "-c", "echo kept >/own/file")
    first = told("web", "{{.Id}}")
    daemon = start(engine, [UPDATE]).ready()
    ship("2")
    second_image = engine.docker("image", "inspect", "--format={{.Id}}", app)
    daemon.wait("action.applied", policy="update", name="web", reason="updated")
    second = told("web", "{{.Id}}")
    assert second != first
    assert engine.docker("exec", "web", "sh", "-c", "echo $MINE $V; cat /own/file") == "1 2\nkept"
    assert "www" in told("web", '{{(index .NetworkSettings.Networks "e2e-net").Aliases}}')
    assert told("web", "{{.HostConfig.RestartPolicy.Name}} {{.State.Running}}") == "always true"
    assert told(first, "{{.HostConfig.RestartPolicy.Name}} {{.State.Running}}") == "no false"

    engine.docker("start", first)  # as Compose starts all containers of a service
    daemon.wait("action.applied", policy="update", name=told(first, "{{.Name}}").removeprefix("/"), reason="stopped")
    assert (told(first, "{{.State.Running}}"), told("web", "{{.State.Running}}")) == ("false", "true")

    ship("3", cmd=("echo", "no such file"))
    back = daemon.wait("action.failed", policy="update", name="web", reason="rolled_back", timeout=150)
    assert "no such file" in str(back["detail"])
    assert (told("web", "{{.Id}}"), told("web", "{{.State.Running}}")) == (second, "true")
    assert names(engine, "container") == {"web", told(first, "{{.Name}}").removeprefix("/")}

    ship("4", healthcheck={"Test": ["CMD", "sleep", "600"], "Interval": 10**9, "Timeout": 600 * 10**9})
    daemon.until(lambda: now("{{.Id}}") not in ("", first, second), "the fourth to be waited for")
    daemon.kill()
    write_policies(daemon.policy_file, {**UPDATE, "mode": "audit"})
    daemon.restart()
    daemon.ready()
    daemon.until(lambda: now("{{.Id}} {{.State.Running}}") == f"{second} true", "the second to be back")
    assert told("web", "{{.HostConfig.RestartPolicy.Name}} {{.Image}}") == f"always {second_image}"
    rows = json.loads(command("undo", "--list", "-o", "json", "--config", daemon.config, docker_host=engine.host).out)
    [row] = (row for row in rows if row["action"] == "update")
    undone = command("undo", "--config", daemon.config, row["run"], docker_host=engine.host)
    assert undone.code == 0, undone.out
    assert (told("web", "{{.Id}}"), told("web", "{{.State.Running}}")) == (first, "true")
    assert names(engine, "container") == {"web"}


def test_containers_volumes_and_networks_go_only_where_nobody_needs_them(any_engine: LabEngine, start: Start) -> None:
    engine = any_engine
    engine.load(images.busybox("e2e/app:1"))
    engine.docker("network", "create", "e2e-used")
    engine.docker("network", "create", "e2e-free")
    engine.docker("network", "create", "--label=dockwarden.protect=", "e2e-kept")
    for name in ("e2e-used", "e2e-named", "e2e-doomed"):
        engine.docker("volume", "create", name)
    anonymous = engine.docker("volume", "create")
    engine.docker("run", "--detach", "--name=web", "--network=e2e-used", "--volume=e2e-used:/data", "e2e/app:1")
    engine.docker("run", "--detach", "--name=stray", "e2e/app:1")
    engine.docker("create", "--name=data-only", "--volume=e2e-data:/data", "--label=dockwarden.protect=", "e2e/app:1")
    engine.docker("create", "--name=replica", "--label=com.docker.swarm.service.id=x", "e2e/app:1")
    engine.docker("create", "--name=job", "e2e/app:1", "true")
    engine.docker("start", "--attach", "job")
    networks = names(engine, "network")
    daemon = start(engine, [CONTAINERS, VOLUMES, CHOSEN, NETWORKS, STOPPED], settings={"minimum_stay": "2s"}).ready()

    for policy_name, reason, name in (
        ("containers", "owner", "replica"),
        ("containers", "protected", "data-only"),
        ("volumes", "named", "e2e-named"),
        ("networks", "in_use", "e2e-used"),
        ("networks", "protected", "e2e-kept"),
        ("networks", "builtin", "bridge"),
    ):
        daemon.wait("action.refused", policy=policy_name, reason=reason, name=name)
    for policy_name, name in (
        ("containers", "job"),
        ("volumes", anonymous),
        ("chosen", "e2e-doomed"),
        ("networks", "e2e-free"),
        ("stopped", "stray"),
    ):
        daemon.wait("action.applied", policy=policy_name, name=name)
    # A stray that was stopped is then a container that does not run.
    daemon.wait("action.applied", policy="containers", name="stray")
    daemon.until_true_to(engine)
    assert names(engine, "container") == {"web", "data-only", "replica"}
    assert names(engine, "volume") == {"e2e-used", "e2e-named", "e2e-data"}
    assert names(engine, "network") == networks - {"e2e-free"}
    assert daemon.said("action.failed") == []


@pytest.mark.parametrize("kind", ["graph", "containerd"])
def test_volumes_and_images_of_containers_that_outlived_the_engine_stay(kind: Kind, start: Start) -> None:
    """After a restart with live-restore an engine may not know who uses a volume; we do."""
    everything = policy("everything", "image", "image.id != ''", action="remove", **ALWAYS)
    with LabEngine(kind, live_restore=True) as engine:
        engine.load(images.busybox("e2e/app:1"))
        anonymous = engine.docker("volume", "create")
        engine.docker("run", "--detach", "--name=web", f"--volume={anonymous}:/data", "e2e/app:1")
        idle = engine.docker("volume", "create")
        engine.restart()
        daemon = start(engine, [VOLUMES, everything], settings={"minimum_stay": "0s"}).ready()
        daemon.wait("action.applied", policy="volumes", name=idle)
        daemon.wait("action.refused", policy="everything", reason="in_use")
        engine.kill()
        engine.start_again()
        mark = daemon.mark
        daemon.wait("inventory.listed", after=mark)
        daemon.wait("action.refused", after=mark, policy="everything", reason="in_use", detail="used by web")
        assert names(engine, "volume") == {anonymous}
        assert engine.client().inspect_container("web")["State"]["Running"]
        assert len(engine.client().images()) == 1


@pytest.fixture(params=["graph", "containerd"])
def small_engine(request: pytest.FixtureRequest) -> Iterator[LabEngine]:
    """An engine of each kind on a disk of 300 MiB of its own."""
    machine.ensure(machine.ENGINE, "a private engine")
    if request.param == "containerd":
        trees.ensure(trees.NEW_ENGINE)
    with LabEngine(request.param, disk_mib=300) as started:
        yield started


def used(engine: LabEngine) -> float:
    disk = shutil.disk_usage(engine.dir / "data")
    return 100.0 * disk.used / (disk.used + disk.free)


def test_a_full_disk_is_emptied_to_the_lower_mark_and_no_further(small_engine: LabEngine, start: Start) -> None:
    engine = small_engine
    count = 8
    size = 150_000_000 // count // (1 if engine.kind == "graph" else 2)
    for n in range(count):
        engine.load(ImageSpec(tags=(f"e2e/n{n}:1",), layers=(rootfs({"f": os.urandom(size)}),)))
    os.sync()
    full_at = used(engine)
    gc = policy(
        "gc", "image", "!image.in_use", action={"remove": {"unrecoverable": "allow"}}, **ALWAYS,
        gate="host.disk_used_percent > params.high", stop_when="host.disk_used_percent < params.low",
        order_by="image.ref.matches('e2e/n[0-9]:1$') ? -int(image.ref.substring(15, 16)) : 0",
        params={"high": full_at - 1.0, "low": full_at - 14.0},
    )  # fmt: skip
    never = "host.disk_free > 1000000000000000"
    stuck = policy("stuck", "image", "false", action="remove", **ALWAYS, gate="true", stop_when=never)
    daemon = start(engine, [gc, stuck], settings={"minimum_stay": "0s"}).ready()
    told = daemon.wait("finding.opened", policy="stuck")
    assert (told["subject"], "images idle " in told["message"]) == ("host", True)
    daemon.wait("action.skipped", policy="gc", reason="enough")
    daemon.wait("run.completed", job="gc")
    left = {tag for image in engine.client().images() for tag in image["RepoTags"]}
    gone = {f"e2e/n{n}:1" for n in range(count)} - left
    # By the order, highest number first; each is some six percent of the disk.
    assert gone == {f"e2e/n{n}:1" for n in range(count - len(gone), count)}
    assert 2 <= len(gone) <= 4
    assert used(engine) < full_at - 13.0
    # Below the upper mark the gate is closed: nothing more goes.
    daemon.until(lambda: daemon.total("dockwarden_job_duration_seconds_count", policy="gc") >= 2, "another run")
    assert {tag for image in engine.client().images() for tag in image["RepoTags"]} == left

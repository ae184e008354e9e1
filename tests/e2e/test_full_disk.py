"""A disk without a byte left, with the state and the engine's data on it: what a registry serves goes nevertheless."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import command
from tests.e2e.harness import policy, write_policies
from tests.lab import machine, trees
from tests.lab.engine import LabEngine
from tests.lab.images import ImageSpec, rootfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Start
    from tests.e2e.harness import Daemon
    from tests.lab.registry import LabRegistry

pytestmark = pytest.mark.slow
FULL = {
    "mode": "enforce", "trigger": {"every": "5s"}, "gate": "host.disk_used_percent > 90.0",
    "stop_when": "host.disk_used_percent < 50.0", "limits": {"max_objects": 100, "max_percent": 100},
}  # fmt: skip


@pytest.fixture(params=["graph", "containerd"])
def small_engine(request: pytest.FixtureRequest, registry: LabRegistry) -> Iterator[LabEngine]:
    """An engine of each kind on a disk of 200 MiB of its own; it reaches the registry."""
    machine.ensure(machine.ENGINE, "a private engine")
    if request.param == "containerd":
        trees.ensure(trees.NEW_ENGINE)
    with LabEngine(request.param, disk_mib=200) as started:
        started.forward(registry.port)
        yield started


def fill(engine: LabEngine) -> None:
    """Take every byte that is left."""
    ballast = os.open(engine.dir / "data" / "ballast", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (1 << 20, 4096, 1):
        with suppress(OSError):
            while os.write(ballast, b"x" * size):
                pass
    os.fsync(ballast)
    os.close(ballast)


def parts(state: Path) -> set[tuple[str, int]]:
    """Those of the reserve; one that is made anew is another."""
    found = set()
    for part in (state / "reserve").iterdir():
        with suppress(FileNotFoundError):  # it goes at this moment
            found.add((part.name, part.stat().st_mtime_ns))
    return found


def is_whole(state: Path) -> bool:
    with closing(sqlite3.connect(f"file:{state}/ledger.db?mode=ro", uri=True)) as ledger:
        return bool(ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def test_what_a_registry_serves_goes_at_no_bytes_free(
    small_engine: LabEngine, registry: LabRegistry, start: Start
) -> None:
    engine = small_engine
    state = engine.dir / "data" / "dockwarden"
    tags = [f"{registry.host}/full/{engine.kind}-{n}:1" for n in range(4)]
    for tag in tags:
        engine.load(ImageSpec(tags=(tag,), layers=(rootfs({"f": os.urandom(2_000_000)}),)))
        engine.docker("push", "--quiet", tag)
    engine.load(ImageSpec(tags=("full/only-here:1",), layers=(rootfs({"f": os.urandom(2_000_000)}),)))
    going = f"!image.in_use && image.ref.contains('{engine.kind}-')"
    one = policy("one", "image", f"{going} && image.ref.endsWith('-0:1')", action="remove", **FULL)
    two = policy("two", "image", f"{going} && image.ref.endsWith('-1:1')", action="remove", **FULL)
    here = policy("here", "image", "image.ref.contains('only-here')", action="remove", **FULL)
    settings = {"minimum_stay": "0s", "state_dir": str(state), "web": {"listen": "127.0.0.1:0"}}
    daemon = start(engine, [one, here], settings=settings).ready()
    reserve = parts(state)
    assert len(reserve) == 8

    fill(engine)
    daemon.wait("action.applied", policy="one")
    daemon.wait("action.skipped", policy="here", reason="gains_nothing")
    assert daemon.value("dockwarden_refusals_total", policy="here", reason="gains_nothing") >= 1
    rows = [row for row in asked(daemon, "plan", "--policy", "here") if row["reason"] == "gains_nothing"]
    assert [(row["name"], row["outcome"]) for row in rows] == [("docker.io/full/only-here:1", "kept")]
    assert daemon.value("dockwarden_ledger_writable") == 1
    assert 0 < len(reserve & parts(state)) < 8
    daemon.kill()
    assert is_whole(state)

    fill(engine)
    again = start(engine, [two], settings=settings, name="again").ready()
    again.wait("action.applied", policy="two")
    assert again.value("dockwarden_ledger_writable") == 1
    again.kill()
    assert is_whole(state)

    for part in (state / "reserve").iterdir():
        part.unlink()
    fill(engine)
    all_ = policy("all", "image", going, action="remove", **FULL)
    last = start(engine, [all_], settings=settings, name="last").ready()
    last.wait("action.refused", policy="all", reason="ledger")
    assert last.value("dockwarden_ledger_writable") == 0
    last.kill()
    assert is_whole(state)
    left = {tag for image in engine.client().images() for tag in image["RepoTags"]}
    assert left == {*tags[2:], "full/only-here:1"}

    (engine.dir / "data" / "ballast").unlink()
    end = start(engine, [one], settings=settings, name="end").ready()
    end.until(lambda: len(parts(state)) == 8, "the reserve to be made anew")
    [row] = [row for row in asked(end, "undo", "--list") if row["name"] == tags[0]]
    assert [each["reason"] for each in asked(end, "undo", str(row["id"]))] == ["restored"]
    assert engine.client().inspect_image(tags[0])["Id"] == row["object_id"]


def test_what_only_this_host_has_goes_from_a_full_disk_with_its_archive_on_another(
    small_engine: LabEngine, tmp_path: Path
) -> None:
    """A graph store makes a copy on its own disk, wherever the archive is to be; only room for that is asked for.

    It may take it from what is reserved for root.
    """
    engine, data = small_engine, small_engine.dir / "data"
    for name, size in (("big:1", 45_000_000), ("small:1", 10_000_000)):
        engine.load(ImageSpec(tags=(name,), layers=(rootfs({"f": os.urandom(size)}),)))
    (data / "ballast").write_bytes(bytes(os.statvfs(data).f_bavail * os.statvfs(data).f_frsize - 20_000_000))
    device = subprocess.run(["findmnt", "-nro", "SOURCE", data], capture_output=True, text=True, check=True).stdout
    subprocess.run(["tune2fs", "-r", str(100_000_000 // os.statvfs(data).f_frsize), device.strip()], check=True)
    assert os.statvfs(data).f_bavail == 0
    write_policies(tmp_path / "p.yaml", policy("all", "image", "!image.in_use", action="remove", mode="enforce"))
    settings = {"policies": [str(tmp_path / "p.yaml")], "state_dir": str(tmp_path / "state"), "minimum_stay": "0s"}
    (tmp_path / "d.yaml").write_text(json.dumps({**settings, "undo": {"keep_free": "200MB"}}))
    plan = tmp_path / "plan.json"

    def run(name: str, *arguments: str | Path) -> str:
        return command(name, "--config", tmp_path / "d.yaml", *arguments, docker_host=engine.host).out

    def left() -> list[str]:
        return [tag for image in engine.client().images() for tag in image["RepoTags"]]

    run("plan", "--over-limits", "--save", plan)
    told = run("apply", plan, "--yes")
    is_graph = engine.kind == "graph"
    assert ("are free: too few" in told) is is_graph, told
    assert left() == ["big:1"] * is_graph
    assert "small:1" in run("undo", "--list")


@pytest.fixture
def two_disk_engine() -> Iterator[LabEngine]:
    """An engine with its data on one small disk, and its images on another, where the system's containerd has them."""
    machine.ensure(machine.ENGINE, "a private engine")
    trees.ensure(trees.NEWEST_ENGINE)
    with LabEngine("containerd", tree=trees.NEWEST_ENGINE, disk_mib=100, images_mib=100) as started:
        yield started


def test_pressure_is_looked_for_where_the_images_are(two_disk_engine: LabEngine, start: Start) -> None:
    engine = two_disk_engine
    for n in range(4):
        engine.load(ImageSpec(tags=(f"e2e/n{n}:1",), layers=(rootfs({"f": os.urandom(6_000_000)}),)))
    engine.docker("create", "--name=web", "e2e/n0:1", "true")
    disks = policy(
        "disks", "host", "host.disk_used_percent > host.data_disk_used_percent && host.disk_breakdown != ''",
        trigger={"every": "5s"}, message="{{ host.disk_breakdown }}",
    )  # fmt: skip
    gc = policy(
        "gc", "image", "!image.in_use", action="remove", mode="enforce", trigger={"every": "5s"},
        gate="host.disk_used_percent > 50.0", stop_when="host.disk_used_percent < 50.0",
        limits={"max_objects": 100, "max_percent": 100},
    )  # fmt: skip
    # The daemon is outside of the engine's namespace, and the machine's own containerd has another configuration.
    seen = 'mount --bind "$0" /etc/containerd/config.toml && exec "$@"'
    under = ("unshare", "--mount", "sh", "-c", seen, str(engine.containerd_toml))
    daemon = start(engine, [disks, gc], settings={"minimum_stay": "0s"}, under=under).ready()
    daemon.wait("action.applied", policy="gc")
    daemon.wait("action.skipped", policy="gc", reason="enough")
    daemon.until(lambda: "idle" in breakdown(daemon, "disks"), "a message with all that is dear to know")
    names = [part.rpartition(" ")[0].rpartition(" ")[0] for part in breakdown(daemon, "disks").split(", ")]
    assert names[:2] == ["images idle", "images in use"]
    assert set(names) == {"images idle", "images in use", "container layers", "build cache", "unaccounted"}
    assert daemon.value("dockwarden_reclaimed_bytes_total", policy="gc") == pytest.approx(12_000_000, rel=0.1)
    images = os.statvfs(engine.dir / "images")
    used = 1 - images.f_bavail / (images.f_blocks - images.f_bfree + images.f_bavail)
    assert daemon.value("dockwarden_disk_used_ratio") == pytest.approx(used, abs=0.01)


def breakdown(daemon: Daemon, policy_name: str) -> str:
    return "".join(row["message"] for row in daemon.api("findings") if row["policy"] == policy_name)


def asked(daemon: Daemon, *arguments: str) -> list[dict[str, Any]]:
    done = command(
        arguments[0], "--config", daemon.config, *arguments[1:], "-o", "json", docker_host=daemon.docker_host
    )
    assert done.code == 0, done.err
    return list(json.loads(done.out))

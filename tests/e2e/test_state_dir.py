"""The ledger cannot be written, or cannot be read: judging goes on, nothing is removed without a record."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import policy
from tests.lab.images import ImageSpec, rootfs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Start
    from tests.e2e.harness import Daemon
    from tests.lab.engine import LabEngine

GONE_AT_ONCE = policy(
    "no-nameless", "image", "image.dangling", mode="enforce", action={"remove": {"unrecoverable": "allow"}},
    trigger={"events": ["image.new"], "every": "5s"}, limits={"max_percent": 100},
)  # fmt: skip
NAMED = policy("named", "tag", "true", trigger={"events": ["image.tag"]})


def on_tmpfs(folder: Path, options: str) -> tuple[str, ...]:
    """A command that gives its process a file system of its own as state folder, which ends with it."""
    folder.mkdir(parents=True)
    script = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
    return ("unshare", "--mount", "--propagation=private", "sh", "-c", script, str(folder))


def inside(daemon: Daemon) -> Path:
    """The state folder as the daemon sees it."""
    return Path(f"/proc/{daemon.process.pid}/root{daemon.state}")


def remount(daemon: Daemon, options: str) -> None:
    pid = daemon.process.pid
    subprocess.run(
        ["nsenter", f"--target={pid}", "--mount", "mount", "-o", f"remount,{options}", str(daemon.state)], check=True
    )


def fill(file: Path) -> None:
    """Take all the space there is."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as out:
        while out.write(bytes(1024)):
            pass


def nameless(engine: LabEngine, label: str) -> str:
    """One more image without a name; its ID."""
    spec = ImageSpec(layers=(rootfs({"label": label}),), labels={"e2e": label})
    engine.load(spec)
    return spec.id  # the engine is not asked, as it may be gone already


def ids(engine: LabEngine) -> set[str]:
    return {image["Id"] for image in engine.client().images()}


def test_read_only_state_stops_removals_only(any_engine: LabEngine, start: Start, tmp_path: Path) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/named:1",)))
    doomed = nameless(engine, "doomed")
    under = on_tmpfs(tmp_path / "daemon" / "state", "ro,size=4m")
    daemon = start(engine, [GONE_AT_ONCE, NAMED], under=under, settings={"minimum_stay": "0s"}).ready()
    told = daemon.wait("ledger.not_writable")
    assert told["level"] == "error"
    assert str(daemon.state / "ledger.db") in told["path"]
    assert told["note"] == "nothing will be removed"
    assert daemon.value("dockwarden_ledger_writable") == 0
    assert daemon.value("dockwarden_findings", policy="named") == 1

    refused = daemon.wait("action.refused", policy="no-nameless", reason="ledger")
    assert refused["id"] == doomed
    engine.docker("tag", "e2e/named:1", "e2e/named:2")
    daemon.until_metric(2, "dockwarden_findings", policy="named")
    assert daemon.get("/readyz").status == 200
    assert doomed in ids(engine)
    assert daemon.value("dockwarden_refusals_total", policy="no-nameless", reason="ledger") >= 1
    assert len(daemon.said("ledger.not_writable")) == 1

    remount(daemon, "rw")

    daemon.until(lambda: daemon.value("dockwarden_ledger_writable") == 1, "the ledger to be written")
    daemon.wait("action.applied", policy="no-nameless", id=doomed)
    assert doomed not in ids(engine)


def test_full_state_stops_removals_until_there_is_room(any_engine: LabEngine, start: Start, tmp_path: Path) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/named:1",)))
    under = on_tmpfs(tmp_path / "daemon" / "state", "size=1m")
    daemon = start(engine, [GONE_AT_ONCE, NAMED], under=under, settings={"minimum_stay": "0s"}).ready()
    assert daemon.value("dockwarden_ledger_writable") == 1
    filler = inside(daemon) / "filler"
    fill(filler)

    doomed = nameless(engine, "doomed")

    assert daemon.wait("action.refused", policy="no-nameless", reason="ledger")["id"] == doomed
    assert "full" in daemon.wait("ledger.not_writable")["error"]
    daemon.until_metric(0, "dockwarden_ledger_writable")
    engine.docker("tag", "e2e/named:1", "e2e/named:2")
    daemon.until_metric(2, "dockwarden_findings", policy="named")
    assert doomed in ids(engine)

    filler.unlink()

    daemon.wait("action.applied", policy="no-nameless", id=doomed)
    daemon.wait("ledger.writable_again")
    daemon.until_metric(1, "dockwarden_ledger_writable")
    assert doomed not in ids(engine)


def without_files(state: Path) -> None:
    for file in state.glob("ledger.db*"):
        file.unlink()


def another_folder(state: Path) -> None:
    state.rename(state.with_name("aside"))
    state.mkdir()


@pytest.mark.parametrize(
    "meddle",
    [
        without_files,
        another_folder,
        lambda state: (state / "ledger.db-wal").unlink(),
        lambda state: os.truncate(state / "ledger.db", 0),
    ],
    ids=["files removed", "folder replaced", "log removed", "file emptied"],
)
def test_a_ledger_that_is_not_at_its_place_stops_removals(
    any_engine: LabEngine, start: Start, meddle: Callable[[Path], object]
) -> None:
    daemon = start(any_engine, [GONE_AT_ONCE], settings={"minimum_stay": "0s"}).ready()
    assert daemon.value("dockwarden_ledger_writable") == 1
    meddle(daemon.state)

    doomed = nameless(any_engine, "doomed")

    refused = daemon.wait("action.refused", policy="no-nameless", reason="ledger")
    assert refused["id"] == doomed
    daemon.until_metric(0, "dockwarden_ledger_writable")
    assert doomed in ids(any_engine)


def garble_whole(file: Path) -> None:
    file.write_bytes(b"this is no database " * 500)


def garble_middle(file: Path) -> None:
    """Leave the first page, which says what the file is; spoil what it holds."""
    content = bytearray(file.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 2000] = b"\xff" * 2000
    file.write_bytes(content)


@pytest.mark.parametrize("garble", [garble_whole, garble_middle])
def test_corrupt_ledger_is_set_aside_and_named(any_engine: LabEngine, start: Start, garble: object) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/named:1",)))
    daemon = start(engine, [GONE_AT_ONCE, NAMED], settings={"minimum_stay": "0s"}).ready()
    daemon.wait("finding.opened", policy="named")
    assert daemon.end() == 0
    file = daemon.state / "ledger.db"
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert callable(garble)
    garble(file)
    garbled = file.read_bytes()

    daemon.restart()

    told = daemon.wait("ledger.damaged")
    assert told["level"] == "error"
    daemon.ready()
    aside = Path(told["set_aside"])
    assert aside.parent == daemon.state
    assert aside.read_bytes() == garbled
    assert daemon.value("dockwarden_ledger_writable") == 1
    assert daemon.value("dockwarden_findings", policy="named") == 1
    doomed = nameless(engine, "doomed")
    daemon.wait("action.applied", policy="no-nameless", id=doomed)


def test_ledger_of_a_newer_dockwarden_is_left_alone(any_engine: LabEngine, start: Start) -> None:
    engine = any_engine
    daemon = start(engine, [GONE_AT_ONCE], settings={"minimum_stay": "0s"}).ready()
    assert daemon.end() == 0
    file = daemon.state / "ledger.db"
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")
    doomed = nameless(engine, "doomed")
    daemon.restart()
    daemon.ready()
    assert "its schema is 99, this program knows 7: use" in daemon.wait("ledger.not_writable")["error"]
    daemon.wait("action.refused", policy="no-nameless", id=doomed, reason="ledger")
    assert file.exists()
    assert list(daemon.state.glob("*damaged*")) == []

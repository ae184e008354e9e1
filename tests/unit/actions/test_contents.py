"""An export is all of a folder at one moment, or it is none."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dockwarden.actions import contents
from dockwarden.actions.archive import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable

MEDDLING: dict[str, Callable[[Path], object]] = {
    "a new file": lambda folder: (folder / "new").write_text("x"),
    "a new file deep below": lambda folder: (folder / "a/b/new").write_text("x"),
    "more in a file": lambda folder: (folder / "a/file").write_text("longer"),
    "a file less": lambda folder: (folder / "a/file").unlink(),
    "another name": lambda folder: (folder / "a/file").rename(folder / "a/other"),
    "another mode": lambda folder: (folder / "a/file").chmod(0o600),
    "an old date": lambda folder: os.utime(folder / "a/file", (1, 1)),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    (made / "a/b").mkdir(parents=True)
    (made / "a/file").write_text("text")
    clock = tmp_path / "clock"
    clock.touch()
    while clock.stat().st_ctime_ns <= (made / "a/file").stat().st_ctime_ns:  # the file system's clock ticks slowly
        clock.touch()
    return made


@pytest.mark.parametrize("meddling", MEDDLING)
def test_what_is_written_meanwhile_voids_an_export(folder: Path, meddling: str) -> None:
    done: list[object] = []

    def write(_chunk: bytes) -> None:
        if not done:
            done.append(MEDDLING[meddling](folder))

    with pytest.raises(ArchiveError):
        contents.export(folder, write)
    assert done


def test_what_is_put_back_is_on_the_disk_before_its_mark_goes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks: list[bytes] = []
    contents.export(folder, chunks.append)
    shutil.rmtree(folder / "a")
    synced: list[tuple[object, str, bool]] = []
    monkeypatch.setattr(
        "subprocess.run",
        lambda command, **_: synced.append((command, (folder / "a/file").read_text(), (tmp_path / "mark").exists())),
    )
    contents.restore(folder, iter(chunks), "mark")
    assert (synced, (tmp_path / "mark").exists()) == ([(["sync", "-f", folder], "text", True)], False)


def test_what_cannot_be_brought_to_the_disk_is_not_restored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks: list[bytes] = []
    contents.export(folder, chunks.append)
    monkeypatch.setattr(contents, "_SYNC", ("/bin/false",))
    with pytest.raises(ArchiveError, match="brought to the disk"):
        contents.restore(folder, iter(chunks), "mark")
    assert (folder.parent / "mark").exists()


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (r"1 2 0:3 / {0}/_data rw - ext4 /dev/sda1 rw", "_data"),
        (r"1 2 0:3 / {0}/_data/a\040b\134c\012 rw - ext4 /dev/sda1 rw", "_data/a b\\c\n"),
        ("1 2 0:3 /My\u00a0Files {0}/_data rw - ext4 /dev/sda1 rw", "_data"),
        ("1 2 0:3 /a\u2028b\x85\x0c\x1d\r {0}/_data/\u3000 rw - ext4 //h/a\u2028b rw", "_data/\u3000"),
        (r"1 2 0:3 / {0}2/_data rw - ext4 /dev/sda1\040x rw", None),
        ("1 2 0:3 / /elsewhere rw - cifs //h/a rw,password=\u2028", None),
    ],
)
def test_whatever_is_mounted_in_a_volume_is_seen(folder: Path, tmp_path: Path, line: str, place: str | None) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes("\n".join(["1 1 0:3 / / rw - ext4 a rw", line.format(tmp_path), ""]).encode())
    found = contents.mounted({"Driver": "local", "Mountpoint": str(folder)}, table)
    assert found == (f"{tmp_path}/{place}" if place else "")
    assert contents.mounted({"Driver": "local", "Mountpoint": str(folder)}, tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("link", "target", "is_away"),
    [
        ("root", "disk", False),  # the engine's data root, which it tells without links, or not
        ("root/volumes", "../disk", True),
        ("root/volumes/it", "../../disk", True),
        ("root/volumes/it", "other", True),
        ("root/volumes/it/_data", "../../../disk", True),
        ("root/volumes/it/_data", "../other/_data", True),
        ("root/volumes/it/_data", "files", False),
        ("root/volumes/it/_data/within", "../../../../disk", False),
    ],
)
def test_a_link_that_leads_out_of_a_volume_is_seen(tmp_path: Path, link: str, target: str, *, is_away: bool) -> None:
    folder = tmp_path / "root/volumes/it/_data"
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(target)
    for each in (tmp_path / "disk", tmp_path / "root/volumes/other/_data", folder.resolve()):
        each.mkdir(parents=True, exist_ok=True)
    found = contents.leads_to({"Driver": "local", "Mountpoint": str(folder)})
    assert found == (str(folder.resolve()) if is_away else "")


def test_what_is_only_read_meanwhile_voids_nothing(folder: Path) -> None:
    got: list[bytes] = []

    def write(chunk: bytes) -> None:
        got.append(chunk + (folder / "a/file").read_bytes())

    contents.export(folder, write)
    assert b"text" in b"".join(got)


def test_folders_may_be_deeper_than_calls(folder: Path) -> None:
    deep = folder.joinpath(*["d"] * (sys.getrecursionlimit() + 100))
    subprocess.run(["mkdir", "--parents", deep], check=True)
    (deep / "leaf").write_text("deep")
    chunks: list[bytes] = []
    try:
        size, known = contents.survey(folder)
        contents.export(folder, chunks.append)
        assert (size > 0, known["written_ns"]) == (True, (deep / "leaf").stat().st_mtime_ns)
    finally:
        subprocess.run(["rm", "--recursive", folder / "d"], check=True)  # which Python's own way could not
    contents.restore(folder, iter(chunks), "mark")
    assert (deep / "leaf").read_text() == "deep"
    subprocess.run(["rm", "--recursive", folder / "d"], check=True)


def test_a_user_who_may_not_read_the_data_root_can_undo() -> None:
    def settle() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        contents.settle([root, root / "containerd"])

    with tempfile.TemporaryDirectory() as made:  # not below the folder of all tests, into which nobody else may look
        (root := Path(made)).chmod(0o710)
        (root / "containerd").mkdir()
        user = multiprocessing.get_context("fork").Process(target=settle)
        user.start()
        user.join()
    assert user.exitcode == 0

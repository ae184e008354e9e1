"""Archives: whole or not there, for nobody else, never too many, and only files of ours are touched."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dockwarden.actions.archive import Archive, ArchiveError
from dockwarden.model import Recipe
from tests.fakes import FakeIntents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTENT = b"some content of an archive " * 1000


class Shelf:
    """An archive, its folder, and the ledger that knows its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "archives"
        self.intents = FakeIntents()

    def archive(self, room: int = 1 << 20, reserve: int = 0) -> Archive:
        return Archive(self.folder, self.intents, max_bytes=room, reserve_bytes=reserve)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def content(write: Callable[[bytes], object]) -> None:
    for at in range(0, len(CONTENT), 1000):
        write(CONTENT[at : at + 1000])


def test_what_was_written_is_read_again(shelf: Shelf) -> None:
    stored = shelf.archive().write(content, 100)
    assert b"".join(shelf.archive().read(Recipe("load", {}, *stored))) == CONTENT
    assert (shelf.files(), shelf.intents.archives) == ([stored.name], {stored.name: len(CONTENT)})
    file = shelf.folder / stored.name
    assert (file.stat().st_mode & 0o777, shelf.folder.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize(
    ("room", "reserve", "expected"),
    [(0, 0, 1), (1000, 0, 1001), (1000, 0, 10), (1 << 20, 1 << 60, 10)],
    ids=["none", "known too big", "found too big", "reserve"],
)
def test_where_there_is_no_room_nothing_is_left(shelf: Shelf, room: int, reserve: int, expected: int) -> None:
    with pytest.raises(ArchiveError, match="undo"):
        shelf.archive(room, reserve).write(content, expected)
    assert (shelf.files(), shelf.intents.archives) == ([], {})


def test_a_rehearsal_tells_of_room_and_writes_nothing(shelf: Shelf) -> None:
    rehearsed = replace(shelf.archive(room=10), is_rehearsed=True)
    rehearsed.write(content, 11)  # there is no folder yet, and nobody makes one for that
    assert not shelf.folder.exists()
    shelf.folder.mkdir()
    rehearsed.write(content, 10)
    with pytest.raises(ArchiveError, match="11 bytes is more than the 10 bytes"):
        rehearsed.write(content, 11)
    assert (shelf.files(), shelf.intents.archives) == ([], {})


def test_room_is_that_of_all_archives_together(shelf: Shelf) -> None:
    room = len(CONTENT) * 3 // 2
    first = shelf.archive(room).write(content, 10)
    with pytest.raises(ArchiveError):
        shelf.archive(room).write(content, 10)
    shelf.archive(room).remove(first.name)
    shelf.archive(room).write(content, 10)


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """As a disk that is full after so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_leaves_nothing_behind(shelf: Shelf) -> None:
    with small_files(5000), pytest.raises(ArchiveError, match="no archive could be written"):
        shelf.archive().write(content, 10)
    assert (shelf.files(), shelf.intents.archives) == ([], {})


def test_a_big_one_shows_that_it_goes_on(shelf: Shelf) -> None:
    said: list[None] = []
    told = Archive(shelf.folder, shelf.intents, max_bytes=1 << 20, reserve_bytes=0, progress=lambda: said.append(None))
    told.write(content, 10)
    assert len(said) == len(CONTENT) // 1000


def test_what_lacks_its_proof_is_none(shelf: Shelf) -> None:
    with pytest.raises(ArchiveError, match="not this image"):
        shelf.archive().write(content, 10, proof="another")
    stored = shelf.archive().write(content, 10, proof="archive some content of an")  # across two chunks
    assert shelf.files() == [stored.name]


def test_an_error_of_the_engine_leaves_nothing_behind(shelf: Shelf) -> None:
    def fail(write: Callable[[bytes], object]) -> None:
        write(b"half")
        raise KeyError

    with pytest.raises(KeyError):
        shelf.archive().write(fail, 10)
    assert (shelf.files(), shelf.intents.archives) == ([], {})


@pytest.mark.parametrize("damage", ["change", "cut", "remove"])
def test_a_damaged_archive_is_not_read(shelf: Shelf, damage: str) -> None:
    stored = shelf.archive().write(content, 10)
    file = shelf.folder / stored.name
    match damage:
        case "change":
            file.write_bytes(CONTENT[:-1] + b"x")
        case "cut":
            file.write_bytes(CONTENT[:-1])
        case _:
            file.unlink()
    with pytest.raises(ArchiveError, match=stored.name):
        next(shelf.archive().read(Recipe("load", {}, *stored)))


def test_no_link_is_followed_and_no_other_name_removed(shelf: Shelf, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(CONTENT)
    stored = shelf.archive().write(content, 10)
    file = shelf.folder / stored.name
    file.unlink()
    file.symlink_to(precious)
    with pytest.raises(ArchiveError):
        next(shelf.archive().read(Recipe("load", {}, *stored)))
    shelf.archive().remove(stored.name)
    for name in ("../precious", str(precious), "precious", ""):
        shelf.archive().remove(name)
    assert precious.read_bytes() == CONTENT
    assert shelf.files() == []


@pytest.mark.parametrize("moved", [True, False])
def test_a_folder_that_is_a_link_is_not_used(shelf: Shelf, tmp_path: Path, *, moved: bool) -> None:
    """Those who make one want another disk for it: they are told how."""
    elsewhere, wanted = tmp_path / "elsewhere", "archives.*: it is a link; .* mount .*/elsewhere there"
    stored = shelf.archive().write(content, 10)
    shelf.folder.rename(elsewhere if moved else tmp_path / "gone")
    shelf.folder.symlink_to(elsewhere)
    with pytest.raises(ArchiveError, match=wanted):
        shelf.archive().write(content, 10)
    with pytest.raises(ArchiveError, match=wanted):
        next(shelf.archive().read(Recipe("load", {}, *stored)))
    assert sorted(elsewhere.glob("*")) == [elsewhere / stored.name] * moved


def test_what_a_killed_process_left_half_written_goes_with_its_name(shelf: Shelf) -> None:
    stored = shelf.archive().write(content, 10)
    (shelf.folder / stored.name).rename(shelf.folder / f"{stored.name}.part")
    shelf.archive().remove(stored.name)
    assert (shelf.files(), shelf.intents.archives) == ([], {})


def test_a_name_that_cannot_be_written_down_makes_no_file(shelf: Shelf) -> None:
    shelf.intents.full.add("begin_archive")
    with pytest.raises(Exception, match="no space"):
        shelf.archive().write(content, 10)
    assert shelf.files() == []

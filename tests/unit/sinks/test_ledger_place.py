"""No record, no removal, whatever happens to the state folder while the ledger is open."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.actions.archive import Archive, ArchiveError
from dockwarden.errors import LedgerError
from dockwarden.model import Recipe
from dockwarden.sinks.ledger import Ledger
from tests.builders import NOW, a_recipe, a_result, a_step, an_image
from tests.unit.sinks.test_ledger import ENGINE, Book, outcome_of, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP, RECIPE = a_step(an_image("app", "app:1")), a_recipe(an_image("app", "app:1"))


def remove_all(book: Book) -> None:
    for path in book.folder.glob("ledger.db*"):
        path.unlink()


def aside(book: Book) -> Path:
    place = book.folder.with_name(f"{book.folder.name}-{uuid.uuid4().hex}")
    book.folder.rename(place)
    return place


def replace_folder(book: Book) -> None:
    aside(book)
    book.folder.mkdir()


def another(book: Book) -> Path:
    """A ledger of somebody else."""
    with TemporaryDirectory() as folder:
        other = Ledger(Path(folder), lambda: NOW, lambda _: None)
        other.open()
        other.claim("another")
        other.intend("run-x", STEP, RECIPE)
        other.close()
        return Path(shutil.copy(Path(folder) / "ledger.db", book.folder.parent / "another.db"))


def shorten(book: Book) -> None:
    os.truncate(book.path, book.path.stat().st_size // 2 // 4096 * 4096)


def lead_elsewhere(book: Book) -> None:
    book.path.unlink()
    book.path.symlink_to(another(book))


MEDDLING: dict[str, Callable[[Book], object]] = {
    "all files removed": remove_all,
    "the file removed": lambda book: book.path.unlink(),
    "the log removed": lambda book: Path(f"{book.path}-wal").unlink(),
    "folder renamed": aside,
    "folder replaced by an empty one": replace_folder,
    "folder replaced by its copy": lambda book: shutil.copytree(aside(book), book.folder),
    "folder removed": lambda book: shutil.rmtree(book.folder),
    "file replaced by another": lambda book: another(book).replace(book.path),
    "file replaced by a link to another": lead_elsewhere,
    "file emptied": lambda book: os.truncate(book.path, 0),
    "file shortened": shorten,
    "file overwritten by rubbish": lambda book: book.path.write_bytes(b"no ledger" * 100),
}


def filled(book: Book) -> Ledger:
    """A ledger that has some past, part of it in its log."""
    ledger = book.open()
    ledger.claim(ENGINE)
    for run in range(20):
        number = ledger.intend(f"run-{run}", a_step(an_image("big", labels={"x": "y" * 3000})), RECIPE)
        ledger.conclude(number, outcome_of(STEP))
    return ledger


@contextmanager
def fresh(book: Book) -> Iterator[Ledger]:
    """What a process finds that starts now, as after a kill, without touching what is there."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "state"
        if book.folder.exists():
            shutil.copytree(book.folder, place)
        reader = Ledger(place, lambda: NOW, lambda _: None)
        reader.open()
        yield reader
        reader.close()


@pytest.mark.parametrize("how", MEDDLING)
def test_where_the_file_is_not_what_was_opened_nothing_is_promised(tmp_path: Path, how: str) -> None:
    book = Book(tmp_path / "state")
    ledger = filled(book)
    MEDDLING[how](book)
    with pytest.raises(LedgerError):
        ledger.record(report(a_result()))
    assert not book.can_be_written()
    for write in (lambda: ledger.intend("run-1", STEP, RECIPE), lambda: ledger.begin_archive("a.tar")):
        with pytest.raises(LedgerError):
            write()
        assert not book.can_be_written()
    ledger.close()


def test_a_folder_that_comes_back_is_written_again(tmp_path: Path) -> None:
    book = Book(tmp_path / "state")
    ledger = filled(book)
    place = aside(book)
    with pytest.raises(LedgerError):
        ledger.intend("run-1", STEP, RECIPE)
    place.rename(book.folder)
    number = ledger.intend("run-1", STEP, RECIPE)
    assert book.can_be_written()
    with fresh(book) as reader:
        assert [intent.number for intent in reader.open_intents()] == [number]
    ledger.close()


def test_a_new_start_begins_a_new_ledger_where_the_old_one_went(tmp_path: Path) -> None:
    book = Book(tmp_path / "state")
    filled(book)
    remove_all(book)
    assert book.claim().intend("run-1", STEP, RECIPE) == 1
    book.ledger.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["intend", "conclude", "record", *MEDDLING]), max_size=12))
def test_what_was_promised_is_what_the_next_process_finds(steps: list[str]) -> None:
    with TemporaryDirectory() as folder:
        book = Book(Path(folder) / "state")
        ledger = filled(book)
        promised: list[int] = []
        for step in steps:
            try:
                if step == "intend":
                    promised.append(ledger.intend("run-1", STEP, RECIPE))
                    with fresh(book) as reader:
                        assert promised[-1] in [intent.number for intent in reader.open_intents()]
                    assert book.can_be_written()
                elif step == "conclude" and promised:
                    ledger.conclude(promised.pop(), outcome_of(STEP))
                elif step == "record":
                    ledger.record(report(a_result()))
                elif step in MEDDLING:
                    MEDDLING[step](book)
            except LedgerError:
                assert not book.can_be_written()
            except FileNotFoundError:
                pass  # somebody meddled with it before
        ledger.close()


def test_a_link_keeps_the_mode_of_what_it_leads_to(tmp_path: Path) -> None:
    book = Book(tmp_path / "state")
    book.folder.mkdir()
    target = tmp_path / "elsewhere.db"
    target.touch()
    target.chmod(0o644)
    book.path.symlink_to(target)
    ledger = book.open()
    ledger.claim(ENGINE)
    assert ledger.intend("run-1", STEP, RECIPE)
    assert target.stat().st_mode & 0o777 == 0o644
    ledger.close()


def test_a_link_to_nothing_makes_a_file_for_nobody_else(tmp_path: Path) -> None:
    book = Book(tmp_path / "state")
    book.folder.mkdir()
    book.path.symlink_to(tmp_path / "elsewhere.db")
    book.open()
    assert (tmp_path / "elsewhere.db").stat().st_mode & 0o777 == 0o600
    book.ledger.close()


def test_archives_that_no_ledger_knows_count_and_are_named(tmp_path: Path) -> None:
    book = Book(tmp_path / "state")
    filled(book)
    archive = Archive(book.folder / "archives", book.ledger, max_bytes=100, reserve_bytes=0)
    known = archive.write(lambda write: write(b"x" * 40), 40)
    assert archive.strangers() == {}
    remove_all(book)
    again = Archive(book.folder / "archives", book.claim(), max_bytes=100, reserve_bytes=0)
    assert again.strangers() == {known.name: 40}
    with pytest.raises(ArchiveError):
        again.write(lambda write: write(b"x" * 61), 61)
    mine = again.write(lambda write: write(b"x" * 60), 60)
    book.ledger.intend("run-1", STEP, Recipe("load", {}, *mine))
    assert again.strangers() == {known.name: 40}
    book.ledger.close()

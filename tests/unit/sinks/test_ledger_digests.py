"""What the ledger keeps of digests: from when to when each was there, across restarts and engines."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.errors import LedgerError
from dockwarden.inventory.digests import Digests, Sighting
from dockwarden.sinks.ledger import Ledger
from tests.builders import DAY, NOW, Ticks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TAG, OTHER = "docker.io/library/app:1", "docker.io/library/app:2"
ENGINE = "ABCD /var/lib/docker host"


@pytest.fixture
def ticks() -> Ticks:
    ticks = Ticks()
    ticks.now = NOW
    return ticks


def begin(folder: Path, ticks: Ticks) -> Ledger:
    ledger = Ledger(folder, ticks, lambda _writable: None)
    ledger.open()
    ledger.claim(ENGINE)
    return ledger


@pytest.fixture
def ledger(tmp_path: Path, ticks: Ticks) -> Iterator[Ledger]:
    ledger = begin(tmp_path, ticks)
    yield ledger
    ledger.close()


def test_nothing_is_remembered_at_first(ledger: Ledger) -> None:
    assert ledger.history(TAG) == []
    assert ledger.present_digests(ENGINE) == []


def test_a_digest_ends_where_the_next_begins(ledger: Ledger) -> None:
    ledger.save_digests([(TAG, "local", "a", 1.0), (TAG, "local", "b", 5.0)])
    assert ledger.history(TAG) == [("local", "a", 1.0, 5.0), ("local", "b", 5.0, None)]
    assert ledger.present_digests(ENGINE) == [(TAG, "local", "b", 5.0)]


def test_a_digest_that_nobody_sees_any_more_ends_and_nothing_begins(ledger: Ledger) -> None:
    ledger.save_digests([(TAG, "registry", "a", 1.0)])
    ledger.save_digests([(TAG, "registry", None, 4.0)])
    assert ledger.history(TAG) == [("registry", "a", 1.0, 4.0)]
    assert ledger.present_digests(ENGINE) == []


def test_that_a_registry_has_a_tag_no_more_is_kept_like_a_digest(ledger: Ledger) -> None:
    ledger.save_digests([(TAG, "registry", "a", 1.0), (TAG, "registry", "", 4.0)])
    assert ledger.history(TAG) == [("registry", "a", 1.0, 4.0), ("registry", "", 4.0, None)]
    assert ledger.present_digests(ENGINE) == [(TAG, "registry", "", 4.0)]


def test_sides_and_tags_are_apart(ledger: Ledger) -> None:
    ledger.save_digests([(TAG, "local", "a", 1.0), (OTHER, "local", "b", 1.5), (TAG, "registry", "c", 2.0)])
    ledger.save_digests([(TAG, "local", "c", 3.0)])
    assert ledger.history(TAG) == [("local", "a", 1.0, 3.0), ("registry", "c", 2.0, None), ("local", "c", 3.0, None)]
    assert ledger.history(OTHER) == [("local", "b", 1.5, None)]


def test_a_history_is_told_from_the_oldest_on(ledger: Ledger) -> None:
    ledger.save_digests([(TAG, "registry", "late", 9.0)])
    ledger.save_digests([(TAG, "local", "early", 3.0)])
    assert [row[1] for row in ledger.history(TAG)] == ["early", "late"]


def test_digests_outlive_the_process(ledger: Ledger, tmp_path: Path, ticks: Ticks) -> None:
    ledger.save_digests([(TAG, "local", "a", NOW), (TAG, "local", "b", NOW + 1), (TAG, "registry", "b", NOW + 2)])
    before = ledger.history(TAG)
    ledger.close()
    ticks.pass_(10 * DAY)
    again = begin(tmp_path, ticks)
    assert again.history(TAG) == before
    assert before == [
        ("local", "a", NOW, NOW + 1),
        ("local", "b", NOW + 1, None),
        ("registry", "b", NOW + 2, None),
    ]
    assert sorted(again.present_digests(ENGINE)) == [(TAG, "local", "b", NOW + 1), (TAG, "registry", "b", NOW + 2)]
    again.close()


def test_a_reader_sees_what_is_written_meanwhile_and_cannot_write(ledger: Ledger, tmp_path: Path, ticks: Ticks) -> None:
    reader = Ledger(tmp_path, ticks, lambda _writable: None)
    reader.open_to_read()
    ledger.save_digests([(TAG, "local", "a", 1.0)])
    assert reader.history(TAG) == [("local", "a", 1.0, None)]
    with pytest.raises(LedgerError):
        reader.claim(ENGINE)
    with pytest.raises(LedgerError):
        reader.save_digests([(TAG, "local", "b", 2.0)])
    reader.close()
    assert ledger.history(TAG) == [("local", "a", 1.0, None)]


def test_another_engine_ends_what_was_there_and_keeps_the_past(ledger: Ledger, ticks: Ticks) -> None:
    ledger.save_digests([(TAG, "local", "a", NOW - 9), (TAG, "registry", "b", NOW - 8)])
    ticks.pass_(5)
    assert ledger.present_digests("another engine") == []
    ledger.claim("another engine")
    assert ledger.present_digests("another engine") == ledger.present_digests(ENGINE) == []
    assert ledger.history(TAG) == [("local", "a", NOW - 9, NOW + 5), ("registry", "b", NOW - 8, NOW + 5)]


def test_nothing_is_written_before_an_engine_was_seen(ledger: Ledger, tmp_path: Path, ticks: Ticks) -> None:
    ledger.save_digests([(TAG, "local", "a", NOW)])
    ledger.close()
    again = Ledger(tmp_path, ticks, lambda _writable: None)
    again.open()
    again.save_digests([(TAG, "local", "b", NOW)])
    assert again.history(TAG) == [("local", "a", NOW, None)]
    again.close()


def test_what_ended_more_than_a_year_ago_is_dropped_and_what_is_there_stays(ledger: Ledger, ticks: Ticks) -> None:
    ledger.save_digests([(TAG, "local", "old", NOW), (TAG, "local", "present", NOW + DAY)])
    ticks.pass_(4000 * DAY)  # the wall clock has no say
    ledger.save(390 * DAY, [])
    ledger.prune()
    assert [row[1] for row in ledger.history(TAG)] == ["old", "present"]
    ledger.save(401 * DAY, [])
    ledger.prune()
    assert ledger.history(TAG) == [("local", "present", NOW + DAY, None)]


def test_an_interrupted_write_leaves_all_or_nothing(ledger: Ledger) -> None:
    ledger.save_digests([(TAG, "local", "a", 1.0)])
    with pytest.raises(LedgerError):
        ledger.save_digests([(TAG, "local", "b", 2.0), (OTHER, None, "x", 2.0)])  # type: ignore[list-item]
    assert ledger.history(TAG) == [("local", "a", 1.0, None)]
    ledger.save_digests([(TAG, "local", "b", 3.0)])
    assert ledger.history(TAG) == [("local", "a", 1.0, 3.0), ("local", "b", 3.0, None)]


def test_a_tag_is_data_and_no_query(ledger: Ledger, tmp_path: Path) -> None:
    hostile = "x'; DROP TABLE digests; --"
    ledger.save_digests([(hostile, "local", "a", 1.0)])
    assert ledger.history(hostile) == [("local", "a", 1.0, None)]
    assert ledger.history("%") == []
    db = sqlite3.connect(tmp_path / "ledger.db")
    assert db.execute("SELECT count(*) FROM digests").fetchone() == (1,)
    db.close()


_LOOKS = st.lists(
    st.tuples(
        st.sampled_from([TAG, OTHER]),
        st.sampled_from(["local", "registry"]),
        st.sampled_from([None, "", "a", "b"]),
        st.booleans(),
    ),
    max_size=20,
)


@given(_LOOKS)
@settings(deadline=None, max_examples=40)
def test_what_was_seen_can_be_read_back_at_any_time(
    tmp_path_factory: pytest.TempPathFactory, looks: list[tuple[str, str, str | None, bool]]
) -> None:
    """Through restarts after any look: spans of one side never overlap, and the last one is what is there."""
    folder, ticks = tmp_path_factory.mktemp("ledger"), Ticks()
    ledger, digests = begin(folder, ticks), Digests()
    truth: dict[tuple[str, str], list[tuple[float, str | None]]] = {}
    for tag, side, digest, is_restarted in looks:
        ticks.pass_(1)
        past = truth.setdefault((tag, side), [])
        if digest is None:
            digests.leave(tag, side, ticks.now)
        else:
            digests.see(tag, side, digest, ticks.now)
        was_there = bool(past) and past[-1][1] is not None
        past.append((ticks.now, digest if digest or was_there else None))
        if is_restarted:
            ledger.save_digests(digests.unsaved)
            ledger.close()
            ledger, digests = begin(folder, ticks), Digests()
            digests.recall([Sighting(*row) for row in ledger.present_digests(ENGINE)])
    ledger.save_digests(digests.unsaved)
    for (tag, side), seen in truth.items():
        spans = [row[1:] for row in ledger.history(tag) if row[0] == side]
        for at, digest in seen:
            found = [known for known, since, until in spans if since <= at and (until is None or at < until)]
            assert found == ([] if digest is None else [digest])
    ledger.close()

"""The ledger: what was written down is found again, whatever ended the process; it says when it cannot be written."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dockwarden.actions.archive import Archive
from dockwarden.errors import LedgerError
from dockwarden.model import Cause, Effect, Kind, Observed, Outcome, Recipe, Ref, Report, Result, Severity, Step
from dockwarden.sinks.ledger import Ledger
from dockwarden.sinks.ledger.schema import SCHEMA_VERSION
from tests.builders import NOW, a_recipe, a_result, a_step, an_image, digest_of, image_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINE = "ABCD /var/lib/docker host"
APP = Ref(Kind.IMAGE, image_id("app"))
DATA = Ref(Kind.VOLUME, "data")
ROOT = Path(__file__).parents[3]


class Book:
    """A ledger in a folder that outlives its process, and what it said of being writable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "ledger.db"
        self.writable: list[bool] = []
        self.now, self.watched = NOW, 0.0
        self.ledger = self._new()

    def _new(self) -> Ledger:
        return Ledger(self.folder, lambda: self.now, self.writable.append, lambda: self.watched)

    def open(self) -> Ledger:
        self.ledger.open()
        return self.ledger

    def restart(self) -> Ledger:
        """The next process."""
        self.ledger.close()
        self.ledger = self._new()
        return self.open()

    def claim(self) -> Ledger:
        """The next process, which may act."""
        self.restart().claim(ENGINE)
        return self.ledger

    def can_be_written(self) -> bool:
        """What it said last."""
        return self.writable[-1]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("ledger*"))

    def sql(self, query: str, *values: object) -> list[tuple[object, ...]]:
        db = sqlite3.connect(self.path)
        try:
            with db:
                return db.execute(query, values).fetchall()
        finally:
            db.close()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    book = Book(tmp_path / "state")
    yield book
    book.ledger.close()


@pytest.fixture
def ledger(book: Book) -> Ledger:
    book.open().claim(ENGINE)
    return book.ledger


def outcome_of(step: Step, effect: Effect = Effect.APPLIED, reason: str = "removed", freed: int = 0) -> Outcome:
    return Outcome(step.policy, step.action, step.ref, step.name, effect, reason, freed)


def all_refused(*writes: Callable[[], object]) -> None:
    for write in writes:
        with pytest.raises(LedgerError, match=r"ledger\.db"):
            write()


def report(*opened: Result, resolved: tuple[Result, ...] = (), at: float = NOW) -> Report:
    return Report("run-1", Cause.EVENT, at, 0.1, {}, opened, resolved, (), (), ())


IMAGE = an_image("app", "app:1", digests=(digest_of("app", "d"),), labels={"a": "b"}, size_bytes=77)
STEP = a_step(IMAGE)
RECIPE = a_recipe(IMAGE)


# -- a first start -----------------------------------------------------------------------------------------


def test_a_first_start_makes_the_folder_and_the_file_for_nobody_else(book: Book, ledger: Ledger) -> None:
    assert book.path.stat().st_mode & 0o777 == 0o600
    assert book.folder.stat().st_mode & 0o777 == 0o700
    assert ledger.recall(ENGINE) == (0.0, [])
    assert (ledger.open_findings(), ledger.open_intents(), ledger.recent_actions(10)) == ([], [], [])
    assert set(book.writable) == {True}


def test_before_it_is_open_a_ledger_knows_nothing_and_makes_nothing(book: Book) -> None:
    assert book.ledger.recall(ENGINE) == (0.0, [])
    assert book.ledger.open_findings() == []
    assert not book.folder.exists()


# -- memory ------------------------------------------------------------------------------------------------


def test_a_restart_keeps_the_memory(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    seen = {APP: Observed(1.25, 3.5, had_tag=True), DATA: Observed(2.0, -1.0)}
    ledger.save(1234.5, seen.items())
    clock, memory = book.restart().recall(ENGINE)
    assert (clock, dict(memory)) == (1234.5, seen)


def test_a_later_save_replaces_and_removes(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    ledger.save(1.0, [(APP, Observed(1, 1)), (DATA, Observed(1, 1))])
    ledger.save(2.0, [(APP, Observed(1, 2, had_tag=True)), (DATA, None)])
    assert book.restart().recall(ENGINE) == (2.0, [(APP, Observed(1, 2, had_tag=True))])


def test_objects_of_the_same_name_and_of_different_kinds_are_kept_apart(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    same = {Ref(Kind.VOLUME, "x"): Observed(1, 1), Ref(Kind.IMAGE, "x"): Observed(2, 2)}
    ledger.save(1.0, same.items())
    assert dict(book.restart().recall(ENGINE)[1]) == same


def test_what_is_remembered_of_another_engine_is_nothing(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    ledger.save(1234.5, [(APP, Observed(1, 1))])
    again = book.restart()
    assert again.recall("another /var/lib/docker host") == (0.0, [])
    again.claim("another /var/lib/docker host")
    assert again.recall("another /var/lib/docker host") == (0.0, [])
    assert again.recall(ENGINE) == (0.0, []), "ages of the first engine came back"


def test_claiming_the_same_engine_again_forgets_nothing(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    ledger.save(5.0, [(APP, Observed(1, 1))])
    again = book.restart()
    again.claim(ENGINE)
    assert again.recall(ENGINE) == (5.0, [(APP, Observed(1, 1))])


def test_before_any_engine_was_seen_nothing_is_saved_over_what_is_there(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    ledger.save(5.0, [(APP, Observed(1, 1))])
    again = book.restart()
    again.save(0.0, [])
    assert again.recall(ENGINE) == (5.0, [(APP, Observed(1, 1))])


def test_another_engine_is_told_and_a_first_one_is_not(ledger: Ledger) -> None:
    with capture_logs() as lines:
        ledger.claim(ENGINE)
        assert lines == []
        ledger.claim("another")
    assert [line["event"] for line in lines] == ["ledger.other_engine"]


# -- findings ------------------------------------------------------------------------------------------------


def test_a_restart_keeps_open_findings(book: Book, ledger: Ledger) -> None:
    found = a_result("no-latest", Ref(Kind.TAG, "x:latest"), name="x:latest", severity=Severity.HIGH, message="moves")
    ledger.record(report(found, at=NOW))
    [finding] = book.restart().open_findings()
    assert (finding.result, finding.opened_at) == (found, NOW)


def test_a_finding_keeps_since_when_it_was_watched(book: Book, ledger: Ledger) -> None:
    ledger.record(report(a_result(), at=NOW)._replace(watched_seconds=77.5))
    [finding] = book.restart().open_findings()
    assert finding.opened_seconds == 77.5


def test_only_one_process_acts_at_a_time(book: Book, ledger: Ledger) -> None:
    other = book._new()
    with ledger.alone(), pytest.raises(LedgerError, match="another dockwarden"), other.alone():
        pytest.fail("both act")
    with other.alone():
        pass


def test_a_resolved_finding_is_not_open_and_may_open_again(book: Book, ledger: Ledger) -> None:
    ledger.record(report(a_result(), at=NOW))
    ledger.record(report(resolved=(a_result(reason="pass"),), at=NOW + 60))
    assert book.restart().open_findings() == []
    book.ledger.record(report(a_result(), at=NOW + 120))
    [finding] = book.restart().open_findings()
    assert finding.opened_at == NOW + 120
    history = book.sql("SELECT opened_at, resolved_at, why FROM findings ORDER BY opened_at")
    assert history == [(NOW, NOW + 60, "pass"), (NOW + 120, None, None)]


def test_a_second_resolution_does_not_rewrite_the_first(book: Book, ledger: Ledger) -> None:
    for at, why in ((NOW, "pass"), (NOW + 100, "gone")):
        ledger.record(report(a_result(), at=at))
        ledger.record(report(resolved=(a_result(reason=why),), at=at + 10))
    history = book.sql("SELECT opened_at, resolved_at, why FROM findings ORDER BY opened_at")
    assert history == [(NOW, NOW + 10, "pass"), (NOW + 100, NOW + 110, "gone")]


def test_a_finding_that_is_open_already_keeps_its_date(book: Book, ledger: Ledger) -> None:
    ledger.record(report(a_result(), at=NOW))
    ledger.record(report(a_result(), at=NOW + 60))
    [finding] = book.restart().open_findings()
    assert finding.opened_at == NOW


def test_findings_of_two_policies_and_of_two_objects_are_four(book: Book, ledger: Ledger) -> None:
    results = [a_result(policy, ref) for policy in ("one", "two") for ref in (APP, DATA)]
    ledger.record(report(*results))
    ledger.record(report(resolved=(results[0]._replace(reason="gone"),)))
    left = {(finding.result.policy, finding.result.ref) for finding in book.restart().open_findings()}
    assert left == {("one", DATA), ("two", APP), ("two", DATA)}


def test_text_of_strangers_is_stored_as_it_is(book: Book, ledger: Ledger) -> None:
    odd = "'; DROP TABLE findings; -- \x00\u202e\n{{ x }}"
    ledger.record(report(a_result(ref=Ref(Kind.VOLUME, odd), name=odd, message=odd)))
    [finding] = book.restart().open_findings()
    assert (finding.result.name, finding.result.message, finding.result.ref.key) == (odd, odd, odd)


# -- removals ------------------------------------------------------------------------------------------------


def test_an_intent_is_open_until_it_is_concluded(book: Book, ledger: Ledger) -> None:
    number = ledger.intend("run-1", STEP, RECIPE)
    [intent] = book.restart().open_intents()
    assert (intent.number, intent.policy, intent.action) == (number, "old-images", "remove")
    assert (intent.ref, intent.name, intent.recipe.parameters["id"]) == (APP, STEP.name, image_id("app"))
    book.ledger.conclude(number, outcome_of(STEP))
    assert book.ledger.open_intents() == []


def test_an_intent_holds_what_would_bring_the_image_back(book: Book, ledger: Ledger) -> None:
    ledger.intend("run-1", STEP, RECIPE)
    [[recipe]] = book.sql("SELECT recipe FROM actions")
    for needed in (image_id("app"), "docker.io/library/app:1", digest_of("app", "d"), '"a": "b"', "77"):
        assert needed in str(recipe)


def test_an_intent_is_committed_in_full_synchrony_before_it_returns(ledger: Ledger) -> None:
    said: list[str] = []
    assert ledger._db is not None
    ledger._db.set_trace_callback(said.append)
    ledger.intend("run-1", STEP, RECIPE)
    order = [
        said.index(next(line for line in said if line.startswith(word)))
        for word in ("PRAGMA synchronous = FULL", "BEGIN", "INSERT", "COMMIT")
    ]
    assert order == sorted(order)


def test_actions_are_shown_newest_first_under_public_names(book: Book, ledger: Ledger) -> None:
    other = a_step(an_image("other", "other:1"), "other:1", policy="old-tags")
    for run, step in (("run-1", STEP), ("run-2", other)):
        book.now += 1
        ledger.conclude(ledger.intend(run, step, RECIPE), outcome_of(step, freed=77))
    first, second = book.restart().recent_actions(10)
    assert first == {
        "id": 2,
        "run": "run-2",
        "policy": "old-tags",
        "action": "untag",
        "subject": "tag",
        "object_id": "docker.io/library/other:1",
        "name": "other:1",
        "outcome": "applied",
        "reason": "removed",
        "at": NOW + 2,
        "undoable_until": NOW + 2 + 14 * 86400,
    }
    assert second["run"] == "run-1"
    assert book.ledger.recent_actions(1) == [first]


def test_numbers_are_never_given_twice(book: Book, ledger: Ledger) -> None:
    numbers = [ledger.intend("run-1", STEP, RECIPE) for _ in range(3)]
    numbers.append(book.claim().intend("run-2", STEP, RECIPE))
    assert numbers == sorted(set(numbers))


# -- undoing -------------------------------------------------------------------------------------------------


def kept(name: str) -> Recipe:
    return Recipe("load", {"id": image_id("app"), "tags": []}, name, 10, "sum")


def carried_out(ledger: Ledger, recipe: Recipe, run: str = "run-1", effect: Effect = Effect.APPLIED) -> int:
    number = ledger.intend(run, STEP, recipe)
    ledger.conclude(number, outcome_of(STEP, effect))
    return number


def test_what_was_carried_out_or_cut_short_is_of_its_engine_and_undone_by_run_and_by_action(
    book: Book, ledger: Ledger
) -> None:
    ledger.claim(ENGINE)
    first, second = carried_out(ledger, RECIPE), carried_out(ledger, kept("a.tar"), "run-2")
    carried_out(ledger, RECIPE, effect=Effect.REFUSED)
    carried_out(ledger, Recipe("none", {}))
    cut_short = ledger.intend("run-1", STEP, RECIPE)
    again = book.restart()
    assert [done.number for done in again.undoable()] == [second, first]
    [done] = again.undoable("run-2")
    assert (done.number, done.recipe, done.until) == (second, kept("a.tar"), NOW + 14 * 86400)
    assert [done.number for done in again.undoable(str(first))] == [first]
    assert again.undoable("run-3") == []
    for other in ("another", "ABCD /elsewhere host", "EFGH /var/lib/docker host"):
        again.claim(other)
        assert (again.undoable(), again.open_intents(), again.ages(STEP.action, STEP.ref)) == ([], [], [])
    for own in (f"{ENGINE}-renamed", ENGINE):
        again.claim(own)
        assert (len(again.undoable()), [intent.number for intent in again.open_intents()]) == (2, [cut_short])
        assert len(again.ages(STEP.action, STEP.ref)) == 3


@pytest.mark.parametrize(
    ("now", "is_ours"),
    [
        ("84c1f433-56f7-4c65-9674-c768f6efe1ec /var/lib/docker host", True),
        ("ZHCR:Z6MV:HCZL:432M /var/lib/docker host", False),
        ("84c1f433-56f7-4c65-9674-c768f6efe1ec /var/lib/docker other", False),
        ("84c1f433-56f7-4c65-9674-c768f6efe1ec /var/lib/docker/100000.100000 host", False),
    ],
)
def test_what_was_done_before_an_engine_got_another_id_by_its_upgrade_is_its_own(
    ledger: Ledger, now: str, *, is_ours: bool
) -> None:
    ledger.claim("2PPN:443Z:S2BM:5FI4 /var/lib/docker host")
    carried_out(ledger, RECIPE)
    cut_short = ledger.intend("run-1", STEP, RECIPE)
    assert ledger.is_of(now) == is_ours
    ledger.claim(now)
    assert [intent.number for intent in ledger.open_intents()] == [cut_short] * is_ours
    assert len(ledger.undoable()) == is_ours
    ledger.claim("2PPN:443Z:S2BM:5FI4 /var/lib/docker host")
    assert len(ledger.undoable()) == 1


def test_a_ledger_that_could_not_be_claimed_gives_nothing_of_another_engine(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    carried_out(ledger, RECIPE)
    ledger.intend("run-1", STEP, RECIPE)
    with closing(sqlite3.connect(book.path)) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON meta BEGIN SELECT raise(FAIL, 'full'); END")
        other.commit()
    with pytest.raises(LedgerError):
        ledger.claim("another /var/lib/docker host")
    assert (ledger.undoable(), ledger.open_intents()) == ([], [])


def test_what_the_swarm_paused_can_be_undone_and_is_not_done_again(ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    recipe = RECIPE._replace(parameters={"new_image_id": APP.key, "service": "shop/web"})
    number = ledger.intend("run-1", STEP, recipe)
    ledger.conclude(number, outcome_of(STEP, Effect.FAILED, "paused"))
    [done] = ledger.undoable()
    assert (done.number, done.outcome, done.reason) == (number, "failed", "paused")
    assert ledger.is_barred(STEP.action, STEP.name, APP.key)
    assert ledger.is_barred(STEP.action, "another", APP.key, service="shop/web")
    assert not ledger.is_barred(STEP.action, "another", APP.key, service="shop/cron")
    assert not ledger.is_barred(STEP.action, "another", APP.key)


@pytest.mark.parametrize(
    ("reason", "effect"),
    [("paused", Effect.FAILED), ("updated", Effect.APPLIED), ("other_platform", Effect.REFUSED)],
)
def test_an_image_is_barred_for_longer_than_its_update_can_be_undone(
    book: Book, ledger: Ledger, reason: str, effect: Effect
) -> None:
    ledger.claim(ENGINE)
    step = STEP._replace(action="update")
    about = {"new_image_id": APP.key, "image_ref": "app:1", "platform": "linux/amd64", "was_here": False}
    ledger.conclude(ledger.intend("run-1", step, Recipe("update", about)), outcome_of(step, effect, reason))
    book.watched += 15 * 86400
    ledger.expire()
    assert ledger.undoable() == []
    alike = {"back_to": "app:1", "platform": "linux/amd64"}
    assert ledger.is_barred("update", step.name, APP.key, **alike)
    assert not ledger.is_barred("update", step.name, "another image", **alike)


@pytest.mark.parametrize(
    ("more", "is_barred"),
    [({}, True), ({"was_here": True}, False), ({"platform": "linux/arm64"}, False), ({"platform": ""}, False)],
)
def test_what_was_pulled_for_another_platform_is_barred_for_all_of_this_one(
    ledger: Ledger, more: dict[str, object], *, is_barred: bool
) -> None:
    ledger.claim(ENGINE)
    about = {"from": APP.key, "platform": "linux/amd64", "was_here": False, **more}
    number = ledger.intend("run-1", STEP, Recipe("update", about))
    ledger.conclude(number, outcome_of(STEP, Effect.REFUSED, "other_platform"))
    assert ledger.is_barred(STEP.action, "another", APP.key, platform="linux/amd64") == is_barred
    assert not ledger.is_barred("pull", "another", APP.key, platform="linux/amd64")
    assert not ledger.is_barred(STEP.action, STEP.name, APP.key)


@pytest.mark.parametrize("end", ["told", "undone", "expired"])
def test_what_a_swarm_is_still_at_is_looked_at_again_until_its_end(book: Book, ledger: Ledger, end: str) -> None:
    ledger.claim(ENGINE)
    number = ledger.intend("run-1", STEP, RECIPE)
    ledger.conclude(number, outcome_of(STEP, Effect.FAILED, "updating"))
    assert [each.number for each in book.claim().open_intents()] == [number]
    ledger = book.ledger
    assert [each.number for each in ledger.undoable()] == [number]
    if end == "undone":
        undo = STEP._replace(action="undo")
        ledger.conclude(ledger.intend("run-2", undo, Recipe("none", {"undoes": number})), outcome_of(undo))
    elif end == "told":
        ledger.conclude(number, outcome_of(STEP))
    else:
        book.watched += 15 * 86400
        ledger.expire()
    assert ledger.open_intents() == []


def test_what_was_undone_cannot_be_undone_again_nor_updated_again_and_is_young(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    ledger.save(100.0, [(APP, Observed(1, 1)), (DATA, Observed(1, 1))])
    told = {"new_image_id": APP.key, "image_ref": "app:1"}
    number = carried_out(ledger, RECIPE._replace(parameters={**RECIPE.parameters, **told}))
    undo = STEP._replace(action="undo")
    ledger.conclude(ledger.intend("run-2", undo, Recipe("none", {"undoes": number})), outcome_of(undo, Effect.FAILED))
    assert len(ledger.undoable()) == 1
    assert not ledger.is_barred(STEP.action, STEP.name, APP.key)
    assert ledger.is_barred(STEP.action, STEP.name, APP.key, back_to="app:1")
    assert not ledger.is_barred(STEP.action, STEP.name, APP.key, back_to="app:2")
    ledger.conclude(ledger.intend("run-2", undo, Recipe("none", {"undoes": number})), outcome_of(undo))
    assert ledger.undoable() == []
    assert ledger.is_barred(STEP.action, STEP.name, APP.key)
    assert book.restart().recall(ENGINE)[1] == [(DATA, Observed(1, 1))]


@pytest.mark.parametrize("effect", [None, Effect.FAILED, Effect.APPLIED, Effect.REFUSED])
def test_the_object_of_an_undo_is_young_however_that_ends_but_refused(
    book: Book, ledger: Ledger, effect: Effect | None
) -> None:
    ledger.claim(ENGINE)
    ledger.save(100.0, [(APP, Observed(1, 1)), (DATA, Observed(1, 1))])
    undo = STEP._replace(action="undo")
    number = ledger.intend("run-2", undo, Recipe("none", {"undoes": carried_out(ledger, RECIPE)}))
    if effect:
        ledger.conclude(number, outcome_of(undo, effect))
    old = [(DATA, Observed(1, 1))]
    assert book.restart().recall(ENGINE)[1] == (old if effect is not Effect.REFUSED else [(APP, Observed(1, 1)), *old])


def test_what_makes_an_archive_needless_is_on_the_disk_before_that_goes(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    undo = STEP._replace(action="undo")
    number = ledger.intend("run-2", undo, Recipe("none", {"undoes": carried_out(ledger, kept("undone.tar"))}))
    carried_out(ledger, kept("old.tar"))
    book.watched += 15 * 86400
    assert ledger._db is not None
    for act in (lambda: ledger.conclude(number, outcome_of(undo)), ledger.expire):
        said: list[str] = []
        ledger._db.set_trace_callback(said.append)
        act()
        assert said.index("PRAGMA synchronous = FULL") < said.index("COMMIT")


def test_what_updates_left_aside_is_told_before_that_in_which_it_lives(ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    for key, joined in (("web", ["side", "inner"]), ("other", ["beside"])):
        step = STEP._replace(action="update", ref=Ref(Kind.CONTAINER, key))
        about = {"joined": [{"id": each} for each in joined]}
        ledger.conclude(ledger.intend("run-1", step, Recipe("update", about)), outcome_of(step, reason="updated"))
    order = [key for key, _ in ledger.aside(STEP.policy)]
    assert sorted(order) == ["beside", "inner", "other", "side", "web"]
    assert order.index("inner") < order.index("side") < order.index("web")
    assert order.index("beside") < order.index("other")


@pytest.mark.parametrize(
    "read",
    [
        Ledger.open_intents,
        Ledger.open_findings,
        Ledger.undoable,
        lambda ledger: ledger.ages(STEP.action, STEP.ref),
        lambda ledger: ledger.aside(STEP.policy),
        lambda ledger: ledger.recent_actions(9),
    ],
)
def test_whoever_shows_what_would_be_done_reads_in_a_thread_of_its_own(
    book: Book, ledger: Ledger, read: Callable[[Ledger], object]
) -> None:
    ledger.conclude(ledger.intend("run-1", STEP, RECIPE), outcome_of(STEP))
    ledger.intend("run-2", STEP, RECIPE)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(read, ledger).result() == read(ledger)
    assert (book.can_be_written(), set(book.writable)) == (True, {True})


def test_the_clock_is_read_once_for_all_ages(tmp_path: Path) -> None:
    asked: list[str] = []

    def watched() -> float:
        asked.append("")
        return 5.0

    ledger = Ledger(tmp_path / "state", lambda: NOW, lambda _: None, watched)
    ledger.open()
    ledger.claim(ENGINE)
    for run in ("run-1", "run-2", "run-3"):
        ledger.conclude(ledger.intend(run, STEP, RECIPE), outcome_of(STEP))
    asked.clear()
    assert (len(ledger.ages(STEP.action, STEP.ref)), len(asked)) == (3, 1)
    ledger.close()


def test_recipes_and_archives_expire(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    for name in ("old.tar", "refused.tar", "unfinished.tar", "orphan.tar"):
        ledger.begin_archive(name)
        ledger.end_archive(name, 10)
    carried_out(ledger, kept("old.tar"))
    carried_out(ledger, kept("refused.tar"), effect=Effect.REFUSED)
    ledger.intend("run-1", STEP, kept("unfinished.tar"))
    assert (len(ledger.known_archives()), ledger.expire()) == (4, ["refused.tar"])
    book.now += 3650 * 86400  # the wall clock has no say
    assert ledger.expire() == ["refused.tar"]
    book.watched += 2 * 86400
    assert ledger.expire() == ["orphan.tar", "refused.tar"]
    book.watched += 13 * 86400
    assert sorted(ledger.expire()) == ["old.tar", "orphan.tar", "refused.tar"]
    assert ledger.undoable() == []
    assert image_id("app") not in str(book.sql("SELECT recipe FROM actions WHERE outcome = 'applied'"))
    ledger.forget_archive("old.tar")
    assert "old.tar" not in ledger.expire()


# -- crashes -------------------------------------------------------------------------------------------------

_CRASHING = """
    import os, pathlib, signal, sys
    from dockwarden.model import Effect, Observed, Outcome
    from dockwarden.sinks.ledger import Ledger
    from tests.builders import a_recipe, a_step, an_image
    RECIPE = a_recipe(an_image('app', 'app:1'))

    ledger = Ledger(pathlib.Path(sys.argv[1]), lambda: 1.0, lambda _: None)
    ledger.open()
    ledger.claim("engine")
"""


def child(folder: Path, program: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(_CRASHING) + textwrap.dedent(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )


def test_a_process_that_is_killed_between_intent_and_end_leaves_the_intent_behind(book: Book) -> None:
    program = """
    step = a_step(an_image("app", "app:1"))
    ledger.conclude(ledger.intend("run", a_step(an_image("done")), RECIPE),
                    Outcome("p", "remove", step.ref, "done", Effect.APPLIED, "removed"))
    ledger.intend("run", step, RECIPE)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    with child(book.folder, program) as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    [intent] = book.open().open_intents()
    assert intent.recipe.parameters["id"] == image_id("app")


def test_memory_and_findings_survive_a_kill(book: Book) -> None:
    program = """
    from tests.builders import a_result
    from tests.unit.sinks.test_ledger import APP, report
    ledger.save(55.0, [(APP, Observed(1.0, 2.0))])
    ledger.record(report(a_result()))
    os.kill(os.getpid(), signal.SIGKILL)
    """
    with child(book.folder, program) as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert book.open().recall("engine") == (55.0, [(APP, Observed(1.0, 2.0))])
    assert len(book.ledger.open_findings()) == 1


@pytest.mark.parametrize("acknowledged", [1, 7, 40])
def test_everything_that_was_acknowledged_before_a_kill_is_there(book: Book, acknowledged: int) -> None:
    program = """
    step = a_step(an_image("app", "app:1"))
    while True:
        number = ledger.intend("run", step, RECIPE)
        print("intended", number, flush=True)
        ledger.conclude(number, Outcome("p", "remove", step.ref, "app", Effect.APPLIED, "removed"))
        print("concluded", number, flush=True)
    """
    with child(book.folder, program) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            if line.endswith("\n"):  # the kill may cut the last line short: that much was not acknowledged
                said.append(line.strip())
            if len(said) == acknowledged:
                process.kill()
    intended = [int(line.split()[1]) for line in said if line.startswith("intended")]
    concluded = [int(line.split()[1]) for line in said if line.startswith("concluded")]
    book.open()
    rows = {row[0]: row[1] for row in book.sql("SELECT id, outcome FROM actions")}
    assert set(intended) <= rows.keys()
    assert all(rows[number] == "applied" for number in concluded)
    assert len(book.ledger.open_intents()) <= 1


# -- a file that cannot be used --------------------------------------------------------------------------------


def damage_header(path: Path) -> None:
    path.write_bytes(b"this is not a database, it never was" * 100)


def damage_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 2048] = b"\xff" * 2048
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damage_header, damage_pages])
def test_a_damaged_file_is_set_aside_and_named_and_a_new_one_begun(book: Book, damage: Callable[[Path], None]) -> None:
    ledger = book.open()
    ledger.claim(ENGINE)
    ledger.save(5.0, [(Ref(Kind.IMAGE, image_id(str(n))), Observed(1, 1)) for n in range(500)])
    ledger.close()
    damage(book.path)
    damaged = book.path.read_bytes()
    with capture_logs() as lines:
        again = book.claim()
    assert again.recall(ENGINE) == (0.0, [])
    assert again.intend("run-1", STEP, RECIPE)
    aside = book.folder / f"ledger.db.damaged-{int(NOW)}"
    assert aside.read_bytes() == damaged
    [line] = [line for line in lines if line["event"] == "ledger.damaged"]
    assert line["set_aside"] == str(aside)
    assert book.can_be_written()


def test_an_empty_file_is_a_new_ledger(book: Book) -> None:
    book.folder.mkdir()
    book.path.touch()
    assert book.claim().intend("run-1", STEP, RECIPE) == 1


@pytest.mark.parametrize("version", [1, 99])
def test_a_ledger_of_another_version_is_left_alone(book: Book, ledger: Ledger, version: int) -> None:
    ledger.close()
    book.sql(f"PRAGMA user_version = {version}")
    before = book.path.read_bytes()
    again = book.restart()
    with pytest.raises(LedgerError, match=f"schema is {version}"):
        again.intend("run-1", STEP, RECIPE)
    assert not book.can_be_written()
    book.ledger.close()
    book.ledger.open_to_read()
    assert f"schema is {version}" in book.ledger.unreadable
    book.ledger.close()
    assert book.path.read_bytes() == before
    assert book.files() == ["ledger.db"]


def test_a_folder_of_somebody_else_is_told_with_the_way_out() -> None:
    with tempfile.TemporaryDirectory() as made, capture_logs() as lines:  # below it anybody may look, unlike tmp_path
        (folder := Path(made)).chmod(0o555)
        before = os.geteuid()
        os.seteuid(before or 65534)
        try:
            Book(folder).open()
        finally:
            os.seteuid(before)
    assert [line["event"] for line in lines] == ["ledger.not_writable"]
    assert lines[0]["error"].endswith(f"; who runs dockwarden must own {folder}, with all in it")


def test_a_state_folder_that_is_a_file_is_told_in_words(tmp_path: Path) -> None:
    (file := tmp_path / "state").touch()
    with capture_logs() as lines:
        Book(file).open()
    assert lines[0]["error"] == f"File exists: '{file}'; state_dir must be a folder"


def test_a_ledger_that_somebody_replaced_is_told_in_words(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    book.path.rename(book.path.with_name("away"))
    book.path.touch()
    with pytest.raises(LedgerError), capture_logs() as lines:
        ledger.intend("run-1", STEP, RECIPE)
    assert [line["error"].partition(" now")[0] for line in lines] == ["it is another file"]


def test_a_folder_that_cannot_be_made_is_a_reason_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    book = Book(tmp_path / "file" / "state")
    with capture_logs() as lines:
        book.open()
    assert book.writable == [False]
    assert [line["event"] for line in lines] == ["ledger.not_writable"]
    assert book.ledger.recall(ENGINE) == (0.0, [])
    all_refused(
        lambda: book.ledger.intend("run-1", STEP, RECIPE),
        lambda: book.ledger.conclude(1, outcome_of(STEP)),
        lambda: book.ledger.claim(ENGINE),
        lambda: book.ledger.save(1.0, []),
        lambda: book.ledger.record(report(a_result())),
    )


def test_a_ledger_that_could_not_be_opened_is_tried_again_by_the_next_write(tmp_path: Path) -> None:
    blocker = tmp_path / "state"
    blocker.touch()
    book = Book(blocker)
    book.open()
    all_refused(lambda: book.ledger.claim(ENGINE), lambda: book.ledger.intend("run-1", STEP, RECIPE))
    blocker.unlink()
    assert book.ledger.intend("run-1", STEP, RECIPE) == 1
    assert book.can_be_written()
    book.ledger.save(7.0, [(APP, Observed(1, 1))])
    assert book.restart().recall(ENGINE) == (7.0, [(APP, Observed(1, 1))]), "it forgot whose memory it is"
    book.ledger.close()


def test_a_ledger_that_opens_late_keeps_what_it_remembers_of_the_same_engine(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    ledger.save(5.0, [(APP, Observed(1, 1))])
    ledger.close()
    late = Ledger(book.folder, lambda: NOW, book.writable.append)
    late.claim(ENGINE)
    assert late.recall(ENGINE) == (5.0, [(APP, Observed(1, 1))])
    late.close()


def test_a_value_that_does_not_fit_is_refused_and_harms_no_later_write(ledger: Ledger) -> None:
    number = ledger.intend("run-1", STEP, RECIPE)
    with pytest.raises(LedgerError):
        ledger.conclude(number, outcome_of(STEP, freed=2**63))
    ledger.claim(ENGINE)
    with pytest.raises(LedgerError):
        ledger.save(1.0, [(Ref(Kind.VOLUME, "\ud800"), Observed(1, 1))])
    ledger.conclude(number, outcome_of(STEP))
    assert ledger.open_intents() == []


# -- a disk that is full or read-only ----------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own, of 512 KiB."""
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    size = getattr(request, "param", "size=512k")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{size},mode=700", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave not a byte."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return ballast
    raise AssertionError("the disk has no end")


def test_on_a_full_disk_nothing_is_promised_and_with_space_everything_goes_on(disk: Path) -> None:
    book = Book(disk / "state")
    ledger = book.open()
    ledger.claim(ENGINE)
    first = ledger.intend("run-1", STEP, RECIPE)
    ballast = fill(disk)
    big = a_step(an_image("big", labels={"x": "y" * 20_000}))
    with pytest.raises(LedgerError, match=r"full|I/O"), capture_logs() as lines:
        ledger.intend("run-1", big, RECIPE)
    assert [line["event"] for line in lines] == ["ledger.not_writable"]
    assert not book.can_be_written()
    with pytest.raises(LedgerError), capture_logs() as lines:
        ledger.intend("run-1", big, RECIPE)
    assert lines == [], "the same reason again"
    assert [intent.number for intent in ledger.open_intents()] == [first]
    ballast.unlink()
    with capture_logs() as lines:
        assert ledger.intend("run-1", big, RECIPE) > first
    assert [line["event"] for line in lines] == ["ledger.writable_again"]
    assert book.can_be_written()
    assert len(book.restart().open_intents()) == 2
    book.ledger.close()


def test_on_a_disk_that_was_full_at_the_start_the_ledger_opens_when_there_is_space(disk: Path) -> None:
    ballast = fill(disk)
    book = Book(disk / "state")
    book.open()
    assert not book.can_be_written()
    all_refused(lambda: book.ledger.claim(ENGINE), lambda: book.ledger.save(1.0, [(APP, Observed(1, 1))]))
    ballast.unlink()
    book.ledger.save(2.0, [(APP, Observed(1, 1))])
    assert book.can_be_written()
    assert book.ledger.intend("run-1", STEP, RECIPE)
    book.ledger.close()


@pytest.mark.parametrize("disk", ["size=100m,nr_inodes=50"], indirect=True)
def test_where_only_inodes_are_missing_an_archive_can_be_written(disk: Path) -> None:
    book = Book(disk / "state")
    ledger = book.open()
    ledger.claim(ENGINE)
    archive = Archive(disk / "state" / "archives", ledger, max_bytes=100, reserve_bytes=0)
    archive.folder.mkdir()
    for number in range(os.statvfs(disk).f_favail):
        (disk / str(number)).touch()
    assert os.statvfs(disk).f_favail == 0
    kept = archive.write(lambda write: write(b"content"), 7)
    assert kept.name in ledger.known_archives()
    assert archive.strangers() == {}
    book.ledger.close()


def test_on_a_read_only_disk_the_past_can_be_read_and_nothing_is_promised(disk: Path) -> None:
    book = Book(disk / "state")
    ledger = book.open()
    ledger.claim(ENGINE)
    ledger.save(5.0, [(APP, Observed(1, 1))])
    ledger.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    again = book.restart()
    assert not book.can_be_written()
    all_refused(lambda: again.claim(ENGINE), lambda: again.intend("run-1", STEP, RECIPE))
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    again.save(6.0, [])
    assert book.can_be_written()
    assert again.recall(ENGINE) == (6.0, [(APP, Observed(1, 1))])
    book.ledger.close()


# -- only reading ------------------------------------------------------------------------------------------------


def test_reading_does_not_make_a_file(book: Book) -> None:
    book.ledger.open_to_read()
    assert not book.folder.exists()
    book.folder.mkdir()
    book.ledger.open_to_read()
    assert not book.files()
    assert book.ledger.recall(ENGINE) == (0.0, [])
    book.ledger.close()


def test_reading_in_the_process_that_writes_leaves_its_locks(book: Book, ledger: Ledger) -> None:
    """As the page of an object does; without locks another process that ends takes the log away from under it."""
    reader = Ledger(book.folder, lambda: NOW, lambda _: None)
    reader.open_to_read()
    reader.close()
    other = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('UPDATE meta SET value = value')"
    subprocess.run([sys.executable, "-c", f"{other}; db.commit(); db.close()", str(book.path)], check=True)
    assert "ledger.db-wal" in book.files()
    ledger.claim(ENGINE)
    assert book.can_be_written()


def test_the_past_can_be_read_where_a_runtime_forbids_a_call_that_is_newer_than_it(
    book: Book, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runc before 1.0.0-rc93 answers EPERM to faccessat2, by which C libraries ask for effective IDs."""
    ledger.claim(ENGINE)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, *, effective_ids=False: not effective_ids and real(path, mode))
    reader = Ledger(book.folder, lambda: NOW, lambda _: None)
    reader.open_to_read()
    assert (reader.unreadable, reader.engine()) == ("", ENGINE)
    reader.close()


def test_reading_changes_nothing(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    ledger.save(5.0, [(APP, Observed(1, 1))])
    ledger.close()
    before = (book.files(), book.path.read_bytes(), book.path.stat().st_mtime_ns)
    said: list[bool] = []
    reader = Ledger(book.folder, lambda: NOW, said.append)
    reader.open_to_read()
    assert reader.recall(ENGINE) == (5.0, [(APP, Observed(1, 1))])
    assert said == []
    with pytest.raises(LedgerError):
        reader.intend("run-1", STEP, RECIPE)
    reader.close()
    assert (book.files(), book.path.read_bytes(), book.path.stat().st_mtime_ns) == before


def test_reading_sees_what_the_daemon_writes_at_the_same_time(book: Book, ledger: Ledger) -> None:
    ledger.claim(ENGINE)
    ledger.save(5.0, [(APP, Observed(1, 1))])
    reader = Ledger(book.folder, lambda: NOW, book.writable.append)
    reader.open_to_read()
    assert reader.recall(ENGINE)[0] == 5.0
    ledger.save(6.0, [])
    assert reader.recall(ENGINE)[0] == 6.0
    reader.close()


@pytest.mark.parametrize("damage", [damage_header, lambda path: path.write_bytes(b"")])
def test_reading_a_file_that_is_none_gives_nothing(book: Book, damage: Callable[[Path], object]) -> None:
    book.folder.mkdir()
    damage(book.path)
    before = book.path.read_bytes()
    book.ledger.open_to_read()
    assert book.ledger.recall(ENGINE) == (0.0, [])
    book.ledger.close()
    assert book.path.read_bytes() == before


def test_what_keeps_a_ledger_from_being_read_now_is_not_called_damage(book: Book, ledger: Ledger) -> None:
    with closing(sqlite3.connect(book.path, isolation_level=None)) as other:
        ledger.close()
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        reader = Ledger(book.folder, lambda: NOW, lambda _: None)
        reader.open_to_read()
    assert reader.unreadable.endswith("ledger.db cannot be read: database is locked")


# -- for those who may not read the file ----------------------------------------------------------------------


def test_what_it_shows_others_is_the_same_but_for_what_may_be_secret(book: Book, ledger: Ledger) -> None:
    ledger.save(1234.5, [(APP, Observed(1.25, 3.5, had_tag=True)), (DATA, Observed(2.0, -1.0))])
    ledger.save_digests([("app:1", "local", "sha256:d", NOW)])
    ledger.record(report(a_result(), *(a_result()._replace(policy=name) for name in ("second", "third"))))
    secret = Recipe("create", {"Env": ["TOKEN=hush"]})
    ledger.conclude(ledger.intend("run-1", STEP, secret), outcome_of(STEP))
    shown = json.dumps(ledger.shown())
    assert "hush" not in shown
    other = Ledger(book.folder / "elsewhere", lambda: book.now, lambda _: None)
    other.open_shown(json.loads(shown))
    for read in (
        lambda each: each.recall(ENGINE),
        lambda each: each.present_digests(ENGINE),
        lambda each: each.history("app:1"),
        lambda each: each.past_findings(10),
        lambda each: each.open_findings(),
        lambda each: each.recent_actions(10),
        lambda each: [done._replace(recipe=Recipe(done.recipe.method, {})) for done in each.undoable()],
    ):
        assert read(other) == read(ledger)
        assert read(other)
    assert not (book.folder / "elsewhere").exists()


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each))
)
def test_what_is_no_ledger_is_not_taken_for_one(shown: object) -> None:
    for given_ in (shown, {"version": SCHEMA_VERSION, "tables": shown}, _with_rows(shown)):
        ledger = Ledger(Path("/nowhere"), lambda: NOW, lambda _: None)
        with pytest.raises(ValueError, match="what it tells"):
            ledger.open_shown(given_)
        assert not ledger.is_there


def _with_rows(rows: object) -> object:
    """Tables as they should be but for what is in one of them."""
    names = ("meta", "memory", "asides", "findings", "digests", "actions")
    return {"version": SCHEMA_VERSION, "tables": {name: [rows] if name == "memory" else [] for name in names}}

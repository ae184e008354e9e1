"""What is forgotten, and when: by the observation clock, and by how much there is. The wall clock has no say."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.model import Effect, Kind, Outcome, Recipe, Ref
from dockwarden.sinks.ledger import Keeping, Ledger
from tests.builders import DAY, HOUR, NOW, a_result, a_step, an_image, image_id
from tests.unit.sinks.test_ledger import ENGINE, report

STEP = a_step(an_image("app", "app:1"))
KEPT = Keeping(undo=14 * DAY, findings=90 * DAY, digests=400 * DAY, actions=400 * DAY, most=100_000)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("watch"), st.floats(0, 10 * DAY)),
        st.tuples(st.just("set"), st.floats(-20 * 365 * DAY, 20 * 365 * DAY)),
        st.tuples(st.just("restart"), st.just(0.0)),
        st.tuples(st.just("act"), st.just(0.0)),
        st.tuples(st.just("elsewhere"), st.just(0.0)),
    ),
    max_size=30,
)


class Clocks:
    """A ledger, and the two clocks that it sees: one that anybody may set, and one that runs while it is watched."""

    def __init__(self, folder: Path, limits: Keeping = KEPT) -> None:
        self.folder, self.limits = folder, limits
        self.wall, self.watched = NOW, 0.0
        self.ledger = self.begin()

    def begin(self, engine: str = ENGINE) -> Ledger:
        """As the daemon does when it has found its engine."""
        ledger = Ledger(self.folder, lambda: self.wall, lambda _: None, lambda: self.watched, self.limits)
        ledger.open()
        self.watched = ledger.recall(engine)[0]
        ledger.claim(engine)
        return ledger

    def restart(self, engine: str = ENGINE) -> None:
        self.ledger.save(self.watched, [])
        self.ledger.close()
        self.ledger = self.begin(engine)

    def watch(self, seconds: float) -> None:
        self.watched += seconds
        self.ledger.save(self.watched, [])

    def upkeep(self) -> list[str]:
        gone = self.ledger.expire()
        for name in gone:
            self.ledger.forget_archive(name)
        self.ledger.prune()
        return gone

    def act(self, archive: str) -> int:
        self.ledger.begin_archive(archive)
        number = self.ledger.intend("run-1", STEP, Recipe("load", {"id": "x"}, archive, 1, "sum"))
        self.ledger.conclude(number, Outcome("old", "remove", STEP.ref, "app:1", Effect.APPLIED, "removed"))
        return number


@settings(max_examples=40, deadline=None)
@given(_STEPS)
def test_a_removal_can_be_undone_for_as_long_as_was_promised_however_clocks_are_set(
    steps: list[tuple[str, float]],
) -> None:
    with TemporaryDirectory() as folder:
        clocks = Clocks(Path(folder))
        watched_since: dict[int, float] = {}
        for step, amount in steps:
            if step == "watch":
                clocks.watch(amount)
                watched_since = {number: age + amount for number, age in watched_since.items()}
            elif step == "set":
                clocks.wall += amount
            elif step == "restart":
                clocks.restart()
            elif step == "elsewhere":
                clocks.restart("another engine")
                clocks.upkeep()
                clocks.restart()
            else:
                watched_since[clocks.act(f"{len(watched_since)}.tar")] = 0.0
            clocks.upkeep()
            left = {done.number: done for done in clocks.ledger.undoable()}
            assert set(left) == {number for number, age in watched_since.items() if age < KEPT.undo}
            listed = clocks.ledger.recent_actions(1000)
            assert {row["id"] for row in listed if row["undoable_until"] is not None} == set(left)
            assert all(clocks.wall < done.until <= clocks.wall + KEPT.undo + 1 for done in left.values())
            assert clocks.ledger.known_archives() == {done.recipe.archive for done in left.values()}
        clocks.ledger.close()


@pytest.mark.parametrize("years", [1, -1, 10, -10])
def test_a_start_with_a_clock_far_off_forgets_nothing(tmp_path: Path, years: int) -> None:
    clocks = Clocks(tmp_path)
    clocks.act("a.tar")
    clocks.ledger.begin_archive("under-way.tar")
    clocks.ledger.save_digests([("t:1", "local", "old", NOW), ("t:1", "local", "new", NOW + 1)])
    clocks.ledger.record(report(a_result()))
    clocks.ledger.record(report(resolved=(a_result(reason="pass"),)))
    clocks.wall += years * 365 * DAY
    clocks.restart()
    assert clocks.upkeep() == []
    assert len(clocks.ledger.undoable()) == len(clocks.ledger.past_findings(10)) == 1
    assert len(clocks.ledger.history("t:1")) == 2
    assert clocks.ledger.known_archives() == {"a.tar", "under-way.tar"}
    clocks.ledger.close()


def churn(clocks: Clocks, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        found = a_result(ref=Ref(Kind.IMAGE, image_id(str(number))), name=f"app:{number}", message="x" * 300)
        clocks.ledger.record(report(found))
        clocks.ledger.record(report(resolved=(found,)))
        clocks.ledger.save_digests([("app:1", "local", f"sha256:{number:064}", NOW + number)])


def test_what_is_over_for_long_goes_and_what_is_open_stays(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path)
    churn(clocks, 3)
    clocks.ledger.record(report(a_result("stays")))
    clocks.act("a.tar")
    clocks.watch(91 * DAY)
    clocks.upkeep()
    assert [row["policy"] for row in clocks.ledger.past_findings(10)] == ["stays"]
    assert len(clocks.ledger.history("app:1")) == 3
    assert len(clocks.ledger.recent_actions(10)) == 1
    clocks.watch(310 * DAY)
    clocks.upkeep()
    assert [until for *_, until in clocks.ledger.history("app:1")] == [None]
    assert clocks.ledger.recent_actions(10) == []
    assert len(clocks.ledger.open_findings()) == 1
    clocks.ledger.close()


def test_under_churn_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path, KEPT._replace(most=200))
    sizes = []
    for turn in range(4):
        churn(clocks, 400, turn * 400)
        clocks.watch(HOUR)
        clocks.upkeep()
        clocks.ledger.close()
        sizes.append((tmp_path / "ledger.db").stat().st_size)
        clocks.ledger = clocks.begin()
    assert sizes[-1] <= sizes[0] * 1.5
    assert len(clocks.ledger.past_findings(10_000)) <= 200
    assert clocks.ledger.past_findings(1)[0]["name"] == "app:1599"
    clocks.ledger.close()


def test_space_that_is_free_is_given_back(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path)
    churn(clocks, 1000)
    clocks.ledger.close()
    before = (tmp_path / "ledger.db").stat().st_size
    clocks.ledger = clocks.begin()
    clocks.watch(1000 * DAY)
    clocks.upkeep()
    clocks.act("a.tar")  # a file that became shorter is still ours
    clocks.ledger.close()
    assert (tmp_path / "ledger.db").stat().st_size < before / 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 20), st.sampled_from(["a", "b", "rare"]))
def test_a_filter_comes_before_a_limit(names: list[str], most: int, about: str) -> None:
    with TemporaryDirectory() as folder, closing(Clocks(Path(folder)).ledger) as ledger:
        for number, name in enumerate(["rare", *names]):
            ref = Ref(Kind.TAG, f"{name}-{number}")
            ledger.record(report(a_result(ref=ref, name=name)))
            done = ledger.intend("run-1", a_step(an_image("app"), name), Recipe("none", {}))
            ledger.conclude(done, Outcome("old", "untag", ref, name, Effect.REFUSED, "in_use"))
        for ask in (ledger.past_findings, ledger.recent_actions):
            everything = ask(1000)
            assert ask(most) == everything[:most]
            assert ask(most, {about}) == [row for row in everything if row["name"] == about][:most]
            assert ask(most, {"tag/rare-0"}) == [row for row in everything if row["name"] == "rare"][-1:]

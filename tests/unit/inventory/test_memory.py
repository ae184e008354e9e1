"""Our own memory: ages may be too young, never too old."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.inventory.facts import fill
from dockwarden.inventory.memory import Memory, ObservationClock
from dockwarden.inventory.view import View
from dockwarden.model import Facts, ImageStore, Kind, Observed, Ref
from tests.builders import NOW, Ticks, a_container, a_mount, a_volume, an_image, an_inventory, digest_of, image_id

APP = Ref(Kind.IMAGE, image_id("app"))


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def memory(ticks: Ticks) -> Memory:
    clock = ObservationClock(ticks)
    clock.resume()
    return Memory(clock)


# -- the clock -------------------------------------------------------------------------------------------


def test_the_clock_stands_still_until_somebody_looks(ticks: Ticks) -> None:
    clock = ObservationClock(ticks)
    ticks.pass_(10)
    assert clock.read() == 0.0
    clock.resume()
    ticks.pass_(10)
    assert clock.read() == 10.0


def test_the_clock_stands_still_while_nobody_looks(ticks: Ticks) -> None:
    clock = ObservationClock(ticks)
    clock.resume()
    ticks.pass_(10)
    clock.hold()
    ticks.pass_(1000)
    assert clock.read() == 10.0
    clock.resume()
    ticks.pass_(5)
    assert clock.read() == 15.0


def test_the_clock_goes_on_where_the_ledger_left_it(ticks: Ticks) -> None:
    clock = ObservationClock(ticks)
    clock.resume(500.0)
    ticks.pass_(1)
    assert clock.read() == 501.0
    clock.resume(20.0)
    assert clock.read() == 501.0


@given(st.lists(st.sampled_from(["resume", "hold", "wait"])))
def test_the_clock_counts_at_most_the_time_that_passed_and_never_goes_back(steps: list[str]) -> None:
    ticks = Ticks()
    clock = ObservationClock(ticks)
    last = watched = 0.0
    running = False
    for step in steps:
        if step == "wait":
            ticks.pass_(3)
            watched += 3 if running else 0
        else:
            getattr(clock, step)()
            running = step == "resume"
        assert clock.read() >= last
        last = clock.read()
    assert last == watched


# -- how long an object has been watched -------------------------------------------------------------------


def test_an_object_is_as_old_as_the_time_we_watched_it(memory: Memory, ticks: Ticks) -> None:
    assert memory.known_for(APP) == 0.0
    memory.see(APP)
    ticks.pass_(60)
    memory.see(APP)
    assert memory.known_for(APP) == 60.0


def test_a_gap_makes_nothing_older(memory: Memory, ticks: Ticks) -> None:
    memory.see(APP)
    ticks.pass_(60)
    memory.clock.hold()
    ticks.pass_(1_000_000)
    assert memory.known_for(APP) == 60.0
    memory.clock.resume()
    assert memory.known_for(APP) == 60.0


def test_what_came_during_a_gap_is_not_older_than_the_end_of_the_gap(memory: Memory, ticks: Ticks) -> None:
    memory.clock.hold()
    ticks.pass_(1_000_000)
    memory.see(APP)
    memory.clock.resume()
    ticks.pass_(1)
    assert memory.known_for(APP) == 1.0


def test_what_was_removed_and_came_back_is_young_again(memory: Memory, ticks: Ticks) -> None:
    memory.see(APP, had_tag=True, used=True)
    ticks.pass_(1000)
    memory.forget(APP)
    memory.see(APP)
    assert (memory.known_for(APP), memory.idle_for(APP), memory.had_tag(APP)) == (0.0, 0.0, False)


def test_what_a_full_list_does_not_show_is_forgotten(memory: Memory, ticks: Ticks) -> None:
    data = Ref(Kind.VOLUME, "data")
    memory.see(APP)
    memory.see(data)
    ticks.pass_(10)
    memory.keep_only([data])
    assert (memory.known_for(APP), memory.known_for(data)) == (0.0, 10.0)
    assert memory.of(APP, used=False) is None


def test_names_that_look_alike_are_not_the_same_object(memory: Memory, ticks: Ticks) -> None:
    memory.see(Ref(Kind.VOLUME, "app"))
    ticks.pass_(10)
    assert memory.known_for(Ref(Kind.IMAGE, "app")) == 0.0


# -- since when nobody uses it -------------------------------------------------------------------------------


def test_an_object_is_idle_since_its_last_use(memory: Memory, ticks: Ticks) -> None:
    memory.see(APP)
    ticks.pass_(50)
    memory.see(APP, used=True)
    ticks.pass_(7)
    assert (memory.known_for(APP), memory.idle_for(APP)) == (57.0, 7.0)


def test_an_object_that_was_never_used_is_idle_since_it_is_known(memory: Memory, ticks: Ticks) -> None:
    memory.see(APP)
    ticks.pass_(50)
    assert memory.idle_for(APP) == 50.0


def test_what_was_in_use_at_the_end_is_idle_since_the_next_start(memory: Memory, ticks: Ticks) -> None:
    memory.see(APP, used=True)
    ticks.pass_(100)
    kept = memory.of(APP, used=True)
    assert kept is not None
    reading = memory.clock.read()
    again = Memory(ObservationClock(ticks))
    again.clock.resume(reading)
    again.recall([(APP, kept)])
    ticks.pass_(3)
    assert (again.known_for(APP), again.idle_for(APP)) == (103.0, 3.0)


def test_a_volume_is_idle_since_its_container_went() -> None:
    ticks = Ticks()
    inventory = an_inventory(ticks)
    data = Ref(Kind.VOLUME, "data")
    inventory.put(a_volume("data"))
    ticks.pass_(5)
    inventory.put(a_container("web", mounts=(a_mount("data"),), running=False))
    ticks.pass_(5)
    assert inventory.idle_for(data) == 0.0
    inventory.drop(Ref(Kind.CONTAINER, a_container("web").id))
    ticks.pass_(2)
    assert inventory.idle_for(data) == 2.0


def test_an_image_is_idle_since_its_last_container_went() -> None:
    ticks = Ticks()
    inventory = an_inventory(ticks)
    inventory.put(an_image("app", "app:1"))
    for name in ("one", "two"):
        inventory.put(a_container(name))
    ticks.pass_(5)
    inventory.drop(Ref(Kind.CONTAINER, a_container("one").id))
    ticks.pass_(5)
    assert inventory.idle_for(APP) == 0.0
    inventory.drop(Ref(Kind.CONTAINER, a_container("two").id))
    ticks.pass_(2)
    assert inventory.idle_for(APP) == 2.0


def test_an_image_that_we_saw_only_after_its_container_was_used_until_now() -> None:
    ticks = Ticks()
    inventory = an_inventory(ticks)
    inventory.put(a_container("web"))
    ticks.pass_(5)
    inventory.put(an_image("app", "app:1"))
    inventory.settle_memory()
    ticks.pass_(5)
    assert inventory.idle_for(APP) == 0.0
    kept = inventory.memory.of(APP, used=inventory.is_used(APP))
    assert kept is not None
    assert kept.used_seconds < 0


# -- through restarts ----------------------------------------------------------------------------------------


def restarted(memory: Memory, refs: list[Ref], ticks: Ticks, *, lost: float = 0.0) -> Memory:
    """The memory of the next process: it was written down, and the last moments of the clock may be lost."""
    kept = [(ref, seen) for ref in refs if (seen := memory.of(ref, used=False))]
    again = Memory(ObservationClock(ticks))
    again.clock.resume(max(0.0, memory.clock.read() - lost))
    again.recall(kept)
    return again


def test_a_restart_neither_ages_nor_rejuvenates(memory: Memory, ticks: Ticks) -> None:
    memory.see(APP, had_tag=True)
    ticks.pass_(60)
    again = restarted(memory, [APP], ticks)
    assert (again.known_for(APP), again.idle_for(APP), again.had_tag(APP)) == (60.0, 60.0, True)


def test_a_reading_that_was_not_written_down_makes_nothing_negative(memory: Memory, ticks: Ticks) -> None:
    ticks.pass_(100)
    memory.see(APP, used=True)
    again = restarted(memory, [APP], ticks, lost=50)
    assert (again.known_for(APP), again.idle_for(APP)) == (0.0, 0.0)
    ticks.pass_(10)
    assert (again.known_for(APP), again.idle_for(APP)) == (10.0, 10.0)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("wait"), st.floats(0, 1000)),
            st.tuples(st.sampled_from(["see", "use", "hold", "resume", "lost"]), st.just(0.0)),
            st.tuples(st.just("restart"), st.floats(0, 500)),
        ),
        max_size=30,
    )
)
def test_no_history_makes_an_object_older_than_it_is(steps: list[tuple[str, float]]) -> None:
    """Against a plain model: the object was there from its first sighting, and used at its last use."""
    ticks = Ticks()
    memory = Memory(ObservationClock(ticks))
    memory.clock.resume()
    first = used = None
    for step, seconds in steps:
        if step == "wait":
            ticks.pass_(seconds)
        elif step in ("see", "use"):
            memory.see(APP, used=step == "use")
            first = ticks.now if first is None else first
            used = ticks.now if step == "use" else used
        elif step == "lost":
            memory.forget(APP)
            first = used = None
        elif step == "restart":
            memory = restarted(memory, [APP], ticks, lost=seconds)
        else:
            getattr(memory.clock, step)()
        true_age = 0.0 if first is None else ticks.now - first
        true_idle = true_age if used is None else ticks.now - used
        assert -1e-6 <= memory.known_for(APP) <= true_age + 1e-6
        assert -1e-6 <= memory.idle_for(APP) <= true_idle + 1e-6


def test_what_is_remembered_of_the_future_counts_as_now(memory: Memory, ticks: Ticks) -> None:
    memory.recall([(APP, Observed(1e9, 1e9))])
    assert (memory.known_for(APP), memory.idle_for(APP)) == (0.0, 0.0)
    ticks.pass_(1)
    assert (memory.known_for(APP), memory.idle_for(APP)) == (1.0, 1.0)


# -- what is still to be written down ----------------------------------------------------------------------


def test_only_what_changed_is_to_be_written_down(memory: Memory) -> None:
    memory.see(APP)
    assert memory.unsaved == {APP}
    memory.unsaved.clear()
    memory.see(APP)
    assert memory.unsaved == set()
    memory.see(APP, had_tag=True)
    assert memory.unsaved == {APP}
    memory.unsaved.clear()
    memory.see(APP, used=True)
    assert memory.unsaved == {APP}
    memory.unsaved.clear()
    memory.forget(APP)
    memory.forget(Ref(Kind.IMAGE, "nothing"))
    assert memory.unsaved == {APP}


# -- superseded or pinned ------------------------------------------------------------------------------------


def is_dangling(inventory_of: str, store: ImageStore = ImageStore.GRAPH) -> bool:
    inventory = an_inventory(store=store)
    pinned = an_image("app", digests=(digest_of("app", "d"),))
    history = {
        "pinned": [pinned],
        "superseded": [an_image("app", "app:1", digests=pinned.digests), pinned],
        "nameless": [an_image("app")],
        "tagged": [an_image("app", "app:1")],
        "tagged again": [pinned, an_image("app", "app:1", digests=pinned.digests)],
    }
    for image in history[inventory_of]:
        inventory.put(image)
    sheet = Facts()
    fill(sheet, ["image.dangling"], APP, View(inventory, NOW))
    return sheet.known["image.dangling"] is True


@pytest.mark.parametrize(
    ("history", "dangling"),
    [("pinned", False), ("superseded", True), ("nameless", True), ("tagged", False), ("tagged again", False)],
)
def test_a_digest_that_never_had_a_tag_is_pinned_and_not_dangling(*, history: str, dangling: bool) -> None:
    assert is_dangling(history) is dangling


def test_the_containerd_store_keeps_a_digest_only_if_somebody_pulled_it() -> None:
    assert is_dangling("superseded", ImageStore.CONTAINERD) is False
    assert is_dangling("nameless", ImageStore.CONTAINERD) is True


def test_a_tag_is_remembered_through_a_restart() -> None:
    ticks = Ticks()
    before = an_inventory(ticks)
    before.put(an_image("app", "app:1", digests=(digest_of("app", "d"),)))
    after = an_inventory(ticks)
    after.memory.recall([(APP, before.memory.of(APP, used=False) or Observed(0, 0))])
    after.put(an_image("app", digests=(digest_of("app", "d"),)))
    sheet = Facts()
    fill(sheet, ["image.dangling"], APP, View(after, NOW))
    assert sheet.known["image.dangling"] is True

"""The queue: what is put in comes out once, coalesced, whoever puts it in and whenever."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.metrics import Metrics
from dockwarden.model import Dirty, Kind
from dockwarden.triggers.queue import Batch, Queue
from tests.builders import a_policy, an_engine, policies
from tests.lab.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB = Dirty(Kind.CONTAINER, "web")
APP = Dirty(Kind.IMAGE, "app:1", pulled=True)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def queue(metrics: Metrics) -> Queue:
    return Queue(metrics)


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"dockwarden_{name}", labels)


# -- under a load that lasts -------------------------------------------------------------------------------


MANY = [Dirty(Kind.IMAGE, f"app:{number}") for number in range(20)]


def submit(queue: Queue, *dirty: Dirty) -> None:
    queue.submit(dirty, 1)


def test_hints_wait_and_coalesce_when_more_come_than_can_be_looked_at(metrics: Metrics) -> None:
    now = 100.0
    queue = Queue(metrics, clock=lambda: now)
    queue.spend(0.9)
    submit(queue, *MANY)
    assert queue.take(0) is not None, "a short burst is worked off at once"
    queue.spend(0.14)
    submit(queue, *MANY)
    assert queue.take(0) is None
    submit(queue, *reversed(MANY))
    now += 0.19
    assert queue.take(0) is None
    now += 0.02
    assert queue.take(0) == Batch(dirty=tuple((each, 1) for each in MANY))
    submit(queue, *MANY)
    assert queue.take(0) is not None, "nothing was spent on the last batch"


def test_no_hint_waits_longer_than_half_a_second_however_long_looking_took(metrics: Metrics) -> None:
    now = 100.0
    queue = Queue(metrics, clock=lambda: now)
    for _ in range(3):
        queue.spend(60.0)
    submit(queue, *MANY)
    now += 0.49
    assert queue.take(0) is None
    now += 0.02
    assert queue.take(0) is not None


def test_a_few_hints_never_wait(metrics: Metrics) -> None:
    queue = Queue(metrics, clock=lambda: 100.0)
    queue.spend(60.0)
    submit(queue, *MANY[:6])
    assert queue.take(0) is not None


def test_what_is_no_hint_does_not_wait(metrics: Metrics) -> None:
    queue = Queue(metrics, clock=lambda: 100.0)
    queue.spend(60.0)
    submit(queue, *MANY)
    queue.submit_job("nightly")
    assert queue.take(0) == Batch(dirty=tuple((each, 1) for each in MANY), jobs=("nightly",))


def test_who_waits_for_a_held_hint_gets_it_when_it_is_due(queue: Queue) -> None:
    queue.spend(1.04)
    submit(queue, *MANY)
    assert queue.take(0) is None
    assert queue.take(60) == Batch(dirty=tuple((each, 1) for each in MANY))


# -- one thread --------------------------------------------------------------------------------------------


def test_an_empty_queue_gives_nothing_at_once(queue: Queue) -> None:
    assert queue.take(0) is None


def test_events_of_one_object_become_one_with_the_oldest_time(queue: Queue) -> None:
    for at in (20, 10, 30):
        queue.submit([WEB], at)
    assert queue.take(0) == Batch(dirty=((WEB, 10),))
    assert queue.take(0) is None


def test_a_pull_is_not_absorbed_by_another_event_of_the_same_name(queue: Queue) -> None:
    queue.submit([Dirty(Kind.IMAGE, "app:1")], 1)
    queue.submit([APP], 2)
    batch = queue.take(0)
    assert batch is not None
    assert {dirty for dirty, _ in batch.dirty} == {Dirty(Kind.IMAGE, "app:1"), APP}


def test_objects_come_out_in_the_order_of_their_first_event(queue: Queue) -> None:
    objects = [Dirty(Kind.IMAGE, str(n)) for n in range(20)]
    for dirty in [*objects, *reversed(objects)]:
        queue.submit([dirty], 1)
    batch = queue.take(0)
    assert batch is not None
    assert [dirty for dirty, _ in batch.dirty] == objects


def test_no_batch_has_half_of_an_event(queue: Queue) -> None:
    with ThreadPoolExecutor() as threads:

        def hints() -> Iterator[Dirty]:
            yield WEB
            taken.append(threads.submit(queue.take, 5))
            yield APP

        taken: list[Future[Batch | None]] = []
        queue.submit(hints(), 1)
        assert taken[0].result() == Batch(dirty=((WEB, 1), (APP, 1)))


def test_too_many_objects_give_way_to_a_resync(metrics: Metrics) -> None:
    queue = Queue(metrics, most=3)
    for number in range(4):
        queue.submit([Dirty(Kind.IMAGE, str(number))], number)
    assert queue.take(0) == Batch(resync="overflow")


def test_after_an_overflow_new_events_are_kept_again(metrics: Metrics) -> None:
    queue = Queue(metrics, most=3)
    for number in range(5):
        queue.submit([Dirty(Kind.IMAGE, str(number))], number)
    assert queue.take(0) == Batch(dirty=((Dirty(Kind.IMAGE, "4"), 4),), resync="overflow")


def test_an_overflow_does_not_take_the_jobs_along(metrics: Metrics) -> None:
    queue = Queue(metrics, most=1)
    queue.submit_job("nightly")
    for number in range(3):
        queue.submit([Dirty(Kind.IMAGE, str(number))], number)
    batch = queue.take(0)
    assert batch is not None
    assert (batch.jobs, batch.resync) == (("nightly",), "overflow")


def test_a_job_that_still_waits_absorbs_the_next_and_counts_as_missed(queue: Queue, metrics: Metrics) -> None:
    for _ in range(3):
        queue.submit_job("nightly")
    queue.submit_job("hourly")
    assert queue.take(0) == Batch(jobs=("nightly", "hourly"))
    assert sample(metrics, "job_missed_total", policy="nightly") == 2
    assert sample(metrics, "job_missed_total", policy="hourly") is None


def test_the_first_reason_for_a_resync_stays(queue: Queue) -> None:
    queue.submit_resync("gap")
    queue.submit_resync("interval")
    assert queue.take(0) == Batch(resync="gap")
    assert queue.take(0) is None


def test_a_lost_engine_voids_what_waits_for_it_but_no_job(queue: Queue) -> None:
    queue.submit([WEB], 1)
    queue.submit_resync("gap", an_engine())
    queue.submit_job("nightly")
    queue.submit_lost()
    assert queue.take(0) == Batch(jobs=("nightly",), lost=True)


def test_a_new_connection_ends_the_loss(queue: Queue) -> None:
    queue.submit_lost()
    queue.submit_resync("reconnect", an_engine())
    assert queue.take(0) == Batch(resync="reconnect", connected=an_engine())


def test_the_newest_policies_are_used(queue: Queue) -> None:
    old, new = policies(a_policy("old")), policies(a_policy("new"))
    queue.submit_policies(old)
    queue.submit_policies(new)
    assert queue.take(0) == Batch(policies=new)
    assert queue.take(0) is None


def test_no_policies_at_all_are_policies_too(queue: Queue) -> None:
    queue.submit_policies(policies())
    assert queue.take(0) == Batch(policies=policies())


def test_a_closed_queue_gives_nothing_any_more(queue: Queue) -> None:
    queue.submit([WEB], 1)
    queue.close()
    assert queue.closed
    assert queue.take(60) is None


def test_the_length_of_the_queue_is_shown(queue: Queue, metrics: Metrics) -> None:
    queue.submit([WEB], 1)
    queue.submit([WEB], 2)
    queue.submit_job("nightly")
    assert sample(metrics, "queue_length") == 2
    queue.take(0)
    assert sample(metrics, "queue_length") == 0
    queue.submit([WEB], 1)
    queue.submit_lost()
    assert sample(metrics, "queue_length") == 0


_EVENTS = st.tuples(st.just("submit"), st.sampled_from("abcde"), st.integers(0, 100))
_OTHERS = st.tuples(st.sampled_from(["job", "take", "resync", "lost"]), st.sampled_from("xyz"), st.just(0))


@given(st.lists(_EVENTS | _OTHERS, max_size=40), st.integers(1, 6))
def test_any_sequence_gives_what_a_plain_model_gives(steps: list[tuple[str, str, int]], most: int) -> None:
    metrics = Metrics()
    queue = Queue(metrics, most)
    waiting: dict[str, int] = {}
    jobs: list[str] = []
    missed: Counter[str] = Counter()
    resync, lost = "", False
    for step, name, at in [*steps, ("take", "", 0)]:
        if step == "submit":
            queue.submit([Dirty(Kind.IMAGE, name)], at)
            waiting[name] = min(at, waiting.get(name, at))
            if len(waiting) > most:
                waiting, resync = {}, resync or "overflow"
        elif step == "job":
            queue.submit_job(name)
            missed[name] += name in jobs
            jobs += [] if name in jobs else [name]
        elif step == "resync":
            queue.submit_resync(name)
            resync = resync or name
        elif step == "lost":
            queue.submit_lost()
            waiting, resync, lost = {}, "", True
        else:
            dirty = tuple((Dirty(Kind.IMAGE, key), value) for key, value in waiting.items())
            expected = Batch(dirty=dirty, jobs=tuple(jobs), resync=resync, lost=lost)
            assert queue.take(0) == (expected if expected != Batch() else None)
            waiting, jobs, resync, lost = {}, [], "", False
    assert {name: sample(metrics, "job_missed_total", policy=name) or 0 for name in missed} == missed


# -- many threads ------------------------------------------------------------------------------------------


def test_nothing_is_lost_and_nothing_doubled_between_threads(queue: Queue) -> None:
    producers, each = 8, 500
    begin = threading.Barrier(producers + 1)

    def produce(producer: int) -> None:
        begin.wait(PATIENCE)
        for number in range(each):
            queue.submit([Dirty(Kind.IMAGE, f"{producer} {number}")], number)
            if number % 100 == 0:
                queue.submit_job(f"{producer} {number}")

    threads = [threading.Thread(target=produce, args=(producer,)) for producer in range(producers)]
    for thread in threads:
        thread.start()
    begin.wait(PATIENCE)
    taken: Counter[str] = Counter()
    while len(taken) < producers * (each + each // 100):
        batch = queue.take(PATIENCE)
        assert batch is not None, "something was lost"
        taken.update(dirty.key for dirty, _ in batch.dirty)
        taken.update(f"job {job}" for job in batch.jobs)
    for thread in threads:
        thread.join(PATIENCE)
    assert set(taken.values()) == {1}
    assert queue.take(0) is None


def takes(queue: Queue) -> tuple[threading.Thread, list[Batch | None]]:
    """A thread that waits long for a batch."""
    taken: list[Batch | None] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take(300)))
    thread.start()
    return thread, taken


def test_whoever_waits_gets_what_comes(queue: Queue) -> None:
    thread, taken = takes(queue)
    queue.submit([WEB], 1)
    thread.join(PATIENCE)
    assert taken == [Batch(dirty=((WEB, 1),))]


@pytest.mark.parametrize("how", ["wake", "close"])
def test_whoever_waits_looks_up_when_woken_or_when_it_ends(queue: Queue, how: str) -> None:
    thread, taken = takes(queue)
    getattr(queue, how)()
    thread.join(PATIENCE)
    assert taken == [None]


def test_a_wake_that_comes_before_the_wait_is_not_lost(queue: Queue) -> None:
    queue.wake()
    assert queue.take(300) is None
    queue.submit([WEB], 1)
    assert queue.take(300) is not None

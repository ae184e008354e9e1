"""Keeping the inventory and our memory true: when everything is listed again, and what is written down when."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dockwarden.inventory.collect import Collector
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.memory import Memory, ObservationClock
from dockwarden.metrics import Metrics
from dockwarden.model import BuildStep, Dirty, Effect, ImageStore, Kind, Outcome, Recipe, Ref
from dockwarden.pipeline import upkeep as module
from dockwarden.pipeline.upkeep import Upkeep
from dockwarden.sinks.ledger import Ledger
from dockwarden.triggers.events import hints
from dockwarden.triggers.queue import Batch
from tests.builders import DAY, NOW, a_container, a_mount, a_step, a_volume, an_image, details, image_id
from tests.fakes import FakeEngine, Ground

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RESYNC = 600.0
APP = Ref(Kind.IMAGE, image_id("app"))


class Bench:
    """The upkeep of one engine, on a clock that the test moves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = FakeEngine(ImageStore.GRAPH)
        self.clock = self.engine.clock
        monkeypatch.setattr(module, "time", self.clock)
        self.metrics = Metrics()
        self.woken = threading.Semaphore(0)
        self.folder = folder
        self._start()
        self.metrics.set_engine(self.engine.info)

    def _start(self) -> None:
        self.inventory = Inventory(Memory(ObservationClock(self.clock.monotonic)))
        self.ledger = Ledger(self.folder, lambda: NOW, lambda _: None, self.inventory.memory.clock.read)
        self.ledger.open()
        self.collector = Collector(self.engine, self.inventory)
        self.tools = Ground(self.folder, self.engine).known(self.ledger)
        self.upkeep = Upkeep(self.engine, self.inventory, self.collector, self.ledger, self.tools, self.metrics, RESYNC)

    def list_beside(self) -> None:
        """Have everything listed, and wait for it."""
        assert self.upkeep.list_beside(self.woken.release)
        self.woken.acquire()

    def use(self) -> None:
        """Run a container, and see that only when it is gone."""
        self.engine.take_events()
        self.engine.run(a_container("short"))
        self.engine.remove("short")
        self.hear()

    def hear(self) -> None:
        """Look where events say."""
        dirty = tuple((hint, event.at_ns) for event in self.engine.take_events() for hint in hints(event))
        assert self.upkeep.look(Batch(dirty=dirty)) is not None

    def restart(self) -> None:
        """This process ends, and the next one has connected."""
        self.upkeep.save()
        self.crash()

    def crash(self) -> None:
        """This process ends without writing anything more, and the next one has connected."""
        self.ledger.close()
        self._start()
        assert self.connect()
        self.engine.calls.clear()

    def learn(self) -> list[str]:
        """Gather the details and history of every image; which of them the engine was asked for."""
        self.engine.calls.clear()
        for key in list(self.inventory.images):
            self.collector.details(key)
            self.collector.history(key)
        return [f"{operation} {key}" for operation, key in self.engine.calls]

    def connect(self) -> bool:
        """A connection with its full list; whether it went well."""
        return self.upkeep.look(Batch(resync="startup", connected=self.engine.info)) is not None

    def is_due(self, seconds: float) -> bool:
        """So much later, whether a list is due, which is asked for then."""
        self.clock.pass_(seconds)
        self.upkeep.save_due(self.clock.monotonic())
        return self.upkeep.is_list_due(self.clock.monotonic())

    def resyncs(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("dockwarden_inventory_resyncs_total", {"reason": reason})

    def remembered(self) -> dict[Ref, float]:
        """What a next process would find: when each object was first seen."""
        reader = Ledger(self.folder, lambda: NOW, lambda _: None)
        reader.open_to_read()
        memory = {ref: seen.first_seconds for ref, seen in reader.recall(self.engine.info.identity)[1]}
        reader.close()
        return memory


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path / "state", monkeypatch)
    yield bench
    bench.ledger.close()


# -- full lists ------------------------------------------------------------------------------------------------


def test_before_the_first_list_none_is_due_by_time(bench: Bench) -> None:
    assert not bench.is_due(10 * RESYNC)


def test_a_list_is_due_again_after_the_interval_until_it_was_made(bench: Bench) -> None:
    bench.connect()
    assert not bench.is_due(RESYNC - 1)
    assert bench.is_due(2)
    assert bench.is_due(RESYNC)
    bench.upkeep.look(Batch(resync="interval"))
    assert not bench.is_due(RESYNC - 1)
    assert bench.is_due(RESYNC + 1)
    assert (bench.resyncs("startup"), bench.resyncs("interval")) == (1, 1)


def test_a_list_that_takes_long_is_made_more_seldom(bench: Bench) -> None:
    bench.engine.just_before("volumes", lambda: bench.clock.pass_(30))
    bench.connect()
    assert not bench.is_due(30 / 0.001 - 1)
    assert bench.is_due(2)


def test_a_list_that_is_made_beside_finds_what_no_event_told(bench: Bench) -> None:
    bench.connect()
    assert bench.is_due(RESYNC + 1)
    bench.engine.put(an_image("app", "app:1"))
    bench.list_beside()
    assert bench.upkeep.is_listed
    bench.engine.put(an_image("late", "late:1"))  # of which its own event will tell
    changes = bench.upkeep.look(Batch(listed=True))
    assert changes is not None
    assert {change.cause for change in changes} == {"image.new", "image.tag"}
    assert bench.inventory.images.keys() == {image_id("app")}
    assert not bench.is_due(RESYNC - 1)
    assert bench.resyncs("interval") == 1


def test_a_list_beside_that_fails_is_made_again_by_the_worker_soon(bench: Bench) -> None:
    bench.connect()
    bench.engine.go_away()
    bench.list_beside()
    assert bench.upkeep.look(Batch(listed=True)) is None
    bench.engine.come_back()
    assert bench.is_due(2)
    assert not bench.upkeep.list_beside(bench.woken.release)


def test_while_the_engine_is_away_no_list_is_due(bench: Bench) -> None:
    bench.connect()
    bench.metrics.set_engine(None, "nothing listens")
    bench.upkeep.look(Batch(lost=True))
    assert not bench.is_due(10 * RESYNC)


def test_a_list_that_failed_is_tried_again_soon_then_seldom_and_never_given_up(bench: Bench) -> None:
    bench.engine.go_away()
    assert not bench.connect()
    waits = []
    for _ in range(12):
        waited = 0
        while not bench.is_due(0.5):
            waited += 1
        waits.append(waited / 2)
        assert bench.upkeep.look(Batch(resync="interval")) is None
    assert waits == sorted(waits)
    assert waits[0] <= 2
    assert waits[-1] <= 60
    bench.engine.come_back()
    assert bench.upkeep.look(Batch(resync="interval")) is not None
    assert bench.resyncs("retry") == 1
    assert not bench.is_due(RESYNC - 1)


def test_a_look_at_one_object_that_fails_leads_to_a_look_at_everything(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.connect()
    bench.engine.run(a_container("web"))
    bench.engine.go_away()
    [event] = [event for event in bench.engine.take_events() if event.action == "start"]
    assert bench.upkeep.look(Batch(dirty=((Dirty(Kind.CONTAINER, event.id), event.at_ns),))) is None
    bench.engine.come_back()
    assert bench.is_due(2)
    changes = bench.upkeep.look(Batch(resync="interval"))
    assert changes is not None
    assert {change.cause for change in changes} == {"container.create", "container.start"}


# -- what outlives the process -----------------------------------------------------------------------------------


def test_memory_is_written_down_soon_and_at_the_end(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.connect()
    bench.is_due(0.5)
    assert bench.remembered() == {}
    bench.is_due(1)
    assert bench.remembered().keys() == {APP}
    bench.engine.put(an_image("new", "new:1"))
    bench.upkeep.look(Batch(resync="interval"))
    bench.upkeep.save()
    assert bench.remembered().keys() == {APP, Ref(Kind.IMAGE, image_id("new"))}


def test_a_use_a_moment_before_a_crash_is_not_forgotten(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.connect()
    bench.is_due(3600)
    bench.use()
    bench.is_due(2)
    bench.crash()
    assert bench.inventory.idle_for(APP) == pytest.approx(2.0)


@pytest.mark.parametrize("is_used", [False, True])
def test_what_came_back_a_moment_before_a_crash_is_young(bench: Bench, *, is_used: bool) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.engine.add_volume(a_volume("data"))
    if is_used:
        bench.engine.run(a_container("web", mounts=(a_mount("data"),)))
    bench.connect()
    bench.is_due(3600)
    bench.engine.take_events()
    if is_used:
        bench.engine.remove("web")
        bench.hear()
        bench.is_due(1.5)
    bench.engine.remove_volume("data")
    bench.engine.add_volume(a_volume("data"))
    bench.hear()
    bench.is_due(2)
    bench.crash()
    assert bench.inventory.known_for(Ref(Kind.VOLUME, "data")) == pytest.approx(2.0)


def test_what_is_used_over_and_over_is_not_written_down_each_time(bench: Bench) -> None:
    """Each time is some pages on the disk, for ever where containers come and go."""
    bench.engine.put(an_image("app", "app:1"))
    bench.connect()
    bench.is_due(3600)
    with closing(sqlite3.connect(bench.folder / "ledger.db")) as other:
        versions: set[tuple[int]] = set()
        for _ in range(300):
            bench.use()
            bench.is_due(1)
            versions.update(other.execute("PRAGMA data_version"))
    assert len(versions) <= 1 + 300 / 30
    bench.crash()
    assert bench.inventory.idle_for(APP) < 60


def test_what_could_not_be_written_is_written_the_next_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.connect()
    assert bench.ledger._db is not None
    bench.ledger._db.execute("PRAGMA query_only = ON")
    bench.upkeep.save()
    assert bench.inventory.memory.unsaved == {APP}
    bench.ledger._db.execute("PRAGMA query_only = OFF")
    bench.upkeep.save()
    assert bench.inventory.memory.unsaved == set()
    assert bench.remembered().keys() == {APP}


def test_the_past_comes_back_with_the_first_connection(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.connect()
    bench.clock.pass_(100)
    bench.upkeep.save()
    again = Inventory(Memory(ObservationClock(bench.clock.monotonic)))
    collector = Collector(bench.engine, again)
    upkeep = Upkeep(bench.engine, again, collector, bench.ledger, bench.tools, bench.metrics, RESYNC)
    upkeep.look(Batch(resync="startup", connected=bench.engine.info))
    assert again.memory.known_for(APP) == 100.0


_MEANWHILE: dict[str, Callable[[FakeEngine], object]] = {
    "nothing": lambda _engine: None,
    "another image": lambda engine: engine.put(an_image("other", "other:1")),
    "another tag": lambda engine: engine.name("app:1", "app:2"),
    "another platform": lambda engine: engine.put(
        an_image("app", "app:1", size_bytes=9, inspected=details(user="root"))
    ),
    "another engine version": lambda engine: setattr(engine, "info", replace(engine.info, version="99.0")),
}


@pytest.mark.parametrize("happens", _MEANWHILE)
def test_what_looks_told_is_not_asked_again_after_a_start_while_the_image_is_listed_as_it_was(
    bench: Bench, happens: str
) -> None:
    app = an_image("app", "app:1", inspected=details(user="app"))
    bench.engine.histories[app.id] = [BuildStep(7, "RUN it", NOW), BuildStep(0)]
    bench.engine.put(app)
    bench.connect()
    assert bench.learn() == [f"image {app.id}", f"history {app.id}"]
    former, steps = bench.inventory.images[app.id], bench.inventory.histories[app.id]
    _MEANWHILE[happens](bench.engine)
    bench.restart()
    asked = [call for call in bench.learn() if app.id in call]
    assert asked == ([] if happens in ("nothing", "another image") else [f"image {app.id}", f"history {app.id}"])
    now = bench.inventory.images[app.id]
    assert now.details is not None
    assert now.details.user == ("root" if happens == "another platform" else "app")
    assert list(bench.inventory.histories[app.id]) == list(steps)
    if not asked:
        assert former.details is not None
        assert now == replace(former, details=replace(former.details, built_here=None))
    bench.restart()
    assert bench.learn() == []


def test_looks_at_images_that_are_gone_are_forgotten(bench: Bench) -> None:
    app, old = an_image("app", "app:1", inspected=details()), an_image("old", "old:1", inspected=details())
    bench.engine.put(app, old)
    bench.connect()
    bench.learn()
    bench.restart()
    for name in ("app:1", "old:1"):
        bench.engine.unname(name)
        bench.restart()  # it went while nobody looked
        bench.upkeep.save()
    assert bench.ledger.looks(bench.engine.info.identity) == []


def test_removals_of_another_process_are_not_ended_while_it_is_at_work(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    other = Ledger(bench.folder, lambda: NOW, lambda _: None)
    other.open()
    other.claim(bench.engine.info.identity)
    with other.alone():
        other.intend("run-1", a_step(an_image("app", "app:1")), Recipe("none", {"id": image_id("app")}))
        assert bench.connect()
        assert bench.upkeep.end_intents() == []
        assert len(bench.ledger.open_intents()) == 1
    due = [bench.upkeep.is_end_due(bench.clock.monotonic() + seconds) for seconds in (1, 59, 61)]
    assert due == [False, False, True]
    bench.metrics.health.engine_up = False
    assert not bench.upkeep.is_end_due(bench.clock.monotonic() + 61)
    assert [outcome.reason for outcome in bench.upkeep.end_intents()] == ["interrupted"]
    assert bench.ledger.open_intents() == []
    other.close()


def test_what_keeps_us_waiting_when_it_is_ended_leaves_most_of_the_time_to_the_rest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.connect()
    monkeypatch.setattr(module, "end_intents", lambda *_: bench.clock.pass_(300))
    bench.upkeep.end_intents()
    due = [bench.upkeep.is_end_due(bench.clock.monotonic() + seconds) for seconds in (1, 2700, 2761)]
    assert due == [False, False, True]


# -- archives ------------------------------------------------------------------------------------------------


def test_an_archive_goes_when_its_removal_can_be_undone_no_longer(bench: Bench) -> None:
    bench.connect()
    step = a_step(an_image("app", "app:1"))
    stored = bench.tools(bench.engine.info).archive.write(lambda write: write(b"content"), 7)
    number = bench.ledger.intend("run", step, Recipe("load", {}, *stored))
    bench.ledger.conclude(number, Outcome("old", "remove", step.ref, "app:1", Effect.APPLIED, "removed"))
    precious = bench.folder / "archives" / "precious.tar"
    precious.write_text("not ours")
    bench.is_due(0)
    assert (bench.folder / "archives" / stored.name).exists()
    bench.ledger._now = lambda: NOW + 365 * DAY
    bench.is_due(3601)
    assert (bench.folder / "archives" / stored.name).exists(), "the wall clock has no say"
    bench.is_due(15 * DAY)
    assert list((bench.folder / "archives").iterdir()) == [precious]
    assert bench.ledger.known_archives() == set()

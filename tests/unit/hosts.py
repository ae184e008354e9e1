"""A worker with all its stages over an engine and registries in memory.

Input: what a test does to the engine, the queue and the clock. Output: reports as the sinks and the metrics show them.
Out of bounds: replacing any stage; only what stands behind a port is a fake.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from structlog.testing import capture_logs

from dockwarden.inventory.collect import Collector
from dockwarden.inventory.gather import Gatherer
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.memory import Memory, ObservationClock
from dockwarden.metrics import Metrics
from dockwarden.mishaps import Mishaps
from dockwarden.model import ImageStore, Policy
from dockwarden.pipeline.enforce import Enforcer
from dockwarden.pipeline.judge import Judge
from dockwarden.pipeline.upkeep import Upkeep
from dockwarden.pipeline.worker import Worker
from dockwarden.policy.findings import Findings
from dockwarden.ports import Disk
from dockwarden.sinks.board import Board
from dockwarden.sinks.ledger import Ledger
from dockwarden.sinks.log import Log
from dockwarden.triggers.events import hints
from dockwarden.triggers.queue import Batch, Queue
from tests.builders import HOUR, NOW, Ticks, policies
from tests.fakes import FakeEngine, FakeRegistry, Ground

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

    from dockwarden.model import Report

_PATIENCE_SECONDS = 60.0


class WatchedQueue(Queue):
    """A queue that knows when the worker has nothing left to do but wait."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics)
        self._asleep = False
        self._changed = threading.Condition(self._ready._lock)  # type: ignore[attr-defined]

    def take(self, timeout_seconds: float) -> Batch | None:
        with self._ready:
            self._asleep = timeout_seconds > 0
            self._changed.notify_all()
            batch = super().take(timeout_seconds)
            self._asleep = False
            return batch

    def settle(self, worker: threading.Thread) -> None:
        """Wait until the worker waits, for something new or for somebody's answer."""
        with self._ready:
            settled = self._changed.wait_for(
                lambda: not worker.is_alive() or (self._asleep and not self._waiting() and not self._woken),
                _PATIENCE_SECONDS,
            )
        assert settled, "the worker found no end"

    def told(self) -> None:
        """Somebody else has to look at the condition."""
        with self._ready:
            self._changed.notify_all()


class Failing:
    """A sink that raises what a test gives it, and takes reports before and after."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def record(self, report: Report) -> None:
        if self.error is not None:
            raise self.error


class Host:
    """One host under watch. A context manager; `start` begins the first run."""

    def __init__(
        self,
        folder: Path,
        store: ImageStore = ImageStore.GRAPH,
        *,
        stay: float = HOUR,
        own: str = "",
        engine: FakeEngine | None = None,
    ) -> None:
        self.engine = engine or FakeEngine(store)
        self.registry = FakeRegistry()
        self.disk: Disk | None = Disk(50.0, 1_000_000, 5.0)
        self.ticks = Ticks()
        self.metrics = Metrics()
        self.queue = WatchedQueue(self.metrics)
        self.inventory = Inventory(Memory(ObservationClock(self.ticks)))
        mishaps = Mishaps(lambda stage: self.metrics.errors.labels(stage).inc())
        self.collector = Collector(self.engine, self.inventory, mishaps)
        gatherer = Gatherer(self.inventory, self.collector, self.registry, lambda _: self.disk, self.queue.wake)
        self.findings = Findings()
        self.judge = Judge(self.inventory, gatherer, self.findings, mishaps)
        writable = self.metrics.ledger_writable.set
        self.ledger = Ledger(folder, lambda: NOW, lambda can: writable(int(can)), self.inventory.memory.clock.read)
        self.ground = Ground(folder, self.engine, self.registry, own)
        tools = self.ground.known(self.ledger)
        upkeep = Upkeep(self.engine, self.inventory, self.collector, self.ledger, tools, self.metrics, 600.0)
        self.failing = Failing()
        self.board = Board(self.ledger.recent_actions, self.ledger.undoable_until)
        self.worker = Worker(
            queue=self.queue,
            upkeep=upkeep,
            inventory=self.inventory,
            collector=self.collector,
            gatherer=gatherer,
            findings=self.findings,
            judge=self.judge,
            enforcer=Enforcer(
                self.inventory,
                self.collector,
                self.ledger,
                self.ground.executor(self.ledger),
                ask_host=lambda program: gatherer.host_says(program, 0.0),
                now=lambda: NOW,
                minimum_stay_seconds=stay,
                own_container=own,
                mishaps=mishaps,
            ),
            ledger=self.ledger,
            metrics=self.metrics,
            mishaps=mishaps,
            sinks=(self.metrics, self.failing, Log(), self.ledger, self.board),
        )
        self._thread = threading.Thread(target=self._run, name="worker")
        self.died: BaseException | None = None
        self.lines: list[MutableMapping[str, Any]] = []
        self._capture = capture_logs()

    def __enter__(self) -> Self:
        self.lines = self._capture.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.ledger.close()  # where a test opened it
        self._capture.__exit__(None, None, None)

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:  # noqa: BLE001 - the test asks for it
            self.died = error
        finally:
            self.ledger.close()  # its connection belongs to this thread
            self.queue.told()

    # -- what a test does ----------------------------------------------------------------------------------

    def start(self, *given: Policy) -> None:
        """The daemon comes up: policies, a connection, everything listed and judged once; what led to it is past."""
        self.engine.take_events()
        self.queue.submit_policies(policies(*given))
        self.connect("startup")
        self._thread.start()
        self.settle()

    def connect(self, reason: str = "reconnect") -> None:
        """The reader has found the engine."""
        self.metrics.set_engine(self.engine.info)
        self.queue.submit_resync(reason, self.engine.info)

    def lose(self) -> None:
        """The engine goes away, and the reader has found that out."""
        self.engine.go_away()
        self.metrics.set_engine(None, "nothing listens")
        self.queue.submit_lost()

    def use(self, *given: Policy) -> None:
        """New policies, as by a reload."""
        self.queue.submit_policies(policies(*given))
        self.settle()

    def settle(self) -> None:
        """Let the events that the engine emitted arrive, and everything that they lead to."""
        while True:
            self.pass_events_on()
            self.queue.settle(self._thread)
            if self.died is not None:
                raise self.died
            if not self.engine.emitted:
                return

    def pass_events_on(self) -> None:
        """What the engine emitted arrives; the reader turns it into hints."""
        for event in self.engine.take_events():
            self.queue.submit(hints(event), event.at_ns)

    def run_job(self, name: str) -> None:
        """The schedule of a policy fires."""
        self.queue.submit_job(name)
        self.settle()

    def stop(self) -> None:
        """The daemon ends in order."""
        self.queue.close()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE_SECONDS)

    # -- what it then sees ---------------------------------------------------------------------------------

    def value(self, name: str, **labels: str) -> float | None:
        """One sample."""
        return self.metrics.registry.get_sample_value(f"dockwarden_{name}", labels)

    def open_findings(self) -> list[tuple[str, str]]:
        """Policy and name of what is open now."""
        return sorted((finding.result.policy, finding.result.name) for finding in self.findings.open())

    def outcomes(self) -> list[tuple[str, str]]:
        """Effect and reason of every step so far, oldest first."""
        return [(str(action["outcome"]), str(action["reason"])) for action in reversed(self.board.actions)]

    def logged(self, event: str) -> list[MutableMapping[str, Any]]:
        """The lines of one event."""
        return [line for line in self.lines if line["event"] == event]

"""The thread that reads the engine's events and turns each into a hint for the queue, and nothing more.

Input: ``ports.Engine.events`` in windows of bounded length. Output: ``Dirty`` hints, and a resync after every new
connection and whenever events may have been missed. Out of bounds: inspecting, judging, waiting for anybody: an engine
whose reader is slow delays every other client of that engine.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Iterator

import structlog

from dockwarden.errors import EngineError
from dockwarden.metrics import Metrics
from dockwarden.model import Dirty, EngineInfo, Event, Kind
from dockwarden.ports import REPLAYED_AT_MOST, Engine
from dockwarden.reference import is_image_id
from dockwarden.triggers.queue import Queue

_MS = 1_000_000
_SECOND_NS = 1_000 * _MS
_SHORT_STALL_NS = 100 * _MS  # within it no engine emits that many events
_SETTLED_SECONDS = 60.0  # a connection that held so long resets the back-off
_LONGEST_BACKOFF_SECONDS = 15.0
_KINDS = {kind.value: kind for kind in Kind}
_USES = ("connect", "disconnect", "mount", "unmount")  # by a container, of a network or a volume
_log = structlog.get_logger("dockwarden.events")

LONG_STALL_NS = 1_000_000_000
"""An engine may drop events for a reader that was away so long; what was read later than this is listed anew."""


class EventReader(threading.Thread):
    """Follows one engine for ever; its end, for whatever reason but ``stop``, is a fault of ours."""

    def __init__(self, engine: Engine, queue: Queue, metrics: Metrics, window_seconds: float) -> None:
        super().__init__(name="events", daemon=True)
        self._engine = engine
        self._queue = queue
        self._metrics = metrics
        self._window_ns = int(window_seconds * _SECOND_NS)
        self._stopping = threading.Event()
        self._offset_ns = self._connected_ns = 0
        self._overlap_ns = 0
        self._recent: deque[Event] = deque(maxlen=REPLAYED_AT_MOST)

    def stop(self) -> None:
        """Read no further; the thread may still wait for its window to end, which nobody need wait for."""
        self._stopping.set()

    def run(self) -> None:
        """Connect, follow, and connect again."""
        reason, failures = "startup", 0
        connected_at: float | None = None
        while not self._stopping.is_set():
            try:
                info = self._connect()
                since, until = self._now_ns(), self._now_ns() + self._window_ns
                stream = self._engine.events(since, until)
                # The subscription stands: what is listed from here on and what is read from here on overlap.
                connected_at = time.monotonic()
                self._metrics.set_engine(info)
                self._queue.submit_resync(reason, info)
                _log.info("engine.connected", version=info.version, image_store=info.image_store.value)
                if info.only_audited:
                    _log.warning("engine.only_audited", reason=info.only_audited)
                self._follow(stream, until)
            except EngineError as error:
                if self._stopping.is_set():
                    return
                if connected_at is not None and time.monotonic() - connected_at > _SETTLED_SECONDS:
                    failures = 0
                connected_at = None
                self._lose(error, first=self._metrics.health.engine_up or failures == 0)
                reason = "reconnect" if self._metrics.health.inventory_complete else "startup"
                failures += 1
                self._beat()
                self._stopping.wait(_backoff_seconds(failures))

    def _lose(self, error: EngineError, *, first: bool) -> None:
        if self._metrics.health.engine_up:
            self._metrics.events_reconnects.inc()
        self._metrics.set_engine(None, str(error))
        self._queue.submit_lost()
        (_log.error if first else _log.debug)("engine.unreachable", error=str(error))

    def _follow(self, stream: Iterator[Event], until: int) -> None:
        while True:
            lag = self._drain(stream)
            if self._stopping.is_set():  # a stream that nobody reads would stay open
                return
            since, self._overlap_ns = until - _MS, until
            until = self._now_ns() + self._window_ns
            stream = self._engine.events(since, until)
            stall = abs(self._now_ns() - since)  # below zero after the clock was set back
            if lag >= LONG_STALL_NS or self._may_have_missed(since, stall):
                self._metrics.events_gaps.inc()
                _log.warning("events.gap", stalled_seconds=round(max(lag, stall) / _SECOND_NS, 3))
                # It may seem so only because one of the clocks was set, or goes away from the other by itself.
                self._queue.submit_resync("gap", self._connect())

    def _connect(self) -> EngineInfo:
        info = self._engine.connect()
        self._offset_ns = int(info.clock_offset_seconds * _SECOND_NS)
        self._connected_ns = self._now_ns()  # what happened before is in the list that is asked for then
        return info

    def _may_have_missed(self, since: int, stall: int) -> bool:
        if stall < _SHORT_STALL_NS:
            return False
        return stall >= LONG_STALL_NS or self._engine.replayed(since, self._now_ns()) >= REPLAYED_AT_MOST

    def _drain(self, stream: Iterator[Event]) -> int:
        """Read one window to its end; gives the longest time, in ns, that an event lay unread."""
        lag = 0
        self._beat()
        for event in stream:
            if event.at_ns <= self._overlap_ns and event in self._recent:  # windows overlap by a moment
                continue
            self._recent.append(event)
            lag = max(lag, self._now_ns() - max(event.at_ns, self._connected_ns))
            self._metrics.events_received.labels(event.type, event.action).inc()
            self._metrics.events_last_received_timestamp_seconds.set(event.at_ns / _SECOND_NS)
            self._queue.submit(hints(event), event.at_ns)
        return lag

    def _beat(self) -> None:
        self._metrics.health.beats["events"] = time.monotonic()

    def _now_ns(self) -> int:
        return time.time_ns() + self._offset_ns


def hints(event: Event) -> Iterator[Dirty]:
    """Where to look after an event."""
    if event.type == "node":  # whichever leads the swarm now, and wherever its tasks may run
        yield Dirty(Kind.SERVICE, "")
    if (kind := _KINDS.get(event.type)) is None:
        return
    is_use = event.action in _USES
    if is_use and event.name:
        yield Dirty(kind, event.id, used_by=event.name)
    if event.image:
        yield Dirty(Kind.IMAGE, event.image, used_by=event.id)
    named = "" if kind is not Kind.IMAGE or is_image_id(event.name) else event.name
    if not (is_use and (event.name or kind is Kind.VOLUME)):
        is_pull, is_gone = event.action == "pull", event.action in ("delete", "destroy", "remove")
        yield Dirty(kind, event.id, is_pull, is_gone, named=named if event.action == "tag" else "")
    if is_use and kind is Kind.NETWORK and event.name:
        yield Dirty(Kind.CONTAINER, event.name)
    if named and event.action in ("tag", "untag"):
        yield Dirty(Kind.TAG, event.name)  # of the image that had this name before, no event tells


def _backoff_seconds(failures: int) -> float:
    """Growing, bounded, and never the same on two hosts that lost the same engine."""
    share = random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
    return share * min(_LONGEST_BACKOFF_SECONDS, 0.25 * 2.0 ** min(failures, 10))

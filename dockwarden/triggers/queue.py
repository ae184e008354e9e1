"""The one queue between the threads that notice something and the worker that handles it.

Input: hints about objects, names of policies whose schedule fired, demands for a resync, from any thread. Output:
batches for the worker, in which everything that waits for the same object has become one. Out of bounds: knowing what
a hint means.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from dockwarden.metrics import Metrics
from dockwarden.model import Dirty, EngineInfo, PolicySet

_MOST_WAITING = 50_000
# Looking at objects takes the engine's time, which its other clients want too. A burst of hints may be worked off at
# once; then, while more come than can be looked at, looking gets a share of the time, and those that name the same
# object become one.
_FEW = 8  # an event marks up to three objects
_LOOKING_SHARE = 0.2
_LOOKING_BURST_SECONDS = 1.0
_LONGEST_HOLD_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Batch:
    """What the worker takes in one go.

    Attributes:
        dirty: each object with the engine's time, in ns, of the oldest event that touched it.
        jobs: names of jobs that fired.
        resync: why everything must be listed again, or "".
        connected: the engine that answered a new connection.
        lost: the engine went away.
        policies: a new set of policies to use.
        newest_ns: the engine's time of the last event so far.
        listed: everything was listed beside the worker, and may be compared.
    """

    dirty: tuple[tuple[Dirty, int], ...] = ()
    jobs: tuple[str, ...] = ()
    resync: str = ""
    connected: EngineInfo | None = None
    lost: bool = False
    policies: PolicySet | None = None
    newest_ns: int = field(default=0, compare=False)
    listed: bool = False

    @property
    def is_full(self) -> bool:
        return bool(self.resync) or self.listed


_NOTHING = Batch()


class Queue:
    """Thread-safe. Nothing is handed out twice, nothing is lost; above a bound, details give way to a resync."""

    def __init__(
        self, metrics: Metrics, most: int = _MOST_WAITING, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._most = most
        self._ready = threading.Condition()
        self._dirty: dict[Dirty, int] = {}
        self._jobs: dict[str, None] = {}
        self._other = _NOTHING  # what waits besides
        self._newest_ns = 0
        self._woken = False
        self._credit_seconds = _LOOKING_BURST_SECONDS
        self._spent_at = self._hold_until = clock()
        self.closed = False
        metrics.queue_length.set_function(lambda: len(self._dirty) + len(self._jobs))

    def submit(self, hints: Iterable[Dirty], at_ns: int) -> None:
        """Objects may have changed by an event, all of whose hints are handed out together."""
        with self._ready:
            for dirty in hints:
                self._dirty[dirty] = min(at_ns, self._dirty.get(dirty, at_ns))
            self._newest_ns = at_ns  # not the greatest: a clock may be set back
            if len(self._dirty) > self._most:
                self._dirty.clear()
                self._other = replace(self._other, resync=self._other.resync or "overflow")
            self._ready.notify()

    def submit_job(self, name: str) -> None:
        """A job is due. One that still waits absorbs it, which counts as missed."""
        with self._ready:
            if name in self._jobs:
                self._metrics.job_missed.labels(name).inc()
            self._jobs[name] = None
            self._ready.notify()

    def submit_resync(self, reason: str, connected: EngineInfo | None = None) -> None:
        """Everything must be listed again, after a new connection if ``connected`` is given."""
        with self._ready:
            self._other = replace(self._other, resync=self._other.resync or reason)
            if connected is not None:
                self._other = replace(self._other, connected=connected, lost=False)
            self._ready.notify()

    def submit_lost(self) -> None:
        """The engine does not answer; what waits for it is void, because a resync follows its return."""
        with self._ready:
            self._dirty.clear()
            self._other = replace(self._other, resync="", connected=None, lost=True)
            self._ready.notify()

    def submit_policies(self, policies: PolicySet) -> None:
        with self._ready:
            self._other = replace(self._other, policies=policies)
            self._ready.notify()

    def wake(self) -> None:
        """Let the worker look up from its wait."""
        with self._ready:
            self._woken = True
            self._ready.notify()

    def close(self) -> None:
        """The worker is to end after the run it is in."""
        with self._ready:
            self.closed = True
            self._ready.notify_all()

    def rest(self, seconds: float) -> None:
        with self._ready:
            self._ready.wait_for(lambda: self.closed, seconds)

    @property
    def has_hints(self) -> bool:
        """Whether anybody noticed anything that the worker has not been told yet."""
        with self._ready:
            return bool(self._dirty or self._other.resync or self._other.lost)

    def spend(self, seconds: float) -> None:
        """Looking at the last batch took so long; after much of it, hints are held back for a while if many wait."""
        now = self._clock()
        earned = _LOOKING_SHARE * (now - self._spent_at)
        credit = min(_LOOKING_BURST_SECONDS, self._credit_seconds + earned) - seconds
        self._credit_seconds = max(credit, -_LOOKING_SHARE * _LONGEST_HOLD_SECONDS)
        self._spent_at = now
        self._hold_until = now - min(0.0, self._credit_seconds) / _LOOKING_SHARE

    def take(self, timeout_seconds: float) -> Batch | None:
        """Everything that waits, or None when nothing came in time or the queue was woken or closed."""
        with self._ready:
            end = self._clock() + timeout_seconds
            while not (self._waiting() or self._woken or self.closed):
                left = (min(end, self._hold_until) if self._dirty else end) - self._clock()
                if left <= 0:
                    break
                self._ready.wait(left)
            self._woken = False
            if not self._waiting() or self.closed:
                return None
            dirty, jobs = tuple(self._dirty.items()), tuple(self._jobs)
            batch = replace(self._other, dirty=dirty, jobs=jobs, newest_ns=self._newest_ns)
            self._dirty, self._jobs, self._other = {}, {}, _NOTHING
            return batch

    def _waiting(self) -> bool:
        is_held = len(self._dirty) > _FEW and self._clock() < self._hold_until
        return bool((self._dirty and not is_held) or self._jobs or self._other is not _NOTHING)

"""Threads that do jobs, a few per registry, so that a slow one delays no other.

Input: jobs in lanes, and how many of a lane may run at once. Output: their effects. Out of bounds: what they do.

Threads are daemons: an exit does not wait for a registry. They stay for a while after the last job, because starting
one for every question would be dear.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Generic, Protocol, TypeVar

_MOST_THREADS = 64
_STAY_SECONDS = 5.0
_LOOKED_AHEAD = 100


class Job(Protocol):
    """Something to do."""

    def run(self) -> None:
        """Do it, without exceptions."""


J = TypeVar("J", bound=Job)


class Lane(Generic[J]):
    """The jobs of one registry. Its fields belong to ``Lanes``."""

    def __init__(self) -> None:
        self.jobs: deque[J] = deque()
        self.width = 1
        self.running = 0
        self.is_ready = False

    @property
    def is_empty(self) -> bool:
        """Whether it has nothing to do."""
        return not self.jobs and not self.running


class Lanes(Generic[J]):
    """The threads, and which lane is served next: those that have work take turns."""

    def __init__(self, on_idle: Callable[[], None]) -> None:
        """``on_idle`` is called when a thread found nothing to do for a while."""
        self._on_idle = on_idle
        self._changed = threading.Condition()
        self._ready: deque[Lane[J]] = deque()
        self._threads = 0
        self._idle = 0
        self._is_closed = False

    def submit(self, lane: Lane[J], job: J) -> bool:
        """Queue a job; False, and nothing, after ``close``."""
        with self._changed:
            if self._is_closed:
                return False
            lane.jobs.append(job)
            is_short = self._offer(lane)
        self._start(is_short)
        return True

    def resize(self, lane: Lane[J], width: int) -> None:
        """From now on this many of the lane's jobs may run at once."""
        with self._changed:
            lane.width = width
            is_short = self._offer(lane)
        self._start(is_short)

    def waiting(self, lane: Lane[J]) -> list[J]:
        """The first of the jobs that nobody does yet."""
        with self._changed:
            return list(islice(lane.jobs, _LOOKED_AHEAD))

    def close(self) -> None:
        """Take no more; threads end after the job they are at."""
        with self._changed:
            self._is_closed = True
            self._ready.clear()
            self._changed.notify_all()

    def _offer(self, lane: Lane[J]) -> bool:
        """Put the lane where threads look, if it has work for one more; whether a thread has to be started for it."""
        if lane.is_ready or not lane.jobs or lane.running >= lane.width or self._is_closed:
            return False
        lane.is_ready = True
        self._ready.append(lane)
        if self._idle < len(self._ready) and self._threads < _MOST_THREADS:
            self._threads += 1
            return True
        self._changed.notify()
        return False

    def _start(self, is_short: bool) -> None:  # noqa: FBT001 - what _offer said
        """Not under the lock: whoever starts a thread waits until it runs."""
        if is_short:
            threading.Thread(target=self._work, name="registry", daemon=True).start()

    def _work(self) -> None:
        lane: Lane[J] | None = None
        while True:
            with self._changed:
                if lane is not None:
                    lane.running -= 1
                    if not lane.is_ready and lane.jobs and lane.running < lane.width:
                        lane.is_ready = True
                        self._ready.append(lane)
                if not self._rest():
                    self._threads -= 1
                    break
                lane = self._ready.popleft()
                lane.is_ready = False
                job = lane.jobs.popleft()
                lane.running += 1
                is_short = self._offer(lane)
            self._start(is_short)
            job.run()
            del job  # an idle thread keeps nothing alive
        self._on_idle()

    def _rest(self) -> bool:
        """Wait for work; False if there is none for long, or ever."""
        ends_at = time.monotonic() + _STAY_SECONDS
        while not self._ready and not self._is_closed:
            left = ends_at - time.monotonic()
            if left <= 0:
                return False
            self._idle += 1
            self._changed.wait(left)
            self._idle -= 1
        return not self._is_closed

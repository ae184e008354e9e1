"""Threads that ask questions, a few per registry, so that a slow one delays no other.

Input: questions, and how many of a lane may be asked at once. Output: their answers. Out of bounds: how they are asked.

Threads are daemons: an exit does not wait for a registry. They stay for a while after the last question, because
starting one for every question would be dear.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice

import structlog

from dockwarden.ports import Ask, Reply

_STAY_SECONDS = 5.0
_LOOKED_AHEAD = 100
_GOOD_ANSWERS = 50  # before one more question may be asked at once again
_log = structlog.get_logger("dockwarden.registry")


@dataclass(eq=False)
class Question:
    """One question about a repository, and all who wait for its answer."""

    ask: Ask
    path: str
    answer: Callable[[], Reply]
    settle: Callable[["Question", Reply], None]
    future: Future[Reply] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.future.set_running_or_notify_cancel()  # shared, so nobody may cancel it

    def run(self) -> None:
        try:
            reply = self.answer()
        except Exception as error:  # noqa: BLE001 - the thread serves others, too
            # Its text, and the values around it, may be secret.
            _log.error("registries.question_failed", what=self.ask.what, error=type(error).__name__)
            reply = Reply(reason="bad_answer")
        self.settle(self, reply)


class Lane:
    """The questions to one registry, and the threads that ask them: one until it answers, then as many as allowed.

    That first one also finds out whom the registry wants to see, which otherwise several would ask. A refusal halves
    the number, good answers raise it again.
    """

    def __init__(self, most: int, turns: threading.Semaphore, on_idle: Callable[[], object]) -> None:
        """``turns``: for all lanes together; ``on_idle`` is called when a thread found nothing to do for a while."""
        self._most = most
        self._turns = turns
        self._on_idle = on_idle
        self._changed = threading.Condition()
        self._jobs: deque[Question] = deque()
        self.width = 1
        self._is_known = False
        self._good = 0
        self._running = 0
        self._idle = 0
        self._is_closed = False

    @property
    def is_empty(self) -> bool:
        return not self._jobs and not self._running

    def submit(self, job: Question) -> bool:
        """Queue a question; False, and nothing, after ``close``."""
        with self._changed:
            if self._is_closed:
                return False
            self._jobs.append(job)
        self._start()
        return True

    def contacted(self) -> None:
        self._good += 1
        if not self._is_known:
            self._is_known = True
            self._resize(self._most)
        elif self._good >= _GOOD_ANSWERS and self.width < self._most:
            self._resize(self.width + 1)

    def refused(self) -> None:
        self._resize(max(1, self.width // 2))

    def lost(self) -> None:
        """It is not known to answer any more."""
        self._is_known = False
        self._resize(1)

    def _resize(self, width: int) -> None:
        with self._changed:
            self._good, self.width = 0, width
        self._start()

    def waiting(self) -> list[str]:
        """The repositories that the first questions are about which nobody asks yet."""
        with self._changed:
            return [job.path for job in islice(self._jobs, _LOOKED_AHEAD)]

    def close(self) -> list[Question]:
        """Take no more, and give back what nobody asks yet; threads end after the question they are at."""
        with self._changed:
            self._is_closed = True
            left = list(self._jobs)
            self._jobs.clear()
            self._changed.notify_all()
        return left

    def _start(self) -> None:
        with self._changed:
            missing = max(0, min(len(self._jobs), self.width - self._running) - self._idle)
            self._idle += missing
            self._changed.notify_all()
        for _ in range(missing):  # not under the lock: whoever starts a thread waits until it runs
            threading.Thread(target=self._work, name="registry", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                is_due = self._changed.wait_for(
                    lambda: self._is_closed or (self._jobs and self._running < self.width), _STAY_SECONDS
                )
                self._idle -= 1
                if not is_due or self._is_closed:
                    break
                job = self._jobs.popleft()
                self._running += 1
            with self._turns:
                job.run()
            del job  # an idle thread keeps nothing alive
            with self._changed:
                self._running -= 1
                self._idle += 1
                self._changed.notify()
        self._on_idle()

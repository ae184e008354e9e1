"""How hard one host may be asked: after refusals (429), after failures, and what it says of its quota.

Input: what became of requests. Output: how long to wait before the next one, that there shall be none, or how many may
be under way. Out of bounds: waiting.
"""

import re
import threading
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from dockwarden.registry.message import Answer, FailedError

LONGEST_PAUSE_SECONDS = 30.0
_SHORTEST_PAUSE_SECONDS = 0.05
_QUICK_RETRIES = 3
_REFUSED_SECONDS = 60.0  # no more questions after a refusal that says no time, or is repeated
_LONGEST_REFUSAL_SECONDS = 3600.0
_FAILURES = 5
_BROKEN_SECONDS = 60.0
_GOOD_ANSWERS = 50  # before one more request may be under way again
_SECONDS = re.compile(r"\d{1,12}(?:\.\d{0,12})?", re.ASCII)
_NUMBER = re.compile(r"\s*(\d{1,12})\s*(?:;.*)?", re.ASCII | re.DOTALL)


def retry_after(answer: Answer) -> float | None:
    """The seconds that a refusal asks to wait; None where it does not say, or nonsense."""
    text = ",".join(answer.all("Retry-After")).strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        # Against the sender's own clock, so that nobody's has to be right.
        until, now = parsedate_to_datetime(text), parsedate_to_datetime(answer.all("Date")[0])
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def remaining(answer: Answer) -> int | None:
    """How many pulls the registry says are left."""
    found = _NUMBER.fullmatch(",".join(answer.all("RateLimit-Remaining")))
    return int(found[1]) if found else None


class Width:
    """How many requests of one registry may be under way: one until it is known to answer, then as many as allowed.

    That first one also finds out whom the registry wants to see, which otherwise several would ask. A refusal halves
    the number, good answers raise it again.
    """

    def __init__(self, limit: int, resize: Callable[[int], None]) -> None:
        self._limit = limit
        self._resize = resize
        self._lock = threading.Lock()
        self._width = 1
        self.is_known = False
        self._good = 0

    def contacted(self) -> None:
        if self.is_known and self._width == self._limit:
            return
        with self._lock:
            self._good += 1
            if not self.is_known:
                self.is_known = True
                self._set(self._limit)
            elif self._good >= _GOOD_ANSWERS:
                self._set(self._width + 1)

    def refused(self) -> None:
        with self._lock:
            self._set(max(1, self._width // 2))

    def lost(self) -> None:
        with self._lock:
            self.is_known = False
            self._set(1)

    def _set(self, width: int) -> None:
        self._good = 0
        self._width = min(width, self._limit)
        self._resize(self._width)


class Pace:
    """When one host may be asked next."""

    def __init__(self, clock: Callable[[], float], width: Width) -> None:
        self._clock = clock
        self._width = width
        self._lock = threading.Lock()
        self._failures = 0
        self._paused_until = 0.0
        self._closed_until = 0.0
        self._reason = ""

    def wait_seconds(self) -> float:
        """How long to wait before the next request. Raises FailedError where it is no use."""
        with self._lock:
            now = self._clock()
            if now < self._closed_until:
                raise FailedError(self._reason)
            return max(0.0, self._paused_until - now)

    def answered(self) -> None:
        self._failures = 0

    def failed(self, reason: str) -> bool:
        """A request failed; whether the host is now taken for dead. Then it is tried again by one request a minute."""
        if reason not in ("unreachable", "timeout"):
            return False
        with self._lock:
            self._failures += 1
            if self._failures < _FAILURES:
                return False
            self._close(_BROKEN_SECONDS, reason)
        self._width.lost()
        return True

    def refused(self, after: float | None, attempt: int) -> float:
        """The host wants to be asked less. How long this request has to wait before its retry.

        Raises FailedError: it must not be repeated.
        """
        self._width.refused()
        with self._lock:
            if after is not None and after < 1 and attempt < _QUICK_RETRIES:
                return max(after, _SHORTEST_PAUSE_SECONDS * (1 << attempt))
            seconds = 1.0 if after is None else after
            if attempt or seconds > LONGEST_PAUSE_SECONDS:
                self._close(_REFUSED_SECONDS if after is None else max(after, LONGEST_PAUSE_SECONDS), "rate_limited")
                raise FailedError("rate_limited")
            self._paused_until = max(self._paused_until, self._clock() + seconds)
            return 0.0

    def _close(self, seconds: float, reason: str) -> None:
        self._closed_until = self._clock() + min(seconds, _LONGEST_REFUSAL_SECONDS)
        self._reason = reason

"""How hard one host may be asked: after refusals (429), after failures, and what it says of its quota.

Input: what became of requests. Output: how long to wait before the next one, or that there shall be none. Out of
bounds: waiting, and how many may be under way.
"""

import re
import threading
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from dockwarden.registry.message import Answer, FailedError

LONGEST_PAUSE_SECONDS = 30.0
_SHORTEST_PAUSE_SECONDS = 0.05
_USUAL_PAUSE_SECONDS = 1.0
_MOST_PAUSES = 3
_REFUSED_SECONDS = 60.0  # no more questions after refusals that say no time
_LONGEST_REFUSAL_SECONDS = 3600.0
_FAILURES = 5
_BROKEN_SECONDS = 60.0
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


class Throttle:
    """When one host may be asked next."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._pauses = 0
        self._refused_since = self._paused_until = 0.0
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
        self._failures = self._pauses = 0

    def failed(self, reason: str) -> bool:
        """A request failed; whether the host is now taken for dead. Then it is tried again by one request a minute."""
        if reason not in ("unreachable", "timeout"):
            return False
        with self._lock:
            self._failures += 1
            if self._failures < _FAILURES:
                return False
            self._close(_BROKEN_SECONDS, reason)
        return True

    def refused(self, after: float | None, asked_at: float) -> None:
        """The host wants to be asked less, so all pause. FailedError: it answers nobody, however often they do."""
        with self._lock:
            now, self._failures = self._clock(), 0
            if not self._pauses:
                self._refused_since = now
            seconds = max(_USUAL_PAUSE_SECONDS if after is None else after, _SHORTEST_PAUSE_SECONDS * 2**self._pauses)
            is_in_vain = seconds + (now - self._refused_since) > LONGEST_PAUSE_SECONDS
            if asked_at >= self._paused_until:  # others may have been under way when it first said so
                is_in_vain = is_in_vain or self._pauses == _MOST_PAUSES
                self._pauses += 1
            if is_in_vain:
                self._pauses = 0
                self._close(_REFUSED_SECONDS if after is None else max(after, LONGEST_PAUSE_SECONDS), "rate_limited")
                raise FailedError("rate_limited")
            self._paused_until = max(self._paused_until, now + seconds)

    def _close(self, seconds: float, reason: str) -> None:
        self._closed_until = self._clock() + min(seconds, _LONGEST_REFUSAL_SECONDS)
        self._reason = reason

"""What registries said, for as long as it may be believed, and longer. Bounded.

Input: questions in their normal form, replies, the time. Output: replies. Out of bounds: asking, threads.
"""

from typing import NamedTuple

from dockwarden.ports import Ask, Reply

_MOST = 400_000
_FAILURE_SECONDS = 30.0
_TOO_MANY_SECONDS = 86_400.0
_SECONDS_OF_TAG = 0.2  # a long list takes many requests, and so is believed longer


class _Known(NamedTuple):
    reply: Reply
    at: float


class Memory:
    """The last reply to every question, the least recent forgotten first. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[Ask, _Known] = {}
        self._size = 0

    def last(self, ask: Ask) -> Reply | None:
        """However old."""
        known = self._known.get(ask)
        return known.reply if known else None

    def fresh(self, ask: Ask, now: float, max_age_seconds: float) -> Reply | None:
        """If it may still be believed: what a digest stands for always, failures not for long."""
        known = self._known.get(ask)
        if known is None:
            return None
        match known.reply.reason:
            case "" if ask.what in ("manifest", "config"):
                return known.reply
            case "":
                limit = max(max_age_seconds, _SECONDS_OF_TAG * len(known.reply.tags))
            case "too_many_tags":
                limit = _TOO_MANY_SECONDS
            case _:
                limit = min(_FAILURE_SECONDS, max_age_seconds)
        return known.reply if now - known.at < limit else None

    def expire(self, ask: Ask | None = None) -> None:
        """It, or every one, is the last answer and fresh no more."""
        for each in [ask] if ask else list(self._known):
            if known := self._known.get(each):
                self._known[each] = known._replace(at=float("-inf"))

    def keep(self, ask: Ask, reply: Reply, now: float) -> None:
        """Remember it, in place of what was said before."""
        self._forget(ask)  # so that the oldest come first
        self._known[ask] = _Known(reply, now)
        self._size += _weight(reply)
        while self._size > _MOST:
            self._forget(next(iter(self._known)))

    def _forget(self, ask: Ask) -> None:
        known = self._known.pop(ask, None)
        if known is not None:
            self._size -= _weight(known.reply)


def _weight(reply: Reply) -> int:
    """In units of about a hundred bytes."""
    return 5 + sum(50 + len(tag) for tag in reply.tags) // 100 + 4 * len(reply.entries)

"""Exceptions of our own code that cost one object its result and nobody else anything: counted, and told.

Input: the stage, the exception, which object. Output: the exception in words, for that object's result. Out of bounds:
exceptions with a meaning, which are handled where they mean something.
"""

import time
import traceback
from collections.abc import Callable

import structlog

_SILENT_SECONDS = 3600.0  # ten thousand objects that fail in one place make one traceback
_log = structlog.get_logger("dockwarden")


class Mishaps:
    """Takes note. ``count`` is called with the stage."""

    def __init__(self, count: Callable[[str], object] = lambda _stage: None) -> None:
        self._count = count
        self._told: dict[tuple[str, str, str], float] = {}

    def note(self, stage: str, error: Exception, **about: str) -> str:
        """Count it, log its traceback unless that place in the code had one lately, and give it in words."""
        self._count(stage)
        place = traceback.extract_tb(error.__traceback__)[-1:]
        key = (stage, type(error).__name__, "".join(f"{frame.filename}:{frame.lineno}" for frame in place))
        now = time.monotonic()
        if now - self._told.get(key, float("-inf")) > _SILENT_SECONDS:
            self._told[key] = now
            _log.error("stage.failed", stage=stage, error=str(error), exc_info=error, **about)
        return f"{type(error).__name__}: {error}"

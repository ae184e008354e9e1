"""Wait for a condition instead of sleeping for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from tests.lab.machine import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
PATIENCE = 90.0
"""Seconds after which nothing will come any more, on a machine that does much else; it costs those who fail."""


def until(condition: Callable[[], T], what: str, timeout: float = PATIENCE, pause: float = 0.02) -> T:
    """The first true answer of `condition`; a `LabError` naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(pause)
    return answer

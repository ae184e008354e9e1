"""Wait for a condition instead of sleeping for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from tests.lab.machine import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, timeout: float = 30.0, pause: float = 0.02) -> T:
    """The first true answer of `condition`; a `LabError` naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(pause)
    return answer

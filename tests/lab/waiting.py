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


def until(
    condition: Callable[[], T], what: str, timeout: float = PATIENCE, pause: float = 0.02, most: float = 0.2
) -> T:
    """The first true answer of `condition`; a `LabError` naming `what` after `timeout` seconds.

    Who has waited for long asks less often, as each question takes time from what is waited for: after a `pause` that
    grows to a tenth of the time waited so far, or to `most` seconds.
    """
    begun = time.monotonic()
    while not (answer := condition()):
        waited = time.monotonic() - begun
        if waited > timeout:
            raise LabError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(max(pause, min(most, waited / 10)))
    return answer

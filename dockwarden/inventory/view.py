"""What readers of facts share: the view they read from, the row of the vocabulary, and conversions. Pure.

Input and output: values of ``model``. Out of bounds: knowing any particular fact.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from dockwarden.inventory.live import Inventory
from dockwarden.model import FactValue
from dockwarden.ports import Ask, Disk, Reply, Usage

_EPOCH = datetime.fromtimestamp(0, UTC)


class View(NamedTuple):
    """What facts are read from besides the object itself; all but ``inventory`` and ``now`` as far as gathered."""

    inventory: Inventory
    now: float
    disk: Disk | None = None
    replies: Mapping[Ask, Reply] = {}
    usage: Usage | None = None
    unique: Mapping[str, int] | None = None


Read = Callable[[Any, View], FactValue | None]
"""Reads one fact of an object; None while it has not been gathered."""

Row = tuple[str, str, int, str, Read]
"""Name, CEL type, cost class, meaning, reader."""


def time(at: float | None) -> datetime:
    """A timestamp; "never" is 1970, because every gathered fact has a value."""
    return datetime.fromtimestamp(at, UTC) if at is not None else _EPOCH


def span(seconds: float) -> timedelta:
    """A duration."""
    return timedelta(seconds=seconds)

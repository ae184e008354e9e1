"""What readers of facts share: the view they read from, the row of the vocabulary, and conversions. Pure.

Input and output: values of ``model``. Out of bounds: knowing any particular fact.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from dockwarden.inventory.bases import Bases
from dockwarden.inventory.live import Inventory
from dockwarden.model import FactValue, Thing, ref_of
from dockwarden.ports import Ask, Disk, Reply, Usage


class View(NamedTuple):
    """What facts are read from besides the object itself; all but ``inventory`` and ``now`` as far as gathered.

    ``disk`` is that of the images, ``data_disk`` that of the data root if it is another one. ``measured`` holds what
    was asked about one object, by fact and key.
    """

    inventory: Inventory
    now: float
    disk: Disk | None = None
    replies: Mapping[Ask, Reply] = {}
    usage: Usage | None = None
    unique: Mapping[str, int] | None = None
    bases: Bases | None = None
    measured: Mapping[tuple[str, str], FactValue] = {}
    data_disk: Disk | None = None


Read = Callable[[Any, View], FactValue | None]
"""Reads one fact of an object; None while it has not been gathered."""

Row = tuple[str, str, int, str, Read]
"""Name, CEL type, cost class, meaning, reader."""


def time(at: float | None) -> datetime | None:
    """A timestamp; "never" is unknown, as of any date that stood for it an age would be wrong."""
    return datetime.fromtimestamp(at, UTC) if at is not None else None


def span(seconds: float) -> timedelta:
    """A duration."""
    return timedelta(seconds=seconds)


def is_root(user: str) -> bool:
    """Whether a user as images and containers name it, ``1000:1000``, is root; nobody named is root, too."""
    name = user.partition(":")[0]
    try:
        return name in ("", "root") or int(name) == 0
    except ValueError:
        return False


def used_by(thing: Thing, view: View) -> list[str]:
    """The names of the containers that use it, and the services that need it."""
    ref, inventory = ref_of(thing), view.inventory
    return [*sorted(inventory.name_of(user) for user in inventory.users_of(ref)), *inventory.needed_by(ref)]

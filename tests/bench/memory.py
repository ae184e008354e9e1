"""Resident memory once everything has been judged, with the policies that are shipped."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.bench.daemon import Daemon
from tests.bench.report import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.host import Host

NAME = "memory"
_MIB = 2**20
_MOST_MIB = {100: 80.0, 10_000: 140.0}


def measure(host: Host, *, quick: bool) -> Iterator[Row]:
    """The rows of one host."""
    with Daemon(host.engine) as daemon:
        ready = daemon.ready()
        daemon.settle()
        memory = daemon.memory()
    row = partial(Row, measurement=NAME, store=host.store, images=host.images, unit="MiB")
    files = f"{memory['RssFile'] / _MIB:.0f} of it program files, ready after {ready:.1f} s"
    yield row(figure="resident", value=memory["VmRSS"] / _MIB, at_most=_MOST_MIB.get(host.images), note=files)
    yield row(figure="resident at most", value=memory["VmHWM"] / _MIB, at_most=_MOST_MIB.get(host.images))

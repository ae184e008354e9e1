"""What dockwarden costs while nothing happens: requests to the engine, by operation, and CPU time."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.daemon import Daemon, total
from tests.bench.report import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.host import Host

NAME = "idle"
_SECONDS, _SECONDS_QUICK = 300.0, 60.0
_REQUESTS = "dockwarden_engine_requests_total"
_WINDOW = "events"
_MOST_CPU_PERCENT = 0.5


def measure(host: Host, *, quick: bool) -> Iterator[Row]:
    """The rows of one host."""
    seconds = _SECONDS_QUICK if quick else _SECONDS
    with Daemon(host.engine) as daemon:
        daemon.settle()
        before, cpu = daemon.samples(_REQUESTS), daemon.cpu_seconds()
        time.sleep(seconds)
        cpu = daemon.cpu_seconds() - cpu
        after = daemon.samples(_REQUESTS)
    row = partial(Row, measurement=NAME, store=host.store, images=host.images)
    grown = {name: value - before.get(name, 0.0) for name, value in after.items() if value != before.get(name, 0.0)}
    windows = total(grown, _REQUESTS, f'operation="{_WINDOW}"')
    others = sorted(name.partition('operation="')[2].partition('"')[0] for name in grown)
    yield row(figure="windows of events opened", value=windows, unit="", note=f"in {seconds:g} s")
    yield row(
        figure="other requests",
        value=total(grown, _REQUESTS) - windows,
        unit="",
        at_most=0,
        note=", ".join(name for name in others if name != _WINDOW) or "no list, no df",
    )
    yield row(figure="CPU", value=100 * cpu / seconds, unit="% of a core", at_most=_MOST_CPU_PERCENT)

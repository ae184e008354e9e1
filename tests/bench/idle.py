"""What dockwarden costs while nothing happens: requests to the engine, by operation, and CPU time."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.daemon import Daemon
from tests.bench.report import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.host import Host

NAME = "idle"
_SECONDS, _SECONDS_QUICK = 300.0, 60.0
_REQUESTS = "dockwarden_engine_requests_total"
_WINDOW = "events"
_LISTS = ("image_list", "container_list", "volume_list", "network_list", "service_list", "info")
_SPENT = "dockwarden_engine_request_duration_seconds_sum"
_RESYNC_SECONDS = 30
_MOST_CPU_PERCENT = 0.5


def measure(host: Host, *, quick: bool) -> Iterator[Row]:
    """The rows of one host."""
    seconds = _SECONDS_QUICK if quick else _SECONDS
    with Daemon(host.engine, resync=_RESYNC_SECONDS) as daemon:
        daemon.settle()
        before, cpu = daemon.samples(_REQUESTS, _SPENT), daemon.cpu_seconds()
        time.sleep(seconds)
        cpu = daemon.cpu_seconds() - cpu
        after = daemon.samples(_REQUESTS, _SPENT)
    row = partial(Row, measurement=NAME, store=host.store, images=host.images)
    grown = {name: value - before.get(name, 0.0) for name, value in after.items() if value != before.get(name, 0.0)}
    counts, spent = (
        {name.partition('operation="')[2].partition('"')[0]: value for name, value in grown.items() if kind in name}
        for kind in (_REQUESTS, _SPENT)
    )
    yield row(figure="windows of events opened", value=counts.pop(_WINDOW, 0), unit="", note=f"in {seconds:g} s")
    lists = counts.get("image_list", 0)
    share = 100 * sum(spent.get(name, 0.0) for name in _LISTS) / seconds
    yield row(figure="time in lists", value=share, unit="%", at_most=0.1 if lists else None, note=f"{lists:g} lists")
    others = {name: value for name, value in counts.items() if name not in _LISTS}
    yield row(
        figure="other requests", value=sum(others.values()), unit="", at_most=0, note=", ".join(others) or "no df"
    )
    yield row(figure="CPU", value=100 * cpu / seconds, unit="% of a core", at_most=_MOST_CPU_PERCENT)

"""From the start of the process to `/readyz`: interpreter, imports, policies compiled, engine listed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.bench.daemon import Daemon
from tests.bench.report import Row, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.host import Host

NAME = "start"
_STARTS, _STARTS_QUICK = 5, 2
_LISTED = "dockwarden_engine_request_duration_seconds_sum"


def measure(host: Host, *, quick: bool) -> Iterator[Row]:
    """The rows of one host."""
    took: list[float] = []
    listing = 0.0
    for _ in range(_STARTS_QUICK if quick else _STARTS):
        with Daemon(host.engine) as daemon:
            took.append(daemon.ready())
            listing = daemon.samples()[f'{_LISTED}{{operation="image_list"}}']
    row = partial(Row, measurement=NAME, store=host.store, images=host.images, unit="s")
    yield row(figure="start to ready", value=percentile(took, 0.5), note=f"{listing:.2f} s of it the engine's list")
    yield row(figure="start to ready at most", value=max(took), note=f"of {len(took)}")

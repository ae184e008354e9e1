"""From the start of the process to `/readyz`: interpreter, imports, policies compiled, engine listed; commands, too.

A second start knows what images are like, so what it asks the engine for is counted.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.daemon import Daemon, total
from tests.bench.installed import cpu_of_run
from tests.bench.report import Row, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.host import Host

NAME = "start"
_STARTS, _STARTS_QUICK = 5, 2
_RUNS = 15
_REQUESTS = "dockwarden_engine_requests_total"
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
    with tempfile.TemporaryDirectory(prefix="dockwarden-bench-") as state:
        for name in ("first", "second"):
            began = time.monotonic()
            with Daemon(host.engine, state_dir=state) as daemon:
                daemon.settle()
                asked = daemon.samples(_REQUESTS)
                cpu = daemon.cpu_seconds()
            looks = total(asked, _REQUESTS, 'operation="image_')
            note = f"{time.monotonic() - began:.0f} s until it ended"
            at_most = None if name == "first" else 1.0
            yield row(figure=f"requests about images, {name} start", value=looks, unit="", at_most=at_most, note=note)
            yield row(figure=f"CPU, {name} start", value=cpu, unit="s")
    for arguments, most in ((("check", "shipped"), 0.3), (("healthcheck", "--listen", "127.0.0.1:1"), 0.03)):
        used = [cpu_of_run(*arguments, fine=(0, 1)) for _ in range(_RUNS)]  # nobody answers, which takes as long
        yield row(figure=f"CPU of {arguments[0]}", value=percentile(used, 0.5), at_most=most)

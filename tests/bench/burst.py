"""What is left of the truth after a burst of tags from four clients, and what the engine's other clients feel.

The burst runs with dockwarden watching and, half before and half after, without it. Afterwards the inventory must
be the engine's, without a full list. An engine with a subscriber that is too slow makes each call that emits an event
wait 100 ms: that is what the target of the tag calls is there to show.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

from dockwarden import reference
from tests.bench import clients
from tests.bench.daemon import Daemon, total
from tests.bench.report import Row, percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.clients import Felt
    from tests.bench.daemon import Samples
    from tests.bench.host import Host

NAME = "burst"
_SECONDS, _SECONDS_QUICK = 30.0, 5.0
_CATCH_UP_SECONDS = 60.0
_STALL_MS = 100.0
_EVENTS = "dockwarden_events_received_total"
_RESYNCS = "dockwarden_inventory_resyncs_total"


def measure(host: Host, *, quick: bool) -> Iterator[Row]:
    """The rows of one host; the names that the burst leaves are taken away again."""
    seconds = _SECONDS_QUICK if quick else _SECONDS
    run = partial(clients.burst, str(host.engine.socket), host.names(100))
    row = partial(Row, measurement=NAME, store=host.store, images=host.images)
    try:
        alone = run(seconds / 2)
        with Daemon(host.engine) as daemon:
            daemon.settle()
            before, cpu = daemon.samples(), daemon.cpu_seconds()
            watched = run(seconds)
            cpu = daemon.cpu_seconds() - cpu
            caught_up, wrong = _catch_up(host, daemon)
            after = daemon.samples()
        alone = alone.plus(run(seconds / 2))
        yield from _truth(row, before, after, caught_up, wrong, seconds)
        yield row(figure="CPU of dockwarden while it lasts", value=100 * cpu / seconds, unit="% of a core")
        yield from _felt(row, alone, watched)
    finally:
        _clear(host)


def _truth(
    row: Callable[..., Row], before: Samples, after: Samples, caught_up: float, wrong: int, seconds: float
) -> Iterator[Row]:
    def grown(name: str, *having: str) -> float:
        return total(after, name, *having) - total(before, name, *having)

    yield row(figure="events", value=grown(_EVENTS) / seconds, unit="/s")
    yield row(figure="tags that differ from the engine's", value=wrong, unit="", at_most=0)
    yield row(figure="time to catch up", value=caught_up, unit="s")
    yield row(figure="gaps", value=grown("dockwarden_events_gaps_total"), unit="", at_most=0)
    yield row(figure="full lists", value=grown(_RESYNCS), unit="", at_most=0)


def _felt(row: Callable[..., Row], alone: Felt, watched: Felt) -> Iterator[Row]:
    rates = f"{alone.calls_per_second:,.0f}/s alone"
    yield row(figure="tag calls, watched", value=watched.calls_per_second, unit="/s", note=rates)
    for call, without, having in (
        ("tag", alone.tagging, watched.tagging),
        ("/containers/json", alone.listing, watched.listing),
    ):
        for share in (0.5, 0.99):
            bare, now = percentile(without, share), percentile(having, share)
            yield row(
                figure=f"{call} p{100 * share:g}, watched",
                value=now,
                unit="ms",
                at_most=_STALL_MS if call == "tag" and share == 0.5 else None,
                note=f"{bare:.2f} ms alone, ratio {now / bare:.2f}",
            )


def _catch_up(host: Host, daemon: Daemon) -> tuple[float, int]:
    """Seconds until the inventory's tags are the engine's, and how many are not in the end."""
    began = time.monotonic()
    wanted = _engine_tags(host)
    while True:
        shown = daemon.tags()
        wrong = len(dict(wanted.items() ^ shown.items()))
        took = time.monotonic() - began
        if not wrong or took > _CATCH_UP_SECONDS:
            return took, wrong
        time.sleep(0.05)


def _engine_tags(host: Host) -> dict[str, str]:
    listed = json.loads(host.raw().ask("GET", "/images/json"))
    return {
        reference.full(tag): image["Id"]
        for image in listed
        for tag in image["RepoTags"] or ()
        if tag != "<none>:<none>"
    }


def _clear(host: Host) -> None:
    raw = host.raw()
    for number in range(clients.TAGGERS):
        for name in clients.names(number):
            raw.untag(name)

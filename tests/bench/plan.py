"""What is measured, where, and in which order: one engine of each store, which gains images as it goes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tests.bench import burst, idle, judging, memory, packs, peers, reaction, registry, removal, start, updates, web
from tests.bench.host import Host
from tests.bench.report import Row
from tests.lab.engine import LabEngine
from tests.lab.machine import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.lab.engine import Kind


class Measure(Protocol):
    """Measures one host."""

    def __call__(self, host: Host, *, quick: bool) -> Iterator[Row]: ...


@dataclass(frozen=True)
class Step:
    """One measurement on one host."""

    name: str
    measure: Measure
    store: Kind
    images: int
    quick: bool = False


_STEPS = (
    Step(reaction.NAME, reaction.measure, "graph", 100, quick=True),
    Step(memory.NAME, memory.measure, "graph", 100, quick=True),
    Step(reaction.NAME, reaction.measure, "graph", 1_000, quick=True),
    Step(start.NAME, start.measure, "graph", 1_000, quick=True),
    Step(burst.NAME, burst.measure, "graph", 1_000, quick=True),
    Step(idle.NAME, idle.measure, "graph", 1_000, quick=True),
    Step(web.NAME, web.measure, "graph", 1_000, quick=True),
    Step(peers.NAME, peers.measure, "graph", 1_000),
    Step(reaction.NAME, reaction.measure, "graph", 10_000),
    Step(memory.NAME, memory.measure, "graph", 10_000),
    Step(reaction.NAME, reaction.measure, "containerd", 100, quick=True),
    Step(reaction.NAME, reaction.measure, "containerd", 1_000),
    Step(start.NAME, start.measure, "containerd", 1_000),
    Step(burst.NAME, burst.measure, "containerd", 1_000),
    Step(idle.NAME, idle.measure, "containerd", 1_000),
)
_BY_THEMSELVES = (judging, packs, peers, registry, removal, updates)
NAMES = tuple(sorted({step.name for step in _STEPS} | {each.NAME for each in _BY_THEMSELVES}))


def run(only: Sequence[str], *, quick: bool, engines: dict[str, str]) -> Iterator[Row]:
    """All rows, as they are measured; `engines` is told how each store's engine describes itself."""
    if not only or judging.NAME in only:
        say("judging: 10,000 images in memory")
        yield from judging.measure()
    if (not only and not quick) or removal.NAME in only:
        yield from removal.measure()
    if (not only and not quick) or packs.NAME in only:
        yield from packs.measure()
    if not only or registry.NAME in only:
        say("registry: our client beside a bare loop, against a fake registry")
        yield from registry.measure(quick=quick)
    if (not only and not quick) or peers.NAME in only:
        yield from peers.alone()
    if (not only and not quick) or updates.NAME in only:
        yield from updates.measure(quick=quick)
    for store in ("graph", "containerd"):
        steps = [s for s in _STEPS if s.store == store and (s.quick or not quick) and (not only or s.name in only)]
        if steps:
            with LabEngine(store) as engine:
                host = Host(engine)
                engines[store] = host.described()
                yield from _on(host, steps, quick=quick)


def _on(host: Host, steps: Sequence[Step], *, quick: bool) -> Iterator[Row]:
    rows: list[Row] = []
    for step in steps:
        if step.images > host.images:
            host.grow(step.images)
            say(f"{host.store}: {step.images:,} images loaded, {host.loading_seconds:.0f} s by now")
        began = time.monotonic()
        for row in step.measure(host, quick=quick):
            rows.append(row)
            yield row
        say(f"{step.name}: {host.store} store, {step.images:,} images, took {time.monotonic() - began:.0f} s")
    yield from reaction.ratios(rows)
    yield Row(
        measurement="setup",
        store=host.store,
        images=host.images,
        figure="time to load them",
        value=host.loading_seconds,
        unit="s",
    )

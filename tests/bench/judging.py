"""Judging 10,000 images by 20 policies that need no more than the inventory; no engine is involved."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

from dockwarden.actions.table import VERBS
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.inventory.gather import INSPECT, Gatherer
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.memory import Memory, ObservationClock
from dockwarden.model import EngineInfo, Image, ImageStore, Kind
from dockwarden.pipeline.judge import Judge, Sweep
from dockwarden.policy.findings import Findings
from dockwarden.policy.load import load
from tests.bench.report import Row, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockwarden.model import Policy
    from dockwarden.ports import Engine, Registry

NAME = "judging"
IMAGES = 10_000
_ROUNDS = 5
_MOST_SECONDS = 1.0
NOW = 1_800_000_000.0
_DAY = 86_400.0
_HERE = EngineInfo("bench", "bench", "28.5.2", "1.51", ImageStore.GRAPH, False, "/", False, False, False, 0.0)


class _Nobody:
    """An engine and a registry that must not be asked."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"{name} was asked for: the policies need more than the inventory")


NOBODY = _Nobody()


def measure() -> Iterator[Row]:
    """The rows, without a host."""
    began = time.perf_counter()
    policies = load([Path(__file__).with_name("judging.yaml")], VOCABULARY, VERBS).policies
    loading = time.perf_counter() - began
    assert not any(VOCABULARY[Kind.IMAGE][fact].cost for policy in policies for fact in policy.needs)
    inventory, putting = an_inventory()
    cpu = time.process_time()
    fresh, again, judged, findings = _judge(inventory, policies)
    cpu = (time.process_time() - cpu) / (1 + _ROUNDS)
    row = partial(Row, measurement=NAME, images=IMAGES, unit="s")
    yield row(figure=f"{len(policies)} policies read and compiled", value=loading)
    yield row(figure="images taken into the inventory", value=putting)
    yield row(
        figure=f"judged by {len(policies)} policies",
        value=percentile(again, 0.5),
        at_most=_MOST_SECONDS,
        note=f"{judged:,} judgements, {findings:,} findings, middle of {_ROUNDS}; {cpu:.2f} s of CPU",
    )
    yield row(figure="judged for the first time", value=fresh, at_most=_MOST_SECONDS, note="every finding opens")


def _judge(inventory: Inventory, policies: tuple[Policy, ...]) -> tuple[float, list[float], int, int]:
    collector = Collector(cast("Engine", NOBODY), inventory)
    judge = Judge(
        inventory,
        Gatherer(inventory, collector, cast("Registry", NOBODY), lambda _root: None, lambda: None),
        Findings(),
    )
    work = [(ref, policies) for ref in inventory.all(Kind.IMAGE)]
    took: list[float] = []
    sweep = Sweep()
    for _ in range(1 + _ROUNDS):
        sweep = Sweep()
        began = time.perf_counter()
        for waits in judge.sweep(work, sweep, depth=INSPECT, now=NOW):
            assert not waits
        took.append(time.perf_counter() - began)
    return took[0], took[1:], sum(sweep.judged.values()), len(sweep.results)


def an_inventory() -> tuple[Inventory, float]:
    """An inventory of images, and how long it took them in."""
    clock = ObservationClock(lambda: 40 * _DAY)
    inventory = Inventory(Memory(clock))
    inventory.info = _HERE
    chance = random.Random(1)
    images = [_image(number, chance) for number in range(IMAGES)]
    began = time.perf_counter()
    for image in images:
        inventory.put(image)
    inventory.complete = True
    return inventory, time.perf_counter() - began


def _image(number: int, chance: random.Random) -> Image:
    """One of many alike and no two the same: three in four have a tag, some have two, most have labels."""
    repository = f"registry.example.com/team{number % 20}/app{number % 200}"
    tags = (f"{repository}:1.{number // 200}.0",) if number % 4 else ()
    if number % 40 == 1:
        tags = (*tags, f"{repository}:latest")
    digest = chance.randbytes(32).hex()
    labels = {"org.opencontainers.image.source": f"https://git.example.com/app{number % 200}", "team": str(number % 20)}
    return Image(
        id=f"sha256:{chance.randbytes(32).hex()}",
        tags=tags,
        digests=(f"{repository}@sha256:{digest}",) if number % 3 else (),
        markers=(),
        size_bytes=chance.randrange(5_000_000, 2_000_000_000),
        labels=labels if number % 5 else {},
        created_at=NOW - chance.random() * 700 * _DAY,
    )

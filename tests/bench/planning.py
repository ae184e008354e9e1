"""Planning the removal of 5,000 of 10,000 images, once everything about them is known; no engine is involved."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from dockwarden.inventory.collect import Collector
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.inventory.gather import REGISTRY, Gatherer
from dockwarden.model import (
    Answer,
    BuildStep,
    ImageDetails,
    ImageStore,
    Kind,
    Limits,
    Mode,
    Policy,
    Severity,
    TriggerSpec,
)
from dockwarden.pipeline.enforce import Enforcer
from dockwarden.pipeline.judge import Judge, Sweep
from dockwarden.policy.cel import Compiler
from dockwarden.policy.findings import Findings
from tests.bench.judging import IMAGES, NOBODY, NOW, an_inventory
from tests.bench.report import Row, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockwarden.actions.execute import Executor
    from dockwarden.inventory.live import Inventory
    from dockwarden.model import Plan, Result
    from dockwarden.ports import Engine, Intents, Registry

NAME = "planning"
_ROUNDS = 5
_MOST_SECONDS = 1.0
_LAYERS = 12
_BASES = 40


def measure() -> Iterator[Row]:
    """The rows, without a host."""
    for store in ImageStore:
        inventory = _inventory(store)
        judging, results = _judged(inventory)
        took = []
        plan = None
        enforcer = _enforcer(inventory)
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            plan = enforcer.plan(_POLICY, results)
            took.append(time.perf_counter() - began)
        row = partial(Row, measurement=NAME, store=store.value, images=IMAGES, unit="s", at_most=_MOST_SECONDS)
        yield row(figure="from findings to a plan, with bytes", value=percentile(took, 0.5), note=_said(plan))
        yield row(figure="the same with judging by that policy", value=judging + percentile(took, 0.5))


def _said(plan: Plan | None) -> str:
    steps = plan.steps if plan else ()
    assert len(steps) > IMAGES // 3
    assert all(step.planned_bytes for step in steps)
    return f"{len(steps):,} steps of {_LAYERS} layers, {sum(step.planned_bytes for step in steps) / 1e9:.0f} GB"


def _judged(inventory: Inventory) -> tuple[float, list[Result]]:
    collector = Collector(cast("Engine", NOBODY), inventory)
    gatherer = Gatherer(inventory, collector, cast("Registry", NOBODY), lambda _root: None, lambda: None)
    judge = Judge(inventory, gatherer, Findings())
    sweep = Sweep()
    work = [(ref, (_POLICY,)) for ref in inventory.all(Kind.IMAGE)]
    began = time.perf_counter()
    for waits in judge.sweep(work, sweep, depth=REGISTRY, now=NOW, sized=(_POLICY.name,)):
        assert not waits
    return time.perf_counter() - began, sweep.results


def _enforcer(inventory: Inventory) -> Enforcer:
    return Enforcer(
        inventory,
        Collector(cast("Engine", NOBODY), inventory),
        cast("Intents", NOBODY),
        lambda _info: cast("Executor", NOBODY),
        ask_host=lambda _: Answer(),
        minimum_stay_seconds=0.0,
        own_container="",
    )


def _inventory(store: ImageStore) -> Inventory:
    """As for judging, and each image inspected: a few bases, layers that a team shares on top of them, and own ones."""
    inventory, _ = an_inventory()
    chance = random.Random(2)
    bases = [tuple(_digest(chance) for _ in range(_LAYERS // 2)) for _ in range(_BASES)]
    teams = [(*base, *(_digest(chance) for _ in range(_LAYERS // 4))) for base in bases for _ in range(20)]
    sizes = {layer: chance.randrange(1000, 200_000_000) for team in teams for layer in team}
    for image in list(inventory.images.values()):
        team = chance.choice(teams)
        layers = (*team, *(_digest(chance) for _ in range(_LAYERS - len(team))))
        history = [sizes.get(layer) or chance.randrange(1000, 50_000_000) for layer in layers]
        packed = sum(history) // 3 if store is ImageStore.CONTAINERD else 0
        details = ImageDetails("linux", "amd64", "", "", False, layers, (), (), "", packed)
        inventory.put(replace(image, details=details))
        inventory.histories[image.id] = [BuildStep(size) for size in history]
    return inventory


def _digest(chance: random.Random) -> str:
    return f"sha256:{chance.randbytes(32).hex()}"


def _policy() -> Policy:
    when = Compiler(VOCABULARY, {}).compile(
        Kind.IMAGE, {}, "!image.in_use && image.id.endsWith('2') || image.size > 1000000000"
    )
    order = Compiler(VOCABULARY, {}).compile(Kind.IMAGE, {}, "image.last_used", ("timestamp",))
    return Policy(
        name="half",
        subject=Kind.IMAGE,
        severity=Severity.INFO,
        mode=Mode.AUDIT,
        trigger=TriggerSpec(),
        when=when,
        message=("half",),
        action="remove",
        order_by=order,
        limits=Limits(IMAGES, 100.0),
        needs=when.references | order.references,
    )


_POLICY = _policy()

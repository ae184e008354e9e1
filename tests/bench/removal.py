"""Removing half of the images of a real engine, as `apply` does it: intent, second look, removal, record.

The loop is timed on 1,000 tiny images, beside bare removals of the same kind, since a containerd store collects garbage
at each; the bytes of the plan are compared with the disk on fewer of a usual size. Images share layers in groups, of
which some go wholly and some in part. No archives are made: saving is the engine's work. How long the executor rests
between two steps is not counted.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from dockwarden.config.settings import read_settings
from dockwarden.engine import disk
from dockwarden.model import Effect
from dockwarden.oneshot.plans import Planner
from dockwarden.pipeline import loading
from tests.bench.report import Row, percentile
from tests.e2e.harness import policy, write_policies
from tests.lab.engine import LabEngine
from tests.lab.images import ImageSpec, rootfs
from tests.lab.machine import LabError, say
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dockwarden.model import Outcome, Step
    from tests.lab.engine import Kind

NAME = "removal"
_IMAGES, _BIG_IMAGES = 1_000, 40
_GROUP = 20  # images that share a layer
_MOST_SECONDS: Mapping[Kind, float] = {"graph": 0.015, "containerd": 0.070}
_MOST_STEPS: Mapping[Kind, int] = {"graph": 450, "containerd": 60}  # a containerd store takes a second for each
_BARE_STEPS = 20
_MOST_APART = 2.0  # percent
_BATCH = 50
_OWN_BYTES, _BIG_BYTES = 1_000, 6_000_000
_HALF = policy(
    "half",
    "image",
    "'part' in image.labels && image.labels['part'] == 'doomed'",
    mode="enforce",
    action={"remove": {"unrecoverable": "allow"}},
    limits={"max_objects": _IMAGES, "max_percent": 100},
)


def measure() -> Iterator[Row]:
    """The rows, each store on an engine of its own."""
    for store in ("graph", "containerd"):
        with LabEngine(store) as engine, tempfile.TemporaryDirectory() as folder:
            say(f"removal: {store}, {_IMAGES:,} images")
            grow(engine, _BIG_IMAGES, _BIG_BYTES)
            yield bytes_row(engine, Path(folder) / "big", store)
            grow(engine, _IMAGES, _OWN_BYTES)
            yield from time_rows(engine, Path(folder) / "many", store)


def grow(engine: LabEngine, images: int, own_bytes: int) -> None:
    """Half of the images are doomed: all of every fourth group, a third of the others."""
    chance = random.Random(own_bytes)
    specs: list[ImageSpec] = []
    shared = b""
    for number in range(images):
        group, place = divmod(number, _GROUP)
        if not place:
            shared = rootfs({"shared": chance.randbytes(2 * own_bytes)})
        doomed = group % 4 == 0 or place % 3 == 0
        specs.append(
            ImageSpec(
                tags=(f"127.0.0.1:1/size{own_bytes}/team{group}:{place}",),
                layers=(shared, rootfs({"own": chance.randbytes(own_bytes)})),
                labels={"part": "doomed" if doomed else "kept", "number": str(number)},
            )
        )
        if len(specs) == _BATCH or number == images - 1:
            engine.load(*specs)
            specs.clear()


def bytes_row(engine: LabEngine, folder: Path, store: Kind) -> Row:
    """How far the plan is from the disk."""
    planner = _planner(engine, folder)
    try:
        _, steps = planner.plan()
        os.sync()
        free = _free(engine)
        _timed(planner, steps)
    finally:
        planner.close()
    planned = sum(step.planned_bytes for step in steps)
    os.sync()
    with suppress(LabError):  # a containerd store collects its garbage a moment later
        until(lambda: _free(engine) - free >= planned, "the end of what was removed", timeout=20)
    measured = _free(engine) - free
    return Row(
        measurement=NAME,
        store=store,
        images=_BIG_IMAGES,
        figure="planned bytes, away from measured",
        value=abs(planned - measured) / measured * 100,
        unit="%",
        at_most=_MOST_APART,
        note=f"{len(steps)} removed; planned {planned / 1e6:.1f} MB, measured {measured / 1e6:.1f} MB",
    )


def time_rows(engine: LabEngine, folder: Path, store: Kind) -> Iterator[Row]:
    """How long one image takes, and what the engine is asked for meanwhile."""
    planner = _planner(engine, folder)
    try:
        _, steps = planner.plan()
        before = _asked(planner)
        bare = _bare(engine, steps[-_BARE_STEPS:])
        outcomes, took = _timed(planner, steps[: _MOST_STEPS[store]])
        lists = sum(_asked(planner)[name] - before[name] for name in before)
    finally:
        planner.close()
    assert {outcome.effect for outcome in outcomes} == {Effect.APPLIED}
    row = partial(Row, measurement=NAME, store=store, images=_IMAGES)
    yield row(
        figure="one image: intent, look, removal, record",
        value=sum(took) / len(took) * 1e3,
        unit="ms",
        at_most=_MOST_SECONDS[store] * 1e3,
        note=f"{len(took)} removed; median {percentile(took, 0.5) * 1e3:.1f} ms, worst {max(took) * 1e3:.0f} ms",
    )
    yield row(
        figure="the same: median over that of a bare removal",
        value=percentile(took, 0.5) / percentile(bare, 0.5),
        unit="times",
        note=f"{len(bare)} bare removals; median {percentile(bare, 0.5) * 1e3:.1f} ms",
    )
    yield row(figure="lists of images and df meanwhile", value=lists, unit="", at_most=0)


def seconds_for_all(engine: LabEngine, folder: str) -> float:
    """How long it takes to remove all that is doomed."""
    planner = _planner(engine, Path(folder))
    try:
        return sum(_timed(planner, planner.plan()[1])[1])
    finally:
        planner.close()


def _planner(engine: LabEngine, folder: Path) -> Planner:
    os.environ["DOCKER_HOST"] = engine.host
    read = read_settings(None, environ={})
    changes = {
        "state_dir": folder / "state",
        "policies": [write_policies(folder / "policies.yaml", _HALF)],
        "minimum_stay": 0.0,
        "undo": read.undo.model_copy(update={"max_bytes": 0}),
    }
    settings = read.model_copy(update=changes)
    return Planner(settings, loading.load_policies(settings), acts=True)


def _timed(planner: Planner, steps: list[Step]) -> tuple[list[Outcome], list[float]]:
    outcomes, took = [], []
    with patch.object(planner._parts.queue, "rest"):
        last = time.perf_counter()
        for outcome in planner.carry_out(steps):
            now = time.perf_counter()
            took.append(now - last)
            last = now
            outcomes.append(outcome)
    return outcomes, took


def _bare(engine: LabEngine, steps: list[Step]) -> list[float]:
    """How long the engine takes for each such removal without us."""
    took, client = [], engine.client()
    for step in steps:
        began = time.perf_counter()
        client.remove_image(step.name, noprune=True)
        took.append(time.perf_counter() - began)
    return took


def _asked(planner: Planner) -> dict[str, float]:
    """How often the engine was asked for what must not be asked for in the loop."""
    sample = partial(planner._parts.metrics.registry.get_sample_value, "dockwarden_engine_requests_total")
    return {name: sample({"operation": name, "result": "ok"}) or 0.0 for name in ("image_list", "disk_usage")}


def _free(engine: LabEngine) -> int:
    found = disk.measure(str(engine.dir / "data"))
    assert found is not None
    return found.free_bytes

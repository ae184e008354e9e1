"""The races of `make chaos`, a few rounds of each: what dockwarden can see to is never lost.

Crashes are in `test_process_life`, options in `test_recreate`.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.chaos.__main__ import played
from tests.chaos.races import LOST, RACES

if TYPE_CHECKING:
    from tests.lab.engine import LabEngine
    from tests.lab.registry import LabRegistry

ROUNDS = 2
OF_IMAGES = product(("graph", "containerd"), ("name", "name-aimed"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "title"), [("either", "volume"), ("either", "network-aimed"), *OF_IMAGES], indirect=["engine"]
)
def test_nothing_is_lost_that_need_not_be(engine: LabEngine, registry: LabRegistry, title: str) -> None:
    seed = random.randrange(10**6)
    words = Counter(played(RACES[title], engine, registry, ROUNDS, random.Random(seed)))
    assert words.total() >= ROUNDS
    assert not words[LOST], f"{dict(words)} with seed {seed}"
    assert RACES[title].excludable

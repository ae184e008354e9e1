"""Other clients of an engine, each in a process of its own: four that tag and untag, one that lists containers.

In: an engine's socket, how long. Out: how long each call took. Out of bounds: dockwarden.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.host import RawEngine

if TYPE_CHECKING:
    from collections.abc import Sequence

TAGGERS = 4
NAMES_EACH = 50
_UNTAG_SHARE = 0.4
_LIST_PAUSE = 0.02


class Felt(NamedTuple):
    """Milliseconds per call of a burst."""

    tagging: list[float]
    listing: list[float]
    seconds: float

    def plus(self, other: Felt) -> Felt:
        return Felt(self.tagging + other.tagging, self.listing + other.listing, self.seconds + other.seconds)

    @property
    def calls_per_second(self) -> float:
        return len(self.tagging) / self.seconds


def burst(socket: str, images: Sequence[str], seconds: float) -> Felt:
    """All clients at once; what the taggers set stays as it was at the end."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(TAGGERS + 1, mp_context=spawn) as pool:
        start_at = time.time() + 1.5  # by then all processes are there
        lister = pool.submit(_list, socket, start_at, seconds)
        taggers = [pool.submit(_tag, socket, number, images, start_at, seconds) for number in range(TAGGERS)]
        return Felt([ms for tagger in taggers for ms in tagger.result()], lister.result(), seconds)


def names(number: int) -> list[str]:
    """The names that one tagger moves about."""
    return [f"burst{number}/t{i}:latest" for i in range(NAMES_EACH)]


def _tag(socket: str, number: int, images: Sequence[str], start_at: float, seconds: float) -> list[float]:
    """Give names, move them to other images, take them away, at random but the same each time."""
    raw, chance, mine = RawEngine(socket), random.Random(number), names(number)
    took: list[float] = []
    time.sleep(max(0.0, start_at - time.time()))
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        name = chance.choice(mine)
        if chance.random() < _UNTAG_SHARE:
            raw.untag(name)
        else:
            raw.tag(chance.choice(images), *name.split(":"))
        took.append(1e3 * (time.monotonic() - began))
    return took


def _list(socket: str, start_at: float, seconds: float) -> list[float]:
    raw = RawEngine(socket)
    took: list[float] = []
    time.sleep(max(0.0, start_at - time.time()))
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        raw.ask("GET", "/containers/json")
        took.append(1e3 * (time.monotonic() - began))
        time.sleep(_LIST_PAUSE)
    return took

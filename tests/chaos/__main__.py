"""`make chaos`, which is `python -m tests.chaos [--rounds N] [--seed N] [RACE]...`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import report
from tests.chaos.races import LOST, RACES, Race
from tests.integration.test_undo import Host
from tests.lab import machine, trees
from tests.lab.engine import Kind, LabEngine
from tests.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator


ENGINES: dict[str, tuple[Kind, trees.Tree | None]] = {
    "graph": ("graph", None),
    "containerd": ("containerd", None),
    "newest": ("containerd", trees.NEWEST_ENGINE),
}

ONCE = ("options", "update", "update-meddled", "update-restarted", "update-full")
"""What goes through everything there is by itself."""

_DISK_MIB = 512  # which one race fills


def played(race: Race, lab: LabEngine, registry: LabRegistry, rounds: int, chance: random.Random) -> Iterator[str]:
    """The words of some rounds, each on an empty engine with an empty ledger."""
    for _ in range(rounds):
        lab.wipe()
        with tempfile.TemporaryDirectory() as folder, closing(Host(lab, registry, Path(folder))) as host:
            yield from race.play(host, chance)


def main() -> int:
    """Play, print counts as they come; 1 if anything was lost that need not be."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Count what races lose on real engines.")
    parser.add_argument("races", nargs="*", metavar="RACE", help=f"of {', '.join(RACES)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=100, help="of each race; the options are tried once (100)")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="graph and containerd if none is named")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="to meet the same chances again")
    given = parser.parse_args()
    if unknown := set(given.races) - RACES.keys():
        parser.error(f"there is no race {', '.join(sorted(unknown))}")
    machine.require_root("chaos")
    machine.ensure({**machine.ENGINE, **machine.TREES, **machine.REGISTRY}, "chaos")
    print(report.setup_lines(report.setup()), f"seed {given.seed}", sep="\n", end="\n\n", flush=True)
    code = 0
    with ExitStack() as stack:
        registry = stack.enter_context(LabRegistry())
        for name in given.engine or ("graph", "containerd"):
            kind, tree = ENGINES[name]
            lab = stack.enter_context(LabEngine(kind, tree=tree, disk_mib=_DISK_MIB))
            lab.forward(registry.port)
            version = lab.client().version()["Version"]
            for title in given.races or RACES:
                race = RACES[title]
                rounds = 1 if title in ONCE else given.rounds
                words = Counter(played(race, lab, registry, rounds, random.Random(given.seed)))
                counts = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
                print(f"{kind} ({version}) {title}: {sum(words.values())} tried: {counts}", flush=True)
                code |= any(word.startswith(LOST) for word in words) and race.excludable
    return code


if __name__ == "__main__":
    sys.exit(main())

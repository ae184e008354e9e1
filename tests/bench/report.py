"""Rows of the bench, the machine they were measured on, and how both are shown.

In: figures with their targets. Out: a table for people, JSON for scripts. Out of bounds: measuring.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. `at_most` is its target; without one the figure is for information."""

    measurement: str
    store: str = ""
    images: int = 0
    figure: str
    value: float
    unit: str
    at_most: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.at_most is None:
            return ""
        return "ok" if self.value <= self.at_most else "MISSED"

    def cells(self) -> tuple[str, ...]:
        target = "" if self.at_most is None else f"<= {self.at_most:g}"
        images = f"{self.images:,}" if self.images else ""
        value = f"{_short(self.value)} {self.unit}".strip()
        return (self.measurement, self.store, images, self.figure, value, target, self.verdict, self.note)


_HEADER = ("measurement", "store", "images", "figure", "value", "target", "verdict", "note")


def table(rows: Sequence[Row]) -> str:
    """The rows under a header, columns aligned, numbers to the right."""
    lines = [_HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADER))]
    right = {_HEADER.index("images"), _HEADER.index("value")}
    return "\n".join(
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        .rstrip()
        for line in lines
    )  # fmt: skip


def as_json(setup: dict[str, object], rows: Sequence[Row]) -> str:
    """Everything, for scripts."""
    shown = [asdict(row) | {"verdict": row.verdict} for row in rows]
    return json.dumps({"setup": setup, "rows": shown}, indent=2) + "\n"


def setup() -> dict[str, object]:
    """What the figures depend on, as far as it is known before an engine runs."""
    root = Path(__file__).parents[2]
    described = ("git", "-C", str(root), "describe", "--always", "--dirty")
    done = subprocess.run(described, capture_output=True, text=True, check=False)
    return {
        "cpu": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(_first("/proc/meminfo", "MemTotal").split()[0]) * 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
        "dockwarden": done.stdout.strip(),
        "engines": {},
    }


def setup_lines(setup: dict[str, object]) -> str:
    """The setup in three lines for people."""
    memory = int(str(setup["memory_bytes"])) / 2**30
    engines = setup["engines"]
    assert isinstance(engines, dict)
    return (
        f"{setup['cpu']}, {setup['cores']} cores, {memory:.0f} GiB, {setup['load_before']} processes of others\n"
        f"Linux {setup['kernel']}; Python {setup['python']}; dockwarden {setup['dockwarden']}\n"
        + "; ".join(f"{store}: {described}" for store, described in engines.items())
    )


def _first(file: str, key: str) -> str:
    for line in Path(file).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _short(value: float) -> str:
    """Three digits that matter, none of them in exponents."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]

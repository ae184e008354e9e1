"""Words and tables for people: aligned, coloured on a terminal only, and safe against control characters in names."""

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dockwarden.text import colored, printable

if TYPE_CHECKING:
    from dockwarden.model import Outcome

_LEAST_LAST_COLUMN = 30


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header; the last column is cut to a terminal's width, and never anywhere else."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    on_terminal = sys.stdout.isatty()
    room = max(_LEAST_LAST_COLUMN, shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * (len(widths) - 1))
    in_color = on_terminal and not os.environ.get("NO_COLOR")
    for row in (header, *rows):
        last = row[-1] if not on_terminal or len(row[-1]) <= room else row[-1][: room - 1] + "…"
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        if in_color and cells:
            cells[0] = colored(row[0], cells[0])
        print("  ".join([*cells, last]).rstrip())


def lines(texts: Iterable[str]) -> None:
    """Print lines, each cut to a terminal's width, and never anywhere else."""
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for text in texts:
        print(printable(text, room))


def tell(outcome: "Outcome") -> None:
    """Print what became of one step."""
    why = f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason
    print(f"{outcome.effect}  {printable(outcome.name)}  {printable(why)}", flush=True)


def is_confirmed(command: str, question: str) -> bool:
    """Ask a person on a terminal; where there is none, or the answer is not yes, say that nothing is done."""
    if not sys.stdin.isatty():
        print(f"dockwarden {command}: there is no terminal to ask on; say --yes", file=sys.stderr)
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("nothing was done", file=sys.stderr)
    return False


def plain(value: object) -> object:
    """Durations as seconds and times as ISO 8601, for JSON."""
    from datetime import datetime, timedelta

    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"cannot be written as JSON: {value!r}")

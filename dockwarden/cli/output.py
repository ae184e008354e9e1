"""Words and tables for people: aligned, coloured on a terminal only, and safe against control characters in names.

Input: rows, texts of strangers. Output: lines on stdout, or rows in the formats of every list. Out of bounds: what the
rows mean.
"""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from dockwarden.text import brief, colored, printable

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from dockwarden.model import Outcome

FORMATS = ("table", "wide", "json", "jsonl", "name")
CI_FORMATS = ("sarif", "junit", "markdown", "github")
_LEAST_LAST_COLUMN = 30


_wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)


def add_output(parser: "ArgumentParser", *more: str) -> None:
    """Let a command take ``-o``; ``more``: formats beside those that every list has."""
    said = "table (the default), wide (nothing shortened), json, jsonl (an object in each line), name (only names)"
    parser.add_argument(
        "-o",
        "--output",
        choices=(*FORMATS, *more),
        default="table",
        metavar="FORMAT",
        help=", ".join([said, *more]),
    )


def emit(output: str, rows: "Sequence[Mapping[str, object]]", name: str = "name") -> bool:
    """Print rows in a format for programs; False if ``output`` is one for people. ``name``: the key of a row's name."""
    if output == "json":
        print(json.dumps(rows, default=plain, indent=2))
    elif output == "jsonl":
        print(*(json.dumps(row, default=plain) for row in rows), sep="\n", end="\n" if rows else "")
    elif output == "name":
        names = dict.fromkeys(printable(str(row[name])) for row in rows)
        print(*names, sep="\n", end="\n" if names else "")
    else:
        return False
    return True


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, output: str = "table", empty: str = "") -> None:
    """Print rows under a header, or say on stderr that there is none.

    On a terminal names and IDs are as docker prints them, unless ``output`` is ``wide``, and the last column is wrapped
    to the terminal's width, below its row where there is no room beside. Anywhere else a row is one whole line.
    """
    if empty and not rows:
        print(empty, file=sys.stderr)
        return
    on_terminal = sys.stdout.isatty()
    shown = brief if on_terminal and output != "wide" else str
    rows = [[shown(printable(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    margin = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = shutil.get_terminal_size().columns - margin
    for row in (header, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        if on_terminal and cells:
            cells[0] = colored(row[0], cells[0], os.environ)
        line = "  ".join([*cells, _wrapped(row[-1], room, margin) if on_terminal else row[-1]])
        print(re.sub(" +\n", "\n", line).rstrip())


def _wrapped(text: str, room: int, margin: int) -> str:
    if len(text) <= room:
        return text
    below = room < _LEAST_LAST_COLUMN
    indent = "\n" + " " * (4 if below else margin)
    parts = _wrap(text, max(1, room + margin - 4 if below else room))
    return (indent if below else "") + indent.join(parts)


def plain(value: object) -> object:
    """Durations as seconds, times as ISO 8601 and dataclasses as mappings, for JSON."""
    from dataclasses import fields, is_dataclass
    from datetime import datetime, timedelta

    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"cannot be written as JSON: {value!r}")


def lines(texts: Iterable[str]) -> None:
    """Print lines; on a terminal what is too long for it goes on below, further to the right."""
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for text in map(printable, texts):
        indent = " " * (len(text) - len(text.lstrip()) + 4)
        print(*_wrap(text, max(1, room), subsequent_indent=indent) or [""], sep="\n")


def tell(outcome: "Outcome") -> None:
    why = f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason
    print(f"{outcome.effect}  {printable(outcome.name)}  {printable(why)}", flush=True)


def is_confirmed(command: str, question: str) -> bool:
    """Ask a person on a terminal; where there is none, or the answer is not yes, say that nothing is done."""
    if not sys.stdin.isatty():
        told = "standard input is not a terminal, so nobody can confirm; use --yes"
        print(f"dockwarden {command}: {told}", file=sys.stderr)
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("nothing was done", file=sys.stderr)
    return False

"""One policy file as text: its values, where each of them is written, and what is wrong with it.

Input: what the reader of YAML found. Output: problems as ``file:line:col key: reason``, one line each. Out of bounds:
reading YAML, judging values.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dockwarden.policy.document import Path
from dockwarden.policy.evaluate import printable

QUOTE = "put the expression in quotes or after >-"

_TOKEN = re.compile(r".")
_TOKENS = {"'": re.compile(r"''|."), '"': re.compile(r"\\(?:x..|u.{4}|U.{8}|.)|.", re.DOTALL)}
_BLANK_ESCAPES = ("\\n", "\\t", "\\ ", "\\r", "\\\n")


class Place(NamedTuple):
    """Where a value is written: its key's (or its own) line and column from 1, its span in the text, its quotes."""

    line: int
    column: int
    start: int
    end: int
    style: str | None


@dataclass
class Source:
    """One file; ``places`` is keyed by path, as in ``("policies", 0, "when")``."""

    file: str
    text: str = ""
    data: Any = None
    places: dict[Path, Place] = field(default_factory=lambda: {(): Place(1, 1, 0, 0, None)})
    _found: set[tuple[int, int, str]] = field(default_factory=set)

    @property
    def problems(self) -> list[str]:
        """Everything that was noted, as ``file:line:col key: reason``, in the order of the file."""
        return [f"{self.file}:{line}:{column} {text}" for line, column, text in sorted(self._found)]

    def note(self, line: int, column: int, text: str) -> None:
        """Note a problem of a place in the file."""
        self._found.add((line, column, printable(text)))

    def refuse(self, path: Path, text: str, offset: int | None = None) -> None:
        """Note a problem of the value at a path, or of one character within it."""
        place = self.place(path)
        line, column = place.line, place.column
        if offset is not None:
            at = _position(self.text, place, str(self.at(path))[:offset])
            line, column = self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at)
            if place.style is None and re.match(r"[ \t]+#", self.text[place.end :]):
                text += f"; what follows # is a comment, {QUOTE}"
        if len(path) > 1 and path[0] == "policies":
            raw = self.at(path[:2])
            name = raw.get("name") if isinstance(raw, dict) else None
            path = (name if isinstance(name, str) else f"policies[{path[1]}]", *path[2:])
        self.note(line, column, f"{'.'.join(map(str, path)) or 'file'}: {text}")

    def place(self, path: Path) -> Place:
        """Where the value at a path is written, or the nearest value around it that is."""
        return next(self.places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.places)

    def policies(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """What is written as a policy, however wrong, each with its path."""
        raw = self.data.get("policies") if isinstance(self.data, dict) else None
        for index, policy in enumerate(raw if isinstance(raw, list) else ()):
            if isinstance(policy, dict):
                yield ("policies", index), policy

    def at(self, path: Path) -> Any:
        """The value at a path."""
        value = self.data
        for part in path:
            value = value[part]
        return value


def _position(text: str, place: Place, before: str) -> int:
    """Where in the file a character of a value stands, found by counting the characters before that are not blank."""
    wanted = sum(not char.isspace() for char in before)
    start, end = place.start, place.end
    if place.style in ("|", ">"):
        start = text.index("\n", start) + 1
    elif place.style:
        start, end = start + 1, end - 1
    for match in _TOKENS.get(place.style or "", _TOKEN).finditer(text, start, end):
        if match[0].isspace() or match[0] in _BLANK_ESCAPES:
            continue
        if wanted == 0:
            return match.start()
        wanted, start = wanted - 1, match.end()
    return start

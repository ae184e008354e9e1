"""YAML files, read strictly: their values, where each of them is written, and what is wrong with them.

Input: the bytes of a file. Output: a ``Source``; problems as ``file:line:col key: reason``, one line each. Out of
bounds: judging values. The only home of yaml.

YAML is read more strictly than its library would: no anchors, aliases or tags, no key twice, one document per file,
``true`` and ``false`` are the only booleans, and numbers are written in decimal.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any, NamedTuple, get_args

import yaml

from dockwarden.config.files import MAX_BYTES, content
from dockwarden.errors import ConfigError
from dockwarden.text import MAX_TEXT, because, printable, span

Path = tuple[str | int, ...]
"""Where a value is in a file: keys and indexes, as in ``("policies", 0, "when")``."""

QUOTE = "put the expression in quotes or after >-"

MAX_DEPTH = 20
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)", re.ASCII)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_KEY_LINE = re.compile(r"\s*(?:- +)?([\w-]+) *:")
_QUOTABLE = ("gate", "select", "when", "message", "schedule", "title", "description", "remediation")
_OPEN = re.compile(r": *[|>][-+0-9]*\s*\Z")  # a text that begins in the next line
_TOKEN = re.compile(r".")
_TOKENS = {"'": re.compile(r"''|."), '"': re.compile(r"\\(?:x..|u.{4}|U.{8}|.)|.", re.DOTALL)}
_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INVISIBLE = re.compile("[\u0085\u00a0\u2000-\u200f\u2028\u2029\u202f\u2060\ufeff]")
_BLANK_ESCAPES = ("\\n", "\\t", "\\ ", "\\r", "\\\n")
_SHAPES = {
    "missing": "is required",
    "string_type": "must be text; put it in quotes",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "path_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list, such as [a, b]",
    "dict_type": "must be a mapping, such as {{a: b}}",
    "model_type": "must be a mapping, such as {{a: b}}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "value_error": "{error}",
}
"""By what the library of shapes calls a fault, how a value must be."""


class Location(NamedTuple):
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
    places: dict[Path, Location] = field(default_factory=lambda: {(): Location(1, 1, 0, 0, None)})
    _found: set[tuple[int, int, str]] = field(default_factory=set)

    @property
    def problems(self) -> list[str]:
        """Everything that was noted, as ``file:line:col key: reason``, in the order of the file."""
        return [f"{printable(self.file)}:{line}:{column} {text}" for line, column, text in sorted(self._found)]

    def note(self, line: int, column: int, text: str) -> None:
        self._found.add((line, column, printable(text, MAX_TEXT)))

    def refuse(self, path: Path, text: str, offset: int | None = None) -> None:
        """Note a problem of the value at a path, or of one character within it."""
        place = self.place(path)
        line, column = place.line, place.column
        if offset is not None:
            at = _position(self.text, place, str(self.at(path))[:offset])
            line, column = self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at)
        if len(path) > 1 and path[0] in ("policies", "exceptions"):
            raw = self.at(path[:2])
            name = raw.get("name", raw.get("id")) if isinstance(raw, dict) else None
            path = (name if isinstance(name, str) else f"{path[0]}[{path[1]}]", *path[2:])
        self.note(line, column, f"{'.'.join(map(str, path)) or 'file'}: {text}")

    def is_cut(self, path: Path) -> bool:
        """Whether a comment follows what is written there without quotes; it may have been meant as a part of it."""
        place = self.place(path)
        return place.style is None and re.match(r"[ \t]+#", self.text[place.end : place.end + 80]) is not None

    def joined(self, path: Path, start: int, end: int) -> list[str]:
        """The lines, after the first, of which YAML makes one: that part of the text at a path."""
        place, text = self.place(path), str(self.at(path))
        ends = (start, start + len(text[start:end].rstrip()) - 1)
        first, last = (_position(self.text, place, text[:end]) for end in ends)
        return self.text[first:last].split("\n")[1:]

    def place(self, path: Path) -> Location:
        """Where the value at a path is written, or the nearest value around it that is."""
        return next(self.places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.places)

    def policies(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """What is written as a policy, however wrong, each with its path."""
        raw = self.data.get("policies") if isinstance(self.data, dict) else None
        for index, policy in enumerate(raw if isinstance(raw, list) else ()):
            if isinstance(policy, dict):
                yield ("policies", index), policy

    def at(self, path: Path) -> Any:
        value = self.data
        for part in path:
            value = value[part]
        return value


def _position(text: str, place: Location, before: str) -> int:
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


def load(file: File, most: int = MAX_BYTES, name: str = "") -> Source:
    """Read a YAML file that holds a mapping, or nothing; ``name``: how the path is introduced. Raises ConfigError."""
    try:
        source = read(str(file), content(file, most))
    except OSError as error:
        raise ConfigError(f"{name}{file}: {because(error)}") from error
    if not source.problems and not isinstance(source.data, dict | None):
        source.refuse((), "must be a mapping, such as `key: value`")
    if source.problems:
        raise ConfigError(*source.problems)
    return source


def keys_beside(shape: Any, path: Path) -> list[str]:
    """The keys that a model has where the last key of a path stands, also below names that people choose."""
    fields = getattr(shape_at(shape, path[:-1]), "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def shape_at(shape: Any, path: Path) -> Any:
    """The type of what stands at a path, None if that is nothing."""
    for part in path:
        fields = getattr(shape, "model_fields", {})
        shape = fields[part].annotation if part in fields else next(reversed(get_args(shape)), None)
    return shape


def fault_in_words(fault: Any) -> str:
    """How a value must be that the library of shapes finds fault with; not how it is, which may be a secret."""
    kind = fault["type"]
    # All bounds of fractions that are 1 or more are of durations.
    bounds = {n: span(b) if isinstance(b, float) and b >= 1 else b for n, b in fault.get("ctx", {}).items()}
    known = _SHAPES[kind].format(**bounds) if kind in _SHAPES else ""
    text = known or re.sub(r"^\w+ should", "must", fault["msg"])
    return re.sub(r"<[\w.]+: ('\w+')>", r"\1", text)  # a word of a closed set


def read(file: str, written: bytes) -> Source:
    """Read one YAML file, strictly. What is wrong is in its ``problems``; then ``data`` may be incomplete or None."""
    source = Source(file)
    try:
        source.text = written.decode("utf-8-sig")
        with suppress(yaml.YAMLError):
            _fill(source, _FAST)
            return source
        source = Source(file, source.text)  # the slow one says better what is wrong
        _fill(source, yaml.SafeLoader)
    except UnicodeDecodeError as error:
        source.note(written.count(b"\n", 0, error.start) + 1, 1, "file: not UTF-8; save it as that")
    except yaml.reader.ReaderError as error:
        before = source.text[: error.position]
        column = error.position - before.rfind("\n")
        source.note(before.count("\n") + 1, column, f"file: the character U+{error.character:04X} is not allowed")
    except yaml.MarkedYAMLError as error:
        _explain(source, error)
    return source


def _explain(source: Source, error: yaml.MarkedYAMLError) -> None:
    # A key without a colon is missed where the next line begins.
    is_no_key = "could not find expected ':'" in str(error.problem)
    mark: Any = error.context_mark if is_no_key else error.problem_mark or error.context_mark
    lines = source.text.split("\n")[: mark.line + 1]
    key = next((match[1] for line in reversed(lines) if (match := _KEY_LINE.match(line))), "file")
    is_a_key = _KEY_LINE.fullmatch(lines[-1][: mark.column + 1])  # the line is taken for more of the one above
    text = ", ".join(part for part in (error.context, error.problem) if part)
    begin = error.context_mark
    if odd := _INVISIBLE.search("".join(lines[-2:])):
        text += f"; the character U+{ord(odd[0]):04X} near it only looks like a blank"
    elif "\\t" in text:
        text += "; indent with blanks"
    elif is_no_key and _OPEN.search("\n".join(lines[:-1])):
        text += "; what follows > or | is indented further than its key"
    elif is_no_key:
        text += "; a key is followed by a colon and a blank, as in `key: value`"
    elif begin and begin.line < mark.line and re.search("parsing a flow|scanning a quoted", text):
        text += f"; what begins in line {begin.line + 1} is not closed"
    elif "scanning an a" in text and key not in _QUOTABLE:
        text += "; a text that begins with * or & stands in quotes"
    elif key in _QUOTABLE and not re.search(r"document|<block mapping start>|found '\?'", text) and not is_a_key:
        text += f"; {QUOTE}"
    elif "mapping values" in text or "<block" in text:
        text += "; keys beside each other are indented alike, and a text with `: ` in it stands in quotes"
    source.note(mark.line + 1, mark.column + 1, f"{key}: {text}")


def _fill(source: Source, loader: Any) -> None:
    """Build the values from the library's events."""
    events, is_read = yaml.parse(source.text, Loader=loader), False
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent) and is_read:
            _fault(event.start_mark, "one document per file")
        elif isinstance(event, yaml.NodeEvent):
            source.data, is_read = _node(source, events, event, (), event.start_mark), True


def _fault(mark: Any, text: str) -> None:
    raise yaml.MarkedYAMLError(problem=text, problem_mark=mark)


def _check(event: Any, depth: int) -> None:
    if event.anchor is not None:
        _fault(event.start_mark, "anchors and aliases (& and *) are not allowed; write it out where it is meant")
    if getattr(event, "tag", None) is not None:
        _fault(event.start_mark, f"tags such as {event.tag} are not allowed")
    if depth > MAX_DEPTH:
        _fault(event.start_mark, f"nested deeper than {MAX_DEPTH}")


def _node(source: Source, events: Iterator[Any], event: Any, path: Path, mark: Any) -> Any:
    """A value, with all that is in it; ``mark``: where it, or its key, begins."""
    _check(event, len(path))
    value, style = _value(event), getattr(event, "style", None) or None
    source.places[path] = Location(mark.line + 1, mark.column + 1, event.start_mark.index, event.end_mark.index, style)
    for inner in events if isinstance(event, yaml.CollectionStartEvent) else ():
        if isinstance(inner, yaml.CollectionEndEvent):
            break
        if isinstance(value, list):
            value.append(_node(source, events, inner, (*path, len(value)), inner.start_mark))
        else:
            key = _key(source, inner, value, len(path) + 1)
            value[key] = _node(source, events, next(events), (*path, key), inner.start_mark)
    return value


def _key(source: Source, event: Any, beside: Collection[str], depth: int) -> str:
    _check(event, depth)
    key, mark = _value(event), event.start_mark
    if not isinstance(key, str):
        _fault(mark, "a key must be text; put it in quotes")
    if _INVISIBLE.match(key):
        _fault(mark, "indent with blanks")
    if key == "<<":
        source.note(mark.line + 1, mark.column + 1, "<<: merges are not read; write it out where it is meant")
    if key in beside:
        source.note(mark.line + 1, mark.column + 1, f"{key}: the same key twice")
    return str(key)


def _value(event: Any) -> Any:
    """The value of a scalar, or an empty container. Only plain scalars may be something else than text."""
    if not isinstance(event, yaml.ScalarEvent):
        return [] if isinstance(event, yaml.SequenceStartEvent) else {}
    text = event.value
    if event.style:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text

"""What is wrong with an expression, in words for its author. Pure, and without the library.

Input: source text, the library's report on it. Output: ``Problem`` values with their places, and what may fail at which
call. Out of bounds: compiling.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from dockwarden.model import Vocabulary
from dockwarden.policy import hints

MAX_SOURCE = 2000
MAX_MACROS = 8  # each may double a list: eight take 18 MiB at most, twenty-eight took 4 GB

_MACRO = re.compile(r"\b(?:all|exists|exists_one|existsOne|filter|map|bind|transform\w*|sortBy)\s*\(")
MAX_GROWTH = 100  # a label of 1 MiB then takes 100; three replace() in a row took 6 GiB
_SPLIT_GROWTH, _FORMAT_GROWTH = 8.0, 10.0  # a part of a list takes more than its text; a text may be put in often
_TEXT = r"r?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
_GROWING = re.compile(rf"\.\s*(replace|join|split|format)\s*\(\s*(?:({_TEXT})\s*(?:,\s*({_TEXT})\s*)?\)|(\)))?")
_BOUND = re.compile(rf"{_TEXT}|(\bbind\s*\()|(\+)")
_CHARACTER = re.compile(r"\\(?:x..|u.{4}|U.{8}|[0-7]{3}|.)|.", re.DOTALL)
_ERROR_LINE = re.compile(r"^(?:[A-Z_]+: )?ERROR: <input>:(-?\d+):(-?\d+): (.*)$", re.MULTILINE)
_NOISE = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$| \(in container ''\)| expecting .*|google\.protobuf\.")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_SELECTED = re.compile(r"expression of type '(.*)' cannot be the operand of a select operation")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '(\([^']*\))'")
CALENDAR = ("getMonth", "getDayOfMonth", "getDayOfWeek", "getHours", "getDate", "getMinutes", "getSeconds")
# What may fail at a call: how the library says so, and how to guard it; {} is what it is called on.
_TEST = "before it test the text, as in {{}}.matches('^{}$') && …"
READ_AS = {  # of what can be read as each; braces are doubled, as it is formatted
    "int": "[0-9]+",
    "uint": "[0-9]+",
    "double": "[0-9]+([.][0-9]+)?",
    "bool": "(true|false)",
    "duration": "[0-9]{{1,6}}[smh]",
    "timestamp": "[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9:]{{8}}Z",
}
_WITHIN = ("substring|charAt|index out", "before it write size({}) > … && …")
_ZONE = ("timezone", "time zones are written as in 'Europe/Berlin' or '+02:00'")
RISKS: dict[str, tuple[str, str]] = {
    **{name: ("onver", _TEST.format(text)) for name, text in READ_AS.items()},
    **dict.fromkeys(("substring", "charAt", "indexOf", "lastIndexOf"), _WITHIN),
    **dict.fromkeys((*CALENDAR, "getFullYear", "getDayOfYear"), _ZONE),
    "version": ("no version", "before it write {}.matches('^v?[0-9]') && …"),
    "value": ("dereference", "write .orValue('') instead of .value()"),
    **dict.fromkeys(("matches", "format"), ("regular|clause|format", "")),
}


class Problem(NamedTuple):
    """One fault of an expression; line and column count from 1 within its source."""

    line: int
    column: int
    text: str


TOO_DEEP = Problem(1, 1, "nested too deeply, about 30 levels at most")


class ExpressionError(Exception):
    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.text for problem in problems))
        self.problems = problems


def limits(source: str) -> Iterator[Problem]:
    """What makes an expression too long or too dear to be compiled."""
    macros = [match.start() for match in _MACRO.finditer(source)]
    if len(source) > MAX_SOURCE:
        yield Problem(1, 1, f"{len(source)} characters, at most {MAX_SOURCE} are allowed")
    elif len(macros) > MAX_MACROS:
        at = place(source, macros[MAX_MACROS])
        yield Problem(*at, f"{len(macros)} macros such as exists() or map(), at most {MAX_MACROS} are allowed")
    grown = _sums(source)
    if grown > MAX_GROWTH:
        yield Problem(1, 1, f"what is added in bind() may grow to more than {MAX_GROWTH} times its length")
        return
    for match in _GROWING.finditer(source):
        grown *= _growth(match)
        if grown > MAX_GROWTH:
            text = f"up to here a text may grow to more than {MAX_GROWTH} times its length; use fewer {match[1]}()"
            yield Problem(*place(source, match.start(1)), text)
            return


def _sums(source: str) -> float:
    """How many times as long a text may get that is added to itself, by one name after the other."""
    grown, terms = 1.0, 1.0
    for match in _BOUND.finditer(source):
        if match[1]:
            grown, terms = grown * terms, 1.0
        terms += bool(match[2])
    return grown * terms if grown > 1 else 1.0


def _growth(call: re.Match[str]) -> float:
    """How many times as much memory a text may take after a call, at most."""
    name, first, second, is_empty = call[1], _length(call[2]), _length(call[3]), bool(call[4])
    if name == "split":
        return _SPLIT_GROWTH
    if name == "format":
        return _FORMAT_GROWTH
    if name == "join":
        return 1.0 if is_empty else MAX_GROWTH / 2 if first is None else first + 1.0
    if first is None or second is None:
        return MAX_GROWTH / 2  # not known before it runs
    return max(1.0, second / first if first else second + 1.0)


def _length(literal: str | None) -> int | None:
    return None if literal is None else len(_CHARACTER.findall(literal.removeprefix("r")[1:-1]))


def explain(source: str, report: str, names: list[str], vocabulary: Vocabulary) -> Iterator[Problem]:
    """The library's report in our words; ``names`` are those that the expression may use."""
    found = _ERROR_LINE.findall(report)
    if not found or int(found[0][0]) < 1:
        yield TOO_DEEP if "recursion" in report else Problem(1, 1, "not valid text")
        return
    for row, at, raw in [each for each in found if "*error*" not in each[2]]:
        line, column, text = int(row), int(at), tidy(raw)
        written = source.split("\n")[line - 1]
        if undeclared := _UNDECLARED.search(text):
            name = undeclared[1]
            # The library points at the last dot or bracket of a name; people look for its start.
            start = written.rfind(name, 0, column - 1 + len(name))
            called = re.match(r"\s*\(", written[max(start, 0) + len(name) :]) is not None
            text = hints.unknown(name, names, vocabulary, called=called)
            before = written[: max(start, 0)]
            if "." not in name and re.search(r"\.(labels|own_labels|options|log_opts)\.\w+-$", before):
                text = f"{name}: a key with - stands in brackets, as in labels[?'max-size'].orValue('')"
            yield Problem(line, start + 1 if start >= 0 else column, text)
        elif overload := _OVERLOAD.search(text):
            operator = overload[1].strip("_@")
            is_key = re.search(r"\.(labels|own_labels|options)\.(size|length|count)\b(?!\s*\()", written)
            hint = "; write size(x)" if is_key else hints.mismatch(operator, overload[2], written, column)
            yield Problem(line, column, f"'{operator}' does not take {overload[2]}{hint}")
        elif selected := _SELECTED.search(text):
            if "*error*" not in text:
                yield Problem(
                    line, column, f"a {selected[1]} has no parts{hints.of_part(selected[1], written, column)}"
                )
        else:
            yield Problem(line, column, text + hints.of_syntax(source, written, column, text))
            return  # what follows a syntax error is noise


def tidy(text: str) -> str:
    """A message of the library without its decoration."""
    return _NOISE.sub("", text).replace("No matching overloads found : <jump_condition>", "a condition gave no bool")


def place(source: str, offset: int) -> tuple[int, int]:
    """Line and column of a character, counted from 1."""
    before = source[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")

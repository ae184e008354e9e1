"""What is wrong with an expression, in words for its author. Pure, and without the library.

Input: source text, its tree or the library's report on it. Output: ``Problem`` values with their places, and what may
fail at which call. Out of bounds: compiling.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dockwarden.model import Vocabulary
from dockwarden.policy import hints
from dockwarden.policy.tree import Node

MAX_SOURCE = 2000
MAX_MACROS = 8  # each may double a list: eight take 18 MiB at most, twenty-eight took 4 GB

MAX_GROWTH = 100  # a label of 1 MiB then takes 100; three replace() in a row took 6 GiB
_SPLIT_GROWTH = 8.0  # a part of a list takes more than its text
_WRITTEN = 0.001  # what is written in an expression is short, so a list may have many such items
_SMALL = (b"\x18\x01", b"\x18\x02", b"\x18\x03", b"\x18\x04")  # true and false, and numbers
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


def limits(source: str, tree: Node) -> Iterator[Problem]:
    """What makes an expression too dear to be asked."""

    def begin(node: Node) -> tuple[int, int]:
        return place(source, len(re.sub(r"\w*\s*\Z", "", source[: node.at])))

    # By their places, as what optMap() stands behind is in the tree twice; bind() and it go through no list.
    loops = {node.at: node for node in tree.walk() if node.op == "fold" and "#unused" not in str(node.value)}
    folds, over = [loops[at] for at in sorted(loops)], list[Node]()
    for node in folds[MAX_MACROS : MAX_MACROS + 1]:
        text = f"{len(folds)} macros such as exists() or map(), at most {MAX_MACROS} are allowed"
        yield Problem(*begin(node), text)
    _grown(tree, {}, over)
    for node in over[:1]:
        text = f"up to here a text may grow to more than {MAX_GROWTH} times its length; use fewer"
        yield Problem(*begin(node), f"{text} {'items' if node.value is None else str(node.value).strip('_')}")


def _grown(node: Node, scope: Mapping[str, float], over: list[Node]) -> float:
    """How many times as much memory as a text of an object it may take; ``over``: where that is too much."""
    if node.op == "fold" and isinstance(node.value, tuple):
        ranged, first = (_grown(arg, scope, over) for arg in node.args[:2])
        inner = {**scope, **dict(zip(node.value, (ranged, first), strict=True))}
        return max(_grown(arg, inner, over) for arg in node.args[2:])
    if node.op in ("const", "name"):
        return _WRITTEN if node.op == "const" else scope.get(str(node.value), 1.0)
    parts = [_grown(arg, scope, over) for arg in node.args]
    lengths = [len(arg.value) if arg.op == "const" and isinstance(arg.value, str) else None for arg in node.args[1:]]
    times = 1.0
    match node.value, lengths:
        case "split", _:
            times = _SPLIT_GROWTH
        case "strings.quote", _:
            times = 2.0
        case "join", [int(between)]:
            times = between + 1.0
        case "replace", [int(old), int(new), *_]:
            times = max(1.0, new / old if old else new + 1.0)
        case (("join" | "replace"), [_, *_]):  # not known before it runs
            times = MAX_GROWTH / 2
    grown = sum(parts) if node.value in (None, "_+_") else max(parts, default=1.0) * times
    if node.type in _SMALL or grown > MAX_GROWTH:
        over += [] if node.type in _SMALL else [node]
        return 0.0
    return grown


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
            type_ = selected[1]
            if "*error*" not in text:
                yield Problem(line, column, f"a {type_} has no parts{hints.of_part(type_, written, column)}")
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

"""What compiles and is certainly wrong, or can fail on some object. Pure, and without the library.

Input: the tree of an expression, the facts and constants that it may use. Output: ``Problem`` values; ``Risk`` values
of what may fail. Out of bounds: running anything; what a fact can never be is said in ``values``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from dockwarden import reference
from dockwarden.model import FactSpec, Specs, Values
from dockwarden.policy import chains, values
from dockwarden.policy.faults import CALENDAR, READ_AS, RISKS, Problem, place
from dockwarden.policy.tree import ORDER, Node, names, say
from dockwarden.text import near

_STRING, _DURATION, _LIST_OF_RECORDS = b"\x18\x05", b"(\x03", b"2\x0c\n\n:\x08\n\x02\x18\x05\x12\x02\n\x00"
_PARTS = ("startsWith", "endsWith", "contains", "matches")
_COMPARED = ("_==_", "_!=_", *ORDER)
_VERSION_LIKE = re.compile(r"(?!\d{4}-\d\d-\d\d)v?\d+(\.\d+)*(-[\w.]+)?", re.ASCII)  # days sort as texts do
_LEAST_BYTES, _MEGA, _MEBI = 10_000, 10**6, 2**20  # whoever compares a size with less means another unit
_IN_MIB = ("memory", "reserved", "shared_memory")
_DATE = re.compile(r"(19|20)\d\d([01]\d([0-3]\d)?)?")  # other times of 1970 are those of images without a date
_LONG = ("contains", "indexOf", "lastIndexOf", "matches")
_GROWING = ("split", "replace", "join", "format", "version")
_NO_PORT = "is 0 where the engine picks a port when the container starts"
_FROM_ZERO = {"getMonth": "January is 0; write getMonth() + 1", "getDayOfMonth": "the first is 0; write getDate()"}
_RESULTS = {**dict.fromkeys((*CALENDAR, "size"), "int"), "lowerAscii": "string", "upperAscii": "string"}


class Risk(NamedTuple):
    """What may fail: where, how the library says so, how to guard it, and the fact by which it fails, if it is one."""

    at: int
    error: str
    guard: str
    of: str


class _Meant(NamedTuple):
    """What a node stands for: a fact, an item or a record of it (``many`` if the list of them), or known values.

    ``of``: the param or list that the values come from.
    """

    spec: FactSpec | None = None
    many: bool = False
    values: tuple[object, ...] = ()
    of: str = ""

    def item(self) -> "_Meant":
        """An item of the list, a key of the map."""
        if self.spec is not None and self.spec.type == "map(string)":
            return _Meant(self.spec._replace(type="string", form="key"))
        return self._replace(many=False) if self.many else _Meant()


@dataclass(eq=False)
class Doubts:
    """Doubts about one expression: ``problems``, ``risks`` that it fails, ``remarks`` that it may mean something else.

    ``literals``: the constants written in it; ``names``: the facts, params and lists that it looks at; ``settled``:
    facts of which it, or one ``before``, says what of their being none.
    """

    source: str
    facts: Specs
    constants: Values
    before: frozenset[str] = frozenset()
    problems: list[Problem] = field(default_factory=list)
    risks: list[Risk] = field(default_factory=list)
    literals: set[object] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settled = set(self.before)
        self._each: frozenset[str] = frozenset()  # what has another value for each item of a list
        self._bounded: dict[str, list[tuple[Node, bool]]] = {}  # by fact: comparisons, and whether it is the lower side
        # By the node of the comparison, or of what turns it round.
        self._unlike: dict[int, tuple[Node, FactSpec]] = {}
        self._like: dict[int, tuple[Node, FactSpec]] = {}
        self._given: dict[tuple[str, object], list[tuple[Node, str]]] = {}  # by values of params and lists
        self._machines: list[tuple[Node, FactSpec]] = []
        self._lower: list[tuple[Node, str]] = []
        self._capable: dict[int, tuple[str, object]] = {}  # capabilities asked for, by the node of the comparison

    def look(self, node: Node, scope: Mapping[str, _Meant]) -> _Meant:
        """Look at a node and all below it, noting what is found; gives what it stands for."""
        if node.op == "fold":
            return self._fold(node, scope)
        args = [self.look(arg, scope) for arg in node.args]
        match node.op:
            case "const":
                self._literal(node)
                return _Meant(values=(node.value,))
            case "list":
                return _Meant(many=True, values=tuple(value for arg in args for value in arg.values))
            case "name":
                return scope.get(str(node.value)) or self._named(str(node.value))
            case "has":
                self._key(node, args[0], str(node.value))
                return _Meant(FactSpec(say(node), "bool", 0, ""))
            case "select":
                return self._key(node, args[0], str(node.value))
            case "call":
                return self._call(node, args, scope)
        return _Meant()

    def _named(self, name: str) -> _Meant:
        self.names.add(name)
        if name in self.facts:
            spec = self.facts[name]
            return _Meant(spec, many=spec.type.startswith("list"))
        value = self.constants.get(name)
        if isinstance(value, list):
            return _Meant(many=True, values=tuple(value), of=name)
        return _Meant(values=(value,), of=name) if name in self.constants else _Meant()

    def _fold(self, node: Node, scope: Mapping[str, _Meant]) -> _Meant:
        item, result = node.value if isinstance(node.value, tuple) else ("", "")
        ranged = self.look(node.args[0], scope)
        inner = {**scope, item: ranged.item()}
        first = self.look(node.args[1], scope)
        inner[result] = first if item == "#unused" else _Meant()
        outside, asked = self._each, set(self._capable)
        if outside or item != "#unused":  # as which bind() is compiled
            self._each |= {item, result}
        for arg in node.args[2:]:
            self.look(arg, inner)
        self._each = outside
        if node.args[1].value is True:  # all() allows some, and so does not hold for ALL
            self._capable = {at: of for at, of in self._capable.items() if at in asked or not of[0].endswith("_add")}
        return ranged if node.type == _LIST_OF_RECORDS else _Meant()

    def _literal(self, node: Node) -> None:
        if isinstance(node.value, str) and (found := re.search(r"\$\{|\{\{", node.value)):
            self._doubt(node, f"'{found[0]}' means nothing in a text; join texts with +, as in 'a ' + image.ref")
        self.literals.add(node.value)

    def _doubt(self, node: Node, text: str) -> None:
        if text:
            self.problems.append(Problem(*place(self.source, node.at), text))

    def _compared(self, node: Node, other: _Meant, value: object, why: str) -> None:
        """Note why that can never be, if so. A list may serve many comparisons, a constant tells what a param means."""
        if other.of:
            self._given.setdefault((other.of, value), []).append((node, why))
        else:
            self._doubt(node, why)

    def _risk(self, node: Node, error: str, guard: str, argument: int = 0) -> None:
        self.risks.append(Risk(node.at, error, guard, say(node.args[argument])))

    def _key(self, node: Node, whole: _Meant, key: str) -> _Meant:
        if whole.spec is not None and whole.spec.keys and not whole.many:
            keys = whole.spec.keys
            if key in keys:
                self.names.add(keys[key].name)
                return _Meant(keys[key])
            hint = near(key, keys, 0.75) or f"; they have {', '.join(keys)}"
            self._doubt(node, f"no record of {whole.spec.name} has the key {key}{hint}")
        elif whole.spec is None or whole.spec.type == "map(string)":
            self._risk_key(node, f"'{key}'", key)
        return _Meant()

    def _risk_key(self, node: Node, written: str, key: str) -> None:
        name = say(node.args[0])
        guard = f"write {name}[?{written}].orValue('') instead, or before it {written} in {name} && …"
        self._risk(node, f'Key not found in map : "{key}' if key else "Key not found", guard)

    def _may_take_long(self, node: Node, scope: Mapping[str, _Meant]) -> None:
        """What strangers' texts could make last for minutes: labels are long, lists as well."""
        name, used, sought = str(node.value), names(node), set[str]().union(*map(names, node.args[1:]))
        if name == "matches" and any(n in self.facts or (n in scope and not scope[n].values) for n in sought):
            self._doubt(node, "a pattern is written here or in params, never by strangers; contains() looks for a text")
        is_long = name in _GROWING or (name in _LONG and sought)
        if is_long and self._each and used & self.facts.keys() and not used & self._each:
            text = f"{name}() gives the same for each item; write it once, before: cel.bind(x, …{name}(…), …)"
            self._doubt(node, text)

    def _call(self, node: Node, args: list[_Meant], scope: Mapping[str, _Meant]) -> _Meant:
        name = str(node.value)
        if name in ("_[_]", "_[?_]"):
            return self._indexed(node, *args)
        if name in _COMPARED and (said := say(node.args[0])) == say(node.args[1]) and "…" not in said and names(node):
            self._doubt(node, f"{said} is compared with itself")
        if name in ("_==_", "_!=_"):
            for one, other in (args, args[::-1]):
                self._equal(node, one, other)
                self._none(node, one, other)
        elif name == "@in":
            self._in(node, *args)
        elif name == "!_":
            self._negated(id(node), id(node.args[0]))
        elif name in ("_||_", "_&&_"):
            self._always(node)
        elif name in ORDER:
            self._ordered(node, args)
        elif name in _PARTS:
            self._part(node, *args)
        self._may_take_long(node, scope)
        self._may_fail(node, args)
        return self._result(node, name)

    def _result(self, node: Node, name: str) -> _Meant:
        if name not in _RESULTS or node.args[0].type == _DURATION:  # whose getHours() has no end
            return _Meant()
        return _Meant(FactSpec(f"{name}()", _RESULTS[name], 0, "", name))

    def _negated(self, outer: int, inner: int) -> None:
        if inner in self._like:
            self._unlike[outer] = self._like[inner]
        elif inner in self._unlike:
            self._like[outer] = self._unlike.pop(inner)
        if self._capable.get(inner, ("", ""))[0].endswith("_add"):  # whoever allows some finds ALL as well
            del self._capable[inner]

    def _in(self, node: Node, one: _Meant, other: _Meant) -> None:
        self._equal(node, *((one, other) if other.values else (other.item(), one)))
        self._none(node, one, other)
        if other.spec is not None and other.spec.keys and not other.many:
            self._key(node, other, str(one.values[0]) if one.values else "")

    def _part(self, node: Node, whole: _Meant, part: _Meant) -> None:
        for value in part.values:
            if isinstance(value, str):
                spec = None if whole.many else whole.spec
                never = values.never_part(spec, str(node.value), value) if spec else ""
                self._compared(node, part, value, never)
                if spec and not never:
                    self._in_capitals(node, spec, value)

    def _indexed(self, node: Node, whole: _Meant, index: _Meant) -> _Meant:
        key = index.values[0] if index.values else None
        is_list = whole.many or node.args[0].type[:1] == b"2"
        if not is_list:
            self._equal(node, whole.item(), index)
        elif isinstance(key, int) and key < 0:
            self._doubt(node, "lists begin at 0; the last item is x[size(x) - 1], where size(x) > 0")
        if node.value == "_[?_]":
            return _Meant()
        if is_list:
            guard = f"before it write size({say(node.args[0])}) > {key if isinstance(key, int) else '…'} && …"
            self._risk(node, "Index error", guard)
            return whole.item()
        if isinstance(key, str) and whole.spec is not None and whole.spec.keys:
            return self._key(node, whole, key)
        self._risk_key(node, say(node.args[1]), key if isinstance(key, str) else "")
        return _Meant()

    def _may_fail(self, node: Node, args: list[_Meant]) -> None:
        name, first = str(node.value), node.args[0] if node.args else node
        if name in ("_/_", "_%_") and node.args[1].op != "const":
            self._risk(node, "divide by zero|modulus by zero", f"before it write {say(node.args[1])} != 0 && …", 1)
        elif name in RISKS:
            error, guard = RISKS[name]
            is_number = first.type != _STRING and first.type[:1] == b"\x18"
            if name in READ_AS and str(first.value).startswith("params."):
                guard = "write the param as it can be read, a time as 2026-01-31T00:00:00Z"
            if name not in READ_AS or not (first.op == "const" or is_number):
                self._risk(node, error, guard.format(say(first), say(first)))
            elif name == "duration" and is_number:
                self._risk(node, "overload", "a duration is written duration('24h')")
        if name == "timestamp" and any(_DATE.fullmatch(str(value)) for value in args[0].values if type(value) is int):
            self._doubt(node, "a number is in seconds since 1970; write timestamp('2025-01-31T00:00:00Z')")
        if name == "size" and args and args[0].spec is not None:
            self.settled.add(args[0].spec.name)

    def _equal(self, node: Node, one: _Meant, other: _Meant) -> None:
        for value in [v for v in other.values if not one.values or v in one.values] if one.spec is None else ():
            self._compared(node, other, value, "")
        if None in other.values and one.spec is not None:
            self._doubt(node, "facts always have a value; a time that never was is unknown")
        if one.spec is None or (one.many and not (other.many and other.values)):
            return
        if other.spec is not None and not other.many:
            self._doubt(node, values.apart(one.spec, other.spec))
            if (one.spec.form, other.spec.form) == ("machine", "platform"):
                self._machines.append((node, one.spec))
        # That it differs from '' is said of all, and a param is '' until a host sets it.
        if node.value == "_==_" and any(arg.op == "const" and arg.value == "" for arg in node.args):
            self._doubt(node, values.never_empty(one.spec))
        for value in other.values:
            self._compared(node, other, value, values.never(one.spec, value))
            self._in_capitals(node, one.spec, value)
            self._remark(one.spec, value)
            if one.spec.form == "registry" and reference.DEFAULT_REGISTRY not in other.values:
                self.remarks += filter(None, [reference.hub_elsewhere(str(value))])
            if one.spec.form == "capability" and value:
                self._capable[id(node)] = (one.spec.name, value)

    def _none(self, node: Node, one: _Meant, other: _Meant) -> None:
        """Comparisons with what stands for none, and of what may be none with what is something."""
        if node.value != "@in" and other.values == (node.value == "_!=_",):  # `a == b == false` is `!(a == b)`
            for arg in node.args:
                self._negated(id(node), id(arg))
        if one.spec is None or one.many:
            return
        if {"", 0} & {value for value in other.values if not isinstance(value, list)}:
            self.settled.add(one.spec.name)
        elif one.spec.name in values.MAY_BE_NONE and (one.spec.words or not other.values):
            (self._unlike if node.value == "_!=_" else self._like)[id(node)] = (node, one.spec)

    def _in_capitals(self, node: Node, spec: FactSpec, value: object) -> None:
        """Names of variables are in capitals, but for those of proxies and those with dots."""
        if spec.form == "variable" and isinstance(value, str) and "(?i" not in value:
            letters = re.sub(r"\\.", "", value)
            if letters != letters.upper() and letters == letters.lower() and not re.search(r"proxy|[.]\w", letters):
                self._lower.append((node, value))

    def _remark(self, spec: FactSpec, value: object) -> None:
        """What is legal and mostly meant otherwise."""
        self.remarks += filter(None, [values.unfamiliar(spec, value)])
        if spec.form in _FROM_ZERO and value:
            self.remarks.append(f"{spec.name} counts from 0: {_FROM_ZERO[spec.form]} for what counts from 1")
        if isinstance(value, int) and spec.form == "bytes" and 1 < value < _LEAST_BYTES:
            self.remarks.append(f"{spec.name} is in bytes; a param may be {value}MB, or whatever is meant")
        if isinstance(value, int) and spec.form in _IN_MIB and not value % _MEGA and value % _MEBI:
            unit, amount = ("GiB", value // _MEGA // 1000) if value % 10**9 == 0 else ("MiB", value // _MEGA)
            text = f"{spec.name} is set in MiB and GiB: `-m 512m` is 512MiB, which is more than 512MB"
            self.remarks.append(f"{text}; write {amount}{unit} if that is meant")

    def _ordered(self, node: Node, args: list[_Meant]) -> None:
        lower, upper = args[::-1] if ORDER[str(node.value)] else args
        strict = node.value in ("_<_", "_>_")
        for side, other, end in ((lower, upper, 0), (upper, lower, 1)):
            if side.spec is None or side.many:
                continue
            bound = values.bounds(side.spec)[end]
            for value in other.values:
                if strict and value == bound and not isinstance(value, bool):
                    what = "below 0; 0 stands for none" if bound == 0 else f"{'above' if end else 'below'} {bound:g}"
                    self._doubt(node, f"{side.spec.name} is never {what}")
                else:
                    self._doubt(node, values.never_number(side.spec, value))
                self._remark(side.spec, value)
        self._lowest(node, lower, upper)
        if any(arg.type != _STRING for arg in node.args):
            return
        forms = {meant.spec.form for meant in args if meant.spec is not None}
        looks = [value for meant in args for value in meant.values if isinstance(value, str)]
        if forms & {"version", "release", "tag"} or any(map(_VERSION_LIKE.fullmatch, looks)):
            meant = f" {str(node.value).strip('_')} ".join(f"version({say(arg)})" for arg in node.args)
            facts = [say(arg) for arg, of in zip(node.args, args, strict=True) if of.spec and of.spec.form != "release"]
            guards = "".join(f"{fact}.matches('^v?[0-9]') && " for fact in facts)
            self._doubt(node, f"texts are compared letter by letter, '10' < '9'; write {guards}{meant}")
        elif look := next((look for look in looks if re.fullmatch(r"\d+ ?[A-Za-z]+", look)), ""):
            self.remarks.append(f"texts are compared letter by letter, '10m' < '9m'; name some, as in ['{look}', …]")

    def _lowest(self, node: Node, lower: _Meant, upper: _Meant) -> None:
        """Where 0 stands for nothing that is low, an upper bound alone finds it, too."""
        for meant, other in ((lower, upper), (upper, lower)):
            if set(other.values) & {0, 1} and meant.spec is not None:
                self.settled.add(meant.spec.name)
            elif meant.spec is not None and meant.spec.form in ("picked", "limit", "memory", "getDayOfWeek"):
                self._bounded.setdefault(meant.spec.name, []).append((node, meant is lower))

    def end(self) -> None:
        """After all of an expression was looked at: what hangs on the rest of it."""
        for compared in self._given.values():
            for node, why in compared if all(why for _, why in compared) else ():
                self._doubt(node, why)
        for name in sorted(self._bounded.keys() - self.settled):
            (node, _), *_ = bounds = self._bounded[name]
            if not name.endswith("_port"):
                none = "0.0" if name in self.facts and self.facts[name].type == "double" else "0"
                way_out = f"say what you mean of those by {name} == {none} || …, or by {name} > {none} && …"
                when = "on Sunday" if name.endswith("()") else "where there is no limit"
                self.remarks.append(f"{name} is 0 {when}; {way_out}")
            elif all(is_lower for _, is_lower in bounds):
                item = say(node.args[ORDER[str(node.value)]])
                self._doubt(node, f"{name} {_NO_PORT}; before it write {item} > 0 && …")
        for node, spec in self._unlike.values():
            why, *others = values.MAY_BE_NONE[spec.name]
            if spec.name not in self.settled and not {*others} & (self.settled | self.names):
                written = next((say(arg) for arg in node.args if say(arg).endswith(spec.name.rpartition(".")[2])), "…")
                others_too = f"or {written} == '' || … where these are meant, too"
                self._doubt(node, f"{spec.name} is '' {why}; before it write {written} != '' && …, {others_too}")
        for node, spec in self._machines:  # those of s390x and the like are the same, which somebody may have said
            if spec.name not in self.before and self.literals.isdisjoint({*spec.words} - {""}):
                way_out = f"write {spec.name} == 'x86_64' && image.architecture != 'amd64'"
                self._doubt(node, f"{spec.name} is the kernel's word, 'x86_64' for 'amd64'; {way_out}")
        self._end_of_names()

    def _end_of_names(self) -> None:
        for node, value in self._lower:
            if value.upper() not in self.literals:
                text = f"names of variables are mostly in capitals, so '{value}' misses them"
                self._doubt(node, f"{text}; write e.matches('(?i){value}')")
        for fact, asked in self._capable.values() if "ALL" not in self.literals else ():
            text = f"where all are named at once, {fact} has only 'ALL'"
            self.remarks.append(f"{text}; write {fact}.exists(c, c in ['ALL', '{asked}']) if that is meant, too")

    def _always(self, node: Node) -> None:
        for part, text in chains.decided(node):
            self._doubt(part, text)

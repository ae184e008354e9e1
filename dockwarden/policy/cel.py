"""CEL: expressions compiled against typed facts, evaluated with what is known. The only home of the library.

Input: source text and, at evaluation, the facts of one object. Output: ``Program`` and ``Joint`` values, and their
answers; faults of an expression are ``ExpressionError`` with line and column. Out of bounds: YAML and what facts mean.

What the library does that a reader would not expect, all of it handled here and nowhere else: a failed evaluation
*returns* its text as a truthy value, but a spent iteration budget is *raised*; reading a null corrupts Python 3.11, and
a program whose declared type is bool can still give null; a missing fact is an error like any other; ``has(fact)``
gives the fact's value; constants of regular expressions, durations and timestamps are not checked when an expression is
compiled. Times without a zone would be read as local ones; facts have none. What a function in Python is given, and
what it returns, is never freed, so that those calls are made before the library runs, wherever that can be done.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from dockwarden import model
from dockwarden.model import Answer, Facts, FactValue, Kind, Values, Vocabulary
from dockwarden.policy.doubts import Doubts
from dockwarden.policy.faults import MAX_SOURCE, TOO_DEEP, ExpressionError, Problem, explain, limits, place, tidy
from dockwarden.policy.hints import WEAK, of_result
from dockwarden.policy.tree import Node, names, read, say
from dockwarden.text import in_bytes
from dockwarden.versions import EARLY

_T = cel.Type
_TYPES: dict[str, Any] = {
    **{name: getattr(_T, name.upper()) for name in ("bool", "int", "double", "string", "duration", "timestamp")},
    **{f"list({name})": _T.List(getattr(_T, name.upper())) for name in ("string", "int", "double")},
    "list(map)": _T.List(_T.Map(_T.STRING, _T.DYN)),
    "map(string)": _T.Map(_T.STRING, _T.STRING),
}
_CONSTANTS = {bool: "bool", int: "int", float: "double", str: "string", timedelta: "duration"}
_SCALARS = frozenset({"BOOL", "INT", "DOUBLE", "STRING", "DURATION", "TIMESTAMP"})
_AS_THEY_ARE = frozenset({"bool", "int", "double", "string", "duration", "timestamp"})
_BLANKS = " \t\r\n\f"  # those of the language; Python's are more
_GAP = r"(?:\s|//[^\n]*\n)*"
_HAS = re.compile(r"\bhas\s*\(\s*([\w.]+)\s*\)")
_LITERAL = re.compile(r"\b(matches|duration|timestamp)\s*\(\s*(r?'(?:[^'\\\n]|\\.)*'|r?\"(?:[^\"\\\n]|\\.)*\")\s*\)")
_TEXTS = re.compile(r"\(\s*r?(['\"])([\w /-]+(?:\|[\w /-]+)*)\1\s*\)", re.ASCII)
_SIMPLE = re.compile(r"\(\s*(?:[\w.]+|'[^'\\\n]*'|\"[^\"\\\n]*\")\s*\)")
_NUMBERS = re.compile(r"[vV]?(\d+(?:\.\d+)*)(.*)", re.ASCII | re.DOTALL)
_PRE_RELEASE = re.compile(rf"[-_.~]?(?:{EARLY}|devel|dev|a|b|c|m)(?![a-z])", re.ASCII)
_FULL = {  # by what the library says
    "perl operator|escape": "; patterns are RE2's, without look-around and back references: join several with && and !",
    "to Duration": "; the largest unit is the hour: duration('24h')",
    "to Timestamp": "; write all of it: timestamp('2026-01-31T00:00:00Z')",
}


def _version(text: str) -> bytes:
    """What sorts as the versions do: numbers by their value, pre-releases before the release, builds after it."""
    match = _NUMBERS.match(text)
    if match is None:
        raise ValueError(f"'{text}' is no version")
    numbers = [number.zfill(20) for number in match[1].split(".")]
    while len(numbers) > 1 and not numbers[-1].strip("0"):
        numbers.pop()
    rest = re.sub(r"\d+", lambda digits: digits[0].zfill(20), match[2].partition("+")[0].lower())
    return ".".join([*numbers, f"!{rest}" if _PRE_RELEASE.match(rest) else f"/{rest}"]).encode()


_OURS: dict[str, Callable[[Any], str | bytes]] = {"version": _version, "as_size": in_bytes}
_FUNCTIONS = [
    cel.FunctionDecl(name, [cel.Overload(f"{name}_of", gives, [takes], is_member=False, impl=_OURS[name])])
    for name, takes, gives in (
        ("version", _T.STRING, _T.BYTES),  # bytes, which the library refuses to compare with a text
        ("as_size", _T.INT, _T.STRING),
    )
]
_CALLED = "__called"  # the variable for what they gave, by the calls as source
_TRUE, _FALSE = Answer(value=True), Answer(value=False)
_NEVER_NULL = frozenset({"_&&_", "_||_", "!_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in"})


class Program:
    """A compiled expression; see ``model.Program``.

    Attributes:
        source: the expression's text.
        references: the facts it needs; params and lists are not among them.
        constants: the params and lists it needs.
        doubts: what of it is certainly wrong, may mean something else, or may fail; its vocabulary and literals.
        params: the params in it, each with the place of its dot.
        searches: regular expressions in it that are no more than texts, from where to where, and without them.
        calls: calls of our own functions with a fact, a param or a constant, by their source.
    """

    def __init__(self, env: Any, expression: Any, tree: Node, doubts: Doubts) -> None:
        self.source, self.doubts, facts = doubts.source, doubts, doubts.facts
        source = self.source
        self.references = frozenset(doubts.names & facts.keys())
        self._by_cost = sorted(self.references, key=lambda name: (facts[name].cost, name))
        self.constants = {name: value for name, value in doubts.constants.items() if name in doubts.names}
        self.params = {(n.at, str(n.value)) for n in tree.walk() if n.op == "name" and str(n.value)[:7] == "params."}
        self.searches = set(_searches(source, tree))
        self._fact = "" if expression else source.strip(_BLANKS)
        apart, self.calls = _apart(source, tree)
        if not expression:
            return
        self._env = env
        self._is_bool = expression.return_type() == _T.BOOL
        # The condition of `?:` must be a bool when it runs, so reading the result can never meet a null.
        form = "(\n{}\n) ? true : false" if self._is_bool and tree.value not in _NEVER_NULL else "{}"
        self._eval = (expression if form == "{}" else env.compile(form.format(source))).eval
        self._eval_apart = env.compile(form.format(apart)).eval if self.calls else None

    def evaluate(self, facts: Facts, tried: Collection[str] = ()) -> Answer:
        """The value, or the cheapest fact that is missing, or the error's text. Never raises.

        Of facts that are missing, those that were ``tried`` in vain come last: another one may decide without them.
        A prepared form of ``facts.known`` is kept in ``facts.shared`` for all programs without params and lists.
        """
        if self._fact:
            if self._fact not in facts.known:
                return Answer(missing=self._fact)
            value = facts.known[self._fact]
            try:
                return Answer(value.astimezone(UTC) if isinstance(value, datetime) else value)
            except OverflowError:
                return Answer(error=f"{value} is no time of the years 1 to 9999 in UTC")
        try:
            value = self._run(facts)
            if not self._is_bool and (kind := value.type().name()) != "ERROR":
                return Answer(value.plain_value()) if kind in _SCALARS else Answer(error=f"gave {kind}")
            plain = value.plain_value()
        except (RuntimeError, MemoryError) as error:
            return Answer(error=tidy(str(error)))
        if plain is True:
            return _TRUE
        if plain is False:
            return _FALSE
        # An error is final only when nothing is missing: `false && error` is false, whichever comes first.
        missing = [name for name in self._by_cost if name not in facts.known]
        return Answer(missing=min(missing, key=tried.__contains__)) if missing else Answer(error=tidy(plain))

    def given(self, params: Values) -> "Program":
        """The same with other values of some params."""
        other, given = copy(self), {f"params.{key}": value for key, value in params.items()}
        other.constants = {name: given.get(name, value) for name, value in self.constants.items()}
        return other

    def _run(self, facts: Facts) -> Any:
        if not self.constants and not self.calls:
            if facts.shared is None:
                facts.shared = self._env.Activation(facts.known)
            return self._eval(facts.shared)
        known, own = facts.known, self.constants.copy()
        for name in self.references:
            if name in known:
                own[name] = known[name]
        if self._eval_apart:
            value = self._eval_apart(data=own | {_CALLED: dict(_made(self.calls, own))})
            if value.type() != _T.ERROR or not self.references <= known.keys():  # of what is missing no text is told
                return value
        return self._eval(data=own)


class Joint:
    """The conditions of several policies on one kind of subject as one expression, which takes a third of the time."""

    def __init__(self, conditions: Sequence[tuple[model.Program | None, model.Program]]) -> None:
        """``conditions``: ``select`` and ``when`` of each policy, all compiled here.

        Raises ExpressionError: they do not fit into one expression.
        """
        programs = [program for pair in conditions for program in pair if isinstance(program, Program)]
        facts = programs[0].doubts.facts
        constants = (pair for program in programs for pair in program.constants.items())
        self._lists = {name: value for name, value in constants if name.startswith("lists.")}
        # All facts, because what reads ``facts.shared`` later may need others than these conditions do.
        types = {name: spec.type for name, spec in facts.items()} | dict.fromkeys(self._lists, "list(string)")
        # The condition of `?:` must be a bool when it runs, as above.
        verdicts = ((select, f"({_closed(when)} ? 2 : 1)") for select, when in conditions)
        each = (f"({_closed(select)} ? {verdict} : 0)" if select else verdict for select, verdict in verdicts)
        source = f"[{', '.join(each)}]"
        if "\\u0000" in source:  # the library cuts facts and params off there, but not what is written in a source
            raise ExpressionError(Problem(1, 1, "a NUL character"))
        for rare in (False, True):
            self._env = _new_env(types, rare=rare)
            with suppress(RuntimeError):
                self._eval = self._env.compile(source).eval
                return
        raise ExpressionError(Problem(1, 1, "they do not fit into one expression"))

    @staticmethod
    def takes(*programs: model.Program | None) -> bool:
        """Whether they may be part of one: calls of our functions are made for each program."""
        return not any(isinstance(program, Program) and program.calls for program in programs)

    def evaluate(self, facts: Facts) -> tuple[int, ...] | None:
        """For each policy 2 where ``when`` is true, 1 where not, 0 without ``select``; None if one is unknown.

        The prepared form of the facts is left in ``facts.shared``, for messages and for other policies.
        """
        try:
            facts.shared = self._env.Activation(facts.known | self._lists)
            plain = self._eval(facts.shared).plain_value()
        except (RuntimeError, MemoryError):
            return None
        return tuple(plain) if isinstance(plain, list) else None  # an error is a text


def _closed(program: model.Program) -> str:
    """The expression with its params written into it, so that it can stand beside others with params of that name."""
    source = program.source
    if not isinstance(program, Program):
        return f"(\n{source}\n)"
    for dot, end, name in sorted({*program.searches, *((dot, 0, name) for dot, name in program.params)}, reverse=True):
        if end:
            source = source[:dot] + name + source[end:]
            continue
        before = re.sub(rf"params{_GAP}\Z", "", source[:dot])
        after = re.sub(rf"\A\.{_GAP}{name.removeprefix('params.')}", "", source[dot:])
        source = f"{before}({_written(program.constants[name])}){after}"
    return f"(\n{source}\n)"


def _apart(source: str, tree: Node) -> tuple[str, dict[str, Node]]:
    """An expression with ``_CALLED`` in place of calls of our own functions, and those calls."""
    calls = {}
    for node in sorted(tree.walk(), key=lambda node: node.at, reverse=True):
        begin = node.at - len(str(node.value))
        if node.op == "call" and node.value in _OURS and source[begin : node.at] == node.value:
            arg, found = node.args[0], _SIMPLE.match(source, node.at)
            if found and (arg.op == "const" or "." in str(arg.value)):  # a macro's variable, without a dot, is unknown
                calls[say(node)] = node
                source = f"{source[:begin]}{_CALLED}[{_written(say(node))}]{source[found.end() :]}"
    return source, calls


def _made(calls: Mapping[str, Node], known: Mapping[str, Any]) -> Iterator[tuple[str, str | bytes]]:
    """What the calls gave, of those that have what they need and do not fail."""
    for call, node in calls.items():
        arg = node.args[0]
        with suppress(KeyError, ValueError):
            yield call, _OURS[str(node.value)](arg.value if arg.op == "const" else known[str(arg.value)])


def _searches(source: str, tree: Node) -> Iterator[tuple[int, int, str]]:
    """The library compiles a regular expression whenever it meets it, which takes as long as five conditions."""
    for node in tree.walk():
        if node.op == "call" and node.value == "matches" and node.args[0].op == "name":
            name = str(node.args[0].value)
            begin, found = node.at - len(f"{name}.matches"), _TEXTS.match(source, node.at)
            if found and source[begin : node.at] == f"{name}.matches" and name[:7] != "params.":
                parts = (f"{name}.contains('{text}')" for text in found[2].split("|"))
                yield begin, found.end(), f"({' || '.join(parts)})"


def _written(value: FactValue) -> str:
    """A constant as CEL source."""
    if isinstance(value, timedelta):
        return f"duration('{value.total_seconds():f}s')"
    return json.dumps(value, ensure_ascii=False)  # of bool, int, float, str and lists of str both have the same idea


class Compiler:
    """Compiles expressions for one vocabulary and one set of named lists.

    An environment of the library takes a third of a MiB and as long as ten expressions, so there is one for all: with
    the facts of every kind and the params of every policy. What it refuses, and what names in it a fact of another kind
    or a param of another policy, is compiled in an environment of its own, which has the rarer extensions as well.
    """

    def __init__(
        self, vocabulary: Vocabulary, lists: Mapping[str, Sequence[str]], params: Iterable[Values] = ()
    ) -> None:
        """``params``: those of all policies."""
        self._vocabulary = vocabulary
        self._lists: dict[str, FactValue] = {f"lists.{key}": list(items) for key, items in lists.items()}
        self._types = {name: spec.type for facts in vocabulary.values() for name, spec in facts.items()}
        self._types |= _types({**self._lists, **{f"params.{key}": own[key] for own in params for key in own}})
        self._common = _new_env(self._types)
        self._envs: dict[tuple[Kind, frozenset[tuple[str, str]]], Any] = {}

    def compile(
        self, kind: Kind, params: Values, source: str, want: Collection[str] = ("bool",), settled: Collection[str] = ()
    ) -> Program:
        """Compile an expression about such subjects. Raises ExpressionError: with every fault that was found.

        ``params``: by name, without ``params.``. ``want``: the types of ``FactSpec.type`` that may come out.
        ``settled``: what expressions that are asked before have looked at.
        """
        facts = self._vocabulary[kind]
        constants = {f"params.{key}": value for key, value in params.items()} | self._lists
        doubts = Doubts(source, facts, constants, frozenset(settled))
        # Messages are full of parts that are no more than a fact's name.
        if (name := source.strip(_BLANKS)) in facts and facts[name].type in _AS_THEY_ARE.intersection(want):
            doubts.look(fact := Node("name", name, (), 0, b""), {})
            return Program(None, None, fact, doubts)
        if len(source) > MAX_SOURCE:
            raise ExpressionError(Problem(1, 1, f"{len(source)} characters, at most {MAX_SOURCE} are allowed"))
        if problems := list(_traps(source, self._common, {*facts, *constants})):
            raise ExpressionError(*problems)
        try:
            env, expression, tree = self._compiled(kind, constants, source)
        except (RuntimeError, TypeError) as error:
            told = list(explain(source, str(error), [*facts, *constants], self._vocabulary))
            # A macro that does not exist leaves its variable unknown, too.
            raise ExpressionError(*([each for each in told if not each.text.endswith(WEAK)] or told)) from None
        if problems := list(limits(source, tree)):
            raise ExpressionError(*problems)
        given = expression.return_type().name().lower()
        if given not in want:
            hint = of_result(given, want)
            raise ExpressionError(Problem(1, 1, f"gives {given}, must give {' or '.join(sorted(want))}{hint}"))
        doubts.look(tree, {})
        doubts.end()
        try:
            return Program(env, expression, tree, doubts)
        except RuntimeError:  # one level deeper than as it was written
            raise ExpressionError(TOO_DEEP) from None

    def knows(self, kind: Kind, name: str) -> bool:
        """Whether a name is a fact of such subjects, or a list."""
        return name in self._vocabulary[kind] or name in self._lists

    def _compiled(self, kind: Kind, constants: Values, source: str) -> tuple[Any, Any, Node]:
        """The environment, the expression, its tree. Raises RuntimeError, TypeError: it cannot be compiled."""
        facts, types = self._vocabulary[kind], _types(constants)
        if types.items() <= self._types.items():
            with suppress(RuntimeError, TypeError):
                expression = self._common.compile(source)
                tree = read(expression.serialize())
                if (names(tree) & self._types.keys()) <= facts.keys() | types.keys():
                    return self._common, expression, tree
        key = (kind, frozenset(types.items()))
        if key not in self._envs:
            self._envs[key] = _new_env(types | {name: spec.type for name, spec in facts.items()}, rare=True)
        expression = self._envs[key].compile(source)
        return self._envs[key], expression, read(expression.serialize())


def _new_env(types: Mapping[str, str], *, rare: bool = False) -> Any:
    extensions = [ext_strings.ExtStrings()]
    if rare:
        from cel_expr_python.ext import ext_bindings, ext_optional  # noqa: PLC0415 - 5 MiB that few ever need

        extensions += [ext_bindings.ExtBindings(), ext_optional.ExtOptional()]
    variables = {name: _TYPES[type_] for name, type_ in types.items()} | {_CALLED: _T.Map(_T.STRING, _T.DYN)}
    return cel.NewEnv(variables=variables, extensions=extensions, functions=_FUNCTIONS)


def _types(constants: Values) -> dict[str, str]:
    return {name: type_of(value) for name, value in constants.items()}


def type_of(value: FactValue) -> str:
    """The type of a constant, as ``FactSpec.type`` names it; KeyError where no constant can be of that type."""
    if isinstance(value, list):
        return f"list({type_of(value[0]) if value else 'string'})"  # type: ignore[arg-type]
    return _CONSTANTS[type(value)]


def _traps(source: str, env: Any, names: Collection[str]) -> Iterator[Problem]:
    """What the library accepts and should not: ``has(fact)`` and constants that can never work."""
    for match in _HAS.finditer(source):
        if match[1] in names:
            yield Problem(*place(source, match.start(1)), f"{match[1]} always exists; has() is for keys of maps")
    for match in _LITERAL.finditer(source):
        call = f"{match[1]}({match[2]})"
        try:
            value = env.compile(f"''.{call}" if match[1] == "matches" else call).eval()
        except (RuntimeError, TypeError):
            continue  # not a literal after all; compiling the whole says what is wrong
        if value.type() == _T.ERROR:
            said = tidy(value.plain_value())
            hint = next((way for sign, way in _FULL.items() if re.search(sign, said)), "")
            yield Problem(*place(source, match.start(2)), f"{call}: {said}{hint}")

"""The policies' own tests: what is given is judged, and what comes out compared with what is expected. Pure.

Input: tests as they are written, compiled policies. Output: ``Tried`` values; what of a condition no test ever turned
on. Out of bounds: files, printing.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from dockwarden.model import Facts, FactSpec, Policy, PolicyException, PolicySet, Status, Trial, Values
from dockwarden.policy import evaluate
from dockwarden.policy.cel import Program
from dockwarden.policy.excuses import excuse
from dockwarden.policy.values import never, out_of_range
from dockwarden.text import duration, host_path, size

_EMPTY: dict[str, object] = {"bool": False, "int": 0, "double": 0.0, "string": ""}
_PLAIN = {"bool": bool, "string": str}
_IN_BYTES = ("bytes", "memory", "reserved", "shared_memory", "any")  # forms of whole numbers
_NUMBER = r"-?\d+(\.\d+)?(e[+-]?\d+)?"


class Tried(NamedTuple):
    """One expectation of a policy: what came out, what is wrong with that, if anything, and where it is written."""

    policy: str
    name: str
    result: str
    wrong: str
    place: str


def read_time(value: object) -> datetime:
    """A date or a time of RFC 3339; a date is its first moment in UTC. Raises ValueError."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("must be a date or time such as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def read_fact(spec: FactSpec, value: object) -> Any:
    """A fact's value as a test has it, by the fact's type. Raises ValueError: it is none, or the fact never has it."""
    found = READERS[spec.type](spec, value)
    for item in found if isinstance(found, list) else (found,):
        why = never(spec, item) if isinstance(item, str) else ""
        if isinstance(item, int | float):
            why = out_of_range(spec, item)
        if why:
            raise ValueError(why)
    return found


def _plain(spec: FactSpec, value: object) -> object:
    if type(value) is not _PLAIN[spec.type]:
        raise ValueError("must be true or false" if spec.type == "bool" else "must be text; put it in quotes")
    return host_path(str(value)) if spec.form == "mounted" else value


def _number(spec: FactSpec, value: object) -> object:
    if spec.type == "double":
        if isinstance(value, bool) or not re.fullmatch(_NUMBER, str(value), re.ASCII):
            raise ValueError("must be a number, such as 85 or 1.5")
        return float(str(value))
    if spec.form in _IN_BYTES and type(value) is not int:
        return size(value)
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value), re.ASCII):
        raise ValueError("must be a whole number")
    return int(str(value))


def _list(_spec: FactSpec, value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of texts")
    return value


def _map(_spec: FactSpec, value: object) -> object:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError("must be a mapping of texts; put numbers, true and false in quotes")
    return value


def _records(spec: FactSpec, value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"must be a list of mappings with {', '.join(spec.keys)}")
    if unknown := sorted({key for item in value for key in item} - spec.keys.keys()):
        raise ValueError(f"no record has the key {unknown[0]}; they have {', '.join(spec.keys)}")
    empty = {key: _EMPTY[inner.type] for key, inner in spec.keys.items()}
    return [empty | {key: read_fact(spec.keys[key], inner) for key, inner in item.items()} for item in value]


READERS: dict[str, Callable[[FactSpec, object], object]] = {
    **dict.fromkeys(("bool", "string"), _plain),
    **dict.fromkeys(("int", "double"), _number),
    "duration": lambda _, value: duration(value),
    "timestamp": lambda _, value: read_time(value),
    "list(string)": _list,
    "list(map)": _records,
    "map(string)": _map,
}


def attempts(policies: PolicySet) -> list[Tried]:
    """All tests that were read with the policies."""
    named = {policy.name: policy for policy in policies.policies}
    return [_attempt(trial, named[trial.policy], policies.exceptions) for trial in policies.trials]


def _attempt(trial: Trial, policy: Policy, exceptions: Sequence[PolicyException]) -> Tried:
    own = _with_params(policy, trial.params)
    facts = Facts(dict(trial.given))
    verdict = evaluate.judge(own, facts)
    if own.gate is not None and own.gate.evaluate(facts).value is False:
        verdict = evaluate.SKIP
    status, why = verdict.status, verdict.reason or (f"{verdict.missing} is not given" if verdict.missing else "")
    if status is Status.FAIL and excuse(own, facts, exceptions, trial.given["now"].timestamp()).told:  # type: ignore[union-attr]
        status = Status.EXCUSED
    wrong = f"expected {trial.expect}, got {status.value}" + (f": {why}" if why else "")
    if status.value == trial.expect:
        wrong, message = "", None if trial.message is None else evaluate.render(own, facts)
        if message != trial.message:
            wrong = f"the message is {message!r}, not {trial.message!r}"
    return Tried(trial.policy, trial.name, status.value, wrong, trial.place)


def _with_params(policy: Policy, params: Values) -> Policy:
    def given(program: Any) -> Any:
        return program.given(params) if isinstance(program, Program) and program.constants else program

    return policy._replace(
        when=given(policy.when),
        select=given(policy.select),
        gate=given(policy.gate),
        message=tuple(given(part) for part in policy.message),
    )


class Operand(NamedTuple):
    """A part of a condition: a leaf with its source, or what joins others."""

    joint: str
    source: str
    parts: tuple["Operand", ...] = ()

    def leaves(self) -> Iterator["Operand"]:
        """The parts that cannot be taken apart."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


# What joins the parts of a condition, the loosest first, and how many joints of it are taken at once.
_JOINTS = (("?", re.compile(r"(?<!\.)[?:]"), 2), ("||", re.compile(r"\|\|"), None), ("&&", re.compile("&&"), None))
_OPAQUE = re.compile(r"r?'(?:[^'\\]|\\.)*'|r?\"(?:[^\"\\]|\\.)*\"|//[^\n]*", re.DOTALL)


def operands(source: str) -> Operand:
    """A condition taken apart at its ``?:``, ``||``, ``&&`` and ``!``; without comments, and brackets around parts."""
    text = _OPAQUE.sub(lambda match: "" if match[0].startswith("//") else match[0], source).strip()
    plain = _OPAQUE.sub(lambda match: "_" * len(match[0]), text)
    depths = [*accumulate((char in "([{") - (char in ")]}") for char in plain)]
    for joint, pattern, most in _JOINTS:
        cuts = [match.span() for match in pattern.finditer(plain) if not depths[match.start()]][:most]
        if cuts:
            spans = pairwise([0, *(at for cut in cuts for at in cut), len(text)])
            return Operand(joint, text, tuple(operands(text[start:end]) for start, end in [*spans][::2]))
    if plain.startswith("(") and 0 not in depths[:-1]:
        return operands(text[1:-1])
    negated = operands(text[1:]) if plain.startswith("!") else Operand("", text)
    return Operand("!", text, (negated,)) if negated.parts else Operand("", text)


def undecided(whole: Operand, values: Sequence[Mapping[str, object]]) -> list[str]:
    """Leaves whose opposite would have changed no test; ``values``: of each test, what each leaf gave, by source."""
    leaves = {leaf.source for leaf in whole.leaves()}
    decided = {
        leaf
        for known in values
        for leaf in leaves
        if known.get(leaf) is not None
        and (result := _value(whole, known)) is not None
        and _value(whole, {**known, leaf: not known[leaf]}) != result
    }
    return sorted(leaves - decided) if len(leaves) > 1 else []


def _value(operand: Operand, known: Mapping[str, object]) -> object:
    if not operand.parts:
        return known.get(operand.source)
    values = [_value(part, known) for part in operand.parts]
    match operand.joint:
        case "&&":
            return False if False in values else None if None in values else True
        case "||":
            return True if True in values else None if None in values else False
        case "?":
            return None if values[0] is None else values[1] if values[0] else values[2]
    return None if values[0] is None else not values[0]

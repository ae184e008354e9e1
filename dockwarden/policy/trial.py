"""The policies' own tests: what is given is judged, and what comes out compared with what is expected. Pure.

Input: tests as they are written, compiled policies. Output: ``Tried`` values; what of a condition no test ever turned
on. Out of bounds: files, printing.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, NamedTuple

from dockwarden.model import Facts, FactSpec, FactValue, Policy, PolicyException, PolicySet, Status, Trial
from dockwarden.policy import evaluate
from dockwarden.policy.cel import Program
from dockwarden.policy.excuses import excuse
from dockwarden.policy.tree import Node
from dockwarden.policy.values import never, out_of_range
from dockwarden.text import duration, host_path, size

_EMPTY: dict[str, object] = {"bool": False, "int": 0, "double": 0.0, "string": ""}
_PLAIN = {"bool": bool, "string": str}
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
    return size(value) if not isinstance(value, int) or isinstance(value, bool) or value >= 0 else value


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


def _with_params(policy: Policy, params: Mapping[str, FactValue]) -> Policy:
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


_JOINTS = {"_&&_": "&&", "_||_": "||", "_?_:_": "?", "!_": "!"}
_OPAQUE = re.compile(r"r?'(?:[^'\\]|\\.)*'|r?\"(?:[^\"\\]|\\.)*\"|//[^\n]*", re.DOTALL)


def operands(node: Node, text: str, start: int = 0, end: int | None = None) -> Operand:
    """A condition taken apart at its ``&&``, ``||``, ``!`` and ``?:``; it stands in a part of the text."""
    end, joint = len(text) if end is None else end, _JOINTS.get(str(node.value)) if node.op == "call" else None
    cuts = [(start, end)]
    if joint == "?":
        colon = text.rindex(":", node.at, min(each.at for each in node.args[2].walk()))
        cuts = [(start, node.at), (node.at + 1, colon), (colon + 1, end)]
    elif joint in ("&&", "||"):
        cuts = [(start, node.at), (node.at + 2, end)]
    parts = [operands(arg, text, *cut) for arg, cut in zip(node.args, cuts, strict=False)] if joint else []
    if joint is None or (joint == "!" and not parts[0].parts):
        return Operand("", _bare(text[start:end]))
    return Operand(joint, text[start:end], tuple(parts))


def _bare(text: str) -> str:
    """An operand without the brackets around it, of which the others may be in other operands."""
    text = _OPAQUE.sub(lambda match: "" if match[0].startswith("//") else match[0], text)
    plain = _OPAQUE.sub("", text)
    more = plain.count("(") - plain.count(")")
    if more > 0:
        text = text.split("(", more)[-1]
    elif more < 0:
        text = text.rsplit(")", -more)[0]
    text = text.strip()
    inner = text[1:-1]
    depths = accumulate((char == "(") - (char == ")") for char in _OPAQUE.sub("", inner))
    is_within = text == f"({inner})" and min(depths, default=0) >= 0
    return _bare(inner) if is_within else text


def undecided(whole: Operand, values: Sequence[Mapping[str, bool | None]]) -> list[str]:
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


def _value(operand: Operand, known: Mapping[str, bool | None]) -> bool | None:
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

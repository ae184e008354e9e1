"""Golden files: what policies must say of a whole host that a snapshot holds. What ``test`` does with them.

Input: ``*.test.yaml`` files, policies. Output: what differs; or the file's new text. Out of bounds: printing, writing.
For each policy that a file names, what it does not list must pass or be skipped, and must not be planned.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from dockwarden.config.settings import Settings
from dockwarden.config.source import load as source_of
from dockwarden.errors import ConfigError
from dockwarden.model import PolicySet, Status
from dockwarden.oneshot import look, plans, snapshot
from dockwarden.policy.document import problems
from dockwarden.policy.trial import Tried

_MOST_BYTES = 16 * 1024 * 1024
_QUIET = (Status.PASS.value, Status.SKIP.value)
ALL = "*"
"""As an object: whatever the file does not list besides."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    policy: str
    object: str


class Expected(_Shape):
    result: Status
    message: str | None = None


class Planned(_Shape):
    action: str
    outcome: Literal["planned", "kept"]


class File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    snapshot: str
    expect: list[Expected] = []
    plan: list[Planned] = []


class Said(NamedTuple):
    """What the policies say of a snapshot and would do: by policy and object."""

    results: Mapping[tuple[str, str], tuple[str, str]]
    plan: Mapping[tuple[str, str], tuple[str, str, str]]


def load(path: Path) -> File:
    """A golden file. Raises ConfigError with the place of each problem."""
    source = source_of(path, _MOST_BYTES)
    try:
        file = File.model_validate(source.data)
    except ValidationError as error:
        for where, text in problems(error, File):
            source.refuse(where, text)
        raise ConfigError(*source.problems) from None
    if not (path.parent / file.snapshot).exists():
        source.refuse(("snapshot",), f"there is no {path.parent / file.snapshot}; `dockwarden snapshot` writes one")
        raise ConfigError(*source.problems)
    return file


def said(settings: Settings, policies: PolicySet, path: Path) -> Said:
    """Judge and plan a snapshot. Raises ConfigError."""
    source = partial(snapshot.look_at, path=path)
    _, results = look.scan(settings, policies, source)
    rows, _ = plans.Planner(settings, policies, source=source).plan()
    return Said(
        {(r.policy, f"{r.ref.kind}/{r.name}"): (r.status.value, r.message) for r in results},
        {(r.policy, f"{r.subject}/{r.name}"): (r.action, r.outcome, r.reason) for r in rows},
    )


def compare(path: Path, file: File, policies: PolicySet, found: Said) -> Iterator[Tried]:
    """What came of each expectation of a file, and what it does not list; ``path``: that of the file."""
    tried = partial(_tried, path)
    known = {policy.name for policy in policies.policies}
    for row in file.expect:
        if row.policy not in known:
            yield tried(row.policy, row.object, "", "there is no such policy")
        elif row.object != ALL:
            result, message = found.results.get((row.policy, row.object), ("", ""))
            yield tried(row.policy, row.object, result, _wrong(row, result, message))
    for policy, name, result in _unlisted(file.expect, ((*key, value[0]) for key, value in found.results.items())):
        if result not in _QUIET:
            yield tried(policy, name, result, f"got {result}, and the file does not list it")
    for plan in file.plan:
        action, outcome, reason = found.plan.get((plan.policy, plan.object), ("", "", "nothing"))
        if plan.object != ALL:
            is_right = (action, outcome) == (plan.action, plan.outcome)
            got = f"{action} is {outcome} ({reason})" if action else "nothing"
            wrong = "" if is_right else f"expected that {plan.action} is {plan.outcome}, got {got}"
            yield tried(plan.policy, f"plan of {plan.object}", outcome, wrong)
    for policy, name, outcome in _unlisted(file.plan, ((*key, value[1]) for key, value in found.plan.items())):
        if outcome == "planned":
            yield tried(policy, f"plan of {name}", outcome, "planned, and the file does not list it")


def _tried(path: Path, policy: str, name: str, result: str, wrong: str) -> Tried:
    return Tried(policy, f"{name} in {path.name}", result, wrong, f"{path}:1")


def _wrong(row: Expected, result: str, message: str) -> str:
    if not result:
        return f"the snapshot has no {row.object} that the policy is about"
    if result != row.result.value:
        return f"expected {row.result.value}, got {result}"
    return "" if row.message in (None, message) else f"the message is {message!r}, not {row.message!r}"


def _unlisted(rows: Sequence[_Shape], found: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    listed, named = {(row.policy, row.object) for row in rows}, {row.policy for row in rows}
    return [each for each in found if each[0] in named and each[:2] not in listed]


def text(file: File, policies: PolicySet, found: Said) -> str:
    """A golden file as it would be right now: every result that is neither pass nor skip, every step of a plan."""
    expect: list[dict[str, Any]] = []
    for (policy, name), (result, message) in sorted(found.results.items()):
        if result not in _QUIET:
            row = {"policy": policy, "object": name, "result": result}
            expect.append(row | ({"message": message} if message else {}))
    told = {row["policy"] for row in expect}
    silent = sorted({policy.name for policy in policies.policies} - told)
    expect += [{"policy": name, "object": ALL, "result": Status.PASS.value} for name in silent]
    plan = [
        {"policy": policy, "action": action, "object": name, "outcome": outcome}
        for (policy, name), (action, outcome, reason) in sorted(found.plan.items())
        if outcome == "planned" or reason not in _QUIET
    ]
    lines = [f"snapshot: {json.dumps(file.snapshot)}"]
    for title, rows in (("expect", expect), ("plan", plan)):
        lines += [
            f"{title}:" if rows else f"{title}: []",
            *(f"  - {json.dumps(row, ensure_ascii=False)}" for row in rows),
        ]
    return "\n".join(lines) + "\n"

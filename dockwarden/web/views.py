"""The current state as rows: what the API answers and the page shows.

Input: the parts that know it; they are only read. Output: plain values. Out of bounds: HTTP, and anything dear.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Any

from dockwarden import __version__
from dockwarden.health import Health
from dockwarden.inventory.facts import fill
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.view import View
from dockwarden.model import Container, Effect, Facts, FactValue, Kind, Mode, Policy, Ref, Result, Severity, Status
from dockwarden.pipeline.enforce import Enforcer
from dockwarden.pipeline.explain import ExceptionRow, Explainer, refs_named
from dockwarden.policy.findings import Findings
from dockwarden.sinks.board import Board
from dockwarden.text import moment
from dockwarden.web.api import List
from dockwarden.web.rows import ActionRow, FindingRow, ObjectRow, PolicyRow, ScheduleRow

_FOR_PEOPLE = ("title", "description", "remediation", "refs")
_OF_POLICY = (*_FOR_PEOPLE, "name", "tags", "subject", "severity", "mode", "action", "place")


@dataclass(eq=False)
class Views:
    """What the worker left, from any thread. ``next_runs``: when jobs are due; ``now``: seconds since the epoch."""

    board: Board
    findings: Findings
    inventory: Inventory
    enforcer: Enforcer
    health: Health
    next_runs: Callable[[], Mapping[str, float]]
    now: Callable[[], float]

    def __post_init__(self) -> None:
        self.lists = {
            "findings": List(FindingRow, self._finding_rows, {"result": Status.FAIL}),
            "policies": List(PolicyRow, self._policy_rows),
            "actions": List(ActionRow, self._action_rows),
            "inventory": List(ObjectRow, self._object_rows),
            "exceptions": List(ExceptionRow, lambda: self._explainer().exceptions(self.board.use.exceptions)),
            "schedules": List(ScheduleRow, self._schedule_rows),
        }

    def status(self) -> dict[str, Any]:
        """What the pages show besides the lists."""
        severities = Counter({severity.value: 0 for severity in Severity})
        for (_, severity), count in list(self.findings.counts.items()):
            severities[severity] += count
        return {
            "version": __version__,
            "now": self.now(),
            "trouble": self.health.unready(),
            "changed_at": self.now() - (time.monotonic() - self.health.changed),
            "engine": self.inventory.info,
            "engine_up": self.health.engine_up,
            "objects": {kind.value: count for kind, count in self.inventory.counts().items()},
            "severities": severities,
            "total_open": severities.total(),
            "runs": list(self.board.runs),
        }

    def policy(self, name: str) -> dict[str, Any] | None:
        """What the page of a policy shows, None where there is no such policy."""
        row = next((row for row in self._policy_rows() if row.name == name), None)
        if row is None:
            return None
        found = [found for found in self._finding_rows() if found.policy == name]
        done = [row for row in self._done() if row.policy == name]
        it = self._explainer().policy(name, self.board.use, self._standing())
        return {"it": it, "policy": it.policy, "row": row, "rows": found, "done": done}

    def object(self, path: str) -> dict[str, Any] | None:
        """What the page of ``KIND/NAME`` shows, None where there is no such object and never was one."""
        kind, _, name = path.partition("/")
        refs = refs_named(path, self.inventory) if kind in list(Kind) else []
        known = {name, *(ref.key for ref in refs[:1])}
        acted, over = self.board.past_of(known)
        done = [ActionRow(**row) for row in acted if row["subject"] == kind]  # by whomever
        done = done or [row for row in self._done() if row.subject == kind and {row.object_id, row.name} & known]
        past = [row for row in over if row["subject"] == kind]
        shown = {"kind": kind, "name": name, "done": done, "past": past, "it": None, "kinds": list(Kind)}
        if not (refs or done or past):
            return None
        if len(refs) != 1:
            return {**shown, "meant": [(ref, self.inventory.name_of(ref)) for ref in refs]}
        it = self._explainer().object(refs[0], self.board.use.policies, self._standing(), self._facts)
        near = {(each.policy, each.id) for each in it.found}
        found = [row for row in self._finding_rows() if (row.policy, row.object_id) in near]
        return {**shown, "name": it.name or name, "it": it, "found": found}

    def _facts(self, ref: Ref, names: Sequence[str]) -> dict[str, FactValue]:
        """Those facts that are known without asking anybody."""
        sheet = Facts()
        with suppress(KeyError):  # it is gone by now
            fill(sheet, names, ref, View(self.inventory, self.now()))
        return sheet.known

    def _explainer(self) -> Explainer:
        return Explainer(self.inventory, self.findings, self.enforcer, self.now(), asks=False)

    def _standing(self) -> list[Result]:
        return self._explainer().standing({policy.name: policy.severity for policy in self.board.use.policies})

    def _finding_rows(self) -> Iterator[FindingRow]:
        """Open ones first, the worst first, and of those the newest; then what is no finding, or not yet."""
        policies = {policy.name: policy for policy in self.board.use.policies}
        opened = {(found.result.policy, found.result.ref): found.opened_at for found in self.findings.open()}
        rows = [(result, opened.get((result.policy, result.ref), 0.0)) for result in self._standing()]
        rows.sort(key=lambda row: (row[0].status is not Status.FAIL, row[0].severity.rank, -row[1]))
        ends = {each.id: each.until_at or inf for each in self.board.use.exceptions}
        for result, at in rows:
            yield _finding_row(result, at or None, policies.get(result.policy), ends)

    def _policy_rows(self) -> Iterator[PolicyRow]:
        due = self.next_runs()
        counts = Counter((result.policy, result.status) for result in self._standing())
        for policy in sorted(self.board.use.policies, key=lambda policy: policy.name):
            yield PolicyRow(
                **{name: getattr(policy, name) for name in _OF_POLICY},
                findings=counts[policy.name, Status.FAIL],
                pending=counts[policy.name, Status.PENDING],
                excused=counts[policy.name, Status.EXCUSED],
                unknown=counts[policy.name, Status.UNKNOWN] + counts[policy.name, Status.ERROR],
                events=tuple(sorted(policy.trigger.events)),
                schedule=policy.trigger.schedule,
                every_seconds=policy.trigger.every_seconds,
                next_run_at=None if policy.mode is Mode.OFF else due.get(policy.name),
            )

    def _schedule_rows(self) -> Iterator[ScheduleRow]:
        for row in self._policy_rows():
            if row.schedule or row.every_seconds:
                times = (row.next_run_at, self.board.last_runs.get(row.name))
                yield ScheduleRow(row.name, row.mode, row.schedule, row.every_seconds, *times)

    def _action_rows(self) -> Iterator[ActionRow]:
        undoable = self.board.undoable
        for row in list(self.board.actions):
            yield ActionRow(**{**row, "undoable_until": undoable.get(row["id"] or 0)})

    def _done(self) -> Iterator[ActionRow]:
        """What was done, or was to be done and was not; not what audit mode only previews."""
        return (row for row in self._action_rows() if row.outcome is not Effect.AUDITED)

    def _object_rows(self) -> Iterator[ObjectRow]:
        inventory = self.inventory
        for kind in Kind:
            for ref in inventory.all(kind):
                thing = inventory.get(ref)
                more: dict[str, str] = {}
                if isinstance(thing, Container):
                    more = {"image": thing.image_ref, "image_id": thing.image_id, "state": thing.state}
                elif kind is Kind.TAG and thing is not None:
                    more = {"image_id": inventory.tags.get(ref.key, "")}
                yield ObjectRow(kind, ref.key, inventory.name_of(ref), **more)


def _finding_row(
    result: Result, opened_at: float | None, policy: Policy | None, ends: Mapping[str, float]
) -> FindingRow:
    is_excused = result.status is Status.EXCUSED and result.reason
    excuses = tuple(result.reason.split(", ")) if is_excused else result.excuse.ids
    last = max((ends.get(each, inf) for each in excuses), default=inf)
    return FindingRow(
        policy=result.policy,
        severity=result.severity,
        result=result.status,
        subject=result.ref.kind,
        object_id=result.ref.key,
        name=result.name,
        message=result.message,
        reason="" if is_excused else result.reason,
        opened_at=opened_at,
        exceptions=excuses,
        until=last if last < inf else None,
        evidence={name: _plain(value) for name, value in result.evidence.items()},
        **({name: getattr(policy, name) for name in _FOR_PEOPLE} if policy else {}),
    )


def _plain(value: object) -> object:
    """A fact's value for JSON: durations in seconds, times in RFC 3339."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return moment(value) if isinstance(value, datetime) else value

"""A plan by itself: made, saved, read again and carried out. What ``plan`` and ``apply`` do.

Input: settings, policies, the file of a saved plan. Output: rows, steps, outcomes. Out of bounds: printing, asking,
deciding: what goes and what stays is decided as the daemon decides it, by the same planner.
"""

import json
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from dockwarden.actions.plan import with_bytes
from dockwarden.actions.table import ORDER, verb_of
from dockwarden.actions.verb import Gain
from dockwarden.app import open_to_read
from dockwarden.config.settings import Settings
from dockwarden.errors import DockwardenError
from dockwarden.inventory.gather import REGISTRY
from dockwarden.model import EngineInfo, Kind, Limits, Mode, Outcome, Plan, Policy, PolicySet, Ref, Result, Status, Step
from dockwarden.oneshot.look import PartsOf, finish, look
from dockwarden.pipeline.judge import Sweep
from dockwarden.policy import snapshots
from dockwarden.text import in_bytes

_MOST_BYTES = 64 * 1024 * 1024
_Key = tuple[str, str, str, str]
"""Of a step or a row: policy, action, and the object's kind and id."""


class PlanRow(NamedTuple):
    """What a plan says of one object: ``outcome`` is planned or kept, ``reason`` the rule in one word.

    Attributes:
        bytes: what the disk gains by this step, after those before it; None where that is not known.
        result: what the policy says of the object; "" where nobody asked it any more.
    """

    policy: str
    action: str
    subject: str
    object_id: str
    name: str
    outcome: str
    reason: str
    detail: str
    bytes: int | None
    result: str = ""

    @property
    def is_found(self) -> bool:
        return bool(self.result) and Status(self.result).is_found


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SavedStep(_Shape):
    """A step of a saved plan. ``identity`` tells the object from a later one of the same name."""

    policy: str
    action: str
    subject: Kind
    object_id: str
    name: str
    identity: str
    bytes: int | None

    @property
    def key(self) -> _Key:
        return self.policy, self.action, self.subject.value, self.object_id

    @property
    def ref(self) -> Ref:
        return Ref(self.subject, self.object_id)


class SavedPlan(_Shape):
    """A plan as it is saved. Steps may be taken out of the file by hand; what is put in is not carried out."""

    format: Literal["dockwarden plan"] = "dockwarden plan"
    version: Literal[1] = 1
    made_at: float
    engine: str
    engine_name: str
    over_limits: bool = False
    steps: list[SavedStep]


_Judged = Mapping[str, Sequence[Result]]
"""What came of judging once: the results of each policy whose gate is open."""


class Planner:
    """One look at one engine, and plans of it.

    ``acts``: they may be carried out, so the ledger is opened to write. ``over_limits``: somebody looks at them first,
    so that limits do not hold. ``watched_seconds``: as if everything had been watched for so much longer.
    """

    def __init__(
        self,
        settings: Settings,
        policies: PolicySet,
        *,
        acts: bool = False,
        over_limits: bool = False,
        watched_seconds: float = 0.0,
        source: PartsOf | None = None,
    ) -> None:
        """Raises EngineUnavailableError. ``source`` stands for ``look``."""
        chosen = [policy for policy in policies.policies if policy.action and policy.mode is not Mode.OFF]
        if over_limits:
            none, again = Limits(sys.maxsize, 100.0), {"over_limits": True}
            chosen = [policy._replace(limits=none, options={**policy.options, **again}) for policy in chosen]
        self.policies = sorted(chosen, key=lambda policy: (ORDER.index(policy.subject), policy.name))
        self._parts, self.info = (source or partial(look, writes=acts))(settings, policies)
        self._is_measured = True
        self._reopens = source is None and not acts
        self._settings = settings
        clock = self._parts.inventory.memory.clock
        self.watched_seconds = clock.read()
        clock.resume(self.watched_seconds + watched_seconds)
        self._parts.findings.head_start_seconds = self._parts.inventory.head_start_seconds = watched_seconds

    def close(self) -> None:
        self._parts.close()

    def plan(self) -> tuple[list[PlanRow], list[Step]]:
        """What would be done now, and of every object that stays, why."""
        judged = self._judge()
        if self._reopens:  # it has what was done, and what is barred; not while registries are asked, as others write
            open_to_read(self._settings, self._parts.ledger)
        planned = self._plan(judged)
        steps = [step for plan in planned.values() for step in plan.steps]
        rows = [self._planned(step) for step in steps]
        for policy in self.policies:
            rows += self._kept(policy, planned[policy.name], judged)
        return rows, steps

    def still(self, saved: SavedPlan) -> tuple[Sequence[Step], list[PlanRow]]:
        """The steps of a saved plan still to be taken, and why not the others. DockwardenError: of another engine."""
        if saved.engine != self.info.identity:
            raise DockwardenError(f"the plan is of another engine, {saved.engine_name}; this one is {self.info.name}")
        wanted = {step.key: step for step in saved.steps}
        asked = {(step.policy, step.ref) for step in saved.steps}
        self.policies = [policy for policy in self.policies if policy.name in {name for name, _ in asked}]
        judged = self._judge()
        only = {name: [r for r in found if (name, r.ref) in asked] for name, found in judged.items()}
        planned = self._plan(only)
        now = {_named(step)[:4]: step for plan in planned.values() for step in plan.steps}
        # In the order of the saved plan, on which hangs what each of them frees.
        again = [now[key] for key, step in wanted.items() if key in now and step.identity == identity_of(now[key])]
        steps = self._sized(again)
        going = {(step.policy, step.ref) for step in steps}
        rows = [row for policy in self.policies for row in self._kept(policy, planned[policy.name], judged)]
        why = {row[:4]: row for row in rows}
        left = [step for step in saved.steps if (step.policy, step.ref) not in going]
        return steps, [_not_any_more(step, why, now) for step in left]

    def carry_out(self, steps: Sequence[Step]) -> Iterator[Outcome]:
        run = uuid.uuid4().hex[:12]
        for policy in self.policies:
            due = [step for step in steps if step.policy == policy.name]
            yield from self._parts.enforcer.carry_out(policy, due, run)

    def _judge(self) -> _Judged:
        parts, now, sweep = self._parts, self._parts.now(), Sweep()
        opened = parts.judge.allowed(self.policies, now)
        work = parts.judge.everything(opened)
        sized = [policy.name for policy in opened if verb_of(policy).gain is Gain.LAYERS]
        finish(parts, parts.judge.sweep(work, sweep, depth=REGISTRY, now=now, keep_all=True, sized=sized))
        counted = {policy.name for policy in opened if verb_of(policy).gain is Gain.USAGE}
        if any(result.policy in counted and result.status is Status.FAIL for result in sweep.results):
            parts.collector.usage()
        results: dict[str, list[Result]] = {policy.name: [] for policy in opened}
        for result in sweep.results:
            results[result.policy].append(result)
        return results

    def _plan(self, judged: _Judged) -> dict[str, Plan]:
        """The plan of each policy; what one takes, none after it takes, and the bytes are those of all together."""
        planned: dict[str, Plan] = {}
        taken: set[Ref] = set()
        for policy in self.policies:
            found = (result for result in judged.get(policy.name, ()) if result.status.is_found)
            plan = self._parts.enforcer.plan(policy, [result for result in found if result.ref not in taken])
            taken.update(step.ref for step in plan.steps)
            planned[policy.name] = plan
        every = iter(self._sized([step for plan in planned.values() for step in plan.steps]))
        return {name: plan._replace(steps=tuple(next(every) for _ in plan.steps)) for name, plan in planned.items()}

    def _sized(self, steps: Sequence[Step]) -> Sequence[Step]:
        """The steps with the bytes that they free in this order, as far as images were measured."""
        inventory = self._parts.inventory
        self._is_measured = inventory.is_measured
        return with_bytes(steps, inventory.shares().freed) if self._is_measured else steps

    def size_of(self, step: Step) -> int | None:
        """What the disk gains by a step, after those before it; None where that is not known."""
        gain = verb_of(step).gain
        is_known = self._is_measured if gain is Gain.LAYERS else gain is not Gain.UNTOLD
        return step.planned_bytes if is_known else None

    def _planned(self, step: Step) -> PlanRow:
        size = self.size_of(step)
        wrote = f"; {in_bytes(size)} that it wrote go with it" if size and step.ref.kind is Kind.CONTAINER else ""
        more = self._parts.enforcer.foresee(step)
        told = step.why + wrote + (f"; {more}" if more else "")
        return PlanRow(*_named(step), "planned", "finding", told, size, Status.FAIL)

    def _kept(self, policy: Policy, plan: Plan, judged: _Judged) -> Iterator[PlanRow]:
        said = {result.ref: result.status for result in judged.get(policy.name, ())}
        for outcome in plan.kept:
            yield PlanRow(*_named(outcome), "kept", outcome.reason, outcome.detail, None, said[outcome.ref])
        told = {outcome.ref for outcome in plan.kept} | {step.ref for step in plan.steps}
        for result in judged.get(policy.name, ()):
            if result.ref not in told:
                why = "planned", "another policy takes it"
                if not result.status.is_found:
                    why = self._parts.enforcer.why_unplanned(policy, result)
                row = (policy.name, policy.action, result.ref.kind.value, result.ref.key, result.name)
                yield PlanRow(*row, "kept", *why, None, result.status)
        if policy.name not in judged:
            what = (policy.name, policy.action, policy.subject.value, "", "*")
            yield PlanRow(*what, "kept", "gate", "its gate is closed", None)


def identity_of(step: Step) -> str:
    """What tells the object of a step from a later one of the same name."""
    identity = verb_of(step).identity(step.object)
    return f"{identity} {step.digest}" if step.digest and not verb_of(step).removes else identity


def saved(info: EngineInfo, rows: Sequence[PlanRow], steps: Sequence[Step], *, over_limits: bool = False) -> str:
    """The file of a plan. ``rows`` begin with those of the steps; ``over_limits`` as it was planned."""
    parts = [
        SavedStep(
            policy=step.policy,
            action=step.action,
            subject=step.ref.kind,
            object_id=step.ref.key,
            name=step.name,
            identity=identity_of(step),
            bytes=row.bytes,
        )
        for step, row in zip(steps, rows, strict=False)
    ]
    plan = SavedPlan(
        made_at=time.time(), engine=info.identity, engine_name=info.name, over_limits=over_limits, steps=parts
    )
    return json.dumps(plan.model_dump(mode="json"), indent=2) + "\n"


def read(path: Path) -> SavedPlan:
    """A saved plan. Raises ConfigError where the file is none, or one of another version."""
    return snapshots.read(path, SavedPlan, _MOST_BYTES)


def _named(what: Step | Outcome) -> tuple[str, str, str, str, str]:
    return what.policy, what.action, what.ref.kind.value, what.ref.key, what.name


def _not_any_more(step: SavedStep, why: Mapping[_Key, PlanRow], now: Mapping[_Key, Step]) -> PlanRow:
    row = why.get(step.key) or why.get((*step.key[:3], ""))
    if row is not None:
        return row._replace(object_id=step.object_id, name=step.name)
    gone = ("gone", "it, its policy or its action is gone")
    rule = ("changed", "it is another one now") if step.key in now else gone
    return PlanRow(*step.key, step.name, "kept", *rule, None)

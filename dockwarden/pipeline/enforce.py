"""Acting on what a run found: candidates for the planner, the plan, and its execution where the policy enforces.

Input: one policy and its findings of a run. Output: plans and outcomes. Out of bounds: judging, deciding whether a
finding may act at all, and recording. Audit mode means that the plan is not executed; there is no other difference.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from typing import assert_never

import structlog

from dockwarden.actions.containers import is_aside, successor
from dockwarden.actions.execute import Executor
from dockwarden.actions.plan import keep, plan, protecting
from dockwarden.actions.table import verb_of
from dockwarden.actions.verb import GAVE_UP, Gain
from dockwarden.errors import LedgerError
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.container_facts import labels_that_count, orchestrator_of
from dockwarden.inventory.live import Inventory
from dockwarden.mishaps import Mishaps
from dockwarden.model.needs import may_be_needed
from dockwarden.model.objects import Container, EngineInfo, Image, Network, Ref, Service, Thing, ref_of
from dockwarden.model.outcomes import Candidate, Outcome, Plan, Step
from dockwarden.model.policies import Answer, Policy, Program, Result
from dockwarden.model.words import Effect, Kind, Mode, Status
from dockwarden.ports import Intents
from dockwarden.text import span

_OF_AGE = ("too_young", "waiting")
_TELL_SECONDS = 10.0
_log = structlog.get_logger("dockwarden")


@dataclass(eq=False)
class Enforcer:
    """Acts on one engine.

    ``executor``: one for a plan; ``ask_host`` measures anew; ``now``: the time; ``own_container``: an ID or "".
    """

    inventory: Inventory
    collector: Collector
    intents: Intents
    executor: Callable[[EngineInfo], Executor]
    ask_host: Callable[[Program], Answer]
    now: Callable[[], float]
    minimum_stay_seconds: float
    own_container: str
    mishaps: Mishaps = field(default_factory=Mishaps)

    def act(self, policy: Policy, findings: Sequence[Result], run: str) -> tuple[list[Outcome], str]:
        """Plan, and carry out what may be; gives what became of each object, and why a plan was refused as a whole."""
        outlived = tuple(self._outlived(policy)) if policy.mode is Mode.ENFORCE else ()
        if not (findings or outlived):
            return [], ""  # as for nearly all policies after each event
        planned, info = self.plan(policy, findings), self.inventory.info
        refused = info.only_audited if info and planned.steps and policy.mode is Mode.ENFORCE else ""
        if policy.mode is Mode.ENFORCE and not refused:
            for outcome in planned.kept:
                if outcome.reason == GAVE_UP and isinstance(thing := self.inventory.get(outcome.ref), Container):
                    self.inventory.memory.give_up(thing)
            before = self.carry_out(policy, outlived, run)
            acts = chain(before, self.carry_out(policy, planned.steps, run, planned.spare))
            done = list(_telling(acts, policy.name, run, len(outlived) + len(planned.steps)))
        else:
            done = [step.ended(Effect.AUDITED, "audit", step.why) for step in planned.steps]
        tried = {outcome.ref for outcome in done} if planned.spare else set()
        return [*(outcome for outcome in planned.kept if outcome.ref not in tried), *done], planned.error or refused

    def _outlived(self, policy: Policy) -> Iterator[Step]:
        """What an update of the policy left aside long enough ago: it goes as any container does, with a recipe.

        Unless it is protected, somebody gave it another name, or another container needs it to start. One that was
        started beside its successor, as Compose does with all of a service, stops: both have the same volumes.
        """
        keep: timedelta | None = policy.options.get("keep_old")
        if keep is None:
            return
        for key, age in self.intents.aside(policy.name):
            ref, thing = Ref(Kind.CONTAINER, key), self.inventory.containers.get(key)
            if thing is None or not is_aside(thing) or protecting(policy.protect, ref, thing.name, thing):
                continue
            if thing.running:
                every = self.inventory.containers.values()
                if any(c.name == successor(thing) and c.state == "running" for c in every):  # else it serves instead
                    yield Step(policy.name, "stop", ref, thing.name, thing, "its successor runs on the same volumes")
            elif age >= keep.total_seconds():
                why, after = f"an update replaced it {span(age)} ago", {"after": self._users([ref])}
                yield Step(policy.name, "remove", ref, thing.name, thing, why, after)

    def plan(self, policy: Policy, findings: Sequence[Result], *, asks: bool = True) -> Plan:
        """What would be done about these findings now; without ``asks`` as far as is known without the engine."""
        if findings and asks:
            self.collector.ask_needs()  # which no event tells
        reading = self.inventory.memory.clock.read()  # once, or the order of the findings would show in their ages
        candidates: list[Candidate] = []
        kept: list[Outcome] = []
        for result in findings:
            try:
                if (found := self._candidate(policy, result, reading)) is not None:
                    keep(policy, found, self.minimum_stay_seconds, {})  # which shows whether it can be planned at all
                    candidates.append(found)
            except Exception as error:  # noqa: BLE001 - of our own
                why = self.mishaps.note("plan", error, policy=policy.name, name=result.name)
                about = policy.name, policy.action, result.ref, result.name
                kept.append(Outcome(*about, Effect.FAILED, "error", detail=why))
        if not candidates or self.inventory.info is None:
            return Plan(policy.name, kept=tuple(kept))
        population = 1 if policy.subject is Kind.HOST else self.inventory.counts()[policy.subject]
        is_of_images = verb_of(policy).gain is Gain.LAYERS
        frees = self.inventory.shares().freed if is_of_images and self.inventory.is_measured else None
        while True:
            planned = plan(policy, candidates, population, self.minimum_stay_seconds, frees)
            useless = self.executor(self.inventory.info).useless(planned.steps) if asks else []
            if not useless:
                return planned._replace(kept=(*kept, *planned.kept))
            kept += useless  # which shall take nobody's place within the limits
            staying = {outcome.ref for outcome in useless}
            candidates = [each for each in candidates if each.result.ref not in staying]

    def foresee(self, step: Step) -> str:
        return self.executor(self.inventory.info).foresee(step) if self.inventory.info else ""

    def why_unplanned(self, policy: Policy, result: Result) -> tuple[str, str]:
        """Why an object stays that no plan of the policy is about: in one word, and in words whom the rule serves."""
        if result.status in (Status.UNKNOWN, Status.ERROR):
            return result.status.value, result.reason
        candidate = self._candidate(policy, result, self.inventory.memory.clock.read())
        rule, detail = keep(policy, candidate, self.minimum_stay_seconds, {}) if candidate else ("", "")
        if rule and rule not in _OF_AGE:  # which would keep it even if the policy found fault with it
            return rule, detail
        return result.status.value, "`when` is false" if result.status is Status.PASS else "`select` is false"

    def carry_out(
        self, policy: Policy, steps: Sequence[Step], run: str, spare: Sequence[Step] = ()
    ) -> Iterator[Outcome]:
        """Carry out steps of a plan, until ``stop_when`` is true or cannot be told; one process at a time does so.

        ``spare`` ones follow in place of those whose objects stay, or the same first ones would use up every run.
        """
        info = self.inventory.info
        if not steps or info is None:
            return
        left, most = [*steps, *spare], len(steps)
        executor = self.executor(info)
        try:
            with self.intents.alone():
                while due := left[:most]:
                    try:
                        for outcome in executor.run(run, tuple(due), lambda: self._enough(policy)):
                            self._note_gone(left.pop(0), outcome)
                            most -= outcome.took
                            yield outcome
                    except LedgerError:
                        raise
                    except Exception as error:  # noqa: BLE001 - of our own; what it had begun is found out later
                        step = left.pop(0)
                        why = self.mishaps.note("execute", error, policy=policy.name, name=step.name)
                        yield step.ended(Effect.FAILED, "error", why)
        except LedgerError as error:
            yield from (step.ended(Effect.REFUSED, "ledger", str(error)) for step in left[:most])

    def _note_gone(self, step: Step, outcome: Outcome) -> None:
        is_gone = outcome.effect is Effect.APPLIED and verb_of(step).removes
        if is_gone and step.object is not None and outcome.reason != "untagged":
            self.inventory.leaving.add(ref_of(step.object))

    def _enough(self, policy: Policy) -> str:
        """Why no further step may follow; empty if one may."""
        if policy.stop_when is None:
            return ""
        answer = self.ask_host(policy.stop_when)
        if answer.value is False:
            return ""
        trouble = f"{answer.missing} is not known" if answer.missing else answer.error
        return f"stop_when: {trouble or 'it is true now'}"

    def _candidate(self, policy: Policy, result: Result, reading: float) -> Candidate | None:
        """What the planner must know of the object of a result; None if it is gone, or what the action is not about."""
        inventory, ref = self.inventory, result.ref
        if ref.kind is not policy.subject:
            return None
        if ref.kind is Kind.HOST:
            return Candidate(result, None, (), (), float("inf"), own=False)
        thing = inventory.get(ref)
        if thing is None:
            return None
        tags, image, now = inventory.tags_of(ref), inventory.image_of(ref), self.now()
        is_counted = verb_of(policy).counts
        own_labels = labels_that_count(thing, image) if isinstance(thing, Container) else thing.labels
        return Candidate(
            result=result,
            object=thing,
            users=self._users([inventory.watched(ref)]),
            tag_users=self._users([Ref(Kind.TAG, tag) for tag in tags]),
            known_for_seconds=inventory.at_most_its_age(inventory.known_for(ref, reading), thing, now),
            own=self._is_own(ref),
            owner=_owner(thing, own_labels),
            inherited=frozenset(thing.labels.keys() - own_labels.keys()),
            idle_seconds=inventory.at_most_its_age(inventory.idle_for(ref), thing, now),
            size_bytes=self._size(ref),
            ages=tuple(self.intents.ages(policy.action, ref)) if is_counted else (),
            given_up=is_counted and inventory.memory.is_given_up(ref),
            maybe_needed=may_be_needed(inventory.needs, thing),
        )

    def _is_own(self, ref: Ref) -> bool:
        way = self.inventory.info.way if self.inventory.info else ""
        own = {Ref(Kind.CONTAINER, each) for each in (self.own_container, way)}
        if ref.kind is Kind.SERVICE:
            task = self.inventory.containers.get(self.own_container)
            return task is not None and task.labels.get("com.docker.swarm.service.id") == ref.key
        users = (user for name in self.inventory.near(ref) for user in self.inventory.users_of(name))
        return ref in own or not own.isdisjoint(users)

    def _size(self, ref: Ref) -> int:
        if (usage := self.collector.known_usage) is None:
            return 0
        match ref.kind:
            case Kind.CONTAINER:
                return usage.containers.get(ref.key, 0)
            case Kind.VOLUME:
                return usage.volumes.get(ref.key, 0)
            case Kind.IMAGE | Kind.TAG | Kind.NETWORK | Kind.SERVICE | Kind.HOST:
                return 0
            case _:
                assert_never(ref.kind)

    def _users(self, refs: Sequence[Ref]) -> tuple[str, ...]:
        inventory = self.inventory
        containers = {user for ref in refs for user in inventory.users_of(ref)}
        services = {service for ref in refs for service in inventory.needed_by(ref)}
        return (*sorted(inventory.name_of(user) for user in containers), *sorted(services))


def _telling(outcomes: Iterable[Outcome], policy: str, run: str, planned: int) -> Iterator[Outcome]:
    """The same, as they come; what takes long says from time to time how far it is."""
    told_at = time.monotonic()
    for number, outcome in enumerate(outcomes, 1):
        if time.monotonic() - told_at >= _TELL_SECONDS:
            told_at = time.monotonic()
            _log.info("run.acting", run=run, policy=policy, done=number, planned=planned, name=outcome.name)
        yield outcome


def _owner(thing: Thing, labels: Mapping[str, str]) -> str:
    if isinstance(thing, Network) and thing.is_of_swarm:
        return "swarm"
    # To change its services is how a swarm is told what to do, also where a stack file made them.
    return "" if isinstance(thing, Image | Service) else orchestrator_of(labels)

"""The worker: the one thread that sees the whole pipeline, and the only place that knows the order of its stages.

    take from the queue > collect > judge > plan > execute > report

Input: batches of the queue. Output: reports to the sinks. Out of bounds: what any stage does inside. Judging is done in
slices and events come first, so nothing waits for a long nightly run; acting is never sliced.
"""

import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from dockwarden.errors import DockwardenError
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.gather import INSPECT, REGISTRY
from dockwarden.inventory.live import Inventory
from dockwarden.metrics import Metrics
from dockwarden.model import (
    Cause,
    Change,
    Kind,
    Mode,
    Outcome,
    Policy,
    PolicySet,
    Ref,
    Report,
    Result,
    Status,
)
from dockwarden.pipeline.enforce import Enforcer
from dockwarden.pipeline.judge import Judge, Sweep, Work
from dockwarden.pipeline.upkeep import Upkeep
from dockwarden.ports import BELIEVED_SECONDS, Sink
from dockwarden.sinks.ledger import Ledger
from dockwarden.triggers.queue import Batch, Queue
from dockwarden.triggers.schedule import interval_seconds

_SLICE_SECONDS = 0.02
_IDLE_SECONDS = 10.0
_OF_IMAGES = (Kind.IMAGE, Kind.TAG)
_LONGEST_BELIEVED_SECONDS = 12 * 3600.0
_log = structlog.get_logger("dockwarden.worker")


@dataclass
class _Run:
    """One run under way: its sweep, and who may act on what it finds (None: every policy on every object)."""

    steps: Iterator[bool]
    sweep: Sweep
    cause: Cause
    policies: Mapping[str, Policy]
    acting: frozenset[tuple[str, Ref]] | None
    job: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    started: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.time)
    errors: list[str] = field(default_factory=list)


class Worker:
    """Handles batches until the queue is closed."""

    def __init__(  # noqa: PLR0913 - the one place that holds every stage
        self,
        *,
        queue: Queue,
        upkeep: Upkeep,
        inventory: Inventory,
        collector: Collector,
        judge: Judge,
        enforcer: Enforcer,
        ledger: Ledger,
        metrics: Metrics,
        sinks: Sequence[Sink],
    ) -> None:
        self._inventory = inventory
        self._collector = collector
        self._judge = judge
        self._enforcer = enforcer
        self._queue = queue
        self._upkeep = upkeep
        self._ledger = ledger
        self._metrics = metrics
        self._sinks = sinks
        self._policies: dict[str, Policy] = {}
        self._runs: deque[_Run] = deque()
        self._started = False
        self.acting = False

    # -- the loop -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the queue is closed; what is left undone then is found again at the next start."""
        self._ledger.open()
        self._judge.findings.recall(self._ledger.open_findings())
        waiting = False
        while not self._queue.closed:
            self._metrics.health.beats["worker"] = time.monotonic()
            idle = min(_IDLE_SECONDS, self._upkeep.patience_seconds)
            batch = self._queue.take(idle if waiting or not self._runs else 0)
            if batch is not None:
                self._handle(batch)
            waiting = self._advance()
            if self._upkeep.is_due(time.monotonic()):
                self._queue.submit_resync("interval")
        self._upkeep.save()
        self._ledger.close()

    def _handle(self, batch: Batch) -> None:
        if batch.policies is not None:
            self._use(batch.policies)
        began = time.monotonic()
        changes = self._upkeep.look(batch)
        if not batch.resync:
            self._queue.spend(time.monotonic() - began)
        if changes is None:
            for job in batch.jobs:
                self._skip_job(job)
            return
        self._judge.gatherer.note_pulls(changes, time.time())
        if batch.resync and (ended := self._upkeep.end_intents()):
            self._report(self._new_run(iter(()), Sweep(), Cause.STARTUP, frozenset()), ended)
        if not self._started:
            if self._inventory.complete and self._policies:
                self._start()
        else:
            self._changed(changes)
            if batch.resync:
                self._ask_again()
            self._observe_reactions(batch)
        for job in batch.jobs:
            self._fire(job)

    def _observe_reactions(self, batch: Batch) -> None:
        now_ns = time.time_ns()
        for hint, at_ns in batch.dirty:
            if hint.kind is not Kind.TAG:  # the same event marked an image
                self._metrics.reaction.observe(max(0.0, (now_ns - at_ns) / 1e9))

    def _advance(self) -> bool:
        """Give the first run that can go on a slice of time; true if all of them wait for somebody's answer."""
        for _ in range(len(self._runs)):
            run = self._runs[0]
            deadline = time.monotonic() + _SLICE_SECONDS
            for waits in run.steps:
                if waits:
                    break
                if time.monotonic() > deadline:
                    return False
            else:
                self._runs.popleft()
                self._conclude(run)
                return False
            self._runs.rotate(-1)
        return bool(self._runs)

    # -- what is due ----------------------------------------------------------------------------------------

    def _use(self, policies: PolicySet) -> None:
        active = [policy for policy in policies.policies if policy.mode is not Mode.OFF]
        self._policies = {policy.name: policy for policy in active}
        self._runs.clear()
        resolved = self._judge.findings.keep_only(self._policies)
        self._report(self._new_run(iter(()), Sweep(resolved=resolved), Cause.REQUEST, frozenset()), (), policies)
        if self._started:
            self._start()

    def _start(self) -> None:
        """Judge everything once, so that metrics tell the truth from the start; only a trigger acts."""
        self._started = True
        gone = [ref for ref in self._judge.findings.refs() if not self._inventory.has(ref)]
        sweep = Sweep(resolved=self._judge.findings.drop_objects(gone))
        now = time.time()
        work: list[Work] = []
        for kind in Kind:
            policies = [p for p in self._policies.values() if p.subject is kind and self._judge.host_allows(p, now)]
            work += [(ref, policies) for ref in self._inventory.all(kind)] if policies else []
        self._begin(work, sweep, Cause.STARTUP, INSPECT, acting=frozenset())

    def _changed(self, changes: Sequence[Change]) -> None:
        """Judge what the changes touched by the policies that listen to them, and open findings on it again."""
        causes: dict[Ref, set[str]] = {}
        for change in changes:
            for kind, keys in self._inventory.dependents(change.ref).items():
                for key in keys:
                    causes.setdefault(Ref(kind, key), set()).add(change.cause)
        gone = [ref for ref in causes if not self._inventory.has(ref)]
        sweep = Sweep(resolved=self._judge.findings.drop_objects(gone))
        now = time.time()
        work: list[Work] = []
        acting: set[tuple[str, Ref]] = set()
        for ref, why in causes.items():
            again = self._judge.findings.policies_on(ref)
            listening = [p for p in self._policies.values() if p.subject is ref.kind and p.trigger.events & why]
            listening = [p for p in listening if self._judge.host_allows(p, now)]
            acting.update((policy.name, ref) for policy in listening)
            judged = {p.name: p for p in listening} | {n: self._policies[n] for n in again if n in self._policies}
            if judged:
                work.append((ref, tuple(judged.values())))
        if work or sweep.resolved:
            depth = REGISTRY if acting else INSPECT
            self._advance_first(self._begin(work, sweep, Cause.EVENT, depth, acting=frozenset(acting)))

    def _ask_again(self) -> None:
        """Judge again what could not be judged; what only a registry knows waits for its policy's own trigger."""
        work = [
            (ref, (policy,))
            for name, ref in self._judge.findings.unknown()
            if (policy := self._policies.get(name)) is not None and policy.on_unknown == "retry"
        ]
        if work:
            self._begin(work, Sweep(), Cause.EVENT, INSPECT, acting=frozenset())

    def _advance_first(self, run: _Run) -> None:
        """What an event asks for comes before everything that waits, unless it must wait for a registry itself."""
        self._runs.remove(run)
        for waits in run.steps:
            if waits:
                self._runs.append(run)
                return
        self._conclude(run)

    def _fire(self, job: str) -> None:
        policy = self._policies.get(job)
        if policy is None or not self._started:
            return
        if not self._metrics.health.engine_up:
            self._skip_job(job)
            return
        if not self._judge.host_allows(policy, time.time()):
            self._report(self._new_run(iter(()), Sweep(), Cause.SCHEDULE, frozenset(), job), ())
            return
        work = [(ref, (policy,)) for ref in self._inventory.all(policy.subject)]
        self._begin(work, Sweep(), Cause.SCHEDULE, REGISTRY, acting=None, job=job, max_age_seconds=_max_age(policy))

    def _skip_job(self, job: str) -> None:
        """What we remember of an engine that does not answer is no basis for a judgement."""
        if job in self._policies:
            run = self._new_run(iter(()), Sweep(), Cause.SCHEDULE, frozenset(), job)
            run.errors.append(f"{job}: the engine is not available")
            self._report(run, ())

    def _begin(
        self,
        work: Sequence[Work],
        sweep: Sweep,
        cause: Cause,
        depth: int,
        *,
        acting: frozenset[tuple[str, Ref]] | None,
        job: str = "",
        max_age_seconds: float = BELIEVED_SECONDS,
    ) -> _Run:
        sized = [job] if job and self._policies[job].action and self._policies[job].subject in _OF_IMAGES else ()
        steps = self._judge.sweep(
            work, sweep, depth=depth, now=time.time(), sized=sized, max_age_seconds=max_age_seconds
        )
        run = self._new_run(steps, sweep, cause, acting, job)
        self._runs.append(run)
        return run

    def _new_run(
        self,
        steps: Iterator[bool],
        sweep: Sweep,
        cause: Cause,
        acting: frozenset[tuple[str, Ref]] | None,
        job: str = "",
    ) -> _Run:
        return _Run(steps, sweep, cause, self._policies, acting, job)

    # -- acting and reporting -------------------------------------------------------------------------------

    def _conclude(self, run: _Run) -> None:
        self._metrics.evaluation_seconds.observe(time.monotonic() - run.started)
        outcomes: list[Outcome] = []
        for policy in run.policies.values():
            if policy.action and (run.acting is None or run.acting):
                due = [r for r in run.sweep.results if r.policy == policy.name and self._may_act(r, run)]
                self.acting = bool(due)
                done, error = self._enforcer.act(policy, due, run.id)
                self.acting = False
                outcomes += done
                run.errors += [f"{policy.name}: {error}"] if error else []
        self._report(run, outcomes)

    def _may_act(self, result: Result, run: _Run) -> bool:
        if result.policy not in self._judge.findings.policies_on(result.ref):
            return False  # an event came during the sweep, and by what it showed the object passes
        return result.status is Status.FAIL and (run.acting is None or (result.policy, result.ref) in run.acting)

    def _report(self, run: _Run, outcomes: Sequence[Outcome], policies: PolicySet | None = None) -> None:
        sweep, findings = run.sweep, self._judge.findings
        report = Report(
            run.id,
            run.cause,
            run.started_at,
            time.monotonic() - run.started,
            sweep.judged,
            tuple(sweep.opened),
            tuple(sweep.resolved),
            tuple(sweep.troubled),
            tuple(outcomes),
            (*run.errors, *self._collector.take_troubles()),
            run.job,
            self._inventory.memory.clock.read(),
            dict(findings.counts),
            dict(findings.unknown_counts),
            policies,
        )
        for sink in self._sinks:
            try:
                sink.record(report)
            except Exception as error:  # noqa: BLE001 - one sink's trouble is none of the others'
                told = isinstance(error, DockwardenError)  # as the ledger does, once
                write = _log.debug if told else _log.error
                write("run.unreported", sink=type(sink).__name__, error=str(error), exc_info=None if told else error)
                self._metrics.errors.labels("report").inc()


def _max_age(policy: Policy) -> float:
    """How old a registry's answer may be for a policy: half of its interval, so that its own last one never is.

    What another policy has asked meanwhile, it need not ask; and what moves is seen after one and a half intervals.
    """
    if policy.cost < REGISTRY:
        return BELIEVED_SECONDS
    return min(max(BELIEVED_SECONDS, interval_seconds(policy.trigger) / 2), _LONGEST_BELIEVED_SECONDS)

"""The worker: the one thread that sees the whole pipeline, and the only place that knows the order of its stages.

    take from the queue > collect > judge > plan > execute > report

Input: batches of the queue. Output: reports to the sinks. Out of bounds: what any stage does inside. Judging is done in
slices and events come first, so nothing waits for a long nightly run; acting is never sliced.
"""

import random
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from dockwarden.errors import DockwardenError
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.gather import INSPECT, REGISTRY, Gatherer
from dockwarden.inventory.live import Inventory
from dockwarden.metrics import Metrics
from dockwarden.mishaps import Mishaps
from dockwarden.model import Cause, Change, Dirty, Kind, Mode, Outcome, Policy, PolicySet, Ref, Report, Result, Status
from dockwarden.pipeline.enforce import Enforcer
from dockwarden.pipeline.judge import Judge, Sweep, Work, pace_of
from dockwarden.pipeline.upkeep import Upkeep
from dockwarden.policy.findings import Findings
from dockwarden.ports import Sink
from dockwarden.sinks.ledger import Ledger
from dockwarden.triggers.queue import Batch, Queue

_SLICE_SECONDS = 0.02
_IDLE_SECONDS = 10.0
_MOST_UNDER_WAY = 2  # of one job: its run may ask registries over the whole interval, and wait for the last answer
_OF_IMAGES = (Kind.IMAGE, Kind.TAG)
_log = structlog.get_logger("dockwarden.worker")

_Acting = frozenset[tuple[str, Ref]] | None
"""Who may act on what a run finds: policies, each on an object; None: every policy on every object."""


@dataclass
class _Run:
    """One run under way: its sweep, and who may act on what it finds.

    ``watched_seconds``: the observation clock's reading when it began; ``causes``: what happened to which objects, if
    it answers events; ``events_ns``: when.
    """

    sweep: Sweep
    cause: Cause
    policies: Mapping[str, Policy]
    acting: _Acting
    job: str = ""
    steps: Iterator[bool] = field(default_factory=lambda: iter(()))
    id: str = field(default_factory=lambda: f"{random.getrandbits(48):012x}")
    started: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.time)
    watched_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)
    causes: Mapping[Ref, set[str]] = field(default_factory=dict)
    events_ns: tuple[int, ...] = ()


@dataclass(eq=False, kw_only=True)
class Worker:
    queue: Queue
    upkeep: Upkeep
    inventory: Inventory
    collector: Collector
    gatherer: Gatherer
    findings: Findings
    judge: Judge
    enforcer: Enforcer
    ledger: Ledger
    metrics: Metrics
    mishaps: Mishaps
    sinks: Sequence[Sink]
    acting: bool = False

    def __post_init__(self) -> None:
        self._policies: dict[str, Policy] = {}
        self._listeners: dict[str, dict[Kind, list[Policy]]] = {}  # by cause and kind of object
        self._lasting: set[str] = set()  # policies whose action may have left something to be done later
        self._runs: deque[_Run] = deque()
        self._started = self._swept = False
        self._info = self.inventory.info  # the engine's settings by which all that was found was judged

    def run(self) -> None:
        """Work until the queue is closed; what is left undone then is found again at the next start."""
        self.ledger.open()
        self.findings.recall(self.ledger.open_findings(), self.ledger.asides())
        waiting = False
        while not self.queue.closed:
            self.metrics.health.beats["worker"] = time.monotonic()
            idle = min(_IDLE_SECONDS, self.upkeep.patience_seconds)
            batch = self.queue.take(idle if waiting or not self._runs else 0)
            if batch is not None:
                self._handle(batch)
            if self.upkeep.is_listed:
                self._handle(Batch(listed=True))
            if not self.queue.has_hints:
                self.upkeep.note_quiet()
            waiting = self._advance()
            self.upkeep.save_due(time.monotonic())
            if self._started and self.upkeep.is_end_due(time.monotonic()):
                self._end_intents()
            if self.upkeep.is_list_due(time.monotonic()) and not self.upkeep.list_beside(self.queue.wake):
                self.queue.submit_resync("interval")
        self.acting = True  # what is written down at the end is waited for like a deed
        self.upkeep.save()
        self.ledger.close()

    def _handle(self, batch: Batch) -> None:
        if batch.policies is not None:
            self._use(batch.policies)
        began = time.monotonic()
        changes = self.upkeep.look(batch)
        if not batch.resync:
            self.queue.spend(time.monotonic() - began)
        if changes is None:
            for job in batch.jobs:
                self._skip_job(job)
            return
        self.gatherer.note_pulls(changes, time.time())
        if batch.is_full:
            self._end_intents()
        self._see(batch, changes)
        for job in batch.jobs:
            self._fire(job)

    def _see(self, batch: Batch, changes: Sequence[Change]) -> None:
        """Judge what a look has shown; where the engine has other settings than before, all that was found."""
        if not self._started:
            if self.inventory.complete and self._policies:
                self._start()
            return
        if self.inventory.info != self._info:
            self._info = self.inventory.info
            changes = [*changes, *(Change("", ref) for ref in self.findings.refs())]
        # A hint at a tag or a use is of an event that marked something else, too.
        marks = (at_ns for hint, at_ns in batch.dirty if hint.kind is not Kind.TAG and not hint.used_by)
        self._hear(self._touched(changes), tuple(marks))
        if batch.is_full:
            self._ask_again()

    def _end_intents(self) -> None:
        if ended := self.upkeep.end_intents():
            self._report(self._new_run(Cause.STARTUP), ended)

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

    def _use(self, policies: PolicySet) -> None:
        cut_short = [(run.job, run.causes, run.acting) for run in self._runs]
        for run in self._runs:  # what they have found so far is in the book; as jobs they did not come to their end
            run.job = ""
            self._report(run, ())
        self._runs.clear()
        self._policies = {policy.name: policy for policy in policies.policies if policy.mode is not Mode.OFF}
        self._listeners = {}
        self._lasting = {name for name, p in self._policies.items() if p.options and p.mode is Mode.ENFORCE}
        for policy in self._policies.values():
            for cause in policy.trigger.events:
                self._listeners.setdefault(cause, {}).setdefault(policy.subject, []).append(policy)
        self.judge.exceptions, self._swept = policies.exceptions, False
        resolved = self.findings.keep_only(self._policies)
        self._report(self._new_run(Cause.REQUEST, Sweep(resolved=resolved)), (), policies)
        if self._started:
            self._start()
            for job, causes, acting in cut_short:
                self._fire(job)
                self._hear(causes, acting=acting)

    def _start(self) -> None:
        """Judge everything once, so that metrics tell the truth from the start; only a trigger acts."""
        self._started, self._info = True, self.inventory.info
        gone = [ref for ref in self.findings.refs() if not self.inventory.has(ref)]
        sweep = Sweep(resolved=self.findings.drop_objects(gone))
        work = self.judge.everything(self.judge.allowed(self._policies.values(), time.time()))
        self._begin(work, sweep, Cause.STARTUP, INSPECT, acting=frozenset())

    def _hear(self, causes: Mapping[Ref, set[str]], events_ns: tuple[int, ...] = (), *, acting: _Acting = None) -> None:
        """Judge what was touched by the policies that listen to why, and open findings on it again.

        ``acting``: of those that listen, who may act.
        """
        sweep = Sweep(resolved=self.findings.drop_objects(ref for ref in causes if not self.inventory.has(ref)))
        work, listening = self._due(causes)
        acting = listening if acting is None else listening & acting
        if not (work or sweep.resolved):
            self.metrics.observe_reactions(events_ns)
            return
        run = self._begin(work, sweep, Cause.EVENT, REGISTRY if acting else INSPECT, acting=acting)
        run.causes, run.events_ns = causes, events_ns
        self._advance_first(run)

    def _touched(self, changes: Sequence[Change]) -> Mapping[Ref, set[str]]:
        """By object, the causes that concern it: what happened to it, or to what it depends on."""
        causes: defaultdict[Ref, set[str]] = defaultdict(set)
        for cause, ref in changes:
            causes[ref].add(cause)
        # An image and its tags concern the same objects, and it may have a thousand.
        for cause, ref in dict.fromkeys((change.cause, self.inventory.watched(change.ref)) for change in changes):
            listening = self._listeners.get(cause, {})
            for kind, keys in self.inventory.dependents(ref).items():
                # There may be thousands: of a kind that nobody listens to, only open findings matter.
                for key in keys if kind in listening else keys & self.findings.keys(kind):
                    causes[Ref(kind, key)].add(cause)
        return causes

    def _due(self, causes: Mapping[Ref, set[str]]) -> tuple[list[Work], frozenset[tuple[str, Ref]]]:
        """The objects with the policies that listen to their causes or have findings on them; and who listens."""
        heard = [self._listeners.get(cause, {}) for cause in set[str]().union(*causes.values())]
        hearing = {p.name: p for by_kind in heard for policies in by_kind.values() for p in policies}
        allowed = {p.name for p in self.judge.allowed(hearing.values(), time.time())}
        work: list[Work] = []
        listening: set[tuple[str, Ref]] = set()
        for ref, why in causes.items():
            due = {p.name: p for c in why for p in self._listeners.get(c, {}).get(ref.kind, ()) if p.name in allowed}
            listening.update((name, ref) for name in due)
            again = self.findings.policies_on(ref)
            due |= {p.name: p for name in again if (p := self._policies.get(name)) and p.subject is ref.kind}
            if due:
                work.append((ref, tuple(due.values())))
        return work, frozenset(listening)

    def _ask_again(self) -> None:
        """Judge again what could not be judged, and what is excused, as no event tells when that ends.

        What only a registry knows waits for its policy's own trigger.
        """
        unknown, asides = self.findings.unknown(), self.findings.asides()
        due = dict.fromkeys((*unknown, *((name, ref) for name, ref, aside in asides if aside.excuse)))
        work = [
            (ref, (policy,))
            for name, ref in due
            if (policy := self._policies.get(name)) and (policy.on_unknown == "retry" or (name, ref) not in unknown)
        ]
        if work:
            self._begin(work, Sweep(), Cause.EVENT, INSPECT, acting=frozenset())

    def _advance_first(self, run: _Run) -> None:
        """What an event asks for comes before everything that waits, unless it must wait for a registry itself."""
        self._runs.remove(run)
        for waits in run.steps:
            if waits:
                self.metrics.observe_reactions(run.events_ns)
                run.events_ns = ()
                self._runs.append(run)
                return
        self._conclude(run)

    def _fire(self, job: str) -> None:
        policy = self._policies.get(job)
        if policy is None or not (policy.trigger.schedule or policy.trigger.every_seconds):
            return  # the job is one of former policies
        if sum(run.job == job for run in self._runs) >= _MOST_UNDER_WAY:
            self.metrics.job_missed.labels(job).inc()
            return
        if not (self._started and self.metrics.health.engine_up):
            self._skip_job(job)
            return
        allowed = self.judge.allowed([policy], time.time())
        if not allowed:
            left = self.findings.clear(job, Ref(Kind.HOST, ""), "gate") if policy.has_marks else None
            self._report(self._new_run(Cause.SCHEDULE, Sweep(resolved=[left] if left else []), job=job), ())
            return
        work = self.judge.everything(allowed)
        self._begin(work, Sweep(), Cause.SCHEDULE, REGISTRY, acting=None, job=job)

    def _skip_job(self, job: str) -> None:
        """What we remember of an engine that does not answer is no basis for a judgement."""
        if job in self._policies:
            run = self._new_run(Cause.SCHEDULE, job=job)
            run.errors.append(f"{job}: the engine is not available")
            self._report(run, ())

    def _begin(
        self, work: Sequence[Work], sweep: Sweep, cause: Cause, depth: int, *, acting: _Acting, job: str = ""
    ) -> _Run:
        policy = self._policies.get(job)
        sized = [job] if policy and policy.action and policy.subject in _OF_IMAGES else ()
        run = self._new_run(cause, sweep, acting, job)
        steps = self.judge.sweep(work, sweep, depth=depth, now=time.time(), sized=sized, pace=pace_of(policy))
        run.steps = self._guarded(run, steps)
        self._runs.append(run)
        return run

    def _guarded(self, run: _Run, steps: Iterator[bool]) -> Iterator[bool]:
        """A run that fails as a whole ends with what it has, and does not act."""
        try:
            yield from steps
        except Exception as error:  # noqa: BLE001 - of our own
            run.errors.append(self.mishaps.note("judge", error, run=run.id))
            run.acting = frozenset()

    def _new_run(self, cause: Cause, sweep: Sweep | None = None, acting: _Acting = frozenset(), job: str = "") -> _Run:
        watched_seconds = self.inventory.memory.clock.read()
        return _Run(sweep or Sweep(), cause, self._policies, acting, job, watched_seconds=watched_seconds)

    def _conclude(self, run: _Run) -> None:
        judging_seconds = time.monotonic() - run.started
        outcomes: list[Outcome] = []
        found = {result.policy for result in run.sweep.results} | self._lasting
        for policy in run.policies.values() if run.acting is None or run.acting else ():
            if policy.name in found and policy.action:
                due = [r for r in run.sweep.results if r.policy == policy.name and self._may_act(r, run)]
                self.acting = bool(due)
                try:
                    done, error = self.enforcer.act(policy, due, run.id)
                except Exception as fault:  # noqa: BLE001 - of our own
                    done, error = [], self.mishaps.note("plan", fault, policy=policy.name)
                self.acting = False
                outcomes += done
                run.errors += [f"{policy.name}: {error}"] if error else []
        self._swept = self._swept or run.cause is Cause.STARTUP
        self._report(run, outcomes)
        # No event told of it: Engine 20.10 says of a volume that it was made when it was last used. One that changes at
        # every look would be tried without end if that let anybody act.
        stale = tuple((Dirty(each.ref.kind, each.ref.key), 0) for each in outcomes if each.reason == "changed")
        if stale and (changes := self.upkeep.look(Batch(dirty=stale, newest_ns=self.inventory.seen_ns))):
            self._hear(self._touched(changes), acting=frozenset())
        # Who sees it counted, sees what was found, too.
        self.metrics.evaluation_duration_seconds.observe(judging_seconds)
        acted = {run.job, *(name for name, _ in run.acting or ())}
        for policy in [run.policies[name] for name in sorted(acted & run.policies.keys())]:
            if policy.has_marks:
                after = self._new_run(run.cause)
                after.steps = self._guarded(after, self.judge.left_full(policy, after.sweep, time.time()))
                self._runs.append(after)

    def _may_act(self, result: Result, run: _Run) -> bool:
        if result.policy not in self.findings.policies_on(result.ref):
            return False  # an event came during the sweep, and by what it showed the object passes
        watched = self.inventory.watched(result.ref)
        was_used = self.inventory.memory.is_touched_since(watched, run.watched_seconds)
        # What is in use is kept with that reason, and of a container the last look compares its whole life.
        if was_used and not self.inventory.is_used(watched) and watched.kind is not Kind.CONTAINER:
            return False  # used or born since it was judged; the next run judges it anew
        is_due = result.status is Status.FAIL or (result.status is Status.EXCUSED and not result.excuse.acted)
        return is_due and (run.acting is None or (result.policy, result.ref) in run.acting)

    def _report(self, run: _Run, outcomes: Sequence[Outcome], policies: PolicySet | None = None) -> None:
        sweep, findings, asides = run.sweep, self.findings, self.findings.unsaved()
        are_told = asides is not None or policies is not None
        used = findings.used() if self.judge.exceptions else ()
        unused = [exception.id for exception in self.judge.exceptions if exception.id not in used]
        report = Report(
            run=run.id,
            cause=run.cause,
            started_at=run.started_at,
            duration_seconds=time.monotonic() - run.started,
            judged=sweep.judged,
            opened=tuple(sweep.opened),
            resolved=tuple(sweep.resolved),
            troubled=tuple(sweep.troubled),
            outcomes=tuple(outcomes),
            errors=(*run.errors, *self.collector.take_troubles()),
            job=run.job,
            watched_seconds=self.inventory.memory.clock.read(),
            open=dict(findings.counts),
            unknown=dict(findings.unknown_counts),
            policies=policies,
            newly_excused=tuple(sweep.excused),
            pending=dict(findings.pending_counts()) if are_told else {},
            excused=dict(findings.excused_counts()) if are_told else {},
            unused=len(unused) if self._swept else None,
            asides=asides,
            events_ns=run.events_ns,
        )
        for sink in self.sinks:
            try:
                sink.record(report)
            except DockwardenError as error:  # it has said so itself, as the ledger does, once
                _log.debug("run.unreported", sink=type(sink).__name__, error=str(error))
                self.metrics.errors.labels("report").inc()
            except Exception as error:  # noqa: BLE001 - one sink's trouble is none of the others'
                _log.error("run.unreported", sink=type(sink).__name__, error=self.mishaps.note("report", error))

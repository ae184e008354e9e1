"""Judging many objects: have gathered what their policies need, cheapest first, and keep the book of findings.

Input: objects and the policies to judge them by. Output: counts, results, what opened and what is resolved. Out of
bounds: deciding which objects are due, planning, acting. A sweep is done in small steps, so that a nightly run over
thousands of objects does not keep an event waiting.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from dockwarden.inventory import facts
from dockwarden.inventory.gather import AT_ONCE, REGISTRY, USAGE, Gatherer, Gathering, LaterError, Learnt, Pace
from dockwarden.inventory.live import Inventory
from dockwarden.mishaps import Mishaps
from dockwarden.model import Excuse, Facts, Kind, Mode, Policy, PolicyException, Program, Ref, Result, Status, Verdict
from dockwarden.policy import evaluate
from dockwarden.policy.excuses import excuse, labels_of
from dockwarden.policy.findings import Findings
from dockwarden.policy.together import Together
from dockwarden.ports import BELIEVED_SECONDS
from dockwarden.text import MAX_TEXT, printable
from dockwarden.triggers.schedule import interval_seconds

Work = tuple[Ref, Sequence[Policy]]
_WHAT_FILLS_IT = "host.disk_breakdown"
_LONGEST_BELIEVED_SECONDS = 12 * 3600.0


@dataclass
class Sweep:
    """What judging gave so far. ``results`` holds fails, and everything else too if the sweep was told to keep it."""

    judged: Counter[tuple[str, Status]] = field(default_factory=Counter)
    results: list[Result] = field(default_factory=list)
    opened: list[Result] = field(default_factory=list)
    resolved: list[Result] = field(default_factory=list)
    troubled: list[Result] = field(default_factory=list)
    excused: list[Result] = field(default_factory=list)


@dataclass(eq=False)
class _Task:
    gathering: Gathering
    keep_all: bool
    sweep: Sweep
    waiting: list[Work] = field(default_factory=list)
    sets: dict[tuple[str, ...], tuple[set[str], Together]] = field(default_factory=dict)


@dataclass(eq=False)
class Judge:
    inventory: Inventory
    gatherer: Gatherer
    findings: Findings
    mishaps: Mishaps = field(default_factory=Mishaps)
    zone: tzinfo | None = None
    exceptions: Sequence[PolicyException] = ()

    def everything(self, policies: Collection[Policy]) -> list[Work]:
        """All objects, each with the policies that are about its kind."""
        by_kind = {kind: [policy for policy in policies if policy.subject is kind] for kind in Kind}
        return [(ref, due) for kind, due in by_kind.items() if due for ref in self.inventory.all(kind)]

    def allowed(self, policies: Iterable[Policy], now: float) -> list[Policy]:
        """Those that are on, and whose gate is open."""
        return [policy for policy in policies if policy.mode is not Mode.OFF and self._is_open(policy, now)]

    def _is_open(self, policy: Policy, now: float) -> bool:
        try:
            return policy.gate is None or self.gatherer.host_says(policy.gate, now).value is True
        except Exception as error:  # noqa: BLE001 - of our own
            self.mishaps.note("judge", error, policy=policy.name)
            return False

    def left_full(self, policy: Policy, sweep: Sweep, now: float) -> Iterator[bool]:
        """After a run under a gate, in steps: a finding on the host where ``stop_when`` is false still.

        It says what fills the disk, is the policy's own whatever its subject is, and stays until a run ends otherwise.
        """
        if not policy.has_marks or policy.stop_when is None:
            return
        host, found = Ref(Kind.HOST, ""), Learnt()
        is_enough = self.gatherer.host_says(policy.stop_when, now).value
        if is_enough is True and (resolved := self.findings.clear(policy.name, host, Status.PASS.value)) is not None:
            sweep.resolved.append(resolved)
        if is_enough is not False:
            return
        names = (*policy.stop_when.references, _WHAT_FILLS_IT)
        yield from self.gatherer.learn([(host, names)], found, USAGE, now)
        known = {name: value for name, value in found[host][0].known.items() if name in names}
        parts = known.get(_WHAT_FILLS_IT, "what fills the disk is unknown")
        told = printable(f"all that it may do is not enough for {policy.stop_when.source}: {parts}", MAX_TEXT)
        name, watched = self.inventory.name_of(host), self.inventory.memory.clock.read()
        result = Result(policy.name, host, name, Status.FAIL, policy.severity, told, evidence=known)
        result = result._replace(definition=policy.definition)
        sweep.results.append(result)
        if self.findings.note(result, now, watched):
            sweep.opened.append(result)

    def sweep(
        self,
        work: Iterable[Work],
        sweep: Sweep,
        *,
        depth: int,
        now: float,
        keep_all: bool = False,
        sized: Collection[str] = (),
        pace: Pace = AT_ONCE,
    ) -> Iterator[bool]:
        """Judge in steps, filling ``sweep``. Yields after each step whether it waits for somebody else's answer.

        For findings of the policies named in ``sized``, what images take up is gathered, so that it can be planned.
        """
        with self.gatherer.begin(depth, now, pace) as gathering:
            yield from self._steps(_Task(gathering, keep_all, sweep), work)
        if any(result.policy in sized for result in sweep.results if result.status is Status.FAIL):
            yield from self.gatherer.all_details(sizes=True)

    def _steps(self, task: _Task, work: Iterable[Work]) -> Iterator[bool]:
        for ref, policies in work:
            self._judge(task, ref, policies)
            yield False
        while task.waiting:
            yield from self.gatherer.catch_up(task.gathering)
            due = {ref for ref, _ in task.waiting if self.gatherer.is_due(task.gathering, ref)}
            if not due:
                yield True
            again = [work for work in task.waiting if work[0] in due]
            task.waiting = [work for work in task.waiting if work[0] not in due]
            for ref, policies in again:
                self._judge(task, ref, policies)
                yield False
        for _, together in task.sets.values():
            task.sweep.judged.update(together.quiet())

    def _judge(self, task: _Task, ref: Ref, policies: Sequence[Policy]) -> None:
        if not self.inventory.has(ref):
            return
        done: set[str] = set()
        later: list[Policy] = []
        try:
            for policy, sheet, verdict in self._verdicts(task, ref, policies):
                if not self.inventory.has(ref):
                    break  # looking at it closely showed that it is gone
                done.add(policy.name)
                later += self._judge_by(task, ref, policy, sheet, verdict)
        except Exception as error:  # noqa: BLE001 - of our own; each policy by itself shows which of them it concerns
            self.mishaps.note("judge", error, object=f"{ref.kind}/{ref.key}")
            for policy in policies:
                later += self._judge_by(task, ref, policy, Facts(), None) if policy.name not in done else []
        if later:
            task.waiting.append((ref, later))

    def _verdicts(self, task: _Task, ref: Ref, policies: Sequence[Policy]) -> Iterator[tuple[Policy, Facts, Verdict]]:
        """What the policies say of one object, by what is known of it; those that it passes are only counted."""
        sheet = Facts()
        names = tuple([policy.name for policy in policies])
        if names not in task.sets:  # the same policies serve many objects
            vocabulary = facts.VOCABULARY[ref.kind]
            first = {name for policy in policies for name in policy.needs if vocabulary[name].cost == 0}
            task.sets[names] = (first, Together(policies))
        first, together = task.sets[names]
        self.gatherer.fill(task.gathering, ref, first, sheet)
        noted = names if task.keep_all else self.findings.concerned_with(ref)
        for policy, verdict in together.judge(sheet, noted):
            yield policy, sheet, verdict

    def _judge_by(self, task: _Task, ref: Ref, policy: Policy, sheet: Facts, verdict: Verdict | None) -> list[Policy]:
        """Judge one object by one policy, which is given back if it must wait; our own faults are this result's."""
        try:
            if verdict is None:
                cheap = [name for name in policy.needs if facts.VOCABULARY[ref.kind][name].cost == 0]
                self.gatherer.fill(task.gathering, ref, cheap, sheet)
                verdict = evaluate.judge(policy, sheet)
            self._take_in(task, ref, policy, sheet, verdict)
        except LaterError:
            return [policy]
        except Exception as error:  # noqa: BLE001 - of our own
            reason = self.mishaps.note("judge", error, policy=policy.name, object=f"{ref.kind}/{ref.key}")
            task.sweep.judged[policy.name, Status.ERROR] += 1
            self._trouble(task, ref, policy, Verdict(Status.ERROR, reason))
        return []

    def _final(self, task: _Task, ref: Ref, policy: Policy, sheet: Facts, verdict: Verdict) -> Verdict | None:
        """The verdict after all that may be gathered was; None if it must wait, or the object is gone."""
        tried: set[str] = set()
        waits = False
        while (name := verdict.missing) and name not in tried:
            tried.add(name)
            cost = facts.VOCABULARY[ref.kind][name].cost
            if task.gathering.depth < cost < REGISTRY:
                return None  # it waits for a trigger that may gather so much
            self.gatherer.gather(task.gathering, ref, name, policy.needs, sheet)
            if not self.inventory.has(ref):
                return None
            verdict = evaluate.judge(policy, sheet, tried)
            if cost > task.gathering.depth and verdict.missing and name not in sheet.known:
                waits |= not self.gatherer.why_not(task.gathering, ref, name)
        if waits and verdict.missing:
            return None  # for a fact that is too dear now; nothing is remembered either
        if verdict.status is Status.FAIL:
            self._complete(task, ref, policy, sheet)
        return verdict if self.inventory.has(ref) else None

    def _take_in(self, task: _Task, ref: Ref, policy: Policy, sheet: Facts, first: Verdict) -> None:
        verdict = self._final(task, ref, policy, sheet, first)
        if verdict is None:
            return
        sweep = task.sweep
        if verdict.status is not Status.FAIL:
            sweep.judged[(policy.name, verdict.status)] += 1
        if verdict.status in (Status.PASS, Status.SKIP):
            if (resolved := self.findings.clear(policy.name, ref, verdict.status.value)) is not None:
                sweep.resolved.append(resolved)
            if task.keep_all:
                name = self.inventory.name_of(ref)
                sweep.results.append(Result(policy.name, ref, name, verdict.status, policy.severity))
        elif verdict.status is Status.FAIL:
            self._fail(task, ref, policy, sheet)
        else:
            self._trouble(task, ref, policy, verdict)

    def _complete(self, task: _Task, ref: Ref, policy: Policy, sheet: Facts) -> None:
        """Gather what only the message or the order needs, as far as that may be."""
        left = policy.needs - sheet.known.keys()
        for cost, name in sorted((facts.VOCABULARY[ref.kind][name].cost, name) for name in left):
            if cost <= task.gathering.depth and name not in sheet.known and self.inventory.has(ref):
                self.gatherer.gather(task.gathering, ref, name, policy.needs, sheet)

    def _fail(self, task: _Task, ref: Ref, policy: Policy, sheet: Facts) -> None:
        excused = self._excuse(task, ref, policy, sheet)
        watched, sweep = self.inventory.memory.clock.read(), task.sweep
        status, was, held = Status.EXCUSED, "", 0.0
        if not (excused.told and excused.acted):
            candidate = evaluate.candidate(policy, sheet) if policy.for_seconds else ""  # which nobody compares then
            held, was, ended = self.findings.hold(policy, ref, candidate, watched, excused=excused.told)
            sweep.resolved += [ended] if ended is not None else []
            status = Status.PENDING if held < policy.for_seconds else Status.EXCUSED if excused.told else Status.FAIL
        name, order = self.inventory.name_of(ref), _order(policy.order_by, sheet)
        result = evaluate.finding(policy, ref, name, sheet)
        result = result._replace(excuse=excused, reason=excused.expired, held_seconds=held, order=order)
        self.findings.use(policy.name, ref, excused.ids)
        sweep.judged[policy.name, status] += 1
        if status is Status.FAIL:
            if self.findings.note(result, task.gathering.now, watched):
                sweep.opened.append(result._replace(reason=f"expired: {was}") if was else result)
        else:
            result = evaluate.set_aside(policy, result, status)
            if status is Status.EXCUSED and self.findings.excuse(result, watched):
                sweep.excused.append(result)
        sweep.results.append(result)

    def _excuse(self, task: _Task, ref: Ref, policy: Policy, sheet: Facts) -> Excuse:
        """Whether what was found is excused, by facts that are gathered for it as far as that may be."""
        due = [exception for exception in self.exceptions if policy.name in exception.policies]
        vocabulary = facts.VOCABULARY[ref.kind]
        names = {labels_of(ref.kind)}.union(*(exception.match.references for exception in due))
        cheap = [name for name in names if name and vocabulary[name].cost == 0]
        try:
            self.gatherer.fill(task.gathering, ref, cheap, sheet)
        except Exception as error:  # noqa: BLE001 - of our own; the finding stands, and nothing is done
            self.mishaps.note("judge", error, policy=policy.name, object=f"{ref.kind}/{ref.key}")
            return Excuse(doubt="label")
        for exception in due:
            tried: set[str] = set()
            while (missing := exception.match.evaluate(sheet, tried).missing) and missing not in tried:
                tried.add(missing)
                if vocabulary[missing].cost <= task.gathering.depth:
                    self.gatherer.gather(task.gathering, ref, missing, exception.match.references, sheet)
        return excuse(policy, sheet, due, task.gathering.now, self.zone)

    def _trouble(self, task: _Task, ref: Ref, policy: Policy, verdict: Verdict) -> None:
        word = "error" if verdict.status is Status.ERROR else self._why(task, ref, verdict.missing)
        result = evaluate.unknown(policy, ref, self.inventory.name_of(ref), verdict, word if verdict.missing else "")
        if self.findings.wonder(policy.name, ref, word):
            task.sweep.troubled.append(result)
        if task.keep_all:
            task.sweep.results.append(result)

    def _why(self, task: _Task, ref: Ref, missing: str) -> str:
        if (spec := facts.VOCABULARY[ref.kind][missing]).cost < REGISTRY:
            return "no_date" if spec.type == "timestamp" else "not_gathered"
        return self.gatherer.why_not(task.gathering, ref, missing) or "not_gathered"


def _order(order_by: Program | None, sheet: Facts) -> object:
    """The value that sorts the object's step, None if there is none or it cannot be had."""
    if order_by is None:
        return None
    answer = order_by.evaluate(sheet)
    is_number = answer.value == answer.value  # nan has no place in any order
    return answer.value if is_number else None


def pace_of(policy: Policy | None) -> Pace:
    """How old a registry's answer may be for a policy: half of its interval, so that its own last one never is.

    What another policy has asked meanwhile, it need not ask; and what moves is seen after one and a half intervals.
    """
    if policy is None or policy.cost < REGISTRY:
        return AT_ONCE
    max_age_seconds = max(BELIEVED_SECONDS, interval_seconds(policy.trigger) / 2)
    return Pace(min(max_age_seconds, _LONGEST_BELIEVED_SECONDS), policy.trigger.every_seconds)

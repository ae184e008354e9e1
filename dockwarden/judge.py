"""Judging many objects: gather what their policies need, cheapest first, and keep the book of findings.

Input: objects and the policies to judge them by. Output: counts, results, what opened and what is resolved. Out of
bounds: deciding which objects are due, planning, acting. A sweep is done in small steps, so that a nightly run over
thousands of objects does not keep an event waiting.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from dockwarden.errors import EngineError
from dockwarden.inventory import facts, registry_facts
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.digests import of_repository
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.view import View
from dockwarden.model import Answer, Change, Kind, Policy, Program, Ref, Result, Status, Verdict
from dockwarden.policy import evaluate
from dockwarden.policy.findings import Findings
from dockwarden.policy.together import Together
from dockwarden.ports import BELIEVED_SECONDS, Ask, Disk, DiskGauge, Registry, Reply, Usage

INSPECT, USAGE, REGISTRY = 1, 2, 3
_BASE_FACTS = frozenset({"image.base", "image.base_known"})
_SIZE_FACTS = frozenset({"image.unique_size"})

Work = tuple[Ref, Sequence[Policy]]


@dataclass
class Sweep:
    """What judging gave so far. ``results`` holds fails, and everything else too if the sweep was told to keep it."""

    judged: Counter[tuple[str, Status]] = field(default_factory=Counter)
    results: list[Result] = field(default_factory=list)
    opened: list[Result] = field(default_factory=list)
    resolved: list[Result] = field(default_factory=list)
    troubled: list[Result] = field(default_factory=list)


@dataclass(eq=False)
class _Task:
    """One sweep's working state.

    Attributes:
        depth: the highest cost class that it may gather.
        max_age_seconds: how old a registry's answer may be.
    """

    depth: int
    now: float
    keep_all: bool
    max_age_seconds: float = BELIEVED_SECONDS
    sweep: Sweep = field(default_factory=Sweep)
    replies: dict[Ask, Reply] = field(default_factory=dict)
    pending: dict[Ask, "Future[Reply]"] = field(default_factory=dict)
    waiting: list[Work] = field(default_factory=list)
    disk: Disk | None = None
    disk_asked: bool = False
    usage: Usage | None = None
    usage_asked: bool = False
    details_asked: bool = False
    details_gathered: bool = False
    sizes_asked: bool = False
    unique: Mapping[str, int] | None = None
    sets: dict[tuple[str, ...], tuple[set[str], Together]] = field(default_factory=dict)


class _LaterError(Exception):
    """The object cannot be judged before something dear has been gathered for all."""


class Judge:
    """Judges objects of one inventory and keeps ``findings`` true."""

    def __init__(
        self,
        inventory: Inventory,
        collector: Collector,
        registry: Registry,
        gauge: DiskGauge,
        wake: Callable[[], None],
    ) -> None:
        """``wake`` is called from another thread when an answer that a sweep waits for has come."""
        self.findings = Findings()
        self._inventory = inventory
        self._collector = collector
        self._registry = registry
        self._gauge = gauge
        self._wake = wake
        self._tasks: list[_Task] = []

    def sweep(
        self,
        work: Iterable[Work],
        sweep: Sweep,
        *,
        depth: int,
        now: float,
        keep_all: bool = False,
        sized: Collection[str] = (),
        max_age_seconds: float = BELIEVED_SECONDS,
    ) -> Iterator[bool]:
        """Judge in steps, filling ``sweep``. Yields after each step whether it waits for somebody else's answer.

        For findings of the policies named in ``sized``, what images take up is gathered, so that it can be planned.
        """
        task = _Task(depth, now, keep_all, max_age_seconds, sweep)
        self._tasks.append(task)
        try:
            yield from self._steps(task, work)
        finally:
            self._tasks.remove(task)
        if any(result.policy in sized for result in sweep.results if result.status is Status.FAIL):
            yield from self._all_details(sizes=True)

    def _steps(self, task: _Task, work: Iterable[Work]) -> Iterator[bool]:
        for ref, policies in work:
            self._object(task, ref, policies)
            yield False
        while task.waiting:
            again, task.waiting = task.waiting, []
            if task.details_asked and not task.details_gathered:
                yield from self._all_details(sizes=task.sizes_asked)
                task.details_gathered = True
            if task.sizes_asked and task.unique is None:
                task.unique = self._inventory.shares().alone()
            while not all(future.done() for future in task.pending.values()):
                yield True
            for ref, policies in again:
                self._object(task, ref, policies)
                yield False
        for _, together in task.sets.values():
            task.sweep.judged += together.quiet()

    def note_pulls(self, changes: Iterable[Change], now: float) -> None:
        """What a registry said of a tag before it was pulled is no answer any more, also for sweeps under way.

        What the pull brought is one, and a part of the tag's history, if it can be told: an image may have several
        digests of one repository, and a pull of a whole repository does not say which tags there are.
        """
        images, tags = self._inventory.images, self._inventory.tags
        for _, ref in [change for change in changes if change.cause == "image.pull"]:
            if ref.kind is Kind.TAG and (image := images.get(tags.get(ref.key, ""))):
                here = of_repository(image.digests, ref.key.rpartition(":")[0])
                self._note_pull(ref.key, Reply(digest=here[0]) if len(here) == 1 else None)
                if len(here) == 1:
                    self._inventory.digests.see(ref.key, "registry", here[0], now)
            elif ref.key in images:
                for tag in images[ref.key].tags:
                    self._note_pull(tag, None)

    def _note_pull(self, tag: str, reply: Reply | None) -> None:
        ask = Ask("digest", tag)
        self._registry.note(ask, reply)
        for task in self._tasks:
            task.pending.pop(ask, None)
            task.replies.pop(ask, None)
            task.replies |= {ask: reply} if reply else {}

    def learn(
        self,
        refs: Iterable[Ref],
        names: Sequence[str],
        found: dict[Ref, tuple[facts.Sheet, str]],
        *,
        depth: int,
        now: float,
    ) -> Iterator[bool]:
        """Gather facts of a registry without judging, in steps, into ``found``, each with why something is missing."""
        task = _Task(depth, now, keep_all=False)
        left = list(refs)
        while left:
            later = []
            for ref in left:
                sheet, why = facts.Sheet(), ""
                try:
                    for name in names:
                        self._ask(task, ref, name)
                        why = why or self._why_not(task, ref, name)
                except _LaterError:
                    later.append(ref)
                if self._inventory.has(ref):
                    facts.fill(sheet, names, ref, self._view(task))
                    found[ref] = (sheet, why)
                yield False
            while not all(future.done() for future in task.pending.values()):
                yield True
            left = later

    def _all_details(self, *, sizes: bool) -> Iterator[bool]:
        for image_id in list(self._inventory.images):
            try:
                self._collector.details(image_id)
                if sizes:
                    self._collector.history(image_id)
            except EngineError:
                return  # what is missing stays unknown
            yield False

    def _object(self, task: _Task, ref: Ref, policies: Sequence[Policy]) -> None:
        if not self._inventory.has(ref):
            return
        sheet = facts.Sheet()
        names = tuple([policy.name for policy in policies])
        if names not in task.sets:  # the same policies serve many objects
            vocabulary = facts.VOCABULARY[ref.kind]
            first = {name for policy in policies for name in policy.needs if vocabulary[name].cost == 0}
            task.sets[names] = (first, Together(policies))
        first, together = task.sets[names]
        facts.fill(sheet, first, ref, self._view(task))
        noted = names if task.keep_all else self.findings.concerned_with(ref)
        later = []
        for policy, verdict in together.judge(sheet, noted):
            if not self._inventory.has(ref):
                break  # looking at it closely showed that it is gone
            try:
                self._one(task, ref, policy, sheet, verdict)
            except _LaterError:
                later.append(policy)
        if later:
            task.waiting.append((ref, later))

    def _one(self, task: _Task, ref: Ref, policy: Policy, sheet: facts.Sheet, verdict: Verdict) -> None:
        tried: set[str] = set()
        while verdict.missing and verdict.missing not in tried:
            tried.add(verdict.missing)
            cost = facts.VOCABULARY[ref.kind][verdict.missing].cost
            if task.depth < cost < REGISTRY:
                return  # it waits for a trigger that may gather so much
            self._gather(task, ref, policy, sheet, verdict.missing)
            if not self._inventory.has(ref):
                return
            again = evaluate.judge(policy, sheet)
            if cost > task.depth and again.missing == verdict.missing and not self._why_not(task, ref, again.missing):
                return  # nothing is remembered either
            verdict = again
        sweep = task.sweep
        sweep.judged[(policy.name, verdict.status)] += 1
        if verdict.status in (Status.PASS, Status.SKIP):
            if (resolved := self.findings.clear(policy.name, ref, verdict.status.value)) is not None:
                sweep.resolved.append(resolved)
            if task.keep_all:
                name = self._inventory.name_of(ref)
                sweep.results.append(Result(policy.name, ref, name, verdict.status, policy.severity))
        elif verdict.status is Status.FAIL:
            self._fail(task, ref, policy, sheet)
        else:
            self._trouble(task, ref, policy, verdict)

    def _fail(self, task: _Task, ref: Ref, policy: Policy, sheet: facts.Sheet) -> None:
        if policy.cost:  # else all of it is known
            facts.fill(sheet, policy.needs, ref, self._view(task))
        result = evaluate.finding(policy, ref, self._inventory.name_of(ref), sheet)
        if policy.order_by is not None:
            result = replace(result, order=self._order(task, ref, policy, policy.order_by, sheet))
        watched = self._inventory.memory.clock.read()
        is_new = self.findings.note(result, task.now, watched=watched)
        if policy.for_seconds:
            result = replace(result, held_seconds=self.findings.held_for(policy.name, ref, watched))
        task.sweep.results.append(result)
        if is_new:
            task.sweep.opened.append(result)

    def _order(self, task: _Task, ref: Ref, policy: Policy, order_by: Program, sheet: facts.Sheet) -> object:
        """The value that sorts the object's step, None if it cannot be had; only a run that may act looks for it."""
        tried: set[str] = set()
        answer = order_by.evaluate(sheet)
        while answer.missing and answer.missing not in tried:
            tried.add(answer.missing)
            if facts.VOCABULARY[ref.kind][answer.missing].cost > task.depth:
                return None
            self._gather(task, ref, policy, sheet, answer.missing)
            if not self._inventory.has(ref):
                return None
            answer = order_by.evaluate(sheet)
        is_number = answer.value == answer.value  # nan has no place in any order
        return answer.value if is_number else None

    def _trouble(self, task: _Task, ref: Ref, policy: Policy, verdict: Verdict) -> None:
        word = "error" if verdict.status is Status.ERROR else self._why(task, ref, verdict.missing)
        result = evaluate.unknown(policy, ref, self._inventory.name_of(ref), verdict, word if verdict.missing else "")
        if self.findings.note(result, task.now, word):
            task.sweep.troubled.append(result)
        if task.keep_all:
            task.sweep.results.append(result)

    def _why(self, task: _Task, ref: Ref, missing: str) -> str:
        if facts.VOCABULARY[ref.kind][missing].cost < REGISTRY:
            return "not_gathered"
        return self._why_not(task, ref, missing) or "not_gathered"

    def _why_not(self, task: _Task, ref: Ref, fact: str) -> str:
        """Why a registry's fact cannot be known; "" also of an object that a closer look showed to be gone."""
        return registry_facts.reason(ref, fact, self._view(task)) if self._inventory.has(ref) else ""

    def _needed(self, task: _Task, ref: Ref, fact: str) -> Ask | None:
        return registry_facts.needed(ref, fact, self._view(task)) if self._inventory.has(ref) else None

    def _gather(self, task: _Task, ref: Ref, policy: Policy, sheet: facts.Sheet, missing: str) -> None:
        cost = facts.VOCABULARY[ref.kind][missing].cost
        if cost >= REGISTRY:
            self._ask(task, ref, missing)
        elif missing in _SIZE_FACTS and task.unique is None:
            task.details_asked, task.details_gathered, task.sizes_asked = True, False, True
            raise _LaterError
        elif missing in _BASE_FACTS and not task.details_gathered:
            task.details_asked = True
            raise _LaterError
        elif cost == USAGE:
            self._measure_usage(task)
        elif missing.startswith("host."):
            self._measure_disk(task)
        else:
            self._inspect(ref)
        names = [name for name in policy.needs if facts.VOCABULARY[ref.kind][name].cost <= cost]
        if self._inventory.has(ref):
            facts.fill(sheet, names, ref, self._view(task))

    def _inspect(self, ref: Ref) -> None:
        image_id = {
            Kind.IMAGE: lambda: ref.key,
            Kind.TAG: lambda: self._inventory.tags[ref.key],
            Kind.CONTAINER: lambda: self._inventory.containers[ref.key].image_id,
        }[ref.kind]()
        try:
            self._collector.details(image_id)
        except EngineError:
            return  # what is missing stays unknown

    def _ask(self, task: _Task, ref: Ref, fact: str) -> None:
        """Gather the answers a fact waits for, one after the other; what a registry refused is not asked again."""
        while (ask := self._needed(task, ref, fact)) is not None and ask not in task.replies:
            if ask.what == "manifest":
                self._inspect(ref)  # of an index, the entry of the image's platform counts
            if task.depth < REGISTRY:
                reply = self._registry.remembered(ask)
                if reply is None:
                    return
            else:
                reply = self._answer(task, ask)
            task.replies[ask] = reply
            is_answer = bool(reply.digest) or reply.reason == "not_found"
            if ask.what == "digest" and is_answer and self._is_kept(ask.reference, ref):
                self._inventory.digests.see(ask.reference, "registry", reply.digest, task.now)

    def _is_kept(self, tag: str, ref: Ref) -> bool:
        """Whether a tag has a history: it is here, or a container names it; not those that others are compared with."""
        return tag in self._inventory.tags or (ref.kind is Kind.CONTAINER and "@" not in tag)

    def _answer(self, task: _Task, ask: Ask) -> Reply:
        future = task.pending.get(ask)
        if future is None:
            future = self._registry.ask(ask, task.max_age_seconds)
            if not future.done():
                future.add_done_callback(lambda _: self._wake())
        if not future.done():
            task.pending[ask] = future
            raise _LaterError
        return future.result()

    def _measure_disk(self, task: _Task) -> None:
        info = self._inventory.info
        if info is not None and not task.disk_asked:
            task.disk_asked = True
            task.disk = self._gauge(info.data_root)

    def _measure_usage(self, task: _Task) -> None:
        if not task.usage_asked:
            task.usage_asked = True
            task.usage = self._collector.usage()

    def _view(self, task: _Task) -> View:
        return View(self._inventory, task.now, task.disk, task.replies, task.usage, task.unique)

    def host_allows(self, policy: Policy, now: float) -> bool:
        """Whether the policy's gate is open."""
        return policy.gate is None or self.host_says(policy.gate, now).value is True

    def host_says(self, program: Program, now: float) -> Answer:
        """What an expression over the host's facts gives, with its disk measured now."""
        task = _Task(INSPECT, now, keep_all=False)
        self._measure_disk(task)
        if any(facts.VOCABULARY[Kind.HOST][name].cost == USAGE for name in program.references):
            self._measure_usage(task)
        sheet = facts.Sheet()
        facts.fill(sheet, program.references, Ref(Kind.HOST, ""), self._view(task))
        return program.evaluate(sheet)

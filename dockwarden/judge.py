"""Judging many objects: gather what their policies need, cheapest first, and keep the book of findings.

Input: objects and the policies to judge them by. Output: counts, results, what opened and what is resolved. Out of
bounds: deciding which objects are due, planning, acting. A sweep is done in small steps, so that a nightly run over
thousands of objects does not keep an event waiting.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from dockwarden.errors import EngineError
from dockwarden.inventory import facts
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.view import View
from dockwarden.model import Kind, Policy, Ref, Result, Status, Verdict
from dockwarden.policy import evaluate
from dockwarden.policy.findings import Findings
from dockwarden.ports import Disk, DiskGauge, Look, Registry

INSPECT, REGISTRY = 1, 3
_BASE_FACTS = frozenset({"image.base", "image.base_known"})

Work = tuple[Ref, Sequence[Policy]]


@dataclass
class Sweep:
    """What judging gave so far. ``results`` holds fails, and everything else too if the sweep was told to keep it."""

    judged: Counter[tuple[str, Status]] = field(default_factory=Counter)
    results: list[Result] = field(default_factory=list)
    opened: list[Result] = field(default_factory=list)
    resolved: list[Result] = field(default_factory=list)
    troubled: list[Result] = field(default_factory=list)


@dataclass
class _Task:
    """One sweep's working state. ``depth`` is the highest cost class it may gather."""

    depth: int
    now: float
    keep_all: bool
    sweep: Sweep = field(default_factory=Sweep)
    looks: dict[str, Look] = field(default_factory=dict)
    pending: dict[str, "Future[Look]"] = field(default_factory=dict)
    waiting: list[Work] = field(default_factory=list)
    disk: Disk | None = None
    disk_asked: bool = False
    bases_asked: bool = False
    bases_gathered: bool = False
    first: dict[tuple[str, ...], set[str]] = field(default_factory=dict)


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

    def sweep(
        self, work: Iterable[Work], sweep: Sweep, *, depth: int, now: float, keep_all: bool = False
    ) -> Iterator[bool]:
        """Judge in steps, filling ``sweep``. Yields after each step whether it waits for somebody else's answer."""
        task = _Task(depth, now, keep_all, sweep)
        for ref, policies in work:
            self._object(task, ref, policies)
            yield False
        while task.waiting:
            again, task.waiting = task.waiting, []
            if task.bases_asked and not task.bases_gathered:
                yield from self._all_details()
                task.bases_gathered = True
            while not all(future.done() for future in task.pending.values()):
                yield True
            task.looks.update((tag, future.result()) for tag, future in task.pending.items())
            task.pending.clear()
            for ref, policies in again:
                self._object(task, ref, policies)
                yield False

    def _all_details(self) -> Iterator[bool]:
        for image_id in list(self._inventory.images):
            try:
                self._collector.details(image_id)
            except EngineError:
                return  # what is missing stays unknown
            yield False

    def _object(self, task: _Task, ref: Ref, policies: Sequence[Policy]) -> None:
        if not self._inventory.has(ref):
            return
        sheet = facts.Sheet()
        names = tuple([policy.name for policy in policies])
        if names not in task.first:  # the same policies serve many objects
            vocabulary = facts.VOCABULARY[ref.kind]
            task.first[names] = {name for policy in policies for name in policy.needs if vocabulary[name].cost == 0}
        facts.fill(sheet, task.first[names], ref, self._view(task))
        later = []
        for policy in policies:
            if not self._inventory.has(ref):
                break  # looking at it closely showed that it is gone
            try:
                self._one(task, ref, policy, sheet)
            except _LaterError:
                later.append(policy)
        if later:
            task.waiting.append((ref, later))

    def _one(self, task: _Task, ref: Ref, policy: Policy, sheet: facts.Sheet) -> None:
        verdict = evaluate.judge(policy, sheet)
        tried: set[str] = set()
        while verdict.missing and verdict.missing not in tried:
            tried.add(verdict.missing)
            cost = facts.VOCABULARY[ref.kind][verdict.missing].cost
            if cost > task.depth and not self._remembered(task, ref):
                return  # it waits for a trigger that may gather so much
            self._gather(task, ref, policy, sheet, verdict.missing)
            if not self._inventory.has(ref):
                return
            verdict = evaluate.judge(policy, sheet)
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
        facts.fill(sheet, policy.needs, ref, self._view(task))
        result = evaluate.finding(policy, ref, self._inventory.name_of(ref), sheet)
        task.sweep.results.append(result)
        if self.findings.note(result, task.now):
            task.sweep.opened.append(result)

    def _trouble(self, task: _Task, ref: Ref, policy: Policy, verdict: Verdict) -> None:
        look = task.looks.get(ref.key)
        word = "error" if verdict.status is Status.ERROR else (look.reason if look and look.reason else "not_gathered")
        result = evaluate.unknown(policy, ref, self._inventory.name_of(ref), verdict, word if verdict.missing else "")
        if self.findings.note(result, task.now, word):
            task.sweep.troubled.append(result)
        if task.keep_all:
            task.sweep.results.append(result)

    def _gather(self, task: _Task, ref: Ref, policy: Policy, sheet: facts.Sheet, missing: str) -> None:
        cost = facts.VOCABULARY[ref.kind][missing].cost
        if cost >= REGISTRY:
            self._look_up(task, ref)
        elif missing in _BASE_FACTS and not task.bases_gathered:
            task.bases_asked = True
            raise _LaterError
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

    def _look_up(self, task: _Task, ref: Ref) -> None:
        if ref.key in task.looks:
            return
        if task.depth < REGISTRY:
            return
        future = task.pending.get(ref.key) or self._registry.look_up(ref.key)
        if not future.done():
            if ref.key not in task.pending:
                future.add_done_callback(lambda _: self._wake())
            task.pending[ref.key] = future
            raise _LaterError
        task.looks[ref.key] = future.result()

    def _remembered(self, task: _Task, ref: Ref) -> bool:
        look = self._registry.remembered(ref.key) if ref.kind is Kind.TAG else None
        if look is not None:
            task.looks[ref.key] = look
        return look is not None

    def _measure_disk(self, task: _Task) -> None:
        info = self._inventory.info
        if info is not None and not task.disk_asked:
            task.disk_asked = True
            task.disk = self._gauge(info.data_root)

    def _view(self, task: _Task) -> View:
        return View(self._inventory, task.now, task.disk, task.looks)

    def host_allows(self, policy: Policy, now: float) -> bool:
        """Whether the policy's gate is open."""
        if policy.gate is None:
            return True
        task = _Task(INSPECT, now, keep_all=False)
        self._measure_disk(task)
        sheet = facts.Sheet()
        names = policy.gate.references & facts.VOCABULARY[Kind.HOST].keys()
        facts.fill(sheet, names, Ref(Kind.HOST, ""), self._view(task))
        return evaluate.gate(policy, sheet).status is Status.PASS

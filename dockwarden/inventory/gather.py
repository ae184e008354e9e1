"""Gathering what the inventory does not have by itself: details of images, disks, sizes, and answers of registries.

Input: an object and the fact that is missing. Output: values in its sheet, each asked for at most once by one sweep.
Out of bounds: judging, and deciding how dear a fact may be.
"""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from dockwarden.errors import AnswerError, EngineError, EngineUnavailableError
from dockwarden.inventory import facts
from dockwarden.inventory.bases import Bases, relatives
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.digests import of_repository
from dockwarden.inventory.host_facts import BREAKDOWN
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.view import View
from dockwarden.model import Answer, Change, Facts, FactValue, Kind, Program, Ref
from dockwarden.ports import BELIEVED_SECONDS, Ask, Disk, Registry, Reply
from dockwarden.reference import full

INSPECT, USAGE, REGISTRY = 1, 2, 3
_Source = str | tuple[str, str]  # what a sweep asks for once: of everything, by a name; or a fact, and of which object
_STEP_FACTS = frozenset({"image.history", "image.instructions"})
_MEASURED = frozenset({"container.log_bytes", "container.processes", "service.running"})
_AT_ONCE = 4
_WIDEST_SECONDS = 3600.0
# By fact, what of all images it takes.
_OF_ALL_IMAGES = {
    **{f"image.{name}": "bases" for name in ("base", "base_known", "bases", "base_digest", "children", "is_base")},
    **{f"host.{name}": "sizes" for name in BREAKDOWN},
    "image.unique_size": "sizes",
}


class Pace(NamedTuple):
    """How registries are asked: answers may be so old, and the run is one of those that come at such an interval."""

    max_age_seconds: float = BELIEVED_SECONDS
    every_seconds: float = 0.0


AT_ONCE = Pace()
Learnt = dict[Ref, tuple[Facts, dict[str, str]]]
"""By object, its facts as far as they were gathered, and why a registry's are missing."""


class LaterError(Exception):
    """The fact can be had only after ``catch_up``."""


@dataclass(eq=False)
class Gathering(View):
    """What one sweep has gathered so far.

    Attributes:
        depth: the highest cost class that it may gather.
        pace: how it asks registries.
        pending: questions whose answers it waits for.
        wanted: what objects wait for: ``sizes`` and ``bases`` of all images, or a fact and the object to be measured.
        tried: what a sweep asks for once: these, ``disk``, ``usage``.
    """

    depth: int = 0
    pace: Pace = AT_ONCE
    pending: dict[Ask, "Future[Reply]"] = field(default_factory=dict)
    wanted: dict[_Source, None] = field(default_factory=dict)
    tried: set[_Source] = field(default_factory=set)
    began: float = 0.0
    began_at: float = 0.0


@dataclass(eq=False)
class Gatherer:
    """Gathers from one engine and its registries.

    ``wake`` is called from another thread when an answer that a sweep waits for has come. ``jitter``: by which share of
    its interval a run may come later; so wide it asks registries.
    """

    inventory: Inventory
    collector: Collector
    registry: Registry
    gauge: Callable[[str], Disk | None]
    wake: Callable[[], None]
    jitter: float = 0.0

    def __post_init__(self) -> None:
        self._under_way: list[Gathering] = []
        self._seed = secrets.randbits(32)  # so that many hosts choose differently

    @contextmanager
    def begin(self, depth: int, now: float, pace: Pace = AT_ONCE) -> Iterator[Gathering]:
        """What a sweep gathers, until the end of the sweep."""
        gathering = Gathering(self.inventory, now, depth=depth, pace=pace, began_at=now, began=time.monotonic())
        self._under_way.append(gathering)
        try:
            yield gathering
        finally:
            self._under_way.remove(gathering)

    def is_due(self, gathering: Gathering, ref: Ref) -> bool:
        """Whether registries may be asked about it: each object has a moment of its own, the same in each run."""
        return time.monotonic() - gathering.began >= self.turn_seconds(gathering.pace, ref)

    def turn_seconds(self, pace: Pace, ref: Ref) -> float:
        """So long after a run begins an object is due."""
        widest = min(_WIDEST_SECONDS, 2 * self.jitter * pace.every_seconds)
        return hash((self._seed, ref.key)) % _WIDEST_SECONDS / _WIDEST_SECONDS * widest

    def fill(self, gathering: Gathering, ref: Ref, names: Iterable[str], sheet: Facts) -> None:
        """Read the named facts as far as they are known. Raises KeyError where the object is gone."""
        facts.fill(sheet, names, ref, gathering)

    def gather(self, gathering: Gathering, ref: Ref, missing: str, needs: Iterable[str], sheet: Facts) -> None:
        """Get a fact, and those of ``needs`` no dearer. Raises LaterError: an answer, or what is dear, comes first."""
        vocabulary = facts.VOCABULARY[ref.kind]
        cost = vocabulary[missing].cost
        source: _Source = (missing, ref.key) if missing in _MEASURED else _OF_ALL_IMAGES.get(missing, "")
        if cost >= REGISTRY:
            self._ask(gathering, ref, missing)
        elif source and source not in gathering.tried:
            gathering.wanted[source] = None
            raise LaterError
        elif missing in _MEASURED:
            pass  # it stays unknown where that failed
        elif cost == USAGE:
            self._measure_usage(gathering)
            self._measure_disk(gathering)
        elif missing.startswith("host."):
            self._measure_disk(gathering)
        else:
            self._inspect(ref, missing)
        if self.inventory.has(ref):
            names = [name for name in needs if vocabulary[name].cost <= cost]
            self.fill(gathering, ref, names, sheet)

    def catch_up(self, gathering: Gathering) -> Iterator[bool]:
        """Get what objects wait for, in steps; yields whether the step waits for somebody else's answer."""
        wanted, gathering.wanted = gathering.wanted, {}
        gathering.tried.update(wanted)
        if "sizes" in wanted or "bases" in wanted:
            yield from self.all_details(sizes="sizes" in wanted)
        if "bases" in wanted:
            yield from self._all_bases(gathering)
        if "sizes" in wanted:
            gathering.unique = self.inventory.shares().alone()
        yield from self._measure(gathering, [source for source in wanted if not isinstance(source, str)])
        while not all(future.done() for future in gathering.pending.values()):
            yield True
        if gathering.pace.every_seconds:  # it takes long, and what is seen now has not been so since then
            gathering.now = gathering.began_at + time.monotonic() - gathering.began

    def _measure(self, gathering: Gathering, due: Sequence[tuple[str, str]]) -> Iterator[bool]:
        """What takes the engine long for each object, a few of them at once."""
        answers: dict[tuple[str, str], Future[FactValue | None]] = {pair: Future() for pair in due}
        left = deque(answers.items())
        for _ in due[:_AT_ONCE]:  # daemons, so that no end waits for a hung engine
            threading.Thread(target=self._measure_each, args=(left,), name="measure", daemon=True).start()
        try:
            for pair, answer in answers.items():
                if (value := answer.result()) is not None:
                    gathering.measured[pair] = value
                yield False
        finally:
            left.clear()

    def _measure_each(self, left: "deque[tuple[tuple[str, str], Future[FactValue | None]]]") -> None:
        while left:
            with suppress(IndexError):  # another thread was quicker
                pair, answer = left.popleft()
                try:
                    answer.set_result(self.collector.measure(*pair))
                except EngineError:
                    answer.set_result(None)  # it stays unknown
                except Exception as error:  # noqa: BLE001 - who waits for it must hear
                    answer.set_exception(error)

    def _all_bases(self, gathering: Gathering) -> Iterator[bool]:
        inventory = self.inventory
        for image_id in relatives(inventory.images.values()):
            with suppress(EngineError):
                self.collector.history(image_id)
            yield False
        is_known = inventory.histories.keys() >= set(relatives(inventory.images.values()))
        # One of which the engine lists not a byte, and fails to inspect it, is damaged, and is built on nothing here.
        if is_known and all(image.details or not image.size_bytes for image in inventory.images.values()):
            gathering.bases = Bases(inventory.images.values(), inventory.histories)

    def all_details(self, *, sizes: bool) -> Iterator[bool]:
        """Get the details of all images, and with ``sizes`` the bytes of their layers, in steps."""
        for image_id in list(self.inventory.images):
            try:
                with suppress(AnswerError):  # what is missing stays unknown
                    self.collector.details(image_id)
                    if sizes:
                        self.collector.history(image_id)
            except EngineUnavailableError:
                return
            yield False

    def learn(
        self, wanted: Iterable[tuple[Ref, Sequence[str]]], found: Learnt, depth: int, now: float
    ) -> Iterator[bool]:
        """Gather facts for people, in steps, into ``found``."""
        with self.begin(depth, now) as gathering:
            left = list(wanted)
            while left:
                later = []
                for ref, names in left:
                    try:
                        self._learn_one(gathering, ref, names, found)
                    except LaterError:
                        later.append((ref, names))
                    yield False
                yield from self.catch_up(gathering)
                left = later

    def _learn_one(self, gathering: Gathering, ref: Ref, names: Sequence[str], found: Learnt) -> None:
        sheet, why = found.setdefault(ref, (Facts(), {}))
        vocabulary = facts.VOCABULARY[ref.kind]
        if self.inventory.has(ref):
            self.fill(gathering, ref, [name for name in names if vocabulary[name].cost == 0], sheet)
        for name in sorted(names, key=lambda each: vocabulary[each].cost):
            cost = vocabulary[name].cost
            if name in sheet.known or gathering.depth < cost < REGISTRY or not self.inventory.has(ref):
                continue
            self.gather(gathering, ref, name, (name,), sheet)
            if name not in sheet.known and cost == REGISTRY:
                why[name] = self.why_not(gathering, ref, name)

    def why_not(self, gathering: Gathering, ref: Ref, fact: str) -> str:
        """In one word, why a registry's fact is not known; "" if it is, also of an object that was found gone."""
        ask = self._question(gathering, ref, fact)
        reply = gathering.replies.get(ask) if ask else None
        return reply.reason if reply else ""

    def _question(self, gathering: Gathering, ref: Ref, fact: str) -> Ask | None:
        """The question whose answer the fact waits for; None where no question helps."""
        gathering.question = None
        if self.inventory.has(ref):
            facts.fill(Facts(), (fact,), ref, gathering)
        return gathering.question

    def host_says(self, program: Program, now: float) -> Answer:
        """What an expression over the host's facts gives, with its disk measured now."""
        gathering = Gathering(self.inventory, now, depth=INSPECT)
        self._measure_disk(gathering)
        if any(facts.VOCABULARY[Kind.HOST][name].cost == USAGE for name in program.references):
            self._measure_usage(gathering)
        sheet = Facts()
        facts.fill(sheet, program.references, Ref(Kind.HOST, ""), gathering)
        return program.evaluate(sheet)

    def _inspect_origin(self, ref: Ref) -> None:
        """No registry is asked about what was built here; of that, whether it is still so: a push ends it."""
        inventory = self.inventory
        if inventory.info is None or not inventory.info.tells_builds:
            return
        if (image := inventory.image_of(ref)) is not None:
            with suppress(EngineError):
                self.collector.details(image.id, again=not image.details or image.details.built_here is not False)

    def _inspect(self, ref: Ref, fact: str = "") -> None:
        inventory = self.inventory
        if ref.kind is Kind.CONTAINER and fact == "container.freshness":  # about the image that its tag names now
            image_id = inventory.tags.get(full(inventory.containers[ref.key].image_ref), "")
        else:
            image_id = image.id if (image := inventory.image_of(ref)) else ""
        with suppress(EngineError):  # what is missing stays unknown
            self.collector.details(image_id)
            if fact in _STEP_FACTS:
                self.collector.history(image_id)

    def _measure_disk(self, gathering: Gathering) -> None:
        info = self.inventory.info
        if info is not None and "disk" not in gathering.tried:
            gathering.tried.add("disk")
            gathering.data_disk = self.gauge(info.data_root)
            is_apart = info.image_root not in ("", info.data_root)
            gathering.disk = self.gauge(info.image_root) if is_apart else gathering.data_disk

    def _measure_usage(self, gathering: Gathering) -> None:
        if "usage" not in gathering.tried:
            gathering.tried.add("usage")
            gathering.usage = self.collector.usage()

    def note_pulls(self, changes: Iterable[Change], now: float) -> None:
        """What a registry said of a tag before it was pulled is no answer any more, also for sweeps under way.

        What the pull brought is one, and a part of the tag's history, if it can be told: an image may have several
        digests of one repository, and a pull of a whole repository does not say which tags there are.
        """
        for _, ref in [change for change in changes if change.cause == "image.pull"]:
            image = self.inventory.image_of(ref)
            if ref.kind is Kind.TAG and image:
                here = of_repository(image.digests, ref.key.rpartition(":")[0])
                self._note_pull(ref.key, Reply(digest=here[0]) if len(here) == 1 else None)
                if len(here) == 1:
                    self.inventory.digests.see(ref.key, "registry", here[0], now)
            else:
                for tag in self.inventory.tags_of(ref):
                    self._note_pull(tag, None)

    def _note_pull(self, tag: str, reply: Reply | None) -> None:
        ask = Ask("digest", tag)
        self.registry.note(ask, reply)
        for gathering in self._under_way:
            gathering.pending.pop(ask, None)
            gathering.replies.pop(ask, None)
            gathering.replies.update({ask: reply} if reply else {})

    def _ask(self, gathering: Gathering, ref: Ref, fact: str) -> None:
        """Get the answers a fact waits for, one after the other; what a registry refused is not asked again."""
        if not self.is_due(gathering, ref):
            raise LaterError
        self._inspect_origin(ref)
        while (ask := self._question(gathering, ref, fact)) is not None and ask not in gathering.replies:
            if ask.what == "manifest":
                self._inspect(ref)  # of an index, the entry of the image's platform counts
            if gathering.depth < REGISTRY:
                reply = self.registry.remembered(ask)
                if reply is None:
                    return
            else:
                reply = self._answer(gathering, ask)
            gathering.replies[ask] = reply
            is_answer = bool(reply.digest) or reply.reason == "not_found"
            tag = ask.reference
            # A tag has a history if it, or what names it, is here; those that others are compared with have none.
            is_kept = tag in self.inventory.tags or (ref.kind in (Kind.CONTAINER, Kind.SERVICE) and "@" not in tag)
            if ask.what == "digest" and is_answer and is_kept:
                self.inventory.digests.see(tag, "registry", reply.digest, gathering.now)

    def _answer(self, gathering: Gathering, ask: Ask) -> Reply:
        future = gathering.pending.get(ask)
        if future is None:
            future = self.registry.ask(ask, gathering.pace.max_age_seconds)
            if not future.done():
                future.add_done_callback(lambda _: self.wake())
        if not future.done():
            gathering.pending[ask] = future
            raise LaterError
        return future.result()

"""Keeping the inventory and our memory true: after events, new connections and crashes, and from time to time.

Input: batches of the queue. Output: changes. Out of bounds: judging, acting on anything but our own traces.
"""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from dockwarden.actions.execute import end_intents
from dockwarden.actions.images import sweep_markers
from dockwarden.actions.verb import Tools
from dockwarden.errors import AnswerError, DockwardenError, EngineError, LedgerError
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.digests import Sighting
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.memory import Kept
from dockwarden.inventory.registry_facts import followed_tag
from dockwarden.metrics import Metrics
from dockwarden.model import Change, Container, EngineInfo, Kind, Outcome, Service, Thing
from dockwarden.ports import Engine
from dockwarden.sinks.ledger import Ledger
from dockwarden.triggers.events import LONG_STALL_NS
from dockwarden.triggers.queue import Batch

_SAVE_SECONDS = 30.0
_NOTE_SECONDS = 1.0
_EXPIRE_SECONDS = 3600.0
_RESYNC_SHARE = 0.001  # a resync may cost this share of the time
_LONGEST_RETRY_SECONDS = 60.0
_ENDING_PAUSES = 9  # times as long as it took
_log = structlog.get_logger("dockwarden.inventory")


@dataclass(eq=False)
class Upkeep:
    """Looks where a batch says, keeps what must last. ``resync_seconds``: the least between lists for time alone."""

    engine: Engine
    inventory: Inventory
    collector: Collector
    ledger: Ledger
    tools: Callable[[EngineInfo], Tools]
    metrics: Metrics
    resync_seconds: float

    def __post_init__(self) -> None:
        self._listing: list[Thing] | Exception | None = None
        self._listing_seconds = 0.0
        self._resync_at = float("inf")
        self._saved_at = self._noted_at = self._ended_at = time.monotonic()
        self._expired_at = float("-inf")
        self._failures = 0
        self._judged_where = ""

    def look(self, batch: Batch) -> list[Change] | None:
        """Look at what the batch names; None if the engine did not answer, and then at everything a little later.

        Raises DockwardenError: another engine answers than before; only a new start can be right then.
        """
        if batch.lost:
            self.inventory.memory.clock.hold()
            self._resync_at = float("inf")
        if batch.connected is not None:
            self._connect(batch.connected)
        seen_ns = batch.newest_ns if batch.dirty else self.inventory.seen_ns
        try:
            if batch.resync:
                seen_ns = self.engine.now_ns()
                began = time.monotonic()
                changes = self.collector.reconcile(dirty for dirty, _ in batch.dirty)
                self.metrics.health.inventory_complete = True
                self._note_list("retry" if self._failures else batch.resync, time.monotonic() - began)
            elif batch.listed:
                changes = self._compare()
            else:
                changes = self.collector.refresh(dirty for dirty, _ in batch.dirty)
        except EngineError as error:
            self._failures += 1
            _log.warning("inventory.failed", error=str(error), failures=self._failures)
            self._resync_at = time.monotonic() + min(_LONGEST_RETRY_SECONDS, 0.5 * 2.0 ** min(self._failures, 10))
            return None
        self._failures = 0
        self.inventory.seen_ns = seen_ns
        self.metrics.set_objects(self.inventory.counts())
        self._say_who_leads()
        now = time.time()
        if batch.is_full:  # the tags that are here, and those that were when we last looked
            self._note_digests(self.inventory.digests.tags("local") | self.inventory.tags.keys(), now)
            self._leave_digests(now)
        else:
            tags = [ref.key for cause, ref in changes if ref.kind is Kind.TAG and cause.startswith("image.")]
            self._note_digests(tags, now)
        return changes

    def _say_who_leads(self) -> None:
        leads = self.inventory.leads
        is_swarm = leads or (self.inventory.info is not None and self.inventory.info.swarm)
        where = "here, on the leader" if leads else "on the leader of the swarm only" if leads is False else "unknown"
        if is_swarm and where != self._judged_where:
            _log.info("services.judged", where=where)
            self._judged_where = where

    def note_quiet(self) -> None:
        """Nothing waits: the inventory is as the engine is, but for what may still be on its way to the queue."""
        if self.inventory.complete and self.metrics.health.engine_up and not self._failures:
            self.inventory.seen_ns = max(self.inventory.seen_ns, self.engine.now_ns() - LONG_STALL_NS)

    @property
    def patience_seconds(self) -> float:
        """How soon ``save_due`` wants to be called again: what was seen of digests and of uses is soon written down."""
        return _NOTE_SECONDS if self.inventory.digests.unsaved or self.inventory.memory.is_pressing else _SAVE_SECONDS

    def is_list_due(self, now: float) -> bool:
        return now >= self._resync_at and self.metrics.health.engine_up

    def list_beside(self, wake: Callable[[], object]) -> bool:
        """Have everything listed in a thread, which calls ``wake`` at its end; False if looks have failed.

        The worker then compares. Whatever is not as listed it looks at itself, so what happened meanwhile is no matter.
        """
        if self._failures:
            return False
        self._resync_at = float("inf")
        threading.Thread(target=self._list, args=(wake,), name="list", daemon=True).start()
        return True

    def _list(self, wake: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            listing: list[Thing] | Exception = self.collector.list_all()
        except Exception as error:  # noqa: BLE001 - the worker deals with it
            listing = error
        self._listing_seconds, self._listing = time.monotonic() - began, listing
        wake()

    @property
    def is_listed(self) -> bool:
        return self._listing is not None

    def _compare(self) -> list[Change]:
        listing, self._listing = self._listing, None
        if isinstance(listing, Exception):
            raise listing if isinstance(listing, EngineError) else AnswerError(f"list: {listing!r}")
        changes = self.collector.compare(listing) if listing is not None else []
        self._note_list("interval", self._listing_seconds)
        return changes

    def save_due(self, now: float) -> None:
        """Write down what is due, and forget what has become too old."""
        if now - self._expired_at > _EXPIRE_SECONDS:
            self._expire(now)
        if now - self._saved_at > _SAVE_SECONDS:
            self.save()
        elif self.patience_seconds == _NOTE_SECONDS and now - self._noted_at > _NOTE_SECONDS:
            self._note()

    def save(self) -> None:
        self._saved_at, inventory = time.monotonic(), self.inventory
        self._note()
        looks, images, histories = inventory.looks, inventory.images, inventory.histories
        if looked_at := list(looks.unsaved):
            with suppress(LedgerError):
                self.ledger.save_looks([(key, looks.row(images.get(key), histories.get(key))) for key in looked_at])
                looks.unsaved.difference_update(looked_at)

    def _note_digests(self, tags: Iterable[str], now: float) -> None:
        """See what each tag is here now: its digest, or where it has none the ID of its image."""
        inventory = self.inventory
        for tag in tags:
            image_id = inventory.tags.get(tag)
            if image_id is None:
                inventory.digests.leave(tag, "local", now)
                continue
            here = inventory.digests.pick(tag, inventory.images[image_id].digests)
            inventory.digests.see(tag, "local", here or image_id, now)

    def _leave_digests(self, now: float) -> None:
        """Of tags that nothing here asks for any more, nobody sees what the registry has."""
        inventory = self.inventory
        users: tuple[Container | Service, ...] = (*inventory.containers.values(), *inventory.services.values())
        asked_for = {followed_tag(container) for container in users} | inventory.tags.keys()
        for tag in inventory.digests.tags("registry") - asked_for:
            inventory.digests.leave(tag, "registry", now)

    def _note(self) -> None:
        """Write down what else would be older after a crash, or be lost. What cannot be written stays unsaved."""
        self._noted_at = time.monotonic()
        inventory, digests, memory = self.inventory, self.inventory.digests, self.inventory.memory
        memory.is_pressing = False  # where it fails, too: a full disk is not tried each second
        sightings, refs = list(digests.unsaved), list(memory.unsaved)
        rows = [(ref, memory.of(ref, used=inventory.is_used(ref))) for ref in refs]
        with suppress(LedgerError):  # the ledger has said why
            self.ledger.save_digests(sightings)
            del digests.unsaved[: len(sightings)]
        with suppress(LedgerError):
            self.ledger.save(memory.clock.read(), rows)
            memory.unsaved.difference_update(refs)

    def _expire(self, now: float) -> None:
        """Forget what can be undone no longer, and remove the archives that nothing needs."""
        if self.inventory.info is None:
            return
        self._expired_at, archive = now, self.tools(self.inventory.info).archive
        with suppress(LedgerError, OSError):
            for name in self.ledger.expire():
                archive.remove(name)
                _log.info("archive.removed", archive=name)
            if strangers := archive.strangers():
                note = "the ledger does not know them; they count, and stay until somebody removes them"
                _log.warning("archive.unknown", archives=sorted(strangers), bytes=sum(strangers.values()), note=note)
            self.ledger.prune()

    def is_end_due(self, now: float) -> bool:
        """Whether what was cut short should be looked at again, as it could not be ended, or not told."""
        return now - self._ended_at > _LONGEST_RETRY_SECONDS and self.metrics.health.engine_up

    def end_intents(self) -> list[Outcome]:
        """After a list, and every minute: how what was cut short ended; less often where the engine takes minutes."""
        began, info = time.monotonic(), self.inventory.info
        try:
            return end_intents(self.tools(info), self.ledger) if info else []
        finally:
            self._ended_at = (now := time.monotonic()) + _ENDING_PAUSES * (now - began)

    def _connect(self, info: EngineInfo) -> None:
        inventory = self.inventory
        if inventory.info is None:
            resume(inventory, self.ledger, info)
            with suppress(LedgerError):
                self.ledger.claim(info.identity)
        elif inventory.info.identity != info.identity:
            raise DockwardenError(f"the engine is another one now: {info.identity}")
        inventory.memory.clock.resume()
        inventory.info = info

    def _note_list(self, reason: str, cost: float) -> None:
        self.metrics.inventory_resyncs.labels(reason).inc()
        self._resync_at = time.monotonic() + max(self.resync_seconds, cost / _RESYNC_SHARE)
        _log.info("inventory.listed", reason=reason, images=len(self.inventory.images), seconds=round(cost, 3))
        sweep_markers(self.engine, list(self.inventory.images.values()))


def resume(inventory: Inventory, ledger: Ledger, info: EngineInfo) -> None:
    """What the ledger remembers of this engine: the clock, when each object was seen and used, the tags' digests."""
    clock, memory = ledger.recall(info.identity)
    inventory.memory.clock.resume(clock)
    inventory.memory.recall(memory)
    inventory.looks.recall(info, (Kept(*row) for row in ledger.looks(info.identity)))
    inventory.digests.recall([Sighting(*row) for row in ledger.present_digests(info.identity)])
    inventory.info = info

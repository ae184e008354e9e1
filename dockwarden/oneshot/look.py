"""One look at the engine: what ``scan`` and ``images`` print, and what plans are made of.

Input: settings, policies. Output: results and rows. Out of bounds: printing them, threads of our own, writing anything.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from typing import NamedTuple

import structlog

from dockwarden import reference
from dockwarden.actions.execute import end_intents
from dockwarden.actions.undo import ACTION
from dockwarden.app import Parts, open_to_read
from dockwarden.config.settings import Settings
from dockwarden.errors import DockwardenError
from dockwarden.inventory.gather import INSPECT, REGISTRY, Learnt
from dockwarden.inventory.image_facts import is_dangling
from dockwarden.inventory.live import Inventory
from dockwarden.metrics import Metrics
from dockwarden.model.objects import EngineInfo, Image, Ref, ref_of
from dockwarden.model.outcomes import Outcome, Record
from dockwarden.model.policies import FactValue, PolicySet, Result
from dockwarden.model.words import Effect, Kind
from dockwarden.pipeline.judge import Sweep
from dockwarden.pipeline.upkeep import resume

_WAIT_SECONDS = 1.0
_STATE = ("registry.state", "registry.drift_for")
_THERE = ("registry.digest", "registry.newest_version", "registry.newest_version_digest")
_ALIASES = ("registry.latest_is",)
_log = structlog.get_logger("dockwarden")


class TagRow(NamedTuple):
    """One tag, or one image without any, with what is known of it here and at its registry.

    Attributes:
        repository: of the tag, or of an image that was pulled by its digest alone.
        digest: what the engine has in that repository, "" if nothing.
        state: as the fact ``registry.state``; ``pinned`` for an image that was pulled by its digest alone.
        reason: in one word, why the state is not known.
        state_seconds: since when the digests are what they are, by our own memory; None if we have none.
        known_seconds: how long we have watched the image exist.
    """

    image_id: str
    short_id: str
    tag: str
    repository: str
    digest: str
    registry_digest: str
    state: str
    reason: str
    state_seconds: float | None
    newest_version: str
    newest_version_digest: str
    latest_is: list[str]
    known_seconds: float
    used_by: list[str]
    same_as: list[str]


PartsOf = Callable[[Settings, PolicySet], tuple[Parts, EngineInfo]]
"""Gives the parts with everything listed once, from an engine or from what stands for one."""


def scan(settings: Settings, policies: PolicySet, source: PartsOf | None = None) -> tuple[EngineInfo, list[Result]]:
    """Judge everything once; ``source`` stands for ``look``. Raises EngineUnavailableError: the engine is away."""
    parts, info = (source or look)(settings, policies)
    now, sweep = parts.now(), Sweep()
    with closing(parts):
        allowed = parts.judge.allowed(policies.policies, now)
        finish(parts, parts.judge.sweep(parts.judge.everything(allowed), sweep, depth=REGISTRY, now=now, keep_all=True))
        for policy in allowed:
            finish(parts, parts.judge.left_full(policy, sweep, now))
    return info, sweep.results


def look_at_tags(settings: Settings, *, offline: bool) -> list[TagRow]:
    """Every tag with its digests and state, aliases together. Raises EngineUnavailableError: the engine is away."""
    parts, _ = look(settings)
    now, depth = time.time(), INSPECT if offline else REGISTRY
    learnt: Learnt = {}

    def learn(refs: Iterable[Ref], names: Sequence[str]) -> None:
        finish(parts, parts.judge.gatherer.learn([(ref, names) for ref in refs], learnt, depth, now))

    with closing(parts):
        learn(parts.inventory.all(Kind.TAG), _STATE)
        # No registry is told the names of what was built here.
        learn([ref for ref, (sheet, _) in learnt.items() if sheet.known.get("registry.state") != "local"], _THERE)
        newest = {ref: sheet.known.get("registry.newest_version", "") for ref, (sheet, _) in learnt.items()}
        learn([ref for ref, name in newest.items() if name not in ("", ref.key.rpartition(":")[2])], _ALIASES)
    found = {ref: sheet.known for ref, (sheet, _) in learnt.items()}
    reasons = {ref: next(filter(None, why.values()), "") for ref, (_, why) in learnt.items()}  # the state's
    images = sorted(parts.inventory.images.values(), key=lambda image: (image.tags or ("~",), image.id))
    return [row for image in images for row in _rows(parts, image, found, reasons, now)]


def look(settings: Settings, policies: PolicySet | None = None, *, writes: bool = False) -> tuple[Parts, EngineInfo]:
    """The parts, with everything listed once and our memory as the daemon left it: objects, findings of ``policies``.

    ``writes``: the ledger stays open, to be written to. Raises EngineUnavailableError, and what ``take`` does.
    """
    parts = Parts(settings, Metrics())
    info = parts.engine.connect()
    if writes:
        take(parts, info)
    else:
        open_to_read(settings, parts.ledger)
        if parts.ledger.unreadable:
            note = "ages count from now, and no past is known"
            _log.error("ledger.unreadable", error=parts.ledger.unreadable, note=note)
    resume(parts.inventory, parts.ledger, info)
    parts.findings.recall(parts.ledger.open_findings(), parts.ledger.asides())
    if not writes:
        parts.ledger.close()
    settle(parts, policies)
    return parts, info


def settle(parts: Parts, policies: PolicySet | None) -> None:
    """List everything, and keep of what is remembered what is still there."""
    parts.judge.exceptions = policies.exceptions if policies else ()
    parts.inventory.seen_ns = parts.engine.now_ns()
    parts.witness.begin(parts.inventory.seen_ns)
    parts.collector.reconcile()
    for trouble in parts.collector.take_troubles():
        _log.error("run.error", error=trouble)
    parts.findings.keep_only({policy.name: policy for policy in policies.policies} if policies else {})
    parts.findings.drop_objects(ref for ref in parts.findings.refs() if not parts.inventory.has(ref))


def take(parts: Parts, info: EngineInfo) -> list[tuple[Record, Outcome]]:
    """Open the ledger for whatever acts: it says first whose the ledger is, and ends what was cut short.

    Gives what it brought back by that, as an undo of it was cut short. Raises LedgerError: it cannot be written;
    DockwardenError: it is of another engine, or nothing may be changed on this one.
    """
    if info.only_audited:
        raise DockwardenError(info.only_audited)
    ledger = parts.ledger
    ledger.open()
    try:
        if not ledger.is_of(info.identity):
            way = "name its address, or another state_dir; `dockwarden run` would make the ledger this one's"
            said = f"the ledger is of another engine, {ledger.engine()}, than the one that answers, {info.identity}"
            raise DockwardenError(f"{said}; nothing was done: {way}, and then nothing done to that one can be undone")
        ledger.claim(info.identity)
    except DockwardenError:
        ledger.close()
        raise
    before = ledger.undoable()
    ended = end_intents(parts.tools(info), ledger, watches=False)
    back = {(each.ref, each.name): each for each in ended if each.action == ACTION and each.effect is Effect.APPLIED}
    return [(done, back[done.ref, done.name]) for done in before if (done.ref, done.name) in back]


def finish(parts: Parts, steps: Iterable[bool]) -> None:
    """Take all steps, waiting where they wait, and follow what happens to the engine meanwhile."""
    followed_at, shown = time.monotonic(), ""
    try:
        for waits in steps:
            if waits:
                parts.queue.take(_WAIT_SECONDS)  # until an answer comes
            if time.monotonic() - followed_at > _WAIT_SECONDS:
                parts.witness.meanwhile()
                followed_at = time.monotonic()
                has = parts.inventory
                known = f"{has.detailed} of {len(has.images)} images looked at, and {len(has.histories)} histories"
                shown = "waiting for registries" if waits else known
                _show(shown)
    finally:
        if shown:
            _show("")


def _show(text: str) -> None:
    """How far it is, for people who wait at a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _rows(
    parts: Parts, image: Image, found: Mapping[Ref, Mapping[str, FactValue]], reasons: Mapping[Ref, str], now: float
) -> Iterator[TagRow]:
    inventory = parts.inventory
    users = sorted(inventory.name_of(user) for user in inventory.users_of(ref_of(image)))
    for tag in image.tags or ("",):
        ref = Ref(Kind.TAG, tag)
        known = found.get(ref, {})
        repository, _, digest = next(iter(image.digests), "").partition("@")  # of what was pulled by its digest alone
        if tag:
            repository, digest = tag.rpartition(":")[0], inventory.digests.pick(tag, image.digests)
        is_pinned = not tag and not is_dangling(image, inventory)
        state = "pinned" if is_pinned else str(known.get("registry.state", ""))
        latest_is = known.get("registry.latest_is", [])
        yield TagRow(
            image_id=image.id,
            short_id=reference.short_id(image.id),
            tag=tag,
            repository=repository,
            digest=digest,
            registry_digest=str(known.get("registry.digest", "")),
            state=state,
            reason="" if state else reasons.get(ref, ""),
            state_seconds=_state_seconds(inventory, tag, digest or image.id, known, now),
            newest_version=str(known.get("registry.newest_version", "")),
            newest_version_digest=str(known.get("registry.newest_version_digest", "")),
            latest_is=[str(name) for name in latest_is] if isinstance(latest_is, list) else [],
            known_seconds=inventory.known_for(ref_of(image)),
            used_by=users,
            same_as=[other for other in image.tags if other != tag],
        )


def _state_seconds(
    inventory: Inventory, tag: str, here: str, known: Mapping[str, FactValue], now: float
) -> float | None:
    state, drift_for = known.get("registry.state"), known.get("registry.drift_for")
    if state == "drift" and isinstance(drift_for, timedelta):
        return drift_for.total_seconds()
    since = inventory.digests.since(tag, *(("registry", "") if state == "gone" else ("local", here)))
    return max(0.0, now - since) if since is not None else None

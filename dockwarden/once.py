"""One look at the engine, and nothing changed: what ``scan`` and ``images`` print.

Input: settings, policies. Output: results and rows. Out of bounds: printing, threads of our own, writing anything.
"""

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dockwarden import reference
from dockwarden.app import Parts, build
from dockwarden.inventory.digests import Sighting, of_repository
from dockwarden.inventory.facts import Sheet
from dockwarden.judge import INSPECT, REGISTRY, Sweep
from dockwarden.metrics import Metrics
from dockwarden.model import EngineInfo, Image, Kind, Mode, PolicySet, Ref, Result
from dockwarden.settings import Settings

_WAIT_SECONDS = 1.0
_TAG_FACTS = ("registry.digest", "registry.state", "registry.newest_version")
_MOVING_FACTS = ("registry.latest_is",)


class TagRow(NamedTuple):
    """One tag, or one image without any, with what is known of it here and at its registry.

    Attributes:
        digest: what the engine has for the tag in its repository, "" if nothing.
        reason: in one word, why the registry's side is not known.
        state_seconds: since when the state is what it is, by our own memory; None if we have none.
        known_seconds: how long we have watched the image exist.
    """

    image_id: str
    short_id: str
    tag: str
    digest: str
    registry_digest: str
    state: str
    reason: str
    state_seconds: float | None
    newest_version: str
    latest_is: list[str]
    known_seconds: float
    used_by: list[str]
    same_as: list[str]


def scan(settings: Settings, policies: PolicySet) -> tuple[EngineInfo, list[Result]]:
    """Judge everything once.

    Raises:
        EngineUnavailableError: the engine cannot be reached.
    """
    parts, info = _look(settings)
    now = time.time()
    sweep = Sweep()
    work = []
    for kind in Kind:
        due = [p for p in policies.policies if p.subject is kind and p.mode is not Mode.OFF]
        open_ones = [policy for policy in due if parts.judge.host_allows(policy, now)]
        work += [(ref, open_ones) for ref in parts.inventory.all(kind)] if open_ones else []
    _finish(parts, parts.judge.sweep(work, sweep, depth=REGISTRY, now=now, keep_all=True))
    return info, sweep.results


def look_at_tags(settings: Settings, *, offline: bool) -> list[TagRow]:
    """Every tag with its digests and state, aliases of one image together.

    Raises:
        EngineUnavailableError: the engine cannot be reached.
    """
    parts, _ = _look(settings)
    now, depth = time.time(), INSPECT if offline else REGISTRY
    tags = parts.inventory.all(Kind.TAG)
    moving = [ref for ref in tags if reference.version(ref.key.rpartition(":")[2]) is None]
    found: dict[Ref, tuple[Sheet, str]] = {}
    more: dict[Ref, tuple[Sheet, str]] = {}
    _finish(parts, parts.judge.learn(tags, _TAG_FACTS, found, depth=depth, now=now))
    _finish(parts, parts.judge.learn(moving, _MOVING_FACTS, more, depth=depth, now=now))
    images = sorted(parts.inventory.images.values(), key=lambda image: (image.tags or ("~",), image.id))
    return [row for image in images for row in _rows(parts, image, found, more, now)]


def _look(settings: Settings) -> tuple[Parts, EngineInfo]:
    parts = build(settings, Metrics())
    info = parts.engine.connect()
    parts.ledger.open_to_read()
    clock, memory = parts.ledger.recall(info.identity)
    parts.inventory.digests.recall([Sighting(*row) for row in parts.ledger.present_digests()])
    parts.ledger.close()
    parts.inventory.memory.clock.resume(clock)
    parts.inventory.memory.recall(memory)
    parts.inventory.info = info
    parts.collector.reconcile()
    return parts, info


def _finish(parts: Parts, steps: Iterable[bool]) -> None:
    for waits in steps:
        if waits:
            parts.queue.take(_WAIT_SECONDS)  # until an answer comes


def _rows(
    parts: Parts,
    image: Image,
    found: dict[Ref, tuple[Sheet, str]],
    more: dict[Ref, tuple[Sheet, str]],
    now: float,
) -> Iterator[TagRow]:
    inventory = parts.inventory
    users = sorted(inventory.containers[key].name for key in inventory.users_of_image(image.id))
    for tag in image.tags or ("",):
        ref = Ref(Kind.TAG, tag)
        sheet, reason = found.get(ref, (Sheet(), ""))
        moving, _ = more.get(ref, (Sheet(), ""))
        state = str(sheet.known.get("registry.state", ""))
        digest = inventory.digests.pick(tag, of_repository(image.digests, tag.rpartition(":")[0]))
        registry_digest = str(sheet.known.get("registry.digest", ""))
        drifted = state == "drift"
        since = inventory.digests.since(
            tag, "registry" if drifted else "local", registry_digest if drifted else digest or image.id
        )
        latest_is = moving.known.get("registry.latest_is", [])
        yield TagRow(
            image_id=image.id,
            short_id=reference.short_id(image.id),
            tag=tag,
            digest=digest,
            registry_digest=registry_digest,
            state=state,
            reason="" if state else reason,
            state_seconds=max(0.0, now - since) if since is not None else None,
            newest_version=str(sheet.known.get("registry.newest_version", "")),
            latest_is=[str(name) for name in latest_is] if isinstance(latest_is, list) else [],
            known_seconds=inventory.memory.known_for(Ref(Kind.IMAGE, image.id)),
            used_by=users,
            same_as=[other for other in image.tags if other != tag],
        )

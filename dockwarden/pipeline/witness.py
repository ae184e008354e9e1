"""What happened to objects since they were judged, by the engine's own events; asked before each step of a plan.

Input: ``ports.Engine`` and the engine's time up to which the inventory knows everything. Output: whether a step's
object was used, born again or changed since. Out of bounds: looking at objects; a step does that itself.

"In use now" is not enough: a container may have come, written to a volume and gone between two looks.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Self

from dockwarden import reference
from dockwarden.actions.verb import News
from dockwarden.errors import EngineError, NotFoundError
from dockwarden.model import Container, Event, Image, Kind, Ref, Step, Volume, ref_of
from dockwarden.ports import REPLAYED_AT_MOST, Engine

_OVERLAP_NS = 1_000_000
_MEANWHILE_SECONDS = 1.0
_SHORT_SECONDS = 0.1  # within it no engine emits as many events as it remembers
_BIRTHS = frozenset({"pull", "load", "import", "create", "delete", "tag"})  # whether it has other names, a look tells
_USES = frozenset({"create", "start", "mount", "connect"})  # what ends a use was in use when it was judged


class Witness:
    """Follows one engine, in windows without a gap."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._began_ns = -1
        self._follow_from(0)

    def _follow_from(self, since_ns: int) -> None:
        self._since_ns, self._asked_at, self._lost = since_ns, float("-inf"), ""
        self._touched: dict[Kind, set[Ref]] = defaultdict(set)
        self._born, self._known = set[str](), set[str]()  # containers, and those of which is known what they need
        self._needed = set[Ref]()

    def begin(self, seen_ns: int) -> Self:
        """Follow what happened since the inventory was told all, by the engine's clock; 0: since now.

        Whoever says the same time again goes on: plans that stand on the same look share what happened since.
        """
        if seen_ns != self._began_ns or not seen_ns:
            self._began_ns = seen_ns
            self._follow_from(seen_ns + 1 if seen_ns else self._engine.now_ns())
        return self

    def __call__(self, step: Step) -> News | None:
        """What happened to the object of a step since it was judged, None if nothing did. Raises EngineError."""
        self.follow()
        thing = step.object if step.action == "remove" and isinstance(step.object, Container | Volume) else None
        while thing and (made := self._born - self._known):
            self._ask_what_they_need(made)
            self.follow()  # what happened meanwhile counts as well
        if self._lost:
            return News(self._lost, is_known=False)
        if thing and not self._needed.isdisjoint((ref_of(thing), ref_of(thing)._replace(key=thing.name))):
            return News("a container was made since it was judged which needs it")
        touched = sorted({ref.kind.value for ref in _refs(step) if self._is_touched(ref)})
        return News(f"it was used or changed since it was judged ({', '.join(touched)})") if touched else None

    def _ask_what_they_need(self, made: Iterable[str]) -> None:
        """Also for a bind of a volume's folder, which no event of the volume tells."""
        for each in made:
            with suppress(NotFoundError):
                found = self._engine.container(each)
                self._needed.update(Ref(Kind.CONTAINER, called) for called in found.stands_on)
                self._needed.update(Ref(Kind.VOLUME, mount.name) for mount in found.mounts)
            self._known.add(each)  # not where it could not be asked

    def _is_touched(self, ref: Ref) -> bool:
        if ref in self._touched[ref.kind]:
            return True
        if ref.kind is not Kind.IMAGE:
            return False
        digits = ref.key.partition(":")[2]  # people may type the first of them
        words = (tag.key.rpartition("/")[2].partition(":")[0] for tag in self._touched[Kind.TAG])
        return any(word and digits.startswith(word) for word in words)

    def meanwhile(self) -> None:
        """Read on, once a second, for whoever waits: soon an engine may remember nothing but probes of health."""
        if self._began_ns >= 0 and time.monotonic() - self._asked_at > _MEANWHILE_SECONDS:
            with suppress(EngineError):  # the next look will meet it again
                self.follow()

    def follow(self) -> None:
        """Read on. Raises EngineError."""
        now, asked_at = self._engine.now_ns(), time.monotonic()
        if self._lost:
            return
        if now < self._since_ns:
            self._lost = "the clock of the engine was set back, so nobody knows what happened since it was judged"
            return
        is_long = asked_at - self._asked_at > _SHORT_SECONDS
        if is_long and self._engine.replayed(self._since_ns, now) >= REPLAYED_AT_MOST:
            self._lost = "so much happened since it was judged that the engine does not remember all of it"
            return
        until = self._engine.now_ns()  # counting takes a while, and a deed may come next
        for event in self._engine.events(self._since_ns, until):
            self._born |= {event.id} if (event.type, event.action) == (Kind.CONTAINER, "create") else set()
            for ref in _touched_by(event):
                self._touched[ref.kind].add(ref)
        self._since_ns, self._asked_at = max(self._since_ns, until - _OVERLAP_NS), asked_at


def _touched_by(event: Event) -> Iterator[Ref]:
    if event.type == Kind.CONTAINER and event.image and event.action in _USES:
        yield ref_named(event.image)
    elif event.type == Kind.CONTAINER and event.action == "extract-to-dir":  # somebody puts files into it
        yield Ref(Kind.CONTAINER, event.id)
    elif event.type == Kind.IMAGE and event.action in _BIRTHS:
        yield ref_named(event.id)
    elif event.type in (Kind.VOLUME, Kind.NETWORK) and event.action in _USES:
        yield Ref(Kind(event.type), event.id)


def ref_named(image: str) -> Ref:
    """The image of this ID, or whatever has this name."""
    return Ref(Kind.IMAGE, image) if reference.is_image_id(image) else Ref(Kind.TAG, reference.full(image))


def _refs(step: Step) -> Iterator[Ref]:
    """All by which an event may call the object of a step."""
    yield step.ref
    if isinstance(step.object, Image):
        yield Ref(Kind.IMAGE, step.object.id)
        yield from (Ref(Kind.TAG, name) for name in (*step.object.tags, *step.object.digests))

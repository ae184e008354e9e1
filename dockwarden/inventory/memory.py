"""Our own memory of objects: since when we have watched them exist, when a container last used them, or last ran.

Input: sightings by the inventory, and what the ledger kept. Output: ages in seconds of the observation clock, and what
need not be asked again. Out of bounds: build dates and the engine's dates, which say nothing about when an object
arrived or was used.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any, NamedTuple

from dockwarden import __version__
from dockwarden.model import BuildStep, Container, EngineInfo, Image, ImageDetails, Observed, Ref, ref_of

_HOUR = 3600.0
_NEGLIGIBLE_SECONDS = 30.0  # in ages of hours and days
_MOST_STARTS = 1000


class ObservationClock:
    """Seconds during which objects were really watched.

    It stands still while the engine is away and while dockwarden does not run, and ignores the wall clock, so that an
    age taken from it can be too young but never too old.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._counted = 0.0
        self._since: float | None = None

    def resume(self, at_least: float = 0.0) -> None:
        """Start counting; never below ``at_least``, the reading that the ledger remembers."""
        self._counted = max(self.read(), at_least)
        self._since = self._monotonic()

    def hold(self) -> None:
        self._counted, self._since = self.read(), None

    def read(self) -> float:
        return self._counted + (self._monotonic() - self._since if self._since is not None else 0.0)


class Memory:
    """When each object was first seen and last used (ran), by that clock; who writes it down clears ``unsaved``.

    ``is_pressing``: by what is written down, something would be older than it is; what is new would only be younger.
    """

    def __init__(self, clock: ObservationClock) -> None:
        self.clock = clock
        self.unsaved: set[Ref] = set()
        self.is_pressing = False
        self._seen: dict[Ref, Observed] = {}

    def recall(self, memory: Iterable[tuple[Ref, Observed]]) -> None:
        """Take over what the ledger kept, before the first objects arrive. Negative use means: was in use then."""
        now = self.clock.read()
        for ref, seen in memory:
            used = now if seen.used_seconds < 0 else min(seen.used_seconds, now)
            self._seen[ref] = Observed(min(seen.first_seconds, now), used, seen.had_tag, seen.given_up_at)

    def of(self, ref: Ref, *, used: bool) -> Observed | None:
        """What to write down of an object, None when it is gone. ``used``: a container uses it now."""
        seen = self._seen.get(ref)
        return seen._replace(used_seconds=-1.0) if seen and used else seen

    def known_for(self, ref: Ref, reading: float | None = None) -> float:
        """Seconds we have watched this object exist, now or at a reading of the clock; 0 for one not remembered."""
        seen = self._seen.get(ref)
        now = self.clock.read() if reading is None else reading
        return max(0.0, now - seen.first_seconds) if seen else 0.0

    def idle_for(self, ref: Ref) -> float:
        """Seconds since a container was last seen using it, or since it was first seen."""
        seen = self._seen.get(ref)
        return max(0.0, self.clock.read() - max(seen.used_seconds, seen.first_seconds)) if seen else 0.0

    def used_at(self, ref: Ref) -> float | None:
        """The clock's reading when it was last used, None if we never saw that."""
        seen = self._seen.get(ref)
        return seen.used_seconds if seen and seen.used_seconds > seen.first_seconds else None

    def is_touched_since(self, ref: Ref, reading: float) -> bool:
        """Whether it was used, or came to be, after this reading of the clock."""
        seen = self._seen.get(ref)
        return seen is not None and max(seen.used_seconds, seen.first_seconds) > reading

    def had_tag(self, ref: Ref) -> bool:
        """Whether we ever saw this image with a tag; without it, a digest alone means pinned, not superseded."""
        seen = self._seen.get(ref)
        return seen is not None and seen.had_tag

    def is_given_up(self, ref: Ref) -> bool:
        seen = self._seen.get(ref)
        return seen is not None and seen.given_up_at is not None

    def give_up(self, container: Container) -> None:
        """Restart it no more, until ``look_at`` sees that it is well or that somebody else started it."""
        self._set(container, container.started_at or 0.0)

    def look_at(self, container: Container) -> None:
        """A container as it is now. What the engine restarts by itself is not somebody else's start."""
        seen = self._seen.get(ref_of(container))
        if seen is None or seen.given_up_at is None:
            return
        is_started = container.started_at != seen.given_up_at and not container.config.restart_count
        if container.health == "healthy" or is_started:
            self._set(container, None)

    def _set(self, container: Container, given_up_at: float | None) -> None:
        ref = ref_of(container)
        if (seen := self._seen.get(ref)) is not None and seen.given_up_at != given_up_at:
            self._seen[ref] = seen._replace(given_up_at=given_up_at)
            self.unsaved.add(ref)

    def see(self, ref: Ref, *, had_tag: bool = False, used: bool = False) -> None:
        now = self.clock.read()
        old = self._seen.get(ref)
        new = Observed(now, now, had_tag) if old is None else old
        if used:
            new = new._replace(used_seconds=now)
        if had_tag and not new.had_tag:
            new = new._replace(had_tag=True)
        if new is not old:
            self._seen[ref] = new
            self._note(ref, now if old is None else old.used_seconds)

    def forget(self, ref: Ref) -> None:
        if (old := self._seen.pop(ref, None)) is not None:
            self._note(ref, old.first_seconds)

    def _note(self, ref: Ref, since: float) -> None:
        """``since``: from when it would count by what is written down."""
        self.unsaved.add(ref)
        self.is_pressing = self.is_pressing or self.clock.read() - since > _NEGLIGIBLE_SECONDS

    def keep_only(self, present: Iterable[Ref]) -> None:
        """After a full list: forget what is not there any more."""
        for ref in self._seen.keys() - set(present):
            self.forget(ref)


class Lives:
    """What containers went through while we watched: since when each is in its state, and when it was started again.

    It is not kept across starts: then counting begins anew, with what the engine counted of young containers.
    """

    def __init__(self, clock: ObservationClock) -> None:
        self._clock = clock
        self._turned: dict[str, float] = {}
        self._starts: dict[str, list[float]] = {}
        self._before: dict[str, int] = {}

    def see(self, old: Container | None, new: Container) -> None:
        now = self._clock.read()
        if old is None or (old.state, old.started_at) != (new.state, new.started_at):
            self._turned[new.id] = now
        if old is None:
            self._before[new.id] = new.config.restart_count
        elif old.started_at and old.started_at != new.started_at:
            times = max(1, new.config.restart_count - old.config.restart_count)
            within = [at for at in self._starts.get(new.id, ()) if now - at < _HOUR]
            self._starts[new.id] = [*within, *[now] * times][-_MOST_STARTS:]

    def forget(self, container_id: str) -> None:
        for table in (self._turned, self._starts, self._before):
            table.pop(container_id, None)

    def state_for(self, container_id: str) -> float:
        return max(0.0, self._clock.read() - self._turned.get(container_id, self._clock.read()))

    def restarts_last_hour(self, container: Container, now: float) -> int:
        """How often it was started again in the last hour; ``now`` by the wall clock, for what was before we came."""
        read = self._clock.read()
        is_young = container.created_at is not None and now - container.created_at < _HOUR
        before = self._before.get(container.id, 0) if is_young else 0
        return before + sum(read - at < _HOUR for at in self._starts.get(container.id, ()))


class Kept(NamedTuple):
    """What is kept of an image: by which mark it is still so, its details and, where known, its history, as JSON."""

    image_id: str
    mark: str
    details: str
    history: str


class Looks:
    """What dear looks at images told, kept across starts for each that is listed as it was then.

    An ID alone does not fix it: what an index stands for on an engine changes with the platforms that were pulled, and
    so does the size. What a newer program or engine would say may be more.

    Attributes:
        unsaved: images of which the ledger has to learn; the writer clears it.
    """

    def __init__(self) -> None:
        self.unsaved: set[str] = set()
        self._kept: dict[str, Kept] = {}
        self._reader: tuple[str, ...] = ()

    def recall(self, info: EngineInfo, kept: Iterable[Kept]) -> None:
        """Take over what the ledger kept."""
        self._reader = (__version__, info.version, info.api_version, info.image_store)
        self._kept = {each.image_id: each for each in kept}

    def keep_only(self, present: Collection[str]) -> None:
        """After a full list: forget what is not there any more."""
        for image_id in self._kept.keys() - present:
            del self._kept[image_id]
            self.unsaved.add(image_id)

    def details(self, image: Image) -> ImageDetails | None:
        """What is kept of it, None if nothing is; who built it is for the engine to say."""
        values: list[Any] = json.loads(kept.details) if (kept := self._of(image)) else []
        if len(values) != len(fields(ImageDetails)):
            return None
        values = [tuple(each) if isinstance(each, list) else each for each in values]
        return replace(ImageDetails(*values), built_here=None)

    def history(self, image: Image) -> tuple[BuildStep, ...] | None:
        """The steps that are kept, None if none are."""
        kept = self._of(image)
        return tuple(BuildStep(*step) for step in json.loads(kept.history)) if kept and kept.history else None

    def row(self, image: Image | None, history: Sequence[BuildStep] | None) -> Kept | None:
        """What to write down of an image, None of one that is gone."""
        if image is None or image.details is None:
            return None
        steps = "" if history is None else json.dumps(history)
        # astuple copies all that is in it
        values = [getattr(image.details, each.name) for each in fields(ImageDetails)]
        return Kept(image.id, self._mark(image), json.dumps(values), steps)

    def _of(self, image: Image) -> Kept | None:
        kept = self._kept.get(image.id)
        return kept if kept and kept.mark == self._mark(image) else None

    def _mark(self, image: Image) -> str:
        names, labels = (image.tags, image.digests, image.markers), sorted(image.labels.items())
        return sha256(repr((self._reader, names, labels, image.size_bytes, image.created_at)).encode()).hexdigest()

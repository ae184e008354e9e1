"""Tables of what the engine has: every object by its key, what it is called, who uses it, and since when.

Input: frozen objects. Output: answers about any object, whatever its kind. Out of bounds: what a new look means
(``live``), asking the engine (``collect``), and clocks (``memory`` has its own).
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar, assert_never

from dockwarden import reference
from dockwarden.inventory.digests import Digests, of_repository
from dockwarden.inventory.kinds import KINDS, aliases, uses
from dockwarden.inventory.memory import Lives, Looks, Memory
from dockwarden.inventory.sizes import Shares
from dockwarden.model import BuildStep, Container, EngineInfo, Image, Network, Ref, Service, Thing, Volume, ref_of
from dockwarden.model.needs import Needs, needed_by
from dockwarden.model.words import ImageStore, Kind

_NOBODY: frozenset[Ref] = frozenset()
_K = TypeVar("_K")
_V = TypeVar("_V")


class Tables:
    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.lives = Lives(memory.clock)
        self.looks = Looks()
        self.digests = Digests()
        self.info: EngineInfo | None = None
        self.complete = False
        self.head_start_seconds = 0.0  # for how long it is taken to have been watched besides
        self.seen_ns = 0  # the engine's time of the newest event that is in here
        # What there is of a kind by key: objects, or of tags the IDs of images.
        self._tables: Mapping[Kind, dict[str, Any]] = {kind: {} for kind in Kind}
        self._tables[Kind.HOST][""] = ""
        self.images: dict[str, Image] = self._tables[Kind.IMAGE]
        self.tags: dict[str, str] = self._tables[Kind.TAG]
        self.containers: dict[str, Container] = self._tables[Kind.CONTAINER]
        self.volumes: dict[str, Volume] = self._tables[Kind.VOLUME]
        self.networks: dict[str, Network] = self._tables[Kind.NETWORK]
        self.services: dict[str, Service] = self._tables[Kind.SERVICE]  # only on the leader of a swarm
        self.leads: bool | None = False  # whether this is the leader of a swarm; None while nobody can tell
        self.needs: Needs = ()
        self.repositories: dict[str, set[str]] = defaultdict(set)
        self.suspect: set[str] = set()
        self.leaving: set[Ref] = set()  # what we have removed, until a look at the engine shows that
        self.detailed = 0  # how many images have their details
        self.histories: dict[str, Sequence[BuildStep]] = {}  # by image, as far as gathered
        self._users: dict[tuple[Kind, str], set[Ref]] = defaultdict(set)
        self._aliases: dict[tuple[Kind, str], set[str]] = defaultdict(set)

    @property
    def store(self) -> ImageStore | None:
        """The engine's image store, None before it answered."""
        return self.info.image_store if self.info else None

    def all(self, kind: Kind) -> list[Ref]:
        return [Ref(kind, key) for key in self._tables[kind]]

    def counts(self) -> dict[Kind, int]:
        return {kind: len(table) for kind, table in self._tables.items() if kind is not Kind.HOST}

    def number(self, kind: Kind) -> int:
        """How many there are at this moment, also amid a plan, which reads no events."""
        return len(self._tables[kind]) - sum(ref.kind is kind and self.has(ref) for ref in self.leaving)

    def has(self, ref: Ref) -> bool:
        return ref.key in self._tables[ref.kind]

    def get(self, ref: Ref) -> Thing | None:
        """The object as it was last seen; of a tag, the image that it names; None of the host and what is gone."""
        found: Thing | str | None = self._tables[ref.kind].get(ref.key)
        return self.images.get(found) if isinstance(found, str) else found

    def image_of(self, ref: Ref) -> Image | None:
        """The image that it is, that it names, or that it was made from; None where there is no such image."""
        match thing := self.get(ref):
            case Image():
                return thing
            case Container():
                return self.images.get(thing.image_id)
            case Volume() | Network() | Service() | None:
                return None
            case _:
                assert_never(thing)

    def tags_of(self, ref: Ref) -> tuple[str, ...]:
        """The tags that go with it: of an image all, of a tag itself, of anything else none."""
        thing = self.get(ref) if ref.kind is Kind.IMAGE else None
        return thing.tags if isinstance(thing, Image) else (ref.key,) if ref.kind is Kind.TAG else ()

    def watched(self, ref: Ref) -> Ref:
        """The object by whose age and use it is judged: of a tag, the image that it names."""
        image = self.images.get(self.tags.get(ref.key, "")) if ref.kind is Kind.TAG else None
        return ref_of(image) if image else ref

    def near(self, ref: Ref) -> set[Ref]:
        """It with its tags, and of a tag its image."""
        return {ref, self.watched(ref), *(Ref(Kind.TAG, tag) for tag in self.tags_of(ref))}

    def name_of(self, ref: Ref) -> str:
        """What people call the object: an image goes by its first tag or short ID."""
        if ref.kind is Kind.HOST:
            return self.info.name if self.info else ""
        if ref.kind is Kind.IMAGE:
            return next(iter(self.tags_of(ref)), reference.short_id(ref.key))
        thing = self.get(ref)
        return ref.key if thing is None or isinstance(thing, Image) else thing.name

    def running(self) -> Iterator[tuple[str, str]]:
        """Names by which containers run images, with digest or ID, for any thread; none that has a digest itself."""
        for container in tuple(self.containers.values()):
            image = self.images.get(container.image_id)
            name = reference.full(container.image_ref)
            if container.running and image and "@" not in name and not reference.is_image_id(container.image_ref):
                digests = of_repository(image.digests, name.rpartition(":")[0])
                yield name, min(digests, default=image.id)

    def users_of(self, ref: Ref) -> Collection[Ref]:
        """The containers, running or not, that use it; of a tag, those that were created from it, whatever it names."""
        users = self._users.get(ref, _NOBODY)
        for alias in aliases(self.get(ref)):
            users = users | self._users.get((ref.kind, alias), _NOBODY)
        return users

    def needed_by(self, ref: Ref) -> tuple[str, ...]:
        """The services of the swarm that need it, whether or not they run here; of a tag, by that name."""
        thing = self.get(ref) if self.needs else None
        return needed_by(self.needs, thing, ref.key if ref.kind is Kind.TAG else "") if thing else ()

    def is_used(self, ref: Ref) -> bool:
        """Whether any container, running or not, uses it, or a service; whether a container itself runs."""
        if (is_active := KINDS[ref.kind].is_active) is not None:
            return (thing := self.get(ref)) is not None and is_active(thing)
        watched = self.watched(ref)
        return bool(self.users_of(watched) or self.needed_by(watched))

    def known_for(self, ref: Ref, reading: float | None = None) -> float:
        """Seconds we have watched it exist, now or at a reading of the observation clock; a tag, its image."""
        return self.memory.known_for(self.watched(ref), reading)

    def idle_for(self, ref: Ref) -> float:
        """Seconds we have watched it without a container using it; a container, without running."""
        return 0.0 if self.is_used(ref) else self.memory.idle_for(self.watched(ref))

    def at_most_its_age(self, seconds: float, thing: Thing, now: float) -> float:
        """What we remember of a volume may be of another one that had its name, if that went while nobody watched.

        What is used stays anyway. Engines before 23 say when its folder was changed last, which whoever uses it does.
        """
        if not isinstance(thing, Volume | Network) or thing.created_at is None or self.is_used(ref_of(thing)):
            return seconds
        ahead = self.info.clock_offset_seconds if self.info else 0.0  # it is by the engine's clock
        return max(0.0, min(seconds, now + ahead + self.head_start_seconds - thing.created_at))

    def note_use(self, ref: Ref) -> None:
        """It was in use a moment ago, by whatever."""
        if self.has(ref) and KINDS[ref.kind].is_remembered:
            self.memory.see(ref, used=True)

    def put_needs(self, needs: Needs) -> Collection[Ref]:
        """Take in what services need now; what they needed was in use until now. Gives what is needed by others now."""
        if needs == self.needs:
            return ()
        old, new = set(self.needs or ()), set(needs or ())
        ended, begun = tuple(old - new), tuple(new - old)  # one of hundreds, mostly
        self.needs = needs
        changed = []
        for ref in (*self.all(Kind.IMAGE), *self.all(Kind.VOLUME)):
            before, after = (set(needed_by(some, self._tables[ref.kind][ref.key])) for some in (ended, begun))
            if before:
                self.note_use(ref)
            if before != after:
                changed.append(ref)
        return [] if needs is None else changed

    def settle_memory(self) -> None:
        """After a full list: forget what is gone, and note what is in use."""
        self.looks.keep_only(self.images.keys())
        present = [ref for kind in Kind if KINDS[kind].is_remembered for ref in self.all(kind)]
        self.memory.keep_only(present)
        for ref in present:
            if self.is_used(ref):
                self.memory.see(ref, used=True)

    def dependents(self, ref: Ref) -> dict[Kind, set[str]]:
        """By kind, the keys of the object itself and of what its change can alter.

        An image alters its tags and the containers made from it or from them, a container what it uses.
        """
        found: dict[Kind, set[str]] = defaultdict(set)
        found[Kind.HOST].add("")
        thing = self.get(ref)
        for kind, key in self.uses(thing) if thing else ():
            found[kind].add(key)
        image = self.image_of(ref)
        if image is not None:
            found[Kind.IMAGE].add(image.id)
            found[Kind.TAG].update(image.tags)
        found[ref.kind].add(ref.key)
        if not isinstance(thing, Container):
            names = [(Kind.IMAGE, key) for key in found[Kind.IMAGE]] + [(Kind.TAG, key) for key in found[Kind.TAG]]
            for name in names:
                for user in self._users.get(name, ()):
                    found[user.kind].add(user.key)
        return found

    def uses(self, thing: Thing) -> Iterator[Ref]:
        """What is here of all that an object uses."""
        for kind, name in uses(thing):
            if name in self._tables[kind]:
                yield Ref(kind, name)
            for key in self._aliases.get((kind, name), ()):
                yield Ref(kind, key)

    @property
    def is_measured(self) -> bool:
        """Whether ``shares`` tells the truth: of half of the images nothing can be said about what they share."""
        return len(self.histories) == self.detailed == len(self.images)

    def shares(self) -> Shares:
        """What the images take up together, as far as it was gathered."""
        sizes = {image: [step.size_bytes for step in steps] for image, steps in self.histories.items()}
        return Shares(self.images.values(), sizes)

    def link(self, thing: Thing) -> None:
        """An object is here: it can be found by its other names, it uses things, and it may be in use."""
        ref = ref_of(thing)
        for alias in aliases(thing):
            self._aliases[ref.kind, alias].add(ref.key)
        for name in uses(thing):
            self._users[name].add(ref)
        had_tag = isinstance(thing, Image) and bool(thing.tags)
        self.memory.see(ref, had_tag=had_tag, used=self.is_used(ref))
        self._note_uses(thing)

    def unlink(self, thing: Thing) -> None:
        """An object is gone, or is not any more what it was: until now, it and what it used were in use."""
        ref = ref_of(thing)
        self._note_uses(thing)
        if (is_active := KINDS[ref.kind].is_active) is not None and is_active(thing):
            self.memory.see(ref, used=True)
        for alias in aliases(thing):
            discard(self._aliases, (ref.kind, alias), ref.key)
        for name in uses(thing):
            discard(self._users, name, ref)

    def _note_uses(self, thing: Thing) -> None:
        for used in self.uses(thing):
            if KINDS[used.kind].is_active is None:  # a container is in use when it runs
                self.note_use(used)


def discard(table: dict[_K, set[_V]], key: _K, value: _V) -> None:
    table[key].discard(value)
    if not table[key]:
        del table[key]

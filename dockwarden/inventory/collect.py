"""Bring the inventory up to date from the engine: everything once, then only what an event made dirty.

Input: ``ports.Engine`` and hints (``Dirty``) which are believed in nothing but where to look. Output: changes. Out of
bounds: policies, triggers, deciding when to look.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import assert_never

from dockwarden import reference
from dockwarden.errors import AnswerError, EngineError, EngineUnavailableError, NotFoundError
from dockwarden.inventory.live import Inventory
from dockwarden.mishaps import Mishaps
from dockwarden.model import Change, Container, Dirty, FactValue, Image, ImageStore, Kind, Ref, Thing, ref_of
from dockwarden.ports import Engine, Usage, look

_USAGE_SECONDS = 10.0  # two policies of one moment share an answer
_USAGE_SHARE = 0.01
_TRIES, _TRY_AGAIN_SECONDS = 10, 0.1


class Collector:
    def __init__(self, engine: Engine, inventory: Inventory, mishaps: Mishaps | None = None) -> None:
        self._engine = engine
        self._mishaps = mishaps or Mishaps()
        self._inventory = inventory
        self._troubles: list[str] = []
        self._changes: list[Change] = []  # seen and not told yet
        self._past: list[Dirty] = []  # hints at what no comparison can show, until a look that heeds them has ended
        self._looked_at: set[str] = set()  # images, since the hints were given
        self._tries = 0
        self.known_usage: Usage | None = None  # as it was when last asked for
        self._usage_due = 0.0

    def reconcile(self, past: Iterable[Dirty] = ()) -> list[Change]:
        """List everything and compare. ``past``: hints, of which those count that tell what no comparison can show.

        Raises EngineUnavailableError: the engine went away; the inventory keeps what it had, and what changed up to
        then is told by the next look.
        """
        inventory, engine = self._inventory, self._engine
        self._keep(past)
        seen_images = set()
        for image in engine.images():
            seen_images.add(image.id)
            self._changes += inventory.put(image)
        containers = set(engine.container_ids())
        self._look_at(Dirty(Kind.CONTAINER, key) for key in containers)
        plain = {ref_of(thing): thing for thing in self._plain()}
        for key in inventory.containers.keys() - containers:
            self._changes += inventory.drop(Ref(Kind.CONTAINER, key))
        # An image that the list did not show may have come since it was made: look before believing it gone.
        self._look_at(Dirty(Kind.IMAGE, key) for key in inventory.images.keys() - seen_images)
        for ref in (*inventory.all(Kind.VOLUME), *inventory.all(Kind.NETWORK)):
            self._changes += inventory.drop(ref) if ref not in plain else []
        for thing in plain.values():
            self._changes += inventory.put(thing)
        self._try(Dirty(Kind.SERVICE, ""))
        self._look_at(self._past)
        self._past = []
        inventory.settle_memory()
        inventory.complete = True
        return self._take_changes()

    def list_all(self) -> list[Thing]:
        """List everything and change nothing, in any thread; it is nothing but where to look. Raises EngineError."""
        found: list[Thing] = list(self._engine.images())
        for key in self._engine.container_ids():
            with suppress(AnswerError):  # gone, or of bad answers: the look at it will tell
                found.append(self._engine.container(key))
        return [*found, *self._plain()]

    def compare(self, listing: Iterable[Thing]) -> list[Change]:
        """Look at whatever is not as it was listed: it changed unnoticed, or since. Raises EngineUnavailableError."""
        inventory = self._inventory
        listed = {ref_of(thing): thing for thing in listing}
        for known in list(inventory.images.values()):  # what is unpacked only a list tells
            image = listed.get(ref_of(known))
            if isinstance(image, Image) and image.size_bytes > known.size_bytes:
                self._changes += inventory.put(replace(known, size_bytes=image.size_bytes))
        kinds = (Kind.IMAGE, Kind.CONTAINER, Kind.VOLUME, Kind.NETWORK)
        refs = {**listed, **{ref: None for kind in kinds for ref in inventory.all(kind)}}
        self._look_at(Dirty(*ref) for ref in refs if not self._is_known(inventory.get(ref), listed.get(ref)))
        self._try(Dirty(Kind.SERVICE, ""))
        inventory.settle_memory()
        return self._take_changes()

    def _is_known(self, here: Thing | None, listed: Thing | None) -> bool:
        """Whether the inventory has an object as it was listed."""
        if isinstance(here, Image) and isinstance(listed, Image):
            # A containerd store lists one of an image's digests, and inspects all.
            is_part = self._inventory.store is ImageStore.CONTAINERD
            digests = set(here.digests) & set(listed.digests) if is_part else set(here.digests)
            named, labelled = (here.tags, here.markers), dict(here.labels)
            is_same = (named, labelled) == ((listed.tags, listed.markers), dict(listed.labels))
            return is_same and digests == set(listed.digests)
        if isinstance(here, Container) and isinstance(listed, Container):
            return here == replace(listed, health_at=here.health_at)  # the engine forgets probes
        return here == listed

    def ask_needs(self) -> None:
        """Ask what services of the swarm need; what a failure hides is unknown."""
        try:
            needs = self._engine.needs()
        except EngineError as error:
            needs = None
            self._troubles.append(f"services: {error}")
        self._changes += [Change("service.update", ref) for ref in self._inventory.put_needs(needs)]

    def refresh(self, dirty: Iterable[Dirty]) -> list[Change]:
        """Look at what events named, and at what lost something to it. EngineUnavailableError: as for ``reconcile``."""
        self._look_at(self._keep(dirty))
        self._past = []
        return self._take_changes()

    def _keep(self, dirty: Iterable[Dirty]) -> list[Dirty]:
        """The hints, after those that a look which failed has left; uses by name also of all that it may have meant."""
        hints = [*self._past, *dirty]
        got: dict[str, list[str]] = {}
        for hint in hints:
            if hint.named:
                got.setdefault(reference.full(hint.named), []).append(hint.key)
        for use in [hint for hint in hints if hint.used_by and hint.kind is Kind.IMAGE]:
            images = [self._meant(use).key, *got.get(reference.full(use.key), ())]
            hints += [use._replace(key=image) for image in images]
        hints = list(dict.fromkeys(hints))
        self._past = [hint for hint in hints if hint.pulled or hint.gone or hint.used_by]
        return hints

    def _take_changes(self) -> list[Change]:
        changes, self._changes = self._changes, []
        for cause, ref in changes:
            if cause == "image.pull":  # somebody wants it, also where it was here before
                self._inventory.note_use(self._inventory.watched(ref))
        return changes

    def _look_at(self, dirty: Iterable[Dirty]) -> None:
        """Look at what is named, then at what lost a name by that; last, note what was used meanwhile."""
        inventory, hints = self._inventory, list(dirty)
        uses = [hint for hint in hints if hint.used_by]
        unseen = [hint for hint in uses if hint.kind is Kind.IMAGE and hint.used_by not in inventory.containers]
        self._looked_at.clear()
        self._look_at_named([hint for hint in hints if not hint.used_by or self._is_changed_by(hint)])
        self._look_at_suspects(is_after_pull=any(hint.pulled for hint in hints))
        for hint in uses:
            if hint.kind is not Kind.IMAGE:
                inventory.note_use(hint.ref)
        for hint in unseen:
            if hint.used_by not in inventory.containers:
                # It came and went before anybody looked. Of others the image is known, whatever their name means now.
                inventory.note_use(self._meant(hint))

    def _is_changed_by(self, use: Dirty) -> bool:
        """Whether a use may change an object itself: a network of a swarm comes to a node with its first task."""
        network = self._inventory.networks.get(use.key)
        return use.kind is Kind.NETWORK and (network is None or network.is_of_swarm)

    def _meant(self, hint: Dirty) -> Ref:
        """The image that is called so now, or has this ID."""
        tag = Ref(Kind.TAG, reference.full(hint.key))
        return self._inventory.watched(tag) if self._inventory.has(tag) else hint.ref

    def _look_at_named(self, hints: Sequence[Dirty]) -> None:
        ended = {hint.ref for hint in hints if hint.ends}
        for hint in hints:
            if hint.kind is not Kind.TAG and (hint.ends or hint.ref not in ended):
                self._try(hint)
        # The image that took a name from another may have lost it again by now, or be gone: then only the other, which
        # still seems to have it, can tell.
        names = [reference.full(hint.key) for hint in hints if hint.kind is Kind.TAG]
        owners = {self._inventory.tags[name] for name in names if name in self._inventory.tags}
        self._inventory.suspect |= owners - self._looked_at

    def _look_at_suspects(self, *, is_after_pull: bool) -> None:
        """They lost a tag to another, and may be gone without any event."""
        self._tries = _TRIES if is_after_pull and self._inventory.store is ImageStore.CONTAINERD else 0
        while self._inventory.suspect:
            self._try(Dirty(Kind.IMAGE, self._inventory.suspect.pop()))
        self._tries = 0

    def _try(self, hint: Dirty) -> None:
        try:
            self._changes += self._look(hint)
        except EngineUnavailableError:
            raise
        except AnswerError as error:  # one object's bad answer must not hide the others
            self._troubles.append(f"{hint.kind} {hint.key or 'list'}: {error}")
        except Exception as error:  # noqa: BLE001 - of our own
            what = self._mishaps.note("collect", error, object=f"{hint.kind}/{hint.key}")
            self._troubles.append(f"{hint.kind} {hint.key}: {what}")

    def take_troubles(self) -> list[str]:
        """Objects whose looks failed since the last call, in words."""
        troubles, self._troubles = self._troubles, []
        return troubles

    def details(self, image_id: str, *, again: bool = False) -> None:
        """Gather what only an inspect of an image tells, unless it is known; ``again``: also then.

        Names and labels stay what they are until the next look: an object is acted on as it was judged, or not at all.
        """
        image = self._inventory.images.get(image_id)
        if image is None or (image.details is not None and not again):
            return
        if not again and (kept := self._inventory.looks.details(image)):
            self._inventory.put(replace(image, details=kept))
            self._inventory.looks.unsaved.discard(image_id)
            return
        try:
            found = self._engine.image(image_id)
        except NotFoundError:
            self._changes += self._inventory.drop(Ref(Kind.IMAGE, image_id))
            return
        self._inventory.put(replace(image, details=found.details))
        if (found.tags, found.digests, dict(found.labels)) != (image.tags, image.digests, dict(image.labels)):
            self._inventory.suspect.add(image_id)

    def history(self, image_id: str) -> None:
        """Gather an image's history, unless it is known; of one that is gone, nothing."""
        inventory = self._inventory
        if (image := inventory.images.get(image_id)) is None or image_id in inventory.histories:
            return
        if (kept := inventory.looks.history(image)) is not None:
            inventory.histories[image_id] = kept
            return
        with suppress(NotFoundError):
            inventory.histories[image_id] = self._engine.history(image_id)
            inventory.looks.unsaved.add(image_id)

    def measure(self, fact: str, key: str) -> FactValue | None:
        """One of the facts of a container or service that are asked for by themselves."""
        if fact == "service.running":  # which no event tells
            service = self._engine.service(key)
            self._changes += self._inventory.put(service)
            return service.running
        if fact == "container.log_bytes":
            return self._engine.log_bytes(key)
        return list(self._engine.processes(key))

    def usage(self) -> Usage | None:
        """What everything takes up, None if the engine did not tell; asked for at most a hundredth of the time."""
        began = time.monotonic()
        if began >= self._usage_due:
            try:
                self.known_usage = self._engine.disk_usage()
            except EngineError as error:
                self.known_usage = None
                self._troubles.append(f"disk usage: {error}")
            ended = time.monotonic()
            self._usage_due = ended + max(_USAGE_SECONDS, (ended - began) / _USAGE_SHARE)
        return self.known_usage

    def _look(self, hint: Dirty) -> list[Change]:
        if hint.kind is Kind.SERVICE:
            self.ask_needs()
        changes = self._inventory.drop(hint.ref) if hint.gone else []
        return changes if hint.ends else changes + self._look_now(hint)

    def _look_now(self, hint: Dirty) -> list[Change]:
        match hint.kind:
            case Kind.IMAGE:
                return self._image_hint(hint)
            case Kind.CONTAINER:
                return self._container(hint.key)
            case Kind.SERVICE if not hint.key:
                return self._services()
            case Kind.SERVICE if not self._inventory.leads:
                return []
            case Kind.VOLUME | Kind.NETWORK | Kind.SERVICE:
                return self._one(hint.ref)
            case Kind.TAG | Kind.HOST:
                return []  # a tag is looked at with its image, and nothing happens to the host
            case _:
                assert_never(hint.kind)

    def _plain(self) -> list[Thing]:
        """Everything of the kinds whose lists tell all that an inspect would."""
        return [*self._engine.volumes(), *self._engine.networks()]

    def _services(self) -> list[Change]:
        """All services; only the leader of a swarm has any, and leads may change."""
        inventory = self._inventory
        try:
            info = inventory.info = inventory.info and self._engine.in_swarm(inventory.info)
            found = None if info and info.swarm_role in ("", "worker") else self._engine.services()
        except EngineError as error:  # of the swarm, which may have no leader now, or a proxy denies it
            inventory.leads = None
            raise AnswerError(str(error)) from error
        inventory.leads, listed = found is not None, {each.id: each for each in found or ()}
        changes = [c for key in inventory.services.keys() - listed for c in inventory.drop(Ref(Kind.SERVICE, key))]
        return changes + [change for each in listed.values() for change in inventory.put(each)]

    def _image_hint(self, hint: Dirty) -> list[Change]:
        if hint.named:
            seen = [] if hint.key in self._looked_at else self._image(reference.full(hint.named))
            return seen if hint.key in self._looked_at else seen + self._image(hint.key)
        if not hint.pulled:
            return self._image(hint.key)
        whole_repository = ":" not in hint.key.rpartition("/")[2] and "@" not in hint.key
        if whole_repository:  # `docker pull --all-tags` on the graph store names no tag
            changes: list[Change] = []
            for image in self._engine.images(hint.key):
                changes += self._image(image.id)
                # Not the tags: one that the registry has no more was not pulled.
                changes.append(Change("image.pull", Ref(Kind.IMAGE, image.id)))
            return changes
        name = reference.full(hint.key)
        changes = self._image(name)
        owner = self._inventory.tags.get(name)
        if owner:
            changes.append(Change("image.pull", Ref(Kind.TAG, name)))
        elif "@" in name:
            named = (image for image in self._inventory.images.values() if name in image.digests)
            changes += [Change("image.pull", ref_of(image)) for image in named]
        return changes

    def _image(self, key: str) -> list[Change]:
        try:
            image = self._engine.image(key)
            self._looked_at.add(image.id)
        except NotFoundError:
            if reference.is_image_id(key):
                if self._tries:  # this store tells of a pull before it keeps what lost its name by that
                    self._tries -= 1
                    time.sleep(_TRY_AGAIN_SECONDS)
                    return self._image(key)
                return self._inventory.drop(Ref(Kind.IMAGE, key))
            owner = self._inventory.tags.get(key)
            return self._image(owner) if owner else []
        return self._inventory.put(image)

    def _container(self, key: str) -> list[Change]:
        changes = self._one(Ref(Kind.CONTAINER, key))
        container = self._inventory.containers.get(key)
        if container is not None and container.image_id not in self._inventory.images:
            # A BuildKit build on an old engine tells nobody: the first container is how we learn of its image.
            changes += self._image(container.image_id)
        return changes

    def _one(self, ref: Ref) -> list[Change]:
        with suppress(NotFoundError):
            if (thing := look(self._engine, ref)) is not None:
                return self._inventory.put(thing)
        return self._inventory.drop(ref)

"""The live inventory: tables of what the engine has, and the differences that each new look makes.

Input: frozen objects as the engine showed them. Output: changes (``image.tag``, ``container.die`` …), the objects
that depend on a change. Out of bounds: asking the engine (``collect``), and clocks (``memory`` has its own).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

from dockwarden.inventory.kinds import KINDS
from dockwarden.inventory.tables import Tables, discard
from dockwarden.model import Change, Container, Image, Kind, Network, Ref, Service, Thing, Volume, ref_of


class Inventory(Tables):
    """The tables, kept by looks. Only the worker's thread changes them."""

    def put(self, thing: Thing) -> list[Change]:
        self.leaving.discard(ref_of(thing))
        match thing:
            case Image():
                return self._put_image(thing)
            case Container():
                return self._put_container(thing)
            case Volume() | Network():
                return self._put_plain(thing)
            case Service():
                return self._put_service(thing)
            case _:
                assert_never(thing)

    def drop(self, ref: Ref) -> list[Change]:
        """The object is gone. What it used was in use until now."""
        self.leaving.discard(ref)
        thing = self.get(ref) if self.has(ref) else None
        if thing is None or ref.kind is Kind.TAG:  # a tag goes with its image, or in a look at it
            return []
        gone = KINDS[ref.kind].gone
        changes = [Change(gone, ref)]
        around = {} if isinstance(thing, Image) else self.dependents(ref)
        del self._tables[ref.kind][ref.key]
        if isinstance(thing, Image):
            changes += self._forget_image(thing)
        elif isinstance(thing, Container):
            self.lives.forget(ref.key)
        near = [Ref(kind, key) for kind, keys in around.items() if kind is not Kind.HOST for key in keys]
        changes += [Change(gone, each) for each in near if self.has(each)]
        self.unlink(thing)
        self.memory.forget(ref)
        return changes

    def _put_plain(self, thing: Volume | Network | Service) -> list[Change]:
        """Take in what has no life but being there."""
        ref = ref_of(thing)
        old: Volume | Network | Service | None = self._tables[ref.kind].get(ref.key)
        if old is not None and old != thing:
            self.unlink(old)
        self._tables[ref.kind][ref.key] = thing
        self.link(thing)
        return [] if old else [Change(KINDS[ref.kind].born, ref)]

    def _put_service(self, service: Service) -> list[Change]:
        old = self.services.get(service.id)
        changes = self._put_plain(service)
        if old is not None and (old.mode, old.replicas) != (service.mode, service.replicas):
            changes.append(Change("service.scale", ref_of(service)))
        if old is not None and replace(old, running=service.running) != service:
            changes.append(Change("service.update", ref_of(service)))
        return changes

    def _put_image(self, image: Image) -> list[Change]:
        """Take in an image. A tag it gained is taken from the image that had it, which becomes suspect."""
        old = self.images.get(image.id)
        ref = ref_of(image)
        changes = [Change("image.new", ref)] if old is None else []
        if old is not None and not (image.details and image.size_bytes >= old.size_bytes):
            # A containerd store lists the size with what is unpacked and inspects it without.
            size = max(image.size_bytes, old.size_bytes)
            image = replace(image, details=image.details or old.details, size_bytes=size)
        if old == image:
            return changes
        self.images[image.id] = image
        self.link(image)
        for tag in image.tags:
            if self.tags.get(tag) != image.id:
                changes += self._take_tag(tag, image.id)
        for tag in set(old.tags).difference(image.tags) if old else ():
            if self.tags.get(tag) == image.id:
                self._drop_tag(tag)
                changes += [Change("image.untag", ref), Change("image.untag", Ref(Kind.TAG, tag))]
        if image.details:
            self.looks.unsaved.add(image.id)
            self.detailed += not (old and old.details)
        return changes

    def _take_tag(self, tag: str, image_id: str) -> list[Change]:
        changes = [Change("image.tag", Ref(Kind.TAG, tag))]
        loser = self.images.get(self.tags.get(tag, ""))
        if loser is not None:
            self.images[loser.id] = replace(loser, tags=tuple(t for t in loser.tags if t != tag))
            self.suspect.add(loser.id)
            changes.append(Change("image.untag", ref_of(loser)))
        self.tags[tag] = image_id
        self.repositories[tag.rpartition(":")[0]].add(tag)
        return changes

    def _drop_tag(self, tag: str) -> None:
        del self.tags[tag]
        discard(self.repositories, tag.rpartition(":")[0], tag)

    def _forget_image(self, image: Image) -> list[Change]:
        changes = []
        for tag in image.tags:
            if self.tags.get(tag) == image.id:
                self._drop_tag(tag)
                changes.append(Change("image.untag", Ref(Kind.TAG, tag)))
        changes += [Change("image.delete", user) for user in self.users_of(ref_of(image))]
        if image.details:
            self.looks.unsaved.add(image.id)
            self.detailed -= 1
        self.histories.pop(image.id, None)
        return changes

    def _put_container(self, container: Container) -> list[Change]:
        old = self.containers.get(container.id)
        if old and old.health == container.health and old.started_at == container.started_at and old.health_at:
            # The engine forgets probes; we do not.
            container = replace(container, health_at=min(old.health_at, container.health_at or old.health_at))
        if old == container:
            return []
        self.lives.see(old, container)
        self.memory.look_at(container)
        if old is not None:
            self.unlink(old)
        self.containers[container.id] = container
        self.link(container)
        if old is not None and _has_run_between(old, container):
            self.note_use(ref_of(container))
        left = set(self.uses(old)).difference(self.uses(container)) if old else ()
        changes = [Change(cause, ref_of(container)) for cause in _container_causes(old, container)]
        return [*changes, *(Change("container.update", ref) for ref in left)]


def _container_causes(old: Container | None, new: Container) -> Iterator[str]:
    if old is None:
        yield "container.create"
    was_running = old is not None and old.running
    restarted = old is not None and was_running and new.running and old.started_at != new.started_at
    has_run = old is not None and _has_run_between(old, new)
    if has_run:
        yield "container.start"
    if restarted or has_run or (was_running and not new.running):
        yield "container.die"
        yield "container.stop"
    if new.running and (restarted or not was_running):
        yield "container.start"
    if old is not None and old.name != new.name:
        yield "container.rename"
    # One that was restarted had no health in between, also if nobody looked then.
    if old is not None and (old.health != new.health or (new.health and old.started_at != new.started_at)):
        yield "container.health"
    if old is not None and _settings(old) != _settings(new):
        yield "container.update"


def _has_run_between(old: Container, new: Container) -> bool:
    """Whether a container was started and ended since the last look."""
    return not old.running and not new.running and old.started_at != new.started_at


def _settings(container: Container) -> tuple[object, ...]:
    return replace(container.config, restart_count=0), container.networks, container.mounts

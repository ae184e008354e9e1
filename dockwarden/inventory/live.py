"""The live inventory: tables of what the engine has, and the differences that each new look makes.

Input: frozen objects as the engine showed them. Output: changes (``image.tag``, ``container.die`` …), the objects
that depend on a change. Out of bounds: asking the engine (``collect``), and clocks (``memory`` has its own).
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from dockwarden import reference
from dockwarden.inventory.digests import Digests
from dockwarden.inventory.memory import Memory
from dockwarden.inventory.sizes import Shares
from dockwarden.model import Change, Container, EngineInfo, Image, Kind, Network, Ref, Volume

_REMEMBERED = (Kind.IMAGE, Kind.CONTAINER, Kind.VOLUME, Kind.NETWORK)


class Inventory:
    """Everything on one engine. Only the worker's thread changes it."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.digests = Digests()
        self.info: EngineInfo | None = None
        self.complete = False
        self.images: dict[str, Image] = {}
        self.containers: dict[str, Container] = {}
        self.volumes: dict[str, Volume] = {}
        self.networks: dict[str, Network] = {}
        self.tags: dict[str, str] = {}
        self.repositories: dict[str, set[str]] = defaultdict(set)
        self.suspect: set[str] = set()
        self.detailed = 0  # how many images have their details
        self.histories: dict[str, Sequence[int]] = {}  # by image, the bytes of each step, as far as gathered
        self._by_image: dict[str, set[str]] = defaultdict(set)
        self._by_name: dict[str, set[str]] = defaultdict(set)
        self._by_volume: dict[str, set[str]] = defaultdict(set)
        self._by_network: dict[str, set[str]] = defaultdict(set)
        self._tables: dict[Kind, Collection[str]] = {
            Kind.IMAGE: self.images,
            Kind.TAG: self.tags,
            Kind.CONTAINER: self.containers,
            Kind.VOLUME: self.volumes,
            Kind.NETWORK: self.networks,
            Kind.HOST: ("",),
        }
        self._layers: dict[tuple[str, ...], set[str]] = defaultdict(set)

    # -- questions ------------------------------------------------------------------------------------------

    def users_of_image(self, image_id: str) -> set[str]:
        """IDs of the containers, running or not, whose image this is."""
        return self._by_image.get(image_id, set())

    def users_of_tag(self, tag: str) -> set[str]:
        """IDs of the containers that were created from this tag, whatever it names now."""
        return self._by_name.get(tag, set())

    def users_of_volume(self, name: str) -> set[str]:
        """IDs of the containers that mount this volume."""
        return self._by_volume.get(name, set())

    def users_of_network(self, network: Network) -> set[str]:
        """IDs of the containers attached to this network, running or not."""
        return self._by_network.get(network.id, set()) | self._by_network.get(network.name, set())

    def base_of(self, image: Image) -> str | None:
        """The tag of the local image whose layers this one starts with, the longest such; ``""`` if there is none.

        None while the layers of some image are not known.
        """
        if self.detailed < len(self.images):
            return None
        layers = image.details.layers if image.details else ()
        for length in range(len(layers) - 1, 0, -1):
            for candidate in sorted(self._layers.get(layers[:length], ())):
                tags = self.images[candidate].tags
                if candidate != image.id and tags:
                    return tags[0]
        return ""

    @property
    def is_measured(self) -> bool:
        """Whether ``shares`` tells the truth: of half of the images nothing can be said about what they share."""
        return len(self.histories) == self.detailed == len(self.images)

    def shares(self) -> Shares:
        """What the images take up together, as far as it was gathered."""
        return Shares(self.images.values(), self.histories)

    def all(self, kind: Kind) -> list[Ref]:
        """Every object of a kind."""
        return [Ref(kind, key) for key in self._tables[kind]]

    def counts(self) -> dict[Kind, int]:
        """How many objects of each kind there are."""
        return {kind: len(table) for kind, table in self._tables.items() if kind is not Kind.HOST}

    def has(self, ref: Ref) -> bool:
        """Whether the object is still there."""
        return ref.key in self._tables[ref.kind]

    def name_of(self, ref: Ref) -> str:
        """What people call the object: an image goes by its first tag or short ID."""
        match ref.kind:
            case Kind.IMAGE:
                image = self.images.get(ref.key)
                return image.tags[0] if image and image.tags else reference.short_id(ref.key)
            case Kind.CONTAINER if ref.key in self.containers:
                return self.containers[ref.key].name
            case Kind.NETWORK if ref.key in self.networks:
                return self.networks[ref.key].name
            case Kind.HOST:
                return self.info.name if self.info else ""
            case _:
                return ref.key

    def settle_memory(self) -> None:
        """After a full list: forget what is gone, and note what is in use."""
        present = [ref for kind in _REMEMBERED for ref in self.all(kind)]
        self.memory.keep_only(present)
        for ref in present:
            if self.is_used(ref):
                self.memory.see(ref, used=True)

    def dependents(self, ref: Ref) -> Iterator[Ref]:
        """The object and what its change can alter: an image its tags and containers, a container its image's use."""
        yield ref
        yield Ref(Kind.HOST, "")
        match ref.kind:
            case Kind.IMAGE:
                yield from self._around_image(ref.key)
            case Kind.TAG:
                yield from (Ref(Kind.CONTAINER, key) for key in self.users_of_tag(ref.key))
                if ref.key in self.tags:
                    yield Ref(Kind.IMAGE, self.tags[ref.key])
                    yield from self._around_image(self.tags[ref.key])
            case Kind.CONTAINER if ref.key in self.containers:
                yield from self._around_container(self.containers[ref.key])
            case _:
                pass

    def _around_image(self, image_id: str) -> Iterator[Ref]:
        image = self.images.get(image_id)
        for tag in image.tags if image else ():
            yield Ref(Kind.TAG, tag)
            yield from (Ref(Kind.CONTAINER, key) for key in self.users_of_tag(tag))
        yield from (Ref(Kind.CONTAINER, key) for key in self.users_of_image(image_id))

    def _around_container(self, container: Container) -> Iterator[Ref]:
        yield Ref(Kind.IMAGE, container.image_id)
        image = self.images.get(container.image_id)
        yield from (Ref(Kind.TAG, tag) for tag in (image.tags if image else ()))
        yield from (Ref(Kind.VOLUME, mount.name) for mount in container.mounts if mount.name in self.volumes)
        for network in self.networks.values():
            if network.id in container.networks or network.name in container.networks:
                yield Ref(Kind.NETWORK, network.id)

    def is_used(self, ref: Ref) -> bool:
        """Whether any container, running or not, uses it; whether a container itself runs."""
        match ref.kind:
            case Kind.IMAGE:
                return bool(self.users_of_image(ref.key))
            case Kind.CONTAINER:
                return ref.key in self.containers and self.containers[ref.key].running
            case Kind.NETWORK:
                return ref.key in self.networks and bool(self.users_of_network(self.networks[ref.key]))
            case _:
                return bool(self.users_of_volume(ref.key))

    def known_for(self, ref: Ref) -> float:
        """Seconds we have watched it exist."""
        return self.memory.known_for(ref)

    def idle_for(self, ref: Ref) -> float:
        """Seconds we have watched it without a container using it; a container, without running."""
        return 0.0 if self.is_used(ref) else self.memory.idle_for(ref)

    # -- new looks ------------------------------------------------------------------------------------------

    def put_image(self, image: Image) -> list[Change]:
        """Take in an image as it is now. A tag it gained is taken from the image that had it, which becomes suspect."""
        old = self.images.get(image.id)
        ref = Ref(Kind.IMAGE, image.id)
        changes = [Change("image.new", ref)] if old is None else []
        if old is not None:
            # A containerd store lists the size with what is unpacked and inspects it without.
            size = max(image.size_bytes, old.size_bytes)
            image = replace(image, details=image.details or old.details, size_bytes=size)
        if old == image:
            return changes
        self.images[image.id] = image
        self.memory.see(ref, had_tag=bool(image.tags))
        for tag in image.tags:
            if self.tags.get(tag) != image.id:
                changes += self._take_tag(tag, image.id)
        for tag in old.tags if old else ():
            if tag not in image.tags and self.tags.get(tag) == image.id:
                self._drop_tag(tag)
                changes.append(Change("image.untag", ref))
                changes.append(Change("image.untag", Ref(Kind.TAG, tag)))
        if image.details and not (old and old.details):
            self.detailed += 1
            self._layers[image.details.layers].add(image.id)
        return changes

    def _take_tag(self, tag: str, image_id: str) -> list[Change]:
        changes = [Change("image.tag", Ref(Kind.TAG, tag))]
        loser = self.images.get(self.tags.get(tag, ""))
        if loser is not None:
            self.images[loser.id] = replace(loser, tags=tuple(t for t in loser.tags if t != tag))
            self.suspect.add(loser.id)
            changes.append(Change("image.untag", Ref(Kind.IMAGE, loser.id)))
        self.tags[tag] = image_id
        self.repositories[tag.rpartition(":")[0]].add(tag)
        return changes

    def _drop_tag(self, tag: str) -> None:
        del self.tags[tag]
        repository = tag.rpartition(":")[0]
        self.repositories[repository].discard(tag)
        if not self.repositories[repository]:
            del self.repositories[repository]

    def drop_image(self, image_id: str) -> list[Change]:
        """The image is gone."""
        image = self.images.get(image_id)
        if image is None:
            return []
        changes = [Change("image.delete", Ref(Kind.IMAGE, image_id))]
        for tag in image.tags:
            if self.tags.get(tag) == image_id:
                self._drop_tag(tag)
                changes.append(Change("image.untag", Ref(Kind.TAG, tag)))
        changes += [Change("image.delete", Ref(Kind.CONTAINER, key)) for key in self.users_of_image(image_id)]
        del self.images[image_id]
        if image.details:
            self.detailed -= 1
            self._layers[image.details.layers].discard(image_id)
            if not self._layers[image.details.layers]:
                del self._layers[image.details.layers]
        self.histories.pop(image_id, None)
        self.memory.forget(Ref(Kind.IMAGE, image_id))
        return changes

    def put_container(self, container: Container) -> list[Change]:
        """Take in a container as it is now."""
        old = self.containers.get(container.id)
        if old == container:
            return []
        if old is not None:
            self._unlink(old)
            if old.running:
                self.memory.see(Ref(Kind.CONTAINER, old.id), used=True)  # until now
        self.containers[container.id] = container
        self._link(container)
        ref = Ref(Kind.CONTAINER, container.id)
        return [Change(cause, ref) for cause in _container_causes(old, container)]

    def drop_container(self, container_id: str) -> list[Change]:
        """The container is gone; its image and volumes were used until now."""
        old = self.containers.pop(container_id, None)
        if old is None:
            return []
        around = list(self._around_container(old))
        self._unlink(old)
        self._mark_used(old)
        self.memory.forget(Ref(Kind.CONTAINER, container_id))
        gone = [Change("container.destroy", Ref(Kind.CONTAINER, container_id))]
        return gone + [Change("container.destroy", ref) for ref in around if self.has(ref)]

    def _link(self, container: Container) -> None:
        for table, key in self._links(container):
            table[key].add(container.id)
        self._mark_used(container)

    def _unlink(self, container: Container) -> None:
        for table, key in self._links(container):
            table[key].discard(container.id)
            if not table[key]:
                del table[key]

    def _links(self, container: Container) -> Iterator[tuple[dict[str, set[str]], str]]:
        yield self._by_image, container.image_id
        yield self._by_name, reference.full(container.image_ref)
        yield from ((self._by_volume, mount.name) for mount in container.mounts if mount.name)
        yield from ((self._by_network, network) for network in container.networks)

    def _mark_used(self, container: Container) -> None:
        self.memory.see(Ref(Kind.CONTAINER, container.id), used=container.running)
        if container.image_id in self.images:
            self.memory.see(Ref(Kind.IMAGE, container.image_id), used=True)
        for mount in container.mounts:
            if mount.name in self.volumes:
                self.memory.see(Ref(Kind.VOLUME, mount.name), used=True)

    def put_volume(self, volume: Volume) -> list[Change]:
        """Take in a volume."""
        known = volume.name in self.volumes
        self.volumes[volume.name] = volume
        ref = Ref(Kind.VOLUME, volume.name)
        self.memory.see(ref)
        return [] if known else [Change("volume.create", ref)]

    def drop_volume(self, name: str) -> list[Change]:
        """The volume is gone."""
        self.memory.forget(Ref(Kind.VOLUME, name))
        return [Change("volume.destroy", Ref(Kind.VOLUME, name))] if self.volumes.pop(name, None) else []

    def put_network(self, network: Network) -> list[Change]:
        """Take in a network."""
        known = network.id in self.networks
        self.networks[network.id] = network
        self.memory.see(Ref(Kind.NETWORK, network.id))
        return [] if known else [Change("network.create", Ref(Kind.NETWORK, network.id))]

    def drop_network(self, network_id: str) -> list[Change]:
        """The network is gone."""
        ref = Ref(Kind.NETWORK, network_id)
        self.memory.forget(ref)
        return [Change("network.destroy", ref)] if self.networks.pop(network_id, None) else []


def _container_causes(old: Container | None, new: Container) -> Iterator[str]:
    if old is None:
        yield "container.create"
    was_running = old is not None and old.running
    restarted = old is not None and was_running and new.running and old.started_at != new.started_at
    if restarted or (was_running and not new.running):
        yield "container.die"
        yield "container.stop"
    if new.running and (restarted or not was_running):
        yield "container.start"
    if old is not None and old.name != new.name:
        yield "container.rename"
    if old is not None and old.health != new.health:
        yield "container.health"
    if old is not None and _settings(old) != _settings(new):
        yield "container.update"


def _settings(container: Container) -> tuple[object, ...]:
    return replace(container.config, restart_count=0), container.networks, container.mounts

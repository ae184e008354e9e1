"""An engine and a registry in memory, behind the same ports as the real ones.

Input: what a test, in the role of other people, does to them. Output: answers with the semantics that were measured on
real engines; ``tests/integration/test_engine_contract.py`` holds both to the same expectations. Out of bounds: JSON,
sockets, and waiting: time passes when a test says so.
"""

from __future__ import annotations

import pickle
from collections import defaultdict, deque
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import CLOCK_BOOTTIME
from typing import TYPE_CHECKING, Any, TypeVar

from dockwarden import reference as references
from dockwarden.actions import contents
from dockwarden.actions.archive import Archive
from dockwarden.actions.execute import Executor
from dockwarden.actions.verb import Tools
from dockwarden.errors import AnswerError, ConflictError, EngineUnavailableError, LedgerError, NotFoundError
from dockwarden.model import (
    BuildStep,
    Container,
    Effect,
    EngineInfo,
    Event,
    Image,
    ImageDetails,
    ImageStore,
    Kind,
    Needs,
    Network,
    Outcome,
    Recipe,
    Record,
    Ref,
    Service,
    Step,
    Volume,
)
from dockwarden.model.words import EVENTS
from dockwarden.ports import BELIEVED_SECONDS, Ask, Reply, Usage, Written
from tests.builders import NOW, an_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from dockwarden.ports import Intents

_T = TypeVar("_T")

REMEMBERED_EVENTS = 256
SECOND_NS = 1_000_000_000
_DANGLING = "moby-dangling@"
_NO_DETAILS = ImageDetails("linux", "amd64", "", "", healthcheck=False, layers=(), env_names=(), ports=())


class Clockwork:
    """The time, as a test wants it; it can stand in for the module ``time``."""

    def __init__(self, now_ns: int = int(NOW) * SECOND_NS) -> None:
        self.now_ns = now_ns
        self.uptime_ns = 0

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += round(seconds * SECOND_NS)
        self.uptime_ns += round(seconds * SECOND_NS)

    def set_back(self, seconds: float) -> None:
        """Somebody sets the wall clock back."""
        self.now_ns -= round(seconds * SECOND_NS)

    def time_ns(self) -> int:
        return self.now_ns

    def time(self) -> float:
        return self.now_ns / SECOND_NS

    def monotonic(self) -> float:
        return self.uptime_ns / SECOND_NS

    CLOCK_BOOTTIME = CLOCK_BOOTTIME

    def clock_gettime(self, _clock: int) -> float:
        return self.monotonic()  # its host never sleeps


@dataclass
class FakeEngine:
    """A Docker Engine with the given kind of image store.

    Every call of the port is noted in ``calls``, every request to remove a name in ``removals``. What other people do
    has methods of its own (``load``, ``pull``, ``run``, ``vanish`` …), which emit the events that the real engine emits
    and no others.

    Attributes:
        clock: the engine's time.
        away: why the engine does not answer, "" while it does.
        errors: by operation or (operation, argument), what its calls raise.
        agenda: what happens while somebody reads events: each entry so many seconds after the one before.
        emitted: events that nobody has taken yet.
        histories, usage: what it says of sizes.
        runs, logs: the processes of containers, and the bytes of their logs, by name.
        wrote: what containers changed in their own files, by name.
        served: what registries serve to it, by the reference that is pulled.
        pulled: what it was told to pull, and for which platforms, in order.
        build_cache_bytes: the size of its build cache.
        swarm: the services, by ID, of the swarm that it leads, if it leads one.
        needed: what services of its swarm need.
    """

    store: ImageStore = ImageStore.GRAPH
    info: EngineInfo = field(default_factory=an_engine)
    clock: Clockwork = field(default_factory=Clockwork)
    away: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    errors: dict[object, Exception] = field(default_factory=dict)
    agenda: deque[tuple[float, Callable[[], object]]] = field(default_factory=deque)
    emitted: deque[Event] = field(default_factory=deque)
    histories: dict[str, Sequence[int | BuildStep]] = field(default_factory=dict)
    runs: dict[str, Sequence[str]] = field(default_factory=dict)
    logs: dict[str, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=lambda: Usage({}, {}, 0, 0))
    wrote: dict[str, Written] = field(default_factory=dict)
    served: dict[str, Image] = field(default_factory=dict)
    pulled: list[tuple[str, str]] = field(default_factory=list)
    build_cache_bytes: int = 0
    swarm: dict[str, Service] | None = None
    where: str = "unix:///fake from a test"
    needed: Needs = ()

    def __post_init__(self) -> None:
        self.info = replace(self.info, image_store=self.store)
        self._images: dict[str, Image] = {}
        self._made = 0
        self._names: dict[str, str] = {}  # tags, markers and digests, in full, and the image of each
        self._parents: dict[str, str] = {}
        self._containers: dict[str, Container] = {}
        self._volumes: dict[str, Volume] = {}
        self._networks: dict[str, Network] = {}
        self._before: dict[str, deque[Callable[[], object]]] = defaultdict(deque)
        self._past: deque[Event] = deque(maxlen=REMEMBERED_EVENTS)
        self._streaming: deque[Event] | None = None

    # -- what a test can arrange ----------------------------------------------------------------------------

    def just_before(self, operation: str, *actions: Callable[[], object]) -> None:
        """Do something immediately before the next calls of an operation, one action a call."""
        self._before[operation].extend(actions)

    def go_away(self) -> None:
        """Answer nothing from now on, and end the stream of events."""
        self.away = "nothing listens"

    def come_back(self) -> None:
        """Answer again."""
        self.away = ""

    def restart(self) -> None:
        """Forget the past, as an engine does that is started again."""
        self._past.clear()

    def take_events(self) -> list[Event]:
        """What was emitted since the last call."""
        taken = list(self.emitted)
        self.emitted.clear()
        return taken

    def emit(self, type_: str, action: str, identifier: str, name: str = "", image: str = "") -> Event:
        """Say that something happened, whether it did or not; an engine is not asked for all that it could tell."""
        event = Event(type_, action, identifier, name or identifier, self.clock.time_ns(), image)
        self._past.append(event)
        self.emitted.append(event)
        if self._streaming is not None and _is_told(event):
            self._streaming.append(event)
        return event

    def _called(self, operation: str, argument: str = "") -> None:
        if self._before[operation]:
            self._before[operation].popleft()()
        self.calls.append((operation, argument))
        if self.away:
            raise EngineUnavailableError(f"{operation}: {self.away}")
        for key in ((operation, argument), operation):
            if key in self.errors:
                raise self.errors[key]

    # -- ports.Engine: itself -------------------------------------------------------------------------------

    def connect(self) -> EngineInfo:
        self._called("connect")
        return self.info

    def events(self, since_ns: int, until_ns: int) -> Iterator[Event]:
        self._called("events", f"{since_ns} {until_ns}")
        told = [event for event in self._past if since_ns <= event.at_ns <= until_ns and _is_told(event)]
        self._streaming = deque(told)  # and from here on what happens, whoever reads it when
        return self._stream(until_ns)

    def _told(self) -> Iterator[Event]:
        while self._streaming:
            yield self._streaming.popleft()

    def _stream(self, until_ns: int) -> Iterator[Event]:
        yield from self._told()
        if until_ns <= self.clock.now_ns:
            return
        if not self.agenda and until_ns - self.clock.now_ns < SECOND_NS:  # somebody only waits
            self.clock.pass_((until_ns - self.clock.now_ns) / SECOND_NS)
            return
        assert self.agenda, "the window is open and nothing is to happen any more: let the agenda end with a stop"
        while self.agenda and self.clock.now_ns + round(self.agenda[0][0] * SECOND_NS) <= until_ns:
            seconds, action = self.agenda.popleft()
            self.clock.pass_(seconds)
            action()
            yield from self._told()
            if self.away:
                raise EngineUnavailableError(f"events: {self.away}")
        self._streaming = None
        left_ns = max(0, until_ns - self.clock.now_ns)
        if self.agenda:
            seconds, action = self.agenda.popleft()
            self.agenda.appendleft((seconds - left_ns / SECOND_NS, action))
        self.clock.pass_(left_ns / SECOND_NS)

    def now_ns(self) -> int:
        return self.clock.now_ns

    def replayed(self, since_ns: int, until_ns: int) -> int:
        self._called("replayed", f"{since_ns} {until_ns}")
        return sum(since_ns <= event.at_ns <= until_ns for event in self._past)

    # -- ports.Engine: objects ------------------------------------------------------------------------------

    def images(self, repository: str = "") -> list[Image]:
        self._called("images", repository)
        wanted = references.parse(repository).repository if repository else ""
        shown = [replace(self._shown(image), details=None) for image in self._images]
        return [i for i in shown if not wanted or any(_repository(n) == wanted for n in (*i.tags, *i.digests))]

    def image(self, reference: str) -> Image:
        self._called("image", reference)
        return self._shown(self._resolve(reference))

    def children(self) -> dict[str, list[str]]:
        self._called("children")
        return {of: [each for each, base in self._parents.items() if base == of] for of in self._parents.values()}

    def container_ids(self) -> Sequence[str]:
        self._called("container_ids")
        return list(self._containers)

    def container(self, identifier: str) -> Container:
        self._called("container", identifier)
        return self._container(identifier)

    def users_of(self, key: str, kind: Kind = Kind.IMAGE) -> Sequence[str]:
        self._called("users_of", key)
        if kind is Kind.IMAGE:
            return self._users(key)
        return [c.id for c in self._containers.values() if key in {*c.networks, *(mount.name for mount in c.mounts)}]

    def volumes(self) -> list[Volume]:
        self._called("volumes")
        return list(self._volumes.values())

    def volume(self, name: str) -> Volume:
        self._called("volume", name)
        return _one(self._volumes, name)

    def networks(self) -> list[Network]:
        self._called("networks")
        return list(self._networks.values())

    def network(self, identifier: str) -> Network:
        self._called("network", identifier)
        return _one(self._networks | {each.name: each for each in self._networks.values()}, identifier)

    def needs(self) -> Needs:
        self._called("needs")
        return self.needed

    def history(self, image_id: str) -> Sequence[BuildStep]:
        self._called("history", image_id)
        given = self.histories.get(_one(self._images, image_id).id, ())
        return [BuildStep(step) if isinstance(step, int) else step for step in given]

    def processes(self, identifier: str) -> Sequence[str]:
        self._called("processes", identifier)
        return self.runs.get(self._container(identifier).name, ())

    def log_bytes(self, identifier: str) -> int | None:
        self._called("log_bytes", identifier)
        return self.logs.get(self._container(identifier).name)

    def disk_usage(self) -> Usage:
        self._called("disk_usage")
        return self.usage

    def tag(self, image_id: str, reference: str) -> None:
        self._called("tag", reference)
        self.name(image_id, reference)

    def untag(self, reference: str) -> Sequence[str]:
        if references.is_image_id(reference):
            raise ValueError(f"{reference!r} is an image ID, not a name")
        references.parse(reference)
        if "@" not in reference and ":" not in reference.rpartition("/")[2]:
            raise ValueError(f"{reference!r} has neither tag nor digest")
        self.removals.append(reference)
        self._called("untag", reference)
        before = set(self._images)
        self.unname(reference)
        return sorted(before - set(self._images))

    # -- ports.Engine: changes ------------------------------------------------------------------------------

    def pull_image(
        self,
        reference: str,
        platform: str = "",
        login: Mapping[str, str] | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self._called("pull_image", reference)
        if progress:
            progress(1, 2)
        if reference not in self.served:
            raise NotFoundError(f"manifest for {reference} not found")
        is_another = any(name == reference and of != platform for name, of in self.pulled)
        if is_another and "@" in reference and self.store is ImageStore.GRAPH:
            raise AnswerError(f"cannot overwrite digest {reference.partition('@')[2]}")
        self.pulled.append((reference, platform))
        self.pull(self.served[reference], reference)

    def save_image(self, image_id: str, write: Callable[[bytes], object]) -> None:
        self._called("save_image", image_id)
        image = self._images[self._resolve(image_id)]
        write(b"an archive of ")
        write(pickle.dumps((image.id.encode(), image)))

    def load_image(self, chunks: Iterator[bytes]) -> None:
        self._called("load_image")
        content = b"".join(chunks)
        _, image = pickle.loads(content.removeprefix(b"an archive of "))
        self.load(replace(image, tags=(), digests=(), markers=()))

    def stop_container(self, identifier: str) -> None:
        self._called("stop_container", identifier)
        self.die(self._container(identifier).name)

    def in_swarm(self, info: EngineInfo) -> EngineInfo:
        return replace(info, swarm_role=self.info.swarm_role or ("" if self.swarm is None else "manager"))

    def services(self) -> Sequence[Service] | None:
        self._called("services")
        return list(self.swarm.values()) if self.swarm is not None else None

    def service(self, identifier: str) -> Service:
        self._called("service", identifier)
        return _one(self.swarm or {}, identifier)

    def addresses(self, identifier: str) -> Sequence[str]:
        self._called("addresses", identifier)
        return ["10.0.0.1"]

    def update_service(self, identifier: str, image_ref: str, login: Mapping[str, str] | None = None) -> None:
        self._called("update_service", image_ref)
        assert self.swarm is not None
        now = self.service(identifier)
        at = (now.updated_at or 0.0) + 1.0
        self.swarm[identifier] = replace(now, image_ref=image_ref, update_state="updating", updated_at=at)

    def restart_container(self, identifier: str, stop_seconds: int | None) -> None:
        self._called("restart_container", identifier)
        container = self._container(identifier)
        started_at = (container.started_at or 0.0) + 1
        health = container.health and "starting"
        self.alter(container.name, "restart", running=True, state="running", started_at=started_at, health=health)

    def rename_container(self, identifier: str, name: str) -> None:
        self._called("rename_container", identifier)
        container = self._container(identifier)
        if name in {each.name for each in self._containers.values()}:
            raise ConflictError(f"Conflict. The container name {name} is already in use")
        self.alter(container.name, "rename", name=name)

    def set_restart_policy(self, identifier: str, policy: str, most: int) -> None:
        self._called("set_restart_policy", identifier)
        container = self._container(identifier)
        config = replace(container.config, restart_policy=policy, restart_max=most)
        self.alter(container.name, "update", config=config)

    def last_lines(self, identifier: str, most: int) -> Sequence[str]:
        self._called("last_lines", identifier)
        return (f"{self._container(identifier).image_ref} says nothing",)

    def peers(self, identifier: str) -> Sequence[str]:
        self._called("peers", identifier)
        mode = self._container(identifier).network_mode
        return [mode.removeprefix("container:")] if mode.startswith("container:") else []

    def renewal(self, identifier: str, image_id: str) -> dict[str, Any]:
        self._called("renewal", identifier)
        return self.parameters(Ref(Kind.CONTAINER, identifier))

    def start_container(self, identifier: str, instead_of: str = "") -> None:
        self._called("start_container", identifier)
        container = self._container(identifier)
        if not container.running:
            started_at = (container.started_at or 0.0) + 1
            self.alter(container.name, "start", running=True, state="running", started_at=started_at)

    def written(self, identifier: str) -> Written:
        self._called("written", identifier)
        return self.wrote.get(self._container(identifier).name, Written())

    def save_files(self, identifier: str, paths: Sequence[str], write: Callable[[bytes], object]) -> None:
        self._called("save_files", identifier)
        for path in paths:
            write(f"{path}\n".encode())

    def put_files(self, identifier: str, chunks: Iterator[bytes]) -> None:
        self._called("put_files", identifier)
        self.wrote[self._container(identifier).name] = Written(tuple(b"".join(chunks).decode().split()))

    def carry(self, old: str, new: str = "") -> Sequence[str]:
        self._called("carry", old)
        return ()

    def remove_container(self, identifier: str) -> None:
        self._called("remove_container", identifier)
        container = self._container(identifier)
        if container.running:
            raise ConflictError(f"You cannot remove a running container {identifier}")
        self.remove(container.name)

    def remove_volume(self, name: str) -> None:
        self._called("remove_volume", name)
        _one(self._volumes, name)
        if any(name in {mount.name for mount in c.mounts} for c in self._containers.values()):
            raise ConflictError(f"remove {name}: volume is in use")
        del self._volumes[name]
        self.emit("volume", "destroy", name)

    def remove_network(self, identifier: str) -> None:
        self._called("remove_network", identifier)
        network = _one(self._networks, identifier)
        if any(c.running and network.name in c.networks for c in self._containers.values()):
            raise ConflictError(f"error while removing network: network {network.name} has active endpoints")
        del self._networks[identifier]
        self.emit("network", "destroy", network.id, network.name)

    def trim_build_cache(self, max_used_bytes: int | None = None, unused_seconds: float = 0.0) -> int:
        self._called("trim_build_cache", str(max_used_bytes))
        is_old = self.usage.build_cache_idle_seconds >= unused_seconds
        freed = max(0, self.build_cache_bytes - (max_used_bytes or 0)) if is_old else 0
        self.build_cache_bytes -= freed
        return freed

    def parameters(self, ref: Ref) -> dict[str, Any]:
        self._called("parameters", ref.key)
        if ref.kind is Kind.CONTAINER:
            container = self._container(ref.key)
            about = {"name": container.name, "image_ref": container.image_ref, "image_id": container.image_id}
            new = replace(
                container, running=False, state="created", started_at=None, finished_at=None, id="", image_id=""
            )
            made_from = pickle.dumps(replace(new, image_ref="", networks=())).hex()
            endpoints: dict[str, object] = {network: {} for network in container.networks}
            return {**about, "body": {"Image": container.image_ref, "made from": made_from}, "endpoints": endpoints}
        if ref.kind is Kind.VOLUME:
            volume = _one(self._volumes, ref.key)
            names = {"Name": volume.name, "Driver": volume.driver, "DriverOpts": {}, "Labels": dict(volume.labels)}
            return {**names, "Mountpoint": f"/nowhere/volumes/{volume.name}/_data"}
        network = _one(self._networks, ref.key)
        return {"Name": network.name, "made from": pickle.dumps(replace(network, id="")).hex()}

    def create(self, kind: Kind, parameters: Mapping[str, Any]) -> str:
        self._called("create", parameters.get("name", "") or parameters.get("Name", ""))
        if kind is Kind.VOLUME:
            labels = parameters["Labels"]
            self.add_volume(
                Volume(parameters["Name"], parameters["Driver"], labels, anonymous=False, created_at=self.clock.time())
            )
            return str(parameters["Name"])
        if kind is Kind.NETWORK:
            network: Network = pickle.loads(bytes.fromhex(parameters["made from"]))
            if network.name in {each.name for each in self._networks.values()}:
                raise ConflictError(f"network with name {network.name} already exists")
            self._made += 1
            self.add_network(replace(network, id=f"{self._made:x}".ljust(64, "0")))
            return f"{self._made:x}".ljust(64, "0")
        body = parameters["body"]
        container: Container = replace(pickle.loads(bytes.fromhex(body["made from"])), name=parameters["name"])
        moved = {f"container:{old}": f"container:{new}" for old, new in parameters.get("moved", {}).items()}
        container = replace(container, network_mode=moved.get(container.network_mode, container.network_mode))
        if container.name in {each.name for each in self._containers.values()}:
            raise ConflictError(f"Conflict. The container name {container.name} is already in use")
        image_id = self._resolve(body["Image"])
        self._made += 1
        new = replace(container, id=f"{self._made:x}".ljust(64, "0"), image_ref=body["Image"], image_id=image_id)
        self.run(replace(new, networks=tuple(parameters["endpoints"])))
        return new.id

    def _shown(self, image_id: str) -> Image:
        image = self._images[image_id]
        names = self._names_of(image_id)
        tags = [name for name in names if "@" not in name]
        digests = {name for name in names if "@" in name}
        markers = tuple(name for name in tags if _repository(name) == references.MARKER_REPOSITORY)
        tags = [name for name in tags if name not in markers]
        if self.store is ImageStore.CONTAINERD:
            digests |= {f"{_repository(name)}@{image_id}" for name in tags}
        return replace(
            image,
            tags=tuple(tags),
            digests=tuple(sorted(digests)),
            markers=markers,
            details=image.details or _NO_DETAILS,
            is_step=image.is_step and not names,
        )

    def _names_of(self, image_id: str) -> list[str]:
        return sorted(name for name, owner in self._names.items() if owner == image_id)

    def _resolve(self, name: str) -> str:
        if references.is_image_id(name):
            identifier = f"sha256:{name.removeprefix('sha256:')}"
            found = identifier if identifier in self._images else ""
        else:
            found = self._names.get(references.full(name), "")
            implied = self.store is ImageStore.CONTAINERD and "@" in name and not found
            if implied and name.partition("@")[2] in self._images:  # there each name has a digest as well
                image = name.partition("@")[2]
                repositories = {_repository(each) for each in self._names_of(image)}
                found = image if references.parse(name).repository in repositories else ""
        if not found:
            raise NotFoundError(f"No such image: {name}")
        return found

    def _users(self, image_id: str) -> list[str]:
        return [container.id for container in self._containers.values() if container.image_id == image_id]

    def _container(self, identifier: str) -> Container:
        for container in self._containers.values():
            if identifier in (container.id, container.name):
                return container
        raise NotFoundError(f"No such container: {identifier}")

    # -- what other people do: images -----------------------------------------------------------------------

    def put(self, *images: Image, parent: str = "") -> None:
        """Images that have always been there."""
        for image in images:
            self._images[image.id] = image
            if parent:
                self._parents[image.id] = parent
            for name in (*image.tags, *image.digests, *image.markers):
                self._name(image.id, name)

    def load(self, image: Image) -> None:
        """``docker load``: one event for the image, none for its names."""
        self.put(image)
        self.emit("image", "load", image.id)

    def pull(self, image: Image, name: str) -> None:
        """``docker pull``: an event with the name alone; whoever had the name loses it without a word."""
        self.put(replace(image, tags=(), digests=()))
        full = references.full(name)
        self._name(image.id, full)
        if self.store is ImageStore.GRAPH and "@" not in full:
            self._name(image.id, f"{_repository(full)}@sha256:{image.id[:6:-1]}")
        self.emit("image", "pull", name, name.partition(":")[0])

    def build(self, image: Image, name: str) -> None:
        """A BuildKit build, of which old engines say nothing; a containerd store drops what it replaces."""
        loser = self._names.get(references.full(name), "")
        self.put(replace(image, tags=()))
        self._name(image.id, references.full(name))
        if self.store is ImageStore.CONTAINERD:
            self.emit("image", "create", image.id)
            self.emit("image", "tag", image.id, references.full(name))
            if loser and loser != image.id and not self._names_of(loser):
                del self._images[loser]

    def name(self, image: str, name: str) -> None:
        """``docker tag``."""
        image_id = self._resolve(image)
        self._name(image_id, references.full(name))
        self.emit("image", "tag", image_id, references.full(name))

    def unname(self, name: str) -> None:
        """``docker rmi``, not forced, by name."""
        if name.startswith(_DANGLING):
            self._remove_nameless(name.removeprefix(_DANGLING))
            return
        image_id, full = self._resolve(name), references.full(name)
        names = self._names_of(image_id)
        if self.store is ImageStore.GRAPH:
            self._untag_on_graph(image_id, full, names)
        else:
            self._untag_on_containerd(image_id, full, names)

    def vanish(self, image_id: str) -> None:
        """The image goes and no event says so."""
        for name in self._names_of(image_id):
            del self._names[name]
        del self._images[image_id]

    def change(self, image_id: str, **fields: object) -> None:
        """Something else about the image changes."""
        self._images[image_id] = replace(self._images[image_id], **fields)  # type: ignore[arg-type]

    def _name(self, image_id: str, name: str) -> None:
        self._names[name] = image_id

    def _untag_on_graph(self, image_id: str, full: str, names: list[str]) -> None:
        same = [name for name in names if "@" in name and _repository(name) == _repository(full)]
        lone = all(_repository(name) == _repository(full) for name in names)
        lone = lone and sum("@" not in name for name in names) <= 1
        if lone and self._users(image_id):
            raise ConflictError(f"conflict: unable to remove repository reference {full!r} (must force)")
        self._drop(image_id, full, image_id)
        others = [name for name in names if "@" not in name and name != full]
        if "@" not in full and not any(_repository(name) == _repository(full) for name in others):
            for name in same:
                self._drop(image_id, name, image_id)
        self._delete_if_nameless(image_id)

    def _untag_on_containerd(self, image_id: str, full: str, names: list[str]) -> None:
        tags = [name for name in names if "@" not in name and _repository(name) == _repository(full)]
        digests = [name for name in names if "@" in name and _repository(name) == _repository(full)]
        same = {full, *digests} if tags in ([], [full]) else {full}
        if "@" in full and len(tags) == 1:
            same |= set(tags)
        if same >= set(names) and self._users(image_id):
            raise ConflictError(f"conflict: unable to delete {full} (must be forced)")
        for name in same & set(names):
            self._drop(image_id, name, references.familiar(name))
        self._delete_if_nameless(image_id)

    def _delete_if_nameless(self, image_id: str) -> None:
        """Without names it goes, unless others were built from it."""
        if not self._names_of(image_id) and image_id not in self._parents.values():
            self._delete(image_id)

    def _remove_nameless(self, image_id: str) -> None:
        if self.store is ImageStore.GRAPH or image_id not in self._images or self._names_of(image_id):
            raise NotFoundError(f"No such image: {_DANGLING}{image_id}")
        if self._users(image_id):
            raise ConflictError(f"conflict: unable to delete {image_id} (must be forced)")
        self._delete(image_id)

    def _drop(self, image_id: str, name: str, shown: str) -> None:
        del self._names[name]
        self.emit("image", "untag", image_id, shown)

    def _delete(self, image_id: str) -> None:
        del self._images[image_id]
        self.emit("image", "delete", image_id)
        self._parents.pop(image_id, None)

    # -- what other people do: containers, volumes, networks ------------------------------------------------

    def run(self, container: Container) -> None:
        """``docker run``, or ``docker create`` of one that is not running; its image is the one that is named."""
        image_id = self._names.get(references.full(container.image_ref), container.image_id)
        self._containers[container.id] = replace(container, image_id=image_id)
        self.emit("container", "create", container.id, container.name, container.image_ref)
        if container.running:
            self._use(container, "mount", "connect")
            self.emit("container", "start", container.id, container.name, container.image_ref)

    def alter(self, name: str, action: str, /, **fields: object) -> None:
        """Something happens to a container: what it is called, and what is different afterwards."""
        container = self._container(name)
        self._containers[container.id] = replace(container, **fields)  # type: ignore[arg-type]
        if action == "start":
            self._use(container, "mount", "connect")
        self.emit("container", action, container.id, name, container.image_ref)
        if action == "die":
            self._use(container, "unmount", "disconnect")

    def _use(self, container: Container, of_volumes: str, of_networks: str) -> None:
        """Volumes and networks say when a container comes and goes."""
        for mount in container.mounts:
            self.emit("volume", of_volumes, mount.name, container.id)
        for network in self._networks.values():
            if network.name in container.networks:
                self.emit("network", of_networks, network.id, container.id)

    def die(self, name: str, exit_code: int = 0) -> None:
        """The container's process ends."""
        self.alter(name, "die", running=False, state="exited", exit_code=exit_code)

    def remove(self, name: str) -> None:
        """``docker rm``."""
        container = self._container(name)
        self.wrote.pop(name, None)
        del self._containers[container.id]
        if container.running:  # forced
            self.emit("container", "die", container.id, name, container.image_ref)
            self._use(container, "unmount", "disconnect")
        self.emit("container", "destroy", container.id, name, container.image_ref)

    def add_volume(self, volume: Volume) -> None:
        """``docker volume create``."""
        self._volumes[volume.name] = volume
        self.emit("volume", "create", volume.name)

    def add_network(self, network: Network) -> None:
        """``docker network create``."""
        self._networks[network.id] = network
        self.emit("network", "create", network.id, network.name)

    def attach(self, network: Network, name: str) -> None:
        """``docker network connect``: an event of the network that names the container."""
        container = self._container(name)
        if network.name in container.networks:
            raise ConflictError(f"endpoint with name {name} already exists in network {network.name}")
        networks = (*container.networks, network.name)
        self._containers[container.id] = replace(container, networks=networks)
        self.emit("network", "connect", network.id, container.id)

    def detach(self, network: Network, name: str) -> None:
        """``docker network disconnect``: an event of the network that names the container."""
        container = self._container(name)
        if network.name not in container.networks:
            raise NotFoundError(f"container {name} is not connected to the network {network.name}")
        networks = tuple(each for each in container.networks if each not in (network.name, network.id))
        self._containers[container.id] = replace(container, networks=networks)
        self.emit("network", "disconnect", network.id, container.id)


def _is_told(event: Event) -> bool:
    return event.action in EVENTS.get(event.type, ())


def _repository(name: str) -> str:
    return name.partition("@")[0] if "@" in name else name.rpartition(":")[0]


def _one(table: dict[str, _T], key: str) -> _T:
    if key not in table:
        raise NotFoundError(f"no such object: {key}")
    return table[key]


_STANDS = ("paused", "updating")


@dataclass
class FakeIntents:
    """A ledger of removals.

    Attributes:
        full: what does not work any more: ``intend``, ``conclude``, ``begin_archive``.
        written: the steps that were about to happen, by number.
        recipes: what would undo them.
        outcomes: what became of them.
        archives: the sizes of archives by name.
    """

    full: set[str] = field(default_factory=set)
    written: dict[int, Step] = field(default_factory=dict)
    recipes: dict[int, Recipe] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    archives: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def alone(self) -> Iterator[None]:
        if "alone" in self.full:
            raise LedgerError("another one acts")
        yield

    def intend(self, run: str, step: Step, recipe: Recipe) -> int:
        if "intend" in self.full:
            raise LedgerError("no space left on device")
        number = len(self.written) + 1
        self.written[number], self.recipes[number] = step, recipe
        return number

    def aside(self, policy: str) -> list[tuple[str, float]]:
        done = (number for number, outcome in self.outcomes.items() if outcome.effect is Effect.APPLIED)
        return [(step.ref.key, 0.0) for step in map(self.written.__getitem__, done) if step.policy == policy]

    def amend(self, number: int, recipe: Recipe) -> None:
        if "amend" in self.full:
            raise LedgerError("no space left on device")
        self.recipes[number] = recipe

    def is_barred(
        self, action: str, name: str, image_id: str, back_to: str = "", service: str = "", platform: str = ""
    ) -> bool:
        ended = ((self.recipes[number], outcome) for number, outcome in self.outcomes.items())
        undone = {recipe.parameters.get("undoes") for recipe, outcome in ended if outcome.effect is Effect.APPLIED}

        def stands(outcome: Outcome) -> bool:
            return outcome.effect is Effect.APPLIED or outcome.reason == "updating"

        return any(
            self.written[number].action == action
            and image_id in (about.get("new_image_id"), about.get("from"))
            and (
                (outcome.reason, about.get("was_here"), about.get("platform")) == ("other_platform", False, platform)
                or (
                    (self.written[number].name == name or service in self._services(number))
                    and (
                        outcome.reason in ("rolled_back", "paused")
                        or number in undone
                        or (stands(outcome) and about.get("image_ref") == back_to)
                    )
                )
            )
            for number, outcome in self.outcomes.items()
            for about in (self.recipes[number].parameters,)
        )

    def _services(self, number: int) -> set[object]:
        return {self.recipes[number].parameters.get("service")} - {None, ""}

    def conclude(self, number: int, outcome: Outcome) -> None:
        if "conclude" in self.full:
            raise LedgerError("no space left on device")
        self.outcomes[number] = outcome

    def ages(self, action: str, ref: Ref) -> list[float]:
        done = (number for number, outcome in self.outcomes.items() if outcome.effect is Effect.APPLIED)
        return [0.0 for number in done if (self.written[number].action, self.written[number].ref) == (action, ref)]

    def undoable(self, what: str = "") -> list[Record]:
        ended, recipes = self.outcomes, self.recipes
        applied = [number for number, outcome in ended.items() if outcome.effect is Effect.APPLIED]
        undone = {recipes[number].parameters.get("undoes") for number in applied}
        stands = [number for number, outcome in ended.items() if number in applied or outcome.reason in _STANDS]
        return [
            self._record(number, 1.0)
            for number in reversed(self.written)
            if number in stands and number not in undone and recipes[number].method != "none"
            if what in ("", "run-1", str(number))
        ]

    def open_intents(self) -> list[Record]:
        return [self._record(number, 0.0) for number in self.open()]

    def _record(self, number: int, until: float) -> Record:
        step = self.written[number]
        about = (step.policy, step.action, step.ref, step.name)
        ended = self.outcomes.get(number)
        record = Record(number, "run-1", *about, 0.0, until, self.recipes[number])
        return record._replace(outcome=ended.effect.value, reason=ended.reason) if ended else record

    def begin_archive(self, name: str) -> None:
        if "begin_archive" in self.full:
            raise LedgerError("no space left on device")
        self.archives[name] = 0

    def end_archive(self, name: str, size_bytes: int) -> None:
        self.archives[name] = size_bytes

    def forget_archive(self, name: str) -> None:
        self.archives.pop(name, None)

    def known_archives(self) -> set[str]:
        return set(self.archives)

    def open(self) -> list[int]:
        """What was done and has no end, or not its last one."""
        undone = {recipe.parameters.get("undoes") for recipe in self.recipes.values()}
        going_on = [number for number, outcome in self.outcomes.items() if outcome.reason == "updating"]
        return [number for number in self.written if number not in self.outcomes or number in {*going_on} - undone]


@dataclass
class FakeRegistry:
    """Image registries that have what a test puts into them.

    Attributes:
        digests: what each tag names now, by full reference; the lists of tags follow from it.
        manifests: what a digest stands for, by ``repository@sha256:…``.
        failures: by question, by reference or by registry, the reason why there is no answer.
        reason: the reason where there is nothing.
        slow: answers wait for ``answer_all``.
        asked: every question, in order.
        known: the last answer to each question.
        believed: how old the answer to each question could have been when it was last asked.
        noted: what pulls told, in order.
        logins: by registry.
    """

    digests: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, Reply] = field(default_factory=dict)
    failures: dict[Ask | str, str] = field(default_factory=dict)
    reason: str = "not_found"
    slow: bool = False
    asked: list[Ask] = field(default_factory=list)
    known: dict[Ask, Reply] = field(default_factory=dict)
    believed: dict[Ask, float] = field(default_factory=dict)
    noted: list[tuple[Ask, Reply | None]] = field(default_factory=list)
    logins: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._waiting: list[tuple[Ask, Future[Reply]]] = []

    def ask(self, ask: Ask, max_age_seconds: float = BELIEVED_SECONDS) -> Future[Reply]:
        self.asked.append(ask)
        self.believed[ask] = max_age_seconds
        future: Future[Reply] = Future()
        self._waiting.append((ask, future))
        if not self.slow:
            self.answer_all()
        return future

    def note(self, ask: Ask, reply: Reply | None) -> None:
        self.noted.append((ask, reply))
        if reply:
            self.known[ask] = reply

    def remembered(self, ask: Ask) -> Reply | None:
        return self.known.get(ask)

    def close(self) -> None:
        self._waiting.clear()

    def login(self, registry: str) -> Mapping[str, str]:
        return self.logins.get(registry, {})

    def answer_all(self) -> None:
        """Answer every question that waits."""
        waiting, self._waiting = self._waiting, []
        for ask, future in waiting:
            self.known[ask] = self._reply(ask)
            future.set_result(self.known[ask])

    def _reply(self, ask: Ask) -> Reply:
        for key in (ask, ask.reference, ask.reference.partition("/")[0]):
            if key in self.failures:
                return Reply(reason=self.failures[key])
        match ask.what:
            case "digest":
                found = Reply(digest=self.digests.get(ask.reference, ""))
            case "manifest" | "config":
                return self.manifests.get(ask.reference, Reply(reason=self.reason))
            case _:
                tags = (tag.rpartition(":") for tag in self.digests)
                found = Reply(tags=tuple(name for repository, _, name in tags if repository == ask.reference))
        return found if found != Reply() else Reply(reason=self.reason)


class Ground:
    """The host of an engine, as an executor sees it.

    Attributes:
        visible: whether its disk can be seen; there is as much free as its images leave.
        busy: what is under way, one entry for each time that somebody looks.
        slept: seconds that were waited.
    """

    def __init__(self, folder: Path, engine: FakeEngine, registry: FakeRegistry | None = None, own: str = "") -> None:
        self._engine = engine
        self._own = own
        self._registry = registry or FakeRegistry()
        self._folder = folder
        self.visible = True
        self.is_shared = False  # archives are on the engine's disk
        self.is_ending = False
        self.busy: deque[str] = deque()
        self.slept: list[float] = []
        self.room = 1 << 40

    def archive(self, intents: Intents) -> Archive:
        return Archive(self._folder / "archives", intents, max_bytes=self.room, reserve_bytes=0)

    def executor(self, intents: Intents) -> Callable[[EngineInfo], Executor]:
        """What makes one for each plan."""
        return lambda _info: Executor(self.tools(intents), intents)

    def known(self, intents: Intents) -> Callable[[EngineInfo], Tools]:
        return lambda _info: self.tools(intents)

    def tools(self, intents: Intents) -> Tools:
        """What verbs work with, and what is known of the host."""
        return Tools(
            self._engine,
            self._registry,
            self.archive(intents),
            contents,
            self._engine.store,
            own=frozenset({self._own}),
            kills_frozen=self._engine.info.cgroup_version != 1,
            free_bytes=self._free_bytes,
            busy=lambda: self.busy.popleft() if self.busy else "",
            is_ending=lambda: self.is_ending,
            now=self._engine.clock.monotonic,
            sleep=self._sleep,
        )

    def _free_bytes(self) -> int | None:
        taken = sum(image.size_bytes for image in self._engine._images.values())
        if self.is_shared:
            taken += sum(file.stat().st_size for file in (self._folder / "archives").rglob("*") if file.is_file())
        return (1 << 40) - taken if self.visible else None

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._engine.clock.pass_(seconds)

"""What the engine has, and our own memory of it. Pure.

Times end in ``_at``, in seconds since the epoch (``None``: never), durations in ``_seconds``, sizes in ``_bytes``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from dockwarden import reference
from dockwarden.model.words import ImageStore, Kind

JOINED = "container:"
"""What the mode of a namespace begins with that is another container's."""


class Ref(NamedTuple):
    """How to point at one object: its kind and key (image or container or network ID, full tag, volume name)."""

    kind: Kind
    key: str


class Event(NamedTuple):
    """One message of the engine, reduced to what may be used. ``name`` and ``image`` are untrusted text.

    Attributes:
        name: of the use of a volume or network, the ID of the container.
        image: of a container, what its creator typed.
    """

    type: str
    action: str
    id: str
    name: str
    at_ns: int
    image: str = ""


class Dirty(NamedTuple):
    """A hint that something happened to an object, and of its past what no look could show any more.

    Attributes:
        key: ID or reference.
        pulled: it was a pull.
        gone: it went; what is there now, if anything, is another one.
        used_by: the ID of a container that used it at that moment; nothing else happened to it.
        named: a name that the image got; looking by a name is cheaper.
    """

    kind: Kind
    key: str
    pulled: bool = False
    gone: bool = False
    used_by: str = ""
    named: str = ""

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.key)

    @property
    def ends(self) -> bool:
        """Whether nothing of it is left to look at, now and ever: no other container gets its ID."""
        return self.gone and self.kind is Kind.CONTAINER


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine says of itself at connect. ``identity`` tells one engine's objects from another's.

    Attributes:
        image_root: where its images are on its disk; a containerd of the system keeps them outside of the data root.
        way: the ID of the container through which it is reached, such as a proxy of its socket; "" if there is none.
        mirrors: URLs that it asks before Docker Hub, in order.
        only_audited: why nothing is changed on it, whatever policies and commands say; "" where it may be.
        insecure_registries: hosts and CIDRs to which it speaks without verified TLS, or without TLS.
        tells_builds: whether an inspect of an image says that it was built here.
        swarm_role: manager, worker, "" outside of a swarm, None while that is not settled.
        swarm_autolock, swarm_certificate_seconds: settings of the swarm, which only its managers tell.
    """

    identity: str
    name: str
    version: str
    api_version: str
    image_store: ImageStore
    swarm: bool
    data_root: str
    live_restore: bool
    rootless: bool
    userns_remap: bool
    clock_offset_seconds: float = field(compare=False)  # it is another at each connect
    image_root: str = ""
    only_audited: str = ""
    way: str = ""
    mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    tells_builds: bool = False
    security_options: tuple[str, ...] = ()
    storage_driver: str = ""
    log_driver: str = ""
    memory_bytes: int = 0
    cpus: int = 0
    authorization_plugins: tuple[str, ...] = ()
    experimental: bool = False
    warnings: tuple[str, ...] = ()
    kernel: str = ""
    architecture: str = ""
    cgroup_version: int = 0
    swarm_role: str | None = ""
    swarm_managers: int = 0
    swarm_autolock: bool = False
    swarm_certificate_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """What only an inspect of an image tells; but for ``built_here`` and ``platforms`` it never changes for an ID.

    Attributes:
        parent: the ID of the image that it was built from on this engine, where a graph store knows one.
        content_bytes: what its packed layers take up on a containerd store, besides the unpacked ones.
        manifests: of an index, the digests of its images, of whatever platform; from API 1.48 on.
        platforms: of an index, those whose images are here, ``linux/arm64``; from API 1.48 on.
        built_here: BuildKit made it on this engine, and no registry was ever given it; see ``tells_builds``. None: it
            was not looked at since the start.
    """

    os: str
    architecture: str
    variant: str
    user: str
    healthcheck: bool
    layers: tuple[str, ...]
    env_names: tuple[str, ...]
    ports: tuple[str, ...]
    parent: str = ""
    content_bytes: int = 0
    manifests: tuple[str, ...] = ()
    built_here: bool | None = False
    volumes: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()


class BuildStep(NamedTuple):
    """One step of an image's history. ``instruction`` reads like a Dockerfile's line and may hold secrets."""

    size_bytes: int
    instruction: str = ""
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image. ``tags`` and ``digests`` are full references; ``markers`` are tags of our own unfinished deletions.

    ``is_step``: it was made here on another image and never had a name; only an inspect on a graph store tells.
    """

    kind: ClassVar[Kind] = Kind.IMAGE
    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    markers: tuple[str, ...]
    size_bytes: int
    labels: Mapping[str, str]
    created_at: float | None
    details: ImageDetails | None = None
    is_step: bool = False


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount; ``name``: a volume's, or an image's as typed; ``image_id``: an image's, as far as its name tells.

    Attributes:
        may_be_another: an image got that name since the container was made; no change of the container.
    """

    type: str
    name: str
    source: str
    destination: str
    driver: str
    writable: bool
    propagation: str = ""
    image_id: str = ""
    may_be_another: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """Limits and isolation of a container; 0 means no limit (seconds, bytes and cores where units matter)."""

    memory_limit_bytes: int
    memory_reservation_bytes: int
    cpu_limit: float
    cpu_shares: int
    pids_limit: int
    privileged: bool
    pid_mode: str
    ipc_mode: str
    uts_mode: str
    userns_mode: str
    read_only: bool
    user: str
    cap_add: tuple[str, ...]
    cap_drop: tuple[str, ...]
    security_opt: tuple[str, ...]
    devices: tuple[str, ...]
    ulimits: tuple[str, ...]
    restart_policy: str
    restart_max: int
    restart_count: int
    log_driver: str
    healthcheck: bool
    env_names: tuple[str, ...]
    apparmor: str
    log_opts: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, object] = field(default_factory=dict)  # what ``told`` lists


@dataclass(frozen=True, slots=True)
class Container:
    """A container. ``image_ref`` is what its creator typed; ``image_id`` is what it runs.

    Attributes:
        manifest: the digest of the one image that it runs of an index; from API 1.48 on, on a containerd store.
        health: of a container that runs; empty for one that is stopped or paused, of which nobody knows it.
        health_at: since when it is so at the latest, as far as the engine remembers probes.
    """

    kind: ClassVar[Kind] = Kind.CONTAINER
    id: str
    name: str
    image_ref: str
    image_id: str
    running: bool
    state: str
    health: str
    exit_code: int
    labels: Mapping[str, str]
    created_at: float | None
    started_at: float | None
    finished_at: float | None
    network_mode: str
    networks: tuple[str, ...]
    mounts: tuple[Mount, ...]
    ports: tuple[str, ...]
    config: ContainerConfig
    manifest: str = ""
    health_at: float | None = None
    oom_killed: bool = False

    @property
    def pin(self) -> str:
        """How it names its image: by ``tag``, by ``digest``, or by ``id``."""
        return reference.pin(self.image_ref, self.image_id)

    @property
    def lives_in(self) -> tuple[str, ...]:
        """Names or IDs of the containers whose namespaces it shares."""
        modes = (self.network_mode, self.config.pid_mode, self.config.ipc_mode, self.config.uts_mode)
        return tuple(mode.removeprefix(JOINED) for mode in modes if mode.startswith(JOINED))

    @property
    def stands_on(self) -> tuple[str, ...]:
        """Names or IDs of the containers without which it cannot start: those of its namespaces, and its links."""
        links: Any = self.config.told.get("links", ())
        return (*self.lives_in, *(link.partition(":")[0].removeprefix("/") for link in links))


@dataclass(frozen=True, slots=True)
class Volume:
    kind: ClassVar[Kind] = Kind.VOLUME
    name: str
    driver: str
    labels: Mapping[str, str]
    anonymous: bool
    created_at: float | None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Network:
    """A network. ``builtin`` ones belong to the engine.

    Attributes:
        config_only: it is none itself, but has the settings for others.
        config_from: the name of the one that this one was made from, "" if from none.
        is_of_swarm: its containers may be on other hosts.
    """

    kind: ClassVar[Kind] = Kind.NETWORK
    id: str
    name: str
    driver: str
    labels: Mapping[str, str]
    created_at: float | None
    builtin: bool
    internal: bool
    options: Mapping[str, str] = field(default_factory=dict)
    config_only: bool = False
    config_from: str = ""
    is_of_swarm: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A service of a swarm, as its leader tells it; 0 means no limit.

    Attributes:
        image_ref: what its tasks are made from, with the digest if there is one.
        mode: replicated, global, replicated-job or global-job.
        replicas: how many tasks should run; running: how many did at the last look, which no event tells.
        update_state: what became of its last update, "" without one; updated_at: when that began.
        published: port outside (0: the swarm picks one), port inside, protocol, mode (ingress or host).
        task_error: why the last task of the last update failed, if one did; told of one service alone.
        unplaced: why no node takes a task of an update that is under way; told of one service alone.
        restart_condition: when the swarm starts a task again that ended: any, on-failure or none.
        is_over: its tasks have done what they had to, and are not started again; told of one service alone.
    """

    kind: ClassVar[Kind] = Kind.SERVICE
    id: str
    name: str
    image_ref: str
    mode: str
    replicas: int
    running: int
    labels: Mapping[str, str]
    created_at: float | None
    update_state: str
    published: tuple[tuple[int, int, str, str], ...]
    networks: tuple[str, ...]
    mounts: tuple[Mount, ...]
    memory_limit_bytes: int
    memory_reservation_bytes: int
    cpu_limit: float
    pids_limit: int
    update_failure_action: str
    healthcheck: bool
    task_error: str = ""
    unplaced: str = ""
    restart_condition: str = "any"
    is_over: bool = False
    updated_at: float | None = None


Thing = Image | Container | Volume | Network | Service
"""Whatever an action can be carried out on, but for the host."""


def ref_of(thing: Thing) -> Ref:
    return Ref(thing.kind, thing.name if isinstance(thing, Volume) else thing.id)


class Change(NamedTuple):
    """One difference that the inventory saw: a cause such as ``image.tag`` and the object it happened to."""

    cause: str
    ref: Ref


class Observed(NamedTuple):
    """Our own memory of an object, in seconds of the observation clock, which stands still while nobody looks.

    ``given_up_at``: of a container that restarts do not help: when it was last started, by the engine's clock.
    """

    first_seconds: float
    used_seconds: float
    had_tag: bool = False
    given_up_at: float | None = None

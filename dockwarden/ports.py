"""The borders behind which concrete classes stand: the engine, the registries, and where reports go.

Input and output: values of ``model``. Out of bounds: knowing who implements them. Every method may raise the errors
named here and no others; implementations translate.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, assert_never

from dockwarden.model import BuildStep, Container, EngineInfo, Event, Image, Network, Ref, Service, Thing, Volume
from dockwarden.model.needs import Needs
from dockwarden.model.outcomes import Outcome, Recipe, Record, Report, Step
from dockwarden.model.words import Kind

if TYPE_CHECKING:
    from concurrent.futures import Future  # which brings `logging` with it

REPLAYED_AT_MOST = 256
"""How many events an engine remembers, of all types together."""

Progress = Callable[[int, int], object] | None
"""Is told, often, how many bytes of a pull are here and how many there are; what it raises ends the pull."""


class Engine(Protocol):
    """One Docker Engine.

    Every method raises ``EngineUnavailableError`` when the engine cannot be reached or does not answer in time, and
    ``AnswerError`` for an answer that cannot be used: ``NotFoundError`` where there is nothing of the name or ID that
    it was given, ``ConflictError`` where the engine refuses, as that is in use or a name is taken. Thread-safe.
    """

    where: str
    """Its address, and who says so, for people."""

    def connect(self) -> EngineInfo:
        """Negotiate the API version and ask the engine who it is. Must come first and after every loss."""

    def events(self, since_ns: int, until_ns: int) -> Iterator[Event]:
        """Events from ``since_ns`` (inclusive, replayed) until ``until_ns``, both by the engine's clock.

        The generator opens the stream and yields ``None``-free events; it ends normally only at ``until_ns``.
        """

    def now_ns(self) -> int:
        """The time by the engine's clock, as far as known."""

    def replayed(self, since_ns: int, until_ns: int) -> int:
        """How many events of any kind the engine still remembers of a span of its past."""

    def images(self, repository: str = "") -> Iterable[Image]:
        """All images (one repository's, if named), without details. Dear on the containerd store."""

    # What the name says: all of a kind; one object, an image with its details, by its name or ID; what is done to one.

    def container_ids(self) -> Sequence[str]: ...  # running or not
    def volumes(self) -> Iterable[Volume]: ...
    def networks(self) -> Iterable[Network]: ...
    def image(self, reference: str) -> Image: ...
    def container(self, identifier: str) -> Container: ...
    def volume(self, name: str) -> Volume: ...
    def network(self, identifier: str) -> Network: ...
    def service(self, identifier: str) -> Service: ...  # on the leader of a swarm
    def history(self, image_id: str) -> Sequence[BuildStep]: ...  # lowest first
    def stop_container(self, identifier: str) -> None: ...  # within the time that it asks for
    def start_container(self, identifier: str, instead_of: str = "") -> None: ...  # a stopped one, whose place it has
    def rename_container(self, identifier: str, name: str) -> None: ...
    def remove_volume(self, name: str) -> None: ...  # ConflictError: a container mounts it
    def remove_network(self, identifier: str) -> None: ...  # ConflictError: a running container uses it
    def tag(self, image_id: str, reference: str) -> None: ...

    def children(self) -> Mapping[str, Sequence[str]]:
        """By the ID of an image, those that were built from it here; of these also what no other list shows."""

    def users_of(self, key: str, kind: Kind = Kind.IMAGE) -> Sequence[str]:
        """The IDs of containers, running or not, that use an image (ID), or perhaps a volume or network (name)."""

    def in_swarm(self, info: EngineInfo) -> EngineInfo:
        """The same, with its part in a swarm as it is now."""

    def services(self) -> Sequence[Service] | None:
        """All services of the swarm, None unless this engine leads one."""

    def needs(self) -> Needs:
        """What the services of its swarm need, whether or not they run here; None where only a manager elsewhere knows.

        What a worker is told to run next, or a manager without a leader, nobody can say there.
        """

    def untag(self, reference: str) -> Sequence[str]:
        """Remove one name, never forced; the image goes with its last name. Gives the IDs of what went with it.

        Raises ValueError for a bare image ID, by which an unforced delete would take a tag that somebody set a moment
        ago.
        """

    def processes(self, identifier: str) -> Sequence[str]:
        """The command lines of a running container's processes. ConflictError: it stopped."""

    def log_bytes(self, identifier: str) -> int | None:
        """What a container's log takes up, None where the engine's disk cannot be seen from here."""

    def disk_usage(self) -> "Usage":
        """What containers, volumes and the build cache take up. Very dear: the engine walks through all of it."""

    def pull_image(
        self, reference: str, platform: str = "", login: Mapping[str, str] | None = None, progress: Progress = None
    ) -> None:
        """Pull one tag or digest, for a platform such as ``linux/arm64`` if one is named.

        ``login`` has ``username`` and ``password``, ``identitytoken`` or ``registrytoken``.
        """

    def save_image(self, image_id: str, write: Callable[[bytes], object]) -> None:
        """Write an image, without names, as ``docker save``; what ``write`` raises passes through."""

    def load_image(self, chunks: Iterator[bytes]) -> None:
        """Take in what ``save_image`` wrote: the image of the same ID, without names."""

    def restart_container(self, identifier: str, stop_seconds: int | None) -> None:
        """Restart a container; None: within the time that it asks for."""

    def set_restart_policy(self, identifier: str, policy: str, most: int) -> None:
        """When the engine starts it again, in words of ``--restart``; ``most``: how often, 0: always."""

    def last_lines(self, identifier: str, most: int) -> Sequence[str]:
        """The last lines of a container's log, none where its log driver cannot be read."""

    def peers(self, identifier: str) -> Sequence[str]:
        """The containers without which this one cannot be made, as it calls them."""

    def renewal(self, identifier: str, image_id: str) -> dict[str, Any]:
        """What ``create`` needs for one like this from another image: what somebody set, no more."""

    def addresses(self, identifier: str) -> Sequence[str]:
        """Those of a running container, that in its first network first; a host reaches not every network."""

    def update_service(self, identifier: str, image_ref: str, login: Mapping[str, str] | None = None) -> None:
        """Give a service of the swarm another image; the swarm does the rest."""

    def written(self, identifier: str) -> "Written":
        """What a container changed in its own files, outside of all mounts."""

    def save_files(self, identifier: str, paths: Sequence[str], write: Callable[[bytes], object]) -> None:
        """Write a tar of these files of a container, but sockets. AnswerError if one of them cannot be kept alone.

        What ``write`` raises passes through.
        """

    def put_files(self, identifier: str, chunks: Iterator[bytes]) -> None:
        """Put what ``save_files`` wrote into a container."""

    def carry(self, old: str, new: str = "") -> Sequence[str]:
        """Give a new container, if there is one, the files that somebody put into another before it was started.

        Gives their paths. AnswerError if they are too big.
        """

    def remove_container(self, identifier: str) -> None:
        """Remove a container and none of its volumes. ConflictError: it runs."""

    def trim_build_cache(self, max_used_bytes: int | None = None, unused_seconds: float = 0.0) -> int:
        """Remove build cache, least recently used first, until it fits; gives the bytes the engine says it freed.

        ``unused_seconds``: only what was not used for so long.
        """

    def parameters(self, ref: Ref) -> dict[str, Any]:
        """What ``create`` needs to make a container, volume or network again, as JSON can hold it.

        It holds the values of a container's environment: not to be shown.
        """

    def create(self, kind: Kind, parameters: Mapping[str, Any]) -> str:
        """Make a container (not started), volume or network; gives its ID, or the name of a volume."""


def look(engine: Engine, ref: Ref) -> Thing | None:
    """An object as the engine has it now; of a tag, the image that it names; None of the host. Raises NotFoundError."""
    match ref.kind:
        case Kind.IMAGE | Kind.TAG:
            return engine.image(ref.key)
        case Kind.CONTAINER:
            return engine.container(ref.key)
        case Kind.VOLUME:
            return engine.volume(ref.key)
        case Kind.NETWORK:
            return engine.network(ref.key)
        case Kind.SERVICE:
            return engine.service(ref.key)
        case Kind.HOST:
            return None
        case _:
            assert_never(ref.kind)


class Written(NamedTuple):
    """The paths that a container made or changed, and those that it deleted, each with what is below it."""

    paths: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


class Usage(NamedTuple):
    """What the engine says its objects take up, in bytes.

    Attributes:
        containers: by ID, what each has written besides its image.
        volumes: by name, of those whose size the engine can tell.
        images_bytes: all layers of all images, as they are unpacked.
        build_cache_bytes: what the build cache has for itself.
        build_cache_idle_seconds: for how long the part of it that was not used for longest was not.
        logs_bytes: the logs of all containers; None, as the next, where the engine's disk cannot be seen from here.
        stray_layers: layers on the disk that the engine does not know.
    """

    containers: Mapping[str, int]
    volumes: Mapping[str, int]
    images_bytes: int
    build_cache_bytes: int
    build_cache_idle_seconds: float = 0.0
    logs_bytes: int | None = 0
    stray_layers: int | None = 0


BELIEVED_SECONDS = 300.0
"""For how long a registry's answer is as good as a new one."""


class Ask(NamedTuple):
    """One question to a registry.

    Attributes:
        what: ``digest`` (of a tag, a HEAD), ``manifest`` (what a digest stands for, a GET), ``config`` (the platform of
            an image, by the digest of its configuration), ``tags`` (of a repository).
        reference: full reference: ``repository:tag``, ``repository@sha256:…``, or ``repository``.
    """

    what: str
    reference: str


class Entry(NamedTuple):
    """One entry of an index; its platform is empty where that says none. ``is_index``: it is, or may be, one."""

    digest: str
    os: str
    architecture: str
    variant: str
    is_index: bool = False


class Reply(NamedTuple):
    """A registry's answer, or, in one of a fixed set of words, the reason why there is none.

    Attributes:
        digest: to ``digest``: what the tag names now.
        config: to ``manifest``, of a single image: the digest of its configuration.
        entries: to ``manifest``, of an index: its entries but attestations; to ``config``: one, if it tells a platform.
        tags: to ``tags``: all of them, as the registry orders them.
        reason: ``""``, or unauthorized, forbidden, refused, not_found (the registry itself says so, confirmed),
            rate_limited, unavailable, timeout, unreachable, tls, bad_answer, bad_reference, credentials, too_many_tags.
    """

    digest: str = ""
    config: str = ""
    entries: tuple[Entry, ...] = ()
    tags: tuple[str, ...] = ()
    reason: str = ""


class Registry(Protocol):
    """Image registries, asked without pulling. Failures are replies with a reason, never exceptions. Thread-safe."""

    def ask(self, ask: Ask, max_age_seconds: float = BELIEVED_SECONDS) -> "Future[Reply]":
        """The answer, from memory if it is younger. One request serves all who ask the same meanwhile.

        A failure is remembered for half a minute at most, what a digest stands for does not grow old, and a long list
        of tags is believed longer than a short one.
        """

    def note(self, ask: Ask, reply: Reply | None) -> None:
        """Somebody else asked: this is the answer now, or only he knows; so much for any that is under way."""

    def remembered(self, ask: Ask) -> Reply | None:
        """The last answer, however old, without asking."""

    def login(self, registry: str) -> Mapping[str, str]:
        """What an engine that pulls from this registry for us needs to know, empty if nothing: secrets."""


class Intents(Protocol):
    """Where an action is written down before it happens. Its methods raise LedgerError: then nothing may happen."""

    def alone(self) -> AbstractContextManager[None]:
        """Be the only process that acts; LedgerError if another one does."""

    def intend(self, run: str, step: Step, recipe: Recipe) -> int:
        """Commit, durably, that this step is about to be carried out and what would bring it back; gives its number.

        LedgerError as well where the ledger does not know which engine it is about.
        """

    def amend(self, number: int, recipe: Recipe) -> None:
        """Commit, durably, how far a step has come."""

    def is_barred(
        self, action: str, name: str, image_id: str, back_to: str = "", service: str = "", platform: str = ""
    ) -> bool:
        """Whether this was done to an object of this name, with this image, and did not stay: it failed, or was undone.

        ``back_to``: the image that others took it back to since; ``service``: of Compose, whose containers are alike;
        ``platform``: of the image before, for which this one was not, whatever it was pulled for.
        """

    def conclude(self, number: int, outcome: Outcome) -> None:
        """Write down what became of it; on LedgerError it stays open."""

    def ages(self, action: str, ref: Ref) -> Sequence[float]:
        """How long ago, by the observation clock, this was done to this object, each time that it was."""

    def aside(self, policy: str) -> Sequence[tuple[str, float]]:
        """IDs of containers that a policy's updates left aside, how long ago (observed); first those inside others."""

    def undoable(self, what: str = "") -> Sequence[Record]:
        """What can still be undone, newest first; of one run or action, if it is named."""

    def open_intents(self) -> Sequence[Record]:
        """The steps on our engine whose end is not written down, or not the last one."""

    def begin_archive(self, name: str) -> None:
        """Commit, durably, that a file of this name is about to be made."""

    def end_archive(self, name: str, size_bytes: int) -> None: ...  # it is whole
    def forget_archive(self, name: str) -> None: ...  # it is gone
    def known_archives(self) -> set[str]: ...


class Sink(Protocol):
    """Where reports go, told from the worker's thread. What it raises is its own trouble, and no other sink's."""

    def record(self, report: Report) -> None:
        """A run has ended, or other policies came into use."""


class Disk(NamedTuple):
    """Use of a file system that holds data of the engine.

    Attributes:
        free_bytes: for everybody.
        device: tells it from another one.
        reserved_bytes: besides, for root only.
    """

    used_percent: float
    free_bytes: int
    inodes_used_percent: float
    used_bytes: int = 0
    device: int = 0
    reserved_bytes: int = 0

"""The words of dockwarden as frozen values: what the engine has, what policies say, what a run decided and did.

Input: nothing. Output: the types that stages hand to each other. Out of bounds: I/O, clocks, third-party types.
Times end in ``_at``, in seconds since the epoch (``None``: never), durations in ``_seconds``, sizes in ``_bytes``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

FactValue = bool | int | float | str | datetime | timedelta | list[str] | list[dict[str, object]] | dict[str, str]


class Kind(StrEnum):
    """Kinds of object that policies judge."""

    IMAGE = "image"
    TAG = "tag"
    CONTAINER = "container"
    VOLUME = "volume"
    NETWORK = "network"
    HOST = "host"


class Severity(StrEnum):
    """How much a finding matters, highest first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"


class Mode(StrEnum):
    """What a policy may do: report only, act, or nothing at all."""

    AUDIT = "audit"
    ENFORCE = "enforce"
    OFF = "off"


class Status(StrEnum):
    """Result of one policy for one object. Only ``fail`` is a finding; the last two never act."""

    PASS = "pass"  # noqa: S105 - the field's word, not a password
    FAIL = "fail"
    SKIP = "skip"
    UNKNOWN = "unknown"
    ERROR = "error"


class Effect(StrEnum):
    """What became of one step of a plan."""

    APPLIED = "applied"
    AUDITED = "audited"
    SKIPPED = "skipped"
    REFUSED = "refused"
    FAILED = "failed"


class Cause(StrEnum):
    """Why a judgement happens; the label of metrics and the question whether it may act."""

    EVENT = "event"
    SCHEDULE = "schedule"
    STARTUP = "startup"
    REQUEST = "request"


class ImageStore(StrEnum):
    """The engine's image store; it decides what IDs, digests and deletion mean."""

    GRAPH = "graph"
    CONTAINERD = "containerd"


# -- what the engine has ------------------------------------------------------------------------------------


class Ref(NamedTuple):
    """How to point at one object: its kind and key (image or container or network ID, full tag, volume name)."""

    kind: Kind
    key: str


class Event(NamedTuple):
    """One message of the engine, reduced to what may be used. ``name`` is untrusted text."""

    type: str
    action: str
    id: str
    name: str
    at_ns: int


class Dirty(NamedTuple):
    """A hint that something happened to an object: the engine's type for it, ID or reference, whether it was a pull."""

    type: str
    id: str
    pulled: bool = False


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine says of itself at connect. ``identity`` tells one engine's objects from another's."""

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
    clock_offset_seconds: float


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """What only an inspect of an image tells; it never changes for an image ID."""

    os: str
    architecture: str
    user: str
    healthcheck: bool
    layers: tuple[str, ...]
    env_names: tuple[str, ...]
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """An image. ``tags`` and ``digests`` are full references; ``markers`` are tags of our own unfinished deletions."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    markers: tuple[str, ...]
    size_bytes: int
    labels: Mapping[str, str]
    created_at: float | None
    details: ImageDetails | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount of a container; ``name`` is set for volumes only."""

    type: str
    name: str
    source: str
    destination: str
    driver: str
    writable: bool


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
    cgroup_parent: str
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


@dataclass(frozen=True, slots=True)
class Container:
    """A container. ``image_ref`` is what its creator typed; ``image_id`` is what it runs."""

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


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume."""

    name: str
    driver: str
    labels: Mapping[str, str]
    anonymous: bool
    created_at: float | None


@dataclass(frozen=True, slots=True)
class Network:
    """A network. ``builtin`` ones belong to the engine."""

    id: str
    name: str
    driver: str
    labels: Mapping[str, str]
    created_at: float | None
    builtin: bool
    internal: bool


class Change(NamedTuple):
    """One difference that the inventory saw: a cause such as ``image.tag`` and the object it happened to."""

    cause: str
    ref: Ref


@dataclass(frozen=True, slots=True)
class Observed:
    """Our own memory of an object, in seconds of the observation clock, which stands still while nobody looks."""

    first_seconds: float
    used_seconds: float
    had_tag: bool = False


# -- facts and policies -------------------------------------------------------------------------------------


class FactSpec(NamedTuple):
    """One fact of the vocabulary: CEL type, cost class (0 inventory … 3 registry), and a line for people."""

    name: str
    type: str
    cost: int
    meaning: str


Vocabulary = Mapping[Kind, Mapping[str, FactSpec]]


class Answer(NamedTuple):
    """What an expression gave: a value, or the name of a fact that is missing, or an error text."""

    value: object = None
    missing: str = ""
    error: str = ""


class Program(Protocol):
    """A compiled expression."""

    @property
    def source(self) -> str:
        """The expression's text."""

    @property
    def references(self) -> frozenset[str]:
        """The facts it needs, params and lists excluded."""

    def evaluate(self, facts: "Facts") -> Answer:
        """Evaluate with what is known; what is missing is unknown, which ``&&`` and ``||`` absorb."""


class Facts(Protocol):
    """The facts of one object, as far as they were gathered."""

    known: dict[str, FactValue]
    shared: object  # room for an evaluator to keep a prepared form of ``known``; None after ``known`` changed


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """When a policy runs: names of changes, a cron line, an interval."""

    events: frozenset[str] = frozenset()
    schedule: str = ""
    every_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one run may touch; above either nothing is done."""

    max_objects: int = 20
    max_percent: float = 25.0


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy, compiled. ``message`` alternates text and programs."""

    name: str
    subject: Kind
    severity: Severity
    mode: Mode
    trigger: TriggerSpec
    when: Program
    message: tuple["str | Program", ...]
    gate: Program | None = None
    select: Program | None = None
    action: str = ""
    owners: frozenset[str] = frozenset()
    limits: Limits = Limits()
    on_unknown: str = "retry"
    title: str = ""
    description: str = ""
    remediation: str = ""
    refs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    cost: int = 0
    place: str = ""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies of one load, and the hash of the files they came from."""

    policies: tuple[Policy, ...]
    sha256: str
    files: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """The outcome of judging; a fail has no message yet, that is made only for findings."""

    status: Status
    reason: str = ""
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One policy's result for one object, as scan prints it."""

    policy: str
    ref: Ref
    name: str
    status: Status
    severity: Severity
    message: str = ""
    reason: str = ""
    evidence: Mapping[str, FactValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """An open fail, since when, by our clock."""

    result: Result
    opened_at: float


# -- plans and outcomes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finding with what the planner must know of its object.

    Attributes:
        image: the image, or the image that the tag names.
        image_users: names of the containers, running or not, that were made from this image.
        tag_users: names of the containers created from the tag (an image: from any of its tags), whatever it names now.
        known_for_seconds: how long we have watched the image exist.
        own: it belongs to dockwarden's own container.
    """

    result: Result
    image: Image
    image_users: tuple[str, ...]
    tag_users: tuple[str, ...]
    known_for_seconds: float
    own: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One removal: the object as it was judged, so that execute can tell whether it is still the same."""

    policy: str
    action: str
    ref: Ref
    name: str
    image: Image
    why: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one step, or why there was none."""

    policy: str
    action: str
    ref: Ref
    name: str
    effect: Effect
    reason: str
    freed_bytes: int = 0
    detail: str = ""


class Intent(NamedTuple):
    """A removal that was begun and of which no end is recorded."""

    number: int
    policy: str
    action: str
    ref: Ref
    name: str
    image_id: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one policy's findings lead to. ``error`` says why nothing of it is carried out."""

    policy: str
    steps: tuple[Step, ...] = ()
    kept: tuple[Outcome, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one run produced; what sinks receive."""

    run: str
    cause: Cause
    started_at: float
    duration_seconds: float
    judged: Mapping[tuple[str, Status], int]
    opened: tuple[Result, ...]
    resolved: tuple[Result, ...]
    troubled: tuple[Result, ...]
    outcomes: tuple[Outcome, ...]
    errors: tuple[str, ...]
    job: str = ""


Now = Callable[[], float]
"""Seconds since the epoch; handed in by the composition root."""

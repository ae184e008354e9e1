"""Closed sets of words: kinds, severities, modes, results, causes, events. Pure."""

from enum import StrEnum


class Kind(StrEnum):
    """Kinds of object that policies judge."""

    IMAGE = "image"
    TAG = "tag"
    CONTAINER = "container"
    VOLUME = "volume"
    NETWORK = "network"
    SERVICE = "service"
    HOST = "host"


class Severity(StrEnum):
    """How much a finding matters, highest first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """What sorts severities: 0 for the highest."""
        return list(Severity).index(self)


class Mode(StrEnum):
    """What a policy may do: report only, act, or nothing at all."""

    AUDIT = "audit"
    ENFORCE = "enforce"
    OFF = "off"


class Status(StrEnum):
    """Result of one policy for one object.

    Only ``fail`` is a finding; ``pending`` may yet become one, ``excused`` would be one; the last two never act.
    """

    PASS = "pass"  # noqa: S105 - the field's word, not a password
    FAIL = "fail"
    PENDING = "pending"
    EXCUSED = "excused"
    SKIP = "skip"
    UNKNOWN = "unknown"
    ERROR = "error"

    @property
    def is_found(self) -> bool:
        """Whether the policy's ``when`` is true for the object."""
        return self in (Status.FAIL, Status.PENDING, Status.EXCUSED)


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


EVENTS = {
    "container": (
        *("create", "start", "kill", "die", "stop", "pause", "unpause", "rename", "update", "health_status", "destroy"),
        "extract-to-dir",
    ),
    "image": ("create", "pull", "tag", "untag", "delete", "load", "import"),
    "network": ("create", "connect", "disconnect", "update", "remove", "destroy"),
    "volume": ("create", "mount", "unmount", "destroy"),
    "service": ("create", "update", "remove"),
    "node": ("create", "update", "remove"),
}
"""What the engine tells of, by type of object, and is asked for. Only by `kill` is an end known to be somebody's wish;
of a container that waits to be started again, nothing is told but its stop.
"""

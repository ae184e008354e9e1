"""The rows of the API's lists, which the page shows as well: a type for each, of which its description is made. Pure.

Input: nothing. Output: frozen values. Out of bounds: where they come from. Times are seconds since the epoch here and
RFC 3339 in JSON; durations end in ``_seconds``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dockwarden.model import Effect, Kind, Mode, Severity, Status
from dockwarden.pipeline.explain import Time


@dataclass(frozen=True, slots=True)
class FindingRow:
    """What one policy says of one object: a finding (fail), one that is pending or excused, or unknown.

    ``until``: the latest end of its exceptions; none where one never ends, or is a label.
    """

    policy: str
    severity: Severity
    result: Status
    subject: Kind
    object_id: str
    name: str
    message: str = ""
    reason: str = ""
    opened_at: Time | None = None
    exceptions: tuple[str, ...] = ()
    until: Time | None = None
    evidence: Mapping[str, object] | None = None
    title: str = ""
    description: str = ""
    remediation: str = ""
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A policy in use, and how many objects have which result."""

    name: str
    title: str
    description: str
    remediation: str
    refs: tuple[str, ...]
    tags: tuple[str, ...]
    subject: Kind
    severity: Severity
    mode: Mode
    action: str
    place: str
    findings: int
    pending: int
    excused: int
    unknown: int
    events: tuple[str, ...]
    schedule: str
    every_seconds: float
    next_run_at: Time | None


@dataclass(frozen=True, slots=True)
class ActionRow:
    """What was done to an object, or would have been. What has an ``id`` is what `dockwarden undo` may be given."""

    id: int | None
    run: str
    policy: str
    action: str
    subject: Kind
    object_id: str
    name: str
    outcome: Effect
    reason: str
    at: Time
    undoable_until: Time | None


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """An object of the engine. ``image_id``: of a tag what it names, of a container what it was made from."""

    subject: Kind
    object_id: str
    name: str
    image: str = ""
    image_id: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """When a policy runs by the clock, and the last time that it did since the start."""

    policy: str
    mode: Mode
    schedule: str
    every_seconds: float
    next_run_at: Time | None
    last_run_at: Time | None

"""Plans, what became of them, and the report of a run. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dockwarden.model.objects import Image, Ref
from dockwarden.model.policies import Result
from dockwarden.model.words import Cause, Effect, Status


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

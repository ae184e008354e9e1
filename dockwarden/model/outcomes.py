"""Plans, what became of them, and the report of a run. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dockwarden.model.objects import Ref, Thing
from dockwarden.model.policies import Aside, PolicySet, Result
from dockwarden.model.words import Cause, Effect, Status


class Candidate(NamedTuple):
    """A finding with what the planner must know of its object.

    Attributes:
        object: what is judged; of a tag, the image that it names; None for the host.
        users: the containers, running or not, and services that use it; of a tag, those that use its image.
        tag_users: those that use it by the tag (an image: by any of its tags), whatever it names now.
        known_for_seconds: how long we have watched it exist; of a tag, its image.
        own: it belongs to dockwarden's own container, or to that through which it reaches the engine.
        owner: who manages it, if that is somebody who does not expect others to interfere.
        idle_seconds: how long we have watched it without a user.
        size_bytes: what the disk gains without it, as far as known; of images, the plan finds that out.
        inherited: names of labels that a container has from its image, which cannot protect it.
        ages: how many seconds ago the same was done to it before, each time, where the verb asks for that.
        given_up: doing it again was given up.
        maybe_needed: a service of the swarm may need it, which nobody here can tell.
    """

    result: Result
    object: Thing | None
    users: tuple[str, ...]
    tag_users: tuple[str, ...]
    known_for_seconds: float
    own: bool
    owner: str = ""
    idle_seconds: float = 0.0
    size_bytes: int = 0
    inherited: frozenset[str] = frozenset()
    ages: tuple[float, ...] = ()
    given_up: bool = False
    maybe_needed: bool = False


class Step(NamedTuple):
    """One action on one object, which is given as it was judged, so that execute can tell whether it is still the same.

    Attributes:
        object: of a tag, the image that it names; None for the host.
        options: what the policy says of the action besides, as the verb's file has it.
        planned_bytes: what the disk gains by this step, as planned.
        unrecoverable: it may be carried out even if nothing could bring the object back.
        frees: it is done so that a disk gets room.
        digest: what the tag that it is about had at its registry as that was judged, "" if nobody asked.
    """

    policy: str
    action: str
    ref: Ref
    name: str
    object: Thing | None
    why: str
    options: Mapping[str, Any] = {}
    planned_bytes: int = 0
    unrecoverable: bool = False
    frees: bool = False
    digest: str = ""

    def ended(self, effect: Effect, reason: str, detail: str = "") -> "Outcome":
        return Outcome(self.policy, self.action, self.ref, self.name, effect, reason, 0, detail, self.planned_bytes)


class Recipe(NamedTuple):
    """What brings an object back.

    Attributes:
        method: ``tag`` the image again, ``pull`` it, ``load`` it from an archive, ``create`` the object, create the
            volume and ``fill`` it from an archive, ``start`` the container; ``none``: nothing brings it back.
        parameters: what the method needs, as JSON can hold it; it may have secrets in it.
        archive: the file's name in the folder of archives, "" if there is none.
    """

    method: str
    parameters: Mapping[str, Any]
    archive: str = ""
    archive_bytes: int = 0
    sha256: str = ""


class Record(NamedTuple):
    """An action as the ledger has it: begun, with no end recorded yet, or carried out, so that it can still be undone.

    Attributes:
        until: when that ends; 0.0 of what was only begun.
        planned_bytes: what the disk gained, as planned.
    """

    number: int
    run: str
    policy: str
    action: str
    ref: Ref
    name: str
    at: float
    until: float
    recipe: Recipe
    planned_bytes: int = 0
    outcome: str = ""
    reason: str = ""


class Outcome(NamedTuple):
    """What became of a step, or why there was none; bytes as planned and measured; its number in the ledger, or 0."""

    policy: str
    action: str
    ref: Ref
    name: str
    effect: Effect
    reason: str
    freed_bytes: int = 0
    detail: str = ""
    planned_bytes: int = 0
    number: int = 0

    @property
    def took(self) -> bool:
        """Whether it cost what limits bound: something went, be it another object than was meant, or was down."""
        return self.effect is Effect.APPLIED or self.reason in ("other_image", "rolled_back", "paused", "updating")


class Plan(NamedTuple):
    """What one policy's findings lead to.

    Attributes:
        error: why nothing of it is carried out.
        spare: steps above the limits, each of which may take the place of one whose object stays; in ``kept``, too.
    """

    policy: str
    steps: tuple[Step, ...] = ()
    kept: tuple[Outcome, ...] = ()
    error: str = ""
    spare: tuple[Step, ...] = ()


class Report(NamedTuple):
    """Everything one run produced; what sinks receive.

    Attributes:
        watched_seconds: the observation clock's reading.
        open: how many findings are open after it, by policy and severity.
        unknown: how many objects could not be judged, by policy and reason.
        policies: those in use from now on, if they are others than before.
        newly_excused: findings that became excused.
        pending: how many findings have yet to hold long enough, by policy; told with ``asides`` and ``policies`` only.
        excused: how many are excused, by policy and severity; likewise.
        unused: how many exceptions hold for nothing; None before everything was judged.
        asides: all that is set aside, if anything of it changed.
        events_ns: when, by the engine's clock, what it answers happened.
    """

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
    watched_seconds: float = 0.0
    open: Mapping[tuple[str, str], int] = {}
    unknown: Mapping[tuple[str, str], int] = {}
    policies: PolicySet | None = None
    newly_excused: tuple[Result, ...] = ()
    pending: Mapping[str, int] = {}
    excused: Mapping[tuple[str, str], int] = {}
    unused: int | None = None
    asides: tuple[tuple[str, Ref, Aside], ...] | None = None
    events_ns: tuple[int, ...] = ()

    @property
    def ended_at(self) -> float:
        return self.started_at + self.duration_seconds

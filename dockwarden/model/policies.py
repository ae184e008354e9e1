"""Facts, policies, and results of judging. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from dockwarden.model.objects import Ref
from dockwarden.model.words import Kind, Mode, Severity, Status

_Items = list[str] | list[int] | list[float] | list[dict[str, object]]
FactValue = bool | int | float | str | datetime | timedelta | _Items | dict[str, str]
Values = Mapping[str, FactValue]
"""Facts, params or lists, by name."""


class FactSpec(NamedTuple):
    """One fact of the vocabulary: CEL type, cost class (0 inventory … 3 registry), and a line for people.

    ``words``: all that it can be, where that is a closed set. ``form``: which rule its values follow besides. ``keys``:
    of records, the specs of their values.
    """

    name: str
    type: str
    cost: int
    meaning: str
    form: str = ""
    words: tuple[str, ...] = ()
    keys: Mapping[str, "FactSpec"] = {}


NEVER_SHOWN = frozenset({"image.history", "image.instructions", "container.processes"})
"""Facts that policies may judge by and that nothing repeats as evidence: they may hold secrets."""

Specs = Mapping[str, FactSpec]
Vocabulary = Mapping[Kind, Specs]


class Answer(NamedTuple):
    """What an expression gave: a value, or the name of a fact that is missing, or an error text."""

    value: object = None
    missing: str = ""
    error: str = ""


class Program(Protocol):
    @property
    def source(self) -> str: ...

    @property
    def constants(self) -> Values:
        """The params and lists it needs, by their full names."""

    @property
    def references(self) -> frozenset[str]:
        """The facts it needs, params and lists excluded."""

    def evaluate(self, facts: "Facts", tried: Collection[str] = ()) -> Answer:
        """Evaluate with what is known; what is missing is unknown, which ``&&`` and ``||`` absorb."""


@dataclass(slots=True, eq=False)
class Facts:
    """The facts of one object, as far as they were gathered; times have a zone."""

    known: dict[str, FactValue] = field(default_factory=dict)
    shared: object = None  # room for an evaluator to keep a prepared form of ``known``; None after ``known`` changed


class TriggerSpec(NamedTuple):
    """When a policy runs: names of changes, a cron line, an interval."""

    events: frozenset[str] = frozenset()
    schedule: str = ""
    every_seconds: float = 0.0


class Limits(NamedTuple):
    """How much one run may touch; above either nothing is done, or only the first so many with ``takes_first``."""

    max_objects: int = 20
    max_percent: float = 25.0
    takes_first: bool = False


class Policy(NamedTuple):
    """One policy, compiled. ``message`` alternates text and programs.

    Attributes:
        for_seconds: how long a finding must have held before it may act.
        order_by: what sorts the steps, lowest first; without it the longest known comes first.
        stop_when: asked before each step, with host facts measured anew; true ends the run.
        options: what else it says of the action, as the verb's file has it, such as ``max_used_space``.
        protect: by kind, globs of the names that this host never lets go.
        owners: the managers whose objects may be acted on nevertheless.
        unrecoverable: the action may take what nothing could bring back.
    """

    name: str
    subject: Kind
    severity: Severity
    mode: Mode
    trigger: TriggerSpec
    when: Program
    message: tuple["str | Program", ...]
    gate: Program | None = None
    select: Program | None = None
    for_seconds: float = 0.0
    action: str = ""
    options: Mapping[str, Any] = {}
    owners: frozenset[str] = frozenset()
    unrecoverable: bool = False
    order_by: Program | None = None
    stop_when: Program | None = None
    limits: Limits = Limits()
    protect: Mapping[Kind, tuple[str, ...]] = {}
    on_unknown: str = "retry"
    excusable: str = "label"
    title: str = ""
    description: str = ""
    remediation: str = ""
    refs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    cost: int = 0
    place: str = ""

    @property
    def has_marks(self) -> bool:
        """Whether the host says when it begins and when it ends."""
        return self.gate is not None and self.stop_when is not None

    @property
    def definition(self) -> str:
        """What a finding of this policy says of an object; when that is another text, former findings are void."""
        return f"{self.subject}: {self.select.source if self.select else ''}: {self.when.source}"


class PolicyException(NamedTuple):
    """Findings of some policies that somebody excuses.

    Attributes:
        policies: names, no globs any more; all on one kind of subject.
        until_at: when it ends; None for never.
        told, acted: what is excused: being told, being acted on.
    """

    id: str
    policies: frozenset[str]
    match: Program
    reason: str
    owner: str = ""
    until_at: float | None = None
    told: bool = True
    acted: bool = True
    place: str = ""


class Excuse(NamedTuple):
    """Whether a finding is excused now.

    Attributes:
        ids: of the exceptions that hold, ``label`` for the object's own label.
        told, acted: what is excused.
        until_at: the latest end of them; None for never.
        doubt: the exception that could not be decided; then nothing is done to the object.
        expired: why an exception or label does not hold any more.
    """

    ids: tuple[str, ...] = ()
    told: bool = False
    acted: bool = False
    until_at: float | None = None
    reason: str = ""
    doubt: str = ""
    expired: str = ""


NO_EXCUSE = Excuse()


class Trial(NamedTuple):
    """One test of a policy's own: what is given, and what must come of it."""

    policy: str
    name: str
    place: str
    given: Values
    params: Values
    expect: str
    message: str | None = None


class PolicySet(NamedTuple):
    """All policies of one load, the hash of the files they came from, and the packs and paths that were named.

    Attributes:
        trials: the policies' own tests, if they were asked for; ``uncovered``: what they leave out.
        warnings: what people should know of it, and what is no error.
    """

    policies: tuple[Policy, ...]
    sha256: str
    files: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    exceptions: tuple[PolicyException, ...] = ()
    trials: tuple[Trial, ...] = ()
    uncovered: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """The outcome of judging; a fail has no message yet, that is made only for findings."""

    status: Status
    reason: str = ""
    missing: str = ""


class Result(NamedTuple):
    """One policy's result for one object, as scan prints it.

    Attributes:
        held_seconds: for how long it has been a finding, on the observation clock.
        order: the value of the policy's ``order_by`` for the object; None where there is none, or it is not known.
        definition: of a finding, what its policy said then; "" where that was not written down.
    """

    policy: str
    ref: Ref
    name: str
    status: Status
    severity: Severity
    message: str = ""
    reason: str = ""
    evidence: Mapping[str, FactValue] = {}
    held_seconds: float = 0.0
    order: object = None
    excuse: Excuse = NO_EXCUSE
    definition: str = ""


class Aside(NamedTuple):
    """A fail that is set aside, or one that is open and had to wait for it.

    Attributes:
        since_seconds: since when it has held, on the observation clock.
        candidate: what was found; another one counts anew.
        excuse: the exceptions that hold, "" if none does.
        was: the exceptions that did hold until a while ago.
    """

    severity: str
    since_seconds: float
    candidate: str = ""
    excuse: str = ""
    was: str = ""


class Finding(NamedTuple):
    """An open fail, since when: by the wall clock, and in seconds of the observation clock."""

    result: Result
    opened_at: float
    opened_seconds: float = 0.0

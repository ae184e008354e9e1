"""The shape of a verb: what each action on each kind of object answers for, and what it works with. Pure.

Input: a candidate, a step, what was done; the world only through ``Tools``. Output: the rule that keeps an object, a
recipe, the deed, its undoing. Out of bounds: rules that hold for all verbs (``plan``), and the order of things.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dockwarden import reference
from dockwarden.actions.archive import Archive
from dockwarden.errors import NotFoundError
from dockwarden.model.needs import Needs, may_be_needed, needed_by
from dockwarden.model.objects import Image, Ref, Thing, Volume
from dockwarden.model.outcomes import Candidate, Outcome, Recipe, Record, Step
from dockwarden.model.policies import Policy
from dockwarden.model.words import Effect, ImageStore, Kind
from dockwarden.ports import Engine, Registry, Reply, look
from dockwarden.text import DURATION, counted, duration

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T", bound=Thing | None)
Why = tuple[str, str]
"""The rule that keeps an object, in one word, and in words whom it serves."""

GAVE_UP = "gave_up"
"""The rule that keeps an object to which the same was done in vain as often as it may be."""

PROTECT_LABEL = "dockwarden.protect"
SWARM = "swarm"
NEED_UNKNOWN = (
    "need_unknown",
    "whether a service of the swarm needs it is not known: the engine gave no answer, or is a worker (owners: [swarm])",
)
NO_RECIPE = Recipe("none", {})

_MOST_USERS_NAMED = 5


class Stays(Exception):  # noqa: N818 - not an error: a rule found at the last moment
    """The object stays as it is, and why."""

    def __init__(self, effect: Effect, reason: str, detail: str = "", ref: Ref | None = None) -> None:
        """``ref``: the object that it is about, if that is not the step's."""
        super().__init__(reason)
        self.effect, self.reason, self.detail, self.ref = effect, reason, detail, ref

    def outcome(self, step: Step) -> Outcome:
        ended = step.ended(self.effect, self.reason, self.detail)
        return ended._replace(ref=self.ref) if self.ref else ended


ENDING = Stays(Effect.SKIPPED, "ending", "dockwarden is ending")
"""Also from whatever takes long before the record of a step."""


class News(NamedTuple):
    """That an object may not be any more what was judged, in words.

    ``is_known``: what happened to it was seen; else nobody can know whether anything did.
    """

    text: str
    is_known: bool = True


class Unfinished(Exception):  # noqa: N818 - as above
    """It failed half way, and so did taking it back: its record stays open, and that is tried again later."""


class Applied(NamedTuple):
    """It was done: in one word how, and what is to be said of it."""

    reason: str
    detail: str = ""


class Gain(Enum):
    """Where the bytes that the disk gains by a verb come from: nowhere, layers, the engine's own count, or unknown."""

    NOTHING = 0
    LAYERS = 1
    USAGE = 2
    UNTOLD = 3


_READ = BeforeValidator(duration, json_schema_input_type=Annotated[str, Field(pattern=DURATION)])
Duration = Annotated[timedelta, _READ]
DurationIfAny = Annotated[timedelta | None, _READ]
"""None is the default; written, as `null` or as nothing, it is refused."""


class NoOptions(BaseModel):
    """None; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Owned(NoOptions):
    """What policies may say of verbs on what orchestrators own."""

    owners: list[Literal["swarm", "kubernetes", "nomad", "ecs"]] = []


class Losable(NoOptions):
    """What they may say of verbs that take what perhaps nothing brings back."""

    unrecoverable: Literal["refuse", "allow"] = "refuse"


class OwnedLosable(Losable, Owned):
    """Both."""


class VolumeFiles(Protocol):
    def is_elsewhere(self, parameters: Mapping[str, Any]) -> bool: ...
    def mounted(self, parameters: Mapping[str, Any]) -> str: ...
    def leads_to(self, parameters: Mapping[str, Any]) -> str: ...
    def folder_of(self, parameters: Mapping[str, Any], volume: Volume) -> Path: ...
    def survey(self, folder: Path) -> tuple[int, Mapping[str, Any]]: ...
    def export(self, folder: Path, write: Callable[[bytes], object]) -> None: ...
    def is_empty(self, folder: Path) -> bool: ...
    def is_rest(self, folder: Path, mark: str, known: Mapping[str, Any]) -> bool: ...
    def holds(self, folder: Path, chunks: Iterable[bytes]) -> bool: ...
    def restore(self, folder: Path, chunks: Iterable[bytes], mark: str) -> None: ...


@dataclass
class Tools:
    """What verbs work with, made for each plan.

    Attributes:
        store: it decides by which name a untagged image can safely be removed.
        taken: by image, the names that it lost to this plan.
        asked: questions to registries that are under way, by what they are about.
        children: see ``Engine.children``, as it was when the first image was to go; None before.
        due: the objects of the plan's steps, by key.
        own: the IDs of the container that we run in, and of that through which we reach the engine, "" for none.
        recipe: that of the step under way.
        note: commits, durably, more of it.
        found_by: the name by which the last request before a deed found an image, "" if there was another since.
        is_ending: whether the process is to end.
        pulling: is told how far a pull has come: what of, bytes that are here, bytes in all; may raise ENDING.
        probe: asks what serves at a URL whether it does; addresses for one without a host. Gives why not, else "".
        now, sleep: seconds of a monotonic clock, and to wait so many, or less when the process is to end.
        free_bytes: what is free for the engine on its disk, None where it cannot be seen.
        busy: what is under way there that a plan has to wait for, such as a pull; "" if nothing is known to be.
        news_of: what happened to the object of a step since it was judged; None if nothing did.
        kills_frozen: whether a paused process can be killed; control groups of version 1 wait for its end in vain.
        shares_disk: whether archives are on the disk that an object of this kind is on.
        settle: has on the disk what the engine wrote, as far as its disk can be seen. Raises ArchiveError.
    """

    engine: Engine
    registry: Registry
    archive: Archive
    files: VolumeFiles
    store: ImageStore
    taken: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    asked: dict[str, "Future[Reply]"] = field(default_factory=dict)
    children: Mapping[str, Sequence[str]] | None = None
    due: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    recipe: Recipe = NO_RECIPE
    found_by: str = ""
    note: Callable[[Mapping[str, Any]], None] = lambda _: None
    is_ending: Callable[[], bool] = lambda: False
    pulling: Callable[[str, int, int], object] = lambda *_: None
    probe: Callable[[str, Sequence[str]], str] = lambda *_: "nobody here can ask"
    now: Callable[[], float] = float
    sleep: Callable[[float], object] = lambda _: None
    free_bytes: Callable[[], int | None] = lambda: None
    busy: Callable[[], str] = str
    news_of: Callable[[Step], News | None] = lambda _: None
    kills_frozen: bool = True
    shares_disk: Callable[[Kind], bool] = lambda _: False
    settle: Callable[[], object] = bool

    def image(self, name: str) -> Image | None:
        try:
            return self.engine.image(name)
        except NotFoundError:
            return None


class Verb(ABC, Generic[T]):
    """One action on one kind of object. Errors of ``ports`` pass through, and become outcomes in ``execute``.

    Attributes:
        options: what the policy loader accepts besides the name.
        needs_for: a policy must say for how long its condition must have held.
        removes: the object goes, so one that we have not watched for the minimum stay is kept.
        gain: where the bytes that the disk gains come from.
        counts: it is done only so often to the same object, and then given up.
    """

    subject: ClassVar[Kind]
    name: ClassVar[str]
    options: ClassVar[type[BaseModel]]
    needs_for: ClassVar[bool] = False
    removes: ClassVar[bool] = True
    gain: ClassVar[Gain] = Gain.NOTHING
    counts: ClassVar[bool] = False

    # -- before the plan: no engine is asked -----------------------------------------------------------------

    def keeps(self, policy: Policy, candidate: Candidate, thing: T, gone_tags: int) -> Why | None:
        """The verb's own rule that keeps the object. ``gone_tags``: names of it that the same plan takes already."""
        return in_use(candidate.users)

    def held_seconds(self, candidate: Candidate) -> float:
        return candidate.result.held_seconds

    def identity(self, thing: T) -> str:
        return str(getattr(thing, "id", ""))

    def foresee(self, tools: Tools, step: Step) -> str:
        """What it would do, as far as the engine tells. Raises Stays if nothing."""
        return ""

    # -- before the deed ---------------------------------------------------------------------------------------

    def prepare(self, tools: Tools, thing: T) -> None:
        """Begin, for all steps at once, what takes long before the recipe of one is known."""

    def find(self, engine: Engine, key: str) -> T:
        return cast("T", look(engine, Ref(self.subject, key)))

    def last_name(self, tools: Tools, step: Step, found: T) -> str:
        """The name by which it is looked for when nothing is asked after that but the deed itself, "" if by none."""
        return ""

    def check(self, tools: Tools, step: Step, judged: T, found: T) -> None:
        """Raises Stays if it is not what was judged."""
        refuse_change(unless=found == judged)

    def check_users(self, tools: Tools, step: Step, judged: T) -> None:
        """Ask the engine who uses it. Raises Stays if anybody does."""

    def about(self, found: T) -> Mapping[str, object]:
        """What the record says of the object where nothing can bring it back."""
        return {key: value for key in ("id", "name") if (value := getattr(found, key, ""))}

    def recipe(self, tools: Tools, step: Step, found: T) -> Recipe:
        """What would bring the object back, kept where needed. ArchiveError if nothing would."""
        return Recipe("create", tools.engine.parameters(Ref(self.subject, getattr(found, "id", ""))))

    # -- the deed, and afterwards ------------------------------------------------------------------------------

    @abstractmethod
    def act(self, tools: Tools, step: Step, found: T) -> Applied:
        """Do it to the object that was found a moment ago, never forced. Stays, with what it took given back."""

    def undo(self, tools: Tools, done: Record) -> Applied:
        """Bring the object back. What fails on the way can be tried again. Stays if it cannot be now."""
        new = tools.engine.create(self.subject, done.recipe.parameters)
        return Applied("restored", f"its ID is {reference.short_id(new)} now")

    def goes_on(self, tools: Tools, done: Record) -> bool:
        """Whether an undo of it that was cut short left down what ran before, so it is gone on with at once."""
        return False

    def is_undone(self, recipe: Recipe, now: T | None) -> bool:
        """Whether a deed that failed or was cut short did not happen: its object as it is now; None if it is gone."""
        return now is not None

    def finish(self, tools: Tools, key: str) -> Applied:
        """Remove what a removal that was cut short left of an object that is not whole any more; how it ended."""
        return Applied("found_gone")

    def give_back(self, tools: Tools, intent: Record) -> Stays | None:
        """Give the object back what a deed that was cut short had taken from it; why it had failed, if it had."""


def in_use(users: Iterable[str], text: str = "used by") -> Why | None:
    named = sorted(set(users))
    more = len(named) - _MOST_USERS_NAMED
    listed = ", ".join(named[:_MOST_USERS_NAMED]) + (f" and {more} more" if more > 0 else "")
    return ("in_use", f"{text} {listed}") if named else None


def refuse_change(*, unless: bool) -> None:
    """Raises Stays."""
    if not unless:
        raise Stays(Effect.SKIPPED, "changed", "it is not what was judged any more")


def refuse_barred(tools: Tools, step: Step, image_id: str, **about: str) -> None:
    """Raises Stays if this image did not stay there before; not where somebody plans without limits.

    ``about``: what more ``Intents.is_barred`` takes.
    """
    is_barred = tools.archive.intents.is_barred
    if not step.options.get("over_limits") and is_barred(step.action, step.name, image_id, **about):
        text = reference.short_id(image_id.rpartition("@")[2])
        text = f"{text} was rolled back, undone or for another platform before; tried again when its tag moves, or by"
        raise Stays(Effect.REFUSED, "barred", f"{text} `dockwarden plan --over-limits --save FILE`, then `apply FILE`")


def refuse_users(users: Sequence[str]) -> None:
    if users:
        raise Stays(Effect.REFUSED, "in_use", f"used by {counted(len(users), 'container')}")


def refuse_needed(needs: Needs, step: Step) -> None:
    """Raises Stays if a service of the swarm needs the object of a step, or may need it."""
    if step.object is None:
        return
    stays = step.ref.kind is Kind.TAG and isinstance(step.object, Image) and len(step.object.tags) > 1
    if why := in_use(needed_by(needs, step.object, step.ref.key if stays else "")):
        raise Stays(Effect.REFUSED, *why)
    if may_be_needed(needs, step.object) and SWARM not in step.options.get("owners", ()):
        raise Stays(Effect.REFUSED, *NEED_UNKNOWN)

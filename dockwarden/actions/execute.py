"""Carry out a plan: one object at a time, by name, never forced, each looked at again immediately before.

Input: the steps of a ``Plan``, ``ports.Engine``, ``ports.Intents``. Output: an ``Outcome`` for each step. Out of
bounds: deciding. An object that is not exactly as it was judged is left alone; a refusal of the engine is normal.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from dockwarden import reference
from dockwarden.errors import ConflictError, EngineError, EngineUnavailableError, LedgerError, NotFoundError
from dockwarden.model import Effect, Image, ImageStore, Intent, Kind, Outcome, Step
from dockwarden.ports import Engine, Intents


class _Kept(Exception):  # noqa: N818 - not an error: a rule found at the last moment
    def __init__(self, effect: Effect, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self._effect, self._reason, self._detail = effect, reason, detail

    def outcome(self, step: Step) -> Outcome:
        """What it means for a step."""
        return _outcome(step, self._effect, self._reason, self._detail)


class Executor:
    """Carries out one plan on one engine. The store decides by which name a nameless image can safely be removed."""

    def __init__(self, engine: Engine, intents: Intents, store: ImageStore) -> None:
        self._engine = engine
        self._intents = intents
        self._store = store
        self._taken: dict[str, set[str]] = defaultdict(set)  # by image, the names that it lost to this plan

    def run(self, run: str, steps: Sequence[Step], enough: Callable[[], str] = str) -> Iterator[Outcome]:
        """Carry out the steps in order.

        When the ledger cannot be written or the engine goes away, what is left is not carried out, and says so; also
        when ``enough``, which is asked before each step, gives a reason.
        """
        stop: _Kept | None = None
        for step in steps:
            if stop is None and (why := enough()):
                stop = _Kept(Effect.SKIPPED, "enough", why)
            if stop is None:
                outcome, stop = self._step(run, step)
            else:
                outcome = stop.outcome(step)
            yield outcome

    def _step(self, run: str, step: Step) -> tuple[Outcome, _Kept | None]:
        """Carry out one step; gives also why no other may follow."""
        try:
            self._check(step)
            number = self._intents.intend(run, step)
        except _Kept as kept:
            return kept.outcome(step), None
        except LedgerError as error:
            stop = _Kept(Effect.REFUSED, "ledger", str(error))
            return stop.outcome(step), stop
        except NotFoundError:
            return _outcome(step, Effect.SKIPPED, "gone"), None
        except EngineUnavailableError as error:
            stop = _Kept(Effect.SKIPPED, "engine_unavailable", str(error))
            return stop.outcome(step), stop
        except EngineError as error:
            return _outcome(step, Effect.FAILED, "engine_error", str(error)), None
        try:
            outcome = self._remove_now(step)
        except EngineUnavailableError as error:
            # Whether it happened is not known: the record stays open and is closed when the engine is back.
            lost = _outcome(step, Effect.FAILED, "engine_unavailable", str(error))
            return lost, _Kept(Effect.SKIPPED, "engine_unavailable", str(error))
        try:
            self._intents.conclude(number, outcome)
        except LedgerError as error:  # it did happen, and what the ledger has is enough to find that out
            return outcome, _Kept(Effect.REFUSED, "ledger", str(error))
        return outcome, None

    def _check(self, step: Step) -> Image:
        """The object as it is now.

        Raises:
            _Kept: it is not what was judged, or it is in use.
        """
        judged = step.object
        if not isinstance(judged, Image):
            raise _Kept(Effect.FAILED, "engine_error", f"{step.action} of a {step.ref.kind} is not yet possible")
        image = self._engine.image(judged.id if step.ref.kind is Kind.IMAGE else step.ref.key)
        if not _is_as_judged(image, judged, self._taken[image.id]):
            raise _Kept(Effect.SKIPPED, "changed", "it is not what was judged any more")
        self._refuse_if_used(step, image)
        return image

    def _refuse_if_used(self, step: Step, image: Image) -> None:
        users = self._engine.users_of(image.id)
        if not users:
            return
        if step.ref.kind is Kind.IMAGE or len(image.tags) <= 1:
            raise _Kept(Effect.REFUSED, "in_use", f"{len(users)} containers")
        for user in users:
            with suppress(NotFoundError):  # it went a moment ago
                if reference.full(self._engine.container(user).image_ref) == step.ref.key:
                    raise _Kept(Effect.REFUSED, "in_use", "a container was created from this tag")

    def _remove_now(self, step: Step) -> Outcome:
        """Look once more, because writing the intent down may have taken long, and remove."""
        try:
            return self._remove(step, self._check(step))
        except _Kept as kept:
            return kept.outcome(step)
        except NotFoundError:
            return _outcome(step, Effect.SKIPPED, "gone")
        except EngineUnavailableError:
            raise
        except EngineError as error:
            return _outcome(step, Effect.FAILED, "engine_error", str(error))

    def _remove(self, step: Step, image: Image) -> Outcome:
        taken = self._taken[image.id]
        try:
            for number, name in enumerate((step.ref.key,) if step.ref.kind is Kind.TAG else self._names(image)):
                if number and self._engine.image(name).id != image.id:
                    moved = _outcome(step, Effect.SKIPPED, "changed", f"{name} names another image now")
                    return self._give_back(step, image, moved)
                if name == reference.marker(image.id):
                    self._engine.tag(image.id, name)
                self._engine.untag(name)
                taken.add(name)
        except ConflictError as error:  # it came into use
            return self._give_back(step, image, _outcome(step, Effect.REFUSED, "conflict", str(error)))
        except NotFoundError:
            pass  # somebody else was quicker, or it got another name: what is left decides
        except EngineUnavailableError:
            raise
        except (EngineError, ValueError) as error:
            return self._give_back(step, image, _outcome(step, Effect.FAILED, "engine_error", str(error)))
        return self._what_is_left(step, image)

    def _give_back(self, step: Step, image: Image, outcome: Outcome) -> Outcome:
        """The image stays, so it gets back the names that this step took; none is taken from another image."""
        names = self._taken[image.id].intersection((step.ref.key,) if step.ref.kind is Kind.TAG else image.tags)
        for name in sorted(names):
            try:
                self._engine.image(name)
            except NotFoundError:
                try:
                    self._engine.tag(image.id, name)
                    self._taken[image.id].discard(name)
                except EngineUnavailableError:
                    raise
                except EngineError as error:
                    return _outcome(step, Effect.FAILED, "engine_error", f"{name} could not be given back: {error}")
        return outcome

    def _names(self, image: Image) -> Sequence[str]:
        """The names whose removal removes the image; an unforced removal by ID would take a tag set a moment ago."""
        repositories = {tag.rpartition(":")[0] for tag in image.tags}
        # A digest goes with the last tag of its repository; one without is a name of its own, and cannot be given back.
        names = (*image.tags, *(name for name in image.digests if name.partition("@")[0] not in repositories))
        if names:
            return names
        if self._store is ImageStore.CONTAINERD:
            return (f"moby-dangling@{image.id}",)
        return (reference.marker(image.id),)

    def _what_is_left(self, step: Step, image: Image) -> Outcome:
        try:
            left = self._engine.image(image.id)
        except NotFoundError:
            return _outcome(step, Effect.APPLIED, "removed", freed=image.size_bytes)
        except EngineError as error:
            return _outcome(step, Effect.APPLIED, "unverified", str(error))
        if step.ref.kind is Kind.TAG and step.ref.key not in left.tags:
            return _outcome(step, Effect.APPLIED, "untagged")
        if left.tags or left.digests:
            kept = _outcome(step, Effect.SKIPPED, "renamed", "it got another name in the meantime")
        else:
            kept = _outcome(step, Effect.REFUSED, "conflict", "other images were built from it")
        return self._give_back(step, image, kept)


def _is_as_judged(image: Image, judged: Image, taken: set[str]) -> bool:
    """Whether it is the image that was judged, but for names that the same plan took; with them its digests may go."""
    digests, before = set(image.digests), set(judged.digests)
    return (
        image.id == judged.id
        and set(image.tags) == set(judged.tags) - taken
        and (digests == before or (bool(taken) and digests < before))
        and dict(image.labels) == dict(judged.labels)
    )


def _outcome(step: Step, effect: Effect, reason: str, detail: str = "", freed: int = 0) -> Outcome:
    return Outcome(step.policy, step.action, step.ref, step.name, effect, reason, freed, detail)


def close_intent(intent: Intent, *, still_there: bool) -> Outcome:
    """The end of a removal that was cut short, told by whether its object still exists."""
    effect, reason = (Effect.SKIPPED, "interrupted") if still_there else (Effect.APPLIED, "found_gone")
    return Outcome(intent.policy, intent.action, intent.ref, intent.name, effect, reason)


def sweep_markers(engine: Engine, images: Iterable[Image]) -> None:
    """Take our marker off images that got another name since; one without stays marked until its policy runs again."""
    for image in images:
        if image.tags or image.digests:
            for marker in image.markers:
                with suppress(EngineError):
                    engine.untag(marker)

"""Carry out a plan: one object at a time, by name, never forced, each looked at again immediately before.

Input: the steps of a ``Plan``, ``ports.Engine``, ``ports.Intents``. Output: an ``Outcome`` for each step. Out of
bounds: deciding. An object that is not exactly as it was judged is left alone; a refusal of the engine is normal.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from dockwarden import reference
from dockwarden.errors import ConflictError, EngineError, EngineUnavailableError, LedgerError, NotFoundError
from dockwarden.model import Effect, Image, ImageStore, Intent, Kind, Outcome, Step
from dockwarden.ports import Engine, Intents


class _Kept(Exception):  # noqa: N818 - not an error: a rule found at the last moment
    def __init__(self, effect: Effect, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.effect, self.reason, self.detail = effect, reason, detail


class Executor:
    """Carries out steps on one engine. The store decides by which name a nameless image can safely be removed."""

    def __init__(self, engine: Engine, intents: Intents, store: ImageStore) -> None:
        self._engine = engine
        self._intents = intents
        self._store = store

    def run(self, run: str, steps: Sequence[Step]) -> Iterator[Outcome]:
        """Carry out the steps in order.

        When the ledger cannot be written or the engine goes away, the step at hand and all that follow are not carried
        out, and say so.
        """
        stopped: _Kept | None = None
        for step in steps:
            if stopped is None:
                try:
                    yield self._step(run, step)
                    continue
                except LedgerError as error:
                    stopped = _Kept(Effect.REFUSED, "ledger", str(error))
                except EngineUnavailableError as error:
                    stopped = _Kept(Effect.SKIPPED, "engine_unavailable", str(error))
            yield _outcome(step, stopped.effect, stopped.reason, stopped.detail)

    def _step(self, run: str, step: Step) -> Outcome:
        try:
            image = self._check(step)
        except _Kept as kept:
            return _outcome(step, kept.effect, kept.reason, kept.detail)
        except NotFoundError:
            return _outcome(step, Effect.SKIPPED, "gone")
        except EngineUnavailableError:
            raise
        except EngineError as error:
            return _outcome(step, Effect.FAILED, "engine_error", str(error))
        number = self._intents.intend(run, step)
        try:
            outcome = self._remove(step, image)
        except EngineUnavailableError as error:
            # Whether it happened is not known: the record stays open and is closed when the engine is back.
            return _outcome(step, Effect.FAILED, "engine_unavailable", str(error))
        self._intents.conclude(number, outcome)
        return outcome

    def _check(self, step: Step) -> Image:
        """The object as it is now.

        Raises:
            _Kept: it is not what was judged, or it is in use.
        """
        image = self._engine.image(step.image.id if step.ref.kind is Kind.IMAGE else step.ref.key)
        if _identity(image) != _identity(step.image):
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
            if reference.full(self._engine.container(user).image_ref) == step.ref.key:
                raise _Kept(Effect.REFUSED, "in_use", "a container was created from this tag")

    def _remove(self, step: Step, image: Image) -> Outcome:
        removed: list[str] = []
        try:
            for name in (step.ref.key,) if step.ref.kind is Kind.TAG else self._names(image):
                if name == reference.marker(image.id):
                    self._engine.tag(image.id, name)
                self._engine.untag(name)
                removed.append(name)
        except ConflictError as error:
            for name in set(removed).intersection(image.tags):  # it came into use: give back the names it lost
                self._engine.tag(image.id, name)
            return _outcome(step, Effect.REFUSED, "conflict", str(error))
        except NotFoundError:
            pass  # somebody else was quicker, or it got another name: what is left decides
        except EngineUnavailableError:
            raise
        except EngineError as error:
            return _outcome(step, Effect.FAILED, "engine_error", str(error))
        return self._what_is_left(step, image)

    def _names(self, image: Image) -> Sequence[str]:
        """The names whose removal removes the image; an unforced removal by ID would take a tag set a moment ago."""
        if image.tags or image.digests:
            return image.tags or image.digests
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
        return _outcome(step, Effect.SKIPPED, "renamed", "it got another name in the meantime")


def _identity(image: Image) -> tuple[object, ...]:
    return image.id, set(image.tags), set(image.digests), dict(image.labels)


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

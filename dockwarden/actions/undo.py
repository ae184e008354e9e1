"""Bring back what was removed, by the recipes that the ledger kept of it.

Input: actions that can still be undone. Output: an ``Outcome`` for each, which is itself recorded. Out of bounds: which
ones. Nothing that exists now is touched for it: a name that something else has stays there, and the outcome says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from dockwarden import reference
from dockwarden.actions import contents
from dockwarden.actions.archive import Archive, ArchiveError, Stored
from dockwarden.actions.remove import Kept, outcome_of
from dockwarden.errors import ConflictError, EngineError, EngineUnavailableError, LedgerError, NotFoundError
from dockwarden.model import Done, Effect, Image, Kind, Outcome, Recipe, Ref, Step
from dockwarden.ports import Engine, Intents, Registry

ACTION = "undo"
_ORDER = (Kind.VOLUME, Kind.IMAGE, Kind.TAG, Kind.NETWORK, Kind.CONTAINER)


class Undoer:
    """Undoes actions on one engine."""

    def __init__(self, engine: Engine, registry: Registry, archive: Archive, intents: Intents) -> None:
        self._engine = engine
        self._registry = registry
        self._archive = archive
        self._intents = intents
        self._methods: Mapping[str, Callable[[Done], tuple[str, str]]] = {
            "tag": self._tag,
            "pull": self._pull,
            "load": self._load,
            "create": self._create,
            "fill": self._fill,
            "start": self._start,
        }

    def undo(self, run: str, actions: Sequence[Done]) -> Iterator[Outcome]:
        """Undo them: what others stand on first, the last that went before the first that went.

        When the ledger cannot be written or the engine goes away, what is left is not undone, and says so.
        """
        stop: Kept | None = None
        for done in sorted(actions, key=lambda done: (_ORDER.index(done.ref.kind), -done.number)):
            step = Step(done.policy, ACTION, done.ref, done.name, None, "it was asked for")
            if stop is None:
                outcome, stop = self._step(run, step, done)
            else:
                outcome = stop.outcome(step)
            yield outcome

    def _step(self, run: str, step: Step, done: Done) -> tuple[Outcome, Kept | None]:
        stop: Kept | None = None
        try:
            number = self._intents.intend(run, step, Recipe("none", {"undoes": done.number}))
            try:
                reason, detail = self._methods[done.recipe.method](done)
                outcome = outcome_of(step, Effect.APPLIED, reason, detail)
            except Kept as kept:
                outcome = kept.outcome(step)
            except (ArchiveError, OSError) as error:  # the archive, or the folder that it goes to
                outcome = outcome_of(step, Effect.FAILED, "archive", str(error))
            except EngineUnavailableError as error:
                stop = Kept(Effect.FAILED, "engine_unavailable", str(error))
                outcome = stop.outcome(step)
            except EngineError as error:
                outcome = outcome_of(step, Effect.FAILED, "engine_error", str(error))
            self._intents.conclude(number, outcome)
        except LedgerError as error:
            stop = Kept(Effect.REFUSED, "ledger", str(error))
            return stop.outcome(step), stop
        if outcome.effect is Effect.APPLIED and done.recipe.archive:
            self._archive.remove(done.recipe.archive)
        return outcome, stop

    # -- images ----------------------------------------------------------------------------------------------

    def _tag(self, done: Done) -> tuple[str, str]:
        if self._image(done.recipe.parameters["id"]) is None:
            raise Kept(Effect.FAILED, "image_gone", "the image that it named is gone; undo its removal first")
        return self._names(done.recipe.parameters)

    def _pull(self, done: Done) -> tuple[str, str]:
        about, source = done.recipe.parameters, str(done.recipe.parameters["from"])
        if self._image(about["id"]) is None:
            login = self._registry.login(reference.parse(source).registry)
            try:
                self._engine.pull_image(source, about["platform"], login)
            except NotFoundError as error:
                text = f"the registry served {source} when the image was removed and does not any more: {error}"
                raise Kept(Effect.FAILED, "not_served", text) from error
        return self._names(about)

    def _load(self, done: Done) -> tuple[str, str]:
        about = done.recipe.parameters
        if self._image(about["id"]) is None:
            self._engine.load_image(self._archive.read(_stored(done.recipe)))
        return self._names(about)

    def _names(self, about: Mapping[str, Any]) -> tuple[str, str]:
        """Give the image its tags again, but for those that another image has now."""
        image = self._image(about["id"])
        if image is None:
            raise Kept(Effect.FAILED, "other_image", "what came back is not the image that was removed")
        taken = []
        for name in about["tags"]:
            owner = self._image(name)
            if owner is None:
                self._engine.tag(image.id, name)
            elif owner.id != image.id:
                taken.append(name)
        if taken:
            return "restored", f"without {', '.join(taken)}, which name another image now"
        lost = set(about["digests"]) - set(image.digests) if not about["tags"] else ()
        return "restored", "without its digest, which only a pull gives" if lost else ""

    def _image(self, name: str) -> Image | None:
        try:
            return self._engine.image(name)
        except NotFoundError:
            return None

    # -- containers, volumes, networks -----------------------------------------------------------------------

    def _create(self, done: Done) -> tuple[str, str]:
        parameters = dict(done.recipe.parameters)
        if done.ref.kind is Kind.CONTAINER:
            typed = self._image(parameters["image_ref"])
            if typed is None or typed.id != parameters["image_id"]:
                if self._image(parameters["image_id"]) is None:
                    raise Kept(Effect.FAILED, "image_gone", f"its image {parameters['image_ref']} is gone")
                parameters["body"] = {**parameters["body"], "Image": parameters["image_id"]}
        try:
            identifier = self._engine.create(done.ref.kind, parameters)
        except ConflictError as error:
            raise Kept(Effect.REFUSED, "taken", str(error)) from error
        except NotFoundError as error:
            raise Kept(Effect.FAILED, "engine_error", str(error)) from error
        new = f"its ID is {reference.short_id(identifier)} now"
        is_container = done.ref.kind is Kind.CONTAINER
        return "restored", f"{new}, it is not started, and files changed in it are lost" if is_container else new

    def _fill(self, done: Done) -> tuple[str, str]:
        with suppress(NotFoundError):
            self._engine.volume(done.ref.key)
            raise Kept(Effect.REFUSED, "taken", "there is a volume of this name")
        chunks = self._archive.read(_stored(done.recipe))
        first = next(chunks, b"")  # now it is known to be whole
        self._engine.create(Kind.VOLUME, done.recipe.parameters)
        parameters = self._engine.parameters(Ref(Kind.VOLUME, done.ref.key))
        folder = contents.folder_of(parameters, self._engine.volume(done.ref.key))
        if any(folder.iterdir()):
            raise Kept(Effect.REFUSED, "taken", "somebody made a volume of this name a moment ago")
        try:
            contents.restore(folder, chain((first,), chunks))
        except ArchiveError:
            self._engine.remove_volume(done.ref.key)  # half of one is none
            raise
        return "restored", ""

    def _start(self, done: Done) -> tuple[str, str]:
        try:
            self._engine.start_container(done.ref.key)
        except NotFoundError as error:
            raise Kept(Effect.FAILED, "gone", "the container is gone") from error
        return "started", ""


def _stored(recipe: Recipe) -> Stored:
    return Stored(recipe.archive, recipe.archive_bytes, recipe.sha256)

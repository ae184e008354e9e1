"""How an object that is about to go can be brought back: found out, and where needed kept, before it goes.

Input: a step and its object as it is now, the engine, registries. Output: a ``Recipe``, or a refusal. Out of bounds:
removing, bringing back, and when an archive expires.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from dockwarden.actions import contents
from dockwarden.actions.archive import Archive, ArchiveError
from dockwarden.actions.remove import Kept
from dockwarden.errors import EngineError, EngineUnavailableError
from dockwarden.model import Container, Effect, Image, Kind, Network, Recipe, Ref, Step, Thing, Volume
from dockwarden.ports import Ask, Engine, Registry, Reply

_FRESH_SECONDS = 5.0
_REPLY_SECONDS = 120.0  # no registry is waited for that long; it is the end of a thread that died


class Keeper:
    """Finds recipes."""

    def __init__(self, engine: Engine, registry: Registry, archive: Archive) -> None:
        self._engine = engine
        self._registry = registry
        self._archive = archive
        self._asked: dict[str, Future[Reply]] = {}

    def prepare(self, steps: Sequence[Step]) -> None:
        """Ask registries, all at once, whether they still have what is to go."""
        self._asked = {
            name: self._registry.ask(Ask("digest", name), _FRESH_SECONDS)
            for step in steps
            if isinstance(step.object, Image)
            for name in step.object.digests
        }

    def recipe(self, step: Step, found: Thing | None) -> Recipe:
        """What would bring the object back.

        Raises:
            Kept: nothing would, and the step does not allow that.
            EngineError: the engine did not tell what is needed.
            LedgerError: an archive cannot be written down.
        """
        try:
            return self._recipe(step, found)
        except ArchiveError as error:
            if step.unrecoverable:
                return Recipe("none", _about(found))
            raise Kept(Effect.REFUSED, "unrecoverable", str(error)) from error

    def drop(self, recipe: Recipe) -> None:
        """The object stays: its archive is needed no longer."""
        if recipe.archive:
            self._archive.remove(recipe.archive)

    def _recipe(self, step: Step, found: Thing | None) -> Recipe:
        match found:
            case Image() if step.ref.kind is Kind.TAG and len(found.tags) > 1:
                return Recipe("tag", {**_about(found), "tags": [step.ref.key]})
            case Image():
                return self._image(found)
            case Container() if step.action == "stop":
                return Recipe("start", _about(found))
            case Container():
                return Recipe("create", self._engine.parameters(Ref(Kind.CONTAINER, found.id)))
            case Network():
                return Recipe("create", self._engine.parameters(Ref(Kind.NETWORK, found.id)))
            case Volume():
                return self._volume(found)
            case None:
                raise ArchiveError("build cache cannot be brought back")

    def _image(self, image: Image) -> Recipe:
        about = _about(image)
        for name in image.digests:
            asked = self._asked.get(name) or self._registry.ask(Ask("digest", name), _FRESH_SECONDS)
            with suppress(TimeoutError):  # no answer is not a yes
                if asked.result(_REPLY_SECONDS).digest == name.partition("@")[2]:
                    return Recipe("pull", {**about, "from": name})
        try:
            kept = self._archive.write(
                lambda write: self._engine.save_image(image.id, write),
                image.size_bytes,
                proof=image.id.partition(":")[2],
            )
        except EngineUnavailableError:
            raise
        except EngineError as error:
            raise ArchiveError(f"no registry serves it, and the engine cannot save it: {error}") from error
        except ArchiveError as error:
            raise ArchiveError(f"no registry serves it, and {error}") from error
        return Recipe("load", about, *kept)

    def _volume(self, volume: Volume) -> Recipe:
        parameters = self._engine.parameters(Ref(Kind.VOLUME, volume.name))
        folder = contents.folder_of(parameters, volume)
        kept = self._archive.write(lambda write: contents.export(folder, write), contents.size_of(folder))
        return Recipe("fill", parameters, *kept)


def _about(found: Thing | None) -> Mapping[str, Any]:
    match found:
        case Image():
            details = found.details
            parts = (details.os, details.architecture, details.variant) if details else ()
            return {
                "id": found.id,
                "tags": list(found.tags),
                "digests": list(found.digests),
                "size_bytes": found.size_bytes,
                "labels": dict(found.labels),
                "platform": "/".join(part for part in parts if part),
            }
        case Container() | Network():
            return {"id": found.id, "name": found.name}
        case Volume():
            return {"name": found.name}
        case None:
            return {}

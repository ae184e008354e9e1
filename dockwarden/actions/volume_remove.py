"""volume remove: its files are exported before and put back by undo. Pure but for its tools."""

from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from dockwarden.actions import verb
from dockwarden.actions.archive import LOST, ArchiveError, or_without
from dockwarden.errors import AnswerError, ConflictError, EngineError, NotFoundError
from dockwarden.model import Candidate, Effect, Kind, Policy, Recipe, Record, Ref, Step, Volume


class VolumeRemove(verb.Verb[Volume]):
    subject, name = Kind.VOLUME, "remove"
    options = verb.OwnedLosable
    needs_for = True
    gain = verb.Gain.USAGE

    def keeps(self, policy: Policy, candidate: Candidate, thing: Volume, gone_tags: int) -> verb.Why | None:
        """What somebody uses; and what somebody gave a name, unless the policy asks for names."""
        asked = policy.when.references | (policy.select.references if policy.select else frozenset())
        if candidate.users or thing.anonymous or "volume.name" in asked:
            return verb.in_use(candidate.users)
        return "named", "it has a name, and the policy does not ask for volume.name"

    def held_seconds(self, candidate: Candidate) -> float:
        return min(candidate.result.held_seconds, candidate.idle_seconds)

    def identity(self, thing: Volume) -> str:
        return f"{thing.name} {thing.created_at}"

    def check_users(self, tools: verb.Tools, step: Step, judged: Volume) -> None:
        verb.refuse_users(tools.engine.users_of(judged.name, Kind.VOLUME))

    def recipe(self, tools: verb.Tools, step: Step, found: Volume) -> Recipe:
        parameters = tools.engine.parameters(Ref(Kind.VOLUME, found.name))
        if tools.files.is_elsewhere(parameters):
            return Recipe("create", parameters)
        if place := tools.files.mounted(parameters):
            text = f"something is mounted at {place}, and its files would go as well: `umount` it first"
            raise verb.Stays(Effect.REFUSED, "in_use", text)
        if place := tools.files.leads_to(parameters):
            text = f"a link leads to its files at {place}, where engines remove nothing, or what another volume has"
            raise verb.Stays(Effect.REFUSED, "in_use", text)
        self.check_users(tools, step, found)
        with or_without(parameters):
            folder = tools.files.folder_of(parameters, found)
            size, known = tools.files.survey(folder)
            kept = tools.archive.write(lambda write: tools.files.export(folder, write), size)
        return Recipe("fill", {**parameters, **known}, *kept)

    def act(self, tools: verb.Tools, step: Step, found: Volume) -> verb.Applied:
        """An engine that cannot remove one of its files has removed others, which are put back."""
        try:
            tools.engine.remove_volume(found.name)
        except AnswerError as error:
            if not tools.recipe.archive or isinstance(error, ConflictError | NotFoundError):
                raise
            if trouble := _put_back(tools, found.name, tools.recipe):
                return verb.Applied("unverified", f"{error}; {trouble}")
            raise
        with suppress(EngineError):
            news = tools.news_of(step)  # of the very last moment, or somebody made one of its name right after it
            if news and news.is_known:  # that the engine forgot some, as what took it long, says nothing
                return verb.Applied("unverified", f"{news.text}; what was written after that is lost")
        return verb.Applied("removed")

    def give_back(self, tools: verb.Tools, intent: Record) -> verb.Stays | None:
        """The files that were gone when the engine was ended amid it."""
        trouble = _put_back(tools, intent.ref.key, intent.recipe, is_late=True) if intent.recipe.archive else ""
        return verb.Stays(Effect.APPLIED, "unverified", f"it was cut short; {trouble}") if trouble else None

    def undo(self, tools: verb.Tools, done: Record) -> verb.Applied:
        """Make it and fill it; one that is empty, or that an earlier try began to fill, is filled as well."""
        key, recipe = done.ref.key, done.recipe
        if recipe.method == "create":
            return self._define(tools, recipe.parameters)
        chunks = tools.archive.read(recipe)
        first = next(chunks, b"")  # now it is known to be whole
        is_new = False
        try:
            tools.engine.volume(key)
        except NotFoundError:
            tools.engine.create(Kind.VOLUME, recipe.parameters)
            is_new = True
        folder = tools.files.folder_of(tools.engine.parameters(Ref(Kind.VOLUME, key)), tools.engine.volume(key))
        if not tools.files.is_empty(folder):
            try:
                _refuse_others(tools, key, folder, recipe)
            except verb.Stays:
                has_files = recipe.parameters.get("written_ns")
                if has_files and tools.files.holds(folder, tools.archive.read(recipe)):  # an earlier try did
                    return verb.Applied("restored")
                raise
        try:
            tools.files.restore(folder, chain((first,), chunks), recipe.archive)
        except (ArchiveError, OSError):
            if is_new:  # half of one is none; where this fails as well, the next try goes on
                with suppress(EngineError):
                    tools.engine.remove_volume(key)
            raise
        return verb.Applied("restored")

    def _define(self, tools: verb.Tools, wanted: Mapping[str, Any]) -> verb.Applied:
        """Make one whose files are elsewhere, or were not kept; fine if an earlier try did."""
        with suppress(NotFoundError):
            now = tools.engine.parameters(Ref(Kind.VOLUME, wanted["Name"]))
            if any((now[key] or {}) != (wanted[key] or {}) for key in ("Driver", "DriverOpts", "Labels")):
                raise verb.Stays(Effect.REFUSED, "taken", "there is another volume of this name")
        tools.engine.create(Kind.VOLUME, wanted)
        lost = wanted.get(LOST)
        return verb.Applied("restored", f"its files are lost: {lost}" if lost else "")


def _put_back(tools: verb.Tools, name: str, recipe: Recipe, *, is_late: bool = False) -> str:
    """The files that a removal took before it failed; why not, if so, and then undo does. ``is_late``: not at once."""
    try:
        folder = tools.files.folder_of(recipe.parameters, tools.engine.volume(name))
        if is_late:
            _refuse_others(tools, name, folder, recipe)
        # On a read-only disk nothing went. Not asked after a try to put it back, which may not be on the disk yet.
        if is_late or not tools.files.holds(folder, tools.archive.read(recipe)):
            tools.files.restore(folder, tools.archive.read(recipe), recipe.archive)
    except (verb.Stays, ArchiveError, AnswerError, OSError) as trouble:
        if trouble is verb.ENDING:
            raise verb.Unfinished("not all of its files were back when dockwarden had to end") from trouble
        why = trouble.detail if isinstance(trouble, verb.Stays) else trouble
        return f"some of its files may be gone: {why}"
    return ""


def _refuse_others(tools: verb.Tools, name: str, folder: Path, recipe: Recipe) -> None:
    """Raises Stays unless it is what was left of the volume, and nobody uses it or has written to it since."""
    if not tools.files.is_rest(folder, recipe.archive, recipe.parameters):
        raise verb.Stays(Effect.REFUSED, "taken", "there is another volume of this name, or somebody wrote to it since")
    verb.refuse_users(tools.engine.users_of(name, Kind.VOLUME))

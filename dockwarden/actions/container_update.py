"""container update: to the image that its tag names now, and back by itself if that does not come up.

The new container is made before the old one stops, so that what the engine refuses costs nothing. The old one is
stopped, renamed and kept whole: it is the way back. Whatever cuts this short, the next look goes back, unless it was
done: each step looks first at what is there, and can be taken again. Pure but for its tools.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

from dockwarden import reference
from dockwarden.actions.containers import ASIDE, ContainerVerb
from dockwarden.actions.verb import Applied, Owned, Stays, Tools, Unfinished, Why, refuse_change
from dockwarden.errors import ConflictError, EngineError, EngineUnavailableError, NotFoundError
from dockwarden.model import Candidate, Container, Done, Effect, Image, Intent, Kind, Policy, Recipe, Ref, Step
from dockwarden.ports import Engine
from dockwarden.text import duration, printable, span

_LOOK_SECONDS = 0.5
_LOG_LINES = 20
_LOG_CHARACTERS = 1000
_NANO = 1e9
_KEPT = "kept"
_UP = ("running", "restarting", "paused")

_Duration = Annotated[timedelta, BeforeValidator(duration, json_schema_input_type=str)]


class Options(Owned):
    """How long it has to become healthy, or without a check to run; and for how long the old one stays beside it."""

    within: _Duration = timedelta(minutes=2)
    steady: _Duration = timedelta(seconds=30)
    keep_old: _Duration = timedelta(hours=1)


class ContainerUpdate(ContainerVerb):
    """Replace it by one like it from the image that its tag names here."""

    name = "update"
    options = Options
    removes = False

    def keeps(self, policy: Policy, candidate: Candidate, thing: Container, gone_tags: int) -> Why | None:
        """What cannot be made again faithfully, or has no other image to come."""
        if thing.config.told.get("auto_remove"):
            return "auto_remove", "it is removed with its volumes as soon as it stops (--rm)"
        if "@" in thing.image_ref or reference.is_image_id(thing.image_ref) or thing.image_ref in thing.image_id:
            return "pinned", "it was created from a digest or an ID, which never names another image"
        if thing.state not in ("running", "exited", "created"):
            return "not_running", f"it is {thing.state}"
        return None

    def check(self, tools: Tools, step: Step, judged: Container, found: Container) -> None:
        super().check(tools, step, judged, found)
        old, new = tools.image(found.image_id), tools.image(reference.full(found.image_ref))
        if old is None:
            raise Stays(
                Effect.REFUSED, "image_gone", "the image that it runs is gone: what it has from it is not known"
            )
        refuse_change(unless=new is not None and new.id != old.id)
        if new is None or _platform(old) != _platform(new):
            raise Stays(Effect.REFUSED, "other_platform", "the image that its tag names is for another platform")
        if tools.is_barred(self.name, found.name, new.id):
            text = f"{reference.short_id(new.id)} did not come up before; it is not tried again until its tag moves"
            raise Stays(Effect.REFUSED, "barred", text)
        if joined := sorted(each.name for each in _dependents(tools.engine, found)):
            text = f"{', '.join(joined)} live in its namespaces, volumes or links, and would have to be made again"
            raise Stays(Effect.REFUSED, "dependents", text)

    def recipe(self, tools: Tools, step: Step, found: Container) -> Recipe:
        """The way back: all that tells the two containers, and what the old one was like."""
        new = tools.engine.image(reference.full(found.image_ref))
        return Recipe(
            "update",
            {
                **self.about(found),
                "image_ref": found.image_ref,
                "image_id": found.image_id,
                "new_image_id": new.id,
                "token": found.id[:4] + new.id.partition(":")[2][:4],
                "was_running": found.running,
                "restart_policy": [found.config.restart_policy, found.config.restart_max],
                "phase": "begun",
            },
        )

    def act(self, tools: Tools, step: Step, found: Container) -> Applied:
        about = tools.recipe.parameters
        change = _Change(tools.engine, about)
        try:
            change.make()
            tools.note({"new": change.new})
            change.swap()
            trouble = self._gate(tools, step, change) if found.running else ""
        except EngineUnavailableError:
            raise
        except (Stays, EngineError) as error:
            _or_unfinished(change)
            raise Stays(Effect.FAILED, "rolled_back", f"{error}; the old container is back") from error
        if trouble:
            said = _or_unfinished(change)
            raise Stays(Effect.FAILED, "rolled_back", f"the new container {trouble}; the old one is back{said}")
        tools.note({"phase": _KEPT, "new": change.new})
        now = reference.short_id(about["new_image_id"])
        kept = f"the old container stays as {change.old_name} for {span(step.options['keep_old'])}"
        return Applied("updated", f"it runs {now} now, and {kept}" if found.running else f"it is of {now} now; {kept}")

    def _gate(self, tools: Tools, step: Step, change: "_Change") -> str:
        """Wait until the new one is well; why it is not, if so. Raises Unfinished if the process is to end."""
        limit = step.options["within"].total_seconds() + change.start_period_seconds
        steady = step.options["steady"].total_seconds()
        began = tools.now()
        while True:
            now = tools.engine.container(change.new)
            passed = tools.now() - began
            if now.config.restart_count or not now.running:
                return f"ended with {now.exit_code}" + (" and was restarted" if now.config.restart_count else "")
            if now.health == "unhealthy":
                return "is unhealthy"
            if now.health == "healthy" or (not now.health and now.state == "running" and passed >= steady):
                return ""
            if now.health and passed >= limit:
                return f"is still {now.health} after {span(passed)}"
            if tools.is_ending():
                raise Unfinished("it was not up when dockwarden had to end; the next start goes back")
            tools.sleep(_LOOK_SECONDS)

    def is_undone(self, recipe: Recipe, now: Container | None) -> bool:
        return recipe.parameters.get("phase") != _KEPT

    def give_back(self, engine: Engine, intent: Intent) -> None:
        _Change(engine, intent.recipe.parameters).back()

    def undo(self, tools: Tools, done: Done) -> Applied:
        """The old container again, if it is still there."""
        change = _Change(tools.engine, done.recipe.parameters)
        if change.old() is None:
            raise Stays(Effect.FAILED, "gone", f"the old container {change.old_name} is gone: undo its removal first")
        wrote = False
        with suppress(NotFoundError):
            wrote = bool(change.new and tools.engine.written(change.new).paths)
        change.back(keep=wrote)
        kept = f"; what the new one wrote stays in {change.new_name}" if wrote else ""
        return Applied("restored", f"it runs {reference.short_id(change.image_id)} again{kept}")


class _Change:
    """One update under way; every step looks first at what is there."""

    def __init__(self, engine: Engine, about: Mapping[str, Any]) -> None:
        self._engine = engine
        self._about = about
        self._name: str = about["name"]
        self._old_id: str = about["id"]
        self.image_id: str = about["image_id"]
        self.new: str = about.get("new", "")
        self.old_name = f"{self._name}.{ASIDE}{about['token']}.old"
        self.new_name = f"{self._name}.{ASIDE}{about['token']}.new"
        self.start_period_seconds = 0.0

    def old(self) -> Container | None:
        """The old container, also if it was removed and made again meanwhile."""
        return self._find(self._old_id) or self._find(self.old_name)

    def make(self) -> None:
        """The new container, which runs not yet."""
        parameters = self._engine.renewal(self._old_id, self._about["new_image_id"])
        self.new = self._engine.create(Kind.CONTAINER, {**parameters, "name": self.new_name})
        if self._engine.container(self.new).image_id != self._about["new_image_id"]:
            raise Stays(Effect.SKIPPED, "changed", f"{self._about['image_ref']} names another image now")
        check = self._engine.parameters(Ref(Kind.CONTAINER, self.new))["body"].get("Healthcheck") or {}
        self.start_period_seconds = (check.get("StartPeriod") or 0) / _NANO

    def swap(self) -> None:
        """Stop the old one, give the new one its name, start it. Never may the engine start both."""
        engine = self._engine
        if self._about["was_running"]:
            engine.stop_container(self._old_id)
        engine.rename_container(self._old_id, self.old_name)
        engine.rename_container(self.new, self._name)
        if self._about["was_running"]:
            engine.set_restart_policy(self._old_id, "no", 0)
            engine.start_container(self.new)

    def back(self, *, keep: bool = False) -> str:
        """The old one under its name, as it was before, and the new one gone, or kept; gives what that said last."""
        engine, said = self._engine, ""
        old, new = self.old(), self._find(self.new) or self._find(self.new_name)
        if old is None:  # somebody removed it: what there is goes on
            self._go_on_with(new)
            return said
        if new is not None:
            if new.state in _UP:
                engine.set_restart_policy(new.id, "no", 0)
                engine.stop_container(new.id)
            if new.name == self._name:
                engine.rename_container(new.id, self.new_name)
        taken = self._take_back_the_name(old)
        policy, times = self._about["restart_policy"]
        if old.config.restart_policy != policy:
            engine.set_restart_policy(old.id, policy, times)
        if self._about["was_running"] and not old.running:
            engine.start_container(old.id)
        if taken:
            raise taken
        if new is not None and not keep:
            with suppress(NotFoundError):
                said = printable(" ".join(engine.last_lines(new.id, _LOG_LINES)), _LOG_CHARACTERS)
                engine.remove_container(new.id)
        return said

    def _take_back_the_name(self, old: Container) -> ConflictError | None:
        """A stranger's container may have it by now; then the old one at least runs."""
        try:
            if old.name != self._name:
                self._engine.rename_container(old.id, self._name)
        except ConflictError as error:
            return error
        return None

    def _go_on_with(self, new: Container | None) -> None:
        if new is None:
            return
        if new.name != self._name:
            self._engine.rename_container(new.id, self._name)
        if self._about["was_running"] and not new.running:
            self._engine.start_container(new.id)

    def _find(self, key: str) -> Container | None:
        try:
            found = self._engine.container(key) if key else None
        except NotFoundError:
            return None
        # A name may be somebody else's; what has an ID of ours or a name that only we make up is ours.
        return found if found and key in (found.id, found.name) else None


def _or_unfinished(change: _Change) -> str:
    """Go back; what fails on the way is tried again later."""
    try:
        said = change.back()
    except EngineUnavailableError:
        raise
    except EngineError as error:
        raise Unfinished(f"it could not be taken back: {error}") from error
    return f"; it said last: {said}" if said else ""


def _platform(image: Image) -> tuple[str, ...]:
    details = image.details
    return (details.os, details.architecture, details.variant) if details else ()


def _dependents(engine: Engine, owner: Container) -> Iterator[Container]:
    """The containers that call this one by its ID or are linked to it."""
    for identifier in engine.container_ids():
        with suppress(NotFoundError):
            each = engine.container(identifier)
            if each.id != owner.id and {owner.id, owner.name} & set(engine.peers(each.id)):
                yield each

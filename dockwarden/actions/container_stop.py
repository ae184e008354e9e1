"""container stop: nothing goes, so neither the minimum stay nor an archive is needed. Pure but for its tools."""

from collections.abc import Mapping
from contextlib import suppress

from dockwarden.actions.containers import ContainerVerb, is_aside
from dockwarden.actions.verb import Applied, OwnedLosable, Tools, Why
from dockwarden.errors import MissingError, NotFoundError
from dockwarden.model import Candidate, Container, Kind, Policy, Recipe, Record, Step


class ContainerStop(ContainerVerb):
    name = "stop"
    options = OwnedLosable
    removes = False

    def keeps(self, policy: Policy, candidate: Candidate, thing: Container, gone_tags: int) -> Why | None:
        """What does not run cannot be stopped."""
        return None if thing.running else ("not_running", f"it is {thing.state}")

    def recipe(self, tools: Tools, step: Step, found: Container) -> Recipe:
        """What would start it again; nothing, if an update put it aside, as another runs on its volumes."""
        return Recipe("none" if is_aside(found) else "start", self.about(found))

    def act(self, tools: Tools, step: Step, found: Container) -> Applied:
        tools.engine.stop_container(found.id)
        return Applied("stopped")

    def about(self, found: Container) -> Mapping[str, object]:
        return {**super().about(found), "image_id": found.image_id}

    def undo(self, tools: Tools, done: Record) -> Applied:
        """One that was removed since and came back has another ID: its name and image tell it, and it never ran."""
        try:
            tools.engine.start_container(done.ref.key)
        except NotFoundError as error:
            with suppress(NotFoundError):
                found = tools.engine.container(done.name)
                if found.state == "created" and found.image_id == done.recipe.parameters.get("image_id"):
                    tools.engine.start_container(found.id)
                    return Applied("started")
            raise MissingError(Kind.CONTAINER, done.name, done.ref.key) from error
        return Applied("started")

    def is_undone(self, recipe: Recipe, now: Container | None) -> bool:
        return now is not None and now.running

"""container stop: nothing goes, so neither the minimum stay nor an archive is needed. Pure but for its tools."""

from dockwarden.actions.containers import ContainerVerb
from dockwarden.actions.verb import Applied, OwnedLosable, Stays, Tools, Why
from dockwarden.errors import NotFoundError
from dockwarden.model import Candidate, Container, Done, Effect, Policy, Recipe, Step


class ContainerStop(ContainerVerb):
    name = "stop"
    options = OwnedLosable
    removes = False

    def keeps(self, policy: Policy, candidate: Candidate, thing: Container, gone_tags: int) -> Why | None:
        """What does not run cannot be stopped."""
        return None if thing.running else ("not_running", f"it is {thing.state}")

    def recipe(self, tools: Tools, step: Step, found: Container) -> Recipe:
        return Recipe("start", self.about(found))

    def act(self, tools: Tools, step: Step, found: Container) -> Applied:
        tools.engine.stop_container(found.id)
        return Applied("stopped")

    def undo(self, tools: Tools, done: Done) -> Applied:
        try:
            tools.engine.start_container(done.ref.key)
        except NotFoundError as error:
            raise Stays(Effect.FAILED, "gone", "the container is gone") from error
        return Applied("started")

    def is_undone(self, recipe: Recipe, now: Container | None) -> bool:
        return now is not None and now.running

"""container remove: made anew by undo from what the engine says of it. Pure but for its tools."""

from dataclasses import replace

from dockwarden.actions import containers
from dockwarden.actions.verb import Applied, Gain, OwnedLosable, Stays, Tools, Verb, Why
from dockwarden.model import Candidate, Container, Done, Effect, Kind, Policy, Step

_UP = ("running", "paused", "restarting", "removing")


class ContainerRemove(Verb[Container]):
    """Remove a container that does not run, and none of its volumes."""

    subject, name = Kind.CONTAINER, "remove"
    options = OwnedLosable
    gain = Gain.USAGE

    def keeps(self, policy: Policy, candidate: Candidate, thing: Container, gone_tags: int) -> Why | None:
        return ("running", f"it is {thing.state}") if thing.running or thing.state in _UP else None

    def look(self, tools: Tools, step: Step, judged: Container) -> Container:
        found = containers.look(tools, judged)
        if found.running:
            raise Stays(Effect.REFUSED, "in_use", "it runs")
        return found

    def act(self, tools: Tools, step: Step, found: Container) -> Applied:
        tools.engine.remove_container(found.id)
        return Applied("removed")

    def undo(self, tools: Tools, done: Done) -> Applied:
        """Make it from its own image, whatever its tag names now."""
        about = done.recipe.parameters
        named = tools.image(about["image_ref"])
        if named is None or named.id != about["image_id"]:
            if tools.image(about["image_id"]) is None:
                raise Stays(Effect.FAILED, "image_gone", f"its image {about['image_ref']} is gone")
            about = {**about, "body": {**about["body"], "Image": about["image_id"]}}
        done = done._replace(recipe=replace(done.recipe, parameters=about))
        reason, new = super().undo(tools, done)
        return Applied(reason, f"{new}, it is not started, and files changed in it are lost")

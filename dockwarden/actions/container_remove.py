"""container remove: made anew by undo from what the engine says of it. Pure but for its tools."""

from collections.abc import Mapping
from typing import Any

from dockwarden import reference
from dockwarden.actions.containers import ContainerVerb
from dockwarden.actions.verb import Applied, Gain, OwnedLosable, Stays, Tools, Why
from dockwarden.errors import NotFoundError
from dockwarden.model import Candidate, Container, Done, Effect, Kind, Policy, Ref, Step

_UP = ("running", "paused", "restarting", "removing")


class ContainerRemove(ContainerVerb):
    """Remove a container that does not run, and none of its volumes."""

    name = "remove"
    options = OwnedLosable
    gain = Gain.USAGE

    def keeps(self, policy: Policy, candidate: Candidate, thing: Container, gone_tags: int) -> Why | None:
        return ("running", f"it is {thing.state}") if thing.running or thing.state in _UP else None

    def check(self, tools: Tools, step: Step, judged: Container, found: Container) -> None:
        super().check(tools, step, judged, found)
        if found.running:
            raise Stays(Effect.REFUSED, "in_use", "it runs")

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
        new = _left_over(tools, about) or tools.engine.create(Kind.CONTAINER, about)
        told = f"its ID is {reference.short_id(new)} now, it is not started, and files changed in it are lost"
        return Applied("restored", told)


def _left_over(tools: Tools, about: Mapping[str, Any]) -> str:
    """The ID of what an earlier try made: exactly this, and it never ran; half of it, without networks, is removed."""
    try:
        found = tools.engine.container(about["name"])
        same = tools.engine.parameters(Ref(Kind.CONTAINER, found.id))
    except NotFoundError:
        return ""
    if found.state != "created" or any(same[key] != about[key] for key in ("name", "image_id", "body")):
        return ""
    if same["endpoints"].keys() >= about["endpoints"].keys():
        return found.id
    tools.engine.remove_container(found.id)
    return ""

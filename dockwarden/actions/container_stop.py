"""container stop: nothing goes, so neither the minimum stay nor an archive is needed. Pure but for its tools."""

from collections.abc import Mapping
from contextlib import suppress

from dockwarden.actions import containers
from dockwarden.actions.archive import ArchiveError
from dockwarden.actions.verb import Applied, OwnedLosable, Tools, Why
from dockwarden.errors import MissingError, NotFoundError
from dockwarden.model import Candidate, Container, Kind, Policy, Recipe, Record, Step

_JOINED = "joined"
"""In a recipe: those that ran in its namespaces, which are dead without it, by ID with their last start.

None with ``--rm``: should it end at once when it is started again, their restart would fail, and remove them.
"""

_PAUSED = "paused"


class ContainerStop(containers.ContainerVerb):
    name = "stop"
    options = OwnedLosable
    removes = False

    def keeps(self, policy: Policy, candidate: Candidate, thing: Container, gone_tags: int) -> Why | None:
        return None if thing.running else ("not_running", f"it is {thing.state}")

    def recipe(self, tools: Tools, step: Step, found: Container) -> Recipe:
        """What would start it again; nothing, if an update put it aside, as another runs on its volumes."""
        # Those that run in its namespaces, or in those of one that does, each after whom it lives in.
        others = containers.others(tools.engine, found) if step.options.get("after") else ()
        joined = containers.following(found, [each for each in others if each.running], containers.is_joined)
        paused = [each for each in joined if each.state == "paused"]
        containers.refuse_dependents(tools, step, found, joined, () if tools.kills_frozen else paused)
        if containers.is_brief(found):
            raise ArchiveError(containers.AUTO_REMOVE[1])
        left = {each.id: each.started_at for each in joined if not containers.is_brief(each)}
        names = (["it"] if found.state == "paused" else []) + [each.name for each in paused if each.id in left]
        about = {**self.about(found), _PAUSED: names, _JOINED: left}
        return Recipe("none" if containers.is_aside(found) else "start", about)

    def act(self, tools: Tools, step: Step, found: Container) -> Applied:
        tools.engine.stop_container(found.id)
        return Applied("stopped")

    def about(self, found: Container) -> Mapping[str, object]:
        return {**super().about(found), "image_id": found.image_id}

    def undo(self, tools: Tools, done: Record) -> Applied:
        """Start it, and those that had died with it unless somebody started them since.

        One that was removed since and came back has another ID: its name and image tell it, and it never ran.
        """
        about = done.recipe.parameters
        try:
            tools.engine.start_container(done.ref.key)
        except NotFoundError as error:
            with suppress(NotFoundError):
                found = tools.engine.container(done.name)
                if found.state == "created" and found.image_id == about.get("image_id"):
                    tools.engine.start_container(found.id)
                    return Applied("started")
            raise MissingError(Kind.CONTAINER, done.name, done.ref.key) from error
        troubles = containers.restarted(tools.engine, "", about.get(_JOINED, {}))
        notes = [f"{name} was paused before" for name in about.get(_PAUSED, ())]
        notes += [f"what lived in its namespaces did not start: {text}" for text in troubles.values()]
        return Applied("started", "; ".join(notes))

    def is_undone(self, recipe: Recipe, now: Container | None) -> bool:
        return now is not None and now.running

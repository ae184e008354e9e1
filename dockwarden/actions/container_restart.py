"""container restart: with those that live in its namespaces or ask for it, and only so often. Pure but for its tools.

Nothing goes, so nothing has to be brought back. One that is restarted as often as it may be, and still fails, is given
up until it is healthy or somebody else starts it.
"""

import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, Field

from dockwarden.actions import containers
from dockwarden.actions.verb import GAVE_UP, Applied, DurationIfAny, Owned, Stays, Tools, Unfinished, Why
from dockwarden.errors import AnswerError
from dockwarden.model import Candidate, Container, Effect, Policy, Recipe, Record, Step
from dockwarden.text import DURATION, counted, duration, span

_LEFT = "left"
"""What it is about to stop and start, by ID with the start before."""

_MOST = rf"^(?!0+ )\d{{1,4}} per (?=.*[1-9]){DURATION[1:]}"
_Text = Annotated[str, Field(pattern=_MOST)]


class Most(NamedTuple):
    times: int
    seconds: float


def how_often(value: object) -> Most:
    """``3 per 1h``. Raises ValueError."""
    times, _, within = value.partition(" per ") if isinstance(value, str) else ("", "", "")
    seconds = duration(within).total_seconds() if within else 0.0  # which says what is wrong with it
    if not isinstance(value, str) or not re.fullmatch(_MOST, value, re.ASCII):
        raise ValueError("must be how often within which time, such as 3 per 1h")
    return Most(int(times), seconds)


class Options(Owned):
    """How long it may take to stop, else as long as the container says; and how often it is tried."""

    timeout: DurationIfAny = None
    most: Annotated[Most, BeforeValidator(how_often, json_schema_input_type=_Text)] = Most(3, 3600.0)


class ContainerRestart(containers.ContainerVerb):
    name = "restart"
    options = Options
    removes = False
    counts = True

    def keeps(self, policy: Policy, candidate: Candidate, thing: Container, gone_tags: int) -> Why | None:
        """What does not run was stopped by somebody, and a restart would start it."""
        if thing.state != "running":
            return "not_running", f"it is {thing.state}"
        if containers.is_brief(thing):
            return "auto_remove", "it would be removed with its volumes if it could not start again (--rm)"
        allowed = Most(*policy.options["most"])
        recent = sum(age < allowed.seconds for age in candidate.ages)
        if candidate.given_up or recent >= allowed.times:
            tried = counted(max(recent, allowed.times), "restart")
            why = f"{tried} within {span(allowed.seconds)} did not help; nothing more within that time, nor"
            return GAVE_UP, f"{why} until it is healthy or somebody starts it"
        return None

    def check(self, tools: Tools, step: Step, judged: Container, found: Container) -> None:
        super().check(tools, step, judged, found)
        containers.refuse_stale(tools, found)

    def recipe(self, tools: Tools, step: Step, found: Container) -> Recipe:
        every = [*containers.others(tools.engine, found)]
        following = containers.followers(tools, step, found, every)
        paused = (each for each in every if each.state == "paused")
        containers.refuse_dependents(tools, step, found, following, paused)
        left = {each.id: each.started_at for each in (found, *following)}
        return Recipe("none", {**self.about(found), _LEFT: left, "with": [each.name for each in following]})

    def act(self, tools: Tools, step: Step, found: Container) -> Applied:
        about, timeout = tools.recipe.parameters, step.options["timeout"]
        seconds = None if timeout is None else int(timeout.total_seconds())
        if troubles := containers.restarted(tools.engine, found.id, about[_LEFT], seconds):
            raise Unfinished(f"{_told(troubles)}; what does not run is started as soon as it can be")
        return Applied("restarted", f"and with it {', '.join(about['with'])}" if about["with"] else "")

    def give_back(self, tools: Tools, intent: Record) -> Stays | None:
        """Start what a restart had stopped and not started, but for what somebody started since."""
        key, about = intent.ref.key, intent.recipe.parameters
        left = about[_LEFT] if _LEFT in about else {key: about["started_at"]}  # as older records have it
        now = tools.engine.container(key)
        if now.running and now.started_at == left[key]:
            return None
        if troubles := containers.restarted(tools.engine, key, left):
            raise AnswerError(_told(troubles))
        return Stays(Effect.APPLIED, "restarted", "what it had stopped could be started by now")


def _told(troubles: Mapping[str, str]) -> str:
    return "; ".join(dict.fromkeys(troubles.values()))

"""service update: its spec gets the digest that its tag has at the registry; the swarm rolls. Pure but for its tools.

Swarm's own rolling update, and its rollback where the service asks for that, do the rest; how that ended is told.
"""

from contextlib import suppress
from datetime import timedelta

from dockwarden import reference
from dockwarden.actions import verb
from dockwarden.actions.pulling import served
from dockwarden.actions.verb import Applied, Duration, Owned, Stays, Tools, Unfinished, Verb, Why
from dockwarden.errors import NotFoundError
from dockwarden.model import Candidate, Effect, Kind, Policy, Recipe, Record, Service, Step
from dockwarden.text import span

_LOOK_SECONDS = 1.0
_UNPLACED_SECONDS = 30.0  # a port, or memory, may be free when the task before has ended
_JOB: Why = ("job", "it is a job, which would run once more")
_UNDER_WAY = ("updating", "rollback_started")


class Options(Owned):
    """For how long its end is waited for; it goes on by itself. ``owners`` may be named, and there is nobody to ask."""

    within: Duration = timedelta(minutes=10)


class ServiceUpdate(Verb[Service]):
    subject, name = Kind.SERVICE, "update"
    options = Options
    removes = False

    def keeps(self, policy: Policy, candidate: Candidate, thing: Service, gone_tags: int) -> Why | None:
        if not _tag(thing.image_ref):
            return "pinned", "its image is not a tag with a digest, so nothing tells what is newer"
        if thing.mode.endswith("job"):
            return _JOB
        if thing.update_state in _UNDER_WAY:
            return "updating", f"an update of it is under way: {thing.update_state}"
        return None

    def check(self, tools: Tools, step: Step, judged: Service, found: Service) -> None:
        verb.refuse_change(unless=(found.image_ref, dict(found.labels)) == (judged.image_ref, dict(judged.labels)))
        verb.refuse_change(unless=found.update_state not in _UNDER_WAY)
        if found.is_over:
            raise Stays(Effect.REFUSED, *_JOB)
        new = _newer(tools, step, found)
        verb.refuse_change(unless=reference.parse(new).digest != reference.parse(found.image_ref).digest)
        # The swarm, or somebody, may have taken it back after its end was not waited for any more.
        back_to = found.image_ref if found.update_state.startswith("rollback_") else ""
        verb.refuse_barred(tools, step, new, back_to=back_to)

    def foresee(self, tools: Tools, step: Step) -> str:
        found = self.find(tools.engine, step.ref.key)
        self.check(tools, step, found, found)
        return f"from {found.image_ref} to {_newer(tools, step, found)}"

    def recipe(self, tools: Tools, step: Step, found: Service) -> Recipe:
        new = _newer(tools, step, found)
        before = {"image_ref": found.image_ref, "updated_at": found.updated_at}
        return Recipe("update", {**self.about(found), **before, "new_image_id": new})

    def act(self, tools: Tools, step: Step, found: Service) -> Applied:
        new, within = tools.recipe.parameters["new_image_id"], step.options["within"].total_seconds()
        _set(tools, found.id, new)
        began, unplaced = tools.now(), 0.0
        while True:
            now = tools.engine.service(found.id)
            is_ours = now.updated_at != found.updated_at  # that of the update before stands there for a moment
            is_back = _is_back(tools.recipe, now)
            if now.image_ref != new and not is_back:
                raise Stays(Effect.SKIPPED, "changed", f"somebody gave it {now.image_ref} meanwhile")
            if is_back and now.update_state not in _UNDER_WAY:
                raise _taken_back(new, now)
            if now.update_state.endswith("completed") and is_ours:
                return Applied("updated", _held(new, now))
            if now.update_state.endswith("paused") and is_ours:
                raise _paused(new, now)
            never_says = now.mode == "replicated" or not now.update_state
            if never_says and not is_back and not now.replicas + now.running:
                return Applied("updated", f"it has no tasks; those to come run {new}")
            unplaced = unplaced + _LOOK_SECONDS if now.unplaced else 0.0
            if unplaced > _UNPLACED_SECONDS:
                raise _still(new, f"no node takes a task of it: {now.unplaced}")
            if tools.now() - began >= within:
                raise _still(new, f"after {span(within)} it is still {now.update_state}")
            if tools.is_ending():
                raise Unfinished("it was under way when dockwarden had to end; the swarm goes on")
            tools.sleep(_LOOK_SECONDS)

    def is_undone(self, recipe: Recipe, now: Service | None) -> bool:
        if now is None:
            return True
        if now.update_state in _UNDER_WAY:
            raise Unfinished(f"the swarm may yet pause, or take it back: {now.update_state}")
        return now.image_ref != recipe.parameters["new_image_id"] or now.update_state.endswith("paused")

    def give_back(self, tools: Tools, intent: Record) -> Stays | None:
        about = intent.recipe.parameters
        with suppress(NotFoundError):
            now, new = tools.engine.service(intent.ref.key), about["new_image_id"]
            if _is_back(intent.recipe, now):
                return _taken_back(new, now)
            return _paused(new, now) if now.image_ref == new else None
        return None

    def finish(self, tools: Tools, key: str) -> Applied:
        now = tools.engine.service(key)
        return Applied("updated", _held(now.image_ref, now))

    def undo(self, tools: Tools, done: Record) -> Applied:
        """The image before, by another rolling update."""
        about = done.recipe.parameters
        now = tools.engine.service(about["id"]).image_ref
        if now not in (about["new_image_id"], about["image_ref"]):
            raise Stays(Effect.REFUSED, "taken", f"it is held to {now} by now")
        _set(tools, about["id"], about["image_ref"])
        return Applied("restored", f"it is held to {about['image_ref']} again; the swarm rolls")


def _tag(image_ref: str) -> str:
    """The tag of ``name:tag@digest``, "" of anything else."""
    parsed = reference.parsed(image_ref)
    return parsed.tagged if parsed and parsed.digest else ""


def _held(new: str, now: Service) -> str:
    """The swarm lets tasks fail by `failure_action: continue` and `max_failure_ratio`."""
    is_whole = now.running >= now.replicas
    held = f"all its tasks run {new}" if is_whole else f"it is held to {new}; {now.running} of {now.replicas} tasks run"
    return f"{held}; the last one that failed{_error(now)}" if now.task_error else held


def _is_back(begun: Recipe, now: Service) -> bool:
    """Whether the swarm took it back; what it may have taken back before is told by when that began."""
    about = begun.parameters
    is_another = now.updated_at != about.get("updated_at")
    return is_another and now.image_ref == about["image_ref"] and now.update_state.startswith("rollback_")


def _taken_back(new: str, now: Service) -> Stays:
    waits = ", and waits: its tasks do not come up with that either" if now.update_state.endswith("paused") else ""
    return Stays(Effect.FAILED, "rolled_back", f"the swarm took the update to {new} back{waits}{_error(now)}")


def _paused(new: str, now: Service) -> Stays:
    text = f"its tasks do not come up with {new}{_error(now)}; the swarm waits; undo takes it back"
    return Stays(Effect.FAILED, "paused", text)


def _still(new: str, why: str) -> Stays:
    text = f"it is held to {new}; {why}; the swarm goes on, and how that ends is told; undo takes it back"
    return Stays(Effect.FAILED, "updating", text)


def _error(now: Service) -> str:
    return f": {now.task_error}" if now.task_error else ""


def _newer(tools: Tools, step: Step, service: Service) -> str:
    tag = _tag(service.image_ref)
    written = service.image_ref.partition("@")[0]  # as whoever deployed it wrote it
    return f"{written}@{served(tools, tag, step.digest)}"


def _set(tools: Tools, identifier: str, image_ref: str) -> None:
    tools.engine.update_service(identifier, image_ref, tools.registry.login(reference.parse(image_ref).registry))

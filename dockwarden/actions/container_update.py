"""container update: to the image that its tag names, and back by itself if that does not come up.

The new container is made before the old one stops, so that what the engine refuses costs nothing. The old one is
stopped, renamed and kept whole: it is the way back; so are those that live in its namespaces, which are made again
after it, from their own images. Whatever cuts this short, the next look goes back, unless it was
done: each step looks first at what is there, and can be taken again. Pure but for its tools.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from dockwarden import errors, reference
from dockwarden.actions import containers, verb
from dockwarden.actions.containers import ContainerVerb
from dockwarden.actions.images import platform_of
from dockwarden.actions.pulling import bring, move, served
from dockwarden.actions.replacement import Replacement, Update
from dockwarden.actions.verb import Applied, Duration, Owned, Stays, Tools, Unfinished, Why
from dockwarden.model import Candidate, Container, Effect, Image, Policy, Recipe, Record, Step
from dockwarden.ports import Engine
from dockwarden.text import span

_LOOK_SECONDS = 0.5
_SETTLING_SECONDS = 5.0  # as Swarm's own monitor
_KEPT = "kept"
_FAULT = "rolled_back"
"""It is the image's, which is not tried again."""
_NO_PROGRAM = (126, 127)
_NO_USER = "no matching entries in"  # passwd or group file of the image
_OF_RUNTIME = "OCI runtime"
_OF_HOST = re.compile("cgroup config|allocate memory|out of memory|resource temporarily|too many open|deadline exc")
_SETTLED = ("running", "exited", "created")
_PORT = r":0*(?:6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}|[1-5]\d{4}|[1-9]\d{0,3})"
_PROBE = rf"^(?:https?://[^/\s:]*(?:{_PORT})?(?:/\S*)?|tcp://[^/\s:]*{_PORT})$"


def _a_probe(value: object) -> str:
    """``http://:8080/ready``, ``tcp://:5432``; a host that is left out is the container. Raises ValueError."""
    if not isinstance(value, str) or not re.fullmatch(_PROBE, value, re.ASCII):
        raise ValueError("must be an address such as http://:8080/ready or tcp://:5432")
    return value


class Options(Owned):
    """Where the image is looked for, how the new container shows that it is well, and how long the old one stays.

    It has to become healthy, or without a check to run for a while, and to answer a probe, if there is one.
    """

    pull: bool = False
    within: Duration = timedelta(minutes=2)
    steady: Duration = timedelta(seconds=30)
    keep_old: Duration = timedelta(hours=1)
    probe: Annotated[str, BeforeValidator(_a_probe, json_schema_input_type=Annotated[str, Field(pattern=_PROBE)])] = ""


class ContainerUpdate(ContainerVerb):
    name = "update"
    options = Options
    removes = False

    def keeps(self, policy: Policy, candidate: Candidate, thing: Container, gone_tags: int) -> Why | None:
        """What cannot be made again faithfully, or has no other image to come."""
        if containers.is_brief(thing):
            return containers.AUTO_REMOVE
        if thing.pin != "tag":
            return "pinned", "it was created from a digest or an ID, which never names another image"
        if containers.runs_once(thing):
            return "job", "`docker compose run` made it, and what it does would be done once more"
        if thing.state not in _SETTLED:
            return "not_running", f"it is {thing.state}"
        return None

    def check(self, tools: Tools, step: Step, judged: Container, found: Container) -> None:
        super().check(tools, step, judged, found)
        containers.refuse_stale(tools, found)
        old = tools.image(found.image_id)
        if old is None:
            text = "the image that it runs is gone: what it has from it is not known"
            raise Stays(Effect.REFUSED, "image_gone", text)
        source, new = _target(tools, step, found)
        verb.refuse_change(unless=new.id != old.id if new else bool(source))
        verb.refuse_change(unless=bool(source) or step.digest in ("", new.id if new else ""))
        if new is not None and platform_of(old) != platform_of(new):
            raise Stays(Effect.REFUSED, "other_platform", "the image that its tag names is for another platform")
        alike = {"service": containers.several(found), "platform": platform_of(old)}
        verb.refuse_barred(tools, step, new.id if new else source, **alike)
        if lost := sorted(_dependents(tools, step, found)):
            text = f"{', '.join(lost)}: it stands on this container, and cannot or must not be made again after it"
            raise Stays(Effect.REFUSED, "dependents", text)

    def foresee(self, tools: Tools, step: Step) -> str:
        found = self.find(tools.engine, step.ref.key)
        self.check(tools, step, found, found)
        source, new = _target(tools, step, found)
        update = Update(tools.engine, {**_about(found, ""), "new_image_id": new.id if new else found.image_id})
        own = f"it keeps its own {', '.join(asked)}; " if (asked := update.first.asked()) else ""
        old = next(iter(tools.engine.image(found.image_id).digests), found.image_id)
        joined = ", ".join(each.name for each in _joined(tools.engine, found))
        after = f"; made again after it: {joined}" if joined else ""
        moves = f"from {old} to {source or (new.id if new else '')}"
        return f"{moves}; {own}the rest is as the new image has it{after}{update.first.leaves()}"

    def recipe(self, tools: Tools, step: Step, found: Container) -> Recipe:
        """The way back: all that tells the containers apart, and what the old ones were like."""
        source, new = _target(tools, step, found)
        joined, tag = _joined(tools.engine, found), reference.full(found.image_ref)
        of_tag = [each for each in joined if reference.full(each.image_ref) == tag]
        if left := [each.name for each in of_tag if new is None or each.image_id != new.id]:
            text = f"{', '.join(left)}: of the same tag, and living in its namespaces, it has to be updated before"
            raise Stays(Effect.REFUSED, "dependents", text)
        mark = (source.partition("@")[2] if source else new.id if new else "").partition(":")[2][:4]
        return Recipe(
            "update",
            {
                **_about(found, mark),
                "new_image_id": new.id if new else source,
                "from": source,
                "was_here": new is not None,
                "service": containers.several(found),
                "platform": platform_of(tools.engine.image(found.image_id)),
                "tag_was": named.id if (named := tools.image(tag)) else found.image_id,
                "joined": [_about(each, mark) for each in joined],
                "phase": "begun",
            },
        )

    def act(self, tools: Tools, step: Step, found: Container) -> Applied:
        about = tools.recipe.parameters
        if about["from"]:
            about = {**about, "new_image_id": _pull(tools, found, about["from"])}
            tools.note({"new_image_id": about["new_image_id"]})
            if about["new_image_id"] == found.image_id:
                raise Stays(Effect.SKIPPED, "changed", "it runs what its tag names for its platform")
        change = Update(tools.engine, about)
        is_begun, trouble = False, None
        try:
            change.make()
            tools.note(change.made())
            change.refuse_change()
            is_begun, began_ns = True, tools.engine.now_ns()
            change.swap()
            trouble = self._gate(tools, step, change.first, began_ns) if found.running else None
            if not trouble:
                change.follow()
                tools.note({"phase": _KEPT})
        except errors.EngineUnavailableError as error:
            if is_begun and isinstance(error, errors.DeniedError):  # going back may be allowed; else it is tried later
                with suppress(errors.EngineError):
                    change.back()
            raise
        except (Stays, errors.EngineError, errors.LedgerError) as error:
            if isinstance(error, errors.ConflictError) and not (change.first.new or change.first.is_left_over()):
                change.give_up_image()
                raise  # what has the new name is another daemon's, say
            reason = _suspected(change.first, error)
            stays = _back(tools, change, reason, str(error))
            if is_begun or reason == _FAULT:
                raise stays from error
            raise  # nothing was stopped
        if trouble:
            raise _back(tools, change, trouble[0], f"the new container {trouble[1]}")
        now = reference.short_id(about["new_image_id"])
        kept = f"the old container stays as {change.first.old_name} for {span(step.options['keep_old'])}"
        names = ", ".join(each.name for each in change.joined)
        after = f"; made again after it: {names}" if names else ""
        is_of = f"it runs {now} now, and {kept}" if found.running else f"it is of {now} now; {kept}"
        after += _restart_who_asks(tools, step, found, {each.new for each in change.joined}) if found.running else ""
        return Applied("updated", f"{is_of}{after}{change.first.leaves()}")

    def _gate(self, tools: Tools, step: Step, change: "Replacement", began_ns: int) -> Why | None:
        """Wait until the new one is well; if not, whose fault it is and why. Raises Unfinished as the process ends."""
        limit = step.options["within"].total_seconds() + change.start_period_seconds
        steady, probe = step.options["steady"].total_seconds(), step.options.get("probe", "")
        began, silence, unwell = tools.now(), "", 0.0
        while True:
            now, passed = change.find_new(), tools.now() - began
            if now is None or (not now.running and _was_stopped(tools.engine, now.id, began_ns, passed)):
                return "changed", f"was {'stopped' if now else 'removed'} by somebody"
            if now.config.restart_count or not now.running:
                again = " and was restarted" if now.config.restart_count else ""
                code = "" if now.state == "running" else f" with {now.exit_code}"  # which the next start forgets
                return _FAULT, f"ended{code}{again}"
            if now.health == "unhealthy":
                return _FAULT, "is unhealthy"
            is_well = now.health == "healthy" or (not now.health and now.state == "running")
            unwell = unwell if is_well else passed
            if is_well and passed - unwell >= (min(steady, _SETTLING_SECONDS) if now.health else steady):
                silence = probe and tools.probe(probe, tools.engine.addresses(change.new))
                if not silence:
                    return None
            if passed >= limit and silence:
                return _FAULT, f"does not answer {probe}: {silence}"
            if passed >= limit and (now.health not in ("", "healthy") or passed >= limit + steady):
                whose = "changed" if now.state == "paused" else _FAULT
                return whose, f"is still {now.health or now.state} after {span(passed)}"
            if tools.is_ending():
                raise Unfinished("it was not up when dockwarden had to end; the next start goes back")
            tools.sleep(_LOOK_SECONDS)

    def is_undone(self, recipe: Recipe, now: Container | None) -> bool:
        return recipe.parameters.get("phase") != _KEPT

    def give_back(self, tools: Tools, intent: Record) -> Stays | None:
        change, fault = Update(tools.engine, intent.recipe.parameters), intent.recipe.parameters.get("fault")
        change.settle()
        said = change.back()
        return _ended(change, _FAULT, fault or "it was cut short", said) if fault or change.aside() else None

    def goes_on(self, tools: Tools, done: Record) -> bool:
        return not Update(tools.engine, done.recipe.parameters).first.is_in_place()

    def undo(self, tools: Tools, done: Record) -> Applied:
        """The old container again, if it is still there, and those that live in its namespaces."""
        change = Update(tools.engine, done.recipe.parameters)
        if (old := change.first.old()) is None:
            text = f"the old container {change.first.old_name} is gone: undo its removal first"
            raise Stays(Effect.FAILED, "gone", text)
        if taken := [each.name for each in (change.first, *change.joined) if each.stranger() is not None]:
            raise Stays(Effect.REFUSED, "taken", f"another container is called {taken[0]} by now")
        if done.recipe.parameters["was_running"] and (owner := containers.needs_running(tools.engine, old)):
            text = f"it lives in a namespace of {owner}, or is linked to it, which does not run: undo its update first"
            raise Stays(Effect.REFUSED, "stale_namespace", text)
        change.back(keeps=True)
        new = (each.find_new() for each in (change.first, *change.joined) if each.new)
        stays = ", ".join(each.name for each in new if each)
        kept = f"; what new ones wrote stays in {stays}" if stays else ""
        is_of = "runs" if done.recipe.parameters["was_running"] else "is of"
        return Applied("restored", f"it {is_of} {reference.short_id(change.first.image_id)} again{kept}")


def _restart_who_asks(tools: Tools, step: Step, owner: Container, made: set[str]) -> str:
    """Compose may say so of those that depend on it; in words. ``made``: who was made again with it."""
    every = containers.followers(tools, step, owner, containers.others(tools.engine, owner))
    following = [each for each in every if each.id not in tools.due | made]
    following = [each for each in following if not containers.must_stay(tools, step, each)]
    troubles = containers.restarted(tools.engine, "", {each.id: each.started_at for each in following})
    names = [f"{each.name} ({troubles[each.id]})" if each.id in troubles else each.name for each in following]
    return f"; restarted after it: {', '.join(names)}" if names else ""


def _back(tools: Tools, change: Update, reason: str, why: str) -> Stays:
    """Go back, and say so; what fails on the way is tried again later, when the image is at fault all the same."""
    if reason == _FAULT:
        with suppress(errors.LedgerError):
            tools.note({"fault": why})
    try:
        return _ended(change, reason, why, change.back())
    except errors.AnswerError as error:
        raise Unfinished(f"{why}; it could not be taken back: {error}") from error


def _suspected(change: Replacement, error: Exception) -> str:
    """Who is to blame, as far as can be told now, that the engine did not make the new one, or start it."""
    if new := change.find_new():
        is_fault = new.exit_code in _NO_PROGRAM or _NO_USER in str(error)
    else:  # if it was made, somebody removed it; if not, somebody may have removed its image
        is_fault = not change.new and not isinstance(error, errors.NotFoundError) and change.is_made_as_before()
    return _FAULT if is_fault else "engine_error"


def _blamed(suspected: str, why: str, said: str) -> str:
    """Who is, now that the old one runs again. A full disk or quota, or no memory, is no fault of the image.

    What the runtime refused to start is, as the old one, with the same settings, started since.
    """
    is_full = any(os.strerror(number).lower() in f"{why} {said}".lower() for number in (errno.ENOSPC, errno.EDQUOT))
    if is_full or _OF_HOST.search(why.lower()):
        return "engine_error"
    return _FAULT if _OF_RUNTIME in why else suspected


def _ended(change: Update, suspected: str, why: str, said: str) -> Stays:
    """How it ended, now that it was taken back."""
    if aside := change.aside():
        text = f"{why}; somebody made another container of its name, which stays, and the old one as {', '.join(aside)}"
        return Stays(Effect.APPLIED, "replaced", text)
    if not change.first.is_back():
        text = f"{why}; somebody removed or renamed the old container, and what is there stays"
        return Stays(Effect.SKIPPED, "changed", text)
    reason = _blamed(suspected, why, said)
    effect = Effect.SKIPPED if reason == "changed" else Effect.FAILED
    return Stays(effect, reason, f"{why}; the old one is back" + (f"; it said last: {said}" if said else ""))


def _was_stopped(engine: Engine, identifier: str, began_ns: int, passed: float) -> bool:
    """Whether somebody asked the engine to end it, which is no fault of the image; its clock may have been set back."""
    now_ns = engine.now_ns()
    since_ns = min(began_ns, now_ns - int(passed * 1e9))
    return any(each.id == identifier and each.action == "kill" for each in engine.events(since_ns, now_ns))


def _about(container: Container, mark: str) -> dict[str, Any]:
    return {
        "id": container.id,
        "name": container.name,
        "image_ref": container.image_ref,
        "image_id": container.image_id,
        "token": container.id[:4] + mark,
        "was_running": container.running,
        "restart_policy": [container.config.restart_policy, container.config.restart_max],
    }


def _target(tools: Tools, step: Step, container: Container) -> tuple[str, Image | None]:
    """What its tag is at the registry, by digest, if that is to be pulled, else ""; and the image, if it is here."""
    tag = reference.full(container.image_ref)
    source = f"{tag.rpartition(':')[0]}@{served(tools, tag, step.digest)}" if step.options.get("pull") else ""
    return source, tools.image(source or tag)


def _pull(tools: Tools, container: Container, source: str) -> str:
    """Bring the image, give it the tag; its ID."""
    tag = reference.full(container.image_ref)
    old = tools.engine.image(container.image_id)
    new = bring(tools, source, old)
    move(tools, tag, tools.image(tag) or old, source, new)
    return new.id


def _others(engine: Engine, owner: Container) -> Iterator[Container]:
    """But those that an update keeps: undone in the order of the updates, they find what they lived in."""
    return (each for each in containers.others(engine, owner) if each.running or not containers.is_aside(each))


def _joined(engine: Engine, owner: Container) -> list[Container]:
    return containers.following(owner, [*_others(engine, owner)], containers.is_joined)


def _dependents(tools: Tools, step: Step, owner: Container) -> set[str]:
    """The containers that stand on this one and cannot be made again after it, or must not be."""
    found, every = set(), list(_others(tools.engine, owner))
    joined = containers.following(owner, every, containers.is_joined)
    made_again = {key for each in joined for key in (each.id, each.name)}
    family = made_again | {owner.id, owner.name}
    for each in every:
        if peers := family.intersection(tools.engine.peers(each.id)):
            image = tools.image(reference.full(each.image_ref))
            can = image is not None and image.id == each.image_id and each in joined and each.state in _SETTLED
            can = can and made_again.isdisjoint({*peers}.difference(each.lives_in))
            can = can and not containers.is_brief(each) and not containers.must_stay(tools, step, each)
            if not can or (each.running and containers.needs_running(tools.engine, each)):
                found.add(each.name)
    return found

"""container remove: recreated by undo from what the engine says of it. Pure but for its tools."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from itertools import chain
from typing import Any

from dockwarden import reference
from dockwarden.actions.archive import LOST, ArchiveError, or_without
from dockwarden.actions.containers import ContainerVerb
from dockwarden.actions.verb import Applied, Gain, OwnedLosable, Stays, Tools, Why, in_use
from dockwarden.errors import AnswerError, EngineError, MissingError, NotFoundError
from dockwarden.model import JOINED, Candidate, Container, Effect, Kind, Policy, Recipe, Record, Ref, Step

_HALF_GONE = ("removing", "dead")
_NEEDED = "without it could never start again:"
_UP = ("running", "paused", "restarting", "removing")


class ContainerRemove(ContainerVerb):
    name = "remove"
    options = OwnedLosable
    gain = Gain.USAGE

    def keeps(self, policy: Policy, candidate: Candidate, thing: Container, gone_tags: int) -> Why | None:
        """What runs; and what others, that do not go with it, need to start: made again, it is another to them."""
        if thing.running or thing.state in _UP:
            return "running", f"it is {thing.state}"
        return in_use(candidate.users, _NEEDED)

    def check(self, tools: Tools, step: Step, judged: Container, found: Container) -> None:
        super().check(tools, step, judged, found)
        if found.running:
            raise Stays(Effect.REFUSED, "in_use", "it runs")
        for user in step.options.get("after", ()):
            with suppress(NotFoundError):
                raise Stays(Effect.REFUSED, "in_use", f"{_NEEDED} {tools.engine.container(user).name}")

    def recipe(self, tools: Tools, step: Step, found: Container) -> Recipe:
        """What makes it again, with what it wrote."""
        # An engine may have taken files of it, but not ended its removal: the record of that has them.
        known = tools.archive.intents.undoable() if found.state in _HALF_GONE else ()
        if any((done.ref.key, done.action) == (found.id, self.name) for done in known):
            return Recipe("none", {"state": found.state})
        sure = (mount for mount in found.mounts if mount.image_id and not mount.may_be_another)
        about = {"state": found.state, "mounted": {mount.name: mount.image_id for mount in sure}}
        parameters = {**tools.engine.parameters(Ref(Kind.CONTAINER, found.id)), **about}
        with or_without(parameters):
            if tools.image(found.image_id) is None:
                raise ArchiveError(f"its image {found.image_ref} is gone, and without it nothing makes it again")
            for mount in found.mounts:
                if mount.type == "image" and (mount.may_be_another or not mount.image_id):
                    text = "which is gone, or given that name since it was created: nobody tells which one it has"
                    raise ArchiveError(f"it mounts the image {mount.name}, {text}")
            gone = (called for called, name in parameters.get("peers", {}).items() if not name)
            for called in (each for each in gone if found.network_mode != f"{JOINED}{each}"):
                raise ArchiveError(f"it needs the container {called}, which is gone")
            paths, deleted = told = tools.engine.written(found.id)
            # A containerd store tells anything, also nothing, of a container whose files somebody else reads just now.
            if not tools.archive.is_rehearsed and tools.engine.written(found.id) != told:
                raise Stays(Effect.SKIPPED, "changed", "what it wrote is told differently each time: somebody reads it")
            if deleted:
                raise ArchiveError(f"it deleted {len(deleted)} files of its image, such as {deleted[0]}")
            if not paths:
                return Recipe("create", parameters)
            if found.config.read_only:
                raise ArchiveError(f"it is read-only, so what it wrote could not be put back, such as {paths[0]}")
            kept = tools.archive.write(lambda write: tools.engine.save_files(found.id, paths, write), 0)
        return Recipe("fill", parameters, *kept)

    def act(self, tools: Tools, step: Step, found: Container) -> Applied:
        tools.engine.remove_container(found.id)
        return Applied("removed")

    def is_undone(self, recipe: Recipe, now: Container | None) -> bool:
        """Not if the engine could not end it, as where a device is busy: files of it are gone."""
        return now is not None and (now.state not in _HALF_GONE or recipe.parameters.get("state") == now.state)

    def finish(self, tools: Tools, key: str) -> Applied:
        with suppress(AnswerError):  # it is gone, or something of it is busy: its undo tries again
            tools.engine.remove_container(key)
        return super().finish(tools, key)

    def undo(self, tools: Tools, done: Record) -> Applied:
        """Make it from its own image, and with those that it mounts, and put back what it wrote."""
        about = deepcopy(dict(done.recipe.parameters))
        about["body"]["Image"] = _by_now(tools, about["image_ref"], about["image_id"])
        for mount in about["body"].get("HostConfig", {}).get("Mounts") or ():  # without what comes with `VolumesFrom`
            if mount["Type"] == "image" and (wanted := about.get("mounted", {}).get(mount["Source"])):
                mount["Source"] = _by_now(tools, mount["Source"], wanted)
        chunks = tools.archive.read(done.recipe) if done.recipe.archive else iter(())
        first = next(chunks, b"")  # now it is known to be whole
        new = _left_over(tools, about, done.ref.key) or tools.engine.create(Kind.CONTAINER, about)
        told = f"its ID is {reference.short_id(new)} now, and it is not started"
        if first:
            _fill(tools, new, chain((first,), chunks))
        elif LOST in about:
            told += f"; what it wrote is lost: {about[LOST]}"
        return Applied("restored", told)


def _by_now(tools: Tools, name: str, wanted: str) -> str:
    """What names this very image now: its tag may name another one."""
    if (named := tools.image(name)) is not None and named.id == wanted:
        return name
    if tools.image(wanted) is None:
        raise MissingError(Kind.IMAGE, name, wanted)
    return wanted


def _fill(tools: Tools, new: str, chunks: Iterator[bytes]) -> None:
    try:
        tools.engine.put_files(new, chunks)
    except (ArchiveError, EngineError):  # half of one is none; where this fails as well, the next try goes on
        with suppress(EngineError):
            tools.engine.remove_container(new)
        raise


def _left_over(tools: Tools, about: Mapping[str, Any], was: str) -> str:
    """The ID of what an earlier try made: exactly this, and it never ran; half of it, without networks, is removed.

    So is what an engine that was ended amid its removal left of the container that it ``was``.
    """
    try:
        found = tools.engine.container(about["name"])
        if found.id == was and found.state == "dead":
            tools.engine.remove_container(was)
            return ""
        same = tools.engine.parameters(Ref(Kind.CONTAINER, found.id))
    except NotFoundError:
        return ""
    if found.state != "created" or any(same[key] != about[key] for key in ("name", "image_id", "body")):
        return ""
    if same["endpoints"].keys() >= about["endpoints"].keys():
        return found.id
    tools.engine.remove_container(found.id)
    return ""

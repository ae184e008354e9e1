"""A container in the place of another, and the way back: what an update does to the engine. Pure but for the engine.

Input: the record of an update, as its recipe has it. Output: new containers under the names of old ones, which are kept
whole beside them; or the old ones as they were. Out of bounds: deciding, waiting. Every step looks first at what is
there, so each can be taken again, whatever cut it off.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from dockwarden import reference
from dockwarden.actions.containers import ASIDE
from dockwarden.actions.pulling import leave, move_back
from dockwarden.actions.verb import Stays, refuse_change
from dockwarden.errors import AnswerError, ConflictError, EngineError, NotFoundError
from dockwarden.model import Container, Effect, Kind, Ref
from dockwarden.ports import Engine
from dockwarden.text import counted, printable

_LOG_LINES = 20
_LOG_CHARACTERS = 1000
_NANO = 1e9
_STOPS = 5
_LOOKS, _LOOK_NS = 4, 900_000_000
_MAKING_SECONDS = 3600.0  # longer than any update takes from making the new one to starting it
_UP = ("running", "restarting", "paused")
_OF_IMAGES = {
    "Entrypoint": "entrypoint", "Cmd": "command", "Env": "environment", "Labels": "labels", "User": "user",
    "WorkingDir": "working directory", "Volumes": "volumes", "ExposedPorts": "ports", "StopSignal": "stop signal",
    "Healthcheck": "health check",
}  # fmt: skip


class Update:
    """An update under way, with those that live in the namespaces of the container."""

    def __init__(self, engine: Engine, about: Mapping[str, Any]) -> None:
        self._engine, self._about = engine, about
        self.first = Replacement(engine, about)
        self.joined = [Replacement(engine, each) for each in about.get("joined", ())]

    def make(self) -> None:
        """The new containers, which run not yet. What the engine refuses costs nothing."""
        self.first.make()
        moved: dict[str, str] = {}
        for before, each in pairwise((self.first, *self.joined)):
            moved |= {before.old_id: before.new, before.name: before.new}
            each.make(moved)

    def made(self) -> dict[str, Any]:
        before = self._about.get("joined", ())
        joined = [{**about, **each.made()} for about, each in zip(before, self.joined, strict=True)]
        return {**self.first.made(), "joined": joined}

    def refuse_change(self) -> None:
        """Raises Stays if somebody started, stopped or renamed an old one meanwhile."""
        for each in (self.first, *self.joined):
            each.refuse_change()

    def swap(self) -> None:
        """The first alone; the others stop before it, each before that in which it lives, as it is dead without."""
        for each in reversed(self.joined):
            each.stop()
        self.first.swap()

    def follow(self) -> None:
        """The others, when the first is well."""
        for each in self.joined:
            each.swap()

    def aside(self) -> list[str]:
        """The old ones that could not have their names again, as somebody has them."""
        every = [(each.old_name, each.old()) for each in (self.first, *self.joined)]
        return [name for name, old in every if old and old.name == name]

    def settle(self) -> None:
        """Wait a little for what the engine may still be at: a creation of which nobody wrote down the answer."""
        for _ in range(_LOOKS):
            if self.first.new or all(each.find_new() for each in (self.first, *self.joined)):
                return
            _wait(self._engine)

    def back(self, *, keeps: bool = False) -> str:
        """As it was before; gives what the new one said last. ``keeps``: new ones that wrote something stay."""
        is_new_start = not self.first.serves()
        said = self.first.back(keeps=keeps)
        for each in self.joined:
            was_up = each.serves()
            try:
                each.back(keeps=keeps)
                if was_up and is_new_start:
                    self._engine.restart_container(each.old_id, None)  # it lives in what was started anew
            except AnswerError:  # none can run in the namespaces of one that has to stand aside
                if not self.aside():
                    raise
        self.give_up_image()
        return said

    def give_up_image(self) -> None:
        """Its tag names the image before, and what was pulled goes, unless somebody uses it."""
        if source := self._about.get("from"):
            tag = reference.full(self._about["image_ref"])
            move_back(self._engine, tag, self._about["tag_was"], self.first.new_image)
            if not self._about["was_here"]:
                leave(self._engine, source)


class Replacement:
    def __init__(self, engine: Engine, about: Mapping[str, Any]) -> None:
        self._engine, self._about = engine, about
        self.old_id: str = about["id"]
        self.name, self.image_id, self.new_image = about["name"], about["image_id"], about.get("new_image_id", "")
        self.new: str = about.get("new", "")
        self._volumes: Iterable[str] = about.get("volumes", ())
        self.old_name = f"{self.name}.{ASIDE}{about['token']}.old"
        self.new_name = f"{self.name}.{ASIDE}{about['token']}.new"
        self.start_period_seconds = 0.0
        self._may_be_stopped = bool(self.new)  # which was written down before

    def old(self) -> Container | None:
        return self._find(self.old_id) or self._find(self.old_name)

    def serves(self) -> bool:
        old = self.old()
        return old is not None and old.running

    def is_back(self) -> bool:
        old = self.old()
        return old is not None and old.name == self.name

    def is_in_place(self) -> bool:
        """Whether the new one is as an update leaves it."""
        new, as_before = self.find_new(), (self.name, self._about["was_running"], self._about["restart_policy"][0])
        return new is not None and (new.name, new.running, new.config.restart_policy) == as_before

    def is_made_as_before(self) -> bool:
        """Whether the engine makes one like this from the image before, which goes on the way back."""
        with suppress(AnswerError):
            parameters = self._engine.renewal(self.old_id, self.image_id)
            like_old = {**parameters["body"], "Image": self.image_id}
            self.new = self._engine.create(Kind.CONTAINER, {**parameters, "name": self.new_name, "body": like_old})
            return True
        return False

    def is_left_over(self) -> bool:
        """Whether the new one is nobody's: the engine was slow to make it, for an update that was cut short."""
        new = self.find_new()
        made_at = new.created_at if new and new.state == "created" else None
        return made_at is not None and self._engine.now_ns() / _NANO - made_at > _MAKING_SECONDS

    def find_new(self) -> Container | None:
        return self._find(self.new) or self._find(self.new_name)

    def make(self, moved: Mapping[str, str] | None = None) -> None:
        """The new container, which runs not yet. ``moved``: by ID and name of another, the one in its place."""
        image_id = self.new_image or self.image_id
        parameters = self._engine.renewal(self.old_id, image_id)
        self.new = self._engine.create(Kind.CONTAINER, {**parameters, "name": self.new_name, "moved": moved or {}})
        made = self._engine.container(self.new)
        self._volumes = self._made_for(made)
        self._engine.carry(self.old_id, self.new)
        if made.image_id != image_id:
            raise Stays(Effect.SKIPPED, "changed", f"{self._about['image_ref']} names another image now")
        check = self._engine.parameters(Ref(Kind.CONTAINER, self.new))["body"].get("Healthcheck") or {}
        self.start_period_seconds = (check.get("StartPeriod") or 0) / _NANO

    def asked(self) -> list[str]:
        """What somebody set that an image sets as well."""
        body = self._engine.renewal(self.old_id, self.new_image)["body"]
        return [words for key, words in _OF_IMAGES.items() if body.get(key)]

    def leaves(self) -> str:
        """What the old one wrote into its own files, which stays behind."""
        with suppress(EngineError):
            if left := self._wrote(self.old_id):
                return f"; what it wrote stays in the old one: {counted(len(left), 'file')}, such as {left[0]}"
        return ""

    def _wrote(self, identifier: str) -> list[str]:
        """The paths that it wrote outside of volumes, without what somebody put there before it was started.

        Nor folders above them, and above what is mounted, which the engine makes.
        """
        paths, placed = self._engine.written(identifier).paths, self._engine.carry(identifier)
        mounted = [mount.destination for mount in self._engine.container(identifier).mounts]
        folders = {str(each) for path in (*paths, *mounted) for each in PurePosixPath(path).parents}
        return sorted({*paths} - {*placed} - folders)

    def made(self) -> dict[str, Any]:
        return {"new": self.new, "volumes": [*self._volumes]}

    def refuse_change(self) -> None:
        """Raises Stays if somebody started, stopped or renamed the old one meanwhile."""
        now = self._engine.container(self.old_id)
        refuse_change(unless=(now.running, now.name) == (self._about["was_running"], self.name))

    def stop(self) -> None:
        """The old one, if it runs."""
        self._may_be_stopped = True
        if self._about["was_running"]:
            self._end(self.old_id, for_good=False)

    def swap(self) -> None:
        """Stop the old one, give the new one its name, start it. Never may the engine start both."""
        self.stop()
        self._engine.rename_container(self.old_id, self.old_name)
        self._engine.rename_container(self.new, self.name)
        self._end(self.old_id)  # somebody may have started it meanwhile, while it had its name
        if self._about["was_running"]:
            self._engine.start_container(self.new, self.old_id)

    def stranger(self) -> Container | None:
        """The container of somebody else that has its name."""
        found, ours = self._find(self.name), (self.old(), self.find_new())
        return None if found is None or any(each and each.id == found.id for each in ours) else found

    def back(self, *, keeps: bool = False) -> str:
        """The old one under its name, as it was before, and the new one gone; gives what that said last.

        Where somebody removed the old one, the new one stays; where somebody made another one of this name that runs,
        that serves, and neither of ours does. The volumes that came with the new one go with it. ``keeps``: what wrote
        files of its own, or may have written into such a volume, stays under another name.
        """
        old, new, stranger = self.old(), self.find_new(), self.stranger()
        serving = None if stranger is not None and stranger.running else old or new
        is_new_serving = new is not None and new is serving
        volumes, said, deeds = self._volumes, "", list[Callable[[], object]]()
        if new is not None and not is_new_serving:
            volumes = volumes or self._made_for(new)
            said, deeds = self._let_go(new, keeps=keeps, had_volumes=bool(volumes))  # first: the disk may be full
        if serving is None and old is not None:
            self._end(old.id)
        elif serving is not None and self._may_be_stopped:  # else what somebody did to it is none of ours
            deeds += self._to_serve(serving)
        if not (is_new_serving or keeps):
            deeds += [partial(self._remove_volume, name) for name in volumes]
        _each(deeds)
        return said

    def _let_go(self, new: Container, *, keeps: bool, had_volumes: bool) -> tuple[str, list[Callable[[], object]]]:
        """End the new one; gives what it said last, and what takes it out of the way, or its name where it stays."""
        if new.state in _UP:
            self._end_at_all(new.id)
        if keeps and (had_volumes or self._wrote(new.id)):
            kept_name = f"{self.name}.{ASIDE}{new.id[:8]}.new"  # not the one that the next update from its image takes
            return "", [partial(self._engine.rename_container, new.id, kept_name)] if new.name == self.name else []
        said = ""
        with suppress(NotFoundError):
            said = printable(" ".join(self._engine.last_lines(new.id, _LOG_LINES)), _LOG_CHARACTERS)
        return said, [partial(self._remove, new.id)]

    def _remove(self, identifier: str) -> None:
        """Also one that somebody else removes just now, which has its name until that is done."""
        for left in reversed(range(_LOOKS)):
            try:
                with suppress(NotFoundError):
                    self._engine.remove_container(identifier)
                return
            except ConflictError:
                if not left:
                    raise
                _wait(self._engine)

    def _made_for(self, new: Container) -> list[str]:
        """The volumes that the engine made up with it: those of nobody from whom it has any."""
        with suppress(NotFoundError):
            sharing = (self.old_id, *self._engine.peers(new.id))
            theirs = {mount.name for each in sharing for mount in self._engine.container(each).mounts}
            volumes = (mount.name for mount in new.mounts if mount.type == "volume" and mount.name not in theirs)
            return [name for name in volumes if self._engine.volume(name).anonymous]
        return []

    def _remove_volume(self, name: str) -> None:
        with suppress(NotFoundError, ConflictError):
            self._engine.remove_volume(name)

    def _to_serve(self, container: Container) -> Iterator[Callable[[], object]]:
        """Let it have the name and run as before."""
        engine, (policy, times) = self._engine, self._about["restart_policy"]
        if container.name != self.name:
            yield partial(engine.rename_container, container.id, self.name)
        if container.config.restart_policy != policy:
            yield partial(engine.set_restart_policy, container.id, policy, times)
        if self._about["was_running"] and not container.running:
            yield partial(engine.start_container, container.id)

    def _end(self, identifier: str, *, for_good: bool = True) -> None:
        """Stop one that may end and be started again by the engine at this very moment, which one stop may miss."""
        engine = self._engine
        fence = [partial(engine.set_restart_policy, identifier, "no", 0)] if for_good else []
        for left in reversed(range(_STOPS)):
            try:
                _each([*fence, partial(engine.stop_container, identifier)])
                if engine.container(identifier).state not in _UP:
                    return
            except NotFoundError:
                raise
            except AnswerError:
                if not left:
                    raise

    def _end_at_all(self, identifier: str) -> None:
        """Also where the engine can write nothing down."""
        try:
            self._end(identifier)
        except EngineError:
            if self._engine.container(identifier).state in _UP:
                raise

    def _find(self, key: str) -> Container | None:
        try:
            found = self._engine.container(key) if key else None
        except NotFoundError:
            return None
        # A name may be somebody else's; what has an ID of ours or a name that only we make up is ours.
        return found if found and key in (found.id, found.name) else None


def _wait(engine: Engine) -> None:
    now_ns = engine.now_ns()
    deque(engine.events(now_ns, now_ns + _LOOK_NS), maxlen=0)


def _each(deeds: Iterable[Callable[[], object]]) -> None:
    """All, though one fails: on a full disk a container may start and not be renamed. Raises the first error."""
    first: AnswerError | None = None
    for deed in deeds:
        try:
            deed()
        except AnswerError as error:
            first = first or error
    if first:
        raise first

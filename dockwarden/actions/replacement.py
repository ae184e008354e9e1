"""A container in the place of another, and the way back: what an update does to the engine. Pure but for the engine.

Input: the record of an update, as its recipe has it. Output: new containers under the names of old ones, which are kept
whole beside them; or the old ones as they were. Out of bounds: deciding, waiting. Every step looks first at what is
there, so each can be taken again, whatever cut it off.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dockwarden import reference
from dockwarden.actions.containers import ASIDE
from dockwarden.actions.pulling import leave, move_back
from dockwarden.actions.verb import Stays
from dockwarden.errors import ConflictError, EngineError, EngineUnavailableError, NotFoundError
from dockwarden.model import Container, Effect, Kind, Ref
from dockwarden.ports import Engine
from dockwarden.text import printable

_LOG_LINES = 20
_LOG_CHARACTERS = 1000
_NANO = 1e9
_STOPS = 5
_UP = ("running", "restarting", "paused")


class Update:
    """An update under way, with those that live in the namespaces of the container."""

    def __init__(self, engine: Engine, about: Mapping[str, Any]) -> None:
        self._engine, self._about = engine, about
        self.first = Replacement(engine, about)
        self.joined = [Replacement(engine, each) for each in about.get("joined", ())]

    def make(self) -> None:
        """The new containers, which run not yet. What the engine refuses costs nothing."""
        self.first.make()
        self._moved = {self._about["id"]: self.first.new, self._about["name"]: self.first.new}
        for each in self.joined:
            each.make(self._moved)

    def made(self) -> dict[str, Any]:
        """What is to be written down of them."""
        before = self._about.get("joined", ())
        joined = [{**about, "new": each.new} for about, each in zip(before, self.joined, strict=True)]
        return {"new": self.first.new, "joined": joined}

    def swap(self) -> None:
        """The first alone; the others stop before it, as they are dead without it."""
        for each in self.joined:
            each.stop()
        self.first.swap()

    def follow(self) -> None:
        """The others, when the first is well."""
        for each in self.joined:
            each.swap()

    def back(self, *, keeps: bool = False) -> str:
        """As it was before; gives what the new one said last. ``keeps``: new ones that wrote something stay."""
        is_new_start = not self.first.serves()
        said = self.first.back(keeps=keeps)
        for each in self.joined:
            was_up = each.serves()
            each.back(keeps=keeps)
            if was_up and is_new_start:
                each.restart()
        if source := self._about.get("from"):
            tag = reference.full(self._about["image_ref"])
            move_back(self._engine, tag, self._about["tag_was"], self.first.new_image)
            if not self._about["was_here"]:
                leave(self._engine, source)
        return said


class Replacement:
    """One update under way; every step looks first at what is there."""

    def __init__(self, engine: Engine, about: Mapping[str, Any]) -> None:
        self._engine = engine
        self._about = about
        self._name: str = about["name"]
        self._old_id: str = about["id"]
        self.name, self.image_id, self.new_image = self._name, about["image_id"], about.get("new_image_id", "")
        self.new: str = about.get("new", "")
        self.old_name = f"{self._name}.{ASIDE}{about['token']}.old"
        self.new_name = f"{self._name}.{ASIDE}{about['token']}.new"
        self.start_period_seconds = 0.0

    def old(self) -> Container | None:
        """The old container, also if it was removed and made again meanwhile."""
        return self._find(self._old_id) or self._find(self.old_name)

    def serves(self) -> bool:
        """Whether the old one runs."""
        old = self.old()
        return old is not None and old.running

    def find_new(self) -> Container | None:
        """The new container."""
        return self._find(self.new) or self._find(self.new_name)

    def make(self, moved: Mapping[str, str] | None = None) -> None:
        """The new container, which runs not yet. ``moved``: by ID and name of another, the one in its place."""
        image_id = self.new_image or self.image_id
        parameters = self._engine.renewal(self._old_id, image_id)
        self.new = self._engine.create(Kind.CONTAINER, {**parameters, "name": self.new_name, "moved": moved or {}})
        if self._engine.container(self.new).image_id != image_id:
            raise Stays(Effect.SKIPPED, "changed", f"{self._about['image_ref']} names another image now")
        check = self._engine.parameters(Ref(Kind.CONTAINER, self.new))["body"].get("Healthcheck") or {}
        self.start_period_seconds = (check.get("StartPeriod") or 0) / _NANO

    def stop(self) -> None:
        """The old one, if it runs."""
        if self._about["was_running"]:
            self._engine.stop_container(self._old_id)

    def restart(self) -> None:
        """The old one, which lives in what was started anew."""
        self._engine.restart_container(self._old_id, None)

    def swap(self) -> None:
        """Stop the old one, give the new one its name, start it. Never may the engine start both."""
        engine = self._engine
        self.stop()
        engine.rename_container(self._old_id, self.old_name)
        engine.rename_container(self.new, self._name)
        if self._about["was_running"]:
            engine.set_restart_policy(self._old_id, "no", 0)
            engine.stop_container(self._old_id)  # somebody may have started it meanwhile, while it had its name
            engine.start_container(self.new)

    def back(self, *, keeps: bool = False) -> str:
        """The old one under its name, as it was before, and the new one gone; gives what that said last.

        ``keeps``: what wrote files of its own stays under another name.
        """
        engine, said = self._engine, ""
        old, new = self.old(), self.find_new()
        if old is None:  # somebody removed it: what there is goes on
            self._go_on_with(new)
            return said
        if new is not None:
            if new.state in _UP:
                self._end(new.id)
            if new.name == self._name:
                engine.rename_container(new.id, self.new_name)
        taken = self._take_back_the_name(old)
        policy, times = self._about["restart_policy"]
        if old.config.restart_policy != policy:
            engine.set_restart_policy(old.id, policy, times)
        if self._about["was_running"] and not engine.container(old.id).running:
            engine.start_container(old.id)
        if taken:
            raise taken
        if new is not None and not (keeps and engine.written(new.id).paths):
            with suppress(NotFoundError):
                said = printable(" ".join(engine.last_lines(new.id, _LOG_LINES)), _LOG_CHARACTERS)
                engine.remove_container(new.id)
        return said

    def _end(self, identifier: str) -> None:
        """Stop one that may end and be started again by the engine at this very moment, which one stop may miss."""
        engine = self._engine
        for left in reversed(range(_STOPS)):
            try:
                engine.set_restart_policy(identifier, "no", 0)
                engine.stop_container(identifier)
            except (EngineUnavailableError, NotFoundError):
                raise
            except EngineError:
                if not left:
                    raise
            if engine.container(identifier).state not in _UP:
                return

    def _take_back_the_name(self, old: Container) -> ConflictError | None:
        """A stranger's container may have it by now; then the old one at least runs."""
        try:
            if old.name != self._name:
                self._engine.rename_container(old.id, self._name)
        except ConflictError as error:
            return error
        return None

    def _go_on_with(self, new: Container | None) -> None:
        if new is None:
            return
        if new.name != self._name:
            self._engine.rename_container(new.id, self._name)
        if self._about["was_running"] and not new.running:
            self._engine.start_container(new.id)

    def _find(self, key: str) -> Container | None:
        try:
            found = self._engine.container(key) if key else None
        except NotFoundError:
            return None
        # A name may be somebody else's; what has an ID of ours or a name that only we make up is ours.
        return found if found and key in (found.id, found.name) else None

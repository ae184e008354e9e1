"""Deeds of several requests: whichever of them fails, in whichever way, nothing is lost and the next try ends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from dockwarden.actions.archive import Archive, ArchiveError
from dockwarden.actions.execute import Executor, end_intents
from dockwarden.actions.table import VERBS
from dockwarden.actions.undo import Undoer
from dockwarden.actions.verb import ENDING, Tools
from dockwarden.errors import AnswerError, EngineError, EngineUnavailableError
from dockwarden.model import Effect, ImageStore, Kind, Record, Ref, Step
from tests.builders import a_container, a_network, a_volume, an_image, digest_of
from tests.fakes import FakeEngine, FakeIntents, FakeRegistry, Ground
from tests.faults import Faulty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dockwarden.model import Volume
    from dockwarden.ports import Engine

PARTS = ("web", "app:2", "pulled", "built", "data", "front", "back")


class Files:
    """The files of the volumes of an engine, as ``contents`` has them; they go with their volume."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.of = {"data": b"precious"}
        self.marks: set[tuple[str, str]] = set()

    def there(self) -> dict[str, bytes]:
        here = {volume.name for volume in self._engine._volumes.values()}
        self.of = {name: files for name, files in self.of.items() if name in here}
        return self.of

    def is_elsewhere(self, parameters: Mapping[str, Any]) -> bool:
        return False

    def mounted(self, parameters: Mapping[str, Any]) -> str:
        return ""

    def leads_to(self, parameters: Mapping[str, Any]) -> str:
        return ""

    def folder_of(self, parameters: Mapping[str, Any], volume: Volume) -> Path:
        return Path(volume.name)

    def survey(self, folder: Path) -> tuple[int, dict[str, int]]:
        return len(self.of[folder.name]), {"birth": id(self._engine._volumes[folder.name]), "written_ns": 1}

    def export(self, folder: Path, write: Callable[[bytes], object]) -> None:
        write(self.of[folder.name])

    def is_empty(self, folder: Path) -> bool:
        return not self.there().get(folder.name)

    def is_rest(self, folder: Path, mark: str, known: Mapping[str, Any]) -> bool:
        return (folder.name, mark) in self.marks or self.survey(folder)[1].items() <= known.items()

    def holds(self, folder: Path, chunks: Iterable[bytes]) -> bool:
        return self.of[folder.name] == b"".join(chunks)

    def restore(self, folder: Path, chunks: Iterable[bytes], mark: str) -> None:
        self.marks.add((folder.name, mark))
        self.of[folder.name] = b"half"
        self.of[folder.name] = b"".join(chunks)
        self.marks.discard((folder.name, mark))


class World:
    """One of everything that a verb takes away in several requests, and who takes it away and brings it back."""

    def __init__(self, store: ImageStore, folder: Path) -> None:
        self.engine = FakeEngine(store)
        self.intents = FakeIntents()
        self.files = Files(self.engine)
        self.registry = FakeRegistry()
        self.archive = Ground(folder, self.engine).archive(self.intents)
        pulled = an_image("pulled", "h.io/pulled:1", "pulled:1", digests=(digest_of("h.io/pulled", "pulled"),))
        self.registry.digests[pulled.digests[0]] = pulled.digests[0].partition("@")[2]
        self.engine.served[pulled.digests[0]] = pulled
        self.engine.put(an_image("app", "app:1", "app:2"), pulled, an_image("built", "built:1", "built:2", "other:1"))
        self.engine.add_volume(a_volume("data"))
        for name in ("front", "back"):
            self.engine.add_network(a_network(name))
        self.engine.run(replace(a_container("web", "app:1", running=False), networks=("front", "back")))

    def state(self) -> tuple[object, ...]:
        """What is there, but for IDs and times that the engine makes up."""
        engine = self.engine
        containers = {each.name: (each.image_id, set(each.networks)) for each in engine._containers.values()}
        networks = {each.name for each in engine._networks.values()}
        return {i.id: i.tags for i in engine.images()}, containers, dict(self.files.there()), networks

    def steps(self) -> list[Step]:
        """The removal of everything that is still there but one image and one of its names."""
        found: list[Step] = []
        for kind, keys in (
            (Kind.CONTAINER, list(self.engine._containers)),
            (Kind.TAG, ["docker.io/library/app:2"]),
            (Kind.IMAGE, [i.id for i in self.engine.images() if "docker.io/library/app:1" not in i.tags]),
            (Kind.VOLUME, list(self.engine._volumes)),
            (Kind.NETWORK, list(self.engine._networks)),
        ):
            verb = VERBS[kind, "untag" if kind is Kind.TAG else "remove"]
            for key in keys:
                ref = Ref(kind, key)
                if kind is not Kind.TAG or key in self.engine._names:
                    thing = verb.find(cast("Engine", self.engine), key)
                    found.append(Step("test", verb.name, ref, key, thing, "it is old"))
        return found

    def tools(self, faulty: Faulty) -> Tools:
        files = faulty.part(self.files, ArchiveError)
        return Tools(faulty.part(self.engine), self.registry, self.archive, files, self.engine.store)

    def remove(self, faulty: Faulty) -> None:
        list(Executor(self.tools(faulty), self.intents).run("run", self.steps()))

    def undo(self, faulty: Faulty) -> list[Effect]:
        self.files.there()
        return [outcome.effect for outcome in Undoer(self.tools(faulty), self.intents).undo("undo", self.done())]

    def done(self) -> list[Record]:
        return self.intents.undoable()


def never() -> Faulty:
    return Faulty(0, AnswerError, is_done=False)


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [AnswerError, EngineUnavailableError])
@pytest.mark.parametrize("store", list(ImageStore))
def test_whichever_request_of_a_removal_fails_nothing_is_half_gone_and_all_can_be_undone(
    tmp_path: Path, store: ImageStore, error: type[EngineError], *, is_done: bool
) -> None:
    at, has_failed = 0, True
    while has_failed:
        at += 1
        world = World(store, tmp_path / str(at))
        before, faulty = world.state(), Faulty(at, error, is_done=is_done)
        world.remove(faulty)
        has_failed = faulty.calls >= at
        end_intents(world.tools(never()), world.intents)
        assert world.intents.open() == []
        names = dict(cast("dict[str, tuple[str, ...]]", before[0]))
        for image, tags in cast("dict[str, tuple[str, ...]]", world.state()[0]).items():
            assert tags == names[image] or image == world.engine.image("app:1").id, f"request {at}"
        world.remove(never())
        assert world.steps() == [], f"request {at}"
        world.undo(never())
        assert (world.done(), world.state()) == ([], before), f"request {at}"
    assert at > len(PARTS)


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [AnswerError, EngineUnavailableError])
@pytest.mark.parametrize("store", list(ImageStore))
def test_whichever_request_of_an_undo_fails_the_next_try_ends_it(
    tmp_path: Path, store: ImageStore, error: type[EngineError], *, is_done: bool
) -> None:
    at, has_failed = 0, True
    while has_failed:
        at += 1
        world = World(store, tmp_path / str(at))
        before = world.state()
        world.remove(never())
        faulty = Faulty(at, error, is_done=is_done)
        first = world.undo(faulty)
        has_failed = faulty.calls >= at
        assert first.count(Effect.APPLIED) < len(PARTS) or world.state() == before, f"request {at}"
        for _ in range(2):  # what stands on what failed may need one more
            world.undo(never())
        assert (world.done(), world.state()) == ([], before), f"request {at}"
        marked = any(image.markers for image in world.engine.images())  # else the next list of everything takes it off
        assert not marked or first.count(Effect.APPLIED) == len(PARTS), f"request {at}"
        assert world.intents.archives == {}, f"request {at}"
    assert at > len(PARTS)


def test_a_volume_that_is_filled_as_the_process_ends_is_filled_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(ImageStore.GRAPH, tmp_path)
    step = next(step for step in world.steps() if step.ref.kind is Kind.VOLUME)

    def cut_short(_: str) -> None:
        world.files.of["data"] = b"rest"
        raise EngineUnavailableError("it hung up")

    def end() -> None:
        raise ENDING

    monkeypatch.setattr(world.engine, "remove_volume", cut_short)
    monkeypatch.setattr(world.engine, "users_of", lambda *_: [])
    list(Executor(world.tools(never()), world.intents).run("run", [step]))
    whole = world.archive
    world.archive = Archive(tmp_path / "archives", world.intents, max_bytes=9, reserve_bytes=0, progress=end)
    assert end_intents(world.tools(never()), world.intents) == []
    assert world.files.of["data"] == b"half"
    world.archive = whole
    assert [outcome.reason for outcome in end_intents(world.tools(never()), world.intents)] == ["interrupted"]
    assert (world.files.of["data"], world.intents.open()) == (b"precious", [])

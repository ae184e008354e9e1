"""Undoing: what was removed comes back by its recipe, in an order that works, and nothing that exists is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dockwarden.actions.archive import ArchiveError
from dockwarden.actions.execute import end_intents
from dockwarden.actions.undo import Undoer
from dockwarden.errors import AnswerError, DeniedError, EngineUnavailableError
from dockwarden.model import (
    Container,
    Effect,
    Image,
    ImageDetails,
    ImageStore,
    Kind,
    Network,
    Outcome,
    Record,
    Ref,
    Step,
    Volume,
)
from dockwarden.ports import Ask, Entry, Reply, Written
from tests.builders import UNLIMITED, a_container, a_network, a_step, a_volume, an_image, details, digest_of, image_id
from tests.fakes import FakeEngine, FakeIntents, FakeRegistry, Ground

if TYPE_CHECKING:
    from pathlib import Path


class Bench:
    """An engine, a registry, a ledger, and what was removed."""

    def __init__(self, store: ImageStore, folder: Path) -> None:
        self.engine = FakeEngine(store)
        self.intents = FakeIntents()
        self.registry = FakeRegistry()
        self.ground = Ground(folder, self.engine, self.registry)

    def put(self, word: str, *tags: str, digests: tuple[str, ...] = (), inspected: ImageDetails | None = None) -> Image:
        image = an_image(word, *tags, digests=digests, inspected=inspected)
        self.engine.put(image)
        return self.engine.image(image.id)

    def serve(self, name: str, image: Image) -> None:
        """The registry has it."""
        self.registry.digests[name] = name.partition("@")[2]
        self.engine.served[name] = image

    def remove(self, *steps: Step) -> list[tuple[str, str]]:
        outcomes = self.ground.executor(self.intents)(self.engine.info).run("run-1", steps)
        return [(outcome.effect.value, outcome.reason) for outcome in outcomes]

    def done(self) -> list[Record]:
        return self.intents.undoable()

    def undo(self) -> list[Outcome]:
        return list(Undoer(self.ground.tools(self.intents), self.intents).undo("undo-1", self.done()))

    def methods(self) -> list[str]:
        return [recipe.method for recipe in self.intents.recipes.values()]


@pytest.fixture(params=list(ImageStore))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(request.param, tmp_path)


def step(thing: Container | Network | Volume, action: str = "remove") -> Step:
    kind = {"Container": Kind.CONTAINER, "Network": Kind.NETWORK, "Volume": Kind.VOLUME}[type(thing).__name__]
    return Step("old", action, Ref(kind, getattr(thing, "id", thing.name)), thing.name, thing, "it is old")


def results(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.effect.value, outcome.reason) for outcome in outcomes]


def test_an_image_that_a_registry_serves_is_pulled(bench: Bench) -> None:
    digest = digest_of("h.io/app", "app")
    image = bench.put("app", "h.io/app:1", "h.io/app:2", digests=(digest,))
    bench.serve(digest, image)
    bench.registry.logins["h.io"] = {"username": "me"}
    assert bench.remove(a_step(image)) == [("applied", "removed")]
    assert bench.methods() == ["pull"]
    assert results(bench.undo()) == [("applied", "restored")]
    assert (bench.engine.image("h.io/app:1").id, bench.engine.image(image.id).tags) == (image.id, image.tags)


def test_the_entries_of_an_index_are_asked_for_only_where_one_of_them_is_the_image(bench: Bench) -> None:
    """A graph store calls it by its configuration; a containerd store by the index, and registries count questions."""
    is_graph = bench.engine.store is ImageStore.GRAPH
    name = digest_of("h.io/app", "index" if is_graph else "app")
    image = bench.put("app", "h.io/app:1", digests=(name,))
    bench.serve(name, image)
    repository, entry = name.partition("@")[0], image_id("entry")
    bench.registry.manifests[name] = Reply(entries=(Entry(entry, "linux", "arm", "v6"),))
    bench.registry.manifests[f"{repository}@{entry}"] = Reply(config=image.id)
    assert bench.remove(a_step(image)) == [("applied", "removed")]
    assert results(bench.undo()) == [("applied", "restored")]
    assert (Ask("manifest", f"{repository}@{entry}") in bench.registry.asked) is is_graph


@pytest.mark.parametrize("bench", [ImageStore.GRAPH], indirect=True)
@pytest.mark.parametrize("own", ["amd64", "arm/v5", "arm/v7", "arm64/v8", "386"])
def test_the_entry_that_is_for_the_platform_of_an_image_is_asked_for_first(bench: Bench, own: str) -> None:
    """In the order in which official images have them; most images say truly which they are for."""
    name = digest_of("h.io/app", "index")
    image = bench.put("app", "h.io/app:1", digests=(name,), inspected=details(platform=f"linux/{own}"))
    bench.serve(name, image)
    platforms = "amd64", "arm/v5", "arm/v7", "arm64/v8", "386"
    entries = [Entry(image_id(each), "linux", each.partition("/")[0], each.partition("/")[2]) for each in platforms]
    bench.registry.manifests[name] = Reply(entries=tuple(entries))
    bench.registry.manifests |= {f"h.io/app@{each.digest}": Reply(config=image_id(f"of {each}")) for each in entries}
    mine = f"h.io/app@{image_id(own)}"
    bench.registry.manifests[mine] = Reply(config=image.id)
    assert bench.remove(a_step(image)) == [("applied", "removed")]
    assert results(bench.undo()) == [("applied", "restored")]
    assert [ask.reference for ask in bench.registry.asked if ask.what == "manifest"] == [name, mine]


@pytest.mark.parametrize("bench", [ImageStore.GRAPH], indirect=True)
@pytest.mark.parametrize(
    ("reason", "asked"), [("not_found", 3), ("bad_answer", 3), ("rate_limited", 1), ("timeout", 1)]
)
def test_a_registry_that_cannot_answer_for_one_entry_is_not_asked_for_the_others(
    bench: Bench, reason: str, asked: int
) -> None:
    """It may lack some; but one that counts too many questions is waited for, minutes for each of them."""
    name, lacking = digest_of("h.io/app", "index"), [Entry(image_id(each), "linux", each, "") for each in "abc"]
    image = bench.put("app", "h.io/app:1", digests=(name,), inspected=details())
    bench.serve(name, image)
    bench.registry.manifests[name] = Reply(entries=tuple(lacking))
    bench.registry.failures |= {f"h.io/app@{each.digest}": reason for each in lacking}
    assert bench.remove(a_step(image)) == [("applied", "removed")]
    assert results(bench.undo()) == [("applied", "restored")]
    assert len([ask for ask in bench.registry.asked if ask.what == "manifest"]) == 1 + asked


@pytest.mark.parametrize("reason", ["not_found", "unauthorized", "unreachable", "timeout", "rate_limited"])
def test_an_image_that_no_registry_is_known_to_serve_is_kept(bench: Bench, reason: str) -> None:
    image = bench.put("app", "h.io/app:1", digests=(digest_of("h.io/app", "app"),))
    bench.registry.reason = reason
    bench.remove(a_step(image))
    assert bench.methods() == ["load"]
    assert results(bench.undo()) == [("applied", "restored")]
    assert bench.engine.image(image.id).tags == image.tags
    assert bench.intents.archives == {}


@pytest.mark.parametrize("is_served", [True, False])
def test_after_a_switch_of_the_store_only_a_pull_brings_an_image_back(bench: Bench, *, is_served: bool) -> None:
    """What the archive has would be another image there, of no name."""
    digest = digest_of("h.io/app", "app")
    image = bench.put("app", "h.io/app:1", digests=(digest,))
    if is_served:
        bench.serve(digest, image)
    assert bench.remove(a_step(image)) == [("applied", "removed")]
    other = bench.engine.store = next(store for store in ImageStore if store is not bench.engine.store)
    bench.engine.served[digest] = replace(image, id=image_id(other))
    assert results(bench.undo()) == [("applied", "restored") if is_served else ("refused", "other_image")]
    assert [(each.id, each.tags) for each in bench.engine.images()] == [(image_id(other), image.tags)] * is_served


@pytest.mark.parametrize("bench", [ImageStore.CONTAINERD], indirect=True)
def test_of_several_platforms_a_graph_store_gets_that_of_the_image(bench: Bench) -> None:
    """It has no room for more under one digest."""
    name, was = digest_of("h.io/app", "app"), replace(details(), platforms=("linux/amd64", "linux/arm64"))
    bench.serve(name, image := bench.put("app", "h.io/app:1", digests=(name,), inspected=was))
    assert bench.remove(a_step(image)) == [("applied", "removed")]
    bench.engine.store = ImageStore.GRAPH
    assert results(bench.undo()) == [("applied", "restored")]
    assert bench.engine.pulled == [(name, "linux/amd64")]


def test_registries_are_asked_at_once_and_anew(bench: Bench) -> None:
    images = [bench.put(word, f"h.io/{word}:1", digests=(digest_of(f"h.io/{word}", word),)) for word in "abc"]
    bench.registry.known[Ask("digest", images[0].digests[0])] = bench.registry._reply(Ask("digest", "none"))
    bench.remove(*map(a_step, images))
    asked = [ask.reference for ask in bench.registry.asked]
    assert {image.digests[0] for image in images} <= set(asked)
    assert len(asked) == len(set(asked))


def written_by_web(bench: Bench, written: Written) -> Container:
    bench.put("app", "h.io/app:1")
    bench.engine.run(a_container("web", "h.io/app:1", running=False))
    bench.engine.wrote["web"] = written
    return bench.engine.container(bench.engine.container_ids()[0])


def test_what_a_container_wrote_comes_back_with_it(bench: Bench) -> None:
    assert bench.remove(step(written_by_web(bench, Written(("/a", "/b"))))) == [("applied", "removed")]
    assert bench.methods() == ["fill"]
    assert results(bench.undo()) == [("applied", "restored")]
    assert bench.engine.wrote == {"web": Written(("/a", "/b"))}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Written(), Written(("/a",))),
        (Written(("/a",)), Written()),
        (Written((), ("/bin",)), Written(("/a",))),
    ],
)
@pytest.mark.parametrize("unrecoverable", [False, True])
def test_a_container_of_which_the_engine_tells_anything_stays(
    bench: Bench, first: Written, then: Written, *, unrecoverable: bool
) -> None:
    """As a containerd store does while somebody else reads its files."""
    container = written_by_web(bench, first)
    bench.engine.just_before("written", lambda: None, lambda: bench.engine.wrote.update(web=then))
    assert bench.remove(step(container)._replace(unrecoverable=unrecoverable)) == [("skipped", "changed")]


@pytest.mark.parametrize("request_", ["parameters", "written", "save_files"])
@pytest.mark.parametrize("unrecoverable", [False, True])
def test_a_container_that_goes_while_its_recipe_is_made_is_gone(
    bench: Bench, request_: str, *, unrecoverable: bool
) -> None:
    container = written_by_web(bench, Written(("/a",)))
    bench.engine.just_before(request_, lambda: bench.engine.remove_container(container.id))
    assert bench.remove(step(container)._replace(unrecoverable=unrecoverable)) == [("skipped", "gone")]
    assert bench.intents.archives == {}


@pytest.mark.parametrize("request_", ["written", "save_files"])
@pytest.mark.parametrize("unrecoverable", [False, True])
def test_a_container_that_somebody_else_is_removing_just_now_is_not_told_unrecoverable(
    bench: Bench, request_: str, *, unrecoverable: bool
) -> None:
    container = written_by_web(bench, Written(("/a",)))
    bench.engine.just_before(request_, lambda: bench.engine.alter("web", "destroy", state="removing"))
    bench.engine.errors[request_] = AnswerError("HTTP 500: stat: no such file or directory")
    assert bench.remove(step(container)._replace(unrecoverable=unrecoverable)) == [("skipped", "changed")]
    assert (bench.intents.archives, bench.engine.removals) == ({}, [])


def test_files_that_a_container_deleted_do_not_come_back_so_it_stays(bench: Bench) -> None:
    container = written_by_web(bench, Written((), ("/a",)))
    assert bench.remove(step(container)) == [("refused", "unrecoverable")]
    assert bench.remove(step(container)._replace(unrecoverable=True)) == [("applied", "removed")]
    [outcome] = bench.undo()
    assert (outcome.effect, outcome.reason) == (Effect.APPLIED, "restored")
    assert "what it wrote is lost: it deleted 1 files" in outcome.detail


def test_a_container_that_the_engine_left_half_removed_goes_later_and_can_be_undone(bench: Bench) -> None:
    container = written_by_web(bench, Written(("/a",)))

    def half() -> None:
        bench.engine.alter("web", "update", state="removing")
        raise AnswerError("device or resource busy")

    bench.engine.just_before("remove_container", half, half)
    assert bench.remove(step(container)) == [("applied", "found_gone")]
    assert bench.remove(step(bench.engine.container("web"))) == [("failed", "engine_error")]
    assert bench.remove(step(bench.engine.container("web"))) == [("applied", "removed")]
    assert bench.methods() == ["fill", "none", "none"]
    assert [(outcome.effect, outcome.reason) for outcome in bench.undo()] == [(Effect.APPLIED, "restored")]
    assert bench.engine.wrote == {"web": Written(("/a",))}


@pytest.mark.parametrize("is_busy", [False, True])
def test_what_an_engine_that_was_ended_left_half_removed_goes_and_can_be_undone(bench: Bench, *, is_busy: bool) -> None:
    container = written_by_web(bench, Written(("/a",)))

    def half() -> None:
        bench.engine.alter("web", "update", state="dead")
        raise EngineUnavailableError("it was ended")

    def refuse() -> None:
        raise AnswerError("device or resource busy")

    bench.engine.just_before("remove_container", half, *[refuse] * is_busy)
    assert bench.remove(step(container)) == [("failed", "engine_unavailable")]
    end_intents(bench.ground.tools(bench.intents), bench.intents)
    assert (bench.engine.container_ids(), bench.intents.open()) == ([container.id] * is_busy, [])
    assert results(bench.undo()) == [("applied", "restored")]
    assert bench.engine.wrote == {"web": Written(("/a",))}


@pytest.mark.parametrize("fails", [False, True])
def test_what_came_back_is_on_the_disk_before_its_archive_goes(bench: Bench, *, fails: bool) -> None:
    container, image = written_by_web(bench, Written(("/a",))), bench.put("other", "h.io/other:1")
    bench.remove(step(container), a_step(image))
    kept: list[int] = []

    def settle() -> None:
        kept.append(len(bench.intents.archives))
        if fails:
            raise ArchiveError("it could not be brought to the disk")

    tools = replace(bench.ground.tools(bench.intents), settle=settle)
    outcomes = results(list(Undoer(tools, bench.intents).undo("undo-1", bench.done())))
    assert (outcomes, kept) == (
        ([("failed", "archive")] * 2, [2, 2]) if fails else ([("applied", "restored")] * 2, [2, 1])
    )


def test_what_the_registry_stopped_serving_is_told(bench: Bench) -> None:
    digest = digest_of("h.io/app", "app")
    image = bench.put("app", "h.io/app:1", digests=(digest,))
    bench.serve(digest, image)
    bench.remove(a_step(image))
    del bench.engine.served[digest]
    [outcome] = bench.undo()
    assert (outcome.effect, outcome.reason) == (Effect.FAILED, "not_served")


def test_a_pull_that_brings_another_image_names_nothing(bench: Bench) -> None:
    digest = digest_of("h.io/app", "app")
    image = bench.put("app", "h.io/app:1", digests=(digest,))
    bench.serve(digest, an_image("impostor"))
    bench.remove(a_step(image))
    [outcome] = bench.undo()
    assert (outcome.effect, outcome.reason) == (Effect.FAILED, "other_image")
    assert "docker.io/h.io/app:1" not in bench.engine._names


@pytest.mark.parametrize("brought", ["app", "of another platform", ""])
def test_a_digest_that_went_with_a_tag_is_told_unless_the_image_has_it_again(tmp_path: Path, brought: str) -> None:
    bench, digest = Bench(ImageStore.GRAPH, tmp_path), digest_of("h.io/app", "app")
    image = bench.put("app", "h.io/app:1", "other:1", digests=(digest,))
    if brought:
        bench.serve(digest, an_image(brought))
    assert bench.remove(a_step(image, "h.io/app:1")) == [("applied", "untagged")]
    [outcome] = bench.undo()
    is_back = bench.engine.image(image.id).digests == (digest,)
    assert (outcome.reason, bench.engine.image(image.id).tags, is_back) == ("restored", image.tags, brought == "app")
    assert outcome.detail == ("" if is_back else "without its digest, which only a pull gives")


def test_a_tag_that_another_image_has_stays_there(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.remove(a_step(image))
    bench.put("other", "app:2")
    [outcome] = bench.undo()
    assert (outcome.effect, outcome.reason) == (Effect.APPLIED, "restored")
    assert "app:2" in outcome.detail
    assert bench.engine.image("app:2").id == image_id("other")


def test_tags_come_back_after_the_image_that_the_last_of_them_took_along(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.remove(a_step(image, "app:1"), a_step(image, "app:2"))
    assert bench.methods() == ["tag", "load"]
    assert results(bench.undo()) == [("applied", "restored")] * 2
    assert bench.engine.image(image.id).tags == image.tags


def test_a_tag_whose_image_went_by_other_means_is_told(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.remove(a_step(image, "app:1"))
    bench.engine.vanish(image.id)
    assert results(bench.undo()) == [("failed", "missing")]


def test_a_network_made_from_a_configuration_takes_no_addresses_of_another_that_comes_back(bench: Bench) -> None:
    for name in ("plain", "made", "configuration"):
        bench.engine.add_network(a_network(name))
    bench.remove(*(step(network) for network in bench.engine.networks()))
    for number, recipe in bench.intents.recipes.items():
        source = {"Network": "configuration" if recipe.parameters["Name"] == "made" else ""}
        bench.intents.recipes[number] = recipe._replace(parameters={**recipe.parameters, "ConfigFrom": source})
    assert [outcome.name for outcome in bench.undo()] == ["configuration", "plain", "made"]


def test_a_container_comes_back_with_its_image(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    container = a_container("web", "app:1", running=False)
    bench.engine.run(container)
    bench.remove(step(bench.engine.container("web")), a_step(image))
    assert results(bench.undo()) == [("applied", "restored")] * 2
    assert bench.engine.container("web").image_id == image.id


def test_a_container_whose_tag_has_moved_is_made_from_its_own_image(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.engine.run(a_container("web", "app:1", running=False))
    bench.remove(step(bench.engine.container("web")))
    bench.put("other", "app:1")
    assert results(bench.undo()) == [("applied", "restored")]
    assert bench.engine.container("web").image_id == image.id


def test_a_container_without_its_image_is_told(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    bench.engine.run(a_container("web", "app:1", running=False))
    bench.remove(step(bench.engine.container("web")))
    bench.engine.vanish(image.id)
    assert results(bench.undo()) == [("failed", "missing")]


def test_a_name_that_is_taken_is_left_to_who_has_it(bench: Bench) -> None:
    bench.put("app", "app:1")
    bench.engine.run(a_container("web", "app:1", running=False))
    bench.engine.add_network(a_network("front"))
    bench.remove(step(bench.engine.container("web")), step(a_network("front")))
    bench.engine.run(replace(a_container("web", "app:1"), id="f" * 64))
    bench.engine.add_network(replace(a_network("front"), id="e" * 64, labels={"is": "theirs"}))
    assert results(bench.undo()) == [("refused", "taken")] * 2


def test_a_container_that_was_stopped_runs_again(bench: Bench) -> None:
    bench.put("app", "app:1")
    bench.engine.run(a_container("web", "app:1"))
    assert bench.remove(step(bench.engine.container("web"), "stop")) == [("applied", "stopped")]
    assert results(bench.undo()) == [("applied", "started")]
    assert bench.engine.container("web").running


def test_a_container_that_was_stopped_and_removed_since_comes_back_and_runs_again(bench: Bench) -> None:
    bench.put("app", "app:1")
    bench.engine.run(a_container("web", "app:1"))
    bench.remove(step(bench.engine.container("web"), "stop"))
    bench.remove(step(bench.engine.container("web")))
    assert results(bench.undo()) == [("applied", "restored"), ("applied", "started")]
    assert bench.engine.container("web").running


AUTO_REMOVE = {"auto_remove": True}
MUST_STAY = {"dockwarden.protect": ""}
PAUSED = {"paused": ""}
FROZEN = {"paused": "and cannot be killed"}


@pytest.mark.parametrize("state", ["running", "paused"])
@pytest.mark.parametrize("mode", ["network", "pid"])
def test_what_lived_in_its_namespaces_runs_again_with_it(bench: Bench, mode: str, state: str) -> None:
    bench.put("app", "app:1")
    owner = replace(a_container("web", "app:1"), state=state)
    bench.engine.run(owner)
    inside = "running" if mode == "pid" else state
    for name, started_at in (("side", 1.0), ("late", 1.0), ("linked", 1.0)):
        side = replace(a_container(name, "app:1", started_at=started_at), state=inside)
        bench.engine.run(side if name == "linked" else _joined(side, owner, mode))
    stop = step(owner, "stop")._replace(options={"after": ["side", "late", "linked", "gone"]})
    assert bench.remove(stop) == [("applied", "stopped")]
    bench.engine.die("side")
    bench.engine.restart_container(bench.engine.container("late").id, None)
    assert results(outcomes := bench.undo()) == [("applied", "started")]
    paused = (["it"] if state == "paused" else []) + (["side", "late"] if inside == "paused" else [])
    assert outcomes[0].detail == "; ".join(f"{name} was paused before" for name in paused)
    now = [bench.engine.container(name) for name in ("side", "late", "linked")]
    assert [(each.running, each.started_at) for each in now] == [(True, 2.0), (True, 2.0), (True, 1.0)]


@pytest.mark.parametrize("after", [["side", "far"], ["far", "side"]])
@pytest.mark.parametrize(("near", "far"), [("network", "network"), ("pid", "network"), ("pid", "pid")])
def test_so_does_what_lived_in_the_namespaces_of_that_after_it(
    bench: Bench, near: str, far: str, after: list[str]
) -> None:
    bench.put("app", "app:1")
    owner = a_container("web", "app:1")
    side = _joined(a_container("side", "app:1"), owner, near)
    every = {"side": side, "far": _joined(a_container("far", "app:1"), side, far)}
    for each in (owner, *(every[name] for name in after)):
        bench.engine.run(each)
    bench.remove(step(owner, "stop")._replace(options={"after": ["side"]}))
    for name in (["side"] if near == "pid" else []) + (["far"] if far == "pid" else []):
        bench.engine.die(name)
    assert results(bench.undo()) == [("applied", "started")]
    assert [key for call, key in bench.engine.calls if call == "restart_container"] == [
        each.id for each in every.values()
    ]


@pytest.mark.parametrize("told", [{}, AUTO_REMOVE])
def test_an_undo_stops_nothing_that_could_not_start_again(
    bench: Bench, told: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has nothing left to do ends as soon as it is started."""
    bench.put("app", "app:1")
    owner = a_container("web", "app:1")
    for each in (owner, _joined(a_container("side", "app:1", config=replace(UNLIMITED, told=told)), owner, "network")):
        bench.engine.run(each)
    bench.remove(step(owner, "stop")._replace(options={"after": ["side"]}))
    monkeypatch.setattr(bench.engine, "start_container", lambda _: None)
    [outcome] = bench.undo()
    assert (outcome.effect, "side lives in a namespace of web," in outcome.detail) == (Effect.APPLIED, not told)
    assert not any(call == "restart_container" for call, _ in bench.engine.calls)


@pytest.mark.parametrize(
    ("mode", "own", "told", "labels", "wanted"),
    [
        ("", AUTO_REMOVE, {}, {}, ("refused", "unrecoverable")),
        ("pid", {}, AUTO_REMOVE, {}, ("refused", "dependents")),
        ("network", {}, AUTO_REMOVE, {}, ("applied", "stopped")),
        ("", {}, AUTO_REMOVE, MUST_STAY, ("applied", "stopped")),
        ("pid", {}, {}, MUST_STAY, ("refused", "dependents")),
        ("network", {}, {}, MUST_STAY, ("refused", "dependents")),
        ("far", {}, AUTO_REMOVE, {}, ("refused", "dependents")),
        ("far", {}, {}, MUST_STAY, ("refused", "dependents")),
        ("apart", {}, AUTO_REMOVE, {}, ("applied", "stopped")),
        ("pid", {}, {}, FROZEN, ("refused", "dependents")),
        ("far", {}, {}, FROZEN, ("refused", "dependents")),
        ("network", {}, {}, FROZEN, ("applied", "stopped")),
        ("pid", {}, {}, PAUSED, ("applied", "stopped")),
    ],
)
def test_no_stop_takes_what_nothing_starts_again(
    bench: Bench, mode: str, own: dict[str, object], told: dict[str, object], labels: dict[str, str],
    wanted: tuple[str, str],
) -> None:  # fmt: skip
    bench.put("app", "app:1")
    owner = a_container("web", "app:1", config=replace(UNLIMITED, told=own))
    other = _joined(a_container("other", "app:1"), owner, "pid" if mode == "far" else "")
    side = a_container("side", "app:1", labels=labels, config=replace(UNLIMITED, told=told))
    side = replace(side, state="paused" if "paused" in labels else "running")
    bench.engine.info = replace(bench.engine.info, cgroup_version=1 if labels is FROZEN else 2)
    if mode == "apart":
        side = _joined(_joined(side, other, "pid"), owner, "network")
    else:
        side = _joined(side, other, "pid") if mode == "far" else _joined(side, owner, mode)
    for each in (owner, other, side):
        bench.engine.run(each)
    stop = step(owner, "stop")._replace(options={"after": ["other" if mode == "far" else "side"]})
    assert bench.remove(stop) == [wanted]
    assert bench.engine.container("web").running is (wanted[0] == "refused")
    if wanted[1] == "unrecoverable":
        assert bench.remove(stop._replace(unrecoverable=True)) == [("applied", "stopped")]
        assert bench.done() == []


def _joined(each: Container, owner: Container, mode: str) -> Container:
    joined = f"container:{owner.id}"
    if mode == "pid":
        return replace(each, config=replace(each.config, pid_mode=joined))
    return replace(each, network_mode=joined) if mode else each


def test_what_has_the_name_of_a_container_that_was_stopped_is_not_started(bench: Bench) -> None:
    bench.put("app", "app:1")
    bench.put("other", "other:1")
    bench.engine.run(a_container("web", "app:1"))
    bench.remove(step(bench.engine.container("web"), "stop"))
    bench.engine.remove_container(bench.engine.container("web").id)
    bench.engine.run(replace(a_container("web", "other:1", "other", running=False), id="f" * 64, state="created"))
    assert results(bench.undo()) == [("failed", "missing")]
    assert not bench.engine.container("web").running


def test_a_volume_whose_files_cannot_be_seen_stays_unless_it_may_be_lost(bench: Bench) -> None:
    bench.engine.add_volume(a_volume("data"))
    removal = step(a_volume("data"))
    assert bench.remove(removal) == [("refused", "unrecoverable")]
    assert bench.engine.volumes() == [a_volume("data")]
    assert bench.remove(removal._replace(unrecoverable=True)) == [("applied", "removed")]
    [done] = bench.done()  # what it was called is kept, its files are not
    assert done.recipe.method == "create"


def test_build_cache_goes_only_where_it_may_be_lost(bench: Bench) -> None:
    bench.engine.build_cache_bytes = 1000
    trim = Step("cache", "trim_build_cache", Ref(Kind.HOST, ""), "host", None, "full", {"max_used_space": 400})
    assert bench.remove(trim) == [("refused", "unrecoverable")]
    assert bench.remove(trim._replace(unrecoverable=True)) == [("applied", "trimmed")]
    assert bench.engine.build_cache_bytes == 400


def test_without_a_ledger_nothing_is_undone(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in ("a", "b")]
    bench.remove(*map(a_step, images))
    bench.intents.full.add("intend")
    assert results(bench.undo()) == [("refused", "ledger")] * 2
    assert bench.engine.images() == []


def test_an_engine_that_goes_away_ends_it(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in ("a", "b")]
    bench.remove(*map(a_step, images))
    bench.engine.just_before("load_image", bench.engine.go_away)
    assert results(bench.undo()) == [("failed", "engine_unavailable")] * 2


def test_who_denies_one_call_lets_others_through(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in ("a", "b")]
    bench.remove(*map(a_step, images))

    def deny() -> None:
        raise DeniedError("denied")

    bench.engine.just_before("load_image", deny)
    assert sorted(results(bench.undo())) == [("applied", "restored"), ("failed", "engine_unavailable")]
    assert results(bench.undo()) == [("applied", "restored")]


@pytest.mark.parametrize("unrecoverable", [False, True])
@pytest.mark.parametrize("lost", ["nothing", "a file of its image", "its image", "a volume's files", "build cache"])
def test_a_plan_says_where_nothing_could_be_brought_back(bench: Bench, lost: str, *, unrecoverable: bool) -> None:
    container = written_by_web(bench, Written(("/a",), ("/b",) if lost == "a file of its image" else ()))
    due = step(container)
    if lost == "its image":
        bench.engine.vanish(container.image_id)
    elif lost == "a volume's files":
        bench.engine.add_volume(a_volume("data"))
        due = step(a_volume("data"))
    elif lost == "build cache":
        due = Step("trim", "trim_build_cache", Ref(Kind.HOST, ""), "host", None, "full")
    due = due._replace(unrecoverable=unrecoverable)
    told = bench.ground.executor(bench.intents)(bench.engine.info).foresee(due)
    assert bench.intents.recipes == {}
    is_refused = bench.remove(due) == [("refused", "unrecoverable")]
    assert is_refused == (lost != "nothing" and not unrecoverable)
    assert told.startswith("but not now: ") if is_refused else told == ""

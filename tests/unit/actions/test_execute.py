"""Carrying out a plan: the world goes on between judgement and removal, and the engine may refuse or go away."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden import reference
from dockwarden.actions.archive import Archive
from dockwarden.actions.execute import Executor, end_intents
from dockwarden.actions.images import sweep_markers
from dockwarden.actions.verb import ENDING
from dockwarden.errors import AnswerError, DeniedError, EngineUnavailableError
from dockwarden.model import Effect, Image, ImageStore, Kind, Outcome, Ref, Step
from tests.builders import a_container, a_recipe, a_step, an_image, details, digest_of, image_id, with_tags
from tests.fakes import FakeEngine, FakeIntents, FakeRegistry, Ground

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Bench:
    """An engine, a ledger, and what an executor did with them."""

    def __init__(self, store: ImageStore, folder: Path) -> None:
        self.store = store
        self.engine = FakeEngine(store)
        self.intents = FakeIntents()
        self.registry = FakeRegistry()
        self.ground = Ground(folder, self.engine, self.registry)

    def put(self, word: str, *tags: str, digests: tuple[str, ...] = (), labels: dict[str, str] | None = None) -> Image:
        """An image that is on the engine, as it would be judged."""
        image = an_image(word, *tags, digests=digests, labels=labels)
        self.engine.put(image)
        return self.judged(image.id)

    def judged(self, image: str) -> Image:
        shown = self.engine.image(image)
        self.engine.calls.clear()
        return shown

    def run(self, *steps: Step) -> list[Outcome]:
        return list(self.ground.executor(self.intents)(self.engine.info).run("run-1", steps))

    def result(self, *steps: Step) -> list[tuple[Effect, str]]:
        return [(outcome.effect, outcome.reason) for outcome in self.run(*steps)]

    def exists(self, image: Image) -> bool:
        return image.id in {each.id for each in self.engine.images()}

    def tags(self, image: Image) -> tuple[str, ...]:
        return self.engine.image(image.id).tags


@pytest.fixture(params=list(ImageStore))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(request.param, tmp_path)


@pytest.fixture
def graph(tmp_path: Path) -> Bench:
    return Bench(ImageStore.GRAPH, tmp_path)


@pytest.fixture
def containerd(tmp_path: Path) -> Bench:
    return Bench(ImageStore.CONTAINERD, tmp_path)


def full(*names: str) -> tuple[str, ...]:
    return tuple(sorted(map(reference.full, names)))


def pinned(bench: Bench, word: str = "pinned") -> Image:
    """An image that was pulled by digest."""
    return bench.put(word, digests=(digest_of("app", word),))


# -- undisturbed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tags", [(), ("app:1",), ("app:1", "app:2"), ("app:1", "h.io:5000/team/app:1", "other:1")])
def test_an_image_goes_with_all_its_names(bench: Bench, tags: tuple[str, ...]) -> None:
    image = bench.put("app", *tags)
    [outcome] = bench.run(a_step(image))
    assert (outcome.effect, outcome.reason, outcome.freed_bytes) == (Effect.APPLIED, "removed", image.size_bytes)
    assert not bench.exists(image)


def test_an_image_that_was_pulled_goes_with_its_tag(bench: Bench) -> None:
    bench.engine.pull(an_image("app"), "h.io/app:1")
    image = bench.judged(image_id("app"))
    assert image.digests
    assert bench.result(a_step(image)) == [(Effect.APPLIED, "removed")]
    assert bench.engine.removals == ["h.io/app:1"]


def test_an_image_that_was_pulled_by_digest_goes_with_its_digest(bench: Bench) -> None:
    image = pinned(bench)
    assert bench.result(a_step(image)) == [(Effect.APPLIED, "removed")]
    assert bench.engine.removals == list(image.digests)


def test_an_image_with_a_tag_and_a_digest_of_another_repository_goes_with_both(bench: Bench) -> None:
    foreign = digest_of("h.io/other", "app")
    bench.put("app", "app:1", digests=(digest_of("app", "app"), foreign))
    image = bench.judged(image_id("app"))
    assert bench.result(a_step(image)) == [(Effect.APPLIED, "removed")]
    assert bench.engine.removals == [*full("app:1"), foreign]


def test_a_tag_goes_and_its_image_stays(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    [outcome] = bench.run(a_step(image, "app:1"))
    assert (outcome.effect, outcome.reason, outcome.freed_bytes) == (Effect.APPLIED, "untagged", 0)
    assert bench.tags(image) == full("app:2")


def test_the_last_tag_takes_the_image_along(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    [outcome] = bench.run(a_step(image, "app:1"))
    assert (outcome.effect, outcome.reason, outcome.freed_bytes) == (Effect.APPLIED, "removed", image.size_bytes)


def test_all_tags_of_an_image_can_go_in_one_plan(bench: Bench) -> None:
    bench.engine.pull(an_image("app"), "app:1")
    bench.engine.name("app:1", "app:2")
    image = bench.judged("app:1")
    steps = [a_step(image, "app:1"), a_step(image, "app:2")]
    assert bench.result(*steps) == [(Effect.APPLIED, "untagged"), (Effect.APPLIED, "removed")]


def test_the_digest_that_goes_with_a_tag_does_not_keep_the_next_tag(bench: Bench) -> None:
    bench.engine.pull(an_image("app"), "app:1")
    bench.engine.name("app:1", "h.io/b:1")
    image = bench.judged("app:1")
    steps = [a_step(image, "app:1"), a_step(image, "h.io/b:1")]
    assert bench.result(*steps) == [(Effect.APPLIED, "untagged"), (Effect.APPLIED, "removed")]


def test_the_last_tag_of_a_used_image_is_kept_even_if_the_plan_took_the_others(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.engine.run(a_container("web", image.id, "app"))
    steps = [a_step(image, "app:1"), a_step(image, "app:2")]
    assert bench.result(*steps) == [(Effect.APPLIED, "untagged"), (Effect.REFUSED, "in_use")]
    assert bench.tags(image) == full("app:2")


def test_steps_are_carried_out_in_order_and_each_has_an_outcome(bench: Bench) -> None:
    words = ["c", "a", "b"]
    images = [bench.put(word, f"{word}:1") for word in words]
    outcomes = bench.run(*map(a_step, images))
    assert [outcome.ref.key for outcome in outcomes] == [image.id for image in images]
    assert bench.engine.removals == [f"docker.io/library/{word}:1" for word in words]


def test_an_outcome_says_what_was_removed_for_which_policy(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    [outcome] = bench.run(a_step(image, policy="mine"))
    assert (outcome.policy, outcome.action, outcome.name) == ("mine", "remove", "docker.io/library/app:1")
    assert outcome.ref == Ref(Kind.IMAGE, image.id)


def test_an_empty_plan_asks_nobody(bench: Bench) -> None:
    assert bench.run() == []
    assert bench.engine.calls == []


# -- by which name ---------------------------------------------------------------------------------------------


def test_a_nameless_image_on_graph_goes_by_a_marker(graph: Bench) -> None:
    image = graph.put("app")
    graph.run(a_step(image))
    assert graph.engine.removals == [reference.marker(image.id)]
    assert ("tag", reference.marker(image.id)) in graph.engine.calls


def test_a_nameless_image_on_containerd_goes_by_the_name_that_only_nameless_images_have(containerd: Bench) -> None:
    image = containerd.put("app")
    containerd.run(a_step(image))
    assert containerd.engine.removals == [f"moby-dangling@{image.id}"]
    assert "tag" not in [operation for operation, _ in containerd.engine.calls]


_DISTURBANCES = st.sampled_from(["none", "tag", "move", "untag", "run", "child", "vanish", "error", "away"])
_MOMENTS = st.sampled_from(["image", "users_of", "untag", "tag"])


@given(
    store=st.sampled_from(list(ImageStore)),
    tags=st.lists(st.sampled_from(["app:1", "app:2", "h.io/b:1"]), unique=True),
    has_digest=st.booleans(),
    as_tag=st.booleans(),
    disturbances=st.lists(st.tuples(_MOMENTS, _DISTURBANCES), max_size=4),
)
def test_nothing_is_removed_by_id_nor_without_record_nor_under_a_container_whatever_happens_meanwhile(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    store: ImageStore,
    tags: list[str],
    has_digest: bool,
    as_tag: bool,
    disturbances: list[tuple[str, str]],
) -> None:
    bench = Bench(store, tmp_path_factory.mktemp("bench"))
    bench.ground.room = 0
    other = bench.put("other", "other:1")
    image = bench.put("app", *tags, digests=(digest_of("app", "app"),) if has_digest else ())
    for moment, what in disturbances:
        bench.engine.just_before(moment, partial(disturb, bench, image, what))
    step = a_step(image, tags[0] if as_tag and tags else "")._replace(unrecoverable=True)
    [outcome] = bench.run(step)
    bench.engine.come_back()
    bench.engine.errors.clear()
    for name in bench.engine.removals:
        assert not reference.is_image_id(name)
        assert "@" in name or ":" in name.rpartition("/")[2]
    assert not bench.engine.removals or bench.intents.written
    assert bench.exists(other)
    if bench.engine.container_ids() or (
        outcome.effect in (Effect.REFUSED, Effect.SKIPPED) and outcome.reason != "gone"
    ):
        assert bench.exists(image) or outcome.reason in ("changed", "engine_unavailable")
    if outcome.effect is Effect.APPLIED and outcome.reason == "removed":
        assert not bench.exists(image)


def disturb(bench: Bench, image: Image, what: str) -> None:
    """Somebody else does something with the image, if it is still there."""
    engine = bench.engine
    there = engine._images.get(image.id) is not None
    if what == "away":
        engine.go_away()
    elif what == "error":
        engine.errors["untag"] = AnswerError("untag: HTTP 500")
    elif there and what == "tag":
        engine.name(image.id, "new:1")
    elif there and what == "move" and image.tags:
        engine.name("other:1", image.tags[0])
    elif (
        there
        and what == "untag"
        and image.tags
        and engine._names.get(image.tags[0]) == image.id
        and not engine._users(image.id)
    ):
        engine.unname(image.tags[0])
    elif there and what == "run" and not engine.container_ids():
        engine.run(a_container("web", image.id, "app"))
    elif there and what == "child":
        engine.put(an_image("child", "child:1"), parent=image.id)
    elif there and what == "vanish" and not engine._users(image.id):
        engine.vanish(image.id)


# -- what changed between the judgement and the check ------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda engine, image: engine.name(image.id, "new:1"),
        lambda engine, _: engine.unname("app:2"),
        lambda engine, _: engine.name("other:1", "app:2"),
        lambda engine, image: engine.change(image.id, labels={"dockwarden.protect": ""}),
        lambda engine, image: engine.pull(image, f"h.io/other@{image.id}"),
    ],
    ids=["a new tag", "a tag less", "a tag moved", "other labels", "a pull by digest"],
)
def test_an_image_that_is_not_what_was_judged_is_left_alone(
    bench: Bench, change: Callable[[FakeEngine, Image], None]
) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.put("other", "other:1")
    change(bench.engine, image)
    assert bench.result(a_step(image)) == [(Effect.SKIPPED, "changed")]
    assert bench.engine.removals == []
    assert bench.intents.written == {}


def test_a_tag_that_names_another_image_now_is_left_alone(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.put("other", "other:1")
    bench.engine.name("other:1", "app:1")
    assert bench.result(a_step(image, "app:1")) == [(Effect.SKIPPED, "changed")]
    assert bench.engine.removals == []


def test_what_is_gone_needs_no_removal(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.engine.vanish(image.id)
    assert bench.result(a_step(image), a_step(image, "app:1")) == [(Effect.SKIPPED, "gone")] * 2
    assert bench.engine.removals == []


@pytest.mark.parametrize("running", [True, False])
def test_a_container_that_came_since_keeps_the_image(bench: Bench, *, running: bool) -> None:
    image = bench.put("app", "app:1")
    bench.engine.run(a_container("web", running=running))
    assert bench.result(a_step(image), a_step(image, "app:1")) == [(Effect.REFUSED, "in_use")] * 2
    assert bench.engine.removals == []


def test_a_container_keeps_the_tag_it_was_made_from_and_no_other(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.engine.run(a_container("web", "app:1", running=False))
    assert bench.result(a_step(image, "app:1"), a_step(image, "app:2")) == [
        (Effect.REFUSED, "in_use"),
        (Effect.APPLIED, "untagged"),
    ]
    assert bench.tags(image) == full("app:1")


def test_a_container_that_goes_while_it_is_looked_at_keeps_nothing(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.engine.run(a_container("web", "app:1"))
    bench.engine.just_before("container", partial(bench.engine.remove, "web"))
    assert bench.result(a_step(image, "app:1")) == [(Effect.APPLIED, "untagged")]


# -- what changes between the check and the removal ----------------------------------------------------------------


def test_a_tag_that_appears_at_the_last_moment_saves_the_image_and_its_names(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.engine.just_before("untag", partial(bench.engine.name, image.id, "new:1"))
    assert bench.result(a_step(image)) == [(Effect.SKIPPED, "renamed")]
    assert bench.tags(image) == full("app:1", "app:2", "new:1")


def test_a_tag_that_appears_at_the_last_moment_saves_a_nameless_image(bench: Bench) -> None:
    image = bench.put("app")
    bench.engine.just_before("untag", partial(bench.engine.name, image.id, "new:1"))
    assert bench.result(a_step(image)) == [(Effect.SKIPPED, "renamed")]
    assert bench.engine.image(image.id).markers == ()
    assert bench.tags(image) == full("new:1")


def test_a_tag_that_appears_at_the_last_moment_saves_an_image_that_was_pulled_by_digest(bench: Bench) -> None:
    image = pinned(bench)
    bench.engine.just_before("untag", partial(bench.engine.name, image.id, "new:1"))
    assert bench.result(a_step(image)) == [(Effect.SKIPPED, "renamed")]
    assert bench.tags(image) == full("new:1")


def test_a_pull_by_digest_at_the_last_moment_saves_the_image_and_its_names(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    bench.engine.just_before("untag", partial(bench.engine.pull, image, f"h.io/other@{image.id}"))
    assert bench.result(a_step(image)) == [(Effect.SKIPPED, "renamed")]
    assert bench.tags(image) == full("app:1")


@pytest.mark.parametrize("names", [(), ("app:1",)])
def test_a_container_that_appears_at_the_last_moment_saves_the_image(bench: Bench, names: tuple[str, ...]) -> None:
    image = bench.put("app", *names)
    bench.engine.just_before("untag", partial(bench.engine.run, a_container("web", image.id, "app", running=False)))
    assert bench.result(a_step(image)) == [(Effect.REFUSED, "conflict")]
    assert bench.tags(image) == full(*names)


def test_names_that_were_removed_before_the_refusal_are_given_back(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2", "h.io/b:1")
    start = partial(bench.engine.run, a_container("web", image.id, "app", running=False))
    bench.engine.just_before("untag", lambda: None, start)
    assert bench.result(a_step(image)) == [(Effect.REFUSED, "conflict")]
    assert len(bench.engine.removals) == 3
    assert bench.tags(image) == full("app:1", "app:2", "h.io/b:1")


def test_a_name_that_another_image_has_taken_meanwhile_is_not_taken_back(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    other = bench.put("other", "other:1")

    def meanwhile() -> None:
        bench.engine.name(other.id, "app:1")
        bench.engine.run(a_container("web", image.id, "app"))

    bench.engine.just_before("untag", lambda: None, meanwhile)
    assert bench.result(a_step(image)) == [(Effect.REFUSED, "conflict")]
    assert bench.engine.image("app:1").id == other.id
    assert bench.tags(image) == full("app:2")


def test_another_image_that_was_hit_is_told_also_where_ours_vanished(bench: Bench) -> None:
    image, other = bench.put("app", "app:1"), bench.put("other", "other:1")

    def meanwhile() -> None:
        bench.engine.name(other.id, "app:1")
        bench.engine.vanish(image.id)

    bench.engine.just_before("untag", meanwhile)
    [outcome] = bench.run(a_step(image))
    assert (outcome.effect, outcome.reason, outcome.ref.key) == (Effect.FAILED, "other_image", other.id)
    assert bench.tags(other) == full("app:1", "other:1")
    ends = {bench.intents.outcomes[number].reason: bench.intents.outcomes[number] for number in (1, 2)}
    assert ends["other_image"].ref.key == other.id
    assert (ends["found_gone"].effect, ends["found_gone"].ref.key) == (Effect.APPLIED, image.id)
    assert bench.intents.recipes[1].archive in bench.intents.archives


@pytest.mark.parametrize("when", ["amid a step", "while it waits", "while it archives"])
def test_a_process_that_is_to_end_begins_nothing_more_and_leaves_nothing_open(bench: Bench, when: str) -> None:
    images = [bench.put(f"app{n}", f"app{n}:1", f"app{n}:2") for n in range(3)]
    ended: list[float] = []
    tools = replace(bench.ground.tools(bench.intents), is_ending=lambda: bool(ended))

    def end_at_once() -> None:
        ended.append(1)
        go_on()

    def go_on() -> None:
        if ended:
            raise ENDING

    match when:
        case "amid a step":
            tools.archive.progress = go_on
            bench.engine.just_before("untag", lambda: ended.append(1))
        case "while it waits":
            bench.ground.busy.extend(["a pull"] * 100)
            tools.sleep = ended.append
        case _:
            tools.archive = Archive(
                tools.archive.folder, bench.intents, max_bytes=1 << 40, reserve_bytes=0, progress=end_at_once
            )
    outcomes = list(Executor(tools, bench.intents).run("run-1", [a_step(image) for image in images]))
    done = 1 if when == "amid a step" else 0
    assert [o.reason for o in outcomes] == ["removed"] * done + ["ending"] * (3 - done)
    assert bench.intents.open() == []
    assert len(bench.intents.archives) == done
    assert [bench.exists(image) for image in images] == [False] * done + [True] * (3 - done)


def test_an_image_that_vanishes_while_its_names_are_given_back_is_gone_and_can_be_undone(bench: Bench) -> None:
    image, next_one = bench.put("app", "app:1", "app:2"), bench.put("next", "next:1")

    def vanish() -> None:
        bench.engine.remove("web")
        bench.engine.vanish(image.id)

    start = partial(bench.engine.run, a_container("web", image.id, "app"))
    bench.engine.just_before("untag", lambda: None, start)
    bench.engine.just_before("tag", vanish)
    outcomes = bench.run(a_step(image), a_step(next_one))
    assert [(o.effect, o.reason) for o in outcomes] == [(Effect.APPLIED, "found_gone"), (Effect.APPLIED, "removed")]
    assert bench.intents.recipes[1].archive in bench.intents.archives
    assert bench.intents.open() == []


def test_an_image_that_others_were_built_from_keeps_its_names(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.engine.put(an_image("child", "child:1"), parent=image.id)
    [outcome] = bench.run(a_step(image))
    assert (outcome.effect, outcome.reason) == (Effect.REFUSED, "conflict")
    assert "built" in outcome.detail
    assert bench.tags(image) == full("app:1", "app:2")


@pytest.mark.parametrize(
    ("meanwhile", "left"),
    [
        (lambda _: None, {"base"}),
        (lambda engine: engine.change(image_id("one"), is_step=False), {"base", "one"}),  # it had a name once
        (lambda engine: engine.name(image_id("two"), "kept:1"), {"base", "one", "two"}),
        (lambda engine: engine.name(image_id("one"), "kept:1"), {"base", "one"}),
        (lambda engine: engine.run(a_container("web", image_id("two"), "two", running=False)), {"base", "one", "two"}),
        (lambda engine: engine.run(a_container("web", image_id("one"), "one")), {"base", "one"}),
        (lambda engine: engine.put(an_image("child"), parent=image_id("two")), {"base", "one", "two", "child"}),
        (lambda engine: engine.put(an_image("child"), parent=image_id("one")), {"base", "one", "child"}),
        (lambda engine: engine.errors.update({("image", image_id("one")): AnswerError("")}), {"base", "one"}),
        (lambda engine: engine.errors.update({("users_of", image_id("two")): AnswerError("")}), {"base", "one", "two"}),
    ],
)
def test_the_steps_of_its_build_go_with_an_image(
    graph: Bench, meanwhile: Callable[[FakeEngine], object], left: set[str]
) -> None:
    parent = ""
    for word, tags in (("base", ("base:1",)), ("one", ()), ("two", ()), ("app", ("app:1",))):
        image = an_image(word, *tags, inspected=replace(details(), parent=parent))
        graph.engine.put(replace(image, is_step=word in ("one", "two")), parent=parent)
        parent = image.id
    image = graph.judged(parent)
    graph.engine.just_before("untag", lambda: meanwhile(graph.engine))
    assert graph.result(a_step(image)) == [(Effect.APPLIED, "removed")]
    assert {each.id for each in graph.engine.images()} == set(map(image_id, left))
    graph.engine.errors.clear()
    assert not any(each.markers for each in graph.engine.images())


def test_a_step_of_the_plan_itself_has_its_own_record(graph: Bench) -> None:
    one = replace(an_image("one", inspected=replace(details(), parent=image_id("base"))), is_step=True)
    graph.engine.put(an_image("base", "base:1"))
    graph.engine.put(one, parent=image_id("base"))
    graph.engine.put(an_image("app", "app:1", inspected=replace(details(), parent=one.id)), parent=one.id)
    steps = [a_step(graph.judged(key)) for key in (image_id("app"), one.id)]
    assert graph.result(*steps) == [(Effect.APPLIED, "removed")] * 2
    assert [recipe.parameters["id"] for recipe in graph.intents.recipes.values()] == [image_id("app"), one.id]


def test_the_last_tag_of_an_image_that_others_were_built_from_goes_as_it_does_by_hand(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    bench.engine.put(an_image("child", "child:1"), parent=image.id)
    assert bench.result(a_step(image, "app:1")) == [(Effect.APPLIED, "untagged")]
    assert bench.tags(image) == ()


def test_an_image_that_somebody_else_removed_at_the_last_moment_is_gone(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    bench.engine.just_before("untag", partial(bench.engine.vanish, image.id))
    assert bench.result(a_step(image)) == [(Effect.APPLIED, "removed")]


def test_a_tag_that_is_set_again_at_once_stays(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    set_again = partial(bench.engine.name, image.id, "app:1")
    bench.engine.just_before("image", lambda: None, lambda: None, set_again)
    assert bench.result(a_step(image, "app:1")) == [(Effect.SKIPPED, "renamed")]
    assert bench.tags(image) == full("app:1", "app:2")


# -- errors --------------------------------------------------------------------------------------------------------


def test_an_error_of_the_engine_fails_one_step_and_gives_back_what_it_took(bench: Bench) -> None:
    image, next_one = bench.put("app", "app:1", "app:2"), bench.put("next", "next:1")
    bench.engine.errors["untag", *full("app:2")] = AnswerError("untag: HTTP 500: disk")
    outcomes = bench.run(a_step(image), a_step(next_one))
    assert [(o.effect, o.reason) for o in outcomes] == [(Effect.FAILED, "engine_error"), (Effect.APPLIED, "removed")]
    assert "disk" in outcomes[0].detail
    assert bench.tags(image) == full("app:1", "app:2")
    assert bench.intents.open() == []


def test_an_object_that_cannot_be_looked_at_is_not_removed(bench: Bench) -> None:
    image, next_one = bench.put("app", "app:1"), bench.put("next", "next:1")
    bench.engine.errors["users_of", image.id] = AnswerError("container list: not a list")
    assert bench.result(a_step(image), a_step(next_one)) == [
        (Effect.FAILED, "engine_error"),
        (Effect.APPLIED, "removed"),
    ]
    assert bench.exists(image)


def test_a_name_that_the_engine_has_and_the_grammar_has_not_fails_its_step(bench: Bench) -> None:
    odd = an_image("odd")
    bench.engine.put(odd)
    bench.engine._names["Not A Name"] = odd.id
    image = bench.judged(odd.id)
    assert bench.result(a_step(image)) == [(Effect.FAILED, "engine_error")]
    assert bench.exists(image)


def test_a_removal_whose_effect_cannot_be_seen_says_so(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    spoil = partial(bench.engine.errors.update, {"image": AnswerError("image: Size is missing")})
    bench.engine.just_before("image", lambda: None, lambda: None, spoil)
    said = "removed" if bench.engine.store is ImageStore.GRAPH else "unverified"  # there the answer tells enough
    assert bench.result(a_step(image)) == [(Effect.APPLIED, said)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda engine, image: engine.name(image.id, "new:1"), (Effect.SKIPPED, "changed")),
        (lambda engine, _: engine.name("other:1", "app:1"), (Effect.SKIPPED, "changed")),
        (lambda engine, _: engine.unname("app:1"), (Effect.SKIPPED, "changed")),
        (lambda engine, image: engine.vanish(image.id), (Effect.SKIPPED, "gone")),
        (
            lambda engine, _: engine.errors.update({"image": AnswerError("image: Size is missing")}),
            (Effect.FAILED, "engine_error"),
        ),
    ],
    ids=["a new tag", "a tag moved", "a tag gone", "gone", "an error"],
)
def test_what_changes_while_the_intent_is_written_is_seen(
    bench: Bench, change: Callable[[FakeEngine, Image], None], expected: tuple[Effect, str]
) -> None:
    image = bench.put("app", "app:1", "app:2")
    bench.put("other", "other:1")
    bench.engine.just_before("image", lambda: None, partial(change, bench.engine, image))
    assert bench.result(a_step(image)) == [expected]
    assert bench.engine.removals == []
    assert bench.intents.open() == []


def test_a_name_that_moves_amid_the_removal_of_its_image_is_not_taken_from_the_other(bench: Bench) -> None:
    image, other = bench.put("app", "app:1", "app:2"), bench.put("other", "other:1")
    move = partial(bench.engine.name, "other:1", "app:2")
    bench.engine.just_before("image", lambda: None, lambda: None, move)
    assert bench.result(a_step(image)) == [(Effect.SKIPPED, "changed")]
    assert bench.tags(image) == full("app:1")
    assert bench.tags(other) == full("app:2", "other:1")


# -- the engine goes away ------------------------------------------------------------------------------------------


def lose(bench: Bench, moment: str, *, skip: int = 0) -> None:
    nothing: Iterable[Callable[[], None]] = [lambda: None] * skip
    bench.engine.just_before(moment, *nothing, bench.engine.go_away)


def test_a_lost_engine_ends_the_plan(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in "abc"]
    lose(bench, "untag", skip=1)
    assert bench.result(*map(a_step, images)) == [
        (Effect.APPLIED, "removed"),
        (Effect.FAILED, "engine_unavailable"),
        (Effect.SKIPPED, "engine_unavailable"),
    ]
    assert bench.engine.calls[-1][0] == "untag", "it asked an engine that does not answer"
    assert bench.intents.open() == [2], "what may have happened must be found out later"


def test_who_denies_what_one_recipe_needs_lets_others_through(bench: Bench) -> None:
    """As a proxy that allows a removal, but not to save an image that no registry has."""
    images = [bench.put(word, f"{word}:1") for word in "ab"]

    def deny() -> None:
        raise DeniedError("denied")

    bench.engine.just_before("save_image", deny)
    assert bench.result(*map(a_step, images)) == [(Effect.SKIPPED, "engine_unavailable"), (Effect.APPLIED, "removed")]


def test_an_engine_that_is_lost_before_the_check_leaves_nothing_open(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in "ab"]
    lose(bench, "image")
    assert bench.result(*map(a_step, images)) == [(Effect.SKIPPED, "engine_unavailable")] * 2
    assert bench.intents.written == {}


def test_an_engine_that_is_lost_while_names_are_given_back_leaves_the_record_open(bench: Bench) -> None:
    image = bench.put("app", "app:1", "app:2")
    start = partial(bench.engine.run, a_container("web", image.id, "app"))
    bench.engine.just_before("untag", lambda: None, start)
    lose(bench, "tag")
    assert bench.result(a_step(image)) == [(Effect.FAILED, "engine_unavailable")]
    assert bench.intents.open() == [1]


def test_an_engine_that_is_lost_right_after_the_removal_leaves_it_unverified(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    lose(bench, "image", skip=2)
    said = "removed" if bench.engine.store is ImageStore.GRAPH else "unverified"
    assert bench.result(a_step(image)) == [(Effect.APPLIED, said)]


def test_an_engine_that_is_lost_while_the_intent_is_written_ends_the_record_and_the_plan(bench: Bench) -> None:
    """Nothing was done yet: what somebody else removes meanwhile must not be told, and undone, as done by us."""
    images = [bench.put(word, f"{word}:1") for word in "ab"]
    lose(bench, "image", skip=1)
    assert bench.result(*map(a_step, images)) == [
        (Effect.FAILED, "engine_unavailable"),
        (Effect.SKIPPED, "engine_unavailable"),
    ]
    assert (bench.intents.open(), bench.intents.archives, len(bench.intents.written)) == ([], {}, 1)
    assert bench.engine.removals == []


# -- no record, no removal -----------------------------------------------------------------------------------------


def test_the_intent_is_written_before_anything_is_removed(bench: Bench) -> None:
    image = bench.put("app")
    seen: list[int] = []
    for moment in ("tag", "untag"):
        bench.engine.just_before(moment, lambda: seen.append(len(bench.intents.written)))
    bench.run(a_step(image))
    assert seen
    assert set(seen) == {1}
    assert bench.intents.written[1].object == image
    assert bench.intents.outcomes[1].effect is Effect.APPLIED


def test_without_a_record_nothing_is_removed_and_all_later_steps_are_refused(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in "abc"]
    bench.intents.full.add("intend")
    outcomes = bench.run(*map(a_step, images))
    assert [(o.effect, o.reason) for o in outcomes] == [(Effect.REFUSED, "ledger")] * 3
    assert all("no space" in outcome.detail for outcome in outcomes)
    assert bench.engine.removals == []


def test_a_ledger_that_fills_up_in_the_middle_ends_the_plan(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in "abc"]
    bench.engine.just_before("untag", lambda: bench.intents.full.add("intend"))
    assert bench.result(*map(a_step, images)) == [
        (Effect.APPLIED, "removed"),
        (Effect.REFUSED, "ledger"),
        (Effect.REFUSED, "ledger"),
    ]
    assert len(bench.engine.removals) == 1


def test_a_removal_whose_end_cannot_be_written_down_is_still_told_as_it_was(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in "ab"]
    bench.intents.full.add("conclude")
    assert bench.result(*map(a_step, images)) == [(Effect.APPLIED, "removed"), (Effect.REFUSED, "ledger")]
    assert bench.intents.open() == [1]
    assert bench.exists(images[1])


# -- markers -------------------------------------------------------------------------------------------------------


def test_a_marker_that_could_not_be_taken_off_is_swept_when_the_image_has_a_name_again(graph: Bench) -> None:
    image = graph.put("app")
    graph.engine.just_before("untag", partial(graph.engine.run, a_container("web", image.id, "app")))
    assert graph.result(a_step(image)) == [(Effect.REFUSED, "conflict")]
    marked = graph.engine.image(image.id)
    assert (marked.tags, marked.markers) == ((), (reference.marker(image.id),))
    sweep_markers(graph.engine, graph.engine.images())
    assert graph.engine.image(image.id).markers == marked.markers, "the image would have gone with it"
    graph.engine.name(image.id, "app:1")
    sweep_markers(graph.engine, graph.engine.images())
    assert graph.engine.image(image.id).markers == ()
    assert graph.tags(image) == full("app:1")


def test_a_sweep_removes_no_image_that_has_nothing_but_its_marker(graph: Bench) -> None:
    image = graph.put("app")
    graph.engine.name(image.id, reference.marker(image.id))
    sweep_markers(graph.engine, graph.engine.images())
    assert graph.exists(image)
    assert graph.engine.removals == []


def test_a_marked_image_is_removed_by_the_next_plan(graph: Bench) -> None:
    image = graph.put("app")
    graph.engine.just_before("untag", partial(graph.engine.run, a_container("web", image.id, "app")))
    graph.run(a_step(image))
    graph.engine.remove("web")
    assert graph.result(a_step(graph.judged(image.id))) == [(Effect.APPLIED, "removed")]


def test_a_sweep_that_the_engine_refuses_is_tried_another_time(graph: Bench) -> None:
    image = graph.put("app", "app:1")
    graph.engine.name(image.id, reference.marker(image.id))
    graph.engine.errors["untag"] = EngineUnavailableError("untag: nothing listens")
    sweep_markers(graph.engine, graph.engine.images())
    assert graph.engine.image(image.id).markers == (reference.marker(image.id),)


# -- what was cut short --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("still_there", "expected"),
    [(True, (Effect.SKIPPED, "interrupted")), (False, (Effect.APPLIED, "found_gone"))],
)
def test_a_removal_that_was_cut_short_ends_with_what_is_found(
    *,
    still_there: bool,
    expected: tuple[Effect, str],
    tmp_path: Path,
) -> None:
    engine, intents, image = FakeEngine(), FakeIntents(), an_image("app", "app:1")
    intents.intend("run", a_step(image), a_recipe(image))
    engine.put(*[image] * still_there)
    [outcome] = end_intents(Ground(tmp_path, engine).tools(intents), intents)
    assert (outcome.effect, outcome.reason) == expected
    assert (outcome.policy, outcome.name, outcome.ref) == ("old-images", *full("app:1"), Ref(Kind.IMAGE, image.id))
    assert intents.open() == []


def test_an_image_whose_removal_was_cut_short_gets_back_the_names_that_are_free(tmp_path: Path) -> None:
    engine, intents, image = FakeEngine(), FakeIntents(), an_image("app", "app:1", "app:2", "app:3")
    engine.put(with_tags(image, "app:3"), an_image("other", "app:2"))
    intents.intend("run", a_step(image), a_recipe(image))
    end_intents(Ground(tmp_path, engine).tools(intents), intents)
    assert engine.image(image.id).tags == full("app:1", "app:3")
    assert engine.image("app:2").id == image_id("other")


def test_what_cannot_be_told_or_given_back_yet_stays_open(tmp_path: Path) -> None:
    engine, intents = FakeEngine(), FakeIntents()
    images = [an_image(word, f"{word}:1") for word in "ab"]
    engine.put(*(with_tags(image) for image in images))
    for image in images:
        intents.intend("run", a_step(image), a_recipe(image))
    engine.errors["tag", *full("a:1")] = AnswerError("tag: HTTP 500")
    assert [outcome.name for outcome in end_intents(Ground(tmp_path, engine).tools(intents), intents)] == [*full("b:1")]
    assert intents.open() == [1]
    engine.errors.clear()
    end_intents(Ground(tmp_path, engine).tools(intents), intents)
    assert engine.image("a:1").id == images[0].id


# -- the host and its other users ------------------------------------------------------------------------------------


def test_a_plan_waits_while_somebody_pulls(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    bench.ground.busy.extend(["a pull"] * 3)
    assert bench.result(a_step(image)) == [(Effect.APPLIED, "removed")]
    assert len(bench.ground.slept) == 3


def test_a_plan_does_not_wait_for_ever(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in ("a", "b", "c")]
    bench.ground.busy.extend(["", *["a pull"] * 100])
    assert bench.result(*map(a_step, images)) == [
        (Effect.APPLIED, "removed"),
        (Effect.SKIPPED, "busy"),
        (Effect.SKIPPED, "busy"),
    ]
    assert len(bench.intents.written) == 1


def test_a_plan_ends_when_the_engine_gets_much_slower(bench: Bench) -> None:
    images = [bench.put(f"app{n}", f"app{n}:1") for n in range(12)]
    slow = partial(bench.engine.clock.pass_, 2.0)
    bench.engine.just_before("users_of", *[lambda: None] * 12, *[slow] * 12)
    results = bench.result(*map(a_step, images))
    assert results[:6] == [(Effect.APPLIED, "removed")] * 6
    assert results[-1] == (Effect.SKIPPED, "engine_slow")


def test_after_a_step_that_took_long_the_engine_is_left_to_others(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in ("a", "b")]
    bench.engine.just_before("untag", partial(bench.engine.clock.pass_, 3.0))
    bench.run(*map(a_step, images))
    assert bench.ground.slept == [3.0]  # before the next one


def test_what_was_freed_is_measured_where_the_disk_can_be_seen_and_else_as_planned(bench: Bench) -> None:
    images = [bench.put(word, f"{word}:1") for word in ("a", "b")]
    first, second = (a_step(image)._replace(planned_bytes=77) for image in images)
    [seen] = bench.run(first)
    bench.ground.visible = False
    [unseen] = bench.run(second)
    assert (seen.planned_bytes, seen.freed_bytes) == (77, images[0].size_bytes)
    assert (unseen.planned_bytes, unseen.freed_bytes) == (77, 77)


def test_what_an_archive_takes_of_the_same_disk_was_not_freed(bench: Bench) -> None:
    bench.ground.is_shared = True
    image = bench.put("app", "app:1")
    [outcome] = bench.run(a_step(image))
    recipe = bench.intents.recipes[1]
    assert recipe.archive
    assert recipe.archive_bytes > 0
    assert outcome.freed_bytes == max(0, image.size_bytes - recipe.archive_bytes)


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("left", [0, 1, None])
def test_an_engine_has_room_for_the_copy_that_it_makes_of_an_image_that_it_saves(
    bench: Bench, left: int | None, *, is_shared: bool
) -> None:
    """On the same disk besides the archive; what else is to stay free is of the archives' disk only.

    What cannot be seen is not asked for; a containerd store makes none.
    """
    image, is_graph = bench.put("app", "app:1"), bench.store is ImageStore.GRAPH
    tools = bench.ground.tools(bench.intents)
    free = None if left is None else image.size_bytes * (1 + is_shared) * 9 // 8 - 1 + left
    archive = replace(tools.archive, reserve_bytes=1 << 20)
    tools = replace(tools, archive=archive, free_bytes=lambda: free, shares_disk=lambda _: is_shared)
    [outcome] = Executor(tools, bench.intents).run("run-1", [a_step(image)])
    is_short = is_graph and left == 0
    assert outcome.reason == ("unrecoverable" if is_short else "removed")
    assert ("to its own disk" in outcome.detail) is is_short
    assert bench.exists(image) is is_short
    assert bool(bench.intents.archives) is not is_short


def test_an_archive_of_what_stays_is_not_kept(bench: Bench) -> None:
    image = bench.put("app", "app:1")
    bench.engine.just_before("untag", partial(bench.engine.run, a_container("web", image.id, "app", running=False)))
    assert bench.result(a_step(image)) == [(Effect.REFUSED, "conflict")]
    assert bench.intents.archives == {}

"""What happened to an object since it was judged, in any order of events, is known before it goes."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.actions.execute import Executor
from dockwarden.app import Parts
from dockwarden.config.settings import Settings
from dockwarden.errors import AnswerError
from dockwarden.metrics import Metrics
from dockwarden.model import Effect, Event, Kind, Ref, Step, Thing
from dockwarden.pipeline.witness import Witness
from tests.builders import a_container, a_mount, a_network, a_volume, an_image
from tests.fakes import REMEMBERED_EVENTS, FakeEngine, FakeIntents, Ground

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dockwarden.actions.verb import News, Tools

IMAGE = an_image("app", "app:1", "app:2")
OTHER = an_image("other", "other:1")
CONTAINER, VOLUME, NETWORK = a_container("job", running=False), a_volume("data"), a_network("front")


def step(kind: Kind, key: str, thing: Thing) -> Step:
    return Step("p", "remove", Ref(kind, key), key, thing, "because")


STEPS = {
    "image": step(Kind.IMAGE, IMAGE.id, IMAGE),
    "tag": step(Kind.TAG, IMAGE.tags[0], IMAGE),
    "container": step(Kind.CONTAINER, CONTAINER.id, CONTAINER),
    "volume": step(Kind.VOLUME, VOLUME.name, VOLUME),
    "network": step(Kind.NETWORK, NETWORK.id, NETWORK),
}
# Type, action, ID, image as it was typed, and which of the steps it is about.
EVENTS = [
    ("container", "create", "c1", "app:1", {"image", "tag"}),
    ("container", "start", "c1", "app:2", {"image", "tag"}),
    ("container", "create", "c1", IMAGE.id, {"image", "tag"}),
    ("container", "create", "c1", IMAGE.id.removeprefix("sha256:")[:12], {"image", "tag"}),
    ("container", "die", "c0", "app:1", set()),  # it was in use by that when it was judged
    ("container", "destroy", "c0", "app:1", set()),
    ("image", "load", IMAGE.id, "", {"image", "tag"}),
    ("image", "delete", IMAGE.id, "", {"image", "tag"}),
    ("image", "pull", "app:1", "", {"image", "tag"}),
    ("image", "pull", "other:1", "", set()),
    ("image", "untag", IMAGE.id, "", set()),  # names are compared by themselves
    ("image", "load", OTHER.id, "", set()),
    ("container", "start", "c2", "other", set()),
    ("container", "start", "c2", "app:3", set()),
    ("container", "extract-to-dir", CONTAINER.id, "app:1", {"container"}),
    ("container", "extract-to-dir", "c0", "app:1", set()),
    ("volume", "mount", "data", "", {"volume"}),
    ("volume", "unmount", "data", "", set()),
    ("volume", "create", "data", "", {"volume"}),
    ("volume", "mount", "datas", "", set()),
    ("network", "connect", NETWORK.id, "", {"network"}),
    ("network", "connect", "x" + NETWORK.id, "", set()),
    ("network", "disconnect", NETWORK.id, "", set()),
]


def told(news: News | None) -> str:
    return news.text if news else ""


def emit(engine: FakeEngine, *numbers: int) -> None:
    for number in numbers:
        type_, action, identifier, image, _ = EVENTS[number]
        engine.clock.pass_(0.001)
        engine._past.append(Event(type_, action, identifier, "", engine.clock.now_ns, image))


numbers = st.lists(st.integers(0, len(EVENTS) - 1), max_size=8)


@given(numbers, st.lists(numbers, min_size=1, max_size=4))
def test_each_event_since_the_judgement_counts_and_none_before(before: list[int], rounds: list[list[int]]) -> None:
    engine = FakeEngine()
    emit(engine, *before)
    witness = Witness(engine).begin(engine.clock.now_ns)
    seen: set[str] = set()
    for round_ in rounds:
        emit(engine, *round_)
        engine.clock.pass_(0.001)
        seen |= {name for number in round_ for name in EVENTS[number][4]}
        assert {name for name, each in STEPS.items() if witness(each)} == seen


@pytest.mark.parametrize("action", ["remove", "update"])
@pytest.mark.parametrize("called", [CONTAINER.id, CONTAINER.name, "another"])
def test_a_container_that_a_new_one_stands_on_is_not_to_go(action: str, called: str) -> None:
    """An update of one that lives in another makes it again itself, and goes on with the other."""
    engine = FakeEngine()
    witness = Witness(engine).begin(engine.clock.now_ns)
    made = replace(a_container("made"), network_mode=f"container:{called}")
    engine.clock.pass_(0.001)
    engine.emit("container", "create", "gone", "gone", "other:1")
    engine.run(made)
    engine.clock.pass_(0.001)
    is_kept = action == "remove" and called != "another"
    assert bool(witness(STEPS["container"]._replace(action=action))) is is_kept


@pytest.mark.parametrize(("name", "is_kept"), [("data", True), ("data2", False)])
def test_a_volume_whose_folder_a_new_container_mounts_is_not_to_go(name: str, *, is_kept: bool) -> None:
    """By its place, of which no event of the volume tells."""
    engine = FakeEngine()
    witness = Witness(engine).begin(engine.clock.now_ns)
    engine.clock.pass_(0.001)
    engine.run(a_container("made", mounts=(a_mount(name, type_="bind"),)))
    engine._past = deque(event for event in engine._past if event.type == "container")
    engine.clock.pass_(0.001)
    assert bool(witness(STEPS["volume"])) is is_kept


def test_a_new_container_that_could_not_be_asked_is_asked_again() -> None:
    engine = FakeEngine()
    witness = Witness(engine).begin(engine.clock.now_ns)
    engine.clock.pass_(0.001)
    engine.run(replace(a_container("made"), network_mode=f"container:{CONTAINER.id}"))
    engine.clock.pass_(1)

    def fail() -> None:
        raise AnswerError("500")

    engine.just_before("container", fail)
    with pytest.raises(AnswerError):
        witness(STEPS["container"])
    assert "which needs it" in told(witness(STEPS["container"]))


@pytest.mark.parametrize(("name", "number"), [("container", 14), ("volume", 16)])
def test_what_happens_while_new_containers_are_asked_counts(name: str, number: int) -> None:
    """There may be hundreds of them, and nothing else is asked before the deed."""
    engine = FakeEngine()
    witness = Witness(engine).begin(engine.clock.now_ns)
    engine.clock.pass_(0.001)
    engine.run(a_container("made"))
    engine.just_before("container", lambda: emit(engine, number))
    assert name in told(witness(STEPS[name]))


def test_what_happens_while_events_are_counted_counts() -> None:
    engine = FakeEngine()
    witness = Witness(engine).begin(engine.clock.now_ns)
    engine.clock.pass_(0.001)
    engine.just_before("replayed", lambda: emit(engine, 16))
    assert "volume" in told(witness(STEPS["volume"]))


@pytest.mark.parametrize(("number", "times", "reason"), [(16, 1, "unverified"), (11, REMEMBERED_EVENTS, "removed")])
def test_a_use_at_the_very_last_moment_is_told_and_not_that_much_happened(
    tmp_path: Path, number: int, times: int, reason: str
) -> None:
    """A removal of many files may take the engine longer than it remembers its probes of health."""
    engine, intents = FakeEngine(), FakeIntents()
    engine.add_volume(VOLUME)
    witness = Witness(engine).begin(engine.clock.now_ns)
    engine.clock.pass_(0.001)
    tools = replace(Ground(tmp_path, engine).tools(intents), news_of=witness)

    def meddle() -> None:
        emit(engine, *[number] * times)
        witness._asked_at -= 1

    engine.just_before("remove_volume", meddle)
    [outcome] = Executor(tools, intents).run("run-1", [STEPS["volume"]._replace(unrecoverable=True)])
    assert outcome.reason == reason


@pytest.mark.parametrize(
    ("name", "deed", "asked_after"),
    [
        ("image", "untag", []),
        ("tag", "untag", []),
        ("untagged", "untag", ["users_of", "image"]),
        ("container", "remove_container", ["container"]),
        ("volume", "remove_volume", ["users_of", "volume"]),
        ("network", "remove_network", ["users_of", "network"]),
    ],
)
def test_events_are_asked_for_once_after_the_last_look_but_before_one_for_a_name(
    tmp_path: Path, name: str, deed: str, asked_after: list[str]
) -> None:
    """What is asked last tells of all since the judgement; a name may be moved between the look and the deed."""
    engine, intents = FakeEngine(), FakeIntents()
    engine.put(IMAGE, an_image("bare"))
    if name == "container":
        engine.run(CONTAINER)
    engine.add_volume(VOLUME)
    engine.add_network(NETWORK)
    bare = engine.image(an_image("bare").id)
    todo = {**STEPS, "untagged": step(Kind.IMAGE, bare.id, bare)}[name]._replace(
        action="untag" if name == "tag" else "remove", unrecoverable=True
    )
    witness, asked = Witness(engine).begin(engine.clock.now_ns), list[int]()
    engine.clock.pass_(0.001)

    def news_of(about: Step) -> News | None:
        asked.append(len(engine.calls))
        return witness(about)

    tools = replace(Ground(tmp_path, engine).tools(intents), news_of=news_of)
    [outcome] = Executor(tools, intents).run("run-1", [todo])
    assert outcome.effect is Effect.APPLIED
    calls = [operation for operation, _ in engine.calls]
    done = calls.index(deed)
    assert [at < done for at in asked].count(True) == 1
    assert calls[asked[0] - len(asked_after) : asked[0]] == asked_after
    assert asked_after or calls[done - 1] == "image"


def test_what_the_engine_has_forgotten_counts_as_anything() -> None:
    engine = FakeEngine()
    witness = Witness(engine).begin(engine.clock.now_ns)
    emit(engine, *[7] * REMEMBERED_EVENTS)
    assert "does not remember" in told(witness(STEPS["volume"]))
    assert "does not remember" in told(witness(STEPS["image"]))


@pytest.mark.parametrize("wait", [lambda tools: tools.sleep(0), lambda tools: tools.archive.progress()])
def test_whoever_waits_for_long_forgets_nothing(tmp_path: Path, wait: Callable[[Tools], None]) -> None:
    """For a new container to be well, say, or for an archive, while probes of health go on."""
    engine, most = FakeEngine(), REMEMBERED_EVENTS - 5
    with closing(Parts(Settings(state_dir=tmp_path), Metrics(), engine=engine)) as parts:
        parts.inventory.seen_ns = engine.clock.now_ns
        tools = parts.executor(engine.info)._tools
        emit(engine, 6, *[11] * most)
        wait(tools)
        emit(engine, *[11] * most, 16)
        news = [told(tools.news_of(STEPS[name])) for name in ("image", "volume", "network")]
    assert news == [*(f"it was used or changed since it was judged ({kind})" for kind in ("image", "volume")), ""]


def test_an_image_of_many_names_hides_nothing_from_the_steps_after_it(tmp_path: Path) -> None:
    engine, intents = FakeEngine(), FakeIntents()
    engine.put(many := an_image("many", *(f"many:{n}" for n in range(2 * REMEMBERED_EVENTS))), IMAGE)
    steps = [step(Kind.IMAGE, each.id, engine.image(each.id)) for each in (many, IMAGE)]
    witness = Witness(engine).begin(engine.clock.now_ns)
    engine.clock.pass_(0.001)
    tools = replace(Ground(tmp_path, engine).tools(intents), news_of=witness)
    tools.archive.progress = witness.meanwhile

    def take_long() -> None:
        engine.clock.pass_(2)
        witness._asked_at -= 2

    engine.just_before("untag", *[take_long] * len(many.tags))
    outcomes = list(Executor(tools, intents).run("run-1", steps))
    assert [outcome.reason for outcome in outcomes] == ["removed", "removed"], outcomes


@pytest.mark.parametrize("back_seconds", [1, 3600, 10**8])
def test_a_clock_that_was_set_back_hides_nothing(back_seconds: float) -> None:
    engine = FakeEngine()
    engine.clock.pass_(10)
    witness = Witness(engine).begin(engine.clock.now_ns)
    engine.clock.now_ns -= int(back_seconds * 10**9)
    assert "set back" in told(witness(STEPS["volume"]))

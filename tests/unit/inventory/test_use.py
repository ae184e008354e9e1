"""Use, idle time and what depends on what are the same whether they come from events or from full lists, of any kind.

One inventory looks where events say so, another lists everything after each thing that happens. Both have one clock.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dockwarden.errors import ConflictError, EngineUnavailableError, NotFoundError
from dockwarden.inventory.collect import Collector
from dockwarden.model import Kind, Ref
from dockwarden.model.needs import Need
from dockwarden.triggers.events import hints
from tests.builders import (
    Ticks,
    a_container,
    a_mount,
    a_network,
    a_volume,
    an_image,
    an_inventory,
    hexadecimal,
    image_id,
)
from tests.fakes import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from dockwarden.inventory.live import Inventory
    from dockwarden.model import Container
    from dockwarden.model.needs import Needs

WORDS = ("one", "two")


class Step(NamedTuple):
    """Something that a person does, how long after the step before, and whether our looks come by events or a list."""

    verb: str
    name: str
    other: str
    seconds: int
    is_full: bool


def container(name: str, other: str, *, running: bool) -> Container:
    mounts, networks = (a_mount(f"{other}-data"),), (f"{other}-net",)
    return a_container(name, f"{other}:1", other, running=running, mounts=mounts, networks=networks)


def run(engine: FakeEngine, name: str, other: str, *, running: bool) -> None:
    """Of what the name means, or by ID where it means nothing; no ID of a container is ever given twice."""
    images = engine.images()
    is_new = name not in [each.name for each in engine._containers.values()]
    if is_new and image_id(other) in [image.id for image in images]:
        made = container(name, other, running=running)
        is_name = any(f"docker.io/library/{other}:1" in image.tags for image in images)
        image_ref = made.image_ref if is_name else image_id(other)
        engine.run(replace(made, id=hexadecimal(f"{name} {len(engine.calls)}"), image_ref=image_ref))


def load(engine: FakeEngine, name: str) -> None:
    if image_id(name) not in [image.id for image in engine.images()]:
        engine.load(an_image(name))


DEEDS: dict[str, Callable[[FakeEngine, str, str], object]] = {
    "create": lambda engine, name, other: run(engine, name, other, running=False),
    "run": lambda engine, name, other: run(engine, name, other, running=True),
    "start": lambda engine, name, _: engine.start_container(engine._container(name).id),
    "stop": lambda engine, name, _: engine.stop_container(engine._container(name).id),
    "destroy": lambda engine, name, _: engine.remove(name),
    "attach": lambda engine, name, other: engine.attach(a_network(f"{other}-net"), name),
    "detach": lambda engine, name, other: engine.detach(a_network(f"{other}-net"), name),
    "tag": lambda engine, name, other: engine.name(image_id(name), f"{other}:1"),
    "untag": lambda engine, name, _: engine.unname(f"{name}:1"),
    "load": lambda engine, name, _: load(engine, name),
    "make volume": lambda engine, name, _: engine.add_volume(a_volume(f"{name}-data")),
    "make network": lambda engine, name, _: engine.add_network(a_network(f"{name}-net")),
    "remove volume": lambda engine, name, _: engine.remove_volume(f"{name}-data"),
    "remove network": lambda engine, name, _: engine.remove_network(a_network(f"{name}-net").id),
}
WORD = st.sampled_from(WORDS)
STEPS = st.lists(
    st.builds(
        Step, st.sampled_from(sorted(DEEDS)), WORD, WORD, st.integers(0, 5), st.sampled_from([False, False, True])
    ),
    max_size=12,
)


class Watch:
    """An inventory of an engine, kept true by events or by lists."""

    def __init__(self, engine: FakeEngine, ticks: Ticks) -> None:
        self.inventory = an_inventory(ticks)
        self.collector = Collector(engine, self.inventory)
        self.collector.reconcile()


def known(inventory: Inventory) -> dict[Ref, tuple[object, ...]]:
    """Of every object that is here: use, ages, and what its change alters."""
    found: dict[Ref, tuple[object, ...]] = {}
    for kind in Kind:
        for ref in inventory.all(kind):
            ages = (inventory.known_for(ref), inventory.idle_for(ref)) if kind is not Kind.HOST else ()
            found[ref] = (inventory.is_used(ref), set(inventory.users_of(ref)), ages, inventory.dependents(ref))
    return found


_E = TypeVar("_E", bound=FakeEngine)


def a_busy_engine(engine: _E) -> _E:
    for word in WORDS:
        engine.put(an_image(word, f"{word}:1"))
        engine.add_volume(a_volume(f"{word}-data"))
        engine.add_network(a_network(f"{word}-net"))
        engine.run(container(word, word, running=True))
    engine.take_events()
    return engine


@given(STEPS)
def test_events_tell_the_same_as_full_lists(steps: list[Step]) -> None:
    engine, ticks = a_busy_engine(FakeEngine()), Ticks()
    by_events, by_lists = Watch(engine, ticks), Watch(engine, ticks)
    for step in steps:
        ticks.pass_(step.seconds)
        with suppress(ConflictError, NotFoundError):
            DEEDS[step.verb](engine, step.name, step.other)
        dirty = [hint for event in engine.take_events() for hint in hints(event)]
        if step.is_full:
            by_events.collector.reconcile()
        else:
            by_events.collector.refresh(dirty)
        by_lists.collector.reconcile()
        assert known(by_events.inventory) == known(by_lists.inventory)


def test_whatever_a_container_used_is_idle_since_it_went() -> None:
    engine, ticks = a_busy_engine(FakeEngine()), Ticks()
    watch = Watch(engine, ticks)
    ticks.pass_(60)
    engine.remove("one")
    watch.collector.refresh(hint for event in engine.take_events() for hint in hints(event))
    ticks.pass_(5)
    for kind in (Kind.IMAGE, Kind.TAG, Kind.VOLUME, Kind.NETWORK):
        used = next(ref for ref in watch.inventory.all(kind) if watch.inventory.idle_for(ref))
        assert (watch.inventory.idle_for(used), watch.inventory.known_for(used)) == (5.0, 65.0), kind


@pytest.mark.parametrize("name", ["one:1", "one"])  # and with `--all-tags`
def test_who_pulls_what_is_here_already_wants_it(name: str) -> None:
    engine, ticks = a_busy_engine(FakeEngine()), Ticks()
    engine.remove("one")
    engine.take_events()
    watch = Watch(engine, ticks)
    ticks.pass_(60)
    engine.emit("image", "pull", name, "one")
    watch.collector.refresh(hint for event in engine.take_events() for hint in hints(event))
    ticks.pass_(5)
    image, tag = Ref(Kind.IMAGE, image_id("one")), Ref(Kind.TAG, "docker.io/library/one:1")
    assert [watch.inventory.idle_for(ref) for ref in (image, tag)] == [5.0, 5.0]


class Dying(FakeEngine):
    """An engine that goes away after so many more answers."""

    answers_left = float("inf")

    def _called(self, operation: str, argument: str = "") -> None:
        self.answers_left -= 1
        if self.answers_left < 0:
            self.go_away()
        super()._called(operation, argument)

    def come_back(self) -> None:
        super().come_back()
        self.answers_left = float("inf")


class Batch(NamedTuple):
    """What happens before a look; after how many answers the engine is away; whether events come before a list then."""

    steps: list[Step]
    answers: float = float("inf")
    is_amid: bool = False


def to_one(verb: str, name: str, seconds: int = 0) -> Step:
    return Step(verb, name, "one", seconds, is_full=False)


GONE = Batch([to_one("destroy", word) for word in WORDS])
MOVED = Batch([to_one("destroy", "one"), to_one("tag", "two")])  # the name of the first image is the second one's


@settings(max_examples=40)
@given(st.lists(st.builds(Batch, STEPS, st.integers(0, 6) | st.just(float("inf")), st.booleans()), max_size=3))
# The name moved after its image was used, also where the engine is away then.
@example([GONE, Batch([to_one("create", "two"), to_one("destroy", "two", 1), to_one("tag", "two")])])
@example([GONE, Batch([to_one("create", "one"), to_one("destroy", "one", 1), to_one("tag", "two")], answers=0)])
@example(
    [GONE, Batch([to_one("create", "two", 5), to_one("destroy", "two", 1), to_one("make volume", "one")], answers=0)]
)
# It is back at its image for a moment, or to stay.
@example([MOVED, Batch([to_one("tag", "one"), to_one("create", "one"), to_one("destroy", "one", 1)], 0, is_amid=True)])
@example(
    [MOVED, Batch([to_one("tag", "one"), to_one("create", "one"), to_one("destroy", "one", 1), to_one("tag", "two")])]
)
def test_what_events_tell_late_never_makes_anything_older(batches: list[Batch]) -> None:
    """Looks come after several things have happened: containers may have come and gone, objects gone and come back.

    Not those that never ran: of the volumes and networks of such a one no event tells. A look may have no end.
    """
    engine, ticks = a_busy_engine(Dying()), Ticks()
    late, by_lists = Watch(engine, ticks), Watch(engine, ticks)
    for steps, answers, is_amid in batches:
        for step in steps:
            ticks.pass_(step.seconds)
            with suppress(ConflictError, NotFoundError):
                DEEDS["run" if step.verb == "create" else step.verb](engine, step.name, step.other)
            by_lists.collector.reconcile()
        engine.answers_left = answers
        with suppress(EngineUnavailableError):
            late.collector.refresh(dict.fromkeys(hint for event in engine.take_events() for hint in hints(event)))
        if engine.away:
            engine.come_back()
            if is_amid:
                late.collector.refresh(())
            late.collector.reconcile()
        engine.answers_left = float("inf")
        right, told = by_lists.inventory, late.inventory
        for kind in (Kind.IMAGE, Kind.TAG, Kind.CONTAINER, Kind.VOLUME, Kind.NETWORK):
            assert set(told.all(kind)) == set(right.all(kind))
            for ref in right.all(kind):
                assert (told.is_used(ref), set(told.users_of(ref))) == (right.is_used(ref), set(right.users_of(ref)))
                assert told.dependents(ref) == right.dependents(ref)
                assert told.idle_for(ref) <= right.idle_for(ref), ref
                assert told.known_for(ref) <= right.known_for(ref), ref


@pytest.mark.parametrize("kind", [Kind.IMAGE, Kind.TAG, Kind.VOLUME, Kind.NETWORK])
def test_a_container_that_came_and_went_before_we_looked_used_what_it_used(kind: Kind) -> None:
    engine, ticks = a_busy_engine(FakeEngine()), Ticks()
    for word in WORDS:
        engine.remove(word)
    engine.take_events()
    watch = Watch(engine, ticks)
    ticks.pass_(60)
    engine.run(container("short", "one", running=True))
    engine.remove("short")
    watch.collector.refresh(dict.fromkeys(hint for event in engine.take_events() for hint in hints(event)))
    ticks.pass_(5)
    assert sorted(watch.inventory.idle_for(ref) for ref in watch.inventory.all(kind)) == [5.0, 65.0]


def test_what_went_and_came_back_before_we_looked_is_young() -> None:
    engine, ticks = a_busy_engine(FakeEngine()), Ticks()
    for word in WORDS:
        engine.remove(word)
    engine.take_events()
    watch = Watch(engine, ticks)
    ticks.pass_(60)
    engine.unname("one:1")
    engine.load(an_image("one", "one:1"))
    engine.remove_volume("one-data")
    engine.add_volume(a_volume("one-data"))
    changes = watch.collector.refresh(dict.fromkeys(hint for event in engine.take_events() for hint in hints(event)))
    assert {"image.delete", "image.new", "volume.destroy", "volume.create"} <= {change.cause for change in changes}
    for ref in (Ref(Kind.IMAGE, image_id("one")), Ref(Kind.VOLUME, "one-data")):
        assert watch.inventory.known_for(ref) == 0.0
    assert watch.inventory.known_for(Ref(Kind.VOLUME, "two-data")) == 60.0


@pytest.mark.parametrize(
    "options",
    [
        {"type": "none", "o": "bind", "device": "/var/lib/docker/volumes/data/_data"},
        {"type": "none", "o": "bind", "device": "/srv/docker/volumes/data/_data/below/it"},
        {"type": "overlay", "device": "overlay", "o": "lowerdir=/d/volumes/data/_data,upperdir=/u,workdir=/w"},
        {"type": "overlay", "device": "overlay", "o": "lowerdir=/l:/d/volumes/data/_data:/m"},
    ],
)
def test_a_volume_whose_files_another_one_shows_is_in_use(options: dict[str, str]) -> None:
    engine = FakeEngine()
    for volume in (a_volume("data"), a_volume("_data"), a_volume("data2"), replace(a_volume("view"), options=options)):
        engine.add_volume(volume)
    inventory = Watch(engine, Ticks()).inventory
    used = {ref.key for ref in inventory.all(Kind.VOLUME) if inventory.is_used(ref)}
    assert used == {"data"}


NEEDS = st.none() | st.lists(
    st.builds(
        Need,
        st.sampled_from(["web", "job"]),
        st.frozensets(st.sampled_from(["docker.io/library/app:1", image_id("app"), "docker.io/library/gone:1"])),
        st.frozensets(st.sampled_from(["data", "d*", "other"])),
    ),
    unique_by=lambda need: need.service,
)


@given(st.lists(NEEDS, max_size=4))
def test_what_other_services_need_than_before_is_told(needs: list[Needs]) -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1"))
    inventory.put(a_volume("data"))
    refs = [*inventory.all(Kind.IMAGE), *inventory.all(Kind.VOLUME)]
    for now in needs:
        before = [inventory.needed_by(ref) for ref in refs]
        told = inventory.put_needs(now)
        after = [inventory.needed_by(ref) for ref in refs]
        others = [ref for ref, one, two in zip(refs, before, after, strict=True) if set(one) != set(two)]
        assert list(told) == ([] if now is None else others)

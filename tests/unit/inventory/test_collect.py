"""Looking at the engine: what an event names, what it does not name, and everything once."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden import reference
from dockwarden.errors import AnswerError, ConflictError, EngineUnavailableError, NotFoundError
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.live import Inventory
from dockwarden.model import Change, Dirty, Image, ImageStore, Kind, Network, Observed, Ref
from dockwarden.triggers.events import hints
from tests.builders import (
    Ticks,
    a_container,
    a_mount,
    a_network,
    a_volume,
    an_image,
    an_inventory,
    details,
    digest_of,
    hexadecimal,
    image_id,
)
from tests.fakes import FakeEngine


class Host:
    """An engine with its inventory; `see` does what the event reader and the worker would do with the events."""

    def __init__(self, store: ImageStore = ImageStore.GRAPH) -> None:
        self.ticks = Ticks()
        self.engine = FakeEngine(store)
        self.inventory: Inventory = an_inventory(self.ticks, store=store)
        self.collector = Collector(self.engine, self.inventory)

    def start(self) -> None:
        """Everything is listed; what led to it is past."""
        self.collector.reconcile()
        self.engine.take_events()
        self.engine.calls.clear()

    def see(self) -> Counter[Change]:
        where = [hint for event in self.engine.take_events() for hint in hints(event)]
        return Counter(self.collector.refresh(dict.fromkeys(where)))

    def operations(self) -> list[str]:
        return [operation for operation, _ in self.engine.calls]


@pytest.fixture(params=list(ImageStore))
def host(request: pytest.FixtureRequest) -> Host:
    return Host(request.param)


@pytest.fixture
def graph() -> Host:
    return Host(ImageStore.GRAPH)


@pytest.fixture
def containerd() -> Host:
    return Host(ImageStore.CONTAINERD)


def image(word: str) -> Ref:
    return Ref(Kind.IMAGE, image_id(word))


def tag(name: str) -> Ref:
    return Ref(Kind.TAG, reference.full(name))


def happened(*changes: tuple[str, Ref]) -> Counter[Change]:
    return Counter(Change(cause, ref) for cause, ref in changes)


@pytest.mark.parametrize("then", ["stays", "moves", "goes"])
def test_an_image_that_got_a_name_is_looked_at_by_it_once_and_by_its_id_only_where_that_is_another(
    host: Host, then: str
) -> None:
    host.engine.put(an_image("other", "other:1"))
    host.start()
    host.engine.put(an_image("app", "app:1"))  # which no event told
    host.engine.name("app:1", "app:2")
    if then == "moves":
        host.engine.name("other:1", "app:2")
    elif then == "goes":
        host.engine.unname("app:2")
    host.see()
    assert image("app").key in host.inventory.images
    assert host.inventory.tags.get(tag("app:2").key, "") == {
        "stays": image("app").key,
        "moves": image("other").key,
        "goes": "",
    }.get(then)
    if then == "stays":
        assert host.engine.calls == [("image", tag("app:2").key)]


@pytest.mark.parametrize(
    ("known", "looks"),
    [
        (a_network("front"), []),  # whoever joins it changes nothing of it
        (replace(a_network("front"), is_of_swarm=True), ["network"]),  # it comes to a node with its first task
        (None, ["network"]),  # no event told of it
    ],
)
def test_a_network_is_looked_at_when_it_is_joined_only_where_that_may_change_it(
    graph: Host, known: Network | None, looks: list[str]
) -> None:
    graph.engine.put(an_image("app", "app:1"))
    graph.engine.run(a_container("web"))
    if known:
        graph.engine.add_network(known)
    graph.start()
    front = known or a_network("front")
    if known is None:
        graph.engine.add_network(front)
        graph.engine.take_events()
    graph.engine.attach(front, "web")
    graph.see()
    assert graph.operations() == [*looks, "container"]
    assert graph.inventory.has(Ref(Kind.NETWORK, front.id))
    assert "front" in graph.inventory.containers[a_container("web").id].networks


# -- everything once -----------------------------------------------------------------------------------------


def test_a_first_list_finds_everything(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"), an_image("old"))
    host.engine.run(a_container("web", networks=("front",), mounts=(a_mount("data"),)))
    host.engine.add_volume(a_volume("data"))
    host.engine.add_network(a_network("front"))
    changes = host.collector.reconcile()
    assert {change.cause for change in changes} >= {"image.new", "image.tag", "container.create", "volume.create"}
    assert host.inventory.counts() == {
        Kind.IMAGE: 2,
        Kind.TAG: 1,
        Kind.CONTAINER: 1,
        Kind.VOLUME: 1,
        Kind.NETWORK: 1,
        Kind.SERVICE: 0,
    }
    assert host.inventory.complete


def test_a_second_list_of_the_same_finds_nothing(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"), an_image("pinned", digests=(digest_of("app", "d"),)))
    host.engine.run(a_container("web"))
    host.engine.add_volume(a_volume("data"))
    host.start()
    assert host.collector.reconcile() == []


def test_a_list_finds_what_happened_while_nobody_looked(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"), an_image("gone", "gone:1"))
    host.engine.add_volume(a_volume("lost"))
    host.engine.run(a_container("web"))
    host.engine.run(a_container("job", "gone:1"))
    host.engine.add_network(a_network("front"))
    host.start()
    host.engine.remove("job")
    host.engine.unname("gone:1")
    host.engine.remove_volume("lost")
    host.engine.remove_network(a_network("front").id)
    host.engine.name("app:1", "app:2")
    host.engine.die("web", 1)
    changes = Counter(host.collector.reconcile())
    job, web = Ref(Kind.CONTAINER, a_container("job").id), Ref(Kind.CONTAINER, a_container("web").id)
    expected = happened(
        ("image.delete", image("gone")),
        ("image.untag", tag("gone:1")),
        ("image.tag", tag("app:2")),
        ("container.die", web),
        ("container.stop", web),
        ("container.destroy", job),
        ("container.destroy", image("gone")),
        ("container.destroy", tag("gone:1")),
        ("volume.destroy", Ref(Kind.VOLUME, "lost")),
        ("network.destroy", Ref(Kind.NETWORK, a_network("front").id)),
    )
    assert changes == expected


def test_an_image_that_comes_while_the_list_is_made_is_not_believed_gone(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start()
    kept = [replace(host.engine.image("app:1"), details=None)]
    host.engine.images = lambda repository="": [i for i in kept if repository]  # type: ignore[method-assign]
    assert host.collector.reconcile() == []
    assert host.inventory.has(tag("app:1"))


def test_an_engine_that_goes_away_in_the_middle_of_a_list_leaves_the_inventory_as_it_was(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.engine.run(a_container("web"))
    host.start()
    host.engine.just_before("volumes", host.engine.go_away)
    with pytest.raises(EngineUnavailableError):
        host.collector.reconcile()
    assert host.inventory.has(tag("app:1"))
    assert host.inventory.has(Ref(Kind.CONTAINER, a_container("web").id))


def test_a_list_forgets_the_ages_of_what_is_gone(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start()
    host.ticks.pass_(100)
    assert host.inventory.memory.known_for(image("app")) == 100.0
    host.engine.vanish(image_id("app"))
    host.collector.reconcile()
    host.engine.put(an_image("app", "app:1"))
    host.collector.reconcile()
    assert host.inventory.memory.known_for(image("app")) == 0.0


def test_what_the_ledger_remembers_and_a_first_list_does_not_show_is_young_when_it_comes(host: Host) -> None:
    host.ticks.pass_(1000)
    host.inventory.memory.recall([(image("app"), Observed(1.0, 1.0)), (Ref(Kind.VOLUME, "data"), Observed(1.0, 1.0))])
    host.collector.reconcile()
    host.engine.put(an_image("app", "app:1"))
    host.engine.add_volume(a_volume("data"))
    host.collector.reconcile()
    assert host.inventory.memory.known_for(image("app")) == 0.0
    assert host.inventory.memory.known_for(Ref(Kind.VOLUME, "data")) == 0.0


def test_an_image_whose_removal_an_event_told_is_young_when_it_comes_back(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start()
    host.ticks.pass_(100)
    host.engine.unname("app:1")
    host.see()
    host.engine.load(an_image("app", "app:1"))
    host.see()
    assert host.inventory.memory.known_for(image("app")) == 0.0


# -- images ----------------------------------------------------------------------------------------------------


def test_a_pull_of_a_new_image(host: Host) -> None:
    host.start()
    host.engine.pull(an_image("app"), "app:1")
    changes = host.see()
    assert changes == happened(("image.new", image("app")), ("image.tag", tag("app:1")), ("image.pull", tag("app:1")))


def test_a_pull_that_brings_nothing_new_is_a_pull_all_the_same(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.start()
    host.engine.pull(an_image("app"), "app:1")
    assert host.see() == happened(("image.pull", tag("app:1")))


def test_a_pull_that_moves_a_tag_untags_the_old_image_of_which_no_event_speaks(host: Host) -> None:
    host.engine.pull(an_image("old"), "app:1")
    host.start()
    host.engine.pull(an_image("new"), "app:1")
    changes = host.see()
    assert changes == happened(
        ("image.new", image("new")),
        ("image.tag", tag("app:1")),
        ("image.pull", tag("app:1")),
        ("image.untag", image("old")),
    )
    assert ("image", image_id("old")) in host.engine.calls, "the loser was not looked at again"
    assert not host.inventory.suspect


def test_an_image_that_a_store_keeps_only_after_it_told_of_the_pull_is_waited_for(
    containerd: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    containerd.engine.pull(an_image("old"), "app:1")
    containerd.start()
    containerd.engine.pull(an_image("new"), "app:1")
    ask, early = containerd.engine.image, iter((1, 2))

    def answer(name: str) -> Image:
        if name == image_id("old") and next(early, None):
            raise NotFoundError(name)
        return ask(name)

    monkeypatch.setattr(containerd.engine, "image", answer)
    changes = containerd.see()
    assert changes[Change("image.untag", image("old"))] == 1
    assert not [change for change in changes if change.cause == "image.delete"]
    assert image_id("old") in containerd.inventory.images


def test_a_build_on_containerd_lets_the_old_image_vanish_without_an_event(containerd: Host) -> None:
    containerd.engine.build(an_image("old"), "app:1")
    containerd.start()
    containerd.engine.build(an_image("new"), "app:1")
    assert containerd.see() == happened(
        ("image.new", image("new")),
        ("image.tag", tag("app:1")),
        ("image.untag", image("old")),
        ("image.delete", image("old")),
    )


def test_a_build_of_which_an_old_engine_says_nothing_is_found_by_its_first_container(graph: Host) -> None:
    graph.engine.build(an_image("old"), "app:1")
    graph.start()
    graph.engine.build(an_image("new"), "app:1")
    assert graph.see() == Counter()
    graph.engine.run(a_container("web"))
    web = Ref(Kind.CONTAINER, a_container("web").id)
    assert graph.see() == happened(
        ("container.create", web),
        ("container.start", web),
        ("image.new", image("new")),
        ("image.tag", tag("app:1")),
        ("image.untag", image("old")),
    )


def test_a_tag_that_is_set(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start()
    host.engine.name("app:1", "app:2")
    assert host.see() == happened(("image.tag", tag("app:2")))


def test_a_tag_that_moves_to_another_image(host: Host) -> None:
    host.engine.put(an_image("old", "app:1"), an_image("new", "app:2"))
    host.start()
    host.engine.name("app:2", "app:1")
    assert host.see() == happened(("image.tag", tag("app:1")), ("image.untag", image("old")))


@pytest.mark.parametrize("last", ["app:1", "app:2"])
def test_a_tag_that_moves_and_is_removed_before_anybody_looks(host: Host, last: str) -> None:
    host.engine.put(an_image("old", "app:1", "app:3"), an_image("new", "app:2"))
    host.start()
    host.engine.name("app:2", "app:1")
    host.engine.unname("app:1")
    host.engine.unname(last) if last != "app:1" else None
    assert host.see()[Change("image.untag", image("old"))] == 1
    assert reference.full("app:1") not in host.inventory.tags


def test_a_tag_that_is_set_costs_one_look(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start()
    host.engine.name("app:1", "app:2")
    host.see()
    assert host.operations() == ["image"]


def test_a_tag_that_is_removed(host: Host) -> None:
    host.engine.put(an_image("app", "app:1", "app:2"))
    host.start()
    host.engine.unname("app:1")
    assert host.see() == happened(("image.untag", image("app")), ("image.untag", tag("app:1")))


def test_the_last_tag_that_is_removed(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start()
    host.engine.unname("app:1")
    assert host.see() == happened(("image.delete", image("app")), ("image.untag", tag("app:1")))


def test_a_load_names_the_image_alone(host: Host) -> None:
    host.start()
    host.engine.load(an_image("app", "app:1", "app:2"))
    assert host.see() == happened(("image.new", image("app")), ("image.tag", tag("app:1")), ("image.tag", tag("app:2")))


def test_a_pull_by_digest_is_a_pull_of_the_image(host: Host) -> None:
    host.start()
    pinned = an_image("app")
    host.engine.pull(pinned, f"app@{pinned.id}")
    assert host.see() == happened(("image.new", image("app")), ("image.pull", image("app")))


def test_a_pull_of_a_whole_repository_is_a_pull_of_each_image_in_it(graph: Host) -> None:
    graph.start()
    graph.engine.put(an_image("one", "h.io:5000/app:1", "other:1"), an_image("two", "h.io:5000/app:2"))
    graph.engine.put(an_image("far", "h.io:5000/application:1"))
    graph.engine.emit("image", "pull", "h.io:5000/app")
    changes = graph.see()
    pulled = {change.ref for change in changes if change.cause == "image.pull"}
    assert pulled == {image("one"), image("two")}, "which tags came, nobody says"
    assert not graph.inventory.has(image("far"))


def test_a_pulled_image_that_is_gone_again_changes_nothing(host: Host) -> None:
    host.start()
    host.engine.pull(an_image("app"), "app:1")
    host.engine.vanish(image_id("app"))
    assert host.see() == Counter()


def test_a_name_that_is_gone_leads_to_the_image_that_had_it(host: Host) -> None:
    host.engine.put(an_image("app", "app:1", "app:2"))
    host.start()
    host.engine.unname("app:1")
    host.engine.take_events()
    assert Counter(host.collector.refresh([Dirty(Kind.IMAGE, "app:1", pulled=True)]))[
        Change("image.untag", tag("app:1"))
    ]


# -- the others ------------------------------------------------------------------------------------------------


def test_the_life_of_a_container(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start()
    web = Ref(Kind.CONTAINER, a_container("web").id)

    host.engine.run(a_container("web"))
    assert host.see() == happened(("container.create", web), ("container.start", web))

    host.engine.alter("web", "health_status", health="unhealthy")
    assert host.see() == happened(("container.health", web))

    host.engine.alter("web", "rename", name="api")
    assert host.see() == happened(("container.rename", web))

    host.engine.die("api", 1)
    assert host.see() == happened(("container.die", web), ("container.stop", web))

    host.engine.calls.clear()
    host.engine.remove("api")
    assert host.see() == happened(
        ("container.destroy", web), ("container.destroy", image("app")), ("container.destroy", tag("app:1"))
    )
    assert "container" not in host.operations()  # no other will ever have its ID


def test_a_container_that_came_and_went_between_two_looks_was_never_there(host: Host) -> None:
    host.start()
    host.engine.run(a_container("web"))
    host.engine.remove("web")
    assert host.see() == Counter()
    assert "container" not in host.operations()


def test_volumes_and_networks_follow_their_events(host: Host) -> None:
    host.start()
    host.engine.add_volume(a_volume("data"))
    host.engine.add_network(a_network("front"))
    data, front = Ref(Kind.VOLUME, "data"), Ref(Kind.NETWORK, a_network("front").id)
    assert host.see() == happened(("volume.create", data), ("network.create", front))
    host.engine.remove_volume("data")
    host.engine.remove_network(a_network("front").id)
    assert host.see() == happened(("volume.destroy", data), ("network.destroy", front))


def test_an_event_of_another_kind_is_no_reason_to_look(host: Host) -> None:
    host.start()
    host.engine.emit("daemon", "reload", "host")
    host.engine.emit("builder", "prune", "")
    assert host.see() == Counter()
    assert host.engine.calls == []


# -- what looking costs ----------------------------------------------------------------------------------------


def test_no_event_causes_a_full_list(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start()
    host.engine.pull(an_image("new"), "app:1")
    host.engine.run(a_container("web"))
    host.engine.add_volume(a_volume("data"))
    host.engine.add_network(a_network("front"))
    host.see()
    assert not {"images", "container_ids", "volumes", "networks"} & set(host.operations())


def test_details_are_asked_for_once(host: Host) -> None:
    host.engine.put(an_image("app", "app:1", inspected=details(user="me")))
    host.start()
    assert host.inventory.images[image_id("app")].details is None
    host.collector.details(image_id("app"))
    host.collector.details(image_id("app"))
    host.collector.details(image_id("unknown"))
    told = host.inventory.images[image_id("app")].details
    assert told is not None
    assert (told.user, host.operations()) == ("me", ["image"])


def test_what_a_closer_look_shows_besides_details_is_told_by_the_next_look(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"), an_image("gone"))
    host.start()
    host.engine.name("app:1", "app:2")
    host.engine.vanish(image_id("gone"))
    for word in ("app", "gone"):
        host.collector.details(image_id(word))
    assert host.see() == happened(("image.tag", tag("app:2")), ("image.delete", image("gone")))


def test_a_pull_that_waits_when_everything_is_listed_is_still_a_pull(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.start()
    changes = host.collector.reconcile([Dirty(Kind.IMAGE, "app:1", pulled=True)])
    assert changes == [Change("image.pull", tag("app:1"))]


# -- trouble ---------------------------------------------------------------------------------------------------


def test_a_bad_answer_about_one_object_does_not_hide_the_others(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start()
    host.engine.errors["container", a_container("bad").id] = AnswerError("container: Name is missing")
    host.engine.run(a_container("bad"))
    host.engine.run(a_container("good"))
    host.see()
    assert [container.name for container in host.inventory.containers.values()] == ["good"]
    [trouble] = host.collector.take_troubles()
    assert a_container("bad").id in trouble
    assert "Name is missing" in trouble
    assert host.collector.take_troubles() == []


def test_a_bad_answer_about_one_container_does_not_fail_a_list(host: Host) -> None:
    host.engine.errors["container", a_container("bad").id] = AnswerError("container: Name is missing")
    host.engine.put(an_image("app", "app:1"))
    host.engine.run(a_container("bad"))
    host.engine.run(a_container("good"))
    host.collector.reconcile()
    assert host.inventory.complete
    assert [container.name for container in host.inventory.containers.values()] == ["good"]
    assert len(host.collector.take_troubles()) == 1


def test_an_object_that_cannot_be_read_any_more_stays_as_it_was(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.engine.run(a_container("web"))
    host.start()
    host.engine.errors["container"] = AnswerError("container: Name is missing")
    assert host.collector.reconcile() == []
    assert [container.name for container in host.inventory.containers.values()] == ["web"]


@pytest.mark.parametrize("error", [AnswerError("HTTP 500: no leader"), EngineUnavailableError("HTTP 503: no manager")])
def test_who_leads_a_swarm_is_not_known_while_nobody_can_say(host: Host, error: Exception) -> None:
    host.engine.swarm = {}
    host.start()
    assert host.inventory.leads
    host.engine.errors["services"] = error
    host.collector.reconcile()
    assert host.inventory.leads is None


def test_a_lost_engine_ends_a_look_at_once(host: Host) -> None:
    host.start()
    host.engine.run(a_container("one"))
    host.engine.run(a_container("two"))
    host.engine.go_away()
    with pytest.raises(EngineUnavailableError):
        host.see()
    assert len(host.engine.calls) == 1


def test_what_was_seen_before_the_engine_went_away_is_told_when_it_is_back(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start()
    host.engine.name("app:1", "app:2")
    host.engine.run(a_container("web"))
    host.engine.just_before("container", host.engine.go_away)
    with pytest.raises(EngineUnavailableError):
        host.see()
    host.engine.come_back()
    web = Ref(Kind.CONTAINER, a_container("web").id)
    changes = Counter(host.collector.reconcile())
    assert changes == happened(("image.tag", tag("app:2")), ("container.create", web), ("container.start", web))
    assert host.collector.reconcile() == []


def test_what_a_failed_list_saw_is_told_by_the_next(host: Host) -> None:
    host.start()
    host.engine.put(an_image("app", "app:1"))
    host.engine.just_before("networks", host.engine.go_away)
    with pytest.raises(EngineUnavailableError):
        host.collector.reconcile()
    host.engine.come_back()
    assert Counter(host.collector.reconcile()) == happened(("image.new", image("app")), ("image.tag", tag("app:1")))


def test_a_bad_answer_about_the_loser_of_a_tag_does_not_hide_the_winner(host: Host) -> None:
    host.engine.put(an_image("old", "app:1"), an_image("new", "app:2"))
    host.start()
    host.engine.errors["image", image_id("old")] = AnswerError("image: Size is missing")
    host.engine.name("app:2", "app:1")
    assert host.see()[Change("image.tag", tag("app:1"))] == 1
    assert host.inventory.tags[tag("app:1").key] == image_id("new")
    assert len(host.collector.take_troubles()) == 1


# -- everything, beside --------------------------------------------------------------------------------------


def test_a_list_of_what_is_known_leads_to_no_look(host: Host) -> None:
    digests = (digest_of("app", "d"), digest_of("other", "d"))
    host.engine.put(an_image("app", "app:1", digests=digests, labels={"a": "b"}), an_image("old"))
    host.engine.run(a_container("web", networks=("front",), mounts=(a_mount("data"),)))
    host.engine.add_volume(a_volume("data"))
    host.engine.add_network(a_network("front"))
    host.start()
    listing = host.collector.list_all()
    host.engine.calls.clear()
    assert host.collector.compare(listing) == []
    assert {operation for operation, _ in host.engine.calls} <= {"needs", "services"}


@pytest.mark.parametrize("role", ["manager", "worker", ""])
def test_the_part_in_a_swarm_is_as_at_the_last_list(host: Host, role: str) -> None:
    host.start()
    host.engine.info = replace(host.engine.info, swarm_role=role)
    host.engine.calls.clear()
    host.collector.compare(host.collector.list_all())
    assert host.inventory.info is not None
    assert host.inventory.info.swarm_role == role
    asked = {operation for operation, _ in host.engine.calls}
    assert ("services" in asked) == (role == "manager")  # to answer whether it leads, an engine may start programs


_RUNS = count()
_DEEDS = st.sampled_from(["name", "unname", "run", "remove", "volume", "no volume", "load"])


@pytest.mark.parametrize("store", list(ImageStore))
@given(
    before=st.lists(st.tuples(_DEEDS, st.integers(0, 2), st.booleans())),
    during=st.lists(st.tuples(_DEEDS, st.integers(0, 2))),
)
def test_whatever_happens_while_everything_is_listed_the_inventory_ends_as_the_engine_is(
    store: ImageStore, before: list[tuple[str, int, bool]], during: list[tuple[str, int]]
) -> None:
    """``before``: what happened until the list, and whether events told; what happens ``during`` it they tell."""
    host = Host(store)
    host.engine.put(*(an_image(f"i{number}", f"i{number}:1") for number in range(3)))
    host.start()
    for deed, number, is_told in before:
        _do(host, deed, number)
        if is_told:
            host.see()
        host.engine.take_events()
    listing = host.collector.list_all()
    for deed, number in during:
        _do(host, deed, number)
    seen_first = len(during) % 2
    if seen_first:
        host.see()
    host.collector.compare(listing)
    host.see()
    fresh = an_inventory(host.ticks, store=store)
    Collector(host.engine, fresh).reconcile()
    for table in ("tags", "containers", "volumes", "networks"):
        assert getattr(host.inventory, table) == getattr(fresh, table)
    assert {key: each.tags for key, each in host.inventory.images.items()} == {
        key: each.tags for key, each in fresh.images.items()
    }


def _do(host: Host, deed: str, number: int) -> None:
    engine, name = host.engine, f"x{number}"
    with suppress(NotFoundError, ConflictError, KeyError):
        match deed:
            case "name":
                engine.name(f"i{number}:1", f"i{(number + 1) % 3}:1")
            case "unname":
                engine.unname(f"i{number}:1")
            case "load":
                # Under a name of its own: who lost one to a load that was undone before anybody looked, no event tells.
                engine.load(an_image(f"l{number}", f"l{number}:1"))
            case "run":
                # No two containers ever have the same ID.
                engine.run(replace(a_container(name, f"i{number}:1"), id=hexadecimal(f"{name} {next(_RUNS)}")))
            case "remove":
                engine.remove(name)
            case "volume":
                engine.add_volume(a_volume(name))
            case "no volume":
                engine.remove_volume(name)

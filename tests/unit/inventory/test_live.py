"""The live inventory: each look is compared with the last one, and the difference is what happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden import reference
from dockwarden.inventory.live import Inventory
from dockwarden.model import Change, Kind, Network, Ref, Volume, ref_of
from tests.builders import (
    NOW,
    UNLIMITED,
    a_container,
    a_mount,
    a_network,
    a_volume,
    an_image,
    an_inventory,
    details,
    image_id,
)
from tests.tables import each

APP = Ref(Kind.IMAGE, image_id("app"))
WEB = Ref(Kind.CONTAINER, a_container("web").id)


def tag(name: str) -> Ref:
    return Ref(Kind.TAG, reference.full(name))


def happened(*changes: tuple[str, Ref]) -> Counter[Change]:
    return Counter(Change(cause, ref) for cause, ref in changes)


# -- images and tags -------------------------------------------------------------------------------------


def test_a_first_image_is_new_and_each_of_its_tags_was_set() -> None:
    changes = an_inventory().put(an_image("app", "app:1", "app:2"))
    assert Counter(changes) == happened(("image.new", APP), ("image.tag", tag("app:1")), ("image.tag", tag("app:2")))


def test_an_image_that_looks_as_before_changed_nothing() -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1", inspected=details()))
    assert inventory.put(an_image("app", "app:1")) == []


def test_what_an_inspect_told_outlives_a_list_that_does_not_know_it() -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1", inspected=details(user="me")))
    inventory.put(an_image("app", "app:1", "app:2"))
    told = inventory.images[image_id("app")].details
    assert told is not None
    assert (told.user, inventory.detailed) == ("me", 1)


def test_a_size_does_not_shrink_when_the_engine_tells_it_in_another_way() -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", size_bytes=3000))
    inventory.put(an_image("app", size_bytes=1000, inspected=details()))
    assert inventory.images[image_id("app")].size_bytes == 3000


def test_a_new_tag_is_a_change_of_the_tag_alone() -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1"))
    assert inventory.put(an_image("app", "app:1", "app:2")) == [Change("image.tag", tag("app:2"))]


def test_a_tag_that_is_gone_is_a_change_of_tag_and_image() -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1", "app:2"))
    changes = inventory.put(an_image("app", "app:1"))
    assert Counter(changes) == happened(("image.untag", APP), ("image.untag", tag("app:2")))
    assert tag("app:2").key not in inventory.tags
    assert inventory.repositories["docker.io/library/app"] == {tag("app:1").key}


def test_a_moved_tag_is_set_here_lost_there_and_makes_the_loser_suspect() -> None:
    inventory = an_inventory()
    inventory.put(an_image("old", "app:1"))
    inventory.put(an_image("new"))
    changes = inventory.put(an_image("new", "app:1"))
    old = image_id("old")
    assert Counter(changes) == happened(("image.tag", tag("app:1")), ("image.untag", Ref(Kind.IMAGE, old)))
    assert inventory.suspect == {old}
    assert inventory.images[old].tags == ()
    assert inventory.tags[tag("app:1").key] == image_id("new")


def test_the_loser_of_a_moved_tag_does_not_lose_it_twice() -> None:
    inventory = an_inventory()
    inventory.put(an_image("old", "app:1"))
    inventory.put(an_image("new", "app:1"))
    assert inventory.put(an_image("old")) == []
    assert inventory.tags[tag("app:1").key] == image_id("new")


def test_an_image_that_is_gone_takes_its_tags_along_and_concerns_its_containers() -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1"))
    inventory.put(a_container("web"))
    changes = inventory.drop(Ref(Kind.IMAGE, image_id("app")))
    assert Counter(changes) == happened(("image.delete", APP), ("image.untag", tag("app:1")), ("image.delete", WEB))
    assert not inventory.tags
    assert not inventory.repositories
    assert not inventory.has(APP)


def test_an_image_that_is_gone_does_not_take_a_tag_that_moved_on() -> None:
    inventory = an_inventory()
    inventory.put(an_image("old", "app:1"))
    inventory.put(an_image("new", "app:1"))
    assert inventory.drop(Ref(Kind.IMAGE, image_id("old"))) == [
        Change("image.delete", Ref(Kind.IMAGE, image_id("old")))
    ]
    assert inventory.has(tag("app:1"))


def test_what_nobody_knew_cannot_go() -> None:
    inventory = an_inventory()
    assert inventory.drop(Ref(Kind.IMAGE, image_id("app"))) == []
    assert inventory.drop(Ref(Kind.CONTAINER, "nothing")) == []
    assert inventory.drop(Ref(Kind.VOLUME, "nothing")) == []
    assert inventory.drop(Ref(Kind.NETWORK, "nothing")) == []


def test_tags_of_a_registry_with_a_port_are_told_apart_from_it() -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "h.io:5000/app:1"))
    assert dict(inventory.repositories) == {"h.io:5000/app": {"h.io:5000/app:1"}}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.none() | st.sets(st.sampled_from(["x:1", "x:2", "y:1"])),
        ),
        max_size=20,
    )
)
def test_the_tables_agree_after_any_sequence_of_looks(looks: list[tuple[str, set[str] | None]]) -> None:
    inventory = an_inventory()
    for word, tags in looks:
        if tags is None:
            inventory.drop(Ref(Kind.IMAGE, image_id(word)))
        else:
            inventory.put(an_image(word, *tags, inspected=details(layers=(word,))))
    for name, owner in inventory.tags.items():
        assert name in inventory.images[owner].tags
        assert name in inventory.repositories[name.rpartition(":")[0]]
    for image in inventory.images.values():
        assert all(inventory.tags[name] == image.id for name in image.tags)
    assert sum(map(len, inventory.repositories.values())) == len(inventory.tags)
    assert inventory.detailed == len(inventory.images)
    assert inventory.suspect <= {image_id(word) for word in "abc"}


@given(st.lists(st.sets(st.sampled_from(["x:1", "x:2", "y:1"])), min_size=1, max_size=8))
def test_the_changes_of_an_image_add_up_to_its_tags(looks: list[set[str]]) -> None:
    inventory = an_inventory()
    tags: set[str] = set()
    for look in looks:
        for cause, ref in inventory.put(an_image("app", *look)):
            if ref.kind is Kind.TAG:
                (tags.add if cause == "image.tag" else tags.remove)(ref.key)
        assert tags == {reference.full(name) for name in look}


# -- containers ------------------------------------------------------------------------------------------


@each(
    ("before", "after", "causes"),
    [
        (None, {"running": True}, ["create", "start"]),
        (None, {"running": False}, ["create"]),
        ({"running": False}, {"running": True}, ["start"]),
        ({}, {"running": False, "exit_code": 137}, ["die", "stop"]),
        ({}, {"started_at": NOW}, ["die", "stop", "start"]),
        ({}, {"health": "unhealthy"}, ["health"]),
        ({"health": "starting"}, {"health": "healthy"}, ["health"]),
        ({"health": "unhealthy"}, {"health": "unhealthy", "started_at": NOW}, ["die", "stop", "start", "health"]),
        ({}, {"networks": ("bridge", "front")}, ["update"]),
        ({}, {"mounts": (a_mount("data"),)}, ["update"]),
        ({}, {"config": replace(UNLIMITED, memory_limit_bytes=1)}, ["update"]),
        ({}, {"config": replace(UNLIMITED, restart_count=1)}, []),
        ({}, {}, []),
    ],
)
def test_what_happened_to_a_container_is_read_from_two_looks(
    before: dict[str, object] | None, after: dict[str, object], causes: list[str]
) -> None:
    inventory = an_inventory()
    if before is not None:
        inventory.put(a_container(**before))  # type: ignore[arg-type]
    changes = inventory.put(a_container(**after))  # type: ignore[arg-type]
    assert changes == [Change(f"container.{cause}", WEB) for cause in causes]


def test_a_restart_by_the_engine_is_a_die_and_a_start_and_no_update() -> None:
    inventory = an_inventory()
    inventory.put(a_container())
    again = a_container(started_at=NOW, config=replace(UNLIMITED, restart_count=1))
    assert [c.cause for c in inventory.put(again)] == ["container.die", "container.stop", "container.start"]


def test_a_new_name_is_a_rename() -> None:
    inventory = an_inventory()
    inventory.put(a_container("web"))
    renamed = replace(a_container("web"), name="api")
    assert inventory.put(renamed) == [Change("container.rename", WEB)]
    assert inventory.name_of(WEB) == "api"


def test_a_container_that_ran_between_two_looks_started_and_died() -> None:
    inventory = an_inventory()
    inventory.put(a_container("web", running=False, started_at=NOW - 9))
    causes = [change.cause for change in inventory.put(a_container("web", running=False, started_at=NOW))]
    assert causes == ["container.start", "container.die", "container.stop"]


def test_a_container_that_is_gone_concerns_what_it_used() -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1"))
    inventory.put(a_volume("data"))
    inventory.put(a_network("front"))
    inventory.put(a_container("web", mounts=(a_mount("data"),), networks=("front",)))
    gone = inventory.drop(Ref(Kind.CONTAINER, WEB.key))
    touched = {WEB, APP, tag("app:1"), Ref(Kind.VOLUME, "data"), Ref(Kind.NETWORK, a_network("front").id)}
    assert {change.ref for change in gone} == touched
    assert {change.cause for change in gone} == {"container.destroy"}
    assert not any(inventory.users_of(ref) for ref in touched)


def test_a_container_counts_for_its_image_and_for_the_tag_it_was_made_from() -> None:
    inventory = an_inventory()
    inventory.put(an_image("old", "app:1"))
    inventory.put(a_container("web", "app:1", "old", running=False))
    inventory.put(an_image("new", "app:1"))
    assert inventory.users_of(Ref(Kind.IMAGE, image_id("old"))) == {WEB}
    assert inventory.users_of(tag("app:1")) == {WEB}
    assert inventory.users_of(Ref(Kind.IMAGE, image_id("new"))) == set()


def test_a_container_that_changes_its_mounts_uses_only_the_new_ones() -> None:
    inventory = an_inventory()
    inventory.put(a_container(mounts=(a_mount("one"),)))
    inventory.put(a_container(mounts=(a_mount("two"),)))
    one, two = Ref(Kind.VOLUME, "one"), Ref(Kind.VOLUME, "two")
    assert (inventory.users_of(one), inventory.users_of(two)) == (set(), {WEB})


def test_what_a_container_does_not_use_any_more_is_told_so() -> None:
    inventory, front = an_inventory(), a_network("front")
    inventory.put(front)
    inventory.put(a_container("web", networks=("front",)))
    changes = inventory.put(a_container("web"))
    assert Counter(changes) == happened(("container.update", WEB), ("container.update", Ref(Kind.NETWORK, front.id)))


VIEW = replace(a_volume("view"), options={"device": "/d/volumes/data/_data/below"})
MADE_FROM = replace(a_network("front"), config_from="settings")


@pytest.mark.parametrize(
    ("user", "used", "another"),
    [(VIEW, a_volume("data"), a_volume("view")), (MADE_FROM, a_network("settings"), a_network("front"))],
)
def test_what_a_volume_or_network_used_is_told_that_it_is_gone_or_is_another(
    user: Volume | Network, used: Volume | Network, another: Volume | Network
) -> None:
    inventory = an_inventory()
    inventory.put(used)
    inventory.put(user)
    assert inventory.users_of(ref_of(used))
    [cause] = {change.cause for change in inventory.drop(ref_of(user)) if change.ref == ref_of(used)}
    assert cause in ("volume.destroy", "network.destroy")
    inventory.put(user)
    inventory.put(another)
    assert not inventory.users_of(ref_of(used))


# -- volumes and networks --------------------------------------------------------------------------------


def test_volumes_and_networks_come_once_and_go_once() -> None:
    inventory, front = an_inventory(), a_network("front")
    data = Ref(Kind.VOLUME, "data")
    assert inventory.put(a_volume("data")) == [Change("volume.create", data)]
    assert inventory.put(a_volume("data", labels={"a": "b"})) == []
    assert inventory.volumes["data"].labels == {"a": "b"}
    assert inventory.drop(Ref(Kind.VOLUME, "data")) == [Change("volume.destroy", data)]
    assert inventory.put(front) == [Change("network.create", Ref(Kind.NETWORK, front.id))]
    assert inventory.put(front) == []
    assert inventory.drop(Ref(Kind.NETWORK, front.id)) == [Change("network.destroy", Ref(Kind.NETWORK, front.id))]
    assert not inventory.has(data)


# -- what depends on what ----------------------------------------------------------------------------------


def dependents(inventory: Inventory, ref: Ref) -> set[Ref]:
    found = inventory.dependents(ref)
    return {Ref(kind, key) for kind, keys in found.items() for key in keys if kind is not Kind.HOST}


@pytest.fixture
def busy() -> Inventory:
    """One image with two tags, a container on it with a volume and a network, and a stranger of each kind."""
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1", "app:2"))
    inventory.put(an_image("other", "other:1"))
    for name in ("data", "strange"):
        inventory.put(a_volume(name))
    for name in ("front", "back"):
        inventory.put(a_network(name))
    inventory.put(a_container("web", "app:1", mounts=(a_mount("data"),), networks=("front",)))
    inventory.put(a_container("apart", "other:1", "other", networks=("back",)))
    return inventory


def test_an_image_alters_its_tags_and_containers(busy: Inventory) -> None:
    assert dependents(busy, APP) == {APP, tag("app:1"), tag("app:2"), WEB}


def test_a_tag_alters_its_image_the_other_tags_and_the_containers(busy: Inventory) -> None:
    assert dependents(busy, tag("app:2")) == {APP, tag("app:1"), tag("app:2"), WEB}


def test_a_tag_alters_the_containers_made_from_it_even_when_it_is_gone(busy: Inventory) -> None:
    busy.put(an_image("app"))
    assert dependents(busy, tag("app:1")) == {tag("app:1"), WEB}


def test_a_moved_tag_alters_the_containers_of_the_image_that_lost_it(busy: Inventory) -> None:
    busy.put(an_image("new", "app:1"))
    assert dependents(busy, tag("app:1")) == {tag("app:1"), Ref(Kind.IMAGE, image_id("new")), WEB}


def test_a_container_alters_its_image_tags_volumes_and_networks(busy: Inventory) -> None:
    expected = {WEB, APP, tag("app:1"), tag("app:2"), Ref(Kind.VOLUME, "data")}
    assert dependents(busy, WEB) == {*expected, Ref(Kind.NETWORK, a_network("front").id)}


def test_everything_alters_the_host(busy: Inventory) -> None:
    for kind in Kind:
        for ref in busy.all(kind):
            assert busy.dependents(ref)[Kind.HOST] == {""}


def test_what_depends_on_a_missing_object_is_the_object(busy: Inventory) -> None:
    for kind in (Kind.IMAGE, Kind.TAG, Kind.CONTAINER, Kind.VOLUME, Kind.NETWORK):
        assert dependents(busy, Ref(kind, "nothing")) == {Ref(kind, "nothing")}


def test_a_container_of_an_image_that_is_gone_alters_no_tag(busy: Inventory) -> None:
    busy.drop(Ref(Kind.IMAGE, APP.key))
    assert tag("app:1") not in dependents(busy, WEB)


# -- names and numbers -------------------------------------------------------------------------------------


def test_objects_go_by_the_names_that_people_use(busy: Inventory) -> None:
    assert busy.name_of(APP) == reference.full("app:1")
    assert busy.name_of(WEB) == "web"
    assert busy.name_of(Ref(Kind.NETWORK, a_network("front").id)) == "front"
    assert busy.name_of(Ref(Kind.VOLUME, "data")) == "data"
    assert busy.name_of(Ref(Kind.HOST, "")) == "host"
    busy.put(an_image("bare"))
    assert busy.name_of(Ref(Kind.IMAGE, image_id("bare"))) == reference.short_id(image_id("bare"))


def test_counts_are_of_every_kind_but_the_host(busy: Inventory) -> None:
    assert busy.counts() == {
        Kind.IMAGE: 2,
        Kind.TAG: 3,
        Kind.CONTAINER: 2,
        Kind.VOLUME: 2,
        Kind.NETWORK: 2,
        Kind.SERVICE: 0,
    }
    assert busy.all(Kind.HOST) == [Ref(Kind.HOST, "")]


def test_strange_names_are_keys_like_any_other() -> None:
    inventory = an_inventory()
    for name in ("a b", "$(reboot)", "\u202e", "", "x" * 5000):
        inventory.put(a_container(name, image_ref=name))
        inventory.put(a_volume(name))
    assert len(inventory.containers) == len(inventory.volumes) == 5

"""Which image is built on which, told from layers and histories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.inventory.bases import Bases, relatives
from dockwarden.inventory.facts import VOCABULARY, fill
from dockwarden.inventory.view import View
from dockwarden.model import BuildStep, Facts, Kind, Ref
from tests.builders import NOW, an_image, an_inventory, details, digest_of, hexadecimal, image_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockwarden.inventory.live import Inventory
    from dockwarden.model import FactValue

NAME, DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


def built(inventory: Inventory, word: str, *tags: str, layers: str, steps: str, labels: Mapping[str, str] = {}) -> None:
    """An image of these layers and steps, each a letter."""
    inspected = details(layers=tuple(layers))
    digests = tuple(digest_of(tag.partition(":")[0], word) for tag in tags)
    inventory.put(an_image(word, *tags, inspected=inspected, labels=labels, digests=digests))
    inventory.histories[image_id(word)] = [BuildStep(1, f"RUN {step}", NOW) for step in steps]


def known(inventory: Inventory, word: str) -> dict[str, FactValue]:
    ref = Ref(Kind.IMAGE, image_id(word))
    bases = Bases(inventory.images.values(), inventory.histories)
    sheet = Facts()
    fill(sheet, VOCABULARY[Kind.IMAGE], ref, View(inventory, NOW, bases=bases))
    return {name.removeprefix("image."): value for name, value in sheet.known.items()}


@pytest.fixture
def family() -> Inventory:
    inventory = an_inventory()
    built(inventory, "debian", "debian:12", layers="a", steps="a")
    built(inventory, "python", "python:3", "python:latest", layers="ab", steps="abx")
    built(inventory, "app", "app:1", layers="abc", steps="abxc")
    built(inventory, "apart", "apart:1", layers="abz", steps="qrs")  # the same layers, made by other steps
    built(inventory, "alone", "alone:1", layers="z", steps="z")
    return inventory


def test_the_base_is_the_nearest_image_whose_layers_and_steps_it_begins_with(family: Inventory) -> None:
    app, python, debian, apart = (known(family, word) for word in ("app", "python", "debian", "apart"))
    assert (app["base"], app["base_known"]) == ("docker.io/library/python:3", True)
    assert app["bases"] == [f"docker.io/library/{tag}" for tag in ("python:3", "python:latest", "debian:12")]
    assert app["base_digest"] == f"sha256:{hexadecimal('python')}"
    assert (app["children"], app["is_base"]) == ([], False)
    assert (python["base"], python["children"]) == ("docker.io/library/debian:12", ["docker.io/library/app:1"])
    assert (debian["base"], debian["base_known"], debian["base_digest"]) == ("", False, "")
    assert debian["children"] == ["docker.io/library/app:1", "docker.io/library/python:3"]
    assert debian["is_base"]
    assert (apart["base"], apart["bases"]) == ("", [])


def test_steps_without_layers_make_a_child_too() -> None:
    inventory = an_inventory()
    built(inventory, "base", "base:1", layers="a", steps="a")
    built(inventory, "labelled", "labelled:1", layers="a", steps="al")
    assert known(inventory, "labelled")["base"] == "docker.io/library/base:1"
    assert known(inventory, "base")["base"] == ""


def test_of_several_that_may_be_the_base_none_is(family: Inventory) -> None:
    built(family, "twin", "twin:1", layers="ab", steps="abx", labels={"made": "again"})
    app = known(family, "app")
    assert "base" not in app
    assert "base_digest" not in app
    assert app["base_known"] is False
    assert "docker.io/library/twin:1" in app["bases"]  # type: ignore[operator]
    assert "docker.io/library/python:3" in app["bases"]  # type: ignore[operator]


def test_a_base_without_a_name_is_not_named_after_its_own_base() -> None:
    inventory = an_inventory()
    built(inventory, "debian", "debian:12", layers="a", steps="a")
    built(inventory, "old", layers="ab", steps="ab")
    built(inventory, "app", "app:1", layers="abc", steps="abc")
    app = known(inventory, "app")
    assert "base" not in app
    assert app["bases"] == ["docker.io/library/debian:12"]
    assert known(inventory, "old")["children"] == ["docker.io/library/app:1"]


def test_the_label_names_the_base_unless_the_base_has_it_as_well() -> None:
    inventory = an_inventory()
    labels = {NAME: "debian:12", DIGEST: "sha256:abc"}
    built(inventory, "python", "python:3", layers="ab", steps="ab", labels=labels)
    built(inventory, "app", "app:1", layers="abc", steps="abc", labels=labels)
    python, app = known(inventory, "python"), known(inventory, "app")
    assert (python["base"], python["base_digest"]) == ("docker.io/library/debian:12", "sha256:abc")
    assert (app["base"], app["base_digest"]) == ("docker.io/library/python:3", f"sha256:{hexadecimal('python')}")
    assert python["bases"] == ["docker.io/library/debian:12"]


def test_a_history_of_very_many_steps_takes_no_longer_than_reading_it() -> None:
    class Counted(str):
        __slots__ = ()
        hashed = 0

        def __hash__(self) -> int:
            Counted.hashed += 1
            return super().__hash__()

    inventory, most = an_inventory(), 3_000
    built(inventory, "base", layers="a", steps="a")
    built(inventory, "long", layers="ab", steps="a")
    steps = [BuildStep(1, Counted("RUN a"), NOW), *(BuildStep(0, Counted(f"ENV X={n}"), NOW) for n in range(most))]
    inventory.histories[image_id("long")] = steps
    bases = Bases(inventory.images.values(), inventory.histories)
    assert bases.nearest(image_id("long")) == [image_id("base")]
    assert Counted.hashed < 10 * most


def test_an_empty_label_names_nothing() -> None:
    inventory = an_inventory()
    built(inventory, "app", "app:1", layers="a", steps="a", labels={NAME: ""})
    assert (known(inventory, "app")["base"], known(inventory, "app")["base_known"]) == ("", False)


def test_nothing_is_known_until_all_was_gathered(family: Inventory) -> None:
    sheet = Facts()
    fill(sheet, VOCABULARY[Kind.IMAGE], Ref(Kind.IMAGE, image_id("app")), View(family, NOW))
    unknown = {f"image.{name}" for name in ("base", "bases", "base_known", "base_digest", "children", "is_base")}
    assert not unknown & sheet.known.keys()


def test_only_those_that_share_the_lowest_layer_are_looked_at(family: Inventory) -> None:
    assert set(relatives(family.images.values())) == {image_id(word) for word in ("debian", "python", "app", "apart")}


_IMAGES = st.lists(st.tuples(st.text("ab", max_size=4), st.text("xy", max_size=4)), max_size=8)


@given(_IMAGES, st.randoms(use_true_random=False))
def test_nobody_is_built_on_itself_and_order_does_not_matter(images: list[tuple[str, str]], chance: object) -> None:
    inventory = an_inventory()
    for number, (layers, steps) in enumerate(images):
        built(inventory, f"i{number}", f"i{number}:1", layers=layers, steps=steps)
    listed = list(inventory.images.values())
    bases = Bases(listed, inventory.histories)
    chance.shuffle(listed)  # type: ignore[attr-defined]
    again = Bases(listed, inventory.histories)
    for key, above in bases.above.items():
        assert key not in above
        assert set(above) == set(again.above[key])
        assert all(key in bases.below[other] for other in above)
        assert set(bases.nearest(key)) == set(again.nearest(key))

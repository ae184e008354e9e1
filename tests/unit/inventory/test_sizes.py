"""What images take up together: shared layers count once, and only for the last one that goes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.inventory.sizes import Shares
from tests.builders import an_image, details, image_id

if TYPE_CHECKING:
    from dockwarden.model import Image

SIZES = {"a": 1, "b": 10, "c": 100, "d": 1000}


def image(word: str, layers: str, packed: int = 0) -> Image:
    """An image of layers named by letters; ``packed`` is the size of its contents on a containerd store."""
    inspected = replace(details(layers=tuple(layers)), content_bytes=packed)
    return an_image(word, inspected=inspected, size_bytes=sum(SIZES[layer] for layer in layers) + packed)


def shares(*images: Image, histories: dict[str, tuple[int, ...]] | None = None) -> Shares:
    return Shares(images, {each.id: (histories or {}).get(each.id, history(each)) for each in images})


def history(image: Image) -> tuple[int, ...]:
    letters = {details(layers=(name,)).layers[0]: size for name, size in SIZES.items()}
    assert image.details is not None
    return tuple(letters[layer] for layer in image.details.layers)


def ids(*words: str) -> list[str]:
    return [image_id(word) for word in words]


def test_a_shared_layer_goes_with_the_last_that_has_it() -> None:
    held = shares(image("one", "ab"), image("two", "abc"), image("kept", "a"))
    assert held.freed(ids("one", "two")) == [0, 110]
    assert held.freed(ids("two", "one")) == [100, 10]
    assert held.alone() == dict(zip(ids("one", "two", "kept"), (0, 100, 0), strict=True))


def test_a_layer_on_another_layer_is_another_one_on_a_graph_store() -> None:
    assert shares(image("one", "ab"), image("two", "b")).freed(ids("one")) == [11]


def test_a_packed_layer_is_there_once_wherever_it_lies() -> None:
    held = shares(image("one", "ab", packed=11), image("two", "b", packed=10))
    assert held.freed(ids("one")) == [12]
    assert held.freed(ids("one", "two")) == [12, 20]


def test_packed_sizes_follow_from_the_images_with_fewer_layers() -> None:
    """The base is packed to a half, what is on top of it not at all."""
    held = shares(image("base", "c", packed=50), image("app", "cb", packed=60), image("other", "cd", packed=1050))
    assert held.freed(ids("app")) == [20]
    assert held.freed(ids("other")) == [2000]


def test_nobody_twice_and_nothing_of_strangers() -> None:
    held = shares(image("one", "ab"))
    assert held.freed([*ids("one"), "", *ids("one", "stranger")]) == [11, 0, 0, 0]
    assert Shares([an_image("not-inspected")], {}).freed(ids("not-inspected")) == [0]


@pytest.mark.parametrize(
    "steps",
    [(1, 0, 10, 0, 100), (1, 10, 100), (0, 1, 10, 100, 0, 0)],
)
def test_steps_without_a_layer_are_left_out(steps: tuple[int, ...]) -> None:
    one, two = image("one", "abc"), image("two", "ab")
    assert shares(one, two, histories={one.id: steps}).freed(ids("one")) == [100]


def test_a_history_that_does_not_fit_is_shared_out() -> None:
    one, base = image("one", "abc"), image("base", "a")
    held = shares(one, base, histories={one.id: (111,)})
    assert held.freed(ids("one")) == [110]
    empty = shares(one, base, histories={one.id: ()})
    assert empty.freed(ids("one")) == [110]


_LAYERS = st.text("abcd", min_size=1, max_size=4).filter(lambda text: len(set(text)) == len(text))


@given(st.lists(st.tuples(_LAYERS, st.booleans()), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_sum_does_not_depend_on_the_order_and_all_of_them_free_everything(
    given_: list[tuple[str, bool]], random: object
) -> None:
    images = [image(f"i{n}", layers) for n, (layers, _) in enumerate(given_)]
    held = shares(*images)
    going = [each.id for each, (_, goes) in zip(images, given_, strict=True) if goes]
    total = sum(held.freed(going))
    random.shuffle(going)  # type: ignore[attr-defined]
    assert sum(held.freed(going)) == total
    chains = {layers[: n + 1] for layers, _ in given_ for n in range(len(layers))}
    left = {layers[: n + 1] for layers, goes in given_ if not goes for n in range(len(layers))}
    assert total == sum(SIZES[chain[-1]] for chain in chains - left)

"""Which local images are built on which: a child has its base's layers and its base's history below its own. Pure.

Input: inspected images and their histories. Output: IDs. Out of bounds: asking the engine, and what labels say. Images
that merely share a layer are no relatives, and of two with the same layers and history nobody can tell which was used.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from dockwarden.model import BuildStep, Image


def relatives(images: Iterable[Image]) -> list[str]:
    """The IDs of the images that others could be built on, or that could be built on others."""
    lowest = [(image.id, image.details.layers[:1]) for image in images if image.details]
    shared = Counter(layer for _, layer in lowest)
    return [image_id for image_id, layer in lowest if layer and shared[layer] > 1]


class Bases:
    """By image ID, what each is built on, the nearest first, and what is built on it."""

    def __init__(self, images: Iterable[Image], histories: Mapping[str, Sequence[BuildStep]]) -> None:
        """Images without details or, among relatives, without history count as built on nothing."""
        self._marks: dict[str, tuple[tuple[str, ...], tuple[object, ...]]] = {}
        alike: dict[tuple[str, ...], dict[tuple[object, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
        for image in images:
            if image.details:
                done = tuple((step.instruction, step.created_at) for step in histories.get(image.id, ()))
                self._marks[image.id] = image.details.layers, done
                alike[image.details.layers][done].append(image.id)
        self.above: dict[str, list[str]] = {}
        self.below: dict[str, list[str]] = {key: [] for key in self._marks}
        # Only lengths that there are: histories may have as many steps as strangers like.
        lengths = {layers: {len(done) for done in of} for layers, of in alike.items()}
        for key, (layers, steps) in self._marks.items():
            lower = (layers[:length] for length in range(1, len(layers) + 1))
            starts = ((below, length) for below in lower for length in lengths.get(below, ()) if length <= len(steps))
            fitting = (alike[below].get(steps[:length], ()) for below, length in starts)
            found = [other for each in fitting for other in each if self._height(other) < self._height(key)]
            self.above[key] = sorted(found, key=self._height, reverse=True)
            for other in found:
                self.below[other].append(key)

    def nearest(self, image_id: str) -> list[str]:
        """What it is directly built on: one image, none, or several of which it may be any."""
        above = self.above.get(image_id, [])
        return [key for key in above if self._height(key) == self._height(above[0])]

    def _height(self, key: str) -> tuple[int, int]:
        layers, steps = self._marks[key]
        return len(layers), len(steps)

"""What images take up on the disk together: which layers they share, what the disk gains when some of them go. Pure.

Input: inspected images and the sizes in their histories. Output: bytes. Out of bounds: asking the engine.

A graph store keeps each chain of layers once, unpacked. A containerd store keeps the same, and besides each layer as it
was packed, of which the engine tells only the sum per image. What it tells of an image with few layers is used for
those above it, and what remains is shared out over the layers that are left, by their unpacked sizes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dockwarden.model import Image


@dataclass(slots=True, eq=False)
class _Part:
    """A layer on top of others, or as it was packed: on the disk once, however many images have it."""

    size: float = 0.0
    is_known: bool = False
    owners: int = 0


class Shares:
    """The parts that images consist of."""

    def __init__(self, images: Iterable[Image], histories: Mapping[str, Sequence[int]]) -> None:
        """``histories``: by image ID, the bytes of each step of its history, lowest first."""
        layers: dict[tuple[object, str], _Part] = defaultdict(_Part)  # by what is below, None for nothing
        self._parts: dict[str, list[_Part]] = {}
        known = [(image, image.details) for image in images if image.details is not None and image.id in histories]
        for image, details in sorted(known, key=lambda pair: len(pair[1].layers)):
            chain: list[_Part] = []
            for layer in details.layers:
                chain.append(layers[chain[-1] if chain else None, layer])
            _measure_unpacked(chain, histories[image.id], image.size_bytes - details.content_bytes)
            packed = [layers["packed", layer] for layer in dict.fromkeys(details.layers) if details.content_bytes]
            _share_out(packed, details.content_bytes, [part.size for part in chain])
            self._parts[image.id] = [*chain, *packed]
            for part in self._parts[image.id]:
                part.owners += 1

    def alone(self) -> dict[str, int]:
        """By image ID, the bytes that the disk gains if this image alone goes."""
        return {
            image: round(sum(part.size for part in parts if part.owners == 1)) for image, parts in self._parts.items()
        }

    def freed(self, going: Iterable[str]) -> list[int]:
        """The bytes that the disk gains by each of these images in turn; 0 for "" and for those that are not known."""
        users, gone, gains = Counter[_Part](), set[str](), []
        for image in going:
            parts = self._parts.get(image, ()) if image not in gone else ()
            users.update(parts)
            gone.add(image)
            gains.append(round(sum(part.size for part in parts if users[part] == part.owners)))
        return gains


def _measure_unpacked(chain: Sequence[_Part], history: Sequence[int], total: int) -> None:
    # Steps without a layer, such as a label, have no bytes, but so has the layer of an empty directory.
    steps = [size for size in history if size] if len(history) != len(chain) else history
    if len(steps) != len(chain):
        _share_out(chain, sum(history) or total, [1.0] * len(chain))
        return
    for part, size in zip(chain, steps, strict=True):
        part.size, part.is_known = float(size), True


def _share_out(parts: Sequence[_Part], total: float, weights: Sequence[float]) -> None:
    """What is left of the total belongs to the parts whose sizes are not known yet."""
    unknown = [(part, weight) for part, weight in zip(parts, weights, strict=False) if not part.is_known]
    left = max(0.0, total - sum(part.size for part in parts if part.is_known))
    whole = sum(weight for _, weight in unknown)
    for part, weight in unknown:
        part.size, part.is_known = left * weight / whole if whole else left / len(unknown), True

"""What images take up on the disk together: which layers they share, what the disk gains when some of them go. Pure.

Input: inspected images and the sizes in their histories. Output: bytes. Out of bounds: asking the engine.

A graph store keeps each chain of layers once, unpacked. A containerd store keeps the same, and besides each layer as it
was packed, of which the engine tells only the sum per image. What it tells of an image with few layers is used for
those above it, and what remains is shared out over the layers that are left, by their unpacked sizes.
"""

from collections.abc import Iterable, Mapping, Sequence

from dockwarden.model import Image


class Shares:
    """The parts that images consist of. A part is on the disk once, however many images have it."""

    def __init__(self, images: Iterable[Image], histories: Mapping[str, Sequence[int]]) -> None:
        """``histories``: by image ID, the bytes of each step of its history, lowest first."""
        self._sizes: list[float] = []
        self._known: list[bool] = []
        self._owners: list[int] = []
        self._numbers: dict[tuple[int, str], int] = {}
        self._parts: dict[str, set[int]] = {}
        known = [(image, image.details) for image in images if image.details is not None and image.id in histories]
        for image, details in sorted(known, key=lambda pair: len(pair[1].layers)):
            chain, above = [], -1
            for layer in details.layers:
                above = self._number(above, layer)
                chain.append(above)
            self._measure_unpacked(chain, histories[image.id], image.size_bytes - details.content_bytes)
            layers = dict.fromkeys(details.layers) if details.content_bytes else ()
            packed = [self._number(-2, layer) for layer in layers]
            self._share_out(packed, details.content_bytes, [self._sizes[number] for number in chain])
            parts = self._parts[image.id] = {*chain, *packed}
            for number in parts:
                self._owners[number] += 1

    def alone(self) -> dict[str, int]:
        """By image ID, the bytes that the disk gains if this image alone goes."""
        return {
            image: round(sum(self._sizes[number] for number in parts if self._owners[number] == 1))
            for image, parts in self._parts.items()
        }

    def freed(self, going: Iterable[str]) -> list[int]:
        """The bytes that the disk gains by each of these images in turn; 0 for "" and for those that are not known."""
        left, gone, gains = list(self._owners), set[str](), []
        for image in going:
            gain = 0.0
            for number in self._parts.get(image, ()) if image not in gone else ():
                left[number] -= 1
                gain += 0 if left[number] else self._sizes[number]
            gone.add(image)
            gains.append(round(gain))
        return gains

    def _number(self, below: int, layer: str) -> int:
        """The part that is this layer on top of another part; -1 is the bottom, -2 stands for packed layers."""
        number = self._numbers.setdefault((below, layer), len(self._sizes))
        if number == len(self._sizes):
            self._sizes.append(0.0)
            self._known.append(False)
            self._owners.append(0)
        return number

    def _measure_unpacked(self, chain: Sequence[int], history: Sequence[int], total: int) -> None:
        # Steps without a layer, such as a label, have no bytes, but so has the layer of an empty directory.
        steps = [size for size in history if size] if len(history) != len(chain) else history
        if len(steps) != len(chain):
            self._share_out(chain, sum(history) or total, [1.0] * len(chain))
            return
        for number, size in zip(chain, steps, strict=True):
            self._sizes[number], self._known[number] = float(size), True

    def _share_out(self, parts: Sequence[int], total: float, weights: Sequence[float]) -> None:
        """What is left of the total belongs to the parts whose sizes are not known yet."""
        unknown = [(number, weight) for number, weight in zip(parts, weights, strict=False) if not self._known[number]]
        left = max(0.0, total - sum(self._sizes[number] for number in parts if self._known[number]))
        whole = sum(weight for _, weight in unknown)
        for number, weight in unknown:
            self._sizes[number] = left * weight / whole if whole else left / len(unknown)
            self._known[number] = True

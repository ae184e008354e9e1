"""Which digest each tag had, here and at its registry, and since when: by our own clock, from what we saw. Pure.

Input: sightings. Output: since when the present digest has been there, and what is to be written down. Out of bounds:
build dates, which say nothing about when a tag moved.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Sighting(NamedTuple):
    """What a tag has had on one side, ``local`` or ``registry``, since when.

    Attributes:
        digest: a digest, or where the engine has none the image ID; "" where a registry has it no more, None where
            nobody looks any more.
    """

    tag: str
    side: str
    digest: str | None
    since: float


def of_repository(digests: Iterable[str], repository: str) -> tuple[str, ...]:
    """Those of an image's digests, ``repository@sha256:…``, that are of this repository, without its name."""
    parts = (digest.partition("@") for digest in digests)
    return tuple(digest for name, _, digest in parts if name == repository)


class Digests:
    """The present digest of each tag on each side. ``unsaved``: those not in the ledger yet; who writes clears it."""

    def __init__(self) -> None:
        self.unsaved: list[Sighting] = []
        self._now: dict[tuple[str, str], Sighting] = {}

    def recall(self, sightings: list[Sighting]) -> None:
        self._now.update({(s.tag, s.side): s for s in sightings})

    def see(self, tag: str, side: str, digest: str, now: float) -> None:
        known = self._now.get((tag, side))
        if digest != (known.digest if known else ""):
            self._now[tag, side] = Sighting(tag, side, digest, now)
            self.unsaved.append(self._now[tag, side])

    def leave(self, tag: str, side: str, now: float) -> None:
        """Nobody looks at a tag any more."""
        if self._now.pop((tag, side), None) is not None:
            self.unsaved.append(Sighting(tag, side, None, now))

    def present(self, tag: str, side: str) -> str:
        """What we last saw; "" for nothing."""
        known = self._now.get((tag, side))
        return known.digest or "" if known else ""

    def since(self, tag: str, side: str, digest: str) -> float | None:
        """Since when a tag has had this digest; None if it is not what we last saw."""
        known = self._now.get((tag, side))
        return known.since if known and known.digest == digest else None

    def pick(self, tag: str, of_image: Iterable[str]) -> str:
        """Which of an image's digests, as ``of_repository`` has them, is the tag's own: the engine does not tell.

        The one that the registry has now, or else the one that we last saw here; "" where there is none at all.
        """
        digests = of_repository(of_image, tag.rpartition(":")[0])
        for side in ("registry", "local"):
            known = self._now.get((tag, side))
            if known and known.digest and known.digest in digests:
                return known.digest
        return digests[0] if digests else ""

    def knows(self, tag: str, side: str) -> bool:
        """Whether the tag has a digest on this side, or had one while we looked."""
        return (tag, side) in self._now

    def tags(self, side: str) -> set[str]:
        return {tag for tag, known in self._now if known == side}

"""Which digest each tag had, here and at its registry, and since when: by our own clock, from what we saw. Pure.

Input: sightings. Output: since when the present digest has been there, and what is to be written down. Out of bounds:
build dates, which say nothing about when a tag moved.
"""

from typing import NamedTuple


class Sighting(NamedTuple):
    """From ``since`` on, a tag had this digest (or, where there is none, this image ID) on one side."""

    tag: str
    side: str
    digest: str
    since: float


class Digests:
    """The present digest of each tag on each side, ``local`` and ``registry``.

    Attributes:
        unsaved: sightings that the ledger has not written down; the writer clears it. An empty digest ends the former.
    """

    def __init__(self) -> None:
        self.unsaved: list[Sighting] = []
        self._now: dict[tuple[str, str], Sighting] = {}

    def recall(self, sightings: list[Sighting]) -> None:
        """Take over what the ledger kept."""
        self._now.update({(s.tag, s.side): s for s in sightings})

    def see(self, tag: str, side: str, digest: str, now: float) -> None:
        """A tag has this digest; "" if it is gone."""
        known = self._now.get((tag, side))
        if digest == (known.digest if known else ""):
            return
        sighting = Sighting(tag, side, digest, now)
        if digest:
            self._now[tag, side] = sighting
        else:
            del self._now[tag, side]
        self.unsaved.append(sighting)

    def since(self, tag: str, side: str) -> float | None:
        """Since when the present digest has been there; None if we never saw one."""
        known = self._now.get((tag, side))
        return known.since if known else None

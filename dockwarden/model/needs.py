"""What the services of a swarm need of a node besides what runs there: images and volumes that their specs name. Pure.

Input: an object. Output: whether a service names it, or may. Out of bounds: asking anybody, and services by themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from dockwarden.model.objects import Image, Network, Thing, Volume


@dataclass(frozen=True, slots=True)
class Need:
    """What one service needs, by its spec and by the one before, to which an update may go back.

    Attributes:
        images: IDs, and full references; of ``name:tag@digest`` both ``name:tag`` and ``name@digest``.
        volumes: globs, as a spec may name a volume per task or node.
    """

    service: str
    images: frozenset[str]
    volumes: frozenset[str]

    def has(self, thing: Thing, tag: str = "") -> bool:
        """Whether the service needs the object; with a tag, whether it needs the image by that name."""
        if isinstance(thing, Volume):
            return any(fnmatchcase(thing.name, name) for name in self.volumes)
        if not isinstance(thing, Image):
            return False
        if not tag:
            return not self.images.isdisjoint((thing.id, *thing.tags, *thing.digests))
        # A graph store forgets a digest with the last tag of its repository.
        repository = tag.rpartition(":")[0]
        return not self.images.isdisjoint((tag, *(d for d in thing.digests if d.partition("@")[0] == repository)))


Needs = Sequence[Need] | None
"""What all services need; None where this node cannot tell, as a worker cannot."""


def needed_by(needs: Needs, thing: Thing, tag: str = "") -> tuple[str, ...]:
    """Who needs an object, in words."""
    return tuple(f"service {need.service}" for need in needs or () if need.has(thing, tag))


def may_be_needed(needs: Needs, thing: Thing | None) -> bool:
    """Whether nobody here knows if a service needs the object: no spec can name what has no name of its own."""
    if isinstance(thing, Image):
        return needs is None and bool(thing.tags or thing.digests)
    is_named = (isinstance(thing, Volume) and not thing.anonymous) or (isinstance(thing, Network) and thing.config_only)
    return needs is None and is_named

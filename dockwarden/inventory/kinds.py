"""What an object of each kind is to the inventory: the causes of its changes, what it uses, who names it how. Pure.

Input: frozen objects. Output: a ``KindRow`` per kind, and what an object uses. Out of bounds: tables, memory, asking
the engine. A new kind of object is a row here; the type checker lists the other places that must answer for it.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, assert_never

from dockwarden import reference
from dockwarden.model import Container, Image, Kind, Network, Service, Thing, Volume

_IN_A_VOLUME = re.compile(r"/volumes/([^/]+)/_data(?![^/:,])")


class KindRow(NamedTuple):
    """One kind.

    Attributes:
        born, gone: the causes of the changes when an object comes and goes; "" where that is told in another way.
        is_remembered: our memory has an entry of its own for each object.
        is_active: whether an object is in use by itself; None where it is others that use it.
    """

    born: str
    gone: str
    is_remembered: bool
    is_active: Callable[[Thing], bool] | None = None


def uses(thing: Thing) -> Iterator[tuple[Kind, str]]:
    """The kinds and names of what an object has in use, as it names them itself."""
    match thing:
        case Container():  # running or not: it keeps what it was created with
            yield Kind.IMAGE, thing.image_id
            yield Kind.TAG, reference.full(thing.image_ref)
            for mount in thing.mounts:
                if mount.type == "image":
                    yield from ((Kind.IMAGE, mount.image_id), (Kind.TAG, reference.full(mount.name)))
                elif mount.name:
                    yield Kind.VOLUME, mount.name
            yield from ((Kind.NETWORK, network) for network in thing.networks)
            yield from ((Kind.CONTAINER, owner) for owner in thing.stands_on)
        case Network():  # the one that has its settings
            yield from [(Kind.NETWORK, thing.config_from)] if thing.config_from else ()
        case Volume():  # those whose files it shows, as ``device=/var/lib/docker/volumes/data/_data/sub`` does
            for option in thing.options.values():
                yield from ((Kind.VOLUME, name) for name in _IN_A_VOLUME.findall(option))
        case Image() | Service():
            pass
        case _:
            assert_never(thing)


def aliases(thing: Thing | None) -> tuple[str, ...]:
    """Names besides its key: a container that never ran may know networks, and those it stands on, by name only."""
    return (thing.name,) if isinstance(thing, Network | Container) else ()


def _row(kind: Kind) -> KindRow:
    match kind:
        case Kind.IMAGE:
            return KindRow("image.new", "image.delete", is_remembered=True)
        case Kind.TAG:
            return KindRow("image.tag", "image.untag", is_remembered=False)
        case Kind.CONTAINER:
            row = KindRow("container.create", "container.destroy", is_remembered=True)
            return row._replace(is_active=lambda thing: isinstance(thing, Container) and thing.running)
        case Kind.VOLUME:
            return KindRow("volume.create", "volume.destroy", is_remembered=True)
        case Kind.NETWORK:
            return KindRow("network.create", "network.destroy", is_remembered=True)
        case Kind.SERVICE:
            return KindRow("service.create", "service.remove", is_remembered=False)
        case Kind.HOST:
            return KindRow("", "", is_remembered=False)
        case _:
            assert_never(kind)


KINDS = {kind: _row(kind) for kind in Kind}
"""The table."""

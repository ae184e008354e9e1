"""The vocabulary: every fact that policies may use, and how an object's are read. Pure.

Input: objects of the inventory and what was gathered besides (a ``View``). Output: ``Facts``, plain typed values.
Out of bounds: gathering anything. A fact that has not been gathered is left out, which policies see as unknown.
"""

from collections.abc import Callable, Iterable
from typing import Any, assert_never

from dockwarden.inventory.container_facts import CONTAINER
from dockwarden.inventory.forms import spec
from dockwarden.inventory.host_facts import HOST, NETWORK, VOLUME
from dockwarden.inventory.image_facts import IMAGE, TAG
from dockwarden.inventory.registry_facts import OF_PIN, OF_TAG
from dockwarden.inventory.service_facts import SERVICE
from dockwarden.inventory.view import OF_TYPE, Read, Row, View, rows
from dockwarden.model import Facts, Kind, Ref


def _of(part: Callable[[Any, View], Any], rows: Iterable[Row]) -> list[Row]:
    """The same facts of something that belongs to an object; unknown where that is not there."""

    def wrap(get: Read) -> Read:
        return lambda thing, view: get(found, view) if (found := part(thing, view)) else None

    return [row._replace(read=wrap(row.read)) for row in rows]


_NOW = rows("now timestamp the time of the judgement", now=lambda _, view: view.now)
_OF_ALL = {"host.": _of(lambda _, view: view, HOST), "": _NOW}
_OF_TAG = _of(lambda tag, view: view.inventory.images[view.inventory.tags[tag]], IMAGE)
_OF_CONTAINER = _of(lambda container, view: view.inventory.images.get(container.image_id), IMAGE)


def _table(*groups: tuple[str, Iterable[Row]]) -> dict[str, Row]:
    return {prefix + row.name: row for prefix, rows in (*groups, *_OF_ALL.items()) for row in rows}


def _facts(kind: Kind) -> dict[str, Row]:
    match kind:
        case Kind.IMAGE:
            return _table(("image.", IMAGE))
        case Kind.TAG:
            return _table(("tag.", TAG), ("registry.", OF_TAG), ("image.", _OF_TAG))
        case Kind.CONTAINER:
            return _table(("container.", CONTAINER), ("registry.", OF_PIN), ("image.", _OF_CONTAINER))
        case Kind.VOLUME:
            return _table(("volume.", VOLUME))
        case Kind.NETWORK:
            return _table(("network.", NETWORK))
        case Kind.SERVICE:
            return _table(("service.", SERVICE), ("registry.", OF_PIN))
        case Kind.HOST:
            return _table()
        case _:
            assert_never(kind)


_FACTS = {kind: _facts(kind) for kind in Kind}
VOCABULARY = {
    kind: {name: spec(name, row.type, row.form, row.cost, row.meaning) for name, row in facts.items()}
    for kind, facts in _FACTS.items()
}


def fill(sheet: Facts, names: Iterable[str], ref: Ref, view: View) -> None:
    """Read the named facts of an object into its sheet; those that cannot be read yet stay out.

    Raises KeyError: the object is not in the inventory, or a name is not in the vocabulary of its kind.
    """
    facts, known = _FACTS[ref.kind], sheet.known
    # A tag and the host are read by their keys.
    subject = ref.key if ref.kind in (Kind.TAG, Kind.HOST) else view.inventory.get(ref)
    if subject is None:
        raise KeyError(ref)
    for name in names:
        if name not in known:
            row = facts[name]
            value = row.read(subject, view)
            if value is not None and (convert := OF_TYPE.get(row.type)) is not None:
                value = convert(value)
            if value is not None:
                known[name] = value
                sheet.shared = None

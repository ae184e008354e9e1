"""The vocabulary: every fact that policies may use, and the sheet that holds an object's facts. Pure.

Input: objects of the inventory and what was gathered besides (a ``View``). Output: a ``Sheet`` of plain typed values.
Out of bounds: gathering anything. A fact that has not been gathered is left out, which policies see as unknown.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, assert_never

from dockwarden.inventory.container_facts import CONTAINER
from dockwarden.inventory.forms import spec
from dockwarden.inventory.host_facts import HOST, NETWORK, VOLUME
from dockwarden.inventory.image_facts import IMAGE, TAG
from dockwarden.inventory.registry_facts import OF_PIN
from dockwarden.inventory.service_facts import SERVICE
from dockwarden.inventory.view import Read, Row, View, time
from dockwarden.model import Container, FactSpec, FactValue, Kind, Ref


class Sheet:
    """The facts of one object as far as they are known. ``shared`` is room for the evaluator's prepared form."""

    __slots__ = ("known", "shared")

    def __init__(self) -> None:
        self.known: dict[str, FactValue] = {}
        self.shared: object = None


class _Fact(NamedTuple):
    spec: FactSpec
    get: Read


def _of_tag(get: Read) -> Read:
    def read(tag: str, view: View) -> FactValue | None:
        return get(view.inventory.images[view.inventory.tags[tag]], view)

    return read


def _of_container(get: Read) -> Read:
    def read(container: Container, view: View) -> FactValue | None:
        image = view.inventory.images.get(container.image_id)
        return get(image, view) if image else None

    return read


def _table(*groups: tuple[str, Iterable[Row], Callable[[Read], Read] | None]) -> dict[str, _Fact]:
    everywhere: tuple[tuple[str, Iterable[Row], Callable[[Read], Read] | None], ...] = (
        ("host.", HOST, None),
        ("", (("now", "timestamp", 0, "the time of the judgement", lambda _, v: time(v.now)),), None),
    )
    return {
        prefix + name: _Fact(spec(prefix + name, type_, cost, meaning), wrap(get) if wrap else get)
        for prefix, rows, wrap in (*groups, *everywhere)
        for name, type_, cost, meaning, get in rows
    }


def _facts(kind: Kind) -> dict[str, _Fact]:
    match kind:
        case Kind.IMAGE:
            return _table(("image.", IMAGE, None))
        case Kind.TAG:
            return _table(("", TAG, None), ("image.", IMAGE, _of_tag))
        case Kind.CONTAINER:
            return _table(("container.", CONTAINER, None), ("", OF_PIN, None), ("image.", IMAGE, _of_container))
        case Kind.VOLUME:
            return _table(("volume.", VOLUME, None))
        case Kind.NETWORK:
            return _table(("network.", NETWORK, None))
        case Kind.SERVICE:
            return _table(("service.", SERVICE, None), ("", OF_PIN, None))
        case Kind.HOST:
            return _table()
        case _:
            assert_never(kind)


_FACTS = {kind: _facts(kind) for kind in Kind}
VOCABULARY: dict[Kind, dict[str, FactSpec]] = {
    kind: {name: fact.spec for name, fact in facts.items()} for kind, facts in _FACTS.items()
}


def fill(sheet: Sheet, names: Iterable[str], ref: Ref, view: View) -> None:
    """Read the named facts of an object into its sheet; those that cannot be read yet stay out.

    Raises:
        KeyError: the object is not in the inventory, or a name is not in the vocabulary of its kind.
    """
    facts, known = _FACTS[ref.kind], sheet.known
    # A tag and the host are read by their keys.
    subject = ref.key if ref.kind in (Kind.TAG, Kind.HOST) else view.inventory.get(ref)
    if subject is None:
        raise KeyError(ref)
    for name in names:
        if name not in known:
            value = facts[name].get(subject, view)
            if value is not None:
                known[name] = value
                sheet.shared = None

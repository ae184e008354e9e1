"""What readers of facts share: the view they read from, the rows of the vocabulary, and conversions. Pure.

Input and output: values of ``model``. Out of bounds: knowing any particular fact.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from dockwarden.inventory.bases import Bases
from dockwarden.inventory.live import Inventory
from dockwarden.model import EngineInfo, FactValue, Thing, ref_of
from dockwarden.ports import Ask, Disk, Reply, Usage


@dataclass(eq=False)
class View:
    """What facts are read from besides the object itself; all but ``inventory`` and ``now`` as far as gathered.

    ``disk`` is that of the images, ``data_disk`` that of the data root if it is another one. ``measured`` holds what
    was asked about one object, by fact and key. ``question``: what a registry must answer before the fact that was read
    last can be known, None if no answer helps.
    """

    inventory: Inventory
    now: float
    disk: Disk | None = None
    replies: dict[Ask, Reply] = field(default_factory=dict)
    usage: Usage | None = None
    unique: Mapping[str, int] | None = None
    bases: Bases | None = None
    measured: dict[tuple[str, str], FactValue] = field(default_factory=dict)
    data_disk: Disk | None = None
    question: Ask | None = None

    @property
    def info(self) -> EngineInfo | None:
        return self.inventory.info

    @property
    def volume_disk(self) -> Disk | None:
        """The disk that has volumes and logs."""
        return self.data_disk or self.disk


_LONGEST_TEXT = 2**17
"""Characters; an expression over longer ones, labels of a stranger's image, may take gigabytes and minutes."""

_T = TypeVar("_T")
Read = Callable[[Any, View], Any]
"""Reads one fact of an object; None while it has not been gathered."""


class Row(NamedTuple):
    """One fact of an object: its name, CEL type, form (see ``forms``) and meaning, how it is read, and its cost class.

    What is read may be a time or duration in seconds, a tuple, or any mapping: the type says what becomes of it.
    """

    name: str
    type: str
    form: str
    meaning: str
    read: Read
    cost: int = 0


def rows(table: str, cost: int = 0, at: str = "", **readers: Read | str) -> tuple[Row, ...]:
    """The rows of a table, on each line a fact's name, type (``type:form`` where its values have one) and meaning.

    ``at``: the path before attributes that have a fact's name; ``readers``: those of facts that are no such attributes,
    or the paths of attributes of other names. Raises KeyError for a reader of no fact.
    """
    lines = [line.split(None, 2) for line in table.strip().splitlines()]
    read = {name: at + name for name, *_ in lines} | readers
    if len(read) > len(lines):
        raise KeyError(*readers)
    parts = ((name, *kind.partition(":")[::2], " ".join(meaning.split())) for name, kind, meaning in lines)
    return tuple(Row(name, kind, form, meaning, _reader(read[name]), cost) for name, kind, form, meaning in parts)


def _reader(path: Read | str) -> Read:
    if callable(path):
        return path
    first, *others = path.split(".")
    if not others:
        return lambda thing, _: getattr(thing, first)

    def read(thing: Any, _view: View) -> Any:
        for name in (first, *others):
            if thing is not None:
                thing = getattr(thing, name)
        return thing

    return read


def _short(value: _T, texts: Iterable[str]) -> _T | None:
    """The same; nothing where a text in it is longer than Linux would let a program have as an argument."""
    return value if max(map(len, texts), default=0) <= _LONGEST_TEXT else None


FIRST_DATE = 366e6  # in 1981: earlier are dates of builds that can be repeated, and of clocks that nobody has set

# A time that never was is unknown, as of any date that stood for it an age would be wrong.
OF_TYPE: Mapping[str, Callable[[Any], FactValue | None]] = {
    "timestamp": lambda at: datetime.fromtimestamp(at, UTC) if at > FIRST_DATE else None,
    "duration": lambda seconds: timedelta(seconds=seconds),
    "string": lambda text: text if len(text) <= _LONGEST_TEXT else None,
    "list(string)": lambda texts: _short(found := list(texts), found),
    "map(string)": lambda texts: _short(found := dict(texts), (*found, *found.values())),
}


def is_root(user: str) -> bool:
    """Whether a user as images and containers name it, ``1000:1000``, is root; nobody named is root, too."""
    name = user.partition(":")[0]
    try:
        return name in ("", "root") or int(name) == 0
    except ValueError:
        return False


def used_by(thing: Thing, view: View) -> list[str]:
    """The names of the containers that use it, and the services that need it."""
    ref, inventory = ref_of(thing), view.inventory
    return [*sorted(inventory.name_of(user) for user in inventory.users_of(ref)), *inventory.needed_by(ref)]

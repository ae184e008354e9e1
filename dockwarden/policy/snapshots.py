"""Facts of a host as a file holds them: read by their types, and put together for one object. Pure but for reading it.

Input: a file that ``snapshot`` wrote, the vocabulary. Output: facts by object. Out of bounds: writing it, and what else
is in it, which is for planning (``oneshot.snapshot``).
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dockwarden.config.files import content
from dockwarden.errors import ConfigError
from dockwarden.model import NEVER_SHOWN, FactSpec, FactValue, Kind, Ref, Vocabulary
from dockwarden.policy.trial import READERS
from dockwarden.text import because, near

MOST_BYTES = 512 * 1024 * 1024
_SHARED = ("image.", "host.")  # facts that others have from an object of their own
_S = TypeVar("_S", bound=BaseModel)
_SHAPE = ConfigDict(extra="ignore", frozen=True, ser_json_timedelta="float", defer_build=True)


class Recorded(BaseModel):
    """``image``: the key of what it names or runs, whose facts it has, too; ``unknown``: why a registry told none."""

    model_config = _SHAPE
    kind: Kind
    key: str
    name: str
    image: str = ""
    facts: dict[str, Any]
    unknown: dict[str, str] = {}

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.key)


class Snapshot(BaseModel):
    """What every reader of such a file needs. ``taken_at`` is in seconds since the epoch."""

    model_config = _SHAPE
    format: Literal["dockwarden snapshot"] = "dockwarden snapshot"
    version: Literal[1] = 1
    taken_at: float
    objects: list[Recorded]


def own_facts(kind: Kind, vocabulary: Vocabulary) -> list[str]:
    """The facts that are written down of an object of a kind itself."""
    others = tuple(prefix for prefix in _SHARED if prefix != f"{kind}.")
    return [n for n in vocabulary[kind] if n != "now" and not n.startswith(others) and n not in NEVER_SHOWN]


class Book:
    def __init__(self, snapshot: Snapshot, vocabulary: Vocabulary) -> None:
        """Raises ValueError for values that are not of their fact's type."""
        self.taken_at = snapshot.taken_at
        self._objects = {each.ref: each for each in snapshot.objects}
        self._known = {each.ref: dict(_decoded(each, vocabulary)) for each in snapshot.objects}
        self._host = next((ref for ref in self._objects if ref.kind is Kind.HOST), Ref(Kind.HOST, ""))

    def find(self, named: str) -> Ref:
        """The object that ``KIND/NAME`` means, a name or a key. Raises ValueError."""
        names = {f"{ref.kind}/{name}": ref for ref, each in self._objects.items() for name in (each.key, each.name)}
        if named not in names:
            raise ValueError(f"the snapshot has no {named}{near(named, names)}")
        return names[named]

    def get(self, ref: Ref, fact: str) -> FactValue | None:
        """A fact of an object, None where it is not known."""
        if fact == "now":
            return datetime.fromtimestamp(self.taken_at, UTC)
        return self._known.get(self._owner(ref, fact), {}).get(fact)

    def why_not(self, ref: Ref, fact: str) -> str:
        """Why a registry's fact is not known, as far as somebody asked for it."""
        known = self._objects.get(self._owner(ref, fact))
        return known.unknown.get(fact, "") if known else ""

    def facts(self, ref: Ref, names: Iterable[str]) -> dict[str, FactValue]:
        """Those of some facts that are known."""
        return {name: value for name in names if (value := self.get(ref, name)) is not None}

    def _owner(self, ref: Ref, fact: str) -> Ref:
        if fact.startswith("host."):
            return self._host
        if fact.startswith("image.") and ref.kind is not Kind.IMAGE:
            return Ref(Kind.IMAGE, self._objects[ref].image if ref in self._objects else "")
        return ref


def read(path: Path, shape: type[_S], most_bytes: int = MOST_BYTES) -> _S:
    """A file of a shape that says its ``format``. Raises ConfigError: it is none, or one of another version."""
    try:
        return shape.model_validate_json(content(path, most_bytes))
    except OSError as error:
        raise ConfigError(f"{path}: {because(error)}") from error
    except ValidationError as error:
        first, form = error.errors()[0], shape.model_fields["format"].default
        place = ".".join(map(str, first["loc"])) or "file"
        why = f"it is no {form}, a damaged one, or one of another version"
        raise ConfigError(f"{path}: {place}: {first['msg']}; {why}") from error


def _decoded(of: Recorded, vocabulary: Vocabulary) -> Iterator[tuple[str, FactValue]]:
    for name, value in of.facts.items():
        spec = vocabulary[of.kind].get(name)
        if spec is None:
            continue  # a fact of another version
        try:
            yield name, _decode(spec, value)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            written = json.dumps(value)[:100]
            raise ValueError(f"{of.kind}/{of.name}: {name}: {written} is no {spec.type}") from None


def _decode(spec: FactSpec, value: Any) -> Any:
    """As values are read in tests, but exactly, and whatever sets of words this version knows."""
    if spec.type == "duration":
        return timedelta(seconds=value)
    if spec.type == "list(map)":
        return [{key: _decode(inner, record[key]) for key, inner in spec.keys.items()} for record in value]
    return READERS[spec.type](spec, value)

"""The API: one envelope for all lists, the same filters and pages for each, and its description as OpenAPI.

Input: lists of rows, and a query. Output: values for JSON. Out of bounds: HTTP, and where the rows come from.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from inspect import cleandoc
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, get_type_hints
from urllib.parse import parse_qsl, urlencode

from pydantic import Field, TypeAdapter

from dockwarden import __version__
from dockwarden.text import moment, one_of

PREFIX = "/api/v1/"
MOST_ITEMS = 1000
_USUAL_ITEMS = 100
_MOST_OFFSET = 1 << 31
_MOST_PARAMETERS = 400
_MOST_VALUES = 20  # of one field, which are all looked at for each row
_NUMBERS = {"offset": (0, 0, _MOST_OFFSET), "limit": (_USUAL_ITEMS, 1, MOST_ITEMS)}
"""The default, the least and the most of each."""


class List(NamedTuple):
    """One list: its type of row, all its rows in order, and the filters of a query that names none of these fields."""

    row: type
    rows: Callable[[], Iterable[Any]]
    usual: Mapping[str, str] = {}


_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Page(Generic[_Row]):
    """The envelope of all lists: a page of one."""

    items: Annotated[list[_Row], Field(max_length=MOST_ITEMS)]
    total: Annotated[int, Field(description="how many rows there are on all pages")]
    offset: int
    limit: int
    next: Annotated[str | None, Field(description="where the next page is")]
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class BadQueryError(ValueError):
    """A query that cannot be answered; the text says why."""


@dataclass(frozen=True)
class Query:
    """What is asked for: for each field the patterns of which one must match, a text, and which part of the rest."""

    wanted: Mapping[str, Sequence[str]]
    text: str = ""
    offset: int = 0
    limit: int = _USUAL_ITEMS

    def takes(self, row: Any) -> bool:
        for name, patterns in self.wanted.items():
            value = getattr(row, name)
            values: Iterable[str] = value if isinstance(value, tuple) else (value,)
            if not any(fnmatchcase(each, pattern) for each in values for pattern in patterns):
                return False
        kind: Any = type(row)
        texts = _texts(kind) if self.text else ()
        return not self.text or any(self.text in getattr(row, name).lower() for name in texts)

    def part(self, rows: Iterable[Any]) -> tuple[list[Any], int]:
        """The rows of this page, and how many there are on all."""
        items, total = [], 0
        for row in rows:
            if self.takes(row):
                if self.offset <= total < self.offset + self.limit:
                    items.append(row)
                total += 1
        return items, total


@cache
def filters(row: type) -> dict[str, tuple[str, ...]]:
    """The fields by which a list can be filtered, and what each can be; nothing for any text."""
    hints = get_type_hints(row)
    plain = {name: hint for name, hint in hints.items() if hint in (str, tuple[str, ...])}
    words = {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, StrEnum)}
    return dict.fromkeys(plain, ()) | {name: tuple(hint) for name, hint in words.items()}


@cache
def _texts(row: type) -> tuple[str, ...]:
    return tuple(name for name, hint in get_type_hints(row).items() if hint is str)


def read_query(text: str, of: List) -> Query:
    """Read the part of a URL after the question mark. Raises BadQueryError."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="replace")
    except ValueError as error:
        raise BadQueryError(f"at most {_MOST_PARAMETERS} parameters") from error
    known, numbers = filters(of.row), {name: usual for name, (usual, _, _) in _NUMBERS.items()}
    wanted: dict[str, list[str]] = {}
    search = ""
    for name, value in pairs:
        if name in _NUMBERS:
            numbers[name] = _number(name, value)
        elif name == "q":
            search = value.lower()
        elif name not in known:
            raise BadQueryError(f"parameter {one_of(name, [*known, 'q', *_NUMBERS])}")
        elif known[name] and value not in known[name]:
            raise BadQueryError(f"{name}: {one_of(value, known[name])}")
        else:
            wanted.setdefault(name, []).append(value.replace("[", "[[]"))
            if len(wanted[name]) > _MOST_VALUES:
                raise BadQueryError(f"{name}: at most {_MOST_VALUES} values")
    usual = {name: [value] for name, value in of.usual.items() if name not in wanted}
    return Query(usual | wanted, search, **numbers)


def _number(name: str, value: str) -> int:
    _, least, most = _NUMBERS[name]
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(most)) and least <= int(value) <= most):
        raise BadQueryError(f"{name}: must be a number from {least} to {most}")
    return int(value)


def answer(path: str, text: str, of: List, now: float) -> dict[str, Any]:
    query = read_query(text, of)
    items, total = query.part(of.rows())
    after = query.offset + query.limit
    following = f"{path}?{other_page(text, after)}" if after < total else None
    page = Page(items, total, query.offset, query.limit, following, moment(now))
    return dict(_adapter(of.row).dump_python(page, mode="json", warnings=False))


def other_page(text: str, offset: int) -> str:
    """The same query, from another row on."""
    pairs = parse_qsl(text, keep_blank_values=True, errors="replace")
    return urlencode([*(pair for pair in pairs if pair[0] != "offset"), *([("offset", offset)] if offset else [])])


@cache
def _adapter(row: type) -> TypeAdapter[Any]:
    page: Any = Page  # of rows whose type is known at run time
    return TypeAdapter(page[row])


def describe(lists: Mapping[str, List]) -> dict[str, object]:
    """The API in the format of OpenAPI 3.1."""
    pages, shared = TypeAdapter.json_schemas(
        [(name, "serialization", _adapter(of.row)) for name, of in lists.items()],
        ref_template="#/components/schemas/{model}",
    )
    problem = {name: {"type": "string"} for name in ("type", "title", "detail")} | {"status": {"type": "integer"}}
    schemas = shared["$defs"] | {"Problem": {"type": "object", "properties": problem, "required": [*problem]}}
    paths = {PREFIX + name: {"get": _operation(name, of, pages[name, "serialization"])} for name, of in lists.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dockwarden",
            "version": __version__,
            "description": "What dockwarden knows of one Docker Engine. Nothing can be changed by it.",
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"password": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"password": {"type": "http", "scheme": "basic"}}},
    }


def _operation(name: str, of: List, page: Mapping[str, object]) -> dict[str, object]:
    parameters = []
    for field, words in filters(of.row).items():
        item = {"type": "string", **({"enum": [*words]} if words else {})}
        meaning = f"one of these; without it: {of.usual.get(field, 'any')}" if words else "one of these, with * and ?"
        parameters.append(_query(field, {"type": "array", "items": item, "maxItems": _MOST_VALUES}, meaning))
    parameters.append(_query("q", {"type": "string"}, "a text that any text of the row contains, in any case"))
    for number, (usual, least, most) in _NUMBERS.items():
        schema = {"type": "integer", "minimum": least, "maximum": most, "default": usual}
        parameters.append(_query(number, schema, "of the rows that are left, the first" if number == "offset" else ""))
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "operationId": name,
        "summary": cleandoc(of.row.__doc__ or ""),
        "parameters": parameters,
        "responses": {
            "200": {"description": "a page of the list", "content": {"application/json": {"schema": page}}},
            "400": {"description": "a query that cannot be answered", "content": problem},
            "401": {"description": "a password is asked for", "content": {"text/plain": {}}},
        },
    }


def _query(name: str, schema: Mapping[str, object], description: str) -> dict[str, object]:
    return {"name": name, "in": "query", "schema": schema, "description": description}

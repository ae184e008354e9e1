"""Decoded JSON of strangers, read field by field with a type in mind. Pure.

Input: whatever ``json`` returned. Output: text, numbers, times, lists of the type that was asked for. Out of bounds:
what a field means, and surprises: a wrong type or a missing field is an ``AnswerError`` that names it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from dockwarden.errors import AnswerError

_SECRET = re.compile(r"(?i)pass|secret|token|credential|(?:^|[-_])key$")
_SECRET_PART = re.compile(r"(?i)((?:pass(?:word|wd)?|secret|token)=)[^,]*")
_SURROGATES = re.compile("[\ud800-\udfff]")
_YEAR_ONE = -62135596800  # how Go writes "no time" in seconds
_YEAR_10000 = 253402300800  # which Python has not, and Go's last nanosecond is rounded to
_MAX_INTEGER = 2**63


class Fields:
    __slots__ = ("_raw", "_what")

    def __init__(self, raw: object, what: str) -> None:
        if not isinstance(raw, dict):
            raise AnswerError(f"{what}: an object was expected, not {_kind(raw)}")
        self._raw: dict[str, object] = raw
        self._what = what

    def _wrong(self, key: str, value: object, expected: str) -> AnswerError:
        if value is None:
            return AnswerError(f"{self._what}: {key} is missing")
        return AnswerError(f"{self._what}: {key} is {_kind(value)}, not {expected}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._raw.get(key)
        if isinstance(value, str):
            return value if value.isascii() else clean(value)
        if value is None and default is not None:
            return default
        raise self._wrong(key, value, "text")

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number of at most 64 bits."""
        value = self._raw.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_INTEGER:
            return value
        if value is None and default is not None:
            return default
        raise self._wrong(key, value, "a whole number")

    def flag(self, key: str) -> bool:
        value = self._raw.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise self._wrong(key, value, "true or false")

    def tells(self, key: str) -> bool:
        """Whether there is a value, be it an empty one."""
        return self._raw.get(key) is not None

    def nested(self, key: str) -> Self:
        """A nested object, empty where it is missing or null."""
        value = self._raw.get(key)
        return type(self)({} if value is None else value, f"{self._what}: {key}")

    def items(self, key: str) -> list[object]:
        value = self._raw.get(key)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise self._wrong(key, value, "a list")

    def objects(self, key: str) -> Iterator[Self]:
        return (type(self)(each, f"{self._what}: {key}") for each in self.items(key))

    def texts(self, key: str) -> tuple[str, ...]:
        found: list[str] = []
        for value in self.items(key):
            if not isinstance(value, str):
                raise AnswerError(f"{self._what}: {key} holds {_kind(value)}, not only text")
            found.append(clean(value))
        return tuple(found)

    def names(self, key: str) -> tuple[str, ...]:
        return tuple(sorted(clean(name) for name in self.nested(key)._raw))  # noqa: SLF001 - own class

    def labels(self, key: str) -> dict[str, str]:
        """A map of strings; a null value counts as an empty one."""
        labels: dict[str, str] = {}
        for name, value in self.nested(key)._raw.items():  # noqa: SLF001 - own class
            if value is not None and not isinstance(value, str):
                raise self._wrong(f"{key}[{clean(name)[:80]!r}]", value, "text")
            labels[clean(name)] = clean(value or "")
        return labels

    def moment(self, key: str) -> float | None:
        """A time as RFC 3339 text or as seconds since the epoch; Go's zero time, 0 and later than 9999 mean never."""
        value = self._raw.get(key)
        if value is None or value == "":
            return None
        seconds = _seconds(value) if isinstance(value, str) else float(self.integer(key))
        if seconds is None:
            raise self._wrong(key, value, "a time")
        return seconds if seconds != 0 and _YEAR_ONE < seconds < _YEAR_10000 else None


TOLD_BY_TYPE: Mapping[str, Callable[[Fields, str], object]] = {
    "string": lambda fields, key: fields.text(key, ""),
    "int": lambda fields, key: fields.integer(key, 0),
    "bool": Fields.flag,
    "list(string)": lambda fields, key: list(fields.texts(key)),
    "map(string)": Fields.labels,
}
"""By the type of a fact, what reads it at a key; an empty value where there is none."""


def _kind(value: object) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), "something else")


def _seconds(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def clean(text: str) -> str:
    """The text without lone surrogates, which neither SQLite nor CEL accepts."""
    return text if text.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def rows(raw: object, what: str) -> list[Any]:
    if not isinstance(raw, list):
        raise AnswerError(f"{what}: a list was expected, not {_kind(raw)}")
    return raw


def has_healthcheck(config: Fields) -> bool:
    test = config.nested("Healthcheck").texts("Test")
    return bool(test) and test[0] != "NONE"


def env_names(config: Fields) -> tuple[str, ...]:
    """Names only: values are where people keep their secrets."""
    return tuple(entry.partition("=")[0] for entry in config.texts("Env"))


def masked(options: Mapping[str, str]) -> dict[str, str]:
    """Options of drivers without the passwords that some take, ``o=username=a,password=b``."""
    return {
        name: "***" if _SECRET.search(name) else _SECRET_PART.sub(r"\1***", value) for name, value in options.items()
    }

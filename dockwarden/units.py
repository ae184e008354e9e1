"""Durations, sizes and times as people write them. Pure.

Input: values. Output: text; values read from it. Out of bounds: where a text is shown. Durations and sizes have one
spelling, whoever writes them; each can be read back.
"""

import re
from datetime import UTC, datetime, timedelta

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1000
_IN_BYTES = ("size", "size_rw", "log_bytes", "disk_free", "disk_unaccounted", "memory", "memory_limit", "reservation")
DURATION = r"^(?=\d)(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?$"
_UNITLESS = r"[1-9]\d{0,5}"
SIZE = r"^(\d{1,15}(?:\.\d{1,3})?) ?(?:([kKMGT])(i?)B?|B)?$"
BOUND = rf"^(?!{_UNITLESS}$){SIZE[1:]}"
"""What a duration, a size and a bound look like, also to editors."""


def span(value: timedelta | float) -> str:
    """A duration, timedelta or seconds, by its two largest units: ``1d 12h``; less than a second is ``0s``."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    rest = abs(int(seconds))
    parts: list[str] = []
    for unit, length in _UNITS:
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    sign = "-" if seconds < 0 else ""
    return sign + " ".join(part for part in parts[:2] if part) if parts else "0s"


def moment(value: datetime | float) -> str:
    """A time, datetime or seconds since the epoch, as RFC 3339 in UTC to the second."""
    at = value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)
    return at.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def local(seconds: float) -> str:
    """A time, seconds since the epoch, to the second in the zone of this host, as the log shows it to people."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def in_bytes(size: float | None) -> str:
    """A size: ``5 B``, ``77.8 kB``, ``1.2 GB``; ``?`` where it is not known."""
    if size is None:
        return "?"
    amount, unit = float(size), 0
    while abs(amount) >= _THOUSAND and unit < len(_SIZES) - 1:
        amount, unit = amount / _THOUSAND, unit + 1
    return f"{amount:.1f} {_SIZES[unit]}" if unit else f"{amount:.0f} B"


def words(value: object) -> str:
    """A fact's value as people write it: ``2d 1h``, ``2026-03-01T12:00:00Z``, ``12.5``, ``true``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, timedelta):
        return span(value)
    return str(value)


def fact(name: str, value: object) -> str:
    """A fact's value as people write it, by the fact's name: sizes have units, lists commas."""
    if name.endswith(_IN_BYTES) and isinstance(value, int):
        return in_bytes(value)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else words(value)


def duration(value: object) -> timedelta:
    """A duration such as ``90s``, ``24h``, ``7d``, ``1h30m``. Raises ValueError: it is something else."""
    match = re.fullmatch(DURATION, value, re.ASCII) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration such as 90s, 24h, 7d or 1h30m")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def is_size(text: str) -> bool:
    """Whether it is a size with its unit; ``5M`` may be anything."""
    return text.endswith("B") and re.fullmatch(SIZE, text, re.ASCII) is not None


def size(value: object) -> int:
    """Bytes, written as a number or as ``500MB``, ``20GB``, ``1.5GiB``. Raises ValueError: it is something else."""
    is_one = isinstance(value, int | str) and not isinstance(value, bool)
    match = re.fullmatch(SIZE, str(value), re.ASCII) if is_one else None
    if match is None:
        raise ValueError("must be a size such as 500MB, 20GB or 1.5GiB")
    number, unit, binary = match.groups()
    thousands = "kMGT".index(unit.replace("K", "k")) + 1 if unit else 0
    return round(float(number) * float(1024 if binary else 1000) ** thousands)


def bound(value: object) -> int:
    """A size that something may have at most. Raises ValueError: it is none, or has no unit and may be of any."""
    if re.fullmatch(_UNITLESS, str(value), re.ASCII):
        raise ValueError(f"has no unit; write {value}GB, or {value}B if that is meant")
    return size(value)

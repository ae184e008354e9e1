"""Words for people and programs: durations, sizes, times, names that are safe to show, hints, exit codes. Pure.

Input: plain values, and texts of strangers. Output: text; values read from it. Out of bounds: where a text is shown.
Durations and sizes have one spelling, whoever writes them; each can be read back.
"""

import re
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

OK, FAILED, USAGE, UNAVAILABLE, CONFIG, INTERRUPTED = 0, 1, 2, 69, 78, 130
"""Exit codes: fine; findings or a failure; wrong usage; no engine; settings or a policy; a signal."""

MAX_TEXT = 2000
"""Characters of a message, however long the names in it."""

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1000
_IN_BYTES = ("size", "size_rw", "log_bytes", "disk_free", "disk_unaccounted", "memory", "memory_limit", "reservation")
# Compiled where they are first used: a health check uses none.
_HUB = r"(?<![\w./-])docker\.io/(?:library/)?(?=\w)"
_LONG_ID = r"(?<!@)(?:\bsha256:)?\b([0-9a-f]{12})[0-9a-f]{52}\b"
_NAMES_END = r"(?:[0-9a-f]{52})?(?!\w)"  # of ASCII, as names are: other letters may follow without a blank
_COLORS = {"critical": "1;31", "high": "33", "medium": "36", "error": "1;31", "failed": "1;31", "warning": "33"}
_COLORS |= {"low": "2", "info": "2", "resolved": "32", "removed": "1;32", "unknown": "35"}
DURATION = r"^(?=\d)(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?$"
_UNITLESS = r"[1-9]\d{0,5}"
SIZE = r"^(\d{1,15}(?:\.\d{1,3})?) ?(?:([kKMGT])(i?)B?|B)?$"
BOUND = rf"^(?!{_UNITLESS}$){SIZE[1:]}"
"""What a duration, a size and a bound look like, also to editors."""


def printable(text: str, most: int = sys.maxsize) -> str:
    """Text of strangers as one line of at most ``most`` characters, whatever a terminal would act on spelled out."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= most else text[: most - 1] + "…"


def named(name: str, text: str) -> str:
    """Name and text; the name alone does, and so does a text that has it, or the ID of which it is the short form."""
    at = text.find(name)  # a pattern for each of thousands of names would take seconds
    while at >= 0:
        before, after = text[max(0, at - 1) : at], text[(end := at + len(name)) : end + 53]
        if re.fullmatch(r"\W?", before, re.ASCII) and re.match(_NAMES_END, after, re.ASCII):
            return text
        at = text.find(name, at + 1)
    if not name:
        return text
    return f"{name}: {text}" if text else name


def brief(text: str) -> str:
    """Text with names and IDs as docker prints them: no ``docker.io/library/``, twelve digits of an ID."""
    return re.sub(_LONG_ID, r"\1", re.sub(_HUB, "", text))


def colored(word: str, text: str, environment: Mapping[str, str]) -> str:
    """Text for a terminal in the colour of a severity or of what happened, if it has one and colours are wanted."""
    get = environment.get
    is_wanted = not get("NO_COLOR") and get("CLICOLOR") != "0" and get("TERM") != "dumb"
    color = _COLORS.get(word) if is_wanted else None
    return f"\x1b[{color}m{text}\x1b[0m" if color else text


def host_path(path: str) -> str:
    """A path of a Linux host as it is told: ``/run`` and ``/var/run`` are one place, and have one spelling."""
    return re.sub(r"^/run(?=/|$)", "/var/run", path)


def near(word: object, known: Collection[str], cutoff: float = 0.6) -> str:
    """``, did you mean x?`` for the known word that is nearest, such as the same of another registry; else nothing."""
    import difflib  # noqa: PLC0415 - for those who made a mistake

    for spelt in (str(word), str(word).lower()):
        same = sorted(each for each in known if f"/{spelt}:" in f"{each}:")  # of a repository, one of its tags
        if found := same or difflib.get_close_matches(spelt, known, n=1, cutoff=cutoff):
            return f", did you mean {found[0]}?"
    return ""


def one_of(word: object, known: Collection[str]) -> str:
    """What to say of a word that is none of the known ones."""
    return f"unknown: {word}{near(word, known) or '; use ' + ', '.join(known)}"


def because(error: Exception) -> str:
    """What an error says, without its number and file; and what helps where the operating system forbids something."""
    said = getattr(error, "strerror", "") or f"{error!s:.200}" or type(error).__name__
    way_out = "; run it as root, such as with sudo, or give its user the right"
    return f"{said}{way_out}" if isinstance(error, PermissionError) else said


def counted(count: int, noun: str) -> str:
    """``1 image``, ``12 images``, ``1,200 images``, ``3 policies``."""
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{count:,} {noun}"


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

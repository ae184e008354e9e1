"""Words for people and programs: names that are safe to show, hints, exit codes. Pure.

Input: texts of strangers. Output: text. Out of bounds: where it is shown; durations, sizes and times, which have
``units``: a health check shows none, and what they need takes long to import.
"""

import re
import sys
from collections.abc import Collection, Mapping

OK, FAILED, USAGE, UNAVAILABLE, CONFIG, INTERRUPTED = 0, 1, 2, 69, 78, 130
"""Exit codes: fine; findings or a failure; wrong usage; no engine; settings or a policy; a signal."""

MAX_TEXT = 2000
"""Characters of a message, however long the names in it."""

# Compiled where they are first used: a health check uses none.
_HUB = r"(?<![\w./-])docker\.io/(?:library/)?(?=\w)"
_LONG_ID = r"(?<!@)(?:\bsha256:)?\b([0-9a-f]{12})[0-9a-f]{52}\b"
_NAMES_END = r"(?:[0-9a-f]{52})?(?!\w)"  # of ASCII, as names are: other letters may follow without a blank
_COLORS = {"critical": "1;31", "high": "33", "medium": "36", "error": "1;31", "failed": "1;31", "warning": "33"}
_COLORS |= {"low": "2", "info": "2", "resolved": "32", "removed": "1;32", "unknown": "35"}


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
    return f"{said}; run it as root, such as with sudo" if isinstance(error, PermissionError) else said


def counted(count: int, noun: str) -> str:
    """``1 image``, ``12 images``, ``1,200 images``, ``3 policies``."""
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{count:,} {noun}"

"""Versions in tags: what a tag's name says of a release, and which of two releases is higher. Pure.

Input: names of tags, untrusted. Output: ``Version`` values, or None where a name tells of none. Out of bounds: which
tags there are, and which of them are the same image.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

_MOVING = {"latest", "stable", "mainline", "current", "lts", "release", "rolling"}
EARLY = (
    "alpha|beta|rc|cr|ctp|dp|ea|eap|develop|development|pre|prerelease|preview|milestone|snapshot|nightly|daily"
    r"|canary|next|edge(?!-\d+\.0\.\d{3})|unstable|testing|test|rawhide|branched|experimental|insiders?|tip|trunk"
    "|main|master|head"
)
_BRANCH = re.compile(r"main|master|head|trunk|pr|sha|commit|git|build|branch|feature|ci", re.IGNORECASE | re.ASCII)
_IS_EARLY, SURELY_EARLY, BUT_FOR_B = (
    re.compile(rf"(?:^|[-_.+])(?:{words}|m|a)[-_.]?\d*(?=$|[-_.+])", re.IGNORECASE | re.ASCII)
    for words in (f"{EARLY}|b|dev|devel", rf"{EARLY}|b|(?:dev|devel)\.?\d", f"{EARLY}|dev|devel")
)
"""What says that a version is not released; no flavour is numbered, and some number their builds with a b.

The edge of edge-137.0.3296 is a browser.
"""
_IS_HASH = re.compile(r"(?:g|sha\.?|(?=.*\d)(?=.*[a-f]))[0-9a-f]{7,40}", re.ASCII)
_IS_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?:\.\d+)*", re.ASCII)
_IS_DAY_FIRST = re.compile(r"[^\d]*\d\d([.-])\d\d\1(?:20[1-3]\d)(?!\d)", re.ASCII)  # or month first: nothing tells
# Of Jitsi's builds, which leaps as dates do; lower ones are years, and systems as in stable-2204 or stable-1809.
# And of llama.cpp's, as server-cuda-b6700.
_IS_COUNT = re.compile(r"(?:stable-(?:[4-9]\d{3}|\d{5})|(?:[a-z]+-)+b\d{4,5})(?:-|$)", re.ASCII)
_SHORT = re.compile(r"\d{6}(?![\dA-Za-z])", re.ASCII)
_SHORT_DAY = re.compile(r"[0-4]\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", re.ASCII)
UBUNTU = re.compile(r"[12]\d\.(?:04|10)", re.ASCII)
_BUILD = re.compile(
    rf"(?!(?:386|{UBUNTU.pattern})$)"  # an architecture, a system
    r"(|r|ls|u|v|b|p|pl|ga|rev|build|bld|patch|update|post|k3s|rke2r|flannel|hardened|nbxyz)\.?(\d+(?:\.\d+)*)",
    re.IGNORECASE | re.ASCII,
)
_SAYS_NOTHING = ("", "version", "release")  # before a number
_ARCHITECTURES = {"amd64", "arm", "arm64", "64"}  # the last of x86_64
_PATCHES = {"p", "pl", "patch", "post"}  # of a version that itself has none: 2.4.7-p3 comes after 2.4.7, before 2.4.8
_COUNTED = re.compile(r"([A-Za-z]+)\.(\d+)", re.ASCII)  # ce.0
_FORM = re.compile(
    r"(?P<prefix>(?:x86_64[-_]|[A-Za-z]+\.|[A-Za-z][A-Za-z0-9]*[-_]|[rR](?=\d+\.))*?|[A-Za-z]+\d+\.\d+-)"
    r"(?:[vV]|(?<=-)b(?=\d{4,5}(?:-|$)))?(?P<core>\d+(?:\.\d+)*)(?P<rest>(?:[-_+.A-Za-z].*)?)",
    re.ASCII,
)
_ISO_TIME = re.compile(r"(?<![A-Za-z\d])(\d{4})(-?)(\d\d)\2(\d\d)(?:T?(\d\d)\2(\d\d)\2(\d\d)Z)?", re.ASCII)
_JAVA_UPDATE = re.compile(r"\b(\d+)u(\d+)(?:-b(?=\d))?", re.ASCII)  # 8u432-b06
_FIRST_YEAR, _LAST_YEAR = 1900, 2100
_MOST_DIGITS = 5  # longer numbers are dates, build numbers or hashes
_MOST_OF_LAST = 7  # of a fourth number; a day has eight
_LONGEST_TAG = 128  # labels of strangers are longer: numbers that Python does not read, texts read for hours
PARTS = re.compile(r"[-_+]")


def _numbers_of_time(found: re.Match[str]) -> str:
    """``20200608.160520`` for ``20200608T160520Z`` or the same with hyphens."""
    date, time = "".join(found.group(1, 3, 4)), "".join(found.group(5, 6, 7)) if found[5] else ""
    return f"{date}.{time}" if time else date


def _numbers_of_update(found: re.Match[str]) -> str:
    """``8.432_06`` for ``8u432-b06``."""
    return f"{found[1]}.{found[2]}" + ("_" if found[0].endswith("b") else "")


_REWRITTEN: tuple[tuple[re.Pattern[str], Any], ...] = (
    (_ISO_TIME, _numbers_of_time),
    (re.compile(r"(?<=^\d{4}-)cu(?=\d\d?(?!\d))", re.IGNORECASE | re.ASCII), "update"),  # 2022-CU14, no 0.5.1-cu12
    (re.compile(r"(?<=^20\d\d\.)q(?=[1-4]\.)", re.IGNORECASE | re.ASCII), ""),  # 2024.q4.1
    (re.compile(r"(?<=\d[-+])security-(?=\d\d(?!\d))", re.ASCII), "patch"),  # 12.0.0-security-01
    (_JAVA_UPDATE, _numbers_of_update),
    (re.compile(r"(?<=\d)\.v(?=[\d_]*[a-f])[0-9a-f_]{12,}(?=-|$)", re.ASCII), ""),  # 3341.v0766d82b_dec0-1
)
"""What is written in another way than as a number, and the number."""


class Scheme(NamedTuple):
    """How a repository counts; only what is counted in the same way can be compared.

    Attributes:
        prefix: what comes before the number, but for a ``v``: ``version-``, or the ``r`` of ``r36.3.0``.
        variant: ``alpine`` of ``1.27.3-alpine``, ``debian-12`` of ``7.2.5-debian-12-r4``, ``ee`` of ``ee-8.1``.
        kind: ``year`` or ``date`` first, ``long`` for a part of six digits or more, ``""`` for all else.
        build: which kinds of build numbers follow.
    """

    prefix: str
    variant: str
    kind: str
    build: str

    @property
    def words(self) -> set[str]:
        return set(filter(None, self.variant.split("-")))

    @property
    def is_plain(self) -> bool:
        """Whether nothing stands before the number that could say what it is the number of."""
        return self.prefix[:-1].lower() in _SAYS_NOTHING


class Version(NamedTuple):
    """What a tag says of a version; ``build`` numbers and dates of builds, and is compared last."""

    tag: str
    numbers: tuple[int, ...]
    build: tuple[int, ...]
    scheme: Scheme
    is_early: bool

    @property
    def rank(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What orders versions of one scheme."""
        return self.numbers, self.build

    def begins(self, other: "Version") -> bool:
        """Whether the other is in its line: 1.27 begins 1.27.3."""
        return other.numbers[: len(self.numbers)] == self.numbers


def version(tag: str, early: re.Pattern[str] = _IS_EARLY) -> Version | None:
    """The version that a tag names, released or not by the words for ``early``; None for words, hashes and dates."""
    if len(tag) > _LONGEST_TAG or _IS_DAY_FIRST.match(tag):
        return None
    told = tag
    for written, meant in _REWRITTEN:
        told = written.sub(meant, told)
    form = _FORM.fullmatch(told)
    if form is None:
        return None
    prefix, core, rest = form.group("prefix", "core", "rest")
    if rest and rest[0] not in "-_+":
        rest = "-" + rest.removeprefix(".")  # 3.14.0a1, 26.0.0.Final; but 9f3a2c1, 1.x
        if ("." not in core and not early.match(rest)) or rest == "-x":
            return None
    kind = "date" if _IS_COUNT.match(tag) else _kind(core)
    if kind is None or (prefix and "." not in core and kind != "date") or (not prefix and kind == "date"):
        return None
    words = PARTS.split(rest[1:]) if rest else []
    if "" in words:
        return None
    before = [word for word in re.split(r"[-_]|\.(?!\d)", prefix) if word.lower() not in _SAYS_NOTHING]
    is_early = bool(early.search(rest)) or says_early("-".join(before), early)
    variant, build, labels = _suffix(words, early)
    scheme = Scheme(prefix, "-".join(before + variant), kind, " ".join(labels))
    return Version(tag, tuple(map(int, core.split("."))), tuple(build), scheme, is_early)


def _kind(core: str) -> str | None:
    first, *others = core.split(".")
    if others[2:] and len(others[-1]) <= _MOST_OF_LAST:
        others.pop()  # 24.12.0.100206 comes after 10.7.0.96327
    if len(first) > _MOST_DIGITS:
        return "date" if _IS_DATE.fullmatch(core) else None
    year = "year " if _FIRST_YEAR <= int(first) <= _LAST_YEAR else ""
    return year + ("long" if any(len(part) > _MOST_DIGITS for part in others) else "")


def _suffix(words: list[str], early: re.Pattern[str]) -> tuple[list[str], list[int], list[str]]:
    """What follows the numbers: words that make a variant, numbers of builds, and of which kinds these are."""
    variant: list[str] = []
    build: list[int] = []
    labels: list[str] = []
    for before, word in pairwise(["", *words]):
        found = _BUILD.fullmatch(word)
        if early.fullmatch(word) or (before.isalpha() and early.fullmatch(before) and word.isdecimal()):
            continue  # beta, beta2 or beta-2
        if found and (not variant or _IS_DATE.match(word) or _is_build(found, variant[-1])):
            build += map(int, found[2].split("."))
            labels += [] if found[1].lower() in _PATCHES and "." not in found[2] else [found[1].lower() or "number"]
        elif _IS_HASH.fullmatch(word):
            labels.append("hash")
        elif found := _COUNTED.fullmatch(word):
            variant.append(found[1])
            build.append(int(found[2]))
        else:
            variant.append(word)
    return variant, build, labels


def _is_build(found: re.Match[str], before: str) -> bool:
    """Neither is the 12 of debian-12 one nor the v7 of arm-v7 or the v3 of migrations-v3; but the 1.1 of amd64-1.1.

    The 22.04 of amd64-22.04 is a system's: builds begin at 0 or 1. No system has the long number of fpm-1234567.
    """
    if found[1].lower() == "v":
        return before not in _ARCHITECTURES and "." in found[2]
    is_long = len(found[2].partition(".")[0]) > _MOST_DIGITS
    return bool(found[1]) or is_long or (before in _ARCHITECTURES and found[2].startswith(("0.", "1.")))


def days(tags: Iterable[str]) -> Iterator[Version]:
    """What are days of builds where no tag is a plain version."""
    short = {tag for tag in tags if _SHORT.match(tag)}  # all are days such as 250426, or none is
    century = "20" if all(_SHORT_DAY.match(tag) for tag in short) else ""
    for tag in sorted(set(tags)):
        dated = version(f"version-{century if tag in short else ''}{tag}")
        if dated and dated.scheme[::2] == ("version-", "date") and not dated.is_early:
            yield dated._replace(tag=tag)


@lru_cache(maxsize=4096)
def release(tag: str) -> Version | None:
    """The released version that a tag names and nothing else does: no pre-release, no mere date, no ``php-8.2``."""
    found = version(tag)
    return found if found and not found.is_early and found.scheme.is_plain else None


def is_branch(tag: str) -> bool:
    """Whether it names a build of a branch or of a commit, which may well be a released one."""
    return any(_BRANCH.fullmatch(word) for word in PARTS.split(tag))


def says_early(tag: str, early: re.Pattern[str] = _IS_EARLY) -> bool:
    """Whether a word in the tag's name says that it is not released: ``devel``, ``edge-alpine``, ``pr-101``."""
    return is_branch(tag) or any(early.fullmatch(word) for word in PARTS.split(tag))


def variant(tag: str) -> str:
    """What follows the version, or goes with a word that moves: ``alpine`` in ``1.27-alpine`` or ``latest-alpine``."""
    found = version(tag)
    if found is not None:
        return found.scheme.variant
    words = [word for word in PARTS.split(tag) if not (word.lower() in _MOVING or says_early(word))]
    return "-".join(word for word in words if not (_IS_HASH.fullmatch(word) or word[:1].isdigit()))


@lru_cache(maxsize=4096)
def family(tag: str) -> tuple[str, ...]:
    """What a tag is ranked among: releases of one variant, or tags that begin with one word, ``pr`` of ``pr-101``."""
    found = release(tag)
    if found is not None:
        return "release", found.scheme.variant, found.scheme.kind
    word = re.match(r"[A-Za-z]*", tag)
    return ("hash",) if _IS_HASH.fullmatch(tag) else ("word", word[0].lower() if word else "")

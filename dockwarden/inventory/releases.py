"""What a repository's list of tags says of its releases, before anybody is asked which of them are one image. Pure.

Input: names of tags. Output: a ``Book`` of versions. Out of bounds: images, and which version is the newest.
"""

import re
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from dockwarden.versions import (
    BUT_FOR_B,
    PARTS,
    SURELY_EARLY,
    UBUNTU,
    Scheme,
    Version,
    days,
    is_branch,
    says_early,
    version,
)

LINE = 2
"""Numbers that a line has, at most."""
FIRST_DATE = 10_000
"""No flavour and no build that begins anew has such a number."""
_OF_FLAVOURS = ("number", "u")  # 4.1.1-22 of Node's, 1.2.3-u22 of Ubuntu's
_HASH, _DAYS = re.compile(r"(?=.*[a-f])[0-9a-f]{7,40}", re.ASCII), range(19_000_101, 21_001_232)
_MONTH = re.compile(r"v?\d\d\.0[1-9](?!\d)", re.ASCII)  # as in 26.04
_Releases = dict[Scheme, list[Version]]


class Book(NamedTuple):
    """A repository's tags: releases by scheme, highest first; pre-releases; words that say pre-release.

    ``lines`` are, by scheme, numbers of which a version says more: 1.27 beside 1.27.3. ``years`` are those of months.
    ``is_whole`` says that all releases are among them. ``latest`` is the tag that each variant calls its last by.
    """

    releases: _Releases
    lines: dict[Scheme, set[tuple[int, ...]]]
    years: dict[Scheme, set[int]]
    early: list[Version]
    words: list[str]
    is_whole: bool
    latest: dict[str, str]


def _read(tags: tuple[str, ...], *early_words: re.Pattern[str]) -> tuple[_Releases, list[Version], list[str]]:
    """Releases by scheme, pre-releases, and words that say pre-release."""
    releases: _Releases = defaultdict(list)
    early, words = [], []
    for tag in sorted(set(tags)):
        found = version(tag, *early_words)
        if found is None:
            words += [tag] if says_early(tag) and not is_branch(tag) else []
        elif found.is_early:
            early.append(found)
        else:
            releases[found.scheme].append(found)
    return releases, early, words


@lru_cache(maxsize=8)
def book_of(tags: tuple[str, ...]) -> Book:
    releases, early, words = _read(tags)
    if early and not releases and not (builds := _read(tags, BUT_FOR_B))[1]:
        releases, early, words = builds  # as Yugabyte's, which are all called 2.25.1.0-b381
    if not any(s.is_plain for s in (*releases, *(v.scheme for v in early))):
        for day in days(tags):
            releases[day.scheme].append(day)
    releases = _with_hashes(_without_slips(releases))
    for told in _flavours(early, releases):
        releases[told.scheme].append(told)
    for versions in (*releases.values(), early):
        versions.sort(key=lambda v: v.rank, reverse=True)
    releases = _without_systems(releases)
    clear = {s: found for s, found in releases.items() if s.build not in _OF_FLAVOURS or not _are_flavours(found)}
    lines = {s: {v.numbers[:n] for v in found for n in range(1, len(v.numbers))} for s, found in clear.items()}
    years = {s: {v.numbers[0] for v in f if _MONTH.match(v.tag.removeprefix(s.prefix))} for s, f in clear.items()}
    known, variants = set(tags), {s.variant for s in clear if s.variant}
    latest = {v: name for v in variants for name in (f"latest-{v}", f"{v}-latest", v) if name in known}
    return Book(clear, lines, years, early, words, len(clear) == len(releases), latest)


def _without_slips(releases: _Releases) -> _Releases:
    """All but 8.1.2135, as LinuxServer has called 0.8.1.2135-ls65, too; others count 0.1.0.1 and, later, 1.0.1."""
    zero = (v.numbers for s, found in releases.items() if s.build == "ls" for v in found if not v.numbers[0])
    lost = {numbers[1:] for numbers in zero if numbers[3:]}
    kept = ((scheme, [v for v in found if v.numbers not in lost]) for scheme, found in releases.items())
    return defaultdict(list, ((scheme, found) for scheme, found in kept if found))


def _with_hashes(releases: _Releases) -> _Releases:
    """The same, where of hashes those without a letter are such, too, and no numbers of builds: they are as long."""
    found: _Releases = defaultdict(list)
    for scheme, versions in releases.items():
        of_hashes = scheme._replace(build=scheme.build.replace("number", "hash", 1))
        others = releases.get(of_hashes, ()) if scheme.build.startswith("number") else ()
        sizes = {len(word) for other in others for word in PARTS.split(other.tag) if _HASH.fullmatch(word)}
        for one in versions:
            words = [word for word in PARTS.split(one.tag) if len(word) in sizes and word.isdecimal()]
            is_one = any(int(word) == one.build[0] and int(word[:8]) not in _DAYS for word in words)
            told = one._replace(scheme=of_hashes, build=one.build[1:]) if is_one else one
            found[told.scheme].append(told)
    return found


def _without_systems(releases: _Releases) -> _Releases:
    """All but such as debian-12, of which 26-debian-12 tells that the number is the system's, or Ubuntu's months."""
    others = {pair for scheme in releases if scheme.is_plain for pair in pairwise(scheme.variant.split("-"))}

    def are_systems(versions: list[Version]) -> bool:
        lasts = {_last(v) for v in versions}
        return bool(others & lasts) or all(UBUNTU.fullmatch(number) for _, number in lasts)

    return {s: found for s, found in releases.items() if s.is_plain or not are_systems(found)}


def _are_flavours(versions: list[Version]) -> bool:
    """Whether what looks like builds are 18 and 22 of Node's, both of several versions: builds begin at 0 or 1.

    So are 3.12 and 3.13 of a whole version such as 2.0.5; PostGIS' of Postgres 17 are newer ones.
    """
    builds: dict[tuple[tuple[int, ...], int], set[tuple[int, ...]]] = defaultdict(set)
    for one in versions:
        for length in {1, len(one.build)} if len(one.numbers) > LINE else {1}:
            builds[one.numbers, length].add(one.build[:length])
    pairs = Counter(pair for each in builds.values() for pair in pairwise(sorted(each)))
    return max(pairs.values(), default=0) > 1 and all(1 < one.build[0] < FIRST_DATE for one in versions)


def _flavours(early: list[Version], releases: _Releases) -> list[Version]:
    """Those of which -devel tells what is in them, as in CUDA's: each such version is released without it, too.

    What base-devel-20250914 or dev-1.3.0 is says nothing of 1.2.3-devel.
    """
    found = [v for v in (version(one.tag, SURELY_EARLY) for one in early) if v and not v.is_early]
    told: list[Version] = []
    for is_plain in (True, False):
        released = {v.numbers for s, of in releases.items() if s.is_plain or not is_plain for v in of}
        group = [v for v in found if v.scheme.is_plain is is_plain]
        whole = {v.numbers for v in group if len(v.numbers) == max(map(len, released), default=0)}
        told += [v for v in group if v.numbers in released] if len(whole) > 1 and whole <= released else []
    return told


def _last(one: Version) -> tuple[str, str]:
    """The word before the number, and the number."""
    return one.scheme.prefix[:-1].rpartition("-")[2], one.tag.removeprefix(one.scheme.prefix).partition("-")[0]

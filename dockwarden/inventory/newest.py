"""Which version a tag is, and which is the newest that it could be, among the tags of its repository. Pure.

Input: names, and a ``Look`` that tells which tags are one image. Output: names of tags. Out of bounds: asking.

A list of tags says nothing of images, so a version is found by comparing digests: of the likeliest tags first, and of
no more than it takes. Whoever speaks of a newer version must be right, so what is not clear raises ``UnclearError``.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import groupby, islice, pairwise
from math import inf
from typing import NamedTuple

from dockwarden.versions import BUT_FOR_B, PARTS, SURELY_EARLY, Scheme, Version, days, is_branch, says_early, version

_MOST_LOOKS = 32  # tags compared with ours, where the highest version is not ours
_MOST_CANDIDATES = 4  # higher versions that are looked at before we give up
_MOST_SIGNS = 6  # of a candidate's pre-releases, and of words such as devel, how many are compared with it
_MOST_ALIASES = 5
_LEAP = 20  # in the first number, as Docker's from 1.13 to 17.03
_LINE = 2  # numbers that a line has, at most
_OF_FLAVOURS = ("number", "u")  # 4.1.1-22 of Node's, 1.2.3-u22 of Ubuntu's
_FLAVOURS = {"dev", "devel"}  # in some repositories; the others' are pre-releases
_FIRST_DATE = 10_000  # no flavour has such a number
_MONTH = re.compile(r"v?\d\d\.0[1-9](?!\d)", re.ASCII)  # as in 26.04
_OF_A_HINT, _NEIGHBOURS, _OTHER_SCHEMES, _LINES = 3, 4, 12, 14
_Releases = dict[Scheme, list[Version]]


class UnclearError(Exception):
    """The tag equals no version that we could find, so nothing can be called newer."""


class Look(NamedTuple):
    """What one may ask of tags.

    Attributes:
        is_ours: whether a tag names the image in question.
        digest: a tag's digest, "" if the registry does not have it.
        hints: tags that are likely the same image, likeliest first.
        month: year and month of now, as in 26.04.
    """

    is_ours: Callable[[str], bool]
    digest: Callable[[str], str]
    hints: Sequence[str] = ()
    month: tuple[int, int] = (99, 12)


class _Book(NamedTuple):
    """A repository's tags: releases by scheme, highest first; pre-releases; words that say pre-release.

    ``lines`` are, by scheme, numbers of which a version says more: 1.27 beside 1.27.3. ``years`` are those of months.
    ``is_whole`` says that all releases are among them.
    """

    releases: _Releases
    lines: dict[Scheme, set[tuple[int, ...]]]
    years: dict[Scheme, set[int]]
    early: list[Version]
    words: list[str]
    is_whole: bool


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
def _book(tags: tuple[str, ...]) -> _Book:
    releases, early, words = _read(tags)
    if early and not releases and not (builds := _read(tags, BUT_FOR_B))[1]:
        releases, early, words = builds  # as Yugabyte's, which are all called 2.25.1.0-b381
    if not any(s.is_plain for s in (*releases, *(v.scheme for v in early))):
        for day in days(tags):
            releases[day.scheme].append(day)
    releases = _without_slips(releases)
    for told in _flavours(early, releases):
        releases[told.scheme].append(told)
    for versions in (*releases.values(), early):
        versions.sort(key=lambda v: v.rank, reverse=True)
    releases = _without_systems(releases)
    clear = {s: found for s, found in releases.items() if s.build not in _OF_FLAVOURS or not _are_flavours(found)}
    lines = {s: {v.numbers[:n] for v in found for n in range(1, len(v.numbers))} for s, found in clear.items()}
    years = {s: {v.numbers[0] for v in f if _MONTH.match(v.tag.removeprefix(s.prefix))} for s, f in clear.items()}
    return _Book(clear, lines, years, early, words, is_whole=len(clear) == len(releases))


def _without_slips(releases: _Releases) -> _Releases:
    """All but 8.1.2135, as LinuxServer has called 0.8.1.2135-ls65, too; others count 0.1.0.1 and, later, 1.0.1."""
    zero = (v.numbers for s, found in releases.items() if s.build == "ls" for v in found if not v.numbers[0])
    lost = {numbers[1:] for numbers in zero if numbers[3:]}
    kept = ((scheme, [v for v in found if v.numbers not in lost]) for scheme, found in releases.items())
    return defaultdict(list, ((scheme, found) for scheme, found in kept if found))


def _without_systems(releases: _Releases) -> _Releases:
    """All but such as ubuntu-24.04, of which 26-ubuntu-24.04 tells that the number is the system's."""
    others = {pair for scheme in releases if scheme.is_plain for pair in pairwise(scheme.variant.split("-"))}
    return {s: found for s, found in releases.items() if s.is_plain or not others & {_last(v) for v in found}}


def _are_flavours(versions: list[Version]) -> bool:
    """Whether what looks like builds are 18 and 22 of Node's, both of several versions: builds begin at 0 or 1.

    So are 3.12 and 3.13 of a whole version such as 2.0.5; PostGIS' of Postgres 17 are newer ones.
    """
    builds: dict[tuple[tuple[int, ...], int], set[tuple[int, ...]]] = defaultdict(set)
    for one in versions:
        for length in {1, len(one.build)} if len(one.numbers) > _LINE else {1}:
            builds[one.numbers, length].add(one.build[:length])
    pairs = Counter(pair for each in builds.values() for pair in pairwise(sorted(each)))
    return max(pairs.values(), default=0) > 1 and all(1 < one.build[0] < _FIRST_DATE for one in versions)


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


def _own(name: str, book: _Book) -> Version | None:
    """What the name says in this repository, where its versions may be dates, else by itself."""
    return next((v for found in book.releases.values() for v in found if v.tag == name), None) or version(name)


def newest(name: str, tags: tuple[str, ...], look: Look) -> str:
    """The highest release's tag in the scheme of this one's versions, "" without any. UnclearError: it may be many."""
    book = _book(tags)
    own = _own(name, book)
    found = _highest(own, book, look) if own and own.scheme in book.releases else None
    if own and own.is_early and found in (own, None):
        raise UnclearError
    if found is None and (book.releases or not book.is_whole):
        found = _highest(_alias(name, book, look), book, look)
        if found is None:
            raise UnclearError
    return found.tag if found else ""


def aliases(name: str, tags: tuple[str, ...], look: Look) -> list[str]:
    """Version tags that are the same image as the tag."""
    book = _book(tags)
    own = _own(name, book)
    if own is None or own.scheme not in book.releases:
        try:
            own = _alias(name, book, look)
        except UnclearError:
            return []
    versions = book.releases[own.scheme]
    least = min(2, len(versions[0].numbers))  # beside 1.27.3, 1 is the name of a line
    near = [v for v in versions if (v.begins(own) or own.begins(v)) and v.tag != name and len(v.numbers) >= least]
    return [v.tag for v in near[:_MOST_ALIASES] if look.is_ours(v.tag)]


def _highest(own: Version, book: _Book, look: Look) -> Version | None:
    """The highest above ours; the last that has builds, as 1.1.10-3, may be lower than one without."""
    found = _above(own, book, look)
    if found and found.build:
        bare = [v for v in book.releases.get(found.scheme._replace(build=""), ()) if v.numbers == found.numbers]
        higher = _above(bare[0], book, look) if bare else None
        found = higher if higher and higher.numbers > found.numbers else found
    return _of_years(found, book, look)


def _of_years(found: Version | None, book: _Book, look: Look) -> Version | None:
    """The same, unless `latest` begins with its year by now, as 2020.12.1 of Home Assistant's does after 0.118.5."""
    if found is None or found.scheme.kind:
        return found
    years = found.scheme._replace(kind="year ")
    latest = [v for v in book.releases.get(years._replace(variant=""), ())[:_MOST_CANDIDATES] if _is_latest(v, look)]
    plain = found.scheme._replace(variant="")
    others = [v for v in book.releases.get(plain, ()) if v.numbers not in book.lines[plain]][:_MOST_CANDIDATES]
    if not latest or any(_is_latest(v, look) for v in (found, *others)):  # or a year is but another name of each
        return found
    before = found._replace(numbers=(latest[-1].numbers[0] - 1, 0, 0), scheme=years)  # as if it had been of such a year
    higher = _above(before, book, look) if years in book.releases else before
    return found if higher is before else higher


def _above(own: Version, book: _Book, look: Look) -> Version | None:
    """The highest release above a version of ours, which is itself if there is none.

    None where ours is the name of a line, such as 1.27, and the last release of the line is another image.
    """
    versions, counts = book.releases[own.scheme], _counting(own, book, look)
    looked, early_line = 0, tuple[int, ...]()
    for other in versions:
        if other.rank < own.rank or (other.rank == own.rank and not own.is_early):
            break
        if own.begins(other) and len(other.numbers) > len(own.numbers):
            return other if look.is_ours(other.tag) else None
        is_early_too = bool(early_line) and other.numbers[: len(early_line)] == early_line
        if is_early_too or other.numbers in book.lines[own.scheme] or not counts(other):
            continue
        if looked == _MOST_CANDIDATES:
            raise UnclearError
        looked += 1
        if _is_release(other, book, look):  # and of v1.2.0 and 1.2.0, the one that is spelled like ours
            same = [v for v in versions if v.rank == other.rank]
            return min(same, key=lambda v: v.tag[:1].isalpha() != own.tag[:1].isalpha())
        if own.scheme.kind == "date" and own.tag[:1].isdigit() and look.digest(other.tag):
            raise UnclearError  # that day is of a nightly, so the day before may be, and nothing says so
        early_line = other.numbers[:-1] if len(other.numbers) > _LINE else ()  # 5.45.1 before 5.45.2, which is devel
    return own


def _counting(own: Version, book: _Book, look: Look) -> Callable[[Version], bool]:
    """Tells whether another is a version as ours is, and not one of another count, such as 4711."""
    rules = [rule(own, book, look) for rule in (_until_latest, _until_now, _after_months, _without_leap, _as_long)]
    return lambda other: all(rule(other) for rule in rules)


def _until_latest(own: Version, book: _Book, look: Look) -> Callable[[Version], bool]:
    """Of LinuxServer's, what is not above their last release."""
    last, later = _of_latest(own, book, look)

    def counts(other: Version) -> bool:
        part = other.numbers[: len(last)]
        if not last or part < last or (part == last and not other.build):
            return True
        if part > last:
            return any(other.begins(version) for version in later)
        if _is_latest(own, look):
            return False  # without a look at the other, as there may be a hundred
        if not _is_latest(other, look):
            raise UnclearError  # the numbers of its builds have begun anew
        return True

    return counts


def _until_now(own: Version, book: _Book, look: Look) -> Callable[[Version], bool]:
    """No month to come, if ours is none."""
    years = book.years[own.scheme]
    return lambda other: other.numbers[0] not in years or not own.numbers[:2] <= look.month < other.numbers[:2]


def _after_months(own: Version, book: _Book, look: Look) -> Callable[[Version], bool]:
    """No month (20.04, so 19.10) above what is none, if the last month is not `latest`."""
    years, plain = book.years[own.scheme], own.scheme._replace(variant="")  # latest is of no variant
    is_apart = years and not years & {own.numbers[0], own.numbers[0] + 1}
    months = [v for v in (*book.releases.get(plain, ()), *book.releases[own.scheme]) if v.numbers[0] in years]
    return lambda v: not (is_apart and years & {v.numbers[0], v.numbers[0] + 1}) or _is_latest(months[0], look)


def _without_leap(own: Version, book: _Book, _look: Look) -> Callable[[Version], bool]:
    """None after a leap from one version to the next; dates may leap."""
    higher = {v.numbers[0] for v in book.releases[own.scheme] if v.numbers > own.numbers}
    steps = pairwise(sorted({own.numbers[0], *higher})) if own.scheme.kind != "date" else ()
    leaps = (after for before, after in steps if after - before > max(_LEAP, before // 100))  # counts leave gaps
    first = next(leaps, inf)
    return lambda other: other.numbers[0] < first


def _as_long(own: Version, book: _Book, look: Look) -> Callable[[Version], bool]:
    """One with fewer parts only where our own image has such a name, or mends it, as 0.9.0.1 does 0.9.0.

    No line is called as builds are: 8.0-ls45; but branches' may be with a commit: 8.0-9f3a2c1.
    """
    scheme, has_three = own.scheme, len(own.numbers) == _LINE + 1
    lines = [v for v in book.releases[scheme] if v.numbers == own.numbers[: len(v.numbers)] and not v.build]
    least = min(_LINE if scheme.build not in ("", "number", "hash") else sys.maxsize, len(own.numbers))
    is_year, is_bare = has_three and scheme.kind.startswith("year"), has_three and not (scheme.variant or scheme.build)
    twos = (v for v in book.releases[scheme] if len(v.numbers) == _LINE and v.numbers[0] > own.numbers[0])
    longer = {numbers[0] for numbers in book.lines[scheme] if len(numbers) == _LINE}
    firsts = [*islice((v for v in twos if v.numbers[0] not in longer), _MOST_CANDIDATES)] if is_bare else []

    def counts(other: Version) -> bool:  # 2024.12 comes after 2024.07.3, and 28.0, where it is `latest`, after 27.3.3
        size = len(other.numbers)
        if size >= least or (is_year and size == _LINE):
            return True
        is_name = any(size > _LINE or look.is_ours(v.tag) for v in lines if len(v.numbers) == size)
        return is_name or (other in firsts and _is_latest(other, look))

    return counts


def _is_latest(one: Version, look: Look) -> bool:
    return look.digest(one.tag) == look.digest("latest") != ""


def _of_latest(own: Version, book: _Book, look: Look) -> tuple[tuple[int, ...], list[Version]]:
    """The numbers of LinuxServer's `latest`, their last release, where something seems higher, and what really is.

    Somebody's copy of `latest` may be behind: what is higher is so if its build is after all those up to `latest`.
    """
    theirs = [v for s, found in book.releases.items() if s.is_plain and s.build.endswith("ls") for v in found]
    top = book.releases[own.scheme][0]
    is_theirs = bool(theirs) and own.scheme.is_plain
    if not is_theirs or top.rank <= own.rank or not look.digest("latest") or _is_latest(top, look):
        return (), []
    is_it = Look(lambda tag: look.digest(tag) == look.digest("latest"), look.digest)
    last = (*own.numbers, sys.maxsize)  # where it is of none of these tags: of its own numbers every build counts
    with suppress(UnclearError):
        last = (own if _is_latest(own, look) else _alias("latest", book, is_it)).numbers
    most = max((v.build[-1] for v in theirs if v.numbers[: len(last)] <= last), default=0)
    return last, [v for v in theirs if v.numbers[: len(last)] > last and v.build[-1] > most]


def _is_release(other: Version, book: _Book, look: Look) -> bool:
    """Whether a registry has it, not only in its list, and it is no pre-release under a plain name."""
    digest = look.digest(other.tag)
    return bool(digest) and all(look.digest(sign) != digest for sign in _signs(other, book))


def _signs(other: Version, book: _Book) -> list[str]:
    """Tags that show a version to be a pre-release, if they are the same image: 6.0 that is 6.0-alpha2 or devel."""
    size, like = len(other.numbers), other.scheme.words
    flavours, like_it = like & _FLAVOURS, {v.tag for v in book.releases[other.scheme]}
    early = [v for v in book.early if (*v.numbers, *(0,) * size)[:size] == other.numbers and v.tag not in like_it]
    early.sort(key=lambda v: v.scheme.words != like)
    words = [word for word in book.words if not flavours.intersection(PARTS.split(word))]
    words.sort(key=lambda word: {part for part in word.split("-") if not says_early(part)} != like)
    return [v.tag for v in early[:_MOST_SIGNS]] + words[:_MOST_SIGNS]


def _alias(name: str, book: _Book, look: Look) -> Version:
    """A version that is the same image as the tag."""
    looked: set[str] = set()
    for likely in _likely(name, book, look):
        if likely.tag not in looked and likely.tag != name:
            looked.add(likely.tag)
            if look.is_ours(likely.tag):
                return likely
            if len(looked) == _MOST_LOOKS:
                break
    raise UnclearError


def _likely(name: str, book: _Book, look: Look) -> Iterator[Version]:
    """Which versions a tag could be, likeliest first."""
    fits = _fitting(name, book)
    tops = [book.releases[scheme][0] for scheme in fits]
    main = book.releases[fits[0]]
    for told in filter(None, map(version, look.hints)):
        yield from [v for s in fits for v in book.releases[s] if v.numbers == told.numbers][:_OF_A_HINT]
    yield main[0]
    others = [v for v in tops[1:] if v.scheme.kind != "date"]
    others.sort(key=lambda v: (len(v.numbers) > 1, v.numbers), reverse=True)
    yield from [v for v in others if v.numbers > main[0].numbers][:_OTHER_SCHEMES]
    details = [v for v in main if v.numbers not in book.lines[fits[0]]]
    yield from details[:_NEIGHBOURS]
    yield from [next(of) for _, of in groupby(main, key=lambda v: v.numbers[0])][:_LINES]
    yield from [v for v in others if v.numbers <= main[0].numbers][:_OTHER_SCHEMES]
    yield from (next(of) for _, of in groupby(main, key=lambda v: v.numbers[:2]))
    yield from details


def _fitting(name: str, book: _Book) -> list[Scheme]:
    """The schemes that a tag may belong to, likeliest first: of its variant, then of those that say more."""
    own = version(name)
    if own and not (own.is_early or own.scheme.is_plain or own.scheme in book.releases):
        own = None  # latest-ubuntu-22.04
    known = {word for scheme in book.releases for word in scheme.words}
    parts = set(PARTS.split(name))
    odd = parts - (known & _FLAVOURS)
    if own is None and (says_early("-".join(odd)) or any(c.isdigit() for part in odd - known for c in part)):
        raise UnclearError  # a date, a hash, a branch
    wanted = own.scheme.words if own else (parts & known) - {"latest"}  # beside 8-latest, the name of a line
    fits = [scheme for scheme in book.releases if wanted <= scheme.words]
    if not fits:
        raise UnclearError

    def distance(scheme: Scheme) -> tuple[bool, int, bool, int, Scheme]:
        is_other, more = own is None or scheme != own.scheme, len(scheme.words - wanted)
        return is_other, more, not scheme.is_plain, -len(book.releases[scheme]), scheme

    return sorted(fits, key=distance)

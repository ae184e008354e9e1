"""Which version a tag is, and which is the newest that it could be, among the tags of its repository. Pure.

Input: names, and a ``Look`` that tells which tags are one image. Output: names of tags. Out of bounds: asking.

A list of tags says nothing of images, so a version is found by comparing digests: of the likeliest tags first, and of
no more than it takes. Whoever speaks of a newer version must be right, so what is not clear raises ``UnclearError``.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby, islice, pairwise, takewhile
from math import inf
from typing import NamedTuple

from dockwarden.inventory.releases import FIRST_DATE, LINE, Book, book_of
from dockwarden.versions import PARTS, Scheme, Version, says_early, variant, version

_MOST_LOOKS = 32  # tags compared with ours, where the highest version is not ours
_MOST_CANDIDATES = 4  # higher versions that are looked at before we give up
_MOST_SIGNS = 6  # of a candidate's pre-releases, and of words such as devel, how many are compared with it
_MOST_ALIASES = 5
_LEAP = 20  # in the first number, as Docker's from 1.13 to 17.03
_FLAVOURS = {"dev", "devel"}  # in some repositories; the others' are pre-releases
_OF_A_HINT, _NEIGHBOURS, _OTHER_SCHEMES, _LINES = 3, 4, 12, 14


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


def _own(name: str, book: Book) -> Version | None:
    """What the name says in this repository, where its versions may be dates, else by itself."""
    return next((v for found in book.releases.values() for v in found if v.tag == name), None) or version(name)


def newest(name: str, tags: tuple[str, ...], look: Look) -> str:
    """The highest release's tag in the scheme of this one's versions, "" without any. UnclearError: it may be many."""
    book = book_of(tags)
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
    book = book_of(tags)
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


def _highest(own: Version, book: Book, look: Look) -> Version | None:
    """The highest above ours; the last that has builds, as 1.1.10-3, may be lower than one without."""
    found = _above(own, book, look)
    if found and found.build:
        bare = found._replace(scheme=found.scheme._replace(build=""), build=())
        same = [v for v in book.releases.get(bare.scheme, ()) if v.numbers == found.numbers]
        higher = _above(same[0] if same else bare, book, look) if bare.scheme in book.releases else None
        is_one = higher and higher.numbers > found.numbers and (same or _is_latest(higher, book, look))
        found = higher if is_one else found
    return _of_years(found, book, look)


def _of_years(found: Version | None, book: Book, look: Look) -> Version | None:
    """The same, unless `latest` begins with its year by now, as 2020.12.1 of Home Assistant's does after 0.118.5."""
    years = found.scheme._replace(kind="year ") if found else None
    if found is None or found.scheme.kind or years not in book.releases:
        return found
    latest = _latest_of(_with_plain(years, book), [found, *_with_plain(found.scheme, book)], book, look)
    if latest is None:
        return found
    before = found._replace(numbers=(latest.numbers[0] - 1, 0, 0), scheme=years)  # as if it had been of such a year
    higher = _above(before, book, look)
    return found if higher is before else higher


def _with_plain(scheme: Scheme, book: Book) -> list[Version]:
    """Those of a scheme after those of no variant, one of which is `latest`."""
    return [v for s in dict.fromkeys((scheme._replace(variant=""), scheme)) for v in book.releases.get(s, ())]


def _latest_of(later: list[Version], others: list[Version], book: Book, look: Look) -> Version | None:
    """The one that is `latest`, if none of the others is: else what looks later is but another name of each."""
    tops = ([v for v in of if v.numbers not in book.lines[v.scheme]][:_MOST_CANDIDATES] for of in (later, others))
    found, is_other = ((v for v in top if _is_latest(v, book, look)) for top in tops)
    lowest = next(reversed([*found]), None)
    return lowest if lowest and not any(is_other) else None


def _above(own: Version, book: Book, look: Look) -> Version | None:
    """The highest release above a version of ours, which is itself if there is none.

    None where ours is the name of a line, such as 1.27, and the last release of the line is another image.
    """
    versions, counts = book.releases[own.scheme], _counting(own, book, look)
    looked, early_line = 0, tuple[int, ...]()
    for other in versions:
        if other.rank < own.rank or (other.rank == own.rank and not own.is_early):
            break
        is_longer = own.begins(other) and len(other.numbers) > len(own.numbers)
        # Unlike 25_36 beside 25.0.1_8: a line that is built of a later day than it, or 8.3-v5 beside 8.3.10-v4.
        is_line = other.build[: len(own.build)] == own.build or (other.build < own.build and own.build[0] >= FIRST_DATE)
        if is_longer and (is_line or own.scheme.build == "v"):
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
        early_line = other.numbers[:-1] if len(other.numbers) > LINE else ()  # 5.45.1 before 5.45.2, which is devel
    return own


def _counting(own: Version, book: Book, look: Look) -> Callable[[Version], bool]:
    """Tells whether another is a version as ours is, and not one of another count, such as 4711."""
    rules = [rule(own, book, look) for rule in (_until_latest, _until_now, _after_months, _without_leap, _as_long)]
    return lambda other: all(rule(other) for rule in rules)


def _until_latest(own: Version, book: Book, look: Look) -> Callable[[Version], bool]:
    """Of LinuxServer's, what is not above their last release."""
    last, later = _of_latest(own, book, look)

    def counts(other: Version) -> bool:
        part = other.numbers[: len(last)]
        if not last or part < last or (part == last and not other.build):
            return True
        if part > last:
            return any(other.begins(version) for version in later)
        if _is_latest(own, book, look):
            return False  # without a look at the other, as there may be a hundred
        if not _is_latest(other, book, look):
            raise UnclearError  # the numbers of its builds have begun anew
        return True

    return counts


def _until_now(own: Version, book: Book, look: Look) -> Callable[[Version], bool]:
    """No month to come, if ours is none."""
    years = book.years[own.scheme]
    return lambda other: other.numbers[0] not in years or not own.numbers[:2] <= look.month < other.numbers[:2]


def _after_months(own: Version, book: Book, look: Look) -> Callable[[Version], bool]:
    """No month (20.04, so 19.10) above what is none, if the last month is not `latest`."""
    years = book.years[own.scheme]
    is_apart = years and not years & {own.numbers[0], own.numbers[0] + 1}
    months = [v for v in _with_plain(own.scheme, book) if v.numbers[0] in years]
    return lambda v: not (is_apart and years & {v.numbers[0], v.numbers[0] + 1}) or _is_latest(months[0], book, look)


def _without_leap(own: Version, book: Book, look: Look) -> Callable[[Version], bool]:
    """None after a leap from one version to the next that `latest` is not beyond; dates may leap."""
    higher = {v.numbers[0] for v in book.releases[own.scheme] if v.numbers > own.numbers}
    steps = pairwise(sorted({own.numbers[0], *higher})) if own.scheme.kind != "date" else ()
    leaps = [after for before, after in steps if after - before > max(_LEAP, before // 100)]  # counts leave gaps
    every = _with_plain(own.scheme, book) if leaps else []
    beyond = [v for v in every if v.numbers[0] >= leaps[0] and (v.numbers[1:] or v.build)]
    latest = _latest_of(beyond, [v for v in every if v.numbers[0] < leaps[0]], book, look)
    first = next((after for after in leaps if latest is None or after > latest.numbers[0]), inf)
    return lambda other: other.numbers[0] < first


def _as_long(own: Version, book: Book, look: Look) -> Callable[[Version], bool]:
    """One with fewer parts only where our own image has such a name, or mends it, as 0.9.0.1 does 0.9.0.

    No line is called as builds are: 8.0-ls45; but branches' may be with a commit: 8.0-9f3a2c1.
    """
    scheme, size_of_own = own.scheme, len(own.numbers)
    lines = [v for v in book.releases[scheme] if v.numbers == own.numbers[: len(v.numbers)] and not v.build]
    least = min(LINE if scheme.build not in ("", "number", "hash") else sys.maxsize, len(own.numbers))
    is_year = size_of_own == LINE + 1 and scheme.kind.startswith("year")
    shorter = takewhile(lambda v: len(v.numbers) < size_of_own, book.releases[scheme])  # all as long as ours are lower
    long = [v for v in book.releases[scheme] if len(v.numbers) >= size_of_own]
    firsts = list(islice(shorter, _MOST_CANDIDATES))

    def counts(other: Version) -> bool:  # 2024.12 comes after 2024.07.3, and 28.0, where it is `latest`, after 27.3.3
        size = len(other.numbers)
        if size >= least or (is_year and size == LINE) or scheme.kind == "date":  # 20260810 comes after 20260730.1
            return True
        is_name = any(size > LINE or look.is_ours(v.tag) for v in lines if len(v.numbers) == size)
        is_no_count = bool(other.numbers[1:] or other.build)
        if is_name or not (is_no_count and other in firsts and _is_latest(other, book, look)):
            return is_name
        if size > LINE or other.numbers[0] not in {v.numbers[0] for v in long}:
            return True
        return not (look.digest("lts") or _is_latest(long[0], book, look))  # a week of Jenkins', a system

    return counts


def _twins(one: Version, book: Book) -> list[Version]:
    """It, and what it is a variant of: no name of a line, which moves."""
    plain = one.scheme._replace(variant="", build="")
    whole = book.releases.get(plain, ()) if one.scheme.variant and one.numbers not in book.lines.get(plain, ()) else ()
    return [one, *(v for v in whole if v.numbers == one.numbers)]


def _is_latest(one: Version, book: Book, look: Look) -> bool:
    """Whether it, or what it is a variant of, is `latest`, or what its variant has instead, such as `alpine`."""
    mine = book.latest.get(one.scheme.variant, "latest")
    pairs = [(one.tag, mine), *((twin.tag, "latest") for twin in _twins(one, book))]
    return any(look.digest(tag) == look.digest(latest) != "" for tag, latest in dict.fromkeys(pairs))


def _of_latest(own: Version, book: Book, look: Look) -> tuple[tuple[int, ...], list[Version]]:
    """The numbers of LinuxServer's `latest`, their last release, where something seems higher, and what really is.

    Somebody's copy of `latest` may be behind: what is higher is so if its build is after all those up to `latest`.
    """
    theirs = [v for s, found in book.releases.items() if s.is_plain and s.build.endswith("ls") for v in found]
    top = book.releases[own.scheme][0]
    is_theirs = bool(theirs) and own.scheme.is_plain
    if not is_theirs or top.rank <= own.rank or not look.digest("latest") or _is_latest(top, book, look):
        return (), []
    is_it = Look(lambda tag: look.digest(tag) == look.digest("latest"), look.digest)
    last = (*own.numbers, sys.maxsize)  # where it is of none of these tags: of its own numbers every build counts
    with suppress(UnclearError):
        last = (own if _is_latest(own, book, look) else _alias("latest", book, is_it)).numbers
    most = max((v.build[-1] for v in theirs if v.numbers[: len(last)] <= last), default=0)
    return last, [v for v in theirs if v.numbers[: len(last)] > last and v.build[-1] > most]


def _is_release(other: Version, book: Book, look: Look) -> bool:
    """Whether a registry has it, not only in its list, and it is no pre-release under a plain name, nor of one."""
    digest, plain = look.digest(other.tag), _twins(other, book)[1:]
    if not digest or any(look.digest(sign) == digest for sign in _signs(other, book)):
        return False
    pairs = ((twin.tag, sign) for twin in plain for sign in _signs(twin, book) if not variant(sign))
    return not any(look.digest(tag) == look.digest(sign) != "" for tag, sign in pairs)


def _signs(other: Version, book: Book) -> list[str]:
    """Tags that show a version to be a pre-release, if they are the same image: 6.0 that is 6.0-alpha2 or devel."""
    size, like = len(other.numbers), other.scheme.words
    flavours, like_it = like & _FLAVOURS, {v.tag for v in book.releases[other.scheme]}
    early = [v for v in book.early if (*v.numbers, *(0,) * size)[:size] == other.numbers and v.tag not in like_it]
    early.sort(key=lambda v: v.scheme.words != like)
    words = [word for word in book.words if not flavours.intersection(PARTS.split(word))]
    words.sort(key=lambda word: {part for part in word.split("-") if not says_early(part)} != like)
    return [v.tag for v in early[:_MOST_SIGNS]] + words[:_MOST_SIGNS]


def _alias(name: str, book: Book, look: Look) -> Version:
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


def _likely(name: str, book: Book, look: Look) -> Iterator[Version]:
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


def _fitting(name: str, book: Book) -> list[Scheme]:
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

"""Versions in tags: which tags name a release, and which of two is the higher one."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.reference import Version, version

RELEASES = {
    "0": ((0,), ""),
    "1": ((1,), ""),
    "17": ((17,), ""),
    "1.27": ((1, 27), ""),
    "1.27.3": ((1, 27, 3), ""),
    "v1.27.3": ((1, 27, 3), ""),
    "V2": ((2,), ""),
    "1.27.3.1": ((1, 27, 3, 1), ""),
    "01.02": ((1, 2), ""),
    "24.04": ((24, 4), ""),
    "1899.1": ((1899, 1), ""),
    "2101": ((2101,), ""),
    "1.27-alpine": ((1, 27), "alpine"),
    "1.27.3-alpine3.20": ((1, 27, 3), "alpine3.20"),
    "3.12.7-slim-bookworm": ((3, 12, 7), "slim-bookworm"),
    "8.0_fpm": ((8, 0), "fpm"),
    "17-jdk": ((17,), "jdk"),
    "1.2.3-debian-12-r4": ((1, 2, 3), "debian-12-r4"),
    # Words that begin like those of a pre-release.
    "1.27.3-alpine": ((1, 27, 3), "alpine"),
    "1.0-bullseye": ((1, 0), "bullseye"),
    "1.0-mainline": ((1, 0), "mainline"),
    "1.0-prerequisites": ((1, 0), "prerequisites"),
    "1.0-devcontainer": ((1, 0), "devcontainer"),
    "1.0-nextcloud": ((1, 0), "nextcloud"),
    "1.0-rcs": ((1, 0), "rcs"),
    "1.0-amd64": ((1, 0), "amd64"),
    "1.0-arm64v8": ((1, 0), "arm64v8"),
}

PRE_RELEASES = [
    "1.0-rc",
    "1.0-rc1",
    "1.0-rc.1",
    "1.0.0-RC1",
    "1.0.0_rc_1",
    "1.0.0-alpha",
    "1.0.0-alpha.2",
    "1.0.0-beta3",
    "1.0.0-BETA",
    "1.0.0-b1",
    "1.0.0-a2",
    "1.0.0-M1",
    "1.0.0-dev",
    "1.0.0-pre",
    "1.0.0-pre.20",
    "1.0.0-preview",
    "1.0.0-SNAPSHOT",
    "1.0.0-nightly",
    "1.0.0-nightly.20241001",
    "1.0.0-canary.5",
    "1.0.0-next.3",
    "1.0.0-rc1-alpine",
    "1.0.0-alpine-rc1",
    "1.0.0-slim.beta",
    "1.0rc1",
    "1.0.0a1",
    "3.14.0b2-slim",
]

NO_VERSIONS = [
    "",
    "latest",
    "stable",
    "edge",
    "main",
    "alpine",
    "bookworm-20241016",
    "release-1.2.3",
    "version1",
    "vv1",
    "v",
    "v-1",
    "1.",
    ".1",
    "1..2",
    "1.2-",
    "-1.2",
    "1.2.3.4.5",
    "1,2",
    " 1.2",
    "1.2 ",
    "1.2\n",
    "१.२",
    "1.²",
    "1x",
    "1.x",
    # Dates, however they are written, and calendar versions.
    "20241001",
    "2024-10-01",
    "2024.10.01",
    "2024.10",
    "2024",
    "1999.1",
    "v2024.1.2",
    "2024.1-alpine",
    "241001",
    "202410",
    "20241001123000",
    "20241001.1",
    "1.20241001",
    # Hashes, seconds and numbers of builds.
    "1234567",
    "0123456",
    "deadbee",
    "9f3a2c1",
    "1e10",
    "sha-1234567",
    "1727740800",
    "123456",
]


@pytest.mark.parametrize("tag", RELEASES)
def test_a_release(tag: str) -> None:
    assert version(tag) == Version(*RELEASES[tag])


@pytest.mark.parametrize("tag", PRE_RELEASES)
def test_a_pre_release_is_no_version(tag: str) -> None:
    assert version(tag) is None


@pytest.mark.parametrize("tag", NO_VERSIONS, ids=repr)
def test_what_only_has_numbers_in_it_is_no_version(tag: str) -> None:
    assert version(tag) is None


numbers = st.lists(st.integers(0, 99_999), min_size=1, max_size=4).filter(lambda n: not 1900 <= n[0] <= 2100)
variants = st.sampled_from(["", "alpine", "slim-bookworm", "alpine3.20", "windowsservercore-ltsc2022", "r4", "fpm"])
prefixes = st.sampled_from(["", "v", "V"])


@given(numbers, variants, prefixes, st.sampled_from("-_"))
@settings(deadline=None)
def test_a_version_is_read_as_it_is_written(parts: list[int], variant: str, prefix: str, joint: str) -> None:
    tag = prefix + ".".join(map(str, parts)) + (joint + variant if variant else "")
    assert version(tag) == Version(tuple(parts), variant)


@given(numbers, numbers, variants)
@settings(deadline=None)
def test_versions_compare_by_their_numbers(first: list[int], second: list[int], variant: str) -> None:
    tags = [".".join(map(str, parts)) + (f"-{variant}" if variant else "") for parts in (first, second)]
    one, other = (version(tag) for tag in tags)
    assert one is not None
    assert other is not None
    assert (one < other) == (first < second)
    assert (one == other) == (first == second)


@given(
    numbers, st.sampled_from(["rc", "alpha", "beta", "dev", "preview", "snapshot", "M"]), st.integers(0, 99), variants
)
@settings(deadline=None)
def test_no_pre_release_is_a_version_in_any_variant(parts: list[int], word: str, count: int, variant: str) -> None:
    tag = ".".join(map(str, parts)) + f"-{word}{count}" + (f"-{variant}" if variant else "")
    assert version(tag) is None


@given(st.dates(date(1900, 1, 1), date(2100, 12, 31)), st.sampled_from(["-", ".", "", "_"]), prefixes)
@settings(deadline=None)
def test_no_date_is_a_version(day: date, joint: str, prefix: str) -> None:
    assert version(prefix + str(day).replace("-", joint)) is None


@given(st.text(st.characters(codec="utf-8"), max_size=20))
@settings(deadline=None)
def test_any_text_has_a_version_or_none(text: str) -> None:
    found = version(text)
    assert found is None or (found.numbers and text.lstrip("vV")[0].isdigit())

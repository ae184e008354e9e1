"""Versions in tags: which tags name a release, and which of two is the higher one."""

from __future__ import annotations

from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.versions import family, release, variant, version
from tests.tables import each

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
    # Numbers of builds are no variants.
    "1.2.3-debian-12-r4": ((1, 2, 3), "debian-12"),
    "4.0.20.3001-ls323": ((4, 0, 20, 3001), ""),
    "version-4.0.9.2244": ((4, 0, 9, 2244), ""),
    "release-1.2.3": ((1, 2, 3), ""),
    "26.0.7-0": ((26, 0, 7), ""),
    "17.5.2-ce.0": ((17, 5, 2), "ce"),
    "25.0.4_7-jdk-noble": ((25, 0, 4), "jdk-noble"),
    "8u432-b06-jre": ((8, 432), "jre"),
    "1.40.0.7998-c29d4c0c8": ((1, 40, 0, 7998), ""),
    "5.0-20260727": ((5, 0), ""),
    "1.16.9-20240501.2-alpine": ((1, 16, 9), "alpine"),
    "9.8p1": ((9, 8), ""),
    "34.0.0.Final-jdk21": ((34, 0, 0), "Final-jdk21"),
    "10.9.11ubu2404": ((10, 9, 11), "ubu2404"),
    "5.0.1_v2.0.10-ls361": ((5, 0, 1), ""),
    "1.2.3-sha.abc1234": ((1, 2, 3), ""),
    "1.2.3-45-gabc1234": ((1, 2, 3), ""),
    "1.2.3-45-g1234567": ((1, 2, 3), ""),
    "1.2.3-sha1234567": ((1, 2, 3), ""),
    "RELEASE.2024-10-13T13-34-11Z": ((20241013, 133411), ""),
    "RELEASE.2024-10-13T13-34-11Z-cpuv1": ((20241013, 133411), "cpuv1"),
    "1.0.4-20200608160520Z": ((1, 0, 4), ""),
    "1.0.4-20200608T160520Z-slim": ((1, 0, 4), "slim"),
    "version-2024-10-13": ((20241013,), ""),
    "1.2.3-arm-v7": ((1, 2, 3), "arm-v7"),
    "1.2.3-amd64-v3": ((1, 2, 3), "amd64-v3"),
    "1.2.3-x86_64_v3": ((1, 2, 3), "x86-64-v3"),
    "1.2.3-debian-amd64-1.1": ((1, 2, 3), "debian-amd64"),
    "7.4.3.132-ga132": ((7, 4, 3, 132), ""),
    "r35.4.1": ((35, 4, 1), "r"),
    "1.2.3-linux_arm64_v8": ((1, 2, 3), "linux-arm64-v8"),
    "1.2.3-386": ((1, 2, 3), "386"),
    "2022-CU14-ubuntu-22.04": ((2022,), "ubuntu-22.04"),
    "v0.5.0-cu118": ((0, 5, 0), "cu118"),
    # Years and long parts are versions of their own kind.
    "2024": ((2024,), ""),
    "2026.8.3": ((2026, 8, 3), ""),
    "2024.10.01": ((2024, 10, 1), ""),
    "v2024.1.2": ((2024, 1, 2), ""),
    "2024.1-alpine": ((2024, 1), "alpine"),
    "26.8.0.126808-community": ((26, 8, 0, 126808), "community"),
    "2023.12.20260817.0": ((2023, 12, 20260817, 0), ""),
    "1.2.3.4.5": ((1, 2, 3, 4, 5), ""),
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
    "3.14.0-95.2.beta-sdk",
    "24-ea-21-jdk",
    "2026.9.0.dev20260801",
    "2026.10.0b2",
    "11.0.0-M1-jre21",
    "4.0.0-rc-5-eclipse-temurin-26",
    "19beta3-alpine3.24",
    "4.0.0-dp",
    "beta-7.1-RC2-php8.5",
    "nightly-4.0.21.1-ls9",
    "main-1.2.3",
    "1.0rc1",
    "1.0.0a1",
    "3.14.0b2-slim",
]

NO_VERSIONS = [
    "1." + "9" * 5000,
    "1.2-" + "9" * 5000,
    "1." * 500_000 + "\n",
    "",
    "latest",
    "stable",
    "edge",
    "main",
    "alpine",
    "bookworm-20241016",
    "version1",
    "vv1",
    "v",
    "v-1",
    "1.",
    ".1",
    "1..2",
    "1.2-",
    "-1.2",
    "1,2",
    " 1.2",
    "1.2 ",
    "1.2\n",
    "१.२",
    "1.²",
    "1x",
    "1.x",
    # Dates, however they are written.
    "20241001",
    "2024-10-01",
    "241001",
    "202410",
    "20241001123000",
    "20241001.1",
    # Hashes, seconds and numbers of builds.
    "1234567",
    "0123456",
    "deadbee",
    "9f3a2c1",
    "1e10",
    "sha-1234567",
    "1727740800",
    "123456",
    # Other things that are counted.
    "pr-101",
    "main-abcdef1",
    "build-42",
    "php8.5-fpm",
    "jdk-21",
    "node22",
    "p11",
    "trixie-20260803-slim",
]


@each("tag", RELEASES)
def test_a_release(tag: str) -> None:
    found = release(tag)
    assert found is not None
    assert (found.numbers, variant(tag)) == RELEASES[tag]


@each("tag", PRE_RELEASES)
def test_a_pre_release_is_no_release(tag: str) -> None:
    assert release(tag) is None


@each("tag", NO_VERSIONS)
def test_what_only_has_numbers_in_it_is_no_release(tag: str) -> None:
    assert release(tag) is None


@each(
    ("tag", "expected"),
    [
        ("latest", ""),
        ("latest-alpine", "alpine"),
        ("server-cuda-b6700", "server-cuda"),
        ("stable-slim-bookworm", "slim-bookworm"),
        ("lts-jdk17", "jdk17"),
        ("fpm", "fpm"),
        ("bookworm", "bookworm"),
        ("edge", ""),
        ("nightly-alpine", "alpine"),
        ("pr-101", ""),
        ("sha-1234567", ""),
        ("main-abcdef1", ""),
        ("20241001", ""),
        ("ee-8.1.2.4", "ee"),
    ],
)
def test_the_variant_of_a_tag(tag: str, expected: str) -> None:
    assert variant(tag) == expected


def test_tags_are_ranked_among_their_like() -> None:
    tags = (
        "1.0.0 v1.1.0 4.0.20.3001-ls323|1.0-alpine 1.1.0-r3-alpine|2026.8.3 2024.10.01|pr-101 pr-7|sha-1234567 sha-2"
        "|main-abcdef1 main|9f3a2c1 12ab34f|latest|20241001 2024-10-01 1.0.0-rc1"
    )
    families = [{family(tag) for tag in group.split()} for group in tags.split("|")]
    assert [len(found) for found in families] == [1] * len(families)
    assert len(set.union(*families)) == len(families)


def _ranked(*tags: str) -> list[str]:
    """Tags of one family, the highest release first."""
    found = [one for tag in tags if (one := release(tag))]
    assert len(found) == len(tags)
    assert len({family(tag) for tag in tags}) == 1
    return [one.tag for one in sorted(found, key=lambda one: one.rank, reverse=True)]


@each(
    "tags",
    [  # as people read them, the newest release first
        "3.13.0-slim-bookworm 3.12.7-slim-bookworm 3.9.20-slim-bookworm 3.9-slim-bookworm 3-slim-bookworm",
        "22.11.0-alpine3.20 22.9.0-alpine3.20 20.18.0-alpine3.20 8.9.4-alpine3.20",
        "8u432-b06-jdk 8u422-b05-jdk 8u92-b14-jdk",
        "21.0.5_11-jre-ubi9-minimal 21.0.4_7-jre-ubi9-minimal 17.0.13_11-jre-ubi9-minimal 11.0.9.1_1-jre-ubi9-minimal",
        "8.3.13-fpm-alpine3.20 8.3.9-fpm-alpine3.20 8.3-fpm-alpine3.20 7.4.33-fpm-alpine3.20",
        "v3.10.0 3.9.12 v3.9.2 3 v2.11.14 1.7.34-1 v1.7.34",
        "1.27.10-nanoserver-ltsc2025 1.27.9-nanoserver-ltsc2025 1.9.0-nanoserver-ltsc2025",
        "11.0.2-jdk21-temurin-noble 10.1.34-jdk21-temurin-noble 9.0.98-jdk21-temurin-noble",
        "26.04 25.10 24.04 9.10",
        "2024.12.0 2024.9.3 2023.12.4",
        "16.4.0-debian-12-r14 16.4.0-debian-12-r9 16.3.0-debian-12-r23",
        "4.0.14.2939-ls256 4.0.14.2939-ls99 4.0.14.2938-ls300",
        "1.2.3-20241029.2 1.2.3-20241029.1 1.2.3-20240930 1.2.3",
        "RELEASE.2024-11-07T00-52-20Z RELEASE.2024-10-13T13-34-11Z RELEASE.2024-10-13T01-00-00Z",
        "1200 999 45",
    ],
)
def test_the_newest_release_is_the_one_that_people_take_for_it(tags: str) -> None:
    assert _ranked(*sorted(tags.split())) == tags.split()


numbers = st.lists(st.integers(0, 99_999), min_size=1, max_size=5)
variants = st.sampled_from(
    ["", "alpine", "slim-bookworm", "alpine3.20", "windowsservercore-ltsc2022", "debian-12", "fpm"]
)
builds = st.sampled_from(["", "-r4", "-ls12", "-1", "_7", "-20240501"])
EARLY = ["rc", "alpha", "beta", "dev", "preview", "snapshot", "M"]


def _tag(parts: list[int], variant: str, build: str = "") -> str:
    return ".".join(map(str, parts)) + build + (f"-{variant}" if variant else "")


@given(numbers, variants, builds, st.sampled_from(["", "v", "V", "version-", "release-"]))
@settings(deadline=None)
def test_a_version_is_read_as_it_is_written(parts: list[int], name: str, build: str, prefix: str) -> None:
    tag = prefix + _tag(parts, name, build)
    found = version(tag)
    if prefix.endswith("-") and len(parts) == 1:
        assert found is None  # release-7 may be anything
        return
    assert found is not None
    assert (found.numbers, found.scheme.variant, found.is_early) == (tuple(parts), name, False)
    assert bool(found.build) == bool(build)


@given(numbers, builds, numbers, builds, variants)
@settings(deadline=None)
def test_versions_are_ordered_by_their_numbers_and_then_by_their_builds(
    one: list[int], one_build: str, other: list[int], other_build: str, name: str
) -> None:
    first, second = version(_tag(one, name, one_build)), version(_tag(other, name, other_build))
    assert first is not None
    assert second is not None
    assert (first.rank < second.rank) + (first.rank > second.rank) + (first.rank == second.rank) == 1
    assert one == other or (first.rank < second.rank) == (one < other)


@given(numbers, st.sampled_from(EARLY), st.integers(0, 99), variants)
@settings(deadline=None)
def test_no_pre_release_is_a_release_in_any_variant(parts: list[int], word: str, count: int, name: str) -> None:
    tag = ".".join(map(str, parts)) + f"-{word}{count}" + (f"-{name}" if name else "")
    assert release(tag) is None


@given(st.dates(date(1900, 1, 1), date(2100, 12, 31)), st.sampled_from(["-", "", "_"]), st.sampled_from(["", "v"]))
@settings(deadline=None)
def test_no_date_is_a_release_beside_1_0(day: date, joint: str, prefix: str) -> None:
    tag = prefix + str(day).replace("-", joint)
    assert family(tag) != family("1.0")


@given(st.text(st.characters(codec="utf-8"), max_size=40))
@settings(deadline=None)
def test_any_text_has_a_version_or_none(text: str) -> None:
    for read in (version, release, family, variant):
        read(text)

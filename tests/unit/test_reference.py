"""References: the grammar of the distribution project, and what the engine makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden import reference
from dockwarden.reference import Reference, familiar, full, is_image_id, parse, short_id
from tests.tables import each

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"

PARSED = {
    "busybox": ("docker.io", "library/busybox", "latest", ""),
    "busybox:1.36": ("docker.io", "library/busybox", "1.36", ""),
    "library/busybox": ("docker.io", "library/busybox", "latest", ""),
    "docker.io/busybox": ("docker.io", "library/busybox", "latest", ""),
    "index.docker.io/busybox": ("docker.io", "library/busybox", "latest", ""),
    # To the engine this is another registry than docker.io, with names of its own.
    "registry-1.docker.io/library/busybox:1": ("registry-1.docker.io", "library/busybox", "1", ""),
    "team/app": ("docker.io", "team/app", "latest", ""),
    "docker.io/library/a/b:1": ("docker.io", "library/a/b", "1", ""),
    "localhost/app": ("localhost", "app", "latest", ""),
    "localhost:5000/app:2": ("localhost:5000", "app", "2", ""),
    "Upper/app": ("Upper", "app", "latest", ""),
    "ghcr.io/a/b/c__d/e-f---g.h:V1_-.x": ("ghcr.io", "a/b/c__d/e-f---g.h", "V1_-.x", ""),
    "[::1]:5000/app": ("[::1]:5000", "app", "latest", ""),
    "[2001:db8::1]/app": ("[2001:db8::1]", "app", "latest", ""),
    "localhost:5000": ("docker.io", "library/localhost", "5000", ""),
    f"app@{DIGEST}": ("docker.io", "library/app", "", DIGEST),
    f"app:1@{DIGEST}": ("docker.io", "library/app", "1", DIGEST),
    f"app@sha512:{HEX * 2}": ("docker.io", "library/app", "", f"sha512:{HEX * 2}"),
    f"app:{'t' * 128}": ("docker.io", "library/app", "t" * 128, ""),
    f"h.io/{'a' * 255}": ("h.io", "a" * 255, "latest", ""),
    "a_b.lan/app": ("a_b.lan", "app", "latest", ""),
    "x.a__b/library/app:1": ("x.a__b", "library/app", "1", ""),
    f"a_b.lan/app@{DIGEST}": ("a_b.lan", "app", "", DIGEST),
    "a_b/app": ("docker.io", "a_b/app", "latest", ""),
    "a_b.lan": ("docker.io", "library/a_b.lan", "latest", ""),
    "0123456789ab": ("docker.io", "library/0123456789ab", "latest", ""),
}

REFUSED = [
    "",
    " ",
    ":1",
    "app:",
    "app@",
    "@" + DIGEST,
    "/app",
    "app/",
    "a//b",
    "../etc",
    "a/../b",
    "h.io/",
    "h.io/Upper",
    "App",
    "app:a b",
    "app:\n",
    "app\n",
    "app:1\x00",
    "-app",
    "app-",
    "a..b",
    "a___b",
    "a_-b",
    "ápp",
    "app:é",
    "app:१",
    f"app:{'t' * 129}",
    f"h.io/{'a' * 256}",
    "a" * 5000,
    f"app@{HEX}",
    f"app@sha256:{HEX[:-1]}",
    f"app@sha256:{HEX.upper()}",
    f"app@md5:{HEX[:32]}",
    f"app@{DIGEST}@{DIGEST}",
    "http://h.io/app",
    "h.io:port/app",
    "a_b.lan:5000/app",
    "A_b.lan/app",
    "a-.lan/app",
    HEX,
    DIGEST,
    "<none>:<none>",
]


@each("text", PARSED)
def test_parse(text: str) -> None:
    assert parse(text) == Reference(*PARSED[text])


@each("text", REFUSED)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)
    assert full(text) == text


@each("text", PARSED)
def test_full_form_is_a_fixed_point(text: str) -> None:
    assert full(full(text)) == full(text)
    assert str(parse(full(text))) == full(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker.io/library/busybox:1", "busybox:1"),
        ("docker.io/team/app:1", "team/app:1"),
        # As the engine shows it: "a/b:1" would be another image.
        ("docker.io/library/a/b:1", "library/a/b:1"),
        ("ghcr.io/team/app:1", "ghcr.io/team/app:1"),
        ("library/app", "library/app"),
        (f"docker.io/library/app@{DIGEST}", f"app@{DIGEST}"),
    ],
)
def test_familiar(text: str, expected: str) -> None:
    assert familiar(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEX, True),
        (DIGEST, True),
        (HEX[:-1], False),
        (HEX.upper(), False),
        (f"app@{DIGEST}", False),
        (f"{DIGEST}\n", False),
        ("", False),
    ],
)
def test_is_image_id(text: str, expected: bool) -> None:  # noqa: FBT001
    assert is_image_id(text) is expected


def test_short_id() -> None:
    assert short_id(DIGEST) == short_id(HEX) == "0123456789ab"


def test_marker_is_a_reference_of_its_own_repository() -> None:
    parsed = parse(reference.marker(DIGEST))
    assert (parsed.repository, parsed.tag) == (reference.MARKER_REPOSITORY, "0123456789ab")


# -- properties ----------------------------------------------------------------------------------------

components = st.from_regex(r"[a-z0-9]+(?:(?:[._]|__|-{1,3})[a-z0-9]+){0,3}", fullmatch=True)
hosts = st.one_of(
    st.just("docker.io"),
    st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,8}[a-zA-Z0-9])?\.[a-z]{2,4}(:[0-9]{1,5})?", fullmatch=True),
    st.from_regex(r"\[[0-9a-f]{1,4}::[0-9a-f]{1,4}\](:[0-9]{1,5})?", fullmatch=True),
)
tags = st.one_of(st.just(""), st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
digests = st.one_of(st.just(""), st.from_regex(r"@sha256:[0-9a-f]{64}", fullmatch=True))


@given(hosts, st.lists(components, min_size=1, max_size=4), tags, digests)
def test_round_trip(host: str, path: list[str], tag: str, digest: str) -> None:
    text = f"{host}/{'/'.join(path)}{tag}{digest}"
    parsed = parse(text)
    assert parse(str(parsed)) == parsed
    assert f"@{parsed.digest}" == digest or not digest
    assert f":{parsed.tag}" == tag or not tag
    assert bool(parsed.tag or parsed.digest)


@given(hosts, st.lists(components, min_size=1, max_size=4), tags)
def test_familiar_names_the_same_image(host: str, path: list[str], tag: str) -> None:
    text = full(f"{host}/{'/'.join(path)}{tag}")
    short = familiar(text)
    # The engine's own short form is ambiguous where a path on docker.io begins like a host.
    first, slash, _ = short.partition("/")
    ambiguous = host == "docker.io" and (bool(slash) and ("." in first or first == "localhost"))
    assert ambiguous or full(short) == text


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parsed = parse(text)
    except ValueError:
        assert full(text) == text
    else:
        assert parse(str(parsed)) == parsed


@each(
    ("kind", "glob"),
    [
        *(("volumes", glob) for glob in ("pg-*", "[!a]b?", "nas.example.com/share", "size=10G,name=db", "*/share")),
        *(("networks", glob) for glob in ("a net", "web_default", "*")),
        *(("containers", glob) for glob in ("*", "web-[0-9]", "0123456789ab*")),
        ("images", "edge"),
        *(("images", glob) for glob in ("*", "ghcr.io/acme/*", "sha256:0123*", "nginx@sha256:*", "[!x]*:latest")),
        *(("tags", glob) for glob in ("*:latest", "latest-*", "nginx:RC1", "[Nn]ginx", "H.Example/x", "2048", "v1.x")),
        *(("tags", glob) for glob in ("*SNAPSHOT*", "app*-RC1", "app?RC1")),  # a star may stand for the colon
    ],
)
def test_globs_that_may_fit_a_name(kind: str, glob: str) -> None:
    """Drivers of volumes have names of their own kind, with hosts and options in them."""
    assert reference.may_match(kind, glob)

"""What a digest stands for, and which tags there are, as registries tell it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies

from dockwarden.ports import Ask, Entry, Reply
from dockwarden.registry import manifest
from dockwarden.registry.auth import challenges
from dockwarden.registry.message import FailedError, parse_url
from tests.tables import each
from tests.unit.misbehaving import PAUSE, Misbehaving, http, json_answer
from tests.unit.registries import DIGEST, OTHER, SOON, Clock, absent, ask, asking, head, image, index, reason, sha

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.unit.misbehaving import Asked

MANY = index("linux/amd64", "linux/arm64/v8", "windows/amd64")
ENTRIES = (
    Entry(f"sha256:{0:064x}", "linux", "amd64", ""),
    Entry(f"sha256:{1:064x}", "linux", "arm64", "v8"),
    Entry(f"sha256:{2:064x}", "windows", "amd64", ""),
)


IMAGE = "application/vnd.oci.image.manifest.v1+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest"}


def with_entry(entry: object) -> bytes:
    return json.dumps({"manifests": [entry]}).encode()


@each(
    ("body", "expected"),
    [
        (image(), Reply(config=OTHER)),
        (image(mediaType="application/vnd.oci.image.manifest.v1+json"), Reply(config=OTHER)),
        (MANY, Reply(entries=ENTRIES)),
        (index("linux/amd64", mediaType="application/vnd.oci.image.index.v1+json"), Reply(entries=ENTRIES[:1])),
        (index("linux/amd64", "unknown/unknown", "linux/unknown"), Reply(entries=ENTRIES[:1])),
        (index(), Reply()),
        (with_entry("x"), Reply()),
        (with_entry({"digest": DIGEST}), Reply(entries=(Entry(DIGEST, "", "", "", is_index=True),))),
        (with_entry({"digest": DIGEST, "platform": None}), Reply(entries=(Entry(DIGEST, "", "", "", is_index=True),))),
        (with_entry({"digest": DIGEST, "mediaType": IMAGE}), Reply(entries=(Entry(DIGEST, "", "", ""),))),
        (with_entry({"digest": DIGEST, "mediaType": LIST}), Reply(entries=(Entry(DIGEST, "", "", "", is_index=True),))),
        (
            with_entry({"digest": DIGEST, "mediaType": LIST, "platform": {"os": "a", "architecture": "b"}}),
            Reply(entries=(Entry(DIGEST, "a", "b", "", is_index=True),)),
        ),
        (with_entry({"digest": DIGEST, "mediaType": "application/vnd.oci.image.layer.v1.tar"}), Reply()),
        (with_entry({"digest": DIGEST, "mediaType": IMAGE, "artifactType": "application/x"}), Reply()),
        (with_entry({"digest": DIGEST, "mediaType": IMAGE, "annotations": ATTESTATION}), Reply()),
        (with_entry({"digest": "x", "platform": {"os": "a", "architecture": "b"}}), Reply()),
        (with_entry({"digest": DIGEST, "platform": {"os": "a" * 100, "architecture": "b"}}), Reply()),
        (with_entry({"digest": DIGEST, "platform": {"os": 5, "architecture": "b"}}), Reply()),
        (with_entry({"digest": DIGEST, "platform": {"os": "a"}}), Reply()),
        (
            with_entry({"digest": DIGEST, "platform": {"os": "", "architecture": "amd64"}}),
            Reply(entries=(Entry(DIGEST, "linux", "amd64", ""),)),
        ),
        (with_entry({"digest": DIGEST, "platform": {"os": "a", "architecture": "b/c"}}), Reply()),
        (with_entry({"digest": DIGEST, "platform": "linux/amd64"}), Reply()),
        (with_entry({"digest": DIGEST, "platform": ["linux", "amd64"]}), Reply()),
        (with_entry({"digest": DIGEST, "platform": {"os": "a", "architecture": "b", "variant": 5}}), Reply()),
        (
            with_entry({"digest": DIGEST, "platform": {"os": "a", "architecture": "b", "variant": None}}),
            Reply(entries=(Entry(DIGEST, "a", "b", ""),)),
        ),
    ],
)
def test_manifest(body: bytes, expected: Reply) -> None:
    with asking(lambda _: [http(200, body)]) as (registry, server):
        assert ask(registry, f"{server.host}/team/app@{sha(body)}", "manifest") == expected
        assert server.asked == [f"GET /v2/team/app/manifests/{sha(body)}"]
        assert "oci.image.index.v1" in server.asked[0].header("Accept")


@each(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe\x00",
        b'{"schemaVersion": 1, "fsLayers": [], "history": []}',
        b'{"config": {}}',
        b'{"config": "x"}',
        b'{"config": {"digest": "sha256:12"}}',
        b'{"manifests": {}}',
        b"1" * 5000,
        index(*["linux/amd64"] * 1001),
    ],
)
def test_no_manifest(body: bytes) -> None:
    with asking(lambda _: [http(200, body)]) as (registry, server):
        assert ask(registry, f"{server.host}/app@{sha(body)}", "manifest") == reason("bad_answer")


def test_body_must_be_what_was_asked_for() -> None:
    with asking(lambda _: [http(200, MANY, f"Docker-Content-Digest: {DIGEST}")]) as (registry, server):
        assert ask(registry, f"{server.host}/app@{DIGEST}", "manifest") == reason("bad_answer")


@pytest.mark.parametrize(
    ("body", "expected"),
    [(gzip.compress(MANY, mtime=0), Reply(entries=ENTRIES)), (gzip.compress(MANY, mtime=0)[:-9], reason("bad_answer"))],
)
@pytest.mark.parametrize("coding", ["gzip", "gzip, identity", "X-GZip"])
def test_body_that_was_packed_on_the_way(body: bytes, expected: Reply, coding: str) -> None:
    with asking(lambda _: [http(200, body, f"Content-Encoding: {coding}")]) as (registry, server):
        assert ask(registry, f"{server.host}/app@{sha(MANY)}", "manifest") == expected


@each("coding", ["aws-chunked", "utf-8", "aws-chunked, identity", "br"])
def test_a_body_that_is_only_said_to_be_packed(coding: str) -> None:
    with asking(lambda _: [http(200, MANY, f"Content-Encoding: {coding}")]) as (registry, server):
        assert ask(registry, f"{server.host}/app@{sha(MANY)}", "manifest") == Reply(entries=ENTRIES)
        assert ask(registry, f"{server.host}/app@{DIGEST}", "manifest") == reason("bad_answer")


def test_packed_body() -> None:
    with asking(lambda _: [http(200, MANY, "Content-Encoding: gzip")]) as (registry, server):
        assert ask(registry, f"{server.host}/app@{sha(MANY)}", "manifest") == reason("bad_answer")
        assert server.asked[0].header("Accept-Encoding") == "identity"


def test_other_hashes() -> None:
    digest = f"sha512:{hashlib.sha512(MANY).hexdigest()}"
    with asking(lambda _: [http(200, MANY)]) as (registry, server):
        assert ask(registry, f"{server.host}/app@{digest}", "manifest").entries == ENTRIES


def test_manifest_never_changes() -> None:
    clock = Clock()
    with asking(lambda _: [http(200, MANY)], clock) as (registry, server):
        for _ in range(3):
            assert ask(registry, f"{server.host}/app:1@{sha(MANY)}", "manifest").entries == ENTRIES
            clock.now += 1_000_000
        assert len(server.asked) == 1


def test_manifest_that_is_missing_is_asked_for_again() -> None:
    clock = Clock()
    with asking(lambda asked: [absent(asked)], clock) as (registry, server):
        for _ in range(2):
            assert ask(registry, f"{server.host}/app@{DIGEST}", "manifest") == reason("not_found")
            clock.now += 31
        assert len([asked for asked in server.asked if asked.endswith(DIGEST)]) == 2


@given(strategies.binary() | strategies.text().map(str.encode))
def test_anything_is_parsed_or_refused(body: bytes) -> None:
    for parse in (manifest.contents, manifest.tags):
        with contextlib.suppress(FailedError):
            parse(body)


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.floats() | strategies.text(),
    lambda inner: (
        strategies.lists(inner)
        | strategies.dictionaries(
            strategies.sampled_from(["manifests", "config", "tags", "digest", "platform", "os", "architecture"]), inner
        )
    ),
)


@given(JSON)
def test_any_json_is_parsed_or_refused(document: object) -> None:
    test_anything_is_parsed_or_refused.hypothesis.inner_test(json.dumps(document).encode())  # type: ignore[attr-defined]


@given(strategies.text())
def test_any_header_is_understood_or_ignored(text: str) -> None:
    challenges([text])
    manifest.next_page([text])
    with contextlib.suppress(FailedError):
        assert parse_url(text).scheme in ("http", "https")


# -- tags ----------------------------------------------------------------------------------------------


def page(*tags: object, link: str = "") -> bytes:
    return http(200, json.dumps({"name": "app", "tags": tags}).encode(), *([f"Link: {link}"] if link else []))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (page("2", "1", "latest"), ("2", "1", "latest")),
        (page("1", "1", 5, None, "", ".x", "a" * 129, "a b", "ok_1"), ("1", "ok_1")),
        (json_answer({"tags": None}), ()),
        (json_answer({"Name": "app", "Tags": ["1"]}), ("1",)),
        (json_answer({"name": "app"}), ()),
        (http(200, gzip.compress(b'{"tags": ["1"]}', mtime=0), "Content-Encoding: x-gzip"), ("1",)),
        (page(), ()),
    ],
)
def test_tags(answer: bytes, expected: tuple[str, ...]) -> None:
    with asking(lambda _: [answer]) as (registry, server):
        assert ask(registry, f"{server.host}/team/app", "tags") == Reply(tags=expected)
        assert ask(registry, f"{server.host}/team/app:1", "tags") == Reply(tags=expected)
        assert server.asked == ["GET /v2/team/app/tags/list?n=1000"]
        assert server.asked[0].header("Accept") == "application/json"


@each(
    ("answer", "word"),
    [
        (absent("GET", "NAME_UNKNOWN"), "not_found"),
        (http(404), "bad_answer"),
        (http(410), "refused"),
        (http(200, b"x"), "bad_answer"),
        (json_answer([]), "bad_answer"),
        (json_answer({}), "bad_answer"),
        (json_answer({"message": "log in"}), "bad_answer"),
        (json_answer({"errors": [{"code": "DENIED"}]}), "bad_answer"),
        (json_answer({"tags": "x"}), "bad_answer"),
        (http(200, b"\x8b\x06\x80", "Content-Encoding: br"), "bad_answer"),
        (lambda: http(200, gzip.compress(b" " * ((16 << 20) + 1), mtime=0), "Content-Encoding: gzip"), "bad_answer"),
        (
            http(404, gzip.compress(b'{"errors":[{"code":"NAME_UNKNOWN"}]}', mtime=0), "Content-Encoding: gzip"),
            "not_found",
        ),
        (page("1", link="<http://[>; rel=next"), "bad_answer"),
        (page("1", link="<?last=1>; rel=next"), "bad_answer"),
        (page("1", link='<>; rel="next"'), "bad_answer"),
        (page("1", link="<<>;rel=next"), "bad_answer"),
        (lambda: page("a" * (16 << 20)), "too_many_tags"),
        (lambda: http(200, b" " * ((16 << 20) + 1)), "too_many_tags"),
    ],
)
def test_no_tags(answer: bytes | Callable[[], bytes], word: str) -> None:
    """What is large is made here only, and not by each process that collects."""
    with asking(lambda _: [answer() if callable(answer) else answer]) as (registry, server):
        assert ask(registry, f"{server.host}/app", "tags") == reason(word)
        assert len(server.asked) <= 200


@pytest.mark.parametrize(
    "link",
    [
        '</v2/app/tags/list?last=1&n=1>; rel="next"',
        "</v2/app/tags/list?last=1&n=1>;rel=next",
        '<?last=1&n=1>; title="x"; rel="next"',
        "</v2/app/tags/list?last=1&n=1>; rel='next'",
        '</v2/app/tags/list?last=1&n=1>; rel="last next"',
        '</v2/app/tags/list?last=1&n=1>; rel="next last"',
        '</v2/app/tags/list?last=1&n=1>; rel="http://example.com/more next"',
        '<https://evil.invalid/v2/app/tags/list?last=1&n=1>; rel="next"',
        '<//evil.invalid/v2/app/tags/list?last=1&n=1>; rel="next"',
        '</x>; rel="prev", </v2/app/tags/list?last=1&n=1>; rel="next"',
        '/v2/app/tags/list?last=1&n=1; rel="next"',
    ],
)
def test_next_page_is_at_the_same_host(link: str) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        return [page("2") if "last=1" in asked else page("1", link=link)]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app", "tags") == Reply(tags=("1", "2"))
        assert server.asked[1] == "GET /v2/app/tags/list?last=1&n=1"


@pytest.mark.parametrize("size", [100, 1000])
def test_as_many_pages_as_a_repository_has(size: int) -> None:
    """And what took many requests is believed for long."""
    every = [f"nightly-2026.{n:06}-arm64" for n in range(20_502 if size == 100 else 202_169)]

    def answer(asked: Asked) -> Iterable[bytes]:
        start = int(asked.partition("last=")[2] or 0)
        link = f"</v2/app/tags/list?last={start + size}>; rel=next" if start + size < len(every) else ""
        return [page(*every[start : start + size], link=link)]

    clock = Clock()
    with asking(answer, clock) as (registry, server):
        assert registry.ask(Ask("tags", f"{server.host}/app")).result(SOON) == Reply(tags=tuple(every))
        assert len(server.asked) == -(-len(every) // size)
        clock.now += 3600
        assert ask(registry, f"{server.host}/app", "tags") == Reply(tags=tuple(every))
        assert len(server.asked) == -(-len(every) // size)
        clock.now += 12 * 3600
        registry.ask(Ask("tags", f"{server.host}/app")).result(SOON)
        assert len(server.asked) == 2 * -(-len(every) // size)


@each("count", [999, 1000, 1001, 2000, 2500])
@each("knows_last", [200, 400, 404, None])
def test_a_page_may_end_without_saying_that_there_is_more(count: int, knows_last: int | None) -> None:
    """Whether `last` is understood, refused, or passed over."""
    every = [f"{n:05}" for n in range(count)]

    def answer(asked: Asked) -> Iterable[bytes]:
        last = asked.partition("last=")[2]
        if last and knows_last not in (200, None):
            return [http(knows_last or 0)]
        begun = [tag for tag in every if tag > last or not knows_last]
        return [page(*(begun[:1000] if "n=1000" in asked else begun))]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app", "tags") == Reply(tags=tuple(every))
        assert len(server.asked) <= 5


def test_pages_without_tags_come_to_an_end() -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        return [page("1", link=f"<?last={len(server.asked)}>; rel=next")]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app", "tags") == reason("bad_answer")
        assert len(server.asked) < 200


@each("link", ["<?last=2>; rel=next", "<?last=1>; rel=next"])
def test_an_end_without_tags_that_says_that_it_goes_on_there(link: str) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        last = int(asked.partition("last=")[2] or 0)
        return [page(str(last), link=f"<?last={last + 1}>; rel=next") if last < 2 else page(link=link)]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app", "tags") == Reply(tags=("0", "1"))
        assert len(server.asked) == 3


@each("pages", [1, 500])
def test_pages_without_tags_come_to_an_end_however_many_tags_there_were(pages: int) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        number = int(asked.partition("last=")[2] or 0)
        return [page(*([str(number)] if number < pages else []), link=f"<?last={number + 1}>; rel=next")]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app", "tags") == reason("bad_answer")
        assert len(server.asked) < pages + 200


@pytest.mark.parametrize("status", [400, 405, 416, 422])
def test_who_does_not_like_to_be_told_the_size_of_a_page(status: int) -> None:
    with asking(lambda asked: [http(status) if "n=" in asked else page("1")]) as (registry, server):
        assert ask(registry, f"{server.host}/app", "tags") == Reply(tags=("1",))
        assert server.asked == ["GET /v2/app/tags/list?n=1000", "GET /v2/app/tags/list"]


@each(
    "link",
    [
        "</v2/real/name/tags/list?last=1>; rel=next",
        "<list?last=1>; rel=next",
        "<?last=1>; rel=next",
        "<http://registry.internal:5000/v2/real/name/tags/list?last=1>; rel=next",
        "<http://registry.internal/behind/v2/real/name/tags/list?last=1>; rel=next",
        "</behind/v2/real/name/tags/list?last=1>; rel=next",
        "</api/v2/behind/v2/real/name/tags/list?last=1>; rel=next",
        "</v2/name/tags/list?last=1>; rel=next",
        "<http://registry.internal:5000/v2/name/tags/list?n=1000&last=1>; rel=next",
    ],
)
@each("otherwise", [http(404), http(200, b"<html>"), http(500), http(403)])
def test_next_page_counts_from_where_redirects_led_to(link: str, otherwise: bytes) -> None:
    """And is asked there; from `/v2/` on, if the registry does not know its own address."""

    def target_says(asked: Asked) -> Iterable[bytes]:
        if not asked.startswith("GET /v2/real/name/tags/list?"):
            return [otherwise]
        return [page("2") if "last=1" in asked else page("1", link=link)]

    with Misbehaving(target_says) as target:

        def answer(asked: Asked) -> Iterable[bytes]:
            query = asked.partition("?")[2]
            return [http(307, b"", f"Location: http://{target.host}/v2/real/name/tags/list?{query}")]

        with asking(answer) as (registry, server):
            assert ask(registry, f"{server.host}/app", "tags") == Reply(tags=("1", "2"))
            assert len(server.asked) == 1


@pytest.mark.parametrize("link", ["", "</x>", '</x>; rel="prev"', "/x; rel=prev", '</x>; rel="nextish"', "<>"])
def test_last_page(link: str) -> None:
    assert manifest.next_page([link]) == ""


def test_page_that_fails_spoils_the_list() -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        return [head(status=500) if "last=1" in asked else page("1", link="<?last=1>; rel=next")]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app", "tags") == reason("unavailable")


def test_question_as_a_whole_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.client.TAGS_SECONDS", 3.0)

    def answer(asked: Asked) -> Iterable[bytes]:
        last = int(asked.partition("last=")[2] or 0)
        return [PAUSE, page(str(last), link=f"<?last={last + 1}>; rel=next")]

    with asking(answer) as (registry, server):
        for _ in range(2):  # nor is it asked again
            assert ask(registry, f"{server.host}/app", "tags", max_age_seconds=0) == reason("too_many_tags")
        assert len([asked for asked in server.asked if "n=1000" in asked]) == 1

"""Asking servers that mean no good which digest a tag has; how often, how many at once, and what is remembered."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.config.settings import RegistrySettings
from dockwarden.ports import Ask, Reply
from dockwarden.registry import wire
from tests.lab.loopback import free_port
from tests.lab.waiting import until
from tests.tables import each
from tests.unit.misbehaving import CHUNKED, CLOSE, HANG, LAST_CHUNK, PAUSE, RESET, Misbehaving, chunk, http, json_answer
from tests.unit.registries import DIGEST, OK, OTHER, SOON, Clock, absent, ask, asking, client, head, image, reason, sha

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.unit.misbehaving import Asked

BODY = image()


def test_one_anonymous_head() -> None:
    with asking(lambda _: [OK]) as (registry, server):
        assert ask(registry, f"{server.host}/team/app:1") == Reply(digest=DIGEST)
        assert server.asked == ["HEAD /v2/team/app/manifests/1"]
        assert server.asked[0].header("Accept-Encoding") == "identity"
        assert not server.asked[0].header("Authorization")
        for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "manifest.list.v2", "distribution.manifest.v2"):
            assert kind in server.asked[0].header("Accept")


def test_by_digest() -> None:
    with asking(lambda _: [OK]) as (registry, server):
        assert ask(registry, f"{server.host}/app@{DIGEST}") == Reply(digest=DIGEST)
        assert ask(registry, f"{server.host}/app@{OTHER}") == reason("bad_answer")
        assert server.asked[0] == f"HEAD /v2/app/manifests/{DIGEST}"


def test_by_digest_where_none_is_named() -> None:
    with asking(lambda asked: [head()] if asked.startswith("HEAD") else [http(200, BODY)]) as (registry, server):
        assert ask(registry, f"{server.host}/app@{sha(BODY)}") == Reply(digest=sha(BODY))
        assert ask(registry, f"{server.host}/app@{OTHER}") == reason("bad_answer")


def test_pinned_reference_is_about_its_tag() -> None:
    with asking(lambda _: [OK]) as (registry, server):
        assert ask(registry, f"{server.host}/app:1@{OTHER}") == Reply(digest=DIGEST)
        assert server.asked == ["HEAD /v2/app/manifests/1"]


def test_connections_are_kept() -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        if asked.startswith("HEAD"):
            return [head(f"Docker-Content-Digest: {DIGEST}" if asked.endswith("1") else "")]
        return [http(200, BODY)] if asked.endswith("2") else [http(410, b"x" * 700_000)]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == Reply(digest=DIGEST)
        assert ask(registry, f"{server.host}/app:2") == Reply(digest=sha(BODY))
        assert ask(registry, f"{server.host}/app:1") == Reply(digest=DIGEST)
        assert server.connections == 1
        assert ask(registry, f"{server.host}/app:3") == reason("refused")
        assert ask(registry, f"{server.host}/other:1") == Reply(digest=DIGEST)
        assert server.connections == 2  # nobody reads much of a refusal


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_connection_that_was_ended_meanwhile(end: bytes) -> None:
    with asking(lambda _: [OK, end]) as (registry, server):
        for n in range(3):
            assert ask(registry, f"{server.host}/app:{n}") == Reply(digest=DIGEST)
        assert len(server.asked) == 3


def test_connection_that_is_ended_instead_of_an_answer() -> None:
    ended: list[int] = []

    def answer(asked: Asked) -> Iterable[bytes]:
        if server.connections == 1 and asked.endswith("1"):
            ended.append(1)
            return [CLOSE]
        return [OK]

    with asking(answer) as (registry, server):
        assert [ask(registry, f"{server.host}/app:{n}").digest for n in range(2)] == [DIGEST] * 2
        assert (ended, server.connections) == ([1], 2)


@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_what_is_said_before_an_answer_is_none(status: int) -> None:
    """Else the answer would be taken for that to the next question."""
    early = f"HTTP/1.1 {status} X\r\nLink: </a>; rel=preload\r\n\r\n".encode()

    def answer(asked: Asked) -> Iterable[bytes]:
        tags = json_answer({"tags": [asked.split("/")[2]]})
        return [early, early, PAUSE, tags] if "/a/" in asked else [tags]

    with asking(answer) as (registry, server):
        assert [ask(registry, f"{server.host}/{name}", "tags").tags for name in "ab"] == [("a",), ("b",)]
        assert (len(server.asked), server.connections) == (2, 1)


def test_rest_of_an_answer_is_not_the_next_answer() -> None:
    rubbish = OK + b"HTTP/1.1 200 X\r\nDocker-Content-Digest: " + OTHER.encode() + b"\r\nContent-Length: 0\r\n\r\n"
    with asking(lambda asked: [rubbish] if asked.endswith("0") else [OK]) as (registry, server):
        assert [ask(registry, f"{server.host}/app:{n}").digest for n in range(2)] == [DIGEST] * 2


@each(
    "refusal",
    [
        head(),
        *(head(f"Docker-Content-Digest: {text}") for text in ("", f'"{DIGEST}"')),
        head(status=405),
        head(status=501),
    ],
)
@each(
    "pieces",
    [
        [http(200, BODY)],
        [CHUNKED, chunk(BODY[:3]), PAUSE, chunk(BODY[3:]), LAST_CHUNK],
        [b"HTTP/1.0 200 OK\r\n\r\n", BODY, CLOSE],
        [http(200, BODY, "Content-Encoding: identity")],
        [http(203, BODY)],
    ],
)
def test_registry_that_names_no_digest(pieces: list[bytes], refusal: bytes) -> None:
    with asking(lambda asked: [refusal] if asked.startswith("HEAD") else pieces) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == Reply(digest=sha(BODY))
        assert [asked.split()[0] for asked in server.asked] == ["HEAD", "GET"]


def test_manifest_of_ten_megabytes() -> None:
    large, too_large = (image(padding="x" * (size - 150)) for size in (10 << 20, (10 << 20) + 200))
    with asking(lambda a: [head()] if a.startswith("HEAD") else [http(200, (large, too_large)[int(a[-1])])]) as (
        registry,
        server,
    ):
        assert len(large) <= 10 << 20 < len(too_large)
        assert ask(registry, f"{server.host}/app:0") == Reply(digest=sha(large))
        assert ask(registry, f"{server.host}/app:1") == reason("bad_answer")


FAULTS: dict[str, tuple[list[bytes], str]] = {
    "401": ([head(status=401)], "unauthorized"),
    "401 of an unknown kind": ([head("WWW-Authenticate: Negotiate abc==", status=401)], "unauthorized"),
    "401 of no kind": ([head('WWW-Authenticate: ="', status=401)], "unauthorized"),
    "401 without realm": ([head("WWW-Authenticate: Bearer", status=401)], "unauthorized"),
    "401 for a name": ([head('WWW-Authenticate: Basic realm="x"', status=401)], "unauthorized"),
    "403": ([head(status=403)], "forbidden"),
    "404": ([head(status=404)], "bad_answer"),
    "402": ([head(status=402)], "refused"),
    "405": ([head(status=405)], "refused"),
    "410": ([head(status=410)], "refused"),
    "412": ([head(status=412)], "refused"),
    "451": ([head(status=451)], "refused"),
    "500": ([head(status=500)], "unavailable"),
    "503": ([head(status=503)], "unavailable"),
    "400": ([head(status=400)], "refused"),
    "204": ([b"HTTP/1.1 204 X\r\n\r\n"], "bad_answer"),
    "no sha256": ([head("Docker-Content-Digest: sha512:" + "0" * 128)], "bad_answer"),
    "short digest": ([head("Docker-Content-Digest: sha256:12")], "bad_answer"),
    "upper case": ([head(f"Docker-Content-Digest: {DIGEST.upper()}")], "bad_answer"),
    "empty digest": ([head("Docker-Content-Digest: ")], "bad_answer"),
    "two digests": ([head(*[f"Docker-Content-Digest: {digest}" for digest in (DIGEST, OTHER)])], "bad_answer"),
    "garbage": ([b"SSH-2.0-x\r\n\r\n", CLOSE], "bad_answer"),
    "binary": ([bytes(range(256)), b"\r\n\r\n", CLOSE], "bad_answer"),
    "many headers": ([b"HTTP/1.1 200 X\r\n", b"a: b\r\n" * 1000, b"\r\n"], "bad_answer"),
    "long header": ([b"HTTP/1.1 200 X\r\na: ", b"b" * 200_000, CLOSE], "bad_answer"),
    "reset": ([RESET], "unreachable"),
    "closed at once": ([CLOSE], "unreachable"),
    "redirect to nowhere": ([head(status=302)], "bad_answer"),
    "redirect to a file": ([head("Location: file:///etc/passwd", status=302)], "bad_answer"),
    "redirect to no url": ([head("Location: http://[", status=302)], "bad_answer"),
    "redirect to no host": ([head("Location: http:///x", status=302)], "bad_answer"),
    "redirect to no port": ([head("Location: http://h:99999/x", status=302)], "bad_answer"),
    "redirect with a name": ([head("Location: http://a:b@127.0.0.1/x", status=302)], "bad_answer"),
    "redirect to itself": ([head("Location: /v2/app/manifests/1", status=307)], "bad_answer"),
}


@each("fault", FAULTS)
def test_fault(fault: str) -> None:
    pieces, word = FAULTS[fault]
    with asking(lambda _: pieces) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == reason(word)


@pytest.mark.parametrize(
    ("pieces", "word"),
    [
        ([http(200, BODY)[:-3], CLOSE], "bad_answer"),
        ([CHUNKED, b"zz\r\n", CLOSE], "bad_answer"),
        ([http(200, BODY)[:-3], RESET], "unreachable"),
        ([http(200, BODY, "Content-Encoding: gzip")], "bad_answer"),
        ([http(200, b"<html>a portal</html>")], "bad_answer"),
        ([http(200, b"{}")], "bad_answer"),
        ([head(status=404)], "bad_answer"),
        ([head(status=503)], "unavailable"),
        ([head(status=405)], "refused"),
    ],
)
def test_fault_while_the_manifest_is_read(pieces: list[bytes], word: str) -> None:
    with asking(lambda asked: [head()] if asked.startswith("HEAD") else pieces) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == reason(word)


def _endless(asked: Asked) -> Iterable[bytes]:
    yield head() if asked.startswith("HEAD") else CHUNKED
    while asked.startswith("GET"):
        yield chunk(b"x" * 1_000_000)


def test_manifest_without_end() -> None:
    with asking(_endless) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == reason("bad_answer")


def _trickle(_asked: Asked) -> Iterable[bytes]:
    while True:
        yield b"a"
        yield PAUSE


def _trickling_manifest(asked: Asked) -> Iterable[bytes]:
    yield head() if asked.startswith("HEAD") else CHUNKED
    while asked.startswith("GET"):
        yield chunk(b"a")
        yield PAUSE


def _silence(_asked: Asked) -> Iterable[bytes]:
    yield HANG


def _silence_in_the_manifest(asked: Asked) -> Iterable[bytes]:
    return [head()] if asked.startswith("HEAD") else [CHUNKED, chunk(b"a"), HANG]


@pytest.mark.parametrize("answer", [_trickle, _trickling_manifest, _silence, _silence_in_the_manifest])
def test_slow_answer(answer: Callable[[Asked], Iterable[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.endpoint.ANSWER_SECONDS", 0.2)
    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == reason("timeout")


def test_nobody_listens() -> None:
    with client() as registry:
        assert ask(registry, f"127.0.0.1:{free_port()}/app:1") == reason("unreachable")
        assert ask(registry, "none.invalid/app:1") == reason("unreachable")
        assert ask(registry, f"{'a' * 63}.{'a' * 70}.invalid/app:1").reason in ("unreachable", "bad_answer")


@pytest.mark.parametrize("reference", ["", "App", "a b", DIGEST, "app@sha256:12", "../app:1", "host:99999/app:1"])
def test_no_reference(reference: str) -> None:
    with client() as registry:
        assert ask(registry, reference) == reason("bad_reference")
        assert registry.remembered(Ask("digest", reference)) in (None, reason("bad_reference"))


@pytest.mark.parametrize("question", [Ask("pull", "app:1"), Ask("manifest", "app:1"), Ask("manifest", "app")])
def test_no_question(question: Ask) -> None:
    with client() as registry:
        assert registry.ask(question).result(SOON) == reason("bad_reference")
        assert registry.remembered(question) is None


# -- who says 404 --------------------------------------------------------------------------------------


def error(*codes: object, status: int = 404, key: str = "errors") -> bytes:
    return json_answer({key: [{"code": code, "message": "x"} for code in codes]}, status)


@each(
    ("said", "word"),
    [
        (error("MANIFEST_UNKNOWN"), "not_found"),
        (error("NAME_UNKNOWN"), "not_found"),
        (error("NOT_FOUND"), "not_found"),
        (error("TAG_EXPIRED"), "not_found"),
        (error("DENIED", "MANIFEST_UNKNOWN"), "not_found"),
        (error("MANIFEST_UNKNOWN", key="Errors"), "not_found"),
        (http(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}', "Content-Type: text/plain"), "not_found"),
        (http(404), "bad_answer"),
        (http(404, b"404 page not found\n", "Content-Type: text/plain"), "bad_answer"),
        (http(404, b"<html>MANIFEST_UNKNOWN</html>", "Content-Type: text/html"), "bad_answer"),
        (http(404, b'"MANIFEST_UNKNOWN"'), "bad_answer"),
        (http(404, b"[" * 60_000), "bad_answer"),
        (http(404, b" " * 70_000 + b'{"errors":[{"code":"NAME_UNKNOWN"}]}'), "bad_answer"),
        (json_answer({"errors": {"code": "NAME_UNKNOWN"}}, 404), "bad_answer"),
        (json_answer({"errors": ["NAME_UNKNOWN", None]}, 404), "bad_answer"),
        (json_answer({"code": "NAME_UNKNOWN"}, 404), "bad_answer"),
        (error(key="errors"), "bad_answer"),
        (error("UNAUTHORIZED"), "bad_answer"),
        (error("BLOB_UNKNOWN"), "bad_answer"),
        (error(404, None, ["NAME_UNKNOWN"]), "bad_answer"),
        (error("MANIFEST_UNKNOWN", key="error"), "bad_answer"),
        (error("MANIFEST_UNKNOWN", status=403), "forbidden"),
        (error("MANIFEST_UNKNOWN", status=400), "refused"),
        (error("MANIFEST_UNKNOWN", status=500), "unavailable"),
    ],
)
@each("redirected", [False, True])
def test_only_a_registry_can_say_that_it_has_no_such_manifest(said: bytes, word: str, redirected: bool) -> None:  # noqa: FBT001
    def answer(asked: Asked) -> Iterable[bytes]:
        return [said.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if asked.startswith("HEAD") else said]

    with Misbehaving(answer) as target:

        def first(asked: Asked) -> Iterable[bytes]:
            if redirected:
                return [head(f"Location: http://{target.host}{asked.split()[1]}", status=307)]
            return answer(asked)

        with asking(first) as (registry, server):
            for what in (f"{server.host}/app:1", f"{server.host}/app@{DIGEST}"):
                assert ask(registry, what) == reason(word)
            for what, reference in (("manifest", f"app@{DIGEST}"), ("tags", "app")):
                assert ask(registry, f"{server.host}/{reference}", what) == reason(word)


def test_404_to_a_head_alone_says_nothing() -> None:
    with asking(lambda asked: [head(status=404)] if asked.startswith("HEAD") else [http(200, BODY)]) as (
        registry,
        server,
    ):
        assert ask(registry, f"{server.host}/app:1") == Reply(digest=sha(BODY))
        assert ask(registry, f"{server.host}/app:2") == Reply(digest=sha(BODY))
        assert [asked for asked in server.asked if "manifests" in asked] == [
            "HEAD /v2/app/manifests/1",
            "GET /v2/app/manifests/1",
            "GET /v2/app/manifests/2",
        ]


@each("status", [400, 402, 403, 404, 405, 406, 410, 412, 415, 451, 500, 501, 502, 503])
def test_where_a_head_fails_and_a_get_does_not_a_get_is_sent_for_an_hour(status: int) -> None:
    clock, refused = Clock(), True

    def answer(asked: Asked) -> Iterable[bytes]:
        if asked.startswith("HEAD"):
            return [head(status=status)] if refused else [OK]
        return [http(200, BODY)]

    with asking(answer, clock) as (registry, server):
        for n in range(3):
            assert ask(registry, f"{server.host}/app:{n}") == Reply(digest=sha(BODY))
        assert len([asked for asked in server.asked if asked.startswith("HEAD")]) == 1
        clock.now, refused = clock.now + 3601, False
        for n in range(3, 6):
            assert ask(registry, f"{server.host}/app:{n}") == Reply(digest=DIGEST)


def test_a_head_is_tried_again_where_pulls_are_counted() -> None:
    """One bad moment must not use up the quota of the host."""
    answers = iter([[head(status=503)], [http(200, BODY, "RateLimit-Remaining: 99;w=21600")], [OK], [OK]])
    with asking(lambda _: next(answers)) as (registry, server):
        assert [ask(registry, f"{server.host}/app:{n}").digest for n in range(3)] == [sha(BODY), DIGEST, DIGEST]


@pytest.mark.parametrize("status", [401, 429])
def test_no_get_after_a_refusal_that_a_get_would_get_as_well(status: int) -> None:
    with asking(lambda _: [head("Retry-After: 3600", status=status)]) as (registry, server):
        assert ask(registry, f"{server.host}/app:1").reason in ("unauthorized", "rate_limited")
        assert [asked for asked in server.asked if "manifests" in asked] == ["HEAD /v2/app/manifests/1"]


@pytest.mark.parametrize(
    "named",
    [
        [f"Docker-Content-Digest: {DIGEST}"] * 3,
        [f"docker-content-digest: {DIGEST}", f"Docker-Content-Digest:  {DIGEST} "],
        [f"Docker-Content-Digest: {DIGEST}, {DIGEST}"],
    ],
)
def test_the_same_digest_several_times(named: list[str]) -> None:
    with asking(lambda _: [head(*named)]) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == Reply(digest=DIGEST)


# -- whatever is answered --------------------------------------------------------------------------------

UNKNOWN = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN"}]}).encode()
_Answer = tuple[int, bytes, list[str], int]
_ANSWERS = st.tuples(
    st.sampled_from(
        [200, 200, 203, 204, 206, 304, 307, 400, 401, 403, 404, 404, 405, 407, 410, 421, 429, 451, 500, 520]
    ),
    st.sampled_from(
        [b"", b"<html>", b"{}", b"[]", BODY, BODY[:-4], gzip.compress(BODY, mtime=0), UNKNOWN, b'{"errors": []}']
    ),
    st.lists(
        st.sampled_from(
            [
                *(f"Docker-Content-Digest: {digest}" for digest in (DIGEST, DIGEST, OTHER, "x", f"sha512:{'a' * 128}")),
                *("Content-Type: text/html", "Content-Encoding: gzip", "Location: /", "Retry-After: 3600"),
                *('WWW-Authenticate: Basic realm="x"', 'WWW-Authenticate: Bearer realm="http://127.0.0.1:1/"'),
            ]
        ),
        max_size=2,
    ),
    st.sampled_from([0, 0, 0, 5, -2]),  # of bytes more than there are
)


@given(_ANSWERS, _ANSWERS, _ANSWERS)
@settings(deadline=None)
def test_digests_and_a_registrys_own_404_are_believed_and_nothing_else(
    front: _Answer, by_head: _Answer, by_get: _Answer
) -> None:
    """All else is unknown, and has a reason."""

    def answer(asked: Asked) -> Iterable[bytes]:
        is_head, is_door = asked.startswith("HEAD"), asked.endswith(" /v2/")
        status, body, headers, more = by_head if is_head else front if is_door else by_get
        first = head(*headers, status=status, length=max(0, len(body) + more))
        return [first] if is_head else [first, body, CLOSE]

    with asking(answer, Clock()) as (registry, server):
        reply = ask(registry, f"{server.host}/app:1")
    named = {header.partition(": ")[2] for header in by_head[2] if by_head[0] in (200, 203)}
    hashed = {sha(BODY)} if by_get[0] in (200, 203) and by_get[1] in (BODY, gzip.compress(BODY, mtime=0)) else set()
    assert reply.reason or reply.digest in hashed | (named & {DIGEST, OTHER})
    assert reply.reason != "not_found" or by_get[:2] == (404, UNKNOWN)


# -- redirects -----------------------------------------------------------------------------------------


def test_redirect_to_another_host() -> None:
    with (
        Misbehaving(lambda _: [OK]) as target,
        asking(lambda _: [head(f"Location: http://{target.host}/elsewhere?a=b", status=307)]) as (registry, server),
    ):
        assert ask(registry, f"{server.host}/app:1") == Reply(digest=DIGEST)
        assert target.asked == ["HEAD /elsewhere?a=b"]


@pytest.mark.parametrize(
    ("written", "there"), [("there", "there"), ("there \t", "there"), ("a b?c=d e\xc3\xa9", "a%20b?c=d%20e%C3%A9")]
)
def test_redirect_within_a_host(written: str, there: str) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        is_there = asked.endswith(there)
        return [OK] if is_there else [head("Location: there", status=301).replace(b"there", written.encode("latin-1"))]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == Reply(digest=DIGEST)
        assert server.asked == ["HEAD /v2/app/manifests/1", f"HEAD /v2/app/manifests/{there}"]


@pytest.mark.parametrize(("hops", "expected"), [(9, Reply(digest=DIGEST)), (10, reason("bad_answer"))])
def test_as_many_redirects_as_an_engine_follows(hops: int, expected: Reply) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        number = int(asked.partition("?")[2] or 0)
        return [OK] if number == hops else [head(f"Location: ?{number + 1}", status=302)]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == expected


# -- memory --------------------------------------------------------------------------------------------


def test_answer_is_believed_for_a_while_and_remembered_for_ever() -> None:
    clock, answers = Clock(), [OK, absent("HEAD"), http(200, b"{}"), absent("GET"), OK]
    with asking(lambda _: [answers[len(server.asked) - 1]], clock) as (registry, server):
        name = f"{server.host}/app:1"
        question = Ask("digest", name)
        assert registry.remembered(question) is None
        assert [ask(registry, name), ask(registry, name)] == [Reply(digest=DIGEST)] * 2
        clock.now += 299
        assert ask(registry, name) == Reply(digest=DIGEST)
        assert len(server.asked) == 1
        clock.now += 10_000
        assert registry.remembered(question) == Reply(digest=DIGEST)
        assert ask(registry, name) == registry.remembered(question) == reason("not_found")
        clock.now += 31  # failures are believed for a shorter time
        assert ask(registry, name) == Reply(digest=DIGEST)
        assert len(server.asked) == 5


def test_how_old_an_answer_may_be_is_for_who_asks_to_say() -> None:
    clock = Clock()
    with asking(lambda _: [OK], clock) as (registry, server):
        for passed, max_age_seconds, asked in ((0, 300, 1), (301, 3600, 1), (0, 300, 2), (60, 60, 3), (59, 60, 3)):
            clock.now += passed
            ask(registry, f"{server.host}/app:1", max_age_seconds=max_age_seconds)
            assert len(server.asked) == asked


def test_what_has_expired_is_asked_again_and_still_remembered() -> None:
    answers = [OK, head(f"Docker-Content-Digest: {OTHER}")]
    with asking(lambda _: [answers[len(server.asked) - 1]]) as (registry, server):
        question = Ask("digest", f"{server.host}/app:1")
        ask(registry, question.reference)
        registry.note(question, None)
        registry.note(Ask("digest", "no reference at all"), None)
        assert registry.remembered(question) == Reply(digest=DIGEST)
        assert ask(registry, question.reference) == registry.remembered(question) == Reply(digest=OTHER)


def test_what_somebody_else_was_answered_need_not_be_asked() -> None:
    with asking(lambda _: [OK]) as (registry, server):
        question = Ask("digest", f"{server.host}/app:1")
        registry.note(question, Reply(digest=OTHER))
        assert ask(registry, question.reference) == Reply(digest=OTHER)
        assert ask(registry, question.reference, max_age_seconds=0) == Reply(digest=DIGEST)


def test_an_answer_that_was_under_way_when_it_expired_is_not_believed() -> None:
    begun, moved = threading.Event(), threading.Event()

    def answer(_asked: object) -> Iterable[bytes]:
        if begun.is_set():
            return [head(f"Docker-Content-Digest: {OTHER}")]
        begun.set()
        moved.wait(SOON)
        return [OK]

    with asking(answer) as (registry, server):
        question = Ask("digest", f"{server.host}/app:1")
        early = registry.ask(question)
        begun.wait(SOON)
        registry.note(question, None)
        late = registry.ask(question)
        moved.set()
        assert [early.result(SOON), late.result(SOON)] == [Reply(digest=DIGEST), Reply(digest=OTHER)]
        assert registry.remembered(question) == Reply(digest=OTHER)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.client._MOST_REMEMBERED", 15)
    with asking(lambda _: [OK]) as (registry, server):
        names = [f"{server.host}/app:{n}" for n in range(5)]
        for name in names:
            ask(registry, name)
        known = [registry.remembered(Ask("digest", name)) is not None for name in names]
        assert known == [False, False, True, True, True]


def test_so_is_the_number_of_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.client._MOST_REGISTRIES", 3)
    with client() as registry:
        for n in range(10):
            ask(registry, f"127.0.0.{n + 1}:1/app:1")
            until(lambda: all(known.lane.is_empty for known in registry._registries.values()), "the end of work")
        assert len(registry._registries) <= 3


def test_every_spelling_is_one_reference() -> None:
    with asking(lambda _: [OK]) as (registry, server):
        ask(registry, f"{server.host}/app")
        assert registry.remembered(Ask("digest", f"{server.host}/app:latest")) == Reply(digest=DIGEST)


# -- how many at once ----------------------------------------------------------------------------------


class Gate:
    """An answer that waits until the test opens it, and counts who waits."""

    def __init__(self) -> None:
        self.waiting = self.most = 0
        self._lock = threading.Lock()
        self._open = threading.Event()

    def __call__(self, asked: Asked) -> Iterable[bytes]:
        if asked.endswith("first"):  # until a registry is known to answer, it is asked one thing at a time
            yield OK
            return
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        self._open.wait(SOON)
        with self._lock:
            self.waiting -= 1
        yield OK

    def open(self) -> None:
        self._open.set()


def test_one_request_for_all_who_ask_at_once() -> None:
    gate = Gate()
    with asking(gate) as (registry, server):
        futures = [registry.ask(Ask("digest", f"{server.host}/app:1")) for _ in range(5)]
        assert not futures[0].cancel()
        gate.open()
        assert {future.result(SOON) for future in futures} == {Reply(digest=DIGEST)}
        assert len(server.asked) == 1


@pytest.mark.parametrize("concurrency", [None, 1, 3, 16])
def test_so_many_at_once_for_one_host(concurrency: int | None) -> None:
    gate = Gate()
    with Misbehaving(gate) as server:
        hosts = {server.host: RegistrySettings(concurrency=concurrency)} if concurrency else {}
        with client(hosts=hosts) as registry:
            ask(registry, f"{server.host}/app:first")
            futures = [registry.ask(Ask("digest", f"{server.host}/app:{n}")) for n in range(40)]
            until(lambda: gate.waiting == (concurrency or 3), "as many requests as allowed")
            gate.open()
            assert {future.result(SOON) for future in futures} == {Reply(digest=DIGEST)}
            assert gate.most == server.connections == (concurrency or 3)


def test_first_request_goes_alone() -> None:
    gate = Gate()
    with asking(gate) as (registry, server):
        futures = [registry.ask(Ask("digest", f"{server.host}/app:{n}")) for n in range(10)]
        until(lambda: gate.waiting == 1, "one request")
        assert len(server.asked) == 1
        gate.open()
        assert {future.result(SOON) for future in futures} == {Reply(digest=DIGEST)}


def test_connections_to_one_server_are_bounded_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PER_SERVER", 2)
    gate = Gate()
    with Misbehaving(gate) as server:
        names = [f"{host}:{server.host.partition(':')[2]}" for host in ("127.0.0.1", "localhost")]
        hosts = {name: RegistrySettings(concurrency=16) for name in names}
        with client(hosts=hosts) as registry:
            ask(registry, f"{names[0]}/app:first")
            futures = [registry.ask(Ask("digest", f"{names[0]}/app:{n}")) for n in range(10)]
            until(lambda: gate.waiting == 2, "two requests")
            gate.open()
            assert {future.result(SOON) for future in futures} == {Reply(digest=DIGEST)}
            assert server.connections == 2


def test_threads_are_daemons_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.lanes._STAY_SECONDS", 0.1)
    before, seen = set(threading.enumerate()), list[set[threading.Thread]]()

    def look(_asked: Asked) -> list[bytes]:
        seen.append({thread for thread in threading.enumerate() if thread.name == "registry"} - before)
        return [OK]

    with asking(look) as (registry, server):
        for n in range(20):
            ask(registry, f"{server.host}/app:{n}")
        assert {len(threads) for threads in seen} <= {1, 2, 3}
        threads = set().union(*seen)
        assert all(thread.daemon for thread in threads)
        until(lambda: not any(thread.is_alive() for thread in threads), "the end of the threads")
        assert ask(registry, f"{server.host}/app:again") == Reply(digest=DIGEST)


def test_number_of_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.client._MOST_AT_ONCE", 4)
    gate = Gate()
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(client())
        servers = [stack.enter_context(Misbehaving(gate)) for _ in range(7)]
        futures = [registry.ask(Ask("digest", f"{server.host}/app:{n}")) for server in servers for n in range(4)]
        until(lambda: gate.waiting == 4, "four requests")
        gate.open()
        assert {future.result(SOON) for future in futures} == {Reply(digest=DIGEST)}
        assert gate.most == 4


def test_one_that_does_not_answer_delays_none_of_ten() -> None:
    gate = Gate()
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(client())
        bad = stack.enter_context(Misbehaving(gate))
        good = [stack.enter_context(Misbehaving(lambda _: [OK])) for _ in range(10)]
        waiting = [registry.ask(Ask("digest", f"{bad.host}/app:{n}")) for n in range(50)]
        futures = [registry.ask(Ask("digest", f"{server.host}/app:{n}")) for server in good for n in range(10)]
        assert {future.result(SOON) for future in futures} == {Reply(digest=DIGEST)}
        assert not any(future.done() for future in waiting)
        gate.open()


def test_close_gives_up_what_waits() -> None:
    gate = Gate()
    with Misbehaving(gate) as server, client() as registry:
        ask(registry, f"{server.host}/app:first")
        futures = [registry.ask(Ask("digest", f"{server.host}/app:{n}")) for n in range(5)]
        until(lambda: gate.waiting == 3, "three requests")
        registry.close()
        assert [future.result(SOON) for future in futures[3:]] == [reason("unavailable")] * 2
        assert ask(registry, f"{server.host}/other:1") == reason("unavailable")
        gate.open()
        assert all(future.result(SOON).digest or future.result(SOON).reason for future in futures[:3])


def test_close_ends_a_pause() -> None:
    with asking(lambda _: [head("Retry-After: 25", status=429)]) as (registry, server):
        future = registry.ask(Ask("digest", f"{server.host}/app:1"))
        until(lambda: server.asked, "the refusal")
        registry.close()
        assert future.result(SOON).reason in ("rate_limited", "unavailable")


def test_surprise_of_our_own_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr("dockwarden.registry.questions.answer", fail)
    with client() as registry:
        assert ask(registry, "127.0.0.1:1/app:1") == ask(registry, "127.0.0.1:1/app:2") == reason("bad_answer")


def test_what_is_observed() -> None:
    observed: list[tuple[str, str, str]] = []
    with (
        Misbehaving(lambda asked: [head()] if asked.startswith("HEAD") else [http(200, BODY)]) as server,
        client(observe=lambda *what: observed.append(what)) as registry,
    ):
        ask(registry, f"{server.host}/app:1")
        ask(registry, f"127.0.0.1:{(port := free_port())}/app:1")
        assert observed == [
            (server.host, "HEAD", "200"),
            (server.host, "GET", "200"),
            (f"127.0.0.1:{port}", "HEAD", "unreachable"),
        ]

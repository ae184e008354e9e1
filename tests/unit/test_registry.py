"""Looking up digests at servers that mean no good."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from typing import TYPE_CHECKING

import pytest
from urllib3 import Timeout
from urllib3.util import parse_url

from dockwarden.ports import Look
from dockwarden.reference import parse
from dockwarden.registry import HttpRegistry, _FailedError, _follow
from tests.lab.loopback import free_port
from tests.lab.waiting import until
from tests.unit.misbehaving import CHUNKED, CLOSE, HANG, LAST_CHUNK, PAUSE, RESET, Misbehaving, chunk, http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DIGEST = "sha256:" + "0123456789abcdef" * 4
BODY = b'{"schemaVersion": 2}'
HASH = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
SOON = 10.0


def head(*headers: str, status: int = 200, length: int = 0) -> bytes:
    """The answer to a HEAD: a length, and nothing of that length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


OK = head(f"Docker-Content-Digest: {DIGEST}", length=500)


def ask(registry: HttpRegistry, reference: str) -> Look:
    return registry.look_up(reference).result(SOON)


@contextlib.contextmanager
def looking(answer: Callable[[str], Iterable[bytes]]) -> Iterator[tuple[HttpRegistry, Misbehaving]]:
    with Misbehaving(answer) as server, contextlib.closing(HttpRegistry()) as registry:
        yield registry, server


def test_one_anonymous_head() -> None:
    with looking(lambda _: [OK]) as (registry, server):
        assert ask(registry, f"{server.host}/team/app:1") == Look(DIGEST)
        assert server.asked == ["HEAD /v2/team/app/manifests/1"]
        assert "authorization" not in server.heads[0].lower()
        for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "manifest.list.v2", "distribution.manifest.v2"):
            assert kind in server.heads[0]


def test_by_digest() -> None:
    with looking(lambda _: [OK]) as (registry, server):
        assert ask(registry, f"{server.host}/app@{DIGEST}") == Look(DIGEST)
        assert server.asked == [f"HEAD /v2/app/manifests/{DIGEST}"]


def test_connections_are_kept() -> None:
    with looking(lambda _: [OK]) as (registry, server):
        assert [ask(registry, f"{server.host}/app:{n}").digest for n in range(10)] == [DIGEST] * 10
        assert server.connections == 1


@pytest.mark.parametrize(
    "pieces",
    [
        [http(200, BODY)],
        [CHUNKED, chunk(BODY[:3]), PAUSE, chunk(BODY[3:]), LAST_CHUNK],
        [b"HTTP/1.0 200 OK\r\n\r\n", BODY, CLOSE],
    ],
)
def test_registry_that_names_no_digest(pieces: list[bytes]) -> None:
    with looking(lambda asked: [head()] if asked.startswith("HEAD") else pieces) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == Look(HASH)
        assert [asked.split()[0] for asked in server.asked] == ["HEAD", "GET"]


FAULTS: dict[str, tuple[list[bytes], str]] = {
    "401": ([head('WWW-Authenticate: Bearer realm="http://127.0.0.1:1/"', status=401)], "unauthorized"),
    "403": ([head(status=403)], "forbidden"),
    "404": ([head(status=404)], "not_found"),
    "429": ([head("Retry-After: 3", status=429)], "rate_limited"),
    "500": ([head(status=500)], "unavailable"),
    "503": ([head(status=503)], "unavailable"),
    "400": ([head(status=400)], "bad_answer"),
    "204": ([b"HTTP/1.1 204 X\r\n\r\n"], "bad_answer"),
    "no sha256": ([head("Docker-Content-Digest: sha512:" + "0" * 128)], "bad_answer"),
    "short digest": ([head("Docker-Content-Digest: sha256:12")], "bad_answer"),
    "upper case": ([head(f"Docker-Content-Digest: {DIGEST.upper()}")], "bad_answer"),
    "empty digest": ([head("Docker-Content-Digest: ")], "bad_answer"),
    "two digests": ([head(*[f"Docker-Content-Digest: {DIGEST}"] * 2)], "bad_answer"),
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
    "redirect to itself": ([head("Location: /v2/app/manifests/1", status=307)], "bad_answer"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(fault: str) -> None:
    pieces, reason = FAULTS[fault]
    with looking(lambda _: pieces) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == Look("", reason)


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([http(200, BODY)[:-3], CLOSE], "bad_answer"),
        ([CHUNKED, b"zz\r\n", CLOSE], "bad_answer"),
        ([http(200, BODY)[:-3], RESET], "unreachable"),
        ([head(status=404)], "not_found"),
        ([head(status=503)], "unavailable"),
    ],
)
def test_fault_while_the_manifest_is_read(pieces: list[bytes], reason: str) -> None:
    with looking(lambda asked: [head()] if asked.startswith("HEAD") else pieces) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == Look("", reason)


def test_manifest_without_end() -> None:
    def answer(asked: str) -> Iterable[bytes]:
        yield head() if asked.startswith("HEAD") else CHUNKED
        while asked.startswith("GET"):
            yield chunk(b"x" * 1_000_000)

    with looking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == Look("", "bad_answer")


def _trickle(asked: str) -> Iterable[bytes]:
    while True:
        yield b"a"
        yield PAUSE


def _trickling_manifest(asked: str) -> Iterable[bytes]:
    yield head() if asked.startswith("HEAD") else CHUNKED
    while asked.startswith("GET"):
        yield chunk(b"a")
        yield PAUSE


def _silence(asked: str) -> Iterable[bytes]:
    yield HANG


def _silence_in_the_manifest(asked: str) -> Iterable[bytes]:
    return [head()] if asked.startswith("HEAD") else [CHUNKED, chunk(b"a"), HANG]


@pytest.mark.parametrize("answer", [_trickle, _trickling_manifest, _silence, _silence_in_the_manifest])
def test_slow_answer(answer: Callable[[str], Iterable[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry._ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("dockwarden.registry._TIMEOUT", Timeout(connect=1, read=0.2))
    with looking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == Look("", "timeout")


def test_nobody_listens() -> None:
    with contextlib.closing(HttpRegistry()) as registry:
        assert ask(registry, f"127.0.0.1:{free_port()}/app:1") == Look("", "unreachable")
        assert ask(registry, "none.invalid/app:1") == Look("", "unreachable")
        assert ask(registry, f"{'a' * 63}.{'a' * 70}.invalid/app:1").reason in ("unreachable", "bad_answer")


@pytest.mark.parametrize("reference", ["", "App", "a b", DIGEST, "app@sha256:12", "../app:1"])
def test_no_reference(reference: str) -> None:
    with contextlib.closing(HttpRegistry()) as registry:
        assert ask(registry, reference) == Look("", "bad_reference")
        assert registry.remembered(reference) is None


# -- where registries are ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("busybox", "https://registry-1.docker.io/v2/library/busybox/manifests/latest"),
        ("ghcr.io/team/app:1", "https://ghcr.io/v2/team/app/manifests/1"),
        ("localhost/app:1", "http://localhost/v2/app/manifests/1"),
        ("localhost:5000/app:1", "http://localhost:5000/v2/app/manifests/1"),
        ("127.9.9.9:5000/app:1", "http://127.9.9.9:5000/v2/app/manifests/1"),
        ("[::1]:5000/app:1", "http://[::1]:5000/v2/app/manifests/1"),
        ("10.0.0.1:5000/app:1", "https://10.0.0.1:5000/v2/app/manifests/1"),
        ("127.0.0.1.evil.io/app:1", "https://127.0.0.1.evil.io/v2/app/manifests/1"),
        ("plain.io/app:1", "http://plain.io/v2/app/manifests/1"),
        ("127.0.0.1:1/app:1", "https://127.0.0.1:1/v2/app/manifests/1"),
    ],
)
def test_address(reference: str, url: str) -> None:
    registry = HttpRegistry(http={"plain.io": True, "127.0.0.1:1": False})
    assert registry._url(parse(reference)).url == url


def test_redirect_to_another_host() -> None:
    with (
        Misbehaving(lambda _: [OK]) as target,
        looking(lambda _: [head(f"Location: http://{target.host}/elsewhere?a=b", status=307)]) as (registry, server),
    ):
        assert ask(registry, f"{server.host}/app:1") == Look(DIGEST)
        assert target.asked == ["HEAD /elsewhere?a=b"]


def test_no_redirect_from_tls_to_plain_text() -> None:
    with pytest.raises(_FailedError, match="bad_answer"):
        _follow(parse_url("https://h/v2/"), "http://h/v2/")
    assert _follow(parse_url("http://h/v2/"), "https://h/x").url == "https://h/x"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unusable_ca_file(content: str | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("ca") / "ca.crt"
    if content is not None:
        path.write_text(content)
    registry = HttpRegistry(http={"127.0.0.1:1": False}, ca_files={"127.0.0.1:1": str(path)})
    assert ask(registry, "127.0.0.1:1/app:1") == Look("", "tls")


# -- memory --------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_answer_is_believed_for_a_while_and_remembered_for_ever() -> None:
    clock, answers = Clock(), [OK, head(status=404), OK]
    with Misbehaving(lambda _: [answers[len(server.asked) - 1]]) as server:
        registry = HttpRegistry(max_age_seconds=300, clock=clock)
        name = f"{server.host}/app:1"
        assert registry.remembered(name) is None
        assert [ask(registry, name), ask(registry, name)] == [Look(DIGEST)] * 2
        clock.now += 299
        assert ask(registry, name) == Look(DIGEST)
        assert len(server.asked) == 1
        clock.now += 10_000
        assert registry.remembered(name) == Look(DIGEST)
        assert ask(registry, name) == registry.remembered(name) == Look("", "not_found")
        clock.now += 61  # failures are believed for a shorter time
        assert ask(registry, name) == Look(DIGEST)
        assert len(server.asked) == 3


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry._REMEMBERED", 3)
    with looking(lambda _: [OK]) as (registry, server):
        names = [f"{server.host}/app:{n}" for n in range(5)]
        for name in names:
            ask(registry, name)
        assert [registry.remembered(name) is not None for name in names] == [False, False, True, True, True]


def test_every_spelling_is_one_reference() -> None:
    with looking(lambda _: [OK]) as (registry, server):
        ask(registry, f"{server.host}/app")
        assert registry.remembered(f"{server.host}/app:latest") == Look(DIGEST)


# -- how many at once ----------------------------------------------------------------------------------


class Gate:
    """An answer that waits until the test opens it, and counts who waits."""

    def __init__(self) -> None:
        self.waiting = 0
        self._lock = threading.Lock()
        self._open = threading.Event()

    def __call__(self, _asked: str) -> Iterable[bytes]:
        with self._lock:
            self.waiting += 1
        self._open.wait(SOON)
        with self._lock:
            self.waiting -= 1
        yield OK

    def open(self) -> None:
        self._open.set()


def test_one_request_for_all_who_ask_at_once() -> None:
    gate = Gate()
    with looking(gate) as (registry, server):
        futures = [registry.look_up(f"{server.host}/app:1") for _ in range(5)]
        assert not futures[0].cancel()
        gate.open()
        assert {future.result(SOON) for future in futures} == {Look(DIGEST)}
        assert len(server.asked) == 1


def test_three_at_once_for_one_host() -> None:
    gate = Gate()
    with looking(gate) as (registry, server):
        futures = [registry.look_up(f"{server.host}/app:{n}") for n in range(10)]
        until(lambda: gate.waiting == 3, "three requests")
        assert len(server.asked) == 3
        gate.open()
        assert {future.result(SOON) for future in futures} == {Look(DIGEST)}


def test_sixteen_at_once_in_all() -> None:
    gate = Gate()
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(contextlib.closing(HttpRegistry()))
        servers = [stack.enter_context(Misbehaving(gate)) for _ in range(7)]
        futures = [registry.look_up(f"{server.host}/app:{n}") for server in servers for n in range(4)]
        until(lambda: gate.waiting == 16, "sixteen requests")
        threads = [thread for thread in threading.enumerate() if thread.name == "registry"]
        assert len(threads) == 16
        assert all(thread.daemon for thread in threads)
        gate.open()
        assert {future.result(SOON) for future in futures} == {Look(DIGEST)}
        until(lambda: not any(thread.is_alive() for thread in threads), "the end of the threads")


def test_slow_host_does_not_delay_others() -> None:
    gate = Gate()
    with looking(gate) as (registry, slow), Misbehaving(lambda _: [OK]) as quick:
        for n in range(50):
            registry.look_up(f"{slow.host}/app:{n}")
        assert ask(registry, f"{quick.host}/app:1") == Look(DIGEST)
        gate.open()


def test_close_gives_up_what_waits() -> None:
    gate = Gate()
    with Misbehaving(gate) as server:
        registry = HttpRegistry()
        futures = [registry.look_up(f"{server.host}/app:{n}") for n in range(5)]
        until(lambda: gate.waiting == 3, "three requests")
        registry.close()
        assert [future.result(SOON) for future in futures[3:]] == [Look("", "unavailable")] * 2
        assert ask(registry, f"{server.host}/other:1") == Look("", "unavailable")
        gate.open()
        assert all(future.result(SOON).digest or future.result(SOON).reason for future in futures[:3])


def test_what_is_observed() -> None:
    observed: list[tuple[str, str, str]] = []
    with Misbehaving(lambda asked: [head()] if asked.startswith("HEAD") else [http(200, BODY)]) as server:
        registry = HttpRegistry(observe=lambda *what: observed.append(what))
        ask(registry, f"{server.host}/app:1")
        ask(registry, f"127.0.0.1:{(port := free_port())}/app:1")
        assert observed == [
            (server.host, "HEAD", "200"),
            (server.host, "GET", "200"),
            (f"127.0.0.1:{port}", "HEAD", "unreachable"),
        ]

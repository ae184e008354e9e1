"""The HTTP server on a real socket: what it answers, and that nobody can make others wait."""

from __future__ import annotations

import contextlib
import gc
import gzip
import http.client
import json
import socket
import time
import warnings
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dockwarden.metrics import Metrics
from dockwarden.model import Kind, Ref, Result, Severity, Status
from dockwarden.policy.findings import Findings
from dockwarden.web.config import LiveAccess
from dockwarden.web.server import Server
from dockwarden.web.site import Application
from tests.builders import NOW, a_policy, a_report, an_engine, policies
from tests.lab.waiting import PATIENCE
from tests.views import a_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockwarden.model import FactValue

HOST = "127.0.0.1"


class Client:
    """Somebody who asks the server."""

    def __init__(self, metrics: Metrics, port: int) -> None:
        self.metrics = metrics
        self.port = port

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        """Bytes to the server and what it says until it hangs up."""
        with socket.create_connection((HOST, self.port), timeout=PATIENCE) as connection:
            connection.sendall(request)
            said = b""
            with contextlib.suppress(ConnectionResetError):  # it need not read to the end what it refuses
                while part := connection.recv(65536):
                    said += part
            return said


def a_server(metrics: Metrics, port: int = 0) -> Server:
    findings = Findings()
    ref = Ref(Kind.VOLUME, "\u202ename")
    evidence: dict[str, FactValue] = {
        "volume.created": datetime(2026, 1, 1, tzinfo=UTC),
        "volume.idle_for": timedelta(hours=1),
    }
    findings.note(Result("p", ref, ref.key, Status.FAIL, Severity.LOW, evidence=evidence), NOW)
    views, _ = a_view(a_policy("p"), a_policy("q"), findings=findings, health=metrics.health)
    return Server(Application(metrics.registry, metrics.health, views), HOST, port, LiveAccess(None))


@pytest.fixture(scope="module")
def server() -> Iterator[Client]:
    metrics = Metrics()
    running = a_server(metrics)
    running.start()
    yield Client(metrics, running.port)
    running.stop()


# -- what it answers -------------------------------------------------------------------------------------------


def test_metrics_are_in_the_format_of_prometheus(server: Client) -> None:
    status, body, answer = server.ask("/metrics")
    assert status == 200
    assert str(answer.getheader("Content-Type")).startswith("text/plain; version=")
    assert "# TYPE dockwarden_engine_up gauge" in body


def test_metrics_can_be_asked_for_by_name(server: Client) -> None:
    _, body, _ = server.ask("/metrics?name[]=dockwarden_engine_up")
    assert {line.split("{")[0].split()[0] for line in body.splitlines() if line[0] != "#"} == {"dockwarden_engine_up"}


@pytest.mark.parametrize("version", ["1.0.0", '"1.0.0"', "1.0.0 ;q=0.5", "latest", ""])
def test_metrics_are_open_in_any_version_that_is_asked_for(server: Client, version: str) -> None:
    status, body, answer = server.ask("/metrics", Accept=f"application/openmetrics-text; version={version}, */*")
    assert (status, body.endswith("# EOF\n")) == (200, True)
    assert (answer.getheader("Content-Type") or "").startswith("application/openmetrics-text; version=1.0.0; charset=")


@pytest.mark.parametrize("quality", ["q=0", "q=0.000", "version=1.0.0; q=0"])
def test_metrics_are_plain_for_those_who_do_not_take_open_ones(server: Client, quality: str) -> None:
    _, body, answer = server.ask("/metrics", Accept=f"application/openmetrics-text;{quality}, text/plain")
    assert (answer.getheader("Content-Type") or "").startswith("text/plain; version=0.0.4")
    assert "# EOF" not in body


@pytest.mark.parametrize("sign", ["a;", "; ", "0", " "])
def test_what_a_client_accepts_is_read_in_linear_time(server: Client, sign: str) -> None:
    begun = time.process_time()
    assert server.ask("/metrics", Accept=";q=0." + sign * (60_000 // len(sign)) + "x")[0] == 200
    assert time.process_time() - begun < 5


def test_a_list_is_json(server: Client) -> None:
    status, body, answer = server.ask("/api/v1/findings")
    assert (status, answer.getheader("Content-Type")) == (200, "application/json; charset=utf-8")
    (row,) = json.loads(body)["items"]
    assert (row["name"], row["opened_at"]) == ("\u202ename", "2027-01-15T08:00:00Z")
    assert row["evidence"] == {"volume.created": "2026-01-01T00:00:00Z", "volume.idle_for": 3600.0}


@pytest.mark.parametrize(
    ("said", "above"),
    [
        ("/dw", "/dw"),
        ("/a/dw.1/", "/a/dw.1"),
        ("", ""),
        ("/", ""),
        ("//evil.example", ""),
        ("https://x", ""),
        ("/a?b", ""),
    ],
)
def test_the_next_page_is_below_the_path_at_which_a_proxy_shows_this_one(server: Client, said: str, above: str) -> None:
    body = server.ask("/api/v1/policies?limit=1", **{"X-Forwarded-Prefix": said})[1]
    assert json.loads(body)["next"] == f"{above}/api/v1/policies?limit=1&offset=1"


def test_a_query_that_cannot_be_answered_is_a_problem_and_no_full_list(server: Client) -> None:
    described = json.loads(server.ask("/api/v1/openapi.json")[1])["components"]["schemas"]["Problem"]
    for path in ("/api/v1/findings?polic=p", "/api/v1/findings?severity=worst", "/?severity=worst"):
        status, body, answer = server.ask(path)
        assert (status, answer.getheader("Content-Type")) == (400, "application/problem+json")
        assert "severity" in json.loads(body)["detail"] or "did you mean policy?" in body
        assert json.loads(body).keys() == described["properties"].keys() == {*described["required"]}


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0, br", False), ("identity", False), ("", False)],
)
def test_long_answers_are_packed_for_those_who_take_that(server: Client, accepted: str, is_packed: object) -> None:
    described = "/api/v1/openapi.json"
    plain = server.ask(described)[1]
    for path in ("/", "/metrics", described):
        connection = http.client.HTTPConnection(HOST, server.port, timeout=PATIENCE)
        connection.request("GET", path, headers={"Accept-Encoding": accepted})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.getheader("Vary") == "Accept, Accept-Encoding"
        assert answer.getheader("Content-Encoding") == ("gzip" if is_packed else None)
        assert len(body) == int(answer.getheader("Content-Length") or 0)
        if path == described:
            assert (gzip.decompress(body) if is_packed else body).decode() == plain


def test_the_first_page_leads_to_the_others(server: Client) -> None:
    status, body, _ = server.ask("/")
    assert status == 200
    for path in ("/metrics", "/healthz", "/readyz", "/api/v1/findings", "/api/v1/inventory"):
        assert path in body
        assert server.ask(path)[0] in (200, 503)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/metrics/",
        "/api/v1/",
        "/api/v1/nothing",
        "/api/v2/findings",
        "/METRICS",
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
        "/api/v1/findings/x",
    ],
)
def test_anything_else_is_not_found(server: Client, path: str) -> None:
    status, body, _ = server.ask(path)
    assert (status, body) == (404, "not found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
@pytest.mark.parametrize("path", ["/metrics", "/api/v1/findings", "/nothing"])
def test_nothing_can_be_changed(server: Client, method: str, path: str) -> None:
    status, _, answer = server.ask(path, method)
    assert status == 405
    assert answer.getheader("Allow") == "GET, HEAD"


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/api/v1/findings", "/", "/nothing"])
def test_a_head_is_a_get_without_a_body(server: Client, path: str) -> None:
    got, body, get = server.ask(path)
    status, nothing, head = server.ask(path, "HEAD")
    assert (status, nothing) == (got, "")
    assert head.getheader("Content-Type") == get.getheader("Content-Type")
    if path not in ("/metrics", "/"):  # which differ from one time to the next
        assert head.getheader("Content-Length") == str(len(body.encode()))


def test_no_answer_tells_what_serves_it_and_none_is_sniffed(server: Client) -> None:
    for path in ("/", "/healthz", "/api/v1/findings", "/nothing"):
        _, _, answer = server.ask(path)
        assert answer.getheader("Server") == "dockwarden"
        assert answer.getheader("X-Content-Type-Options") == "nosniff"


# -- health --------------------------------------------------------------------------------------------------------


def test_readiness_says_what_is_missing(server: Client) -> None:
    health = server.metrics.health
    status, body, _ = server.ask("/readyz")
    assert status == 503
    assert [line.partition(":")[0] for line in body.splitlines()] == ["engine", "inventory", "policies"]
    server.metrics.set_engine(an_engine())
    server.metrics.record(a_report(policies=policies(a_policy())))
    health.inventory_complete = True
    assert server.ask("/readyz")[:2] == (200, "ok\n")
    server.metrics.set_engine(None, "permission denied\non /var/run/docker.sock")
    status, body, _ = server.ask("/readyz")
    assert status == 503
    assert "permission denied" in body
    health.inventory_complete = health.policies_loaded = False


def test_a_daemon_that_waits_for_its_engine_is_alive(server: Client) -> None:
    server.metrics.set_engine(None, "nothing listens")
    assert server.ask("/healthz")[:2] == (200, "ok\n")


def test_a_thread_without_progress_is_told(server: Client) -> None:
    server.metrics.health.beats["worker"] = -1e9
    status, body, _ = server.ask("/healthz")
    assert status == 503
    assert "worker" in body
    server.metrics.health.beats.clear()
    assert server.ask("/healthz")[0] == 200


# -- strange clients -----------------------------------------------------------------------------------------------


def test_silent_clients_keep_nobody_waiting(server: Client) -> None:
    with ExitStack() as crowd:
        for number in range(50):
            connection = crowd.enter_context(socket.create_connection((HOST, server.port), timeout=PATIENCE))
            connection.sendall(
                [b"", b"GET", b"GET /metrics HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"][number % 4]
            )
        for _ in range(5):
            assert server.ask("/metrics")[0] == 200


def test_clients_that_do_not_read_keep_nobody_waiting(server: Client) -> None:
    with ExitStack() as crowd:
        for _ in range(20):
            connection = crowd.enter_context(socket.create_connection((HOST, server.port), timeout=PATIENCE))
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        assert server.ask("/healthz")[0] == 200


@pytest.mark.parametrize("size", [66_000, 70_000])
@pytest.mark.parametrize("start", [b"GET /", b"GET /?", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_huge_header_is_refused(server: Client, start: bytes, size: int) -> None:
    said = server.raw(start + b"a" * size)
    assert b" 431 " in said.splitlines()[0]
    assert server.ask("/healthz")[0] == 200


@pytest.mark.parametrize(
    ("host", "status"), [(b"localhost:", 200), (b"[::1]:", 200), (b"localhost:x", 421), (b":", 200)]
)
def test_a_port_that_is_no_number_is_answered(server: Client, host: bytes, status: int) -> None:
    said = server.raw(b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: " + host + b"\r\n\r\n")
    assert said.split(maxsplit=2)[1] == str(status).encode()


@pytest.mark.parametrize("path", [b"/healthz", b"", b"/api/v1/findings?policy=p"])
def test_a_whole_address_is_as_good_as_a_path(server: Client, path: bytes) -> None:
    said = server.raw(b"GET http://localhost:80" + path + b" HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in said.splitlines()[0]


def test_a_huge_body_is_refused(server: Client) -> None:
    said = server.raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n")
    assert b" 400 " in said.splitlines()[0]


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"nonsense\r\n\r\n", b"\x00" * 100 + b"\r\n\r\n"],
)
def test_what_is_no_request_gets_an_error_or_nothing_and_does_no_harm(server: Client, request_bytes: bytes) -> None:
    said = server.raw(request_bytes)
    assert said == b"" or b" 400 " in said.splitlines()[0]
    assert server.ask("/healthz")[0] == 200


def test_a_path_of_odd_bytes_is_not_found(server: Client) -> None:
    said = server.raw(b"GET /%ff%00%0d%0a HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert b" 404 " in said.splitlines()[0]


# -- listening -------------------------------------------------------------------------------------------------------


def test_an_address_that_is_taken_is_refused_at_once(server: Client) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the library leaves the socket to the garbage collector
        with pytest.raises(OSError, match="in use"):
            a_server(Metrics(), server.port)
        gc.collect()


def test_a_stopped_server_answers_no_more() -> None:
    metrics = Metrics()
    running = a_server(metrics)
    running.start()
    client = Client(metrics, running.port)
    assert client.ask("/healthz")[0] == 200
    running.stop()
    with pytest.raises(OSError):
        client.ask("/healthz")

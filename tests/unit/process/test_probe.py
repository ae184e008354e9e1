"""Whether somebody serves, with and without TLS, as an update asks."""

from __future__ import annotations

import http.server
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from dockwarden.process.probe import probe
from tests.lab.loopback import free_port, make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    """Is well at one path."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready?now" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, int]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        if request.param == "https":
            make_certificate(tmp_path)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
            made.socket = context.wrap_socket(made.socket, server_side=True)
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield request.param, made.server_port
        made.shutdown()
        thread.join()


def test_who_serves_answers_a_probe(server: tuple[str, int]) -> None:
    scheme, port = server
    assert probe(f"{scheme}://:{port}/ready?now", ["127.0.0.1"]) == ""
    assert probe(f"tcp://:{port}", ["127.0.0.1"]) == ""
    assert probe(f"{scheme}://127.0.0.1:{port}/", []) == "it answers 503"
    assert probe(f"{scheme}://:{port}/", []) == "it has no address in a network"
    other = {"http": "https", "https": "http"}[scheme]
    assert probe(f"{other}://:{port}/ready?now", ["127.0.0.1"]) != ""
    assert probe(f"{scheme}://:{port}/ready?now", ["127.0.0.2", "127.0.0.1"]) == ""  # it listens at one of them
    silent = probe(f"{scheme}://:{port}/", ["127.0.0.2", "127.0.0.1", "127.0.0.2"])
    assert ("refused" in silent, silent.endswith("; it answers 503")) == (True, True), silent
    assert "refused" in probe(f"{scheme}://:{free_port()}/", ["127.0.0.1"])

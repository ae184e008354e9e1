"""The HTTP server: metrics, health, and a read-only view as JSON. Nothing here changes anything.

Input: callables that give the current state. Output: HTTP. Out of bounds: computing anything dear, and waiting:
requests are read by one thread for all connections, so that a silent or slow client holds nothing up.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import waitress
from prometheus_client import CollectorRegistry, make_wsgi_app

from dockwarden.metrics import Health

Json = Callable[[], object]
_THREADS = 4
_MOST_CONNECTIONS = 500
_SILENT_SECONDS = 30
_MOST_REQUEST_BYTES = 64 * 1024


class Site:
    """The WSGI application."""

    def __init__(self, registry: CollectorRegistry, health: Health, views: Mapping[str, Json]) -> None:
        """``views``: what ``/api/v1/<name>`` answers, by name."""
        self._metrics: WSGIApplication = make_wsgi_app(registry)
        self._health = health
        self._views = {f"/api/v1/{name}": view for name, view in views.items()}

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer one request; whoever asks with HEAD gets the same without its body."""
        body = self._respond(environ, start)
        return () if environ["REQUEST_METHOD"] == "HEAD" else body

    def _respond(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start, HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n", [("Allow", "GET, HEAD")])
        if path == "/metrics":
            return self._metrics({**environ, "REQUEST_METHOD": "GET"}, start)  # the library refuses HEAD
        if path == "/healthz":
            return _judged(start, self._health.stuck(time.monotonic()))
        if path == "/readyz":
            return _judged(start, self._health.unready())
        if path in self._views:
            body = json.dumps(self._views[path](), default=str)
            return _answer(start, HTTPStatus.OK, body + "\n", kind="application/json")
        if path == "/":
            lines = ["dockwarden", "/metrics", "/healthz", "/readyz", *sorted(self._views)]
            return _answer(start, HTTPStatus.OK, "\n".join(lines) + "\n")
        return _answer(start, HTTPStatus.NOT_FOUND, "not found\n")


def _judged(start: StartResponse, reasons: list[str]) -> Iterable[bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return _answer(start, status, "\n".join(reasons or ["ok"]) + "\n")


def _answer(
    start: StartResponse,
    status: HTTPStatus,
    body: str,
    headers: Iterable[tuple[str, str]] = (),
    kind: str = "text/plain",
) -> Iterable[bytes]:
    content = body.encode("utf-8", "replace")
    start(
        f"{status.value} {status.phrase}",
        [
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ],
    )
    return [content]


class Server:
    """Serves a site in threads of its own.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(self, site: Site, host: str, port: int) -> None:
        self._server: Any = waitress.create_server(
            site,
            host=host,
            port=port,
            threads=_THREADS,
            connection_limit=_MOST_CONNECTIONS,
            channel_timeout=_SILENT_SECONDS,
            cleanup_interval=5,
            max_request_header_size=_MOST_REQUEST_BYTES,
            max_request_body_size=_MOST_REQUEST_BYTES,
            ident=None,
            clear_untrusted_proxy_headers=True,
        )
        # A name with several addresses, such as localhost or *, gives several sockets.
        sockets = getattr(self._server, "effective_listen", None) or [("", self._server.effective_port)]
        self.port = int(sockets[0][1])
        self._thread = threading.Thread(target=self._server.run, name="web", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.close()

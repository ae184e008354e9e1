"""What the HTTP server answers, as a WSGI application: metrics, health, the pages, and JSON.

Input: requests, and callables that give the current state. Output: answers. Out of bounds: computing anything dear,
waiting, changing anything.
"""

import gzip
import ipaddress
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from dockwarden.health import Health
from dockwarden.web import api
from dockwarden.web.page import POLICY, Pages
from dockwarden.web.views import Views

STRANGER = "dockwarden.stranger"
"""In the environment of a request: whether a password was asked for and not given."""

_TEXT, _HTML, _JSON = (f"{kind}; charset=utf-8" for kind in ("text/plain", "text/html", "application/json"))
_PROBLEM = "application/problem+json"
_HEADERS = {
    "Server": "dockwarden",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Vary": "Accept, Accept-Encoding",
}
_WORTH_PACKING_BYTES = 1000
_PACKING = 5
_TRIES = 3
_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=(?:0?\.0*[1-9]|1)[0-9.]*\s*)?(?:,|$)", re.IGNORECASE)
_VERSION = re.compile(r'version="?((?:[0-9]+(?:\.[0-9]+)*)?)[^;,]*')  # quoted, or none: the library fails at both
_PREFIX = re.compile(r"((?:/[\w.~-]+)+)/?", re.ASCII)
_UNWANTED = re.compile(r"(?:^|,)[^,]*;\s*q=0(?:\.0*)?\s*(?=[;,]|$)")  # which the library would choose
_log = structlog.get_logger("dockwarden.web")


@dataclass(eq=False)
class Application:
    """Answers requests.

    ``headers``: of all answers. ``hosts``: names, with ``*``, by which clients may call us, besides addresses and those
    of the own machine. ``ledger``: what commands of users read who may not read its file.
    """

    registry: CollectorRegistry
    health: Health
    views: Views
    headers: Callable[[], Mapping[str, str]] = dict
    hosts: Sequence[str] = ()
    ledger: Callable[[], object] = dict

    def __post_init__(self) -> None:
        self._metrics: WSGIApplication = make_wsgi_app(self.registry, disable_compression=True)
        self._lists = {api.PREFIX + name: of for name, of in self.views.lists.items()}
        self._pages = Pages(self.views)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer one request; whoever asks with HEAD gets the same without its body."""
        said: list[tuple[str, list[tuple[str, str]]]] = []

        def note(status: str, headers: list[tuple[str, str]], _error: object = None) -> Callable[[bytes], object]:
            said.append((status, headers))
            return lambda _: None

        try:
            body = self._body(environ, note)
        except Exception as error:  # noqa: BLE001 - whoever asked must hear something
            _log.error("web.answer_failed", path=environ.get("PATH_INFO"), error=repr(error), exc_info=error)
            [body] = _answer(note, HTTPStatus.INTERNAL_SERVER_ERROR, "something is wrong; the log says what\n")
        status, headers = said[-1]
        common = {**_HEADERS, **self.headers()}
        if len(body) >= _WORTH_PACKING_BYTES and _GZIP.search(environ.get("HTTP_ACCEPT_ENCODING", "")):
            body = gzip.compress(body, _PACKING, mtime=0)
            common["Content-Encoding"] = "gzip"
        start(status, [*headers, *common.items(), ("Content-Length", str(len(body)))])
        return () if environ["REQUEST_METHOD"] == "HEAD" else (body,)

    def _body(self, environ: WSGIEnvironment, start: StartResponse) -> bytes:
        """The answer; what changed while it was read is read again."""
        for _ in range(_TRIES):
            with suppress(RuntimeError):
                return b"".join(self._respond(environ, start))
        return b"".join(self._respond(environ, start))

    def _is_ours(self, host: str) -> bool:
        """Whether a client may call us so: a page of a stranger's, whose name leads here, must not read us."""
        name = re.sub(r":[0-9]*$", "", host.strip().lower()).rstrip(".")
        if not name or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            return bool(ipaddress.ip_address(name.removeprefix("[").removesuffix("]").partition("%")[0]))
        except ValueError:
            return any(fnmatchcase(name, known) for known in map(str.lower, self.hosts))

    def _respond(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        path = re.sub("^https?://[^/]*", "", path) or "/"  # as to a proxy
        known = not environ.get(STRANGER)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start, HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n", {"Allow": "GET, HEAD"})
        if not self._is_ours(environ.get("HTTP_HOST", "")):
            return _answer(start, HTTPStatus.MISDIRECTED_REQUEST, "not a name of this host; see web.hosts\n")
        if path == "/healthz":
            return _judged(start, self.health.stuck(time.monotonic()), told=known)
        if path == "/readyz":
            return _judged(start, self.health.unready(), told=known)
        if not known:
            asked = {"WWW-Authenticate": 'Basic realm="dockwarden", charset="UTF-8"'}
            return _answer(start, HTTPStatus.UNAUTHORIZED, "unauthorized\n", asked)
        if path == "/metrics":
            accepted = _VERSION.sub(r"version=\1", _UNWANTED.sub("", environ.get("HTTP_ACCEPT", "")))
            # The library refuses HEAD.
            return self._metrics({**environ, "REQUEST_METHOD": "GET", "HTTP_ACCEPT": accepted}, start)
        above = _PREFIX.fullmatch(environ.get("HTTP_X_FORWARDED_PREFIX", ""))
        return self._tell(start, path, environ.get("QUERY_STRING", ""), above[1] if above else "")

    def _tell(self, start: StartResponse, path: str, query: str, above: str) -> list[bytes]:
        """What is known, as JSON or as a page. ``above``: the path below which a proxy shows it."""
        try:
            if path in self._lists:
                return _json(start, api.answer(above + path, query, self._lists[path], self.views.now()))
            if path == "/ledger":
                return _json(start, self.ledger())
            if path == api.PREFIX + "openapi.json":
                return _json(start, api.describe(self.views.lists))
            if (page := self._pages.render(path, query)) is not None:
                return _answer(start, HTTPStatus.OK, page, kind=_HTML)
        except api.BadQueryError as error:
            bad = HTTPStatus.BAD_REQUEST
            problem = {"type": "about:blank", "title": bad.phrase, "status": bad.value, "detail": str(error)}
            return _json(start, problem, bad, _PROBLEM)
        return _answer(start, HTTPStatus.NOT_FOUND, "not found\n")


def _judged(start: StartResponse, reasons: list[str], *, told: bool) -> Iterable[bytes]:
    """Anybody may know whether all is well, so that watchdogs need no password; why it is not, is for those we know."""
    if not reasons:
        return _answer(start, HTTPStatus.OK, "ok\n")
    return _answer(start, HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(reasons) + "\n" if told else "not ok\n")


def _json(start: StartResponse, value: object, status: HTTPStatus = HTTPStatus.OK, kind: str = _JSON) -> list[bytes]:
    return _answer(start, status, json.dumps(value) + "\n", kind=kind)


def _answer(
    start: StartResponse, status: HTTPStatus, body: str, headers: Mapping[str, str] = {}, kind: str = _TEXT
) -> list[bytes]:
    start(f"{status.value} {status.phrase}", [("Content-Type", kind), *headers.items()])
    return [body.encode("utf-8", "replace")]

"""Image registries behind ``ports.Registry``: they are asked which digest a tag has now.

Input: references, settings per host. Output: futures of a ``Look``: a digest, or one stable word for why there is none.
Out of bounds: pulling, credentials, and any request but the HEAD of a manifest, which no registry's quota counts (only
where a registry leaves out the digest, a GET).
"""

import hashlib
import ipaddress
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from socket import SHUT_RDWR
from typing import NamedTuple
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, Timeout, exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Url, parse_url

from dockwarden.ports import Look
from dockwarden.reference import DEFAULT_REGISTRY, Reference, parse

Observe = Callable[[str, str, str], None]
"""Told of every request: registry, method, and the status code or else the reason for having none."""

_HUB = "registry-1.docker.io"
_PER_HOST = 3
_THREADS = 16
_TIMEOUT = Timeout(connect=5, read=10)  # per read; hence also:
_ANSWER_SECONDS = 20.0  # for a whole answer, however slowly it trickles in
_FAILURE_SECONDS = 60.0  # a failure is not believed for longer
_MANIFEST_BYTES = 10 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_REDIRECTS = 3
_REMEMBERED = 20_000
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
# All four, or a registry converts the manifest and names the digest of the conversion.
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_HEADERS = {"Accept": ", ".join(_MANIFESTS), "Accept-Encoding": "identity", "User-Agent": "dockwarden"}
_REASONS = {401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "rate_limited"}
_OK = 200
_REDIRECT_STATUS = frozenset({301, 302, 303, 307, 308})
_SERVER_ERROR = 500


class _Answer(NamedTuple):
    look: Look
    at: float


class _Task(NamedTuple):
    key: str
    reference: Reference
    future: "Future[Look]"


class _FailedError(Exception):
    """A look-up that has a reason instead of a digest."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _ignore(_registry: str, _method: str, _code: str) -> None:
    """Observe nothing."""


class HttpRegistry:
    """Looks up digests, a few at a time, and remembers them. Thread-safe."""

    def __init__(
        self,
        *,
        http: Mapping[str, bool] | None = None,
        ca_files: Mapping[str, str] | None = None,
        max_age_seconds: float = 300.0,
        observe: Observe = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``http`` and ``ca_files`` are by ``host[:port]``; loopback is plain HTTP unless ``http`` says no."""
        self._http = dict(http or {})
        self._ca_files = dict(ca_files or {})
        self._max_age_seconds = max_age_seconds
        self._observe = observe
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[str, _Answer] = {}
        self._flying: dict[str, Future[Look]] = {}
        self._waiting: dict[str, deque[_Task]] = {}
        self._running: dict[str, int] = {}
        self._threads = 0
        self._pools: dict[tuple[str, str], HTTPConnectionPool] = {}
        self._closed = False

    def look_up(self, reference: str) -> "Future[Look]":
        """The digest a tag has at its registry now; failures are a ``Look`` with a reason."""
        try:
            parsed = parse(reference)
        except ValueError:
            return _done(Look("", "bad_reference"))
        key = str(parsed)
        with self._lock:
            if self._closed:
                return _done(Look("", "unavailable"))
            if key in self._flying:
                return self._flying[key]
            answer = self._answers.get(key)
            if answer and self._clock() - answer.at < self._believed_seconds(answer.look):
                return _done(answer.look)
            future: Future[Look] = Future()
            future.set_running_or_notify_cancel()  # shared, so nobody may cancel it
            self._flying[key] = future
            self._waiting.setdefault(parsed.registry, deque()).append(_Task(key, parsed, future))
            if self._threads < _THREADS and (task := self._next()):
                self._threads += 1
                # Daemon threads: an exit does not wait for a slow registry.
                threading.Thread(target=self._work, args=(task,), name="registry", daemon=True).start()
            return future

    def remembered(self, reference: str) -> Look | None:
        """The last answer, however old, without asking."""
        with suppress(ValueError), self._lock:
            answer = self._answers.get(str(parse(reference)))
            return answer.look if answer else None
        return None

    def close(self) -> None:
        """Give up what waits; what is under way ends by itself."""
        with self._lock:
            self._closed = True
            tasks = [task for queue in self._waiting.values() for task in queue]
            pools = list(self._pools.values())
            self._waiting.clear()
        for task in tasks:
            self._finish(task, Look("", "unavailable"))
        for pool in pools:
            pool.close()

    def _believed_seconds(self, look: Look) -> float:
        return self._max_age_seconds if look.digest else min(self._max_age_seconds, _FAILURE_SECONDS)

    # -- threads -------------------------------------------------------------------------------------

    def _next(self) -> _Task | None:
        """The next task whose host is not busy; the lock is held."""
        for host, queue in self._waiting.items():
            if queue and self._running.get(host, 0) < _PER_HOST:
                self._running[host] = self._running.get(host, 0) + 1
                return queue.popleft()
        return None

    def _work(self, first: _Task) -> None:
        task: _Task | None = first
        while task is not None:
            self._finish(task, self._ask(task.reference))
            with self._lock:
                self._running[task.reference.registry] -= 1
                task = self._next()
                if task is None:
                    self._threads -= 1

    def _finish(self, task: _Task, look: Look) -> None:
        with self._lock:
            self._answers.pop(task.key, None)  # so that the oldest answers come first
            self._answers[task.key] = _Answer(look, self._clock())
            if len(self._answers) > _REMEMBERED:
                del self._answers[next(iter(self._answers))]
            del self._flying[task.key]
        task.future.set_result(look)

    # -- one look-up ---------------------------------------------------------------------------------

    def _ask(self, reference: Reference) -> Look:
        try:
            return Look(self._digest(reference))
        except _FailedError as failed:
            return Look("", failed.reason)

    def _digest(self, reference: Reference) -> str:
        url = self._url(reference)
        with closing(self._request("HEAD", url, reference.registry)) as response:
            digest = response.headers.get("Docker-Content-Digest")
        if digest is None:
            with closing(self._request("GET", url, reference.registry)) as response:
                digest = _hash(response)
        if not _DIGEST.fullmatch(digest):
            raise _FailedError("bad_answer")
        return digest

    def _url(self, reference: Reference) -> Url:
        host = _HUB if reference.registry == DEFAULT_REGISTRY else reference.registry
        plain = self._http.get(reference.registry, _is_loopback(reference.registry))
        path = f"/v2/{reference.path}/manifests/{reference.digest or reference.tag}"
        return parse_url(f"{'http' if plain else 'https'}://{host}{path}")

    def _request(self, method: str, url: Url, registry: str) -> BaseHTTPResponse:
        """A good answer, after redirects: there are registries that only point to others."""
        response = self._send(method, url, registry)
        for _ in range(_REDIRECTS):
            if response.status not in _REDIRECT_STATUS:
                break
            response.close()
            url = _follow(url, response.headers.get("Location", ""))
            response = self._send(method, url, registry)
        if response.status == _OK:
            return response
        response.close()
        server_error = response.status >= _SERVER_ERROR
        raise _FailedError(_REASONS.get(response.status, "unavailable" if server_error else "bad_answer"))

    def _send(self, method: str, url: Url, registry: str) -> BaseHTTPResponse:
        code = "error"
        try:
            response = self._pool(url).request(
                method,
                url.request_uri,
                headers=_HEADERS,
                timeout=_TIMEOUT,
                retries=False,
                redirect=False,
                preload_content=method == "HEAD",
            )
            code = str(response.status)
            return response
        except Exception as error:  # a hostile answer can surface as anything
            code = _reason(error)
            raise _FailedError(code) from error
        finally:
            self._observe(registry, method, code)

    def _pool(self, url: Url) -> HTTPConnectionPool:
        if not url.host:
            raise ValueError("no host")
        key = (url.scheme or "", url.netloc or "")
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._make_pool(url, url.host)
            return self._pools[key]

    def _make_pool(self, url: Url, host: str) -> HTTPConnectionPool:
        if url.scheme == "http":
            return _Pool(host, url.port, maxsize=_PER_HOST)
        context = ssl.create_default_context()
        registry = DEFAULT_REGISTRY if url.netloc == _HUB else url.netloc or ""
        if ca_file := self._ca_files.get(registry):
            try:
                context.load_verify_locations(ca_file)
            except OSError as error:
                raise exceptions.SSLError(error) from error
        return _TlsPool(host, url.port, maxsize=_PER_HOST, ssl_context=context)


def _done(look: Look) -> "Future[Look]":
    future: Future[Look] = Future()
    future.set_result(look)
    return future


def _follow(url: Url, location: str) -> Url:
    try:
        target = parse_url(urljoin(url.url, location))
    except (exceptions.HTTPError, ValueError) as error:
        raise _FailedError("bad_answer") from error
    if not location or target.scheme not in ("https", url.scheme):
        raise _FailedError("bad_answer")  # never from TLS to plain text
    return target


def _hash(response: BaseHTTPResponse) -> str:
    """The digest of a manifest is the hash of its bytes."""
    ends_at = time.monotonic() + _ANSWER_SECONDS
    sha, size = hashlib.sha256(), 0
    try:
        while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
            sha.update(chunk)
            size += len(chunk)
            if size > _MANIFEST_BYTES:
                raise _FailedError("bad_answer")
            if time.monotonic() > ends_at:
                raise _FailedError("timeout")
    except (exceptions.HTTPError, OSError) as error:
        raise _FailedError(_reason(error)) from error
    return f"sha256:{sha.hexdigest()}"


def _reason(error: Exception) -> str:
    if isinstance(error, exceptions.SSLError | ssl.SSLError):
        return "tls"
    if isinstance(error, exceptions.NewConnectionError):
        return "unreachable"
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return "timeout"
    cut = isinstance(error, exceptions.ProtocolError) and any(isinstance(arg, OSError) for arg in error.args)
    return "unreachable" if cut or isinstance(error, OSError) else "bad_answer"


def _is_loopback(registry: str) -> bool:
    host = parse_url(f"//{registry}").host or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


# -- connections that do not wait for ever ---------------------------------------------------------------


class _Bounded(HTTPConnection):
    """A connection on which the head of an answer must arrive in time; timeouts of sockets are per read."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as in urllib3
        """The head of the answer."""
        late = threading.Event()

        def end() -> None:
            late.set()
            with suppress(OSError):
                self.sock.shutdown(SHUT_RDWR)

        timer = threading.Timer(_ANSWER_SECONDS, end)
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()
        except Exception:
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()


class _BoundedTls(_Bounded, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Bounded


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTls

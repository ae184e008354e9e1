"""HTTP/1.1 over kept connections: a few per server, and every answer whole in time and bounded in size.

Input: requests, a deadline. Output: answers, or a ``FailedError`` with one stable word. Out of bounds: what an answer
means, redirects, authentication, retries (but where the other side had ended a kept connection).

The standard library parses the answers. What it lacks is a deadline for a whole answer: each of its reads may take the
time-out of the socket anew, so that a server which trickles is waited for for ever. Here every read from a socket
first sets the time-out to what is left.
"""

import http.client
import io
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPResponse
from typing import NamedTuple, cast
from urllib.parse import urlsplit

CONNECT_SECONDS = 5.0
PER_SERVER = 16
_KEPT_SECONDS = 30.0
_CHUNK_BYTES = 64 * 1024
_ERROR_BYTES = 64 * 1024  # read of an answer nobody wants, so that its connection can be kept
_OK, _SERVER_ERROR = 200, 500
_REASONS = {401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "rate_limited"}
_PORTS = {"http": 80, "https": 443}
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


class FailedError(Exception):
    """A question has a reason instead of an answer. Nothing of what was sent or received is in its text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Url(NamedTuple):
    """Where a request goes."""

    scheme: str
    host: str
    port: int
    target: str = "/"

    @property
    def server(self) -> "Url":
        """The same without path and query."""
        return Url(self.scheme, self.host, self.port)

    @property
    def netloc(self) -> str:
        """Host and port as they are written."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


def parse_url(text: str) -> Url:
    """A URL from outside. Raises FailedError."""
    if not _VISIBLE.fullmatch(text):  # before urlsplit, which drops some of the others
        raise FailedError("bad_answer")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise FailedError("bad_answer") from None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise FailedError("bad_answer")
    query = f"?{parts.query}" if parts.query else ""
    return Url(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], (parts.path or "/") + query)


class Request(NamedTuple):
    """One request. ``limit``: how many bytes of a good answer's body are read; more is a bad answer."""

    method: str
    url: Url
    headers: Mapping[str, str]
    body: bytes = b""
    limit: int = 0

    def encoded(self) -> bytes:
        """As it is sent."""
        lines = [f"{self.method} {self.url.target} HTTP/1.1", f"Host: {self.url.netloc}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        if not _PRINTABLE.fullmatch("".join(lines)):  # no header may smuggle in another
            raise FailedError("bad_answer")
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + self.body


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes = b""

    @property
    def is_good(self) -> bool:
        """Whether it is what was asked for."""
        return self.status == _OK

    @property
    def failure(self) -> str:
        """The word for an answer that is not."""
        return _REASONS.get(self.status, "unavailable" if self.status >= _SERVER_ERROR else "bad_answer")

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [str(value) for value in self.headers.get_all(name) or ()]


class _Reader(io.RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self.ends_at = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override] # of all buffers, this one comes
        self._source.settimeout(_left(self.ends_at))
        return self._source.recv_into(buffer)


class _Connection:
    """One connection to a server."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)
        self.reusable = False
        self.kept_at = 0.0

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What the standard library calls on the socket it thinks it has."""
        return io.BufferedReader(self._reader)

    def is_quiet(self) -> bool:
        """Nothing came unasked: neither an end nor rest of an earlier answer."""
        return time.monotonic() - self.kept_at < _KEPT_SECONDS and not self._poll.poll(0)

    def exchange(self, request: Request, ends_at: float) -> Answer:
        """Send the request and read the whole answer."""
        self.reusable = False
        self._reader = _Reader(self._socket)
        self._reader.ends_at = ends_at
        self._socket.settimeout(_left(ends_at))
        self._socket.sendall(request.encoded())
        # It calls nothing but makefile.
        response = HTTPResponse(cast("socket.socket", self), method=request.method)
        try:
            response.begin()
            body, whole = (b"", True) if request.method == "HEAD" else _read(response, request.limit)
            self.reusable = whole and not response.will_close
            return Answer(response.status, response.headers, body)
        finally:
            response.close()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


def _read(response: HTTPResponse, limit: int) -> tuple[bytes, bool]:
    """The body, and whether it was read to its end. Nobody needs all of a refusal."""
    pieces, size = [], 0
    good = response.status == _OK
    while piece := response.read1(_CHUNK_BYTES):
        size += len(piece)
        if size > (limit if good else _ERROR_BYTES):
            if good:
                raise FailedError("bad_answer")
            return b"", False
        pieces.append(piece)
    return b"".join(pieces), response.isclosed()


class _Key(NamedTuple):
    server: Url
    context: ssl.SSLContext | None


class Wire:
    """All connections, of all registries. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._idle: dict[_Key, list[_Connection]] = {}
        self._count: dict[_Key, int] = {}

    def exchange(self, request: Request, context: ssl.SSLContext | None, ends_at: float) -> Answer:
        """One request, one answer, before ``ends_at`` of the monotonic clock. Raises FailedError."""
        key = _Key(request.url.server, context if request.url.scheme == "https" else None)
        try:
            connection = self._take(key, ends_at)
            try:
                if connection is not None:
                    with suppress(ConnectionError, ssl.SSLError):  # the other side may have ended it meanwhile
                        return connection.exchange(request, ends_at)
                    connection.close()
                    connection = None
                connection = _connect(key, ends_at)
                return connection.exchange(request, ends_at)
            finally:
                self._give_back(key, connection)
        except FailedError:
            raise
        except Exception as error:  # noqa: BLE001 - a hostile answer can surface as anything
            raise FailedError(_reason(error)) from None

    def sweep(self, *, everything: bool = False) -> None:
        """Close what is idle, or what has been for too long."""
        with self._changed:
            for key, connections in list(self._idle.items()):
                stale = [c for c in connections if everything or not c.is_quiet()]
                self._idle[key] = [c for c in connections if c not in stale]
                self._close(key, stale)

    def _take(self, key: _Key, ends_at: float) -> _Connection | None:
        """A kept connection, or None: the caller may open one."""
        with self._changed:
            while True:
                idle = self._idle.get(key, [])
                while idle:
                    connection = idle.pop()  # the one used last, so that the others can grow old
                    if connection.is_quiet():
                        return connection
                    self._close(key, [connection])
                if self._count.get(key, 0) < PER_SERVER:
                    self._count[key] = self._count.get(key, 0) + 1
                    return None
                self._changed.wait(_left(ends_at))

    def _give_back(self, key: _Key, connection: _Connection | None) -> None:
        with self._changed:
            if connection is not None and connection.reusable:
                connection.kept_at = time.monotonic()
                self._idle.setdefault(key, []).append(connection)
            else:
                self._close(key, [connection])
            self._changed.notify()

    def _close(self, key: _Key, connections: "list[_Connection] | list[_Connection | None]") -> None:
        for connection in connections:
            if connection is not None:
                connection.close()
            self._count[key] -= 1
        if not self._count[key]:
            del self._count[key]
            self._idle.pop(key, None)


def _connect(key: _Key, ends_at: float) -> _Connection:
    server, context = key
    found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    ends_at = min(ends_at, time.monotonic() + 2 * CONNECT_SECONDS)
    for number, (family, kind, protocol, _, address) in enumerate(found, 1):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(min(CONNECT_SECONDS, _left(ends_at)))
            opened.connect(address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            break
        except OSError:
            opened.close()
            if number == len(found):
                raise
    else:
        raise OSError("no address")
    if context is None:
        return _Connection(opened)
    try:
        opened.settimeout(_left(ends_at))
        return _Connection(context.wrap_socket(opened, server_hostname=server.host))
    except BaseException:
        opened.close()
        raise


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        return "tls"
    return "unreachable" if isinstance(error, OSError) else "bad_answer"

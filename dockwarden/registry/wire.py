"""HTTP/1.1 over kept connections: a few per server, and every answer whole in time and bounded in size.

Input: requests, a deadline. Output: answers, or a ``FailedError`` with one stable word. Out of bounds: what an answer
means, redirects, authentication, retries (but where the other side had ended a kept connection).

The standard library parses the answers. What it lacks is a deadline for a whole answer: each of its reads may take the
time-out of the socket anew, so that a server which trickles is waited for for ever. Here every read from a socket
first sets the time-out to what is left.
"""

import io
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPResponse
from typing import NamedTuple, cast

from dockwarden.registry.message import OK, Answer, FailedError, Request, TooLongError, Url
from dockwarden.registry.proxies import Proxies, Proxy

CONNECT_SECONDS = 5.0
PER_SERVER = 16
_KEPT_SECONDS = 30.0
_CHUNK_BYTES = 64 * 1024
_ERROR_BYTES = 64 * 1024  # read of an answer nobody wants, so that its connection can be kept


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

    def __init__(self, connected: socket.socket, proxy: Proxy | None = None) -> None:
        """``proxy``: who is to pass on what is asked, and so must be told whom to ask."""
        self._socket = connected
        self._proxy = proxy
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
        if self._proxy:
            url, headers = request.url._replace(target=str(request.url)), {**request.headers, **self._proxy.headers}
            request = request._replace(url=url, headers=headers)
        response = self._sent(request.encoded(), request.method, ends_at)
        try:
            response.begin()
            body, whole = (b"", True) if request.method == "HEAD" else _read(response, request.limit)
            self.reusable = whole and not response.will_close
            return Answer(response.status, response.headers, body)
        finally:
            response.close()

    def tunnel(self, server: Url, proxy: Proxy, ends_at: float) -> None:
        """Have a proxy connect this to a server. Raises OSError."""
        lines = [f"CONNECT {server.host_and_port} HTTP/1.1", f"Host: {server.host_and_port}"]
        lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
        sent = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
        with closing(self._sent(sent, "HEAD", ends_at)) as response:  # as with that, nothing follows the headers
            response.begin()
            if response.status != OK:
                raise OSError("the proxy refuses")

    def _sent(self, content: bytes, method: str, ends_at: float) -> HTTPResponse:
        self._reader = _Reader(self._socket)
        self._reader.ends_at = ends_at
        self._socket.settimeout(_left(ends_at))
        self._socket.sendall(content)
        # It calls nothing but makefile.
        return HTTPResponse(cast("socket.socket", self), method=method)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


def _read(response: HTTPResponse, limit: int) -> tuple[bytes, bool]:
    """The body, and whether it was read to its end. Nobody needs all of a refusal."""
    body = bytearray()
    good = response.status == OK
    while piece := response.read1(_CHUNK_BYTES):
        body += piece
        if len(body) > (limit if good else _ERROR_BYTES):
            if good:
                raise TooLongError
            return b"", False
    return bytes(body), response.isclosed() or response.length == 0


class _Key(NamedTuple):
    server: Url
    context: ssl.SSLContext | None


class Wire:
    """All connections, of all registries. Thread-safe."""

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies
        self._changed = threading.Condition()
        self._idle: dict[_Key, list[_Connection]] = {}
        self._count: dict[_Key, int] = {}
        self._is_closed = False

    def exchange(self, request: Request, context: ssl.SSLContext | None, ends_at: float) -> Answer:
        """One request, one answer, before ``ends_at`` of the monotonic clock. Raises FailedError."""
        key = _Key(request.url.server, context if request.url.scheme == "https" else None)
        with _failures():
            connection = self._take(key, ends_at)
            try:
                if connection is not None:
                    with suppress(ConnectionError, ssl.SSLError):  # the other side may have ended it meanwhile
                        return connection.exchange(request, ends_at)
                    connection.close()
                    connection = None
                connection = _connect(key, self._proxies.to(key.server), ends_at)
                return connection.exchange(request, ends_at)
            finally:
                self._give_back(key, connection)

    def sweep(self) -> None:
        """Close what has been idle for too long."""
        with self._changed:
            idle = [(key, connection) for key, connections in self._idle.items() for connection in connections]
            self._idle.clear()
        for key, connection in idle:
            connection.reusable = connection.is_quiet()
            self._give_back(key, connection, is_used=False)

    def close(self) -> None:
        """Keep nothing open from now on."""
        with self._changed:
            self._is_closed = True
        self.sweep()

    def _take(self, key: _Key, ends_at: float) -> _Connection | None:
        """A kept connection, or None: the caller may open one. Nothing that takes time is done under the lock."""
        while True:
            with self._changed:
                while not self._idle.get(key):
                    if self._count.get(key, 0) < PER_SERVER:
                        self._count[key] = self._count.get(key, 0) + 1
                        return None
                    self._changed.wait(_left(ends_at))
                connection = self._idle[key].pop()  # the one used last, so that the others can grow old
            if connection.is_quiet():
                return connection
            connection.reusable = False
            self._give_back(key, connection)

    def _give_back(self, key: _Key, connection: _Connection | None, *, is_used: bool = True) -> None:
        if connection is not None and connection.reusable:
            with self._changed:
                if not self._is_closed:
                    connection.kept_at = time.monotonic() if is_used else connection.kept_at
                    self._idle.setdefault(key, []).append(connection)
                    self._changed.notify()
                    return
        if connection is not None:
            connection.close()
        with self._changed:
            self._count[key] -= 1
            if not self._count[key]:
                del self._count[key]
                self._idle.pop(key, None)
            self._changed.notify()


def _connect(key: _Key, proxy: Proxy | None, ends_at: float) -> _Connection:
    server, context = key
    opened = _opened(proxy or server, ends_at)
    try:
        if context is None:
            return _Connection(opened, proxy)
        if proxy is not None:
            _Connection(opened).tunnel(server, proxy, ends_at)
        opened.settimeout(_left(ends_at))
        return _Connection(context.wrap_socket(opened, server_hostname=server.host))
    except BaseException:
        opened.close()
        raise


def _opened(peer: Proxy | Url, ends_at: float) -> socket.socket:
    found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    ends_at = min(ends_at, time.monotonic() + 2 * CONNECT_SECONDS)
    for number, (family, kind, protocol, _, address) in enumerate(found, 1):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(min(CONNECT_SECONDS, _left(ends_at)))
            opened.connect(address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return opened
        except OSError:
            opened.close()
            if number == len(found):
                raise
    raise OSError("no address")


@contextmanager
def _failures() -> Iterator[None]:
    """Whatever goes wrong is one of a few words."""
    try:
        yield
    except FailedError:
        raise
    except Exception as error:  # noqa: BLE001 - a hostile answer can surface as anything
        raise FailedError(_reason(error)) from None


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

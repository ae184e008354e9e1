"""HTTP/1.1 over kept connections: a few per server, and every answer whole in time and bounded in size.

Input: requests, a deadline. Output: answers, or a ``FailedError`` with one stable word. Out of bounds: what an answer
means, redirects, authentication, retries (but where the other side had ended a kept connection).

What the library lacks is a deadline for a whole answer: each of its reads may take the time-out of the socket anew, so
that a server which trickles is waited for for ever. Here every read from a socket first sets the time-out to what is
left.
"""

import io
import socket
import ssl
import threading
import time
from http.client import HTTPResponse

import urllib3
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from dockwarden.registry.message import OK, Answer, FailedError, Request, TooLongError
from dockwarden.registry.proxies import Proxies, Proxy

CONNECT_SECONDS = 5.0
PER_SERVER = 16
_MOST_SERVERS = 1000
_CHUNK_BYTES = 64 * 1024
_ERROR_BYTES = 64 * 1024  # read of an answer nobody wants, so that its connection can be kept


class _Reader(io.RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, source: socket.socket, raw: io.RawIOBase, ends_at: float) -> None:
        self._source = source
        self._raw = raw
        self._ends_at = ends_at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override] # of all buffers, this one comes
        self._source.settimeout(_left(self._ends_at))
        return self._raw.readinto(buffer) or 0

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """For all of which there is as much time as the library sets for each read."""

    def __init__(self, sock: socket.socket, *args: object, **more: object) -> None:
        super().__init__(sock, *args, **more)  # type: ignore[arg-type]
        ends_at = time.monotonic() + (sock.gettimeout() or 0.0)
        self.fp = io.BufferedReader(_Reader(sock, self.fp.detach(), ends_at))


class _EndedError(ConnectionError):
    """A connection that was kept was ended instead of an answer, maybe even before it was asked for."""


class _Connection(HTTPConnection):
    response_class = _Response
    _has_answered = False

    def connect(self) -> None:
        self._has_answered = False
        super().connect()

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        try:
            response = super().getresponse()
        except ConnectionError as error:
            raise (_EndedError() if self._has_answered else error) from None
        self._has_answered = True
        return response


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection

    def _validate_conn(self, conn: HTTPConnection) -> None:  # type: ignore[override]
        """Without the library's warning of registries that are called insecure."""
        if conn.is_closed:
            conn.connect()


class Wire:
    """All connections, of all registries. Thread-safe."""

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies
        self._lock = threading.Lock()
        self._busy = 0
        self._managers = {proxy: _manager(proxy) for proxy in (None, *proxies.all)}

    def exchange(self, request: Request, context: ssl.SSLContext | None, ends_at: float) -> Answer:
        """One request, one answer, before ``ends_at`` of the monotonic clock. Raises FailedError."""
        with self._lock:
            self._busy += 1
        try:
            try:
                return self._exchange(request, context, ends_at)
            except exceptions.ProtocolError as error:
                if not isinstance(error.args[-1], _EndedError):
                    raise
                return self._exchange(request, context, ends_at)
        except FailedError:
            raise
        except Exception as error:  # noqa: BLE001 - a hostile answer can surface as anything
            raise FailedError(_reason(error)) from None
        finally:
            with self._lock:
                self._busy -= 1

    def sweep(self) -> None:
        """Close all connections, if none is in use."""
        with self._lock:
            for manager in self._managers.values() if not self._busy else ():
                manager.clear()

    def _exchange(self, request: Request, context: ssl.SSLContext | None, ends_at: float) -> Answer:
        url, left = request.url, _left(ends_at)
        proxy = self._proxies.to(url)
        options = {"ssl_context": context} if url.scheme == "https" else {}
        pool = self._managers[proxy].connection_from_host(url.host, url.port, url.scheme, options)
        response = pool.urlopen(
            request.method,
            str(url) if proxy and not options else url.target,
            request.body or None,
            request.headers,
            retries=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, total=left),
            pool_timeout=left,  # type: ignore[arg-type] # seconds need not be whole
            preload_content=False,
        )
        try:
            body = _body(response, request.limit)
        finally:
            response.release_conn()
        return Answer(response.status, response.headers, body)


def _manager(proxy: Proxy | None) -> urllib3.PoolManager:
    if proxy is None:
        manager = urllib3.PoolManager(_MOST_SERVERS, maxsize=PER_SERVER, block=True)
    else:
        url, headers = f"http://{proxy.host}:{proxy.port}", proxy.headers
        manager = urllib3.ProxyManager(url, _MOST_SERVERS, None, headers, maxsize=PER_SERVER, block=True)
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return manager


def _body(response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
    """All of an answer; nobody needs all of a refusal, whose connection then is not kept."""
    body = bytearray()
    is_good = response.status == OK
    while piece := response.read1(_CHUNK_BYTES, decode_content=False):
        body += piece
        if len(body) > (limit if is_good else _ERROR_BYTES):
            response.close()
            if is_good:
                raise TooLongError
            return b""
    return bytes(body)


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: Exception) -> str:
    """One of a few words for whatever went wrong."""
    if isinstance(error, exceptions.ProxyError | exceptions.ProtocolError) and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    if isinstance(error, exceptions.NewConnectionError):
        return "unreachable"
    if isinstance(error, TimeoutError | exceptions.TimeoutError | exceptions.EmptyPoolError):
        return "timeout"
    if isinstance(error, ssl.SSLError | exceptions.SSLError):
        return "tls"
    return "unreachable" if isinstance(error, OSError) else "bad_answer"

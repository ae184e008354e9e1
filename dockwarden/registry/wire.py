"""HTTP/1.1 over kept connections: a few per server, and every answer whole in time and bounded in size.

Input: requests, a deadline. Output: answers, or a ``FailedError`` with one stable word. Out of bounds: what an answer
means, redirects, authentication, retries (but where the other side had ended a kept connection). HTTP_PROXY,
HTTPS_PROXY and NO_PROXY mean what they mean to Docker, but proxies are spoken to without TLS only.

What the library lacks is a deadline for a whole answer: each of its reads may take the time-out of the socket anew, so
that a server which trickles is waited for for ever. Here every read from a socket first sets the time-out to what is
left.
"""

import io
import ipaddress
import re
import selectors
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from http.client import CONTINUE, OK, SWITCHING_PROTOCOLS, HTTPResponse
from typing import Any
from urllib.parse import unquote

import urllib3
from urllib3 import HTTPHeaderDict, PoolManager, ProxyManager, exceptions, make_headers
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import allowed_gai_family

from dockwarden.errors import ConfigError
from dockwarden.registry.message import GOOD, Answer, FailedError, Request, TooLongError, Url

PER_SERVER = 16
_MOST_SERVERS = 1000
_NAMES = ("http_proxy", "https_proxy", "no_proxy")
CONNECT_SECONDS = 5.0
_NEXT_SECONDS = 0.3  # after which the next address of a host is tried beside the one before
_CHUNK_BYTES = 64 * 1024
_ERROR_BYTES = 64 * 1024  # read of an answer nobody wants, so that its connection can be kept
urllib3.disable_warnings(exceptions.InsecureRequestWarning)  # of registries that the engine's settings call so


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

    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        ends_at = time.monotonic() + (sock.gettimeout() or 0.0)
        self.fp = io.BufferedReader(_Reader(sock, self.fp.detach(), ends_at))

    def _read_status(self) -> tuple[str, int, str]:
        """The library passes over 100 only, and takes the answer behind any other for that to the next request."""
        version, status, reason = super()._read_status()  # type: ignore[misc] # not in its types
        is_early = CONTINUE < status < OK and status != SWITCHING_PROTOCOLS
        return version, CONTINUE if is_early else status, reason


class _EndedError(ConnectionError):
    """A connection that was kept was ended instead of an answer, maybe even before it was asked for."""


class _Connection(HTTPConnection):
    response_class = _Response
    _has_answered = False

    def connect(self) -> None:
        self._has_answered = False
        try:
            super().connect()
        except ConnectionResetError:  # which the library passes over, as if an answer could come all the same
            raise ConnectionAbortedError from None

    def _new_conn(self) -> socket.socket:
        found = _connected(self._dns_host.strip("[]"), self.port, self.timeout or CONNECT_SECONDS)
        for option in self.socket_options or ():
            found.setsockopt(*option)
        found.settimeout(self.timeout)
        return found

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # as the library's own does
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


class Wire:
    """All connections, of all registries. Thread-safe."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Names in upper case come first, as with the engine. Raises ConfigError for a proxy that cannot be used."""
        said = {name: environ.get(name.upper()) or environ.get(name, "") for name in _NAMES}
        self._direct = PoolManager(_MOST_SERVERS, maxsize=PER_SERVER, block=True)
        self._by_scheme = {name.partition("_")[0]: _proxy(name, said[name]) or self._direct for name in _NAMES[:2]}
        self._managers = (self._direct, *self._by_scheme.values())
        for manager in self._managers:
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        self._spared = [part.strip().lower() for part in said["no_proxy"].split(",") if part.strip()]
        self._lock = threading.Lock()
        self._busy = 0

    def manager(self, server: Url) -> PoolManager:
        """Who connects to a server; never a proxy to one on this host."""
        if server.is_loopback or any(_spares(part, server) for part in self._spared):
            return self._direct
        return self._by_scheme[server.scheme]

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
            for manager in self._managers if not self._busy else ():
                manager.clear()

    def _exchange(self, request: Request, context: ssl.SSLContext | None, ends_at: float) -> Answer:
        url, left = request.url, _left(ends_at)
        manager = self.manager(url)
        options = {"ssl_context": context} if url.scheme == "https" else {}
        pool = manager.connection_from_host(url.host, url.port, url.scheme, options)
        response = pool.urlopen(
            request.method,
            str(url) if manager.proxy and not options else url.target,
            request.body or None,
            request.headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, total=left),
            pool_timeout=left,  # type: ignore[arg-type] # seconds need not be whole
            preload_content=False,
        )
        try:
            body = _unpacked(_body(response, request.limit), response.headers, request.limit)
        finally:
            response.release_conn()
        return Answer(response.status, response.headers, body)


def _connected(host: str, port: int, seconds: float) -> socket.socket:
    """To the first address that answers; each is tried a moment after the one before, as engines do (RFC 8305)."""
    first, *others = socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
    ahead = [first, *sorted(others, key=lambda other: other[0] == first[0])]  # the other family first
    ends_at, failure = time.monotonic() + seconds, OSError()
    with selectors.DefaultSelector() as waiting, ExitStack() as opened:
        while ahead or waiting.get_map():
            if ahead:
                family, kind, protocol, _, address = ahead.pop(0)
                try:
                    begun = opened.enter_context(socket.socket(family, kind, protocol))
                    begun.setblocking(False)
                    with suppress(BlockingIOError):
                        begun.connect(address)
                    waiting.register(begun, selectors.EVENT_WRITE, begun)
                except OSError as error:
                    failure = error
                    continue
            left = _left(ends_at)
            for key, _ in waiting.select(min(left, _NEXT_SECONDS) if ahead else left):
                ended: socket.socket = key.data
                waiting.unregister(ended)
                if not (code := ended.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                    return ended.dup()  # it is closed with the others
                failure = OSError(code, "")
    raise failure


def _body(response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
    """All of an answer; nobody needs all of a refusal, whose connection then is not kept."""
    body = bytearray()
    is_good = response.status in GOOD
    while piece := response.read1(_CHUNK_BYTES, decode_content=False):
        body += piece
        if len(body) > (limit if is_good else _ERROR_BYTES):
            response.close()
            if is_good:
                raise TooLongError("bad_answer")
            return b""
    return bytes(body)


def _unpacked(body: bytes, headers: HTTPHeaderDict, limit: int) -> bytes:
    """What is inside, of which digests are; nothing of what cannot be unpacked.

    Other words than gzip's are passed over, as graph stores do: what S3 calls aws-chunked is not packed.
    """
    codings = [coding.strip().lower() for coding in ",".join(headers.getlist("Content-Encoding")).split(",")]
    if not {"gzip", "x-gzip"}.intersection(codings):
        return body
    with suppress(zlib.error):  # nobody asked for it; some proxies do it all the same
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        body = unpacker.decompress(body, limit)
        return body if unpacker.eof else b""
    return b""


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: Exception) -> str:
    """One of a few words for whatever went wrong."""
    if isinstance(error, exceptions.ProxyError | exceptions.ProtocolError) and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    if isinstance(error, TimeoutError | exceptions.TimeoutError | exceptions.EmptyPoolError):
        return "timeout"
    if isinstance(error, ssl.SSLError | exceptions.SSLError):
        return "tls"
    return "unreachable" if isinstance(error, OSError) else "bad_answer"


def _proxy(name: str, text: str) -> ProxyManager | None:
    if not text:
        return None
    scheme, _, rest = (text if "://" in text else f"http://{text}").strip().partition("://")
    login, _, host = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")
    with suppress(exceptions.LocationParseError):
        if scheme.lower() == "http" and host.partition(":")[0]:
            known = unquote(login if ":" in login else f"{login}:").encode().decode("latin-1")  # as headers are written
            headers = make_headers(proxy_basic_auth=known) if login else None
            return ProxyManager(f"http://{host}", _MOST_SERVERS, None, headers, maxsize=PER_SERVER, block=True)
    raise ConfigError(f"environment {name.upper()}: write http://host:port or http://user:password@host:port")


def _spares(part: str, server: Url) -> bool:
    """Whether a part of NO_PROXY, a name, address, network or ``*``, is about the server."""
    with suppress(ValueError):
        return ipaddress.ip_address(server.host) in ipaddress.ip_network(part, strict=False)
    name, _, port = part.removeprefix("[").partition("]:" if part.startswith("[") else ":")
    if part == "*" or not name or port not in ("", str(server.port)):
        return part == "*"
    name = name[1:] if name.startswith("*.") else name  # anywhere else a star is a letter
    return server.host == name or server.host.endswith(name if name.startswith(".") else f".{name}")

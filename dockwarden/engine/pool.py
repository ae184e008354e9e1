"""Connections to one engine that are kept, through a socket or ssh, and a short way to ask over them.

Input: an endpoint. Output: connections for the libraries, and answers to GETs; ``OSError``. Out of bounds: what an
answer means, and trying again.
"""

import socket
import subprocess
from itertools import islice
from threading import Thread
from typing import Any, BinaryIO

from urllib3 import HTTPConnectionPool, Timeout
from urllib3.connection import HTTPConnection

from dockwarden.engine.endpoint import Endpoint, ssh_command

CONNECT_SECONDS = 5.0
_SIZE = 16
_MOST_LINE_BYTES, _MOST_LINES = 65536, 100  # of headers


class _Connection(HTTPConnection):
    """A connection through a socket in the file system, or through the ssh command to one of another host."""

    def __init__(self, host: str, port: int | None = None, *, endpoint: Endpoint, **settings: Any) -> None:
        super().__init__(host, port, **settings)
        self._endpoint = endpoint

    def connect(self) -> None:
        if not self._endpoint.socket:
            self.sock = self._begin_ssh()
            return
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(Timeout.resolve_default_timeout(self.timeout))
            sock.connect(self._endpoint.socket)
        except BaseException:
            sock.close()
            raise
        self.sock = sock

    def _begin_ssh(self) -> socket.socket:
        """A socket whose other end is the engine, until it is closed: ``docker`` there passes on what ssh brings."""
        ours, theirs = socket.socketpair()
        ours.settimeout(Timeout.resolve_default_timeout(self.timeout))
        with theirs:
            try:
                ssh = subprocess.Popen(  # noqa: S603 - no shell of ours, and the address is checked
                    ssh_command(self._endpoint.url),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        Thread(target=ssh.wait, name="ssh", daemon=True).start()  # so that no zombie is left
        return ours


class Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__("localhost", maxsize=_SIZE, endpoint=endpoint)

    def get(self, path: str, read_seconds: float) -> tuple[int, bytes]:
        """The status and body of what answers a GET, in a fifth of the library's time.

        Each event makes us ask, and an inspect takes the engine no longer than the library.
        """
        connection: Any = self._get_conn()
        is_kept = False
        try:
            if connection.sock is None:
                connection.timeout = CONNECT_SECONDS
                connection.connect()
            connection.sock.settimeout(read_seconds)
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: dockwarden\r\n\r\n"
            connection.sock.sendall(head.encode("ascii"))
            with connection.sock.makefile("rb") as stream:
                status, body, is_kept = _answer(stream)
        except ValueError as error:
            raise ConnectionError(f"no HTTP: {error}") from error
        finally:
            if not is_kept:
                connection.close()
            self._put_conn(connection)
        return status, body


def _answer(stream: BinaryIO) -> tuple[int, bytes, bool]:
    """The status and body of an answer, and whether the connection may be used again."""
    version, code, *_ = _line(stream).split(maxsplit=2)
    lines = islice(iter(lambda: _line(stream), b""), _MOST_LINES)
    headers = {name.lower(): value.strip().lower() for name, _, value in (line.partition(b":") for line in lines)}
    is_kept = version == b"HTTP/1.1" and headers.get(b"connection") != b"close"
    if headers.get(b"transfer-encoding") == b"chunked":
        parts: list[bytes] = []
        while size := int(_line(stream).partition(b";")[0], 16):
            parts.append(_read(stream, size))
            _line(stream)
        while _line(stream):  # trailers
            pass
        body = b"".join(parts)
    elif (length := headers.get(b"content-length")) is not None:
        body = _read(stream, int(length))
    else:
        body, is_kept = stream.read(), False
    return int(code), body, is_kept


def _line(stream: BinaryIO) -> bytes:
    line = stream.readline(_MOST_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise ConnectionError("the connection ended amid an answer")
    return line.strip()


def _read(stream: BinaryIO, size: int) -> bytes:
    body = stream.read(size)
    if len(body) != size:
        raise ConnectionError("the connection ended amid an answer")
    return body

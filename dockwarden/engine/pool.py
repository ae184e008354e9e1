"""Connections to one engine that are kept, through a socket or ssh, and a short way to ask over them.

Input: an endpoint. Output: connections for the libraries, and answers to GETs; ``OSError``. Out of bounds: what an
answer means, and trying again.
"""

import http.client
import socket
import subprocess
from threading import Thread
from typing import Any

from urllib3 import HTTPConnectionPool, Timeout
from urllib3.connection import HTTPConnection

from dockwarden.engine.endpoint import Endpoint, ssh_command

CONNECT_SECONDS = 5.0
_SIZE = 16
_GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: dockwarden\r\nAccept-Encoding: identity\r\n\r\n"
_LINE_BYTES, _MOST_FIELDS, _WITHOUT_BODY = 64 << 10, 100, (204, 304)


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


class _Answer(http.client.HTTPResponse):
    """The library's, but for its head, which is read without a parser of mail: that takes longer than the engine."""

    def begin(self) -> None:
        version, _, says = self.fp.readline(_LINE_BYTES).partition(b" ")
        if not (version.startswith(b"HTTP/1.") and says[:3].isdigit()):
            raise http.client.BadStatusLine(f"{version!r} {says!r}")
        self.status, fields = int(says[:3]), dict[bytes, bytes]()
        while (line := self.fp.readline(_LINE_BYTES).lower().rstrip()) and len(fields) < _MOST_FIELDS:
            name, _, value = line.partition(b":")
            fields[name] = value.strip()
        self.chunked, self.chunk_left = fields.get(b"transfer-encoding") == b"chunked", None
        length = b"0" if self.status in _WITHOUT_BODY else fields.get(b"content-length", b"")
        self.length = int(length) if length.isdigit() and not self.chunked else None
        is_bounded = self.chunked or self.length is not None
        self.will_close = version != b"HTTP/1.1" or fields.get(b"connection") == b"close" or not is_bounded


class Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__("localhost", maxsize=_SIZE, endpoint=endpoint)

    def get(self, path: str, read_seconds: float) -> tuple[int, bytes]:
        """The status and body of what answers a GET, by the standard library alone, in less time than by urllib3.

        Each event makes us ask, and an inspect takes the engine no longer than a library.
        """
        if not path.isprintable() or " " in path:
            raise ValueError(f"{path!r} is no path")
        connection: Any = self._get_conn()
        try:
            if connection.sock is None:
                connection.timeout = CONNECT_SECONDS
                connection.connect()
            connection.sock.settimeout(read_seconds)
            connection.sock.sendall(_GET % path.encode("ascii"))
            with _Answer(connection.sock, method="GET") as answer:
                answer.begin()
                body = answer.read()
            if answer.will_close:
                connection.close()
            return answer.status, body
        except BaseException as error:
            connection.close()
            if isinstance(error, http.client.HTTPException | MemoryError):  # as for the length that a stranger says
                raise OSError(f"no HTTP: {error!r}") from error
            raise
        finally:
            self._put_conn(connection)

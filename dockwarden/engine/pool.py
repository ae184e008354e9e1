"""Connections to one engine that are kept, through a socket or ssh, and a short way to ask over them.

Input: an endpoint. Output: connections for the libraries, and answers; ``OSError``. Out of bounds: what an
answer means, and trying again.
"""

import http.client
import socket
import subprocess
from collections.abc import Mapping
from threading import Thread
from typing import Any

from urllib3 import HTTPConnectionPool, Timeout
from urllib3.connection import HTTPConnection

from dockwarden.engine.endpoint import Endpoint, ssh_command

AGENT = {"User-Agent": "dockwarden"}
CONNECT_SECONDS = 5.0
_FIRST = "HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: identity\r\n"
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
        if not version:
            raise ConnectionResetError("it ended without an answer")
        if not (version.startswith(b"HTTP/1.") and says[:3].isdigit()):
            raise http.client.BadStatusLine(f"{version!r} {says!r}")
        self.status, self.fields = int(says[:3]), dict[str, str]()
        while (line := self.fp.readline(_LINE_BYTES).lower().rstrip()) and len(self.fields) < _MOST_FIELDS:
            name, _, value = line.decode("latin-1").partition(":")
            self.fields[name] = value.strip()
        self.chunked, self.chunk_left = self.fields.get("transfer-encoding") == "chunked", None
        length = "0" if self.status in _WITHOUT_BODY else self.fields.get("content-length", "")
        self.length = int(length) if length.isdecimal() and not self.chunked else None
        is_bounded = self.chunked or self.length is not None
        self.will_close = version != b"HTTP/1.1" or self.fields.get("connection") == "close" or not is_bounded


class Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def ask(
        self, method: str, path: str, seconds: tuple[float, float], body: str = "", headers: Mapping[str, str] = AGENT
    ) -> tuple[int, Mapping[str, str], bytes]:
        """The status, headers and body of an answer, by the standard library alone, in less time than by urllib3.

        Each event makes us ask, and an inspect takes the engine no longer than a library. ``seconds``: to connect, and
        until the engine says more. Headers are told in small letters.
        """
        if not path.isprintable() or " " in path:
            raise ValueError(f"{path!r} is no path")
        sent = headers if method == "GET" else {**headers, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        connection: Any = self._get_conn()
        try:
            if connection.sock is None:
                connection.timeout = seconds[0]
                connection.connect()
            connection.sock.settimeout(seconds[1])
            connection.sock.sendall(f"{method} {path} {_FIRST}{head}\r\n{body}".encode("ascii"))
            with _Answer(connection.sock, method=method) as answer:
                answer.begin()
                content = answer.read()
            if answer.will_close:
                connection.close()
            return answer.status, answer.fields, content
        except BaseException as error:
            connection.close()
            if isinstance(error, http.client.HTTPException | MemoryError):  # as for the length that a stranger says
                raise OSError(f"no HTTP: {error!r}") from error
            raise
        finally:
            self._put_conn(connection)

"""Connections to one engine that are kept, through a socket or ssh, and a short way to ask over them.

Input: an endpoint. Output: connections for the libraries, and answers; ``OSError``. Out of bounds: what an answer
means, and trying again, but for a question that came to a kept connection when the engine closed that.
"""

import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from threading import Thread
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3 import HTTPConnectionPool, Timeout
from urllib3.connection import HTTPConnection

from dockwarden.engine.endpoint import Endpoint, ssh_command

AGENT = {"User-Agent": "dockwarden"}
QUESTIONS = ("GET", "HEAD")
CONNECT_SECONDS = 5.0
_PIECE_BYTES = 65536
_MOST_HEADER_BYTES = 1 << 20
_PLAIN = {"Accept-Encoding": "identity"}  # who says nothing takes whatever comes
_TAKEN = dict.fromkeys(
    ("lenient_optional_cr_before_lf", "lenient_chunked_length", "lenient_spaces_after_chunk_size"), True
)
"""What the engine's own client and the standard library take, too."""


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


class _Answer:
    """One answer, as the parser tells it piece by piece. Raises ``OSError`` for what is no HTTP or ends early."""

    def __init__(self, method: str) -> None:
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.status = 0
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**_TAKEN)
        self._has_body = method != "HEAD"
        self._is_begun = self._is_whole = self._may_follow = False

    def on_message_begin(self) -> None:
        if self._is_whole:
            raise ValueError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = int(self._parser.get_status_code())
        self._is_begun = self.status >= HTTPStatus.OK  # what says less comes before the answer
        self._is_whole = self._is_begun and not self._has_body

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self._is_whole = self._is_begun
        self._may_follow = self._has_body and bool(self._parser.should_keep_alive())

    def read(self, sock: socket.socket) -> bool:
        """All of it, once. Returns whether the connection can be asked again."""
        try:
            return self._read(sock)
        finally:
            del self._parser  # it knows us, too: else all that was read would wait for a collection of garbage

    def _read(self, sock: socket.socket) -> bool:
        size = 0
        while True:
            piece = sock.recv(_PIECE_BYTES)
            size += len(piece)
            if not piece and self._is_begun and not self.headers.keys() & {"content-length", "transfer-encoding"}:
                return False  # where no length is told, the end is that of the connection
            if not piece:
                ended = ConnectionAbortedError if size else ConnectionResetError
                raise ended("the connection was ended before the answer was")
            try:
                self._parser.feed_data(piece)
            except (HttpParserError, HttpParserUpgrade) as error:
                if not self._is_whole:
                    first = "" if self._is_begun else f": {piece[:80]!r}"
                    raise OSError(f"no HTTP: {error}{first}") from error
                self._may_follow = False  # as something came that is no part of it
            if self._is_whole:
                return self._may_follow
            if size > _MOST_HEADER_BYTES and not self._is_begun:
                raise OSError("no HTTP: headers without end")


class Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def ask(
        self,
        method: str,
        path: str,
        seconds: tuple[float, float],
        body: str | bytes | None = None,
        headers: Mapping[str, str] = AGENT,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """The status, headers (in lower case) and body of an answer, in a third of the other libraries' time.

        Each event makes us ask, and an inspect takes the engine no longer than a library. ``seconds``: to connect, and
        until the engine says more.
        """
        if path.split() != [path]:  # else a part of it would be read as something else
            raise ValueError(f"no path of a URL: {path!r}")
        content = body.encode() if isinstance(body, str) else body or b""
        length = {} if body is None and method in ("GET", "HEAD") else {"Content-Length": str(len(content))}
        lines = (f"{name}: {value}\r\n" for name, value in {"Host": self.host, **_PLAIN, **length, **headers}.items())
        request = f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("ascii") + content
        while True:
            connection: Any = self._get_conn()
            was_kept = connection.sock is not None
            try:
                return self._exchange(connection, method, request, seconds)
            except ConnectionResetError:
                if not was_kept or method not in QUESTIONS:  # else the engine closed it just then
                    raise

    def _exchange(
        self, connection: Any, method: str, request: bytes, seconds: tuple[float, float]
    ) -> tuple[int, Mapping[str, str], bytes]:
        is_kept = False
        try:
            if connection.sock is None:
                connection.timeout = seconds[0]
                connection.connect()
            connection.sock.settimeout(seconds[1])
            with suppress(BrokenPipeError):  # who refuses a request need not read all of it, and has said why
                connection.sock.sendall(request)
            answer = _Answer(method)
            is_kept = answer.read(connection.sock)
            return answer.status, answer.headers, b"".join(answer.body)
        finally:
            if not is_kept:
                connection.close()
            self._put_conn(connection)

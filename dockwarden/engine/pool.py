"""Connections to one engine that are kept, through a socket, TCP, TLS or ssh, and a short way to ask over them.

Input: an endpoint. Output: answers, whole or piece by piece; ``OSError``, or where it connects an error of urllib3. Out
of bounds: what an answer means, and trying again, but for a question that came to a kept connection when the engine
closed that.
"""

import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from itertools import chain
from threading import Thread
from typing import Any
from weakref import finalize

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import parse_url

from dockwarden.engine.endpoint import Endpoint, Tls, ssh_command

AGENT = {"User-Agent": "dockwarden"}
QUESTIONS = ("GET", "HEAD")
CONNECT_SECONDS = 5.0
_MOST_KEPT = 16
_PIECE_BYTES = 65536
_MOST_HEADER_BYTES = 1 << 20
_PLAIN = {"Accept-Encoding": "identity"}  # who says nothing takes whatever comes
_TAKEN = dict.fromkeys(
    ("lenient_optional_cr_before_lf", "lenient_chunked_length", "lenient_spaces_after_chunk_size"), True
)
"""What the engine's own client and the standard library take, too."""


def _connect(endpoint: Endpoint, seconds: float) -> socket.socket:
    """To a socket in the file system, or through the ssh command to one of another host."""
    if not endpoint.socket:
        return _begin_ssh(endpoint)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(seconds)
        sock.connect(endpoint.socket)
    except BaseException:
        sock.close()
        raise
    return sock


def _begin_ssh(endpoint: Endpoint) -> socket.socket:
    """A socket whose other end is the engine, until it is closed: ``docker`` there passes on what ssh brings."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            ssh = subprocess.Popen(  # noqa: S603 - no shell of ours, and the address is checked
                ssh_command(endpoint.url),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    Thread(target=ssh.wait, name="ssh", daemon=True).start()  # so that no zombie is left
    return ours


class Answer:
    """One answer, with its headers by their names in lower case; its body is read piece by piece.

    Raises ``OSError`` for what is no HTTP or ends early.
    """

    def __init__(self, method: str, sock: socket.socket, end: Callable[..., object]) -> None:
        """``end`` is told once whether the connection can be asked again."""
        self.headers: dict[str, str] = {}
        self.status = 0
        self._sock, self._end = sock, end
        self._body: list[bytes] = []
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**_TAKEN)
        self._has_body = method != "HEAD"
        self._is_begun = self._is_whole = self._may_follow = self._is_over = False
        size = 0
        while not self._is_begun:
            size += self._go_on()
            if size > _MOST_HEADER_BYTES and not self._is_begun:
                self.close()
                raise OSError("no HTTP: headers without end")

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
        self._body.append(piece)

    def on_message_complete(self) -> None:
        self._is_whole = self._is_begun
        self._may_follow = self._has_body and bool(self._parser.should_keep_alive())

    def read(self, _most: int = 0) -> bytes:
        """The next piece of the body as it comes, of whatever length; nothing at its end."""
        while not (self._body or self._is_whole):
            self._go_on()
        piece = b"".join(self._body)
        self._body.clear()
        return piece

    def rest(self) -> bytes:
        return b"".join(iter(self.read, b""))

    def close(self) -> None:
        """Read no further, which ends the connection unless the answer is whole."""
        if not self._is_over:
            self._is_over = True
            del self._parser  # it knows us, too: else all that was read would wait for a collection of garbage
            self._end(is_kept=self._is_whole and self._may_follow)

    def _go_on(self) -> int:
        """Take in what comes next; gives its length."""
        piece = b""
        try:
            if piece := self._sock.recv(_PIECE_BYTES):
                self._parser.feed_data(piece)
            elif not self._is_begun or self.headers.keys() & {"content-length", "transfer-encoding"}:
                raise ConnectionResetError("the connection was ended before the answer was")
            else:
                self._is_whole = True  # where no length is told, the end is that of the connection
        except (HttpParserError, HttpParserUpgrade) as error:
            self._may_follow = False  # as something came that is no part of it
            if not self._is_whole:
                self.close()
                first = "" if self._is_begun else f": {piece[:80]!r}"
                raise OSError(f"no HTTP: {error}{first}") from error
        except OSError:
            self.close()
            raise
        if self._is_whole:
            self.close()
        return len(piece)


class Pool:
    """Thread-safe. A connection serves one request after the other, as long as the engine keeps it open."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None = None) -> None:
        self._local = endpoint if endpoint.socket or endpoint.is_ssh else None
        where = parse_url("http://localhost" if self._local else endpoint.url)
        is_secure = where.scheme == "https"
        address = (where.host or "").strip("[]"), where.port or (443 if is_secure else 80)
        self._new: Callable[[], HTTPConnection] = partial(HTTPConnection, *address)
        if is_secure:
            ca_file, cert_file, key_file, verify = tls or Tls("", "", "", verify=True)
            how: dict[str, Any] = {
                "cert_file": cert_file or None,
                "key_file": key_file or None,
                "cert_reqs": "CERT_NONE",
            }
            how |= {"cert_reqs": "CERT_REQUIRED", "ca_certs": ca_file or None} if verify else {}
            self._new = partial(HTTPSConnection, *address, **how)
        self._host, self._before = where.netloc, where.path or ""
        self._kept: list[HTTPConnection] = []
        self.close = finalize(self, _close_all, self._kept)  # at the latest when nobody has the pool any more

    def ask(
        self,
        method: str,
        path: str,
        seconds: tuple[float, float],
        body: str | bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] = AGENT,
    ) -> Answer:
        """What is answered, to be read or closed, in a third of the other libraries' time.

        Each event makes us ask, and an inspect takes the engine no longer than a library. ``seconds``: to connect, and
        until the engine says more.
        """
        if path.split() != [path]:  # else a part of it would be read as something else
            raise ValueError(f"no path of a URL: {path!r}")
        content, length = body.encode() if isinstance(body, str) else body, {}
        pieces: Iterable[bytes] = ()
        if not isinstance(content, bytes | None):
            pieces = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in chain(filter(None, content), [b""]))
            content, length = b"", {"Transfer-Encoding": "chunked"}
        elif content is not None or method not in QUESTIONS:
            length = {"Content-Length": str(len(content or b""))}
        lines = (f"{name}: {value}\r\n" for name, value in {"Host": self._host, **_PLAIN, **length, **headers}.items())
        request = f"{method} {self._before}{path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("ascii") + (content or b"")
        while True:
            connection: Any = self._free()
            was_kept = connection.sock is not None
            try:
                return self._begin(connection, method, chain([request], pieces), seconds)
            except ConnectionResetError:
                if not was_kept or method not in QUESTIONS:  # else the engine closed it just then
                    raise

    def _begin(self, connection: Any, method: str, request: Iterable[bytes], seconds: tuple[float, float]) -> Answer:
        end = partial(self._end, connection)
        try:
            if connection.sock is None and self._local:
                connection.sock = _connect(self._local, seconds[0])
            elif connection.sock is None:
                connection.timeout = seconds[0]
                connection.connect()
            connection.sock.settimeout(seconds[1])
            with suppress(BrokenPipeError, ConnectionResetError):  # who refuses a request need not read all of it
                for piece in request:
                    connection.sock.sendall(piece)
        except BaseException:
            end(is_kept=False)
            raise
        return Answer(method, connection.sock, end)

    def _free(self) -> HTTPConnection:
        """A connection that waits and that the engine has not closed, or a new one, which is yet to connect."""
        with suppress(IndexError):
            while not (connection := self._kept.pop()).is_connected:
                connection.close()
            return connection
        return self._new()

    def _end(self, connection: HTTPConnection, *, is_kept: bool) -> None:
        if is_kept and self.close.alive and len(self._kept) < _MOST_KEPT:
            self._kept.append(connection)
        else:
            connection.close()


def _close_all(kept: list[HTTPConnection]) -> None:
    while kept:
        kept.pop().close()

"""An HTTP server that answers exactly what a test tells it to, however wrong that is.

In: a function from what was asked to the bytes to send. Out: a listening socket, and what was asked. Out of bounds:
helping the client; after the bytes of an answer the connection stays open unless they end with a sentinel.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from pathlib import Path

CLOSE = b"<close>"
"""End the connection in order."""

RESET = b"<reset>"
"""Throw the connection away."""

HANG = b"<hang>"
"""Say no more until the server ends."""

PAUSE = b"<pause>"
"""Wait a moment; for what must arrive in pieces."""


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    """A well-formed answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def json_answer(content: object, status: int = 200) -> bytes:
    """A well-formed answer in JSON."""
    return http(status, json.dumps(content).encode(), "Content-Type: application/json")


def chunk(content: bytes) -> bytes:
    """One chunk of an answer in chunks."""
    return b"%x\r\n%s\r\n" % (len(content), content)


class Asked(str):
    """A request line without the version, such as ``GET /v2/``."""

    __slots__ = ("body", "head")

    head: str
    body: bytes

    def __new__(cls, head: str, body: bytes) -> Self:
        """Of the lines until the empty one."""
        asked = super().__new__(cls, head.split(" HTTP/", maxsplit=1)[0])
        asked.head, asked.body = head, body
        return asked

    def to(self, path: str) -> Self:
        """The same for another path."""
        return type(self)(self.head.replace(self.split()[1], path, 1), self.body)

    def header(self, name: str) -> str:
        """The value of a header, empty without it."""
        for line in self.head.splitlines()[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Misbehaving:
    """Listens on loopback, or on a Unix socket if a path is given; a context manager."""

    def __init__(
        self,
        answer: Callable[[Asked], Iterable[bytes]],
        path: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.asked: list[Asked] = []
        self.heads: list[str] = []
        self.connections = 0
        self._answer = answer
        self._tls = tls
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.host = f"unix://{path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        if self._tls is not None:
            if connection.recv(1, socket.MSG_PEEK)[:1] not in (b"", b"\x16"):  # so do servers in Go and nginx
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
        self._open.add(connection)
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as incoming:
            if incoming.peek(1)[:1] == b"\x16":  # a client that speaks TLS; servers in Go answer so
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return
            while head := self._head(incoming):
                asked = Asked(head, b"")
                asked.body = incoming.read(int(asked.header("Content-Length") or 0))
                size = int(bool(asked.header("Transfer-Encoding")))
                while size:
                    size = int(incoming.readline(), 16)
                    asked.body += incoming.read(size + 2)[:-2]
                self.asked.append(asked)
                self.heads.append(head)
                for piece in self._answer(asked):
                    if not self._send(connection, piece):
                        return
        self._open.discard(connection)

    def _head(self, incoming: BinaryIO) -> str:
        lines = []
        for line in incoming:
            if line == b"\r\n":
                break
            lines.append(line.decode("latin-1"))
        return "".join(lines)

    def _send(self, connection: socket.socket, piece: bytes) -> bool:
        if piece == CLOSE:
            connection.shutdown(socket.SHUT_RDWR)
            return False
        if piece == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            return False
        if piece in (HANG, PAUSE):
            self._stopping.wait(None if piece == HANG else 0.02)
            return piece == PAUSE
        connection.sendall(piece)
        return True

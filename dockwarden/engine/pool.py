"""Connections to one engine that are kept, through a socket or ssh, and a short way to ask over them.

Input: an endpoint. Output: connections for the libraries, and answers; ``OSError``. Out of bounds: what an
answer means, and trying again.
"""

import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from io import BufferedReader
from itertools import islice
from threading import Thread
from typing import Any

from urllib3 import HTTPConnectionPool, Timeout
from urllib3.connection import HTTPConnection

from dockwarden.engine.endpoint import Endpoint, ssh_command

AGENT = {"User-Agent": "dockwarden"}
CONNECT_SECONDS = 5.0
_NO_HTTP = (ValueError, MemoryError, OverflowError)  # the latter two for lengths that strangers say
_EARLY, _EMPTY = {100, *range(102, 200)}, (101, 204, 304)  # what comes before an answer; has no body
_MOST_LINES, _MOST_LINE_BYTES = 100, 65536


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

    def ask(
        self,
        method: str,
        path: str,
        seconds: tuple[float, float],
        body: str | bytes | None = None,
        headers: Mapping[str, str] = AGENT,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """The status, headers (in lower case) and body of an answer, in a third of the libraries' time.

        Each event makes us ask, and an inspect takes the engine no longer than a library. ``seconds``: to connect, and
        until the engine says more.
        """
        if path.split() != [path]:  # else a part of it would be read as something else
            raise ValueError(f"no path of a URL: {path!r}")
        content = body.encode() if isinstance(body, str) else body or b""
        length = {} if body is None and method in ("GET", "HEAD") else {"Content-Length": str(len(content))}
        lines = (f"{name}: {value}\r\n" for name, value in {"Host": self.host, **length, **headers}.items())
        request = f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("ascii") + content
        connection: Any = self._get_conn()
        try:
            if connection.sock is None:
                connection.timeout = seconds[0]
                connection.connect()
            connection.sock.settimeout(seconds[1])
            with suppress(BrokenPipeError):  # who refuses a request need not read all of it, and has said why
                connection.sock.sendall(request)
            with connection.sock.makefile("rb") as file:
                status, told = _head(file)
                answer = b"" if method == "HEAD" or status in _EMPTY else _body(file, told)
            if told["connection"].lower() == "close":
                connection.close()
            return status, told, answer
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError) or not isinstance(error, _NO_HTTP):
                raise
            raise OSError(f"no HTTP: {error!r}") from error
        finally:
            self._put_conn(connection)


def _head(file: BufferedReader) -> tuple[int, dict[str, str]]:
    """The status and headers of an answer, ``connection`` among them. Raises ValueError for anything else."""
    status, told = 100, dict[str, str]()
    while status in _EARLY:
        if not (first := _line(file)):
            raise ConnectionResetError("the connection was ended without an answer")
        if not first.startswith(b"HTTP/1."):
            raise ValueError(first[:80])
        following = iter(partial(file.readline, _MOST_LINE_BYTES), b"\r\n")
        pairs = [line.decode("latin-1").partition(":") for line in islice(following, _MOST_LINES)]
        if len(pairs) == _MOST_LINES:
            raise ValueError("headers without end")
        status, told = int(first[9:12]), {"connection": "close" if first.startswith(b"HTTP/1.0") else ""}
        told |= {name.lower(): value.strip() for name, _, value in pairs}
    return status, told


def _body(file: BufferedReader, told: dict[str, str]) -> bytes:
    """All of it. Raises ValueError where it is cut; without a length it lasts until the connection is closed."""
    if told.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int(_line(file).partition(b";")[0], 16):
            parts.append(_exactly(file, size + 2)[:-2])
        while _line(file):
            pass
        return b"".join(parts)
    if "content-length" in told:
        return _exactly(file, int(told["content-length"]))
    told["connection"] = "close"
    return file.read()


def _line(file: BufferedReader) -> bytes:
    return file.readline(_MOST_LINE_BYTES).rstrip(b"\r\n")


def _exactly(file: BufferedReader, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ValueError(f"cut after {len(content)} of {size} bytes")
    return content

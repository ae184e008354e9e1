"""Connections to one engine that are kept, through a socket or ssh, and a short way to ask over them.

Input: an endpoint. Output: connections for the libraries, and answers; ``OSError``. Out of bounds: what an
answer means, and trying again.
"""

import http.client
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from threading import Thread
from typing import Any

from urllib3 import HTTPConnectionPool, Timeout
from urllib3.connection import HTTPConnection

from dockwarden.engine.endpoint import Endpoint, ssh_command

AGENT = {"User-Agent": "dockwarden"}
CONNECT_SECONDS = 5.0
_NO_HTTP = (http.client.HTTPException, MemoryError, OverflowError)  # the latter two for lengths that strangers say


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
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """The status, headers and body of an answer, by the standard library alone, in less time than by urllib3.

        Each event makes us ask, and an inspect takes the engine no longer than a library. ``seconds``: to connect, and
        until the engine says more.
        """
        connection: Any = self._get_conn()
        try:
            if connection.sock is None:
                connection.timeout = seconds[0]
                connection.connect()
            connection.sock.settimeout(seconds[1])
            content = body.encode() if isinstance(body, str) else body
            with suppress(BrokenPipeError):  # who refuses a request need not read all of it, and has said why
                http.client.HTTPConnection.request(connection, method, path, content, headers)
            with http.client.HTTPConnection.getresponse(connection) as answer:
                return answer.status, answer.headers, answer.read()
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError) or not isinstance(error, _NO_HTTP):
                raise
            raise OSError(f"no HTTP: {error!r}") from error
        finally:
            self._put_conn(connection)

"""The wire to one Docker Engine: one keep-alive pool, streams of lines, one translation of errors.

Input: an endpoint, requests of ``client``. Output: decoded answers, lines of bytes, our errors. Out of bounds: what an
answer means, and retrying.
"""

import errno
import grp
import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout, connection_from_url, exceptions, make_headers
from urllib3.connection import HTTPConnection

from dockwarden.engine.endpoint import Endpoint, Tls, ssh_command
from dockwarden.errors import (
    ConfigError,
    ConflictError,
    DockwardenError,
    EngineError,
    EngineUnavailableError,
    NotFoundError,
)
from dockwarden.text import printable


class HttpError(Exception):
    """An answer that is no success: its status, and the beginning of its body."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class AbsentError(HttpError):
    """The engine does not have it."""


LIBRARY_ERRORS = (
    HttpError,
    exceptions.HTTPError,
    # Of sockets, of bodies that cannot be decoded, and of answers that have not the shape that a request expects.
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)
"""Everything that a request was seen to raise."""

_PING = "/_ping"
"""Asked without an API version, as every client does: a proxy before the engine may know it in no other form."""
_POOL_SIZE = 16
_CONNECT_SECONDS = 5.0
CHUNK_BYTES = 64 * 1024
_LINE_BYTES = 10 * 1024 * 1024
_MESSAGE_CHARACTERS = 500
_TIMEOUTS = (exceptions.TimeoutError, TimeoutError)
_REFUSALS = frozenset({401, 403, 407, 408, 429, 502, 503, 504})
_DONE = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


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


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class Client:
    """Requests to one endpoint in one API version, in none if that is empty; it does no I/O until asked."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, api_version: str, timeout: float) -> None:
        self.api_version = api_version
        self.refuses = ""  # why nothing but questions is sent
        self._timeout = timeout
        parts = urlsplit(endpoint.url)
        login, _, _ = parts.netloc.rpartition("@")
        self._headers = make_headers(user_agent="dockwarden", basic_auth=unquote(login) or None)
        self._base = f"/v{api_version}" if api_version else ""
        if endpoint.socket or endpoint.is_ssh:
            self._pool: HTTPConnectionPool = _Pool("localhost", maxsize=_POOL_SIZE, endpoint=endpoint)
            return
        self._base = parts.path.rstrip("/") + self._base
        settings = _tls_settings(tls) if tls and parts.scheme == "https" else {}
        self._pool = connection_from_url(endpoint.url, maxsize=_POOL_SIZE, **settings)

    def close(self) -> None:
        self._pool.close()

    def get(self, path: str, params: Mapping[str, object] | None = None) -> Any:
        """The decoded answer to a question; ``path`` is what follows the API version."""
        return json.loads(self.send("GET", path, params).data)

    def ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded answer to what changes something, None if there is none."""
        said = self.send(method, path, params, headers, json=body).data
        return json.loads(said) if said else None

    def open(self, method: str, path: str, read_seconds: float, **settings: Any) -> BaseHTTPResponse:
        """Ask for a stream, within which the engine may say nothing for ``read_seconds``; returns once it answers."""
        return self.send(method, path, read_seconds=read_seconds, preload_content=False, **settings)

    def send(
        self,
        method: str,
        path: str,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        read_seconds: float | None = None,
        **settings: Any,
    ) -> BaseHTTPResponse:
        """An answer that is a success, read to its end unless it is a stream. Raises HttpError, AbsentError."""
        if self.refuses and method != "GET":
            raise EngineError(self.refuses)
        url = path if path == _PING else self._base + path
        answer = self._pool.request(
            method,
            f"{url}?{urlencode(params)}" if params else url,
            headers={**self._headers, **(headers or {})},
            timeout=Timeout(connect=_CONNECT_SECONDS, read=read_seconds or self._timeout),
            retries=False,
            redirect=False,
            **settings,
        )
        if answer.status == HTTPStatus.OK or (method != "GET" and answer.status in _DONE):
            return answer
        try:
            body = answer.data if settings.get("preload_content", True) else next(answer.stream(CHUNK_BYTES), b"")
        finally:
            answer.close()
        raise (AbsentError if answer.status == HTTPStatus.NOT_FOUND else HttpError)(answer.status, body)


def segment(name: str) -> str:
    """A name that stays the segment of a URL that it is meant to be; strangers choose names."""
    if not name or any(part in ("", ".", "..") for part in name.split("/")):
        raise NotFoundError(f"no object can be called {name!r}")
    return quote(name, safe="/:")


def _tls_settings(tls: Tls) -> dict[str, Any]:
    for file in filter(None, (tls.cert_file, tls.key_file, tls.ca_file)):
        if not Path(file).is_file():
            raise ConfigError(f"DOCKER_CERT_PATH: {file} is no file")
    return {
        "cert_file": tls.cert_file or None,
        "key_file": tls.key_file or None,
        "ca_certs": tls.ca_file or None,
        "cert_reqs": "CERT_REQUIRED" if tls.verify else "CERT_NONE",
    }


class Lines(Iterator[bytes]):
    """The lines of a streamed answer, without their ends. Library errors pass through."""

    def __init__(self, response: BaseHTTPResponse) -> None:
        self._response = response
        self._lines = self._split()

    def __next__(self) -> bytes:
        return next(self._lines)

    def close(self) -> None:
        self._response.close()

    def _split(self) -> Iterator[bytes]:
        parts: list[bytes] = []
        size = 0
        with self._response:
            for chunk in self._response.stream(CHUNK_BYTES):
                *ends, rest = chunk.split(b"\n")
                for end in ends:
                    yield b"".join((*parts, end))
                    parts, size = [], 0
                parts.append(rest)
                size += len(rest)
                if size > _LINE_BYTES:
                    raise EngineError(f"event: a line is longer than {_LINE_BYTES} bytes")
            if size:
                yield b"".join(parts)


# -- errors --------------------------------------------------------------------------------------------


def translated(error: Exception, operation: str, endpoint: Endpoint) -> EngineError:
    """Our error for one of ``LIBRARY_ERRORS``, judged by HTTP status, else by errno, else by kind."""
    if isinstance(error, HttpError):
        return _from_status(error.status, error.body, operation, endpoint)
    chain = list(_chain(error))
    if any(isinstance(each, _TIMEOUTS) for each in chain):
        return EngineUnavailableError(f"{operation}: the engine at {endpoint} did not answer in time")
    if endpoint.is_ssh and any(isinstance(each, ConnectionError) for each in chain):
        return EngineUnavailableError(f"ssh to {endpoint} ended, and said why on standard error")
    for each in chain:
        if isinstance(each, OSError) and each.errno is not None:
            return EngineUnavailableError(_explain(each, endpoint))
    text = in_a_line(str(error)) or type(error).__name__
    if isinstance(error, ValueError | LookupError | TypeError | AttributeError | RecursionError):
        return EngineError(f"{operation}: the answer cannot be used: {text}")
    return EngineUnavailableError(f"{operation}: {text}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from, up to one of ours: that is the caller's story, not this call's."""
    following: BaseException | None = error
    while following is not None and not isinstance(following, DockwardenError):
        yield following
        following = following.__cause__ or following.__context__


def _from_status(status: int, body: bytes, operation: str, endpoint: Endpoint) -> EngineError:
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return EngineError(f"{operation}: {endpoint} redirects, so it is not a Docker Engine")
    message = _message(body)
    text = f"{operation}: HTTP {status}: {message}" if message else f"{operation}: HTTP {status}"
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError(message or text)
    if status == HTTPStatus.CONFLICT:
        return ConflictError(message or text)
    if status == HTTPStatus.FORBIDDEN:
        return EngineUnavailableError(f"a socket proxy or an authorization plugin denies this call: {text}")
    return EngineUnavailableError(text) if status in _REFUSALS else EngineError(text)


def _message(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return in_a_line(body.decode(errors="replace"))
    if isinstance(answer, dict) and isinstance(answer.get("message"), str):
        return in_a_line(answer["message"])
    return in_a_line(body.decode(errors="replace"))


def in_a_line(text: str) -> str:
    """Text of strangers for one line of a log."""
    return printable(" ".join(text.split()), _MESSAGE_CHARACTERS)


def _explain(error: OSError, endpoint: Endpoint) -> str:
    if error.errno in (errno.EACCES, errno.EPERM) and endpoint.socket:
        return f"permission denied on {endpoint.socket}{_remedy(endpoint.socket)}"
    if error.errno == errno.ENOENT and endpoint.socket:
        return f"{endpoint.socket} does not exist: is the engine running? DOCKER_HOST names another place"
    if error.errno == errno.ECONNREFUSED:
        return f"nothing listens at {endpoint}: is the engine running?"
    about = f": {error.filename}" if error.filename else ""
    return f"{endpoint}: {error.strerror or type(error).__name__}{about}"


def _remedy(path: str) -> str:
    try:
        gid = Path(path).stat().st_gid
    except OSError:
        return ""
    try:
        group = f"{grp.getgrgid(gid).gr_name} (gid {gid})"
    except KeyError:
        group = f"{gid}, which has no name here"
    return f", which belongs to group {group}: add the user to it, or run the container with --group-add {gid}"

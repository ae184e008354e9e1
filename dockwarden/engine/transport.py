"""The wire to one Docker Engine: one keep-alive pool, streams of lines, one translation of errors.

Input: an endpoint, requests of ``client``. Output: docker-py's client, lines of bytes, our errors. Out of bounds:
what an answer means. docker-py is used for its requests only; its credentials, version negotiation, event stream and
ssh are not (they read the user's files, hide failures, and connect anew for each request).
"""

import errno
import grp
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import docker
import requests
from docker.errors import DockerException
from docker.tls import TLSConfig
from urllib3 import exceptions

from dockwarden import errors
from dockwarden.engine.endpoint import Endpoint, Tls
from dockwarden.engine.pool import AGENT, CONNECT_SECONDS, QUESTIONS, Answer, Pool
from dockwarden.text import printable

LIBRARY_ERRORS = (
    DockerException,
    requests.RequestException,
    exceptions.HTTPError,
    # What the libraries let through: sockets, undecodable bodies, error bodies without the key they expect.
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)
"""Everything that a call through docker-py was seen to raise."""

CHUNK_BYTES = 64 * 1024
_LINE_BYTES = 10 * 1024 * 1024
_MESSAGE_CHARACTERS = 500
_TIMEOUTS = (exceptions.TimeoutError, TimeoutError)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OF_THE_ENGINE = (
    "active endpoints",
    "already exists in network",
    "cannot be connected",
    "conflicts with network",
    "in use",
    "not manually",
    "overlaps with",
    "pre-defined",
)
"""What engines say where they answer 403 themselves, as if a proxy forbade it."""
_TAKEN = "already using parent interface"  # another macvlan or ipvlan is, says an engine with 500
_AMBIGUOUS = ("multiple ids found with provided prefix", "matches found based on id prefix")
"""What engines say where nothing is called so, but several IDs begin like that."""
_REFUSALS = frozenset({401, 403, 407, 408, 429, 502, 503, 504})
_DENIALS = frozenset({403, 405})  # the second by a proxy that allows no request of this method; see also 404
_UNSEEN_GROUP = 65534  # of all that a namespace of users does not map; the overflow of Linux


class Client(docker.APIClient):
    """docker-py's low-level client for one endpoint and one API version; it does no I/O until asked."""

    def __init__(self, endpoint: Endpoint, tls: Tls | None, version: str, timeout: float) -> None:
        # Not APIClient's: that reads the registry credentials in the user's files, which are none of our
        # business as we never pull, and fails if one entry is broken.
        requests.Session.__init__(self)
        self._general_configs: dict[str, object] = {}
        self._version = version
        self.timeout = timeout  # type: ignore[assignment] # seconds need not be whole
        self.headers.update(AGENT)
        self.refuses = ""  # why nothing but questions is sent
        self.alone_until = 0.0  # until when it is known to be in no swarm, by the monotonic clock
        self.base_url = "http+docker://engine"
        if tls is not None:
            _check_files(tls)
        self._pool = Pool(endpoint, tls)

    def request(self, method: str, url: str, **settings: Any) -> requests.Response:  # type: ignore[override] # by name
        """One request over our pool: the library's takes twice as long, and asks proxies and files of the user."""
        params = {name: value for name, value in (settings.get("params") or {}).items() if value is not None}
        limit = settings.get("timeout", self.timeout)
        connect, read = limit if isinstance(limit, tuple) else (limit, limit)
        body, headers = settings.get("data"), {**AGENT, **(settings.get("headers") or {})}
        if settings.get("json") is not None:
            body, headers["Content-Type"] = json.dumps(settings["json"]), "application/json"
        where = url.removeprefix(self.base_url) + (f"?{urlencode(params, doseq=True)}" if params else "")
        response = requests.Response()
        response.url, response.encoding = url, "utf-8"
        answer = self._ask(method, where, (connect, read), body, headers)
        response.raw = answer if settings.get("stream") else BytesIO(answer.rest())
        response.status_code = answer.status
        response.headers.update(answer.headers)
        return response

    def _ask(self, method: str, where: str, *how: Any) -> Answer:
        if self.refuses and method not in QUESTIONS:
            raise errors.AnswerError(self.refuses)
        answer = self._pool.ask(method, where, *how)
        if answer.status in _REDIRECTS:
            answer.close()
            raise requests.TooManyRedirects
        return answer

    def close(self) -> None:
        super().close()
        self._pool.close()

    def read(self, path: str, operation: str, method: str = "GET", seconds: float = 0.0) -> object:
        """The decoded answer, without what ``request`` does for docker-py. ``seconds``: waited for, if longer."""
        seconds = max(seconds, float(self.timeout or 0))
        answer = self._ask(method, f"/v{self.api_version}{path}", (CONNECT_SECONDS, seconds))
        body = answer.rest()
        if answer.status != requests.codes.ok:
            raise from_status(answer.status, body, operation)
        return json.loads(body.decode(errors="replace"))

    def open(self, method: str, path: str, operation: str, read_seconds: float, **more: Any) -> requests.Response:
        """Ask for something whose answer is a stream; returns once the engine has answered with 200.

        ``path`` follows the API version; the engine may say nothing for ``read_seconds``; ``more``: see ``request``.
        """
        more = {"stream": True, "timeout": (CONNECT_SECONDS, read_seconds), **more}
        response = self.request(method, f"{self.base_url}/v{self.api_version}{path}", **more)
        is_done = method != "GET" and response.status_code in (requests.codes.no_content, requests.codes.not_modified)
        if response.status_code != requests.codes.ok and not is_done:
            with response:
                raise from_status(response.status_code, response.content, operation)
        return response


def _check_files(tls: Tls) -> None:
    pair = (tls.cert_file, tls.key_file) if tls.cert_file or tls.key_file else None
    try:
        TLSConfig(client_cert=pair, ca_cert=tls.ca_file or None, verify=tls.verify)
    except DockerException as error:
        missing = ", ".join(file for file in tls[:3] if file and not os.access(file, os.F_OK))
        raise errors.ConfigError(f"DOCKER_CERT_PATH: {'there is no ' if missing else error}{missing}") from error


class Lines:
    """The lines of a streamed answer, without their ends, once. Library errors pass through."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self.close = response.close

    def __iter__(self) -> Iterator[bytes]:
        parts: list[bytes] = []
        size = 0
        with self._response:
            for chunk in self._response.iter_content(CHUNK_BYTES):
                *ends, rest = chunk.split(b"\n")
                for end in ends:
                    yield b"".join((*parts, end))
                    parts, size = [], 0
                parts.append(rest)
                size += len(rest)
                if size > _LINE_BYTES:
                    raise errors.AnswerError(f"event: a line is longer than {_LINE_BYTES} bytes")
            if size:
                yield b"".join(parts)


def translated(error: Exception, operation: str, endpoint: Endpoint) -> errors.EngineError:
    """Our error for one of ``LIBRARY_ERRORS``, judged by HTTP status, else by errno, else by kind."""
    chain = list(_chain(error))
    for each in chain:
        if isinstance(each, requests.HTTPError) and each.response is not None:
            return from_status(each.response.status_code, each.response.content, operation)
    if any(isinstance(each, _TIMEOUTS) and not isinstance(each, exceptions.NewConnectionError) for each in chain):
        return errors.EngineUnavailableError(f"{operation}: the engine at {endpoint} did not answer in time")
    if endpoint.is_ssh and any(isinstance(each, ConnectionError) for each in chain):
        return errors.EngineUnavailableError(f"ssh to {endpoint} ended, and said why on standard error")
    for each in chain:
        if isinstance(each, OSError) and each.errno is not None:
            return errors.EngineUnavailableError(_explain(each, endpoint))
    if isinstance(error, requests.TooManyRedirects):
        return errors.AnswerError(f"{operation}: {endpoint} redirects, so it is not a Docker Engine")
    text = in_a_line(str(error)) or type(error).__name__
    if isinstance(error, ValueError | LookupError | TypeError | AttributeError | RecursionError):
        return errors.AnswerError(f"{operation}: the answer cannot be used: {text}")
    return errors.EngineUnavailableError(f"{operation}: {text}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from, up to one of ours: that is the caller's story, not this call's."""
    following: BaseException | None = error
    while following is not None and not isinstance(following, errors.DockwardenError):
        yield following
        following = following.__cause__ or following.__context__


def from_status(status: int, body: bytes, operation: str) -> errors.EngineError:
    """Our error for an answer that is not a success."""
    message, is_of_engine = _message(body)
    text = f"{operation}: HTTP {status}: {message}" if message else f"{operation}: HTTP {status}"
    is_denied = status in _DENIALS or (status == requests.codes.not_found and not is_of_engine)
    if (status == requests.codes.not_found and is_of_engine) or any(said in message.lower() for said in _AMBIGUOUS):
        return errors.NotFoundError(message or text)
    is_refused = is_denied and any(said in message for said in _OF_THE_ENGINE)
    if status == requests.codes.conflict or is_refused or _TAKEN in message:
        return errors.ConflictError(message or text)
    if is_denied:
        return errors.DeniedError(f"a socket proxy or an authorization plugin denies this call: {text}")
    return errors.EngineUnavailableError(text) if status in _REFUSALS else errors.AnswerError(text)


def _message(body: bytes) -> tuple[str, bool]:
    """What an answer says, and whether an engine may have said it: in its form, or nothing, as after HEAD."""
    with suppress(ValueError, RecursionError):
        answer = json.loads(body)
        if isinstance(answer, dict) and isinstance(answer.get("message"), str):
            return in_a_line(answer["message"]), True
    return in_a_line(body.decode(errors="replace")), not body


def in_a_line(text: str) -> str:
    """Text of strangers for one line of a log."""
    return printable(" ".join(text.split()), _MESSAGE_CHARACTERS)


def _explain(error: OSError, endpoint: Endpoint) -> str:
    if error.errno in (errno.EACCES, errno.EPERM) and endpoint.socket:
        return f"permission denied on {endpoint.socket}{_remedy(endpoint.socket)}"
    if error.errno == errno.ENOENT and endpoint.socket:
        elsewhere = "If it is elsewhere, DOCKER_HOST says where; into a container it has to be mounted"
        return f"{endpoint.socket} does not exist: is the engine running? {elsewhere}"
    if error.errno == errno.ECONNREFUSED:
        return f"nothing listens at {endpoint}: {_why_silent(endpoint.socket)}"
    about = f": {error.filename}" if error.filename else ""
    where = ": DOCKER_HOST or the docker context names it" if isinstance(error, socket.gaierror) else ""
    return f"{endpoint}: {error.strerror or type(error).__name__}{about}{where}"


def _why_silent(path: str) -> str:
    with suppress(OSError):
        found = Path(path).stat() if path else None  # an engine elsewhere has none
        if found and stat.S_ISDIR(found.st_mode) and not any(Path(path).iterdir()):
            return "it is no socket; where there is none to mount, Docker makes a folder, which has to go first"
        if found and not stat.S_ISSOCK(found.st_mode):
            return "it is no socket"
        if found and not found.st_nlink:  # only a mount still holds it
            return "the engine has removed this socket since it was mounted; restart this container to have the new one"
    return "is the engine running?"


def _remedy(path: str) -> str:
    try:
        gid = Path(path).stat().st_gid
    except OSError:
        return ""
    if gid == _UNSEEN_GROUP:
        return (
            ", whose group cannot be told in a namespace of users: name it in SupplementaryGroups= of the unit"
            " (`stat -c %g` on the host says it), or run the container with --userns=host"
        )
    try:
        group = f"{grp.getgrgid(gid).gr_name} (gid {gid})"
    except KeyError:
        group = f"{gid}, which has no name here"
    return f", which belongs to group {group}: add the user to it, or run the container with --group-add {gid}"

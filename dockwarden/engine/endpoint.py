"""Where an engine is: the addresses that people give, and the contexts of the docker command.

Input: the environment, an address. Output: an endpoint and what reaches it. Out of bounds: connecting. Contexts are
read here: docker-py finds none without a ``config.json``, and drops TLS where there is no certificate of a client.
"""

import json
import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypedDict
from urllib.parse import unquote, urlsplit

from docker.errors import DockerException
from docker.utils import parse_host

from dockwarden.config.files import content, docker_config
from dockwarden.engine.fields import Fields
from dockwarden.errors import AnswerError, ConfigError, EngineError
from dockwarden.text import because, printable

_DEFAULT_SOCKET = "/var/run/docker.sock"
_BY_HOST = "DOCKER_HOST"
_DEFAULT_CONTEXT = "default"
_TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
_CONFIG_BYTES = 4 * 1024 * 1024
_PORTLESS = re.compile(r"(\[[^]]*\]|[^:@/?]*)([/?].*)?")
_PORT, _TLS_PORT = 2375, 2376  # of the docker command, where an address names none


def _masked(address: str) -> str:
    return re.sub(r"(?<=//)[^/]*@|^[^/\s]*@", "***@", re.sub(r"\?\S*", "?***", address))


class Endpoint(NamedTuple):
    """Where an engine listens: the path of its socket, or a URL; one of both is empty."""

    socket: str
    url: str

    @property
    def is_ssh(self) -> bool:
        """Whether the ssh command connects to it."""
        return self.url.startswith("ssh://")

    def __str__(self) -> str:
        return f"unix://{self.socket}" if self.socket else _masked(self.url)


class Tls(NamedTuple):
    """Files for a TLS endpoint, "" for none; without ``verify`` the engine's certificate is not checked."""

    ca_file: str
    cert_file: str
    key_file: str
    verify: bool


class Connection(TypedDict):
    """What ``DockerEngine`` needs to know to reach an engine; ``said_by`` is who said so, for people."""

    base_url: str
    tls: Tls | None
    said_by: str


def from_environment(env: Mapping[str, str]) -> Connection:
    """What ``DOCKER_HOST``, ``DOCKER_TLS_VERIFY``, ``DOCKER_CERT_PATH`` mean, and without a host the CLI's context.

    Raises ConfigError: the address is of a kind that dockwarden does not speak, or there is no such context.
    """
    base_url = env.get("DOCKER_HOST", "").strip()
    if not base_url:
        return _from_context(env.get("DOCKER_CONTEXT", "").strip())
    verify, folder = bool(env.get("DOCKER_TLS_VERIFY")), env.get("DOCKER_CERT_PATH", "")
    tls = None
    if not base_url.startswith(("unix://", "http+unix://")) and (verify or folder or env.get("DOCKER_TLS")):
        certs = Path(folder) if folder else Path(env.get("HOME", "/root")) / ".docker"
        ca, *own = (str(certs / name) for name in _TLS_FILES)
        cert, private = (each if os.access(each, os.F_OK) else "" for each in own)  # not every engine asks who we are
        tls = Tls(ca, cert, private, verify)
    locate(base_url, tls)
    return Connection(base_url=base_url, tls=tls, said_by=_BY_HOST)


def _from_context(name: str) -> Connection:
    """The engine of a context, of the current one if none is named, as the docker command finds it."""
    folder = docker_config().parent
    with suppress(PermissionError, EngineError):  # then it says nothing, to the docker command, either
        name = name or _decoded(folder / "config.json").text("currentcontext", "")
    name = name or _DEFAULT_CONTEXT
    said_by, key = f"context {printable(name)}", sha256(os.fsencode(name)).hexdigest()
    if name == _DEFAULT_CONTEXT:
        return Connection(base_url=f"unix://{_DEFAULT_SOCKET}", tls=None, said_by=said_by)
    file = folder / "contexts/meta" / key / "meta.json"
    if not file.exists():
        raise ConfigError(f"{said_by} does not exist; `docker context ls` shows which do, DOCKER_HOST goes first")
    try:
        told = _decoded(file)
        if "docker" not in told.names("endpoints"):
            raise AnswerError(f"{file} has no engine's address")
        told = told.nested("endpoints").nested("docker")
        base_url, is_unverified = told.text("host", "").strip(), told.flag("skiptlsverify")
    except (OSError, EngineError) as error:
        raise ConfigError(f"{said_by}: {because(error)}") from error
    certs = folder / "contexts/tls" / key / "docker"
    ca, cert, private = (str(each) if each.is_file() else "" for each in map(certs.joinpath, _TLS_FILES))
    tls = Tls(ca, cert, private, not is_unverified) if ca or cert or is_unverified else None
    base_url = base_url or f"unix://{_DEFAULT_SOCKET}"
    locate(base_url, tls, said_by)
    return Connection(base_url=base_url, tls=tls, said_by=said_by)


def _decoded(file: Path) -> Fields:
    """A file of the docker command, keys in small letters, empty if none. PermissionError, EngineError, ConfigError."""
    try:
        text = content(file, _CONFIG_BYTES)
        read = json.loads(text, object_pairs_hook=lambda pairs: {key.lower(): value for key, value in pairs})
        return Fields(read, str(file))
    except (FileNotFoundError, NotADirectoryError):
        return Fields({}, str(file))
    except PermissionError:
        raise
    except OSError as error:
        raise ConfigError(f"{file}: {because(error)}") from error
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"{file}: {because(error)}") from error


def locate(base_url: str, tls: Tls | None, said_by: str = _BY_HOST) -> Endpoint:
    """The endpoint that an address names. Raises ConfigError, in which a password is not told."""
    told = _masked(printable(base_url.strip()))
    scheme, separator, rest = base_url.strip().partition("://")
    if separator and scheme in ("unix", "http+unix"):
        path = unquote(rest) if scheme == "http+unix" else rest
        return Endpoint("/" + path.lstrip("/") if path else _DEFAULT_SOCKET, "")
    if separator and scheme == "ssh":
        return Endpoint("", _ssh(base_url.strip(), f"{said_by}: {told}"))
    if scheme == "tcp" and (bare := _PORTLESS.fullmatch(rest)):
        base_url = f"tcp://{bare[1] or 'localhost'}:{_TLS_PORT if tls else _PORT}{bare[2] or ''}"
    if not separator or scheme not in ("tcp", "http", "https"):
        raise ConfigError(f"{said_by}: {told}: use unix:///path, tcp://host:port or ssh://user@host")
    try:
        return Endpoint("", str(parse_host(base_url, tls=tls is not None)))
    except (DockerException, ValueError) as error:
        raise ConfigError(f"{said_by}: {told}: {_masked(printable(str(error)))}") from error


def _ssh(url: str, told: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{told}: {error}") from error
    if parts.password is not None or parts.query or parts.fragment or not parts.hostname or port == 0:
        raise ConfigError(
            f"{told}: use ssh://user@host:port/path/of/the/socket, without a password; all but host may be left out"
        )
    return url


def ssh_command(url: str) -> list[str]:
    """What connects to the engine at an ssh address, as the docker command does it; never asks for anything."""
    parts = urlsplit(url)
    user = ["-l", unquote(parts.username)] if parts.username else []
    port = ["-p", str(parts.port)] if parts.port else []
    host = [f"--host={shlex.quote(f'unix://{unquote(parts.path)}')}"] if parts.path.strip("/") else []
    host_name = re.sub(r":\d*$", "", parts.netloc.rpartition("@")[2]).strip("[]")  # in its own case
    there = ["--", host_name, "docker", *host, "system", "dial-stdio"]
    return ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-T", *user, *port, *there]

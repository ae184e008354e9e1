"""Where an engine is: the addresses that people give, and the contexts of the docker command.

Input: the environment, an address. Output: an endpoint and what reaches it. Out of bounds: connecting; docker-py reads
the contexts.
"""

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypedDict
from urllib.parse import unquote, urlsplit

from docker.context import ContextAPI
from docker.context.config import get_current_context_name
from docker.errors import DockerException
from docker.utils import parse_host
from docker.utils.config import find_config_file

from dockwarden.config.files import content
from dockwarden.errors import ConfigError
from dockwarden.text import because, printable

_DEFAULT_SOCKET = "/var/run/docker.sock"
_BY_HOST = "DOCKER_HOST"
_CONFIG_BYTES = 4 * 1024 * 1024


def _masked(address: str) -> str:
    return re.sub(r"//[^/]*@", "//***@", address)


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
    """Files for a TLS endpoint; without ``verify`` the engine's certificate is not checked."""

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
    if base_url.startswith(("unix://", "http+unix://")) or not (verify or folder):
        locate(base_url, None)
        return Connection(base_url=base_url, tls=None, said_by=_BY_HOST)
    certs = Path(folder) if folder else Path(env.get("HOME", "/root")) / ".docker"
    tls = Tls(str(certs / "ca.pem"), str(certs / "cert.pem"), str(certs / "key.pem"), verify)
    locate(base_url, tls)
    return Connection(base_url=base_url, tls=tls, said_by=_BY_HOST)


def _from_context(name: str) -> Connection:
    """The engine of a context, of the current one if none is named, as the docker command finds it."""
    file = "" if name else str(find_config_file() or "")
    try:
        with suppress(PermissionError):  # then it says nothing to the library, either
            _ = content(Path(file), _CONFIG_BYTES) if file else b""  # the library would wait for a FIFO
        context: Any = ContextAPI.get_context(name)
    except OSError as error:
        raise ConfigError(f"{file or name}: {because(error)}") from error
    except Exception as error:  # of whatever kind docker-py has for it
        raise ConfigError(f"context {name}: {printable(' '.join(str(error).split()))}") from error
    if context is None:
        called = name or f"{get_current_context_name()}, which the docker command uses now,"
        raise ConfigError(
            f"context {called} does not exist; `docker context ls` shows which do, DOCKER_HOST goes first"
        )
    said_by = f"context {context.name}"
    config = context.TLSConfig
    tls = Tls(config.ca_cert, config.cert[0], config.cert[1], bool(config.verify)) if config and config.cert else None
    base_url = (context.Host or "").strip() or f"unix://{_DEFAULT_SOCKET}"
    locate(base_url, tls, said_by)
    return Connection(base_url=base_url, tls=tls, said_by=said_by)


def locate(base_url: str, tls: Tls | None, said_by: str = _BY_HOST) -> Endpoint:
    """The endpoint that an address names. Raises ConfigError, in which a password is not told."""
    told = _masked(printable(base_url.strip()))
    scheme, separator, rest = base_url.strip().partition("://")
    if separator and scheme in ("unix", "http+unix"):
        path = unquote(rest) if scheme == "http+unix" else rest
        return Endpoint("/" + path.lstrip("/") if path else _DEFAULT_SOCKET, "")
    if separator and scheme == "ssh":
        return Endpoint("", _ssh(base_url.strip(), f"{said_by}: {told}"))
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
    host = [f"--host={shlex.quote(f'unix://{parts.path}')}"] if parts.path.strip("/") else []
    there = ["--", parts.hostname or "", "docker", *host, "system", "dial-stdio"]
    return ["ssh", "-o", "BatchMode=yes", *user, *port, *there]

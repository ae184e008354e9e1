"""Which proxy stands between us and a server: what HTTP_PROXY, HTTPS_PROXY and NO_PROXY say, as Docker reads them.

Input: the environment, a server. Output: a ``Proxy``, or None. Out of bounds: speaking to it. Only proxies that are
themselves spoken to without TLS are understood.
"""

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from dockwarden.errors import ConfigError
from dockwarden.registry.message import Url


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy listens, and the value of the header that it wants, if any."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What it is told besides the request."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}


class Proxies:
    """The proxies of this process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Names in lower case come first, as everywhere. Raises ConfigError for a proxy that cannot be used."""
        said = {name: environ.get(name) or environ.get(name.upper(), "") for name in _NAMES}
        self._by_scheme = {name.partition("_")[0]: _proxy(name, said[name]) for name in _NAMES[:2]}
        self._spared = [part.strip().lower() for part in said["no_proxy"].split(",") if part.strip()]

    @property
    def all(self) -> set[Proxy]:
        return {proxy for proxy in self._by_scheme.values() if proxy}

    def to(self, server: Url) -> Proxy | None:
        """The proxy for a server; never for one on this host."""
        if is_loopback(server.host) or any(_spares(part, server) for part in self._spared):
            return None
        return self._by_scheme[server.scheme]


_NAMES = ("http_proxy", "https_proxy", "no_proxy")


def _proxy(name: str, text: str) -> Proxy | None:
    if not text:
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(f"environment {name.upper()}: write http://host:port or http://user:password@host:port")
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    return Proxy(parts.hostname, port, f"Basic {b64encode(login.encode()).decode()}" if login else "")


def _spares(part: str, server: Url) -> bool:
    """Whether a part of NO_PROXY, a name, address, network or ``*``, is about the server."""
    with suppress(ValueError):
        return ipaddress.ip_address(server.host) in ipaddress.ip_network(part, strict=False)
    name, colon, port = part.partition(":")
    if colon and port != str(server.port):
        return False
    name = name.removeprefix("*")
    if not name:
        return part.startswith("*")
    return server.host == name or server.host.endswith(name if name.startswith(".") else f".{name}")


def is_loopback(host: str) -> bool:
    """Whether a host is this one, as it is written."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

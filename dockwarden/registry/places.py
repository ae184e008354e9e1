"""Where a registry is: its host, with or without TLS, whose certificates it may have, and who may answer for it.

Input: what the settings say of hosts, what the engine says of mirrors and of insecure registries, its ``hosts.toml``.
Output: ``Site`` values, in the order in which they are to be tried. Out of bounds: trying.
"""

import ipaddress
import os
import socket
import ssl
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from dockwarden.config.files import content, state
from dockwarden.config.settings import RegistrySettings
from dockwarden.model import EngineInfo
from dockwarden.reference import DEFAULT_REGISTRY
from dockwarden.registry import hosts_file
from dockwarden.registry.message import FailedError, Url, parse_url

CERTIFICATES = Path("/etc/docker/certs.d")
_HUB = "registry-1.docker.io"
_Known = tuple[Path, tuple[int, ...]]  # a file, and what changes with it
_Pair = tuple[Path, Path, tuple[int, ...]]  # a certificate of ours, its key, and what changes with the first


class Place(NamedTuple):
    url: Url
    is_verified: bool = True


class Site(NamedTuple):
    """One host that answers for a registry, and the addresses that are tried until one speaks.

    Attributes:
        host: under which its settings, certificates and logins are found.
        trusts_plain: tokens may be fetched, and passwords sent, without TLS.
        base: below which its repositories are.
        told: what the engine's file says of it.
        stands_for: the registry, where it has to be told that.
    """

    host: str
    places: tuple[Place, ...]
    trusts_plain: bool
    base: str = "/v2/"
    told: hosts_file.Host | None = None
    stands_for: str = ""


class Places:
    """The addresses of all registries. Thread-safe."""

    def __init__(self, hosts: Mapping[str, RegistrySettings], certificates: Path) -> None:
        self._hosts = hosts
        self._engine: EngineInfo | None = None
        self._certificates = certificates

    def heed(self, engine: EngineInfo | None) -> bool:
        """Go where the engine goes; whether that is elsewhere than before."""
        before, self._engine = self._engine, engine
        return _reach(before) != _reach(engine)

    def file(self, registry: str) -> tuple[int, ...] | None:
        """What changes with the engine's own file about a registry; None without one."""
        with suppress(OSError):
            if folder := self._folder(registry):
                return state(folder / "hosts.toml")
        return None

    def sites(self, registry: str) -> list[Site]:
        """Who answers for a registry: its mirrors, then itself. May ask the resolver. Raises FailedError."""
        mirrors, insecure = _reach(self._engine)
        found = [self._site(registry, insecure)]
        if folder := self._folder(registry):
            with suppress(OSError, ValueError, AttributeError, TypeError, FailedError):  # the engine passes over it
                found = [self._told(host, found[0]) for host in hosts_file.hosts(folder / "hosts.toml")]
        for mirror in reversed(mirrors) if registry == DEFAULT_REGISTRY and len(found) == 1 else ():
            with suppress(FailedError):  # what no URL is, no registry is
                found = [*self._mirror(mirror, insecure), *found]
        return found

    def concurrency(self, registry: str) -> int:
        return (self._hosts.get(registry) or RegistrySettings()).concurrency

    def context(self, site: Site, *, is_verified: bool) -> ssl.SSLContext:
        """How TLS is spoken with a host. Raises FailedError where its authority's certificates cannot be used.

        A folder counts where the engine's file says nothing.
        """
        setting, found = self._hosts.get(site.host), list[Path]()
        with suppress(OSError):
            folder = self._folder(site.host) or self._certificates / site.host
            found = sorted(folder.iterdir()) if site.told is None else []
        pairs = [(path, path.with_suffix(".key")) for path in found if path.suffix == ".cert"]
        authorities = [path for path in found if path.suffix == ".crt"]
        if site.told:
            pairs, authorities = [*site.told.ours], [*site.told.authorities]
        if setting and setting.ca_file:
            authorities = [setting.ca_file]
        readable = [pair for pair in pairs if all(os.access(path, os.R_OK) for path in pair)]  # mostly for root alone
        try:
            ours = tuple((certificate, key, state(certificate)) for certificate, key in readable)
            return _context(ours, tuple((path, state(path)) for path in authorities), is_verified=is_verified)
        except OSError:
            raise FailedError("tls") from None

    def _folder(self, registry: str) -> Path | None:
        """Where its file or its certificates are, if the engine reads the former. Settings say more."""
        if self._engine is None or not hosts_file.is_read_by(self._engine) or self._is_set(registry):
            return None
        with suppress(OSError):  # a folder that we may not look into
            return hosts_file.folder(self._certificates, registry)
        return None

    def _is_set(self, registry: str) -> bool:
        host = self._hosts.get(registry)
        return host is not None and (host.http is not None or host.ca_file is not None)

    def _told(self, host: hosts_file.Host, registry: Site) -> Site:
        """Raises FailedError."""
        site = registry
        if host.server:
            url = parse_url(host.server)
            base = url.target.partition("?")[0].rstrip("/")
            base = base if host.is_whole or base.endswith("/v2") else f"{base}/v2"
            plain = url.scheme == "http"
            site = Site(url.netloc, (Place(url.server),), plain, f"{base}/", stands_for=registry.host)
            if url.netloc == registry.places[0].url.netloc:  # it, and so are its logins, also where its name is another
                site = site._replace(host=registry.host, stands_for="")
            # TLS comes first where anything is said of it.
            if plain and (host.authorities or host.ours or not host.is_verified):
                site = site._replace(places=(Place(url.server._replace(scheme="https")), *site.places))
        if not host.is_verified:
            site = site._replace(places=tuple(place._replace(is_verified=False) for place in site.places))
        return site._replace(told=host)

    def _mirror(self, mirror: str, insecure: Collection[str]) -> list[Site]:
        """Once, or where it has a path twice: engines before 28 ask below it, later ones put it first."""
        url = parse_url(mirror)
        path = url.target.partition("?")[0].strip("/")
        site = self._site(url.netloc, insecure, http=url.scheme == "http")
        return [site._replace(base=base) for base in (f"/v2/{path}/", f"/{path}/v2/")] if path else [site]

    def _site(self, registry: str, insecure: Collection[str], *, http: bool | None = None) -> Site:
        host, is_set = self._hosts.get(registry), self._is_set(registry)
        http = host.http if http is None and host else http
        netloc = _HUB if registry == DEFAULT_REGISTRY else registry
        secure, plain = parse_url(f"https://{netloc}").server, parse_url(f"http://{netloc}").server
        is_here = secure.is_loopback
        if http:
            return Site(registry, (Place(plain),), trusts_plain=True)
        if http is None and is_here:  # which every engine calls insecure
            return Site(registry, (Place(plain), Place(secure, is_verified=is_set)), trusts_plain=True)
        if not is_set and _is_insecure(registry, secure.host, insecure):  # settings say more than the engine's networks
            places = (Place(secure, is_verified=False), Place(plain))
            return Site(registry, places if http is None else places[:1], trusts_plain=True)
        return Site(registry, (Place(secure),), trusts_plain=is_here)


def _reach(engine: EngineInfo | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (engine.mirrors, engine.insecure_registries) if engine else ((), ())


def _is_insecure(registry: str, host: str, insecure: Collection[str]) -> bool:
    """By name, or by any of its addresses, as the engine itself decides; Docker Hub never is."""
    if registry == DEFAULT_REGISTRY:
        return False
    if registry in insecure:
        return True
    networks = []
    for text in insecure:
        with suppress(ValueError):
            networks.append(ipaddress.ip_network(text, strict=False))
    addresses = _addresses(host) if networks else []
    return any(address in network for address in addresses for network in networks)


def _addresses(host: str) -> "list[ipaddress.IPv4Address | ipaddress.IPv6Address]":
    with suppress(OSError, UnicodeError):  # who cannot be found will not answer either
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]
    return []


@lru_cache
def _context(ours: tuple[_Pair, ...], authorities: tuple[_Known, ...], *, is_verified: bool) -> ssl.SSLContext:
    """As the engine understands certificates and ciphers: any that is trusted ends a chain. Raises OSError."""
    context = ssl.create_default_context()
    context.set_ciphers("DEFAULT:@SECLEVEL=1")  # older servers, and keys of 1024 bits, will do
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = False  # urllib3 compares names then, which knows *.lan; OpenSSL does not
    context.hostname_checks_common_name = False
    if not is_verified:
        context.verify_mode = ssl.CERT_NONE
    for path, _ in authorities if is_verified else ():
        content(path)  # a FIFO would be waited for
        try:
            context.load_verify_locations(path)
        except ssl.SSLError:
            if len(authorities) == 1:  # else the others may do: it may be no certificate, or of another form
                raise
    for path, key, _ in ours:
        content(path)
        context.load_cert_chain(path, key, password=str)  # or OpenSSL asks the terminal for one
    return context

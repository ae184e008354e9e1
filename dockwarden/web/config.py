"""The web configuration file of Prometheus' exporter-toolkit: who may connect, with which certificates and passwords.

Input: the file that ``web.config_file`` names, and those it names. Output: a frozen ``Access``, or a ``ConfigError``
that names each place. Out of bounds: asking for passwords, serving. A file that asks for what Python's TLS cannot do is
refused, never understood as something weaker.
"""

import asyncio
import re
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from dockwarden.config.files import content
from dockwarden.config.source import Source, read
from dockwarden.errors import ConfigError

_VERSIONS = {"TLS10": 10, "TLS11": 11, "TLS12": 12, "TLS13": 13}
_OPENSSL_VERSIONS = {12: ssl.TLSVersion.TLSv1_2, 13: ssl.TLSVersion.TLSv1_3}
_OLDEST = 12  # OpenSSL serves nothing older as Debian and others build it
_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_CIPHERS = {
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    # Those of TLS 1.3 are always on, in Go as in OpenSSL.
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}
_CLIENTS = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,  # asked for and not looked at; we look at none either
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = ("RequireAnyClientCert", "RequireClientCert")
_HEADERS: dict[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
_LOOK_SECONDS = 1.0
_BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_SECTIONS: dict[str, dict[str, type]] = {
    "tls_server_config": {
        "cert_file": str,
        "key_file": str,
        "client_auth_type": str,
        "client_ca_file": str,
        "cipher_suites": list,
        "curve_preferences": list,
        "min_version": str,
        "max_version": str,
        "prefer_server_cipher_suites": bool,
    },
    "http_server_config": {"http2": bool, "headers": dict},
}
_WORDS = {str: "text", bool: "true or false", list: "a list", dict: "a mapping"}
_log = structlog.get_logger("dockwarden.web")


@dataclass(frozen=True)
class Access:
    """Who may connect. Without a context the server speaks plain HTTP; without users nobody is asked who he is.

    Attributes:
        users: bcrypt hashes by name.
        headers: what every answer has besides.
        files: all that was read.
    """

    context: ssl.SSLContext | None = None
    users: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


class LiveAccess:
    """The file's content as it is now: read again when it, a certificate or a key has changed.

    Files may be on a server that is gone, so a thread of its own looks, and is not waited for longer than a moment;
    ``last`` is what it saw last, for all others.
    """

    def __init__(self, file: Path | None) -> None:
        """Raises ConfigError where the file cannot be used."""
        self._file = file
        self.last = read_access(file) if file else Access()
        self._seen = _state(self.last.files)
        self._look: asyncio.Future[None] | None = None
        self._is_late = False

    async def fresh(self) -> Access:
        """What holds now, or what held last where the files do not answer."""
        if self._file is None:
            return self.last
        if self._look is None or self._look.done():
            loop = asyncio.get_running_loop()
            look = self._look = loop.create_future()
            threading.Thread(target=self._look_now, args=(loop, look), name="access", daemon=True).start()
            self._is_late = False
        if not self._is_late:
            try:
                await asyncio.wait_for(asyncio.shield(self._look), _LOOK_SECONDS)
            except TimeoutError:
                self._is_late = True
                _log.error(
                    "web.config_failed", problems=(f"{self._file}: does not answer",), note="what was in use stays"
                )
        return self.last

    def _look_now(self, loop: asyncio.AbstractEventLoop, look: "asyncio.Future[None]") -> None:
        try:
            self.current()
        except Exception as error:  # noqa: BLE001 - who waits for it must go on, whatever is in the file
            _log.error("web.config_failed", problems=(repr(error),), note="what was in use stays", exc_info=error)
        with suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(look.set_result, None)

    def current(self) -> Access:
        """What holds now. A change that cannot be used changes nothing and is logged once."""
        if self._file is None or (state := _state(self.last.files)) == self._seen:
            return self.last
        self._seen = state
        try:
            access = read_access(self._file)
            if (access.context is None) != (self.last.context is None):
                raise ConfigError(f"{self._file}: TLS is switched on and off by a new start only")
        except ConfigError as error:
            _log.error("web.config_failed", problems=error.problems, note="what was in use stays")
            return self.last
        if access.files != self.last.files:
            self._seen = _state(access.files)
        self.last = access
        _log.info("web.config_reloaded", file=str(self._file))
        return access


def _state(files: tuple[Path, ...]) -> list[tuple[int, ...]]:
    return [_stat(file) for file in files]


def _stat(file: Path) -> tuple[int, ...]:
    try:
        stat = file.stat()
    except OSError:
        return ()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def read_access(file: Path) -> Access:
    """Read a web configuration file and what it names.

    Raises:
        ConfigError: with one problem per place.
    """
    try:
        source = read(str(file), content(file))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    if not source.problems:
        _check(source)
    if source.problems:
        raise ConfigError(*source.problems)
    data = source.data or {}
    tls = {key: value for key, value in (data.get("tls_server_config") or {}).items() if value is not None}
    for key in ("cert_file", "key_file", "client_ca_file"):
        if tls.get(key):
            tls[key] = str(file.parent / tls[key])
    context = _context(source, tls)
    if source.problems:
        raise ConfigError(*source.problems)
    named = [Path(tls[key]) for key in ("cert_file", "key_file", "client_ca_file") if tls.get(key)]
    headers = (data.get("http_server_config") or {}).get("headers") or {}
    return Access(context, data.get("basic_auth_users") or {}, headers, (file, *named))


# -- what may stand in it ---------------------------------------------------------------------------------------


def _check(source: Source) -> None:
    data = source.data or {}
    if not isinstance(data, dict):
        source.note(1, 1, "file: must be a mapping, such as `tls_server_config: {…}`")
        return
    for name, section in data.items():
        if name == "basic_auth_users":
            _check_users(source, section)
        elif name not in _SECTIONS:
            source.refuse((name,), f"no such section; there are {', '.join(_SECTIONS)}, basic_auth_users")
        elif section is not None and not isinstance(section, dict):
            source.refuse((name,), "must be a mapping")
        else:
            _check_section(source, name, section or {})


def _check_section(source: Source, name: str, section: Mapping[str, Any]) -> None:
    known = _SECTIONS[name]
    for key, value in section.items():
        if key not in known:
            source.refuse((name, key), f"no such key; there are {', '.join(known)}")
        elif value is not None and not isinstance(value, known[key]):
            source.refuse((name, key), f"must be {_WORDS[known[key]]}")
        elif isinstance(value, dict):
            _check_headers(source, value)


def _check_users(source: Source, users: object) -> None:
    if users is not None and not isinstance(users, dict):
        source.refuse(("basic_auth_users",), "must be a mapping of names to bcrypt hashes")
        return
    for name, hashed in (users or {}).items():
        if not isinstance(hashed, str) or not _BCRYPT.fullmatch(hashed):
            source.refuse(("basic_auth_users", name), "must be a bcrypt hash, such as `htpasswd -nB NAME` prints")


def _check_headers(source: Source, headers: Mapping[str, object]) -> None:
    for name, value in headers.items():
        path = ("http_server_config", "headers", name)
        if name not in _HEADERS:
            source.refuse(path, f"cannot be set; there are {', '.join(_HEADERS)}")
        elif not isinstance(value, str) or not value.isprintable():
            source.refuse(path, "must be one line of text")
        elif _HEADERS[name] and value not in _HEADERS[name]:
            source.refuse(path, f"must be {' or '.join(_HEADERS[name])}")


# -- TLS --------------------------------------------------------------------------------------------------------


def _context(source: Source, tls: Mapping[str, Any]) -> ssl.SSLContext | None:
    if not any(tls.get(key) for key in ("cert_file", "key_file", "client_auth_type", "client_ca_file")):
        return None
    section = "tls_server_config"
    for key in ("cert_file", "key_file"):
        if not tls.get(key):
            source.refuse((section,), f"{key} is missing")
    low, high = (_version(source, tls, key) for key in ("min_version", "max_version"))
    ciphers = _known(source, tls, "cipher_suites", _CIPHERS)
    curves = _known(source, tls, "curve_preferences", _CURVES)
    client = _client(source, tls)
    if source.problems:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    context.minimum_version = _OPENSSL_VERSIONS[max(low or _OLDEST, _OLDEST)]
    context.maximum_version = _OPENSSL_VERSIONS[high or max(_OPENSSL_VERSIONS)]
    if tls.get("prefer_server_cipher_suites") is False:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if chosen := [name for name in ciphers if name]:
        context.set_ciphers(":".join(chosen))
    elif ciphers:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    if len(curves) == 1:  # of several, the library cannot be told
        context.set_ecdh_curve(curves[0])
    _load(source, tls, context, client)
    return context


def _version(source: Source, tls: Mapping[str, Any], key: str) -> int:
    """The number of a version, 0 if none is named."""
    name = tls.get(key)
    if name is None:
        return 0
    if name not in _VERSIONS:
        source.refuse(("tls_server_config", key), f"must be one of {', '.join(_VERSIONS)}")
        return 0
    number = _VERSIONS[name]
    if key == "max_version" and number < max(_OLDEST, _VERSIONS.get(tls.get("min_version") or "", 0)):
        source.refuse(("tls_server_config", key), "no version is left: TLS 1.2 is the oldest that is served")
        return 0
    return number


def _known(source: Source, tls: Mapping[str, Any], key: str, names: Mapping[str, str]) -> list[str]:
    found = []
    for index, name in enumerate(tls.get(key) or ()):
        if isinstance(name, str) and name in names:
            found.append(names[name])
        else:
            source.refuse(("tls_server_config", key, index), f"must be one of {', '.join(names)}")
    return found


def _client(source: Source, tls: Mapping[str, Any]) -> ssl.VerifyMode:
    kind, path = tls.get("client_auth_type") or "", ("tls_server_config", "client_auth_type")
    if kind in _UNVERIFIED:
        source.refuse(path, "a certificate that nobody verifies proves nothing; use RequireAndVerifyClientCert")
    elif kind not in _CLIENTS:
        source.refuse(path, f"must be one of {', '.join(name for name in _CLIENTS if name)}")
    elif tls.get("client_ca_file") and kind in ("", "NoClientCert"):
        source.refuse(("tls_server_config", "client_ca_file"), "needs a client_auth_type that looks at certificates")
    return _CLIENTS.get(kind, ssl.CERT_REQUIRED)


def _load(source: Source, tls: Mapping[str, Any], context: ssl.SSLContext, client: ssl.VerifyMode) -> None:
    section = "tls_server_config"
    try:
        for key in ("cert_file", "key_file"):
            content(Path(tls[key]))  # a FIFO would be waited for
        # Without a password of its own the library would ask a terminal for it.
        context.load_cert_chain(tls["cert_file"], tls["key_file"], password="")
    except (OSError, ValueError) as error:  # the library's own errors are OSErrors
        source.refuse((section, "cert_file"), f"{tls['cert_file']} with {tls['key_file']}: {_reason(error)}")
    context.verify_mode = client
    authority = tls.get("client_ca_file")
    try:
        if authority:
            content(Path(authority))
            context.load_verify_locations(authority)
        elif client is not ssl.CERT_NONE:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    except OSError as error:
        source.refuse((section, "client_ca_file"), f"{authority}: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "not a usable certificate, or not the key that belongs to it"
    return getattr(error, "strerror", "") or str(error)

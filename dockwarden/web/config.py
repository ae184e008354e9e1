"""The web configuration file of Prometheus' exporter-toolkit: who may connect, with which certificates and passwords.

Input: the file that ``web.config_file`` names, and those it names. Output: a frozen ``Access``, or a ``ConfigError``
that names each place. Out of bounds: asking for passwords, serving. A file that asks for what Python's TLS cannot do is
refused, never understood as something weaker.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from ssl import TLSVersion
from typing import Annotated, Any, Literal, Self

import structlog
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from dockwarden.config.files import content, state
from dockwarden.config.source import Source, fault_in_words, keys_beside, load
from dockwarden.errors import ConfigError
from dockwarden.text import because

_VERSIONS = {f"TLS1{minor}": TLSVersion[f"TLSv1_{minor}" if minor else "TLSv1"] for minor in range(4)}
_OLDEST = TLSVersion.TLSv1_2  # OpenSSL serves nothing older as Debian and others build it
_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_BLOCKS = {
    "AES_128_CBC_SHA": "AES128-SHA",
    "AES_256_CBC_SHA": "AES256-SHA",
    "AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "AES_256_GCM_SHA384": "AES256-GCM-SHA384",
}
_MODERN = _BLOCKS | {"CHACHA20_POLY1305_SHA256": "CHACHA20-POLY1305"}
# Those of TLS 1.3 are always on, in Go as in OpenSSL.
_CIPHERS = {f"TLS_{name}": "" for name in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")}
_CIPHERS |= {f"TLS_RSA_WITH_{name}": cipher for name, cipher in _BLOCKS.items()}
_CIPHERS |= {f"TLS_ECDHE_{key}_WITH_{n}": f"ECDHE-{key}-{c}" for key in ("ECDSA", "RSA") for n, c in _MODERN.items()}
_CLIENTS = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,  # asked for and not looked at; we look at none either
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_LOOK_SECONDS = 1.0
_STAYS = "what was in use stays"
_LOCKED = "the key has a password, which nobody can type here; `openssl pkey` writes one without"
_BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_log = structlog.get_logger("dockwarden.web")


@dataclass(frozen=True)
class Access:
    """Who may connect: by TLS if with a context, as a user (bcrypt hash) if any; ``headers`` sent; ``files`` read."""

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
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="access")
        self._look: asyncio.Future[None] | None = None
        self._is_late = False

    async def fresh(self) -> Access:
        """What holds now, or what held last where the files do not answer."""
        if self._file is None:
            return self.last
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().run_in_executor(self._pool, self._look_now)
            self._is_late = False
        if not self._is_late:
            try:
                await asyncio.wait_for(asyncio.shield(self._look), _LOOK_SECONDS)
            except TimeoutError:
                self._is_late = True
                _log.error("web.config_failed", problems=(f"{self._file}: does not answer",), note=_STAYS)
        return self.last

    def _look_now(self) -> None:
        try:
            self.current()
        except Exception as error:  # noqa: BLE001 - who waits for it must go on, whatever is in the file
            _log.error("web.config_failed", problems=(repr(error),), note=_STAYS, exc_info=error)

    def current(self) -> Access:
        """What holds now. A change that cannot be used changes nothing and is logged once."""
        if self._file is None or (seen := _state(self.last.files)) == self._seen:
            return self.last
        self._seen = seen
        try:
            access = read_access(self._file)
            if (access.context is None) != (self.last.context is None):
                raise ConfigError(f"{self._file}: TLS is switched on and off by a new start only")
        except ConfigError as error:
            _log.error("web.config_failed", problems=error.problems, note=_STAYS)
            return self.last
        if access.files != self.last.files:
            self._seen = _state(access.files)
        self.last = access
        _log.info("web.config_reloaded", file=str(self._file))
        return access


def _state(files: tuple[Path, ...]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()] * len(files)
    for place, file in enumerate(files):
        with suppress(OSError):
            found[place] = state(file)
    return found


def read_access(file: Path) -> Access:
    """Read a web configuration file and what it names. Raises ConfigError: with one problem per place."""
    source = load(file, name="web.config_file: ")
    try:
        found = _File.model_validate(source.data or {})
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            place, is_unknown = tuple(fault["loc"]), fault["type"] == "extra_forbidden"
            known = f"no such key; there are {', '.join(keys_beside(_File, place))}"
            source.refuse(place, known if is_unknown else fault_in_words(fault))
        raise ConfigError(*source.problems) from None  # the library's text holds what stands there
    tls = found.tls_server_config
    named = [file.parent / name for name in (tls.cert_file, tls.key_file, tls.client_ca_file) if name]
    context = _context(source, tls, file.parent) if tls.is_on else None
    if source.problems:
        raise ConfigError(*source.problems)
    headers = found.http_server_config.headers.model_dump(by_alias=True, exclude_unset=True)
    return Access(context, found.basic_auth_users, headers, (file, *named))


def _one_of(table: Mapping[str, Any]) -> BeforeValidator:
    """What a name stands for."""

    def look_up(name: object) -> object:
        if not isinstance(name, str) or name not in table:
            raise ValueError(f"must be one of {', '.join(filter(None, table))}")
        return table[name]

    return BeforeValidator(look_up)


def _check_hash(hashed: object) -> object:
    if not isinstance(hashed, str) or not _BCRYPT.fullmatch(hashed):
        raise ValueError("must be a bcrypt hash, such as `htpasswd -nB NAME` prints")
    return hashed


_Line = Annotated[str, StringConstraints(pattern=r"^[ -~]*$")]
_Version = Annotated[TLSVersion, _one_of(_VERSIONS)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, value: object) -> object:
        return {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else value


class _Tls(_Section):
    cert_file: str = ""
    key_file: str = ""
    client_auth_type: Annotated[ssl.VerifyMode, _one_of(_CLIENTS)] | None = None
    client_ca_file: str = ""
    cipher_suites: list[Annotated[str, _one_of(_CIPHERS)]] = []
    curve_preferences: list[Annotated[str, _one_of(_CURVES)]] = []
    min_version: _Version = _OLDEST
    max_version: _Version = TLSVersion.TLSv1_3
    prefer_server_cipher_suites: bool = True

    @property
    def is_on(self) -> bool:
        return bool(self.cert_file or self.key_file or self.client_ca_file) or self.client_auth_type is not None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.is_on and not (self.cert_file and self.key_file):
            raise ValueError("cert_file and key_file are both needed")
        if self.client_ca_file and not self.client_auth_type:
            raise ValueError("client_ca_file needs a client_auth_type that looks at certificates")
        if self.max_version < max(_OLDEST, self.min_version):
            raise ValueError("max_version leaves no version: TLS 1.2 is the oldest that is served")
        return self


class _Headers(_Section):
    hsts: _Line = Field("", alias="Strict-Transport-Security")
    content_type: Literal["nosniff"] = Field("nosniff", alias="X-Content-Type-Options")
    frame: Literal["deny", "sameorigin"] = Field("deny", alias="X-Frame-Options")
    xss: _Line = Field("", alias="X-XSS-Protection")
    csp: _Line = Field("", alias="Content-Security-Policy")


class _Http(_Section):
    http2: bool = True
    headers: _Headers = _Headers()


class _File(_Section):
    tls_server_config: _Tls = _Tls()
    http_server_config: _Http = _Http()
    basic_auth_users: dict[str, Annotated[str, BeforeValidator(_check_hash)]] = {}


def _context(source: Source, tls: _Tls, folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    context.minimum_version = max(tls.min_version, _OLDEST)
    context.maximum_version = tls.max_version
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if chosen := [name for name in tls.cipher_suites if name]:
        context.set_ciphers(":".join(chosen))
    elif tls.cipher_suites:
        context.minimum_version = TLSVersion.TLSv1_3
    if len(tls.curve_preferences) == 1:  # of several, the library cannot be told
        context.set_ecdh_curve(tls.curve_preferences[0])
    certificate, key, authority = (folder / name for name in (tls.cert_file, tls.key_file, tls.client_ca_file))
    text = b""
    try:
        text = content(certificate) + content(key)  # a FIFO would be waited for
        # Without a password of its own the library would ask a terminal for it.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # the library's own errors are OSErrors
        why = _LOCKED if b"ENCRYPTED" in text else _reason(error)
        source.refuse(("tls_server_config", "cert_file"), f"{certificate} with {key}: {why}")
    context.verify_mode = tls.client_auth_type or ssl.CERT_NONE
    try:
        if tls.client_ca_file:
            content(authority)
            context.load_verify_locations(authority)
        elif tls.client_auth_type:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    except OSError as error:
        source.refuse(("tls_server_config", "client_ca_file"), f"{authority}: {_reason(error)}")
    return context


def _reason(error: Exception) -> str:
    if not isinstance(error, ssl.SSLError):
        return because(error)
    detail = (error.reason or "PEM files are expected").replace("_", " ")  # such as EE_KEY_TOO_SMALL
    return f"not a usable certificate, or not the key that belongs to it: {detail}"

"""Logins for registries: from the settings, else from Docker's ``config.json`` and the helpers that it names.

Input: settings per host, ``DOCKER_AUTH_CONFIG``, a file, helper programs. Output: a ``Login``, None for nobody, or a
``FailedError`` of reason ``credentials`` where the settings cannot be followed. A file or helper that cannot be used is
no login, as it is to Docker's command line, and a warning. Out of bounds: what a login is used for. Nothing secret is
logged, kept in an error, or shown by repr.
"""

import base64
import binascii
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dockwarden.config.files import content, secret, state
from dockwarden.config.settings import RegistrySettings
from dockwarden.reference import DEFAULT_REGISTRY
from dockwarden.registry.message import FailedError, json_object

_ANSWER_SECONDS = 10.0
_OUTPUT_BYTES = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_NOT_FOUND = b"credentials not found in native keychain"
_log = structlog.get_logger("dockwarden.registry")

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"})
_FILE_BYTES = 4 * 1024 * 1024
_SECRET_BYTES = 64 * 1024
_HELPER_SECONDS = 600.0  # how long a helper's answer is believed; many hand out what expires
_FAILURE_SECONDS = 60.0
_YOUNG_SECONDS = 60.0  # an answer that is refused so soon is not too old, whatever else it is
_IDENTITY_USER = "<token>"  # a helper's way of saying that the secret is an identity token


@dataclass(frozen=True, slots=True)
class Login:
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


class _Config:
    """Docker's file, understood as far as it concerns logins."""

    def __init__(self, text: bytes = b"") -> None:
        """Raises ValueError, FailedError."""
        document = json_object(text) if text.strip() not in (b"", b"null") else {}
        auths, helpers = document.get("auths") or {}, document.get("credhelpers") or {}
        store = document.get("credsstore") or ""
        if not (isinstance(auths, dict) and isinstance(helpers, dict) and isinstance(store, str)):
            raise ValueError("malformed")  # noqa: TRY004
        self._auths = {_hostname(key): value for key, value in auths.items()}
        self._auths |= {key: value for key, value in auths.items() if key == _hostname(key)}
        if _HUB_KEY in auths:
            self._auths[DEFAULT_REGISTRY] = auths[_HUB_KEY]
        self._helpers = {_hostname(key): value for key, value in helpers.items()}
        self._keys = frozenset(helpers)
        self._store = store

    def helper(self, registry: str) -> str:
        """The name of the helper that is to be asked, if one is; an empty one means the file itself."""
        return str(self._helpers.get(registry, self._store))

    def is_final(self, registry: str) -> bool:
        """Whether the command line asks that helper, too: it knows a registry by one key only."""
        return registry not in self._helpers or _key(registry) in self._keys

    def login(self, registry: str) -> Login | None:
        """What the file itself says. Raises ValueError."""
        entry = self._auths.get(registry)
        if entry is None:
            return None
        if not isinstance(entry, dict):
            raise ValueError("malformed")  # noqa: TRY004
        entry = {key.lower(): value for key, value in entry.items()}
        token, identity = entry.get("registrytoken") or "", entry.get("identitytoken") or ""
        username, password = entry.get("username") or "", entry.get("password") or ""
        if entry.get("auth"):
            username, _, password = _decoded(entry["auth"]).partition(":")
        if not all(isinstance(value, str) for value in (token, identity, username, password)):
            raise ValueError("malformed")
        if token or identity:  # the engine, too, prefers them in this order
            return Login(token=token) if token else Login(identity=identity)
        return Login(username, password.strip("\0")) if username else None


class _Slot:
    """What is known for one registry; one thread finds out, the others wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stamp: tuple[int, ...] | None = None
        self.found_at = self.fresh_until = -1.0
        self.login: Login | None = None
        self.failed = False
        self.is_told = False


@dataclass(eq=False, repr=False)
class Credentials:
    """Finds logins. Thread-safe: a helper that hangs delays only those who need it.

    ``given``: what the environment has, which comes before the file at ``path``.
    """

    hosts: Mapping[str, RegistrySettings]
    path: Path
    clock: Callable[[], float] = time.monotonic
    given: str = ""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[str, _Slot] = {}

    def login(self, registry: str) -> Login | None:
        """Whom the registry is to see. Raises FailedError for a password file that cannot be read."""
        host = self.hosts.get(registry)
        if host is not None and host.username:
            return self._configured(registry, host)
        slot = self._slot(registry)
        with slot.lock:
            stamp = self._stamp()
            if slot.stamp != stamp or self.clock() >= slot.fresh_until:
                self._find(registry, slot, stamp)
            return slot.login

    def is_troubled(self, registry: str) -> bool:
        """Whether there may be a login that we failed to find out."""
        return self._slot(registry).failed

    def _slot(self, registry: str) -> _Slot:
        with self._lock:
            return self._slots.setdefault(registry, _Slot())

    def renewed(self, registry: str, refused: Login) -> Login | None:
        """After a refusal: None unless another file, or a helper that was not asked just now, says something else."""
        if (found := self.login(registry)) == refused:
            slot = self._slot(registry)
            with slot.lock:
                if self.clock() - slot.found_at < _YOUNG_SECONDS:
                    return None
                slot.fresh_until = -1.0
            found = self.login(registry)
        return found if found != refused else None

    def _configured(self, registry: str, host: RegistrySettings) -> Login:
        if host.password_file is None:
            return Login(host.username, host.password.get_secret_value() if host.password else "")
        try:
            return Login(host.username, secret(host.password_file, _SECRET_BYTES))
        except OSError:
            self._tell(self._slot(registry), registry, "its password file cannot be read")
            raise FailedError("credentials") from None

    def _find(self, registry: str, slot: _Slot, stamp: tuple[int, ...] | None) -> None:
        """Ask the file and, if it says so, a helper; the slot's lock is held."""
        slot.stamp, slot.login, slot.failed = stamp, None, False
        slot.found_at = self.clock()
        slot.fresh_until = slot.found_at + _HELPER_SECONDS
        try:
            slot.login = _Config(os.fsencode(self.given)).login(registry)
        except (ValueError, FailedError):
            self._fail(slot, registry, "DOCKER_AUTH_CONFIG cannot be used")
        if slot.login is None:
            self._find_in_file(registry, slot, stamp)
        slot.is_told = slot.failed

    def _find_in_file(self, registry: str, slot: _Slot, stamp: tuple[int, ...] | None) -> None:
        try:
            config = _Config(content(self.path, _FILE_BYTES) if stamp else b"")
            try:
                if helper := config.helper(registry):
                    slot.login = _ask_helper(helper, registry)
                    if slot.login or config.is_final(registry):
                        return  # if it knows nobody, nobody is who the command line is, too
            except HelperError as error:
                self._fail(slot, registry, str(error))
            slot.login = config.login(registry)
        except (OSError, ValueError, FailedError):
            self._fail(slot, registry, f"{self.path} cannot be used")

    def _fail(self, slot: _Slot, registry: str, why: str) -> None:
        slot.failed = True
        slot.fresh_until = self.clock() + _FAILURE_SECONDS
        self._tell(slot, registry, why)

    def _tell(self, slot: _Slot, registry: str, why: str) -> None:
        if not slot.is_told:
            slot.is_told = True
            _log.warning("registries.no_credentials", registry=registry, why=why)

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            return state(self.path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None  # a folder we may not even look into is no place for our logins
        except OSError:
            return (0,)  # there is something that cannot be read, and will fail so


def _decoded(auth: object) -> str:
    if not isinstance(auth, str):
        raise ValueError("malformed")  # noqa: TRY004
    try:
        decoded = base64.b64decode("".join(auth.split()), validate=True).decode()  # some wrap it at 76 columns
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("malformed") from None  # the error would carry the secret
    if ":" not in decoded:
        raise ValueError("malformed")
    return decoded


def _hostname(key: str) -> str:
    """The registry that a key of the file means; old ones are URLs."""
    host = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return DEFAULT_REGISTRY if host in _HUB_NAMES else host


def _key(registry: str) -> str:
    """What Docker's command line calls it."""
    return _HUB_KEY if registry == DEFAULT_REGISTRY else registry


class HelperError(Exception):
    """A helper cannot be used; the text says why, and nothing that the helper said."""


def _ask_helper(name: str, registry: str) -> Login | None:
    """Ask ``docker-credential-<name>`` for the login of a registry. Raises HelperError."""
    if not _NAME.fullmatch(name):
        raise HelperError("its credential helper has no proper name")
    program = f"docker-credential-{name}"
    try:
        # A session of its own, so that whatever it starts can be ended with it.
        process = subprocess.Popen(  # noqa: S603 - the name is checked, and the user's file names it
            [program, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise HelperError(f"{program} cannot be run: {error.strerror}") from None
    with process:
        try:
            output, code = _talk(process, _key(registry).encode())
        except HelperError as error:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            raise HelperError(f"{program} {error}") from None
    if code and output.strip() == _NOT_FOUND:
        return None
    if code:
        raise HelperError(f"{program} failed with code {code}")
    return _parsed(program, output)


def _talk(process: "subprocess.Popen[bytes]", question: bytes) -> tuple[bytes, int]:
    ends_at = time.monotonic() + _ANSWER_SECONDS
    if process.stdin is None or process.stdout is None:
        raise HelperError("has no pipes")
    with suppress(BrokenPipeError):  # it fits any pipe, so this does not wait
        process.stdin.write(question)
        process.stdin.close()
    output = b""
    source = process.stdout.fileno()
    poll = select.poll()
    poll.register(source, select.POLLIN | select.POLLHUP)
    while poll.poll(max(0.0, ends_at - time.monotonic()) * 1000):
        piece = os.read(source, 65536)
        if not piece:
            break
        output += piece
        if len(output) > _OUTPUT_BYTES:
            raise HelperError("says too much")
    try:
        return output, process.wait(max(0.0, ends_at - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise HelperError(f"did not answer in {_ANSWER_SECONDS:g} s") from None


def _parsed(program: str, output: bytes) -> Login | None:
    document: dict[str, object] = {}
    with suppress(FailedError):
        document = json_object(output)
    username, secret = document.get("username"), document.get("secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise HelperError(f"{program} answered with something else than a login")
    if not (username and secret):
        return None
    return Login(identity=secret) if username == _IDENTITY_USER else Login(username, secret)

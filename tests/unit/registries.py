"""Registries for unit tests: what they answer, and one that wants tokens; and short ways to ask.

In: answers. Out: replies of `HttpRegistry`. Out of bounds: real registries.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import urllib.parse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwarden.ports import Ask, Reply
from dockwarden.registry import HttpRegistry
from tests.builders import an_engine
from tests.lab.waiting import PATIENCE
from tests.unit.misbehaving import Asked, Misbehaving, http, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from dockwarden.model import EngineInfo

DIGEST = "sha256:" + "0123456789abcdef" * 4
OTHER = "sha256:" + "fedcba9876543210" * 4
SOON = PATIENCE
NOWHERE = "/nonexistent"


def head(*headers: str, status: int = 200, length: int = 0) -> bytes:
    """The answer to a HEAD: a length, and nothing of that length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


OK = head(f"Docker-Content-Digest: {DIGEST}", length=500)


def absent(asked: str, code: str = "MANIFEST_UNKNOWN") -> bytes:
    """A registry's own 404."""
    body = json.dumps({"errors": [{"code": code, "message": "x", "detail": {"Tag": "1"}}]}).encode()
    return head(status=404, length=len(body)) if asked.startswith("HEAD") else http(404, body)


def sha(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def image(config: str = OTHER, **more: object) -> bytes:
    """A manifest of one image."""
    return json.dumps({"schemaVersion": 2, "config": {"digest": config}, "layers": [], **more}).encode()


def index(*platforms: str, **more: object) -> bytes:
    """A manifest of several, such as `linux/arm64/v8`."""
    entries = []
    for number, platform in enumerate(platforms):
        names = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        entries.append({"digest": f"sha256:{number:064x}", "platform": names})
    return json.dumps({"schemaVersion": 2, "manifests": entries, **more}).encode()


class Clock:
    """A clock that stands still, and the pauses that were made, which it does not wait for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@contextlib.contextmanager
def client(folder: Path | None = None, clock: Clock | None = None, **given: Any) -> Iterator[HttpRegistry]:
    """A client of our own that uses nothing of this machine; `folder` may have a `config.json`.

    With a clock it never waits.
    """
    nowhere = Path(NOWHERE)
    nothing = {"docker_config": (folder or nowhere) / "config.json", "certificates": nowhere, "environ": {}}
    pace = {"clock": clock, "wait": clock.wait} if clock else {}
    with contextlib.closing(HttpRegistry(**{**nothing, **pace, **given})) as registry:
        yield registry


@contextlib.contextmanager
def asking(
    answer: Callable[[Asked], Iterable[bytes]], clock: Clock | None = None, **given: Any
) -> Iterator[tuple[HttpRegistry, Misbehaving]]:
    """A client and a server."""
    with Misbehaving(answer) as server, client(clock=clock, **given) as registry:
        yield registry, server


def ask(registry: HttpRegistry, reference: str, what: str = "digest", max_age_seconds: float = 300) -> Reply:
    return registry.ask(Ask(what, reference), max_age_seconds).result(SOON)


def engine(mirrors: tuple[str, ...] = (), insecure_registries: tuple[str, ...] = ()) -> Callable[[], EngineInfo]:
    """An engine with these mirrors and insecure registries."""
    info = replace(an_engine(), mirrors=mirrors, insecure_registries=insecure_registries)
    return lambda: info


def reason(word: str) -> Reply:
    return Reply(reason=word)


def basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


class TokenRegistry:
    """Shows the digest of any tag to whom has a token for its repository.

    Repositories below `private/` are for `login` only. What it hands out and refuses can be changed while it runs:
    `grants` says which of the scopes of a request its token is good for, None for no token; `unopened` is the status
    with which a token for other repositories is refused, instead of a challenge.
    """

    def __init__(self, login: str = "alice:secret") -> None:
        self.login = login
        self.identity = ""
        self.realm = ""
        self.parameters = ',service="reg,istry"'
        self.field = "token"
        self.expires_in: object = 300
        self.believes = True
        self.tokens: dict[str, Collection[str]] = {}
        self.host = ""
        self.grants: Callable[[list[str]], Collection[str] | None] = list
        self.unopened = 0
        self.refusal = 403

    def __call__(self, asked: Asked) -> Iterable[bytes]:
        if "/Token" in asked:
            yield self._token(asked)
            return
        repository = asked.partition("/v2/")[2].partition("/manifests/")[0]
        scope = f"repository:{repository}:pull"
        token = asked.header("Authorization").removeprefix("Bearer ")
        if token in self.tokens and scope not in self.tokens[token] and self.unopened:
            yield absent(asked) if self.unopened == 404 else head(status=self.unopened)
        elif not self.believes or scope not in self.tokens.get(token, ()):
            realm = self.realm or f"http://{self.host}/Token"
            challenge = f'Bearer realm="{realm}"{self.parameters},scope="{scope}"'
            yield head(f"WWW-Authenticate: {challenge}", status=401)
        else:
            yield OK

    def _token(self, asked: Asked) -> bytes:
        query = asked.body.decode() if asked.startswith("POST") else asked.partition("?")[2]
        fields = dict(urllib.parse.parse_qsl(query))
        scopes = [scope for value in urllib.parse.parse_qs(query)["scope"] for scope in value.split()]
        is_known = asked.header("Authorization") == basic(self.login) or (
            self.identity != "" and fields.get("refresh_token") == self.identity
        )
        if not is_known and (any("private/" in scope for scope in scopes) or asked.header("Authorization")):
            return http(401)
        if (granted := self.grants(scopes)) is None:
            return http(self.refusal)
        token = f"t0ken-{len(self.tokens)}"
        self.tokens[token] = granted
        answer = {self.field: token, "expires_in": self.expires_in}
        return json_answer({key: value for key, value in answer.items() if value is not None})


@contextlib.contextmanager
def tokens(clock: Clock | None = None, **given: Any) -> Iterator[tuple[HttpRegistry, Misbehaving, TokenRegistry]]:
    """A client and a registry that wants tokens."""
    token_registry = TokenRegistry()
    with asking(token_registry, clock=clock, **given) as (registry, server):
        token_registry.host = server.host
        yield registry, server, token_registry


class Everything(logging.Handler):
    """Keeps every record, at any level, as text with all that hangs on it."""

    def __init__(self) -> None:
        super().__init__(0)
        self.lines: list[str] = []
        self.structured: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {record.__dict__!r} {self.format(record)}")

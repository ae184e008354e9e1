"""Asking Debian's docker-registry: open, with passwords, with tokens, with TLS."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from dockwarden.config.settings import RegistrySettings
from dockwarden.engine import DockerEngine
from dockwarden.ports import Ask, Entry, Reply
from dockwarden.registry import HttpRegistry
from tests.lab.images import ImageSpec
from tests.lab.registry import LabRegistry
from tests.lab.waiting import PATIENCE
from tests.unit.misbehaving import Misbehaving, http, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dockwarden.model import EngineInfo
    from tests.lab.engine import LabEngine
    from tests.unit.misbehaving import Asked

SOON = PATIENCE
ALICE = RegistrySettings(username="alice", password=SecretStr("secret"))


@contextlib.contextmanager
def client(
    config: Path = Path("/nonexistent"), engine: Callable[[], EngineInfo | None] = lambda: None, **options: Any
) -> Iterator[HttpRegistry]:
    with contextlib.closing(HttpRegistry(docker_config=config, engine=engine, **options)) as registry:
        yield registry


@pytest.fixture
def ours() -> Iterator[HttpRegistry]:
    with client() as registry:
        yield registry


def ask(registry: HttpRegistry, reference: str, what: str = "digest") -> Reply:
    """Believes nothing that can change, so that every question is asked."""
    return registry.ask(Ask(what, reference), 0).result(SOON)


def methods(registry: LabRegistry) -> list[tuple[str, int]]:
    return [(asked.method, asked.status) for asked in registry.requests]


def test_every_kind_of_manifest(ours: HttpRegistry, registry: LabRegistry) -> None:
    pushed = {
        "docker": registry.push("look/docker", "1", media="docker"),
        "oci": registry.push("look/oci", "1", media="oci"),
        "docker-list": registry.push_index("look/docker-list", "1", media="docker"),
        "oci-index": registry.push_index("look/oci-index", "1", media="oci"),
    }
    for name, digest in pushed.items():
        registry.forget_requests()
        assert ask(ours, f"{registry.host}/look/{name}:1") == Reply(digest=digest)
        # One HEAD, which no registry counts against a quota.
        assert methods(registry) == [("HEAD", 200)]
        assert ask(ours, f"{registry.host}/look/{name}@{digest}") == Reply(digest=digest)


def test_what_a_digest_stands_for(ours: HttpRegistry, registry: LabRegistry) -> None:
    for media in ("docker", "oci"):
        digest = registry.push_index("look/platforms", "1", media=media)
        registry.forget_requests()
        index = ask(ours, f"{registry.host}/look/platforms@{digest}", "manifest")
        platforms = [
            Entry(entry.digest, "linux", name, "")
            for entry, name in zip(index.entries, ("amd64", "arm64"), strict=True)
        ]
        assert list(index.entries) == platforms
        for entry in index.entries:
            single = ask(ours, f"{registry.host}/look/platforms@{entry.digest}", "manifest")
            assert single.config.startswith("sha256:")
            assert ask(ours, f"{registry.host}/look/platforms@{entry.digest}", "manifest") is single
        assert methods(registry) == [("GET", 200)] * 3


def test_tags(ours: HttpRegistry, registry: LabRegistry) -> None:
    for tag in ("1.0", "1.1", "latest"):
        registry.push("look/tags", tag)
    found = ask(ours, f"{registry.host}/look/tags", "tags")
    assert sorted(found.tags) == ["1.0", "1.1", "latest"]
    assert ask(ours, f"{registry.host}/look/no-tags", "tags") == Reply(reason="not_found")


def test_tag_that_moves(ours: HttpRegistry, registry: LabRegistry) -> None:
    name = f"{registry.host}/look/moving:1"
    first = registry.push("look/moving", "1", ImageSpec(labels={"v": "1"}))
    assert ask(ours, name) == Reply(digest=first)
    second = registry.push("look/moving", "1", ImageSpec(labels={"v": "2"}))
    assert ours.remembered(Ask("digest", name)) == Reply(digest=first)
    assert ask(ours, name) == ours.remembered(Ask("digest", name)) == Reply(digest=second)
    assert first != second


def test_what_is_not_there(ours: HttpRegistry, registry: LabRegistry) -> None:
    registry.push("look/there", "1")
    for name in ("look/there:2", "look/nowhere:1", f"look/there@sha256:{'0' * 64}"):
        assert ask(ours, f"{registry.host}/{name}") == Reply(reason="not_found")
    assert ask(ours, f"{registry.host}/look/there@sha256:{'0' * 64}", "manifest") == Reply(reason="not_found")
    registry.delete_tag("look/there", "1")
    assert ask(ours, f"{registry.host}/look/there:1") == Reply(reason="not_found")


def test_answer_is_believed_for_a_while(ours: HttpRegistry, registry: LabRegistry) -> None:
    digest = registry.push("look/cached", "1")
    registry.forget_requests()
    futures = [ours.ask(Ask("digest", f"{registry.host}/look/cached:1"), 300) for _ in range(20)]
    assert {future.result(SOON) for future in futures} == {Reply(digest=digest)}
    assert len(registry.requests) == 1


def test_many_at_once(ours: HttpRegistry, registry: LabRegistry) -> None:
    digest = registry.push("look/many", "0")
    for n in range(1, 40):
        assert registry.push("look/many", str(n)) == digest
    futures = [ours.ask(Ask("digest", f"{registry.host}/look/many:{n}")) for n in range(40)]
    assert {future.result(SOON) for future in futures} == {Reply(digest=digest)}


def test_password(tmp_path: Path) -> None:
    with LabRegistry(htpasswd={"alice": "secret"}) as private:
        digest = private.push("team/app", "1")
        name = f"{private.host}/team/app:1"
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"auths": {private.host: {"auth": base64.b64encode(b"alice:secret").decode()}}}))
        wrong = RegistrySettings(username="alice", password=SecretStr("wrong"))
        for expected, options in (
            (Reply(reason="unauthorized"), {}),
            (Reply(reason="unauthorized"), {"hosts": {private.host: wrong}}),
            (Reply(digest=digest), {"hosts": {private.host: ALICE}}),
            (Reply(digest=digest), {"config": config}),
        ):
            with client(**options) as ours:
                assert ask(ours, name) == expected
        with client(hosts={private.host: ALICE}) as ours:
            private.forget_requests()
            assert [ask(ours, f"{private.host}/team/app:1").digest for _ in range(3)] == [digest] * 3
            assert methods(private) == [("HEAD", 401)] + [("HEAD", 200)] * 3


def test_tls(tmp_path: Path) -> None:
    with LabRegistry(tls=True) as secure:
        digest = secure.push("team/app", "1")
        name = f"{secure.host}/team/app:1"
        unset = {secure.host: RegistrySettings(http=False)}
        (tmp_path / secure.host).mkdir()
        (tmp_path / secure.host / "ca.crt").write_bytes(secure.ca_file.read_bytes())
        for expected, options in (
            (Reply(digest=digest), {"hosts": {secure.host: RegistrySettings(http=False, ca_file=secure.ca_file)}}),
            (Reply(digest=digest), {"hosts": unset, "certificates": tmp_path}),
            (Reply(reason="tls"), {"hosts": unset}),
            (Reply(digest=digest), {}),  # on the loopback, which engines call insecure
        ):
            with client(**options) as ours:
                assert ask(ours, name) == expected


def test_registry_that_the_engine_calls_insecure(engine: LabEngine) -> None:
    """Every engine says so of 127.0.0.0/8; `127.1` is a name, which only the resolver knows to be there."""
    with contextlib.closing(DockerEngine(engine.host)) as docker:
        info = docker.connect()
    with LabRegistry(tls=True) as secure, LabRegistry() as plain:
        for hub in (secure, plain):
            digest = hub.push("team/app", "1")
            engine.forward(hub.port)
            engine.docker("pull", "--quiet", f"{hub.host}/team/app:1")
            with client() as strict, client(engine=lambda: info) as ours:
                assert ask(strict, f"{hub.host}/team/app:1") == Reply(digest=digest)
                assert ask(strict, f"127.1:{hub.port}/team/app:1") == Reply(reason="tls")
                assert ask(ours, f"127.1:{hub.port}/team/app:1") == Reply(digest=digest)


def test_tls_to_a_registry_that_speaks_plain_http(registry: LabRegistry) -> None:
    with client(hosts={registry.host: RegistrySettings(http=False)}) as ours:
        assert ask(ours, f"{registry.host}/look/any:1") == Reply(reason="tls")


def test_registry_that_goes_and_comes_back(ours: HttpRegistry) -> None:
    with LabRegistry() as mortal:
        digest = mortal.push("team/app", "1")
        name = f"{mortal.host}/team/app:1"
        assert ask(ours, name) == Reply(digest=digest)
        mortal.end()
        assert ask(ours, name) == Reply(reason="unreachable")
        mortal.restart()
        assert ask(ours, name) == Reply(digest=digest)


# -- tokens --------------------------------------------------------------------------------------------


class Signer:
    """Makes the tokens that docker-registry believes: JWTs signed by a key whose certificate it knows."""

    def __init__(self, folder: Path) -> None:
        self._key, self.certificate = folder / "token.key", folder / "token.crt"
        command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab-tokens"
        self._openssl(*command.split(), "-keyout", str(self._key), "-out", str(self.certificate))
        lines = self.certificate.read_text().splitlines()
        self._chain = ["".join(lines[1:-1])]

    def token(self, access: list[dict[str, object]], seconds: float = 300) -> str:
        now = int(time.time())
        claims = {"iss": "lab", "aud": "lab registry", "sub": "", "nbf": now - 60, "iat": now, "jti": "x"}
        claims |= {"exp": now + int(seconds), "access": access}
        parts = [{"typ": "JWT", "alg": "RS256", "x5c": self._chain}, claims]
        signed = b".".join(self._encoded(json.dumps(part).encode()) for part in parts)
        signature = self._openssl("dgst", "-sha256", "-sign", str(self._key), given=signed)
        return (signed + b"." + self._encoded(signature)).decode()

    @staticmethod
    def _encoded(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    @staticmethod
    def _openssl(*arguments: str, given: bytes = b"") -> bytes:
        return subprocess.run(["openssl", *arguments], input=given, check=True, capture_output=True).stdout


def access(scope: str) -> dict[str, object]:
    kind, name, actions = scope.split(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


class TokenLab(LabRegistry):
    """Believes tokens only; pushes with a good one."""

    def __init__(self, realm: str, signer: Signer, *repositories: str) -> None:
        super().__init__()
        self._realm, self._signer, self._repositories = realm, signer, repositories

    def _settings(self) -> dict[str, object]:
        token = {"realm": self._realm, "service": "lab registry", "issuer": "lab"}
        return super()._settings() | {"auth": {"token": {**token, "rootcertbundle": str(self._signer.certificate)}}}

    def _credentials(self) -> dict[str, str]:
        wanted = [access(f"repository:{name}:pull,push") for name in self._repositories]
        return {"Authorization": f"Bearer {self._signer.token(wanted)}"}


class TokenServer:
    """Gives tokens for `open/` to everybody, for all else to alice."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.seconds = 300.0

    def __call__(self, asked: Asked) -> Iterable[bytes]:
        scope = dict(urllib.parse.parse_qsl(asked.partition("?")[2]))["scope"]
        login = base64.b64decode(asked.header("Authorization").removeprefix("Basic ")).decode()
        if login not in ("", "alice:secret"):
            return [http(401)]
        wanted = [access(scope)] if login or ":open/" in scope else []
        return [json_answer({"access_token": self._signer.token(wanted, self.seconds), "expires_in": 300})]


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("tokens"))


def test_tokens(signer: Signer) -> None:
    tokens = TokenServer(signer)
    names = ("open/a", "team/a", "team/b")
    with Misbehaving(tokens) as server, TokenLab(f"http://{server.host}/token", signer, *names) as private:
        digests = {name: private.push(name, "1", ImageSpec(labels={"n": name})) for name in names}
        with client() as ours:
            assert ask(ours, f"{private.host}/open/a:1") == Reply(digest=digests["open/a"])
            assert ask(ours, f"{private.host}/team/a:1") == Reply(reason="unauthorized")
        with client(hosts={private.host: ALICE}) as ours:
            private.forget_requests()
            server.asked.clear()
            for _ in range(3):
                for name, digest in digests.items():
                    assert ask(ours, f"{private.host}/{name}:1") == Reply(digest=digest)
            assert methods(private) == [("HEAD", 401)] + [("HEAD", 200)] * 9
            assert len(server.asked) == 3
            assert ask(ours, f"{private.host}/team/a", "tags") == Reply(tags=("1",))
            assert ask(ours, f"{private.host}/team/a@{digests['team/a']}", "manifest").config
            assert len(server.asked) == 3
        with client(hosts={private.host: RegistrySettings(username="alice", password=SecretStr("wrong"))}) as ours:
            assert ask(ours, f"{private.host}/open/a:1") == Reply(reason="unauthorized")


def test_tokens_that_have_expired(signer: Signer) -> None:
    """The registry finds a token too old that its server called good for longer."""
    tokens = TokenServer(signer)
    tokens.seconds = -120  # beyond the minute of leeway that docker-registry grants
    with Misbehaving(tokens) as server, TokenLab(f"http://{server.host}/token", signer, "open/a") as private:
        digest = private.push("open/a", "1")
        with client() as ours:
            assert ask(ours, f"{private.host}/open/a:1") == Reply(reason="unauthorized")
            tokens.seconds = 300
            private.forget_requests()
            assert ask(ours, f"{private.host}/open/a:1") == Reply(digest=digest)
            assert methods(private) == [("HEAD", 200)]

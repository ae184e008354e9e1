"""Who we are to registries: challenges, tokens, passwords, and where none of them may go."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
import structlog
from pydantic import SecretStr, ValidationError

from dockwarden.config.settings import RegistrySettings
from dockwarden.ports import Ask, Reply
from dockwarden.registry.auth import Challenge, challenges
from tests.tables import each
from tests.unit.misbehaving import Misbehaving, http, json_answer
from tests.unit.registries import (
    DIGEST,
    OK,
    SOON,
    Clock,
    Everything,
    TokenRegistry,
    absent,
    ask,
    asking,
    basic,
    client,
    head,
    reason,
    tokens,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from dockwarden.registry import HttpRegistry
    from tests.unit.misbehaving import Asked

GOOD = Reply(digest=DIGEST)
ALICE = RegistrySettings(username="alice", password=SecretStr("secret"))


@contextlib.contextmanager
def as_alice(clock: Clock | None = None) -> Iterator[tuple[HttpRegistry, Misbehaving, TokenRegistry]]:
    """A client that may see private repositories."""
    token_registry = TokenRegistry()
    with Misbehaving(token_registry) as server:
        token_registry.host = server.host
        with client(clock=clock, hosts={server.host: ALICE}) as registry:
            yield registry, server, token_registry


@each(
    ("header", "expected"),
    [
        ('Bearer realm="https://A/T?x=1",service="s",scope="a,b"', [("bearer", "https://A/T?x=1", "s", "a,b")]),
        ("bearer Realm=https://a/t", [("bearer", "https://a/t", "", "")]),
        ('BEARER realm = "https://a/t" , scope="x"', [("bearer", "https://a/t", "", "x")]),
        ('Basic realm="x", Bearer realm="y"', [("basic", "x", "", ""), ("bearer", "y", "", "")]),
        (r'Basic realm="a \"quoted\" name"', [("basic", 'a "quoted" name', "", "")]),
        ('Bearer realm="first",realm="second"', [("bearer", "first", "", "")]),
        ("Basic", [("basic", "", "", "")]),
        ("Negotiate", [("negotiate", "", "", "")]),
        ('realm="of nobody"', []),
        ("", []),
        ('Bearer realm="open', [("bearer", '"open', "", "")]),
        ("Basic" + " " * 60_000 + "\0", [("basic", "", "", "")]),
        (" " * 60_000, []),
        ("," * 60_000, []),
        ('x="' * 20_000, []),
        ("Basic " + '"\\' * 30_000, [("basic", "", "", "")]),
    ],
)
def test_challenge(header: str, expected: list[tuple[str, ...]]) -> None:
    assert challenges([header]) == [Challenge(*parts) for parts in expected]


def test_anonymous_token() -> None:
    with tokens() as (registry, server, _):
        assert ask(registry, f"{server.host}/public/app:1") == GOOD
        assert server.asked == [
            "HEAD /v2/public/app/manifests/1",
            "GET /Token?service=reg%2Cistry&scope=repository%3Apublic%2Fapp%3Apull",
            "HEAD /v2/public/app/manifests/1",
        ]
        assert [asked.header("Authorization") for asked in server.asked] == ["", "", "Bearer t0ken-0"]


def test_one_challenge_and_one_token_per_repository() -> None:
    with tokens() as (registry, server, _):
        names = [f"{server.host}/public/app{n % 5}:{n}" for n in range(40)]
        futures = [registry.ask(Ask("digest", name)) for name in names]
        assert {future.result(SOON) for future in futures} == {GOOD}
        heads = [asked for asked in server.asked if asked.startswith("HEAD")]
        assert len(heads) == len(names) + 1
        assert len(server.asked) - len(heads) <= 2


_NAMES = [f"public/app{number}" for number in range(40)]
_NAMES[5], _NAMES[30] = "denied/a", "gone/b"


def _scope(name: str) -> str:
    return f"repository:{name}:pull"


_SCOPES = [_scope(_NAMES[5]), _scope(_NAMES[30])]


@each("unopened", [0, 403, 404, 431])
@each(
    ("grants", "share"),
    [
        (list, 0.15),
        (lambda scopes: [scope for scope in scopes if scope not in _SCOPES], 0.3),
        (lambda scopes: scopes if len(scopes) <= 10 else None, 1.2),
        (lambda scopes: None if set(_SCOPES) & {*scopes} else scopes, 1.2),
        (lambda scopes: scopes[:1], 1.2),
        (lambda scopes: scopes[-1:], 1.2),
        (lambda scopes: scopes if len(scopes) == 1 else [], 1.2),
        (lambda scopes: scopes if len(scopes) == 1 else None, 1.2),
        (lambda _scopes: [], 1.2),
        (lambda _scopes: None, 1.2),
    ],
)
def test_one_token_for_many_repositories_changes_no_answer(
    grants: Callable[[list[str]], list[str] | None], share: float, unopened: int
) -> None:
    """Whatever a registry gives for several scopes, each is told what it would be told by itself."""
    found, asked_for = _told(grants, unopened, len(_NAMES))
    alone = tuple(tuple(given) if (given := grants([scope])) is not None else None for scope in map(_scope, _NAMES))
    found_alone, asked_for_alone = _told_alone(alone, unopened)
    assert found == found_alone
    assert asked_for <= share * asked_for_alone


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_of_tokens_that_fails_at_several_repositories(status: int) -> None:
    """Which no engine asks it for."""
    with tokens() as (registry, server, token_registry):
        token_registry.grants, token_registry.refusal = lambda scopes: scopes if len(scopes) == 1 else None, status
        for _ in range(2):
            futures = [registry.ask(Ask("digest", f"{server.host}/{name}:1"), 0) for name in _NAMES]
            assert {future.result(SOON) for future in futures} == {GOOD}
        assert len([line for line in server.asked if "Token" in line]) <= 2 * len(_NAMES)


def _told(
    grants: Callable[[list[str]], Sequence[str] | None], unopened: int, at_once: int
) -> tuple[dict[str, Reply], int]:
    """What becomes of so many questions at once, and how many tokens were asked for."""
    with tokens() as (registry, server, token_registry):
        token_registry.grants, token_registry.unopened = grants, unopened
        answers: dict[str, Reply] = {}
        for at in range(0, len(_NAMES), at_once):
            futures = {n: registry.ask(Ask("digest", f"{server.host}/{n}:1")) for n in _NAMES[at : at + at_once]}
            answers |= {name: future.result(SOON) for name, future in futures.items()}
        return answers, len([line for line in server.asked if "Token" in line])


@cache
def _told_alone(granted: tuple[tuple[str, ...] | None, ...], unopened: int) -> tuple[dict[str, Reply], int]:
    """The same of each question by itself, where only what is given for one scope matters."""
    by_scope = dict(zip(map(_scope, _NAMES), granted, strict=True))
    return _told(lambda scopes: by_scope[scopes[0]], unopened, 1)


def test_two_private_repositories_on_one_host() -> None:
    with as_alice() as (registry, server, _):
        for _ in range(2):
            assert ask(registry, f"{server.host}/private/a:1") == GOOD
            assert ask(registry, f"{server.host}/private/b:1") == GOOD
        given = [asked.header("Authorization") for asked in server.asked if "Token" in asked]
        assert given == [basic("alice:secret")] * 2


def test_password_goes_to_the_realm_only() -> None:
    with as_alice() as (registry, server, _):
        ask(registry, f"{server.host}/private/a:1")
        assert not any(basic("alice:secret") in asked.head for asked in server.asked if "Token" not in asked)


def test_wrong_password() -> None:
    with as_alice() as (registry, server, token_registry):
        token_registry.login = "alice:other"
        assert ask(registry, f"{server.host}/private/a:1") == reason("unauthorized")
        assert ask(registry, f"{server.host}/public/a:1") == reason("unauthorized")


def test_token_is_renewed_before_it_expires() -> None:
    clock = Clock()
    with tokens(clock) as (registry, server, token_registry):
        token_registry.expires_in = 100
        for passed, tokens_so_far in ((0, 1), (89, 1), (2, 2), (89, 2)):
            clock.now += passed
            assert ask(registry, f"{server.host}/public/a:1", max_age_seconds=0) == GOOD
            assert len(token_registry.tokens) == tokens_so_far
        refused = [a for a in server.asked if a.startswith("HEAD") and not a.header("Authorization")]
        assert len(refused) == 1


@pytest.mark.parametrize("given", [None, "soon", True, -5, 0, [], 1e400, 10**400, 60])
def test_how_long_a_token_lives(given: object) -> None:
    clock = Clock()
    with tokens(clock) as (registry, server, token_registry):
        token_registry.expires_in = given
        ask(registry, f"{server.host}/public/a:1", max_age_seconds=0)
        clock.now += 53
        ask(registry, f"{server.host}/public/a:1", max_age_seconds=0)
        assert len(token_registry.tokens) == 1
        clock.now += 3600
        ask(registry, f"{server.host}/public/a:1", max_age_seconds=0)
        assert len(token_registry.tokens) == 2


def test_token_that_expired_early() -> None:
    with tokens() as (registry, server, token_registry):
        assert ask(registry, f"{server.host}/public/a:1", max_age_seconds=0) == GOOD
        token_registry.tokens = {"of others": ()}
        assert ask(registry, f"{server.host}/public/a:1", max_age_seconds=0) == GOOD
        assert ask(registry, f"{server.host}/public/a:1", max_age_seconds=0) == GOOD
        assert [asked.split()[0] for asked in server.asked[3:]] == ["HEAD", "GET", "HEAD", "HEAD"]


def test_token_for_the_wrong_scope() -> None:
    """A registry whose scopes are not named after its repositories says so in its challenge."""

    def answer(asked: Asked) -> Iterable[bytes]:
        if "/token" in asked:
            return [json_answer({"token": "right" if "group" in asked else "wrong"})]
        scope = "repository:group/app:pull repository:group/base:pull"
        challenge = f'WWW-Authenticate: Bearer realm="http://{server.host}/token?a=b",scope="{scope}"'
        return [OK] if asked.header("Authorization") == "Bearer right" else [head(challenge, status=401)]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/first:1") == GOOD
        assert ask(registry, f"{server.host}/second:1") == GOOD
        wanted = "scope=repository%3Agroup%2Fapp%3Apull&scope=repository%3Agroup%2Fbase%3Apull"
        assert [asked for asked in server.asked if "token" in asked] == [
            f"GET /token?a=b&{wanted}&scope=repository%3Afirst%3Apull",
            "GET /token?a=b&scope=repository%3Asecond%3Apull",
            f"GET /token?a=b&{wanted}&scope=repository%3Asecond%3Apull",
        ]


@pytest.mark.parametrize("name", ["team/tags/app", "team/tags", "a/manifests/b", "blobs/tags/x", "v2/app", "a/v2/b"])
def test_a_repository_whose_name_is_like_a_part_of_an_address(name: str) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        if "/token" in asked:
            return [json_answer({"token": "x" if parse_qs(asked)["scope"] == [f"repository:{name}:pull"] else "y"})]
        challenge = f'WWW-Authenticate: Bearer realm="http://{server.host}/token",service="x"'
        if asked.header("Authorization") != "Bearer x":
            return [head(challenge, status=401)]
        return [json_answer({"tags": ["1"]}) if asked.startswith("GET") else OK]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/{name}:1") == GOOD
        assert ask(registry, f"{server.host}/{name}", "tags") == Reply(tags=("1",))


@pytest.mark.parametrize("refusal", [0, 200, 401, 403])
def test_list_of_tags_that_takes_more_than_a_token_to_pull(refusal: int) -> None:
    """Azure's is such; a token for both is good for all that follows, and who may not have it may still pull."""
    granted: list[str] = []

    def answer(asked: Asked) -> Iterable[bytes]:
        if "/token" in asked:
            granted.append(parse_qs(asked.partition("?")[2])["scope"][0].rpartition(":")[2])
            if "," in granted[-1] and refusal == 200:
                granted[-1] = "pull"
            elif "," in granted[-1] and refusal:
                granted[-1] = ""
                return [http(refusal)]
            return [json_answer({"token": str(len(granted) - 1)})]
        wanted = "metadata_read" if "/tags/" in asked else "pull"
        token = asked.header("Authorization").removeprefix("Bearer ")
        if token and wanted in granted[int(token)].split(","):
            return [json_answer({"tags": ["1"]}) if "/tags/" in asked else OK]
        challenge = f'Bearer realm="http://{server.host}/token",service="x",scope="repository:team/app:{wanted}"'
        return [http(401, b"", f"WWW-Authenticate: {challenge}")]

    with asking(answer) as (registry, server):
        for _ in range(2):
            assert ask(registry, f"{server.host}/team/app:1", max_age_seconds=0) == GOOD
            listed = ask(registry, f"{server.host}/team/app", "tags", max_age_seconds=0)
            assert listed == (reason("unauthorized") if refusal else Reply(tags=("1",)))
        assert ask(registry, f"{server.host}/team/app:1", max_age_seconds=0) == GOOD
        assert refusal or granted == ["pull", "pull,metadata_read"]


def test_token_that_never_pleases() -> None:
    with tokens() as (registry, server, token_registry):
        token_registry.believes = False
        assert ask(registry, f"{server.host}/public/a:1") == reason("unauthorized")
        assert len(server.asked) == 3
        token_registry.parameters += ',scope="repository:other:pull"'
        assert ask(registry, f"{server.host}/public/b:1") == reason("unauthorized")
        assert len(server.asked) == 3 + 8  # a token for its own name, then for both, its own again, and the other


@pytest.mark.parametrize(("field", "parameters"), [("access_token", ""), ("token", "")])
def test_odd_names(field: str, parameters: str) -> None:
    with tokens() as (registry, server, token_registry):
        token_registry.field, token_registry.parameters = field, parameters
        assert ask(registry, f"{server.host}/public/a:1") == GOOD
        assert "service" not in server.asked[1]


@pytest.mark.parametrize(
    "token",
    [
        http(200, gzip.compress(b'{"token": "x"}', mtime=0), "Content-Encoding: gzip"),
        http(201, b'{"token": "x"}'),
        http(202, b'{"Access_Token": "x"}'),
        http(203, b'{"token": null, "access_token": "x"}'),
        http(200, b'{"token": "y", "access_token": "x"}'),
        http(200, b'\n{"token": "x", "user": "\xe9"}<!-- from a cache -->'),
    ],
)
def test_token_that_was_touched_on_the_way(token: bytes) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        if "/token" in asked:
            return [token]
        challenge = f'WWW-Authenticate: Bearer realm="http://{server.host}/token?of=a b"'
        return [OK] if asked.header("Authorization") == "Bearer x" else [head(challenge, status=401)]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/a:1") == GOOD
        assert server.asked[1].startswith("GET /token?of=a%20b&")


@each(
    ("answer", "word"),
    [
        (http(401), "unauthorized"),
        (http(403), "forbidden"),
        (http(500), "unavailable"),
        (http(307, b"", "Location: http://127.0.0.1:1/"), "unreachable"),
        (http(307, b"", "Location: ftp://127.0.0.1/"), "bad_answer"),
        (http(307, b"", "Location: /token"), "bad_answer"),
        (http(404), "refused"),
        (absent("GET"), "refused"),
        (http(418), "refused"),
        (http(200, b"<html>"), "bad_answer"),
        (http(200, b"[" * 100_000), "bad_answer"),
        (json_answer([]), "bad_answer"),
        (json_answer({"token": ""}), "bad_answer"),
        (json_answer({"token": 5}), "bad_answer"),
        (json_answer({"token": "a\r\nX-Evil: b"}), "bad_answer"),
        (json_answer({"token": "x" * 100_000}), "bad_answer"),
        (http(200, b"x" * (1 << 20) + b"x"), "bad_answer"),
    ],
)
def test_odd_token_server(answer: bytes, word: str) -> None:
    def both(asked: Asked) -> Iterable[bytes]:
        challenge = f'WWW-Authenticate: Bearer realm="http://{server.host}/token"'
        return [answer] if "token" in asked else [head(challenge, status=401)]

    with asking(both) as (registry, server):
        assert ask(registry, f"{server.host}/a:1") == reason(word)


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "no url", "http://[", "", "https://", "http://a b/"])
def test_realm_that_is_none(realm: str) -> None:
    with asking(lambda _: [head(f'WWW-Authenticate: Bearer realm="{realm}"', status=401)]) as (registry, server):
        assert ask(registry, f"{server.host}/a:1") == reason("bad_answer" if realm else "unauthorized")


# -- passwords, and identity tokens --------------------------------------------------------------------


def test_basic() -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        is_known = asked.header("Authorization") == basic("alice:secret")
        return [OK] if is_known else [head('WWW-Authenticate: Basic realm="x"', status=401)]

    with Misbehaving(answer) as server:
        with client(hosts={server.host: ALICE}) as registry:
            assert [ask(registry, f"{server.host}/a:{n}") for n in range(3)] == [GOOD] * 3
            assert [bool(asked.header("Authorization")) for asked in server.asked] == [False, True, True, True]
        wrong = RegistrySettings(username="alice", password=SecretStr("wrong"))
        with client(hosts={server.host: wrong}) as registry:
            assert ask(registry, f"{server.host}/a:1") == reason("unauthorized")


def test_password_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("\ufeffsecret\n")
    host = RegistrySettings(username="alice", password_file=path)
    token_registry = TokenRegistry()
    with Misbehaving(token_registry) as server, client(hosts={server.host: host}) as registry:
        token_registry.host = server.host
        assert ask(registry, f"{server.host}/private/a:1") == GOOD
        path.unlink()
        assert ask(registry, f"{server.host}/private/b:1") == reason("credentials")


def test_token_that_the_file_has_for_the_registry_is_shown_to_it(tmp_path: Path) -> None:
    """To nobody else, also where it is refused; so do engines, whose pull is given it, too."""
    token_registry = TokenRegistry()
    token_registry.tokens["t0ken"] = ["repository:private/a:pull"]
    with Misbehaving(token_registry) as server:
        token_registry.host = server.host
        (tmp_path / "config.json").write_text(f'{{"auths": {{"{server.host}": {{"registrytoken": "t0ken"}}}}}}')
        with client(tmp_path) as registry:
            assert ask(registry, f"{server.host}/private/a:1") == GOOD
            assert ask(registry, f"{server.host}/private/b:1") == reason("unauthorized")
            assert registry.login(server.host) == {"registrytoken": "t0ken"}
        assert not [asked for asked in server.asked if "/Token" in asked]


def test_identity_token_is_posted(tmp_path: Path) -> None:
    token_registry = TokenRegistry()
    token_registry.identity = "idtoken"
    with Misbehaving(token_registry) as server:
        token_registry.host = server.host
        (tmp_path / "config.json").write_text(f'{{"auths": {{"{server.host}": {{"identitytoken": "idtoken"}}}}}}')
        with client(tmp_path) as registry:
            assert ask(registry, f"{server.host}/private/a:1") == GOOD
        asked = server.asked[1]
        assert asked == "POST /Token"
        assert asked.header("Content-Type") == "application/x-www-form-urlencoded"
        for part in (b"grant_type=refresh_token", b"refresh_token=idtoken", b"service=reg%2Cistry", b"client_id="):
            assert part in asked.body
        assert "idtoken" not in asked.head


def test_redirect_takes_no_password_to_another_host() -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        if not asked.header("Authorization"):
            return [head("WWW-Authenticate: Basic", status=401)]
        return [head(f"Location: http://{target.host}/there", status=307)]

    def back(_asked: Asked) -> Iterable[bytes]:
        challenge = "WWW-Authenticate: Basic"
        return (
            [head(f"Location: http://{server.host}/v2/", status=302)]
            if len(target.asked) == 1
            else [head(challenge, status=401)]
        )

    with Misbehaving(back) as target, Misbehaving(answer) as server:
        with client(hosts={server.host: ALICE, target.host: ALICE}) as registry:
            # Not even back at the first host, and a challenge of the other is not answered.
            assert ask(registry, f"{server.host}/a:1") == reason("unauthorized")
        assert [asked.header("Authorization") for asked in target.asked] == [""]
        assert [bool(asked.header("Authorization")) for asked in server.asked] == [False, True, False]


@each("refusal", [400, 401, 403])
def test_what_a_redirect_within_the_host_leads_to_is_asked_without_a_login_if_it_refuses_one(refusal: int) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        login = asked.header("Authorization")
        if asked.startswith("HEAD /signed/"):
            return [head(status=refusal) if login else OK]
        return [head("Location: /signed/?x=y", status=307) if login else head("WWW-Authenticate: Basic", status=401)]

    with Misbehaving(answer) as server, client(hosts={server.host: ALICE}) as registry:
        for tag in "12":
            assert ask(registry, f"{server.host}/a:{tag}") == Reply(digest=DIGEST)


@each("without", [head("Location: /login", status=302), head(status=404), head(status=500)])
def test_what_a_redirect_within_the_host_leads_to_is_asked_once_if_it_takes_the_login(without: bytes) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        login = asked.header("Authorization")
        if asked.startswith("HEAD /there/"):
            return [OK if login else without]
        return [head("Location: /there/", status=307) if login else head("WWW-Authenticate: Basic", status=401)]

    with Misbehaving(answer) as server, client(hosts={server.host: ALICE}) as registry:
        for tag in "12":
            assert ask(registry, f"{server.host}/a:{tag}") == Reply(digest=DIGEST)
        assert [request.split()[1][:4] for request in server.asked] == ["/v2/", "/v2/", "/the", "/v2/", "/the"]


@each("refusal", [400, 401, 403])
def test_a_refusal_stays_one_whatever_is_said_to_nobody(refusal: int) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        login = asked.header("Authorization")
        if "/there/" in asked:
            return [head(status=refusal) if login else absent(asked)]
        return [head("Location: /there/", status=307) if login else head("WWW-Authenticate: Basic", status=401)]

    with Misbehaving(answer) as server, client(hosts={server.host: ALICE}) as registry:
        assert ask(registry, f"{server.host}/a:1").reason not in ("", "not_found")


def test_pages_under_another_path_are_asked_for_once() -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        if not asked.header("Authorization"):
            return [http(401, b"", "WWW-Authenticate: Basic")]
        number = int(asked.partition("last=")[2] or 0)
        link = [f'Link: </from/within/v2/a/tags/list?last={number + 1}>; rel="next"'] if number < 9 else []
        return [http(200, json.dumps({"tags": [str(number)]}).encode(), *link)]

    with Misbehaving(answer) as server, client(hosts={server.host: ALICE}) as registry:
        assert ask(registry, f"{server.host}/a", "tags") == Reply(tags=tuple("0123456789"))
        assert len(server.asked) == 1 + 10


def test_challenge_of_another_host_is_not_answered() -> None:
    with (
        Misbehaving(lambda _: [head("WWW-Authenticate: Basic", status=401)]) as target,
        Misbehaving(lambda _: [head(f"Location: http://{target.host}/there", status=307)]) as server,
        client(hosts={server.host: ALICE, target.host: ALICE}) as registry,
    ):
        assert ask(registry, f"{server.host}/a:1") == reason("unauthorized")
        assert len(target.asked) == len(server.asked) == 1
        assert "authorization" not in target.heads[0].lower()


def test_redirect_to_a_host_with_tokens_of_its_own() -> None:
    """It gets no password; and tokens are for one repository as it is called there."""
    elsewhere = TokenRegistry()

    def answer(asked: Asked) -> Iterable[bytes]:
        return [head(f"Location: http://{target.host}{asked.split()[1].replace('/v2/', '/v2/public/')}", status=307)]

    with Misbehaving(elsewhere) as target, Misbehaving(answer) as server:
        elsewhere.host = target.host
        with client(hosts={server.host: ALICE, target.host: ALICE}) as registry:
            for n in range(3):
                assert ask(registry, f"{server.host}/app:{n}") == GOOD
        assert [asked.split()[0] for asked in target.asked] == ["HEAD", "GET", "HEAD", "HEAD", "HEAD"]
        assert "scope=repository%3Apublic%2Fapp%3Apull" in target.asked[1]
        assert not [asked for asked in target.asked if asked.header("Authorization").startswith("Basic")]
        assert len(server.asked) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("is_same", [True, False])
@pytest.mark.parametrize("identity", ["", "idtoken"])
def test_server_of_tokens_that_has_moved(status: int, is_same: bool, identity: str, tmp_path: Path) -> None:  # noqa: FBT001
    """Follow it; but what is secret goes to no other host."""

    def moved(asked: Asked) -> Iterable[bytes]:
        if asked.split()[1].startswith("/moved"):
            host = server.host if is_same else other.host
            query = asked.partition("?")[2] or "scope=repository:public/app:pull"
            return [http(status, b"", f"Location: http://{host}/Token?{query}")]
        return token_registry(asked)

    token_registry = TokenRegistry()
    token_registry.identity = identity
    with Misbehaving(token_registry) as other, Misbehaving(moved) as server:
        token_registry.realm = f"http://{server.host}/moved"
        auth = {"identitytoken": identity} if identity else {"username": "alice", "password": "secret"}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: auth}}))
        with client(tmp_path) as registry:
            found = ask(registry, f"{server.host}/public/app:1")
        is_kept = bool(identity) and status in (307, 308) and not is_same
        assert found == (reason("bad_answer") if is_kept else GOOD)
        for asked in other.asked:
            assert not asked.header("Authorization")
            assert b"idtoken" not in asked.body
        if is_same and not identity:
            given = [asked.header("Authorization") for asked in server.asked if not asked.startswith("HEAD")]
            assert given == [basic("alice:secret")] * 2


@pytest.mark.parametrize("status", [401, 404, 405])
def test_server_of_tokens_that_knows_the_older_way_only(status: int, tmp_path: Path) -> None:
    token_registry = TokenRegistry(login=":idtoken")

    def answer(asked: Asked) -> Iterable[bytes]:
        return [http(status)] if asked.startswith("POST") else token_registry(asked)

    with Misbehaving(answer) as server:
        token_registry.host = server.host
        (tmp_path / "config.json").write_text(f'{{"auths": {{"{server.host}": {{"identitytoken": "idtoken"}}}}}}')
        with client(tmp_path) as registry:
            assert ask(registry, f"{server.host}/private/a:1") == GOOD
            token_registry.login = ":changed"
            assert ask(registry, f"{server.host}/private/b:1") == reason("unauthorized")


@pytest.mark.parametrize(
    "answer", [http(404), http(404, b"404 page not found"), absent("GET"), absent("GET", "NOT_FOUND")]
)
def test_404_of_a_server_of_tokens_is_about_no_manifest(answer: bytes, tmp_path: Path) -> None:
    """Whether it is asked by GET or, for an identity token, by POST."""
    challenge = 'WWW-Authenticate: Bearer realm="http://{}/token"'
    with Misbehaving(
        lambda asked: [answer if "/token" in asked else head(challenge.format(server.host), status=401)]
    ) as server:
        for auth in ({}, {"username": "alice", "password": "secret"}, {"identitytoken": "idtoken"}):
            (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: auth}}))
            with client(tmp_path) as registry:
                for n in range(2):
                    assert ask(registry, f"{server.host}/app:{n}") == reason("refused")


@each("placeholder", ["repository:user/image:pull", "*", "repository:*:*", "registry:catalog:*", ""])
@each("takes", ["all", "first", "last", "own"])
def test_scope_that_is_a_placeholder(placeholder: str, takes: str) -> None:
    """Whether the server of tokens reads one scope or all of them, or refuses what it does not know."""

    def answer(asked: Asked) -> Iterable[bytes]:
        own = "repository:app:pull"
        if "/token" in asked:
            wanted = parse_qs(asked.partition("?")[2]).get("scope", [""])
            if takes == "own" and wanted != [own]:
                return [http(403)]
            given = {"first": wanted[:1], "last": wanted[-1:]}.get(takes, wanted)
            return [json_answer({"token": "good" if own in given else "useless"})]
        challenge = f'WWW-Authenticate: Bearer realm="http://{server.host}/token",scope="{placeholder}"'
        return [OK] if asked.header("Authorization") == "Bearer good" else [head(challenge, status=401)]

    with asking(answer) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == GOOD
        server.asked.clear()
        assert ask(registry, f"{server.host}/app:2") == GOOD
        assert len(server.asked) == 1


def test_403_is_a_challenge_where_it_asks_for_a_token() -> None:
    token_registry = TokenRegistry()

    def answer(asked: Asked) -> Iterable[bytes]:
        return [piece.replace(b" 401 ", b" 403 ") for piece in token_registry(asked)]

    with Misbehaving(answer) as server:
        token_registry.host = server.host
        with client() as registry:
            assert ask(registry, f"{server.host}/public/app:1") == GOOD
            assert ask(registry, f"{server.host}/private/app:1") == reason("forbidden")


@pytest.fixture
def everything() -> Iterator[Everything]:
    """All that is logged, at any level, through either library."""
    handler, root = Everything(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    with structlog.testing.capture_logs() as handler.structured:
        yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def test_nothing_private_is_ever_said(
    everything: Everything, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    structlog.get_logger().debug("to see that it would be seen")
    observed: list[object] = []
    token_registry = TokenRegistry()
    with Misbehaving(token_registry) as server, Misbehaving(token_registry) as broken:
        token_registry.host = server.host
        (tmp_path / "config.json").write_text(f'{{"auths": {{"{broken.host}": {{"auth": "secret!"}}}}}}')
        tell: dict[str, Any] = {"observe": lambda *what: observed.append(what)}
        with client(tmp_path, hosts={server.host: ALICE}, **tell) as registry:
            replies = [ask(registry, f"{server.host}/{name}:1") for name in ("private/a", "public/b")]
            replies.append(ask(registry, f"{broken.host}/private/a:1"))
            token_registry.login = "alice:changed"
            replies.append(ask(registry, f"{server.host}/private/c:1"))
            token_registry.login, token_registry.field = "alice:secret", "unknown"
            replies.append(ask(registry, f"{server.host}/private/d:1"))
            objects = [registry, *vars(registry).values(), ALICE, registry._shared.credentials.login(server.host)]
            objects += [e._guard for known in registry._registries.values() for e in known.endpoints()]
    assert [reply.reason for reply in replies] == ["", "", "credentials", "unauthorized", "bad_answer"]
    assert len(everything.structured) == 2  # the line above, and one about the broken file
    said = [
        *everything.lines,
        *map(repr, everything.structured),
        *map(repr, replies),
        *map(repr, objects),
        *map(repr, observed),
        *capfd.readouterr(),
    ]
    for secret in ("secret", basic("alice:secret").removeprefix("Basic "), "t0ken-"):
        assert not [line for line in said if secret in line]


def test_settings_do_not_show_passwords() -> None:
    assert "secret" not in repr(ALICE) + str(ALICE) + str(ALICE.model_dump())
    for wrong in ({"password": "secret"}, {"username": "x", "password": "secret", "password_file": "/x"}):
        with pytest.raises(ValidationError) as caught:
            RegistrySettings.model_validate(wrong)
        assert caught.value.errors(include_input=False, include_url=False)[0]["msg"].startswith("Value error")

"""Logins from Docker's config.json and its helpers, whole and broken."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from dockwarden.config.files import docker_config
from dockwarden.ports import Reply
from dockwarden.registry.credentials import Credentials, Login
from tests.lab.waiting import PATIENCE
from tests.tables import each
from tests.unit.misbehaving import Misbehaving, http, json_answer
from tests.unit.registries import DIGEST, OK, Clock, TokenRegistry, ask, basic, client, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.unit.misbehaving import Asked

SECRET = Login("alice", "secret")
AUTH = base64.b64encode(b"alice:secret").decode()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a helper of this name, a shell script, where programs are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, script: str) -> None:
        path = folder / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


def write(folder: Path, content: Any) -> Path:
    path = folder / "config.json"
    # Another inode, as Docker's command line writes it.
    (folder / "new").write_text(content if isinstance(content, str) else json.dumps(content))
    (folder / "new").replace(path)
    return path


def logins(folder: Path, content: Any, clock: Clock | None = None) -> Credentials:
    return Credentials({}, write(folder, content), clock or Clock())


@pytest.mark.parametrize(
    ("auths", "registry", "expected"),
    [
        ({"host:5000": {"auth": AUTH}}, "host:5000", SECRET),
        ({"host:5000": {"auth": AUTH}}, "host", None),
        ({"https://host": {"auth": AUTH}}, "host", SECRET),
        ({"http://host/v1/": {"auth": AUTH}}, "host", SECRET),
        ({"https://host/v2/": {"auth": "eDp5"}, "host": {"auth": AUTH}}, "host", SECRET),
        ({"host": {"username": "alice", "password": "secret"}}, "host", SECRET),
        ({"host": {"auth": base64.b64encode(b"alice:secret\0\0").decode()}}, "host", SECRET),
        ({"host": {"auth": base64.b64encode(b"alice:a:b").decode()}}, "host", Login("alice", "a:b")),
        ({"host": {"auth": base64.encodebytes(b"alice:" + b"x" * 99).decode()}}, "host", Login("alice", "x" * 99)),
        ({"host": {"auth": f" {AUTH[:3]}\r\n\t{AUTH[3:]}\n"}}, "host", SECRET),
        ({"host": {"identitytoken": "t", "auth": AUTH}}, "host", Login(identity="t")),
        ({"host": {"registrytoken": "r", "identitytoken": "t", "auth": AUTH}}, "host", Login(token="r")),
        ({"host": {}}, "host", None),
        ({}, "host", None),
        ({"https://index.docker.io/v1/": {"auth": AUTH}}, "docker.io", SECRET),
        ({"docker.io": {"auth": AUTH}}, "docker.io", SECRET),
        ({"registry-1.docker.io": {"auth": AUTH}}, "docker.io", SECRET),
        ({"docker.io": {"auth": "eDp5"}, "https://index.docker.io/v1/": {"auth": AUTH}}, "docker.io", SECRET),
    ],
)
def test_file(auths: dict[str, object], registry: str, expected: Login | None, tmp_path: Path) -> None:
    assert logins(tmp_path, {"auths": auths}).login(registry) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"auths": {"host": {"auth": AUTH}}}, SECRET),
        ({"auths": {"https://host/v1/": {"auth": AUTH}}}, SECRET),
        (f'{{"auths": {{"host": {{"auth": "{AUTH}"}}}}, "user": "\udce9"}}', SECRET),  # a byte that is no UTF-8
        ({"auths": {"other": {"auth": AUTH}}}, Login("x", "y")),
        ({"auths": {"host": {"auth": "%"}}}, Login("x", "y")),
        ("{", Login("x", "y")),
        ("", Login("x", "y")),
    ],
)
def test_what_the_environment_has_comes_before_the_file(given: Any, expected: Login, tmp_path: Path) -> None:
    """As for Docker's command line from 28.3 on."""
    text = given if isinstance(given, str) else json.dumps(given)
    path = write(tmp_path, {"auths": {"host": {"auth": base64.b64encode(b"x:y").decode()}}})
    with structlog.testing.capture_logs() as logs:
        credentials = Credentials({}, path, Clock(), text)
        assert credentials.login("host") == expected
    is_broken = "%" in text or text == "{"
    assert credentials.is_troubled("host") == is_broken
    assert [line["why"] for line in logs] == ["DOCKER_AUTH_CONFIG cannot be used"] * is_broken


def test_where_the_environment_has_it(tmp_path: Path) -> None:
    registry = TokenRegistry()
    with Misbehaving(registry) as server:
        registry.host = server.host
        given = {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {server.host: {"auth": AUTH}}})}
        with client(tmp_path, environ=given) as asked:
            assert ask(asked, f"{server.host}/private/app:1") == Reply(digest=DIGEST)


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        "[" * 100_000,
        "\xff\xfe",
        {"auths": ["x"]},
        {"auths": "x"},
        {"credHelpers": ["x"]},
        {"credsStore": {"x": 1}},
        {"auths": {"host": "x"}},
        {"auths": {"host": {"auth": "not base64!"}}},
        {"auths": {"host": {"auth": "bm9jb2xvbg=="}}},
        {"auths": {"host": {"auth": 5}}},
        {"auths": {"host": {"username": 5}}},
        {"credsStore": "../evil"},
        {"credsStore": "that does not exist"},
        {"credsStore": "that-does-not-exist"},
        {"credHelpers": {"host": ["x"]}},
    ],
)
def test_broken_file(content: object, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        credentials = logins(tmp_path, content)
        for _ in range(3):
            assert credentials.login("host") is None
            assert credentials.is_troubled("host")
    assert [entry["registry"] for entry in logged] == ["host"]


@pytest.mark.parametrize("content", ["", "  \n", "null", {}, {"auths": None, "credHelpers": None, "credsStore": None}])
def test_empty_file(content: object, tmp_path: Path) -> None:
    assert logins(tmp_path, content).login("host") is None


@pytest.mark.parametrize("text", ["%s}", "\n%s\nx", "%s{}", "\ufeff%s"])
def test_file_with_something_before_or_after(text: str, tmp_path: Path) -> None:
    assert logins(tmp_path, text % json.dumps({"auths": {"host": {"auth": AUTH}}})).login("host") == SECRET


@pytest.mark.parametrize("entry", [{"Auth": AUTH}, {"UserName": "alice", "PASSWORD": "secret"}])
def test_file_with_keys_in_capitals(entry: dict[str, str], tmp_path: Path) -> None:
    assert logins(tmp_path, {"Auths": {"host": entry}, "CREDSSTORE": ""}).login("host") == SECRET


def test_no_file(tmp_path: Path) -> None:
    assert Credentials({}, tmp_path / "none" / "config.json").login("host") is None


def test_broken_entry_is_the_matter_of_its_host_only(tmp_path: Path) -> None:
    credentials = logins(tmp_path, {"auths": {"bad": {"auth": "!"}, "good": {"auth": AUTH}}})
    assert credentials.login("bad") is None
    assert credentials.login("good") == SECRET
    assert [credentials.is_troubled(host) for host in ("bad", "good", "unheard-of")] == [True, False, False]


def test_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    credentials = logins(tmp_path, "broken")
    assert credentials.login("host") is None
    write(tmp_path, {"auths": {"host": {"auth": AUTH}}})
    assert credentials.login("host") == SECRET
    assert not credentials.is_troubled("host")
    (tmp_path / "config.json").unlink()
    assert credentials.login("host") is None


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    credentials = Credentials({}, tmp_path / "config.json")
    assert credentials.login("host") is None
    assert credentials.is_troubled("host")


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    assert str(docker_config()) == "/home/x/.docker/config.json"
    monkeypatch.setenv("DOCKER_CONFIG", "/etc/docker-login")
    assert str(docker_config()) == "/etc/docker-login/config.json"


# -- helpers -------------------------------------------------------------------------------------------


@each(
    ("says", "is_asked_too"),
    [
        ("echo credentials not found in native keychain; exit 1", False),
        ("""echo '{"Username": "", "Secret": "secret"}'""", False),
        ("""echo '{"Username": "alice", "Secret": ""}'""", False),
        ("echo locked; exit 1", True),
        ("echo credentials not found; exit 1", True),
        ("echo no JSON", True),
        ("true", True),
    ],
)
def test_what_the_file_has_counts_only_where_its_helper_cannot_be_asked(
    tmp_path: Path, program: Callable[[str, str], None], says: str, *, is_asked_too: bool
) -> None:
    """As with Docker's command line: a login that was left there may be refused where nobody's is not."""
    program("some", says)
    credentials = logins(tmp_path, {"credsStore": "some", "auths": {"host": {"auth": AUTH}}})
    assert credentials.login("host") == (SECRET if is_asked_too else None)


@each(
    ("key", "registry", "is_asked_too"),
    [
        ("https://index.docker.io/v1/", "docker.io", False),
        ("docker.io", "docker.io", True),
        ("index.docker.io", "docker.io", True),
        ("host", "host", False),
        ("https://host", "host", True),
    ],
)
def test_a_helper_under_a_key_that_docker_does_not_know_hides_no_login(
    tmp_path: Path, program: Callable[[str, str], None], key: str, registry: str, *, is_asked_too: bool
) -> None:
    """Docker's command line then has what the file has."""
    program("some", "echo credentials not found in native keychain; exit 1")
    auths = {"https://index.docker.io/v1/": {"auth": AUTH}, "host": {"auth": AUTH}}
    credentials = logins(tmp_path, {"credHelpers": {key: "some"}, "auths": auths})
    assert credentials.login(registry) == (SECRET if is_asked_too else None)


def test_helper(tmp_path: Path, program: Callable[[str, str], None]) -> None:
    program(
        "good",
        f"""test "$1" = get && read server; echo "$server" >>{tmp_path}/asked
        echo '{{"ServerURL": "x", "Username": "alice", "Secret": "secret"}}' """,
    )
    program("identity", """echo '{"username": "<token>", "secret": "idtoken"}'; echo there is a new version""")
    program("empty", "echo credentials not found in native keychain; exit 1")
    credentials = logins(
        tmp_path,
        {
            "credsStore": "good",
            "credHelpers": {"other": "identity", "third": "empty", "fourth": "empty"},
            "auths": {"host": {}, "fourth": {"auth": AUTH}},
        },
    )
    assert credentials.login("host") == credentials.login("docker.io") == SECRET
    assert credentials.login("other") == Login(identity="idtoken")
    assert credentials.login("third") is None
    assert credentials.login("fourth") is None
    assert (tmp_path / "asked").read_text().split() == ["host", "https://index.docker.io/v1/"]


def test_helper_is_asked_once_until_it_is_refused_or_time_passes(
    tmp_path: Path, program: Callable[[str, str], None]
) -> None:
    clock = Clock()
    answer = tmp_path / "answer"
    program("count", f"echo x >>{tmp_path}/calls; cat {answer}")
    answer.write_text('{"Username": "alice", "Secret": "secret"}')
    credentials = logins(tmp_path, {"credsStore": "count"}, clock)

    def calls() -> int:
        return len((tmp_path / "calls").read_text().split())

    assert credentials.login("host") == credentials.login("host") == SECRET
    assert calls() == 1
    clock.now += 60
    assert credentials.renewed("host", SECRET) is None
    assert calls() == 2
    answer.write_text('{"Username": "alice", "Secret": "new"}')
    assert credentials.renewed("host", SECRET) is None  # what it said a moment ago is not too old
    assert calls() == 2
    clock.now += 60
    assert credentials.renewed("host", SECRET) == Login("alice", "new")
    assert credentials.renewed("host", SECRET) == Login("alice", "new")  # another was refused the same meanwhile
    assert calls() == 3
    clock.now += 601
    credentials.login("host")
    assert calls() == 4


@pytest.mark.parametrize(
    "script",
    [
        "echo rubbish",
        "echo '[]'",
        """echo '{"Username": 5, "Secret": "x"}'""",
        """echo '{"Username": "x"}'""",
        """echo '{"Username": "x", "Secret": ["hunter2"]}'; echo hunter2 >&2""",
        "echo hunter2; exit 1",
        "exit 3",
        "kill -9 $$",
        "yes",
        "exec sleep 60",
        "sleep 60",
        "sleep 3 & echo '{}'; exit 1",
        "exec >&-; sleep 60",
    ],
)
def test_bad_helper(
    script: str, tmp_path: Path, program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockwarden.registry.credentials._ANSWER_SECONDS", 0.3 if "sleep" in script else PATIENCE)
    started: list[int] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    clock = Clock()
    program("bad", script)
    with structlog.testing.capture_logs() as logged:
        credentials = logins(tmp_path, {"credHelpers": {"host": "bad"}, "auths": {"other": {"auth": AUTH}}}, clock)
        for _ in range(3):
            assert credentials.login("host") is None
            assert credentials.is_troubled("host")
        assert credentials.login("other") == SECRET
        [helper] = started
        assert not Path(f"/proc/{helper}").exists()
        clock.now += 61
        monkeypatch.setattr("dockwarden.registry.credentials._ANSWER_SECONDS", PATIENCE)
        program("bad", """echo '{"Username": "alice", "Secret": "secret"}'""")
        assert credentials.login("host") == SECRET
    assert [entry["registry"] for entry in logged] == ["host"]
    assert "docker-credential-bad" in logged[0]["why"]
    assert "hunter2" not in repr(logged)


def test_one_bad_helper_among_registries(
    tmp_path: Path, program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockwarden.registry.credentials._ANSWER_SECONDS", 0.3)
    program("bad", "sleep 60")
    first, second, third = TokenRegistry(), TokenRegistry(), TokenRegistry()
    with Misbehaving(first) as bad, Misbehaving(second) as good, Misbehaving(third) as anonymous:
        first.host, second.host, third.host = bad.host, good.host, anonymous.host
        write(tmp_path, {"credHelpers": {bad.host: "bad"}, "auths": {good.host: {"auth": AUTH}}})
        with client(tmp_path) as registry:
            assert ask(registry, f"{bad.host}/private/app:1") == reason("credentials")
            assert ask(registry, f"{bad.host}/public/app:1") == Reply(digest=DIGEST)
            assert ask(registry, f"{good.host}/private/app:1") == Reply(digest=DIGEST)
            assert ask(registry, f"{anonymous.host}/public/app:1") == Reply(digest=DIGEST)


@pytest.mark.parametrize("helper", [{"credsStore": "is-not-installed"}, {"credHelpers": {"host": "is-not-installed"}}])
def test_the_files_own_entry_counts_where_a_helper_is_not_installed(helper: dict[str, Any], tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        credentials = logins(tmp_path, {**helper, "auths": {"host": {"auth": AUTH}}})
        assert [credentials.login("host") for _ in range(3)] == [SECRET] * 3
    assert [(entry["registry"], "is-not-installed" in entry["why"]) for entry in logged] == [("host", True)]


def test_no_helper_for_one_host(tmp_path: Path) -> None:
    auths = {host: {"auth": AUTH} for host in ("mine", "other")}
    with structlog.testing.capture_logs() as logged:
        credentials = logins(tmp_path, {"credsStore": "none", "credHelpers": {"mine": ""}, "auths": auths})
        assert [credentials.login(host) for host in auths] == [SECRET] * 2
    assert [entry["registry"] for entry in logged] == ["other"]


@pytest.mark.parametrize("refusal", [401, 403])
@pytest.mark.parametrize("realm", ["Bearer", "Basic"])
def test_helper_whose_answer_became_too_old(
    tmp_path: Path, program: Callable[[str, str], None], realm: str, refusal: int
) -> None:
    """Amazon's registry forbids what others call unauthorized."""
    answer = tmp_path / "answer"
    program("cat", f"echo x >>{tmp_path}/calls; cat {answer}")
    valid = "alice:secret"

    def answers(asked: Asked) -> Sequence[bytes]:
        said = asked.header("Authorization")
        if said in (basic(valid), "Bearer good"):
            return [json_answer({"token": "good"})] if asked.startswith("GET /token") else [OK]
        if said.startswith("Basic"):
            return [http(refusal)]
        challenge = f'Bearer realm="http://{server.host}/token",service="x"' if realm == "Bearer" else 'Basic realm="x"'
        return [http(401, b"", f"WWW-Authenticate: {challenge}")]

    def says(password: str) -> None:
        answer.write_text(json.dumps({"Username": "alice", "Secret": password}))

    says("secret")
    clock = Clock()
    with Misbehaving(answers) as server:
        write(tmp_path, {"credHelpers": {server.host: "cat"}})
        with client(tmp_path, clock) as registry:
            assert ask(registry, f"{server.host}/a:1") == Reply(digest=DIGEST)
            valid = "alice:new"
            says("new")
            clock.now += 60
            assert ask(registry, f"{server.host}/b:1") == Reply(digest=DIGEST)
            valid = "somebody else's"
            word = {401: "unauthorized", 403: "forbidden"}[refusal]
            clock.now += 60
            for number in range(5):  # whom the helper cannot help need not wait for it
                assert ask(registry, f"{server.host}/c{number}:1") == reason(word)
            assert len((tmp_path / "calls").read_text().split()) == 3


def test_registry_that_asks_nobody_needs_no_login(tmp_path: Path) -> None:
    write(tmp_path, "broken")
    with Misbehaving(lambda _: [OK]) as server, client(tmp_path) as registry:
        assert ask(registry, f"{server.host}/app:1") == Reply(digest=DIGEST)

"""What is no file is refused at once, wherever a file may be named."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dockwarden.actions.table import VERBS
from dockwarden.config import settings
from dockwarden.config.files import MAX_BYTES, MAX_DEPTH, below, content
from dockwarden.config.settings import RouteSettings
from dockwarden.engine.endpoint import from_environment
from dockwarden.errors import ConfigError, LedgerError
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.oneshot import plans
from dockwarden.policy.load import load
from dockwarden.process.claim import claim, holder
from dockwarden.registry.credentials import Credentials
from dockwarden.sinks.ledger import Ledger
from dockwarden.sinks.notify import open_routes
from dockwarden.web.config import read_access

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPTLY_SECONDS = 20


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def listening(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path.relative_to(Path.cwd())) if len(str(path)) > 100 else str(path))
    return path


def loop(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


def link_to_a_fifo(path: Path) -> Path:
    path.symlink_to(fifo(path.with_name("pipe")))
    return path


def huge(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return path


NO_FILES: dict[str, Callable[[Path], Path]] = {
    "fifo": fifo,
    "link to a fifo": link_to_a_fifo,
    "socket": listening,
    "loop of links": loop,
    "folder": lambda path: path,
    "endless device": lambda _: Path("/dev/zero"),
    "silent device": lambda _: Path("/dev/ptmx"),
    "log of the kernel": lambda _: Path("/proc/kmsg"),
    "larger than any": huge,
    "nothing": lambda path: path / "nothing",
}


@pytest.fixture(params=NO_FILES)
def named(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "folder":
        return tmp_path
    return NO_FILES[request.param](tmp_path / "named")


def promptly(call: Callable[[], object]) -> BaseException | None:
    """What a call raised, which must end."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is looked at
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PROMPTLY_SECONDS)
    assert raised, "it waits for what will never come"
    return raised[0]


def test_what_is_no_file_is_an_error_with_a_reason(named: Path) -> None:
    error = promptly(lambda: content(named))
    assert isinstance(error, OSError)
    assert error.strerror


def test_settings_refuse_what_is_no_file(named: Path) -> None:
    assert isinstance(promptly(lambda: settings.read_settings(named, environ={})), ConfigError)


def test_policies_refuse_what_is_no_file(named: Path) -> None:
    error = promptly(lambda: load([named], VOCABULARY, VERBS))
    assert isinstance(error, ConfigError)
    assert str(named) in str(error)


def test_web_access_refuses_what_is_no_file(named: Path) -> None:
    assert isinstance(promptly(lambda: read_access(named)), ConfigError)


@pytest.mark.parametrize("key", ["cert_file", "key_file", "client_ca_file"])
def test_certificates_are_files(named: Path, key: str, tmp_path: Path) -> None:
    for name in ("cert", "ca"):
        (tmp_path / name).write_text("no certificate")
    files = {"cert_file": "cert", "key_file": "cert", "client_ca_file": "ca"} | {key: str(named)}
    config = tmp_path / "web.yml"
    lines = "".join(f"  {name}: {file}\n" for name, file in files.items())
    config.write_text(f"tls_server_config:\n  client_auth_type: RequireAndVerifyClientCert\n{lines}")
    assert isinstance(promptly(lambda: read_access(config)), ConfigError)


def test_a_saved_plan_is_a_file(named: Path) -> None:
    assert isinstance(promptly(lambda: plans.read(named)), ConfigError)


def test_the_address_of_a_route_is_in_a_file(named: Path) -> None:
    assert isinstance(promptly(lambda: open_routes({"r": RouteSettings(url_file=named)})), ConfigError)


def test_logins_are_in_a_file(named: Path) -> None:
    promptly(lambda: Credentials({}, named).login("registry.example"))  # without one or with a reason, but soon


def test_policies_in_a_folder_that_holds_such_are_refused_with_its_name(tmp_path: Path) -> None:
    fifo(tmp_path / "pipe.yaml")
    error = promptly(lambda: load([tmp_path], VOCABULARY, VERBS))
    assert f"{tmp_path}/pipe.yaml: not a regular file" in str(error)


def test_a_loop_of_folders_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.yaml").write_text("x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert list(below(tmp_path, (".yaml",))) == [tmp_path / "a" / "one.yaml"]


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1500])
def test_folders_below_folders_without_end_are_an_error(tmp_path: Path, depth: int) -> None:
    before = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("one.yaml").write_text("x")
    finally:
        os.chdir(before)
    try:
        error = promptly(lambda: load([tmp_path], VOCABULARY, VERBS))
        assert f"nested deeper than {MAX_DEPTH}" in str(error)
    finally:
        _remove(tmp_path / "d", depth)


def _remove(folder: Path, depth: int) -> None:
    """Take the folders away again; pytest's own clean-up cannot go so deep."""
    path = "/".join((str(folder.parent), *["d"] * depth))
    os.unlink(f"{path}/one.yaml")  # noqa: PTH108 - such a path is too dear for pathlib
    for _ in range(depth):
        os.rmdir(path)  # noqa: PTH106
        path = path.removesuffix("/d")


def test_just_as_much_as_is_allowed_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * MAX_BYTES)
    assert len(content(file)) == MAX_BYTES
    file.write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(OSError, match="larger than"):
        content(file)


def test_docker_config_that_is_no_file_keeps_no_command_waiting(
    named: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "config.json").symlink_to(named)
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    assert isinstance(promptly(lambda: from_environment({})), ConfigError | None)


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal", "acting.lock", "daemon.lock"])
def test_what_is_no_file_in_the_state_folder_keeps_nobody_waiting(named: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "ledger.db").touch()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(named)

    def use(step: Callable[[Ledger], None]) -> None:
        with closing(Ledger(folder, time.time, lambda _: None)) as ledger:
            step(ledger)

    def act(ledger: Ledger) -> None:
        with suppress(LedgerError), ledger.alone():
            ledger.open()

    def take() -> None:
        if lock := claim(folder):
            lock.close()

    uses = [lambda step=step: use(step) for step in (Ledger.open_to_read, Ledger.open, act)]
    for call in (*uses, take, lambda: holder(folder)):
        assert isinstance(promptly(call), OSError | None)


def test_secret_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dockwarden_registries").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    error = promptly(lambda: settings.read_settings(None, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}))
    assert isinstance(error, ConfigError)

"""Commands by people who are not root: they answer, or say in one line why not and what helps; never a traceback."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from contextlib import ExitStack, closing, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from dockwarden import cli
from dockwarden.sinks.ledger import Ledger
from tests.e2e.harness import policy, write_policies
from tests.lab.images import ImageSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.lab.engine import LabEngine

NOBODY = 65534
READING = (
    ("scan",),
    ("scan", "-o", "json"),
    ("plan",),
    ("images", "--offline"),
    ("history", "users/app:1"),
    ("history", "--actions"),
    ("history", "--findings"),
    ("undo", "--list"),
    ("check",),
)
OF_THE_LEDGER_ALONE = ("history", "undo")


class Said(NamedTuple):
    code: int
    out: str


class Setting(NamedTuple):
    """Settings that everybody may read, of a state folder that only root may."""

    config: Path
    host: str


def as_user(group: int, arguments: Sequence[str], environment: dict[str, str]) -> Said:
    """Run a command in a process of a user without rights, in the given group.

    The interpreter's files may be in folders that others may not read, so root runs it once before, in vain.
    """
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            code = 99
            try:
                os.environ.update(environment)
                with Path(os.devnull).open("w", encoding="utf-8") as nothing, redirect_stdout(nothing):
                    sys.stderr = nothing
                    cli.main(list(arguments))
                sys.stdout = sys.stderr = io.TextIOWrapper(os.fdopen(said.fileno(), "wb", closefd=False))
                os.setgroups([])
                os.setresgid(group, group, group)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                code = cli.main(list(arguments))
            except BaseException as error:  # noqa: BLE001 - it is looked at
                sys.stderr.write(f"Traceback: {error!r}\n")
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return Said(os.waitstatus_to_exitcode(status), said.read().decode())


@pytest.fixture
def setting(any_engine: LabEngine) -> Iterator[Setting]:
    any_engine.load(ImageSpec(tags=("users/app:1",)))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dockwarden-users-")))
        folder.chmod(0o755)
        write_policies(folder / "policies.yaml", policy("all", "image", "true", action="remove"))
        config = folder / "dockwarden.yaml"
        config.write_text(f"state_dir: {folder}/state\npolicies: [{folder}/policies.yaml]\n")
        ledger = Ledger(folder / "state", time.time, lambda _: None)
        ledger.open()  # and it stays open, as that of a daemon which runs
        stack.enter_context(closing(ledger))
        yield Setting(config, any_engine.host)


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_group_of_the_socket_needs_no_ledger_to_look(setting: Setting, command: tuple[str, ...]) -> None:
    group = Path(setting.host.removeprefix("unix://")).stat().st_gid
    said = as_user(group, (*command[:1], "--config", str(setting.config), *command[1:]), {"DOCKER_HOST": setting.host})
    assert "Traceback" not in said.out
    if command[0] in OF_THE_LEDGER_ALONE:
        assert said.code == 1
        assert "ledger.db cannot be read: Permission denied; run it as root, such as with sudo" in said.out
    else:
        assert said.code == 0, said.out
        assert ("cannot be read" in said.out) == (command[0] != "check")


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_nobody_hears_what_would_help(setting: Setting, command: tuple[str, ...]) -> None:
    said = as_user(NOBODY, (*command[:1], "--config", str(setting.config), *command[1:]), {"DOCKER_HOST": setting.host})
    assert "Traceback" not in said.out
    if command[0] == "check":
        assert said.code == 0
    elif command[0] in OF_THE_LEDGER_ALONE:
        assert said.code == 1
        assert "run it as root" in said.out
    else:
        assert said.code == 69
        assert "add the user to it" in said.out

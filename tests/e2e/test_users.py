"""Commands by people who are not root: they answer, or say in one line why not and what helps; never a traceback."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from dockwarden import cli
from tests.commands import command
from tests.e2e.harness import Daemon, full, policy
from tests.lab.images import ImageSpec
from tests.lab.loopback import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.lab.engine import LabEngine

pytestmark = pytest.mark.slow
NOBODY = 65534
APP = "users/app:1"
GONE = policy(
    "gone", "image", "image.tags.exists(t, t.contains('/gone:'))", action="remove", mode="enforce",
    trigger={"every": "5s"}, limits={"max_objects": 100, "max_percent": 100},
)  # fmt: skip
ALL = policy("all", "image", "true", action="remove")
OF_THE_LEDGER_ALONE: tuple[tuple[str, ...], ...] = (
    ("history", APP, "-o", "json"),
    ("history", "--actions", "-o", "json"),
    ("history", "--findings", "-o", "json"),
    ("undo", "--list", "-o", "json"),
)
OF_THE_ENGINE: tuple[tuple[str, ...], ...] = (
    ("scan",),
    ("scan", "-o", "json"),
    ("plan", "--all"),
    ("images", "--offline"),
    ("explain", APP),
)
ARGUMENTS = {
    "undo": ("1",), "apply": ("/nowhere/plan.json", "--yes"), "reset": (APP, "--yes"), "completion": ("bash",),
    "history": ("--actions",), "images": ("--offline",), "explain": (APP,),
}  # fmt: skip
WAYS_OUT = r"such as with sudo|add the user to it"


class Said(NamedTuple):
    code: int
    out: str


class Place(NamedTuple):
    """Settings that everybody may read, of a state folder that only root may, and the daemon that uses it."""

    config: Path
    daemon: Daemon
    environment: Mapping[str, str]

    @property
    def group(self) -> int:
        """That of the engine's socket."""
        return Path(self.daemon.docker_host.removeprefix("unix://")).stat().st_gid

    def config_of(self, name: str) -> tuple[str, ...]:
        """The option that names the settings, if a command takes it."""
        return ("--config", str(self.config)) if "--config" in cli._parser()[1][name].format_help() else ()

    def as_user(self, group: int | None, name: str, *arguments: str) -> Said:
        """What a command says in a process of a user without rights, in the given group; None: of root."""
        given = [name, *self.config_of(name), *arguments]
        with tempfile.TemporaryFile() as said:
            if child := os.fork():
                _, status = os.waitpid(child, 0)
                said.seek(0)
                return Said(os.waitstatus_to_exitcode(status), said.read().decode())
            os._exit(self._in_child(said.fileno(), group, given))

    def _in_child(self, out: int, group: int | None, arguments: Sequence[str]) -> int:
        code = 99
        try:
            os.environ.update(self.environment)
            sys.stdout = sys.stderr = io.TextIOWrapper(os.fdopen(out, "wb", closefd=False))
            if group is not None:
                os.setgroups([])
                os.setresgid(group, group, group)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            code = cli.main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException as error:  # noqa: BLE001 - it is looked at
            sys.stderr.write(f"Traceback: {error!r}\n")
        sys.stderr.flush()
        return code


@pytest.fixture
def place(any_engine: LabEngine) -> Iterator[Place]:
    any_engine.load(ImageSpec(tags=(APP,)), ImageSpec(tags=("users/gone:1",), labels={"n": "2"}))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dockwarden-users-")))
        folder.chmod(0o755)
        settings = {"web": {"listen": f"127.0.0.1:{free_port()}"}, "minimum_stay": "0s", "log": {"format": "json"}}
        daemon = stack.enter_context(Daemon(any_engine.host, folder, settings, policies=[GONE, ALL]))
        daemon.ready()
        for each in ("gone", "all"):
            daemon.wait("finding.resolved", policy=each)
        place = Place(daemon.config, daemon, {"DOCKER_HOST": any_engine.host})
        # The interpreter's files may be in folders that others may not read: what is read now need not be read then.
        harmless = [(name, *ARGUMENTS.get(name, ())) for name in cli._parser()[1].keys() - {"run", "reload", "undo"}]
        for name, *given in (*harmless, *OF_THE_ENGINE, *OF_THE_LEDGER_ALONE):
            command(name, *place.config_of(name), *given, docker_host=any_engine.host)
        yield place


def timeless(said: Said) -> list[dict[str, object]]:
    """Rows without what is another moment at each look."""
    return [{key: value for key, value in row.items() if key != "undoable_until"} for row in json.loads(said.out)]


def test_the_group_of_the_socket_is_shown_what_the_daemon_knows_and_without_it_all_but_ages(place: Place) -> None:
    shown_to_the_group(place)
    everybody_is_answered(place)
    place.daemon.end()
    shown_without_a_daemon(place)
    everybody_is_answered(place)


def shown_to_the_group(place: Place) -> None:
    for given in OF_THE_LEDGER_ALONE:
        mine, roots = (place.as_user(group, *given) for group in (place.group, None))
        assert (mine.code, timeless(mine)) == (0, timeless(roots)), given
        assert timeless(mine), given
    for given in OF_THE_ENGINE:
        said = place.as_user(place.group, *given)
        assert (said.code, "cannot be read" in said.out) == (0, False), said
    assert "too_young" not in place.as_user(place.group, "plan", "--all").out
    hidden = place.daemon.get("/ledger").text
    assert full("users/gone:1") in hidden
    assert "RootFS" not in hidden
    assert all(json.loads(row["recipe"])["parameters"] == {} for row in json.loads(hidden)["tables"]["actions"])


def shown_without_a_daemon(place: Place) -> None:
    for given in OF_THE_ENGINE:
        said = place.as_user(place.group, *given)
        assert (said.code, "cannot be read" in said.out) == (0, True), said
    for given in OF_THE_LEDGER_ALONE:
        said = place.as_user(place.group, *given)
        assert said.code == 1
        assert "ledger.db cannot be read: Permission denied; run it as root, such as with sudo" in said.out
        assert f"nor does a daemon at {place.daemon.settings['web']['listen']} show it: " in said.out  # type: ignore[index]


def everybody_is_answered(place: Place) -> None:
    """Or told the way out; last, as root may change something."""
    commands = sorted(cli._parser()[1].keys() - {"run"})
    for group in (NOBODY, place.group, None):  # root last, who does what others may not
        for name in commands:
            said = place.as_user(group, name, *ARGUMENTS.get(name, ()))
            assert "Traceback" not in said.out, (name, group, said)
            assert said.code in (0, 1, 2, 69, 78), (name, group, said)
            if "ermission denied" in said.out or "not permitted" in said.out:
                assert re.search(WAYS_OUT, said.out), (name, group, said)
            if group is None:
                assert "ermission" not in said.out, (name, said)
    assert {place.as_user(NOBODY, *given).code for given in OF_THE_ENGINE} == {69}

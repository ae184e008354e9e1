"""`make run`: dockwarden at work, within a minute, on any machine.

Role: if an engine answers at DOCKER_HOST or the default socket, watch it, capped at audit; otherwise
start a private engine with a lived-in host and watch that, with one policy enforced. In: the user's
environment. Out: dockwarden's own output, its address, commands to try. Out of bounds: changing anything
on an engine that was not started here. Everything that was started is gone two seconds after the end,
whether it ends by Ctrl-C, SIGTERM or the daemon's own death.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import docker
import urllib3
import yaml
from docker.utils import kwargs_from_env

from tests.lab import machine
from tests.lab.engine import LabEngine
from tests.lab.loopback import free_port
from tests.lab.machine import LabError
from tests.lab.registry import LabRegistry
from tests.lab.seed import make_young_dangling, seed
from tests.lab.waiting import until

if TYPE_CHECKING:
    from types import FrameType

_DEFAULT_PORT = 9877
_GRACE = 10.0  # seconds the daemon has to end by itself
_ENFORCED = "prune-dangling"


def say(text: str) -> None:
    """What happens besides the daemon's own lines."""
    print(f"==> {text}", file=sys.stderr, flush=True)


class Interrupted(Exception):  # noqa: N818 - not an error: the user is done
    """The user, or whoever supervises us, wants the end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.strsignal(signum))
        self.signum = signal.Signals(signum)


def main() -> int:
    _listen_to_signals()
    try:
        with contextlib.ExitStack() as stack:
            try:
                return _run(stack)
            finally:
                _ignore_signals()  # nothing may interrupt the clearing up
    except LabError as error:
        say(str(error))
        return 1
    except Interrupted:
        say("stopped; nothing is left behind")
        return 0


def _run(stack: contextlib.ExitStack) -> int:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dockwarden-run-")))
    there = _answering_engine()
    return _watch_theirs(stack, there, folder) if there else _watch_ours(stack, folder)


# -- an engine of the user --------------------------------------------------------------------------


def _answering_engine() -> str:
    """Where the user's engine answers, or an empty text."""
    settings = kwargs_from_env()
    host = str(settings.setdefault("base_url", "unix:///var/run/docker.sock"))
    if host.startswith(("unix://", "http+unix://")) and not _connects(host.partition("://")[2]):
        return ""
    try:
        with docker.APIClient(version="1.41", timeout=3, **settings) as client:
            return host if client.ping() else ""
    except (OSError, docker.errors.DockerException):
        return ""


def _connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _watch_theirs(stack: contextlib.ExitStack, host: str, folder: Path) -> int:
    say(f"a Docker engine answers at {host}: watching it, in audit mode, so nothing is changed")
    settings = _settings(folder)
    config = _write(folder, settings)
    child = _start(stack, ["--audit", "--config", config], dict(os.environ))
    if _gets_ready(child, settings["web"]["listen"]):
        _offer(settings, {"DOCKWARDEN_CONFIG": config}, "status", "scan", "plan")
    return child.wait()


# -- an engine of ours ------------------------------------------------------------------------------


def _watch_ours(stack: contextlib.ExitStack, folder: Path) -> int:
    asked = os.environ.get("DOCKER_HOST") or "/var/run/docker.sock"
    say(f"no Docker engine answers at {asked}; starting a private one, which is gone at the end")
    machine.require_root("`make run` without a Docker engine")
    machine.ensure({**machine.ENGINE, **machine.REGISTRY}, "`make run`")
    registry = stack.enter_context(LabRegistry())
    engine = stack.enter_context(LabEngine("graph"))
    engine.forward(registry.port)
    seed(engine, registry, say)
    settings = _settings(folder) | _lively(registry.host)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "DOCKWARDEN_"))}
    ours = {"DOCKER_HOST": engine.host, "DOCKER_CONFIG": str(engine.dir / "cli")}
    config = _write(folder, settings)
    child = _start(stack, ["--config", config], kept | ours)
    if _gets_ready(child, settings["web"]["listen"]):
        ours["DOCKWARDEN_CONFIG"] = config
        _offer(settings, ours, "status", "scan", "plan", "undo --list")
        _tour(engine, child, folder, settings, kept | ours)
    code = child.wait()
    say(f"dockwarden ended with exit code {code}")
    return code


def _offer(settings: dict[str, Any], environment: dict[str, str], *commands: str) -> None:
    """Say where to look and what to try."""
    say(f"the page: http://{settings['web']['listen']}/   metrics: http://{settings['web']['listen']}/metrics")
    say("to look around, paste into another terminal (Ctrl-C here ends everything):")
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    for line in (f"export {exports}", *(f"{shlex.quote(str(_program()))} {command}" for command in commands)):
        print(f"    {line}", file=sys.stderr, flush=True)


def _tour(
    engine: LabEngine,
    child: subprocess.Popen[bytes],
    folder: Path,
    settings: dict[str, Any],
    environment: dict[str, str],
) -> None:
    """Show one removal and its undo, and then let what came back stay."""
    young = make_young_dangling(engine)
    name = young.removeprefix("sha256:")[:12]
    say(f"the policy {_ENFORCED} is enforced here; made the untagged image {name}, which goes within 40 s")

    def removed() -> list[dict[str, Any]]:
        if child.poll() is not None:
            raise LabError(f"dockwarden ended with exit code {child.returncode}")
        if young in [image["Id"] for image in engine.client().images(filters={"dangling": True})]:
            return []
        listed = json.loads(_ask(environment, "undo", "--list", "-o", "json") or "[]")
        return [row for row in listed if row["object_id"] == young]

    [action] = until(removed, f"the removal of {name}", timeout=120, pause=0.5)
    say(f"{name} is gone; now {_ENFORCED} goes back to audit, and everything that run removed comes back:")
    settings["modes"] = {}
    _write(folder, settings)
    for command in (("reload",), ("undo", str(action["run"]))):
        print(f"    $ dockwarden {' '.join(command)}", file=sys.stderr)
        print(textwrap.indent(_ask(environment, *command), "    "), end="", file=sys.stderr, flush=True)
    say("that was the tour; dockwarden goes on watching until Ctrl-C")


def _program() -> Path:
    return Path(sys.executable).with_name("dockwarden")


def _ask(environment: dict[str, str], *arguments: str) -> str:
    """What a command prints."""
    done = subprocess.run([_program(), *arguments], env=environment, capture_output=True, text=True, check=False)
    return done.stdout + ("" if "json" in arguments else done.stderr)


def _settings(folder: Path) -> dict[str, Any]:
    """Settings that keep everything of this run apart from the machine's own."""
    port = free_port(_DEFAULT_PORT)
    if port != _DEFAULT_PORT:
        say(f"port {_DEFAULT_PORT} is taken; listening on {port}")
    (folder / "state").mkdir()
    return {
        "state_dir": str(folder / "state"),
        "policies": ["shipped"],
        "web": {"listen": f"127.0.0.1:{port}"},
    }


def _lively(registry: str) -> dict[str, Any]:
    """What makes a run of a minute tell the story of a month."""
    return {
        "registries": {registry: {"http": True}},
        "minimum_stay": "10s",
        "params": {
            "keep-last-tags": {"keep": 1, "older_than": "20s"},
            **{name: {"older_than": "10s"} for name in (_ENFORCED, "exited-containers", "unused-network")},
            "orphan-volume": {"idle_for": "20s"},
        },
        "modes": {_ENFORCED: "enforce"},
        "triggers": {
            **{name: {"every": "20s"} for name in (_ENFORCED, "keep-last-tags")},
            **{name: {"every": "30s"} for name in ("exited-containers", "orphan-volume", "unused-network")},
            "digest-drift": {"every": "60s"},
        },
    }


# -- the daemon -------------------------------------------------------------------------------------


def _write(folder: Path, settings: object) -> str:
    path = folder / "dockwarden.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return str(path)


def _start(stack: contextlib.ExitStack, arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the daemon so that it gets each signal once, from us, and ends if we are killed."""
    program = _program()
    if not program.exists():
        raise LabError("dockwarden is not installed in this environment; run: make venv")
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", str(program), "run", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    stack.callback(_end, child)
    return child


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.send_signal(_asked_for)
    try:
        child.wait(_GRACE)
    except subprocess.TimeoutExpired:
        say("dockwarden did not end in time: killed")
        child.kill()
        child.wait()


def _gets_ready(child: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until the inventory is complete and the policies are judged; false if it never is."""
    with urllib3.PoolManager(retries=False, timeout=1) as http:

        def ready() -> bool:
            if child.poll() is not None:
                return True
            try:
                return http.request("GET", f"http://{address}/readyz").status == 200
            except urllib3.exceptions.HTTPError:
                return False

        try:
            until(ready, f"http://{address}/readyz", pause=0.1)
        except LabError as error:
            say(str(error))
            return False
    return child.poll() is None


# -- signals ----------------------------------------------------------------------------------------

_asked_for = signal.SIGTERM


def _listen_to_signals() -> None:
    def stop(signum: int, _frame: FrameType | None) -> NoReturn:
        global _asked_for  # noqa: PLW0603 - a signal handler has no other way to tell
        _asked_for = signal.Signals(signum)
        raise Interrupted(signum)

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)


def _ignore_signals() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())

"""dockwarden as a child process: started, asked over one connection, looked at from outside, ended.

In: an engine. Out: how long it took to be ready, samples of its metrics, its CPU time and memory. Out of bounds: what
a figure means.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.bench import installed
from tests.lab.loopback import free_port
from tests.lab.machine import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.engine import LabEngine

_TICKS = os.sysconf("SC_CLK_TCK")
_QUIET_SECONDS = 3.0
_QUIET_SHARE = 0.01

Samples = dict[str, float]
"""Values by the text that stands before them: `dockwarden_findings{policy="…",severity="…"}`."""


class Daemon:
    """One `dockwarden run`, with the policies that are shipped and its own state folder; a context manager."""

    def __init__(self, engine: LabEngine, web_config: Path | None = None, **settings: object) -> None:
        """``web_config``: a web configuration file with TLS; ``settings`` besides."""
        self._engine = engine
        self._settings = settings
        self._web_config = web_config
        self._folder = Path(tempfile.mkdtemp(prefix="dockwarden-bench-"))
        self.port = free_port()
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if web_config:
            context = ssl._create_unverified_context()
            self._connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        self._process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0

    def __enter__(self) -> Self:
        settings: dict[str, object] = {
            "policies": ["shipped"],
            "state_dir": str(self._folder / "state"),
            "web": {"listen": f"127.0.0.1:{self.port}"},
            **self._settings,
        }
        if self._web_config:
            settings["web"] = {"listen": f"127.0.0.1:{self.port}", "config_file": str(self._web_config)}
        config = self._folder / "dockwarden.yaml"
        config.write_text(json.dumps(settings))  # JSON is YAML
        command = [installed.program(), "run", "--config", str(config)]
        with (self._folder / "log").open("wb") as log:
            self.started_at = time.monotonic()
            self._process = subprocess.Popen(
                command, env=installed.environment(DOCKER_HOST=self._engine.host), stderr=log
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._connection.close()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- over HTTP ------------------------------------------------------------------------------------------

    def ready(self, timeout: float = 300.0) -> float:
        """Wait for `/readyz` to answer 200; gives the seconds since the process was started."""
        while time.monotonic() < self.started_at + timeout:
            self._check()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._get("/readyz")[0] == http.HTTPStatus.OK:
                    return time.monotonic() - self.started_at
            self._connection.close()
            time.sleep(0.01)
        raise LabError(f"dockwarden is not ready after {timeout:g} s:\n{self._log_tail()}")

    def samples(self, *names: str) -> Samples:
        """The samples of these names alone, which costs the daemon little; all samples without names."""
        path = "/metrics" + ("?" + "&".join(f"name[]={name}" for name in names) if names else "")
        lines = self._get(path)[1].decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def tags(self) -> dict[str, str]:
        """The ID of each tag's image, as `/api/v1/inventory` has it."""
        rows: list[dict[str, Any]] = []
        path: str | None = "/api/v1/inventory?subject=tag&limit=1000"
        while path:
            page = json.loads(self._get(path)[1])
            rows, path = rows + page["items"], page["next"]
        return {row["name"]: row["image_id"] for row in rows}

    def _get(self, path: str) -> tuple[int, bytes]:
        try:
            return self._ask(path)
        except (http.client.RemoteDisconnected, ConnectionError):  # it ends connections that were silent for long
            self._connection.close()
            return self._ask(path)

    def _ask(self, path: str) -> tuple[int, bytes]:
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    # -- from outside ---------------------------------------------------------------------------------------

    def settle(self, timeout: float = 300.0) -> None:
        """Wait until it has no more work to do: ready, and hardly any CPU time for three seconds."""
        self.ready(timeout)
        until = time.monotonic() + timeout
        before = self.cpu_seconds()
        while time.monotonic() < until:
            time.sleep(_QUIET_SECONDS)
            self._check()
            before, used = self.cpu_seconds(), self.cpu_seconds() - before
            if used <= _QUIET_SECONDS * _QUIET_SHARE:
                return
        raise LabError(f"dockwarden is still busy after {timeout:g} s:\n{self._log_tail()}")

    def cpu_seconds(self) -> float:
        """CPU time of the process so far, of all threads, user and system."""
        assert self._process is not None
        return cpu_of(self._process.pid)

    def memory(self) -> Mapping[str, int]:
        """`VmRSS`, `VmHWM`, `RssAnon`, `RssFile` in bytes."""
        pairs = (line.partition(":") for line in self._proc("status").splitlines())
        return {
            name: int(text.split()[0]) * 1024 for name, _, text in pairs if name.startswith(("VmRSS", "VmHWM", "Rss"))
        }

    def _proc(self, file: str) -> str:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/{file}").read_text()

    def _check(self) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise LabError(f"dockwarden ended with exit code {self._process.returncode}:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return "\n".join((self._folder / "log").read_text(errors="replace").splitlines()[-5:])


def cpu_of(pid: int, *, with_ended: bool = False) -> float:
    """CPU seconds of a process so far, user and system; on demand with those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if with_ended else 13])) / _TICKS


def total(samples: Samples, name: str, *having: str) -> float:
    """The sum of all samples of a name whose labels include these texts, `operation="events"`."""
    return sum(
        value
        for sample, value in samples.items()
        if sample.partition("{")[0] == name and all(text in sample for text in having)
    )

"""`make run` shows dockwarden at work and leaves nothing behind, however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import urllib3

from tests.lab import images, machine
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.engine import LabEngine

pytestmark = pytest.mark.engine


class Run:
    """`python -m tests.lab.run` as a child, and what it has said so far."""

    def __init__(self, docker_host: str, folder: Path) -> None:
        self.folder = folder
        self._log = folder.with_name(f"{folder.name}.log")
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.lab.run"],
                env={**os.environ, "DOCKER_HOST": docker_host, "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def says(self, pattern: str, timeout: float = PATIENCE) -> str:
        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, self.said
            return re.search(pattern, self.said)

        match = until(found, f"{pattern!r} in the output of make run", timeout)
        assert match is not None
        return match.group(match.lastindex or 0)

    def ends_by(self, signum: signal.Signals) -> int:
        """Its exit code; whatever it started ends by itself, too."""
        self.process.send_signal(signum)
        code = self.process.wait(PATIENCE)
        assert "killed" not in self.said
        return code

    def left_behind(self) -> list[str]:
        """Processes, mounts and files that carry the name of its folder, where all of it lives."""
        name = str(self.folder)
        found = [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found += [command for command in [process.read_text(errors="replace")] if name in command]
        return found + [str(path) for path in self.folder.iterdir()]


@pytest.fixture
def start() -> Iterator[Callable[..., Run]]:
    """Starts a run for a DOCKER_HOST; all its files are in a folder with a short name, as sockets need."""
    machine.ensure({**machine.ENGINE, **machine.REGISTRY}, "make run")
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="dw-") as top:

        def begin(docker_host: str, name: str = "") -> Run:
            folder = Path(top, f"{len(runs)}{name}")
            folder.mkdir()
            runs.append(Run(docker_host, folder))
            return runs[-1]

        yield begin
        for run in runs:
            run.process.kill()
            run.process.wait()


@pytest.fixture
def no_engine(start: Callable[[str], Run], tmp_path: Path) -> Run:
    return start(f"unix://{tmp_path}/nobody.sock")


@pytest.mark.slow(80)
def test_without_an_engine_it_shows_findings_and_metrics_of_a_private_one(no_engine: Run) -> None:
    address = no_engine.says(r"metrics: (http\S+)", timeout=300)
    no_engine.says("made the untagged image")
    no_engine.says("stale-container")
    no_engine.says("that was the tour", timeout=180)
    assert re.search(r"^    applied  [0-9a-f]{12}  restored", no_engine.said, re.MULTILINE), no_engine.said
    metrics = urllib3.request("GET", address, retries=False).data.decode()
    assert re.search(r"^dockwarden_engine_up 1", metrics, re.MULTILINE)

    assert no_engine.ends_by(signal.SIGINT) == 0
    assert no_engine.left_behind() == []
    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.request("GET", address, retries=False, timeout=1)


def test_it_clears_up_when_stopped_while_it_seeds(no_engine: Run) -> None:
    no_engine.says("seeding: a registry")
    assert no_engine.ends_by(signal.SIGTERM) == 0
    assert "Traceback" not in no_engine.said
    assert no_engine.left_behind() == []


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # the store has no part in it
def test_an_engine_that_answers_is_watched_and_not_changed(empty_engine: LabEngine, start: Callable[..., Run]) -> None:
    def content() -> list[str]:
        return sorted(empty_engine.docker("images", "--all", "--quiet", "--no-trunc").split())

    empty_engine.load(images.busybox("busybox:latest"), images.ImageSpec(labels={"no": "name"}))
    before = content()
    run = start(empty_engine.host, " of somebody")
    run.says("in audit mode, so nothing is changed")
    run.says("no-latest-tag")
    run.says(" plan\n")
    lines = [shlex.split(line) for line in re.findall(r"^    (.*)$", run.said, re.MULTILINE)]  # typed as they stand
    (config,) = (Path(word.partition("=")[2]) for word in lines[0] if word.startswith("DOCKWARDEN_CONFIG="))
    assert config.is_relative_to(run.folder)
    assert [len(line) for line in lines] == [2, 2, 2, 2]
    assert "private engine" not in run.said
    assert run.ends_by(signal.SIGTERM) == 0
    assert content() == before
    assert run.left_behind() == []

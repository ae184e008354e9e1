"""One daemon for one state folder, as the kernel sees it: locks of real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dockwarden import cli
from dockwarden.errors import ConfigError
from dockwarden.process.claim import claim, holder
from dockwarden.text import CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = """
import pathlib, signal, sys
signal.signal(signal.SIGHUP, lambda *_: print("reload", flush=True))
from dockwarden.process.claim import claim
lock = claim(pathlib.Path(sys.argv[1]))
print("has it", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path / "state")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        yield process
        process.kill()


def test_second_daemon_is_refused_until_the_first_is_gone(other: subprocess.Popen[str], tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert state.stat().st_mode & 0o777 == 0o700
    assert holder(state) == other.pid
    with pytest.raises(ConfigError, match=rf"state_dir .*\(process {other.pid}\)"):
        claim(state)
    assert holder(state) == other.pid  # to ask takes nothing away
    other.kill()
    other.wait()
    assert holder(state) == 0
    with_it = claim(state)
    assert with_it is not None
    with_it.close()


def test_folder_that_cannot_be_written_is_nobodys() -> None:
    assert claim(Path("/proc/dockwarden")) is None
    assert holder(Path("/proc/dockwarden")) == 0


def test_reload_tells_the_holder_and_what_it_will_take(
    other: subprocess.Popen[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAINPID", raising=False)
    config = tmp_path / "dockwarden.yaml"
    policy = tmp_path / "one.yaml"
    config.write_text(f"state_dir: {tmp_path}/state\npolicies: [{policy}]\n")
    good = "{version: 1, policies: [{name: a, subject: image, when: 'true', trigger: {every: 1h}}]}"
    assert other.stdout is not None
    for text, code in ((good, 0), (good.replace("when", "wen"), CONFIG)):
        policy.write_text(text)
        assert cli.main(["reload", "--config", str(config)]) == code
        assert other.stdout.readline() == "reload\n"
    said = capsys.readouterr()
    assert f"told process {other.pid} to use 1 policy" in said.out
    assert "wen" in said.err

    other.send_signal(signal.SIGKILL)
    other.wait()
    assert cli.main(["reload", "--config", str(config)]) == 1
    assert "no daemon" in capsys.readouterr().err

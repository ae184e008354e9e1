"""Completion in real shells: keys are typed into a terminal, and what the shell then runs is compared."""

from __future__ import annotations

import os
import pty
import select
import time
from pathlib import Path

import pytest

from tests.commands import command
from tests.lab import machine
from tests.lab.waiting import PATIENCE

# Each learns to complete as docs/operations.md says; the command itself is replaced by one that tells its arguments.
FAKE = (
    'dockwarden() { case "$*" in "check -o name") echo own-policy;; "undo --list -o name") echo 4711;; '
    '*) echo "<$*>";; esac; }'
)
FAKE_IN_FISH = (
    'function dockwarden; switch "$argv"; case "check -o name"; echo own-policy; '
    'case "undo --list -o name"; echo 4711; case "*"; echo "<$argv>"; end; end'
)
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"{FAKE}; . ./script"),
    "zsh": (
        ["zsh", "-f", "-i"],
        f"{FAKE}; fpath=($PWD $fpath); autoload -U compinit; compinit -u",
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        f"{FAKE_IN_FISH}; source ./script",
    ),
}
TYPED = {
    "dockwarden hea\t--rea\t": "<healthcheck --ready>",
    "dockwarden scan --fail-on cri\t": "<scan --fail-on critical>",
    "dockwarden scan --config onl\t": "<scan --config only-one.yaml>",
    "dockwarden scan --policy own\t": "<scan --policy own-policy>",
    "dockwarden undo 47\t": "<undo 4711>",
    "dockwarden schema sett\t": "<schema settings>",
    "dockwarden check onl\t": "<check only-one.yaml>",
}


class Terminal:
    """A shell at a terminal."""

    def __init__(self, command: list[str], folder: Path) -> None:
        environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        child, self._terminal = pty.fork()
        if child == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, environment)
        self._child = child
        self._news = select.poll()  # select() knows 1,024 files only, and this process may have more
        self._news.register(self._terminal, select.POLLIN)
        self.shown = ""

    def type(self, keys: str, until: str) -> None:
        """Type, and wait until this is shown after what was shown before."""
        self.shown = ""
        os.write(self._terminal, keys.encode())
        deadline = time.monotonic() + PATIENCE
        while until not in self.shown:
            left = deadline - time.monotonic()
            if left < 0 or not self._news.poll(left * 1000):
                pytest.fail(f"{keys!r} gave no {until!r} but {self.shown!r}")
            self.shown += os.read(self._terminal, 4096).decode(errors="replace")

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._child, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_completes_commands_options_values_and_files(shell: str, tmp_path: Path) -> None:
    machine.ensure(machine.SHELLS, "trying completion")
    (tmp_path / ("_dockwarden" if shell == "zsh" else "script")).write_text(command("completion", shell).out)
    (tmp_path / "only-one.yaml").write_text("")
    program, begin = SHELLS[shell]
    terminal = Terminal(program, tmp_path)
    try:
        terminal.type(f"{begin}; echo rea''dy\r", "ready\r\n")
        for keys, told in TYPED.items():
            terminal.type(f"{keys}\r", told)
    finally:
        terminal.close()

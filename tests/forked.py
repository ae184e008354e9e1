"""`dockwarden run` in a process of its own that need not load the code first: it is forked from one that has.

Role: what `subprocess.Popen` is elsewhere, for half a second of CPU less. In: arguments, variables. Out: a pid, the
text on stderr, an exit code. Out of bounds: other users and other file systems, for which tests start an interpreter.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from dockwarden.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG: a crash of the test run must not leave a daemon behind
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [__name__, "dockwarden.app", "dockwarden.cli.daemon", "dockwarden.process.logs", "tornado.platform.asyncio"]
)
_system = ctypes.CDLL(None)


class Forked:
    """One process; what it writes on stdout is in a file, if one is named."""

    def __init__(self, arguments: Sequence[str], variables: Mapping[str, str], stdout: str = os.devnull) -> None:
        reader, writer = os.pipe()
        self.stderr = os.fdopen(reader, errors="replace")
        with Connection(writer, readable=False) as said:
            given = (tuple(arguments), dict(variables), str(Path.cwd()), stdout, said)
            self._process = _context.Process(target=_be, args=given, daemon=True)
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, if it is over; below zero if a signal ended it."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("dockwarden", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _be(arguments: tuple[str, ...], variables: dict[str, str], folder: str, stdout: str, said: Connection) -> None:
    """The process: all that an interpreter of its own would have been given."""
    _system.prctl(_END_WITH_PARENT, signal.SIGKILL)
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), os.open(stdout, os.O_WRONLY), said.fileno())):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    sys.path[:0] = filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))
    os.chdir(folder)
    if arguments[0] == "-c":
        exec(arguments[1], {"__name__": "__main__"})
    else:
        sys.exit(main(arguments))

"""Make threads of a process hang, as no signal can.

Role: stop single threads with ptrace(2), as a debugger does, while the others of the process go on. In: a
process. Out: a context in which its threads but the first hang. Out of bounds: changing anything in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.machine import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ATTACH, _DETACH = 16, 17
_ALL_KINDS = 0x40000000  # __WALL: threads, too


@contextlib.contextmanager
def hanging_threads(pid: int) -> Iterator[list[int]]:
    """Every thread but the first hangs until the end of the context, or of the process."""
    threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir() if path.name != str(pid)]
    try:
        for thread in threads:
            _ptrace(_ATTACH, thread)
            os.waitpid(thread, _ALL_KINDS)
        yield threads
    finally:
        for thread in threads:
            # One that was killed meanwhile, or is just dying, is ours to bury; the process cannot end before that.
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(thread, _ALL_KINDS | os.WNOHANG) == (0, 0):
                    try:
                        _ptrace(_DETACH, thread)
                    except LabError:
                        os.waitpid(thread, _ALL_KINDS)


def _ptrace(request: int, thread: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    if libc.ptrace(request, thread, None, None) == -1:
        raise LabError(f"ptrace of thread {thread}: {os.strerror(ctypes.get_errno())}")

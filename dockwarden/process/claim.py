"""One daemon for one state folder: a lock that goes with the process, and tells others which process it is.

Input: the folder. Output: the lock, or the number of its holder. Out of bounds: what is in the folder.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import IO

from dockwarden.config.files import at_once
from dockwarden.errors import ConfigError

_NAME = "daemon.lock"
_QUESTION = "hhqqi4x"  # struct flock: type, whence, start, length, and in the answer the process


def claim(folder: Path) -> IO[bytes] | None:
    """Take the folder as long as the result lives; None where it cannot be written. ConfigError: a daemon has it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.fdopen(at_once(folder / _NAME, os.O_WRONLY | os.O_CREAT), "ab")
    except OSError:
        return None
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return None
        named = f" (process {process})" if (process := holder(folder)) else ""
        told = f"state_dir {folder}: used by another dockwarden{named}; end that one, or set another"
        raise ConfigError(told) from None
    return lock


def holder(folder: Path) -> int:
    """The process that has the folder, 0 if none that is seen from here. Raises OSError: it cannot be looked into."""
    try:
        lock = at_once(folder / _NAME, os.O_RDONLY)
    except FileNotFoundError:
        return 0
    try:
        answer = fcntl.fcntl(lock, fcntl.F_GETLK, struct.pack(_QUESTION, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(lock)
    kind, _, _, _, process = struct.unpack(_QUESTION, answer)
    return 0 if kind == fcntl.F_UNLCK else max(0, int(process))

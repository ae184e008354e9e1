"""Reading files that somebody named: never more than asked for, never waiting for what is no file.

Input: a path from a flag, a setting or a folder. Output: its bytes, or an ``OSError`` with a reason for people. Out of
bounds: what is in it. A FIFO, a device or a log of the kernel would be waited for without end, so none is ever read but
standard input, which is called ``-``.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
STDIN = Path("-")
GOLDEN = (".test.yaml", ".test.yml")
"""Ends of the names of files that are beside policies and say what those must find."""

_CHUNK_BYTES = 64 * 1024


def docker_config() -> Path:
    """Where Docker's command line has its file."""
    folder = os.environ.get("DOCKER_CONFIG")
    return Path(folder or Path(os.path.expanduser("~")) / ".docker") / "config.json"  # noqa: PTH111 - never fails


def at_once(path: Path, flags: int) -> int:
    """A descriptor of a file, without waiting for who is at the other end of a FIFO. Raises OSError."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def content(path: Path, most: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file, or of standard input. Raises OSError, also for more than ``most`` bytes."""
    descriptor = os.dup(0) if path == STDIN else at_once(path, os.O_RDONLY)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode) and path != STDIN:
            raise OSError(None, "not a regular file", str(path))
        parts, left = [], most + 1
        while left and (part := os.read(descriptor, min(left, _CHUNK_BYTES))):
            parts.append(part)
            left -= len(part)
    except BlockingIOError as error:
        raise OSError(None, "not a regular file: reading it would wait", str(path)) from error
    finally:
        os.close(descriptor)
    if not left:
        raise OSError(None, f"larger than {most:,} bytes", str(path))
    return b"".join(parts)


def secret(path: Path, most: int = MAX_BYTES) -> str:
    """The text in a file, without what editors put around it. Raises OSError, also if it is no text."""
    try:
        return content(path, most).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise OSError(None, "is not UTF-8 text", str(path)) from None


def state(path: Path) -> tuple[int, ...]:
    """What changes with a file: when it was written, its length, and which one it is. Raises OSError."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def below(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """The files with such a name, in order; hidden ones and links to folders excepted. Raises OSError."""
    for where, folders, names in os.walk(folder, onerror=_raise):
        if len(Path(where).relative_to(folder).parts) > MAX_DEPTH:
            raise OSError(None, f"folders are nested deeper than {MAX_DEPTH}", where)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in sorted(names) if name[0] != "." and name.endswith(suffixes))


def _raise(error: OSError) -> None:
    raise error


def golden(paths: Iterable[str]) -> list[Path]:
    """The golden files at these paths. Raises OSError."""
    given = [Path(path) for path in paths]
    inside = [file for path in given if path.is_dir() for file in below(path, GOLDEN)]
    return [*inside, *(path for path in given if path.name.endswith(GOLDEN) and not path.is_dir())]


def is_golden(path: str) -> bool:
    """Whether it is a golden file, or a folder that has such files and no policies. Raises OSError."""
    if not Path(path).is_dir():
        return path.endswith(GOLDEN)
    files = [file.name.endswith(GOLDEN) for file in below(Path(path), (".yaml", ".yml"))]
    return bool(files) and all(files)

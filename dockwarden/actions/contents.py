"""The files of a volume, out of the engine's data root and back into it, by GNU tar.

Input: what the engine says of a volume. Output: a stream with owners, modes, times, links, holes, extended attributes
and ACLs. Out of bounds: volumes whose files cannot be seen from here: those of plugins, of other hosts, of mounts.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from dockwarden.actions.archive import ArchiveError
from dockwarden.model import Volume

_Tar = subprocess.Popen[bytes]
_TAR = ("tar", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--sparse", "--file=-")
_CHUNK_BYTES = 1024 * 1024
_BLOCK_BYTES = 512
_MOST_SAID = 500
_SYNC = ("sync", "-f")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def is_elsewhere(parameters: Mapping[str, Any]) -> bool:
    """Whether a volume only says where its files are: on a server, in another folder, in memory while it is in use."""
    options = parameters["DriverOpts"] or {}
    return parameters["Driver"] == "local" and bool(options.get("type") or options.get("device"))


def mounted(parameters: Mapping[str, Any], mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Where something is mounted in a volume, as seen from here; its removal takes those files, too. "" if nowhere."""
    if parameters["Driver"] != "local" or not mounts.exists():  # as on macOS
        return ""
    volume = os.path.realpath(Path(parameters["Mountpoint"]).parent)
    lines = mounts.read_bytes().rstrip(b"\n").split(b"\n")  # no text, which has more blanks and ends of lines
    points = (line.split(b" ")[4] for line in lines)
    names = (os.fsdecode(re.sub(rb"\\(\d{3})", lambda match: bytes([int(match[1], 8)]), point)) for point in points)
    return next((name for name in names if name == volume or name.startswith(f"{volume}/")), "")


def leads_to(parameters: Mapping[str, Any]) -> str:
    """Where the files of a volume are, if a link leads out of its folder; "" if not.

    Engines remove no files outside of their data root, and those of another volume with this one.
    """
    volume = Path(parameters["Mountpoint"]).parent
    real = Path(os.path.realpath(parameters["Mountpoint"]))
    is_own = real.is_relative_to(Path(os.path.realpath(volume.parent.parent), *volume.parts[-2:]))
    return "" if is_own or parameters["Driver"] != "local" else str(real)


def folder_of(parameters: Mapping[str, Any], volume: Volume) -> Path:
    """Where the files of a volume are, if they can be seen from here. Raises ArchiveError."""
    if parameters["Driver"] != "local" or is_elsewhere(parameters):
        raise ArchiveError("only volumes of the local driver can be exported")
    folder = Path(parameters["Mountpoint"])
    try:
        # The engine tells the time of one of both folders: another engine's volume of this name has another one.
        times = {int(os.lstat(place).st_ctime) for place in (folder, folder.parent)}
        os.scandir(folder).close()
    except OSError as error:
        raise ArchiveError(f"its files cannot be read from here: {error.strerror}") from error
    if volume.created_at is None or int(volume.created_at) not in times:
        raise ArchiveError(f"{folder} is not this volume's folder, as seen from here")
    return folder


def survey(folder: Path) -> tuple[int, dict[str, Any]]:
    """About what an export will take, and what ``is_rest`` knows the volume by. Raises ArchiveError."""
    size, written, root = 0, 0, os.lstat(folder.parent)
    for each in _all(folder):
        size += each.st_blocks * _BLOCK_BYTES
        written = written if S_ISDIR(each.st_mode) else max(written, each.st_mtime_ns)
    return size, {"birth": f"{root.st_ino} {root.st_ctime_ns}", "written_ns": written}


def _all(folder: Path) -> Iterator[os.stat_result]:
    """Of the folder and everything in it, what the file system says. Raises ArchiveError."""
    folders = [folder]
    try:
        yield os.lstat(folder)
        while folders:  # not os.walk, which is as deep in calls as the folders are
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    yield (found := entry.stat(follow_symlinks=False))
                    folders += [Path(entry)] if S_ISDIR(found.st_mode) else []
    except OSError as error:
        raise ArchiveError(f"its files cannot be read: {error.strerror}") from error


def export(folder: Path, write: Callable[[bytes], object]) -> None:
    """Write all of it. Raises ArchiveError where a file could not be read, or anything changed meanwhile."""
    before = max(each.st_ctime_ns for each in _all(folder))
    with _tar("--create", f"--directory={folder}", ".", stdout=subprocess.PIPE) as tar:
        while tar.stdout and (chunk := tar.stdout.read(_CHUNK_BYTES)):
            write(chunk)
    if max(each.st_ctime_ns for each in _all(folder)) != before:
        raise ArchiveError("somebody wrote to it while its files were read")


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


def is_rest(folder: Path, mark: str, known: Mapping[str, Any]) -> bool:
    """Whether it is what a removal that was cut short, or a ``restore`` with this mark, left of this volume.

    Not if it is another one of its name, or somebody wrote a file since: a removal changes no file that it leaves.
    """
    if (folder.parent / mark).exists():
        return True
    now = survey(folder)[1]
    return bool(now["birth"] == known.get("birth") and now["written_ns"] <= known["written_ns"])


def holds(folder: Path, chunks: Iterable[bytes]) -> bool:
    """Whether all that is in an archive is there, as it was."""
    try:
        _feed(chunks, "--compare", f"--directory={folder}")
    except ArchiveError:
        return False
    return True


def restore(folder: Path, chunks: Iterable[bytes], mark: str) -> None:
    """Put back all that is not there. Raises ArchiveError, and then leaves its mark, as a file may be half there."""
    options = ["--extract", "--preserve-permissions", "--same-owner", f"--directory={folder}"]
    options += [] if is_empty(folder) or (folder.parent / mark).exists() else ["--skip-old-files"]
    (folder.parent / mark).touch(mode=0o600)  # beside the files, where no container sees it
    _feed(chunks, *options)
    settle([folder])
    (folder.parent / mark).unlink()


def _feed(chunks: Iterable[bytes], *options: str) -> None:
    with _tar(*options, stdin=subprocess.PIPE) as tar, suppress(BrokenPipeError):  # then it says why
        for chunk in chunks:
            if tar.stdin:
                tar.stdin.write(chunk)


def settle(folders: Iterable[Path]) -> None:
    """Have on the disk what was written there: a loss of power would take it, and its archive goes. ArchiveError."""
    try:
        for folder in folders:
            if os.access(folder, os.R_OK):  # not of an engine elsewhere, nor for a user of the group docker
                subprocess.run([*_SYNC, folder], env=_ENVIRONMENT, check=True)  # noqa: S603 - as tar
    except (OSError, subprocess.CalledProcessError) as error:
        raise ArchiveError(f"its files could not be brought to the disk: {error}") from error


@contextmanager
def _tar(*options: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL) -> Iterator[_Tar]:
    """A tar that runs, and that must have ended well."""
    with tempfile.TemporaryFile() as said:
        try:
            tar = subprocess.Popen(  # noqa: S603 - no shell, and of others nothing but a folder behind its option
                [*_TAR, *options], stdin=stdin, stdout=stdout, stderr=said, env=_ENVIRONMENT
            )
        except OSError as error:
            raise ArchiveError(f"tar cannot be started: {error.strerror}") from error
        with tar:
            try:
                yield tar
                if tar.stdin:
                    with suppress(BrokenPipeError):
                        tar.stdin.close()
            except BaseException:
                tar.kill()
                raise
        if tar.returncode:
            said.seek(0)
            raise ArchiveError(f"tar: {said.read(_MOST_SAID).decode(errors='replace').strip()}")

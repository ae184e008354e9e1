"""Room kept for the ledger: files that are given free, one after the other, when the disk is full.

Input: a folder. Output: whether there is room now. Out of bounds: what is written there. A part of what is given free
is for the engine, where its data is on the same disk: a graph store cannot take a name from an image without it.
"""

import os
from contextlib import suppress
from pathlib import Path

from dockwarden.config.files import at_once

_PARTS = 8
_PART_BYTES = 1 << 20
_ROOM_BYTES = 512 << 10  # for an intent, and for what the engine notes down of its own
_PLENTY_BYTES = 64 << 20


class Reserve:
    """Some files of one folder; each is made where there is plenty of room, and only ever removed to make room."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._probe = folder / "probe"  # tells of blocks that only some users may have

    def fill(self) -> None:
        """Make what is missing, if the disk has plenty of room. Never raises."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._probe.unlink(missing_ok=True)  # of a process that was killed
            for part in (self._folder / str(number) for number in range(_PARTS)):
                if not part.exists() and self._free() > _PLENTY_BYTES:
                    self._take(part, _PART_BYTES)

    def has_room(self) -> bool:
        """Whether a few pages can be written, or nothing is left to be given free."""
        return self._is_free() or not self._parts()

    def make_room(self) -> None:
        """Give free what is needed, and no more. Never raises."""
        with suppress(OSError):
            while not self._is_free() and (parts := self._parts()):
                parts[-1].unlink()

    def _parts(self) -> list[Path]:
        with suppress(OSError):
            return sorted(path for path in self._folder.iterdir() if path.name.isdecimal())
        return []

    def _free(self) -> int:
        stat = os.statvfs(self._folder)
        return stat.f_bavail * stat.f_frsize if stat.f_favail or not stat.f_files else 0

    def _is_free(self) -> bool:
        try:
            if self._free() >= _ROOM_BYTES:
                return True
            self._take(self._probe, _ROOM_BYTES)
            self._probe.unlink(missing_ok=True)
        except OSError:
            return not self._folder.is_dir()
        return True

    def _take(self, path: Path, size_bytes: int) -> None:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(at_once(path, flags), "wb") as file:
                os.posix_fallocate(file.fileno(), 0, size_bytes)
        except OSError:
            path.unlink(missing_ok=True)
            raise

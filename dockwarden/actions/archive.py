"""Archives of what was removed, files in one folder of ours, and never so many that the disk fills.

Input: what writes the content. Output: a name, a size, a checksum; later the content again. Out of bounds: what is
inside. A name is in the ledger before there is a file, and only files whose names the ledger has are ever removed; no
link is followed.
"""

import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOTDIR
from pathlib import Path
from typing import Any, NamedTuple

from dockwarden.errors import AnswerError, LedgerError
from dockwarden.model import Recipe
from dockwarden.ports import Intents

_CHUNK_BYTES = 1024 * 1024
_NAME = re.compile(r"[0-9a-f]{32}\.tar", re.ASCII)
_UNFINISHED = ".part"
_TOO_BIG = "is more than the {} bytes that undo.max_bytes and the disk leave"

Write = Callable[[bytes], object]

LOST = "lost"
"""In a recipe: why the content of the object is not kept."""


class ArchiveError(Exception):
    """There is no archive, and why; the text is meant for people."""

    without: Recipe | None = None
    """What brings back all but the content, if anything does."""
    reason = "unrecoverable"


class GainsNothingError(ArchiveError):
    """There is none, because it would take what its object gives back."""

    reason = "gains_nothing"


class Stored(NamedTuple):
    """A finished archive, as the end of a ``Recipe``."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(eq=False)
class Archive:
    """The folder. It is made when it is needed first.

    Attributes:
        max_bytes: of all archives together.
        reserve_bytes: of the disk, which always stay free.
        progress: called from time to time while a big one is written or read; what it raises ends that.
        is_closed: for a plan that is to free the very disk, nothing is written to it.
        is_rehearsed: nothing is written, as it is only to be known whether that could be begun.
    """

    folder: Path
    intents: Intents
    max_bytes: int
    reserve_bytes: int
    progress: Callable[[], object] = bool
    is_closed: bool = False
    is_rehearsed: bool = False

    def write(self, produce: Callable[[Write], object], expected_bytes: int, proof: str = "") -> Stored:
        """Write one archive and have it on the disk. Raises LedgerError: its name cannot be written down.

        ``produce`` is given where to write; without ``proof`` in what it writes that is worthless. What is expected to
        be more than there is room for is not begun. Raises ArchiveError: too big, refused by the disk, or no gain.
        """
        if self.is_closed:
            raise GainsNothingError("an archive of it would be on the disk that is to be freed")
        if self.is_rehearsed and not os.access(self.folder, os.R_OK | os.X_OK):
            return Stored("", 0, "")  # who may not see it, or has none yet, cannot tell
        room = self._room()
        if expected_bytes > room:
            raise ArchiveError(f"an archive of {expected_bytes} bytes {_TOO_BIG.format(room)}")
        if self.is_rehearsed:
            return Stored("", 0, "")
        name = f"{uuid.uuid4().hex}.tar"
        self.intents.begin_archive(name)
        try:
            with self._opened() as folder:
                kept = self._filled(folder, name, produce, room, proof.encode())
            self.intents.end_archive(name, kept.size_bytes)
        except BaseException as error:
            self.remove(name)
            if isinstance(error, OSError):
                why = f"no archive could be written in {self.folder}: {error.strerror or error}"
                raise ArchiveError(why) from error
            raise
        return kept

    def read(self, recipe: Recipe) -> Iterator[bytes]:
        """The content of an archive, once its checksum was found right. Raises ArchiveError: it is gone or damaged."""
        try:
            with self._opened() as folder:
                file = os.fdopen(os.open(recipe.archive, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb")
        except OSError as error:
            path = self.folder / recipe.archive
            raise ArchiveError(f"the archive {path} cannot be read: {error.strerror}") from error
        with file:
            if hashlib.file_digest(file, "sha256").hexdigest() != recipe.sha256:
                raise ArchiveError(f"the archive {recipe.archive} is damaged: its checksum is another one")
            file.seek(0)
            while chunk := file.read(_CHUNK_BYTES):
                self.progress()
                yield chunk

    def remove(self, name: str) -> None:
        """Remove one archive, finished or not; what cannot be removed now stays in the ledger for the next time."""
        if not _NAME.fullmatch(name):
            return
        with suppress(OSError, LedgerError):
            with self._opened() as folder:
                for each in (name, name + _UNFINISHED):
                    with suppress(FileNotFoundError):
                        os.unlink(each, dir_fd=folder)
            self.intents.forget_archive(name)

    def _room(self) -> int:
        try:
            self._refuse_link()
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stat = os.statvfs(self.folder)
        except OSError as error:
            raise ArchiveError(f"{self.folder} cannot be used: {error.strerror}") from error
        free = stat.f_bavail * stat.f_frsize - self.reserve_bytes
        return max(0, min(free, self.max_bytes - sum(self._sizes().values())))

    def strangers(self) -> Mapping[str, int]:
        """Sizes of the files in the folder that no ledger knows; they count, and only a person may remove them."""
        known = self.intents.known_archives()
        return {name: size for name, size in self._sizes().items() if name.removesuffix(_UNFINISHED) not in known}

    def _sizes(self) -> dict[str, int]:
        """What is really in the folder, whatever the ledger says."""
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            return {e.name: e.stat(follow_symlinks=False).st_size for e in entries if e.is_file(follow_symlinks=False)}
        return {}

    def _refuse_link(self) -> None:
        """Raises OSError."""
        if self.folder.is_symlink():
            text = f"it is a link; make it a folder, and mount {self.folder.readlink()} there"
            raise NotADirectoryError(ENOTDIR, text)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        self._refuse_link()
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            yield folder
        finally:
            os.close(folder)

    def _filled(self, folder: int, name: str, produce: Callable[[Write], object], room: int, proof: bytes) -> Stored:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        sum_, size, proven, tail = hashlib.sha256(), 0, not proof, b""
        with os.fdopen(os.open(name + _UNFINISHED, flags, 0o600, dir_fd=folder), "wb") as file:

            def write(chunk: bytes) -> None:
                nonlocal size, proven, tail
                size += len(chunk)
                if size > room:
                    raise ArchiveError(f"its archive {_TOO_BIG.format(room)}")
                if not proven:
                    proven, tail = proof in tail + chunk, chunk[-len(proof) :]
                sum_.update(chunk)
                file.write(chunk)
                self.progress()

            produce(write)
            if not proven:
                raise ArchiveError("what the engine saved is not this image")
            file.flush()
            os.fsync(file.fileno())
        os.rename(name + _UNFINISHED, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
        return Stored(name, size, sum_.hexdigest())


@contextmanager
def or_without(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Keep the content of an object; where that fails, the rest of it can be made again if the policy allows it."""
    try:
        yield
    except (ArchiveError, AnswerError) as error:
        why = error if isinstance(error, ArchiveError) else ArchiveError(f"what it wrote cannot be kept: {error}")
        why.without = Recipe("create", {**parameters, LOST: str(why)})
        raise why from error

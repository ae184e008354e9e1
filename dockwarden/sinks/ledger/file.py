"""The ledger's file: opening, its schema, writing so that it lasts, and what happens when it cannot be used.

Input: a folder. Output: rows; ``LedgerError`` when something cannot be written. Out of bounds: what the rows mean.
A record counts when whoever opens the file anew finds it, so each write looks whether the file is still at its place.
"""

import errno
import os
import re
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from dockwarden.config.files import content
from dockwarden.errors import LedgerError
from dockwarden.sinks.ledger.reserve import Reserve
from dockwarden.sinks.ledger.schema import BY_CLOCK, SCHEMA, SCHEMA_VERSION
from dockwarden.sinks.ledger.shown import fill, read_out, reader
from dockwarden.text import because

_GIVE_BACK = "PRAGMA incremental_vacuum(20000)"
_MOST_WAL_BYTES = 16 << 20
_NO_LEDGER = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)  # the first: it lacks a table
_log = structlog.get_logger("dockwarden.ledger")
_REPLACED = "it is another file now than the one that was opened; a new start takes what is there then"


class Keeping(NamedTuple):
    """How long what is over is kept, in seconds of the observation clock; ``most`` rows of each kind."""

    undo: float = 14 * 86400.0
    findings: float = 90 * 86400.0
    digests: float = 400 * 86400.0
    actions: float = 400 * 86400.0
    most: int = 100_000


class LedgerFile:
    """One SQLite file, or, where it cannot be written, nothing but a reason; each write tries again."""

    def __init__(
        self,
        folder: Path,
        now: Callable[[], float],
        writable: Callable[[bool], None],
        watched: Callable[[], float] = float,
        limits: "Keeping | None" = None,
    ) -> None:
        """``writable`` is told whether the ledger can be written; ``watched`` is the observation clock's reading.

        ``unreadable`` says why ``open_to_read`` could not read it, ``is_none`` that it is damaged or none of ours.
        """
        self._path = folder / "ledger.db"
        self._reserve = Reserve(folder / "reserve")
        self._now = now
        self._tell = writable
        self._watched = watched
        self._limits = limits or Keeping()
        self._db: sqlite3.Connection | None = None
        self._thread = 0
        self._wal = Path()
        self._file: tuple[int, ...] = ()
        self._length = 0
        self._trouble = ""
        self.unreadable, self.is_none = "", False
        self._identity = ""

    def open(self) -> None:
        """Open or create the file; a damaged one is set aside under a name that the log tells. Never raises."""
        try:
            self._open()
        except (OSError, sqlite3.OperationalError, sqlite3.NotSupportedError) as error:
            self._fail(error)
        except sqlite3.DatabaseError as error:
            self._set_aside(error)

    def open_to_read(self) -> None:
        """Open the file, if there is one, without changing anything. Never raises; see ``unreadable``."""
        try:
            self._check_kind()
            in_use = self._beside("-wal").exists()
            # Where nobody writes, even mode=ro would make files beside it, and could not on a read-only disk.
            uri = f"{self._path.resolve().as_uri()}?mode=ro{'' if in_use else '&immutable=1'}"
            # Not by opening it: closing it again would take back the locks that this process has on it. The first
            # asks with a call that container runtimes of 2020 forbid, the second does not know of ambient capabilities.
            may_read = (os.access(self._path, os.R_OK, effective_ids=each) for each in (True, False))
            if self._path.exists() and not any(may_read):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except (OSError, RuntimeError) as error:  # a loop of links
            self.unreadable = f"{self._path} cannot be read: {because(error)}"
            return
        with suppress(sqlite3.Error):
            db = sqlite3.connect(uri, timeout=5, isolation_level=None, uri=True)
            try:
                db.execute("SELECT count(*) FROM meta, memory").fetchone()
                _check_version(db)
                self._db, self._thread = db, threading.get_ident()
            except sqlite3.Error as error:
                db.close()
                self.is_none = getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_LEDGER
                what = f"it is empty, damaged or no ledger of ours ({error})" if self.is_none else f"{error}"
                self.unreadable = f"{self._path} cannot be read: {what}"

    def shown(self) -> dict[str, object]:
        """What it holds, without what may be secret; from any thread. Raises sqlite3.Error."""
        return read_out(self._path)

    def open_shown(self, shown: object) -> None:
        """Use what ``shown`` of another process gave in place of the file. Raises ValueError if it cannot be used."""
        self._db, self._thread, self.unreadable = fill(shown), threading.get_ident(), ""

    @property
    def is_there(self) -> bool:
        return self._db is not None

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._reserve.make_room()
        self._check_kind()
        # It holds names and labels of everything on the host, and what a link leads to is somebody else's.
        if not self._path.exists():
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        elif not self._path.is_symlink():
            self._path.chmod(0o600)
        # WAL mode lets a file that cannot be written be opened and read, so writing is what is tried.
        db = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        try:
            self._prepare(db)
            self._wal = Path(f"{self._path.resolve()}-wal")
            self._file, self._length = self._at_path()
        except BaseException:
            db.close()
            raise
        self._db, self._thread = db, threading.get_ident()
        self._trouble = ""
        self._tell(True)

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make what is not there yet, write, and look for damage. Raises sqlite3.Error."""
        if not self._path.stat().st_size:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA journal_size_limit = {_MOST_WAL_BYTES}")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN IMMEDIATE")
        if not _check_version(db):
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        opened = (repr(self._now()),)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('opened', ?)", opened)  # which a full disk refuses
        db.execute("COMMIT")
        db.execute("SELECT count(*) FROM memory, findings, actions WHERE 0").fetchone()
        if (fault := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(fault)

    def _check_kind(self) -> None:
        """See that only files stand where SQLite would read, and wait. Raises OSError."""
        for file in map(self._beside, ("", "-wal", "-shm", "-journal")):
            if file.exists() and not file.is_file():
                raise OSError(None, f"{file} is not a regular file")
            # What has no length may be one of the system's that only looks like a file. No other is opened here:
            # closing it would take back the locks that this process has on it.
            if file.exists() and not file.stat().st_size:
                content(file)

    def _at_path(self) -> tuple[tuple[int, ...], int]:
        """What the file and its log are that stand at the path now, and the length of the file. Raises OSError."""
        file, wal = self._path.stat(), self._wal.stat()
        return (file.st_dev, file.st_ino, wal.st_dev, wal.st_ino), file.st_size

    def _check_place(self, db: sqlite3.Connection) -> None:
        """See that they are those that were opened, and no shorter than pages that were given back can make them."""
        file, length = self._at_path()
        least = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        if file != self._file or (length < self._length and length < db.execute(least).fetchone()[0]):
            raise OSError(None, _REPLACED)
        self._length = length

    def _look_anew(self, mark: str) -> None:
        """See that what was just written is what anybody finds who opens the file now."""
        with closing(reader(self._path)) as db:
            if db.execute("SELECT value FROM meta WHERE key = 'mark'").fetchone() != (mark,):
                raise OSError(None, _REPLACED)

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self._path.with_name(f"ledger.db.damaged-{int(self._now())}")
        _log.error("ledger.damaged", error=str(error), set_aside=str(aside), note="everything counts as just seen")
        try:
            self._path.rename(aside)
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    self._beside(suffix).rename(aside.with_name(aside.name + suffix))
            self._open()
        except (OSError, sqlite3.Error) as again:
            self._fail(again)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _fail(self, error: Exception) -> None:
        if not self._trouble:
            ways_out: dict[type[Exception], str] = {
                PermissionError: f"; who runs dockwarden must own {self._path.parent}, with all in it",
                FileExistsError: "; state_dir must be a folder",
            }
            said = re.sub(r"^\[Errno \w+\] ", "", str(error)) + ways_out.get(type(error), "")
            _log.error("ledger.not_writable", path=str(self._path), error=said, note="nothing will be removed")
        self._trouble = f"the ledger {self._path} cannot be written: {because(error)}"
        self._tell(False)

    def _ready(self, *, urgent: bool) -> sqlite3.Connection:
        if urgent:
            self._reserve.make_room()
        elif not self._reserve.has_room():
            raise LedgerError(f"the disk of {self._path} is full; what is left is kept for removals")
        if self._db is None:
            self.open()
        if self._db is None:
            raise LedgerError(self._trouble)
        return self._db

    @contextmanager
    def _write(self, *, durable: bool = False, urgent: bool = False) -> Iterator[sqlite3.Connection]:
        """``urgent``, as what is ``durable``: on a full disk the reserve is used for it, and kept from all else."""
        db = self._ready(urgent=durable or urgent)
        mark = uuid.uuid4().hex if durable else ""
        try:
            self._check_place(db)
            if durable:
                db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            yield db
            if durable:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('mark', ?)", (mark,))
            db.execute("COMMIT")
            if durable:
                self._look_anew(mark)
        except (sqlite3.Error, OSError, ValueError, OverflowError) as error:  # the last two: a value that does not fit
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            self._fail(error)
            raise LedgerError(self._trouble) from error
        finally:
            if durable:
                with suppress(sqlite3.Error):
                    db.execute("PRAGMA synchronous = NORMAL")
        if self._trouble:
            _log.info("ledger.writable_again")
        self._trouble = ""
        self._tell(True)

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        if self._db is None:
            return []
        try:
            if threading.get_ident() == self._thread:
                return self._db.execute(query, values).fetchall()
            with closing(reader(self._path)) as db:  # who shows what would be done asks in another thread
                return db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._fail(error)
            return []

    def _shrink(self) -> None:
        """Give free space back to the disk, a part at a time."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.executescript(_GIVE_BACK)  # as a script, because else the library takes only the first page

    def engine(self) -> str:
        """The identity of the engine that this ledger is about, "" if of none yet."""
        return self._meta("engine")

    def claim(self, identity: str) -> None:
        """Be about this engine from now on, at the latest with the first write. Raises LedgerError."""
        self._identity = identity
        with self._write(urgent=True) as db:
            self._forget_others(db)
        self._reserve.fill()

    def _forget_others(self, db: sqlite3.Connection) -> None:
        """What was remembered of another engine is of no use; what is kept for a time is kept on by the new clock."""
        former = self._meta("engine")
        if former == self._identity:
            return
        if former:
            _log.warning("ledger.other_engine", note="ages start anew")
        for table, column in BY_CLOCK:
            db.execute(f"UPDATE {table} SET {column} = {column} - ?", (float(self._meta("clock") or 0.0),))  # noqa: S608
        db.execute("DELETE FROM memory")
        db.execute("DELETE FROM looks")
        db.execute("DELETE FROM meta")
        ended = (self._now(), self._watched())
        db.execute("UPDATE digests SET until = ?, until_seconds = ? WHERE until IS NULL", ended)
        db.execute("INSERT INTO meta VALUES ('engine', ?)", (self._identity,))

    def _reading(self) -> float:
        """The observation clock's reading, as far as anybody knows it. It never follows the wall clock."""
        return max(self._watched(), float(self._meta("clock") or 0.0))

    def _meta(self, key: str) -> str:
        rows = self._read("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else ""


def _check_version(db: sqlite3.Connection) -> int:
    """The version of its schema, 0 if it has none yet; that of another program is left alone."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version not in (0, SCHEMA_VERSION):
        what = f"its schema is {version}, this program knows {SCHEMA_VERSION}"
        raise sqlite3.NotSupportedError(f"{what}: use the program that wrote it, or another state_dir")
    return version

"""The ledger's file: opening, its schema, writing so that it lasts, and what happens when it cannot be used.

Input: a folder. Output: rows; ``LedgerError`` when something cannot be written. Out of bounds: what the rows mean.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from dockwarden.errors import LedgerError

SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE memory (kind TEXT, key TEXT, first REAL NOT NULL, used REAL NOT NULL, had_tag INTEGER NOT NULL,
  PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE findings (policy TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
  severity TEXT NOT NULL, message TEXT NOT NULL, opened_at REAL NOT NULL, resolved_at REAL, why TEXT);
CREATE UNIQUE INDEX open_findings ON findings (policy, kind, key) WHERE resolved_at IS NULL;
CREATE TABLE digests (tag TEXT NOT NULL, side TEXT NOT NULL, digest TEXT NOT NULL, since REAL NOT NULL, until REAL);
CREATE INDEX digests_of_tag ON digests (tag, side);
CREATE INDEX present_digests ON digests (tag, side) WHERE until IS NULL;
CREATE TABLE actions (id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, policy TEXT NOT NULL,
  action TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, recipe TEXT NOT NULL,
  at REAL NOT NULL, outcome TEXT, reason TEXT, detail TEXT, freed INTEGER);
"""
# Since when the findings of before were watched is not known, which means: since now.
_TO_VERSION_2 = """
ALTER TABLE findings ADD COLUMN opened_seconds REAL NOT NULL DEFAULT 9e99;
ALTER TABLE actions ADD COLUMN engine TEXT NOT NULL DEFAULT '';
ALTER TABLE actions ADD COLUMN archive TEXT NOT NULL DEFAULT '';
ALTER TABLE actions ADD COLUMN planned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE actions ADD COLUMN undoable_until REAL;
ALTER TABLE actions ADD COLUMN undoes INTEGER;
CREATE INDEX actions_of_run ON actions (run);
CREATE INDEX open_actions ON actions (id) WHERE outcome IS NULL;
CREATE INDEX undoable_actions ON actions (id) WHERE undoable_until IS NOT NULL;
CREATE TABLE archives (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, begun_at REAL NOT NULL) WITHOUT ROWID;
"""
_TO_VERSION_3 = """
ALTER TABLE findings ADD COLUMN definition TEXT NOT NULL DEFAULT ''
"""
_log = structlog.get_logger("dockwarden.ledger")


class LedgerFile:
    """One SQLite file, or, where it cannot be written, nothing but a reason; each write tries again."""

    def __init__(
        self, folder: Path, now: Callable[[], float], writable: Callable[[bool], None], undo_seconds: float = 14 * 86400
    ) -> None:
        """``writable`` is told whether the ledger can be written; ``undo_seconds``: how long removals can be undone."""
        self._path = folder / "ledger.db"
        self._now = now
        self._tell = writable
        self._db: sqlite3.Connection | None = None
        self._trouble = ""
        self._undo_seconds = undo_seconds
        self._identity = ""
        self._version = SCHEMA_VERSION

    def open(self) -> None:
        """Open or create the file; a damaged one is set aside under a name that the log tells. Never raises."""
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                self._fail(error)
            else:
                self._set_aside(error)
        except OSError as error:
            self._fail(error)

    def open_to_read(self) -> None:
        """Open the file, if there is one, without changing anything. Never raises."""
        in_use = self._beside("-wal").exists()
        # Where nobody writes, even mode=ro would make files beside it, and could not on a read-only disk.
        uri = f"{self._path.resolve().as_uri()}?{'mode=ro' if in_use else 'immutable=1'}"
        with suppress(sqlite3.Error):
            db = sqlite3.connect(uri, timeout=5, isolation_level=None, uri=True)
            try:
                db.execute("SELECT count(*) FROM meta, memory").fetchone()
                self._version = db.execute("PRAGMA user_version").fetchone()[0]
            except sqlite3.Error:
                db.close()
                raise
            self._db = db

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    # -- the file -------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # WAL mode lets a file that cannot be written be opened and read, so writing is what is tried.
        db = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        try:
            os.chmod(self._path, 0o600)  # noqa: PTH101 - it holds names and labels of everything on the host
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("BEGIN IMMEDIATE")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                _refuse_schema(version)
            if version < SCHEMA_VERSION:
                for statements in (_SCHEMA, _TO_VERSION_2, _TO_VERSION_3)[version:]:
                    for statement in statements.split(";"):
                        db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("COMMIT")
            db.execute("SELECT count(*) FROM memory, findings, actions WHERE 0").fetchone()
            if (fault := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(fault)
        except BaseException:
            db.close()
            raise
        self._db = db
        self._trouble = ""
        self._tell(True)

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
            _log.error("ledger.not_writable", path=str(self._path), error=str(error), note="nothing will be removed")
        self._trouble = f"the ledger {self._path} cannot be written: {error}"
        self._tell(False)

    @contextmanager
    def _write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        if self._db is None:
            self.open()
        db = self._db
        if db is None:
            raise LedgerError(self._trouble)
        try:
            if durable:
                db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except (sqlite3.Error, ValueError, OverflowError) as error:  # the last two: a value that does not fit
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
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._fail(error)
            return []

    def _meta(self, key: str) -> str:
        rows = self._read("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else ""


def _refuse_schema(version: int) -> None:
    raise sqlite3.OperationalError(f"its schema is {version}, this program knows {SCHEMA_VERSION}")

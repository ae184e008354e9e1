"""The ledger: what was found, what was removed, and since when we know what, in one SQLite file.

Input: reports, intents, the inventory's memory. Output: the same, after a restart. Out of bounds: deciding anything.
The connection belongs to the worker's thread. Intents are on the disk before they return; the rest survives any end of
the process and may lose the last moments to an end of the machine, which only makes things younger.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from dockwarden.errors import LedgerError
from dockwarden.model import (
    Finding,
    Image,
    Intent,
    Kind,
    Observed,
    Outcome,
    Ref,
    Report,
    Result,
    Severity,
    Status,
    Step,
    Thing,
)

_SCHEMA_VERSION = 2
_UPGRADES = {  # by the version that is brought to the next one
    # Since when the findings of before were watched is not known, which means: since now.
    1: "ALTER TABLE findings ADD COLUMN opened_seconds REAL NOT NULL DEFAULT 9e99",
}
_DIGESTS_KEPT_SECONDS = 400 * 86400
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE memory (kind TEXT, key TEXT, first REAL NOT NULL, used REAL NOT NULL, had_tag INTEGER NOT NULL,
  PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE findings (policy TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
  severity TEXT NOT NULL, message TEXT NOT NULL, opened_at REAL NOT NULL, resolved_at REAL, why TEXT,
  opened_seconds REAL NOT NULL);
CREATE UNIQUE INDEX open_findings ON findings (policy, kind, key) WHERE resolved_at IS NULL;
CREATE TABLE digests (tag TEXT NOT NULL, side TEXT NOT NULL, digest TEXT NOT NULL, since REAL NOT NULL, until REAL);
CREATE INDEX digests_of_tag ON digests (tag, side);
CREATE INDEX present_digests ON digests (tag, side) WHERE until IS NULL;
CREATE TABLE actions (id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, policy TEXT NOT NULL,
  action TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, recipe TEXT NOT NULL,
  at REAL NOT NULL, outcome TEXT, reason TEXT, detail TEXT, freed INTEGER);
"""
_log = structlog.get_logger("dockwarden.ledger")


class Ledger:
    """One SQLite file, or, where it cannot be written, nothing but a reason; each write tries again."""

    def __init__(self, folder: Path, now: Callable[[], float], writable: Callable[[bool], None]) -> None:
        """``writable`` is told whether the ledger can be written whenever that is known."""
        self._path = folder / "ledger.db"
        self._now = now
        self._tell = writable
        self._db: sqlite3.Connection | None = None
        self._trouble = ""
        self._identity = ""

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
            except sqlite3.Error:
                db.close()
                raise
            self._db = db

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    # -- what it remembers ----------------------------------------------------------------------------------

    def recall(self, identity: str) -> tuple[float, list[tuple[Ref, Observed]]]:
        """The observation clock's last reading and the memory of objects; none of it if it is of another engine."""
        if self._meta("engine") != identity:
            return 0.0, []
        rows = self._read("SELECT kind, key, first, used, had_tag FROM memory")
        memory = [(Ref(Kind(k), key), Observed(first, used, bool(tag))) for k, key, first, used, tag in rows]
        return float(self._meta("clock") or 0.0), memory

    def claim(self, identity: str) -> None:
        """Keep the memory of this engine from now on, at the latest with the first ``save``. Raises LedgerError."""
        self._identity = identity
        with self._write() as db:
            db.execute("DELETE FROM digests WHERE until < ?", (self._now() - _DIGESTS_KEPT_SECONDS,))
            self._forget_others(db)

    def _forget_others(self, db: sqlite3.Connection) -> None:
        former = self._meta("engine")
        if former == self._identity:
            return
        if former:
            _log.warning("ledger.other_engine", note="ages start anew")
        db.execute("DELETE FROM memory")
        db.execute("DELETE FROM meta")
        db.execute("UPDATE digests SET until = ? WHERE until IS NULL", (self._now(),))
        db.execute("INSERT INTO meta VALUES ('engine', ?)", (self._identity,))

    def present_digests(self, identity: str) -> list[tuple[str, str, str, float]]:
        """Tag, side, digest and since when, of what was there when we last looked; nothing of another engine."""
        if self._meta("engine") != identity:
            return []
        return self._read("SELECT tag, side, digest, since FROM digests WHERE until IS NULL")

    def history(self, tag: str) -> list[tuple[str, str, float, float | None]]:
        """Side, digest, since and until, of every digest a tag had that is remembered, oldest first."""
        return self._read("SELECT side, digest, since, until FROM digests WHERE tag = ? ORDER BY since, rowid", (tag,))

    def past_findings(self, most: int) -> list[dict[str, object]]:
        """The last findings, newest first, under the names that scripts use."""
        rows = self._read(
            "SELECT policy, kind, key, name, severity, message, opened_at, resolved_at, why "
            "FROM findings ORDER BY opened_at DESC, rowid DESC LIMIT ?",
            (most,),
        )
        names = ("policy", "subject", "id", "name", "severity", "message", "opened_at", "resolved_at", "why")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def open_findings(self) -> list[Finding]:
        """Findings that were open when we last looked."""
        rows = self._read(
            "SELECT policy, kind, key, name, severity, message, opened_at, opened_seconds "
            "FROM findings WHERE resolved_at IS NULL"
        )
        return [
            Finding(Result(policy, Ref(Kind(kind), key), name, Status.FAIL, Severity(severity), message), *opened)
            for policy, kind, key, name, severity, message, *opened in rows
        ]

    def open_intents(self) -> list[Intent]:
        """Removals that a crash or a lost engine cut short."""
        rows = self._read("SELECT id, policy, action, kind, key, name, recipe FROM actions WHERE outcome IS NULL")
        return [
            Intent(number, policy, action, Ref(Kind(kind), key), name, json.loads(recipe)["id"])
            for number, policy, action, kind, key, name, recipe in rows
        ]

    def recent_actions(self, most: int) -> list[dict[str, object]]:
        """The last actions that came to an end, newest first, under the names that scripts use."""
        rows = self._read(
            "SELECT id, run, policy, action, kind, key, name, outcome, reason, at "
            "FROM actions WHERE outcome IS NOT NULL ORDER BY id DESC LIMIT ?",
            (most,),
        )
        names = ("id", "run", "policy", "action", "subject", "object_id", "name", "outcome", "reason", "at")
        return [dict(zip(names, row, strict=True)) for row in rows]

    # -- what it is told ------------------------------------------------------------------------------------

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only process that acts with this ledger. Raises LedgerError if another one does."""
        try:
            lock = self._path.with_name("acting.lock").open("a")
        except OSError as error:
            raise LedgerError(f"the ledger {self._path} cannot be written: {error}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LedgerError("another dockwarden is acting just now; try again later") from None
            yield

    def intend(self, run: str, step: Step) -> int:
        """Commit, durably, that this step is about to happen. Raises LedgerError when it cannot be written."""
        values = (run, step.policy, step.action, *step.ref, step.name, _recipe(step.object), self._now())
        with self._write(durable=True) as db:
            cursor = db.execute(
                "INSERT INTO actions (run, policy, action, kind, key, name, recipe, at) VALUES (?,?,?,?,?,?,?,?)",
                values,
            )
        return int(cursor.lastrowid or 0)

    def conclude(self, number: int, outcome: Outcome) -> None:
        """Write down what became of an intent. Raises LedgerError; the intent then stays open."""
        with self._write() as db:
            db.execute(
                "UPDATE actions SET outcome = ?, reason = ?, detail = ?, freed = ? WHERE id = ?",
                (outcome.effect.value, outcome.reason, outcome.detail, outcome.freed_bytes, number),
            )

    def save(self, clock: float, memory: Iterable[tuple[Ref, Observed | None]]) -> None:
        """Write the observation clock and what changed in the memory. Raises LedgerError."""
        if not self._identity:
            return  # no engine was seen yet, so what is there must stay
        with self._write() as db:
            self._forget_others(db)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('clock', ?)", (repr(clock),))
            for ref, seen in memory:
                if seen is None:
                    db.execute("DELETE FROM memory WHERE kind = ? AND key = ?", ref)
                else:
                    db.execute("INSERT OR REPLACE INTO memory VALUES (?,?,?,?,?)", (*ref, *_memory_row(seen)))

    def save_digests(self, sightings: Iterable[tuple[str, str, str | None, float]]) -> None:
        """Write down tag, side, digest (None: not seen any more), since when; the former digest ends there.

        Raises LedgerError.
        """
        if not self._identity:
            return  # as above
        with self._write() as db:
            self._forget_others(db)
            for tag, side, digest, since in sightings:
                db.execute(
                    "UPDATE digests SET until = ? WHERE tag = ? AND side = ? AND until IS NULL", (since, tag, side)
                )
                if digest is not None:
                    db.execute(
                        "INSERT INTO digests (tag, side, digest, since) VALUES (?,?,?,?)", (tag, side, digest, since)
                    )

    def record(self, report: Report) -> None:
        """Write down the openings and resolutions of a run. Raises LedgerError."""
        if not report.opened and not report.resolved:
            return
        at = report.started_at
        with self._write() as db:
            db.executemany(
                "INSERT OR IGNORE INTO findings "
                "(policy, kind, key, name, severity, message, opened_at, opened_seconds) VALUES (?,?,?,?,?,?,?,?)",
                [
                    (r.policy, *r.ref, r.name, r.severity.value, r.message, at, report.watched_seconds)
                    for r in report.opened
                ],
            )
            db.executemany(
                "UPDATE findings SET resolved_at = ?, why = ? "
                "WHERE policy = ? AND kind = ? AND key = ? AND resolved_at IS NULL",
                [(at, r.reason, r.policy, *r.ref) for r in report.resolved],
            )

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
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            elif not 0 < version <= _SCHEMA_VERSION:
                _refuse_schema(version)
            elif version < _SCHEMA_VERSION:
                for old in range(version, _SCHEMA_VERSION):
                    db.execute(_UPGRADES[old])
                db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
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
    raise sqlite3.OperationalError(f"its schema is {version}, this program knows {_SCHEMA_VERSION}")


def _memory_row(seen: Observed) -> tuple[float, float, int]:
    return seen.first_seconds, seen.used_seconds, int(seen.had_tag)


def _recipe(image: Thing | None) -> str:
    """What is needed to bring an image back, as JSON."""
    if not isinstance(image, Image):
        return json.dumps({"id": getattr(image, "id", "")})
    return json.dumps(
        {
            "id": image.id,
            "tags": image.tags,
            "digests": image.digests,
            "size_bytes": image.size_bytes,
            "labels": dict(image.labels),
        }
    )

"""The ledger: what was found, what was removed, and since when we know what, in one SQLite file.

Input: reports, intents, the inventory's memory. Output: the same, after a restart. Out of bounds: deciding anything.
The connection belongs to the worker's thread; what reads in another has one of its own. Intents are on the disk before
they return; the rest survives any end of the process and may lose the last moments to an end of the machine, which only
makes things younger.
"""

import json
from collections.abc import Collection, Iterable
from typing import Any, Literal

import structlog

from dockwarden.model import Aside, Finding, Kind, Observed, Ref, Report, Result, Severity, Status
from dockwarden.sinks.ledger.actions import ABOUT, BACK, Actions
from dockwarden.sinks.ledger.file import Keeping

__all__ = ["Keeping", "Ledger"]

_BATCH = 10_000
_log = structlog.get_logger("dockwarden.ledger")


class Ledger(Actions):
    def recall(self, identity: str) -> tuple[float, list[tuple[Ref, Observed]]]:
        """The observation clock's last reading and the memory of objects; none of it if it is of another engine."""
        old = f"NOT {BACK.format('u.outcome IS NULL')}"  # an undo may be cut short, and its end be lost
        # In one query, so that everything is young where it fails; of constants.
        rows = self._of(identity, f"SELECT kind, key, first, used, had_tag, given_up FROM memory WHERE {old}")  # noqa: S608
        memory = [
            (ref, Observed(first, used, bool(tag), given_up))
            for kind, key, first, used, tag, given_up in rows
            if (ref := _ref(kind, key))
        ]
        clock = self._of(identity, "SELECT value FROM meta WHERE key = 'clock'")
        return float(clock[0][0] if clock else 0.0), memory

    def looks(self, identity: str) -> list[tuple[str, str, str, str]]:
        """What dear looks at images told: image, mark, details, history; nothing of another engine."""
        return self._of(identity, "SELECT image, mark, details, history FROM looks")

    def present_digests(self, identity: str) -> list[tuple[str, str, str, float]]:
        """Tag, side, digest and since when, of what was there when we last looked; nothing of another engine."""
        return self._of(identity, "SELECT tag, side, digest, since FROM digests WHERE until IS NULL")

    def _of(self, identity: str, query: str) -> list[Any]:
        return self._read(query) if self._meta("engine") == identity else []

    def history(self, tag: str) -> list[tuple[str, str, float, float | None]]:
        """Side, digest, since and until, of every digest a tag had that is remembered, oldest first."""
        return self._read("SELECT side, digest, since, until FROM digests WHERE tag = ? ORDER BY since, rowid", (tag,))

    def names(self, of: Literal["digests", "findings", "actions"]) -> list[str]:
        """The tags or objects that there are rows of."""
        queries = {
            "digests": "SELECT DISTINCT tag FROM digests",
            "findings": "SELECT DISTINCT name FROM findings",
            "actions": "SELECT DISTINCT name FROM actions",
        }
        return [name for (name,) in self._read(queries[of])]

    def past_findings(self, most: int, about: Collection[str] = ()) -> list[dict[str, object]]:
        """The last findings, newest first, under the names that scripts use; ``about`` as for actions."""
        columns = "policy, kind, key, name, severity, message, opened_at, resolved_at, why"
        query = f"SELECT {columns} FROM findings WHERE {ABOUT} ORDER BY opened_at DESC, rowid DESC LIMIT ?2"  # noqa: S608
        rows = self._read(query, (json.dumps([*about]), most))
        names = ("policy", "subject", "id", "name", "severity", "message", "opened_at", "resolved_at", "why")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def open_findings(self) -> list[Finding]:
        rows = self._read(
            "SELECT policy, kind, key, name, severity, message, definition, opened_at, opened_seconds "
            "FROM findings WHERE resolved_at IS NULL"
        )
        return [
            Finding(Result(policy, ref, name, Status.FAIL, Severity(severity), message, definition=definition), *opened)
            for policy, kind, key, name, severity, message, definition, *opened in rows
            if (ref := _ref(kind, key))
        ]

    def asides(self) -> list[tuple[str, Ref, Aside]]:
        """What was pending or excused, or had to hold for a while, when we last looked."""
        rows = self._read("SELECT policy, kind, key, severity, since, candidate, excuse, was FROM asides")
        return [(policy, ref, Aside(*aside)) for policy, kind, key, *aside in rows if (ref := _ref(kind, key))]

    def save(self, clock: float, memory: Iterable[tuple[Ref, Observed | None]]) -> None:
        """Write the observation clock and what changed in the memory. Raises LedgerError."""
        if not self._identity:
            return  # no engine was seen yet, so what is there must stay
        self._reserve.fill()
        with self._write() as db:
            self._forget_others(db)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('clock', ?)", (repr(clock),))
            for ref, seen in memory:
                if seen is None:
                    db.execute("DELETE FROM memory WHERE kind = ? AND key = ?", ref)
                else:
                    row = (*ref, seen.first_seconds, seen.used_seconds, int(seen.had_tag), seen.given_up_at)
                    db.execute("INSERT OR REPLACE INTO memory VALUES (?,?,?,?,?,?)", row)

    def save_looks(self, looks: Iterable[tuple[str, tuple[str, str, str, str] | None]]) -> None:
        """Write down what looks at images told, or that it is of no use any more. Raises LedgerError."""
        if not self._identity:
            return  # as above
        with self._write() as db:
            self._forget_others(db)
            for image, row in looks:
                if row is None:
                    db.execute("DELETE FROM looks WHERE image = ?", (image,))
                else:
                    db.execute("INSERT OR REPLACE INTO looks VALUES (?,?,?,?)", row)

    def save_digests(self, sightings: Iterable[tuple[str, str, str | None, float]]) -> None:
        """Write tag, side, digest (None: not seen any more), since when; the former ends there. Raises LedgerError."""
        if not self._identity:
            return  # as above
        with self._write() as db:
            self._forget_others(db)
            for tag, side, digest, since in sightings:
                db.execute(
                    "UPDATE digests SET until = ?, until_seconds = ? WHERE tag = ? AND side = ? AND until IS NULL",
                    (since, self._reading(), tag, side),
                )
                if digest is not None:
                    row = (tag, side, digest, since)
                    db.execute("INSERT INTO digests (tag, side, digest, since) VALUES (?,?,?,?)", row)

    def record(self, report: Report) -> None:
        """Write down the openings and resolutions of a run. Raises LedgerError."""
        ended = [*report.resolved, *(result._replace(reason="excused") for result in report.newly_excused)]
        if not report.opened and not ended and report.asides is None:
            return
        at = report.started_at
        with self._write() as db:
            db.executemany(
                "INSERT OR IGNORE INTO findings "
                "(policy, kind, key, name, severity, message, definition, opened_at, opened_seconds) "
                "VALUES (?,?,?,?,?,?,?,?,?)",
                [
                    (r.policy, *r.ref, r.name, r.severity.value, r.message, r.definition, at, report.watched_seconds)
                    for r in report.opened
                ],
            )
            db.executemany(
                "UPDATE findings SET resolved_at = ?, resolved_seconds = ?, why = ? "
                "WHERE policy = ? AND kind = ? AND key = ? AND resolved_at IS NULL",
                [(at, report.watched_seconds, r.reason, r.policy, *r.ref) for r in ended],
            )
            if report.asides is not None:
                db.execute("DELETE FROM asides")
                rows = [(policy, *ref, *aside) for policy, ref, aside in report.asides]
                db.executemany("INSERT OR REPLACE INTO asides VALUES (?,?,?,?,?,?,?,?)", rows)

    def prune(self) -> None:
        """Forget what has been over for long, the oldest of too much, and give the space back. Raises LedgerError."""
        reading, limits = self._reading(), self._limits
        for table, over, column, seconds in (
            ("findings", "resolved_at IS NOT NULL", "resolved_seconds", limits.findings),
            ("digests", "until IS NOT NULL", "until_seconds", limits.digests),
            ("actions", "outcome IS NOT NULL AND undoable_seconds IS NULL", "at_seconds", limits.actions),
        ):
            (last,), *_ = self._read(f"SELECT coalesce(max(rowid), 0) FROM {table}") or [(0,)]  # noqa: S608 - constants
            due = f"{over} AND ({column} < ? OR rowid <= ?)"
            query = f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE {due} LIMIT {_BATCH})"  # noqa: S608
            deleted = _BATCH
            while deleted == _BATCH:
                with self._write() as db:
                    deleted = db.execute(query, (reading - seconds, last - limits.most)).rowcount
        self._shrink()


def _ref(kind: str, key: str) -> Ref | None:
    """None for a kind of object that another version of this program knows."""
    if kind in list(Kind):
        return Ref(Kind(kind), key)
    _log.warning("ledger.unknown_kind", kind=kind, key=key)
    return None

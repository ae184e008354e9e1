"""The part of the ledger that holds what was done to the engine, and what would undo it.

Input: steps, recipes, outcomes. Output: the same, after a restart. Out of bounds: archives, but for their names.
"""

import fcntl
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dockwarden.config.files import at_once
from dockwarden.errors import LedgerError
from dockwarden.model import Effect, Kind, Outcome, Recipe, Record, Ref, Step
from dockwarden.sinks.ledger.file import LedgerFile
from dockwarden.text import because

_COLUMNS = "id, run, policy, action, kind, key, name, outcome, reason, at"
_PUBLIC = ("id", "run", "policy", "action", "subject", "object_id", "name", "outcome", "reason", "at")
_NAMED = "IN (SELECT value FROM json_each(?1))"
ABOUT = f"(?1 = '[]' OR name {_NAMED} OR key {_NAMED} OR kind || '/' || name {_NAMED} OR kind || '/' || key {_NAMED})"
_FINGERPRINT = re.compile(r".{4}:.{4}:")
_OF_RECORD = (
    "id, run, policy, action, kind, key, name, at, recipe, planned, coalesce(outcome, ''), coalesce(reason, '')"
)
_UNDO = "FROM actions u JOIN actions a ON a.id = u.undoes WHERE {0}"
BACK = (
    f"(kind, key) IN (SELECT a.kind, a.key {_UNDO} UNION "
    f"SELECT 'image', coalesce(json_extract(a.recipe, '$.parameters.id'), '') {_UNDO})"
)
"""Whether an object in our memory is that of an undo: it is young from before it comes back, until that is refused."""
_WATCHED = "reason = 'updating' AND undoable_seconds IS NOT NULL"  # what a swarm is still at, and nobody undid
_UNFINISHED_SECONDS = 86400.0  # an archive that no action has by then belongs to a process that died


class Actions(LedgerFile):
    """Actions and archives: ``ports.Intents``, which says what each method does."""

    def open_intents(self) -> list[Record]:
        return [_record(row) for row in self._ours(f"{_OF_RECORD}, 0.0", f"(outcome IS NULL OR ({_WATCHED}))")]

    def ages(self, action: str, ref: Ref) -> list[float]:
        rows = self._ours("at_seconds", "outcome = 'applied' AND action = ?2 AND kind = ?3 AND key = ?4", action, *ref)
        reading = self._reading() if rows else 0.0  # once: each read may open the file
        return [reading - at for (at,) in rows]

    def aside(self, policy: str) -> list[tuple[str, float]]:
        rows = self._read(
            "WITH updates AS (SELECT * FROM actions WHERE action = 'update' AND kind = 'container' AND policy = ? "
            "AND outcome = 'applied' AND undoable_seconds IS NOT NULL) "
            "SELECT json_extract(value, '$.id'), at_seconds, inside.key FROM updates, "
            "json_each(recipe, '$.parameters.joined') AS inside UNION ALL SELECT key, at_seconds, -1 FROM updates "
            "ORDER BY 3 DESC",
            (policy,),
        )
        reading = self._reading() if rows else 0.0
        return [(key, reading - at) for key, at, _ in rows]

    def recent_actions(self, most: int, about: Collection[str] = ()) -> list[dict[str, object]]:
        """The last actions that ended, newest first, as scripts name them; ``about``: objects of these names or IDs."""
        rows = self._read(
            f"SELECT {_COLUMNS} FROM actions "  # noqa: S608 - names of columns, and a condition of ours
            f"WHERE outcome IS NOT NULL AND {ABOUT} ORDER BY id DESC LIMIT ?2",
            (json.dumps([*about]), most),
        )
        until = self.undoable_until()
        return [dict(zip(_PUBLIC, row, strict=True)) | {"undoable_until": until.get(row[0])} for row in rows]

    def undoable_until(self) -> dict[int, float]:
        """Until when each action can be undone, by its number."""
        return dict(self._undoable("id"))

    def undoable(self, what: str = "") -> list[Record]:
        """What was done to our engine and can still be undone, newest first; of one run or action, if it is named."""
        return [_record(row) for row in self._undoable(_OF_RECORD, what)]

    def _undoable(self, columns: str, what: str = "") -> list[Any]:
        """The one rule for what can be undone: columns, and until when if we go on watching."""
        return self._ours(
            f"{columns}, ?2 + undoable_seconds - ?3",
            "undoable_seconds > ?3 AND outcome IS NOT NULL "
            "AND (?4 = '' OR run = ?4 OR cast(id AS TEXT) = ?4) ORDER BY id DESC",
            *(self._now(), self._reading(), what),
        )

    def _ours(self, columns: str, condition: str, *values: object) -> list[Any]:
        """What was done to this engine."""
        now = self._identity or self.engine()
        names = [name for (name,) in self._read("SELECT DISTINCT engine FROM actions") if _is_ours(name, now)]
        ours = "engine IN (SELECT value FROM json_each(?1))"
        query = f"SELECT {columns} FROM actions WHERE {ours} AND {condition}"  # noqa: S608 - names and conditions of ours
        return self._read(query, (json.dumps(names), *values))

    def is_of(self, identity: str) -> bool:
        """Whether it is about this engine, also as it was before its upgrade, or about none yet."""
        former = self.engine()
        return former in ("", identity) or _was_upgraded(former, identity)

    @contextmanager
    def alone(self) -> Iterator[None]:
        self._reserve.make_room()
        try:
            lock = os.fdopen(at_once(self._path.with_name("acting.lock"), os.O_WRONLY | os.O_CREAT), "ab")
        except OSError as error:
            raise LedgerError(f"the ledger {self._path} cannot be written: {because(error)}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LedgerError("another dockwarden is acting just now; try again later") from None
            yield

    def intend(self, run: str, step: Step, recipe: Recipe) -> int:
        at, reading = self._now(), self._reading()
        until = None if recipe.method == "none" else reading + self._limits.undo
        values = (run, step.policy, step.action, *step.ref, step.name, json.dumps(recipe._asdict()), at, reading)
        further = (recipe.archive, step.planned_bytes, until, recipe.parameters.get("undoes"))
        with self._write(durable=True) as db:
            if not self._identity:
                raise ValueError("nobody has said which engine it is about")
            self._forget_others(db)
            cursor = db.execute(
                "INSERT INTO actions (run, policy, action, kind, key, name, recipe, at, at_seconds, archive, planned, "
                "undoable_seconds, undoes, engine) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (*values, *further, self._identity),
            )
        return int(cursor.lastrowid or 0)

    def amend(self, number: int, recipe: Recipe) -> None:
        with self._write(durable=True) as db:
            db.execute("UPDATE actions SET recipe = ? WHERE id = ?", (json.dumps(recipe._asdict()), number))

    def is_barred(
        self, action: str, name: str, image_id: str, back_to: str = "", service: str = "", platform: str = ""
    ) -> bool:
        query = (
            "SELECT 1 FROM actions a WHERE action = ? "
            "AND ? IN (json_extract(recipe, '$.parameters.new_image_id'), json_extract(recipe, '$.parameters.from')) "
            "AND ((reason = 'other_platform' AND NOT json_extract(recipe, '$.parameters.was_here') "
            "AND json_extract(recipe, '$.parameters.platform') = nullif(?, '')) "
            "OR ((name = ? OR json_extract(recipe, '$.parameters.service') = nullif(?, '')) "
            "AND (reason IN ('rolled_back', 'paused') "
            "OR ((outcome = 'applied' OR reason = 'updating') AND json_extract(recipe, '$.parameters.image_ref') = ?) "
            "OR EXISTS (SELECT 1 FROM actions WHERE undoes = a.id AND outcome = 'applied')))) LIMIT 1"
        )
        return bool(self._read(query, (action, image_id, platform, name, service, back_to)))

    def conclude(self, number: int, outcome: Outcome) -> None:
        ended = (outcome.effect.value, outcome.reason, outcome.detail, outcome.freed_bytes)
        about = (outcome.ref.kind.value, outcome.ref.key)  # it may have hit another object than it was meant for
        # After the end of an undo its archive goes: what can be undone must not still be told of it.
        with self._write(durable=outcome.action == "undo", urgent=True) as db:
            db.execute(
                "UPDATE actions SET outcome = ?1, reason = ?2, detail = ?3, freed = ?4, kind = ?6, key = ?7, "
                "undoable_seconds = CASE WHEN ?1 = 'applied' OR ?2 IN ('paused', 'updating') THEN undoable_seconds END "
                "WHERE id = ?5",
                (*ended, number, *about),
            )
            if outcome.effect is not Effect.REFUSED and outcome.reason != "missing":
                db.execute(f"DELETE FROM memory WHERE {BACK.format('u.id = ?1')}", (number,))  # noqa: S608 - constants
            if outcome.effect is Effect.APPLIED:  # what was undone cannot be undone again
                db.execute(
                    "UPDATE actions SET undoable_seconds = NULL WHERE id = (SELECT undoes FROM actions WHERE id = ?)",
                    (number,),
                )

    def begin_archive(self, name: str) -> None:
        with self._write(durable=True) as db:
            db.execute("INSERT INTO archives VALUES (?, 0, ?)", (name, self._reading()))

    def end_archive(self, name: str, size_bytes: int) -> None:
        with self._write(urgent=True) as db:
            db.execute("UPDATE archives SET bytes = ? WHERE name = ?", (size_bytes, name))

    def forget_archive(self, name: str) -> None:
        with self._write() as db:
            db.execute("DELETE FROM archives WHERE name = ?", (name,))

    def known_archives(self) -> set[str]:
        return {name for (name,) in self._read("SELECT name FROM archives")}

    def expire(self) -> list[str]:
        """Forget recipes that are too old; gives archives that nothing needs. Raises LedgerError: the recipes stay."""
        reading = self._reading()
        if self._read("SELECT 1 FROM actions WHERE undoable_seconds <= ? AND outcome IS NOT NULL LIMIT 1", (reading,)):
            with self._write(durable=True) as db:  # but that of an update, which bars an image and is only names
                db.execute(
                    "UPDATE actions SET undoable_seconds = NULL, recipe = iif(action = 'update', recipe, '{}') "
                    "WHERE undoable_seconds <= ? AND outcome IS NOT NULL",
                    (reading,),
                )
        rows = self._read(
            "SELECT name FROM archives WHERE name NOT IN (SELECT archive FROM actions WHERE archive != '' "
            "AND (outcome IS NULL OR undoable_seconds IS NOT NULL)) "
            "AND (begun_seconds < ? OR name IN (SELECT archive FROM actions))",
            (reading - _UNFINISHED_SECONDS,),
        )
        return [name for (name,) in rows]


def _is_ours(former: str, now: str) -> bool:
    """Whether both are names of one engine; its host may be renamed, whose name is the last word."""
    return former.rpartition(" ")[0] == now.rpartition(" ")[0] or _was_upgraded(former, now)


def _was_upgraded(former: str, now: str) -> bool:
    """One of before 23.0 has the fingerprint of a key as its ID, for which one of 25.0 or newer takes another."""
    is_old, is_new = _FINGERPRINT.match(former), not _FINGERPRINT.match(now)
    return bool(is_old and is_new and former.partition(" ")[2] == now.partition(" ")[2])


def _record(row: Sequence[Any]) -> Record:
    number, run, policy, action, kind, key, name, at, recipe, *ended, until = row
    kept = Recipe(**(json.loads(recipe) or {"method": "none", "parameters": {}}))
    return Record(number, run, policy, action, Ref(Kind(kind), key), name, at, until, kept, *ended)

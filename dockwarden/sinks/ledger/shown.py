"""What a ledger holds, for those who may not read its file: as JSON, and from that a database in memory again.

Input: the file; or what another process read out of it. Output: the same without what may be secret. Out of bounds: how
it gets from one to the other.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from dockwarden.sinks.ledger.schema import SCHEMA, SCHEMA_VERSION

_MOST = 10_000


def _newest(table: str, first: str) -> str:
    """So many rows as are shown of a table that may have too many, in the order in which they were written."""
    return f"rowid IN (SELECT rowid FROM {table} ORDER BY {first} DESC, rowid DESC LIMIT {_MOST}) ORDER BY rowid"  # noqa: S608


_TABLES = {
    "meta": "key != 'mark'",
    "memory": "1",
    "asides": "1",
    "findings": _newest("findings", "resolved_at IS NULL"),
    "digests": _newest("digests", "until IS NULL"),
    "actions": _newest("actions", "id"),
}


def reader(file: Path) -> sqlite3.Connection:
    """A connection of one's own, in any thread, that only reads a ledger in use. Raises sqlite3.Error."""
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", timeout=5, uri=True)


def read_out(file: Path) -> dict[str, object]:
    """The tables of a ledger in use, from any thread. Raises sqlite3.Error."""
    with closing(reader(file)) as db:
        db.row_factory = sqlite3.Row
        db.execute("BEGIN")  # all of one moment
        tables = {
            name: [dict(row) for row in db.execute(f"SELECT * FROM {name} WHERE {which}")]  # noqa: S608 - constants
            for name, which in _TABLES.items()
        }
    for row in tables["actions"]:  # what an object is made of may be secret, how it is brought back is not
        row["recipe"] = json.dumps({**json.loads(row["recipe"]), "parameters": {}})
    return {"version": SCHEMA_VERSION, "tables": tables}


def fill(shown: object) -> sqlite3.Connection:
    """A database in memory of the values that another process read out. ValueError: no such, or of another version."""
    if not isinstance(shown, Mapping) or shown.get("version") != SCHEMA_VERSION:
        raise ValueError("what it tells is of another version")
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db.executescript(SCHEMA)
        for name in _TABLES:
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
            rows: list[dict[str, Any]] = shown["tables"][name]
            marks = ",".join("?" * len(columns))
            db.executemany(
                f"INSERT INTO {name} VALUES ({marks})",  # noqa: S608 - constants
                [[row[column] for column in columns] for row in rows],
            )
    except (sqlite3.Error, LookupError, TypeError, AttributeError) as error:
        db.close()
        raise ValueError(f"what it tells is no ledger: {error}") from error
    return db

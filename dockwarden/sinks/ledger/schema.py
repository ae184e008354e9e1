"""The ledger's tables. Pure.

Input: nothing. Output: SQL. Out of bounds: carrying it out. What ends in ``_seconds`` is a reading of the observation
clock; no table has anything of another version than ``SCHEMA_VERSION``.
"""

SCHEMA_VERSION = 7
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE memory (kind TEXT, key TEXT, first REAL NOT NULL, used REAL NOT NULL, had_tag INTEGER NOT NULL,
  given_up REAL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE findings (policy TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
  severity TEXT NOT NULL, message TEXT NOT NULL, opened_at REAL NOT NULL, resolved_at REAL, why TEXT,
  opened_seconds REAL NOT NULL, definition TEXT NOT NULL, resolved_seconds REAL);
CREATE UNIQUE INDEX open_findings ON findings (policy, kind, key) WHERE resolved_at IS NULL;
CREATE TABLE asides (policy TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, severity TEXT NOT NULL,
  since REAL NOT NULL, candidate TEXT NOT NULL, excuse TEXT NOT NULL, was TEXT NOT NULL,
  PRIMARY KEY (policy, kind, key)) WITHOUT ROWID;
CREATE TABLE digests (tag TEXT NOT NULL, side TEXT NOT NULL, digest TEXT NOT NULL, since REAL NOT NULL, until REAL,
  until_seconds REAL);
CREATE INDEX digests_of_tag ON digests (tag, side);
CREATE INDEX present_digests ON digests (tag, side) WHERE until IS NULL;
CREATE TABLE actions (id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, policy TEXT NOT NULL,
  action TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, recipe TEXT NOT NULL,
  at REAL NOT NULL, outcome TEXT, reason TEXT, detail TEXT, freed INTEGER, engine TEXT NOT NULL,
  archive TEXT NOT NULL, planned INTEGER NOT NULL, undoable_seconds REAL, undoes INTEGER, at_seconds REAL NOT NULL);
CREATE INDEX actions_of_run ON actions (run);
CREATE INDEX open_actions ON actions (id) WHERE outcome IS NULL;
CREATE INDEX undoable_actions ON actions (id) WHERE undoable_seconds IS NOT NULL;
CREATE INDEX actions_on_object ON actions (action, kind, key);
CREATE TABLE archives (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, begun_seconds REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE looks (image TEXT PRIMARY KEY, mark TEXT NOT NULL, details TEXT NOT NULL, history TEXT NOT NULL)
"""
"""Statements end with a semicolon."""

BY_CLOCK = (
    ("actions", "undoable_seconds"),
    ("actions", "at_seconds"),
    ("archives", "begun_seconds"),
    ("findings", "resolved_seconds"),
    ("digests", "until_seconds"),
)
"""What goes on by the new clock when the engine is another one."""

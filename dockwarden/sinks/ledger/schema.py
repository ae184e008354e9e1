"""The ledger's tables, as the first version had them, and each step from there. Pure.

Input: nothing. Output: SQL. Out of bounds: carrying it out.
"""

_FIRST = """
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
# Of what was there before, what is counted from now on began now.
_CLOCK = "coalesce((SELECT cast(value AS REAL) FROM meta WHERE key = 'clock'), 0)"
_TO_VERSION_4 = f"""
ALTER TABLE actions RENAME COLUMN undoable_until TO undoable_seconds;
UPDATE actions SET undoable_seconds = {_CLOCK} + undoable_seconds - at WHERE undoable_seconds IS NOT NULL;
ALTER TABLE actions ADD COLUMN at_seconds REAL NOT NULL DEFAULT 0;
UPDATE actions SET at_seconds = {_CLOCK};
ALTER TABLE archives RENAME COLUMN begun_at TO begun_seconds;
UPDATE archives SET begun_seconds = {_CLOCK};
ALTER TABLE findings ADD COLUMN resolved_seconds REAL;
UPDATE findings SET resolved_seconds = {_CLOCK} WHERE resolved_at IS NOT NULL;
ALTER TABLE digests ADD COLUMN until_seconds REAL;
UPDATE digests SET until_seconds = {_CLOCK} WHERE until IS NOT NULL
"""  # noqa: S608 - constants
_TO_VERSION_5 = """
CREATE TABLE IF NOT EXISTS asides (policy TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, severity TEXT NOT NULL,
  since REAL NOT NULL, candidate TEXT NOT NULL, excuse TEXT NOT NULL, was TEXT NOT NULL,
  PRIMARY KEY (policy, kind, key)) WITHOUT ROWID
"""
_TO_VERSION_6 = """
CREATE TABLE IF NOT EXISTS looks (image TEXT PRIMARY KEY, mark TEXT NOT NULL, details TEXT NOT NULL,
  history TEXT NOT NULL)
"""
_TO_VERSION_7 = """
ALTER TABLE memory ADD COLUMN given_up REAL;
CREATE INDEX actions_on_object ON actions (action, kind, key)
"""
STEPS = (_FIRST, _TO_VERSION_2, _TO_VERSION_3, _TO_VERSION_4, _TO_VERSION_5, _TO_VERSION_6, _TO_VERSION_7)
"""Each makes the next version of the one before; statements end with a semicolon."""
SCHEMA_VERSION = len(STEPS)

BY_CLOCK = (
    ("actions", "undoable_seconds"),
    ("actions", "at_seconds"),
    ("archives", "begun_seconds"),
    ("findings", "resolved_seconds"),
    ("digests", "until_seconds"),
)
"""What is a reading of the observation clock."""

"""`make test-engines`: the tests that depend on the engine, on each engine that can be had, a row for each.

Role: run the same tests again and again, with another engine behind the fixtures. In: arguments for pytest, after
`--only` and words of `trees.ENGINES` if not all are meant. Out: the rows of the table in docs/many-hosts.md. Out of
bounds: tests of its own. `DOCKWARDEN_LAB_BINARIES` adds an engine of which Debian has no package.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree as ET

from tests.lab import machine
from tests.lab.engine import Kind, LabEngine
from tests.lab.machine import LabError, say

TESTS = ("tests/integration/test_engine_contract.py", "tests/integration/test_undo.py",
         "tests/integration/test_safety.py", "tests/e2e/test_digest_truth.py", "tests/e2e/test_undo.py")  # fmt: skip
_CHOICE: dict[Kind, str] = {"graph": "not containerd", "containerd": "containerd or either"}
_HERE: list[tuple[Kind, str]] = [
    ("graph", "machine"), ("graph", "rootless"), ("graph", "trixie"), ("containerd", "trixie"),
    ("graph", "sid"), ("containerd", "sid"),
]  # fmt: skip


def main() -> int:
    """Run them; 1 if a test failed on any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="trixie, or sid/graph; may be repeated")
    options, more = parser.parse_known_args()
    machine.require_root("the engines")
    rows, code = (
        ["| engine | image store | passed | failed | skipped | minutes | on |", "|---|---|---|---|---|---|---|"],
        0,
    )
    engines = [(kind, "sid") for kind in get_args(Kind)] if os.environ.get("DOCKWARDEN_LAB_BINARIES") else _HERE
    for kind, origin in engines:
        if options.only and not {origin, f"{origin}/{kind}"} & set(options.only):
            continue
        os.environ |= {f"DOCKWARDEN_LAB_{kind.upper()}": origin, "DOCKWARDEN_LAB_EITHER": kind}
        row, failed = _row(kind, origin, more)
        rows.append(row)
        code |= failed
    print("\n".join(rows))
    return code


def _row(kind: Kind, origin: str, more: list[str]) -> tuple[str, bool]:
    with LabEngine(kind) as engine:
        version = engine.client().version()["Version"].partition("+")[0] + " rootless" * (origin == "rootless")
    say(f"engine {version}, {kind} store")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", f"-k={_CHOICE[kind]}", *more, *TESTS]
        subprocess.run(command, check=False)
        if not report.exists():
            raise LabError("pytest ended without a report")
        cases = list(ET.parse(report).iter("testcase"))
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    counts = f"{len(cases) - failed - skipped} | {failed} | {skipped} | {(time.monotonic() - began) / 60:.0f}"
    return f"| {version} | {kind} | {counts} | {datetime.now(UTC):%Y-%m-%d} |", bool(failed)


if __name__ == "__main__":
    sys.exit(main())

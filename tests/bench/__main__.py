"""`make bench`, which is `python -m tests.bench [--only NAME]... [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

from tests.bench import plan, report
from tests.lab import machine
from tests.lab.machine import LabError, say


def main() -> int:
    """Measure, print a table, write JSON if asked to; a missed target is shown and is no failure."""
    options = _parser().parse_args()
    began = time.monotonic()
    setup = report.setup()
    engines: dict[str, str] = {}
    setup["engines"] = engines
    rows: list[report.Row] = []
    code = 0
    try:
        machine.require_root("the bench")
        machine.ensure({**machine.ENGINE, **machine.TREES}, "the bench")
        for row in plan.run(options.only, quick=options.quick, engines=engines):
            rows.append(row)  # noqa: PERF402 - what was measured before an interrupt is shown
    except LabError as error:
        say(str(error))
        code = 1
    except KeyboardInterrupt:
        code = 130
    setup["quick"] = options.quick
    setup["seconds"] = round(time.monotonic() - began)
    print(report.setup_lines(setup), end="\n\n")
    print(report.table(rows))
    if options.json:
        options.json.write_text(report.as_json(setup, rows))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure dockwarden on real engines.")
    parser.add_argument("--only", action="append", default=[], choices=plan.NAMES, help="measure this; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer images, shorter: under four minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write setup and rows there as well")
    return parser


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())

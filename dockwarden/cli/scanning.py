"""Commands that look at the engine and change nothing: scan, snapshot.

Input: options. Output: results in each format, exit codes. Out of bounds: judging.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dockwarden.cli.output import CI_FORMATS, add_output, emit, plain, table
from dockwarden.cli.shared import SEVERITIES, add_policy, add_source, policies_of, settings_of, source_of
from dockwarden.text import FAILED, OK, moment

if TYPE_CHECKING:
    from dockwarden.model import Result


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    scan = commands.add_parser("scan", parents=[common], help="judge everything once, change nothing")
    add_policy(scan)
    add_output(scan, *CI_FORMATS)
    scan.add_argument(
        "--fail-on", choices=SEVERITIES, metavar="SEVERITY", help="exit 1 for a finding of this severity or above"
    )
    scan.add_argument("--ignore-errors", action="store_true", help="do not exit 1 for policies that failed on objects")
    add_source(scan)
    scan.set_defaults(run=_scan)
    snapshot = commands.add_parser(
        "snapshot", parents=[common], help="this host's facts as JSON, for `--from` and for tests; no secrets"
    )
    snapshot.add_argument("--registry", action="store_true", help="ask registries for their facts, too")
    snapshot.add_argument("--no-labels", action="store_true", help="leave out the values of labels")
    snapshot.set_defaults(run=_snapshot)


def _snapshot(options: argparse.Namespace) -> int:
    from dockwarden.oneshot import snapshot

    chosen = settings_of(options)
    print(snapshot.take(chosen, registry=options.registry, labels=not options.no_labels), end="")
    return OK


def _scan(options: argparse.Namespace) -> int:
    from dockwarden.cli import formats
    from dockwarden.oneshot import look

    chosen = settings_of(options)
    policies = policies_of(chosen, options)
    info, results = look.scan(chosen, policies, source_of(options))
    summary = Counter(result.status.value for result in results)
    results.sort(key=lambda r: (r.status.value != "fail", SEVERITIES.index(r.severity.value), r.policy, r.name))
    found = [result for result in results if result.status.value == "fail"]
    if options.output == "json":
        engine = {name: getattr(info, name) for name in ("name", "version", "api_version", "image_store")}
        rows = [_row(result) for result in results]
        print(json.dumps({"engine": engine, "results": rows, "summary": dict(summary)}, default=plain, indent=2))
    elif options.output in CI_FORMATS:
        named = {policy.name: policy for policy in policies.policies}
        formats.write(options.output, [formats.of_result(result, named) for result in results], policies.policies)
    elif not emit(options.output, [_row(r) for r in (found if options.output == "name" else results)]):
        _print_table(results, summary, options.output)
    worst = [SEVERITIES.index(result.severity.value) for result in found]
    if options.fail_on and worst and min(worst) <= SEVERITIES.index(options.fail_on):
        return FAILED
    return FAILED if summary.get("error") and not options.ignore_errors else OK


def _row(result: "Result") -> dict[str, object]:
    """A result under the names that scripts use."""
    row: dict[str, object] = {
        "policy": result.policy,
        "subject": result.ref.kind.value,
        "id": result.ref.key,
        "name": result.name,
        "result": result.status.value,
        "severity": result.severity.value,
        "message": result.message,
        "reason": result.reason,
        "evidence": dict(result.evidence),
    }
    if result.excuse.ids:
        until = result.excuse.until_at
        row |= {"exceptions": list(result.excuse.ids), "until": None if until is None else moment(until)}
    return row


def _print_table(results: "Sequence[Result]", summary: Counter[str], output: str) -> None:
    shown = [result for result in results if result.status.value not in ("pass", "skip")]
    rows = [
        (r.severity.value if r.status.value == "fail" else r.status.value, r.policy, r.name, r.message or r.reason)
        for r in shown
    ]
    table(("SEVERITY", "POLICY", "NAME", "MESSAGE"), rows, output=output, empty="nothing was found")
    words = [f"{summary.get(status, 0)} {status}" for status in ("fail", "pass", "skip", "unknown", "error")]
    words += [f"{summary[status]} {status}" for status in ("pending", "excused") if status in summary]
    print(", ".join(words), file=sys.stderr)

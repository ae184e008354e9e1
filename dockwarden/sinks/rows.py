"""Runs and outcomes as rows under the names that scripts use. Pure.

Input: a ``Report``. Output: plain values for the API and the status page. Out of bounds: keeping them.
"""

from dockwarden.model import Outcome, Report

_MOST_NAMES = 5


def action_row(outcome: Outcome, report: Report) -> dict[str, object]:
    """What became of one object."""
    return {
        "run": report.run,
        "policy": outcome.policy,
        "action": outcome.action,
        "subject": outcome.ref.kind.value,
        "object_id": outcome.ref.key,
        "name": outcome.name,
        "outcome": outcome.effect.value,
        "reason": outcome.reason,
        "at": report.started_at,
    }


def run_row(report: Report) -> dict[str, object] | None:
    """A run in short, with each kind of outcome, its action, number and first names; None if nobody will ask for it."""
    if not (report.job or report.outcomes or report.errors):
        return None
    done: dict[tuple[str, str], list[str]] = {}
    for outcome in report.outcomes:
        done.setdefault((outcome.effect.value, outcome.action), []).append(outcome.name)
    return {
        "run": report.run,
        "cause": report.cause.value,
        "job": report.job,
        "at": report.started_at,
        "seconds": report.duration_seconds,
        "judged": sum(report.judged.values()),
        "opened": len(report.opened),
        "resolved": len(report.resolved),
        "outcomes": [(*what, len(names), names[:_MOST_NAMES]) for what, names in sorted(done.items())],
        "freed_bytes": sum(outcome.freed_bytes for outcome in report.outcomes),
        "errors": report.errors,
    }

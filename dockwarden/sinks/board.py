"""The board: the last runs and actions, and the policies in use, as the web server shows them.

Input: reports, and what the ledger knows of former ones. Output: plain values under the names that scripts use, to be
read from any thread. Out of bounds: HTTP.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from dockwarden.model import Outcome, Policy, Report

_MOST_ACTIONS = 500
_MOST_RUNS = 20
_MOST_NAMES = 5


class Board:
    """What was done lately, newest first."""

    def __init__(self, recent_actions: Callable[[int], Iterable[dict[str, object]]]) -> None:
        """``recent_actions``: so many that the ledger has, newest first; asked in the worker's thread."""
        self._recent_actions = recent_actions
        self.policies: Sequence[Policy] = ()
        self.actions: deque[dict[str, object]] = deque(maxlen=_MOST_ACTIONS)
        self.runs: deque[dict[str, object]] = deque(maxlen=_MOST_RUNS)

    def record(self, report: Report) -> None:
        """Show a run, if it is one that somebody will ask for, and what it did."""
        if report.policies is not None:
            if not self.policies:  # the first: what former processes did
                self.actions.extend(self._recent_actions(_MOST_ACTIONS))
            self.policies = report.policies.policies
        self.actions.extendleft(_action_row(outcome, report) for outcome in report.outcomes)
        if report.job or report.outcomes or report.errors:
            self.runs.appendleft(_run_row(report))


def _action_row(outcome: Outcome, report: Report) -> dict[str, object]:
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


def _run_row(report: Report) -> dict[str, object]:
    """A run in short, with each kind of outcome, its action, number and first names."""
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

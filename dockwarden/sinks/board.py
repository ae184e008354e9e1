"""The board: the last runs and actions, and the policies in use, as the web server shows them.

Input: reports, and what the ledger knows of former ones. Output: plain values under the names that scripts use, to be
read from any thread. Out of bounds: HTTP.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dockwarden.model import Outcome, PolicySet, Report

_MOST_ACTIONS, _MOST_RUNS, _MOST_NAMES = 500, 20, 5

PastOf = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""What was done to an object, and what was found on it and is over; newest first, under the names of scripts."""


@dataclass(eq=False)
class Board:
    """What was done lately, newest first.

    Attributes:
        recent_actions: so many of the ledger, newest first; asked in the worker's thread, as the next.
        undoable_until: until when each action can be undone, by its number.
        past_of: for an object, by its names and IDs; asked in any thread.
        use: the policies in use.
        last_runs: when each policy's job last ran.
        undoable: until when actions can be undone, by their numbers, as it was when anything happened last.
    """

    recent_actions: Callable[[int], Iterable[dict[str, Any]]]
    undoable_until: Callable[[], Mapping[int, float]]
    past_of: Callable[[Collection[str]], PastOf] = lambda _names: ([], [])

    def __post_init__(self) -> None:
        self.use = PolicySet((), "")
        self.actions: list[dict[str, Any]] = []
        self.last_runs: dict[str, float] = {}
        self.runs: list[dict[str, Any]] = []
        self.undoable: Mapping[int, float] = {}

    def record(self, report: Report) -> None:
        """Show a run, if it is one that somebody will ask for, and what it did."""
        if report.policies is not None:
            if not self.use.sha256:  # the first: what former processes did
                self.actions.extend(self.recent_actions(_MOST_ACTIONS))
            self.use = report.policies
        if report.outcomes:
            rows = [_action_row(outcome, report) for outcome in reversed(report.outcomes)]
            self.actions = [*_newest(rows + self.actions)]
        if report.job:
            self.last_runs[report.job] = report.started_at
        if report.job or report.outcomes or report.errors:
            run = _run_row(report)
            # Of a job's runs in which nothing happened the last one is enough: it may run every minute.
            kept = [old for old in self.runs if old["job"] != report.job or not (_is_quiet(old) and _is_quiet(run))]
            self.runs = [run, *kept][:_MOST_RUNS]
        if self.actions and (report.job or report.outcomes or report.opened or report.resolved or report.policies):
            self.undoable = self.undoable_until()


def _newest(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """So many of what was done, and so many of the rest, which else would soon leave no room for it."""
    room = {True: _MOST_ACTIONS, False: _MOST_ACTIONS}
    for row in rows:
        is_done = row["id"] is not None
        room[is_done] -= 1
        if room[is_done] >= 0:
            yield row


def _action_row(outcome: Outcome, report: Report) -> dict[str, object]:
    return {
        "id": outcome.number or None,
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


def _is_quiet(run: Mapping[str, Any]) -> bool:
    return not (run["opened"] or run["resolved"] or run["outcomes"] or run["errors"])


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

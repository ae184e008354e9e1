"""Log lines for what a run found and did: one for each opening, resolution and step, under stable names."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from dockwarden.model import Cause, Effect, Outcome, Report, Severity, Status
from dockwarden.sinks.log import Log
from tests.builders import NOW, a_result, image_id

if TYPE_CHECKING:
    from collections.abc import MutableMapping

QUIET = Report("run-1", Cause.EVENT, NOW, 0.12345, Counter(), (), (), (), (), ())


def lines_of(report: Report) -> list[MutableMapping[str, Any]]:
    with capture_logs() as lines:
        Log().record(report)
    return list(lines)


def an_outcome(effect: Effect, reason: str = "removed", freed: int = 0, detail: str = "") -> Outcome:
    result = a_result()
    return Outcome(result.policy, "remove", result.ref, result.name, effect, reason, freed, detail)


def test_a_run_that_found_nothing_new_is_for_debugging_only() -> None:
    [line] = lines_of(QUIET._replace(judged=Counter({("a", Status.PASS): 3, ("b", Status.FAIL): 1})))
    assert (line["event"], line["log_level"], line["judged"]) == ("run.completed", "debug", 4)
    assert (line["run"], line["cause"], line["seconds"]) == ("run-1", "event", 0.1235)


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        (Severity.CRITICAL, "warning"),
        (Severity.HIGH, "warning"),
        (Severity.MEDIUM, "info"),
        (Severity.LOW, "info"),
        (Severity.INFO, "info"),
    ],
)
def test_an_opening_is_as_loud_as_it_is_severe(severity: Severity, level: str) -> None:
    opened, _ = lines_of(QUIET._replace(opened=(a_result(severity=severity),)))
    assert (opened["event"], opened["log_level"]) == ("finding.opened", level)
    assert (opened["policy"], opened["severity"], opened["subject"]) == ("old-images", severity.value, "image")
    assert (opened["name"], opened["id"], opened["message"]) == ("app:1", image_id("app"), "it is old")


@pytest.mark.parametrize(("cause", "level"), [(cause, "debug" if cause is Cause.EVENT else "info") for cause in Cause])
def test_what_an_event_found_is_told_once(cause: Cause, level: str) -> None:
    _, run = lines_of(QUIET._replace(cause=cause, opened=(a_result(),)))
    assert (run["event"], run["log_level"], run["opened"]) == ("run.completed", level, 1)


def test_a_resolution_says_why() -> None:
    resolved, run = lines_of(QUIET._replace(resolved=(a_result(reason="gone"),)))
    assert (resolved["event"], resolved["log_level"], resolved["why"]) == ("finding.resolved", "info", "gone")
    assert run["resolved"] == 1


@pytest.mark.parametrize("status", [Status.UNKNOWN, Status.ERROR])
def test_what_could_not_be_judged_is_a_warning(status: Status) -> None:
    result = a_result(status=status, reason="registry.digest is not known: unauthorized")
    trouble, run = lines_of(QUIET._replace(troubled=(result,)))
    assert (trouble["event"], trouble["log_level"]) == (f"policy.{status.value}", "warning")
    assert trouble["reason"] == "registry.digest is not known: unauthorized"
    assert run["log_level"] == "debug"


@pytest.mark.parametrize("effect", list(Effect))
def test_each_step_is_a_line_and_a_failure_is_an_error(effect: Effect) -> None:
    step, run = lines_of(QUIET._replace(outcomes=(an_outcome(effect, "because", 77, "in words"),)))
    assert step["event"] == f"action.{effect.value}"
    assert step["log_level"] == ("error" if effect is Effect.FAILED else "info")
    assert (step["reason"], step["detail"], step["bytes"]) == ("because", "in words", 77)
    assert (step["policy"], step["action"], step["name"]) == ("old-images", "remove", "app:1")
    assert (run["log_level"], run["steps"]) == ("info", 1)


def test_what_there_is_not_is_left_out() -> None:
    step, run = lines_of(QUIET._replace(outcomes=(an_outcome(Effect.APPLIED),)))
    assert (step["detail"], step["bytes"], run["job"]) == (None, None, None)


def test_an_error_of_the_run_is_an_error_and_names_the_run() -> None:
    error, run = lines_of(QUIET._replace(errors=("old-images: 30 objects are more than 20",), job="nightly"))
    assert (error["event"], error["log_level"], error["run"]) == ("run.error", "error", "run-1")
    assert "30 objects" in error["error"]
    assert (run["log_level"], run["job"]) == ("info", "nightly")

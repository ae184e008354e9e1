"""Somebody pulls `x:latest`: the operator knows at once, from the log, the metrics and the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.images import ImageSpec

if TYPE_CHECKING:
    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine
    from tests.lab.registry import LabRegistry

POLICY = "no-latest-tag"


def test_pull_of_latest_is_found_at_once(empty_engine: LabEngine, registry: LabRegistry, start: Start) -> None:
    registry.push("e2e/pulled", "latest", ImageSpec(labels={"e2e": "pulled"}))
    registry.push("e2e/pulled", "1.0", ImageSpec(labels={"e2e": "pulled 1.0"}))
    daemon = start(empty_engine, [POLICY]).ready()
    assert daemon.value("dockwarden_findings", policy=POLICY) == 0
    reference = f"{registry.host}/e2e/pulled"
    mark = daemon.mark

    empty_engine.docker("pull", "--quiet", f"{reference}:1.0")
    empty_engine.docker("pull", "--quiet", f"{reference}:latest")

    opened = daemon.wait("finding.opened", after=mark, policy=POLICY, name=f"{reference}:latest")
    assert opened["severity"] == "medium"
    assert opened["message"] == f"{reference}:latest is a moving tag"
    daemon.until_metric(1, "dockwarden_findings", policy=POLICY, severity="medium")
    assert daemon.findings(POLICY) == {f"{reference}:latest"}
    assert daemon.total("dockwarden_events_received_total", type="image", action="pull") == 2
    assert daemon.total("dockwarden_evaluations_total", policy=POLICY, result="fail", cause="event") >= 1
    assert daemon.total("dockwarden_reaction_duration_seconds_count") >= 1

    empty_engine.docker("image", "rm", f"{reference}:latest")

    daemon.wait("finding.resolved", after=mark, policy=POLICY, name=f"{reference}:latest", why="gone")
    daemon.until_metric(0, "dockwarden_findings", policy=POLICY)
    assert len(daemon.said("finding.opened")) == len(daemon.said("finding.resolved")) == 1


def test_pulling_again_what_is_there_says_nothing_twice(
    empty_engine: LabEngine, registry: LabRegistry, start: Start
) -> None:
    registry.push("e2e/again", "latest", ImageSpec(labels={"e2e": "again"}))
    reference = f"{registry.host}/e2e/again:latest"
    empty_engine.docker("pull", "--quiet", reference)
    daemon = start(empty_engine, [POLICY]).ready()
    daemon.wait("finding.opened", policy=POLICY, name=reference)

    empty_engine.docker("pull", "--quiet", reference)

    daemon.until(
        lambda: daemon.total("dockwarden_evaluations_total", policy=POLICY, result="fail", cause="event"),
        "the pull to be judged",
    )
    assert daemon.value("dockwarden_findings", policy=POLICY) == 1
    assert len(daemon.said("finding.opened")) == 1

"""Policies that run by the clock: they judge without any event, and Prometheus can tell whether they still do."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

from tests.e2e.harness import policy
from tests.lab import images
from tests.lab.images import ImageSpec

if TYPE_CHECKING:
    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

EVERY = policy("by-interval", "image", "image.known_for > duration('3s')", trigger={"every": "5s"})
NIGHTLY = policy("nightly", "tag", "true", trigger={"schedule": "30 4 * * *"})


def test_interval_judges_and_its_job_is_measured(any_engine: LabEngine, start: Start) -> None:
    any_engine.load(ImageSpec(tags=("e2e/scheduled:1",)))
    began = time.time()
    daemon = start(any_engine, [EVERY, NIGHTLY]).ready()
    first_judged = {"policy": "by-interval", "cause": "startup"}
    assert daemon.value("dockwarden_evaluations_total", result="pass", **first_judged) == 1  # too young for it
    assert daemon.value("dockwarden_evaluations_total", result="fail", **first_judged) == 0
    job = {"policy": "by-interval"}

    daemon.wait("finding.opened", policy="by-interval")  # nothing happens on the engine: only the clock can do this

    daemon.until(lambda: daemon.total("dockwarden_job_duration_seconds_count", **job) >= 1, "the job's end")
    first = daemon.value("dockwarden_job_last_run_timestamp_seconds", **job)
    assert began < first <= time.time()
    assert daemon.value("dockwarden_job_last_success_timestamp_seconds", **job) >= first
    assert daemon.value("dockwarden_job_interval_seconds", **job) == 5
    assert daemon.value("dockwarden_job_missed_total", **job) >= 0
    assert daemon.total("dockwarden_evaluations_total", policy="by-interval", cause="schedule", result="fail") >= 1
    daemon.until(
        lambda: daemon.value("dockwarden_job_next_run_timestamp_seconds", **job) > first, "the next run to be shown"
    )

    daemon.until(lambda: daemon.value("dockwarden_job_last_run_timestamp_seconds", **job) > first, "the second run")

    at = dt.datetime.fromtimestamp(daemon.value("dockwarden_job_next_run_timestamp_seconds", policy="nightly"), dt.UTC)
    assert (at.hour, at.minute, at.second) == (4, 30, 0)
    assert time.time() < at.timestamp() < time.time() + 24 * 3600 + 1
    assert daemon.value("dockwarden_job_interval_seconds", policy="nightly") == 24 * 3600
    assert daemon.total("dockwarden_job_duration_seconds_count", policy="nightly") == 0


def test_cron_lines_follow_the_time_zone_of_the_settings(graph_engine: LabEngine, start: Start) -> None:
    daemon = start(graph_engine, [NIGHTLY], settings={"schedule": {"timezone": "Asia/Kolkata"}}).ready()
    at = daemon.value("dockwarden_job_next_run_timestamp_seconds", policy="nightly")
    shown = dt.datetime.fromtimestamp(at, dt.UTC)
    assert (shown.hour, shown.minute) == (23, 0)  # 04:30 at +05:30


def test_schedule_sees_what_no_event_told(any_engine: LabEngine, start: Start) -> None:
    """A container's age changes nothing on the engine; a rule about it can only come true on a schedule."""
    any_engine.load(images.busybox("e2e/aging:1"))
    old = policy(
        "running-long", "container", "container.running && now - container.started > duration('2s')",
        trigger={"every": "5s"}, message="{{ container.name }} runs",
    )  # fmt: skip
    daemon = start(any_engine, [old]).ready()
    any_engine.docker("run", "--detach", "--name=aging", "e2e/aging:1")
    assert daemon.wait("finding.opened", policy="running-long")["message"] == "aging runs"
    any_engine.docker("rm", "--force", "aging")
    daemon.wait("finding.resolved", policy="running-long")

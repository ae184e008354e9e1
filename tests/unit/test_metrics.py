"""Metrics: known label sets start at 0, what is gone ends, and no stranger chooses a label."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dockwarden.metrics import Metrics
from dockwarden.model import (
    Cause,
    Effect,
    Finding,
    ImageStore,
    Kind,
    Mode,
    Outcome,
    Ref,
    Report,
    Result,
    Severity,
    Status,
)
from dockwarden.ports import Disk
from tests.builders import (
    DAY,
    NOW,
    a_container,
    a_policy,
    a_result,
    a_volume,
    an_engine,
    an_image,
    an_inventory,
    digest_of,
    image_id,
    policies,
)
from tests.unit.hosts import Host

if TYPE_CHECKING:
    from pathlib import Path

    from dockwarden.model import PolicySet

REMOVE = a_policy("old-images", "!image.in_use", every_seconds=60, mode=Mode.ENFORCE, action="remove")
REPORT = Report("run-1", Cause.SCHEDULE, NOW, 0.5, Counter(), (), (), (), (), ())


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def text(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Values of one series by its labels' values, in the order of the labels' names."""
    found = {}
    for family in text_string_to_metric_families(text(metrics)):
        for sample in family.samples:
            if sample.name == f"dockwarden_{name}":
                found[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def an_outcome(effect: Effect, reason: str, freed: int = 0) -> Outcome:
    return Outcome("old-images", "remove", a_result().ref, "app:1", effect, reason, freed)


# -- from the start --------------------------------------------------------------------------------------------


def test_the_public_names_are_there_from_the_start(metrics: Metrics) -> None:
    names = {family.name for family in metrics.registry.collect()}
    promised = """
        build_info config_info config_last_reload_successful config_last_reload_success_timestamp_seconds policy_info
        policy_text_info
        engine_up engine_info engine_requests engine_request_duration_seconds events_received events_reconnects
        events_gaps events_last_received_timestamp_seconds queue_length inventory_objects inventory_resyncs evaluations
        evaluation_duration_seconds findings reaction_duration_seconds actions refusals reclaimed_bytes
        registry_requests unknown job_last_run_timestamp_seconds job_last_success_timestamp_seconds
        job_next_run_timestamp_seconds job_duration_seconds job_interval_seconds job_missed job_late_timestamp_seconds
        ledger_writable log_messages
    """
    assert {f"dockwarden_{name}" for name in promised.split()} <= names
    assert "process_resident_memory_bytes" in text(metrics)


def test_every_family_says_in_a_sentence_what_it_is(metrics: Metrics) -> None:
    for family in metrics.registry.collect():
        if family.name.startswith("dockwarden_"):
            assert re.fullmatch(r"[A-Z1].*\w\.", family.documentation), family.name


def test_counters_that_need_no_name_start_at_zero(metrics: Metrics) -> None:
    assert samples(metrics, "log_messages_total") == {
        (level,): 0 for level in ("debug", "info", "warning", "error", "critical")
    }
    assert set(samples(metrics, "inventory_resyncs_total").values()) == {0.0}
    assert {("startup",), ("gap",), ("reconnect",)} <= samples(metrics, "inventory_resyncs_total").keys()
    assert (samples(metrics, "events_gaps_total"), samples(metrics, "events_reconnects_total")) == ({(): 0}, {(): 0})


def test_events_of_each_type_start_at_zero(metrics: Metrics) -> None:
    events = samples(metrics, "events_received_total")
    assert set(events.values()) == {0}
    assert {("die", "container"), ("pull", "image"), ("destroy", "volume"), ("update", "service")} <= events.keys()


def test_nothing_says_when_a_counter_was_made(metrics: Metrics) -> None:
    use(metrics, policies(REMOVE))
    assert "_created" not in text(metrics)


def use(metrics: Metrics, chosen: PolicySet, at: float = NOW) -> None:
    metrics.record(REPORT._replace(policies=chosen, started_at=at, duration_seconds=0.0))


# -- policies ----------------------------------------------------------------------------------------------------


def test_all_that_can_happen_to_a_policy_starts_at_zero(metrics: Metrics) -> None:
    use(metrics, policies(REMOVE))
    evaluations = samples(metrics, "evaluations_total")
    assert evaluations == {(cause.value, "old-images", status.value): 0 for cause in Cause for status in Status}
    assert samples(metrics, "findings") == {("old-images", "medium"): 0}
    assert samples(metrics, "actions_total") == {("remove", effect.value, "old-images"): 0 for effect in Effect}
    assert ("old-images", "in_use") in samples(metrics, "refusals_total")
    assert set(samples(metrics, "refusals_total").values()) == {0.0}
    assert samples(metrics, "reclaimed_bytes_total") == {("old-images", "image"): 0}
    assert samples(metrics, "policy_info") == {("enforce", "old-images", "medium", "image"): 1}


def test_a_policy_without_an_action_has_no_series_of_actions(metrics: Metrics) -> None:
    use(metrics, policies(a_policy("look", "true")))
    assert samples(metrics, "actions_total") == {}
    assert samples(metrics, "refusals_total") == {}


@pytest.mark.parametrize(
    ("kind", "action", "has"),
    [("container", "restart", True), ("service", "update", True), ("tag", "pull", True), ("tag", "untag", False)],
)
def test_reasons_of_single_verbs_start_at_zero(metrics: Metrics, kind: str, action: str, *, has: bool) -> None:
    use(metrics, policies(a_policy("it", subject=Kind(kind), action=action)))
    assert (("it", "gave_up") in samples(metrics, "refusals_total")) is has


def test_policies_that_went_away_end(metrics: Metrics) -> None:
    use(metrics, policies(REMOVE, a_policy("gone"), sha256="a"))
    metrics.record(REPORT._replace(open={("gone", "medium"): 2}, unknown={("gone", "timeout"): 1}))
    use(metrics, policies(REMOVE, sha256="b"), NOW + 60)
    for name in ("policy_info", "policy_text_info", "findings", "unknown"):
        assert not [labels for labels in samples(metrics, name) if "gone" in labels]
    assert samples(metrics, "config_info") == {("b",): 1}
    assert samples(metrics, "config_last_reload_success_timestamp_seconds") == {(): NOW + 60}


def test_a_policy_that_changed_has_one_description(metrics: Metrics) -> None:
    use(metrics, policies(REMOVE))
    use(metrics, policies(REMOVE._replace(mode=Mode.AUDIT, severity=Severity.HIGH)))
    assert samples(metrics, "policy_info") == {("audit", "old-images", "high", "image"): 1}


# -- the engine ----------------------------------------------------------------------------------------------------


def test_an_engine_is_up_as_what_it_is(metrics: Metrics) -> None:
    assert samples(metrics, "engine_up") == {(): 0}
    metrics.set_engine(an_engine(ImageStore.GRAPH))
    metrics.set_engine(replace(an_engine(ImageStore.CONTAINERD), version="29.0"))
    assert samples(metrics, "engine_up") == {(): 1}
    assert samples(metrics, "engine_info") == {("1.41", "containerd", "29.0"): 1}
    metrics.set_engine(None, "nothing listens")
    assert samples(metrics, "engine_up") == {(): 0}
    assert "nothing listens" not in text(metrics)


def test_requests_and_objects_are_counted(metrics: Metrics) -> None:
    metrics.observe_engine("image_list", "ok", 0.2)
    metrics.registry_requests.labels("docker.io", "HEAD", "200").inc()
    metrics.set_objects({Kind.IMAGE: 3, Kind.VOLUME: 0})
    assert samples(metrics, "engine_requests_total") == {("image_list", "ok"): 1}
    assert samples(metrics, "engine_request_duration_seconds_sum") == {("image_list",): 0.2}
    assert samples(metrics, "registry_requests_total") == {("200", "HEAD", "docker.io"): 1}
    assert samples(metrics, "inventory_objects") == {("image",): 3, ("volume",): 0}


# -- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_is_counted(metrics: Metrics) -> None:
    use(metrics, policies(REMOVE))
    judged = Counter({("old-images", Status.FAIL): 2, ("old-images", Status.PASS): 5})
    outcomes = (an_outcome(Effect.APPLIED, "removed", 100), an_outcome(Effect.REFUSED, "in_use"))
    counts: Any = {"open": {("old-images", "medium"): 2}, "unknown": {("old-images", "timeout"): 1}}
    metrics.set_job("old-images", 60.0, NOW - 30)
    assert samples(metrics, "job_late_timestamp_seconds") == {("old-images",): NOW + 150}
    metrics.record(REPORT._replace(judged=judged, outcomes=outcomes, job="old-images", **counts))
    assert samples(metrics, "job_late_timestamp_seconds") == {("old-images",): NOW + 180.5}
    assert samples(metrics, "evaluations_total")["schedule", "old-images", "fail"] == 2
    assert samples(metrics, "evaluations_total")["schedule", "old-images", "pass"] == 5
    assert samples(metrics, "findings") == {("old-images", "medium"): 2}
    assert samples(metrics, "unknown") == {("old-images", "timeout"): 1}
    assert samples(metrics, "actions_total")["remove", "applied", "old-images"] == 1
    assert samples(metrics, "refusals_total")["old-images", "in_use"] == 1
    assert samples(metrics, "action_trouble_timestamp_seconds") == {}
    assert samples(metrics, "reclaimed_bytes_total") == {("old-images", "image"): 100}
    assert samples(metrics, "job_last_run_timestamp_seconds") == {("old-images",): NOW + 0.5}
    assert samples(metrics, "job_last_success_timestamp_seconds") == {("old-images",): NOW + 0.5}
    assert samples(metrics, "job_duration_seconds_sum") == {("old-images",): 0.5}


def test_an_event_is_answered_once_its_report_is_shown(metrics: Metrics) -> None:
    now_ns = time.time_ns()
    metrics.record(REPORT._replace(events_ns=(now_ns - 7_000_000_000, now_ns + 60_000_000_000)))  # of a fast clock
    assert samples(metrics, "reaction_duration_seconds_count") == {(): 2}
    assert samples(metrics, "reaction_duration_seconds_sum")[()] == pytest.approx(7, abs=5)


@pytest.mark.parametrize(
    "report",
    [
        REPORT._replace(job="nightly", errors=("it broke",)),
        REPORT._replace(job="nightly", outcomes=(an_outcome(Effect.FAILED, "engine_error"),)),
    ],
)
def test_a_job_that_failed_ran_and_did_not_succeed(metrics: Metrics, report: Report) -> None:
    metrics.set_job("nightly", 60.0, NOW - 30)
    metrics.record(report)
    assert samples(metrics, "job_late_timestamp_seconds") == {("nightly",): NOW + 150}
    assert samples(metrics, "job_last_run_timestamp_seconds") == {("nightly",): NOW + 0.5}
    assert samples(metrics, "job_last_success_timestamp_seconds") == {}


def test_when_a_step_failed_or_met_a_limit_is_shown(metrics: Metrics) -> None:
    for reason, effect, after in (
        ("limits", Effect.REFUSED, 1),
        ("engine_error", Effect.FAILED, 2),
        ("limits", Effect.REFUSED, 3),
    ):
        metrics.record(REPORT._replace(outcomes=(an_outcome(effect, reason),), started_at=NOW + after))
    assert samples(metrics, "action_trouble_timestamp_seconds") == {
        ("remove", "refused", "old-images", "limits"): NOW + 3.5,
        ("remove", "failed", "old-images", "engine_error"): NOW + 2.5,
    }


def test_a_refusal_is_no_failure_of_a_job(metrics: Metrics) -> None:
    metrics.record(REPORT._replace(job="nightly", outcomes=(an_outcome(Effect.REFUSED, "in_use"),)))
    assert samples(metrics, "job_last_success_timestamp_seconds") == {("nightly",): NOW + 0.5}


# -- the disk ------------------------------------------------------------------------------------------------------


def test_the_disk_is_measured_at_each_scrape(metrics: Metrics) -> None:
    measured = [Disk(91.5, 1000, 40.0)]
    metrics.watch_disk(lambda: measured[-1])
    assert samples(metrics, "disk_used_ratio") == {(): 0.915}
    measured.append(Disk(12.5, 1000, 40.0))
    assert samples(metrics, "disk_used_ratio") == {(): 0.125}


def test_a_disk_that_cannot_be_seen_has_no_samples(metrics: Metrics) -> None:
    assert samples(metrics, "disk_used_ratio") == {}
    metrics.watch_disk(lambda: None)
    assert samples(metrics, "disk_inodes_used_ratio") == {}
    metrics.watch_disk(lambda: Disk(50.0, 1000, 25.0))
    assert samples(metrics, "disk_inodes_used_ratio") == {(): 0.25}


# -- strangers -------------------------------------------------------------------------------------------------------


def test_no_name_id_or_text_of_an_object_becomes_a_label(tmp_path: Path) -> None:
    secret = "s3cret-name"
    with Host(tmp_path) as host:
        host.engine.put(an_image(secret, f"{secret}/app:{secret}", labels={secret: secret}))
        host.engine.run(a_container(secret, image_ref=f"{secret}/other", image="other"))
        host.engine.add_volume(a_volume(secret))
        host.start(REMOVE, a_policy("odd", "image.labels.none == 'x'", message=secret))
        host.ticks.pass_(DAY)
        host.run_job("old-images")
        shown = text(host.metrics)
    assert "dockwarden_findings{" in shown
    assert secret not in shown
    assert image_id(secret)[7:19] not in shown


def test_the_number_of_series_does_not_grow_with_the_number_of_objects(tmp_path: Path) -> None:
    counts = []
    for number in (1, 40):
        with Host(tmp_path / str(number)) as host:
            host.start(REMOVE)
            host.engine.put(*(an_image(f"app{n}", f"app:{n}") for n in range(number)))
            host.connect("gap")
            host.settle()
            host.run_job("old-images")
            counts.append(len(text(host.metrics).splitlines()))
    assert counts[0] == counts[1]


# -- health ------------------------------------------------------------------------------------------------------------


def test_what_is_missing_for_readiness_is_said_in_words(metrics: Metrics) -> None:
    assert [reason.partition(":")[0] for reason in metrics.health.unready()] == ["engine", "inventory", "policies"]
    metrics.set_engine(an_engine())
    use(metrics, policies(REMOVE))
    assert metrics.health.unready() == ["inventory: not listed yet"]
    metrics.health.inventory_complete = True
    assert metrics.health.unready() == []
    metrics.set_engine(None, "permission denied")
    assert metrics.health.unready() == ["engine: permission denied"]


# -- findings by name ------------------------------------------------------------------------------------------------


def test_findings_are_shown_by_name_only_to_those_who_ask_and_not_more_than_that(metrics: Metrics) -> None:
    def finding(name: str) -> Finding:
        return Finding(Result("p", Ref(Kind.VOLUME, name), name, Status.FAIL, Severity.LOW), NOW)

    found = [finding(name) for name in ("a", "a", 'q"\n\ud800', "x" * 65536, "d", "e")]
    metrics.watch_findings(0, lambda: found)
    assert samples(metrics, "finding_info") == {}
    metrics.watch_findings(4, lambda: found)
    page = generate_latest(metrics.registry).decode()
    lines = [line for line in page.splitlines() if line.startswith("dockwarden_finding_info{")]
    assert [len(line) < 300 for line in lines] == [True] * 4
    assert lines[0] == 'dockwarden_finding_info{name="a",policy="p",severity="low",subject="volume"} 1.0'
    found.clear()
    assert samples(metrics, "finding_info") == {}


def test_names_that_run_are_shown_once_each_to_those_who_ask(metrics: Metrics) -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1", digests=(digest_of("app", "d"),)))
    inventory.put(an_image("built", "built:1"))
    for name, ref, image in (("a", "app:1", "app"), ("b", "app:1", "app"), ("c", "built:1", "built")):
        inventory.put(a_container(name, ref, image))
    inventory.put(a_container("pinned", digest_of("app", "d"), "app"))
    inventory.put(a_container("stopped", "built:2", "built", running=False))
    metrics.watch_images(0, inventory.running)
    assert samples(metrics, "running_image_info") == {}
    metrics.watch_images(9, inventory.running)
    shown = {(image_id("d"), "docker.io/library/app:1"), (image_id("built"), "docker.io/library/built:1")}
    assert samples(metrics, "running_image_info").keys() == shown

"""The whole pipeline over an engine in memory: what makes it judge, what makes it act, and what does not."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dockwarden.actions.table import VERBS
from dockwarden.errors import AnswerError, DockwardenError
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.model import Dirty, ImageStore, Kind, Limits, Mode, Ref, Severity, TriggerSpec
from dockwarden.model.needs import Need
from dockwarden.policy.load import load
from dockwarden.ports import Ask, Disk, Reply
from tests.builders import (
    DAY,
    HOUR,
    NOW,
    a_container,
    a_mount,
    a_network,
    a_policy,
    a_recipe,
    a_step,
    a_volume,
    an_image,
    details,
    digest_of,
    image_id,
)
from tests.unit.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dockwarden.model import Policy

UNUSED = "!image.in_use"
_AT_ONCE_SECONDS = 5.0  # of CPU: it takes 0.5, and took 20
LATEST = a_policy("no-latest", "tag.name == 'latest'", subject=Kind.TAG, events=["image.tag", "image.pull"])
REMOVE = a_policy(
    "old-images",
    UNUSED,
    events=["image.new", "container.destroy"],
    every_seconds=60,
    mode=Mode.ENFORCE,
    action="remove",
)


@pytest.fixture(params=list(ImageStore))
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    with Host(tmp_path, request.param) as host:
        yield host


# -- the start ---------------------------------------------------------------------------------------------


def test_the_start_judges_everything_by_every_policy(host: Host) -> None:
    host.engine.put(an_image("app", "app:latest", "app:1"), an_image("used", "used:1"))
    host.engine.run(a_container("web", "used:1", "used"))
    host.start(LATEST, REMOVE, a_policy("privileged", "container.privileged", subject=Kind.CONTAINER))
    assert host.open_findings() == [
        ("no-latest", "docker.io/library/app:latest"),
        ("old-images", "docker.io/library/app:1"),
    ]
    assert host.value("evaluations_total", policy="no-latest", result="pass", cause="startup") == 2
    assert host.value("evaluations_total", policy="no-latest", result="fail", cause="startup") == 1
    assert host.value("evaluations_total", policy="privileged", result="pass", cause="startup") == 1
    assert host.value("findings", policy="old-images", severity="medium") == 1
    assert host.value("inventory_objects", subject="image") == 2
    assert host.value("inventory_resyncs_total", reason="startup") == 1
    assert len(host.logged("finding.opened")) == 2
    assert host.metrics.health.unready() == []


def test_the_start_never_acts(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.ticks.pass_(DAY)
    host.start(REMOVE)
    assert host.open_findings()
    assert host.engine.removals == []
    assert host.outcomes() == []


def test_policies_that_come_before_the_engine_wait_for_it(host: Host) -> None:
    host.engine.go_away()
    host.start(LATEST)
    assert host.value("inventory_resyncs_total", reason="startup") == 0
    assert host.metrics.health.unready() == ["inventory: not listed yet"]
    host.engine.come_back()
    host.engine.put(an_image("app", "app:latest"))
    host.connect("startup")
    host.settle()
    assert host.open_findings() == [("no-latest", "docker.io/library/app:latest")]
    assert host.metrics.health.unready() == []


def test_a_restart_opens_nothing_twice_and_resolves_what_is_gone(tmp_path: Path) -> None:
    opened = []
    for _ in range(2):
        with Host(tmp_path) as host:
            host.engine.put(an_image("app", "app:latest"), an_image("b", "b:latest"))
            host.start(LATEST)
            opened.append(len(host.logged("finding.opened")))
    assert opened == [2, 0]
    with Host(tmp_path) as host:
        host.engine.put(an_image("app", "app:latest"))
        host.start(LATEST)
        [line] = host.logged("finding.resolved")
        assert (line["name"], line["why"]) == ("docker.io/library/b:latest", "gone")
        assert host.open_findings() == [("no-latest", "docker.io/library/app:latest")]


def test_ages_survive_a_restart_in_order(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        host.engine.put(an_image("app", "app:1"))
        host.start(REMOVE)
        host.ticks.pass_(2 * HOUR)
    with Host(tmp_path) as host:
        host.engine.put(an_image("app", "app:1"), an_image("new", "new:1"))
        host.start(REMOVE)
        assert host.inventory.memory.known_for(Ref(Kind.IMAGE, image_id("app"))) == pytest.approx(2 * HOUR)
        host.run_job("old-images")
        assert sorted(host.outcomes()) == [("applied", "removed"), ("refused", "too_young")]
        assert host.engine.removals == ["docker.io/library/app:1"]


def test_what_a_policy_waits_for_goes_on_after_a_restart_and_not_while_nobody_watched(tmp_path: Path) -> None:
    waits = REMOVE._replace(for_seconds=2 * HOUR)
    outcomes = []
    for _ in range(3):
        with Host(tmp_path, stay=0) as host:
            host.engine.put(an_image("app", "app:1"))
            host.start(waits)
            host.ticks.pass_(0.8 * HOUR)
            host.run_job("old-images")
            outcomes += host.outcomes()
    assert outcomes == [("applied", "removed")]


def test_a_volume_that_was_made_anew_while_nobody_watched_waits_anew(tmp_path: Path) -> None:
    condition = "!volume.in_use && volume.name == 'data'"
    waits = a_policy("old", condition, subject=Kind.VOLUME, every_seconds=60, for_seconds=HOUR, action="remove")
    told = []
    for made_at in (NOW - DAY, NOW - 60):
        with Host(tmp_path, stay=0) as host:
            host.engine.add_volume(replace(a_volume("data"), created_at=made_at))
            host.start(waits)
            host.run_job("old")
            host.ticks.pass_(2 * HOUR)
            host.run_job("old")
            told.append(host.outcomes())
    assert told == [[("audited", "audit")], [("refused", "waiting")] * 2]


def test_on_another_engine_a_policy_waits_anew(tmp_path: Path) -> None:
    waits = REMOVE._replace(for_seconds=HOUR)
    for identity in ("one", "another"):
        with Host(tmp_path, stay=0) as host:
            host.engine.info = replace(host.engine.info, identity=identity)
            host.engine.put(an_image("app", "app:1"))
            host.start(waits)
            host.ticks.pass_(0.8 * HOUR)
            host.run_job("old-images")
            assert host.outcomes() == []
            assert host.value("pending", policy="old-images") == 1


def test_another_engine_makes_everything_young(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        host.engine.put(an_image("app", "app:1"))
        host.start(REMOVE)
        host.ticks.pass_(2 * HOUR)
    with Host(tmp_path) as host:
        host.engine.info = replace(host.engine.info, identity="another")
        host.engine.put(an_image("app", "app:1"))
        host.start(REMOVE)
        host.run_job("old-images")
        assert host.outcomes() == [("refused", "too_young")]


def test_an_engine_that_is_another_one_after_a_loss_ends_the_worker(host: Host) -> None:
    host.start(LATEST)
    host.lose()
    host.engine.come_back()
    host.engine.info = replace(host.engine.info, identity="another")
    host.connect()
    with pytest.raises(DockwardenError, match="another"):
        host.settle()


# -- events ------------------------------------------------------------------------------------------------


def test_an_event_judges_what_it_touched_and_nothing_else(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"), an_image("other", "other:latest"))
    host.start(LATEST)
    before = host.value("evaluations_total", policy="no-latest", result="fail", cause="startup")
    host.engine.name("app:1", "app:latest")
    host.settle()
    assert ("no-latest", "docker.io/library/app:latest") in host.open_findings()
    assert host.value("evaluations_total", policy="no-latest", result="fail", cause="event") == 1
    assert host.value("evaluations_total", policy="no-latest", result="fail", cause="startup") == before
    assert host.value("reaction_duration_seconds_count") == 1


def test_an_event_judges_only_by_policies_that_listen_to_it(host: Host) -> None:
    deaf = a_policy("deaf", "tag.name == '2'", subject=Kind.TAG, events=["image.untag"])
    host.engine.put(an_image("app", "app:1"))
    host.start(deaf, LATEST)
    host.engine.name("app:1", "app:2")
    host.settle()
    assert host.value("evaluations_total", policy="deaf", result="fail", cause="event") == 0
    assert host.value("evaluations_total", policy="no-latest", result="pass", cause="event") == 2


def test_an_event_judges_what_depends_on_its_object(host: Host) -> None:
    stale = a_policy("stale", "container.freshness == 'recreate-needed'", subject=Kind.CONTAINER, events=["image.tag"])
    idle = a_policy("idle", "!volume.in_use", subject=Kind.VOLUME, events=["container.destroy"])
    host.engine.put(an_image("old", "app:1"), an_image("new", "new:1"))
    host.engine.run(a_container("web", mounts=(a_mount("data"),)))
    host.engine.add_volume(a_volume("data"))
    host.start(stale, idle)
    assert host.open_findings() == []
    host.engine.name("new:1", "app:1")
    host.settle()
    assert host.open_findings() == [("stale", "web")]
    host.engine.remove("web")
    host.settle()
    assert host.open_findings() == [("idle", "data")]


def test_an_open_finding_is_judged_again_whenever_its_subject_changes(host: Host) -> None:
    unhealthy = a_policy("unhealthy", "container.health == 'unhealthy'", subject=Kind.CONTAINER, every_seconds=60)
    host.engine.put(an_image("app", "app:1"))
    host.engine.run(a_container("web", health="unhealthy"))
    host.start(unhealthy)
    assert host.open_findings() == [("unhealthy", "web")]
    host.engine.alter("web", "health_status", health="healthy")
    host.settle()
    assert host.open_findings() == []
    [line] = host.logged("finding.resolved")
    assert line["why"] == "pass"
    assert host.value("findings", policy="unhealthy", severity="medium") == 0


def test_what_a_service_needs_is_judged_again_though_nothing_of_it_runs_here(host: Host) -> None:
    host.engine.swarm = {}
    host.engine.put(an_image("app", "app:1"))
    host.engine.add_volume(a_volume("data"))
    unused = a_policy("volumes", "!volume.in_use", subject=Kind.VOLUME, every_seconds=60)
    host.start(unused, a_policy("images", UNUSED, every_seconds=60))
    host.engine.needed = [Need("web", frozenset({"docker.io/library/app:1"}), frozenset({"data"}))]
    host.engine.emit("service", "create", "web")
    host.settle()
    assert host.open_findings() == []


def test_a_finding_on_an_object_that_is_gone_is_resolved(host: Host) -> None:
    host.engine.put(an_image("app", "app:latest", "app:1"))
    host.start(LATEST)
    host.engine.unname("app:latest")
    host.settle()
    assert host.open_findings() == []
    assert [line["why"] for line in host.logged("finding.resolved")] == ["gone"]


def test_a_container_of_an_image_with_very_many_tags_goes_at_once(host: Host) -> None:
    host.engine.put(an_image("app", *(f"app:{number}" for number in range(5_000)), "app:latest"))
    host.engine.run(a_container("web"))
    host.start(LATEST, a_policy("unused", "!image.in_use", events=["container.destroy"]))
    began = time.process_time()
    host.engine.remove("web")
    host.settle()
    assert time.process_time() - began < _AT_ONCE_SECONDS
    assert {name for name, _ in host.open_findings()} == {"unused", LATEST.name}


def test_an_opening_and_a_resolution_are_told_once(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start(LATEST)
    for _ in range(3):
        host.engine.name("app:1", "app:latest")
        host.settle()
    assert len(host.logged("finding.opened")) == 1


def test_events_that_lead_to_no_difference_judge_nothing(host: Host) -> None:
    host.engine.put(an_image("app", "app:latest"))
    host.start(LATEST)
    runs = len(host.logged("run.completed"))
    host.engine.emit("image", "tag", image_id("app"))
    host.engine.emit("container", "start", "nobody")
    host.settle()
    assert len(host.logged("run.completed")) == runs


def test_a_pull_that_brought_nothing_new_is_judged_all_the_same(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:latest")
    host.start(LATEST)
    host.engine.pull(an_image("app"), "app:latest")
    host.settle()
    assert host.value("evaluations_total", policy="no-latest", result="fail", cause="event") == 1


def test_a_pull_that_comes_together_with_a_full_list_is_not_lost(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:latest")
    host.start(LATEST)
    with host.queue._ready:
        host.queue.submit([Dirty(Kind.IMAGE, "app:latest", pulled=True)], 1)
        host.queue.submit_resync("interval")
    host.settle()
    assert host.value("evaluations_total", policy="no-latest", result="fail", cause="event") == 1


# -- acting ------------------------------------------------------------------------------------------------


def grown_up(host: Host, *words: str) -> None:
    """Images that we have watched for a day when the first trigger comes."""
    host.engine.put(*(an_image(word, f"{word}:1") for word in words))


def test_a_schedule_acts_on_all_its_findings(host: Host) -> None:
    grown_up(host, "a", "b")
    host.engine.put(an_image("used", "used:1"))
    host.engine.run(a_container("web", "used:1", "used"))
    host.start(REMOVE)
    host.ticks.pass_(DAY)
    host.run_job("old-images")
    assert host.outcomes() == [("applied", "removed")] * 2
    assert [image.id for image in host.engine.images()] == [image_id("used")]
    assert host.open_findings() == []
    assert host.value("actions_total", policy="old-images", action="remove", outcome="applied") == 2
    assert host.value("reclaimed_bytes_total", policy="old-images", subject="image") == 2000
    assert host.value("job_last_success_timestamp_seconds", policy="old-images") is not None


def test_an_event_acts_on_what_it_touched_only(host: Host) -> None:
    grown_up(host, "a", "b")
    host.engine.run(a_container("web", "a:1", "a"))
    host.start(REMOVE)
    host.ticks.pass_(DAY)
    host.engine.remove("web")
    host.settle()
    assert host.outcomes() == [("applied", "removed")]
    assert host.engine.removals == ["docker.io/library/a:1"]
    assert host.open_findings() == [("old-images", "docker.io/library/b:1")]


def test_a_finding_that_is_only_judged_again_is_not_acted_on(host: Host) -> None:
    scheduled = REMOVE._replace(trigger=REMOVE.trigger._replace(events=frozenset()))
    host.engine.put(an_image("a", "a:1", "a:2"))
    host.start(scheduled)
    host.ticks.pass_(DAY)
    host.engine.unname("a:2")
    host.settle()
    assert host.value("evaluations_total", policy="old-images", result="fail", cause="event") == 1
    assert host.engine.removals == []


def test_what_changed_without_an_event_goes_by_the_next_run(host: Host) -> None:
    doomed = a_policy("doomed", "true", subject=Kind.NETWORK, every_seconds=60, mode=Mode.ENFORCE, action="remove")
    host.engine.add_network(a_network("old"))
    host.start(doomed)
    host.ticks.pass_(DAY)
    host.engine.add_network(replace(a_network("old"), created_at=0.0))
    host.engine.emitted.clear()
    host.run_job("doomed")
    host.run_job("doomed")
    assert host.outcomes() == [("skipped", "changed"), ("applied", "removed")]


def test_what_is_another_one_at_every_look_is_tried_once_for_each_event(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container that its engine starts again and again, where each look takes longer than its life."""
    events = frozenset({"container.die"})
    doomed = a_policy("doomed", "true", subject=Kind.CONTAINER, events=events, mode=Mode.ENFORCE, action="remove")
    host.engine.put(an_image("a", "a:1"))
    host.engine.run(made := a_container("web", "a:1", "a", running=False))
    host.start(doomed)
    host.ticks.pass_(DAY)
    look, starts = host.engine.container, count()
    monkeypatch.setattr(host.engine, "container", lambda key: replace(look(key), started_at=next(starts)))
    host.engine.emit("container", "die", made.id, "web")
    host.settle()
    assert host.outcomes() == [("skipped", "changed")]
    host.engine.emit("container", "die", made.id, "web")
    host.settle()
    assert host.outcomes() == [("skipped", "changed")] * 2


def test_audit_plans_and_never_executes(host: Host) -> None:
    grown_up(host, "a")
    host.start(REMOVE._replace(mode=Mode.AUDIT))
    host.ticks.pass_(DAY)
    host.run_job("old-images")
    assert host.outcomes() == [("audited", "audit")]
    assert host.engine.removals == []
    assert not [call for call in host.engine.calls if call[0] in ("tag", "untag", "users_of")]
    assert host.value("actions_total", policy="old-images", action="remove", outcome="audited") == 1
    host.stop()
    host.ledger.open_to_read()
    assert host.ledger.recent_actions(10) == []


def test_a_policy_that_is_off_does_nothing(host: Host) -> None:
    grown_up(host, "a")
    host.start(REMOVE._replace(mode=Mode.OFF), LATEST)
    host.run_job("old-images")
    assert host.open_findings() == []
    assert host.value("findings", policy="old-images", severity="medium") == 0


def test_limits_refuse_the_plan_as_a_whole(host: Host) -> None:
    grown_up(host, "a", "b", "c")
    host.start(REMOVE._replace(limits=Limits(2, 100.0)))
    host.ticks.pass_(DAY)
    host.run_job("old-images")
    assert host.outcomes() == [("refused", "limits")] * 3
    assert host.engine.removals == []
    [line] = host.logged("run.error")
    assert "max_objects" in line["error"]
    assert host.value("refusals_total", policy="old-images", reason="limits") == 3
    assert host.value("job_last_success_timestamp_seconds", policy="old-images") is None
    assert host.value("job_last_run_timestamp_seconds", policy="old-images") is not None


def test_in_audit_mode_a_limit_is_no_error(host: Host) -> None:
    grown_up(host, "a", "b", "c")
    host.start(REMOVE._replace(limits=Limits(2, 100.0), mode=Mode.AUDIT))
    host.ticks.pass_(DAY)
    host.run_job("old-images")
    assert host.outcomes() == [("audited", "limits")] * 3
    assert host.logged("run.error") == []
    assert not host.value("refusals_total", policy="old-images", reason="limits")
    assert host.value("job_last_success_timestamp_seconds", policy="old-images") is not None


def test_a_run_takes_the_first_and_the_next_goes_on(host: Host) -> None:
    grown_up(host, "a", "b", "c")
    host.start(REMOVE._replace(limits=Limits(2, 100.0, takes_first=True)))
    host.ticks.pass_(DAY)
    host.run_job("old-images")
    assert len(host.engine.removals) == 2
    assert host.logged("run.error") == []
    host.run_job("old-images")
    assert len(host.engine.removals) == 3


def test_without_a_ledger_nothing_is_removed_and_judging_goes_on(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with Host(tmp_path / "state") as host:
        grown_up(host, "a")
        host.start(REMOVE)
        host.ticks.pass_(DAY)
        host.run_job("old-images")
        assert host.outcomes() == [("refused", "ledger")]
        assert host.engine.removals == []
        assert host.open_findings() == [("old-images", "docker.io/library/a:1")]
        assert host.value("ledger_writable") == 0


def test_what_became_of_a_removal_is_in_the_ledger(host: Host) -> None:
    grown_up(host, "a")
    host.start(REMOVE)
    host.ticks.pass_(DAY)
    host.run_job("old-images")
    host.stop()
    host.ledger.open_to_read()
    [action] = host.ledger.recent_actions(10)
    assert (action["outcome"], action["name"], action["run"]) == (
        "applied",
        "docker.io/library/a:1",
        host.board.actions[0]["run"],
    )


def test_removals_that_a_crash_cut_short_are_ended_at_the_next_start(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        host.ledger.open()
        host.ledger.claim(host.engine.info.identity)
        for word in ("gone", "left"):
            host.ledger.intend("run-0", a_step(gone := an_image(word, f"{word}:1")), a_recipe(gone))
        host.ledger.intend("run-0", a_step(left := an_image("left", "left:1"), "left:1"), a_recipe(left))
    with Host(tmp_path) as host:
        host.engine.put(an_image("left", "left:1"))
        host.start(LATEST)
        assert host.outcomes() == [("applied", "found_gone"), ("skipped", "interrupted"), ("skipped", "interrupted")]
        assert host.engine.removals == []
        host.connect("gap")
        host.settle()
        assert len(host.outcomes()) == 3


def test_a_marker_of_a_removal_that_was_cut_short_is_swept_at_the_start(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        host.engine.put(an_image("app", "app:1", markers=("dockwarden.invalid/marker:0123456789ab",)))
        host.start(LATEST)
        assert host.engine.image("app:1").markers == ()
        assert host.engine.image("app:1").tags == ("docker.io/library/app:1",)


def test_our_own_image_is_never_touched(tmp_path: Path) -> None:
    own = a_container("dockwarden", "dockwarden:1", "dockwarden")
    with Host(tmp_path, own=own.id) as host:
        host.engine.put(an_image("dockwarden", "dockwarden:1"))
        host.engine.run(own)
        host.start(REMOVE._replace(when=a_policy(when="true").when))
        host.ticks.pass_(DAY)
        host.run_job("old-images")
        assert host.outcomes() == [("refused", "self")]


# -- long sweeps -------------------------------------------------------------------------------------------

APP_DIGEST = Ask("digest", "docker.io/library/app:1")
DRIFT = a_policy(
    "drift",
    "registry.digest != '' && registry.digest != tag.digest",
    subject=Kind.TAG,
    events=["image.pull"],
    every_seconds=60,
    mode=Mode.ENFORCE,
    action="untag",
)


def test_a_sweep_that_waits_for_a_registry_does_not_delay_an_event(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.registry.digests["docker.io/library/app:1"] = "sha256:new"
    host.start(DRIFT, LATEST)
    host.registry.slow = True
    host.run_job("drift")
    assert host.registry.asked == [APP_DIGEST]
    host.engine.name("app:1", "app:latest")
    host.settle()
    assert host.open_findings() == [("no-latest", "docker.io/library/app:latest")]
    host.ticks.pass_(DAY)
    host.registry.answer_all()
    host.settle()
    assert host.outcomes() == [("applied", "untagged")]


@pytest.mark.parametrize("is_used", [True, False])
def test_what_was_used_while_a_sweep_waited_is_not_acted_on(host: Host, *, is_used: bool) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.registry.digests["docker.io/library/app:1"] = "sha256:new"
    host.start(DRIFT)
    host.ticks.pass_(DAY)
    host.registry.slow = True
    host.run_job("drift")
    host.ticks.pass_(60)
    if is_used:  # and the container is gone before anybody looks
        host.engine.run(a_container("short", "app:1"))
        host.engine.remove("short")
        host.settle()
    host.ticks.pass_(60)
    host.registry.slow = False
    host.registry.answer_all()
    host.settle()
    assert host.outcomes() == ([] if is_used else [("applied", "removed")])


def test_an_event_whose_judging_waits_for_a_registry_is_answered_once_and_without_that(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.start(a_policy("drift", DRIFT.when.source, subject=Kind.TAG, events=["image.tag"]))
    host.registry.slow = True
    host.engine.name("app:1", "app:2")
    host.settle()
    assert host.registry.asked
    assert host.value("reaction_duration_seconds_count") == 1
    host.registry.answer_all()
    host.settle()
    assert host.value("evaluations_total", policy="drift", result="unknown", cause="event") == 2  # its other tag, too
    assert host.value("reaction_duration_seconds_count") == 1


def test_a_sweep_that_waits_for_a_registry_does_not_delay_another(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:latest")
    edge = a_policy("edge", "tag.name == 'edge'", subject=Kind.TAG, every_seconds=60)
    host.start(DRIFT, edge)
    host.registry.slow = True
    host.run_job("drift")
    host.run_job("edge")
    assert host.value("evaluations_total", policy="edge", result="pass", cause="schedule") == 1
    host.registry.answer_all()
    host.settle()
    assert host.value("evaluations_total", policy="drift", result="unknown", cause="schedule") == 1


def test_a_job_whose_runs_do_not_end_starts_no_third(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.start(DRIFT)
    host.registry.slow = True
    for _ in range(5):
        host.run_job("drift")
    host.registry.answer_all()
    host.settle()
    assert host.value("job_missed_total", policy="drift") == 3
    assert host.value("evaluations_total", policy="drift", result="unknown", cause="schedule") == 2


def test_new_policies_end_the_sweeps_of_the_old_ones(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.registry.digests["docker.io/library/app:1"] = "sha256:new"
    host.start(DRIFT, LATEST)
    host.ticks.pass_(DAY)
    host.registry.slow = True
    host.run_job("drift")
    host.use(LATEST)
    host.registry.answer_all()
    host.settle()
    assert (host.outcomes(), host.engine.removals, host.open_findings()) == ([], [], [])


@pytest.fixture
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker looks up after each object."""
    monkeypatch.setattr("dockwarden.pipeline.worker._SLICE_SECONDS", 0.0)


def in_the_middle(host: Host, what: Callable[[], object], *, after: int) -> None:
    """Something happens, with its events, while a sweep inspects an image, after so many others."""

    def happen() -> None:
        what()
        host.pass_events_on()

    host.engine.just_before("image", *[lambda: None] * after, happen)


@pytest.mark.usefixtures("short_slices")
def test_an_event_comes_before_the_rest_of_a_long_sweep(host: Host) -> None:
    host.start(a_policy("slow", "image.user == 'root'", every_seconds=60), LATEST)
    host.engine.put(*(an_image(f"app{n}", f"app:{n}") for n in range(50)))
    host.connect("gap")
    host.settle()
    in_the_middle(host, partial(host.engine.name, "app:1", "app:latest"), after=5)
    host.run_job("slow")
    order = [line["event"] for line in host.lines if line["event"] in ("finding.opened", "run.completed")]
    after_it = order[order.index("finding.opened") + 1 :]
    assert after_it == ["run.completed", "run.completed"], "the event waited for the sweep"
    assert host.value("evaluations_total", policy="slow", result="pass", cause="schedule") == 50


@pytest.mark.usefixtures("short_slices")
def test_what_an_event_showed_to_be_fine_is_not_acted_on_by_a_sweep_that_saw_it_before(host: Host) -> None:
    condition = "size(image.tags) == 0 && image.user == ''"
    host.start(a_policy("nameless", condition, every_seconds=60, mode=Mode.ENFORCE, action="remove"))
    host.engine.put(an_image("app"), an_image("also"), *(an_image(f"b{n}", f"b:{n}") for n in range(5)))
    host.connect("gap")
    host.settle()
    host.ticks.pass_(DAY)
    in_the_middle(host, partial(host.engine.name, image_id("app"), "app:kept"), after=1)
    host.run_job("nameless")
    assert host.engine.image("app:kept").id == image_id("app")
    assert host.outcomes() == [("applied", "removed")], "the other one went"


# -- registries --------------------------------------------------------------------------------------------


def test_the_start_asks_no_registry_and_uses_remembered_answers(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.engine.pull(an_image("b"), "b:1")
    host.engine.take_events()  # that was long before the registry was asked
    host.registry.known[APP_DIGEST] = Reply(digest="sha256:new")
    host.start(DRIFT)
    assert host.registry.asked == []
    assert host.open_findings() == [("drift", "docker.io/library/app:1")]
    assert host.value("evaluations_total", policy="drift", result="unknown", cause="startup") == 0


def test_an_event_asks_the_registry_for_what_it_touched(host: Host) -> None:
    host.registry.digests["docker.io/library/app:1"] = "sha256:new"
    host.start(DRIFT._replace(mode=Mode.AUDIT))
    host.engine.pull(an_image("app"), "app:1")
    host.settle()
    assert host.registry.asked == [APP_DIGEST]
    assert host.open_findings() == [("drift", "docker.io/library/app:1")]
    [(noted, reply)] = host.registry.noted
    assert (noted, reply is not None) == (APP_DIGEST, True), "what was said before the pull is no answer after it"
    host.engine.name("app:1", "app:2")
    host.settle()
    assert len(host.registry.noted) == 1, "a registry knows nothing of other names"


@pytest.mark.parametrize(
    ("trigger", "seconds"),
    [
        ({"every_seconds": 60}, 300),
        ({"every_seconds": 6 * 3600}, 3 * 3600),
        ({"schedule": "0 4 * * *"}, 12 * 3600),
        ({"schedule": "0 4 1 * *"}, 12 * 3600),
        ({"schedule": "0 4 * * *", "every_seconds": 3600}, 1800),
    ],
)
def test_an_answer_serves_other_policies_for_half_of_their_interval(
    host: Host, trigger: dict[str, Any], seconds: float
) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.start(a_policy("drift", "registry.digest == ''", subject=Kind.TAG, **trigger))
    host.run_job("drift")
    assert host.registry.believed == {APP_DIGEST: seconds}


def test_a_registry_that_does_not_answer_leaves_findings_as_they_were(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.engine.pull(an_image("b"), "b:1")
    host.engine.take_events()  # that was long before the registry was asked
    host.registry.known[APP_DIGEST] = Reply(digest="sha256:new")
    host.start(DRIFT)
    host.registry.reason = "unauthorized"
    host.ticks.pass_(DAY)
    host.run_job("drift")
    assert host.open_findings() == [("drift", "docker.io/library/app:1")]
    assert host.outcomes() == [], "an answer that did not come is no reason to act"
    assert host.value("unknown", policy="drift", reason="unauthorized") == 2
    assert host.value("evaluations_total", policy="drift", result="unknown", cause="schedule") == 2
    assert len(host.logged("policy.unknown")) == 2
    host.run_job("drift")
    assert len(host.logged("policy.unknown")) == 2, "the same question again"


def test_what_could_not_be_judged_is_judged_again_with_the_next_full_list_and_not_acted_on(host: Host) -> None:
    as_root = a_policy("as-root", "image.user == ''", every_seconds=60, mode=Mode.ENFORCE, action="remove")
    host.engine.put(an_image("app", "app:1"))
    host.engine.errors["image", image_id("app")] = AnswerError("image: Size is missing")
    host.start(as_root, as_root._replace(name="patient", on_unknown="report"))
    host.ticks.pass_(DAY)
    assert host.value("unknown", policy="as-root", reason="not_gathered") == 1
    host.engine.errors.clear()
    host.connect("gap")
    host.settle()
    assert host.open_findings() == [("as-root", "docker.io/library/app:1")]
    assert host.value("unknown", policy="as-root", reason="not_gathered") == 0
    assert host.engine.removals == []


def test_an_excuse_that_ends_without_any_trigger_is_told_with_the_next_full_list(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"dockwarden.skip": "all", "dockwarden.skip.until": "2099-01-01"}
    host.engine.put(an_image("app", "app:latest", labels=labels))
    host.start(LATEST._replace(mode=Mode.ENFORCE, action="untag"))
    assert host.open_findings() == []
    monkeypatch.setattr("dockwarden.pipeline.worker.time.time", lambda: 5e9)  # 2128
    host.queue.submit_resync("interval")
    host.settle()
    assert len(host.logged("finding.expired")) == 1
    assert (host.open_findings(), host.outcomes()) == ([("no-latest", "docker.io/library/app:latest")], [])


def test_a_finding_that_is_judged_again_asks_no_registry(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.registry.known[APP_DIGEST] = Reply(digest="sha256:new")
    host.start(DRIFT)
    host.engine.name("app:1", "app:2")
    host.settle()
    assert host.value("evaluations_total", policy="drift", result="fail", cause="event") == 1
    assert host.registry.asked == []


def test_an_answer_ends_the_question(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:1")
    host.start(DRIFT)
    host.registry.reason = "timeout"
    host.run_job("drift")
    assert host.value("unknown", policy="drift", reason="timeout") == 1
    digest = host.engine.image("app:1").digests[0].partition("@")[2]
    host.registry.digests["docker.io/library/app:1"] = digest
    host.run_job("drift")
    assert host.value("unknown", policy="drift", reason="timeout") == 0
    assert host.value("evaluations_total", policy="drift", result="pass", cause="schedule") == 1


# -- gates -------------------------------------------------------------------------------------------------


def test_a_closed_gate_ends_the_run_and_an_open_one_does_not(host: Host) -> None:
    grown_up(host, "a")
    host.start(REMOVE._replace(gate=a_policy(gate="host.disk_used_percent > 80.0").gate))
    host.ticks.pass_(DAY)
    host.run_job("old-images")
    assert (host.open_findings(), host.engine.removals) == ([], [])
    assert host.value("job_last_success_timestamp_seconds", policy="old-images") is not None
    host.disk = None
    host.run_job("old-images")
    assert host.engine.removals == [], "a disk that cannot be seen opens no gate"
    host.disk = Disk(90.0, 1, 1.0)
    host.run_job("old-images")
    assert host.outcomes() == [("applied", "removed")]


@pytest.mark.parametrize(
    ("subject", "action", "enough"),
    [
        (Kind.IMAGE, "remove", "host.images <= 2"),
        (Kind.TAG, "untag", "host.images <= 2"),
        (Kind.CONTAINER, "remove", "host.containers <= 2"),
        (Kind.VOLUME, "remove", "host.volumes <= 2"),
    ],
)
def test_what_a_run_has_removed_counts_when_it_is_asked_whether_that_is_enough(
    host: Host, subject: Kind, action: str, enough: str
) -> None:
    grown_up(host, *"abcde")
    for word in "abcde":
        host.engine.add_volume(a_volume(word, anonymous=True))
        if subject is Kind.CONTAINER:
            host.engine.run(a_container(word, f"{word}:1", word, running=False))
    policy = a_policy(subject=subject, every_seconds=60, mode=Mode.ENFORCE, action=action, stop_when=enough)
    host.start(policy._replace(limits=Limits(100, 100.0), for_seconds=HOUR, unrecoverable=True))
    host.ticks.pass_(DAY)
    host.run_job("old-images")
    assert len([each for each in host.outcomes() if each[0] == "applied"]) == 3


@pytest.mark.parametrize("mode", [Mode.AUDIT, Mode.ENFORCE])
def test_a_run_that_ends_above_the_lower_mark_says_what_fills_the_disk(host: Host, mode: Mode) -> None:
    grown_up(host, "a")
    marks = a_policy(gate="host.disk_used_percent > 80.0", stop_when="host.disk_used_percent < 70.0")
    host.start(REMOVE._replace(mode=mode, gate=marks.gate, stop_when=marks.stop_when))
    host.ticks.pass_(DAY)

    def on_the_host() -> list[str]:
        return [each.result.message for each in host.findings.open() if each.result.ref.kind is Kind.HOST]

    for used, is_told in ((90.0, True), (90.0, True), (75.0, False), (85.0, True), (60.0, False)):
        host.disk = Disk(used, 1_000_000, 5.0, 50_000_000)
        host.run_job("old-images")
        host.settle()
        assert len(on_the_host()) == is_told, used
        assert all("is not enough for host.disk_used_percent < 70.0: " in each for each in on_the_host())
        assert all("unaccounted 50.0 MB" in each for each in on_the_host())
        policy, found = host.worker._policies["old-images"], [each.result for each in host.findings.open()]
        assert all(step.ref.kind is Kind.IMAGE for step in host.worker.enforcer.plan(policy, found).steps)
        host.engine.put(an_image("other", f"other:{used:g}"))  # everything about the host is judged again
        host.settle()
        assert len(on_the_host()) == is_told, used


# -- the engine goes away ------------------------------------------------------------------------------------


def test_after_a_loss_everything_is_compared_and_what_happened_meanwhile_is_judged(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"), an_image("gone", "gone:latest"))
    host.start(LATEST)
    host.lose()
    host.settle()
    host.engine.name("app:1", "app:latest")
    host.engine.unname("gone:latest")
    host.engine.take_events()  # nobody was listening
    host.engine.come_back()
    host.connect()
    host.settle()
    assert host.open_findings() == [("no-latest", "docker.io/library/app:latest")]
    assert host.value("inventory_resyncs_total", reason="reconnect") == 1
    assert host.value("evaluations_total", policy="no-latest", result="fail", cause="event") == 1


def test_time_without_an_engine_makes_nothing_older(host: Host) -> None:
    grown_up(host, "a")
    host.start(REMOVE)
    host.ticks.pass_(HOUR / 2)
    host.lose()
    host.settle()
    host.ticks.pass_(DAY)
    host.engine.come_back()
    host.connect()
    host.settle()
    assert host.inventory.memory.known_for(Ref(Kind.IMAGE, image_id("a"))) == pytest.approx(HOUR / 2)
    host.run_job("old-images")
    assert host.outcomes() == [("refused", "too_young")]


def test_a_job_that_is_due_while_the_engine_is_away_fails_and_is_told(host: Host) -> None:
    grown_up(host, "a")
    host.start(REMOVE)
    host.lose()
    host.settle()
    host.run_job("old-images")
    assert host.value("evaluations_total", policy="old-images", result="fail", cause="schedule") == 0
    assert host.value("job_last_run_timestamp_seconds", policy="old-images") is not None
    assert host.value("job_last_success_timestamp_seconds", policy="old-images") is None
    assert any("not available" in line["error"] for line in host.logged("run.error"))


def test_a_job_that_comes_with_an_event_that_finds_the_engine_gone_is_told_too(host: Host) -> None:
    grown_up(host, "a")
    host.start(REMOVE)
    host.engine.go_away()
    with host.queue._ready:
        host.queue.submit([Dirty(Kind.IMAGE, image_id("a"))], 1)
        host.queue.submit_job("old-images")
    host.settle()
    assert any("not available" in line["error"] for line in host.logged("run.error"))


def test_a_job_that_is_due_before_an_engine_was_ever_found_is_told_too(host: Host) -> None:
    host.lose()
    host.start(REMOVE)
    host.lose()
    host.run_job("old-images")
    assert any("not available" in line["error"] for line in host.logged("run.error"))


def test_a_pull_whose_look_finds_the_engine_gone_is_judged_when_it_is_back(host: Host) -> None:
    host.engine.pull(an_image("app"), "app:latest")
    host.start(LATEST)
    host.engine.pull(an_image("app"), "app:latest")
    host.engine.just_before("image", host.engine.go_away)
    host.settle()
    host.engine.come_back()
    host.connect()
    host.settle()
    assert host.value("evaluations_total", policy="no-latest", result="fail", cause="event") == 1


@pytest.mark.parametrize("is_lost_amid", [False, True])
def test_what_was_found_is_judged_again_when_an_engine_comes_back_with_other_settings(
    host: Host, *, is_lost_amid: bool
) -> None:
    host.engine.run(a_container("web"))
    host.start(
        a_policy("host", "!host.live_restore", subject=Kind.HOST, every_seconds=60),
        a_policy("container", "!host.live_restore", subject=Kind.CONTAINER, every_seconds=60),
    )
    assert len(host.open_findings()) == 2
    host.lose()
    host.settle()
    host.engine.come_back()
    host.engine.info = replace(host.engine.info, live_restore=True, clock_offset_seconds=1.0)
    if is_lost_amid:
        host.engine.just_before("images", host.engine.go_away)
        host.connect()
        host.settle()
        host.engine.come_back()
    host.connect()
    host.settle()
    assert host.open_findings() == []


def test_an_engine_that_is_lost_in_the_middle_of_a_plan(host: Host) -> None:
    grown_up(host, "a", "b", "c")
    host.start(REMOVE)
    host.ticks.pass_(DAY)
    host.engine.just_before("untag", lambda: None, host.engine.go_away)
    host.run_job("old-images")
    assert host.outcomes() == [
        ("applied", "removed"),
        ("failed", "engine_unavailable"),
        ("skipped", "engine_unavailable"),
    ]
    host.lose()
    host.settle()
    host.engine.come_back()
    host.connect()
    host.settle()
    assert host.outcomes()[3:] == [("skipped", "interrupted")]
    assert len(host.engine.images()) == 2
    host.stop()
    host.ledger.open_to_read()
    assert host.ledger.open_intents() == []


def test_one_bad_object_is_told_and_stops_nothing(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start(LATEST)
    host.engine.errors["container", a_container("bad").id] = AnswerError("container: Name is missing")
    host.engine.run(a_container("bad"))
    host.engine.name("app:1", "app:latest")
    host.settle()
    assert host.open_findings() == [("no-latest", "docker.io/library/app:latest")]
    assert any("Name is missing" in line["error"] for line in host.logged("run.error"))


def test_an_image_that_goes_while_it_is_looked_at_closely_is_no_reason_to_die(host: Host) -> None:
    as_root = a_policy("as-root", "image.user == ''", every_seconds=60)
    base = a_policy("base", "image.base == 'x'", subject=Kind.TAG, every_seconds=60)
    used = a_policy("used", "image.user == '' && container.running", subject=Kind.CONTAINER, every_seconds=60)
    host.engine.put(an_image("app", "app:1", inspected=details()), an_image("other", "other:1", inspected=details()))
    host.engine.just_before("image", partial(host.engine.vanish, image_id("app")))
    host.start(as_root, base, used)
    assert host.died is None
    assert host.open_findings() == [("as-root", "docker.io/library/other:1")]


# -- reload ------------------------------------------------------------------------------------------------


def test_what_an_event_asks_for_is_done_though_a_reload_comes_before_the_answer(host: Host) -> None:
    hears = DRIFT._replace(trigger=TriggerSpec(events=frozenset({"image.untag"})))
    host.engine.pull(an_image("app"), "app:1")
    host.engine.name("app:1", "app:2")
    host.registry.digests["docker.io/library/app:1"] = "sha256:new"
    host.start(hears)
    host.ticks.pass_(DAY)
    host.registry.slow = True
    host.engine.unname("app:2")
    host.settle()
    late = a_policy("late", "true", subject=Kind.TAG, events=["image.untag"], mode=Mode.ENFORCE, action="untag")
    host.use(hears, late)
    assert host.outcomes() == []  # of one that is there only since the reload
    host.registry.slow = False
    host.registry.answer_all()
    host.settle()
    assert host.outcomes() == [("applied", "removed")]


def test_a_policy_that_is_removed_takes_its_findings_and_metrics_along(host: Host) -> None:
    host.engine.put(an_image("app", "app:latest"))
    host.start(LATEST, a_policy("doomed", "true", subject=Kind.TAG, events=["image.tag"]))
    assert host.value("findings", policy="doomed", severity="medium") == 1
    host.use(LATEST)
    assert host.open_findings() == [("no-latest", "docker.io/library/app:latest")]
    assert [line["why"] for line in host.logged("finding.resolved")] == ["policy removed"]
    assert host.value("findings", policy="doomed", severity="medium") is None
    labels = {"policy": "doomed", "subject": "tag", "mode": "audit", "severity": "medium"}
    assert host.value("policy_info", **labels) is None
    assert host.value("findings", policy="no-latest", severity="medium") == 1


def test_new_policies_are_judged_at_once_and_do_not_act(host: Host) -> None:
    grown_up(host, "a")
    host.start(LATEST)
    host.ticks.pass_(DAY)
    host.use(LATEST, REMOVE)
    assert host.open_findings() == [("old-images", "docker.io/library/a:1")]
    assert host.engine.removals == []


def test_a_policy_that_changed_its_mind_resolves_what_passes_now(host: Host) -> None:
    host.engine.put(an_image("app", "app:latest"))
    host.start(LATEST)
    host.use(LATEST._replace(when=a_policy(when="tag.name == 'edge'", subject=Kind.TAG).when))
    assert host.open_findings() == []


def test_a_new_severity_shows_at_once(host: Host) -> None:
    host.engine.put(an_image("app", "app:latest"))
    host.start(LATEST)
    host.use(LATEST._replace(severity=Severity.HIGH))
    assert host.value("findings", policy="no-latest", severity="high") == 1
    assert not host.value("findings", policy="no-latest", severity="medium")


@pytest.mark.parametrize(("labels", "family"), [({}, "findings"), ({"dockwarden.skip": "all"}, "excused")])
def test_a_new_severity_shows_at_once_of_what_cannot_be_judged_now(
    host: Host, labels: dict[str, str], family: str
) -> None:
    host.engine.pull(an_image("app", labels=labels), "app:1")
    host.registry.digests["docker.io/library/app:1"] = "sha256:new"
    host.start(DRIFT)
    host.run_job("drift")
    host.registry.known.clear()
    host.use(DRIFT._replace(severity=Severity.HIGH))
    assert host.value(family, policy="drift", severity="high") == 1
    assert not host.value(family, policy="drift", severity="medium")


def test_a_job_of_a_policy_that_is_gone_is_nothing(host: Host) -> None:
    host.start(LATEST)
    host.run_job("never-heard-of")
    assert host.died is None


# -- policies as people write them -----------------------------------------------------------------------------

_FILE = """
version: 1
policies:
  - name: prune-dangling
    severity: low
    subject: image
    trigger: {events: [image.untag], every: 1h}
    params: {keep: 1h}
    select: image.dangling
    when: "!image.in_use && image.known_for >= params.keep"
    message: "{{ image.short_id }} is superseded"
    mode: enforce
    action: remove
    limits: {max_objects: 5, max_percent: 100%}
"""


def test_a_policy_from_a_file_does_what_it_says(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(_FILE)
    loaded = load([path], VOCABULARY, VERBS)
    host.engine.pull(an_image("old"), "app:1")
    host.start(*loaded.policies)
    host.ticks.pass_(2 * HOUR)
    host.engine.pull(an_image("new"), "app:1")
    host.settle()
    [line] = host.logged("finding.opened")
    assert (line["policy"], line["message"]) == ("prune-dangling", f"{image_id('old')[7:19]} is superseded")
    assert host.outcomes() == [("applied", "removed")]
    assert [image.id for image in host.engine.images()] == [image_id("new")]


def test_the_worker_ends_when_the_queue_is_closed(host: Host) -> None:
    host.start(LATEST)
    host.stop()
    assert not host._thread.is_alive()
    assert host.died is None


def test_an_engine_info_is_kept_for_the_facts_of_the_host(host: Host) -> None:
    host.engine.info = replace(host.engine.info, swarm=True)
    host.start(a_policy("swarm", "host.swarm", subject=Kind.HOST, every_seconds=60))
    assert host.open_findings() == [("swarm", "host")]


FORMER = a_policy("p", "image.in_use == false", events=["image.tag"])
EDITED = [
    a_policy("p", "tag.name == '2'", subject=Kind.TAG, events=["image.tag"]),
    a_policy("p", "container.privileged", subject=Kind.CONTAINER, events=["container.create"]),
    a_policy("p", "host.images > 1000", subject=Kind.HOST, events=["image.tag"]),
    a_policy("p", "image.size > 1", events=["image.tag"]),
    a_policy("p", "image.in_use == false", select="image.size > 1", events=["image.tag"]),
    a_policy("p", "image.recoverable == false", events=["image.tag"]),  # which nobody knows
]


@pytest.mark.parametrize("edited", EDITED, ids=lambda policy: f"{policy.subject} {policy.when.source}")
@pytest.mark.parametrize("is_restart", [False, True])
def test_a_finding_ends_when_its_name_means_something_else(tmp_path: Path, edited: Policy, *, is_restart: bool) -> None:
    def start(host: Host, *given: Policy) -> None:
        host.engine.put(an_image("app", "app:1"))
        host.engine.run(a_container("web", "other:1", "other"))
        host.start(*given)

    def go_on(host: Host) -> None:
        host.engine.name("app:1", "app:2")
        host.settle()
        assert [line["why"] for line in host.logged("finding.resolved")] == ["policy_changed"]
        kinds = {finding.result.ref.kind for finding in host.findings.open()}
        assert kinds <= {edited.subject}
        texts = {finding.result.definition for finding in host.findings.open()}
        assert texts <= {edited.definition}

    with Host(tmp_path) as host:
        start(host, FORMER)
        assert host.open_findings() == [("p", "docker.io/library/app:1")]
        if not is_restart:
            host.use(edited)
            go_on(host)
    with Host(tmp_path) as host:
        start(host, edited)
        if is_restart:
            go_on(host)
        else:
            assert "policy_changed" not in [line["why"] for line in host.logged("finding.resolved")]


def test_a_finding_of_an_edited_policy_has_not_held_yet(host: Host) -> None:
    edited = a_policy("p", "image.size > 1", for_seconds=HOUR, every_seconds=60, mode=Mode.ENFORCE, action="remove")
    host.engine.put(an_image("app", "app:1"))
    host.start(a_policy("p", UNUSED, for_seconds=HOUR, every_seconds=60))
    host.ticks.pass_(2 * HOUR)
    host.use(edited)
    host.run_job("p")
    assert (host.outcomes(), host.open_findings()) == ([], [])
    host.ticks.pass_(HOUR + 1)
    host.run_job("p")
    assert host.engine.removals


def test_a_question_about_an_object_ends_when_its_name_means_another_kind(host: Host) -> None:
    host.engine.put(an_image("app", "app:1", digests=(digest_of("app", "app"),)))
    host.registry.reason = "unauthorized"
    host.start(a_policy("p", "image.recoverable == false", every_seconds=60))
    host.run_job("p")
    assert host.findings.unknown()
    host.use(a_policy("p", "tag.name == 'x'", subject=Kind.TAG))
    host.connect()  # which asks again
    host.settle()
    assert host.findings.unknown() == {}


def test_a_job_of_former_policies_starts_no_run_of_one_without_a_schedule(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start(REMOVE._replace(trigger=TriggerSpec(events=frozenset({"image.new"}))))
    host.ticks.pass_(DAY)
    host.run_job("old-images")
    assert (host.outcomes(), host.engine.removals) == ([], [])


def test_what_a_run_found_until_a_reload_is_reported_and_the_run_is_done_again(host: Host) -> None:
    host.engine.put(an_image("app", "app:latest"), an_image("b", "b:1", digests=(digest_of("b", "b"),)))
    host.start(LATEST)
    asks = a_policy("asks", "tag.name == 'new' || registry.state == 'drift'", subject=Kind.TAG, every_seconds=60)
    host.registry.slow = True
    host.use(LATEST, asks)
    host.engine.name("b:1", "b:new")
    host.run_job("asks")
    host.use(LATEST, asks)
    assert ("asks", "docker.io/library/b:new") in host.open_findings()
    assert host.value("job_last_success_timestamp_seconds", policy="asks") is None
    host.registry.answer_all()
    host.settle()
    assert host.value("job_last_success_timestamp_seconds", policy="asks")
    host.stop()
    host.ledger.open_to_read()
    opened = {(finding.result.policy, finding.result.name) for finding in host.ledger.open_findings()}
    assert opened == set(host.open_findings())


# -- faults of our own ---------------------------------------------------------------------------------------

NEVER = 1e30  # no calendar has that year: whatever reads such a date fails


def test_an_object_that_cannot_be_judged_for_our_own_fault_is_an_error_and_the_others_are_judged(host: Host) -> None:
    names = [f"app{number}:1" for number in range(150)]  # more than are judged one by one
    host.engine.put(*(an_image(name, name) for name in names), an_image("bad", "bad:1", created_at=NEVER))
    old = a_policy("old", "image.created > timestamp('1990-01-01T00:00:00Z')", events=["image.tag"])
    large = a_policy("large", "image.size > 1", events=["image.tag"])
    host.start(old, large)
    assert host.died is None
    assert len(host.open_findings()) == 150 + 151
    assert host.value("evaluations_total", policy="old", result="error", cause="startup") == 1
    assert host.value("unknown", policy="old", reason="error") == 1
    [line] = host.logged("policy.error")
    assert (line["policy"], line["name"]) == ("old", "docker.io/library/bad:1")
    assert (host.value("errors_total", stage="judge") or 0) >= 1
    host.engine.name("bad:1", "bad:2")
    host.settle()
    assert host.died is None
    told = [line for line in host.logged("stage.failed") if line["stage"] == "judge"]
    assert len(told) == 1  # however often it happens


def test_an_object_that_cannot_be_looked_at_for_our_own_fault_hides_no_other(host: Host) -> None:
    host.engine.put(an_image("app", "app:1"))
    host.start(LATEST)
    host.engine.errors["container", a_container("bad").id] = KeyError("State")
    host.engine.run(a_container("bad"))
    host.engine.name("app:1", "app:latest")
    host.settle()
    assert host.open_findings() == [("no-latest", "docker.io/library/app:latest")]
    assert host.value("errors_total", stage="collect") == 1
    [line] = host.logged("run.error")
    assert "KeyError" in line["error"]


def test_an_object_that_cannot_be_planned_for_our_own_fault_stays_and_the_others_go(host: Host) -> None:
    for network in (replace(a_network("bad"), labels=None), a_network("good")):  # type: ignore[arg-type]
        host.engine.add_network(network)
    host.start(a_policy("p", "!network.in_use", subject=Kind.NETWORK, every_seconds=60, action="remove"))
    host.ticks.pass_(DAY)
    host.run_job("p")
    assert sorted(host.outcomes()) == [("audited", "audit"), ("failed", "error")]
    assert host.value("errors_total", stage="plan") == 1


def test_an_object_on_which_acting_fails_for_our_own_fault_stays_and_the_others_go(host: Host) -> None:
    for name in ("bad", "good"):
        host.engine.add_network(a_network(name))
    unused = a_policy(
        "p", "!network.in_use", subject=Kind.NETWORK, every_seconds=60, mode=Mode.ENFORCE, action="remove"
    )
    host.start(unused)
    host.engine.errors["network", a_network("bad").id] = KeyError("Name")
    host.ticks.pass_(DAY)
    host.run_job("p")
    assert ("failed", "error") in host.outcomes()
    assert [network.name for network in host.engine._networks.values()] == ["bad"]
    assert host.value("errors_total", stage="execute") == 1


# -- reports -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("broken"), KeyError("x"), DockwardenError("said already")])
def test_what_a_sink_raises_is_counted_and_costs_no_other_sink_a_report(host: Host, error: Exception) -> None:
    host.engine.put(an_image("app", "app:latest"))
    host.start(LATEST)
    host.failing.error = error
    host.engine.tag(image_id("app"), "docker.io/library/other:latest")
    host.settle()
    host.failing.error = None
    host.run_job("nobody")
    assert host.value("errors_total", stage="report") == 1
    assert host.value("findings", policy="no-latest", severity="medium") == 2
    assert len(host.logged("finding.opened")) == 2
    host.stop()
    host.ledger.open_to_read()
    assert len(host.ledger.open_findings()) == 2
    told = [line for line in host.logged("run.unreported") if line["log_level"] == "error"]
    assert len(told) == (not isinstance(error, DockwardenError))

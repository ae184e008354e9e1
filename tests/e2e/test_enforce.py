"""Enforcement from outside: what is removed, what never is, and what the operator is told of both."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import full, policy
from tests.lab import images
from tests.lab.images import ImageSpec, rootfs

if TYPE_CHECKING:
    from tests.e2e.conftest import Start
    from tests.e2e.harness import Daemon
    from tests.lab.engine import LabEngine
    from tests.lab.registry import LabRegistry

PRUNE = "prune-dangling"
ENFORCED: dict[str, object] = {
    "modes": {PRUNE: "enforce"},
    "params": {PRUNE: {"older_than": "0s"}},
    "triggers": {PRUNE: {"every": "5s"}},
}


def nameless(engine: LabEngine, label: str, **labels: str) -> str:
    """One more image without a name; its ID."""
    # Big enough that the disk, which others use as well, shows that it went.
    spec = ImageSpec(layers=(rootfs({"label": label, "bulk": os.urandom(2_000_000)}),), labels={"e2e": label, **labels})
    engine.load(spec)
    (found,) = engine.client().images(filters={"label": f"e2e={label}"})
    return str(found["Id"])


def ids(engine: LabEngine) -> set[str]:
    """Every image that the engine has."""
    return {image["Id"] for image in engine.client().images()}


@pytest.mark.slow
def test_nameless_old_images_go_and_nothing_else(empty_engine: LabEngine, registry: LabRegistry, start: Start) -> None:
    engine = empty_engine
    digest = registry.push("e2e/pinned", "1", ImageSpec(labels={"e2e": "pinned"}))
    pinned = f"{registry.host}/e2e/pinned@{digest}"
    engine.docker("pull", "--quiet", pinned)
    registry.push("e2e/replaced", "1", ImageSpec(labels={"e2e": "replaced"}))
    engine.docker("pull", "--quiet", f"{registry.host}/e2e/replaced:1")
    used = nameless(engine, "used")
    engine.docker("create", "--name=never-started", used)
    engine.load(*(ImageSpec(tags=(f"e2e/filler{i}:1",), labels={"e2e": f"filler{i}"}) for i in range(8)))
    old = [nameless(engine, "old 1"), nameless(engine, "old 2")]
    nameless(engine, "protected", **{"dockwarden.protect": ""})
    settings = {**ENFORCED, "minimum_stay": "1h"}
    daemon = start(engine, [PRUNE], settings=settings).ready()
    registry.push("e2e/replaced", "1", ImageSpec(labels={"e2e": "replacement"}))
    replaced = str(engine.client().inspect_image(f"{registry.host}/e2e/replaced:1")["Id"])
    engine.docker("pull", "--quiet", f"{registry.host}/e2e/replaced:1")
    before = ids(engine)
    superseded = [*old, *({replaced} & before)]  # some engines drop an image that a pull replaces at once

    # At first everything is too young ...
    for each in superseded:
        daemon.wait("action.refused", policy=PRUNE, id=each, reason="too_young")
    assert ids(engine) == before
    assert daemon.end() == 0
    daemon.pass_time(7200)
    young = nameless(engine, "young")
    mark = daemon.mark
    daemon.restart()

    # ... and hours later only what came in the meantime is.
    for each in superseded:
        gone = daemon.wait("action.applied", policy=PRUNE, id=each, reason="removed")
        assert each not in old or gone["planned_bytes"] > 0  # what replaced shares its layer with others
    daemon.wait("action.refused", after=mark, policy=PRUNE, id=young, reason="too_young")
    daemon.wait("run.completed", after=mark, job=PRUNE, steps=2 + len(superseded))
    assert ids(engine) == before - set(superseded) | {young}
    assert engine.client().inspect_image(pinned)
    assert used in ids(engine)

    count = {"policy": PRUNE, "action": "remove"}
    daemon.until_metric(len(superseded), "dockwarden_actions_total", outcome="applied", **count)
    assert daemon.total("dockwarden_actions_total", **count, outcome="failed") == 0
    assert daemon.value("dockwarden_refusals_total", policy=PRUNE, reason="protected") >= 1
    done = {row["object_id"]: row for row in daemon.api("actions") if row["outcome"] == "applied"}
    assert set(done) == set(superseded)
    left = {daemon_name(young), daemon_name(protected_id(engine))}
    daemon.until(lambda: daemon.findings(PRUNE) == left, f"{left} to be found")


def protected_id(engine: LabEngine) -> str:
    (found,) = engine.client().images(filters={"label": "dockwarden.protect"})
    return str(found["Id"])


def daemon_name(identifier: str) -> str:
    return identifier.removeprefix("sha256:")[:12]


def test_audit_limits_and_tags_in_use(any_engine: LabEngine, start: Start) -> None:
    """Three policies, each of which may not do what it was asked for."""
    engine = any_engine
    engine.load(*(replace(images.busybox(f"e2e/app:{i}"), labels={"e2e": str(i)}) for i in range(3)))
    engine.docker("tag", "e2e/app:0", "e2e/app:also-0")
    engine.docker("create", "--name=made-from-0", "e2e/app:0")
    dangling = {nameless(engine, f"dangling {i}") for i in range(4)}
    before, tags = ids(engine), engine.docker("images", "--format", "{{.Repository}} {{.Tag}} {{.ID}}")
    untag = policy(
        "old-tags", "tag", "tag.name in ['0', 'also-0']", mode="enforce", action="untag",
        trigger={"every": "5s"}, limits={"max_percent": 100},
    )  # fmt: skip
    audit = policy(
        "would-remove", "image", "image.dangling", action="remove", trigger={"every": "5s"},
        limits={"max_percent": 100},
    )  # fmt: skip
    settings = {**ENFORCED, "minimum_stay": "0s"}
    settings["limits"] = {PRUNE: {"over": "refuse"}}
    daemon = start(engine, [PRUNE, untag, audit], settings=settings).ready()

    for policy_name in (PRUNE, "old-tags", "would-remove"):
        daemon.wait("run.completed", job=policy_name)

    # 4 of 7 images are more than a quarter: nothing is done, and one error of each run says so.
    [refused] = daemon.said("run.error", run=daemon.wait("run.completed", job=PRUNE)["run"])
    assert "4 of 7 objects are more than limits.max_percent 25 %" in refused["error"]
    assert {line["error"] for line in daemon.said("run.error")} == {refused["error"]}
    assert daemon.total("dockwarden_actions_total", policy=PRUNE, outcome="applied") == 0
    in_fours(daemon, "dockwarden_refusals_total", policy=PRUNE, reason="limits")
    assert daemon.total("dockwarden_job_last_success_timestamp_seconds", policy=PRUNE) == 0

    # Audit says what it would do.
    assert {line["id"] for line in daemon.said("action.audited", policy="would-remove")} == dangling
    in_fours(daemon, "dockwarden_actions_total", policy="would-remove", outcome="audited")
    assert daemon.total("dockwarden_actions_total", policy="would-remove", outcome="applied") == 0
    assert ids(engine) == before

    # A tag that a container was created from stays, another one goes.
    used = daemon.wait("action.refused", policy="old-tags", name=full("e2e/app:0"))
    assert (used["reason"], used["detail"]) == ("in_use", "used by made-from-0")
    daemon.wait("action.applied", policy="old-tags", name=full("e2e/app:also-0"), reason="untagged")
    after = engine.docker("images", "--format", "{{.Repository}} {{.Tag}} {{.ID}}")
    assert set(tags.splitlines()) - set(after.splitlines()) == {
        line for line in tags.splitlines() if line.startswith("e2e/app also-0 ")
    }


def in_fours(daemon: Daemon, name: str, **labels: str) -> None:
    """Each run counts four, and there may have been several."""
    assert daemon.value(name, **labels)
    daemon.until(lambda: daemon.value(name, **labels) % 4 == 0, f"{name} {labels} to be of whole runs")


def test_audit_flag_caps_everything(any_engine: LabEngine, start: Start) -> None:
    engine = any_engine
    each = nameless(engine, "kept")
    settings = {**ENFORCED, "minimum_stay": "0s"}
    daemon = start(engine, [PRUNE], arguments=["--audit"], settings=settings).ready()
    assert {row["mode"] for row in daemon.api("policies")} == {"audit"}
    daemon.wait("action.audited", policy=PRUNE, id=each)
    daemon.wait("run.completed", job=PRUNE)
    assert ids(engine) == {each}


@pytest.mark.slow
def test_host_whose_probes_fill_the_engines_memory_is_cleaned_all_the_same(any_engine: LabEngine, start: Start) -> None:
    engine = any_engine
    engine.load(images.busybox("e2e/probed:1"))
    engine.load(ImageSpec(labels={"e2e": "nameless"}))
    container = engine.docker("run", "--detach", "e2e/probed:1", "sleep", "1000000")
    old = policy(
        "old", "image", "image.dangling && image.known_for > duration('20s')", mode="enforce", action="remove",
        trigger={"every": "5s"}, limits={"max_objects": 100, "max_percent": 100},
    )  # fmt: skip
    daemon = start(engine, [old], settings={"minimum_stay": "0s"}).ready()
    client = engine.client()
    for _ in range(100):  # of each, the engine tells three times, and remembers 256
        client.exec_start(client.exec_create(container, ["true"])["Id"])
    daemon.wait("action.applied", policy="old")
    assert not daemon.said("action.skipped", policy="old")

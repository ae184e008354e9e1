"""Ends, crashes and reloads of the daemon itself: nothing is lost, nothing is done twice, nothing hangs."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.commands import command
from tests.e2e.harness import full, policy, truth, write_policies
from tests.lab import images
from tests.lab.images import ImageSpec
from tests.lab.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Start
    from tests.e2e.harness import Daemon
    from tests.lab.engine import LabEngine

LATEST = "no-latest-tag"
ALL = {"max_objects": 1000, "max_percent": 100}
GONE_AT_ONCE = policy(
    "no-nameless", "image", "image.dangling", mode="enforce", action="remove",
    trigger={"events": ["image.new"], "every": "5s"}, limits=ALL,
)  # fmt: skip
LONG = {"engine": {"timeout": "10m", "event_window": "10m"}}
"""Longer than any test waits: who ends before has not waited for the engine."""
CRASHES = 2


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signal_ends_it_quickly(graph_engine: LabEngine, start: Start, how: signal.Signals, code: int) -> None:
    daemon = start(graph_engine, [LATEST], settings=LONG).ready()
    assert daemon.end(how) == code
    assert daemon.said("daemon.stopping", signal=how.name)


def test_signal_ends_it_quickly_without_an_engine(start: Start) -> None:
    daemon = start("unix:///nowhere/docker.sock", [LATEST], settings=LONG)
    daemon.wait("engine.unreachable")
    assert daemon.end() == 0


def test_signal_ends_it_quickly_while_the_engine_hangs(graph_engine: LabEngine, start: Start) -> None:
    graph_engine.load(ImageSpec(tags=("e2e/hang:1",)))
    daemon = start(graph_engine, [LATEST], settings=LONG).ready()
    os.kill(daemon.process.pid, signal.SIGSTOP)
    graph_engine.docker("tag", "e2e/hang:1", "e2e/hang:latest")  # the event waits in the daemon's socket
    graph_engine.pause()
    try:
        os.kill(daemon.process.pid, signal.SIGCONT)
        daemon.until_metric(1, "dockwarden_events_received_total", action="tag")  # so the worker asks, in vain
        assert daemon.end() == 0
    finally:
        graph_engine.resume()


@pytest.mark.slow
def test_findings_and_ages_survive_a_restart(any_engine: LabEngine, start: Start) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/kept:latest",)))
    aged = policy("aged", "image", "image.known_for > duration('4s')", trigger={"every": "5s"})
    daemon = start(engine, [LATEST, aged]).ready()
    daemon.wait("finding.opened", policy="aged")
    before = {row["policy"]: row["opened_at"] for row in daemon.api("findings")}
    assert set(before) == {LATEST, "aged"}
    assert daemon.end() == 0

    daemon.restart()
    daemon.ready()
    assert {row["policy"]: row["opened_at"] for row in daemon.api("findings")} == before
    assert len(daemon.said("finding.opened", policy="aged")) == 1  # a forgotten age would have resolved it first
    assert daemon.said("finding.resolved") == []
    assert daemon.value("dockwarden_findings", policy="aged") == 1

    # Nor does a start without an engine, as when both boot together, take the ages away.
    assert daemon.end() == 0
    lonely = start(
        "unix:///nowhere/docker.sock", [LATEST, aged], name="lonely", settings={"state_dir": str(daemon.state)}
    )
    lonely.wait("engine.unreachable")
    assert lonely.end() == 0
    daemon.restart()
    daemon.ready()
    assert daemon.value("dockwarden_findings", policy="aged") == 1
    assert daemon.said("finding.resolved") == []

    # What goes while nobody looks is resolved at the next start.
    assert daemon.end() == 0
    engine.docker("image", "rm", "e2e/kept:latest")
    daemon.restart()
    for name in before:
        daemon.wait("finding.resolved", policy=name, why="gone")
    daemon.until(lambda: daemon.api("findings") == [], "an empty list")


def test_crash_makes_ages_younger_and_keeps_findings(any_engine: LabEngine, start: Start) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/kept:latest",)))
    aged = policy("aged", "image", "image.known_for > duration('4s')", trigger={"every": "5s"})
    daemon = start(engine, [LATEST, aged]).ready()
    daemon.wait("finding.opened", policy="aged")
    opened_at = {row["policy"]: row["opened_at"] for row in daemon.api("findings")}
    daemon.kill()

    daemon.restart()
    daemon.ready()
    now = {row["policy"]: row["opened_at"] for row in daemon.api("findings")}
    assert now[LATEST] == opened_at[LATEST]
    if now.get("aged") != opened_at["aged"]:  # what it lost of its memory it also says; soon it is old again
        daemon.wait("finding.resolved", policy="aged")


def ledger(daemon: Daemon, query: str) -> list[tuple[str, str]]:
    """What the ledger says, read beside the daemon."""
    with contextlib.closing(sqlite3.connect(f"file:{daemon.state}/ledger.db?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # integration/test_safety.py has both
def test_crashes_amid_removals_lose_no_record_and_nothing_else(empty_engine: LabEngine, start: Start) -> None:
    engine = empty_engine
    chance = random.Random()
    points: list[str] = []
    engine.load(
        images.busybox("e2e/keep:used"),
        *(ImageSpec(tags=(f"e2e/keep:{i}",), labels={"keep": str(i)}) for i in range(5)),
        ImageSpec(labels={"dockwarden.protect": "yes"}),
    )
    engine.docker("create", "--name=user", "e2e/keep:used")
    kept = truth(engine)
    count = 10
    daemon = start(engine, [GONE_AT_ONCE], settings={"minimum_stay": "0s"})
    with ThreadPoolExecutor() as pool:
        for crash in range(CRASHES):
            daemon.ready()
            moment = "SELECT id, name FROM actions" + chance.choice(("", " WHERE outcome IS NOT NULL"))
            before = len(ledger(daemon, moment))
            loading = pool.submit(engine.load, *(nameless(crash, i) for i in range(count)))
            threshold = before + chance.randrange(1, count // 2)
            until(lambda: len(ledger(daemon, moment)) >= threshold, moment, pause=0.001, most=0)  # noqa: B023
            daemon.kill()
            loading.result()
            points.append(f"{moment}: {threshold}")
            daemon.restart()

    total = CRASHES * count
    daemon.ready()
    daemon.until(
        lambda: len(ledger(daemon, "SELECT DISTINCT key, 1 FROM actions WHERE outcome = 'applied'")) == total,
        "each image to have a record of its removal",
    )
    daemon.until_true_to(engine)
    assert truth(engine) == kept, points
    assert [row for row in daemon.api("actions") if row["outcome"] is None] == []
    assert daemon.end() == 0
    assert ledger(daemon, "SELECT key, name FROM actions WHERE outcome IS NULL") == [], points
    applied = Counter(key for key, _ in ledger(daemon, "SELECT key, name FROM actions WHERE outcome = 'applied'"))
    assert set(applied.values()) == {1}, "no removal is recorded twice"
    assert "dockwarden.invalid" not in str(engine.client().images())

    # What went around the crashes comes back like everything else.
    config = ("--config", daemon.config)
    listed = json.loads(command("undo", *config, "--list", "-o", "json", docker_host=engine.host).out)
    assert {row["object_id"] for row in listed} == set(applied), points
    for run in {row["run"] for row in listed}:
        undone = command("undo", *config, run, docker_host=engine.host)
        assert undone.code == 0, undone.out
    assert {image["Id"] for image in engine.client().images()} >= set(applied)
    assert ledger(daemon, "SELECT archive, 1 FROM actions WHERE undoable_seconds IS NOT NULL") == []


def nameless(crash: int, i: int) -> ImageSpec:
    """An image that is there to be removed."""
    return ImageSpec(labels={"e2e.crash": f"{crash} {i}"})


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # the store has no part in it
def test_the_end_amid_many_removals_leaves_none_open_and_begins_no_other(empty_engine: LabEngine, start: Start) -> None:
    engine, count = empty_engine, 80
    engine.load(*(ImageSpec(tags=(f"e2e/gone:{i}",), labels={"n": str(i)}) for i in range(count)))
    gone = policy("gone", "image", "true", mode="enforce", action="remove", trigger={"every": "5s"}, limits=ALL)
    daemon = start(engine, [gone], settings={"minimum_stay": "0s"}).ready()
    until(lambda: ledger(daemon, "SELECT id, 1 FROM actions WHERE outcome = 'applied'"), "a removal", most=0)
    assert daemon.end() == 0
    assert daemon.said("action.skipped", reason="ending")
    assert ledger(daemon, "SELECT key, name FROM actions WHERE outcome IS NULL") == []
    applied = ledger(daemon, "SELECT key, name FROM actions WHERE outcome = 'applied'")
    assert len(engine.client().images()) == count - len(applied) > 0
    assert len(list((daemon.state / "archives").iterdir())) == len(applied)


def test_a_name_that_means_another_kind_of_object_after_a_reload(any_engine: LabEngine, start: Start) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/app:1",)))
    daemon = start(engine, [policy("p", "image", "true", trigger={"events": ["image.tag"]})]).ready()
    daemon.wait("finding.opened", policy="p", name=full("e2e/app:1"))
    write_policies(daemon.policy_file, policy("p", "tag", "tag.name == '2'", trigger={"events": ["image.tag"]}))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait("finding.resolved", policy="p", why="policy_changed")
    engine.docker("tag", "e2e/app:1", "e2e/app:2")
    daemon.wait("finding.opened", policy="p", name=full("e2e/app:2"))
    assert daemon.said("stage.failed") == daemon.said("daemon.thread_failed") == []


def test_reload_takes_good_policies_and_keeps_the_old_instead_of_bad_ones(any_engine: LabEngine, start: Start) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/app:1",)))
    first = policy("first", "tag", "tag.name == '1'", trigger={"every": "1h"})
    second = policy("second", "tag", "tag.name == '1'", trigger={"every": "2h"})
    daemon = start(engine, [first]).ready()
    daemon.wait("finding.opened", policy="first")
    hashes = [sample.labels["sha256"] for sample in daemon.samples() if sample.name == "dockwarden_config_info"]
    loaded_at = daemon.value("dockwarden_config_last_reload_success_timestamp_seconds")
    assert daemon.value("dockwarden_config_last_reload_successful") == 1

    write_policies(daemon.policy_file, second)
    daemon.write_settings(resync="5h", limits={"second": {"max_objects": 1}})
    daemon.process.send_signal(signal.SIGHUP)

    assert daemon.wait("config.waiting")["settings"] == ["resync"]
    daemon.wait("config.reloaded", policies=1)
    daemon.wait("finding.resolved", policy="first", why="policy removed")
    daemon.wait("finding.opened", policy="second")
    daemon.until(lambda: [row["name"] for row in daemon.api("policies")] == ["second"], "the new policy")
    now = [sample.labels["sha256"] for sample in daemon.samples() if sample.name == "dockwarden_config_info"]
    assert len(now) == 1
    assert now != hashes
    assert daemon.value("dockwarden_config_last_reload_success_timestamp_seconds") > loaded_at
    assert daemon.total("dockwarden_job_interval_seconds", policy="second") == 7200
    names = {sample.labels["policy"] for sample in daemon.samples() if sample.name == "dockwarden_policy_info"}
    assert names == {"second"}

    write_policies(daemon.policy_file, {**second, "when": "tag.nmae == '1'"}, {**first, "severity": "fatal"})
    daemon.process.send_signal(signal.SIGHUP)

    refused = daemon.wait("config.reload_failed")
    assert refused["level"] == "error"
    problems = " ".join(refused["problems"])
    assert f"{daemon.policy_file}:" in problems
    assert "tag.nmae" in problems
    assert "fatal" in problems
    daemon.until_metric(0, "dockwarden_config_last_reload_successful")
    assert [row["name"] for row in daemon.api("policies")] == ["second"]
    engine.docker("tag", "e2e/app:1", "e2e/other:1")  # and it goes on judging
    daemon.until_true_to(engine)
    assert daemon.findings("second") == {full("e2e/app:1")}
    assert daemon.get("/readyz").status == 200

    write_policies(daemon.policy_file, second)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until_metric(1, "dockwarden_config_last_reload_successful")


@pytest.mark.slow
def test_limits_and_protection_of_the_host_change_with_a_reload(any_engine: LabEngine, start: Start) -> None:
    """Each of them for the next run, and what alerts watch goes on from where it was."""
    any_engine.load(*(ImageSpec(tags=(f"e2e/gone:{i}",), labels={"n": str(i)}) for i in range(4)))
    one = {"max_objects": 1, "max_percent": 100}
    gone = policy("gone", "image", "true", mode="enforce", action="remove", trigger={"every": "5s"}, limits=one)
    common = {"minimum_stay": "0s", "schedule": {"jitter": 0}}
    daemon = start(any_engine, [gone], settings=common).ready()

    def left() -> set[str]:
        tags = {tag for image in any_engine.client().images() for tag in image["RepoTags"]}
        return {tag.rpartition(":")[2] for tag in tags}

    def reload(**changed: object) -> int:
        daemon.write_settings(**common, **changed)
        mark = daemon.mark
        daemon.process.send_signal(signal.SIGHUP)
        return daemon.lines.index(daemon.wait("config.reloaded", after=mark))

    daemon.wait("run.error")
    refused = daemon.total("dockwarden_refusals_total", policy="gone", reason="limits")
    assert (left(), refused > 0) == (set("0123"), True)
    assert daemon.total("dockwarden_job_last_success_timestamp_seconds", policy="gone") == 0

    # It is in order for whoever looks after the host that a run takes the first, but not what he protects.
    mark = reload(limits={"gone": {"over": "take_first"}}, protect={"images": ["e2e/gone:0"], "tags": ["*/gone:2"]})
    first = daemon.wait("action.applied", after=mark)
    mark = daemon.lines.index(first)  # a run of the former policies may have come to its end after the reload
    daemon.wait("action.applied", after=mark, name=full("e2e/gone:1"))
    daemon.wait("action.applied", after=mark, name=full("e2e/gone:3"))
    kept = {full("e2e/gone:0"), full("e2e/gone:2")}
    daemon.until(
        lambda: kept == {line["name"] for line in daemon.said("action.refused", after=mark, reason="protected")},
        "what is protected to be told",
    )
    assert left() == set("02")
    assert daemon.said("run.error", after=mark) == []
    assert daemon.total("dockwarden_refusals_total", policy="gone", reason="limits") >= refused
    assert daemon.total("dockwarden_job_last_success_timestamp_seconds", policy="gone") > 0

    mark = reload(protect={"images": ["e2e/gone:0"]})
    daemon.wait("action.applied", after=mark, name=full("e2e/gone:2"))
    reload(allow="audit")
    assert left() == {"0"}


def test_clients_take_no_more_than_half_of_the_files_that_may_be_open(start: Start) -> None:
    few = ("prlimit", "--nofile=64")
    daemon = start("unix:///nowhere/docker.sock", [LATEST], under=few)
    daemon.wait("engine.unreachable")
    with contextlib.ExitStack() as crowd:
        for _ in range(80):
            crowd.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))
        assert daemon.get("/healthz").status == 200
    assert len([line for line in daemon.lines if "Too many open files" in str(line)]) < 10  # a burst


def deep(folder: Path) -> None:
    """Folders in folders, deeper than anything that calls itself for each of them can go."""
    path = folder
    for _ in range(1500):
        path /= "d"
    subprocess.run(["mkdir", "-p", str(path)], check=True)


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")


def loop(folder: Path) -> None:
    (folder / "loop.yaml").symlink_to("loop.yaml")


def kernel_log(folder: Path) -> None:
    (folder / "log.yaml").symlink_to("/proc/kmsg")


def gone(folder: Path) -> None:
    (folder.parent / "other.yaml").unlink()


def test_reload_that_finds_no_files_among_policies_keeps_the_old_ones(
    graph_engine: LabEngine, start: Start, tmp_path: Path
) -> None:
    policies, other = tmp_path / "policies", tmp_path / "other.yaml"

    def put() -> None:
        write_policies(policies / "only.yaml", policy("only", "image", "true"))
        write_policies(other, policy("other", "image", "true"))

    put()
    daemon = start(graph_engine, [], settings={"policies": [str(policies), str(other)]}).ready()
    for odd in (deep, fifo, loop, kernel_log, gone):
        mark = daemon.mark
        odd(policies)
        daemon.process.send_signal(signal.SIGHUP)
        problems = " ".join(daemon.wait("config.reload_failed", after=mark)["problems"])
        assert str(other) in problems or odd is not gone
        daemon.until_metric(0, "dockwarden_config_last_reload_successful")
        assert [row["name"] for row in daemon.api("policies")] == ["only", "other"]
        assert daemon.get("/healthz").status == 200
        subprocess.run(["rm", "-rf", str(policies)], check=True)  # deeper than Python can go
        put()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait("config.reloaded", after=mark)


def test_many_reloads_become_few_and_the_end_overtakes_them(graph_engine: LabEngine, start: Start) -> None:
    daemon = start(graph_engine, [policy("only", "image", "true")]).ready()
    for _ in range(1000):
        daemon.process.send_signal(signal.SIGHUP)
    daemon.wait("config.reloaded")
    write_policies(daemon.policy_file, policy("other", "image", "true"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: [row["name"] for row in daemon.api("policies")] == ["other"], "the last state of the file")
    assert len(daemon.said("config.reloaded")) < 100
    # Whoever compiles when the interpreter ends would take the process with it, by SIGABRT.
    write_policies(daemon.policy_file, *(policy(f"p{i}", "image", f"image.size > {10**6 + i}") for i in range(60)))
    for _ in range(1000):
        daemon.process.send_signal(signal.SIGHUP)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.ended() == 0

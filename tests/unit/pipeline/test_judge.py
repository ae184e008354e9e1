"""Judging many objects: what is dear is gathered last and once, and the book of findings stays true."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dockwarden.errors import AnswerError, EngineError, EngineUnavailableError
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.gather import INSPECT, REGISTRY, Gatherer, Pace
from dockwarden.model import Change, Finding, ImageStore, Kind, Policy, PolicyException, Ref, Severity, Status
from dockwarden.pipeline.judge import Judge, Sweep
from dockwarden.policy.findings import Findings
from dockwarden.ports import Ask, Disk, Reply, Usage
from tests.builders import (
    NOW,
    Ticks,
    a_container,
    a_policy,
    a_result,
    a_volume,
    an_engine,
    an_image,
    an_inventory,
    details,
    digest_of,
    image_id,
    program,
)
from tests.fakes import FakeEngine, FakeRegistry
from tests.tables import each

if TYPE_CHECKING:
    from collections.abc import Iterable

APP = Ref(Kind.IMAGE, image_id("app"))
APP_TAG = Ref(Kind.TAG, "docker.io/library/app:1")
AS_ROOT = a_policy("as-root", "image.user == ''")
DRIFT = a_policy("drift", "registry.digest != tag.digest", subject=Kind.TAG)
INVENTORY_ONLY = 0


class Bench:
    """A judge over an inventory that a full list has filled."""

    def __init__(self, ticks: Ticks | None = None) -> None:
        self.engine = FakeEngine(ImageStore.GRAPH)
        self.registry = FakeRegistry()
        self.inventory = an_inventory(ticks)
        self.collector = Collector(self.engine, self.inventory)
        self.measured: list[str] = []
        self.disk: Disk | None = Disk(90.0, 10, 5.0)
        self.woken: list[bool] = []
        self.gatherer = Gatherer(
            self.inventory, self.collector, self.registry, self._measure, lambda: self.woken.append(True), jitter=0.05
        )
        self.findings = Findings()
        self.judge = Judge(self.inventory, self.gatherer, self.findings)

    def _measure(self, data_root: str) -> Disk | None:
        self.measured.append(data_root)
        return self.disk

    def look(self) -> None:
        self.collector.reconcile()
        self.engine.calls.clear()

    def sweep(
        self, work: Iterable[tuple[Ref, tuple[Policy, ...]]], *, depth: int = REGISTRY, keep_all: bool = False
    ) -> Sweep:
        sweep = Sweep()
        for waits in self.judge.sweep(work, sweep, depth=depth, now=NOW, keep_all=keep_all):
            if waits:
                self.registry.answer_all()
        return sweep

    def all(self, *policies: Policy, depth: int = REGISTRY, keep_all: bool = False) -> Sweep:
        """Judge every object by the policies that are about its kind."""
        work = [
            (ref, tuple(policy for policy in policies if policy.subject is kind))
            for kind in Kind
            for ref in self.inventory.all(kind)
        ]
        return self.sweep(work, depth=depth, keep_all=keep_all)

    def statuses(self, sweep: Sweep) -> dict[tuple[str, str], int]:
        return {(policy, status.value): count for (policy, status), count in sweep.judged.items()}


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- results ---------------------------------------------------------------------------------------------------


def test_each_object_is_judged_by_each_of_its_policies(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"), an_image("b", "b:1"))
    bench.look()
    sweep = bench.all(a_policy("never", "false"), a_policy("always", "true"), a_policy("out", select="false"))
    assert bench.statuses(sweep) == {("never", "pass"): 2, ("always", "fail"): 2, ("out", "skip"): 2}
    assert Counter(result.policy for result in sweep.opened) == {"always": 2}
    assert sweep.results == sweep.opened


def test_a_finding_has_a_name_a_message_and_evidence(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1", size_bytes=7))
    bench.look()
    [result] = bench.all(a_policy("big", "image.size > 5", severity=Severity.HIGH, message="too big")).opened
    assert (result.name, result.message, result.severity) == ("docker.io/library/app:1", "too big", Severity.HIGH)
    assert result.evidence == {"image.size": 7}
    assert (result.ref, result.status) == (APP, Status.FAIL)


def test_a_scan_keeps_every_result(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    given = (a_policy("never", "false"), a_policy("always", "true"), a_policy("out", select="false"), DRIFT)
    sweep = bench.all(*given, keep_all=True)
    kept = {(result.policy, result.status.value, result.name) for result in sweep.results}
    name = "docker.io/library/app:1"
    assert kept == {
        ("never", "pass", name),
        ("always", "fail", name),
        ("out", "skip", name),
        ("drift", "unknown", name),
    }


def test_an_object_that_is_gone_is_not_judged(bench: Bench) -> None:
    assert bench.sweep([(APP, (AS_ROOT,))]) == Sweep()


def test_a_condition_that_breaks_is_an_error_and_no_finding(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    sweep = bench.all(a_policy("broken", "image.labels.nothing == 'x'"))
    assert bench.statuses(sweep) == {("broken", "error"): 1}
    assert (sweep.opened, sweep.results) == ([], [])
    [trouble] = sweep.troubled
    assert "nothing" in trouble.reason
    assert bench.findings.unknown_counts["broken", "error"] == 1


@each(("labels", "seconds", "counted"), [({}, 3600.0, "pending"), ({"dockwarden.skip": "all"}, 0.0, "excused")])
def test_what_fails_and_is_set_aside_is_no_question_any_more(
    bench: Bench, labels: dict[str, str], seconds: float, counted: str
) -> None:
    bench.engine.put(an_image("app", "app:1", labels=labels))
    bench.look()
    assert bench.statuses(bench.all(a_policy("p", "image.labels.nothing == 'x'"))) == {("p", "error"): 1}
    assert bench.statuses(bench.all(a_policy("p", "true", for_seconds=seconds))) == {("p", counted): 1}
    assert (bench.findings.unknown(), +bench.findings.unknown_counts) == ({}, {})


# -- findings over time ----------------------------------------------------------------------------------------


def test_a_finding_opens_once_and_is_resolved_once(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    unused = a_policy("unused", "!image.in_use")
    assert len(bench.all(unused).opened) == 1
    assert bench.all(unused).opened == []
    bench.engine.run(a_container("web"))
    bench.look()
    [resolved] = bench.all(unused).resolved
    assert (resolved.policy, resolved.ref, resolved.reason) == ("unused", APP, "pass")
    assert bench.all(unused).resolved == []
    assert bench.findings.counts["unused", "medium"] == 0


def test_a_subject_that_is_not_selected_any_more_resolves_its_finding(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    bench.all(a_policy("any", "true"))
    [resolved] = bench.all(a_policy("any", "true", select="image.in_use")).resolved
    assert resolved.reason == "skip"


def test_what_cannot_be_known_keeps_a_finding_as_it_was(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1", digests=(digest_of("app", "old"),)))
    bench.look()
    bench.registry.digests[APP_TAG.key] = "sha256:new"
    assert len(bench.all(DRIFT).opened) == 1
    bench.registry.digests.clear()
    bench.registry.reason = "timeout"
    sweep = bench.all(DRIFT)
    assert (sweep.opened, sweep.resolved, sweep.results) == ([], [], [])
    assert len(sweep.troubled) == 1
    assert len(bench.findings.open()) == 1
    assert bench.all(DRIFT).troubled == [], "the same question again"


def test_a_broken_condition_keeps_a_finding_as_it_was(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    bench.all(a_policy("p", "true"))
    sweep = bench.all(a_policy("p", "image.labels.nothing == 'x'"))
    assert sweep.resolved == []
    assert len(bench.findings.open()) == 1


# -- inspect ---------------------------------------------------------------------------------------------------


def test_what_the_inventory_decides_costs_nothing(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    sweep = bench.all(
        a_policy("absorbed", "image.in_use && image.user == ''"),
        DRIFT._replace(when=a_policy(when="false && registry.digest == ''", subject=Kind.TAG).when),
    )
    assert bench.engine.calls == []
    assert bench.registry.asked == []
    assert all(status is Status.PASS for _, status in sweep.judged)


def test_an_image_is_inspected_once_for_all_its_policies_and_tags(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1", "app:2", inspected=details(user="")))
    bench.engine.run(a_container("web"))
    bench.look()
    policies = [AS_ROOT._replace(name=f"p{n}") for n in range(3)]
    tags = [a_policy(f"t{n}", "image.user == ''", subject=Kind.TAG) for n in range(3)]
    sweep = bench.all(*policies, *tags, a_policy("c", "image.os == 'linux'", subject=Kind.CONTAINER))
    assert bench.engine.calls == [("image", APP.key)]
    assert len(sweep.opened) == 3 + 2 * 3 + 1


def test_an_image_that_cannot_be_inspected_is_unknown_and_stops_nothing(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"), an_image("b", "b:1"))
    bench.look()
    bench.engine.errors["image", APP.key] = AnswerError("image: Size is missing")
    sweep = bench.all(AS_ROOT)
    assert bench.statuses(sweep) == {("as-root", "unknown"): 1, ("as-root", "fail"): 1}
    assert "image.user is not known" in sweep.troubled[0].reason


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("image.user == '' || registry.digest != tag.digest", "fail"),
        ("image.user == '' && registry.digest == tag.digest", "pass"),
        ("image.user == '' || registry.digest == tag.digest", "unknown"),
    ],
)
def test_what_a_dearer_fact_decides_needs_no_cheaper_one(bench: Bench, condition: str, status: str) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    bench.engine.errors["image", APP.key] = AnswerError("image: Size is missing")
    bench.registry.digests["docker.io/library/app:1"] = "sha256:" + "1" * 64
    sweep = bench.all(a_policy("mixed", condition, subject=Kind.TAG))
    assert bench.statuses(sweep) == {("mixed", status): 1}


def test_what_an_exception_is_about_may_be_decided_by_a_dearer_fact_alone(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    bench.engine.errors["image", APP.key] = AnswerError("image: Size is missing")
    bench.registry.digests[APP_TAG.key] = "sha256:" + "1" * 64
    match = program("image.user == '' || registry.digest != tag.digest", Kind.TAG)
    bench.judge.exceptions = [PolicyException("OPS-1", frozenset({"always"}), match, "known")]
    assert bench.statuses(bench.all(a_policy("always", subject=Kind.TAG))) == {("always", "excused"): 1}


def test_what_needs_a_dear_fact_no_more_is_judged_without_it(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    select = "registry.digest == '' || registry.state == 'local'"
    sweep = bench.all(a_policy("mixed", "image.user == ''", select=select, subject=Kind.TAG), depth=INSPECT)
    assert bench.statuses(sweep) == {("mixed", "fail"): 1}


def test_a_sweep_that_may_not_inspect_leaves_the_question_open_without_counting(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    sweep = bench.all(AS_ROOT, depth=INVENTORY_ONLY)
    assert (dict(sweep.judged), sweep.troubled, bench.engine.calls) == ({}, [], [])


@pytest.mark.parametrize("kind", [Kind.IMAGE, Kind.TAG, Kind.CONTAINER])
def test_an_image_that_is_gone_when_it_is_looked_at_closely_is_judged_no_further(bench: Bench, kind: Kind) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.engine.run(a_container("web"))
    bench.look()
    one, two = (a_policy(name, "image.user == ''", subject=kind) for name in ("one", "two"))
    bench.engine.remove("web")
    bench.engine.vanish(APP.key)
    sweep = bench.all(one, two)
    assert sweep.opened == []
    assert not bench.inventory.has(APP)


# -- bases -----------------------------------------------------------------------------------------------------


def test_bases_are_judged_after_all_layers_were_gathered_once(bench: Bench) -> None:
    bench.engine.put(
        an_image("top", "top:1", inspected=details(layers=("a", "b"))),
        an_image("base", "base:1", inspected=details(layers=("a",))),
    )
    bench.look()
    sweep = bench.all(
        a_policy("based", "image.base == 'docker.io/library/base:1'"),
        a_policy("unbased", "!image.base_known"),
    )
    assert sorted((result.policy, result.name) for result in sweep.opened) == [
        ("based", "docker.io/library/top:1"),
        ("unbased", "docker.io/library/base:1"),
    ]
    asked = [(call, image_id(word)) for call in ("image", "history") for word in ("top", "base")]
    assert Counter(bench.engine.calls) == dict.fromkeys(asked, 1)


@pytest.mark.parametrize("size", [0, 5])
@pytest.mark.parametrize("error", [AnswerError("HTTP 500: unexpected EOF"), EngineUnavailableError("it went away")])
def test_bases_are_unknown_while_one_image_cannot_be_inspected_unless_nothing_of_it_is_there(
    bench: Bench, size: int, error: EngineError
) -> None:
    bench.engine.put(
        an_image("odd", "odd:1", inspected=details(), size_bytes=size),
        an_image("top", "top:1", inspected=details(layers=("a", "b"))),
        an_image("base", "base:1", inspected=details(layers=("a",))),
    )
    bench.look()
    bench.engine.errors["image", image_id("odd")] = error
    sweep = bench.all(a_policy("unbased", "!image.is_base"))
    is_known = not size and not isinstance(error, EngineUnavailableError)
    found = {("unbased", "fail"): 1, ("unbased", "unknown"): 1, ("unbased", "pass"): 1}
    assert bench.statuses(sweep) == (found if is_known else {("unbased", "unknown"): 3})


# -- registries ------------------------------------------------------------------------------------------------


def test_a_registry_is_asked_once_for_all_policies_of_a_tag(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1", "app:2"))
    bench.look()
    bench.registry.slow = True
    bench.registry.digests = {APP_TAG.key: "sha256:new", "docker.io/library/app:2": "sha256:new"}
    sweep = bench.all(DRIFT, DRIFT._replace(name="also"))
    asked = Counter((ask.what, ask.reference) for ask in bench.registry.asked)
    assert asked == {("digest", APP_TAG.key): 1, ("digest", "docker.io/library/app:2"): 1}
    assert len(sweep.opened) == 4


def test_all_registries_are_asked_before_any_answer_is_waited_for(bench: Bench) -> None:
    bench.engine.put(*(an_image(f"app{n}", f"app:{n}") for n in range(5)))
    bench.look()
    bench.registry.slow = True
    sweep = Sweep()
    steps = bench.judge.sweep(
        [(ref, (DRIFT,)) for ref in bench.inventory.all(Kind.TAG)], sweep, depth=REGISTRY, now=NOW
    )
    while not next(steps):
        pass
    assert len(bench.registry.asked) == 5
    assert bench.woken == []
    bench.registry.answer_all()
    assert len(bench.woken) == 5
    assert list(steps) == [False] * 5
    assert bench.statuses(sweep) == {("drift", "unknown"): 5}


def test_a_run_at_an_interval_asks_about_each_object_when_its_turn_has_come(bench: Bench) -> None:
    bench.engine.put(*(an_image(f"app{n}", f"app:{n}") for n in range(50)))
    bench.look()
    work = [(ref, (DRIFT,)) for ref in bench.inventory.all(Kind.TAG)]
    sweep, pace = Sweep(), Pace(every_seconds=6 * 3600.0)
    steps = bench.judge.sweep(work, sweep, depth=REGISTRY, now=NOW, pace=pace)
    for minutes in (0, 12, 24, 36):  # of 36, which is twice the jitter
        for gathering in bench.gatherer._under_way:
            gathering.began = time.monotonic() - minutes * 60
        while not next(steps, True):
            pass
        due = {ref.key for ref, _ in work if bench.gatherer.turn_seconds(pace, ref) <= minutes * 60}
        assert {ask.reference for ask in bench.registry.asked} == due
    assert len(bench.registry.asked) == 50
    assert bench.statuses(sweep) == {("drift", "unknown"): 50}


def test_no_registry_is_asked_about_what_was_built_here_until_it_is_pushed(bench: Bench) -> None:
    bench.inventory.info = replace(an_engine(ImageStore.CONTAINERD), tells_builds=True)
    built = an_image("app", "app:1", digests=(digest_of("app", "a"),), inspected=replace(details(), built_here=True))
    bench.engine.put(built)
    bench.registry.digests = {APP_TAG.key: "sha256:new"}
    bench.registry.manifests["docker.io/library/app@sha256:new"] = Reply(config="sha256:other")
    bench.look()
    drift = a_policy("drift", "registry.state == 'drift'", subject=Kind.TAG)
    lost = a_policy("lost", "!image.recoverable")
    assert bench.statuses(bench.all(drift, lost)) == {("drift", "pass"): 1, ("lost", "fail"): 1}
    assert bench.registry.asked == []
    bench.engine.put(replace(built, details=details()))  # which a push does
    assert bench.statuses(bench.all(drift)) == {("drift", "fail"): 1}


def test_an_engine_that_does_not_tell_builds_is_not_asked_for_them(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1", digests=(digest_of("app", "a"),), inspected=details()))
    bench.registry.digests = {APP_TAG.key: "sha256:new"}
    bench.look()
    bench.all(DRIFT)
    assert bench.engine.calls == []


def test_of_what_was_not_built_here_that_is_asked_once(bench: Bench) -> None:
    bench.inventory.info = replace(an_engine(ImageStore.CONTAINERD), tells_builds=True)
    bench.engine.put(an_image("app", "app:1", digests=(digest_of("app", "a"),), inspected=details()))
    bench.registry.digests = {APP_TAG.key: "sha256:new"}
    bench.look()
    for _ in range(2):
        bench.all(DRIFT)
    assert bench.engine.calls == [("image", APP.key)]


def test_a_shallow_sweep_asks_no_registry_and_uses_what_is_remembered(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1", "app:2"))
    bench.look()
    bench.registry.known[Ask("digest", APP_TAG.key)] = Reply(digest="sha256:new")
    sweep = bench.all(DRIFT, depth=INSPECT)
    assert bench.registry.asked == []
    assert [result.ref for result in sweep.opened] == [APP_TAG]
    assert bench.statuses(sweep) == {("drift", "fail"): 1}


def test_a_remembered_failure_is_a_question_and_no_state(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    bench.registry.known[Ask("digest", APP_TAG.key)] = Reply(reason="unauthorized")
    sweep = bench.all(DRIFT, depth=INSPECT)
    assert sweep.opened == []
    assert bench.findings.unknown_counts["drift", "unauthorized"] == 1


@pytest.mark.parametrize("digests", [[], ["a"], ["a", "b"]])
def test_a_sweep_under_way_does_not_use_what_was_said_before_a_pull(bench: Bench, digests: list[str]) -> None:
    """Else the image that the pull brought would drift from what the registry had before it."""
    here = tuple(f"docker.io/library/app@sha256:{digest}" for digest in digests)
    bench.engine.put(an_image("app", "app:1", digests=here))
    bench.look()
    old = a_policy("old", "registry.digest == 'sha256:old'", subject=Kind.TAG)
    bench.registry.digests = {APP_TAG.key: "sha256:old"}
    sweep = Sweep()
    steps = bench.judge.sweep([(APP_TAG, (old,))] * 2, sweep, depth=REGISTRY, now=NOW)
    assert next(steps) is False
    assert len(sweep.opened) == 1

    bench.registry.digests = {APP_TAG.key: "sha256:a"}
    bench.gatherer.note_pulls([Change("image.tag", APP_TAG), Change("image.pull", APP_TAG)], NOW)

    assert list(steps) == [False]
    brought = Reply(digest="sha256:a") if digests == ["a"] else None
    assert bench.registry.noted == [(Ask("digest", APP_TAG.key), brought)]
    assert len(bench.registry.asked) == (1 if brought else 2)
    assert len(sweep.resolved) == 1


def test_a_pull_that_names_no_tag_leaves_all_of_the_image_to_be_asked_again(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1", "app:2", digests=("docker.io/library/app@sha256:a",)))
    bench.look()
    image = Ref(Kind.IMAGE, bench.inventory.tags[APP_TAG.key])
    bench.gatherer.note_pulls([Change("image.pull", image), Change("image.pull", Ref(Kind.IMAGE, "gone"))], NOW)
    assert bench.registry.noted == [
        (Ask("digest", APP_TAG.key), None),
        (Ask("digest", "docker.io/library/app:2"), None),
    ]


@pytest.mark.parametrize("reason", ["unauthorized", "forbidden", "too many requests", "timeout", "not found"])
def test_a_registry_that_does_not_tell_is_never_a_finding(bench: Bench, reason: str) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    bench.registry.reason = reason
    sweep = bench.all(a_policy("gone", "registry.digest == ''", subject=Kind.TAG))
    assert sweep.opened == []
    [trouble] = sweep.troubled
    assert reason in trouble.reason


@pytest.mark.parametrize("reason", ["", "it answers with an error"])
def test_processes_of_many_containers_are_known_also_where_there_are_no_semaphores(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """As without a /dev/shm that can be written to; of one that the engine does not tell they are unknown."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)
    bench.engine.put(an_image("app", "app:1"))
    for number in range(20):
        bench.engine.run(a_container(f"web{number}", "app:1"))
        bench.engine.runs[f"web{number}"] = ("sshd",)
    bench.look()
    if reason:
        bench.engine.errors["processes", bench.engine.container("web7").id] = AnswerError(reason)
    policies = [a_policy(f"no-{n}", f"'{n}' in container.processes", subject=Kind.CONTAINER) for n in ("sshd", "cron")]
    sweep = bench.all(*policies)
    told = {("no-sshd", "fail"): 20 - bool(reason), ("no-cron", "pass"): 20 - bool(reason)}
    told |= {("no-sshd", "unknown"): 1, ("no-cron", "unknown"): 1} if reason else {}
    assert (bench.statuses(sweep), sum(name == "processes" for name, *_ in bench.engine.calls)) == (told, 20)


# -- the host ----------------------------------------------------------------------------------------------------


def test_the_disk_is_measured_once_and_only_when_somebody_asks(bench: Bench) -> None:
    bench.engine.put(*(an_image(f"app{n}", f"app:{n}") for n in range(5)))
    bench.look()
    bench.all(a_policy("no", "false"))
    assert bench.measured == []
    sweep = bench.all(a_policy("full", "host.disk_used_percent > 80.0"), a_policy("also", "host.disk_free < 100"))
    assert bench.measured == ["/var/lib/docker"]
    assert bench.statuses(sweep) == {("full", "fail"): 5, ("also", "fail"): 5}


def test_a_disk_that_cannot_be_seen_is_unknown(bench: Bench) -> None:
    bench.disk = None
    sweep = bench.all(a_policy("full", "host.disk_used_percent > 80.0", subject=Kind.HOST))
    assert bench.statuses(sweep) == {("full", "unknown"): 1}


@pytest.mark.parametrize(
    ("gate", "disk", "allowed"),
    [
        ("", None, True),
        ("host.disk_used_percent > 80.0", Disk(90.0, 1, 1.0), True),
        ("host.disk_used_percent > 80.0", Disk(70.0, 1, 1.0), False),
        ("host.disk_used_percent > 80.0", None, False),
        ("host.images > 0", None, True),
        ("1 / host.volumes > 0", None, False),
    ],
)
def test_a_gate_lets_through_only_what_is_known_to_be_so(
    bench: Bench, *, gate: str, disk: Disk | None, allowed: bool
) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    bench.disk = disk
    assert bool(bench.judge.allowed([a_policy(gate=gate)], NOW)) is allowed


# -- every kind ----------------------------------------------------------------------------------------------------


def test_every_kind_of_object_can_be_judged(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.engine.run(a_container("web"))
    bench.engine.add_volume(a_volume("data"))
    bench.look()
    sweep = bench.all(*(a_policy(kind.value, "host.name == 'host'", subject=kind) for kind in Kind))
    names = {result.policy: result.name for result in sweep.opened}
    assert names == {
        "image": "docker.io/library/app:1",
        "tag": "docker.io/library/app:1",
        "container": "web",
        "volume": "data",
        "host": "host",
    }


def test_a_sweep_lets_go_after_each_object(bench: Bench) -> None:
    bench.engine.put(*(an_image(f"app{n}", f"app:{n}") for n in range(7)))
    bench.look()
    work = [(ref, (AS_ROOT,)) for ref in bench.inventory.all(Kind.IMAGE)]
    steps = bench.judge.sweep(work, Sweep(), depth=REGISTRY, now=NOW)
    assert [len(bench.engine.calls) for _ in steps] == [1, 2, 3, 4, 5, 6, 7]


def test_an_object_that_goes_during_a_sweep_is_left_out(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"), an_image("b", "b:1"))
    bench.look()
    work = [(ref, (AS_ROOT,)) for ref in bench.inventory.all(Kind.IMAGE)]
    sweep = Sweep()
    steps = bench.judge.sweep(work, sweep, depth=REGISTRY, now=NOW)
    next(steps)
    bench.inventory.drop(Ref(Kind.IMAGE, image_id("b")))
    list(steps)
    assert len(sweep.opened) == 1


# -- what planning needs -----------------------------------------------------------------------------------------


def test_a_finding_tells_for_how_long_it_has_held_on_the_observation_clock() -> None:
    ticks = Ticks()
    bench = Bench(ticks)
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    waits = a_policy("waits", for_seconds=60)
    held = []
    for seconds in (0, 50, 50):
        ticks.pass_(seconds)
        [result] = bench.all(waits).results
        held.append(result.held_seconds)
    bench.inventory.memory.clock.hold()  # nobody looks
    ticks.pass_(1000)
    bench.inventory.memory.clock.resume()
    [result] = bench.all(waits).results
    assert [*held, result.held_seconds] == [0.0, 50.0, 100.0, 100.0]
    bench.all(waits._replace(when=a_policy(when="false").when))  # it passes, and begins anew
    [result] = bench.all(waits).results
    assert result.held_seconds == 0.0


@pytest.mark.parametrize(("opened", "held"), [(40.0, 60.0), (1e99, 0.0), (500.0, 0.0)])
def test_a_finding_of_before_a_restart_goes_on_unless_it_was_opened_on_another_clock(
    opened: float, held: float
) -> None:
    ticks = Ticks()
    bench = Bench(ticks)
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    ticks.pass_(100)
    waits = a_policy("waits", for_seconds=60)
    bench.findings.recall([Finding(a_result("waits", APP), NOW - 9, opened)])
    assert [result.held_seconds for result in bench.all(waits).results] == [held]


def test_what_sorts_the_steps_is_gathered_for_findings_only(bench: Bench) -> None:
    served, lost = digest_of("app", "d"), digest_of("b", "e")
    bench.engine.put(an_image("app", "app:1", digests=(served,)), an_image("b", "b:1", digests=(lost,)))
    bench.engine.put(an_image("none", "none:1"))
    bench.look()
    bench.registry.digests = {served: served.partition("@")[2]}
    order = a_policy("sorted", "image.tags[0] != 'docker.io/library/none:1'", order_by="image.recoverable ? 0 : 1")
    sweep = bench.all(order)
    assert {result.ref: result.order for result in sweep.results} == {APP: 0, Ref(Kind.IMAGE, image_id("b")): 1}
    assert {ask.reference for ask in bench.registry.asked} == {served, lost}
    bench.registry.asked.clear()
    assert {result.order for result in bench.all(order, depth=INSPECT).results} == {None}
    assert bench.registry.asked == []


def test_an_image_is_recoverable_if_any_registry_serves_one_of_its_digests(bench: Bench) -> None:
    one, two = digest_of("app", "d"), digest_of("other", "d")
    bench.engine.put(an_image("app", "app:1", "other:1", digests=(one, two)))
    bench.look()
    kept = a_policy("kept", "image.recoverable")
    expected = []
    for failed, served in (([one], [two]), ([one], []), ([], [])):
        bench.registry.failures = dict.fromkeys(failed, "timeout")
        bench.registry.digests = {name: name.partition("@")[2] for name in served}
        bench.registry.asked.clear()
        expected.append(bench.statuses(bench.all(kept)))
    assert expected == [{("kept", "fail"): 1}, {("kept", "unknown"): 1}, {("kept", "pass"): 1}]


def test_disk_usage_is_asked_for_once_and_only_by_a_run_that_may(bench: Bench) -> None:
    bench.engine.usage = Usage({}, {"data": 7, "other": 1}, 1, 2)
    bench.engine.add_volume(a_volume("data"))
    bench.engine.add_volume(a_volume("other"))
    bench.look()
    big = a_policy("big", "volume.size > 5", subject=Kind.VOLUME)
    assert bench.statuses(bench.all(big, depth=INSPECT)) == {}
    assert bench.engine.calls == []
    for _ in range(3):
        assert bench.statuses(bench.all(big)) == {("big", "fail"): 1, ("big", "pass"): 1}
    assert bench.engine.calls == [("disk_usage", "")]


def test_sizes_of_layers_are_gathered_when_something_is_to_be_planned(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1", inspected=details()), an_image("b", "b:1", inspected=details()))
    bench.look()
    refs = bench.inventory.all(Kind.IMAGE)
    for when, asked in (("false", 0), ("true", 2), ("true", 2)):
        policy = a_policy("big", when, action="remove")
        list(bench.judge.sweep([(ref, (policy,)) for ref in refs], Sweep(), depth=REGISTRY, now=NOW, sized=["big"]))
        assert sum(call == "history" for call, _ in bench.engine.calls) == asked
    assert bench.inventory.is_measured


def test_what_an_image_has_for_itself(bench: Bench) -> None:
    for word, layers in (("app", ("a", "b")), ("base", ("a",))):
        bench.engine.put(an_image(word, f"{word}:1", inspected=details(layers=layers)))
    bench.engine.histories = {image_id("app"): (5, 7), image_id("base"): (5,)}
    bench.look()
    sweep = bench.all(a_policy("own", "image.unique_size == 7 || image.unique_size == 0", message="x"))
    assert {result.evidence["image.unique_size"] for result in sweep.results} == {0, 7}

"""From findings to outcomes: what the planner is told of each object, and when a plan is carried out."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dockwarden import reference
from dockwarden.actions.container_update import ContainerUpdate
from dockwarden.errors import AnswerError
from dockwarden.inventory.collect import Collector
from dockwarden.model import Answer, Effect, ImageStore, Kind, Limits, Mode, Policy, Ref, Result
from dockwarden.pipeline.enforce import Enforcer
from tests.builders import (
    DAY,
    HOUR,
    NOW,
    Ticks,
    a_container,
    a_mount,
    a_network,
    a_policy,
    a_result,
    a_service,
    a_volume,
    an_image,
    an_inventory,
    details,
    image_id,
)
from tests.fakes import FakeEngine, FakeIntents, Ground

REMOVE = a_policy("old-images", mode=Mode.ENFORCE, action="remove")
UNTAG = a_policy("old-tags", subject=Kind.TAG, mode=Mode.ENFORCE, action="untag")
OWN = a_container("dockwarden", "dockwarden:1", "dockwarden")


class Bench:
    """An enforcer over an engine whose objects were watched for a day."""

    def __init__(self, store: ImageStore, folder: Path) -> None:
        self.engine = FakeEngine(store)
        self.intents = FakeIntents()
        self.ticks = Ticks()
        self.inventory = an_inventory(self.ticks, store=store)
        self.collector = Collector(self.engine, self.inventory)
        self.host: deque[Answer] = deque()
        self.enforcer = Enforcer(
            self.inventory,
            self.collector,
            self.intents,
            Ground(folder, self.engine).executor(self.intents),
            ask_host=lambda _: self.host.popleft(),
            now=lambda: NOW,
            minimum_stay_seconds=HOUR,
            own_container=OWN.id,
        )

    def look(self, age: float = DAY) -> None:
        self.collector.reconcile()
        self.ticks.pass_(age)
        self.engine.calls.clear()

    def act(self, policy: Policy, *findings: Result) -> list[tuple[str, Effect, str]]:
        outcomes, self.error = self.enforcer.act(policy, findings, "run-1")
        return [(outcome.name, outcome.effect, outcome.reason) for outcome in outcomes]


@pytest.fixture(params=list(ImageStore))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(request.param, tmp_path)


def on_image(word: str) -> Result:
    return a_result(ref=Ref(Kind.IMAGE, image_id(word)), name=word)


def on_tag(name: str) -> Result:
    return a_result("old-tags", Ref(Kind.TAG, reference.full(name)), name=name)


def test_a_finding_of_a_policy_that_enforces_is_carried_out(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    assert bench.act(REMOVE, on_image("app")) == [("app", Effect.APPLIED, "removed")]
    assert bench.error == ""
    assert bench.intents.written[1].why == "it is old"


def test_in_audit_mode_the_same_plan_is_told_and_the_engine_asked_only_what_services_need(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"), an_image("other", "other:1"))
    bench.look()
    bench.engine.put(an_image("new", "new:1"))
    bench.look(age=0)
    findings = [on_image(word) for word in ("app", "other", "new")]
    assert set(bench.act(REMOVE._replace(mode=Mode.AUDIT), *findings)) == {
        ("new", Effect.REFUSED, "too_young"),
        ("app", Effect.AUDITED, "audit"),
        ("other", Effect.AUDITED, "audit"),
    }
    assert (bench.engine.calls, bench.intents.written) == ([("needs", "")], {})


def test_an_audited_step_says_why_it_would_be_done(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    [outcome], _ = bench.enforcer.act(REMOVE._replace(mode=Mode.AUDIT), [on_image("app")], "run-1")
    assert (outcome.detail, outcome.freed_bytes) == ("it is old", 0)


@pytest.mark.parametrize("running", [True, False])
def test_containers_keep_their_image_and_their_tag(bench: Bench, *, running: bool) -> None:
    bench.engine.put(an_image("app", "app:1", "app:2"))
    bench.engine.run(a_container("web", "app:1", running=running))
    bench.look()
    assert bench.act(REMOVE, on_image("app")) == [("app", Effect.REFUSED, "in_use")]
    assert bench.act(UNTAG, on_tag("app:1")) == [("app:1", Effect.REFUSED, "in_use")]
    assert bench.act(UNTAG, on_tag("app:2")) == [("app:2", Effect.APPLIED, "untagged")]


def test_the_tag_that_a_container_was_made_from_is_kept_though_it_names_another_image_now(bench: Bench) -> None:
    bench.engine.put(an_image("old", "app:1", "app:old"), an_image("new", "new:1"))
    bench.engine.run(a_container("web", "app:1", "old"))
    bench.engine.name("new:1", "app:1")
    bench.look()
    assert bench.act(UNTAG, on_tag("app:1")) == [("app:1", Effect.REFUSED, "in_use")]
    assert bench.act(REMOVE, on_image("new")) == [("new", Effect.REFUSED, "in_use")]


def test_users_are_told_by_name(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    for name in ("web", "job"):
        bench.engine.run(a_container(name))
    bench.look()
    [outcome], _ = bench.enforcer.act(REMOVE, [on_image("app")], "run-1")
    assert "job, web" in outcome.detail


@pytest.mark.parametrize("running", [True, False])
def test_our_own_image_and_the_tag_we_were_made_from_are_never_touched(bench: Bench, *, running: bool) -> None:
    bench.engine.put(an_image("dockwarden", "dockwarden:1"), an_image("next", "next:1"))
    bench.engine.run(replace(OWN, running=running))
    bench.look()
    assert bench.act(REMOVE, on_image("dockwarden")) == [("dockwarden", Effect.REFUSED, "self")]
    assert bench.act(UNTAG, on_tag("dockwarden:1")) == [("dockwarden:1", Effect.REFUSED, "self")]
    bench.engine.name("next:1", "dockwarden:1")
    bench.look()
    assert bench.act(UNTAG, on_tag("dockwarden:1")) == [("dockwarden:1", Effect.REFUSED, "self")]
    assert bench.act(REMOVE, on_image("dockwarden")) == [("dockwarden", Effect.REFUSED, "self")]
    assert bench.engine.removals == []


def test_protected_and_young_images_are_left_alone(bench: Bench) -> None:
    bench.engine.put(an_image("kept", "kept:1", labels={"dockwarden.protect": ""}), an_image("app", "app:1"))
    bench.look(age=HOUR / 2)
    assert set(bench.act(REMOVE, on_image("kept"), on_image("app"))) == {
        ("kept", Effect.REFUSED, "protected"),
        ("app", Effect.REFUSED, "too_young"),
    }
    assert bench.engine.removals == []


def test_the_percentage_is_of_all_objects_of_the_kind(bench: Bench) -> None:
    bench.engine.put(*(an_image(f"app{n}", f"app:{n}", f"also:{n}") for n in range(4)))
    bench.look()
    half = Limits(100, 50.0)
    found = [on_image(f"app{n}") for n in range(3)]
    done = bench.act(REMOVE._replace(limits=half), *found)
    assert {reason for _, _, reason in done} == {"limits"}
    assert "3 of 4" in bench.error
    tags = [on_tag(f"app:{n}") for n in range(3)]
    assert {effect for _, effect, _ in bench.act(UNTAG._replace(limits=half), *tags)} == {Effect.APPLIED}


def test_a_finding_on_what_is_not_there_any_more_is_nothing_to_do(bench: Bench) -> None:
    bench.look()
    assert bench.act(REMOVE, on_image("app")) == []
    assert bench.act(UNTAG, on_tag("app:1")) == []


def test_without_findings_nobody_is_asked(bench: Bench) -> None:
    bench.look()
    assert bench.act(REMOVE) == []
    assert bench.engine.calls == []


def test_before_the_first_connection_nothing_is_done(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    bench.inventory.info = None
    assert bench.act(REMOVE, on_image("app")) == []
    assert bench.engine.removals == []


# -- other kinds -----------------------------------------------------------------------------------------------


def a_removal(kind: Kind, **keys: Any) -> Policy:
    return a_policy(f"old-{kind}s", subject=kind, action="remove", **keys)


def on(kind: Kind, key: str, held: float = DAY) -> Result:
    return a_result(f"old-{kind}s", Ref(kind, key), name=key[:8])._replace(held_seconds=held)


def test_what_the_planner_is_told_of_each_kind(bench: Bench) -> None:
    swarm = {"com.docker.swarm.service.id": "x"}
    job, replica = a_container("job", running=False, networks=("front",)), a_container("r", labels=swarm)
    data, named, front = a_volume("f" * 64, anonymous=True), a_volume("data"), a_network("front")
    used = a_container("db", mounts=(a_mount("data"),), networks=())
    overlay = replace(a_network("mesh"), is_of_swarm=True)
    own = replace(OWN, mounts=(a_mount("own"),), networks=("home",))
    way = a_container("proxy", networks=("home",))
    bench.engine.put(an_image("app", "app:1"), an_image("dockwarden", "dockwarden:1"))
    for container in (job, replica, used, own, way):
        bench.engine.run(container)
    for volume in (data, named, a_volume("own")):
        bench.engine.add_volume(volume)
    for network in (front, overlay, a_network("home"), a_network("free")):
        bench.engine.add_network(network)
    bench.look()
    assert bench.inventory.info
    bench.inventory.info = replace(bench.inventory.info, way=way.id)
    expected = {
        (Kind.CONTAINER, job.id): "",
        (Kind.CONTAINER, replica.id): "owner",
        (Kind.CONTAINER, used.id): "running",
        (Kind.CONTAINER, own.id): "self",
        (Kind.CONTAINER, way.id): "self",
        (Kind.VOLUME, data.name): "",
        (Kind.VOLUME, "data"): "in_use",
        (Kind.VOLUME, "own"): "self",
        (Kind.NETWORK, front.id): "in_use",
        (Kind.NETWORK, overlay.id): "owner",
        (Kind.NETWORK, a_network("home").id): "self",
        (Kind.NETWORK, a_network("free").id): "",
    }
    for kind in (Kind.CONTAINER, Kind.VOLUME, Kind.NETWORK):
        found = [on(kind, key) for its, key in expected if its is kind]
        plan = bench.enforcer.plan(a_removal(kind, for_seconds=HOUR), found)
        told = {kept.ref.key: kept.reason for kept in plan.kept} | {step.ref.key: "" for step in plan.steps}
        assert told == {key: reason for (its, key), reason in expected.items() if its is kind}


@pytest.mark.parametrize(("called", "told"), [("dockwarden", ["self"]), ("web", [])])
def test_services_of_stacks_are_updated_but_not_our_own(bench: Bench, called: str, told: list[str]) -> None:
    service = a_service(called, f"app:1@{image_id('old')}")
    mine = a_service("dockwarden").id
    bench.engine.swarm = {service.id: service}
    bench.engine.run(replace(OWN, labels={"com.docker.swarm.service.id": mine}))
    bench.look()
    policy = a_policy("update", subject=Kind.SERVICE, action="update")
    plan = bench.enforcer.plan(policy, [on(Kind.SERVICE, service.id)])
    assert [kept.reason for kept in plan.kept] == told


@pytest.mark.parametrize("label", ["dockwarden.protect", "com.docker.swarm.service.id"])
def test_no_image_protects_or_claims_the_containers_made_from_it(bench: Bench, label: str) -> None:
    bench.engine.put(an_image("app", "app:1", labels={label: "x"}))
    theirs = a_container("theirs", running=False, labels={label: "x"})
    own = a_container("own", running=False, labels={label: "y"})
    for container in (theirs, own):
        bench.engine.run(container)
    bench.look()
    found = [on(Kind.CONTAINER, each.id) for each in (theirs, own)]
    plan = bench.enforcer.plan(a_removal(Kind.CONTAINER, for_seconds=HOUR), found)
    assert [step.ref.key for step in plan.steps] == [theirs.id]
    assert [kept.ref.key for kept in plan.kept] == [own.id]


def test_bytes_are_told_when_everything_was_gathered(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1", inspected=details(layers=("a", "b"))))
    bench.engine.put(an_image("base", "base:1", inspected=details(layers=("a",))))
    bench.engine.histories = {image_id("app"): (5, 7), image_id("base"): (5,)}
    bench.look()

    def planned() -> int:
        return bench.enforcer.plan(REMOVE, [on_image("app")]).steps[0].planned_bytes

    assert planned() == 0
    for word in ("app", "base"):
        bench.collector.details(image_id(word))
        bench.collector.history(image_id(word))
    assert planned() == 7


# -- enough, and alone -----------------------------------------------------------------------------------------


def test_steps_are_taken_until_it_is_enough(bench: Bench) -> None:
    bench.engine.put(*(an_image(f"app{n}", f"app:{n}") for n in range(3)))
    bench.look()
    bench.host.extend([Answer(value=False), Answer(value=False), Answer(value=True)])
    policy = REMOVE._replace(stop_when=a_policy(stop_when="host.disk_free > 5").stop_when)
    effects = [(effect, reason) for _, effect, reason in bench.act(policy, *(on_image(f"app{n}") for n in range(3)))]
    assert effects == [(Effect.APPLIED, "removed")] * 2 + [(Effect.SKIPPED, "enough")]


@pytest.mark.parametrize("answer", [Answer(missing="host.disk_free"), Answer(error="it broke"), Answer(value=True)])
def test_nothing_is_done_where_nobody_can_tell_whether_it_is_enough(bench: Bench, answer: Answer) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    bench.host.append(answer)
    policy = REMOVE._replace(stop_when=a_policy(stop_when="host.disk_free > 5").stop_when)
    assert bench.act(policy, on_image("app")) == [("app", Effect.SKIPPED, "enough")]
    assert bench.engine.removals == []


def test_while_another_process_acts_nothing_is_done(bench: Bench) -> None:
    bench.engine.put(an_image("app", "app:1"))
    bench.look()
    bench.intents.full.add("alone")
    assert bench.act(REMOVE, on_image("app")) == [("app", Effect.REFUSED, "ledger")]
    assert bench.engine.removals == []


# -- limits bound what goes, not what is tried -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["refused", "failed", "broken", "gone"])
def test_objects_that_stay_use_up_no_limit(bench: Bench, kind: str) -> None:
    words = [f"app{n}" for n in range(6)]
    for word in words:
        bench.engine.put(an_image(word, f"{word}:1"))
        bench.look(HOUR)  # the first is the oldest
    bench.look()
    for word in words[:3]:
        match kind:
            case "refused":
                bench.engine.run(a_container(f"on {word}", f"{word}:1", word))
            case "gone":
                bench.engine.vanish(image_id(word))
            case "failed":
                bench.engine.errors["untag", reference.full(f"{word}:1")] = AnswerError("no")
            case _:
                bench.engine.errors["image", image_id(word)] = ValueError("of our own")
    policy = REMOVE._replace(limits=Limits(2, 100.0, takes_first=True))
    done = bench.act(policy, *map(on_image, words))
    assert {name for name, effect, _ in done if effect is Effect.APPLIED} == {"app3", "app4"}
    assert [reason for name, _, reason in done if name == "app5"] == ["limits"]
    assert sorted(name for name, _, _ in done) == words
    assert bench.error == ""


def test_what_hit_another_object_uses_up_the_limit(bench: Bench) -> None:
    for word in ("a", "b", "other"):
        bench.engine.put(an_image(word, f"{word}:1"))
        bench.look()
    bench.engine.just_before("untag", lambda: bench.engine.name(image_id("other"), "a:1"))
    done = bench.act(REMOVE._replace(limits=Limits(1, 100.0, takes_first=True)), on_image("a"), on_image("b"))
    assert [reason for _, effect, reason in done if effect is Effect.FAILED] == ["other_image"]
    assert [reason for name, _, reason in done if name == "b"] == ["limits"]


def test_an_update_that_was_taken_back_uses_up_the_limit(bench: Bench) -> None:
    def refuse() -> None:
        bench.engine.alter(started[0], "die", exit_code=127)
        raise AnswerError("exec: not found")

    bench.engine.put(an_image("old", "app:1"))
    names = ("a", "b", "c")
    for name in names:
        bench.engine.run(a_container(name, "app:1"))
    bench.engine.put(an_image("new", "app:1"))
    bench.look()
    limits, started = Limits(1, 100.0, takes_first=True), sorted(names)
    update = a_policy("update", subject=Kind.CONTAINER, mode=Mode.ENFORCE, action="update", limits=limits)
    bench.engine.just_before("start_container", refuse)
    done = bench.act(update, *(on(Kind.CONTAINER, a_container(name).id) for name in names))
    assert sorted(reason for _, _, reason in done) == ["limits", "limits", "rolled_back"]


@pytest.mark.parametrize(
    ("name", "glob", "user", "outcome"),
    [
        ("web.dw-0123abcd.old", "", "", (Effect.APPLIED, "removed")),
        ("web.dw-0123abcd.old", "web*", "", None),
        ("web", "", "", None),
        ("web.dw-0123abcd.old", "", "theirs", (Effect.REFUSED, "in_use")),
        ("web.dw-0123abcd.old", "", "side.dw-0123abcd.old", (Effect.APPLIED, "removed")),
    ],
)
def test_what_an_update_left_aside_goes_unless_it_is_protected_or_needed_or_somebody_took_it_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    glob: str,
    user: str,
    outcome: tuple[Effect, str] | None,
) -> None:
    bench, web = Bench(ImageStore.GRAPH, tmp_path), a_container(name, "app:1", "app", running=False)
    theirs = replace(a_container(user, "app:1", "app", running=False), network_mode=f"container:{web.id}")
    bench.engine.put(an_image("app", "app:1"))
    bench.engine.run(web)
    if user:
        bench.engine.run(theirs)
    bench.look()
    joined = [theirs] if user.endswith(".old") else []
    monkeypatch.setattr(bench.intents, "aside", lambda _: [(each.id, DAY) for each in (*joined, web)])
    policy = a_policy("up", subject=Kind.CONTAINER, mode=Mode.ENFORCE, action="update")
    policy = policy._replace(options=ContainerUpdate.options().model_dump(), protect={Kind.CONTAINER: (glob,)})
    expected = [(user, Effect.APPLIED, "removed") for _ in joined] + [(name, *outcome) for _ in [0] if outcome]
    assert bench.act(policy) == expected


@pytest.mark.parametrize(
    ("name", "glob", "now", "state", "outcome"),
    [
        ("web.dw-0123abcd.old", "", "web", "running", [(Effect.APPLIED, "stopped")]),
        ("web.dw-0123abcd.old", "web*", "web", "running", []),
        ("web.dw-0123abcd.old", "", "web2", "running", []),  # somebody went back by hand
        ("web.dw-0123abcd.old", "", "web", "restarting", []),  # as it does not come up
        ("web.dw-0123abcd.old", "", "web", "paused", []),
        ("mine", "", "web", "running", []),
    ],
)
def test_what_an_update_left_aside_runs_not_beside_its_successor(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    glob: str,
    now: str,
    state: str,
    outcome: list[tuple[Effect, str]],
) -> None:
    bench, old, new = (
        Bench(ImageStore.GRAPH, tmp_path),
        a_container(name, "app:1", "app"),
        replace(a_container(now, "app:1", "app"), state=state),
    )
    bench.engine.put(an_image("app", "app:1"))
    bench.engine.run(old)
    bench.engine.run(new)
    bench.look()
    monkeypatch.setattr(bench.intents, "aside", lambda _: [(old.id, 1.0)])
    policy = a_policy("up", subject=Kind.CONTAINER, mode=Mode.ENFORCE, action="update")
    policy = policy._replace(options=ContainerUpdate.options().model_dump(), protect={Kind.CONTAINER: (glob,)})
    assert bench.act(policy) == [(name, *each) for each in outcome]
    assert bench.engine.container(new.id).running
    assert bench.engine.container(old.id).running is not bool(outcome)
    assert bench.intents.undoable() == []  # or to undo this run would start it beside the other again


def test_what_takes_long_says_how_far_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["app1", "app2", "app3"]
    bench.engine.put(*(an_image(word, f"{word}:1") for word in words))
    bench.look()
    monkeypatch.setattr("time.monotonic", partial(next, count(0.0, 6.0)))
    with capture_logs() as lines:
        bench.act(REMOVE, *map(on_image, words))
    assert [(line["event"], line["done"], line["planned"]) for line in lines] == [("run.acting", 2, 3)]

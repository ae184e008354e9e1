"""container restart: what follows, how often, and when nobody tries any more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dockwarden.actions.container_restart import ContainerRestart, how_often
from dockwarden.errors import AnswerError, EngineUnavailableError
from dockwarden.model import Kind, Mode, Recipe, Ref, Step
from tests.builders import HOUR, a_candidate, a_container, a_policy, an_image
from tests.unit.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMPOSE = "com.docker.compose"
HEAL = a_policy(
    "heal",
    "container.health == 'unhealthy'",
    subject=Kind.CONTAINER,
    events=["container.health"],
    every_seconds=60,
    mode=Mode.ENFORCE,
    action="restart",
)._replace(
    options=ContainerRestart.options(most="2 per 1h").model_dump(),
)
HOPELESS = a_policy(
    "hopeless", "container.given_up", subject=Kind.CONTAINER, events=["container.health"], every_seconds=60
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Host(tmp_path) as host:
        host.engine.put(an_image("app", "app:1"))
        yield host


def run(host: Host, name: str, **more: Any) -> None:
    host.engine.run(replace(a_container(name, "app:1", "app"), **({"health": "starting"} | more)))


def turn(host: Host, name: str, health: str) -> None:
    host.engine.alter(name, f"health_status: {health}", health=health)
    host.settle()


def restarted(host: Host) -> list[str]:
    return [host.engine.container(key).name for call, key in host.engine.calls if call == "restart_container"]


@pytest.mark.parametrize("wrong", ["3", "0 per 1h", "3 per 0s", "3 per hour", "three per 1h", 3, "3 per 1h "])
def test_how_often_is_said_in_one_way(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"3 per 1h|duration"):
        how_often(wrong)
    with pytest.raises(ValueError, match="7d"):  # and what of it is wrong
        how_often("3 per 1w")


def test_an_unhealthy_container_is_restarted_at_once_so_often_and_then_given_up(host: Host) -> None:
    run(host, "web")
    host.start(HEAL, HOPELESS)
    for _ in range(4):
        host.ticks.pass_(60)
        turn(host, "web", "unhealthy")
    assert restarted(host) == ["web", "web"]
    assert host.outcomes() == [("applied", "restarted")] * 2 + [("refused", "gave_up")]
    host.run_job("hopeless")
    assert ("hopeless", "web") in host.open_findings()
    host.ticks.pass_(2 * HOUR)  # time alone does not help
    host.run_job("heal")
    assert len(restarted(host)) == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ages": (1.0,)}, ""),
        ({"ages": (1.0, 2.0)}, "2 restarts"),
        ({"ages": (1.0,), "given_up": True}, "2 restarts"),
        ({"given_up": True}, "2 restarts"),
    ],
)
def test_why_it_is_restarted_no_more_is_told_with_all_its_restarts(fields: dict[str, Any], said: str) -> None:
    candidate = a_candidate(an_image("app"))._replace(**fields)
    _, why = ContainerRestart().keeps(HEAL, candidate, a_container("web"), 0) or ("", "")
    assert why.startswith(said)
    assert ("nothing more within that time, nor until it is healthy" in why) is bool(said)


@pytest.mark.parametrize("cure", ["healthy", "start"])
def test_health_or_somebody_s_start_ends_giving_up(host: Host, cure: str) -> None:
    run(host, "web")
    host.start(HEAL, HOPELESS)
    for _ in range(3):
        turn(host, "web", "unhealthy")
    host.ticks.pass_(2 * HOUR)
    if cure == "healthy":
        turn(host, "web", "healthy")
    else:
        host.engine.alter("web", "restart", started_at=9e9, health="starting")
        host.settle()
    turn(host, "web", "unhealthy")
    assert len(restarted(host)) == 3
    assert ("hopeless", "web") not in host.open_findings()


def test_what_the_engine_restarts_by_itself_stays_given_up(host: Host) -> None:
    run(host, "web")
    host.start(HEAL, HOPELESS)
    for _ in range(3):
        turn(host, "web", "unhealthy")
    host.ticks.pass_(2 * HOUR)
    config = replace(host.engine.container("web").config, restart_count=1)
    host.engine.alter("web", "restart", started_at=9e9, config=config, health="starting")
    turn(host, "web", "unhealthy")
    assert len(restarted(host)) == 2


def test_giving_up_outlives_the_process(host: Host, tmp_path: Path) -> None:
    run(host, "web")
    host.start(HEAL, HOPELESS)
    for _ in range(3):
        turn(host, "web", "unhealthy")
    host.stop()
    with Host(tmp_path) as next_:
        next_.engine.put(an_image("app", "app:1"))
        run(next_, "web", health="unhealthy", started_at=host.engine.container("web").started_at)
        next_.ticks.pass_(2 * HOUR)
        next_.start(HEAL, HOPELESS)
        next_.run_job("heal")
        assert restarted(next_) == []
        assert ("hopeless", "web") in next_.open_findings()


def test_those_in_its_namespaces_and_those_that_ask_for_it_follow(host: Host) -> None:
    service = {f"{COMPOSE}.project": "shop"}
    run(host, "db", labels={**service, f"{COMPOSE}.service": "db"})
    owner = host.engine.container("db").id
    run(host, "side", network_mode=f"container:{owner}", health="")
    run(host, "web", labels={**service, f"{COMPOSE}.depends_on": "cache:service_started:false,db:service_healthy:true"})
    run(host, "job", labels={**service, f"{COMPOSE}.depends_on": "db:service_started:false"})
    run(host, "other", labels={f"{COMPOSE}.project": "blog", f"{COMPOSE}.depends_on": "db:service_started:true"})
    once = {f"{COMPOSE}.oneoff": "True", f"{COMPOSE}.depends_on": "db:service_started:true"}
    run(host, "once", labels=service | once)
    run(host, "tail", network_mode=f"container:{host.engine.container('side').id}")
    host.start(HEAL)
    host.engine.calls.clear()
    turn(host, "db", "unhealthy")
    assert host.engine.calls.count(("container", host.engine.container("other").id)) == 1
    assert restarted(host)[0] == "db"
    assert sorted(restarted(host)[1:]) == ["side", "tail", "web"]
    assert restarted(host).index("side") < restarted(host).index("tail")


def test_nobody_asks_for_what_only_has_the_labels_of_an_image_that_compose_built(host: Host) -> None:
    project = {f"{COMPOSE}.project": "shop"}
    run(host, "trial", labels={**project, f"{COMPOSE}.service": "db", f"{COMPOSE}.version": "2.40.3"})
    asks = {f"{COMPOSE}.config-hash": "a", f"{COMPOSE}.depends_on": "db:service_started:true"}
    run(host, "web", labels={**project, **asks})
    host.start(HEAL)
    turn(host, "trial", "unhealthy")
    assert restarted(host) == ["trial"]


def test_each_follows_after_all_that_it_follows(host: Host) -> None:
    """One that lives in two others is dead when the later of them is restarted."""
    run(host, "db")
    for name in ("side", "last", "both"):
        run(host, name, network_mode=f"container:{host.engine.container('db').id}", health="")
    lives = {"both": "side", "last": "both"}
    for name, other in lives.items():
        config = replace(host.engine.container(name).config, pid_mode=f"container:{host.engine.container(other).id}")
        host.engine.alter(name, "update", config=config)
    host.start(HEAL)
    turn(host, "db", "unhealthy")
    assert restarted(host) == ["db", "side", "both", "last"]


@pytest.mark.parametrize("change", [{"told": {"auto_remove": True}}, {"state": "paused"}])
@pytest.mark.parametrize(
    ("network", "pid", "keeps"), [("db", "", False), ("", "db", True), ("db", "db", True), ("db", "other", False)]
)
def test_what_would_be_removed_or_hang_as_it_ends_with_it_keeps_it_running(
    host: Host, network: str, pid: str, change: dict[str, Any], *, keeps: bool
) -> None:
    """Engines keep one with ``--rm`` that they restart themselves, not one whose processes a namespace takes along.

    They can end no process namespace in which a process is frozen.
    """
    for name in ("db", "other"):
        run(host, name)
    joined = {name: f"container:{host.engine.container(name).id}" for name in ("db", "other")} | {"": ""}
    config = replace(host.engine.container("db").config, told=change.get("told", {}), pid_mode=joined[pid])
    state = change.get("state", "running")
    run(host, "side", health="", state=state, config=config, network_mode=joined[network])
    host.start(HEAL)
    turn(host, "db", "unhealthy")
    assert restarted(host) == ([] if keeps else ["db", "side"] if state == "running" else ["db"])
    assert host.outcomes() == [("refused", "dependents") if keeps else ("applied", "restarted")]


OWN = "d" * 64


@pytest.mark.parametrize("is_joined", [False, True])
@pytest.mark.parametrize(
    ("key", "label", "glob"),
    [(OWN, "", ""), ("e" * 64, "dockwarden.protect", ""), ("e" * 64, "", "las?"), ("e" * 64, "", "e" * 12)],
)
def test_our_own_and_what_is_protected_follows_nobody(
    tmp_path: Path, key: str, label: str, glob: str, *, is_joined: bool
) -> None:
    with Host(tmp_path, own=OWN) as host:
        host.engine.put(an_image("app", "app:1"))
        for name, asks in (("db", ""), ("web", "db"), ("last", "web")):
            labels = {f"{COMPOSE}.project": "shop", f"{COMPOSE}.service": name}
            labels |= {f"{COMPOSE}.depends_on": f"{asks}:service_started:true"} if asks else {}
            more = {"id": key, "labels": labels | ({label: ""} if label else {})} if name == "last" else {}
            if more and is_joined:
                more["network_mode"] = f"container:{host.engine.container('web').id}"
            run(host, name, **{"labels": labels} | more)
        host.start(HEAL._replace(protect={Kind.CONTAINER: (glob,)}))
        turn(host, "db", "unhealthy")
        assert restarted(host) == ([] if is_joined else ["db", "web"])
        assert host.outcomes() == [("refused", "dependents") if is_joined else ("applied", "restarted")]


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_restart_that_an_older_version_began_is_ended(host: Host, *, is_stopped: bool) -> None:
    run(host, "db")
    db = host.engine.container("db")
    host.ledger.open()
    host.ledger.claim(host.engine.info.identity)
    how = Step("heal", "restart", Ref(Kind.CONTAINER, db.id), "db", db, "it is unhealthy")
    host.ledger.intend("run", how, Recipe("none", {"id": db.id, "name": "db", "started_at": db.started_at}))
    host.ledger.close()
    if is_stopped:
        host.engine.alter("db", "die", state="exited", running=False)
    host.start(HEAL)
    assert restarted(host) == ["db"] * is_stopped
    assert host.outcomes() == [("applied", "restarted") if is_stopped else ("skipped", "interrupted")]


@pytest.mark.parametrize("stuck", ["db", "side"])
def test_what_a_restart_stopped_and_could_not_start_is_started_later(
    host: Host, monkeypatch: pytest.MonkeyPatch, stuck: str
) -> None:
    run(host, "db")
    for name in ("side", "more"):
        run(host, name, network_mode=f"container:{host.engine.container('db').id}", health="")
    host.start(HEAL)
    restart, stuck_ones = host.engine.restart_container, {stuck}

    def start(identifier: str, seconds: int | None) -> None:
        if host.engine.container(identifier).name in stuck_ones:
            host.engine.alter(identifier, "die", state="exited", running=False)
            raise AnswerError("its disk is gone")
        restart(identifier, seconds)

    monkeypatch.setattr(host.engine, "restart_container", start)
    turn(host, "db", "unhealthy")
    assert host.outcomes() == [("failed", "engine_error")]
    assert restarted(host) == ([] if stuck == "db" else ["db", "more"])
    for left in ({stuck}, set(), set()):
        stuck_ones &= left
        host.connect()
        host.settle()
    assert sorted(restarted(host)) == ["db", "more", "side"]
    assert host.outcomes() == [("failed", "engine_error"), ("applied", "restarted")]


@pytest.mark.parametrize("is_stopped", [False, True])
def test_what_was_stopped_when_the_engine_was_ended_amid_a_restart_is_started(
    host: Host, monkeypatch: pytest.MonkeyPatch, *, is_stopped: bool
) -> None:
    run(host, "db")
    run(host, "side", network_mode=f"container:{host.engine.container('db').id}", health="")
    host.start(HEAL)
    with monkeypatch.context() as patch:

        def end(identifier: str, seconds: int | None) -> None:
            for name in ("db", "side"):
                host.engine.alter(name, "die", **({"state": "exited", "running": False} if is_stopped else {}))
            raise EngineUnavailableError("it hung up")

        patch.setattr(host.engine, "restart_container", end)
        turn(host, "db", "unhealthy")
    assert host.outcomes() == [("failed", "engine_unavailable")]
    host.connect()
    host.settle()
    assert restarted(host) == ["db", "side"] * is_stopped
    assert host.outcomes()[1:2] == [("applied", "restarted") if is_stopped else ("skipped", "interrupted")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": "paused"}, "not_running"),
        ({"state": "restarting"}, "not_running"),
        ({"config": {"told": {"auto_remove": True}}}, "auto_remove"),
    ],
)
def test_what_must_not_be_restarted_is_not(host: Host, change: dict[str, Any], reason: str) -> None:
    run(host, "web", health="unhealthy")
    if "config" in change:
        change = {"config": replace(host.engine.container("web").config, **change["config"])}
    host.engine.alter("web", "update", **change)
    host.start(HEAL)
    host.run_job("heal")
    assert restarted(host) == []
    assert host.outcomes() == [("refused", reason)]


@pytest.mark.parametrize("way", ["gone", "network_mode", "pid_mode", "ipc_mode", "links"])
def test_one_that_could_not_start_again_is_left_alone(host: Host, way: str) -> None:
    run(host, "db", state="exited", running=False)
    run(host, "web", health="unhealthy", network_mode=f"container:{'e' * 64 if way == 'gone' else 'db'}")
    if way not in ("gone", "network_mode"):
        changed = {"told": {"links": ("/db:/web/db",)}} if way == "links" else {way: "container:db"}
        config = replace(host.engine.container("web").config, **changed)
        host.engine.alter("web", "update", network_mode="bridge", config=config)
    host.start(HEAL)
    host.run_job("heal")
    assert host.outcomes() == [("refused", "stale_namespace")]

"""The commands that people and scripts run by hand: what they print, and with which code they end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.commands import command
from tests.e2e.harness import SHIPPED, full, policy, truth, write_policies
from tests.lab import images
from tests.lab.images import ImageSpec
from tests.lab.loopback import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

NOWHERE = "unix:///nowhere/docker.sock"
HIGH = policy("high", "tag", "tag.name == 'latest'", severity="high", message="{{ tag.ref }} moves")
LOW = policy("low", "image", "image.dangling", severity="low", mode="enforce", action="remove")
UNKNOWN = policy("unknown", "tag", "registry.digest != ''", severity="critical")


class Prepared(NamedTuple):
    """An engine with something to find, and settings to find it with."""

    engine: LabEngine
    config: Path


def prepare(engine: LabEngine, folder: Path) -> Prepared:
    engine.load(images.busybox("e2e/scan:latest", "e2e/scan:1"), ImageSpec(labels={"e2e": "nameless"}))
    engine.docker("create", "--name=user", "e2e/scan:1")
    write_policies(folder / "policies.yaml", HIGH, LOW)
    config = folder / "dockwarden.yaml"
    config.write_text(f"policies: [{folder}/policies.yaml]\nstate_dir: {folder}/state\nminimum_stay: 0s\n")
    return Prepared(engine, config)


@pytest.fixture
def prepared(empty_engine: LabEngine, tmp_path: Path) -> Prepared:
    return prepare(empty_engine, tmp_path)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_scan_prints_a_table_and_changes_nothing(prepared: Prepared) -> None:
    engine, config = prepared
    before = truth(engine)
    done = command("scan", "--config", config, docker_host=engine.host)
    assert done.code == 0, done.err
    header, *rows = done.out.splitlines()
    assert header.split() == ["SEVERITY", "POLICY", "NAME", "MESSAGE"]
    assert len(rows) == 2
    assert rows[0].split()[:3] == ["high", "high", full("e2e/scan:latest")]
    assert rows[0].endswith(f"{full('e2e/scan:latest')} moves")
    assert rows[1].split()[:2] == ["low", "low"]
    assert "2 fail, 2 pass" in done.err
    assert "\x1b" not in done.out + done.err
    assert truth(engine) == before
    assert not (config.parent / "state").exists()


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_scan_prints_json(prepared: Prepared) -> None:
    engine, config = prepared
    done = command("scan", "--config", config, "-o", "json", docker_host=engine.host)
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert answer["engine"]["image_store"] == engine.kind
    assert answer["summary"] == {"fail": 2, "pass": 2}
    by_result = {(row["policy"], row["result"]): row for row in answer["results"]}
    found = by_result["high", "fail"]
    assert found["subject"] == "tag"
    assert found["name"] == found["id"] == full("e2e/scan:latest")
    assert found["severity"] == "high"
    assert found["evidence"] == {"tag.name": "latest"}
    assert by_result["low", "fail"]["evidence"] == {"image.dangling": True}
    assert set(found) == {"policy", "subject", "id", "name", "result", "severity", "message", "reason", "evidence"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 0),
        (("--fail-on", "critical"), 0),
        (("--fail-on", "high"), 1),
        (("--fail-on", "info"), 1),
        (("--policy", "low", "--fail-on", "medium"), 0),
        (("--policy", "low", "--fail-on", "low"), 1),
        (("--policy", "low", "--policy", "high", "--fail-on", "high"), 1),
        (("--policy", "lwo"), 2),
        (("--fail-on", "fatal"), 2),
    ],
)
def test_scan_ends_with_the_code_that_was_asked_for(
    any_engine: LabEngine, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    engine, config = prepare(any_engine, tmp_path)
    done = command("scan", "--config", config, *arguments, docker_host=engine.host)
    assert done.code == code, done.err
    if "lwo" in arguments:
        assert "--policy lwo: no such policy, did you mean low?" in done.err


def test_question_that_nobody_answers_is_no_finding(any_engine: LabEngine, tmp_path: Path) -> None:
    any_engine.load(ImageSpec(tags=("127.0.0.1:1/e2e/asked:1",)))  # a registry where nothing listens
    config = tmp_path / "dockwarden.yaml"
    write_policies(tmp_path / "policies.yaml", UNKNOWN)
    config.write_text(f"policies: [{tmp_path}/policies.yaml]\nstate_dir: {tmp_path}/state\n")
    done = command("scan", "--config", config, "-o", "json", "--fail-on", "info", docker_host=any_engine.host)
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)["results"]
    assert row["result"] == "unknown"
    assert row["reason"].startswith("registry.digest is not known: ")


def test_scan_without_an_engine_ends_with_69(tmp_path: Path) -> None:
    config = tmp_path / "dockwarden.yaml"
    config.write_text(f"policies: [shipped]\nstate_dir: {tmp_path}/state\n")
    done = command("scan", "--config", config, docker_host=NOWHERE)
    assert done.code == 69
    assert done.out == ""
    assert "/nowhere/docker.sock does not exist: is the engine running?" in done.err
    assert "Traceback" not in done.err


def test_scan_beside_the_daemon_knows_the_same_ages(any_engine: LabEngine, start: Start) -> None:
    any_engine.load(ImageSpec(tags=("e2e/aged:1",)))
    aged = policy("aged", "image", "image.known_for > duration('1h')", trigger={"every": "5s"})
    daemon = start(any_engine, [aged]).ready()
    asked = ("scan", "--config", daemon.config, "-o", "json")
    assert json.loads(command(*asked, docker_host=any_engine.host).out)["summary"] == {"pass": 1}
    assert daemon.end() == 0
    daemon.pass_time(3600)
    daemon.restart()
    daemon.wait("finding.opened", policy="aged")
    assert json.loads(command(*asked, docker_host=any_engine.host).out)["summary"] == {"fail": 1}
    assert daemon.end() == 0
    assert json.loads(command(*asked, docker_host=any_engine.host).out)["summary"] == {"fail": 1}


def test_check_says_what_is_fine(tmp_path: Path) -> None:
    config = tmp_path / "dockwarden.yaml"
    config.write_text(f"policies: [shipped]\nstate_dir: {tmp_path}/state\n")
    count = len(list(SHIPPED.glob("*.yaml")))
    done = command("check", "--config", config)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{count} policies in {count} files are fine")
    one = command("check", "--config", config, SHIPPED / "no-latest-tag.yaml")
    assert one.out.startswith("1 policy in 1 file is fine")


def test_facts_tells_the_vocabulary() -> None:
    done = command("facts", "-o", "json")
    assert (done.code, done.err) == (0, "")
    rows = json.loads(done.out)
    assert {row["subject"] for row in rows} == {"image", "tag", "container", "volume", "network", "service", "host"}
    assert {
        "subject": "tag", "name": "tag.name", "type": "string", "cost": "inventory", "meaning": "the tag alone"
    } in rows  # fmt: skip
    table = command("facts", "volume")
    assert table.out.splitlines()[0].split() == ["SUBJECT", "NAME", "TYPE", "COST", "MEANING"]
    assert {line.split()[0] for line in table.out.splitlines()[1:]} == {"volume"}
    assert command("facts", "volumes").code == 2


def test_healthcheck_follows_the_daemon(graph_engine: LabEngine, start: Start) -> None:
    daemon = start(graph_engine, ["no-latest-tag"]).ready()
    where = f"127.0.0.1:{daemon.port}"
    healthy = command("healthcheck", "--listen", where)
    assert (healthy.code, healthy.out) == (0, "ok\n")
    assert command("healthcheck", "--ready", more={"DOCKWARDEN_WEB__LISTEN": where}).code == 0
    daemon.end()
    gone = command("healthcheck", "--listen", where)
    assert gone.code == 1
    assert f"no answer from {where}" in gone.err
    assert "Traceback" not in gone.err


def test_healthcheck_tells_alive_from_ready(start: Start) -> None:
    daemon = start(NOWHERE, ["no-latest-tag"])
    daemon.wait("engine.unreachable")
    where = f"127.0.0.1:{daemon.port}"
    assert command("healthcheck", "--listen", where).code == 0
    unready = command("healthcheck", "--ready", "--listen", where)
    assert unready.code == 1
    assert "does not exist: is the engine running?" in unready.out


def test_api_is_read_only_and_small(graph_engine: LabEngine, start: Start) -> None:
    daemon = start(graph_engine, ["no-latest-tag"]).ready()
    for path in ("/healthz", "/readyz", "/metrics", "/api/v1/findings", "/"):
        assert daemon.get(path).status == 200
        assert daemon.get(path, "HEAD").text == ""
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert daemon.get(path, method).status == 405
    for path in ("/api/v1/prune", "/api/v1", "/metrics/x", "/../etc/passwd", "/api/v1/findings/1"):
        assert daemon.get(path).status == 404


def test_name_with_several_addresses_can_be_listened_on(graph_engine: LabEngine, start: Start) -> None:
    port = free_port()
    daemon = start(graph_engine, ["no-latest-tag"], settings={"web": {"listen": f"*:{port}"}}).ready()
    assert daemon.wait("daemon.started")["listen"] == port
    assert daemon.get("/healthz").status == 200

"""What is excused and what has yet to hold: counted and shown, and neither told nor acted on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import yaml

from tests.commands import command
from tests.e2e.harness import full, policy, write_policies
from tests.lab import images

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

GOES: dict[str, object] = {"mode": "enforce", "limits": {"max_objects": 100, "max_percent": 100}, "action": "remove"}
STOPPED = policy("stopped", "container", "!container.running", trigger={"every": "5s"}, **GOES)


def test_what_is_excused_stays_and_goes_when_the_excuse_has_ended(
    any_engine: LabEngine, start: Start, tmp_path: Path
) -> None:
    engine = any_engine
    engine.load(images.busybox("e2e/app:1"))
    engine.docker("create", "--name=by-file", "e2e/app:1")
    engine.docker("create", "--name=by-label", "--label=dockwarden.skip=stopped", "e2e/app:1")
    engine.docker("create", "--name=late", "--label=dockwarden.skip=all", "--label=dockwarden.skip.until=2026-01-01",
                  "e2e/app:1")  # fmt: skip
    file = tmp_path / "exceptions.yaml"
    soon = datetime.now(UTC) + timedelta(days=400)

    def excuse(until: str) -> None:
        exception = {"id": "OPS-1", "policies": ["sto*"], "match": "container.name == 'by-file'", "reason": "kept"}
        file.write_text(yaml.safe_dump({"version": 1, "exceptions": [exception | {"until": until}]}))

    excuse(soon.isoformat())
    policies = write_policies(tmp_path / "policies.yaml", STOPPED)
    daemon = start(engine, settings={"policies": [str(policies), str(file)], "minimum_stay": "0s"}).ready()
    daemon.wait("action.applied", policy="stopped", name="late")
    assert {line["name"] for line in daemon.said("finding.excused")} == {"by-file", "by-label"}
    assert not daemon.said("finding.opened", name="by-file")
    daemon.until_metric(2, "dockwarden_excused", policy="stopped", severity="medium")
    daemon.until_metric(0, "dockwarden_exceptions_unused")
    assert daemon.value("dockwarden_exception_expiry_timestamp_seconds", id="OPS-1") == soon.timestamp()
    daemon.until(lambda: daemon.findings("stopped") == set(), "the end of what went")

    done = command("scan", "--config", daemon.config, "-o", "json", docker_host=engine.host)
    rows = {row["name"]: row for row in json.loads(done.out)["results"]}
    assert (rows["by-file"]["result"], rows["by-file"]["exceptions"]) == ("excused", ["OPS-1"])
    assert rows["by-label"]["exceptions"] == ["label"]

    excuse("2026-01-01")
    command("reload", "--config", daemon.config)
    daemon.wait("finding.expired", policy="stopped", name="by-file")
    daemon.wait("action.applied", policy="stopped", name="by-file")
    assert set(engine.docker("ps", "--all", "--format", "{{.Names}}").split()) == {"by-label"}


def test_what_has_not_held_yet_is_pending_over_a_restart(any_engine: LabEngine, start: Start) -> None:
    engine = any_engine
    engine.load(images.busybox("e2e/app:latest"))
    latest = policy("latest", "tag", "tag.name == 'latest'", trigger={"every": "5s"}, **{"for": "1h"})
    daemon = start(engine, [latest]).ready()
    daemon.until_metric(1, "dockwarden_pending", policy="latest")
    assert daemon.findings("latest") == set()
    done = command("scan", "--config", daemon.config, "-o", "json", docker_host=engine.host)
    assert json.loads(done.out)["summary"] == {"pending": 1}
    assert daemon.end() == 0
    daemon.pass_time(3600)
    daemon.restart()
    daemon.ready()
    daemon.wait("finding.opened", policy="latest", name=full("e2e/app:latest"))
    daemon.until_metric(0, "dockwarden_pending", policy="latest")

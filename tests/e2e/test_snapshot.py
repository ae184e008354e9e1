"""A host that is written down is judged and planned like the host itself, anywhere; and nothing of it is a secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from tests.commands import command
from tests.e2e.test_explain import Asked
from tests.lab.images import ImageSpec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Done
    from tests.lab.engine import LabEngine

PACKS = ["shipped", "cis", "baseline"]
SECRET = "hunter2"
TEST = """\
version: 1
policies:
  - name: no-limit
    subject: container
    trigger: {{every: 1h}}
    when: container.memory_limit == 0 && container.owner != params.but
    params: {{but: swarm}}
    message: "{{{{ container.name }}}} of {{{{ host.name }}}}"
    tests:
      - {{given: {{from: host.json, object: container/web}}, expect: fail, message: "web of {host}"}}
      - {{given: {{from: host.json, object: container/web, container.memory_limit: 64MB}}, expect: pass}}
"""


def nowhere(asked: Asked, *arguments: str | Path) -> Done:
    """A command where there is no engine."""
    return command(arguments[0], "--config", asked.config, *arguments[1:])


def judged(done: Done) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The results by policy and object, but for those that hang on facts that may hold secrets."""
    rows = json.loads(done.out)["results"]
    hidden = ("cis-4-7-update-alone", "cis-4-9-add", "cis-5-7-sshd")
    return {(row["policy"], row["subject"], row["name"]): row for row in rows if row["policy"] not in hidden}


def written(engine: LabEngine, folder: Path) -> Asked:
    """A host that is written down into host.json."""
    asked = Asked(engine, folder)
    engine.load(ImageSpec(tags=("e2e/built:1",), env=(f"TOKEN={SECRET}",), labels={"team": "label-value"}))
    options = f"--env=PASSWORD={SECRET} --label=team=label-value --log-driver=splunk --log-opt=splunk-token={SECRET}"
    engine.docker(
        "create", "--name=env", *options.split(), "--log-opt=splunk-url=http://127.0.0.1:1", "e2e/built:1", "x"
    )
    engine.docker("tag", "e2e/app:1", "e2e/moved:1")
    engine.docker("run", "-d", "--name=moved", "e2e/moved:1")
    engine.docker("tag", "e2e/built:1", "e2e/moved:1")  # so that its tag names another image than it runs
    settings = json.loads(asked.config.read_text())
    asked.config.write_text(json.dumps({**settings, "policies": [*PACKS, *settings["policies"]]}))
    done = asked.run("snapshot")
    assert done.code == 0, done.err
    (folder / "host.json").write_text(done.out)
    return asked


def test_a_snapshot_is_judged_and_planned_like_the_host_and_holds_no_secret(
    any_engine: LabEngine, tmp_path: Path
) -> None:
    asked = written(any_engine, tmp_path)
    file = tmp_path / "host.json"
    assert SECRET not in file.read_text()
    assert "label-value" in file.read_text()
    assert "label-value" not in asked.run("snapshot", "--no-labels").out

    here, there = (asked.run("scan", "-o", "json"), nowhere(asked, "scan", "--from", file, "-o", "json"))
    assert here.code == there.code == 0
    assert "failed" not in there.err
    asked_registry = {key for key, row in judged(here).items() if "registry." in row["reason"]}
    without = judged(there)
    assert {key: row for key, row in judged(here).items() if key not in asked_registry} == {
        key: row for key, row in without.items() if key not in asked_registry
    }
    assert {without[key]["result"] for key in asked_registry} <= {"unknown"}
    assert len(without) > 100

    plans = [asked.run("plan", "-o", "json"), nowhere(asked, "plan", "--from", file, "-o", "json")]
    rows = [sorted((r for r in json.loads(plan.out) if r["reason"] != "unknown"), key=repr) for plan in plans]
    for row in rows[0]:  # how a container would be made anew, only the engine tells
        row["detail"] = row["detail"].partition("; from ")[0] if row["action"] == "update" else row["detail"]
    assert rows[0] == rows[1]
    planned = {(row["action"], row["name"]) for row in rows[1] if row["outcome"] == "planned"}
    assert {("remove", "helped"), ("update", "moved")} <= planned
    assert nowhere(asked, "scan", "--from", tmp_path / "none.json").code == 78
    file.write_text(file.read_text().replace('"container.running": true', '"container.running": "yes"'))
    broken = nowhere(asked, "scan", "--from", file)
    assert (broken.code, "container.running" in broken.err) == (78, True), broken.err


def test_policies_are_tested_on_snapshots(any_engine: LabEngine, tmp_path: Path) -> None:
    asked = written(any_engine, tmp_path)
    host = json.loads((tmp_path / "host.json").read_text())["engine"]["name"]
    policy = tmp_path / "own.yaml"
    policy.write_text(TEST.format(host=host))
    done = nowhere(asked, "test", policy)
    assert done.code == 0, done.out
    assert nowhere(asked, "check", policy).code == 0
    policy.write_text(TEST.format(host=host).replace("object: container/web}", "object: container/wbe}", 1))
    assert "did you mean container/web?" in nowhere(asked, "test", policy).err
    policy.write_text(TEST.format(host=host))

    folder = tmp_path / "golden"
    folder.mkdir()
    golden = folder / "host.test.yaml"
    golden.write_text("snapshot: ../host.json\n")
    assert nowhere(asked, "test", folder, tmp_path / "policies.yaml", tmp_path / "exceptions.yaml").code == 0
    assert nowhere(asked, "test", folder).code == 0
    arguments: tuple[str | Path, ...] = ("test", golden, tmp_path / "policies.yaml", tmp_path / "exceptions.yaml")
    assert nowhere(asked, *arguments, "--write").code == 0
    rows = yaml.safe_load(golden.read_text())
    assert {"policy": "limits", "object": "container/web", "result": "fail", "message": "limits"} in rows["expect"]
    assert {"policy": "stopped", "action": "remove", "object": "container/helped", "outcome": "planned"} in rows["plan"]
    assert nowhere(asked, *arguments).code == 0
    rows["expect"] = [row for row in rows["expect"] if row["object"] != "container/web"]
    rows["plan"] = [{**row, "outcome": "kept"} for row in rows["plan"]]
    rows["expect"].append({"policy": "odd", "object": "tag/nothing", "result": "pass"})
    golden.write_text(yaml.safe_dump(rows))
    done = nowhere(asked, *arguments)
    assert done.code == 1
    for part in (
        "limits: test container/web in host.test.yaml: got fail, and the file does not list it",
        "expected that remove is kept, got remove is planned (finding)",
        "the snapshot has no tag/nothing",
    ):
        assert part in done.out, done.out
    golden.write_text("snapshot: ../host.json\nexpects: []\n")
    wrong = nowhere(asked, *arguments)
    assert (wrong.code, "expects" in wrong.err) == (78, True)

"""One object or policy on one screen: what it is, what is found, what would happen and why, what was done before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from tests.commands import command
from tests.e2e.harness import full, policy, write_policies
from tests.lab import images

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Done
    from tests.lab.engine import LabEngine

GOES = {"action": "remove", "limits": {"max_objects": 100, "max_percent": 100}}
POLICIES = (
    policy("loose", "volume", "!volume.in_use", **{**GOES, "for": "7d"}),
    policy("stopped", "container", "!container.running", **GOES, description="They only take up room."),
    policy("limits", "container", "container.memory_limit == 0", severity="high", remediation="Give it a limit."),
    policy("old", "image", "!image.in_use", **GOES),
    policy("odd", "tag", "tag.name == 'odd'"),
)
CONTAINERS = {"web": "--volume=data:/data --network=back", "spare": "", "helped": "--network=container:web"}


class Asked:
    """What is asked about one host."""

    def __init__(self, engine: LabEngine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        engine.load(images.busybox("e2e/app:1"))
        engine.docker("tag", "e2e/app:1", "e2e/app:odd")
        engine.docker("network", "create", "back")
        engine.docker("volume", "create", "spare")
        for name, options in CONTAINERS.items():
            engine.docker("create", f"--name={name}", *options.split(), "e2e/app:1")
        engine.docker("start", "web")
        write_policies(folder / "policies.yaml", *POLICIES)
        excused = {"id": "OPS-7", "policies": ["stopped"], "match": "container.name == 'spare'", "reason": "a spare"}
        (folder / "exceptions.yaml").write_text(yaml.safe_dump({"version": 1, "exceptions": [excused]}))
        given = {"policies": [str(folder / f"{name}.yaml") for name in ("policies", "exceptions")]}
        self.config = folder / "dockwarden.yaml"
        self.config.write_text(json.dumps({**given, "minimum_stay": "0s", "state_dir": str(folder / "state")}))

    def run(self, *arguments: str | Path) -> Done:
        return command(arguments[0], "--config", self.config, *arguments[1:], docker_host=self.engine.host)

    def about(self, name: str) -> dict[str, Any]:
        done = self.run("explain", name, "-o", "json")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert isinstance(found, dict)
        return found

    def fate(self, name: str) -> dict[str, tuple[str, str]]:
        return {each["policy"]: (each["outcome"], each["reason"]) for each in self.about(name)["fates"]}


def test_objects_and_policies_are_explained(any_engine: LabEngine, tmp_path: Path) -> None:
    asked = Asked(any_engine, tmp_path)
    web = asked.about("web")
    assert (web["kind"], web["name"], web["about"]["container.state"]) == ("container", "web", "running")
    assert {tag["tag"] for tag in web["tags"]} == {full("e2e/app:1"), full("e2e/app:odd")}
    uses = {f"{link['kind']}/{link['name']}" for link in web["uses"]}
    assert uses >= {"volume/data", "network/back", f"tag/{full('e2e/app:1')}"}
    assert [link["name"] for link in web["used_by"]] == ["helped"]
    assert [(found["policy"], found["remediation"]) for found in web["found"]] == [("limits", "Give it a limit.")]
    assert asked.fate("web") == {"stopped": ("kept", "running")}
    spare = {row["policy"]: row["result"] for row in asked.about("container/spare")["found"]}
    assert spare == {"limits": "fail", "stopped": "excused"}
    assert asked.fate("container/spare") == {"stopped": ("kept", "excused")}
    assert asked.fate("helped") == {"stopped": ("planned", "finding")}
    assert asked.fate("volume/spare") == {"loose": ("kept", "named")}
    assert asked.fate("volume/data") == {"loose": ("kept", "in_use")}

    image = asked.about("image/e2e/app:1")
    assert asked.fate("image/e2e/app:odd") == {"old": ("kept", "in_use")}
    assert {row["name"] for row in image["found"]} == {full("e2e/app:odd")}
    assert asked.about(image["id"])["id"] == asked.about(image["id"][7:20])["id"] == image["id"]
    assert asked.about("e2e/app:odd")["kind"] == "tag"
    assert asked.about("host")["about"]["host.containers"] == len(CONTAINERS)
    assert asked.about(f"network/{asked.about('network/back')['id'][:12]}")["name"] == "back"

    told = asked.about("policy/stopped")
    (line,) = asked.run("explain", "policy/stopped", "-o", "jsonl").out.splitlines()
    assert json.loads(line).keys() == told.keys()
    assert (told["description"], told["counts"]) == ("They only take up room.", {"pass": 1, "excused": 1, "fail": 1})
    assert [(e["id"], e["state"], e["used"]) for e in told["exceptions"]] == [("OPS-7", "active", 1)]
    assert {row["name"]: row["result"] for row in told["found"]} == {"helped": "fail", "spare": "excused"}


def test_names_may_mean_several_objects_or_none_and_what_is_shown_fits_on_a_screen(
    any_engine: LabEngine, tmp_path: Path
) -> None:
    asked = Asked(any_engine, tmp_path)
    several = asked.run("explain", "spare")
    assert (several.code, several.out) == (2, "")
    assert "container/spare, volume/spare" in several.err
    missing = asked.run("explain", "container/wbe")
    assert (missing.code, "did you mean web" in missing.err) == (1, True)
    assert "did you mean docker.io/e2e/app:" in asked.run("explain", "docker.io/e2e/app").err
    assert "did you mean stopped?" in asked.run("explain", "policy/stoped").err
    for name in ("web", "image/e2e/app:1", "policy/stopped", "host", "network/back"):
        shown = asked.run("explain", name)
        assert shown.code == 0
        assert 5 < len(shown.out.splitlines()) < 45, shown.out

    plan = tmp_path / "plan.json"
    asked.run("plan", "--policy", "stopped", "--save", plan)
    assert asked.run("apply", plan, "--yes").code == 0
    asked.engine.docker("create", "--name=helped", "e2e/app:1")
    before = asked.run("explain", "helped").out.partition("what was done to it")[2]
    assert "stopped  remove  applied" in before

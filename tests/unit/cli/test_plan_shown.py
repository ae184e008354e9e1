"""What `plan` shows to people: what a policy means, why it stays, and what would be on a host that is older."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dockwarden.cli import main
from tests.builders import a_service, a_volume, an_image
from tests.unit.onlooker import Host

if TYPE_CHECKING:
    from pathlib import Path

HEAD = {"subject": "image", "action": "remove", "trigger": {"every": "1h"}}
LIMITS = {"max_objects": 100, "max_percent": 100}
OLD = {**HEAD, "name": "old", "when": "'old' in image.labels && image.known_for > duration('24h')", "limits": LIMITS}
MARKED = {**HEAD, "name": "marked", "when": "'marked' in image.labels", "limits": LIMITS}
ALONE = {
    **HEAD, "name": "alone", "subject": "volume", "when": "volume.anonymous && !volume.in_use", "for": "48h",
    "limits": LIMITS,
}  # fmt: skip


class Desk:
    def __init__(self, folder: Path, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.host, self.capsys = folder, host, capsys
        self.set_up(MARKED, OLD, ALONE)

    def set_up(self, *policies: dict[str, Any]) -> None:
        (self.folder / "policies.yaml").write_text(json.dumps({"version": 1, "policies": policies}))
        settings = {
            "state_dir": str(self.folder / "state"),
            "policies": [str(self.folder / "policies.yaml")],
            "minimum_stay": "1h",
        }
        (self.folder / "dockwarden.yaml").write_text(yaml.safe_dump(settings))

    def run(self, *arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--config", str(self.folder / "dockwarden.yaml")])
        return code, *self.capsys.readouterr()

    def rows(self, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
        code, out, _ = self.run("plan", "-o", "json", *arguments)
        assert code == 0
        return {(row["policy"], row["name"]): row for row in json.loads(out)}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    host = Host(tmp_path / "state")
    host.enter(monkeypatch)
    for n in range(30):
        host.engine.put(an_image(f"plain{n}", f"plain:{n}"))
    host.engine.put(an_image("marked", "marked:1", labels={"marked": ""}))
    host.engine.put(an_image("old", "old:1", labels={"old": ""}))
    host.engine.add_volume(replace(a_volume("f" * 64, anonymous=True), created_at=time.time()))
    return Desk(tmp_path, host, capsys)


def test_a_plan_names_what_a_policy_means_and_counts_the_rest(desk: Desk) -> None:
    _, out, _ = desk.run("plan")
    lines = out.splitlines()
    assert [line.split()[1:4:2] for line in lines[1:3]] == [
        ["marked", "docker.io/library/marked:1"],
        ["alone", "f" * 64],
    ]
    assert [line.split()[1] for line in lines[3:-1]] == ["marked", "old"]
    assert "31 others" in lines[3]
    assert "31 `when` is false" in lines[3]
    assert lines[-1].startswith("would do nothing, 0 B; 65 stay: 63 `when` is false")
    _, everything, _ = desk.run("plan", "--all")
    assert len(everything.splitlines()) == 1 + 65 + 1


@pytest.mark.parametrize("more", [(), ("-o", "json")])
def test_a_plan_is_saved_to_standard_output(desk: Desk, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]) -> None:
    monkeypatch.chdir(desk.folder)
    code, out, _ = desk.run("plan", "--save", "-", *more)
    assert (code, json.loads(out)["steps"], (desk.folder / "-").exists()) == (0, [], False)


def test_what_would_be_done_is_said_by_verb(desk: Desk) -> None:
    names = {**MARKED, "name": "names", "subject": "tag", "action": "untag", "when": "tag.name == '2'"}
    desk.host.engine.put(an_image("two", "two:2", "two:3"), an_image("three", "three:3", labels={"three": ""}))
    desk.set_up(names, {**MARKED, "when": "'three' in image.labels"})
    _, out, err = desk.run("plan", "--watched", "2h")
    assert out.splitlines()[-1].startswith("would remove 1, untag 2, "), err


def test_the_reason_is_the_one_that_matters_first(desk: Desk) -> None:
    rows = desk.rows()
    assert rows["marked", "docker.io/library/marked:1"]["reason"] == "too_young"
    assert rows["old", "docker.io/library/old:1"]["reason"] == "pass"
    assert rows["marked", "docker.io/library/plain:1"]["reason"] == "pass"
    assert rows["alone", "f" * 64]["reason"] in ("too_young", "waiting")


def test_a_new_host_shows_what_would_go_when_it_is_old_enough(desk: Desk) -> None:
    _, out, said = desk.run("plan")
    assert "plan --watched 30d" in said
    desk.set_up(MARKED, OLD, ALONE | {"when": f"{ALONE['when']} && volume.known_for > duration('24h')"})
    rows = desk.rows("--watched", "30d")
    going = {name for _, name in (key for key, row in rows.items() if row["outcome"] == "planned")}
    assert going == {"docker.io/library/marked:1", "docker.io/library/old:1", "f" * 64}
    assert {row["outcome"] for row in desk.rows("--watched", "2h").values() if row["policy"] == "alone"} == {"kept"}
    _, out, said = desk.run("plan", "--watched", "30d")
    assert out.splitlines()[-1].endswith("if watched 30d longer")
    assert "--watched" not in said
    assert desk.run("plan", "--watched", "30d", "--save", str(desk.folder / "plan.json"))[0] == 2
    assert not (desk.folder / "plan.json").exists()
    with pytest.raises(SystemExit, match="2"):
        desk.run("plan", "--watched", "soon")


def test_a_snapshot_from_before_the_latest_fields_of_a_service_is_read(desk: Desk) -> None:
    service = a_service("web", "nginx:1")
    desk.host.engine.swarm = {service.id: service}
    code, out, err = desk.run("snapshot")
    assert code == 0, err
    host = json.loads(out)
    for each in host["services"]:
        del each["updated_at"]
    (desk.folder / "host.json").write_text(json.dumps(host))
    code, _, err = desk.run("plan", "--from", str(desk.folder / "host.json"))
    assert code == 0, err

"""Commands one after the other on a fresh state folder: what one writes down, the next can use, daemon or not."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dockwarden.cli import main
from dockwarden.errors import AnswerError
from dockwarden.model import Effect, Kind, Recipe, Ref, Step
from dockwarden.ports import Reply
from dockwarden.sinks.ledger import Ledger
from dockwarden.text import USAGE
from tests.builders import NOW, a_container, a_service, an_image, digest_of, image_id
from tests.unit.onlooker import Host

if TYPE_CHECKING:
    from pathlib import Path

    from dockwarden.model import Image

POLICIES = """
version: 1
policies:
  - name: doomed
    subject: image
    trigger: {every: 1h}
    when: "'part' in image.labels && image.labels['part'] == 'doomed'"
    action: remove
    limits: {max_objects: 100, max_percent: 100}
"""


class Desk:
    """A person at a host, and perhaps a daemon."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.host = Host(folder / "state")
        self.host.enter(monkeypatch)
        monkeypatch.setattr(self.host.engine, "now_ns", self._later)
        (folder / "policies.yaml").write_text(POLICIES)
        settings = {
            "state_dir": str(folder / "state"),
            "policies": [str(folder / "policies.yaml")],
            "minimum_stay": "0s",
            "undo": {"keep_free": 0},
        }
        (folder / "dockwarden.yaml").write_text(yaml.safe_dump(settings))
        self.host.engine.put(
            an_image("doomed", "app:1", digests=(digest_of("app", "d"),), labels={"part": "doomed"}),
            an_image("other", "other:1"),
        )

    def _later(self) -> int:
        """The engine's time, which never stands still."""
        self.host.engine.clock.now_ns += 1
        return self.host.engine.clock.now_ns

    def run(self, *arguments: str) -> tuple[int, str]:
        code = main([*arguments, "--config", str(self.folder / "dockwarden.yaml")])
        return code, self.capsys.readouterr().out

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        code, out = self.run(*arguments, "-o", "json")
        return list(json.loads(out)) if code == 0 else []

    # -- what may come one after the other -----------------------------------------------------------------

    def daemon(self) -> None:
        """It runs for a while, and ends."""
        self.host.remember()

    def scan(self) -> None:
        self.run("scan")

    def history(self) -> None:
        self.run("history", "--actions")

    def apply(self) -> None:
        plan = str(self.folder / "plan.json")
        assert self.run("plan", "--save", plan)[0] == 0
        assert self.run("apply", plan, "--yes")[0] == 0

    def undo(self) -> None:
        for row in self.listed("undo", "--list"):
            assert main(["undo", str(row["run"]), "--config", str(self.folder / "dockwarden.yaml")]) == 0
            assert "may do it again, removals after 0s (minimum_stay); `protect`" in self.capsys.readouterr().err


COMMANDS = ("scan", "history", "apply", "undo")
PAIRS = itertools.product(("daemon", *COMMANDS), repeat=2)
WATCHED = ((first, "daemon", then, "daemon") for first, then in itertools.product(COMMANDS, repeat=2))


@pytest.mark.parametrize("steps", [*PAIRS, *WATCHED], ids="-".join)
def test_what_a_list_shows_can_be_undone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    steps: tuple[str, ...],
) -> None:
    desk = Desk(tmp_path, monkeypatch, capsys)
    for step in steps:
        getattr(desk, step)()
    shown = desk.listed("undo", "--list")
    by_id = {row["id"]: row for row in desk.listed("history", "--actions")}
    assert all(
        (row["outcome"], row["reason"]) == (by_id[row["id"]]["outcome"], by_id[row["id"]]["reason"]) for row in shown
    )
    assert bool(shown) == (image_id("doomed") not in {image.id for image in desk.host.engine.images()})
    by_history = [row["id"] for row in desk.listed("history", "--actions") if row["undoable_until"] is not None]
    assert by_history == [row["id"] for row in shown]
    for row in shown:
        [undone] = desk.listed("undo", str(row["id"]))
        assert (undone["id"], undone["outcome"]) == (row["id"], "applied")
    assert desk.listed("undo", "--list") == []
    assert image_id("doomed") in {image.id for image in desk.host.engine.images()}


def test_a_run_is_named_by_how_it_begins_unless_several_begin_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, monkeypatch, capsys)
    count = itertools.count(1)
    monkeypatch.setattr("uuid.uuid4", lambda: uuid.UUID(f"90a1b{next(count):07x}{0:020}"))
    desk.apply()
    desk.host.engine.put(an_image("second", "b:1", digests=(digest_of("b", "e"),), labels={"part": "doomed"}))
    desk.apply()
    new, old = desk.listed("undo", "--list")
    assert main(["undo", "90a1", "--config", str(tmp_path / "dockwarden.yaml")]) == USAGE
    assert f"90a1 may be {old['run']}, {new['run']}" in capsys.readouterr().err
    assert len(desk.listed("undo", "--list")) == 2
    assert [row["id"] for row in desk.listed("undo", new["run"])] == [new["id"]]
    assert desk.listed("undo", "--list", "9") == []  # the number of an action
    assert [row["id"] for row in desk.listed("undo", "90a1")] == [old["id"]]


def test_on_another_engine_than_that_of_the_ledger_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, monkeypatch, capsys)
    plan = str(tmp_path / "plan.json")
    desk.run("plan", "--save", plan)
    desk.host.remember(("app:1", "local", "sha256:d", 1.0), identity="another")
    assert desk.run("apply", plan, "--yes")[0] == 1
    assert image_id("doomed") in {image.id for image in desk.host.engine.images()}
    reader = Ledger(tmp_path / "state", lambda: 1.0, lambda _: None)
    reader.open_to_read()
    assert (reader.engine(), len(reader.present_digests("another"))) == ("another", 1)
    reader.close()


def test_of_an_undone_update_nobody_says_that_a_policy_may_do_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk, web = Desk(tmp_path, monkeypatch, capsys), a_service("web", f"app:1@{image_id('new')}")
    desk.host.engine.swarm = {web.id: web}
    ledger = Ledger(tmp_path / "state", lambda: NOW, lambda _: None)
    ledger.open()
    ledger.claim(desk.host.engine.info.identity)
    step = Step("up", "update", Ref(Kind.SERVICE, web.id), "web", web, "it moved")
    told = {"id": web.id, "image_ref": "app:1", "new_image_id": web.image_ref}
    number = ledger.intend("run", step, Recipe("update", told))
    ledger.conclude(number, step.ended(Effect.APPLIED, "updated"))
    ledger.close()
    assert main(["undo", "run", "--config", str(tmp_path / "dockwarden.yaml")]) == 0
    assert "do it again" not in capsys.readouterr().err
    assert desk.host.engine.service(web.id).image_ref == "app:1"


@pytest.mark.parametrize(
    ("action", "ends", "said"),
    [
        ("update", [(Effect.FAILED, "rolled_back")], "but not now: .* was rolled back"),
        ("restart", [(Effect.APPLIED, "restarted")] * 3, "3 restarts within"),
    ],
)
def test_a_plan_knows_what_was_done_before(
    action: str,
    ends: list[tuple[Effect, str]],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    desk = Desk(tmp_path, monkeypatch, capsys)
    policy = {"name": "any", "subject": "container", "trigger": {"every": "1h"}, "when": "container.running",
              "message": "it runs", "action": action}  # fmt: skip
    (tmp_path / "policies.yaml").write_text(json.dumps({"version": 1, "policies": [policy]}))
    desk.host.engine.run(a_container("web", "app:1", "doomed"))
    desk.host.engine.put(an_image("new", "app:1"))
    ledger = Ledger(tmp_path / "state", lambda: NOW, lambda _: None)
    ledger.open()
    ledger.claim(desk.host.engine.info.identity)
    web = desk.host.engine.container("web")
    step = Step("any", action, Ref(Kind.CONTAINER, web.id), "web", web, "it runs")
    for effect, reason in ends:
        number = ledger.intend("run", step, Recipe("update", {"new_image_id": image_id("new")}))
        ledger.conclude(number, step.ended(effect, reason))
    ledger.close()
    [row] = desk.listed("plan")
    assert re.search(said, row["detail"]), row
    if action == "restart":  # what only the engine tells is for plans
        assert re.search(said, desk.run("explain", "container/web")[1])


def test_an_undo_has_what_came_back_on_the_engines_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk, settled = Desk(tmp_path, monkeypatch, capsys), []
    monkeypatch.setattr("dockwarden.actions.contents.settle", lambda folders: settled.append({*map(str, folders)}))
    desk.apply()
    desk.undo()
    assert settled == [{desk.host.engine.info.data_root}]


def test_an_image_that_the_engine_cannot_show_hinders_no_reset_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, monkeypatch, capsys)
    show, damaged, tag = desk.host.engine.image, image_id("other"), "docker.io/library/app:1"

    def image(name: str) -> Image:
        if name == damaged:
            raise AnswerError("image_inspect: HTTP 500: layer does not exist")
        return show(name)

    monkeypatch.setattr(desk.host.engine, "image", image)
    digest = digest_of("app", "d").partition("@")[2]
    desk.host.registry.digests[tag] = digest
    desk.host.registry.manifests[f"docker.io/library/app@{digest}"] = Reply(digest=digest)
    assert main(["reset", "app:1", "--config", str(tmp_path / "dockwarden.yaml")]) == USAGE, "it asks"
    assert f"then {tag} is pulled" in capsys.readouterr().err

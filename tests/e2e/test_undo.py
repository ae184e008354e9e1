"""Removed by the daemon, brought back by the command line; and a bad image made good: what an operator sees of it."""

from __future__ import annotations

import io
import json
import time
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dockwarden.engine import DockerEngine
from dockwarden.sinks.ledger import Ledger
from tests.commands import command
from tests.e2e.harness import policy
from tests.lab.images import ImageSpec, rootfs
from tests.lab.registry import LabRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

DOOMED = policy(
    "doomed",
    "image",
    "'part' in image.labels && image.labels['part'] == 'doomed'",
    mode="enforce",
    action="remove",
    limits={"max_objects": 100, "max_percent": 100},
)


def listed(*arguments: str | Path, docker_host: str) -> list[dict[str, Any]]:
    done = command(*arguments, "-o", "json", docker_host=docker_host)
    assert done.code == 0, done.err
    return list(json.loads(done.out))


def test_what_the_daemon_removed_comes_back_and_stays(
    empty_engine: LabEngine, registry: LabRegistry, start: Start
) -> None:
    engine, name = empty_engine, f"{registry.host}/undone/app:1"
    engine.load(ImageSpec(tags=(name, f"{registry.host}/undone/app:2"), labels={"part": "doomed"}))
    image = engine.client().inspect_image(name)["Id"]
    daemon = start(
        engine,
        [{**DOOMED, "trigger": {"every": "5s"}}],
        settings={"minimum_stay": "1s", "schedule": {"jitter": 0, "timezone": "UTC"}},
    ).ready()
    gone = daemon.wait("action.applied", id=image)
    assert gone["planned_bytes"] > 0
    daemon.write_settings(minimum_stay="1h")
    daemon.kill()
    daemon.restart()
    daemon.ready()

    host, config = engine.host, ("--config", daemon.config)
    [row] = listed("undo", *config, "--list", docker_host=host)
    assert (row["action"], row["subject"], row["object_id"], row["outcome"]) == ("remove", "image", image, "applied")
    assert row["undoable_until"] > row["at"] + 13 * 86400
    assert row["bytes"] > 0
    assert [each["id"] for each in listed("history", *config, "--actions", docker_host=host)] == [row["id"]]
    mark = daemon.mark
    [undone] = listed("undo", *config, str(row["run"]), docker_host=host)
    assert (undone["id"], undone["outcome"], undone["reason"]) == (row["id"], "applied", "restored")
    assert set(engine.client().inspect_image(image)["RepoTags"]) == {name, f"{registry.host}/undone/app:2"}

    daemon.wait("action.refused", after=mark, id=image, reason="too_young")
    actions = listed("history", *config, "--actions", docker_host=host)
    assert [each["action"] for each in actions] == ["undo", "remove"]
    assert listed("undo", *config, "--list", docker_host=host) == []
    done = command("undo", *config, str(row["run"]), docker_host=host)
    assert done.code == 1
    assert "nothing of it can be undone" in done.err
    assert engine.client().inspect_image(image)["Id"] == image


def settings(folder: Path) -> tuple[str, Path]:
    """A settings file of nobody's daemon."""
    file = folder / "dockwarden.yaml"
    file.write_text(yaml.safe_dump({"state_dir": str(folder / "state")}))
    return "--config", file


def test_a_bad_image_is_made_good(empty_engine: LabEngine, registry: LabRegistry, tmp_path: Path) -> None:
    engine, config = empty_engine, settings(tmp_path)
    name, alias = f"{registry.host}/reset/app:1", f"{registry.host}/reset/alias:1"
    registry.push("reset/app", "1", ImageSpec(layers=(rootfs({"app": "good"}),)))
    engine.load(ImageSpec(tags=(name, alias), layers=(rootfs({"app": "bad"}),), labels={"is": "bad"}))
    bad = engine.client().inspect_image(name)["Id"]
    engine.docker("create", "--name=worker", name)

    asked = command("reset", *config, name, docker_host=engine.host)
    assert (asked.code, "--yes" in asked.err) == (2, True)
    assert engine.client().inspect_image(name)["Id"] == bad
    done = command("reset", *config, name, "--yes", docker_host=engine.host)
    assert done.code == 0, done.err
    assert "worker" in done.err
    assert f"these names of the old image are gone: {alias}\n" in done.err
    fresh = engine.client().inspect_image(name)
    assert fresh["Id"] != bad
    assert f"{registry.host}/reset/app@{registry.digest('reset/app', '1')}" in fresh["RepoDigests"]
    assert engine.client().containers(all=True) == []

    run = listed("undo", *config, "--list", docker_host=engine.host)[0]["run"]
    undone = listed("undo", *config, run, docker_host=engine.host)
    assert {(each["subject"], each["reason"]) for each in undone} == {("image", "restored"), ("container", "restored")}
    assert engine.client().inspect_image(alias)["Id"] == bad
    assert engine.client().inspect_image(name)["Id"] == fresh["Id"], "an undo took a name"
    assert engine.client().inspect_container("worker")["Image"] == bad


def test_a_reset_whose_pull_fails_brings_everything_back(empty_engine: LabEngine, tmp_path: Path) -> None:
    """A registry that answers us and not the engine."""
    engine, config = empty_engine, settings(tmp_path)
    with LabRegistry() as registry:
        name, alias = f"{registry.host}/reset/app:1", "alias:1"
        registry.push("reset/app", "1", ImageSpec(layers=(rootfs({"app": "good"}),)))
        engine.load(ImageSpec(tags=(name, alias), layers=(rootfs({"app": "bad"}),)))
        engine.docker("network", "create", "front")
        for word in ("one", "two"):
            engine.docker("create", f"--name={word}", "--network=front", name, "x")
        before = engine.client().inspect_image(name)
        done = command("reset", *config, name, "--yes", docker_host=engine.host)
    assert done.code == 1
    assert "pull failed" in done.err
    after = engine.client().inspect_image(name)
    assert (after["Id"], set(after["RepoTags"])) == (before["Id"], set(before["RepoTags"]))
    assert {each["Names"][0] for each in engine.client().containers(all=True)} == {"/one", "/two"}
    assert listed("undo", *config, "--list", docker_host=engine.host) == []


def test_a_reset_that_pulls_another_digest_than_it_was_told_brings_everything_back(
    empty_engine: LabEngine, registry: LabRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, config, name = empty_engine, settings(tmp_path), f"{registry.host}/reset/moving:1"
    registry.push("reset/moving", "1", ImageSpec(layers=(rootfs({"app": "told"}),)))
    engine.load(ImageSpec(tags=(name, "alias:1"), layers=(rootfs({"app": "bad"}),)))
    for word in ("one", "two"):
        engine.docker("create", f"--name={word}", name, "x")
    before = engine.client().inspect_image(name)
    pull = DockerEngine.pull_image

    def pull_late(self: DockerEngine, *arguments: str, **named: str) -> None:
        registry.push("reset/moving", "1", ImageSpec(layers=(rootfs({"app": "newer"}),)))
        pull(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(DockerEngine, "pull_image", pull_late)
    done = command("reset", *config, name, "--yes", docker_host=engine.host)
    assert (done.code, "its digest is not" in done.err) == (1, True), done.err
    after = engine.client().inspect_image(name)
    assert (after["Id"], set(after["RepoTags"])) == (before["Id"], set(before["RepoTags"]))
    containers = engine.client().containers(all=True)
    assert {(each["Names"][0], each["ImageID"]) for each in containers} == {
        ("/one", before["Id"]),
        ("/two", before["Id"]),
    }
    assert listed("undo", *config, "--list", docker_host=engine.host) == []


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_a_reset_that_is_cut_short_says_how_everything_comes_back(
    empty_engine: LabEngine, registry: LabRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, config, name = empty_engine, settings(tmp_path), f"{registry.host}/reset/cut:1"
    registry.push("reset/cut", "1", ImageSpec(layers=(rootfs({"app": "good"}),)))
    engine.load(ImageSpec(tags=(name,), layers=(rootfs({"app": "bad"}),)))
    bad = engine.client().inspect_image(name)["Id"]

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as amid:
        amid.setattr(DockerEngine, "pull_image", leave)
        first = command("reset", *config, name, "--yes", docker_host=engine.host)
    again = command("reset", *config, name, "--yes", docker_host=engine.host)
    assert (first.code, again.code) == (130, 1)
    run = listed("undo", *config, "--list", docker_host=engine.host)[0]["run"]
    assert all(f"`dockwarden undo {run}` brings" in done.err for done in (first, again)), (first.err, again.err)
    assert command("undo", *config, str(run), docker_host=engine.host).code == 0
    assert engine.client().inspect_image(name)["Id"] == bad


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_a_reset_after_one_that_never_came_to_the_image_names_what_that_one_took(
    empty_engine: LabEngine, registry: LabRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, config, name = empty_engine, settings(tmp_path), f"{registry.host}/reset/cut:1"
    registry.push("reset/cut", "1", ImageSpec(layers=(rootfs({"app": "good"}),)))
    engine.load(ImageSpec(tags=(name,), layers=(rootfs({"app": "bad"}),)))
    for word in ("one", "two"):
        engine.docker("create", f"--name={word}", name, "x")
    remove, removed = DockerEngine.remove_container, list[str]()

    def leave(self: DockerEngine, identifier: str) -> None:
        if removed:
            raise KeyboardInterrupt
        removed.append(identifier)
        remove(self, identifier)

    with monkeypatch.context() as amid:
        amid.setattr(DockerEngine, "remove_container", leave)
        assert command("reset", *config, name, "--yes", docker_host=engine.host).code == 130
    again = command("reset", *config, name, "--yes", docker_host=engine.host)
    assert (again.code, "created again, as they were before: one, two\n" in again.err) == (0, True), again.err


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_a_reset_that_cannot_end_well_does_not_begin(
    empty_engine: LabEngine, registry: LabRegistry, tmp_path: Path
) -> None:
    engine, config = empty_engine, settings(tmp_path)
    lonely, running, kept = (f"{registry.host}/reset/{word}:1" for word in ("lonely", "running", "kept"))
    for word in ("running", "kept"):
        registry.push(f"reset/{word}", "1", ImageSpec())
    engine.load(ImageSpec(tags=(lonely,)), ImageSpec(tags=(kept,), labels={"dockwarden.protect": ""}))
    engine.docker("tag", lonely, running)
    for word, label in (("swarm", "com.docker.swarm.service.name=web"), ("ecs", "com.amazonaws.ecs.task-arn=a")):
        owned = f"{registry.host}/reset/{word}:1"
        registry.push(f"reset/{word}", "1", ImageSpec())
        engine.load(ImageSpec(tags=(owned,), labels={"of": word}))
        engine.docker("create", f"--name={word}", f"--label={label}", owned, "x")
    engine.docker("create", "--name=precious", running)
    joined, parent = (f"{registry.host}/reset/{word}:1" for word in ("joined", "parent"))
    for word, name in (("joined", joined), ("parent", parent)):
        registry.push(f"reset/{word}", "1", ImageSpec())
        engine.load(ImageSpec(tags=(name,), labels={"of": word}))
    engine.docker("create", "--name=owner", joined)
    engine.docker("create", "--name=joins", "--network=container:owner", running)
    steps = f"FROM {parent}\nLABEL a=b\nLABEL c=d\n"  # the image between the two is in no list
    deque(engine.client().build(fileobj=io.BytesIO(steps.encode()), tag="child:1"), maxlen=0)
    (tmp_path / "dockwarden.yaml").write_text(
        yaml.safe_dump(
            {"state_dir": str(tmp_path / "state"), "protect": {"containers": ["prec*"], "tags": ["*/reset/t*"]}}
        )
    )
    registry.push("reset/tagged", "1", ImageSpec())
    engine.load(ImageSpec(tags=(f"{registry.host}/reset/tagged:1",), labels={"of": "t"}))
    before = sorted(image["Id"] for image in engine.client().images())
    reasons = {lonely: "not_found", kept: "dockwarden.protect", "nothing/here:1": "no such tag"}
    reasons |= {running: "protect in the settings: prec*", f"{registry.host}/reset/tagged:1": "*/reset/t*"}
    reasons |= {joined: "could not start: joins; remove", parent: "built from it: docker.io/library/child:1; remove"}
    reasons |= {f"{registry.host}/reset/{word}:1": f"{word} ({word})" for word in ("swarm", "ecs")}
    for name, why in reasons.items():
        done = command("reset", *config, name, "--yes", docker_host=engine.host)
        assert done.code == 1, done.out
        assert why in done.err
    assert sorted(image["Id"] for image in engine.client().images()) == before
    assert command("undo", *config, docker_host=engine.host).code == 2


@pytest.mark.parametrize("is_parent", [False, True])
def test_a_reset_takes_what_had_the_tag_before_unless_others_were_built_from_it(
    graph_engine: LabEngine, registry: LabRegistry, tmp_path: Path, *, is_parent: bool
) -> None:
    graph_engine.wipe()
    name, config = f"{registry.host}/reset/moved:1", settings(tmp_path)
    registry.push("reset/moved", "1", ImageSpec(layers=(rootfs({"app": "good"}),)))
    ids = []
    for word in ("old", "bad"):
        graph_engine.load(ImageSpec(tags=(name,), layers=(rootfs({"app": word}),)))
        ids.append(graph_engine.client().inspect_image(name)["Id"])
        if is_parent and word == "old":
            steps = io.BytesIO(f"FROM {name}\nLABEL a=b\n".encode())
            deque(graph_engine.client().build(fileobj=steps, tag="child:1"), maxlen=0)
    with closing(Ledger(tmp_path / "state", time.time, lambda _: None)) as ledger:
        ledger.open()
        ledger.claim(DockerEngine(graph_engine.host).connect().identity)
        ledger.save_digests((name, "local", each, at) for at, each in enumerate(ids))
    done = command("reset", *config, name, "--yes", docker_host=graph_engine.host)
    assert done.code == 0, done.err
    here = {image["Id"] for image in graph_engine.client().images(all=True)}
    assert (ids[0] in here, ids[1] in here) == (is_parent, False)


def test_a_reset_of_an_image_that_containers_mount_does_not_begin(
    newest_engine: LabEngine, registry: LabRegistry, tmp_path: Path
) -> None:
    """An engine refuses its removal, when those that were made from it are gone already."""
    newest_engine.wipe()
    name = f"{registry.host}/reset/data:1"
    registry.push("reset/data", "1", ImageSpec())
    newest_engine.load(ImageSpec(tags=(name,)), ImageSpec(tags=("app:1",), labels={"of": "app"}))
    newest_engine.docker("create", "--name=made", name, "x")
    newest_engine.docker("create", "--name=mounts", f"--mount=type=image,source={name},target=/data", "app:1", "x")
    made = newest_engine.client().inspect_container("made")["Id"]
    done = command("reset", *settings(tmp_path), name, "--yes", docker_host=newest_engine.host)
    assert (done.code, "containers mount it: mounts; remove them first" in done.err) == (1, True), done.err
    assert newest_engine.client().inspect_container("made")["Id"] == made

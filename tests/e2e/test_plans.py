"""Plans that are saved, looked at, and carried out later, when the world is not the same any more."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dockwarden.text import in_bytes
from tests.commands import command, environment
from tests.e2e.harness import full, policy, write_policies
from tests.lab import images
from tests.lab.images import ImageSpec, rootfs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Done
    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

ALL = {"max_objects": 100, "max_percent": 100}
GOING = policy("going", "image", "image.tags.exists(t, t.contains('/going/'))", action="remove", limits=ALL)
OLD_TAGS = policy("old-tags", "tag", "tag.repository == 'docker.io/several/app'", action="untag", limits=ALL)
TOLERANCE = 0.02


class Desk:
    """Where somebody plans and applies."""

    def __init__(self, engine: LabEngine, folder: Path, *policies: dict[str, object], **settings: object) -> None:
        self.engine, self.file = engine, folder / "plan.json"
        write_policies(folder / "policies.yaml", *policies)
        self.config = folder / "dockwarden.yaml"
        given = {"policies": [str(folder / "policies.yaml")], "state_dir": str(folder / "state"), "minimum_stay": "0s"}
        self.config.write_text(json.dumps({**given, **settings}))

    def run(self, *arguments: str | Path) -> Done:
        return command(arguments[0], "--config", self.config, *arguments[1:], docker_host=self.engine.host)

    def plan(self, *arguments: str | Path) -> list[dict[str, Any]]:
        done = self.run("plan", "-o", "json", "--save", self.file, *arguments)
        assert done.code == 0, done.err
        rows = json.loads(done.out)
        assert isinstance(rows, list)
        return rows


def noise(size: int) -> bytes:
    """Bytes that no compression makes smaller."""
    return os.urandom(size)


def taken(engine: LabEngine) -> int:
    """What layers take up on the disk of an engine: unpacked, and where there is a store of contents, packed too."""
    data = engine.dir / "data"
    folders = [*data.glob("overlay2/*/diff")] or [
        *data.glob("containerd/daemon/io.containerd.content.v1.content/blobs"),
        *data.glob("containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs"),
    ]
    listed = subprocess.run(["du", "-s", "-B1", *folders], capture_output=True, text=True, check=True).stdout
    return sum(int(line.split()[0]) for line in listed.splitlines())


def planned(rows: list[dict[str, Any]]) -> dict[str, int]:
    """The bytes of each step by name."""
    return {row["name"]: row["bytes"] for row in rows if row["outcome"] == "planned"}


def kept(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["name"]: row["reason"] for row in rows if row["outcome"] == "kept"}


def test_bytes_of_a_set_are_those_that_the_disk_gains(empty_engine: LabEngine, tmp_path: Path) -> None:
    engine = empty_engine
    base, middle = rootfs({"base": noise(3_000_000)}), rootfs({"middle": noise(2_000_000)})
    own = [rootfs({f"own{n}": noise(700_000), f"text{n}": b"a" * 300_000}) for n in range(4)]
    engine.load(
        ImageSpec(tags=("stays/base:1",), layers=(base,)),
        ImageSpec(tags=("a/going/one:1",), layers=(base, middle, own[0])),  # middle is shared among those that go
        ImageSpec(tags=("a/going/two:1", "a/going/two:also"), layers=(base, middle, own[1])),
        ImageSpec(tags=("several/app:1", "several/app:2"), layers=(base, own[2], own[3])),
        ImageSpec(tags=("stays/four:1",), layers=(base, own[3])),
    )
    desk = Desk(engine, tmp_path, GOING, OLD_TAGS)
    rows = desk.plan()
    bytes_ = planned(rows)
    factor = 1 if engine.kind == "graph" else 2
    # What only those share that go, the last of them frees.
    pair = sorted(bytes_[full(f"a/going/{name}:1")] for name in ("one", "two"))
    assert pair == pytest.approx([factor * 1_000_000, factor * 3_000_000], rel=TOLERANCE)
    assert bytes_[full("several/app:1")] == 0
    # On a containerd store the packed layer own[3] stays with the image that has it on top of another.
    last = 2_000_000 if engine.kind == "graph" else 2 * 1_000_000 + 1_000_000
    assert bytes_[full("several/app:2")] == pytest.approx(last, rel=2 * TOLERANCE)
    shown = desk.run("plan").out
    before = taken(engine)
    done = desk.run("apply", desk.file, "--yes")
    assert done.code == 0, done.out + done.err
    assert before - taken(engine) == pytest.approx(sum(bytes_.values()), rel=TOLERANCE)
    # One figure for one removal, whoever tells it.
    assert f"; {in_bytes(sum(bytes_.values()))}" in done.err
    assert f"would remove 2, untag 2, {in_bytes(sum(bytes_.values()))};" in shown
    undoable = json.loads(desk.run("undo", "--list", "-o", "json").out)
    assert {row["name"]: row["bytes"] for row in undoable} == bytes_
    left = {tag for image in engine.client().images() for tag in image["RepoTags"]}
    assert left == {"stays/base:1", "stays/four:1"}
    history = json.loads(desk.run("history", "--actions", "-o", "json").out)
    assert {row["outcome"] for row in history} == {"applied"}
    assert {row["name"] for row in history} == set(bytes_)


def answered(desk: Desk, answer: str) -> tuple[int, str]:
    """What `apply` shows on a terminal to somebody who types this, and its exit code."""
    child, terminal = pty.fork()
    if child == 0:
        command = [sys.executable, "-m", "dockwarden", "apply", "--config", str(desk.config), str(desk.file)]
        os.execve(command[0], command, environment(desk.engine.host, None))
    shown = b""
    with contextlib.suppress(OSError):  # so a terminal ends
        while chunk := os.read(terminal, 4096):
            shown += chunk
            if chunk.endswith(b"[y/N] "):
                os.write(terminal, answer.encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def test_a_person_is_asked_on_a_terminal(any_engine: LabEngine, tmp_path: Path) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("a/going/1:1",)))
    desk = Desk(engine, tmp_path, GOING)
    desk.plan()
    for answer in ("", "yes please"):
        code, shown = answered(desk, answer)
        assert (code, "nothing was done" in shown) == (2, True), shown
        assert len(engine.client().images()) == 1
    code, shown = answered(desk, "y")
    assert (code, "1 applied" in shown) == (0, True), shown
    assert engine.client().images() == []


def test_apply_touches_only_what_is_planned_and_still_eligible(empty_engine: LabEngine, tmp_path: Path) -> None:
    engine = empty_engine
    going = (ImageSpec(tags=(f"a/going/{n}:1",), labels={"n": str(n)}) for n in range(5))
    engine.load(*going, images.busybox("other/used:1"))
    engine.docker("create", "--name=user", "a/going/0:1", "x")
    desk = Desk(engine, tmp_path, GOING)
    rows = desk.plan()
    assert set(planned(rows)) == {full(f"a/going/{n}:1") for n in (1, 2, 3, 4)}
    by_name = {row["name"]: row for row in rows}
    assert (by_name[full("a/going/0:1")]["reason"], by_name[full("a/going/0:1")]["detail"]) == (
        "in_use",
        "used by user",
    )
    assert by_name[full("other/used:1")]["reason"] == "pass"

    table = desk.run("plan").out
    assert "would remove 4," in table
    assert "used by user" in table
    assert full("other/used:1") not in table
    assert full("other/used:1") in desk.run("plan", "--all").out

    engine.docker("create", "--name=late", "a/going/1:1", "x")  # comes into use
    engine.docker("rmi", "a/going/2:1")  # goes by itself
    engine.docker("rmi", "a/going/3:1")  # another image under its name
    engine.load(ImageSpec(tags=("a/going/3:1",), labels={"n": "another"}))
    engine.load(ImageSpec(tags=("a/going/5:1",), labels={"n": "5"}))  # eligible, but nobody has seen it in the plan
    asked = desk.run("apply", desk.file)
    assert asked.code == 2
    assert "--yes" in asked.err
    done = desk.run("apply", desk.file, "--yes")
    assert done.code == 0, done.out + done.err
    assert "used by late" in done.out
    left = {tag for image in engine.client().images() for tag in image["RepoTags"]}
    assert left == {f"a/going/{n}:1" for n in (0, 1, 3, 5)} | {"other/used:1"}
    again = desk.run("apply", desk.file, "--yes")
    assert (again.code, "nothing of the plan is left" in again.err) == (0, True)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_releases_are_kept_by_version_and_other_tags_by_their_word(empty_engine: LabEngine, tmp_path: Path) -> None:
    """All builds of releases say 1970, as builds do that can be repeated; what a pipeline leaves is newer than all."""
    epoch = datetime.fromtimestamp(0, UTC)
    releases = ("1.10.0", "1.9.0-ls200", "1.9.0-ls31", "1.2.0", "2024.10.1", "1.1.0-alpine")
    others = ("pr-12", "pr-101", "pr-9", "pr-7", "main-abcdef1", "sha-1234567", "20240501")
    made = dict.fromkeys(releases, epoch)
    made |= {name: datetime.now(UTC) - timedelta(days=age) for age, name in enumerate(others)}
    empty_engine.load(
        *(ImageSpec(tags=(f"kept/app:{name}",), labels={"n": name}, created=at) for name, at in made.items())
    )
    when = "tag.rank_by_created >= 2 && !image.in_use"
    desk = Desk(
        empty_engine,
        tmp_path,
        policy(
            "releases", "tag", f"{when} && tag.rank_by_used > 1", select="tag.version != ''", action="untag", limits=ALL
        ),
        policy("pulls", "tag", when, select="tag.name.startsWith('pr-')", action="untag", limits=ALL),
    )
    assert set(planned(desk.plan())) == {full(f"kept/app:{name}") for name in ("1.9.0-ls31", "1.2.0", "pr-9", "pr-7")}


def test_sizes_of_containers_volumes_and_the_host(empty_engine: LabEngine, tmp_path: Path) -> None:
    engine = empty_engine
    engine.load(images.busybox("e2e/app:1"))
    engine.docker("volume", "create", "e2e-data")
    script = "head -c 3000000 /dev/zero > /data/f; head -c 1000000 /dev/zero > /f"
    engine.docker("run", "--name=job", "--volume=e2e-data:/data", "e2e/app:1", "sh", "-c", script)
    small = "container.size_rw > 900000 && container.size_rw < 1200000"
    desk = Desk(
        engine,
        tmp_path,
        policy("jobs", "container", small, action="remove", limits=ALL),
        policy("alone", "image", "image.unique_size > 0", action="remove", limits=ALL),
        policy("data", "volume", "volume.name == 'e2e-data' && volume.size > 2900000", action="remove",
               trigger={"every": "1h"}, **{"for": "1s"}),
        policy("cache", "host", "host.build_cache_size >= 0 && host.volumes_size > 2900000 && host.images_size > 1000",
               action={"trim_build_cache": {"max_used_space": "1GB"}}),
    )  # fmt: skip
    rows = {row["policy"]: row for row in desk.plan()}
    assert rows["jobs"]["outcome"] == "planned"
    assert rows["jobs"]["bytes"] == pytest.approx(1_000_000, rel=0.1)
    assert (rows["alone"]["reason"], rows["alone"]["detail"]) == ("in_use", "used by job")
    assert (rows["data"]["reason"], rows["data"]["detail"]) == ("in_use", "used by job")
    assert (rows["cache"]["outcome"], rows["cache"]["bytes"]) == ("planned", None)


def test_plans_that_cannot_be_used(graph_engine: LabEngine, tmp_path: Path) -> None:
    graph_engine.wipe()
    graph_engine.load(ImageSpec(tags=("a/going/1:1",)), ImageSpec(tags=("stays/a:1",), labels={"a": "b"}))
    desk = Desk(graph_engine, tmp_path, GOING)
    desk.plan()
    good = json.loads(desk.file.read_text())

    def apply(content: object) -> tuple[int, str]:
        text = content if isinstance(content, str) else json.dumps(content)
        desk.file.write_text(text)
        done = desk.run("apply", desk.file, "--yes")
        assert len(graph_engine.client().images()) == 2
        return done.code, done.err

    step = good["steps"][0]
    stays = graph_engine.client().inspect_image("stays/a:1")["Id"]
    for content, code, words in (
        (desk.file.read_text()[:-40], 78, "damaged"),
        ("", 78, "damaged"),
        ([], 78, "no dockwarden plan"),
        ({**good, "version": 7}, 78, "of another version"),
        ({**good, "format": "shopping list"}, 78, "format"),
        ({**good, "steps": [{**step, "subject": "moon"}]}, 78, "steps.0.subject"),
        ({**good, "steps": [{**step, "bytes": "many"}]}, 78, "steps.0.bytes"),
        ({**good, "engine": "another"}, 1, "another engine"),
        ({**good, "steps": [{**step, "object_id": stays, "identity": stays}]}, 0, "nothing of the plan"),
        ({**good, "steps": [{**step, "policy": "made-up"}]}, 0, "nothing of the plan"),
        ({**good, "steps": [{**step, "action": "untag"}]}, 0, "nothing of the plan"),
        ({**good, "steps": []}, 0, "nothing of the plan"),
    ):
        assert (apply(content)[0], words in apply(content)[1]) == (code, True), (content, apply(content))
    assert desk.run("apply", tmp_path / "none.json").code == 78
    capped = Desk(graph_engine, tmp_path, GOING, allow="audit")
    capped.file.write_text(json.dumps(good))
    refused = capped.run("apply", capped.file, "--yes")
    assert (refused.code, "allow: audit" in refused.err) == (1, True)


def test_words_that_make_no_plan(tmp_path: Path, graph_engine: LabEngine) -> None:
    graph_engine.wipe()
    audit = policy("reports", "image", "image.in_use")
    desk = Desk(graph_engine, tmp_path, GOING, audit)
    assert desk.run("plan", "--policy", "goign").code == 2
    assert "did you mean going?" in desk.run("plan", "--policy", "goign").err
    nothing = desk.run("plan", "--policy", "reports")
    assert (nothing.code, "no action" in nothing.err) == (0, True)
    assert desk.run("plan", "--save", tmp_path / "no" / "folder").code == 1
    away = command("plan", "--config", desk.config)
    assert away.code == 69, away


def test_a_daemon_and_an_apply_do_not_get_in_each_others_way(
    any_engine: LabEngine, tmp_path: Path, start: Start
) -> None:
    """Both want the same forty images at once: each goes once, and each record has an end."""
    count = 40
    any_engine.load(*(ImageSpec(tags=(f"a/going/{n}:1",), labels={"n": str(n)}) for n in range(count)))
    enforced = {**GOING, "mode": "enforce", "trigger": {"every": "5s"}}
    daemon = start(any_engine, [enforced], settings={"minimum_stay": "0s"}).ready()
    desk = Desk(any_engine, tmp_path, enforced, state_dir=str(daemon.state))
    desk.plan()
    done = desk.run("apply", desk.file, "--yes")
    daemon.until(lambda: any_engine.client().images() == [], "all of them to be gone")
    daemon.end()
    with contextlib.closing(sqlite3.connect(daemon.state / "ledger.db")) as db:
        rows = db.execute("SELECT key, outcome FROM actions").fetchall()
    assert sorted(key for key, outcome in rows if outcome == "applied") == sorted({key for key, _ in rows})
    assert len({key for key, _ in rows}) == count
    assert None not in {outcome for _, outcome in rows}
    assert done.code in (0, 1)
    assert daemon.said("action.failed") == []


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_a_person_gets_past_a_limit_by_looking_first(empty_engine: LabEngine, tmp_path: Path) -> None:
    engine = empty_engine
    engine.load(*(ImageSpec(tags=(f"a/going/{n}:1",), labels={"n": str(n)}) for n in range(4)))
    desk = Desk(engine, tmp_path, {**GOING, "limits": {"max_objects": 2, "max_percent": 100}})
    rows = desk.plan()
    assert (planned(rows), set(kept(rows).values())) == ({}, {"limits"})
    assert "plan --policy going --over-limits --save FILE" in rows[0]["detail"]
    assert len(planned(desk.plan("--over-limits"))) == 4
    done = desk.run("apply", desk.file, "--yes")
    assert done.code == 0, done.out + done.err
    assert engine.client().images() == []


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_what_a_host_protects_stays_whatever_a_plan_says(empty_engine: LabEngine, tmp_path: Path) -> None:
    engine = empty_engine
    engine.load(*(ImageSpec(tags=(f"a/going/{n}:1",), labels={"n": str(n)}) for n in range(2)))
    for name in ("kept", "old"):
        engine.docker("network", "create", name)
    nets = policy("nets", "network", "!network.builtin", action="remove", limits=ALL)
    desk = Desk(engine, tmp_path, GOING, nets, protect={"images": ["a/going/0"], "networks": ["kep*"]})
    rows = desk.plan()
    assert {name for name, reason in kept(rows).items() if reason == "protected"} == {full("a/going/0:1"), "kept"}
    done = desk.run("apply", desk.file, "--yes")
    assert done.code == 0, done.out + done.err
    assert [image["RepoTags"] for image in engine.client().images()] == [["a/going/0:1"]]
    assert {net["Name"] for net in engine.client().networks()} & {"kept", "old"} == {"kept"}


STOOD_ON = ("--network=container:{}", "--pid=container:{}", "--ipc=container:{}", "--link={}:db")


@pytest.mark.slow
def test_what_others_need_to_start_stays_or_goes_and_comes_back_with_them(
    any_engine: LabEngine, tmp_path: Path
) -> None:
    """Made again, a container has another ID, and those that shared its namespaces know the old one."""
    engine = any_engine
    engine.load(images.busybox("app:1", cmd=("sleep", "1000"), own="x"))
    pairs = {f"a{n}": (f"b{n}", option.format(f"a{n}")) for n, option in enumerate(STOOD_ON)}
    for owner, (user, option) in pairs.items():
        engine.docker("run", "--detach", f"--name={owner}", "--ipc=shareable", "app:1")
        engine.docker("run", "--detach", f"--name={user}", option, "app:1")
    every = [*(user for user, _ in pairs.values()), *pairs]
    engine.docker("stop", "--time=0", *every)

    def asked(when: str) -> Desk:
        return Desk(engine, tmp_path, policy("over", "container", when, action="remove", limits=ALL))

    rows = asked("container.name.startsWith('a')").plan()
    assert {name: reason for name, reason in kept(rows).items() if name in pairs} == dict.fromkeys(pairs, "in_use")
    assert {row["detail"] for row in rows if row["name"] == "a0"} == {"without it could never start again: b0"}
    desk = asked("container.state == 'exited'")
    for attempt in ("all", "but one"):
        if attempt == "but one":  # which cannot be kept, as somebody finds out only now
            engine.docker("rm", "--force", "b1")
            engine.docker("run", "--name=b1", "--pid=container:a1", "app:1", "/bin/busybox", "rm", "/own")
            engine.docker("stop", "--time=0", *every)
        order = [row["name"] for row in desk.plan() if row["outcome"] == "planned"]
        assert all(order.index(user) < order.index(owner) for owner, (user, _) in pairs.items())
        done = desk.run("apply", desk.file, "--yes")
        assert done.code == (attempt == "but one"), done.out
        left = set(engine.docker("ps", "--all", "--format={{.Names}}").split())
        assert left == (set() if attempt == "all" else {"b1", "a1"}), done.out
        [run] = {row["run"] for row in json.loads(desk.run("undo", "--list", "-o", "json").out)}
        assert desk.run("undo", run).code == 0
        for owner, (user, _) in pairs.items():
            engine.docker("start", owner)
            engine.docker("start", user)

"""Updates of containers and tags on real engines of both kinds, with a real registry and a real ledger."""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import closing
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from dockwarden.actions.execute import end_intents
from dockwarden.actions.service_update import ServiceUpdate
from dockwarden.actions.verb import ENDING
from dockwarden.model import Kind, Outcome, Ref, Step
from dockwarden.process.probe import probe
from dockwarden.registry import HttpRegistry
from tests.chaos.updates import CHANGES, LOST, killed_at_every_step, meddled, shipped, update
from tests.commands import command
from tests.integration.test_undo import Host
from tests.lab.engine import LabEngine
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.lab.engine import Kind as Kinds
    from tests.lab.registry import LabRegistry

pytestmark = pytest.mark.slow
NAME = "update/app:1"


@pytest.fixture
def host(empty_engine: LabEngine, registry: LabRegistry, tmp_path: Path) -> Iterator[Host]:
    made = Host(empty_engine, registry, tmp_path)
    yield made
    made.close()


def pushed(host: Host, word: str, *, cmd: tuple[str, ...] = ("sleep", "1000"), volumes: tuple[str, ...] = ()) -> str:
    """The digest of another image under the tag, of which nobody has asked yet."""
    spec = host.spec(word)
    host.asks.close()
    host.asks = HttpRegistry()
    return host.registry.push("update/app", "1", replace(spec, cmd=cmd, volumes=volumes))


def pull(host: Host, digest: str) -> Outcome:
    tag = host.name(NAME)
    step = Step("test", "pull", Ref(Kind.TAG, tag), tag, host.engine.image(tag), "because", digest=digest)
    return host.carried_out(step)[0]


# A bad one goes its own way from the eighth on; which store it is has no part in what is put aside and comes back.
@pytest.mark.parametrize(
    ("engine", "version", "begin"), [("graph", "good", 0), ("containerd", "bad", 8)], indirect=["engine"]
)
def test_killed_before_any_change_one_container_runs_with_its_data_and_a_record(
    host: Host, version: str, begin: int
) -> None:
    with shipped(host.lab, every=False):
        *cut_short, end = killed_at_every_step(host, version, begin)
        assert len(cut_short) >= len(CHANGES)
        assert [word for word in cut_short if word.startswith(LOST) or not word.endswith("as before")] == []
        assert end.endswith("new" if version == "good" else "done, as before"), end


# Each moment once: who else makes a container has no part in the store.
@pytest.mark.parametrize(
    ("engine", "step"), [("graph", "set_restart_policy"), ("containerd", "gate")], indirect=["engine"]
)
def test_who_makes_a_container_anew_amid_its_update_keeps_it_and_the_old_one_has_a_record(
    host: Host, step: str
) -> None:
    with shipped(host.lab, every=False):
        assert meddled(host, "makes it anew", step) == "makes it anew: whole, replaced"
        name = host.done()[0].name
        assert host.undo()[0][:2] == ("refused", "taken")
        host.lab.docker("rm", "--force", name)
        assert host.undo()[0][:2] == ("applied", "restored")
        assert told(host, name, "{{.Id}} {{.State.Running}}") == f"{host.engine.container(name).id} true"


@pytest.mark.parametrize("cut", ["update", "undo"])
@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # no image comes or goes
def test_what_was_killed_is_ended_by_the_next_command_whichever_it_is(host: Host, tmp_path: Path, cut: str) -> None:
    def kill(*_: str) -> None:
        raise KeyboardInterrupt

    for word in ("old", "new"):
        host.built(word, f"update/cut:{word}")
    tag, plan = host.name("update/cut:1"), str(tmp_path / "plan.json")
    host.lab.docker("tag", host.name("update/cut:old"), tag)
    host.lab.docker("run", "--detach", "--name=it", "--stop-signal=KILL", tag)
    before = told(host, "it", "{{.Id}}")
    host.lab.docker("tag", host.name("update/cut:new"), tag)
    if cut == "undo":
        assert update(host, steady="0s").reason == "updated"
    with patch.object(host.engine, "start_container", kill), pytest.raises(KeyboardInterrupt):
        _ = update(host) if cut == "update" else host.undo()
    assert host.lab.docker("ps", "--quiet") == ""
    host.ledger.close()
    more = {"DOCKWARDEN_STATE_DIR": str(host.folder)}
    assert command("plan", "--save", plan, docker_host=host.lab.host, more=more).code == 0
    words = ["undo", "1"] if cut == "undo" else ["apply", plan, "--yes"]
    done = command(*words, docker_host=host.lab.host, more=more)
    assert (done.code, "restored" in done.out) == (0, cut == "undo"), done
    assert told(host, "it", "{{.Id}} {{.State.Running}}") == f"{before} true"
    assert (names(host), command("undo", "1", docker_host=host.lab.host, more=more).code) == ({"it"}, 1)


def told(host: Host, name: str, form: str) -> str:
    return host.lab.docker("inspect", f"--format={form}", name)


def names(host: Host) -> set[str]:
    return set(host.lab.docker("container", "ls", "--all", "--format={{.Names}}").split())


def test_an_update_pulls_what_was_judged_and_takes_along_who_lives_in_it(host: Host) -> None:
    tag, repository = host.name(NAME), host.name("update/app")
    first = host.pulled("1", NAME)
    host.built("side", "update/side:1")
    host.lab.docker("create", "--name=web", "--volume=data:/data", "--restart=always", tag)
    (host.folder / "placed").write_text("placed")
    host.lab.docker("cp", str(host.folder / "placed"), "web:/placed")
    host.lab.docker("start", "web")
    host.lab.docker("run", "--detach", "--name=side", "--network=container:web", host.name("update/side:1"))
    host.lab.docker("exec", "web", "sh", "-c", "echo kept >/data/file")
    old, old_side = told(host, "web", "{{.Id}}"), told(host, "side", "{{.Id}}")

    second = pushed(host, "2")
    moved = update(host, "web", digest=f"sha256:{'0' * 64}", pull=True)
    assert (moved.effect.value, moved.reason) == ("skipped", "changed")
    assert host.engine.image(tag).id == first.id
    done = update(host, "web", digest=second, pull=True)
    assert (done.reason, done.detail.endswith("made again after it: side")) == ("updated", True), done
    new, now = host.engine.container("web"), host.engine.image(tag)
    assert (new.image_id, new.running, now.digests) == (now.id, True, (f"{repository}@{second}",))
    assert host.lab.docker("exec", "web", "cat", "/own", "/data/file", "/placed") == "2kept\nplaced"
    side = host.engine.container("side")
    assert (side.network_mode, side.running) == (f"container:{new.id}", True)
    assert host.engine.image(first.id).tags == ()

    third = pushed(host, "3", cmd=("sh", "-c", "echo cannot; exit 3"), volumes=("/new",))
    failed = update(host, "web", digest=third, pull=True)
    assert (failed.reason, "cannot" in failed.detail) == ("rolled_back", True), failed
    assert told(host, "web", "{{.Id}} {{.State.Running}}") == f"{new.id} True".lower()
    assert host.engine.container("side").running
    assert host.engine.image(tag).id == now.id
    assert [volume.name for volume in host.engine.volumes()] == ["data"]
    again = update(host, "web", digest=third, pull=True)
    assert (again.effect.value, again.reason) == ("refused", "barred")

    assert [reason for _, reason, _ in host.undo()] == ["restored"]
    assert (told(host, "web", "{{.Id}}"), told(host, "side", "{{.Id}}")) == (old, old_side)
    assert names(host) == {"web", "side"}
    assert (host.engine.image(tag).id, host.engine.container("side").running) == (first.id, True)


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # no image comes or goes
def test_what_shared_a_network_comes_back_after_the_old_ones_were_removed(host: Host) -> None:
    host.built("1", "aside/app:1", "aside/kept:1")
    host.built("side", "aside/side:1")
    tag = host.name("aside/app:1")
    host.lab.docker("run", "--detach", "--name=web", tag)
    host.lab.docker("run", "--detach", "--name=side", "--network=container:web", host.name("aside/side:1"))
    host.built("2", "aside/app:1")
    assert update(host, "web").reason == "updated"
    kept = [host.engine.container(key) for key, _ in host.ledger.aside("test")]
    assert host.remove(*kept, run="run-2") == [("applied", "removed")] * 2
    assert [reason for run in ("run-2", "run-1") for _, reason, _ in host.undo(run)] == ["restored"] * 3
    assert names(host) == {"web", "side"}
    web, side = host.engine.container("web"), host.engine.container("side")
    assert (side.network_mode, side.running, web.running) == (f"container:{web.id}", True, True)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volumes_whose_places_are_relative_come_along_and_back(host: Host) -> None:
    def ship(word: str) -> None:
        spec = host.spec(word, host.name("update/relative:1"), host.name(f"update/relative:{word}"))
        host.lab.load(replace(spec, volumes=("data",)))  # as `VOLUME data` of a Dockerfile says

    def kept() -> str:
        return host.lab.docker("exec", "web", "cat", "/data/file", "/more/of/file")

    ship("old")
    host.lab.docker("run", "--detach", "--name=web", "--volume=more/of", host.name("update/relative:1"))
    host.lab.docker("exec", "web", "sh", "-c", "echo data | tee /data/file >/more/of/file")
    for word in ("new", "newer"):
        ship(word)
        done = update(host, "web", steady="0s")
        assert (done.reason, "what it wrote" in done.detail, kept()) == ("updated", False, "data\ndata"), done
    host.lab.docker("stop", "web")
    assert host.remove(host.engine.container("web"), run="run-2") == [("applied", "removed")]
    assert [reason for _, reason, _ in host.undo("run-2")] == ["restored"]
    host.lab.docker("start", "web")
    assert kept() == "data\ndata"


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_what_was_put_in_right_before_the_start_may_have_a_time_after_it(host: Host) -> None:
    host.built("1", "placed:1")
    host.lab.docker("create", "--name=web", host.name("placed:1"))

    def started() -> float:
        return host.engine.container("web").started_at or 0.0

    def is_late() -> bool:
        host.lab.docker("restart", "--time=0", "web")
        return started() % 1 > 0.5

    until(is_late, "a start late in a second")
    for name, seconds in (("placed", 0), ("written", 1)):
        file = host.folder / name
        file.write_text(name)
        os.utime(file, (0, ceil(started()) + seconds))
        host.lab.docker("cp", str(file), f"web:/{name}")
    assert host.engine.carry(host.engine.container("web").id) == ("/placed",)


def test_a_tag_is_pulled_by_its_digest_and_an_aborted_pull_leaves_nothing_named(host: Host) -> None:
    tag = host.name(NAME)
    first = host.pulled("1", NAME)
    before = host.names(tag)
    second = pushed(host, "2")

    def end(*_: object) -> None:
        raise ENDING

    host.pulling = end
    assert pull(host, second).reason == "ending"
    assert (len(list(host.engine.images())), host.names(tag)) == (1, before)
    host.pulling = lambda *_: None

    engine, is_tagged = host.engine.tag, []

    def killed(image_id: str, name: str) -> None:
        if name == tag:
            is_tagged.append(name)
            raise KeyboardInterrupt
        engine(image_id, name)

    with patch.object(host.engine, "tag", killed), pytest.raises(KeyboardInterrupt):
        pull(host, second)
    assert is_tagged
    assert [outcome.reason for outcome in end_intents(host.tools(), host.ledger)] == ["interrupted"]
    assert host.names(tag) == before
    assert not [each for each in host.engine.images() if each.id != first.id and each.tags]

    assert pull(host, second).reason == "pulled"
    assert host.names(tag) == (host.engine.image(tag).id, (tag,), (f"{host.name('update/app')}@{second}",))
    assert pull(host, second).reason == "changed"
    assert [reason for _, reason, _ in host.undo()] == ["restored"]
    assert host.engine.image(tag).id == first.id
    host.lab.docker("rmi", tag)
    assert not host.exists(tag)


def inside(host: Host, work: Callable[[], str]) -> str:
    """Done in the network of the engine's host, where dockwarden is at home."""
    result: list[str] = []

    def enter() -> None:
        with open(f"/proc/{host.lab.spaces.init_pid}/ns/net") as net:  # noqa: PTH123
            if ctypes.CDLL(None, use_errno=True).setns(net.fileno(), 0):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        result.append(work())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return result[0]


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # what it answers has no part in the store
def test_a_probe_decides_with_the_gate(host: Host) -> None:
    tag = host.name(NAME)

    def ship(word: str, *cmd: str) -> None:
        spec = host.spec(word, tag, host.name(f"update/kept:{word}"))
        host.lab.load(type(spec)(**{**vars(spec), "cmd": cmd}))

    ship("1", "sleep", "1000")
    host.lab.docker("run", "--detach", "--name=web", tag)
    old = told(host, "web", "{{.Id}}")
    ship("2", "sleep", "1000")
    host.probe = lambda url, address: inside(host, lambda: probe(url, address))
    deaf = update(host, "web", within="2s", probe="tcp://:8080")
    assert (deaf.reason, "does not answer tcp://:8080" in deaf.detail) == ("rolled_back", True), deaf
    ship("3", "busybox", "httpd", "-f", "-p", "8080", "-h", "/bin")
    deaf = update(host, "web", within="5s", probe="http://:8080/none")
    assert (deaf.reason, "it answers 404" in deaf.detail) == ("rolled_back", True), deaf
    assert told(host, "web", "{{.Id}} {{.State.Running}}") == f"{old} true"
    ship("4", "busybox", "httpd", "-f", "-p", "8080", "-h", "/bin", "-u", "0")
    assert update(host, "web", probe="http://:8080/sh").reason == "updated"


@pytest.mark.parametrize("kind", ["graph", "containerd"])
def test_a_service_is_updated_by_its_swarm_and_goes_back(kind: Kinds, registry: LabRegistry, tmp_path: Path) -> None:
    with LabEngine(kind) as lab:
        lab.forward(registry.port)
        lab.docker("swarm", "init", "--advertise-addr=127.0.0.1")
        (tmp_path / "own").mkdir()
        with closing(Host(lab, registry, tmp_path / "own")) as host:
            keep_the_address_that_somebody_asked_for(host, lab)
        with closing(Host(lab, registry, tmp_path)) as host:
            first = pushed(host, "service 1")
            back = (
                "--update-failure-action=rollback",
                "--update-monitor=5s",  # a busy machine may tell of a failure late
                "--rollback-monitor=2s",
                "--restart-delay=0s",
            )
            web = lab.docker("service", "create", "--quiet", "--name=web", *back, host.name(NAME))
            assert host.engine.service(web).image_ref == f"{host.name(NAME)}@{first}"

            second = pushed(host, "service 2")
            assert served(host, web, f"sha256:{'0' * 64}").reason == "changed"
            assert served(host, web, second).reason == "updated"
            assert host.engine.service(web).image_ref.endswith(second)
            third = pushed(host, "service 3", cmd=("sh", "-c", "exit 3"))
            failed = served(host, web, third)
            assert (failed.effect.value, failed.reason) == ("failed", "rolled_back"), failed
            assert "task: non-zero exit (3)" in failed.detail
            assert host.engine.service(web).image_ref.endswith(second)
            assert served(host, web, third).reason == "barred"
            assert [reason for _, reason, _ in host.undo()] == ["restored"]
            assert host.engine.service(web).image_ref.endswith(first)
            lab.docker("service", "scale", "--detach", "web=0")
            until(lambda: not host.engine.service(web).running, "its tasks to end")
            assert "it has no tasks" in served(host, web, pushed(host, "service 4")).detail
            # Meanwhile it has no task, too.
            slow = ("--mode=global", "--restart-delay=3s", "--update-monitor=10s")
            everywhere = lab.docker("service", "create", "--quiet", "--name=all", *slow, host.name(NAME))
            paused = served(host, everywhere, pushed(host, "service 5", cmd=("sh", "-c", "exit 3")))
            assert (paused.effect.value, paused.reason) == ("failed", "paused"), paused
            assert "task: non-zero exit (3)" in paused.detail
            client = lab.client()

            def is_counted_nowhere() -> bool:
                status = client.services({"id": everywhere}, status=True)[0]["ServiceStatus"]
                return not status["DesiredTasks"] + status["RunningTasks"]

            until(is_counted_nowhere, "its task to wait for its next start")
            assert host.engine.service(everywhere).replicas == 1
            worse = served(host, everywhere, pushed(host, "service 6", cmd=("sh", "-c", "exit 4")))
            assert worse.reason == "paused", worse
            nowhere = lab.docker("service", "create", "--quiet", "--detach", "--name=no", "--mode=global",
                                 "--constraint=node.labels.none==1", host.name(NAME))  # fmt: skip
            assert "it has no tasks" in served(host, nowhere, pushed(host, "service 7")).detail
            platforms = ("linux/amd64", "linux/riscv64")
            host.asks = HttpRegistry()
            index = registry.push_index("update/app", "1", platforms, host.spec("service 8"))
            assert "it has no tasks" in served(host, nowhere, index).detail
            placed = client.inspect_service(nowhere)["Spec"]["TaskTemplate"]["Placement"]
            assert placed["Constraints"] == ["node.labels.none==1"]
            assert [f"{each['OS']}/{each['Architecture']}" for each in placed["Platforms"]] == [*platforms]
            tell_what_fails_on_or_waits(host, lab)
        lab.docker("service", "rm", "web", "all", "no", "any", "one", "once")


def served(host: Host, identifier: str, digest: str) -> Outcome:
    """What becomes of the service where this was judged."""
    web, options = host.engine.service(identifier), ServiceUpdate.options(within="1m").model_dump()
    step = Step("test", "update", Ref(Kind.SERVICE, web.id), "web", web, "because", options=options, digest=digest)
    return host.carried_out(step)[0]


def tell_what_fails_on_or_waits(host: Host, lab: LabEngine) -> None:
    """A service whose tasks may fail, and one of which no node takes the new task while the old one runs."""
    pushed(host, "service 9")
    careless = ("--update-failure-action=continue", "--update-monitor=2s", "--restart-delay=0s")
    any_way = lab.docker("service", "create", "--quiet", "--name=any", *careless, host.name(NAME))
    alone = ("--replicas-max-per-node=1", "--update-order=start-first")
    one = lab.docker("service", "create", "--quiet", "--name=one", *alone, host.name(NAME))
    once = ("--detach", "--restart-condition=on-failure", host.name(NAME), "true")
    job = lab.docker("service", "create", "--quiet", "--name=once", *once)
    until(lambda: host.engine.service(job).is_over, "its end")
    on = served(host, any_way, pushed(host, "service 10", cmd=("sh", "-c", "exit 3")))
    assert (on.reason, "the last one that failed: task: non-zero exit (3)" in on.detail) == ("updated", True), on
    host.engine.update_service(one, host.engine.service(any_way).image_ref)
    until(lambda: "no suitable node" in host.engine.service(one).unplaced, "nobody to take its task")
    assert served(host, job, on.detail).reason == "job"


def keep_the_address_that_somebody_asked_for(host: Host, lab: LabEngine) -> None:
    """While a container runs, the engine shows one in a network of the swarm that was asked for in no other way."""
    pushed(host, "address 1")
    lab.docker("network", "create", "--driver=overlay", "--attachable", "--subnet=10.77.0.0/24", "wide")
    for name, *given in (("any",), ("fixed", "--ip=10.77.0.50")):
        lab.docker("run", "-d", f"--name={name}", "--network=wide", "--network-alias=x", *given, host.name(NAME))
    client, mac = lab.client(), "9e:11:22:33:44:55"  # Docker's own asks no older engine for one in a network
    wide = client.create_host_config(network_mode="wide")
    client.create_container(host.name(NAME), name="called", host_config=wide, mac_address=mac)
    client.start("called")
    newer = pushed(host, "address 2")
    asked = "{{range .NetworkSettings.Networks}}{{index .Aliases 0}}{{with .IPAMConfig}}{{.IPv4Address}}{{end}}{{end}}"
    for name, address in (("any", ""), ("fixed", "10.77.0.50")):
        done = update(host, name, digest=newer, pull=True)
        assert done.reason == "updated", done
        lab.docker("stop", name)
        assert told(host, name, asked) == f"x{address}"
    assert update(host, "called", digest=newer, pull=True).reason == "updated"
    assert told(host, "called", "{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}") == mac

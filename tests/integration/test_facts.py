"""Facts of real objects on real engines of both kinds: what the engine's own client shows is the oracle."""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from dockwarden.engine import DockerEngine
from dockwarden.engine.disk import measure
from dockwarden.inventory import facts
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.gather import Gatherer, LaterError
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.memory import Memory, ObservationClock
from dockwarden.model import Facts, Kind
from dockwarden.ports import Ask, Reply
from tests.lab.images import ImageSpec, busybox
from tests.lab.machine import LabError
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.engine import LabEngine


class Nowhere:
    """No registry answers."""

    def ask(self, _ask: Ask, _max_age_seconds: float = 0.0) -> Future[Reply]:
        future: Future[Reply] = Future()
        future.set_result(Reply(reason="unreachable"))
        return future

    def note(self, _ask: Ask, _reply: Reply | None) -> None: ...

    def remembered(self, _ask: Ask) -> Reply | None:
        return None

    def login(self, _registry: str) -> dict[str, str]:
        return {}


class Host:
    """An engine as it is seen with everything gathered."""

    def __init__(self, engine: DockerEngine) -> None:
        self.engine = engine
        self.clock = ObservationClock(time.monotonic)
        self.clock.resume()
        self.inventory = Inventory(Memory(self.clock))
        self.collector = Collector(engine, self.inventory)
        self.look()

    def look(self) -> None:
        self.inventory.info = self.engine.connect()
        self.collector.reconcile()
        assert self.collector.take_troubles() == []

    def facts(self, kind: Kind, name: str = "") -> dict[str, Any]:
        """All facts of an object but those of registries."""
        ref = next(ref for ref in self.inventory.all(kind) if not name or self.inventory.name_of(ref) == name)
        gatherer = Gatherer(self.inventory, self.collector, Nowhere(), measure, lambda: None)
        sheet = Facts()
        names = [each for each, spec in facts.VOCABULARY[kind].items() if spec.cost < 3]
        with gatherer.begin(2, time.time()) as gathering:
            for fact in names:
                while fact not in sheet.known:
                    try:
                        gatherer.gather(gathering, ref, fact, names, sheet)
                    except LaterError:
                        list(gatherer.catch_up(gathering))
                    else:
                        break
        return sheet.known


@pytest.fixture
def host(empty_engine: LabEngine) -> Iterator[Host]:
    """The engine of `empty_engine`; look again after a change."""
    with contextlib.closing(DockerEngine(empty_engine.host)) as engine:
        engine.connect()
        yield Host(engine)


def inspected(lab: LabEngine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.docker("inspect", name))[0]
    return found


def test_every_option_of_a_container_becomes_its_fact(empty_engine: LabEngine, host: Host) -> None:
    lab = empty_engine
    lab.load(busybox("web:1"))
    lab.docker("network", "create", "front")
    lab.docker("network", "create", "back")
    lab.docker(
        *("create", "--name=web", "--network=front", "--label=team=web", "--user=1000:1000", "--group-add=7"),
        *("--sysctl=net.ipv4.ip_forward=0", "--device-cgroup-rule=c 188:* rmw", "--publish=127.0.0.1:8080:80"),
        *(
            "--publish=53:53/udp",
            "--log-opt=max-size=10m",
            "--mount=type=bind,source=/tmp,target=/x,bind-propagation=rshared",
        ),
        "web:1",
    )
    lab.docker("network", "connect", "back", "web")
    lab.docker("create", "--name=wide", "--privileged", "--security-opt=systempaths=unconfined", "web:1")
    options = (
        "--init --tty --interactive --hostname=h --dns=9.9.9.9 --add-host=a:1.2.3.4 --stop-signal=2 "
        "--stop-timeout=30 --shm-size=32m --memory=64m --memory-swap=-1 --oom-score-adj=100 --tmpfs=/t:size=1m "
        "--workdir=/w --cpuset-cpus=0 --volumes-from=web --volume=/run:/r --mount=type=tmpfs,target=/m"
    )
    lab.docker("create", "--name=told", *options.split(), "web:1")
    host.look()
    web, wide = host.facts(Kind.CONTAINER, "web"), host.facts(Kind.CONTAINER, "wide")
    said, other = inspected(lab, "web")["HostConfig"], host.facts(Kind.CONTAINER, "told")
    expected = {"init": True, "tty": True, "stdin_open": True, "hostname": "h", "dns": ["9.9.9.9"], "stop_timeout": 30}
    expected |= {"extra_hosts": ["a:1.2.3.4"], "stop_signal": "SIGINT", "shm_size": 32 << 20, "memory_swap": -1}
    expected |= {"oom_score_adj": 100, "tmpfs": {"/m": "", "/t": "size=1m"}, "working_dir": "/w", "cpuset": "0"}
    expected |= {"volumes_from": ["web"], "oom_kill_disable": False, "links": []}
    assert {name: other[f"container.{name}"] for name in expected} == expected
    assert [m["source"] for m in other["container.mounts"] if m["destination"] == "/r"] == ["/var/run"]
    assert {m["destination"] for m in other["container.mounts"] if m["type"] == "tmpfs"} == {"/m", "/t"}
    assert "container.started" not in other
    assert web["container.networks"] == ["back", "front"]
    assert web["container.own_labels"] == {"team": "web"}
    assert (web["container.root"], wide["container.root"]) == (False, True)
    assert web["container.group_add"] == ["7"]
    assert web["container.sysctls"] == {"net.ipv4.ip_forward": "0"}
    assert web["container.device_rules"] == ["c 188:* rmw"]
    assert sorted(web["container.published"], key=str) == [
        {"host_ip": "0.0.0.0", "host_port": 53, "port": 53, "protocol": "udp"},
        {"host_ip": "127.0.0.1", "host_port": 8080, "port": 80, "protocol": "tcp"},
    ]
    assert web["container.log_opts"] == {"max-size": "10m"}
    assert [mount["propagation"] for mount in web["container.mounts"]] == ["rshared"]
    assert web["container.masked_paths"] == said["MaskedPaths"] != []
    assert wide["container.masked_paths"] == []
    assert (web["container.runtime"], web["container.oom_killed"]) == (said["Runtime"], False)
    assert host.facts(Kind.NETWORK, "front")["network.used_by"] == ["web"]
    assert host.facts(Kind.NETWORK, "bridge")["network.options"]["com.docker.network.bridge.name"] == "docker0"


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # its store has no part in it; every engine has this one
def test_processes_are_those_that_the_engine_lists(empty_engine: LabEngine, host: Host) -> None:
    lab = empty_engine
    lab.load(busybox("web:1"))
    lab.docker("create", "--name=created", "web:1")
    lab.docker("run", "--detach", "--name=web", "web:1", "sh", "-c", "sleep 1000 & exec sleep 2000")
    until(lambda: lab.docker("exec", "web", "cat", "/proc/1/comm") == "sleep", "the shell to be replaced")
    host.look()
    assert host.facts(Kind.CONTAINER, "created")["container.processes"] == []
    web = host.facts(Kind.CONTAINER, "web")
    try:
        lab.docker("top", "web")
    except LabError:  # an engine whose host has no ps
        assert "container.processes" not in web
    else:
        assert {"sleep 1000", "sleep 2000"} >= set(web["container.processes"]) >= {"sleep 2000"}


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # as above
def test_health_is_that_of_a_container_that_runs(empty_engine: LabEngine, host: Host) -> None:
    lab = empty_engine
    lab.load(busybox("web:1"))
    for name in ("stopped", "paused", "ill", "well"):
        probe = f"--health-cmd={'true' if name == 'well' else 'false'}"
        # One probe that takes long, on a machine that does much else, makes nobody ill and costs no half a minute.
        often = ("--health-interval=1s", "--health-timeout=10s", f"--health-retries={99 if name == 'well' else 1}")
        lab.docker("run", "--detach", f"--name={name}", probe, *often, "web:1")
    until(lambda: inspected(lab, "ill")["State"]["Health"]["Status"] == "unhealthy", "a failed probe")
    until(lambda: inspected(lab, "well")["State"]["Health"]["Status"] == "healthy", "a probe that succeeds")
    lab.docker("stop", "--time=0", "stopped")
    lab.docker("pause", "paused")
    try:
        host.look()
        health = {n: host.facts(Kind.CONTAINER, n)["container.health"] for n in ("stopped", "paused", "ill", "well")}
        assert health == {"stopped": "", "paused": "", "ill": "unhealthy", "well": "healthy"}
        assert host.facts(Kind.CONTAINER, "ill")["container.health_for"].total_seconds() > 0
    finally:
        lab.docker("unpause", "paused")


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_labels_of_the_image_are_not_the_containers_own(empty_engine: LabEngine, host: Host) -> None:
    lab = empty_engine
    claims = {"com.docker.compose.project": "x", "com.docker.swarm.service.id": "y", "dockwarden.protect": "", "a": "1"}
    lab.load(ImageSpec(tags=("claims:1",), labels=claims))
    lab.docker("create", "--name=plain", "claims:1")
    lab.docker("create", "--name=own", "--label=a=2", "--label=com.docker.compose.project=y", "claims:1")
    host.look()
    plain, own = host.facts(Kind.CONTAINER, "plain"), host.facts(Kind.CONTAINER, "own")
    assert plain["container.labels"] == claims
    assert (plain["container.own_labels"], plain["container.owner"]) == ({}, "")
    assert own["container.own_labels"] == {"a": "2", "com.docker.compose.project": "y"}
    assert own["container.owner"] == "compose"


def test_bases_are_told_from_layers_and_history(empty_engine: LabEngine, host: Host) -> None:
    lab = empty_engine
    lab.load(busybox("base:1"))
    lab.docker("run", "--name=one", "base:1", "sh", "-c", "echo > /new")
    lab.docker("commit", "one", "child:1")
    lab.docker("tag", "child:1", "child:2")
    lab.docker("run", "--name=two", "child:1", "sh", "-c", "echo > /newer")
    lab.docker("commit", "two", "grandchild:1")
    host.look()
    child, grand, base = (host.facts(Kind.IMAGE, f"docker.io/library/{n}:1") for n in ("child", "grandchild", "base"))
    assert child["image.base"] == "docker.io/library/base:1"
    assert grand["image.bases"] == [f"docker.io/library/{name}" for name in ("child:1", "child:2", "base:1")]
    assert (grand["image.base"], base["image.base"]) == ("docker.io/library/child:1", "")
    assert base["image.children"] == ["docker.io/library/child:1", "docker.io/library/grandchild:1"]
    assert [step["instruction"] for step in base["image.history"]] == ["lab"]
    assert (child["image.is_base"], grand["image.is_base"]) == (True, False)


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # as above
def test_a_log_is_as_large_as_its_files(empty_engine: LabEngine, host: Host) -> None:
    lab = empty_engine
    lab.load(busybox("web:1"))
    for driver in ("json-file", "local"):
        lab.docker("run", f"--name={driver}", f"--log-driver={driver}", "web:1", "sh", "-c", "echo 0123456789")
    lab.docker("run", "--name=none", "--log-driver=none", "web:1", "sh", "-c", "echo 0123456789")
    host.look()
    sizes = {name: host.facts(Kind.CONTAINER, name)["container.log_bytes"] for name in ("json-file", "local", "none")}
    assert sizes["json-file"] > 10
    assert sizes["local"] > 10
    assert sizes["none"] == 0
    assert host.engine.log_bytes("0" * 64) is None


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # as above
def test_restarts_are_counted_as_they_happen(empty_engine: LabEngine, host: Host) -> None:
    lab = empty_engine
    lab.load(busybox("web:1"))
    lab.docker("run", "--detach", "--name=web", "web:1")
    host.look()
    for _ in range(2):
        lab.docker("restart", "--time=0", "web")
        host.look()
    web = host.facts(Kind.CONTAINER, "web")
    assert web["container.restarts_last_hour"] == 2
    assert web["container.state_for"].total_seconds() < 60


def test_what_the_engine_says_of_its_host(empty_engine: LabEngine, host: Host) -> None:
    lab = empty_engine
    lab.docker("volume", "create", "--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=size=1m", "data")
    host.look()
    known, said = host.facts(Kind.HOST), lab.client().info()
    assert (known["host.memory"], known["host.cpus"]) == (said["MemTotal"], said["NCPU"])
    assert (known["host.storage_driver"], known["host.log_driver"]) == (said["Driver"], said["LoggingDriver"])
    assert (known["host.kernel"], known["host.architecture"]) == (said["KernelVersion"], said["Architecture"])
    assert str(known["host.cgroup_version"]) == said["CgroupVersion"]
    assert known["host.security_options"] == said["SecurityOptions"]
    assert known["host.warnings"] == (said["Warnings"] or [])
    assert known["host.insecure_registries"] == known["host.authorization_plugins"] == []
    assert (known["host.experimental"], known["host.swarm_role"]) == (said["ExperimentalBuild"], "")
    assert host.facts(Kind.VOLUME, "data")["volume.options"] == {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}

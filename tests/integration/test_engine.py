"""The engine adapter on real engines of both kinds: values, event windows, failures.

What removals rely on is in ``test_engine_contract``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import tarfile
import threading
import time
from typing import TYPE_CHECKING, get_args

import pytest

from dockwarden.engine import DockerEngine, from_environment
from dockwarden.errors import ConflictError, EngineError, EngineUnavailableError, NotFoundError
from dockwarden.inventory import kinds
from dockwarden.inventory.collect import Collector
from dockwarden.model import ImageStore
from dockwarden.model import Kind as Kinds
from dockwarden.triggers.events import hints
from tests.builders import Ticks, an_inventory
from tests.lab import images, machine, ssh, trees
from tests.lab.engine import Kind, LabEngine
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from dockwarden.model import Event
    from tests.lab.registry import LabRegistry

SECOND = 1_000_000_000
HOSTILE = {
    "": "",
    "a\x00b": "nul\x00",
    "ansi": "\x1b[2J\x1b]0;owned\x07",
    "lines\r\n": "one\ntwo\r\nthree",
    "bidi": "\u202egpj.exe",
    "line separator": "a\u2028b\u2029c",
    "emoji \U0001f600": "e\u0301\ufeff",
    "markup": "<script>{{7*7}}${jndi:ldap://x}'\";--",
    "long": "x" * 65_536,
    "org.opencontainers.image.version": "\ufffd",
}
MANY = {f"label{n}": "y" * 20 for n in range(5_000)}


@contextlib.contextmanager
def connected(lab: LabEngine, timeout: float = 60.0) -> Iterator[DockerEngine]:
    engine = DockerEngine(lab.host, timeout=timeout)
    engine.connect()
    with contextlib.closing(engine):
        yield engine


@pytest.fixture
def ours(empty_engine: LabEngine) -> Iterator[DockerEngine]:
    """Connected to an empty engine."""
    with connected(empty_engine) as engine:
        yield engine


@pytest.fixture(params=get_args(Kind))
def own_engine(request: pytest.FixtureRequest) -> Iterator[LabEngine]:
    """An engine that the test may break."""
    machine.ensure(machine.ENGINE, "a private engine")
    if request.param == "containerd":
        trees.ensure(trees.NEW_ENGINE)
    with LabEngine(request.param) as started:
        yield started


# -- values --------------------------------------------------------------------------------------------


def test_who_the_engine_is(engine: LabEngine) -> None:
    with connected(engine) as ours:
        info, again = ours.connect(), ours.connect()
    said = engine.client().info()
    assert info == again
    assert info.image_store.value == engine.kind
    assert (info.name, info.data_root, info.version) == (said["Name"], said["DockerRootDir"], said["ServerVersion"])
    assert (info.swarm, info.rootless, info.userns_remap, info.clock_offset_seconds) == (False, False, False, 0.0)
    assert info.api_version == engine.client().version()["ApiVersion"]


def test_an_engine_elsewhere_is_reached_by_ssh_as_by_its_socket(
    graph_engine: LabEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = graph_engine
    lab.wipe()
    lab.load(images.busybox("app:1"))
    with ssh.sshd(tmp_path / "ssh") as (port, commands):
        monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
        context = {"DOCKER_HOST": f"ssh://root@127.0.0.1:{port}{lab.socket}"}
        ours = DockerEngine(**from_environment(context), timeout=PATIENCE)
        info = ours.connect()
        assert (info.name, ours.where) == (lab.name, f"ssh://***@127.0.0.1:{port}{lab.socket} from DOCKER_HOST")
        began = ours.now_ns()
        image = ours.image("app:1")
        assert [image.id] == [each.id for each in ours.images()]
        events = ours.events(began, began + 3600 * SECOND)
        lab.docker("tag", "app:1", "app:2")  # while others are asked over the same wire
        assert next(events).action == "tag"
        assert ours.untag("app:2") == ()
        events.close()
        saved: list[bytes] = []
        ours.save_image(image.id, saved.append)
        assert sum(map(len, saved)) > image.size_bytes > 0

        def running() -> int:
            return sum(thread.name == "ssh" for thread in threading.enumerate())

        assert running() <= 2  # one for all but streams, and that of the events, which may take a moment to end
        ours.close()
        until(lambda: running() == 0, "the end of each ssh")

        stranger = DockerEngine(**from_environment({"DOCKER_HOST": f"ssh://root@127.0.0.1:{port}/nowhere.sock"}))
        with pytest.raises(EngineUnavailableError, match=f"ssh to ssh://.*127.0.0.1:{port}/nowhere.sock ended"):
            stranger.connect()
        monkeypatch.setenv("PATH", str(tmp_path / "ssh"))
        with pytest.raises(EngineUnavailableError, match=r"ssh://.*No such file or directory: ssh"):
            stranger.connect()


@pytest.mark.parametrize("which", ["containerd_engine", "newest_engine"])
def test_what_was_built_here_is_told_from_api_1_53_on_until_it_is_pushed(
    request: pytest.FixtureRequest, registry: LabRegistry, tmp_path: Path, which: str
) -> None:
    lab: LabEngine = request.getfixturevalue(which)
    lab.wipe()
    name = f"{registry.host}/engine/built:1"
    build_with_buildkit(lab, tmp_path, name)
    with connected(lab) as ours:
        info, before = ours.connect(), ours.image(name).details
        lab.docker("push", "--quiet", name)
        after = ours.image(name).details
    lab.docker("builder", "prune", "--all", "--force")  # the engine is everybody's
    assert info.tells_builds is (tuple(int(part) for part in info.api_version.split(".")) >= (1, 53))
    assert before is not None
    assert after is not None
    assert (before.built_here, after.built_here) == (info.tells_builds, False)


def test_an_image_that_a_container_mounts_is_in_use(newest_engine: LabEngine) -> None:
    newest_engine.wipe()
    newest_engine.load(images.busybox("app:1"), images.busybox("data:1", "data:2", cmd=("another",)))
    with connected(newest_engine) as ours:
        wanted = ours.image("data:1").id
        for number, source in enumerate(("data:1", wanted, wanted[7:19], f"docker.io/library/data@{wanted}")):
            mount = {"Type": "image", "Source": source, "Target": "/data"}
            body = {"Image": "app:1", "HostConfig": {"Mounts": [mount]}}
            made = ours.create(Kinds.CONTAINER, {"name": f"on{number}", "body": body, "endpoints": {}})
            uses = set(kinds.uses(ours.container(made)))
            assert (Kinds.IMAGE, wanted) in uses
            assert Kinds.VOLUME not in {kind for kind, _ in uses}
            with pytest.raises(ConflictError):
                ours.untag("data:1") or ours.untag("data:2")
            ours.remove_container(made)
            newest_engine.docker("tag", wanted, "data:1")


def test_what_fills_the_disk_besides_images_is_told_and_old_build_cache_goes(
    empty_engine: LabEngine, tmp_path: Path
) -> None:
    lab, root = empty_engine, empty_engine.dir / "data"
    lab.load(images.busybox("engine/app:1"))
    lab.docker("run", "--name=talker", "engine/app:1", "sh", "-c", "head -c 5000 /dev/zero | tr '\\0' x")
    build_with_buildkit(lab, tmp_path, "engine/built:1")
    with connected(lab) as ours:
        before, log = ours.disk_usage(), ours.log_bytes(lab.client().inspect_container("talker")["Id"])
        assert log is not None
        assert before.logs_bytes == log >= 5000
        assert before.build_cache_bytes > 0
        assert ours.trim_build_cache(unused_seconds=3600) == 0
        assert ours.disk_usage().build_cache_bytes == before.build_cache_bytes
        until(lambda: ours.disk_usage().build_cache_idle_seconds > 1, "time to pass")

        def is_empty() -> bool:
            ours.trim_build_cache(unused_seconds=1)
            return not ours.disk_usage().build_cache_bytes

        until(is_empty, "the end of cache that was not used for a second")
        assert before.stray_layers == (0 if lab.kind == "graph" else None)
        if lab.kind == "graph":
            (root / "overlay2" / "left-behind").mkdir()
            strays = ours.disk_usage().stray_layers
            (root / "overlay2" / "left-behind").rmdir()
            assert strays == 1


def build_with_buildkit(lab: LabEngine, folder: Path, name: str) -> None:
    (folder / "cli-plugins").mkdir()
    (folder / "cli-plugins/docker-buildx").symlink_to(trees.ensure(trees.NEW_ENGINE) / trees.BUILDX)
    (folder / "context").mkdir()
    (folder / "context/Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    build = ["docker", f"--host={lab.host}", "build", f"--tag={name}", str(folder / "context")]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DOCKER_CONFIG": str(folder),
        "DOCKER_BUILDKIT": "1",
    }
    subprocess.run(build, env=environment, check=True, capture_output=True)


def test_engines_of_one_host_have_different_identities(
    graph_engine: LabEngine, containerd_engine: LabEngine, own_engine: LabEngine
) -> None:
    identities = set()
    for lab in (graph_engine, containerd_engine, own_engine):
        with connected(lab) as ours:
            identities.add(ours.connect().identity)
    assert len(identities) == 3


def test_image(ours: DockerEngine, empty_engine: LabEngine) -> None:
    spec = images.ImageSpec(
        tags=("h.io:5000/team/app:1",),
        labels={"a": "b"},
        env=("PATH=/bin", "SECRET=x=y"),
        user="1000:1000",
        healthcheck={"Test": ["CMD", "/hello"]},
        exposed_ports=("80/tcp", "53/udp"),
    )
    off = images.ImageSpec(tags=("off:1",), healthcheck={"Test": ["NONE"]})
    empty_engine.load(spec, off)
    image = ours.image("h.io:5000/team/app:1")
    assert (image.tags, image.labels, image.created_at) == (spec.tags, {"a": "b"}, spec.created.timestamp())
    details = image.details
    assert details is not None
    assert (details.os, details.architecture, details.user) == ("linux", images.ARCHITECTURE, "1000:1000")
    assert (details.env_names, details.ports, details.healthcheck) == (("PATH", "SECRET"), ("53/udp", "80/tcp"), True)
    assert details.layers == tuple(images.digest(layer) for layer in spec.layers)
    others = ours.image("off:1").details
    assert others is not None
    assert not others.healthcheck


def test_image_that_was_pulled(ours: DockerEngine, empty_engine: LabEngine, registry: LabRegistry) -> None:
    own = images.ImageSpec(labels={"of": "test_image_that_was_pulled"})  # content of its own: other tests pull, too
    digest = registry.push_index("engine/pulled", "1", image=own)
    name = f"{registry.host}/engine/pulled"
    empty_engine.docker("pull", "--quiet", f"{name}:1")
    image = ours.image(f"{name}:1")
    assert (image.tags, image.digests) == ((f"{name}:1",), (f"{name}@{digest}",))
    assert (image.id == digest) == (empty_engine.kind == "containerd")


def test_container(ours: DockerEngine, empty_engine: LabEngine) -> None:
    empty_engine.load(images.busybox("app:1"))
    empty_engine.docker("network", "create", "--internal", "--label", "a=b", "front")
    identifier = empty_engine.docker(
        *("run", "--detach", "--name=web", "--network=front", "--memory=64m", "--memory-reservation=32m"),
        *("--cpus=0.5", "--cpu-shares=512", "--pids-limit=50", "--read-only", "--user=app", "--cap-add=NET_ADMIN"),
        *("--cap-drop=ALL", "--security-opt=no-new-privileges", "--device=/dev/null:/dev/zero2:r", "--label=a=b"),
        *("--ulimit=nofile=1024:2048", "--restart=on-failure:5", "--log-driver=none", "--env=SECRET=x=y"),
        *("--volume=named:/n:ro", "--volume=/anon", "--volume=/tmp:/host", "--tmpfs=/t", "--ipc=host", "--pid=host"),
        *("--uts=host", "--health-cmd=true", "--health-interval=1h", "app:1"),
    )
    container = ours.container("web")
    config = container.config
    assert (container.id, container.image_ref, container.image_id) == (identifier, "app:1", ours.image("app:1").id)
    assert (container.state, container.running, container.exit_code) == ("running", True, 0)
    assert (container.labels["a"], container.network_mode) == ("b", "front")
    assert container.networks == ("front", ours.network("front").id)
    assert container.started_at is not None
    assert container.created_at is not None
    assert container.created_at <= container.started_at <= time.time()
    assert container.finished_at is None
    mounts = {mount.destination: mount for mount in container.mounts}
    assert {place: mount.type for place, mount in mounts.items()} == {
        "/n": "volume",
        "/anon": "volume",
        "/host": "bind",
        "/t": "tmpfs",
    }
    assert [mounts[place].writable for place in ("/n", "/anon", "/host")] == [False, True, True]
    assert (mounts["/n"].name, mounts["/host"].name, mounts["/host"].source) == ("named", "", "/tmp")
    assert (config.memory_limit_bytes, config.memory_reservation_bytes) == (64 << 20, 32 << 20)
    assert (config.cpu_limit, config.cpu_shares, config.pids_limit) == (0.5, 512, 50)
    assert (config.read_only, config.user, config.privileged) == (True, "app", False)
    assert (config.cap_add, config.cap_drop) == (("NET_ADMIN",), ("ALL",))
    assert "no-new-privileges" in config.security_opt
    assert config.devices == ("/dev/null:/dev/zero2:r",)
    assert config.ulimits == ("nofile=1024:2048",)
    assert (config.restart_policy, config.restart_max, config.log_driver) == ("on-failure", 5, "none")
    assert (config.pid_mode, config.ipc_mode, config.uts_mode) == ("host", "host", "host")
    assert (config.healthcheck, "SECRET" in config.env_names) == (True, True)
    assert "x=y" not in repr(container)


def test_container_without_any_limit(ours: DockerEngine, empty_engine: LabEngine) -> None:
    empty_engine.load(images.busybox("app:1"))
    for limit in ("0", "-1"):
        empty_engine.docker("create", f"--name=pids{limit}", f"--pids-limit={limit}", "--cpu-quota=-1", "app:1")
        config = ours.container(f"pids{limit}").config
        assert (config.memory_limit_bytes, config.cpu_limit, config.pids_limit) == (0, 0.0, 0)
        assert (config.restart_policy, config.healthcheck, config.devices, config.ulimits) == ("no", False, (), ())
    empty_engine.docker("create", "--name=quota", "--cpu-quota=50000", "--cpu-period=25000", "app:1")
    assert ours.container("quota").config.cpu_limit == 2.0


def test_container_that_ended(ours: DockerEngine, empty_engine: LabEngine) -> None:
    empty_engine.load(images.busybox("app:1"))
    empty_engine.docker(
        "create", "--name=job", "--publish=127.0.0.1:8080:80", "--expose=81", "app:1", "sh", "-c", "exit 3"
    )
    created = ours.container("job")
    assert (created.state, created.running, created.started_at, created.finished_at) == ("created", False, None, None)
    assert created.ports == ("127.0.0.1:8080->80/tcp", "81/tcp")
    empty_engine.docker("network", "disconnect", "bridge", "job")
    empty_engine.docker("network", "connect", "none", "job")
    empty_engine.docker("start", "job")
    until(lambda: not ours.container("job").running, "the end of the job")
    ended = ours.container("job")
    assert (ended.state, ended.exit_code) == ("exited", 3)
    assert ended.finished_at is not None


def test_a_name_is_not_the_beginning_of_an_id(ours: DockerEngine, empty_engine: LabEngine) -> None:
    """The engine takes it for that, if nothing is called so, and fails if several IDs begin like it."""
    empty_engine.load(images.busybox("app:1"))
    made: list[str] = []
    while len({key[0] for key in made}) == len(made):
        made.append(empty_engine.docker("create", "app:1").strip())
    for name in (made[0][:12], made[-1][0]):
        with pytest.raises(NotFoundError):
            ours.container(name)
    empty_engine.docker("rename", made[1], made[0][:2])
    assert ours.container(made[0][:2]).id == made[1]


def test_image_reference_of_a_container_is_what_was_typed(ours: DockerEngine, empty_engine: LabEngine) -> None:
    empty_engine.load(images.busybox("app:1", "app:latest"))
    image = ours.image("app:1").id
    for name, typed in {"short": "app", "full": "docker.io/library/app:1", "id": image}.items():
        empty_engine.docker("create", f"--name={name}", typed)
        assert (ours.container(name).image_ref, ours.container(name).image_id) == (typed, image)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volumes(ours: DockerEngine, empty_engine: LabEngine) -> None:
    empty_engine.docker("volume", "create", "--label=a=b", "data")
    anonymous = empty_engine.docker("volume", "create")
    found = {volume.name: volume for volume in ours.volumes()}
    assert found.keys() == {"data", anonymous}
    assert (found["data"].labels, found["data"].driver, found["data"].anonymous) == ({"a": "b"}, "local", False)
    assert found[anonymous].anonymous
    assert found["data"].created_at is not None
    assert {name: ours.volume(name) for name in found} == found


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_networks(ours: DockerEngine, empty_engine: LabEngine) -> None:
    identifier = empty_engine.docker("network", "create", "--internal", "--label=a=b", "front")
    found = {network.name: network for network in ours.networks()}
    assert {name: network.builtin for name, network in found.items()} == {
        "bridge": True,
        "host": True,
        "none": True,
        "front": False,
    }
    front = found["front"]
    assert (front.id, front.labels, front.internal, front.driver) == (identifier, {"a": "b"}, True, "bridge")
    assert front == ours.network(identifier) == ours.network("front")


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_labels_of_strangers(ours: DockerEngine, empty_engine: LabEngine) -> None:
    labels = {**HOSTILE, **MANY}
    empty_engine.load(images.ImageSpec(tags=("app:1",), labels=labels))
    client = empty_engine.client()
    since = time.time_ns()
    container = client.create_container("app:1", ["/hello"], labels=labels)["Id"]
    client.create_volume("data", labels=HOSTILE)
    [listed] = ours.images()
    assert listed.labels == ours.image("app:1").labels == ours.container(container).labels == labels
    assert ours.volume("data").labels == HOSTILE
    ours.tag(listed.id, "other:1")
    events = list(ours.events(since, time.time_ns()))
    assert {(event.type, event.action) for event in events} >= {("container", "create"), ("image", "tag")}


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_many_objects_one_connection(ours: DockerEngine, empty_engine: LabEngine) -> None:
    empty_engine.load_archive(images.many(10))
    listed = list(ours.images())
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a list of names is enough
    assert {ours.image(image.id).id for image in listed} == {image.id for image in listed}
    assert len(listed) == 10
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_threads_share_an_engine(ours: DockerEngine, empty_engine: LabEngine) -> None:
    empty_engine.load_archive(images.many(4))
    wanted = [image.id for image in ours.images()]
    wrong: list[str] = []

    def ask(identifier: str) -> None:
        answers = [ours.image(identifier).id for _ in range(8)]
        wrong.extend(answer for answer in answers if answer != identifier)

    threads = [threading.Thread(target=ask, args=(identifier,)) for identifier in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# -- events --------------------------------------------------------------------------------------------


def names(events: Iterable[Event]) -> list[tuple[str, str]]:
    return [(event.type, event.action) for event in events]


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_subscription_stands_when_it_is_handed_over(ours: DockerEngine, empty_engine: LabEngine) -> None:
    empty_engine.load(images.ImageSpec(tags=("app:1",)))
    identifier = ours.image("app:1").id
    for n in range(5):
        now = time.time_ns()
        stream = ours.events(now, now + 60 * SECOND)
        ours.tag(identifier, f"app:{n}")
        event = next(stream)
        assert (event.type, event.action, event.id, event.name) == ("image", "tag", identifier, f"app:{n}")
        assert now <= event.at_ns <= time.time_ns()
        stream.close()


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_a_stream_goes_on_when_the_engine_is_connected_anew(ours: DockerEngine, empty_engine: LabEngine) -> None:
    now = time.time_ns()
    with contextlib.closing(ours.events(now, now + 60 * SECOND)) as stream:
        empty_engine.docker("volume", "create", "before")
        assert next(stream).id == "before"
        ours.connect()
        gc.collect()  # which ends what nobody uses any more
        empty_engine.docker("volume", "create", "after")
        assert next(stream).id == "after"


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_window_ends_at_its_time_and_the_next_begins_there(ours: DockerEngine, empty_engine: LabEngine) -> None:
    empty_engine.load(images.ImageSpec(tags=("app:1",)))
    identifier = ours.image("app:1").id
    begin = end = time.time_ns()
    stop = threading.Event()
    made: list[str] = []

    def busy() -> None:
        while not stop.is_set():
            ours.tag(identifier, f"app:t{len(made)}")
            made.append(f"app:t{len(made)}")

    worker = threading.Thread(target=busy)
    worker.start()
    seen: list[Event] = []
    while end < begin + SECOND or len(seen) < 5:
        end += SECOND // 4
        seen += [event for event in ours.events(seen[-1].at_ns if seen else begin, end) if event not in seen[-5:]]
        assert time.time_ns() >= end
    stop.set()
    worker.join()
    heard = [event.name for event in seen]
    assert heard == made[: len(heard)]
    assert all(event.at_ns < end + SECOND for event in seen)  # a busy engine sends what comes as the time runs out, too


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_past_is_replayed_from_a_nanosecond_on(ours: DockerEngine, empty_engine: LabEngine) -> None:
    begin = time.time_ns()
    empty_engine.load(images.ImageSpec(tags=("app:1",)))
    identifier = ours.image("app:1").id
    for n in range(5):
        ours.tag(identifier, f"app:{n}")
    every = list(ours.events(begin, time.time_ns()))
    assert [event.name for event in every[-5:]] == [f"app:{n}" for n in range(5)]
    fourth = every[-2]
    assert list(ours.events(fourth.at_ns, time.time_ns())) == every[-2:]
    assert list(ours.events(fourth.at_ns + 1, time.time_ns())) == every[-1:]
    assert ours.replayed(fourth.at_ns, time.time_ns()) == 2
    assert ours.replayed(time.time_ns(), time.time_ns()) == 0


def test_life_of_a_container(ours: DockerEngine, empty_engine: LabEngine) -> None:
    begin = time.time_ns()
    empty_engine.load(images.busybox("app:1"))
    health = ("--health-cmd=true", "--health-interval=1s")  # the engine remembers 256 events, and each probe is three
    web = empty_engine.docker("run", "--detach", "--name=web", "--network=none", "--volume=data:/d", *health, "app:1")
    until(lambda: ours.container("web").health == "healthy", "health")
    empty_engine.docker("pause", "web")
    empty_engine.docker("unpause", "web")
    empty_engine.docker("update", "--memory=64m", "--memory-swap=64m", "web")
    empty_engine.docker("rename", "web", "www")
    empty_engine.docker("rm", "--force", "www")
    empty_engine.docker("volume", "rm", "data")
    events = list(ours.events(begin, time.time_ns()))
    about = [event.action for event in events if event.type == "container"]
    first = [action for n, action in enumerate(about) if action not in about[:n]]  # its health may change again
    assert " ".join(first) == "create start health_status pause unpause update rename kill die destroy"
    assert len(about) - about.count("health_status") == len(first) - 1
    assert {event.id for event in events if event.type == "container"} == {web}
    connect = next(event for event in events if (event.type, event.action) == ("network", "connect"))
    assert (connect.id, connect.name) == (ours.network("none").id, web)
    of_volumes = [(event.action, event.id) for event in events if event.type == "volume"]
    assert of_volumes == [(action, "data") for action in ("create", "mount", "unmount", "destroy")]
    assert {event.name for event in events if event.action in ("mount", "unmount")} == {web}
    assert {event.image for event in events if event.type == "container"} == {"app:1"}
    assert ours.replayed(begin, time.time_ns()) > len(events)  # the probes of health, for one


def test_a_container_that_nobody_saw_has_used_what_it_used(ours: DockerEngine, empty_engine: LabEngine) -> None:
    empty_engine.load(images.busybox("app:1"))
    empty_engine.docker("volume", "create", "data")
    empty_engine.docker("network", "create", "front")
    ticks = Ticks()
    inventory = an_inventory(ticks)
    collector = Collector(ours, inventory)
    collector.reconcile()
    ticks.pass_(60)
    begin = time.time_ns()
    empty_engine.docker("run", "--rm", "--volume=data:/data", "--network=front", "app:1", "true")
    assert not ours.container_ids()
    collector.refresh(hint for event in ours.events(begin, time.time_ns()) for hint in hints(event))
    ticks.pass_(1)
    used = [ref for kind in (Kinds.IMAGE, Kinds.VOLUME, Kinds.NETWORK) for ref in inventory.all(kind)]
    names = {inventory.name_of(ref) for ref in used if inventory.idle_for(ref) == 1}
    assert names == {"docker.io/library/app:1", "data", "front"}


@pytest.mark.parametrize(
    "how", ["commit one", "commit one child:1", "import {0}/root.tar", "import {0}/root.tar new:1"]
)
def test_each_new_image_is_seen_with_a_name_or_without(
    ours: DockerEngine, empty_engine: LabEngine, tmp_path: Path, how: str
) -> None:
    empty_engine.load(images.busybox("app:1"))
    empty_engine.docker("create", "--name=one", "app:1")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    inventory = an_inventory(Ticks())
    collector = Collector(ours, inventory)
    collector.reconcile()
    begin = time.time_ns()
    new = empty_engine.docker(*how.format(tmp_path).split())
    collector.refresh(hint for event in ours.events(begin, time.time_ns()) for hint in hints(event))
    assert new in inventory.images


def test_a_container_that_is_stopped_while_it_waits_to_be_started_again_is_seen(
    ours: DockerEngine, empty_engine: LabEngine
) -> None:
    empty_engine.load(images.busybox("app:1"))
    empty_engine.docker("run", "--detach", "--name=web", "--restart=always", "app:1", "sh", "-c", "exit 1")
    inventory = an_inventory(Ticks())
    collector = Collector(ours, inventory)

    def waits() -> bool:
        """For longer each time: by now some seconds."""
        web = ours.container("web")
        return web.state == "restarting" and web.config.restart_count > 4

    until(waits, "a long wait")
    collector.reconcile()
    begin = time.time_ns()
    empty_engine.docker("stop", "web")
    collector.refresh(hint for event in ours.events(begin, time.time_ns()) for hint in hints(event))
    assert [each.state for each in inventory.containers.values()] == ["exited"]


def test_pull_names_the_reference(ours: DockerEngine, empty_engine: LabEngine, registry: LabRegistry) -> None:
    registry.push("engine/events", "1")
    name = f"{registry.host}/engine/events:1"
    begin = time.time_ns()
    empty_engine.docker("pull", "--quiet", name)
    [pull] = [event for event in ours.events(begin, time.time_ns()) if event.action == "pull"]
    assert (pull.type, pull.id) == ("image", name)


# -- failures ------------------------------------------------------------------------------------------


def test_engine_that_is_killed(own_engine: LabEngine) -> None:
    with connected(own_engine) as ours:
        stream = ours.events(time.time_ns(), time.time_ns() + 60 * SECOND)
        own_engine.kill()
        with pytest.raises(EngineUnavailableError):
            next(stream)
        for ask in (ours.connect, ours.container_ids):
            with pytest.raises(EngineUnavailableError, match=r"nothing listens at .* is the engine running"):
                ask()
        own_engine.start_again()
        identity = ours.connect().identity
        assert list(ours.images()) == []
        now = time.time_ns()
        assert list(ours.events(now, now + SECOND // 10)) == []
    with connected(own_engine) as other:
        assert other.connect().identity == identity


def test_engine_that_is_ended(own_engine: LabEngine) -> None:
    with connected(own_engine) as ours:
        stream = ours.events(time.time_ns(), time.time_ns() + 60 * SECOND)
        own_engine.terminate()
        with pytest.raises(EngineUnavailableError):
            next(stream)
        with pytest.raises(EngineUnavailableError, match=r"does not exist|nothing listens"):
            ours.container_ids()
        own_engine.start_again()
        assert ours.connect().image_store is ImageStore(own_engine.kind)


def test_engine_that_hangs(own_engine: LabEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(own_engine) as patient, contextlib.closing(DockerEngine(own_engine.host, timeout=0.5)) as ours:
        until(lambda: _answers(ours), "an answer")
        monkeypatch.setattr("dockwarden.engine.client._GRACE_SECONDS", 0.5)
        stream = patient.events(time.time_ns(), time.time_ns() + 3 * SECOND)  # which is not over before it hangs
        own_engine.pause()
        with pytest.raises(EngineUnavailableError, match="did not answer in time"):
            list(stream)
        for ask in (ours.connect, lambda: ours.events(0, time.time_ns())):
            with pytest.raises(EngineUnavailableError, match="did not answer in time"):
                ask()
        own_engine.resume()
        until(lambda: _answers(ours), "an answer")


def _answers(engine: DockerEngine) -> bool:
    try:
        engine.connect()
    except EngineError:
        return False
    return True


def test_no_permission(engine: LabEngine) -> None:
    groups = os.getgroups()
    ours = DockerEngine(engine.host)
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        with pytest.raises(EngineUnavailableError) as caught:
            ours.connect()
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    assert f"permission denied on {engine.socket}, which belongs to group root (gid 0)" in str(caught.value)
    assert "--group-add 0" in str(caught.value)


def test_objects_that_are_not_there(ours: DockerEngine) -> None:
    for ask in (ours.image, ours.container, ours.volume, ours.network):
        for name in ("nothing", "0" * 64, "a?b", "a b", "ä", "a%2F..%2Fb", "\x1b[2J"):
            with pytest.raises(EngineError) as caught:
                ask(name)
            # 20.10 answers 400 or 500 for names that nothing can have.
            assert isinstance(caught.value, NotFoundError) or "HTTP" in str(caught.value)
            assert str(caught.value).isprintable()

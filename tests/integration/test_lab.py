"""The lab keeps its promises: real, private, quick, and gone without a trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from tests.lab import images, machine, trees
from tests.lab.engine import Kind, LabEngine
from tests.lab.hang import hanging_threads
from tests.lab.host import LabHost
from tests.lab.images import ImageSpec
from tests.lab.loopback import free_port
from tests.lab.machine import LabError
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=get_args(Kind))
def own_engine(request: pytest.FixtureRequest) -> Iterator[LabEngine]:
    """An engine that the test may break."""
    machine.ensure(machine.ENGINE, "a private engine")
    if request.param == "containerd":
        trees.ensure(trees.NEW_ENGINE)
    with LabEngine(request.param) as started:
        yield started


def traces(engine: LabEngine | LabHost) -> list[str]:
    """Everything on the machine that carries its name."""
    found = [line for line in Path("/proc/mounts").read_text().splitlines() if engine.name in line]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if engine.name in (process / "cmdline").read_text(errors="replace"):
                found.append(str(process))
    # Unlike a glob it does not mind that others' groups end while it walks.
    found += [group for group, _, _ in os.walk("/sys/fs/cgroup") if Path(group).name == engine.name]
    return found + ([str(engine.dir)] if engine.dir.exists() else [])


@pytest.mark.parametrize(
    ("own_engine", "dockerd"),
    [("graph", "running"), ("containerd", "paused"), ("graph", "crashed"), ("containerd", "crashed")],
    indirect=["own_engine"],
)
def test_stop_ends_what_is_paused_and_leaves_no_mount_process_group_or_file(
    own_engine: LabEngine, dockerd: str
) -> None:
    own_engine.load(images.busybox("busybox:1"))
    own_engine.docker("run", "--detach", "--name=frozen", "--memory=50m", "--volume=kept:/kept", "busybox:1")
    own_engine.docker("pause", "frozen")
    {"running": lambda: None, "paused": own_engine.pause, "crashed": own_engine.kill}[dockerd]()
    assert traces(own_engine)
    own_engine.stop()
    assert traces(own_engine) == []


def test_command_in_a_container_sees_and_writes_that_container_only(engine: LabEngine) -> None:
    engine.load(images.busybox("busybox:1"))
    container = engine.docker("run", "--detach", "busybox:1")
    try:
        assert engine.docker("exec", container, "ls", "/") == engine.docker("run", "--rm", "busybox:1", "ls", "/")
        engine.docker("exec", container, "sh", "-c", f"echo inside >/{engine.name}")
        assert f"A /{engine.name}" in engine.docker("diff", container).splitlines()
        assert not Path(f"/{engine.name}").exists()
    finally:
        engine.docker("rm", "--force", container)


def test_engine_dies_with_the_process_that_started_it() -> None:
    machine.ensure(machine.ENGINE, "a private engine")
    program = (
        "import os, signal\n"
        "from tests.lab.engine import LabEngine\n"
        "engine = LabEngine('graph')\n"
        "engine.start()\n"
        "print(engine.pid, engine.dir, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pid, folder = done.stdout.split()
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the orphaned dockerd")
    subprocess.run(["rm", "-rf", folder], check=True)


def test_two_engines_run_side_by_side_and_share_nothing(graph_engine: LabEngine, containerd_engine: LabEngine) -> None:
    for engine in (graph_engine, containerd_engine):
        engine.wipe()
        engine.load(images.busybox(f"only-{engine.kind}:1"))
        engine.docker("run", "--detach", "--name=same-name", f"only-{engine.kind}:1")
    for engine in (graph_engine, containerd_engine):
        names = engine.docker("images", "--format", "{{.Repository}}")
        assert names == f"only-{engine.kind}"
        assert engine.docker("ps", "--format", "{{.Names}}") == "same-name"


@pytest.mark.parametrize("engine", ["graph"], indirect=True)
def test_many_images_are_distinct_and_share_a_layer(empty_engine: LabEngine) -> None:
    empty_engine.load_archive(images.many(30, "few"))
    empty_engine.load_archive(images.many(5, "bare", tagged=False))
    client = empty_engine.client()
    found = client.images()
    assert len({image["Id"] for image in found}) == 35
    assert len(client.images(filters={"dangling": True})) == 5


def test_graph_id_is_known_before_the_load(graph_engine: LabEngine) -> None:
    spec = ImageSpec(tags=("predicted:1",), labels={"a": "b"}, exposed_ports=("80/tcp",))
    graph_engine.load(spec)
    assert graph_engine.client().inspect_image("predicted:1")["Id"] == spec.id


def test_wipe_leaves_an_empty_engine(engine: LabEngine) -> None:
    engine.load(images.busybox("busybox:1", "busybox:2"), ImageSpec(labels={"no": "name"}))
    engine.docker("network", "create", "unused")
    engine.docker("run", "--detach", "--volume=/data", "--network=unused", "busybox:1")
    engine.wipe()
    client = engine.client()
    assert client.images(all=True) == client.containers(all=True) == []
    assert not client.volumes()["Volumes"]
    assert len(client.networks()) == 3


def test_failing_command_says_what_docker_said(graph_engine: LabEngine) -> None:
    with pytest.raises(LabError, match="No such image"):
        graph_engine.docker("tag", "never-there:1", "other:1")


def test_port_is_given_once() -> None:
    program = "from tests.lab.loopback import free_port; print(*(free_port() for _ in range(30)), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        theirs = set(map(int, other.stdout.readline().split()))
        ours = {free_port() for _ in range(30)}
        other.communicate("")
    assert (len(theirs), len(ours), theirs & ours) == (30, 30, set())


def test_missing_packages_are_named_when_they_cannot_be_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="apt-get install -y --no-install-recommends nothing-like"):
        machine.ensure({"no-such-command": "nothing-like-it"})


def test_forwarded_port_without_a_server_behind_it_refuses(graph_engine: LabEngine) -> None:
    port = free_port()
    graph_engine.forward(port)
    with pytest.raises(LabError, match=r"docker pull"):
        graph_engine.docker("pull", f"127.0.0.1:{port}/nothing:1")


def test_a_process_that_is_killed_while_its_threads_hang_ends() -> None:
    sleep = "threading.Thread(target=time.sleep, args=(600,)).start()"
    program = f"import threading, time; [{sleep} for _ in range(8)]; print(flush=True)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        with hanging_threads(process.pid):
            process.kill()
        assert process.wait(60) == -signal.SIGKILL


def test_host_boots_with_its_engine_and_leaves_no_trace() -> None:
    with LabHost() as host:
        assert host.run("systemctl", "is-active", "docker") == "active"
        with host.client() as client:
            assert client.info()["Name"] == host.run("uname", "--nodename")
    assert traces(host) == []


APT = """#!/bin/sh
cd "${0%/*}"
case $1 in
  update) flock --nonblock dockwarden-lab-apt.lock true || touch lists ;;
  *) [ ! -e lists ] || echo "Debian|bookworm|the mirror" ;;
esac
"""


def test_lists_of_packages_are_fetched_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees are made at the same time, and apt fails where another is at it."""
    (apt := tmp_path / "apt-get").write_text(APT)
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert trees._mirror() == "the mirror"


PYTHON = r"""#!/bin/sh
case "$*" in
  *-VV) echo Python ;;
  *-m\ venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *half-*) echo $$ >>begun; exec sleep 100 ;;
esac
"""


def test_who_interrupts_the_making_of_the_environment_ends_all_of_it(tmp_path: Path) -> None:
    """Whoever begins again at once would have two at the same folder."""
    (tmp_path / "tests/lab").mkdir(parents=True)
    script = Path(shutil.copy(Path(machine.__file__).with_name("venv.sh"), tmp_path / "tests/lab"))
    python, begun = tmp_path / "python", tmp_path / "begun"
    python.write_text(PYTHON)
    (tmp_path / "requirements-dev.txt").write_text("a\nb\n")
    (tmp_path / "pyproject.toml").touch()
    python.chmod(0o755)
    command = ["env", "--default-signal=INT", "sh", str(script)]  # who runs us may ignore it
    with subprocess.Popen(command, start_new_session=True, env={**os.environ, "PYTHON": str(python)}) as making:
        until(lambda: begun.exists() and len(begun.read_text().split()) == 2, "both halves to begin")
        os.killpg(making.pid, signal.SIGINT)
    assert making.returncode
    assert [pid for pid in begun.read_text().split() if Path("/proc", pid).exists()] == []

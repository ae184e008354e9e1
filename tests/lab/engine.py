"""Private Docker engines, one per `LabEngine`, of both kinds of image store.

Role: start, crash, freeze, restart and remove an engine of its own. In: the kind, a few flags. Out: a
socket that the host sees, a docker-py client, the docker CLI against it. Out of bounds: the machine's
own engine and its folders; nothing that was not started here is ever signalled or removed.

    with LabEngine("graph") as engine:        # or "containerd"
        engine.forward(registry.port)         # 127.0.0.1:port inside is 127.0.0.1:port of the host
        engine.load(images.busybox("busybox:1"))
        print(engine.docker("ps"), engine.client().info()["Driver"])
        engine.kill(); engine.start_again()   # a crash of dockerd; containers' shims live on

graph is the machine's dockerd (Debian 12: 20.10) with overlay2, containerd is trixie's (26.1) with
the containerd image store. `DOCKWARDEN_LAB_GRAPH` and `DOCKWARDEN_LAB_CONTAINERD` name another (see `trees.ENGINES`;
`rootless` is the machine's, started by an ordinary user), `DOCKWARDEN_LAB_BINARIES` a folder of dockerd and what it
starts, which then take the place of those of any such system.
Each has its own network, mount, pid and uts namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import docker

from tests.lab import images as lab_images
from tests.lab import machine, trees
from tests.lab.machine import LabError
from tests.lab.namespace import SELDOM_TIDY, Namespaces
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["graph", "containerd"]
API_VERSION = "1.41"  # the newest that both kinds speak
_USUAL: dict[Kind, str] = {"graph": "machine", "containerd": "trixie"}
_ANY_CALL = '{"defaultAction": "SCMP_ACT_ALLOW"}'
"""A profile that, unlike the usual one, need not be compiled at each start of a container and of a probe in it."""
_ITS_OWN = {"bridge", "host", "none"}  # networks that each engine has
_NEVER_REAL = {"overlay", "ramfs", "squashfs"}

_CONTAINERD = """#!/bin/sh
if grep -q '^version = 0' "$2"; then printf '[plugins.scheduler]\\npause_threshold = 0.0\\n' >>"$2"; fi
exec /usr/bin/containerd "$@"
"""
"""The machine's, which with little to clear up asks itself 200 times a second for garbage, does so once a second."""
_PREPARE = """
hostname {name}
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
mkdir {dir}/upper {dir}/work
"""
_PREPARE_UNIFIED = """
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
"""
_PREPARE_MACHINE = """
mount -t overlay -o lowerdir=/etc,upperdir={dir}/upper,workdir={dir}/work overlay /etc
mkdir -p /etc/docker
mount --bind {dir}/etc /etc/docker
"""
_PREPARE_ROOTLESS = """
mkdir /run/nobody
chown nobody: {dir} {dir}/data /run/nobody
echo nobody:100000:65536 | tee /etc/subuid >/etc/subgid
mkdir -p /dev/net
mount -t tmpfs tmpfs /dev/net
mknod --mode=666 /dev/net/tun c 10 200
"""
_BY_NOBODY = (
    *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "HOME=/run/nobody"),
    *("XDG_RUNTIME_DIR=/run/nobody", "/usr/share/docker.io/contrib/dockerd-rootless.sh"),
)
_PREPARE_TREE = """
root={dir}/root
mkdir $root
mount -t overlay -o lowerdir={cache},upperdir={dir}/upper,workdir={dir}/work overlay $root
mount -t proc proc $root/proc
mount --rbind /sys $root/sys
mount --rbind /dev $root/dev
mount -t tmpfs -o mode=755 tmpfs $root/run
mkdir -p $root/etc/docker $root{dir}
echo root:x:0: >$root/etc/group
echo root:x:0:0:root:/:/bin/sh >$root/etc/passwd
mount --bind {dir}/etc $root/etc/docker
mount --rbind {dir} $root{dir}
mkdir -p $root/usr/local/bin
if [ -n "{binaries}" ]; then mount --bind "{binaries}" $root/usr/local/bin; fi
cp /bin/busybox $root/bin/
mkdir $root/before
cd $root
pivot_root . before
busybox umount -l /before
"""


class LabEngine(machine.Started):
    """One private engine; a context manager. Not for use by two threads at once."""

    def __init__(
        self,
        kind: Kind = "graph",
        *,
        live_restore: bool = False,
        disk_mib: int = 0,
        images_mib: int = 0,
        tree: trees.Tree | None = None,
        unified: bool = False,
    ) -> None:
        """`more`: settings of dockerd besides ours; `disk_mib`: gives it a small disk of its own, in a file.

        `images_mib`: its images are on another such disk, kept by a containerd that is not its own, as on many hosts.
        `tree`: which engine it is, where that must not depend on who runs the tests.
        `unified`: it sees control groups of version 2 only, with what version 1 left of them here: the freezer.
        """
        self.kind = kind
        origin = os.environ.get(f"DOCKWARDEN_LAB_{kind.upper()}", _USUAL[kind])
        self._tree = tree or trees.ENGINES[origin]
        self.is_rootless = origin == "rootless" and not tree
        self.more: dict[str, object] = {}
        self.name = f"dockwarden-lab-{uuid.uuid4().hex[:8]}"
        self.dir = real_folder() / self.name
        self.socket = self.dir / "docker.sock"
        self.host = f"unix://{self.socket}"
        self.pid = 0
        self._live_restore, self._unified = live_restore, unified
        self._disks = {"data": disk_mib, "images": images_mib}
        self._keeper: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        self._spaces: Namespaces | None = None
        self._clients: dict[int, docker.APIClient] = {}
        self._lock = threading.Lock()

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the namespaces and start dockerd in them; returns when it answers."""
        machine.require_root("a private engine")
        cache = trees.ensure(self._tree) if self._tree else Path("/")
        for folder in ("etc", "data", "cli", "bin"):
            (self.dir / folder).mkdir(parents=True)
        (containerd := self.dir / "bin/containerd").write_text(_CONTAINERD)
        containerd.chmod(0o755)
        for name, mib in self._disks.items():
            if mib:
                self._make_disk(name, mib)
        steps = _PREPARE + _PREPARE_UNIFIED * self._unified + (_PREPARE_TREE if self._tree else _PREPARE_MACHINE)
        steps += _PREPARE_ROOTLESS * self.is_rootless
        binaries = os.environ.get("DOCKWARDEN_LAB_BINARIES", "")
        prepare = steps.format(dir=self.dir, name=self.name, cache=cache, binaries=binaries)
        try:
            self._spaces = Namespaces(prepare, self.dir / "log")
        except LabError as error:
            raise LabError(f"{error}:\n{self.log_tail()}") from None
        if self._disks["images"]:
            self._start_containerd()
        self.start_again()

    def start_again(self) -> None:
        """Start dockerd in the namespaces that exist, after `kill` or `terminate`."""
        assert self._spaces is not None
        (self.dir / "seccomp.json").write_text(_ANY_CALL)
        (self.dir / "daemon.json").write_text(json.dumps({**self._settings(), **self.more}))
        ours = ("env", f"PATH={self.dir}/bin:{machine.SEARCH_PATH}", "dockerd")
        command = _BY_NOBODY if self.is_rootless else ("dockerd",) if self._tree else ours
        self._keeper, self.pid = self._spaces.run([*command, f"--config-file={self.dir / 'daemon.json'}"])
        try:
            until(self._answers, "an answer to /_ping")
        except LabError as error:
            raise LabError(f"dockerd ({self.kind}): {error}\n{self.log_tail()}") from None
        if self.is_rootless:
            self.pid = _below(self.pid, "dockerd")
            self._spaces.move_network(self.pid)

    def restart(self) -> None:
        self.terminate()
        self.start_again()

    def terminate(self, timeout: float = PATIENCE) -> None:
        """End dockerd as systemd would: SIGTERM, then wait."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """Crash dockerd; its namespaces and the containers' shims stay."""
        self._end(signal.SIGKILL, PATIENCE)

    def pause(self) -> None:
        """Freeze dockerd: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        threads = Path(f"/proc/{self.pid}/task")
        until(lambda: all(_state(thread) in "TZ" for thread in threads.iterdir()), "dockerd to stand still")

    def resume(self) -> None:
        # The keeper stops itself together with its child, so it is woken too.
        assert self._keeper is not None
        os.kill(self.pid, signal.SIGCONT)
        os.kill(self._keeper.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End everything that was started, and remove every trace; harmless if repeated."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        thaw_control_groups(self.name)
        if self._keeper is not None:
            self._keeper.kill()  # first: one that stands still would never bury its child
            self._keeper.wait()
            self._keeper = None
        if self._spaces is not None:
            self._spaces.close()
            self._spaces = None
        self.pid = 0
        remove_control_groups(self.name)
        if self._containerd is not None:
            self._containerd.kill()
            self._containerd.wait()
            self._containerd = None
        for name in self._disks:
            if (self.dir / name).is_mount():
                subprocess.run(["umount", "--lazy", self.dir / name], check=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def spaces(self) -> Namespaces:
        """Where it runs."""
        assert self._spaces is not None
        return self._spaces

    # -- use -----------------------------------------------------------------------------------

    def client(self, timeout: int = 60) -> docker.APIClient:
        """The docker-py client with this timeout, closed with the engine."""
        with self._lock:  # threads that ask at once share one
            if timeout not in self._clients:
                client = docker.APIClient(base_url=self.host, version=API_VERSION, timeout=timeout)
                client.trust_env = False  # to look for proxies takes a quarter of a request
                self._clients[timeout] = client
            return self._clients[timeout]

    def docker(self, *arguments: str, timeout: float = 120) -> str:
        """The docker CLI against this engine: its standard output, stripped.

        What it would do by one plain request, we ask for ourselves: a process takes ten times as much.
        """
        try:
            plain = _asked(self.client(int(timeout)), arguments)
        except OSError as error:  # as those of docker-py are
            raise LabError(f"docker {' '.join(arguments)}: {error}") from None
        if plain is not None:
            return plain
        done = subprocess.run(
            ["docker", f"--host={self.host}", *arguments],
            env={"PATH": os.environ.get("PATH", machine.SEARCH_PATH), "HOME": str(self.dir),
                 "DOCKER_CONFIG": str(self.dir / "cli"), **SELDOM_TIDY},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise LabError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def load(self, *specs: lab_images.ImageSpec) -> None:
        """Put images into the store without a registry."""
        self.load_archive([lab_images.archive(specs)])

    def load_archive(self, chunks: Iterable[bytes]) -> None:
        with docker.APIClient(base_url=self.host, version=API_VERSION, timeout=600) as client:
            for line in client.load_image(iter(chunks)):
                if "error" in line:
                    raise LabError(f"docker load: {line['error']}")

    def forward(self, port: int) -> None:
        """Let 127.0.0.1:port inside the engine reach 127.0.0.1:port of the host; idempotent."""
        assert self._spaces is not None
        self._spaces.forward(port)

    def wipe(self) -> None:
        """Remove every container, image, volume, own network and what builds left, for the next test."""
        client = self.client()
        for container in client.containers(all=True):
            client.remove_container(container["Id"], v=True, force=True)
        for volume in client.volumes()["Volumes"] or []:
            client.remove_volume(volume["Name"], force=True)
        client.prune_networks()
        for network in client.networks():  # configurations for others are not pruned
            if network["Name"] not in _ITS_OWN:
                with contextlib.suppress(docker.errors.APIError):  # those of a swarm
                    client.remove_network(network["Id"])
        while found := client.images(all=True):
            for image in found:
                with contextlib.suppress(docker.errors.APIError):  # went with another one
                    client.remove_image(image["Id"], force=True)
        client.prune_builds(all=True)
        for place in ("tmp", "buildkit", "containerd/daemon/io.containerd.content.v1.content/ingest"):
            # What a pull that was cut off has left looks like one.
            for folder, folders, files in os.walk(self.dir / "data" / place):
                for trace in (*folders, *files):
                    with contextlib.suppress(OSError):
                        os.utime(Path(folder, trace), (0, 0))

    def end_containers(self) -> None:
        """Remove what runs: probes of its health and new starts would take time from all tests that follow."""
        with contextlib.suppress(docker.errors.APIError, OSError):  # whoever needs an empty engine empties it
            for row in self.client().containers():
                self.client().remove_container(row["Id"], v=True, force=True)

    def log_tail(self, lines: int = 15) -> str:
        with contextlib.suppress(FileNotFoundError):
            return "\n".join((self.dir / "log").read_text(errors="replace").splitlines()[-lines:])
        return ""

    # -- inside --------------------------------------------------------------------------------

    @property
    def containerd_toml(self) -> Path:
        """The configuration of a containerd that is not its own, which has no place that can be seen from outside."""
        return self.dir / "containerd.toml"

    def _make_disk(self, name: str, mib: int) -> None:
        """Mounted here and not in the namespace, so that its use can be seen from outside."""
        disk, folder = self.dir / f"{name}.disk", self.dir / name
        folder.mkdir(exist_ok=True)
        with disk.open("wb") as file:
            file.truncate(mib * 2**20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", disk], check=True)
        subprocess.run(["mount", "-o", "loop", disk, folder], check=True)

    def _start_containerd(self) -> None:
        assert self._spaces is not None
        address = "/run/containerd/containerd.sock"
        self.containerd_toml.write_text(
            f'version = 2\nroot = "{self.dir}/images/containerd"\n[grpc]\naddress = "{address}"\n'
        )
        self._containerd, _ = self._spaces.run(["containerd", f"--config={self.containerd_toml}"])
        inside = Path(f"/proc/{self._spaces.init_pid}/root{address}")
        until(inside.exists, "containerd")
        self.more["containerd"] = address

    def _settings(self) -> dict[str, object]:
        return {
            "data-root": str(self.dir / "data"),
            "exec-root": "/run/docker",
            "pidfile": "/run/docker.pid",
            "hosts": [self.host],
            "group": "root",
            **({} if self.is_rootless else _limited(self.name)),
            "iptables": False,
            "ip6tables": False,
            "live-restore": self._live_restore,
            "shutdown-timeout": 5,
            "seccomp-profile": str(self.dir / "seccomp.json"),
            **({"features": {"containerd-snapshotter": True}} if self.kind == "containerd" else {}),
            **({"storage-driver": "overlay2"} if self.kind == "graph" else {}),
        }

    def _answers(self) -> bool:
        assert self._keeper is not None
        if self._keeper.poll() is not None:
            raise LabError("it ended at once")
        with socket.socket(socket.AF_UNIX) as probe:  # docker-py leaks one that cannot connect
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        client = docker.APIClient(base_url=self.host, version=API_VERSION, timeout=5)
        with contextlib.closing(client), contextlib.suppress(OSError):
            return bool(client.ping())
        return False

    def _end(self, how: signal.Signals, timeout: float) -> None:
        assert self._keeper is not None
        os.kill(self.pid, how)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)  # it may be paused
        os.kill(self._keeper.pid, signal.SIGCONT)
        self._keeper.wait(timeout)
        self.pid = 0


def _asked(client: docker.APIClient, arguments: tuple[str, ...]) -> str | None:
    """What the docker CLI would say to these arguments, if it is one plain request."""
    match arguments:
        case ("tag", image, name) if ":" in name.rpartition("/")[2]:
            repository, _, tag = name.rpartition(":")
            client.tag(image, repository, tag)
        case ("start", name):
            client.start(name)
        case ("rm", name):
            client.remove_container(name)
        case ("rm", "--force", name):
            client.remove_container(name, force=True)
        case ("pull", "--quiet", name):
            if '"errorDetail"' in (said := client.pull(name, auth_config={})):
                raise LabError(f"docker pull {name}: {said.splitlines()[-1]}")
            return name
        case ("volume", "create", name) if name[0] != "-":
            client.create_volume(name, "local")
            return name
        case ("network", "create", name) if name[0] != "-":
            (ipam := docker.types.IPAMConfig())["Options"] = {}
            return str(client.create_network(name, "bridge", {}, ipam, check_duplicate=True, labels={})["Id"])
        case _:
            return None
    return ""


def _limited(name: str) -> dict[str, object]:
    return {"cgroup-parent": f"/{name}", "exec-opts": ["native.cgroupdriver=cgroupfs"]}


def _below(pid: int, name: str) -> int:
    """The process of that name among those that this one started, and those that they did."""
    if Path(f"/proc/{pid}/comm").read_text().strip() == name:
        return pid
    children = [child for each in Path(f"/proc/{pid}/task").glob("*/children") for child in each.read_text().split()]
    return next((found for child in children if (found := _below(int(child), name))), 0)


def control_groups(name: str) -> list[Path]:
    """The topmost groups of that name: v2 has one hierarchy, v1 one per controller."""
    tree = Path("/sys/fs/cgroup")
    return [*tree.glob(name), *tree.glob(f"*/{name}")]


def thaw_control_groups(name: str) -> None:
    """With control groups v1, what is frozen, as a paused container is, cannot even be killed."""
    for group in (group for top in control_groups(name) for group, _, _ in os.walk(top)):
        with contextlib.suppress(OSError):  # it ends at this moment, or has no such state
            Path(group, "freezer.state").write_text("THAWED")


def remove_control_groups(name: str) -> None:
    """Nobody else removes the groups of something that was ended from outside."""

    def gone() -> bool:
        left = control_groups(name)
        for top in left:
            for group, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(group).rmdir()
        return not any(top.exists() for top in left)

    until(gone, f"the end of the control groups of {name}")


def real_folder() -> Path:
    """Where an engine's data may live: overlay2 cannot work on top of overlay; in memory only if TMPDIR says so."""
    for place in (tempfile.gettempdir(), "/var/tmp", "/var/lib"):
        kind = subprocess.run(
            ["stat", "--file-system", "--format=%T", place],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        is_meant = kind != "tmpfs" or place == os.environ.get("TMPDIR")
        if is_meant and kind not in _NEVER_REAL and not kind.startswith("overlay"):
            return Path(place)
    raise LabError("no folder for the engine's data; point TMPDIR to one")


def _state(thread: Path) -> str:
    """One letter; a thread that has gone meanwhile stands still, too."""
    try:
        return (thread / "stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return "T"

"""A whole Debian host: systemd as its first process, the distribution's docker.service, journald, dbus.

Role: boot one from the cached tree, run commands in it, reach its ports and its engine. In: folders of
this machine that it shall see. Out: commands' output, ports, a docker-py client. Out of bounds: the
machine's own systemd and engine. It is an overlay on the tree, so nothing that happens inside outlives it.

    with LabHost(see=[checkout]) as host:
        print(host.run("systemctl", "is-active", "docker"), host.reach(9877))
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import docker

from tests.lab import images as lab_images
from tests.lab import machine, trees
from tests.lab.engine import API_VERSION, real_folder, remove_control_groups, thaw_control_groups
from tests.lab.machine import LabError
from tests.lab.namespace import Namespaces
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

_STARTED = ("running", "degraded")
# What it writes is in memory: packages and programs that are put there wait for no disk, and nobody has to remove them.
# Its containers' control groups carry its name, so that they can be found and removed. Its containerd looks for garbage
# once a second, not 200 times.
_PREPARE = """
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs {dir}
mkdir -p {dir}/upper/etc/docker {dir}/upper/etc/containerd {dir}/work {dir}/root {dir}/docker
echo '{{"cgroup-parent": "/{name}"}}' >{dir}/upper/etc/docker/daemon.json
cp {tree}/etc/containerd/config.toml {dir}/upper/etc/containerd
printf '[plugins."io.containerd.gc.v1.scheduler"]\\npause_threshold = 0.0\\n' >>{dir}/upper/etc/containerd/config.toml
mount -t overlay -o lowerdir={tree},upperdir={dir}/upper,workdir={dir}/work overlay {dir}/root
for groups in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
  if [ -e $groups/cgroup.procs ]; then mkdir $groups/{name} && echo $$ >$groups/{name}/cgroup.procs; fi
done
"""
# The engine of a guest that shares our namespace of networks must be able to switch forwarding on.
_NSPAWN = (
    "env", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network", "systemd-nspawn", "--quiet", "--boot", "--register=no",
    "--keep-unit", "--link-journal=no", "--console=pipe", "--capability=all", "--system-call-filter=@keyring bpf",
)  # fmt: skip


class LabHost(machine.Started):
    """One booted host; a context manager."""

    def __init__(self, *, see: Sequence[Path] = ()) -> None:
        """`see`: folders that are in it under the same names, read-only."""
        self.name = f"dockwarden-lab-{uuid.uuid4().hex[:8]}"
        self.dir = real_folder() / self.name
        self.first_pid = 0  # of its systemd, as this machine sees it
        self._see = see
        self._keeper: subprocess.Popen[bytes] | None = None
        self._spaces: Namespaces | None = None

    def start(self) -> None:
        """Start it; returns when its systemd has started everything."""
        machine.require_root("a host with systemd")
        machine.ensure({**machine.ENGINE, **machine.HOST}, "a host with systemd")
        tree = trees.ensure(trees.HOST)
        self.dir.mkdir(parents=True)
        self._spaces = Namespaces(_PREPARE.format(tree=tree, dir=self.dir, name=self.name), self.dir / "log")
        binds = [f"--bind={self.dir}/docker:/var/lib/docker", *(f"--bind-ro={folder}" for folder in self._see)]
        command = [*_NSPAWN, f"--machine={self.name}", f"--directory={self.dir}/root", *binds]
        self._keeper, nspawn = self._spaces.run(command)
        try:
            self.first_pid = until(lambda: self._find_systemd(nspawn), "the guest's systemd")
            # "degraded" is what some unit of the guest's own that nobody here needs may make of it (that of utmp did).
            until(lambda: self.run("systemctl", "is-system-running", check=False) in _STARTED, "a whole start")
            if (state := self.run("systemctl", "is-active", "docker", check=False)) != "active":
                raise LabError(f"the guest's engine is {state}")
            # With control groups v1, nspawn leaves its guest nothing to write to but systemd's own.
            self.run("sh", "-c", "for at in /sys/fs/cgroup/*/; do mount -o remount,bind,rw $at; done", check=False)
        except LabError as error:
            raise LabError(f"{error}\n{self._what_failed()}") from None

    def stop(self) -> None:
        """End everything that was started, and remove every trace; harmless if repeated."""
        thaw_control_groups(self.name)
        if self._keeper is not None:
            self._keeper.kill()  # first: one that stands still would never bury its child
            self._keeper.wait()
            self._keeper = None
        if self._spaces is not None:
            self._spaces.close()
            self._spaces = None
        remove_control_groups(self.name)
        shutil.rmtree(self.dir, ignore_errors=True)

    # -- use -----------------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, timeout: float = 900) -> str:
        """Run a command in it as root: both its outputs, stripped. Unless `check` is off, it must succeed."""
        done = subprocess.run(
            ["nsenter", f"--target={self.first_pid}", "--all", "--", "env", "-i", f"PATH={machine.SEARCH_PATH}",
             "LC_ALL=C.UTF-8", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )  # fmt: skip
        if check and done.returncode:
            why = done.stdout[-3000:]
            if command[0] == "systemctl":  # which only says where to read on
                why += self.run("journalctl", "--lines=40", "--output=short-monotonic", "--no-pager", check=False)
            raise LabError(f"{' '.join(command)} ended with {done.returncode}:\n{why}")
        return done.stdout.strip()

    def path(self, inside: str) -> Path:
        """Where this machine sees a path of it."""
        return Path(f"/proc/{self.first_pid}/root{inside}")

    def outer_pid(self, pid: int) -> int:
        """The number by which this machine knows a process of it."""
        guest = Path(f"/proc/{self.first_pid}/ns/pid").readlink()
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError, StopIteration):
                numbers = next(line for line in status.read_text().splitlines() if line.startswith("NSpid:")).split()
                if numbers[-1] == str(pid) and (status.parent / "ns/pid").readlink() == guest:
                    return int(numbers[1])
        raise LabError(f"there is no process {pid} in {self.name}")

    @property
    def docker_host(self) -> str:
        """Where its engine is reached from this machine."""
        return f"unix://{self.path('/run/docker.sock')}"

    def client(self) -> docker.APIClient:
        """A new docker-py client of its engine; close it."""
        return docker.APIClient(base_url=self.docker_host, version=API_VERSION, timeout=60)

    def load(self, *specs: lab_images.ImageSpec) -> None:
        """Put images into its engine's store without a registry."""
        with self.client() as client:
            for line in client.load_image(iter([lab_images.archive(specs)])):
                if "error" in line:
                    raise LabError(f"docker load: {line['error']}")

    def forward(self, port: int) -> None:
        """Let 127.0.0.1:port in it reach 127.0.0.1:port of this machine; idempotent."""
        assert self._spaces is not None
        self._spaces.forward(port)

    def reach(self, port: int) -> int:
        """The port of this machine's loopback that is 127.0.0.1:port in it."""
        assert self._spaces is not None
        return self._spaces.reach(port)

    # -- inside --------------------------------------------------------------------------------

    def _find_systemd(self, nspawn: int) -> int:
        if self._keeper is None or self._keeper.poll() is not None:
            raise LabError("systemd-nspawn ended at once")
        for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return int(child)
        return 0

    def _what_failed(self) -> str:
        if self.first_pid:
            return self.run("systemctl", "--failed", "--no-pager", check=False)
        with contextlib.suppress(FileNotFoundError):
            return (self.dir / "log").read_text(errors="replace")[-2000:]
        return ""

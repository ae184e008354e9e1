"""A private Podman that answers as a Docker Engine does, in namespaces of its own.

In: a folder. Out: the address of its socket, a docker-py client. Out of bounds: the machine's own Podman, and running
containers, for which it wants a newer host than some are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import docker

from tests.lab import machine
from tests.lab.engine import API_VERSION
from tests.lab.namespace import Namespaces
from tests.lab.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

# To tell of itself, it asks for the packages of other programs, each time, for longer than all else takes it.
_PREPARE = """
mount -t tmpfs tmpfs /run
ip link set lo up
if [ -e /usr/bin/dpkg-query ]; then mount --bind /dev/null /usr/bin/dpkg-query; fi
"""


class LabPodman:
    """One Podman; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "podman.sock"
        self.host = f"unix://{self._socket}"

    def __enter__(self) -> Self:
        machine.require_root("a private Podman")
        machine.ensure(machine.PODMAN, "a private Podman")
        self._folder.mkdir(parents=True)
        self._spaces = Namespaces(_PREPARE, self._folder / "log")
        self._keeper, _ = self._spaces.run(
            ["podman", f"--root={self._folder}/root", "--runroot=/run/podman", "--storage-driver=vfs",
             "--events-backend=file", "system", "service", "--time=0", self.host]
        )  # fmt: skip
        until(self._socket.exists, "Podman")
        self.client = docker.APIClient(base_url=self.host, version=API_VERSION, timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._spaces.close()
        self._keeper.wait()

"""A swarm of private engines, wired to one bridge that no other network sees.

In: how many nodes. Out: engines that are its nodes, the first of them a manager at first. Out of bounds: what is
deployed on it. Each node has the address 10.203.7.N; what is published in host mode is there.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tests.lab import machine
from tests.lab.engine import LabEngine
from tests.lab.namespace import Namespaces
from tests.lab.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

_NET = "10.203.7"
_SWITCH = f"""
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
ip link add br0 type bridge
ip addr add {_NET}.254/24 dev br0
ip link set br0 up
"""


class LabSwarm:
    """Three engines of one swarm, unless another number is asked for; a context manager."""

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._number = nodes
        self.nodes: list[LabEngine] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        machine.ensure(machine.ENGINE, "a private swarm")
        with ExitStack() as stack:
            self.switch = Namespaces(_SWITCH, self._folder / "switch.log")
            stack.callback(self.switch.close)
            self._nodes = stack.enter_context(ExitStack())
            for _ in range(self._number):
                self._start()
            self.leader.docker("swarm", "init", f"--advertise-addr={self.address(1)}")
            for number in range(2, self._number + 1):
                self._join(number, "worker")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> LabEngine:
        node = LabEngine("graph")
        node.more["iptables"] = True  # published ports and networks of several nodes need it
        node.more["insecure-registries"] = [f"{_NET}.0/24"]  # what is forwarded to a node
        node.more["hosts"] = [node.host, "unix:///run/docker.sock"]  # where the node's own containers look for it
        self._nodes.enter_context(node)
        self.nodes.append(node)
        self._plug_in(len(self.nodes))
        return node

    def lose(self, number: int) -> None:
        """Pull the plug of a node."""
        self.nodes[number - 1].stop()

    def add(self) -> LabEngine:
        """One more node, that joins as a worker."""
        node = self._start()
        self._join(len(self.nodes), "worker")
        return node

    @property
    def leader(self) -> LabEngine:
        return self.nodes[0]

    @staticmethod
    def address(number: int) -> str:
        """Of a node, from 1 on."""
        return f"{_NET}.{number}"

    def node_states(self) -> dict[str, str]:
        """By host name, what the leader says of each node."""
        lines = self.leader.docker("node", "ls", "--format={{.Hostname}} {{.Status}}").splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def _join(self, number: int, role: str) -> None:
        token = self.leader.docker("swarm", "join-token", "--quiet", role)
        self.nodes[number - 1].docker(
            "swarm", "join", f"--advertise-addr={self.address(number)}", f"--token={token}", f"{self.address(1)}:2377"
        )

    def promote(self, number: int) -> None:
        """Make a node a manager, too; returns when it is one."""
        node = self.nodes[number - 1]
        self.leader.docker("node", "promote", node.name)
        until(lambda: node.client().info()["Swarm"]["ControlAvailable"], f"{node.name} to be a manager")

    def _plug_in(self, number: int) -> None:
        """Both ends are made inside of namespaces: nothing is seen on the host."""
        node, switch = self.nodes[number - 1].spaces.init_pid, self.switch.init_pid
        outside = ["nsenter", f"--target={switch}", "--net", "--"]
        inside = ["nsenter", f"--target={node}", "--net", "--"]
        for command in (
            [*outside, "ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", f"p{number}"],
            [*outside, "ip", "link", "set", f"p{number}", "netns", str(node), "name", "eth0"],
            [*outside, "ip", "link", "set", f"v{number}", "master", "br0", "up"],
            [*inside, "ip", "addr", "add", f"{self.address(number)}/24", "dev", "eth0"],
            [*inside, "ip", "link", "set", "eth0", "up"],
        ):
            subprocess.run(command, check=True)

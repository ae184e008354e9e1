"""A set of Linux namespaces that lives exactly as long as its owner wants, and never longer.

Role: hold a network, mount, pid and uts namespace open, run commands inside, listen inside. In: a
shell script that prepares the mounts. Out: processes in the namespaces, sockets. Out of bounds:
knowing what runs there (see `engine`). The first process of the pid namespace reads a pipe of ours:
when this process ends, however it ends, the pipe closes and the kernel ends everything inside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.machine import SEARCH_PATH, LabError
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CLONE_NEWNET = 0x40000000
SELDOM_TIDY = {"GOGC": "400"}
"""Variables by which programs in Go, none of which has much memory here, spend a tenth less time on themselves."""
# As in a container, the first process buries orphans: shims and what ran in containers.
_HOLD = "\necho ready\nexec docker-init -- busybox cat >/dev/null\n"


class Namespaces:
    """Namespaces with a private /run; `close` ends every process inside."""

    def __init__(self, prepare: str, log: Path) -> None:
        self._log = log.open("ab")
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child",
             "--mount-proc", "sh", "-euc", prepare + _HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PATH": SEARCH_PATH},
            start_new_session=True,
        )  # fmt: skip
        try:
            assert self._holder.stdout is not None
            if self._holder.stdout.readline() != b"ready\n":
                raise LabError("the namespaces could not be prepared")
            self.init_pid = self._network_pid = _only_child(self._holder.pid)
        except BaseException:
            self._holder.communicate()  # closes its pipe, and so ends it
            self._log.close()
            raise
        self._relays: dict[int, Relay] = {}
        self._ways_in: dict[int, tuple[Relay, ThreadPoolExecutor, int]] = {}

    def run(self, command: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
        """Start a command inside; returns its keeper outside and its pid as seen from outside."""
        keeper = subprocess.Popen(
            ["nsenter", f"--target={self.init_pid}", "--net", "--mount", "--uts", "--pid", "--root", "--",
             *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={"PATH": SEARCH_PATH, **SELDOM_TIDY},
            start_new_session=True,
        )  # fmt: skip
        try:
            return keeper, _only_child(keeper.pid)
        except BaseException:
            keeper.kill()
            keeper.wait()
            raise

    def forward(self, port: int) -> None:
        """Let port of any address inside reach 127.0.0.1:port of the host."""
        if port not in self._relays:
            self._relays[port] = Relay(self._listen(port), port)

    def reach(self, port: int) -> int:
        """A port of 127.0.0.1 of the host that is 127.0.0.1:port inside."""
        if port not in self._ways_in:
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            inside = ThreadPoolExecutor(max_workers=1)  # one thread that enters and stays
            inside.submit(_enter, Path(f"/proc/{self._network_pid}/ns/net")).result()
            relay = Relay(listener, port, lambda to: inside.submit(_connect, to).result())
            self._ways_in[port] = relay, inside, listener.getsockname()[1]
        return self._ways_in[port][2]

    def move_network(self, pid: int) -> None:
        """From now on inside is the network of this process, one that has a network of its own."""
        self._network_pid = pid
        for port, relay in self._relays.items():
            relay.close()
            self._relays[port] = Relay(self._listen(port), port)

    def close(self) -> None:
        for relay, inside, _ in self._ways_in.values():
            relay.close()
            inside.shutdown()
        for relay in self._relays.values():
            relay.close()
        self._relays.clear()
        self._ways_in.clear()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init_pid, signal.SIGKILL)
        self._holder.communicate()
        self._log.close()

    def _listen(self, port: int) -> socket.socket:
        # A namespace is entered per thread, so a thread that does nothing else enters it and ends.
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(_listen_inside, Path(f"/proc/{self._network_pid}/ns/net"), port).result()


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


class Relay:
    """Accepts on one socket and passes bytes to a port of loopback, both ways; where, `connect` decides."""

    def __init__(self, listener: socket.socket, port: int, connect: Callable[[int], socket.socket] = _connect) -> None:
        self._listener = listener
        self._port = port
        self._connect = connect
        threading.Thread(target=self._accept, name=f"lab-relay-{port}", daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            try:
                outside = self._connect(self._port)
            except OSError:
                inside.close()
                continue
            outside.settimeout(None)
            pair = Pair(inside, outside)
            for source, target in ((inside, outside), (outside, inside)):
                threading.Thread(target=pair.copy, args=(source, target), daemon=True).start()


class Pair:
    """Two connected sockets that are closed when both directions are through."""

    def __init__(self, *sockets: socket.socket) -> None:
        self._sockets = sockets
        self._open = len(sockets)
        self._lock = threading.Lock()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._open -= 1
            if self._open == 0:
                for end in self._sockets:
                    end.close()


def _enter(namespace: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with namespace.open() as handle:
        if libc.setns(handle.fileno(), _CLONE_NEWNET):
            raise LabError(f"cannot enter {namespace}: {os.strerror(ctypes.get_errno())}")


def _listen_inside(namespace: Path, port: int) -> socket.socket:
    _enter(namespace)
    return socket.create_server(("", port), backlog=128)  # inside: containers of the engine may ask, too


def _only_child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")

    def first() -> int:
        try:
            return int((children.read_text().split() or ["0"])[0])
        except (FileNotFoundError, ProcessLookupError):
            raise LabError(f"process {pid} ended before it had a child") from None

    return until(first, f"a child of process {pid}", pause=0.005)

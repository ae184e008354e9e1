"""Ports and certificates for servers of the lab, which listen on 127.0.0.1 only."""

from __future__ import annotations

import atexit
import random
import socket
import subprocess
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from tests.lab.machine import LabError

if TYPE_CHECKING:
    from pathlib import Path

_PORTS = range(20_000, 32_000)  # below those that Linux takes by itself, for port 0 and for connections
_reserved = ExitStack()
atexit.register(_reserved.close)


def free_port(*wishes: int) -> int:
    """A loopback port that nobody listens on, and that no process of the lab is given while this one lives."""
    for port in (*wishes, *(random.SystemRandom().choice(_PORTS) for _ in range(1000))):
        held = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            held.bind(f"\0dockwarden-lab-port-{port}")  # gone with the process
            socket.create_server(("127.0.0.1", port)).close()
            _reserved.enter_context(held)
            return port
        held.close()
    raise LabError("a thousand ports are taken")


def make_certificate(folder: Path, names: str = "IP:127.0.0.1,DNS:localhost") -> Path:
    """A CA of our own (`ca.crt`) and a server certificate for 127.0.0.1, or others (`server.crt`, `.key`)."""
    (folder / "san").write_text(f"subjectAltName={names}\n")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"  # one of RSA takes half a second to find
    steps = (
        f"req -x509 {key} -days 2 -subj /CN=lab-ca -keyout ca.key -out ca.crt",
        f"req {key} -subj /CN=127.0.0.1 -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt",
    )
    for step in steps:
        subprocess.run(["openssl", *step.split()], cwd=folder, check=True, capture_output=True)
    return folder / "ca.crt"

"""A private sshd on loopback that lets one key in as root, and an ssh command that has the key and trusts it.

In: a folder. Out: a port, and a folder for PATH with that ssh. Out of bounds: the machine's own sshd, anybody's ~/.ssh.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from typing import TYPE_CHECKING

from tests.lab import machine
from tests.lab.loopback import free_port
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SSHD = """HostKey {folder}/host
ListenAddress 127.0.0.1:{port}
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
"""
_SSH = """Host *
IdentityFile {folder}/key
UserKnownHostsFile {folder}/known_hosts
"""


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[tuple[int, Path]]:
    """Runs until it is left."""
    machine.ensure(machine.SSH, "a private sshd")
    folder.mkdir()
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = free_port()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(_SSHD.format(folder=folder, port=port))
    (folder / "ssh_config").write_text(_SSH.format(folder=folder))
    (folder / "bin").mkdir()
    (folder / "bin/ssh").write_text(f'#!/bin/sh\nexec {machine.find("ssh")} -F {folder}/ssh_config "$@"\n')
    (folder / "bin/ssh").chmod(0o755)
    # It wants a folder in /run that only a package or systemd makes.
    begin = f"mount -t tmpfs tmpfs /run; mkdir /run/sshd; exec {machine.find('sshd')} -D -e -f {folder}/sshd_config"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-euc", begin], stderr=log
        )

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(answers, "sshd")
        yield port, folder / "bin"
    finally:
        server.kill()
        server.wait()

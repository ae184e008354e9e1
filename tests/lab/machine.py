"""What the lab needs from the machine, and how it gets there.

Role: compare the commands a caller needs with those the machine has, and install the Debian packages
that bring the missing ones. In: a mapping of command or path to Debian package. Out: nothing, or a
`LabError` with the line to type. Out of bounds: starting services, touching what is already there.
`python -m tests.lab.machine` prepares everything that the tests need.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENGINE = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "/bin/busybox": "busybox-static",
    "ip": "iproute2",
    "mount": "mount",
    "unshare": "util-linux",
}
REGISTRY = {"docker-registry": "docker-registry", "openssl": "openssl"}
TREES = {"mmdebstrap": "mmdebstrap"}
HOST = {"systemd-nspawn": "systemd-container", "systemd-analyze": "systemd"}
PROXY = {"haproxy": "haproxy", "docker-compose": "docker-compose"}
METRICS = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
ANSIBLE = {"ansible-playbook": "ansible-core", "ansible-lint": "ansible-lint"}
PODMAN = {"podman": "podman"}
SSH = {"sshd": "openssh-server", "ssh": "openssh-client"}
TYPES = {"node": "nodejs", "npm": "npm"}
SHELLS = {"zsh": "zsh", "fish": "fish"}
BROWSER = {"chromium": "chromium", "setpriv": "util-linux"}
EVERYTHING = {
    **ENGINE,
    **REGISTRY,
    **TREES,
    **HOST,
    **PROXY,
    **METRICS,
    **ANSIBLE,
    **PODMAN,
    **SSH,
    **TYPES,
    **SHELLS,
    **BROWSER,
}

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_POLICY = Path("/usr/sbin/policy-rc.d")


class LabError(Exception):
    """The lab cannot do what was asked; the message says what would help."""


class Started(ABC):
    """What runs as long as its context, and leaves no trace, also where it fails to start."""

    @abstractmethod
    def start(self) -> None:
        """Start it; returns when it can be used."""

    @abstractmethod
    def stop(self) -> None:
        """End everything that was started, and remove every trace; harmless if repeated."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def say(text: str) -> None:
    """Progress, for the person at the terminal or the log of CI."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def find(command: str) -> str | None:
    """The absolute path of a command (or of a path), also of those in the sbin folders."""
    if command.startswith("/"):
        return command if Path(command).exists() else None
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:{SEARCH_PATH}")


def ensure(packages: Mapping[str, str], purpose: str = "the lab") -> None:
    """Install the packages of those commands that are missing."""
    missing = {command: package for command, package in packages.items() if not find(command)}
    if not missing:
        return
    names = sorted(set(missing.values()))
    line = f"apt-get install -y --no-install-recommends {' '.join(names)}"
    if os.geteuid() != 0 or not find("apt-get"):
        raise LabError(f"{purpose} needs {', '.join(missing)}; run as root: {line}")
    say(f"will install the Debian packages {', '.join(names)}")
    say(f"{purpose} needs {', '.join(missing)}; no service of theirs is started now")
    if sys.stdin.isatty():
        print("lab: go ahead? [y/N] ", end="", file=sys.stderr, flush=True)
        if not sys.stdin.readline().strip().lower().startswith("y"):
            raise LabError(f"not installed; {purpose} needs: {line}")
    with apt_locked(), _no_services():
        _apt("update", "-qq")
        _apt("install", "-y", "-qq", "--no-install-recommends", *names)
    still = [command for command in missing if not find(command)]
    if still:
        raise LabError(f"{', '.join(still)} not found although installed: {', '.join(names)}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else makes this path at the same time."""
    with path.with_name(f"{path.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def apt_locked() -> AbstractContextManager[None]:
    """Nobody else of us runs apt, which does not wait for another to have fetched its lists."""
    return locked(Path(tempfile.gettempdir(), "dockwarden-lab-apt"))


def require_root(purpose: str) -> None:
    if os.geteuid() != 0:
        raise LabError(f"{purpose} makes namespaces and mounts: run it as root")


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", *arguments]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode:
        raise LabError(f"`{' '.join(command)}` failed with exit code {done.returncode}")


@contextmanager
def _no_services() -> Iterator[None]:
    """Debian's own switch: with a policy-rc.d that answers 101 no package may start a service."""
    aside = _POLICY.with_name("policy-rc.d.dockwarden-lab")
    had_one = _POLICY.exists()
    if had_one:
        _POLICY.rename(aside)
    try:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
        if had_one:
            aside.rename(_POLICY)


def main() -> int:
    """Make the machine ready for every test."""
    from tests.lab import trees  # noqa: PLC0415 - it imports this module

    try:
        require_root("the lab")
        ensure(EVERYTHING, "the test suite")
        with ThreadPoolExecutor() as pool:
            made = [pool.submit(trees.ensure, tree) for tree in (trees.HOST, trees.BASE, trees.NEW_ENGINE)]
            for each in made:
                each.result()
    except LabError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

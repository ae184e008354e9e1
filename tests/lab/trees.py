"""Debian systems that tests run things in, each unpacked once into a cache.

Role: keep a folder with the files of each. In: the mirror that the machine's own apt uses;
`DOCKWARDEN_LAB_CACHE` to move the cache. Out: the folder's path. Out of bounds: running anything in it
(see `engine` and `host`), changing it after it was made (who uses it puts an overlay on top).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab import machine
from tests.lab.machine import LabError, locked, say

_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_TARGETS = "$(ORIGIN)|$(RELEASE)|$(REPO_URI)"


@dataclass(frozen=True)
class Tree:
    """One system: a Debian release, what is in it, and how far mmdebstrap goes (see --variant there)."""

    name: str
    suite: str
    packages: str
    variant: str
    proof: str  # a file that is there when it is complete
    options: tuple[str, ...] = ()  # more for mmdebstrap


BUILDX = "usr/libexec/docker/cli-plugins/docker-buildx"
NEW_ENGINE = Tree("trixie", "trixie", "base-files,docker.io,docker-buildx,iptables", "extract", BUILDX)
"""A newer engine than the machine's: 26.1, with the containerd store and BuildKit. 14 s, 320 MB."""
NEWEST_ENGINE = Tree(
    "sid", "sid", "base-files,docker.io,iptables", "extract", "usr/sbin/dockerd",
    ('--aptopt=Acquire::Check-Valid-Until "false"',),  # a mirror may keep an old day of what changes every day
)  # fmt: skip
"""The newest engine that Debian has: 28.5, with the containerd store. 15 s, 300 MB."""
ENGINES: dict[str, Tree | None] = {"machine": None, "rootless": None, "trixie": NEW_ENGINE, "sid": NEWEST_ENGINE}
"""Where engines come from, by the words of `DOCKWARDEN_LAB_GRAPH` and `DOCKWARDEN_LAB_CONTAINERD`."""
HOST = Tree(
    "bookworm-host", "bookworm", "systemd,systemd-sysv,dbus,docker.io,iptables,procps,python3,python3-venv", "minbase",
    "usr/sbin/dockerd",
)  # fmt: skip
"""A whole host: systemd, the distribution's engine, Python. 30 s, 450 MB."""
BASE = Tree("base", "bookworm", "python3,python3-venv,ca-certificates,tzdata", "minbase", "usr/bin/python3")
"""What a container image can be built on. 20 s, 170 MB."""


def ensure(tree: Tree) -> Path:
    """The folder with the system's files; makes it first if it is not there."""
    cache = Path(os.environ.get("DOCKWARDEN_LAB_CACHE", "/var/cache/dockwarden-lab")) / tree.name
    if (cache / tree.proof).exists():
        return cache
    machine.ensure(machine.TREES, f"Debian {tree.suite} with {tree.packages}")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with locked(cache):
        if not (cache / tree.proof).exists():
            say(f"unpacking Debian {tree.suite} with {tree.packages} into {cache} (once)")
            _build(tree, cache)
    return cache


def wheelhouse() -> Path:
    """A folder with wheels of all that dockwarden requires, for Python 3.11, as in HOST and BASE."""
    root = Path(__file__).parents[2]
    requirements = root / "requirements-notify.txt"
    stamp = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("DOCKWARDEN_LAB_CACHE", "/var/cache/dockwarden-lab")) / f"wheels-{stamp}"
    cache.parent.mkdir(parents=True, exist_ok=True)
    with locked(cache):
        if not cache.exists():
            say(f"downloading what dockwarden requires into {cache} (once)")
            with tempfile.TemporaryDirectory(prefix=f"{cache.name}.", dir=cache.parent) as unfinished:
                pip("download", "--require-hashes", "--only-binary=:all:", "--python-version=3.11",
                    f"--dest={unfinished}", f"--requirement={requirements}")  # fmt: skip
                shutil.copytree(unfinished, cache)
    return cache


def pip(*arguments: str) -> None:
    """Run the pip of this environment."""
    command = [sys.executable, "-m", "pip", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"pip {' '.join(arguments)}: {done.stderr[-1500:]}")


def _build(tree: Tree, cache: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{cache.name}.", dir=cache.parent))
    left_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    command = [
        "mmdebstrap",
        "--quiet",
        f"--variant={tree.variant}",
        f"--include={tree.packages}",
        *left_out,
        *tree.options,
    ]
    try:
        unfinished.chmod(0o755)
        done = subprocess.run(
            [*command, tree.suite, str(unfinished), _mirror()],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not (unfinished / tree.proof).exists():
            raise LabError(f"mmdebstrap could not unpack {tree.suite}: {done.stderr[-1500:]}")
        if cache.exists():
            shutil.rmtree(cache)
        unfinished.rename(cache)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _mirror() -> str:
    """The Debian mirror of this machine's apt, security and third parties left out."""
    for refreshed in (False, True):
        if refreshed:
            with machine.apt_locked():  # another tree may be made at the same time
                subprocess.run(["apt-get", "update", "-qq"], check=False, stdout=subprocess.DEVNULL)
        listed = subprocess.run(
            ["apt-get", "indextargets", "--format", _TARGETS],
            capture_output=True,
            text=True,
            check=True,
        )
        for line in listed.stdout.splitlines():
            origin, release, uri = line.split("|", 2)
            if origin == "Debian" and "-" not in release:
                return uri
    raise LabError("apt on this machine knows no Debian mirror to take packages from")

"""A newer engine than the machine's: Debian trixie's docker.io, unpacked once into a cache.

Role: keep one folder with the files of that engine, for chroots. In: the mirror that the machine's
own apt uses; `DOCKWARDEN_LAB_CACHE` to move the cache. Out: the folder's path. Out of bounds: running
anything in it (see `engine`), changing it after it was made (engines put an overlay on top).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import machine
from tests.lab.machine import LabError, say

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGES = "base-files,docker.io,iptables"
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_TARGETS = "$(ORIGIN)|$(RELEASE)|$(REPO_URI)"


def ensure() -> Path:
    """The folder with the engine's files; makes it first if it is not there (12 s, 260 MB)."""
    cache = Path(os.environ.get("DOCKWARDEN_LAB_CACHE", "/var/cache/dockwarden-lab/trixie"))
    if _complete(cache):
        return cache
    machine.ensure({**machine.ENGINE, **machine.TRIXIE}, "an engine with the containerd store")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with _locked(cache.with_name(f"{cache.name}.lock")):
        if not _complete(cache):
            say(f"unpacking Debian trixie's docker.io into {cache} (once)")
            _build(cache)
    return cache


def _complete(cache: Path) -> bool:
    return (cache / "usr/sbin/dockerd").exists()


def _build(cache: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{cache.name}.", dir=cache.parent))
    left_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={_PACKAGES}", *left_out]
    try:
        unfinished.chmod(0o755)
        done = subprocess.run(
            [*command, "trixie", str(unfinished), _mirror()],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not _complete(unfinished):
            raise LabError(f"mmdebstrap could not unpack trixie: {done.stderr[-1500:]}")
        if cache.exists():
            shutil.rmtree(cache)
        unfinished.rename(cache)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _mirror() -> str:
    """The Debian mirror of this machine's apt, security and third parties left out."""
    for refreshed in (False, True):
        if refreshed:
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
    raise LabError("apt on this machine knows no Debian mirror to take trixie's docker.io from")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield

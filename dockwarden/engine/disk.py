"""What can be seen of an engine on its own disk, where that can be seen from here, as the API does not tell it.

Input: the engine's data root. Output: whether somebody pulls, loads or builds right now, how full the disk is,
how large logs are.
Out of bounds: changing anything there, and engines of other hosts, of which nothing is seen.

An engine says nothing of a pull before its end. But a graph store keeps what it downloads in `tmp`, a containerd store
in `ingest`, and both builders have a folder for what they build from or run.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dockwarden.ports import Disk

_STEPS = "buildkit/executor"
_PLACES = (
    ("tmp", ("GetImageBlob", "docker-builder", "docker-import")),
    ("containerd/daemon/io.containerd.content.v1.content/ingest", ("",)),
    (_STEPS, ("",)),
    ("buildkit/content/ingest", ("",)),
)
_LOGS = ("*-json.log*", "local-logs/*", "container-cached.log*")
_LEFT_BEHIND_SECONDS = 600.0  # what nobody has written to for so long is of an engine that died


def transfer(data_root: str) -> str:
    """What shows that a pull, a load or a build is under way, "" if nothing does or nothing can be seen."""
    now = time.time()
    for place, beginnings in _PLACES:
        with suppress(OSError), os.scandir(Path(data_root) / place) as entries:
            for entry in entries:
                if place == _STEPS and not entry.is_dir(follow_symlinks=False):
                    continue  # files for all steps, which outlive them
                if entry.name.startswith(beginnings) and now - max(_changes(entry)) < _LEFT_BEHIND_SECONDS:
                    return f"a pull or a build ({place}/{entry.name[:40]})"
    return ""


def _changes(entry: "os.DirEntry[str]") -> Iterator[float]:
    yield entry.stat(follow_symlinks=False).st_mtime
    if entry.is_dir(follow_symlinks=False):
        with os.scandir(entry) as inside:
            yield from (each.stat(follow_symlinks=False).st_mtime for each in inside)


def log_bytes(data_root: str, container_id: str) -> int | None:
    """The log of a container as the drivers json-file and local keep it, and others what they keep to be read again."""
    folder = Path(data_root) / "containers" / container_id
    try:
        if not (folder / "config.v2.json").is_file():
            return None  # another engine's disk
        return sum(each.stat().st_size for part in _LOGS for each in folder.glob(part))
    except OSError:
        return None


def measure(data_root: str) -> Disk | None:
    """Use of the file system of the engine's data root, where that path can be seen from here."""
    try:
        stat = os.statvfs(data_root)
    except OSError:
        return None
    if not stat.f_blocks:
        return None
    inodes = 100.0 * (stat.f_files - stat.f_ffree) / stat.f_files if stat.f_files else 0.0
    used = stat.f_blocks - stat.f_bfree
    return Disk(100.0 * used / max(1, used + stat.f_bavail), stat.f_bavail * stat.f_frsize, inodes)

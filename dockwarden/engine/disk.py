"""What can be seen of an engine on its own disk, where that can be seen from here, as the API does not tell it.

Input: the engine's data root. Output: where its images are, whether somebody pulls, loads or builds right now, how full
a disk is, how large logs are, how many layers nobody knows.
Out of bounds: changing anything there, and engines of other hosts, of which nothing is seen.

An engine says nothing of a pull before its end. But a graph store keeps what it downloads in `tmp`, a containerd store
in `ingest`, and both builders have a folder for what they build from or run.
"""

import os
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dockwarden.config.files import content
from dockwarden.model import ImageStore
from dockwarden.ports import Disk

_STEPS = "buildkit/executor"
_PLACES = (
    ("tmp", ("GetImageBlob", "docker-builder", "docker-import")),
    (_STEPS, ("",)),
    ("buildkit/content/ingest", ("",)),
)
_INGEST = "io.containerd.content.v1.content/ingest"
_MANAGED = "containerd/daemon"
_IN_EACH_CONTAINERD = "io.containerd.metadata.v1.bolt"
_OF_THE_SYSTEM = ("/run/containerd/containerd.sock", "/var/run/containerd/containerd.sock")
_LOGS = ("*-json.log*", "local-logs/*", "container-cached.log*")
_PIECE_BYTES, _LONGEST_NAME = 2**20, 255
_MOST_COMPARED = 2**32  # bytes; some seconds
_LEFT_BEHIND_SECONDS = 600.0  # away from now, also where a clock was ahead: it is of an engine that died


def image_root(store: ImageStore, data_root: str, containerd: str, config: str = "/etc/containerd/config.toml") -> str:
    """Where the images are; the data root as well where nothing better can be seen from here.

    ``containerd``: the address of the containerd that the engine uses, as engines tell it from API 1.46 on. One that an
    engine starts for itself has its root below the data root; that of the system is told by its own configuration.
    """
    if store is ImageStore.GRAPH:
        return data_root
    of_system = "/var/lib/containerd"
    with suppress(OSError, tomllib.TOMLDecodeError, RecursionError):
        of_system = str(tomllib.loads(content(Path(config)).decode(errors="replace")).get("root", of_system))
    roots = [f"{data_root}/{_MANAGED}", of_system]
    roots = roots[::-1] if containerd in _OF_THE_SYSTEM else roots
    return next((root for root in roots if os.path.isdir(f"{root}/{_IN_EACH_CONTAINERD}")), data_root)  # noqa: PTH112 - Path's raises


def transfer(data_root: str, images: str = "") -> str:
    """What shows that a pull, a load or a build is under way, "" if nothing does or nothing can be seen.

    ``images``: the root of the containerd that has the images, if it is another one than the engine's own.
    """
    now, ingest = time.time(), f"{images or f'{data_root}/{_MANAGED}'}/{_INGEST}"
    for place, beginnings in (*_PLACES, (ingest, ("",))):
        with suppress(OSError), os.scandir(Path(data_root) / place) as entries:
            for entry in entries:
                if place == _STEPS and not entry.is_dir(follow_symlinks=False):
                    continue  # files for all steps, which outlive them
                is_new = (abs(now - at) < _LEFT_BEHIND_SECONDS for at in _changes(entry))
                if entry.name.startswith(beginnings) and any(is_new):
                    return f"a pull or a build ({place.removeprefix(f'{data_root}/')}/{entry.name[:40]})"
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


def stray_layers(data_root: str) -> int | None:
    """How many layers on the disk of a graph store belong to no image, container or build; None if nobody can tell.

    They are what an engine leaves behind that died while it made or removed them, and no request to it removes them.
    """
    root = Path(data_root)
    try:
        folders = {entry.name for entry in os.scandir(root / "overlay2") if entry.is_dir()} - {"l"}
        names = root.glob("image/overlay2/layerdb/*/*/*-id")  # of images and of containers
        known = {path.read_text() for path in names if path.name in ("cache-id", "mount-id", "init-id")}
        strays = {name.encode() for name in folders - known}
        for path in root.glob("buildkit/*.db"):
            if path.stat().st_size * len(strays) > _MOST_COMPARED:
                return None
            with path.open("rb") as file:  # by pieces, as databases of builds grow to gigabytes
                held = b""
                while piece := file.read(_PIECE_BYTES):
                    held = held[-_LONGEST_NAME:] + piece
                    strays = {name for name in strays if name not in held}
    except OSError:
        return None
    return len(strays)


def measure(data_root: str) -> Disk | None:
    """Use of the file system of a path of the engine's, where that can be seen from here."""
    try:
        stat, device = os.statvfs(data_root), Path(data_root).stat().st_dev
    except OSError:
        return None
    if not stat.f_blocks:
        return None
    inodes = 100.0 * (stat.f_files - stat.f_ffree) / stat.f_files if stat.f_files else 0.0
    used = stat.f_blocks - stat.f_bfree
    share = 100.0 * used / max(1, used + stat.f_bavail)
    free, reserved = stat.f_bavail * stat.f_frsize, (stat.f_bfree - stat.f_bavail) * stat.f_frsize
    return Disk(share, free, inodes, used * stat.f_frsize, device, reserved)

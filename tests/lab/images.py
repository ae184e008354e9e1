"""Images made in memory: what the lab loads into engines and pushes to registries.

Role: describe an image (`ImageSpec`) and turn specs into a `docker load` archive. In: files and
settings. Out: bytes. Out of bounds: talking to engines (`engine.load`) or registries
(`registry.push`). Layers are plain tars; specs that share leading layers are base and child.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.machine import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_LONG_AGO = datetime(2024, 5, 1, tzinfo=UTC)
_EXECUTABLE = ("bin/", "sbin/", "usr/")
_APPLETS = ("sh", "sleep", "cat", "echo", "httpd", "ls", "sync", "true", "wget")


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def rootfs(files: Mapping[str, bytes | str], links: Mapping[str, str] | None = None) -> bytes:
    """One layer: files by path (bytes or text) and symbolic links by path, as a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.size = len(data)
            entry.mode = 0o755 if entry.name.startswith(_EXECUTABLE) else 0o644
            tar.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.type = tarfile.SYMTYPE
            entry.linkname = target
            tar.addfile(entry)
    return out.getvalue()


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """An image to be; two specs that differ in any field but `tags` are two images."""

    tags: tuple[str, ...] = ()
    layers: tuple[bytes, ...] = (rootfs({"hello": "hello"}),)
    labels: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    user: str = ""
    cmd: tuple[str, ...] = ("/hello",)
    entrypoint: tuple[str, ...] = ()
    healthcheck: Mapping[str, object] | None = None
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    workdir: str = ""
    stop_signal: str = ""
    created: datetime = _LONG_AGO
    architecture: str = ARCHITECTURE

    def config(self) -> bytes:
        """The image's configuration; its digest is the image's ID on a graph store."""
        settings: dict[str, object] = {
            "Labels": dict(self.labels),
            "Env": list(self.env),
            "User": self.user,
            "Cmd": list(self.cmd),
            "Entrypoint": list(self.entrypoint) or None,
            "Healthcheck": self.healthcheck,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "StopSignal": self.stop_signal,
            "Volumes": {path: {} for path in self.volumes},
            "WorkingDir": self.workdir,
        }
        created = self.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        step = {"created": created, "created_by": "lab"}
        content = {
            "architecture": self.architecture,
            "os": "linux",
            "created": created,
            "config": {key: value for key, value in settings.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in self.layers]},
            "history": [step for _ in self.layers],
        }
        return json.dumps(content, separators=(",", ":")).encode()

    @property
    def id(self) -> str:
        """The ID that a graph store gives it."""
        return digest(self.config())


def archive(images: Iterable[ImageSpec]) -> bytes:
    """The images in the format of `docker save`, each layer once."""
    return b"".join(_stream(images))


def many(n: int, prefix: str = "many", *, tagged: bool = True) -> Iterator[bytes]:
    """An archive of n distinct tiny images over one layer, in chunks; for `engine.load_archive`.

    Tagged, they are `{prefix}/app{i % 200}:v{i}`, made a minute apart.
    """
    layers = (rootfs({"f": f"hello {prefix}"}),)
    return _stream(
        ImageSpec(
            tags=(f"{prefix}/app{i % 200}:v{i}",) if tagged else (),
            layers=layers,
            labels={f"org.example.{prefix}": str(i)},
            created=_LONG_AGO + timedelta(minutes=i),
        )
        for i in range(n)
    )


def busybox(*tags: str, cmd: tuple[str, ...] = ("sleep", "1000000"), own: str = "") -> ImageSpec:
    """An image that runs: the machine's static busybox, and /own with a text; `docker stop` ends it at once."""
    return ImageSpec(tags=tags, layers=(_programs(own),), cmd=cmd, env=("PATH=/bin",), stop_signal="SIGKILL")


@lru_cache(maxsize=4)
def _programs(own: str) -> bytes:
    path = Path("/bin/busybox")
    if not path.exists():
        raise LabError("no /bin/busybox; install: apt-get install -y busybox-static")
    binary = path.read_bytes()
    if b"ld-linux" in binary[:4096]:
        raise LabError("/bin/busybox is not static; install: apt-get install -y busybox-static")
    return rootfs(
        {
            **({"own": own} if own else {}),
            "bin/busybox": binary,
            "etc/passwd": "root:x:0:0:root:/:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n",
            "etc/group": "root:x:0:\napp:x:1000:\n",
            "tmp/.keep": "",
        },
        {f"bin/{name}": "busybox" for name in _APPLETS},
    )


def _stream(images: Iterable[ImageSpec]) -> Iterator[bytes]:
    manifest = []
    written: set[str] = set()
    for image in images:
        names = []
        for layer in image.layers:
            name = f"{hashlib.sha256(layer).hexdigest()}/layer.tar"
            names.append(name)
            if name not in written:
                written.add(name)
                yield _member(name, layer)
        config = image.config()
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        if config_name not in written:
            written.add(config_name)
            yield _member(config_name, config)
        tags = list(image.tags) or None
        manifest.append({"Config": config_name, "RepoTags": tags, "Layers": names})
    yield _member("manifest.json", json.dumps(manifest).encode())
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(name: str, content: bytes) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    padding = -len(content) % tarfile.BLOCKSIZE
    return entry.tobuf(tarfile.GNU_FORMAT) + content + bytes(padding)

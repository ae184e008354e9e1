"""A private image registry: Debian's docker-registry on a free loopback port.

Role: serve, with deletion on, with basic auth or TLS if asked; put tiny images into it without an
engine. In: image specs. Out: digests, and what was asked of it (`requests`). Out of bounds: reading
from any other registry.

    with LabRegistry(htpasswd={"alice": "secret"}) as registry:
        digest = registry.push("team/app", "1.0", ImageSpec(labels={"v": "1"}))
        index = registry.push_index("team/multi", "1.0", platforms=["linux/amd64", "linux/arm64"])

It ends with the thread that started it, so start it in the main thread.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import bcrypt
import urllib3

from tests.lab.images import ImageSpec, digest, rootfs
from tests.lab.loopback import free_port, make_certificate
from tests.lab.machine import SEARCH_PATH, LabError, Started, find
from tests.lab.namespace import SELDOM_TIDY
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Media = Literal["oci", "docker"]
_LARGE = 1 << 20
"""Layers of more bytes are packed, but not made smaller, which takes longer than all else with them."""


@dataclass(frozen=True)
class Types:
    """The media types of one family."""

    index: str
    manifest: str
    config: str
    layer: str


TYPES: dict[Media, Types] = {
    "oci": Types(
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
    "docker": Types(
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}
ACCEPT = ", ".join(t for types in TYPES.values() for t in (types.index, types.manifest))
_ACCESS = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d{3}) ')


class Request(NamedTuple):
    """One line of the registry's access log."""

    method: str
    path: str
    status: int


class LabRegistry(Started):
    """One private registry; a context manager."""

    def __init__(
        self, *, htpasswd: Mapping[str, str] | None = None, tls: bool = False, headers: Mapping[str, str] | None = None
    ) -> None:
        """``headers`` are part of each of its answers."""
        self._users = dict(htpasswd or {})
        self._tls = tls
        self._headers = {name: [value] for name, value in (headers or {}).items()}
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = 0

    def start(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="dockwarden-lab-registry-"))
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if self._tls else 'http'}://{self.host}"
        if self._tls:
            self.ca_file = make_certificate(self.dir)
        self._http = urllib3.PoolManager(
            headers=self._credentials(),
            ca_certs=str(self.ca_file) if self._tls else None,
            retries=False,
            timeout=PATIENCE,
        )
        self._serve()

    def restart(self) -> None:
        """End it and start it again on the same port with the same content."""
        self.end()
        self._serve()

    def end(self) -> None:
        """End the process only: the port refuses, the content stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        self.end()
        if hasattr(self, "_http"):
            self._http.clear()
        if hasattr(self, "dir"):
            shutil.rmtree(self.dir, ignore_errors=True)

    # -- content -------------------------------------------------------------------------------

    def push(self, repository: str, tag: str, image: ImageSpec | None = None, media: Media = "docker") -> str:
        """Upload a single-platform image; the digest of its manifest."""
        return str(self.put_image(repository, image or ImageSpec(), media, tag)["digest"])

    def push_index(
        self,
        repository: str,
        tag: str,
        platforms: Sequence[str] = ("linux/amd64", "linux/arm64"),
        image: ImageSpec | None = None,
        media: Media = "oci",
    ) -> str:
        """Upload the image for several platforms; the digest of their index."""
        entries = []
        for platform in platforms:
            system, architecture = platform.split("/", 1)
            spec = replace(image or ImageSpec(), architecture=architecture)
            entry = self.put_image(repository, spec, media)
            entries.append({**entry, "platform": {"architecture": architecture, "os": system}})
        return str(self.put_index(repository, entries, media, tag)["digest"])

    def push_saved(self, repository: str, tag: str, saved: Path, name: str) -> None:
        """Upload the image of this name out of what `docker save` wrote."""
        with tarfile.open(saved) as tar:

            def read(member: str) -> bytes:
                file = tar.extractfile(member)
                assert file is not None
                return file.read()

            [image] = [each for each in json.loads(read("manifest.json")) if name in each["RepoTags"]]
            manifest = self._blobs(repository, read(image["Config"]), map(read, image["Layers"]), "docker")
        self._put(repository, tag, manifest, TYPES["docker"].manifest)

    def put_image(self, repository: str, image: ImageSpec, media: Media = "oci", tag: str = "") -> dict[str, object]:
        """Upload an image, without a tag if none is given; what an index says of it, but its platform."""
        return self._put(repository, tag, self._manifest(repository, image, media), TYPES[media].manifest)

    def put_index(
        self, repository: str, entries: Sequence[Mapping[str, object]], media: Media = "oci", tag: str = ""
    ) -> dict[str, object]:
        """Upload an index of what was uploaded before; what another index says of it."""
        index = {"schemaVersion": 2, "mediaType": TYPES[media].index, "manifests": list(entries)}
        return self._put(repository, tag, _json(index), TYPES[media].index)

    def digest(self, repository: str, tag: str) -> str:
        """What the tag points to; a `LabError` if there is no such tag."""
        path = f"/v2/{repository}/manifests/{tag}"
        return str(self._ask("HEAD", path, 200, headers={"Accept": ACCEPT}).headers[
            "Docker-Content-Digest"
        ])  # fmt: skip

    def delete_tag(self, repository: str, tag: str) -> None:
        """Delete the manifest that the tag points to, and so every tag of it."""
        self._ask("DELETE", f"/v2/{repository}/manifests/{self.digest(repository, tag)}", 202)

    # -- what was asked of it ------------------------------------------------------------------

    @property
    def requests(self) -> list[Request]:
        """Every request since the start or the last `forget_requests`, our own ones included."""
        text = (self.dir / "access.log").read_text(errors="replace")[self._seen :]
        return [Request(found["method"], found["path"], int(found["status"])) for found in _ACCESS.finditer(text)]

    def forget_requests(self) -> None:
        self._seen = len((self.dir / "access.log").read_text(errors="replace"))

    # -- inside --------------------------------------------------------------------------------

    def _serve(self) -> None:
        program = find("docker-registry")
        if program is None:
            raise LabError("no docker-registry; install: apt-get install -y docker-registry")
        (self.dir / "config.yml").write_text(json.dumps(self._settings()))
        with (self.dir / "access.log").open("ab") as out, (self.dir / "log").open("ab") as err:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", program, "serve", str(self.dir / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={"PATH": SEARCH_PATH, **SELDOM_TIDY},
                start_new_session=True,
            )
        until(self._answers, f"the registry on {self.host}")

    def _settings(self) -> dict[str, object]:
        http: dict[str, object] = {"addr": self.host, "headers": self._headers}
        if self._tls:
            http["tls"] = {
                "certificate": str(self.dir / "server.crt"),
                "key": str(self.dir / "server.key"),
            }
        settings: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.dir / "data")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": http,
        }
        if self._users:
            settings["auth"] = {"htpasswd": {"realm": "lab", "path": str(self.dir / "htpasswd")}}
            (self.dir / "htpasswd").write_text("".join(map(_bcrypt_line, self._users.items())))
        return settings

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise LabError(f"docker-registry ended: {(self.dir / 'log').read_text()[-500:]}")
        try:
            return self._http.request("GET", f"{self.url}/v2/").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _credentials(self) -> dict[str, str]:
        for user, password in self._users.items():
            return dict(urllib3.make_headers(basic_auth=f"{user}:{password}"))
        return {}

    def _manifest(self, repository: str, image: ImageSpec, media: Media) -> bytes:
        if image.layers == ImageSpec.layers:
            # An engine with the containerd store lists no image that was pulled over layers which a load unpacked.
            image = replace(image, layers=(rootfs({"hello": "hello", "pulled": repr(sorted(image.labels.items()))}),))
        return self._blobs(repository, image.config(), image.layers, media)

    def _blobs(self, repository: str, config: bytes, contents: Iterable[bytes], media: Media) -> bytes:
        """Upload what a manifest names; the manifest."""
        layers = [gzip.compress(each, compresslevel=0 if len(each) > _LARGE else 1, mtime=0) for each in contents]
        for blob in (config, *layers):
            self._put_blob(repository, blob)
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": TYPES[media].manifest,
                "config": self._descriptor(TYPES[media].config, config),
                "layers": [self._descriptor(TYPES[media].layer, layer) for layer in layers],
            }
        )

    @staticmethod
    def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
        return {"mediaType": media_type, "size": len(content), "digest": digest(content)}

    def _put_blob(self, repository: str, content: bytes) -> None:
        begun = self._ask("POST", f"/v2/{repository}/blobs/uploads/", 202)
        place = begun.headers["Location"].removeprefix(self.url)
        joint = "&" if "?" in place else "?"
        self._ask("PUT", f"{place}{joint}digest={digest(content)}", 201, body=content)

    def _put(self, repository: str, tag: str, content: bytes, kind: str) -> dict[str, object]:
        path = f"/v2/{repository}/manifests/{tag or digest(content)}"
        self._ask("PUT", path, 201, body=content, headers={"Content-Type": kind})
        return self._descriptor(kind, content)

    def _ask(
        self,
        method: str,
        path: str,
        expected: int,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        sent = {**self._credentials(), **(headers or {})}
        answer = self._http.request(method, self.url + path, body=body, headers=sent)
        if answer.status != expected:
            raise LabError(f"{method} {path}: {answer.status} {answer.data[:300]!r}")
        return answer


def _bcrypt_line(user: tuple[str, str]) -> str:
    name, password = user
    return f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(5)).decode()}\n"


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()

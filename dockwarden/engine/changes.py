"""The requests that change an engine: names, containers, volumes, networks, the build cache, images as streams.

Input: names, IDs, what ``parameters`` gave, streams. Output: nothing, or what was made; errors of ``errors``. Out of
bounds: deciding, and whatever removes more than the one thing that is named: no image prune, no force, no removal of an
image by ID, no volumes along with a container. A mixin of ``client.DockerEngine``.
"""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any, TypeVar, assert_never
from urllib.parse import quote

from docker.errors import NotFound
from docker.utils import version_gte
from urllib3.exceptions import HTTPError

from dockwarden import reference as references
from dockwarden.engine import inherit, layer, recreate, translate
from dockwarden.engine.fields import Fields
from dockwarden.engine.transport import CHUNK_BYTES, Client, Lines, in_a_line
from dockwarden.errors import AnswerError, EngineError, NotFoundError
from dockwarden.model import JOINED, Kind, Ref
from dockwarden.ports import Progress, Written

_T = TypeVar("_T")

_LONG_SECONDS = 300.0  # how long an engine that unpacks a big image may say nothing
_ASK_SECONDS = 10.0  # for a registry
_OVERTAKEN = "out of sequence"  # also by the swarm's own notes of how far an update is
_MOST_SEQUENCES = 5
_CAP_SINCE = "1.48"  # before, keep-storage was the cap; since then it is a floor


class Changes(ABC):
    """What changes the engine; ``ports.Engine`` says what each method does."""

    @abstractmethod
    def _call(self, operation: str, request: Callable[[Client], _T]) -> _T:
        """One request: timed, counted, its errors translated."""

    def tag(self, image_id: str, reference: str) -> None:
        parsed = references.parse(reference)
        self._call("image_tag", lambda client: client.tag(path(image_id), parsed.repository, parsed.tag))

    def untag(self, reference: str) -> tuple[str, ...]:
        name = _removable(reference)
        # Without noprune the engine would remove untagged parents along with it, also what had a name once.
        where = f"/images/{quote(path(name), safe='/:')}?force=false&noprune=true"
        said: Any = self._call("image_untag", lambda client: client.read(where, "image_untag", "DELETE", _LONG_SECONDS))
        return tuple(str(row["Deleted"]) for row in said or () if isinstance(row, dict) and "Deleted" in row)

    def pull_image(
        self, reference: str, platform: str = "", login: Mapping[str, str] | None = None, progress: Progress = None
    ) -> None:
        parsed = references.parse(reference)
        wanted = {"fromImage": parsed.repository, "tag": parsed.digest or parsed.tag}
        if platform:
            wanted["platform"] = platform
        self._call(
            "image_pull",
            lambda client: _spoken(
                client.open("POST", "/images/create", "pull", _LONG_SECONDS, params=wanted, headers=_auth(login)),
                progress,
            ),
        )

    def save_image(self, image_id: str, write: Callable[[bytes], object]) -> None:
        def copy(client: Client) -> None:
            name = quote(path(image_id), safe="")
            with client.open("GET", f"/images/{name}/get", "save", _LONG_SECONDS) as response:
                for chunk in layer.whole(response.iter_content(CHUNK_BYTES), "archive"):
                    write(chunk)

        self._call("image_save", copy)

    def load_image(self, chunks: Iterator[bytes]) -> None:
        quiet = {"quiet": 1}
        self._call("image_load", lambda client: _spoken(_give(client, "POST", "/images/load", "load", quiet, chunks)))

    def stop_container(self, identifier: str) -> None:
        self._call("container_stop", _ending(path(identifier), "stop", None))

    def restart_container(self, identifier: str, stop_seconds: int | None) -> None:
        self._call("container_restart", _ending(path(identifier), "restart", stop_seconds))

    def rename_container(self, identifier: str, name: str) -> None:
        self._call("container_rename", lambda client: client.rename(path(identifier), name))

    def set_restart_policy(self, identifier: str, policy: str, most: int) -> None:
        wanted: Any = {"Name": policy, "MaximumRetryCount": most}
        self._call("container_update", lambda client: client.update_container(path(identifier), restart_policy=wanted))

    def last_lines(self, identifier: str, most: int) -> Sequence[str]:
        try:
            said = self._call("container_logs", lambda client: client.logs(path(identifier), tail=most))
        except NotFoundError:
            raise
        except EngineError:  # its log driver cannot be read
            return ()
        return tuple(bytes(said).decode(errors="replace").splitlines())

    def peers(self, identifier: str) -> Sequence[str]:
        return self._call(
            "container_inspect", lambda client: recreate.peers(client.inspect_container(path(identifier)))
        )

    def renewal(self, identifier: str, image_id: str) -> dict[str, Any]:
        def ask(client: Client) -> dict[str, Any]:
            raw = recreate.inspected(client, path(identifier))
            image = client.inspect_image(raw["Image"])  # type: ignore[no-untyped-call]
            again = recreate.container(raw, image, recreate.names(client, recreate.peers(raw)))
            more = "?manifests=1" if raw.get("ImageManifestDescriptor") else ""
            newer: Any = client.read(f"/images/{path(image_id)}/json{more}", "image_inspect")
            return inherit.renewed(again, raw, image, newer)

        return self._call("container_inspect", ask)

    def start_container(self, identifier: str, instead_of: str = "") -> None:
        self._call("container_start", lambda client: recreate.start(client, path(identifier), instead_of))

    def addresses(self, identifier: str) -> Sequence[str]:
        raw = self._call("container_inspect", lambda client: client.inspect_container(path(identifier)))
        mode = str(raw["HostConfig"].get("NetworkMode") or "")
        if mode.startswith(JOINED):
            return self.addresses(mode.removeprefix(JOINED))
        networks = ((raw.get("NetworkSettings") or {}).get("Networks") or {}).items()
        joined, first = [(name, each) for name, each in networks if each], recreate.first_network(raw["HostConfig"])
        joined.sort(key=lambda named: first not in (named[0], named[1].get("NetworkID")))
        found = [at for _, each in joined if (at := each.get("IPAddress") or each.get("GlobalIPv6Address"))]
        return ["127.0.0.1"] if mode == "host" else found

    def update_service(self, identifier: str, image_ref: str, login: Mapping[str, str] | None = None) -> None:
        where, what = f"/services/{path(identifier)}", "service_inspect"

        def ask(client: Client) -> None:
            now: Any = client.read(where, what)
            spec = deepcopy(now["Spec"])
            spec["TaskTemplate"]["ContainerSpec"]["Image"] = image_ref
            api = f"{client.base_url}/v{client.api_version}"
            placement = spec["TaskTemplate"].get("Placement") or {}
            if placement.get("Platforms"):  # of the image before; they stay where the engine cannot ask the registry
                with suppress(OSError, HTTPError, ValueError, TypeError, AttributeError):  # an odd answer
                    told = client.get(
                        f"{api}/distribution/{image_ref}/json", headers=_auth(login), timeout=_ASK_SECONDS
                    )
                    found = (told.ok and told.json().get("Platforms")) or placement["Platforms"]
                    names = {"arm": {"architecture": ""}}  # nodes call theirs armv7l, and would take no task of "arm"
                    placement["Platforms"] = [{**each, **names.get(each.get("architecture"), {})} for each in found]
            before, left = now["Spec"], _MOST_SEQUENCES
            while True:
                version, left = {"version": now["Version"]["Index"]}, left - 1
                sent = client.post(f"{api}{where}/update", params=version, json=spec, headers=_auth(login))
                if sent.ok or not left or _OVERTAKEN not in sent.text:
                    break
                now = client.read(where, what)
                if now["Spec"] != before:  # somebody else changed it
                    break
            sent.raise_for_status()

        self._call("service_update", ask)

    def written(self, identifier: str) -> Written:
        name = path(identifier)

        def ask(client: Client) -> Written:
            with client.open("GET", f"/containers/{name}/changes", "changes", _LONG_SECONDS) as response:
                return layer.written(response.json(), client.inspect_container(name))

        return self._call("container_changes", ask)

    def save_files(self, identifier: str, paths: Sequence[str], write: Callable[[bytes], object]) -> None:
        name = path(identifier)

        def copy(client: Client) -> None:
            places = layer.covered(client.inspect_container(name))
            with client.open("GET", f"/containers/{name}/export", "export", _LONG_SECONDS) as response:
                left = layer.pick(response.iter_content(CHUNK_BYTES), paths, write, places)
            for file in left:  # a containerd store may export, and tell of, half of what somebody else reads just now
                if not layer.look(client, name, file).integer("mode") & layer.SOCKET:  # which no tar has
                    raise AnswerError(f"the export has no {file}")

        self._call("container_export", copy)

    def put_files(self, identifier: str, chunks: Iterator[bytes]) -> None:
        where, root = f"/containers/{path(identifier)}/archive", {"path": "/"}
        self._call("container_fill", lambda client: _give(client, "PUT", where, "fill", root, chunks).close())

    def carry(self, old: str, new: str = "") -> Sequence[str]:
        return self._call("container_fill", lambda client: layer.carry(client, path(old), new and path(new)))

    def remove_container(self, identifier: str) -> None:
        self._call("container_remove", lambda client: _remove(client, f"/containers/{path(identifier)}"))

    def remove_volume(self, name: str) -> None:
        self._call("volume_remove", lambda client: _remove(client, f"/volumes/{quote(path(name), safe='')}"))

    def remove_network(self, identifier: str) -> None:
        self._call("network_remove", lambda client: _remove(client, f"/networks/{path(identifier)}"))

    def trim_build_cache(self, max_used_bytes: int | None = None, unused_seconds: float = 0.0) -> int:
        def trim(client: Client) -> int:
            newer = version_gte(client.api_version, _CAP_SINCE)
            wanted: dict[str, str | int] = {"all": 1}
            if max_used_bytes is not None:
                wanted["max-used-space" if newer else "keep-storage"] = max_used_bytes
            if unused_seconds:
                wanted["filters"] = json.dumps({"until": [f"{unused_seconds:.0f}s"]})
            with client.open("POST", "/build/prune", "build_prune", _LONG_SECONDS, params=wanted) as response:
                return Fields(response.json(), "build prune").integer("SpaceReclaimed", 0)

        return self._call("build_prune", trim)

    def parameters(self, ref: Ref) -> dict[str, Any]:
        key = path(ref.key)

        def ask(client: Client) -> dict[str, Any]:
            match ref.kind:
                case Kind.CONTAINER:
                    raw = recreate.inspected(client, key)
                    image: Mapping[str, Any] = {}
                    with suppress(NotFound):
                        image = client.inspect_image(raw["Image"])  # type: ignore[no-untyped-call]
                    return recreate.container(raw, image, recreate.names(client, recreate.peers(raw)))
                case Kind.VOLUME:
                    return recreate.volume(client.inspect_volume(key))
                case Kind.NETWORK:
                    return recreate.network(client.inspect_network(key))
                case Kind.IMAGE | Kind.TAG | Kind.SERVICE | Kind.HOST:
                    raise ValueError(f"{ref.kind}: not made from parameters")
                case _:
                    assert_never(ref.kind)

        return self._call(f"{ref.kind.value}_inspect", ask)

    def create(self, kind: Kind, parameters: Mapping[str, Any]) -> str:
        return self._call(f"{kind.value}_create", lambda client: recreate.create(client, kind, parameters))


def _ending(name: str, how: str, stop_seconds: int | None) -> Callable[[Client], None]:
    """The engine answers when it has stopped, which may take as long as the container asks for."""

    def ask(client: Client) -> None:
        asked = client.inspect_container(name)["Config"].get("StopTimeout") or 0
        patience, wanted = _LONG_SECONDS + asked, {}
        if stop_seconds is not None:
            patience, wanted = _LONG_SECONDS + stop_seconds, {"t": stop_seconds}
        client.open("POST", f"/containers/{name}/{how}", how, patience, params=wanted).close()

    return ask


def _remove(client: Client, where: str) -> None:
    """Neither forced nor with volumes; the engine answers when all files are gone, which may take minutes."""
    client.open("DELETE", where, "remove", _LONG_SECONDS).close()


def _give(
    client: Client, method: str, where: str, what: str, params: Mapping[str, str | int], chunks: Iterator[bytes]
) -> Any:
    """The answer to a tar."""
    headers = {"Content-Type": "application/x-tar"}
    return client.open(method, where, what, _LONG_SECONDS, params=params, data=chunks, headers=headers)


def _auth(login: Mapping[str, str] | None) -> dict[str, str]:
    encoded = base64.urlsafe_b64encode(json.dumps(dict(login or {})).encode()).decode()
    return {"X-Registry-Auth": encoded} if login else {}


def _spoken(response: Any, progress: Progress = None) -> None:
    """Read a stream of progress to its end; an engine reports failures inside of it, after a 200."""
    layers: dict[str, tuple[int, int]] = {}
    with response:
        for said in (json.loads(line) for line in Lines(response) if line.strip()):
            if isinstance(said, dict) and "error" in said:
                text = in_a_line(str(said["error"]))
                missing = any(word in text.lower() for word in ("not found", "unknown", "not known", "does not exist"))
                raise NotFoundError(text) if missing else AnswerError(text)
            if progress and isinstance(said, dict):
                if said.get("status") == "Downloading" and isinstance(detail := said.get("progressDetail"), dict):
                    layers[str(said.get("id"))] = int(detail.get("current") or 0), int(detail.get("total") or 0)
                progress(sum(here for here, _ in layers.values()), sum(there for _, there in layers.values()))


def path(name: str) -> str:
    """A name that stays the segment of a URL that it is meant to be; strangers choose names."""
    if not name or any(part in ("", ".", "..") for part in name.split("/")):
        raise NotFoundError(f"no object can be called {name!r}")
    return name


def _removable(reference: str) -> str:
    """The name to put into a DELETE.

    An image ID would take a tag with it that somebody set a moment ago, and the engine takes any bare hexadecimal
    word for the beginning of an ID; hence only names with a tag or a digest, written out in full.
    """
    if references.is_image_id(reference):
        raise ValueError(f"{reference!r} is an image ID, not a name")
    parsed = references.parse(reference)
    if "@" not in reference and ":" not in reference.rpartition("/")[2]:
        raise ValueError(f"{reference!r} has neither tag nor digest")
    if reference.startswith(f"{translate.DANGLING_NAME}@"):
        return reference  # made up by the engine, which does not know it by its full name
    return str(parsed)

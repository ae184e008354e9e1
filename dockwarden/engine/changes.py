"""The requests that change an engine: names, containers, volumes, networks, the build cache, images as streams.

Input: names, IDs, what ``parameters`` gave, streams. Output: nothing, or what was made; errors of ``errors``. Out of
bounds: deciding, and whatever removes more than the one thing that is named: no image prune, no force, no removal of an
image by ID, no volumes along with a container. A mixin of ``client.DockerEngine``.
"""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, assert_never

from dockwarden import reference as references
from dockwarden.engine import inherit, layer, recreate, translate
from dockwarden.engine.fields import Fields
from dockwarden.engine.transport import CHUNK_BYTES, AbsentError, Client, Lines, in_a_line, segment
from dockwarden.errors import ConflictError, EngineError, EngineUnavailableError, NotFoundError
from dockwarden.model import Kind, Ref
from dockwarden.ports import Written

_T = TypeVar("_T")

_IN_USE = ("active endpoints", "is in use")  # for which engines answer 403, as if a proxy forbade it
_TAR = {"Content-Type": "application/x-tar"}
_LONG_SECONDS = 300.0  # how long an engine that unpacks a big image may say nothing
_CAP_SINCE = (1, 48)  # before, keep-storage was the cap; since then it is a floor


class Changes(ABC):
    """What changes the engine; ``ports.Engine`` says what each method does."""

    @abstractmethod
    def _call(self, operation: str, request: Callable[[Client], _T]) -> _T:
        """One request: timed, counted, its errors translated."""

    def _ask(
        self, operation: str, method: str, where: str, params: Mapping[str, object] | None = None, body: object = None
    ) -> Any:
        return self._call(operation, lambda client: client.ask(method, where, params, body))

    # -- names of images -----------------------------------------------------------------------------

    def tag(self, image_id: str, reference: str) -> None:
        parsed = references.parse(reference)
        wanted = {"repo": parsed.repository, "tag": parsed.tag}
        self._ask("image_tag", "POST", f"/images/{segment(image_id)}/tag", wanted)

    def untag(self, reference: str) -> tuple[str, ...]:
        name = segment(_removable(reference))
        # Without noprune the engine would remove untagged parents, which nobody judged, along with it.
        said = self._ask("image_untag", "DELETE", f"/images/{name}", {"force": "false", "noprune": "true"})
        return tuple(str(row["Deleted"]) for row in said or () if isinstance(row, dict) and "Deleted" in row)

    # -- whole images --------------------------------------------------------------------------------

    def pull_image(
        self,
        reference: str,
        platform: str = "",
        login: Mapping[str, str] | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        parsed = references.parse(reference)
        wanted = {"fromImage": parsed.repository, "tag": parsed.digest or parsed.tag}
        if platform:
            wanted["platform"] = platform
        self._call(
            "image_pull",
            lambda client: _spoken(
                client.open("POST", "/images/create", _LONG_SECONDS, params=wanted, headers=_auth(login)),
                progress,
            ),
        )

    def save_image(self, image_id: str, write: Callable[[bytes], object]) -> None:
        def copy(client: Client) -> None:
            with client.open("GET", f"/images/{segment(image_id)}/get", _LONG_SECONDS) as response:
                for chunk in response.stream(CHUNK_BYTES):
                    write(chunk)

        self._call("image_save", copy)

    def load_image(self, chunks: Iterator[bytes]) -> None:
        given = {"params": {"quiet": 1}, "headers": _TAR, "body": chunks}
        self._call("image_load", lambda client: _spoken(client.open("POST", "/images/load", _LONG_SECONDS, **given)))

    # -- containers, volumes, networks, build cache --------------------------------------------------

    def stop_container(self, identifier: str) -> None:
        self._call("container_stop", _ending(segment(identifier), "stop", None))

    def restart_container(self, identifier: str, stop_seconds: int | None) -> None:
        self._call("container_restart", _ending(segment(identifier), "restart", stop_seconds))

    def rename_container(self, identifier: str, name: str) -> None:
        self._ask("container_rename", "POST", f"/containers/{segment(identifier)}/rename", {"name": name})

    def set_restart_policy(self, identifier: str, policy: str, most: int) -> None:
        wanted = {"RestartPolicy": {"Name": policy, "MaximumRetryCount": most}}
        self._ask("container_update", "POST", f"/containers/{segment(identifier)}/update", body=wanted)

    def last_lines(self, identifier: str, most: int) -> Sequence[str]:
        where = f"/containers/{segment(identifier)}"

        def ask(client: Client) -> bytes:
            is_terminal = client.get(f"{where}/json")["Config"]["Tty"]
            said = client.send("GET", f"{where}/logs", {"stdout": 1, "stderr": 1, "tail": most}).data
            return said if is_terminal else b"".join(_frames(said))

        try:
            return self._call("container_logs", ask).decode(errors="replace").splitlines()
        except NotFoundError:
            raise
        except EngineError:  # its log driver cannot be read
            return ()

    def peers(self, identifier: str) -> Sequence[str]:
        where = f"/containers/{segment(identifier)}/json"
        return self._call("container_inspect", lambda client: recreate.peers(client.get(where)))

    def renewal(self, identifier: str, image_id: str) -> dict[str, Any]:
        def ask(client: Client) -> dict[str, Any]:
            raw = recreate.inspected(client, identifier)
            image = client.get(f"/images/{segment(raw['Image'])}/json")
            again = recreate.container(raw, image, _names(client, recreate.peers(raw)))
            return inherit.renewed(again, raw, image, image_id)

        return self._call("container_inspect", ask)

    def start_container(self, identifier: str) -> None:
        self._call("container_start", lambda client: recreate.start(client, identifier))

    def address(self, identifier: str) -> str:
        where = f"/containers/{segment(identifier)}/json"
        raw = self._call("container_inspect", lambda client: client.get(where))
        mode = str(raw["HostConfig"].get("NetworkMode") or "")
        if mode.startswith("container:"):
            return self.address(mode.partition(":")[2])
        networks = ((raw.get("NetworkSettings") or {}).get("Networks") or {}).values()
        found = [each["IPAddress"] for each in networks if each and each.get("IPAddress")]
        return "127.0.0.1" if mode == "host" else next(iter(found), "")

    def update_service(self, identifier: str, image_ref: str, login: Mapping[str, str] | None = None) -> None:
        where = f"/services/{segment(identifier)}"

        def ask(client: Client) -> None:
            now = client.get(where)
            spec, version = now["Spec"], {"version": now["Version"]["Index"]}
            spec["TaskTemplate"]["ContainerSpec"]["Image"] = image_ref
            client.ask("POST", f"{where}/update", version, spec, _auth(login))

        self._call("service_update", ask)

    def written(self, identifier: str) -> Written:
        where = f"/containers/{segment(identifier)}"

        def ask(client: Client) -> Written:
            said = client.send("GET", f"{where}/changes", read_seconds=_LONG_SECONDS).json()
            return layer.written(said, client.get(f"{where}/json"))

        return self._call("container_changes", ask)

    def save_files(self, identifier: str, paths: Sequence[str], write: Callable[[bytes], object]) -> None:
        where = f"/containers/{segment(identifier)}/export"

        def copy(client: Client) -> None:
            with client.open("GET", where, _LONG_SECONDS) as response:
                layer.pick(response.stream(CHUNK_BYTES), paths, write)

        self._call("container_export", copy)

    def put_files(self, identifier: str, chunks: Iterator[bytes]) -> None:
        where, given = f"/containers/{segment(identifier)}/archive", {"path": "/"}
        self._call("container_fill", lambda client: client.send("PUT", where, given, _TAR, _LONG_SECONDS, body=chunks))

    def remove_container(self, identifier: str) -> None:
        keep = {"v": "false", "force": "false"}
        self._ask("container_remove", "DELETE", f"/containers/{segment(identifier)}", keep)

    def remove_volume(self, name: str) -> None:
        self._ask("volume_remove", "DELETE", f"/volumes/{segment(name)}")

    def remove_network(self, identifier: str) -> None:
        try:
            self._ask("network_remove", "DELETE", f"/networks/{segment(identifier)}")
        except EngineUnavailableError as error:
            if any(said in str(error) for said in _IN_USE):
                raise ConflictError(str(error)) from error
            raise

    def trim_build_cache(self, max_used_bytes: int | None = None, unused_seconds: float = 0.0) -> int:
        def trim(client: Client) -> int:
            newer = tuple(int(part) for part in client.api_version.split(".")) >= _CAP_SINCE
            wanted: dict[str, str | int] = {"all": 1}
            if max_used_bytes is not None:
                wanted["max-used-space" if newer else "keep-storage"] = max_used_bytes
            if unused_seconds:
                wanted["filters"] = json.dumps({"until": [f"{unused_seconds:.0f}s"]})
            said = client.send("POST", "/build/prune", wanted, read_seconds=_LONG_SECONDS).json()
            return Fields(said, "build prune").integer("SpaceReclaimed", 0)

        return self._call("build_prune", trim)

    # -- from what an object can be made again -------------------------------------------------------

    def parameters(self, ref: Ref) -> dict[str, Any]:
        key = segment(ref.key)

        def ask(client: Client) -> dict[str, Any]:
            match ref.kind:
                case Kind.CONTAINER:
                    raw = recreate.inspected(client, ref.key)
                    image: Mapping[str, Any] = {}
                    with suppress(AbsentError):
                        image = client.get(f"/images/{segment(raw['Image'])}/json")
                    return recreate.container(raw, image, _names(client, recreate.peers(raw)))
                case Kind.VOLUME:
                    return recreate.volume(client.get(f"/volumes/{key}"))
                case Kind.NETWORK:
                    return recreate.network(client.get(f"/networks/{key}"))
                case Kind.IMAGE | Kind.TAG | Kind.SERVICE | Kind.HOST:
                    raise ValueError(f"{ref.kind}: not made from parameters")
                case _:
                    assert_never(ref.kind)

        return self._call(f"{ref.kind.value}_inspect", ask)

    def create(self, kind: Kind, parameters: Mapping[str, Any]) -> str:
        return self._call(f"{kind.value}_create", lambda client: recreate.create(client, kind, parameters))


def _names(client: Client, containers: Iterable[str]) -> dict[str, str]:
    """By what each is called, its name; "" for one that is gone."""
    names = dict.fromkeys(containers, "")
    for called in names:
        with suppress(AbsentError):
            names[called] = client.get(f"/containers/{segment(called)}/json")["Name"].removeprefix("/")
    return names


def _ending(name: str, how: str, stop_seconds: int | None) -> Callable[[Client], None]:
    """The engine answers when it has stopped, which may take as long as the container asks for."""

    def ask(client: Client) -> None:
        asked = client.get(f"/containers/{name}/json")["Config"].get("StopTimeout") or 0
        patience, wanted = _LONG_SECONDS + asked, {}
        if stop_seconds is not None:
            patience, wanted = _LONG_SECONDS + stop_seconds, {"t": stop_seconds}
        client.send("POST", f"/containers/{name}/{how}", wanted, read_seconds=patience)

    return ask


def _frames(said: bytes) -> Iterator[bytes]:
    """What stands in the frames of a log: a head of eight bytes that ends with the size of each."""
    while said:
        end = 8 + int.from_bytes(said[4:8], "big")
        yield said[8:end]
        said = said[end:]


def _auth(login: Mapping[str, str] | None) -> dict[str, str]:
    encoded = base64.urlsafe_b64encode(json.dumps(dict(login or {})).encode()).decode()
    return {"X-Registry-Auth": encoded} if login else {}


def _spoken(response: Any, progress: Callable[[int, int], object] | None = None) -> None:
    """Read a stream of progress to its end; an engine reports failures inside of it, after a 200."""
    layers: dict[str, tuple[int, int]] = {}
    with response:
        for said in (json.loads(line) for line in Lines(response) if line.strip()):
            if isinstance(said, dict) and "error" in said:
                text = in_a_line(str(said["error"]))
                missing = any(word in text.lower() for word in ("not found", "unknown", "not known", "does not exist"))
                raise NotFoundError(text) if missing else EngineError(text)
            if progress and isinstance(said, dict):
                if said.get("status") == "Downloading" and isinstance(detail := said.get("progressDetail"), dict):
                    layers[str(said.get("id"))] = int(detail.get("current") or 0), int(detail.get("total") or 0)
                progress(sum(here for here, _ in layers.values()), sum(there for _, there in layers.values()))


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

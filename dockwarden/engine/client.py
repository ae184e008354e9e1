"""One Docker Engine behind ``ports.Engine``: which request answers which question.

Input: an endpoint. Output: values of ``model``, errors of ``errors``. Out of bounds: retrying, caching, deciding; what
changes the engine is in ``changes``. Thread-safe.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, TypeVar

from dockwarden import reference as references
from dockwarden.engine import containers, disk, swarm, translate
from dockwarden.engine.changes import Changes
from dockwarden.engine.endpoint import Endpoint, Tls, locate
from dockwarden.engine.fields import Fields
from dockwarden.engine.transport import LIBRARY_ERRORS, AbsentError, Client, Lines, segment, translated
from dockwarden.errors import (
    ConflictError,
    EngineError,
    EngineUnavailableError,
    NotFoundError,
)
from dockwarden.model import BuildStep, Container, EngineInfo, Event, Image, ImageStore, Needs, Network, Service, Volume
from dockwarden.ports import Usage

_T = TypeVar("_T")

Observe = Callable[[str, str, float], None]
"""Told of every request: operation, result (ok, not_found, conflict, unavailable, error), seconds."""

_NEWEST_TESTED = (1, 55)
_MANIFESTS_SINCE = (1, 48)
_OLDEST_SPOKEN = (1, 24)
_NANO = 1_000_000_000
_GRACE_SECONDS = 3.0
_EARLY_NS = _NANO

# A whitelist, as there is no way to leave out the three exec events of every health probe.
_EVENT_FILTERS = {
    "scope": ["local", "swarm"],
    "type": ["container", "image", "network", "volume", "service", "node"],
    "event": [
        *("pull", "tag", "untag", "delete", "load", "import", "create"),
        *("start", "kill", "die", "pause", "unpause", "rename", "update", "health_status", "destroy"),
        *("connect", "disconnect", "mount", "unmount", "remove"),
    ],
}


def _ignore(_operation: str, _result: str, _seconds: float) -> None: ...


class DockerEngine(Changes):
    """The Docker Engine at one address; ``ports.Engine`` says what each method does."""

    def __init__(
        self,
        base_url: str,
        *,
        tls: Tls | None = None,
        said_by: str = "DOCKER_HOST",
        timeout: float = 60.0,
        observe: Observe = _ignore,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Does no I/O. Raises ConfigError: the address or the TLS files cannot be used."""
        self._endpoint: Endpoint = locate(base_url, tls, said_by)
        self.where = f"{self._endpoint} from {said_by}"
        self._tls = tls
        self._timeout = timeout
        self._observe = observe
        self._local_ns = now_ns
        self._offset_ns = 0
        self._store = ImageStore.GRAPH
        self._data_root = ""
        self._client = self._make_client("")
        self._connected = False

    def _make_client(self, api_version: str) -> Client:
        return Client(self._endpoint, self._tls, api_version, self._timeout)

    def _call(self, operation: str, request: Callable[[Client], _T]) -> _T:
        """One request: timed, counted, its errors translated."""
        if not self._connected:
            raise EngineUnavailableError(f"{operation}: not connected to {self._endpoint} yet")
        return self._measured(operation, lambda: request(self._client))

    def _read(
        self, operation: str, where: str, become: Callable[[Any], _T], params: Mapping[str, object] | None = None
    ) -> _T:
        return self._call(operation, lambda client: become(client.get(where, params)))

    def _measured(self, operation: str, request: Callable[[], _T]) -> _T:
        started = time.perf_counter()
        result = "error"
        try:
            answer = request()
            result = "ok"
            return answer
        except EngineError as error:
            result = _result(error)
            raise
        except LIBRARY_ERRORS as error:
            ours = translated(error, operation, self._endpoint)
            result = _result(ours)
            raise ours from error
        finally:
            self._observe(operation, result, time.perf_counter() - started)

    # -- the engine itself ---------------------------------------------------------------------------

    def connect(self) -> EngineInfo:
        with closing(self._make_client("")) as first:
            version = self._measured("version", lambda: first.get("/version"))
        client = self._make_client(_dotted(_negotiate(Fields(version, "version"))))
        info = self._measured("info", lambda: client.get("/info"))
        asked_at = None if self._endpoint.socket else self._local_ns() / _NANO
        engine = translate.engine(version, info, client.api_version, asked_at)
        address = Fields(info, "info").nested("Containerd").text("Address", "")
        if self._endpoint.is_ssh:
            engine = replace(engine, data_root="")  # what has that name here is another host's
        else:
            engine = replace(engine, image_root=disk.image_root(engine.image_store, engine.data_root, address))
        self._store, self._data_root = engine.image_store, engine.data_root
        self._offset_ns = round(engine.clock_offset_seconds * _NANO)
        # Requests of other threads end on the client that they began with; it closes itself after the last.
        client.refuses = engine.only_audited
        self._client, self._connected = client, True
        return engine

    def close(self) -> None:
        self._connected = False
        self._client.close()

    def now_ns(self) -> int:
        return self._local_ns() + self._offset_ns

    # -- events --------------------------------------------------------------------------------------

    def events(self, since_ns: int, until_ns: int) -> "EventStream":
        # Podman ends the stream over a filter that it does not know.
        filters = json.dumps({k: v for k, v in _EVENT_FILTERS.items() if k != "scope" or not self._client.refuses})
        lines = self._call("events", lambda client: self._window(client, since_ns, until_ns, filters))
        return EventStream(lines, until_ns, self.now_ns, self._endpoint)

    def replayed(self, since_ns: int, until_ns: int) -> int:
        return self._call(
            "events_replay",
            lambda client: sum(1 for line in self._window(client, since_ns, until_ns) if line.strip()),
        )

    def _window(self, client: Client, since_ns: int, until_ns: int, filters: str = "") -> Lines:
        params = {"since": _timestamp(since_ns), "until": _timestamp(until_ns)}
        if filters:
            params["filters"] = filters
        left_seconds = max(0, until_ns - self.now_ns()) / _NANO
        return Lines(client.open("GET", "/events", left_seconds + _GRACE_SECONDS, params=params))

    # -- images --------------------------------------------------------------------------------------

    def images(self, repository: str = "") -> Iterable[Image]:
        filters = {"reference": _pattern(references.familiar(repository))} if repository else {}
        return translate.images(self._read("image_list", "/images/json", list, _filtered(filters)), self._store)

    def image(self, reference: str) -> Image:
        where, store = f"/images/{segment(reference)}/json", self._store

        def ask(client: Client) -> Image:
            tells = store is ImageStore.CONTAINERD and _numbers(client.api_version) >= _MANIFESTS_SINCE
            return translate.image(client.get(where, {"manifests": 1} if tells else None), store)

        return self._call("image_inspect", ask)

    # -- containers ----------------------------------------------------------------------------------

    def container_ids(self) -> Sequence[str]:
        return self._users({}, containers.container_ids)

    def container(self, identifier: str) -> Container:
        where = f"/containers/{segment(identifier)}/json"
        return self._call("container_inspect", lambda client: _container(client, where))

    def users_of(self, image_id: str) -> Sequence[str]:
        # An ancestor is a parent, too.
        return self._users({"ancestor": image_id}, lambda rows: containers.container_ids(rows, image_id))

    def users_of_volume(self, name: str) -> Sequence[str]:
        return self._users({"volume": name}, containers.container_ids)

    def users_of_network(self, name: str) -> Sequence[str]:
        return self._users({"network": name}, containers.container_ids)

    def _users(self, filters: Mapping[str, str], become: Callable[[Any], Sequence[str]]) -> Sequence[str]:
        # The engine matches parts of names as well; one user too many only keeps an object that could go.
        return self._read("container_list", "/containers/json", become, {"all": 1, **_filtered(filters)})

    # -- volumes and networks ------------------------------------------------------------------------

    def volumes(self) -> Iterable[Volume]:
        return self._read("volume_list", "/volumes", translate.volumes)

    def volume(self, name: str) -> Volume:
        return self._read("volume_inspect", f"/volumes/{segment(name)}", translate.volume)

    def networks(self) -> Iterable[Network]:
        return self._read("network_list", "/networks", translate.networks)

    def network(self, identifier: str) -> Network:
        return self._read("network_inspect", f"/networks/{segment(identifier)}", translate.network)

    # -- services ------------------------------------------------------------------------------------

    def services(self) -> Sequence[Service] | None:
        node = self._read("info", "/info", lambda info: Fields(info, "info").nested("Swarm"))
        if not node.flag("ControlAvailable"):
            return None
        if not self._read("node_inspect", f"/nodes/{segment(node.text('NodeID'))}", swarm.leads):
            return None
        return self._listed_services({})

    def service(self, identifier: str) -> Service:
        for each in self._listed_services({"id": identifier}):
            if each.id == identifier:  # the engine matches what begins so
                return each
        raise NotFoundError(f"no such service: {identifier}")

    def _listed_services(self, filters: Mapping[str, str]) -> list[Service]:
        return self._read("service_list", "/services", swarm.services, {"status": 1, **_filtered(filters)})

    def needs(self) -> Needs:
        return self._call("service_list", swarm.ask_needs)

    # -- sizes ---------------------------------------------------------------------------------------

    def history(self, image_id: str) -> Sequence[BuildStep]:
        return self._read("image_history", f"/images/{segment(image_id)}/history", translate.history)

    def processes(self, identifier: str) -> Sequence[str]:
        return self._read("container_top", f"/containers/{segment(identifier)}/top", containers.processes)

    def log_bytes(self, identifier: str) -> int | None:
        return disk.log_bytes(self._data_root, identifier)

    def disk_usage(self) -> Usage:
        usage = self._read("disk_usage", "/system/df", lambda said: translate.usage(said, self.now_ns() / _NANO))
        logs = [disk.log_bytes(self._data_root, container) for container in usage.containers]
        known = [size for size in logs if size is not None]
        return usage._replace(
            logs_bytes=sum(known) if len(known) == len(logs) else None,
            stray_layers=disk.stray_layers(self._data_root),
        )


class EventStream(Iterator[Event]):
    """Events of one window. Ends normally only when the window does."""

    def __init__(self, lines: Lines, until_ns: int, now_ns: Callable[[], int], endpoint: Endpoint) -> None:
        self._lines = lines
        self._until_ns = until_ns
        self._now_ns = now_ns
        self._endpoint = endpoint

    def __next__(self) -> Event:
        try:
            line = next(self._lines)
            while not line.strip():
                line = next(self._lines)
            return translate.event(line)
        except StopIteration:
            if self._now_ns() < self._until_ns - _EARLY_NS:
                raise EngineUnavailableError("event stream ended early") from None
            raise
        except EngineError:
            self.close()
            raise
        except LIBRARY_ERRORS as error:
            raise translated(error, "events", self._endpoint) from error

    def close(self) -> None:
        self._lines.close()


def _container(client: Client, where: str) -> Container:
    raw = client.get(where)
    image_ids: dict[str, str] = {}
    for called in containers.mounted_images(raw):
        with suppress(AbsentError):  # it lost that name since
            image_ids[called] = Fields(client.get(f"/images/{segment(called)}/json"), "image").text("Id")
    return containers.container(raw, image_ids)


def _filtered(filters: Mapping[str, str]) -> dict[str, str]:
    return {"filters": json.dumps({key: [value] for key, value in filters.items()})} if filters else {}


def _result(error: EngineError) -> str:
    match error:
        case NotFoundError():
            return "not_found"
        case ConflictError():
            return "conflict"
        case EngineUnavailableError():
            return "unavailable"
        case _:
            return "error"


def _negotiate(version: Fields) -> tuple[int, int]:
    """The newest API version that both sides know; ``/version`` itself has none and always answers."""
    newest = _numbers(version.text("ApiVersion"))
    oldest = _numbers(version.text("MinAPIVersion", "1.24"))
    chosen = min(newest, _NEWEST_TESTED)
    name = f"engine {version.text('Version', '')}"
    if newest < _OLDEST_SPOKEN:
        raise EngineError(f"{name} is too old: it speaks API {_dotted(newest)} at most")
    if chosen < oldest:
        spoken = _dotted(_NEWEST_TESTED)
        raise EngineError(f"{name} wants API {_dotted(oldest)} or newer; this dockwarden is tested up to {spoken}")
    return chosen


def _numbers(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (text.isascii() and major.isdigit() and minor.isdigit()) or len(text) > len("99.9999"):
        raise EngineError("version: not an API version")
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _timestamp(ns: int) -> str:
    """From the integer: a float of seconds is off by a hundred nanoseconds."""
    return f"{ns // _NANO}.{ns % _NANO:09d}"


def _pattern(text: str) -> str:
    """The text as a pattern that matches only itself; an IPv6 registry has brackets."""
    return text.replace("[", "\\[")

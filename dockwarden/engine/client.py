"""One Docker Engine behind ``ports.Engine``: which request answers which question.

Input: an endpoint. Output: values of ``model``, errors of ``errors``. Out of bounds: retrying, caching, deciding; what
changes the engine is in ``changes``. Thread-safe.
"""

import json
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache, partial
from typing import TypeVar
from urllib.parse import quote, urlsplit

from docker.errors import NotFound
from docker.utils import version_gte, version_lt

from dockwarden import errors
from dockwarden import reference as references
from dockwarden.engine import containers, disk, swarm, translate
from dockwarden.engine.changes import Changes, path
from dockwarden.engine.endpoint import Endpoint, Tls, locate
from dockwarden.engine.fields import Fields
from dockwarden.engine.transport import LIBRARY_ERRORS, Client, Lines, translated
from dockwarden.model.needs import Needs
from dockwarden.model.objects import BuildStep, Container, EngineInfo, Event, Image, Network, Service, Volume
from dockwarden.model.words import EVENTS, ImageStore, Kind
from dockwarden.ports import Usage

_T = TypeVar("_T")

Observe = Callable[[str, str, float], None]
"""Told of every request: operation, result (ok, error, or as below), seconds."""
_RESULTS: Mapping[type[errors.EngineError], str] = {
    errors.NotFoundError: "not_found",
    errors.ConflictError: "conflict",
    errors.EngineUnavailableError: "unavailable",
}

_NEWEST_TESTED = "1.55"
_MANIFESTS_SINCE = "1.48"
_OLDEST_SPOKEN = "1.24"  # docker-py's own limit
_API_VERSION = re.compile(r"\d{1,2}\.\d{1,4}", re.ASCII)
_NANO = 1_000_000_000
_GRACE_SECONDS = 3.0
_ENDED_EARLY = "the event stream ended early: the engine ended, or the way to it does in less than engine.event_window"

# A whitelist, as there is no way to leave out the three exec events of every health probe.
_EVENT_FILTERS = {
    "scope": ["local", "swarm"],
    "type": list(EVENTS),
    "event": sorted({"commit"}.union(*EVENTS.values())),
}


class DockerEngine(Changes):
    """The Docker Engine at one address; ``ports.Engine`` says what each method does."""

    def __init__(
        self,
        base_url: str,
        *,
        tls: Tls | None = None,
        said_by: str = "DOCKER_HOST",
        timeout: float = 60.0,
        observe: Observe = lambda *_: None,
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
        self._client = self._make_client(_OLDEST_SPOKEN)
        self._connected = False

    def _make_client(self, version: str) -> Client:
        return Client(self._endpoint, self._tls, version, self._timeout)

    def _call(self, operation: str, request: Callable[[Client], _T]) -> _T:
        """One request, with what is made of its answer: timed, counted, its errors translated."""
        if not self._connected:
            raise errors.EngineUnavailableError(f"{operation}: not connected to {self._endpoint} yet")
        return self._measured(operation, lambda: request(self._client))

    def _measured(self, operation: str, request: Callable[[], _T]) -> _T:
        started = time.perf_counter()
        result = "error"
        try:
            answer = request()
            result = "ok"
            return answer
        except errors.EngineError as error:
            result = _result(error)
            raise
        except LIBRARY_ERRORS as error:
            ours = translated(error, operation, self._endpoint)
            result = _result(ours)
            raise ours from error
        finally:
            self._observe(operation, result, time.perf_counter() - started)

    def connect(self) -> EngineInfo:
        with self._make_client(_OLDEST_SPOKEN) as first:
            try:
                version = self._measured("version", lambda: first.version(api_version=False))
                spoken = _negotiate(Fields(version, "version"))
            except (errors.AnswerError, errors.DeniedError) as error:
                text = f"{self._endpoint} answers, but not as a Docker Engine: {error}"
                raise errors.EngineUnavailableError(text) from error
        client = self._make_client(spoken)
        asked_at = self._local_ns() / _NANO
        info = self._measured("info", client.info)
        engine = translate.engine(version, info, client.api_version, asked_at, self._local_ns() / _NANO)
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
        return replace(engine, way=self._way(client))

    def _way(self, client: Client) -> str:
        """The container through which we reach it. Who may not be asked for it, or has no name here, tells of none."""
        if self._endpoint.socket or self._endpoint.is_ssh:
            return ""
        parts = urlsplit(self._endpoint.url)
        with suppress(errors.EngineError, *LIBRARY_ERRORS):
            found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
            rows = self._measured("container_list", client.containers)
            return containers.serving(rows, {str(each[4][0]) for each in found}, parts.port or 0)
        return ""

    def close(self) -> None:
        self._connected = False
        self._client.close()

    def now_ns(self) -> int:
        return self._local_ns() + self._offset_ns

    def events(self, since_ns: int, until_ns: int) -> "EventStream":
        filters = _filters(scoped=not self._client.refuses)
        lines = self._call("events", lambda client: self._window(client, since_ns, until_ns, filters))
        return EventStream(lines, self._read(lines, until_ns))

    def _read(self, lines: Lines, until_ns: int) -> Iterator[Event]:
        """The events of one window. Ends normally only when the window does."""
        try:
            with closing(lines):
                for line in lines:
                    if line.strip():
                        yield translate.event(line)
        except ConnectionError as error:
            raise errors.EngineUnavailableError(_ENDED_EARLY) from error
        except LIBRARY_ERRORS as error:
            raise translated(error, "events", self._endpoint) from error
        if self.now_ns() < until_ns - _NANO:
            raise errors.EngineUnavailableError(_ENDED_EARLY)

    def replayed(self, since_ns: int, until_ns: int) -> int:
        return self._call(
            "events_replay",
            lambda client: sum(1 for line in self._window(client, since_ns, until_ns) if line.strip()),
        )

    def _window(self, client: Client, since_ns: int, until_ns: int, filters: str = "") -> Lines:
        where = f"/events?since={_timestamp(since_ns)}&until={_timestamp(until_ns)}{filters}"
        left_seconds = max(0, until_ns - self.now_ns()) / _NANO
        patience, is_open = left_seconds + _GRACE_SECONDS, bool(left_seconds)
        return Lines(client.open("GET", where, "events", patience, stream=is_open))

    def images(self, repository: str = "") -> Iterable[Image]:
        pattern = references.familiar(repository).replace("[", "\\[")  # that matches itself: an IPv6 registry has them
        filters = {"reference": pattern} if repository else None
        rows = self._call("image_list", lambda client: client.images(filters=filters))
        return translate.images(rows, self._store)

    def image(self, reference: str) -> Image:
        name, store = _quoted(reference), self._store

        def ask(client: Client) -> Image:
            tells = store is ImageStore.CONTAINERD and version_gte(client.api_version, _MANIFESTS_SINCE)
            raw = client.read(f"/images/{name}/json{'?manifests=1' if tells else ''}", "image_inspect")
            return translate.image(raw, store)

        return self._call("image_inspect", ask)

    def children(self) -> Mapping[str, Sequence[str]]:
        return translate.children(self._call("image_list", lambda client: client.images(all=True)))

    def container_ids(self) -> Sequence[str]:
        rows = self._call("container_list", lambda client: client.containers(all=True))
        return containers.container_ids(rows)

    def container(self, identifier: str) -> Container:
        found = self._call("container_inspect", lambda client: _container(client, _quoted(identifier)))
        if identifier not in (found.id, found.name):  # but the beginning of the ID, as ``db`` may be
            raise errors.NotFoundError(f"no container is called {identifier}")
        return found

    def users_of(self, key: str, kind: Kind = Kind.IMAGE) -> Sequence[str]:
        # Of names the engine matches parts as well; one user too many only keeps an object that could go.
        filters = {"ancestor" if kind is Kind.IMAGE else kind.value: [key]}
        where = f"/containers/json?all=1&filters={quote(json.dumps(filters))}"
        rows = self._call("container_list", lambda client: client.read(where, "container_list"))
        return containers.container_ids(rows, key if kind is Kind.IMAGE else "")  # an ancestor is a parent, too

    def volumes(self) -> Iterable[Volume]:
        return self._call("volume_list", lambda client: translate.volumes(client.volumes()))

    def volume(self, name: str) -> Volume:
        where = f"/volumes/{_quoted(name)}"
        return self._call("volume_inspect", lambda client: translate.volume(client.read(where, "volume_inspect")))

    def networks(self) -> Iterable[Network]:
        return self._call("network_list", lambda client: translate.networks(client.networks()))

    def network(self, identifier: str) -> Network:
        where = f"/networks/{_quoted(identifier)}"
        return self._call("network_inspect", lambda client: translate.network(client.read(where, "network_inspect")))

    def in_swarm(self, info: EngineInfo) -> EngineInfo:
        return translate.in_swarm(info, self._call("info", lambda client: client.info()))

    def services(self) -> Sequence[Service] | None:
        node = Fields(self._call("info", lambda client: client.info()), "info").nested("Swarm")
        if not node.flag("ControlAvailable"):
            return None
        name = path(node.text("NodeID"))
        if not self._call("node_inspect", lambda client: swarm.leads(client.inspect_node(name))):
            return None
        return self._listed_services()

    def service(self, identifier: str) -> Service:
        for each in self._listed_services({"id": identifier}):
            if each.id == identifier:  # the engine matches what begins so
                return self._call("task_list", partial(swarm.with_tasks, each))
        raise errors.NotFoundError(f"no such service: {identifier}")

    def _listed_services(self, filters: dict[str, str] | None = None) -> list[Service]:
        return self._call(
            "service_list",
            lambda client: swarm.services(client.services(filters, status=True)),  # type: ignore[no-untyped-call]
        )

    def needs(self) -> Needs:
        return self._call("service_list", swarm.ask_needs)

    def history(self, image_id: str) -> Sequence[BuildStep]:
        where = f"/images/{_quoted(image_id)}/history"
        return self._call("image_history", lambda client: translate.history(client.read(where, "image_history")))

    def processes(self, identifier: str) -> Sequence[str]:
        return self._call("container_top", lambda client: containers.processes(client.top(path(identifier))))

    def log_bytes(self, identifier: str) -> int | None:
        return disk.log_bytes(self._data_root, identifier)

    def disk_usage(self) -> Usage:
        usage = self._call("disk_usage", lambda client: translate.usage(client.df(), self.now_ns() / _NANO))
        logs = [disk.log_bytes(self._data_root, container) for container in usage.containers]
        known = [size for size in logs if size is not None]
        return usage._replace(
            logs_bytes=sum(known) if len(known) == len(logs) else None,
            stray_layers=disk.stray_layers(self._data_root),
        )


class EventStream(Iterator[Event]):
    """Events of one window, which may be closed at any time, also before the first."""

    def __init__(self, lines: Lines, events: Iterator[Event]) -> None:
        self.close = lines.close
        self._events = events

    def __next__(self) -> Event:
        return next(self._events)


def _container(client: Client, name: str) -> Container:
    raw = client.read(f"/containers/{name}/json", "container_inspect")
    born = Fields(raw, "container").moment("Created") or 0.0
    images: dict[str, tuple[str, bool]] = {}
    for called in containers.mounted_images(raw):
        with suppress(NotFound):  # it lost that name since
            image = Fields(client.inspect_image(path(called)), "image")  # type: ignore[no-untyped-call]
            named_at = image.nested("Metadata").moment("LastTagTime") or 0.0
            may_be_another = named_at > born and "sha256:" not in called
            images[called] = image.text("Id"), may_be_another
    return containers.container(raw, images)


def _quoted(name: str) -> str:
    return quote(path(name), safe="/:")


def _result(error: errors.EngineError) -> str:
    return next((word for kind, word in _RESULTS.items() if isinstance(error, kind)), "error")


def _negotiate(version: Fields) -> str:
    """The newest API version that both sides know; ``/version`` itself has none and always answers."""
    newest, oldest = version.text("ApiVersion"), version.text("MinAPIVersion", _OLDEST_SPOKEN)
    if not (_API_VERSION.fullmatch(newest) and _API_VERSION.fullmatch(oldest)):
        raise errors.AnswerError("version: not an API version")
    chosen = _NEWEST_TESTED if version_lt(_NEWEST_TESTED, newest) else newest
    name = f"engine {version.text('Version', '')}"
    if version_lt(newest, _OLDEST_SPOKEN):
        raise errors.EngineUnavailableError(f"{name} is too old: it speaks API {newest} at most")
    if version_lt(chosen, oldest):
        text = f"{name} wants API {oldest} or newer; this dockwarden is tested up to {_NEWEST_TESTED}"
        raise errors.EngineUnavailableError(text)
    return chosen


@cache
def _filters(*, scoped: bool) -> str:
    """A part of an address. Podman ends the stream over a filter that it does not know."""
    wanted = {name: values for name, values in _EVENT_FILTERS.items() if scoped or name != "scope"}
    return f"&filters={quote(json.dumps(wanted))}"


def _timestamp(ns: int) -> str:
    """From the integer: a float of seconds is off by a hundred nanoseconds."""
    return f"{ns // _NANO}.{ns % _NANO:09d}"

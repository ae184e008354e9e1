"""``HttpRegistry``: one request for all who ask the same, from memory where that is fresh enough.

Input: questions, settings. Output: futures of replies. Out of bounds: HTTP, which ``endpoint`` and ``wire`` speak.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dockwarden.config.files import docker_config
from dockwarden.config.settings import RegistrySettings
from dockwarden.model import EngineInfo
from dockwarden.ports import BELIEVED_SECONDS, Ask, Reply
from dockwarden.reference import Reference, parse
from dockwarden.registry import questions
from dockwarden.registry.credentials import Credentials
from dockwarden.registry.endpoint import QUESTION_SECONDS, TAGS_SECONDS, Endpoint, Shared
from dockwarden.registry.lanes import Lane, Question
from dockwarden.registry.message import FailedError
from dockwarden.registry.places import CERTIFICATES, Places
from dockwarden.registry.wire import Wire

_MOST_REMEMBERED = 400_000
_FAILURE_SECONDS = 30.0
_TOO_MANY_SECONDS = 86_400.0
_SECONDS_OF_TAG = 0.2  # a long list takes many requests, and so is believed longer
_MOST_REGISTRIES = 500
_MOST_AT_ONCE = 64
_CLOSED = Reply(reason="unavailable")


def _ignore(*_: object) -> None:
    """Observe nothing, know no engine."""


class _Known:
    """One registry: its jobs, and who answers for it."""

    def __init__(self, registry: str, shared: Shared, turns: threading.Semaphore) -> None:
        self._registry = registry
        self._shared = shared
        self.lane = Lane(shared.places.concurrency(registry), turns, shared.wire.sweep)
        self._lock = threading.Lock()
        self._endpoints: list[Endpoint] = []
        self._has_moved = False
        self._file: tuple[int, ...] | None = None

    def endpoints(self) -> list[Endpoint]:
        """In the order in which they are tried. May ask the resolver. Raises FailedError for what is no address."""
        with self._lock:
            file = self._shared.places.file(self._registry)
            if not self._endpoints or self._has_moved or file != self._file:
                self._has_moved, self._file = False, file
                sites = self._shared.places.sites(self._registry)
                self._endpoints = [Endpoint(self._registry, site, self.lane, self._shared) for site in sites]
            return self._endpoints

    def move(self) -> None:
        """Look for the endpoints anew before the next question. Does not wait, as the resolver may make others do."""
        self._has_moved = True


@dataclass(eq=False, kw_only=True, repr=False)
class HttpRegistry:
    """Asks registries, as ``ports.Registry`` says. Raises ConfigError: a proxy cannot be used.

    Attributes:
        hosts: settings by ``host[:port]``, ``docker.io`` for Docker Hub.
        docker_config: Docker's ``config.json``; it need not exist.
        certificates: folder of ``<host>/*.crt``, ``*.cert`` and ``*.key``.
        environ: where proxies and logins are named.
        engine: what the engine said when we last connected.

    The others are described in ``endpoint.Shared``.
    """

    hosts: Mapping[str, RegistrySettings] = field(default_factory=dict)
    docker_config: Path = field(default_factory=docker_config)
    certificates: Path = CERTIFICATES
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    observe: Callable[[str, str, str], None] = _ignore
    observe_quota: Callable[[str, int], None] = _ignore
    engine: Callable[[], EngineInfo | None] = _ignore
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], object] | None = None

    def __post_init__(self) -> None:
        self._closing = threading.Event()
        given = self.environ.get("DOCKER_AUTH_CONFIG", "")
        self._shared = Shared(
            wire=Wire(self.environ),
            places=Places(self.hosts, self.certificates),
            credentials=Credentials(self.hosts, self.docker_config, self.clock, given),
            observe=self.observe,
            observe_quota=self.observe_quota,
            clock=self.clock,
            wait=self.wait or self._closing.wait,
        )
        self._turns = threading.Semaphore(_MOST_AT_ONCE)
        self._lock = threading.Lock()
        self._replies = Replies()
        self._flying: dict[Ask, Question] = {}
        self._registries: dict[str, _Known] = {}

    def ask(self, ask: Ask, max_age_seconds: float = BELIEVED_SECONDS) -> "Future[Reply]":
        try:
            normal, reference = _normal(ask)
        except ValueError:
            return _done(Reply(reason="bad_reference"))
        with self._lock:
            if self._closing.is_set():
                return _done(_CLOSED)
            self._heed_engine()
            if normal in self._flying:
                return self._flying[normal].future
            reply = self._replies.fresh(normal, self.clock(), max_age_seconds)
            if reply is not None:
                return _done(reply)
            known = self._known(reference.registry)
            answer = partial(self._answer, normal.what, reference, known)
            question = Question(normal, reference.path, answer, self._settle)
            self._flying[normal] = question
        if not known.lane.submit(question):
            self._settle(question, _CLOSED)
        return question.future

    def remembered(self, ask: Ask) -> Reply | None:
        with suppress(ValueError):
            normal, _ = _normal(ask)
            with self._lock:
                return self._replies.last(normal)
        return None

    def note(self, ask: Ask, reply: Reply | None) -> None:
        with suppress(ValueError):
            normal, _ = _normal(ask)
            with self._lock:
                self._flying.pop(normal, None)
                if reply is None:
                    self._replies.expire(normal)
                else:
                    self._replies.keep(normal, reply, self.clock())

    def login(self, registry: str) -> Mapping[str, str]:
        try:
            login = self._shared.credentials.login(registry)
        except FailedError:  # the log has said so; the registry will say what it thinks of nobody
            return {}
        if login is None:
            return {}
        if login.token or login.identity:
            return {"registrytoken": login.token} if login.token else {"identitytoken": login.identity}
        return {"username": login.username, "password": login.password}

    def close(self) -> None:
        """Give up what waits and what pauses; what is under way ends by itself."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            jobs = [job for known in self._registries.values() for job in known.lane.close()]
        self._shared.wire.sweep()
        for job in jobs:
            self._settle(job, _CLOSED)

    def _heed_engine(self) -> None:
        """With the engine's last start others may have come to answer; what was said before, others said."""
        if self._shared.places.heed(self.engine()):
            self._replies.expire()
            self._flying.clear()
            for known in self._registries.values():
                known.move()

    def _known(self, registry: str) -> _Known:
        known = self._registries.get(registry)
        if known is None:
            if len(self._registries) >= _MOST_REGISTRIES:
                self._registries = {name: k for name, k in self._registries.items() if not k.lane.is_empty}
            known = self._registries[registry] = _Known(registry, self._shared, self._turns)
        return known

    def _answer(self, what: str, reference: Reference, known: _Known) -> Reply:
        reason = "unavailable"
        ends_at = time.monotonic() + (TAGS_SECONDS if what == "tags" else QUESTION_SECONDS)
        try:
            endpoints = known.endpoints()
        except FailedError:  # such as a port that there cannot be
            return Reply(reason="bad_reference")
        for endpoint in endpoints:
            try:
                return questions.answer(what, reference, endpoint, ends_at)
            except FailedError as failed:
                reason = failed.reason
        return Reply(reason=reason)

    def _settle(self, question: Question, reply: Reply) -> None:
        with self._lock:
            if self._flying.get(question.ask) is question:  # not expired meanwhile
                del self._flying[question.ask]
                if not self._closing.is_set():
                    self._replies.keep(question.ask, reply, self.clock())
        question.future.set_result(reply)


def _normal(ask: Ask) -> tuple[Ask, Reference]:
    """The question as everybody would write it. Raises ValueError."""
    reference = parse(ask.reference)
    match ask.what:
        case "digest":
            reference = replace(reference, digest="") if reference.tag else reference
        case "manifest" | "config" if reference.digest:
            reference = replace(reference, tag="")
        case "tags":
            reference = replace(reference, tag="", digest="")
        case _:
            raise ValueError("no such question")
    return Ask(ask.what, str(reference)), reference


def _done(reply: Reply) -> "Future[Reply]":
    future: Future[Reply] = Future()
    future.set_result(reply)
    return future


class Replies:
    """The last reply to every question, the least recent forgotten first. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[Ask, tuple[Reply, float]] = {}
        self._size = 0

    def last(self, ask: Ask) -> Reply | None:
        known = self._known.get(ask)
        return known[0] if known else None

    def fresh(self, ask: Ask, now: float, max_age_seconds: float) -> Reply | None:
        """If it may still be believed: what a digest stands for always, failures not for long."""
        if ask not in self._known:
            return None
        reply, at = self._known[ask]
        match reply.reason:
            case "" if ask.what in ("manifest", "config"):
                return reply
            case "":
                limit = max(max_age_seconds, _SECONDS_OF_TAG * len(reply.tags))
            case "too_many_tags":
                limit = _TOO_MANY_SECONDS
            case _:
                limit = min(_FAILURE_SECONDS, max_age_seconds)
        return reply if now - at < limit else None

    def expire(self, ask: Ask | None = None) -> None:
        """It, or every one, is the last answer and fresh no more."""
        for each in [ask] if ask else list(self._known):
            if known := self._known.get(each):
                self._known[each] = (known[0], float("-inf"))

    def keep(self, ask: Ask, reply: Reply, now: float) -> None:
        self._forget(ask)  # so that the oldest come first
        self._known[ask] = (reply, now)
        self._size += _weight(reply)
        while self._size > _MOST_REMEMBERED:
            self._forget(next(iter(self._known)))

    def _forget(self, ask: Ask) -> None:
        known = self._known.pop(ask, None)
        if known is not None:
            self._size -= _weight(known[0])


def _weight(reply: Reply) -> int:
    """In units of about a hundred bytes."""
    return 5 + sum(50 + len(tag) for tag in reply.tags) // 100 + 4 * len(reply.entries)

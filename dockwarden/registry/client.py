"""``HttpRegistry``: one request for all who ask the same, from memory where that is fresh enough.

Input: questions, settings. Output: futures of replies. Out of bounds: HTTP, which ``endpoint`` and ``wire`` speak.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from dockwarden.config.files import docker_config
from dockwarden.config.settings import RegistrySettings
from dockwarden.model import EngineInfo
from dockwarden.ports import BELIEVED_SECONDS, Ask, Reply
from dockwarden.reference import Reference, parse
from dockwarden.registry import questions
from dockwarden.registry.credentials import Credentials
from dockwarden.registry.endpoint import QUESTION_SECONDS, TAGS_SECONDS, Endpoint, Tools
from dockwarden.registry.lanes import Lane
from dockwarden.registry.memory import Memory
from dockwarden.registry.message import FailedError
from dockwarden.registry.pacing import Width
from dockwarden.registry.places import CERTIFICATES, Places
from dockwarden.registry.proxies import Proxies
from dockwarden.registry.wire import Wire

_log = structlog.get_logger("dockwarden.registry")

_MOST_REGISTRIES = 500
_MOST_AT_ONCE = 64
_CLOSED = Reply(reason="unavailable")


@dataclass(frozen=True)
class Options:
    """How registries are reached.

    Attributes:
        hosts: settings by ``host[:port]``, ``docker.io`` for Docker Hub.
        docker_config: Docker's ``config.json``; it need not exist.
        certificates: folder of ``<host>/ca.crt``.
        environ: where proxies are named.
    """

    hosts: Mapping[str, RegistrySettings] = field(default_factory=dict)
    docker_config: Path = field(default_factory=docker_config)
    certificates: Path = CERTIFICATES
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


def _ignore(*_: object) -> None:
    """Observe nothing, know no engine."""


class _Known:
    """One registry: its jobs, and who answers for it."""

    def __init__(self, registry: str, tools: Tools, lane: "Lane[_Question]") -> None:
        self._registry = registry
        self._tools = tools
        self.lane = lane
        self._lock = threading.Lock()
        self._endpoints: list[Endpoint] = []
        self._has_moved = False
        self._width = Width(tools.places.concurrency(registry), lane.resize)

    def endpoints(self) -> list[Endpoint]:
        """In the order in which they are tried. May ask the resolver. Raises FailedError for what is no address."""
        with self._lock:
            if not self._endpoints or self._has_moved:
                self._has_moved = False
                sites = self._tools.places.sites(self._registry)
                self._endpoints = [
                    Endpoint(self._registry, site, self._width, self._tools, self._waiting) for site in sites
                ]
            return self._endpoints

    def _waiting(self) -> list[str]:
        """The repositories of the questions that come next."""
        return [job.path for job in self.lane.waiting()]

    def move(self) -> None:
        """Look for the endpoints anew before the next question. Does not wait, as the resolver may make others do."""
        self._has_moved = True


class _Question:
    """A job: one question, and all who wait for its answer."""

    def __init__(
        self, ask: Ask, path: str, answer: Callable[[], Reply], settle: "Callable[[_Question, Reply], None]"
    ) -> None:
        self.ask = ask
        self.path = path
        self.future: Future[Reply] = Future()
        self.future.set_running_or_notify_cancel()  # shared, so nobody may cancel it
        self._answer = answer
        self._settle = settle

    def run(self) -> None:
        try:
            reply = self._answer()
        except Exception as error:  # noqa: BLE001 - the thread serves others, too
            # Its text, and the values around it, may be secret.
            _log.error("registries.question_failed", what=self.ask.what, error=type(error).__name__)
            reply = Reply(reason="bad_answer")
        self._settle(self, reply)


class HttpRegistry:
    """Asks registries, as ``ports.Registry`` says."""

    def __init__(
        self,
        options: Options | None = None,
        *,
        observe: Callable[[str, str, str], None] = _ignore,
        observe_quota: Callable[[str, int], None] = _ignore,
        engine: Callable[[], EngineInfo | None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """``engine`` is what the engine said when we last connected; the others are described in ``endpoint.Tools``.

        Raises ConfigError: a proxy cannot be used.
        """
        options = options or Options()
        self._closing = threading.Event()
        self._engine = engine
        self._clock = clock
        self._tools = Tools(
            wire=Wire(Proxies(options.environ)),
            places=Places(options.hosts, options.certificates),
            credentials=Credentials(options.hosts, options.docker_config, clock),
            observe=observe,
            observe_quota=observe_quota,
            clock=clock,
            wait=wait or self._closing.wait,
        )
        self._turns = threading.Semaphore(_MOST_AT_ONCE)
        self._lock = threading.Lock()
        self._memory = Memory()
        self._flying: dict[Ask, _Question] = {}
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
            reply = self._memory.fresh(normal, self._clock(), max_age_seconds)
            if reply is not None:
                return _done(reply)
            known = self._known(reference.registry)
            answer = partial(self._answer, normal.what, reference, known)
            question = _Question(normal, reference.path, answer, self._settle)
            self._flying[normal] = question
        if not known.lane.submit(question):
            self._settle(question, _CLOSED)
        return question.future

    def remembered(self, ask: Ask) -> Reply | None:
        with suppress(ValueError):
            normal, _ = _normal(ask)
            with self._lock:
                return self._memory.last(normal)
        return None

    def note(self, ask: Ask, reply: Reply | None) -> None:
        with suppress(ValueError):
            normal, _ = _normal(ask)
            with self._lock:
                self._flying.pop(normal, None)
                if reply is None:
                    self._memory.expire(normal)
                else:
                    self._memory.keep(normal, reply, self._clock())

    def login(self, registry: str) -> Mapping[str, str]:
        try:
            login = self._tools.credentials.login(registry)
        except FailedError:  # the log has said so; the registry will say what it thinks of nobody
            return {}
        if login is None:
            return {}
        if login.identity:
            return {"identitytoken": login.identity}
        return {"username": login.username, "password": login.password}

    def close(self) -> None:
        """Give up what waits and what pauses; what is under way ends by itself."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            jobs = [job for known in self._registries.values() for job in known.lane.close()]
        self._tools.wire.sweep()
        for job in jobs:
            self._settle(job, _CLOSED)

    def _heed_engine(self) -> None:
        """With the engine's last start others may have come to answer; what was said before, others said."""
        if self._tools.places.heed(self._engine()):
            self._memory.expire()
            self._flying.clear()
            for known in self._registries.values():
                known.move()

    def _known(self, registry: str) -> _Known:
        known = self._registries.get(registry)
        if known is None:
            if len(self._registries) >= _MOST_REGISTRIES:
                self._registries = {name: k for name, k in self._registries.items() if not k.lane.is_empty}
            known = self._registries[registry] = _Known(
                registry, self._tools, Lane(self._turns, self._tools.wire.sweep)
            )
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

    def _settle(self, question: _Question, reply: Reply) -> None:
        with self._lock:
            if self._flying.get(question.ask) is question:  # not expired meanwhile
                del self._flying[question.ask]
                if not self._closing.is_set():
                    self._memory.keep(question.ask, reply, self._clock())
        question.future.set_result(reply)


def _normal(ask: Ask) -> tuple[Ask, Reference]:
    """The question as everybody would write it. Raises ValueError."""
    reference = parse(ask.reference)
    match ask.what:
        case "digest":
            reference = Reference(reference.registry, reference.path, reference.tag, "") if reference.tag else reference
        case "manifest" | "config" if reference.digest:
            reference = Reference(reference.registry, reference.path, "", reference.digest)
        case "tags":
            reference = Reference(reference.registry, reference.path, "", "")
        case _:
            raise ValueError("no such question")
    return Ask(ask.what, str(reference)), reference


def _done(reply: Reply) -> "Future[Reply]":
    future: Future[Reply] = Future()
    future.set_result(reply)
    return future

"""``HttpRegistry``: one request for all who ask the same, from memory where that is fresh enough.

Input: questions, settings. Output: futures of replies. Out of bounds: HTTP, which ``endpoint`` and ``wire`` speak.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dockwarden.ports import Ask, Reply
from dockwarden.reference import Reference, parse
from dockwarden.registry import questions
from dockwarden.registry.credentials import Credentials, default_config
from dockwarden.registry.endpoint import QUESTION_SECONDS, Endpoint, Tools
from dockwarden.registry.lanes import Lane, Lanes
from dockwarden.registry.memory import Memory
from dockwarden.registry.message import FailedError
from dockwarden.registry.pacing import Width
from dockwarden.registry.places import CERTIFICATES, Host, Places
from dockwarden.registry.wire import Wire

_log = structlog.get_logger("dockwarden.registry")

_MOST_REGISTRIES = 500
_CLOSED = Reply(reason="unavailable")


@dataclass(frozen=True)
class Options:
    """How registries are reached.

    Attributes:
        hosts: settings by ``host[:port]``, ``docker.io`` for Docker Hub.
        mirrors: of ``docker.io`` only: URLs or hosts, tried in order before itself.
        insecure: hosts and CIDRs where certificates are not verified, and plain HTTP will do where there is no TLS.
        docker_config: Docker's ``config.json``; it need not exist.
        certificates: folder of ``<host>/ca.crt``.
        max_age_seconds: how long a digest or a list of tags is believed.
    """

    hosts: Mapping[str, Host] = field(default_factory=dict)
    mirrors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    insecure: Collection[str] = ()
    docker_config: Path = field(default_factory=default_config)
    certificates: Path = CERTIFICATES
    max_age_seconds: float = 300.0


def _ignore(*_: object) -> None:
    """Observe nothing."""


class _Known:
    """One registry: its jobs, and who answers for it."""

    def __init__(self, registry: str, tools: Tools, lanes: "Lanes[_Question]") -> None:
        self.lane: Lane[_Question] = Lane()
        width = Width(tools.places.concurrency(registry), lambda number: lanes.resize(self.lane, number))
        self.endpoints = [Endpoint(registry, site, width, tools) for site in tools.places.sites(registry)]


class _Question:
    """A job: one question, and all who wait for its answer."""

    def __init__(self, ask: Ask, answer: Callable[[], Reply], settle: "Callable[[_Question, Reply], None]") -> None:
        self.ask = ask
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
    """Asks registries. Thread-safe."""

    def __init__(
        self,
        options: Options | None = None,
        *,
        observe: Callable[[str, str, str], None] = _ignore,
        observe_quota: Callable[[str, int], None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """All four callables are for telling and for tests; see ``endpoint.Tools``."""
        options = options or Options()
        self._closing = threading.Event()
        self._clock = clock
        self._tools = Tools(
            wire=Wire(),
            places=Places(options.hosts, options.mirrors, options.insecure, options.certificates),
            credentials=Credentials(options.hosts, options.docker_config, clock),
            observe=observe,
            observe_quota=observe_quota,
            clock=clock,
            wait=wait or self._closing.wait,
        )
        self._lanes: Lanes[_Question] = Lanes(self._tools.wire.sweep)
        self._lock = threading.Lock()
        self._memory = Memory(options.max_age_seconds)
        self._flying: dict[Ask, _Question] = {}
        self._registries: dict[str, _Known] = {}

    def ask(self, ask: Ask) -> "Future[Reply]":
        """The answer, from memory if it is fresh enough. One request serves all who ask the same meanwhile."""
        try:
            normal, reference = _normal(ask)
        except ValueError:
            return _done(Reply(reason="bad_reference"))
        with self._lock:
            if self._closing.is_set():
                return _done(_CLOSED)
            if normal in self._flying:
                return self._flying[normal].future
            reply = self._memory.fresh(normal, self._clock())
            if reply is not None:
                return _done(reply)
            try:
                known = self._known(reference.registry)
            except FailedError:  # such as a port that there cannot be
                return _done(Reply(reason="bad_reference"))
            question = _Question(normal, lambda: self._answer(normal.what, reference, known), self._settle)
            self._flying[normal] = question
        if not self._lanes.submit(known.lane, question):
            self._settle(question, _CLOSED)
        return question.future

    def remembered(self, ask: Ask) -> Reply | None:
        """The last answer, however old, without asking."""
        with suppress(ValueError):
            normal, _ = _normal(ask)
            with self._lock:
                return self._memory.last(normal)
        return None

    def close(self) -> None:
        """Give up what waits and what pauses; what is under way ends by itself."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            self._lanes.close()
            waiting = [job for known in self._registries.values() for job in known.lane.jobs]
        self._tools.wire.close()
        for question in waiting:
            self._settle(question, _CLOSED)

    def _known(self, registry: str) -> _Known:
        known = self._registries.get(registry)
        if known is None:
            if len(self._registries) >= _MOST_REGISTRIES:
                self._registries = {name: k for name, k in self._registries.items() if not k.lane.is_empty}
            known = self._registries[registry] = _Known(registry, self._tools, self._lanes)
        return known

    def _answer(self, what: str, reference: Reference, known: _Known) -> Reply:
        reason = "unavailable"
        ends_at = time.monotonic() + QUESTION_SECONDS
        for endpoint in known.endpoints:
            try:
                return questions.answer(what, reference, endpoint, ends_at)
            except FailedError as failed:
                reason = failed.reason
        return Reply(reason=reason)

    def _settle(self, question: _Question, reply: Reply) -> None:
        with self._lock:
            if not self._closing.is_set():
                self._memory.keep(question.ask, reply, self._clock())
            self._flying.pop(question.ask, None)
        question.future.set_result(reply)


def _normal(ask: Ask) -> tuple[Ask, Reference]:
    """The question as everybody would write it. Raises ValueError."""
    reference = parse(ask.reference)
    match ask.what:
        case "digest":
            reference = Reference(reference.registry, reference.path, reference.tag, "") if reference.tag else reference
        case "manifest" if reference.digest:
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

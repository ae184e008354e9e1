"""The composition root: the only place that knows the concrete classes and joins them.

Input: settings and policies, already valid. Output: the parts of a look, or a daemon that can run. Out of bounds: any
decision that a stage could take.
"""

import errno
import json
import os
import re
import socket
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path

from dockwarden.actions import contents
from dockwarden.actions.archive import Archive
from dockwarden.actions.execute import Executor
from dockwarden.actions.verb import ENDING, Tools
from dockwarden.config.settings import Settings
from dockwarden.engine import DockerEngine, disk, from_environment
from dockwarden.errors import ConfigError, DockwardenError, LedgerError
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.gather import Gatherer
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.memory import Memory, ObservationClock
from dockwarden.metrics import Metrics
from dockwarden.mishaps import Mishaps
from dockwarden.model import EngineInfo, Kind, PolicySet
from dockwarden.pipeline.enforce import Enforcer
from dockwarden.pipeline.judge import Judge
from dockwarden.pipeline.upkeep import Upkeep
from dockwarden.pipeline.witness import Witness
from dockwarden.pipeline.worker import Worker
from dockwarden.policy.findings import Findings
from dockwarden.ports import Disk, Engine
from dockwarden.process.ask import ask, reached
from dockwarden.process.claim import claim
from dockwarden.process.daemon import Daemon
from dockwarden.process.probe import probe
from dockwarden.registry import HttpRegistry
from dockwarden.sinks.board import Board, PastOf
from dockwarden.sinks.ledger import Keeping, Ledger
from dockwarden.sinks.log import Log, Pulls
from dockwarden.sinks.notify import Notifier, open_routes
from dockwarden.text import because
from dockwarden.triggers.events import EventReader
from dockwarden.triggers.queue import Queue
from dockwarden.triggers.schedule import Schedule
from dockwarden.web.config import LiveAccess
from dockwarden.web.server import Server
from dockwarden.web.site import Application
from dockwarden.web.views import Views

_MOST_SHOWN_BYTES = 256 << 20
_MOST_PAST = 20
_PATIENCE = 10  # answers of the engine in the longest time it may take
_NOT_YET = (errno.EADDRNOTAVAIL, socket.EAI_AGAIN)  # of an address that comes with a network
_CONTAINER_IN_MOUNTS = re.compile(r"/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf)")


def disks(info: EngineInfo) -> Sequence[Disk]:
    """The disks of the engine's data and of its images, as far as they can be seen; one if it is one."""
    roots = (info.data_root, info.image_root or info.data_root)
    return tuple({found.device: found for root in roots if (found := disk.measure(root))}.values())


def _free_for_the_engine(info: EngineInfo) -> int | None:
    """Of a disk that is full for all others, an engine of root still has what is reserved."""
    found = disks(info)
    return sum(each.free_bytes + each.reserved_bytes * (not info.rootless) for each in found) if found else None


def _is_on_disk_of(folder: Path, kind: Kind, info: EngineInfo) -> bool:
    """Whether a folder is on the disk where the engine has what an object of this kind takes up."""
    root = info.image_root if kind in (Kind.IMAGE, Kind.TAG) else info.data_root
    where, what = disk.measure(str(folder)), disk.measure(root or info.data_root)
    return where is not None and what is not None and where.device == what.device


class Parts:
    """What the daemon and a scan have in common, joined and not yet started.

    What stands for an engine comes with its gatherer and, in ``own``, with the ID of the container that looked at it.
    """

    executes: type[Executor] = Executor

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        engine: Engine | None = None,
        gatherer: type[Gatherer] = Gatherer,
        own: str | None = None,
    ) -> None:
        """Raises ConfigError for an address that cannot be used."""
        self.settings, self.metrics, self.now = settings, metrics, time.time
        if engine is None:
            where, seconds = from_environment(os.environ), settings.engine.timeout
            engine = DockerEngine(**where, timeout=seconds, observe=metrics.observe_engine)
        self.engine, self.witness = engine, Witness(engine)
        self.queue, self.findings, clock = Queue(metrics), Findings(), ObservationClock(time.monotonic)
        self.inventory = inventory = Inventory(Memory(clock))
        self.mishaps = Mishaps(lambda stage: metrics.errors.labels(stage).inc())
        self.collector = Collector(engine, inventory, self.mishaps)
        self.registry = HttpRegistry(
            hosts=settings.registries,
            observe=lambda *labels: metrics.registry_requests.labels(*labels).inc(),
            observe_quota=lambda registry, remaining: metrics.registry_quota_remaining.labels(registry).set(remaining),
            engine=lambda: inventory.info,
        )
        jitter = settings.schedule.jitter
        self.gatherer = gatherer(inventory, self.collector, self.registry, disk.measure, self.queue.wake, jitter)
        self.judge = Judge(inventory, self.gatherer, self.findings, self.mishaps, settings.schedule.zone)
        keeping = Keeping(settings.undo.keep, **settings.retention.model_dump())
        self.ledger = Ledger(settings.state_dir, time.time, metrics.ledger_writable.set, clock.read, keeping)
        self.archive = Archive(
            settings.state_dir / "archives",
            self.ledger,
            max_bytes=settings.undo.max_bytes,
            reserve_bytes=settings.undo.keep_free,
            progress=self._go_on,
        )
        self.own = own_container() if own is None else own

    def _go_on(self) -> None:
        self.metrics.health.progress()
        if self.queue.closed:
            raise ENDING
        self.witness.meanwhile()

    def _rest(self, seconds: float) -> None:
        self.queue.rest(seconds)
        self.witness.meanwhile()

    @cached_property
    def enforcer(self) -> Enforcer:
        return Enforcer(
            self.inventory,
            self.collector,
            self.ledger,
            self.executor,
            ask_host=lambda program: self.gatherer.host_says(program, time.time()),
            now=self.now,
            minimum_stay_seconds=self.settings.minimum_stay,
            own_container=self.own,
            mishaps=self.mishaps,
        )

    def tools(self, info: EngineInfo) -> Tools:
        pulls = Pulls()

        def pulling(source: str, here: int, total: int) -> None:
            self._go_on()
            pulls(source, here, total)

        store = info.image_store
        parts = self.engine, self.registry, self.archive, contents, store
        settle = partial(contents.settle, {Path(each) for each in (info.data_root, info.image_root) if each})
        own, kills_frozen = frozenset((self.own, info.way)), info.cgroup_version != 1
        return Tools(*parts, own=own, pulling=pulling, probe=probe, kills_frozen=kills_frozen, settle=settle)

    def executor(self, info: EngineInfo) -> Executor:
        tools = replace(
            self.tools(info),
            free_bytes=lambda: _free_for_the_engine(info),
            busy=lambda: disk.transfer(info.data_root, info.image_root),
            now=time.monotonic,
            sleep=self._rest,
            news_of=self.witness.begin(self.inventory.seen_ns),
            shares_disk=lambda kind: _is_on_disk_of(self.settings.state_dir, kind, info),
            is_ending=lambda: self.queue.closed,
        )
        return self.executes(tools, self.ledger)

    def close(self) -> None:
        self.ledger.close()
        self.registry.close()


def daemon(settings: Settings, metrics: Metrics, reload: Callable[[], PolicySet]) -> Daemon:
    """Everything that runs, joined and not yet started; ``reload`` reads the policy files again.

    Raises ConfigError: the address to listen on, that of the engine, or the state folder cannot be used.
    """
    lock = claim(settings.state_dir)
    parts = Parts(settings, metrics)
    inventory, engine = parts.inventory, settings.engine
    metrics.watch_disk(lambda: max(disks(inventory.info), default=None) if inventory.info else None)
    metrics.watch_findings(settings.web.finding_info, parts.findings.open)
    metrics.watch_images(settings.web.running_image_info, inventory.running)
    metrics.health.patience_seconds = _PATIENCE * (engine.timeout + engine.event_window)
    upkeep = Upkeep(parts.engine, inventory, parts.collector, parts.ledger, parts.tools, metrics, settings.resync)
    notifier = Notifier(
        open_routes(settings.notify.routes, settings.problem),
        metrics,
        lambda: inventory.info.name if inventory.info else "a host unknown",
        settings.notify.wait,
        link=settings.web.external_url,
    )
    board = Board(parts.ledger.recent_actions, parts.ledger.undoable_until, partial(past_of, settings))
    worker = Worker(
        queue=parts.queue,
        upkeep=upkeep,
        inventory=inventory,
        collector=parts.collector,
        gatherer=parts.gatherer,
        findings=parts.findings,
        judge=parts.judge,
        enforcer=parts.enforcer,
        ledger=parts.ledger,
        metrics=metrics,
        mishaps=parts.mishaps,
        sinks=(metrics, parts.ledger, board, Log(), notifier),  # what is told is already shown and written down
    )
    schedule = Schedule(parts.queue.submit_job, metrics, settings.schedule.timezone or None, settings.schedule.jitter)
    views = Views(board, parts.findings, inventory, parts.enforcer, metrics.health, schedule.next_runs, time.time)
    reader = EventReader(parts.engine, parts.queue, metrics, engine.event_window)
    server = _server(settings, metrics, views, parts.ledger)
    where = parts.engine.where
    return Daemon(worker, reader, schedule, notifier, server, parts.queue, metrics, lock, where, reload)


def _server(settings: Settings, metrics: Metrics, views: Views, ledger: Ledger) -> Server:
    access = LiveAccess(settings.web.config_file)
    headers, hosts = (lambda: access.last.headers), settings.web.hosts
    site = Application(metrics.registry, metrics.health, views, headers, hosts, ledger.shown)
    try:
        return Server(site, *settings.web.address, access, metrics.web_logins_failed.inc)
    except OSError as error:
        told = f"web.listen {settings.web.listen}: {because(error)}"
        if error.errno in _NOT_YET:
            raise DockwardenError(told) from error
        raise ConfigError(f"{told}; choose another") from error


def open_ledger(settings: Settings) -> Ledger:
    """The ledger as the daemon left it or shows it, to read from. Raises LedgerError where it is not to be had."""
    ledger = Ledger(settings.state_dir, time.time, lambda _writable: None)
    open_to_read(settings, ledger)
    if ledger.unreadable:
        raise LedgerError(ledger.unreadable)
    return ledger


def past_of(settings: Settings, names: Collection[str]) -> PastOf:
    """What was done to an object of one of these names and IDs, and what was found on it; nothing without a ledger."""
    with suppress(LedgerError), closing(open_ledger(settings)) as ledger:
        found = [row for row in ledger.past_findings(_MOST_PAST, names) if row["resolved_at"] is not None]
        return ledger.recent_actions(_MOST_PAST, names), found
    return [], []


def open_to_read(settings: Settings, ledger: Ledger) -> None:
    """Open the ledger to read, or, where this user may not, take what the daemon shows. See ``ledger.unreadable``."""
    ledger.open_to_read()
    if not ledger.unreadable or ledger.is_none:  # which no daemon has open: what one would show is another
        return
    host, port = settings.web.address
    try:
        status, body = ask(reached(host), port, "/ledger", most=_MOST_SHOWN_BYTES)
        if status != HTTPStatus.OK:
            raise ValueError(f"it answers {status} {HTTPStatus(status).phrase}")
        ledger.open_shown(json.loads(body))
    except (OSError, ValueError, RecursionError) as error:
        ledger.unreadable += f"; nor does a daemon at {settings.web.listen} show it: {because(error)}"


def own_container(mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The ID of the container we run in, "" if in none: an engine mounts files named after it into every container."""
    with suppress(OSError):
        if match := _CONTAINER_IN_MOUNTS.search(mounts.read_text()):
            return match[1]
    return ""

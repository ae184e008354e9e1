"""The composition root: the only place that knows the concrete classes, starts their threads, and waits for signals.

Input: settings and policies, already valid. Output: a running daemon, or the results of one scan. Out of bounds: any
decision that a stage could take.
"""

import os
import queue as stdlib_queue
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from dockwarden import __version__
from dockwarden.actions.archive import Archive
from dockwarden.actions.execute import Executor, Surroundings
from dockwarden.actions.keep import Keeper
from dockwarden.claim import claim
from dockwarden.enforce import Enforcer
from dockwarden.engine import DockerEngine, disk, from_environment
from dockwarden.errors import ConfigError
from dockwarden.gather import REGISTRY, Gatherer
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.memory import Memory, ObservationClock
from dockwarden.judge import Judge
from dockwarden.metrics import Metrics
from dockwarden.model import EngineInfo, Mode, Policy, PolicySet, TriggerSpec
from dockwarden.policy.load import load
from dockwarden.ports import Disk
from dockwarden.registry import HttpRegistry, Options
from dockwarden.settings import Settings
from dockwarden.sinks.ledger import Ledger
from dockwarden.sinks.notify import Notifier, open_routes
from dockwarden.systemd import ServiceManager
from dockwarden.triggers.events import EventReader
from dockwarden.triggers.queue import Queue
from dockwarden.triggers.schedule import Schedule, refuse_cron
from dockwarden.upkeep import Upkeep
from dockwarden.web.config import LiveAccess
from dockwarden.web.server import Server
from dockwarden.web.site import Site
from dockwarden.web.views import Views
from dockwarden.worker import Worker

OK, FAILED, CONFIG, INTERRUPTED = 0, 1, 78, 130
_LOOK_ROUND_SECONDS = 5.0
_PATIENCE = 10  # answers of the engine in the longest time it may take
_LONGEST_STEP_SECONDS = 900.0  # an engine that saves a big image may say nothing for so long
_LOOK = 0  # among the signals: none of them
_STOP_SECONDS = 1.0
_LONGEST_STOP_SECONDS = 20.0  # for removals that were begun
_CONTAINER_IN_MOUNTS = re.compile(r"/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf)")
_log = structlog.get_logger("dockwarden")


def load_policies(settings: Settings) -> PolicySet:
    """Read and compile everything that the settings name. Raises ConfigError with all problems."""
    return load(
        settings.policies,
        VOCABULARY,
        params=settings.params,
        modes=settings.modes,
        triggers={name: trigger.model_dump(exclude_unset=True) for name, trigger in settings.triggers.items()},
        cap=settings.mode,
        check_cron=refuse_cron,
    )


@dataclass
class Parts:
    """What the daemon and a scan have in common."""

    metrics: Metrics
    engine: DockerEngine
    queue: Queue
    inventory: Inventory
    collector: Collector
    judge: Judge
    ledger: Ledger
    enforcer: Enforcer
    registry: HttpRegistry
    archive: Archive
    executor: Callable[[EngineInfo], Executor]


def build(settings: Settings, metrics: Metrics) -> Parts:
    """The parts, joined and not yet started. Raises ConfigError for an address that cannot be used."""
    engine = DockerEngine(
        **from_environment(os.environ), timeout=settings.engine.timeout, observe=metrics.observe_engine
    )
    queue = Queue(metrics)
    inventory = Inventory(Memory(ObservationClock(time.monotonic)))
    collector = Collector(engine, inventory)
    registry = HttpRegistry(
        Options(hosts=settings.registries),
        observe=metrics.observe_registry,
        observe_quota=metrics.observe_quota,
        engine=lambda: inventory.info,
    )
    gatherer = Gatherer(inventory, collector, registry, disk.measure, queue.wake)
    ledger = Ledger(
        settings.state_dir,
        time.time,
        lambda writable: metrics.ledger_writable.set(int(writable)),
        settings.undo.keep,
    )
    archive = Archive(
        settings.state_dir / "archives",
        ledger,
        max_bytes=settings.undo.max_bytes,
        reserve_bytes=settings.undo.keep_free,
        progress=metrics.health.progress,
    )

    def executor(info: EngineInfo) -> Executor:
        around = Surroundings(
            free_bytes=lambda: found.free_bytes if (found := disk.measure(info.data_root)) else None,
            busy=lambda: disk.transfer(info.data_root),
            now=time.monotonic,
            sleep=time.sleep,
        )
        return Executor(engine, ledger, Keeper(engine, registry, archive), info.image_store, around)

    enforcer = Enforcer(
        inventory,
        collector,
        ledger,
        executor,
        ask_host=lambda program: gatherer.host_says(program, time.time()),
        minimum_stay_seconds=settings.minimum_stay,
        own_container=own_container(),
    )
    judge = Judge(inventory, gatherer)
    return Parts(metrics, engine, queue, inventory, collector, judge, ledger, enforcer, registry, archive, executor)


class Daemon:
    """Everything that runs, from the first thread's start to the last one's end."""

    def __init__(self, settings: Settings, metrics: Metrics, reload: Callable[[], PolicySet]) -> None:
        """``reload`` reads the policy files again; it raises ConfigError where they cannot be used.

        Raises:
            ConfigError: the address to listen on, that of the engine, or the state folder cannot be used.
        """
        self._claim = claim(settings.state_dir)
        parts = build(settings, metrics)
        self._metrics = metrics
        self._reload = reload
        self._queue = parts.queue
        self._inventory = parts.inventory
        metrics.watch_disk(self._disk)
        metrics.watch_findings(settings.web.finding_info, parts.judge.findings.open)
        upkeep = Upkeep(
            parts.engine,
            parts.inventory,
            parts.collector,
            parts.ledger,
            parts.archive,
            metrics,
            settings.resync,
        )
        self._notifier = Notifier(open_routes(settings.notify.routes), metrics, self._host, settings.notify.wait)
        self._worker = Worker(
            queue=parts.queue,
            upkeep=upkeep,
            inventory=parts.inventory,
            collector=parts.collector,
            judge=parts.judge,
            enforcer=parts.enforcer,
            ledger=parts.ledger,
            metrics=metrics,
            notifier=self._notifier,
        )
        self._reader = EventReader(parts.engine, parts.queue, metrics, settings.engine.event_window)
        metrics.health.patience_seconds = _PATIENCE * (settings.engine.timeout + settings.engine.event_window)
        self._schedule = Schedule(
            parts.queue.submit_job, metrics, settings.schedule.timezone or None, settings.schedule.jitter
        )
        views = Views(
            self._worker,
            parts.judge.findings,
            parts.inventory,
            metrics.health,
            self._schedule.next_runs,
            time.time,
        )
        access = LiveAccess(settings.web.config_file)
        site = Site(metrics.registry, metrics.health, views.api(), views.status, lambda: access.last.headers)
        host, port = settings.web.address
        try:
            self._server = Server(site, host, port, access)
        except OSError as error:
            raise ConfigError(f"web.listen {settings.web.listen}: {error.strerror or error}; choose another") from error
        self._manager = ServiceManager()
        self._failed = False
        self._signals: stdlib_queue.SimpleQueue[int] = stdlib_queue.SimpleQueue()
        # A daemon thread: one that waits for a hung engine must not keep the process.
        self._threads = (threading.Thread(target=self._worker.run, name="worker", daemon=True), self._reader)

    def run(self, policies: PolicySet) -> int:
        """Run until a signal ends it or a thread of ours dies; gives the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: self._signals.put(received))
        threading.excepthook = self._fail
        _log.info("daemon.started", version=__version__, listen=self._server.port, policies=len(policies.policies))
        self._server.start()
        self._use(policies)
        self._notifier.start()
        self._schedule.start()
        self._metrics.health.beats.update({thread.name: time.monotonic() for thread in self._threads})
        for thread in self._threads:
            thread.start()
        code = self._watch()
        self._manager.stop()
        self._stop()
        return code

    def _watch(self) -> int:
        while True:
            try:
                received = self._signals.get(timeout=min(_LOOK_ROUND_SECONDS, self._manager.patience_seconds))
            except stdlib_queue.Empty:
                received = _LOOK
            if received == signal.SIGHUP:
                self._load_again()
            elif received != _LOOK:
                _log.info("daemon.stopping", signal=signal.Signals(received).name)
                return INTERRUPTED if received == signal.SIGINT else OK
            if self._has_lost_a_thread():
                return FAILED
            self._manager.report(self._metrics.health)

    def _has_lost_a_thread(self) -> bool:
        if self._failed:
            return True
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        if dead:
            _log.critical("daemon.thread_died", threads=dead)
            return True
        self._schedule.check_clock()
        grace = _LONGEST_STEP_SECONDS if self._worker.acting else 0.0
        if stuck := self._metrics.health.stuck(time.monotonic() - grace):
            _log.critical("daemon.thread_stuck", threads=stuck, stacks=_stacks())
        return bool(stuck)

    def _fail(self, failure: threading.ExceptHookArgs) -> None:
        """Why a thread ended, in one line of the log like everything else; without any of them we are not whole."""
        name = failure.thread.name if failure.thread else ""
        _log.critical("daemon.thread_failed", thread=name, error=str(failure.exc_value), exc_info=failure.exc_value)
        self._failed = True
        self._signals.put(_LOOK)

    def _stop(self) -> None:
        self._reader.stop()
        self._schedule.stop()
        self._queue.close()
        worker = self._threads[0]
        worker.join(_STOP_SECONDS)
        if worker.is_alive() and self._worker.acting:
            worker.join(_LONGEST_STOP_SECONDS)
        self._notifier.stop()
        self._server.stop()

    def _use(self, policies: PolicySet) -> None:
        self._queue.submit_policies(policies)
        spread = {policy.name for policy in policies.policies if policy.cost >= REGISTRY}
        self._schedule.set_jobs(jobs_of(policies.policies), spread)

    def _load_again(self) -> None:
        self._manager.begin_reload()
        try:
            policies = self._reload()
        except ConfigError as error:
            self._manager.end_reload(f"reload failed, the policies in use stay: {error.problems[0]}")
            self._metrics.reload_ok.set(0)
            _log.error("config.reload_failed", problems=error.problems, note="the policies in use stay")
            return
        self._use(policies)
        self._manager.end_reload()
        _log.info("config.reloaded", policies=len(policies.policies), sha256=policies.sha256)

    def _host(self) -> str:
        return self._inventory.info.name if self._inventory.info else "a host unknown"

    def _disk(self) -> Disk | None:
        info = self._inventory.info
        return disk.measure(info.data_root) if info else None


def _stacks() -> dict[str, list[str]]:
    """Where each thread is: files, lines and functions, no values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        names.get(ident, str(ident)): [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_stack(frame)]
        for ident, frame in sys._current_frames().items()  # noqa: SLF001 - the only way, and documented
    }


def jobs_of(policies: Iterable[Policy]) -> dict[str, TriggerSpec]:
    """The schedules of policies that are not off."""
    return {
        policy.name: policy.trigger
        for policy in policies
        if policy.mode is not Mode.OFF and (policy.trigger.schedule or policy.trigger.every_seconds)
    }


def open_ledger(settings: Settings) -> Ledger:
    """The ledger as the daemon left it, to read from."""
    ledger = Ledger(settings.state_dir, time.time, lambda _writable: None)
    ledger.open_to_read()
    return ledger


def own_container(mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The ID of the container we run in, "" if in none: an engine mounts files named after it into every container."""
    try:
        match = _CONTAINER_IN_MOUNTS.search(mounts.read_text())
    except OSError:
        return ""
    return match[1] if match else ""

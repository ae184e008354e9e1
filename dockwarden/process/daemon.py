"""The daemon: threads from the first one's start to the last one's end, signals, reloads, and who is stuck.

Input: the parts that run, already joined, and signals. Output: an exit code. Out of bounds: how the parts are joined
(``app``), and any decision that a stage could take.
"""

import queue as stdlib_queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO

import structlog

from dockwarden import __version__
from dockwarden.errors import ConfigError
from dockwarden.inventory.gather import REGISTRY
from dockwarden.metrics import Metrics
from dockwarden.model import Mode, Policy, PolicySet, TriggerSpec
from dockwarden.pipeline.worker import Worker
from dockwarden.process.systemd import ServiceManager
from dockwarden.sinks.notify import Notifier
from dockwarden.text import FAILED, INTERRUPTED, OK
from dockwarden.triggers.events import EventReader
from dockwarden.triggers.queue import Queue
from dockwarden.triggers.schedule import Schedule
from dockwarden.web.server import Server

_LOOK_ROUND_SECONDS = 5.0
_LONGEST_STEP_SECONDS = 900.0  # an engine that saves a big image may say nothing for so long
_LOOK = 0  # among the signals: none of them
_STOP_SECONDS = 3.0
_LONGEST_STOP_SECONDS = 20.0  # for removals that were begun
_log = structlog.get_logger("dockwarden")


@dataclass(eq=False)
class Daemon:
    """Everything that runs, from the first thread's start to the last one's end.

    Attributes:
        claim: the lock on the state folder, held as long as the process.
        engine: where it is, and who says so.
        reload: reads the policy files again; it raises ConfigError where they cannot be used.
    """

    worker: Worker
    reader: EventReader
    schedule: Schedule
    notifier: Notifier
    server: Server
    queue: Queue
    metrics: Metrics
    claim: IO[bytes] | None
    engine: str
    reload: Callable[[], PolicySet]

    def __post_init__(self) -> None:
        self._manager = ServiceManager()
        self._failed = False
        self._signals: stdlib_queue.SimpleQueue[int | PolicySet | ConfigError] = stdlib_queue.SimpleQueue()
        self._is_loading = self._must_load_again = False
        # A daemon thread: one that waits for a hung engine must not keep the process.
        self._threads = (threading.Thread(target=self.worker.run, name="worker", daemon=True), self.reader)

    def run(self, policies: PolicySet) -> int:
        """Run until a signal ends it or a thread of ours dies; gives the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: self._signals.put(received))
        threading.excepthook = self._fail
        _log.info(
            "daemon.started",
            version=__version__,
            listen=self.server.port,
            policies=len(policies.policies),
            engine=self.engine,
        )
        if policies.origins and "shipped" not in policies.origins:
            hint = "the everyday policies are left out; add `shipped` to `policies` to have them as well"
            _log.info("policy.own_only", origins=policies.origins, hint=hint)
        self.server.start()
        self._use(policies)
        self.notifier.start()
        self.schedule.start()
        self.metrics.health.beats.update({thread.name: time.monotonic() for thread in self._threads})
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
            if isinstance(received, PolicySet | ConfigError):
                self._end_load(received)
            elif received == signal.SIGHUP:
                self._load_again()
            elif received != _LOOK:
                _log.info("daemon.stopping", signal=signal.Signals(received).name)
                return INTERRUPTED if received == signal.SIGINT else OK
            if self._has_lost_a_thread():
                return FAILED
            self._manager.report(self.metrics.health)

    def _has_lost_a_thread(self) -> bool:
        if self._failed:
            return True
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        if dead:
            _log.critical("daemon.thread_died", threads=dead)
            return True
        self.schedule.check_clock()
        grace = _LONGEST_STEP_SECONDS if self.worker.acting else 0.0
        if stuck := self.metrics.health.stuck(time.monotonic() - grace):
            _log.critical("daemon.thread_stuck", threads=stuck, stacks=_stacks())
        return bool(stuck)

    def _fail(self, failure: threading.ExceptHookArgs) -> None:
        """Why a thread ended, in one line of the log like everything else; without any of them we are not whole."""
        name = failure.thread.name if failure.thread else ""
        _log.critical("daemon.thread_failed", thread=name, error=str(failure.exc_value), exc_info=failure.exc_value)
        self._failed = True
        self._signals.put(_LOOK)

    def _stop(self) -> None:
        self.reader.stop()
        self.schedule.stop()
        self.queue.close()
        worker = self._threads[0]
        worker.join(_STOP_SECONDS)
        if worker.is_alive() and self.worker.acting:
            worker.join(_LONGEST_STOP_SECONDS)
        self.notifier.stop()
        self.server.stop()

    def _use(self, policies: PolicySet) -> None:
        # Here, as the worker may come to them when the next load has failed.
        self.metrics.config_last_reload_successful.set(1)
        self.queue.submit_policies(policies)
        spread = {policy.name for policy in policies.policies if policy.cost >= REGISTRY}
        self.schedule.set_jobs(jobs_of(policies.policies), spread)

    def _load_again(self) -> None:
        """Read everything again in a thread: a file on a server that is gone must not keep us from other signals."""
        self._must_load_again = self._is_loading  # however many ask meanwhile, it is read once more
        if not self._is_loading:
            self._is_loading = True
            self._manager.begin_reload()
            threading.Thread(target=self._load, name="reload", daemon=True).start()

    def _load(self) -> None:
        try:
            self._signals.put(self.reload())
        except ConfigError as error:
            self._signals.put(error)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the files, the policies in use stay
            failed = ConfigError(f"{type(error).__name__}: {error}")
            failed.__cause__ = error
            self._signals.put(failed)

    def _end_load(self, loaded: PolicySet | ConfigError) -> None:
        self._is_loading = False
        if isinstance(loaded, ConfigError):
            self._manager.end_reload(f"reload failed, the policies in use stay: {loaded.problems[0]}")
            self.metrics.config_last_reload_successful.set(0)
            # A fault of ours, if there is one that is no file's.
            cause = None if isinstance(loaded.__cause__, OSError) else loaded.__cause__
            note = "the policies in use stay"
            _log.error("config.reload_failed", problems=loaded.problems, note=note, exc_info=cause)
        else:
            self._use(loaded)
            self._manager.end_reload()
            _log.info("config.reloaded", policies=len(loaded.policies), sha256=loaded.sha256)
        if self._must_load_again:
            self._load_again()


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

"""Schedules: cron lines and intervals become jobs whose whole body is to put a name into the queue.

Input: names with their ``TriggerSpec``. Output: names, in time. Out of bounds: what a job means. APScheduler's traps
are closed here: one second of grace, sleep after the clock was set back, and a list of all runs that were missed.
"""

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfoNotFoundError

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.interval import IntervalTrigger

from dockwarden.cron import Cron
from dockwarden.errors import ConfigError
from dockwarden.metrics import Metrics
from dockwarden.model import TriggerSpec

_CLOCK_STEP_SECONDS = 2.0
_MOST_JITTER_SECONDS = 300
_LATE_SECONDS = 60.0
_SOON_SECONDS = 1.0
_MOST_GAPS = 1000
_MOMENT = timedelta(microseconds=1)
_log = structlog.get_logger("dockwarden.schedule")


class _Every(IntervalTrigger):  # type: ignore[misc] # the library has no types
    """An interval. What was missed is one run: after a start with a clock at 1970, a list of all would fill memory."""

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        if previous and previous <= now:
            missed = (now.timestamp() - previous.timestamp()) // self.interval_length
            previous = previous.astimezone(UTC) + missed * self.interval
        at: datetime | None = super().get_next_fire_time(previous, now)
        return at


class _Line(BaseTrigger):  # type: ignore[misc] # as above
    """The times of a cron line, or each a little later: never earlier, and never as late as the next.

    What was missed is one run as well. How much later is random, but the same each time that it is asked, so that a
    time which has passed can be told from one to come; the library's own jitter is another each time.
    """

    def __init__(self, cron: Cron, share: float = 0.0) -> None:
        """``share``: of the time until the next run, at most."""
        self._cron = cron
        self._share = share
        self._seed = random.random()  # noqa: S311 - that many hosts choose differently is all it is for

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """The first time that is not over."""
        now = max(each.astimezone(UTC) for each in (previous or now, now))
        at = self._cron.first(now - timedelta(seconds=_MOST_JITTER_SECONDS) if self._share else now)
        while at is not None:
            later = self._moved(at)
            if later > now if previous else later >= now:
                return later
            at = self._cron.first(at + _MOMENT)
        return None

    def _moved(self, at: datetime) -> datetime:
        following = (self._share and self._cron.first(at + _MOMENT)) or at
        most = min(_MOST_JITTER_SECONDS, self._share * (following - at).total_seconds())
        return at + timedelta(seconds=most * random.Random(f"{self._seed} {at.timestamp()}").random())  # noqa: S311


class Schedule:
    """Keeps one job per name. ``submit`` is called in a thread of the scheduler and must return at once."""

    def __init__(
        self, submit: Callable[[str], None], metrics: Metrics, timezone: str | None = None, jitter: float = 0.0
    ) -> None:
        """``jitter``: share of an interval, 0 to 0.5. Raises ConfigError: no zone is set and the host's has no name."""
        self._submit = submit
        self._metrics = metrics
        self._jitter = jitter
        self._jobs: dict[str, tuple[TriggerSpec, bool]] = {}
        self._skew = _skew()
        # "Late, but once" instead of the library's "never, if a second late".
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        try:
            self._scheduler = BackgroundScheduler(timezone=timezone, job_defaults=defaults, daemon=True)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # a rule, as in TZ=UTC0; something else's file; a folder
            way_out = "write a zone's name, as Europe/Berlin, or set schedule.timezone"
            raise ConfigError(f"environment TZ: {way_out}") from None
        late = EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES
        self._scheduler.add_listener(lambda event: metrics.job_missed.labels(event.job_id).inc(), late)

    def start(self) -> None:
        self._scheduler.start()
        self._show_next()  # jobs that were set before have no next run until now

    def stop(self) -> None:
        self._scheduler.shutdown(wait=False)

    def set_jobs(self, specs: Mapping[str, TriggerSpec], spread: Collection[str] = ()) -> None:
        """Replace all jobs. One whose schedule did not change keeps its phase.

        ``spread``: those that ask others than this host, and so do not run to the second at the times of a cron line.
        """
        jobs = {name: (spec, name in spread) for name, spec in specs.items()}
        for name in self._jobs.keys() - jobs.keys():
            self._scheduler.remove_job(name)
            self._metrics.drop_job(name)
        for name, job in jobs.items():
            if self._jobs.get(name) != job:
                trigger, exact = self._trigger(*job), self._trigger(job[0], False)
                self._metrics.set_job(name, max(_gaps(exact), default=0.0), time.time())
                self._scheduler.add_job(self._fire, trigger, args=(name,), id=name, name=name, replace_existing=True)
        self._jobs = jobs
        self._show_next()

    def check_clock(self) -> None:
        """Compute all next runs anew if the wall clock was set; else a step back would freeze every job until then.

        An interval goes on where it was: what was left of it is left, and one that is over is due.
        """
        skew = _skew()
        step, self._skew = skew - self._skew, skew
        if abs(step) > _CLOCK_STEP_SECONDS:
            _log.warning("schedule.clock_stepped", seconds=round(step, 1))
            now = datetime.now(UTC)
            for job in self._scheduler.get_jobs():
                spec, is_spread = self._jobs[job.id]
                due = (getattr(job, "next_run_time", None) or now) + timedelta(seconds=min(step, 0.0))
                latest = now + timedelta(seconds=spec.every_seconds)
                begin = min(max(due, now + timedelta(seconds=_SOON_SECONDS)), latest)
                job.reschedule(self._trigger(spec, is_spread, begin))
        self._show_next()
        if self._is_late():
            self._scheduler.wakeup()  # it waits by a clock that stands still while the host sleeps
        else:
            self._metrics.health.beats["schedule"] = time.monotonic()

    def _is_late(self) -> bool:
        """Whether a job that was due long ago still waits, so that the library's thread must be dead or hang."""
        now = datetime.now(UTC).timestamp()
        return any(now - at > _LATE_SECONDS for at in self.next_runs().values())

    def _trigger(self, spec: TriggerSpec, is_spread: bool, begin: datetime | None = None) -> BaseTrigger:  # noqa: FBT001 - half of a pair
        triggers: list[BaseTrigger] = []
        if spec.schedule:
            triggers.append(_Line(Cron(spec.schedule, self._scheduler.timezone), self._jitter if is_spread else 0.0))
        if spec.every_seconds:
            if is_spread and self._jitter and begin is None:  # hosts that were started together ask at different times
                share = random.random()  # noqa: S311 - as above
                begin = datetime.now(UTC) + timedelta(seconds=share * spec.every_seconds)
            jitter = min(_MOST_JITTER_SECONDS, int(self._jitter * spec.every_seconds))
            triggers.append(_Every(seconds=spec.every_seconds, start_date=begin, jitter=jitter or None))
        return triggers[0] if len(triggers) == 1 else OrTrigger(triggers)

    def _fire(self, name: str) -> None:
        self._submit(name)
        self._show_next()

    def next_runs(self) -> dict[str, float]:
        """When each job is due next, in seconds since the epoch."""
        found = ((job.id, getattr(job, "next_run_time", None)) for job in self._scheduler.get_jobs())
        return {name: at.timestamp() for name, at in found if at is not None}

    def _show_next(self) -> None:
        for name, at in self.next_runs().items():
            self._metrics.set_next_run(name, at)


def _skew() -> float:
    """How far the wall clock is ahead of one that goes on while the host sleeps, as that sets no clock."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def interval_seconds(spec: TriggerSpec) -> float:
    """From one run to the next, as far as its schedule tells; the shorter one of two."""
    known = [spec.every_seconds] if spec.every_seconds else []
    if spec.schedule:
        known += islice(_gaps(_Line(Cron(spec.schedule))), 1)
    return min(known, default=0.0)


def _gaps(trigger: BaseTrigger) -> Iterator[float]:
    """Seconds from one run to the next, of the coming week; at least of the next two runs, and not of too many."""
    if isinstance(trigger, IntervalTrigger):
        yield float(trigger.interval.total_seconds())
        return
    at = trigger.get_next_fire_time(None, datetime.now(UTC))
    end = at and at + timedelta(days=7)
    for _ in range(_MOST_GAPS):
        following = trigger.get_next_fire_time(at, at + timedelta(seconds=1)) if at else None
        if at is None or following is None or end is None:
            return
        yield float((following - at).total_seconds())
        if following > end:
            return
        at = following

"""Schedules: cron lines mean what crontab(5) says, and jobs come late rather than never."""

from __future__ import annotations

import queue as stdlib_queue
import threading
from datetime import UTC, datetime, timedelta, tzinfo
from time import CLOCK_BOOTTIME
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from apscheduler.schedulers import base
from apscheduler.triggers import interval
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dockwarden.cron import Cron, refuse_cron
from dockwarden.errors import ConfigError
from dockwarden.metrics import Metrics
from dockwarden.model import TriggerSpec
from dockwarden.triggers import schedule as module
from dockwarden.triggers.schedule import Schedule, interval_seconds
from tests.fakes import Clockwork
from tests.lab.waiting import PATIENCE, until
from tests.tables import each

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday
DAY = timedelta(days=1)
HOURLY = TriggerSpec(every_seconds=3600)


def fires(line: str, most: int, start: datetime = START, timezone: str = "UTC") -> list[datetime]:
    """The next times that a line fires."""
    cron = Cron(line, ZoneInfo(timezone))
    times: list[datetime] = []
    while len(times) < most:
        found = cron.first(start)
        assert found is not None
        assert found >= start
        times.append(found.astimezone(ZoneInfo(timezone)))
        start = found + timedelta(microseconds=1)
    return times


# -- the meaning of a line -----------------------------------------------------------------------------------


def weekdays(field: str) -> str:
    """On which days of a week a line fires: the day of the month in a month that begins on a Sunday."""
    first = datetime(2026, 2, 1, tzinfo=UTC)
    week = {at.day for at in fires(f"0 6 * * {field}", 14, first) if at < first + 7 * DAY}
    return " ".join(("sun", "mon", "tue", "wed", "thu", "fri", "sat")[day - 1] for day in sorted(week))


@each(
    ("field", "days"),
    [
        ("0", "sun"),
        ("7", "sun"),
        ("1", "mon"),
        ("6", "sat"),
        ("sun", "sun"),
        ("SAT", "sat"),
        ("Mon", "mon"),
        ("1-5", "mon tue wed thu fri"),
        ("mon-fri", "mon tue wed thu fri"),
        ("fri-mon", "sun mon fri sat"),
        ("5-1", "sun mon fri sat"),
        ("5-7", "sun fri sat"),
        ("0-7", "sun mon tue wed thu fri sat"),
        ("6-0", "sun sat"),
        ("*", "sun mon tue wed thu fri sat"),
        ("*/2", "sun tue thu sat"),
        ("*/3", "sun wed sat"),
        ("1-5/2", "mon wed fri"),
        ("1/2", "mon wed fri"),
        ("0,3", "sun wed"),
        ("sun,wed,0,7", "sun wed"),
        ("mon,4-5", "mon thu fri"),
    ],
)
def test_weekdays_mean_what_crontab_says(field: str, days: str) -> None:
    assert weekdays(field) == days


def test_two_restricted_day_fields_are_or() -> None:
    days = [at.date().isoformat() for at in fires("0 6 13 * 5", 6)]
    assert days == ["2026-01-02", "2026-01-09", "2026-01-13", "2026-01-16", "2026-01-23", "2026-01-30"]


@pytest.mark.parametrize(
    ("line", "days"),
    [
        ("0 6 */2 * 1", "2026-01-05 2026-01-19 2026-02-09"),
        ("0 6 5 * */2", "2026-02-05 2026-03-05 2026-04-05"),
        ("0 6 * * 1", "2026-01-05 2026-01-12 2026-01-19"),
        ("0 6 13 * *", "2026-01-13 2026-02-13 2026-03-13"),
    ],
)
def test_a_day_field_with_a_star_is_not_restricted_and_so_both_must_match(line: str, days: str) -> None:
    assert [at.date().isoformat() for at in fires(line, 3)] == days.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("* * * * *", ["2026-01-01T00:00", "2026-01-01T00:01", "2026-01-01T00:02"]),
        ("*/15 6 * * *", ["2026-01-01T06:00", "2026-01-01T06:15", "2026-01-01T06:30"]),
        ("0 6,18 * * *", ["2026-01-01T06:00", "2026-01-01T18:00", "2026-01-02T06:00"]),
        ("30 4 1 * *", ["2026-01-01T04:30", "2026-02-01T04:30", "2026-03-01T04:30"]),
        ("0 0 1 jan *", ["2026-01-01T00:00", "2027-01-01T00:00", "2028-01-01T00:00"]),
        ("0 0 1 MAR-apr *", ["2026-03-01T00:00", "2026-04-01T00:00", "2027-03-01T00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00", "2032-02-29T00:00", "2036-02-29T00:00"]),
        ("0 0 31 * *", ["2026-01-31T00:00", "2026-03-31T00:00", "2026-05-31T00:00"]),
        ("0 0 30 2 1", ["2026-02-02T00:00", "2026-02-09T00:00", "2026-02-16T00:00"]),
        ("  0  6 * *\t* ", ["2026-01-01T06:00"]),
        ("15-15/5 6 * * *", ["2026-01-01T06:15", "2026-01-02T06:15"]),
    ],
)
def test_the_other_fields(line: str, expected: list[str]) -> None:
    assert [at.strftime("%Y-%m-%dT%H:%M") for at in fires(line, len(expected))] == expected


_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WEEKDAY_ITEMS = st.one_of(
    st.integers(0, 7).map(lambda n: (str(n), {n % 7})),
    st.integers(0, 6).map(lambda n: (_NAMES[n], {n})),
    st.tuples(st.integers(0, 6), st.integers(0, 7)).map(
        lambda p: (f"{p[0]}-{p[1]}", {n % 7 for n in range(p[0], (p[1] if p[1] >= p[0] else p[1] + 7) + 1)})
    ),
)
_DAY_ITEMS = st.one_of(
    st.integers(1, 28).map(lambda n: (str(n), {n})),
    st.tuples(st.integers(1, 14), st.integers(14, 31)).map(lambda p: (f"{p[0]}-{p[1]}", set(range(p[0], p[1] + 1)))),
)


def _field(items: st.SearchStrategy[tuple[str, set[int]]]) -> st.SearchStrategy[tuple[str, set[int] | None]]:
    listed = st.lists(items, min_size=1, max_size=3).map(
        lambda found: (",".join(text for text, _ in found), set().union(*(numbers for _, numbers in found)))
    )
    return st.just(("*", None)) | listed


@given(_field(_DAY_ITEMS), _field(_WEEKDAY_ITEMS))
def test_days_are_those_that_a_plain_reading_of_crontab_gives(
    day: tuple[str, set[int] | None], weekday: tuple[str, set[int] | None]
) -> None:
    def matches(at: datetime) -> bool:
        in_month = day[1] is None or at.day in day[1]
        in_week = weekday[1] is None or at.isoweekday() % 7 in weekday[1]
        return in_month or in_week if day[1] is not None and weekday[1] is not None else in_month and in_week

    days = [START + n * DAY for n in range(120)]
    expected = [at for at in days if matches(at)][:12]
    assert fires(f"0 0 {day[0]} * {weekday[0]}", len(expected)) == expected


# -- lines that are refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["0 0 31 2 *", "0 0 30,31 feb *", "0 6 31 4,6,9,11 *"])
def test_a_line_that_never_fires_is_refused(line: str) -> None:
    assert refuse_cron(line) == "it never fires"


@each(
    ("line", "reason"),
    [
        ("", "5 fields"),
        ("0 6 * *", "has 4"),
        ("0 0 6 * * *", "has 6"),
        ("@daily", "5 fields"),
        ("60 * * * *", "60"),
        ("0 24 * * *", "24 * * *'; minute is 0-59, hour 0-23, day 1-31"),
        ("0 0 0 * *", "0"),
        ("0 0 32 * *", "32"),
        ("0 0 * 13 *", "13"),
        ("0 0 * nope *", "nope"),
        ("a * * * *", "a"),
        ("*/0 * * * *", "minute in '*/0 * * * *'"),
        ("5-1 * * * *", "bad minute"),
        ("*/90 * * * *", "step '90'"),
        ("0 */25 * * *", "for intervals there is every"),
        ("0 6 * * 8", "weekday '8'"),
        ("0 6 * * funday", "weekday 'funday'"),
        ("0 6 * * 1-", "weekday ''"),
        ("0 6 * * -1", "weekday ''"),
        ("0 6 * * 1,,2", "weekday ''"),
        ("0 6 * * ٣", "weekday"),
        ("0 6 * * */0", "day-of-week"),
        ("0 6 * * 1/x", "step 'x'"),
        ("0 6 * * 1/", "step ''"),
    ],
)
def test_a_bad_line_is_refused_with_the_reason(line: str, reason: str) -> None:
    assert reason in refuse_cron(line)


@given(st.text(alphabet="0123456789*/-, abcmonfri@#?L", max_size=30))
def test_no_text_is_worse_than_refused(line: str) -> None:
    assert isinstance(refuse_cron(line), str)


def test_a_good_line_has_no_reason_against_it() -> None:
    assert refuse_cron("0 6 * * 1-5") == ""


# -- zones and summer time ---------------------------------------------------------------------------------------


def test_a_line_is_read_in_the_zone_that_is_set() -> None:
    [at] = fires("0 6 * * *", 1, timezone="Europe/Berlin")
    assert at.astimezone(UTC).hour == 5


@pytest.mark.parametrize(
    ("line", "start", "times"),
    [
        # Clocks go from 02:00 to 03:00, and from 03:00 back to 02:00.
        ("30 2 * * *", "2026-03-28T12:00", "03-29T03:00+02:00 03-30T02:30+02:00"),
        ("0,30 2 * * *", "2026-03-28T12:00", "03-29T03:00+02:00 03-30T02:00+02:00"),
        ("0 3 * * *", "2026-03-28T12:00", "03-29T03:00+02:00 03-30T03:00+02:00"),
        ("0 */2 * * *", "2026-03-28T22:30", "03-29T00:00+01:00 03-29T04:00+02:00"),
        ("*/30 * * * *", "2026-03-29T01:20", "03-29T01:30+01:00 03-29T03:00+02:00 03-29T03:30+02:00"),
        ("30 2 * * *", "2026-10-24T12:00", "10-25T02:30+02:00 10-26T02:30+01:00"),
        ("30 2 * * *", "2026-10-25T02:10+01:00", "10-26T02:30+01:00"),
        ("0 3 * * *", "2026-10-24T12:00", "10-25T03:00+01:00 10-26T03:00+01:00"),
        ("30 * * * *", "2026-10-25T01:40", "10-25T02:30+02:00 10-25T02:30+01:00 10-25T03:30+01:00"),
    ],
)
def test_summer_time_begins_and_ends_as_for_cron(line: str, start: str, times: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    begin = datetime.fromisoformat(start)
    found = fires(line, len(times.split()), begin if begin.tzinfo else begin.replace(tzinfo=zone), zone.key)
    assert [at.isoformat(timespec="minutes").removeprefix("2026-") for at in found] == times.split()


@each("minute", ["30 2", "0 0", "30 0", "59 23"])
@each("zone", ["Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Africa/Cairo", "UTC"])
def test_a_daily_job_runs_once_a_day_also_when_the_clock_changes(zone: str, minute: str) -> None:
    days = [at.date() for at in fires(f"{minute} * * *", 400, timezone=zone)]
    assert days == [days[0] + n * DAY for n in range(400)]


@pytest.mark.parametrize("eve", [datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 10, 24, 23, tzinfo=UTC)])
@pytest.mark.parametrize("step", [20, 60])
def test_a_line_with_an_open_hour_goes_on_when_the_clock_changes(eve: datetime, step: int) -> None:
    line = "0 * * * *" if step == 60 else f"*/{step} * * * *"
    found = [at.astimezone(UTC) for at in fires(line, 20, eve, "Europe/Berlin")]
    assert found == [eve + n * timedelta(minutes=step) for n in range(20)]


@pytest.mark.parametrize("zone", ["CET-1CEST,M3.5.0,M10.5.0/3", ":", ":/etc/passwd", "/etc", "../etc", "Nowhere/Land"])
def test_a_host_whose_zone_has_no_name_is_told_so(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setattr("tzlocal.unix._cache_tz", None)  # what another test has asked for
    with pytest.raises(ConfigError, match=r"TZ: write a zone's name, .* or set schedule\.timezone"):
        Schedule(print, Metrics())
    Schedule(print, Metrics(), "Europe/Berlin")


# -- jobs --------------------------------------------------------------------------------------------------------


class Bench:
    """A schedule that runs, and what it submits."""

    def __init__(self, jitter: float = 0.0) -> None:
        self.metrics = Metrics()
        self.submitted: stdlib_queue.SimpleQueue[str] = stdlib_queue.SimpleQueue()
        self.schedule = Schedule(self.submitted.put, self.metrics, "UTC", jitter)

    def next_run(self, name: str) -> datetime:
        at = self.schedule._scheduler.get_job(name).next_run_time
        assert isinstance(at, datetime)
        return at

    def is_due(self, name: str, late: timedelta) -> None:
        """The job was to run some time ago, and nobody ran it."""
        self.schedule._scheduler.get_job(name).modify(next_run_time=datetime.now(UTC) - late)

    def value(self, name: str, job: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"dockwarden_job_{name}", {"policy": job})


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.schedule.start()
    yield bench
    bench.schedule.stop()


def test_a_job_that_is_due_submits_its_name(bench: Bench) -> None:
    bench.schedule.set_jobs({"nightly": TriggerSpec(schedule="0 6 * * *"), "hourly": HOURLY})
    bench.is_due("nightly", timedelta())
    assert bench.submitted.get(timeout=PATIENCE) == "nightly"
    bench.is_due("hourly", timedelta())
    assert bench.submitted.get(timeout=PATIENCE) == "hourly"


def test_a_job_that_was_missed_many_times_runs_late_but_once(bench: Bench) -> None:
    bench.schedule.set_jobs({"hourly": HOURLY, "last": HOURLY})
    bench.is_due("hourly", timedelta(days=3, minutes=30))
    assert bench.submitted.get(timeout=PATIENCE) == "hourly"
    assert bench.next_run("hourly") > datetime.now(UTC)
    bench.is_due("last", timedelta())
    assert bench.submitted.get(timeout=PATIENCE) == "last", "it ran more than once"


@pytest.mark.parametrize("jitter", [0.0, 0.5])
@pytest.mark.parametrize(
    ("spec", "most"),
    [
        (TriggerSpec(every_seconds=5.0), 5.0),
        (HOURLY, 3600.0),
        (TriggerSpec(schedule="* * * * *"), 60.0),
        (TriggerSpec(schedule="0 6 * * *", every_seconds=60.0), 60.0),
    ],
)
def test_what_was_missed_since_1970_is_one_run_and_the_next_is_in_time(
    spec: TriggerSpec, most: float, jitter: float
) -> None:
    trigger = Schedule(print, Metrics(), "Europe/Berlin", jitter)._trigger(spec, True)
    first = datetime(1970, 1, 1, 0, 0, 30, tzinfo=UTC)
    for now in (first, first + timedelta(seconds=2), START, START + 150 * DAY):
        following = trigger.get_next_fire_time(first, now)
        assert following is not None
        assert 0 < (following - now).total_seconds() <= most * (1 + jitter)
        if not spec.schedule and not jitter:
            assert (following - first).total_seconds() % most == 0, "its phase stays"


def test_a_run_that_finds_the_last_one_under_way_counts_as_missed(bench: Bench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_name: str) -> None:
        begun.set()
        go_on.wait(PATIENCE)

    bench.schedule._submit = slow
    bench.schedule.set_jobs({"hourly": HOURLY})
    bench.is_due("hourly", timedelta())
    assert begun.wait(PATIENCE)
    bench.is_due("hourly", timedelta())
    until(lambda: bench.value("missed_total", "hourly") == 1, "the missed run")
    go_on.set()


def test_a_job_that_did_not_change_keeps_its_phase(bench: Bench) -> None:
    other = TriggerSpec(every_seconds=7200)
    bench.schedule.set_jobs({"kept": HOURLY, "changed": HOURLY, "gone": HOURLY})
    phase, before = bench.next_run("kept"), bench.next_run("changed")
    bench.schedule.set_jobs({"kept": HOURLY, "changed": other, "new": HOURLY})
    assert bench.next_run("kept") == phase
    assert bench.next_run("changed") > before + timedelta(minutes=30)
    assert {job.id for job in bench.schedule._scheduler.get_jobs()} == {"kept", "changed", "new"}


def test_a_job_that_is_gone_is_forgotten_and_may_come_back(bench: Bench) -> None:
    bench.schedule.set_jobs({"gone": HOURLY})
    assert bench.value("next_run_timestamp_seconds", "gone") is not None
    bench.schedule.set_jobs({})
    for name in ("next_run_timestamp_seconds", "early_timestamp_seconds", "interval_seconds", "missed_total"):
        assert bench.value(name, "gone") is None
    bench.schedule.set_jobs({"gone": HOURLY})
    assert bench.value("interval_seconds", "gone") == 3600.0


def test_the_next_run_and_the_interval_are_shown(bench: Bench) -> None:
    bench.schedule.set_jobs({"hourly": HOURLY, "daily": TriggerSpec(schedule="0 6 * * *")})
    assert bench.value("next_run_timestamp_seconds", "hourly") == bench.next_run("hourly").timestamp()
    assert bench.value("early_timestamp_seconds", "hourly") == bench.next_run("hourly").timestamp() - 7200
    assert bench.value("interval_seconds", "hourly") == 3600.0
    assert bench.value("interval_seconds", "daily") == 86400.0
    assert bench.value("missed_total", "daily") == 0


def test_jobs_that_were_set_before_the_start_have_a_next_run_after_it() -> None:
    early = Bench()
    early.schedule.set_jobs({"hourly": HOURLY})
    early.schedule.start()
    assert early.value("next_run_timestamp_seconds", "hourly") == early.next_run("hourly").timestamp()
    early.schedule.stop()


def test_a_cron_line_is_never_jittered_and_an_interval_only_a_little() -> None:
    jittery = Bench(jitter=0.5)
    jittery.schedule.set_jobs({"daily": TriggerSpec(schedule="0 6 * * *"), "hourly": HOURLY})
    jittery.schedule.start()
    at = jittery.next_run("daily")
    assert (at.hour, at.minute, at.second, at.microsecond) == (6, 0, 0, 0)
    late = jittery.next_run("hourly") - datetime.now(UTC) - timedelta(hours=1)
    assert abs(late) <= timedelta(minutes=6)
    jittery.schedule.stop()


@pytest.mark.parametrize("line", ["* * * * *", "0 4 * * *", "0,1 4 * * *", "58 23 1,15 * mon"])
def test_a_job_that_asks_others_runs_once_for_each_time_of_its_line_and_a_little_later(line: str) -> None:
    exact = Cron(line)
    trigger = Schedule(print, Metrics(), "UTC", 0.25)._trigger(TriggerSpec(schedule=line), True)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    at, later = exact.first(now), trigger.get_next_fire_time(None, now)
    moves = set()
    for _ in range(50):
        assert at is not None
        assert later is not None
        following = exact.first(at + timedelta(seconds=1))
        assert following is not None
        assert timedelta(0) <= later - at <= min(timedelta(minutes=5), (following - at) / 4)
        # What is asked again before it is time says the same, also between the line's time and the run.
        assert trigger.get_next_fire_time(None, later) == later
        moves.add(later - at)
        at, later = following, trigger.get_next_fire_time(later, later)
    assert len(moves) > 40


def test_a_job_that_begins_to_ask_others_is_spread(bench: Bench) -> None:
    daily = {"daily": TriggerSpec(schedule="0 6 * * *")}
    jittery = Bench(jitter=0.5)
    jittery.schedule.set_jobs(daily)
    jittery.schedule.start()
    exact = jittery.next_run("daily")
    jittery.schedule.set_jobs(daily, spread={"daily"})
    assert jittery.next_run("daily") > exact
    assert jittery.value("interval_seconds", "daily") == 86400.0
    hosts = {f"host{number}": HOURLY for number in range(40)}  # each job chooses for itself, as those of hosts do
    jittery.schedule.set_jobs(hosts, spread=hosts)
    first, *_, last = sorted(each - datetime.now(UTC).timestamp() for each in jittery.schedule.next_runs().values())
    assert first < 1800 < last < 3600 + 300
    jittery.schedule.stop()
    bench.schedule.set_jobs(daily, spread={"daily"})  # where no jitter is set, nothing is spread
    assert bench.next_run("daily").microsecond == 0


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        (HOURLY, 3600.0),
        (TriggerSpec(schedule="0 6 * * *"), 86400.0),
        (TriggerSpec(schedule="0 6 * * *", every_seconds=60), 60.0),
        (TriggerSpec(events=frozenset({"image.pull"})), 0.0),
    ],
)
def test_an_interval_is_the_time_between_two_runs(spec: TriggerSpec, seconds: float) -> None:
    assert interval_seconds(spec) == seconds


# -- the wall clock ------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clockwork:
    clock = Clockwork()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.parametrize("step_seconds", [3600.0, -3600.0])
def test_a_wall_clock_that_was_set_makes_all_next_runs_anew(
    clock: Clockwork, bench: Bench, step_seconds: float
) -> None:
    bench.schedule.set_jobs({"hourly": HOURLY, "daily": TriggerSpec(schedule="0 6 * * *")})
    far = datetime.now(UTC) + timedelta(days=365)  # as computed by a clock that was a year ahead
    for name in ("hourly", "daily"):
        bench.schedule._scheduler.get_job(name).modify(next_run_time=far)
    clock.set_back(step_seconds)
    bench.schedule.check_clock()
    for name, within in (("hourly", timedelta(hours=2)), ("daily", timedelta(days=2))):
        assert bench.next_run(name) < datetime.now(UTC) + within
        assert bench.value("next_run_timestamp_seconds", name) == bench.next_run(name).timestamp()


class Steps:
    """The wall clock as the schedule and its library see it: it goes on, and is set."""

    CLOCK_BOOTTIME = CLOCK_BOOTTIME

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.at, self.monotonic_now, self.slept = START, 0.0, 0.0
        steps = self

        class Stepped(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return steps.at.astimezone(tz)

        for user in (module, interval, base):
            patch.setattr(user, "datetime", Stepped)
        patch.setattr(module, "time", self)

    def time(self) -> float:
        return self.at.timestamp()

    def monotonic(self) -> float:
        return self.monotonic_now

    def pass_(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.monotonic_now += seconds

    def set(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def clock_gettime(self, _clock: int) -> float:
        return self.monotonic_now + self.slept

    def sleep_through(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.slept += seconds


_SEVERAL_STEPS = st.lists(
    st.tuples(st.floats(0, 300), st.one_of(st.floats(-4e7, -3), st.floats(3, 4e7))), min_size=1, max_size=8
)


@given(_SEVERAL_STEPS, st.sampled_from([60.0, 3600.0, 86400.0]), st.sampled_from(["", "0 6 * * *"]))
@settings(deadline=None)
def test_however_the_clock_is_set_no_interval_stands_still(
    steps: list[tuple[float, float]], every: float, line: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock, bench = Steps(patch), Bench()
        bench.schedule.start()
        bench.schedule._scheduler.pause()  # what is due stays so, to be looked at
        bench.schedule.set_jobs({"p": TriggerSpec(every_seconds=every, schedule=line)})
        left = (bench.next_run("p") - clock.at).total_seconds()
        for passed, step in steps:
            clock.pass_(min(passed, left / 2))
            left -= min(passed, left / 2)
            clock.set(step)
            bench.schedule.check_clock()
            found = (bench.next_run("p") - clock.at).total_seconds()
            assert 0 < found <= every + 1
            if not line and step < 0:
                assert abs(found - max(left, 1.0)) < 0.01, "what was left is left"
            if not line and step > left:
                assert found <= 1.01, "what is over is due"
            left = found
        bench.schedule.stop()


@pytest.mark.parametrize(
    "spec", [TriggerSpec(schedule="0 6 * * *"), HOURLY, TriggerSpec(schedule="0 6 * * *", every_seconds=36000)]
)
def test_a_run_that_the_host_slept_through_comes_when_it_wakes(
    spec: TriggerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, bench = Steps(monkeypatch), Bench()
    bench.schedule.start()
    bench.schedule.set_jobs({"missed": spec, "to come": TriggerSpec(schedule="0 18 * * *")})
    clock.sleep_through(12 * 3600)
    with capture_logs() as lines:
        bench.schedule.check_clock()
        assert bench.submitted.get(timeout=PATIENCE) == "missed"
    assert lines == [], "nobody set the clock"
    until(lambda: bench.next_run("missed") > clock.at, "the next run")
    bench.schedule._scheduler.get_job("to come").modify(next_run_time=clock.at)
    assert bench.submitted.get(timeout=PATIENCE) == "to come", "what was missed ran more than once"
    bench.schedule.stop()


def test_a_step_is_corrected_once(clock: Clockwork, bench: Bench) -> None:
    bench.schedule.set_jobs({"hourly": HOURLY})
    clock.set_back(3600)
    with capture_logs() as lines:
        for _ in range(3):
            bench.schedule.check_clock()
    assert [(line["event"], line["seconds"]) for line in lines] == [("schedule.clock_stepped", -3600.0)]


def test_time_that_passes_and_small_corrections_change_no_phase(clock: Clockwork, bench: Bench) -> None:
    bench.schedule.set_jobs({"hourly": HOURLY})
    phase = bench.next_run("hourly")
    for _ in range(20):
        clock.pass_(5)
        clock.set_back(0.5)
        bench.schedule.check_clock()
    assert bench.next_run("hourly") == phase


def test_a_look_at_the_clock_is_a_sign_of_life(clock: Clockwork, bench: Bench) -> None:
    clock.pass_(42)
    bench.schedule.check_clock()
    assert bench.metrics.health.beats["schedule"] == 42


def test_a_job_that_is_long_overdue_is_none(bench: Bench) -> None:
    bench.schedule.set_jobs({"hourly": HOURLY})
    bench.schedule.check_clock()
    before = bench.metrics.health.beats["schedule"]
    bench.schedule._scheduler.pause()  # its thread fires nothing any more
    bench.is_due("hourly", timedelta(minutes=5))
    bench.schedule.check_clock()
    assert bench.metrics.health.beats["schedule"] == before


@pytest.mark.parametrize("line", ["*/5 * * * *", "30 2 * * *", "0 * * * *", "0 3 * * 0", "15,45 1-3 * * *"])
@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
def test_the_next_time_is_to_come_also_in_the_second_of_two_equal_hours(line: str, day: datetime) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    exact = module._Line(Cron(line, berlin))
    for minutes in range(-120, 240, 7):
        now = (day + timedelta(minutes=minutes)).astimezone(berlin)
        at = exact.get_next_fire_time(now - timedelta(days=1), now)
        assert at is not None
        assert at.astimezone(UTC) > now.astimezone(UTC)

"""Cron lines: triggers that fire when crontab(5) would.

Input: a line. Output: a trigger of APScheduler, or why the line cannot be used. Out of bounds: running anything, so
that whoever only checks policies need not wait for what that takes. Closed here: the library's own weekday numbers, its
two day fields that are both to hold, and its days that are left out after the clock was put forward.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = 5
_SHORTHANDS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0"}
_SHORTHANDS |= {"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}
_SHORTHANDS |= {name[1:]: line for name, line in _SHORTHANDS.items()}
_MOST_CHANGE = timedelta(hours=3)  # by which clocks are put forward or back


class _OnTheWall(BaseTrigger):  # type: ignore[misc] # the library has no types
    """The times of a line as a clock on the wall shows them, in UTC.

    Where the clock is put forward, what was to be at an hour that is left out comes as much later. What was to be at an
    hour that comes twice is at the first. A line that leaves hour or minute open goes by the clock as it is then.
    """

    def __init__(self, line: BaseTrigger, zone: tzinfo, *, is_open: bool) -> None:
        """``line`` takes what the clock shows for UTC."""
        self._line = line
        self._zone = zone
        self._is_open = is_open

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        start = now.astimezone(UTC)
        if previous is not None and previous <= start:
            start = previous.astimezone(UTC) + timedelta(microseconds=1)
        shown = self._line.get_next_fire_time(None, self._shown(start))
        if shown is None:
            return None
        at: datetime = shown.replace(tzinfo=self._zone).astimezone(UTC)
        around = (start - _MOST_CHANGE, at - _MOST_CHANGE, at + _MOST_CHANGE)
        if len({each.astimezone(self._zone).utcoffset() for each in around}) == 1:
            return at
        found: list[datetime] = []
        each = self._line.get_next_fire_time(None, self._shown(start) - _MOST_CHANGE)
        while each is not None and each <= shown + _MOST_CHANGE:
            found += [at for at in self._times(each) if at >= start]
            each = self._line.get_next_fire_time(each, each)
        return min(found, default=None) or self.get_next_fire_time(None, at + _MOST_CHANGE)

    def _shown(self, at: datetime) -> datetime:
        return at.astimezone(self._zone).replace(tzinfo=UTC, fold=0)

    def _times(self, shown: datetime) -> Iterator[datetime]:
        """When the clock shows a time: once, twice, or never."""
        both = [shown.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
        if not self._is_open:
            yield both[0]
        else:
            yield from {at for at in both if self._shown(at) == shown}


def parse_cron(line: str, timezone: str | None = None) -> BaseTrigger:
    """A trigger that fires when crontab(5) would: 0 and 7 are Sunday, and two restricted day fields are ORed.

    Raises ValueError: the line is not a five-field cron line, or it never fires.
    """
    fields = line.split()
    if len(fields) != _FIELDS:
        raise ValueError(f"a cron line has {_FIELDS} fields, this one has {len(fields)}{_cron_hint(line, fields)}")
    minute, hour, day, month, weekday = fields
    days = _weekdays(weekday)
    fixed = {"minute": minute, "hour": hour, "month": month, "timezone": UTC}
    if "*" in day or "*" in weekday:
        found = _those_that_fire(CronTrigger(day=day, day_of_week=days, **fixed))
    else:
        found = _those_that_fire(CronTrigger(day=day, **fixed), CronTrigger(day_of_week=days, **fixed))
    return _OnTheWall(found, CronTrigger(timezone=timezone).timezone, is_open="*" in minute + hour)


def _cron_hint(line: str, fields: Sequence[str]) -> str:
    if line in _SHORTHANDS:
        return f'; write "{_SHORTHANDS[line]}"'
    if len(fields) == _FIELDS + 1:
        return f'; there are no seconds, write "{" ".join(fields[1:])}"'
    return '; minute, hour, day, month, weekday, such as "0 3 * * *"; for intervals there is every'


def _those_that_fire(*triggers: BaseTrigger) -> BaseTrigger:
    """All of them as one, but for those that never fire: to find that out anew each time is dear."""
    now = datetime.now(UTC)
    firing = [trigger for trigger in triggers if trigger.get_next_fire_time(None, now) is not None]
    if not firing:
        raise ValueError("it never fires")
    return OrTrigger(firing) if len(firing) > 1 else firing[0]


def refuse_cron(line: str) -> str:
    """Why a cron line cannot be used; empty if it can."""
    try:
        parse_cron(line)
    except ValueError as error:
        return str(error)
    return ""


def _weekdays(field: str) -> str:
    if field == "*":
        return field
    numbers: set[int] = set()
    for part in field.lower().split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if slash and not (step.isascii() and step.isdigit() and int(step)):
            raise ValueError(f"bad step {step!r} in the weekday field")
        start = 0 if first == "*" else _weekday(first)
        end = _weekday(last) if dash else (6 if first == "*" or slash else start)
        if end < start:
            end += 7  # fri-mon
        numbers.update(range(start, end + 1, int(step) if slash else 1))
    return ",".join(_WEEKDAYS[number] for number in sorted({number % 7 for number in numbers}))


def _weekday(text: str) -> int:
    if text in _WEEKDAYS:
        return _WEEKDAYS.index(text)
    if text.isascii() and text.isdigit() and int(text) <= len(_WEEKDAYS):
        return int(text)
    raise ValueError(f"bad weekday {text!r}: use 0 to 7 or sun to sat")

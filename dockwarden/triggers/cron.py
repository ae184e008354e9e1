"""Cron lines: triggers that fire when crontab(5) would.

Input: a line. Output: a trigger of APScheduler, or why the line cannot be used. Out of bounds: running anything, so
that whoever only checks policies need not wait for what that takes. Closed here: the library's own weekday numbers, and
its two day fields that are both to hold.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = 5
_SHORTHANDS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0"}
_SHORTHANDS |= {"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}
_SHORTHANDS |= {name[1:]: line for name, line in _SHORTHANDS.items()}


def parse_cron(line: str, timezone: str | None = None) -> BaseTrigger:
    """A trigger that fires when crontab(5) would: 0 and 7 are Sunday, and two restricted day fields are ORed.

    Raises ValueError: the line is not a five-field cron line, or it never fires.
    """
    fields = line.split()
    if len(fields) != _FIELDS:
        raise ValueError(f"a cron line has {_FIELDS} fields, this one has {len(fields)}{_cron_hint(line, fields)}")
    minute, hour, day, month, weekday = fields
    days = _weekdays(weekday)
    fixed = {"minute": minute, "hour": hour, "month": month, "timezone": timezone}
    if "*" in day or "*" in weekday:
        return _those_that_fire(CronTrigger(day=day, day_of_week=days, **fixed))
    return _those_that_fire(CronTrigger(day=day, **fixed), CronTrigger(day_of_week=days, **fixed))


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

"""Cron lines: the times that crontab(5) gives them, also on days of 23 and 25 hours.

Input: a line. Output: its times, or why it cannot be used. Out of bounds: running anything. Closed here: the library
takes seconds, and no range of weekdays that goes over Saturday.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = 5
_RANGES = "minute is 0-59, hour 0-23, day 1-31, month 1-12, weekday 0-7"
_HIGHEST = (59, 23, 31, 12, 7)
_MOMENT = timedelta(microseconds=1)
_SHORTHANDS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0"}
_SHORTHANDS |= {"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}
_SHORTHANDS |= {name[1:]: line for name, line in _SHORTHANDS.items()}


class Cron:
    """The times of a line: 0 and 7 are Sunday, and two restricted day fields are ORed.

    Where the clock is put forward, what was to be at a time that is left out comes right after. Where it is put back,
    what was to be at a time that comes twice is at the first, unless the line has a star for minute or hour.
    """

    def __init__(self, line: str, zone: tzinfo = UTC) -> None:
        """Raises ValueError: the line is not a five-field cron line, or it never fires."""
        fields = line.split()
        if len(fields) != _FIELDS:
            raise ValueError(f"a cron line has {_FIELDS} fields, this one has {len(fields)}{_hint(line, fields)}")
        *others, weekday = [_step_by_step(*each) for each in zip(fields, _HIGHEST, strict=True)]
        self._line = " ".join([*others, weekday if "*" in weekday else _weekdays(weekday)])
        self._zone = zone
        now = datetime.now(UTC)
        try:
            CronSim(" ".join([*others, "mon"]), now)  # so that no day field is held against the month
            CronSim(f"0 0 * * {self._line.split()[-1]}", now)
        except (CronSimError, ValueError) as error:
            raise ValueError(f"{error}".lower() + f" in {line!r}; {_RANGES}") from None
        try:
            is_ever = self.first(now) is not None
        except CronSimError:
            is_ever = False
        if not is_ever:
            raise ValueError("it never fires")

    def first(self, since: datetime) -> datetime | None:
        """The first time that is not before, in UTC."""
        start = since.astimezone(UTC)
        times = CronSim(self._line, (start - _MOMENT).astimezone(self._zone))
        return next((at for each in times if (at := each.astimezone(UTC)) >= start), None)


def refuse_cron(line: str) -> str:
    """Why a cron line cannot be used; empty if it can."""
    try:
        Cron(line)
    except ValueError as error:
        return str(error)
    return ""


def _hint(line: str, fields: Sequence[str]) -> str:
    if line in _SHORTHANDS:
        return f'; write "{_SHORTHANDS[line]}"'
    if "=" in line.partition(" ")[0]:
        return "; the time zone is `schedule.timezone` of the settings"
    if len(fields) == _FIELDS + 1 and not refuse_cron(f"{fields[0]} * * * *") and not refuse_cron(" ".join(fields[1:])):
        return f'; there are no seconds, write "{" ".join(fields[1:])}"'
    return '; minute, hour, day, month, weekday, such as "0 3 * * *"; for intervals there is every'


def _step_by_step(field: str, highest: int) -> str:
    """The field without steps that lead nowhere: ``5-5/2`` is 5, which the library takes for ``5/2``."""
    for step in re.findall(r"/(\d+)", field, re.ASCII):
        if int(step) > highest:
            raise ValueError(f"bad step {step!r} in {field!r}: the field ends before; for intervals there is every")
    return re.sub(r"\b(\d+)-\1/\d+", r"\1", field)


def _weekdays(field: str) -> str:
    numbers: set[int] = set()
    for part in field.lower().split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if slash and not (step.isascii() and step.isdigit() and int(step)):
            raise ValueError(f"bad step {step!r} in the weekday field")
        start = _weekday(first)
        end = _weekday(last) if dash else (len(_WEEKDAYS) - 1 if slash else start)
        if end < start:
            end += len(_WEEKDAYS)  # fri-mon
        numbers.update(range(start, end + 1, int(step) if slash else 1))
    return ",".join(map(str, sorted({number % len(_WEEKDAYS) for number in numbers})))


def _weekday(text: str) -> int:
    if text in _WEEKDAYS:
        return _WEEKDAYS.index(text)
    if text.isascii() and text.isdigit() and int(text) <= len(_WEEKDAYS):
        return int(text)
    raise ValueError(f"bad weekday {text!r}: use 0 to 7 or sun to sat")

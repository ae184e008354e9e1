"""What many hosts ask of the registries: a day of 1,000 of them, with the schedule's own spread.

In: nothing. Out: rows. Out of bounds: the network; a request takes no time.

    python -m tests.bench.fleet
"""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

from dockwarden.metrics import Metrics
from dockwarden.model import TriggerSpec
from dockwarden.triggers.schedule import Schedule
from tests.bench.report import Row, table

HOSTS = 1_000
_REFERENCES = 200
_DAY_MINUTES = 24 * 60
_EVERY_SECONDS = 6 * 3600


def registry_rows() -> list[Row]:
    """A day of 1,000 hosts that were started within a minute, and ask for 200 references every six hours."""
    begun = datetime.now(UTC)
    runs: list[float] = []
    for _ in range(HOSTS):
        schedule = Schedule(lambda _name: None, Metrics(), "UTC", 0.05)
        trigger = schedule._trigger(TriggerSpec(every_seconds=_EVERY_SECONDS), True)
        at = trigger.get_next_fire_time(None, begun)
        while at is not None and at - begun < timedelta(days=1):
            runs.append((at - begun).total_seconds())
            at = trigger.get_next_fire_time(at, at)
    rows = []
    for minutes in (1, 10, 60):
        found = Counter(int(run // (60 * minutes)) for run in runs)
        mean = len(runs) / (_DAY_MINUTES / minutes)
        what = f"registry, {minutes} min: peak over mean"
        rows.append(Row(measurement="fleet", figure=what, value=max(found.values()) / mean, unit=""))
    by_minute = len(runs) * _REFERENCES / _DAY_MINUTES
    rows.append(Row(measurement="fleet", figure="requests at the registry by minute, mean", value=by_minute, unit=""))
    # A mirror asks once for each reference while it believes its answer, here for five minutes.
    asked = min(by_minute, _REFERENCES / 5)
    saved = 100 * (1 - asked / by_minute)
    rows.append(Row(measurement="fleet", figure="saved by a mirror that believes for 5 min", value=saved, unit="%"))
    return rows


if __name__ == "__main__":
    print(table(registry_rows()))
    sys.exit(0)

"""What an update costs those whom the container serves, and how soon an unhealthy one is restarted.

Without service is the time from the engine's `kill` of the old container to its `start` of the new one, as the engine's
events tell it; beside it stand a bare stop, create and start by the engine's API, in turn. The engine's own stop is no
part of the time to a restart, which ends as that begins.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.daemon import Daemon
from tests.bench.host import RawEngine
from tests.bench.report import Row, percentile
from tests.chaos.updates import update
from tests.e2e.harness import policy, write_policies
from tests.integration.test_undo import Host
from tests.lab import images
from tests.lab.engine import LabEngine
from tests.lab.machine import LabError, say
from tests.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "updates"
_UPDATES, _UPDATES_QUICK = 20, 10
_RESTARTS, _RESTARTS_QUICK = 100, 40
_PATIENCE_SECONDS = 300.0
_HEAL = policy(
    "heal",
    "container",
    "container.health == 'unhealthy'",
    trigger={"events": ["container.health"]},
    mode="enforce",
    limits={"max_objects": 10, "max_percent": 100},
    action={"restart": {"most": "9999 per 1h"}},
)


def measure(*, quick: bool) -> Iterator[Row]:
    """The rows, each store on an engine of its own."""
    for store in ("graph", "containerd"):
        say(f"updates: {store}")
        with LabEngine(store) as lab, tempfile.TemporaryDirectory() as folder:
            with closing(Host(lab, LabRegistry(), Path(folder))) as host:
                ours, bare = zip(*_without_service(host, _UPDATES_QUICK if quick else _UPDATES), strict=True)
            lab.wipe()
            healed = list(_healed(lab, Path(folder), _RESTARTS_QUICK if quick else _RESTARTS))
        ours_ms, bare_ms = percentile(ours, 0.5), percentile(bare, 0.5)
        note = f"{ours_ms:.0f} ms, p99 {percentile(ours, 0.99):.0f}; {bare_ms:.0f} ms"
        figure = "without service / a bare stop, create, start"
        yield Row(measurement=NAME, store=store, figure=figure, value=ours_ms / bare_ms, unit="x", at_most=1.15,
                  note=note)  # fmt: skip
        for share, most in ((0.5, None), (0.99, 300.0)):
            figure = f"unhealthy to its restart p{100 * share:g}"
            yield Row(measurement=NAME, store=store, figure=figure, value=percentile(healed, share), unit="ms",
                      at_most=most)  # fmt: skip


def _without_service(host: Host, rounds: int) -> Iterator[tuple[float, float]]:
    """Milliseconds of an update, and of the bare way."""
    lab, raw = host.lab, RawEngine(str(host.lab.socket))
    for word in ("0", "1"):
        lab.load(host.spec(word, f"bench/app:{word}"))
    for number in range(rounds):
        new = f"bench/app:{(number + 1) % 2}"
        lab.docker("tag", f"bench/app:{number % 2}", "bench/app:now")
        called = f"it-{number}"  # for which nothing is barred
        lab.docker("run", "--detach", f"--name={called}", "--restart=always", "--volume=data:/data", "bench/app:now")
        lab.docker("tag", new, "bench/app:now")
        since = time.time_ns()
        outcome = update(host, called, steady="0s")
        if outcome.reason != "updated":
            raise LabError(f"{outcome.reason}: {outcome.detail}")
        ours = _down_ms(raw, since)
        since = time.time_ns()
        body = {"Image": new, "HostConfig": {"RestartPolicy": {"Name": "always"}, "Binds": ["data:/data"]}}
        raw.ask("POST", f"/containers/{called}/stop")
        raw.ask("POST", f"/containers/create?name=bare-{number}", body=body)
        raw.ask("POST", f"/containers/bare-{number}/start")
        yield ours, _down_ms(raw, since)
        raw.ask("DELETE", f"/containers/bare-{number}?force=true")


def _down_ms(raw: RawEngine, since_ns: int) -> float:
    events = raw.events(since_ns, "container", "kill", "start")
    ended, started = (next(e for e in events if e["Action"] == action) for action in ("kill", "start"))
    return (int(started["timeNano"]) - int(ended["timeNano"])) / 1e6


def _healed(lab: LabEngine, folder: Path, restarts: int) -> Iterator[float]:
    """Milliseconds from each verdict of a health check to the restart; none helps, so there is always a next one."""
    raw = RawEngine(str(lab.socket))
    check = {"Test": ["CMD", "/bin/busybox", "false"], "Interval": 2 * 10**8, "Retries": 1}
    lab.load(replace(images.busybox("bench/sick:1"), healthcheck=check))
    policies = write_policies(folder / "heal.yaml", _HEAL)
    with Daemon(lab, policies=[str(policies)]) as daemon:
        daemon.settle()
        since = time.time_ns()
        lab.docker("run", "--detach", "--name=sick", "bench/sick:1")
        found, until = 0, time.monotonic() + _PATIENCE_SECONDS
        while found < restarts:
            if time.monotonic() > until:
                raise LabError(f"{found} restarts within {_PATIENCE_SECONDS:g} s")
            time.sleep(1)
            events = raw.events(since, "container", "health_status", "kill")
            verdict_ns = 0
            for event in events:
                at_ns = int(event["timeNano"])
                if event["Action"].endswith("unhealthy"):
                    verdict_ns, since = at_ns, at_ns
                elif verdict_ns and event["Action"] == "kill":
                    yield (at_ns - verdict_ns) / 1e6
                    found, verdict_ns, since = found + 1, 0, at_ns + 1

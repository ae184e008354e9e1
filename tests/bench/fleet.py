"""What many hosts cost: a day of their requests at the registries, and their metrics behind one Prometheus.

In: nothing. Out: rows. Out of bounds: the network; a request at a registry takes no time, and all hosts have the
metrics of one.

    python -m tests.bench.fleet [registry] [prometheus]
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from dockwarden.config.settings import ScheduleSettings
from dockwarden.inventory.gather import Gatherer, Pace
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.memory import Memory, ObservationClock
from dockwarden.metrics import Metrics
from dockwarden.model import Kind, Ref, TriggerSpec
from dockwarden.triggers.schedule import Schedule
from tests.bench.report import Row, table
from tests.e2e.harness import Daemon
from tests.e2e.supervised import ROOT
from tests.e2e.test_dashboards import queries
from tests.lab import images
from tests.lab.engine import LabEngine
from tests.lab.images import ImageSpec
from tests.lab.loopback import free_port
from tests.lab.prometheus import Prometheus
from tests.lab.waiting import until

HOSTS = 1_000
_REFERENCES = 200
_DAY_MINUTES = 24 * 60
_EVERY_SECONDS = 6 * 3600
_JITTER = ScheduleSettings().jitter
_NOT_ASKED = cast("Any", None)


def registry_rows() -> list[Row]:
    """A day of 1,000 hosts that were started within a minute, and ask for 200 references every six hours."""
    begun = datetime.now(UTC)
    asked: list[float] = []
    tags = [Ref(Kind.TAG, f"registry.example/app:{number}") for number in range(_REFERENCES)]
    inventory = Inventory(Memory(ObservationClock(time.monotonic)))
    for _ in range(HOSTS):
        schedule = Schedule(lambda _name: None, Metrics(), "UTC", _JITTER)
        trigger = schedule._trigger(TriggerSpec(every_seconds=_EVERY_SECONDS), True)
        gatherer = Gatherer(inventory, _NOT_ASKED, _NOT_ASKED, lambda _root: None, lambda: None, _JITTER)
        turns = [gatherer.turn_seconds(Pace(every_seconds=_EVERY_SECONDS), tag) for tag in tags]
        at = trigger.get_next_fire_time(None, begun)
        while at is not None and at - begun < timedelta(days=1):
            asked += [(at - begun).total_seconds() + turn for turn in turns]
            at = trigger.get_next_fire_time(at, at)
    by_minute = len(asked) / _DAY_MINUTES
    rows = []
    for minutes in (1, 10, 60):
        # What is asked after midnight stands for what the day before asked.
        peak = max(Counter(int(at / 60 % _DAY_MINUTES / minutes) for at in asked).values()) / minutes
        what = f"registry, {minutes} min: peak over mean"
        rows.append(Row(measurement="fleet", figure=what, value=peak / by_minute, unit="", at_most=1.5))
    rows.append(Row(measurement="fleet", figure="requests at the registry by minute, mean", value=by_minute, unit=""))
    # A mirror asks once for each reference while it believes its answer, here for five minutes.
    saved = 100 * (1 - min(by_minute, _REFERENCES / 5) / by_minute)
    rows.append(Row(measurement="fleet", figure="saved by a mirror that believes for 5 min", value=saved, unit="%"))
    return rows


class _Host(BaseHTTPRequestHandler):
    """Every host: each has a path of its own."""

    exposition = b""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(self.exposition)))
        self.end_headers()
        self.wfile.write(self.exposition)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Hosts(ThreadingHTTPServer):
    request_queue_size = 1024  # all may come at once

    def handle_error(self, *_: object) -> None:
        """Say nothing of a connection that Prometheus gave up."""


def prometheus_rows(seconds: float = 60.0) -> list[Row]:
    """The metrics of one real daemon, as of 1,000 hosts; each query of the dashboard fleet, and the rules."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        engine = stack.enter_context(LabEngine("graph"))
        engine.load(images.busybox("shop/app:1", "shop/app:latest"), ImageSpec(labels={"nameless": "yes"}))
        for number in range(5):
            engine.docker("run", "--detach", f"--name=app{number}", "shop/app:latest")
        web = {"listen": "127.0.0.1:0", "running_image_info": 100}
        daemon = stack.enter_context(Daemon(engine.host, folder / "daemon", {"web": web})).ready()
        daemon.until(lambda: daemon.total("dockwarden_findings"), "findings")
        _Host.exposition = daemon.get("/metrics").text.encode()
        server = stack.enter_context(_Hosts(("127.0.0.1", free_port()), _Host))
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"127.0.0.1:{server.server_port}"
        hosts = [{"targets": [where], "labels": {"instance": f"host-{n}:9877", "__metrics_path__": f"/{n}"}}
                 for n in range(HOSTS)]  # fmt: skip
        rules = [ROOT / "deploy/prometheus" / file for file in ("rules.yml", "alerts.yml")]
        prometheus = stack.enter_context(
            Prometheus(folder / "prometheus", where, rules, static_configs=hosts, interval="15s")
        )
        until(lambda: [value for _, value in prometheus.query("sum(up)")] == [HOSTS], "all hosts", timeout=120)
        began, used = time.monotonic(), prometheus.cpu_seconds
        time.sleep(seconds)  # this is what is measured
        cpu = (prometheus.cpu_seconds - used) / (time.monotonic() - began)
        queried = sorted((_timed(prometheus, expr), place) for place, expr in queries("dockwarden-fleet.json").items())
        rules_of = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        evaluated = sorted((float(rule["evaluationTime"]), rule["name"]) for rule in rules_of)
        series = _Host.exposition.count(b"\n") - _Host.exposition.count(b"\n#")
        row = partial(Row, measurement="fleet")
        return [
            row(figure="series of a host", value=series, unit=""),
            row(figure="Prometheus: memory for a host", value=prometheus.resident_bytes / HOSTS / 2**20, unit="MiB"),
            row(figure="Prometheus: CPU for 1,000 hosts at 15 s", value=100 * cpu, unit="% of a core"),
            row(
                figure="slowest query of the fleet's panels",
                value=queried[-1][0],
                unit="s",
                at_most=1.0,
                note=", ".join(f"{place} {took:.2f}" for took, place in queried[:-4:-1]),
            ),
            row(
                figure="all rules once",
                value=sum(took for took, _ in evaluated),
                unit="s",
                at_most=1.0,
                note=", ".join(f"{rule} {took:.2f}" for took, rule in evaluated[:-6:-1]),
            ),
        ]


def _timed(prometheus: Prometheus, expression: str) -> float:
    began = time.monotonic()
    prometheus.query(expression)
    return time.monotonic() - began


if __name__ == "__main__":
    kinds = {"registry": registry_rows, "prometheus": prometheus_rows}
    print(table([row for kind in sys.argv[1:] or kinds for row in kinds[kind]()]))

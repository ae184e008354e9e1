"""The whole of it, as shipped: the unit on a booted host with its own engine, and all that operators look at.

A pull of `:latest`, a tag that moves at the registry and schedules that fire are found in the journal, in Prometheus,
as an alert in Alertmanager, as a notification at a receiver, on the status page, and in the queries of the dashboards.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import urllib3

from tests.e2e.harness import policy
from tests.e2e.supervised import INSTALL, ROOT, Unit
from tests.e2e.test_dashboards import queries
from tests.e2e.test_notify import Receiver
from tests.lab import machine
from tests.lab.browser import Browser
from tests.lab.host import LabHost
from tests.lab.images import ImageSpec, rootfs
from tests.lab.loopback import free_port
from tests.lab.prometheus import Prometheus
from tests.lab.registry import LabRegistry
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.slow(90)]
SHIPPED = ROOT / "deploy/prometheus"
LATEST = policy("latest", "tag", "tag.name == 'latest'", trigger={"events": ["image.tag"]}, severity="high")
MOVED = policy("moved", "tag", "registry.state == 'drift'", trigger={"every": "5s"}, severity="critical")
TOO_MUCH = policy(
    "too-much", "image", "image.dangling", action="remove", mode="enforce", trigger={"every": "5s"},
    limits={"max_objects": 1, "max_percent": 100},
)  # fmt: skip


@contextmanager
def alertmanager(folder: Path) -> Iterator[str]:
    """Debian's Alertmanager with the shipped routes, which must take them; where it listens."""
    machine.ensure(machine.METRICS, "a private Alertmanager")
    address = f"127.0.0.1:{free_port()}"
    with (folder / "alertmanager.log").open("wb") as log, subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "prometheus-alertmanager", f"--config.file={SHIPPED}/alertmanager.yml",
         f"--storage.path={folder}/alertmanager", f"--web.listen-address={address}", "--cluster.listen-address="],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
    ) as process:  # fmt: skip
        try:
            yield address
        finally:
            process.kill()


def alerts(address: str) -> list[dict[str, str]]:
    """The labels of what fires, as Alertmanager says; nothing while it does not answer yet."""
    try:
        answer = urllib3.request("GET", f"http://{address}/api/v2/alerts", retries=False)
    except urllib3.exceptions.HTTPError:
        return []
    return [row["labels"] for row in json.loads(answer.data) if row["status"]["state"] == "active"]


def test_what_happens_on_a_host_is_seen_everywhere(shipped: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        registry = stack.enter_context(LabRegistry())
        receiver = Receiver()
        stack.callback(receiver.stop)
        host = stack.enter_context(LabHost(see=[ROOT, shipped]))
        for port in (registry.port, int(receiver.address.rpartition(":")[2])):
            host.forward(port)
        name = f"{registry.host}/e2e/shop"
        registry.push("e2e/shop", "1")
        host.run("docker", "pull", "--quiet", f"{name}:1")
        registry.push("e2e/shop", "1", ImageSpec(layers=(rootfs({"n": "moved"}),)))  # before it is first asked
        unit = install(host, str(shipped), registry, receiver)
        target = f"127.0.0.1:{host.reach(9877)}"
        watcher = stack.enter_context(alertmanager(tmp_path))
        rules = [SHIPPED / "rules.yml", SHIPPED / "alerts.yml"]
        prometheus = stack.enter_context(Prometheus(tmp_path / "prometheus", target, rules, watcher))
        prometheus.until("up", 1)

        registry.push("e2e/shop", "latest")
        host.run("docker", "pull", "--quiet", f"{name}:latest")
        host.load(*(ImageSpec(layers=(rootfs({"n": n}),), labels={"n": n}) for n in ("1", "2", "3")))

        # the journal
        assert unit.heard("finding.opened", policy="latest")["name"] == f"{name}:latest"
        assert unit.heard("finding.opened", policy="moved")["name"] == f"{name}:1"
        unit.heard("run.completed", job="moved", cause="schedule")
        unit.heard("action.refused", policy="too-much", reason="limits")
        assert unit.journal("--priority=warning")

        # Prometheus, and Alertmanager
        prometheus.until('dockwarden_findings{policy="latest",severity="high"}', 1)
        prometheus.until('dockwarden_findings{policy="moved",severity="critical"}', 1)
        prometheus.until('time() - dockwarden_job_last_success_timestamp_seconds{policy="moved"} < bool 30', 1)
        fired = {"alertname": "DockwardenLimitReached", "policy": "too-much"}
        until(lambda: any(fired.items() <= labels.items() for labels in alerts(watcher)), f"the alert {fired}")

        # the notification
        until(lambda: all(part in said(receiver) for part in (f"{name}:latest", f"{name}:1")), "a notification")

        # the status page
        with Browser() as browser:
            browser.look(f"http://{target}/")
            browser.take_picture(tmp_path / "status.png")
            text = browser.see("document.body.innerText")
        assert f"{name}:latest" in text
        assert f"{name}:1" in text

        # the dashboards: what is about findings, schedules and the engine
        asked = {
            place: expression
            for board in ("dockwarden-overview.json", "dockwarden-host.json")
            for place, expression in queries(board).items()
            if any(part in expression for part in ("dockwarden_findings", "dockwarden_job", "dockwarden_engine_up"))
        }
        assert len(asked) > 3
        for place, expression in asked.items():
            until(partial(prometheus.query, expression), f"an answer to {place}")
        host.run("systemctl", "stop", "dockwarden")
        assert unit.show("Result") == "success"


def install(host: LabHost, folder: str, registry: LabRegistry, receiver: Receiver) -> Unit:
    """As an operator does: settings first, then the installer."""
    unit = Unit(host)
    unit.configure(
        LATEST, MOVED, TOO_MUCH,
        registries={registry.host: {"http": True}},
        notify={"wait": "1s", "routes": {"team": {"url": f"json://{receiver.address}"}}},
    )  # fmt: skip
    host.run("env", "NOTIFY=1", INSTALL, "install", folder)
    assert unit.show("ActiveState") == "active"
    return unit


def said(receiver: Receiver) -> str:
    """All that the receiver was told."""
    return "\n".join(receiver.texts())

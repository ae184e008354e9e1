"""Every query of the shipped dashboards and rules, asked of a real Prometheus about a daemon that has had a full day.

The day: findings, removals and refusals, a registry with a quota and one that is away, objects that cannot be judged,
an engine that dies and comes back, a reload. Whatever a panel would show is then not empty.
"""

from __future__ import annotations

import json
import math
import re
import signal
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dockwarden.metrics import Metrics
from tests.e2e.harness import Daemon, policy
from tests.grafana.dashboards import DASHBOARDS
from tests.lab import images, machine
from tests.lab.engine import LabEngine
from tests.lab.images import ImageSpec
from tests.lab.machine import LabError
from tests.lab.prometheus import Prometheus
from tests.lab.registry import LabRegistry
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = Path(__file__).parents[2] / "deploy/prometheus"
SOON = {"every": "5s", "events": ["image.tag"]}
ALL = {"max_objects": 100, "max_percent": 100}
POLICIES = (
    policy(
        "sweep", "image", "image.dangling || image.in_use", action="remove", mode="enforce", trigger=SOON, limits=ALL
    ),
    policy("would-untag", "tag", "tag.name == 'old'", action="untag", severity="high", trigger=SOON, limits=ALL),
    policy(
        "many",
        "tag",
        "tag.ref.contains('board')",
        action="untag",
        mode="enforce",
        trigger=SOON,
        limits={"max_objects": 1},
    ),
    policy("no-containers", "container", "true", severity="critical", trigger={"every": "5s"}),
    policy("owned", "tag", "tag.name == 'old' && int(tag.name) > 0", trigger={"every": "5s"}),
    policy("drift", "tag", "registry.state == 'drift'", severity="low", trigger={"every": "5s"}),
)


def queries(board: str) -> dict[str, str]:
    """By place, the queries of all panels, with the variables put in as Grafana does when everything is chosen."""
    put_in = {"$__rate_interval": "5m", "$__range": "5m", "$job": ".+", "$instance": ".+"}
    found = {}
    for panel in json.loads(DASHBOARDS[board])["panels"]:
        for target in panel.get("targets", ()):
            expr = target["expr"]
            for name, value in put_in.items():
                expr = expr.replace(name, value)
            found[f"{panel['id']}: {panel['title']}, {target['refId']}"] = expr
    return found


EXCEPTION = """
exceptions:
  - id: E2E-1
    policies: [sweep]
    match: image.ref == 'docker.io/e2e/nowhere:1'
    reason: so that there is one
    until: 2099-12-31
"""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with the shipped rules, that watches a daemon, that watches an engine with a bit of everything."""
    machine.ensure(machine.ENGINE | machine.REGISTRY, "a private engine and registries")
    folder = tmp_path_factory.mktemp("dashboards")
    rules = [SHIPPED / "rules.yml", SHIPPED / "alerts.yml"]
    with ExitStack() as stack:
        engine = stack.enter_context(LabEngine("graph"))
        limited = stack.enter_context(LabRegistry(headers={"RateLimit-Remaining": "76;w=21600"}))
        away = stack.enter_context(LabRegistry())
        for registry in (limited, away):
            registry.push("e2e/board", "1", ImageSpec(labels={"owner": registry.host}))
            engine.forward(registry.port)
            engine.docker("pull", "--quiet", f"{registry.host}/e2e/board:1")
        away.end()
        engine.load(ImageSpec(labels={"e2e": "nameless"}), ImageSpec(tags=("e2e/app:old",)))
        engine.load(images.busybox("e2e/app:run"))
        engine.docker("create", "--name=app", "e2e/app:run")
        settings = {
            "minimum_stay": "0s",
            "web": {"listen": "127.0.0.1:0", "finding_info": 100, "running_image_info": 100},
            "notify": {"routes": {"team": {"url": "json://127.0.0.1:1/"}}},
        }
        daemon = Daemon(engine.host, folder / "daemon", settings, policies=POLICIES)
        with daemon.policy_file.open("a", encoding="utf-8") as file:
            file.write(EXCEPTION)
        port = stack.enter_context(daemon).ready().port
        watched = Prometheus(folder / "prometheus", f"127.0.0.1:{port}", rules, others=["127.0.0.1:1"])
        started = stack.enter_context(watched)
        started.until('up{job="dockwarden"}', 1)
        live_a_day(engine, daemon)
        yield started


def live_a_day(engine: LabEngine, daemon: Daemon) -> None:
    """What makes the metrics move that do not move by themselves."""
    daemon.wait("action.applied", policy="sweep")
    daemon.wait("policy.unknown", policy="drift")
    daemon.wait("action.refused", policy="many", reason="limits")
    mark = daemon.mark
    engine.kill()
    daemon.wait("engine.unreachable", after=mark)
    failed = {"result": "unavailable"}
    daemon.until(lambda: daemon.total("dockwarden_engine_requests_total", **failed), "a request that fails")
    engine.start_again()
    daemon.wait("engine.connected", after=mark)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait("config.reloaded", after=mark)
    engine.docker("tag", "e2e/app:old", "e2e/another:old")
    daemon.wait("action.audited", after=mark, policy="would-untag")
    for number in (1, 2):  # two images under one name
        engine.load(images.busybox("e2e/moved:1", cmd=("sleep", f"{number}000000")))
        engine.docker("run", "--detach", "e2e/moved:1")


def test_every_metric_is_there(prometheus: Prometheus) -> None:
    """What a panel shows by `or vector(0)` would else be a number about nothing."""
    exported = {name for names in Metrics().registry._collector_to_names.values() for name in names}
    known = {name for name in exported if name.startswith("dockwarden_") and not name.endswith("_created")}

    def missing() -> set[str]:
        there = set(prometheus.get("label/__name__/values") or ())
        return {name for name in known if not there & {name, f"{name}_total", f"{name}_count"}}

    with suppress(LabError):
        until(lambda: not missing(), "all metrics to be scraped")
    assert missing() == set()


@pytest.mark.parametrize("board", DASHBOARDS)
def test_no_panel_is_empty(prometheus: Prometheus, board: str) -> None:
    empty = queries(board)
    assert len(empty) > 20

    def all_answered() -> bool:
        for place, expr in list(empty.items()):
            if any(not math.isnan(value) for _, value in prometheus.query(expr)):
                del empty[place]
        return not empty

    try:
        until(all_answered, "answers to all queries")
    except LabError:
        pytest.fail(f"no answer: {json.dumps(empty, indent=1)}")


@pytest.mark.parametrize(("board", "title", "hosts"), [("overview", "Engines away", 0), ("fleet", "Hosts", 1)])
def test_targets_of_other_jobs_do_not_count(prometheus: Prometheus, board: str, title: str, hosts: int) -> None:
    prometheus.until('up{job="node"}', 0)
    asked = queries(f"dockwarden-{board}.json").items()
    prometheus.until(next(expr for place, expr in asked if place.endswith(f": {title}, A")), hosts)


@pytest.mark.parametrize("board", DASHBOARDS)
def test_variables_have_values(prometheus: Prometheus, board: str) -> None:
    for variable in json.loads(DASHBOARDS[board])["templating"]["list"][1:]:
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
        assert match
        place, which = f"label/{match[2]}/values", {"match[]": match[1].replace("$job", ".+")}
        values = until(partial(prometheus.get, place, **which), variable["name"])
        assert len(values) == 1, variable["name"]


def test_rules_can_be_evaluated_and_alert(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, str]]:
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    until(lambda: all(rule["health"] == "ok" for rule in rules()), "all rules to be evaluated")
    recorded = [rule["name"] for rule in rules() if rule["type"] == "recording"]
    until(lambda: all(map(prometheus.query, recorded)), f"{recorded} to be recorded")

    def soon() -> set[str]:
        return {rule["name"] for rule in rules() if rule.get("state") in ("pending", "firing")}

    wrong = {"DockwardenDown", "DockwardenEngineUnreachable", "DockwardenLedgerNotWritable"}
    until(lambda: soon().isdisjoint(wrong), "the alert about the engine's absence to be over")
    right = {"DockwardenCriticalFindings", "DockwardenHighFindings", "DockwardenUnjudged"}
    until(lambda: right <= soon(), "the alerts about what is found")

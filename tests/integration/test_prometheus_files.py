"""What is shipped for Prometheus and Alertmanager: accepted by their own tools, and tested alert by alert."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockwarden.metrics import Metrics
from tests.lab import machine
from tests.tables import each

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/prometheus"
RULES = ("rules.yml", "alerts.yml")
TESTS = ("tests/alerts.yml", "tests/alerts-of-days.yml")


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    machine.ensure(machine.METRICS, "checking what is shipped for Prometheus")


def read(name: str) -> Any:
    return yaml.load((FOLDER / name).read_text(), yaml.CSafeLoader)  # each process of a run reads it


def rules(name: str) -> list[dict[str, Any]]:
    return [rule for group in read(name)["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
CASES = [case for file in TESTS for test in read(file)["tests"] for case in test["alert_rule_test"]]


@pytest.mark.parametrize(
    "command",
    [
        "promtool check rules --lint=all --lint-fatal rules.yml alerts.yml",
        "promtool check config prometheus.yml",
        f"promtool test rules tests/rules.yml {' '.join(TESTS)}",
        "amtool check-config alertmanager.yml",
    ],
)
def test_their_own_tools_accept_them(command: str) -> None:
    done = subprocess.run(command.split(), cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
def test_each_severity_has_its_receiver(severity: str) -> None:
    route = ["amtool", "config", "routes", "test", "--config.file=alertmanager.yml", f"severity={severity}"]
    done = subprocess.run(route, cwd=FOLDER, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == {"critical": "pager", "warning": "chat", "info": "mail"}[severity]


@each("alert", ALERTS)
def test_alert_is_tested_both_firing_with_its_texts_and_quiet(alert: str) -> None:
    expected = [case["exp_alerts"] for case in CASES if case["alertname"] == alert]
    assert [] in expected
    fired = [one for case in expected for one in case]
    assert fired
    assert all(one["exp_annotations"].keys() == {"summary", "description", "runbook_url"} for one in fired)


@each("alert", ALERTS)
def test_alert_has_a_severity_and_a_runbook(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"}, {"severity": "info"})
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    sections = re.split(r"^## ", (ROOT / page).read_text(), flags=re.MULTILINE)[1:]
    (section,) = [text for text in sections if text.partition("\n")[0].lower() == anchor]
    assert re.findall(r"^\*\*(\w+)\.\*\*", section, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert anchor == alert.lower() or alert in section


def test_rules_ask_for_metrics_that_exist() -> None:
    exported = {name for names in Metrics().registry._collector_to_names.values() for name in names}
    recorded = {rule["record"] for rule in rules("rules.yml")}
    asked = {
        name
        for file in RULES
        for rule in rules(file)
        for name in re.findall(r"\b[a-z][a-z_:]*dockwarden_[a-z_]+[a-z0-9_:]*|\bdockwarden_[a-z_]+", rule["expr"])
    }
    assert asked - exported - recorded == set()

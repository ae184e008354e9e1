"""What is shipped for Grafana: its types, the conventions of its dashboard linter, and a layout without overlaps."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.grafana.dashboards import DASHBOARDS
from tests.lab import machine
from tests.tables import each

ROOT = Path(__file__).parents[2]
TYPES = ROOT / "tests/grafana"
GRAFANA = ROOT / "deploy/grafana"
Json = dict[str, Any]

WHOLE: dict[str, Json] = {name: json.loads(text) for name, text in DASHBOARDS.items()}
PANELS = [panel for board in WHOLE.values() for panel in board["panels"] if panel["type"] != "row"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"none", "short", "s", "bytes", "percentunit", "ops"}


@pytest.fixture(scope="module")
def types() -> Path:
    """A folder with Grafana's types and a compiler, as the lock file has them; fetched once."""
    machine.ensure(machine.TYPES, "checking dashboards by Grafana's types")
    lock, made = TYPES / "package-lock.json", TYPES / "node_modules/made-from"
    if not made.exists() or made.read_text() != lock.read_text():
        fetch = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
        done = subprocess.run(fetch, cwd=TYPES, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"Grafana's types cannot be had without a network: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr
        made.write_text(lock.read_text())
    return TYPES


def complaints(types: Path, board: Json) -> str:
    """What the compiler says of a dashboard."""
    made = types / "made/dashboard.ts"
    made.parent.mkdir(exist_ok=True)
    made.write_text(f"import type {{ Shipped }} from '../types.js';\nexport const it: Shipped = {json.dumps(board)};\n")
    done = subprocess.run(
        ["node_modules/.bin/tsc", "--project", "."], cwd=types, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (done.stdout == ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("name", WHOLE)
def test_types_are_those_of_grafana(types: Path, name: str) -> None:
    assert complaints(types, WHOLE[name]) == ""


@pytest.mark.parametrize(("right", "wrong"), [('"min": 0', '"min": "0"'), ('"multi"', '"mult"'), ('"calcs"', '"calc"')])
def test_a_wrong_type_word_or_key_would_be_noticed(types: Path, right: str, wrong: str) -> None:
    text = json.dumps(WHOLE["dockwarden-host.json"])
    assert right in text
    assert complaints(types, json.loads(text.replace(right, wrong, 1))) != ""


# -- the whole ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("board", WHOLE.values(), ids=WHOLE)
def test_dashboard_can_be_installed_anywhere(board: Json) -> None:
    assert "id" not in board
    assert "__inputs" not in board
    assert not board["editable"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    source, job, instance = board["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    for variable in (job, instance):
        assert variable["datasource"] == SOURCE
        assert variable["refresh"] == 2
        assert variable["query"].startswith("label_values(")
        assert variable["multi"], "Grafana would not escape [::1]:9877"
    assert {"text", "value"} <= source["current"].keys() & job["current"].keys() & instance["current"].keys()
    assert (job["name"], job["includeAll"], job["allValue"]) == ("job", True, ".+")
    assert instance["name"] == "instance"
    assert instance["includeAll"] is (board["uid"] != "dockwarden-host")


@pytest.mark.parametrize("board", WHOLE.values(), ids=WHOLE)
def test_panels_fill_the_grid_and_do_not_overlap(board: Json) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    lines = max(y for _, y in taken) + 1
    assert len(taken) == 24 * lines, "there are holes"


# -- each panel --------------------------------------------------------------------------------------------


@each("panel", PANELS)
def test_panel_says_what_it_shows_and_in_which_unit(panel: Json) -> None:
    assert panel["title"]
    assert re.fullmatch(r"[A-Z].*\.", panel["description"])
    assert panel["datasource"] == SOURCE
    units = {panel["fieldConfig"]["defaults"]["unit"]}
    units |= {p["value"] for o in panel["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "unit"}
    assert units <= UNITS


@each("panel", PANELS)
def test_links_to_dashboards_keep_where_and_when(panel: Json) -> None:
    properties = [each for override in panel["fieldConfig"]["overrides"] for each in override["properties"]]
    links = [link["url"] for each in properties if each["id"] == "links" for link in each["value"]]
    for url in (url for url in links if url.startswith("/d/")):
        assert {"${datasource:queryparam}", "${job:queryparam}", "${__url_time_range}"} <= set(url.split("&"))


@each("panel", PANELS)
def test_queries_select_by_job_and_instance_and_by_the_interval_of_scrapes(panel: Json) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        expr = target["expr"]
        selections = re.findall(r"\b(?:dockwarden|process)_\w+|\bup\b", expr)
        assert expr.count('job=~"$job"') == expr.count('instance=~"$instance"') == len(selections) > 0
        shared = re.findall(r"\b(?:process_\w+|up){.*?}", expr)
        assert all('job=~"dockwarden.*"' in selection for selection in shared), "All would be every exporter"
        assert "_total{" not in re.sub(r"(rate|increase)\(\w+_total\{", "", expr)
        ranges = set(re.findall(r"\[(.*?)\]", expr))
        assert ranges <= (
            {"$__range"} if panel["title"] in ("Reclaimed", "Schedules", "Hosts") else {"$__rate_interval"}
        )


# -- provisioning ------------------------------------------------------------------------------------------


def test_provisioning_finds_what_the_page_says_to_copy() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/dockwarden.yml").read_text())["providers"]
    page = (ROOT / "docs/monitoring.md").read_text()
    assert f"cp deploy/grafana/dashboards/*.json {provider['options']['path']}/" in page
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert {path.name for path in (GRAFANA / "dashboards").glob("*.json")} == WHOLE.keys()


def test_exceptions_from_the_linter_name_panels_that_exist() -> None:
    rules = yaml.safe_load((GRAFANA / "dashboards/.lint").read_text())["exclusions"]
    titles = {board["title"] for board in WHOLE.values()}
    panels = {panel["title"] for board in WHOLE.values() for panel in board["panels"]}
    for rule in rules.values():
        for entry in rule["entries"]:
            assert {entry.get("dashboard")} <= titles | {None}
            assert {entry.get("panel")} <= panels | {None}

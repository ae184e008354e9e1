"""What the dashboards' panels and frames have in common, as Grafana's Classic JSON.

Role: builders of panels, and the layout around them. In: titles, descriptions, units, and PromQL in which `@` stands
for the choice of job and instance. Out: JSON. Out of bounds: what is shown, which is in `dashboards`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
Panel = tuple[int, int, Json]  # columns of 24, rows, and the rest
Steps = Sequence[tuple[float | None, str]]  # from which value on which colour

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SELECTION = 'job=~"$job", instance=~"$instance"'
_OF_ALL_JOBS = re.compile(r"\b(?:up|process_\w+){")  # of which "All" would be everything that Prometheus asks
_FIRST: Json = {"current": {"text": "", "value": ""}}  # the first there is; some versions fail where nothing is said
_REFS = "ABCDEFGH"
_SCHEMA = 39  # Grafana 11; newer ones convert it when they load it
CALM: Steps = [(None, "green")]
ALARM: Steps = [(None, "green"), (1, "red")]
WARN: Steps = [(None, "green"), (1, "orange")]
FULL: Steps = [(None, "green"), (0.8, "orange"), (0.9, "red")]

# -- what panels are made of --------------------------------------------------------------------------------


def _target(number: int, expr: str, legend: str = "", *, now: bool = False, rows: bool = False) -> Json:
    ours = _OF_ALL_JOBS.sub(r'\g<0>job=~"dockwarden.*", ', expr)
    return {
        "datasource": _SOURCE,
        "expr": ours.replace("@", _SELECTION),
        "format": "table" if rows else "time_series",
        "instant": now,
        "range": not now,
        "legendFormat": legend,
        "refId": _REFS[number],
    }


def _panel(kind: str, title: str, description: str, targets: list[Json], defaults: Json, options: Json) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def _steps(steps: Steps) -> Json:
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


def _words(words: dict[int, tuple[str, str]]) -> list[Json]:
    options = {str(value): {"text": text, "color": color} for value, (text, color) in words.items()}
    return [{"type": "value", "options": options}]


def stat(
    title: str,
    description: str,
    expr: str,
    unit: str = "short",
    steps: Steps = CALM,
    words: dict[int, tuple[str, str]] | None = None,
) -> Panel:
    """One number, coloured by its steps or put into words; six in a line."""
    defaults: Json = {"unit": unit, "color": {"mode": "thresholds"}, "thresholds": _steps(steps)}
    if words:
        defaults["mappings"] = _words(words)
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "value",
        "wideLayout": True,
    }
    return 4, 4, _panel("stat", title, description, [_target(0, expr, now=True)], defaults, options)


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: tuple[str, str],
    colors: dict[str, str] | None = None,
    stack: bool = False,
    bars: bool = False,
    limit: float | None = None,
    width: int = 12,
) -> Panel:
    """Lines over time, or stacked areas or bars; ``limit`` draws a red line."""
    custom: Json = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if bars else 20 if stack else 5,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stack or bars else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if limit else "off"},
    }
    steps: Steps = [(None, "green"), *([(limit, "red")] if limit else [])]
    defaults = {
        "unit": unit,
        "min": 0,
        "color": {"mode": "palette-classic"},
        "custom": custom,
        "thresholds": _steps(steps),
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    targets = [_target(number, expr, legend) for number, (expr, legend) in enumerate(queries)]
    panel = _panel("timeseries", title, description, targets, defaults, options)
    panel["fieldConfig"]["overrides"] = [
        _override("byName", name, ("color", {"mode": "fixed", "fixedColor": color}))
        for name, color in (colors or {}).items()
    ]
    return width, 8, panel


def rows(
    title: str,
    description: str,
    queries: list[str],
    columns: dict[str, tuple[str, str]],
    sort: str,
    *,
    width: int = 24,
    units: dict[str, str] | None = None,
    words: dict[str, dict[int, tuple[str, str]]] | None = None,
    steps: dict[str, Steps] | None = None,
    links: dict[str, dict[str, str]] | None = None,
) -> Panel:
    """A table of what holds now: ``columns`` by the name Grafana gives them, with title and unit.

    ``steps`` and ``words`` colour the cells of a column, by its title; ``links`` are what a cell leads to, by words.
    """
    names = {name: heading for name, (heading, _) in columns.items()}
    values = ["Value"] if len(queries) == 1 else [f"Value #{target}" for target in _REFS[: len(queries)]]
    hidden = ["Time", "job", *(value for value in values if value not in columns)]
    panel = _panel(
        "table",
        title,
        description,
        [_target(number, expr, now=True, rows=True) for number, expr in enumerate(queries)],
        {"unit": "short", "custom": {"align": "auto", "filterable": True}},
        {"showHeader": True, "cellHeight": "sm", "frameIndex": 0, "sortBy": [{"displayName": sort, "desc": True}]},
    )
    panel["transformations"] = [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": dict.fromkeys(hidden, True),
                "indexByName": {name: number for number, name in enumerate(names)},
                "renameByName": names,
            },
        },
    ]
    overrides = []
    for heading, unit in columns.values():
        properties: list[tuple[str, Any]] = [("unit", unit)]
        if heading in (words or {}):
            properties.append(("mappings", _words((words or {})[heading])))
        if heading in (steps or {}):
            properties.append(("thresholds", _steps((steps or {})[heading])))
        if len(properties) > 1:
            properties.append(("custom.cellOptions", {"type": "color-text"}))
        if heading in (links or {}):
            ways = [{"title": title, "url": url} for title, url in (links or {})[heading].items()]
            properties.append(("links", ways))
        overrides.append(_override("byName", heading, *properties))
    panel["fieldConfig"]["overrides"] = overrides
    return width, 8, panel


def _override(matcher: str, what: str, *properties: tuple[str, Any]) -> Json:
    return {
        "matcher": {"id": matcher, "options": what},
        "properties": [{"id": key, "value": value} for key, value in properties],
    }


# -- the dashboard around them ------------------------------------------------------------------------------


def _laid_out(sections: dict[str, list[Panel]]) -> list[Json]:
    panels: list[Json] = []
    y = 0
    for title, members in sections.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _place(0, y, 24, 1)})
        y += 1
        x = tallest = 0
        for width, height, panel in members:
            if x + width > 24:
                x, y, tallest = 0, y + tallest, 0
            panels.append({**panel, "gridPos": _place(x, y, width, height)})
            x, tallest = x + width, max(tallest, height)
        y += tallest
    return [{"id": number, **panel} for number, panel in enumerate(panels, 1)]


def _place(x: int, y: int, w: int, h: int) -> Json:
    return {"x": x, "y": y, "w": w, "h": h}


def _variable(name: str, label: str, query: str, *, many: bool) -> Json:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": _SOURCE,
        "query": query,
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,  # of one host as well: else Grafana escapes no value, and of "All" in a link makes no choice
        "includeAll": many,
        **({"allValue": ".+", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}} if many else _FIRST),
    }


def dashboard(uid: str, title: str, description: str, sections: dict[str, list[Panel]], *, many: bool) -> str:
    """A whole dashboard as text; ``many``: all instances are shown at first, else one."""
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", **_FIRST}
    variables = [
        source,
        _variable("job", "Job", "label_values(dockwarden_build_info, job)", many=True),
        _variable("instance", "Instance", 'label_values(dockwarden_build_info{job=~"$job"}, instance)', many=many),
    ]
    link = {
        "title": "dockwarden",
        "type": "dashboards",
        "tags": ["dockwarden"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
    whole = {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["docker", "dockwarden"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # a shared crosshair
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "links": [link],
        "templating": {"list": variables},
        "annotations": {"list": []},
        "panels": _laid_out(sections),
    }
    return json.dumps(whole, indent=2) + "\n"

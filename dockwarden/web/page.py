"""The pages: a few templates, filled. No script, nothing from elsewhere; everything that is shown is escaped.

Input: a path, a query, and what ``views`` gives. Output: HTML. Out of bounds: knowing where a value comes from.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from markupsafe import Markup, escape

from dockwarden.model import Effect, Severity
from dockwarden.text import counted, fact, in_bytes, moment, printable, span
from dockwarden.web.api import PREFIX, filters, other_page, read_query
from dockwarden.web.rows import FindingRow
from dockwarden.web.views import Views

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent / "templates"
_STYLE = (_HERE / "page.css").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_MOST_TEXT = 300
_KILO = 1000
_REFRESH_SECONDS = 60
_GRAVE = (Severity.CRITICAL, Severity.HIGH)
_KINDS = ("policy", "object")
_FIRST_ROWS, _MOST_ROWS = 10, 100
_MOST_UNFOLDED = 4
_JOINT = re.compile(r"(?<=[/:@])(?=\w)")
_LINK = re.compile(r'\b(href|action)="/')  # in quotes, which are spelled otherwise in what strangers write
_CODE = re.compile(r"`([^`]+)`")

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The pages' Content-Security-Policy: their own style and their own search, and nothing else at all."""


@dataclass
class _Group:
    """Findings of one policy: how many there are, and the first of those that are shown."""

    first: FindingRow
    severity: Severity
    rows: list[FindingRow] = field(default_factory=list)
    count: int = 0
    is_open: bool = False


class Pages:
    def __init__(self, views: Views) -> None:
        self._views = views

    def render(self, path: str, query: str) -> str | None:
        """The page of a path, None where there is none. Raises BadQueryError."""
        if path == "/":
            return self._fill("status.html", "./", **self._status(query))
        kind, _, name = path.removeprefix("/").partition("/")
        found = {"policy": self._views.policy, "object": self._views.object}[kind](name) if kind in _KINDS else None
        return None if found is None else self._fill(f"{kind}.html", "../" * (path.count("/") - 1), **found)

    def _fill(self, template: str, root: str, **values: object) -> str:
        """A template, filled; its links lead below ``root``, as a proxy may show us below any path."""
        apis = (PREFIX + name for name in (*self._views.lists, "openapi.json"))
        style = Markup(_STYLE)  # noqa: S704 - a file of ours
        common = {"refresh_seconds": 0, "style": style, "paths": ("/metrics", "/healthz", "/readyz", *apis)}
        page = _templates().get_template(template).render(self._views.status() | common | values)
        return _LINK.sub(rf'\1="{root}', page)

    def _status(self, text: str) -> dict[str, object]:
        lists = self._views.lists
        asked = {name: value for name, value in parse_qsl(text, errors="replace") if value.strip()}
        refreshes = asked.pop("refresh", "") != "off"
        ours = urlencode(asked)
        query = read_query(ours, lists["findings"])
        groups = _groups(filter(query.takes, lists["findings"].rows()), query.offset, "policy" in asked)
        shown = 0
        for group in groups:  # the worst, as long as it is no long page
            group.is_open = bool(asked) or (group.severity in _GRAVE and shown < _MOST_UNFOLDED)
            shown += len(group.rows)
        most = max((group.count for group in groups), default=0) if "policy" in asked else 0
        kept = urlencode({name: value for name, value in asked.items() if name not in ("policy", "offset")})
        after = query.offset + _MOST_ROWS
        return {
            "refresh_seconds": _REFRESH_SECONDS if refreshes else 0,
            "stay": urlencode({**asked, "refresh": "off"}),
            "asked": {name: asked.get(name, "") for name in ("q", "severity", "subject", "result", "policy")},
            "words": filters(FindingRow),
            "is_filtered": bool(asked),
            "kept": kept and f"&{kept}",
            "groups": groups,
            "earlier": other_page(ours, max(0, query.offset - _MOST_ROWS)) if query.offset else None,
            "later": other_page(ours, after) if after < most else None,
            "actions": [row for row in lists["actions"].rows() if row.outcome in (Effect.APPLIED, Effect.FAILED)],
            "exceptions": list(lists["exceptions"].rows()),
            "policies": list(lists["policies"].rows()),
        }


def _groups(rows: Iterable[FindingRow], offset: int, is_one: bool) -> list[_Group]:  # noqa: FBT001 - ours alone
    """Findings by policy, the worst first, and of those the most; of each the first rows, of a chosen one many."""
    groups: dict[str, _Group] = {}
    first, most = (offset, _MOST_ROWS) if is_one else (0, _FIRST_ROWS)
    for row in rows:
        group = groups.setdefault(row.policy, _Group(row, row.severity))
        group.severity = min(group.severity, row.severity, key=lambda severity: severity.rank)
        if first <= group.count < first + most:
            group.rows.append(row)
        group.count += 1
    return sorted(groups.values(), key=lambda group: (group.severity.rank, -group.count))


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - 2 MiB for those who look

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "shown": _shown,
        "plain": printable,
        "prose": _prose,
        "fact": lambda pair: fact(*pair),
        "moment": _moment,
        "span": lambda seconds: span(seconds) if seconds >= 1 else f"{seconds * _KILO:.0f}ms",
        "size": in_bytes,
        "exact": moment,
        "counted": counted,
    }
    return environment


def _shown(text: object, most: int = _MOST_TEXT) -> Markup:
    """Text of strangers: in one line, not too long, and without a say in which direction the rest runs.

    Where a name in it is too long for a line, it is broken where one of its parts ends.
    """
    parts = _JOINT.split(printable(str(text), most))
    return Markup("<bdi>{}</bdi>").format(Markup("<wbr>").join(escape(part) for part in parts))


def _prose(text: str) -> Markup:
    """What the author of a policy wrote, with what is between backticks as code."""
    parts = _CODE.split(text)
    whole = (escape(part) if at % 2 == 0 else Markup("<code>{}</code>").format(part) for at, part in enumerate(parts))
    return Markup().join(whole)


def _moment(at: float, now: float) -> Markup:
    """How far away a time is, with the time itself for those who point at it and for programs."""
    distance = span(abs(now - at))
    text = f"in {distance}" if at > now else f"{distance} ago"
    exact = moment(at)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, exact, text)

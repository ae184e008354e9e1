"""The status page: one template, filled. No script, nothing from elsewhere; everything that is shown is escaped.

Input: what ``views`` gives. Output: HTML. Out of bounds: knowing where a value comes from.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from dockwarden.text import counted, in_bytes, moment, printable, span

if TYPE_CHECKING:
    from jinja2 import Template

_HERE = Path(__file__).parent
_STYLE = (_HERE / "status.css").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_MOST_TEXT = 300
_KILO = 1000

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: its own style, and nothing else at all."""


def render(status: Mapping[str, object]) -> str:
    """The page."""
    return _template().render(status, style=Markup(_STYLE))  # noqa: S704 - a file of ours


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - 2 MiB that only those need who look

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "shown": _shown,
        "moment": _moment,
        "span": _span,
        "size": in_bytes,
        "exact": moment,
        "counted": counted,
    }
    return environment.from_string((_HERE / "status.html").read_text(encoding="utf-8"))


def _shown(text: object, most: int = _MOST_TEXT) -> Markup:
    """Text of strangers: in one line, not too long, and without a say in which direction the rest runs."""
    return Markup("<bdi>{}</bdi>").format(printable(str(text), most))


def _moment(at: float, now: float) -> Markup:
    """How far away a time is, with the time itself for those who point at it and for programs."""
    distance = span(abs(now - at))
    text = f"in {distance}" if at > now else f"{distance} ago"
    exact = moment(at)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, exact, text)


def _span(seconds: float) -> str:
    return span(seconds) if seconds >= 1 else f"{seconds * _KILO:.0f}ms"

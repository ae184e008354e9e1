"""The status page in a real browser, on a host full of unkind names: it says what is, runs nothing, fits a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import Daemon, Policy, policy
from tests.lab import images
from tests.lab.browser import Browser
from tests.lab.images import ImageSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

SCRIPT = "<script>document.title='owned';alert(1)</script><img src=x onerror=\"document.title='owned'\">"
UNKIND = {
    "script": SCRIPT,
    "markup": "</td></table></section><style>*{display:none}</style><a href='javascript:alert(1)'>&lt;b&gt;",
    "quotes": "\" onmouseover=alert(1) x='{{ 7*7 }}{% raw %}",
    "right-to-left": "safe\u202egnp.exe\u2066 \u200f and on",
    "control": "a\x1b[31m\r\n\t\x9b\ufeff end",
    "long": "x" * 65536,
    "words": "many words " * 300,
}
LABELLED = policy(
    "labelled", "image", "'evil' in image.labels", trigger={"events": ["image.new"]}, severity="high",
    message="{{ image.labels['evil'] }}", title="No image may carry what strangers wrote",
)  # fmt: skip
NAMES = policy(
    "unkind-names", "container", "true", trigger={"events": ["container.create"]}, severity="critical",
    message="{{ container.name }} runs {{ container.image_ref }}", title="<b>Nothing</b> runs here",
)  # fmt: skip
ALL = {"max_objects": 100, "max_percent": 100}
WOULD = policy(
    "would-remove", "image", "image.dangling", action="remove", trigger={"every": "5s"}, title="Nothing useless",
    limits=ALL,
)  # fmt: skip
DOES = policy(
    "does-untag", "tag", "tag.name == 'gone'", action="untag", trigger={"every": "5s"}, mode="enforce",
    title="Nothing is called gone", limits=ALL,
)  # fmt: skip
OFF = policy("switched-off", "volume", "true", mode="off", severity="info")
POLICIES: list[Policy | str] = [LABELLED, NAMES, WOULD, DOES, OFF, "no-latest-tag", "prune-dangling", "digest-drift"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.fixture(scope="module")
def daemon(graph_engine: LabEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One whose host has all of that, and whose schedules have acted."""
    engine = graph_engine
    engine.wipe()
    specs = [ImageSpec(tags=(f"e2e/{name}:1",), labels={"evil": text}) for name, text in UNKIND.items()]
    engine.load(*specs, images.busybox("e2e/runs:1"), ImageSpec(tags=(f"e2e/{'r' * 200}:{'t' * 128}", "e2e/x:latest")))
    engine.load(*(ImageSpec(labels={"nameless": str(number)}) for number in range(8)))
    engine.load(ImageSpec(tags=("e2e/two:gone", "e2e/two:stays"), labels={"two": "names"}))
    client = engine.client()
    client.create_container("e2e/runs:1", name="c" * 250)
    client.create_volume("v" * 255)
    settings = {"minimum_stay": "0s", "params": {"prune-dangling": {"older_than": "1000h"}}}
    with Daemon(engine.host, tmp_path_factory.mktemp("status"), settings, policies=POLICIES) as started:
        started.ready()
        started.wait("action.applied", policy="does-untag")
        started.wait("action.audited", policy="would-remove")
        yield started


def visit(browser: Browser, daemon: Daemon, *, width: int, dark: bool) -> None:
    browser.said.clear()
    browser.asked.clear()
    browser.look(f"http://127.0.0.1:{daemon.port}/", width=width, dark=dark)


def test_the_page_says_what_is_and_runs_nothing(browser: Browser, daemon: Daemon, tmp_path: Path) -> None:
    for width, dark in ((1280, False), (1280, True), (768, False), (360, False), (360, True)):
        visit(browser, daemon, width=width, dark=dark)
        browser.take_picture(tmp_path / f"{width}-{'dark' if dark else 'light'}.png")
        assert browser.asked == [f"http://127.0.0.1:{daemon.port}/"], "it asks for something else"
        assert browser.said == []
        assert browser.see("document.title").startswith("dockwarden on ")
        assert (
            browser.see("document.querySelectorAll('script, img, [onerror], [onmouseover], [href^=java]').length") == 0
        )
        assert browser.see("document.querySelectorAll('style').length") == 1
        assert browser.see(_WIDER) == []
        assert browser.see(_PALE) == []

    text = browser.see("document.body.innerText")
    for part in (
        SCRIPT[:60],
        "</td></table>",
        "{{ 7*7 }}{% raw %}",
        "<b>Nothing</b> runs here",
        r"safe\u202egnp",
        r"a\x1b[31m\r\n\t\x9b\ufeff end",
    ):
        assert part in text, part
    assert "49" not in text.partition("7*7")[0][-40:]
    assert not set(text) & set("\u202e\u2066\u200f\x1b\x00\x9b\ufeff")
    assert len(text) < 40_000


def test_each_section_has_what_it_is_for(browser: Browser, daemon: Daemon) -> None:
    visit(browser, daemon, width=1280, dark=False)

    def table(name: str) -> list[list[str]]:
        rows = f"[...document.querySelectorAll('section[aria-labelledby={name}] tbody tr')]"
        found: list[list[str]] = browser.see(f"{rows}.map(row => [...row.children].map(cell => cell.innerText.trim()))")
        return found

    tiles = browser.see("[...document.querySelectorAll('dl > div')].map(one => one.innerText)")
    assert "answers" in tiles[0]
    assert "graph store" in tiles[0]
    rows = daemon.api("findings")
    assert tiles[1].split("\n")[1] == str(len(rows))

    findings = table("findings")
    assert {(row[0], row[3]) for row in findings} >= {("critical", "unkind-names"), ("high", "labelled")}
    assert [row[0] for row in findings] == sorted((row[0] for row in findings), key=_SEVERITIES.index)
    assert len(findings) == len(rows)
    assert all(row[4].endswith("ago") for row in findings)

    policies = {row[0].split("\n")[0]: row[1:] for row in table("policies")}
    assert policies["labelled"][1] == str(sum(row["policy"] == "labelled" for row in rows))
    assert policies["does-untag"][0].startswith("enforce")
    assert policies["switched-off"][0] == "off"
    assert policies["would-remove"][4].startswith("in ")
    assert policies["labelled"][4] == "\N{EN DASH}"

    runs = table("runs")
    assert any(row[0] == "does-untag" and "untag: 1 done" in row[5] and "e2e/two:gone" in row[5] for row in runs)
    assert any(row[0] == "would-remove" and "would remove 8" in row[5] and "and 3 more" in row[5] for row in runs)


def test_the_page_is_made_for_readers_of_all_kinds(browser: Browser, daemon: Daemon) -> None:
    visit(browser, daemon, width=1280, dark=False)
    assert browser.see("document.documentElement.lang") == "en"
    assert browser.see("document.querySelectorAll('h1').length") == 1
    assert browser.see("document.querySelectorAll('main').length") == 1
    tables = "[...document.querySelectorAll('table')]"
    assert browser.see(f"{tables}.every(t => document.getElementById(t.getAttribute('aria-labelledby')))")
    assert browser.see(f"{tables}.every(t => [...t.querySelectorAll('th')].every(th => th.scope))")
    assert browser.see(
        f"{tables}.every(t => [...t.tBodies[0].rows].every(r => r.cells.length == t.tHead.rows[0].cells.length))"
    )


def test_the_page_tells_of_an_engine_that_is_away(browser: Browser, start: Start) -> None:
    daemon = start("unix:///nowhere/docker.sock", [LABELLED])
    daemon.wait("engine.unreachable")
    visit(browser, daemon, width=360, dark=True)
    text = browser.see("document.body.innerText")
    assert "not ready" in text
    assert "does not answer" in text
    assert "/nowhere/docker.sock" in text
    assert browser.see(_WIDER) == []


_SEVERITIES = ["critical", "high", "medium", "low", "info"]
_WIDER = """[document.documentElement, ...document.querySelectorAll('body, body *')]
    .filter(one => !one.closest('thead'))
    .filter(one => Math.max(one.getBoundingClientRect().right, one.clientWidth) > innerWidth + .5
        || one.clientWidth && one.scrollWidth > one.clientWidth + 1)
    .map(one => one.outerHTML.slice(0, 100))"""
# The contrast of each text with what is behind it, by the formula of WCAG 2; 4.5 is the least for text.
_PALE = """(() => {
    const numbers = text => text.match(/[\\d.]+/g).map(Number);
    const linear = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
    const ground = one => {
        const rgb = one ? numbers(getComputedStyle(one).backgroundColor) : [255, 255, 255];
        return rgb[3] === 0 ? ground(one.parentElement) : rgb;
    };
    const ratio = one => {
        const both = [light(numbers(getComputedStyle(one).color)), light(ground(one))];
        return (Math.max(...both) + .05) / (Math.min(...both) + .05);
    };
    return [...document.querySelectorAll('body *')]
        .filter(one => [...one.childNodes].some(node => node.nodeType == 3 && node.data.trim()) && ratio(one) < 4.5)
        .map(one => one.className + ' ' + ratio(one).toFixed(2) + ' ' + one.innerText.slice(0, 40));
})()"""

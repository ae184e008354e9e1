"""The status page in a real browser, on a host full of unkind names: it says what is, runs nothing, fits a phone."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest

from dockwarden.model import Kind, Ref, Result, Severity, Status
from dockwarden.policy.findings import Findings
from dockwarden.web.page import Pages
from tests.builders import NOW, a_policy
from tests.commands import command
from tests.e2e.harness import Daemon, Policy, policy, write_policies
from tests.lab import images
from tests.lab.browser import Browser
from tests.lab.images import ImageSpec
from tests.views import a_view

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
        # The page shows the last runs: what follows must not push out those that did something.
        rare: list[Policy] = [
            {**each, "trigger": {"every": "1h"}} if "every" in each["trigger"] else each
            for each in POLICIES
            if not isinstance(each, str)
        ]
        write_policies(started.policy_file, *rare)
        started.process.send_signal(signal.SIGHUP)
        started.wait("config.reloaded")
        started.until(lambda: all(row["every_seconds"] != 5 for row in started.api("policies")), "the other triggers")
        yield started


def test_the_command_status_tells_the_same_on_one_screen(daemon: Daemon) -> None:
    where = ("--listen", f"127.0.0.1:{daemon.port}")
    seen = json.loads(command("status", *where, "-o", "json").out)
    assert seen["ready"]
    assert seen["engine"]["up"]
    found = daemon.api("findings")
    assert sum(seen["findings"].values()) == len(found)
    assert [row["name"] for row in seen["worst"]] == [row["name"] for row in found[: len(seen["worst"])]]
    assert {row["outcome"] for row in seen["actions"]} == {"applied"}
    screen = command("status", *where)
    assert screen.code == 0
    assert len(screen.out.splitlines()) <= 40
    assert all(line.isprintable() for line in screen.out.splitlines())
    for part in ("ready", f"{seen['findings']['critical']} critical", "does-untag", "would-remove"):
        assert part in screen.out


def visit(browser: Browser, daemon: Daemon, *, width: int, dark: bool) -> None:
    browser.said.clear()
    browser.asked.clear()
    browser.look(f"http://127.0.0.1:{daemon.port}/", width=width, dark=dark)


def test_the_page_says_what_is_and_runs_nothing(browser: Browser, daemon: Daemon, tmp_path: Path) -> None:
    for width, dark in ((1280, False), (1280, True), (768, False), (360, False), (360, True)):
        visit(browser, daemon, width=width, dark=dark)
        browser.see(_UNFOLD)
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

    browser.see(_UNFOLD)

    def texts(selector: str) -> list[str]:
        found: list[str] = browser.see(f"[...document.querySelectorAll({selector!r})].map(one => one.innerText.trim())")
        return found

    engine, found, *_ = texts("dl > div")
    assert "answers" in engine
    assert "graph store" in engine
    rows = daemon.api("findings")
    assert found.split("\n")[1] == str(len(rows))

    groups = [text.split("\n")[0].split() for text in texts("#findings ~ details > summary")]
    assert [group[0] for group in groups] == sorted((group[0] for group in groups), key=_SEVERITIES.index)
    assert sum(int(group[-1]) for group in groups) == len(rows)
    assert {row["policy"] for row in rows} == set(texts("#findings ~ details > p a[href^='./policy/']"))

    policies = {text.split()[1]: text for text in texts("#policies ~ details li")}
    assert "findings" in policies["labelled"]
    assert policies["does-untag"].startswith("enforce")
    assert policies["switched-off"].startswith("off")
    assert "next in " in policies["would-remove"]

    runs = [" ".join(run.split()) for run in texts("#runs ~ ul li, #runs ~ details li")]
    assert any(run.startswith("does-untag") and "untag applied 1: docker.io/e2e/two:gone" in run for run in runs), runs
    assert any("would remove 8" in run and "and 3 more" in run for run in runs)
    (untagged,) = [text for text in texts("#actions ~ ul li") if "two:gone" in text]
    (action,) = daemon.api("actions", "policy=does-untag&outcome=applied")
    assert f"dockwarden undo {action['id']} brings it back, for another " in untagged


def test_search_works_without_script_and_with_the_keyboard(browser: Browser, daemon: Daemon) -> None:
    visit(browser, daemon, width=1280, dark=False)
    browser.press("Tab", "Enter")  # the first thing that one gets to skips what is on each page
    assert browser.see("document.activeElement.id") == "main"
    browser.look(f"http://127.0.0.1:{daemon.port}/?q=RUNS&severity=critical", width=1280)
    assert browser.see("document.querySelectorAll('#findings ~ details[open]').length") == 1
    assert "unkind-names" in browser.see("document.querySelector('#findings ~ details').innerText")
    assert browser.see("document.querySelector('[name=q]').value") == "RUNS"
    browser.look(f"http://127.0.0.1:{daemon.port}/?q=nowhere", width=1280)
    assert "Nothing matches" in browser.see("document.body.innerText")


def test_every_link_leads_to_a_page_that_fits_a_phone(browser: Browser, daemon: Daemon) -> None:
    visit(browser, daemon, width=360, dark=True)
    links = browser.see("[...document.querySelectorAll('main a')].map(one => one.href.replace(location.origin, ''))")
    kinds: dict[str, str] = {}
    for link in set(links):
        assert daemon.get(link.partition("#")[0]).status == 200, link
        kinds["/".join(link.split("/")[:3]) if link.startswith("/object/") else link.split("/")[1]] = link
    assert kinds.keys() >= {"/object/image", "/object/container", "/object/tag", "policy"}
    for link in kinds.values():
        browser.look(f"http://127.0.0.1:{daemon.port}{link}", width=360)
        assert browser.see(_WIDER) == [], link
        assert browser.see(_PALE) == [], link
        assert browser.see("document.querySelectorAll('h1').length") == 1


def test_the_page_is_made_for_readers_of_all_kinds(browser: Browser, daemon: Daemon) -> None:
    visit(browser, daemon, width=360, dark=False)
    assert browser.see("document.documentElement.lang") == "en"
    assert browser.see("document.documentElement.scrollHeight") < 4000
    assert browser.see("document.querySelectorAll('h1').length") == 1
    assert browser.see("document.querySelectorAll('main').length") == 1
    assert browser.see("[...document.querySelectorAll('section')].every(s => s.querySelector('h2').id)")
    fields = "[...document.querySelectorAll('input:not([type=hidden]), select')]"
    assert browser.see(f"{fields}.every(field => field.labels.length)")


@pytest.mark.parametrize("count", [1, 5, 32])
def test_thirty_two_findings_are_no_long_way_down_on_a_phone(browser: Browser, tmp_path: Path, count: int) -> None:
    remediation = "Run it without what it does not need, " * 4
    each = a_policy(subject=Kind.CONTAINER, severity=Severity.CRITICAL)
    policies = [each._replace(name=f"policy-{number}", remediation=remediation) for number in range(count)]
    findings = Findings()
    for number in range(32):
        ref = Ref(Kind.CONTAINER, f"shop-frontend-{number}")
        said = f"{ref.key} has no memory, CPU or process limit, and nobody knows why"
        findings.note(Result(f"policy-{number % count}", ref, ref.key, Status.FAIL, Severity.CRITICAL, said), NOW)
    file = tmp_path / "page.html"
    file.write_text(Pages(a_view(*policies, findings=findings)[0]).render("/", "") or "")
    browser.look(file.as_uri(), width=360)
    assert browser.see("document.documentElement.scrollHeight") < 4000


def test_the_page_tells_of_an_engine_that_is_away(browser: Browser, start: Start) -> None:
    daemon = start("unix:///nowhere/docker.sock", [LABELLED])
    daemon.wait("engine.unreachable")
    visit(browser, daemon, width=360, dark=True)
    text = browser.see("document.body.innerText")
    assert re.search("Not ready since .* ago", text)
    assert "does not answer" in text
    assert "/nowhere/docker.sock" in text
    assert browser.see(_WIDER) == []
    assert browser.see(_PALE) == []


_UNFOLD = "document.querySelectorAll('details').forEach(one => one.open = true)"
_SEVERITIES = ["critical", "high", "medium", "low", "info"]
_WIDER = """[document.documentElement, ...document.querySelectorAll('body, body *')]
    .filter(one => !one.matches('.skip'))
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

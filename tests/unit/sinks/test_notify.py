"""Notifications: who hears of what, in how many messages, and what happens when nobody takes them."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dockwarden.config.settings import RouteSettings
from dockwarden.errors import ConfigError
from dockwarden.metrics import Metrics
from dockwarden.model import Cause, Effect, Kind, Outcome, Ref, Report, Result, Severity, Status
from dockwarden.sinks.notify import Notifier, _news, open_routes
from dockwarden.sinks.notify.message import Message, News, plain
from tests.builders import NOW, a_policy, policies
from tests.lab.waiting import PATIENCE, until
from tests.unit.misbehaving import Asked, Misbehaving, http

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dockwarden.sinks.notify import Send


@dataclass
class Service:
    """Somebody's chat: takes messages, or not."""

    works: bool = True
    tries: int = 0
    got: list[tuple[str, str]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    door: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.door.set()

    def __call__(self, title: str, body: str, alarm: str) -> str:
        self.tries += 1
        self.door.wait(PATIENCE)
        if self.works:
            self.got.append((title, body))
            self.alarms.append(alarm)
        return "" if self.works else "it answered 500"


def result(name: str, policy: str = "p", severity: Severity = Severity.HIGH, message: str = "is bad") -> Result:
    return Result(policy, Ref(Kind.TAG, name), name, Status.FAIL, severity, message, "gone")


def report(
    opened: Sequence[Result] = (), resolved: Sequence[Result] = (), outcomes: Sequence[Outcome] = (), **more: Any
) -> Report:
    return Report("run", Cause.EVENT, NOW, 0.1, {}, tuple(opened), tuple(resolved), (), tuple(outcomes), (), **more)


def an_outcome(effect: Effect, name: str = "o") -> Outcome:
    return Outcome("p", "remove", Ref(Kind.IMAGE, name), name, effect, "")


ADVISED = a_policy("advised", severity=Severity.CRITICAL)._replace(
    title="Containers that share <the> host",
    description="It can take\n  over the host.",
    remediation="`docker run <image>` without --privileged; see https://docs.example/x.",
    refs=("CIS-5.5",),
)


class Told:
    """A notifier with services that a test looks at."""

    def __init__(self, wait: float = 0.05, pauses: Sequence[float] = (0.01, 0.01), **routes: RouteSettings) -> None:
        self.metrics = Metrics()
        options = routes or {"all": route()}
        self.services = {name: Service() for name in options}
        both: dict[str, tuple[RouteSettings, Send]] = {name: (options[name], self.services[name]) for name in options}
        self.notifier = Notifier(both, self.metrics, lambda: "web1", wait, pauses, "https://web1.example/")
        self.notifier.record(report(policies=policies(a_policy("p", severity=Severity.HIGH), ADVISED)))
        self.notifier.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services.values():
            service.door.set()
        self.notifier.stop()

    def take(self, one: Report) -> None:
        self.notifier.record(one)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"dockwarden_notifications{name}_total", labels) or 0.0


def route(**keys: Any) -> RouteSettings:
    return RouteSettings(url="json://x", **keys)


def test_what_happens_in_one_moment_is_one_message() -> None:
    with Told(wait=30.0) as told:
        told.take(report([result("a"), result("b")]))
        told.take(report(resolved=[result("a")], outcomes=[an_outcome(Effect.APPLIED)]))
        told.notifier.stop()  # which waits no longer
        [(title, body)] = told.services["all"].got
    assert title == "dockwarden: 2 high on web1; 1 acted, 1 resolved"
    assert body.splitlines() == [
        "opened, high, p",
        "- a: is bad",
        "- b: is bad",
        "acted, high, p",
        "- o, remove applied",
        "resolved, high, p",
        "- a: gone",
        "",
        "https://web1.example/",
    ]


def test_the_worst_comes_first_with_what_to_do_about_it() -> None:
    with Told(wait=30.0) as told:
        told.take(report([result("a", "low", Severity.LOW, "a is dull"), result("b", "p", message="b: is bad")]))
        told.take(report([result(f"c{n}", "advised", Severity.CRITICAL, f"c{n} is worse") for n in range(2)]))
        told.notifier.stop()
        [(title, body)], alarms = told.services["all"].got, told.services["all"].alarms
    assert title == "dockwarden: 2 critical, 1 high, 1 low on web1"
    assert alarms == ["failure"]
    assert body.splitlines()[:-2] == [
        "opened, critical, advised: Containers that share \u2039the\u203a host",  # tags would be refused by Telegram
        "- c0 is worse",
        "- c1 is worse",
        "Why: It can take over the host.",
        "What to do: `docker run \u2039image\u203a` without --privileged; see https://docs.example/x.",
        "See: CIS-5.5",
        "opened, high, p",
        "- b: is bad",
        "opened, low, low",
        "- a is dull",
    ]


@pytest.mark.parametrize(
    ("happened", "alarm"),
    [
        (report([result("a", severity=Severity.MEDIUM), result("b", severity=Severity.INFO)]), "warning"),
        (report([result("a", severity=Severity.LOW)], [result("b", severity=Severity.CRITICAL)]), "info"),
        (report(outcomes=[an_outcome(Effect.FAILED), an_outcome(Effect.APPLIED)]), "warning"),
        (report(resolved=[result("a", severity=Severity.CRITICAL)]), "success"),
        (report([result("a")], outcomes=[an_outcome(Effect.FAILED)]), "failure"),
    ],
)
def test_kind_of_a_message_is_that_of_the_worst_in_it(happened: Report, alarm: str) -> None:
    with Told(wait=30.0) as told:
        told.take(happened)
        told.notifier.stop()
        assert told.services["all"].alarms == [alarm]


@given(st.lists(st.tuples(st.sampled_from(list(Severity)), st.integers(1, 40)), max_size=60))
def test_nothing_critical_is_left_out_for_others(found: list[tuple[Severity, int]]) -> None:
    message = Message()
    for number, (severity, count) in enumerate(found):
        for n in range(count):
            message.add(News("opened", severity, f"p{number}", f"{severity}-{number}-{n} is found"))
    title, body = message.write("web1", "", "", "")
    lines = body.splitlines()
    for number, (severity, count) in enumerate(found):
        if severity is Severity.CRITICAL:
            assert all(f"- critical-{number}-{n} is found" in lines for n in range(count))
    ranks = [list(Severity).index(Severity(line.split(", ")[1])) for line in lines if line.startswith("opened, ")]
    assert ranks == sorted(ranks)
    assert len([line for line in lines if "critical" not in line]) <= 10 + 2 * 20 + 1
    counts = {severity: sum(n for each, n in found if each is severity) for severity in Severity}
    assert all(f"{count} {severity}" in title for severity, count in counts.items() if count)


def test_thousands_of_findings_are_one_short_message() -> None:
    with Told(wait=30.0) as told:
        told.take(report([result(f"t{n}", policy=f"p{n % 30}") for n in range(10_000)]))
        told.notifier.stop()
        [(title, body)] = told.services["all"].got
    assert "10,000 high" in title
    assert "- and 324 more" in body
    assert "opened, high, p1: 334" in body
    assert "of 10 policies" in body
    assert len(body.splitlines()) <= 40


def test_each_route_may_have_words_of_its_own() -> None:
    own = route(title="[{host}] {worst}", body="look: {link}\n{findings}\n{{@oncall}}")
    with Told(wait=30.0, own=own, usual=route()) as told:
        told.take(report([result("a")]))
        told.notifier.stop()
        [(title, body)] = told.services["own"].got
        assert (title, body) == (
            "[web1] high", "look: https://web1.example/\nopened, high, p\n- a: is bad\n{@oncall}"
        )  # fmt: skip
        assert told.services["usual"].got[0][0] == "dockwarden: 1 high on web1"
    for wrong in ("{hots}", "{", "{0}", "{host.name}", "{host[0]}", "{host:{worst}}", "{host:{worst}<9}"):
        with pytest.raises(ValueError, match="braces may hold host, summary"):
            route(body=wrong)


def test_only_transitions_are_told() -> None:
    with Told() as told:
        told.take(report(outcomes=[an_outcome(e) for e in (Effect.AUDITED, Effect.SKIPPED, Effect.REFUSED)]))
        told.take(report())
        told.take(report(outcomes=[an_outcome(Effect.FAILED)]))
        told.notifier.stop()
        assert [title for title, _ in told.services["all"].got] == ["dockwarden: 1 failed on web1"]


def test_each_route_hears_what_it_asked_for() -> None:
    with Told(
        loud=route(severity="high"),
        web=route(policies=["web-*", "other"]),
        deeds=route(events=["acted"]),
        nobody=route(policies=[]),
    ) as told:
        told.take(report([result("a", "web-tags", Severity.LOW), result("b", "p", Severity.CRITICAL)]))
        told.take(report(outcomes=[an_outcome(Effect.APPLIED)]))
        told.notifier.stop()
        heard = {name: "\n".join(body for _, body in service.got) for name, service in told.services.items()}
    assert ("b: is bad" in heard["loud"], "a: is bad" in heard["loud"], "acted" in heard["loud"]) == (True, False, True)
    assert heard["web"].startswith("opened, low, web-tags\n- a: is bad\n")
    assert heard["deeds"].startswith("acted, high, p\n- o, remove applied\n")
    assert heard["nobody"] == ""


def test_a_message_that_is_not_taken_is_tried_again() -> None:
    with Told(pauses=[0.01] * 100) as told:
        service = told.services["all"]
        service.works = False
        told.take(report([result("a")]))
        until(lambda: service.tries > 2, "more tries")
        service.works = True
        until(lambda: service.got, "the message")
        until(lambda: told.count("", route="all", result="sent") == 1, "the count")
    assert told.count("_dropped", route="all") == 0


def test_a_message_that_nobody_takes_is_given_up_counted_and_logged() -> None:
    with capture_logs() as lines, Told() as told:
        told.services["all"].works = False
        told.take(report([result("a"), result("b")]))
        until(lambda: told.count("", route="all", result="failed") == 1, "the end of all tries")
        assert told.services["all"].tries == 3
        assert told.count("_dropped", route="all") == 2
    assert [(line["event"], line["error"]) for line in lines] == [
        ("notify.not_sent", "it answered 500"),
        ("notify.failed", "it answered 500"),
    ]


def test_a_service_that_hangs_delays_nobody_else_and_memory_stays_bounded() -> None:
    with Told(slow=route(), quick=route()) as told:
        told.services["slow"].door.clear()
        told.take(report([result("first")]))
        until(lambda: told.services["slow"].tries, "the slow one to hang")
        until(lambda: told.services["quick"].got, "the quick one's message")
        for number in range(200):
            told.take(report([result(f"{number}-{one}") for one in range(100)]))
        pending = told.notifier._channels[0]._pending
        assert (pending.total, [len(group.lines) for group in pending.groups.values()]) == (20_000, [10])
        told.services["slow"].door.set()
        until(lambda: len(told.services["slow"].got) == 2, "all that came meanwhile")
        assert "20,000 high" in told.services["slow"].got[1][0]


@example("a", "aaa")
@given(st.text("ab_ -", min_size=1, max_size=4), st.text("ab_ -", max_size=12))
def test_a_name_that_stands_in_the_text_by_itself_is_not_said_again(name: str, text: str) -> None:
    [news] = _news(report([result(name, message=text)]), {})
    is_said = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)
    assert news.text == (text if is_said else f"{name}: {text}" if text else name)


def test_an_end_waits_for_nobody_for_long() -> None:
    with Told(pauses=[1000.0]) as told:
        told.services["all"].works = False
        told.take(report([result("a")]))
        until(lambda: told.services["all"].tries, "the first try")
        told.notifier.stop()
        assert not any(channel.is_alive() for channel in told.notifier._channels)
        assert told.count("_dropped", route="all") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("app@sha256:00", "app@sha256:00"),
        ("@everyone look", "\N{FULLWIDTH COMMERCIAL AT}everyone look"),
        ("http://evil.example/x", "http: //evil.example/x"),
        ("[click](javascript:x)", "(click)(javascript:x)"),
        ("<!channel> <b>", "\u2039!channel\u203a \u2039b\u203a"),
        ("a\r\nBcc: x\x1b\u202e", "a  Bcc: x  "),
        ("`*b*|s|", "'\u2217b\u2217\u00a6s\u00a6"),
        ("x" * 70_000, "x" * 300 + "…"),
    ],
)
def test_text_of_strangers_is_no_link_no_mention_and_no_markup(text: str, shown: str) -> None:
    assert plain(text) == shown


# -- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # a matter of apprise's
def test_addresses_come_from_files_and_are_never_told(tmp_path: Path) -> None:
    good, bad, empty, binary = (tmp_path / name for name in ("good", "bad", "empty", "binary"))
    good.write_text("\ufeffjson://alice:hush@127.0.0.1:1/x\n")
    bad.write_text("nosuchkind://alice:hush@host\n")
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe")
    assert list(open_routes({"fine": RouteSettings(url_file=good)})) == ["fine"]
    routes = {path.name: RouteSettings(url_file=path) for path in (bad, empty, binary, tmp_path / "nothing")}
    with pytest.raises(ConfigError) as caught:
        open_routes(routes)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        f"settings notify.routes.{n}.url_file" for n in routes
    ]
    assert "hush" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([http(200)], ""),
        ([http(404)], "it answered 404"),
        ([http(500)], "it answered 500"),
        ([], "it cannot be reached, or did not take it"),
    ],
)
def test_why_a_service_did_not_take_it_is_told_without_its_address(answers: list[bytes], told: str) -> None:
    with Misbehaving(lambda _: answers) as service:
        address = RouteSettings.model_validate({"url": f"json://alice:hush@{service.host}/token"})
        [(_, send)] = open_routes({"chat": address}).values()
        assert send("title", "text", "info") == told
        assert send("title", "text", "info") == told


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
@pytest.mark.parametrize("more", ["", "?redirect=yes"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_what_redirects_gets_the_text_or_counts_as_not_sent(status: int, more: str) -> None:
    def answer(asked: Asked) -> list[bytes]:
        return [http(status, b"", "Location: /there") if "/here" in asked else http(200)]

    with Misbehaving(answer) as service:
        address = RouteSettings.model_validate({"url": f"json://{service.host}/here{more}"})
        [(_, send)] = open_routes({"chat": address}).values()
        for _ in range(2):
            told = send("title", "the text", "info")
            got = any(b"the text" in asked.body for asked in service.asked if "/there" in asked)
            assert (not told) is (got or bool(more)), told
            assert f"it answered {status}, which loses the text" in told or not told
            service.asked.clear()


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    assert open_routes({}) == {}
    with pytest.raises(ConfigError, match="pip install apprise"):
        open_routes({"any": route()})


def test_a_route_has_one_address() -> None:
    for keys in ({}, {"url": "json://x", "url_file": "/x"}):
        with pytest.raises(ValueError, match="either url or url_file"):
            RouteSettings(**keys)
    assert "hush" not in repr(RouteSettings(url="json://hush@x"))

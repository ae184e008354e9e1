"""What the pages and the API are given, of a host with more findings than anybody reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockwarden.metrics import Metrics
from dockwarden.model import Effect, Excuse, Kind, Outcome, PolicyException, PolicySet, Ref, Result, Severity, Status
from dockwarden.policy.findings import Findings
from dockwarden.sinks.board import Board
from dockwarden.web import api
from dockwarden.web.page import POLICY, Pages
from dockwarden.web.site import Application
from tests.builders import NOW, a_container, a_policy, a_report, an_image, an_inventory, program
from tests.views import a_view

if TYPE_CHECKING:
    from dockwarden.web.views import Views

OLD = a_policy("old", schedule="0 4 * * *", severity=Severity.LOW)._replace(
    title="Old", remediation="Use `it`, or <b>not</b>"
)
FEW = a_policy("few", severity=Severity.CRITICAL)._replace(description="why", refs=("CIS-5.1",))


def fill(findings: Findings, policy: str, severity: Severity, count: int) -> None:
    for number in range(count):
        ref = Ref(Kind.VOLUME, f"{policy}-{number}")
        findings.note(Result(policy, ref, ref.key, Status.FAIL, severity, f"{ref.key} is [odd]"), NOW - number)


def a_full_view(old: int = 10_000) -> Views:
    findings = Findings()
    fill(findings, "old", Severity.LOW, old)
    fill(findings, "few", Severity.CRITICAL, 3)
    findings.wonder("old", Ref(Kind.VOLUME, "x"), "timeout")
    findings.use("few", Ref(Kind.VOLUME, "y"), ("OPS-1",))
    match = program("volume.anonymous", Kind.VOLUME)
    odd = PolicyException("OPS-1", frozenset({"old", "few"}), match, "odd", until_at=NOW + 60)
    return a_view(OLD, FEW, exceptions=(odd,), findings=findings, old=NOW + 90)[0]


WRITTEN = "2027-01-15T08:00:00Z"
VIEWS = a_full_view(250)
FINDINGS = VIEWS.lists["findings"]


def ask(query: str) -> dict[str, Any]:
    return api.answer("/api/v1/findings", query, FINDINGS, NOW)


# -- the API -------------------------------------------------------------------------------------------------------


def test_pages_together_are_the_whole_list_in_order() -> None:
    seen: list[dict[str, Any]] = []
    query: str | None = "limit=70"
    while query is not None:
        page = ask(query)
        assert page["total"] == 253
        seen += page["items"]
        query = page["next"] and page["next"].partition("?")[2]
    assert [row["name"] for row in seen[:4]] == ["few-0", "few-1", "few-2", "old-0"]
    assert len({row["object_id"] for row in seen}) == 253
    assert len(ask("")["items"]) == 100
    assert [seen[0][name] for name in ("description", "refs", "opened_at")] == ["why", ["CIS-5.1"], WRITTEN]


FIELD = st.sampled_from([("policy", ("old", "few")), ("severity", ("low", "critical")), ("name", ("old-7", "few-1"))])


@given(chosen=st.lists(FIELD.flatmap(lambda f: st.tuples(st.just(f[0]), st.sampled_from(f[1]))), max_size=4))
def test_a_filter_takes_what_has_one_of_its_values_and_several_must_all_hold(chosen: list[tuple[str, str]]) -> None:
    rows = ask("limit=1000")["items"]
    wanted = [row for row in rows if all(row[name] in {v for n, v in chosen if n == name} for name, _ in chosen)]
    assert ask("limit=1000&" + "&".join("=".join(pair) for pair in chosen))["items"] == wanted


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("name=old-1*", 111),
        ("name=old-%3F", 10),
        ("q=OLD-24", 11),
        ("q=[odd]&policy=few", 3),
        ("message=*[odd]", 253),
        ("message=*[o]*", 0),
        ("refs=CIS-*", 3),
        ("result=unknown", 1),
        ("result=unknown&result=fail", 254),
        ("name=", 0),
        ("offset=1000", 253),
    ],
)
def test_filters_know_wildcards_and_nothing_else(query: str, total: int) -> None:
    assert ask(query)["total"] == total


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "offset=-1", "offset=٣", "sevrity=low", "severity=lo", "&a" * 200],
)
def test_what_is_no_query_is_refused(query: str) -> None:
    with pytest.raises(api.BadQueryError):
        ask(query)


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_answers_are_as_described(mode: str) -> None:
    import schemathesis  # noqa: PLC0415 - dear, and this process may not come here

    site = Application(Metrics().registry, Metrics().health, VIEWS)
    described = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", site)
    operations: list[Any] = list(described.get_all_operations())
    assert len(operations) > 3
    for each in operations:
        operation = each.ok()

        @settings(max_examples=15, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
        def holds(case: Any) -> None:
            case.call_and_validate(headers={"Accept-Encoding": "identity"})

        holds()


# -- the page ------------------------------------------------------------------------------------------------------


def page(views: Views, query: str = "") -> str:
    text = Pages(views).render("/", query)
    assert text is not None
    return text


def test_of_ten_thousand_findings_the_page_has_the_first_of_each_policy_and_leads_to_all() -> None:
    text = page(a_full_view())
    assert "10,003" in text
    assert text.index("few-0") < text.index("old-0")
    assert [f"old-{number}" in text for number in (0, 9, 10)] == [True, True, False]
    assert 'href="./?policy=old#findings"' in text
    assert len(text) < 60_000
    assert "Use <code>it</code>, or &lt;b&gt;not&lt;/b&gt;" in text


@pytest.mark.parametrize(("count", "said"), [(13, "1 more policy with"), (14, "2 more policies with")])
def test_what_the_page_folds_is_counted(count: int, said: str) -> None:
    findings = Findings()
    for number in range(count):
        findings.note(Result(f"p-{number}", Ref(Kind.VOLUME, "v"), "v", Status.FAIL, Severity.LOW, "old"), NOW)
    assert said in page(a_view(findings=findings)[0])


def test_search_and_filters_of_the_page_work_by_the_query() -> None:
    text = page(VIEWS, "policy=old&offset=100&q=&severity=")
    assert ("old-100<" in text, "old-99<" in text, "few-0" in text) == (True, False, False)
    assert 'href="./?policy=old&amp;offset=200#findings" rel="next"' in text
    assert 'href="./?policy=old#findings" rel="prev"' in text
    text = page(VIEWS, 'q="><script>')
    assert 'value="&#34;&gt;&lt;script&gt;"' in text
    assert "Nothing matches" in text
    assert "few-0" in page(VIEWS, "severity=critical&result=fail")


def test_the_page_loads_again_unless_it_is_told_not_to() -> None:
    assert '<meta http-equiv="refresh" content="60">' in page(VIEWS)
    assert "http-equiv" not in page(VIEWS, "refresh=off&policy=old")


def test_actions_have_the_number_by_which_they_are_undone_as_long_as_they_can_be() -> None:
    left = {7: NOW + 3600}
    views, board = a_view(OLD)
    board.undoable_until = lambda: left
    about = ("old", "remove", Ref(Kind.VOLUME, "v"), "v")
    done = Outcome(*about, Effect.APPLIED, "removed", number=7)
    board.record(a_report(outcomes=(done, Outcome(*about, Effect.AUDITED, "audit"))))
    rows = api.answer("", "", views.lists["actions"], NOW)["items"]
    assert [(row["id"], row["undoable_until"]) for row in rows] == [(None, None), (7, "2027-01-15T09:00:00Z")]
    assert "dockwarden undo 7" in page(views)
    left.clear()
    board.record(a_report(job="old"))
    assert "dockwarden undo 7" not in page(views)


def test_what_was_done_and_last_ran_is_not_pushed_out_by_what_is_previewed_every_minute() -> None:
    views, board = a_view(OLD, FEW)
    about = ("old", "remove", Ref(Kind.VOLUME, "v"), "v")
    board.record(a_report(job="old", outcomes=(Outcome(*about, Effect.APPLIED, "removed", number=7),)))
    for number in range(60):
        audited = (Outcome(*about, Effect.AUDITED, "audit"),) * 10
        board.record(a_report(job="few", outcomes=audited, started_at=NOW + number))
    [row] = api.answer("", "outcome=applied", views.lists["actions"], NOW)["items"]
    assert row["id"] == 7
    assert api.answer("", "", views.lists["actions"], NOW)["total"] == 501
    assert "Nothing was changed" not in page(views)
    assert board.last_runs == {"old": NOW, "few": NOW + 59}
    for number in range(60):
        board.record(a_report(job=f"quiet-{number % 2}", started_at=NOW + number))
    assert [(run["job"], run["at"]) for run in board.runs[:3]] == [
        ("quiet-1", NOW + 59),
        ("quiet-0", NOW + 58),
        ("few", NOW + 59),
    ]


def test_what_former_processes_did_is_read_once_also_where_there_are_no_policies() -> None:
    board = Board(lambda _most: [{"id": 1}], dict)
    for _ in range(3):
        board.record(a_report(policies=PolicySet((), "of none")))
    assert board.actions == [{"id": 1}]


def test_what_is_excused_says_by_which_exceptions_and_until_when() -> None:
    match, findings = program("true", Kind.VOLUME), Findings()
    for name in ("soon,later", "later,ever", "label"):
        excuse = Excuse(tuple(name.split(",")))
        found = Result("few", Ref(Kind.VOLUME, name), name, Status.EXCUSED, Severity.LOW, excuse=excuse)
        findings.excuse(found, NOW)
    ends = {"soon": NOW + 60, "later": NOW + 120, "ever": None}
    rules = tuple(PolicyException(name, frozenset({"few"}), match, "", until_at=at) for name, at in ends.items())
    views = a_view(FEW, exceptions=rules, findings=findings)[0]
    items = api.answer("/api/v1/findings", "result=excused", views.lists["findings"], NOW)["items"]
    expected = {("soon", "later"): "2027-01-15T08:02:00Z", ("later", "ever"): None, ("label",): None}
    assert {tuple(each["exceptions"]): each["until"] for each in items} == expected


def test_policies_exceptions_and_schedules_have_their_counts_and_next_run() -> None:
    few, old = list(VIEWS.lists["policies"].rows())
    assert (old.findings, old.unknown, old.next_run_at) == (250, 1, NOW + 90)
    assert (few.findings, few.unknown, few.next_run_at) == (3, 0, None)
    (exception,) = api.answer("", "policies=old", VIEWS.lists["exceptions"], NOW)["items"]
    assert (exception["state"], exception["used"], exception["until"]) == ("active", 1, "2027-01-15T08:01:00Z")
    assert "OPS-1" in page(VIEWS)
    (schedule,) = api.answer("", "", VIEWS.lists["schedules"], NOW)["items"]
    assert schedule["next_run_at"] == "2027-01-15T08:01:30Z"


def test_it_says_since_when_the_daemon_is_not_ready() -> None:
    assert re.search(r"not ready since <time [^>]+>[0-9ms ]+ ago", page(VIEWS))


def test_the_page_allows_itself_nothing_but_its_own_style_and_search() -> None:
    assert POLICY.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in POLICY
    assert "script" not in POLICY


# -- pages of policies and objects ---------------------------------------------------------------------------------


def test_the_page_of_a_policy_says_why_it_is_there_and_who_fails_it() -> None:
    text = Pages(VIEWS).render("/policy/few", "")
    assert text is not None
    for part in ("why", "CIS-5.1", "few-0", "3 open", "OPS-1", "true"):
        assert part in text
    assert Pages(VIEWS).render("/policy/nothing", "") is None


def test_the_page_of_an_object_says_what_it_is_what_is_found_and_what_would_happen() -> None:
    inventory, findings = an_inventory(), Findings()
    image = an_image("shop", "shop/web:1")
    web = a_container("web", "shop/web:1", "shop")
    for thing in (image, web):
        inventory.put(thing)
    ends = a_policy("ends", subject=Kind.CONTAINER, action="remove")
    findings.note(Result("ends", Ref(Kind.CONTAINER, web.id), "web", Status.FAIL, Severity.HIGH, "web is <odd>"), NOW)
    pages = Pages(a_view(ends, findings=findings, inventory=inventory)[0])
    for path in ("/object/container/web", f"/object/container/{web.id[:12]}"):
        text = pages.render(path, "") or ""
        assert "web is" not in text
        for part in ("is &lt;odd&gt;", "docker.io/<wbr>shop/<wbr>web:<wbr>1", "What would happen to it", "runs image"):
            assert part in text, part
    assert "used by container" in (pages.render("/object/tag/docker.io/shop/web:1", "") or "")
    for path in (
        "/object/container/nothing",
        "/object/volume/web",
        "/object/thing/web",
        "/object/",
        "/object/container/",
    ):
        assert pages.render(path, "") is None


@pytest.mark.parametrize("path", ["/", "/policy/ends", "/object/container/web", "/object/tag/docker.io/shop/web:1"])
def test_links_hold_below_any_path_that_a_proxy_puts_before_ours(path: str) -> None:
    inventory, findings = an_inventory(), Findings()
    web = a_container("web", "shop/web:1", "shop")
    for thing in (an_image("shop", "shop/web:1"), web):
        inventory.put(thing)
    odd = Result("ends", Ref(Kind.CONTAINER, web.id), "web", Status.FAIL, Severity.HIGH, 'a href="/#b')
    findings.note(odd, NOW)
    pages = Pages(a_view(a_policy("ends"), findings=findings, inventory=inventory)[0])
    text = pages.render(path, "") or ""
    assert "href=&#34;/#b" in text or path != "/"
    links = [
        urlsplit(urljoin(f"http://h/to/us{path}", link)) for link in re.findall(r'(?:href|action)="([^"]*)"', text)
    ]
    ours = [unquote(link.path).removeprefix("/to/us") for link in links if link.scheme == "http"]
    assert {"/", "/metrics", "/api/v1/findings"} < set(ours)
    for each in ours:
        assert each in ("/metrics", "/healthz", "/readyz") or each.startswith("/api/v1/") or pages.render(each, ""), (
            each
        )


def test_what_went_still_has_a_page_that_says_what_was_done_to_it() -> None:
    views, board = a_view(OLD)
    done = Outcome("old", "remove", Ref(Kind.VOLUME, "v"), "v", Effect.APPLIED, "removed", number=7)
    board.record(a_report(outcomes=(done,)))
    about = {"subject": "volume", "severity": "low", "policy": "old", "message": "v was old"}
    over = {**about, "opened_at": NOW - 60, "resolved_at": NOW}
    board.past_of = lambda names: ([], [over] if "v" in names else [])
    text = Pages(views).render("/object/volume/v", "") or ""
    assert "It is not here any more" in text
    assert "v was old" in text
    assert "applied" in text

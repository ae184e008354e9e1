"""What the page and the API are given, of a host with more findings than anybody reads."""

from __future__ import annotations

from typing import cast

from dockwarden.health import Health
from dockwarden.model import Kind, Ref, Result, Severity, Status
from dockwarden.policy.findings import Findings
from dockwarden.sinks.board import Board
from dockwarden.web.page import POLICY, render
from dockwarden.web.views import Views
from tests.builders import NOW, a_policy, a_report, an_inventory, policies


def views(findings: Findings) -> Views:
    board = Board(lambda _most: ())
    board.record(a_report(policies=policies(a_policy("old", schedule="0 4 * * *"), a_policy("few"))))
    return Views(board, findings, an_inventory(), Health(), lambda: {"old": NOW + 90}, lambda: NOW)


def fill(findings: Findings, policy: str, severity: Severity, count: int) -> None:
    for number in range(count):
        ref = Ref(Kind.VOLUME, f"{policy}-{number}")
        findings.note(Result(policy, ref, ref.key, Status.FAIL, severity), NOW - number)


def test_of_ten_thousand_findings_the_page_has_the_worst_and_newest_and_says_where_all_are() -> None:
    findings = Findings()
    fill(findings, "old", Severity.LOW, 10_000)
    fill(findings, "few", Severity.CRITICAL, 3)
    status = views(findings).status()
    rows = cast("list[dict[str, object]]", status["findings"])
    assert [row["name"] for row in rows[:4]] == ["few-0", "few-1", "few-2", "old-0"]
    page = render(status)
    assert page.count('scope="row"') == len(rows) + 2 < 110
    assert "10,003" in page
    assert 'href="/api/v1/findings"' in page
    assert len(page) < 100_000
    assert len(cast("list[object]", views(findings).api()["findings"]())) == 10_003


def test_policies_have_their_counts_and_next_run() -> None:
    findings = Findings()
    fill(findings, "old", Severity.LOW, 2)
    findings.wonder("old", Ref(Kind.VOLUME, "x"), "timeout")
    few, old = cast("list[dict[str, object]]", views(findings).status()["policies"])
    assert (old["found"], old["unknown"], old["next_run_at"]) == (2, 1, NOW + 90)
    assert (few["found"], few["unknown"], few["next_run_at"]) == (0, 0, None)


def test_the_page_allows_itself_nothing_but_its_own_style() -> None:
    assert POLICY.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in POLICY
    assert "script" not in POLICY

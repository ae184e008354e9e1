"""Formats for CI systems: what their readers demand holds, whatever strangers call their things.

The demands are those of the SARIF 2.1.0 schema and of what GitHub asks beyond it, of the two common schemas of JUnit
XML, of GitHub's workflow commands, and of tables in Markdown.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.cli.formats import Verdict, of_problem, render
from dockwarden.model import Severity, Status
from tests.commands import command

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[3]
WORDS = [*(status.value for status in Status), "warning"]
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["a|b", "`x`", "<b>", "100%\n::error::", "\x1b[31m", "\ud800", "\uffff]]>"]
)
VERDICTS = st.builds(
    Verdict,
    rule=st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True),
    status=st.sampled_from(WORDS),
    severity=st.sampled_from([severity.value for severity in Severity]),
    name=TEXTS,
    message=TEXTS,
    place=st.sampled_from(["", "policies/a b.yaml:3", "/etc/ü.yaml:4:7", "no place"]),
    kind=st.sampled_from(["", "image"]),
)
LISTS = st.lists(VERDICTS, max_size=5)


def check_sarif(document: dict[str, Any]) -> None:
    assert document["version"] == "2.1.0"
    [run] = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    for rule in run["tool"]["driver"]["rules"]:
        assert all(rule[key]["text"] for key in ("shortDescription", "fullDescription", "help") if key in rule)
        tags = rule.get("properties", {}).get("tags", [])
        assert len(set(tags)) == len(tags)
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert set(result["message"]) == {"text"}
        for place in result.get("locations", []):
            region = place.get("physicalLocation", {}).get("region", {"startLine": 1})
            assert min(region.values()) >= 1
            uri = place.get("physicalLocation", {}).get("artifactLocation", {}).get("uri", "a")
            assert re.fullmatch(r"(?:file://)?(?:[\w./~-]|%[0-9A-F]{2})+", uri, re.ASCII)
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert all(note["level"] in ("error", "warning") and "text" in note["message"] for note in notes)


def check_junit(text: str) -> ET.Element:
    """As the schemas of Jenkins and of Ant have it."""
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    for suite in root:
        assert suite.attrib.keys() >= {"name", "tests", "failures", "errors", "time", "timestamp", "hostname", "id"}
        assert [each.tag for each in suite if each.tag != "testcase"] == ["properties", "system-out", "system-err"]
        assert suite[0].tag == "properties"
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[attribute]) == len(suite.findall(f"testcase/{tag}"))
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
        for case in suite.findall("testcase"):
            assert case.attrib.keys() == {"classname", "name", "time"}
            assert len(case) <= 1
            assert all(inner.tag == "skipped" or "type" in inner.attrib for inner in case)
    return root


@given(LISTS)
def test_sarif_is_what_its_readers_demand(verdicts: list[Verdict]) -> None:
    document = json.loads(render("sarif", verdicts, {}))
    check_sarif(document)
    results = document["runs"][0]["results"]
    assert len(results) == sum(verdict.status in ("fail", "excused", "warning") for verdict in verdicts)


@given(LISTS)
def test_junit_is_what_its_readers_demand(verdicts: list[Verdict]) -> None:
    root = check_junit(render("junit", verdicts, {}))
    assert len(root.findall("testsuite/testcase")) == len(verdicts)
    assert len(root.findall("testsuite/testcase/failure")) == sum(verdict.status == "fail" for verdict in verdicts)


@given(LISTS)
def test_each_line_for_github_is_one_command(verdicts: list[Verdict]) -> None:
    lines = render("github", verdicts, {}).split("\n")
    loud = [verdict for verdict in verdicts if verdict.status in ("fail", "error", "unknown", "warning")]
    assert len([line for line in lines if line]) == len(loud)
    for line in filter(None, lines):
        told = re.fullmatch(r"::(error|warning|notice) ([^:\r]*)::([^\r]*)", line)
        assert told, line
        keys = [pair.partition("=")[0] for pair in told[2].split(",")]
        assert set(keys) <= {"file", "line", "col", "title"}
        unquote(told[3], errors="strict")


@pytest.mark.parametrize(
    ("name", "message", "told"),
    [
        ("web", "web has no limit", "web has no limit"),
        ("web", "webserver web has no limit", "webserver web has no limit"),
        ("web", "its webserver has no limit", "web: its webserver has no limit"),
        ("web", "webが停止しています", "webが停止しています"),
        ("0123456789ab", f"sha256:{'0123456789abcdef' * 4} is old", f"sha256:{'0123456789abcdef' * 4} is old"),
        ("0123456789ab", "0123456789abcdef is old", "0123456789ab: 0123456789abcdef is old"),
        ("web", "", "web"),
        ("", "no limit", "no limit"),
    ],
)
def test_message_is_preceded_by_the_name_that_it_does_not_have(name: str, message: str, told: str) -> None:
    assert render("github", [Verdict("rule", "fail", "high", name, message)], {}).endswith(f"::{told}")


@given(LISTS)
def test_markdown_is_a_table_of_four_columns_without_markup_of_strangers(verdicts: list[Verdict]) -> None:
    lines = render("markdown", verdicts, {}).splitlines()
    rows = lines[:-2] if len(lines) > 1 else []
    assert len(rows) in (0, 2 + sum(verdict.status not in ("pass", "skip") for verdict in verdicts))
    for row in rows:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 5
        assert "<" not in row.replace(html.escape("<"), "")


def test_markdown_ends_with_how_many_of_each_there_are() -> None:
    words = ["pass", "error", "warning", "warning", "error", "fail", "skip", "pending"]
    verdicts = [Verdict("rule", word, "high", f"{number}", "") for number, word in enumerate(words)]
    assert render("markdown", verdicts, {}).splitlines()[-1] == "1 finding, 2 errors, 1 pass, 1 pending, 2 warnings"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("policies/a.yaml:3:5 when: no such fact", ("policies/a.yaml", 3, 5)),
        ("policies/a.yaml:3 x: y", ("policies/a.yaml", 3, 0)),
        ("DOCKWARDEN_LOG__LEVEL: unknown", ("", 0, 0)),
        ("127.0.0.1:0 is odd", ("", 0, 0)),
    ],
)
def test_place_of_a_problem_is_found_where_there_is_one(text: str, where: tuple[str, int, int]) -> None:
    verdict = of_problem(text)
    assert verdict.where() == where
    assert verdict.message == (text.partition(" ")[2] if where[1] else text)


# -- as commands print them ------------------------------------------------------------------------------------------

BROKEN = "version: 1\npolicies:\n  - {name: a, subject: image, when: imag.dangling, trigger: {every: 1h}}\n"


def failures(form: str, text: str) -> Iterable[str]:
    if form == "sarif":
        check_sarif(json.loads(text))
        for result in json.loads(text)["runs"][0]["results"]:
            place = result["locations"][0]["physicalLocation"]
            yield f"{place['artifactLocation']['uri']}:{place['region']['startLine']}"
    elif form == "junit":
        yield from (
            case.attrib["name"] for case in check_junit(text).iter("testcase") if case.find("failure") is not None
        )
    elif form == "github":
        yield from re.findall(r"^::error file=(.*?),line", text, re.MULTILINE)
    elif form == "markdown":
        yield from re.findall(r"^\| high \|.*$", text, re.MULTILINE)
    else:
        yield from (row["place"] for row in map(json.loads, text.splitlines()) if row["result"] == "fail")


@pytest.mark.parametrize("form", ["sarif", "junit", "github", "markdown", "jsonl"])
def test_check_tells_what_is_wrong_in_each_format_and_exits_78(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text(BROKEN)
    done = command("check", "-o", form, "broken.yaml")
    assert done.code == 78, done
    [found] = failures(form, done.out)
    assert "broken" in found
    fine = command("check", "-o", form, ROOT / "config/policies")
    assert (fine.code, list(failures(form, fine.out))) == (0, [])


def test_test_tells_a_failed_test_in_each_format(tmp_path: Path) -> None:
    policy = "version: 1\npolicies:\n  - {name: a, subject: tag, when: tag.name == 'x', trigger: {every: 1h}, tests: ["
    (tmp_path / "a.yaml").write_text(policy + "{name: t, given: {tag.name: y}, expect: fail}]}\n")
    for form in ("sarif", "junit"):
        done = command("test", "-o", form, tmp_path / "a.yaml")
        assert done.code == 1
        assert len(list(failures(form, done.out))) == 1


def test_a_file_is_named_as_it_is_seen_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where CI knows it; what is not below, by its whole path."""
    monkeypatch.chdir(tmp_path)
    places = [str(tmp_path / "policies/a b.yaml"), "policies/a b.yaml", "/etc/a.yaml"]
    found = [Verdict("rule", "fail", "high", "", "", f"{place}:3:7").where() for place in places]
    assert found == [("policies/a b.yaml", 3, 7), ("policies/a b.yaml", 3, 7), ("/etc/a.yaml", 3, 7)]


# -- where CI finds them ---------------------------------------------------------------------------------------------


def test_hooks_of_pre_commit_are_commands_and_look_at_policy_files() -> None:
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()):
        program, *arguments = hook["entry"].split()
        assert program == "dockwarden"
        assert command(*arguments, ROOT / "config/policies/no-latest-tag.yaml").code == 0
        assert re.search(hook["files"], "config/policies/no-latest-tag.yaml")


@pytest.mark.parametrize("between", [" ", "\n", " \n"])
@pytest.mark.parametrize(("content", "code"), [("version: 1\n", 0), (BROKEN, 78)])
def test_github_action_runs_what_it_is_asked(content: str, code: int, between: str, tmp_path: Path) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    [_, step] = action["runs"]["steps"]
    (tmp_path / "dockwarden/bin").mkdir(parents=True)
    (tmp_path / "dockwarden/bin/dockwarden").symlink_to(Path(sys.executable).with_name("dockwarden"))
    (tmp_path / "a.yaml").write_text(content)
    chosen = action["inputs"]["command"]["default"]
    inputs = {"RUNNER_TEMP": str(tmp_path), "COMMAND": chosen, "PATHS": f"shipped{between}a.yaml{between}"}
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], env=inputs, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done
    assert done.stdout.startswith("::error file=a.yaml,line=3") is (code != 0)

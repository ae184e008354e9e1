"""The policies' own tests: what they find, what they leave out, and that every shipped policy has them."""

from pathlib import Path

import pytest

from dockwarden.actions.table import VERBS
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.policy.load import load
from dockwarden.policy.trial import Tried, attempts, operands, undecided
from tests import docs


def test_every_shipped_policy_is_tested_for_a_fail_its_message_and_a_pass() -> None:
    policies = load([docs.POLICIES], VOCABULARY, VERBS, tests="cover")
    assert [each for each in attempts(policies) if each.wrong] == []
    assert policies.uncovered == ()
    told = {trial.policy for trial in policies.trials if trial.expect == "fail" and trial.message}
    assert told == {policy.name for policy in policies.policies}


def one(folder: Path, case: str, when: str = "image.in_use && image.size > params.most") -> Tried:
    file = folder / "p.yaml"
    file.write_text(f"""version: 1
policies:
  - name: p
    subject: image
    trigger: {{every: 1h}}
    params: {{most: 10GB}}
    select: "!image.dangling"
    when: {when}
    message: "{{{{ image.ref }}}} is big"
    tests: [{case}]
""")
    (found,) = attempts(load([file], VOCABULARY, VERBS, tests="read"))
    return found


@pytest.mark.parametrize(
    ("given", "expect", "wrong"),
    [
        ("image.dangling: false, image.in_use: true, image.size: 11GB", "fail", ""),
        ("image.dangling: false, image.in_use: true, image.size: 9GB", "pass", ""),
        ("image.dangling: false, image.in_use: false", "pass", ""),
        ("image.dangling: true", "skip", ""),
        ("image.dangling: false", "unknown", ""),
        ("image.dangling: false", "pass", "expected pass, got unknown: image.in_use is not given"),
        ("image.dangling: false, image.in_use: true, image.size: 9GB", "fail", "expected fail, got pass"),
    ],
)
def test_what_comes_out(tmp_path: Path, given: str, expect: str, wrong: str) -> None:
    assert one(tmp_path, f"{{given: {{{given}}}, expect: {expect}}}").wrong == wrong


@pytest.mark.parametrize("percent", ["85", "85.0", '"85"', '"85.0"', "8.5e+1"])
def test_a_number_may_stand_in_quotes(tmp_path: Path, percent: str) -> None:
    given = f"{{image.dangling: false, host.disk_used_percent: {percent}}}"
    when = "host.disk_used_percent == 85.0 && params.most > 0"
    assert one(tmp_path, f"{{given: {given}, expect: fail}}", when).wrong == ""


def test_a_message_is_compared(tmp_path: Path) -> None:
    given = "{image.dangling: false, image.in_use: true, image.size: 11GB, image.ref: a.example/b:1}"
    assert one(tmp_path, f"{{given: {given}, expect: fail, message: a.example/b:1 is big}}").wrong == ""
    wrong = one(tmp_path, f"{{given: {given}, expect: fail, message: big}}").wrong
    assert wrong == "the message is 'a.example/b:1 is big', not 'big'"


def test_params_of_a_test_replace_those_of_the_file(tmp_path: Path) -> None:
    given = "{image.dangling: false, image.in_use: true, image.size: 9GB}"
    assert one(tmp_path, f"{{given: {given}, params: {{most: 1GB}}, expect: fail}}").wrong == ""


@pytest.mark.parametrize(
    ("source", "leaves"),
    [
        ("a && (b || !(c && d))", ["a", "b", "c", "d"]),
        ("a ? b : c && d", ["a", "b", "c", "d"]),
        ("x.exists(i, i || y['&&'] == 'a') && y['a'] == ':'", ["x.exists(i, i || y['&&'] == 'a')", "y['a'] == ':'"]),
        ("(a) && (b) || (c)", ["a", "b", "c"]),
        ("((a == b) ? (y[')'] == '(') : (!c)) // )", ["a == b", "y[')'] == '('", "!c"]),
        ("!(!(a || b) && (c) == (d))", ["a", "b", "(c) == (d)"]),
        ("a ? b && c : d ? !(a || b) == c : (a) || b", ["a", "b", "c", "d", "!(a || b) == c", "a", "b"]),
        ("y[?'?'] == a.?b\n// a && b\n&& !!(i || x) && !a", ["y[?'?'] == a.?b", "i", "x", "!a"]),
    ],
)  # fmt: skip
def test_conditions_are_operands(source: str, leaves: list[str]) -> None:
    assert [leaf.source for leaf in operands(source).leaves()] == leaves


def test_an_operand_decides_where_its_opposite_would_change_what_comes_out() -> None:
    whole = operands("a && (b || c)")
    both: dict[str, bool | None] = {"a": True, "b": True, "c": True}
    assert undecided(whole, [both]) == ["b", "c"]
    assert undecided(whole, [{**both, "c": False}]) == ["c"]
    assert undecided(whole, [{**both, "c": False}, {**both, "b": False}]) == []
    assert undecided(operands("a"), []) == []

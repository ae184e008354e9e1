"""Every policy of docs/gallery.md passes the tests that stand below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dockwarden.actions.table import VERBS
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.policy.load import load
from dockwarden.policy.trial import attempts

PAGE = (Path(__file__).parents[3] / "docs/gallery.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_gallery_has_one_policy_for_each_need() -> None:
    assert len(BLOCKS) == PAGE.count("\n### ") >= 30


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.findall(r"- name: (\S+)", block)[0])
def test_a_policy_of_the_gallery_passes_its_tests(block: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(block)
    found = load([tmp_path], VOCABULARY, VERBS, tests="read")
    assert len(found.policies) == 1
    assert [each for each in attempts(found) if each.wrong] == []
    assert {trial.expect for trial in found.trials} >= {"fail", "pass"}

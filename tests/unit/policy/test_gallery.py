"""Every policy of docs/gallery.md, tried on made-up objects: a finding and its message, and what is none."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockwarden.actions.table import VERBS
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.model import FactSpec, Status
from dockwarden.policy import evaluate
from dockwarden.policy.load import load
from dockwarden.text import duration, size
from dockwarden.triggers.schedule import refuse_cron
from tests.unit.policy.builders import Known

HERE = Path(__file__).parent
PAGE = (HERE.parents[2] / "docs/gallery.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
CASES: dict[str, list[dict[str, Any]]] = yaml.safe_load((HERE / "testdata/gallery.yaml").read_text())
NOW = datetime(2026, 1, 1, tzinfo=UTC)
_EMPTY = {"bool": False, "int": 0, "string": ""}


def value(spec: FactSpec, written: Any) -> Any:
    """A fact's value, by the fact's type."""
    match spec.type:
        case "duration":
            return duration(written)
        case "timestamp":
            return datetime.fromisoformat(str(written)).replace(tzinfo=UTC)
        case "int" if isinstance(written, str):
            return size(written)
        case "list(map)":
            return [{key: _EMPTY[inner.type] for key, inner in spec.keys.items()} | record for record in written]
        case _:
            return written


def test_there_are_many_and_each_is_tried() -> None:
    assert len(BLOCKS) == PAGE.count("\n### ") >= 30
    assert [name for block in BLOCKS for name in re.findall(r"- name: (\S+)", block)] == list(CASES)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.findall(r"- name: (\S+)", block)[0])
def test_a_policy_of_the_gallery_says_what_it_is_said_to_say(block: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(block)
    (policy,) = load([tmp_path], VOCABULARY, VERBS, check_cron=refuse_cron).policies
    facts = VOCABULARY[policy.subject]
    seen = set()
    for case in CASES[policy.name]:
        known = Known({name: value(facts[name], written) for name, written in case["given"].items()} | {"now": NOW})
        verdict = evaluate.judge(policy, known)
        assert verdict.status.value == case["expect"], case
        seen.add(verdict.status)
        if "message" in case:
            assert evaluate.render(policy, known) == case["message"]
    assert seen >= {Status.FAIL, Status.PASS}

"""Every rule about kinds of objects answers for all kinds, so that the type checker lists what a new kind needs."""

from __future__ import annotations

import ast
from pathlib import Path

import dockwarden
from tests.tables import each

SOURCES = sorted(Path(dockwarden.__file__).parent.rglob("*.py"))
THINGS = {"Image", "Container", "Volume", "Network", "Service"}


def is_of_kinds(node: ast.AST) -> bool:
    """``Kind.IMAGE``."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Kind"


def is_about_kinds(match: ast.Match) -> bool:
    """Whether a match tells kinds, or the objects themselves, apart."""
    nodes = [node for case in match.cases for node in ast.walk(case.pattern)]
    classes = {node.cls.id for node in nodes if isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name)}
    return any(is_of_kinds(node) for node in nodes) or len(classes & THINGS) > 1


@each("source", SOURCES)
def test_no_rule_takes_one_kind_for_whatever_is_left(source: Path) -> None:
    tree = ast.parse(source.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Match) and is_about_kinds(node):
            rest = [case for case in node.cases if isinstance(case.pattern, ast.MatchAs) and not case.pattern.pattern]
            assert all("assert_never" in ast.unparse(case) for case in rest), f"{source.name}:{node.lineno}"
        if isinstance(node, ast.Dict):  # which no type checker proves complete
            assert not any(key and is_of_kinds(key) for key in node.keys), f"{source.name}:{node.lineno}"

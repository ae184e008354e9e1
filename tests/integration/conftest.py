"""Marks every test that uses a real engine with `engine`."""

from __future__ import annotations

import pytest

_REAL = {"engine", "empty_engine", "graph_engine", "containerd_engine", "own_engine"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _REAL & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.engine)

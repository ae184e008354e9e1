"""A newer engine than the machine's: where its files are (see `trees`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab import trees

if TYPE_CHECKING:
    from pathlib import Path


def ensure() -> Path:
    """The folder with the engine's files; makes it first if it is not there (14 s, 320 MB)."""
    return trees.ensure(trees.NEW_ENGINE)

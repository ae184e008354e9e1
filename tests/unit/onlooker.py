"""A host for commands that look once: an engine and registries in memory, in the place of the real adapters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dockwarden import app
from dockwarden.config.settings import Settings
from dockwarden.sinks.ledger import Ledger
from tests.builders import NOW
from tests.fakes import FakeEngine, FakeRegistry

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@dataclass
class Host:
    """What a command finds, and the folder of the ledger."""

    folder: Path
    engine: FakeEngine = field(default_factory=FakeEngine)
    registry: FakeRegistry = field(default_factory=FakeRegistry)

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on the program meets this host."""
        monkeypatch.setattr(app, "DockerEngine", lambda **_: self.engine)
        monkeypatch.setattr(app, "HttpRegistry", lambda *_, **__: self.registry)

    @property
    def settings(self) -> Settings:
        return Settings(state_dir=self.folder)

    def remember(self, *sightings: tuple[str, str, str, float], identity: str = "") -> None:
        """A daemon was here and saw these digests: tag, side, digest, since when."""
        ledger = Ledger(self.folder, lambda: NOW, lambda _writable: None)
        ledger.open()
        ledger.claim(identity or self.engine.info.identity)
        ledger.save_digests(sightings)
        ledger.close()

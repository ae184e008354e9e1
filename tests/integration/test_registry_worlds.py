"""Registries with quirks: what an engine of either kind pulls from, we can tell the digest of."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from dockwarden.config.settings import RegistrySettings
from dockwarden.ports import Ask, Reply
from dockwarden.registry import HttpRegistry, Options
from tests.integration.worlds import PULLED, world
from tests.lab.images import ImageSpec
from tests.lab.machine import LabError

if TYPE_CHECKING:
    from tests.lab.engine import LabEngine
    from tests.lab.registry import LabRegistry

SOON = 30.0
ALICE = RegistrySettings(username="alice", password=SecretStr("secret"))
NAMES = list(PULLED)


@pytest.fixture(scope="module")
def digest(registry: LabRegistry) -> str:
    return registry.push("worlds/app", "1", ImageSpec(labels={"of": "worlds"}))


@pytest.mark.parametrize("name", NAMES)
def test_what_an_engine_pulls_we_can_tell(
    empty_engine: LabEngine, registry: LabRegistry, digest: str, name: str
) -> None:
    with world(registry, name) as scene:
        one, two = scene.hosts
        for host in scene.hosts:
            empty_engine.forward(int(host.host.partition(":")[2]))
        tag = f"{one.host}/worlds/app:1"
        try:
            empty_engine.docker("pull", "--quiet", tag)
            pulls = True
        except LabError:
            pulls = False
        assert pulls == (empty_engine.kind in PULLED[name][2])
        one.asked.clear()
        two.asked.clear()
        given = Options(hosts={one.host: ALICE}, docker_config=Path("/nonexistent"), environ={})
        with contextlib.closing(HttpRegistry(given)) as ours:
            for _ in range(3):
                assert ours.ask(Ask("digest", tag), 0).result(SOON) == Reply(digest=digest)
            assert ours.ask(Ask("manifest", f"{one.host}/worlds/app@{digest}")).result(SOON).config
            assert ours.ask(Ask("tags", f"{one.host}/worlds/app")).result(SOON) == Reply(tags=("1",))
        if "passed on" not in name:  # who names a server of tokens himself, trusts it
            assert not [asked for asked in two.asked if asked.header("Authorization").startswith("Basic")]
        heads = [asked for asked in one.asked if asked.startswith("HEAD")]
        if name.startswith("HEAD"):  # remembered
            assert len(heads) == 1
        if name in ("plain", "tokens"):
            assert len(heads) == 3 + (name == "tokens")
            assert len([asked for asked in one.asked if "/token" in asked]) == (name == "tokens")
            assert len([asked for asked in one.asked if asked.startswith("GET /v2")]) == 2

"""Registries with quirks: what an engine of either kind pulls from, we can tell the digest of."""

from __future__ import annotations

import base64
import contextlib
import json
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
from tests.lab.registry import LabRegistry

if TYPE_CHECKING:
    from tests.lab.engine import LabEngine

SOON = 30.0
ALICE = RegistrySettings(username="alice", password=SecretStr("secret"))
NAMES = list(PULLED)
PASSWORD = "a rather long secret, " * 3


@pytest.fixture(scope="module")
def digest(registry: LabRegistry) -> str:
    return registry.push("worlds/app", "1", ImageSpec(labels={"of": "worlds"}))


def logins(host: str) -> dict[str, dict[str, object]]:
    """Docker's `config.json`, as it is found on hosts, with a login for alice somewhere in it, or none."""
    auth = base64.b64encode(b"alice:" + PASSWORD.encode()).decode()
    wrapped = base64.encodebytes(b"alice:" + PASSWORD.encode()).decode()
    return {
        "plain": {"auths": {host: {"auth": auth}}},
        "wrapped": {"auths": {host: {"auth": wrapped}}},
        "the store is not installed": {"credsStore": "is-not-installed", "auths": {host: {"auth": auth}}},
        "the helper is not installed": {"credHelpers": {host: "is-not-installed"}, "auths": {host: {"auth": auth}}},
        "no helper for this one": {"credHelpers": {host: ""}, "credsStore": "x", "auths": {host: {"auth": auth}}},
        "open: the store is not installed": {"credsStore": "is-not-installed"},
        "open: malformed": {"auths": {host: {"auth": "%%%"}}},
        "open: no shape": {"auths": []},
    }


@pytest.mark.parametrize("name", logins(""))
def test_a_login_that_the_command_line_finds_we_find(graph_engine: LabEngine, tmp_path: Path, name: str) -> None:
    """Whether it is needed, or the registry is open to all; no helper is installed here."""
    with LabRegistry(htpasswd=None if name.startswith("open") else {"alice": PASSWORD}) as hub:
        digest = hub.push("worlds/app", "1", ImageSpec(labels={"for": "alice"}))
        (tmp_path / "config.json").write_text(json.dumps(logins(hub.host)[name]))
        graph_engine.forward(hub.port)
        tag = f"{hub.host}/worlds/app:1"
        graph_engine.docker("--config", str(tmp_path), "pull", "--quiet", tag)
        given = Options(docker_config=tmp_path / "config.json", environ={})
        with contextlib.closing(HttpRegistry(given)) as ours:
            assert ours.ask(Ask("digest", tag), 0).result(SOON) == Reply(digest=digest)


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

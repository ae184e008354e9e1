"""Looking up digests at Debian's docker-registry."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from dockwarden.ports import Look
from dockwarden.registry import HttpRegistry
from tests.lab.images import ImageSpec
from tests.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 30.0


@pytest.fixture
def ours() -> Iterator[HttpRegistry]:
    """Believes nothing, so that every look-up asks."""
    with contextlib.closing(HttpRegistry(max_age_seconds=0)) as registry:
        yield registry


def ask(registry: HttpRegistry, reference: str) -> Look:
    return registry.look_up(reference).result(SOON)


def test_every_kind_of_manifest(ours: HttpRegistry, registry: LabRegistry) -> None:
    pushed = {
        "docker": registry.push("look/docker", "1", media="docker"),
        "oci": registry.push("look/oci", "1", media="oci"),
        "docker-list": registry.push_index("look/docker-list", "1", media="docker"),
        "oci-index": registry.push_index("look/oci-index", "1", media="oci"),
    }
    for name, digest in pushed.items():
        registry.forget_requests()
        assert ask(ours, f"{registry.host}/look/{name}:1") == Look(digest)
        # One HEAD, which no registry counts against a quota.
        assert [(asked.method, asked.status) for asked in registry.requests] == [("HEAD", 200)]
        assert ask(ours, f"{registry.host}/look/{name}@{digest}") == Look(digest)


def test_tag_that_moves(ours: HttpRegistry, registry: LabRegistry) -> None:
    name = f"{registry.host}/look/moving:1"
    first = registry.push("look/moving", "1", ImageSpec(labels={"v": "1"}))
    assert ask(ours, name) == Look(first)
    second = registry.push("look/moving", "1", ImageSpec(labels={"v": "2"}))
    assert ours.remembered(name) == Look(first)
    assert ask(ours, name) == ours.remembered(name) == Look(second)
    assert first != second


def test_what_is_not_there(ours: HttpRegistry, registry: LabRegistry) -> None:
    registry.push("look/there", "1")
    for name in ("look/there:2", "look/nowhere:1", f"look/there@sha256:{'0' * 64}"):
        assert ask(ours, f"{registry.host}/{name}") == Look("", "not_found")
    registry.delete_tag("look/there", "1")
    assert ask(ours, f"{registry.host}/look/there:1") == Look("", "not_found")


def test_answer_is_believed_for_a_while(registry: LabRegistry) -> None:
    digest = registry.push("look/cached", "1")
    registry.forget_requests()
    with contextlib.closing(HttpRegistry()) as patient:
        futures = [patient.look_up(f"{registry.host}/look/cached:1") for _ in range(20)]
        assert {future.result(SOON) for future in futures} == {Look(digest)}
        assert len(registry.requests) == 1


def test_many_at_once(ours: HttpRegistry, registry: LabRegistry) -> None:
    digest = registry.push("look/many", "0")
    for n in range(1, 40):
        assert registry.push("look/many", str(n)) == digest
    futures = [ours.look_up(f"{registry.host}/look/many:{n}") for n in range(40)]
    assert {future.result(SOON) for future in futures} == {Look(digest)}


def test_registry_that_wants_to_know_who_asks(ours: HttpRegistry) -> None:
    with LabRegistry(htpasswd={"alice": "secret"}) as private:
        private.push("team/app", "1")
        assert ask(ours, f"{private.host}/team/app:1") == Look("", "unauthorized")


def test_tls() -> None:
    with LabRegistry(tls=True) as secure:
        digest = secure.push("team/app", "1")
        name = f"{secure.host}/team/app:1"
        settings = {
            Look(digest): HttpRegistry(http={secure.host: False}, ca_files={secure.host: str(secure.ca_file)}),
            Look("", "tls"): HttpRegistry(http={secure.host: False}),
            Look("", "bad_answer"): HttpRegistry(),  # plain HTTP, as is usual on loopback
        }
        for expected, ours in settings.items():
            with contextlib.closing(ours):
                assert ask(ours, name) == expected


def test_tls_to_a_registry_that_speaks_plain_http(registry: LabRegistry) -> None:
    with contextlib.closing(HttpRegistry(http={registry.host: False})) as ours:
        assert ask(ours, f"{registry.host}/look/any:1") == Look("", "tls")


def test_registry_that_goes_and_comes_back(ours: HttpRegistry) -> None:
    with LabRegistry() as mortal:
        digest = mortal.push("team/app", "1")
        name = f"{mortal.host}/team/app:1"
        assert ask(ours, name) == Look(digest)
        mortal.end()
        assert ask(ours, name) == Look("", "unreachable")
        mortal.restart()
        assert ask(ours, name) == Look(digest)

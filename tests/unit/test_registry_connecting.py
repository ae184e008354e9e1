"""Hosts with several addresses, of which some do not answer, as where a way to IPv6 leads nowhere."""

from __future__ import annotations

import contextlib
import socket
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dockwarden.config.settings import RegistrySettings
from dockwarden.ports import Reply
from dockwarden.registry import wire
from tests.lab.loopback import free_port
from tests.tables import each
from tests.unit.misbehaving import Misbehaving
from tests.unit.registries import DIGEST, OK, ask, client, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "registry.example.com"


@contextlib.contextmanager
def hole() -> Iterator[int]:
    """The port of a server that is so full that nobody hears of it any more."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        yield full.getsockname()[1]


def resolve(monkeypatch: pytest.MonkeyPatch, *ports: int, seconds: float = 0.0) -> None:
    """The host has so many addresses, in so many seconds; 0 stands for one of a kind that is not known here."""
    real = socket.getaddrinfo

    def addresses(host: str, *args: Any, **more: Any) -> list[tuple[Any, ...]]:
        if host != HOST:
            return real(host, *args, **more)
        later = SimpleNamespace(monotonic=lambda: time.monotonic() + seconds)
        monkeypatch.setattr(wire, "time", later)
        return [(socket.AF_INET if port else 999, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)


def asked() -> Reply:
    with client(hosts={HOST: RegistrySettings(http=True)}) as registry:
        return ask(registry, f"{HOST}/app:1")


@each("before", ["", "h", "hhhhhhhh", "r", "x", "rhxh"])
def test_an_address_that_does_not_answer_is_waited_for_a_moment_only(before: str) -> None:
    with pytest.MonkeyPatch.context() as patch, Misbehaving(lambda _: [OK]) as server, hole() as nowhere:
        ports = {"h": nowhere, "r": free_port(), "x": 0}
        resolve(patch, *(ports[letter] for letter in before), int(server.host.partition(":")[2]))
        assert asked() == Reply(digest=DIGEST)


def test_a_slow_resolver_takes_nothing_of_the_time_to_connect() -> None:
    with pytest.MonkeyPatch.context() as patch, Misbehaving(lambda _: [OK]) as server:
        resolve(patch, int(server.host.partition(":")[2]), seconds=wire.CONNECT_SECONDS + 1)
        assert asked() == Reply(digest=DIGEST)


@each(("kinds", "why"), [("h", "timeout"), ("hh", "timeout"), ("r", "unreachable"), ("x", "unreachable")])
def test_a_host_of_which_no_address_answers(kinds: str, why: str) -> None:
    with pytest.MonkeyPatch.context() as patch, hole() as nowhere:
        patch.setattr(wire, "CONNECT_SECONDS", 0.5)
        ports = {"h": nowhere, "r": free_port(), "x": 0}
        resolve(patch, *(ports[letter] for letter in kinds))
        assert asked() == reason(why)


def test_a_host_without_addresses() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", _fail)
        assert asked() == reason("unreachable")


def _fail(*_: Any, **__: Any) -> None:
    raise socket.gaierror

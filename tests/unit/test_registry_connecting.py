"""Hosts with several addresses, of which some do not answer, as where a way to IPv6 leads nowhere."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dockwarden.config.settings import RegistrySettings
from dockwarden.ports import Reply
from dockwarden.registry import wire
from tests.lab.loopback import free_port
from tests.tables import each
from tests.unit.misbehaving import Misbehaving, http
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


def resolve(monkeypatch: pytest.MonkeyPatch, *ports: int, seconds: float = 0.0, name: str = HOST) -> list[int]:
    """The host has so many addresses, in so many seconds; 0 stands for one of a kind that is not known here.

    Returns: which families will have been asked for.
    """
    real, families = socket.getaddrinfo, list[int]()

    def addresses(host: str, port: int, family: int = 0, *args: Any, **more: Any) -> list[tuple[Any, ...]]:
        if host != name:
            return real(host, port, family, *args, **more)
        families.append(family)
        later = SimpleNamespace(monotonic=lambda: time.monotonic() + seconds)
        monkeypatch.setattr(wire, "time", later)
        return [(socket.AF_INET if port else 999, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    return families


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


@each("family", [socket.AF_UNSPEC, socket.AF_INET])
def test_addresses_of_ipv6_are_asked_for_where_there_is_ipv6(family: int) -> None:
    with pytest.MonkeyPatch.context() as patch, Misbehaving(lambda _: [OK]) as server:
        patch.setattr("urllib3.util.connection.HAS_IPV6", family == socket.AF_UNSPEC)
        families = resolve(patch, int(server.host.partition(":")[2]))
        assert asked() == Reply(digest=DIGEST)
        assert families == [family]


def test_a_proxy_at_an_address_of_ipv6() -> None:
    with pytest.MonkeyPatch.context() as patch, Misbehaving(lambda _: [http(407)]) as proxy:
        resolve(patch, int(proxy.host.partition(":")[2]), name="::1")
        with client(environ={"HTTPS_PROXY": "http://[::1]:3128"}) as registry:
            ask(registry, f"{HOST}/app:1")
        assert [request.split()[0] for request in proxy.asked] == ["CONNECT"]


def test_a_host_that_takes_no_connection() -> None:
    """The reset comes at any time: while it is being made, or after it."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=_refuse, args=[server], daemon=True).start()
        resolve(patch, server.getsockname()[1])
        assert {asked() for _ in range(20)} == {reason("unreachable")}
        server.shutdown(socket.SHUT_RDWR)


def _refuse(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


def test_a_host_without_addresses() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", _fail)
        assert asked() == reason("unreachable")


def _fail(*_: Any, **__: Any) -> None:
    raise socket.gaierror

"""What systemd is told, read from the socket that it would read from."""

from __future__ import annotations

import os
import socket
import uuid
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from dockwarden.health import Health
from dockwarden.process.systemd import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Ear:
    """The other end."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock = sock
        self.name = name

    def heard(self) -> list[set[str]]:
        """The lines of each datagram since the last time."""
        found = []
        while True:
            try:
                found.append(set(self._sock.recv(4096, socket.MSG_DONTWAIT).decode().split("\n")))
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ear]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@dockwarden-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        yield Ear(sock, name)


@pytest.fixture
def manager(ear: Ear) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": ear.name, "WATCHDOG_USEC": "6000000", "WATCHDOG_PID": str(os.getpid())})


@pytest.fixture
def health() -> Health:
    return Health(engine_up=True, inventory_complete=True, policies_loaded=True)


def test_nothing_is_told_where_nobody_listens(health: Health) -> None:
    silent = ServiceManager({})
    silent.begin_reload()
    silent.report(health)
    silent.end_reload("trouble")
    silent.stop()
    assert silent.patience_seconds == float("inf")


def test_ready_is_said_once_and_only_after_the_first_list(manager: ServiceManager, ear: Ear, health: Health) -> None:
    health.inventory_complete = False
    manager.report(health)
    (first,) = ear.heard()
    assert not first & {"READY=1", "WATCHDOG=1"}
    assert "EXTEND_TIMEOUT_USEC=60000000" in first
    assert manager.patience_seconds < 1  # whoever started us waits
    health.inventory_complete = True
    manager.report(health)
    manager.report(health)
    assert ear.heard() == [{"WATCHDOG=1", "STATUS=watching", "READY=1"}, {"WATCHDOG=1", "STATUS=watching"}]
    assert manager.patience_seconds == 2


def test_an_engine_that_is_away_does_not_hold_up_the_start(manager: ServiceManager, ear: Ear) -> None:
    lost = Health(engine_away=True, engine_trouble="no such file\nREADY=0 x", policies_loaded=True)
    manager.report(lost)
    (said,) = ear.heard()
    assert {"READY=1", "STATUS=engine: no such file READY=0 x; inventory: not listed yet"} < said


def test_reload_is_told_with_its_time_and_its_trouble(manager: ServiceManager, ear: Ear, health: Health) -> None:
    manager.report(health)
    ear.heard()
    manager.begin_reload()
    manager.end_reload("policies.yaml:3:1 when: no")
    manager.report(health)
    begun, ended, after = ear.heard()
    assert "RELOADING=1" in begun
    assert any(line.startswith("MONOTONIC_USEC=") and line[15:].isdigit() for line in begun)
    assert ended == {"READY=1"}
    assert "STATUS=watching; policies.yaml:3:1 when: no" in after
    manager.end_reload()
    manager.report(health)
    assert "STATUS=watching" in ear.heard()[-1]


def test_watchdog_of_another_process_is_none_of_ours(ear: Ear) -> None:
    asked = {"NOTIFY_SOCKET": ear.name, "WATCHDOG_USEC": "6000000"}
    assert ServiceManager({**asked, "WATCHDOG_PID": "1"}).watchdog_seconds == 0
    assert ServiceManager(asked).watchdog_seconds == 6


def test_an_ear_that_is_gone_is_told_and_ends_nothing(health: Health, tmp_path: Path) -> None:
    deaf = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    with capture_logs() as lines:
        deaf.report(health)
    assert [line["event"] for line in lines] == ["daemon.notify_failed"]

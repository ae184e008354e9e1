"""The unit as shipped, installed as documented, on a booted Debian with the distribution's own docker.service."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import policy
from tests.e2e.supervised import INSTALL, ROOT, SETTINGS, Unit
from tests.lab.hang import hanging_threads
from tests.lab.host import LabHost
from tests.lab.images import ImageSpec
from tests.lab.machine import LabError
from tests.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.slow(120)]
LATEST = policy("latest", "tag", "tag.name == 'latest'", trigger={"events": ["image.tag"]})
CURRENT = policy("current", "tag", "registry.state == 'current'", trigger={"every": "5s"})
DISK = policy("disk", "host", "host.disk_used_percent >= 0.0", trigger={"every": "1h"})
IMPATIENT = {"engine": {"timeout": "1s", "event_window": "1s"}}  # 20 s without progress are a hang
PLAIN = {"engine": {"event_window": "1s"}}
DROP_IN = "/run/systemd/system/dockwarden.service.d/test.conf"


@pytest.fixture(scope="module")
def installed(shipped: Path) -> Iterator[Unit]:
    with LabHost(see=[ROOT, shipped]) as host:
        # What an installation leaves that was cut short.
        host.run("mkdir", "-p", "/opt/dockwarden/20260101-000000-abcd")
        host.run("ln", "-s", "/opt/dockwarden/20260101-000000-abcd", "/opt/dockwarden/current")
        elsewhere = ("env", "PIP_USER=1", "PIP_TARGET=/srv", f"PYTHONPATH={ROOT}")  # where pip shall not look
        assert "0.1.0 is installed" in host.run(*elsewhere, INSTALL, "install", str(shipped))
        unit = Unit(host)
        unit.wait("watching", "StatusText")
        grave = re.findall(r'dockwarden_findings{.*severity="(?:critical|high|medium)"} (\S+)', unit.get("/metrics"))
        assert set(grave) == {"0.0"}, "of what is installed as documented, nobody is told"
        yield unit


def test_python_that_the_unit_cannot_see_is_refused(installed: Unit) -> None:
    installed.host.run("cp", "/usr/bin/python3", "/root/python")
    with pytest.raises(LabError, match="cannot see a Python in a home"):
        installed.host.run("env", "PYTHON=/root/python", INSTALL, "install")


@pytest.fixture
def unit(installed: Unit) -> Unit:
    """Its next start is with two policies, whatever the test before did."""
    installed.configure(LATEST, DISK, **PLAIN)
    installed.host.path(DROP_IN).unlink(missing_ok=True)
    installed.host.run("systemctl", "daemon-reload")
    installed.host.run("systemctl", "start", "docker")
    return installed


def drop_in(unit: Unit, *lines: str) -> None:
    file = unit.host.path(DROP_IN)
    file.parent.mkdir(exist_ok=True)
    file.write_text("[Service]\n" + "\n".join(lines) + "\n")
    unit.host.run("systemctl", "daemon-reload")


def test_start_is_over_when_everything_was_listed(unit: Unit) -> None:
    began = unit.mark()
    unit.host.run("systemctl", "restart", "dockwarden")
    assert unit.show("ActiveState") == "active"
    lines = unit.journal(f"--after-cursor={began}")
    listed = next(n for n, line in enumerate(lines) if "inventory.listed" in line)
    assert listed < next(n for n, line in enumerate(lines) if line.startswith("Started dockwarden"))
    unit.wait("watching", "StatusText")


def test_start_is_over_when_the_engine_is_away(unit: Unit) -> None:
    services = ("docker.service", "docker.socket")
    unit.host.run("systemctl", "mask", "--runtime", "--now", *services)
    try:
        unit.host.run("systemctl", "restart", "dockwarden")
        unit.wait("engine: ", "StatusText")
    finally:
        unit.host.run("systemctl", "unmask", "--runtime", *services)
    unit.host.run("systemctl", "start", *services)
    unit.wait("watching", "StatusText")
    assert unit.show("NRestarts") == "0"


def test_group_of_the_socket_that_the_unit_lacks_is_asked_for(unit: Unit) -> None:
    drop_in(unit, "SupplementaryGroups=")
    unit.host.run("systemctl", "restart", "dockwarden")
    unit.wait("name it in SupplementaryGroups= of the unit", "StatusText")


def test_it_is_as_locked_up_as_promised_and_still_sees_what_it_must(unit: Unit) -> None:
    unit.host.run("systemctl", "restart", "dockwarden")
    unit.host.run("systemd-analyze", "security", "dockwarden", "--no-pager", "--threshold=15")  # an exposure of 1.5
    assert unit.host.run("systemd-analyze", "verify", "--man=no", "dockwarden.service") == ""
    status = unit.host.run("cat", f"/proc/{unit.pid}/status")
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    uid = int(status.partition("Uid:\t")[2].split()[0])
    assert uid > 60000
    ledger = unit.host.path("/var/lib/private/dockwarden/ledger.db").stat()
    assert (ledger.st_uid, ledger.st_mode & 0o777) == (uid, 0o600)
    unit.heard("finding.opened", policy="disk")  # of a folder that only root may enter
    assert "process_resident_memory_bytes" in unit.get("/metrics")
    unit.host.load(ImageSpec(tags=("e2e/noted:latest",)))
    unit.heard("finding.opened", policy="latest", name="docker.io/e2e/noted:latest")
    assert not unit.said("ledger.not_writable")


def test_login_that_only_root_can_read_comes_as_a_credential(unit: Unit) -> None:
    host, secrets = unit.host, "/etc/dockwarden/secrets"
    auth = base64.b64encode(b"alice:secret").decode()
    with LabRegistry(htpasswd={"alice": "secret"}) as private, LabRegistry(htpasswd={"alice": "secret"}) as other:
        host.run("mkdir", "-p", "-m", "700", secrets)
        for each in (private, other):
            host.forward(each.port)
            each.push("team/app", "1")
            host.path(f"{secrets}/config.json").write_text(json.dumps({"auths": {each.host: {"auth": auth}}}))
            host.run("docker", "--config", secrets, "pull", "--quiet", f"{each.host}/team/app:1")
        host.path(f"{secrets}/config.json").write_text(json.dumps({"auths": {private.host: {"auth": auth}}}))
        host.path(f"{secrets}/other").write_text("secret\n")
        host.run("chmod", "-R", "go=", secrets)
        own = {"http": True, "username": "alice", "password_file": "/run/credentials/dockwarden.service/other"}
        registries = {private.host: {"http": True}, other.host: own}
        unit.configure(CURRENT, **PLAIN, registries=registries)
        drop_in(unit, f"LoadCredential=other:{secrets}/other", f"LoadCredential=config.json:{secrets}/config.json",
                "Environment=DOCKER_CONFIG=%d")  # fmt: skip
        began = unit.mark()
        host.run("systemctl", "restart", "dockwarden")
        for each in (private, other):
            unit.heard("finding.opened", began, policy="current", name=f"{each.host}/team/app:1")
            host.run("docker", "rmi", f"{each.host}/team/app:1")
    assert auth not in "\n".join(unit.journal(f"--after-cursor={began}"))
    unit.host.run("systemctl", "reload", "dockwarden")  # which must do without it


def test_reload_takes_the_whole_set_or_none_of_it(unit: Unit) -> None:
    unit.host.run("systemctl", "restart", "dockwarden")
    pid, began = unit.pid, unit.mark()
    unit.configure({**LATEST, "name": "renamed"}, DISK, **PLAIN)
    unit.host.run("systemctl", "reload", "dockwarden")
    unit.heard("config.reloaded", began, policies=2)
    unit.until(lambda: {row["name"] for row in unit.api("policies")} == {"renamed", "disk"}, "the new policies")

    unit.configure({**LATEST, "name": "again"}, {**DISK, "when": "host.dsik > 0"}, **PLAIN)
    with pytest.raises(LabError, match=r"Job for dockwarden\.service failed"):
        unit.host.run("systemctl", "reload", "dockwarden")
    refused = unit.heard("config.reload_failed", began)
    assert "host.dsik" in " ".join(refused["problems"])
    unit.wait("reload failed", "StatusText")
    assert {row["name"] for row in unit.api("policies")} == {"renamed", "disk"}
    assert "dockwarden_config_last_reload_successful 0.0" in unit.get("/metrics")
    assert unit.journal("--priority=err", f"--after-cursor={began}")

    unit.configure(LATEST, DISK, **PLAIN)
    assert f"told process {pid} to use 2 policies" in unit.host.run("dockwarden", "reload")  # no systemd between
    unit.until(lambda: {row["name"] for row in unit.api("policies")} == {"latest", "disk"}, "the first policies")
    unit.until(lambda: "reload" not in unit.show("StatusText"), "an end of the trouble")
    assert (unit.show("ActiveState"), unit.pid) == ("active", pid)


def test_crash_of_the_engine_does_not_take_it_along(unit: Unit) -> None:
    unit.host.run("systemctl", "restart", "dockwarden")
    pid, began = unit.pid, unit.mark()
    unit.host.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "docker")
    unit.heard("engine.unreachable", began)
    unit.heard("inventory.listed", began, reason="reconnect")
    unit.host.load(ImageSpec(tags=("e2e/after:latest",)))
    unit.heard("finding.opened", began, name="docker.io/e2e/after:latest")
    assert (unit.show("ActiveState"), unit.pid) == ("active", pid)


def test_process_that_hangs_is_killed_by_the_watchdog_and_comes_back(unit: Unit) -> None:
    drop_in(unit, "WatchdogSec=3", "RestartSec=100ms")
    unit.host.run("systemctl", "restart", "dockwarden")
    pid = unit.pid
    os.kill(unit.host.outer_pid(pid), signal.SIGSTOP)
    unit.until(lambda: unit.show("NRestarts") != "0", "a new start")
    unit.wait("active", "ActiveState")
    assert any("Watchdog timeout" in line for line in unit.journal())
    assert unit.pid != pid
    unit.wait("watching", "StatusText")


def test_threads_that_hang_end_the_process_and_it_comes_back(unit: Unit) -> None:
    drop_in(unit, "RestartSec=100ms")
    unit.configure(LATEST, DISK, **IMPATIENT)
    unit.host.run("systemctl", "restart", "dockwarden")
    pid, began = unit.pid, unit.mark()
    with hanging_threads(unit.host.outer_pid(pid)):
        stuck = unit.heard("daemon.thread_stuck", began)
    threads = {text.partition(":")[0] for text in stuck["threads"]}  # the first look may come between the two
    assert threads in ({"worker"}, {"events"}, {"worker", "events"})
    assert any("queue.py" in frame for frame in stuck["stacks"]["worker"])
    unit.until(lambda: unit.show("NRestarts") != "0", "a new start")
    unit.wait("active", "ActiveState")
    assert unit.pid != pid


def test_stop_finishes_the_removal_under_way(unit: Unit, tmp_path: Path) -> None:
    nameless = policy(
        "nameless", "image", "image.dangling", mode="enforce", action="remove",
        trigger={"events": ["image.new"], "every": "5s"}, limits={"max_objects": 1000, "max_percent": 100},
    )  # fmt: skip
    unit.configure(nameless, **PLAIN)
    unit.host.run("systemctl", "restart", "dockwarden")
    began = unit.mark()
    unit.host.load(*(ImageSpec(labels={"n": str(n)}) for n in range(30)))
    unit.heard("action.applied", began)
    unit.host.run("systemctl", "stop", "dockwarden")
    assert unit.shows("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    ledger = shutil.copy(unit.host.path("/var/lib/private/dockwarden/ledger.db"), tmp_path)
    with contextlib.closing(sqlite3.connect(ledger)) as db:
        outcomes = {row[0] for row in db.execute("SELECT outcome FROM actions")}
    # None is left open. An image whose birth is heard of only after it was judged rightly stays.
    assert {"applied"} <= outcomes <= {"applied", "skipped"}


def test_settings_that_cannot_be_used_are_no_reason_to_try_again(unit: Unit) -> None:
    began = unit.mark()
    unit.host.path(SETTINGS).write_text("alow: audit\n")
    with pytest.raises(LabError):
        unit.host.run("systemctl", "restart", "dockwarden")
    # Not "auto-restart", which is what it would be before another attempt.
    assert unit.shows("SubState", "ExecMainStatus") == {"SubState": "failed", "ExecMainStatus": "78"}
    assert f"{SETTINGS}:1:1 alow: no such setting, did you mean allow?" in unit.journal(f"--after-cursor={began}")

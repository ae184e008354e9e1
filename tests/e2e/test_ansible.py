"""The role of deploy/ansible: accepted by its linter, and run against a booted Debian as against any host.

`check_role` is a part of test_install.py, so that no second Debian has to be booted for it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import bcrypt
import pytest
import urllib3
import yaml

from tests.e2e.harness import policy, write_policies
from tests.e2e.supervised import INSTALL, ROOT, SETTINGS, Unit, image_context
from tests.lab import machine
from tests.lab.loopback import make_certificate
from tests.lab.machine import LabError
from tests.lab.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.host import LabHost

pytestmark = [pytest.mark.engine, pytest.mark.slow]
ANSIBLE = ROOT / "deploy/ansible"
# What stands in for ssh: its last argument is the command line. The host is one that lets others read nothing.
SSH = '#!/bin/sh\nfor last; do :; done\numask 077\nexec nsenter --target={pid} --all -- /bin/sh -c "$last"\n'
# Or it asks itself a thousand times a second whether a task is over.
SELDOM = "[defaults]\ninternal_poll_interval = 0.02\n"
# Of what stands in another file, as settings may name it.
EXCEPTIONS = """
version: 1
exceptions:
  - {id: E2E-1, policies: [no-latest-tag], match: tag.name == 'edge', reason: it moves on purpose}
"""


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": machine.SEARCH_PATH, "HOME": str(folder), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1",
             "ANSIBLE_PIPELINING": "1", "ANSIBLE_GATHERING": "explicit"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise LabError(done.stdout[-4000:] + done.stderr[-1000:])
    return done.stdout


def test_role_is_accepted_by_its_linter(tmp_path: Path) -> None:
    machine.ensure(machine.ANSIBLE, "the role")
    shutil.copytree(ANSIBLE, tmp_path / "ansible")
    run(["ansible-lint", "--offline", "-q", "."], tmp_path / "ansible")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dockwarden_state", "latest"),  # which removed the program
        ("dockwarden_policies", "files/polices"),  # which removed all policies of the host
        ("dockwarden_web_cert", "files/web.crt"),
        ("dockwarden_web_key", "files/web.key"),
    ],
)
def test_what_is_misspelt_is_refused_before_anything_is_changed(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=rf'"assertion": ".*{name}') as failed:
        play_here(tmp_path, {name: value})
    assert "changed=0 " in str(failed.value)
    assert "Pack the version" not in str(failed.value)


def test_what_is_of_no_use_to_a_removal_does_not_stop_it(tmp_path: Path) -> None:
    gone = {"dockwarden_policies": "files/gone", "dockwarden_web_cert": "files/web.crt"}
    assert "failed=0 " in play_here(tmp_path, {"dockwarden_state": "absent", **gone})


def play_here(folder: Path, given: dict[str, str]) -> str:
    """What the playbook would do to this machine."""
    machine.ensure(machine.ANSIBLE, "the role")
    here = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    hosts = {"docker_hosts": {"hosts": {"localhost": {**here, **given}}}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(hosts))
    inventory, playbook = str(folder / "inventory.yml"), str(ANSIBLE / "playbook.yml")
    return run(["ansible-playbook", "--check", "-i", inventory, playbook], folder)


@pytest.mark.parametrize("file", sorted(ANSIBLE.glob("roles/*/tasks/*.yml")), ids=lambda file: file.name)
def test_conditions_are_true_or_false_as_newer_versions_want_them(file: Path) -> None:
    conditions = re.findall(r"^ *(?:when|until): (.*)", file.read_text(), re.MULTILINE)
    assert conditions
    for condition in conditions:
        for part in re.split(" (?:and|or) ", condition):
            assert re.search(r"^not | (?:[=!]=|>|in|is) |\.exists$", part), condition


class Role:
    """Plays the playbook against one host, with what a group of hosts is given."""

    def __init__(self, unit: Unit, folder: Path) -> None:
        self._unit, self._host, self._folder = unit, unit.host, folder
        self._authority = make_certificate(folder)
        (folder / "ansible.cfg").write_text(SELDOM)
        (ssh := folder / "ssh").write_text(SSH.format(pid=unit.host.first_pid))
        ssh.chmod(0o755)
        self.given: dict[str, object] = {
            "ansible_connection": "ssh",
            "ansible_ssh_executable": str(ssh),
            "ansible_ssh_transfer_method": "piped",
            "ansible_become": False,
            "ansible_python_interpreter": "/usr/bin/python3",  # or each play looks for one
            "dockwarden_settings": {"schedule": {"jitter": 0}, "modes": {"more": "audit"}},
            "dockwarden_policies": str(folder / "policies"),
            "dockwarden_web_users": {"prometheus": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()},
            "dockwarden_web_cert": str(folder / "server.crt"),
            "dockwarden_web_key": str(folder / "server.key"),
        }

    def play(self, *options: str, **changes: object) -> str:
        hosts = {"docker_hosts": {"hosts": {"debian": {}}, "vars": {**self.given, **changes}}}
        (self._folder / "inventory.yml").write_text(yaml.safe_dump(hosts))
        inventory, playbook = str(self._folder / "inventory.yml"), str(ANSIBLE / "playbook.yml")
        try:
            return run(["ansible-playbook", "-i", inventory, playbook, *options], self._folder)
        except LabError as error:
            error.add_note("\n".join(self._unit.journal("--lines=25")))
            raise

    def told(self) -> set[str]:
        """The policies, by HTTPS and with the password."""
        with urllib3.PoolManager(ca_certs=str(self._authority), timeout=PATIENCE) as http:
            where = f"https://127.0.0.1:{self._host.reach(9877)}/api/v1/policies"
            answer = http.request("GET", where, headers=urllib3.make_headers(basic_auth="prometheus:secret"))
            return {row["name"] for row in json.loads(answer.data)["items"]}


def programs(host: LabHost) -> set[str]:
    """The folders of the versions that install.sh keeps there."""
    return {path.name for path in host.path("/opt/dockwarden").iterdir()} - {"current"}


def check_role(unit: Unit, folder: Path, shipped: Path, newer: Path, broken: Path) -> None:
    """Installs, changes policies and nothing else, checks settings, upgrades after a look, goes back, takes away."""
    machine.ensure(machine.ANSIBLE, "the role")
    folder.mkdir()
    role, host = Role(unit, folder), unit.host
    role.given["dockwarden_source"] = str(image_context(shipped, folder / "checkout"))
    write_policies(folder / "policies/ours.yaml", policy("ours", "host", "false", trigger={"every": "1h"}))
    write_policies(folder / "policies/more.yaml", policy("more", "host", "false", trigger={"every": "1h"}))
    (folder / "policies/exceptions.yaml").write_text(EXCEPTIONS)
    role.play()
    assert {"ours", "no-latest-tag"} <= role.told()
    assert unit.shows("ActiveState", "UnitFileState") == {"ActiveState": "active", "UnitFileState": "enabled"}
    assert ".TH DOCKWARDEN 8" in host.run("cat", "/usr/local/share/man/man8/dockwarden.8")
    assert "healthcheck" in host.run("cat", "/usr/local/share/bash-completion/completions/dockwarden")
    assert "changed=0 " in role.play("--check")
    pid, mark, before = unit.pid, unit.mark(), programs(host)
    (folder / "policies/ours.yaml").unlink()
    write_policies(folder / "policies/theirs.yaml", policy("theirs", "host", "false", trigger={"every": "1h"}))
    assert "changed=3 " in role.play()  # one comes, one goes, and a reload: nothing else is done twice
    unit.heard("config.reloaded", after=mark)
    assert ("theirs" in role.told(), "ours" in role.told(), unit.pid) == (True, False, pid)

    # Versions that do not start, or do not accept the settings, leave the one that is there.
    good = host.path(SETTINGS).read_text()
    with pytest.raises(LabError, match="the one before is back") as failed:
        host.run(INSTALL, "install", str(broken))
    assert "edited and stays" not in str(failed.value)  # no new defaults to tell of
    unit.wait("active", "ActiveState")
    assert ("theirs" in role.told(), programs(host)) == (True, before)
    role.given["dockwarden_source"], pid = str(image_context(newer, folder / "newer")), unit.pid
    host.path(SETTINGS).write_text("mood: audit\n")
    with pytest.raises(LabError, match="mood"):
        role.play()
    assert (host.run("dockwarden", "version"), unit.pid, programs(host)) == ("dockwarden 0.1.0", pid, before)
    host.path(SETTINGS).write_text(good)
    unit.fail()  # which the next upgrade ends
    rules = {path.name for path in host.path("/etc/dockwarden/policies").iterdir()}
    write_policies(folder / "others/ours.yaml", policy("ours", "host", "false", trigger={"every": "1h"}))
    with pytest.raises(LabError, match="wbe"):  # once the version is there, which takes those before
        role.play(dockwarden_settings={"wbe": {}}, dockwarden_policies=str(folder / "others"))
    assert {path.name for path in host.path("/etc/dockwarden/policies").iterdir()} == rules
    assert (host.run("dockwarden", "version"), unit.pid == pid) == ("dockwarden 0.1.1", False)
    assert ("theirs" in role.told(), host.path(SETTINGS).read_text()) == (True, good)
    (one,) = programs(host)  # the version before is gone
    assert (one in before, host.run("readlink", "/opt/dockwarden/current")) == (False, f"/opt/dockwarden/{one}")

    unit.fail()
    role.play(dockwarden_state="absent")
    assert unit.shows("LoadState", "ActiveState") == {"LoadState": "not-found", "ActiveState": "inactive"}
    assert host.path(SETTINGS).read_text() == good
    assert host.path("/var/lib/private/dockwarden/ledger.db").exists()
    role.play(dockwarden_state="purged")

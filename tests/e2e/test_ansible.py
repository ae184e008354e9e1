"""The role of deploy/ansible: accepted by its linter, and run against a booted Debian as against any host."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.supervised import ROOT
from tests.lab import machine
from tests.lab.machine import LabError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.slow]
ANSIBLE = ROOT / "deploy/ansible"
# What stands in for ssh: its last argument is the command line.
SSH = '#!/bin/sh\nfor last; do :; done\nexec nsenter --target={pid} --all -- /bin/sh -c "$last"\n'


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": machine.SEARCH_PATH, "HOME": str(folder), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    if done.returncode:
        raise LabError(done.stdout[-4000:] + done.stderr[-1000:])
    return done.stdout


def test_role_is_accepted_by_its_linter(tmp_path: Path) -> None:
    machine.ensure(machine.ANSIBLE, "the role")
    shutil.copytree(ANSIBLE, tmp_path / "ansible")
    run(["ansible-lint", "--offline", "-q", "."], tmp_path / "ansible")

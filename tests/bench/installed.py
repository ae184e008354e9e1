"""dockwarden as users have it: what it needs and nothing else, compiled by pip, in an environment of its own.

In: the locked requirements, the working tree. Out: the program, and what a run of it takes. Out of bounds: figures.
"""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.lab.machine import LabError, say

ROOT = Path(__file__).parents[2]
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@cache
def program() -> str:
    """Where it is. The environment is made as ``deploy/install.sh`` does it, and stays for the same requirements."""
    requirements = ROOT / "requirements.txt"
    version = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()[:12]
    folder, is_made = ROOT / "build" / f"bench-{version}", ROOT / "build" / f"bench-{version}" / "made"
    pip = (*_PIP, "--python", folder)
    if not is_made.exists():
        say("making an environment as users have it")
        _run(sys.executable, "-m", "venv", "--clear", "--without-pip", folder)
        _run(*pip, "install", "--require-hashes", "-r", requirements)
        is_made.touch()
    with tempfile.TemporaryDirectory(prefix="dockwarden-bench-") as wheels:
        _run(*_PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT)
        _run(*pip, "install", "--no-deps", "--force-reinstall", *Path(wheels).iterdir())
    return str(folder / "bin" / "dockwarden")


def environment(**more: str) -> dict[str, str]:
    """That of this process, but for what would lead the program, or its interpreter, elsewhere."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("DOCK", "PYTHON"))} | more


def cpu_of_run(*arguments: str | Path, fine: tuple[int, ...] = (0,)) -> float:
    """CPU seconds of one command, user and system, the interpreter's start included."""
    command = (program(), *arguments)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment(), check=False, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in fine:
        raise LabError(f"{arguments[0]}: {done.stdout.decode()[-300:]}{done.stderr.decode()[-500:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, env=environment(), check=False, capture_output=True)
    if done.returncode:
        raise LabError(f"no environment can be made: {done.stderr.decode()[-500:]}")

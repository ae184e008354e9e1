"""dockwarden as a unit of a booted Debian host: what tests do with it and see of it.

In: a `LabHost`, wheels. Out: the unit's properties, its journal as events, its API. Out of bounds: looking
inside the process.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3
import yaml

from tests.e2e.harness import Policy, write_policies
from tests.lab import machine, trees
from tests.lab.machine import LabError
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    import docker

    from tests.lab.host import LabHost

ROOT = Path(__file__).parents[2]
INSTALL = str(ROOT / "deploy/install.sh")
SETTINGS = "/etc/dockwarden/dockwarden.yaml"
IMAGE = "dockwarden:0.1.0"
UNUSED = ("./usr/share/perl", "./usr/lib/*/perl*", "./usr/lib/*/gconv", "./var/lib/dpkg/info", "./var/cache/debconf")
"""Of the base, what neither the build nor the program reads, and each engine would unpack."""
BASE = re.findall("^ARG BASE=(.*)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]


def wheels(folder: Path, version: str = "", **patches: tuple[str, str]) -> Path:
    """A folder of all wheels, in which dockwarden has another version or, by module, a changed text."""
    source, house = folder / "source", folder / "wheels"
    shutil.copytree(ROOT / "dockwarden", source / "dockwarden", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config", "deploy"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    if version:
        _replace(source / "pyproject.toml", 'version = "0.1.0"', f'version = "{version}"')
        _replace(source / "dockwarden/__init__.py", '"0.1.0"', f'"{version}"')
    for module, (old, new) in patches.items():
        _replace(source / f"dockwarden/{module.replace('__', '/')}.py", old, new)
    shutil.copytree(trees.wheelhouse(), house)
    build = [sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={house}"]  # as pip does it
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    return house


def image_context(shipped: Path, folder: Path) -> Path:
    """A folder in ``folder`` to build the image in, from a folder of wheels."""
    context = folder / "source"
    shutil.copytree(shipped.parent / "source", context)
    shutil.copytree(shipped, context / "wheels")
    for name in ("Dockerfile", ".dockerignore", "requirements.txt"):
        shutil.copy(ROOT / name, context)
    return context


def saved_image(engine: docker.APIClient, host: str, shipped: Path) -> Path:
    """What `docker save` makes of the image and its base: built as documented by the first engine of the run."""
    kept, folder = shipped.parent / "image.tar", shipped.parent / "image"
    ours = {"PATH": machine.SEARCH_PATH, "HOME": str(shipped.parent), "DOCKER_HOST": host, "DOCKER_BUILDKIT": "0"}

    def run(*command: str) -> None:
        done = subprocess.run(["docker", *command], env=ours, capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            raise LabError(f"docker {command[0]}: {done.stdout[-1500:]}{done.stderr[-500:]}")

    with machine.locked(kept):
        if not kept.exists():
            repository, _, tag = BASE.rpartition(":")
            pack = ["tar", "-C", str(trees.ensure(trees.BASE)), "-c", *(f"--exclude={each}" for each in UNUSED), "."]
            with subprocess.Popen(pack, stdout=subprocess.PIPE) as base:
                assert base.stdout is not None
                engine.import_image_from_data(base.stdout, repository, tag)
            run("build", "--network=none", f"--tag={IMAGE}", str(image_context(shipped, folder)))
            run("save", f"--output={kept}", IMAGE, BASE)
    return kept


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{old} is not in {file}"
    file.write_text(text.replace(old, new))


class Unit:
    """dockwarden.service of one host."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        self._http = urllib3.PoolManager(retries=False, timeout=PATIENCE)

    # -- systemd ---------------------------------------------------------------------------------------------

    def shows(self, *names: str) -> dict[str, str]:
        """Properties by name."""
        said = self.host.run("systemctl", "show", "dockwarden", *(f"--property={name}" for name in names))
        return dict(line.split("=", 1) for line in said.splitlines())

    def show(self, name: str) -> str:
        return self.shows(name)[name]

    @property
    def pid(self) -> int:
        """Its process, by the host's own numbers."""
        return int(self.show("MainPID"))

    def fail(self) -> None:
        """A start with settings that cannot be used; those that are there stay."""
        settings = self.host.path(SETTINGS)
        good = settings.read_text()
        settings.write_text("mood: audit\n")
        self.host.run("systemctl", "restart", "dockwarden", check=False)
        settings.write_text(good)
        assert self.show("ActiveState") == "failed"

    def wait(self, expected: str, name: str, timeout: float = PATIENCE) -> None:
        """Wait until a property is what is expected, or its text contains it."""

        def holds() -> bool:
            value = self.show(name)
            return value == expected or (name.endswith("Text") and expected in value)

        self.until(holds, f"{name} to have {expected}", timeout)

    # -- journal ---------------------------------------------------------------------------------------------

    def journal(self, *arguments: str) -> list[str]:
        """The messages of the unit and about it, oldest first."""
        said = self.host.run("journalctl", "--unit=dockwarden", "--output=cat", "--no-pager", *arguments)
        return [line for line in said.splitlines() if line != "-- No entries --"]

    def mark(self) -> str:
        """Where the journal ends now, for `said` and `heard`."""
        (last,) = (line for line in self.journal("--show-cursor", "--lines=0") if line.startswith("-- cursor: "))
        return last.removeprefix("-- cursor: ")

    def said(self, event: str, after: str = "", **fields: object) -> list[dict[str, Any]]:
        """Its log lines of this event with these fields."""
        arguments = [f"--after-cursor={after}"] if after else []
        lines = [json.loads(line) for line in self.journal(*arguments) if line.startswith("{")]
        return [line for line in lines if line["event"] == event and fields.items() <= line.items()]

    def heard(self, event: str, after: str = "", timeout: float = PATIENCE, **fields: object) -> dict[str, Any]:
        """The first log line of this event with these fields; waits for it."""
        self.until(lambda: self.said(event, after, **fields), f"{event} {fields}", timeout)
        return self.said(event, after, **fields)[0]

    # -- settings and HTTP -----------------------------------------------------------------------------------

    def configure(self, *policies: Policy, **settings: object) -> None:
        """Write settings and policies; who wants them used reloads or restarts."""
        write_policies(self.host.path("/etc/dockwarden/policies/test.yaml"), *policies)
        plain = {"policies": ["/etc/dockwarden/policies"], "schedule": {"jitter": 0}, "minimum_stay": "0s"}
        self.host.path(SETTINGS).write_text(yaml.safe_dump({**plain, **settings}))

    def get(self, path: str) -> str:
        """What its HTTP server answers."""
        answer = self._http.request("GET", f"http://127.0.0.1:{self.host.reach(9877)}{path}")
        return answer.data.decode()

    def api(self, view: str) -> Any:
        return json.loads(self.get(f"/api/v1/{view}"))["items"]

    def until(self, condition: Any, what: str, timeout: float = PATIENCE) -> None:
        """Wait for a condition; the journal's end stands in the error."""
        try:
            until(condition, what, timeout, pause=0.3, most=1.0)  # most ask with a process
        except (LabError, urllib3.exceptions.HTTPError) as error:
            raise LabError(f"{error}\n" + "\n".join(self.journal("--lines=25"))) from None

"""Reading many policies, and a scan by the CIS pack beside the script that people run for it.

docker-bench-security 1.6.0 runs where `DOCKER_BENCH_SECURITY` names its folder: the four of its groups that the pack
answers for, right before and right after our scans.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.installed import cpu_of_run, program
from tests.bench.report import Row, percentile
from tests.commands import environment
from tests.lab.engine import LabEngine
from tests.lab.images import ImageSpec, busybox
from tests.lab.machine import LabError, say

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "packs"
_PEER = os.environ.get("DOCKER_BENCH_SECURITY", "")
_GROUPS = "docker_daemon_configuration,container_images,container_runtime,docker_swarm_configuration"
_CONTAINERS, _FILES, _ROUNDS = 80, 72, 3
_OPTIONS = ("", "--user=1000", "--memory=64m --cpus=0.5", "--read-only", "--cap-add=NET_ADMIN", "--pids-limit=50",
            "--security-opt=no-new-privileges", "--network=host")  # fmt: skip


def measure() -> Iterator[Row]:
    """The rows, each store on an engine of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield _many_files(Path(folder))
    for store in ("graph", "containerd"):
        with LabEngine(store) as engine, tempfile.TemporaryDirectory() as folder:
            say(f"packs: {store}, {_CONTAINERS} containers")
            engine.load(busybox("web:1"), ImageSpec(tags=("checked:1",), healthcheck={"Test": ["CMD", "true"]}))
            for number in range(_CONTAINERS):
                options = _OPTIONS[number % len(_OPTIONS)].split()
                engine.docker("run", "--detach", f"--name=web{number}", *options, "web:1")
            row = partial(Row, measurement=NAME, store=store, figure="scan by the pack cis")
            peers = [_peer(engine)] if _PEER else []
            took = [_scan(engine, Path(folder) / f"state{number}") for number in range(_ROUNDS)]
            peers += [_peer(engine)] if _PEER else []
            ours = percentile(took, 0.5)
            yield row(value=ours, unit="s", note=f"{_CONTAINERS} containers, middle of {_ROUNDS}, nothing remembered")
            if peers:
                times = min(peers) / ours
                yield row(figure="docker-bench-security in the same time", value=1 / times, unit="of it",
                          at_most=0.05, note=f"it took {peers[0]:.0f} and {peers[1]:.0f} s")  # fmt: skip
    if not _PEER:
        say("packs: docker-bench-security was not run: DOCKER_BENCH_SECURITY does not name its folder")


def _many_files(folder: Path) -> Row:
    """`check` of many files, in units of `check` of one."""
    text = (
        "version: 1\npolicies:\n  - name: file{n}\n    subject: image\n    trigger: {{every: 1h}}\n"
        "    when: image.size > {n} && image.tags.size() == 0\n    message: It is larger than {n} B\n"
    )
    for number in range(_FILES):
        (folder / f"{number}.yaml").write_text(text.format(n=number + 1))
    many = percentile([cpu_of_run("check", folder) for _ in range(5)], 0.5)
    one = percentile([cpu_of_run("check", folder / "0.yaml") for _ in range(5)], 0.5)
    note = f"{many:.2f} and {one:.2f} s of CPU, middle of 5"
    return Row(
        measurement=NAME, figure=f"check of {_FILES} files over one", value=many / one, unit="", at_most=1.5, note=note
    )


def _scan(engine: LabEngine, state: Path) -> float:
    config = state.with_suffix(".yaml")
    config.write_text(f"policies: [cis]\nstate_dir: {state}\n")
    began = time.perf_counter()
    done = subprocess.run(
        [program(), "scan", "--config", config], env=environment(engine.host), check=False, capture_output=True
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise LabError(f"scan: {done.stderr.decode()}")
    return time.perf_counter() - began


def _peer(engine: LabEngine) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        ["bash", "docker-bench-security.sh", "-b", "-c", _GROUPS],
        cwd=_PEER, env=environment(engine.host), check=False, capture_output=True,
    )  # fmt: skip
    if f"web{_CONTAINERS - 1}".encode() not in done.stdout:
        raise LabError(f"docker-bench-security: {done.stdout.decode()[-500:]}{done.stderr.decode()[-500:]}")
    return time.perf_counter() - began

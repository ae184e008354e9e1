"""Other programs beside dockwarden, where this machine has them, on the same engines and against one fake registry.

In: `DOCKWARDEN_BENCH_DIUN`, `_DOCUUM`, `_CUSTODIAN` (the path of `dcgc`), and `_WUD`, the folder `app` of its source,
built, which `node` runs. Out: rows; a line for each that is not there. Out of bounds: installing them.

A check asks for all references while nothing is new and nothing fresh: diun's is a whole second run, WUD's lasts from
"Cron started" to "Cron finished", ours is that of the client alone. Removing begins when a program tells of the first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from dockwarden import reference
from dockwarden.actions.images import DANGLING
from tests.bench import removal
from tests.bench.daemon import Daemon, cpu_of
from tests.bench.registry import Setting, fake_registry
from tests.bench.report import Row, percentile
from tests.lab.engine import LabEngine
from tests.lab.images import ImageSpec
from tests.lab.loopback import free_port
from tests.lab.machine import say
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.bench.host import Host
    from tests.bench.registry import Fake


NAME = "peers"
A = TypeVar("A")
T = TypeVar("T")
_CHECKED = Setting(containers=200, latency_ms=20, is_real=True, concurrency=16)
_ROUNDS, _IDLE_SECONDS, _CONTAINERS, _REMOVED = 3, 60.0, 100, 100
_QUIET_SECONDS = 6.0  # WUD waits for five after an event


class _Peer:
    """A program that was started, its log, and its CPU time with that of its children; a context manager."""

    def __init__(self, folder: str, command: list[str], cwd: str | None = None, **environment: str) -> None:
        self._file = Path(folder, "log")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCK", "PYTHON", "WUD"))}
        with self._file.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd, start_new_session=True,
                env={**kept, "HOME": folder, **environment},
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # SIGTERM does not end WUD
        self.process.wait()

    def said(self, text: str) -> float:
        """Wait for a text in its log; gives the time."""
        until(lambda: text in self._file.read_text(errors="replace"), repr(text), pause=0.01)
        return time.perf_counter()

    def cpu_seconds(self) -> float:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return sum(cpu_of(pid, with_ended=True) for pid in (self.process.pid, *map(int, children)))


@cache
def _found(name: str) -> str:
    if not (path := os.environ.get(f"DOCKWARDEN_BENCH_{name.upper()}", "")):
        say(f"peers: {name} is not installed (set DOCKWARDEN_BENCH_{name.upper()})")
    return path


def _wud(folder: str, more: Mapping[str, str], **watcher: str) -> _Peer | None:
    watcher |= {"CRON": "0 0 29 2 *", "JITTER": "0"}
    options = {**more, **{f"WUD_WATCHER_LOCAL_{name}": value for name, value in watcher.items()}}
    options |= {"WUD_STORE_PATH": folder, "WUD_LOG_FORMAT": "json", "WUD_SERVER_ENABLED": "false"}
    return _Peer(folder, ["node", "dist/index"], path, **options) if (path := _found("wud")) else None


def _docuum(folder: str, engine: LabEngine, threshold: str) -> _Peer | None:
    path = _found("docuum")
    return _Peer(folder, [path, "--threshold", threshold], DOCKER_HOST=engine.host) if path else None


def measure(host: Host, *, quick: bool) -> Iterator[Row]:
    """What each costs on a host with many images, idle and while containers come and go."""
    del quick
    with Daemon(host.engine) as daemon:
        daemon.settle()
        yield from _cpu(host, "dockwarden", daemon)
    with tempfile.TemporaryDirectory() as folder:
        if peer := _wud(folder, {}, SOCKET=str(host.engine.socket)):
            with peer:
                peer.said("Cron finished")
                yield from _cpu(host, "WUD", peer)
        if peer := _docuum(folder, host.engine, "10 TB"):
            with peer:
                peer.said("Listening for Docker events")
                yield from _cpu(host, "docuum", peer)


def _cpu(host: Host, name: str, of: Daemon | _Peer) -> Iterator[Row]:
    row = partial(Row, measurement=NAME, store=host.store, images=host.images)
    time.sleep(_QUIET_SECONDS)
    began = of.cpu_seconds()
    time.sleep(_IDLE_SECONDS)
    idle = of.cpu_seconds() - began
    yield row(figure=f"CPU while idle: {name}", value=100 * idle / _IDLE_SECONDS, unit="% of a core")
    raw, began = host.raw(), of.cpu_seconds()
    for number in range(_CONTAINERS):
        raw.container(host.names(1)[0], f"peer-{number}")
    before = 0.0
    while (now := of.cpu_seconds()) - before > _QUIET_SECONDS / 50:
        before = now
        time.sleep(_QUIET_SECONDS)
    used = 1e3 * (now - began) / _CONTAINERS
    yield row(figure=f"CPU of a container that comes and goes: {name}", value=used, unit="ms")


def alone() -> Iterator[Row]:
    """Checks of references, and removals on an engine of each store."""
    with fake_registry() as fake:
        for name, check in {"dockwarden": _ours, "diun": _diun, "WUD": _check_of_wud}.items():
            checks: Sequence[tuple[float, float, float] | None] = [_in_folder(check, fake) for _ in range(_ROUNDS)]
            if runs := [found for found in checks if found]:
                wall, cpu, asked = (percentile(values, 0.5) for values in zip(*runs, strict=True))
                note = f"{cpu:.2f} s of CPU, {asked:,.0f} requests; {_CHECKED}, WUD all at once"
                yield Row(measurement=NAME, figure=f"check: {name}", value=wall, unit="s", note=note)
    ways = {"bare DELETE": _bare, "bare, by a name": _by_name, "dockwarden": removal.seconds_for_all}
    ways |= {"custodian": _custodian, "docuum": _evict}
    for store in ("graph", "containerd"):
        with LabEngine(store) as engine:
            row = partial(Row, measurement=NAME, store=store, images=_REMOVED, unit="ms")
            for name, way in ways.items():
                engine.wipe()
                engine.load(*(ImageSpec(labels={"part": "doomed", "number": str(n)}) for n in range(_REMOVED)))
                took_ms = 1e3 * _in_folder(way, engine)
                if gone := _REMOVED - len(engine.client().images()):
                    yield row(figure=f"an untagged image removed: {name}", value=took_ms / gone, note=f"of {gone}")


def _in_folder(measured: Callable[[A, str], T], what: A) -> T:
    with tempfile.TemporaryDirectory(prefix="dockwarden-bench-") as folder:
        return measured(what, folder)


def _ours(fake: Fake, _folder: str) -> tuple[float, float, float]:
    found = fake.run("_ours", _CHECKED)  # of two checks
    return found["later"], found["cpu"] / 2, sum(found["kinds"].values()) / 2


def _diun(fake: Fake, folder: str) -> tuple[float, float, float] | None:
    if not (path := _found("diun")):
        return None
    docker = {"endpoint": f"tcp://127.0.0.1:{fake.plain}", "apiVersion": "1.47", "watchByDefault": True}
    settings = {"db": {"path": f"{folder}/db"}, "watch": {"workers": 16}, "providers": {"docker": docker}}
    Path(folder, "diun.yml").write_text(json.dumps(settings))  # JSON is YAML
    wall = cpu = 0.0
    for _ in range(2):
        fake.set(_CHECKED)
        began = time.perf_counter()
        with _Peer(folder, [path, "serve", "--config", f"{folder}/diun.yml"], SSL_CERT_FILE=f"{fake.folder}/ca.crt",
                   GRPC_AUTHORITY=f"127.0.0.1:{free_port()}") as peer:  # fmt: skip
            _, peer.process.returncode, used = os.wait4(peer.process.pid, 0)
            wall, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
    return wall, cpu, fake.requests()


def _check_of_wud(fake: Fake, folder: str) -> tuple[float, float, float] | None:
    fake.set(_CHECKED)
    base = f"https://127.0.0.1:{fake.secure}"
    options = {"HOST": "127.0.0.1", "PORT": str(fake.plain), "WATCHEVENTS": "false"}
    more = {f"WUD_REGISTRY_GITLAB_LOCAL_{name}": base for name in ("URL", "AUTHURL", "TOKEN")}
    more["NODE_EXTRA_CA_CERTS"] = f"{fake.folder}/ca.crt"
    if (peer := _wud(folder, more, **options)) is None:
        return None
    with peer:
        began, cpu = peer.said("Cron started"), peer.cpu_seconds()
        wall = peer.said("Cron finished") - began
        return wall, peer.cpu_seconds() - cpu, fake.requests()


def _bare(engine: LabEngine, _folder: str) -> float:
    client = engine.client()
    images = [image["Id"] for image in client.images()]
    began = time.perf_counter()
    for each in images:
        client.remove_image(each, noprune=True)
    return time.perf_counter() - began


def _by_name(engine: LabEngine, _folder: str) -> float:
    """As ours go: by the name that is safe on each store."""
    client = engine.client()
    images = [image["Id"] for image in client.images()]
    began = time.perf_counter()
    for each in images:
        name = f"{DANGLING}{each}"
        if engine.kind == "graph":
            name = reference.marker(each)
            repository, _, tag = name.rpartition(":")
            client.tag(each, repository, tag)
        client.remove_image(name, noprune=True)
    return time.perf_counter() - began


def _custodian(engine: LabEngine, folder: str) -> float:
    if not (path := _found("custodian")):
        return 0.0
    with _Peer(folder, [path, "--max-image-age", "1days"], DOCKER_HOST=engine.host, PYTHONUNBUFFERED="1") as peer:
        began = peer.said("Removing image")
        peer.process.wait()
        return time.perf_counter() - began


def _evict(engine: LabEngine, folder: str) -> float:
    if (peer := _docuum(folder, engine, "1 B")) is None:
        return 0.0
    with peer:
        began = peer.said("Deleting image")
        return peer.said("Listening for Docker events") - began

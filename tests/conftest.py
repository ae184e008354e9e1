"""Session fixtures that give tests real engines and registries; each starts when first asked for."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.assertion.rewrite import PYC_TAIL
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

from tests.commands import logging_of_its_own
from tests.lab import machine, trees
from tests.lab.engine import LabEngine
from tests.lab.namespace import SELDOM_TIDY
from tests.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


# How long an example takes depends on what else the machine does, and says nothing about the code.
_BUSY: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("suite", max_examples=50, **_BUSY)
settings.register_profile("thorough", max_examples=2000, **_BUSY)
settings.load_profile("suite")

_LONGEST_NAME = 100
_WORKERS_OF_A_CORE = 3  # most tests wait; each process collects all of them, and starts engines
_MOST_WORKERS = 12  # each has engines of its own
_DECIDING = 180  # seconds of a test that alone may decide when the run ends
_MEMORY = Path("/var/tmp")  # where all temporary files of a whole run are, seen by its processes only
_ENOUGH = 8 * 2**30  # bytes; a run takes about a quarter
_LIMITS = [Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 0x40000


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Several for each core; none for a choice of tests, which would be over before they started."""
    return 0 if _is_a_choice(config) else min(_WORKERS_OF_A_CORE * len(os.sched_getaffinity(0)), _MOST_WORKERS)


def _is_a_choice(config: pytest.Config) -> bool:
    return bool(config.option.keyword or config.option.markexpr or config.args != config.getini("testpaths"))


def pytest_configure(config: pytest.Config) -> None:
    """Keep what is compiled, whatever the environment says, and compile the tests before many processes each do.

    To collect what nobody compiled takes four times as long, and so does the import of a command by a half. Who is the
    first to ask Hypothesis for text goes through all letters that there are, for three seconds; that is kept as well.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    os.environ |= SELDOM_TIDY  # for the programs that tests start
    if config.getoption("numprocesses", 0) and not hasattr(config, "workerinput") and not _is_a_choice(config):
        _keep_files_in_memory()
        if all(map(_is_compiled, Path(__file__).parent.rglob("test_*.py"))):
            return
        # No function is called so: modules are compiled, and nothing is made of what is in them.
        collect = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "--override-ini=python_functions=nothing"]
        halves = ([*collect, "tests/unit"], [*collect, "tests/integration", "tests/e2e"])
        letters = [sys.executable, "-c", "from hypothesis import find, strategies; find(strategies.text(), bool)"]
        for each in [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in (*halves, letters)]:
            each.wait()  # what is wrong there, the processes of the run will say


def _keep_files_in_memory() -> None:
    """So that nothing waits for a disk; they go with the last process, and nobody else sees them. Else a disk has them.

    Who names a folder in TMPDIR has them there. What has more than a name and content is kept as on a disk only since
    Linux 6.6, which is why that is tried.
    """
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    for limit in _LIMITS:  # of a container that we run in, which may have less than its host
        with contextlib.suppress(OSError, ValueError):
            free.append(int(limit.read_text()))
    if min(free) < _ENOUGH or "TMPDIR" in os.environ or Path.cwd().is_relative_to(_MEMORY):
        return
    system = ctypes.CDLL(None)
    if system.unshare(_CLONE_NEWNS) or system.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None):
        return
    if system.mount(b"tmpfs", bytes(_MEMORY), b"tmpfs", 0, b"mode=1777"):
        return
    try:
        os.setxattr(_MEMORY, "user.kept", b"yes")
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
    except OSError:
        system.umount(bytes(_MEMORY))


def _is_compiled(test: Path) -> bool:
    """As pytest does it, after the last change."""
    compiled = test.parent / "__pycache__" / f"{test.stem}{PYC_TAIL}"
    return compiled.exists() and compiled.stat().st_mtime >= test.stat().st_mtime


def pytest_make_parametrize_id(val: object) -> str | None:
    """A long text is not its own name: names go from process to process, over and over."""
    if not isinstance(val, str | bytes) or len(val) <= _LONGEST_NAME:
        return None
    begin = val[:_LONGEST_NAME]
    return f"{ascii(begin).strip('b')[1:-1]}... of {len(val)}"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays until the end: whoever looks for garbage need not look there, over and over."""
    gc.disable()
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Who shares what a module sets up stays in one process, and units with their caches; before xdist looks."""
    for item in items:
        if isinstance(item, pytest.Function):
            shared = item._fixtureinfo.name2fixturedefs.values()
            if _is_unit(item) or any(definitions[-1].scope == "module" for definitions in shared):
                item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}/{item.path.stem}"))
            elif "[newest" in item.name or "newest_engine" in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group("newest"))  # one engine of that kind is enough
    if hasattr(config, "workerinput"):  # what takes long comes first, or one process works on when all others are done
        items.sort(key=_seconds, reverse=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Of what went well, one report goes from process to process, and not five: a third of what a small test costs."""
    if not hasattr(item.config, "workerinput"):
        return None
    with _ahead_of_others() if _seconds(item) >= _DECIDING else contextlib.nullcontext():
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


@contextlib.contextmanager
def _ahead_of_others() -> Iterator[None]:
    """What takes longest need not queue for a processor with what can wait, or it works on when all others are done."""
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):  # who may not has no engines either
        os.setpriority(os.PRIO_PROCESS, 0, usual - 5)  # three times the share: more would starve the others
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, usual)


def _seconds(item: pytest.Item) -> int:
    """About how long it takes, where it is long."""
    if slow := item.get_closest_marker("slow"):
        return slow.args[0] if slow.args else 20
    return 10 if item.get_closest_marker("xdist_group") and not _is_unit(item) else 0


def _is_unit(item: pytest.Item) -> bool:
    return item.nodeid.startswith("tests/unit/")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command sets logging up for its whole process, which here is that of the other tests as well."""
    with logging_of_its_own():
        yield


@pytest.fixture(scope="session")
def registry() -> Iterator[LabRegistry]:
    """One open registry for the session; use repository names of your own."""
    machine.ensure(machine.REGISTRY, "a private registry")
    with LabRegistry() as started:
        yield started


@pytest.fixture(scope="session")
def graph_engine(registry: LabRegistry) -> Iterator[LabEngine]:
    """One engine with the classic image store for the session; it reaches `registry`."""
    machine.ensure(machine.ENGINE, "a private engine")
    with LabEngine("graph") as started:
        started.forward(registry.port)
        yield started


@pytest.fixture(scope="session")
def containerd_engine(registry: LabRegistry) -> Iterator[LabEngine]:
    """One engine with the containerd image store for the session; it reaches `registry`."""
    machine.ensure(machine.ENGINE, "a private engine")
    trees.ensure(trees.NEW_ENGINE)
    with LabEngine("containerd") as started:
        started.forward(registry.port)
        yield started


@pytest.fixture(scope="session")
def newest_engine(registry: LabRegistry) -> Iterator[LabEngine]:
    """As `containerd_engine`, of the newest version that Debian has."""
    machine.ensure(machine.ENGINE, "a private engine")
    with LabEngine("containerd", tree=trees.NEWEST_ENGINE) as started:
        started.forward(registry.port)
        yield started


@pytest.fixture(params=["graph", "containerd"])
def engine(request: pytest.FixtureRequest) -> Iterator[LabEngine]:
    """The test runs once on each kind, on the session's engines, with what others left there.

    What the kind has no part in runs on "either": which it is, chance decides for each test and run.
    """
    chosen = os.environ.get("DOCKWARDEN_LAB_EITHER") or random.choice(["graph", "containerd"])
    kind = chosen if request.param == "either" else request.param
    started: LabEngine = request.getfixturevalue(f"{kind}_engine")
    yield started
    started.end_containers()


@pytest.fixture
def empty_engine(engine: LabEngine) -> LabEngine:
    """As `engine`, with nothing in it."""
    engine.wipe()
    return engine

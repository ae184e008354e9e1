"""What every scenario needs: a way to start daemons that are over when the test is."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.e2e.harness import Daemon, Policy
from tests.e2e.supervised import wheels
from tests.lab import machine, trees
from tests.lab.engine import LabEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


class Start(Protocol):
    """Starts a daemon; a name tells its folder from that of another in the same test."""

    def __call__(
        self,
        engine: LabEngine | str,
        policies: Sequence[Policy | str] = (),
        /,
        *,
        name: str = "daemon",
        arguments: Sequence[str] = (),
        under: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> Daemon: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Daemons of this test; each is given its engine, its policies, and settings where it needs others."""
    with ExitStack() as stack:

        def begin(
            engine: LabEngine | str,
            policies: Sequence[Policy | str] = (),
            /,
            *,
            name: str = "daemon",
            arguments: Sequence[str] = (),
            under: Sequence[str] = (),
            environment: Mapping[str, str] | None = None,
            settings: Mapping[str, object] | None = None,
        ) -> Daemon:
            host = engine if isinstance(engine, str) else engine.host
            daemon = Daemon(
                host,
                tmp_path / name,
                settings or {},
                policies=policies,
                arguments=arguments,
                under=under,
                environment=environment,
            )
            return stack.enter_context(daemon)

        yield begin


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of this checkout, one folder for all processes of the run."""
    own = tmp_path_factory.getbasetemp()
    house = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shipped"
    with machine.locked(house):
        if not house.exists():
            wheels(house.with_name("unfinished")).parent.rename(house)
    return house / "wheels"


@pytest.fixture
def any_engine(graph_engine: LabEngine) -> Iterator[LabEngine]:
    """As `empty_engine`, but of one kind only, for what the kind of store has no part in."""
    graph_engine.wipe()
    yield graph_engine
    graph_engine.end_containers()


@pytest.fixture(params=["graph", "containerd"])
def own_engine(request: pytest.FixtureRequest) -> Iterator[LabEngine]:
    """An engine of each kind that the test may break."""
    machine.ensure(machine.ENGINE, "a private engine")
    if request.param == "containerd":
        trees.ensure(trees.NEW_ENGINE)
    with LabEngine(request.param) as started:
        yield started


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a real engine."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if "tests/e2e" in item.path.as_posix() and any(name.endswith("engine") for name in names):
            item.add_marker(pytest.mark.engine)

"""deploy/swarm on three real engines: rolled out, rolled back, and without a node, seen through its Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.fleet import SERVICE, UP, Fleet
from tests.lab.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.slow(180)]


def test_a_stack_is_rolled_out_and_rolled_back_and_outlives_a_node(tmp_path: Path, shipped: Path) -> None:
    with Fleet(tmp_path / "fleet", shipped) as fleet:
        story = fleet.story()
        next(story)
        names = {node.name for node in fleet.swarm.nodes}
        assert {labels["instance"] for labels, _ in fleet.ask("dockwarden_engine_up")} == names
        alarms = 'ALERTS{alertstate="firing"} or dockwarden_findings{severity=~"critical|high"} > 0'
        assert fleet.ask(alarms) == []  # of what is installed as documented, nobody is told
        assert len(list(story)) == 5

        leader = fleet.swarm.leader
        mounts = leader.docker("service", "inspect", "--format={{.Spec.TaskTemplate.ContainerSpec.Mounts}}", SERVICE)
        assert "docker.sock" not in mounts

        lost = fleet.swarm.nodes[2].name
        fleet.swarm.lose(3)
        until(lambda: fleet.swarm.node_states()[lost] == "Down", f"{lost} to be down", timeout=300, pause=1.0)
        fleet.until(UP, 2)
        new = fleet.swarm.add()
        new.forward(fleet.registry.port)
        fleet.until(UP, 3)
        fleet.until(f'dockwarden_policy_info{{policy="outdated", instance="{new.name}"}}', 1)

"""A swarm of real engines: what its leader judges, and what the others leave to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import policy
from tests.lab import images
from tests.lab.swarm import LabSwarm
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Start
    from tests.lab.registry import LabRegistry

pytestmark = [pytest.mark.engine, pytest.mark.slow]
NODES = 3
JUDGING = (
    "service-limits",
    policy("few", "service", "service.running < service.replicas", trigger={"every": "5s"}),
    policy("moved", "service", "registry.state == 'drift'", trigger={"every": "5s"}),
    policy("scaled", "service", "service.replicas > 1", trigger={"events": ["service.scale"]}),
    policy("pinned", "service", "service.image_digest != ''", trigger={"events": ["service.update"]}),
    policy(
        "stopped", "container", "container.running && container.image_repository.endsWith('/shop/web')", mode="enforce",
        action="stop", trigger={"events": ["container.start"]}, limits={"max_percent": 100},
    ),
)  # fmt: skip


@pytest.fixture
def swarm(tmp_path: Path, registry: LabRegistry) -> Iterator[LabSwarm]:
    with LabSwarm(tmp_path / "swarm", NODES) as started:
        for node in started.nodes:
            node.forward(registry.port)
        yield started


def test_the_leader_judges_services_and_leaves_their_tasks_alone(
    swarm: LabSwarm, registry: LabRegistry, start: Start
) -> None:
    one, other = images.busybox(), images.busybox(cmd=("sleep", "2000000"))
    old = registry.push("shop/web", "1", one)
    registry.push("shop/web", "1", other)
    name = f"{registry.host}/shop/web:1@{old}"
    for number in (2, 3):
        swarm.promote(number)
    leader, *others = (
        start(node, JUDGING, name=f"node{number}", settings={"minimum_stay": "0s"})
        for number, node in enumerate(swarm.nodes, 1)
    )
    leader.wait("services.judged", where="here, on the leader")
    for each in others:
        each.wait("services.judged", where="on the leader of the swarm only")

    docker = swarm.leader.docker
    docker("service", "create", "--detach", "--quiet", "--name=web", name)
    leader.wait("finding.opened", policy="service-limits", name="web")
    refused = next(
        each
        for each in until(
            lambda: [d for d in (leader, *others) if d.said("action.refused", policy="stopped")], "a task"
        )
    ).said("action.refused", policy="stopped")[0]
    assert refused["reason"] == "owner"
    assert "swarm" in refused["detail"]
    docker("service", "scale", "--detach", "web=2")
    leader.wait("finding.opened", policy="scaled", name="web")
    docker("service", "update", "--detach", "--quiet", "--limit-memory=64M", "--limit-cpu=1", "web")
    leader.wait("finding.opened", policy="pinned", name="web")
    leader.wait("finding.resolved", policy="service-limits", name="web", why="pass")
    docker("service", "create", "--detach", "--quiet", "--name=stuck", "--constraint=node.hostname==nowhere", name)
    leader.wait("finding.opened", policy="few", name="stuck")
    leader.until(lambda: leader.findings("few") == {"stuck"}, "all tasks of web")

    leader.wait("finding.opened", policy="moved", name="web")
    assert not any(each.said("finding.opened", subject="service") for each in others)

    swarm.leader.kill()  # somebody else leads now, and judges
    new = until(lambda: [d for d in others if d.said("finding.opened", policy="moved")], "another leader", pause=0.2)
    assert len(new) == 1
    manager = swarm.nodes[1 + others.index(new[0])]
    manager.docker("service", "rm", "web")
    new[0].wait("finding.resolved", policy="moved", name="web", why="gone")

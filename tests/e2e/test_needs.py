"""What services of a swarm need stays on a node where none of their tasks runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import policy
from tests.e2e.test_plans import ALL, Desk, kept, planned
from tests.lab import images
from tests.lab.images import ImageSpec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.engine import LabEngine

EVERY_IMAGE = policy("every-image", "image", "!image.in_use", action="remove", limits=ALL)
EVERY_TAG = policy("every-tag", "tag", "tag.name != ''", action="untag", limits=ALL)
EVERY_VOLUME = policy("every-volume", "volume", "volume.name != ''", action="remove", limits=ALL, **{"for": "1h"})
EVERY_NETWORK = policy("every-network", "network", "!network.builtin", action="remove", limits=ALL)
ON_A_WORKER = policy("also-on-a-worker", "image", "true", action={"remove": {"owners": ["swarm"]}}, limits=ALL)


def service(engine: LabEngine, *arguments: str) -> None:
    engine.docker("service", *arguments[:1], "--detach", "--quiet", "--no-resolve-image", *arguments[1:])


@pytest.mark.slow
def test_services_need_images_and_volumes_also_where_no_task_of_theirs_runs(
    own_engine: LabEngine, tmp_path: Path
) -> None:
    engine = own_engine
    names = ("now:1", "before:1", "pinned:1", "free:1")
    engine.load(*(images.busybox(name, cmd=(name,)) for name in names), ImageSpec(tags=("nameless:1",)))
    engine.load(ImageSpec(tags=("nameless:1",), env=("another=one",)))
    for volume in ("data-1", "data-2", "before", "free"):
        engine.docker("volume", "create", volume)
    anonymous = engine.docker("volume", "create")
    desk = Desk(engine, tmp_path, EVERY_IMAGE, EVERY_TAG, EVERY_VOLUME, EVERY_NETWORK)
    assert not {"in_use", "need_unknown"} & set(kept(desk.plan()).values())

    engine.docker("swarm", "init", "--autolock", "--advertise-addr=127.0.0.1")
    mount = "type=volume,source={},target=/{}"
    service(engine, "create", "--name=web", "--replicas=0", f"--mount={mount.format('before', 'before')}", "before:1")
    templated = mount.format("data-{{.Task.Slot}}", "now")
    service(engine, "update", "--image=now:1", "--mount-rm=/before", f"--mount-add={templated}", "web")
    digest = next(iter(engine.client().inspect_image("pinned:1")["RepoDigests"]), "")
    if digest:  # a graph store has none of what was loaded
        service(engine, "create", "--name=pin", "--mode=global", "--constraint=node.hostname==other", digest)
    for name in ("settings", "nobodys"):
        engine.docker("network", "create", "--config-only", "--subnet=10.84.0.0/24", name)
    engine.docker("network", "create", "--driver=macvlan", "--scope=swarm", "--config-from=settings", "wide")
    engine.docker("volume", "create", "data-3")  # after the service

    rows = desk.plan("--policy=every-image")
    gone = set(planned(rows))
    assert {"docker.io/library/free:1"} < gone
    assert {name.partition(":")[0].rpartition("/")[2] for name in gone} & {"now", "before"} == set()
    assert ("docker.io/library/pinned:1" in gone) is not bool(digest)
    assert kept(desk.plan("--policy=every-tag"))["docker.io/library/before:1"] == "in_use"
    volumes = kept(desk.plan("--policy=every-volume"))
    assert {name for name, why in volumes.items() if why == "in_use"} == {"data-1", "data-2", "data-3", "before"}

    rows = desk.plan("--policy=every-network")
    assert set(planned(rows)) == {"nobodys"}
    assert (kept(rows)["settings"], kept(rows)["wide"]) == ("in_use", "owner")

    service(engine, "update", "--image=free:1", "web")  # after the plan was made
    desk.plan("--policy=every-image")
    service(engine, "update", "--image=nameless:1", "web")
    assert desk.run("apply", desk.file, "--yes").code == 0
    assert {"nameless:1", "free:1", "before:1"} & set(
        engine.docker("image", "ls", "--format={{.Repository}}:{{.Tag}}").split()
    ) == {"nameless:1", "free:1"}

    engine.docker("tag", "free:1", "nameless:1")
    engine.restart()  # and nobody unlocks it, so it can tell as little as a worker
    rows = desk.plan()
    named = {row["name"] for row in rows if row["reason"] == "need_unknown"}
    assert {"docker.io/library/free:1", "data-1", "free", "settings", "nobodys"} < named
    assert volumes[anonymous] == kept(rows)[anonymous] == "waiting"
    assert planned(rows)  # what has no name, no spec can name
    desk = Desk(engine, tmp_path, ON_A_WORKER)
    assert set(planned(desk.plan())) >= {"docker.io/library/free:1"}
    assert desk.run("apply", desk.file, "--yes").code == 0
    assert not engine.docker("image", "ls", "--quiet")

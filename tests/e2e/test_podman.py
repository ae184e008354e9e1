"""A real Podman behind its Docker API: what is there is judged, and nothing of it is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands import command
from tests.e2e.harness import policy
from tests.lab import images
from tests.lab.podman import LabPodman

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Start

pytestmark = pytest.mark.engine
WHY = "this is Podman"
POLICIES = [
    policy("tags", "tag", "tag.name == '1'", trigger={"events": ["image.tag"]}),
    policy("stays", "image", "'x' in image.labels", mode="enforce", action="remove", trigger={"every": "5s"}),
    policy("created", "container", "!container.running && container.image_ref.endsWith('app:1')",
           trigger={"events": ["container.create"]}),
    policy("named", "volume", "volume.name == 'data' && !volume.in_use", trigger={"events": ["volume.create"]}),
    policy("pinned", "tag", "registry.state == 'current'", trigger={"every": "1h"}),
]  # fmt: skip


def test_images_containers_and_volumes_are_judged_and_nothing_is_changed(tmp_path: Path, start: Start) -> None:
    with LabPodman(tmp_path / "podman") as podman:
        archive = images.archive([images.ImageSpec(tags=("app:1",), labels={"x": "y"})])
        list(podman.client.load_image(iter([archive])))
        daemon = start(podman.host, POLICIES, settings={"minimum_stay": "0s"})
        daemon.wait("inventory.listed")
        assert WHY in daemon.wait("engine.only_audited")["reason"]
        podman.client.create_container("localhost/app:1", ["/bin/sh"], name="web")
        daemon.wait("finding.opened", policy="created", name="web")
        podman.client.create_volume("data")
        daemon.wait("finding.opened", policy="named", name="data")
        podman.client.tag("localhost/app:1", "localhost/other", "1")
        daemon.wait("finding.opened", policy="tags", name="localhost/other:1")
        podman.client.remove_container("web")
        daemon.wait("finding.resolved", policy="created", name="web")
        assert WHY in daemon.wait("run.error")["error"]

        config = ("--config", daemon.config)
        daemon.close()
        scanned = command("scan", *config, docker_host=podman.host)
        assert "stays" in scanned.out
        pinned = command("scan", *config, "--policy=pinned", docker_host=podman.host)
        assert "2 pass, 0 skip, 0 unknown" in pinned.err, pinned  # and no registry of this host is asked
        planned = command("plan", *config, "--save", tmp_path / "plan", docker_host=podman.host)
        assert (planned.code, planned.err.count(WHY)) == (0, 1), planned
        for words in (["apply", tmp_path / "plan", "--yes"], ["undo", "1"], ["reset", "app:1", "--yes"]):
            done = command(*words, *config, docker_host=podman.host)
            assert (done.code, done.err.count(WHY), done.err.count("\n")) == (1, 1, 1), done
        assert [sorted(row["RepoTags"]) for row in podman.client.images()] == [["localhost/app:1", "localhost/other:1"]]

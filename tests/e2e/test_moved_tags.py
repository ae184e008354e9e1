"""A tag comes to name another image: everything that the move concerns is judged again, whatever caused the move."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import full, policy
from tests.lab import images

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Start
    from tests.e2e.harness import Daemon
    from tests.lab.engine import LabEngine
    from tests.lab.images import ImageSpec
    from tests.lab.registry import LabRegistry

    Move = Callable[[LabEngine, LabRegistry, str], None]

STALE = "stale-container"
LONELY_TAG = policy("lonely-tag", "tag", "image.tags.size() == 1", trigger={"events": ["image.untag"]})
LONELY_IMAGE = policy("lonely-image", "image", "image.tags.size() == 1", trigger={"events": ["image.untag"]})
OLD = replace(images.busybox(), labels={"release": "old"})
NEW = replace(images.busybox(), labels={"release": "new"})


def spec(release: str, move: Move) -> ImageSpec:
    return replace(images.busybox(), labels={"release": release, "by": move.__name__})


def by_pull(engine: LabEngine, registry: LabRegistry, tag: str) -> None:
    repository, _, name = tag.removeprefix(f"{registry.host}/").rpartition(":")
    registry.push(repository, name, spec("new", by_pull))
    engine.docker("pull", "--quiet", tag)


def by_tag(engine: LabEngine, _registry: LabRegistry, tag: str) -> None:
    engine.load(replace(spec("new", by_tag), tags=("e2e/other:1",)))
    engine.docker("tag", "e2e/other:1", tag)


def by_load(engine: LabEngine, _registry: LabRegistry, tag: str) -> None:
    engine.load(replace(spec("new", by_load), tags=(tag,)))


def by_build(engine: LabEngine, _registry: LabRegistry, tag: str) -> None:
    dockerfile = io.BytesIO(f"FROM {tag.rpartition(':')[0]}:keep\nLABEL release=built\n".encode())
    for line in engine.client().build(fileobj=dockerfile, tag=tag, rm=True, decode=True):
        assert "error" not in line, line


MOVES: tuple[Move, ...] = (by_pull, by_tag, by_load, by_build)


@pytest.mark.slow
def test_old_image_its_tags_and_its_containers_are_judged_again(
    empty_engine: LabEngine, registry: LabRegistry, start: Start
) -> None:
    engine = empty_engine
    for move in MOVES:
        moving, keep = (f"{registry.host}/e2e/{move.__name__}:{name}" for name in ("moving", "keep"))
        registry.push(f"e2e/{move.__name__}", "moving", spec("old", move))
        engine.docker("pull", "--quiet", moving)
        engine.docker("tag", moving, keep)
        engine.docker("run", "--detach", f"--name={move.__name__}", moving)
    daemon = start(engine, [STALE, LONELY_TAG, LONELY_IMAGE]).ready()
    assert daemon.api("findings") == []
    for move in MOVES:
        a_tag_moves(engine, registry, daemon, move)


def a_tag_moves(engine: LabEngine, registry: LabRegistry, daemon: Daemon, move: Move) -> None:
    app = move.__name__
    moving, keep = (f"{registry.host}/e2e/{app}:{name}" for name in ("moving", "keep"))
    old = engine.client().inspect_image(keep)["Id"]
    mark = daemon.mark

    move(engine, registry, moving)

    stale = daemon.wait("finding.opened", after=mark, policy=STALE, name=app)
    assert stale["message"] == f"{app} runs an older image of {moving}, which names another image now"
    daemon.wait("finding.opened", after=mark, policy="lonely-tag", name=keep)
    assert daemon.wait("finding.opened", after=mark, policy="lonely-image", name=keep)["id"] == old
    daemon.until_metric(1, "dockwarden_findings", policy=STALE)
    new = engine.client().inspect_image(moving)["Id"]
    assert new != old
    assert daemon.tags()[moving] == new

    engine.docker("rm", "--force", app)
    engine.docker("run", "--detach", f"--name={app}", moving)

    daemon.wait("finding.resolved", after=mark, policy=STALE, name=app)
    daemon.until_metric(0, "dockwarden_findings", policy=STALE)

    def runs() -> list[str]:
        rows = daemon.api("inventory", "subject=container&limit=1000")
        return [row["image_id"] for row in rows if row["name"] == app]

    daemon.until(lambda: runs() == [new], "the new container")
    assert daemon.findings(STALE) == set()


def test_tag_that_goes_away_or_moves_and_is_back_resolves_what_that_opened(
    empty_engine: LabEngine, start: Start
) -> None:
    engine = empty_engine
    engine.load(
        replace(OLD, tags=("e2e/gone:1", "e2e/gone:2", "e2e/back:1", "e2e/back:old")),
        replace(NEW, tags=("e2e/back:new",)),
    )
    engine.docker("run", "--detach", "--name=app", "e2e/gone:1")
    engine.docker("run", "--detach", "--name=moved", "e2e/back:1")
    daemon = start(engine, [STALE]).ready()

    engine.docker("image", "rm", "e2e/gone:1")
    opened = daemon.wait("finding.opened", policy=STALE, name="app")
    assert opened["message"] == f"app runs an older image of {full('e2e/gone:1')}, a tag that is gone"
    engine.docker("tag", "e2e/gone:2", "e2e/gone:1")
    daemon.wait("finding.resolved", policy=STALE, name="app", why="pass")
    daemon.until_metric(0, "dockwarden_findings", policy=STALE)

    engine.docker("tag", "e2e/back:new", "e2e/back:1")
    daemon.wait("finding.opened", policy=STALE, name="moved")
    engine.docker("tag", "e2e/back:old", "e2e/back:1")
    daemon.wait("finding.resolved", policy=STALE, name="moved", why="pass")
    engine.docker("stop", "--time=0", "moved")
    engine.docker("tag", "e2e/back:new", "e2e/back:1")
    new = engine.client().inspect_image("e2e/back:new")["Id"]
    daemon.until(lambda: daemon.tags().get(full("e2e/back:1")) == new, "the second move")
    assert len(daemon.said("finding.opened", policy=STALE)) == 2  # one each: it does not run any more

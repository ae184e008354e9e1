"""What a tag is here and what it is at its registry: every state, every change of it, and what it costs to know.

A registry of its own holds single manifests, Docker lists and OCI indexes; engines pull from it, then its tags move,
grow platforms, or go away. What the daemon makes of that is read where its operator reads it: in the log, metrics and
API, in `dockwarden images` and `dockwarden history`.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.commands import command
from tests.e2e.harness import policy
from tests.integration import worlds
from tests.lab import images, machine
from tests.lab.images import ImageSpec
from tests.lab.machine import LabError
from tests.lab.registry import LabRegistry
from tests.lab.waiting import until
from tests.unit.misbehaving import http

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.e2e.conftest import Start
    from tests.e2e.harness import Daemon
    from tests.lab.engine import LabEngine
    from tests.unit.misbehaving import Asked

STATES = ("current", "drift", "other-platform", "local", "gone")
IN_STATE = [
    policy(
        f"is-{state}",
        "tag",
        f"registry.state == '{state}'",
        trigger={"every": "5s"},
        message=f"{{{{ tag.ref }}}} is {state}",
    )
    for state in STATES
]
FRESH = [
    policy(
        f"runs-{word}",
        "container",
        f"container.freshness == '{word}'",
        trigger={"events": ["container.start", "image.pull", "image.tag", "image.untag"]},
    )
    for word in ("current", "recreate-needed", "pinned", "tag-gone")
]
RUNNING = images.busybox()
US, ARM, Z = f"linux/{images.ARCHITECTURE}", "linux/arm64", "linux/s390x"


def soon(*policies: str) -> dict[str, object]:
    """Settings by which policies that dockwarden ships run as often as they can."""
    return {"triggers": {name: {"every": "5s"} for name in policies}}


@pytest.fixture
def hub() -> Iterator[LabRegistry]:
    """A registry whose log tells every request of this test."""
    machine.ensure(machine.REGISTRY, "a private registry")
    with LabRegistry() as started:
        yield started


@pytest.fixture
def host(empty_engine: LabEngine, hub: LabRegistry) -> LabEngine:
    """An engine of either kind that reaches the registry."""
    empty_engine.forward(hub.port)
    return empty_engine


# -- a registry in motion --------------------------------------------------------------------------------------

Push = Callable[[LabRegistry, str], str]


def spec(word: str) -> ImageSpec:
    return ImageSpec(labels={"word": word})


def single(image: ImageSpec, media: Any = "docker") -> Push:
    return lambda hub, repository: hub.push(repository, "1", image, media)


def index(image: ImageSpec, *platforms: str, media: Any = "oci") -> Push:
    return lambda hub, repository: hub.push_index(repository, "1", platforms, image, media)


def delete(hub: LabRegistry, repository: str) -> str:
    hub.delete_tag(repository, "1")
    return ""


class Story(NamedTuple):
    """What a tag named when it was pulled, what becomes of it at the registry (None: nothing), and its state then."""

    before: Push
    after: Push | None
    state: str


STORIES = {
    "same": Story(single(spec("same")), None, "current"),
    "same-index": Story(index(spec("same index"), US, ARM), None, "current"),
    "same-list": Story(index(spec("same list"), US, ARM, media="docker"), None, "current"),
    "single": Story(single(spec("old")), single(spec("new")), "drift"),
    "oci": Story(single(spec("old"), "oci"), single(spec("new"), "oci"), "drift"),
    "app": Story(
        index(replace(RUNNING, labels={"release": "old"}), US, ARM),
        index(replace(RUNNING, labels={"release": "new"}), US, ARM),
        "drift",
    ),
    "list": Story(index(spec("old"), US, ARM, media="docker"), index(spec("new"), US, ARM, media="docker"), "drift"),
    "others": Story(index(spec("ours"), US, ARM), index(spec("ours"), US, Z), "other-platform"),
    "wrapped": Story(single(spec("ours"), "oci"), index(spec("ours"), US, ARM), "other-platform"),
    "unwrapped": Story(index(spec("ours"), US, ARM), single(spec("ours"), "oci"), "other-platform"),
    "deleted": Story(single(spec("deleted")), delete, "gone"),
}


def reference(hub: LabRegistry, name: str) -> str:
    return f"{hub.host}/truth/{name}:1"


NOT_FOUND = ("deleted:1", "built:1")
"""What a registry has not is asked for again after half a minute, which may pass on a machine that does much else."""


def manifests(hub: LabRegistry) -> Counter[tuple[str, str]]:
    """How often each manifest was asked for since the log was forgotten: by method, repository, and tag or digest.

    What was not found counts once.
    """
    asked = [r for r in hub.requests if "/manifests/" in r.path and r.method in ("HEAD", "GET")]
    found = Counter((r.method, r.path.removeprefix("/v2/truth/").replace("/manifests/", ":", 1)) for r in asked)
    return Counter({what: 1 if what[1] in NOT_FOUND else times for what, times in found.items()})


def rows(daemon: Daemon, *arguments: str, more: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """What a command of ours prints as JSON beside the running daemon."""
    done = command(*arguments, "-o", "json", "--config", daemon.config, docker_host=daemon.docker_host, more=more)
    assert (done.code, done.err) == (0, ""), done
    listed: list[dict[str, Any]] = json.loads(done.out)
    return listed


def until_history(daemon: Daemon, tag: str, **expected: list[str]) -> None:
    """Wait until these are the digests that a tag had on each side; they are written down soon after they were seen."""

    def is_written() -> bool:
        sides: dict[str, list[dict[str, Any]]] = {"local": [], "registry": []}
        for row in rows(daemon, "history", tag):
            sides[row["side"]].append(row)
        for known in sides.values():  # each ends where the next begins
            assert [row["until"] for row in known] == [*(row["since"] for row in known[1:]), None]
        return {side: [row["digest"] for row in known] for side, known in sides.items()} == expected

    daemon.until(is_written, f"the history of {tag} to be {expected}")


def runs(daemon: Daemon, job: str) -> float:
    return daemon.total("dockwarden_job_duration_seconds_count", policy=job)


@dataclass
class Scene:
    """One engine, its registry, the daemon, what was pulled, and what each tag should be."""

    host: LabEngine
    hub: LabRegistry
    daemon: Daemon
    was: dict[str, str]
    expected: dict[str, str]

    @property
    def there(self) -> set[str]:
        """Every digest that the registry has under a tag now."""
        kept = (name for name, story in STORIES.items() if self.expected[reference(self.hub, name)] != "gone")
        return {self.hub.digest(f"truth/{name}", "1") for name in kept}

    @property
    def app(self) -> str:
        """The tag that containers run."""
        return reference(self.hub, "app")

    def settle(self) -> None:
        """Wait until metrics and API have each tag in its state, and see that `images` agrees."""
        counts = Counter(self.expected.values())
        for state in STATES:
            self.daemon.until_metric(counts[state], "dockwarden_findings", policy=f"is-{state}")
            assert self.daemon.findings(f"is-{state}") == {tag for tag, its in self.expected.items() if its == state}
        drifted = {tag for tag, state in self.expected.items() if state == "drift"}
        self.daemon.until(lambda: self.daemon.findings("digest-drift") == drifted, f"{drifted} to drift")
        self.daemon.until_metric(len(drifted), "dockwarden_findings", policy="digest-drift")
        listed = {row["tag"]: row for row in rows(self.daemon, "images") if row["tag"]}
        assert {tag: row["state"] for tag, row in listed.items()} == self.expected
        for row in listed.values():
            there = {"current": {row["digest"]}, "local": {""}, "gone": {""}}.get(row["state"])
            assert row["registry_digest"] in (there or self.there - {row["digest"]}), row
            assert row["state_seconds"] >= 0

    def freshness(self, expected: dict[str, set[str]]) -> None:
        """Wait until the containers are as fresh as is expected."""
        for word in ("current", "recreate-needed", "pinned", "tag-gone"):
            names = expected.get(word, set())
            self.daemon.until(lambda: self.daemon.findings(f"runs-{word}") == names, f"{names} to run {word}")  # noqa: B023
            self.daemon.until_metric(len(names), "dockwarden_findings", policy=f"runs-{word}")


WEBS = {"web0", "web1", "web2"}
PINNED = {"pinned", "orphan"}


@pytest.mark.slow(50)
def test_every_state_from_the_pull_to_the_new_container(host: LabEngine, hub: LabRegistry, start: Start) -> None:
    was = {}
    for name, story in STORIES.items():
        was[name] = story.before(hub, f"truth/{name}")
        host.docker("pull", "--quiet", reference(hub, name))
    built, app = reference(hub, "built"), reference(hub, "app")
    host.load(replace(spec("built"), tags=(built,)))
    for name in sorted(WEBS):
        host.docker("run", "--detach", f"--name={name}", app)
    host.docker("run", "--detach", "--name=pinned", f"{app}@{was['app']}")
    host.docker("create", "--name=orphan", f"{reference(hub, 'deleted')}@{was['deleted']}", "/nothing")
    hub.forget_requests()
    daemon = start(
        host,
        [*IN_STATE, *FRESH, "digest-drift", "stale-container", "pinned-drift"],
        settings=soon("digest-drift", "pinned-drift"),
    ).ready()
    tags = [reference(hub, name) for name in STORIES]
    scene = Scene(host, hub, daemon, was, {**dict.fromkeys(tags, "current"), built: "local"})

    all_is_as_it_was_pulled(scene)
    daemon.end()
    for name, story in STORIES.items():
        if story.after:
            story.after(hub, f"truth/{name}")
            scene.expected[reference(hub, name)] = story.state
    tags_have_moved_meanwhile(scene)
    somebody_pulls(scene)
    somebody_recreates_the_containers(scene)
    somebody_takes_a_tag_away(scene)


def all_is_as_it_was_pulled(scene: Scene) -> None:
    """One HEAD for each tag, however many containers, policies and runs want to know, and no manifest at all."""
    daemon = scene.daemon
    for tag, state in scene.expected.items():
        assert daemon.wait("finding.opened", policy=f"is-{state}", name=tag)["message"] == f"{tag} is {state}"
    for job in ("is-current", "digest-drift", "pinned-drift"):
        daemon.until(lambda: runs(daemon, job) >= 2, f"two runs of {job}")  # noqa: B023
    asked, confirmed = [*STORIES], {}
    if scene.host.kind == "containerd":
        asked.append("built")  # that store has a digest of everything, so it takes a question to know
        confirmed = {("GET", "built:1"): 1}
    assert manifests(scene.hub) == {("HEAD", f"{name}:1"): 1 for name in asked} | confirmed
    assert daemon.total("dockwarden_registry_requests_total", method="HEAD") >= len(asked)
    assert daemon.total("dockwarden_registry_requests_total", method="HEAD", code="200") == len(STORIES)
    assert daemon.findings("stale-container") == daemon.findings("pinned-drift") == set()
    scene.settle()
    scene.freshness({"current": WEBS, "pinned": PINNED})
    until_history(daemon, scene.app, local=[scene.was["app"]], registry=[scene.was["app"]])


def tags_have_moved_meanwhile(scene: Scene) -> None:
    """After a restart each tag is in its new state, and manifests were asked for only where digests differ."""
    daemon, app = scene.daemon, scene.app
    old, new = scene.was["app"], scene.hub.digest("truth/app", "1")
    scene.hub.forget_requests()

    daemon.restart()

    for name, story in STORIES.items():
        if story.after:
            tag = reference(scene.hub, name)
            assert daemon.wait("finding.opened", policy=f"is-{story.state}", name=tag)["subject"] == "tag"
            daemon.wait("finding.resolved", policy="is-current", name=tag, why="pass")
    drift = daemon.wait("finding.opened", policy="digest-drift", name=app)["message"]
    there = f"{app} is {old} here and {new} at its registry"
    assert drift.removeprefix(there).startswith(", for at least ")
    assert drift.endswith("; it is used by pinned, web0, web1, web2")
    pin = daemon.wait("finding.opened", policy="pinned-drift", name="pinned")["message"]
    assert pin == f"pinned is pinned to {app}@{old}, but its tag is {new} now"
    orphan = daemon.wait("finding.opened", policy="pinned-drift", name="orphan")["message"]
    pin = f"{reference(scene.hub, 'deleted')}@{scene.was['deleted']}"
    assert orphan == f"orphan is pinned to {pin}, but the registry has no such tag any more"
    asked = manifests(scene.hub)
    assert set(asked.values()) == {1}
    assert {what for method, what in asked if method == "HEAD"} >= {f"{name}:1" for name in STORIES}
    differing = {name for name, story in STORIES.items() if story.state in ("drift", "other-platform", "gone")}
    differing |= {"built"} if scene.host.kind == "containerd" else set()
    assert {what.partition(":")[0] for method, what in asked if method == "GET"} == differing
    scene.settle()
    scene.freshness({"current": WEBS, "pinned": PINNED})
    assert daemon.findings("stale-container") == set()
    until_history(daemon, app, local=[old], registry=[old, new])
    deleted = scene.was["deleted"]
    until_history(daemon, reference(scene.hub, "deleted"), local=[deleted], registry=[deleted, ""])


def somebody_pulls(scene: Scene) -> None:
    """The tag is current and its containers are not, without a question to a registry, which could not answer."""
    daemon, app = scene.daemon, scene.app
    asked = daemon.total("dockwarden_registry_requests_total", code="200")

    scene.host.docker("pull", "--quiet", app)
    scene.hub.end()

    for name in sorted(WEBS):
        line = daemon.wait("finding.opened", policy="stale-container", name=name)
        assert line["message"] == f"{name} runs an older image of {app}, which names another image now"
    for policy_name in ("digest-drift", "is-drift"):
        daemon.wait("finding.resolved", policy=policy_name, name=app, why="pass")
    daemon.until_metric(len(WEBS), "dockwarden_findings", policy="stale-container")
    assert daemon.findings("stale-container") == WEBS
    scene.freshness({"recreate-needed": WEBS, "pinned": PINNED})
    assert daemon.total("dockwarden_registry_requests_total", code="200") == asked
    scene.hub.restart()
    scene.expected[app] = "current"
    daemon.wait("finding.opened", policy="is-current", name=app)
    scene.settle()
    both = [scene.was["app"], scene.hub.digest("truth/app", "1")]
    until_history(daemon, app, local=both, registry=both)


def somebody_recreates_the_containers(scene: Scene) -> None:
    """They are current again."""
    daemon = scene.daemon
    for name in sorted(WEBS):
        scene.host.docker("rm", "--force", name)
        scene.host.docker("run", "--detach", f"--name={name}", scene.app)
        daemon.wait("finding.resolved", policy="stale-container", name=name)
    daemon.until_metric(0, "dockwarden_findings", policy="stale-container")
    scene.freshness({"current": WEBS, "pinned": PINNED})
    assert daemon.findings("stale-container") == set()


def somebody_takes_a_tag_away(scene: Scene) -> None:
    """What was created from it names nothing any more."""
    lost = reference(scene.hub, "lost")
    scene.host.docker("tag", scene.app, lost)
    scene.host.docker("run", "--detach", "--name=lost", lost)
    scene.freshness({"current": {*WEBS, "lost"}, "pinned": PINNED})
    scene.host.docker("rmi", lost)
    line = scene.daemon.wait("finding.opened", policy="stale-container", name="lost")
    assert line["message"] == f"lost runs an older image of {lost}, a tag that is gone"
    scene.freshness({"current": WEBS, "pinned": PINNED, "tag-gone": {"lost"}})


# -- indexes in indexes ---------------------------------------------------------------------------------------


def entry(hub: LabRegistry, repository: str, word: str, platform: str = US) -> dict[str, object]:
    """What an index says of an image for a platform."""
    system, architecture = platform.split("/")
    told = {"platform": {"os": system, "architecture": architecture}}
    return {**hub.put_image(repository, replace(spec(word), architecture=architecture)), **told}


def attested(hub: LabRegistry, repository: str, word: str, attestation: str) -> dict[str, object]:
    """An image with an attestation, as buildx makes it: an index of its own."""
    return hub.put_index(repository, [entry(hub, repository, word), nobody(hub, repository, attestation)])


def nobody(hub: LabRegistry, repository: str, attestation: str) -> dict[str, object]:
    told = {
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    return {**hub.put_image(repository, replace(spec(attestation), architecture="unknown")), **told}


def silent(told: dict[str, object]) -> dict[str, object]:
    """The same entry without its platform."""
    return {**{key: value for key, value in told.items() if key != "platform"}, "annotations": {"of": "somebody"}}


Entries = Callable[[LabRegistry, str], list[dict[str, object]]]
NESTED: dict[str, tuple[Entries, Entries, str]] = {
    "attestation": (
        lambda hub, name: [entry(hub, name, "a"), nobody(hub, name, "first")],
        lambda hub, name: [entry(hub, name, "a"), nobody(hub, name, "second")],
        "other-platform",
    ),
    "attestation-inside": (
        lambda hub, name: [attested(hub, name, "a", "first"), entry(hub, name, "a", ARM)],
        lambda hub, name: [attested(hub, name, "a", "second"), entry(hub, name, "a", ARM)],
        "other-platform",
    ),
    "image-inside": (
        lambda hub, name: [attested(hub, name, "a", "first"), entry(hub, name, "a", ARM)],
        lambda hub, name: [attested(hub, name, "b", "first"), entry(hub, name, "a", ARM)],
        "drift",
    ),
    "flat-to-nested": (
        lambda hub, name: [entry(hub, name, "a"), entry(hub, name, "a", ARM)],
        lambda hub, name: [attested(hub, name, "a", "first"), entry(hub, name, "a", ARM)],
        "other-platform",
    ),
    "nested-to-flat": (
        lambda hub, name: [attested(hub, name, "a", "first"), entry(hub, name, "a", ARM)],
        lambda hub, name: [entry(hub, name, "a"), entry(hub, name, "a", ARM)],
        "other-platform",
    ),
    "flat-to-another": (
        lambda hub, name: [entry(hub, name, "a"), entry(hub, name, "a", ARM)],
        lambda hub, name: [attested(hub, name, "b", "first"), entry(hub, name, "a", ARM)],
        "drift",
    ),
    "silent": (
        lambda hub, name: [silent(entry(hub, name, "a")), silent(entry(hub, name, "a", ARM))],
        lambda hub, name: [silent(entry(hub, name, "a")), silent(entry(hub, name, "b", ARM))],
        "other-platform",
    ),
    "silent-another": (
        lambda hub, name: [silent(entry(hub, name, "a")), silent(entry(hub, name, "a", ARM))],
        lambda hub, name: [silent(entry(hub, name, "b")), silent(entry(hub, name, "a", ARM))],
        "drift",
    ),
    "becomes-silent": (
        lambda hub, name: [entry(hub, name, "a"), entry(hub, name, "a", ARM)],
        lambda hub, name: [silent(entry(hub, name, "b", ARM)), silent(entry(hub, name, "a"))],
        "other-platform",
    ),
    "two-deep": (
        lambda hub, name: [entry(hub, name, "a")],
        lambda hub, name: [hub.put_index(name, [attested(hub, name, "a", "first")])],
        "other-platform",
    ),
}


def test_the_image_of_this_platform_counts_however_deep_it_is(
    host: LabEngine, hub: LabRegistry, tmp_path: Path
) -> None:
    """As far as the engine pulls from such an index: one with a graph store takes flat ones only."""
    (tmp_path / "dockwarden.yaml").write_text(f"state_dir: {tmp_path / 'state'}\n")
    expected, created = {}, set()
    for story, (before, after, state) in NESTED.items():
        name, tag = f"nested/{story}", f"{hub.host}/nested/{story}:1"
        hub.put_index(name, before(hub, name), tag="1")
        try:
            host.docker("pull", "--quiet", tag)
        except LabError:
            assert host.kind == "graph"
            assert story.startswith(("nested", "silent")) or story.endswith("inside")
            continue
        with contextlib.suppress(LabError):  # some engines make no container of what they pulled
            host.docker("create", f"--name={story}", f"{tag}@{hub.digest(name, '1')}", "/nothing")
            created.add(tag)
        hub.put_index(name, after(hub, name), tag="1")
        expected[tag] = state
    config = tmp_path / "dockwarden.yaml"

    done = command("images", "-o", "json", "--config", config, docker_host=host.host)

    assert (done.code, done.err) == (0, "")
    assert {row["tag"]: row["state"] for row in json.loads(done.out) if row["tag"]} == expected
    assert len(expected) >= (4 if host.kind == "graph" else len(NESTED))
    scanned = command("scan", "--policy", "pinned-drift", "-o", "json", "--config", config, docker_host=host.host)
    found = {row["name"] for row in json.loads(scanned.out)["results"] if row["result"] == "fail"}
    drifted = {tag for tag, state in expected.items() if state == "drift"} & created
    assert found == {tag.rpartition("/")[2].removesuffix(":1") for tag in drifted}
    assert len(created) >= 4


# -- versions and aliases --------------------------------------------------------------------------------------

# Words of images by tag; years, dates, pre-releases, also under a plain name, and other variants are no competitors.
VERSIONS = {
    "latest": "1.27.3",
    "1.27": "1.27.3",
    "1.27.3": "1.27.3",
    "1.26": "1.26.2",
    "1.26.2": "1.26.2",
    "1.28.0-rc.1": "rc",
    "1.28": "rc",
    "2024.10.1": "calendar",
    "20241001": "date",
    "4711": "build",
    "alpine": "1.27.2-alpine",
    "1.27.2-alpine": "1.27.2-alpine",
    "1.26-alpine": "1.26-alpine",
}
LATEST = "latest-is-not-newest"


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_which_version_a_tag_is_and_which_is_newest(host: LabEngine, hub: LabRegistry, tmp_path: Path) -> None:
    settled, behind = f"{hub.host}/versions/settled", f"{hub.host}/versions/behind"
    for tag, word in VERSIONS.items():
        hub.push("versions/settled", tag, spec(word))
        hub.push("versions/behind", tag, spec("1.26.2" if tag == "latest" else word))
    built = f"{hub.host}/versions/built"
    for tag, word in (
        ("latest", "main"),
        ("4.0.9.2-ls322", "322"),
        ("4.0.10.3-ls323", "323"),
        ("version-4.0.9.2", "322"),
    ):
        hub.push("versions/built", tag, spec(word))
    for name in ("latest", "1.27", "1.26", "1.26-alpine", "20241001"):
        host.docker("pull", "--quiet", f"{settled}:{name}")
    for name in ("latest", "4.0.9.2-ls322"):
        host.docker("pull", "--quiet", f"{built}:{name}")
    host.docker("pull", "--quiet", f"{behind}:latest")
    host.docker("run", "--detach", "--name=web", image_that_runs(host, hub))
    pinned = hub.push_index("versions/pinned", "1", [US, ARM], spec("pinned"))
    host.docker("pull", "--quiet", f"{hub.host}/versions/pinned@{pinned}")
    (tmp_path / "dockwarden.yaml").write_text(f"state_dir: {tmp_path / 'state'}\n")

    done = command("images", "--config", tmp_path / "dockwarden.yaml", docker_host=host.host)

    assert (done.code, done.err) == (0, "")
    header, *lines = done.out.splitlines()
    shown = {line[header.index("TAG") :].split()[0]: line for line in lines}
    states = {tag: line[header.index("STATE") : header.index("SINCE")].strip() for tag, line in shown.items()}
    assert states == {
        f"{settled}:latest": "current, is 1.27.3",
        f"{settled}:1.27": "current, is 1.27.3",
        f"{settled}:1.26": "current, is 1.26.2, newest is 1.27.3",
        f"{settled}:1.26-alpine": "current, newest is 1.27.2-alpine",
        f"{settled}:20241001": "current",
        f"{built}:latest": "current",
        f"{built}:4.0.9.2-ls322": "current, newest is 4.0.10.3-ls323",
        f"{behind}:latest": "current, is 1.26.2, newest is 1.27.3",
        f"{hub.host}/versions/web:1": "current",
        f"{hub.host}/versions/pinned:<none>": "pinned",
    }
    assert pinned[:19] in shown[f"{hub.host}/versions/pinned:<none>"]
    # Lines without an image of their own are other names of the one above.
    group = [line for line in lines if f"{settled}:1.27" in line or f"{settled}:latest" in line]
    assert lines.index(group[1]) == lines.index(group[0]) + 1
    assert [bool(line[: header.index("TAG")].strip()) for line in group] == [True, False]
    assert shown[f"{hub.host}/versions/web:1"].split()[-1] == "web"
    assert not (tmp_path / "state").exists()

    scanned = command(
        "scan", "--policy", LATEST, "-o", "json", "--config", tmp_path / "dockwarden.yaml", docker_host=host.host
    )
    results = {row["name"]: (row["result"], row["message"]) for row in json.loads(scanned.out)["results"]}
    assert {name: found for name, found in results.items() if found[0] != "skip"} == {
        f"{settled}:latest": ("pass", ""),
        f"{built}:latest": ("unknown", ""),
        f"{behind}:latest": ("fail", f"{behind}:latest is not the newest version, which is 1.27.3"),
    }


def image_that_runs(host: LabEngine, hub: LabRegistry) -> str:
    tag = f"{hub.host}/versions/web:1"
    hub.push("versions/web", "1", RUNNING)
    host.docker("pull", "--quiet", tag)
    return tag


# -- registries that do not answer, or not to everybody --------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("own_engine", ["graph"], indirect=True)  # who is asked does not depend on the store
def test_docker_hub_is_asked_through_the_mirrors_that_the_engine_has_now(own_engine: LabEngine, start: Start) -> None:
    """Nobody but the mirrors is asked: the settings let nothing through to Docker Hub itself."""
    nobody = {"registries": {"docker.io": {"ca_file": "/nonexistent"}}}
    with LabRegistry() as first, LabRegistry() as second:
        digests = [mirror.push("library/app", "1", spec(mirror.host)) for mirror in (first, second)]
        second.push("library/app", "0", spec(first.host))
        own_engine.forward(first.port)
        own_engine.more = {"registry-mirrors": [first.url]}
        own_engine.restart()
        own_engine.docker("pull", "--quiet", "app:1")
        daemon = start(own_engine, [*IN_STATE, "digest-drift"], settings={**soon("digest-drift"), **nobody}).ready()
        daemon.wait("finding.opened", policy="is-current", name="docker.io/library/app:1")

        own_engine.more = {"registry-mirrors": [second.url]}
        own_engine.restart()

        drift = daemon.wait("finding.opened", policy="digest-drift", name="docker.io/library/app:1")
        assert "{} is {} here and {} at".format("docker.io/library/app:1", *digests) in drift["message"]
        second.end()
        assert {row["reason"] for row in rows(daemon, "images")} == {"tls"}


def without_tokens(scene: worlds.Scene, asked: Asked) -> bytes:
    return http(404, b"404 page not found") if "/token" in asked else scene.challenge(asked, 0)


def by_redirect(scene: worlds.Scene, asked: Asked) -> bytes:
    return http(307, b"", f"Location: http://{scene.hosts[1].host}{asked.split()[1]}")


def ingress(_scene: worlds.Scene, asked: Asked) -> bytes:
    answer = http(404, worlds.HTML, "Content-Type: text/html")
    return worlds.head_of(answer) if asked.startswith("HEAD") else answer


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # what a registry says does not depend on the store
def test_a_404_of_somebody_else_is_no_state_and_no_history(host: LabEngine, hub: LabRegistry, start: Start) -> None:
    was = hub.push("among/others", "1", spec("others"))
    with worlds.world(hub, "plain") as scene:
        scene.second = ingress
        host.forward(int(scene.hosts[0].host.partition(":")[2]))
        tag = f"{scene.hosts[0].host}/among/others:1"
        host.docker("pull", "--quiet", tag)
        daemon = start(host, IN_STATE).ready()
        daemon.wait("finding.opened", policy="is-current", name=tag)
        for says, reason in ((without_tokens, "refused"), (by_redirect, "bad_answer"), (ingress, "bad_answer")):
            scene.first = says
            daemon.end()
            daemon.restart()
            for state in STATES:
                line = daemon.wait("policy.unknown", policy=f"is-{state}", name=tag)
                assert line["reason"] == f"registry.state is not known: {reason}"
            daemon.until(lambda: daemon.findings("is-current") == {tag}, "the finding to stay open")
            until_history(daemon, tag, local=[was], registry=[was])
        scene.first = worlds.Scene.passed
        hub.delete_tag("among/others", "1")
        daemon.restart()
        daemon.wait("finding.opened", policy="is-gone", name=tag)
        until_history(daemon, tag, local=[was], registry=[was, ""])


def logged_in(registry: LabRegistry, folder: Path) -> Path:
    """A folder with a `config.json` such as `docker login` writes."""
    folder.mkdir()
    auth = base64.b64encode(b"alice:secret").decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    return folder


@pytest.mark.parametrize("engine", ["containerd"], indirect=True)  # as before
def test_a_failure_has_a_reason_and_hides_no_other_registry(
    host: LabEngine, hub: LabRegistry, start: Start, tmp_path: Path
) -> None:
    with LabRegistry(htpasswd={"alice": "secret"}) as private, LabRegistry() as mute:
        login = logged_in(private, tmp_path / "login")
        good, guarded, silent = (f"{each.host}/among/others:1" for each in (hub, private, mute))
        for registry, tag in ((hub, good), (private, guarded), (mute, silent)):
            registry.push("among/others", "1", spec(tag))
            host.forward(registry.port)
            host.docker("--config", str(login), "pull", "--quiet", tag)
        mute.end()

        daemon = start(host, IN_STATE, environment={"DOCKER_CONFIG": str(tmp_path / "nobody")}).ready()

        daemon.wait("finding.opened", policy="is-current", name=good)
        for tag, reason in ((guarded, "unauthorized"), (silent, "unreachable")):
            for state in STATES:
                line = daemon.wait("policy.unknown", policy=f"is-{state}", name=tag)
                assert line["reason"] == f"registry.state is not known: {reason}"
                daemon.until_metric(1, "dockwarden_unknown", policy=f"is-{state}", reason=reason)
        assert {row["name"] for row in daemon.api("findings")} == {good}
        for folder, seen in (("nobody", ("", "unauthorized")), ("login", ("current", ""))):
            listed = rows(daemon, "images", more={"DOCKER_CONFIG": str(tmp_path / folder)})
            shown = {row["tag"]: (row["state"], row["reason"]) for row in listed}
            assert shown == {good: ("current", ""), guarded: seen, silent: ("", "unreachable")}


def test_the_daemon_is_at_a_registry_whom_the_host_is_logged_in_as(
    any_engine: LabEngine, start: Start, tmp_path: Path
) -> None:
    with LabRegistry(htpasswd={"alice": "secret"}) as private:
        login, tag = logged_in(private, tmp_path / "login"), f"{private.host}/among/others:1"
        private.push("among/others", "1", spec("guarded"))
        any_engine.forward(private.port)
        any_engine.docker("--config", str(login), "pull", "--quiet", tag)
        daemon = start(any_engine, IN_STATE, environment={"DOCKER_CONFIG": str(login)}).ready()
        daemon.wait("finding.opened", policy="is-current", name=tag)
        assert daemon.said("policy.unknown") == []
        assert daemon.total("dockwarden_unknown") == 0
        assert "secret" not in json.dumps(daemon.lines)


def test_a_pull_that_changed_other_platforms_only_makes_no_container_stale(
    newest_engine: LabEngine, registry: LabRegistry, start: Start
) -> None:
    engine, tag = newest_engine, f"{registry.host}/truth/newest:1"
    engine.wipe()
    registry.push_index("truth/newest", "1", (US, ARM), RUNNING)
    engine.docker("pull", "--quiet", tag)
    daemon = start(engine, FRESH).ready()
    engine.docker("run", "--detach", "--name=web", tag)
    daemon.wait("finding.opened", policy="runs-current", name="web")

    index = registry.push_index("truth/newest", "1", (US, Z), RUNNING)
    engine.docker("pull", "--quiet", tag)
    until(lambda: daemon.tags().get(tag) == index, "the other index")
    daemon.until_true_to(engine)
    done = command("scan", "-o", "json", "--config", daemon.config, docker_host=engine.host)
    seen = {row["policy"]: row["result"] for row in json.loads(done.out)["results"] if row["name"] == "web"}
    assert (seen["runs-current"], seen["runs-recreate-needed"]) == ("fail", "pass")
    assert daemon.findings("runs-current") == {"web"}
    assert daemon.said("finding.opened", policy="runs-recreate-needed") == []

    registry.push_index("truth/newest", "1", (US, Z), replace(RUNNING, labels={"release": "new"}))
    engine.docker("pull", "--quiet", tag)
    daemon.wait("finding.opened", policy="runs-recreate-needed", name="web")

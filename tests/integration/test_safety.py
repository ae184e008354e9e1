"""Attempts to make it delete something that it must not: real engines of both kinds, with somebody else at work.

Everything but the threads is real. Whoever meddles does so at the worst moment: just before a call that dockwarden
makes to the engine, or just after its intent is on the disk. After each attempt the engine is asked what it still has.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import docker.errors
import pytest

from dockwarden import reference
from dockwarden.actions import contents
from dockwarden.actions.archive import Archive
from dockwarden.actions.execute import Executor
from dockwarden.actions.table import VERBS
from dockwarden.actions.verb import Tools
from dockwarden.engine import DockerEngine
from dockwarden.errors import EngineUnavailableError, LedgerError
from dockwarden.inventory.collect import Collector
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.inventory.gather import Gatherer
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.memory import Memory, ObservationClock
from dockwarden.metrics import Metrics
from dockwarden.mishaps import Mishaps
from dockwarden.model import Dirty, EngineInfo, Kind, Ref
from dockwarden.pipeline import upkeep, worker
from dockwarden.pipeline.enforce import Enforcer
from dockwarden.pipeline.judge import Judge
from dockwarden.pipeline.upkeep import Upkeep
from dockwarden.pipeline.witness import Witness
from dockwarden.pipeline.worker import Worker
from dockwarden.policy.findings import Findings
from dockwarden.policy.load import load
from dockwarden.sinks.board import Board
from dockwarden.sinks.ledger import Ledger
from dockwarden.sinks.log import Log
from dockwarden.triggers.queue import Queue
from tests.builders import Ticks
from tests.e2e.harness import full, policy, write_policies
from tests.fakes import FakeRegistry
from tests.lab import images
from tests.lab.images import ImageSpec, rootfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dockwarden.ports import Engine
    from tests.e2e.harness import Policy
    from tests.lab.engine import LabEngine
    from tests.lab.registry import LabRegistry

HOUR = 3600.0
NO_LIMITS = {"max_objects": 1000, "max_percent": 100}
ENFORCED: dict[str, object] = {"mode": "enforce", "limits": NO_LIMITS}
NAMELESS = policy("nameless", "image", "image.dangling", action="remove", **ENFORCED)
UNUSED = policy("unused", "image", "!image.in_use", action="remove", **ENFORCED)
UNTAG = policy("untag", "tag", "tag.repository.startsWith('docker.io/doomed/')", action="untag", **ENFORCED)
PRECIOUS = {
    frozenset({"docker.io/precious/app:1", "docker.io/precious/app:latest"}),
    frozenset({"docker.io/precious/used:1"}),
}
Outcomes = dict[str, tuple[str, str]]


# -- the parts ---------------------------------------------------------------------------------------------------------


class Meddled:
    """A real part of dockwarden, with somebody who acts just before or just after chosen calls of its methods.

    Attributes:
        calls: names of the methods that were called, in order.
    """

    def __init__(self, part: object) -> None:
        self._part = part
        self._plans: dict[tuple[str, str], list[Callable[[], object] | None]] = {}
        self.calls: list[str] = []

    def before(self, method: str, action: Callable[[], object], *, call: int = 1) -> None:
        """Act before the n-th next call of a method."""
        self._plans["before", method] = [None] * (call - 1) + [action]

    def after(self, method: str, action: Callable[[], object], *, call: int = 1) -> None:
        """Act after the n-th next call of a method, before its caller goes on."""
        self._plans["after", method] = [None] * (call - 1) + [action]

    @property
    def all_done(self) -> bool:
        """Whether every chosen moment came."""
        return not any(self._plans.values())

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        if not callable(method):
            return method

        def call(*arguments: object, **named: object) -> object:
            self.calls.append(name)
            self._act("before", name)
            answer = method(*arguments, **named)
            self._act("after", name)
            return answer

        return call

    def _act(self, when: str, name: str) -> None:
        waiting = self._plans.get((when, name))
        action = waiting.pop(0) if waiting else None
        if action is not None:
            action()


class Warden:
    """dockwarden without its threads, over one real engine; a context manager, closed it is as after a `kill -9`."""

    def __init__(
        self, engine: LabEngine, folder: Path, *, stay: float = 0.0, own: str = "", ticks: Ticks | None = None
    ) -> None:
        self.ticks = ticks or Ticks()
        self._folder = folder
        self._docker = DockerEngine(engine.host)
        self.engine = Meddled(self._docker)
        self.registry = FakeRegistry()
        self.book = Ledger(folder / "state", lambda: 1_800_000_000.0, lambda _: None)
        self.ledger = Meddled(self.book)
        self.metrics = Metrics()
        self.queue = Queue(self.metrics)
        meddled, ledger = cast("Engine", self.engine), cast("Ledger", self.ledger)
        self.inventory = Inventory(Memory(ObservationClock(self.ticks)))
        collector = Collector(meddled, self.inventory)
        gatherer = Gatherer(self.inventory, collector, self.registry, lambda _: None, self.queue.wake)
        findings = Findings()
        judge = Judge(self.inventory, gatherer, findings)
        archive = Archive(folder / "state" / "archives", ledger, max_bytes=1 << 30, reserve_bytes=0)

        def tools(info: EngineInfo) -> Tools:
            news_of = Witness(self._docker).begin(self.inventory.seen_ns)
            made = Tools(meddled, self.registry, archive, contents, info.image_store)
            return replace(made, now=time.monotonic, sleep=time.sleep, news_of=news_of)

        self.upkeep = Upkeep(meddled, self.inventory, collector, ledger, tools, self.metrics, 600.0)
        self.board = Board(self.book.recent_actions, self.book.undoable_until)
        self.worker = Worker(
            queue=self.queue,
            upkeep=self.upkeep,
            inventory=self.inventory,
            collector=collector,
            gatherer=gatherer,
            findings=findings,
            judge=judge,
            enforcer=Enforcer(
                self.inventory,
                collector,
                ledger,
                lambda info: Executor(tools(info), ledger),
                ask_host=lambda program: gatherer.host_says(program, 0.0),
                now=lambda: time.time() + self.ticks(),
                minimum_stay_seconds=stay,
                own_container=own,
            ),
            ledger=ledger,
            metrics=self.metrics,
            mishaps=Mishaps(),
            sinks=(self.metrics, Log(), ledger, self.board),
        )

    def __enter__(self) -> Self:
        self.ledger.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()
        self._docker.close()

    def start(self, *given: Policy) -> Self:
        """Connect, list everything, judge everything once."""
        file = write_policies(self._folder / "policies.yaml", *given)
        self.queue.submit_policies(load([file], VOCABULARY, VERBS))
        self.connect()
        return self

    def connect(self, reason: str = "startup") -> None:
        info = self._docker.connect()
        self.metrics.set_engine(info)
        self.queue.submit_resync(reason, info)
        self.work()

    def look(self, *dirty: Dirty) -> None:
        """Events made these objects dirty."""
        self.queue.submit(dirty, 0)
        self.work()

    def run(self, name: str) -> Outcomes:
        """The policy's schedule fires: what became of each object, by name."""
        self.board.actions.clear()
        self.queue.submit_job(name)
        self.work()
        return {str(row["name"]): (str(row["outcome"]), str(row["reason"])) for row in self.board.actions}

    def work(self) -> None:
        """Let the worker do everything that waits."""
        while (batch := self.queue.take(0)) is not None or self.worker._runs:
            if batch is not None:
                self.worker._handle(batch)
            self.worker._advance()

    def save(self) -> None:
        self.upkeep.save()

    def open_intents(self) -> int:
        """Removals of which no end is recorded."""
        with contextlib.closing(sqlite3.connect(self._folder / "state" / "ledger.db")) as db:
            return int(db.execute("SELECT count(*) FROM actions WHERE outcome IS NULL").fetchone()[0])


class World(NamedTuple):
    """What the engine has: the names of each image, and the image of each container."""

    images: dict[str, frozenset[str]]
    containers: dict[str, str]

    def names(self) -> set[frozenset[str]]:
        """The names of each image."""
        return set(self.images.values())

    def without(self, *images: str) -> World:
        return World({key: names for key, names in self.images.items() if key not in images}, self.containers)

    def named(self, image: str, *names: str) -> World:
        """As this, but with other names (tags) of an image."""
        return World({**self.images, image: frozenset(map(full, names))}, self.containers)


def world(engine: LabEngine) -> World:
    client = engine.client()
    found = {}
    for row in client.images():
        tags = [tag for tag in row["RepoTags"] or () if "<none>" not in tag and "@" not in tag]
        found[row["Id"]] = frozenset(map(full, tags))
    containers = (client.inspect_container(row["Id"]) for row in client.containers(all=True))
    return World(found, {each["Name"]: each["Image"] for each in containers})


def put(engine: LabEngine, label: str, *tags: str, runs: bool = False, protect: str | None = None) -> str:
    """One more image, with the protecting label if it is given a value; its ID."""
    layers = images.busybox(own=label).layers if runs else (rootfs({"label": label}),)
    labels = {"safety": label} | ({} if protect is None else {"dockwarden.protect": protect})
    spec = ImageSpec(tags=tags, layers=layers, labels=labels, cmd=("sleep", "1000000"))
    engine.load(spec)
    (found,) = engine.client().images(filters={"label": f"safety={label}"})
    return str(found["Id"])


def short(image: str) -> str:
    return reference.short_id(image)


@pytest.fixture
def engine(engine: LabEngine) -> LabEngine:
    """As everywhere, with a few images that nobody ever wants to lose, and nothing else."""
    clear(engine)
    if world(engine).names() != PRECIOUS or set(world(engine).containers) != {"/bystander"}:
        engine.wipe()
        put(engine, "precious", "precious/app:1", "precious/app:latest")
        put(engine, "used", "precious/used:1")
        engine.docker("create", "--name=bystander", "precious/used:1")
    return engine


def clear(engine: LabEngine) -> None:
    """Remove everything but what is precious."""
    client = engine.client()
    for row in client.containers(all=True):
        if row["Names"] != ["/bystander"]:
            client.remove_container(row["Id"], v=True, force=True)
    for row in client.images(all=True):
        if row["Labels"] is None or row["Labels"].get("safety") not in ("precious", "used"):
            with contextlib.suppress(docker.errors.APIError):  # it went with another one
                client.remove_image(row["Id"], force=True)


@pytest.fixture
def warden(engine: LabEngine, tmp_path: Path) -> Iterator[Warden]:
    with Warden(engine, tmp_path) as made:
        yield made
        assert made.engine.all_done, "a moment that the test waited for never came"
        assert made.ledger.all_done, "a moment that the test waited for never came"


# -- undisturbed -------------------------------------------------------------------------------------------------------


def test_removes_what_it_should_and_only_that(engine: LabEngine, warden: Warden) -> None:
    doomed = put(engine, "doomed")
    before = world(engine)
    assert warden.start(NAMELESS).run("nameless") == {short(doomed): ("applied", "removed")}
    assert world(engine) == before.without(doomed)
    assert warden.open_intents() == 0


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_audit_touches_nothing(engine: LabEngine, warden: Warden) -> None:
    put(engine, "doomed")
    put(engine, "tagged", "doomed/app:1")
    before = world(engine)
    warden.start(*({**each, "mode": "audit"} for each in (NAMELESS, UNUSED, UNTAG)))
    for name in ("nameless", "unused", "untag"):
        assert {effect for effect, _ in warden.run(name).values()} <= {"audited", "refused"}
    assert world(engine) == before
    assert not {"tag", "untag"} & set(warden.engine.calls)
    assert "intend" not in warden.ledger.calls


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_start_and_resync_act_on_nothing(engine: LabEngine, warden: Warden) -> None:
    put(engine, "doomed")
    before = world(engine)
    warden.start(NAMELESS, UNUSED, UNTAG)
    warden.connect("reconnect")
    warden.connect("gap")
    assert world(engine) == before
    assert not {"tag", "untag"} & set(warden.engine.calls)


def test_named_image_goes_with_all_its_names_and_no_other(engine: LabEngine, warden: Warden) -> None:
    doomed = put(engine, "doomed", "doomed/app:1", "doomed/app:2", "doomed/other:1", "doomed.example:5000/app:1")
    before = world(engine)
    some = policy("some", "image", "'safety' in image.labels && image.labels['safety'] == 'doomed'", action="remove",
                  **ENFORCED)  # fmt: skip
    assert set(warden.start(some).run("some").values()) == {("applied", "removed")}
    assert world(engine) == before.without(doomed)


# -- between the plan and the deed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["image", "users_of", "intend", "untag"])
def test_name_that_appears_saves_the_image(engine: LabEngine, warden: Warden, moment: str) -> None:
    doomed = put(engine, "doomed")
    before = world(engine)
    warden.start(NAMELESS)
    part = warden.ledger if moment == "intend" else warden.engine
    part.before(moment, lambda: engine.docker("tag", doomed, "rescued/app:1"))
    ((effect, reason),) = warden.run("nameless").values()
    assert (effect, reason) in {("skipped", "changed"), ("skipped", "renamed")}
    assert world(engine) == before.named(doomed, "rescued/app:1")
    assert warden.open_intents() == 0


@pytest.mark.parametrize("moment", ["image", "users_of", "intend", "untag"])
def test_container_that_appears_saves_the_image(engine: LabEngine, warden: Warden, moment: str) -> None:
    doomed = put(engine, "doomed", runs=True)
    before = world(engine)
    warden.start(NAMELESS)
    part = warden.ledger if moment == "intend" else warden.engine
    part.before(moment, lambda: engine.docker("create", "--name=late", doomed))
    ((effect, reason),) = warden.run("nameless").values()
    assert (effect, reason) in {("refused", "in_use"), ("refused", "conflict")}
    after = world(engine)
    assert after.images.keys() == before.images.keys()
    assert after.containers == {**before.containers, "/late": doomed}
    engine.docker("start", "late")
    assert engine.client().inspect_container("late")["State"]["Running"]
    assert warden.open_intents() == 0

    # When the container is gone, the next run finds its way, and leaves no trace of ours.
    engine.docker("rm", "--force", "late")
    warden.connect("reconnect")
    assert set(warden.run("nameless").values()) == {("applied", "removed")}
    assert world(engine) == before.without(doomed)


def test_name_that_appears_after_a_list_saves_the_image(engine: LabEngine, warden: Warden) -> None:
    doomed = put(engine, "doomed")
    before = world(engine)
    warden.start(NAMELESS)
    engine.docker("tag", doomed, "rescued/app:1")  # and its event is still on the way
    assert warden.run("nameless") == {short(doomed): ("skipped", "changed")}
    assert world(engine) == before.named(doomed, "rescued/app:1")
    warden.look(Dirty(Kind.IMAGE, doomed))
    assert warden.run("nameless") == {}


@pytest.mark.parametrize("moment", ["image", "users_of", "intend"])
def test_tag_that_moves_saves_what_it_names_now(engine: LabEngine, warden: Warden, moment: str) -> None:
    old = put(engine, "old", "doomed/app:1", "kept/app:1")
    put(engine, "new", "other/app:1")
    warden.start(UNTAG)
    part = warden.ledger if moment == "intend" else warden.engine
    part.before(moment, lambda: engine.docker("tag", "other/app:1", "doomed/app:1"))
    before = world(engine)
    outcomes = warden.run("untag")
    assert outcomes[full("doomed/app:1")][0] == "skipped"
    (new,) = (key for key, names in before.images.items() if full("other/app:1") in names)
    assert world(engine) == before.named(new, "other/app:1", "doomed/app:1").named(old, "kept/app:1")
    assert warden.open_intents() == 0


@pytest.mark.parametrize("call", [1, 2])
def test_only_name_of_a_new_image_survives_the_removal_of_the_old(engine: LabEngine, warden: Warden, call: int) -> None:
    """A pull moves the name that is about to go: the image that has just come must not go in place of the old one."""
    put(engine, "old", "doomed/app:1", "doomed/app:2")
    some = policy("some", "image", "'safety' in image.labels && image.labels['safety'] == 'old'", action="remove",
                  **ENFORCED)  # fmt: skip
    warden.start(some)
    name = f"doomed/app:{call}"
    fresh = ImageSpec(tags=(name,), layers=(rootfs({"fresh": name}),), labels={"safety": "fresh"})
    if call == 1:
        warden.ledger.after("intend", lambda: engine.load(fresh))
    else:
        warden.engine.after("untag", lambda: engine.load(fresh))
    warden.run("some")
    (row,) = engine.client().images(filters={"label": "safety=fresh"})
    assert row["RepoTags"] == [name]


def test_container_made_from_a_tag_at_the_last_moment_keeps_it(engine: LabEngine, warden: Warden) -> None:
    put(engine, "app", "doomed/app:1", "kept/app:1", runs=True)
    before = world(engine)
    warden.start(UNTAG)
    warden.ledger.before("intend", lambda: engine.docker("create", "--name=late", "doomed/app:1"))
    assert warden.run("untag") == {full("doomed/app:1"): ("refused", "in_use")}
    assert world(engine).images == before.images
    assert warden.open_intents() == 0


def test_names_are_given_back_but_not_taken_from_others(engine: LabEngine, warden: Warden) -> None:
    """Half-way through its names the image comes into use, and the first of them has a new owner already."""
    doomed = put(engine, "doomed", "doomed/app:1", "doomed/app:2", "doomed/app:3", runs=True)
    before = world(engine)
    warden.start(UNUSED)
    fresh = ImageSpec(tags=("doomed/app:1",), layers=(rootfs({"fresh": "1"}),), labels={"safety": "fresh"})

    def somebody() -> None:
        engine.docker("create", "--name=late", doomed)
        engine.load(fresh)

    warden.engine.after("untag", somebody, call=2)
    part = policy("unused", "image", "image.labels[?'safety'].orValue('') == 'doomed'", action="remove", **ENFORCED)
    warden.start(part)
    assert list(warden.run("unused").values()) == [("refused", "conflict")]
    after = world(engine)
    (row,) = engine.client().images(filters={"label": "safety=fresh"})
    assert row["RepoTags"] == ["doomed/app:1"]
    assert after.images[doomed] == {full("doomed/app:2"), full("doomed/app:3")}
    assert {key: after.images[key] for key in before.images if key != doomed} == {
        key: names for key, names in before.images.items() if key != doomed
    }


# -- in use ------------------------------------------------------------------------------------------------------------


def test_image_of_a_container_in_any_state_stays(engine: LabEngine, warden: Warden) -> None:
    states = {"created", "running", "paused", "exited", "restarting"}
    if engine.is_rootless:
        states -= {"paused"}  # without control groups nothing can be
    doomed = {state: put(engine, state, runs=True) for state in sorted(states)}
    for state, image in doomed.items():
        arguments = {"restarting": ("--restart=always", image, "sh", "-c", "exit 1"), "exited": (image, "true")}
        engine.docker("create", f"--name={state}", *arguments.get(state, (image,)))
        if state != "created":
            engine.docker("start", state)
        if state == "paused":
            engine.docker("pause", state)
    before = world(engine)
    everything = policy("everything", "image", "true", action="remove", **ENFORCED)
    outcomes = warden.start(everything).run("everything")
    assert {state: outcomes[short(image)] for state, image in doomed.items()} == dict.fromkeys(
        doomed, ("refused", "in_use")
    )
    assert set(doomed.values()) <= world(engine).images.keys()
    assert world(engine).containers == before.containers
    if "paused" in states:
        engine.docker("unpause", "paused")


def test_tag_of_a_container_stays_others_of_its_image_may_go(engine: LabEngine, warden: Warden) -> None:
    app = put(engine, "app", "doomed/app:1", "doomed/app:2", "doomed/app:latest", runs=True)
    engine.docker("create", "--name=by-tag", "doomed/app:1")
    engine.docker("create", "--name=by-default-tag", "doomed/app")
    before = world(engine)
    outcomes = warden.start(UNTAG).run("untag")
    assert outcomes == {
        full("doomed/app:1"): ("refused", "in_use"),
        full("doomed/app:2"): ("applied", "untagged"),
        full("doomed/app:latest"): ("refused", "in_use"),
    }
    assert world(engine) == before.named(app, "doomed/app:1", "doomed/app:latest")


def test_last_tag_of_an_image_that_was_used_by_its_id_stays(engine: LabEngine, warden: Warden) -> None:
    app = put(engine, "app", "doomed/app:1", runs=True)
    engine.docker("create", "--name=by-id", app)
    before = world(engine)
    assert warden.start(UNTAG).run("untag") == {full("doomed/app:1"): ("refused", "in_use")}
    assert world(engine) == before


def test_last_tag_of_an_unused_image_goes_with_the_image(engine: LabEngine, warden: Warden) -> None:
    app = put(engine, "app", "doomed/app:1")
    before = world(engine)
    assert warden.start(UNTAG).run("untag") == {full("doomed/app:1"): ("applied", "removed")}
    assert world(engine) == before.without(app)


def test_two_last_tags_in_one_plan_keep_an_image_in_use(engine: LabEngine, warden: Warden) -> None:
    """Neither tag is the last one when the plan is made."""
    app = put(engine, "app", "doomed/app:1", "doomed/app:2", runs=True)
    engine.docker("create", "--name=by-id", app)
    outcomes = warden.start(UNTAG).run("untag")
    assert sorted(outcomes.values()) == [("applied", "untagged"), ("refused", "in_use")]
    assert len(world(engine).images[app]) == 1
    engine.docker("start", "by-id")


def test_image_in_use_only_by_name_stays(engine: LabEngine, warden: Warden) -> None:
    """The container runs the former image of the tag; recreated, it would run this one."""
    put(engine, "old", "doomed/app:1", "doomed/app:old", runs=True)
    engine.docker("create", "--name=from-tag", "doomed/app:1")
    new = put(engine, "new", "doomed/app:1", runs=True)
    before = world(engine)
    warden.start(UNUSED, UNTAG)
    assert warden.run("unused")[full("doomed/app:1")] == ("refused", "in_use")
    assert warden.run("untag")[full("doomed/app:1")] == ("refused", "in_use")
    assert world(engine).images[new] == before.images[new]


# -- what an image is --------------------------------------------------------------------------------------------------


def test_parent_of_another_image_keeps_its_name_or_goes_alone(engine: LabEngine, warden: Warden) -> None:
    base = put(engine, "base", "doomed/base:1", runs=True)
    dockerfile = engine.dir / "cli" / "Dockerfile"
    dockerfile.parent.mkdir(exist_ok=True)
    dockerfile.write_text("FROM doomed/base:1\nLABEL safety=child\n")
    engine.docker("build", "--quiet", "--tag=child/app:1", str(dockerfile.parent))
    before = world(engine)
    some = policy("some", "image", "image.labels[?'safety'].orValue('') == 'base'", action="remove", **ENFORCED)
    ((effect, reason),) = warden.start(some).run("some").values()
    after = world(engine)
    if (effect, reason) == ("refused", "conflict"):  # the child cannot be without it
        assert after == before
    else:
        assert (engine.kind, effect, reason) == ("containerd", "applied", "removed")
        assert after == before.without(base)
    engine.docker("run", "--rm", "child/app:1", "true")


def test_image_pinned_by_digest_is_not_nameless(engine: LabEngine, registry: LabRegistry, warden: Warden) -> None:
    digest = registry.push("safety/pinned", "1", ImageSpec(labels={"safety": "pinned"}))
    engine.docker("pull", "--quiet", f"{registry.host}/safety/pinned@{digest}")
    before = world(engine)
    warden.start(NAMELESS)
    warden.ticks.pass_(100 * HOUR)
    assert warden.run("nameless") == {}
    assert world(engine) == before


def test_image_pinned_by_digest_stays_when_its_tag_moves(
    containerd_engine: LabEngine, registry: LabRegistry, tmp_path: Path
) -> None:
    """Only the containerd store can tell it from one that the move left behind."""
    engine = containerd_engine
    engine.wipe()
    digest = registry.push("safety/both", "1", ImageSpec(labels={"safety": "both"}))
    tag, pinned = (f"{registry.host}/safety/both{end}" for end in (":1", f"@{digest}"))
    engine.docker("pull", "--quiet", tag)
    engine.docker("pull", "--quiet", pinned)
    with Warden(engine, tmp_path) as warden:
        warden.start(NAMELESS)
        registry.push("safety/both", "1", ImageSpec(labels={"safety": "both 2"}))
        engine.docker("pull", "--quiet", tag)
        warden.connect("reconnect")
        assert warden.run("nameless") == {}
    assert engine.client().inspect_image(pinned)


def test_digests_go_with_their_image_and_no_other(engine: LabEngine, registry: LabRegistry, warden: Warden) -> None:
    digests = [registry.push(f"safety/d{n}", "1", ImageSpec(labels={"safety": "digests"})) for n in range(2)]
    for n, digest in enumerate(digests):
        engine.docker("pull", "--quiet", f"{registry.host}/safety/d{n}@{digest}")
    (row,) = engine.client().images(filters={"label": "safety=digests"})
    before = world(engine)
    some = policy("some", "image", "image.labels[?'safety'].orValue('') == 'digests'", action="remove", **ENFORCED)
    assert list(warden.start(some).run("some").values()) == [("applied", "removed")]
    assert world(engine) == before.without(row["Id"])


def test_image_whose_tag_appears_beside_its_digest_stays(
    engine: LabEngine, registry: LabRegistry, warden: Warden
) -> None:
    digest = registry.push("safety/digest", "1", ImageSpec(labels={"safety": "digest"}))
    engine.docker("pull", "--quiet", f"{registry.host}/safety/digest@{digest}")
    (row,) = engine.client().images(filters={"label": "safety=digest"})
    before = world(engine)
    some = policy("some", "image", "image.labels[?'safety'].orValue('') == 'digest'", action="remove", **ENFORCED)
    warden.start(some)
    warden.engine.before("untag", lambda: engine.docker("tag", row["Id"], "rescued/digest:1"))
    assert list(warden.run("some").values()) == [("skipped", "renamed")]
    assert world(engine) == before.named(row["Id"], "rescued/digest:1")


def test_protected_image_stays_and_a_label_that_comes_with_a_new_build_counts(
    engine: LabEngine, warden: Warden
) -> None:
    protected = put(engine, "protected", protect="no")  # the label counts, not its value
    put(engine, "before", "doomed/app:1")
    warden.start(NAMELESS, UNTAG)
    late = put(engine, "after", "doomed/app:1", protect="")
    before = world(engine)
    assert warden.run("nameless")[short(protected)] == ("refused", "protected")
    # That the tag has moved was seen by the first run, which looked closely at the image that had it.
    assert warden.run("untag") == {}
    warden.connect("gap")
    assert warden.run("untag") == {full("doomed/app:1"): ("refused", "protected")}
    assert late in world(engine).images
    assert protected in world(engine).images
    assert world(engine).images[late] == before.images[late]


def test_repository_that_looks_like_the_id_of_another_image(engine: LabEngine, warden: Warden) -> None:
    doomed = put(engine, "doomed")
    lookalike = put(engine, "lookalike", f"{short(doomed)}:latest", f"{short(doomed)[:4]}:{short(doomed)}")
    before = world(engine)
    assert warden.start(NAMELESS).run("nameless") == {short(doomed): ("applied", "removed")}
    assert world(engine) == before.without(doomed)
    some = policy("some", "tag", f"tag.ref == 'docker.io/library/{short(doomed)}:latest'", action="untag", **ENFORCED)
    warden.start(some)
    assert list(warden.run("some").values()) == [("applied", "untagged")]
    assert world(engine) == before.without(doomed).named(lookalike, f"{short(doomed)[:4]}:{short(doomed)}")


def test_tag_that_looks_like_the_id_of_another_image_when_it_is_gone(engine: LabEngine, warden: Warden) -> None:
    """Were the removal by a short name, the engine would take the bare word for an ID."""
    precious = put(engine, "victim", "victim/app:1")
    put(engine, "lookalike", f"{short(precious)}:latest", "kept/lookalike:1")
    name = f"docker.io/library/{short(precious)}:latest"
    some = policy("some", "tag", f"tag.ref == '{name}'", action="untag", **ENFORCED)
    warden.start(some)
    warden.engine.before("untag", lambda: engine.docker("image", "rm", f"{short(precious)}:latest"))
    assert warden.run("some")[name][0] in ("applied", "skipped")
    assert world(engine).images[precious] == {full("victim/app:1")}


def test_registries_with_ports_are_not_mixed_up(engine: LabEngine, warden: Warden) -> None:
    names = ("localhost:5000/app:1", "localhost:5001/app:1", "app:1", "localhost/app:1", "127.0.0.1:5000/team/app:5000")
    app = put(engine, "app", *names)
    before = world(engine)
    some = policy("some", "tag", "tag.registry == 'localhost:5000'", action="untag", **ENFORCED)
    assert warden.start(some).run("some") == {"localhost:5000/app:1": ("applied", "untagged")}
    left = {"localhost:5001/app:1", "docker.io/library/app:1", "localhost/app:1", "127.0.0.1:5000/team/app:5000"}
    assert world(engine).images == {**before.images, app: frozenset(left)}


def test_save_and_load_make_an_image_young_again(engine: LabEngine, tmp_path: Path) -> None:
    app = put(engine, "app", "doomed/app:1")
    archive = tmp_path / "app.tar"
    engine.docker("save", "--output", str(archive), "doomed/app:1")
    with Warden(engine, tmp_path, stay=HOUR) as warden:
        warden.start(UNTAG)
        warden.ticks.pass_(2 * HOUR)
        engine.docker("image", "rm", "doomed/app:1")
        warden.look(Dirty(Kind.IMAGE, app))
        engine.docker("load", "--input", str(archive))
        (row,) = engine.client().images(filters={"label": "safety=app"})
        warden.look(Dirty(Kind.IMAGE, row["Id"]))
        before = world(engine)
        assert warden.run("untag") == {full("doomed/app:1"): ("refused", "too_young")}
        assert world(engine) == before
        warden.ticks.pass_(2 * HOUR)
        assert warden.run("untag") == {full("doomed/app:1"): ("applied", "removed")}


def test_markers_of_a_crash_harm_nobody(engine: LabEngine, tmp_path: Path) -> None:
    """The graph store's nameless images are removed by a name of ours; the process ends while some have it."""
    doomed, rescued, used = (put(engine, label, runs=label == "used") for label in ("doomed", "rescued", "used-later"))
    before = world(engine)
    with Warden(engine, tmp_path) as warden:
        warden.start(NAMELESS)
        for image in (doomed, rescued, used):
            if engine.kind == "graph":
                engine.docker("tag", image, reference.marker(image))
        engine.docker("tag", rescued, "rescued/app:1")
        engine.docker("create", "--name=late", used)
    with Warden(engine, tmp_path) as warden:
        warden.start(NAMELESS)
        assert world(engine).images[rescued] == {full("rescued/app:1")}
        in_use = {short(used): ("refused", "in_use")}
        assert warden.run("nameless") == {short(doomed): ("applied", "removed"), **in_use}
        after = world(engine)
        assert doomed not in after.images
        assert after.images[rescued] == {full("rescued/app:1")}
        assert used in after.images
        engine.docker("rm", "late")
        warden.connect("reconnect")
        assert list(warden.run("nameless").values()) == [("applied", "removed")]
        assert world(engine) == before.without(doomed, used).named(rescued, "rescued/app:1")


def test_image_that_a_stranger_named_like_a_marker_stays(engine: LabEngine, warden: Warden) -> None:
    app = put(engine, "app")
    engine.docker("tag", app, f"{reference.MARKER_REPOSITORY}:mine")
    before = world(engine)
    warden.start(NAMELESS)
    ((effect, _),) = warden.run("nameless").values()
    assert effect in ("refused", "skipped")
    assert world(engine) == before


# -- several policies, limits, ourselves -------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_two_policies_that_want_the_same_object(engine: LabEngine, warden: Warden) -> None:
    app = put(engine, "app", "doomed/app:1")
    twin = policy("twin", "tag", "tag.repository.startsWith('docker.io/doomed/')", action="untag", **ENFORCED)
    image = policy("whole", "image", "image.labels[?'safety'].orValue('') == 'app'", action="remove", **ENFORCED)
    before = world(engine)
    warden.start(UNTAG, twin, image)
    for name in ("untag", "twin", "whole"):
        warden.queue.submit_job(name)
    warden.work()
    outcomes = [(row["outcome"], row["reason"]) for row in warden.board.actions]
    assert outcomes.count(("applied", "removed")) == 1
    assert {effect for effect, _ in outcomes} <= {"applied", "skipped"}
    assert world(engine) == before.without(app)


def test_two_policies_that_each_want_one_of_two_names(engine: LabEngine, warden: Warden) -> None:
    """Together they would take the last name of an image in use."""
    app = put(engine, "app", "doomed/app:1", "other/app:1", runs=True)
    engine.docker("create", "--name=by-id", app)
    other = policy("other", "tag", "tag.repository == 'docker.io/other/app'", action="untag", **ENFORCED)
    warden.start(UNTAG, other)
    for name in ("untag", "other"):
        warden.queue.submit_job(name)
    warden.work()
    assert len(world(engine).images[app]) == 1
    assert "applied" in {row["outcome"] for row in warden.board.actions}


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_too_many_means_none(engine: LabEngine, warden: Warden) -> None:
    for n in range(5):
        put(engine, f"doomed {n}")
    before = world(engine)  # five of seven
    few = {**NAMELESS, "limits": {"max_objects": 4, "max_percent": 100}}
    share = {**NAMELESS, "name": "share", "limits": {"max_objects": 100, "max_percent": 70}}
    warden.start(few, share)
    assert set(warden.run("nameless").values()) == {("refused", "limits")}
    assert set(warden.run("share").values()) == {("refused", "limits")}
    assert world(engine) == before
    assert "intend" not in warden.ledger.calls


def test_own_image_and_its_tags_stay(engine: LabEngine, tmp_path: Path) -> None:
    """Even the names that the container was not made from, and even if the engine forgot that it uses them."""
    own = put(engine, "own", "doomed/dockwarden:1", "doomed/dockwarden:2", runs=True)
    engine.docker("create", "--name=dockwarden", "doomed/dockwarden:1")
    container = engine.client().inspect_container("dockwarden")["Id"]
    before = world(engine)
    everything = policy("everything", "image", "image.id != ''", action="remove", **ENFORCED)
    with Warden(engine, tmp_path, own=container) as warden:
        warden.start(everything, UNTAG)
        assert set(warden.run("untag").values()) == {("refused", "self")}
        assert warden.run("everything")[full("doomed/dockwarden:1")] == ("refused", "self")
    assert world(engine).images[own] == before.images[own]


# -- memory and clocks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_restart_remembers_and_a_missing_ledger_makes_everything_young(engine: LabEngine, tmp_path: Path) -> None:
    doomed = put(engine, "doomed")
    before = world(engine)
    with Warden(engine, tmp_path, stay=HOUR) as warden:
        warden.start(NAMELESS)
        warden.ticks.pass_(2 * HOUR)
        warden.save()
    (tmp_path / "state").rename(tmp_path / "kept")
    with Warden(engine, tmp_path, stay=HOUR) as warden:
        assert warden.start(NAMELESS).run("nameless") == {short(doomed): ("refused", "too_young")}
    assert world(engine) == before
    subprocess.run(["rm", "-r", str(tmp_path / "state")], check=True)
    (tmp_path / "kept").rename(tmp_path / "state")
    with Warden(engine, tmp_path, stay=HOUR) as warden:
        assert warden.start(NAMELESS).run("nameless") == {short(doomed): ("applied", "removed")}
    assert world(engine) == before.without(doomed)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_time_that_nobody_watched_does_not_count(engine: LabEngine, tmp_path: Path) -> None:
    doomed = put(engine, "doomed")
    with Warden(engine, tmp_path, stay=HOUR) as warden:
        warden.start(NAMELESS)
        warden.ticks.pass_(0.4 * HOUR)
        warden.queue.submit_lost()
        warden.work()
        warden.ticks.pass_(100 * HOUR)
        warden.connect("reconnect")
        warden.ticks.pass_(0.4 * HOUR)
        assert warden.run("nameless") == {short(doomed): ("refused", "too_young")}
        warden.save()
    later = Ticks()
    later.pass_(1000 * HOUR)  # the machine was up for long when it started again
    with Warden(engine, tmp_path, stay=HOUR, ticks=later) as warden:
        assert warden.start(NAMELESS).run("nameless") == {short(doomed): ("refused", "too_young")}
        later.pass_(0.3 * HOUR)
        assert warden.run("nameless") == {short(doomed): ("applied", "removed")}


class WrongTime:
    """The module ``time`` of a machine whose wall clock was set."""

    def __init__(self, real: Any, step: float) -> None:
        self._real, self._step = real, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def time(self) -> float:
        return float(self._real.time()) + self._step

    def time_ns(self) -> int:
        return int(self._real.time_ns() + self._step * 1e9)


@pytest.mark.parametrize("step", [-20 * 365 * 24 * HOUR, 20 * 365 * 24 * HOUR])
@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_wall_clock_that_is_set_makes_nothing_older(
    engine: LabEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    doomed = put(engine, "doomed")
    before = world(engine)
    with Warden(engine, tmp_path, stay=HOUR) as warden:
        warden.start(NAMELESS)
        for module in (worker, upkeep):
            monkeypatch.setattr(module, "time", WrongTime(module.time, step))
        assert warden.run("nameless") == {short(doomed): ("refused", "too_young")}
        warden.save()
    with Warden(engine, tmp_path, stay=HOUR) as warden:
        assert warden.start(NAMELESS).run("nameless") == {short(doomed): ("refused", "too_young")}
    assert world(engine) == before


def test_ages_of_one_engine_say_nothing_about_another(
    graph_engine: LabEngine, containerd_engine: LabEngine, tmp_path: Path
) -> None:
    worlds = []
    for each in (graph_engine, containerd_engine):
        each.wipe()
        put(each, "doomed")
        worlds.append(world(each))
    with Warden(graph_engine, tmp_path, stay=HOUR) as warden:
        warden.start(NAMELESS)
        warden.ticks.pass_(100 * HOUR)
        warden.save()
    for each in (containerd_engine, graph_engine):
        with Warden(each, tmp_path, stay=HOUR) as warden:
            assert set(warden.start(NAMELESS).run("nameless").values()) == {("refused", "too_young")}
            warden.ticks.pass_(0.9 * HOUR)
            warden.save()
    assert [world(graph_engine), world(containerd_engine)] == worlds


def test_ledger_that_could_not_be_claimed_keeps_no_foreign_ages(
    graph_engine: LabEngine, containerd_engine: LabEngine, tmp_path: Path
) -> None:
    """The other engine was watched for long while the ledger could not be written, except at the very end."""
    for each in (graph_engine, containerd_engine):
        each.wipe()
        put(each, "doomed")
    before = world(graph_engine)
    with Warden(graph_engine, tmp_path, stay=HOUR) as warden:
        warden.start(NAMELESS)
        warden.save()
    with Warden(containerd_engine, tmp_path, stay=HOUR) as warden:
        blocker = sqlite3.connect(tmp_path / "state" / "ledger.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        assert warden.book._db is not None
        warden.book._db.execute("PRAGMA busy_timeout = 0")
        warden.start(NAMELESS)
        warden.ticks.pass_(100 * HOUR)
        blocker.execute("ROLLBACK")
        blocker.close()
        warden.save()
    with Warden(graph_engine, tmp_path, stay=HOUR) as warden:
        assert set(warden.start(NAMELESS).run("nameless").values()) == {("refused", "too_young")}
    assert world(graph_engine) == before


# -- faults in the middle ----------------------------------------------------------------------------------------------


def fail(error: BaseException) -> Callable[[], object]:
    def raise_it() -> object:
        raise error

    return raise_it


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_no_record_no_deletion(engine: LabEngine, warden: Warden) -> None:
    doomed = [put(engine, f"doomed {n}") for n in range(3)]
    before = world(engine)
    warden.start(NAMELESS)
    warden.ledger.before("intend", fail(LedgerError("the disk is full")), call=2)
    outcomes = warden.run("nameless")
    assert sorted(outcomes.values()) == [("applied", "removed"), ("refused", "ledger"), ("refused", "ledger")]
    assert len(before.images.keys() - world(engine).images.keys()) == 1
    assert warden.ledger.calls.count("intend") == 2
    assert {short(image) for image in doomed} == set(outcomes)


@pytest.mark.parametrize("when", ["before", "after"])
def test_engine_that_goes_amid_a_removal_is_asked_when_it_is_back(engine: LabEngine, warden: Warden, when: str) -> None:
    doomed = put(engine, "doomed")
    before = world(engine)
    warden.start(NAMELESS)
    getattr(warden.engine, when)("untag", fail(EngineUnavailableError("it hung up")))
    assert warden.run("nameless") == {short(doomed): ("failed", "engine_unavailable")}
    assert warden.open_intents() == 1
    warden.board.actions.clear()
    warden.connect("reconnect")
    assert warden.open_intents() == 0
    (row,) = warden.board.actions
    gone = when == "after"
    assert (row["outcome"], row["reason"]) == (("applied", "found_gone") if gone else ("skipped", "interrupted"))
    assert warden.run("nameless") == ({} if gone else {short(doomed): ("applied", "removed")})
    assert world(engine) == before.without(doomed)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["intend", "untag", "conclude"])
def test_crash_at_any_point_is_cleared_up(engine: LabEngine, tmp_path: Path, when: str, method: str) -> None:
    doomed = put(engine, "doomed")
    before = world(engine)
    with Warden(engine, tmp_path) as warden:
        warden.start(NAMELESS)
        part = warden.engine if method == "untag" else warden.ledger
        getattr(part, when)(method, fail(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            warden.run("nameless")
    with Warden(engine, tmp_path) as warden:
        warden.start(NAMELESS)
        assert warden.open_intents() == 0
        warden.run("nameless")
        assert world(engine) == before.without(doomed)
        with contextlib.closing(sqlite3.connect(tmp_path / "state" / "ledger.db")) as db:
            ended = db.execute("SELECT outcome FROM actions WHERE key = ?", (doomed,)).fetchall()
        assert ended.count(("applied",)) == 1


def test_object_that_somebody_else_removes_first_is_nobodys_fault(engine: LabEngine, warden: Warden) -> None:
    doomed = put(engine, "doomed")
    before = world(engine)
    warden.start(NAMELESS)
    warden.engine.before("untag", lambda: engine.client().remove_image(doomed, force=True))
    assert warden.run("nameless")[short(doomed)][0] in ("applied", "skipped")
    assert world(engine) == before.without(doomed)
    with pytest.raises(docker.errors.ImageNotFound):
        engine.client().inspect_image(doomed)
    assert warden.inventory.memory.known_for(Ref(Kind.IMAGE, doomed)) >= 0.0


# -- moved, used or born again at the last moment ----------------------------------------------------------------------


@pytest.mark.parametrize("names", [("new/app:1", "new/app:2"), ("new/app:2",)], ids=["keeps a name", "has no other"])
def test_name_that_moves_right_before_the_request_is_given_back(
    engine: LabEngine, warden: Warden, names: tuple[str, ...]
) -> None:
    old = put(engine, "old", "doomed/app:1", "kept/app:1")
    new = put(engine, "new", *names)
    warden.start(UNTAG)

    def move() -> None:
        engine.docker("tag", "new/app:2", "doomed/app:1")
        engine.docker("rmi", "new/app:2")

    warden.engine.before("untag", move)
    assert warden.run("untag") == {full("doomed/app:1"): ("failed", "other_image")}
    (row,) = warden.book.recent_actions(1)
    assert row["object_id"] == new
    assert warden.open_intents() == 0
    assert world(engine).images[old] == {full("kept/app:1")}
    if len(names) > 1:
        assert world(engine).images[new] == {full("new/app:1"), full("doomed/app:1")}
    else:  # it went with its only name, which no client of this API can exclude; but it is said
        assert new not in world(engine).images
    assert warden.metrics.registry.get_sample_value(
        "dockwarden_actions_misdirected_total", {"policy": "untag", "action": "untag"}
    ) == 1  # fmt: skip


def test_name_that_moves_before_the_last_look_is_left_alone(engine: LabEngine, warden: Warden) -> None:
    put(engine, "old", "doomed/app:1", "kept/app:1")
    new = put(engine, "new", "new/app:1")
    warden.start(UNTAG)
    warden.ledger.after("intend", lambda: engine.docker("tag", "new/app:1", "doomed/app:1"))
    assert warden.run("untag") == {full("doomed/app:1"): ("skipped", "changed")}
    assert world(engine).images[new] == {full("new/app:1"), full("doomed/app:1")}


def test_image_that_was_used_for_a_moment_stays(engine: LabEngine, warden: Warden) -> None:
    doomed = put(engine, "doomed", "doomed/app:1", runs=True)
    warden.start(UNTAG)
    warden.ledger.before("intend", lambda: engine.docker("run", "--rm", "doomed/app:1", "true"))
    assert warden.run("untag") == {full("doomed/app:1"): ("skipped", "changed")}
    assert doomed in world(engine).images


@pytest.mark.parametrize("how", ["loaded", "named"])
def test_image_that_went_or_was_renamed_and_is_there_again_stays(engine: LabEngine, warden: Warden, how: str) -> None:
    doomed = put(engine, "doomed", "doomed/app:1")
    warden.start(UNTAG)

    def again() -> None:
        if how == "named":
            engine.docker("tag", "doomed/app:1", "aside/app:1")
        engine.docker("rmi", "doomed/app:1")
        if how == "named":
            engine.docker("tag", "aside/app:1", "doomed/app:1")
            engine.docker("rmi", "aside/app:1")
        else:
            assert put(engine, "doomed", "doomed/app:1") == doomed

    warden.ledger.before("intend", again)
    assert warden.run("untag") == {full("doomed/app:1"): ("skipped", "changed")}
    assert doomed in world(engine).images


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_what_happens_to_others_keeps_nothing(engine: LabEngine, warden: Warden) -> None:
    put(engine, "doomed", "doomed/app:1")
    put(engine, "other", "other/app:1", runs=True)
    warden.start(UNTAG)
    warden.ledger.before("intend", lambda: engine.docker("run", "--rm", "--volume", "v:/v", "other/app:1", "true"))
    assert warden.run("untag") == {full("doomed/app:1"): ("applied", "removed")}


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_so_much_happening_that_it_is_not_remembered_keeps_everything(engine: LabEngine, warden: Warden) -> None:
    doomed = put(engine, "doomed", "doomed/app:1")
    warden.start(UNTAG)

    def busy() -> None:
        client = engine.client()
        for _ in range(130):  # of each, the engine tells twice
            client.create_volume("busy")
            client.tag(doomed, "busy/app", "1")
            client.remove_volume("busy")

    warden.ledger.before("intend", busy)
    assert warden.run("untag") == {full("doomed/app:1"): ("skipped", "changed")}
    assert doomed in world(engine).images


VOLUMES = policy("volumes", "volume", "volume.name == 'doomed'", action="remove", **{**ENFORCED, "for": "1m"})


@pytest.mark.parametrize("engine", ["either"], indirect=True)
@pytest.mark.parametrize(
    ("part", "moment", "call"),
    [("ledger", "end_archive", 1), ("engine", "users_of", 2), ("engine", "volume", 2), ("engine", "remove_volume", 1)],
)
def test_volume_that_was_written_to_since_it_was_archived_stays(
    engine: LabEngine, warden: Warden, part: str, moment: str, call: int
) -> None:
    put(engine, "writer", "writer:1", runs=True)
    engine.docker("volume", "create", "doomed")
    write = ("run", "--rm", "--volume", "doomed:/d", "writer:1", "sh", "-c", "echo x >/d/$RANDOM; sync")
    engine.docker(*write)
    try:
        warden.start(VOLUMES)
        warden.ticks.pass_(7200)
        meddled: Meddled = getattr(warden, part)
        meddled.before(moment, lambda: engine.docker(*write), call=call)
        is_too_late = moment == "remove_volume"  # which no engine excludes
        assert warden.run("volumes") == {"doomed": ("applied", "unverified") if is_too_late else ("skipped", "changed")}
        assert warden.open_intents() == 0
    finally:
        engine.docker("volume", "rm", "--force", "doomed")


NETWORKS = policy("networks", "network", "network.name == 'doomed'", action="remove", **ENFORCED)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_network_for_which_a_container_was_just_made_is_made_again(engine: LabEngine, warden: Warden) -> None:
    put(engine, "joins", "joins:1", runs=True)
    engine.docker("network", "create", "--label", "a=b", "doomed")
    try:
        warden.start(NETWORKS)
        warden.engine.before(
            "remove_network", lambda: engine.docker("create", "--name", "joins", "--network", "doomed", "joins:1")
        )
        assert warden.run("networks") == {"doomed": ("refused", "conflict")}
        engine.docker("start", "joins")
        assert engine.docker("network", "inspect", "--format={{.Labels}}", "doomed") == "map[a:b]"
    finally:
        engine.docker("rm", "--force", "joins")
        engine.docker("network", "rm", "doomed")

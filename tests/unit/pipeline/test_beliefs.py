"""Whatever happens in whatever order, and however it is heard of: what is believed is what a fresh look says."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dockwarden.errors import ConflictError, NotFoundError
from dockwarden.model import Kind
from tests.builders import a_policy
from tests.unit.hosts import Host
from tests.unit.inventory.test_use import DEEDS, WORD, Dying, a_busy_engine

CONDITIONS = {
    Kind.IMAGE: ["!image.in_use", "image.dangling", "image.container_count > 1", "size(image.tags) > 1"],
    Kind.TAG: ["!image.in_use", "size(image.same_as) > 0", "image.container_count > 1"],
    Kind.CONTAINER: [
        "container.running",
        "container.freshness == 'recreate-needed'",
        "container.freshness == 'tag-gone'",
        "size(image.tags) == 0",
        "size(container.networks) > 1",
    ],
    Kind.VOLUME: ["!volume.in_use", "volume.container_count > 1", "size(volume.used_by) == 1"],
    Kind.NETWORK: ["!network.in_use", "network.container_count > 1"],
    Kind.HOST: ["host.images > 2", "host.containers > 1", "host.volumes > 1"],
}
CAUSES = [
    *(f"image.{each}" for each in ("pull", "new", "tag", "untag", "delete")),
    *(f"container.{each}" for each in ("create", "start", "die", "stop", "update", "rename", "health", "destroy")),
    *(f"{kind}.{each}" for kind in ("volume", "network") for each in ("create", "destroy")),
]
POLICIES = [
    a_policy(f"{kind.value}-{number}-{how}", condition, subject=kind, **trigger)
    for kind, conditions in CONDITIONS.items()
    for number, condition in enumerate(conditions)
    for how, trigger in (("hears", {"events": CAUSES}), ("deaf", {"every_seconds": 60}))
]


class Step(NamedTuple):
    """What a person does, and how we hear of it; ``answers``: after so many the engine goes away, if it does."""

    verb: str
    name: str
    other: str
    then: str = ""
    answers: int = 0


THEN = ["", "events", "doubled events", "gap", "loss", "loss amid a look", "reload", "restart"]
STEPS = st.lists(
    st.builds(Step, st.sampled_from(sorted(DEEDS)), WORD, WORD, st.sampled_from(THEN), st.integers(0, 8)), max_size=10
)


class Watched:
    """A daemon on an engine that outlives it."""

    def __init__(self, folder: Path, engine: Dying, stack: ExitStack) -> None:
        self.folder, self.engine, self.stack = folder, engine, stack
        self.start()

    def start(self) -> None:
        self.host = self.stack.enter_context(Host(self.folder, engine=self.engine))
        self.host.start(*POLICIES)

    def hear(self, step: Step) -> None:
        host, engine = self.host, self.engine
        match step.then:
            case "events":
                host.settle()
            case "doubled events":
                events = list(engine.emitted)
                host.settle()
                engine.emitted.extend(events)
                host.settle()
            case "gap":
                engine.take_events()
                host.connect("gap")
                host.settle()
            case "loss" | "loss amid a look":
                if step.then == "loss":
                    engine.take_events()
                engine.answers_left = step.answers
                host.settle()
                host.lose()
                host.settle()
                engine.come_back()
                host.connect()
                host.settle()
            case "reload":
                host.use(*POLICIES)
            case "restart":
                self.stack.pop_all().close()
                self.start()

    def found(self, how: str) -> set[tuple[str, str]]:
        """What is open of the policies that hear events, or of those that do not."""
        return {(policy.removesuffix(how), name) for policy, name in self.host.open_findings() if policy.endswith(how)}


@settings(max_examples=30)
@given(STEPS)
@example([Step("detach", "one", "one")])  # of what has lost a user
def test_what_is_believed_is_what_a_fresh_look_says(steps: list[Step]) -> None:
    engine = a_busy_engine(Dying())
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        watched = Watched(Path(folder), engine, stack.enter_context(ExitStack()))
        for step in steps:
            with suppress(ConflictError, NotFoundError):
                DEEDS[step.verb](engine, step.name, step.other)
            watched.hear(step)
        watched.host.settle()
        fresh = Watched(Path(other), engine, stack.enter_context(ExitStack()))
        right = fresh.found("hears")
        assert watched.found("hears") == right
        assert watched.found("deaf") <= right
        for policy in POLICIES:
            watched.host.queue.submit_job(policy.name)
        watched.host.settle()
        assert watched.found("deaf") == right

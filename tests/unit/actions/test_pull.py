"""tag pull and service update: what was judged, and nothing else; afterwards as before, or said why not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dockwarden.actions.execute import end_intents
from dockwarden.actions.service_update import ServiceUpdate
from dockwarden.actions.undo import Undoer
from dockwarden.errors import AnswerError, EngineUnavailableError, NotFoundError
from dockwarden.model import Effect, ImageStore, Kind, Outcome, Record, Ref, Service, Step
from tests.builders import a_service, an_image, details, image_id
from tests.fakes import FakeEngine, FakeIntents, FakeRegistry, Ground

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TAG, REPOSITORY = "docker.io/library/app:1", "docker.io/library/app"
OLD, NEW, NEWER = (f"sha256:{digit * 64}" for digit in "123")


class Bench:
    """A host whose tag, and whose service, are older than what the registry has."""

    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine(ImageStore.GRAPH)
        self.engine.put(an_image("old", "app:1"))
        self.engine.served[f"{REPOSITORY}@{NEW}"] = an_image("new")
        self.engine.swarm = {}
        self.service = a_service("web", f"app:1@{OLD}")
        self.engine.swarm[self.service.id] = self.service
        self.registry = FakeRegistry(digests={TAG: NEW})
        self.ground = Ground(folder, self.engine, self.registry)
        self.intents = FakeIntents()

    def pull(self, judged: str = NEW) -> Outcome:
        image = self.engine.image("app:1")
        return self._run(Step("p", "pull", Ref(Kind.TAG, TAG), TAG, image, "it moved", digest=judged))

    def update(self, judged: str = NEW) -> Outcome:
        return self._run(self.step(judged))

    def step(self, judged: str = NEW) -> Step:
        options = ServiceUpdate.options().model_dump()
        ref = Ref(Kind.SERVICE, self.service.id)
        return Step("p", "update", ref, "web", self.service, "it moved", options=options, digest=judged)

    def swarm_says(self, state: str, **fields: object) -> None:
        """While its end is waited for, the update comes to this."""

        def says() -> None:
            assert self.engine.swarm is not None
            found = self.engine.swarm[self.service.id]
            self.engine.swarm[self.service.id] = replace(found, update_state=state, **fields)  # type: ignore[arg-type]

        self._meanwhile(says)

    def _meanwhile(self, happens: Callable[[], object]) -> None:
        before = self.ground._sleep

        def sleep(seconds: float) -> None:
            before(seconds)
            happens()

        self.ground._sleep = sleep  # type: ignore[method-assign]

    def end_amid(self) -> None:
        """Have dockwarden end while it waits for the end of an update."""

        def end() -> None:
            self.ground.is_ending = True

        self._meanwhile(end)
        assert (outcome := self.update()).reason == "engine_error", outcome

    def now(self) -> Service:
        return self.engine.service(self.service.id)

    def undo(self) -> Outcome:
        number = max(self.intents.written)
        step, recipe = self.intents.written[number], self.intents.recipes[number]
        done = Record(number, "run", step.policy, step.action, step.ref, step.name, 0.0, 1.0, recipe)
        [outcome] = Undoer(self.ground.tools(self.intents), self.intents).undo("undo", [done])
        return outcome

    def _run(self, step: Step) -> Outcome:
        [outcome] = self.ground.executor(self.intents)(self.engine.info).run("run", [step])
        return outcome


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- tag pull ------------------------------------------------------------------------------------------------


def test_the_tag_names_what_was_judged_and_can_name_the_old_one_again(bench: Bench) -> None:
    assert (outcome := bench.pull()).effect is Effect.APPLIED, outcome
    assert bench.engine.image("app:1").id == image_id("new")
    assert bench.undo().reason == "restored"
    assert bench.engine.image("app:1").id == image_id("old")


def test_a_tag_that_moved_at_the_registry_since_brings_nothing(bench: Bench) -> None:
    bench.registry.digests[TAG] = NEWER
    bench.engine.just_before("pull_image", lambda: pytest.fail("it was pulled"))
    assert bench.pull().reason == "changed"
    assert bench.engine.image("app:1").id == image_id("old")


@pytest.mark.parametrize("reason", ["timeout", "unauthorized", "rate_limited", "not_found"])
def test_a_registry_that_does_not_tell_brings_nothing(bench: Bench, reason: str) -> None:
    bench.registry.failures[TAG] = reason
    outcome = bench.pull()
    assert outcome.effect is not Effect.APPLIED
    assert reason in outcome.detail
    assert bench.engine.image("app:1").id == image_id("old")


def test_what_was_undone_is_not_pulled_again_until_the_tag_moves(bench: Bench) -> None:
    bench.pull()
    bench.undo()
    assert bench.pull().reason == "barred"
    step = Step("p", "pull", Ref(Kind.TAG, TAG), TAG, bench.engine.image("app:1"), "it moved", digest=NEW)
    foresee = bench.ground.executor(bench.intents)(bench.engine.info).foresee
    bench.registry.asked.clear()
    assert foresee(step).startswith(f"but not now: {NEW[7:19]} was rolled back, undone")
    assert foresee(step._replace(options={"over_limits": True})).endswith(f" to {REPOSITORY}@{NEW}")
    assert foresee(step._replace(digest="")) == ""
    assert bench.registry.asked == [], "each is waited for by itself"
    bench.registry.digests[TAG] = NEWER
    bench.engine.served[f"{REPOSITORY}@{NEWER}"] = an_image("newer")
    assert bench.pull(NEWER).reason == "pulled"


def test_what_is_for_another_platform_is_pulled_only_once(bench: Bench) -> None:
    bench.engine.served[f"{REPOSITORY}@{NEW}"] = an_image("new", inspected=details(platform="linux/arm64"))
    assert bench.pull().reason == "other_platform"
    bench.engine.just_before("pull_image", lambda: pytest.fail("it was pulled again"))
    assert bench.pull().reason == "barred"


def test_what_somebody_had_here_for_another_platform_is_pulled_when_it_went(bench: Bench) -> None:
    theirs = an_image("theirs", digests=(f"{REPOSITORY}@{NEW}",), inspected=details(platform="linux/arm64"))
    bench.engine.put(theirs)
    assert bench.pull().reason == "other_platform"
    assert bench.engine.image(theirs.id) == theirs
    bench.engine.untag(f"{REPOSITORY}@{NEW}")
    assert bench.pull().reason == "pulled"


def test_a_tag_that_somebody_moves_here_meanwhile_stays_theirs(bench: Bench) -> None:
    def move() -> None:
        bench.engine.put(an_image("theirs"))
        bench.engine.name(image_id("theirs"), "app:1")

    bench.engine.just_before("pull_image", move)
    assert bench.pull().effect is not Effect.APPLIED
    assert bench.engine.image("app:1").id == image_id("theirs")
    with pytest.raises(NotFoundError):
        bench.engine.image(image_id("new"))


@pytest.mark.parametrize("error", [AnswerError("unexpected EOF"), NotFoundError("unknown blob")])
def test_a_pull_that_fails_leaves_all_as_before(error: Exception, bench: Bench) -> None:
    """It says what the registry lacks; the tag is here, and not gone."""

    def fail() -> None:
        raise error

    bench.engine.just_before("pull_image", fail)
    told = bench.pull()
    assert (told.effect, told.reason, str(error) in told.detail) == (Effect.FAILED, "engine_error", True)
    assert bench.engine.image("app:1").id == image_id("old")


# -- service update ------------------------------------------------------------------------------------------


def test_a_service_is_held_to_what_was_judged_and_goes_back(bench: Bench) -> None:
    bench.swarm_says("completed")
    assert (outcome := bench.update()).reason == "updated", outcome
    assert bench.now().image_ref == f"app:1@{NEW}"
    assert bench.undo().reason == "restored"
    assert bench.now().image_ref == f"app:1@{OLD}"


@pytest.mark.parametrize(
    ("state", "image_ref", "told"),
    [
        ("rollback_completed", f"app:1@{OLD}", (Effect.FAILED, "rolled_back")),
        ("paused", f"app:1@{NEW}", (Effect.FAILED, "paused")),
        # Somebody changed it during the update, and the swarm took that back to the new image.
        ("rollback_completed", f"app:1@{NEW}", (Effect.APPLIED, "updated")),
        ("rollback_paused", f"app:1@{NEW}", (Effect.FAILED, "paused")),
        ("rollback_paused", f"app:1@{OLD}", (Effect.FAILED, "rolled_back")),
        ("completed", f"app:1@{OLD}", (Effect.SKIPPED, "changed")),
        ("updating", f"app:2@{NEW}", (Effect.SKIPPED, "changed")),
        ("completed", f"app:2@{OLD}", (Effect.SKIPPED, "changed")),
    ],
)
def test_how_the_swarm_ended_it_is_told(bench: Bench, state: str, image_ref: str, told: tuple[Effect, str]) -> None:
    bench.swarm_says(state, image_ref=image_ref)
    outcome = bench.update()
    assert (outcome.effect, outcome.reason) == told


def test_the_end_of_the_update_before_is_not_that_of_this_one(bench: Bench) -> None:
    def says(state: str, at: float, image_ref: str) -> Callable[[], None]:
        def change() -> None:
            assert bench.engine.swarm is not None
            now = replace(bench.service, image_ref=image_ref, update_state=state, updated_at=at)
            bench.engine.swarm[bench.service.id] = now

        return change

    says("completed", 7.0, f"app:1@{OLD}")()
    ends = [says("completed", 7.0, f"app:1@{NEW}"), says("rollback_completed", 8.0, f"app:1@{OLD}")]
    bench.engine.just_before("service", *[lambda: None] * 3, *ends)
    assert (outcome := bench.update()).reason == "rolled_back", outcome


def test_what_the_swarm_pauses_failed_for_a_reason_and_can_be_undone(bench: Bench) -> None:
    bench.swarm_says("paused", task_error="task: non-zero exit (3)")
    assert "come up with app:1@" in (outcome := bench.update()).detail
    assert ": task: non-zero exit (3); the swarm waits; undo takes it back" in outcome.detail
    assert bench.undo().reason == "restored"
    assert bench.now().image_ref == f"app:1@{OLD}"


def test_what_the_swarm_paused_and_a_person_took_back_is_not_tried_again(bench: Bench) -> None:
    bench.swarm_says("paused")
    bench.update()
    bench.service = replace(bench.service, update_state="completed")
    assert bench.engine.swarm is not None
    bench.engine.swarm[bench.service.id] = bench.service
    assert bench.update().reason == "barred"


@pytest.mark.parametrize("image_ref", [image_id("old"), "app:1", f"app@{OLD}"])
def test_a_service_without_a_tag_and_a_digest_has_nothing_newer(bench: Bench, image_ref: str) -> None:
    service = replace(bench.service, image_ref=image_ref)
    nobody: Any = None  # neither is looked at
    assert (ServiceUpdate().keeps(nobody, nobody, service, 0) or "")[0] == "pinned"


@pytest.mark.parametrize("mode", ["replicated-job", "global-job"])
def test_a_job_would_run_once_more(bench: Bench, mode: str) -> None:
    nobody: Any = None
    assert (ServiceUpdate().keeps(nobody, nobody, replace(bench.service, mode=mode), 0) or "")[0] == "job"


def test_what_would_become_of_a_service_is_foreseen(bench: Bench) -> None:
    foresee = bench.ground.executor(bench.intents)(bench.engine.info).foresee
    assert foresee(bench.step()) == f"from app:1@{OLD} to app:1@{NEW}"
    bench.swarm_says("rollback_completed", image_ref=f"app:1@{OLD}")
    bench.update()
    bench.service = bench.now()
    assert foresee(bench.step()).startswith(f"but not now: {NEW[7:19]} was rolled back")


def test_what_has_done_its_work_would_do_it_once_more(bench: Bench) -> None:
    assert bench.engine.swarm is not None
    bench.engine.swarm[bench.service.id] = replace(bench.service, running=0, is_over=True)
    assert ((told := bench.update()).effect, told.reason) == (Effect.REFUSED, "job")
    assert bench.now().image_ref == f"app:1@{OLD}"


def test_what_was_rolled_back_is_not_tried_again(bench: Bench) -> None:
    bench.swarm_says("rollback_completed", image_ref=f"app:1@{OLD}")
    bench.update()
    bench.service = bench.now()
    again = bench.update()
    assert (again.reason, again.detail.split()[0]) == ("barred", NEW.removeprefix("sha256:")[:12])


def test_what_the_swarm_took_back_while_nobody_watched_is_not_tried_again(bench: Bench) -> None:
    assert bench.engine.swarm is not None
    bench.service = replace(bench.service, update_failure_action="rollback")
    bench.engine.swarm[bench.service.id] = bench.service
    bench.end_amid()
    tools = bench.ground.tools(bench.intents)
    assert end_intents(tools, bench.intents) == []  # which may still be taken back
    taken_back = replace(bench.now(), image_ref=f"app:1@{OLD}", update_state="rollback_completed")
    bench.engine.swarm[bench.service.id] = taken_back
    assert [outcome.reason for outcome in end_intents(tools, bench.intents)] == ["rolled_back"]
    bench.ground.is_ending, bench.service = False, bench.now()
    assert bench.update().reason == "barred"


@pytest.mark.parametrize(("state", "told"), [("completed", "updated"), ("paused", "paused")])
def test_what_becomes_of_it_where_the_swarm_lost_its_leader_is_found_out_later(
    bench: Bench, state: str, told: str
) -> None:
    def refuse() -> None:
        raise AnswerError("the swarm does not have a leader")

    bench.engine.just_before("service", *[lambda: None] * 3, refuse, refuse)
    assert (now := bench.update()).reason == "engine_error", now
    tools = bench.ground.tools(bench.intents)
    assert end_intents(tools, bench.intents) == []  # the swarm is at it
    assert bench.engine.swarm is not None
    bench.engine.swarm[bench.service.id] = replace(bench.now(), update_state=state)
    assert [outcome.reason for outcome in end_intents(tools, bench.intents)] == [told]
    assert len(bench.intents.undoable()) == 1


@pytest.mark.parametrize(("state", "told"), [("completed", "updated"), ("updating", "updating")])
def test_what_was_taken_back_after_its_end_was_told_is_not_tried_again(bench: Bench, state: str, told: str) -> None:
    bench.swarm_says(state)
    assert (outcome := bench.update()).reason == told, outcome
    assert bench.engine.swarm is not None
    bench.service = replace(bench.service, update_state="rollback_completed")
    bench.engine.swarm[bench.service.id] = bench.service
    assert bench.update().reason == "barred"
    bench.registry.digests[TAG] = NEWER
    assert bench.update(NEWER).reason == told


def test_what_others_took_back_to_another_image_is_tried_again(bench: Bench) -> None:
    bench.swarm_says("completed")
    assert bench.update().effect is Effect.APPLIED
    assert bench.engine.swarm is not None
    bench.service = replace(bench.service, image_ref=f"app:1@{NEWER}", update_state="rollback_completed")
    bench.engine.swarm[bench.service.id] = bench.service
    assert bench.update().effect is Effect.APPLIED


def test_what_the_swarm_took_back_before_says_nothing_of_an_update_that_never_reached_it(bench: Bench) -> None:
    def refuse() -> None:
        raise EngineUnavailableError("it lost its leader")

    assert bench.engine.swarm is not None
    bench.service = replace(bench.service, update_state="rollback_completed", updated_at=7.0)
    bench.engine.swarm[bench.service.id] = bench.service
    bench.engine.just_before("update_service", refuse)
    assert bench.update().reason == "engine_unavailable"
    ends = end_intents(bench.ground.tools(bench.intents), bench.intents)
    assert [outcome.reason for outcome in ends] == ["interrupted"]
    bench.swarm_says("completed")
    assert (outcome := bench.update()).reason == "updated", outcome


def test_the_record_of_a_service_that_went_meanwhile_is_ended(bench: Bench) -> None:
    bench.end_amid()
    bench.engine.swarm = {}
    assert [outcome.reason for outcome in end_intents(bench.ground.tools(bench.intents), bench.intents)] == [
        "interrupted"
    ]


@pytest.mark.parametrize(
    ("running", "error", "told"),
    [
        (2, "", f"all its tasks run app:1@{NEW}"),
        (0, "", f"it is held to app:1@{NEW}; 0 of 2 tasks run"),
        (2, "exit (3)", f"all its tasks run app:1@{NEW}; the last one that failed: exit (3)"),  # that very second
    ],
)
def test_tasks_that_the_swarm_let_fail_are_not_said_to_run(bench: Bench, running: int, error: str, told: str) -> None:
    bench.swarm_says("completed", running=running, task_error=error)
    assert bench.update().detail == told


@pytest.mark.parametrize(
    ("state", "image_ref", "end"),
    [
        ("completed", f"app:1@{NEW}", (Effect.APPLIED, "updated")),
        ("paused", f"app:1@{NEW}", (Effect.FAILED, "paused")),
        ("rollback_completed", f"app:1@{OLD}", (Effect.FAILED, "rolled_back")),
    ],
)
def test_an_update_that_takes_its_time_is_no_success_until_it_has_ended(
    bench: Bench, state: str, image_ref: str, end: tuple[Effect, str]
) -> None:
    outcome = bench.update()
    assert (outcome.effect, outcome.reason, "it is still updating" in outcome.detail) == (
        Effect.FAILED,
        "updating",
        True,
    )
    assert outcome.took, "another service would be updated in its place"
    tools = bench.ground.tools(bench.intents)
    assert end_intents(tools, bench.intents) == []
    assert bench.engine.swarm is not None
    bench.engine.swarm[bench.service.id] = replace(bench.now(), update_state=state, image_ref=image_ref)
    assert end_intents(tools, bench.intents, watches=False) == []
    [ended] = end_intents(tools, bench.intents)
    assert (ended.effect, ended.reason) == end
    assert end_intents(tools, bench.intents) == []


def test_an_update_that_takes_its_time_can_be_undone_and_is_not_watched_then(bench: Bench) -> None:
    assert bench.update().reason == "updating"
    assert bench.undo().reason == "restored"
    assert bench.now().image_ref == f"app:1@{OLD}"
    bench.engine.swarm = {bench.service.id: bench.service}
    assert end_intents(bench.ground.tools(bench.intents), bench.intents) == []


def test_what_no_node_takes_is_waited_for_only_for_a_while(bench: Bench) -> None:
    bench.swarm_says("updating", unplaced="no suitable node (insufficient resources on 1 node)")
    outcome = bench.update()
    assert (outcome.effect, outcome.reason) == (Effect.FAILED, "updating")
    assert "no node takes a task of it: no suitable node (insufficient" in outcome.detail
    assert sum(bench.ground.slept) < ServiceUpdate.options().model_dump()["within"].total_seconds()


@pytest.mark.parametrize(
    "fields", [{"image_ref": f"app:2@{OLD}"}, {"labels": {"by": "somebody"}}, {"update_state": "updating"}]
)
def test_a_service_that_somebody_changed_since_is_left(bench: Bench, fields: dict[str, object]) -> None:
    assert bench.engine.swarm is not None
    bench.engine.swarm[bench.service.id] = replace(bench.service, **fields)  # type: ignore[arg-type]
    assert bench.update().reason == "changed"


def test_a_service_whose_tag_moved_since_is_left(bench: Bench) -> None:
    bench.registry.digests[TAG] = NEWER
    assert bench.update().reason == "changed"
    assert bench.now().image_ref == f"app:1@{OLD}"


@pytest.mark.parametrize(
    ("image_ref", "told"),
    [(f"app:1@{NEW}", "restored"), (f"app:1@{OLD}", "restored"), (f"app:1@{NEWER}", "taken"), ("app:2", "taken")],
)
def test_undo_leaves_a_service_that_somebody_gave_another_image_since(bench: Bench, image_ref: str, told: str) -> None:
    assert bench.update().reason == "updating"
    bench.engine.update_service(bench.service.id, image_ref)
    assert bench.undo().reason == told
    assert bench.now().image_ref == (image_ref if told == "taken" else f"app:1@{OLD}")

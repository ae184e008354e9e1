"""container update: never without the old container until the new one is well, wherever it is cut off."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockwarden.actions.container_update import ContainerUpdate
from dockwarden.actions.execute import end_intents
from dockwarden.actions.undo import Undoer
from dockwarden.errors import (
    AnswerError,
    ConflictError,
    DeniedError,
    EngineError,
    EngineUnavailableError,
    LedgerError,
    MissingError,
    NotFoundError,
)
from dockwarden.model import Container, Effect, ImageStore, Kind, Outcome, Recipe, Record, Ref, Step
from dockwarden.ports import Written
from tests.builders import HOUR, a_container, a_mount, an_image, details, image_id, with_tags
from tests.fakes import FakeEngine, FakeIntents, Ground

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPTIONS = ContainerUpdate.options(within="2m", steady="30s").model_dump()
ASIDE = ".dw-"


class Killed(BaseException):
    """The process ends here."""


class Bench:
    """A container whose tag names a newer image, and what an update made of it."""

    def __init__(self, folder: Path, **container: Any) -> None:
        self.engine = FakeEngine(ImageStore.GRAPH)
        self.engine.put(an_image("old", "app:1"))
        config = replace(a_container().config, restart_policy="always")
        self.engine.run(replace(a_container("web", "app:1", "old", config=config), **container))
        self.engine.put(an_image("new", "app:1"))
        self.intents = FakeIntents()
        self.ground = Ground(folder, self.engine)
        self.old = self.engine._container("web").id
        self.patched = pytest.MonkeyPatch()
        self.steps_left = -1
        self._called = self.engine._called
        self.engine._called = self._count  # type: ignore[method-assign]

    def _count(self, operation: str, argument: str = "") -> None:
        if self.steps_left == 0:
            raise Killed
        self.steps_left -= 1
        self._called(operation, argument)

    def end(self) -> list[Outcome]:
        return end_intents(self.ground.tools(self.intents), self.intents)

    def step(self, name: str = "web") -> Step:
        found = self.engine._container(name)
        return Step("update", "update", Ref(Kind.CONTAINER, found.id), found.name, found, "it is old", options=OPTIONS)

    def run(self, name: str = "web", /, **options: object) -> Outcome:
        step = self.step(name)
        step = step._replace(options={**step.options, **options})
        [outcome] = self.ground.executor(self.intents)(self.engine.info).run("run", [step])
        return outcome

    def meanwhile(self, what: str = "update", /, **fields: object) -> None:
        """While it is waited for, this becomes true of the new container."""
        before = self.ground._sleep

        def sleep(seconds: float) -> None:
            before(seconds)
            if self.names()["web"].id != self.old:
                self.engine.alter("web", what, **fields)

        self.patched.setattr(self.ground, "_sleep", sleep)

    def names(self) -> dict[str, Container]:
        return {each.name: each for each in self.engine._containers.values()}

    def assert_whole(self, *images: str) -> Container:
        """One container has the name and runs, as before or from the new image."""
        web = self.names()["web"]
        assert web.running
        assert web.config.restart_policy == "always"
        assert web.image_id in {image_id(image) for image in images}
        assert sum(each.running for each in self.names().values()) == 1
        return web


def a_side(bench: Bench, name: str = "side", owner: str = "", **labels: str) -> Container:
    """One that lives in the network of the container, or of another."""
    side = a_container(name, "side:1", "side", labels=labels)
    bench.engine.put(an_image("side", "side:1"))
    return replace(side, network_mode=f"container:{owner or bench.old}")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_it_runs_the_new_image_and_the_old_container_is_kept(bench: Bench) -> None:
    outcome = bench.run()
    assert (outcome.effect, outcome.reason) == (Effect.APPLIED, "updated")
    bench.assert_whole("new")
    [aside] = [each for name, each in bench.names().items() if ASIDE in name]
    assert (aside.id, aside.running, aside.config.restart_policy) == (bench.old, False, "no")
    assert [seconds for seconds in bench.ground.slept if seconds == 0.5], "nobody waited to see it run"


@pytest.mark.parametrize("others", [1, 3])
def test_a_new_one_that_somebody_removes_just_now_is_waited_for(bench: Bench, others: int) -> None:
    def is_going() -> None:
        raise ConflictError("removal of container is already in progress")

    def is_gone() -> None:
        bench.engine.remove(bench.names()["web"].name)

    bench.engine.just_before("remove_container", *[is_going] * others, is_gone)
    bench.meanwhile("kill", running=False, state="exited")
    assert bench.run().reason == "changed"
    bench.assert_whole("old")
    assert not bench.intents.open_intents()


def test_what_lives_in_it_and_is_of_its_tag_has_to_be_updated_before(bench: Bench) -> None:
    digest = f"sha256:{'2' * 64}"
    bench.ground._registry.digests["docker.io/library/app:1"] = digest
    bench.engine.served[f"docker.io/library/app@{digest}"] = an_image("newest")
    bench.engine.name(image_id("old"), "app:1")
    bench.engine.run(replace(a_container("side", "app:1", "old"), network_mode=f"container:{bench.old}"))
    refused = bench.run(pull=True)
    assert (refused.effect, refused.reason, refused.detail.partition(":")[0]) == (Effect.REFUSED, "dependents", "side")
    assert not any(operation == "pull_image" for operation, _ in bench.engine.calls)
    assert [bench.run(name, pull=True).reason for name in ("side", "web")] == ["updated", "updated"]
    assert {each.image_id for each in bench.names().values() if each.running} == {image_id("newest")}


def test_one_that_did_not_run_is_made_anew_and_not_started(tmp_path: Path) -> None:
    bench = Bench(tmp_path, running=False, state="exited")
    assert bench.run().reason == "updated"
    web = bench.names()["web"]
    assert (web.image_id, web.running) == (image_id("new"), False)
    assert undo(bench).detail.startswith("it is of ")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"running": False, "state": "exited", "exit_code": 3}, "ended with 3"),
        ({"health": "unhealthy"}, "is unhealthy"),
        ({"health": "starting"}, "is still starting"),
        ({"config": replace(a_container().config, restart_policy="always", restart_count=2)}, "ended and was rest"),
    ],
)
def test_what_does_not_come_up_goes_and_the_old_one_is_back(bench: Bench, fields: dict[str, Any], why: str) -> None:
    bench.meanwhile(**fields)
    outcome = bench.run()
    assert (outcome.effect, outcome.reason) == (Effect.FAILED, "rolled_back")
    assert why in outcome.detail
    assert "says nothing" in outcome.detail  # the last lines of its log
    assert bench.assert_whole("old").id == bench.old
    assert list(bench.names()) == ["web"]
    again = bench.run()
    assert (again.effect, again.reason) == (Effect.REFUSED, "barred")


@pytest.mark.parametrize("error", [None, AnswerError("Cannot update container: it has just ended")])
def test_one_that_the_engine_starts_again_at_that_moment_goes_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: EngineError | None
) -> None:
    """A stop may return when a container is about to be restarted."""
    stop, missed = bench.engine.stop_container, [2]

    def stop_late(identifier: str) -> None:
        is_old = bench.engine.container(identifier).id == bench.old
        if not is_old and missed[0]:
            missed[0] -= 1
            if error:
                raise error
            return
        stop(identifier)

    monkeypatch.setattr(bench.engine, "stop_container", stop_late)
    bench.meanwhile(config=replace(a_container().config, restart_policy="always", restart_count=2), state="restarting")
    outcome = bench.run()
    assert (outcome.reason, missed) == ("rolled_back", [0])
    assert bench.assert_whole("old").id == bench.old
    assert list(bench.names()) == ["web"]


@pytest.mark.parametrize("within", [2, 120])
def test_a_healthy_one_is_waited_for_only_until_it_has_settled(bench: Bench, within: int) -> None:
    bench.meanwhile(health="healthy")
    assert bench.run(within=timedelta(seconds=within)).reason == "updated"
    assert sum(bench.ground.slept) < 10


@pytest.mark.parametrize("fields", [{"health": "unhealthy"}, {"running": False, "state": "exited", "exit_code": 3}])
def test_one_that_is_healthy_for_a_moment_is_not_well(bench: Bench, fields: dict[str, Any]) -> None:
    bench.meanwhile(health="healthy")
    healthy = bench.ground._sleep

    def sleep(seconds: float) -> None:
        healthy(seconds)
        if sum(bench.ground.slept) > 3:
            bench.engine.alter("web", "update", **fields)

    bench.patched.setattr(bench.ground, "_sleep", sleep)
    assert bench.run().reason == "rolled_back"
    assert bench.assert_whole("old").id == bench.old


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("stop_container", AnswerError("no")),
        ("rename_container", ConflictError("taken")),
        ("set_restart_policy", AnswerError("no")),
        ("start_container", AnswerError("port is already allocated")),
        ("start_container", AnswerError("OCI runtime create failed: mkdir /sys/fs/cgroup/a: Cannot allocate memory")),
        ("start_container", AnswerError("OCI runtime create failed: unable to apply cgroup configuration: no bus")),
        ("start_container", AnswerError("OCI runtime create failed: open /proc/self/fd: too many open files")),
        ("create", AnswerError("no driver is called so")),
    ],
)
def test_what_the_engine_refuses_is_taken_back_and_tried_again(
    bench: Bench, operation: str, error: EngineError
) -> None:
    def refuse() -> None:
        raise error

    # What fails every time: a stop is tried a few times, and another container made from the old image.
    often = {"stop_container": 5, "set_restart_policy": 5, "create": 2}
    bench.engine.just_before(operation, *[refuse] * often.get(operation, 1))
    outcome = bench.run()
    assert (outcome.effect, outcome.reason) == (Effect.FAILED, "engine_error")
    assert bench.assert_whole("old").id == bench.old
    assert list(bench.names()) == ["web"]
    assert bench.run().reason == "updated"


@pytest.mark.parametrize(
    ("operation", "exit_code", "error"),
    [
        ("start_container", 127, "exec: not found"),
        ("start_container", 128, "unable to find user app: no matching entries in passwd file"),
        ("start_container", 128, "OCI runtime create failed: runc create failed: Cwd must be an absolute path"),
        ("create", 0, "no command specified"),
    ],
)
def test_one_that_cannot_run_is_barred_until_somebody_plans_without_limits(
    bench: Bench, operation: str, exit_code: int, error: str
) -> None:
    def refuse() -> None:
        bench.engine.alter("web", "die", exit_code=exit_code)
        raise AnswerError(error)

    bench.engine.just_before(operation, refuse)
    assert bench.run().reason == "rolled_back"
    assert bench.assert_whole("old").id == bench.old
    assert list(bench.names()) == ["web"]
    assert bench.run().reason == "barred"
    assert bench.run(over_limits=True).reason == "updated"


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"project": "shop", "service": "web", "config-hash": "a"}, "barred"),
        ({"project": "shop", "service": "cron", "config-hash": "a"}, "updated"),
        ({"project": "other", "service": "web", "config-hash": "a"}, "updated"),
        ({"project": "shop", "service": "web", "version": "2.40.3", "container-number": "2"}, "barred"),
        ({"project": "shop", "service": "web", "version": "2.40.3"}, "updated"),  # of an image that Compose built
        ({}, "updated"),
    ],
)
def test_an_image_is_barred_for_all_that_compose_makes_for_one_service(
    tmp_path: Path, labels: dict[str, str], told: str
) -> None:
    def made(**labels: str) -> dict[str, str]:
        return {f"com.docker.compose.{key}": value for key, value in labels.items()}

    bench = Bench(tmp_path, labels=made(project="shop", service="web", **{"config-hash": "a"}))
    bench.engine.run(a_container("two", "app:1", labels=made(**labels)))
    bench.engine.alter("two", "update", image_id=image_id("old"))
    bench.meanwhile(health="unhealthy")
    assert bench.run().reason == "rolled_back"
    bench.patched.undo()
    assert bench.run("two").reason == told


def test_what_is_for_another_platform_is_pulled_once_for_all_of_a_tag(bench: Bench) -> None:
    digest = f"sha256:{'2' * 64}"
    bench.ground._registry.digests["docker.io/library/app:1"] = digest
    bench.engine.served[f"docker.io/library/app@{digest}"] = an_image("arm", inspected=details(platform="linux/arm64"))
    bench.engine.run(a_container("two", "app:1"))
    bench.engine.alter("two", "update", image_id=image_id("old"))
    assert bench.run(pull=True).reason == "other_platform"
    bench.engine.just_before("pull_image", lambda: pytest.fail("it was pulled again"))
    assert [bench.run(name, pull=True).reason for name in ("web", "two")] == ["barred", "barred"]


def test_an_image_that_somebody_removes_before_it_is_used_is_tried_when_it_is_back(bench: Bench) -> None:
    def refuse() -> None:
        raise NotFoundError("no such image: app:1")

    bench.engine.just_before("create", refuse)
    assert [bench.run().reason, bench.run().reason] == ["gone", "updated"]


@pytest.mark.parametrize("error", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_bars_no_image(bench: Bench, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.engine, "last_lines", lambda *_: [f"write: {error}"])
    bench.meanwhile(running=False, state="exited", exit_code=1)
    assert bench.run().reason == "engine_error"
    bench.assert_whole("old")


@pytest.mark.parametrize(
    ("what", "fields", "why"),
    [
        ("pause", {"state": "paused"}, "is still paused"),
        ("kill", {"running": False, "state": "exited"}, "was stopped by somebody"),
    ],
)
def test_what_somebody_does_to_the_new_one_bars_no_image(
    bench: Bench, what: str, fields: dict[str, Any], why: str
) -> None:
    bench.meanwhile(what, **fields)
    outcome = bench.run()
    assert (outcome.effect, outcome.reason, why in outcome.detail) == (Effect.SKIPPED, "changed", True)
    assert bench.assert_whole("old").id == bench.old
    bench.patched.undo()
    assert bench.run().reason == "updated"


def test_one_that_somebody_removes_meanwhile_bars_no_image(bench: Bench) -> None:
    before = bench.ground._sleep

    def remove(seconds: float) -> None:
        before(seconds)
        bench.engine._containers.pop(bench.names()["web"].id)

    bench.patched.setattr(bench.ground, "_sleep", remove)
    outcome = bench.run()
    assert (outcome.effect, outcome.reason) == (Effect.SKIPPED, "changed"), outcome
    assert "the new container was removed by somebody; the old one is back" in outcome.detail
    assert bench.assert_whole("old").id == bench.old
    bench.patched.undo()
    assert bench.run().reason == "updated"


@pytest.mark.parametrize("fields", [{"running": False, "state": "exited"}, {"name": "renamed"}])
def test_what_somebody_stops_or_renames_before_the_swap_stays_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    amend = bench.intents.amend

    def meddle(number: int, recipe: Recipe) -> None:
        bench.engine.alter(bench.old, "meddle", **fields)
        monkeypatch.setattr(bench.intents, "amend", amend)
        amend(number, recipe)

    monkeypatch.setattr(bench.intents, "amend", meddle)
    assert bench.run().reason == "changed"
    [only] = bench.names().values()
    assert all(getattr(only, key) == value for key, value in fields.items())


def test_who_lives_in_its_network_is_made_again_after_it(bench: Bench) -> None:
    bench.engine.run(a_side(bench))
    outcome = bench.run()
    assert (outcome.reason, outcome.detail.endswith("made again after it: side")) == ("updated", True)
    web, side = bench.names()["web"], bench.names()["side"]
    assert (side.network_mode, side.running, side.image_id) == (f"container:{web.id}", True, image_id("side"))
    assert undo(bench).reason == "restored"
    assert bench.names()["side"].network_mode == f"container:{bench.old}"
    assert {each.name for each in bench.names().values() if each.running} == {"web", "side"} == set(bench.names())


def test_who_lives_in_one_that_is_made_again_is_so_after_that(bench: Bench) -> None:
    side = a_side(bench)
    inner = a_side(bench, "inner", side.id)
    bench.engine.run(inner)  # which the engine lists first
    bench.engine.run(side)
    assert (outcome := bench.run()).detail.endswith("made again after it: side, inner"), outcome
    stopped = [of for operation, of in bench.engine.calls if operation == "stop_container"]
    assert list(dict.fromkeys(stopped)) == [inner.id, side.id, bench.old]
    assert bench.names()["inner"].network_mode == f"container:{bench.names()['side'].id}"
    assert undo(bench).reason == "restored"
    assert bench.names()["inner"].network_mode == f"container:{side.id}"
    assert {each.name for each in bench.names().values() if each.running} == {"web", "side", "inner"}


def test_who_was_updated_in_its_network_before_it_is_made_again_and_both_go_back(bench: Bench) -> None:
    bench.engine.run(a_side(bench))
    bench.engine.put(an_image("side-new", "side:1"))
    assert [bench.run(name).reason for name in ("web", "side", "web")] == ["dependents", "updated", "updated"]
    web, side = bench.names()["web"], bench.names()["side"]
    assert (side.network_mode, side.running, side.image_id) == (f"container:{web.id}", True, image_id("side-new"))
    assert undo(bench, 1).reason == "taken"
    assert [undo(bench, number).reason for number in (2, 1)] == ["restored", "restored"]
    assert {each.name for each in bench.names().values() if each.running} == {"web", "side"} == set(bench.names())
    assert bench.names()["side"].network_mode == f"container:{bench.old}"


def test_one_that_could_not_start_any_more_does_not_come_back(bench: Bench) -> None:
    bench.engine.run(a_side(bench))
    bench.engine.put(an_image("side-new", "side:1"))
    bench.run("side")
    side = bench.names()["side"]
    bench.engine.alter("web", "die", running=False, state="exited")
    outcome = undo(bench)
    assert (outcome.effect, outcome.reason) == (Effect.REFUSED, "stale_namespace")
    assert bench.names()["side"] == side


def test_compose_s_restart_of_those_that_depend_on_it(bench: Bench) -> None:
    bench.engine.put(an_image("api", "api:1"))
    project, at = {"com.docker.compose.project": "shop"}, "com.docker.compose."
    bench.engine.alter("web", "update", labels=project | {f"{at}service": "db"})
    for name, asks in (("api", "true"), ("job", "false"), ("late", "true"), ("kept", "true")):
        labels = project | {f"{at}depends_on": f"db:service_started:{asks}"}
        labels |= {"dockwarden.protect": ""} if name == "kept" else {}
        bench.engine.run(a_container(name, "api:1", "api", labels=labels))
    bench.engine.put(an_image("api-new", "api:1"))
    steps = [bench.step("web"), bench.step("late")]
    outcomes = list(bench.ground.executor(bench.intents)(bench.engine.info).run("run", steps))
    assert [outcome.reason for outcome in outcomes] == ["updated", "updated"]  # which was not restarted before
    assert outcomes[0].detail.endswith("; restarted after it: api")
    assert [bench.engine.container(key).name for call, key in bench.engine.calls if call == "restart_container"] == [
        "api"
    ]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.integers(0, 90), min_size=1, max_size=4), is_away=st.booleans(), sides=st.integers(0, 2))
def test_wherever_it_is_cut_off_one_container_runs_afterwards(
    tmp_path: Path, kills: list[int], *, is_away: bool, sides: int
) -> None:
    bench = Bench(tmp_path)
    owners = ["web"]
    for name in ("side", "inner")[:sides]:
        bench.engine.run(a_side(bench, name, bench.names()[owners[-1]].id))
        owners.append(name)
    if is_away:
        bench.meanwhile()
    bench.steps_left, *more = kills
    with suppress(Killed):
        bench.run()
    for left in more:  # and so is what cleans up
        bench.steps_left = left
        with suppress(Killed):
            bench.end()
    bench.steps_left = -1
    bench.end()
    assert not bench.intents.open_intents()
    for owner, name in pairwise(owners):
        side = bench.names()[name]
        assert (side.running, side.network_mode) == (True, f"container:{bench.names()[owner].id}")
    for name in owners[1:]:
        bench.engine.alter(name, "die", running=False, state="exited")
    web = bench.assert_whole("old", "new")
    aside = [name for name in bench.names() if ASIDE in name]
    assert len(aside) == (web.id != bench.old) * (1 + sides)


@pytest.mark.parametrize("written", [0, 1])
def test_where_the_ledger_takes_no_more_the_old_one_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    amend = bench.intents.amend

    def fails_later(number: int, recipe: Recipe) -> None:
        nonlocal written
        bench.intents.full |= {"amend"} if not written else set()
        written -= 1
        amend(number, recipe)

    monkeypatch.setattr(bench.intents, "amend", fails_later)
    with suppress(LedgerError):
        bench.run()
    assert bench.assert_whole("old").id == bench.old
    bench.intents.full.clear()
    bench.end()
    assert not bench.intents.open_intents()
    assert list(bench.names()) == ["web"]


def test_the_engine_may_go_away_in_the_middle(bench: Bench) -> None:
    bench.engine.just_before("start_container", bench.engine.go_away)
    assert bench.run().reason == "engine_unavailable"
    bench.engine.come_back()
    assert [outcome.reason for outcome in bench.end()] == ["interrupted"]
    assert bench.assert_whole("old").id == bench.old


@pytest.mark.parametrize("denied", ["rename_container", "set_restart_policy", "start_container"])
def test_what_a_proxy_denies_amid_an_update_leaves_the_old_one_as_it_was(bench: Bench, denied: str) -> None:
    def deny() -> None:
        raise DeniedError("denied")

    bench.engine.just_before(denied, deny)
    assert bench.run().reason == "engine_unavailable"
    assert bench.assert_whole("old").id == bench.old
    assert list(bench.names()) == ["web"]


def test_a_new_one_that_the_engine_was_still_making_goes_as_well(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = bench.engine.create, []

    def cut_off(*arguments: Any) -> str:
        asked.append(partial(create, *arguments))
        raise EngineUnavailableError("the connection was lost")

    monkeypatch.setattr(bench.engine, "create", cut_off)
    assert bench.run().reason == "engine_unavailable"
    bench.engine.agenda.append((0.5, asked[0]))
    assert [outcome.reason for outcome in bench.end()] == ["interrupted"]
    assert not bench.engine.agenda
    assert bench.assert_whole("old").id == bench.old
    assert list(bench.names()) == ["web"]


def test_somebody_else_may_take_the_name_meanwhile(bench: Bench) -> None:
    def stranger() -> None:
        bench.engine.run(replace(a_container("web", "app:1", "new"), id="f" * 64, running=False, state="created"))

    bench.engine.just_before("rename_container", lambda: None, stranger)
    outcome = bench.run()
    assert (outcome.effect, outcome.reason) == (Effect.FAILED, "engine_error")
    assert len(bench.intents.open_intents()) == 1
    assert bench.names()["web"].id == "f" * 64
    assert bench.engine._container(bench.old).running  # under another name, but it serves
    bench.engine.remove("web")
    bench.end()
    assert bench.assert_whole("old").id == bench.old


@pytest.mark.parametrize("is_cut_short", [False, True])
@pytest.mark.parametrize("has_side", [False, True])
def test_who_makes_the_container_anew_keeps_it_and_the_old_one_can_be_had_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, is_cut_short: bool, has_side: bool
) -> None:
    if has_side:
        bench.engine.run(a_side(bench))

    def anew(seconds: float) -> None:
        bench.ground.slept.append(seconds)
        bench.engine.alter("web", "die", running=False, state="exited")
        bench.engine.remove("web")
        bench.engine.run(replace(a_container("web", "app:1", "new"), id="f" * 64))
        if is_cut_short:
            bench.engine.go_away()

    monkeypatch.setattr(bench.ground, "_sleep", anew)
    outcome = bench.run()
    bench.engine.come_back()
    [outcome] = bench.end() if is_cut_short else [outcome]
    old = bench.engine._container(bench.old)
    assert (outcome.effect, outcome.reason, old.name in outcome.detail) == (Effect.APPLIED, "replaced", True)
    assert [each.name for each in bench.names().values() if each.running and each.name != "side"] == ["web"]
    assert set(bench.names()) == {"web", old.name} | ({"side"} if has_side else set())
    assert (bench.names()["web"].id, bench.intents.open_intents()) == ("f" * 64, [])
    assert undo(bench).reason == "taken"
    bench.engine.alter("web", "die", running=False, state="exited")
    bench.engine.remove("web")
    assert undo(bench).reason == "restored"
    back = bench.names()["web"]
    assert (back.id, back.running, back.config.restart_policy) == (bench.old, True, "always")


@pytest.mark.parametrize("gone", ["old", "both"])
def test_somebody_may_remove_the_old_one_meanwhile(bench: Bench, monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    def remove(seconds: float) -> None:
        for each in [*bench.names()]:
            if gone == "both" or ASIDE in each:
                bench.engine.alter(each, "die", running=False, state="exited")
                bench.engine.remove(each)
        bench.ground.slept.append(seconds)
        bench.engine.go_away()

    monkeypatch.setattr(bench.ground, "_sleep", remove)
    bench.run()
    bench.engine.come_back()
    bench.end()
    assert not bench.intents.open_intents()
    if gone == "old":
        bench.assert_whole("new")


def undo(bench: Bench, number: int = 1) -> Outcome:
    """One of its updates, by number."""
    every = [
        Record(number, "run", step.policy, step.action, step.ref, step.name, 0.0, 1.0, bench.intents.recipes[number])
        for number, step in bench.intents.written.items()
    ]
    [outcome] = Undoer(bench.ground.tools(bench.intents), bench.intents).undo(
        f"undo {number}", every[number - 1 : number]
    )
    return outcome


@pytest.mark.parametrize("request_", ["stop_container", "rename_container", "start_container"])
def test_an_undo_amid_which_the_engine_goes_away_goes_on_when_it_is_back(bench: Bench, request_: str) -> None:
    assert bench.run().reason == "updated"
    bench.engine.just_before(request_, bench.engine.go_away)
    assert undo(bench).reason == "engine_unavailable"
    bench.engine.come_back()
    assert [outcome.reason for outcome in bench.end()] == ["restored"]
    assert bench.assert_whole("old").id == bench.old
    assert not bench.intents.open_intents()


def test_an_older_update_is_undone_after_the_newer_one(bench: Bench) -> None:
    bench.run()
    bench.engine.put(an_image("newest", "app:1"))
    assert bench.run().reason == "updated"
    outcome = undo(bench)
    assert (outcome.reason, outcome.detail.endswith("by now: `dockwarden undo 2` first")) == ("taken", True), outcome
    bench.assert_whole("newest")
    assert [undo(bench, number).reason for number in (2, 1)] == ["restored", "restored"]
    assert bench.assert_whole("old").id == bench.old
    assert list(bench.names()) == ["web"]


def test_whenever_its_undo_is_killed_the_next_start_brings_the_old_one_up_unless_nothing_was_done(
    tmp_path: Path,
) -> None:
    cut_short, ended = 0, []
    while True:
        bench = Bench(tmp_path / str(cut_short))
        bench.run()
        before = bench.names()
        bench.steps_left = cut_short
        try:
            undo(bench)
        except Killed:
            bench.steps_left = -1
        else:
            break
        was_begun = bench.names() != before
        [outcome] = bench.end()
        assert (outcome.action, outcome.reason) == ("undo", "restored" if was_begun else "interrupted")
        if not was_begun:  # who stopped it need not want it any more, and says so again else
            assert bench.names() == before
            assert undo(bench).reason == "restored"
        assert bench.intents.undoable() == []
        assert bench.assert_whole("old").id == bench.old
        ended.append(outcome.reason)
        cut_short += 1
    assert (len(ended) > 10, {*ended}) == (True, {"restored", "interrupted"})


def test_an_undo_that_was_killed_is_not_gone_on_with_where_somebody_took_the_name(bench: Bench) -> None:
    bench.run()
    bench.steps_left = 0
    with suppress(Killed):
        undo(bench)
    bench.steps_left = -1
    bench.engine.alter("web", "rename", name="elsewhere")
    bench.engine.run(replace(a_container("web", "app:1", "old"), id="f" * 64))
    before = bench.names()
    assert [outcome.reason for outcome in bench.end()] == ["taken"]
    assert (bench.names(), len(bench.intents.undoable()), bench.intents.open_intents()) == (before, 1, [])


def test_an_undo_that_was_killed_and_that_the_engine_refuses_is_gone_on_with_once(bench: Bench) -> None:
    bench.run()
    new = bench.names()["web"].id
    bench.engine.wrote["web"] = Written(("/var/log/app.log",))  # so it is kept
    bench.engine.errors["start_container", bench.old] = AnswerError("port is already allocated")
    bench.engine.just_before("stop_container", lambda: setattr(bench, "steps_left", 0))
    with suppress(Killed):
        undo(bench)
    bench.steps_left = -1
    [outcome] = bench.end()
    assert (outcome.effect, outcome.detail) == (Effect.FAILED, "port is already allocated")
    bench.engine.start_container(new)  # somebody has it run again
    assert (bench.end(), bench.engine.container(new).running) == ([], True)
    del bench.engine.errors["start_container", bench.old]
    assert undo(bench).reason == "restored"


def test_an_action_of_a_newer_version_that_was_cut_short_keeps_no_older_one_from_starting(bench: Bench) -> None:
    bench.intents.intend("run", bench.step()._replace(action="unheard-of"), Recipe("none", {}))
    assert [outcome.reason for outcome in bench.end()] == ["interrupted"]


def test_it_is_not_undone_beside_a_container_of_somebody_else_that_has_the_name(bench: Bench) -> None:
    bench.run()
    bench.engine.alter("web", "rename", name="elsewhere")
    bench.engine.run(replace(a_container("web", "app:1", "old"), id="f" * 64))
    before = bench.names()
    outcome = undo(bench)
    assert (outcome.reason, bench.names()) == ("taken", before), outcome


@pytest.mark.parametrize("hours", [-3, 3])
@pytest.mark.parametrize("is_good", [True, False])
@pytest.mark.parametrize("call", ["create", "stop_container", "start_container", "container"])
def test_the_wall_clock_may_be_set_meanwhile(bench: Bench, call: str, hours: int, *, is_good: bool) -> None:
    if not is_good:
        bench.meanwhile(health="starting")
    bench.engine.just_before(
        call, *[lambda: None] * 6 * (call == "container"), partial(bench.engine.clock.set_back, 3600 * hours)
    )
    outcome = bench.run()
    assert outcome.reason == ("updated" if is_good else "rolled_back"), outcome
    bench.assert_whole("new" if is_good else "old")
    assert sum(bench.ground.slept) == pytest.approx(30.0 if is_good else 120.0, abs=1.0)


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_stop_by_somebody_is_one_though_the_clock_was_set(bench: Bench, hours: int) -> None:
    bench.meanwhile("kill", running=False, state="exited")
    bench.engine.just_before("start_container", lambda: None)
    sleep = bench.ground._sleep

    def set_and_sleep(seconds: float) -> None:
        if bench.ground._sleep is not sleep:
            bench.patched.setattr(bench.ground, "_sleep", sleep)
            bench.engine.clock.set_back(3600 * hours)
        sleep(seconds)

    bench.patched.setattr(bench.ground, "_sleep", set_and_sleep)
    assert bench.run().reason == "changed"


def test_what_could_not_be_taken_back_at_once_is_barred_as_well(bench: Bench) -> None:
    def refuse() -> None:
        raise AnswerError("no")

    bench.meanwhile(health="unhealthy")
    bench.engine.just_before("remove_container", refuse)
    assert bench.run().reason == "engine_error"
    [ended] = bench.end()
    assert (ended.effect, ended.reason, "is unhealthy" in ended.detail) == (Effect.FAILED, "rolled_back", True), ended
    bench.assert_whole("old")
    assert bench.run().reason == "barred"


def test_a_plan_says_what_it_would_do(bench: Bench) -> None:
    bench.engine.run(a_side(bench))
    bench.engine.alter("web", "update", mounts=(a_mount("api", "/run/api/socket"),))
    bench.engine.wrote["web"] = Written(("/run", "/run/api", "/var", "/var/log", "/var/log/app.log"))
    told = bench.ground.executor(bench.intents)(bench.engine.info).foresee(bench.step())
    for part in (f"to {image_id('new')}", "made again after it: side", "1 file, such as /var/log/app.log"):
        assert part in told, told
    bench.engine.unname("app:1")
    assert bench.ground.executor(bench.intents)(bench.engine.info).foresee(bench.step()).startswith("but not now")


def test_a_tag_that_names_another_image_than_was_judged_changes_nothing(bench: Bench) -> None:
    step = bench.step()._replace(digest=image_id("another"))
    [outcome] = bench.ground.executor(bench.intents)(bench.engine.info).run("run", [step])
    assert (outcome.reason, bench.names()["web"].id) == ("changed", bench.old)


def test_what_an_update_needs_and_is_gone_is_named(bench: Bench) -> None:
    bench.engine.errors["parameters"] = MissingError(Kind.NETWORK, "front")
    outcome = bench.run()
    assert (outcome.effect, outcome.reason, outcome.detail) == (
        Effect.SKIPPED,
        "gone",
        "it needs the network front, which is gone",
    )


def test_an_update_can_be_undone(bench: Bench) -> None:
    bench.run()
    assert undo(bench).reason == "restored"
    assert bench.run().reason == "barred"
    assert bench.assert_whole("old").id == bench.old
    assert list(bench.names()) == ["web"]


def test_what_an_undo_kept_is_none_of_a_later_update_s(bench: Bench) -> None:
    kept: list[str] = []
    for number in (1, 3):
        assert bench.run(over_limits=True).reason == "updated"
        bench.engine.wrote["web"] = Written(("/var/log/app.log",))
        kept.append(bench.names()["web"].id)
        outcome = undo(bench, number)
        bench.engine.wrote = {bench.engine.container(each).name: Written(("/var/log/app.log",)) for each in kept}
        assert (outcome.reason, bench.engine.container(kept[-1]).name in outcome.detail) == ("restored", True)
        bench.assert_whole("old")
        assert {each.id for each in bench.names().values()} == {bench.old, *kept}


def test_what_another_process_makes_under_the_same_name_stays(bench: Bench) -> None:
    """Two daemons, with a ledger each, on one engine."""
    bench.engine.just_before("stop_container", lambda: setattr(bench, "steps_left", 0))
    with suppress(Killed):
        bench.run()
    bench.steps_left, bench.intents = -1, FakeIntents()
    [made] = (name for name, each in bench.names().items() if each.id != bench.old)
    bench.engine.alter(made, "create", created_at=bench.engine.clock.time())
    before, outcome = bench.names(), bench.run()
    assert (outcome.effect, outcome.reason) == (Effect.REFUSED, "conflict")
    assert ".new" in outcome.detail
    assert bench.names() == before


def test_what_an_engine_made_too_late_is_in_the_way_of_one_run_only(bench: Bench) -> None:
    bench.engine.just_before("stop_container", lambda: setattr(bench, "steps_left", 0))
    with suppress(Killed):
        bench.run()
    bench.steps_left = -1
    [made] = (each for each in bench.names().values() if each.id != bench.old)
    assert [outcome.reason for outcome in bench.end()] == ["interrupted"]
    bench.engine.run(replace(made, created_at=bench.engine.clock.time() - HOUR - 1))
    assert [bench.run().reason for _ in range(2)] == ["conflict", "updated"]
    bench.assert_whole("new")


def test_undo_without_the_old_one_says_what_to_do(bench: Bench) -> None:
    bench.run()
    [aside] = [name for name in bench.names() if ASIDE in name]
    bench.engine.remove(aside)
    outcome = undo(bench)
    assert (outcome.effect, outcome.reason) == (Effect.FAILED, "gone")
    assert "undo its removal first" in outcome.detail
    bench.assert_whole("new")


@pytest.mark.parametrize(
    ("image_ref", "is_pinned"),
    [("db", False), ("a", False), ("sha256", False), ("cafe", False), ("dbca", True), ("app@sha256:" + "0" * 64, True),
     ("db" * 32, True), (f"sha256:{'0' * 64}", True)],
)  # fmt: skip
def test_a_name_is_no_part_of_an_image_id(image_ref: str, *, is_pinned: bool) -> None:
    container = replace(a_container("web", image_ref), image_id=f"sha256:dbca{'cafe' * 15}")
    nobody: Any = None
    assert bool(ContainerUpdate().keeps(nobody, nobody, container, 0)) is is_pinned


@pytest.mark.parametrize("is_one_off", ["True", "False"])
def test_what_compose_run_made_would_run_once_more(is_one_off: str) -> None:
    container = a_container("web", "app:1", labels={"com.docker.compose.oneoff": is_one_off})
    nobody: Any = None
    kept = ContainerUpdate().keeps(nobody, nobody, container, 0)
    assert (kept or [""])[0] == ("job" if is_one_off == "True" else "")


@pytest.mark.parametrize(
    ("change", "effect", "reason"),
    [
        (lambda bench: bench.engine.put(with_tags(an_image("old"), "app:1")), Effect.SKIPPED, "changed"),
        (lambda bench: bench.engine.unname("app:1"), Effect.SKIPPED, "changed"),
        (
            lambda bench: bench.engine.run(a_side(bench, **{"dockwarden.protect": ""})),
            Effect.REFUSED,
            "dependents",
        ),
    ],
)
def test_what_it_must_not_touch_it_refuses(
    bench: Bench, change: Callable[[Bench], None], effect: Effect, reason: str
) -> None:
    change(bench)
    outcome = bench.run()
    assert (outcome.effect, outcome.reason) == (effect, reason)
    assert bench.names()["web"].id == bench.old
    assert bench.intents.written == {}

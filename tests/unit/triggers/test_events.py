"""Reading events: nothing but reading, no hole that is not noticed, and back after every loss."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from dockwarden.errors import AnswerError
from dockwarden.metrics import Metrics
from dockwarden.model import Dirty, Kind
from dockwarden.triggers import events as module
from dockwarden.triggers.events import EventReader
from dockwarden.triggers.queue import Batch, Queue
from tests.builders import a_container, a_network, an_image
from tests.fakes import REMEMBERED_EVENTS, SECOND_NS, Clockwork, FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 30.0
WEB = a_container("web").id
APP_2 = "docker.io/library/app:2"


class Following:
    """A reader whose engine, clock and back-off belong to the test; it reads until the agenda says stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = FakeEngine()
        self.clock = self.engine.clock
        self.metrics = Metrics()
        self.queue = Queue(self.metrics)
        self.reader = EventReader(self.engine, self.queue, self.metrics, WINDOW)
        self.failures: list[int] = []
        self.backoff_seconds = 5.0
        monkeypatch.setattr(module, "time", self.clock)
        monkeypatch.setattr(module, "_backoff_seconds", self._backoff)

    def _backoff(self, failures: int) -> float:
        self.failures.append(failures)
        self.clock.pass_(self.backoff_seconds)
        return 0.0

    def follow(self, *agenda: tuple[float, Callable[[], object]]) -> None:
        """Read while the agenda goes on, each entry so many seconds after the one before, and a window beyond it."""
        self.engine.agenda.extend(agenda)
        self.engine.agenda.append((WINDOW + 1, self.reader.stop))
        self.engine.agenda.append((WINDOW, lambda: None))
        self.reader.run()

    def batch(self) -> Batch:
        return self.queue.take(0) or Batch()

    def take_start(self) -> None:
        """The resync that every connection brings is not what the test is about."""
        self.queue.take(0)

    def dirty(self) -> list[Dirty]:
        return [dirty for dirty, _ in self.batch().dirty]

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"dockwarden_{name}", labels)

    def windows(self) -> list[tuple[int, int]]:
        spans = [argument.split() for operation, argument in self.engine.calls if operation == "events"]
        return [(int(since), int(until)) for since, until in spans]


@pytest.fixture
def following(monkeypatch: pytest.MonkeyPatch) -> Following:
    return Following(monkeypatch)


# -- connecting --------------------------------------------------------------------------------------------


def test_a_first_connection_asks_for_everything_once_the_subscription_stands(following: Following) -> None:
    early: list[Batch] = []
    following.engine.just_before("connect", lambda: early.append(following.batch()))
    following.engine.just_before("events", lambda: early.append(following.batch()))
    following.follow()
    assert early == [Batch(), Batch()]
    assert [operation for operation, _ in following.engine.calls][:2] == ["connect", "events"]
    assert following.batch() == Batch(resync="startup", connected=following.engine.info)
    assert following.value("engine_up") == 1
    labels = {"version": "20.10.24", "api_version": "1.41", "image_store": "graph"}
    assert following.value("engine_info", **labels) == 1


def test_an_engine_that_is_away_at_first_is_waited_for(following: Following) -> None:
    following.engine.go_away()
    following.engine.just_before("connect", *[lambda: None] * 3, following.engine.come_back)
    following.follow()
    assert following.failures == [1, 2, 3]
    assert following.batch() == Batch(resync="startup", connected=following.engine.info)
    assert following.value("events_reconnects_total") == 0


def test_a_stop_ends_the_reader_though_the_engine_is_away(following: Following) -> None:
    following.engine.go_away()
    following.engine.just_before("connect", lambda: None, following.reader.stop)
    following.reader.run()
    assert following.failures == [1]


def test_the_first_loss_is_an_error_and_the_next_tries_are_not(following: Following) -> None:
    following.engine.go_away()
    following.engine.just_before("connect", *[lambda: None] * 20, following.engine.come_back)
    following.backoff_seconds = 100.0
    with capture_logs() as lines:
        following.follow()
    levels = [line["log_level"] for line in lines if line["event"] == "engine.unreachable"]
    assert levels == ["error"] + ["debug"] * 19


def test_waits_grow_while_the_engine_is_away_for_long(following: Following) -> None:
    following.backoff_seconds = 100.0
    following.engine.go_away()
    following.engine.just_before("connect", *[lambda: None] * 4, following.engine.come_back)
    following.follow()
    assert following.failures == [1, 2, 3, 4]


# -- losing ------------------------------------------------------------------------------------------------


def lose_and_return(following: Following) -> tuple[float, Callable[[], object]]:
    def lose() -> None:
        following.engine.go_away()
        following.engine.just_before("connect", lambda: None, following.engine.come_back)

    return 1.0, lose


def test_a_lost_engine_is_told_at_once_and_everything_listed_when_it_is_back(following: Following) -> None:
    seen: list[tuple[Batch, float | None]] = []
    following.engine.just_before(
        "connect",
        lambda: None,
        lambda: seen.append((following.batch(), following.value("engine_up"))),
        following.engine.come_back,
    )
    following.follow((1.0, following.engine.go_away))
    [(batch, up)] = seen
    assert (batch.lost, batch.resync, up) == (True, "", 0.0)
    assert following.batch().resync == "startup", "nothing was listed yet"
    assert following.value("events_reconnects_total") == 1
    assert following.value("engine_up") == 1


def test_after_a_complete_list_the_next_connection_is_a_reconnection(following: Following) -> None:
    following.metrics.health.inventory_complete = True
    following.follow(lose_and_return(following))
    assert following.batch().resync == "reconnect"


def test_a_connection_that_held_long_makes_the_next_wait_short_again(following: Following) -> None:
    following.follow(lose_and_return(following), (61.0, lambda: None), lose_and_return(following))
    assert following.failures == [1, 2, 1, 2]


def test_connections_that_break_at_once_make_the_waits_grow(following: Following) -> None:
    following.follow(lose_and_return(following), lose_and_return(following))
    assert following.failures == [1, 2, 3, 4]


def test_an_answer_that_cannot_be_used_is_a_loss_too(following: Following) -> None:
    following.engine.errors["connect"] = AnswerError("this is Podman")
    following.engine.just_before("connect", lambda: None, following.engine.errors.clear)
    following.follow()
    assert following.failures == [1]
    assert following.batch().connected is not None


def test_the_reason_of_a_loss_is_what_readiness_says(following: Following) -> None:
    following.engine.just_before("connect", lambda: None, following.reader.stop)
    following.follow((1.0, following.engine.go_away))
    assert any("nothing listens" in reason for reason in following.metrics.health.unready())


# -- reading -----------------------------------------------------------------------------------------------


def test_each_event_becomes_a_hint_with_the_engines_time(following: Following) -> None:
    began = following.clock.now_ns
    engine = following.engine
    following.follow(
        (1.0, partial(engine.put, an_image("app", "app:1"))),
        (1.0, partial(engine.name, "app:1", "app:2")),
        (1.0, partial(engine.pull, an_image("app"), "app:3")),
        (1.0, partial(engine.run, a_container("web"))),
    )
    second = [(dirty, (at - began) // SECOND_NS) for dirty, at in following.batch().dirty]
    assert second == [
        (Dirty(Kind.IMAGE, an_image("app").id, named=APP_2), 2),
        (Dirty(Kind.TAG, APP_2), 2),
        (Dirty(Kind.IMAGE, "app:3", pulled=True), 3),
        (Dirty(Kind.IMAGE, "app:1", used_by=WEB), 4),
        (Dirty(Kind.CONTAINER, WEB), 4),
    ]
    assert following.value("events_received_total", type="container", action="start") == 1
    assert following.value("events_last_received_timestamp_seconds") == (began + 4 * SECOND_NS) / SECOND_NS


def test_a_network_that_a_container_joins_or_leaves_marks_both(following: Following) -> None:
    front = a_network("front")
    following.engine.run(a_container("web"))
    following.clock.pass_(1)
    following.follow((1.0, partial(following.engine.attach, front, "web")))
    assert following.dirty() == [Dirty(Kind.NETWORK, front.id, used_by=WEB), Dirty(Kind.CONTAINER, WEB)]


def test_a_name_that_is_set_marks_whoever_had_it(following: Following) -> None:
    following.engine.put(an_image("app", "app:1"))
    following.follow((1.0, partial(following.engine.name, "app:1", "app:2")))
    assert following.dirty() == [Dirty(Kind.IMAGE, an_image("app").id, named=APP_2), Dirty(Kind.TAG, APP_2)]


def test_a_network_that_is_made_marks_no_container(following: Following) -> None:
    following.follow((1.0, partial(following.engine.add_network, a_network("front"))))
    assert following.dirty() == [Dirty(Kind.NETWORK, a_network("front").id)]


def test_the_past_is_not_replayed_at_the_start(following: Following) -> None:
    following.engine.run(a_container("web"))
    following.clock.pass_(1)
    following.follow()
    assert following.dirty() == []


def test_the_reader_asks_the_engine_for_nothing_but_events(following: Following) -> None:
    following.follow(*[(1.0, partial(following.engine.emit, "container", "start", WEB))] * 50)
    assert {operation for operation, _ in following.engine.calls} == {"connect", "events"}


def test_every_window_is_a_sign_of_life(following: Following) -> None:
    following.follow((100.0, lambda: None))
    assert following.metrics.health.beats["events"] > 100


# -- from window to window -----------------------------------------------------------------------------------


def test_windows_overlap_by_a_moment_and_have_the_asked_length(following: Following) -> None:
    following.follow((100.0, lambda: None))
    windows = following.windows()
    assert len(windows) >= 4
    for (_, until), (since, next_until) in itertools.pairwise(windows):
        assert 0 < until - since <= SECOND_NS // 100
        assert next_until - until == WINDOW * SECOND_NS
    assert following.value("events_gaps_total") == 0
    assert following.batch().resync == "startup"


def test_an_event_in_the_overlap_is_seen_once(following: Following) -> None:
    half_a_ms = 0.0005
    following.follow(
        (WINDOW - half_a_ms, partial(following.engine.emit, "container", "die", WEB)),
        (1.0, partial(following.engine.emit, "container", "start", WEB)),
    )
    assert len(following.windows()) >= 2
    assert following.value("events_received_total", type="container", action="die") == 1
    assert following.value("events_received_total", type="container", action="start") == 1


def test_two_events_of_the_same_moment_are_both_seen(following: Following) -> None:
    def two() -> None:
        following.engine.emit("container", "die", WEB)
        following.engine.emit("container", "die", a_container("other").id)

    following.follow((WINDOW - 0.0005, two))
    assert following.value("events_received_total", type="container", action="die") == 2


def test_an_event_between_two_windows_is_not_lost(following: Following) -> None:
    def late() -> None:
        following.engine.emit("container", "die", WEB)
        following.clock.pass_(0.05)

    following.engine.just_before("events", lambda: None, late)
    following.follow()
    assert following.dirty() == [Dirty(Kind.CONTAINER, WEB)]
    assert following.value("events_gaps_total") == 0


# -- gaps ----------------------------------------------------------------------------------------------------


def stalled(following: Following, seconds: float, events: int = 0) -> None:
    """Between the first and the second window the reader is held up, while the engine emits events."""

    def stall() -> None:
        following.take_start()
        for _ in range(events):
            following.engine.emit("container", "exec_start", WEB)
        following.clock.pass_(seconds)

    following.engine.just_before("events", lambda: None, stall)
    following.follow()


def test_a_short_stall_cannot_have_lost_anything(following: Following) -> None:
    stalled(following, 0.09, events=3)
    assert following.value("events_gaps_total") == 0
    assert following.batch().resync == ""
    assert "replayed" not in [operation for operation, _ in following.engine.calls]


def test_a_longer_stall_with_few_events_has_lost_nothing(following: Following) -> None:
    stalled(following, 0.5, events=REMEMBERED_EVENTS - 1)
    assert following.value("events_gaps_total") == 0
    assert following.batch().resync == ""


def test_a_longer_stall_with_as_many_events_as_the_engine_remembers_may_have_lost_some(following: Following) -> None:
    stalled(following, 0.5, events=REMEMBERED_EVENTS)
    assert following.value("events_gaps_total") == 1
    assert following.batch().resync == "gap"


@pytest.mark.parametrize("seconds", [1.1, 3600.0])
def test_a_long_stall_is_a_gap_whatever_the_engine_remembers(following: Following, seconds: float) -> None:
    stalled(following, seconds)
    assert following.value("events_gaps_total")
    assert following.batch().resync == "gap"


def test_a_clock_that_was_set_back_is_a_gap(following: Following) -> None:
    def set_back() -> None:
        following.take_start()
        following.clock.set_back(3600)

    following.engine.just_before("events", lambda: None, set_back)
    following.follow()
    assert following.value("events_gaps_total") == 1
    assert following.batch().resync == "gap"


def test_an_event_that_lay_unread_for_long_is_a_gap(following: Following) -> None:
    def asleep() -> None:
        following.engine.emit("container", "start", WEB)
        following.clock.pass_(2)
        following.take_start()

    following.follow((1.0, asleep))
    assert following.value("events_gaps_total") == 1
    batch = following.batch()
    assert (batch.resync, [dirty for dirty, _ in batch.dirty]) == ("gap", [Dirty(Kind.CONTAINER, WEB)])


def test_after_a_gap_reading_goes_on(following: Following) -> None:
    def fall_behind() -> None:
        following.clock.pass_(5)
        following.take_start()

    following.engine.just_before("events", lambda: None, fall_behind)
    following.follow((WINDOW + 1, partial(following.engine.emit, "container", "start", WEB)))
    batch = following.batch()
    assert (batch.resync, [dirty for dirty, _ in batch.dirty]) == ("gap", [Dirty(Kind.CONTAINER, WEB)])
    assert following.value("events_gaps_total") == 1


def test_an_engine_that_is_slow_to_tell_of_itself_has_no_gap_for_that(following: Following) -> None:
    """What happens meanwhile is read late, and a list that is asked for after it shows it."""

    def fall_behind() -> None:
        following.clock.pass_(5)
        following.take_start()

    def ponder() -> None:
        following.engine.emit("container", "start", WEB)
        following.clock.pass_(3)

    following.engine.just_before("events", lambda: None, fall_behind)
    following.engine.just_before("connect", lambda: None, *[ponder] * 20)
    following.follow(*[(WINDOW + 1, lambda: None)] * 5)
    assert following.value("events_received_total", type="container", action="start") == 1  # read, and late
    assert following.value("events_gaps_total") == 1


@pytest.mark.parametrize("seconds", [-2.5, 2.5])
def test_a_clock_that_goes_away_from_the_engines_is_measured_anew(
    following: Following, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """By itself, as a host's without NTP does; then no window and no event is late."""
    ours, ahead = Clockwork(), 0.0
    monkeypatch.setattr(module, "time", ours)
    monkeypatch.setattr(ours, "time_ns", lambda: following.clock.now_ns + round(ahead * SECOND_NS))

    def drift() -> None:
        nonlocal ahead
        ahead = seconds
        following.take_start()

    def measured() -> None:
        following.engine.info = replace(following.engine.info, clock_offset_seconds=-ahead)

    following.engine.just_before("connect", *[measured] * 20)
    started = partial(following.engine.emit, "container", "start", WEB)
    following.follow((1.0, drift), *[(WINDOW + 1, started)] * 5)
    assert following.value("events_received_total", type="container", action="start") == 5
    assert following.value("events_gaps_total") in (0, 1)


# -- waiting -------------------------------------------------------------------------------------------------


def test_waits_are_bounded_grow_and_differ() -> None:
    waits = {failures: [module._backoff_seconds(failures) for _ in range(50)] for failures in (1, 3, 1000)}
    assert all(0 < wait <= 15 for each in waits.values() for wait in each)
    assert max(waits[1]) < min(waits[1000])
    assert len(set(waits[1])) > 1

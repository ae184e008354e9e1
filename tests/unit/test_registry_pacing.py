"""Registries that want to be asked less, do not answer, or say how much is left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from dockwarden.ports import Ask, Reply
from dockwarden.registry.lanes import Lane
from tests.lab.loopback import free_port
from tests.lab.waiting import until
from tests.tables import each
from tests.unit.misbehaving import RESET, Misbehaving
from tests.unit.registries import DIGEST, OK, SOON, Clock, ask, asking, client, head, image, reason, sha

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.unit.misbehaving import Asked

GOOD = Reply(digest=DIGEST)
DATE = "Date: Mon, 23 Nov 2026 10:00:00 GMT"


def limit(*headers: str) -> bytes:
    return head(*headers, status=429)


class Refusing:
    """Refuses so many times, then answers."""

    def __init__(self, refusal: bytes, times: int) -> None:
        self.refusal, self.times = refusal, times

    def __call__(self, _asked: Asked) -> Iterable[bytes]:
        self.times -= 1
        return [self.refusal if self.times >= 0 else OK]


@each(
    ("headers", "pauses"),
    [
        (["Retry-After: 0"], [0.05]),
        (["Retry-After: 0.0004"], [0.05]),
        (["Retry-After: 0.4"], [0.4]),
        (["Retry-After: 3"], [3]),
        (["Retry-After: 30"], [30]),
        (["Retry-After: Mon, 23 Nov 2026 10:00:07 GMT", DATE], [7]),
        (["Retry-After: Mon, 23 Nov 2026 09:00:00 GMT", DATE], [0.05]),
        (["Retry-After: Mon, 23 Nov 2026 10:00:07 GMT"], [1]),
        (["Retry-After: Mon, 23 Nov 2026 10:00:07", DATE], [1]),
        (["Retry-After: a while"], [1]),
        (["Retry-After: -3"], [1]),
        (["Retry-After: nan"], [1]),
        (["Retry-After: 3", "Retry-After: 4"], [1]),
        (["Retry-After: "], [1]),
        ([], [1]),
    ],
)
def test_refusal_is_waited_for(headers: list[str], pauses: list[float]) -> None:
    clock = Clock()
    with asking(Refusing(limit(*headers), 1), clock) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == GOOD
        assert clock.pauses == pytest.approx(pauses)
        assert len(server.asked) == 2


@each(
    ("headers", "pauses"),
    [
        (["Retry-After: 0.0004"], [0.05, 0.1, 0.2]),
        (["Retry-After: 5"], [5, 5, 5]),
        (["Retry-After: 12"], [12, 12]),
        (["Retry-After: 30"], [30]),
        (["Retry-After: 31"], []),
        (["Retry-After: 9999999999"], []),
        ([], [1, 1, 1]),
    ],
)
def test_refusals_in_a_row_are_waited_for_a_few_times_and_half_a_minute_at_most(
    headers: list[str], pauses: list[float]
) -> None:
    clock = Clock()
    with asking(Refusing(limit(*headers), len(pauses)), clock) as (registry, server):
        assert ask(registry, f"{server.host}/app:0") == GOOD
        assert clock.pauses == pytest.approx(pauses)
    clock = Clock()
    with asking(Refusing(limit(*headers), len(pauses) + 1), clock) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == reason("rate_limited")
        # Nobody else asks meanwhile, and nothing is held up.
        assert ask(registry, f"{server.host}/app:2") == reason("rate_limited")
        assert clock.pauses == pytest.approx(pauses)
        assert len(server.asked) == len(pauses) + 1
        clock.now += 3601
        assert ask(registry, f"{server.host}/app:1") == GOOD


PAGE = head("Content-Type: text/html", status=503)  # as of nginx, of whoever asks too often


@each("refusal", [limit("Retry-After: 0.0004"), limit("Retry-After: 1"), limit("Retry-After: 9"), limit(), PAGE])
@each("at_once", [1, 2, 16])
def test_a_host_that_answers_few_at_a_time_answers_all(refusal: bytes, at_once: int) -> None:
    """As with a bucket that holds less than are under way: of all that come together, the first are answered."""
    clock, lock, room = Clock(), threading.Lock(), [at_once, 1000.0]

    def answer(_asked: Asked) -> Iterable[bytes]:
        with lock:
            if clock.now > room[1]:
                room[:] = [at_once, clock.now]
            room[0] -= 1
            return [OK if room[0] >= 0 else refusal]

    with asking(answer, clock) as (registry, server):
        futures = [registry.ask(Ask("digest", f"{server.host}/app:{n}")) for n in range(60)]
        assert {future.result(SOON) for future in futures} == {GOOD}


@each(
    ("answer", "pauses"),
    [
        (PAGE, [1] * 12),
        (head("Content-Type: application/json", status=503), []),  # a registry's own
        (head("Content-Type: text/html", status=502), []),
    ],
)
def test_a_page_that_says_503_is_a_limit_where_others_were_answered_just_now(
    answer: bytes, pauses: list[float]
) -> None:
    clock, answers = Clock(), [answer, answer, OK]  # to a HEAD and to a GET, as where a registry is down
    with asking(lambda _: [answers.pop(0) if len(answers) > 1 else answers[0]], clock) as (registry, server):
        assert ask(registry, f"{server.host}/app:0") == reason("unavailable")
        assert ask(registry, f"{server.host}/app:1") == GOOD
        assert not clock.pauses
        answers[:] = [answer]
        assert ask(registry, f"{server.host}/app:2") == reason("unavailable")
        assert clock.pauses == pauses
        clock.now += 21
        assert ask(registry, f"{server.host}/app:3") == reason("unavailable")
        assert clock.pauses == pauses


def test_an_image_for_which_alone_a_proxy_has_a_page_stops_no_other() -> None:
    clock = Clock()
    with asking(lambda asked: [PAGE if "/bad/" in asked else OK], clock) as (registry, server):
        names = ["first", *(f"app{n}" for n in range(30)), "bad", *(f"app{n}" for n in range(30, 60))]
        futures = [registry.ask(Ask("digest", f"{server.host}/{name}:1")) for name in names]
        found = {name: future.result(SOON) for name, future in zip(names, futures, strict=True)}
        assert {name: reply for name, reply in found.items() if reply != GOOD} == {"bad": reason("unavailable")}
        assert len(clock.pauses) == 12


def test_what_was_waited_for_in_vain_is_not_waited_for_again_for_each_image() -> None:
    """As where a proxy has a page for all that one of several servers behind it has."""
    clock = Clock()
    with asking(lambda asked: [PAGE if "/bad" in asked else OK], clock) as (registry, server):
        names = [name for n in range(9) for name in (f"app{n}", f"bad{n}")]
        found = [ask(registry, f"{server.host}/{name}:1") for name in names]
        assert found == [GOOD, reason("unavailable")] * 9
        assert len(clock.pauses) == 12 + 6 + 3 + 1
        clock.now += 301
        assert ask(registry, f"{server.host}/later:1") == GOOD
        clock.now += 301
        assert ask(registry, f"{server.host}/more:1") == GOOD
        assert ask(registry, f"{server.host}/bad:1") == reason("unavailable")
        assert len(clock.pauses) == 22 + 12


def test_refusal_for_days_is_tried_again_within_the_hour() -> None:
    clock = Clock()
    with asking(Refusing(limit("Retry-After: 999999"), 1), clock) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == reason("rate_limited")
        clock.now += 3599
        assert ask(registry, f"{server.host}/app:1") == reason("rate_limited")
        clock.now += 31
        assert ask(registry, f"{server.host}/app:1") == GOOD


def test_refusal_of_one_host_is_not_of_another() -> None:
    clock = Clock()
    with (
        asking(Refusing(limit("Retry-After: 100"), 1), clock) as (registry, server),
        Misbehaving(lambda _: [OK]) as good,
    ):
        assert ask(registry, f"{server.host}/app:1") == reason("rate_limited")
        assert ask(registry, f"{good.host}/app:1") == GOOD


def test_quota_of_pulls_is_not_one_of_questions() -> None:
    body = image()

    def answer(asked: Asked) -> Iterable[bytes]:
        return [limit("Retry-After: 20000") if asked.startswith("GET") else OK]

    with asking(answer, Clock()) as (registry, server):
        assert ask(registry, f"{server.host}/app@{sha(body)}", "manifest") == reason("rate_limited")
        assert ask(registry, f"{server.host}/app:1") == GOOD


def test_pause_that_no_question_can_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.client.QUESTION_SECONDS", 2.0)
    with asking(Refusing(limit("Retry-After: 5"), 1), Clock()) as (registry, server):
        assert ask(registry, f"{server.host}/app:1") == reason("rate_limited")


def test_refusals_narrow_and_answers_widen() -> None:
    lane = Lane(16, threading.Semaphore(), int)
    widths = [lane.width]
    for _ in range(6):
        lane.contacted()
        widths.append(lane.width)
        lane.refused()
    assert widths == [1, 16, 8, 4, 2, 1, 1]
    for _ in range(100):
        lane.contacted()
    assert lane.width == 3
    lane.lost()
    assert lane.width == 1
    for _ in range(1000):
        lane.contacted()
        assert lane.width == 16


# -- hosts that do not answer --------------------------------------------------------------------------


def test_host_that_is_gone_is_asked_five_times_then_once_a_minute() -> None:
    clock = Clock()
    observed: list[tuple[str, str, str]] = []
    host = f"127.0.0.1:{free_port()}"
    with client(clock=clock, observe=lambda *what: observed.append(what)) as registry:
        for n in range(20):
            assert ask(registry, f"{host}/app:{n}") == reason("unreachable")
        assert len(observed) == 5
        clock.now += 61
        for n in range(20):
            assert ask(registry, f"{host}/app:{n}") == reason("unreachable")
        assert len(observed) == 6


def test_host_that_comes_back() -> None:
    clock = Clock()
    with asking(lambda _: [RESET], clock) as (registry, server):
        for n in range(9):
            assert ask(registry, f"{server.host}/app:{n}") == reason("unreachable")
        asked = len(server.asked)
        server._answer = lambda _: [OK]
        assert ask(registry, f"{server.host}/app:new") == reason("unreachable")
        assert len(server.asked) == asked == 5
        clock.now += 61
        futures = [registry.ask(Ask("digest", f"{server.host}/app:{n}")) for n in range(20)]
        assert {future.result(SOON) for future in futures} == {GOOD}


def test_timeouts_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.endpoint.ANSWER_SECONDS", 0.05)
    from tests.unit.misbehaving import HANG  # noqa: PLC0415

    with asking(lambda _: [HANG], Clock()) as (registry, server):
        for n in range(9):
            assert ask(registry, f"{server.host}/app:{n}") == reason("timeout")
        until(lambda: server.connections == 5, "the last of five to be noticed")


def test_answers_between_failures_reset_the_count() -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        return [OK if int(asked.rpartition("/")[2]) % 5 == 4 else RESET]

    with asking(answer, Clock()) as (registry, server):
        found = [ask(registry, f"{server.host}/app:{n}") for n in range(15)]
        assert found == ([reason("unreachable")] * 4 + [GOOD]) * 3


def test_bad_answers_do_not_make_a_host_dead() -> None:
    with asking(lambda _: [head(status=503)], Clock()) as (registry, server):
        for n in range(9):
            assert ask(registry, f"{server.host}/app:{n}") == reason("unavailable")
        assert len(server.asked) == 18


# -- quota ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("ratelimit-remaining: 76;w=21600", [76]),
        ("RateLimit-Remaining: 0", [0]),
        ("ratelimit-remaining:  12 ; w=1", [12]),
        ("ratelimit-remaining: many", []),
        ("ratelimit-remaining: -1", []),
        ("ratelimit-remaining: " + "9" * 50, []),
        ("ratelimit-limit: 100;w=21600", []),
    ],
)
def test_quota(header: str, expected: list[int]) -> None:
    seen: list[tuple[str, int]] = []
    with (
        Misbehaving(lambda _: [head(f"Docker-Content-Digest: {DIGEST}", header)]) as server,
        client(observe_quota=lambda *what: seen.append(what)) as registry,
    ):
        assert ask(registry, f"{server.host}/app:1") == GOOD
        assert seen == [(server.host, left) for left in expected]

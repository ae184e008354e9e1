"""The plan: safety rules that hold for any findings, in any order."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.actions.plan import PROTECT_LABEL, plan
from dockwarden.model import Candidate, Effect, Image, Kind, Limits, Plan, Policy, Ref
from tests.builders import DAY, HOUR, a_candidate, a_policy, an_image, image_id

if TYPE_CHECKING:
    from collections.abc import Sequence

REMOVE = a_policy("old-images", action="remove")
UNTAG = a_policy("old-tags", subject=Kind.TAG, action="untag")


def planned(*candidates: Candidate, policy: Policy = REMOVE, population: int = 100, stay: float = HOUR) -> Plan:
    return plan(policy, candidates, population, stay)


def limited(policy: Policy, objects: int = 1000, percent: float = 100.0) -> Policy:
    return replace(policy, limits=Limits(objects, percent))


def refused(done: Plan) -> list[tuple[str, str]]:
    assert {kept.effect for kept in done.kept} <= {Effect.REFUSED}
    return [(kept.name, kept.reason) for kept in done.kept]


# -- one object --------------------------------------------------------------------------------------------


def test_an_old_unused_image_is_removed() -> None:
    [step] = planned(a_candidate(an_image("app", "app:1"))).steps
    assert (step.policy, step.action, step.ref) == ("old-images", "remove", Ref(Kind.IMAGE, image_id("app")))
    assert step.object == an_image("app", "app:1")
    assert step.why == "it is old"


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (a_candidate(an_image("app", "app:1"), own=True), "self"),
        (a_candidate(an_image("app", "app:1", labels={PROTECT_LABEL: ""})), "protected"),
        (a_candidate(an_image("app", "app:1", labels={PROTECT_LABEL: "false"})), "protected"),
        (a_candidate(an_image("app", "app:1"), known_for_seconds=HOUR - 1), "too_young"),
        (a_candidate(an_image("app", "app:1"), known_for_seconds=0), "too_young"),
        (a_candidate(an_image("app", "app:1"), users=("web",)), "in_use"),
        (a_candidate(an_image("app", "app:1", "app:2"), users=("web",)), "in_use"),
        (a_candidate(an_image("app", "app:1"), tag_users=("web",)), "in_use"),
        (a_candidate(an_image("app", "app:1"), tag="app:1", tag_users=("web",)), "in_use"),
        (a_candidate(an_image("app", "app:1"), tag="app:1", users=("web",)), "in_use"),
        (a_candidate(an_image("app", "app:1", "app:2"), tag="app:1", tag_users=("web",)), "in_use"),
        (a_candidate(an_image("app", "app:1", "app:2"), tag="app:1", known_for_seconds=1), "too_young"),
        (a_candidate(an_image("app", "app:1", "app:2", labels={PROTECT_LABEL: "1"}), tag="app:1"), "protected"),
    ],
)
def test_a_rule_keeps_the_object_and_says_which(candidate: Candidate, reason: str) -> None:
    done = planned(candidate, policy=UNTAG if candidate.result.ref.kind is Kind.TAG else REMOVE)
    assert done.steps == ()
    assert refused(done) == [(candidate.result.name, reason)]
    assert done.error == ""


def test_one_of_two_tags_of_a_used_image_may_go() -> None:
    candidate = a_candidate(an_image("app", "app:1", "app:2"), tag="app:1", users=("web",))
    assert [step.ref.key for step in planned(candidate, policy=UNTAG).steps] == ["docker.io/library/app:1"]


def test_the_minimum_stay_itself_is_long_enough() -> None:
    assert planned(a_candidate(an_image("app", "app:1"), known_for_seconds=HOUR)).steps


def test_users_are_named_but_not_all_of_a_thousand() -> None:
    users = tuple(f"web-{number}" for number in range(1000))
    [kept] = planned(a_candidate(an_image("app", "app:1"), users=users, tag_users=users)).kept
    assert "web-0" in kept.detail
    assert len(kept.detail) < 100


def test_nothing_found_is_nothing_to_do() -> None:
    assert planned() == Plan("old-images")


# -- limits ------------------------------------------------------------------------------------------------


def old(number: int) -> list[Candidate]:
    return [a_candidate(an_image(f"app{n}", f"app:{n}"), known_for_seconds=DAY + n) for n in range(number)]


@pytest.mark.parametrize(
    ("objects", "percent", "found", "population", "allowed"),
    [
        (3, 100.0, 3, 100, True),
        (3, 100.0, 4, 100, False),
        (100, 25.0, 25, 100, True),
        (100, 25.0, 26, 100, False),
        (100, 25.0, 1, 1, True),
        (100, 0.5, 1, 2, True),
        (100, 0.5, 2, 2, False),
        (100, 50.0, 2, 3, False),
        (100, 100.0, 3, 3, True),
    ],
)
def test_a_plan_above_a_limit_is_refused_as_a_whole(
    *, objects: int, percent: float, found: int, population: int, allowed: bool
) -> None:
    done = planned(*old(found), policy=limited(REMOVE, objects, percent), population=population)
    assert len(done.steps) == (found if allowed else 0)
    assert bool(done.error) is not allowed
    assert [reason for _, reason in refused(done)] == ([] if allowed else ["limits"] * found)


def test_the_refusal_says_which_limit_and_by_how_much() -> None:
    assert "4 objects" in planned(*old(4), policy=limited(REMOVE, 3)).error
    error = planned(*old(30), policy=limited(REMOVE, percent=12.5), population=80).error
    assert "30 of 80" in error
    assert "12.5 %" in error
    assert "10 here" in error


def test_what_a_rule_keeps_does_not_count_against_the_limits() -> None:
    young = [a_candidate(an_image(f"young{n}"), known_for_seconds=0) for n in range(10)]
    done = planned(*old(2), *young, policy=limited(REMOVE, 2))
    assert len(done.steps) == 2


# -- any findings ------------------------------------------------------------------------------------------

_LABELS = st.dictionaries(st.sampled_from([PROTECT_LABEL, "team", ""]), st.text(max_size=3), max_size=2)
_USERS = st.lists(st.sampled_from(["web", "job"]), max_size=2, unique=True).map(tuple)
_AGES = st.sampled_from([0.0, HOUR - 0.001, HOUR, DAY]) | st.floats(0, 1e6)


@st.composite
def _candidate(draw: st.DrawFn, word: str, kind: Kind) -> Candidate:
    names = [f"{word}:{n}" for n in range(draw(st.integers(1 if kind is Kind.TAG else 0, 3)))]
    return a_candidate(
        an_image(word, *names, labels=draw(_LABELS)),
        tag=draw(st.sampled_from(names)) if kind is Kind.TAG else "",
        users=draw(_USERS),
        tag_users=draw(_USERS),
        known_for_seconds=draw(_AGES),
        own=draw(st.booleans()),
    )


@st.composite
def _findings(draw: st.DrawFn) -> tuple[Policy, list[Candidate], int]:
    kind = draw(st.sampled_from([Kind.IMAGE, Kind.TAG]))
    words = [f"app{n}" for n in range(draw(st.integers(0, 6)))]
    candidates = [draw(_candidate(word, kind)) for word in words]
    policy = REMOVE if kind is Kind.IMAGE else UNTAG
    limits = draw(st.tuples(st.integers(1, 8), st.floats(0.1, 100)))
    return limited(policy, *limits), candidates, len(words) + draw(st.integers(0, 20))


Findings = tuple[Policy, list[Candidate], int]


def by_key(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    return {candidate.result.ref.key: candidate for candidate in candidates}


@given(_findings())
def test_no_plan_touches_what_a_rule_protects(findings: Findings) -> None:
    policy, candidates, population = findings
    for step in plan(policy, candidates, population, HOUR).steps:
        candidate = by_key(candidates)[step.ref.key]
        assert not candidate.own
        assert isinstance(candidate.object, Image)
        assert PROTECT_LABEL not in candidate.object.labels
        assert candidate.known_for_seconds >= HOUR
        assert not candidate.tag_users
        image_would_go = step.ref.kind is Kind.IMAGE or len(candidate.object.tags) == 1
        assert not (image_would_go and candidate.users)
        assert step.object == candidate.object


@given(_findings())
def test_no_plan_is_above_a_limit_and_none_is_cut_to_fit(findings: Findings) -> None:
    policy, candidates, population = findings
    done = plan(policy, candidates, population, HOUR)
    unlimited = plan(limited(policy), candidates, population, HOUR)
    assert len(done.steps) <= policy.limits.max_objects
    assert len(done.steps) <= max(1, math.floor(population * policy.limits.max_percent / 100))
    assert done.steps in ((), unlimited.steps)
    assert bool(done.error) == (done.steps != unlimited.steps)


@given(_findings())
def test_each_finding_becomes_a_step_or_a_refusal_that_says_why(findings: Findings) -> None:
    policy, candidates, population = findings
    done = plan(policy, candidates, population, HOUR)
    told = [step.ref for step in done.steps] + [kept.ref for kept in done.kept]
    assert sorted(told) == sorted(candidate.result.ref for candidate in candidates)
    assert all(kept.effect is Effect.REFUSED and kept.reason and kept.detail for kept in done.kept)


@given(_findings())
def test_the_longest_known_comes_first(findings: Findings) -> None:
    policy, candidates, population = findings
    steps = plan(limited(policy), candidates, population, HOUR).steps
    known = by_key(candidates)
    order = [(-known[step.ref.key].known_for_seconds, step.ref.key) for step in steps]
    assert order == sorted(order)


@given(_findings(), st.randoms(use_true_random=False))
def test_the_order_of_the_findings_does_not_matter(findings: Findings, random: object) -> None:
    policy, candidates, population = findings
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert plan(policy, shuffled, population, HOUR) == plan(policy, candidates, population, HOUR)


@given(_findings())
def test_a_plan_of_what_was_planned_is_the_same_plan(findings: Findings) -> None:
    policy, candidates, population = findings
    first = plan(policy, candidates, population, HOUR)
    again = plan(policy, [by_key(candidates)[step.ref.key] for step in first.steps], population, HOUR)
    assert again == Plan(policy.name, first.steps)


@given(_findings())
def test_the_same_finding_twice_is_one_step(findings: Findings) -> None:
    policy, candidates, population = findings
    once = plan(limited(policy), candidates, population, HOUR)
    twice = plan(limited(policy), [*candidates, *candidates], population, HOUR)
    assert twice.steps == once.steps

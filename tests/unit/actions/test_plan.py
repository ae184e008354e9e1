"""The plan: safety rules that hold for any findings, in any order."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.actions.plan import plan
from dockwarden.actions.verb import PROTECT_LABEL
from dockwarden.model import Candidate, Container, Effect, Image, Kind, Limits, Mode, Network, Plan, Policy, Ref, Volume
from tests.builders import (
    DAY,
    HOUR,
    a_candidate,
    a_container,
    a_finding_on,
    a_network,
    a_policy,
    a_volume,
    an_image,
    details,
    image_id,
)
from tests.tables import each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dockwarden.model import Step, Thing

REMOVE = a_policy("old-images", action="remove", mode=Mode.ENFORCE)
UNTAG = a_policy("old-tags", subject=Kind.TAG, action="untag", mode=Mode.ENFORCE)


def planned(*candidates: Candidate, policy: Policy = REMOVE, population: int = 100, stay: float = HOUR) -> Plan:
    return plan(policy, candidates, population, stay)


def limited(policy: Policy, objects: int = 1000, percent: float = 100.0, *, takes_first: bool = False) -> Policy:
    return policy._replace(limits=Limits(objects, percent, takes_first), mode=Mode.ENFORCE)


def refused(done: Plan) -> list[tuple[str, str]]:
    assert {kept.effect for kept in done.kept} <= {Effect.REFUSED}
    return [(kept.name, kept.reason) for kept in done.kept]


# -- one object --------------------------------------------------------------------------------------------


def test_an_old_unused_image_is_removed() -> None:
    [step] = planned(a_candidate(an_image("app", "app:1"))).steps
    assert (step.policy, step.action, step.ref) == ("old-images", "remove", Ref(Kind.IMAGE, image_id("app")))
    assert step.object == an_image("app", "app:1")
    assert step.why == "it is old"


@each(
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


# -- other kinds --------------------------------------------------------------------------------------------

REMOVE_CONTAINER = a_policy(subject=Kind.CONTAINER, action="remove")
STOP = a_policy(subject=Kind.CONTAINER, action="stop")
UPDATE = a_policy(subject=Kind.CONTAINER, action="update")
REMOVE_VOLUME = a_policy(subject=Kind.VOLUME, action="remove", for_seconds=HOUR)
NAMED_VOLUME = a_policy(subject=Kind.VOLUME, action="remove", for_seconds=HOUR, when="volume.name == 'data'")
SELECTED_VOLUME = a_policy(subject=Kind.VOLUME, action="remove", for_seconds=HOUR, select="volume.name == 'data'")
HASTY_VOLUME = a_policy(subject=Kind.VOLUME, action="remove")
REMOVE_NETWORK = a_policy(subject=Kind.NETWORK, action="remove")
TRIM = a_policy(subject=Kind.HOST, action="trim_build_cache")
OVER, UP = a_container("job", running=False), a_container("web")
PAUSED = replace(OVER, state="paused")
NAMELESS = a_volume("f" * 64, anonymous=True)


@each(
    ("policy", "candidate", "reason"),
    [
        (REMOVE_CONTAINER, a_finding_on(OVER), ""),
        (REMOVE_CONTAINER, a_finding_on(UP), "running"),
        (REMOVE_CONTAINER, a_finding_on(PAUSED), "running"),
        (REMOVE_CONTAINER, a_finding_on(OVER, known_for_seconds=60), "too_young"),
        (REMOVE_CONTAINER, a_finding_on(OVER, own=True), "self"),
        (REMOVE_CONTAINER, a_finding_on(OVER, users=("beside",)), "in_use"),
        (REMOVE_CONTAINER, a_finding_on(OVER, owner="swarm"), "owner"),
        (REMOVE_CONTAINER._replace(owners=frozenset({"nomad"})), a_finding_on(OVER, owner="swarm"), "owner"),
        (REMOVE_CONTAINER._replace(owners=frozenset({"swarm"})), a_finding_on(OVER, owner="swarm"), ""),
        (REMOVE_CONTAINER, a_finding_on(replace(OVER, labels={PROTECT_LABEL: ""})), "protected"),
        (STOP, a_finding_on(UP, known_for_seconds=60), ""),
        (STOP, a_finding_on(OVER), "not_running"),
        (STOP, a_finding_on(UP, owner="kubernetes"), "owner"),
        (REMOVE_VOLUME, a_finding_on(NAMELESS), ""),
        (REMOVE_VOLUME, a_finding_on(NAMELESS, users=("db",)), "in_use"),
        (REMOVE_VOLUME, a_finding_on(NAMELESS, held_seconds=HOUR - 1), "waiting"),
        (REMOVE_VOLUME, a_finding_on(NAMELESS, idle_seconds=HOUR - 1), "waiting"),
        (REMOVE_CONTAINER._replace(for_seconds=DAY), a_finding_on(OVER, known_for_seconds=DAY - 1), "waiting"),
        (REMOVE_CONTAINER._replace(for_seconds=DAY), a_finding_on(OVER, known_for_seconds=DAY), ""),
        (REMOVE_VOLUME, a_finding_on(NAMELESS, own=True, users=("dockwarden",)), "self"),
        (HASTY_VOLUME, a_finding_on(NAMELESS), "waiting"),
        (REMOVE_VOLUME, a_finding_on(a_volume("data")), "named"),
        (NAMED_VOLUME, a_finding_on(a_volume("data")), ""),
        (SELECTED_VOLUME, a_finding_on(a_volume("data")), ""),
        (NAMED_VOLUME, a_finding_on(a_volume("data"), users=("db",)), "in_use"),
        (REMOVE_NETWORK, a_finding_on(a_network()), ""),
        (REMOVE_NETWORK, a_finding_on(a_network("bridge", builtin=True)), "builtin"),
        (REMOVE_NETWORK, a_finding_on(replace(a_network(), driver="")), "unrecoverable"),
        (REMOVE_NETWORK, a_finding_on(a_network(), users=("web",)), "in_use"),
        (REMOVE_NETWORK, a_finding_on(a_network(), known_for_seconds=60), "too_young"),
        (REMOVE_NETWORK, a_finding_on(a_network(), owner="swarm"), "owner"),
        (REMOVE._replace(for_seconds=2 * DAY), a_finding_on(an_image()), "waiting"),
        (REMOVE._replace(for_seconds=DAY), a_finding_on(an_image()), ""),
        (TRIM, a_finding_on(None, known_for_seconds=0), ""),
        (TRIM._replace(for_seconds=2 * DAY), a_finding_on(None), "waiting"),
    ],
)
def test_rules_of_each_kind(policy: Policy, candidate: Candidate, reason: str) -> None:
    done = planned(candidate, policy=policy)
    assert [why for _, why in refused(done)] == ([reason] if reason else [])
    assert len(done.steps) == (0 if reason else 1)


def test_a_step_carries_what_its_action_needs() -> None:
    policy = TRIM._replace(options={"max_used_space": 5}, unrecoverable=True)
    [step] = planned(a_finding_on(None), policy=policy).steps
    assert (step.object, step.options, step.unrecoverable) == (None, {"max_used_space": 5}, True)


def test_bytes_of_what_is_stopped_stay() -> None:
    assert planned(a_finding_on(OVER, size_bytes=7), policy=REMOVE_CONTAINER).steps[0].planned_bytes == 7
    assert planned(a_finding_on(UP, size_bytes=7), policy=STOP).steps[0].planned_bytes == 0


def test_of_several_names_that_go_an_image_in_use_keeps_the_last() -> None:
    image = an_image("app", "app:1", "app:2", "app:3")
    candidates = [a_candidate(image, tag=tag, users=("by-id",)) for tag in ("app:1", "app:2", "app:3")]
    done = planned(*candidates, policy=UNTAG)
    assert [step.name for step in done.steps] == ["app:1", "app:2"]
    assert refused(done) == [("app:3", "in_use")]
    assert "the last name" in done.kept[0].detail


# -- order -------------------------------------------------------------------------------------------------


def test_order_by_comes_before_age_and_what_cannot_be_ordered_comes_last() -> None:
    policy = a_policy(action="remove", order_by="image.size")
    wanted = ["two", "five", "nine", "older", "newer"]
    candidates = [
        a_finding_on(an_image("newer"), known_for_seconds=DAY),
        a_finding_on(an_image("nine"), order=9),
        a_finding_on(an_image("older"), known_for_seconds=2 * DAY),
        a_finding_on(an_image("two"), order=2),
        a_finding_on(an_image("five"), order=5, known_for_seconds=9 * DAY),
    ]
    assert [step.ref.key for step in planned(*candidates, policy=policy).steps] == [image_id(word) for word in wanted]


def built(word: str, *layers: str, parent: str = "", tags: tuple[str, ...] = ()) -> Image:
    inspected = replace(details(layers=layers), parent=image_id(parent) if parent else "")
    return an_image(word, *tags, inspected=inspected)


def test_images_go_before_those_that_they_are_built_on_whatever_the_order() -> None:
    images = [
        built("base", "a"),
        built("app", "a", "b"),
        built("label", "a", "b", parent="app"),
        built("top", "a", "b", "c"),
        built("apart", "x"),
    ]
    candidates = [a_finding_on(image, order=number) for number, image in enumerate(images)]
    policy = a_policy(action="remove", order_by="image.size")
    names = {image_id(word): word for word in ("base", "app", "label", "top", "apart")}
    order = [names[step.ref.key] for step in planned(*candidates, policy=policy).steps]
    assert order == ["top", "label", "app", "base", "apart"]


def test_parents_that_name_each_other_come_to_an_end() -> None:
    images = [built("a", "l", parent="b"), built("b", "l", parent="a"), built("c", "l", parent="c")]
    assert len(planned(*(a_finding_on(image) for image in images)).steps) == 3


# -- what a host protects --------------------------------------------------------------------------------

_KEPT = {"postgres", "postgres:16", "docker.io/library/postgres:16", "docker.io/library/postgres", "postgres:*", "*",
         "library/postgres", "docker.io/postgres:1?"}  # fmt: skip
_POSTGRES = an_image("db", "docker.io/library/postgres:16", "docker.io/library/mirror:1")


@each("kind", [Kind.IMAGE, Kind.TAG])
@each("glob", sorted(_KEPT))
def test_a_host_protects_images_by_any_spelling_of_a_name(glob: str, kind: Kind) -> None:
    protect = {kind: (glob,)}
    done = planned(a_candidate(_POSTGRES), policy=REMOVE._replace(protect=protect))
    assert (done.steps, refused(done)[0][1]) == ((), "protected")
    assert glob in done.kept[0].detail
    tag = planned(a_candidate(_POSTGRES, tag="postgres:16"), policy=UNTAG._replace(protect=protect))
    assert (tag.steps, refused(tag)) == ((), [("postgres:16", "protected")])


@pytest.mark.parametrize("glob", ["postgre", "16", "postgres:1", "docker.io/library", "Postgres"])
def test_what_a_host_does_not_name_it_does_not_protect(glob: str) -> None:
    protect = {Kind.IMAGE: (glob,), Kind.TAG: (glob,), Kind.CONTAINER: ("*",), Kind.VOLUME: ("*",)}
    assert planned(a_candidate(_POSTGRES), policy=REMOVE._replace(protect=protect)).steps


def test_of_the_tags_of_an_image_a_protected_tag_keeps_itself_a_protected_image_all() -> None:
    other = a_candidate(_POSTGRES, tag="mirror:1")
    assert planned(other, policy=UNTAG._replace(protect={Kind.TAG: ("postgres:*",)})).steps
    assert not planned(other, policy=UNTAG._replace(protect={Kind.IMAGE: ("postgres:*",)})).steps


@pytest.mark.parametrize(
    ("policy", "thing"),
    [
        (REMOVE_CONTAINER, replace(OVER, name="pg-1")),
        (REMOVE_VOLUME, replace(a_volume("pg-1"), anonymous=True)),
        (REMOVE_NETWORK, a_network("pg-1")),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_host_protects_all_else_by_its_name_or_id(policy: Policy, thing: Thing) -> None:
    key = getattr(thing, "id", "pg-1")
    globs = {"pg-*": True, "pg-1": True, key: True, "pg": False, "*-2": False, "": False}
    globs |= {key[:12]: True, key[:11]: False} if key != "pg-1" else {}
    for glob, is_kept in globs.items():
        done = planned(a_finding_on(thing), policy=policy._replace(protect={policy.subject: (glob,)}))
        assert [reason for _, reason in refused(done)] == (["protected"] if is_kept else []), glob


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


def test_the_refusal_says_in_one_line_how_a_person_gets_past_it() -> None:
    error = planned(*old(4), policy=limited(REMOVE, 3)).error
    assert "`dockwarden plan --policy old-images --over-limits --save FILE`, look, `dockwarden apply FILE`" in error
    assert "\n" not in error


def test_in_audit_mode_a_limit_is_information() -> None:
    done = planned(*old(4), policy=limited(REMOVE, 3)._replace(mode=Mode.AUDIT))
    assert (done.steps, done.error) == ((), "")
    assert {(kept.effect, kept.reason) for kept in done.kept} == {(Effect.AUDITED, "limits")}
    assert all("limits.max_objects 3" in kept.detail for kept in done.kept)


def test_what_a_rule_keeps_does_not_count_against_the_limits() -> None:
    young = [a_candidate(an_image(f"young{n}"), known_for_seconds=0) for n in range(10)]
    done = planned(*old(2), *young, policy=limited(REMOVE, 2))
    assert len(done.steps) == 2


# -- any findings ------------------------------------------------------------------------------------------

_KINDS = {
    Kind.IMAGE: REMOVE,
    Kind.TAG: UNTAG,
    Kind.CONTAINER: REMOVE_CONTAINER,
    Kind.VOLUME: REMOVE_VOLUME,
    Kind.NETWORK: REMOVE_NETWORK,
}
_LABELS = st.dictionaries(st.sampled_from([PROTECT_LABEL, "team", ""]), st.text(max_size=3), max_size=2)
_USERS = st.lists(st.sampled_from(["web", "job"]), max_size=2, unique=True).map(tuple)
_AGES = st.sampled_from([0.0, HOUR - 0.001, HOUR, DAY]) | st.floats(0, 1e6)


@st.composite
def _candidate(draw: st.DrawFn, word: str, kind: Kind) -> Candidate:
    labels, running = draw(_LABELS), draw(st.booleans())
    if kind in (Kind.IMAGE, Kind.TAG):
        names = [f"{word}:{n}" for n in range(draw(st.integers(1 if kind is Kind.TAG else 0, 3)))]
        layers = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple))
        image = an_image(word, *names, labels=labels, inspected=details(layers=layers))
        found = a_candidate(
            image,
            tag=draw(st.sampled_from(names)) if kind is Kind.TAG else "",
            tag_users=draw(_USERS),
        )
    else:
        things: dict[Kind, Thing] = {
            Kind.CONTAINER: a_container(word, running=running, labels=labels),
            Kind.VOLUME: a_volume(word, anonymous=running, labels=labels),
            Kind.NETWORK: a_network(word, builtin=running, labels=labels),
        }
        found = a_finding_on(things[kind])
    result = found.result._replace(held_seconds=draw(_AGES), order=draw(st.none() | st.integers(0, 3)))
    return found._replace(
        result=result,
        users=() if kind is Kind.CONTAINER else draw(_USERS),
        known_for_seconds=draw(_AGES),
        idle_seconds=draw(_AGES),
        own=draw(st.booleans()),
        owner=draw(st.sampled_from(["", "", "swarm", "nomad"])),
    )


@st.composite
def _findings(draw: st.DrawFn) -> tuple[Policy, list[Candidate], int]:
    kind = draw(st.sampled_from(list(_KINDS)))
    words = [f"app{n}" for n in range(draw(st.integers(0, 6)))]
    candidates = [draw(_candidate(word, kind)) for word in words]
    limits = draw(st.tuples(st.integers(1, 8), st.floats(0.1, 100)))
    policy = limited(_KINDS[kind], *limits)._replace(
        owners=draw(st.sampled_from([frozenset(), frozenset({"swarm"})])),
        order_by=draw(st.sampled_from([None, a_policy(order_by="image.size").order_by])),
    )
    return policy, candidates, len(words) + draw(st.integers(0, 20))


Findings = tuple[Policy, list[Candidate], int]


def by_key(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    return {candidate.result.ref.key: candidate for candidate in candidates}


@given(_findings())
def test_no_plan_touches_what_a_rule_protects(findings: Findings) -> None:
    policy, candidates, population = findings
    for step in plan(policy, candidates, population, HOUR).steps:
        candidate = by_key(candidates)[step.ref.key]
        thing = candidate.object
        assert thing is not None
        assert step.object == thing
        assert not candidate.own
        assert candidate.owner in ("", *policy.owners)
        assert PROTECT_LABEL not in thing.labels
        assert candidate.known_for_seconds >= HOUR
        assert candidate.result.held_seconds >= policy.for_seconds
        assert not candidate.tag_users
        image_would_stay = step.ref.kind is Kind.TAG and isinstance(thing, Image) and len(thing.tags) > 1
        assert not candidate.users or image_would_stay
        if isinstance(thing, Container):
            assert not thing.running
        if isinstance(thing, Volume):
            assert thing.anonymous
            assert candidate.idle_seconds >= policy.for_seconds > 0
        if isinstance(thing, Network):
            assert not thing.builtin


@given(_findings())
def test_no_plan_is_above_a_limit_and_none_is_cut_to_fit(findings: Findings) -> None:
    policy, candidates, population = findings
    done = plan(policy, candidates, population, HOUR)
    unlimited = plan(limited(policy), candidates, population, HOUR)
    assert len(done.steps) <= policy.limits.max_objects
    assert len(done.steps) <= max(1, math.floor(population * policy.limits.max_percent / 100))
    assert done.steps in ((), unlimited.steps)
    assert bool(done.error) == (done.steps != unlimited.steps)
    allowed = min(policy.limits.max_objects, max(1, math.floor(population * policy.limits.max_percent / 100)))
    first = plan(policy._replace(limits=policy.limits._replace(takes_first=True)), candidates, population, HOUR)
    assert first.steps == unlimited.steps[:allowed]
    assert not first.error
    assert {kept.effect for kept in first.kept if kept.reason == "limits"} <= {Effect.SKIPPED}


@given(_findings())
def test_each_finding_becomes_a_step_or_a_refusal_that_says_why(findings: Findings) -> None:
    policy, candidates, population = findings
    done = plan(policy, candidates, population, HOUR)
    told = [step.ref for step in done.steps] + [kept.ref for kept in done.kept]
    assert sorted(told) == sorted(candidate.result.ref for candidate in candidates)
    assert all(kept.effect is Effect.REFUSED and kept.reason and kept.detail for kept in done.kept)


@given(_findings())
def test_the_order_is_kept_but_for_images_that_others_are_built_on(findings: Findings) -> None:
    policy, candidates, population = findings
    steps = plan(limited(policy), candidates, population, HOUR).steps
    known = by_key(candidates)

    def wanted(key: str) -> tuple[float, float, str]:
        candidate = known[key]
        order = candidate.result.order  # None where the policy has no `order_by`
        if isinstance(order, int):
            return order, 0.0, key
        return math.inf, -candidate.known_for_seconds, key

    def below(one: str, other: str) -> bool:
        first, second = (known[key].object for key in (one, other))
        if not (isinstance(first, Image) and isinstance(second, Image) and first.details and second.details):
            return False
        ours, theirs = first.details.layers, second.details.layers
        return len(ours) < len(theirs) and theirs[: len(ours)] == ours

    keys = [step.ref.key for step in steps]
    for place, key in enumerate(keys):
        assert not any(below(before, key) and is_last_of_its_layers(before, steps) for before in keys[:place])
        for later in keys[place + 1 :]:
            assert wanted(key) <= wanted(later) or any(below(other, key) for other in keys)


def is_last_of_its_layers(key: str, steps: Sequence[Step]) -> bool:
    """Of images with the same layers, nobody can tell which one others were built on."""
    layers = [
        (step.ref.key, step.object.details.layers)
        for step in steps
        if isinstance(step.object, Image) and step.object.details
    ]
    mine = dict(layers)[key]
    return [other for other, its in layers if its == mine][-1] == key


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


# -- what others stand on -----------------------------------------------------------------------------------


@given(
    order=st.permutations(range(6)),
    edges=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5))),
)
def test_what_others_of_a_compose_project_depend_on_comes_before_them(
    order: list[int], edges: set[tuple[int, int]]
) -> None:
    """Each depends only on those with a lower number; another project has services of the same names."""
    below = {(one, other) for one, other in edges if one > other}
    candidates = []
    for project in ("shop", "blog"):
        for number in order:
            needed = ",".join(f"s{other}:service_started:false" for one, other in sorted(below) if one == number)
            labels = {"com.docker.compose.project": project, "com.docker.compose.service": f"s{number}"}
            labels |= {"com.docker.compose.depends_on": needed} if project == "shop" else {}
            known = DAY + (number if project == "shop" else 0)  # the longest known, which would come first, needs most
            thing = a_container(f"{project}-{number}", labels=labels)
            candidates.append(a_finding_on(thing, known_for_seconds=known))
    update = limited(UPDATE._replace(owners=frozenset({"compose"})))
    names = [
        step.object.name for step in planned(*candidates, policy=update).steps if isinstance(step.object, Container)
    ]
    assert len(names) == len(candidates)
    assert all(names.index(f"shop-{other}") < names.index(f"shop-{one}") for one, other in below)


@given(order=st.permutations(range(5)), edges=st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4))))
def test_who_shares_the_volumes_of_another_goes_before_it(order: list[int], edges: set[tuple[int, int]]) -> None:
    """Its recipe names that one only while it is here. Compose names it by ID."""
    plain = [a_container(f"c{number}", running=False) for number in range(5)]
    ours = {number: {other for one, other in edges if number == one > other} for number in order}
    told = {n: [(f"c{m}:ro", plain[m].id, f"/c{m}")[m % 3] for m in below] for n, below in ours.items()}
    things = [replace(plain[n], config=replace(plain[n].config, told={"volumes_from": told[n]})) for n in order]
    steps = planned(*map(a_finding_on, things), policy=limited(REMOVE_CONTAINER)).steps
    names = [getattr(step.object, "name", "") for step in steps]
    assert all(names.index(f"c{one}") < names.index(f"c{other}") for one in ours for other in ours[one])


@pytest.mark.parametrize("mode", ["network_mode", "pid_mode", "ipc_mode", "uts_mode"])
@pytest.mark.parametrize("is_by_name", [False, True])
def test_who_lives_in_a_namespace_comes_before_its_owner(mode: str, *, is_by_name: bool) -> None:
    """It is made again after the owner, and then is another one than was judged. Compose says that it depends on it."""
    project = {"com.docker.compose.project": "shop"}
    owner = a_container("vpn", labels=project | {"com.docker.compose.service": "vpn"})
    labels = project | {"com.docker.compose.depends_on": "vpn:service_started:true,db:service_started:false"}
    inside = a_container("app", labels=labels)
    joined = f"container:{owner.name if is_by_name else owner.id}"
    is_of_config = mode != "network_mode"
    changed: dict[str, Any] = {mode: joined}
    inside = replace(inside, **({"config": replace(inside.config, **changed)} if is_of_config else changed))
    other = a_container("db", labels=project | {"com.docker.compose.service": "db"})
    update = limited(UPDATE._replace(owners=frozenset({"compose"})))
    findings = [a_finding_on(each, known_for_seconds=DAY + at) for at, each in enumerate((other, inside, owner))]
    steps = planned(*findings, policy=update).steps
    assert [getattr(step.object, "name", "") for step in steps] == ["db", "app", "vpn"]

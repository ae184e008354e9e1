from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.inventory.facts import VOCABULARY
from dockwarden.model import Facts, FactValue, Kind, Limits, Mode, Policy, Severity, Status, TriggerSpec, Verdict
from dockwarden.policy import evaluate
from dockwarden.policy.cel import Compiler, Joint
from dockwarden.policy.faults import ExpressionError
from dockwarden.policy.together import Together

PARAMS: list[dict[str, FactValue]] = [
    {},
    {"a": 3, "b": 'it\'s "é"\n\\ {{ 😀'},
    {"a": -9223372036854775808, "b": ["x", "y'"]},
    {"a": 0.1, "b": timedelta(milliseconds=-1500)},
    {"a": True, "b": timedelta(days=400)},
    {"a": 1e300, "b": ["a"] * 50},
]
CONDITIONS = [
    ("image.size > 3", {}),
    ("image.dangling", {}),
    ("image.in_use && image.size > 1 // a remark", {}),
    ("image.size > params.a", PARAMS[1]),
    ("'params.a' != image.ref && image.size > params . a // params.a", PARAMS[1]),
    ("image.size > params // params\n. // a\n a", PARAMS[1]),
    ("image.ref == params.b", PARAMS[1]),
    ("image.size == params.a || image.ref in params.b", PARAMS[2]),
    ("double(image.size) > params.a && image.known_for > params.b", PARAMS[3]),
    ("image.dangling == params.a && now - image.created > params.b", PARAMS[4]),
    ("double(image.size) < params.a && image.ref in params.b", PARAMS[5]),
    ("image.labels['team'] == 'x'", {}),
    ("image.tags.exists(params, params == 'x:1')", {}),
    ("image.tags.all(t, t in lists.good)", {}),
    ("image.ref.matches('^[a-z]+$')", {}),
    ("!image.ref.matches('x|y') && image.size > params.a || image.ref.matches( r\"a b|a\" )", PARAMS[1]),
    ("image.ref != \"image.ref.matches('x')\" && image.tags.exists(t, t.matches('x|z'))", {}),
    ("params.b.matches('x') || image.size == params.a", PARAMS[1]),
    ("image.ref // image.ref.matches('x')\n.matches('y') || image.ref.matches('') || image.ref.matches('.|x')", {}),
    ("image.user == 'root'", {}),
    ("image.ref.matches('^[0-9]') && version(image.ref) < version('1.10')", {}),
]
NOW = datetime(2027, 1, 1, tzinfo=UTC)
VALUES: dict[str, st.SearchStrategy[FactValue]] = {
    "image.size": st.sampled_from([0, 2, 4, -9223372036854775808]),
    "image.dangling": st.booleans(),
    "image.in_use": st.booleans(),
    "image.ref": st.sampled_from(["x", "y'", str(PARAMS[1]["b"]), "a", "1.9"]),
    "image.known_for": st.sampled_from([timedelta(seconds=-2), timedelta(seconds=-1), timedelta()]),
    "image.created": st.sampled_from([NOW, NOW - timedelta(days=401), datetime(2020, 1, 1, tzinfo=UTC)]),
    "now": st.just(NOW),
    "image.labels": st.sampled_from([{}, {"team": "x"}, {"team": "y"}]),
    "image.tags": st.lists(st.sampled_from(["x:1", "y:1"])),
}
FACTS = st.fixed_dictionaries({}, optional=VALUES)
COMPILER = Compiler(VOCABULARY, {"good": ["x:1"]})


def policy(name: str, when: str, params: dict[str, FactValue], select: str = "") -> Policy:
    condition = COMPILER.compile(Kind.IMAGE, params, when)
    chosen = COMPILER.compile(Kind.IMAGE, params, select) if select else None
    needs = condition.references | (chosen.references if chosen else frozenset())
    return Policy(
        name=name,
        subject=Kind.IMAGE,
        severity=Severity.LOW,
        mode=Mode.AUDIT,
        trigger=TriggerSpec(),
        when=condition,
        message=(name,),
        select=chosen,
        limits=Limits(),
        needs=needs,
        cost=max((VOCABULARY[Kind.IMAGE][fact].cost for fact in needs), default=0),
    )


POLICIES = [
    policy(f"p{number}-{other}", when, params, select)
    for number, (when, params) in enumerate(CONDITIONS)
    for other, select in enumerate(("", "image.size > 0", "image.tags.size() > 0 && !image.dangling"))
]


def one_by_one(policies: list[Policy], facts: Facts) -> dict[str, Verdict]:
    return {policy.name: evaluate.judge(policy, facts) for policy in policies}


@given(
    st.lists(st.sampled_from(POLICIES), min_size=2, max_size=8, unique_by=lambda p: p.name), st.lists(FACTS), st.data()
)
def test_gives_what_judging_one_by_one_gives(
    policies: list[Policy], objects: list[dict[str, FactValue]], data: st.DataObject
) -> None:
    together = Together(policies, worth_objects=2)
    expected: Counter[tuple[str, Status]] = Counter()
    got: Counter[tuple[str, Status]] = Counter()
    for known in objects:
        noted = data.draw(st.sets(st.sampled_from([policy.name for policy in policies])))
        single = one_by_one(policies, Facts(dict(known)))
        told = {policy.name: verdict for policy, verdict in together.judge(Facts(dict(known)), noted)}
        assert told.items() <= single.items()
        assert told.keys() >= noted
        assert all(single[name] in (evaluate.PASS, evaluate.SKIP) for name in single.keys() - told.keys())
        expected.update((name, verdict.status) for name, verdict in single.items())
        got.update((name, verdict.status) for name, verdict in told.items())
    assert got + together.quiet() == expected


@given(FACTS)
def test_all_conditions_fit_into_one_expression(known: dict[str, FactValue]) -> None:
    cheap = [policy for policy in POLICIES if not policy.cost]
    answers = Joint([(policy.select, policy.when) for policy in cheap]).evaluate(Facts(dict(known)))
    single = list(one_by_one(cheap, Facts(dict(known))).values())
    numbers = {evaluate.SKIP: 0, evaluate.PASS: 1, evaluate.FAIL: 2}
    assert answers is None or list(answers) == [numbers[verdict] for verdict in single]
    assert (answers is None) == any(verdict not in numbers for verdict in single)


@pytest.mark.parametrize(
    "source", ["now - image.created", "string(image.created)", "now - image.created > duration('24h')", "image.created"]
)
def test_what_is_asked_after_it_gets_facts_that_no_condition_in_it_refers_to(source: str) -> None:
    later = COMPILER.compile(Kind.IMAGE, {}, source, ("bool", "string", "duration", "timestamp"))
    known: dict[str, FactValue] = {"image.size": 4, "now": NOW, "image.created": datetime(2020, 1, 1, tzinfo=UTC)}
    facts = Facts(dict(known))
    assert Joint([(None, policy.when) for policy in (POLICIES[0], POLICIES[9])]).evaluate(facts) == (2, 2)
    assert later.evaluate(facts) == later.evaluate(Facts(dict(known)))
    assert not later.evaluate(facts).error


@pytest.mark.parametrize(
    ("when", "params"),
    [
        ("true ? (" * 28 + "image.size > params.a" + ") : false" * 28, {"a": 1}),
        ("image.ref != params.a", {"a": "x\0y"}),
    ],
)
def test_what_does_not_fit_into_one_expression_is_judged_one_by_one(when: str, params: dict[str, FactValue]) -> None:
    policies = [policy("odd", when, params), policy("small", "image.size < 2", {})]
    with pytest.raises(ExpressionError):
        Joint([(p.select, p.when) for p in policies])
    together = Together(policies, worth_objects=1)
    known = Facts({"image.size": 3, "image.ref": "y"})
    assert [(p.name, v) for p, v in together.judge(known, ())] == [("odd", evaluate.FAIL)]
    assert dict(together.quiet()) == {("small", Status.PASS): 1}

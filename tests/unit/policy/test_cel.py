import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dockwarden.model import Answer, Facts, FactValue, Kind
from dockwarden.policy import cel
from dockwarden.policy.cel import _version
from dockwarden.policy.faults import MAX_GROWTH, ExpressionError, Problem
from dockwarden.versions import EARLY, version
from tests.tables import each
from tests.unit.policy.builders import PARAMS, SCALARS, VOCABULARY, compiler, program

YES, NO = Answer(value=True), Answer(value=False)


def answer(source: str, known: dict[str, FactValue] | None = None, want: tuple[str, ...] = ("bool",)) -> Answer:
    return program(source, Kind.CONTAINER, want).evaluate(Facts(known or {}))


def refusal(source: str, kind: Kind = Kind.TAG, want: tuple[str, ...] = ("bool",)) -> list[Problem]:
    with pytest.raises(ExpressionError) as caught:
        program(source, kind, want)
    return list(caught.value.problems)


# -- what is refused --------------------------------------------------------------------------------------------------


@each(
    ("source", "problem"),
    [
        ("tag.nam == 'a'", (1, 1, "unknown name tag.nam, did you mean tag.name?")),
        ("true\n && image.in_us", (2, 5, "unknown name image.in_us, did you mean image.in_use?")),
        ("'é' == 'é' && tag.nam == 'a'", (1, 15, "unknown name tag.nam, did you mean tag.name?")),
        ("container.name == 'a'", (1, 1, "container.name is known for container, not here")),
        ("params.kep > 1", (1, 1, "unknown name params.kep, did you mean params.keep?")),
        ("tag.name in lists.movin", (1, 13, "unknown name lists.movin, did you mean lists.moving?")),
        ("tag.name.startswith('a')", (1, 10, "unknown name startswith, did you mean startsWith?")),
        ("zzz > 1", (1, 1, "unknown name zzz")),
        ("tag.name == 1", (1, 10, "'==' does not take (string, int)")),
        ("image.known_for > 24", (1, 17, "'>' does not take (Duration, int); a duration is written duration('24h')")),
        ("'a' in tag.name", (1, 5, "'in' does not take (string, string)")),
        ("image.known_for > 24h", (1, 21, "Syntax error: extraneous input 'h'; a duration is written duration('24h')")),
        ("image.in_use and true", (1, 14, "Syntax error: mismatched input 'and', did you mean &&?")),
        ("image.size = 1", (1, 12, "Syntax error: token recognition error at: '= ', did you mean ==?")),
        ("", (1, 1, "Syntax error: mismatched input '<EOF>'")),
        ("image.in_use\u00a0", (1, 13, "Syntax error: token recognition error at: '\u00a0'")),
        ("'\ud800' == ''", (1, 1, "not valid text")),
        ("(" * 40 + "true" + ")" * 40, (1, 1, "nested too deeply, about 30 levels at most")),
        ("+".join(["1"] * 40) + " > 1", (1, 1, "nested too deeply, about 30 levels at most")),
        ("has(image.in_use)", (1, 5, "image.in_use always exists; has() is for keys of maps")),
        ("has(params.keep)", (1, 5, "params.keep always exists; has() is for keys of maps")),
        ("false && tag.name.matches('(a')", (1, 27, "matches('(a'): invalid regular expression: missing ): (a")),
        (
            "image.known_for > duration('1d')",
            (
                1,
                28,
                "duration('1d'): String to Duration conversion failed; the largest unit is the hour: duration('24h')",
            ),
        ),
        (r"tag.name.matches('\q')", (1, 18, r"Syntax error: token recognition error at: ''\q'")),
        ("now > timestamp('soon')", (1, 17, "timestamp('soon'): String to Timestamp conversion failed")),
    ],
)
def test_says_what_is_wrong_and_where(source: str, problem: tuple[int, int, str]) -> None:
    (found,) = refusal(source)
    assert found[:2] == problem[:2]
    assert found[2].startswith(problem[2])  # hints follow, see test_mistakes


def test_reports_every_unknown_name_at_once() -> None:
    assert [p[:2] for p in refusal("tag.nam == 'a' && image.siz > 1")] == [(1, 1), (1, 19)]


@pytest.mark.parametrize(
    ("source", "want", "text"),
    [
        ("image.size", ("bool",), "gives int, must give bool"),
        ("null", ("bool",), "gives null, must give bool"),
        ("dyn(null)", ("bool",), "gives dyn, must give bool"),
        ("[true]", ("bool",), "gives list<bool>, must give bool"),
        ("optional.of(true)", ("bool",), "gives optional_type<bool>, must give bool"),
        ("image.tags", ("string", "int"), "gives list<string>, must give int or string"),
        ("container.mounts[0].name", ("string", "int"), "gives dyn, must give int or string; wrap it in string(...)"),
    ],
)
def test_refuses_another_type_than_wanted(source: str, want: tuple[str, ...], text: str) -> None:
    (found,) = refusal(source, Kind.CONTAINER, want)
    assert found[:2] == (1, 1)
    assert found[2].startswith(text)


def test_what_shares_an_environment_sees_only_facts_of_its_kind_and_its_own_params() -> None:
    shared = cel.Compiler(VOCABULARY, {}, [{"keep": 3}, {"most": 4}, {"most": "x"}])
    for params, source in (({}, "image.in_use"), ({"keep": 3}, "params.most > 1"), ({"keep": "x"}, "params.keep > 1")):
        with pytest.raises(ExpressionError):
            shared.compile(Kind.VOLUME, params, source)
    for params, source in (({"keep": 3}, "params.keep == 3"), ({"most": 4}, "params.most == 4")):
        assert shared.compile(Kind.VOLUME, params, source).evaluate(Facts()).value is True
    text = shared.compile(Kind.VOLUME, {"most": "x"}, "params.most == 'x'")
    assert text.evaluate(Facts()).value is True
    variable = shared.compile(Kind.VOLUME, {}, "[{'in_use': true}].exists(image, image.in_use)")
    assert variable.evaluate(Facts()).value is True


@each("depth", range(24, 36))
def test_any_depth_compiles_or_is_refused(depth: int) -> None:
    source = "!(" * depth + "image.in_use" + ")" * depth
    try:
        outcome = set(program(source).references)
    except ExpressionError as error:
        outcome = {problem.text for problem in error.problems}
    assert outcome in ({"image.in_use"}, {"nested too deeply, about 30 levels at most"})


def test_limits_length_and_macros() -> None:
    longest = "true || tag.name == '".ljust(1999, "a") + "'"
    assert program(longest).source == longest
    assert refusal(longest + " ") == [(1, 1, "2001 characters, at most 2000 are allowed")]
    eight = " && ".join(["image.tags.exists(t, t == '')"] * 8)
    assert program(eight).references == {"image.tags"}
    assert refusal(eight + "\n && image.tags.all (t, true)") == [
        (2, 16, "9 macros such as exists() or map(), at most 8 are allowed")
    ]


@pytest.mark.parametrize(
    "source",
    [
        f"tag.name in {[str(number) for number in range(200)]}",
        f"image.size in {list(range(300))}",
        "image.labels[?'a']" + ".optMap(v, v + 'x')" * 5 + ".orValue('') == 'a'",
        " && ".join(f"image.labels[?'a{number}'].optMap(v, v + 'x').orValue('') == 'a'" for number in range(10)),
    ],
)
def test_what_is_written_out_is_no_growth(source: str) -> None:
    assert program(source).source


def test_facts_within_a_map_are_asked_for() -> None:
    found = program("{'a': image.in_use, image.ref: false}['a']", Kind.IMAGE)
    assert found.references == {"image.in_use", "image.ref"}


# -- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "references"),
    [
        ("image.in_use || tag.name == 'image.size'", {"image.in_use", "tag.name"}),
        ("image.labels.team == 'a' && image.labels['b'] == ''", {"image.labels"}),
        ("image.tags.exists(ref, ref.startsWith(tag.ref))", {"image.tags", "tag.ref"}),
        ("now - image.created > params.older_than", {"now", "image.created"}),
        ("tag.name in lists.moving || params.keep > 2", {"tag.name"}),
        ("1 > 2", set()),
    ],
)
def test_references_are_the_facts_it_needs(source: str, references: set[str]) -> None:
    assert program(source).references == references


@given(st.sets(st.sampled_from(sorted(VOCABULARY[Kind.CONTAINER])), min_size=1))
def test_references_are_exactly_the_names_written(names: set[str]) -> None:
    source = " && ".join(f"{name} == {name}" for name in sorted(names))
    assert compiler().compile(Kind.CONTAINER, {}, source).references == names


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "known", "expected"),
    [
        ("image.in_use", {"image.in_use": False}, NO),
        ("image.size > 5", {"image.size": 6}, YES),
        ("image.known_for > params.older_than", {"image.known_for": timedelta(hours=25)}, YES),
        ("image.ref in lists.moving", {"image.ref": "edge"}, YES),
        ("'a' in image.labels && image.labels.a == 'b'", {"image.labels": {}}, NO),
        ("image.labels[?'a'].orValue('none') == 'none'", {"image.labels": {}}, YES),
        ("container.mounts.exists(m, m.rw && m.source.endsWith('.sock'))",
         {"container.mounts": [{"rw": True, "source": "/a.sock"}]}, YES),
        ("image.in_use // why not", {"image.in_use": True}, YES),
    ],
)  # fmt: skip
def test_true_and_false(source: str, known: dict[str, FactValue], expected: Answer) -> None:
    assert answer(source, known) == expected


@pytest.mark.parametrize(
    ("source", "known", "value"),
    [
        ("image.size", {"image.size": 5}, 5),
        ("image.size / 2", {"image.size": 5}, 2),
        ("container.cpu_limit", {"container.cpu_limit": 0.5}, 0.5),
        ("image.ref + '!'", {"image.ref": "a"}, "a!"),
        ("image.tags.join(', ')", {"image.tags": ["a", "b"]}, "a, b"),
        ("image.known_for", {"image.known_for": timedelta(days=400)}, timedelta(days=400)),
        ("image.in_use", {"image.in_use": True}, True),
        ("now", {"now": datetime(2026, 3, 1, tzinfo=UTC)}, datetime(2026, 3, 1, tzinfo=UTC)),
        ("params.keep", {}, 3),
    ],
)
def test_values_of_message_parts(source: str, known: dict[str, FactValue], value: object) -> None:
    assert answer(source, known, SCALARS) == Answer(value=value)


@pytest.mark.parametrize(
    ("source", "known", "expected"),
    [
        ("image.in_use && image.user == ''", {"image.in_use": False}, NO),
        ("image.user == '' && image.in_use", {"image.in_use": False}, NO),
        ("image.user == '' || image.in_use", {"image.in_use": True}, YES),
        ("image.user == '' || image.in_use", {"image.in_use": False}, Answer(missing="image.user")),
        ("image.user == '' || params.keep > 5", {}, Answer(missing="image.user")),
    ],
)
def test_and_and_or_absorb_what_is_missing(source: str, known: dict[str, FactValue], expected: Answer) -> None:
    assert answer(source, known) == expected


def test_names_the_cheapest_missing_fact() -> None:
    dear_first = program("registry.digest == '' && image.user == '' && image.size > 1")
    facts = Facts({})
    assert dear_first.evaluate(facts) == Answer(missing="image.size")
    facts.known["image.size"], facts.shared = 2, None
    assert dear_first.evaluate(facts) == Answer(missing="image.user")
    facts.known["image.user"], facts.shared = "", None
    assert dear_first.evaluate(facts) == Answer(missing="registry.digest")


@pytest.mark.parametrize("source", ["1 / image.size == 1 && image.in_use", "image.in_use && 1 / image.size == 1"])
def test_an_error_is_final_only_when_nothing_is_missing(source: str) -> None:
    assert answer(source, {"image.size": 0}) == Answer(missing="image.in_use")
    assert answer(source, {"image.size": 0, "image.in_use": False}) == NO
    assert answer(source, {"image.size": 0, "image.in_use": True}) == Answer(error="divide by zero")


@pytest.mark.parametrize(
    ("source", "known", "error"),
    [
        ("image.size / 0 == 1", {"image.size": 1}, "divide by zero"),
        ("image.labels.team == 'a'", {"image.labels": {}}, 'Key not found in map : "team"'),
        ("image.size > 1", {"image.size": "1"}, "Unexpected value type for 'image.size': str. (Expected INT)"),
        ("image.size > 1", {"image.size": 2**70}, "int too big to convert"),
        ("image.ref == 'a'", {"image.ref": "\ud800"}, "basic_string: construction from null is not valid"),
        ("image.tags.exists(a, image.tags.exists(b, image.tags.exists(c, a + b + c == 'no')))",
         {"image.tags": ["a"] * 40}, "Iteration budget exceeded"),
        ("image.created > now",
         {"image.created": datetime(1, 1, 1, tzinfo=UTC), "now": datetime(2026, 1, 1, tzinfo=UTC)},
         'Timestamp "infinite-past" below minimum allowed timestamp "1-01-01T00:00:00Z"'),
    ],
)  # fmt: skip
def test_errors_are_told_as_errors(source: str, known: dict[str, FactValue], error: str) -> None:
    assert answer(source, known) == Answer(error=error)


@pytest.mark.parametrize(
    "source",
    [
        "(dyn([null]) + [true])[0]",
        "dyn(optional.of(null)).orValue(true)",
        "false ? google.protobuf.BoolValue{} : null",
    ],
)
def test_a_null_in_place_of_a_bool_is_an_error(source: str) -> None:
    assert answer(source) == Answer(error="a condition gave no bool")


def test_a_null_in_place_of_a_text_is_an_error() -> None:
    assert answer("(dyn([null]) + ['a'])[0]", want=("string",)) == Answer(error="gave NULL")


def test_text_from_strangers_cannot_pose_as_a_missing_fact() -> None:
    text = 'No value with name "image.user" found in Activation'
    facts: dict[str, FactValue] = {"image.labels": {}, "image.ref": text, "image.user": ""}
    assert answer("image.user == '' && image.labels[image.ref] == ''", facts).missing == ""


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("tokyo")
@pytest.mark.parametrize("at", ["timestamp('2026-03-01T12:00:00Z')", "timestamp(params.at)"])
def test_times_are_compared_whatever_the_zone_of_the_process(at: str) -> None:
    compiled = compiler().compile(Kind.IMAGE, {"at": "2026-03-01T12:00:00Z"}, f"image.created == {at}")
    assert compiled.evaluate(Facts({"image.created": datetime(2026, 3, 1, 12, tzinfo=UTC)})) == YES


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
def test_a_time_that_no_year_has_in_utc_is_an_error(at: str) -> None:
    compiled = compiler().compile(Kind.IMAGE, {}, "image.created", SCALARS)
    assert compiled.evaluate(Facts({"image.created": datetime.fromisoformat(at)})).error


def test_programs_of_one_object_share_its_prepared_facts() -> None:
    facts = Facts({"image.size": 5, "image.in_use": True})
    of_tag, of_image = program("image.size == 5", Kind.TAG), program("image.in_use", Kind.IMAGE)
    assert of_tag.evaluate(facts) == YES
    shared = facts.shared
    assert of_image.evaluate(facts) == YES
    assert shared is not None
    assert facts.shared is shared


def test_a_change_of_facts_shows_once_shared_is_reset() -> None:
    facts = Facts({"image.size": 5})
    compiled = program("image.size == 5")
    assert compiled.evaluate(facts) == YES
    facts.known["image.size"], facts.shared = 6, None
    assert compiled.evaluate(facts) == NO


def test_policies_with_the_same_names_of_params_keep_their_own_values() -> None:
    shared = compiler()
    few, many = (shared.compile(Kind.IMAGE, {"keep": n}, "image.size > params.keep") for n in (1, 9))
    facts = Facts({"image.size": 5})
    assert (few.evaluate(facts), many.evaluate(facts)) == (YES, NO)


@pytest.mark.parametrize(
    ("value", "name"),
    [(True, "bool"), (1, "int"), (1.0, "double"), ("a", "string"), (timedelta(1), "duration"), (["a"], "list(string)")],
)
def test_type_of_constants(value: FactValue, name: str) -> None:
    assert cel.type_of(value) == name


@given(st.text(max_size=40))
def test_any_text_compiles_or_is_refused_with_a_place_inside_it(source: str) -> None:
    try:
        compiler().compile(Kind.IMAGE, PARAMS, source)
    except ExpressionError as error:
        lines = source.split("\n")
        for line, column, text in error.problems:
            assert 1 <= line <= len(lines)
            assert 1 <= column <= len(lines[line - 1]) + 1
            assert text


GROWING = [
    ".replace('a', 'aaaaaaaaaaaaaaaaaaaa')",
    ".replace('', 'aaaaaaaaaa')",
    r".replace('\u0061', '" + "b" * 60 + "')",
    ".split('').join('aaaaaaaaaaaa')",
    ".split('').map(x, 'a%s%s%s%s'.format([x, x, x, x])).join()",
    ".replace('a', image.labels['a'])",
]


@given(st.lists(st.sampled_from(GROWING), min_size=1, max_size=6))
@example([".replace('', 'aaaaaaaaaa')", ".split('').join('aaaaaaaaaaaa')"])
def test_no_chain_of_calls_makes_much_of_a_little(calls: list[str]) -> None:
    source = f"size(image.labels['a']{''.join(calls)})"
    told, length = "", object()
    try:
        length = program(source, Kind.IMAGE, ("int",)).evaluate(Facts({"image.labels": {"a": "a" * 100}})).value
    except ExpressionError as error:
        told = str(error)
    assert "times its length" in told or (isinstance(length, int) and length <= 100 * MAX_GROWTH)


@pytest.mark.parametrize(
    "source",
    [
        "image.ref.replace('docker.io/library/', '')",
        "image.ref.split('/')[0].split(':')[0]",
        "image.tags.join(', ')",
        "image.ref.replace('-', '_').replace('/', '__').split('@')[0]",
        "image.ref.split('/')[0] in [image.ref.split(':')[0], 'a'] || 'b' in image.ref.split('@') ? 'c' : 'd'",
        "image.tags.map(t, '%s of %s (%s)'.format([t, image.ref, image.tags])).join(', ')",
        "cel.bind(a, image.ref + '+++ bind(' + image.ref, a + ':' + image.ref)",
    ],
)
def test_calls_of_every_day_are_allowed(source: str) -> None:
    assert program(source, Kind.IMAGE, ("string",)).source == source


@each("twice", ["{}+{}", "[{}, {}].join()", "{{'a': [{}, {}].join('')}}['a']", "strings.quote({})"])
def test_text_added_to_itself_by_name_after_name_is_refused(twice: str) -> None:
    def doubling(times: int) -> str:
        names = "abcdefgh"[:times]
        each = zip(names[1:], names, strict=False)
        inner = "".join(f"cel.bind({new}, {twice.format(old, old)}, " for new, old in each)
        return f"cel.bind(a, image.ref, {inner}{names[-1]} == '+'{')' * times}"

    assert program(doubling(3), Kind.IMAGE).references == {"image.ref"}
    assert "times its length" in refusal(doubling(8), Kind.IMAGE)[0].text


@pytest.mark.parametrize("text", ["1" + ".0" * 100_000 + ".1", "1" + ".0" * 100_000, "0" * 100_000 + "x"])
def test_version_of_any_length_is_read_in_time(text: str) -> None:
    assert _version(text) >= _version("0")  # by backtracking it would take minutes


@pytest.mark.parametrize(("one", "same"), [("1.0.0", "1"), ("0.0", "0"), ("1.10", "1.10.00"), ("1.0-rc1", "1-rc1")])
def test_zeros_at_the_end_are_no_other_version(one: str, same: str) -> None:
    assert _version(one) == _version(same)


@each("suffix", ["-{}", "-{}1", ".{}2", "{}3", "-{}.1", "-{}-20250101", "-{}1-alpine"])
@each("word", [*re.sub(r"\(\?!.*?\)|\?", "", EARLY).split("|"), "dev", "devel", "a", "b", "m"])
def test_a_pre_release_is_before_its_release_whatever_it_is_called(word: str, suffix: str) -> None:
    tag = "2.0.0" + suffix.format(word)
    assert _version("1.9.9") < _version(tag) < _version("2.0.0") < _version("2.0.0-alpine")
    assert not (found := version(tag)) or found.is_early

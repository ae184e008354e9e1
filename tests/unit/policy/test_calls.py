"""Our own functions in expressions: `version()` and `as_size()`."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from dockwarden.model import Facts, FactValue, Kind
from dockwarden.policy.cel import Compiler, Program
from tests.tables import each
from tests.unit.policy.builders import VOCABULARY

_TEXTS = ("", "1.2", "1.10", "v2.0-rc1", "latest", "1.2.0", "é")
_CONDITIONS = (
    "{} < {}",
    "{} == {} || tag.name == 'latest'",
    "tag.name.matches('^v?[0-9]') && {} >= {}",
    "[tag.name].exists(t, version(t) < {} && {} != version(t))",
    "['1', tag.ref].all(t, {} <= version(t) || {} > version('0'))",
    "as_size(image.size) == '1.0 MB' ? {} > {} : image.in_use",
)
_ARGS = ("tag.name", "tag.ref", "params.text", "'1.10'", '"1.2"', "'latest'")
_KNOWN = st.fixed_dictionaries(
    {},
    optional={
        "tag.name": st.sampled_from(_TEXTS),
        "tag.ref": st.sampled_from(_TEXTS),
        "image.size": st.sampled_from([0, 1_000_000]),
        "image.in_use": st.booleans(),
    },
)


def compiled(source: str, text: str = "1.2", want: str = "bool") -> Program:
    params = {"text": text}
    return Compiler(VOCABULARY, {}, [params]).compile(Kind.TAG, params, source, (want,))


@given(
    st.sampled_from(_CONDITIONS),
    st.lists(st.tuples(st.sampled_from(["{}({})", "{} (\n{} )"]), st.sampled_from(_ARGS)), min_size=2, max_size=2),
    st.sampled_from(_TEXTS),
    st.lists(_KNOWN, min_size=1, max_size=4),
)
def test_they_give_the_same_with_a_name_as_with_an_expression(
    condition: str, args: list[tuple[str, str]], text: str, objects: list[dict[str, FactValue]]
) -> None:
    one = compiled(condition.format(*(form.format("version", arg) for form, arg in args)), text)
    other = compiled(condition.format(*(form.format("version", f"{arg} + ''") for form, arg in args)), text)
    for known in objects:
        assert one.evaluate(Facts(known)) == other.evaluate(Facts(known))
        for values in ({"text": "0.1"}, {"text": "3"}):
            assert one.given(values).evaluate(Facts(known)) == other.given(values).evaluate(Facts(known))


@each(
    ("source", "want"),
    [
        ("as_size(image.size)", "string"),
        ("version(tag.name) < version('1.10')", "bool"),
        ("tag.name != '' && (image.in_use || version( tag.name ) >= version(params.text))", "bool"),
        ("image.in_use ? false : version(tag.name) != version(tag.ref)", "bool"),
        ("[tag.ref].exists(t, t != tag.name && version('1') < version(tag.name))", "bool"),
    ],
)
def test_they_leave_nothing_in_memory(source: str, want: str) -> None:
    program = compiled(source, want=want)
    facts = Facts({"tag.name": "1.9-alpine", "tag.ref": "1.9", "image.size": 123_456_789, "image.in_use": False})
    program.evaluate(facts)
    before = sys.getallocatedblocks()
    for _ in range(1000):
        assert not program.evaluate(facts).error
    assert sys.getallocatedblocks() < before + 500


def test_they_leave_nothing_in_memory_while_a_fact_is_missing() -> None:
    program = compiled("version(tag.name) < version(tag.ref)")
    facts = Facts({"tag.name": "1.9-alpine"})
    before = sys.getallocatedblocks()
    for _ in range(1000):
        assert program.evaluate(facts).missing == "tag.ref"
    assert sys.getallocatedblocks() < before + 500


@each("text", ["1.2😀", "1.2é\x7f"])
def test_they_take_any_text(text: str) -> None:
    program = compiled(f"version(tag.name) == version('{text}')")
    assert program.evaluate(Facts({"tag.name": text})).value is True

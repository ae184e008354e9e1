from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.model import Answer, Facts, FactValue, Kind, Ref, Result, Severity, Status, Verdict
from dockwarden.policy import evaluate
from dockwarden.text import MAX_TEXT, printable, words
from tests.tables import each
from tests.unit.policy.builders import SCALARS, policy, program

REF = Ref(Kind.TAG, "docker.io/library/busybox:1")


def part(source: str) -> object:
    return program(source, Kind.TAG, SCALARS)


@pytest.mark.parametrize(
    ("select", "known", "status"),
    [
        ("", {"image.in_use": True}, Status.FAIL),
        ("", {"image.in_use": False}, Status.PASS),
        ("image.size > 1", {"image.in_use": True, "image.size": 2}, Status.FAIL),
        ("image.size > 1", {"image.in_use": True, "image.size": 1}, Status.SKIP),
        ("image.size > 1", {"image.size": 1}, Status.SKIP),
    ],
)
def test_judge(select: str, known: dict[str, FactValue], status: Status) -> None:
    assert evaluate.judge(policy("image.in_use", select), Facts(known)) == Verdict(status)


@pytest.mark.parametrize(
    ("when", "select", "verdict"),
    [
        ("image.user == ''", "", Verdict(Status.UNKNOWN, missing="image.user")),
        ("true", "image.user == ''", Verdict(Status.UNKNOWN, missing="image.user")),
        ("image.labels.a == ''", "", Verdict(Status.ERROR, reason='Key not found in map : "a"')),
        ("true", "image.labels.a == ''", Verdict(Status.ERROR, reason='Key not found in map : "a"')),
    ],
)
def test_unknown_and_error_are_no_findings(when: str, select: str, verdict: Verdict) -> None:
    assert evaluate.judge(policy(when, select), Facts({"image.labels": {}})) == verdict


def test_common_verdicts_are_shared() -> None:
    one, other = (evaluate.judge(policy("image.in_use"), Facts({"image.in_use": False})) for _ in range(2))
    assert one is other


def test_a_finding_carries_message_and_evidence() -> None:
    judged = policy("image.in_use || registry.digest == ''", "image.size > 1", message=("has ", part("image.ref")))  # type: ignore[arg-type]
    facts = Facts({"image.in_use": True, "image.size": 2, "image.ref": "a", "host.images": 7})
    assert evaluate.finding(judged, REF, "busybox:1", facts) == Result(
        policy="p",
        ref=REF,
        name="busybox:1",
        status=Status.FAIL,
        severity=Severity.HIGH,
        message="has a",
        evidence={"image.in_use": True, "image.size": 2},
        definition=judged.definition,
    )


@pytest.mark.parametrize(
    ("verdict", "why", "reason"),
    [
        (Verdict(Status.UNKNOWN, missing="registry.digest"), "", "registry.digest is not known"),
        (Verdict(Status.UNKNOWN, missing="registry.digest"), "HTTP 401", "registry.digest is not known: HTTP 401"),
        (Verdict(Status.ERROR, reason="divide\nby zero"), "", r"divide\nby zero"),
    ],
)
def test_other_results_carry_a_reason(verdict: Verdict, why: str, reason: str) -> None:
    result = evaluate.unknown(policy(), REF, "busybox:1", verdict, why)
    assert result == Result("p", REF, "busybox:1", verdict.status, Severity.HIGH, reason=reason)


@pytest.mark.parametrize(
    ("source", "text"),
    [("image.user", "?"), ("image.labels.a", "?"), ("1 / 0", "?"), ("image.size + 1", "6"), ("image.in_use", "true")],
)
def test_message_parts_that_cannot_be_had_read_as_a_question_mark(source: str, text: str) -> None:
    facts = Facts({"image.labels": {}, "image.size": 5, "image.in_use": True})
    assert evaluate.render(policy(message=("<", part(source), ">")), facts) == f"<{text}>"  # type: ignore[arg-type]


@each(
    ("value", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(seconds=45), "45s"),
        (timedelta(milliseconds=-500), "0s"),
        (timedelta(minutes=5), "5m"),
        (timedelta(hours=1, minutes=30), "1h 30m"),
        (timedelta(days=2, hours=1, minutes=30), "2d 1h"),
        (timedelta(days=2, minutes=30), "2d"),
        (timedelta(days=-2, hours=-1), "-2d 1h"),
        (datetime(2026, 3, 1, 13, 30, tzinfo=timezone(timedelta(hours=1))), "2026-03-01T12:30:00Z"),
        (datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01T00:00:00Z"),
        (datetime(999, 1, 1, tzinfo=UTC), "0999-01-01T00:00:00Z"),
        (85.0, "85"),
        (12.345, "12.35"),
        (0.5, "0.5"),
        (100.0, "100"),
        (1e15, "1000000000000000"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        ("text", "text"),
    ],
)
def test_values_are_written_for_people(value: object, text: str) -> None:
    assert words(value) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain é 猫", "plain é 猫"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("right\u202eleft", r"right\u202eleft"),
        ("\ud800", r"\ud800"),
        ("a" * 2000, "a" * 2000),
        ("a" * 2001, "a" * 1999 + "…"),
    ],
)
def test_text_from_strangers_is_made_harmless(text: str, clean: str) -> None:
    assert printable(text, MAX_TEXT) == clean


@given(st.text(alphabet=st.characters(codec=None), max_size=50), st.integers(0, 100))
def test_messages_are_one_printable_line(text: str, times: int) -> None:
    line = printable(text * times, MAX_TEXT)
    assert line.isprintable()
    assert len(line) <= 2000


def test_an_answer_that_is_no_bool_is_an_error() -> None:
    class Odd:
        source, references = "", frozenset[str]()

        def evaluate(self, _facts: object, _tried: object = ()) -> Answer:
            return Answer(value="text")

    odd = policy()._replace(when=Odd())  # type: ignore[arg-type] # as no compiler makes it
    assert evaluate.judge(odd, Facts({})).status is Status.ERROR

"""Exceptions and labels: what is excused now, and what the files may say."""

import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dockwarden.actions.table import VERBS
from dockwarden.config.settings import ScheduleSettings, Settings
from dockwarden.errors import ConfigError
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.model import Excuse, Facts, FactValue, PolicySet
from dockwarden.policy.excuses import excuse, read_until
from dockwarden.policy.load import load
from dockwarden.text import local, moment

NOW = datetime(2027, 3, 31, 12, tzinfo=UTC).timestamp()
DAY = 86400.0


def loaded(folder: Path, keys: str = "", exception: str = "", **options: Any) -> PolicySet:
    text = f"""version: 1
policies:
  - {{name: p, subject: image, trigger: {{every: 1h}}, when: image.dangling{keys}}}
exceptions:
  - {{id: A, policies: ["p*"], match: image.size > 5, reason: known{exception}}}
  - {{id: B, policies: [p], match: "image.tags.exists(t, t.endsWith(':keep'))", reason: kept, until: 2027-04-30}}
"""
    file = folder / "p.yaml"
    file.write_text(text)
    host = Settings(schedule=ScheduleSettings(timezone="UTC"))
    return load([file], VOCABULARY, VERBS, host=host, now=NOW, **options)


def excused(policies: PolicySet, now: float = NOW, **known: FactValue) -> Excuse:
    facts: dict[str, FactValue] = {"image.size": 1, "image.tags": [], "image.labels": {}}
    facts |= {name.replace("_", ".", 1): value for name, value in known.items()}
    return excuse(policies.policies[0], Facts(facts), policies.exceptions, now, UTC)


def test_what_matches_is_excused_and_nothing_else(tmp_path: Path) -> None:
    policies = loaded(tmp_path)
    assert excused(policies) == Excuse()
    assert excused(policies, image_size=6) == Excuse(("A",), told=True, acted=True, reason="known")


def test_of_two_the_later_end_counts_and_both_are_used(tmp_path: Path) -> None:
    policies = loaded(tmp_path, exception=", until: 2027-03-31")
    both = excused(policies, image_size=6, image_tags=["a/b:keep"])
    assert (both.ids, both.reason) == (("A", "B"), "kept")
    assert both.until_at == datetime(2027, 4, 30, 23, 59, 59, tzinfo=UTC).timestamp()


def test_an_exception_holds_to_the_last_second_of_its_day(tmp_path: Path) -> None:
    policies = loaded(tmp_path, exception=", until: 2027-03-31")
    last = datetime(2027, 3, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    assert excused(policies, last, image_size=6).ids == ("A",)
    over = excused(policies, last + 1, image_size=6)
    assert (over.ids, over.expired) == ((), "A has expired")


@pytest.mark.parametrize(("effect", "told", "acted"), [("report", True, False), ("act", False, True)])
def test_effects(tmp_path: Path, effect: str, told: bool, acted: bool) -> None:  # noqa: FBT001
    found = excused(loaded(tmp_path, exception=f", effect: {effect}"), image_size=6)
    assert (found.told, found.acted) == (told, acted)


def test_what_cannot_be_told_is_a_doubt_and_no_excuse(tmp_path: Path) -> None:
    policies = loaded(tmp_path)
    found = excuse(policies.policies[0], Facts({"image.tags": []}), policies.exceptions, NOW, UTC)
    assert (found.ids, found.doubt) == ((), "A")


@pytest.mark.parametrize(
    ("labels", "keys", "ids", "expired"),
    [
        ({"dockwarden.skip": "other, p"}, "", ("label",), ""),
        ({"dockwarden.skip": "all", "dockwarden.skip.until": "2027-03-31"}, "", ("label",), ""),
        ({"dockwarden.skip": "other"}, "", (), ""),
        ({"dockwarden.skip": "p", "dockwarden.skip.until": "2027-03-30"}, "", (),
         "the label dockwarden.skip has expired"),
        ({"dockwarden.skip": "p", "dockwarden.skip.until": "soon"}, "", (),
         "the label dockwarden.skip.until cannot be read: soon"),
        ({"dockwarden.skip": "p"}, ", severity: high", (), "the label dockwarden.skip does not count for this policy"),
        ({"dockwarden.skip": "p"}, ", severity: high, excusable: label", ("label",), ""),
    ],
)  # fmt: skip
def test_labels(tmp_path: Path, labels: dict[str, str], keys: str, ids: tuple[str, ...], expired: str) -> None:
    found = excused(loaded(tmp_path, keys), image_labels=labels)
    assert (found.ids, found.expired) == (ids, expired)


def test_a_glob_excuses_no_policy_that_nobody_may_excuse(tmp_path: Path) -> None:
    other = "}\n  - {name: p-own, subject: image, trigger: {every: 1h}, when: image.dangling, excusable: never"
    assert [e.policies for e in loaded(tmp_path, other).exceptions] == [{"p"}, {"p"}]
    with pytest.raises(ConfigError, match="p-own says that nobody may excuse it"):
        loaded(tmp_path, other, exception='}\n  - {id: C, policies: ["p-*"], match: "true", reason: none')


def test_a_date_ends_in_the_zone_that_is_set() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert read_until("2027-07-01", UTC) - read_until("2027-07-01", berlin) == timedelta(hours=2).total_seconds()
    assert read_until("2027-07-01T00:00:00Z", berlin) == datetime(2027, 7, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("zone", [None, UTC, *map(ZoneInfo, ("Europe/Berlin", "America/Los_Angeles", "Etc/GMT-14"))])
@pytest.mark.parametrize("text", ["9999-12-31", "9999-12-31T23:59:59", "9999-12-31T23:59:59-12:00"])
@pytest.mark.parametrize("here", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_what_ends_in_the_last_year_never_does(
    zone: tzinfo | None, text: str, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", here)
    time.tzset()
    until = read_until(text, zone)
    assert until > NOW + 7_000 * 365 * DAY
    assert moment(until)[:10] == "9999-12-31"
    assert local(until)[:8] == "9999-12-"
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text", ["2027-W10", "2027-W10-3", "2027-W10-3T12:00:00Z", "2027-03", "2027-3-31"])
def test_only_a_day_or_a_time_ends_an_exception(text: str) -> None:
    with pytest.raises(ValueError):
        read_until(text, UTC)


def test_what_has_expired_is_a_warning_and_no_failed_load(tmp_path: Path) -> None:
    (warning,) = loaded(tmp_path, exception=", until: 2026-01-01").warnings
    assert warning.endswith("p.yaml:5 exception A: it expired on 2026-01-01 and excuses nothing")


@pytest.mark.parametrize(
    ("written", "modes", "is_off"),
    [("audit", {}, False), ("off", {}, True), ("off", {"p": "audit"}, False), ("audit", {"p": "off"}, True)],
)
def test_an_exception_from_what_is_off_on_this_host_is_a_warning(
    tmp_path: Path, written: str, modes: dict[str, str], *, is_off: bool
) -> None:
    _ = loaded(tmp_path, f", mode: {written}")
    warnings = load([tmp_path / "p.yaml"], VOCABULARY, VERBS, host=Settings.model_validate({"modes": modes})).warnings
    assert [each for each in warnings if each.endswith("exception B: p is off")] == list(warnings)
    assert bool(warnings) is is_off


TESTS = """
    tests:
      - {{given: {{image.dangling: true, image.size: 1}}, expect: fail{}}}
"""


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("{given: {image.danglin: true}, expect: fail}", "unknown name image.danglin, did you mean image.dangling?"),
        ("{given: {tag.name: a}, expect: fail}", "tag.name is known for tag, not here"),
        ("{given: {image.dangling: 'yes'}, expect: fail}", "must be true or false"),
        ("{given: {image.tags: [nginx]}, expect: fail}", "it is written in full: 'docker.io/library/nginx:latest'"),
        ("{given: {image.known_for: 2}, expect: fail}", "must be a duration such as"),
        ("{given: {image.size: big}, expect: fail}", "must be a size such as"),
        ("{given: {image.layers: 5GB}, expect: fail}", "must be a whole number"),
        ("{given: {host.disk_used_percent: 95%}, expect: fail}", "must be a number, such as 85"),
        ("{given: {image.dangling: true}, now: soon, expect: fail}", "must be a date or time such as"),
        ("{given: {image.dangling: true}, params: {x: 1}, expect: fail}", "no such param"),
    ],
)
def test_tests_are_read_by_the_types_of_facts(tmp_path: Path, case: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f", tests: [{case}]", tests="read")
    assert problem in caught.value.problems[0]

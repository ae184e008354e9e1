import math
import os
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from dockwarden.actions.table import VERBS
from dockwarden.config import packs
from dockwarden.config.files import MAX_BYTES
from dockwarden.config.settings import Settings
from dockwarden.config.source import read
from dockwarden.errors import ConfigError
from dockwarden.model import Facts, Kind, Limits, Mode, Policy, PolicySet, Severity, TriggerSpec
from dockwarden.policy.load import load
from tests.unit.policy.builders import VOCABULARY

_AT_ONCE_SECONDS = 2
TESTDATA = Path(__file__).parent / "testdata"

MINIMAL = """\
version: 1
policies:
  - name: minimal
    subject: image
    trigger: {every: 1h}
    when: image.in_use
"""
FULL = """\
version: 1
lists:
  moving: [latest, edge]
policies:
  - name: everything
    title: A title
    description: >-
      A description
      of two lines.
    remediation: Do something.
    refs: [CIS-4.2]
    tags: [a, b]
    severity: critical
    subject: tag
    trigger: {events: [image.tag, image.pull], schedule: "0 6 * * *", every: 1h30m}
    params: {age: 1d12h, most: 3, share: 0.5, word: off, flag: true, names: [a, b], room: 10GB, ports: [80, 443]}
    gate: host.images > params.most
    select: tag.name in lists.moving
    when: |
      // old enough
      image.known_for > params.age && registry.digest != ''
      && (!params.flag || params.share > 0.1 || params.word in params.names || image.size > params.room
      || image.size in params.ports)
    message: >-
      {{ tag.ref }}  is
      {{ image.size / 2 }} bytes
    mode: enforce
    for: 2h
    action: {untag: {unrecoverable: allow}}
    order_by: image.known_for
    stop_when: host.disk_used_percent < 70.0
    limits: {max_objects: 5, max_percent: 12.5%}
    on_unknown: report
"""


def load_text(folder: Path, text: str | bytes, **overrides: object) -> PolicySet:
    file = folder / "policies.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load([file], VOCABULARY, VERBS, host=Settings.model_validate(overrides))


def refusal(folder: Path, text: str | bytes, **overrides: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(folder, text, **overrides)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def only(policies: PolicySet) -> Policy:
    (policy,) = policies.policies
    return policy


# -- what a policy becomes --------------------------------------------------------------------------------------------


def test_everything_that_can_be_written(tmp_path: Path) -> None:
    policy = only(load_text(tmp_path, FULL))
    assert (policy.name, policy.title, policy.description) == ("everything", "A title", "A description of two lines.")
    assert (policy.remediation, policy.refs, policy.tags) == ("Do something.", ("CIS-4.2",), ("a", "b"))
    assert (policy.subject, policy.severity, policy.mode) == (Kind.TAG, Severity.CRITICAL, Mode.ENFORCE)
    assert policy.trigger == TriggerSpec(frozenset({"image.tag", "image.pull"}), "0 6 * * *", 5400.0)
    assert (policy.action, policy.for_seconds, policy.unrecoverable) == ("untag", 7200.0, True)
    assert policy.order_by is not None
    assert policy.order_by.references == {"image.known_for"}
    assert policy.stop_when is not None
    assert policy.stop_when.references == {"host.disk_used_percent"}
    assert (policy.limits, policy.on_unknown) == (Limits(5, 12.5), "report")
    assert policy.gate is not None
    assert policy.select is not None
    assert policy.needs == {
        "host.images", "tag.name", "image.known_for", "registry.digest", "tag.ref", "image.size"
    }  # fmt: skip
    assert policy.cost == 3
    assert policy.place == f"{tmp_path}/policies.yaml:5"
    texts = [part if isinstance(part, str) else part.source for part in policy.message]
    assert texts == [" tag.ref ", " is ", " image.size / 2 ", " bytes"]
    facts = Facts({"image.known_for": timedelta(hours=37), "registry.digest": "a", "image.size": 10})
    assert policy.when.evaluate(facts).value is True


def test_what_need_not_be_written(tmp_path: Path) -> None:
    policy = only(load_text(tmp_path, MINIMAL))
    assert (policy.gate, policy.select, policy.message) == (None, None, ("minimal",))
    assert (policy.mode, policy.severity, policy.on_unknown) == (Mode.AUDIT, Severity.MEDIUM, "retry")
    assert (policy.limits, policy.action, policy.cost) == (Limits(20, 25.0), "", 0)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("5000000", 5_000_000),
        ("0", 0),
        ("500MB", 500_000_000),
        ("20 GB", 20_000_000_000),
        ("1.5GiB", 3 * 2**29),
        ("2k", 2000),
        ("7B", 7),
    ],
)
def test_sizes(tmp_path: Path, written: str, size: int) -> None:
    text = MINIMAL.replace("image.in_use", "host.images > 1").replace("subject: image", "subject: host")
    policy = only(load_text(tmp_path, text + f"    action: {{trim_build_cache: {{max_used_space: {written}}}}}\n"))
    assert policy.options == {"max_used_space": size, "unused_for": None}


def test_owners_that_a_policy_names(tmp_path: Path) -> None:
    text = MINIMAL.replace("image.in_use", "host.images > 1").replace("subject: image", "subject: container")
    assert only(load_text(tmp_path, text + "    action: {stop: {owners: [swarm, ecs]}}\n")).owners == {"swarm", "ecs"}


@pytest.mark.parametrize("action", ["remove", "{remove: }", "{remove: {}}"])
def test_forms_of_an_action(tmp_path: Path, action: str) -> None:
    policy = only(load_text(tmp_path, MINIMAL + f"    action: {action}\n"))
    assert policy.action == "remove"


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("24h", "params.p == duration('24h')"),
        ("1d1h1m1s", "params.p == duration('90061s')"),
        ("'0s'", "params.p == duration('0s')"),
        ("85.0", "params.p == 85.0"),
        (".5", "params.p == 0.5"),
        ("1e3", "params.p == '1e3'"),
        ("85", "params.p == 85"),
        ("-1", "params.p == -1"),
        ("true", "params.p"),
        ("yes", "params.p == 'yes'"),
        ("'85'", "params.p == '85'"),
        ("12:30:00", "params.p == '12:30:00'"),
        ("0o17", "params.p == '0o17'"),
        ("2027-03-31", "params.p == '2027-03-31'"),
        ("h", "params.p == 'h'"),
        ("[a, '1']", "params.p == ['a', '1']"),
        ("[]", "params.p == []"),
    ],
)
def test_types_of_params(tmp_path: Path, written: str, source: str) -> None:
    text = MINIMAL.replace("image.in_use", f'"{source}"') + f"    params: {{p: {written}}}\n"
    assert only(load_text(tmp_path, text)).when.evaluate(Facts({})).value is True


@pytest.mark.parametrize("text", ["version: 1\n", "version: 1\npolicies: []\n", "version: 1\nlists: {a: [b]}\n"])
def test_a_file_without_policies_is_fine(tmp_path: Path, text: str) -> None:
    assert load_text(tmp_path, text).policies == ()


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    assert only(load_text(tmp_path, ("\ufeff" + FULL).replace("\n", "\r\n"))).name == "everything"


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(file.name for file in TESTDATA.glob("bad-*.yaml")))
def test_bad_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TESTDATA)
    expected = re.findall(r"^# expect (.*)$", Path(name).read_text(), re.MULTILINE)
    with pytest.raises(ConfigError) as caught:
        load([name], VOCABULARY, VERBS)
    assert list(caught.value.problems) == [f"{name}:{line}" for line in expected]


def test_all_files_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load([TESTDATA], VOCABULARY, VERBS)
    named = {problem.partition(":")[0].rpartition("/")[2] for problem in caught.value.problems}
    assert named == {file.name for file in TESTDATA.iterdir()}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"version: 1\n\n# \xff\n", "3:1 file: not UTF-8; save it as that"),
        (b"version: 1\nlists: {a: [\x07]}\n", "2:13 file: the character U+0007 is not allowed"),
        (b'version: 1\npolicies: [{when: "\\ud800"}]\n', "2:12 policies[0].name: is required"),
        (b"[" * 200_000, "1:22 file: nested deeper than 20"),
        (b"version: 1\nlists:\n" + b"".join(b" " * n + b"- \n" for n in range(1, 30)), "23:22 lists: nested deeper"),
        (b"version: 1\n# " + b"a" * MAX_BYTES, "larger than 1,048,576 bytes"),
        (
            b"policies: [shipped]\nweb: {hosts: [a]}\n",
            "policies.yaml: settings, no policies; `dockwarden check --config",
        ),
    ],
)
def test_content_that_cannot_be_used(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in refusal(tmp_path, content)[0]


@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_comment_after_a_quoted_expression_is_no_suspect(tmp_path: Path, quote: str) -> None:
    text = MINIMAL.replace("image.in_use", f"{quote}image.in_usw{quote} # used")
    assert refusal(tmp_path, text) == [
        "policies.yaml:6:12 minimal.when: unknown name image.in_usw, did you mean image.in_use?"
    ]


def test_a_byte_order_mark_does_not_count_as_a_column(tmp_path: Path) -> None:
    text = "\ufeff{version: 1, policies: [{name: a, subject: tag, trigger: {every: 5s}, when: tag.nam}]}"
    assert refusal(tmp_path, text) == ["policies.yaml:1:77 a.when: unknown name tag.nam, did you mean tag.name?"]


def test_a_lone_surrogate_in_an_expression(tmp_path: Path) -> None:
    assert refusal(tmp_path, MINIMAL.replace("image.in_use", r'''"'\ud800' == ''"''')) == [
        "policies.yaml:6:12 minimal.when: not valid text"
    ]


def test_a_name_from_a_stranger_is_printed_harmlessly(tmp_path: Path) -> None:
    (problem,) = refusal(tmp_path, r"version: 1" + "\n" + r'"\x1b[31m": 1')
    assert problem.startswith(r"policies.yaml:2:1 \x1b[31m: unknown key; there are version, lists")


@given(
    blanks=st.lists(st.sampled_from([" ", "  ", "\n", "\n\n", "\n  "]), min_size=3, max_size=3),
    literal=st.text(alphabet="ab'\"\\\t é#:", max_size=8),
    style=st.sampled_from(["|", ">", "'", '"']),
)
@example(blanks=[" ", "\n\n", " "], literal="a\"b'c\\", style='"')
def test_a_column_of_an_expression_is_found_in_the_file(blanks: list[str], literal: str, style: str) -> None:
    source = f"image.ref =={blanks[0]}{_cel(literal)} &&{blanks[1]}image.nonsense{blanks[2]}!= ''"
    policy = {"name": "a", "subject": "image", "trigger": {"every": "1h"}, "when": source}
    text = yaml.dump({"version": 1, "policies": [policy]}, default_style=style, allow_unicode=True, width=60)
    text = text.replace('!!int "1"', "1").replace("!!int '1'", "1").replace("!!int |-\n  1", "1")
    text = text.replace("!!int >-\n  1", "1")
    found = read("f", text.encode())
    assume(not found.problems)
    assert found.data["policies"][0]["when"] == source
    offset = source.index("image.nonsense")
    found.refuse(("policies", 0, "when"), "here", offset)
    (problem,) = found.problems
    line, column = map(int, re.findall(r"\d+", problem)[:2])
    assert text.split("\n")[line - 1][column - 1 :].startswith("image.nonsense")


def _cel(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'


PLAIN = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=5)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=10,
)


@given(tree=TREES, flow=st.booleans())
@example(tree={"0E0": "1e3"}, flow=False)
def test_what_the_library_writes_is_read_as_it_was(tree: object, flow: bool) -> None:  # noqa: FBT001
    text = yaml.dump(tree, default_flow_style=flow, allow_unicode=True, Dumper=_Dumper)
    found = read("f", text.encode())
    assert found.problems == []
    assert found.data == tree


class _Dumper(yaml.SafeDumper):
    """Never writes anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,?\n \t\\1.~", max_size=60))
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    found = read("f", text.encode())
    assert all(re.match(r"f:[1-9]\d*:[1-9]\d* \S", problem) for problem in found.problems)


@pytest.mark.parametrize("part", ["a", " ", "{", "{ "])
def test_a_long_message_is_read_at_once(tmp_path: Path, part: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError):
        load_text(tmp_path, f"{MINIMAL}    message: '{part * 30_000} {{{{'\n")
    assert time.process_time() - began < _AT_ONCE_SECONDS


# -- files and folders ------------------------------------------------------------------------------------------------


def policy_file(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MINIMAL.replace("minimal", name))
    return path


def names(*paths: Path) -> list[str]:
    return [policy.name for policy in load(paths, VOCABULARY, VERBS).policies]


def test_folders_are_read_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    policy_file(tmp_path / "b.yaml", "b")
    policy_file(tmp_path / "a.yml", "a")
    policy_file(tmp_path / "sub" / "c.yaml", "c")
    for hidden in (".d.yaml", ".git/e.yaml", "f.yaml~", "g.txt"):
        policy_file(tmp_path / hidden, "hidden")
    assert names(tmp_path) == ["a", "b", "c"]


def test_files_of_a_mounted_config_map_are_read_once(tmp_path: Path) -> None:
    policy_file(tmp_path / "..2026" / "a.yaml", "a")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert names(tmp_path, tmp_path / "a.yaml") == ["a"]


def test_a_file_named_by_itself_may_have_any_name(tmp_path: Path) -> None:
    assert names(policy_file(tmp_path / ".policy", "a")) == ["a"]


def test_paths_that_match_no_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        load([tmp_path / name for name in ("absent.yaml", "empty", "pipe")], VOCABULARY, VERBS)
    assert caught.value.problems == (
        f"{tmp_path}/absent.yaml: No such file or directory",
        f"{tmp_path}/empty: no *.yaml or *.yml file in it",
        f"{tmp_path}/pipe: not a regular file",
    )


def test_own_policies_of_the_host_may_be_none_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "OWN", tmp_path / "own")
    packs.OWN.mkdir()
    one = policy_file(tmp_path / "a.yaml", "a")
    assert names(one, packs.OWN) == ["a"]
    with pytest.raises(ConfigError, match="own: no"):
        names(packs.OWN)


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=f"{tmp_path}: Permission denied"):
        names(tmp_path)


def test_lists_are_shared_between_files(tmp_path: Path) -> None:
    (tmp_path / "lists.yaml").write_text("version: 1\nlists: {moving: [latest]}\n")
    (tmp_path / "same.yaml").write_text("version: 1\nlists: {moving: [latest]}\n")
    (tmp_path / "policy.yaml").write_text(MINIMAL.replace("image.in_use", "image.ref in lists.moving"))
    assert names(tmp_path) == ["minimal"]
    (tmp_path / "same.yaml").write_text("version: 1\nlists: {moving: [edge]}\n")
    with pytest.raises(ConfigError, match=r"same.yaml:2:9 lists.moving: is defined differently in another file"):
        names(tmp_path)


def test_names_are_unique_across_files(tmp_path: Path) -> None:
    policy_file(tmp_path / "a.yaml", "twin")
    policy_file(tmp_path / "b.yaml", "twin")
    with pytest.raises(ConfigError) as caught:
        names(tmp_path)
    (problem,) = caught.value.problems
    assert problem == f"{tmp_path}/b.yaml:3:5 twin.name: is the name of another policy, in {tmp_path}/a.yaml:3"


def test_the_hash_tells_contents_and_names_apart(tmp_path: Path) -> None:
    def digest(file: Path) -> str:
        return load([file], VOCABULARY, VERBS).sha256

    first = digest(policy_file(tmp_path / "a.yaml", "a"))
    assert first == digest(policy_file(tmp_path / "elsewhere" / "a.yaml", "a"))
    assert (
        len({first, digest(policy_file(tmp_path / "b.yaml", "a")), digest(policy_file(tmp_path / "a.yaml", "b"))}) == 3
    )


# -- what a host says otherwise ---------------------------------------------------------------------------------------

PARAMS = MINIMAL.replace(
    "image.in_use",
    "image.size > params.most && image.known_for > params.age && 1.0 < params.share && params.names != ['c']",
).replace("trigger: {every: 1h}", "trigger: {every: 1h}\n    params: {most: 5, age: 24h, share: 0.5, names: [a]}")


def test_params_of_this_host(tmp_path: Path) -> None:
    facts = Facts({"image.size": 5, "image.known_for": timedelta(hours=2)})
    own = {"minimal": {"most": 4, "age": "1h", "share": 2, "names": ["b"]}}
    assert only(load_text(tmp_path, PARAMS)).when.evaluate(facts).value is False
    assert only(load_text(tmp_path, PARAMS, params=own)).when.evaluate(facts).value is True


def test_params_of_this_host_have_the_policys_types_and_names(tmp_path: Path) -> None:
    own = {"minimal": {"most": "4", "age": 5, "share": math.inf, "mots": 1, "names": [1]}, "minimul": {"most": 1}}
    assert refusal(tmp_path, PARAMS, params=own) == [
        f"settings params.minimul: no such policy in {tmp_path}/policies.yaml, did you mean minimal?",
        "settings params.minimal.most: is string, must be int as in the policy, such as 5",
        "settings params.minimal.age: is int, must be duration as in the policy, such as 1d",
        (
            "settings params.minimal.share: must be a duration, size, number, text, true, false, "
            "or a list of texts or of numbers"
        ),
        "settings params.minimal.mots: no such param, did you mean most?",
        "settings params.minimal.names: is list(int), must be list(string) as in the policy, such as ['a']",
    ]


@pytest.mark.parametrize(
    ("written", "own", "allow", "mode"),
    [
        ("enforce", None, Mode.ENFORCE, Mode.ENFORCE),
        ("enforce", None, Mode.AUDIT, Mode.AUDIT),
        ("audit", Mode.ENFORCE, Mode.ENFORCE, Mode.ENFORCE),
        ("audit", Mode.ENFORCE, Mode.AUDIT, Mode.AUDIT),
        ("enforce", Mode.OFF, Mode.ENFORCE, Mode.OFF),
        ("off", None, Mode.AUDIT, Mode.OFF),
    ],
)
def test_modes_of_this_host(tmp_path: Path, written: str, own: Mode | None, allow: Mode, mode: Mode) -> None:
    modes = {"minimal": own} if own else {}
    text = MINIMAL + f"    mode: {written}\n    action: remove\n"
    assert only(load_text(tmp_path, text, modes=modes, allow=allow)).mode is mode


def test_a_policy_without_an_action_cannot_be_made_to_enforce(tmp_path: Path) -> None:
    assert refusal(tmp_path, MINIMAL, modes={"minimal": Mode.ENFORCE}) == [
        "settings modes.minimal: enforce needs an action; write `action: {…}`, or `mode: audit`"
    ]


def test_triggers_of_this_host_replace_the_policys(tmp_path: Path) -> None:
    own = {"minimal": {"schedule": "0 6 * * *", "events": ["image.new"]}}
    policy = only(load_text(tmp_path, MINIMAL, triggers=own))
    assert policy.trigger == TriggerSpec(frozenset({"image.new"}), "0 6 * * *", 0.0)


@pytest.mark.parametrize(
    ("own", "problems"),
    [
        (
            {},
            ['settings triggers.minimal: needs events, schedule or every, such as {schedule: "0 3 * * *"}'],
        ),
        ({"every": "1s"}, ["settings triggers.minimal.every: must be at least 5s"]),
        ({"events": ["image.pul"]},
         ["settings triggers.minimal: image.pul does not concern image policies, did you mean image.pull?"]),
        ({"schedule": "0 0 31 2 *"}, ["settings triggers.minimal.schedule: it never fires"]),
    ],
)  # fmt: skip
def test_triggers_of_this_host_are_checked(tmp_path: Path, own: dict[str, object], problems: list[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MINIMAL)
    with pytest.raises(ConfigError) as caught:
        load(
            [file],
            VOCABULARY,
            VERBS,
            host=Settings.model_validate({"triggers": {"minimal": own}}),
        )
    assert list(caught.value.problems) == problems


@pytest.mark.parametrize(
    ("own", "limits"),
    [
        ({}, Limits(5, 12.5)),
        ({"max_objects": 7}, Limits(7, 12.5)),
        ({"max_percent": "50%", "over": "take_first"}, Limits(5, 50.0, takes_first=True)),
    ],
)
def test_limits_of_this_host_change_what_they_name(tmp_path: Path, own: dict[str, object], limits: Limits) -> None:
    text = MINIMAL + "    limits: {max_objects: 5, max_percent: 12.5%}\n"
    assert only(load_text(tmp_path, text, limits={"minimal": own})).limits == limits


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        ({"max_objects": 0}, "max_objects: must be at least 1"),
        ({"max_percent": 0.0}, "max_percent: must be above 0 and at most 100, such as 25%"),
        ({"max_percent": 0.5}, "max_percent: is in percent; write 50%, or 0.5% if that is meant"),
    ],
)
def test_limits_of_this_host_are_checked(tmp_path: Path, own: dict[str, object], problem: str) -> None:
    assert refusal(tmp_path, MINIMAL, limits={"minimal": own}) == [f"settings limits.minimal.{problem}"]


def test_overrides_of_unknown_policies_are_refused(tmp_path: Path) -> None:
    unknown = {"modes": {"minimul": Mode.OFF}, "triggers": {name * 3: {"every": "1h"} for name in "zyxw"}}
    assert refusal(tmp_path, MINIMAL, **unknown) == [
        f"settings modes.minimul: no such policy in {tmp_path}/policies.yaml, did you mean minimal?",
        *(f"settings triggers.{name * 3}: no such policy in {tmp_path}/policies.yaml" for name in "wxyz"),
    ]


# -- one validator for what a file says and what a host says instead ----------------------------------------------

_BASES = (
    {"subject": "image", "when": "image.in_use"},
    {"subject": "image", "when": "image.in_use", "action": "remove"},
    {"subject": "image", "when": "image.in_use", "action": "remove", "for": "2h"},
    {"subject": "volume", "when": "volume.in_use", "action": "remove", "for": "7d"},
    {"subject": "host", "when": "host.images > 3"},
)
_VALUES = {
    "trigger": st.fixed_dictionaries(
        {},
        optional={
            "events": st.sampled_from(
                [[], ["image.pull"], ["image.tag", "container.die"], ["volume.create"], ["x"], "x"]
            ),
            "schedule": st.sampled_from(["", "0 6 * * *", "bad line", 5]),
            "every": st.sampled_from(["", "1h", "1s", "soon", 60]),
            "evry": st.just("1h"),
        },
    ),
    "mode": st.sampled_from(["audit", "enforce", "off", "loud"]),
}


def accepts(folder: Path, policy: dict[str, object], **overrides: object) -> PolicySet | None:
    file = folder / "policies.yaml"
    file.write_text(yaml.safe_dump({"version": 1, "policies": [policy]}))
    try:
        host = Settings.model_validate(overrides)
        return load([file], VOCABULARY, VERBS, host=host)
    except (ConfigError, ValidationError):
        return None


@given(st.data(), st.sampled_from(_BASES), st.sets(st.sampled_from(sorted(_VALUES)), min_size=1))
def test_a_host_may_say_exactly_what_the_file_may_say(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, base: dict[str, object], keys: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("policies")
    values = {key: data.draw(_VALUES[key], key) for key in sorted(keys)}
    policy: dict[str, object] = {"name": "p", "trigger": {"every": "1h"}, **base}
    overrides = {f"{key}s": {"p": value} for key, value in values.items()}
    written, said = accepts(folder, {**policy, **values}), accepts(folder, policy, **overrides)
    assert (written is None) == (said is None), (values, written, said)
    if written and said:
        assert (only(written).trigger, only(written).mode) == (only(said).trigger, only(said).mode)


def test_a_trigger_of_the_host_that_leaves_nobody_to_look_is_refused_with_its_setting(tmp_path: Path) -> None:
    text = MINIMAL + "    for: 2h\n    action: remove\n"
    with pytest.raises(ConfigError) as refused:
        load_text(tmp_path, text, triggers={"minimal": {"events": ["image.pull"]}})
    [problem] = refused.value.problems
    assert problem.startswith("settings triggers.minimal: with `for`, the trigger needs schedule or every")

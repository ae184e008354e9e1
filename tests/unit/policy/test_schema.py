"""The schema for editors: it lets through what may be written, and refuses what no file may say."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockwarden.actions.table import VERBS
from dockwarden.config import settings
from dockwarden.errors import ConfigError
from dockwarden.model import Kind
from dockwarden.policy import document
from dockwarden.policy.schema import schema
from tests import docs
from tests.tables import each
from tests.unit.policy.test_mistakes import MISTAKES, refused, written

SCHEMA = schema(VERBS)
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "number": (int, float), "integer": (int,),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
WORDS = {
    "description",
    "markdownDescription",
    "title",
    "default",
    "examples",
    "$defs",
    "ge",
    "le",
    "format",
    "writeOnly",
}
# What is wrong with an expression, a date or a comment, no schema can tell.
ONLY_CHECK_SEES = re.compile(r"message: |order_by: |gate: |stop_when: |0 25 |0 0 31 2|\*/5m")


class _Loader(yaml.SafeLoader):
    """As editors read: ``off`` and dates are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith((":bool", ":timestamp"))]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def fits(value: Any, shape: Mapping[str, Any]) -> bool:
    """Whether a value is valid; knows the keywords that the schema has, and no more."""
    return all(_fits(value, word, wanted, shape) for word, wanted in shape.items() if word not in WORDS)


def _fits(value: Any, word: str, wanted: Any, shape: Mapping[str, Any]) -> bool:  # noqa: C901, PLR0912
    match word:
        case "$ref":
            return fits(value, SCHEMA["$defs"][wanted.rpartition("/")[2]])
        case "type":
            wanted = wanted if isinstance(wanted, list) else [wanted]
            return any(isinstance(value, TYPES[w]) and (w == "boolean" or not isinstance(value, bool)) for w in wanted)
        case "enum":
            return value in wanted
        case "const":
            return bool(value == wanted)
        case "anyOf":
            return any(fits(value, each) for each in wanted)
        case "allOf":
            return all(fits(value, each) for each in wanted)
        case "not":
            return not fits(value, wanted)
        case "if":
            return not fits(value, wanted) or fits(value, shape.get("then", {}))
        case "then":
            return True
        case "pattern":
            return not isinstance(value, str) or re.search(wanted, value) is not None
        case "minLength" | "maxLength":
            return not isinstance(value, str) or (len(value) >= wanted if word == "minLength" else len(value) <= wanted)
        case "minimum" | "maximum":
            is_number = isinstance(value, int | float)
            return not is_number or (value >= wanted if word == "minimum" else value <= wanted)
        case "items" | "minItems":
            if not isinstance(value, list):
                return True
            return len(value) >= wanted if word == "minItems" else all(fits(item, wanted) for item in value)
    if not isinstance(value, dict):
        return True
    match word:
        case "properties":
            return all(fits(value[key], inner) for key, inner in wanted.items() if key in value)
        case "required":
            return all(key in value for key in wanted)
        case "propertyNames":
            return all(fits(key, wanted) for key in value)
        case "minProperties" | "maxProperties":
            return bool(len(value) >= wanted if word == "minProperties" else len(value) <= wanted)
        case "additionalProperties":
            others = [inner for key, inner in value.items() if key not in shape.get("properties", {})]
            if isinstance(wanted, dict):
                return all(fits(inner, wanted) for inner in others)
            return bool(wanted) or not others
    raise AssertionError(f"a keyword that this test does not know: {word}")


def valid(text: str) -> bool:
    return fits(yaml.load(text, _Loader), SCHEMA)


POLICIES = {file.name: file.read_text() for file in docs.POLICIES.rglob("*.yaml")}
SAMPLES = [
    block
    for page in ("README.md", "docs/policies.md")
    for block in re.findall(r"```yaml\n(.*?)```", (docs.ROOT / page).read_text(), re.DOTALL)
    if block.startswith("version:")
]


@each("text", [*POLICIES.values(), *SAMPLES])
def test_every_shipped_and_documented_policy_is_valid(text: str) -> None:
    assert valid(text)


@each(("subject", "when"), MISTAKES["fine"])
def test_what_is_fine_is_valid(subject: str, when: str) -> None:
    assert valid(written(when, subject))


@each("line", [line for line, _ in MISTAKES["keys"] if not ONLY_CHECK_SEES.match(line)])
def test_mistakes_in_keys_are_not_valid(line: str) -> None:
    key, _, text = line.partition(": ")
    if ONLY_CHECK_SEES.search(line):
        return
    with suppress(yaml.YAMLError):
        assert not valid(written(**{key: text}))


DURATIONS = "24h|0s|0d|1h30m|1d1d|1m1h|1.5h|7|'7'|''|-1h|1w|1H|' 1h'|99999d|999999d|0h5s|4s|04s|0d3s|1d4s|PT1H|null"
SIZES = "20GB|500|1|999999|1000000|0|'0'|'20'|20G|20g|1.5GiB|1.5555GB|''|-1|1e3|1000000.0|20 GB|20  GB|null"
SHARES = "1|0|0.5|1.0|100|101|'25%'|0%|0.5%|100%|100.1%|1000%|12.%|.5%|1.2.3|''|-1|true|' 25%'|050%|null"
WORDS_OF = "''|' '|1|true|[]|{}|null"
# How a line of a policy on a container may go on.
LINES = {
    **dict.fromkeys(("trigger: {every: %s}", "trigger: {events: [], schedule: '', every: %s}", "for: %s"), DURATIONS),
    **{f"action: {{update: {{{key}: %s}}}}": DURATIONS for key in ("within", "steady", "keep_old")},
    "action: {restart: {timeout: %s}}": DURATIONS,
    "action: {restart: {most: %s}}": "3 per 1h|0 per 1h|3 per 0s|3 per 1d2h|03 per 1h|3|''|3 per h|99999 per 1h",
    "action: %s": "{}|null|''|remove|{remove: }|{remove: {}}|[]|{remove: {}, stop: {}}",
    "limits: {max_percent: %s}": SHARES,
    "trigger: {schedule: %s}": "'0 3 * * *'|''|'0 3 * *'|null|1",
    "trigger: {events: %s}": "[container.start]|[]|''|null",
    **dict.fromkeys(("excusable: %s", "title: %s"), "label|" + WORDS_OF),
    "gate: %s": WORDS_OF,
}


@pytest.mark.parametrize("line", LINES)
def test_an_editor_and_check_say_the_same(tmp_path: Path, line: str) -> None:
    key, _, rest = line.partition(": ")
    for value in LINES[line].split("|"):
        text = written(**{key: rest % value})
        assert valid(text) == (not refused(tmp_path, text)), value


def test_an_editor_and_check_say_the_same_of_sizes_and_of_what_needs_one(tmp_path: Path) -> None:
    actions = ["trim_build_cache", "{trim_build_cache: }", "{trim_build_cache: {}}"]
    for action in actions + [f"{{trim_build_cache: {{max_used_space: {value}}}}}" for value in SIZES.split("|")]:
        text = written("host.disk_used_percent > 90.0", "host", action=action)
        assert valid(text) == (not refused(tmp_path, text)), action


def test_an_editor_and_check_say_the_same_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SCHEMA", settings.schema())
    lines = {
        **dict.fromkeys(("minimum_stay: %s", "undo: {keep: %s}"), DURATIONS.replace("7|'7'", "0|'0'")),
        "undo: {max_bytes: %s}": SIZES,
        "notify: {routes: {a: {url: 'json://a', events: %s}}}": "[]|[opened]|opened",
        "notify: {routes: {a: {url: 'json://a', policies: %s}}}": "[]|['*']|a",
        "web: {listen: %s}": "'127.0.0.1:9877'|'[::]:9877'|x|':1'|9877|'http://a:1'|'::1:80'|'a:0'|'a:65535'|'a:65536'|'a:99999'|'a:09877'|'a:123456'|''|null",
        "web: {external_url: %s}": "''|a.lan|https://a.lan|'http://a/b?c'|https:///x|'https://a b'|null|1",
        "policies: %s": "shipped|a:b|[cis, /x]|['']|{}|1|null",
        "state_dir: %s": "/x|null|1",
        "web: {finding_info: %s}": "5|'5'|-1|'-1'|10001|five|1.5|'1.5'|true|null",
        "schedule: {jitter: %s}": "0.1|'0.1'|'0'|0|1|x|''|true|null",
        "schedule: {timezone: %s}": "Europe/Berlin|posix/Europe/Berlin|right/UTC|UTC|''|Europe/Berln|Mars|null|1",
        **dict.fromkeys(("web: %s", "registries: %s", "protect: %s"), "|{}|null|[]|1|a"),
    }
    for line, values in lines.items():
        for value in values.split("|"):
            file = tmp_path / "settings.yaml"
            file.write_text(line % value)
            try:
                settings.read_settings(file, environ={})
                is_read = True
            except ConfigError:
                is_read = False
            assert fits(yaml.load(line % value, _Loader), SCHEMA) == is_read, line % value


def test_events_and_actions_are_those_of_the_subject() -> None:
    for kind in Kind:
        for other in Kind:
            for name in document.events_of(other):
                text = written("true", kind, trigger=f"{{events: [{name}]}}")
                assert valid(text) == (name in document.events_of(kind)), (kind, name)
    for _, name in VERBS:
        action = "{max_used_space: 20GB}" if name == "trim_build_cache" else "{}"
        for other in Kind:
            keys = {"for": "1d", "action": f"{{{name}: {action}}}"}
            assert valid(written("true", other, **keys)) == ((other, name) in VERBS), (other, name)


def test_an_editor_shows_what_the_page_says_of_each_key() -> None:
    page = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", (docs.ROOT / "docs/policies.md").read_text())
    shapes = {"File": SCHEMA, **SCHEMA["$defs"]}
    for name in ("File", "WrittenPolicy", "Trigger", "WrittenLimits"):
        for key, shape in shapes[name]["properties"].items():
            if shape.get("type") != "null":
                assert f" {shape['markdownDescription']} |" in page, f"{name}.{key}"

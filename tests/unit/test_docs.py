"""The documents say what the code does: a name in one that is not in the other is a fault."""

from __future__ import annotations

import argparse
import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dockwarden import cli
from dockwarden.actions.table import VERBS
from dockwarden.config import places, settings
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.metrics import OF_CONTAINERS, REFUSALS, Metrics
from dockwarden.model import Effect, Kind, Mode, Status
from dockwarden.pipeline import loading
from dockwarden.policy import document
from dockwarden.policy.load import load
from dockwarden.text import CONFIG, FAILED, INTERRUPTED, OK, UNAVAILABLE, USAGE
from tests import docs
from tests.commands import command
from tests.tables import each
from tests.views import a_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

ROOT = docs.ROOT
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}
POLICIES = TEXT["docs/policies.md"]
REFERENCE = TEXT["docs/reference.md"]


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(places.PREFIX)]:
        monkeypatch.delenv(name)


def words(text: str) -> set[str]:
    """What stands between backticks."""
    return set(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


def section(text: str, title: str) -> str:
    return text.partition(f"\n{title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> set[str]:
    """The words in the first column of its tables."""
    return {word for line in text.splitlines() if line.startswith("| `") for word in words(line.split(" | ")[0])}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def sources() -> Iterator[ast.Module]:
    return (ast.parse(path.read_text()) for path in (ROOT / "dockwarden").rglob("*.py"))


@cache
def literals() -> frozenset[str]:
    """Every text constant of the program."""
    nodes = (node for tree in sources() for node in ast.walk(tree))
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


# -- what is generated -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", docs.PAGES, ids=lambda page: page.name)
def test_generated_parts_are_those_of_this_code(page: Path) -> None:
    assert page.read_text() == docs.PAGES[page](page.read_text()), f"{page.name} is old; run: make docs"


def test_marks_that_are_not_there_are_noticed() -> None:
    with pytest.raises(ValueError, match="no marks for tree"):
        docs.between("<!-- generated: tree -->\nbut no end", "tree", "new")


# -- settings --------------------------------------------------------------------------------------------


def keys(values: dict[str, Any], model: type[BaseModel], prefix: str = "") -> set[str]:
    """The paths that a file writes, down to where the model has no sections any more."""
    found: set[str] = set()
    for name, value in values.items():
        inner: Any = model.model_fields[name].annotation
        is_section = isinstance(inner, type) and hasattr(inner, "model_fields")
        found |= keys(value, inner, f"{prefix}{name}.") if is_section else {prefix + name}
    return found


def test_config_file_has_every_setting_with_its_default() -> None:
    file = ROOT / "config/dockwarden.yaml"
    values = yaml.safe_load(file.read_text())
    documented = {
        path.partition(".P")[0].partition(".H")[0].partition(".N")[0]
        for path, _, _ in docs.settings_rows(settings.Settings)
    }
    assert keys(values, settings.Settings) == documented
    assert settings.Settings(**values) == settings.Settings()
    settings.read_settings(file, environ={})


def test_settings_for_a_host_in_the_policy_page_load(tmp_path: Path) -> None:
    (sample,) = [block for block in blocks(POLICIES, "yaml") if block.startswith("allow:")]
    file = tmp_path / "dockwarden.yaml"
    file.write_text(sample + "policies: [shipped]\n")
    loaded = {policy.name: policy for policy in loading.load_policies(settings.read_settings(file)).policies}
    assert loaded["prune-dangling"].mode is Mode.ENFORCE
    assert loaded["prune-dangling"].trigger.every_seconds == 6 * 3600


def test_settings_for_kubernetes_load_and_excuse_dockwarden_itself(tmp_path: Path) -> None:
    _, texts, daemons = yaml.safe_load_all((ROOT / "deploy/kubernetes/dockwarden.yaml").read_text())
    (volume,) = (each for each in daemons["spec"]["template"]["spec"]["volumes"] if "configMap" in each)
    (tmp_path / "policies").mkdir()
    for item in volume["configMap"]["items"]:
        (tmp_path / item["path"]).write_text(texts["data"][item["key"]])
    chosen = settings.read_settings(tmp_path / "dockwarden.yaml")
    both = chosen.model_copy(update={"policies": ["shipped", str(tmp_path / "policies")]})
    assert [each.policies for each in loading.load_policies(both).exceptions] == [{"host-namespaces"}]


# -- policies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "docs/policies.md", "docs/updates.md"])
def test_sample_policies_load(page: str, tmp_path: Path) -> None:
    samples = [block for block in blocks(TEXT[page], "yaml") if block.startswith(("version:", "policies:"))]
    assert samples
    for number, sample in enumerate(samples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(sample)
        assert len(load([file], VOCABULARY, VERBS).policies) == 1


def test_readme_begins_with_a_policy_of_ten_lines() -> None:
    assert len(blocks(TEXT["README.md"], "yaml")[0].splitlines()) == 10


def fields(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_policy_page_has_every_key_and_no_other() -> None:
    limits = {f"limits.{name}" for name in fields(document.WrittenLimits)}
    assert first_cells(section(POLICIES, "## Files")) == fields(document.File)
    assert first_cells(section(POLICIES, "## Keys of a policy")) == fields(document.WrittenPolicy) | limits
    assert fields(document.Trigger) <= first_cells(section(POLICIES, "## Triggers"))


def test_policy_page_has_every_change_and_no_other() -> None:
    every = {f"{kind}.{verb}" for kind in Kind for verb in document.hearing(kind)[0]}
    assert {word for word in first_cells(section(POLICIES, "## Triggers")) if "." in word} == every


def test_policy_page_has_every_result_and_why_there_is_none() -> None:
    asked = {"unauthorized", "forbidden", "not_found", "rate_limited", "unavailable", "timeout", "unreachable"}
    asked |= {"tls", "bad_answer", "bad_reference", "credentials", "refused", "too_many_tags", "error"}
    asked |= {"not_gathered", "no_date"}
    assert asked <= literals()
    assert first_cells(section(POLICIES, "## Results")) == {status.value for status in Status} | asked


def test_policy_page_has_every_outcome_and_its_reason() -> None:
    source = "".join(path.read_text() for path in (ROOT / "dockwarden").rglob("*.py"))
    reasons = set(re.findall(r'(?:Effect\.[A-Z]+, |Applied\()"(\w+)"', source)) | set(REFUSALS + OF_CONTAINERS)
    assert {"removed", "gone", "audit"} <= reasons
    assert reasons | set(Effect) <= words(section(POLICIES, "## What keeps an object"))


def test_facts_in_the_documents_exist() -> None:
    changes = {f"{kind}.{verb}" for kind in Kind for verb in document.hearing(kind)[0]}
    known = changes.union(*VOCABULARY.values())
    for page in ("README.md", "docs/policies.md", "docs/operations.md", "docs/architecture.md", "docs/reference.md"):
        code = " ".join([*words(TEXT[page]), *blocks(TEXT[page], "yaml")])
        names = re.findall(rf"\b(?:{'|'.join(Kind)}|registry)\.[a-z][a-z_]+\b", code)
        assert set(names) - {"registry.py", "image.pulling"} <= known, page


# -- commands, metrics, log ------------------------------------------------------------------------------


def commands() -> dict[str, argparse.ArgumentParser]:
    return dict(cli._parser()[1])


def test_reference_has_every_command_with_its_options_and_no_other() -> None:
    part = section(REFERENCE, "## Commands and exit codes")
    lines = {line.split()[2].strip("`"): line for line in part.splitlines() if line.startswith("| `dockwarden ")}
    assert lines.keys() == commands().keys()
    for name, parser in commands().items():
        options = {max(a.option_strings, key=len) for a in parser._actions if a.option_strings} - {"--help"}
        written = {"--output" if word == "-o" else word for word in re.findall(r"\[(--?[\w-]+)", lines[name])}
        assert written == options, name
        formats = {form for a in parser._actions if "-o" in a.option_strings for form in a.choices or ()}
        assert ("[-o FORMAT]" in lines[name]) == ("wide" in formats), name  # all that the page tells of


def test_examples_of_every_command_are_commands() -> None:
    for name, examples in cli._EXAMPLES.items():
        for example in examples:
            arguments = shlex.split(example.partition(" > ")[0])
            assert arguments[0] == name
            cli._parser()[0].parse_args(arguments)


def typed(text: str) -> set[str]:
    """The commands that a page tells to type, without where their output goes."""
    told = set(re.findall(r"(?<![\w/.-])`dockwarden ([a-z][^`]*)`", text.replace("\n", " ")))
    for block in re.findall(r"```(?:sh|text)\n(.*?)```", text, re.DOTALL):
        told.update(re.findall(r"^ *(?:\$ )?(?:\S*/)?dockwarden ([a-z][^\n#|)]*)", block, re.MULTILINE))
    return {re.split(r" [|>] ", line)[0] for line in told if "[" not in line and "\\|" not in line}


@each("page", TEXT)
def test_commands_in_the_documents_can_be_typed(page: str) -> None:
    for line in typed(TEXT[page]):
        cli._parser()[0].parse_args(shlex.split(line))


def test_commands_in_the_documents_that_need_no_engine_run() -> None:
    told = set.union(*(typed(TEXT[page]) for page in TEXT))
    alone = {
        line for line in told if re.fullmatch(r"(?:check|test|facts|schema|version|completion)(?: [a-z-]+)?", line)
    } - {"check --host"}
    assert len(alone) >= 3
    for line in alone:
        assert command(*shlex.split(line)).code == 0, line


@each("page", sorted(TEXT.keys() - {"docs/many-hosts.md"}))  # has files of other programs
def test_yaml_in_the_documents_has_only_keys_that_exist(page: str) -> None:
    """Whole policies are loaded by other tests; settings are made here; of a part of a file its keys are known."""
    parts = fields(document.WrittenPolicy) | fields(document.File) | {"snapshot", "expect", "plan"}
    parts |= {"tls_server_config", "basic_auth_users"}
    for block in blocks(TEXT[page], "ya?ml"):
        values = yaml.safe_load(block)
        if values.keys() <= settings.Settings.model_fields.keys() and "policies" not in values:
            settings.Settings(**values)
        else:
            assert values.keys() <= parts, block


def test_each_target_of_make_is_there_once() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    named = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert named is not None
    assert sorted(targets) == sorted(named[1].split())


def test_reference_has_every_exit_code() -> None:
    codes = {OK, FAILED, USAGE, UNAVAILABLE, CONFIG, INTERRUPTED}
    written = re.findall(r"^\| (\d+) \|", REFERENCE, re.MULTILINE)
    assert {int(code) for code in written} == codes
    assert set(written) <= set(re.findall(r"\d+", cli._EPILOG))


def test_paths_of_the_http_server_are_in_the_reference() -> None:
    answered = {text for text in literals() if re.fullmatch(r"/(metrics|\w+z)", text)}
    assert answered == {"/metrics", "/healthz", "/readyz"}
    answered |= {f"/api/v1/{name}" for name in (*a_view()[0].lists, "openapi.json")}
    assert answered <= words(REFERENCE)


@each("page", [page for page in TEXT if page != "CHANGELOG.md"])
def test_metrics_in_the_documents_exist(page: str) -> None:
    exported = {name for found in Metrics().registry._collector_to_names.values() for name in found}
    named = re.findall(r"\bdockwarden_[a-z_]+[a-z]\b(?!\*|_)", TEXT[page])
    assert set(named) - exported == set(), page


def test_operations_page_has_every_log_event_and_no_other() -> None:
    topics = "daemon|config|engine|events|inventory|ledger|registries|finding|run|schedule|policy|action|web|archive"
    topics += "|notify|stage"
    logged = {text for text in literals() if re.fullmatch(rf"(?:{topics})\.[a-z_]+", text)}
    logged -= {"daemon.lock", "ledger.db", "config.json"}
    logged |= {f"action.{effect}" for effect in Effect} | {"policy.unknown", "policy.error"}
    calls = (node for tree in sources() for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args)
    logged |= {ast.literal_eval(call.args[0]) for call in calls if re.match(r"_log\.\w+\('", ast.unparse(call))}
    assert first_cells(section(TEXT["docs/operations.md"], "## Log events")) == logged


def test_security_page_has_every_request_to_the_engine_and_no_other() -> None:
    source = "".join((ROOT / f"dockwarden/engine/{part}.py").read_text() for part in ("client", "changes"))
    asked = set(re.findall(r'_(?:call|measured|ask|read)\(\s*"(\w+)"', source))
    asked |= {f"{kind}_create" for kind in (Kind.CONTAINER, Kind.VOLUME, Kind.NETWORK)}
    rows = [line.split(" | ")[1] for line in TEXT["SECURITY.md"].splitlines() if line.startswith("| `")]
    assert words(" ".join(rows)) == asked


# -- the pages themselves --------------------------------------------------------------------------------


@each("page", PAGES)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    assert list(docs.broken(page)) == []


def test_a_source_archive_has_what_its_documents_lead_to_and_what_installs_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target=sdist", f"--directory={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.iterdir()
    shutil.unpack_archive(archive, tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert [(page.name, link) for page in sorted(source.rglob("*.md")) for link in docs.broken(page)] == []
    assert {"Dockerfile", ".dockerignore", "requirements-notify.txt"} <= {file.name for file in source.iterdir()}


@each("file", [*PAGES, ROOT / "config/dockwarden.yaml", *docs.POLICIES.glob("*.yaml")])
def test_no_file_names_a_package_host_or_a_path_of_one_machine(file: Path) -> None:
    hosts = r"py[p]i\.org|files\.python[h]osted|deb\.deb[i]an\.org|registry\.npm[j]s\.org"
    assert not re.search(rf"{hosts}|(?<![\w.])/(?:w[o]rk|ro[o]t|ho[m]e|tm[p])/", file.read_text())


def test_proxy_lets_through_what_dockwarden_says_it_asks_and_nothing_else() -> None:
    """By the lists of deploy/compose: to judge only what reads, and all of it only for a person who undoes."""
    listed = {
        name: set((ROOT / f"deploy/compose/requests-{name}.txt").read_text().splitlines())
        for name in ("audit", "enforce", "undo")
    }
    assert listed["audit"] < listed["enforce"] < listed["undo"]
    rows = [line.split(" | ") for line in section(TEXT["SECURITY.md"], "## What dockwarden asks").splitlines()]
    used: set[str] = set()
    person = False
    for cells in rows:
        if not cells[0].startswith("| `"):
            continue
        reads = not re.search("only", cells[2])
        person = "only when a person" in cells[2] or (person and cells[2].startswith("the same"))
        allowed = listed["audit" if reads and not person else "undo" if person else "enforce"]
        for request in words(cells[0]):
            method, _, path = request.partition(" ")
            real = path.replace("NAME", "docker.io/library/a:1" if "/images/" in path else "name").replace(
                "ID", "0" * 64
            )
            asked = {f"{method} {path}", f"{method} /v1.41{real}"}
            found = {pattern for pattern in listed["undo"] if any(re.search(pattern, each) for each in asked)}
            assert found & allowed, request
            used |= found
    assert used == listed["undo"]

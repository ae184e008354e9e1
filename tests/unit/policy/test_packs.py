"""Packs: named sets of policies, to which a host adds its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dockwarden.actions.table import VERBS
from dockwarden.config import packs
from dockwarden.config.settings import Settings
from dockwarden.errors import ConfigError
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.model import Mode
from dockwarden.policy.load import load

if TYPE_CHECKING:
    from dockwarden.model import PolicySet

OWN = """version: 1
policies:
  - name: {name}
    subject: container
    trigger: {{events: [container.start]}}
    when: container.privileged
"""


def loaded(*paths: str | Path, modes: dict[str, Mode] | None = None) -> PolicySet:
    return load(paths, VOCABULARY, VERBS, host=Settings(modes=modes or {}))


def names(found: PolicySet) -> set[str]:
    return {policy.name for policy in found.policies}


def test_packs_are_named_and_add_up() -> None:
    shipped, cis, baseline = (names(loaded(pack)) for pack in packs.PACKS)
    assert names(loaded(*packs.PACKS)) == shipped | cis | baseline
    assert not shipped & (cis | baseline)


@pytest.mark.parametrize("pack", packs.PACKS)
def test_each_policy_of_a_pack_has_its_file_and_changes_nothing_unasked(pack: str) -> None:
    found = loaded(pack)
    assert {Path(file).stem for file in found.files} == names(found)
    for policy in found.policies:
        assert policy.mode is Mode.AUDIT, policy.name
        assert policy.title, policy.name
        assert policy.description, policy.name
        assert policy.remediation, policy.name
        assert pack == "shipped" or policy.refs, policy.name


def test_files_of_a_host_are_added_to_a_pack(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN.format(name="own"))
    assert names(loaded("shipped", tmp_path)) == names(loaded("shipped")) | {"own"}
    assert names(loaded(tmp_path)) == {"own"}


def test_a_policy_of_a_host_takes_the_place_of_the_packs(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN.format(name="base-image-allowed"))
    found = loaded(tmp_path, "shipped")
    assert names(found) == names(loaded("shipped"))
    (own,) = [policy for policy in found.policies if policy.name == "base-image-allowed"]
    assert own.place.startswith(str(tmp_path))


def test_what_is_said_of_a_policy_that_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN.format(name="own"))
    with pytest.raises(ConfigError, match=f"settings modes.prune-dangling: no such policy in {tmp_path}"):
        loaded(tmp_path, modes={"prune-dangling": Mode.OFF})


def test_what_may_not_be_read_is_told_with_the_ways_out(tmp_path: Path) -> None:
    (file := tmp_path / "own.yaml").write_text(OWN.format(name="own"))
    loaded(file)  # with all that is imported for it, which another user may not read either
    file.chmod(0)
    before = os.geteuid()
    os.seteuid(before or 65534)
    try:
        with pytest.raises(ConfigError, match=r"Permission denied; run it as root, .* or give its user the right$"):
            loaded(file)
    finally:
        os.seteuid(before)


def test_a_pack_that_is_misspelt_is_recognised() -> None:
    with pytest.raises(ConfigError, match="No such file or directory, did you mean baseline"):
        loaded("baselin")


def test_paths_with_commas_between_them_say_what_stands_there_instead() -> None:
    with pytest.raises(ConfigError, match=r"cis,shipped: No such file or directory; between paths stands `:` in"):
        loaded("cis,shipped")
    with pytest.raises(ConfigError, match=r"/etc/nowhere,at-all: No such file or directory$"):
        loaded("/etc/nowhere,at-all")


@pytest.mark.parametrize("path", ["'shipped'", '"/etc/dockwarden/policies"'])
def test_quotes_around_a_path_are_told(path: str) -> None:
    with pytest.raises(ConfigError, match=rf"{path}: No such file or directory; the quotes are part of the value here"):
        loaded(path)


@pytest.mark.parametrize("path", ["own.yaml", "~/own.yaml", "policies/*.yaml"])
def test_a_path_that_is_not_there_and_not_whole_says_how_one_is_written(path: str) -> None:
    with pytest.raises(ConfigError, match=r"No such file or directory; a path .* is written in full, without ~ or \*"):
        loaded(path)

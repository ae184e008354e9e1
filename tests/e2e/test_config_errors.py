"""Mistakes in settings and policies: all of them at once, each with its place, and exit code 78."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.commands import command

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = 78
SETTINGS = """\
mode: audti
state_dri: /var/lib/dockwarden
web:
  listen: localhost
engine:
  timeout: soon
minimum_stay: -5
policies: [{policies}]
"""
POLICIES = """\
version: 1
policies:
  - name: Bad Name
    subject: tag
    trigger: {events: [image.pulled]}
    when: tag.nmae == 'latest'
  - name: second
    severity: fatal
    subject: image
    trigger: {schedule: "61 * * * *"}
    wehn: image.dangling
    when: image.size
  - name: third
    subject: volume
    trigger: {every: 1s}
    when: volume.in_use
    action: explode
    message: "{{ volume.nam }}"
"""
GOOD = """\
version: 1
policies:
  - name: good
    subject: image
    trigger: {every: 1h}
    when: image.dangling
"""


@pytest.mark.parametrize("what", ["check", "scan"])
def test_every_mistake_of_the_settings_has_its_place(tmp_path: Path, what: str) -> None:
    config = tmp_path / "dockwarden.yaml"
    config.write_text(SETTINGS.replace("{policies}", str(tmp_path)))
    done = command(what, "--config", config)
    assert done.code == CONFIG
    assert done.out == ""
    lines = done.err.splitlines()
    places = [(1, "mode"), (2, "state_dri"), (4, "web.listen"), (6, "engine.timeout"), (7, "minimum_stay")]
    for line, key in places:
        assert any(text.startswith(f"{config}:{line}:") and f" {key}: " in text for text in lines), (key, done.err)
    assert any("did you mean state_dir?" in text for text in lines)
    assert len(lines) == len(places)


@pytest.mark.parametrize("what", ["run", "check", "scan"])
def test_every_mistake_of_the_policies_has_its_place(tmp_path: Path, what: str) -> None:
    bad, config = tmp_path / "policies" / "bad.yaml", tmp_path / "dockwarden.yaml"
    bad.parent.mkdir()
    bad.write_text(POLICIES)
    (bad.parent / "worse.yaml").write_text("version: 1\npolicies: [\n")
    (bad.parent / "good.yaml").write_text(GOOD)
    config.write_text(f"policies: [{bad.parent}]\nstate_dir: {tmp_path}/state\n")
    done = command(what, "--config", config)
    assert done.code == CONFIG
    assert done.out == ""
    expected = {
        3: "must be words of a-z and 0-9",
        5: "did you mean image.pull?",
        6: "did you mean tag.name?",
        8: "fatal",
        10: "61",
        11: "did you mean when?",
        12: "bool",
        15: "at least 5s",
        17: "explode",
        18: "volume.nam",
    }
    for line, text in expected.items():
        found = [each for each in done.err.splitlines() if each.startswith(f"{bad}:{line}:")]
        assert len(found) == 1, (line, done.err)
        assert text in found[0]
        assert int(found[0].split(":")[2].split()[0]) >= 1  # a column, counted from 1
    assert any(each.startswith(f"{bad.parent}/worse.yaml:") for each in done.err.splitlines())
    assert "good.yaml" not in done.err
    assert len(done.err.splitlines()) == len(expected) + 1


def test_settings_and_environment_are_blamed_together(tmp_path: Path) -> None:
    config = tmp_path / "dockwarden.yaml"
    config.write_text("mode: audti\n")
    wrong = {"DOCKWARDEN_STATEDIR": "/x", "DOCKWARDEN_LOG__LEVEL": "loud"}
    done = command("run", "--config", config, more=wrong)
    assert done.code == CONFIG
    assert "environment DOCKWARDEN_STATEDIR: no such setting, did you mean DOCKWARDEN_STATE_DIR?" in done.err
    assert "environment DOCKWARDEN_LOG__LEVEL: " in done.err
    assert f"{config}:1:1 mode: " in done.err


@pytest.mark.parametrize("what", ["check", "scan"])
def test_files_that_were_named_must_exist(tmp_path: Path, what: str) -> None:
    missing = tmp_path / "nowhere.yaml"
    done = command(what, "--config", missing)
    assert (done.code, done.err) == (CONFIG, f"{missing}: No such file or directory\n")
    config = tmp_path / "dockwarden.yaml"
    config.write_text(f"policies: [{missing}]\nstate_dir: {tmp_path}/state\n")
    done = command(what, "--config", config)
    assert done.code == CONFIG
    assert str(missing) in done.err
    assert "No such file" in done.err


def test_port_in_use_is_named(tmp_path: Path) -> None:
    config, good = tmp_path / "dockwarden.yaml", tmp_path / "good.yaml"
    good.write_text(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config.write_text(f"policies: [{good}]\nstate_dir: {tmp_path}/state\nweb: {{listen: '{address}'}}\n")
        done = command("run", "--config", config)
    assert done.code == CONFIG
    assert f"web.listen {address}: Address already in use; choose another" in done.err
    assert "Traceback" not in done.err


def test_address_that_the_host_does_not_have_yet_is_no_mistake(tmp_path: Path) -> None:
    config, good = tmp_path / "dockwarden.yaml", tmp_path / "good.yaml"
    good.write_text(GOOD)
    config.write_text(f"policies: [{good}]\nstate_dir: {tmp_path}/state\nweb: {{listen: '203.0.113.7:9877'}}\n")
    done = command("run", "--config", config)  # whoever started it tries again, as at boot it should
    assert (done.code, done.err) == (1, "dockwarden: web.listen 203.0.113.7:9877: Cannot assign requested address\n")


def test_address_that_cannot_be_reached_by_any_means(tmp_path: Path) -> None:
    config, good = tmp_path / "dockwarden.yaml", tmp_path / "good.yaml"
    good.write_text(GOOD)
    config.write_text(f"policies: [{good}]\nstate_dir: {tmp_path}/state\nweb: {{listen: '127.0.0.1:0'}}\n")
    done = command("run", "--config", config, docker_host="npipe:////./pipe/docker_engine")
    assert done.code == CONFIG
    assert "use unix:///path" in done.err
    assert "Traceback" not in done.err


def test_wrong_use_exits_with_2() -> None:
    assert command("run", "--audti").code == 2
    assert command().code == 2
    assert command("fly").code == 2

"""``images`` and ``history``: what a person sees at once, and what a script can read."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from dockwarden import text
from dockwarden.cli import main
from dockwarden.model import Cause, Effect, Kind, Outcome, Ref, Report, Result
from dockwarden.ports import Reply
from dockwarden.sinks.ledger import Ledger
from tests.builders import (
    DAY,
    HOUR,
    NOW,
    a_container,
    a_recipe,
    a_result,
    a_step,
    an_image,
    digest_of,
    hexadecimal,
    image_id,
)
from tests.unit.onlooker import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NGINX = "docker.io/library/nginx"
UNAVAILABLE = 69


def sha(word: str) -> str:
    return f"sha256:{hexadecimal(word)}"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    (tmp_path / "dockwarden.yaml").write_text(f"state_dir: {tmp_path / 'state'}\n")
    host = Host(tmp_path / "state")
    host.enter(monkeypatch)
    return host


class Run:
    """One command: its exit code and output."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    def begin(*arguments: str) -> Run:
        code = main([*arguments, "--config", str(tmp_path / "dockwarden.yaml")])
        return Run(code, *capsys.readouterr())

    return begin


@pytest.fixture
def lived_in(host: Host) -> Host:
    """Two names of one image, an older one that drifted and runs, a build, a pin, and a nameless image in use."""
    engine, registry = host.engine, host.registry
    engine.put(
        an_image("new", f"{NGINX}:1.27.3", f"{NGINX}:latest", digests=(digest_of("nginx", "new"),)),
        an_image("old", f"{NGINX}:1.26", digests=(digest_of("nginx", "old"),)),
        an_image("built", "shop:dev"),
        an_image("pinned", digests=(digest_of("h.io/db", "pin"),)),
        an_image("nameless"),
    )
    engine.run(a_container("front", "nginx:1.26", "old"))
    engine.run(a_container("shop", "shop:old", "nameless"))
    registry.digests = {
        f"{NGINX}:1.27.3": sha("new"),
        f"{NGINX}:latest": sha("new"),
        f"{NGINX}:1.26.2": sha("patched"),
        f"{NGINX}:1.26": sha("patched"),
    }
    registry.manifests[f"{NGINX}@{sha('patched')}"] = Reply(config=sha("another"))
    now = time.time()
    host.remember(
        (f"{NGINX}:1.26", "local", sha("old"), now - 30 * DAY),
        (f"{NGINX}:1.26", "registry", sha("patched"), now - 3 * DAY - HOUR),
        (f"{NGINX}:latest", "local", sha("new"), now - 5 * HOUR - 60),
    )
    return host


# -- images --------------------------------------------------------------------------------------------------


def test_a_person_sees_what_is_the_same_what_is_stale_and_since_when(lived_in: Host, run: Callable[..., Run]) -> None:
    done = run("images")
    assert (done.code, done.err) == (0, "")
    new, old, built, pinned, nameless = (
        hexadecimal(word)[:12] for word in ("new", "old", "built", "pinned", "nameless")
    )
    here, there = (sha(word)[:19] for word in ("new", "patched"))
    assert [cells(line, done.lines[0]) for line in done.lines] == [
        ["IMAGE", "TAG", "DIGEST HERE", "AT REGISTRY", "STATE", "SINCE", "KNOWN", "USED BY"],
        [
            old,
            f"{NGINX}:1.26",
            sha("old")[:19],
            there,
            "drift, is 1.26.2 there, newest is 1.27.3",
            "3d 1h",
            "0s",
            "front",
        ],
        [new, f"{NGINX}:1.27.3", here, "same", "current", "", "0s", ""],
        ["", f"{NGINX}:latest", here, "same", "current, is 1.27.3", "5h 1m", "0s", ""],
        [built, "docker.io/library/shop:dev", "", "", "local", "", "0s", ""],
        *sorted(
            [
                [pinned, "h.io/db:<none>", sha("pin")[:19], "", "pinned", "", "0s", ""],
                [nameless, "<none>", "", "", "", "", "0s", "shop"],
            ]
        ),
    ]


def cells(line: str, header: str) -> list[str]:
    """The cells of a line of a table."""
    names = ("IMAGE", "TAG", "DIGEST HERE", "AT REGISTRY", "STATE", "SINCE", "KNOWN", "USED BY")
    starts = [header.index(name) for name in names]
    return [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]


def state(run: Callable[..., Run], tag: str) -> str:
    """What the table says of a tag."""
    lines = run("images").lines
    found = [cells(line, lines[0]) for line in lines[1:]]
    return next(row[4] for row in found if row[1] == tag)


def test_a_script_reads_the_same_as_json(lived_in: Host, run: Callable[..., Run]) -> None:
    done = run("images", "-o", "json")
    assert done.code == 0
    row = next(row for row in done.json if row["tag"] == f"{NGINX}:1.26")
    seconds = row.pop("state_seconds")
    assert 3 * DAY < seconds < 4 * DAY
    assert row.pop("known_seconds") < 60
    assert row == {
        "image_id": image_id("old"),
        "short_id": hexadecimal("old")[:12],
        "name": f"{NGINX}:1.26",
        "tag": f"{NGINX}:1.26",
        "repository": NGINX,
        "digest": sha("old"),
        "registry_digest": sha("patched"),
        "state": "drift",
        "reason": "",
        "newest_version": "1.27.3",
        "newest_version_digest": sha("new"),
        "latest_is": ["1.26.2"],
        "used_by": ["front"],
        "same_as": [],
    }
    assert len(done.json) == 6


def test_offline_shows_what_is_here(lived_in: Host, run: Callable[..., Run]) -> None:
    rows = run("images", "--offline", "-o", "json").json
    assert lived_in.registry.asked == []
    assert {row["state"] for row in rows} == {"", "local", "pinned"}
    assert {row["registry_digest"] for row in rows} == {""}


def test_an_empty_host_says_so_and_has_an_empty_list(host: Host, run: Callable[..., Run]) -> None:
    assert run("images").lines == []
    assert run("images").err == "the engine has no images\n"
    assert run("images", "-o", "json").json == []


@pytest.mark.parametrize("reason", ["unauthorized", "rate_limited", "unreachable"])
def test_what_is_not_known_says_why_and_is_no_state(lived_in: Host, run: Callable[..., Run], reason: str) -> None:
    lived_in.registry.failures["docker.io"] = reason
    assert state(run, f"{NGINX}:1.26") == f"? {reason}"


@pytest.mark.parametrize(
    ("here", "tags", "expected"),
    [
        ("latest", {"latest": "a", "1.2.0": "a"}, "current, is 1.2.0"),
        ("latest", {"latest": "a", "1.2.0": "a", "1.2": "a", "1": "a"}, "current, is 1.2.0"),
        ("latest", {"latest": "a", "1.2.0": "a", "v1.2.0": "a"}, "current, is 1.2.0, v1.2.0"),
        ("latest", {"latest": "a", "1.2.0": "a", "1.3.0": "b"}, "current, is 1.2.0, newest is 1.3.0"),
        ("latest", {"latest": "a", "1.3.0": "b"}, "current"),  # which version it is, nobody knows
        ("latest", {"latest": "a", "1.3.0-rc1": "a"}, "current"),
        ("1.2", {"1.2": "a", "1.2.0": "a"}, "current, is 1.2.0"),
        ("1.2.0", {"1.2": "a", "1.2.0": "a", "1": "a"}, "current"),
        ("1.2.0", {"1.2": "a", "1.2.0": "a", "1.3.0": "b"}, "current, newest is 1.3.0"),
        ("v1.2.0", {"v1.2.0": "a", "1.2.0": "a"}, "current"),
        ("1.2-alpine", {"1.2-alpine": "a", "1.3.0": "b"}, "current"),
    ],
)
def test_a_version_is_only_called_newer_if_it_is_another_image(
    host: Host, run: Callable[..., Run], here: str, tags: dict[str, str], expected: str
) -> None:
    host.engine.put(an_image("a", f"{NGINX}:{here}", digests=(digest_of("nginx", "a"),)))
    host.registry.digests = {f"{NGINX}:{name}": sha(word) for name, word in tags.items()}
    assert state(run, f"{NGINX}:{here}") == expected


def test_names_of_strangers_cannot_move_the_cursor(host: Host, run: Callable[..., Run]) -> None:
    host.engine.put(an_image("a", "app:1"))
    host.engine.run(a_container("\x1b[2Jweb\r", "app:1", "a"))
    assert run("images").lines[1].endswith("\\x1b[2Jweb\\r")


def test_an_engine_that_is_away_is_told_as_such(host: Host, run: Callable[..., Run]) -> None:
    host.engine.go_away()
    done = run("images")
    assert (done.code, done.out) == (UNAVAILABLE, "")
    assert done.err.startswith("dockwarden: ")


# -- history -------------------------------------------------------------------------------------------------

PAST = (
    (f"{NGINX}:1.26", "local", sha("old"), NOW),
    (f"{NGINX}:1.26", "registry", sha("old"), NOW + 1),
    (f"{NGINX}:1.26", "registry", sha("patched"), NOW + HOUR),
    (f"{NGINX}:1.26", "local", sha("patched"), NOW + DAY),
    (f"{NGINX}:latest", "local", sha("new"), NOW),
)


def test_history_tells_each_digest_from_when_to_when(host: Host, run: Callable[..., Run]) -> None:
    host.remember(*PAST)
    done = run("history", "nginx:1.26")
    assert (done.code, done.err) == (0, "")
    assert [re.split(r"  +", line) for line in done.lines] == [
        ["SINCE", "UNTIL", "SIDE", "DIGEST"],
        ["2027-01-15 08:00:00", "2027-01-16 08:00:00", "local", sha("old")],
        ["2027-01-15 08:00:01", "2027-01-15 09:00:00", "registry", sha("old")],
        ["2027-01-15 09:00:00", "now", "registry", sha("patched")],
        ["2027-01-16 08:00:00", "now", "local", sha("patched")],
    ]


def test_history_says_since_when_a_registry_has_a_tag_no_more(host: Host, run: Callable[..., Run]) -> None:
    host.remember((f"{NGINX}:1", "registry", sha("a"), NOW), (f"{NGINX}:1", "registry", "", NOW + HOUR))
    host.remember(*((f"docker.io/{user}/app:1", "local", sha(user[0]), NOW) for user in ("service", "library")))
    assert run("history", "service/app:1").lines[1].split()[-1] == sha("s")
    assert run("history", "tag/nginx:1").lines[2].split() == ["2027-01-15", "09:00:00", "now", "registry", "none"]


def test_history_for_scripts(host: Host, run: Callable[..., Run]) -> None:
    host.remember(*PAST)
    assert run("history", "docker.io/nginx", "-o", "json").json == [
        {"side": "local", "digest": sha("new"), "since": NOW, "until": None}
    ]
    assert run("history", "nginx:1.26", "-o", "json").json[:2] == [
        {"side": "local", "digest": sha("old"), "since": NOW, "until": NOW + DAY},
        {"side": "registry", "digest": sha("old"), "since": NOW + 1, "until": NOW + HOUR},
    ]


def report(opened: tuple[Result, ...] = (), resolved: tuple[Result, ...] = ()) -> Report:
    """What a run on PAST found."""
    return Report("run", Cause.EVENT, NOW, 0.1, Counter(), opened, resolved, (), (), ())


def test_history_of_findings_and_of_actions(host: Host, run: Callable[..., Run]) -> None:
    tag, other = (Ref(Kind.TAG, f"{NGINX}:{name}") for name in ("1.26", "latest"))
    host.remember(*PAST)
    ledger = Ledger(host.folder, lambda: NOW, lambda _writable: None)
    ledger.open()
    ledger.claim(host.engine.info.identity)
    drifted = a_result("digest-drift", tag, name=tag.key, message="it drifted")
    ledger.record(report(opened=(drifted, a_result("no-latest-tag", other, name=other.key))))
    ledger.record(report(resolved=(drifted._replace(reason="pass"),)))
    for word, name in (("a", tag.key), ("b", other.key)):
        step = a_step(an_image(word, name), name, policy="old-tags")._replace(name=name)
        ledger.conclude(
            ledger.intend("run", step, a_recipe(an_image())),
            Outcome("old-tags", "untag", step.ref, name, Effect.APPLIED, "untagged"),
        )
    ledger.close()

    found = run("history", "--findings")
    assert [re.split(r"  +", line) for line in found.lines] == [
        ["OPENED", "RESOLVED", "SEVERITY", "POLICY", "NAME", "MESSAGE"],
        ["2027-01-15 08:00:00", "medium", "no-latest-tag", other.key, "it is old"],
        ["2027-01-15 08:00:00", "2027-01-15 08:00:00", "medium", "digest-drift", tag.key, "it drifted"],
    ]
    done = run("history", "--actions")
    assert [re.split(r"  +", line) for line in done.lines] == [
        ["AT", "POLICY", "ACTION", "NAME", "OUTCOME", "REASON"],
        ["2027-01-15 08:00:00", "old-tags", "untag", other.key, "applied", "untagged"],
        ["2027-01-15 08:00:00", "old-tags", "untag", tag.key, "applied", "untagged"],
    ]
    for what in ("--findings", "--actions"):
        for ref in ("nginx:1.26", "tag/nginx:1.26", f"tag/{tag.key}"):
            rows = run("history", ref, what, "-o", "json").json
            assert [row["name"] for row in rows] == [tag.key]
        assert run("history", "container/nginx:1.26", what, "-o", "json").json == []
        assert f"nothing is known of nginx:1.25, did you mean {tag.key}?" in run("history", "nginx:1.25", what).err


def test_a_tag_that_was_never_seen_has_no_history(host: Host, run: Callable[..., Run]) -> None:
    host.remember(*PAST)
    assert run("history", "nginx:2", "-o", "json").json == []
    assert run("history", "not a reference", "-o", "json").json == []
    for name, near in (("nginx:latst", "latest"), ("nginx:1.2.6", "1.26"), ("web", ""), ("MISSPELT\x1b", "")):
        done = run("history", name)
        assert (done.code, done.out) == (0, "")
        hint = f", did you mean {NGINX}:{near}?" if near else ""
        said = f"nothing is known of {name}{hint}; of what is no tag, --actions and --findings tell\n"
        assert done.err == said.replace("\x1b", "\\x1b")


def test_a_tag_of_another_registry_is_what_was_meant(host: Host, run: Callable[..., Run]) -> None:
    host.remember(("registry.example.com:5000/team/app:1", "local", sha("new"), NOW))
    assert "app:1, did you mean registry.example.com:5000/team/app:1?" in run("history", "app:1").err
    assert text.near("app:1", ["b.example/app:1", "a.example/app:1"]) == ", did you mean a.example/app:1?"
    assert text.near("app", ["b.example:5000/app:1", "b.example/apps:1"]) == ", did you mean b.example:5000/app:1?"


def test_history_needs_no_engine(host: Host, run: Callable[..., Run]) -> None:
    host.remember(*PAST)
    host.engine.go_away()
    assert run("history", "nginx:1.26").code == 0
    assert host.engine.calls == []


def test_without_a_ledger_there_is_no_history(host: Host, run: Callable[..., Run]) -> None:
    done = run("history", "nginx")
    assert (done.code, done.out) == (0, "")
    assert str(host.folder) in done.err
    assert not host.folder.exists()


@pytest.mark.parametrize("content", [b"", b"no database " * 999])
@pytest.mark.parametrize("command", [("history", "nginx"), ("history", "--actions"), ("undo", "--list")])
def test_of_a_ledger_that_cannot_be_read_it_is_not_said_that_there_is_nothing_in_it(
    host: Host, run: Callable[..., Run], command: tuple[str, ...], content: bytes
) -> None:
    host.folder.mkdir()
    (host.folder / "ledger.db").write_bytes(content)
    done = run(*command)
    assert (done.code, done.out) == (1, "")
    assert "ledger.db cannot be read: it is empty, damaged or no ledger of ours (" in done.err
    assert "nor does a daemon" not in done.err  # what it showed would be another ledger's
    assert (host.folder / "ledger.db").read_bytes() == content


def test_history_of_nothing_is_a_mistake(host: Host, run: Callable[..., Run]) -> None:
    done = run("history")
    assert (done.code, done.out) == (2, "")
    assert "--actions" in done.err

"""One look at the engine and at registries: what of it becomes rows, and how much is asked for them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from dockwarden.errors import AnswerError, EngineUnavailableError
from dockwarden.model import ImageStore, Kind, Status
from dockwarden.oneshot import look as once
from dockwarden.ports import Ask, Entry, Reply
from tests.builders import (
    DAY,
    HOUR,
    a_container,
    a_policy,
    an_image,
    details,
    digest_of,
    hexadecimal,
    image_id,
    policies,
)
from tests.fakes import FakeEngine
from tests.unit.onlooker import Host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dockwarden.oneshot.look import TagRow

NGINX, APP = "docker.io/library/nginx", "h.io/team/app"


def sha(word: str) -> str:
    return f"sha256:{hexadecimal(word)}"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path / "state")
    host.enter(monkeypatch)
    return host


def look(host: Host, *, offline: bool = False) -> dict[str, TagRow]:
    """The rows by tag; images without one by their short ID."""
    rows = once.look_at_tags(host.settings, offline=offline)
    found = {row.tag or row.short_id: row for row in rows}
    assert len(found) == len(rows)
    return found


def pulled(host: Host, word: str, *tags: str) -> None:
    """An image that is here and at the registry of its tags, under all of them."""
    host.engine.put(an_image(word, *tags, digests=tuple({digest_of(tag.rpartition(":")[0], word) for tag in tags})))
    host.registry.digests.update(dict.fromkeys(tags, sha(word)))


def moved(host: Host, tag: str, word: str) -> None:
    """The registry has something else under the tag now."""
    host.registry.digests[tag] = sha(word)
    host.registry.manifests[f"{tag.rpartition(':')[0]}@{sha(word)}"] = Reply(config=sha(f"config {word}"))


def heads(host: Host) -> list[str]:
    return [ask.reference for ask in host.registry.asked if ask.what == "digest"]


# -- rows ----------------------------------------------------------------------------------------------------


def test_a_row_of_a_tag_that_is_current(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:1.27.3", f"{NGINX}:latest")
    host.engine.run(a_container("web", "nginx", "a"))
    host.engine.run(a_container("old", "nginx:1.27.3", "a", running=False))
    assert look(host)[f"{NGINX}:latest"]._replace(known_seconds=0.0) == once.TagRow(
        image_id=image_id("a"),
        short_id=hexadecimal("a")[:12],
        tag=f"{NGINX}:latest",
        repository=NGINX,
        digest=sha("a"),
        registry_digest=sha("a"),
        state="current",
        reason="",
        state_seconds=None,
        newest_version="1.27.3",
        newest_version_digest=sha("a"),
        latest_is=["1.27.3"],
        known_seconds=0.0,
        used_by=["old", "web"],
        same_as=[f"{NGINX}:1.27.3"],
    )


def test_aliases_of_one_image_come_together_and_images_without_a_tag_last(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:1", f"{NGINX}:latest")
    pulled(host, "b", f"{NGINX}:1.26")
    host.engine.put(an_image("c", "docker.io/library/alpine:3"))
    host.engine.put(an_image("d"))
    rows = once.look_at_tags(host.settings, offline=True)
    assert [row.tag.rpartition("/")[2] for row in rows] == ["alpine:3", "nginx:1", "nginx:latest", "nginx:1.26", ""]
    assert [row.image_id for row in rows[1:3]] == [image_id("a")] * 2


def test_an_image_of_two_repositories_has_a_row_of_each_digest(host: Host) -> None:
    mirror = "mirror.io/nginx"
    host.engine.put(
        an_image("a", f"{NGINX}:1", f"{mirror}:1", digests=(digest_of(NGINX, "here"), digest_of(mirror, "there")))
    )
    host.registry.digests = {f"{NGINX}:1": sha("here"), f"{mirror}:1": sha("there")}
    rows = look(host)
    assert {(row.image_id, row.digest, row.state) for row in rows.values()} == {
        (image_id("a"), sha("here"), "current"),
        (image_id("a"), sha("there"), "current"),
    }


def test_of_several_digests_the_row_shows_the_one_that_the_registry_has(host: Host) -> None:
    digests = (digest_of(NGINX, "one"), digest_of(NGINX, "two"))
    host.engine.put(an_image("a", f"{NGINX}:1", digests=digests))
    for word in ("one", "two"):
        host.registry.digests[f"{NGINX}:1"] = sha(word)
        row = look(host)[f"{NGINX}:1"]
        assert (row.digest, row.registry_digest, row.state) == (sha(word), sha(word), "current")


@pytest.mark.parametrize("store", list(ImageStore))
def test_an_image_that_was_pulled_by_its_digest_is_pinned_and_a_nameless_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: ImageStore
) -> None:
    host = Host(tmp_path, engine=FakeEngine(store))
    host.enter(monkeypatch)
    host.engine.put(an_image("pinned", digests=(digest_of("nginx", "d"),)), an_image("nameless"))
    rows = look(host)
    pinned, nameless = rows[hexadecimal("pinned")[:12]], rows[hexadecimal("nameless")[:12]]
    assert (pinned.tag, pinned.repository, pinned.digest, pinned.state) == ("", NGINX, sha("d"), "pinned")
    assert (nameless.tag, nameless.repository, nameless.digest, nameless.state) == ("", "", "", "")
    assert host.registry.asked == []


def test_states_beside_each_other(host: Host) -> None:
    for name in ("current", "drift", "gone", "index"):
        host.engine.put(
            an_image(name, f"{APP}:{name}", digests=(digest_of(APP, name),), inspected=details(platform="linux/amd64"))
        )
    host.engine.put(an_image("built", f"{APP}:local"))
    host.registry.digests[f"{APP}:current"] = sha("current")
    moved(host, f"{APP}:drift", "new")
    host.registry.digests[f"{APP}:index"] = sha("new index")
    host.registry.manifests |= {
        f"{APP}@{sha('new index')}": Reply(entries=(Entry(sha("ours"), "linux", "amd64", ""),)),
        f"{APP}@{sha('ours')}": Reply(config=image_id("index")),
    }
    assert {tag.rpartition(":")[2]: row.state for tag, row in look(host).items()} == {
        "current": "current",
        "drift": "drift",
        "gone": "gone",
        "index": "other-platform",
        "local": "local",
    }


def test_an_engine_that_is_away_is_no_empty_list(host: Host) -> None:
    host.engine.go_away()
    with pytest.raises(EngineUnavailableError):
        once.look_at_tags(host.settings, offline=True)


# -- which version it is -------------------------------------------------------------------------------------


def test_every_tag_but_the_newest_is_compared_with_the_newest(host: Host) -> None:
    pulled(host, "new", f"{NGINX}:1.27.3", f"{NGINX}:1.27", f"{NGINX}:latest")
    pulled(host, "old", f"{NGINX}:1.26.2", f"{NGINX}:1.26")
    rows = {tag.rpartition(":")[2]: row for tag, row in look(host).items()}
    assert {name: row.newest_version for name, row in rows.items()} == dict.fromkeys(rows, "1.27.3")
    assert {name: row.latest_is for name, row in rows.items()} == {
        "1.27.3": [],
        "1.27": ["1.27.3"],
        "latest": ["1.27.3", "1.27"],
        "1.26.2": ["1.26"],
        "1.26": ["1.26.2"],
    }


def test_a_list_of_tags_that_cannot_be_had_costs_no_state(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:latest")
    host.registry.failures[NGINX] = "unauthorized"
    row = look(host)[f"{NGINX}:latest"]
    assert (row.state, row.reason, row.newest_version, row.latest_is) == ("current", "", "", [])


# -- what it costs -------------------------------------------------------------------------------------------


def test_a_tag_is_asked_for_by_its_head_alone_while_nothing_changed(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:edge")
    for number in range(30):
        host.engine.run(a_container(f"web{number}", "nginx:edge", "a"))
    look(host)
    assert set(host.registry.asked) == {Ask("digest", f"{NGINX}:edge"), Ask("tags", NGINX)}


def test_no_registry_hears_of_what_was_built_here(host: Host) -> None:
    host.engine.put(an_image("secret-project", "secret-project:latest", "h.io/secret:1"))
    assert {row.state for row in look(host).values()} == {"local"}
    assert host.registry.asked == []


def test_offline_asks_nobody_and_says_what_it_knows(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:1")
    host.engine.put(an_image("built", "built:1"))
    rows = look(host, offline=True)
    assert host.registry.asked == []
    assert (rows[f"{NGINX}:1"].state, rows[f"{NGINX}:1"].reason, rows[f"{NGINX}:1"].digest) == ("", "", sha("a"))
    assert rows["docker.io/library/built:1"].state == "local"


@pytest.mark.parametrize("reason", ["unauthorized", "rate_limited", "timeout", "unreachable", "tls"])
def test_a_registry_that_fails_says_why_and_hides_no_other(host: Host, reason: str) -> None:
    pulled(host, "a", f"{NGINX}:1")
    pulled(host, "b", f"{APP}:1", f"{APP}:2")
    host.registry.failures["h.io"] = reason
    rows = look(host)
    assert rows[f"{NGINX}:1"].state == "current"
    for tag in (f"{APP}:1", f"{APP}:2"):
        assert (rows[tag].state, rows[tag].reason, rows[tag].registry_digest) == ("", reason, "")


@pytest.fixture
def answering(host: Host) -> Iterator[None]:
    """The registry's answers come from another thread, some time after they were asked for."""
    host.registry.slow = True
    over = threading.Event()

    def answer() -> None:
        while not over.wait(0.001):
            host.registry.answer_all()

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.usefixtures("answering")
def test_answers_that_take_their_time_are_waited_for(host: Host) -> None:
    for word in "abc":
        pulled(host, word, f"{NGINX}:{word}")
    moved(host, f"{NGINX}:b", "new")
    rows = look(host)
    assert {tag[-1]: row.state for tag, row in rows.items()} == {"a": "current", "b": "drift", "c": "current"}


def test_an_image_that_goes_meanwhile_has_no_row(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:1")
    pulled(host, "b", f"{NGINX}:2")
    moved(host, f"{NGINX}:1", "new")
    host.engine.just_before("image", lambda: host.engine.vanish(image_id("a")))
    assert {tag: row.state for tag, row in look(host).items()} == {f"{NGINX}:2": "current"}


# -- since when ----------------------------------------------------------------------------------------------


def test_without_a_ledger_nothing_is_said_of_the_past_and_none_is_made(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:1")
    assert look(host)[f"{NGINX}:1"].state_seconds is None
    assert not host.folder.exists()


def test_a_state_lasts_since_the_later_of_both_digests(host: Host) -> None:
    now = time.time()
    pulled(host, "a", f"{NGINX}:current")
    pulled(host, "b", f"{NGINX}:drift")
    pulled(host, "c", f"{NGINX}:other")
    moved(host, f"{NGINX}:drift", "new")
    host.remember(
        (f"{NGINX}:current", "local", sha("a"), now - 2 * DAY),
        (f"{NGINX}:drift", "local", sha("b"), now - 9 * DAY),
        (f"{NGINX}:drift", "registry", sha("new"), now - HOUR),
        (f"{NGINX}:other", "local", sha("what it was before"), now - 2 * DAY),
    )
    rows = look(host)
    assert rows[f"{NGINX}:current"].state_seconds == pytest.approx(2 * DAY, abs=60)
    assert rows[f"{NGINX}:drift"].state_seconds == pytest.approx(HOUR, abs=60)
    assert rows[f"{NGINX}:other"].state_seconds is None
    assert rows[f"{NGINX}:current"].known_seconds == pytest.approx(0, abs=60)


def test_a_tag_is_gone_since_it_was_first_missed(host: Host) -> None:
    now = time.time()
    pulled(host, "a", f"{NGINX}:1")
    del host.registry.digests[f"{NGINX}:1"]
    host.remember(
        (f"{NGINX}:1", "local", sha("a"), now - 9 * DAY),
        (f"{NGINX}:1", "registry", sha("a"), now - 9 * DAY),
        (f"{NGINX}:1", "registry", "", now - DAY),
    )
    row = look(host)[f"{NGINX}:1"]
    assert row.state == "gone"
    assert row.state_seconds == pytest.approx(DAY, abs=60)


def test_a_local_build_is_remembered_by_its_id(host: Host) -> None:
    host.engine.put(an_image("built", "built:1"))
    host.remember(("docker.io/library/built:1", "local", image_id("built"), time.time() - DAY))
    assert look(host)["docker.io/library/built:1"].state_seconds == pytest.approx(DAY, abs=60)


def test_what_was_seen_on_another_engine_is_no_past_of_this_one(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:1")
    host.remember((f"{NGINX}:1", "local", sha("a"), time.time() - DAY), identity="another engine")
    assert look(host)[f"{NGINX}:1"].state_seconds is None


def test_a_look_writes_nothing(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:1")
    moved(host, f"{NGINX}:1", "new")
    host.remember((f"{NGINX}:1", "local", sha("a"), time.time() - DAY))
    before = (host.folder / "ledger.db").read_bytes()
    look(host)
    assert (host.folder / "ledger.db").read_bytes() == before
    assert host.engine.removals == []


# -- scan ----------------------------------------------------------------------------------------------------


def test_a_scan_judges_every_tag_and_tells_failures_from_drift(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:current")
    pulled(host, "b", f"{NGINX}:drift")
    pulled(host, "c", f"{APP}:1")
    host.engine.put(an_image("built", "built:1"))
    moved(host, f"{NGINX}:drift", "new")
    host.registry.failures["h.io"] = "rate_limited"
    drifted = a_policy("drifted", "registry.state == 'drift'", subject=Kind.TAG)
    _, results = once.scan(host.settings, policies(drifted))
    assert {result.name.rpartition("/")[2]: (result.status, result.reason) for result in results} == {
        "nginx:current": (Status.PASS, ""),
        "nginx:drift": (Status.FAIL, ""),
        "built:1": (Status.PASS, ""),
        "app:1": (Status.UNKNOWN, "registry.state is not known: rate_limited"),
    }
    assert sorted(heads(host)) == [f"{NGINX}:current", f"{NGINX}:drift", f"{APP}:1"]


def test_a_scan_tells_what_it_could_not_look_at(host: Host) -> None:
    host.engine.errors["container", a_container("bad").id] = AnswerError("container: Name is missing")
    host.engine.run(a_container("bad"))
    host.engine.run(a_container("good"))
    with capture_logs() as logs:
        _, results = once.scan(
            host.settings, policies(a_policy("running", "container.running", subject=Kind.CONTAINER))
        )
    assert [result.name for result in results] == ["good"]
    assert [(log["log_level"], log["event"]) for log in logs] == [("error", "run.error")]
    assert a_container("bad").id in logs[0]["error"]


def test_a_scan_asks_once_for_a_tag_however_many_policies_and_containers_want_it(host: Host) -> None:
    pulled(host, "a", f"{NGINX}:1")
    pin = f"{NGINX}:1@{sha('old')}"
    for number in range(20):
        host.engine.run(a_container(f"web{number}", pin, "a"))
    wanted = [
        a_policy("one", "registry.state == 'drift'", subject=Kind.TAG),
        a_policy("two", "registry.digest != tag.digest", subject=Kind.TAG),
        a_policy("three", "registry.digest != ''", subject=Kind.CONTAINER),
    ]
    _, results = once.scan(host.settings, policies(*wanted))
    assert sum(result.status is Status.FAIL for result in results) == 20
    assert host.registry.asked == [Ask("digest", f"{NGINX}:1")]

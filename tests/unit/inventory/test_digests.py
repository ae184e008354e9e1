"""Which digest a tag had when, from what we saw."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.inventory.collect import Collector
from dockwarden.inventory.digests import Digests, Sighting, of_repository
from dockwarden.inventory.gather import INSPECT, REGISTRY, Gatherer
from dockwarden.metrics import Metrics
from dockwarden.model import Dirty, Facts, Image, ImageStore, Kind, Ref
from dockwarden.pipeline.judge import Judge, Sweep
from dockwarden.pipeline.upkeep import Upkeep
from dockwarden.policy.findings import Findings
from dockwarden.ports import Reply
from dockwarden.sinks.ledger import Ledger
from dockwarden.triggers.queue import Batch
from tests.builders import Ticks, a_container, a_policy, an_image, an_inventory, digest_of, hexadecimal
from tests.fakes import FakeEngine, FakeRegistry, Ground

if TYPE_CHECKING:
    from pathlib import Path

TAG = "docker.io/library/app:1"


@pytest.fixture
def digests() -> Digests:
    return Digests()


def test_a_digest_counts_from_when_it_was_first_seen(digests: Digests) -> None:
    for now in (10.0, 20.0, 30.0):
        digests.see(TAG, "local", "a", now)
    assert digests.since(TAG, "local", "a") == 10.0
    assert digests.unsaved == [Sighting(TAG, "local", "a", 10.0)]


def test_a_digest_that_comes_back_is_new(digests: Digests) -> None:
    for now, digest in enumerate("aba"):
        digests.see(TAG, "local", digest, float(now))
    assert digests.since(TAG, "local", "a") == 2.0
    assert [(s.digest, s.since) for s in digests.unsaved] == [("a", 0.0), ("b", 1.0), ("a", 2.0)]


def test_a_tag_that_a_registry_has_no_more_is_remembered_as_such(digests: Digests) -> None:
    digests.see(TAG, "registry", "a", 1.0)
    digests.see(TAG, "registry", "", 2.0)
    digests.see(TAG, "registry", "", 3.0)
    assert digests.since(TAG, "registry", "a") is None
    assert digests.since(TAG, "registry", "") == 2.0
    assert digests.tags("registry") == {TAG}
    digests.see(TAG, "registry", "a", 4.0)
    assert digests.since(TAG, "registry", "a") == 4.0
    assert [(s.digest, s.since) for s in digests.unsaved] == [("a", 1.0), ("", 2.0), ("a", 4.0)]


def test_a_tag_that_nobody_looks_at_any_more_is_forgotten(digests: Digests) -> None:
    digests.see(TAG, "local", "a", 1.0)
    digests.leave(TAG, "local", 2.0)
    digests.leave(TAG, "local", 3.0)
    assert digests.since(TAG, "local", "a") is None
    assert digests.tags("local") == set()
    assert digests.unsaved == [Sighting(TAG, "local", "a", 1.0), Sighting(TAG, "local", None, 2.0)]


def test_nothing_is_noted_of_a_tag_that_never_was(digests: Digests) -> None:
    digests.see(TAG, "registry", "", 1.0)
    digests.leave(TAG, "registry", 2.0)
    assert digests.unsaved == []
    assert digests.tags("registry") == set()


def test_sides_and_tags_are_apart(digests: Digests) -> None:
    digests.see(TAG, "local", "a", 1.0)
    digests.see(TAG, "registry", "b", 2.0)
    digests.see("docker.io/library/app:2", "local", "a", 3.0)
    assert digests.since(TAG, "local", "a") == 1.0
    assert digests.since(TAG, "registry", "b") == 2.0
    assert digests.since(TAG, "registry", "a") is None
    assert digests.since("docker.io/library/app:2", "registry", "a") is None
    assert digests.tags("local") == {TAG, "docker.io/library/app:2"}
    assert digests.tags("registry") == {TAG}


def test_what_was_recalled_goes_on_and_is_not_written_again(digests: Digests) -> None:
    digests.recall([Sighting(TAG, "local", "a", 1.0), Sighting(TAG, "registry", "b", 2.0)])
    digests.see(TAG, "local", "a", 50.0)
    assert digests.since(TAG, "local", "a") == 1.0
    assert digests.unsaved == []
    digests.see(TAG, "registry", "c", 60.0)
    assert digests.unsaved == [Sighting(TAG, "registry", "c", 60.0)]


@pytest.mark.parametrize(
    ("local", "registry", "here", "picked"),
    [
        ("", "", (), ""),
        ("a", "b", (), ""),
        ("", "", ("a",), "a"),
        ("", "", ("a", "b"), "a"),
        ("b", "", ("a", "b"), "b"),
        ("a", "b", ("a", "b"), "b"),
        ("b", "c", ("a", "b"), "b"),
        ("c", "d", ("a", "b"), "a"),
    ],
)
def test_of_several_digests_a_tag_has_the_one_that_its_registry_names(
    digests: Digests, local: str, registry: str, here: tuple[str, ...], picked: str
) -> None:
    digests.see(TAG, "local", local, 1.0)
    digests.see(TAG, "registry", registry, 1.0)
    names = ["docker.io/library/other@a", *(f"docker.io/library/app@{each}" for each in here)]
    assert digests.pick(TAG, names) == picked


def test_a_repository_is_not_another_one_that_begins_like_it() -> None:
    known = [digest_of("app", "a"), digest_of("app2", "b"), digest_of("h.io/app", "c"), digest_of("app", "d")]
    assert of_repository(known, "docker.io/library/app") == tuple(
        each.partition("@")[2] for each in (known[0], known[3])
    )
    assert of_repository(known, "library/app") == ()


_LOOKS = st.tuples(st.sampled_from("xy"), st.sampled_from(["local", "registry"]), st.sampled_from([None, "", "a", "b"]))


@given(st.lists(_LOOKS))
@settings(deadline=None)
def test_what_is_written_down_is_what_was_seen(looks: list[tuple[str, str, str | None]]) -> None:
    digests = Digests()
    present: dict[tuple[str, str], str | None] = {}
    for now, (tag, side, digest) in enumerate(looks):
        if digest is None:
            digests.leave(tag, side, float(now))
        else:
            digests.see(tag, side, digest, float(now))
        is_new = present.get((tag, side)) is None
        present[tag, side] = None if digest == "" and is_new else digest
    written: dict[tuple[str, str], Sighting] = {}
    for sighting in digests.unsaved:
        key = (sighting.tag, sighting.side)
        assert sighting.digest != (written[key].digest if key in written else None)  # each line is a change
        written[key] = sighting
    for (tag, side), digest in present.items():
        assert (written[tag, side].digest if (tag, side) in written else None) == digest
        assert (tag in digests.tags(side)) == (digest is not None)
        if digest is not None:
            assert digests.since(tag, side, digest) == written[tag, side].since


# -- what the daemon sees ------------------------------------------------------------------------------------


@dataclass
class Watch:
    """The parts of a daemon that see digests and write them down, from its start on."""

    folder: Path
    engine: FakeEngine
    registry: FakeRegistry = field(default_factory=FakeRegistry)

    def __post_init__(self) -> None:
        self.inventory = an_inventory(Ticks(), store=self.engine.store)
        self.inventory.info = None
        self.ledger = Ledger(self.folder, time.time, lambda _writable: None)
        self.ledger.open()
        collector = Collector(self.engine, self.inventory)
        tools = Ground(self.folder, self.engine).known(self.ledger)
        self.upkeep = Upkeep(self.engine, self.inventory, collector, self.ledger, tools, Metrics(), 600.0)
        self.gatherer = Gatherer(self.inventory, collector, self.registry, lambda _: None, lambda: None)
        self.findings = Findings()
        self.judge = Judge(self.inventory, self.gatherer, self.findings)
        self.upkeep.look(Batch(resync="startup", connected=self.engine.connect()))

    def restart(self) -> Watch:
        self.upkeep.save()
        self.ledger.close()
        return Watch(self.folder, self.engine, self.registry)

    def notice(self) -> None:
        """Handle the events since the last time."""
        events = self.engine.take_events()
        hints = tuple((Dirty(Kind(event.type), event.id, event.action == "pull"), event.at_ns) for event in events)
        self.gatherer.note_pulls(self.upkeep.look(Batch(dirty=hints)) or (), time.time())

    def resync(self) -> None:
        self.upkeep.look(Batch(resync="interval"))

    def ask(self, ref: Ref, *names: str) -> None:
        """Gather facts of a registry, as a sweep does."""
        found: dict[Ref, tuple[Facts, dict[str, str]]] = {}
        for _ in self.gatherer.learn([(ref, names)], found, REGISTRY, time.time()):
            pass

    def history(self, tag: str = TAG) -> list[tuple[str, str, bool]]:
        """Side, digest, and whether it is still there."""
        self.upkeep.save()
        return [(side, digest, until is None) for side, digest, _, until in self.ledger.history(tag)]


def sha(word: str) -> str:
    return f"sha256:{hexadecimal(word)}"


@pytest.fixture(params=list(ImageStore), ids=lambda store: store.value)
def watch(request: pytest.FixtureRequest, tmp_path: Path) -> Watch:
    return Watch(tmp_path, FakeEngine(request.param))


def digest_here(watch: Watch, tag: str = TAG) -> str:
    """What the engine says of the tag's image."""
    (digest,) = of_repository(watch.engine.image(tag).digests, tag.rpartition(":")[0])
    return digest


def test_a_pull_that_moves_a_tag_ends_one_digest_and_begins_another(watch: Watch) -> None:
    watch.engine.pull(an_image("a"), "app:1")
    watch.notice()
    first = digest_here(watch)
    watch.engine.pull(an_image("b"), "app:1")
    watch.notice()
    second = digest_here(watch)
    assert first != second
    local = [row for row in watch.history() if row[0] == "local"]
    assert local == [("local", first, False), ("local", second, True)]


def test_what_a_pull_brought_the_registry_had(watch: Watch) -> None:
    for word in "ab":
        watch.engine.pull(an_image(word), "app:1")
        watch.notice()
    there = [digest for side, digest, _ in watch.history() if side == "registry"]
    assert len(there) == 2
    assert there[-1] == digest_here(watch)
    assert watch.registry.asked == []


def test_a_pull_ends_a_drift_even_if_it_brought_more_than_we_had_asked_for(watch: Watch) -> None:
    """The tag moved twice: once before we asked, once more before somebody pulled."""
    drifted = a_policy("drifted", "registry.state == 'drift'", subject=Kind.TAG)

    def judge(depth: int) -> Sweep:
        sweep = Sweep()
        for _ in watch.judge.sweep([(Ref(Kind.TAG, TAG), (drifted,))], sweep, depth=depth, now=time.time()):
            pass
        return sweep

    watch.engine.pull(an_image("a"), "app:1")
    watch.notice()
    watch.registry.digests[TAG] = sha("b")
    watch.registry.manifests |= {
        f"docker.io/library/app@{digest}": Reply(config=sha("another")) for digest in (sha("b"), digest_here(watch))
    }
    assert [result.name for result in judge(REGISTRY).opened] == [TAG]
    assert judge(INSPECT).resolved == []
    asked = len(watch.registry.asked)
    watch.engine.pull(an_image("c"), "app:1")
    watch.notice()
    assert [result.name for result in judge(INSPECT).resolved] == [TAG]
    assert len(watch.registry.asked) == asked


def test_a_name_that_was_given_here_says_nothing_of_a_registry(watch: Watch) -> None:
    watch.engine.pull(an_image("a"), "app:1")
    watch.engine.name("app:1", "app:2")
    watch.notice()
    assert {side for side, *_ in watch.history("docker.io/library/app:2")} == {"local"}


def test_a_local_build_is_known_by_its_image_where_it_has_no_digest(watch: Watch) -> None:
    image = an_image("a", "app:1")
    watch.engine.load(image)
    watch.notice()
    assert watch.history() == [("local", image.id, True)]


def test_a_tag_that_is_removed_has_no_digest_any_more(watch: Watch) -> None:
    watch.engine.load(an_image("a", "app:1", "app:2"))
    watch.notice()
    watch.engine.unname("app:1")
    watch.notice()
    assert [here for *_, here in watch.history()] == [False]
    assert [here for *_, here in watch.history("docker.io/library/app:2")] == [True]


def test_a_tag_that_went_without_an_event_ends_with_the_next_list(watch: Watch) -> None:
    image = an_image("a", "app:1")
    watch.engine.load(image)
    watch.notice()
    watch.engine.vanish(image.id)
    watch.resync()
    assert watch.history() == [("local", image.id, False)]


def test_what_changed_while_nobody_watched_is_seen_at_the_next_start(watch: Watch) -> None:
    gone, stays, moves = (an_image(word, f"app:{word}") for word in ("gone", "stays", "moves"))
    for image in (gone, stays, moves):
        watch.engine.load(image)
    watch.notice()
    new = an_image("new", "app:moves")

    def meanwhile() -> None:
        watch.engine.unname("app:gone")
        watch.engine.load(new)

    before = watch.history("docker.io/library/app:stays")
    watch.ledger.close()
    meanwhile()
    again = Watch(watch.folder, watch.engine)
    assert again.history("docker.io/library/app:gone") == [("local", gone.id, False)]
    assert again.history("docker.io/library/app:stays") == before == [("local", stays.id, True)]
    assert again.history("docker.io/library/app:moves") == [("local", moves.id, False), ("local", new.id, True)]


def test_of_two_digests_of_one_image_the_one_that_the_registry_named_is_seen(tmp_path: Path) -> None:
    watch = Watch(tmp_path, FakeEngine())
    repository = TAG.rpartition(":")[0]

    def here(*words: str) -> Image:
        return an_image("a", "app:1", digests=tuple(digest_of("app", word) for word in words))

    watch.engine.put(here("old"))
    watch.resync()
    watch.registry.digests[TAG] = sha("new")
    watch.registry.failures[f"{repository}@{sha('new')}"] = "timeout"
    watch.ask(Ref(Kind.TAG, TAG), "registry.digest")
    watch.engine.put(here("old", "new"))
    watch.resync()
    assert ("local", sha("new"), True) in watch.history()
    assert ("local", sha("old"), False) in watch.history()


def test_what_a_registry_says_of_a_tag_is_seen_once_and_after_a_restart_goes_on(watch: Watch) -> None:
    watch.engine.pull(an_image("a"), "app:1")
    watch.notice()
    for word in ("x", "x", "y"):
        watch.registry.digests[TAG] = sha(word)
        watch.ask(Ref(Kind.TAG, TAG), "registry.digest")
    watch = watch.restart()
    watch.ask(Ref(Kind.TAG, TAG), "registry.digest")
    assert [row for row in watch.history() if row[0] == "registry"] == [
        ("registry", digest_here(watch), False),
        ("registry", sha("x"), False),
        ("registry", sha("y"), True),
    ]


def test_a_tag_that_is_gone_from_the_registry_is_gone_since_then(watch: Watch) -> None:
    watch.engine.pull(an_image("a"), "app:1")
    watch.notice()
    for digests in ({TAG: sha("x")}, {}):
        watch.registry.digests = digests
        watch.ask(Ref(Kind.TAG, TAG), "registry.digest")
    watch = watch.restart()
    watch.ask(Ref(Kind.TAG, TAG), "registry.digest")
    there = [row[1:] for row in watch.history() if row[0] == "registry"]
    assert there[1:] == [(sha("x"), False), ("", True)]


@pytest.mark.parametrize("reason", ["unauthorized", "rate_limited", "timeout", "unreachable"])
def test_a_failure_ends_nothing(watch: Watch, reason: str) -> None:
    watch.engine.pull(an_image("a"), "app:1")
    watch.notice()
    watch.registry.digests[TAG] = sha("x")
    watch.ask(Ref(Kind.TAG, TAG), "registry.digest")
    watch.registry.failures["docker.io"] = reason
    watch.ask(Ref(Kind.TAG, TAG), "registry.digest")
    assert ("registry", sha("x"), True) in watch.history()


def test_what_was_seen_is_written_down_soon(watch: Watch) -> None:
    at_rest = watch.upkeep.patience_seconds
    watch.engine.pull(an_image("a"), "app:1")
    watch.notice()
    soon = watch.upkeep.patience_seconds
    assert soon < at_rest
    assert not watch.ledger.history(TAG)
    watch.upkeep.save_due(time.monotonic() + soon + 1)
    assert watch.ledger.history(TAG)
    assert watch.upkeep.patience_seconds == at_rest


def test_versions_that_a_tag_is_only_compared_with_leave_no_history(watch: Watch) -> None:
    watch.engine.pull(an_image("a"), "app:latest")
    watch.notice()
    latest, newest = ("docker.io/library/app:latest", "docker.io/library/app:1.2.0")
    watch.registry.digests = {latest: sha("x"), newest: sha("x")}
    watch.ask(Ref(Kind.TAG, latest), "registry.latest_is", "registry.newest_version_digest")
    assert ("registry", sha("x"), True) in watch.history(latest)
    assert watch.history(newest) == []


def test_a_tag_that_a_pin_names_has_a_history_until_the_container_is_gone(watch: Watch) -> None:
    watch.engine.put(an_image("a", digests=(digest_of("app", "x"),)))
    container = a_container("web", f"{TAG}@{sha('x')}", "a")
    watch.engine.run(container)
    watch.notice()
    watch.registry.digests[TAG] = sha("y")
    watch.ask(Ref(Kind.CONTAINER, container.id), "registry.digest")
    watch.resync()
    assert watch.history() == [("registry", sha("y"), True)]
    watch.engine.remove("web")
    watch.resync()
    assert watch.history() == [("registry", sha("y"), False)]


def test_nobody_sees_what_the_registry_has_under_a_tag_that_is_not_here_any_more(watch: Watch) -> None:
    watch.engine.pull(an_image("a"), "app:1")
    watch.notice()
    watch.registry.digests[TAG] = sha("x")
    watch.ask(Ref(Kind.TAG, TAG), "registry.digest")
    watch.engine.unname("app:1")
    watch.notice()
    watch.resync()
    assert {(side, here) for side, _, here in watch.history()} == {("local", False), ("registry", False)}
    assert watch.inventory.digests.tags("local") | watch.inventory.digests.tags("registry") == set()

"""What a tag's digests here and at its registry mean, on both image stores, and which questions it takes to know."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwarden.inventory.facts import fill
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.view import View
from dockwarden.model import Facts, FactValue, Image, ImageStore, Kind, Ref, ref_of
from dockwarden.ports import Ask, Entry, Reply
from tests.builders import (
    DAY,
    HOUR,
    NOW,
    a_container,
    a_service,
    an_image,
    an_inventory,
    details,
    digest_of,
    hexadecimal,
)
from tests.fakes import FakeRegistry

REPOSITORY = "h.io/team/app"
TAG = f"{REPOSITORY}:1"
STORES = [ImageStore.GRAPH, ImageStore.CONTAINERD]
REASONS = (
    "unauthorized",
    "forbidden",
    "rate_limited",
    "unavailable",
    "timeout",
    "unreachable",
    "tls",
    "bad_answer",
    "bad_reference",
    "credentials",
    "refused",
    "too_many_tags",
)
AMD, ARM, V6, V7 = "linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7"


# -- a registry, an engine that pulled from it, and somebody who asks until the fact is known ----------------


def manifest(word: str) -> str:
    return f"sha256:{hexadecimal(f'manifest {word}')}"


def config(word: str) -> str:
    return f"sha256:{hexadecimal(f'config {word}')}"


@dataclass
class World:
    """What is pushed, here, and asked."""

    store: ImageStore = ImageStore.GRAPH
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    asked: list[Ask] = field(default_factory=list)
    reason: str = ""

    def __post_init__(self) -> None:
        self.inventory: Inventory = an_inventory(store=self.store)

    def push(self, content: str | dict[str, str], tag: str = TAG, *, extra: str = "") -> str:
        """A single image by its word, or an index of words by platform; its digest.

        ``extra`` is what an index has besides and nobody runs, such as an attestation.
        """
        repository = tag.rpartition(":")[0]
        words = [content] if isinstance(content, str) else list(content.values())
        for word in words:
            self.registry.manifests[f"{repository}@{manifest(word)}"] = Reply(config=config(word))
        if isinstance(content, str):
            digest = manifest(content)
        else:
            digest = manifest(f"{sorted(content.items())} {extra}")
            entries = tuple(Entry(manifest(word), *_platform(platform)) for platform, word in content.items())
            self.registry.manifests[f"{repository}@{digest}"] = Reply(entries=entries)
        self.registry.digests[tag] = digest
        return digest

    def pull(self, digest: str, word: str, platform: str = AMD, *, tag: str = TAG) -> Image:
        """The engine has what the digest named, which on its platform is the image of this word."""
        repository = tag.rpartition(":")[0]
        identifier = config(word) if self.store is ImageStore.GRAPH else digest
        image = replace(
            an_image(word, tag, digests=(f"{repository}@{digest}",), inspected=details(platform=platform)),
            id=identifier,
        )
        self.inventory.put(image)
        return image

    def learn(self, fact: str, ref: Ref | None = None) -> FactValue | None:
        """Ask what the fact needs until it is known or nothing helps; None if it stays unknown."""
        ref = ref or Ref(Kind.TAG, TAG)
        replies: dict[Ask, Reply] = {}
        self.asked = []
        while True:
            view = View(self.inventory, NOW, None, replies)
            value = _read(ref, fact, view)
            if (ask := view.question) is None or ask in replies:
                break
            assert value is None
            replies[ask] = self.registry.ask(ask).result()
            self.asked.append(ask)
        self.reason = replies[ask].reason if ask else ""
        return value

    @property
    def state(self) -> FactValue | None:
        return self.learn("registry.state")


def _platform(platform: str) -> tuple[str, str, str]:
    system, architecture, *variant = platform.split("/")
    return system, architecture, "".join(variant)


def _read(ref: Ref, fact: str, view: View) -> FactValue | None:
    sheet = Facts()
    fill(sheet, [fact], ref, view)
    return sheet.known.get(fact)


def head(tag: str = TAG) -> Ask:
    return Ask("digest", tag)


def get(digest: str) -> Ask:
    return Ask("manifest", f"{REPOSITORY}@{digest}")


@pytest.fixture(params=STORES, ids=lambda store: store.value)
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture
def graph() -> World:
    return World(ImageStore.GRAPH)


@pytest.fixture
def containerd() -> World:
    return World(ImageStore.CONTAINERD)


# -- states --------------------------------------------------------------------------------------------------

# What was pulled, on amd64, and what the tag names now.
MOVES: dict[str, tuple[str | dict[str, str], str | dict[str, str], str]] = {
    "the same image": ("a", "a", "current"),
    "the same index": ({AMD: "a", ARM: "b"}, {AMD: "a", ARM: "b"}, "current"),
    "another image": ("a", "c", "drift"),
    "an index, changed for us": ({AMD: "a", ARM: "b"}, {AMD: "c", ARM: "b"}, "drift"),
    "an index, changed for all": ({AMD: "a", ARM: "b"}, {AMD: "c", ARM: "d"}, "drift"),
    "an index, changed for others": ({AMD: "a", ARM: "b"}, {AMD: "a", ARM: "d"}, "other-platform"),
    "an index with one platform more": ({AMD: "a"}, {AMD: "a", ARM: "b"}, "other-platform"),
    "an index with one platform less": ({AMD: "a", ARM: "b"}, {AMD: "a"}, "other-platform"),
    "an index without ours": ({AMD: "a", ARM: "b"}, {ARM: "b"}, "drift"),
    "our image, in an index now": ("a", {AMD: "a", ARM: "b"}, "other-platform"),
    "an index with another image": ("a", {AMD: "c", ARM: "b"}, "drift"),
    "our image, out of its index": ({AMD: "a", ARM: "b"}, "a", "other-platform"),
    "another image, no index any more": ({AMD: "a", ARM: "b"}, "c", "drift"),
    "our image, now said to be another platform's": ("a", {ARM: "a"}, "drift"),
    "our platform by another name": ({AMD: "a"}, {"linux/x86_64": "a"}, "other-platform"),
    "our platform in capitals": ({AMD: "a", ARM: "b"}, {"Linux/AMD64": "a", ARM: "c"}, "other-platform"),
    "another image by another name": ({AMD: "a", ARM: "b"}, {"linux/x86-64": "c", "linux/aarch64": "b"}, "drift"),
    "two of one platform, swapped": ({AMD: "a", "linux/x86_64": "b"}, {AMD: "b", "linux/x86_64": "a"}, "drift"),
    "two, the first changed": ({AMD: "a", "linux/x86_64": "b"}, {AMD: "c", "linux/x86_64": "b"}, "drift"),
    "two, the second changed": ({AMD: "a", "linux/x86_64": "b"}, {AMD: "a", "linux/x86_64": "c"}, "other-platform"),
}


@pytest.mark.parametrize("move", MOVES)
def test_state_after_a_tag_moved(world: World, move: str) -> None:
    old, new, state = MOVES[move]
    world.pull(world.push(old), "a")
    world.push(new)
    assert world.state == state


def test_an_attestation_alone_is_no_drift(world: World) -> None:
    world.pull(world.push({AMD: "a", ARM: "b"}, extra="attestation 1"), "a")
    world.push({AMD: "a", ARM: "b"}, extra="attestation 2")
    assert world.state == "other-platform"


def test_an_index_of_nothing_that_runs_is_drift(world: World) -> None:
    world.pull(world.push({AMD: "a"}), "a")
    world.push({}, extra="only attestations")
    assert world.state == "drift"


@pytest.mark.parametrize(
    ("platform", "new", "state"),
    [
        (V7, {V6: "x", V7: "b"}, "other-platform"),
        (V7, {V6: "a", V7: "x"}, "drift"),
        (V6, {V6: "x", V7: "b"}, "drift"),
        (V6, {V6: "a", V7: "x"}, "other-platform"),
        # Its own variant is not there any more, so its owner would get the other one.
        (V7, {V6: "a"}, "drift"),
    ],
)
def test_variants_of_an_architecture_are_platforms_of_their_own(
    world: World, platform: str, new: dict[str, str], state: str
) -> None:
    old = {V6: "a", V7: "b"}
    world.pull(world.push(old), old[platform], platform)
    world.push(new)
    assert world.state == state


def test_an_image_that_does_not_say_its_variant_is_found_among_all(world: World) -> None:
    world.pull(world.push({V6: "a", V7: "b", ARM: "c"}), "b", "linux/arm")
    world.push({V6: "a", V7: "b", ARM: "x"})
    assert world.state == "other-platform"
    world.push({V6: "a", V7: "x", ARM: "c"})
    assert world.state == "drift"


def test_an_image_without_a_variant_is_known_by_its_configuration(graph: World) -> None:
    graph.pull(graph.push({V6: "a", V7: "b"}), "b", "linux/arm")
    graph.push({V6: "x", V7: "b"})
    assert graph.state == "other-platform"


def test_a_single_entry_of_any_variant_serves_an_image_without_one(world: World) -> None:
    world.pull(world.push({"linux/arm64/v8": "a", AMD: "b"}), "a", ARM)
    world.push({"linux/arm64/v8": "a", AMD: "x"})
    assert world.state == "other-platform"


@pytest.mark.parametrize(
    ("new", "state"),
    [
        ({AMD: "x", "linux/amd64/v3": "b"}, "other-platform"),
        ({AMD: "a", "linux/amd64/v3": "x"}, "drift"),
        ({AMD: "a"}, "drift"),
        ({"linux/amd64/v3": "b", AMD: "a", ARM: "x"}, "other-platform"),
    ],
)
def test_a_graph_store_may_have_taken_a_better_variant(graph: World, new: dict[str, str], state: str) -> None:
    graph.pull(graph.push({AMD: "a", "linux/amd64/v3": "b"}), "b")
    graph.push(new)
    assert graph.state == state


def test_a_copy_may_be_without_the_better_variants(graph: World) -> None:
    graph.pull(graph.push({AMD: "a", "linux/amd64/v3": "b"}), "a")
    graph.push({AMD: "x", "linux/amd64/v3": "b"})
    del graph.registry.manifests[f"{REPOSITORY}@{manifest('b')}"]
    assert graph.state == "drift"
    del graph.registry.manifests[f"{REPOSITORY}@{manifest('x')}"]
    assert graph.state is None


def test_a_containerd_store_takes_the_plain_variant(containerd: World) -> None:
    containerd.pull(containerd.push({AMD: "a", "linux/amd64/v3": "b"}), "a")
    containerd.push({AMD: "a", "linux/amd64/v3": "x"})
    assert containerd.state == "other-platform"


def test_the_platform_is_that_of_the_image_not_of_the_host(world: World) -> None:
    world.pull(world.push({AMD: "a", ARM: "b"}), "b", ARM)
    world.push({AMD: "x", ARM: "b"})
    assert world.state == "other-platform"
    world.push({AMD: "a", ARM: "x"})
    assert world.state == "drift"


def test_any_digest_of_the_same_repository_makes_it_current(graph: World) -> None:
    old, new = graph.push({AMD: "a", ARM: "b"}), graph.push({AMD: "a", ARM: "c"})
    image = graph.pull(old, "a")
    graph.inventory.put(replace(image, digests=(f"{REPOSITORY}@{new}", f"{REPOSITORY}@{old}")))
    assert graph.state == "current"
    assert graph.asked == [head()]


def test_a_digest_of_another_repository_does_not_count(world: World) -> None:
    """The same image mirrored: what the mirror's tag names says nothing of this one."""
    image = world.pull(world.push("a"), "a")
    new = world.push("c")
    world.inventory.put(replace(image, digests=(*image.digests, f"mirror.io/app@{new}")))
    assert world.state == "drift"


def test_each_repository_of_an_image_is_judged_by_its_own_digest(graph: World) -> None:
    mirror = "mirror.io/app:1"
    image = graph.pull(graph.push("a"), "a")
    mirrored = graph.push("a", mirror)
    graph.inventory.put(replace(image, tags=(TAG, mirror), digests=(*image.digests, f"mirror.io/app@{mirrored}")))
    graph.push("c", mirror)
    assert graph.state == "current"
    assert graph.learn("registry.state", Ref(Kind.TAG, mirror)) == "drift"


def test_an_image_without_a_digest_in_the_repository_is_local_and_nobody_is_asked(graph: World) -> None:
    graph.inventory.put(an_image("built", TAG, digests=(digest_of("mirror.io/app", "a"),)))
    assert graph.state == "local"
    assert graph.asked == []


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("registry.state", "local"),
        ("registry.digest", ""),
        ("registry.newest_version", ""),
        ("registry.newest_version_digest", ""),
        ("registry.latest_is", []),
    ],
)
def test_of_what_the_engine_says_it_built_no_fact_asks_a_registry(
    containerd: World, fact: str, value: FactValue
) -> None:
    containerd.push("other")
    image = an_image("built", TAG, inspected=replace(details(), built_here=True))
    repository = TAG.rpartition(":")[0]
    containerd.inventory.put(replace(image, digests=(f"{repository}@{image.id}",)))
    assert containerd.learn(fact) == value
    assert containerd.learn("image.recoverable", Ref(Kind.IMAGE, image.id)) is False
    assert containerd.asked == []


@pytest.mark.parametrize(("only_audited", "state"), [("this is Podman", "local"), ("", "current")])
def test_what_podman_built_is_not_asked_for_at_a_registry_of_this_host(
    graph: World, only_audited: str, state: str
) -> None:
    tag, digest = "localhost/app:1", manifest("app")
    graph.inventory.put(an_image("app", tag, digests=(f"localhost/app@{digest}",)))
    assert graph.inventory.info is not None
    graph.inventory.info = replace(graph.inventory.info, only_audited=only_audited)
    graph.registry.digests[tag] = digest
    assert graph.learn("registry.state", Ref(Kind.TAG, tag)) == state
    assert len(graph.asked) == (state == "current")


def test_a_tag_that_the_registry_does_not_know_any_more_is_gone(world: World) -> None:
    digest = world.push("a")
    world.pull(digest, "a")
    world.inventory.digests.see(TAG, "registry", digest, NOW - DAY)
    world.registry.digests.clear()
    assert world.state == "gone"
    assert world.asked == [head()]


def test_a_graph_store_knows_a_tag_that_is_gone_without_having_seen_it(graph: World) -> None:
    graph.pull(graph.push("a"), "a")
    graph.registry.digests.clear()
    assert graph.state == "gone"


@pytest.mark.parametrize("tag", [TAG, "docker.io/library/app:1"])
def test_a_containerd_store_invents_digests_so_only_what_was_seen_there_can_be_gone(
    containerd: World, tag: str
) -> None:
    image, ref = an_image("app", tag), Ref(Kind.TAG, tag)
    containerd.inventory.put(replace(image, digests=(f"{tag.rpartition(':')[0]}@{image.id}",)))
    assert containerd.learn("registry.state", ref) == "local"
    assert containerd.asked == [head(tag)]
    containerd.inventory.digests.see(tag, "registry", image.id, NOW - DAY)
    assert containerd.learn("registry.state", ref) == "gone"
    containerd.inventory.digests.see(tag, "registry", "", NOW)
    assert containerd.learn("registry.state", ref) == "gone"
    containerd.inventory.digests.leave(tag, "registry", NOW)
    assert containerd.learn("registry.state", ref) == "local"


def test_a_digest_that_is_not_the_image_was_not_invented(containerd: World) -> None:
    image = an_image("app", TAG, digests=(f"{REPOSITORY}@{manifest('pulled')}",))
    containerd.inventory.put(image)
    assert containerd.state == "gone"


# -- what is asked, and in which order -----------------------------------------------------------------------


@pytest.mark.parametrize("content", ["a", {AMD: "a", ARM: "b"}])
def test_nothing_but_a_head_is_asked_while_nothing_changed(world: World, content: str | dict[str, str]) -> None:
    world.pull(world.push(content), "a")
    assert world.state == "current"
    assert world.asked == [head()]


def test_a_graph_store_asks_for_the_index_and_for_its_platform(graph: World) -> None:
    graph.pull(graph.push({AMD: "a", ARM: "b"}), "a")
    index = graph.push({AMD: "c", ARM: "b"})
    assert graph.state == "drift"
    assert graph.asked == [head(), get(index), get(manifest("c"))]


def test_a_containerd_store_asks_for_both_indexes(containerd: World) -> None:
    old = containerd.push({AMD: "a", ARM: "b"})
    containerd.pull(old, "a")
    new = containerd.push({AMD: "a", ARM: "c"})
    assert containerd.state == "other-platform"
    assert containerd.asked == [head(), get(new), get(old)]


def test_a_containerd_store_needs_no_second_manifest_where_the_first_names_our_own(containerd: World) -> None:
    containerd.pull(containerd.push("a"), "a")
    index = containerd.push({AMD: "a", ARM: "b"})
    assert containerd.state == "other-platform"
    assert containerd.asked == [head(), get(index)]


def test_a_graph_store_needs_no_second_manifest_where_the_first_has_a_configuration(graph: World) -> None:
    graph.pull(graph.push("a"), "a")
    new = graph.push("c")
    assert graph.state == "drift"
    assert graph.asked == [head(), get(new)]


def test_no_fact_of_a_tag_costs_more_than_it_must(world: World) -> None:
    world.pull(world.push("a"), "a")
    costs = {
        "registry.digest": [head()],
        "registry.drift_for": [head()],
        "registry.newest_version": [Ask("tags", REPOSITORY)],
    }
    for fact, asked in costs.items():
        assert world.learn(fact) is not None
        assert world.asked == asked


# -- answers that did not come -------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("question", ["head", "new", "second"])
def test_a_failure_is_unknown_with_its_reason_and_never_a_state(world: World, question: str, reason: str) -> None:
    old = world.push({AMD: "a", ARM: "b"})
    world.pull(old, "a")
    new = world.push({AMD: "a", ARM: "c"})
    second = get(manifest("a") if world.store is ImageStore.GRAPH else old)
    failing = {"head": head(), "new": get(new), "second": second}[question]
    world.registry.failures[failing] = reason
    assert world.state is None
    assert world.reason == reason
    assert world.asked[-1] == failing
    assert world.learn("registry.drift_for") is None


@pytest.mark.parametrize("content", ["a", {AMD: "a", ARM: "b"}])
def test_what_the_registry_does_not_have_any_more_cannot_spare_us(
    containerd: World, content: str | dict[str, str]
) -> None:
    old = containerd.push(content)
    containerd.pull(old, "a")
    containerd.push({AMD: "x", ARM: "c"})
    del containerd.registry.manifests[f"{REPOSITORY}@{old}"]
    assert containerd.state == "drift"
    assert containerd.reason == ""


@pytest.mark.parametrize("content", ["x", {AMD: "x", ARM: "c"}])
def test_a_registry_that_does_not_have_what_it_names_proves_nothing(
    world: World, content: str | dict[str, str]
) -> None:
    world.pull(world.push("a"), "a")
    del world.registry.manifests[f"{REPOSITORY}@{world.push(content)}"]
    assert world.state is None
    assert world.reason == "not_found"


def test_a_registry_without_the_image_of_our_platform_proves_nothing(graph: World) -> None:
    """As where only some platforms were copied."""
    graph.pull(graph.push({AMD: "a", ARM: "b"}), "a")
    graph.push({AMD: "a", ARM: "c"})
    del graph.registry.manifests[f"{REPOSITORY}@{manifest('a')}"]
    assert graph.state is None
    assert graph.reason == "not_found"


def test_digests_of_another_kind_say_nothing(containerd: World) -> None:
    containerd.push({AMD: "a"})
    containerd.pull(f"sha512:{'a' * 128}", "a")
    gone, service = a_container("web", f"{TAG}@sha512:{'a' * 128}"), a_service("web", f"{TAG}@sha512:{'a' * 128}")
    for each in (gone, service):
        containerd.inventory.put(each)
    for ref in (None, ref_of(gone), ref_of(service)):
        assert containerd.learn("registry.state", ref) is None
        assert (containerd.asked, containerd.reason) == ([head()], "")


def test_a_graph_store_does_not_miss_an_old_index(graph: World) -> None:
    old = graph.push({AMD: "a", ARM: "b"})
    graph.pull(old, "a")
    graph.push({AMD: "a", ARM: "c"})
    del graph.registry.manifests[f"{REPOSITORY}@{old}"]
    assert graph.state == "other-platform"


def test_without_the_platform_of_the_image_an_index_says_nothing(world: World) -> None:
    old = world.push({AMD: "a", ARM: "b"})
    identifier = config("a") if world.store is ImageStore.GRAPH else old
    image = replace(an_image("a", TAG, digests=(f"{REPOSITORY}@{old}",)), id=identifier)
    world.inventory.put(image)
    world.push({AMD: "a", ARM: "c"})
    assert image.details is None
    assert world.state is None
    assert world.reason == ""


# -- the property that all this is about ---------------------------------------------------------------------

_WORDS = st.sampled_from("abc")
_CONTENTS = _WORDS | st.dictionaries(st.sampled_from([AMD, ARM, V6, V7]), _WORDS, min_size=1)


@given(st.sampled_from(STORES), _CONTENTS, _CONTENTS, st.sampled_from([AMD, ARM, V6, V7]))
@settings(deadline=None)
def test_a_tag_drifts_if_a_pull_would_bring_this_platform_another_image(
    store: ImageStore, old: str | dict[str, str], new: str | dict[str, str], platform: str
) -> None:
    before = old if isinstance(old, str) else old.get(platform)
    after = new if isinstance(new, str) else new.get(platform)
    if before is None or (after is None and platform in (V6, V7)):
        return  # it could not be pulled, or another variant stands in, which has a test of its own
    world = World(store)
    old_digest = world.push(old)
    world.pull(old_digest, before, platform)
    new_digest = world.push(new)
    expected = "current" if old_digest == new_digest else "other-platform" if before == after else "drift"
    assert world.state == expected
    assert world.asked[0] == head()
    assert [ask for ask in world.asked if ask.what == "digest"] == [head()]
    assert len(world.asked) == len(set(world.asked)) <= 3
    assert (len(world.asked) > 1) == (expected != "current")


# -- since when ----------------------------------------------------------------------------------------------


def test_drift_counts_from_when_we_saw_the_later_of_both_digests(world: World) -> None:
    here = world.push("a")
    world.pull(here, "a")
    there = world.push("c")
    digests = world.inventory.digests
    digests.see(TAG, "local", here, NOW - 3 * DAY)
    digests.see(TAG, "registry", there, NOW - HOUR)
    assert world.learn("registry.drift_for") == timedelta(hours=1)
    # Somebody goes back to an old image: the registry's has been there for long, the drift has not.
    digests.leave(TAG, "registry", NOW)
    digests.see(TAG, "registry", there, NOW - 9 * DAY)
    assert world.learn("registry.drift_for") == timedelta(days=3)


def test_no_drift_has_lasted_for_no_time(world: World) -> None:
    here = world.push("a")
    world.pull(here, "a")
    world.inventory.digests.see(TAG, "registry", here, NOW - HOUR)
    assert world.learn("registry.drift_for") == timedelta()


def test_a_drift_that_nobody_noted_before_is_new(world: World) -> None:
    here = world.push("a")
    world.pull(here, "a")
    world.push("c")
    world.inventory.digests.see(TAG, "local", here, NOW - DAY)
    assert world.learn("registry.drift_for") == timedelta()


@pytest.mark.parametrize("seen_at", [NOW - DAY, NOW])
def test_what_was_seen_of_another_digest_is_no_age_of_this_one(world: World, seen_at: float) -> None:
    here = world.push("a")
    world.pull(here, "a")
    there = world.push("c")
    world.inventory.digests.see(TAG, "local", manifest("before"), seen_at)
    world.inventory.digests.see(TAG, "registry", there, NOW - HOUR)
    assert world.learn("registry.drift_for") == timedelta(hours=1)


def test_a_clock_that_was_set_back_makes_no_negative_age(world: World) -> None:
    world.pull(world.push("a"), "a")
    there = world.push("c")
    world.inventory.digests.see(TAG, "registry", there, NOW + HOUR)
    assert world.learn("registry.drift_for") == timedelta()


# -- versions ------------------------------------------------------------------------------------------------

# The tag, images by tag, the newest version, and the tags whose digests are asked for; more is in test_newest.
NEWEST: list[tuple[str, dict[str, str], str | None, str]] = [
    # In the good case, one digest: the list's highest version is the image here.
    ("latest", {"latest": "here", "1.2.0": "here", "1.1.0": "b"}, "1.2.0", "1.2.0"),
    ("1.2", {"1.2": "here", "1.2.0": "here", "1.1.0": "b", "edge": "e"}, "1.2.0", "1.2.0"),
    ("1.1.0", {"1.1.0": "here", "1.2.0": "b"}, "1.2.0", "1.2.0"),
    ("1.2.0", {"1.2.0": "here", "1.1.0": "b"}, "1.2.0", ""),
    # Else what the tag is there, and which version it is.
    ("latest", {"latest": "here", "1.1.0": "here", "1.2.0": "b"}, "1.2.0", "1.2.0 latest 1.1.0"),
    ("latest", {"latest": "b", "1.1.0": "here", "1.2.0": "b"}, "1.2.0", "1.2.0 latest"),
    # And whether what is higher is a pre-release.
    ("1.1.0", {"1.1.0": "here", "2.0.0": "e", "2.0.0-rc1": "e", "edge": "x"}, "1.1.0", "2.0.0 2.0.0-rc1"),
    ("1.1.0", {"1.1.0": "here", "2.0.0": "b", "2.0.0-rc1": "e", "edge": "x"}, "2.0.0", "2.0.0 2.0.0-rc1 edge"),
    ("latest", {"latest": "here", "1.1.0": "b"}, None, "1.1.0 latest"),
    ("20241001", {"20241001": "here", "1.1.0": "b"}, None, ""),
    ("latest", {"latest": "here", "20241001": "here", "20240901": "a", "edge": "b"}, "20241001", "20241001"),
    ("latest", {"latest": "here", "sha-1234567": "here", "edge": "b"}, "", ""),
]


def with_tag(world: World, name: str, *others: str, labels: dict[str, str] | None = None) -> Ref:
    """The tag is here, and everything else about it is unremarkable."""
    tag = f"{REPOSITORY}:{name}"
    image = world.pull(manifest("here"), "here", tag=tag)
    tags = (tag, *(f"{REPOSITORY}:{other}" for other in others))
    world.inventory.put(replace(image, tags=tags, labels=labels or {}))
    return Ref(Kind.TAG, tag)


@pytest.mark.parametrize(("name", "images", "newest", "asked"), NEWEST)
def test_newest_version(graph: World, name: str, images: dict[str, str], newest: str | None, asked: str) -> None:
    ref = with_tag(graph, name)
    for other, word in images.items():
        graph.push(word, f"{REPOSITORY}:{other}")
    assert graph.learn("registry.newest_version", ref) == newest
    first = [Ask("tags", REPOSITORY), *(head(f"{REPOSITORY}:{other}") for other in asked.split())]
    assert graph.asked == first
    digest = graph.registry.digests[f"{REPOSITORY}:{newest}"] if newest else newest
    assert graph.learn("registry.newest_version_digest", ref) == digest
    last = head(f"{REPOSITORY}:{newest}")
    assert graph.asked == [*first, *([last] if newest and last not in first else [])]


def test_what_the_engine_has_under_other_names_needs_no_question(graph: World) -> None:
    ref = with_tag(graph, "latest", "1.1.0")
    for other, word in (("latest", "here"), ("1.1.0", "here"), ("1.2.0", "b")):
        graph.push(word, f"{REPOSITORY}:{other}")
    assert graph.learn("registry.newest_version", ref) == "1.2.0"
    assert graph.asked == [Ask("tags", REPOSITORY), head(f"{REPOSITORY}:1.2.0")]


def test_of_months_those_to_come_are_not_released(graph: World) -> None:
    ref, year = with_tag(graph, "noble"), datetime.fromtimestamp(NOW, UTC).year % 100
    for word, other in {"here": f"{year - 2}.04", "b": f"{year - 1}.04", "c": f"{year + 1}.04"}.items():
        graph.push(word, f"{REPOSITORY}:{other}")
    graph.push("here", f"{REPOSITORY}:noble")
    assert graph.learn("registry.newest_version", ref) == f"{year - 1}.04"


def test_the_version_that_an_image_claims_is_looked_at_first(graph: World) -> None:
    ref = with_tag(graph, "latest", labels={"org.opencontainers.image.version": "v1.3.0"})
    for minor in range(9):
        graph.push("here" if minor == 3 else f"image {minor}", f"{REPOSITORY}:1.{minor}.0")
    graph.push("here", f"{REPOSITORY}:latest")
    assert graph.learn("registry.newest_version", ref) == "1.8.0"
    assert graph.asked == [Ask("tags", REPOSITORY), head(f"{REPOSITORY}:1.3.0"), head(f"{REPOSITORY}:1.8.0")]


# Tags with the word of their image; the tag; what it is.
LATEST = [
    ("latest", {"latest": "b", "1.27.3": "b", "1.27.2": "a"}, ["1.27.3"]),
    ("latest", {"latest": "b", "1.27.3": "b", "1.27": "b", "1": "b", "1.27.2": "a"}, ["1.27.3", "1.27"]),
    ("latest", {"latest": "a", "1.27.3": "b", "1.27.2": "a"}, ["1.27.2"]),
    ("latest", {"latest": "c", "1.27.3": "b"}, []),
    ("latest", {"latest": "b", "1.28.0-rc1": "b", "20241001": "b", "1.27.3": "a"}, []),
    ("latest", {"latest": "b", "1.27.3-alpine": "b"}, ["1.27.3-alpine"]),
    (
        "latest",
        {"latest": "a", **{f"1.{minor}.0": "a" if minor == 34 else f"{minor}" for minor in range(40)}},
        ["1.34.0"],
    ),
    ("9-slim", {"9-slim": "b", "9.14.1-slim-bookworm": "b", "9.8.4-slim": "a"}, []),
    ("alpine", {"alpine": "b", "1.27.3-alpine": "b", "1.27.3": "b"}, ["1.27.3-alpine"]),
    ("1.27", {"1.27": "b", "1.27.3": "b", "1.27.2": "a"}, ["1.27.3"]),
    ("1.27.3", {"1.27.3": "b", "v1.27.3": "b"}, ["v1.27.3"]),
    ("latest", {"latest": "b"}, []),
]


@pytest.mark.parametrize(("name", "tags", "expected"), LATEST)
def test_latest_is(graph: World, name: str, tags: dict[str, str], expected: list[str]) -> None:
    ref = with_tag(graph, name)
    for other, word in tags.items():
        graph.push(word, f"{REPOSITORY}:{other}")
    assert graph.learn("registry.latest_is", ref) == expected
    assert {ask.what for ask in graph.asked} <= {"digest", "tags"}


def test_a_version_that_is_listed_but_gone_is_another_image(graph: World) -> None:
    ref = with_tag(graph, "latest")
    for name in ("latest", "1.2.0", "1.1.0"):
        graph.push("a", f"{REPOSITORY}:{name}")
    graph.registry.failures[head(f"{REPOSITORY}:1.2.0")] = "not_found"
    assert graph.learn("registry.latest_is", ref) == ["1.1.0"]


def test_a_latest_that_is_gone_is_no_version_and_still_not_the_newest(world: World) -> None:
    ref = Ref(Kind.TAG, f"{REPOSITORY}:latest")
    world.pull(world.push("a", f"{REPOSITORY}:1.1.0"), "a", tag=ref.key)
    newest = world.push("b", f"{REPOSITORY}:1.2.0")
    assert world.learn("registry.newest_version_digest", ref) == newest
    assert world.learn("registry.latest_is", ref) == []


@pytest.mark.parametrize("reason", [*REASONS, "not_found"])
def test_a_list_that_cannot_be_had_leaves_versions_unknown(graph: World, reason: str) -> None:
    ref = with_tag(graph, "latest")
    graph.push("a", f"{REPOSITORY}:latest")
    graph.registry.failures[REPOSITORY] = reason
    for fact in ("newest_version", "newest_version_digest", "latest_is"):
        assert graph.learn(f"registry.{fact}", ref) is None
        assert graph.reason == reason


@pytest.mark.parametrize("reason", REASONS)
def test_a_version_that_cannot_be_compared_leaves_the_comparison_unknown(graph: World, reason: str) -> None:
    ref = with_tag(graph, "latest")
    for name in ("latest", "1.2.0", "1.1.0"):
        graph.push("a", f"{REPOSITORY}:{name}")
    graph.registry.failures[head(f"{REPOSITORY}:1.2.0")] = reason
    for fact in ("newest_version", "newest_version_digest", "latest_is"):
        assert graph.learn(f"registry.{fact}", ref) is None
        assert graph.reason == reason


# -- indexes in indexes, and entries that do not tell their platform ------------------------------------------


class Node(NamedTuple):
    """An image by its word, or an index; how its entry in the index above tells what it is.

    Attributes:
        platform: that of an image, or of all images of an index, if there is one.
        tells: the entry tells the platform.
        typed: the entry tells whether it is an index.
    """

    content: str | tuple[Node, ...]
    platform: str = ""
    tells: bool = True
    typed: bool = True

    @property
    def digest(self) -> str:
        return manifest(repr(self))

    def put(self, registry: FakeRegistry) -> None:
        """Into a registry, with all that is inside."""
        registry.manifests[f"{REPOSITORY}@{self.digest}"] = Reply(config=config(str(self.content)))
        if isinstance(self.content, str):
            told = Entry(config(self.content), *_platform(self.platform))
            registry.manifests[f"{REPOSITORY}@{config(self.content)}"] = Reply(entries=(told,))
            return
        for node in self.content:
            node.put(registry)
        entries = tuple(node.entry for node in self.content)
        registry.manifests[f"{REPOSITORY}@{self.digest}"] = Reply(entries=entries)

    @property
    def entry(self) -> Entry:
        is_told = self.tells and bool(self.platform)
        is_index = not isinstance(self.content, str)
        return Entry(
            self.digest,
            *(_platform(self.platform) if is_told else ("", "", "")),
            is_index=is_index if self.typed else not is_told,
        )

    @property
    def inside(self) -> set[str]:
        """The digests of everything in it."""
        if isinstance(self.content, str):
            return set()
        return {node.digest for node in self.content}.union(*(node.inside for node in self.content))


def leaf(word: str, platform: str) -> st.SearchStrategy[Node]:
    """The digest of an image has nothing to do with how it is told of."""
    return st.builds(lambda tells, typed: Told(word, platform, tells, typed), st.booleans(), st.booleans())


class Told(Node):
    """An image: the same one, however its entry tells of it."""

    @property
    def digest(self) -> str:
        return manifest(f"{self.content} {self.platform}")


@st.composite
def trees(draw: st.DrawFn, ours: str, platform: str = AMD) -> Node:
    """An index with our image somewhere in it, besides others: of other platforms, and what nobody runs."""
    node = draw(leaf(ours, platform))
    for depth in range(draw(st.integers(1, 3))):
        others = [Told(f"{draw(st.sampled_from('xyz'))}", ARM)] if draw(st.booleans()) else []
        beside = [Node((), tells=False)] if draw(st.booleans()) else []  # such as an index of attestations
        # An index tells a platform only if all that is in it are for that.
        told = platform if not others and not beside and not depth and draw(st.booleans()) else ""
        if not told and others:
            others = [others[0]._replace(tells=node.tells)] if isinstance(node, Told) else others
        node = Node((node, *others, *beside), told)
    return node


@settings(max_examples=200)
@given(trees("ours"), trees("ours"), trees("theirs"), st.sampled_from(STORES))
def test_the_image_of_this_platform_counts_however_deep_it_is(
    here: Node, same: Node, other: Node, store: ImageStore
) -> None:
    world = World(store)
    for tree in (here, same, other):
        tree.put(world.registry)
    world.pull(here.digest, "ours")
    for there, state in ((here, "current"), (same, "other-platform"), (other, "drift")):
        world.registry.digests[TAG] = there.digest
        assert world.state == ("current" if there.digest == here.digest else state)
        assert len(world.asked) <= 30


@settings(max_examples=100)
@given(trees("ours"), st.data())
def test_a_pin_on_anything_inside_the_index_is_current(tree: Node, data: st.DataObject) -> None:
    world = World()
    tree.put(world.registry)
    world.registry.digests[TAG] = tree.digest
    pin = data.draw(st.sampled_from(sorted(tree.inside)))
    container = a_container("web", f"{TAG}@{pin}")
    world.inventory.put(container)
    assert world.learn("registry.state", Ref(Kind.CONTAINER, container.id)) == "current"


def test_a_pin_on_an_index_that_changed_for_others_only(world: World) -> None:
    old = world.push({AMD: "a", ARM: "b"})
    image = world.pull(old, "a")
    container = replace(a_container("web", f"{TAG}@{old}"), image_id=image.id)
    world.inventory.put(container)
    for content, state in (({AMD: "a", ARM: "c"}, "other-platform"), ("a", "other-platform"), ({AMD: "c"}, "drift")):
        world.push(content)
        assert world.learn("registry.state", Ref(Kind.CONTAINER, container.id)) == state


def test_an_index_without_end_is_unknown(world: World) -> None:
    world.pull(manifest("a"), "a")
    deep = Node((Told("a", AMD),))
    for _ in range(9):
        deep = Node((deep,))
    wide = Node(tuple(Told(f"{n}", AMD, tells=False, typed=False) for n in range(99)))
    container = a_container("web", f"{TAG}@{manifest('old')}")
    world.inventory.put(container)
    for tree in (deep, wide):
        tree.put(world.registry)
        world.registry.digests[TAG] = tree.digest
        assert world.state is None
        assert len(world.asked) <= 60
    assert world.learn("registry.state", Ref(Kind.CONTAINER, container.id)) is None


# -- containers pinned by digest -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image_ref", "asked", "digest"),
    [
        (f"{TAG}@{manifest('old')}", [head()], manifest("a")),
        (f"team/app:1@{manifest('old')}", [head("docker.io/team/app:1")], manifest("hub")),
        (f"{REPOSITORY}@{manifest('old')}", [], ""),
        (config("a"), [], ""),
        ("", [], ""),
    ],
)
def test_a_pin_is_compared_with_the_tag_that_it_names(
    world: World, image_ref: str, asked: list[Ask], digest: str
) -> None:
    world.push("a")
    world.push("hub", "docker.io/team/app:1")
    container = a_container("web", image_ref)
    world.inventory.put(container)
    assert world.learn("registry.digest", Ref(Kind.CONTAINER, container.id)) == digest
    assert world.asked == asked


@pytest.mark.parametrize(
    ("pin", "content", "state", "asked"),
    [
        ("a", "a", "current", 1),
        ("a", {AMD: "a", ARM: "b"}, "current", 2),  # a pin on the manifest of one platform
        ("a", {AMD: "c", ARM: "b"}, "drift", 2),
        ("a", "c", "drift", 2),
        ("a", None, "gone", 1),
    ],
)
def test_what_became_of_the_tag_in_a_pin(
    world: World, pin: str, content: str | dict[str, str] | None, state: str, asked: int
) -> None:
    container = a_container("web", f"{TAG}@{manifest(pin)}")
    world.inventory.put(container)
    digest = world.push(content) if content else ""
    ref = Ref(Kind.CONTAINER, container.id)
    assert world.learn("registry.state", ref) == state
    assert (len(world.asked), world.reason) == (asked, "")
    assert world.learn("registry.digest", ref) == digest


def test_a_container_of_a_tag_is_compared_by_the_image_that_it_runs(world: World) -> None:
    first = world.pull(world.push("a"), "a")
    container = replace(a_container("web", TAG), image_id=first.id)
    world.inventory.put(container)
    ref = Ref(Kind.CONTAINER, container.id)
    assert world.learn("registry.state", ref) == "current"
    second = world.push("b")
    assert (world.learn("registry.state", ref), world.learn("registry.digest", ref)) == ("drift", second)
    world.pull(second, "b")  # which it does not run, and its own image has no name any more
    is_graph = world.store is ImageStore.GRAPH
    world.inventory.put(replace(first, tags=(), digests=first.digests if is_graph else ()))
    assert (world.state, world.learn("registry.state", ref)) == ("current", "drift")


def test_a_container_of_an_image_that_no_registry_has_asks_none(world: World) -> None:
    local = an_image("built", TAG)
    world.inventory.put(local)
    container = replace(a_container("web", TAG), image_id=local.id)
    world.inventory.put(container)
    for fact, value in (("registry.state", "local"), ("registry.digest", "")):
        assert world.learn(fact, Ref(Kind.CONTAINER, container.id)) == value
    assert world.asked == []


def test_a_container_without_a_tag_has_no_state_at_a_registry(world: World) -> None:
    for image_ref in (f"{REPOSITORY}@{manifest('a')}", config("a")):
        container = a_container("web", image_ref)
        world.inventory.put(container)
        assert world.learn("registry.state", Ref(Kind.CONTAINER, container.id)) == ""
    assert world.asked == []


@pytest.mark.parametrize("reason", REASONS)
def test_a_pin_whose_tag_cannot_be_asked_is_unknown(world: World, reason: str) -> None:
    container = a_container("web", f"{TAG}@{manifest('old')}")
    world.inventory.put(container)
    world.registry.failures["h.io"] = reason
    for fact in ("registry.digest", "registry.state"):
        assert world.learn(fact, Ref(Kind.CONTAINER, container.id)) is None
        assert world.reason == reason

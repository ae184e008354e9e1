"""What every engine does, the real ones and the one in memory that unit tests use in their place.

Each expectation here is one that a removal relies on. A test that fails for a real engine means that the product may
remove the wrong thing; one that fails for the fake alone means that unit tests prove nothing.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from dockwarden import reference
from dockwarden.engine import DockerEngine
from dockwarden.errors import ConflictError, NotFoundError
from dockwarden.model import ImageStore, Kind, Ref
from tests import builders
from tests.fakes import FakeEngine
from tests.lab import images as lab_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockwarden.ports import Engine
    from tests.lab.engine import LabEngine
    from tests.lab.registry import LabRegistry

_NUMBERS = itertools.count(1)


@dataclass
class Real:
    """A real engine, and people who use it."""

    lab: LabEngine
    registry: LabRegistry
    engine: DockerEngine
    store: ImageStore

    def load(self, word: str, *tags: str, runs: bool = False) -> str:
        before = {image.id for image in self.engine.images()}
        spec = lab_images.busybox(*tags) if runs else lab_images.ImageSpec(tags=tags)  # an engine unpacks less
        self.lab.load(replace(spec, labels={"word": f"{word} {next(_NUMBERS)}"}))
        if tags:
            return self.engine.image(tags[0]).id
        [new] = {image.id for image in self.engine.images()} - before
        return new

    def pull(self, word: str, name: str, *, by_digest: bool = False) -> tuple[str, str]:
        repository, tag = name.split(":")
        # Its own first layer: a containerd store does not list an image that was pulled while layers of it were there.
        own = lab_images.rootfs({"own": f"{word} {next(_NUMBERS)}"})
        spec = lab_images.ImageSpec(layers=(own,), labels={"word": word})
        digest = self.registry.push(repository, tag, spec)
        full = f"{self.registry.host}/{repository}@{digest}" if by_digest else f"{self.registry.host}/{name}"
        self.lab.docker("pull", "--quiet", full)
        return self.engine.image(full).id, full

    def child_of(self, name: str) -> None:
        self.lab.docker("create", "--name=mother", name)
        self.lab.docker("commit", "mother", "child:1")
        self.lab.docker("rm", "mother")

    def run(self, name: str, image: str, *, running: bool) -> str:
        if running:
            return self.lab.docker("run", "--detach", f"--name={name}", image)
        return self.lab.docker("create", f"--name={name}", image)

    def remove(self, name: str) -> None:
        self.lab.docker("rm", "--force", name)

    def volume(self, name: str, user: str = "") -> None:
        self.lab.docker("volume", "create", "--label=kept=yes", name)
        if user:
            self.load("user", "user:1")
            self.lab.docker("create", f"--name={user}", f"--volume={name}:/data", "user:1")

    def network(self, name: str, user: str = "") -> None:
        self.lab.docker("network", "create", "--label=kept=yes", "--subnet=10.99.7.0/24", name)
        if user:
            self.load("user", "user:1")
            self.lab.docker("create", f"--name={user}", f"--network={name}", "user:1")


@dataclass
class InMemory:
    """The engine in memory, and people who use it."""

    engine: FakeEngine
    store: ImageStore

    def load(self, word: str, *tags: str, runs: bool = False) -> str:
        image = builders.an_image(word, *tags)
        self.engine.load(image)
        return image.id

    def pull(self, word: str, name: str, *, by_digest: bool = False) -> tuple[str, str]:
        image = builders.an_image(word)
        full = reference.full(f"127.0.0.1:5000/{name}")
        if by_digest:
            full = f"{full.rpartition(':')[0]}@{image.id}"
        self.engine.pull(image, full)
        return image.id, full

    def child_of(self, name: str) -> None:
        self.engine.put(builders.an_image("child", "child:1"), parent=self.engine.image(name).id)

    def run(self, name: str, image: str, *, running: bool) -> str:
        container = builders.a_container(name, image, running=running)
        self.engine.run(container)
        return container.id

    def remove(self, name: str) -> None:
        self.engine.remove(name)

    def volume(self, name: str, user: str = "") -> None:
        self.engine.add_volume(builders.a_volume(name, labels={"kept": "yes"}))
        if user:
            self.load("user", "user:1")
            self.engine.run(builders.a_container(user, "user:1", running=False, mounts=(builders.a_mount(name),)))

    def network(self, name: str, user: str = "") -> None:
        self.engine.add_network(builders.a_network(name, labels={"kept": "yes"}))
        if user:
            self.load("user", "user:1")
            self.engine.run(builders.a_container(user, "user:1", running=False, networks=(name,)))


@pytest.fixture(
    params=[
        "fake graph",
        "fake containerd",
        pytest.param("real graph", marks=pytest.mark.engine),
        pytest.param("real containerd", marks=pytest.mark.engine),
        pytest.param("newest containerd", marks=pytest.mark.engine),
    ]
)
def host(request: pytest.FixtureRequest) -> Iterator[Real | InMemory]:
    """An empty engine that is connected."""
    kind, _, word = request.param.partition(" ")
    store = ImageStore(word)
    if kind == "fake":
        fake = FakeEngine(store)
        fake.connect()
        yield InMemory(fake, store)
        return
    lab: LabEngine = request.getfixturevalue(f"{'newest' if kind == 'newest' else word}_engine")
    lab.wipe()
    engine = DockerEngine(lab.host)
    assert engine.connect().image_store is store
    yield Real(lab, request.getfixturevalue("registry"), engine, store)


def exists(engine: Engine, name: str) -> bool:
    try:
        engine.image(name)
    except NotFoundError:
        return False
    return True


def repository() -> str:
    """A name that the session's registry has not seen."""
    return f"contract/app{next(_NUMBERS)}"


def nameless(host: Real | InMemory) -> str:
    """The name by which a removal asks for an image without names."""
    image = host.load("nameless")
    assert host.engine.image(image).tags == host.engine.image(image).digests == ()
    if host.store is ImageStore.CONTAINERD:
        return f"moby-dangling@{image}"
    marker = reference.marker(image)
    host.engine.tag(image, marker)
    assert host.engine.image(image).markers == (marker,)
    return marker


def image_of(host: Real | InMemory, name: str) -> str:
    """The image that `nameless` named."""
    return name.partition("@")[2] if "@" in name else host.engine.image(name).id


# -- what is shown -------------------------------------------------------------------------------------


def test_an_image_is_found_by_its_id_and_by_each_name(host: Real | InMemory) -> None:
    image = host.load("app", "app:1", "h.io/b:2")
    for name in (image, "app:1", "docker.io/library/app:1", "h.io/b:2"):
        assert host.engine.image(name).id == image
    assert host.engine.image(image).tags == ("docker.io/library/app:1", "h.io/b:2")


def test_list_and_inspect_tell_the_same_but_for_the_details(host: Real | InMemory) -> None:
    host.load("app", "app:1", "h.io/b:2")
    host.load("nameless")
    host.pull("pulled", f"{repository()}:1")
    host.pull("pinned", f"{repository()}:1", by_digest=True)
    listed = list(host.engine.images())
    assert len(listed) == 4
    on_containerd = host.store is ImageStore.CONTAINERD
    for image in listed:
        inspected = host.engine.image(image.id)
        # Dates differ in fractions; the list of a containerd store counts what is unpacked as well, inspect need not.
        size_bytes = image.size_bytes if on_containerd else inspected.size_bytes
        assert replace(inspected, details=None, created_at=image.created_at, size_bytes=size_bytes) == image
        assert inspected.details is not None
        assert (inspected.created_at is None) == (image.created_at is None)


def test_the_list_of_one_repository_has_all_its_images_and_no_other(host: Real | InMemory) -> None:
    one, two = host.load("one", "app:1", "other:1"), host.load("two", "app:2")
    host.load("three", "appendix:1")
    listed = list(host.engine.images("docker.io/library/app"))
    assert {image.id for image in listed} == {one, two}
    tags = {tag for image in listed for tag in image.tags}
    assert tags >= {"docker.io/library/app:1", "docker.io/library/app:2"}
    assert list(host.engine.images("docker.io/library/nothing")) == []


def test_an_image_pulled_by_digest_has_that_digest_and_no_tag(host: Real | InMemory) -> None:
    image, name = host.pull("pinned", f"{repository()}:1", by_digest=True)
    shown = host.engine.image(image)
    assert (shown.tags, shown.digests) == ((), (name,))


def test_what_does_not_exist_is_not_found(host: Real | InMemory) -> None:
    engine = host.engine
    for look in (engine.image, engine.container, engine.volume, engine.network, engine.untag):
        with pytest.raises(NotFoundError):
            look("nothing:1")
    with pytest.raises(NotFoundError):
        engine.image(builders.image_id("nothing"))
    with pytest.raises(NotFoundError):
        engine.tag(builders.image_id("nothing"), "app:1")


def test_a_container_is_found_by_id_and_name_with_what_its_creator_typed(host: Real | InMemory) -> None:
    image = host.load("app", "app:1", runs=True)
    web = host.run("web", "app:1", running=True)
    job = host.run("job", "docker.io/library/app:1", running=False)
    assert set(host.engine.container_ids()) == {web, job}
    for name in (web, "web"):
        container = host.engine.container(name)
        assert (container.id, container.name, container.image_ref) == (web, "web", "app:1")
        assert (container.image_id, container.running) == (image, True)
    assert host.engine.container(job).image_ref == "docker.io/library/app:1"
    assert not host.engine.container(job).running


def test_users_of_an_image_are_its_containers_running_or_not(host: Real | InMemory) -> None:
    app, other = host.load("app", "app:1", "app:2", runs=True), host.load("other", "other:1")
    used = {host.run("web", "app:1", running=True), host.run("job", "app:2", running=False)}
    assert set(host.engine.users_of(app)) == used
    assert list(host.engine.users_of(other)) == []
    assert list(host.engine.users_of(builders.image_id("nothing"))) == []


def test_users_of_an_image_are_not_those_of_its_children(host: Real | InMemory) -> None:
    mother = host.load("app", "app:1")
    host.child_of("app:1")
    host.run("web", "child:1", running=False)
    assert list(host.engine.users_of(mother)) == []


# -- names ---------------------------------------------------------------------------------------------


def test_a_tag_that_is_set_again_moves(host: Real | InMemory) -> None:
    old, new = host.load("old", "app:1", "app:old"), host.load("new", "app:new")
    host.engine.tag(new, "app:1")
    assert host.engine.image("app:1").id == new
    assert host.engine.image(old).tags == ("docker.io/library/app:old",)


def test_an_image_that_lost_its_only_tag_to_another_stays_without_names(host: Real | InMemory) -> None:
    old, new = host.load("old", "app:1"), host.load("new", "app:new")
    host.engine.tag(new, "app:1")
    assert host.engine.image(old).tags == host.engine.image(old).digests == ()


def test_a_container_keeps_its_image_when_the_tag_moves(host: Real | InMemory) -> None:
    old, new = host.load("old", "app:1"), host.load("new", "app:new")
    host.run("web", "app:1", running=False)
    host.engine.tag(new, "app:1")
    assert (host.engine.container("web").image_id, host.engine.container("web").image_ref) == (old, "app:1")
    assert list(host.engine.users_of(new)) == []


# -- removal -------------------------------------------------------------------------------------------


def test_one_of_several_names_goes_and_the_image_stays(host: Real | InMemory) -> None:
    image = host.load("app", "app:1", "h.io/b:2")
    host.engine.untag("app:1")
    assert host.engine.image(image).tags == ("h.io/b:2",)


def test_the_image_goes_with_its_last_name(host: Real | InMemory) -> None:
    image = host.load("app", "app:1", "h.io/b:2")
    host.engine.untag("app:1")
    host.engine.untag("h.io/b:2")
    assert not exists(host.engine, image)


def test_the_digest_of_a_pull_goes_with_its_last_tag(host: Real | InMemory) -> None:
    image, name = host.pull("app", f"{repository()}:1")
    assert host.engine.image(image).digests
    host.engine.untag(name)
    assert not exists(host.engine, image)


def test_an_image_that_was_pulled_by_digest_goes_with_that_digest(host: Real | InMemory) -> None:
    image, name = host.pull("pinned", f"{repository()}:1", by_digest=True)
    host.engine.untag(name)
    assert not exists(host.engine, image)


def test_a_bare_id_is_no_name_and_removes_nothing(host: Real | InMemory) -> None:
    image = host.load("app", "app:1")
    for form in (image, image.removeprefix("sha256:")):
        with pytest.raises(ValueError, match="ID"):
            host.engine.untag(form)
    assert host.engine.image(image).tags == ("docker.io/library/app:1",)


def test_a_name_without_tag_or_digest_removes_nothing(host: Real | InMemory) -> None:
    names = ("app", "h.io/team/app", "deadbeef")
    host.load("app", *(f"{name}:latest" for name in names))
    for name in names:
        with pytest.raises(ValueError, match="neither tag nor digest"):
            host.engine.untag(name)
        assert exists(host.engine, f"{name}:latest")


def test_the_last_name_of_a_used_image_is_refused(host: Real | InMemory) -> None:
    image = host.load("app", "app:1", runs=True)
    for running in (True, False):
        host.run("web", "app:1", running=running)
        with pytest.raises(ConflictError):
            host.engine.untag("app:1")
        assert host.engine.image(image).tags == ("docker.io/library/app:1",)
        host.remove("web")
    host.engine.untag("app:1")
    assert not exists(host.engine, image)


@pytest.mark.parametrize("by_digest", [True, False], ids=["digest", "tag"])
def test_the_last_name_of_a_used_image_that_was_pulled_is_refused(host: Real | InMemory, *, by_digest: bool) -> None:
    image, name = host.pull("app", f"{repository()}:1", by_digest=by_digest)
    host.run("web", name, running=False)
    before = host.engine.image(image)
    with pytest.raises(ConflictError):
        host.engine.untag(name)
    assert host.engine.image(image) == before


def test_another_name_of_a_used_image_is_not_refused(host: Real | InMemory) -> None:
    image = host.load("app", "app:1", "app:2")
    host.run("web", "app:1", running=False)
    host.engine.untag("app:1")
    assert host.engine.image(image).tags == ("docker.io/library/app:2",)
    with pytest.raises(ConflictError):
        host.engine.untag("app:2")


def test_an_image_that_others_were_built_from_loses_its_name_and_stays(host: Real | InMemory) -> None:
    mother = host.load("app", "app:1")
    host.child_of("app:1")
    host.engine.untag("app:1")
    assert host.engine.image(mother).tags == ()
    host.engine.tag(mother, "app:1")
    host.engine.untag("child:1")
    assert host.engine.image(mother).tags == ("docker.io/library/app:1",)
    host.engine.untag("app:1")
    assert not exists(host.engine, mother)


# -- nameless images: the forms that are safe ------------------------------------------------------------


def test_a_nameless_image_goes_by_the_form_of_its_store(host: Real | InMemory) -> None:
    name = nameless(host)
    image = image_of(host, name)
    host.engine.untag(name)
    assert not exists(host.engine, image)


def test_a_tag_set_meanwhile_saves_a_nameless_image(host: Real | InMemory) -> None:
    name = nameless(host)
    image = image_of(host, name)
    host.engine.tag(image, "app:1")
    if host.store is ImageStore.CONTAINERD:
        with pytest.raises(NotFoundError):
            host.engine.untag(name)
    else:
        host.engine.untag(name)
    shown = host.engine.image(image)
    assert (shown.tags, shown.markers) == (("docker.io/library/app:1",), ())


def test_a_container_saves_a_nameless_image(host: Real | InMemory) -> None:
    name = nameless(host)
    image = image_of(host, name)
    host.engine.tag(image, "app:1")
    host.run("web", "app:1", running=False)
    other = host.load("other", "other:1")
    host.engine.tag(other, "app:1")
    with pytest.raises(ConflictError):
        host.engine.untag(name)
    assert exists(host.engine, image)


def test_a_tag_set_meanwhile_in_another_repository_survives_the_removal_of_a_digest(host: Real | InMemory) -> None:
    image, name = host.pull("pinned", f"{repository()}:1", by_digest=True)
    host.engine.tag(image, "app:1")
    host.engine.untag(name)
    assert host.engine.image(image).tags == ("docker.io/library/app:1",)


def test_a_tag_set_meanwhile_in_the_same_repository_survives_the_removal_of_a_digest_on_graph_only(
    host: Real | InMemory,
) -> None:
    image, name = host.pull("pinned", f"{repository()}:1", by_digest=True)
    tag = f"{name.partition('@')[0]}:2"
    host.engine.tag(image, tag)
    host.engine.untag(name)
    assert exists(host.engine, tag) == (host.store is ImageStore.GRAPH)


# -- what changes it, and back -----------------------------------------------------------------------------------------


def test_a_saved_image_comes_back_with_the_same_id_and_without_names(host: Real | InMemory) -> None:
    image = host.load("app", "app:1", "app:2")
    chunks: list[bytes] = []
    host.engine.save_image(image, chunks.append)
    host.engine.untag("app:1")
    host.engine.untag("app:2")
    other = host.load("other", "app:1")
    host.engine.load_image(iter(chunks))
    assert host.engine.image(image).tags == ()
    assert host.engine.image("app:1").id == other


def test_an_image_that_is_pulled_by_its_digest_comes_back_with_the_same_id(host: Real | InMemory) -> None:
    image, name = host.pull("app", "team/app:1")
    [digest] = host.engine.image(image).digests
    if isinstance(host, InMemory):
        host.engine.served[digest] = host.engine.image(image)
    host.engine.untag(name)
    assert not exists(host.engine, image)
    host.engine.pull_image(digest, "linux/amd64")
    host.engine.tag(image, name)
    found = host.engine.image(name)
    assert (found.id, found.tags, found.digests) == (image, (name,), (digest,))


def test_what_no_registry_has_cannot_be_pulled(host: Real | InMemory) -> None:
    _, name = host.pull("app", "team/app:1")
    with pytest.raises(NotFoundError):
        host.engine.pull_image(f"{name.rpartition(':')[0]}@sha256:{'0' * 64}")


def test_a_container_that_runs_is_not_removed_and_one_that_was_stopped_is(host: Real | InMemory) -> None:
    host.load("app", "app:1", runs=True)
    container = host.run("web", "app:1", running=True)
    with pytest.raises(ConflictError):
        host.engine.remove_container(container)
    host.engine.stop_container(container)
    assert not host.engine.container(container).running
    host.engine.start_container(container)
    assert host.engine.container(container).running
    host.engine.stop_container(container)
    host.engine.remove_container(container)
    with pytest.raises(NotFoundError):
        host.engine.container(container)


def test_a_container_that_runs_is_restarted(host: Real | InMemory) -> None:
    host.load("app", "app:1", runs=True)
    container = host.run("web", "app:1", running=True)
    before = host.engine.container(container).started_at
    host.engine.restart_container(container, 0)
    after = host.engine.container(container)
    assert after.running
    assert (after.started_at or 0) > (before or 0)
    with pytest.raises(NotFoundError):
        host.engine.restart_container("0" * 64, None)


def test_a_container_is_made_again_under_its_name_and_not_started(host: Real | InMemory) -> None:
    image = host.load("app", "app:1")
    container = host.run("web", "app:1", running=False)
    parameters = host.engine.parameters(Ref(Kind.CONTAINER, container))
    with pytest.raises(ConflictError):
        host.engine.create(Kind.CONTAINER, parameters)
    host.engine.remove_container(container)
    made = host.engine.container(host.engine.create(Kind.CONTAINER, json.loads(json.dumps(parameters))))
    assert made.id != container
    assert (made.name, made.image_ref, made.image_id, made.running) == ("web", "app:1", image, False)


def test_a_volume_that_is_mounted_is_not_removed(host: Real | InMemory) -> None:
    host.volume("data", user="web")
    with pytest.raises(ConflictError):
        host.engine.remove_volume("data")
    assert list(host.engine.users_of("data", Kind.VOLUME)) == [host.engine.container("web").id]


def test_a_volume_is_made_again_with_its_labels(host: Real | InMemory) -> None:
    host.volume("data")
    parameters = host.engine.parameters(Ref(Kind.VOLUME, "data"))
    host.engine.remove_volume("data")
    with pytest.raises(NotFoundError):
        host.engine.volume("data")
    assert host.engine.create(Kind.VOLUME, json.loads(json.dumps(parameters))) == "data"
    assert host.engine.volume("data").labels == {"kept": "yes"}


def test_a_network_tells_its_users_and_is_made_again_with_its_labels(host: Real | InMemory) -> None:
    host.network("front", user="web")
    [network] = [each for each in host.engine.networks() if each.name == "front"]
    assert list(host.engine.users_of("front", Kind.NETWORK)) == [host.engine.container("web").id]
    parameters = host.engine.parameters(Ref(Kind.NETWORK, network.id))
    host.engine.remove_container(host.engine.container("web").id)
    host.engine.remove_network(network.id)
    made = host.engine.network(host.engine.create(Kind.NETWORK, json.loads(json.dumps(parameters))))
    assert (made.name, made.labels, made.id != network.id) == ("front", {"kept": "yes"}, True)


def test_trimming_an_empty_build_cache_frees_nothing(host: Real | InMemory) -> None:
    assert host.engine.trim_build_cache(1_000_000) == 0

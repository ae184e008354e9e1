"""What was removed comes back: real engines of both kinds, a real registry, ledger and archives on a real disk."""

from __future__ import annotations

import base64
import ctypes
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections import deque
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from dockwarden.actions import contents
from dockwarden.actions.archive import Archive, ArchiveError
from dockwarden.actions.execute import Executor, end_intents
from dockwarden.actions.undo import Undoer
from dockwarden.actions.verb import Tools
from dockwarden.engine import DockerEngine, disk
from dockwarden.errors import EngineUnavailableError, NotFoundError
from dockwarden.model import Container, Effect, Image, Kind, Network, Outcome, Record, Ref, Step, Volume
from dockwarden.pipeline.witness import Witness
from dockwarden.process.probe import probe
from dockwarden.registry import HttpRegistry
from dockwarden.sinks.ledger import Ledger
from tests.faults import Faulty
from tests.lab import images, trees
from tests.lab.engine import LabEngine
from tests.lab.images import ARCHITECTURE, ImageSpec, rootfs
from tests.lab.registry import LabRegistry
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dockwarden.model import Recipe, Thing
    from tests.lab.engine import Kind as Kind_

APPLIED = Effect.APPLIED
_IN_DELETE = 0x200  # of inotify


class Names(NamedTuple):
    """What an image is called."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]


class Host:
    """An engine, a registry, and the parts of dockwarden that remove and bring back."""

    def __init__(self, lab: LabEngine, registry: LabRegistry, folder: Path) -> None:
        self.lab, self.registry, self.folder = lab, registry, folder / "state"
        self.engine = DockerEngine(lab.host)
        self.info = self.engine.connect()
        self.asks = HttpRegistry()
        self.ledger = Ledger(self.folder, time.time, lambda _: None)
        self.ledger.open()
        self.ledger.claim(self.info.identity)
        self.archive = self.archive_of(1 << 30)
        self.busy: Callable[[], str] = str
        self.probe: Callable[[str, Sequence[str]], str] = probe
        self.pulling: Callable[[str, int, int], object] = lambda *_: None

    def close(self) -> None:
        self.ledger.close()
        self.asks.close()
        self.engine.close()

    def archive_of(self, room: int) -> Archive:
        return Archive(self.folder / "archives", self.ledger, max_bytes=room, reserve_bytes=0)

    def spec(self, word: str, *tags: str) -> ImageSpec:
        return replace(images.busybox(*tags, cmd=("sleep", "1000"), own=word), labels={"word": word})

    def name(self, repository: str) -> str:
        return f"{self.registry.host}/{repository}"

    def built(self, word: str, *names: str) -> Image:
        """An image that no registry has."""
        self.lab.load(self.spec(word, *map(self.name, names)))
        return self.engine.image(self.name(names[0]))

    def pulled(self, word: str, name: str) -> Image:
        repository, _, tag = name.partition(":")
        self.registry.push(repository, tag, self.spec(word))
        self.lab.docker("pull", "--quiet", self.name(name))
        return self.engine.image(self.name(name))

    def remove(self, *things: Thing, unrecoverable: bool = False, run: str = "run-1") -> list[tuple[str, str]]:
        outcomes = self.outcomes(*things, unrecoverable=unrecoverable, run=run)
        return [(outcome.effect.value, outcome.reason) for outcome in outcomes]

    def outcomes(self, *things: Thing, unrecoverable: bool = False, run: str = "run-1") -> list[Outcome]:
        return self.carried_out(*(step(thing, unrecoverable=unrecoverable) for thing in things), run=run)

    def carried_out(self, *steps: Step, run: str = "run-1") -> list[Outcome]:
        tools = replace(
            self.tools(),
            free_bytes=lambda: found.free_bytes if (found := disk.measure(self.info.data_root)) else None,
            busy=self.busy,
            now=time.monotonic,
            sleep=time.sleep,
            news_of=Witness(self.engine).begin(0),
        )
        executor = Executor(tools, self.ledger)
        return list(executor.run(run, steps))

    def undo(self, what: str = "run-1") -> list[tuple[str, str, str]]:
        actions = self.ledger.undoable(what)
        undoer = Undoer(self.tools(), self.ledger)
        return [(o.effect.value, o.reason, o.detail) for o in undoer.undo("undo-1", actions)]

    def tools(self) -> Tools:
        return Tools(
            self.engine,
            self.asks,
            self.archive,
            contents,
            self.info.image_store,
            probe=self.probe,
            pulling=self.pulling,
        )

    def done(self) -> list[Record]:
        return self.ledger.undoable()

    def undoable(self) -> list[str]:
        return [done.name for done in self.done()]

    def files(self) -> list[Path]:
        return list((self.folder / "archives").glob("*"))

    def exists(self, name: str) -> bool:
        with suppress(NotFoundError):
            self.engine.image(name)
            return True
        return False

    def names(self, image: str) -> Names:
        found = self.engine.image(image)
        return Names(found.id, found.tags, found.digests)


def step(thing: Thing, *, unrecoverable: bool = False) -> Step:
    kind = {Image: Kind.IMAGE, Container: Kind.CONTAINER, Volume: Kind.VOLUME, Network: Kind.NETWORK}[type(thing)]
    key = thing.name if isinstance(thing, Volume) else thing.id
    name = thing.id if isinstance(thing, Image) else thing.name
    return Step("test", "remove", Ref(kind, key), name, thing, "because", unrecoverable=unrecoverable)


@pytest.fixture
def host(empty_engine: LabEngine, registry: LabRegistry, tmp_path: Path) -> Iterator[Host]:
    made = Host(empty_engine, registry, tmp_path)
    yield made
    made.close()


# -- images ------------------------------------------------------------------------------------------------------------


def test_image_that_no_registry_has_comes_back_from_an_archive(host: Host) -> None:
    image = host.built("a", "undo/a:1", "undo/a:2", "undo/b:1")
    before = host.names(image.id)
    assert host.remove(image) == [("applied", "removed")]
    assert not host.exists(image.id)
    [file] = host.files()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    [(effect, reason, _)] = host.undo()
    assert (effect, reason) == ("applied", "restored")
    assert host.names(image.id) == before
    assert (host.files(), host.undoable(), host.undo()) == ([], [], [])


def test_image_without_any_name_comes_back_without(host: Host) -> None:
    host.lab.load(host.spec("nameless"))
    [image] = [host.engine.image(each.id) for each in host.engine.images()]
    assert host.remove(image) == [("applied", "removed")]
    host.undo()
    assert host.names(image.id) == Names(image.id, (), ())


def test_image_that_its_registry_serves_comes_back_by_a_pull(host: Host) -> None:
    image = host.pulled("p", "undo/pulled:1")
    host.lab.docker("tag", host.name("undo/pulled:1"), host.name("undo/alias:1"))
    before = host.names(image.id)
    assert host.remove(host.engine.image(image.id)) == [("applied", "removed")]
    assert host.files() == []
    assert host.undo() == [("applied", "restored", "")]
    assert host.names(image.id) == before


@pytest.mark.parametrize("what", ["image", "tag", "parent"])
def test_digests_come_back_with_the_tags_that_they_went_with(host: Host, what: str) -> None:
    """On a graph store a digest goes with the last tag of its repository, also where the image stays."""
    image = host.pulled("d", "undo/one:1")
    host.registry.push("undo/other", "1", host.spec("d"))
    host.lab.docker("pull", "--quiet", host.name("undo/other:1"))
    host.lab.docker("tag", image.id, "elsewhere:1")
    before = host.names(image.id)
    assert len(before.digests) >= 2
    if what == "parent":
        steps = io.BytesIO(f"FROM {image.tags[0]}\nLABEL a=b\nLABEL c=d\n".encode())
        deque(host.lab.client().build(fileobj=steps, tag="child:1", rm=True), maxlen=0)
        assert host.remove(host.engine.image(image.id)) == [("refused", "conflict")]
        assert host.names(image.id) == before
        host.lab.docker("rmi", "child:1")
        return
    found, name = host.engine.image(image.id), host.name("undo/one:1")
    untag = Step("test", "untag", Ref(Kind.TAG, name), name, found, "because")
    [outcome] = host.carried_out(untag if what == "tag" else step(found))
    assert (outcome.effect, outcome.reason) == (APPLIED, "untagged" if what == "tag" else "removed")
    assert host.undo() == [("applied", "restored", "")]
    assert host.names(image.id) == before


def test_the_steps_of_a_build_go_with_its_image_and_what_had_a_name_is_judged_itself(
    graph_engine: LabEngine, registry: LabRegistry, tmp_path: Path
) -> None:
    """As the docker command removes them, but for what had a name once; the image comes back whole."""
    graph_engine.wipe()
    with closing(Host(graph_engine, registry, tmp_path)) as host:
        _go_with_their_image(host)


def _go_with_their_image(host: Host) -> None:
    base = host.built("d", "undo/base:1")

    def build(name: str, *steps: str) -> Image:
        dockerfile = io.BytesIO("\n".join((f"FROM {base.tags[0]}", *steps)).encode())
        deque(host.lab.client().build(fileobj=dockerfile, tag=name, rm=True), maxlen=0)
        return host.engine.image(name)

    def everything() -> set[str]:
        return {row["Id"] for row in host.lab.client().images(all=True)}

    other = build("other:1", "LABEL a=b", "ENV A=b")
    before = everything()
    image = build("app:1", "LABEL a=b", "RUN echo x > /x", "ENV A=b", "LABEL c=d")
    assert len(everything() - before) == 3
    assert host.remove(image) == [("applied", "removed")]
    assert everything() == before
    assert host.undo() == [("applied", "restored", "")]
    assert (everything(), host.engine.image("app:1").labels) == (before | {image.id}, {"word": "d", "a": "b", "c": "d"})
    assert host.lab.docker("run", "--rm", "app:1", "sh", "-c", "read -r word </x; echo $word").strip() == "x"

    middle = build("middle:1", "LABEL a=b", "ENV A=b", "LABEL e=f")
    top = build("top:1", "LABEL a=b", "ENV A=b", "LABEL e=f", "LABEL g=h", "LABEL i=j")
    host.lab.docker("rmi", "--no-prune", "middle:1")
    assert host.remove(top, run="run-2") == [("applied", "removed")]
    assert everything() == before | {image.id, middle.id}
    assert other.id in before


def test_names_and_platforms_after_an_undo_are_those_before(host: Host) -> None:
    """A pull by digest leaves a name on a containerd store, and brings one platform."""
    name = host.name("undo/multi:1")
    host.registry.push_index("undo/multi", "1")
    host.lab.docker("pull", "--quiet", name)
    host.lab.docker("tag", name, host.name("undo/multi:2"))
    host.lab.docker("tag", name, "elsewhere:1")
    image = host.engine.image(name)
    before = host.lab.client().inspect_image(image.id)
    assert host.remove(image) == [("applied", "removed")]
    [(_, reason, detail)] = host.undo()
    after = host.lab.client().inspect_image(image.id)
    assert (reason, after["RepoTags"], after["RepoDigests"]) == ("restored", before["RepoTags"], before["RepoDigests"])
    assert image.details
    is_unknown = host.lab.kind == "containerd" and not image.details.platforms  # which engines tell from 28 on
    assert ("if it was here for linux/arm64, pull that" in detail) is is_unknown
    host.lab.docker("rmi", *before["RepoTags"])
    assert not host.exists(image.id), "a name was left that keeps it"


def test_all_platforms_come_back_where_the_engine_tells_which_there_were(
    newest_engine: LabEngine, registry: LabRegistry, tmp_path: Path
) -> None:
    newest_engine.wipe()
    host = Host(newest_engine, registry, tmp_path)
    with closing(host):
        name = host.name("undo/platforms:1")
        host.registry.push_index("undo/platforms", "1", ("linux/amd64", "linux/arm64", "linux/s390x"))
        for platform in ("linux/arm64", "linux/amd64"):
            host.lab.docker("pull", "--quiet", f"--platform={platform}", name)
        image = host.engine.image(name)
        assert image.details
        assert set(image.details.platforms) == {"linux/amd64", "linux/arm64"}
        assert host.remove(image) == [("applied", "removed")]
        assert [detail for _, _, detail in host.undo()] == [""]
        assert host.engine.image(name).details == image.details


def come_and_go(host: Host, said: str) -> None:
    """An image of an index, for another platform, that says as much of it, is removed and comes back as it was."""
    entries = []
    for variant in ("v7", "v6"):
        entry = host.registry.put_image("undo/arm", replace(host.spec(variant), architecture=said))
        entries.append({**entry, "platform": {"os": "linux", "architecture": "arm", "variant": variant}})
    entry = host.registry.put_image("undo/arm", host.spec("other"))
    entries.append({**entry, "platform": {"os": "linux", "architecture": ARCHITECTURE}})
    host.registry.put_index("undo/arm", entries, tag=said)
    host.lab.docker("pull", "--quiet", "--platform=linux/arm/v6", name := host.name(f"undo/arm:{said}"))
    image = host.engine.image(name)
    assert host.remove(image) == [("applied", "removed")]
    assert host.files() == []
    assert host.undo() == [("applied", "restored", "")]
    assert host.engine.image(name) == image
    assert [each.id for each in host.engine.images()] == [image.id]


@pytest.mark.parametrize("said", ["arm", ARCHITECTURE])
@pytest.mark.parametrize("engine", ["graph"], indirect=True)
def test_image_that_says_too_little_or_wrong_of_its_platform_comes_back(host: Host, said: str) -> None:
    """Many do not say their variant, or say that of the machine that built them; their index tells."""
    come_and_go(host, said)


@pytest.mark.parametrize("said", ["arm", ARCHITECTURE])
def test_image_that_says_too_little_or_wrong_comes_back_where_the_engine_tells_platforms(
    newest_engine: LabEngine, registry: LabRegistry, tmp_path: Path, said: str
) -> None:
    newest_engine.wipe()
    with closing(Host(newest_engine, registry, tmp_path)) as host:
        come_and_go(host, said)


def test_registry_that_stops_serving_after_the_check_is_told_plainly(host: Host) -> None:
    image = host.pulled("s", "undo/stops:1")
    assert host.remove(image) == [("applied", "removed")]
    # Its blobs as well: an engine may remember the manifest.
    shutil.rmtree(host.registry.dir / "data/docker/registry/v2/repositories/undo/stops")
    [(effect, reason, detail)] = host.undo()
    assert (effect, reason) == ("failed", "not_served")
    assert "does not any more" in detail
    assert host.undoable() == [image.id]


def test_image_that_its_registry_does_not_serve_any_more_is_kept_in_an_archive(host: Host) -> None:
    image = host.pulled("g", "undo/gone:1")
    before = host.names(image.id)
    host.registry.delete_tag("undo/gone", "1")
    assert host.remove(image) == [("applied", "removed")]
    assert len(host.files()) == 1
    is_lost = host.lab.kind == "graph"
    assert host.undo() == [("applied", "restored", "without its digest, which only a pull gives" * is_lost)]
    assert host.names(image.id)[:2] == before[:2]
    assert (host.names(image.id).digests != before.digests) == is_lost


def test_tag_that_names_another_image_now_stays_there(host: Host) -> None:
    image = host.built("old", "undo/moves:1", "undo/stays:1")
    assert host.remove(image) == [("applied", "removed")]
    new = host.built("new", "undo/moves:1")
    [(effect, reason, detail)] = host.undo()
    assert (effect, reason) == ("applied", "restored")
    assert f"without {host.name('undo/moves:1')}" in detail
    assert host.names(image.id).tags == (host.name("undo/stays:1"),)
    assert host.names(new.id).tags == (host.name("undo/moves:1"),)


def test_without_room_for_an_archive_an_image_stays_unless_it_may_be_lost(host: Host) -> None:
    image = host.built("big", "undo/big:1")
    host.archive = host.archive_of(1000)
    assert host.remove(image) == [("refused", "unrecoverable")]
    assert host.exists(image.id)
    assert host.remove(image, unrecoverable=True) == [("applied", "removed")]
    assert (host.files(), host.undoable(), host.ledger.known_archives()) == ([], [], set())


def test_image_of_a_private_registry_comes_back_by_a_pull_with_its_login(host: Host) -> None:
    with LabRegistry(htpasswd={"alice": "secret"}) as private:
        login = {"auths": {private.host: {"auth": base64.b64encode(b"alice:secret").decode()}}}
        (host.folder / "config.json").write_text(json.dumps(login))
        host.lab.forward(private.port)
        private.push("team/app", "1", host.spec("private"))
        name = f"{private.host}/team/app:1"
        host.lab.docker("--config", str(host.folder), "pull", "--quiet", name)
        image = host.engine.image(name)
        host.asks.close()
        host.asks = HttpRegistry(docker_config=host.folder / "config.json")
        before = host.names(image.id)
        assert host.remove(image) == [("applied", "removed")]
        assert (host.files(), host.exists(name)) == ([], False)
        assert host.undo() == [("applied", "restored", "")]
        assert host.names(image.id) == before


@pytest.fixture
def small(host: Host) -> Iterator[Path]:
    """A file system of 4 MB that holds the state."""
    host.ledger.close()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "dockwarden-small", host.folder], check=True)
    try:
        host.ledger.open()
        host.ledger.claim(host.info.identity)
        yield host.folder
    finally:
        host.ledger.close()
        subprocess.run(["umount", host.folder], check=True)


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # the store has no part in it
def test_volume_stays_when_the_disk_is_full_in_the_middle_of_its_archive(host: Host, small: Path) -> None:
    host.lab.docker("volume", "create", "data")
    folder = Path(mountpoint(host, "data"))
    for n in range(10_000):
        (folder / f"empty-{n}").touch()  # takes no block, but room in an archive
    assert host.remove(host.engine.volume("data")) == [("refused", "unrecoverable")]
    assert len(list(folder.iterdir())) == 10_000
    assert (host.files(), host.undoable()) == ([], [])
    host.lab.docker("volume", "create", "small")
    assert host.remove(host.engine.volume("small")) == [("applied", "removed")], "the room was not given back"


def test_nothing_is_removed_that_cannot_be_written_down(host: Host, small: Path) -> None:
    image = host.built("full", "undo/full:1")
    with suppress(OSError), (small / "other").open("wb", buffering=0) as other:
        while other.write(bytes(4096)):
            pass
    [(effect, _)] = host.remove(image, unrecoverable=True)
    assert effect in {"refused", "failed"}
    assert host.exists(image.id)
    (small / "other").unlink()
    assert host.remove(image) == [("applied", "removed")]
    assert host.undo()[0][:2] == ("applied", "restored")


@pytest.mark.parametrize("engine", ["containerd"], indirect=True)
def test_image_of_which_a_part_is_broken_stays(host: Host) -> None:
    """An engine that cannot read it to its end has said before that all is well."""
    image = host.built("broken", "undo/broken:1")
    for layer in image.details.layers if image.details else ():
        [blob] = host.lab.dir.rglob(f"blobs/sha256/{layer.removeprefix('sha256:')}")
        blob.unlink()
    [outcome] = host.outcomes(image)
    assert (outcome.effect, outcome.reason) == (Effect.REFUSED, "unrecoverable")
    assert "ended early: " in outcome.detail
    assert host.exists(image.id)
    assert host.files() == []
    assert host.remove(image, unrecoverable=True) == [("applied", "removed")]


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_damaged_archive_is_not_loaded(host: Host) -> None:
    image = host.built("d", "undo/damaged:1")
    host.remove(image)
    [file] = host.files()
    with file.open("r+b") as content:
        content.seek(100)
        content.write(b"x")
    [(effect, reason, detail)] = host.undo()
    assert (effect, reason) == ("failed", "archive")
    assert "checksum" in detail
    assert not host.exists(image.id)


# -- volumes, containers, networks -------------------------------------------------------------------------------------

_FILL = """
import os, socket
os.chdir({folder!r})
os.makedirs("d/e"); open("d/e/f", "w").write("text"); os.chmod("d", 0o2750); os.chown("d/e/f", 1234, 4321)
os.symlink("d/e/f", "link"); os.symlink("/etc/passwd", "outside"); os.link("d/e/f", "hard"); os.mkfifo("fifo")
with open("sparse", "wb") as f: f.truncate(50_000_000); f.seek(30_000_000); f.write(b"middle")
open("odd \\n name", "w").write(""); os.setxattr("d/e/f", "user.kept", b"yes"); os.utime("hard", (1e9, 1e9))
os.chmod(".", 0o1777)
"""


def fill(folder: str) -> None:
    """Files of every kind; an engine without root can remove only what is its own."""
    subprocess.run(["python3", "-c", _FILL.format(folder=folder)], check=True)
    if owner := Path(folder).stat().st_uid:
        subprocess.run(["chown", "--recursive", "--no-dereference", f"{owner}:{owner}", folder], check=True)


def tree(folder: str) -> list[object]:
    """Everything that must be the same afterwards."""
    found: list[object] = []
    for path in sorted([Path(folder), *Path(folder).rglob("*")]):
        stat = path.lstat()
        target = str(path.readlink()) if path.is_symlink() else ""
        content = path.read_bytes() if path.is_file() and not target else b""
        attributes = {key: os.getxattr(path, key) for key in ([] if target else os.listxattr(path))}
        about = (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size, int(stat.st_mtime), stat.st_nlink)
        found.append((path.relative_to(folder), about, target, hash(content), attributes))
    return found


def mountpoint(host: Host, name: str) -> str:
    return str(host.engine.parameters(Ref(Kind.VOLUME, name))["Mountpoint"])


@pytest.mark.parametrize(
    "made",
    [
        ("volume", "create", "--label=kept=yes", "data"),
        ("volume", "create", "--opt=type=", "--opt=device=", "--opt=o=", "data"),  # as unset variables leave them
        ("run", "--rm", "--volume=data:/data", "keep/w:1", "true"),
    ],
    ids=["labels", "empty options", "nothing"],
)
@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_comes_back_with_everything_in_it(host: Host, made: tuple[str, ...]) -> None:
    host.lab.load(host.spec("w", "keep/w:1"))
    host.lab.docker(*made)
    fill(mountpoint(host, "data"))
    before = tree(mountpoint(host, "data"))
    told = json.loads(host.lab.docker("volume", "inspect", "data"))[0]
    volume = host.engine.volume("data")
    assert host.remove(volume) == [("applied", "removed")]
    [file] = host.files()
    assert file.stat().st_size < 1_000_000, "holes were filled"
    assert host.undo() == [("applied", "restored", "")]
    assert tree(mountpoint(host, "data")) == before
    assert Path(mountpoint(host, "data"), "sparse").stat().st_blocks * 512 < 1_000_000
    now = json.loads(host.lab.docker("volume", "inspect", "data"))[0]
    assert {**now, "CreatedAt": ""} == {**told, "CreatedAt": ""}


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_that_an_engine_cannot_remove_to_its_end_has_all_of_its_files(host: Host) -> None:
    """One file that cannot be removed, or a busy folder, stops an engine amid the others."""
    host.lab.docker("volume", "create", "data")
    folder = Path(mountpoint(host, "data"))
    fill(str(folder))
    immutable = folder / "immutable"
    immutable.write_text("kept")
    before = tree(str(folder))
    subprocess.run(["chattr", "+i", immutable], check=True)
    try:
        assert host.remove(host.engine.volume("data")) == [("failed", "engine_error")]
        assert tree(str(folder))[1:] == before[1:]
        assert (host.files(), [path.name for path in folder.parent.iterdir()]) == ([], ["_data"])
        restores = contents.restore
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contents, "restore", lambda to, _, mark: restores(to, (b"no tar",), mark))
            assert host.remove(host.engine.volume("data")) == [("applied", "unverified")]
        assert list(folder.iterdir()) == [immutable]
    finally:
        subprocess.run(["chattr", "-i", immutable], check=True)
    assert host.undo()[0][:2] == ("applied", "restored")
    assert tree(str(folder))[1:] == before[1:]


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_whose_files_are_back_but_not_on_the_disk_keeps_its_archive(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.lab.docker("volume", "create", "data")
    folder = Path(mountpoint(host, "data"))
    for name in ("immutable", "file"):
        (folder / name).write_text("kept")
    subprocess.run(["chattr", "+i", folder / "immutable"], check=True)
    monkeypatch.setattr(contents, "_SYNC", ("false",))
    try:
        assert host.remove(host.engine.volume("data")) == [("applied", "unverified")]
    finally:
        subprocess.run(["chattr", "-i", folder / "immutable"], check=True)
    assert (texts(folder), len(host.files())) == ({"immutable": "kept", "file": "kept"}, 1)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_of_which_nothing_could_be_removed_has_lost_nothing(host: Host) -> None:
    """As on a disk that has become read-only, where nothing can be put back, too."""
    host.lab.docker("volume", "create", "data")
    folder = Path(mountpoint(host, "data"))
    (folder / "file").write_text("kept")
    subprocess.run(["chattr", "+i", folder, folder.parent], check=True)
    try:
        assert host.remove(host.engine.volume("data")) == [("failed", "engine_error")]
    finally:
        subprocess.run(["chattr", "-i", folder, folder.parent], check=True)
    assert (host.files(), texts(folder)) == ([], {"file": "kept"})
    assert host.undo() == []


@pytest.mark.parametrize("place", ["", "a b/x"], ids=["itself", "below"])
@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_in_which_something_is_mounted_stays(host: Host, place: str) -> None:
    """Its engine would remove the files of what is mounted there, in the end in vain as the folder is busy."""
    host.lab.docker("volume", "create", "data")
    target, theirs = Path(mountpoint(host, "data"), place), host.lab.dir / f"theirs-{len(place)}"
    for folder in (target, theirs):
        folder.mkdir(parents=True, exist_ok=True)
    (theirs / "file").write_text("kept")
    spaces = [["nsenter", f"--target={host.lab.spaces.init_pid}", "--mount", "--root"], []]
    for inside in spaces:
        subprocess.run([*inside, "busybox", "mount", "-o", "bind", theirs, target], check=True)
    try:
        [outcome] = host.outcomes(host.engine.volume("data"), unrecoverable=True)
        assert (outcome.effect, outcome.reason) == (Effect.REFUSED, "in_use")
        assert str(target) in outcome.detail
        assert (theirs / "file").read_text() == "kept"
    finally:
        for inside in spaces:
            subprocess.run([*inside, "busybox", "umount", target], check=True)
    assert host.remove(host.engine.volume("data")) == [("applied", "removed")]


@pytest.mark.parametrize("where", ["elsewhere", "volume"])
def test_volume_whose_folder_was_moved_away_stays(host: Host, where: str) -> None:
    """Its engine refuses that after each archive, or removes the files of another volume that has them."""
    for name in ("data", "other"):
        host.lab.docker("volume", "create", name)
    link = Path(mountpoint(host, "data"))
    target = Path(mountpoint(host, "other")) if where == "volume" else host.lab.dir / "elsewhere"
    target.mkdir(exist_ok=True)
    (target / "file").write_text("kept")
    link.rmdir()
    link.symlink_to(target)
    [outcome] = host.outcomes(host.engine.volume("data"), unrecoverable=True)
    assert (outcome.effect, outcome.reason, str(target) in outcome.detail) == (Effect.REFUSED, "in_use", True)
    assert (target / "file").read_text() == "kept"
    assert host.remove(host.engine.volume("other")) == [("applied", "removed")]
    link.unlink()


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def killed_at_the_first_deletion(host: Host, *folders: Path) -> Iterator[None]:
    """The engine is killed as the first file goes from one of these."""
    system = ctypes.CDLL(None)
    news = system.inotify_init()
    for folder in folders:
        system.inotify_add_watch(news, bytes(folder), _IN_DELETE)

    def kill() -> None:
        with suppress(PermissionError):  # where it may, before whatever else a busy machine has to do
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.read(news, 4096)  # wakes at once, where who asks whether a file has gone may be late
        host.lab.kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    yield
    killer.join()
    os.close(news)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_whose_engine_was_killed_amid_its_removal_has_all_of_its_files(host: Host) -> None:
    host.lab.docker("volume", "create", "data")
    folder = Path(mountpoint(host, "data"))
    for number in range(4000):
        (folder / str(number % 20)).mkdir(exist_ok=True)
        (folder / str(number % 20) / str(number)).write_text(str(number))
    before, volume = texts(folder), host.engine.volume("data")
    with killed_at_the_first_deletion(host, *folder.iterdir()):
        assert host.remove(volume) == [("failed", "engine_unavailable")]
    host.lab.start_again()
    assert len(before) > len(texts(folder)) > 0
    assert [outcome.reason for outcome in end_intents(host.tools(), host.ledger)] == ["interrupted"]
    assert (texts(folder), host.undoable(), host.ledger.expire()) == (before, [], [file.name for file in host.files()])


def wrote(host: Host, folder: Path) -> None:
    (folder / "theirs").write_text("new")


def mounted(host: Host, folder: Path) -> None:
    host.built("v", "undo/v:1")
    host.lab.docker("create", "--name=late", "--volume=data:/data", host.name("undo/v:1"))


def made_anew(host: Host, folder: Path) -> None:
    host.engine.remove_volume("data")
    host.lab.docker("volume", "create", "data")
    (folder / "left").write_text("theirs")
    os.utime(folder / "left", (1e9, 1e9))


@pytest.mark.parametrize("meanwhile", [wrote, mounted, made_anew])
@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_what_is_left_of_a_volume_is_filled_by_nobody_while_somebody_has_it(
    host: Host, meanwhile: Callable[[Host, Path], None]
) -> None:
    host.lab.docker("volume", "create", "data")
    folder = Path(mountpoint(host, "data"))
    for name in ("gone", "left"):
        (folder / name).write_text(name)

    def cut_short(name: str) -> None:
        (folder / "gone").unlink()
        raise EngineUnavailableError("it hung up")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host.engine, "remove_volume", cut_short)
        assert host.remove(host.engine.volume("data")) == [("failed", "engine_unavailable")]
    meanwhile(host, folder)
    theirs = texts(folder)
    assert [outcome.reason for outcome in end_intents(host.tools(), host.ledger)] == ["unverified"]
    assert host.undo()[0][0] == "refused"
    assert texts(folder) == theirs
    if meanwhile is mounted:
        host.lab.docker("rm", "late")
    else:
        host.engine.remove_volume("data")
    assert host.undo()[0][:2] == ("applied", "restored")
    assert (texts(folder), host.files()) == ({"gone": "gone", "left": "left"}, [])


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_that_somebody_made_anew_is_filled_only_while_it_is_empty(host: Host) -> None:
    host.lab.docker("volume", "create", "data")
    fill(mountpoint(host, "data"))
    before = tree(mountpoint(host, "data"))
    host.remove(host.engine.volume("data"))
    host.lab.docker("volume", "create", "data")
    theirs = Path(mountpoint(host, "data"), "theirs")
    theirs.write_text("kept")
    assert host.undo()[0][:2] == ("refused", "taken")
    assert list(theirs.parent.iterdir()) == [theirs]
    theirs.unlink()
    assert host.undo()[0][:2] == ("applied", "restored")
    assert tree(mountpoint(host, "data")) == before


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_fill_that_was_killed_is_ended_by_the_next_try(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.lab.docker("volume", "create", "data")
    Path(mountpoint(host, "data"), "big").write_bytes(os.urandom(5_000_000))
    fill(mountpoint(host, "data"))
    before = tree(mountpoint(host, "data"))
    host.remove(host.engine.volume("data"))
    reads = host.archive.read

    def cut_short(kept: Recipe) -> Iterator[bytes]:
        chunks = reads(kept)
        yield from (next(chunks), next(chunks))
        raise KeyboardInterrupt

    monkeypatch.setattr(host.archive, "read", cut_short)
    with pytest.raises(KeyboardInterrupt):
        host.undo()
    monkeypatch.undo()
    assert list(Path(mountpoint(host, "data")).iterdir())
    assert host.undo()[0][:2] == ("applied", "restored")
    assert tree(mountpoint(host, "data")) == before
    assert [path.name for path in Path(mountpoint(host, "data")).parent.iterdir()] == ["_data"]


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_that_was_whole_when_its_undo_was_killed_is_seen_as_done(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.lab.docker("volume", "create", "data")
    fill(mountpoint(host, "data"))
    before = tree(mountpoint(host, "data"))
    host.remove(host.engine.volume("data"))

    def cut_short(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(host.ledger, "conclude", cut_short)
    with pytest.raises(KeyboardInterrupt):
        host.undo()
    monkeypatch.undo()
    assert [outcome.reason for outcome in end_intents(host.tools(), host.ledger)] == ["interrupted"]
    taken = Path(mountpoint(host, "data"), "link").rename(host.folder / "taken")
    assert host.undo()[0][:2] == ("refused", "taken")
    taken.rename(Path(mountpoint(host, "data"), "link"))
    assert host.undo() == [("applied", "restored", "")]
    assert (tree(mountpoint(host, "data"))[1:], host.files(), host.undoable()) == (before[1:], [], [])


def test_half_a_container_that_an_interrupted_undo_left_is_made_whole(host: Host) -> None:
    host.built("w", "undo/w:1")
    for name in ("front", "back"):
        host.lab.docker("network", "create", name)
    host.lab.docker("create", "--name=web", "--network=front", "--volume=data:/data", host.name("undo/w:1"), "sleep")
    host.lab.docker("network", "connect", "--alias=w2", "back", "web")
    before = described(host, "web")
    host.remove(host.engine.container("web"))
    [done] = host.done()
    endpoints = {"front": done.recipe.parameters["endpoints"]["front"]}
    host.engine.create(Kind.CONTAINER, {**done.recipe.parameters, "endpoints": endpoints})
    assert described(host, "web") != before
    assert host.undo()[0][:2] == ("applied", "restored")
    assert described(host, "web") == before


@pytest.mark.parametrize("unified", [False, True])
def test_a_container_that_ran_and_an_interrupted_undo_made_is_filled(
    registry: LabRegistry, tmp_path: Path, *, unified: bool
) -> None:
    """A start changes what engines say that was asked for: with control groups version 2 it forgets something."""
    with LabEngine("graph", unified=unified) as lab, closing(Host(lab, registry, tmp_path)) as host:
        host.built("w", "undo/w:1")
        lab.docker("run", "--name=web", host.name("undo/w:1"), "sh", "-c", "echo it >/file")
        assert host.remove(host.engine.container("web")) == [("applied", "removed")]
        [done] = host.done()
        host.engine.create(Kind.CONTAINER, done.recipe.parameters)
        assert host.undo()[0][:2] == ("applied", "restored")
        lab.docker("cp", "web:/file", str(tmp_path / "file"))
        assert (tmp_path / "file").read_text() == "it\n"
        assert host.info.cgroup_version == 2 or not unified


def test_half_a_container_that_an_engine_left_which_was_killed_amid_its_removal_goes(host: Host) -> None:
    host.built("w", "undo/w:1")
    fills = "mkdir /big; for i in $(seq 4000); do echo $i >/big/$i; done"
    host.lab.docker("run", "--name=web", host.name("undo/w:1"), "sh", "-c", fills)
    with killed_at_the_first_deletion(host, *host.lab.dir.rglob("big")):
        assert host.remove(host.engine.container("web")) == [("failed", "engine_unavailable")]
    host.lab.start_again()
    end_intents(host.tools(), host.ledger)
    with pytest.raises(NotFoundError):
        host.engine.container("web")
    assert host.undo()[0][:2] == ("applied", "restored")
    host.lab.docker("cp", "web:/big/4000", str(host.folder / "file"))
    assert (host.engine.container("web").state, (host.folder / "file").read_text()) == ("created", "4000\n")


@pytest.mark.parametrize(("engine", "policy"), [("graph", "no"), ("containerd", "unless-stopped")], indirect=["engine"])
def test_container_whose_engine_was_killed_amid_its_restart_runs_again(host: Host, policy: str) -> None:
    host.built("w", "undo/w:1")
    ends = ": >/told/ending; while [ -e /told/ending ]; do sleep 0.1; done; exit 0"
    slow = ("sh", "-c", f"trap '{ends}' TERM; while :; do sleep 0.1; done")
    stops = (f"--restart={policy}", "--stop-signal=TERM", "--stop-timeout=20", "--volume=told:/told")
    host.lab.docker("run", "--detach", "--name=web", *stops, host.name("undo/w:1"), *slow)
    web, ending = host.engine.container("web"), Path(mountpoint(host, "told"), "ending")

    def kill() -> None:
        until(ending.exists, "the stop")
        host.lab.kill()
        ending.unlink()

    killer = threading.Thread(target=kill)
    killer.start()
    how = Step("test", "restart", Ref(Kind.CONTAINER, web.id), "web", web, "because", options={"timeout": None})
    assert [outcome.reason for outcome in host.carried_out(how)] == ["engine_unavailable"]
    killer.join()
    host.lab.start_again()
    assert not host.engine.container("web").running
    assert [outcome.reason for outcome in end_intents(host.tools(), host.ledger)] == ["restarted"]
    assert host.engine.container("web").running


@pytest.mark.slow(50)
def test_whichever_request_of_an_undo_fails_the_next_try_ends_it(host: Host) -> None:
    """It fails when all is done but the answer, each on one of the engines; units fail each before, for both stores."""
    host.built("w", "undo/w:1", "undo/w:2")
    host.lab.docker("network", "create", "front")
    host.lab.docker("create", "--name=web", "--network=front", host.name("undo/w:1"), "sleep", "1")
    host.lab.docker("volume", "create", "data")
    Path(mountpoint(host, "data"), "file").write_text("kept")

    def everything() -> tuple[object, ...]:
        networks = {each.name for each in host.engine.networks()}
        return described(host, "web"), host.engine.image(image.id).tags, tree(mountpoint(host, "data")), networks

    image = host.engine.image(host.name("undo/w:1"))
    before = everything()
    at, has_failed = -1 if host.lab.kind == "graph" else 0, True
    while has_failed:
        at += 2
        networks = [each for each in host.engine.networks() if each.name == "front"]
        things: list[Thing] = [
            host.engine.container("web"),
            host.engine.image(image.id),
            host.engine.volume("data"),
            *networks,
        ]
        gone = host.remove(things[0], run=f"run-{at}")  # its end is a use of all that it had
        assert {*gone, *host.remove(*things[1:], run=f"run-{at}")} == {("applied", "removed")}
        faulty = Faulty(at, EngineUnavailableError, is_done=True)
        tools = replace(host.tools(), engine=faulty.part(host.engine), files=faulty.part(contents, ArchiveError))
        list(Undoer(tools, host.ledger).undo("undo-1", host.done()))
        has_failed = faulty.calls >= at
        host.undo(f"run-{at}")
        assert (host.undoable(), host.files(), everything()) == ([], [], before), f"request {at}"
    assert at > 10


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_what_a_stop_would_take_for_ever_stays_and_what_died_with_it_runs_again(host: Host) -> None:
    image = host.built("s", "undo/s:1").tags[0]
    host.lab.docker("run", "--detach", "--rm", "--name=brief", "--volume=/data", image)
    host.lab.docker("run", "--detach", "--stop-signal=KILL", "--name=owner", image)
    host.lab.docker("run", "--detach", "--pid=container:owner", "--name=side", image)
    host.lab.docker("run", "--detach", "--pid=container:side", "--name=last", image)
    host.lab.docker(
        "run", "--detach", "--rm", "--pid=container:owner", "--network=container:brief", "--name=part", image
    )

    def stopped(name: str, *after: str) -> list[tuple[str, str]]:
        how = step(host.engine.container(name))._replace(action="stop", options={"after": after})
        return [(outcome.effect.value, outcome.reason) for outcome in host.carried_out(how)]

    assert stopped("brief") == [("refused", "unrecoverable")]
    assert len(list(host.engine.volumes())) == 1
    assert stopped("owner", "side", "part") == [("refused", "dependents")]
    host.lab.docker("rm", "--force", "part")
    assert stopped("owner", "side") == [("applied", "stopped")]
    inside = [host.engine.container(name).id for name in ("side", "last")]
    until(lambda: not any(host.engine.container(key).running for key in inside), "the end of those in its namespace")
    assert host.undo() == [("applied", "started", "")]
    assert all(host.engine.container(key).running for key in inside)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_that_a_stopped_container_mounts_stays(host: Host) -> None:
    host.built("v", "undo/v:1")
    host.lab.docker("create", "--name=late", "--volume=data:/data", host.name("undo/v:1"))
    assert host.remove(host.engine.volume("data"), unrecoverable=True) == [("refused", "in_use")]


def test_container_with_all_that_belongs_to_it_comes_back(host: Host) -> None:
    image = host.built("c", "undo/c:1")
    host.lab.docker("network", "create", "--subnet=10.98.7.0/24", "front")
    host.lab.docker("network", "create", "back")
    host.lab.docker("create", "--name=web", "--network=front", "--network-alias=www", "--env=SECRET=x y", "--label=a=b",
                    "--volume=data:/data:ro", "--volume=/scratch", "--memory=64m", "--restart=on-failure:3",
                    "--publish=127.0.0.1:0:80", "--user=1000", host.name("undo/c:1"), "sleep", "77")  # fmt: skip
    host.lab.docker("network", "connect", "--alias=w2", "back", "web")
    before = described(host, "web")
    things: list[Thing] = [host.engine.container("web"), image]
    things += [each for each in host.engine.networks() if not each.builtin]
    mounted = [mount["Name"] for mount in host.lab.client().inspect_container("web")["Mounts"] if mount.get("Name")]
    things += [host.engine.volume(name) for name in sorted(mounted)]
    assert host.remove(things[0]) == [("applied", "removed")]  # its end is a use of all that it had
    assert set(host.remove(*things[1:])) == {("applied", "removed")}
    assert host.engine.container_ids() == []
    undone = host.undo()
    assert {(effect, reason) for effect, reason, _ in undone} == {("applied", "restored")}
    assert described(host, "web") == before
    assert "it is not started" in undone[-1][2]
    host.lab.docker("start", "web")


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_a_refusal_names_the_undo_that_must_come_first(host: Host) -> None:
    image = host.built("needed", "undo/needed:1")
    host.lab.docker("network", "create", "front")
    host.lab.docker("volume", "create", "data")
    host.lab.docker("create", "--name=peer", host.name("undo/needed:1"))
    options = ("--network=front", "--volume=data:/data", "--volumes-from=peer", host.name("undo/needed:1"))
    host.lab.docker("create", "--name=web", *options)
    (front,) = (each for each in host.engine.networks() if each.name == "front")
    going: list[Thing] = [host.engine.container("web"), host.engine.container("peer")]
    for run, thing in zip(
        ("web", "peer", "i", "d", "f"), (*going, image, host.engine.volume("data"), front), strict=True
    ):
        assert host.remove(thing, run=run) == [("applied", "removed")]
    wanted, undone = ["web"], []
    while wanted:
        [(_, reason, detail)] = host.undo(wanted[-1])
        if reason == "restored":
            undone.append(wanted.pop())
            continue
        assert reason == "missing", detail
        wanted.append(re.findall(r"`dockwarden undo (\d+)` first", detail)[0])
        assert len(wanted) < 6
    assert len(undone) == 5
    assert host.done() == []


def described(host: Host, name: str) -> object:
    """All of a container that is not its ID, its times, or what the engine makes up."""
    raw = host.lab.client().inspect_container(name)
    config = {key: value for key, value in raw["Config"].items() if key != "Hostname"}
    own = {**raw["HostConfig"], "Binds": None}
    networks = {
        key: sorted(set(network["Aliases"] or ()) - {raw["Id"][:12]})
        for key, network in raw["NetworkSettings"]["Networks"].items()
    }
    mounts = sorted((m["Type"], m["Name"], m["Destination"], m["RW"]) for m in raw["Mounts"])
    return json.loads(json.dumps([config, own, networks, mounts, raw["Name"], raw["Image"]]))


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_name_of_a_container_that_is_taken_is_left_to_who_has_it(host: Host) -> None:
    host.built("t", "undo/t:1")
    host.lab.docker("create", "--name=web", host.name("undo/t:1"))
    host.remove(host.engine.container("web"))
    other = host.lab.docker("create", "--name=web", "--label=is=theirs", host.name("undo/t:1"))
    assert host.undo()[0][:2] == ("refused", "taken")
    assert host.engine.container("web").id == other


WRITTEN = {
    "files of every kind": (
        "mkdir -p /a/b/c; echo 1 >/a/b/one; ln -s ../x /a/link; ln /a/b/one /a/b/two; mkfifo /a/fifo; chmod 4750 /a/b; "
        "chown 12:34 /a/b/one; chmod 1777 /a; touch '/a/odd name' '/a/-x' /a/\u00e4; touch -d @1000000000 /a/b/two; "
        "dd if=/dev/urandom of=/big bs=1M count=5; "
        "n=$(printf %0200d 0); mkdir /$n; echo x >/$n/$n; "  # longer than ustar knows
        "mkdir -p /m/beside; echo x >/m/file; echo y >/m/data/in-the-volume; "
        "echo x >/etc/mine; mkdir /etc/more"  # where the engine has files of its own
    ),
    "a file of the image changed": "echo more >>/own; chmod 600 /own",
    "a hard link to a file of the image": "ln /own /a; ln /own /z; ln /bin/busybox /bin/zz",
    "rights alone": "chmod 711 /bin",
    "the owner alone": "chown 7 /own",
    "an empty file": "touch /empty",
}


OF_THE_ENGINE = ("dev", ".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab")


def rootfs_of(host: Host, name: str) -> dict[str, object]:
    """All of a container's own files, as the engine exports them."""
    host.lab.docker("export", f"--output={host.folder}/export", name)
    found: dict[str, object] = {}
    with tarfile.open(host.folder / "export") as tar:
        for member in tar:
            content = file.read() if member.isreg() and (file := tar.extractfile(member)) else b""
            at = 0 if member.isdir() or member.name.startswith(OF_THE_ENGINE) else int(member.mtime)
            found[member.name] = (member.type, member.mode, member.uid, member.gid, at, member.linkname, content)
    return found


@pytest.mark.slow
def test_containers_come_back_with_what_they_wrote(host: Host) -> None:
    host.built("w", "undo/w:1")
    options = ("--volume=data:/m/data", "--tmpfs=/t", host.name("undo/w:1"), "sh", "-ec")
    before = {}
    for number, script in enumerate(WRITTEN.values()):
        host.lab.docker("run", f"--name=web{number}", *options, script)
        before[f"web{number}"] = rootfs_of(host, f"web{number}")
    for name, what in zip(before, WRITTEN, strict=True):
        assert host.remove(host.engine.container(name), run=name) == [("applied", "removed")], what
        assert len(host.files()) == 1, what
        [(effect, reason, detail)] = host.undo(name)
        assert (effect, reason) == ("applied", "restored"), what
        assert "lost" not in detail, what
        after = rootfs_of(host, name)
        del before[name]["t"]  # made by a start
        assert {key: after.get(key) for key in before[name]} == before[name], what
        assert host.files() == [], what
    host.lab.docker("start", *before)


def test_container_that_wrote_nothing_needs_no_archive(host: Host) -> None:
    host.built("w", "undo/w:1")
    mounts = ("--volume=data:/deep/er/data", "--volume=/anonymous", "--tmpfs=/t", "--init", "--hostname=web")
    host.lab.docker(
        "run", "--name=web", *mounts, host.name("undo/w:1"), "sh", "-c", "echo x >/deep/er/data/x; echo y >/t/y"
    )
    host.lab.docker("create", "--name=new", *mounts, host.name("undo/w:1"))
    made_by_the_engine = ("--read-only", "--cap-add=NET_ADMIN", "--workdir=/made/deep", "--device=/dev/zero:/made/zero")
    host.lab.docker("run", "--name=locked", *made_by_the_engine, host.name("undo/w:1"), "true")
    unlocked = ("create", "--name=unlocked", "--privileged", *made_by_the_engine, host.name("undo/w:1"))
    host.lab.docker(*unlocked)
    [outcome] = host.outcomes(host.engine.container("unlocked"))
    assert (outcome.reason, "it is read-only" in outcome.detail) == ("unrecoverable", True), outcome
    for name in ("web", "new", "locked"):
        assert host.remove(host.engine.container(name)) == [("applied", "removed")]
    assert host.files() == []
    undone = host.undo()
    assert {reason for _, reason, _ in undone} == {"restored"}
    assert not any("lost" in detail for _, _, detail in undone)


@pytest.mark.parametrize("why", ["deleted", "no room"])
def test_container_whose_files_cannot_be_kept_stays_unless_it_may_be_lost(host: Host, why: str) -> None:
    host.built("w", "undo/w:1")
    script = "rm /own" if why == "deleted" else "dd if=/dev/urandom of=/big bs=1M count=1"
    host.lab.docker("run", "--name=web", host.name("undo/w:1"), "sh", "-c", script)
    before = described(host, "web")
    host.archive = host.archive_of(100_000)
    container = host.engine.container("web")
    assert host.remove(container) == [("refused", "unrecoverable")]
    assert host.remove(container, unrecoverable=True) == [("applied", "removed")]
    [(effect, reason, detail)] = host.undo()
    assert (effect, reason, described(host, "web")) == ("applied", "restored", before)
    assert "what it wrote is lost: " in detail
    host.lab.docker("create", "--name=peer", host.name("undo/w:1"))
    host.lab.docker("create", "--name=beside", "--pid=container:peer", host.name("undo/w:1"))
    host.lab.docker("rm", "peer")
    [outcome] = host.outcomes(host.engine.container("beside"))
    assert (outcome.reason, outcome.detail.endswith(", which is gone")) == ("unrecoverable", True), "no create takes it"


def test_image_that_a_container_mounts_is_the_one_that_it_had(
    newest_engine: LabEngine, registry: LabRegistry, tmp_path: Path
) -> None:
    newest_engine.wipe()
    host = Host(newest_engine, registry, tmp_path)
    with closing(host):
        host.built("w", "undo/w:1")
        data = host.built("old", "undo/data:1")
        mounts = (f"--mount=type=image,source={host.name('undo/data:1')},target=/data", "--volume=data:/more")
        host.lab.docker("create", "--name=web", *mounts, host.name("undo/w:1"), "cat", "/data/own")
        host.lab.docker("create", "--name=beside", "--volumes-from=web", host.name("undo/w:1"), "cat", "/data/own")
        host.remove(host.engine.container("beside"), run="beside")
        assert [reason for _, reason, _ in host.undo("beside")] == ["restored"]
        assert host.lab.docker("start", "--attach", "beside") == "old"
        host.lab.docker("rm", "beside")
        host.remove(host.engine.container("web"), run="web")
        host.remove(data, run="data")
        [(_, reason, detail)] = host.undo("web")
        assert (reason, re.sub(r"\d+", "N", detail[-25:])) == ("missing", "`dockwarden undo N` first"), detail
        host.built("new", "undo/data:1")
        assert [reason for run in ("data", "web") for _, reason, _ in host.undo(run)] == ["restored", "restored"]
        assert host.lab.docker("start", "--attach", "web") == "old"
        host.lab.docker("create", "--name=last", *mounts, host.name("undo/w:1"))
        by_id = f"--mount=type=image,source={data.id},target=/data"
        host.lab.docker("create", "--name=by-id", by_id, host.name("undo/w:1"))
        for happens in (("tag", host.name("undo/w:1")), ("rmi", "--force")):
            host.lab.docker(*happens, host.name("undo/data:1"))
            [outcome] = host.outcomes(host.engine.container("last"))
            assert (outcome.reason, ", which is gone" in outcome.detail) == ("unrecoverable", True), outcome
        host.lab.docker("tag", data.id, host.name("undo/data:2"))
        assert host.remove(host.engine.container("by-id")) == [("applied", "removed")]


def test_container_whose_image_has_no_record_any_more_stays(host: Host) -> None:
    image = host.built("w", "undo/w:1")
    host.lab.docker("create", "--name=web", host.name("undo/w:1"))
    container = host.engine.container("web")
    host.lab.docker("rmi", "--force", image.id)
    if not host.exists(image.id):
        [outcome] = host.outcomes(container)
        assert (outcome.effect, outcome.reason) == (Effect.REFUSED, "unrecoverable")
        assert "its image" in outcome.detail
    else:  # a graph store keeps it without a name
        assert host.remove(container) == [("applied", "removed")]
        assert host.undo()[0][:2] == ("applied", "restored")


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_container_that_is_not_as_it_was_judged_stays(host: Host) -> None:
    host.built("m", "undo/m:1")
    host.lab.docker("network", "create", "front")
    host.lab.docker("create", "--name=web", host.name("undo/m:1"))
    for meddle in (
        "update --restart=always {}", "update --memory=30m --memory-swap=60m {}", "network connect front {}",
        "network disconnect front {}", "rename {} kept", "start {}",
    ):  # fmt: skip
        container = host.engine.container("web")
        host.lab.docker(*meddle.format("web").split())
        assert host.remove(container) == [("skipped", "changed")], meddle
        assert host.engine.container(container.id).id == container.id
        if meddle.startswith("rename"):
            host.lab.docker("rename", "kept", "web")


# -- the worst moment --------------------------------------------------------------------------------------------------


def just_before(host: Host, method: str, *command: str) -> None:
    """Somebody uses the docker CLI immediately before the next request of this kind."""
    real = getattr(host.engine, method)

    def call(*arguments: object, **named: object) -> object:
        setattr(host.engine, method, real)
        host.lab.docker(*command)
        return real(*arguments, **named)

    setattr(host.engine, method, call)


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_container_that_starts_at_the_last_moment_runs_on(host: Host) -> None:
    host.built("w", "undo/w:1")
    host.lab.docker("create", "--name=web", host.name("undo/w:1"))
    just_before(host, "remove_container", "start", "web")
    assert host.remove(host.engine.container("web")) == [("refused", "conflict")]
    assert host.engine.container("web").running


@pytest.mark.parametrize("option", ["--network=container:web", "--pid=container:web", "--link=web"])
@pytest.mark.parametrize("moment", ["written", "container"])
@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_container_without_which_a_new_one_could_never_start_stays(host: Host, option: str, moment: str) -> None:
    name = host.name("undo/w:1")
    host.built("w", "undo/w:1")
    host.lab.docker("create", "--name=web", name)
    web = host.engine.container("web")
    just_before(host, moment, "create", "--name=new", option, name)
    assert host.remove(web) == [("skipped", "changed")]


def test_container_into_which_somebody_puts_a_file_while_it_is_archived_stays(host: Host, tmp_path: Path) -> None:
    """It does not run, and a look at it shows nothing of that."""
    host.built("w", "undo/w:1")
    host.lab.docker("run", "--name=web", host.name("undo/w:1"), "/bin/busybox", "touch", "/written")
    (tmp_path / "file").write_text("kept")
    container = host.engine.container("web")
    just_before(host, "save_files", "cp", str(tmp_path / "file"), "web:/late")
    assert host.remove(container) == [("skipped", "changed")]
    host.lab.docker("cp", "web:/late", str(tmp_path / "back"))
    assert (host.files(), host.undoable()) == ([], [])


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_that_is_mounted_at_the_last_moment_stays_and_its_archive_goes(host: Host) -> None:
    host.built("w", "undo/w:1")
    host.lab.docker("volume", "create", "data")
    just_before(host, "remove_volume", "create", "--name=web", "--volume=data:/data", host.name("undo/w:1"))
    assert host.remove(host.engine.volume("data")) == [("refused", "conflict")]
    assert host.engine.volume("data").name == "data"
    assert (host.files(), host.undoable()) == ([], [])


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_network_whose_addresses_another_has_keeps_nothing_else_from_coming_back(host: Host) -> None:
    """Engines forbid that with the status of a proxy that forbids a request."""
    for name in ("first", "other"):
        host.lab.docker("network", "create", "--subnet=10.98.8.0/24", name)
        networks = [each for each in host.engine.networks() if each.name == name]
        if name == "first":
            host.lab.docker("volume", "create", "data")
            assert set(host.remove(*networks, host.engine.volume("data"))) == {("applied", "removed")}
    undone = {reason: detail for _, reason, detail in host.undo()}
    assert undone.keys() == {"restored", "taken"}
    assert "verlaps with" in undone["taken"]
    assert "it can come back when another network gives that up" in undone["taken"]
    host.lab.docker("network", "rm", "other")
    assert [(effect, reason) for effect, reason, _ in host.undo()] == [("applied", "restored")]


@pytest.mark.parametrize("moment", ["parameters", "remove_network"])
@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_network_that_a_container_joins_at_the_last_moment_stays(host: Host, moment: str) -> None:
    host.built("w", "undo/w:1")
    host.lab.docker("network", "create", "front")
    [network] = [each for each in host.engine.networks() if each.name == "front"]
    verb = ("create",) if moment == "parameters" else ("run", "--detach")
    just_before(host, moment, *verb, "--name=web", "--network=front", host.name("undo/w:1"))
    [(effect, reason)] = host.remove(network)
    assert (effect, reason) in {("refused", "in_use"), ("refused", "conflict")}
    assert host.engine.network(network.id) == network


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_network_that_another_is_made_from_stays_and_the_next_step_is_done(host: Host) -> None:
    for name in ("settings", "lonely"):
        host.lab.docker("network", "create", "--config-only", "--subnet=10.83.0.0/24", name)
    settings, lonely = (next(n for n in host.engine.networks() if n.name == name) for name in ("settings", "lonely"))
    just_before(host, "remove_network", "network", "create", "--config-from=settings", "made")
    assert host.remove(settings, lonely) == [("refused", "conflict"), ("applied", "removed")]
    assert host.ledger.open_intents() == []
    assert host.remove(settings) == [("refused", "in_use")]


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_what_its_container_wrote_into_a_volume_at_the_last_moment_is_not_lost_with_it(host: Host) -> None:
    """The container goes; the volume that nobody named stays, and the container that is made anew finds it."""
    host.built("w", "undo/w:1")
    host.lab.docker("run", "--name=web", "--volume=/data", host.name("undo/w:1"), "sh", "-c", "echo kept >/data/file")
    host.remove(host.engine.container("web"))
    assert len(list(host.engine.volumes())) == 1
    host.undo()
    host.lab.docker("cp", "web:/data/file", str(host.folder / "file"))
    assert (host.folder / "file").read_text() == "kept\n"


@pytest.mark.parametrize("kind", ["graph", "containerd"])
def test_volume_of_a_container_that_outlived_its_engine_stays(
    kind: Kind_, registry: LabRegistry, tmp_path: Path
) -> None:
    """Engines forgot, after a restart with live-restore, who uses a volume."""
    with LabEngine(kind, live_restore=True) as lab:
        host = Host(lab, registry, tmp_path)
        host.built("w", "undo/w:1")
        lab.docker("run", "--detach", "--name=web", "--volume=data:/data", "--volume=/more", host.name("undo/w:1"))
        lab.restart()
        host.info = host.engine.connect()
        volumes = list(host.engine.volumes())
        assert host.remove(*volumes, unrecoverable=True) == [("refused", "in_use")] * 2
        assert host.engine.container("web").running or lab.is_rootless  # whose containers end with it
        assert {volume.name for volume in host.engine.volumes()} == {volume.name for volume in volumes}
        host.close()


# -- others at work ----------------------------------------------------------------------------------------------------


class SlowRegistry:
    """The registry, at a few kilobytes a moment; a context manager."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.hurry = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.hurry.set()
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        """Neither side is closed before both have said all that they have to say."""
        with client, socket.create_connection(("127.0.0.1", self._target)) as registry:
            asking = threading.Thread(target=self._pump, args=(client, registry, 0.0), daemon=True)
            asking.start()
            self._pump(registry, client, 0.05)
            asking.join()

    def _pump(self, source: socket.socket, sink: socket.socket, seconds: float) -> None:
        with suppress(OSError):
            while chunk := source.recv(16384):
                sink.sendall(chunk)
                if seconds:
                    self.hurry.wait(seconds)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def slow(host: Host) -> Iterator[SlowRegistry]:
    made = SlowRegistry(host.registry.port)
    host.lab.forward(made.port)
    yield made
    made.close()


@pytest.mark.parametrize("sees", [False, True], ids=["blind", "seeing"])
def test_pull_in_flight_survives_and_is_waited_for_where_it_is_seen(
    host: Host, slow: SlowRegistry, tmp_path: Path, *, sees: bool
) -> None:
    """The image that goes has a layer that the pull has downloaded already."""
    shared = rootfs({"shared": os.urandom(1000)})
    host.registry.push("undo/first", "1", ImageSpec(layers=(shared,)))
    host.registry.push("undo/slow", "1", ImageSpec(layers=(shared, rootfs({"big": os.urandom(3_000_000)}))))
    host.lab.docker("pull", "--quiet", host.name("undo/first:1"))
    first = host.engine.image(host.name("undo/first:1"))
    until(lambda: not disk.transfer(host.info.data_root), "the end of the first download")
    name = f"127.0.0.1:{slow.port}/undo/slow:1"
    said: list[str] = []
    pull = threading.Thread(target=lambda: said.append(host.lab.docker("pull", "--quiet", name)))
    pull.start()
    until(lambda: disk.transfer(host.info.data_root), "the download")
    seen: list[str] = []
    if sees:

        def busy() -> str:
            traces = partial(disk.transfer, host.info.data_root)
            # It may rest for longer than a trace of it counts.
            seen.append(traces() if seen else until(traces, "the download to be seen"))
            slow.hurry.set()
            return seen[-1]

        host.busy = busy
    assert host.remove(first) == [("applied", "removed")]
    assert not sees or seen[0]
    assert pull.is_alive() or sees
    slow.hurry.set()
    pull.join()
    assert said == [name]
    assert host.engine.image(name).details is not None
    host.lab.docker("save", f"--output={tmp_path}/saved", name)
    host.undo()
    host.lab.docker("save", f"--output={tmp_path}/saved", first.id)


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_build_in_flight_survives(host: Host, tmp_path: Path, builder: str) -> None:
    base = host.built("base", "undo/base:1")
    other = host.built("other", "undo/other:1")
    context, environment = tmp_path / "context", {"PATH": os.environ["PATH"], "HOME": str(host.lab.dir)}
    context.mkdir()
    environment["DOCKER_BUILDKIT"] = "1" if builder == "buildkit" else "0"
    if builder == "buildkit":
        environment["DOCKER_CONFIG"] = str(tmp_path)
        (tmp_path / "cli-plugins").mkdir()
        (tmp_path / "cli-plugins/docker-buildx").symlink_to(trees.ensure(trees.NEW_ENGINE) / trees.BUILDX)
    with socket.create_server(("127.0.0.1", 0)) as gate:
        port = gate.getsockname()[1]
        host.lab.forward(port)
        (context / "Dockerfile").write_text(
            f"FROM {host.name('undo/base:1')}\nRUN touch /one\nRUN nc 127.0.0.1 {port} </dev/null\nRUN touch /two\n"
        )
        command = ["docker", f"--host={host.lab.host}", "build", "--network=host", "--tag=built:1", str(context)]
        with (tmp_path / "said").open("w") as said:
            build = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        gate.settimeout(PATIENCE)
        step, _ = gate.accept()  # the second step runs, and waits for an answer
        assert disk.transfer(host.info.data_root)
        nameless = [host.engine.image(each.id) for each in host.engine.images() if not each.tags]
        if builder == "classic":
            for each in (base, *nameless):  # what the build stands on, and what it has made so far
                assert host.remove(each)[0][0] == "refused"
        else:  # it has a store of its own, or a lease on what it takes out of the common one
            assert host.remove(base) == [("applied", "removed")]
        assert host.remove(other) == [("applied", "removed")]
        step.close()
        assert build.wait(PATIENCE) == 0, (tmp_path / "said").read_text()
    assert host.exists("built:1")
    assert not disk.transfer(host.info.data_root)
    host.lab.docker("save", f"--output={tmp_path}/saved", "built:1")


@pytest.mark.parametrize(
    "options",
    [
        ("type=tmpfs", "device=tmpfs", "o=size=1m"),
        ("type=none", "device=/tmp", "o=bind"),
        ("type=nfs", "device=:/export", "o=addr=127.0.0.1,ro"),
        ("type=cifs", "device=//127.0.0.1/share", "o=username=x"),
    ],
    ids=["tmpfs", "bind", "nfs", "cifs"],
)
@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_that_says_where_its_files_are_comes_back_by_that(host: Host, options: tuple[str, ...]) -> None:
    host.lab.docker("volume", "create", "--label=a=b", *(f"--opt={option}" for option in options), "elsewhere")
    before = json.loads(host.lab.docker("volume", "inspect", "elsewhere"))[0]
    assert host.remove(host.engine.volume("elsewhere")) == [("applied", "removed")]
    assert host.files() == []
    assert [(effect, reason) for effect, reason, _ in host.undo()] == [("applied", "restored")]
    after = json.loads(host.lab.docker("volume", "inspect", "elsewhere"))[0]
    assert {**after, "CreatedAt": ""} == {**before, "CreatedAt": ""}


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_volume_that_cannot_be_kept_comes_back_empty_where_that_is_allowed(host: Host) -> None:
    host.lab.docker("volume", "create", "--label=a=b", "data")
    (Path(mountpoint(host, "data")) / "file").write_bytes(b"x" * 5_000)
    host.archive = host.archive_of(1_000)
    assert host.remove(host.engine.volume("data")) == [("refused", "unrecoverable")]
    assert host.remove(host.engine.volume("data"), unrecoverable=True) == [("applied", "removed")]
    [(effect, reason, detail)] = host.undo()
    assert (effect, reason) == ("applied", "restored")
    assert "its files are lost" in detail
    assert list(Path(mountpoint(host, "data")).iterdir()) == []
    assert host.engine.volume("data").labels == {"a": "b"}

"""What a container wrote, told from what its engine made for it."""

from __future__ import annotations

import io
import tarfile

import pytest

from dockwarden.engine import layer
from dockwarden.errors import EngineError
from dockwarden.ports import Written

RAW = {"Mounts": [{"Destination": "/srv/data/"}], "HostConfig": {"Tmpfs": {"/run": ""}}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("", Written()),
        ("C/etc A/etc/hosts A/etc/resolv.conf A/.dockerenv C/dev A/dev/console A/srv A/srv/data A/run", Written()),
        ("C/etc C/srv", Written(("/etc", "/srv"))),  # nothing else changed in one of them: its rights did
        ("C/srv A/srv/data", Written()),
        ("C/etc C/etc/passwd A/etc/hosts", Written(("/etc", "/etc/passwd"))),
        ("A/srv A/srv/data A/srv/more", Written(("/srv", "/srv/more"))),
        ("C/etc D/etc/passwd", Written((), ("/etc/passwd",))),
        ("C/root A/root/x D/root/y", Written(("/root", "/root/x"), ("/root/y",))),
    ],
)
def test_what_the_engine_made_itself_is_not_written_by_the_container(changes: str, expected: Written) -> None:
    answer = [{"Kind": "CAD".index(each[0]), "Path": each[1:]} for each in changes.split()]
    assert layer.written(answer or None, RAW) == expected


def packed(*members: tuple[str, str]) -> bytes:
    """A tar of files, and of hard links to what is named."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.LNKTYPE, target) if target else (tarfile.REGTYPE, "")
            tar.addfile(info)
    return buffer.getvalue()


def picked(export: bytes, *paths: str) -> list[str]:
    written = io.BytesIO()
    layer.pick((export[at : at + 100] for at in range(0, len(export), 100)), paths, written.write)
    written.seek(0)
    with tarfile.open(fileobj=written) as tar:
        return tar.getnames()


def test_of_an_export_only_what_was_written_is_kept() -> None:
    export = packed(("a", ""), ("a/b", ""), ("ab", ""), ("l", "a/b"))
    assert picked(export, "/a/b", "/l") == ["a/b", "l"]


def test_a_hard_link_to_a_file_of_the_image_is_one_again() -> None:
    export = packed(("data/a", ""), ("b", ""), ("l", "b"), ("m", "data/a"), ("n", "data/a"))
    for paths, kept in ((["/l"], ["l"]), (["/b"], ["b", "l"]), (["/m"], ["m"]), (["/data/a"], ["data/a", "m", "n"])):
        assert picked(export, *paths) == kept


def test_no_file_below_a_mount_is_linked_to() -> None:
    """There is another one, or none, in the container that is made again."""
    written = io.BytesIO()
    assert layer.pick([packed(("a", ""), ("data/l", "a"))], ["/a"], written.write, {"/data"}) == set()
    assert b"data/l" not in written.getvalue()
    with pytest.raises(EngineError, match="below a mount"):
        layer.pick([packed(("data/a", ""), ("l", "data/a"))], ["/l"], written.write, {"/data"})


def test_what_an_export_has_not_is_told() -> None:
    assert layer.pick([packed(("a", ""), ("b", ""))], ("/a", "/gone", "/b/gone"), bytes) == {"/gone", "/b/gone"}


def test_names_that_the_engine_cannot_tell_are_said() -> None:
    with pytest.raises(EngineError):
        picked(packed(("a", "")), "/a\ufffd")


@pytest.mark.parametrize("length", [0, 300, 512, 700])
@pytest.mark.parametrize("said", [b"", b'{"message":"no such blob"}'])
def test_an_export_that_ends_early_is_no_archive(length: int, said: bytes) -> None:
    with pytest.raises(EngineError):
        picked(packed(("a", ""), ("b", ""))[:length] + said, "/a")


def test_what_an_engine_writes_behind_half_an_archive_is_its_reason() -> None:
    tar = packed(("a", ""))
    assert b"".join(layer.whole([tar[:700], tar[700:]], "archive")) == tar
    for told in (rb"no such \"blob\"", b"x" * 2000):
        said = b'{"errorDetail":{"message":"%s"},"error":"%s"}\r\n' % (told, told)
        wanted = "" if told.startswith(b"x") else ': no such "blob"'
        with pytest.raises(EngineError, match=f"^the archive ended early{wanted}$"):
            list(layer.whole([tar[:700], said[:20], said[20:]], "archive"))

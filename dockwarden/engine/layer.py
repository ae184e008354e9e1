"""What a container wrote besides its volumes: which files, and the files themselves.

Input: what an engine says of changes, a stream of ``docker export``. Output: paths, a tar of these paths only. Out of
bounds: what an export leaves out: sockets, holes, extended attributes but capabilities.
"""

import base64
import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from math import inf
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any

from dockwarden.engine.fields import Fields
from dockwarden.engine.transport import Client, in_a_line
from dockwarden.errors import AnswerError, NotFoundError
from dockwarden.ports import Written

_DELETED = 2
_OF_THE_ENGINE = frozenset(
    {"/.dockerenv", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/sbin/docker-init"}
)
_FOLDERS_OF_THE_ENGINE = frozenset({"/dev", "/proc", "/sys"})
_REMOUNT = ("SYS_ADMIN", "ALL")  # capabilities that can make read-only files writable
_END_BYTES = 1024  # of zeros
_STAT = "X-Docker-Container-Path-Stat"
_UNREADABLE = "\ufffd"
_MOST_LOOKS = 1000
_MOST_CARRIED_BYTES = 64 * 1024 * 1024
_OTHER_TYPES, SOCKET = 0x8F280000, 0x01000000  # of Go's FileMode
_PATIENCE_SECONDS = 300.0


def written(answer: object, raw: Mapping[str, Any]) -> Written:
    """What it changed, by the engine's answer and the container's inspect; nothing if the engine did all of it."""
    host = raw["HostConfig"]
    may_remount = host.get("Privileged") or any(each.upper().endswith(_REMOUNT) for each in host.get("CapAdd") or ())
    if host.get("ReadonlyRootfs") and not may_remount:
        return Written((), ())
    places = covered(raw)
    hidden = places | _FOLDERS_OF_THE_ENGINE | _OF_THE_ENGINE
    rows = [(row.text("Path"), row.integer("Kind")) for row in Fields({"all": answer}, "changes").objects("all")]
    above = {each for path in (*places, *(path for path, _ in rows)) for each in _above(path)}
    rows = [(path, kind) for path, kind in rows if hidden.isdisjoint((path, *_above(path)))]
    kept = tuple(sorted(path for path, kind in rows if kind != _DELETED))
    gone = tuple(sorted(path for path, kind in rows if kind == _DELETED))
    return Written(() if above.issuperset(kept) else kept, gone)  # a folder changes with what is in it


def covered(raw: Mapping[str, Any]) -> set[str]:
    """Where something else is mounted over its own files."""
    mounted = [mount["Destination"] for mount in raw.get("Mounts") or ()]
    return {cleaned(place) for place in (*mounted, *(raw["HostConfig"].get("Tmpfs") or ()))}


def cleaned(place: str) -> str:
    """As the engine does, and unlike Python, which keeps two slashes at the beginning."""
    return normpath(f"/{place.lstrip('/')}")


def _above(path: str) -> list[str]:
    return [str(each) for each in PurePosixPath(path).parents]


class _Stream:
    """Chunks as the file that ``tarfile`` reads, and the function that it writes to."""

    def __init__(self, chunks: Iterable[bytes], write: Callable[[bytes], object]) -> None:
        self._chunks = iter(chunks)
        self.write = write

    def read(self, _size: int = 0) -> bytes:
        return next(self._chunks, b"")


def whole(tar: Iterable[bytes], what: str) -> Iterator[bytes]:
    """The same chunks. AnswerError where they do not end as a tar does.

    An engine that fails amid one has said by then that all is well; at best it writes its error behind what it has.
    """
    tail = b""
    for chunk in tar:
        tail = (tail + chunk)[-_END_BYTES:]
        yield chunk
    if tail != bytes(_END_BYTES):
        said, text = "", tail.decode(errors="replace").partition('"message":')[2]
        with suppress(ValueError, RecursionError):  # it says nothing, or not all of it is here
            said = in_a_line(str(json.JSONDecoder().raw_decode(text)[0]))
        raise AnswerError(": ".join(filter(None, (f"the {what} ended early", said))))


def pick(
    export: Iterable[bytes], paths: Collection[str], write: Callable[[bytes], object], places: Collection[str] = ()
) -> set[str]:
    """Write a tar of what an export has of these paths; gives those that it has not. AnswerError if it is damaged.

    A hard link between one of them and a file of the image comes with it, but for those that are covered (``places``).
    """
    wanted = frozenset(paths)
    left = set(wanted)
    if any(_UNREADABLE in path for path in wanted):
        raise AnswerError("the engine cannot tell the names of some files that it wrote")
    stream: Any = _Stream(whole(export, "export"), write)  # as much of a file as this needs
    try:
        with (
            tarfile.open(fileobj=stream, mode="r|") as all_,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as some,
        ):
            for member in all_:
                name = f"/{member.name.strip('/')}"
                ends = {name, f"/{member.linkname.strip('/')}"} if member.islnk() else {name}
                is_covered = any(not {end, *_above(end)}.isdisjoint(places) for end in ends - wanted)
                if name in wanted and is_covered:
                    raise AnswerError(f"{member.name} is a hard link to a file below a mount")
                if ends.isdisjoint(wanted) or is_covered:
                    continue
                some.addfile(member, all_.extractfile(member) if member.isreg() else None)
                left.discard(name)
            while stream.read():  # what is left shows whether it is whole
                pass
    except tarfile.TarError as error:
        raise AnswerError(f"export: {error}") from error
    return left


def look(client: Client, container: str, path: str) -> Fields:
    where, wanted = f"/containers/{container}/archive", {"path": path}
    with client.open("HEAD", where, "archive", _PATIENCE_SECONDS, params=wanted) as told:
        return Fields(json.loads(base64.b64decode(told.headers[_STAT])), "file")


def carry(client: Client, old: str, new: str) -> tuple[str, ...]:
    """Give a new container, if there is one, the files that somebody put into another before it was started.

    Gives their paths. So Compose does with ``configs`` and ``secrets`` whose content its file has. Only their times
    tell them from what a program wrote: whole seconds, as a tar has, while none ran yet. Some tars round them up.
    """
    raw = client.inspect_container(old)
    born, now = (
        Fields(client.inspect_container(each), "container").moment("Created") or 0.0 for each in (old, new or old)
    )
    started = Fields(raw["State"], "state").moment("StartedAt") or inf
    paths = written(client.open("GET", f"/containers/{old}/changes", "changes", _PATIENCE_SECONDS).json(), raw).paths
    found, carried, left = io.BytesIO(), [], _MOST_CARRIED_BYTES
    with tarfile.open(fileobj=found, mode="w", format=tarfile.PAX_FORMAT) as some:
        for path in sorted(paths, key=lambda path: path.count("/"))[:_MOST_LOOKS]:
            where, wanted = f"/containers/{old}/archive", {"path": path}
            with suppress(NotFoundError):  # any more
                about = look(client, old, path)
                at = about.moment("mtime") or 0.0
                if about.integer("mode") & _OTHER_TYPES or at % 1 or not born - 1 <= at <= started + 0.5:
                    continue
                left -= about.integer("size")
                if left < 0:
                    raise AnswerError(f"{path} and others that were put into it are too big to be carried over")
                answer = client.open("GET", where, "archive", _PATIENCE_SECONDS, params=wanted)
                with tarfile.open(fileobj=io.BytesIO(b"".join(whole([answer.content], "archive")))) as one:
                    (member,) = one.getmembers()
                    content = one.extractfile(member)
                    member.name, member.mtime = path.lstrip("/"), int(now)  # so it is found again the next time
                    some.addfile(member, content)
                carried.append(path)
    if carried and new:
        client.put_archive(new, "/", found.getvalue())
    return tuple(carried)

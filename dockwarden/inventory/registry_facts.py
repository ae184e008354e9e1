"""Facts that only a registry knows: which digest a tag has there, what that means here, and what is newer. Pure.

Input: a tag and the answers gathered so far (``View.replies``). Output: values, or the next question to ask
(``View.question``): a HEAD first, a manifest only where digests differ, a list of tags only for versions. Out of
bounds: asking.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from dockwarden import reference
from dockwarden.inventory.digests import of_repository
from dockwarden.inventory.newest import Look, UnclearError, aliases, newest
from dockwarden.inventory.view import Read, View, rows
from dockwarden.model import Container, FactValue, Image, ImageDetails, ImageStore, Kind, Ref, Service, ref_of
from dockwarden.ports import Ask, Entry, Reply

_DEEPEST = 4  # index in an index in an index
_MOST_LOOKED_INTO = 50  # of the entries of an index that do not tell their platform, or of the indexes in it
_OTHER_NAMES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
VERSION_LABEL = "org.opencontainers.image.version"


class _NeededError(Exception):
    """The answer to this question is needed first."""

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask)
        self.ask = ask


class _UnknownError(Exception):
    """It cannot be known, and no registry could help."""


class _Local(NamedTuple):
    tag: str
    repository: str
    image: Image
    digests: tuple[str, ...]
    store: ImageStore

    @property
    def name(self) -> str:
        return self.tag.rpartition(":")[2]


def _recoverable(_fact: str, image: Image, view: View) -> bool:
    """Whether a registry serves one of the image's digests; one that does not answer matters only if no other does."""
    if _is_built_here(image, view):
        return False
    failed = None
    for digest in image.digests:
        ask = Ask("digest", digest)
        reply = view.replies.get(ask)
        if reply is None:
            raise _NeededError(ask)
        if reply.digest:
            return True
        if reply.reason != "not_found":
            failed = failed or ask
    if failed:
        raise _NeededError(failed)
    return False


def followed_tag(thing: Container | Service) -> str:
    """The tag in a reference such as ``nginx:1.27@sha256:…``, of containers also in one without; "" if there is none.

    Of a service without a digest nobody knows which image each of its tasks was made from.
    """
    parsed, is_tag = reference.parsed(thing.image_ref), isinstance(thing, Container) and thing.pin == "tag"
    return parsed.tagged if parsed and (parsed.digest or is_tag) else ""


def _reply(view: View, what: str, key: str, *, may_lack: bool = False) -> Reply:
    """An answer; a failed one is as good as none, but it is not asked for again.

    ``may_lack``: it is empty where the registry does not have what it named, as it may list such tags.
    """
    ask = Ask(what, key)
    reply = view.replies.get(ask)
    if reply is None or (reply.reason and not (may_lack and reply.reason == "not_found")):
        raise _NeededError(ask)
    return reply


def _local(tag: str, view: View, user: Container | None = None) -> _Local:
    """The tag's image; that which a container runs that was created from it, if there is one."""
    inventory = view.inventory
    image = inventory.image_of(ref_of(user) if user else Ref(Kind.TAG, tag))
    if image is None:
        raise _UnknownError
    repository = tag.rpartition(":")[0]
    digests = of_repository(image.digests, repository)
    store = inventory.store or ImageStore.GRAPH
    if user and not digests and store is ImageStore.CONTAINERD and inventory.tags.get(tag, image.id) != image.id:
        digests = (image.id,)  # it has lost its names
    return _Local(tag, repository, image, digests, store)


def _is_built_here(image: Image, view: View) -> bool:
    """By what the engine says of it; Podman names what no registry has given it ``localhost/…``."""
    info = view.inventory.info
    is_named_so = bool(info and info.only_audited) and all(tag.startswith("localhost/") for tag in image.tags or ("",))
    return is_named_so or (image.details is not None and bool(image.details.built_here))


def _state(local: _Local, view: View) -> str:
    tag = local.tag
    if not local.digests or _is_built_here(local.image, view):
        return "local"
    look = view.replies.get(Ask("digest", tag))
    if look is not None and look.reason == "not_found":
        # The containerd store invents digests for images that never came from a registry.
        is_proof = local.store is ImageStore.GRAPH or local.digests != (local.image.id,)
        return "gone" if is_proof or view.inventory.digests.knows(tag, "registry") else "local"
    current = _reply(view, "digest", tag).digest
    if current in local.digests:
        return "current"
    return _state_of_other(local, current, view)


def _state_of_other(local: _Local, current: str, view: View) -> str:
    """The digests differ; whether that concerns this platform, the manifests tell."""
    _require_alike(current, local.digests)
    try:
        spared = _is_spared(local, current, view)
    except _NeededError as error:
        reply = view.replies.get(error.ask)
        is_ours = error.ask.reference.rpartition("@")[2] in local.digests
        if reply is None or reply.reason != "not_found" or not is_ours:
            raise  # also where the registry does not have what it names now
        spared = False  # what it does not have any more shows nothing
    return "other-platform" if spared else "drift"


def _require_alike(current: str, digests: Sequence[str]) -> None:
    if current.partition(":")[0] not in {digest.partition(":")[0] for digest in digests}:
        raise _UnknownError  # a sha512 of the same image is another one than its sha256


def _is_spared(local: _Local, current: str, view: View) -> bool:
    """Whether this platform's image is the same as before.

    A graph store knows the image by its configuration, a containerd store by the index that named its manifest.
    """
    ours = _manifests(current, local, view)
    if local.store is ImageStore.GRAPH:
        named = ((number, f"{local.repository}@{digest}") for number, digest in enumerate(ours))
        replies = (_reply(view, "manifest", name, may_lack=number > 0) for number, name in named)
        return any(reply.config == local.image.id for reply in replies)  # a copy may be without other variants
    here = local.digests[0]
    return here in ours or (bool(ours) and set(ours) == set(_manifests(here, local, view)))


def _manifests(digest: str, local: _Local, view: View, depth: int = 0) -> list[str]:
    """The images that a digest stands for on this image's platform: itself, or entries of an index, however deep.

    These are several where an image does not say which variant of an architecture it is for.
    """
    reply = _reply(view, "manifest", f"{local.repository}@{digest}", may_lack=depth > 0)
    if not reply.entries:
        return [digest] if not depth or _fits_config(reply.config, local, view) else []
    found = []
    fitting = _fitting(reply.entries, local) or [entry for entry in reply.entries if not entry.os]
    if depth == _DEEPEST or len(fitting) > _MOST_LOOKED_INTO:
        raise _UnknownError
    for entry in fitting:
        if entry.is_index or not entry.os:
            found += _manifests(entry.digest, local, view, depth + 1)
        else:
            found.append(entry.digest)
    return found


def _fitting(entries: Sequence[Entry], local: _Local) -> list[Entry]:
    """Those that are for the image's platform; of several for one, the engine takes the first.

    Newer graph stores take amd64/v3 where the host can, which does not make the image say so.
    """
    details = local.image.details
    if details is None:
        raise _UnknownError
    first = {e.variant: e for e in reversed(entries) if _platform(e) == _platform(details)}
    if details.variant in first and (details.variant or local.store is ImageStore.CONTAINERD):
        return [first[details.variant]]
    return sorted(first.values(), key=lambda e: e.variant)


def _platform(thing: Entry | ImageDetails) -> tuple[str, str]:
    """As the engine understands it."""
    architecture = thing.architecture.lower()
    return thing.os.lower(), _OTHER_NAMES.get(architecture, architecture)


def _fits_config(config: str, local: _Local, view: View) -> bool:
    """Whether an image of which no index tells the platform is for the same as ours."""
    if not config or config == local.image.id:
        return bool(config)
    return bool(_fitting(_reply(view, "config", f"{local.repository}@{config}", may_lack=True).entries, local))


def _drift_seconds(local: _Local, view: View) -> float:
    if _state(local, view) != "drift":
        return 0.0
    digests, tag = view.inventory.digests, local.tag
    there = digests.since(tag, "registry", _reply(view, "digest", tag).digest)
    since = max(there or 0.0, digests.since(tag, "local", digests.pick(tag, local.image.digests)) or 0.0)
    return max(0.0, view.now - since) if there is not None else 0.0


def _look(local: _Local, view: View, *, here: bool) -> Look:
    """How tags of the repository compare with this one, as it is at the registry and, if ``here``, on the engine."""

    def digest(name: str) -> str:
        return _reply(view, "digest", f"{local.repository}:{name}", may_lack=True).digest

    def is_ours(name: str) -> bool:
        if here and f"{local.repository}:{name}" in local.image.tags:
            return True
        there = digest(name)
        is_here = here and there in local.digests
        return there != "" and (is_here or there == digest(local.name))

    names = [other.rpartition(":")[2] for other in local.image.tags if other.rpartition(":")[0] == local.repository]
    hints, now = [*names, local.image.labels.get(VERSION_LABEL, "")], datetime.fromtimestamp(view.now, UTC)
    return Look(is_ours, digest, hints, (now.year % 100, now.month))


def _newest(local: _Local, view: View) -> str:
    try:
        return newest(local.name, _reply(view, "tags", local.repository).tags, _look(local, view, here=True))
    except UnclearError as error:
        raise _UnknownError from error


def _latest_is(local: _Local, view: View) -> list[str]:
    if not _reply(view, "digest", local.tag, may_lack=True).digest:
        return []
    return aliases(local.name, _reply(view, "tags", local.repository).tags, _look(local, view, here=False))


def _compute(fact: str, tag: str, view: View) -> FactValue:
    local = _local(tag, view)
    built_here = _is_built_here(local.image, view)
    match fact:
        case "registry.state":
            return _state(local, view)
        case "registry.drift_for":
            return _drift_seconds(local, view)
        case "registry.latest_is" if built_here:
            return []
        case _ if built_here:
            return ""
        case "registry.newest_version":
            return _newest(local, view)
        case "registry.newest_version_digest":
            name = _newest(local, view)
            return _reply(view, "digest", f"{local.repository}:{name}").digest if name else ""
        case "registry.latest_is":
            return _latest_is(local, view)
        case _:
            return _reply(view, "digest", tag).digest


def _of_pin(fact: str, container: Container | Service, view: View) -> FactValue:
    """What became of the tag in a pin, at which the engine, which takes the digest, does not look; or of any tag."""
    tag = followed_tag(container)
    look = view.replies.get(Ask("digest", tag))
    if not tag:
        return ""
    pin = reference.parse(container.image_ref).digest
    if isinstance(container, Container) and not pin:
        local = _local(tag, view, container)
        if not local.digests or _is_built_here(local.image, view):
            return "local" if fact == "registry.state" else ""
        if fact == "registry.state":
            return _state(local, view)
    if look is not None and look.reason == "not_found":
        return "gone" if fact == "registry.state" else ""
    current = _reply(view, "digest", tag).digest
    if fact == "registry.digest":
        return current
    _require_alike(current, [pin])
    if pin == current or pin in _entries(tag.rpartition(":")[0], current, view):
        return "current"
    inventory = view.inventory
    image = inventory.image_of(ref_of(container))
    if image is None:  # or a service, whose nodes may be of any platform
        return "drift"
    store = inventory.store or ImageStore.GRAPH
    return _state_of_other(_Local(tag, tag.rpartition(":")[0], image, (pin,), store), current, view)


def _entries(repository: str, index: str, view: View) -> Iterator[str]:
    """The digests in an index and in those inside it, of any platform; a pin may be on one of them."""
    left = [index]
    for number, digest in enumerate(left):
        if number > _MOST_LOOKED_INTO:
            raise _UnknownError
        for entry in _reply(view, "manifest", f"{repository}@{digest}", may_lack=number > 0).entries:
            yield entry.digest
            left += [entry.digest] if entry.is_index else []


def _reader(fact: str, compute: Callable[[str, Any, View], FactValue] = _compute) -> Read:
    def read(subject: Any, view: View) -> FactValue | None:
        view.question = None
        try:
            return compute(fact, subject, view)
        except _NeededError as error:
            view.question = error.ask
        except _UnknownError:
            pass
        return None

    return read


_ROWS = rows(
    """
    digest                string:digest         digest that the tag has at its registry now, empty without one; \
        of a container, the tag that it was created from; of it or a service, the tag in a pin `name:tag@digest`
    state                 string:registry_state `current`, `drift`, `other-platform` (changed for others only), \
        `local` (never a registry's), `gone`; of a container, the tag that it was created from; \
        of it or a service, the tag in a pin `name:tag@digest`
    drift_for             duration              how long we have known of the drift, 0 without one
    newest_version        string:tag            tag of the highest release in the scheme of its own versions, \
        empty if there is none
    newest_version_digest string:digest         its digest at the registry, empty if there is none
    latest_is             list(string):tag      version tags that are the same image there
    """,
    cost=3,
)
OF_TAG = tuple(row._replace(read=_reader(f"registry.{row.name}")) for row in _ROWS)
OF_PIN = tuple(row._replace(read=_reader(f"registry.{row.name}", _of_pin)) for row in _ROWS[:2])
recoverable = _reader("image.recoverable", _recoverable)

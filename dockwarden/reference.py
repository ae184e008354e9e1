"""Image references as the engine and people write them: parsed, normalised, and taken apart. Pure.

Input: strings from users, labels, events and the engine, all untrusted. Output: ``Reference`` values and
full references such as ``docker.io/library/busybox:latest``. Out of bounds: asking anybody what a name means.

The grammar is the one of the distribution project's reference package.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

DEFAULT_REGISTRY = "docker.io"
_HUB_ALIAS = "index.docker.io"  # the engine knows it, too; registry-1.docker.io is another registry to it
NO_REGISTRIES = ("hub.docker.com", _HUB_ALIAS, "docker.com")
"""What Docker Hub is called elsewhere, and in no full reference."""
_HUB_ADDRESSES = ("registry-1.docker.io", "registry.hub.docker.com")
_MAX_LENGTH = 4096
_MAX_PATH_LENGTH = 255

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_HOST = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?",
    re.ASCII,
)
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}", re.ASCII)
_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}", re.ASCII)
_LEAST_ID_DIGITS = 4  # not `db`, with which one ID in 256 begins


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised reference: ``docker.io`` and ``library/`` are written out; ``tag`` and ``digest`` may be ""."""

    registry: str
    path: str
    tag: str
    digest: str

    @property
    def repository(self) -> str:
        """Registry and path: ``docker.io/library/busybox``."""
        return f"{self.registry}/{self.path}"

    @property
    def tagged(self) -> str:
        """The same with the tag, "" without one: of ``name:tag@digest`` what it followed."""
        return f"{self.repository}:{self.tag}" if self.tag else ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def parse(text: str) -> Reference:
    """A reference as ``docker pull`` reads it; without tag and digest ``:latest``. Raises ValueError: it is none."""
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"reference longer than {_MAX_LENGTH} characters")
    if is_image_id(text):
        raise ValueError(f"an image ID, not a reference: {text!r}")
    name, _, digest = text.partition("@")
    if "@" in text and not _DIGEST.fullmatch(digest):
        raise ValueError(f"bad digest in {text!r}")
    head, slash, rest = name.rpartition("/")
    last, colon, tag = rest.partition(":")
    if colon and not TAG.fullmatch(tag):
        raise ValueError(f"bad tag in {text!r}")
    registry, path = _split(head + slash + last)
    is_host = _HOST.fullmatch(registry) or _PATH.fullmatch(registry)  # so engines take, and pull, a_b.lan/app
    if not _PATH.fullmatch(path) or not is_host or len(path) > _MAX_PATH_LENGTH:
        raise ValueError(f"not an image reference: {text!r}")
    return Reference(registry, path, tag or ("" if digest else "latest"), digest)


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    if not is_host:
        registry, path = DEFAULT_REGISTRY, name
    else:
        registry, path = first, rest
    if registry == _HUB_ALIAS:
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    return registry, path


def parsed(text: str) -> Reference | None:
    """As ``parse``, None where the text is no reference."""
    try:
        return parse(text)
    except ValueError:
        return None


def full(text: str) -> str:
    """The full form of a reference, or the text unchanged where it is none."""
    return _full(text) if len(text) <= _MAX_PATH_LENGTH else _full.__wrapped__(text)


@lru_cache(maxsize=4096)  # an image with a thousand tags tells all of them again whenever one changes
def _full(text: str) -> str:
    return str(parsed(text) or text)


def familiar(text: str) -> str:
    """The short form that people type: ``busybox:1.36`` for ``docker.io/library/busybox:1.36``."""
    path = text.removeprefix(f"{DEFAULT_REGISTRY}/")
    official = path.removeprefix("library/")
    return path if path == text or "/" in official else official


def spellings(name: str) -> set[str]:
    """A full reference as people may write it, too: ``docker.io/a``, ``library/a`` and ``a`` of an official one."""
    path, short = name.removeprefix(f"{DEFAULT_REGISTRY}/"), familiar(name)
    hosts = ("", f"{DEFAULT_REGISTRY}/", f"{_HUB_ALIAS}/")
    return {name} if path == name else {f"{host}{each}" for host in hosts for each in (path, short)}


def hub_elsewhere(registry: str) -> str:
    """What is to be known of another address of Docker Hub, which to engines is a registry of its own."""
    if registry not in _HUB_ADDRESSES:
        return ""
    return f"only names that begin with {registry} are of it; those of Docker Hub are of {DEFAULT_REGISTRY}"


def is_image_id(text: str) -> bool:
    """Whether the text is an image ID with or without ``sha256:`` and not a name."""
    return _IMAGE_ID.fullmatch(text) is not None


def pin(text: str, image_id: str) -> str:
    """How an image is named by whom it is used: by ``tag``, by ``digest``, or by ``id``."""
    is_short_id = len(text) >= _LEAST_ID_DIGITS and image_id.removeprefix("sha256:").startswith(text)
    if not text or is_image_id(text) or is_short_id:
        return "id"
    return "digest" if "@" in text else "tag"


def short_id(identifier: str) -> str:
    """The first twelve characters of an ID, as the docker CLI shows it."""
    return identifier.removeprefix("sha256:")[:12]


MARKER_REPOSITORY = "dockwarden.invalid/marker"
"""Names given for a moment to untagged images of the graph store, because only a name can be removed safely."""


def marker(image_id: str) -> str:
    return f"{MARKER_REPOSITORY}:{short_id(image_id)}"


def may_match(kind: str, glob: str) -> bool:
    """Whether a name may fit a glob: one of ``containers`` and their like, or of ``images`` as ``spellings`` has it."""
    odd = r".*//|[^/:@\[*?]*[A-Z][^/\[]*$"  # nor is a repository in capitals
    if kind == "tags":  # who names tags alone means these; an image may be called edge
        odd += r"|(?:latest|stable|edge|v?\d+(?:\.\d+)+)$"
    plain, of_image = r"[\w.*?!\[\]-]+", rf"(?!{odd})[\w*?\[][\w.*?!\[\]/:@-]*(?<![/:@])"
    of_driver = r"(?!/)[^\s|^$(){}]+"  # some have hosts and options in the names of their volumes
    form = {"images": of_image, "tags": of_image, "networks": r"\S.*", "volumes": of_driver}.get(kind, plain)
    return re.fullmatch(form, glob, re.ASCII) is not None

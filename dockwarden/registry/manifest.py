"""What registries say, parsed: manifests, lists of tags, and where a list goes on. Pure.

Input: bodies and headers, all untrusted. Output: values of ``ports``, or a ``FailedError``. Out of bounds: media types,
which registries get wrong; a document is what it contains.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

from dockwarden.ports import Entry, Reply
from dockwarden.reference import TAG
from dockwarden.registry.message import FailedError, json_object

MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""All four, or a registry converts the manifest and names the digest of the conversion."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_INDEXES = frozenset(MEDIA_TYPES[::2])
_MOST_ENTRIES = 1_000
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_VARIANT = re.compile(r"[A-Za-z0-9._-]{0,64}", re.ASCII)
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_NEXT = re.compile(r""";\s*rel\s*=\s*["']?(?:[^\s;,"']+\s+)*next["']?\s*(?:[\s;,]|$)""", re.IGNORECASE)


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def contents(body: bytes) -> Reply:
    """The platforms of an index, or the configuration of a single image. Raises FailedError: it is neither."""
    document = json_object(body)
    manifests = document.get("manifests")
    if isinstance(manifests, list):
        if len(manifests) > _MOST_ENTRIES:
            raise FailedError("bad_answer")
        return Reply(entries=tuple(_entries(manifests)))
    config = document.get("config")
    digest = config.get("digest") if isinstance(config, dict) else None
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise FailedError("bad_answer")
    return Reply(config=digest)


def _entries(manifests: Iterable[object]) -> Iterator[Entry]:
    """All but attestations, whose platform is ``unknown``, and what is no manifest."""
    for manifest in manifests:
        if not isinstance(manifest, dict):
            continue
        digest, media_type, platform = manifest.get("digest"), manifest.get("mediaType"), manifest.get("platform")
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            continue
        is_index = media_type in _INDEXES
        if platform:
            yield from _of_platform(digest, platform, is_index=is_index)
        elif not media_type or (media_type in MEDIA_TYPES and not _is_about_another(manifest)):
            yield Entry(digest, "", "", "", is_index or not media_type)


def _is_about_another(manifest: Mapping[str, object]) -> bool:
    """Signatures and the like say what they are, and attestations of whom."""
    annotations = manifest.get("annotations")
    is_attestation = isinstance(annotations, dict) and "vnd.docker.reference.type" in annotations
    return is_attestation or bool(manifest.get("artifactType"))


def platform(body: bytes) -> Reply:
    """The platform that an image's configuration is for; no entries where it says none. FailedError: it is none."""
    found = list(_of_platform(digest_of(body), json_object(body)))
    return Reply(entries=tuple(found))


def _of_platform(digest: str, platform: object, *, is_index: bool = False) -> Iterator[Entry]:
    if not isinstance(platform, dict):
        return
    system, architecture = platform.get("os") or "linux", platform.get("architecture")  # as engines understand it
    variant = platform.get("variant") or ""
    if _is(_WORD, system) and _is(_WORD, architecture) and _is(_VARIANT, variant):
        entry = Entry(digest, str(system), str(architecture), str(variant), is_index)
        if "unknown" not in (entry.os, entry.architecture):
            yield entry


def tags(body: bytes) -> list[str]:
    """One page of a list of tags; what cannot be a tag is left out. Raises FailedError: it is no such page."""
    document = json_object(body)
    found = document.get("tags")
    if found is None and {"name", "tags"} & document.keys():  # what some registries say of a repository without tags
        return []
    if not isinstance(found, list):
        raise FailedError("bad_answer")
    return [tag for tag in found if _is(TAG, tag)]


def next_page(links: Iterable[str]) -> str:
    """Where the next page is, as written; empty if this was the last."""
    for header in links:
        for target, parameters in _LINK.findall(header):
            if target and _NEXT.search(parameters):
                return str(target)
        if _NEXT.search(header):  # older Quays leave out the brackets
            return header.partition(";")[0].strip()
    return ""


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None

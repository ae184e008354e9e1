"""The three questions: what a tag names, what a digest stands for, which tags there are.

Input: a question, an endpoint. Output: a ``Reply``, or a ``FailedError``. Out of bounds: how requests are sent.

A digest is asked for with a HEAD, which registries do not count as a pull. Only where they leave the digest out, or
know no HEAD, the manifest is fetched and hashed.
"""

from urllib.parse import urljoin

from dockwarden.ports import Reply
from dockwarden.reference import Reference
from dockwarden.registry import manifest
from dockwarden.registry.endpoint import Endpoint, Query
from dockwarden.registry.message import Answer, FailedError, parse_url

_MANIFEST_BYTES = 10 * 1024 * 1024
_PAGE_BYTES = 4 * 1024 * 1024
_MOST_PAGES = 200
_MOST_TAGS = 20_000
_NO_HEAD = (405, 501)


def answer(what: str, reference: Reference, endpoint: Endpoint, ends_at: float) -> Reply:
    """Ask. Raises FailedError."""
    match what:
        case "digest":
            return _digest(reference, endpoint, ends_at)
        case "manifest":
            return _manifest(reference, endpoint, ends_at)
        case _:
            return _tags(reference, endpoint, ends_at)


def _digest(reference: Reference, endpoint: Endpoint, ends_at: float) -> Reply:
    query = _of_manifest("HEAD", reference, reference.tag or reference.digest, ends_at)
    head = endpoint.ask(query)
    if not head.is_good and head.status not in _NO_HEAD:
        raise FailedError(head.failure)
    named = head.all("Docker-Content-Digest")
    if named and head.is_good:
        digest = ",".join(named)
    else:
        body = _fetched(endpoint, query._replace(method="GET"))
        _parsed(body)  # the page of some portal has a hash, too
        digest = manifest.digest_of(body, reference.digest.partition(":")[0] or "sha256")
    is_right = manifest.DIGEST.fullmatch(digest) if reference.tag else digest == reference.digest
    if not is_right:
        raise FailedError("bad_answer")
    return Reply(digest=digest)


def _manifest(reference: Reference, endpoint: Endpoint, ends_at: float) -> Reply:
    body = _fetched(endpoint, _of_manifest("GET", reference, reference.digest, ends_at))
    if manifest.digest_of(body, reference.digest.partition(":")[0]) != reference.digest:
        raise FailedError("bad_answer")
    return _parsed(body)


def _tags(reference: Reference, endpoint: Endpoint, ends_at: float) -> Reply:
    target = f"/v2/{reference.path}/tags/list"
    found: dict[str, None] = {}  # each once, in order
    for _ in range(_MOST_PAGES):
        page = _good(endpoint.ask(Query("GET", target, reference.path, _PAGE_BYTES, ends_at)))
        try:
            found.update(dict.fromkeys(manifest.tags(page.body)))
        except ValueError:
            raise FailedError("bad_answer") from None
        if len(found) > _MOST_TAGS:
            break
        link = manifest.next_page(page.all("Link"))
        if not link:
            return Reply(tags=tuple(found))
        target = _next_target(target, link)
    raise FailedError("bad_answer")  # part of the tags is no answer to which there are


def _next_target(target: str, link: str) -> str:
    """Where the next page is. It is asked of the same host, whichever the link names."""
    try:
        return parse_url(urljoin(f"https://registry.invalid{target}", link)).target
    except ValueError:
        raise FailedError("bad_answer") from None


def _of_manifest(method: str, reference: Reference, name: str, ends_at: float) -> Query:
    return Query(method, f"/v2/{reference.path}/manifests/{name}", reference.path, _MANIFEST_BYTES, ends_at)


def _fetched(endpoint: Endpoint, query: Query) -> bytes:
    return _good(endpoint.ask(query)).body


def _good(found: Answer) -> Answer:
    """The same, if it is what was asked for, and not packed: digests are of what is inside."""
    if not found.is_good:
        raise FailedError(found.failure)
    if any(coding.strip().lower() not in ("", "identity") for coding in found.all("Content-Encoding")):
        raise FailedError("bad_answer")
    return found


def _parsed(body: bytes) -> Reply:
    try:
        return manifest.contents(body)
    except ValueError:
        raise FailedError("bad_answer") from None

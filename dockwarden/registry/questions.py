"""The questions: what a tag names, what a digest stands for, which platform an image is for, which tags there are.

Input: a question, an endpoint. Output: a ``Reply``, or a ``FailedError``. Out of bounds: how requests are sent.

A digest is asked for with a HEAD, which registries do not count as a pull. Only where they name none there, or a
HEAD fails, the manifest is fetched and hashed: some know no HEAD, and that of a 404 cannot say who answers it.
"""

import re
import time
from urllib.parse import urljoin

from dockwarden.ports import Reply
from dockwarden.reference import Reference
from dockwarden.registry import manifest
from dockwarden.registry.endpoint import Endpoint, Query
from dockwarden.registry.message import Answer, FailedError, TooLongError, parse_url
from dockwarden.registry.pacing import remaining

_MANIFEST_BYTES = 10 * 1024 * 1024
_PAGE_BYTES = 16 * 1024 * 1024
_TAGS_BYTES = 24 * 1024 * 1024  # of memory for all tags of a repository, some 300,000
_TAG_BYTES = 50  # for each besides its letters
_PAGE_TAGS = 1000  # more than most give if they are not asked
_IDLE_PAGES = 100  # without any new tag


def answer(what: str, reference: Reference, endpoint: Endpoint, ends_at: float) -> Reply:
    """Ask. Raises FailedError."""
    match what:
        case "digest":
            return _digest(reference, endpoint, ends_at)
        case "manifest":
            return manifest.contents(_of_digest("manifests", reference, endpoint, ends_at))
        case "config":
            return manifest.platform(_of_digest("blobs", reference, endpoint, ends_at))
        case _:
            return _tags(reference, endpoint, ends_at)


def _digest(reference: Reference, endpoint: Endpoint, ends_at: float) -> Reply:
    name = reference.tag or reference.digest
    query = Query("HEAD", f"/v2/{reference.path}/manifests/{name}", _MANIFEST_BYTES, ends_at)
    head = endpoint.ask(query) if endpoint.answers_head else None
    named = {part.strip() for value in (head.all("Docker-Content-Digest") if head else ()) for part in value.split(",")}
    digest = ",".join(named) if head is not None and head.is_good else ""
    if not manifest.DIGEST.fullmatch(digest) and digest != (reference.digest or None):
        got = _good(endpoint.ask(query._replace(method="GET")))
        manifest.contents(got.body)  # the page of some portal has a hash, too
        digest = manifest.digest_of(got.body, reference.digest.partition(":")[0] or "sha256")
        if head is not None and not head.is_good and remaining(got) is None:  # where pulls count, none is made for long
            endpoint.refuse_head()
    is_right = manifest.DIGEST.fullmatch(digest) if reference.tag else digest == reference.digest
    if not is_right:
        raise FailedError("bad_answer")
    return Reply(digest=digest)


def _of_digest(kind: str, reference: Reference, endpoint: Endpoint, ends_at: float) -> bytes:
    target = f"/v2/{reference.path}/{kind}/{reference.digest}"
    body = _good(endpoint.ask(Query("GET", target, _MANIFEST_BYTES, ends_at))).body
    if manifest.digest_of(body, reference.digest.partition(":")[0]) != reference.digest:
        raise FailedError("bad_answer")
    return body


def _tags(reference: Reference, endpoint: Endpoint, ends_at: float) -> Reply:
    """All pages, or a failure: part of the tags is no answer to which there are."""
    query = Query("GET", f"/v2/{reference.path}/tags/list", _PAGE_BYTES, ends_at, "application/json")
    ways = [query._replace(target=f"{query.target}?n={_PAGE_TAGS}"), query]
    found: dict[str, None] = {}  # each once, in order
    seen: set[str] = set()
    room, idle = _TAGS_BYTES, 0
    while True:
        try:
            page, tags = _page(endpoint, ways, is_first=not seen)
        except TooLongError:
            raise FailedError("too_many_tags") from None
        except FailedError:
            if seen and time.monotonic() >= ends_at:
                raise FailedError("too_many_tags") from None
            raise
        known = len(found)
        found.update(dict.fromkeys(tags))
        idle = 0 if len(found) > known else idle + 1
        room -= sum(_TAG_BYTES + len(tag) for tag in tags)
        if room < 0:
            raise FailedError("too_many_tags")
        ways = _ways_on(query, page, tags, is_new=not idle)
        if not ways or (ways[0].target in seen and not tags) or (ways == [query] and query.target in seen):
            return Reply(tags=tuple(found))  # an end may say that it goes on there
        if ways[0].target in seen or idle > _IDLE_PAGES:
            raise FailedError("bad_answer")  # it goes in circles
        seen.add(ways[0].target)


def _ways_on(query: Query, page: Answer, tags: list[str], *, is_new: bool) -> list[Query]:
    """How the list goes on; not at all after its end."""
    if link := manifest.next_page(page.all("Link")):
        return _next(query, page, link)
    if len(tags) != _PAGE_TAGS:
        return []
    # Some end a page there and do not say that there is more; nor do some of them go on there.
    return [*_next(query, page, f"?n={_PAGE_TAGS}&last={tags[-1]}"), query] if is_new else [query]


def _page(endpoint: Endpoint, ways: list[Query], *, is_first: bool) -> tuple[Answer, list[str]]:
    """One page, by the first way that works. Not everybody likes to be told how many tags a page shall have."""
    for query in ways[:-1]:
        try:
            return _read(endpoint, query)
        except FailedError as error:
            if is_first and error.reason != "refused":
                raise
    return _read(endpoint, ways[-1])


def _read(endpoint: Endpoint, query: Query) -> tuple[Answer, list[str]]:
    page = _good(endpoint.ask(query))
    return page, manifest.tags(page.body)


def _next(query: Query, page: Answer, link: str) -> list[Query]:
    """Where the next page is: at the server that gave the last one, whichever the link names.

    Some registries do not know under which path they are seen from outside, some leave out part of the repository's.
    """
    try:
        target = parse_url(urljoin(str(page.url), link)).target
    except ValueError:
        raise FailedError("bad_answer") from None
    path, _, parameters = target.partition("?")
    starts = [0, *(found.start() for found in re.finditer("/v2/", path) if found.start())]
    targets = [*(target[start:] for start in starts[:3]), f"{page.url.target.partition('?')[0]}?{parameters}"]
    return [query._replace(target=each, server=page.url.server) for each in dict.fromkeys(targets)]


def _good(found: Answer) -> Answer:
    """The same, if it is what was asked for."""
    if not found.is_good:
        raise FailedError(found.failure)
    return found

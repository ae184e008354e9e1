"""One host that answers for a registry: asked with who we are, at a bearable rate, along its redirects.

Input: a method and a path. Output: an answer of status 200 or one that says why not, or a ``FailedError``. Out of
bounds: what the answer means.
"""

import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

from dockwarden.registry.auth import Guard, Send
from dockwarden.registry.credentials import Credentials
from dockwarden.registry.lanes import Lane
from dockwarden.registry.manifest import MEDIA_TYPES
from dockwarden.registry.message import Answer, FailedError, Request, Url, parse_url
from dockwarden.registry.pacing import Throttle, remaining, retry_after
from dockwarden.registry.places import Places, Site
from dockwarden.registry.wire import Wire

ANSWER_SECONDS = 20.0  # for one whole answer, however slowly it trickles in
QUESTION_SECONDS = 90.0  # for all requests that one question takes, with the pauses between them
TAGS_SECONDS = 600.0  # the same for a list of tags, which may have thousands of pages
_REDIRECTS = 9  # as many as the engine follows
_REDIRECT_STATUS = frozenset({301, 302, 303, 307, 308})
_KEEPING_STATUS = frozenset({307, 308})
_REFUSED, _UNAUTHORIZED, _TOO_MANY, _SERVER_ERROR, _UNAVAILABLE = 400, 401, 429, 500, 503
_HIDDEN = frozenset({401, 403, 404})
_REFUSING_STATUS = frozenset({400, 401, 403})
_MOST_STRANGERS = 16
_LIMITED_SECONDS = 20.0  # after a good answer, in which a page that says 503 is a limit, and not the registry's end
_LIMITED_PAUSE_SECONDS = 1.0
_LIMITED_PAUSES = 12  # for one request alone, as some proxies say so of one image
_VAIN_SECONDS = 600.0  # after all of them were in vain, in which the next have half as many: or they say so of many
_NO_HEAD_SECONDS = 3600.0  # then it is tried again: a GET may count as a pull
_NOBODY = Credentials({}, Path(os.devnull, "none"))
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "dockwarden"}


@dataclass(frozen=True)
class Shared:
    """What all endpoints share.

    Attributes:
        observe: told of every request: registry, method (``TOKEN`` for those for tokens), status code or reason.
        observe_quota: told how many pulls a registry says are left.
        wait: waits for seconds, or less and says so if the process is to end.
    """

    wire: Wire
    places: Places
    credentials: Credentials
    observe: Callable[[str, str, str], None]
    observe_quota: Callable[[str, int], None]
    clock: Callable[[], float]
    wait: Callable[[float], object]


class Query(NamedTuple):
    """One request of a question.

    Attributes:
        target: path and query, from ``/v2/`` on unless there is a server.
        limit: how many bytes of body are read.
        ends_at: when the question as a whole has to be answered, by the monotonic clock.
        accept: which media types.
        server: which redirects led to before, instead of where they begin.
    """

    method: str
    target: str
    limit: int
    ends_at: float
    accept: str = ", ".join(MEDIA_TYPES)
    server: Url | None = None


class Endpoint:
    """One host of one registry. Thread-safe."""

    def __init__(self, registry: str, site: Site, lane: Lane, shared: Shared) -> None:
        self._registry = registry
        self._site = site
        self._shared = shared
        self._lane = lane
        self._throttle = Throttle(shared.clock)
        # A quota of pulls that is used up says nothing of requests that are not counted.
        self._throttle_of_pulls = Throttle(shared.clock)
        self._guard = Guard(site.host, shared.credentials, shared.clock, self._next)
        self._strangers: dict[Url, Guard] = {}
        self._place = 0
        self._has_spoken = False
        self._no_head_until = float("-inf")
        self._good_at: dict[str, float] = {}
        self._patience, self._vain_until = _LIMITED_PAUSES, float("-inf")

    @property
    def answers_head(self) -> bool:
        return self._shared.clock() >= self._no_head_until

    def refuse_head(self) -> None:
        """From now on, for a while, it is not: where a HEAD failed, a GET did not."""
        self._no_head_until = self._shared.clock() + _NO_HEAD_SECONDS

    def ask(self, query: Query) -> Answer:
        """The answer, after redirects, tokens and pauses. Raises FailedError."""
        if self._site.stands_for:  # a mirror of several needs to know of which, as engines tell it
            joint = "&" if "?" in query.target else "?"
            query = query._replace(target=f"{query.target}{joint}ns={self._site.stands_for}")
        begin = self._url(query.target)
        url = query.server._replace(target=query.target) if query.server else begin
        is_own = url.server == begin.server
        for number in range(_REDIRECTS + 1):
            # Whoever we are sent to must not be told a password, not even if he sends us back.
            guard = self._guard if is_own else self._stranger(url.server)
            answer = self._admitted(query, url, guard)
            if number and is_own and answer.status in _REFUSING_STATUS:
                # What a redirect leads to may be signed, and then refuses a second login.
                again = self._admitted(query, url, self._stranger(url.server))
                answer = again if again.status < _REFUSED else answer
            if answer.status not in _REDIRECT_STATUS:
                self._lane.contacted()
                if answer.status == _UNAUTHORIZED:
                    raise FailedError(guard.failure(answer.failure))
                return answer._replace(url=url)
            target = _redirected(url, answer)
            is_own = is_own and target.server == url.server
            url = target
        raise FailedError("bad_answer")

    def _url(self, target: str) -> Url:
        return self._site.places[self._place].url._replace(target=self._site.base + target.removeprefix("/v2/"))

    def _next(self) -> Iterator[str]:
        return (self._url(f"/v2/{path}/manifests/").repository for path in self._lane.waiting())

    def _stranger(self, server: Url) -> Guard:
        """Where others are sent to by the registry, we are nobody."""
        if len(self._strangers) > _MOST_STRANGERS:
            self._strangers.clear()
        return self._strangers.setdefault(server, Guard(server.netloc, _NOBODY, self._shared.clock))

    def _admitted(self, query: Query, url: Url, guard: Guard) -> Answer:
        """The answer of one server, after it was shown whom it wants to see."""
        send = self._token_sender(query)
        authorization = guard.authorization(url.repository, send)
        attempts = count()
        was_doubtful = False
        told = self._site.told.headers if self._site.told and guard is self._guard else {}
        while True:
            headers = {"Accept": query.accept, **_HEADERS, **told}
            if authorization:
                headers["Authorization"] = authorization
            answer = self._send(Request(query.method, url, headers, limit=query.limit), query.method, query.ends_at)
            challenge = guard.learn(answer)
            if challenge is None and not authorization and answer.status in _HIDDEN and guard.is_new:
                # Some say whom they want to see at the front door only.
                front = Request("GET", url._replace(target="/v2/"), headers, limit=query.limit)
                with suppress(FailedError):
                    challenge = guard.learn(self._send(front, "GET", query.ends_at))
                    guard.is_new = False
            is_doubtful = guard.is_doubtful(url.repository, authorization)
            if challenge is None and is_doubtful and _REFUSED <= answer.status < _SERVER_ERROR:
                challenge = guard.retry()
            if was_doubtful and answer.is_good:
                guard.doubt()
            if challenge is None:
                return answer
            was_doubtful = is_doubtful
            self._lane.contacted()
            fresh = guard.authorization(url.repository, send, challenge, authorization, next(attempts))
            if not fresh:
                return answer
            authorization = fresh

    def _token_sender(self, query: Query) -> Send:
        def send(request: Request) -> Answer:
            for _ in range(_REDIRECTS + 1):
                is_secret = request.body or "Authorization" in request.headers
                if is_secret and request.url.scheme != "https" and not self._site.trusts_plain:
                    break  # no password in plain text
                answer = self._send(request, "TOKEN", query.ends_at)
                if answer.status not in _REDIRECT_STATUS:
                    return answer
                request = _sent_on(request, answer)
            raise FailedError("bad_answer")

        return send

    def _send(self, request: Request, label: str, ends_at: float) -> Answer:
        """One answer that is no call for patience."""
        throttle = self._throttle_of_pulls if label == "GET" else self._throttle
        patience, pauses = self._pauses(), 0
        while True:
            while seconds := throttle.wait_seconds():
                self._wait(seconds, ends_at)
            asked_at = self._shared.clock()
            answer = self._exchange(request, label, throttle, ends_at)
            if answer.status == _TOO_MANY:
                self._lane.refused()
                throttle.refused(retry_after(answer), asked_at)
            elif pauses < patience and self._is_limited(answer, label):
                pauses += 1
                self._lane.refused()
                self._wait(_LIMITED_PAUSE_SECONDS, ends_at)
            else:
                throttle.answered()
                if pauses and answer.status != _UNAVAILABLE:
                    self._patience = _LIMITED_PAUSES
                elif 0 < pauses == patience == self._pauses():  # once for all that waited together
                    self._patience, self._vain_until = patience // 2, self._shared.clock() + _VAIN_SECONDS
                if answer.is_good and label == request.method:
                    self._good_at[label] = asked_at
                return answer

    def _is_limited(self, answer: Answer, label: str) -> bool:
        """Whether a proxy refuses, as nginx does who asks too often: a registry's own 503 is not a page."""
        is_page = answer.status == _UNAVAILABLE and answer.headers.get("Content-Type", "").startswith("text/html")
        return is_page and self._shared.clock() - self._good_at.get(label, float("-inf")) < _LIMITED_SECONDS

    def _pauses(self) -> int:
        return self._patience if self._shared.clock() < self._vain_until else _LIMITED_PAUSES

    def _wait(self, seconds: float, ends_at: float) -> None:
        if time.monotonic() + seconds > ends_at:
            raise FailedError("rate_limited")
        if self._shared.wait(seconds):
            raise FailedError("unavailable")

    def _exchange(self, request: Request, label: str, throttle: Throttle, ends_at: float) -> Answer:
        refused = None
        while True:
            number = self._place
            try:
                until = min(ends_at, time.monotonic() + ANSWER_SECONDS)
                answer = self._shared.wire.exchange(request, self._context(request.url), until)
            except FailedError as error:
                self._shared.observe(self._registry, label, error.reason)
                if self._try_next_place(number, error.reason):
                    request = self._here(request)
                    continue
                if refused is None:
                    if throttle.failed(error.reason):
                        self._has_spoken = False
                        self._lane.lost()
                    raise
                answer, self._place = refused, 0
            else:
                self._shared.observe(self._registry, label, str(answer.status))
                if answer.status == _REFUSED and self._try_next_place(number, "refused"):
                    refused, request = answer, self._here(request)  # servers of TLS say so to who speaks plain text
                    continue
            self._has_spoken = True
            left = remaining(answer)
            if left is not None:
                self._shared.observe_quota(self._registry, left)
            return answer

    def _here(self, request: Request) -> Request:
        return request._replace(url=self._site.places[self._place].url._replace(target=request.url.target))

    def _try_next_place(self, number: int, reason: str) -> bool:
        """An insecure registry may speak TLS or not; what spoke once is kept to."""
        is_last = number + 1 >= len(self._site.places)
        is_plain = self._site.places[number].url.scheme == "http"
        signs = ("refused",) if is_plain and not is_last else ("tls", "unreachable", "bad_answer")
        if self._has_spoken or reason not in signs:
            return False
        self._place = 0 if is_last else number + 1
        return not is_last

    def _context(self, url: Url) -> ssl.SSLContext | None:
        """As for the registry itself, also where it sends us for tokens or by redirects."""
        if url.scheme != "https":
            return None
        is_verified = all(place.is_verified for place in self._site.places)
        return self._shared.places.context(self._site, is_verified=is_verified)


def _sent_on(request: Request, answer: Answer) -> Request:
    """The same request, as it is sent on. What is secret is for its own server only."""
    url = _redirected(request.url, answer)
    headers = dict(request.headers)
    if url.server != request.url.server:
        headers.pop("Authorization", None)
    if request.method == "GET" or answer.status not in _KEEPING_STATUS:
        return request._replace(method="GET", url=url, headers=headers, body=b"")
    if url.server != request.url.server:
        raise FailedError("bad_answer")
    return request._replace(url=url)


def _redirected(url: Url, answer: Answer) -> Url:
    locations = answer.all("Location")
    try:
        target = parse_url(urljoin(str(url), locations[0]))
    except (ValueError, IndexError):
        raise FailedError("bad_answer") from None
    if target.scheme not in ("https", url.scheme):
        raise FailedError("bad_answer")  # never from TLS to plain text
    return target

"""Who we are to one registry: challenges understood, tokens fetched, kept and renewed.

Input: challenges, a login from elsewhere, a way to send requests. Output: values of the ``Authorization`` header. Out
of bounds: where logins come from, and sending the header: it is for the registry's own host only.
"""

import base64
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlencode

from dockwarden.registry.credentials import Credentials, Login
from dockwarden.registry.message import NOT_FOUND, Answer, FailedError, Request, json_object, parse_url

_TOKEN_BYTES = 1024 * 1024
_MOST_TOKENS = 2_000
_MOST_TOGETHER = 32
_MOST_TOGETHER_CHARACTERS = 2_000  # servers bound the length of a request's line, and of the token in its header
_DEFAULT_SECONDS = 60.0  # where a token does not say how long it lives
_LONGEST_SECONDS = 3600.0
_USED_SHARE = 0.9  # of its life; the rest is for the way and for clocks
_CLIENT = "dockwarden"
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_NO_POST = (_UNAUTHORIZED, NOT_FOUND, 405)
_UNWELCOME = ("unauthorized", "forbidden", "refused")
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_SCOPE = re.compile(r"[^:]+:.+:[^:]+")
Send = Callable[[Request], Answer]
_OF_TAGS = "metadata_read"  # what lists of tags take at Azure's, whose tokens to pull do not open them
# Nothing optional comes first, or a hostile header of nothing but spaces would be tried from each of them.
_PART = re.compile(
    r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)                    # a scheme, or the name of a parameter
        (?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]*)))?  # its value, which may have commas inside quotes""",
    re.VERBOSE,
)


class Challenge(NamedTuple):
    """What a registry wants: the scheme in lower case; all else as it was written."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def challenges(headers: Iterable[str]) -> list[Challenge]:
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        for match in _PART.finditer(header):
            name, quoted, bare = match[1], match[2], match[3]
            if quoted is None and bare is None:
                found.append((name.lower(), {}))
            elif found:
                value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
                found[-1][1].setdefault(name.lower(), value)
    return [Challenge(scheme, of.get("realm", ""), of.get("service", ""), of.get("scope", "")) for scheme, of in found]


class _Slot:
    """The token for one repository; one thread fetches it, the others wait.

    Attributes:
        scope: what a token was asked for last.
        scopes: what could have been, by the last challenge.
        is_shared: the token is for other repositories as well.
        is_alone: no more such tokens, because one did not open it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.header = self.scope = ""
        self.scopes: list[str] = []
        self.fresh_until = 0.0
        self.is_shared = self.is_alone = False

    def may_join(self, scope: str, now: float) -> bool:
        """Whether it lacks a token, and one for others as well would do."""
        return not self.is_alone and self.scope in ("", scope) and not (self.header and now < self.fresh_until)

    def take(self, token: str, until: float, *, is_shared: bool) -> None:
        self.header, self.fresh_until, self.is_shared = f"Bearer {token}", until, is_shared


@dataclass(eq=False, repr=False)
class Guard:
    """Access to one registry, as one user. Thread-safe. ``waiting``: the repositories that will be asked about next."""

    registry: str
    credentials: Credentials
    clock: Callable[[], float]
    waiting: Callable[[], Iterable[str]] = tuple

    def __post_init__(self) -> None:
        self._together = _MOST_TOGETHER
        self._lock = threading.Lock()
        self._known: Challenge | None = None
        self.is_new = True
        self._slots: OrderedDict[str, _Slot] = OrderedDict()

    def learn(self, answer: Answer) -> Challenge | None:
        """Remember what a refusal asks for, so that the next request need not be refused first.

        Some registries ask for a token with 403. Amazon's says so of a password that is too old.
        """
        if answer.status not in (_UNAUTHORIZED, _FORBIDDEN):
            return None
        found = challenges(answer.all("WWW-Authenticate"))
        ours = [c for c in found if c.scheme == "bearer" and c.realm]
        if answer.status == _UNAUTHORIZED:
            ours = ours or [c for c in found if c.scheme == "basic"]
        if ours:
            self._known = ours[0]
        elif self._known and self._known.scheme == "basic":
            return self._known
        return ours[0] if ours else None

    def authorization(
        self, path: str, send: Send, challenge: Challenge | None = None, unlike: str = "", attempt: int = 0
    ) -> str:
        """The header's value for a repository; empty where none is known to be wanted, or none helps.

        ``send`` asks for tokens. A ``challenge`` was just made; else what is remembered counts. ``unlike``: the value
        that was refused. ``attempt``: how many challenges to the same request were answered before, in vain.
        """
        wanted = challenge or self._known
        if wanted is None:
            return ""
        if wanted.scheme == "basic":
            return "" if attempt else self._basic(unlike)
        slot = self._slot(path)
        with slot.lock:
            if not slot.header or slot.header == unlike or self.clock() >= slot.fresh_until:
                slot.is_alone |= slot.is_shared and slot.header == unlike != ""
                slot.header = ""
                if not unlike and self._share(path, slot, challenge or wanted._replace(scope=""), send):
                    pass
                elif challenge is None:
                    is_guess = not slot.scope or len(slot.scopes) > 1
                    self._renew(slot, wanted, [slot.scope or _scopes(path)[0]], send, is_guess=is_guess)
                else:
                    scopes = _scopes(path, challenge.scope)
                    first = scopes.index(slot.scope) + (attempt > 0) if slot.scopes == scopes else 0
                    slot.scopes = scopes if first < len(scopes) else []
                    self._renew(slot, challenge, scopes[first:], send)
            return slot.header

    def is_doubtful(self, path: str, header: str) -> bool:
        """Whether what this header did not open may be open to a token for this repository alone."""
        slot = self._slots.get(path)
        return header.startswith("Bearer ") and (slot is None or slot.is_shared or slot.header != header)

    def retry(self) -> Challenge | None:
        return self._known and self._known._replace(scope="")

    def doubt(self) -> None:
        """A token for one repository was good for what one for several was not."""
        self._together //= 2

    def failure(self, reason: str) -> str:
        """The same reason, unless it is that we could not find out the credentials."""
        is_ours = reason in ("unauthorized", "forbidden") and self.credentials.is_troubled(self.registry)
        return "credentials" if is_ours else reason

    def _renew(
        self, slot: _Slot, challenge: Challenge, scopes: list[str], send: Send, *, is_guess: bool = False
    ) -> None:
        """Have a token for the first scope that one is given for; instead of a guess the registry will name one."""
        asked_at = self.clock()
        for number, slot.scope in enumerate(scopes, 1):
            try:
                token, seconds = self._fetch(challenge, slot.scope, send)
            except FailedError as error:
                if error.reason not in _UNWELCOME or not (is_guess or number < len(scopes)):
                    raise
            else:
                slot.take(token, asked_at + seconds * _USED_SHARE, is_shared=False)
                break

    def _share(self, path: str, slot: _Slot, challenge: Challenge, send: Send) -> bool:
        """One token for this repository and those asked about next, which wait for it; False if that cannot be."""
        asked_at, scope = self.clock(), _scopes(path)[0]
        if not path or _scopes(path, challenge.scope) != [scope] or not slot.may_join(scope, asked_at):
            return False
        with ExitStack() as held:
            slots = {scope: slot}
            self._gather(slots, held, asked_at)
            if len(slots) == 1:
                return False
            try:
                token, seconds = self._fetch(challenge, " ".join(slots), send)
            except FailedError as error:
                if error.reason == "unavailable":
                    return False  # it may fail at several only; whether at all, one tells
                if error.reason not in (*_UNWELCOME, "bad_answer"):
                    raise
                self.doubt()
                for each in slots.values():  # one of them may be nobody's, and is found out so
                    each.is_alone = True
                return False
            for each_scope, each in slots.items():
                each.scope = each_scope
                each.take(token, asked_at + seconds * _USED_SHARE, is_shared=True)
            return True

    def _gather(self, slots: dict[str, _Slot], held: ExitStack, now: float) -> None:
        """Add those by their scopes that lack a token and are asked about next; their locks are held."""
        for path in self.waiting():
            if len(slots) >= self._together or len(" ".join(slots)) > _MOST_TOGETHER_CHARACTERS:
                break
            scope, slot = _scopes(path)[0], self._slot(path)
            if scope not in slots and slot.lock.acquire(blocking=False):
                if slot.may_join(scope, now):
                    held.callback(slot.lock.release)
                    slots[scope] = slot
                else:
                    slot.lock.release()

    def _slot(self, path: str) -> _Slot:
        with self._lock:
            slot = self._slots.get(path)
            if slot is None:
                slot = self._slots[path] = _Slot()
            self._slots.move_to_end(path)
            if len(self._slots) > _MOST_TOKENS:
                self._slots.popitem(last=False)
            return slot

    def _basic(self, unlike: str) -> str:
        login = self.credentials.login(self.registry)
        header = _basic_header(login)
        if login and header == unlike:
            return _basic_header(self.credentials.renewed(self.registry, login))
        return header

    def _fetch(self, challenge: Challenge, scope: str, send: Send) -> tuple[str, float]:
        login = self.credentials.login(self.registry)
        if login and login.token:
            return login.token, _DEFAULT_SECONDS
        answer = _asked(challenge, scope, login, send)
        if answer.status in (_UNAUTHORIZED, _FORBIDDEN) and login:
            # A helper's answer does not live for ever, and the one we keep may be too old.
            login = self.credentials.renewed(self.registry, login)
            answer = _asked(challenge, scope, login, send) if login else answer
        if not answer.is_good:  # a server of tokens knows nothing of manifests
            raise FailedError("refused" if answer.status == NOT_FOUND else self.failure(answer.failure))
        return _token(answer.body)


def _scopes(path: str, wanted: str = "") -> list[str]:
    """What tokens may be asked for, likeliest first: some registries want what is not named after the repository.

    What others want is a placeholder, which their tokens are not given for.
    """
    own = f"repository:{path}:"
    others = [s for s in wanted.split() if _SCOPE.fullmatch(s) and not s.startswith(own)]
    mine = [f"{own}pull"]
    if f"{own}{_OF_TAGS}" in wanted.split():
        mine.insert(0, f"{own}pull,{_OF_TAGS}")
    if not others or not path:
        return mine if path else [" ".join(others)]
    return [" ".join([*others, mine[0]]), *mine, " ".join(others)]


def _asked(challenge: Challenge, scope: str, login: Login | None, send: Send) -> Answer:
    answer = send(_token_request(challenge, scope, login))
    if answer.status in _NO_POST and login is not None and login.identity:  # some know the older way only
        return send(_token_request(challenge, scope, Login(password=login.identity)))
    return answer


def _basic_header(login: Login | None) -> str:
    if login is None or login.identity or login.token:
        return ""
    both = f"{login.username}:{login.password}".encode()
    return f"Basic {base64.b64encode(both).decode()}"


def _token_request(challenge: Challenge, scope: str, login: Login | None) -> Request:
    realm = parse_url(challenge.realm)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": _CLIENT}
    fields = [("service", challenge.service)] if challenge.service else []
    if login is not None and login.identity:
        fields += [("grant_type", "refresh_token"), ("refresh_token", login.identity), ("client_id", _CLIENT)]
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode([*fields, ("scope", scope)]).encode()
        return Request("POST", realm, headers, body, limit=_TOKEN_BYTES)
    if header := _basic_header(login):
        headers["Authorization"] = header
    query = urlencode(fields + [("scope", part) for part in scope.split()])
    joint = "&" if "?" in realm.target else "?"
    return Request("GET", realm._replace(target=f"{realm.target}{joint}{query}"), headers, limit=_TOKEN_BYTES)


def _token(body: bytes) -> tuple[str, float]:
    """The token of an answer, of two the one that the engine takes, and how many seconds it lives."""
    document = json_object(body)
    token = document.get("access_token") or document.get("token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise FailedError("bad_answer")
    seconds = document.get("expires_in")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        seconds = _DEFAULT_SECONDS
    return token, float(min(seconds, _LONGEST_SECONDS))  # in this order: a number may be too long for a float

"""Requests and answers, and the one way in which a question fails.

Input: URLs, headers and bodies, also such as others wrote. Output: values. Out of bounds: sending and receiving.
"""

import ipaddress
import json
import re
import string
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from urllib3 import HTTPHeaderDict

GOOD = frozenset({200, 201, 202, 203})  # the last where a proxy has touched it
NOT_FOUND = 404
_REFUSED, _SERVER_ERROR = 400, 500
_REASONS = {401: "unauthorized", 403: "forbidden", 429: "rate_limited"}
_ABSENT = frozenset({"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND", "TAG_EXPIRED"})
_PORTS = {"http": 80, "https": 443}
_NO_URL = re.compile(r"[\x00-\x1f\x7f]|^[^/]*//[^/?#]*[^!-~]")  # the latter in a host
_REPOSITORY = re.compile(r"/v2/([^?]+)/(?:manifests|tags|blobs)/")  # its name may have such parts, too


class FailedError(Exception):
    """A question has a reason instead of an answer. Nothing of what was sent or received is in its text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooLongError(FailedError):
    """A good answer is longer than anybody may make it."""


class Url(NamedTuple):
    scheme: str
    host: str
    port: int
    target: str = "/"

    @property
    def server(self) -> "Url":
        """The same without path and query."""
        return Url(self.scheme, self.host, self.port)

    @property
    def repository(self) -> str:
        found = _REPOSITORY.search(self.target)
        return found[1] if found else ""

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this one, as it is written."""
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"

    @property
    def netloc(self) -> str:
        whole = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return whole.removesuffix(f":{_PORTS[self.scheme]}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


def parse_url(text: str) -> Url:
    """A URL from outside, in which some leave spaces and letters as they are. Raises FailedError."""
    if _NO_URL.search(text):  # before urlsplit, which drops some
        raise FailedError("bad_answer")
    try:
        parts = urlsplit(quote(text, string.punctuation, "latin-1"))  # as headers are read
        port = parts.port
    except ValueError:
        raise FailedError("bad_answer") from None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise FailedError("bad_answer")
    query = f"?{parts.query}" if parts.query else ""
    return Url(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], (parts.path or "/") + query)


class Request(NamedTuple):
    """One request. ``limit``: how many bytes of a good answer's body are read; more is a bad answer."""

    method: str
    url: Url
    headers: Mapping[str, str]
    body: bytes = b""
    limit: int = 0


class Answer(NamedTuple):
    status: int
    headers: HTTPHeaderDict
    body: bytes = b""
    url: Url = Url("", "", 0)

    @property
    def is_good(self) -> bool:
        return self.status in GOOD

    @property
    def failure(self) -> str:
        """The word for an answer that is not."""
        if self.status == NOT_FOUND:
            return "not_found" if self._says_absent() else "bad_answer"
        if self.status < _REFUSED:
            return "bad_answer"
        return _REASONS.get(self.status, "unavailable" if self.status >= _SERVER_ERROR else "refused")

    def _says_absent(self) -> bool:
        """Whether a registry says so, in the form that the protocol has: anybody can answer 404."""
        with suppress(FailedError):
            errors = json_object(self.body).get("errors")
            codes = [e.get("code") for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
            return any(isinstance(code, str) and code in _ABSENT for code in codes)
        return False

    def all(self, name: str) -> list[str]:
        return [value.strip() for value in self.headers.getlist(name)]


def json_object(body: bytes) -> dict[str, object]:
    """The body of an answer, its keys in lower case, as programs in Go read them. Raises FailedError, not with it.

    They do not look at what follows, nor mind what is no UTF-8 in a text.
    """
    try:
        document, _ = json.JSONDecoder().raw_decode(body.decode("utf-8-sig", "replace").lstrip())
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise FailedError("bad_answer")
    return {key.lower(): value for key, value in document.items()}

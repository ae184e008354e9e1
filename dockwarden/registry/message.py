"""Requests and answers, and the one way in which a question fails.

Input: URLs, headers and bodies, also such as others wrote. Output: bytes to send, values that were received. Out of
bounds: sending and receiving.
"""

import re
from collections.abc import Mapping
from http.client import HTTPMessage
from typing import NamedTuple
from urllib.parse import urlsplit

OK = 200
_SERVER_ERROR = 500
_REASONS = {401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "rate_limited"}
_PORTS = {"http": 80, "https": 443}
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


class FailedError(Exception):
    """A question has a reason instead of an answer. Nothing of what was sent or received is in its text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Url(NamedTuple):
    """Where a request goes."""

    scheme: str
    host: str
    port: int
    target: str = "/"

    @property
    def server(self) -> "Url":
        """The same without path and query."""
        return Url(self.scheme, self.host, self.port)

    @property
    def netloc(self) -> str:
        """Host and port as they are written."""
        return self.host_and_port.removesuffix(f":{_PORTS[self.scheme]}")

    @property
    def host_and_port(self) -> str:
        """The same, also with the usual port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


def parse_url(text: str) -> Url:
    """A URL from outside. Raises FailedError."""
    if not _VISIBLE.fullmatch(text):  # before urlsplit, which drops some of the others
        raise FailedError("bad_answer")
    try:
        parts = urlsplit(text)
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

    def encoded(self) -> bytes:
        """As it is sent."""
        lines = [f"{self.method} {self.url.target} HTTP/1.1", f"Host: {self.url.netloc}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        if not _PRINTABLE.fullmatch("".join(lines)):  # no header may smuggle in another
            raise FailedError("bad_answer")
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + self.body


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes = b""

    @property
    def is_good(self) -> bool:
        """Whether it is what was asked for."""
        return self.status == OK

    @property
    def failure(self) -> str:
        """The word for an answer that is not."""
        return _REASONS.get(self.status, "unavailable" if self.status >= _SERVER_ERROR else "bad_answer")

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [str(value) for value in self.headers.get_all(name) or ()]

"""An engine with a known number of images, and its API without anything in between.

In: a kind of engine. Out: images of known names, raw requests over one connection. Out of bounds: dockwarden.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.lab import images
from tests.lab.engine import API_VERSION
from tests.lab.machine import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.engine import LabEngine


class RawEngine(http.client.HTTPConnection):
    """The engine's API over one keep-alive connection."""

    def __init__(self, path: str, timeout: float = 120) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, *also_fine: int, body: object = None) -> bytes:
        """One request; an answer that is neither a success nor `also_fine` is a LabError."""
        content = None if body is None else json.dumps(body)
        self.request(method, f"/v{API_VERSION}{path}", content, {"Content-Type": "application/json"} if content else {})
        answer = self.getresponse()
        text = answer.read()
        if not 200 <= answer.status < 300 and answer.status not in also_fine:
            raise LabError(f"{method} {path}: {answer.status} {text[:200]!r}")
        return text

    def create(self, image: str, name: str) -> None:
        self.ask("POST", f"/containers/create?name={name}", body={"Image": image, "Cmd": ["x"]})

    def container(self, image: str, name: str) -> None:
        """Make a container and remove it."""
        self.create(image, name)
        self.ask("DELETE", f"/containers/{name}")

    def tag(self, image: str, repository: str, tag: str) -> None:
        self.ask("POST", f"/images/{image}/tag?repo={repository}&tag={tag}")

    def untag(self, name: str) -> None:
        self.ask("DELETE", f"/images/{name}", 404)

    def event_time_ns(self, since_ns: int, name: str) -> int:
        """The engine's time of the `tag` event of a name (in its full form), out of what it remembers."""
        events = self.events(since_ns, "image", "tag")
        times = [e["timeNano"] for e in events if name.endswith(e["Actor"]["Attributes"]["name"])]
        if not times:
            raise LabError(f"the engine remembers no tag event of {name}")
        return int(times[-1])

    def events(self, since_ns: int, kind: str, *actions: str) -> list[dict[str, Any]]:
        """What the engine remembers of these actions."""
        filters = quote(json.dumps({"event": actions, "type": [kind]}))
        window = f"since={_timestamp(since_ns)}&until={_timestamp(time.time_ns())}"
        lines = self.ask("GET", f"/events?{window}&filters={filters}").splitlines()
        return [json.loads(line) for line in lines if line.strip()]


def _timestamp(ns: int) -> str:
    return f"{ns // 10**9}.{ns % 10**9:09d}"


@dataclass
class Host:
    """An engine that only gains images."""

    engine: LabEngine
    images: int = 0
    loading_seconds: float = 0.0

    @property
    def store(self) -> str:
        return self.engine.kind

    def grow(self, to: int) -> None:
        """Load as many images as are missing, in one archive."""
        if to > self.images:
            began = time.monotonic()
            self.engine.load_archive(images.many(to - self.images, f"bench{self.images}"))
            self.loading_seconds += time.monotonic() - began
            os.sync()  # or the engine waits for the disk in what is measured next
            self.images = to

    def raw(self) -> RawEngine:
        return RawEngine(str(self.engine.socket))

    def names(self, most: int) -> Sequence[str]:
        """Names of some images, all of the first archive."""
        return [f"bench0/app{i % 200}:v{i}" for i in range(min(most, 100, self.images))]

    def described(self) -> str:
        """Version and store of the engine, as it says itself."""
        info = json.loads(self.raw().ask("GET", "/info"))
        return f"Docker Engine {info['ServerVersion']}, {info['Driver']}, {self.store} store"

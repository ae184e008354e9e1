"""Registries as they are found elsewhere: quirks in front of Debian's docker-registry.

In: a real registry, and the name of a world. Out: the host that images are named after; what it and a second host are
asked. Out of bounds: what is right: the engines' own pull shows that.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import urllib3

from tests.unit.misbehaving import Misbehaving, http, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.registry import LabRegistry
    from tests.unit.misbehaving import Asked

_PASSED = ("Content-Type", "Docker-Content-Digest", "Docker-Distribution-Api-Version", "Link", "Etag")
HTML = b"<html><body><h1>404 Not Found</h1></body></html>"


def head_of(answer: bytes) -> bytes:
    """What a HEAD is answered where a GET is answered so."""
    return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@dataclass
class Scene:
    """Two hosts and a registry behind them; ``behaves`` says what the first and the second do."""

    upstream: LabRegistry
    first: Callable[[Scene, Asked], bytes]
    second: Callable[[Scene, Asked], bytes]
    hosts: list[Misbehaving] = field(default_factory=list)
    tokens: dict[str, set[str]] = field(default_factory=dict)

    def passed(self, asked: Asked, *more: str) -> bytes:
        """What the registry behind says."""
        method, path = asked.split()
        accept = ", ".join(
            line.partition(":")[2].strip() for line in asked.head.splitlines() if line.lower().startswith("accept:")
        )
        found = urllib3.request(method, self.upstream.url + path, headers={"Accept": accept}, retries=False)
        headers = [f"{name}: {found.headers[name]}" for name in _PASSED if name in found.headers]
        if method == "HEAD":
            lines = [f"HTTP/1.1 {found.status} X", f"Content-Length: {found.headers.get('Content-Length', 0)}"]
            return "\r\n".join([*lines, *headers, *more]).encode() + b"\r\n\r\n"
        return http(found.status, found.data, *headers, *more)

    def token(self, asked: Asked) -> bytes:
        """A token for the scopes that it is asked for."""
        fields = urllib.parse.parse_qs(asked.body.decode() if asked.body else asked.partition("?")[2])
        name = f"t0ken-{len(self.tokens)}"
        self.tokens[name] = {scope for value in fields.get("scope", []) for scope in value.split()}
        return json_answer({"token": name, "expires_in": 300})

    def admits(self, asked: Asked) -> bool:
        """Whether it comes with a token for what it is about; of ``/v2/`` itself any will do."""
        scopes = self.tokens.get(asked.header("Authorization").removeprefix("Bearer "))
        repository = asked.partition("/v2/")[2].rpartition("/")[0].rpartition("/")[0]
        return scopes is not None and (not repository or f"repository:{repository}:pull" in scopes)

    def challenge(self, asked: Asked, at: int, *, scope: str = "", status: int = 401, path: str = "/token") -> bytes:
        """Wants a token of one of the hosts."""
        repository = asked.partition("/v2/")[2].rpartition("/")[0].rpartition("/")[0]
        scope = scope or (f"repository:{repository}:pull" if repository else "")
        value = f'Bearer realm="http://{self.hosts[at].host}{path}",service="lab"' + (
            f',scope="{scope}"' if scope else ""
        )
        body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}).encode()
        return http(status, body, f"Www-Authenticate: {value}", "Content-Type: application/json")


World = tuple[
    "Callable[[Scene, Asked], bytes]",  # the first host
    "Callable[[Scene, Asked], bytes]",  # the second
    frozenset[str],  # whose engines pull from it
]
BOTH, GRAPH, CONTAINERD, NOBODY = (
    frozenset(kinds) for kinds in (("graph", "containerd"), ("graph",), ("containerd",), ())
)


def passed_on(scene: Scene, asked: Asked) -> bytes:
    return scene.passed(asked)


def _nobody(_scene: Scene, _asked: Asked) -> bytes:
    return http(500)


def _guarded(at: int, **how: object) -> Callable[[Scene, Asked], bytes]:
    """Wants a token, which the same host gives."""

    def answer(scene: Scene, asked: Asked) -> bytes:
        if "/token" in asked:
            return scene.token(asked)
        return scene.passed(asked) if scene.admits(asked) else scene.challenge(asked, at, **how)  # type: ignore[arg-type]

    return answer


def _sends_on(scene: Scene, asked: Asked) -> bytes:
    return http(307, b"", f"Location: http://{scene.hosts[1].host}{asked.split()[1]}")


def _challenges_then_sends_on(scene: Scene, asked: Asked) -> bytes:
    return _sends_on(scene, asked) if asked.header("Authorization") else scene.challenge(asked, 1)


def _token_elsewhere(at: int) -> Callable[[Scene, Asked], bytes]:
    """The server of tokens has moved, to a path of this host or to the other one."""
    plain = _guarded(0, path="/old")

    def answer(scene: Scene, asked: Asked) -> bytes:
        if "/old" in asked:
            target = f"/token?{asked.partition('?')[2]}"
            return http(302, b"", f"Location: http://{scene.hosts[at].host}{target}")
        return plain(scene, asked)

    return answer


def _front_door(status: int) -> Callable[[Scene, Asked], bytes]:
    """Says at ``/v2/`` only whom it wants to see."""
    body = b'{"errors": [{"code": "NAME_UNKNOWN"}]}'

    def answer(scene: Scene, asked: Asked) -> bytes:
        if "/token" in asked:
            return scene.token(asked)
        if scene.admits(asked):
            return scene.passed(asked)
        if asked.endswith("/v2/"):
            return scene.challenge(asked, 0)
        return head_of(http(status, body)) if asked.startswith("HEAD") else http(status, body)

    return answer


def _forbids(scene: Scene, asked: Asked) -> bytes:
    if "/token" in asked:
        return scene.token(asked)
    if scene.admits(asked):
        return scene.passed(asked)
    return scene.challenge(asked, 0, status=401 if asked.endswith("/v2/") else 403)


def _no_head(status: int) -> Callable[[Scene, Asked], bytes]:
    def answer(scene: Scene, asked: Asked) -> bytes:
        return head_of(http(status)) if asked.startswith("HEAD") else scene.passed(asked)

    return answer


def _digest_twice(scene: Scene, asked: Asked) -> bytes:
    answer = scene.passed(asked)
    lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    named = [line for line in lines if line.startswith(b"Docker-Content-Digest")]
    return answer.replace(b"\r\n\r\n", b"\r\n" + b"\r\n".join(named) + b"\r\n\r\n", 1) if named else answer


def _digest_left_out(scene: Scene, asked: Asked) -> bytes:
    answer = scene.passed(asked)
    head, gap, body = answer.partition(b"\r\n\r\n")
    kept = [line for line in head.split(b"\r\n") if not line.startswith(b"Docker-Content-Digest")]
    return b"\r\n".join(kept) + gap + body


def _several_challenges(scene: Scene, asked: Asked) -> bytes:
    """Basic comes first, in a header of its own or in the same."""
    if "/token" in asked:
        return scene.token(asked)
    if scene.admits(asked):
        return scene.passed(asked)
    return scene.challenge(asked, 0).replace(b'Bearer realm="', b'Basic realm="lab", Bearer realm="')


def _access_token(scene: Scene, asked: Asked) -> bytes:
    if "/token" in asked:
        answer = json.loads(scene.token(asked).partition(b"\r\n\r\n")[2])
        return json_answer({"access_token": answer["token"], "expires_in": 1})
    return scene.passed(asked) if scene.admits(asked) else scene.challenge(asked, 0)


def _packed(scene: Scene, asked: Asked) -> bytes:
    """By a proxy that packs whatever passes, and says that it has touched it."""
    head, gap, body = (scene.token(asked) if "/token" in asked else scene.passed(asked)).partition(b"\r\n\r\n")
    if "/blobs/" in asked:
        return head + gap + body
    if "/token" not in asked and not scene.admits(asked):
        return scene.challenge(asked, 0)
    kept = [line.decode() for line in head.split(b"\r\n")[1:] if not line.startswith(b"Content-Length")]
    packed = http(203, gzip.compress(body), *kept, "Content-Encoding: gzip")
    return head_of(packed) if asked.startswith("HEAD") else packed


def _many_hops(scene: Scene, asked: Asked) -> bytes:
    path, _, hops = asked.split()[1].partition("?hop=")
    if "/v2/" not in path or int(hops or 0) == 5:
        return scene.passed(asked.to(path))
    return http(302, b"", f"Location: {path}?hop={int(hops or 0) + 1}")


PULLED: dict[str, World] = {
    "plain": (passed_on, _nobody, BOTH),
    "tokens": (_guarded(0), _nobody, BOTH),
    "everything is redirected to a host with tokens of its own": (_sends_on, _guarded(1), BOTH),
    "a challenge is passed on, then redirected": (_challenges_then_sends_on, _guarded(1), CONTAINERD),
    "the server of tokens has moved": (_token_elsewhere(0), _nobody, BOTH),
    "the server of tokens has moved to another host": (_token_elsewhere(1), _guarded(1), BOTH),
    "a placeholder for a scope": (_guarded(0, scope="repository:user/image:pull"), _nobody, BOTH),
    "any scope": (_guarded(0, scope="*"), _nobody, BOTH),
    "403 with a challenge": (_forbids, _nobody, GRAPH),
    "403 with a challenge, also at the front door": (_guarded(0, status=403), _nobody, NOBODY),
    "a challenge at the front door only": (_front_door(401), _nobody, GRAPH),
    "a challenge at the front door only, else 403": (_front_door(403), _nobody, GRAPH),
    "a challenge at the front door only, else 404": (_front_door(404), _nobody, GRAPH),
    "HEAD 400": (_no_head(400), _nobody, GRAPH),
    "HEAD 403": (_no_head(403), _nobody, GRAPH),
    "HEAD 404": (_no_head(404), _nobody, GRAPH),
    "HEAD 405": (_no_head(405), _nobody, BOTH),
    "HEAD 500": (_no_head(500), _nobody, GRAPH),
    "HEAD 501": (_no_head(501), _nobody, GRAPH),
    "the digest twice": (_digest_twice, _nobody, BOTH),
    "no digest": (_digest_left_out, _nobody, BOTH),
    "several challenges in one header": (_several_challenges, _nobody, NOBODY),
    "access_token, for a second": (_access_token, _nobody, BOTH),
    "packed on the way": (_packed, _nobody, GRAPH),
    "six redirects": (_many_hops, _nobody, BOTH),
}
"""What engines pull from; it is one tag, ``worlds/app:1``."""


@contextlib.contextmanager
def world(upstream: LabRegistry, name: str) -> Iterator[Scene]:
    """The hosts of a world, listening."""
    first, second, _ = PULLED[name]
    scene = Scene(upstream, first, second)
    with (
        Misbehaving(lambda asked: [scene.first(scene, asked)]) as one,
        Misbehaving(lambda asked: [scene.second(scene, asked)]) as two,
    ):
        scene.hosts = [one, two]
        yield scene

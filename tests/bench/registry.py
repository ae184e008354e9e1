"""What asking registries costs: requests, connections, time, CPU and memory, beside a bare urllib3 loop.

In: nothing; it starts a fake registry, and each client in a process of its own. Out: rows. Out of bounds: real
registries, the network; latency is a timer of the fake, which also makes new connections wait.

Ours is asked once per container, of which three in ten share a reference; the bare loop is given the unique references,
remembers nothing, and gives up at the first surprise; it has one token for many repositories, too. Each checks twice:
at first nothing is known, later only whom the registry wants to see, because tokens have expired and connections have
been closed meanwhile.

    python -m tests.bench.registry [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import math
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from tests.bench.report import Row, table
from tests.lab.loopback import free_port, make_certificate
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Numbers = dict[str, Any]

NAME = "registry"
_COMMAND = (sys.executable, "-m", "tests.bench.registry")
_UNIQUE = 0.7
_TOGETHER = 32  # repositories of a token
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)


@dataclass(frozen=True)
class Setting:
    """One cell of the table."""

    containers: int
    latency_ms: int
    is_real: bool  # TLS and a token per repository
    concurrency: int

    def __str__(self) -> str:
        kind = "TLS+tokens" if self.is_real else "plain"
        return f"{self.containers:,} containers, {kind}, {self.latency_ms} ms, {self.concurrency} at once"


def references(containers: int) -> list[tuple[str, str]]:
    """Unique ones; every tenth is a second tag of the repository before it."""
    return [
        (f"lib/r{i - 1}", "stable") if i % 10 == 9 else (f"lib/r{i}", "latest")
        for i in range(round(containers * _UNIQUE))
    ]


# -- the table -----------------------------------------------------------------------------------------


def measure(*, quick: bool) -> Iterator[Row]:
    """All rows."""
    # Latency makes a check long and its time steady.
    sizes, pairs = ((50, 200), {20: 2}) if quick else ((50, 200, 1_000), {0: 7, 20: 3, 80: 2})
    row = partial(Row, measurement=NAME)
    worst: dict[str, float] = dict.fromkeys(_MOST, 0.0)
    with fake_registry() as fake:
        for size, latency, is_real, concurrency in itertools.product(sizes, pairs, (False, True), (3, 16)):
            yield from _compared(fake, Setting(size, latency, is_real, concurrency), pairs[latency], worst)
        for figure, most in _MOST.items():
            yield row(figure=figure, value=worst[figure], unit="", at_most=most, note="worst of all")
        setting = Setting(1_000, 0, is_real=True, concurrency=3)
        rounds = 5 if quick else 20
        found = fake.run(_memory_of_ours.__name__, setting, rounds=rounds)
        yield row(figure="RSS after two rounds of 1,000", value=found["before"], unit="MB")
        grown = found["after"] - found["before"]
        yield row(figure=f"growth in {rounds} rounds more", value=grown, unit="MB", at_most=2)


_MOST = {
    "HEADs beyond one per reference and check": 0,
    "requests of each over the fewest": 1.1,
    "HEADs refused for want of a token, first check": 1,
    "other requests": 0,
    "connections at once": 16,
}


def _compared(fake: Fake, setting: Setting, pairs: int, worst: dict[str, float]) -> Iterator[Row]:
    """Both clients in turn, and the median of the ratios of those that ran side by side."""
    ours: list[Numbers] = []
    bare: list[Numbers] = []
    for number in range(pairs):
        order = ((_ours, ours), (_bare, bare))
        for client, found in order if number % 2 else order[::-1]:
            found.append(fake.run(client.__name__, setting))
    unique = len(references(setting.containers))
    for run in ours:
        for figure, value in _counts(run, setting).items():
            worst[figure] = max(worst[figure], value)
    for name, label, most, scale, unit in (
        ("first", "wall, first check", 1.3, 1.0, "s"),
        ("later", "wall, later checks", 1.3, 1.0, "s"),
        ("cpu", "CPU, both", 1.6, 1e3 / unique / 2, "ms per reference"),
    ):
        mine, other = (statistics.median(found[name] for found in runs) * scale for runs in (ours, bare))
        yield Row(
            measurement=NAME,
            figure=f"{label}: {setting}",
            value=statistics.median(a[name] / b[name] for a, b in zip(ours, bare, strict=True)),
            unit="x",
            at_most=most,
            note=f"{mine:.3g} against {other:.3g} {unit}",
        )


def _counts(found: Numbers, setting: Setting) -> dict[str, float]:
    wanted = references(setting.containers)
    kinds: Counter[str] = Counter(found["kinds"])
    heads, tokens, refused = (kinds.pop(kind, 0) for kind in ("HEAD", "token", "HEAD 401"))
    repositories = len({repository for repository, _ in wanted}) if setting.is_real else 0
    fewest = 2 * (len(wanted) + math.ceil(repositories / _TOGETHER))
    values = (heads - 2 * len(wanted), (heads + tokens) / fewest, refused, kinds.total(), found["open"])
    return dict(zip(_MOST, values, strict=True))


class Fake:
    """The fake registry's process, as seen from here."""

    def __init__(self, folder: Path, plain: int, secure: int) -> None:
        self.folder, self.plain, self.secure = folder, plain, secure
        self._http = urllib3.PoolManager(retries=False, timeout=10)

    def answers(self) -> bool:
        try:
            return bool(self.control("stats"))
        except urllib3.exceptions.HTTPError:
            return False

    def control(self, path: str) -> Numbers:
        answer = self._http.request("GET", f"http://127.0.0.1:{self.plain}/_{path}")
        return dict(json.loads(answer.data))

    def set(self, setting: Setting) -> None:
        """How it answers from now on; what it counted is forgotten."""
        options = f"latency={setting.latency_ms}&auth={int(setting.is_real)}&containers={setting.containers}"
        self.control(f"set?{options}")

    def requests(self) -> int:
        return sum(self.control("stats")["kinds"].values())

    def run(self, client: str, setting: Setting, rounds: int = 1) -> Numbers:
        """One check by one client in a process of its own."""
        self.set(setting)
        port = self.secure if setting.is_real else self.plain
        arguments = [str(port), str(setting.containers), str(setting.concurrency), str(rounds)]
        arguments += [str(self.folder / "ca.crt")] if setting.is_real else []
        command = [*_COMMAND, f"--{client}", *arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return {**json.loads(done.stdout), **self.control("stats")}


@contextmanager
def fake_registry() -> Iterator[Fake]:
    with tempfile.TemporaryDirectory(prefix="dockwarden-bench-") as name:
        folder = Path(name)
        make_certificate(folder)
        fake = Fake(folder, free_port(), free_port())
        with subprocess.Popen([*_COMMAND, "--serve", str(fake.plain), str(fake.secure), name]) as process:
            try:
                until(fake.answers, "the fake registry")
                yield fake
            finally:
                process.kill()


# -- the clients, each in a process of its own ---------------------------------------------------------


def _timed(check: Callable[[], None], meanwhile: Callable[[], None]) -> Numbers:
    cpu, found = time.process_time(), {}
    for name in ("first", "later"):
        began = time.perf_counter()
        check()
        found[name] = time.perf_counter() - began
        meanwhile()
    return {**found, "cpu": time.process_time() - cpu}


_MADE = {"created": "2026-01-02T03:04:05Z", "architecture": "amd64", "os": "linux"}
_CONFIG = json.dumps({**_MADE, "config": {}, "rootfs": {"type": "layers"}}).encode()


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@cache
def _manifest(repository: str, tag: str) -> bytes:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": _sha256(_CONFIG), "size": len(_CONFIG)}
    marks = {"org.opencontainers.image.ref.name": f"{repository}:{tag}"}
    content = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [], "annotations": marks}
    return json.dumps(content).encode()


@cache
def _digest(repository: str, tag: str) -> str:
    return _sha256(_manifest(repository, tag))


@cache
def _by_digest(containers: int) -> dict[str, tuple[str, str]]:
    return {_digest(*reference): reference for reference in references(containers)}


class _Clock:
    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.passed


def _our_registry(port: int, concurrency: int, ca_file: str, clock: _Clock) -> Any:
    from dockwarden.config.settings import RegistrySettings  # noqa: PLC0415
    from dockwarden.registry import HttpRegistry  # noqa: PLC0415 - the bare loop is not to load it

    host = RegistrySettings(http=not ca_file, ca_file=Path(ca_file) if ca_file else None, concurrency=concurrency)
    return HttpRegistry(hosts={f"127.0.0.1:{port}": host}, clock=clock)


def _pass_time(registry: Any, clock: _Clock) -> None:
    """Until nothing is fresh."""
    clock.passed += 4_000
    registry._shared.wire.sweep()


def _asks(port: int, containers: int) -> list[Any]:
    from dockwarden.ports import Ask  # noqa: PLC0415

    unique = [Ask("digest", f"127.0.0.1:{port}/{r}:{t}") for r, t in references(containers)]
    return [unique[i % len(unique)] for i in range(containers)]


def _check(registry: Any, asks: Sequence[Any]) -> None:
    expected = [_digest(*ask.reference.partition("/")[2].rsplit(":", 1)) for ask in asks]
    replies = [future.result(120) for future in [registry.ask(ask) for ask in asks]]
    wrong = [reply for reply, digest in zip(replies, expected, strict=True) if reply.digest != digest]
    if wrong:
        raise AssertionError(wrong[0])


def _ours(port: int, containers: int, concurrency: int, _rounds: int, ca_file: str = "") -> Numbers:
    clock = _Clock()
    registry = _our_registry(port, concurrency, ca_file, clock)
    asks = _asks(port, containers)
    return _timed(partial(_check, registry, asks), partial(_pass_time, registry, clock))


def _memory_of_ours(port: int, containers: int, concurrency: int, rounds: int, ca_file: str = "") -> Numbers:
    clock = _Clock()
    registry = _our_registry(port, concurrency, ca_file, clock)
    asks = _asks(port, containers)
    found = {}
    for name, times in (("before", 2), ("after", rounds)):
        for _ in range(times):
            _check(registry, asks)
            _pass_time(registry, clock)
        status = Path("/proc/self/status").read_text()
        found[name] = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    return found


def _bare(port: int, containers: int, concurrency: int, _rounds: int, ca_file: str = "") -> Numbers:
    loop = _BareLoop(port, concurrency, ca_file)
    return _timed(partial(loop.check, references(containers)), loop.forget)


class _BareLoop:
    """A HEAD per reference over kept connections; a token for many repositories after one challenge."""

    def __init__(self, port: int, concurrency: int, ca_file: str) -> None:
        self._base = f"{'https' if ca_file else 'http'}://127.0.0.1:{port}"
        self._ca_file = ca_file
        self._threads = concurrency
        self._context: ssl.SSLContext | None = None
        self._challenge: dict[str, str] = {}
        self._tokens: dict[str, str] = {}
        self._groups: dict[str, tuple[threading.Lock, list[str]]] = {}

    def check(self, wanted: list[tuple[str, str]]) -> None:
        repositories = list(dict.fromkeys(repository for repository, _ in wanted))
        for at in range(0, len(repositories), _TOGETHER):
            group = (threading.Lock(), repositories[at : at + _TOGETHER])
            self._groups |= dict.fromkeys(group[1], group)
        if self._ca_file and self._context is None:  # with the system's authorities, as ours
            self._context = ssl.create_default_context()
            self._context.load_verify_locations(self._ca_file)
        self._http = urllib3.PoolManager(maxsize=self._threads, block=True, retries=False, ssl_context=self._context)
        if self._ca_file and not self._challenge:
            answer = self._head(*wanted[0])
            self._challenge = dict(re.findall(r'(\w+)="([^"]*)"', answer.headers["www-authenticate"]))
        with ThreadPoolExecutor(self._threads) as pool:
            if not all(pool.map(self._is_right, wanted)):
                raise AssertionError

    def forget(self) -> None:
        self._tokens.clear()
        self._http.clear()

    def _is_right(self, reference: tuple[str, str]) -> bool:
        repository, tag = reference
        if self._ca_file:
            lock, group = self._groups[repository]
            with lock:
                if repository not in self._tokens:
                    self._tokens |= dict.fromkeys(group, self._token(group))
        return self._head(repository, tag).headers["Docker-Content-Digest"] == _digest(repository, tag)

    def _head(self, repository: str, tag: str) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": _ACCEPT, "User-Agent": "bench"}
        if repository in self._tokens:
            headers["Authorization"] = f"Bearer {self._tokens[repository]}"
        return self._http.request("HEAD", f"{self._base}/v2/{repository}/manifests/{tag}", headers=headers)

    def _token(self, repositories: Sequence[str]) -> str:
        query = f"service={self._challenge['service']}" + "".join(f"&scope=repository:{r}:pull" for r in repositories)
        return str(json.loads(self._http.request("GET", f"{self._challenge['realm']}?{query}").data)["token"])


# -- the fake registry, in a process of its own --------------------------------------------------------


class _State:
    def __init__(self, plain_port: int, secure_port: int) -> None:
        self.secure_port = secure_port
        self.latency = 0.0
        self.auth = False
        self.plain_port = plain_port
        self.containers = 0
        self.forget()

    def forget(self) -> None:
        self.kinds: dict[str, int] = {}
        self.open = self.most_open = 0
        self.tokens: dict[str, set[str]] = {}

    def count(self, kind: str) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1


class _Server(asyncio.Protocol):
    """One connection. Nothing but requests without a body is understood."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._buffer = b""
        self._ready_at = 0.0
        self._is_counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._is_secure = transport.get_extra_info("sslcontext") is not None
        # A round trip for the connection and one for the handshake.
        self._ready_at = asyncio.get_running_loop().time() + self._state.latency * (2 if self._is_secure else 1)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            if not target.startswith(("/v2/", "/token", "/jwt/")):
                control = self._control if target.startswith("/_") else self._engine
                self._transport.write(control(target))
                continue
            self._connected()
            answer = self._answer(method, target, headers)
            loop = asyncio.get_running_loop()
            when = max(loop.time(), self._ready_at) + self._state.latency
            if when > loop.time():
                loop.call_at(when, self._transport.write, answer)
            else:
                self._transport.write(answer)

    def _connected(self) -> None:
        if not self._is_counted:
            self._is_counted = True
            self._state.open += 1
            self._state.most_open = max(self._state.open, self._state.most_open)

    def connection_lost(self, _error: Exception | None) -> None:
        self._state.open -= self._is_counted

    def _control(self, target: str) -> bytes:
        parts = urllib.parse.urlsplit(target)
        options = dict(urllib.parse.parse_qsl(parts.query))
        if parts.path == "/_set":
            self._state.forget()
            self._state.latency = float(options["latency"]) / 1000
            self._state.auth = options["auth"] == "1"
            self._state.containers = int(options["containers"])
        return _encoded(200, json.dumps({"kinds": self._state.kinds, "open": self._state.most_open}).encode())

    def _engine(self, target: str) -> bytes:
        """What an engine with the containers of the setting says to a peer, without delay."""
        host = f"127.0.0.1:{self._state.secure_port if self._state.auth else self._state.plain_port}"
        path = re.sub(r"^/v1\.\d+|\?.*", "", urllib.parse.unquote(target))
        answer: object = {"Version": "27.0.0", "ApiVersion": "1.47", "MinAPIVersion": "1.24", "Os": "linux"}
        if path == "/containers/json":
            wanted = references(self._state.containers)
            answer = [
                {"Id": f"{i:064}", "Names": [f"/c{i}"], "Image": f"{host}/{repository}:{tag}", "Labels": {},
                 "ImageID": _digest(repository, tag), "Created": 1767323045, "State": "running", "Status": "Up"}
                for i in range(self._state.containers) for repository, tag in [wanted[i % len(wanted)]]
            ]  # fmt: skip
        elif path.startswith("/images/"):
            name = path.removeprefix("/images/").removesuffix("/json")
            known = _by_digest(self._state.containers).get(name)
            repository, tag = known or name.removeprefix(f"{host}/").rsplit(":", 1)
            named, digest = f"{host}/{repository}", _digest(repository, tag)
            answer = {"Id": digest, "RepoTags": [f"{named}:{tag}"], "RepoDigests": [f"{named}@{digest}"], "Config": {},
                      **{key.title(): value for key, value in _MADE.items()}}  # fmt: skip
        return _encoded(200, json.dumps(answer).encode(), "Content-Type: application/json")

    def _answer(self, method: str, target: str, headers: dict[str, str]) -> bytes:
        path, _, query = target.partition("?")
        if path in ("/token", "/jwt/auth"):
            self._state.count("token")
            scopes = urllib.parse.parse_qs(query)["scope"]
            token = f"{len(self._state.tokens)}.{'x' * (800 + 100 * len(scopes))}"
            self._state.tokens[token] = {scope.split(":")[1] for scope in scopes}
            return _encoded(200, json.dumps({"token": token, "expires_in": 300}).encode())
        repository, kind, tag = re.split(r"/(manifests|blobs|tags)/", f"{path.removeprefix('/v2/')}/tags/")[:3]
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self._state.auth and repository not in self._state.tokens.get(token, ()):
            self._state.count(f"{method} 401")
            realm = f"https://127.0.0.1:{self._state.secure_port}/token"
            challenge = f'Bearer realm="{realm}",service="bench",scope="repository:{repository}:pull"'
            return _encoded(401, b"{}", f"WWW-Authenticate: {challenge}", is_head=method == "HEAD")
        self._state.count(method if kind == "manifests" else f"{method} {kind}")
        if kind != "manifests":
            return _encoded(200, _CONFIG if kind == "blobs" else b'{"tags": ["latest", "stable"]}')
        repository, tag = _by_digest(self._state.containers).get(tag, (repository, tag))
        headers_out = (f"Docker-Content-Digest: {_digest(repository, tag)}", f"Content-Type: {_MANIFEST}")
        return _encoded(200, _manifest(repository, tag), *headers_out, is_head=method == "HEAD")


def _encoded(status: int, body: bytes, *headers: str, is_head: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if is_head else body)


async def _serve(plain: int, secure: int, folder: str) -> None:
    state = _State(plain, secure)
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(folder) / "server.crt", Path(folder) / "server.key")
    await loop.create_server(lambda: _Server(state), "127.0.0.1", plain, backlog=1024)
    await loop.create_server(lambda: _Server(state), "127.0.0.1", secure, ssl=context, backlog=1024)
    await asyncio.Event().wait()


def main() -> None:
    """The table; or, with arguments only the bench itself gives, one of its processes."""
    parser = argparse.ArgumentParser(description="Measure what asking registries costs.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    clients: dict[str, Callable[..., Numbers]] = {f.__name__: f for f in (_ours, _bare, _memory_of_ours)}
    for name in clients:
        parser.add_argument(f"--{name}", nargs="+", help=argparse.SUPPRESS)
    options = vars(parser.parse_args())
    if options["serve"]:
        plain, secure, folder = options["serve"]
        asyncio.run(_serve(int(plain), int(secure), folder))
    for name, client in clients.items():
        if given := options[name]:
            print(json.dumps(client(*map(int, given[:4]), *given[4:])))
            return
    print(table(list(measure(quick=options["quick"]))))


if __name__ == "__main__":
    main()

"""How long a scrape takes while others make it hard for the HTTP server, plain and with TLS.

The clients that do something are processes of their own, so that what is measured is the server's delay and not ours.
"""

from __future__ import annotations

import http.client
import itertools
import multiprocessing
import socket
import ssl
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.daemon import Daemon
from tests.bench.report import Row, percentile
from tests.lab.loopback import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.host import Host

NAME = "http"
_SCRAPES, _SCRAPES_QUICK = 300, 100
_SILENT = 200
_REQUESTS, _REQUESTS_QUICK = 10_000, 1_000
_MOST_MS = 100.0


def measure(host: Host, *, quick: bool) -> Iterator[Row]:
    """The rows of one host."""
    scrapes = _SCRAPES_QUICK if quick else _SCRAPES
    with tempfile.TemporaryDirectory(prefix="dockwarden-bench-tls-") as folder:
        make_certificate(Path(folder))
        config = Path(folder) / "web.yml"
        config.write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}\n")
        for secure in (False, True):
            with Daemon(host.engine, web_config=config if secure else None) as daemon:
                daemon.settle()
                ours = partial(_scrapes, daemon.port, scrapes, Path(folder) / "ca.crt" if secure else None)
                yield from _under_each(host, daemon.port, ours, "TLS" if secure else "plain")
                count = _REQUESTS_QUICK if quick else _REQUESTS
                taken = list(itertools.islice(_asked(daemon.port, secure=secure), count))
                kind = f"{'TLS' if secure else 'plain'}, {count:,} in a row over one connection"
                yield from _figures(host, taken, kind)


def _under_each(host: Host, port: int, scrape: Callable[[], list[float]], kind: str) -> Iterator[Row]:
    burdens: dict[str, Callable[[], object]] = {
        "alone": ExitStack,
        f"{_SILENT} silent clients": partial(_silent, port),
        "slow clients": partial(_busy, _drip, port),
        "huge headers": partial(_busy, _bloat, port),
        "a client without pause": partial(_busy, partial(_hurry, secure=kind == "TLS"), port),
    }
    for name, burden in burdens.items():
        with burden():  # type: ignore[attr-defined] # each is a context manager
            taken = scrape()
        yield from _figures(host, taken, f"{kind}, {name}")


def _figures(host: Host, taken: list[float], note: str) -> Iterator[Row]:
    row = partial(Row, measurement=NAME, store=host.store, images=host.images, unit="ms", note=note)
    yield row(figure="scrape, median", value=1000 * percentile(taken, 0.5))
    yield row(figure="scrape, 99th percentile", value=1000 * percentile(taken, 0.99), at_most=_MOST_MS)


def _scrapes(port: int, count: int, authority: Path | None) -> list[float]:
    """Seconds that each scrape took, each over a connection of its own."""
    context = ssl.create_default_context(cafile=str(authority)) if authority else None
    taken = []
    for _ in range(count):
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        if context:
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        taken.append(time.monotonic() - began)
        if answer.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"/metrics: {answer.status}")
        time.sleep(0.01)
    return taken


@contextmanager
def _silent(port: int) -> Iterator[None]:
    """Clients that say nothing, or the first bytes of something."""
    with ExitStack() as crowd:
        for number in range(_SILENT):
            one = crowd.enter_context(socket.create_connection(("127.0.0.1", port)))
            one.sendall([b"", b"\x16\x03\x01", b"GET /metrics HTTP/1.1\r\nX: "][number % 3])
        yield


@contextmanager
def _busy(work: Callable[[int], None], port: int) -> Iterator[None]:
    """A process that does this until we are done."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=(port,), daemon=True)
    process.start()
    time.sleep(1.0)  # for it to begin
    try:
        yield
    finally:
        process.kill()
        process.join()


def _drip(port: int) -> None:
    """Clients that send one byte of a header at a time."""
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(_SILENT)]
    while True:
        for number, one in enumerate(crowd):
            try:
                one.sendall(b"G")
            except OSError:  # it was hung up on; so it comes again
                crowd[number] = socket.create_connection(("127.0.0.1", port))
        time.sleep(0.1)


def _bloat(port: int) -> None:
    """Clients whose headers are larger than any may be."""
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000)
            one.recv(100)


def _hurry(port: int, *, secure: bool) -> None:
    """One request after the other."""
    for _ in _asked(port, secure=secure):
        pass


def _asked(port: int, *, secure: bool) -> Iterator[float]:
    """Seconds that each scrape took, over one connection, without an end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    if secure:
        context = ssl._create_unverified_context()  # whom the certificate names, matters to nobody here
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    while True:
        began = time.monotonic()
        connection.request("GET", "/metrics")
        connection.getresponse().read()
        yield time.monotonic() - began

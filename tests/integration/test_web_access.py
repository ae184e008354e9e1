"""Who may connect: the web configuration file, held against promtool's judgement of it, and what it leads to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dockwarden.errors import ConfigError
from dockwarden.metrics import Metrics
from dockwarden.web.config import Access, LiveAccess, read_access
from dockwarden.web.guard import BasicAuth
from dockwarden.web.server import Server
from dockwarden.web.site import Application
from tests.lab import machine
from tests.lab.loopback import make_certificate
from tests.lab.waiting import PATIENCE, until
from tests.views import a_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[[str], "Running"]

HOST = "127.0.0.1"
HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
TLS = "cert_file: server.crt, key_file: server.key"


def tls(more: str = "") -> str:
    return f"tls_server_config: {{{TLS}{', ' if more else ''}{more}}}\n"


GOOD = {
    "empty": "",
    "nothing but a comment": "# nothing\n",
    "empty sections": "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
    "tls": tls(),
    "absolute paths": "tls_server_config: {cert_file: FOLDER/server.crt, key_file: FOLDER/server.key}\n",
    "no client": tls("client_auth_type: NoClientCert"),
    "client asked": tls("client_auth_type: RequestClientCert"),
    "client if given": tls("client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt"),
    "client verified": tls("client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"),
    "client verified by the system": tls("client_auth_type: RequireAndVerifyClientCert"),
    "versions": tls("min_version: TLS12, max_version: TLS13"),
    "old version": tls("min_version: TLS10"),
    "one version": tls("min_version: TLS13, max_version: TLS13"),
    "ciphers": tls(
        "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,"
        " TLS_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_128_CBC_SHA], prefer_server_cipher_suites: false"
    ),
    "new ciphers": tls("cipher_suites: [TLS_AES_256_GCM_SHA384]"),
    "a curve": tls("curve_preferences: [X25519]"),
    "curves": tls("curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]"),
    "http2": "http_server_config: {http2: false}\n",
    "headers": "http_server_config: {headers: {X-Frame-Options: sameorigin, X-Content-Type-Options: nosniff,"
    " Strict-Transport-Security: max-age=1, X-XSS-Protection: '1', Content-Security-Policy: default-src 'self'}}\n",
    "users": f"basic_auth_users: {{alice: '{HASH}', bob: '{HASH.replace('$2b$', '$2y$')}'}}\n",
    "all": tls() + f"basic_auth_users: {{alice: '{HASH}'}}\nhttp_server_config: {{http2: true}}\n",
}
BAD = {
    "not yaml": "tls_server_config: [",
    "text": "nonsense\n",
    "a list": "- tls_server_config\n",
    "section": "tls_config: {}\n",
    "key": tls("cert: x"),
    "key of http": "http_server_config: {http3: true}\n",
    "same key twice": tls() + tls(),
    "no key file": "tls_server_config: {cert_file: server.crt}\n",
    "no certificate": "tls_server_config: {key_file: server.key}\n",
    "only a client": "tls_server_config: {client_auth_type: NoClientCert}\n",
    "empty path": "tls_server_config: {cert_file: '', key_file: server.key}\n",
    "missing file": "tls_server_config: {cert_file: nothing.crt, key_file: server.key}\n",
    "wrong key": "tls_server_config: {cert_file: server.crt, key_file: ca.key}\n",
    "swapped": "tls_server_config: {cert_file: server.key, key_file: server.crt}\n",
    "locked key": "tls_server_config: {cert_file: server.crt, key_file: locked.key}\n",
    "client type": tls("client_auth_type: Sometimes"),
    "authority without type": tls("client_ca_file: ca.crt"),
    "missing authority": tls("client_auth_type: RequireAndVerifyClientCert, client_ca_file: nothing.crt"),
    "version": tls("min_version: TLS9"),
    "cipher": tls("cipher_suites: [TLS_MADE_UP]"),
    "weak cipher": tls("cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]"),
    "curve": tls("curve_preferences: [CurveP1]"),
    "ciphers as text": tls("cipher_suites: {a: b}"),
    "prefer": tls("prefer_server_cipher_suites: maybe"),
    "header": "http_server_config: {headers: {X-Powered-By: us}}\n",
    "header's value": "http_server_config: {headers: {X-Frame-Options: allow}}\n",
    "content type": "http_server_config: {headers: {X-Content-Type-Options: sniff}}\n",
    "password": "basic_auth_users: {alice: secret}\n",
    "short hash": f"basic_auth_users: {{alice: '{HASH[:40]}'}}\n",
    "cost": f"basic_auth_users: {{alice: '{HASH.replace('$04$', '$99$')}'}}\n",
    "users as a list": "basic_auth_users: [alice]\n",
}
# What the exporter-toolkit takes and Python's TLS cannot do as it says: refused, rather than done in a weaker way.
STRICTER = {
    "any client": tls("client_auth_type: RequireAnyClientCert"),
    "any client, by its old name": tls("client_auth_type: RequireClientCert"),
    "nothing but old versions": tls("max_version: TLS11"),
    "no version": tls("min_version: TLS13, max_version: TLS12"),
    "authority without certificates": tls("client_auth_type: VerifyClientCertIfGiven, client_ca_file: empty.crt"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of an authority, of a server, of a client (from a fresh authority: a stranger's)."""
    machine.ensure({**machine.METRICS, "openssl": "openssl"}, "the tests of TLS")
    made = tmp_path_factory.mktemp("tls")
    make_certificate(made)
    (made / "empty.crt").write_text("")
    for lock in ("pass:x -out locked.key", "pass: -out unlocked.key"):
        command = f"openssl pkcs8 -topk8 -in server.key -passout {lock}"
        subprocess.run(command.split(), cwd=made, check=True, capture_output=True)
    stranger = made / "stranger"
    stranger.mkdir()
    make_certificate(stranger)
    for where in (made, stranger):
        (where / "both.pem").write_bytes((where / "server.crt").read_bytes() + (where / "server.key").read_bytes())
    return made


def test_the_same_files_are_accepted_and_refused_as_by_promtool(folder: Path) -> None:
    files = {}
    for number, (name, text) in enumerate({**GOOD, **BAD, **STRICTER}.items()):
        files[name] = folder / f"web{number}.yml"
        files[name].write_text(text.replace("FOLDER", str(folder)))
    command = ["promtool", "check", "web-config", *map(str, files.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    theirs = {name: f"{file} SUCCESS" in done.stdout + done.stderr for name, file in files.items()}
    assert theirs == {name: name not in BAD for name in files}
    ours = {}
    for name, file in files.items():
        with contextlib.suppress(ConfigError):
            read_access(file)
            ours[name] = True
    assert ours == dict.fromkeys(GOOD, True)


@pytest.mark.parametrize("name", [*BAD, *STRICTER])
def test_a_mistake_has_its_place_and_reason(folder: Path, name: str) -> None:
    file = folder / "bad.yml"
    file.write_text({**BAD, **STRICTER}[name])
    with pytest.raises(ConfigError) as caught:
        read_access(file)
    for problem in caught.value.problems:
        assert re.match(rf"{re.escape(str(file))}:\d+:\d+ [\w.-]+: .{{8,}}", problem), problem
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (
            "server.crt locked.key",
            "the key has a password, .*; `openssl pkey` writes one without",
        ),
        ("server.crt stranger/server.key", "or not the key that belongs to it: KEY VALUES MISMATCH"),
        ("server.key server.crt", "or not the key that belongs to it: PEM files are expected"),
        ("empty.crt server.key", "or not the key that belongs to it: PEM files are expected"),
    ],
)
def test_why_a_certificate_cannot_be_used(folder: Path, pair: str, said: str) -> None:
    certificate, key = pair.split()
    (file := folder / "pair.yml").write_text(f"tls_server_config: {{cert_file: {certificate}, key_file: {key}}}\n")
    with pytest.raises(ConfigError, match=rf"{certificate} with .*{key}: .*{said}$"):
        read_access(file)


def test_a_key_whose_password_is_empty_can_be_used(folder: Path) -> None:
    (file := folder / "pair.yml").write_text("tls_server_config: {cert_file: server.crt, key_file: unlocked.key}\n")
    assert read_access(file).context


# -- at work -----------------------------------------------------------------------------------------------------


class Halting(LiveAccess):
    """Files on a disk that stops to answer, for as long as a test says so."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.answers = threading.Event()
        self.answers.set()

    def current(self) -> Access:
        self.answers.wait()
        return super().current()


class Running:
    """A server whose configuration a test may change, and its clients."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        self.file = folder / "web.yml"
        self.file.write_text(config)
        self.metrics = metrics = Metrics()
        self.access = access = Halting(self.file)
        views, _ = a_view(health=metrics.health)
        site = Application(metrics.registry, metrics.health, views, lambda: access.last.headers, ["*.lan", "Known"])
        self.server = Server(site, HOST, 0, access, metrics.web_logins_failed.inc)
        self.server.start()

    def change(self, config: str) -> None:
        """Put another configuration in the file's place, as a tool that deploys it would."""
        fresh = self.folder / "web.yml.new"
        fresh.write_text(config)
        fresh.rename(self.file)

    def context(self, certificate: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if certificate:
            context.load_cert_chain(certificate)
        return context

    def ask(
        self, path: str = "/metrics", *, context: ssl.SSLContext | None = None, login: str = "", host: str = ""
    ) -> tuple[int, str, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=PATIENCE)
        if context:
            connection = http.client.HTTPSConnection(HOST, self.server.port, timeout=PATIENCE, context=context)
        headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}
        headers |= {"Host": host} if host else {}
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer
        finally:
            connection.close()


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Iterator[Run]:
    with ExitStack() as stack:
        own = tmp_path / "own"
        shutil.copytree(folder, own)

        def begin(config: str) -> Running:
            running = Running(own, config)
            stack.callback(running.server.stop)
            return running

        yield begin


def test_tls_is_served_and_plain_http_is_not(run: Run) -> None:
    server = run(tls())
    assert server.ask(context=server.context())[0] == 200
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        server.ask()
    old = server.context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert server.ask(context=old)[0] == 200
    server.change(tls("min_version: TLS13"))
    with pytest.raises(ssl.SSLError):
        server.ask(context=old)


def test_a_new_certificate_is_served_at_the_next_handshake(run: Run) -> None:
    server = run(tls())
    before = socket.create_connection((HOST, server.server.port), timeout=PATIENCE)
    with server.context().wrap_socket(before, server_hostname=HOST) as kept:
        first = kept.getpeercert()
        make_certificate(server.folder)  # certificate and key are for a moment not of a pair
        fresh = server.context()
        assert server.ask(context=fresh)[0] == 200
        kept.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert kept.recv(100).startswith(b"HTTP/1.1 200")
    with fresh.wrap_socket(socket.create_connection((HOST, server.server.port)), server_hostname=HOST) as now:
        assert now.getpeercert() != first


def test_a_change_that_cannot_be_used_changes_nothing(run: Run) -> None:
    server = run(tls())
    for broken in ("tls_server_config: [", "", tls("min_version: TLS9")):
        server.change(broken)
        assert server.ask(context=server.context())[0] == 200
    (server.folder / "server.crt").unlink()
    assert server.ask(context=server.context())[0] == 200
    server.file.unlink()
    assert server.ask(context=server.context())[0] == 200


def test_each_change_that_cannot_be_used_is_told_once(run: Run) -> None:
    server = run(tls())
    certificate = server.folder / "server.crt"
    for before, after in ((certificate, server.file), (server.file, certificate)):
        before.rename(after)
        with capture_logs() as lines:
            server.access.current()
            server.access.current()
        assert [line["event"] for line in lines] == ["web.config_failed"]


@pytest.mark.parametrize(
    ("kind", "none", "stranger"),
    [
        ("RequireAndVerifyClientCert", False, False),
        ("VerifyClientCertIfGiven", True, False),
        ("RequestClientCert", True, True),
    ],
)
def test_certificates_of_clients(run: Run, kind: str, none: bool, stranger: bool) -> None:  # noqa: FBT001
    authority = "" if kind == "RequestClientCert" else ", client_ca_file: ca.crt"
    server = run(tls(f"client_auth_type: {kind}{authority}"))

    def admitted(certificate: Path | None) -> bool:
        try:
            return server.ask(context=server.context(certificate))[0] == 200
        except OSError:  # the refusal reaches the client after its own handshake
            return False

    assert admitted(server.folder / "both.pem")
    assert admitted(None) is none
    assert admitted(server.folder / "stranger" / "both.pem") is stranger


def test_a_password_is_asked_for(run: Run) -> None:
    server = run(
        f"basic_auth_users: {{alice: '{HASH}'}}\nhttp_server_config: {{headers: {{X-Frame-Options: sameorigin}}}}\n"
    )
    status, _, answer = server.ask()
    assert status == 401
    assert str(answer.getheader("WWW-Authenticate")).startswith("Basic ")
    for wrong in ("alice:Secret", "alice:", "bob:secret", "alice", ":", "alice:secret\0", "alice:" + "x" * 500, "ä:ö"):
        assert server.ask(login=wrong)[0] == 401
    for path in ("/", "/api/v1/findings", "/nothing"):
        assert server.ask(path)[0] == 401
    for _ in range(2):
        status, body, answer = server.ask(login="alice:secret")
        assert (status, answer.getheader("X-Frame-Options")) == (200, "sameorigin")
        assert "dockwarden_engine_up" in body

    # Watchdogs need no password, and learn no more than what they must know.
    assert server.ask("/healthz")[:2] == (200, "ok\n")
    assert server.ask("/readyz")[:2] == (503, "not ok\n")
    assert "engine" in server.ask("/readyz", login="alice:secret")[1]

    server.change(f"basic_auth_users: {{bob: '{HASH}'}}\n")
    assert server.ask(login="alice:secret")[0] == 401
    assert server.ask(login="bob:secret")[0] == 200


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic !", "Bearer x", "Basic " + "A" * 9000, "Digest a=b", "Basic /w=="]
)
def test_what_is_no_login_is_refused(run: Run, header: str) -> None:
    server = run(f"basic_auth_users: {{alice: '{HASH}'}}\n")
    connection = http.client.HTTPConnection(HOST, server.server.port, timeout=PATIENCE)
    connection.request("GET", "/metrics", headers={"Authorization": header})
    assert connection.getresponse().status == 401
    connection.close()


def test_those_who_guess_passwords_keep_waiting_only_each_other(run: Run) -> None:
    slow = bcrypt.hashpw(b"secret", bcrypt.gensalt(12)).decode()
    server = run(f"basic_auth_users: {{alice: '{slow}'}}\n")
    assert server.ask(login="alice:secret")[0] == 200
    guess = base64.b64encode(b"alice:guess").decode()
    with ExitStack() as crowd:
        guessing = []
        for _ in range(60):
            one = crowd.enter_context(socket.create_connection((HOST, server.server.port), timeout=PATIENCE))
            one.sendall(f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {guess}\r\n\r\n".encode())
            guessing.append(one)
        assert server.ask(login="alice:secret")[0] == 200
        guessing[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            guessing[-1].recv(1)


@pytest.mark.parametrize("secure", [True, False])
def test_200_silent_clients_keep_nobody_waiting(run: Run, secure: bool) -> None:  # noqa: FBT001
    server = run(tls() if secure else "")
    context = server.context() if secure else None
    with ExitStack() as crowd:
        for number in range(200):
            one = crowd.enter_context(socket.create_connection((HOST, server.server.port), timeout=PATIENCE))
            one.sendall(
                [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nX: ", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"][number % 4]
            )
        for _ in range(5):
            assert server.ask(context=context)[0] == 200


def test_a_crowd_larger_than_there_is_room_for_shuts_nobody_out(run: Run) -> None:
    server = run(tls())
    opened = Path("/proc/self/fd")
    before = len(list(opened.iterdir()))
    with ExitStack() as crowd:
        first = crowd.enter_context(socket.create_connection((HOST, server.server.port), timeout=PATIENCE))
        for _ in range(510):
            crowd.enter_context(socket.create_connection((HOST, server.server.port), timeout=PATIENCE))
        assert server.ask(context=server.context())[0] == 200
        with contextlib.suppress(ConnectionResetError):
            assert first.recv(1) == b"", "whoever hung on longest had to go"
    until(lambda: len(list(opened.iterdir())) < before + 100, "the connections to be closed")


def test_the_healthcheck_speaks_tls(run: Run) -> None:
    server = run(tls("client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"))
    base = [sys.executable, "-m", "dockwarden", "healthcheck", "--listen", f"{HOST}:{server.server.port}"]

    def check(*more: str) -> int:
        return subprocess.run([*base, *more], capture_output=True, check=False, timeout=PATIENCE).returncode

    assert check("--cert", str(server.folder / "both.pem")) == 0
    assert check() == 1
    server.change(tls())
    assert check() == 0


def test_files_that_do_not_answer_keep_nobody_waiting(run: Run) -> None:
    server = run(f"basic_auth_users: {{scraper: {HASH}}}")
    assert server.ask(login="scraper:secret")[0] == 200
    server.access.answers.clear()
    try:
        assert server.ask("/healthz")[0] == 200
        assert server.ask(login="scraper:secret")[0] == 200
        assert server.ask(login="scraper:wrong")[0] == 401
        server.change("{}")
    finally:
        server.access.answers.set()
    until(lambda: server.ask()[0] == 200, "the file is read when it answers again")


def test_a_fifo_in_place_of_the_file_changes_nothing(run: Run) -> None:
    server = run(f"basic_auth_users: {{scraper: {HASH}}}")
    os.mkfifo(server.folder / "pipe")
    (server.folder / "pipe").rename(server.file)
    assert server.ask("/healthz")[0] == 200
    assert server.ask(login="scraper:secret")[0] == 200
    assert server.ask(login="scraper:wrong")[0] == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("a.localhost:9877", 200),
        ("127.0.0.1", 200),
        ("10.1.2.3:9877", 200),
        ("[::1]:9877", 200),
        ("[fe80::1%25eth0]:9877", 200),
        ("web.lan:9877", 200),
        ("known", 200),
        ("known.", 200),
        ("evil.example", 421),
        ("evil.example:9877", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("web.lan.evil.example", 421),
        ("2130706433.example", 421),
        ("lan", 421),
    ],
)
def test_names_that_are_not_ours_are_misdirected(run: Run, host: str, status: int) -> None:
    server = run("{}")
    for path in ("/metrics", "/healthz", "/"):
        if path != "/" or status != 200:  # there is nothing to show here
            assert server.ask(path, host=host)[0] == status


def test_wrong_logins_are_counted_and_told(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    server = run(f"basic_auth_users: {{scraper: {HASH}}}")
    assert server.ask()[0] == 401  # who says nothing has not failed yet
    for login in ("scraper:wrong", "nobody:secret", "scraper:secret\0", "scraper:"):
        assert server.ask(login=login)[0] == 401
    assert server.ask(login="scraper:secret")[0] == 200
    assert server.metrics.registry.get_sample_value("dockwarden_web_logins_failed_total") == 4


@given(st.lists(st.sampled_from(["04", "05", "06"]), min_size=1, max_size=4), st.integers(0, 4))
def test_each_login_costs_the_same_work(costs: list[str], who: int) -> None:
    users = {f"user{n}": bcrypt.hashpw(b"right", bcrypt.gensalt(int(cost))).decode() for n, cost in enumerate(costs)}
    done: list[str] = []
    real = bcrypt.checkpw

    def noted(word: bytes, hashed: bytes) -> bool:
        done.append(hashed.split(b"$")[2].decode())
        return real(word, hashed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bcrypt, "checkpw", noted)
        for password, fine in ((b"right", True), (b"wrong", False), (b"right\0", False)):
            done.clear()
            login = base64.b64encode(f"user{who}:".encode() + password).decode()
            assert asyncio.run(BasicAuth().admits(f"Basic {login}", users)) == (fine and who < len(costs))
            assert sorted(done) == sorted(set(costs))

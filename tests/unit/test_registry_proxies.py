"""Proxies between us and registries: who goes through them, what they are told, and when they do not help."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from urllib3 import ProxyManager

from dockwarden.config.settings import RegistrySettings
from dockwarden.errors import ConfigError
from dockwarden.ports import Reply
from dockwarden.registry.message import parse_url
from dockwarden.registry.wire import Wire
from tests.lab.loopback import make_certificate
from tests.lab.namespace import Pair
from tests.tables import each
from tests.unit.misbehaving import Misbehaving, http
from tests.unit.registries import DIGEST, OK, ask, basic, client, engine, head, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.unit.misbehaving import Asked

GOOD = Reply(digest=DIGEST)
NAME = "registry.invalid:5000"  # which nobody but a proxy can find


class Tunnels:
    """A proxy that connects whoever asks, to one place whatever they asked for."""

    def __init__(self, place: str) -> None:
        self.heads: list[str] = []
        self._place = ("127.0.0.1", int(place.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += inside.recv(1)
            self.heads.append(head.decode())
            outside = socket.create_connection(self._place)
            inside.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            pair = Pair(inside, outside)
            for ends in ((inside, outside), (outside, inside)):
                threading.Thread(target=pair.copy, args=ends, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Misbehaving]:
    """A registry with TLS, whose certificate is for another name."""
    make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    with Misbehaving(lambda _: [OK], tls=context) as server:
        yield server


def test_a_registry_with_tls_is_reached_through_a_tunnel(secure: Misbehaving) -> None:
    with contextlib.closing(Tunnels(secure.host)) as proxy:
        environ = {"HTTPS_PROXY": f"http://me:p%40ss@{proxy.host}", "HTTP_PROXY": "nobody.invalid:1"}
        hosts = {"registry.invalid:5001": RegistrySettings(username="alice", password=SecretStr("secret"))}
        with client(environ=environ, hosts=hosts, engine=engine(insecure_registries=(NAME,))) as registry:
            assert [ask(registry, f"{NAME}/app:{n}") for n in range(3)] == [GOOD] * 3
            assert ask(registry, "registry.invalid:5001/app:1") == reason("tls")  # a proxy vouches for nobody
    first = f"CONNECT {NAME} HTTP/1.0\r\nproxy-authorization: {basic('me:p@ss')}\r\n\r\n"
    assert proxy.heads[0] == first
    assert len(proxy.heads) == 2
    assert "proxy-authorization" not in secure.heads[0].lower()
    assert secure.asked[0] == "HEAD /v2/app/manifests/0"


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("registry.lan", "DNS:*.lan", GOOD),
        ("Registry.LAN", "DNS:*.lan", GOOD),
        ("registry.home.lan", "DNS:*.home.lan", GOOD),
        ("registry.home.lan", "DNS:*.lan", reason("tls")),
        ("lan", "DNS:*.lan", reason("tls")),
        ("registry.lan", "DNS:other.lan", reason("tls")),
        ("10.1.2.3", "IP:10.1.2.3", GOOD),
        ("10.1.2.3", "DNS:10.1.2.3", reason("tls")),
        ("10.1.2.3", "DNS:*.1.2.3", reason("tls")),
    ],
)
def test_certificates_are_for_the_names_that_the_engine_says(
    tmp_path: Path, name: str, names: str, expected: Reply
) -> None:
    ca = make_certificate(tmp_path, names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    host = f"{name}:5000"
    with (
        Misbehaving(lambda _: [OK], tls=context) as server,
        contextlib.closing(Tunnels(server.host)) as proxy,
        client(environ={"HTTPS_PROXY": proxy.host}, hosts={host: RegistrySettings(ca_file=ca)}) as registry,
    ):
        assert ask(registry, f"{host}/app:1") == expected


def test_a_registry_without_tls_is_asked_by_the_proxy() -> None:
    with (
        Misbehaving(lambda _: [OK]) as proxy,
        client(environ={"http_proxy": proxy.host}, hosts={NAME: RegistrySettings(http=True)}) as registry,
    ):
        assert [ask(registry, f"{NAME}/app:{n}") for n in range(2)] == [GOOD] * 2
        assert proxy.asked == [f"HEAD http://{NAME}/v2/app/manifests/{n}" for n in range(2)]
        assert proxy.asked[0].header("Host") == NAME
        assert proxy.connections == 1


@pytest.mark.parametrize("answer", [[http(407)], [head(status=403)], [b"SSH-2.0-x\r\n\r\n"]])
def test_a_proxy_that_refuses_is_a_registry_out_of_reach(answer: list[bytes]) -> None:
    def refuse(_asked: Asked) -> Iterable[bytes]:
        return answer

    with Misbehaving(refuse) as proxy, client(environ={"HTTPS_PROXY": f"http://{proxy.host}"}) as registry:
        assert ask(registry, f"{NAME}/app:1").reason in ("unreachable", "bad_answer")
        assert [asked.split()[0] for asked in proxy.asked] == ["CONNECT"]


@each(
    ("url", "no_proxy", "is_spared"),
    [
        ("https://ghcr.io", "", False),
        ("https://ghcr.io", "example.com,ghcr.io", True),
        ("https://ghcr.io", " GHCR.io ", True),
        ("https://ghcr.io", "*", True),
        ("https://ghcr.io", "example.com,*", True),
        ("https://ghcr.io", "*:443", False),
        ("https://ghcr.io", "*ghcr.io", False),
        ("https://ghcr.io", "ghcr.io:", True),
        ("https://ghcr.io", "cr.io", False),
        ("https://eu.ghcr.io", "ghcr.io", True),
        ("https://eu.ghcr.io", ".ghcr.io", True),
        ("https://eu.ghcr.io", "*.ghcr.io", True),
        ("https://ghcr.io", ".ghcr.io", False),
        ("https://h.io:5000", "h.io:5000", True),
        ("https://h.io:5000", "h.io:5001", False),
        ("https://h.io:5000", ":5000", False),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3:5000", "10.1.2.3", True),
        ("https://11.1.2.3", "10.0.0.0/8", False),
        ("https://h.io", "10.0.0.0/8", False),
        ("https://[fd00::1]", "fd00::/8", True),
        ("https://[fd00::1]:5000", "[fd00::1]:5000", True),
        ("https://[fd00::1]:5000", "[fd00::1]:5001", False),
        ("http://localhost:5000", "", True),
        ("http://127.8.8.8", "", True),
        ("https://[::1]", "", True),
    ],
)
def test_no_proxy(url: str, no_proxy: str, is_spared: bool) -> None:  # noqa: FBT001
    proxies = Wire({"HTTPS_PROXY": "p:1", "http_proxy": "p:1", "NO_PROXY": no_proxy})
    assert (proxies.manager(parse_url(url)).proxy is None) == is_spared


def test_each_scheme_has_its_own_proxy_and_upper_case_comes_first() -> None:
    """As with the engine, and with whatever else is written in Go."""
    proxies = Wire({"https_proxy": "http://old:1", "HTTPS_PROXY": "http://me:s3cret@new:3128/"})
    proxy = proxies.manager(parse_url("https://ghcr.io"))
    assert str(proxy.proxy) == "http://new:3128"
    assert "s3cret" not in repr(proxy)
    assert proxies.manager(parse_url("http://ghcr.io")).proxy is None


@each(
    ("text", "address", "login"),
    [
        ("p", "p:80", ""),
        ("HTTP://P.Lan:3128/", "p.lan:3128", ""),
        ("u:p@my_proxy.lan:3128", "my_proxy.lan:3128", "u:p"),
        ("http://u@[fd00::1]:3128", "[fd00::1]:3128", "u:"),
        ("http://u:p@q@p:1", "p:1", "u:p@q"),
        (r"http://DOM\u:p@p:1", "p:1", r"DOM\u:p"),
        ("http://DOM%5Cu:p%40q%@p:1", "p:1", r"DOM\u:p@q%"),
        ("http://u:пароль@p:1", "p:1", "u:пароль"),
        ("http://u:%C3%A9@p:1", "p:1", "u:é"),
        (" http://u:p@p:3128\r\n", "p:3128", "u:p"),
        ("http://p ", "p:80", ""),
    ],
)
def test_the_address_of_a_proxy_and_the_login_in_it(text: str, address: str, login: str) -> None:
    proxy = Wire({"HTTPS_PROXY": text}).manager(parse_url("https://ghcr.io"))
    assert isinstance(proxy, ProxyManager)
    assert proxy.proxy
    assert f"{proxy.proxy.host}:{proxy.proxy.port}" == address
    assert dict(proxy.proxy_headers) == ({"proxy-authorization": basic(login)} if login else {})


@pytest.mark.parametrize(
    "text",
    [
        *("https://p:1", "socks5://p:1", "http://", "http://:1", "http://p:port", "http://u:s3cret@p:99999"),
        *("::1", "http://p q", "http://[::1"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Wire({"HTTPS_PROXY": text})
    [problem] = caught.value.problems
    assert problem.startswith("environment HTTPS_PROXY: write http://host:port")
    assert "s3cret" not in problem

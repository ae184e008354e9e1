"""Where registries are: plain or TLS, whose certificates, mirrors, and registries the engine calls insecure."""

from __future__ import annotations

import os
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from urllib3 import HTTPHeaderDict

from dockwarden.config.settings import RegistrySettings
from dockwarden.model import ImageStore
from dockwarden.ports import Reply
from dockwarden.registry import HttpRegistry
from dockwarden.registry.endpoint import _redirected
from dockwarden.registry.message import Answer, FailedError, parse_url
from dockwarden.registry.places import Places
from tests.builders import an_engine
from tests.lab.loopback import free_port, make_certificate
from tests.tables import each
from tests.unit.misbehaving import Misbehaving, http, json_answer
from tests.unit.registries import DIGEST, OK, OTHER, ask, asking, client, engine, head, image, reason, sha

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.unit.misbehaving import Asked

GOOD = Reply(digest=DIGEST)
NONE = Path("/nonexistent")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder)
    return folder


@pytest.fixture(scope="module")
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
    return context


@each(
    ("registry", "urls"),
    [
        ("docker.io", ["https://registry-1.docker.io/"]),
        ("registry-1.docker.io", ["https://registry-1.docker.io/"]),
        ("ghcr.io", ["https://ghcr.io/"]),
        ("localhost", ["http://localhost/", "https://localhost/"]),
        ("localhost:5000", ["http://localhost:5000/", "https://localhost:5000/"]),
        ("127.9.9.9:5000", ["http://127.9.9.9:5000/", "https://127.9.9.9:5000/"]),
        ("[::1]:5000", ["http://[::1]:5000/", "https://[::1]:5000/"]),
        ("10.0.0.1:5000", ["https://10.0.0.1:5000/"]),
        ("127.0.0.1.evil.io", ["https://127.0.0.1.evil.io/"]),
        ("plain.io", ["http://plain.io/"]),
        ("127.0.0.1:1", ["https://127.0.0.1:1/"]),
        ("192.168.1.7:5000", ["https://192.168.1.7:5000/", "http://192.168.1.7:5000/"]),
        ("lab.local:5000", ["https://lab.local:5000/", "http://lab.local:5000/"]),
        ("lab.local:5001", ["https://lab.local:5001/"]),
        ("127.1:5000", ["https://127.1:5000/", "http://127.1:5000/"]),  # a name whose address is in a network
        ("10.1:5000", ["https://10.1:5000/"]),
        ("[fd00::1]", ["https://[fd00::1]/", "http://[fd00::1]/"]),
        ("secure.local", ["https://secure.local/"]),
    ],
)
def test_address(registry: str, urls: list[str]) -> None:
    hosts = {
        "plain.io": RegistrySettings(http=True),
        "127.0.0.1:1": RegistrySettings(http=False),
        "secure.local": RegistrySettings(http=False),
    }
    insecure = ("127.0.0.0/8", "::1/128", "192.168.0.0/16", "fd00::/8", "lab.local:5000", "secure.local", "no/thing")
    places = Places(hosts, NONE)
    places.heed(replace(an_engine(), insecure_registries=insecure))
    (site,) = places.sites(registry)
    assert [str(place.url) for place in site.places] == urls
    assert all(place.is_verified for place in site.places) == (len(urls) == 1)


def test_mirrors_come_first_and_for_docker_hub_only() -> None:
    places = Places({"a.io:5000": RegistrySettings(username="x")}, NONE)
    says = replace(an_engine(), mirrors=("https://a.io:5000/", "http://b.io/", "not a url"))
    assert places.heed(says)
    assert not places.heed(replace(says, name="the same"))
    assert [(site.host, str(site.places[0].url)) for site in places.sites("docker.io")] == [
        ("a.io:5000", "https://a.io:5000/"),
        ("b.io", "http://b.io/"),
        ("docker.io", "https://registry-1.docker.io/"),
    ]
    assert [site.host for site in places.sites("ghcr.io")] == ["ghcr.io"]


@each(
    ("mirror", "addresses", "trusts_plain"),
    [
        ("https://a.io", ["https://a.io/"], False),
        ("http://a.io", ["http://a.io/"], True),
        ("https://lab.local", ["insecure https://lab.local/"], True),
        ("http://lab.local", ["http://lab.local/"], True),
        ("https://192.168.1.7:5000", ["insecure https://192.168.1.7:5000/"], True),
        ("https://127.0.0.1:5000", ["https://127.0.0.1:5000/"], True),
    ],
)
def test_a_mirror_is_asked_as_its_address_says(mirror: str, addresses: list[str], *, trusts_plain: bool) -> None:
    """Never without TLS where that is written, and only then may a password go there in the clear; the Hub never is."""
    places = Places({}, NONE)
    insecure = ("lab.local", "192.168.0.0/16", "docker.io", "registry-1.docker.io")
    places.heed(replace(an_engine(), mirrors=(mirror,), insecure_registries=insecure))
    told = [
        ([f"{'' if place.is_verified else 'insecure '}{place.url}" for place in site.places], site.trusts_plain)
        for site in places.sites("docker.io")
    ]
    assert told == [(addresses, trusts_plain), (["https://registry-1.docker.io/"], False)]


def test_mirror_that_fails_is_passed_over() -> None:
    hub = RegistrySettings(ca_file=NONE)  # so that nobody there is asked
    with (
        Misbehaving(lambda _: [OK]) as good,
        Misbehaving(lambda _: [head(status=404)]) as bad,
        client(
            engine=engine(mirrors=(f"http://{bad.host}", f"http://{good.host}")), hosts={"docker.io": hub}
        ) as registry,
    ):
        assert ask(registry, "busybox") == GOOD
        assert good.asked == bad.asked[:1] == ["HEAD /v2/library/busybox/manifests/latest"]
        good._answer = lambda _: [head(status=500)]
        assert ask(registry, "alpine") == reason("tls")


@pytest.mark.parametrize("path", ["docker_hub", "docker_hub/", "a/b"])
@pytest.mark.parametrize("is_first", [False, True])
def test_mirror_with_a_path(path: str, is_first: bool) -> None:  # noqa: FBT001
    """Engines before 28 ask below the path, later ones put it first; another repository's digest is none."""
    base = f"/{path.strip('/')}/v2/" if is_first else f"/v2/{path.strip('/')}/"

    def answer(asked: Asked) -> Iterable[bytes]:
        if not asked.split()[1].startswith(base):
            return (
                [head(f"Docker-Content-Digest: {OTHER}")]
                if asked.split()[1].startswith("/v2/library/")
                else [http(404)]
            )
        return [OK] if asked.startswith("HEAD") else [json_answer({"tags": ["1"]})]

    hub = RegistrySettings(ca_file=NONE)  # so that nobody there is asked
    with (
        Misbehaving(answer) as mirror,
        client(engine=engine(mirrors=(f"http://{mirror.host}/{path}",)), hosts={"docker.io": hub}) as registry,
    ):
        assert ask(registry, "busybox") == GOOD
        assert ask(registry, "team/app:1") == GOOD
        assert ask(registry, "team/app", "tags") == Reply(tags=("1",))
        asked = [asked.split()[1] for asked in mirror.asked if asked.split()[1].startswith(base)]
        assert asked == [
            f"{base}library/busybox/manifests/latest",
            f"{base}team/app/manifests/1",
            f"{base}team/app/tags/list?n=1000",
        ]


def test_mirrors_are_those_of_the_engine_as_it_is_now() -> None:
    says = replace(an_engine(), mirrors=("http://127.0.0.1:1",))
    hub = RegistrySettings(ca_file=NONE)  # so that nobody there is asked
    with (
        Misbehaving(lambda _: [OK]) as mirror,
        client(engine=lambda: says, hosts={"docker.io": hub}) as registry,
    ):
        assert ask(registry, "busybox") == reason("tls")
        says = replace(says, mirrors=(f"http://{mirror.host}",))
        assert ask(registry, "busybox") == GOOD  # what the other one said counts no more


_PULL, _RESOLVE = 'capabilities = ["pull"]', 'capabilities = ["pull", "Resolve"]'
READER = replace(an_engine(ImageStore.CONTAINERD), api_version="1.48", mirrors=("https://old.io",))


@each(
    ("registry", "folder", "text", "asked"),
    [
        ("a.io", "a.io", "", ["https://a.io/v2/"]),
        ("a.io", "a.io", "server =", ["https://a.io/v2/"]),
        ("a.io", "a.io", "server = 5", ["https://a.io/v2/"]),
        ("a.io", "a.io", "host = 5", ["https://a.io/v2/"]),
        ("a.io", "b.io", '[host."http://m"]', ["https://a.io/v2/"]),
        ("a.io", "a.io", 'server = "https://b.io"', ["https://b.io/v2/"]),
        ("a.io", "a.io", 'server = "b.io:5000/"', ["https://b.io:5000/v2/"]),
        ("a.io", "a.io", "skip_verify = true", ["insecure https://a.io/v2/"]),
        ("a.io", "a.io", '[host."http://m"]', ["http://m/v2/", "https://a.io/v2/"]),
        ("a.io", "_default", f'[host."http://m"]\n{_RESOLVE}', ["http://m/v2/", "https://a.io/v2/"]),
        ("a.io", "a.io", f'[host."http://m"]\n{_PULL}', ["https://a.io/v2/"]),
        ("a.io", "a.io", '[host."http://m"]\ncapabilities = ["resolve"]', ["https://a.io/v2/"]),
        ("a.io", "a.io", '[host."http://m"]\ncapabilities = ["pull", "resolved"]', ["https://a.io/v2/"]),
        ("a.io", "a.io", '[host."http://m"]\nskip_verify = "true"', ["https://a.io/v2/"]),
        ("a.io", "a.io", '[host."http://m".header]\nx = 5', ["https://a.io/v2/"]),
        ("a.io", "a.io", '[host."http://m"]\nca = 5', ["https://a.io/v2/"]),
        ("a.io", "a.io", '[host."http://m"]\nclient = ["a", ["b", "c", "d"]]', ["https://a.io/v2/"]),
        ("a.io", "a.io", '[host."http://m"]\nnew = 1\n[more]', ["http://m/v2/", "https://a.io/v2/"]),
        ("a.io", "a.io", f'{_PULL}\n[host."http://m"]', ["http://m/v2/", "https://a.io/v2/"]),
        ("a.io", "a.io", f'server = "https://b.io"\n{_PULL}\n[host."http://m"]', ["http://m/v2/"]),
        ("a.io", "a.io", '[host."https://m/p/"]\n[host.n]', ["https://m/p/v2/", "https://n/v2/", "https://a.io/v2/"]),
        ("a.io", "a.io", '[host."https://m/p/v2"]', ["https://m/p/v2/", "https://a.io/v2/"]),
        ("a.io", "a.io", '[host."https://m/p"]\noverride_path = true', ["https://m/p/", "https://a.io/v2/"]),
        ("a.io:5000", "a.io_5000_", '[host."http://m:1"]', ["http://m:1/v2/", "https://a.io:5000/v2/"]),
        ("a.io:5000", "a.io:5000", '[host."http://m:1"]', ["http://m:1/v2/", "https://a.io:5000/v2/"]),
        (
            "a.io", "a.io", '[host."http://m:1"]\nskip_verify = true',
            ["insecure https://m:1/v2/", "insecure http://m:1/v2/", "https://a.io/v2/"],
        ),
        ("a.io", "a.io", '[host."http://m:1"]\nca = "m.pem"', ["https://m:1/v2/", "http://m:1/v2/", "https://a.io/v2/"]),
        ("docker.io", "docker.io", '[host."http://m"]', ["http://m/v2/", "https://registry-1.docker.io/v2/"]),
        ("docker.io", "docker.io", 'server = "http://m"', ["https://old.io/v2/", "http://m/v2/"]),
        ("docker.io", "a.io", 'server = "http://m"', ["https://old.io/v2/", "https://registry-1.docker.io/v2/"]),
    ],
)  # fmt: skip
def test_the_file_that_says_whom_a_containerd_store_asks(
    tmp_path: Path, registry: str, folder: str, text: str, asked: list[str]
) -> None:
    folders = tmp_path / str(len(list(tmp_path.iterdir())))
    (folders / folder).mkdir(parents=True)
    (folders / folder / "hosts.toml").write_text(text)
    places = Places({}, folders)
    places.heed(READER)
    found = [(site.base, place) for site in places.sites(registry) for place in site.places]
    told = [f"{'' if place.is_verified else 'insecure '}{place.url.server}"[:-1] + base for base, place in found]
    assert told == asked
    plain = replace(READER, mirrors=())
    graph, rootless = replace(plain, image_store=ImageStore.GRAPH), replace(plain, rootless=True)
    for other in (graph, rootless, replace(plain, api_version="1.47"), replace(plain, api_version="1.9")):
        places.heed(other)
        assert [site.host for site in places.sites(registry)] == [registry]


@pytest.mark.parametrize(
    ("registry", "server"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("a.io:443", "https://a.io"),
        ("localhost:1", "http://localhost:1"),
    ],
)
def test_a_registry_that_its_file_names_keeps_its_logins(tmp_path: Path, registry: str, server: str) -> None:
    (tmp_path / registry).mkdir()
    (tmp_path / registry / "hosts.toml").write_text(f'server = "{server}"\n[host."https://m"]')
    places = Places({}, tmp_path)
    places.heed(READER)
    assert [(site.host, site.stands_for) for site in places.sites(registry)] == [("m", registry), (registry, "")]


def test_a_folder_that_cannot_be_looked_into_has_no_such_file(tmp_path: Path) -> None:
    places = Places({}, tmp_path)
    places.heed(READER)
    registry = f"{'a' * 300}.io"
    assert [site.host for site in places.sites(registry)] == [registry]


def test_the_file_is_followed_as_it_is_now_and_settings_say_more(tmp_path: Path) -> None:
    (tmp_path / "a.invalid").mkdir()
    file = tmp_path / "a.invalid/hosts.toml"
    with (
        Misbehaving(lambda _: [OK]) as one,
        Misbehaving(lambda _: [head(f"Docker-Content-Digest: {OTHER}")]) as two,
    ):
        file.write_text(f'ca = "none.pem"\n[host."http://{one.host}"]')
        with client(engine=lambda: READER, certificates=tmp_path) as registry:
            assert ask(registry, "a.invalid/app:1") == GOOD
            file.write_text(f'ca = "none.pem"\n[host."http://{two.host}/other"]')
            assert ask(registry, "a.invalid/app:2") == Reply(digest=OTHER)
            file.write_text('ca = "none.pem"')
            assert ask(registry, "a.invalid/app:3") == reason("tls")
        hosts = {"a.invalid": RegistrySettings(ca_file=NONE)}
        file.write_text(f'[host."http://{one.host}"]')
        with client(engine=lambda: READER, certificates=tmp_path, hosts=hosts) as registry:
            assert ask(registry, "a.invalid/app:1") == reason("tls")
        assert [one.asked, two.asked] == [
            ["HEAD /v2/app/manifests/1?ns=a.invalid"], ["HEAD /other/v2/app/manifests/2?ns=a.invalid"]
        ]  # fmt: skip


def test_no_redirect_from_tls_to_plain_text() -> None:
    def redirected(start: str, location: str) -> str:
        answer = Answer(302, HTTPHeaderDict())
        answer.headers["Location"] = location
        return str(_redirected(parse_url(start), answer))

    with pytest.raises(FailedError, match="bad_answer"):
        redirected("https://h/v2/", "http://h/v2/")
    assert redirected("http://h/v2/", "https://h/x") == "https://h/x"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unusable_ca_file(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    with client(hosts={"127.0.0.1:1": RegistrySettings(http=False, ca_file=path)}) as registry:
        assert ask(registry, "127.0.0.1:1/app:1") == reason("tls")


def test_tls(tls: ssl.SSLContext, certificate: Path, tmp_path: Path) -> None:
    with Misbehaving(lambda _: [OK], tls=tls) as server:
        secure = RegistrySettings(http=False, ca_file=certificate / "ca.crt")
        with client(hosts={server.host: secure}) as registry:
            assert [ask(registry, f"{server.host}/app:{n}") for n in range(3)] == [GOOD] * 3
            assert server.connections == 1
        with client(hosts={server.host: RegistrySettings(http=False)}) as registry:
            assert ask(registry, f"{server.host}/app:1") == reason("tls")
        (tmp_path / server.host).mkdir()
        (tmp_path / server.host / "ca.crt").write_bytes((certificate / "ca.crt").read_bytes())
        hosts = {server.host: RegistrySettings(http=False)}
        registry = HttpRegistry(hosts=hosts, certificates=tmp_path, docker_config=tmp_path / "none")
        assert ask(registry, f"{server.host}/app:1") == GOOD
        registry.close()


@pytest.mark.parametrize("name", ["ca.crt", "me.cert"])
def test_a_certificate_that_is_a_fifo_is_not_waited_for(tmp_path: Path, name: str) -> None:
    """Who opens one waits for somebody to write, and with him all who ask the registry."""
    folder = tmp_path / "127.0.0.1:1"
    folder.mkdir()
    os.mkfifo(folder / name)
    (folder / "me.key").touch()
    with client(hosts={folder.name: RegistrySettings(http=False)}, certificates=tmp_path) as registry:
        assert ask(registry, f"{folder.name}/app:1") == reason("tls")


def test_certificates_need_not_be_as_strict_as_newer_pythons_want_them(
    tls: ssl.SSLContext, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs in Go take an authority that does not say what its key is for, as many of people's own do not."""

    def create_default_context() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python does from 3.13 on
        return context

    monkeypatch.setattr("ssl.create_default_context", create_default_context)
    (tmp_path / "ca.crt").write_bytes((certificate / "ca.crt").read_bytes())
    with Misbehaving(lambda _: [OK], tls=tls) as server:
        host = RegistrySettings(http=False, ca_file=tmp_path / "ca.crt")
        with client(hosts={server.host: host}) as registry:
            assert ask(registry, f"{server.host}/app:1") == GOOD


@pytest.mark.parametrize(
    ("key", "cipher"), [("ec -pkeyopt ec_paramgen_curve:prime256v1", "ECDHE-ECDSA-AES128-SHA"), ("rsa:1024", "DEFAULT")]
)
def test_older_servers_are_spoken_to_as_the_engine_does(tmp_path: Path, key: str, cipher: str) -> None:
    made = f"req -x509 -newkey {key} -nodes -subj /CN=x -addext subjectAltName=IP:127.0.0.1 -keyout key -out crt"
    subprocess.run(["openssl", *made.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    with Misbehaving(lambda _: [OK], tls=context) as server:
        host = RegistrySettings(http=False, ca_file=tmp_path / "crt")
        with client(hosts={server.host: host}) as registry:
            assert ask(registry, f"{server.host}/app:1") == GOOD


@pytest.mark.parametrize(("names", "expected"), [("DNS:localhost", GOOD), ("email:a@localhost", reason("tls"))])
def test_a_name_that_only_the_subject_says_does_not_count(tmp_path: Path, names: str, expected: Reply) -> None:
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key"
    made = f"req -x509 {key} -subj /CN=localhost -addext subjectAltName={names} -out crt"
    subprocess.run(["openssl", *made.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    with Misbehaving(lambda _: [OK], tls=context) as server:
        host = f"localhost:{server.host.partition(':')[2]}"
        with client(hosts={host: RegistrySettings(http=False, ca_file=tmp_path / "crt")}) as registry:
            assert ask(registry, f"{host}/app:1") == expected


@pytest.fixture
def strict(certificate: Path) -> ssl.SSLContext:
    """Wants to see a certificate of whoever asks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
    context.load_verify_locations(certificate / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("a.crt:ca.crt me.cert:server.crt me.key:server.key", GOOD),
        ("z.crt:server.crt me.cert:server.crt me.key:server.key", GOOD),  # its own, without who signed it
        ("a.crt:other.crt z.crt:ca.crt me.cert:server.crt me.key:server.key", GOOD),
        ("a.crt:other.crt me.cert:server.crt me.key:server.key", reason("tls")),
        ("ca.crt:ca.crt me.cert:server.crt", reason("tls")),
        ("ca.crt:ca.crt me.cert:server.crt me.key:locked.key", reason("tls")),
        ("ca.crt:san", reason("tls")),
        ("ca.crt:ca.crt z.crt:san me.cert:server.crt me.key:server.key", GOOD),
    ],
)
def test_certificates_are_those_that_the_engine_takes(
    strict: ssl.SSLContext, certificate: Path, tmp_path: Path, files: str, expected: Reply
) -> None:
    make_certificate(other := tmp_path)
    (certificate / "other.crt").write_bytes((other / "ca.crt").read_bytes())
    lock = "pkey -aes128 -passout pass:x -in server.key -out locked.key"
    subprocess.run(["openssl", *lock.split()], cwd=certificate, check=True, capture_output=True)
    with Misbehaving(lambda _: [OK], tls=strict) as server:
        folder = tmp_path / "certs.d" / server.host
        folder.mkdir(parents=True)
        for name, source in (pair.split(":") for pair in files.split()):
            (folder / name).write_bytes((certificate / source).read_bytes())
        with client(hosts={server.host: RegistrySettings(http=False)}, certificates=folder.parent) as registry:
            assert ask(registry, f"{server.host}/app:1") == expected
            for path in folder.iterdir():  # what they are now is looked at for each connection
                path.unlink()
            assert ask(registry, f"{server.host}/app:2", max_age_seconds=0) == reason("tls")


@pytest.mark.parametrize(
    ("folder", "text", "expected"),
    [
        ("127.0.0.1:{port}", None, GOOD),
        ("127.0.0.1_{port}_", None, GOOD),
        ("_default", None, GOOD),
        ("_default", "", GOOD),
        ("_default", "server =", GOOD),
        ("127.0.0.1", None, reason("refused")),
        ("_default", "[host]", reason("refused")),  # a file that says anything says all
        ("_default", 'ca = "ca.crt"\nclient = [["me.cert", "me.key"]]', GOOD),
        ("_default", 'ca = ["none.crt", "ca.crt"]\nclient = "both.pem"', reason("tls")),
        ("_default", 'ca = ["ca.crt"]\nclient = ["both.pem"]', GOOD),
        ("_default", 'client = [["me.cert", "me.key"]]', reason("tls")),
        ("_default", 'ca = "ca.crt"\nclient = [["me.cert"]]', GOOD),  # which is malformed, and so says nothing
    ],
)
def test_certificates_are_where_a_containerd_store_finds_them(
    strict: ssl.SSLContext, certificate: Path, tmp_path: Path, folder: str, text: str | None, expected: Reply
) -> None:
    """The first folder of those counts, and in it the engine's file, or else what is there."""
    with Misbehaving(lambda _: [OK], tls=strict) as server:
        here = tmp_path / folder.format(port=server.host.partition(":")[2])
        here.mkdir()
        for name, source in (("ca.crt", "ca.crt"), ("me.cert", "server.crt"), ("me.key", "server.key")):
            (here / name).write_bytes((certificate / source).read_bytes())
        (here / "both.pem").write_bytes((here / "me.cert").read_bytes() + (here / "me.key").read_bytes())
        if text is not None:
            server_too = f'server = "https://{server.host}"\n' if "c" in text else ""
            (here / "hosts.toml").write_text(server_too + text)
        with client(engine=lambda: READER, certificates=tmp_path) as registry:
            assert ask(registry, f"{server.host}/app:1") == expected


def test_headers_that_the_engines_file_names_are_for_that_host_alone(tmp_path: Path) -> None:
    (tmp_path / "a.invalid").mkdir()
    with Misbehaving(lambda _: [OK]) as other:
        moved = head(f"Location: http://{other.host}/v2/app/manifests/1", status=307)
        with Misbehaving(lambda _: [moved]) as mirror:
            named = 'x-me = ["a", "b"]\nauthorization = "Basic bWU6aXQ="'
            (tmp_path / "a.invalid/hosts.toml").write_text(f'[host."http://{mirror.host}".header]\n{named}')
            with client(engine=lambda: READER, certificates=tmp_path) as registry:
                assert ask(registry, "a.invalid/app:1") == GOOD
            told = [[asked.header(name) for name in ("X-Me", "Authorization")] for asked in mirror.asked + other.asked]
            assert told == [["a, b", "Basic bWU6aXQ="], ["", ""]]


def test_a_key_that_only_root_can_read_is_left_to_the_engine(
    tls: ssl.SSLContext, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many put a server's own pair there, as some manuals say, which no server asks for."""
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path).suffix != ".key")
    with Misbehaving(lambda _: [OK], tls=tls) as server:
        folder = tmp_path / server.host
        folder.mkdir()
        (folder / "ca.crt").write_bytes((certificate / "ca.crt").read_bytes())
        (folder / "h.cert").write_bytes((certificate / "server.crt").read_bytes())
        (folder / "h.key").write_text("not to be read")
        with client(hosts={server.host: RegistrySettings(http=False)}, certificates=tmp_path) as registry:
            assert ask(registry, f"{server.host}/app:1") == GOOD


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_on_this_host_a_registry_may_speak_tls(tls: ssl.SSLContext, name: str) -> None:
    """To the engine all of the loopback is insecure. What refuses without TLS may be a registry all the same."""
    with Misbehaving(lambda _: [OK], tls=tls) as server, client() as registry:
        host = server.host.replace("127.0.0.1", name)
        assert [ask(registry, f"{host}/app:{n}") for n in range(3)] == [GOOD] * 3
        assert server.connections == 2
    body = image()
    with asking(lambda asked: [head(status=400) if asked[0] == "H" else http(200, body)]) as (registry, server):
        assert [ask(registry, f"{server.host}/app:{n}") for n in range(3)] == [Reply(digest=sha(body))] * 3


def test_an_insecure_registry_may_send_us_to_its_tls(tls: ssl.SSLContext) -> None:
    """Whose certificate is not looked at either, as the engine does not."""
    with Misbehaving(lambda _: [OK], tls=tls) as server:
        location = f"Location: https://{server.host}/v2/app/manifests/1"
        with asking(lambda _: [head(location, status=301)]) as (registry, first):
            assert ask(registry, f"{first.host}/app:1") == GOOD
        with Misbehaving(lambda _: [head(location, status=301)]) as first:
            plain = RegistrySettings(http=True)  # which settings say, not the engine
            with client(hosts={first.host: plain}) as registry:
                assert ask(registry, f"{first.host}/app:1") == reason("tls")


def test_certificate_for_another_host(tls: ssl.SSLContext, certificate: Path) -> None:
    with Misbehaving(lambda _: [OK], tls=tls) as server:
        name = f"127.0.0.2:{server.host.partition(':')[2]}"
        with (
            Misbehaving(lambda _: []) as _,
            client(hosts={name: RegistrySettings(http=False, ca_file=certificate / "ca.crt")}) as registry,
        ):
            assert ask(registry, f"{name}/app:1").reason in ("tls", "unreachable")


def test_insecure_registry_with_tls(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.message.Url.is_loopback", False)
    with Misbehaving(lambda _: [OK], tls=tls) as server:
        with client(engine=engine(insecure_registries=("127.0.0.0/8",))) as registry:
            assert [ask(registry, f"{server.host}/app:{n}") for n in range(3)] == [GOOD] * 3
        with client() as registry:
            assert ask(registry, f"{server.host}/app:1") == reason("tls")


def test_insecure_registry_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.message.Url.is_loopback", False)
    observed: list[str] = []
    with (
        Misbehaving(lambda _: [OK]) as server,
        client(
            engine=engine(insecure_registries=(server.host,)),
            observe=lambda _host, _method, code: observed.append(code),
        ) as registry,
    ):
        assert [ask(registry, f"{server.host}/app:{n}") for n in range(3)] == [GOOD] * 3
        assert observed == ["tls", "200", "200", "200"]  # what spoke once is kept to


def test_insecure_registry_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.registry.message.Url.is_loopback", False)
    host = f"127.0.0.1:{free_port()}"
    with client(engine=engine(insecure_registries=(host,))) as registry:
        for n in range(8):
            assert ask(registry, f"{host}/app:{n}") == reason("unreachable")


@pytest.mark.parametrize("username", ["", "alice"])
def test_no_password_goes_to_a_plain_realm(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch, username: str
) -> None:
    """A registry with TLS may not have the password sent without, wherever; what anybody is given, anybody may see."""
    monkeypatch.setattr("dockwarden.registry.message.Url.is_loopback", False)

    def answer(asked: Asked) -> Iterable[bytes]:
        challenge = f'WWW-Authenticate: Bearer realm="http://{realm.host}/token"'
        return [OK if asked.header("Authorization") else head(challenge, status=401)]

    with Misbehaving(lambda _: [json_answer({"token": "x"})]) as realm, Misbehaving(answer, tls=tls) as server:
        host = RegistrySettings(ca_file=certificate / "ca.crt", username=username)
        with client(hosts={server.host: host}) as registry:
            assert ask(registry, f"{server.host}/app:1") == (reason("bad_answer") if username else GOOD)
        assert len(realm.asked) == (not username)


def test_token_from_a_realm_with_tls(tls: ssl.SSLContext, certificate: Path) -> None:
    def answer(asked: Asked) -> Iterable[bytes]:
        if asked.header("Authorization") == "Bearer x":
            return [OK]
        return [head(f'WWW-Authenticate: Bearer realm="https://{realm.host}/token"', status=401)]

    with (
        Misbehaving(lambda _: [json_answer({"token": "x"})], tls=tls) as realm,
        Misbehaving(answer, tls=tls) as server,
        client(hosts={server.host: RegistrySettings(http=False, ca_file=certificate / "ca.crt")}) as registry,
    ):
        assert ask(registry, f"{server.host}/app:1") == GOOD
        assert realm.asked == ["GET /token?scope=repository%3Aapp%3Apull"]


def test_plain_http_where_tls_is_expected() -> None:
    with asking(lambda _: [OK]) as (_, server), client(hosts={server.host: RegistrySettings(http=False)}) as registry:
        assert ask(registry, f"{server.host}/app:1") == reason("tls")

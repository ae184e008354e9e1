"""Settings: who wins, and what is said of each mistake and where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dockwarden.config import packs, secret_files
from dockwarden.config import settings as module
from dockwarden.config.settings import Settings, read_settings
from dockwarden.errors import ConfigError
from dockwarden.model import Mode
from dockwarden.reference import NO_REGISTRIES

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nobody has set anything."""
    for name in os.environ:
        if name.upper().startswith("DOCKWARDEN") or name == "STATE_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setattr(module, "DEFAULT_FILE", tmp_path / "etc" / "dockwarden.yaml")
    monkeypatch.setattr(secret_files, "FOLDER", tmp_path / "run")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "dockwarden.yaml"
        path.write_text(text)
        return path

    return write


def problems(config: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_settings(config)
    return caught.value.problems


# -- who wins ----------------------------------------------------------------------------------------------


def test_without_anything_the_defaults_hold() -> None:
    chosen = read_settings(None)
    assert (chosen.allow, chosen.minimum_stay, chosen.resync) == (Mode.ENFORCE, 3600.0, 600.0)
    assert (chosen.web.listen, chosen.web.address) == ("127.0.0.1:9877", ("127.0.0.1", 9877))
    assert (chosen.log.format, chosen.log.level) == ("auto", "info")
    assert chosen.state_dir == Path("/var/lib/dockwarden")
    assert len(chosen.policies) == 1


def test_a_file_wins_over_defaults(file: Callable[[str], Path]) -> None:
    text = "minimum_stay: 2h\nweb: {listen: '[::]:80'}\nregistries:\n  h.io:5000: {http: true}\n"
    chosen = read_settings(file(text))
    assert (chosen.minimum_stay, chosen.web.address) == (7200.0, ("::", 80))
    assert chosen.registries["h.io:5000"].http is True
    assert chosen.log.level == "info"


def test_the_environment_wins_over_a_file(file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = file("minimum_stay: 2h\nweb: {listen: '127.0.0.1:1'}\nlog: {level: debug, format: json}\n")
    monkeypatch.setenv("DOCKWARDEN_MINIMUM_STAY", "3h")
    monkeypatch.setenv("DOCKWARDEN_LOG__LEVEL", "error")
    chosen = read_settings(path)
    assert (chosen.minimum_stay, chosen.web.listen) == (10800.0, "127.0.0.1:1")
    assert (chosen.log.level, chosen.log.format) == ("error", "json"), "the rest of the section got lost"


def test_the_flag_wins_over_all(file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKWARDEN_ALLOW", "enforce")
    assert read_settings(file("allow: enforce"), audit=True).allow is Mode.AUDIT


def test_a_file_can_be_named_by_the_environment_and_a_flag_names_another(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKWARDEN_CONFIG", str(file("resync: 20m")))
    assert read_settings(None).resync == 1200.0
    other = tmp_path / "other.yaml"
    other.write_text("resync: 30m")
    assert read_settings(other).resync == 1800.0


def test_the_file_at_the_usual_place_is_read_if_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "dockwarden.yaml").write_text("resync: 20m")
    assert read_settings(None).resync == 1200.0


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing but a comment\n", "{}\n", "---\n", "web:\nregistries:\n  # a.io:\n"]
)
def test_an_empty_file_says_nothing(file: Callable[[str], Path], text: str) -> None:
    assert read_settings(file(text)).resync == 600.0


def test_systemd_tells_where_state_belongs_and_a_setting_wins(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    assert read_settings(None).state_dir == Path("/var/lib/one")
    assert read_settings(file("state_dir: /srv/state")).state_dir == Path("/srv/state")
    monkeypatch.setenv("DOCKWARDEN_STATE_DIR", "/mnt")
    assert read_settings(None).state_dir == Path("/mnt")


def test_addresses_may_stand_among_the_names_of_the_web_server(file: Callable[[str], Path]) -> None:
    hosts = ["web.lan", "*.lan", "192.168.1.2", "::1", "[fe80::1]"]
    assert read_settings(file(f"web: {{hosts: {hosts}}}\n")).web.hosts == hosts


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings(None).allow = Mode.AUDIT  # type: ignore[misc]


# -- policies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [("/a", ["/a"]), ("/a:/b c", ["/a", "/b c"]), (":/a::/b:", ["/a", "/b"])],
)
def test_policies_in_the_environment_are_separated_by_colons(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: list[str]
) -> None:
    monkeypatch.setenv("DOCKWARDEN_POLICIES", value)
    assert read_settings(None).policies == expected


def test_policies_in_a_file_are_a_list(file: Callable[[str], Path]) -> None:
    assert read_settings(file("policies: [/a, /b]")).policies == ["/a", "/b"]


def test_where_no_policies_are_named_the_hosts_own_are_added_to_those_shipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packs, "OWN", tmp_path)
    assert read_settings(None).policies == ["shipped", str(tmp_path)]
    monkeypatch.setattr(packs, "OWN", tmp_path / "nothing")
    assert read_settings(None).policies == ["shipped"]


@pytest.mark.parametrize("place", ["settings", "policies"])
@pytest.mark.parametrize("what", ["a folder", "a link to nothing", "a loop"])
def test_what_is_at_the_usual_place_and_cannot_be_used_is_no_reason_to_go_on_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, what: str
) -> None:
    usual = tmp_path / "usual"
    usual.mkdir() if what == "a folder" else usual.symlink_to("usual" if what == "a loop" else "nowhere")
    monkeypatch.setattr(packs, "OWN", usual)
    if place == "policies":
        assert read_settings(None).policies == ["shipped", str(usual)]
    else:
        monkeypatch.setattr(module, "DEFAULT_FILE", usual)
        assert str(usual) in problems()[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine: {event_window: 24h}", "engine.event_window: must be at most 10m"),
        ("engine: {event_window: 0}", "engine.event_window: must be at least 1s"),
        ("notify: {wait: 2h}", "notify.wait: must be at most 1h"),
        ("resync: 0s", "resync: must be at least 1s"),
        ("schedule: {jitter: 0.9}", "schedule.jitter: must be at most 0.5"),
        ("retention: {most: 3}", "retention.most: must be at least 1000"),
    ],
)
def test_bounds_are_told_in_the_unit_of_the_setting(file: Callable[[str], Path], text: str, said: str) -> None:
    assert problems(file(text))[0].endswith(said)


@pytest.mark.parametrize("pack", packs.PACKS)
def test_a_pack_is_some_files(pack: str) -> None:
    assert packs.files(pack)
    assert all(file.is_file() for file in packs.files(pack))


def test_a_policy_can_be_tuned_on_this_host(file: Callable[[str], Path]) -> None:
    text = """
        params: {prune-dangling: {older_than: 48h, keep: 3}}
        modes: {prune-dangling: enforce, other: off}
        triggers: {prune-dangling: {every: 6h}}
    """
    chosen = read_settings(file(text.replace("        ", "")))
    assert chosen.params == {"prune-dangling": {"older_than": "48h", "keep": 3}}
    assert chosen.modes == {"prune-dangling": Mode.ENFORCE, "other": Mode.OFF}
    assert chosen.triggers["prune-dangling"].every == "6h"


# -- secrets -------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    for folder in ("run", "credentials"):
        (tmp_path / folder).mkdir()

    def write(name: str, content: str | bytes, folder: str = "run") -> Path:
        path = tmp_path / folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def login(host: str, config: Path | None = None) -> tuple[str, str]:
    found = read_settings(config).registries[host]
    return found.username, found.password.get_secret_value() if found.password else ""


def test_a_secret_wins_over_the_file_and_joins_what_it_says(
    file: Callable[[str], Path], secret: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file("registries:\n  ghcr.io: {username: me, concurrency: 5, password: old}\nresync: 1h\n")
    secret("dockwarden_registries__ghcr.io__password", " {new} \n")
    assert login("ghcr.io", path) == ("me", " {new} ")
    assert read_settings(path).registries["ghcr.io"].concurrency == 5
    secret("DOCKWARDEN_REGISTRIES__GHCR.IO__PASSWORD", "of systemd", "credentials")
    assert login("ghcr.io", path) == ("me", "of systemd")
    monkeypatch.setenv("DOCKWARDEN_REGISTRIES", '{"ghcr.io": {"password": "of the environment"}}')
    assert login("ghcr.io", path) == ("me", "of the environment")
    secret("dockwarden_resync", "2h\n")
    assert read_settings(path).resync == 7200.0


def test_a_registry_with_a_port_can_be_named_inside_a_file(secret: Callable[..., Path]) -> None:
    secret("dockwarden_registries", '{"h.io:5000": {"username": "me", "password": "p"}}')
    assert login("h.io:5000") == ("me", "p")
    secret("dockwarden_registries__h.io:5000__password", "q", "credentials")  # where such a name is possible
    assert login("h.io:5000") == ("me", "q")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("protect__images", '["app", "*:latest"]'),
        ("web__hosts", '["web-7.lan"]'),
        ("protect", '{"volumes": ["data"]}'),
        ("limits__prune-dangling", '{"max_objects": 3}'),
        ("params__prune-dangling", '{"older_than": "72h"}'),
        ("registries__h.io", '{"username": "me", "password": "[p]"}'),
        ("registries__h.io__username", "[me]"),
        ("schedule__timezone", "UTC"),
    ],
)
def test_a_secret_file_takes_what_a_variable_takes(
    secret: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    with monkeypatch.context() as alone:
        alone.setenv(f"DOCKWARDEN_{name}", text)
        wanted = read_settings(None)
    secret(f"dockwarden_{name}", text)
    assert read_settings(None) == wanted
    assert wanted != Settings()


def test_a_byte_order_mark_is_no_part_of_a_secret(secret: Callable[..., Path]) -> None:
    secret("dockwarden_registries__h.io__username", b"\xef\xbb\xbfme\r\n")
    secret("dockwarden_registries__h.io__password", b"\xef\xbb\xbf[p\xef\xbb\xbf")
    assert login("h.io") == ("me", "[p\ufeff")


def test_secrets_of_others_are_none_of_our_business(
    secret: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = read_settings(None)
    secret("db_password", b"\xff\xfe")
    secret("dockwarden_ghcr_password", "for password_file")
    (tmp_path / "run" / "..data").symlink_to("loop")
    assert read_settings(None) == before
    monkeypatch.setattr(secret_files, "FOLDER", tmp_path / "run" / "db_password")  # no folder, or not for us
    assert read_settings(None) == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("dockwarden_registries__h.io__password", b"\xff", "is not UTF-8 text"),
        ("dockwarden_registries", "{s3cret", "must be JSON"),
        ("dockwarden_registries", '{"me:s3cret@h.io": {"user": "me"}}', "registries.h.io.user: no such setting"),
        ("dockwarden_registries__h.io__passwort", "s3cret", "no such setting"),
        ("dockwarden_registrys__h.io__password", "s3cret", "no such setting"),
        ("dockwarden_allow", "s3cret", "must be 'audit' or 'enforce'"),
    ],
)
def test_a_mistake_in_a_secret_is_named_and_its_content_is_not(
    secret: Callable[..., Path], name: str, content: str | bytes, said: str
) -> None:
    path = secret(name, content)
    [problem] = problems()
    assert problem.startswith(f"secret {path}: ")
    assert said in problem
    assert "s3cret" not in problem


def test_a_problem_is_where_it_is_written_though_a_variable_or_a_secret_says_more(
    file: Callable[[str], Path], secret: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = secret("dockwarden_registries", '{"h.io:5000": {"password_file": "/b"}, "c.io": {"ca_file": "/c"}}')
    monkeypatch.setenv("DOCKWARDEN_PARAMS", '{"q": {"list": [1]}}')
    path = file("registries: {h.io: {password_file: /a, username: u}, c.io: {ca_file: /d}}\nparams: {p: {a: 1}}\n")
    monkeypatch.setenv("DOCKWARDEN_REGISTRIES__H.IO:5000__USERNAME", "u")
    chosen = read_settings(path)
    for keys, place in {
        ("registries", "h.io", "password_file"): f"{path}:1:21 registries.h.io.password_file",
        ("registries", "h.io:5000", "password_file"): f"secret {written}: registries.h.io:5000.password_file",
        ("registries", "c.io", "ca_file"): f"secret {written}: registries.c.io.ca_file",
        ("params", "p"): f"{path}:2:10 params.p",
        ("params", "q", "list", 0): "environment DOCKWARDEN_PARAMS: params.q.list.0",
    }.items():
        assert chosen.problem(keys, "no") == f"{place}: no"


def test_a_secret_that_cannot_be_read_is_a_mistake(
    secret: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "run" / "dockwarden_registries").mkdir()
    (tmp_path / "run" / "dockwarden_allow").symlink_to("nothing")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "nowhere"))
    assert problems() == (
        f"CREDENTIALS_DIRECTORY, {tmp_path / 'nowhere'}: No such file or directory",
        f"secret {tmp_path / 'run/dockwarden_allow'}: No such file or directory",
        f"secret {tmp_path / 'run/dockwarden_registries'}: Is a directory",
    )


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DOCKWARDEN_ALOW", "audit", "environment DOCKWARDEN_ALOW: no such setting, did you mean DOCKWARDEN_ALLOW?"),
        ("DOCKWARDEN_POLICY", "/a", "did you mean DOCKWARDEN_POLICIES?"),
        ("DOCKWARDEN_XYZZY", "1", "environment DOCKWARDEN_XYZZY: no such setting"),
        (
            "DOCKWARDEN_WEB_LISTEN",
            "x",
            "environment DOCKWARDEN_WEB_LISTEN: no such setting, did you mean DOCKWARDEN_WEB__LISTEN?",
        ),
        ("DOCKWARDEN_WEB__LISTN", "x", "environment DOCKWARDEN_WEB__LISTN: no such setting, did you mean listen?"),
        ("DOCKWARDEN_ALLOW", "shout", "environment DOCKWARDEN_ALLOW: "),
        ("DOCKWARDEN_ALLOW", "", "environment DOCKWARDEN_ALLOW: "),
        ("DOCKWARDEN_ALLOW", '"audit"', "must be 'audit' or 'enforce'; the quotes are part of the value here"),
        ("DOCKWARDEN_RESYNC", "'1h'", "such as 90s, 24h, 7d or 1h30m; the quotes are part of the value here"),
        ("DOCKWARDEN_WEB__LISTEN", '"[::]:9877"', "127.0.0.1:9877 or [::]:9877; the quotes are part of the value here"),
        ("DOCKWARDEN_WEB__HOSTS", """'["a.lan"]'""", "the quotes are part of the value here"),
        ("DOCKWARDEN_POLICIES", '["shipped"]', "environment DOCKWARDEN_POLICIES: has `:` between the paths"),
        ("DOCKWARDEN_ALLOW", "off", "environment DOCKWARDEN_ALLOW: "),
        ("DOCKWARDEN_MODE", "audit", "environment DOCKWARDEN_MODE: it is called DOCKWARDEN_ALLOW now"),
        ("DOCKWARDEN_REGISTRIES__GHCR_IO__HTTP", "1", "environment DOCKWARDEN_REGISTRIES__GHCR_IO__HTTP: registries: "),
        (
            "DOCKWARDEN_NOTIFY__ROUTES__a__TITLE",
            "x",
            "environment DOCKWARDEN_NOTIFY__ROUTES__a__TITLE: notify.routes.a",
        ),
        ("DOCKWARDEN_UNDO__MAX_BYTES", "10", "has no unit; write 10GB"),
        ("DOCKWARDEN_RESYNC", "soon", "environment DOCKWARDEN_RESYNC: must be a duration"),
        ("DOCKWARDEN_LOG__LEVEL", "loud", "environment DOCKWARDEN_LOG__LEVEL: "),
        ("DOCKWARDEN_WEB__LISTEN", "9877", "environment DOCKWARDEN_WEB__LISTEN: write host:port"),
        ("DOCKWARDEN_WEB__LISTEN", "x:99999", "environment DOCKWARDEN_WEB__LISTEN: write host:port"),
        ("DOCKWARDEN_SCHEDULE__JITTER", "0.9", "environment DOCKWARDEN_SCHEDULE__JITTER: "),
        ("DOCKWARDEN_SCHEDULE__TIMEZONE", "Mars/Base", "no such time zone"),
        ("DOCKWARDEN_WEB__LISTEN", "http://x:80", "environment DOCKWARDEN_WEB__LISTEN: write host:port"),
        ("DOCKWARDEN_WEB__LISTEN", "::1:80", "environment DOCKWARDEN_WEB__LISTEN: write host:port"),
        ("DOCKWARDEN_STATE_DIR", "", "environment DOCKWARDEN_STATE_DIR: write the path in full"),
        ("DOCKWARDEN_WEB__CONFIG_FILE", "~/web.yml", "environment DOCKWARDEN_WEB__CONFIG_FILE: write the path in full"),
        ("DOCKWARDEN_MODES", "{broken", 'environment DOCKWARDEN_MODES: must be JSON, such as ["a"] or {"a": "b"}'),
        ("DOCKWARDEN_WEB__HOSTS", "a.lan,b.lan", "environment DOCKWARDEN_WEB__HOSTS: must be JSON"),
        ("Dockwarden_Protect__Volumes", "pg-a", "environment Dockwarden_Protect__Volumes: must be JSON"),
        ("dockwarden_log__levl", "debug", "environment dockwarden_log__levl: no such setting, did you mean level?"),
        (
            "DOCKWARDEN_LIMITS__prune-dangling__max_objects",
            "x",
            "environment DOCKWARDEN_LIMITS__prune-dangling__max_ob",
        ),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    [problem] = problems()
    assert said in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DOCKWARDEN_NOTIFY__ROUTES", """{"a": {"url": "json://h", "title": "'{host}' and '{sumary}'"}}"""),
        ("DOCKWARDEN_WEB__HOSTS", '"a.lan","b.lan"'),
    ],
)
def test_quotes_that_are_meant_are_not_blamed(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    [problem] = problems()
    assert "quotes" not in problem


@pytest.mark.parametrize("service", ["DOCKWARDEN", "DOCKWARDEN_METRICS"])
def test_what_kubernetes_tells_of_services_is_no_mistake(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    monkeypatch.setenv(f"{service}_PORT", "tcp://10.0.0.7:9877")
    assert problems()  # without the service's address it is a person's
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_9877_TCP", "PORT_9877_TCP_ADDR"):
        monkeypatch.setenv(f"{service}_{name}", "10.0.0.7")
    assert read_settings(None) == Settings(policies=packs.default())
    monkeypatch.setenv(f"{service}_PORTECT__VOLUMES", '["pg-a"]')
    assert f"{service}_PORTECT__VOLUMES: no such setting" in problems()[0]


def test_of_variables_that_say_the_same_the_one_that_must_be_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "POLICIES", "MODES", "WEB__LISTEN"):
        monkeypatch.setenv(f"DOCKWARDEN_{name}", "")
    assert "environment DOCKWARDEN_MODES: must be JSON" in problems()[0]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("alow: audit\n", "1:1", "alow: no such setting, did you mean allow?"),
        ("allow: audit\nlog:\n  levl: debug\n", "3:3", "log.levl: no such setting, did you mean level?"),
        ("mode: audit\n", "1:1", "mode: it is called allow now"),
        ("allow: loud\n", "1:1", "allow: "),
        ("resync: [1]\n", "1:1", "resync: "),
        ("resync: 0s\n", "1:1", "resync: "),
        ("undo: {keep: 7}\n", "1:", "undo.keep: must be a duration such as"),
        ("undo: {keep: 7.5}\n", "1:", "undo.keep: must be a duration such as"),
        ("minimum_stay: 1.0\n", "1:", "minimum_stay: must be a duration such as"),
        ("minimum_stay: false\n", "1:", "minimum_stay: must be a number or a duration, not yes or no"),
        ("undo: {keep: no}\n", "1:", "undo.keep: must be a duration such as"),
        ("undo: {keep: false}\n", "1:", "undo.keep: must be a number or a duration, not yes or no"),
        ("notify: {wait: false}\n", "1:", "notify.wait: must be a number or a duration, not yes or no"),
        ("web: {finding_info: true}\n", "1:", "web.finding_info: must be a number or a duration, not yes or no"),
        ("schedule: {jitter: false}\n", "1:", "schedule.jitter: must be a number or a duration, not yes or no"),
        ("registries: {h.io: {concurrency: true}}\n", "1:", "registries.h.io.concurrency: must be a number or a"),
        ("limits: {prune-dangling: {max_percent: true}}\n", "1:", "max_percent: must be a number or a duration, not"),
        ("web: {hosts: [a.lan, 'b.lan:9877']}\n", "1:7", "'b.lan:9877': write names alone, such as web-7.example.net"),
        ("web: {hosts: ['https://a.lan']}\n", "1:7", "no scheme, no port"),
        ("web: {hosts: a.lan}\n", "1:7", "web.hosts: must be a list, such as [a, b]"),
        ("web: {listen: 9877}\n", "1:7", "web.listen: must be text; put it in quotes"),
        ("state_dir: 5\n", "1:1", "state_dir: must be text; put it in quotes"),
        ("web: {finding_info: on}\n", "1:7", "web.finding_info: must be a whole number"),
        ("schedule: {jitter: 5%}\n", "1:12", "schedule.jitter: must be a number"),
        ("policies:\n  - name: a\n", "1:1", "a policy is written in a file of its own"),
        ("web:\n  listen: nowhere\n", "2:3", "web.listen: write host:port"),
        ("engine: {timeout: fast}\n", "1:", "engine.timeout: must be a duration"),
        ("registries:\n  h.io: {httpp: true}\n", "2:", "registries.h.io.httpp: no such setting, did you mean http?"),
        *(
            (f"registries: {{'{host}': {{http: true}}}}\n", "1:1", "write hosts as in full references")
            for host in (
                "https://h.io",
                "h.io/",
                "h.io/team",
                *NO_REGISTRIES,
                "https://index.docker.io/v1/",
                "*.h.io",
                "h",
                "",
            )
        ),
        *(
            (f"protect: {{{kind}: ['{glob}']}}\n", "1:", f"fits no name of {kind}")
            for kind, globs in {
                "containers": ("/web", "container/web", "^web-.*$", "", "web db", "{web,db}", "web|db"),
                "volumes": ("/data", " data", ".*|x", "^pg$"),
                "images": ("ghcr.io/acme/", "https://ghcr.io/acme/*", "/nginx", "nginx:", "", "nginx, redis"),
                "tags": ("nginx@", ":latest", "latest", "v1.27.3", "NGINX", "Nginx:1.27"),
                "networks": ("", " net"),
            }.items()
            for glob in globs
        ),
        ("policies: ['']\n", "1:12", "policies.0: must not be empty"),  # and not the folder one is in
        ("retention: {recipes: 7d}\n", "1:", "retention.recipes: no such setting; there are findings, digests"),
        ("modes: {p: never}\n", "1:", "modes.p"),
        ("log: yes please\n", "1:1", "log: must be a mapping"),
        ("allow: audit\nallow: enforce\n", "2:1", "twice"),
        ("- allow\n", "1:1", "must be a mapping"),
        ("allow: [\n", "", "dockwarden.yaml"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(
    file: Callable[[str], Path], text: str, place: str, said: str
) -> None:
    path = file(text)
    problem = problems(path)[0]
    assert problem.startswith(f"{path}:{place}")
    assert said in problem


def test_all_mistakes_are_told_at_once(file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKWARDEN_ALOW", "audit")
    monkeypatch.setenv("DOCKWARDEN_RESYNC", "soon")
    found = problems(file("alloww: audit\nlog: {level: loud}\n"))
    assert len(found) == 4
    for word in ("DOCKWARDEN_ALOW:", "DOCKWARDEN_RESYNC", "alloww", "log.level"):
        assert any(word in problem for problem in found), word


@pytest.mark.parametrize("named_by", ["flag", "environment"])
def test_a_file_that_was_named_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named_by: str) -> None:
    missing = tmp_path / "nothing.yaml"
    monkeypatch.setenv("DOCKWARDEN_CONFIG", str(missing) if named_by == "environment" else "")
    [problem] = problems(missing if named_by == "flag" else None)
    assert problem == f"{missing}: No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    [problem] = problems(tmp_path)
    assert "directory" in problem


def test_other_programs_variables_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///x")
    monkeypatch.setenv("MY_DOCKWARDEN_ALLOW", "shout")
    assert read_settings(None).allow is Mode.ENFORCE


# -- documentation -------------------------------------------------------------------------------------------


def test_every_setting_of_ours_says_what_it_is_for() -> None:
    schema = Settings.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    for section in sections:
        for name, field in section.get("properties", {}).items():
            assert "$ref" in str(field) or field.get("description"), name

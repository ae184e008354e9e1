"""The command line as people and scripts meet it: arguments, an exit code, and what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dockwarden import __version__
from dockwarden.cli import shared
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.metrics import Metrics
from dockwarden.model import Kind, Severity
from dockwarden.web.config import LiveAccess
from dockwarden.web.server import Server
from dockwarden.web.site import Application
from tests.builders import hexadecimal
from tests.commands import Done, command
from tests.lab.waiting import until
from tests.tables import each
from tests.unit.misbehaving import HANG, Misbehaving, http, json_answer
from tests.views import a_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[3]
USAGE, UNAVAILABLE, CONFIG, INTERRUPTED = 2, 69, 78, 130
ODD = "a\x1b[31m\u202e\x9bb"
COMMANDS = ("run", "healthcheck", "scan", "check", "facts", "schema", "version")


def environment(**more: str) -> dict[str, str]:
    """Nothing of this machine's settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKWARDEN", "DOCKER", "NO_COLOR"))}
    return {**kept, "PYTHONWARNINGS": "error", **more}


def dockwarden(*arguments: str, **more: str) -> Done:
    return command(*arguments, more=more)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A policy that finds `latest`, one about the whole host, one that must ask a registry."""
    path = tmp_path / "policies.yaml"
    path.write_text("""
version: 1
policies:
  - name: no-latest
    severity: high
    subject: tag
    trigger: {schedule: "0 6 * * *"}
    when: tag.name == 'latest'
    message: "{{ tag.ref }} by {{ image.labels.by }}"
  - name: crowded
    severity: low
    subject: host
    trigger: {every: 1h}
    when: host.images > 100
""")
    return path


# -- usage -------------------------------------------------------------------------------------------------


@each(
    "arguments",
    [
        (),
        ("nothing",),
        ("scan", "--nothing"),
        ("scan", "-o", "xml"),
        ("scan", "--fail-on", "dreadful"),
        ("scan", "--pol", "x"),
        ("scan", "extra"),
        ("facts", "-o", "yaml"),
        ("schema", "everything"),
        ("facts", "weather"),
        ("healthcheck", "--listen", "nowhere"),
        ("healthcheck", "--listen", "127.0.0.1:port"),
        ("status", "--listen", ":99999"),
        ("scan", "--config", ""),
        ("check", ""),
        ("test", ""),
        ("scan", "--from", ""),
        ("plan", "--save", ""),
        ("apply", ""),
        ("status", "--login", ""),
        ("scan", "--policy", "nope"),
        ("explain", "policy/nope"),
    ],
)
def test_a_wrong_call_is_a_usage_error_with_a_hint_on_stderr(arguments: tuple[str, ...]) -> None:
    done = dockwarden(*arguments)
    assert done.code == USAGE
    assert done.out == ""
    assert "dockwarden" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(("scann",), "scan"), (("heathcheck",), "healthcheck"), (("scan", "-o", "jsno"), "json"), (("xyz",), "")],
)
def test_a_word_that_is_nearly_one_of_those_there_are_gets_a_hint(arguments: tuple[str, ...], meant: str) -> None:
    said = dockwarden(*arguments).err
    assert said.endswith(f"), did you mean {meant}?\n" if meant else ")\n")


@pytest.mark.parametrize(
    ("option", "meant"), [("--polcy", "--policy"), ("--pol", "--policy"), ("--out=x", "--output"), ("--xyz", "")]
)
def test_an_option_that_there_is_not_is_told_with_those_of_its_command(option: str, meant: str) -> None:
    said = dockwarden("scan", option, "web").err
    assert said.startswith("usage: dockwarden scan ")
    assert said.endswith(f": unrecognized arguments: {option} web{meant and f', did you mean {meant}?'}\n")


@pytest.mark.parametrize("option", ["--config", "-o", "--audit", "--xyz"])
def test_an_option_before_the_command_is_told_where_it_belongs(option: str) -> None:
    done = dockwarden(option, "s.yaml", "scan")
    assert (done.code, done.out) == (USAGE, "")
    only = "only --help and --version stand before the command, all else behind it"
    assert f"error: {option}: {only}, as in `dockwarden scan --config FILE`\n" in done.err


@pytest.mark.parametrize("arguments", [("--help",), *((command, "--help") for command in COMMANDS)])
def test_help_is_help(arguments: tuple[str, ...]) -> None:
    done = dockwarden(*arguments)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("usage: dockwarden")


def test_the_first_help_names_all_commands_and_exit_codes() -> None:
    shown = dockwarden("--help").out
    for name in COMMANDS:
        assert name in shown
    for code in ("69", "78", "130"):
        assert code in shown


_OF_POLICIES = ["cel_expr_python", "pydantic", "yaml"]


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        (("--help",), []),
        (("scan", "--help"), []),
        (("version",), []),
        (("healthcheck", "--listen", "[::1]:1"), []),
        (("status", "--listen", "[::1]:1"), []),
        (("check", "shipped"), _OF_POLICIES),
    ],
)
def test_what_must_answer_at_once_imports_no_library(arguments: tuple[str, ...], imported: list[str]) -> None:
    code = (
        "import sys\n"
        "from dockwarden.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "third = {name.partition('.')[0] for name in sys.modules} | sys.modules.keys()\n"
        "print('IMPORTED', sorted(third & {'docker', 'requests', 'urllib3', 'pydantic', 'pydantic_settings', 'yaml',"
        " 'structlog', 'apscheduler', 'prometheus_client', 'tornado', 'jinja2', 'cel_expr_python', 'sqlite3',"
        " 'cel_expr_python.ext.ext_optional'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"IMPORTED {imported}"


def test_severities_are_those_of_policies() -> None:
    assert tuple(Severity) == shared.SEVERITIES


def test_the_version_is_the_version() -> None:
    assert dockwarden("version").out == f"dockwarden {__version__}\n"


# -- check -------------------------------------------------------------------------------------------------


def test_a_login_that_is_no_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "login").write_bytes(b"me:\xff")
    done = dockwarden("status", "--listen", "127.0.0.1:1", "--login", str(tmp_path / "login"))
    assert (done.code, done.err) == (1, f"dockwarden: {tmp_path / 'login'}: is not UTF-8 text\n")


def test_status_without_a_daemon_says_so_and_what_else_helps() -> None:
    done = dockwarden("status", "--listen", "127.0.0.1:1")
    assert done.code == 1
    assert "no daemon answers at 127.0.0.1:1" in done.err
    assert "history" in done.err


def test_good_files_are_counted(policies: Path) -> None:
    done = dockwarden("check", str(policies))
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("2 policies in 1 file are fine")


def test_what_is_shipped_is_fine() -> None:
    assert dockwarden("check", "--config", f"{ROOT}/config/dockwarden.yaml").code == 0


@pytest.mark.parametrize("command", ["check", "test"])
def test_what_settings_say_of_other_policies_is_not_asked_of_files_that_are_named(
    command: str, policies: Path, tmp_path: Path
) -> None:
    path = tmp_path / "dockwarden.yaml"
    own = {"limits": "{max_objects: 100}", "modes": "off", "triggers": "{every: 1h}", "params": "{older_than: 1h}"}
    path.write_text("".join(f"{key}: {{unused-images: {text}}}\n" for key, text in own.items()))
    assert dockwarden(command, "--config", str(path), str(policies)).code == 0


def test_a_golden_file_among_policies_is_left_to_test(policies: Path) -> None:
    golden = policies.parent / "web.test.yaml"
    golden.write_text("snapshot: web.json\n")
    assert dockwarden("check", str(policies), str(golden)).out.startswith("2 policies in 1 file are fine")
    assert dockwarden("check", str(policies), str(golden)).err == ""
    alone = dockwarden("check", str(golden))
    assert (alone.code, "golden files are what `dockwarden test` reads" in alone.err) == (0, True)
    assert dockwarden("check", str(golden.with_stem("nope.test"))).code == CONFIG


def test_a_snapshot_that_is_not_there_is_told_where_it_is_named(policies: Path) -> None:
    golden = policies.with_name("web.test.yaml")
    golden.write_text("snapshot: gone.json\n")
    done = dockwarden("test", str(policies), str(golden))
    assert (done.code, f"{golden}:1:1 snapshot: there is no {golden.parent}/gone.json" in done.err) == (CONFIG, True)
    began = policies.with_name("began.yaml")
    test = "{given: {from: gone.json, object: host/web}, expect: fail}"
    policy = f"{{name: a, subject: host, trigger: {{every: 1h}}, when: host.swarm, tests: [{test}]}}"
    began.write_text(f"version: 1\npolicies: [{policy}]\n")
    done = dockwarden("test", str(began))
    assert (done.code, f".tests.0.given.from: {began.parent}/gone.json: No such file" in done.err) == (CONFIG, True)


def test_a_golden_file_that_settings_name_as_a_policy_is_refused(policies: Path) -> None:
    golden = policies.rename(policies.with_name("good.test.yaml"))
    done = dockwarden("check", DOCKWARDEN_POLICIES=str(golden))
    assert (done.code, done.err.startswith(f"{golden}: is a golden file")) == (CONFIG, True)


@pytest.mark.parametrize("by", ["file", "pipe"])
@pytest.mark.parametrize(
    ("arguments", "text", "code", "said"),
    [
        (("check", "-"), None, 0, "2 policies in 1 file are fine"),
        (("test", "-"), None, 0, "of 2 policies"),
        (("check", "-"), "policies: []", CONFIG, "-:1:1 version: is required"),
        (("check", "-"), "", CONFIG, "-:1:1 file: empty"),
        (("check", "--config", "-"), "alow: audit", CONFIG, "-:1:1 alow: no such setting"),
    ],
)
def test_a_dash_is_standard_input(
    policies: Path, by: str, arguments: tuple[str, ...], text: str | None, code: int, said: str
) -> None:
    policies.write_text(policies.read_text() if text is None else text)
    reading, writing = os.pipe()
    os.write(writing, policies.read_bytes())
    os.close(writing)
    given = reading if by == "pipe" else os.open(policies, os.O_RDONLY)
    kept = os.dup(0)
    try:
        os.dup2(given, 0)
        done = dockwarden(*arguments)
    finally:
        os.dup2(kept, 0)
        for descriptor in {kept, given, reading}:
            os.close(descriptor)
    assert (done.code, said in done.out + done.err) == (code, True), done


def test_all_mistakes_of_policies_are_told_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("version: 1\npolicies:\n  - name: a\n    subject: tag\n    wen: 'true'\n    when: tag.nam == ''\n")
    done = dockwarden("check", str(path))
    assert (done.code, done.out) == (CONFIG, "")
    for word in ("wen", "tag.nam", "trigger"):
        assert any(line.startswith(f"{path}:") and word in line for line in done.err.splitlines()), word


def test_what_a_unit_that_does_not_run_is_handed_over_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "dockwarden.yaml"
    for folder, code, told in (
        ("/run/credentials/none.service", 0, "{}: not looked at"),
        (tmp_path, CONFIG, "web.config_file: {}: No such file"),
    ):
        path.write_text(f"web: {{config_file: {folder}/web.yml}}\n")
        done = dockwarden("check", "--config", str(path))
        assert (done.code, done.err.startswith(told.format(f"{folder}/web.yml"))) == (code, True)


@pytest.mark.parametrize("key", ["ca_file", "password_file"])
def test_a_file_of_a_registry_that_is_not_there_is_a_warning(policies: Path, tmp_path: Path, key: str) -> None:
    path = tmp_path / "dockwarden.yaml"
    for folder, is_told in (("/run/credentials/none.service", False), (tmp_path, True)):
        path.write_text(f"registries: {{ghcr.io: {{username: u, {key}: {folder}/a}}}}\n")
        done = dockwarden("check", "--config", str(path))
        assert done.code == 0
        assert (f"{path}:1:37 registries.ghcr.io.{key}: {folder}/a: No such file" in done.err) is is_told
        assert dockwarden("check", "--config", str(path), str(policies)).err == ""  # of which registries are no matter


def test_settings_of_another_address_of_docker_hub_are_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "dockwarden.yaml"
    for host in ("registry-1.docker.io", "registry.hub.docker.com"):
        for more, is_told in (("", True), (", docker.io: {concurrency: 1}", False)):
            path.write_text(f"registries: {{{host}: {{concurrency: 1}}{more}}}\n")
            done = dockwarden("check", "--config", str(path))
            assert (done.code, f"registries.{host}: only names that begin" in done.err) == (0, is_told)


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # a matter of apprise's
def test_policies_of_a_route_that_there_are_not_are_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "dockwarden.yaml"
    path.write_text("notify: {routes: {a: {url: 'json://localhost', policies: [no-latest-tg, 'x*', 'prune-*']}}}\n")
    done = dockwarden("check", "--config", str(path))
    said = f"{path}:1:48 notify.routes.a.policies: "
    assert done.code == 0
    assert done.err == f"{said}no-latest-tg fits no policy, did you mean no-latest-tag?\n{said}x* fits no policy\n"


def test_what_the_settings_say_of_a_policy_is_refused_with_its_place(tmp_path: Path, policies: Path) -> None:
    path = tmp_path / "dockwarden.yaml"
    path.write_text(f"policies: [{policies}]\nmodes:\n  nope: audit\nlimits: {{a.b: {{max_objects: 3}}}}\n")
    done = dockwarden("check", "--config", str(path), DOCKWARDEN_PARAMS__noo='{"a": 1}')
    reason = f"no such policy in {policies}"
    assert done.code == CONFIG
    assert done.err.splitlines() == [
        f"environment DOCKWARDEN_PARAMS__noo: {reason}",
        f"{path}:3:3 modes.nope: {reason}",
        f"{path}:4:10 limits.a.b: {reason}",
    ]


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # a matter of apprise's
def test_an_address_that_cannot_be_used_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "dockwarden.yaml"
    path.write_text("notify:\n  routes:\n    a: {url: 'nosuchkind://me:hush@h'}\n")
    for name in ("check", "notify-test", "run"):
        done = dockwarden(name, "--config", str(path))
        assert (done.code, "hush" in done.err) == (CONFIG, False)
        assert f"{path}:3:9 notify.routes.a.url: apprise knows no such address" in done.err
    done = dockwarden("check", DOCKWARDEN_NOTIFY='{"routes": {"a": {"url": "nosuchkind://me:hush@h"}}}')
    assert done.err.startswith("environment DOCKWARDEN_NOTIFY: notify.routes.a.url: apprise knows no such address")
    done = dockwarden("check", "--config", str(path), DOCKWARDEN_NOTIFY__ROUTES__A__POLICIES='["prune-*"]')
    assert done.err.startswith(f"{path}:3:9 notify.routes.a.url: apprise knows no such address")


@pytest.mark.parametrize("written", ["web:\nlisten: 127.0.0.1:9877", "\nweb.listen: 127.0.0.1:9877"])
def test_a_key_of_a_section_that_stands_beside_it_is_told_to_be_indented(tmp_path: Path, written: str) -> None:
    path = tmp_path / "dockwarden.yaml"
    path.write_text(written)
    done = dockwarden("check", "--config", str(path))
    assert done.code == CONFIG
    assert done.err.startswith(f"{path}:2:1 ")
    assert done.err.endswith("no such setting here; listen is written below web, indented\n")


@pytest.mark.parametrize("command", ["check", "scan", "run"])
def test_a_mistake_in_the_settings_is_a_configuration_error(command: str, tmp_path: Path) -> None:
    path = tmp_path / "dockwarden.yaml"
    path.write_text("alow: audit\n")
    done = dockwarden(command, "--config", str(path))
    assert (done.code, done.out) == (CONFIG, "")
    assert done.err == f"{path}:1:1 alow: no such setting, did you mean allow?\n"


def test_a_misspelt_variable_is_a_configuration_error(policies: Path) -> None:
    done = dockwarden("check", str(policies), DOCKWARDEN_MODUS="audit")
    assert done.code == CONFIG
    assert "DOCKWARDEN_MODUS" in done.err


def test_a_policy_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    done = dockwarden("check", str(tmp_path / "nothing.yaml"))
    assert done.code == CONFIG
    assert "nothing.yaml" in done.err


# -- facts and schema ----------------------------------------------------------------------------------------


def test_facts_are_all_there_as_json() -> None:
    rows = json.loads(dockwarden("facts", "-o", "json").out)
    assert {(row["subject"], row["name"]) for row in rows} == {
        (kind.value, name) for kind, specs in VOCABULARY.items() for name in specs
    }
    assert set(rows[0]) == {"subject", "name", "type", "cost", "meaning"}


@pytest.mark.parametrize("kind", list(Kind))
def test_facts_of_one_subject_are_a_table(kind: Kind) -> None:
    header, *rows = dockwarden("facts", kind.value).out.splitlines()
    assert header.split() == ["SUBJECT", "NAME", "TYPE", "COST", "MEANING"]
    assert {row.split()[1] for row in rows} == set(VOCABULARY[kind])
    assert {row.split()[0] for row in rows} == {kind.value}


def test_a_table_that_is_piped_has_no_colours_and_is_not_cut() -> None:
    shown = dockwarden("facts", "container", COLUMNS="20").out
    assert "\x1b" not in shown
    longest = max((spec.meaning for spec in VOCABULARY[Kind.CONTAINER].values()), key=len)
    assert longest in shown


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    command = f"{sys.executable} -m dockwarden facts -o json | head -c 10"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) == 10


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("check", "none", "-o", "junit"), CONFIG),
        (("check", "none", "-o", "table"), CONFIG),
        (("healthcheck", "--listen", "127.0.0.1:1"), 1),
    ],
)
def test_a_reader_that_goes_away_does_not_hide_the_code(arguments: tuple[str, ...], code: int, unbuffered: str) -> None:
    done = unheard({"stdout"}, "-m", "dockwarden", *arguments, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == code


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_watched_status_ends_with_its_reader(site: tuple[Metrics, str], unbuffered: str) -> None:
    arguments = ("-m", "dockwarden", "status", "--watch", "--listen", site[1])
    done = unheard({"stdout"}, *arguments, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (0, "")


def unheard(streams: set[str], *arguments: str, to: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """What comes of Python where these streams go to a full disk, or to a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    out = os.open(to, os.O_WRONLY) if to else writer
    try:
        return subprocess.run(
            [sys.executable, *arguments],
            stdout=out if "stdout" in streams else subprocess.PIPE,
            stderr=out if "stderr" in streams else subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(**{"PYTHONUNBUFFERED": "", **more}),
            timeout=60,
            check=False,
        )
    finally:
        for each in {out, writer}:
            os.close(each)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["version"], 0),
        (["facts"], 0),
        (["apply", "none"], CONFIG),
        (["check", "none"], CONFIG),
        (["undo", ""], USAGE),
    ],
)
@pytest.mark.parametrize("both", [True, False])
def test_nobody_who_reads_is_no_error(arguments: list[str], code: int, tmp_path: Path, *, both: bool) -> None:
    written = "stderr" if code else "stdout"  # on the other side is nothing that could get lost
    streams = {"stdout", "stderr"} if both else {written}
    done = unheard(streams, "-m", "dockwarden", *arguments, DOCKWARDEN_STATE_DIR=str(tmp_path))
    assert done.returncode == code
    assert code or not done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["--version"], ["facts"]])
def test_a_full_disk_is_told_in_a_line(arguments: list[str]) -> None:
    done = unheard({"stdout"}, "-m", "dockwarden", *arguments, to="/dev/full")
    assert (done.returncode, done.stderr) == (1, "dockwarden: the system: No space left on device\n")


@pytest.mark.parametrize("streams", [{"stdout"}, {"stderr"}, {"stdout", "stderr"}])
@pytest.mark.parametrize("to", ["/dev/full", ""])
def test_what_acts_goes_on_where_nobody_hears_of_it(to: str, streams: set[str]) -> None:
    code = """if True:
        import sys
        from dockwarden.cli import print_unheard
        from dockwarden.cli.output import table, tell
        from dockwarden.model import Effect, Kind, Outcome, Ref
        print_unheard()
        table(("NAME",), [("data" * 99,)] * 99)
        for _ in range(3):
            tell(Outcome("p", "remove", Ref(Kind.VOLUME, "data"), "data", Effect.APPLIED, "removed"))
        print("done", file=sys.stderr)
        sys.exit(3)"""
    done = unheard(streams, "-c", code, to=to)
    assert done.returncode == 3
    assert done.stderr == (None if "stderr" in streams else "done\n")
    assert "stdout" in streams or done.stdout.endswith("applied  data  removed\n")


def test_a_locale_without_our_letters_is_no_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dockwarden", "facts", "-o", "wide"],
        capture_output=True,
        cwd=ROOT,
        env={**environment(), "PYTHONIOENCODING": "latin-1"},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2026" in done.stdout


def test_standard_streams_that_are_closed_are_no_error() -> None:
    command = f"{sys.executable} -m dockwarden facts <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment(), timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(("what", "key"), [("settings", "minimum_stay"), ("policies", "policies"), (None, "policies")])
def test_schemas_are_json_schemas(what: str | None, key: str) -> None:
    shown = json.loads(dockwarden("schema", *([what] if what else [])).out)
    assert shown["type"] == "object"
    assert key in shown["properties"]


# -- healthcheck -----------------------------------------------------------------------------------------------


@pytest.fixture
def site() -> Iterator[tuple[Metrics, str]]:
    metrics = Metrics()
    server = Server(Application(metrics.registry, metrics.health, a_view()[0]), "127.0.0.1", 0, LiveAccess(None))
    server.start()
    yield metrics, f"127.0.0.1:{server.port}"
    server.stop()


def test_a_daemon_that_answers_is_healthy(site: tuple[Metrics, str]) -> None:
    _, address = site
    done = dockwarden("healthcheck", "--listen", address)
    assert (done.code, done.out) == (0, "ok\n")
    everywhere = f"0.0.0.0:{address.rpartition(':')[2]}"
    assert dockwarden("healthcheck", DOCKWARDEN_WEB__LISTEN=everywhere).code == 0


def test_a_daemon_without_an_engine_is_alive_but_not_ready(site: tuple[Metrics, str]) -> None:
    _, address = site
    done = dockwarden("healthcheck", "--ready", "--listen", address)
    assert done.code == 1
    assert "engine: not connected yet" in done.out


def test_nobody_there_is_unhealthy() -> None:
    done = dockwarden("healthcheck", "--listen", "127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert "no answer from 127.0.0.1:1" in done.err
    assert done.err.endswith("name it with --listen; a client certificate, with --cert\n")
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("scan", "--config", ODD), ("check", ODD), ("apply", ODD), ("scan", "--from", ODD), ("scan", "--policy", ODD),
        ("healthcheck", "--listen", f"{ODD}:1"), (ODD,), ("scan", f"--{ODD}"), ("facts", ODD),
        ("check", "-o", "github"),
    ],
    ids=lambda words: " ".join(words[:2]).replace(ODD, "odd"),
)  # fmt: skip
def test_no_error_moves_the_terminal(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / f"{ODD}.yaml"
    file.write_text("version: 2\n")
    done = dockwarden(*words, DOCKWARDEN_POLICIES=str(file))
    assert done.code
    assert [line for line in (done.out + done.err).splitlines() if not line.replace("\t", "").isprintable()] == []


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n<!doctype html>\n<html><body>Any path leads here",
        b"HTTP/1.0 404 Not Found\r\n\r\n\n<!DOCTYPE HTML>\n<html>\n<head>\n",
    ],
)
def test_somebody_else_there_is_unhealthy(answer: bytes) -> None:
    with Misbehaving(lambda _: [answer]) as other:
        done = dockwarden("healthcheck", "--listen", other.host)
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert "--listen" in done.err


# -- scan --------------------------------------------------------------------------------------------------------

_IMAGES = [
    {
        "Id": f"sha256:{hexadecimal(word)}",
        "RepoTags": tags,
        "RepoDigests": None,
        "Created": 1,
        "Size": 1,
        "Labels": {"by": "me\x1b[31m\u202e"},
    }
    for word, tags in (("app", ["app:latest", "app:1"]), ("old", ["old:1"]))
]
_ANSWERS = {
    "/version": {"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"},
    "/info": {"ID": "A", "Name": "testhost", "DockerRootDir": "/nowhere"},
    "/images/json": _IMAGES,
    "/containers/json": [],
    "/volumes": {"Volumes": []},
    "/networks": [],
}


def answer(request: str) -> Iterable[bytes]:
    path = request.split()[1].partition("?")[0]
    for known, content in _ANSWERS.items():
        if path.endswith(known):
            return [json_answer(content)]
    return [http(404, b'{"message": "no such thing"}')]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Misbehaving]:
    with Misbehaving(answer, tmp_path / "docker.sock") as engine:
        yield engine


def scan(engine: Misbehaving, policies: Path, *arguments: str, **more: str) -> Done:
    state = str(policies.parent / "state")
    return dockwarden(
        "scan",
        *arguments,
        DOCKER_HOST=engine.host,
        DOCKWARDEN_POLICIES=str(policies),
        DOCKWARDEN_STATE_DIR=state,
        **more,
    )


def test_a_scan_as_json_tells_everything_under_public_names(engine: Misbehaving, policies: Path) -> None:
    done = scan(engine, policies, "-o", "json")
    assert (done.code, done.err) == (0, "")
    told: dict[str, Any] = json.loads(done.out)
    assert told["engine"] == {
        "name": "testhost",
        "version": "20.10.24",
        "api_version": "1.41",
        "image_store": "graph",
    }
    assert told["summary"] == {"fail": 1, "pass": 3}
    [found] = [result for result in told["results"] if result["result"] == "fail"]
    assert found == {
        "policy": "no-latest",
        "subject": "tag",
        "id": "docker.io/library/app:latest",
        "name": "docker.io/library/app:latest",
        "result": "fail",
        "severity": "high",
        "message": r"docker.io/library/app:latest by me\x1b[31m\u202e",
        "reason": "",
        "evidence": {"tag.name": "latest"},
    }


def test_a_scan_as_table_shows_findings_and_sums_up_on_stderr(engine: Misbehaving, policies: Path) -> None:
    done = scan(engine, policies)
    header, row = done.out.splitlines()
    assert header.split() == ["SEVERITY", "POLICY", "NAME", "MESSAGE"]
    assert row.split()[:3] == ["high", "no-latest", "docker.io/library/app:latest"]
    assert "\x1b" not in done.out
    assert done.err == "1 fail, 3 pass, 0 skip, 0 unknown, 0 error\n"


@pytest.mark.parametrize(("severity", "code"), [("critical", 0), ("high", 1), ("medium", 1), ("low", 1), ("info", 1)])
def test_a_scan_fails_on_findings_of_a_severity_or_above(
    engine: Misbehaving, policies: Path, severity: str, code: int
) -> None:
    assert scan(engine, policies, "--fail-on", severity).code == code


def test_a_scan_can_be_of_some_policies_only(engine: Misbehaving, policies: Path) -> None:
    done = scan(engine, policies, "--policy", "crowded", "-o", "json", "--fail-on", "info")
    assert done.code == 0
    assert {result["policy"] for result in json.loads(done.out)["results"]} == {"crowded"}


def test_a_policy_that_does_not_exist_is_a_usage_error_before_the_engine_is_asked(
    engine: Misbehaving, policies: Path
) -> None:
    done = scan(engine, policies, "--policy", "no-lastest")
    assert done.code == USAGE
    assert "did you mean no-latest?" in done.err
    assert engine.asked == []


def test_a_scan_changes_nothing(engine: Misbehaving, policies: Path) -> None:
    scan(engine, policies)
    assert engine.asked
    assert {request.split()[0] for request in engine.asked} == {"GET"}
    assert not (policies.parent / "state").exists()


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_without_an_engine_a_scan_says_so(policies: Path, host: str) -> None:
    done = dockwarden("scan", DOCKER_HOST=host, DOCKWARDEN_POLICIES=str(policies))
    assert (done.code, done.out) == (UNAVAILABLE, "")
    assert done.err.startswith("dockwarden: ")
    assert len(done.err.splitlines()) == 1


def test_an_address_that_cannot_be_used_is_a_configuration_error(policies: Path) -> None:
    done = dockwarden("scan", DOCKER_HOST="ssh://me:secret@somewhere", DOCKWARDEN_POLICIES=str(policies))
    assert done.code == CONFIG
    assert "DOCKER_HOST" in done.err


@pytest.mark.parametrize("what", ["--actions", "--findings", "nginx"])
def test_where_nothing_ran_yet_nothing_is_known(tmp_path: Path, what: str) -> None:
    state = {"DOCKWARDEN_STATE_DIR": str(tmp_path)}
    assert dockwarden("history", what, "-o", "json", **state)[:2] == (0, "[]\n")
    done = dockwarden("history", what, **state)
    assert (done.code, done.out, "nothing is known" in done.err) == (0, "", True)
    (tmp_path / "ledger.db").write_text("rubbish")
    assert dockwarden("history", what, **state).code == 1


@pytest.mark.parametrize(
    ("answer", "status"), [("404 page not found", 404), (["no"], 200), ({}, 200), ({"ApiVersion": 7}, 200), ("no", 500)]
)
def test_what_is_no_engine_at_all_is_an_engine_that_is_unavailable(
    tmp_path: Path, policies: Path, answer: object, status: int
) -> None:
    with Misbehaving(lambda _: [json_answer(answer, status=status)], tmp_path / "docker.sock") as engine:
        done = scan(engine, policies)
    assert done.code == UNAVAILABLE
    assert "answers, but not as a Docker Engine" in done.err


def test_an_interrupt_that_python_ignores_amid_a_callback_comes_again() -> None:
    code = (
        "import signal, sys, time\n"
        "from dockwarden import cli\n"
        "class Going:\n    def __del__(self):\n        signal.raise_signal(signal.SIGINT)\n"
        "def run(options):\n    Going()\n    time.sleep(60)\n"
        "cli._version = run\n"
        "sys.exit(cli.main())\n"
    )
    command = ["env", "--default-signal=INT", sys.executable, "-c", code, "version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (INTERRUPTED, "")


_RUNNING = {"Id": "c" * 64, "Name": "/web", "Image": _IMAGES[0]["Id"], "State": {"Status": "running", "Running": True}}
_OF_ONE_CONTAINER = {f"/containers/{'c' * 64}/json": _RUNNING, "/containers/json": [_RUNNING]}
_LOOKS_INTO_CONTAINERS = """
  - name: no-sshd
    subject: container
    trigger: {every: 1h}
    when: container.processes.exists(p, p.contains('sshd'))
"""


@pytest.mark.parametrize("at", ["/version", "/top"])
def test_an_interrupted_scan_ends_as_interrupted(
    tmp_path: Path, policies: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    for path, content in _OF_ONE_CONTAINER.items():
        monkeypatch.setitem(_ANSWERS, path, content)
    policies.write_text(policies.read_text() + _LOOKS_INTO_CONTAINERS)
    with Misbehaving(lambda asked: [HANG] if at in asked else answer(asked), tmp_path / "docker.sock") as engine:
        process = subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, "-m", "dockwarden", "scan"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(DOCKER_HOST=engine.host, DOCKWARDEN_POLICIES=str(policies)),
        )
        until(lambda: any(at in asked for asked in engine.asked), "the question")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)  # an engine is waited for twice as long
    assert (process.returncode, out) == (INTERRUPTED, "")
    assert "Traceback" not in err

"""The real daemon as its operator meets it: a child process, its log, its metrics, its API, its end.

Role: start `dockwarden run` with settings and policies of its own, on a free loopback port, and let a test wait for
what it says. In: an engine's address, settings, policies. Out: log lines as events, samples of /metrics, JSON of the
API, exit codes. Out of bounds: looking inside the process, and sleeping: every wait is for a condition and has a
deadline. Only processes that were started here are ever signalled, by their pid.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import urllib3
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.commands import environment
from tests.forked import Forked
from tests.lab.machine import LabError
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.lab.engine import LabEngine

SHIPPED = Path(__file__).parents[2] / "config" / "policies"
"""The policies that dockwarden ships."""

Line = dict[str, Any]
Policy = dict[str, Any]

# A crash of the test run must not leave a daemon behind; setpriv replaces itself by the command.
_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def policy(name: str, subject: str, when: str, **keys: object) -> Policy:
    """A policy with a trigger that a test seldom means, unless it gives one."""
    return {"name": name, "subject": subject, "trigger": {"schedule": "0 4 1 1 *"}, "when": when, **keys}


def write_policies(file: Path, *policies: Policy) -> Path:
    """A policy file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.dump({"version": 1, "policies": list(policies)}, Dumper=_Plain, sort_keys=False))
    return file


class _Plain(yaml.SafeDumper):
    """Writes out what occurs twice: anchors are not allowed in policies."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class Daemon:
    """One `dockwarden run`; a context manager that is over when the process is.

    Attributes:
        lines: every log line so far, parsed.
        strange: whatever came on stderr that is not one JSON object per line; empty unless something is wrong.
    """

    def __init__(
        self,
        docker_host: str,
        folder: Path,
        settings: Mapping[str, object],
        *,
        policies: Sequence[Policy | str] = (),
        arguments: Sequence[str] = (),
        under: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Policies are written out, or named if dockwarden ships them.

        ``under`` is a command that runs the daemon as its last act, such as one that changes the user.
        """
        self.folder = folder
        self.docker_host = docker_host
        self.state = folder / "state"
        self.config = folder / "dockwarden.yaml"
        self.policy_file = folder / "policies.yaml"
        self.settings: dict[str, object] = {
            "state_dir": str(self.state),
            "web": {"listen": "127.0.0.1:0"},
            "log": {"format": "json"},
            "schedule": {"jitter": 0, "timezone": "UTC"},
            **settings,
        }
        self._arguments = tuple(arguments)
        self._under = tuple(under)
        self._environment = dict(environment or {})
        self._http = urllib3.PoolManager(retries=False, timeout=PATIENCE)
        self._news = threading.Condition()
        self.process: subprocess.Popen[str] | Forked
        self.lines: list[Line] = []
        self.strange: list[str] = []
        if policies:
            own = [each for each in policies if not isinstance(each, str)]
            write_policies(self.policy_file, *own)
            shipped = [str(SHIPPED / f"{each}.yaml") for each in policies if isinstance(each, str)]
            self.settings["policies"] = [str(self.policy_file), *shipped]
        self.write_settings()

    def write_settings(self, **changes: object) -> None:
        """Write the settings file, with changes if there are any."""
        self.settings.update(changes)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(yaml.safe_dump(self.settings, sort_keys=False))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None and self.strange:
            raise LabError(f"lines that are not JSON: {self.strange[:20]}")

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process; it says `daemon.started` when it can be asked."""
        arguments = ("run", "--config", str(self.config), *self._arguments)
        variables = environment(self.docker_host, self._environment)
        if self._under:
            self.process = subprocess.Popen(
                [*_WITH_US, *self._under, sys.executable, "-m", "dockwarden", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=variables,
                text=True,
                errors="replace",
            )
        else:
            self.process = Forked(arguments, variables)
        self._begun = len(self.lines)
        self._reader = threading.Thread(target=self._read, args=(self.process,), name="daemon-log")
        self._reader.start()

    def restart(self) -> None:
        """Start it again after its end, with the same settings and state."""
        self.close()
        self.start()

    def pass_time(self, seconds: float) -> None:
        """After its end: as if it had gone on watching for so long."""
        with contextlib.closing(sqlite3.connect(self.state / "ledger.db")) as ledger, ledger:
            ledger.execute("UPDATE meta SET value = CAST(value AS REAL) + ? WHERE key = 'clock'", (seconds,))

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self.process.kill()
        self.ended()

    def end(self, how: signal.Signals = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(how)
        return self.ended(timeout)

    def ended(self, timeout: float = PATIENCE) -> int:
        """Wait until the process is over and all its lines are read; its exit code."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"the daemon did not end in {timeout:g} s\n{self.tail()}") from None
        self._reader.join()
        return code

    def close(self) -> None:
        """Make sure that it is over; harmless if repeated."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stderr:
            self.process.stderr.close()
        self._http.clear()

    # -- log -------------------------------------------------------------------------------------------------

    def wait(self, event: str, *, after: int = 0, timeout: float = PATIENCE, **fields: object) -> Line:
        """The first line of this event with these fields, from position ``after`` of the log on."""
        deadline = time.monotonic() + timeout
        position = max(after, self._begun)
        with self._news:
            while True:
                for line in self.lines[position:]:
                    if _matches(line, event, fields):
                        return line
                position = len(self.lines)
                left = deadline - time.monotonic()
                over = self.process.poll() is not None and not self._reader.is_alive()
                if left <= 0 or over:
                    why = f"the daemon ended with {self.process.poll()}" if over else f"waited {timeout:g} s"
                    raise LabError(f"{why}, no {event} with {fields}\n{self.tail()}")
                self._news.wait(min(left, 0.2))

    def said(self, event: str, *, after: int = 0, **fields: object) -> list[Line]:
        """The lines of this event with these fields so far."""
        return [line for line in self.lines[after:] if _matches(line, event, fields)]

    @property
    def mark(self) -> int:
        """The log's length, for ``after``."""
        return len(self.lines)

    def tail(self, lines: int = 25) -> str:
        """The end of the log, for the message of a failed test."""
        return "\n".join([json.dumps(line) for line in self.lines[-lines:]] + self.strange[-10:])

    def ready(self, timeout: float = PATIENCE) -> Self:
        """Wait until it is ready and has judged everything once."""
        self.wait("daemon.started", timeout=timeout)
        self.until(lambda: self.get("/readyz").status == 200, "readiness", timeout)
        self.until(lambda: self.total("dockwarden_evaluation_duration_seconds_count"), "the first judgement", timeout)
        return self

    # -- HTTP ------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.wait("daemon.started")["listen"])

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, method: str = "GET") -> Answer:
        """One request."""
        answer = self._http.request(method, self.url + path)
        return Answer(answer.status, answer.data.decode())

    def api(self, view: str, query: str = "limit=1000") -> list[dict[str, Any]]:
        """All rows of a list of the API, page by page."""
        rows: list[dict[str, Any]] = []
        path: str | None = f"/api/v1/{view}?{query}"
        while path:
            answer = self.get(path)
            assert answer.status == 200, answer
            page = json.loads(answer.text)
            rows, path = rows + page["items"], page["next"]
        return rows

    def tags(self) -> dict[str, str]:
        """The ID of each tag's image, as the API has it."""
        return {row["name"]: row["image_id"] for row in self.api("inventory", "subject=tag&limit=1000")}

    def samples(self, prefix: str = "") -> list[Sample]:
        """Everything on /metrics whose name begins so; to parse all of it takes longer than all else together."""
        lines = (line for line in self.get("/metrics").text.splitlines(keepends=True) if line.startswith(prefix))
        families = text_string_to_metric_families("".join(lines))
        return [Sample(s.name, s.labels, s.value) for family in families for s in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels; 0 where there is none."""
        return sum(s.value for s in self.samples(name) if s.name == name and labels.items() <= s.labels.items())

    def value(self, name: str, **labels: str) -> float:
        """The one sample of this name that has these labels."""
        found = [s.value for s in self.samples(name) if s.name == name and labels.items() <= s.labels.items()]
        assert len(found) == 1, f"{len(found)} samples of {name} {labels}"
        return found[0]

    # -- waiting ---------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        """Wait for a condition; what the daemon said last stands in the error."""
        try:
            until(condition, what, timeout, pause=0.05)
        except (LabError, urllib3.exceptions.HTTPError) as error:
            raise LabError(f"{error}\n{self.tail()}") from None

    def until_metric(self, expected: float, name: str, **labels: str) -> None:
        """Wait for the sum of a metric's samples with these labels."""
        self.until(lambda: self.total(name, **labels) == expected, f"{name} {labels} to be {expected:g}")

    def was_listed_anew_only_when_stalled(self) -> bool:
        """Whether it missed no event but where this machine let it wait, which it has measured."""
        lines = self.said("events.gap")
        lists = sum(
            self.total("dockwarden_inventory_resyncs_total", reason=why) for why in ("gap", "overflow", "retry")
        )
        return lists <= len(lines) and all(line["stalled_seconds"] >= 0.1 for line in lines)

    def until_true_to(self, engine: LabEngine, timeout: float = PATIENCE) -> None:
        """Wait until the inventory is what the engine really has."""
        try:
            self.until(lambda: shown(self) == truth(engine), "the inventory to be true", timeout)
        except LabError as error:
            raise LabError(f"{error}\ninventory: {shown(self)}\nengine: {truth(engine)}") from None

    def findings(self, policy: str) -> set[str]:
        """Names of the objects with an open finding of a policy, from the API."""
        return {row["name"] for row in self.api("findings") if row["policy"] == policy}

    # -- inside ----------------------------------------------------------------------------------------------

    def _read(self, process: subprocess.Popen[str] | Forked) -> None:
        assert process.stderr is not None
        for raw in process.stderr:
            line = _parsed(raw)
            with self._news:
                if line is None:
                    self.strange.append(raw.rstrip("\n"))
                else:
                    self.lines.append(line)
                self._news.notify_all()


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    text: str


class Sample(NamedTuple):
    """One sample of /metrics."""

    name: str
    labels: dict[str, str]
    value: float


def shown(daemon: Daemon) -> dict[str, object]:
    """The daemon's inventory by its API, in the form of ``truth``."""
    rows = daemon.api("inventory")
    of = {kind: [row for row in rows if row["subject"] == kind] for kind in ("image", "container", "volume", "network")}
    return {
        "images": len(of["image"]),
        "tags": {row["name"]: row["image_id"] for row in rows if row["subject"] == "tag"},
        "containers": {(c["object_id"], c["name"], c["image_id"], c["state"]) for c in of["container"]},
        "volumes": {row["name"] for row in of["volume"]},
        "networks": sorted(row["name"] for row in of["network"]),
    }


def truth(engine: LabEngine) -> dict[str, object]:
    """What the engine has, asked without dockwarden's help."""
    client = engine.client()
    images = client.images()
    containers = [client.inspect_container(row["Id"]) for row in client.containers(all=True)]
    tags = ((tag, image["Id"]) for image in images for tag in image["RepoTags"] or ())
    return {
        "images": len(images),
        "tags": {full(tag): key for tag, key in tags if "<none>" not in tag and "@" not in tag},
        "containers": {(c["Id"], c["Name"].lstrip("/"), c["Image"], c["State"]["Status"]) for c in containers},
        "volumes": {volume["Name"] for volume in client.volumes()["Volumes"] or ()},
        "networks": sorted(network["Name"] for network in client.networks()),
    }


def full(name: str) -> str:
    """The full reference of a short name with a tag."""
    first, slash, _ = name.partition("/")
    if slash and re.search(r"[.:]|^localhost$", first):
        return name
    return f"docker.io/{'' if slash else 'library/'}{name}"


def _parsed(raw: str) -> Line | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _matches(line: Line, event: str, fields: Mapping[str, object]) -> bool:
    return line.get("event") == event and all(line.get(key) == value for key, value in fields.items())

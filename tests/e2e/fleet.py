"""`make swarm`: the stack of deploy/swarm on three real engines, seen through its own Prometheus.

Role: build the image, push it to a private registry, deploy the stack as its page says, and ask its Prometheus. In: a
folder. Out: a swarm on which the stack runs. Out of bounds: Grafana, of which Debian has no package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import bcrypt
import urllib3
import yaml

from tests.e2e.harness import policy
from tests.e2e.supervised import IMAGE, ROOT, saved_image, wheels
from tests.e2e.test_dashboards import queries
from tests.lab import images, machine
from tests.lab.engine import real_folder
from tests.lab.machine import LabError, say
from tests.lab.programs import layer
from tests.lab.registry import LabRegistry
from tests.lab.swarm import LabSwarm
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.engine import LabEngine

_SOONER = {"scrape_interval: 15s": "scrape_interval: 2s", "evaluation_interval: 15s": "evaluation_interval: 2s",
           "refresh_interval: 15s": "refresh_interval: 1s"}  # fmt: skip


HAPROXY = ("-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg")


class Fleet:
    """The stack on a swarm of its own; a context manager."""

    def __init__(self, folder: Path, shipped: Path) -> None:
        self._folder, self._shipped = folder, shipped
        self.files = folder / "deploy/swarm"
        self.password = "a password for the scrape"
        self._http = urllib3.PoolManager(
            retries=False, timeout=PATIENCE, headers=urllib3.make_headers(basic_auth=f"prometheus:{self.password}")
        )

    def __enter__(self) -> Self:
        machine.ensure({**machine.ENGINE, **machine.REGISTRY, **machine.METRICS, **machine.PROXY}, "a swarm of its own")
        with ExitStack() as stack:
            self.registry = stack.enter_context(LabRegistry())
            self.swarm = stack.enter_context(LabSwarm(self._folder / "lab"))
            for node in self.swarm.nodes:
                node.forward(self.registry.port)
            self.image = f"{self.registry.host}/dockwarden:0.1.0"
            self.outside = f"{self.swarm.address(1)}:{self.registry.port}"  # as containers reach it, too
            self._build()
            self._write()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.clear()
        self._stack.close()

    def _build(self) -> None:
        leader = self.swarm.leader
        saved = saved_image(leader.client(600), leader.host, self._shipped)
        self.registry.push_saved("dockwarden", "0.1.0", saved, IMAGE)
        self.registry.push("stand-in/grafana", "1", images.busybox())
        for name, program, folder, *beside in (
            ("prom/prometheus:v3.5.0", "prometheus", "/prometheus"),
            (
                "prom/alertmanager:v0.28.1",
                "prometheus-alertmanager",
                "/alertmanager",
                "/usr/share/prometheus/alertmanager",
            ),
            ("haproxy:3.2-alpine", "haproxy", "/run/proxy"),
        ):
            repository, _, tag = name.rpartition(":")
            spec = images.ImageSpec(
                layers=(layer(program, *beside, folder=folder),), entrypoint=(str(machine.find(program)),),
                user="65534:65534", cmd=HAPROXY if program == "haproxy" else (),
            )  # fmt: skip
            self.registry.push(repository, tag, spec)

    def _write(self) -> None:
        """What the page tells people to make, and times that suit nobody but somebody who watches."""
        shutil.copytree(ROOT / "deploy", self._folder / "deploy")
        (self.files / "secrets").mkdir()
        hashed = bcrypt.hashpw(self.password.encode(), bcrypt.gensalt(4)).decode()
        (self.files / "secrets/web.yml").write_text(yaml.safe_dump({"basic_auth_users": {"prometheus": hashed}}))
        (self.files / "secrets/password").write_text(self.password)
        self.change("prometheus.yml", **_SOONER)
        self.change("dockwarden.yaml", **{"log:": f"registries: {{'{self.outside}': {{http: true}}}}\nlog:"})
        self.change("stack.yml", **{"monitor: 30s": "monitor: 5s", "delay: 5s, order": "delay: 0s, order"})
        # Engines of the lab have their data each in a place of its own.
        self.change(
            "stack.yml", **{"target: /var/lib/docker": f'target: "{real_folder()}/{{{{.Node.Hostname}}}}/data"'}
        )

    def change(self, name: str, **texts: str) -> None:
        """Edit a file of the stack."""
        file = self.files / name
        text = file.read_text()
        for old, new in texts.items():
            assert old in text, f"{old} is not in {name}"
            text = text.replace(old, new)
        file.write_text(text)

    def deploy(self, *files: str) -> None:
        """As the page says, from a manager."""
        leader = self.swarm.leader
        there = f"{self.registry.host}/prom"
        names = {"DOCKWARDEN_IMAGE": self.image, "PROMETHEUS_IMAGE": f"{there}/prometheus:v3.5.0",
                 "ALERTMANAGER_IMAGE": f"{there}/alertmanager:v0.28.1",
                 "GRAFANA_IMAGE": f"{self.registry.host}/stand-in/grafana:1",
                 "HAPROXY_IMAGE": f"{self.registry.host}/haproxy:3.2-alpine", "DOCKER_GID": "0"}  # fmt: skip
        done = subprocess.run(
            [str(self.files / "deploy"), *files],
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder), "DOCKER_HOST": leader.host, **names},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if done.returncode:
            raise LabError(done.stdout + done.stderr)

    def settle(self, manager: LabEngine | None = None) -> str:
        """Wait until the roll-out of dockwarden is over; how it ended."""
        node = manager or self.swarm.leader
        state = "--format={{with .UpdateStatus}}{{.State}}{{end}}"

        def end() -> str:
            found = node.docker("service", "inspect", state, SERVICE)
            return found if found in ("completed", "rollback_completed", "paused", "rollback_paused") else ""

        return until(end, "the end of the roll-out", timeout=300, pause=1.0)

    def ask(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series, from the Prometheus of the stack; nothing while it does not answer."""
        port = self.swarm.leader.spaces.reach(9090)
        try:
            answer = self._http.request("GET", f"http://127.0.0.1:{port}/api/v1/query", fields={"query": expression})
            data: Any = answer.json()["data"] if answer.status == 200 else {"result": []}
        except (urllib3.exceptions.HTTPError, ValueError):
            return []
        return [(row["metric"], float(row["value"][1])) for row in data["result"]]

    def until(self, expression: str, wanted: Callable[[list[float]], bool] | float) -> None:
        """Wait until a query gives exactly this value, or values that are wanted."""

        def holds() -> bool:
            values = [value for _, value in self.ask(expression)]
            return values == [wanted] if isinstance(wanted, float | int) else wanted(values)

        try:
            until(holds, f"{expression} to be {wanted}", timeout=300, pause=1.0)
        except LabError as error:
            tasks = self.swarm.leader.docker("service", "ps", "--no-trunc", SERVICE)
            raise LabError(f"{error}; it is {self.ask(expression)}\n{tasks}") from None

    def run_skewed(self) -> None:
        """One name that is another image on the second node than on the first."""
        for number, node in enumerate(self.swarm.nodes[:2]):
            node.load(images.busybox("shop/skewed:1", cmd=("sleep", f"{number + 1}000000")))
            node.docker("run", "--detach", "shop/skewed:1")

    def run_outdated(self) -> None:
        """A service whose tag is another image at the registry by now."""
        old = self.registry.push("shop/web", "1", images.busybox())
        self.registry.push("shop/web", "1", images.busybox(cmd=("sleep", "2000000")))
        create = ("service", "create", "--detach", "--quiet", "--name=web")
        self.swarm.leader.docker(*create, f"{self.outside}/shop/web:1@{old}")

    def roll_out(self, ends: str) -> None:
        """Deploy what was changed, with all that the stack can have; it must end so, with dockwarden on each node."""
        self.deploy("proxy.yml", "grafana.yml")
        if (end := self.settle()) != ends:
            raise LabError(f"the roll-out ended as {end}, not {ends}")
        self.until(UP, len(self.swarm.nodes))
        self.until(SETS, 1)
        self.until('count(dockwarden_policy_info{policy="outdated"})', len(self.swarm.nodes))

    def story(self) -> Iterator[str]:
        """What many hosts show, and what becomes of a good and of a bad change: each line once it was seen."""
        self.deploy()
        self.until(UP, 3)
        yield f"dockwarden answers on {sorted(labels['instance'] for labels, _ in self.ask('dockwarden_engine_up'))}"
        self.run_skewed()
        self.until(SKEWED, 2)
        yield "docker.io/shop/skewed:1 is two images on two nodes: DockwardenTagSkew"
        self.run_outdated()
        self.change("policies.yaml", **{"policies: []": yaml.safe_dump({"policies": [OUTDATED]})})
        self.roll_out("completed")
        yield "the policy 'outdated' was rolled out to all nodes, by the proxy of each"
        self.until('dockwarden_findings{policy="outdated"} == 1', lambda found: len(found) == 1)
        yield "by it the leader, and nobody else, found that the service web runs an outdated image"
        self.change("dockwarden.yaml", **{"web:": "wbe:"})
        self.roll_out("rollback_completed")
        yield "a mistake in the settings was rolled back by Swarm, and all nodes judge as before"
        asked = queries("dockwarden-fleet.json")
        silent = [place for place, expression in asked.items() if not self.ask(expression)]
        but = f", all but {silent}" if silent else ""
        yield f"{len(asked) - len(silent)} of {len(asked)} queries of the dashboard 'fleet' answer{but}"


SERVICE = "dockwarden_dockwarden"
UP = 'count(dockwarden_engine_up{job="dockwarden"} == 1)'
SETS = "count(count by (sha256) (dockwarden_config_info))"
SKEWED = 'job_ref:dockwarden_running_image_digests:count{ref="docker.io/shop/skewed:1"}'
OUTDATED = policy(
    "outdated", "service", "registry.state == 'drift'",
    trigger={"every": "5s"},
)  # fmt: skip


def main() -> int:
    """Bring it up, show it, and stay until somebody has seen enough."""
    with tempfile.TemporaryDirectory(prefix="dockwarden-swarm-") as name:
        folder = Path(name)
        say("making the image and three engines (a minute)")
        with Fleet(folder, wheels(folder / "wheels")) as fleet:
            for line in fleet.story():
                say(line)
            port = fleet.swarm.leader.spaces.reach(9090)
            say(f"Prometheus: http://127.0.0.1:{port}, user prometheus, password: {fleet.password}")
            if sys.stdin.isatty():
                input("lab: Enter ends it ")
    return 0


if __name__ == "__main__":
    sys.exit(main())

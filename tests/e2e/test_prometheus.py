"""A real Prometheus scrapes the daemon, and its own linter has nothing to say about what it is given."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest
import urllib3
import yaml

from tests.e2e.harness import policy
from tests.lab import machine
from tests.lab.images import ImageSpec
from tests.lab.loopback import free_port
from tests.lab.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

LATEST = "no-latest-tag"
PERIODIC = policy("periodic", "image", "image.dangling", action="remove", trigger={"every": "5s"})


class Prometheus:
    """One Prometheus on a free loopback port that scrapes one target every second."""

    def __init__(self, folder: Path, target: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._http = urllib3.PoolManager(retries=False, timeout=10)
        folder.mkdir(parents=True)
        config = folder / "prometheus.yml"
        scrape = {"job_name": "dockwarden", "static_configs": [{"targets": [target]}]}
        config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "prometheus", f"--config.file={config}",
             f"--storage.tsdb.path={folder}/data", f"--web.listen-address={self.url.removeprefix('http://')}"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )  # fmt: skip

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series; nothing while it does not answer yet."""
        try:
            answer = self._http.request("GET", f"{self.url}/api/v1/query", fields={"query": expression})
        except urllib3.exceptions.HTTPError:
            return []
        if answer.status != 200:
            return []
        return [(row["metric"], float(row["value"][1])) for row in answer.json()["data"]["result"]]

    def until(self, expression: str, expected: float) -> None:
        """Wait until a query gives exactly one series, with this value."""
        until(
            lambda: [value for _, value in self.query(expression)] == [expected],
            f"{expression} to be {expected:g}",
            timeout=30,
            pause=0.1,
        )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._http.clear()


@pytest.fixture
def tools() -> None:
    machine.ensure(machine.METRICS, "a private Prometheus")


@contextlib.contextmanager
def scraping(folder: Path, target: str) -> Iterator[Prometheus]:
    prometheus = Prometheus(folder, target)
    try:
        yield prometheus
    finally:
        prometheus.stop()


def test_prometheus_scrapes_and_sees_what_changes(
    any_engine: LabEngine, start: Start, tmp_path: Path, tools: None
) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/scraped:latest", "e2e/scraped:1")), ImageSpec(labels={"e2e": "nameless"}))
    daemon = start(engine, [LATEST, PERIODIC]).ready()
    with scraping(tmp_path / "prometheus", f"127.0.0.1:{daemon.port}") as prometheus:
        prometheus.until("up", 1)
        prometheus.until(f'dockwarden_findings{{policy="{LATEST}",severity="medium"}}', 1)
        prometheus.until("sum(dockwarden_findings)", 2)
        prometheus.until('dockwarden_inventory_objects{subject="tag"}', 2)
        prometheus.until("dockwarden_engine_up", 1)

        engine.docker("tag", "e2e/scraped:1", "e2e/another:latest")

        prometheus.until(f'dockwarden_findings{{policy="{LATEST}"}}', 2)
        judged = f'dockwarden_evaluations_total{{policy="{LATEST}",result="fail",cause="event"}}'
        prometheus.until(f"increase({judged}[1m]) > bool 0", 1)
        # Prometheus has a label "job" of its own and keeps ours under another name.
        ours = '{exported_job="periodic"}'
        prometheus.until(f"time() - dockwarden_job_last_success_timestamp_seconds{ours} < bool 30", 1)
        prometheus.until(f"dockwarden_job_next_run_timestamp_seconds{ours} > bool time() - 5", 1)
        prometheus.until("histogram_quantile(0.9, dockwarden_reaction_duration_seconds_bucket) < bool 60", 1)
        assert prometheus.query("scrape_samples_scraped")[0][1] < 3000

        daemon.end()
        prometheus.until("up", 0)


def test_promtool_has_no_complaint(any_engine: LabEngine, start: Start, tools: None) -> None:
    any_engine.load(ImageSpec(tags=("e2e/checked:latest",)), ImageSpec(labels={"e2e": "nameless"}))
    settings = {"modes": {"periodic": "enforce"}, "minimum_stay": "0s"}
    daemon = start(any_engine, [LATEST, {**PERIODIC, "limits": {"max_percent": 100}}], settings=settings).ready()
    daemon.wait("action.applied", policy="periodic")
    daemon.until(lambda: daemon.total("dockwarden_job_duration_seconds_count"), "a job's end")
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=daemon.get("/metrics").text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

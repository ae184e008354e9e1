"""A real Prometheus scrapes the daemon, and its own linter has nothing to say about what it is given."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import bcrypt

from tests.commands import command
from tests.e2e.harness import policy
from tests.lab import machine
from tests.lab.images import ImageSpec
from tests.lab.loopback import make_certificate
from tests.lab.prometheus import Prometheus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

LATEST = "no-latest-tag"
PERIODIC = policy("periodic", "image", "image.dangling", action="remove", trigger={"every": "5s"})


def test_prometheus_scrapes_and_sees_what_changes(any_engine: LabEngine, start: Start, tmp_path: Path) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/scraped:latest", "e2e/scraped:1")), ImageSpec(labels={"e2e": "nameless"}))
    daemon = start(engine, [LATEST, PERIODIC]).ready()
    with Prometheus(tmp_path / "prometheus", f"127.0.0.1:{daemon.port}") as prometheus:
        prometheus.until("up", 1)
        prometheus.until(f'dockwarden_findings{{policy="{LATEST}",severity="medium"}}', 1)
        prometheus.until("sum(dockwarden_findings)", 2)
        prometheus.until('dockwarden_inventory_objects{subject="tag"}', 2)
        prometheus.until("dockwarden_engine_up", 1)

        engine.docker("tag", "e2e/scraped:1", "e2e/another:latest")

        prometheus.until(f'dockwarden_findings{{policy="{LATEST}"}}', 2)
        judged = f'dockwarden_evaluations_total{{policy="{LATEST}",result="fail",cause="event"}}'
        prometheus.until(f"increase({judged}[1m]) > bool 0", 1)
        ours = '{policy="periodic"}'
        prometheus.until(f"time() - dockwarden_job_last_success_timestamp_seconds{ours} < bool 30", 1)
        prometheus.until(f"dockwarden_job_next_run_timestamp_seconds{ours} > bool time() - 5", 1)
        prometheus.until("histogram_quantile(0.9, dockwarden_reaction_duration_seconds_bucket) < bool 60", 1)
        assert prometheus.query("scrape_samples_scraped")[0][1] < 3000

        daemon.end()
        prometheus.until("up", 0)


def test_prometheus_shows_a_certificate_and_a_password(any_engine: LabEngine, start: Start, tmp_path: Path) -> None:
    make_certificate(tmp_path)
    (tmp_path / "web.yml").write_text(
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt,"
        " client_auth_type: RequireAndVerifyClientCert}\n"
        f"basic_auth_users: {{prom: '{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}'}}\n"
    )
    web = {"listen": "127.0.0.1:0", "config_file": str(tmp_path / "web.yml")}
    daemon = start(any_engine, [LATEST], settings={"web": web})
    port = daemon.wait("daemon.started")["listen"]
    files = {"ca_file": "ca.crt", "cert_file": "server.crt", "key_file": "server.key"}
    scrape: dict[str, Any] = {
        "scheme": "https",
        "tls_config": {key: str(tmp_path / name) for key, name in files.items()},
        "basic_auth": {"username": "prom", "password": "secret"},
    }
    with Prometheus(tmp_path / "prometheus", f"127.0.0.1:{port}", **scrape) as prometheus:
        prometheus.until("dockwarden_engine_up", 1)
    pem = tmp_path / "client.pem"
    pem.write_text("".join((tmp_path / name).read_text() for name in ("server.key", "server.crt")))
    (tmp_path / "login").write_text("prom:secret\n")
    status = ("status", "--listen", f"127.0.0.1:{port}", "--cert", pem)
    refused = command(*status)
    assert (refused.code, "see --login" in refused.err) == (1, True)
    assert "in mode audit" in command(*status, "--login", tmp_path / "login").out

    (tmp_path / "web.yml").write_text("tls_server_config: {}\nbasic_auth_users: {prom: secret}\n")
    done = command("check", "--config", daemon.config)
    assert (done.code, "web.yml:2:20 basic_auth_users.prom: must be a bcrypt hash" in done.err) == (78, True)


def test_promtool_has_no_complaint(any_engine: LabEngine, start: Start) -> None:
    machine.ensure(machine.METRICS, "promtool")
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

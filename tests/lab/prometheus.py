"""A private Prometheus that scrapes one target, every second unless told otherwise, and what others have it scrape.

In: a folder, a target, files of rules. Out: answers to queries. Out of bounds: what is asked.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import urllib3
import yaml

from tests.lab import machine
from tests.lab.loopback import free_port
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Sequence


class Prometheus:
    """One Prometheus on a free loopback port; a context manager."""

    def __init__(
        self,
        folder: Path,
        target: str,
        rules: Sequence[Path] = (),
        alertmanager: str = "",
        interval: str = "1s",
        others: Sequence[str] = (),
        **scrape_keys: object,
    ) -> None:
        """``alertmanager``: host:port of who is told of alerts; ``others``: targets of another job, ``node``.

        ``scrape_keys``: how the target is asked.
        """
        self.url = f"http://127.0.0.1:{free_port()}"
        self._http = urllib3.PoolManager(retries=False, timeout=PATIENCE)
        self._folder = folder
        folder.mkdir(parents=True)
        scrape = {"job_name": "dockwarden", "static_configs": [{"targets": [target]}], **scrape_keys}
        node = {"job_name": "node", "static_configs": [{"targets": [*others]}]}
        config = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(file) for file in rules],
            "scrape_configs": [scrape, node],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager] if alertmanager else []}]}]},
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        machine.ensure(machine.METRICS, "a private Prometheus")
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "prometheus", f"--config.file={self._folder}/prometheus.yml",
             f"--storage.tsdb.path={self._folder}/data", f"--web.listen-address={self.url.removeprefix('http://')}"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._http.clear()

    @property
    def cpu_seconds(self) -> float:
        """What it has used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_bytes(self) -> int:
        """What it has in memory."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def get(self, path: str, **fields: str) -> Any:
        """The data of an answer of its API; None while it does not answer yet, or refuses."""
        try:
            answer = self._http.request("GET", f"{self.url}/api/v1/{path}", fields=fields)
        except urllib3.exceptions.HTTPError:
            return None
        return answer.json()["data"] if answer.status == 200 else None

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series; nothing while it does not answer yet."""
        data = self.get("query", query=expression)
        return [(row["metric"], float(row["value"][1])) for row in data["result"]] if data else []

    def until(self, expression: str, expected: float) -> None:
        """Wait until a query gives exactly one series, with this value."""
        until(
            lambda: [value for _, value in self.query(expression)] == [expected],
            f"{expression} to be {expected:g}",
            timeout=PATIENCE,
            pause=0.1,
        )

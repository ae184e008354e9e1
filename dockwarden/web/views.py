"""The current state as rows: what the API answers and the status page shows.

Input: the parts that know it; they are only read. Output: plain values. Out of bounds: HTTP, and anything dear.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from dockwarden import __version__
from dockwarden.health import Health
from dockwarden.inventory.live import Inventory
from dockwarden.model import Finding, Mode, Policy, Result, Severity
from dockwarden.policy.findings import Findings
from dockwarden.sinks.board import Board
from dockwarden.text import moment

_MOST_FINDINGS = 100
_WEIGHT = {severity: number for number, severity in enumerate(Severity)}


class Views:
    """Reads what the worker left; from any thread."""

    def __init__(
        self,
        board: Board,
        findings: Findings,
        inventory: Inventory,
        health: Health,
        next_runs: Callable[[], Mapping[str, float]],
        now: Callable[[], float],
    ) -> None:
        """``next_runs``: when each job is due. ``now``: the wall clock, in seconds since the epoch."""
        self._board = board
        self._findings = findings
        self._inventory = inventory
        self._health = health
        self._next_runs = next_runs
        self._now = now

    def api(self) -> dict[str, Callable[[], object]]:
        """What ``/api/v1/<name>`` answers."""
        return {
            "findings": lambda: [finding_row(finding) for finding in self._findings.open()],
            "policies": lambda: [_policy_row(policy) for policy in self._board.policies],
            "actions": lambda: list(self._board.actions),
            "inventory": self._objects,
        }

    def status(self) -> dict[str, object]:
        """What the status page shows."""
        now, open_findings = self._now(), self._findings.open()
        shown = heapq.nsmallest(_MOST_FINDINGS, open_findings, _rank)
        return {
            "version": __version__,
            "now": now,
            "trouble": self._health.unready(),
            "engine": self._inventory.info,
            "engine_up": self._health.engine_up,
            "objects": {kind.value: count for kind, count in self._inventory.counts().items()},
            "policies": self._policies(Counter(finding.result.policy for finding in open_findings)),
            "findings": [finding_row(finding) for finding in shown],
            "severities": Counter(finding.result.severity.value for finding in open_findings),
            "runs": list(self._board.runs),
        }

    def _policies(self, found: Counter[str]) -> list[dict[str, Any]]:
        due = self._next_runs()
        unknown: Counter[str] = Counter()
        for (policy, _reason), count in list(self._findings.unknown_counts.items()):
            unknown[policy] += count
        return [
            {
                **_policy_row(policy),
                "found": found[policy.name],
                "unknown": unknown[policy.name],
                "events": sorted(policy.trigger.events),
                "schedule": policy.trigger.schedule,
                "every_seconds": policy.trigger.every_seconds,
                "next_run_at": None if policy.mode is Mode.OFF else due.get(policy.name),
            }
            for policy in sorted(self._board.policies, key=lambda policy: policy.name)
        ]

    def _objects(self) -> dict[str, object]:
        inventory = self._inventory
        return {
            "complete": inventory.complete,
            "counts": {kind.value: count for kind, count in inventory.counts().items()},
            "tags": dict(inventory.tags),
            "containers": [
                {"id": c.id, "name": c.name, "image": c.image_ref, "image_id": c.image_id, "state": c.state}
                for c in list(inventory.containers.values())
            ],
            "volumes": list(inventory.volumes),
            "networks": [network.name for network in list(inventory.networks.values())],
        }


def _rank(finding: Finding) -> tuple[int, float]:
    """The worst first, and of those the newest."""
    return _WEIGHT[finding.result.severity], -finding.opened_at


def _policy_row(policy: Policy) -> dict[str, object]:
    return {
        "name": policy.name,
        "title": policy.title,
        "subject": policy.subject.value,
        "severity": policy.severity.value,
        "mode": policy.mode.value,
        "action": policy.action,
        "place": policy.place,
    }


def result_row(result: Result) -> dict[str, object]:
    """A result under the names that scripts use."""
    row: dict[str, object] = {
        "policy": result.policy,
        "subject": result.ref.kind.value,
        "id": result.ref.key,
        "name": result.name,
        "result": result.status.value,
        "severity": result.severity.value,
        "message": result.message,
        "reason": result.reason,
        "evidence": dict(result.evidence),
    }
    if result.excuse.ids:
        until = result.excuse.until_at
        row |= {"exceptions": list(result.excuse.ids), "until": None if until is None else moment(until)}
    return row


def finding_row(finding: Finding) -> dict[str, object]:
    """An open finding: its result, and since when."""
    return {**result_row(finding.result), "opened_at": finding.opened_at}

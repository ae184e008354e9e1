"""Log lines for what a run found and did. Event names are stable; people and scripts search for them.

Input: a ``Report``. Output: one line per opening, resolution and step, and one per run, for debugging only where it
says nothing more. Out of bounds: changing or counting anything.
"""

import time
from collections import Counter

import structlog

from dockwarden.model import Cause, Effect, Report, Severity

_log = structlog.get_logger("dockwarden")
_LOUD = (Severity.CRITICAL, Severity.HIGH)
_PULL_SECONDS = 10.0


class Pulls:
    """How far pulls have come, every ten seconds."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __call__(self, source: str, here_bytes: int, total_bytes: int) -> None:
        if (now := time.monotonic()) - self._told_at >= _PULL_SECONDS:
            self._told_at = now
            _log.info("image.pulling", name=source, here_bytes=here_bytes, total_bytes=total_bytes)


class Log:
    def record(self, report: Report) -> None:
        for result in sorted(report.opened, key=lambda result: result.severity.rank):
            event = "finding.expired" if result.reason.startswith("expired: ") else "finding.opened"
            (_log.warning if result.severity in _LOUD else _log.info)(
                event,
                policy=result.policy,
                severity=result.severity.value,
                subject=result.ref.kind.value,
                name=result.name,
                id=result.ref.key,
                message=result.message,
                reason=result.reason or None,
            )
        for event, ended in (("finding.excused", report.newly_excused), ("finding.resolved", report.resolved)):
            for result in ended:
                _log.info(event, policy=result.policy, name=result.name, why=result.reason)
        for result in report.troubled:
            _log.warning(f"policy.{result.status.value}", policy=result.policy, name=result.name, reason=result.reason)
        for outcome in report.outcomes:
            (_log.error if outcome.effect is Effect.FAILED else _log.info)(
                f"action.{outcome.effect.value}",
                policy=outcome.policy,
                action=outcome.action,
                name=outcome.name,
                id=outcome.ref.key,
                reason=outcome.reason,
                detail=outcome.detail or None,
                bytes=outcome.freed_bytes or None,
                planned_bytes=outcome.planned_bytes or None,
            )
        for error in report.errors:
            _log.error("run.error", run=report.run, error=error)
        found = report.opened or report.newly_excused or report.resolved
        # What an event opened and resolved has just been told in full.
        quiet = not (report.outcomes or report.errors or (found and report.cause is not Cause.EVENT))
        (_log.debug if quiet else _log.info)(
            "run.completed",
            run=report.run,
            cause=report.cause.value,
            job=report.job or None,
            judged=sum(report.judged.values()),
            opened=len(report.opened),
            resolved=len(report.resolved),
            steps=len(report.outcomes),
            **(Counter(outcome.effect.value for outcome in report.outcomes) if report.outcomes else {}),
            seconds=round(report.duration_seconds, 4),
        )

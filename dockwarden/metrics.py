"""All metrics in one list, on a registry of our own.

Input: plain numbers and words from every layer above. Output: Prometheus families. Out of bounds: object names, IDs,
digests and error texts as labels; help texts end up in docs/metrics.md, which is generated from here.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dockwarden import __version__
from dockwarden.health import Health
from dockwarden.model import Cause, Effect, EngineInfo, Finding, Kind, Outcome, Policy, PolicySet, Report, Status
from dockwarden.model.words import EVENTS
from dockwarden.ports import Disk

disable_created_metrics()  # type: ignore[no-untyped-call]

_REACTION = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_RUN = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_MOST_NAME = 200
_MOST_TEXT = 500
_LATE_INTERVALS = 3
_EARLY_INTERVALS = 2
REFUSALS = (
    *("self", "builtin", "protected", "owner", "in_use", "running", "not_running", "named"),
    *("excused", "exception_unknown", "too_young", "waiting", "limits", "unrecoverable", "ledger", "conflict"),
    *("need_unknown", "gains_nothing"),
)
OF_CONTAINERS = (  # and of services, and of pulls
    *("aside", "auto_remove", "barred", "dependents", "gave_up", "image_gone", "job", "other_platform", "pinned"),
    *("stale_namespace", "updating"),
)
STAGES = ("collect", "judge", "plan", "execute", "report")


class _Live(Collector):
    """Series that are read at each scrape, as many as were asked for, so that none outlives its object."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, *labels: str) -> None:
        self._name, self._text, self._labels = f"dockwarden_{name}", text, labels
        self._rows: Callable[[], Iterable[tuple[float, tuple[str, ...]]]] = tuple
        self._most = 0
        registry.register(self)

    def show(self, rows: Callable[[], Iterable[tuple[float, tuple[str, ...]]]], most: int = 1) -> None:
        self._most, self._rows = most, rows

    def collect(self) -> tuple[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        shown: dict[tuple[str, ...], float] = {}
        for value, row in self._rows() if self._most else ():
            shown[tuple(each[:_MOST_NAME].encode(errors="replace").decode() for each in row)] = value
            if len(shown) == self._most:
                break
        for each, value in shown.items():
            family.add_metric(each, value)
        return (family,)


# What an attribute of ``Metrics`` is made of, whose name is that of the family.


def _gauge(text: str, labels: str = "") -> Gauge:
    return cast("Gauge", partial(Gauge, documentation=text, labelnames=labels.split()))


def _counter(text: str, labels: str = "") -> Counter:
    return cast("Counter", partial(Counter, documentation=text, labelnames=labels.split()))


def _histogram(text: str, buckets: tuple[float, ...], labels: str = "") -> Histogram:
    return cast("Histogram", partial(Histogram, documentation=text, labelnames=labels.split(), buckets=buckets))


class Metrics:
    """Every family, as the attribute of its name; those of counters end in ``_total`` besides."""

    build_info = _gauge("1, with the versions of dockwarden and Python.", "version revision python")
    config_info = _gauge("1, with the SHA-256 of the policy files in use.", "sha256")
    config_last_reload_successful = _gauge("1 if the last load of the policies succeeded.")
    config_last_reload_success_timestamp_seconds = _gauge("When the policies were loaded.")
    policy_info = _gauge("1 for each policy in use.", "policy subject mode severity")
    policy_text_info = _gauge("1 for each policy in use, with what it says to people.", "policy title remediation refs")
    ledger_writable = _gauge("1 if the ledger can be written; nothing is removed at 0.")
    log_messages = _counter("Lines of the log, by level.", "level")
    errors = _counter("Faults of our own that cost one object or one sink.", "stage")
    web_logins_failed = _counter("Requests with a wrong user name or password.")
    engine_up = _gauge("1 if the engine answers.")
    engine_info = _gauge("1 for the engine, with its version and image store.", "version api_version image_store")
    engine_requests = _counter("Requests to the engine, by how they ended.", "operation result")
    engine_request_duration_seconds = _histogram("Time the engine took to answer.", _RUN, "operation")
    events_received = _counter("Events of the engine, by type of object.", "type action")
    events_reconnects = _counter("Times the event stream was lost and opened again.")
    events_gaps = _counter("Times events may have been missed, each followed by a resync.")
    events_last_received_timestamp_seconds = _gauge("Engine's time of the last event.")
    queue_length = _gauge("Objects and jobs waiting for the worker.")
    inventory_objects = _gauge("Objects on the engine.", "subject")
    inventory_resyncs = _counter("Full lists of the engine.", "reason")
    registry_requests = _counter(
        "Requests to image registries; code is the status, or why there was no answer.", "registry method code"
    )
    registry_quota_remaining = _gauge("Requests that the registry says are left, where it says so.", "registry")
    evaluations = _counter("Judgements of an object by a policy.", "policy result cause")
    evaluation_duration_seconds = _histogram("Time of a run's judging, look-ups included.", _RUN)
    findings = _gauge("Findings open now.", "policy severity")
    pending = _gauge("Findings that have yet to hold as long as `for` says.", "policy")
    excused = _gauge("Findings that somebody has excused.", "policy severity")
    exception_expiry_timestamp_seconds = _gauge("When an exception ends.", "id")
    exceptions_unused = _gauge("Exceptions that match nothing.")
    unknown = _gauge("Objects that could not be judged, now.", "policy reason")
    reaction_duration_seconds = _histogram("From the engine's time of an event to the report on it.", _REACTION)
    actions = _counter("Steps of plans, by what became of them.", "policy action outcome")
    actions_misdirected = _counter("Removals of names that were just moved to other images.", "policy action")
    action_trouble_timestamp_seconds = _gauge("When a step last failed or met a limit.", "policy action outcome reason")
    refusals = _counter("Steps that were refused, or skipped as they gain nothing, by reason.", "policy reason")
    reclaimed_bytes = _counter("What the disk gained by removals; as planned where it is not seen.", "policy subject")
    notifications = _counter("Messages that were sent, or given up after all tries.", "route result")
    notifications_dropped = _counter("Openings, resolutions and actions in messages that were given up.", "route")
    job_last_run_timestamp_seconds = _gauge("When the job last ended.", "policy")
    job_last_success_timestamp_seconds = _gauge("When the job last ended without an error.", "policy")
    job_next_run_timestamp_seconds = _gauge("When the job is due next.", "policy")
    job_duration_seconds = _histogram("How long the job took.", _RUN, "policy")
    job_interval_seconds = _gauge("Between two runs, the longest of a week.", "policy")
    job_late_timestamp_seconds = _gauge("When it is late: three intervals after its last success, or start.", "policy")
    job_early_timestamp_seconds = _gauge("Until when the job's next run is more than two intervals away.", "policy")
    job_missed = _counter("Runs that came too late or found the last one waiting.", "policy")

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        for name, of in vars(type(self)).items():
            if isinstance(of, partial):
                family = of(f"dockwarden_{name}", registry=self.registry)
                if of.func is not Gauge and not name.startswith("job_"):  # no series of it ever ends
                    family.labels = cache(family.labels)  # each event looks for ten
                setattr(self, name, family)
        self.health = Health()
        self._intervals: dict[str, float] = {}  # of jobs, in seconds
        self._counted: Mapping[Kind, int] = {}
        self._open: Mapping[tuple[str, str], int] = {}
        self._unknown: Mapping[tuple[str, str], int] = {}
        self._policies: tuple[Policy, ...] = ()
        live = partial(_Live, self.registry)
        self._disk_used = live("disk_used_ratio", "Used space of the engine's fuller disk, 0 to 1.")
        self._inodes_used = live("disk_inodes_used_ratio", "Used inodes of the engine's fuller disk, 0 to 1.")
        text = "Open findings with the names of their objects, as many as web.finding_info allows."
        self._finding_info = live("finding_info", text, "policy", "severity", "subject", "name")
        text = "Which digest, or image ID, runs under which name, as many as web.running_image_info allows."
        self._image_info = live("running_image_info", text, "ref", "digest")
        self.build_info.labels(__version__, "", platform.python_version()).set(1)
        for stage in STAGES:
            self.errors.labels(stage)
        for kind, actions in EVENTS.items():
            for action in actions:
                self.events_received.labels(kind, action)
        for level in ("debug", "info", "warning", "error", "critical"):
            self.log_messages.labels(level)
        for reason in ("startup", "reconnect", "gap", "overflow", "interval", "retry"):
            self.inventory_resyncs.labels(reason)

    def set_engine(self, info: EngineInfo | None, trouble: str = "") -> None:
        """The engine answers, as ``info`` says, or it does not, for the reason given."""
        self.engine_up.set(1 if info else 0)
        self.health.engine_up = info is not None
        self.health.engine_away = info is None
        self.health.engine_trouble = trouble
        if info:
            self.engine_info.clear()
            self.engine_info.labels(info.version, info.api_version, info.image_store.value).set(1)

    def watch_disk(self, measure: Callable[[], Disk | None]) -> None:
        """Call this twice at each scrape, in a thread of the HTTP server; it must answer at once."""
        self._disk_used.show(lambda: [(disk.used_percent / 100.0, ())] if (disk := measure()) else [])
        self._inodes_used.show(lambda: [(disk.inodes_used_percent / 100.0, ())] if (disk := measure()) else [])

    def watch_findings(self, most: int, findings: Callable[[], Iterable[Finding]]) -> None:
        """Show so many of the open findings by name; 0 for none."""

        def rows() -> Iterator[tuple[float, tuple[str, ...]]]:
            for result, *_ in findings():
                yield 1, (result.policy, result.severity.value, result.ref.kind.value, result.name)

        self._finding_info.show(rows, most)

    def watch_images(self, most: int, rows: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Show so many of the names and digests that run; 0 for none."""
        self._image_info.show(lambda: ((1, row) for row in rows()), most)

    def _use(self, policies: PolicySet, at: float) -> None:
        """Known label sets start at 0, those of policies that went away end."""
        self.config_info.clear()
        self.config_info.labels(policies.sha256).set(1)
        self.config_last_reload_success_timestamp_seconds.set(at)
        of_policies = (self.policy_info, self.policy_text_info, self.findings, self.unknown, self.pending, self.excused)
        for family in (*of_policies, self.exception_expiry_timestamp_seconds):
            family.clear()
        self._open, self._unknown = {}, {}
        for exception in policies.exceptions:
            if exception.until_at is not None:
                self.exception_expiry_timestamp_seconds.labels(exception.id).set(exception.until_at)
        self._policies = policies.policies
        for policy in policies.policies:
            self.policy_info.labels(policy.name, policy.subject.value, policy.mode.value, policy.severity.value).set(1)
            texts = (policy.title, policy.remediation, ", ".join(policy.refs))
            self.policy_text_info.labels(policy.name, *(" ".join(text.split())[:_MOST_TEXT] for text in texts)).set(1)
            self._start_at_zero(policy)
        self.health.policies_loaded = True

    def _start_at_zero(self, policy: Policy) -> None:
        self.findings.labels(policy.name, policy.severity.value)
        self.pending.labels(policy.name)
        self.excused.labels(policy.name, policy.severity.value)
        for status in Status:
            for cause in Cause:
                self.evaluations.labels(policy.name, status.value, cause.value)
        if policy.action:
            for effect in Effect:
                self.actions.labels(policy.name, policy.action, effect.value)
            self.actions_misdirected.labels(policy.name, policy.action)
            more = policy.subject in (Kind.CONTAINER, Kind.SERVICE) or policy.action == "pull"
            for reason in REFUSALS + OF_CONTAINERS * more:
                self.refusals.labels(policy.name, reason)
            self.reclaimed_bytes.labels(policy.name, policy.subject.value)

    def _count(self, outcome: Outcome, at: float) -> None:
        done = (outcome.policy, outcome.action, outcome.effect.value)
        self.actions.labels(*done).inc()
        if outcome.effect is Effect.FAILED or outcome.reason == "limits":
            self.action_trouble_timestamp_seconds.labels(*done, outcome.reason).set(at)
        if outcome.reason == "other_image" and outcome.effect is Effect.FAILED:
            self.actions_misdirected.labels(outcome.policy, outcome.action).inc()
        if outcome.effect is Effect.REFUSED or outcome.reason == "gains_nothing":
            self.refusals.labels(outcome.policy, outcome.reason).inc()
        if outcome.freed_bytes:
            self.reclaimed_bytes.labels(outcome.policy, outcome.ref.kind.value).inc(outcome.freed_bytes)

    def set_job(self, name: str, interval_seconds: float, at: float) -> None:
        """There is such a job from now on; an interval of 0 says nothing."""
        self._intervals[name] = interval_seconds
        self.job_interval_seconds.labels(name).set(interval_seconds)
        self.job_missed.labels(name)
        self._await_job(name, at)

    def _await_job(self, name: str, since: float) -> None:
        if interval_seconds := self._intervals.get(name):
            self.job_late_timestamp_seconds.labels(name).set(since + _LATE_INTERVALS * interval_seconds)

    def set_next_run(self, name: str, at: float) -> None:
        self.job_next_run_timestamp_seconds.labels(name).set(at)
        if interval_seconds := self._intervals.get(name):
            self.job_early_timestamp_seconds.labels(name).set(at - _EARLY_INTERVALS * interval_seconds)

    def drop_job(self, name: str) -> None:
        """There is no such job any more, so that nobody waits for its next run."""
        self._intervals.pop(name, None)
        for attribute, family in vars(self).items():
            if attribute.startswith("job_"):
                family.remove(name)

    def set_objects(self, counts: dict[Kind, int]) -> None:
        for kind, count in counts.items() - self._counted.items():
            self.inventory_objects.labels(kind.value).set(count)
        self._counted = counts

    def observe_engine(self, operation: str, result: str, seconds: float) -> None:
        """One request to the engine was answered, or not; either way the thread that asked goes on."""
        self.health.progress()
        self.engine_requests.labels(operation, result).inc()
        self.engine_request_duration_seconds.labels(operation).observe(seconds)

    def observe_reactions(self, events_ns: Iterable[int]) -> None:
        """What these events, of the engine's time, led to is shown now."""
        now_ns = time.time_ns()
        for at_ns in events_ns:
            self.reaction_duration_seconds.observe(max(0.0, (now_ns - at_ns) / 1e9))

    def _show_aside(self, report: Report) -> None:
        if report.unused is not None:
            self.exceptions_unused.set(report.unused)
        if report.asides is None and report.policies is None:
            return  # nothing has changed
        for policy in self._policies:
            self.pending.labels(policy.name).set(report.pending.get(policy.name, 0))
            severity = policy.severity.value
            self.excused.labels(policy.name, severity).set(report.excused.get((policy.name, severity), 0))

    def record(self, report: Report) -> None:
        if report.policies is not None:
            self._use(report.policies, report.ended_at)
        for (policy, status), count in report.judged.items():
            self.evaluations.labels(policy, status.value, report.cause.value).inc(count)
        for outcome in report.outcomes:
            self._count(outcome, report.ended_at)
        for labels, count in report.open.items() - self._open.items():
            self.findings.labels(*labels).set(count)
        for labels, count in report.unknown.items() - self._unknown.items():
            self.unknown.labels(*labels).set(count)
        self._open, self._unknown = report.open, report.unknown
        self._show_aside(report)
        self.observe_reactions(report.events_ns)
        if report.job:
            self.job_last_run_timestamp_seconds.labels(report.job).set(report.ended_at)
            self.job_duration_seconds.labels(report.job).observe(report.duration_seconds)
            if not report.errors and not any(outcome.effect is Effect.FAILED for outcome in report.outcomes):
                self.job_last_success_timestamp_seconds.labels(report.job).set(report.ended_at)
                self._await_job(report.job, report.ended_at)

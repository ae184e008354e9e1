"""The dashboards: what goes on, one host, and many hosts side by side.

Role: keep sixty queries consistent, which nobody can in JSON. Out: the texts of deploy/grafana/dashboards, which
`make docs` writes. Out of bounds: running them. tests/integration/test_grafana_files.py holds the conventions,
tests/e2e/test_dashboards.py runs every query against a real Prometheus.
"""

from __future__ import annotations

from tests.grafana.panels import ALARM, FULL, WARN, Panel, dashboard, graph, rows, stat

_SEVERITIES = {
    "critical": "dark-red",
    "high": "orange",
    "medium": "yellow",
    "low": "blue",
    "info": "super-light-blue",
}
_OUTCOMES = {"applied": "green", "audited": "blue", "skipped": "#8e8e8e", "refused": "yellow", "failed": "red"}

_KEPT = "${datasource:queryparam}&${job:queryparam}&${__url_time_range}"  # by links to other dashboards
_LATE = "time() > dockwarden_job_late_timestamp_seconds{@}"
_PARTLY = (
    'count by (policy, mode) (dockwarden_policy_info{@, mode!="audit"})'
    " < on () group_left () count(dockwarden_config_info{@})"
)


def _quantile(share: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{@}}[$__rate_interval])))"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{@}}[$__rate_interval]))"


def _failing(metric: str, which: str) -> str:
    return f"sum by (instance) (rate({metric}{{@, {which}}}[$__rate_interval]))"


def _count(metric: str, by: str) -> str:
    return f"sum by ({by}) (increase({metric}{{@}}[$__rate_interval]))"


def _in_range(metric: str, labels: str = "") -> str:
    return f"sum(increase({metric}{{{labels}@}}[$__range]))"


_BY_SEVERITY = graph(
    "Open findings by severity",
    "Objects that break a policy, over time. Which they are is in the log and at /api/v1/findings.",
    "short",
    ("sum by (severity) (dockwarden_findings{@})", "{{severity}}"),
    colors=_SEVERITIES,
    stack=True,
)
_ACTIONS = graph(
    "What became of objects that policies would remove",
    "Steps of plans by outcome: applied was done, audited would have been if the policy enforced, refused was held "
    "back by a safety rule, skipped had changed meanwhile, failed met an error of the engine.",
    "short",
    (_count("dockwarden_actions_total", "outcome"), "{{outcome}}"),
    colors=_OUTCOMES,
    bars=True,
)
_REFUSED = graph(
    "Why objects were held back",
    "Refused steps by reason: in_use, too_young and protected are everyday; limits and ledger want a look.",
    "short",
    (_count("dockwarden_refusals_total", "reason"), "{{reason}}"),
    bars=True,
)
_CRITICAL = stat(
    "Critical and high",
    "Open findings of severity critical and high.",
    'sum(dockwarden_findings{@, severity=~"critical|high"})',
    steps=ALARM,
)
_UNJUDGED = stat(
    "Not judged",
    "Objects that a policy could not judge, because of an error or of a registry that does not answer.",
    "sum(dockwarden_unknown{@}) or vector(0)",
    steps=WARN,
)
_LATE_JOBS = stat(
    "Late schedules",
    "Schedules whose last run without an error is more than three intervals ago.",
    f"count({_LATE}) or vector(0)",
    steps=WARN,
)
_RECLAIMED = stat(
    "Reclaimed",
    "What the engine's disk gained by removals in the time shown; where it cannot be seen, as planned.",
    _in_range("dockwarden_reclaimed_bytes_total"),
    unit="bytes",
)

_OVERVIEW: dict[str, list[Panel]] = {
    "Now": [
        stat(
            "Engines away",
            "Engines that do not answer, and dockwardens that do not.",
            "count(dockwarden_engine_up{@} == 0 or up{@} == 0) or vector(0)",
            steps=ALARM,
        ),
        _CRITICAL,
        stat("Open findings", "Objects that break any policy now.", "sum(dockwarden_findings{@})"),
        _UNJUDGED,
        _LATE_JOBS,
        _RECLAIMED,
    ],
    "Hosts": [
        rows(
            "Hosts",
            "One line per host: its engine, what was found there, and how full its disk is, where that can be seen.",
            [
                "sum by (job, instance, version, image_store) (dockwarden_engine_info{@})",
                "max by (job, instance) (dockwarden_engine_up{@})",
                "sum by (job, instance) (dockwarden_findings{@})",
                'sum by (job, instance) (dockwarden_findings{@, severity=~"critical|high"})',
                "max by (job, instance) (dockwarden_disk_used_ratio{@})",
                "time() - max by (job, instance) (dockwarden_events_last_received_timestamp_seconds{@} > 0)",
                'count by (job, instance) (dockwarden_policy_info{@, mode="enforce"})',
            ],
            {
                "instance": ("Host", "none"),
                "Value #B": ("Engine", "none"),
                "version": ("Engine version", "none"),
                "image_store": ("Image store", "none"),
                "Value #C": ("Findings", "short"),
                "Value #D": ("Critical and high", "short"),
                "Value #E": ("Disk used", "percentunit"),
                "Value #F": ("Last event", "s"),
                "Value #G": ("Enforcing policies", "short"),
            },
            "Critical and high",
            words={"Engine": {0: ("away", "red"), 1: ("up", "green")}},
            steps={"Critical and high": ALARM, "Disk used": FULL},
        ),
    ],
    "Findings": [
        _BY_SEVERITY,
        rows(
            "Open findings by policy",
            "Policies with open findings, and on how many objects.",
            ["sum by (instance, policy, severity) (dockwarden_findings{@}) > 0"],
            {
                "instance": ("Host", "none"),
                "policy": ("Policy", "none"),
                "severity": ("Severity", "none"),
                "Value": ("Findings", "short"),
            },
            "Findings",
            width=12,
        ),
    ],
    "Actions": [
        _ACTIONS,
        _REFUSED,
        graph(
            "Reclaimed by host",
            "What the engine's disk gained by removals; where it cannot be seen, as planned.",
            "bytes",
            (_count("dockwarden_reclaimed_bytes_total", "instance"), "{{instance}}"),
            bars=True,
        ),
        graph(
            "Disk used",
            "Used space of the file system of the engine's data root, where dockwarden can see it.",
            "percentunit",
            ("max by (instance) (dockwarden_disk_used_ratio{@})", "{{instance}}"),
            limit=0.9,
        ),
    ],
    "Speed": [
        graph(
            "Reaction time, 95th percentile",
            "From the engine's time of an event to the report on it. Empty while nothing happens.",
            "s",
            (_quantile(0.95, "dockwarden_reaction_duration_seconds", "instance"), "{{instance}}"),
        ),
        graph(
            "Errors",
            "Requests to the engine and to registries that did not succeed, and lines of the log at error or above.",
            "ops",
            (_failing("dockwarden_engine_requests_total", 'result=~"unavailable|error"'), "{{instance}} engine"),
            (_failing("dockwarden_registry_requests_total", 'code!~"2..|401|404"'), "{{instance}} registries"),
            (_failing("dockwarden_log_messages_total", 'level=~"error|critical"'), "{{instance}} log"),
        ),
    ],
}

_HOST: dict[str, list[Panel]] = {
    "Now": [
        stat(
            "Engine",
            "Whether the Docker Engine answers.",
            "min(dockwarden_engine_up{@})",
            "none",
            words={0: ("away", "red"), 1: ("up", "green")},
        ),
        _CRITICAL,
        stat("Open findings", "Objects that break any policy now.", "sum(dockwarden_findings{@})"),
        _UNJUDGED,
        _LATE_JOBS,
        stat(
            "Disk used",
            "Used space of the file system of the engine's data root, where dockwarden can see it.",
            "max(dockwarden_disk_used_ratio{@})",
            "percentunit",
            FULL,
        ),
        stat(
            "Enforcing policies",
            "Policies that may remove something; the others only report.",
            'count(dockwarden_policy_info{@, mode="enforce"}) or vector(0)',
        ),
        _RECLAIMED,
        stat(
            "Ledger",
            "Nothing is removed while the ledger cannot be written.",
            "min(dockwarden_ledger_writable{@})",
            "none",
            words={0: ("not writable", "red"), 1: ("writable", "green")},
        ),
        stat(
            "Configuration",
            "Whether the files on disk are those in use.",
            "min(dockwarden_config_last_reload_successful{@})",
            "none",
            words={0: ("not loaded", "red"), 1: ("in use", "green")},
        ),
        stat("Running for", "Since the last start.", "time() - min(process_start_time_seconds{@})", "s"),
        stat(
            "Last event",
            "Since the engine last said that something changed.",
            "time() - max(dockwarden_events_last_received_timestamp_seconds{@} > 0)",
            "s",
        ),
    ],
    "Findings": [
        _BY_SEVERITY,
        rows(
            "Policies",
            "All policies in use, with their mode and what is open.",
            [
                "sum by (policy, subject, mode, severity) (dockwarden_policy_info{@})",
                "sum by (policy) (dockwarden_findings{@})",
                "sum by (policy) (dockwarden_unknown{@})",
            ],
            {
                "policy": ("Policy", "none"),
                "severity": ("Severity", "none"),
                "subject": ("Subject", "none"),
                "mode": ("Mode", "none"),
                "Value #B": ("Findings", "short"),
                "Value #C": ("Not judged", "short"),
            },
            "Findings",
            width=12,
        ),
        graph(
            "Judgements",
            "How often objects were judged, by what asked for it.",
            "ops",
            (_rate("dockwarden_evaluations_total", "cause"), "{{cause}}"),
        ),
        graph(
            "Not judged, by reason",
            "Objects that could not be judged; docs/policies.md explains each reason.",
            "short",
            ("sum by (policy, reason) (dockwarden_unknown{@})", "{{policy}}: {{reason}}"),
            stack=True,
        ),
    ],
    "Actions": [
        _ACTIONS,
        _REFUSED,
        graph(
            "Reclaimed by policy",
            "What the engine's disk gained by removals; where it cannot be seen, as planned.",
            "bytes",
            (_count("dockwarden_reclaimed_bytes_total", "policy"), "{{policy}}"),
            bars=True,
        ),
        graph(
            "Disk",
            "Used space and inodes of the file system of the engine's data root, where dockwarden can see it.",
            "percentunit",
            ("max(dockwarden_disk_used_ratio{@})", "space"),
            ("max(dockwarden_disk_inodes_used_ratio{@})", "inodes"),
            limit=0.9,
        ),
    ],
    "Schedules": [
        rows(
            "Schedules",
            "When each policy with a schedule last ran, and runs next.",
            [
                "time() - max by (policy) (dockwarden_job_last_success_timestamp_seconds{@})",
                "time() - max by (policy) (dockwarden_job_last_run_timestamp_seconds{@})",
                "max by (policy) (dockwarden_job_next_run_timestamp_seconds{@}) - time()",
                "max by (policy) (dockwarden_job_interval_seconds{@})",
                "sum by (policy) (increase(dockwarden_job_missed_total{@}[$__range]))",
            ],
            {
                "policy": ("Policy", "none"),
                "Value #A": ("Last success", "s"),
                "Value #B": ("Last run", "s"),
                "Value #C": ("Due in", "s"),
                "Value #D": ("Interval", "s"),
                "Value #E": ("Missed", "short"),
            },
            "Last success",
            width=12,
            steps={"Missed": WARN},
        ),
        graph(
            "How long runs take, 95th percentile",
            "Time of a scheduled run, registries included.",
            "s",
            (_quantile(0.95, "dockwarden_job_duration_seconds", "policy"), "{{policy}}"),
        ),
    ],
    "Engine": [
        graph(
            "Objects",
            "What the engine has, as dockwarden sees it.",
            "short",
            ("sum by (subject) (dockwarden_inventory_objects{@})", "{{subject}}"),
        ),
        graph(
            "Events",
            "Events of the engine by type of object.",
            "ops",
            (_rate("dockwarden_events_received_total", "type"), "{{type}}"),
        ),
        graph(
            "Requests",
            "Requests to the engine, by operation and result.",
            "ops",
            (_rate("dockwarden_engine_requests_total", "operation, result"), "{{operation}} {{result}}"),
        ),
        graph(
            "Answer time, 95th percentile",
            "How long the engine takes to answer.",
            "s",
            (_quantile(0.95, "dockwarden_engine_request_duration_seconds", "operation"), "{{operation}}"),
        ),
        graph(
            "Lost and found",
            "Times that the connection was lost, that events may have been missed, and full lists by reason.",
            "short",
            (_count("dockwarden_events_reconnects_total", "instance"), "reconnected"),
            (_count("dockwarden_events_gaps_total", "instance"), "gap"),
            (_count("dockwarden_inventory_resyncs_total", "reason"), "listed: {{reason}}"),
            bars=True,
        ),
        graph(
            "Reaction time",
            "From the engine's time of an event to the report on it. Empty while nothing happens.",
            "s",
            (_quantile(0.5, "dockwarden_reaction_duration_seconds"), "median"),
            (_quantile(0.95, "dockwarden_reaction_duration_seconds"), "95th percentile"),
            (_quantile(0.99, "dockwarden_reaction_duration_seconds"), "99th percentile"),
        ),
    ],
    "Registries": [
        graph(
            "Requests",
            "Requests to registries by answer; 401 is part of every login.",
            "ops",
            (_rate("dockwarden_registry_requests_total", "registry, method, code"), "{{registry}} {{method}} {{code}}"),
        ),
        graph(
            "Quota left",
            "Requests that a registry says are left, where it says so.",
            "short",
            ("min by (registry) (dockwarden_registry_quota_remaining{@})", "{{registry}}"),
        ),
    ],
    "Notifications": [
        graph(
            "Messages",
            "Messages to people by route: sent, or given up after all tries.",
            "short",
            (_count("dockwarden_notifications_total", "route, result"), "{{route}} {{result}}"),
            bars=True,
        ),
        graph(
            "News that was lost",
            "Openings, resolutions and actions in messages that were given up.",
            "short",
            (_count("dockwarden_notifications_dropped_total", "route"), "{{route}}"),
            bars=True,
        ),
    ],
    "dockwarden itself": [
        graph(
            "CPU",
            "Share of one core.",
            "percentunit",
            (_rate("process_cpu_seconds_total", "instance"), "CPU"),
            width=8,
        ),
        graph(
            "Memory",
            "Resident memory.",
            "bytes",
            ("sum(process_resident_memory_bytes{@})", "resident"),
            width=8,
        ),
        graph(
            "Open files",
            "Open files and connections, and how many there may be.",
            "short",
            ("sum(process_open_fds{@})", "open"),
            ("sum(process_max_fds{@})", "allowed"),
            width=8,
        ),
        graph(
            "Log",
            "Lines of the log by level.",
            "ops",
            (_rate("dockwarden_log_messages_total", "level"), "{{level}}"),
            colors={"debug": "#8e8e8e", "info": "green", "warning": "yellow", "error": "red", "critical": "dark-red"},
            width=8,
        ),
        graph(
            "Waiting",
            "Objects and schedules that wait for the worker; what stays above zero is a worker that hangs.",
            "short",
            ("sum(dockwarden_queue_length{@})", "waiting"),
            width=8,
        ),
        graph(
            "Judging, 95th percentile",
            "How long the judging of one run takes.",
            "s",
            (_quantile(0.95, "dockwarden_evaluation_duration_seconds"), "run"),
            width=8,
        ),
        rows(
            "Version",
            "What runs, and by which policies: hosts with the same SHA-256 have the same policy files.",
            [
                "sum by (instance, version, python) (dockwarden_build_info{@})",
                "sum by (instance, sha256) (dockwarden_config_info{@})",
                "time() - max by (instance) (dockwarden_config_last_reload_success_timestamp_seconds{@})",
            ],
            {
                "instance": ("Host", "none"),
                "version": ("Version", "none"),
                "python": ("Python", "none"),
                "sha256": ("Policies, SHA-256", "none"),
                "Value #C": ("In use for", "s"),
            },
            "Host",
        ),
    ],
}


def _kinds(metric: str, label: str) -> str:
    return f"count(count by ({label}) ({metric}{{@}}))"


_RUNNING = "count by (instance, ref, digest) (dockwarden_running_image_info{@})"
_IMAGES_OF_REF = "count by (ref) (count by (ref, digest) (dockwarden_running_image_info{@}))"

_FLEET: dict[str, list[Panel]] = {
    "Now": [
        stat("Hosts", "Hosts that Prometheus asks.", "count(up{@})"),
        stat(
            "Away",
            "Engines that do not answer, and dockwardens that do not.",
            "count(dockwarden_engine_up{@} == 0 or up{@} == 0) or vector(0)",
            steps=ALARM,
        ),
        _CRITICAL,
        _UNJUDGED,
        _LATE_JOBS,
        stat(
            "Names of several images",
            "Names under which containers run different images, on one host or on several.",
            f"count({_IMAGES_OF_REF} > 1) or vector(0)",
            steps=WARN,
        ),
        stat("Versions", "Versions of dockwarden that run.", _kinds("dockwarden_build_info", "version")),
        stat("Sets of policies", "Sets of policy files in use.", _kinds("dockwarden_config_info", "sha256")),
        stat(
            "Policies of several modes",
            "Policies that enforce, or are off, on some hosts and not on others.",
            f"count(count by (policy) ({_PARTLY})) or vector(0)",
        ),
        stat("Engines", "Versions of the engine.", _kinds("dockwarden_engine_info", "version")),
        stat("Open findings", "Objects that break any policy now.", "sum(dockwarden_findings{@})"),
        _RECLAIMED,
    ],
    "Hosts": [
        rows(
            "Hosts",
            "One line per host. Would go: steps that policies in audit mode would have taken in the time shown.",
            [
                "sum by (job, instance, version) (dockwarden_build_info{@})",
                "sum by (job, instance, sha256) (dockwarden_config_info{@})",
                'sum by (job, instance) (dockwarden_findings{@, severity=~"critical|high"})',
                'sum by (job, instance) (dockwarden_findings{@, severity!~"critical|high"})',
                "max by (job, instance) (dockwarden_disk_used_ratio{@})",
                'sum by (job, instance) (increase(dockwarden_actions_total{@, outcome="audited"}[$__range]))',
                "sum by (job, instance) (dockwarden_unknown{@})",
                f"sum by (job, instance) ({_LATE.replace('>', '> bool')})",
            ],
            {
                "instance": ("Host", "none"),
                "Value #C": ("Critical and high", "short"),
                "Value #D": ("Other findings", "short"),
                "Value #E": ("Disk used", "percentunit"),
                "Value #F": ("Would go", "short"),
                "Value #G": ("Not judged", "short"),
                "Value #H": ("Late schedules", "short"),
                "version": ("Version", "none"),
                "sha256": ("Policies, SHA-256", "none"),
            },
            "Critical and high",
            steps={"Critical and high": ALARM, "Disk used": FULL, "Late schedules": WARN},
            links={
                "Host": {
                    "Dashboard of this host": f"/d/dockwarden-host?var-instance=${{__value.raw}}&{_KEPT}",
                    "Its own page": "http://${__value.raw}/",
                }
            },
        ),
    ],
    "Findings": [
        _BY_SEVERITY,
        rows(
            "By policy",
            "Policies with open findings: on how many objects of how many hosts.",
            [
                "sum by (policy, severity) (dockwarden_findings{@}) > 0",
                "count by (policy, severity) (dockwarden_findings{@} > 0)",
            ],
            {
                "policy": ("Policy", "none"),
                "severity": ("Severity", "none"),
                "Value #A": ("Findings", "short"),
                "Value #B": ("Hosts", "short"),
            },
            "Findings",
            width=12,
        ),
    ],
    "What differs": [
        rows(
            "Names of several images",
            "Where one name is another image. Hosts show it where web.running_image_info is set.",
            [f"{_RUNNING} and on (ref) {_IMAGES_OF_REF} > 1"],
            {"ref": ("Name", "none"), "digest": ("Digest", "none"), "instance": ("Host", "none")},
            "Name",
        ),
        rows(
            "Sets of policies",
            "By which policy files hosts judge.",
            ["count by (sha256) (dockwarden_config_info{@})"],
            {"sha256": ("SHA-256", "none"), "Value": ("Hosts", "short")},
            "Hosts",
            width=12,
        ),
        rows(
            "Modes",
            "How many hosts have a policy in which mode.",
            ["count by (policy, mode) (dockwarden_policy_info{@})"],
            {"policy": ("Policy", "none"), "mode": ("Mode", "none"), "Value": ("Hosts", "short")},
            "Policy",
            width=12,
        ),
    ],
}

DASHBOARDS = {
    "dockwarden-fleet.json": dashboard(
        "dockwarden-fleet",
        "dockwarden: fleet",
        "Many Docker hosts side by side: what was found on each, and where they differ that should be alike.",
        _FLEET,
        many=True,
    ),
    "dockwarden-overview.json": dashboard(
        "dockwarden-overview",
        "dockwarden: overview",
        "Docker hosts that dockwarden watches: which are up, what was found, what was done, what is late.",
        _OVERVIEW,
        many=True,
    ),
    "dockwarden-host.json": dashboard(
        "dockwarden-host",
        "dockwarden: one host",
        "One Docker host in detail, and how dockwarden itself is doing there.",
        _HOST,
        many=False,
    ),
}

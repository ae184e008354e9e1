from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dockwarden.inventory.facts import VOCABULARY
from dockwarden.model import FactValue, Kind, Mode, Policy, Ref, Status
from dockwarden.policy import evaluate
from dockwarden.policy.load import load
from dockwarden.triggers.schedule import refuse_cron
from tests.unit.policy.builders import Known

FOLDER = Path(__file__).parents[3] / "config/policies"
LOADED = load([FOLDER], VOCABULARY, check_cron=refuse_cron)
POLICIES = {policy.name: policy for policy in LOADED.policies}

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BUSYBOX = "docker.io/library/busybox"
HERE, THERE, OTHER = (f"sha256:{char * 64}" for char in "abc")
SOCKET = {"type": "bind", "name": "", "source": "/run/docker.sock", "destination": "/s", "driver": "", "rw": True}
VOLUME = {"type": "volume", "name": "v", "source": "/v", "destination": "/data", "driver": "local", "rw": True}

# Facts of an object that is a finding, and its message; then changes that make it none.
CASES: dict[str, tuple[dict[str, FactValue], str, dict[Status, list[dict[str, FactValue]]]]] = {
    "prune-dangling": (
        {
            "image.dangling": True,
            "image.in_use": False,
            "image.known_for": timedelta(days=2, hours=1),
            "image.short_id": "0123456789ab",
            "image.size": 5 * 1048576 + 1,
        },
        "nameless image 0123456789ab of 5 MiB, not in use, known for 2d 1h",
        {Status.PASS: [{"image.dangling": False}, {"image.in_use": True}, {"image.known_for": timedelta(hours=24)}]},
    ),
    "no-latest-tag": (
        {"tag.name": "latest", "tag.ref": f"{BUSYBOX}:latest"},
        "docker.io/library/busybox:latest is a moving tag",
        {Status.PASS: [{"tag.name": "1.36"}, {"tag.name": "latest-alpine"}]},
    ),
    "digest-drift": (
        {
            "tag.ref": f"{BUSYBOX}:1",
            "tag.repository": BUSYBOX,
            "tag.digest": HERE,
            "image.digests": [f"{BUSYBOX}@{HERE}", f"ghcr.io/mirror/busybox@{THERE}"],
            "registry.digest": THERE,
        },
        f"docker.io/library/busybox:1 is {HERE} here and {THERE} at the registry",
        {
            Status.PASS: [
                {"registry.digest": HERE},
                {"registry.digest": OTHER, "image.digests": [f"{BUSYBOX}@{HERE}", f"{BUSYBOX}@{OTHER}"]},
                {"registry.digest": ""},
            ],
            Status.SKIP: [{"tag.digest": ""}],
        },
    ),
    "duplicate-tags": (
        {"image.tags": [f"{BUSYBOX}:1", f"{BUSYBOX}:latest"], "image.repositories": [BUSYBOX]},
        "2 tags are the same image: docker.io/library/busybox:1, docker.io/library/busybox:latest",
        {
            Status.PASS: [
                {"image.tags": []},
                {
                    "image.tags": [f"{BUSYBOX}:1", "localhost:5000/a:1"],
                    "image.repositories": [BUSYBOX, "localhost:5000/a"],
                },
            ]
        },
    ),
    "container-limits": (
        {
            "container.running": True,
            "container.name": "web",
            "container.memory_limit": 0,
            "container.cpu_limit": 0.5,
            "container.pids_limit": 0,
        },
        "web has no limit of memory processes",
        {
            Status.PASS: [{"container.memory_limit": 1048576, "container.pids_limit": 100}],
            Status.SKIP: [{"container.running": False}],
        },
    ),
    "host-namespaces": (
        {
            "container.name": "agent",
            "container.privileged": False,
            "container.network_mode": "host",
            "container.pid_mode": "",
            "container.ipc_mode": "private",
            "container.uts_mode": "",
            "container.userns_mode": "",
            "container.mounts": [{**SOCKET, "anonymous": False}],
        },
        "agent shares the host: network docker.sock",
        {Status.PASS: [{"container.network_mode": "bridge", "container.mounts": [{**VOLUME, "anonymous": True}]}]},
    ),
    "stale-container": (
        {
            "container.running": True,
            "container.name": "web",
            "container.freshness": "recreate-needed",
            "container.image_ref": f"{BUSYBOX}:1",
        },
        "web runs an older image of docker.io/library/busybox:1, which names another image now",
        {
            Status.PASS: [{"container.freshness": "current"}, {"container.freshness": "pinned"}],
            Status.SKIP: [{"container.running": False}],
        },
    ),
    "anonymous-volume-on-stateful": (
        {
            "container.name": "db",
            "container.image_ref": "docker.io/library/postgres:17",
            "container.image_repository": "docker.io/library/postgres",
            "container.mounts": [{**VOLUME, "anonymous": True}],
        },
        "db (docker.io/library/postgres:17) keeps its data in an anonymous volume",
        {
            Status.PASS: [
                {"container.mounts": [{**VOLUME, "anonymous": False}]},
                {"container.mounts": []},
                {"container.image_repository": "docker.io/library/notpostgres"},
                {"container.image_repository": ""},
            ]
        },
    ),
    "orphan-volume": (
        {
            "volume.name": "data",
            "volume.in_use": False,
            "volume.idle_for": timedelta(days=8),
            "volume.labels": {},
        },
        "volume data has not been used for 8d",
        {
            Status.PASS: [{"volume.in_use": True}, {"volume.idle_for": timedelta(days=7)}],
            Status.SKIP: [{"volume.labels": {"com.docker.compose.project": "shop"}}],
        },
    ),
    "unused-network": (
        {
            "now": NOW,
            "network.name": "shop_default",
            "network.driver": "bridge",
            "network.builtin": False,
            "network.in_use": False,
            "network.created": NOW - timedelta(hours=25),
        },
        "network shop_default (bridge) has no container",
        {
            Status.PASS: [{"network.in_use": True}, {"network.created": NOW - timedelta(hours=24)}],
            Status.SKIP: [{"network.builtin": True}, {"network.driver": "overlay"}],
        },
    ),
    "base-image-allowed": (
        {"image.ref": "ghcr.io/acme/app:1", "image.base_known": True, "image.base": "docker.io/library/centos:7"},
        "ghcr.io/acme/app:1 is built on docker.io/library/centos:7",
        {
            Status.PASS: [
                {"image.base": "docker.io/library/alpine:3.21"},
                {"image.base": "gcr.io/distroless/static:nonroot"},
                {"image.base_known": False, "image.base": ""},
            ]
        },
    ),
}


def changes(status: Status) -> list[tuple[str, dict[str, FactValue]]]:
    return [(name, change) for name, (_, _, others) in CASES.items() for change in others.get(status, [])]


def test_every_shipped_policy_is_tested_here_and_has_a_file_of_its_name() -> None:
    assert POLICIES.keys() == CASES.keys()
    assert {Path(file).stem for file in LOADED.files} == POLICIES.keys()


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_shipped_policy_tells_people_what_it_means_and_only_audits(policy: Policy) -> None:
    assert policy.mode is Mode.AUDIT
    assert all((policy.title, policy.description, policy.remediation))
    assert policy.trigger.schedule or policy.trigger.every_seconds


@pytest.mark.parametrize("name", CASES)
def test_findings(name: str) -> None:
    known, message, _ = CASES[name]
    policy, facts = POLICIES[name], Known(dict(known))
    assert known.keys() == policy.needs
    assert evaluate.judge(policy, facts).status is Status.FAIL
    result = evaluate.finding(policy, Ref(policy.subject, "key"), "name", facts)
    assert result.message == message
    assert result.evidence.keys() <= known.keys()


@pytest.mark.parametrize(("name", "change"), changes(Status.PASS))
def test_no_findings(name: str, change: dict[str, FactValue]) -> None:
    assert evaluate.judge(POLICIES[name], Known(CASES[name][0] | change)) is evaluate.PASS


@pytest.mark.parametrize(("name", "change"), changes(Status.SKIP))
def test_skipped(name: str, change: dict[str, FactValue]) -> None:
    assert evaluate.judge(POLICIES[name], Known(CASES[name][0] | change)) is evaluate.SKIP


def test_a_container_whose_tag_is_gone_says_so() -> None:
    policy = POLICIES["stale-container"]
    facts = Known(CASES["stale-container"][0] | {"container.freshness": "tag-gone"})
    assert evaluate.judge(policy, facts).status is Status.FAIL
    assert evaluate.render(policy, facts) == (
        "web runs an older image of docker.io/library/busybox:1, a tag that is gone"
    )


def test_a_registry_that_cannot_be_asked_is_no_drift() -> None:
    known, _, _ = CASES["digest-drift"]
    facts = Known({name: value for name, value in known.items() if name != "registry.digest"})
    verdict = evaluate.judge(POLICIES["digest-drift"], facts)
    assert (verdict.status, verdict.missing) == (Status.UNKNOWN, "registry.digest")


def test_only_the_removal_of_nameless_images_acts() -> None:
    acting = {name: (policy.subject, policy.action) for name, policy in POLICIES.items() if policy.action}
    assert acting == {"prune-dangling": (Kind.IMAGE, "remove")}

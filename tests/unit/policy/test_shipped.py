from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dockwarden.actions.table import VERBS
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.model import Facts, FactValue, Kind, Mode, Policy, Ref, Status
from dockwarden.policy import evaluate
from dockwarden.policy.load import load
from tests.tables import each

LOADED = load(["shipped"], VOCABULARY, VERBS)
POLICIES = {policy.name: policy for policy in LOADED.policies}

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BUSYBOX = "docker.io/library/busybox"
HERE, THERE = (f"sha256:{char * 64}" for char in "ab")
TOOLS = {
    "devcontainer.local_folder": "/src",
    "name.minikube.sigs.k8s.io": "a",
    "io.x-k8s.kind.cluster": "a",
    "k3d.cluster": "a",
    "com.github.containers.toolbox": "true",
    "manager": "distrobox",
    "supervisor_managed": "",
    "coder.workspace_id": "a",
    "kasm.kasmid": "a",
    "io.lando.container": "TRUE",
    "talos.owned": "true",
    "containerlab": "dc",
    "app": "kathara",
    "com.dokku.app-name": "shop",
    "dokku": "service",
    "coolify.managed": "true",
    "ContainerType": "server_process",
    "net.azure-devices.edge.owner": "Microsoft.Azure.Devices.Edge.Agent",
    "kolla_version": "18",
    "io.rancher.rke.container.name": "service-sidekick",
    "io.rancher.container.uuid": "a",
    "isCloudronManaged": "true",
    "io.balena.supervised": "true",
}
"""Labels by which tools that keep an environment in a container, or manage it, know it."""
JOBS = {
    **TOOLS,
    "com.gitlab.gitlab-runner.type": "build",
    "io.drone.step.name": "test",
    "com.nirima.jenkins.plugins.docker.JenkinsId": "a",
    "org.testcontainers": "true",
    "com.centurylinklabs.watchtower.enable": "false",
    "com.centurylinklabs.watchtower.monitor-only": "true",
    "dev.quenary.tugtainer.protected": "true",
    "wp_uuid": "a",
    "com.supabase.cli.project": "app",
    "com.ouroboros.enable": "no",
    "wud.watch": "false",
    "dockhand.update": "0",
}
"""And those by which tools know a job that they run in one, and people say that nothing is to be updated."""
NAMES = (
    "minikube",
    "buildx_buildkit_ci0",
    "jupyter-alice",
    "GNS3.host-1.0ab",
    "hassio_supervisor",
    "nextcloud-aio-borgbackup",
)
"""What they name containers that they give no label."""
TASKS = (*NAMES, "GITEA-ACTIONS-TASK-1_WORKFLOW-a_JOB-b", "FORGEJO-ACTIONS-TASK-1_WORKFLOW-a_JOB-b")
WOKEN = {
    **TOOLS,
    "net.unraid.docker.managed": "dockerman",
    "sablier.enable": "true",
    "lazytainer.group": "games",
    "lazymc.enabled": "true",
    "ofelia.job-run.report.schedule": "@weekly",
}
"""Labels of what is started again by somebody who asks for it, or by a schedule."""
OTHERS = {"app": "shop", "manager": "alice", "description": "a dokku", "com.centurylinklabs.watchtower.enable": "true"}
"""Labels that are near to theirs."""
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
        "untagged image 0123456789ab (5.2 MB) is not in use and has been here for 2d 1h",
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
            "tag.digest": HERE,
            "registry.state": "drift",
            "registry.digest": THERE,
            "registry.drift_for": timedelta(days=3, hours=2),
            "image.in_use": True,
            "image.used_by": ["db", "web"],
        },
        f"{BUSYBOX}:1 is {HERE} here and {THERE} at its registry, for at least 3d 2h; it is used by db, web",
        {
            Status.PASS: [{"registry.state": state} for state in ("current", "other-platform", "local", "gone")],
            Status.SKIP: [{"tag.digest": ""}],
        },
    ),
    "latest-is-not-newest": (
        {
            "tag.ref": f"{BUSYBOX}:latest",
            "tag.repository": BUSYBOX,
            "tag.name": "latest",
            "tag.digest": HERE,
            "image.digests": [f"{BUSYBOX}@{HERE}", f"ghcr.io/mirror/busybox@{THERE}"],
            "registry.state": "drift",
            "registry.latest_is": ["1.37.0"],
            "registry.newest_version": "1.37.0",
            "registry.newest_version_digest": THERE,
        },
        "docker.io/library/busybox:latest is not the newest version, which is 1.37.0",
        {
            Status.PASS: [
                {"registry.newest_version_digest": HERE},
                # One image may have several digests, of which the tag's own need not be the version's.
                {"image.digests": [f"{BUSYBOX}@{HERE}", f"{BUSYBOX}@{THERE}"]},
                {"registry.newest_version": "", "registry.newest_version_digest": ""},
                {"registry.state": "other-platform"},
            ],
            Status.SKIP: [{"tag.name": "1.36"}, {"tag.name": "latest-musl"}, {"tag.digest": ""}],
        },
    ),
    "pinned-drift": (
        {
            "container.name": "web",
            "container.image_pin": "digest",
            "container.image_ref": f"{BUSYBOX}:1@{HERE}",
            "registry.state": "drift",
            "registry.digest": THERE,
        },
        f"web is pinned to docker.io/library/busybox:1@{HERE}, but its tag is {THERE} now",
        {
            Status.PASS: [
                {"registry.state": "current", "registry.digest": HERE},
                {"container.image_ref": f"{BUSYBOX}@{HERE}", "registry.state": "", "registry.digest": ""},
            ],
            Status.SKIP: [
                {"container.image_pin": "tag", "container.image_ref": f"{BUSYBOX}:1"},
                {"container.image_pin": "id", "container.image_ref": HERE},
            ],
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
        "web has no memory or process limit",
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
            "container.root": True,
        },
        "agent can take over the host (host network, engine socket)",
        {
            Status.PASS: [
                {"container.network_mode": "bridge", "container.mounts": [{**SOCKET, **mount}], "container.root": root}
                for mount, root in ((VOLUME, True), ({"source": "/var/run/dbus"}, True), ({"source": "/"}, False))
            ]
        },
    ),
    "stale-container": (
        {
            "container.running": True,
            "container.name": "web",
            "container.freshness": "recreate-needed",
            "container.tag_image": "sha256:newer",
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
    "keep-last-tags": (
        {
            "tag.ref": f"{BUSYBOX}:1.33.0",
            "tag.version": "1.33.0",
            "tag.rank_by_created": 3,
            "tag.rank_by_version": 3,
            "tag.rank_by_used": 2,
            "image.in_use": False,
            "image.known_for": timedelta(days=2),
        },
        (
            "docker.io/library/busybox:1.33.0 is an old release, number 4 from the newest; "
            "it is not in use, nor is it the one that was used last"
        ),
        {
            Status.PASS: [
                {"tag.rank_by_created": 2},
                {"tag.rank_by_version": 2},
                {"tag.rank_by_used": 1},
                {"image.in_use": True},
                {"image.known_for": timedelta(hours=24)},
            ],
            Status.SKIP: [{"tag.version": ""}],
        },
    ),
    "unused-images": (
        {
            "image.ref": f"{BUSYBOX}:1",
            "image.dangling": False,
            "image.in_use": False,
            "image.idle_for": timedelta(days=31),
            "image.is_base": False,
            "image.last_used": NOW,
        },
        "docker.io/library/busybox:1 has not been used for 31d",
        {
            Status.PASS: [
                {"image.in_use": True},
                {"image.idle_for": timedelta(days=30)},
                {"image.is_base": True},
            ],
            Status.SKIP: [{"image.dangling": True}],
        },
    ),
    "disk-pressure-gc": (
        {
            "image.ref": f"{BUSYBOX}:1",
            "image.size": 7 * 1048576,
            "image.in_use": False,
            "image.idle_for": timedelta(hours=2),
            "image.recoverable": True,
            "host.disk_used_percent": 91.25,
            "host.inodes_used_percent": 12.0,
        },
        (
            "docker.io/library/busybox:1 (7.3 MB) has not been used for 2h, "
            "and the disk is 91.25 % full, its inodes 12 %"
        ),
        {Status.PASS: [{"image.in_use": True}, {"image.idle_for": timedelta(hours=1)}]},
    ),
    "update-drifted": (
        {
            "container.name": "web",
            "container.running": True,
            "container.owner": "",
            "container.labels": OTHERS,
            "container.image_pin": "tag",
            "container.image_ref": f"{BUSYBOX}:1",
            "registry.state": "drift",
            "registry.digest": THERE,
        },
        f"web does not run what docker.io/library/busybox:1 is at its registry, {THERE}",
        {
            Status.PASS: [{"registry.state": state} for state in ("current", "local", "gone", "other-platform")],
            Status.SKIP: [
                {"container.running": False},
                {"container.owner": "swarm"},
                {"container.image_pin": "id"},
                *(dict[str, FactValue]({"container.name": name, "container.owner": ""}) for name in TASKS),
                *(dict[str, FactValue]({"container.labels": {label: value}}) for label, value in JOBS.items()),
            ],
        },
    ),
    "service-update": (
        {
            "service.name": "web",
            "service.image_ref": f"{BUSYBOX}:1",
            "service.image_digest": HERE,
            "service.labels": {"traefik.enable": "true", "gantry.services.excluded": "false"},
            "registry.state": "drift",
            "registry.digest": THERE,
        },
        f"the service web could take {THERE}, which docker.io/library/busybox:1 is now",
        {
            Status.PASS: [{"registry.state": "current"}],
            Status.SKIP: [
                {"service.image_digest": ""},
                {"service.labels": {"gantry.services.excluded": "true"}},
                {"service.labels": {"com.ouroboros.enable": "False"}},
            ],
        },
    ),
    "update-stale": (
        {
            "container.name": "web",
            "container.running": True,
            "container.owner": "compose",
            "container.labels": OTHERS,
            "container.image_ref": f"{BUSYBOX}:1",
            "container.freshness": "recreate-needed",
            "container.tag_image": "sha256:newer",
        },
        "web runs another image than docker.io/library/busybox:1 names",
        {
            Status.PASS: [{"container.freshness": "current"}, {"container.freshness": "pinned"}],
            Status.SKIP: [
                {"container.running": False},
                {"container.owner": "swarm"},
                *(dict[str, FactValue]({"container.name": name, "container.owner": ""}) for name in TASKS),
                *(dict[str, FactValue]({"container.labels": {label: value}}) for label, value in JOBS.items()),
            ],
        },
    ),
    "heal-unhealthy": (
        {
            "container.name": "web",
            "container.health": "unhealthy",
            "container.health_for": timedelta(seconds=70),
            "container.labels": OTHERS,
        },
        "web has been unhealthy for 1m 10s",
        {
            Status.PASS: [{"container.health": health} for health in ("", "starting", "healthy")],
            Status.SKIP: [{"container.labels": {"containerlab": "dc"}}, {"container.labels": {"autoheal": "False"}}],
        },
    ),
    "heal-gave-up": (
        {"container.name": "web", "container.given_up": True},
        "web stays unhealthy, however often it is restarted",
        {Status.PASS: [{"container.given_up": False}]},
    ),
    "exited-containers": (
        {
            "container.name": "migrate",
            "container.owner": "",
            "container.restart_policy": "no",
            "container.labels": OTHERS,
            "container.state": "exited",
            "container.exit_code": 3,
            "container.exited_for": timedelta(hours=25),
            "container.created": NOW,
            "container.started": NOW + timedelta(seconds=1),
        },
        "migrate exited with code 3, 1d 1h ago",
        {
            Status.PASS: [
                {"container.state": "created"},
                {"container.exited_for": timedelta(hours=24)},
                # Started by a timer or a person, long after it was made: it will be again.
                {"container.started": NOW + timedelta(hours=2)},
            ],
            Status.SKIP: [
                {"container.owner": "compose"},
                {"container.restart_policy": "unless-stopped"},
                {"container.labels": {"com.qnap.qcs.gpu": "False"}},
                *(dict[str, FactValue]({"container.name": name}) for name in NAMES),
                *(dict[str, FactValue]({"container.labels": {label: value}}) for label, value in WOKEN.items()),
            ],
        },
    ),
    "build-cache-limit": (
        {"host.build_cache_size": 30 * 2**30},
        "the build cache takes 32.2 GB, more than 20.0 GB",
        {Status.PASS: [{"host.build_cache_size": 20_000_000_000}]},
    ),
    "disk-stays-full": (
        {
            "host.disk_free": 50_000_000_000,
            "host.disk_used_percent": 70.0,
            "host.inodes_used_percent": 1.0,
            "host.data_disk_free": 1_000_000_000,
            "host.data_disk_used_percent": 91.25,
            "host.data_inodes_used_percent": 12.0,
            "host.disk_breakdown": "volumes 60.0 GB, unaccounted 2.0 GB",
        },
        (
            "the disk of images is used to 70 %, its inodes to 1 %; that of volumes and logs to 91.25 %, its inodes to "
            "12 %: volumes 60.0 GB, unaccounted 2.0 GB"
        ),
        {Status.PASS: [{"host.data_disk_used_percent": 85.0}, {"host.disk_free": 1_000_000_000}]},
    ),
    "log-without-limit": (
        {"container.name": "web", "container.log_driver": "json-file", "container.log_opts": {"max-file": "3"}},
        "the log of web grows without a limit",
        {Status.PASS: [{"container.log_driver": "local"}, {"container.log_opts": {"max-size": "10m"}}]},
    ),
    "orphan-volume": (
        {
            "volume.name": "data",
            "volume.anonymous": True,
            "volume.in_use": False,
            "volume.idle_for": timedelta(days=8),
            "volume.owner": "",
        },
        "anonymous volume data has not been used for 8d",
        {
            Status.PASS: [{"volume.in_use": True}, {"volume.idle_for": timedelta(days=7)}],
            Status.SKIP: [{"volume.owner": "compose"}],
        },
    ),
    "unused-network": (
        {
            "network.name": "shop_default",
            "network.driver": "bridge",
            "network.owner": "compose",
            "network.builtin": False,
            "network.in_use": False,
            "network.idle_for": timedelta(hours=25),
        },
        "network shop_default (bridge) has had no container for 1d 1h",
        {
            Status.PASS: [{"network.in_use": True}, {"network.idle_for": timedelta(hours=24)}],
            Status.SKIP: [{"network.builtin": True}, {"network.driver": "overlay"}, {"network.owner": ""}],
        },
    ),
    "service-latest": (
        {"service.name": "web", "service.image_ref": f"{BUSYBOX}:latest"},
        f"the service web is made from {BUSYBOX}:latest, a moving tag",
        {Status.PASS: [{"service.image_ref": f"{BUSYBOX}:1.36"}, {"service.image_ref": f"{BUSYBOX}@{HERE}"}]},
    ),
    "service-drift": (
        {
            "service.name": "web",
            "service.image_ref": f"{BUSYBOX}:1",
            "service.image_digest": HERE,
            "registry.state": "drift",
            "registry.digest": THERE,
        },
        f"the service web runs {BUSYBOX}:1 as {HERE}, the registry has {THERE}",
        {
            Status.PASS: [{"registry.state": state} for state in ("current", "gone")],
            Status.SKIP: [{"service.image_digest": ""}],
        },
    ),
    "service-under-replicated": (
        {"service.name": "web", "service.mode": "global", "service.running": 1, "service.replicas": 3},
        "the service web has 1 of 3 tasks running",
        {Status.PASS: [{"service.running": 3}], Status.SKIP: [{"service.mode": "global-job"}]},
    ),
    "service-limits": (
        {"service.name": "web", "service.memory_limit": 0, "service.cpu_limit": 0.0},
        "the service web has no memory or CPU limit",
        {Status.PASS: [{"service.memory_limit": 1 << 30, "service.cpu_limit": 0.5}]},
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


@each("policy", POLICIES.values())
def test_every_shipped_policy_tells_people_what_it_means_and_only_audits(policy: Policy) -> None:
    assert policy.mode is Mode.AUDIT
    assert all((policy.title, policy.description, policy.remediation))
    assert policy.trigger.schedule or policy.trigger.every_seconds


@each("name", CASES)
def test_findings(name: str) -> None:
    known, message, _ = CASES[name]
    policy, facts = POLICIES[name], Facts(dict(known))
    assert known.keys() == policy.needs
    assert evaluate.judge(policy, facts).status is Status.FAIL
    result = evaluate.finding(policy, Ref(policy.subject, "key"), "name", facts)
    assert result.message == message
    assert result.evidence.keys() <= known.keys()


@each(("name", "change"), changes(Status.PASS))
def test_no_findings(name: str, change: dict[str, FactValue]) -> None:
    assert evaluate.judge(POLICIES[name], Facts(CASES[name][0] | change)) is evaluate.PASS


@each(("name", "change"), changes(Status.SKIP))
def test_skipped(name: str, change: dict[str, FactValue]) -> None:
    assert evaluate.judge(POLICIES[name], Facts(CASES[name][0] | change)) is evaluate.SKIP


@each(("source", "root"), [("/var/run", False), ("/", True)])
def test_who_has_a_folder_with_the_socket_in_it_has_the_socket(source: str, *, root: bool) -> None:
    change: dict[str, FactValue] = {"container.mounts": [{**SOCKET, "source": source}], "container.root": root}
    policy, facts = POLICIES["host-namespaces"], Facts(CASES["host-namespaces"][0] | change)
    assert evaluate.judge(policy, Facts(facts.known | {"container.network_mode": "bridge"})).status is Status.FAIL
    assert evaluate.render(policy, facts) == "agent can take over the host (host network, engine socket)"


def test_a_container_whose_tag_is_gone_says_so() -> None:
    policy = POLICIES["stale-container"]
    facts = Facts(CASES["stale-container"][0] | {"container.freshness": "tag-gone"})
    assert evaluate.judge(policy, facts).status is Status.FAIL
    assert evaluate.render(policy, facts) == (
        "web runs an older image of docker.io/library/busybox:1, a tag that is gone"
    )


@pytest.mark.parametrize("name", ["update-drifted", "update-stale"])
def test_a_compose_project_may_be_called_as_a_tool_names_what_it_keeps(name: str) -> None:
    facts = Facts(CASES[name][0] | {"container.owner": "compose", "container.name": "jupyter-notebook-1"})
    assert evaluate.judge(POLICIES[name], facts).status is Status.FAIL


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("com.centurylinklabs.watchtower.enable", "FALSE"),
        ("com.centurylinklabs.watchtower.monitor-only", "True"),
        ("com.ouroboros.enable", "False"),
        ("dockhand.update", "No"),
    ],
)
@pytest.mark.parametrize("name", ["update-drifted", "update-stale"])
def test_tools_of_updates_and_ansible_write_no_in_capitals_too(name: str, label: str, value: str) -> None:
    labels: dict[str, FactValue] = {"container.labels": {label: value}}
    assert evaluate.judge(POLICIES[name], Facts(CASES[name][0] | labels)) is evaluate.SKIP


def test_a_drift_of_what_nobody_uses_says_so() -> None:
    policy = POLICIES["digest-drift"]
    facts = Facts(CASES["digest-drift"][0] | {"image.in_use": False, "image.used_by": []})
    assert evaluate.judge(policy, facts).status is Status.FAIL
    assert evaluate.render(policy, facts).endswith(" at its registry, for at least 3d 2h; it is not in use")


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("digest-drift", "registry.state"),
        ("latest-is-not-newest", "registry.latest_is"),
        ("pinned-drift", "registry.state"),
        ("update-drifted", "registry.state"),
    ],
)
def test_a_registry_that_cannot_be_asked_makes_no_finding(name: str, missing: str) -> None:
    facts = Facts({fact: value for fact, value in CASES[name][0].items() if not fact.startswith("registry.")})
    verdict = evaluate.judge(POLICIES[name], facts)
    assert (verdict.status, verdict.missing) == (Status.UNKNOWN, missing)


def test_what_is_skipped_asks_no_registry() -> None:
    for name in ("digest-drift", "latest-is-not-newest", "pinned-drift", "update-drifted"):
        known, _, others = CASES[name]
        offline = {fact: value for fact, value in known.items() if not fact.startswith("registry.")}
        for change in others[Status.SKIP]:
            assert evaluate.judge(POLICIES[name], Facts(offline | change)) is evaluate.SKIP


def test_what_each_policy_would_do_and_no_volume_with_a_name_is_touched() -> None:
    acting = {name: (policy.subject, policy.action) for name, policy in POLICIES.items() if policy.action}
    assert acting == {
        "prune-dangling": (Kind.IMAGE, "remove"),
        "unused-images": (Kind.IMAGE, "remove"),
        "disk-pressure-gc": (Kind.IMAGE, "remove"),
        "keep-last-tags": (Kind.TAG, "untag"),
        "exited-containers": (Kind.CONTAINER, "remove"),
        "heal-unhealthy": (Kind.CONTAINER, "restart"),
        "update-drifted": (Kind.CONTAINER, "update"),
        "update-stale": (Kind.CONTAINER, "update"),
        "service-update": (Kind.SERVICE, "update"),
        "orphan-volume": (Kind.VOLUME, "remove"),
        "unused-network": (Kind.NETWORK, "remove"),
        "build-cache-limit": (Kind.HOST, "trim_build_cache"),
    }
    assert not any("volume.name" in policy.when.references for policy in POLICIES.values())
    assert not any(policy.owners for policy in POLICIES.values())
    assert [name for name, policy in POLICIES.items() if policy.unrecoverable] == ["build-cache-limit"]


def test_where_much_is_unhealthy_or_old_a_part_is_mended_by_each_run() -> None:
    mending = [policy for policy in POLICIES.values() if policy.action in ("restart", "update")]
    assert [policy.name for policy in mending if not policy.limits.takes_first] == []


def idle(days: int) -> timedelta:
    return timedelta(days=days)


def test_a_full_disk_gives_up_what_a_registry_has_first_and_then_what_was_not_used_for_longest() -> None:
    policy = POLICIES["disk-pressure-gc"]
    assert policy.order_by is not None
    orders = [
        int(str(policy.order_by.evaluate(Facts({"image.recoverable": there, "image.idle_for": idle(days)})).value))
        for there, days in ((True, 400), (True, 2), (False, 4000), (False, 3))
    ]
    assert orders == sorted(orders)
    assert len(set(orders)) == 4


@pytest.mark.parametrize(
    ("disk", "inodes", "opens", "is_enough"),
    [(86.0, 1.0, True, False), (1.0, 86.0, True, False), (80.0, 80.0, False, False), (74.0, 74.0, False, True)],
)
def test_marks_of_a_full_disk(*, disk: float, inodes: float, opens: bool, is_enough: bool) -> None:
    policy, facts = (
        POLICIES["disk-pressure-gc"],
        Facts({"host.disk_used_percent": disk, "host.inodes_used_percent": inodes}),
    )
    assert policy.gate is not None
    assert policy.stop_when is not None
    assert policy.gate.evaluate(facts).value is opens
    assert policy.stop_when.evaluate(facts).value is is_enough

"""The engine adapter without an engine: odd JSON, odd servers, odd environments."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import io
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.engine import (
    Connection,
    DockerEngine,
    Tls,
    containers,
    disk,
    endpoint,
    from_environment,
    recreate,
    translate,
    transport,
)
from dockwarden.engine.endpoint import Endpoint
from dockwarden.engine.pool import Answer, Pool
from dockwarden.errors import (
    AnswerError,
    ConfigError,
    ConflictError,
    DeniedError,
    EngineError,
    EngineUnavailableError,
    NotFoundError,
)
from dockwarden.inventory.kinds import uses
from dockwarden.model import ImageStore, Kind
from tests.lab.loopback import make_certificate
from tests.lab.waiting import until
from tests.tables import each
from tests.unit.misbehaving import (
    CHUNKED,
    CLOSE,
    HANG,
    LAST_CHUNK,
    PAUSE,
    RESET,
    Misbehaving,
    chunk,
    http,
    json_answer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

SECOND = 1_000_000_000
HEX, OTHER_HEX = "0123456789abcdef" * 4, "f" * 64
ID = f"sha256:{HEX}"
VERSION = {"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}
INFO = {"ID": "ABCD", "Name": "host", "DockerRootDir": "/var/lib/docker"}

IMAGE = {
    "Id": ID,
    "RepoTags": ["app:1", "h.io:5000/team/app:2"],
    "RepoDigests": [f"app@{ID}"],
    "Created": "2024-05-01T00:00:00.123456789Z",
    "Size": 12,
    "Os": "linux",
    "Architecture": "amd64",
    "Config": {
        "User": "1000",
        "Labels": {"a": "b", "empty": None},
        "Env": ["PATH=/bin", "SECRET=x=y", "BARE"],
        "ExposedPorts": {"443/tcp": {}, "80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"]},
    },
    "RootFS": {"Type": "layers", "Layers": [ID]},
}
CONTAINER = {
    "Id": HEX,
    "Name": "/web",
    "Image": ID,
    "Created": "2024-05-01T00:00:00Z",
    "RestartCount": 3,
    "AppArmorProfile": "docker-default",
    "State": {
        "Status": "running",
        "Running": True,
        "ExitCode": 0,
        "StartedAt": "2024-05-01T00:00:01+00:00",
        "FinishedAt": "0001-01-01T00:00:00Z",
        "Health": {"Status": "healthy"},
    },
    "Config": {"Image": "app:1", "User": "", "Env": ["A=1"], "Labels": {"a": "b"}, "Healthcheck": None},
    "HostConfig": {
        "NetworkMode": "front",
        "Memory": 64,
        "NanoCpus": 500_000_000,
        "PidsLimit": None,
        "CapAdd": ["NET_ADMIN", "CAP_SYS_TIME", "all"],
        "CapDrop": None,
        "Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"}],
        "Ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": 2048}],
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5},
        "LogConfig": {"Type": "json-file"},
    },
    "NetworkSettings": {
        "Networks": {"front": {"NetworkID": "n1"}, "back": {"NetworkID": ""}},
        "Ports": {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
            "81/udp": None,
        },
    },
    "Mounts": [
        {"Type": "volume", "Name": "data", "Source": "/s", "Destination": "/d", "Driver": "local", "RW": True},
        {"Type": "volume", "Source": "/docker/volumes/ab12/_data", "Destination": "/e", "Driver": "local", "RW": True},
        {"Type": "bind", "Source": "/docker/volumes/c/_data/d", "Destination": "/f", "RW": False},
        {"Type": "bind", "Source": "/docker/volumes", "Destination": "/g", "RW": False},
    ],
}
VOLUME = {"Name": "data", "Driver": "local", "Labels": None, "CreatedAt": "2024-05-01T02:00:00+02:00"}
NETWORK = {"Id": "n1", "Name": "front", "Driver": "bridge", "Labels": {}, "Created": "2024-05-01T00:00:00Z"}
EVENT = {
    "Type": "container",
    "Action": "health_status: healthy",
    "Actor": {"ID": HEX, "Attributes": {"name": "web", "image": "app:1"}},
    "timeNano": 1_795_406_453_548_190_884,
}


# -- translation ---------------------------------------------------------------------------------------


def test_image() -> None:
    image = translate.image(IMAGE, ImageStore.GRAPH)
    assert image.tags == ("docker.io/library/app:1", "h.io:5000/team/app:2")
    assert image.digests == (f"docker.io/library/app@{ID}",)
    assert image.labels == {"a": "b", "empty": ""}
    assert image.created_at == 1714521600.123456
    assert image.details is not None
    assert image.details.env_names == ("PATH", "SECRET", "BARE")
    assert image.details.ports == ("443/tcp", "80/tcp")
    assert image.details.healthcheck
    assert "x=y" not in repr(image)


@pytest.mark.parametrize(
    ("tags", "digests", "expected"),
    [
        (None, None, ((), (), ())),
        ([], [], ((), (), ())),
        (["<none>:<none>"], ["<none>@<none>"], ((), (), ())),
        # An image pulled by digest: on the graph store, and on containerd.
        (None, [f"app@{ID}"], ((), (f"docker.io/library/app@{ID}",), ())),
        ([f"app@{ID}"], [f"app@{ID}"], ((), (f"docker.io/library/app@{ID}",), ())),
        ([f"moby-dangling@{ID}"], [f"moby-dangling@{ID}"], ((), (), ())),
        (["app:1"], [ID], (("docker.io/library/app:1",), (), ())),  # a damaged one, on 28.5
        (
            ["dockwarden.invalid/marker:0123", "app:1"],
            [f"dockwarden.invalid/marker@{ID}"],
            (("docker.io/library/app:1",), (), ("dockwarden.invalid/marker:0123",)),
        ),
    ],
)
def test_image_names(tags: list[str] | None, digests: list[str] | None, expected: tuple[tuple[str, ...], ...]) -> None:
    row = {"Id": ID, "RepoTags": tags, "RepoDigests": digests, "Size": 1, "Created": 1}
    [image] = translate.images([row], ImageStore.GRAPH)
    assert (image.tags, image.digests, image.markers) == expected


@pytest.mark.parametrize(
    ("identity", "built_here"),
    [
        (None, False),
        ({}, False),
        ({"Build": []}, False),
        ({"Build": [{"Ref": "x"}]}, True),
        ({"Build": [{"Ref": "x"}], "Pull": [{"Repository": "h.io/b"}]}, False),
        ({"Pull": [{"Repository": "h.io/b"}]}, False),
        ({"Signature": [{}]}, False),
    ],
)
def test_built_here_is_what_was_built_and_neither_pulled_nor_pushed(identity: object, *, built_here: bool) -> None:
    image = translate.image({**IMAGE, "Identity": identity}, ImageStore.CONTAINERD)
    assert image.details is not None
    assert image.details.built_here is built_here


@pytest.mark.parametrize("identity", ["built", {"Build": "x"}, {"Build": ["x"]}])
def test_an_identity_of_another_shape_is_an_error(identity: object) -> None:
    with pytest.raises(EngineError, match=r"Identity|Build"):
        translate.image({**IMAGE, "Identity": identity}, ImageStore.CONTAINERD)


@pytest.mark.parametrize(
    ("api", "store", "tells"),
    [("1.52", "containerd", False), ("1.53", "containerd", True), ("1.55", "containerd", True), ("1.55", "", False)],
)
def test_which_engines_tell_what_they_built(api: str, store: str, *, tells: bool) -> None:
    status = [["driver-type", "io.containerd.snapshotter.v1"]] if store else []
    info = translate.engine({"Version": "x"}, {"DriverStatus": status}, api, 0.0, 0.0)
    assert info.tells_builds is tells


def test_list_and_inspect_of_a_containerd_store_agree_on_digests() -> None:
    row = {"Id": ID, "RepoTags": ["app:1", "h.io/b:2"], "RepoDigests": [f"h.io/b@{ID}"], "Size": 1, "Created": 1}
    full = {**row, "RepoDigests": [f"app@{ID}", f"h.io/b@{ID}"]}
    [listed] = translate.images([row], ImageStore.CONTAINERD)
    assert listed.digests == translate.image(full, ImageStore.CONTAINERD).digests
    assert listed.digests == (f"docker.io/library/app@{ID}", f"h.io/b@{ID}")


def test_images_are_freed_while_they_are_read() -> None:
    rows = [{"Id": f"{ID[:-1]}{n}", "Size": n} for n in range(3)]
    reader = translate.images(rows, ImageStore.GRAPH)
    assert [next(reader).size_bytes, len(rows)] == [0, 2]
    assert [image.size_bytes for image in reader] == [1, 2]


@each(
    ("created", "expected"),
    [
        (None, None),
        ("", None),
        (0, None),
        (-62135596800, None),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("1969-12-31T23:59:59Z", -1.0),
        (-1, -1.0),
        (1714521600, 1714521600.0),
        ("2024-05-01T02:00:00.000000001+02:00", 1714521600.0),
        ("9999-12-31T23:59:59Z", 253402300799.0),
        ("9999-12-31T23:59:59.999999999Z", None),
        ("9999-12-31T23:59:59-12:00", None),
        (253402300800, None),
        (10**18, None),
    ],
)
def test_created(created: object, expected: float | None) -> None:
    assert translate.image({**IMAGE, "Created": created}, ImageStore.GRAPH).created_at == expected


@pytest.mark.parametrize("created", ["yesterday", "2024-13-01T00:00:00Z", True, 1.5, [], 10**30])
def test_created_that_is_no_time(created: object) -> None:
    with pytest.raises(EngineError, match="Created"):
        translate.image({**IMAGE, "Created": created}, ImageStore.GRAPH)


@pytest.mark.parametrize("config", [None, {}, {"Labels": None, "Env": None, "ExposedPorts": None}])
def test_image_without_a_config(config: object) -> None:
    image = translate.image({"Id": ID, "Size": 1, "Config": config, "RootFS": None}, ImageStore.GRAPH)
    assert image.details is not None
    assert (image.labels, image.details.env_names, image.details.layers) == ({}, (), ())


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (None, False),
        ({}, False),
        ({"Test": None}, False),
        ({"Test": []}, False),
        ({"Test": ["NONE"]}, False),
        ({"Test": ["CMD-SHELL", "true"]}, True),
    ],
)
def test_healthcheck(check: object, expected: bool) -> None:  # noqa: FBT001
    image = translate.image({**IMAGE, "Config": {"Healthcheck": check}}, ImageStore.GRAPH)
    container = containers.container({**CONTAINER, "Config": {"Healthcheck": check}})
    assert image.details is not None
    assert (image.details.healthcheck, container.config.healthcheck) == (expected, expected)


def test_container() -> None:
    container = containers.container(CONTAINER)
    assert (container.name, container.image_ref, container.image_id) == ("web", "app:1", ID)
    assert (container.state, container.health, container.running) == ("running", "healthy", True)
    assert (container.started_at, container.finished_at) == (1714521601.0, None)
    assert container.networks == ("back", "front", "n1")
    assert container.ports == ("0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp", "81/udp")
    assert [mount.name for mount in container.mounts] == ["data", "ab12", "c", ""]
    assert container.config.devices == ("/dev/a:/dev/b:r",)
    assert (container.config.cap_add, container.config.cap_drop) == (("NET_ADMIN", "SYS_TIME", "ALL"), ())
    assert container.config.ulimits == ("nofile=1024:2048",)
    assert (container.config.restart_policy, container.config.restart_max) == ("on-failure", 5)
    assert (container.config.restart_count, container.config.apparmor) == (3, "docker-default")


def probes(results: str) -> list[dict[str, object]]:
    """The last ones that an engine remembers, a second apart: + is a success."""
    ends = [f"2024-05-01T00:01:{second:02}Z" for second in range(len(results))]
    return [{"End": end, "ExitCode": int(result != "+")} for end, result in zip(ends, results, strict=True)]


MINUTE = 1714521660.0


@pytest.mark.parametrize(("endpoint", "asked"), [("", "02:42:ac:11:00:03"), ("e1", None)])
def test_a_mac_address_of_the_engine_s_choice_is_nobody_s_wish(endpoint: str, asked: str | None) -> None:
    """It has one as long as it has an endpoint: while it runs, and after a start that failed over a link."""
    raw: Any = copy.deepcopy(CONTAINER)
    raw["State"]["Running"], raw["HostConfig"]["NetworkMode"] = False, "default"
    raw["NetworkSettings"]["Networks"] = {"bridge": {"MacAddress": "02:42:ac:11:00:03", "EndpointID": endpoint}}
    assert recreate.container(raw, {}, {})["endpoints"].get("bridge", {}).get("MacAddress") == asked


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_networks_whose_engine_tells_its_pools_in_another_order_are_alike(order: tuple[int, ...]) -> None:
    """The engine gave the first to one that was asked for with the last only; made with both, it tells them so."""
    pools = [{"Subnet": "10.1.0.0/16"}, {"Subnet": "10.0.0.0/16"}, {"Subnet": "fd00::/64"}]
    raw = {"Name": "net", "IPAM": {"Driver": "default", "Config": [pools[number] for number in order]}}
    assert recreate.network(raw)["IPAM"] == {"Driver": "default", "Config": pools}


@pytest.mark.parametrize(("told", "asked"), [(None, False), (False, False), (True, True)])
def test_what_control_groups_version_2_forget_at_a_start_is_no_other_wish(told: object, asked: object) -> None:
    raw: Any = copy.deepcopy(CONTAINER)
    raw["HostConfig"]["OomKillDisable"] = told
    assert recreate.container(raw, {}, {})["body"]["HostConfig"]["OomKillDisable"] is asked


@each(
    ("state", "health", "retries", "expected"),
    [
        ("running", {"Status": "starting"}, 0, ("starting", 1714521601.0)),
        ("running", {"Status": "healthy", "Log": probes("+++++")}, 0, ("healthy", MINUTE)),
        ("running", {"Status": "healthy", "Log": probes("---++")}, 0, ("healthy", MINUTE + 3)),
        ("running", {"Status": "healthy", "Log": probes("+--+-")}, 3, ("healthy", MINUTE)),
        ("running", {"Status": "healthy", "Log": probes("+-+")}, 1, ("healthy", MINUTE + 2)),
        ("running", {"Status": "unhealthy", "FailingStreak": 3, "Log": probes("+---")}, 0, ("unhealthy", MINUTE + 3)),
        ("running", {"Status": "unhealthy", "FailingStreak": 4, "Log": probes("-----")}, 2, ("unhealthy", MINUTE + 2)),
        ("running", {"Status": "unhealthy", "FailingStreak": 90, "Log": probes("-----")}, 2, ("unhealthy", MINUTE)),
        ("running", {"Status": "unhealthy", "Log": None}, 0, ("unhealthy", None)),
        ("running", {"Status": "none"}, 0, ("", None)),
        ("running", None, 0, ("", None)),
        *((state, {"Status": "unhealthy"}, 0, ("", None)) for state in ("paused", "exited", "created", "restarting")),
    ],
)
def test_health_is_that_of_what_runs_and_as_old_as_the_probes_say(
    state: str, health: object, retries: int, expected: tuple[str, float | None]
) -> None:
    raw = {
        **CONTAINER,
        "State": {"Status": state, "StartedAt": "2024-05-01T00:00:01Z", "Health": health},
        "Config": {"Healthcheck": {"Test": ["CMD", "x"], "Retries": retries}},
    }
    container = containers.container(raw)
    assert (container.health, container.health_at) == expected


@each(
    ("created_by", "instruction"),
    [
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c #(nop) ADD file:ab in / ", "ADD file:ab in /"),
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("/bin/bash -o pipefail -c apt-get update", "RUN apt-get update"),
        ("|2 A=1 KEY=s3cret x /bin/sh -c make all", "RUN make all"),
        ("|1 KEY=s3cret make all", "RUN"),
        ("RUN /bin/sh -c apt-get  update\t&& true # buildkit", "RUN apt-get update && true"),
        ("RUN |1 KEY=s3cret /bin/sh -c make # buildkit", "RUN make"),
        ("RUN |1 KEY=s3cret make # buildkit", "RUN"),
        ("COPY . /app # buildkit", "COPY . /app"),
        ("ENV KEY=s3cret OTHER=s3cret", "ENV KEY"),
        ("/bin/sh -c #(nop)  ENV KEY=s3cret", "ENV KEY"),
        ("ARG KEY=s3cret", "ARG KEY"),
        ("ARG KEY", "ARG KEY"),
        ("# debian.sh --arch amd64", "# debian.sh --arch amd64"),
        ("", ""),
    ],
)
def test_a_step_reads_like_the_line_that_made_it_without_values(created_by: str, instruction: str) -> None:
    newest_first = [{"CreatedBy": "later", "Size": 0}, {"CreatedBy": created_by, "Size": 7, "Created": 1714521600}]
    steps = translate.history(newest_first)
    assert steps[0] == (7, instruction, 1714521600.0)
    assert [step.instruction for step in steps] == [instruction, "later"]
    assert "s3cret" not in instruction


def test_options_of_drivers_come_without_their_secrets() -> None:
    options = {"type": "cifs", "o": "username=me,password=s3cret,uid=1", "splunk-token": "s3cret", "max-size": "10m"}
    log = containers.container({**CONTAINER, "HostConfig": {"LogConfig": {"Type": "x", "Config": options}}})
    found = translate.volume({**VOLUME, "Options": options}).options
    assert found == log.config.log_opts == translate.network({**NETWORK, "Options": options}).options
    assert found == {
        "type": "cifs",
        "o": "username=me,password=***,uid=1",
        "splunk-token": "***",
        "max-size": "10m",
    }


@pytest.mark.parametrize(
    ("state", "controls", "role"),
    [("inactive", False, ""), ("active", True, "manager"), ("active", False, "worker"), ("locked", False, None)],
)
def test_the_role_in_a_swarm(state: str, role: str | None, *, controls: bool) -> None:
    swarm = {
        "LocalNodeState": state,
        "ControlAvailable": controls,
        "Managers": 3,
        "Cluster": {
            "Spec": {
                "EncryptionConfig": {"AutoLockManagers": True},
                "CAConfig": {"NodeCertExpiry": 172_800_000_000_000},
            }
        },
    }
    info = translate.engine({"Version": "1"}, {"Swarm": swarm}, "1.41", 0.0, 0.0)
    assert translate.in_swarm(translate.engine({"Version": "1"}, {}, "1.41", 0.0, 0.0), {"Swarm": swarm}) == info
    assert info.swarm_role == role
    assert (info.swarm_managers, info.swarm_autolock, info.swarm_certificate_seconds) == (3, True, 2 * 86400.0)


def test_processes_are_command_lines() -> None:
    raw = {"Titles": ["PID", "CMD"], "Processes": [["1", "sleep 9"], ["7", "sshd: x"]]}
    assert containers.processes(raw) == ("sleep 9", "sshd: x")
    assert containers.processes({"Processes": None}) == ()


@pytest.mark.parametrize(
    ("host", "cores"),
    [
        ({}, 0.0),
        ({"NanoCpus": 0, "CpuQuota": 0}, 0.0),
        ({"CpuQuota": -1}, 0.0),
        ({"NanoCpus": 1_500_000_000}, 1.5),
        ({"CpuQuota": 50_000}, 0.5),
        ({"CpuQuota": 50_000, "CpuPeriod": 25_000}, 2.0),
        ({"NanoCpus": None, "CpuQuota": None, "CpuPeriod": None}, 0.0),
    ],
)
def test_cpu_limit(host: dict[str, object], cores: float) -> None:
    assert containers.container({**CONTAINER, "HostConfig": host}).config.cpu_limit == cores


@pytest.mark.parametrize(("limit", "expected"), [(None, 0), (0, 0), (-1, 0), (50, 50)])
def test_pids_limit(limit: int | None, expected: int) -> None:
    assert containers.container({**CONTAINER, "HostConfig": {"PidsLimit": limit}}).config.pids_limit == expected


@pytest.mark.parametrize(
    ("masked", "privileged", "known"),
    [(["/proc/kcore"], False, ["/proc/kcore"]), ([], False, []), (None, True, []), (None, False, None)],
)
def test_masked_paths_that_an_engine_does_not_tell_are_unknown(
    masked: object, known: object, *, privileged: bool
) -> None:
    raw = {**CONTAINER, "HostConfig": {"MaskedPaths": masked, "Privileged": privileged}}
    assert containers.container(raw).config.told["masked_paths"] == known


@pytest.mark.parametrize(
    ("address", "port", "found"),
    [("10.0.0.7", 1, "proxy"), ("fd00::7", 1, "proxy"), ("127.0.0.1", 2375, "other"), ("10.0.0.8", 1, ""), ("", 1, "")],
)
def test_the_container_through_which_the_engine_is_reached(address: str, port: int, found: str) -> None:
    """One that has the address, whatever others publish."""
    home: dict[str, Any] = {"IPAddress": "10.0.0.7", "GlobalIPv6Address": "fd00::7"}
    rows: list[Any] = [
        {"Id": "dns", "Ports": [{"PublicPort": 2375, "Type": "udp"}], "NetworkSettings": None},
        {
            "Id": "other",
            "Ports": [{"PublicPort": 2375, "Type": "tcp"}, {"PrivatePort": 1}],
            "NetworkSettings": None,
        },
        {"Id": "web", "Ports": [], "NetworkSettings": {"Networks": {"host": {"IPAddress": ""}, "none": {}}}},
        {"Id": "proxy", "Ports": None, "NetworkSettings": {"Networks": {"away": {"IPAddress": ""}, "home": home}}},
    ]
    assert containers.serving(rows, {address} - {""}, port) == found


def test_ports_of_a_container_that_is_not_up_are_those_it_asked_for() -> None:
    wanted = {
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostPort": ""}]}},
        "Config": {"ExposedPorts": {"80/tcp": {}, "81/tcp": {}}},
        "NetworkSettings": {"Ports": {}},
    }
    ports = containers.container({**CONTAINER, **wanted}).ports
    assert ports == ("0.0.0.0:8080->80/tcp", "0.0.0.0:0->80/tcp", "81/tcp")


@pytest.mark.parametrize(
    ("name", "labels", "anonymous"),
    [("data", {}, False), (HEX, None, True), ("data", {"com.docker.volume.anonymous": ""}, True), (HEX[1:], {}, False)],
)
def test_anonymous_volume(name: str, labels: object, anonymous: bool) -> None:  # noqa: FBT001
    assert translate.volume({**VOLUME, "Name": name, "Labels": labels}).anonymous is anonymous


@pytest.mark.parametrize("answer", [{"Volumes": None}, {"Volumes": []}, {}])
def test_no_volumes(answer: object) -> None:
    assert translate.volumes(answer) == []


@pytest.mark.parametrize(
    ("change", "builtin"),
    [({}, False), ({"Name": "bridge"}, True), ({"Name": "docker_gwbridge"}, True), ({"Ingress": True}, True)],
)
def test_builtin_network(change: dict[str, object], builtin: bool) -> None:  # noqa: FBT001
    assert translate.network({**NETWORK, **change}).builtin is builtin


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ("container", "health_status", HEX, "web")),
        ({"Action": "exec_create: sh -c SECRET"}, ("container", "exec_create", HEX, "web")),
        ({"Type": "volume", "Actor": {"ID": "data", "Attributes": None}}, ("volume", "health_status", "data", "")),
        (
            {
                "Type": "network",
                "Action": "connect",
                "Actor": {"ID": "n1", "Attributes": {"name": "front", "container": HEX}},
            },
            ("network", "connect", "n1", HEX),
        ),
        (
            {"Type": "network", "Action": "create", "Actor": {"ID": "n1", "Attributes": {"name": "front"}}},
            ("network", "create", "n1", "front"),
        ),
        (
            {"Action": "commit", "Actor": {"ID": HEX, "Attributes": {"imageID": f"sha256:{HEX}", "name": "web"}}},
            ("image", "create", f"sha256:{HEX}", ""),
        ),
        ({"Action": "commit"}, ("container", "commit", HEX, "web")),  # as Podman tells it
    ],
)
def test_event(change: dict[str, object], expected: tuple[str, ...]) -> None:
    line = json.dumps({**EVENT, **change}).encode()
    assert translate.event(line)[:4] == expected
    assert translate.event(line).at_ns == 1_795_406_453_548_190_884


@pytest.mark.parametrize("line", [b"", b"{", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"Type": "x"}'])
def test_line_that_is_no_event(line: bytes) -> None:
    with pytest.raises(EngineError, match=r"^event"):
        translate.event(line)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"DriverStatus": None}, ImageStore.GRAPH),
        ({"DriverStatus": [["Backing Filesystem", "extfs"], None, "x", []]}, ImageStore.GRAPH),
        ({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}, ImageStore.CONTAINERD),
    ],
)
def test_image_store(change: dict[str, object], expected: ImageStore) -> None:
    assert translate.engine(VERSION, {**INFO, **change}, "1.41", 0.0, 0.0).image_store is expected


def test_engine_info() -> None:
    said = {
        **INFO,
        "SecurityOptions": ["name=seccomp,profile=rootless", "name=rootless", "name=userns"],
        "Swarm": {"LocalNodeState": "active"},
        "LiveRestoreEnabled": True,
        "RegistryConfig": {
            "Mirrors": ["https://m.io/"],
            "InsecureRegistryCIDRs": ["127.0.0.0/8"],
            "IndexConfigs": {"lab:5000": {"Secure": False}, "docker.io": {"Secure": True}},
        },
    }
    info = translate.engine(VERSION, said, "1.41", 0.0, 0.0)
    assert (info.rootless, info.userns_remap, info.swarm, info.live_restore) == (True, True, True, True)
    assert info.mirrors == ("https://m.io/",)
    assert info.insecure_registries == ("127.0.0.0/8", "lab:5000")
    plain = translate.engine(VERSION, INFO, "1.41", 0.0, 0.0)
    assert (plain.mirrors, plain.insecure_registries) == ((), ())
    assert (plain.rootless, plain.userns_remap, plain.swarm, plain.clock_offset_seconds) == (False, False, False, 0.0)


def test_engines_on_one_host_are_told_apart() -> None:
    other = {**INFO, "DockerRootDir": "/elsewhere"}
    identities = {translate.engine(VERSION, info, "1.41", 0.0, 0.0).identity for info in (INFO, other)}
    assert len(identities) == 2


def test_lone_surrogates_are_replaced() -> None:
    raw = json.loads('{"a\\ud800": "x\\udfffy", "emoji": "\\ud83d\\ude00"}')
    labels = translate.image({**IMAGE, "Config": {"Labels": raw}}, ImageStore.GRAPH).labels
    assert labels == {"a\ufffd": "x\ufffdy", "emoji": "\U0001f600"}
    json.dumps(labels).encode()


# Every field of every answer, replaced by everything that JSON can say.
SAMPLES: dict[str, tuple[object, Callable[[object], object]]] = {
    "image": (IMAGE, lambda raw: translate.image(raw, ImageStore.CONTAINERD)),
    "images": ([IMAGE], lambda raw: list(translate.images(raw, ImageStore.GRAPH))),
    "container": (CONTAINER, containers.container),
    "containers": ([{"Id": HEX, "ImageID": ID}], lambda raw: containers.container_ids(raw, ID)),
    "volumes": ({"Volumes": [VOLUME]}, translate.volumes),
    "networks": ([NETWORK], translate.networks),
    "info": (INFO, lambda raw: translate.engine(VERSION, raw, "1.41", 0.0, 0.0)),
    "version": (VERSION, lambda raw: translate.engine(raw, INFO, "1.41", 0.0, 0.0)),
    "event": (EVENT, lambda raw: translate.event(json.dumps(raw).encode())),
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def _places(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    yield path
    items: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _with(value: object, path: tuple[object, ...], new: object) -> object:
    if not path:
        return new
    changed = copy.deepcopy(value)
    target = changed
    for key in path[:-1]:
        target = target[key]  # type: ignore[index]
    target[path[-1]] = new  # type: ignore[index]
    return changed


@pytest.mark.parametrize("kind", SAMPLES)
@given(data=st.data())
def test_any_answer_is_a_value_or_an_engine_error(kind: str, data: st.DataObject) -> None:
    sample, translated = SAMPLES[kind]
    path = data.draw(st.sampled_from(list(_places(sample))))
    with contextlib.suppress(EngineError):
        translated(_with(sample, path, data.draw(json_values)))


# -- where the engine is -------------------------------------------------------------------------------


@each(
    ("env", "expected"),
    [
        ({}, "unix:///var/run/docker.sock"),
        ({"DOCKER_HOST": ""}, "unix:///var/run/docker.sock"),
        ({"DOCKER_HOST": "unix:///run/x.sock"}, "unix:///run/x.sock"),
        ({"DOCKER_HOST": "unix://"}, "unix:///var/run/docker.sock"),
        ({"DOCKER_HOST": "http+unix://%2Frun%2FX.sock"}, "unix:///run/X.sock"),
        ({"DOCKER_HOST": "tcp://h:2375"}, "http://h:2375"),
        ({"DOCKER_HOST": "tcp://[::1]:2375"}, "http://[::1]:2375"),
        ({"DOCKER_HOST": "tcp://[::1]"}, "http://[::1]:2375"),
        ({"DOCKER_HOST": "tcp://h/docker"}, "http://h:2375/docker"),
        ({"DOCKER_HOST": "tcp://", "DOCKER_TLS_VERIFY": "1"}, "https://localhost:2376"),
        ({"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1"}, "https://h:2376"),
        ({"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "", "DOCKER_CERT_PATH": "/c"}, "https://h:2376"),
        ({"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS": "1"}, "https://h:2376"),
        ({"DOCKER_HOST": "unix:///run/x.sock", "DOCKER_TLS_VERIFY": "1"}, "unix:///run/x.sock"),
        ({"DOCKER_HOST": "unix:///run/x.sock", "DOCKER_CONTEXT": "elsewhere"}, "unix:///run/x.sock"),
    ],
)
def test_from_environment(env: dict[str, str], expected: str) -> None:
    assert str(endpoint.locate(**from_environment(env))) == expected


@pytest.mark.parametrize("way", ["used", "named"])
def test_the_context_of_the_docker_command_says_where_the_engine_is(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)}
    authority = make_certificate(tmp_path)
    tls = f"ca={authority},cert={tmp_path}/server.crt,key={tmp_path}/server.key"
    for name, where in (
        ("near", "host=unix:///run/x.sock"),
        ("far", f"host=tcp://h:2376,{tls}"),
        ("of-an-authority", f"host=tcp://h:2376,ca={authority}"),
        ("not-verified", "host=tcp://h:2376,skip-tls-verify=true"),
        ("ssh", "host=ssh://h"),
    ):
        subprocess.run(["docker", "context", "create", name, f"--docker={where}"], env=plain, check=True)

    def found(name: str) -> Connection:
        if way == "named":
            return from_environment({"DOCKER_CONTEXT": name})
        subprocess.run(["docker", "context", "use", name], env=plain, check=True)
        return from_environment({})

    assert found("near") == {"base_url": "unix:///run/x.sock", "tls": None, "said_by": "context near"}
    far = found("far")
    assert far["tls"] is not None
    assert far["tls"].verify
    assert Path(far["tls"].ca_file).is_file()
    assert str(endpoint.locate(**far)) == "https://h:2376"
    assert found("not-verified")["tls"] == ("", "", "", False)
    trusting = found("of-an-authority")["tls"]
    assert trusting is not None
    assert Path(trusting.ca_file).read_bytes() == authority.read_bytes()
    assert trusting[1:] == ("", "", True)
    assert found("default")["base_url"] == "unix:///var/run/docker.sock"
    assert found("ssh") == {"base_url": "ssh://h", "tls": None, "said_by": "context ssh"}
    with pytest.raises(ConfigError, match="context gone does not exist"):
        from_environment({"DOCKER_CONTEXT": "gone"})


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("{", "Expecting property name"),
        ("[]", "an object was expected"),
        ('{"Name": "x", "Endpoints": {}}', "has no engine's address"),
        ('{"Endpoints": {"kubernetes": {"Host": "tcp://k"}}}', "has no engine's address"),
        ('{"Endpoints": {"docker": {"Host": 5}}}', "host is a number"),
        ('{"Endpoints": {"docker": {"Host": "fd://"}}}', "context team.x: fd://: use unix"),
        ('{"Endpoints": {"docker": {}}}', None),
        ('{"NAME": "other", "endpoints": {"docker": {"host": "unix:///var/run/docker.sock"}}}', None),
    ],
)
@pytest.mark.parametrize("config", ['{"CurrentContext": "team.x"}', "{"])
def test_a_context_that_somebody_wrote_by_hand_is_read_as_the_docker_command_does(
    context: str, expected: str | None, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "contexts/meta" / hashlib.sha256(b"team.x").hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(context)
    (tmp_path / "config.json").write_text(config)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    env = {"DOCKER_CONTEXT": "" if "team" in config else "team.x"}
    told = subprocess.run(["docker", "ps"], env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if expected is None:
        assert str(endpoint.locate(**from_environment(env))) == "unix:///var/run/docker.sock"
        assert "unix:///var/run/docker.sock" in told.stderr or told.returncode == 0
    else:
        with pytest.raises(ConfigError, match=expected):
            from_environment(env)
        assert told.returncode
        assert "Cannot connect" not in told.stderr


@pytest.mark.parametrize("own", [(), ("cert.pem", "key.pem")])
def test_tls_from_environment(own: Sequence[str], tmp_path: Path) -> None:
    """Of who we are only what is there, as the docker command has it."""
    (tmp_path / ".docker").mkdir()
    for name in own:
        (tmp_path / ".docker" / name).touch()
    cert, key = (f"{tmp_path}/.docker/{name}" for name in own) if own else ("", "")
    env = {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1"}
    for more in ({"DOCKER_CERT_PATH": f"{tmp_path}/.docker"}, {"HOME": str(tmp_path)}):
        assert from_environment(env | more)["tls"] == Tls(f"{tmp_path}/.docker/ca.pem", cert, key, verify=True)


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("ssh://me:secret@h", r"DOCKER_HOST: ssh://\*\*\*@h: use ssh://user@host.*without a password"),
        ("me:secret@h:1", r"DOCKER_HOST: \*\*\*@h:1: use"),
        ("tcp://h:1/?password=secret", r"^DOCKER_HOST: tcp://h:1/\?\*\*\*: [^?]+\?\*\*\*$"),
        ("ssh://", "use ssh://user@host"),
        ("ssh://h:port", "DOCKER_HOST: ssh://h:port: Port could not be cast"),
        ("ssh://h?x", "use ssh://user@host"),
        ("npipe:////./pipe/docker_engine", "use unix:///path, tcp://host:port or ssh://user@host"),
        ("fd://", "use unix"),
        ("/run/docker.sock", "use unix"),
        ("tcp://h:port", "DOCKER_HOST: tcp://h:port"),
        ("h:2375", "use unix"),
    ],
)
def test_address_of_a_kind_that_is_not_spoken(host: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        from_environment({"DOCKER_HOST": host})


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ssh://h", ["--", "h", "docker", "system", "dial-stdio"]),
        ("ssh://a%20b@h:22/", ["-l", "a b", "-p", "22", "--", "h", "docker", "system", "dial-stdio"]),
        ("ssh://-oProxyCommand=x", ["--", "-oProxyCommand=x", "docker", "system", "dial-stdio"]),
        ("ssh://a@My_Alias:22", ["-l", "a", "-p", "22", "--", "My_Alias", "docker", "system", "dial-stdio"]),
        ("ssh://h:/%61", ["--", "h", "docker", "--host=unix:///a", "system", "dial-stdio"]),
        ("ssh://[::1]/r/x;y", ["--", "::1", "docker", "--host='unix:///r/x;y'", "system", "dial-stdio"]),
    ],
)
def test_how_ssh_is_asked(url: str, words: list[str]) -> None:
    assert endpoint.ssh_command(url) == ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-T", *words]


def test_missing_tls_files() -> None:
    connection = from_environment(
        {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"}
    )
    with pytest.raises(ConfigError, match=r"DOCKER_CERT_PATH: there is no /nowhere/ca\.pem$"):
        DockerEngine(**connection)


@pytest.mark.parametrize("config", ['{"auths": {"h": 3}}', '{"auths": {"h": {"auth": "!"}}}', "null", "[]", "{", "\0"])
def test_credentials_of_the_user_are_not_read(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(config)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / ".docker"))
    monkeypatch.setenv("DOCKER_CONTEXT", "none-such")
    DockerEngine("unix:///nowhere")


# -- an engine of our making ---------------------------------------------------------------------------


class Fake:
    """A connected ``DockerEngine``, the server behind it, and what was observed."""

    def __init__(self, engine: DockerEngine, server: Misbehaving) -> None:
        self.engine = engine
        self.server = server
        self.observed: list[tuple[str, str]] = []


def _silent(_request: str) -> Iterable[bytes]:
    raise AssertionError("not to be asked")


def connects(engine: DockerEngine) -> bool:
    """Whether the server was quick enough; one with little patience tries again."""
    with contextlib.suppress(EngineUnavailableError):
        return bool(engine.connect())
    return False


@contextlib.contextmanager
def fake(
    folder: Path,
    answer: Callable[[str], Iterable[bytes]] = _silent,
    *,
    info: object = INFO,
    timeout: float = 10.0,
) -> Iterator[Fake]:
    def route(request: str) -> Iterable[bytes]:
        match request.rpartition("/")[2]:
            case "version":
                return [json_answer(VERSION)]
            case "info":
                return [json_answer(info)]
            case _:
                return answer(request)

    with Misbehaving(route, folder / "s") as server:
        observed: list[tuple[str, str]] = []
        engine = DockerEngine(server.host, timeout=timeout, observe=lambda op, result, _: observed.append((op, result)))
        it = Fake(engine, server)
        until(lambda: connects(engine), "a connection")
        observed.clear()
        server.asked.clear()
        it.observed = observed
        try:
            yield it
        finally:
            engine.close()


@pytest.mark.parametrize(
    ("newest", "oldest", "chosen"),
    [
        ("1.41", "1.12", "1.41"),
        ("1.51", "1.24", "1.51"),
        ("1.60", "1.40", "1.55"),
        ("1.60", "1.55", "1.55"),
        ("1.60", "1.56", "wants API 1.56 or newer; this dockwarden is tested up to 1.55"),
        ("1.23", "1.12", "too old: it speaks API 1.23 at most"),
        ("1.4é", "1.12", "not an API version"),
        ("latest", "1.12", "not an API version"),
        (None, "1.12", "version: ApiVersion is missing"),
        (1.41, "1.12", "version: ApiVersion is a number, not text"),
        ("1.41", None, "1.41"),
    ],
)
def test_negotiation(newest: object, oldest: object, chosen: str, tmp_path: Path) -> None:
    def answer(request: str) -> Iterable[bytes]:
        version = {"Version": "x", "ApiVersion": newest, "MinAPIVersion": oldest}
        yield json_answer(version if request.endswith("/version") else INFO)

    with Misbehaving(answer, tmp_path / "s") as server:
        engine = DockerEngine(server.host)
        if chosen[0].isdigit():
            assert engine.connect().api_version == chosen
            assert server.asked == ["GET /version", f"GET /v{chosen}/info"]
        else:
            with pytest.raises(EngineUnavailableError, match=chosen) as raised:
                engine.connect()
            is_engine = chosen.startswith(("wants", "too old"))
            assert ("not as a Docker Engine" in str(raised.value)) != is_engine


def test_an_image_that_a_container_mounts_is_in_use_whenever_it_was_tagged(tmp_path: Path) -> None:
    """A pull of the same image tags it anew, too; that is no change of the container."""
    mounts = [{"Type": "image", "Name": name, "Destination": "/data"} for name in ("data:1", HEX[:12])]
    other, tagged = f"sha256:{HEX[::-1]}", [""]

    def answer(request: str) -> Iterable[bytes]:
        image = {**IMAGE, "Id": other, "Metadata": {"LastTagTime": tagged[-1]}}
        yield json_answer({**CONTAINER, "Mounts": mounts} if "/containers/" in request else image)

    with fake(tmp_path, answer) as it:
        found = []
        for at in ("0001-01-01T00:00:00Z", "2024-04-30T00:00:00Z", "2024-05-01T00:00:00.1Z"):
            tagged.append(at)
            found.append(it.engine.container("web"))
    assert [{each.may_be_another for each in container.mounts} for container in found] == [{False}, {False}, {True}]
    assert all((Kind.IMAGE, other) in uses(container) for container in found)
    assert found[0] == found[1] == found[2]


def test_engine_behind_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    for folder in (ours, others):
        folder.mkdir()
        make_certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ours / "ca.crt"))
    context.load_cert_chain(ours / "server.crt", ours / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED

    def tls(ca: Path, client: Path) -> Tls:
        return Tls(str(ca / "ca.crt"), str(client / "server.crt"), str(client / "server.key"), verify=True)

    def answer(request: str) -> Iterable[bytes]:
        yield json_answer(VERSION if request.endswith("/version") else INFO)

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(others / "ca.crt"))
    with Misbehaving(answer, tls=context) as server:
        address = f"tcp://{server.host}"
        with contextlib.closing(DockerEngine(address, tls=tls(ours, ours))) as engine:
            assert engine.connect().version == "20.10.24"
        for wrong in (tls(others, ours), tls(ours, others)):
            with contextlib.closing(DockerEngine(address, tls=wrong)) as engine, pytest.raises(EngineUnavailableError):
                engine.connect()
        with contextlib.closing(DockerEngine(address)) as engine, pytest.raises(EngineError, match="HTTP 400"):
            engine.connect()


@pytest.mark.parametrize(("seconds", "is_busy"), [(0, True), (-500, True), (-700, False), (365 * 86400, False)])
def test_a_download_that_nobody_goes_on_with_keeps_nothing_waiting(
    tmp_path: Path, seconds: float, *, is_busy: bool
) -> None:
    """Also not until a clock that was a year ahead has been caught up with."""
    (tmp_path / "tmp").mkdir()
    download, at = tmp_path / "tmp/GetImageBlob1", time.time() + seconds
    download.touch()
    os.utime(download, (at, at))
    assert bool(disk.transfer(str(tmp_path))) == is_busy


def test_a_download_that_began_before_the_clock_was_set_back_goes_on(tmp_path: Path) -> None:
    download, at = tmp_path / "tmp/docker-builder1", time.time() + 86400
    download.mkdir(parents=True)
    (download / "data").touch()
    os.utime(download, (at, at))
    assert disk.transfer(str(tmp_path))


@pytest.mark.parametrize(
    ("asked_at", "answered_at", "offset"),
    [(-1.0, 1.0, 0.0), (0.0, 0.0, 0.0), (-3.0, -1.0, 1.0), (1.0, 3.0, -1.0), (4e7, 4e7 + 1, -4e7), (-4e7, -3e7, 3e7)],
)
def test_clock_of_an_engine(asked_at: float, answered_at: float, offset: float) -> None:
    """Whatever leads to it: it is ours where it told a time between our question and its answer."""
    now = 1893456000.0
    said = {**INFO, "SystemTime": "2030-01-01T00:00:00Z"}
    assert translate.engine(VERSION, said, "1.41", now + asked_at, now + answered_at).clock_offset_seconds == offset


def test_clock_of_an_engine_behind_a_socket(tmp_path: Path) -> None:
    def answer(request: str) -> Iterable[bytes]:
        yield json_answer(VERSION if request.endswith("/version") else {**INFO, "SystemTime": "2030-01-01T00:00:00Z"})

    with Misbehaving(answer) as server:
        engine = DockerEngine(f"tcp://{server.host}", now_ns=lambda: 1893456000 * SECOND - SECOND)
        assert engine.connect().clock_offset_seconds == 1.0
        assert engine.now_ns() == 1893456000 * SECOND


def test_not_connected() -> None:
    with pytest.raises(EngineUnavailableError, match="not connected to unix:///nowhere yet"):
        DockerEngine("unix:///nowhere").container_ids()


def test_one_connection_serves_all_requests(tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: [json_answer(IMAGE)]) as it:
        before = it.server.connections
        for n in range(30):
            it.engine.image(f"app:{n}")
        assert it.server.connections - before <= 1
        assert len(it.server.asked) == 30


@pytest.mark.parametrize("way", ["socket", "tcp", "a path", "tls", "tls that nobody checks"])
def test_each_way_to_an_engine_carries_questions_streams_and_files_over_few_connections(
    way: str, tmp_path: Path
) -> None:
    context, tls, secure = None, None, way.startswith("tls")
    if secure:
        make_certificate(tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
        tls = Tls(str(tmp_path / "ca.crt"), "", "", verify=True) if way == "tls" else Tls("", "", "", verify=False)

    def answer(request: str) -> Iterable[bytes]:
        if "/events?" in request:
            return lines(EVENT)
        known = {"version": VERSION, "info": INFO, "json": IMAGE}
        what = request.rpartition("/")[2]
        return [json_answer([] if "containers/json" in request else known.get(what, {}))]

    with Misbehaving(answer, tmp_path / "s" if way == "socket" else None, tls=context) as server:
        address = server.host if way == "socket" else f"tcp://{server.host}" + ("/docker" if way == "a path" else "")
        with contextlib.closing(DockerEngine(address, tls=tls)) as engine:
            engine.connect()
            before = server.connections
            for _ in range(3):
                assert engine.image("app").id == IMAGE["Id"]
                assert [event.name for event in engine.events(0, 0)] == ["web"]
                engine.put_files("web", iter([b"a" * 100_000, b"", b"b"]))
                assert server.asked[-1].body == b"a" * 100_000 + b"b"
            assert server.connections - before <= 1
    expected = "localhost" if way == "socket" else server.host
    assert {asked.header("Host") for asked in server.asked} == {expected}
    assert all(asked.split()[1].startswith("/docker/") == (way == "a path") for asked in server.asked)


def test_environment_of_other_programs_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine localhost login a password b\nmachine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("ALL_PROXY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    def answer(request: str) -> Iterable[bytes]:
        yield json_answer(VERSION if request.endswith("/version") else INFO)

    with Misbehaving(answer) as remote, Misbehaving(answer, tmp_path / "s") as local:
        for host, server in ((f"tcp://{remote.host}", remote), (local.host, local)):
            with contextlib.closing(DockerEngine(host)) as engine:
                engine.connect()
            assert "authorization" not in "".join(server.heads).lower()


# -- errors --------------------------------------------------------------------------------------------

CUT = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"Id"'
LONG = "x" * 10_000
FAULTS: dict[str, tuple[list[bytes], type[EngineError], str]] = {
    "404": ([json_answer({"message": "No such image: app"}, 404)], NotFoundError, "^No such image: app$"),
    "404 without a body": ([http(404)], NotFoundError, "HTTP 404"),
    "404 of a proxy": ([http(404, b"<h1>Not Found</h1>")], DeniedError, "denies this call: .* HTTP 404: <h1>"),
    "404 of a proxy, as JSON": ([json_answer({"error": "x"}, 404)], DeniedError, "denies this call: .* HTTP 404"),
    "409": ([json_answer({"message": "in use"}, 409)], ConflictError, "^in use$"),
    "400": ([json_answer({"message": "client too new"}, 400)], AnswerError, "image_inspect: HTTP 400: client too new"),
    "401": ([http(401)], EngineUnavailableError, "^image_inspect: HTTP 401$"),
    "403": ([http(403, b"Forbidden")], DeniedError, "a socket proxy .* denies this call: .* Forbidden"),
    **{
        f"{status} of an engine itself: {said}": ([json_answer({"message": said}, status)], ConflictError, f"^{said}$")
        for status, said in (
            (403, "invalid pool request: Pool overlaps with other one on this address space"),
            (403, "cannot create network 1: conflicts with network 2: networks have same bridge name"),
            (403, "endpoint with name web already exists in network front"),
            (500, "network dm-0e1f is already using parent interface eth0"),
        )
    },
    "405": ([http(405, b"Method")], DeniedError, "a socket proxy .* denies this call: .* Method"),
    "429": ([http(429, b"", "Retry-After: 3")], EngineUnavailableError, "HTTP 429"),
    "500": ([json_answer({"message": "boom\x1b[31m\nnext"}, 500)], AnswerError, r"HTTP 500: boom\\x1b\[31m next$"),
    "500, long": ([json_answer({"message": LONG}, 500)], AnswerError, "x…$"),
    "500 without message": ([json_answer({"error": "x"}, 500)], AnswerError, "HTTP 500"),
    "500 with a list": ([json_answer([], 500)], AnswerError, "HTTP 500"),
    "500 with null": ([json_answer(None, 500)], AnswerError, "HTTP 500"),
    "500 with a message that is none": ([json_answer({"message": {}}, 500)], AnswerError, "HTTP 500"),
    "503": ([http(503, b"<h1>x</h1>")], EngineUnavailableError, "HTTP 503: <h1>x"),
    "not json": ([http(200, b"hello")], AnswerError, "cannot be used"),
    "null": ([json_answer(None)], AnswerError, "image: an object was expected, not null"),
    "list": ([json_answer([])], AnswerError, "image: an object was expected, not a list"),
    "empty": ([json_answer({})], AnswerError, "image: Id is missing"),
    "wrong type": ([json_answer({**IMAGE, "RepoTags": [1]})], AnswerError, "RepoTags holds a number"),
    "deep": ([http(200, b"[" * 100_000)], AnswerError, "cannot be used"),
    "digits": ([http(200, b'{"Size": ' + b"9" * 10_000 + b"}")], AnswerError, "cannot be used"),
    "cut": ([CUT, CLOSE], EngineUnavailableError, "image_inspect"),
    "chunk cut": ([CHUNKED, b'ff\r\n{"Id"', CLOSE], EngineUnavailableError, "image_inspect"),
    "length that nothing holds": (
        [CUT.replace(b"500", b"9" * 15), CLOSE],
        EngineUnavailableError,
        "image_inspect",
    ),
    "chunk of no size": ([CHUNKED, b"x\r\n"], EngineUnavailableError, "image_inspect"),
    "length of no number": ([CUT.replace(b"500", b"x")], EngineUnavailableError, "image_inspect"),
    "headers without end": (
        [b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 200_000],
        EngineUnavailableError,
        "headers without end",
    ),
    "header without end": ([b"HTTP/1.1 200 OK\r\n", b"A" * 100 * 2**16], EngineUnavailableError, "headers without end"),
    "closed at once": ([CLOSE], EngineUnavailableError, "image_inspect"),
    "garbage": ([b"SSH-2.0-x\r\n\r\n", CLOSE], EngineUnavailableError, "image_inspect"),
    "redirect": ([http(301, b"", "Location: http://127.0.0.1:9/x")], AnswerError, "not a Docker Engine"),
    "redirect to itself": ([http(307, b"", "Location: /x")], AnswerError, "not a Docker Engine"),
}
RESULTS = {
    NotFoundError: "not_found", ConflictError: "conflict",
    EngineUnavailableError: "unavailable", DeniedError: "unavailable",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(fault: str, tmp_path: Path) -> None:
    pieces, kind, text = FAULTS[fault]
    with fake(tmp_path, lambda _: pieces) as it:
        with pytest.raises(EngineError, match=text) as caught:
            it.engine.image("app:1")
        assert type(caught.value) is kind
        assert len(str(caught.value)) < 600
        assert str(caught.value).isprintable()
        assert it.observed == [("image_inspect", RESULTS.get(kind, "error"))]


@pytest.mark.parametrize(
    ("operation", "ask"),
    [
        ("image_inspect", lambda engine: engine.image("app:1")),
        ("container_inspect", lambda engine: engine.container("web")),
        ("volume_inspect", lambda engine: engine.volume("data")),
        ("network_inspect", lambda engine: engine.network("back")),
        ("node_inspect", lambda engine: engine.services()),
    ],
)
def test_a_request_whose_answer_cannot_be_used_is_counted_as_failed(
    operation: str, ask: Callable[[DockerEngine], object], tmp_path: Path
) -> None:
    leads = {**INFO, "Swarm": {"LocalNodeState": "active", "ControlAvailable": True, "NodeID": "n1"}}
    with fake(tmp_path, lambda _: [json_answer([])], info=leads) as it:
        with pytest.raises(AnswerError, match="an object was expected"):
            ask(it.engine)
        assert [each for each in it.observed if each[0] != "info"] == [(operation, "error")]


ALSO_HTTP: dict[str, list[bytes]] = {
    "answers before the answer": [
        *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        json_answer(IMAGE),
    ],
    "chunks with remarks": [CHUNKED, chunk(json.dumps(IMAGE).encode()).replace(b"\r", b";x=y\r", 1), LAST_CHUNK],
    "a trailer": [CHUNKED, chunk(json.dumps(IMAGE).encode()), b"0\r\nDigest: x\r\n\r\n"],
    "no length": [b"HTTP/1.1 200 OK\r\n\r\n", json.dumps(IMAGE).encode(), CLOSE],
    "the old version": [json_answer(IMAGE).replace(b"/1.1", b"/1.0"), CLOSE],
    "lines that end as in files": [json_answer(IMAGE).replace(b"\r\n", b"\n")],
    "two lengths": [
        CHUNKED.replace(b"\r\n", b"\r\nContent-Length: 7\r\n", 1),
        chunk(json.dumps(IMAGE).encode()),
        LAST_CHUNK,
    ],
    "chunks with spaces": [CHUNKED, chunk(json.dumps(IMAGE).encode()).replace(b"\r", b" \r", 1), LAST_CHUNK],
    "more than the answer": [json_answer(IMAGE) + b"<p>"],
    "two answers": [json_answer(IMAGE) + http(408, b"late")],
}


@pytest.mark.parametrize("form", ALSO_HTTP)
def test_each_form_of_an_answer_is_read_to_its_end(form: str, tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: ALSO_HTTP[form]) as it:
        first, second = it.engine.image("app:1"), it.engine.image("app:1")
        assert (first.id, second) == (IMAGE["Id"], first)


def test_no_answer_is_asked_for_that_is_packed(tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: [json_answer(IMAGE)]) as it:
        it.engine.image("app:1")
        assert "\nAccept-Encoding: identity\r\n" in it.server.heads[-1]


@pytest.mark.parametrize("said", [b"close", b"Close", b"upgrade, close"])
def test_a_connection_that_is_over_is_not_used_again(said: bytes, tmp_path: Path) -> None:
    last = json_answer(IMAGE).replace(b"\r\n\r\n", b"\r\nConnection: " + said + b"\r\n\r\n")
    with fake(tmp_path, lambda _: [last]) as it:
        before = it.server.connections
        for _ in range(3):
            it.engine.image("app:1")
        assert it.server.connections >= before + 2


@pytest.mark.parametrize("way", ["socket", "tcp"])
@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_who_closes_a_connection_amid_a_question_is_asked_again(way: str, end: bytes, tmp_path: Path) -> None:
    ends: list[list[bytes]] = []  # of the next answers

    def answer(request: str) -> Iterable[bytes]:
        if ends:
            return ends.pop()
        usual = {"version": VERSION, "info": INFO, "images/json": [], "app:1/json": IMAGE}
        return [next((json_answer(usual[end]) for end in usual if f"{end}?" in f"{request}?"), http(200))]

    with (
        Misbehaving(answer, tmp_path / "s" if way == "socket" else None) as server,
        contextlib.closing(DockerEngine(server.host if way == "socket" else f"tcp://{server.host}")) as engine,
    ):
        engine.connect()
        for ask in (lambda: engine.image("app:1"), engine.images, lambda: list(engine.events(0, 0))):
            server.asked.clear()
            ends.append([end])
            ask()
            assert len(server.asked) == 2
        engine.image("app:1")
        server.asked.clear()
        ends += [[end], [end]]
        with pytest.raises(EngineUnavailableError):  # who closes a new one, too, wants nothing of us
            engine.image("app:1")
        assert len(server.asked) == 2
        for change in (lambda: engine.untag("app:1"), lambda: engine.tag("sha256:" + "0" * 64, "app:2")):
            ends.clear()
            engine.image("app:1")
            server.asked.clear()
            ends.append([end])
            with pytest.raises(EngineUnavailableError):  # it may have been done
                change()
            assert len(server.asked) == 1


@pytest.mark.parametrize("said", [http(200, b"abc"), http(200, b"abc")[:-1], b"SSH-2.0"])
def test_an_answer_goes_without_a_collection_of_garbage(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        gone: list[bool] = []

        class Seen(Answer):
            def __init__(self) -> None:
                weakref.finalize(self, gone.append, True)
                super().__init__("GET", ours, dict)

        with contextlib.suppress(OSError):
            Seen().rest()
        assert gone


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_who_refuses_a_request_before_the_whole_of_it_came_is_heard(
    family: socket.AddressFamily, tmp_path: Path
) -> None:
    is_local = family == socket.AF_UNIX
    with socket.socket(family) as listener, ThreadPoolExecutor() as threads:
        listener.bind(str(tmp_path / "s") if is_local else ("127.0.0.1", 0))
        listener.listen()
        where = (str(tmp_path / "s"), "") if is_local else ("", f"http://127.0.0.1:{listener.getsockname()[1]}")

        def refuse() -> None:
            with listener.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(http(403, b"no"))

        refused = threads.submit(refuse)
        with contextlib.closing(Pool(Endpoint(*where))) as pool:
            answer = pool.ask("POST", "/containers/create", (5, 5), b"x" * 2**25)
            said = answer.rest()
        assert (answer.status, said, refused.result()) == (403, b"no", None)


@pytest.mark.parametrize("length", [1, 5, 20])
def test_a_refusal_that_comes_in_pieces_is_read_whole(length: int, tmp_path: Path) -> None:
    said = json_answer({"message": "no such container: web"}, 404)
    at = said.index(b"\r\n\r\n") + 4 + length
    with fake(tmp_path, lambda _: [said[:at], PAUSE, said[at:]]) as it, pytest.raises(NotFoundError, match=r"^no such"):
        it.engine.remove_container("web")


@pytest.mark.parametrize("path", ["/images/a b/json", "/images/a\r\nHost: x/json", "/images/é/json", ""])
def test_a_path_that_would_end_early_is_not_sent(path: str) -> None:
    with contextlib.closing(Pool(Endpoint("/nowhere", ""))) as pool, pytest.raises(ValueError):
        pool.ask("GET", path, (5, 5))


@pytest.mark.parametrize("pieces", [[HANG], [http(200, b"x" * 10)[:-5], HANG]])
def test_engine_that_hangs(pieces: list[bytes], tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: pieces, timeout=0.2) as it:
        with pytest.raises(EngineUnavailableError, match="did not answer in time"):
            it.engine.image("app:1")
        assert it.observed == [("image_inspect", "unavailable")]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *(("untag", "docker.io/library/app:1"), ("remove_volume", "app")),
        *(("remove_container", "app"), ("remove_network", "app")),
    ],
)
def test_removal_may_take_longer_than_other_answers(method: str, name: str, tmp_path: Path) -> None:
    def late(_request: str) -> Iterable[bytes]:
        time.sleep(0.5)
        yield json_answer([])

    with fake(tmp_path, late, timeout=0.1) as it:
        getattr(it.engine, method)(name)


def a_task(state: str, desired: str, why: str = "", image: str = "app:2", at: int = 1) -> dict[str, object]:
    status = {"State": state, "Err": why, "Timestamp": f"2026-01-01T00:00:0{at}Z"}
    return {"DesiredState": desired, "Status": status, "Spec": {"ContainerSpec": {"Image": image}}}


_NO_NODE = "no suitable node (port in use)"


@pytest.mark.parametrize(
    ("state", "condition", "tasks", "told"),
    [
        ("updating", "any", [a_task("pending", "running", _NO_NODE)], (_NO_NODE, _NO_NODE, False)),
        # It waits for the one before to end, which may take as long as that wants.
        ("updating", "any", [a_task("pending", "ready", _NO_NODE)], ("", _NO_NODE, False)),
        ("completed", "any", [a_task("failed", "shutdown", "exit (3)", "app:1")], ("", "", False)),  # the one before
        ("completed", "any", [a_task("failed", "shutdown", "exit (3)")], ("", "exit (3)", False)),
        ("rollback_completed", "any", [a_task("failed", "shutdown", "exit (3)", "app:3")], ("", "exit (3)", False)),
        ("", "on-failure", [a_task("complete", "shutdown")], ("", "", True)),
        ("", "any", [a_task("complete", "shutdown")], ("", "", False)),
        (
            "",
            "none",
            [a_task("failed", "shutdown", "exit (3)"), a_task("complete", "shutdown", at=2)],
            ("", "exit (3)", True),
        ),
        (
            "",
            "none",
            [a_task("failed", "shutdown", "exit (3)", at=2), a_task("complete", "shutdown")],
            ("", "exit (3)", False),
        ),
        ("", "on-failure", [], ("", "", False)),
    ],
)
@pytest.mark.parametrize("mode", [{"Replicated": {"Replicas": 1}}, {"Global": {}}], ids=["replicated", "global"])
def test_what_tasks_tell_of_their_service(
    state: str,
    condition: str,
    tasks: list[object],
    told: tuple[str, str, bool],
    mode: dict[str, object],
    tmp_path: Path,
) -> None:
    template = {"ContainerSpec": {"Image": "app:2"}, "RestartPolicy": {"Condition": condition}}
    spec = {"Name": "web", "TaskTemplate": template, "Mode": mode}
    service = [{"ID": "web", "Spec": spec, "UpdateStatus": {"State": state}}]
    with fake(tmp_path, lambda request: [json_answer(tasks if "/tasks" in request else service)]) as it:
        found = it.engine.service("web")
    assert (found.unplaced, found.task_error, found.is_over) == told
    listed = (Path(__file__).parents[2] / "deploy/compose/requests-audit.txt").read_text().splitlines()
    for asked in it.server.asked:  # to judge is to ask so: a proxy that is made for it lets it through
        assert any(re.search(line, asked.partition("?")[0]) for line in listed), asked


PLACED = [{"Architecture": "amd64", "OS": "linux"}]


@pytest.mark.parametrize(
    ("told", "placed"),
    [
        (json_answer({"Platforms": [{"architecture": "arm64", "os": "linux"}]}), [("arm64", "linux")]),
        (json_answer({"Platforms": [{"architecture": "arm", "os": "linux", "variant": "v7"}]}), [("", "linux")]),
        (json_answer({"Platforms": []}), [("amd64", "linux")]),
        (json_answer({"Platforms": None}), [("amd64", "linux")]),
        (json_answer({"message": "denied"}, 403), [("amd64", "linux")]),
        (http(200, b"<html>"), [("amd64", "linux")]),
        (json_answer([]), [("amd64", "linux")]),
        (json_answer({"Platforms": 1}), [("amd64", "linux")]),
        (json_answer({"Platforms": ["arm"]}), [("amd64", "linux")]),
        (json_answer({"Platforms": [{"architecture": ["arm"]}]}), [("amd64", "linux")]),
    ],
)
def test_platforms_of_a_service_are_those_that_docker_s_client_would_ask_for(
    told: bytes, placed: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Nodes call theirs armv7l: none would take a task that asks for arm."""
    template = {"ContainerSpec": {"Image": "app:1"}, "Placement": {"Platforms": PLACED, "MaxReplicas": 1}}
    service = json_answer({"Version": {"Index": 7}, "Spec": {"TaskTemplate": template}})

    with fake(tmp_path, lambda request: [told if "/distribution/app:2/" in request else service]) as it:
        it.engine.update_service("web", "app:2")
        template = json.loads(it.server.asked[-1].body)["TaskTemplate"]
    assert (template["ContainerSpec"]["Image"], template["Placement"].pop("MaxReplicas")) == ("app:2", 1)
    found = [{key.lower(): value for key, value in each.items()} for each in template["Placement"]["Platforms"]]
    assert [(each["architecture"], each["os"]) for each in found] == placed


MANIFESTS = [
    {"ID": f"sha256:{word}", "Kind": "image", "Available": True, "ImageData": {"Platform": {"os": word}}}
    for word in ("linux", "other")
]
LINUX, THIRD = ({"digest": "sha256:old-linux", "platform": {"os": word}} for word in ("linux", "third"))
AWAY, PROOF = {**MANIFESTS[1], "Available": False}, {"ID": "sha256:proof", "Kind": "attestation", "Available": True}


@pytest.mark.parametrize(
    ("label", "descriptor", "manifests", "said"),
    [
        ("sha256:old-linux", LINUX, [*MANIFESTS, PROOF], "sha256:linux"),
        ("sha256:old-linux", THIRD, [MANIFESTS[0], AWAY], "sha256:linux"),
        ("sha256:old-linux", THIRD, MANIFESTS, "sha256:new"),
        ("sha256:old-linux", LINUX, None, "sha256:new"),
        (ID, LINUX, MANIFESTS, "sha256:new"),  # Compose before 5.4
        ("sha256:older", LINUX, MANIFESTS, "sha256:new"),
        (ID, None, None, "sha256:new"),  # stores and engines that do not tell
        (ID, {**LINUX, "digest": ID}, [MANIFESTS[0]], "sha256:new"),  # without an index
    ],
)
def test_compose_s_label_names_the_newer_image_as_it_named_the_one_before(
    label: str, descriptor: object, manifests: object, said: str, tmp_path: Path
) -> None:
    """Else its next `up` makes the container anew for nothing."""
    config = {"Image": "app:1", "Labels": {"com.docker.compose.image": label}}
    body = renewed(tmp_path, {"Config": config, "ImageManifestDescriptor": descriptor}, Manifests=manifests)
    assert body["Labels"] == {"com.docker.compose.image": said}


def renewed(folder: Path, fields: dict[str, object], **newer: object) -> dict[str, Any]:
    """The body that makes a container again from another image; fields of its inspect, and of that image's."""

    def answer(request: str) -> Iterable[bytes]:
        image = {"Id": "sha256:new", "Config": {}, **newer} if "/images/sha256:new/" in request else {"Config": {}}
        yield json_answer(
            {**CONTAINER, **fields} if "/containers/" in request else NETWORK if "/networks/" in request else image
        )

    with fake(folder, answer) as it:
        body: dict[str, Any] = it.engine.renewal(HEX, "sha256:new")["body"]
    return body


_MASKED = "/proc/acpi /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats /proc/sched_debug"
_MASKED_BY_18, _THROTTLE = f"{_MASKED} /proc/scsi /sys/firmware", "/sys/devices/system/cpu/cpu11/thermal_throttle"
_MASKED_BY_28 = f"/proc/asound {_MASKED_BY_18} /proc/interrupts /sys/devices/virtual/powercap"


@pytest.mark.parametrize(
    ("masked", "kept"),
    [
        *((paths, None) for paths in (_MASKED_BY_18, _MASKED_BY_28, f"{_MASKED_BY_28} {_THROTTLE}")),
        *((paths, paths.split()) for paths in ("", "/proc/kcore", _MASKED, f"{_MASKED_BY_28} /proc/mine")),
    ],
)
def test_what_an_older_engine_masked_unasked_is_no_wish(masked: str, kept: list[str] | None, tmp_path: Path) -> None:
    """A newer one masks more, for good reason."""
    body = renewed(tmp_path, {"HostConfig": {"NetworkMode": "front", "MaskedPaths": masked.split()}})
    assert body["HostConfig"]["MaskedPaths"] == kept


def test_what_a_privileged_one_masks_is_a_wish_as_no_engine_does_unasked(tmp_path: Path) -> None:
    host = {"NetworkMode": "front", "MaskedPaths": _MASKED_BY_28.split(), "Privileged": True}
    assert renewed(tmp_path, {"HostConfig": host})["HostConfig"]["MaskedPaths"] == host["MaskedPaths"]


AAA = {"IPAddress": "10.0.0.1", "NetworkID": "a" * 64}
WEB = {"IPAddress": "10.0.0.2", "NetworkID": "b" * 64, "GlobalIPv6Address": "fd00::2"}
SIX = {"IPAddress": "", "NetworkID": "c" * 64, "GlobalIPv6Address": "fd00::3"}


@pytest.mark.parametrize(
    ("mode", "networks", "addresses"),
    [
        ("web", {"aaa": AAA, "web": WEB}, ["10.0.0.2", "10.0.0.1"]),  # an engine lists them by their names
        ("b" * 64, {"aaa": AAA, "web": WEB}, ["10.0.0.2", "10.0.0.1"]),
        ("default", {"aaa": AAA, "bridge": WEB}, ["10.0.0.2", "10.0.0.1"]),
        ("web", {"aaa": AAA, "web": SIX}, ["fd00::3", "10.0.0.1"]),
        ("web", {"aaa": AAA, "web": {**AAA, "IPAddress": ""}}, ["10.0.0.1"]),
        ("web", {"aaa": AAA}, ["10.0.0.1"]),  # it left that
        ("none", {"none": {**AAA, "IPAddress": ""}}, []),
        ("host", {"host": {**AAA, "IPAddress": ""}}, ["127.0.0.1"]),
    ],
)
def test_a_container_is_asked_in_its_first_network_first(
    mode: str, networks: dict[str, object], addresses: list[str], tmp_path: Path
) -> None:
    container = {**CONTAINER, "HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": networks}}
    with fake(tmp_path, lambda _: [json_answer(container)]) as it:
        assert it.engine.addresses("web") == addresses


@pytest.mark.parametrize(
    ("had", "has", "joins"),
    [
        ({"IPAMConfig": None}, {"IPAMConfig": {"IPv4Address": "10.0.0.5"}}, ["disconnect", "connect"]),
        ({"IPAMConfig": {}}, {"IPAMConfig": {"IPv4Address": "10.0.0.5"}, "MacAddress": "9e:11:22:33:44:55"}, []),
        ({"IPAMConfig": {"IPv4Address": "10.0.0.5"}}, {"IPAMConfig": {"IPv4Address": "10.0.0.5"}}, []),
        ({"IPAMConfig": {}}, {"IPAMConfig": None}, []),
        (None, {}, []),
    ],
)
def test_an_address_that_nobody_asked_for_goes_but_not_with_one_that_only_a_birth_gives(
    had: object, has: object, joins: list[str], tmp_path: Path
) -> None:
    def answer(request: str) -> Iterable[bytes]:
        networks = {"wide": had if f"/{OTHER_HEX}/" in request else has}
        return [json_answer({**CONTAINER, "NetworkSettings": {"Networks": networks}} if "json" in request else {})]

    with fake(tmp_path, answer) as it:
        it.engine.start_container(HEX, OTHER_HEX)
        posts = [asked.split()[1].rpartition("/")[2] for asked in it.server.asked if asked.startswith("POST")]
    assert posts == [*joins, "start"]


@pytest.mark.parametrize(("changes", "is_updated"), [("note", True), ("spec", False), ("always", False)])
def test_a_service_that_its_swarm_notes_something_of_amid_an_update_is_updated_if_nobody_changed_it(
    changes: str, tmp_path: Path, *, is_updated: bool
) -> None:
    """As it does with each task of an update that is under way, so that its undo would fail."""
    index, taken = 7, list[str]()
    spec = {"Labels": {"by": "whom"}, "TaskTemplate": {"ContainerSpec": {"Image": "app:1"}}}

    def answer(request: str) -> Iterable[bytes]:
        nonlocal index
        if not request.startswith("POST"):
            return [json_answer({"Version": {"Index": index}, "Spec": spec})]
        if index == 7 or changes == "always":  # between our look and our request
            index += 1
            spec["Labels"] = {"by": "somebody else" if changes == "spec" else "whom"}
        if not request.endswith(f"version={index}"):
            return [json_answer({"message": "rpc error: code = Unknown desc = update out of sequence"}, 500)]
        taken.append(request)
        return [json_answer({})]

    with fake(tmp_path, answer) as it, contextlib.ExitStack() as stack:
        if not is_updated:
            stack.enter_context(pytest.raises(EngineError, match="out of sequence"))
        it.engine.update_service("web", "app:2")
    assert len(taken) == is_updated


@pytest.mark.parametrize(("mode", "is_whole"), [(0o644, False), (0o644 | 1 << 24, True), (None, False)])
def test_an_export_without_a_file_that_was_written_is_none_unless_that_is_a_socket(
    mode: int | None, tmp_path: Path, *, is_whole: bool
) -> None:
    export, told = io.BytesIO(), base64.b64encode(json.dumps({"name": "b", "mode": mode}).encode()).decode()
    with tarfile.open(fileobj=export, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a"))

    def answer(request: str) -> Iterable[bytes]:
        if request.endswith("/export"):
            yield http(200, export.getvalue())
        elif request.endswith("/web/json"):
            yield http(200, b'{"HostConfig": {}}')
        else:
            yield http(404 if mode is None else 200, b"", f"X-Docker-Container-Path-Stat: {told}")

    with (
        fake(tmp_path, answer) as it,
        contextlib.nullcontext() if is_whole else pytest.raises(EngineError),
    ):
        it.engine.save_files("web", ["/a", "/b"], bytes)


@pytest.mark.parametrize("length", [10_240, 700, 512, 0])
def test_files_that_an_engine_cannot_give_whole_are_not_carried_over(length: int, tmp_path: Path) -> None:
    about = {"name": "b", "mode": 0o644, "size": 300, "mtime": "2026-01-01T00:00:05Z"}
    told, archive = base64.b64encode(json.dumps(about).encode()).decode(), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        file = tarfile.TarInfo("b")
        file.size = 300
        tar.addfile(file, io.BytesIO(bytes(300)))

    def answer(request: str) -> Iterable[bytes]:
        if request.endswith("/changes"):
            yield json_answer([{"Path": "/b", "Kind": 1}])
        elif request.endswith("/web/json"):
            yield json_answer({"HostConfig": {}, "State": {}, "Created": "2026-01-01T00:00:00Z"})
        else:
            content = b"" if request.startswith("HEAD") else archive.getvalue()[:length]
            yield http(200, content, f"X-Docker-Container-Path-Stat: {told}")

    with fake(tmp_path, answer) as it:
        if length == len(archive.getvalue()):
            assert it.engine.carry("web") == ("/b",)
        else:
            with pytest.raises(EngineError, match="ended early"):
                it.engine.carry("web")


def test_what_ssh_brings_in_place_of_http_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\necho welcome\nexec cat >/dev/null\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    there = endpoint.locate("ssh://h", None, "DOCKER_HOST")
    with transport.Client(there, None, "1.41", 10.0) as client, pytest.raises(transport.LIBRARY_ERRORS) as caught:
        client.read("/info", "info")
    assert "welcome" in str(transport.translated(caught.value, "info", there))


def test_fault_in_the_hands_of_a_caller_who_handles_another(tmp_path: Path) -> None:
    answers = iter([json_answer({"message": "gone"}, 404), http(200, b"hello")])
    with fake(tmp_path, lambda _: [next(answers)]) as it:
        try:
            it.engine.image("app:1")
        except NotFoundError:
            with pytest.raises(EngineError, match="cannot be used"):
                it.engine.image("app:1")
        else:
            pytest.fail("the first answer is a 404")


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match=r"does not exist: is the engine running.*DOCKER_HOST.*mounted"):
        DockerEngine(f"unix://{tmp_path}/none").connect()


def test_a_name_that_nobody_knows_says_where_it_is_from() -> None:
    with pytest.raises(EngineUnavailableError, match=r"nohost\.invalid.*: DOCKER_HOST or the docker context names it"):
        DockerEngine("tcp://nohost.invalid").connect()


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_no_socket(make: Callable[[Path], None], tmp_path: Path) -> None:
    """As Docker makes a folder where a container is to have a socket that the host does not have."""
    make(there := tmp_path / "docker.sock")
    with pytest.raises(EngineUnavailableError, match=r"nothing listens at .*docker\.sock: it is no socket"):
        DockerEngine(f"unix://{there}").connect()


def test_a_folder_with_something_in_it_is_not_said_to_have_to_go(tmp_path: Path) -> None:
    (tmp_path / "docker.sock").touch()
    with pytest.raises(EngineUnavailableError, match=r"it is no socket$"):
        DockerEngine(f"unix://{tmp_path}").connect()


def test_a_mounted_socket_that_was_made_anew(tmp_path: Path) -> None:
    """As after an engine with live restore was restarted: the container has the socket of before."""
    asks = """if True:
        import pathlib, socket
        from dockwarden.engine import DockerEngine
        pathlib.Path("there").unlink()
        with socket.socket(socket.AF_UNIX) as anew:
            anew.bind("there")
            anew.listen()
            try:
                DockerEngine(f"unix://{pathlib.Path.cwd()}/here").connect()
            except Exception as error:
                print(error)"""
    with socket.socket(socket.AF_UNIX) as before:
        before.bind(str(tmp_path / "there"))
    (tmp_path / "here").touch()
    script = ("sh", "-c", 'mount --bind there here && exec "$@"', "-", sys.executable, "-c", asks)
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", *script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "here: the engine has removed this socket since it was mounted; restart this container" in done.stdout


def test_stale_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
    with pytest.raises(EngineUnavailableError, match=r"nothing listens at .*: is the engine running"):
        DockerEngine(f"unix://{tmp_path}/s").connect()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(EngineUnavailableError, match="nothing listens at http://127"):
            DockerEngine(f"tcp://127.0.0.1:{silent.getsockname()[1]}").connect()


@pytest.mark.parametrize(
    ("gid", "told"),
    [(0, "group root (gid 0): add the user to it, or run the container with --group-add 0"), (65534, "--userns=host")],
)
def test_no_permission_names_the_group_and_the_remedy(tmp_path: Path, gid: int, told: str) -> None:
    path = tmp_path / "s"
    path.touch()
    os.chown(path, -1, gid)
    refused = requests.ConnectionError("x")
    refused.__cause__ = PermissionError(13, "Permission denied")
    error = transport.translated(refused, "version", endpoint.Endpoint(str(path), ""))
    assert isinstance(error, EngineUnavailableError)
    assert told in str(error)


def test_unknown_host() -> None:
    with pytest.raises(EngineUnavailableError, match=r"^http://none\.invalid:2375: \w"):
        DockerEngine("tcp://none.invalid:2375", timeout=5).connect()


def test_path_of_a_socket_that_is_too_long() -> None:
    with pytest.raises(EngineUnavailableError):
        DockerEngine(f"unix:///{'x' * 200}").connect()


# -- events --------------------------------------------------------------------------------------------


def lines(*events: object, end: bytes = LAST_CHUNK) -> list[bytes]:
    return [CHUNKED, *(chunk(json.dumps(event).encode() + b"\n") for event in events), end]


def test_events_of_a_window(tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: lines(EVENT, EVENT)) as it:
        now = time.time_ns()
        assert [event.name for event in it.engine.events(now - 1, now)] == ["web", "web"]
        [asked] = it.server.asked
        assert f"since={(now - 1) // SECOND}.{(now - 1) % SECOND:09d}" in asked
        assert f"until={now // SECOND}.{now % SECOND:09d}" in asked
        assert "exec_" not in asked
        assert it.observed == [("events", "ok")]


def test_events_come_as_they_happen(tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: [*lines(EVENT, end=b""), HANG]) as it:
        stream = it.engine.events(0, time.time_ns() + 60 * SECOND)
        assert next(stream).action == "health_status"
        stream.close()


def test_lines_need_not_be_chunks(tmp_path: Path) -> None:
    text = json.dumps(EVENT).encode()
    pieces = [CHUNKED, chunk(text[:7]), chunk(text[7:] + b"\n\n" + text + b"\n" + text), LAST_CHUNK]
    with fake(tmp_path, lambda _: pieces) as it:
        assert len(list(it.engine.events(0, 0))) == 3


@pytest.mark.parametrize(
    ("end", "text"),
    [(LAST_CHUNK, "ended early"), (CLOSE, "less than engine.event_w"), (RESET, "ended early"), (b"zz\r\n", "no HTTP")],
)
def test_stream_that_ends_before_its_window(end: bytes, text: str, tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: [*lines(EVENT, end=end), CLOSE]) as it:
        names = []
        with pytest.raises(EngineUnavailableError, match=text):
            names += [event.name for event in it.engine.events(0, time.time_ns() + 60 * SECOND)]
        assert names in ([], ["web"])


@pytest.mark.parametrize("pieces", [[HANG], [CHUNKED, HANG], [*lines(EVENT, end=b""), HANG]])
def test_stream_that_falls_silent(pieces: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockwarden.engine.client._GRACE_SECONDS", 0.2)
    with fake(tmp_path, lambda _: pieces) as it, pytest.raises(EngineUnavailableError, match="in time"):
        list(it.engine.events(0, time.time_ns()))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http(403, b"no"), DeniedError),
        (http(503), EngineUnavailableError),
        (json_answer({"message": "bad filter"}, 400), AnswerError),
        (json_answer({"message": "boom"}, 500), AnswerError),
        (http(302, b"", "Location: /x"), AnswerError),
        (http(204), AnswerError),
    ],
)
def test_subscription_that_is_refused(answer: bytes, kind: type[EngineError], tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: [answer]) as it:
        with pytest.raises(EngineError) as caught:
            it.engine.events(0, time.time_ns() + 60 * SECOND)
        assert type(caught.value) is kind


def test_line_that_cannot_be_read(tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: [CHUNKED, chunk(b"{}\n"), HANG]) as it:
        stream = it.engine.events(0, time.time_ns() + 60 * SECOND)
        with pytest.raises(EngineError, match="event: Type is missing"):
            next(stream)


def test_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_LINE_BYTES", 1000)
    with fake(tmp_path, lambda _: [CHUNKED, *[chunk(b"x" * 100)] * 20, HANG]) as it:
        stream = it.engine.events(0, time.time_ns() + 60 * SECOND)
        with pytest.raises(EngineError, match="longer than"):
            next(stream)


def test_replayed_counts_events_of_any_kind(tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: lines(EVENT, {"Type": "builder"}, EVENT)) as it:
        assert it.engine.replayed(0, 1) == 3
        assert "filters" not in it.server.asked[0]


def test_other_requests_go_on_beside_a_stream(tmp_path: Path) -> None:
    def answer(request: str) -> Iterable[bytes]:
        return [CHUNKED, HANG] if "/events" in request else [json_answer(IMAGE)]

    with fake(tmp_path, answer) as it:
        stream = it.engine.events(0, time.time_ns() + 60 * SECOND)
        threads = [threading.Thread(target=it.engine.image, args=(f"app:{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert it.observed.count(("image_inspect", "ok")) == 8
        stream.close()


# -- names that strangers chose ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("docker.io/library/app:1", "/images/docker.io/library/app:1"),
        ("app:1", "/images/docker.io/library/app:1"),
        (f"h.io:5000/app@{ID}", f"/images/h.io:5000/app%40{ID}"),
        (f"moby-dangling@{ID}", f"/images/moby-dangling%40{ID}"),
        ("dockwarden.invalid/marker:0123", "/images/dockwarden.invalid/marker:0123"),
        # The engine would take these for the beginning of an ID, were they not written out.
        ("0123456789ab:latest", "/images/docker.io/library/0123456789ab:latest"),
        ("sha256:0123456789ab", "/images/docker.io/library/sha256:0123456789ab"),
    ],
)
def test_untag_never_forces(reference: str, path: str, tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: [json_answer([])]) as it:
        it.engine.untag(reference)
        [asked] = it.server.asked
        assert asked.split("?")[0] == f"DELETE /v1.41{path}"
        assert "force=false" in asked.lower()


@pytest.mark.parametrize("name", [ID, HEX, "0123456789ab", "app", "h.io:5000/app", "", "../containers/x:1", "a/../b:1"])
def test_untag_refuses_what_is_not_a_full_name(name: str, tmp_path: Path) -> None:
    with fake(tmp_path) as it, pytest.raises(ValueError):
        it.engine.untag(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../containers/x", "a/../../b", "a//b", "/a"])
def test_name_cannot_leave_its_place(name: str, tmp_path: Path) -> None:
    with fake(tmp_path) as it:
        for ask in (it.engine.image, it.engine.container, it.engine.volume, it.engine.network):
            with pytest.raises(NotFoundError):
                ask(name)
        with pytest.raises(NotFoundError):
            it.engine.tag(name, "app:1")


@pytest.mark.parametrize("name", ["a?force=1", "a#b", "a b", "ä", "a%2e%2e", "a\r\nX: y"])
def test_name_is_quoted(name: str, tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: [http(404)]) as it:
        with pytest.raises(NotFoundError):
            it.engine.volume(name)
        [asked] = it.server.asked
        assert not set("?# \r\n") & set(asked.removeprefix("GET "))


def test_repository_filter_is_no_pattern(tmp_path: Path) -> None:
    with fake(tmp_path, lambda _: [json_answer([])]) as it:
        list(it.engine.images("docker.io/library/app"))
        list(it.engine.images("[::1]:5000/app"))
        assert "reference%22%3A+%5B%22app%22%5D" in it.server.asked[0]
        assert "%5C%5C%5B%3A%3A1%5D" in it.server.asked[1]


def test_users_are_those_of_the_very_image(tmp_path: Path) -> None:
    rows = [{"Id": "a", "ImageID": ID}, {"Id": "child", "ImageID": "sha256:other"}, {"Id": "b", "ImageID": ID}]
    with fake(tmp_path, lambda _: [json_answer(rows)]) as it:
        assert it.engine.users_of(ID) == ["a", "b"]


@pytest.mark.parametrize("content", [None, "a = " + "[" * 100_000, "#" * 2_000_000, "root = ["])
def test_a_configuration_of_containerd_that_cannot_be_read_says_nothing(tmp_path: Path, content: str | None) -> None:
    config, data = tmp_path / "config.toml", tmp_path / "data"
    (data / "containerd/daemon/io.containerd.metadata.v1.bolt").mkdir(parents=True)
    if content is None:
        os.mkfifo(config)
    else:
        config.write_text(content)
    assert disk.image_root(ImageStore.CONTAINERD, str(data), "", str(config)) == f"{data}/containerd/daemon"


def test_layers_that_nobody_knows_are_counted_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, of_build, stray = "known0123", "of-build1", "stray2345"
    for folder in ("l", known, of_build, stray):
        (tmp_path / "overlay2" / folder).mkdir(parents=True)
    layer = tmp_path / "image/overlay2/layerdb/sha256/x"
    layer.mkdir(parents=True)
    (layer / "cache-id").write_text(known)
    (tmp_path / "buildkit").mkdir()
    monkeypatch.setattr(disk, "_PIECE_BYTES", 8)
    for before in range(20):  # wherever a piece ends
        (tmp_path / "buildkit/metadata_v2.db").write_bytes(b"\0" * before + of_build.encode() + b"\0" * 9)
        assert disk.stray_layers(str(tmp_path)) == 1
    (tmp_path / "buildkit/snapshots.db").write_bytes(b"x" + stray.encode())
    assert disk.stray_layers(str(tmp_path)) == 0
    (tmp_path / "buildkit/snapshots.db").unlink()
    monkeypatch.setattr(disk, "_MOST_COMPARED", 20)
    assert disk.stray_layers(str(tmp_path)) is None

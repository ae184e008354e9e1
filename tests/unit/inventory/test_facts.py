"""The vocabulary: every fact exists with its type, has the right value, and can be read of any object."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden import versions
from dockwarden.inventory.bases import Bases
from dockwarden.inventory.facts import VOCABULARY, fill
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.view import View
from dockwarden.model import (
    BuildStep,
    Container,
    Facts,
    FactSpec,
    FactValue,
    Image,
    ImageDetails,
    ImageStore,
    Kind,
    Mount,
    Network,
    Ref,
    Service,
    Volume,
    ref_of,
)
from dockwarden.model.told import EMPTY, TOLD
from dockwarden.ports import Ask, Disk, Reply, Usage
from dockwarden.text import moment
from tests.builders import (
    DAY,
    HOUR,
    NOW,
    UNLIMITED,
    Ticks,
    a_container,
    a_mount,
    a_network,
    a_service,
    a_volume,
    an_engine,
    an_image,
    an_inventory,
    details,
    digest_of,
    hexadecimal,
    image_id,
)
from tests.tables import each

APP = Ref(Kind.IMAGE, image_id("app"))
APP_TAG = Ref(Kind.TAG, "docker.io/library/app:1")
WEB = Ref(Kind.CONTAINER, a_container("web").id)
DATA = Ref(Kind.VOLUME, "data")
FRONT = Ref(Kind.NETWORK, a_network("front").id)
SERVICE = Ref(Kind.SERVICE, a_service().id)
HOST = Ref(Kind.HOST, "")


def facts_of(
    inventory: Inventory,
    ref: Ref,
    *,
    disk: Disk | None = None,
    replies: dict[Ask, Reply] | None = None,
    usage: Usage | None = None,
    unique: dict[str, int] | None = None,
    measured: dict[tuple[str, str], FactValue] | None = None,
) -> dict[str, FactValue]:
    """Every fact that can be had of an object."""
    sheet = Facts()
    is_known = inventory.detailed == len(inventory.images)
    bases = Bases(inventory.images.values(), inventory.histories) if is_known else None
    view = View(inventory, NOW, disk, replies or {}, usage, unique, bases, measured or {})
    fill(sheet, VOCABULARY[ref.kind], ref, view)
    return sheet.known


def fact(inventory: Inventory, ref: Ref, name: str) -> FactValue:
    return facts_of(inventory, ref)[name]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# -- the vocabulary as the policy language promises it -------------------------------------------------------

_PROMISED = {
    Kind.IMAGE: {
        "image": "id short_id ref tags repositories digests size labels created dangling in_use container_count "
        "used_by known_for last_used idle_for origin same_as os architecture user healthcheck layers base base_known "
        "env ports setuid_unknown unique_size recoverable"
    },
    Kind.TAG: {
        "tag": "ref registry repository name digest version variant rank_by_created rank_by_version rank_by_used",
        "registry": "state digest newest_version newest_version_digest latest_is drift_for",
    },
    Kind.CONTAINER: {
        "container": "id name image_ref image_repository image_pin image_id freshness running state health exit_code "
        "labels created started owner network_mode mounts ports memory_limit memory_reservation cpu_limit cpu_shares "
        "pids_limit privileged pid_mode ipc_mode uts_mode userns_mode cgroup_parent read_only user cap_add cap_drop "
        "security_opt no_new_privileges seccomp apparmor devices ulimits restart_policy restart_max restart_count "
        "log_driver healthcheck env_names exited_for size_rw"
    },
    Kind.VOLUME: {
        "volume": "name driver labels anonymous created in_use container_count known_for idle_for owner size"
    },
    Kind.NETWORK: {"network": "id name driver labels created builtin internal in_use known_for idle_for owner"},
    Kind.SERVICE: {
        "service": "name image_ref image_digest mode replicas running update_state labels published memory_limit "
        "cpu_limit stack",
        "registry": "state digest",
    },
    Kind.HOST: {
        "host": "name engine_version api_version image_store swarm images containers volumes disk_used_percent "
        "disk_free inodes_used_percent live_restore rootless userns_remap images_size build_cache_size volumes_size"
    },
}


def promised(kind: Kind) -> set[str]:
    own = {f"{prefix}.{name}" for prefix, names in _PROMISED[kind].items() for name in names.split()}
    everywhere = {f"host.{name}" for name in _PROMISED[Kind.HOST]["host"].split()} | {"now"}
    if kind in (Kind.TAG, Kind.CONTAINER):
        own |= {f"image.{name}" for name in _PROMISED[Kind.IMAGE]["image"].split()}
    return own | everywhere


@pytest.mark.parametrize("kind", list(Kind))
def test_every_promised_fact_is_in_the_vocabulary(kind: Kind) -> None:
    assert promised(kind) - VOCABULARY[kind].keys() == set()


def test_a_text_longer_than_a_program_can_be_given_makes_its_fact_unknown() -> None:
    for length in (2**17, 2**17 + 1):
        long = "x" * length
        inventory, inspected = an_inventory(), replace(details(user=long), ports=("80/tcp", long))
        inventory.put(an_image("app", "app:1", labels={"a": long, "b": ""}, inspected=inspected))
        known = facts_of(inventory, APP).keys() & {"image.labels", "image.user", "image.ports", "image.ref"}
        assert known == {"image.ref"} | ({"image.labels", "image.user", "image.ports"} if length == 2**17 else set())


@pytest.mark.parametrize("kind", list(Kind))
def test_the_vocabulary_describes_each_fact_for_people(kind: Kind) -> None:
    for name, spec in VOCABULARY[kind].items():
        assert spec.name == name
        assert spec.type in {"string", "int", "double", "bool", "duration", "timestamp"} | {
            "list(string)",
            "list(map)",
            "map(string)",
        }
        assert spec.cost in (0, 1, 2, 3)
        assert re.fullmatch(r"\S.*[^.\s]", spec.meaning), spec


def test_a_fact_means_and_costs_the_same_wherever_it_is() -> None:
    seen: dict[str, FactSpec] = {}
    for specs in VOCABULARY.values():
        for name, spec in specs.items():
            assert seen.setdefault(name, spec) == spec


def test_only_what_a_registry_knows_costs_a_registry() -> None:
    dear = {name for specs in VOCABULARY.values() for name, spec in specs.items() if spec.cost >= 3}
    assert dear
    assert all(name.startswith("registry.") for name in dear - {"image.recoverable"})


# -- one of each, with everything gathered ---------------------------------------------------------------------


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def full(ticks: Ticks) -> Inventory:
    """One of each, of which everything is known."""
    inventory = an_inventory(ticks)
    inventory.put(
        an_image(
            "app",
            "app:1",
            "h.io/b:2.1.0",
            digests=(digest_of("app", "d"),),
            labels={"a": "b"},
            size_bytes=5000,
            created_at=NOW - DAY,
            inspected=details(layers=("l1", "l2"), user="me", healthcheck=True),
        )
    )
    inventory.put(a_volume("data", labels={"v": "1"}))
    inventory.put(a_network("front", labels={"n": "1"}))
    inventory.put(a_service(image_ref=f"app:1@{image_id('d')}"))
    inventory.put(
        a_container(
            "web",
            labels={"c": "1"},
            health="healthy",
            networks=("front",),
            mounts=(a_mount("data"),),
            ports=("0.0.0.0:80->80/tcp",),
        )
    )
    inventory.histories[image_id("app")] = [BuildStep(5, "ADD x", NOW), BuildStep(0, "CMD x", NOW)]
    ticks.pass_(100)
    return inventory


DISK = Disk(used_percent=41.5, free_bytes=12345, inodes_used_percent=7.0)
REFS = {
    Kind.IMAGE: APP,
    Kind.TAG: APP_TAG,
    Kind.CONTAINER: WEB,
    Kind.VOLUME: DATA,
    Kind.NETWORK: FRONT,
    Kind.SERVICE: SERVICE,
    Kind.HOST: HOST,
}
REPLIES = {
    Ask("digest", APP_TAG.key): Reply(digest=image_id("d")),
    Ask("tags", "docker.io/library/app"): Reply(tags=("1", "1.2")),
    Ask("digest", "docker.io/library/app:1.2"): Reply(digest=image_id("d")),
    Ask("digest", digest_of("app", "d")): Reply(digest=image_id("d")),
}
MEASURED: dict[tuple[str, str], FactValue] = {
    ("container.log_bytes", WEB.key): 70,
    ("container.processes", WEB.key): ["sleep 9"],
    ("service.running", SERVICE.key): 1,
}
USAGE = Usage({WEB.key: 10}, {"data": 20}, 30, 40)

_PYTHON: dict[str, type] = {
    "string": str,
    "int": int,
    "double": float,
    "bool": bool,
    "duration": timedelta,
    "timestamp": datetime,
    "list(string)": list,
    "list(map)": list,
    "map(string)": dict,
}


def check_type(name: str, type_: str, value: FactValue) -> None:
    assert type(value) is _PYTHON[type_], name
    if isinstance(value, datetime):
        assert value.tzinfo is UTC, name
    if isinstance(value, list):
        assert all(isinstance(item, str if type_ == "list(string)" else dict) for item in value), name
    if isinstance(value, dict):
        assert all(isinstance(item, str) for pair in value.items() for item in pair), name


@pytest.mark.parametrize("kind", list(Kind))
def test_every_fact_that_was_gathered_has_a_value_of_its_type(full: Inventory, kind: Kind) -> None:
    known = facts_of(
        full, REFS[kind], disk=DISK, replies=REPLIES, usage=USAGE, unique={APP.key: 700}, measured=MEASURED
    )
    assert known.keys() == VOCABULARY[kind].keys()
    for name, value in known.items():
        check_type(name, VOCABULARY[kind][name].type, value)


def test_the_facts_of_an_image(full: Inventory) -> None:
    known = {name: value for name, value in facts_of(full, APP).items() if name.startswith("image.")}
    assert known == {
        "image.id": image_id("app"),
        "image.short_id": hexadecimal("app")[:12],
        "image.ref": "docker.io/library/app:1",
        "image.tags": ["docker.io/library/app:1", "h.io/b:2.1.0"],
        "image.repositories": ["docker.io/library/app", "h.io/b"],
        "image.digests": [digest_of("app", "d")],
        "image.size": 5000,
        "image.labels": {"a": "b"},
        "image.created": at(NOW - DAY),
        "image.dangling": False,
        "image.in_use": True,
        "image.container_count": 1,
        "image.used_by": ["web"],
        "image.known_for": timedelta(seconds=100),
        "image.last_used": at(NOW),
        "image.idle_for": timedelta(),
        "image.origin": "registry",
        "image.same_as": ["h.io/b:2.1.0"],
        "image.os": "linux",
        "image.architecture": "amd64",
        "image.user": "me",
        "image.healthcheck": True,
        "image.layers": 2,
        "image.base": "",
        "image.base_known": False,
        "image.env": ["PATH"],
        "image.ports": ["80/tcp"],
        "image.setuid_unknown": True,
        "image.root": False,
        "image.bases": [],
        "image.base_digest": "",
        "image.children": [],
        "image.is_base": False,
        "image.instructions": ["ADD x", "CMD x"],
        "image.history": [
            {"instruction": "ADD x", "size": 5, "created": moment(NOW)},
            {"instruction": "CMD x", "size": 0, "created": moment(NOW)},
        ],
        "image.volumes": [],
    }


def test_the_facts_of_a_tag(full: Inventory) -> None:
    known = {name: value for name, value in facts_of(full, APP_TAG).items() if name.startswith("tag.")}
    assert known == {
        "tag.ref": "docker.io/library/app:1",
        "tag.registry": "docker.io",
        "tag.repository": "docker.io/library/app",
        "tag.name": "1",
        "tag.digest": f"sha256:{hexadecimal('d')}",
        "tag.version": "1",
        "tag.variant": "",
        "tag.rank_by_created": 0,
        "tag.rank_by_version": 0,
        "tag.rank_by_used": 0,
        "tag.siblings": [],
    }


def test_a_tag_and_a_container_have_the_facts_of_their_image(full: Inventory) -> None:
    of_image = {name: value for name, value in facts_of(full, APP).items() if name.startswith("image.")}
    assert of_image.items() <= facts_of(full, APP_TAG).items()
    assert of_image.items() <= facts_of(full, WEB).items()


def test_the_facts_of_a_container(full: Inventory) -> None:
    known = {name: value for name, value in facts_of(full, WEB).items() if name.startswith("container.")}
    mount = {
        "type": "volume",
        "name": "data",
        "source": "/var/lib/docker/volumes/data/_data",
        "destination": "/data",
        "driver": "local",
        "rw": True,
        "anonymous": False,
        "propagation": "",
    }
    assert known == {
        **{f"container.{each.name}": EMPTY[each.type] for each in TOLD},
        "container.id": WEB.key,
        "container.name": "web",
        "container.image_ref": "docker.io/library/app:1",
        "container.image_repository": "docker.io/library/app",
        "container.image_pin": "tag",
        "container.image_id": image_id("app"),
        "container.freshness": "current",
        "container.tag_image": image_id("app"),
        "container.running": True,
        "container.state": "running",
        "container.health": "healthy",
        "container.exit_code": 0,
        "container.given_up": False,
        "container.labels": {"c": "1"},
        "container.created": at(NOW - 2 * HOUR),
        "container.started": at(NOW - HOUR),
        "container.exited_for": timedelta(),
        "container.owner": "",
        "container.network_mode": "front",
        "container.mounts": [mount],
        "container.ports": ["0.0.0.0:80->80/tcp"],
        "container.memory_limit": 0,
        "container.memory_reservation": 0,
        "container.cpu_limit": 0.0,
        "container.cpu_shares": 0,
        "container.pids_limit": 0,
        "container.privileged": False,
        "container.pid_mode": "",
        "container.ipc_mode": "private",
        "container.uts_mode": "",
        "container.userns_mode": "",
        "container.read_only": False,
        "container.user": "",
        "container.cap_add": [],
        "container.cap_drop": [],
        "container.security_opt": [],
        "container.no_new_privileges": False,
        "container.seccomp": "default",
        "container.apparmor": "",
        "container.devices": [],
        "container.ulimits": [],
        "container.restart_policy": "no",
        "container.restart_max": 0,
        "container.restart_count": 0,
        "container.log_driver": "json-file",
        "container.healthcheck": False,
        "container.env_names": [],
        "container.health_for": timedelta(),
        "container.state_for": timedelta(seconds=HOUR),
        "container.restarts_last_hour": 0,
        "container.oom_killed": False,
        "container.own_labels": {"c": "1"},
        "container.networks": ["front"],
        "container.sibling_images": [],
        "container.published": [{"host_ip": "0.0.0.0", "host_port": 80, "port": 80, "protocol": "tcp"}],
        "container.root": True,
        "container.log_opts": {},
    }


def test_each_limit_of_a_container_is_read_from_its_own_field(full: Inventory) -> None:
    config = replace(
        UNLIMITED,
        memory_limit_bytes=1,
        memory_reservation_bytes=2,
        cpu_limit=3.5,
        cpu_shares=4,
        pids_limit=5,
        restart_max=6,
        restart_count=7,
        cap_add=("NET_ADMIN",),
        cap_drop=("ALL",),
        devices=("/dev/a:/dev/a:r",),
        ulimits=("nofile=1:2",),
        env_names=("HOME",),
        privileged=True,
        read_only=True,
        healthcheck=True,
    )
    full.put(a_container("web", config=config))
    known = facts_of(full, WEB)
    values = [known[f"container.{name}"] for name in ("memory_limit", "memory_reservation", "cpu_limit", "cpu_shares")]
    assert values == [1, 2, 3.5, 4]
    assert [known[f"container.{name}"] for name in ("pids_limit", "restart_max", "restart_count")] == [5, 6, 7]
    assert [known[f"container.{name}"] for name in ("cap_add", "cap_drop")] == [["NET_ADMIN"], ["ALL"]]
    assert [known[f"container.{name}"] for name in ("devices", "ulimits")] == [["/dev/a:/dev/a:r"], ["nofile=1:2"]]
    assert known["container.env_names"] == ["HOME"]
    assert all(known[f"container.{name}"] is True for name in ("privileged", "read_only", "healthcheck"))


def test_the_facts_of_a_volume(full: Inventory) -> None:
    known = {name: value for name, value in facts_of(full, DATA).items() if name.startswith("volume.")}
    assert known == {
        "volume.name": "data",
        "volume.driver": "local",
        "volume.labels": {"v": "1"},
        "volume.anonymous": False,
        "volume.created": at(NOW - DAY),
        "volume.in_use": True,
        "volume.container_count": 1,
        "volume.known_for": timedelta(seconds=100),
        "volume.idle_for": timedelta(),
        "volume.owner": "",
        "volume.used_by": ["web"],
        "volume.options": {},
    }


def test_the_facts_of_a_network(full: Inventory) -> None:
    known = {name: value for name, value in facts_of(full, FRONT).items() if name.startswith("network.")}
    assert known == {
        "network.id": FRONT.key,
        "network.name": "front",
        "network.driver": "bridge",
        "network.labels": {"n": "1"},
        "network.created": at(NOW - DAY),
        "network.builtin": False,
        "network.internal": False,
        "network.in_use": True,
        "network.known_for": timedelta(seconds=100),
        "network.idle_for": timedelta(),
        "network.owner": "",
        "network.container_count": 1,
        "network.used_by": ["web"],
        "network.options": {},
    }


def test_the_facts_of_the_host(full: Inventory) -> None:
    full.info = replace(
        an_engine(),
        security_options=("name=seccomp,profile=default",),
        storage_driver="overlay2",
        log_driver="json-file",
        memory_bytes=8 << 30,
        cpus=4,
        insecure_registries=("10.0.0.0/8", "127.0.0.0/8", "::1/128"),
        authorization_plugins=("opa",),
        experimental=True,
        warnings=("WARNING: No swap limit support",),
        kernel="6.1.0",
        architecture="x86_64",
        cgroup_version=2,
    )
    assert facts_of(full, HOST, disk=DISK) == {
        "host.name": "host",
        "host.engine_version": "20.10.24",
        "host.api_version": "1.41",
        "host.image_store": "graph",
        "host.swarm": False,
        "host.images": 1,
        "host.containers": 1,
        "host.volumes": 1,
        "host.disk_used_percent": 41.5,
        "host.disk_free": 12345,
        "host.inodes_used_percent": 7.0,
        "host.data_disk_used_percent": 41.5,
        "host.data_disk_free": 12345,
        "host.data_inodes_used_percent": 7.0,
        "host.live_restore": False,
        "host.rootless": False,
        "host.userns_remap": False,
        "host.security_options": ["name=seccomp,profile=default"],
        "host.storage_driver": "overlay2",
        "host.log_driver": "json-file",
        "host.memory": 8 << 30,
        "host.cpus": 4,
        "host.insecure_registries": ["10.0.0.0/8"],
        "host.authorization_plugins": ["opa"],
        "host.experimental": True,
        "host.warnings": ["WARNING: No swap limit support"],
        "host.kernel": "6.1.0",
        "host.architecture": "x86_64",
        "host.cgroup_version": 2,
        "host.swarm_role": "",
        "host.swarm_managers": 0,
        "host.swarm_leader": False,
        "host.swarm_autolock": False,
        "host.swarm_certificates_last": timedelta(),
        "now": at(NOW),
    }


# -- what has not been gathered is left out ----------------------------------------------------------------------


def test_what_only_an_inspect_tells_is_unknown_before_it() -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1"))
    inventory.put(a_container("web"))
    for ref in (APP, APP_TAG, WEB):
        known = facts_of(inventory, ref)
        dear = {n for n, spec in VOCABULARY[ref.kind].items() if n.startswith("image.") and spec.cost == 1}
        assert dear
        assert not dear & known.keys()
        assert {n for n, s in VOCABULARY[ref.kind].items() if s.cost == 0} <= known.keys()


def test_the_use_of_a_disk_that_cannot_be_seen_is_unknown(full: Inventory) -> None:
    assert not {"host.disk_free", "host.disk_used_percent", "host.inodes_used_percent"} & facts_of(full, HOST).keys()


def test_the_digest_at_the_registry_is_unknown_unless_it_answered(full: Inventory) -> None:
    assert "registry.digest" not in facts_of(full, APP_TAG)
    failed = {Ask("digest", APP_TAG.key): Reply(reason="not_found")}
    assert "registry.digest" not in facts_of(full, APP_TAG, replies=failed)
    assert facts_of(full, APP_TAG, replies=REPLIES)["registry.digest"] == image_id("d")


def test_the_facts_of_an_image_that_is_gone_are_unknown_to_its_container(full: Inventory) -> None:
    full.drop(Ref(Kind.IMAGE, image_id("app")))
    known = facts_of(full, WEB)
    assert not [name for name in known if name.startswith("image.")]
    assert known["container.image_id"] == image_id("app")


def test_before_the_first_connection_the_host_is_unknown() -> None:
    inventory = an_inventory()
    inventory.info = None
    assert facts_of(inventory, HOST, disk=DISK).keys() >= {"host.images", "now"}
    assert "host.name" not in facts_of(inventory, HOST)


def test_a_fact_that_is_known_is_not_read_again(full: Inventory) -> None:
    sheet = Facts()
    sheet.known["image.size"] = 1
    sheet.shared = "prepared"
    fill(sheet, ["image.size"], APP, View(full, NOW))
    assert (sheet.known["image.size"], sheet.shared) == (1, "prepared")
    fill(sheet, ["image.id"], APP, View(full, NOW))
    assert sheet.shared is None


def test_unknown_objects_and_names_are_errors_of_ours(full: Inventory) -> None:
    with pytest.raises(KeyError):
        fill(Facts(), ["image.id"], Ref(Kind.IMAGE, "nothing"), View(full, NOW))
    with pytest.raises(KeyError):
        fill(Facts(), ["image.nothing"], APP, View(full, NOW))


# -- where an image comes from -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "digests", "origin"),
    [
        (ImageStore.GRAPH, (digest_of("app", "d"),), "registry"),
        (ImageStore.GRAPH, (), "unknown"),
        (ImageStore.CONTAINERD, (digest_of("app", "app"),), "unknown"),
    ],
)
def test_only_a_digest_on_a_graph_store_proves_a_registry(
    store: ImageStore, digests: tuple[str, ...], origin: str
) -> None:
    inventory = an_inventory(store=store)
    inventory.put(an_image("app", "app:1", digests=digests))
    assert fact(inventory, APP, "image.origin") == origin


# -- tags ----------------------------------------------------------------------------------------------------------


def ranks(inventory: Inventory, fact_name: str, *names: str) -> dict[str, object]:
    return {name: fact(inventory, Ref(Kind.TAG, f"docker.io/library/app:{name}"), f"tag.{fact_name}") for name in names}


def test_ranks_by_build_date_count_the_newer_images_of_the_repository() -> None:
    inventory = an_inventory()
    for days, word in enumerate(("1.0", "3.0", "2.0")):
        inventory.put(an_image(word, f"app:{word}", created_at=NOW - days * DAY))
    inventory.put(an_image("other", "other:1", created_at=NOW + DAY))
    assert ranks(inventory, "rank_by_created", "1.0", "3.0", "2.0") == {"1.0": 0, "3.0": 1, "2.0": 2}


def test_two_tags_of_one_image_have_one_rank() -> None:
    inventory = an_inventory()
    inventory.put(an_image("old", "app:1", "app:1.4", created_at=NOW - DAY))
    inventory.put(an_image("new", "app:2", "app:latest", "app:2.0", created_at=NOW))
    for name in ("1", "1.4"):
        assert fact(inventory, Ref(Kind.TAG, f"docker.io/library/app:{name}"), "tag.rank_by_created") == 1


JUNK = (
    "pr-101",
    "pr-102",
    "main-abcdef1",
    "sha-1234567",
    "20240501",
    "2024-05-01",
    "nightly",
    "edge",
    "latest",
    "9f3a2c1",
)


@pytest.mark.parametrize("fact_name", ["rank_by_created", "rank_by_used", "rank_by_version"])
def test_only_releases_rank_among_releases(fact_name: str, ticks: Ticks) -> None:
    inventory = an_inventory(ticks)
    for age, name in enumerate(
        (*JUNK, "2026.8.3", "1.3.0-rc1", "1.2.0", "1.1.0-ls3", "1.1.0-ls2", "1.0.0", "1.2.0-alpine")
    ):
        inventory.put(an_image(name, f"app:{name}", created_at=NOW - age * DAY))
        if name in JUNK:
            inventory.put(a_container(name, f"app:{name}", name))
    found = ranks(inventory, fact_name, "1.2.0", "1.1.0-ls3", "1.1.0-ls2", "1.0.0", "1.2.0-alpine", "2026.8.3")
    by_use = fact_name == "rank_by_used"  # nobody uses one of them: by version, too
    assert list(found.values()) == [0, 1, 2, 3, 0, 0], by_use


@pytest.mark.parametrize("date", [None, 0.0, 1.0, 315532801.0, NOW])
@pytest.mark.parametrize("fact_name", ["rank_by_created", "rank_by_used"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_equal_or_unknown_dates_are_ordered_by_version(
    date: float | None, fact_name: str, order: tuple[int, ...], ticks: Ticks
) -> None:
    inventory = an_inventory(ticks)
    for n in order:
        ticks.pass_(HOUR)
        inventory.put(an_image(f"image {n}", f"app:1.{n + 8}", created_at=date))
    assert ranks(inventory, fact_name, "1.10", "1.9", "1.8") == {"1.10": 0, "1.9": 1, "1.8": 2}


@pytest.mark.parametrize(
    "names", [[f"1.{n}" for n in range(400)], [f"pr-{n}" for n in range(400)]], ids=["1.N", "pr-N"]
)
def test_each_of_many_names_of_one_image_is_looked_at_once_for_a_rank(names: list[str]) -> None:
    inventory = an_inventory()
    inventory.put(an_image("many", *(f"app:{name}" for name in names), created_at=NOW))
    versions.release.cache_clear()
    assert ranks(inventory, "rank_by_created", names[0]) == {names[0]: 0}
    asked = versions.release.cache_info()
    assert asked.hits + asked.misses < 10 * len(names)


def test_one_unknown_date_lets_versions_decide() -> None:
    inventory = an_inventory()
    for n, date in enumerate((NOW, NOW - DAY, 1.0)):
        inventory.put(an_image(f"image {n}", f"app:1.{n}", created_at=date))
    assert ranks(inventory, "rank_by_created", "1.2", "1.1", "1.0") == {"1.2": 0, "1.1": 1, "1.0": 2}


def test_a_name_that_moves_along_a_line_is_ranked_by_what_it_means_now() -> None:
    inventory = an_inventory()
    inventory.put(an_image("now", "app:2", "app:latest", "app:2.1.2-alpine", created_at=1.0))
    for old in ("2.0.22", "2.0.21", "2.0.20"):
        inventory.put(an_image(old, f"app:{old}", created_at=1.0))
    assert ranks(inventory, "rank_by_created", "2", "2.0.22", "2.0.20") == {"2": 0, "2.0.22": 1, "2.0.20": 3}


def test_what_has_neither_date_nor_version_is_ordered_by_first_sight_and_never_by_id(ticks: Ticks) -> None:
    inventory = an_inventory(ticks)
    for name in ("pr-9", "pr-101", "pr-7"):
        ticks.pass_(HOUR)
        inventory.put(an_image(name, f"app:{name}", created_at=None))
    assert ranks(inventory, "rank_by_created", "pr-7", "pr-101", "pr-9") == {"pr-7": 0, "pr-101": 1, "pr-9": 2}
    alike = an_inventory(ticks)
    for name in ("pr-1", "pr-2"):
        alike.put(an_image(name, f"app:{name}", created_at=None))
    assert ranks(alike, "rank_by_created", "pr-1", "pr-2") == {"pr-1": 0, "pr-2": 0}


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("1.10.0", 0),
        ("v1.9", 1),
        ("1.2.0", 2),
        ("1.3-alpine", 0),
        ("1.2.0-alpine", 1),
        ("latest", 0),
        ("2.0.0-rc1", 0),
        ("20240501", 0),
    ],
)
def test_ranks_by_version_count_the_higher_versions_of_the_same_variant(name: str, rank: int) -> None:
    inventory = an_inventory()
    for other in ("1.10.0", "v1.9", "1.2.0", "1.3-alpine", "1.2.0-alpine", "latest", "2.0.0-rc1", "20240501"):
        inventory.put(an_image(other, f"app:{other}"))
    assert fact(inventory, Ref(Kind.TAG, f"docker.io/library/app:{name}"), "tag.rank_by_version") == rank


@pytest.mark.parametrize(
    ("name", "version"),
    [("1.27.3", "1.27.3"), ("v1.2-alpine", "1.2"), ("latest", ""), ("20240501", ""), ("1.0-rc1", ""), ("deadbeef", "")],
)
def test_a_version_is_told_from_what_only_looks_like_one(name: str, version: str) -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", f"app:{name}"))
    assert fact(inventory, Ref(Kind.TAG, f"docker.io/library/app:{name}"), "tag.version") == version


def test_the_digest_of_a_tag_is_the_one_of_its_own_repository() -> None:
    inventory = an_inventory()
    digests = (digest_of("app", "one"), digest_of("h.io/mirror/app", "two"))
    inventory.put(an_image("app", "app:1", "h.io/mirror/app:1", "h.io/unpushed:1", digests=digests))
    found = {ref.key: fact(inventory, ref, "tag.digest") for ref in inventory.all(Kind.TAG)}
    assert found == {
        "docker.io/library/app:1": f"sha256:{hexadecimal('one')}",
        "h.io/mirror/app:1": f"sha256:{hexadecimal('two')}",
        "h.io/unpushed:1": "",
    }


def test_a_registry_with_a_port_is_not_taken_for_a_tag() -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "h.io:5000/team/app:1.0"))
    known = facts_of(inventory, Ref(Kind.TAG, "h.io:5000/team/app:1.0"))
    assert [known[f"tag.{n}"] for n in ("registry", "repository", "name")] == ["h.io:5000", "h.io:5000/team/app", "1.0"]


# -- containers and the images they run ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image_ref", "pin", "freshness", "repository"),
    [
        ("app:1", "tag", "current", "docker.io/library/app"),
        ("docker.io/library/app:1", "tag", "current", "docker.io/library/app"),
        ("app:2", "tag", "recreate-needed", "docker.io/library/app"),
        ("app", "tag", "tag-gone", "docker.io/library/app"),
        ("h.io:5000/team/app:9", "tag", "tag-gone", "h.io:5000/team/app"),
        (f"app@sha256:{'a' * 64}", "digest", "pinned", "docker.io/library/app"),
        (f"app:1@sha256:{'a' * 64}", "digest", "pinned", "docker.io/library/app"),
        (image_id("app"), "id", "pinned", ""),
        (hexadecimal("app"), "id", "pinned", ""),
        (hexadecimal("app")[:12], "id", "pinned", ""),
        ("$(reboot)", "tag", "tag-gone", ""),
    ],
)
def test_how_a_container_names_its_image_and_whether_the_name_still_means_it(
    image_ref: str, pin: str, freshness: str, repository: str
) -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1"))
    inventory.put(an_image("next", "app:2"))
    inventory.put(a_container("web", image_ref))
    known = facts_of(inventory, WEB)
    assert known["container.image_pin"] == pin
    assert known["container.freshness"] == freshness
    assert known["container.image_repository"] == repository


def test_a_short_name_of_hexadecimal_letters_is_a_name_even_if_the_id_begins_with_it() -> None:
    inventory = an_inventory()
    name = hexadecimal("app")[:3]
    inventory.put(an_image("app", f"{name}:latest"))
    inventory.put(a_container("web", name))
    assert fact(inventory, WEB, "container.image_pin") == "tag"
    assert fact(inventory, WEB, "container.freshness") == "current"


@pytest.mark.parametrize(
    ("runs", "known", "freshness"),
    [("", None, "recreate-needed"), ("one", None, None), ("one", ("one", "two"), "current"),
     ("one", ("two",), "recreate-needed"), ("one", (), "recreate-needed"), ("", ("one",), "recreate-needed")],
)  # fmt: skip
def test_an_index_that_changed_for_others_only_makes_no_container_stale(
    runs: str, known: tuple[str, ...] | None, freshness: str | None
) -> None:
    inventory = an_inventory()
    inventory.put(an_image("app"))
    inspected = None if known is None else replace(details(), manifests=known)
    inventory.put(an_image("next", "app:1", inspected=inspected))
    inventory.put(replace(a_container("web", "app:1", "app"), manifest=runs))
    assert facts_of(inventory, WEB).get("container.freshness") == freshness


def test_a_container_whose_creator_typed_nothing_has_no_name_that_could_be_stale() -> None:
    inventory = an_inventory()
    inventory.put(a_container("web", image_ref=""))
    assert fact(inventory, WEB, "container.freshness") == "pinned"


@pytest.mark.parametrize(
    ("labels", "owner"),
    [
        ({}, ""),
        ({"com.docker.compose.project": "shop"}, "compose"),
        ({"com.docker.swarm.service.name": "web"}, "swarm"),
        ({"com.docker.swarm.service.id": "x", "com.docker.compose.project": "shop"}, "swarm"),
        ({"io.kubernetes.pod.name": "web-0"}, "kubernetes"),
        ({"io.kubernetes.pod.uid": ""}, "kubernetes"),
        ({"com.hashicorp.nomad.alloc_id": "x"}, "nomad"),
        ({"com.amazonaws.ecs.task-arn": "x"}, "ecs"),
        ({"com.docker.compose": "not quite"}, ""),
    ],
)
def test_the_owner_of_a_container_is_read_from_its_labels(labels: dict[str, str], owner: str) -> None:
    inventory = an_inventory()
    inventory.put(a_container("web", labels=labels))
    assert fact(inventory, WEB, "container.owner") == owner


@pytest.mark.parametrize(
    ("options", "privileged", "seccomp"),
    [
        ((), False, "default"),
        ((), True, "unconfined"),
        (("seccomp=unconfined",), False, "unconfined"),
        (("seccomp=" + '{"defaultAction": "SCMP_ACT_ERRNO"}' * 10,), False, "custom"),
        (("seccomp=profile.json",), True, "profile.json"),
        (("no-new-privileges", "label=disable"), False, "default"),
        (("seccomp=unconfined", "seccomp=builtin"), False, "builtin"),
        (("seccomp=builtin", "seccomp:unconfined"), False, "unconfined"),
    ],
)
def test_the_seccomp_profile(*, options: tuple[str, ...], privileged: bool, seccomp: str) -> None:
    inventory = an_inventory()
    inventory.put(a_container(config=replace(UNLIMITED, security_opt=options, privileged=privileged)))
    assert fact(inventory, WEB, "container.seccomp") == seccomp


@pytest.mark.parametrize("of_all", [False, True])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("no-new-privileges", True),
        *((f"no-new-privileges={word}", True) for word in ("1", "t", "T", "true", "True", "TRUE")),
        *((f"no-new-privileges={word}", False) for word in ("0", "f", "F", "false", "False", "FALSE")),
        ("no-new-privileges:true", True),
        ("no-new-privileges:false", False),
        ("no-new-privileges no-new-privileges=false", False),
        ("no-new-privileges:false no-new-privileges=1", True),
        ("label=disable", None),
    ],
)
def test_no_new_privileges_is_what_the_engine_makes_of_the_options(
    *, options: str, expected: bool | None, of_all: bool
) -> None:
    inventory = an_inventory()
    inventory.info = replace(an_engine(), security_options=("name=no-new-privileges",) * of_all)
    inventory.put(a_container(config=replace(UNLIMITED, security_opt=tuple(options.split()))))
    assert fact(inventory, WEB, "container.no_new_privileges") is (of_all if expected is None else expected)


@pytest.mark.parametrize("thing", [a_volume("data"), a_network("front")])
@pytest.mark.parametrize(
    ("made_at", "ahead", "seconds"),
    [(NOW - DAY, 0, DAY), (NOW + DAY, 0, 0), (None, 0, 2 * DAY), (NOW, -60, 0), (NOW, 60, 60)],
)
def test_what_is_remembered_of_a_name_makes_nothing_older_than_it_is(
    thing: Volume | Network, made_at: float | None, ahead: float, seconds: float
) -> None:
    """``ahead``: the engine's clock is."""
    ticks = Ticks()
    inventory = an_inventory(ticks)
    inventory.info = replace(an_engine(), clock_offset_seconds=ahead)
    inventory.put(thing)
    ticks.pass_(2 * DAY)
    inventory.put(replace(thing, created_at=made_at))  # another one, which came while nobody watched
    known = facts_of(inventory, ref_of(thing))
    assert {known[f"{thing.kind}.{age}"] for age in ("known_for", "idle_for")} == {timedelta(seconds=seconds)}


def test_a_volume_that_is_used_is_no_younger_for_what_is_written_to_it() -> None:
    """Engines before 23 take the time when its folder was last changed for that when it was made."""
    ticks = Ticks()
    inventory = an_inventory(ticks)
    inventory.put(a_volume("data"))
    inventory.put(a_container("web", mounts=(a_mount("data"),)))
    ticks.pass_(2 * DAY)
    inventory.put(replace(a_volume("data"), created_at=NOW))
    data = Ref(Kind.VOLUME, "data")
    assert fact(inventory, data, "volume.known_for") == timedelta(days=2)
    inventory.drop(WEB)
    assert fact(inventory, data, "volume.known_for") == timedelta(0)


def test_a_mount_of_a_volume_that_nobody_named_is_anonymous() -> None:
    inventory = an_inventory()
    inventory.put(a_volume("a" * 64, anonymous=True))
    bind = Mount("bind", "", "/etc", "/host", "", writable=False)
    inventory.put(a_container(mounts=(a_mount("a" * 64), bind)))
    mounts = fact(inventory, WEB, "container.mounts")
    assert isinstance(mounts, list)
    seen = [(m["type"], m["anonymous"], m["rw"]) for m in mounts if isinstance(m, dict)]
    assert seen == [("volume", True, True), ("bind", False, False)]


def test_a_network_is_in_use_by_name_or_by_id() -> None:
    inventory, front = an_inventory(), a_network("front")
    inventory.put(front)
    assert fact(inventory, FRONT, "network.in_use") is False
    inventory.put(a_container("web", networks=(front.id,), running=False))
    assert fact(inventory, FRONT, "network.in_use") is True
    inventory.put(a_container("web", networks=("front",), running=False))
    assert fact(inventory, FRONT, "network.in_use") is True


# -- times -----------------------------------------------------------------------------------------------------------


def test_last_used_is_when_we_last_saw_a_container(ticks: Ticks) -> None:
    inventory = an_inventory(ticks)
    inventory.put(an_image("app", "app:1"))
    inventory.put(a_container("web"))
    ticks.pass_(50)
    inventory.drop(Ref(Kind.CONTAINER, WEB.key))
    ticks.pass_(30)
    known = facts_of(inventory, APP)
    assert known["image.idle_for"] == timedelta(seconds=30)
    assert known["image.last_used"] == at(NOW - 30)
    assert known["image.known_for"] == timedelta(seconds=80)


@pytest.mark.parametrize("built_at", [None, 0.0, 315532800.0])  # 1980: what archives cannot say otherwise
def test_what_never_was_is_unknown_and_so_is_its_age(built_at: float | None) -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", created_at=built_at))
    inventory.put(a_container("web", started_at=None))
    assert "image.created" not in facts_of(inventory, APP)
    assert "container.started" not in facts_of(inventory, WEB)


# -- strangers ---------------------------------------------------------------------------------------------------------

_TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
_LABELS = st.dictionaries(
    _TEXT | st.sampled_from(["org.opencontainers.image.base.name", "dockwarden.protect", "io.kubernetes.pod.name"]),
    _TEXT,
    max_size=3,
)
_NAMES = (
    st.sampled_from(["docker.io/library/app:1", "h.io:5000/a/b:v1.2", "app", "<none>:<none>", ":", "a@b", ""]) | _TEXT
)
# What the engine adapter lets through: any time that a date of four digits can have.
_TIMES = st.none() | st.floats(-62135596799.0, 253402300799.0)
_DETAILS = st.none() | st.builds(
    ImageDetails,
    os=_TEXT,
    architecture=_TEXT,
    variant=_TEXT,
    user=_TEXT,
    healthcheck=st.booleans(),
    layers=st.lists(_TEXT, max_size=3).map(tuple),
    env_names=st.lists(_TEXT, max_size=3).map(tuple),
    ports=st.lists(_TEXT, max_size=3).map(tuple),
)
_IMAGES = st.builds(
    Image,
    id=st.sampled_from([image_id("app"), image_id("other"), "", "odd"]),
    tags=st.lists(_NAMES, max_size=3, unique=True).map(tuple),
    digests=st.lists(_NAMES, max_size=2).map(tuple),
    markers=st.just(()),
    size_bytes=st.integers(-(2**63), 2**63 - 1),
    labels=_LABELS,
    created_at=_TIMES,
    details=_DETAILS,
)
_MOUNTS = st.builds(
    Mount, type=_TEXT, name=_TEXT, source=_TEXT, destination=_TEXT, driver=_TEXT, writable=st.booleans()
)
_CONTAINERS = st.builds(
    Container,
    id=_TEXT,
    name=_TEXT,
    image_ref=_NAMES | st.sampled_from([image_id("app"), hexadecimal("app")[:5]]),
    image_id=st.sampled_from([image_id("app"), "", "odd"]),
    running=st.booleans(),
    state=_TEXT,
    health=_TEXT,
    exit_code=st.integers(-(2**63), 2**63 - 1),
    labels=_LABELS,
    created_at=_TIMES,
    started_at=_TIMES,
    finished_at=_TIMES,
    network_mode=_TEXT,
    networks=st.lists(_TEXT, max_size=2).map(tuple),
    mounts=st.lists(_MOUNTS, max_size=2).map(tuple),
    ports=st.lists(_TEXT, max_size=2).map(tuple),
    config=st.builds(
        replace, st.just(UNLIMITED), security_opt=st.lists(_TEXT, max_size=2).map(tuple), cpu_limit=st.floats(0, 1e6)
    ),
)
_VOLUMES = st.builds(Volume, name=_TEXT, driver=_TEXT, labels=_LABELS, anonymous=st.booleans(), created_at=_TIMES)
_NETWORKS = st.builds(
    Network,
    id=_TEXT,
    name=_TEXT,
    driver=_TEXT,
    labels=_LABELS,
    created_at=_TIMES,
    builtin=st.booleans(),
    internal=st.booleans(),
)


@given(
    st.lists(_IMAGES, max_size=3),
    st.lists(_CONTAINERS, max_size=2),
    st.lists(_VOLUMES, max_size=1),
    st.lists(_NETWORKS, max_size=1),
    st.lists(st.builds(a_service, _TEXT, _NAMES, labels=_LABELS, created_at=_TIMES), max_size=1),
)
def test_every_fact_of_every_odd_object_can_be_read_and_has_its_type(
    images: list[Image],
    containers: list[Container],
    volumes: list[Volume],
    networks: list[Network],
    services: list[Service],
) -> None:
    inventory = an_inventory()
    for image in images:
        inventory.put(image)
    for volume in volumes:
        inventory.put(volume)
    for network in networks:
        inventory.put(network)
    for container in containers:
        inventory.put(container)
    for service in services:
        inventory.put(service)
    for kind in Kind:
        for ref in inventory.all(kind):
            assert isinstance(inventory.name_of(ref), str)
            assert ref.key in inventory.dependents(ref)[kind]
            for name, value in facts_of(inventory, ref, disk=DISK).items():
                check_type(name, VOCABULARY[kind][name].type, value)


def test_labels_of_strangers_are_data_and_nothing_else(full: Inventory) -> None:
    hostile = {"{{ image.id }}": "${now}", "true || true": "'; DROP TABLE memory; --", "\x1b[31m": "\u202e", "": ""}
    full.put(an_image("app", "app:1", labels=hostile))
    assert fact(full, APP, "image.labels") == hostile


def test_what_a_policy_gets_is_a_copy(full: Inventory) -> None:
    labels = fact(full, APP, "image.labels")
    assert isinstance(labels, dict)
    labels["a"] = "changed"
    assert fact(full, APP, "image.labels") == {"a": "b"}


# -- what was used, and what is over ------------------------------------------------------------------------


def test_ranks_are_within_a_variant_and_count_an_image_once(ticks: Ticks) -> None:
    inventory = an_inventory(ticks)
    for age, (word, *names) in enumerate(
        (
            ("new", "app:1.4", "app:1.4.0"),
            ("new-alpine", "app:1.4-alpine"),
            ("middle", "app:1.3"),
            ("old", "app:1.2"),
            ("old-alpine", "app:1.2-alpine"),
        )
    ):
        inventory.put(an_image(word, *names, created_at=NOW - age * DAY))
    ranks = {
        name: fact(inventory, Ref(Kind.TAG, f"docker.io/library/app:{name}"), "tag.rank_by_created")
        for name in ("1.4", "1.4.0", "1.3", "1.2", "1.4-alpine", "1.2-alpine")
    }
    assert ranks == {"1.4": 0, "1.4.0": 0, "1.3": 1, "1.2": 2, "1.4-alpine": 0, "1.2-alpine": 1}


def test_the_image_in_use_comes_first_and_then_the_one_that_was_in_use_before_it(ticks: Ticks) -> None:
    inventory = an_inventory(ticks)
    for word in ("1.1", "1.2", "1.3", "1.4"):
        inventory.put(an_image(word, f"app:{word}"))
    for word in ("1.1", "1.3"):
        ticks.pass_(HOUR)
        inventory.put(a_container(word, f"app:{word}", word))
        ticks.pass_(HOUR)
        inventory.drop(Ref(Kind.CONTAINER, a_container(word).id))
    ticks.pass_(DAY)
    inventory.put(a_container("web", "app:1.2", "1.2"))
    ranks = {
        name: fact(inventory, Ref(Kind.TAG, f"docker.io/library/app:{name}"), "tag.rank_by_used")
        for name in ("1.1", "1.2", "1.3", "1.4")
    }
    assert ranks == {"1.2": 0, "1.3": 1, "1.1": 2, "1.4": 3}


@pytest.mark.parametrize(
    ("started", "finished", "watched", "expected"),
    [
        (NOW - 2 * DAY, NOW - DAY, 2 * HOUR, 2 * HOUR),  # it ended before anybody watched
        (NOW - 2 * DAY, NOW - HOUR, 2 * HOUR, HOUR),
        (NOW - 2 * DAY, NOW - 365 * DAY, 60, 60),  # the clock was set a year ahead
        (NOW - 2 * DAY, NOW + 365 * DAY, 2 * HOUR, 0),  # the clock was set back
        (None, None, 2 * HOUR, 0),  # it never ran
        (None, NOW - DAY, 2 * HOUR, 0),
    ],
)
def test_how_long_a_container_is_over(
    ticks: Ticks, started: float | None, finished: float | None, watched: float, expected: float
) -> None:
    inventory = an_inventory(ticks)
    over = replace(a_container("job", running=False, started_at=started), finished_at=finished)
    inventory.put(over)
    ticks.pass_(watched)
    assert fact(inventory, Ref(Kind.CONTAINER, over.id), "container.exited_for") == timedelta(seconds=expected)


def test_a_container_that_runs_again_is_not_over_and_then_anew(ticks: Ticks) -> None:
    inventory = an_inventory(ticks)
    web = a_container("web")
    over = replace(web, running=False, state="exited", finished_at=NOW - DAY)
    ref = Ref(Kind.CONTAINER, web.id)
    ages = []
    for state in (over, web, over):
        inventory.put(state)
        ticks.pass_(HOUR)
        ages.append(fact(inventory, ref, "container.exited_for"))
    assert ages == [timedelta(hours=1), timedelta(), timedelta(hours=1)]


def test_an_origin_is_proven_by_the_registry_alone_on_a_containerd_store(ticks: Ticks) -> None:
    inventory = an_inventory(ticks, store=ImageStore.CONTAINERD)
    inventory.put(an_image("app", "app:1", digests=(digest_of("app", "app"),)))
    assert fact(inventory, APP, "image.origin") == "unknown"
    inventory.digests.see(APP_TAG.key, "registry", f"sha256:{hexadecimal('app')}", NOW)
    assert fact(inventory, APP, "image.origin") == "registry"


# -- what containers went through --------------------------------------------------------------------------------


def test_restarts_are_those_that_we_watched_and_those_of_a_young_container(ticks: Ticks) -> None:
    inventory = an_inventory(ticks)
    once = a_container("web", config=replace(UNLIMITED, restart_count=2))
    inventory.put(replace(once, created_at=NOW - 60))
    assert fact(inventory, WEB, "container.restarts_last_hour") == 2
    inventory.drop(WEB)
    inventory.put(once)  # two hours old: nobody knows when it was
    assert fact(inventory, WEB, "container.restarts_last_hour") == 0
    for count, started_at in ((3, NOW - 50), (7, NOW - 40), (0, NOW - 30)):  # one missed look, and one manual start
        ticks.pass_(60)
        inventory.put(replace(once, started_at=started_at, config=replace(UNLIMITED, restart_count=count)))
    assert fact(inventory, WEB, "container.restarts_last_hour") == 1 + 4 + 1
    ticks.pass_(HOUR - 60)
    assert fact(inventory, WEB, "container.restarts_last_hour") == 1
    ticks.pass_(60)
    assert fact(inventory, WEB, "container.restarts_last_hour") == 0


@pytest.mark.parametrize(
    ("state", "seconds"),
    [("running", HOUR), ("created", 2 * HOUR), ("exited", 60), ("dead", 60), ("restarting", 60), ("paused", 30)],
)
def test_how_long_a_state_lasts_is_the_engines_word_where_it_has_one(ticks: Ticks, state: str, seconds: float) -> None:
    inventory = an_inventory(ticks)
    inventory.put(replace(a_container("web"), finished_at=NOW - 60))
    ticks.pass_(5)
    inventory.put(replace(a_container("web"), finished_at=NOW - 60, state=state))
    ticks.pass_(30 if state != "running" else 0)
    assert fact(inventory, WEB, "container.state_for") == timedelta(seconds=seconds)


@pytest.mark.parametrize("state", ["running", "created", "exited", "dead", "restarting"])
def test_what_happened_while_the_clock_was_not_set_is_not_half_a_century_old(ticks: Ticks, state: str) -> None:
    inventory, unset = an_inventory(ticks), 42.0
    web = replace(a_container("web", health="unhealthy"), created_at=unset, started_at=unset, finished_at=unset)
    inventory.put(replace(web, state=state, running=state == "running", health_at=unset))
    ticks.pass_(30)
    known = facts_of(inventory, WEB)
    assert known["container.state_for"] == timedelta(seconds=30)
    assert (known["container.health_for"], known["container.exited_for"]) < (timedelta(), timedelta(seconds=31))
    assert not {"container.created", "container.started"} & known.keys(), "unknown, as an age by it would be"


def test_a_health_lasts_as_long_as_probes_are_remembered_by_the_engine_or_by_us() -> None:
    inventory = an_inventory()
    web = a_container("web", health="unhealthy")
    for health_at in (NOW - 100, NOW - 20, None):
        inventory.put(replace(web, health_at=health_at))
        assert fact(inventory, WEB, "container.health_for") == timedelta(seconds=100)
    inventory.put(replace(web, health="healthy", health_at=NOW - 10))
    assert fact(inventory, WEB, "container.health_for") == timedelta(seconds=10)
    inventory.put(replace(web, health=""))
    assert fact(inventory, WEB, "container.health_for") == timedelta()


# -- labels of its own ---------------------------------------------------------------------------------------------

_PROJECT = {"com.docker.compose.project": "shop"}


@pytest.mark.parametrize(
    ("of_image", "of_container", "own", "owner"),
    [
        ({}, {"a": "1"}, {"a": "1"}, ""),
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {"b": "3"}, ""),
        ({}, _PROJECT, _PROJECT, "compose"),
        (_PROJECT, _PROJECT, {}, ""),  # docker run of what Compose built
        (
            _PROJECT,
            {**_PROJECT, "com.docker.compose.config-hash": "x"},
            {"com.docker.compose.config-hash": "x"},
            "compose",
        ),
        ({"io.kubernetes.pod.uid": "1"}, {"io.kubernetes.pod.uid": "1"}, {}, ""),
        ({}, {"com.docker.swarm.task.id": "1"}, {"com.docker.swarm.task.id": "1"}, "swarm"),
    ],
)
def test_an_image_neither_labels_nor_claims_its_containers(
    of_image: dict[str, str], of_container: dict[str, str], own: dict[str, str], owner: str
) -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", "app:1", labels=of_image))
    inventory.put(a_container("web", labels=of_container))
    known = facts_of(inventory, WEB)
    assert (known["container.own_labels"], known["container.owner"]) == (own, owner)


def test_whose_labels_they_are_is_unknown_if_the_image_is_gone_and_the_owner_is_kept() -> None:
    inventory = an_inventory()
    inventory.put(a_container("web", labels=_PROJECT))
    known = facts_of(inventory, WEB)
    assert "container.own_labels" not in known
    assert known["container.owner"] == "compose"


# -- networks, ports, users ----------------------------------------------------------------------------------------


def test_a_published_port_is_a_record() -> None:
    inventory = an_inventory()
    ports = ("0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp", "127.0.0.1:0->53/udp", "9000/tcp")
    inventory.put(a_container("web", ports=ports))
    assert fact(inventory, WEB, "container.published") == [
        {"host_ip": "0.0.0.0", "host_port": 8080, "port": 80, "protocol": "tcp"},
        {"host_ip": "::", "host_port": 8080, "port": 80, "protocol": "tcp"},
        {"host_ip": "127.0.0.1", "host_port": 0, "port": 53, "protocol": "udp"},
    ]


def test_the_networks_of_a_container_are_their_names() -> None:
    inventory = an_inventory()
    front = a_network("front")
    inventory.put(front)
    inventory.put(a_container("web", networks=("back", front.id, hexadecimal("gone"))))
    assert fact(inventory, WEB, "container.networks") == ["back", "front"]


@each(
    ("user", "root"),
    [
        *((user, True) for user in ("", "0", "root", "0:0", "root:app", "00", ":app")),
        *((user, False) for user in ("1000", "app", "1000:0", "rooty", "toor:root")),
    ],
)
def test_who_is_root(user: str, *, root: bool) -> None:
    inventory = an_inventory()
    inventory.put(an_image("app", inspected=details(user=user)))
    inventory.put(a_container("web", config=replace(UNLIMITED, user=user)))
    known = facts_of(inventory, WEB)
    assert (known["container.root"], known["image.root"]) == (root, root)


def test_other_tags_of_the_repository() -> None:
    inventory = an_inventory()
    for word, *tags in (("app", "app:1", "app:latest"), ("new", "app:2"), ("other", "b:1")):
        inventory.put(an_image(word, *tags))
    inventory.put(a_container("web", "app:1"))
    assert fact(inventory, WEB, "container.sibling_images") == ["docker.io/library/app:2"]
    assert fact(inventory, APP_TAG, "tag.siblings") == ["docker.io/library/app:2", "docker.io/library/app:latest"]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_record_has_the_keys_that_the_vocabulary_declares(full: Inventory, kind: Kind) -> None:
    known = facts_of(full, REFS[kind])
    for name, spec in VOCABULARY[kind].items():
        assert bool(spec.keys) == (spec.type == "list(map)"), name
        for record in known.get(name, []) if spec.keys else []:  # type: ignore[union-attr]
            assert isinstance(record, dict)
            assert record.keys() == spec.keys.keys(), name
            for key, value in record.items():
                check_type(f"{name}.{key}", spec.keys[key].type, value)  # type: ignore[arg-type]

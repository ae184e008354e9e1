"""A container that was removed is made again as it was, whatever options it was created with."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from dataclasses import replace
from itertools import count, zip_longest
from typing import TYPE_CHECKING, Any

import pytest
from docker.errors import APIError

from dockwarden.engine import DockerEngine
from dockwarden.errors import EngineError, NotFoundError
from dockwarden.model import Kind, Ref
from tests.lab import images
from tests.lab.images import ImageSpec
from tests.lab.machine import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.lab.engine import LabEngine

IMAGE = "recreate/app:1"
LADEN = "recreate/laden:1"
"""An image that says of everything what its containers shall have."""

OPTIONS = {
    "isolation": """
--cap-add NET_ADMIN --cap-drop ALL --cgroup-parent /mine --cgroupns host --device /dev/zero:/dev/nil:r --ipc private
--cgroupns private --device-cgroup-rule 'c 42:* rmw' --ipc shareable --security-opt label=disable
--ipc host --pid host --sysctl net.ipv4.ip_forward=1 --userns host
--ipc none --security-opt no-new-privileges --security-opt seccomp=unconfined --security-opt apparmor=unconfined
--ipc container:peer --pid container:peer --uts host
""",
    "process": """
--attach stdout --entrypoint /bin/sleep --init --log-driver none --no-healthcheck --restart always
--entrypoint '' --interactive --tty --restart unless-stopped --user ''
--env A=1 --env B= --env 'C=x y' --group-add 12 --group-add 13
--health-cmd 'echo ok' --health-interval 9s --health-retries 4 --health-start-period 3s --health-timeout 2s
--label a=1 --label b= --label com.docker.compose.project=p --label com.docker.compose.service=s --restart on-failure:3
--log-driver json-file --log-opt max-size=1m --log-opt max-file=2 --stop-signal SIGUSR1 --stop-timeout 3
--user 12:13 --workdir /w
""",
    "mounts": """
--mount type=bind,source=/tmp,target=/t,readonly --mount type=bind,source=/tmp,target=/u/
--mount type=volume,source=named,target=/data --mount type=volume,source=named,target=/read,readonly
--mount type=volume,source=named,target=/data,volume-nocopy --mount type=volume,source=named,target=/more/
--mount type=volume,source=labelled,target=/data,volume-label=a=1 --mount type=volume,source=named,dst=/data//sub/
--mount type=volume,target=/data --mount type=volume,target=/other/ --volume /third
--mount type=tmpfs,target=/t --mount type=tmpfs,target=/u,tmpfs-size=1m,tmpfs-mode=1770
--read-only --tmpfs /run:size=1m,mode=1777
--volume named:/data --volume named:/read:ro --volume named:/more/ --volume named:/data/sub:rw,nocopy
--volume /tmp:/t:ro --volume /tmp:/u:rw,z
--volume /data --volume /other/
--volume //data --volume named://other --mount type=volume,target=//more
--volumes-from peer
--volumes-from peer:ro --volume named:/data --volume /mine
--volumes-from /peer:ro --volume named:/data
--volumes-from peer --mount type=volume,target=/mine
""",
    "networks": """
--add-host a:10.0.0.1 --add-host b:10.0.0.2 --dns 10.0.0.3 --dns-option ndots:2 --dns-search example.com
--domainname example.com --expose 80 --expose 81/udp
--hostname web --domainname example.com
--mac-address 02:42:ac:11:00:99
--network none
--network host
--network host --hostname web
--network host --uts host
--network bridge --publish 127.0.0.1:8081:80 --publish 82/udp
--network one
--network one --network-alias x --network-alias y --link peer:p --link-local-ip 169.254.7.7
--network one --ip 10.99.0.77
--network one --ip 10.99.0.78 --mac-address 02:42:ac:11:00:98
--network name=one,mac-address=02:42:ac:11:00:97 --network name=two,mac-address=02:42:ac:11:00:96,alias=x
--network name=one --network name=two,mac-address=00:16:3e:11:00:96
--network ID_OF_ONE
--network START_OF_ONE --network-alias x
--network name=bridge,driver-opt=com.docker.network.endpoint.mine=x
--network container:peer
--link single:s --link single:t --publish-all --publish 18080-18082:80-82
""",
    "resources": """
--blkio-weight 300 --cpu-period 50000 --cpu-quota 20000 --cpu-shares 512 --cpuset-cpus 0 --pids-limit 77
--cpus 0.5 --oom-score-adj 300 --pids-limit -1 --shm-size 12m --ulimit nofile=100:200 --ulimit core=0
--memory 64m --memory-reservation 32m --memory-swap 128m --memory-swappiness 10 --oom-kill-disable
""",
    "not everywhere": """
--device-read-bps /dev/null:1mb
--group-add audio
--mount type=bind,source=/tmp,target=/t,bind-propagation=rslave
--privileged
--volume /sys:/t:rslave
""",
    "over an image": """
{LADEN}
--entrypoint '' {LADEN} sleep 1
--entrypoint /bin/sleep {LADEN}
--entrypoint /bin/sleep {LADEN} 1
--network container:peer {LADEN}
--no-healthcheck --volume named:/image-data {LADEN}
--health-interval 7s --volume /image-data/ {LADEN}
--mount type=volume,target=/image-data {LADEN}
--mount type=volume,source=named,target=/image-data/ {LADEN}
--volumes-from peer {LADEN}
--tmpfs /image-data {LADEN}
--mount type=bind,source=/tmp,target=/image-data {LADEN}
--env A=mine --label a=mine --user 0 --workdir / --stop-signal SIGINT --publish-all {LADEN}
--uts host --hostname '' {LADEN}
--label com.docker.compose.project=p --label com.docker.compose.service=s --publish 127.0.0.1:8083:70 {LADEN}
""",
}
"""Lines of options, by what they are about; those "not everywhere" keep a container from starting on some machines."""

BY_THE_API: tuple[dict[str, object], ...] = (
    {"Image": LADEN, "Entrypoint": [], "HostConfig": {"Runtime": "runc"}},
    {"Image": LADEN, "Entrypoint": [], "HostConfig": {"Runtime": "runc"}, "Cmd": ["1"]},
)
"""What no option asks for."""

TOGETHER = (("networks",), ("mounts",), ("process", "resources", "isolation"))
"""Groups of which a container has one line each: what one of them asks for is no matter of the others."""
NOT_ON_OLD_ENGINES = [line for line in OPTIONS["networks"].split("\n") if "mac-address" in line]  # by this client

# What tells one life of a container from another, and is no part of what somebody asked for.
_OF_THIS_LIFE = (
    *("Id", "Created", "State", "LogPath", "ResolvConfPath", "HostnamePath", "HostsPath", "GraphDriver", "ExecIDs"),
    *("RestartCount", "MountLabel", "ProcessLabel", "SizeRw", "SizeRootFs", "Storage", "AppArmorProfile"),
)
_OF_THIS_ENDPOINT = ("EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "IPv6Gateway", "GlobalIPv6Address",
                     "GlobalIPv6PrefixLen", "DNSNames", "NetworkID")  # fmt: skip


def _named(network: str) -> str:
    return "one" if re.fullmatch("[0-9a-f]{12,64}", network) else network  # the only one that is called by its ID


def shape(raw: dict[str, Any]) -> dict[str, Any]:
    """Of an inspect, what was asked for; IDs of its own written as such."""
    identifier = raw["Id"]
    kept = {key: value for key, value in raw.items() if key not in _OF_THIS_LIFE}
    networks = raw["NetworkSettings"]["Networks"] or {}
    kept["NetworkSettings"] = {
        _named(name): {key: value for key, value in endpoint.items() if key not in _OF_THIS_ENDPOINT}
        for name, endpoint in networks.items()
    }
    kept["Mounts"] = sorted(kept["Mounts"], key=lambda mount: mount["Destination"])
    text = json.dumps(kept, sort_keys=True).replace(identifier, "<id>").replace(identifier[:12], "<id>")
    plain: dict[str, Any] = json.loads(text)
    for endpoint in plain["NetworkSettings"].values():
        endpoint["Aliases"] = sorted(alias for alias in endpoint.get("Aliases") or () if alias != "<id>")
    if raw["HostConfig"]["NetworkMode"].startswith("container:"):
        plain["Config"]["Hostname"] = ""  # once it ran, the other's
    plain["Config"]["WorkingDir"] = plain["Config"].get("WorkingDir", "").rstrip("/")  # which some engines do
    for mount in plain["Mounts"]:
        mount["Mode"] = mount["Mode"] or "z"
    host = plain["HostConfig"]
    host["Binds"], host["Mounts"] = None, None  # two ways to ask for what Mounts shows
    host["NetworkMode"] = _named(host["NetworkMode"])
    host["Links"] = sorted(host.get("Links") or ())
    return plain


@pytest.fixture
def world(empty_engine: LabEngine) -> Iterator[tuple[LabEngine, DockerEngine]]:
    with prepared(empty_engine) as made:
        yield made


@contextlib.contextmanager
def prepared(lab: LabEngine) -> Iterator[tuple[LabEngine, DockerEngine]]:
    """An empty engine with what the options need."""
    lab.load(*specs().values())
    lab.docker("run", "--detach", "--name", "single", IMAGE)
    lab.docker("network", "create", "--subnet", "10.99.0.0/24", "one")
    lab.docker("network", "create", "two")
    lab.docker("run", "--detach", "--name", "peer", "--ipc", "shareable", "--volume", "peerdata:/peer", "--volume",
               "/anonymous", "--network", "one", IMAGE)  # fmt: skip
    engine = DockerEngine(lab.host)
    engine.connect()
    yield lab, engine
    engine.close()


def specs() -> dict[str, ImageSpec]:
    """By their tags, the images from which the containers are made."""
    spec = images.busybox(IMAGE, cmd=("sleep", "1000"), own="x")
    laden = replace(
        spec,
        tags=(LADEN,),
        entrypoint=("/bin/sleep",),
        cmd=("1000",),
        labels={"a": "image", "b": "image", "com.docker.compose.project": "p"},
        workdir="/bin/",
        user="5",
        volumes=("/image-data", "/image:data"),
        exposed_ports=("70/tcp", "71/udp"),
        env=("PATH=/bin", "A=image"),
        healthcheck={"Test": ["CMD", "true"], "Interval": 10**10},
    )
    return {IMAGE: spec, LADEN: laden}


def inspected(lab: LabEngine, name: str) -> dict[str, Any]:
    client: Any = lab.client()  # without a version in the path, as its newest API tells
    found: dict[str, Any] = client._result(client.get(f"{client.base_url}/containers/{name}/json"), json=True)
    return found


def again(lab: LabEngine, engine: DockerEngine, name: str) -> None:
    """Remove it and make it again, by what JSON can hold."""
    recipe = recipe_of(engine, Kind.CONTAINER, inspected(lab, name)["Id"])
    lab.client().remove_container(name)
    engine.create(Kind.CONTAINER, recipe)


def _create(lab: LabEngine, options: str) -> None:
    if options.startswith("{"):
        lab.client().create_container_from_config(json.loads(options), "it")
        return
    one = lab.client().inspect_network("one")["Id"]
    words = shlex.split(options.replace("ID_OF_ONE", one).replace("START_OF_ONE", one[:12]))
    lab.docker("create", "--name", "it", *words, *(() if LADEN in words else (IMAGE, "true")))


def unequal(
    lab: LabEngine, engine: DockerEngine, options: str, lives: Sequence[str] = ("created", "ended")
) -> list[str]:
    """What is not as it was after an undo: of one that was only created, and of one that ran and ended.

    Where that may differ: a start writes down what became of namespaces, mounts and networks.
    """
    _create(lab, options)
    found = []
    try:
        for life in lives:
            if life == "ended":
                with contextlib.suppress(APIError):  # some are for other machines than this one
                    lab.client().start("it")
                lab.client().stop("it", timeout=0)
            before = shape(inspected(lab, "it"))
            asked = {name: each["MacAddress"] for name, each in before["NetworkSettings"].items()}
            again(lab, engine, "it")
            after = shape(inspected(lab, "it"))
            for name, address in asked.items():
                if not address and name in after["NetworkSettings"]:  # of one that ended, the engine does not tell it
                    after["NetworkSettings"][name]["MacAddress"] = ""
            found += [f"{life} {options}: {key}: {text}" for key, text in differences(before, after)]
    except (LabError, APIError, EngineError) as error:
        found.append(f"{options}: {error}")
    finally:
        with contextlib.suppress(APIError):
            lab.client().remove_container("it", force=True, v=True)
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in sorted({*before, *after}):
        one, other = before.get(key), after.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from ((f"{key}.{inner}", text) for inner, text in differences(one, other))
        elif (one or None) != (other or None) and _in_order(one) != _in_order(other):
            yield key, f"{one} became {other}"


def _in_order(value: object) -> object:
    return sorted(value, key=str) if isinstance(value, list) else value


def lines(lab: LabEngine, group: str) -> list[str]:
    """The options of a group that the engine has."""
    every = OPTIONS[group].strip().split("\n")
    return [line.format(LADEN=LADEN) for line in every if lab.kind != "graph" or line not in NOT_ON_OLD_ENGINES]


def together(lab: LabEngine) -> list[str]:
    """The options of containers, each with some of several groups."""
    columns = [[line for group in groups for line in lines(lab, group)] for groups in TOGETHER]
    return [" ".join(words) for words in zip_longest(*columns, fillvalue="")]


@pytest.mark.slow(40)
def test_containers_are_made_again_as_they_were(world: tuple[LabEngine, DockerEngine]) -> None:
    lab, engine = world
    both = [*together(lab), *lines(lab, "not everywhere")]
    wrong = [text for options in both for text in unequal(lab, engine, options)]
    wrong += [text for line in lines(lab, "over an image") for text in unequal(lab, engine, line, ("created",))]
    assert wrong == []


NEWER: dict[str, dict[str, Any]] = {
    IMAGE: {"env": ("PATH=/bin:/sbin", "A=default"), "stop_signal": "SIGTERM", "cmd": ("sleep", "2000")},
    LADEN: {
        "entrypoint": ("/bin/busybox", "sleep"),
        "cmd": ("2000",),
        "labels": {"a": "newer", "c": "new"},
        "user": "6",
        "volumes": ("/other-data",),
        "exposed_ports": ("72/tcp",),
        "env": ("PATH=/sbin", "A=newer", "B=more"),
        "healthcheck": {"Test": ["CMD", "echo"], "Interval": 2 * 10**10, "Retries": 7},
        "stop_signal": "SIGTERM",
    },
}
"""What the next versions of the images bring."""

SAME_AS_THE_IMAGE_S = (f"--entrypoint /bin/sleep {LADEN} 1",)
"""Where somebody asked for just what the image says, it counts as the image's."""


def _volumes(raw: dict[str, Any]) -> dict[str, str]:
    return {mount["Destination"]: mount.get("Name", "") for mount in raw["Mounts"]}


def renewed_unlike(lab: LabEngine, engine: DockerEngine, options: str) -> list[str]:
    """How a container that gets a newer image differs from one that is created from that with the same options."""
    tag = LADEN if LADEN in options else IMAGE
    client = lab.client()
    repository, _, version = tag.rpartition(":")
    old, new = (client.inspect_image(name)["Id"] for name in (tag, f"{tag}-newer"))
    try:
        _create(lab, options)
        before = inspected(lab, "it")
        client.tag(new, repository, version)
        recipe = json.loads(json.dumps(engine.renewal(before["Id"], new)))
        client.remove_container("it")  # its names and addresses are taken else
        engine.create(Kind.CONTAINER, recipe)
        renewed = inspected(lab, "it")
        client.remove_container("it")
        _create(lab, options)
        fresh = inspected(lab, "it")
        places, had = _volumes(renewed), _volumes(before)
        found = [f"{options}: lost {place}" for place, name in had.items() if places.get(place) != name]
        found += [f"{options}: no {place}" for place in _volumes(fresh).keys() - places.keys()]
        for each in (renewed, fresh):
            each["Mounts"], each["Config"]["Volumes"] = [], None
        return found + [f"{options}: {key}: {text}" for key, text in differences(shape(fresh), shape(renewed))]
    except (LabError, APIError, EngineError) as error:
        return [f"{options}: {error}"]
    finally:
        client.tag(old, repository, version)
        with contextlib.suppress(APIError):
            client.remove_container("it", force=True)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_a_newer_image_brings_its_defaults_and_nothing_that_was_asked_for_is_lost(
    world: tuple[LabEngine, DockerEngine],
) -> None:
    lab, engine = world
    for tag, newer in NEWER.items():
        spec = ImageSpec(tags=(f"{tag}-newer",), layers=images.busybox(own="y").layers)
        lab.load(replace(spec, **newer))
    every = [line for line in lines(lab, "over an image") if line not in SAME_AS_THE_IMAGE_S]
    every += [*together(lab), *map(json.dumps, BY_THE_API)]
    assert [text for line in every for text in renewed_unlike(lab, engine, line)] == []


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_what_a_container_is_like_is_told_alike_each_time(world: tuple[LabEngine, DockerEngine]) -> None:
    """An engine lists links and mounts in any order, and what seems to have changed is not touched."""
    lab, engine = world
    options = "--link single:a --link single:b --link single:c --volume /a --volume /b --volume n:/c --tmpfs /d"
    lab.docker("create", "--name=it", *options.split(), IMAGE)
    key = inspected(lab, "it")["Id"]
    for _ in range(30):
        assert engine.container(key) == (first := engine.container(key)), first
        assert recipe_of(engine, Kind.CONTAINER, key) == recipe_of(engine, Kind.CONTAINER, key)


def _starts(lab: LabEngine, name: str) -> bool:
    with contextlib.suppress(LabError):
        lab.docker("start", name)
        return True
    return False


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_networks_that_it_joined_and_left_later_are_as_they_were(world: tuple[LabEngine, DockerEngine]) -> None:
    lab, engine = world
    lab.docker("create", "--name", "joined", "--network", "one", IMAGE)
    lab.docker("network", "connect", "--alias", "z", "two", "joined")
    lab.docker("network", "connect", "bridge", "joined")
    lab.docker("create", "--name", "left", "--network", "one", IMAGE)
    lab.docker("network", "connect", "two", "left")
    lab.docker("network", "disconnect", "one", "left")
    lab.docker("create", "--name", "alone", IMAGE)
    lab.docker("network", "disconnect", "bridge", "alone")
    lab.docker("create", "--name", "late", "--network", "none", IMAGE)
    lab.docker("network", "disconnect", "none", "late")
    lab.docker("network", "connect", "--alias", "y", "two", "late")
    lab.docker("create", "--name", "never", "--network", "none", IMAGE)
    lab.docker("network", "create", "old")
    lab.docker("create", "--name", "moved", "--network", "old", IMAGE)
    lab.docker("network", "connect", "two", "moved")
    lab.docker("network", "disconnect", "old", "moved")
    lab.docker("network", "rm", "old")
    for sharing in ("sharing", "as-it-was"):
        lab.docker("create", "--name", sharing, "--network", "container:peer", IMAGE)
        with contextlib.suppress(LabError):  # some engines take that; it has no effect, or no start from 29 on
            lab.docker("network", "connect", "two", sharing)
    starts = {"sharing": _starts(lab, "as-it-was")}
    for name in ("joined", "left", "alone", "late", "never", "sharing", "moved"):
        new = ["HostConfig.NetworkMode"] * (name == "moved")
        before = shape(inspected(lab, name))
        again(lab, engine, name)
        assert [key for key, _ in differences(before, shape(inspected(lab, name)))] == new, name
        assert _starts(lab, name) == starts.get(name, True), name
    lab.docker("stop", "joined", "left", "late", "moved")
    lab.docker("network", "rm", "two")
    with pytest.raises(NotFoundError):
        engine.start_container("joined")
    lab.docker("network", "create", "two")
    before = shape(inspected(lab, "joined"))
    engine.start_container("joined")
    assert inspected(lab, "joined")["State"]["Running"]
    assert shape(inspected(lab, "joined"))["NetworkSettings"].keys() == before["NetworkSettings"].keys()
    assert "z" in shape(inspected(lab, "joined"))["NetworkSettings"]["two"]["Aliases"]


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # no image comes or goes
def test_another_container_that_was_made_again_too_is_joined_as_it_is_now(
    world: tuple[LabEngine, DockerEngine],
) -> None:
    lab, engine = world
    keys = {"--pid": "PidMode", "--ipc": "IpcMode", "--network": "NetworkMode"}
    for option in keys:
        lab.docker("create", f"--name=it{option}", option, "container:peer", "--volumes-from", "peer", IMAGE)
    recipes = {option: recipe_of(engine, Kind.CONTAINER, inspected(lab, f"it{option}")["Id"]) for option in keys}
    lab.docker("rm", *(f"it{option}" for option in keys))
    lab.docker("stop", "peer")
    peer = recipe_of(engine, Kind.CONTAINER, inspected(lab, "peer")["Id"])
    lab.docker("rm", "peer")
    for recipe in recipes.values():
        with pytest.raises(NotFoundError, match="it needs the container peer, which is gone"):
            engine.create(Kind.CONTAINER, recipe)
    assert lab.docker("ps", "--all", "--quiet", "--filter", "name=^it") == ""
    engine.create(Kind.CONTAINER, peer)
    lab.docker("start", "peer")
    for option, recipe in recipes.items():
        engine.create(Kind.CONTAINER, recipe)
        lab.docker("start", f"it{option}")
        mode = inspected(lab, f"it{option}")["HostConfig"][keys[option]]
        assert mode == f"container:{inspected(lab, 'peer')['Id']}", option


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_what_was_gone_before_it_was_is_not_needed(world: tuple[LabEngine, DockerEngine]) -> None:
    lab, engine = world
    client = lab.client()
    lab.docker("network", "create", "gone")
    lab.docker("network", "create", "of a stranger?")
    below = f"{lab.docker('volume', 'inspect', '--format={{.Mountpoint}}', lab.docker('volume', 'create'))}/below"
    volumes = ("--volume=named:/data:ro", "--volume=/tmp:/bound", "--volume=/own-data", f"--volume={below}:/below")
    lab.docker("run", "--detach", "--name=gone", *volumes, IMAGE)
    asked = {
        "volumes": "--volumes-from=gone",
        "namespace": "--network=container:gone",
        "network": "--network=gone --network-alias=x",
        "two": "--network=one",
        "left": "--network=gone",
    }
    for name, options in asked.items():
        lab.docker("create", f"--name={name}", *options.split(), IMAGE)
    lab.docker("network", "connect", "gone", "two")
    lab.docker("network", "connect", "of a stranger?", "two")
    lab.docker("network", "disconnect", "gone", "left")
    lab.docker("rm", "--force", "gone")
    lab.docker("network", "rm", "gone")
    for name, mode in (("none", "default"), ("none-gone", "gone")):
        body = {"Image": IMAGE, "HostConfig": {"NetworkMode": mode, "Runtime": "runc"}, "NetworkDisabled": True}
        client.post(f"{client.base_url}/containers/create", json=body, params={"name": name}).raise_for_status()
    changed = {"volumes": {"HostConfig.VolumesFrom"}, "two": {"NetworkSettings.gone"}}
    for name in (*asked, "none", "none-gone"):
        before = shape(inspected(lab, name))
        again(lab, engine, name)
        after = shape(inspected(lab, name))
        for mount in (*before["Mounts"], *after["Mounts"]):
            mount["Mode"] = ""  # two ways to ask for what the rest of it says
        found = {key for key, _ in differences(before, after)}
        assert found <= changed.get(name, set()), name


def recipe_of(engine: DockerEngine, kind: Kind, key: str) -> dict[str, Any]:
    """By what JSON can hold."""
    recipe: dict[str, Any] = json.loads(json.dumps(engine.parameters(Ref(kind, key))))
    return recipe


NEEDS = {
    "--volume gone:/data": ("volume", "gone"),
    "--volume gone:/data:ro --volume /tmp:/t": ("volume", "gone"),
    "--mount type=volume,source=gone,target=/data": ("volume", "gone"),
    "--mount type=volume,target=/data": ("volume", ""),
    "--volume /data": ("volume", ""),
    "--network gone": ("network", "gone"),
    "--network gone --ip 10.97.0.7": ("network", "gone"),
}


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # no image comes or goes
def test_what_it_needs_and_is_gone_is_not_made_on_the_way(world: tuple[LabEngine, DockerEngine]) -> None:
    lab, engine = world
    for options, (kind, called) in NEEDS.items():
        if kind == "network":
            lab.docker("network", "create", "--subnet", "10.97.0.0/24", called)
        lab.docker("create", "--name", "it", *shlex.split(options), IMAGE)
        name = called or next(mount["Name"] for mount in inspected(lab, "it")["Mounts"] if mount.get("Name"))
        recipe = recipe_of(engine, Kind.CONTAINER, inspected(lab, "it")["Id"])
        lab.docker("rm", "it")
        key = lab.client().inspect_network(name)["Id"] if kind == "network" else name
        needed = recipe_of(engine, Kind(kind), key)
        lab.docker(kind, "rm", name)
        with pytest.raises(NotFoundError, match=f"it needs the {kind} {name}, which is gone"):
            engine.create(Kind.CONTAINER, recipe)
        assert name not in lab.docker(kind, "ls", "--format={{.Name}}").split(), options
        assert lab.docker("ps", "--all", "--quiet", "--filter", "name=^it$") == "", options
        engine.create(Kind(kind), needed)
        engine.create(Kind.CONTAINER, recipe)
        lab.docker("rm", "it")
        lab.docker(kind, "rm", name)


def _beginning(make: Callable[[], dict[str, Any]], length: int) -> str:
    """What the IDs of two begin with."""
    made: list[str] = []
    while len(set(made)) == len(made):
        made.append(make()["Id"][:length])
    return made[-1]


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # no image comes or goes
@pytest.mark.parametrize("others", ["one", "several"])
def test_what_is_gone_is_not_taken_for_what_has_an_id_that_begins_like_its_name(
    world: tuple[LabEngine, DockerEngine], others: str
) -> None:
    """As one called ``db`` may be: an engine asked for that finds what has such an ID, or says that several have."""
    lab, engine = world
    client, names = lab.client(), map(str, count())
    network, container = client.inspect_network("two")["Id"][:5], inspected(lab, "single")["Id"][:5]
    if others == "several":
        network = _beginning(lambda: client.create_network(f"more-{next(names)}"), 1)
        container = _beginning(lambda: client.create_container(IMAGE), 2)
    volumes = f"--volumes-from={container}"
    asked = {"network": f"--network={network}", "link": f"--link={container}:x", "volumes": volumes}
    lab.docker("network", "create", network)
    lab.docker("run", "--detach", f"--name={container}", "--volume=named:/named", IMAGE)
    for name, option in asked.items():
        lab.docker("create", f"--name={name}", option, IMAGE)
    recipes = {name: recipe_of(engine, Kind.CONTAINER, inspected(lab, name)["Id"]) for name in asked}
    lab.docker("create", "--name=late", volumes, IMAGE)
    lab.docker("rm", "--force", *asked, container)
    lab.docker("network", "rm", network)
    for name, recipe in recipes.items():
        with pytest.raises(NotFoundError, match=r"it needs the .*, which is gone"):
            engine.create(Kind.CONTAINER, recipe)
        assert lab.docker("ps", "--all", "--quiet", f"--filter=name=^{name}$") == ""
    again(lab, engine, "late")  # by what it has, as nobody else brings it any more
    assert _volumes(inspected(lab, "late")) == {"/named": "named"}


@pytest.mark.parametrize("engine", ["graph"], indirect=True)  # no image comes or goes
def test_a_network_that_somebody_called_by_a_part_of_its_id_may_come_back_under_another(
    world: tuple[LabEngine, DockerEngine],
) -> None:
    lab, engine = world
    network = lab.docker("network", "create", "called").strip()
    for name, length in (("created", 8), ("ran", 4)):
        lab.docker("create", f"--name={name}", f"--network={network[:length]}", "--network-alias=x", IMAGE)
    lab.docker("start", "ran")
    needed = recipe_of(engine, Kind.NETWORK, network)
    recipes = {name: recipe_of(engine, Kind.CONTAINER, inspected(lab, name)["Id"]) for name in ("created", "ran")}
    lab.docker("rm", "--force", *recipes)
    lab.docker("network", "rm", "called")
    engine.create(Kind.NETWORK, needed)
    for name, recipe in recipes.items():
        lab.docker("start", engine.create(Kind.CONTAINER, recipe))
        assert [*inspected(lab, name)["NetworkSettings"]["Networks"]] == ["called"]


NETWORKS = """
--label a=1 --label b=
--internal
--attachable
--subnet 10.81.0.0/24 --gateway 10.81.0.9 --ip-range 10.81.0.128/25 --aux-address x=10.81.0.5
--ipv6 --subnet fd00:81::/64
--opt com.docker.network.bridge.name=mine0 --opt com.docker.network.driver.mtu=1400
--driver macvlan --opt parent=lo
--driver ipvlan --opt parent=lo --opt ipvlan_mode=l3
--config-only --subnet 10.82.0.0/24
--config-from configuration --driver bridge
""".strip().split("\n")


@pytest.mark.parametrize("engine", ["either"], indirect=True)
def test_networks_are_made_again_as_they_were(world: tuple[LabEngine, DockerEngine]) -> None:
    lab, engine = world
    lab.docker("network", "create", "--config-only", "--subnet", "10.83.0.0/24", "configuration")
    for line in NETWORKS:
        if "vlan" in line:  # of which this kernel may know nothing
            with contextlib.suppress(LabError):
                lab.docker("network", "create", *shlex.split(line), "it")
        else:
            lab.docker("network", "create", *shlex.split(line), "it")
        if not lab.docker("network", "ls", "--quiet", "--filter", "name=^it$"):
            continue
        before = json.loads(lab.docker("network", "inspect", "it"))[0]
        recipe = recipe_of(engine, Kind.NETWORK, before["Id"])
        lab.docker("network", "rm", "it")
        engine.create(Kind.NETWORK, recipe)
        after = json.loads(lab.docker("network", "inspect", "it"))[0]
        for each in (before, after):
            del each["Id"], each["Created"]
        assert recipe_of(engine, Kind.NETWORK, "it") == recipe, line
        assert list(differences(before, after)) == [], line
        lab.docker("network", "rm", "it")

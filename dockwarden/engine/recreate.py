"""From the inspect of a container, volume or network to the request that makes it again.

Input: an engine's answers, later the same reduced to JSON. Output: that JSON, the request. Out of bounds: what is
inside of them, and starting anything.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, assert_never
from urllib.parse import quote

from docker.errors import APIError, NotFound
from docker.utils import version_gte, version_lt

from dockwarden.engine.containers import volume_of
from dockwarden.engine.fields import Fields
from dockwarden.engine.layer import cleaned
from dockwarden.engine.transport import Client, from_status
from dockwarden.errors import MissingError, NotFoundError
from dockwarden.model import JOINED, Kind

_NEVER_JOINED = frozenset({"host", "none"})
_ENDPOINT_KEYS = ("IPAMConfig", "Links", "Aliases", "DriverOpts", "MacAddress", "GwPriority")
_NETWORK_KEYS = (
    *("Name", "Driver", "Scope", "Internal", "Attachable", "Ingress", "EnableIPv4", "EnableIPv6"),
    *("IPAM", "Options", "Labels", "ConfigOnly", "ConfigFrom"),
)
_NOT_OF_CONFIGURATIONS = ("Scope", "Internal", "Attachable", "Ingress")
_OF_CONFIGURATIONS = ("IPAM", "Options", "EnableIPv4", "EnableIPv6", "Labels")
_NAMESPACES = ("NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode")
_SHORT_ID = 12
_NO_CHANCE = 6  # by no more of a name does an ID begin by chance
_GONE = "Gone"
_MAC_OF_ENDPOINTS = "1.44"  # and from 1.52 on of nothing else
_TOLD_UNTIL = "1.51"  # whether somebody asked for the MAC address


def container(raw: Mapping[str, Any], image: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What makes a container again: by its inspect, and that of its image, empty if that is gone.

    ``names``: of the containers that it needs, by what it calls them, "" for one that is gone; see ``peers``.
    """
    fields = Fields(raw, "container")
    identifier = fields.text("Id")
    config, host = dict(raw["Config"]), dict(raw["HostConfig"])
    networks = (raw.get("NetworkSettings") or {}).get("Networks") or {}
    by_id = {network.get("NetworkID"): name for name, network in networks.items() if network}
    host["NetworkMode"] = by_id.get(host.get("NetworkMode"), host.get("NetworkMode"))
    _forget_what_the_engine_chose(config, host, identifier)
    host["Links"] = sorted(host.get("Links") or ()) or None
    _settle_mounts(raw.get("Mounts") or (), config, host, {called for called, name in names.items() if not name})
    first = first_network(host)
    asked = {name: _endpoint(network or {}, identifier) for name, network in networks.items()}
    if first == "bridge" and (networks.get("bridge") or {}).get("EndpointID"):  # the engine picks one for this life
        asked.get("bridge", {}).pop("MacAddress", None)
    endpoints = {
        name: endpoint
        for name, endpoint in asked.items()
        if name not in _NEVER_JOINED and (endpoint or name != "bridge" or first != "bridge")
    }
    return {
        "name": fields.text("Name").removeprefix("/"),
        "image_ref": fields.nested("Config").text("Image", ""),
        "image_id": fields.text("Image"),
        "platform": _platform((raw.get("ImageManifestDescriptor") or {}).get("platform") or {}) or _platform(image),
        "body": {**config, "HostConfig": host},
        "endpoints": endpoints,
        "networks": list(networks),
        "gone": list(raw.get(_GONE, ())),
        "peers": {called: names.get(called, "") for called in peers({"HostConfig": host})},
    }


def _forget_what_the_engine_chose(config: dict[str, Any], host: dict[str, Any], identifier: str) -> None:
    """Leave out what an inspect shows and a create refuses, or would take for a wish of somebody's."""
    is_joined = str(host["NetworkMode"] or "").startswith(JOINED)
    if config.get("Hostname") == identifier[:_SHORT_ID] or is_joined or host.get("UTSMode") == "host":
        config.pop("Hostname", None)
    if is_joined:  # the image's
        config.pop("ExposedPorts", None)
    if not config.get("Entrypoint"):  # none, and not the image's
        config["Entrypoint"] = [""]
    host["OomKillDisable"] = bool(host.get("OomKillDisable"))  # which a start forgets with control groups version 2


def _settle_mounts(
    mounts: Iterable[Mapping[str, Any]], config: Mapping[str, Any], host: dict[str, Any], gone: set[str]
) -> None:
    """Let volumes that the engine made up be found again; those of others that live come with ``VolumesFrom``."""
    every = host.get("VolumesFrom") or ()
    host["VolumesFrom"] = [other for other in every if other.partition(":")[0].removeprefix("/") not in gone] or None
    is_left_alone = len(host["VolumesFrom"] or ()) < len(every)  # of some that are gone nobody else brings the volumes
    binds = {_target(bind): bind for bind in host.get("Binds") or ()}
    asked = {cleaned(mount["Target"]): dict(mount) for mount in host.get("Mounts") or ()}
    made_up = {cleaned(place) for place in config.get("Volumes") or ()}
    for mount in sorted(mounts, key=lambda mount: str(mount["Destination"])):
        place = cleaned(mount["Destination"])
        is_volume = mount.get("Name") or mount.get("Type") == "volume" or place in binds or place in made_up
        name = volume_of(Fields(mount, "mount")) if is_volume else ""  # of a path below a volume's folder none
        if place in asked:
            if name and not asked[place].get("Source"):
                asked[place]["Source"] = name
        elif place in binds:
            if ":" not in binds[place]:
                binds[place] = _bind(mount, name, place)
        elif (place in made_up or is_left_alone) and ":" in place:  # which no bind can say
            asked[place] = {"Type": mount.get("Type"), "Source": name or mount.get("Source"), "Target": place}
            asked[place]["ReadOnly"] = not mount.get("RW", True)
        elif place in made_up or is_left_alone:
            binds[place] = _bind(mount, name, place)
    host["Binds"] = list(binds.values()) or None
    if asked:
        host["Mounts"] = list(asked.values())


def _bind(mount: Mapping[str, Any], name: str, place: str) -> str:
    """A mount as ``-v`` has it; ``name``: of its volume, if it is one."""
    how = ("" if mount.get("RW", True) else "ro", "" if name else mount.get("Propagation"))
    return f"{name or mount.get('Source')}:{place}:{','.join(filter(None, how))}".removesuffix(":")


def _target(bind: str) -> str:
    parts = bind.split(":")
    return cleaned(parts[1] if len(parts) > 1 else bind)


def inspected(client: Client, identifier: str) -> dict[str, Any]:
    """The inspect of a container; what its creator joined by ID, by the name that it will have in another life, too."""
    raw: dict[str, Any] = client.inspect_container(identifier)
    if version_lt(_TOLD_UNTIL, client.api_version):
        answer = client.get(f"{client.base_url}/v{_TOLD_UNTIL}/containers/{raw['Id']}/json")
        if answer.ok:  # some day engines will not speak it any more
            raw["Config"]["MacAddress"] = answer.json()["Config"].get("MacAddress")
    first, joined = first_network(raw["HostConfig"]), raw["NetworkSettings"]["Networks"]
    is_asked = first not in ("bridge", *_NEVER_JOINED) and not first.startswith(JOINED)
    own = {first: joined[first]} if first in joined else joined
    known = {*own, *((each or {}).get("NetworkID") for each in own.values())}
    if is_asked and (found := _found(client.inspect_network, first, known)):
        raw["HostConfig"]["NetworkMode"] = name = found["Name"]
        raw["NetworkSettings"]["Networks"] = {name if key == first else key: each for key, each in joined.items()}
    asked = {*raw["NetworkSettings"]["Networks"], first_network(raw["HostConfig"])}  # which it may have left
    asked = {name for name in asked - _NEVER_JOINED if not name.startswith(JOINED)}
    raw[_GONE] = sorted(name for name in asked if not _found(client.inspect_network, name))
    return raw


def first_network(host: Mapping[str, Any]) -> str:
    """The one that it was created in, by name or ID."""
    mode = str(host.get("NetworkMode") or "default")
    return "bridge" if mode == "default" else mode


def _endpoint(network: Mapping[str, Any], identifier: str) -> dict[str, Any]:
    kept = {key: network[key] for key in _ENDPOINT_KEYS if network.get(key)}
    aliases = [alias for alias in kept.pop("Aliases", ()) if alias != identifier[:_SHORT_ID]]
    return {**kept, "Aliases": aliases} if aliases else kept


def _platform(says: Mapping[str, Any]) -> str:
    """``linux/arm64/v8``, from the entry of an index or the inspect of an image; "" if it does not say."""
    found = {key.lower(): value for key, value in says.items()}
    parts = (found.get("os"), found.get("architecture"), found.get("variant"))
    return "/".join(part for part in parts if part) if all(parts[:2]) else ""


def peers(raw: Mapping[str, Any]) -> list[str]:
    """The containers without which it cannot be made, as its inspect calls them: mostly by ID."""
    host = raw["HostConfig"]
    joined = [str(host.get(key) or "") for key in _NAMESPACES]
    peers = [mode.removeprefix(JOINED) for mode in joined if mode.startswith(JOINED)]
    peers += [part.partition(":")[0] for key in ("VolumesFrom", "Links") for part in host.get(key) or ()]
    return list(dict.fromkeys(peer.removeprefix("/") for peer in peers))


def volume(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Name, driver, options and labels of a volume, and where its contents are on the engine's host."""
    fields = Fields(raw, "volume")
    return {
        "Name": fields.text("Name"),
        "Driver": fields.text("Driver", ""),
        "DriverOpts": fields.labels("Options") or raw.get("Options"),  # none at all is not the same as empty
        "Labels": fields.labels("Labels") or raw.get("Labels"),
        "Mountpoint": fields.text("Mountpoint", ""),
    }


def network(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The body that makes a network of the same name, address range and options."""
    is_from_another = bool((raw.get("ConfigFrom") or {}).get("Network"))
    given = (_OF_CONFIGURATIONS if is_from_another else ()) + (_NOT_OF_CONFIGURATIONS if raw.get("ConfigOnly") else ())
    kept = {key: raw[key] for key in _NETWORK_KEYS if key in raw and key not in given}
    if pools := (kept.get("IPAM") or {}).get("Config"):  # IPv4 first, as engines tell of one that was given both
        kept["IPAM"] = {**kept["IPAM"], "Config": sorted(pools, key=lambda pool: ":" in pool.get("Subnet", ""))}
    return kept


def create(client: Client, kind: Kind, parameters: Mapping[str, Any]) -> str:
    match kind:
        case Kind.CONTAINER:
            return _create_container(client, parameters)
        case Kind.VOLUME:
            client.create_volume(
                parameters["Name"], parameters["Driver"], parameters["DriverOpts"], parameters["Labels"]
            )
            return str(parameters["Name"])
        case Kind.NETWORK:
            answer = _post(client, "/networks/create", {**parameters, "CheckDuplicate": True})
            return Fields(answer, "network").text("Id")
        case Kind.IMAGE | Kind.TAG | Kind.SERVICE | Kind.HOST:
            raise ValueError(f"{kind}: not made from parameters")
        case _:
            assert_never(kind)


def _create_container(client: Client, parameters: Mapping[str, Any]) -> str:
    endpoints = dict(parameters["endpoints"])
    host = _with_living_peers(client, parameters)
    gone = set(parameters.get("gone", ()))  # networks that were gone before it was, which an engine takes at its birth
    joined, first = endpoints.keys() - gone, first_network(host)
    had_left = not first.startswith(JOINED) and first not in parameters.get("networks", host.values())
    if joined and had_left and not _found(client.inspect_network, first):
        host["NetworkMode"] = min(joined)
    _refuse_gaps(client, host, {*endpoints}, gone)
    body = {**parameters["body"], "HostConfig": host}
    mode, first = host.get("NetworkMode"), first_network(host)
    born = {first} & endpoints.keys()  # old engines take one at the birth of a container
    if version_gte(client.api_version, _MAC_OF_ENDPOINTS):
        if address := body.pop("MacAddress", None):
            endpoints[first] = {**endpoints.get(first, {}), "MacAddress": address}
        born |= {name for name in endpoints.keys() - gone if "MacAddress" in endpoints[name]}  # no effect later
    if born:
        asked = {first: {}, **{name: endpoints.pop(name) for name in born}}
        body["NetworkingConfig"] = {"EndpointsConfig": {mode if name == first else name: asked[name] for name in asked}}
    platform = parameters.get("platform") or None
    made = client.create_container_from_config(body, parameters["name"], platform)  # type: ignore[no-untyped-call]
    identifier = Fields(made, "container").text("Id")
    try:
        is_left = first not in parameters.get("networks", (first,))
        stays = first == "host" or first.startswith(JOINED) or body.get("NetworkDisabled")
        if is_left and not stays:  # before it joins others, as `none` allows none beside it
            _tie(client, "disconnect", first, Container=identifier, Force=True)
        for name, endpoint in endpoints.items():
            if name not in gone or _found(client.inspect_network, name):
                _tie(client, "connect", name, Container=identifier, EndpointConfig=endpoint)
    except Exception:
        client.remove_container(identifier)  # half of one is none
        raise
    return identifier


def start(client: Client, identifier: str, instead_of: str = "") -> None:
    """Start a container. A network that was made again meanwhile is another one to the engine: it joins that.

    ``instead_of``: one that was stopped for it. Only then engines tell whether somebody asked for the address that it
    has in a network of a swarm; what nobody asked for may be another one's by the next start.
    """
    if instead_of:
        with suppress(NotFound):  # somebody removed that one
            asked = {name: endpoint.get("IPAMConfig") for name, endpoint in _joined(client, instead_of).items()}
            for name, endpoint in _joined(client, identifier).items():
                is_same = name not in asked or (endpoint.get("IPAMConfig") or None) == (asked[name] or None)
                if not (is_same or endpoint.get("MacAddress")):  # which has no effect later
                    _join_again(client, name, identifier, {**endpoint, "IPAMConfig": asked[name]})
    try:
        client.start(identifier)
    except NotFound:
        for name, endpoint in _joined(client, identifier).items():
            with suppress(NotFound):
                now = _found(client.inspect_network, name)
                if now and endpoint["NetworkID"] not in ("", now["Id"]):
                    _join_again(client, name, identifier, endpoint)
        client.start(identifier)


def _joined(client: Client, identifier: str) -> dict[str, dict[str, Any]]:
    networks = client.inspect_container(identifier)["NetworkSettings"]["Networks"]
    return {name: network or {} for name, network in networks.items()}


def _join_again(client: Client, network: str, identifier: str, endpoint: Mapping[str, Any]) -> None:
    _tie(client, "disconnect", network, Container=identifier, Force=True)
    _tie(client, "connect", network, Container=identifier, EndpointConfig=_endpoint(endpoint, identifier))


def _with_living_peers(client: Client, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The host's part of the body; a container that was made again meanwhile is called by the ID that it has now."""
    host = dict(parameters["body"]["HostConfig"])
    moved: Mapping[str, str] = parameters.get("moved", {})
    for called, name in parameters.get("peers", {}).items():
        is_dead = not name and host.get("NetworkMode") == f"{JOINED}{called}"  # which an engine takes
        if called not in moved and (is_dead or _id_of(client, called)):
            continue
        now = moved.get(called) or _id_of(client, name)
        if not now:
            raise MissingError(Kind.CONTAINER, name or called, called)
        for key in _NAMESPACES:
            if host.get(key) == f"{JOINED}{called}":
                host[key] = f"{JOINED}{now}"
        host["VolumesFrom"] = [
            re.sub(rf"^/?{re.escape(called)}(?=:|$)", now, source) for source in host.get("VolumesFrom") or ()
        ] or None
    return host


def _refuse_gaps(client: Client, host: Mapping[str, Any], endpoints: set[str], gone: set[str]) -> None:
    """Raises if a volume or network is gone: an engine would make an empty volume of that name, and say nothing."""
    sources = [bind.partition(":")[0] for bind in host.get("Binds") or () if ":" in bind]
    sources += [mount.get("Source") for mount in host.get("Mounts") or () if mount.get("Type") == "volume"]
    first = first_network(host)
    networks = {*endpoints, *(() if first in _NEVER_JOINED or first.startswith(JOINED) else (first,))}
    for kind, names, look in (
        (Kind.VOLUME, {name for name in sources if name and not name.startswith("/")}, client.inspect_volume),
        (Kind.NETWORK, networks - gone, client.inspect_network),
    ):
        for name in sorted(names):
            if not _found(look, name):
                raise MissingError(kind, name)


def names(client: Client, containers: Iterable[str]) -> dict[str, str]:
    """By what each is called, its name; "" for one that is gone."""
    found = ((called, _found(client.inspect_container, called)) for called in containers)
    return {called: _name(each) if each else "" for called, each in found}


def _found(
    look: Callable[[str], Mapping[str, Any]], called: str, known: Collection[str] = ()
) -> Mapping[str, Any] | None:
    """The inspect of what has this name or ID; None also where only the ID of another begins like a name, as ``db``.

    ``known``: names and IDs of what may be called by as little of its ID as somebody typed.
    """
    try:
        found = look(called)
    except APIError as error:
        answer = error.response
        if answer is None or not isinstance(from_status(answer.status_code, answer.content, called), NotFoundError):
            raise
        return None
    identifier = found.get("Id")  # volumes have none, and are found by no part of their name
    if identifier is None or called == _name(found):
        return found
    is_no_name = len(called) >= _NO_CHANCE or identifier in known or _name(found) in known
    return found if is_no_name and identifier.startswith(called) else None


def _name(inspected: Mapping[str, Any]) -> str:
    return str(inspected["Name"]).removeprefix("/")


def _id_of(client: Client, called: str) -> str:
    found = _found(client.inspect_container, called) if called else None
    return str(found["Id"]) if found else ""


def _tie(client: Client, verb: str, network: str, **body: object) -> None:
    """Connect to a network, or disconnect; strangers choose its name."""
    _post(client, f"/networks/{quote(network, safe='')}/{verb}", body)


def _post(client: Client, path: str, body: Mapping[str, Any]) -> Any:
    answer = client.post(f"{client.base_url}/v{client.api_version}{path}", json=body)
    answer.raise_for_status()
    return answer.json() if answer.content else None

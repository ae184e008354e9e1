"""From the inspect of a container, volume or network to the request that makes it again.

Input: an engine's answers, later the same reduced to JSON. Output: that JSON, the request. Out of bounds: what is
inside of them, and starting anything.
"""

from collections.abc import Mapping
from typing import Any, assert_never

from dockwarden.engine.fields import Fields
from dockwarden.engine.transport import Client
from dockwarden.model import Kind

_OWN_NETWORKS = frozenset({"bridge", "host", "none"})
_ENDPOINT_KEYS = ("IPAMConfig", "Links", "Aliases", "DriverOpts")
_NETWORK_KEYS = ("Name", "Driver", "Internal", "Attachable", "EnableIPv6", "IPAM", "Options", "Labels", "ConfigOnly")
_SHORT_ID = 12


def container(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Name, image, body and further networks of a container."""
    fields = Fields(raw, "container")
    identifier = fields.text("Id")
    config, host = dict(raw["Config"]), dict(raw["HostConfig"])
    if config.get("Hostname") == identifier[:_SHORT_ID]:
        config.pop("Hostname")  # the engine's own choice
    settings = raw.get("NetworkSettings") or {}
    networks = settings.get("Networks") or {}
    by_id = {network.get("NetworkID"): name for name, network in networks.items() if network}
    host["NetworkMode"] = by_id.get(host.get("NetworkMode"), host.get("NetworkMode"))
    host["Binds"] = [*(host.get("Binds") or []), *_unnamed_mounts(raw, host)] or None
    endpoints = {
        name: _endpoint(network or {}, identifier) for name, network in networks.items() if name not in _OWN_NETWORKS
    }
    return {
        "name": fields.text("Name").removeprefix("/"),
        "image_ref": fields.nested("Config").text("Image", ""),
        "image_id": fields.text("Image"),
        "body": {**config, "HostConfig": host},
        "endpoints": endpoints,
    }


def _unnamed_mounts(raw: Mapping[str, Any], host: Mapping[str, Any]) -> list[str]:
    """Volumes that the engine made up for the container; they stay when it goes, and are to be found again."""
    asked_for = {bind.split(":")[1] for bind in host.get("Binds") or [] if ":" in bind}
    asked_for |= {mount.get("Target") for mount in host.get("Mounts") or [] if mount.get("Source")}
    return [
        f"{mount['Name']}:{mount['Destination']}"
        for mount in raw.get("Mounts") or []
        if mount.get("Type") == "volume" and mount.get("Name") and mount["Destination"] not in asked_for
    ]


def _endpoint(network: Mapping[str, Any], identifier: str) -> dict[str, Any]:
    kept = {key: network[key] for key in _ENDPOINT_KEYS if network.get(key)}
    aliases = [alias for alias in kept.pop("Aliases", ()) if alias != identifier[:_SHORT_ID]]
    return {**kept, "Aliases": aliases} if aliases else kept


def volume(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Name, driver, options and labels of a volume, and where its contents are on the engine's host."""
    fields = Fields(raw, "volume")
    return {
        "Name": fields.text("Name"),
        "Driver": fields.text("Driver", ""),
        "DriverOpts": fields.labels("Options"),
        "Labels": fields.labels("Labels"),
        "Mountpoint": fields.text("Mountpoint", ""),
    }


def network(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The body that makes a network of the same name, address range and options."""
    return {key: raw[key] for key in _NETWORK_KEYS if key in raw}


def create(client: Client, kind: Kind, parameters: Mapping[str, Any]) -> str:
    """Make it; gives its ID, or the name of a volume."""
    match kind:
        case Kind.CONTAINER:
            return _create_container(client, parameters)
        case Kind.VOLUME:
            client.create_volume(
                parameters["Name"], parameters["Driver"], parameters["DriverOpts"], parameters["Labels"]
            )
            return str(parameters["Name"])
        case Kind.NETWORK:
            body = {**parameters, "CheckDuplicate": True}
            answer = client.post(f"{client.base_url}/v{client.api_version}/networks/create", json=body)
            answer.raise_for_status()
            return Fields(answer.json(), "network").text("Id")
        case Kind.IMAGE | Kind.TAG | Kind.HOST:
            raise ValueError(f"{kind}: not made from parameters")
        case _:
            assert_never(kind)


def _create_container(client: Client, parameters: Mapping[str, Any]) -> str:
    endpoints = dict(parameters["endpoints"])
    body = dict(parameters["body"])
    mode = body["HostConfig"].get("NetworkMode")
    if mode in endpoints:  # old engines take one at the birth of a container
        body["NetworkingConfig"] = {"EndpointsConfig": {mode: endpoints.pop(mode)}}
    made = client.create_container_from_config(body, parameters["name"])  # type: ignore[no-untyped-call]
    identifier = Fields(made, "container").text("Id")
    try:
        for name, endpoint in endpoints.items():
            answer = client.post(
                f"{client.base_url}/v{client.api_version}/networks/{name}/connect",
                json={"Container": identifier, "EndpointConfig": endpoint},
            )
            answer.raise_for_status()
    except Exception:
        client.remove_container(identifier)  # half of one is none
        raise
    return identifier

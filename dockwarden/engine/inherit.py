"""What somebody set on a container, without what it has from its image: so a newer image brings its own defaults.

Input: what makes the container again, the inspects of it and of its image. Output: what makes one like it from another
image. Out of bounds: asking the engine. An inspect shows both alike, so what equals the image's default counts as the
image's.
"""

import re
from collections.abc import Iterable, Mapping
from posixpath import normpath
from typing import Any

_COMPOSE = "com.docker.compose."
COMPOSE_IMAGE = f"{_COMPOSE}image"
"""The label by which Compose tells whether a container runs the image that it should."""

_LOCAL = 2  # the bit of a MAC address that no vendor gave
_USUAL = "02:42:"
_SINGLE = ("User", "WorkingDir", "StopSignal", "Shell")
_MAPS = ("Labels", "Volumes", "ExposedPorts")
_MASKED = {
    *("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
}
_MASKED_LATER = re.compile(
    "/proc/asound|/proc/interrupts|/sys/devices/virtual/powercap|/sys/devices/system/cpu/cpu[0-9]+/thermal_throttle"
)
_OF_A_CHECK = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")


def renewed(
    parameters: Mapping[str, Any], container: Mapping[str, Any], image: Mapping[str, Any], newer: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters of one like this from another image: by its inspect, its image's, and the other image's."""
    old: Mapping[str, Any] = image.get("Config") or {}
    own = {key: value for key, value in parameters["body"].items() if key != "OnBuild"}
    published = tuple(own["HostConfig"].get("PortBindings") or ())
    for key in _SINGLE:
        if _is_same(key, own.get(key), old.get(key)):
            own.pop(key, None)
    for key in _MAPS:
        own[key] = _own_entries(own.get(key) or {}, old.get(key) or {}, published) or None
    inherited = set(old.get("Env") or ())
    own["Env"] = [entry for entry in own.get("Env") or () if entry not in inherited] or None
    _start_as_it_was_asked(own, container["Config"], old)
    check, theirs = own.pop("Healthcheck", None) or {}, old.get("Healthcheck") or {}
    if asked := {key: check[key] for key in _OF_A_CHECK if check.get(key) and check[key] != theirs.get(key)}:
        own["Healthcheck"] = asked
    if not own["HostConfig"].get("Privileged") and _is_usual(own["HostConfig"].get("MaskedPaths") or ()):
        own["HostConfig"] = {**own["HostConfig"], "MaskedPaths": None}
    if own["Labels"] and COMPOSE_IMAGE in own["Labels"]:
        own["Labels"][COMPOSE_IMAGE] = _as_compose_says(own["Labels"][COMPOSE_IMAGE], container, newer)
    return {**parameters, "body": own, "endpoints": _without_made_up_addresses(parameters, container)}


def _as_compose_says(label: str, container: Mapping[str, Any], newer: Mapping[str, Any]) -> str:
    """What Compose calls the newer image: since 5.4, on stores that tell it, the manifest for this platform."""
    old, manifests = container.get("ImageManifestDescriptor") or {}, newer.get("Manifests") or ()
    here = [each for each in manifests if each["Available"] and each["Kind"] == "image"]
    ours = [each for each in here if (each.get("ImageData") or {}).get("Platform") == old.get("platform")] or here
    is_a_manifest = label == old.get("digest") != container["Image"]
    return str(ours[0]["ID"] if is_a_manifest and len(ours) == 1 else newer["Id"])


def _is_usual(masked: Iterable[str]) -> bool:
    """Whether an engine masked them unasked: one that was upgraded since may mask more."""
    paths = {*masked}
    return paths >= _MASKED and all(_MASKED_LATER.fullmatch(path) for path in paths - _MASKED)


def _is_same(key: str, given: Any, theirs: Any) -> bool:
    """Whether it is the image's; a folder may be written in two ways."""
    if key == "WorkingDir" and given and theirs:
        return bool(normpath(given) == normpath(theirs))
    return bool(given == theirs)


def _own_entries(given: Mapping[str, Any], theirs: Mapping[str, Any], published: tuple[str, ...]) -> dict[str, Any]:
    """Those of a map that are not the image's.

    An image that Compose built has some of its labels, too. A port is published only where it is exposed.
    """
    kept = _COMPOSE if any(name.startswith(_COMPOSE) for name in given.keys() - theirs.keys()) else published
    return {name: value for name, value in given.items() if theirs.get(name, ...) != value or name.startswith(kept)}


def _start_as_it_was_asked(own: dict[str, Any], now: Mapping[str, Any], old: Mapping[str, Any]) -> None:
    """Entrypoint and command go together: an image's command is used only where neither was asked for.

    Whoever asks for ``[]`` wants no entrypoint, and the image's command where there is no other.
    """
    entry, command = now.get("Entrypoint"), now.get("Cmd") or None
    is_same_entry = entry == old.get("Entrypoint") or (entry is None and not old.get("Entrypoint"))
    is_same_command = command == (old.get("Cmd") or None)
    if is_same_entry and (is_same_command or command):
        own.pop("Entrypoint", None)
    elif entry == []:
        own["Entrypoint"] = []
    if is_same_command and (is_same_entry or entry == []):
        own.pop("Cmd", None)


def _without_made_up_addresses(parameters: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """A MAC address that nobody asked for would be there twice, as soon as both run; engines make up local ones.

    Those before 28 take it from the IPv4 address, others at random; nobody tells what was asked of further networks.
    """
    asked, joined = container["Config"].get("MacAddress") or "", container["NetworkSettings"]["Networks"]

    def is_asked(name: str, address: str) -> bool:
        numbers = ((joined.get(name) or {}).get("IPAddress") or "0").split(".")
        from_ip = _USUAL + ":".join(f"{int(number):02x}" for number in numbers)
        is_usual = address.startswith(_USUAL) and address != from_ip
        return is_usual or address == asked or not int(address[:2], 16) & _LOCAL

    return {
        name: {key: value for key, value in endpoint.items() if key != "MacAddress" or is_asked(name, value)}
        for name, endpoint in parameters["endpoints"].items()
    }

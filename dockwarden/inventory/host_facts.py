"""Facts of volumes, networks and the host. Pure; see ``facts``."""

from collections.abc import Callable
from datetime import timedelta

from dockwarden.inventory.container_facts import owner_of
from dockwarden.inventory.view import Read, Row, View, span, time, used_by
from dockwarden.model import EngineInfo, FactValue, Kind, Thing, ref_of
from dockwarden.ports import Disk, Usage
from dockwarden.text import in_bytes


def _known_for(thing: Thing, view: View) -> timedelta:
    return span(view.inventory.known_for(ref_of(thing)))


def _idle_for(thing: Thing, view: View) -> timedelta:
    return span(view.inventory.idle_for(ref_of(thing)))


def _containers(thing: Thing, view: View) -> int:
    return sum(1 for user in view.inventory.users_of(ref_of(thing)) if user.kind is Kind.CONTAINER)


VOLUME: tuple[Row, ...] = (
    ("name", "string", 0, "name", lambda o, _: o.name),
    ("driver", "string", 0, "driver", lambda o, _: o.driver),
    ("labels", "map(string)", 0, "labels", lambda o, _: dict(o.labels)),
    ("anonymous", "bool", 0, "nobody named it", lambda o, _: o.anonymous),
    ("created", "timestamp", 0, "when it was created", lambda o, _: time(o.created_at)),
    (
        "in_use",
        "bool",
        0,
        "a container, running or not, or a service mounts it",
        lambda o, v: v.inventory.is_used(ref_of(o)),
    ),
    ("container_count", "int", 0, "containers that mount it", _containers),
    ("used_by", "list(string)", 0, "names of the containers and services that mount it", used_by),
    ("options", "map(string)", 0, "options of its driver; secrets as `***`", lambda o, _: dict(o.options)),
    ("known_for", "duration", 0, "how long we have watched it exist", _known_for),
    ("idle_for", "duration", 0, "how long we have watched it without a container", _idle_for),
    ("owner", "string", 0, "compose, swarm, or empty", lambda o, _: owner_of(o.labels)),
    (
        "size",
        "int",
        2,
        "bytes in it, where the engine can tell",
        lambda o, v: v.usage.volumes.get(o.name) if v.usage else None,
    ),
)


NETWORK: tuple[Row, ...] = (
    ("id", "string", 0, "network ID", lambda o, _: o.id),
    ("name", "string", 0, "name", lambda o, _: o.name),
    ("driver", "string", 0, "driver", lambda o, _: o.driver),
    ("labels", "map(string)", 0, "labels", lambda o, _: dict(o.labels)),
    ("created", "timestamp", 0, "when it was created", lambda o, _: time(o.created_at)),
    ("builtin", "bool", 0, "it belongs to the engine", lambda o, _: o.builtin),
    ("internal", "bool", 0, "it has no way out", lambda o, _: o.internal),
    (
        "in_use",
        "bool",
        0,
        "a container, running or not, is attached, or another network was made from it",
        lambda o, v: bool(v.inventory.users_of(ref_of(o))),
    ),
    ("known_for", "duration", 0, "how long we have watched it exist", _known_for),
    ("idle_for", "duration", 0, "how long we have watched it without a container", _idle_for),
    ("container_count", "int", 0, "containers attached to it", _containers),
    ("used_by", "list(string)", 0, "names of the containers attached to it, and of networks made from it", used_by),
    ("options", "map(string)", 0, "options of its driver", lambda o, _: dict(o.options)),
    ("owner", "string", 0, "compose, swarm, or empty", lambda o, _: owner_of(o.labels)),
)


_LOOPBACK = ("127.0.0.0/8", "::1/128")  # every engine has them


def _host(get: Callable[[EngineInfo], FactValue | None]) -> Read:
    def read(_subject: object, view: View) -> FactValue | None:
        return get(view.inventory.info) if view.inventory.info else None

    return read


def _disk(get: Callable[[Disk], FactValue]) -> Read:
    def read(_subject: object, view: View) -> FactValue | None:
        return get(view.disk) if view.disk else None

    return read


def _data_disk(get: Callable[[Disk], FactValue]) -> Read:
    def read(_subject: object, view: View) -> FactValue | None:
        return get(found) if (found := view.data_disk or view.disk) else None

    return read


def _usage(get: Callable[[Usage], FactValue]) -> Read:
    def read(_subject: object, view: View) -> FactValue | None:
        return get(view.usage) if view.usage else None

    return read


def _breakdown(view: View) -> dict[str, int | None] | None:
    """What fills the fuller of the engine's disks, in bytes by part; None of what cannot be seen."""
    usage, disk, inventory = view.usage, view.disk, view.inventory
    if usage is None or disk is None or view.unique is None:
        return None
    images = sorted(inventory.images.values(), key=lambda image: bool(inventory.users_of(ref_of(image))))
    gains = inventory.shares().freed(image.id for image in images)
    idle = sum(1 for image in images if not inventory.users_of(ref_of(image)))
    of_images: dict[str, int | None] = {"images idle": sum(gains[:idle]), "images in use": sum(gains[idle:])}
    written: dict[str, int | None] = {
        "build cache": usage.build_cache_bytes,
        "container layers": sum(usage.containers.values()),
    }
    of_data: dict[str, int | None] = {"volumes": sum(usage.volumes.values()), "container logs": usage.logs_bytes}
    other = view.data_disk or disk
    if disk.device == other.device:
        parts = of_images | written | of_data
    else:  # a containerd that has the images also has what is written on top of them
        is_of_data = other.used_percent > disk.used_percent
        disk, parts = (other, of_data) if is_of_data else (disk, of_images | written)
    return parts | {"unaccounted": max(0, disk.used_bytes - sum(size or 0 for size in parts.values()))}


def _told(_subject: object, view: View) -> str | None:
    parts = _breakdown(view)
    if parts is None:
        return None
    largest = sorted(parts.items(), key=lambda part: -(part[1] or 0))
    return ", ".join(f"{name} {'unknown' if size is None else in_bytes(size)}" for name, size in largest)


def _part(name: str) -> Read:
    return lambda _, view: (_breakdown(view) or {}).get(name)


BREAKDOWN = ("disk_breakdown", "images_in_use_size", "images_idle_size", "disk_unaccounted")
"""What is known only after the sizes of all images were gathered."""

HOST: tuple[Row, ...] = (
    ("name", "string", 0, "host name that the engine reports", _host(lambda e: e.name)),
    ("engine_version", "string", 0, "engine version", _host(lambda e: e.version)),
    ("api_version", "string", 0, "API version in use", _host(lambda e: e.api_version)),
    ("image_store", "string", 0, "`graph` or `containerd`", _host(lambda e: e.image_store.value)),
    ("swarm", "bool", 0, "part of a swarm", _host(lambda e: e.swarm)),
    ("swarm_role", "string", 0, "`manager`, `worker`, or empty outside of a swarm", _host(lambda e: e.swarm_role)),
    ("swarm_managers", "int", 0, "managers of its swarm, 0 where it is none", _host(lambda e: e.swarm_managers)),
    (
        "swarm_leader",
        "bool",
        0,
        "it leads its swarm, and so judges the services; others do not",
        lambda _, v: v.inventory.leads,
    ),
    (
        "swarm_autolock",
        "bool",
        0,
        "managers are locked when they start; false elsewhere",
        _host(lambda e: e.swarm_autolock),
    ),
    (
        "swarm_certificates_last",
        "duration",
        0,
        "for how long the swarm's certificates are valid; 0 where it is no manager",
        _host(lambda e: span(e.swarm_certificate_seconds)),
    ),
    ("storage_driver", "string", 0, "storage driver, such as overlay2", _host(lambda e: e.storage_driver)),
    ("log_driver", "string", 0, "log driver of new containers", _host(lambda e: e.log_driver)),
    ("memory", "int", 0, "bytes of memory", _host(lambda e: e.memory_bytes)),
    ("cpus", "int", 0, "CPUs", _host(lambda e: e.cpus)),
    ("kernel", "string", 0, "version of the kernel", _host(lambda e: e.kernel)),
    ("architecture", "string", 0, "as the kernel names it, `x86_64`", _host(lambda e: e.architecture)),
    ("cgroup_version", "int", 0, "1 or 2", _host(lambda e: e.cgroup_version)),
    ("experimental", "bool", 0, "experimental features are on", _host(lambda e: e.experimental)),
    (
        "security_options",
        "list(string)",
        0,
        "as the engine says them, `name=seccomp,profile=default`",
        _host(lambda e: list(e.security_options)),
    ),
    (
        "insecure_registries",
        "list(string)",
        0,
        "hosts and networks of registries spoken to without verified TLS, the loopback excepted",
        _host(lambda e: [each for each in e.insecure_registries if each not in _LOOPBACK]),
    ),
    (
        "authorization_plugins",
        "list(string)",
        0,
        "plugins that are asked before each request",
        _host(lambda e: list(e.authorization_plugins)),
    ),
    ("warnings", "list(string)", 0, "what the engine warns of", _host(lambda e: list(e.warnings))),
    ("images", "int", 0, "images", lambda _, v: len(v.inventory.images)),
    ("containers", "int", 0, "containers", lambda _, v: len(v.inventory.containers)),
    ("volumes", "int", 0, "volumes", lambda _, v: len(v.inventory.volumes)),
    ("disk_used_percent", "double", 1, "used space of the disk that has the images", _disk(lambda d: d.used_percent)),
    ("disk_free", "int", 1, "free bytes of the disk that has the images", _disk(lambda d: d.free_bytes)),
    (
        "inodes_used_percent",
        "double",
        1,
        "used inodes of the disk that has the images",
        _disk(lambda d: d.inodes_used_percent),
    ),
    (
        "data_disk_used_percent",
        "double",
        1,
        "used space of the disk that has volumes and logs; mostly the same disk",
        _data_disk(lambda d: d.used_percent),
    ),
    ("data_disk_free", "int", 1, "free bytes of that disk", _data_disk(lambda d: d.free_bytes)),
    (
        "data_inodes_used_percent",
        "double",
        1,
        "used inodes of that disk",
        _data_disk(lambda d: d.inodes_used_percent),
    ),
    ("live_restore", "bool", 1, "containers outlive the engine", _host(lambda e: e.live_restore)),
    ("rootless", "bool", 1, "the engine runs without root", _host(lambda e: e.rootless)),
    ("userns_remap", "bool", 1, "user namespaces are remapped", _host(lambda e: e.userns_remap)),
    ("images_size", "int", 2, "bytes of all layers of all images, unpacked", _usage(lambda u: u.images_bytes)),
    ("build_cache_size", "int", 2, "bytes that the build cache has for itself", _usage(lambda u: u.build_cache_bytes)),
    ("volumes_size", "int", 2, "bytes in all volumes", _usage(lambda u: sum(u.volumes.values()))),
    (
        "build_cache_idle_for",
        "duration",
        2,
        "for how long the part of the build cache that was not used for longest was not",
        _usage(lambda u: span(u.build_cache_idle_seconds)),
    ),
    (
        "container_layers_size",
        "int",
        2,
        "bytes that containers have written besides their images",
        _usage(lambda u: sum(u.containers.values())),
    ),
    (
        "container_logs_size",
        "int",
        2,
        "bytes of the logs of all containers, where they can be seen",
        lambda _, v: v.usage.logs_bytes if v.usage else None,
    ),
    (
        "stray_layers",
        "int",
        2,
        "layers on the disk of a graph store that belong to nothing the engine knows, where they can be seen",
        lambda _, v: v.usage.stray_layers if v.usage else None,
    ),
    ("images_in_use_size", "int", 2, "bytes of the images of containers", _part("images in use")),
    ("images_idle_size", "int", 2, "bytes that the disk gains if all other images go", _part("images idle")),
    ("disk_unaccounted", "int", 2, "used bytes of the fuller disk that are none of the engine's", _part("unaccounted")),
    (
        "disk_breakdown",
        "string",
        2,
        "what fills the fuller disk, the largest part first, `volumes 12.0 GB, images idle 3.1 GB, unaccounted 1.0 GB`",
        _told,
    ),
)

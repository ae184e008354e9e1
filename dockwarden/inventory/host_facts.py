"""Facts of volumes, networks and the host, which are read from the view itself. Pure; see ``facts``."""

from dockwarden.inventory.container_facts import owner_of
from dockwarden.inventory.view import Read, Row, View, used_by
from dockwarden.model import Kind, Thing, ref_of
from dockwarden.text import in_bytes


def _containers(thing: Thing, view: View) -> int:
    return sum(1 for user in view.inventory.users_of(ref_of(thing)) if user.kind is Kind.CONTAINER)


_KNOWN_FOR = Row(
    "known_for", "duration", "how long we have watched it exist", lambda o, v: v.inventory.known_for(ref_of(o))
)
_IDLE_FOR = Row(
    "idle_for",
    "duration",
    "how long we have watched it without a container",
    lambda o, v: v.inventory.idle_for(ref_of(o)),
)
_OWNER = Row("owner", "string", "compose, swarm, or empty", lambda o, _: owner_of(o.labels))

VOLUME: tuple[Row, ...] = (
    Row("name", "string", "name"),
    Row("driver", "string", "driver"),
    Row("labels", "map(string)", "labels"),
    Row("anonymous", "bool", "nobody named it"),
    Row("created", "timestamp", "when it was created", "created_at"),
    Row(
        "in_use",
        "bool",
        "a container, running or not, or a service mounts it",
        lambda o, v: v.inventory.is_used(ref_of(o)),
    ),
    Row("container_count", "int", "containers that mount it", _containers),
    Row("used_by", "list(string)", "names of the containers and services that mount it", used_by),
    Row("options", "map(string)", "options of its driver; secrets as `***`"),
    _KNOWN_FOR,
    _IDLE_FOR,
    _OWNER,
    Row(
        "size",
        "int",
        "bytes in it, where the engine can tell",
        lambda o, v: v.usage.volumes.get(o.name) if v.usage else None,
        cost=2,
    ),
)


NETWORK: tuple[Row, ...] = (
    Row("id", "string", "network ID"),
    Row("name", "string", "name"),
    Row("driver", "string", "driver"),
    Row("labels", "map(string)", "labels"),
    Row("created", "timestamp", "when it was created", "created_at"),
    Row("builtin", "bool", "it belongs to the engine"),
    Row("internal", "bool", "it has no way out"),
    Row(
        "in_use",
        "bool",
        "a container, running or not, is attached, or another network was made from it",
        lambda o, v: bool(v.inventory.users_of(ref_of(o))),
    ),
    _KNOWN_FOR,
    _IDLE_FOR,
    Row("container_count", "int", "containers attached to it", _containers),
    Row("used_by", "list(string)", "names of the containers attached to it, and of networks made from it", used_by),
    Row("options", "map(string)", "options of its driver"),
    _OWNER,
)


_LOOPBACK = ("127.0.0.0/8", "::1/128")  # every engine has them


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
    other = view.volume_disk or disk
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


def _usage(of: str) -> Read:
    return lambda _, view: sum(getattr(view.usage, of).values()) if view.usage else None


def _insecure(_subject: object, view: View) -> list[str] | None:
    info = view.inventory.info
    return [each for each in info.insecure_registries if each not in _LOOPBACK] if info else None


BREAKDOWN = ("disk_breakdown", "images_in_use_size", "images_idle_size", "disk_unaccounted")
"""What is known only after the sizes of all images were gathered."""

HOST: tuple[Row, ...] = (
    Row("name", "string", "host name that the engine reports", "info.name"),
    Row("engine_version", "string", "engine version", "info.version"),
    Row("api_version", "string", "API version in use", "info.api_version"),
    Row("image_store", "string", "`graph` or `containerd`", "info.image_store.value"),
    Row("swarm", "bool", "part of a swarm", "info.swarm"),
    Row("swarm_role", "string", "`manager`, `worker`, or empty outside of a swarm", "info.swarm_role"),
    Row("swarm_managers", "int", "managers of its swarm, 0 where it is none", "info.swarm_managers"),
    Row(
        "swarm_leader",
        "bool",
        "it leads its swarm, and so judges the services; others do not",
        lambda v, _: v.inventory.leads,
    ),
    Row("swarm_autolock", "bool", "managers are locked when they start; false elsewhere", "info.swarm_autolock"),
    Row(
        "swarm_certificates_last",
        "duration",
        "for how long the swarm's certificates are valid; 0 where it is no manager",
        "info.swarm_certificate_seconds",
    ),
    Row("storage_driver", "string", "storage driver, such as overlay2", "info.storage_driver"),
    Row("log_driver", "string", "log driver of new containers", "info.log_driver"),
    Row("memory", "int", "bytes of memory", "info.memory_bytes"),
    Row("cpus", "int", "CPUs", "info.cpus"),
    Row("kernel", "string", "version of the kernel", "info.kernel"),
    Row("architecture", "string", "as the kernel names it, `x86_64`", "info.architecture"),
    Row("cgroup_version", "int", "1 or 2", "info.cgroup_version"),
    Row("experimental", "bool", "experimental features are on", "info.experimental"),
    Row(
        "security_options",
        "list(string)",
        "as the engine says them, `name=seccomp,profile=default`",
        "info.security_options",
    ),
    Row(
        "insecure_registries",
        "list(string)",
        "hosts and networks of registries spoken to without verified TLS, the loopback excepted",
        _insecure,
    ),
    Row(
        "authorization_plugins",
        "list(string)",
        "plugins that are asked before each request",
        "info.authorization_plugins",
    ),
    Row("warnings", "list(string)", "what the engine warns of", "info.warnings"),
    Row("images", "int", "images", lambda _, v: len(v.inventory.images)),
    Row("containers", "int", "containers", lambda _, v: len(v.inventory.containers)),
    Row("volumes", "int", "volumes", lambda _, v: len(v.inventory.volumes)),
    Row("disk_used_percent", "double", "used space of the disk that has the images", "disk.used_percent", cost=1),
    Row("disk_free", "int", "free bytes of the disk that has the images", "disk.free_bytes", cost=1),
    Row(
        "inodes_used_percent",
        "double",
        "used inodes of the disk that has the images",
        "disk.inodes_used_percent",
        cost=1,
    ),
    Row(
        "data_disk_used_percent",
        "double",
        "used space of the disk that has volumes and logs; mostly the same disk",
        "volume_disk.used_percent",
        cost=1,
    ),
    Row("data_disk_free", "int", "free bytes of that disk", "volume_disk.free_bytes", cost=1),
    Row("data_inodes_used_percent", "double", "used inodes of that disk", "volume_disk.inodes_used_percent", cost=1),
    Row("live_restore", "bool", "containers outlive the engine", "info.live_restore", cost=1),
    Row("rootless", "bool", "the engine runs without root", "info.rootless", cost=1),
    Row("userns_remap", "bool", "user namespaces are remapped", "info.userns_remap", cost=1),
    Row("images_size", "int", "bytes of all layers of all images, unpacked", "usage.images_bytes", cost=2),
    Row("build_cache_size", "int", "bytes that the build cache has for itself", "usage.build_cache_bytes", cost=2),
    Row("volumes_size", "int", "bytes in all volumes", _usage("volumes"), cost=2),
    Row(
        "build_cache_idle_for",
        "duration",
        "for how long the part of the build cache that was not used for longest was not",
        "usage.build_cache_idle_seconds",
        cost=2,
    ),
    Row(
        "container_layers_size",
        "int",
        "bytes that containers have written besides their images",
        _usage("containers"),
        cost=2,
    ),
    Row(
        "container_logs_size",
        "int",
        "bytes of the logs of all containers, where they can be seen",
        "usage.logs_bytes",
        cost=2,
    ),
    Row(
        "stray_layers",
        "int",
        "layers on the disk of a graph store that belong to nothing the engine knows, where they can be seen",
        "usage.stray_layers",
        cost=2,
    ),
    Row("images_in_use_size", "int", "bytes of the images of containers", _part("images in use"), cost=2),
    Row("images_idle_size", "int", "bytes that the disk gains if all other images go", _part("images idle"), cost=2),
    Row(
        "disk_unaccounted",
        "int",
        "used bytes of the fuller disk that are none of the engine's",
        _part("unaccounted"),
        cost=2,
    ),
    Row(
        "disk_breakdown",
        "string",
        "what fills the fuller disk, the largest part first, `volumes 12.0 GB, images idle 3.1 GB, unaccounted 1.0 GB`",
        _told,
        cost=2,
    ),
)

"""Facts of volumes, networks and the host, which are read from the view itself. Pure; see ``facts``."""

from typing import Any

from dockwarden.inventory.container_facts import owner_of
from dockwarden.inventory.view import Read, View, rows, used_by
from dockwarden.model import Kind, ref_of
from dockwarden.text import in_bytes

_OF_BOTH: dict[str, Any] = {
    "created": "created_at",
    "container_count": lambda o, v: sum(user.kind is Kind.CONTAINER for user in v.inventory.users_of(ref_of(o))),
    "used_by": used_by,
    "known_for": lambda o, v: v.inventory.at_most_its_age(v.inventory.known_for(ref_of(o)), o, v.now),
    "idle_for": lambda o, v: v.inventory.at_most_its_age(v.inventory.idle_for(ref_of(o)), o, v.now),
    "owner": lambda o, _: owner_of(o.labels),
}

VOLUME = (
    *rows(
        """
        name            string               name
        driver          string:volume_driver driver
        labels          map(string)          labels
        anonymous       bool                 nobody named it
        created         timestamp            when it was created
        in_use          bool                 a container, running or not, or a service mounts it
        container_count int                  containers that mount it
        used_by         list(string):name     names of the containers and services that mount it
        options         map(string)          options of its driver; secrets as `***`
        known_for       duration             how long we have watched it exist
        idle_for        duration             how long we have watched it without a container
        owner           string:owner         compose, swarm, or empty
        """,
        in_use=lambda o, v: v.inventory.is_used(ref_of(o)),
        **_OF_BOTH,
    ),
    *rows(
        "size int:bytes bytes in it, where the engine can tell",
        cost=2,
        size=lambda o, v: v.usage.volumes.get(o.name) if v.usage else None,
    ),
)

NETWORK = rows(
    """
    id              string                network ID
    name            string                name
    driver          string:network_driver driver
    labels          map(string)           labels
    created         timestamp             when it was created
    builtin         bool                  it belongs to the engine
    internal        bool                  it has no way out
    in_use          bool                  a container, running or not, is attached, or another network was made from it
    known_for       duration              how long we have watched it exist
    idle_for        duration              how long we have watched it without a container
    container_count int                   containers attached to it
    used_by         list(string)          names of the containers attached to it, and of networks made from it
    options         map(string)           options of its driver
    owner           string:owner          compose, swarm, or empty
    """,
    in_use=lambda o, v: bool(v.inventory.users_of(ref_of(o))),
    **_OF_BOTH,
)


_Parts = dict[str, int | None]
_LOOPBACK = ("127.0.0.0/8", "::1/128")  # every engine has them


def _breakdown(view: View) -> _Parts | None:
    """What fills the fuller of the engine's disks, in bytes by part; None of what cannot be seen."""
    usage, disk, inventory = view.usage, view.disk, view.inventory
    if usage is None or disk is None or view.unique is None:
        return None
    images = sorted(inventory.images.values(), key=lambda image: bool(inventory.users_of(ref_of(image))))
    gains = inventory.shares().freed(image.id for image in images)
    idle = sum(1 for image in images if not inventory.users_of(ref_of(image)))
    of_images: _Parts = {"images idle": sum(gains[:idle]), "images in use": sum(gains[idle:])}
    written: _Parts = {"build cache": usage.build_cache_bytes, "container layers": sum(usage.containers.values())}
    of_data: _Parts = {"volumes": sum(usage.volumes.values()), "container logs": usage.logs_bytes}
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

HOST = (
    *rows(
        """
        name                    string                host name that the engine reports
        engine_version          string:release        engine version
        api_version             string:version        API version in use
        image_store             string:image_store    `graph` or `containerd`
        swarm                   bool                  part of a swarm
        swarm_role              string:swarm_role     `manager`, `worker`, or empty outside of a swarm
        swarm_managers          int                   managers of its swarm, 0 where it is none
        swarm_leader            bool                  it leads its swarm, and so judges the services; others do not
        swarm_autolock          bool                  managers are locked when they start; false elsewhere
        swarm_certificates_last duration              for how long the swarm's certificates are valid; \
            0 where it is no manager
        storage_driver          string:storage_driver storage driver, such as overlay2
        log_driver              string:log_driver     log driver of new containers
        memory                  int:bytes             bytes of memory
        cpus                    int                   CPUs
        kernel                  string                version of the kernel
        architecture            string:machine        as the kernel names it, `x86_64`
        cgroup_version          int:cgroup            1 or 2
        experimental            bool                  experimental features are on
        security_options        list(string):host_option     as the engine says them, `name=seccomp,profile=default`
        insecure_registries     list(string)          hosts and networks of registries spoken to without verified TLS, \
            the loopback excepted
        authorization_plugins   list(string)          plugins that are asked before each request
        warnings                list(string):free     what the engine warns of
        images                  int                   images
        containers              int                   containers
        volumes                 int                   volumes
        """,
        at="info.",
        engine_version="info.version",
        image_store="info.image_store.value",
        swarm_leader=lambda v, _: v.inventory.leads,
        swarm_certificates_last="info.swarm_certificate_seconds",
        memory="info.memory_bytes",
        insecure_registries=_insecure,
        images=lambda _, v: v.inventory.number(Kind.IMAGE),
        containers=lambda _, v: v.inventory.number(Kind.CONTAINER),
        volumes=lambda _, v: v.inventory.number(Kind.VOLUME),
    ),
    *rows(
        """
        disk_used_percent        double:percent used space of the disk that has the images
        disk_free                int:bytes      free bytes of the disk that has the images
        inodes_used_percent      double:percent used inodes of the disk that has the images
        data_disk_used_percent   double:percent used space of the disk that has volumes and logs; mostly the same disk
        data_disk_free           int:bytes      free bytes of that disk
        data_inodes_used_percent double:percent used inodes of that disk
        live_restore             bool           containers outlive the engine
        rootless                 bool           the engine runs without root
        userns_remap             bool           user namespaces are remapped
        """,
        cost=1,
        at="info.",
        disk_used_percent="disk.used_percent",
        disk_free="disk.free_bytes",
        inodes_used_percent="disk.inodes_used_percent",
        data_disk_used_percent="volume_disk.used_percent",
        data_disk_free="volume_disk.free_bytes",
        data_inodes_used_percent="volume_disk.inodes_used_percent",
    ),
    *rows(
        """
        images_size           int:bytes bytes of all layers of all images, unpacked
        build_cache_size      int:bytes bytes that the build cache has for itself
        volumes_size          int:bytes bytes in all volumes
        build_cache_idle_for  duration  for how long the part of the build cache that was not used for longest was not
        container_layers_size int:bytes bytes that containers have written besides their images
        container_logs_size   int:bytes bytes of the logs of all containers, where they can be seen
        stray_layers          int       layers on the disk of a graph store that belong to nothing the engine knows, \
            where they can be seen
        images_in_use_size    int:bytes bytes of the images of containers
        images_idle_size      int:bytes bytes that the disk gains if all other images go
        disk_unaccounted      int:bytes used bytes of the fuller disk that are none of the engine's
        disk_breakdown        string    what fills the fuller disk, the largest part first, \
            `volumes 12.0 GB, images idle 3.1 GB, unaccounted 1.0 GB`
        """,
        cost=2,
        images_size="usage.images_bytes",
        build_cache_size="usage.build_cache_bytes",
        volumes_size=_usage("volumes"),
        build_cache_idle_for="usage.build_cache_idle_seconds",
        container_layers_size=_usage("containers"),
        container_logs_size="usage.logs_bytes",
        stray_layers="usage.stray_layers",
        images_in_use_size=_part("images in use"),
        images_idle_size=_part("images idle"),
        disk_unaccounted=_part("unaccounted"),
        disk_breakdown=_told,
    ),
)

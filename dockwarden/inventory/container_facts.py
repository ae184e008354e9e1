"""Facts of containers: where they come from, their limits and their isolation. Pure; see ``facts``."""

from collections.abc import Mapping

from dockwarden import reference
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.view import Read, Row, View, span, time
from dockwarden.model import Container, FactValue, Mount, ref_of

_ORCHESTRATORS = (
    ("com.docker.swarm.service.id", "swarm"),
    ("com.docker.swarm.service.name", "swarm"),
    ("com.docker.stack.namespace", "swarm"),
    ("io.kubernetes.pod.uid", "kubernetes"),
    ("io.kubernetes.pod.name", "kubernetes"),
    ("com.hashicorp.nomad.alloc_id", "nomad"),
    ("com.amazonaws.ecs.task-arn", "ecs"),
    ("com.docker.compose.project", "compose"),
)
_LEAST_ID_DIGITS = 4


def owner_of(labels: Mapping[str, str]) -> str:
    """Who manages a container: ``swarm``, ``kubernetes``, ``nomad``, ``ecs``, ``compose``, or nobody."""
    return next((owner for label, owner in _ORCHESTRATORS if label in labels), "")


def orchestrator_of(labels: Mapping[str, str]) -> str:
    """Who would put a removed object back or miss it: as ``owner_of``, but Compose leaves that to people."""
    return "" if (owner := owner_of(labels)) == "compose" else owner


def exited_seconds(container: Container, inventory: Inventory, now: float) -> float:
    """Seconds since a container ended: by the engine's clock, but no longer than we watched it not run."""
    if container.running or container.started_at is None or container.finished_at is None:
        return 0.0
    return max(0.0, min(now - container.finished_at, inventory.idle_for(ref_of(container))))


def pin_of(container: Container) -> str:
    """How a container names its image: by ``tag``, by ``digest``, or by ``id``."""
    text, digits = container.image_ref, container.image_id.removeprefix("sha256:")
    is_short_id = len(text) >= _LEAST_ID_DIGITS and digits.startswith(text)  # not `db`, of which one ID in 256 begins
    if not text or reference.is_image_id(text) or is_short_id:
        return "id"
    return "digest" if "@" in text else "tag"


def _freshness(container: Container, view: View) -> str | None:
    if pin_of(container) != "tag":
        return "pinned"
    current = view.inventory.tags.get(reference.full(container.image_ref))
    if current is None:
        return "tag-gone"
    if current == container.image_id:
        return "current"
    details = view.inventory.images[current].details
    if container.manifest and details is None:
        return None
    # The same image for this platform in another index, which differs for others only.
    return "current" if details and container.manifest in details.manifests else "recreate-needed"


def _repository(container: Container) -> str:
    try:
        return reference.parse(container.image_ref).repository if pin_of(container) != "id" else ""
    except ValueError:
        return ""


def _mount(mount: Mount, view: View) -> dict[str, object]:
    volume = view.inventory.volumes.get(mount.name)
    return {
        "type": mount.type,
        "name": mount.name,
        "source": mount.source,
        "destination": mount.destination,
        "driver": mount.driver,
        "rw": mount.writable,
        "anonymous": volume.anonymous if volume else False,
    }


_CONTAINER: tuple[Row, ...] = (
    ("id", "string", 0, "container ID", lambda c, _: c.id),
    ("name", "string", 0, "name", lambda c, _: c.name),
    (
        "image_ref",
        "string",
        0,
        "image as full reference, or as it was typed where it is none",
        lambda c, _: reference.full(c.image_ref) if pin_of(c) != "id" else c.image_ref,
    ),
    (
        "image_repository",
        "string",
        0,
        "registry and path of its image, empty if made from an ID",
        lambda c, _: _repository(c),
    ),
    ("image_pin", "string", 0, "how it names its image: `tag`, `digest` or `id`", lambda c, _: pin_of(c)),
    ("image_id", "string", 0, "ID of the image it runs", lambda c, _: c.image_id),
    (
        "freshness",
        "string",
        0,
        "`current`, `recreate-needed` (its tag names another image now), `tag-gone`, `pinned`",
        _freshness,
    ),
    ("running", "bool", 0, "it runs", lambda c, _: c.running),
    ("state", "string", 0, "created, running, paused, restarting, removing, exited or dead", lambda c, _: c.state),
    ("health", "string", 0, "healthy, unhealthy, starting, or empty without a health check", lambda c, _: c.health),
    ("exit_code", "int", 0, "exit code of its last run", lambda c, _: c.exit_code),
    ("labels", "map(string)", 0, "labels", lambda c, _: dict(c.labels)),
    ("created", "timestamp", 0, "when it was created", lambda c, _: time(c.created_at)),
    ("started", "timestamp", 0, "when it was last started (1970 if never)", lambda c, _: time(c.started_at)),
    (
        "exited_for",
        "duration",
        0,
        "how long it has been stopped, as far as we watched; 0 for one that runs or never ran",
        lambda c, v: span(exited_seconds(c, v.inventory, v.now)),
    ),
    ("owner", "string", 0, "compose, swarm, kubernetes, nomad, ecs, or empty", lambda c, _: owner_of(c.labels)),
    ("network_mode", "string", 0, "network mode", lambda c, _: c.network_mode),
    (
        "mounts",
        "list(map)",
        0,
        "mounts: type, name, source, destination, driver, rw, anonymous",
        lambda c, v: [_mount(m, v) for m in c.mounts],
    ),
    ("ports", "list(string)", 0, "published and exposed ports", lambda c, _: list(c.ports)),
)
_CONFIG_NAMES = {"memory_limit": "memory_limit_bytes", "memory_reservation": "memory_reservation_bytes"}


def _config(name: str) -> Read:
    field = _CONFIG_NAMES.get(name, name)

    def read(container: Container, _view: View) -> FactValue:
        value = getattr(container.config, field)
        return list(value) if isinstance(value, tuple) else value

    return read


def _seccomp(container: Container, _view: View) -> str:
    options = (option.partition("=") for option in container.config.security_opt)
    profile = next((value for name, _, value in options if name == "seccomp"), "")
    if profile:
        return profile if len(profile) < 100 else "custom"  # noqa: PLR2004 - the engine stores the whole profile
    return "unconfined" if container.config.privileged else "default"


def _no_new_privileges(container: Container, _view: View) -> bool:
    return any(
        option in ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true")
        for option in container.config.security_opt
    )


_CONFIG: tuple[Row, ...] = tuple(
    (name, type_, 1, meaning, _config(name))
    for name, type_, meaning in (
        ("memory_limit", "int", "memory limit in bytes, 0 for none"),
        ("memory_reservation", "int", "memory reservation in bytes, 0 for none"),
        ("cpu_limit", "double", "CPU limit in cores, 0.0 for none"),
        ("cpu_shares", "int", "CPU shares, 0 for the default"),
        ("pids_limit", "int", "limit of processes, 0 for none"),
        ("privileged", "bool", "privileged"),
        ("pid_mode", "string", "PID namespace mode"),
        ("ipc_mode", "string", "IPC namespace mode"),
        ("uts_mode", "string", "UTS namespace mode"),
        ("userns_mode", "string", "user namespace mode"),
        ("cgroup_parent", "string", "parent control group, empty for the default"),
        ("read_only", "bool", "its root file system is read-only"),
        ("user", "string", "user, empty for the image's"),
        ("cap_add", "list(string)", "capabilities added"),
        ("cap_drop", "list(string)", "capabilities dropped"),
        ("security_opt", "list(string)", "security options"),
        ("apparmor", "string", "AppArmor profile"),
        ("devices", "list(string)", "host devices"),
        ("ulimits", "list(string)", "limits, `nofile=1024:2048`"),
        ("restart_policy", "string", "restart policy"),
        ("restart_max", "int", "most restarts of on-failure"),
        ("restart_count", "int", "restarts by the engine"),
        ("log_driver", "string", "log driver"),
        ("healthcheck", "bool", "a health check is set"),
        ("env_names", "list(string)", "names of its environment variables, never values"),
    )
)
_SECURITY: tuple[Row, ...] = (
    ("seccomp", "string", 1, "`default`, `unconfined`, `custom` or a profile name", _seccomp),
    ("no_new_privileges", "bool", 1, "no-new-privileges is set", _no_new_privileges),
)


_SIZE_RW: Row = (
    "size_rw",
    "int",
    2,
    "bytes it has written besides its image",
    lambda c, v: v.usage.containers.get(c.id) if v.usage else None,
)

CONTAINER: tuple[Row, ...] = (*_CONTAINER, *_CONFIG, *_SECURITY, _SIZE_RW)

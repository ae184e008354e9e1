"""Facts of the services of a swarm, which only its leader has. Pure; see ``facts``."""

from dockwarden import reference
from dockwarden.inventory.view import Row, time
from dockwarden.model import Service

_STACK = "com.docker.stack.namespace"


def _name(service: Service) -> str:
    """Its image without the digest, unless there is nothing else to call it by."""
    parsed = _parsed(service)
    if parsed is None:
        return service.image_ref
    return f"{parsed.repository}:{parsed.tag}" if parsed.tag else reference.full(service.image_ref)


def _parsed(service: Service) -> reference.Reference | None:
    try:
        return reference.parse(service.image_ref)
    except ValueError:
        return None


def _part(service: Service, part: str) -> str:
    return str(getattr(_parsed(service), part, "") or "")


SERVICE: tuple[Row, ...] = (
    ("id", "string", 0, "service ID", lambda s, _: s.id),
    ("name", "string", 0, "name", lambda s, _: s.name),
    ("stack", "string", 0, "the stack that it was deployed with, or empty", lambda s, _: s.labels.get(_STACK, "")),
    (
        "image_ref",
        "string",
        0,
        "image as full reference, with its digest only where no tag is named",
        lambda s, _: _name(s),
    ),
    ("image_repository", "string", 0, "registry and path of its image", lambda s, _: _part(s, "repository")),
    ("image_digest", "string", 0, "digest that its tasks are held to, or empty", lambda s, _: _part(s, "digest")),
    ("mode", "string", 0, "`replicated`, `global`, `replicated-job` or `global-job`", lambda s, _: s.mode),
    (
        "replicas",
        "int",
        0,
        "tasks that should run; of a global service one for each node that fits",
        lambda s, _: s.replicas,
    ),
    ("running", "int", 1, "tasks that run", lambda s, v: v.measured.get(("service.running", s.id))),
    (
        "update_state",
        "string",
        0,
        "last update or roll-back: updating, paused, completed, rollback_started, rollback_paused, rollback_completed",
        lambda s, _: s.update_state,
    ),
    (
        "update_failure_action",
        "string",
        0,
        "after a failed update: pause, continue, rollback",
        lambda s, _: s.update_failure_action,
    ),
    ("labels", "map(string)", 0, "labels of the service", lambda s, _: dict(s.labels)),
    ("created", "timestamp", 0, "when it was created", lambda s, _: time(s.created_at)),
    (
        "published",
        "list(map)",
        0,
        "published ports: host_port, port, protocol, mode (ingress or host)",
        lambda s, _: [dict(zip(("host_port", "port", "protocol", "mode"), each, strict=True)) for each in s.published],
    ),
    (
        "mounts",
        "list(map)",
        0,
        "mounts of its tasks: type, name (of a volume), source, destination, driver, rw",
        lambda s, _: [
            {
                "type": m.type,
                "name": m.name,
                "source": m.source,
                "destination": m.destination,
                "driver": m.driver,
                "rw": m.writable,
            }
            for m in s.mounts
        ],
    ),
    ("memory_limit", "int", 0, "bytes that a task may take, 0 for no limit", lambda s, _: s.memory_limit_bytes),
    (
        "memory_reservation",
        "int",
        0,
        "bytes that a node must have for a task, 0 for none",
        lambda s, _: s.memory_reservation_bytes,
    ),
    ("cpu_limit", "double", 0, "cores that a task may take, 0.0 for no limit", lambda s, _: s.cpu_limit),
    ("pids_limit", "int", 0, "processes that a task may have, 0 for no limit", lambda s, _: s.pids_limit),
    ("healthcheck", "bool", 0, "its spec has a health check, besides that of its image", lambda s, _: s.healthcheck),
)

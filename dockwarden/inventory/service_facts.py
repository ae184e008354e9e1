"""Facts of the services of a swarm, which only its leader has. Pure; see ``facts``."""

from dockwarden import reference
from dockwarden.inventory.view import Row
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
    Row("id", "string", "service ID"),
    Row("name", "string", "name"),
    Row("stack", "string", "the stack that it was deployed with, or empty", lambda s, _: s.labels.get(_STACK, "")),
    Row(
        "image_ref",
        "string",
        "image as full reference, with its digest only where no tag is named",
        lambda s, _: _name(s),
    ),
    Row("image_repository", "string", "registry and path of its image", lambda s, _: _part(s, "repository")),
    Row("image_digest", "string", "digest that its tasks are held to, or empty", lambda s, _: _part(s, "digest")),
    Row("mode", "string", "`replicated`, `global`, `replicated-job` or `global-job`"),
    Row("replicas", "int", "tasks that should run; of a global service one for each node that fits"),
    Row("running", "int", "tasks that run", lambda s, v: v.measured.get(("service.running", s.id)), cost=1),
    Row(
        "update_state",
        "string",
        "last update or roll-back: updating, paused, completed, rollback_started, rollback_paused, rollback_completed",
    ),
    Row("update_failure_action", "string", "after a failed update: pause, continue, rollback"),
    Row("labels", "map(string)", "labels of the service"),
    Row("created", "timestamp", "when it was created", "created_at"),
    Row(
        "published",
        "list(map)",
        "published ports: host_port, port, protocol, mode (ingress or host)",
        lambda s, _: [dict(zip(("host_port", "port", "protocol", "mode"), each, strict=True)) for each in s.published],
    ),
    Row(
        "mounts",
        "list(map)",
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
    Row("memory_limit", "int", "bytes that a task may take, 0 for no limit", "memory_limit_bytes"),
    Row("memory_reservation", "int", "bytes that a node must have for a task, 0 for none", "memory_reservation_bytes"),
    Row("cpu_limit", "double", "cores that a task may take, 0.0 for no limit"),
    Row("pids_limit", "int", "processes that a task may have, 0 for no limit"),
    Row("healthcheck", "bool", "its spec has a health check, besides that of its image"),
)

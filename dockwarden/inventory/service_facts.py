"""Facts of the services of a swarm, which only its leader has. Pure; see ``facts``."""

from dockwarden import reference
from dockwarden.inventory.forms import record
from dockwarden.inventory.view import rows
from dockwarden.model import Service

_STACK = "com.docker.stack.namespace"


def _name(service: Service) -> str:
    """Its image without the digest, unless there is nothing else to call it by."""
    return _part(service, "tagged") or reference.full(service.image_ref)


def _part(service: Service, part: str) -> str:
    return str(getattr(reference.parsed(service.image_ref), part, "") or "")


_PUBLISHED = ("host_port", "port", "protocol", "mode")

SERVICE = (
    *rows(
        """
        id                    string                      service ID
        name                  string:name                 name
        stack                 string                      the stack that it was deployed with, or empty
        image_ref             string:reference            image as full reference, with its digest only where no tag \
            is named
        image_repository      string:repository           registry and path of its image
        image_digest          string:digest               digest that its tasks are held to, or empty
        mode                  string:service_mode         `replicated`, `global`, `replicated-job` or `global-job`
        replicas              int                         tasks that should run; of a global service one for each \
            node that fits
        update_state          string:update_state         last update or roll-back: updating, paused, completed, \
            rollback_started, rollback_paused, rollback_completed
        update_failure_action string:failure_action       after a failed update: pause, continue, rollback
        labels                map(string)                 labels of the service
        created               timestamp                   when it was created
        published             list(map):service_published published ports: host_port, port, protocol, \
            mode (ingress or host)
        mounts                list(map):service_mount     mounts of its tasks: type, name (of a volume), source, \
            destination, driver, rw
        memory_limit          int:memory                  bytes that a task may take, 0 for no limit
        memory_reservation    int:reserved                bytes that a node must have for a task, 0 for none
        cpu_limit             double                      cores that a task may take, 0.0 for no limit
        pids_limit            int                         processes that a task may have, 0 for no limit
        healthcheck           bool                        its spec has a health check, besides that of its image
        """,
        stack=lambda s, _: s.labels.get(_STACK, ""),
        image_ref=lambda s, _: _name(s),
        image_repository=lambda s, _: _part(s, "repository"),
        image_digest=lambda s, _: _part(s, "digest"),
        created="created_at",
        published=lambda s, _: [dict(zip(_PUBLISHED, each, strict=True)) for each in s.published],
        mounts=lambda s, _: [record("service_mount", m, rw=m.writable) for m in s.mounts],
        memory_limit="memory_limit_bytes",
        memory_reservation="memory_reservation_bytes",
    ),
    *rows("running int tasks that run", cost=1, running=lambda s, v: v.measured.get(("service.running", s.id))),
)

"""What the leader of a swarm says of its services, turned into values of ``model``. Pure; see ``translate``.

Input: decoded answers of the engine API. Output: frozen values. Out of bounds: asking the engine anything.
"""

from dockwarden.engine.fields import Fields, has_healthcheck, rows
from dockwarden.model import Mount, Service

_NANO = 1_000_000_000
_MODES = {"Global": "global", "ReplicatedJob": "replicated-job", "GlobalJob": "global-job"}


def leads(node: object) -> bool:
    """Whether an inspected node is the leader."""
    return Fields(node, "node").nested("ManagerStatus").flag("Leader")


def services(raw: object) -> list[Service]:
    """The rows of a list of services with their status."""
    return [_service(Fields(each, "service list")) for each in rows(raw, "service list")]


def _service(fields: Fields) -> Service:
    spec, status = fields.nested("Spec"), fields.nested("ServiceStatus")
    task = spec.nested("TaskTemplate")
    container, limits = task.nested("ContainerSpec"), task.nested("Resources").nested("Limits")
    mode = next(iter(spec.names("Mode")), "")
    asked = spec.nested("Mode").nested(mode)
    return Service(
        id=fields.text("ID"),
        name=spec.text("Name"),
        image_ref=container.text("Image", ""),
        mode=_MODES.get(mode, "replicated"),
        replicas=asked.integer("Replicas", status.integer("DesiredTasks", 0)),
        running=status.integer("RunningTasks", 0),
        labels=spec.labels("Labels"),
        created_at=fields.moment("CreatedAt"),
        update_state=fields.nested("UpdateStatus").text("State", ""),
        published=tuple(_port(each) for each in fields.nested("Endpoint").objects("Ports")),
        networks=tuple(each.text("Target", "") for each in task.objects("Networks")),
        mounts=tuple(_mount(each) for each in container.objects("Mounts")),
        memory_limit_bytes=limits.integer("MemoryBytes", 0),
        memory_reservation_bytes=task.nested("Resources").nested("Reservations").integer("MemoryBytes", 0),
        cpu_limit=limits.integer("NanoCPUs", 0) / _NANO,
        pids_limit=limits.integer("Pids", 0),
        update_failure_action=spec.nested("UpdateConfig").text("FailureAction", "") or "pause",
        healthcheck=has_healthcheck(container),
    )


def _port(fields: Fields) -> tuple[int, int, str, str]:
    numbers = fields.integer("PublishedPort", 0), fields.integer("TargetPort", 0)
    return (*numbers, fields.text("Protocol", "") or "tcp", fields.text("PublishMode", "") or "ingress")


def _mount(fields: Fields) -> Mount:
    kind, source = fields.text("Type", "") or "volume", fields.text("Source", "")
    return Mount(
        type=kind,
        name=source if kind == "volume" else "",
        source=source,
        destination=fields.text("Target", ""),
        driver=fields.nested("VolumeOptions").nested("DriverConfig").text("Name", ""),
        writable=not fields.flag("ReadOnly"),
    )

"""What a swarm tells its managers: its services, and what they need of a node.

Input: a client, or decoded answers of the engine API. Output: values of ``model``. Out of bounds: changing a service.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import replace

from docker.errors import APIError

from dockwarden import reference
from dockwarden.engine.fields import Fields, has_healthcheck, rows
from dockwarden.engine.transport import Client
from dockwarden.model import Mount, Need, Needs, Service

_TEMPLATE = re.compile(r"\{\{.*?\}\}")
_OURS = "dockwarden."  # what is said of its containers holds for the service, which has them replaced
_NANO = 1_000_000_000
_ALONE_SECONDS = 0.5  # nobody founds a swarm and a service without a container within it
_MODES = {"Global": "global", "ReplicatedJob": "replicated-job", "GlobalJob": "global-job"}


def leads(node: object) -> bool:
    return Fields(node, "node").nested("ManagerStatus").flag("Leader")


def services(raw: object) -> list[Service]:
    """The rows of a list of services with their status."""
    return [_service(Fields(each, "service list")) for each in rows(raw, "service list")]


def with_tasks(service: Service, client: Client) -> Service:
    """What only they tell: why the last one failed, and how many wait to be started, which a global service lacks."""
    is_uncounted = service.mode == "global" and not service.replicas
    is_kept_up = service.mode in ("replicated", "global")
    may_be_over = is_kept_up and service.restart_condition != "any" and not service.running
    if not (is_uncounted or may_be_over or service.update_state):
        return service
    try:
        answer = client.tasks({"service": service.id})  # type: ignore[no-untyped-call]
    except APIError:  # a proxy denies it: there may be some
        return replace(service, replicas=1) if is_uncounted else service
    tasks = [Fields(each, "task") for each in rows(answer, "task list")]
    images = ((each, each.nested("Spec").nested("ContainerSpec").text("Image", "")) for each in tasks)
    is_back = service.update_state.startswith("rollback_")  # from another image, which is told nowhere
    states = [each.nested("Status") for each, image in images if is_back or image == service.image_ref]
    failed = [(each.moment("Timestamp") or 0.0, why) for each in states if (why := each.text("Err", ""))]
    wanted = [each for each in tasks if each.text("DesiredState") not in ("shutdown", "remove")]
    # Not those that are wanted later, which wait for the one before them.
    due = (each.nested("Status") for each in wanted if each.text("DesiredState") == "running")
    pending = (each.text("Err", "") for each in due if each.text("State", "") == "pending")
    ends = [(each.moment("Timestamp") or 0.0, each.text("State", "")) for each in states]
    return replace(
        service,
        is_over=may_be_over and max(ends, default=(0.0, ""))[1] == "complete",
        task_error=max(failed, default=(0.0, ""))[1],
        unplaced=max(pending, default=""),
        replicas=len(wanted) if is_uncounted else service.replicas,
    )


def _service(fields: Fields) -> Service:
    spec, status = fields.nested("Spec"), fields.nested("ServiceStatus")
    task = spec.nested("TaskTemplate")
    container, limits = task.nested("ContainerSpec"), task.nested("Resources").nested("Limits")
    mode = next(iter(spec.names("Mode")), "")
    asked = spec.nested("Mode").nested(mode)
    told = {name: value for name, value in container.labels("Labels").items() if name.startswith(_OURS)}
    return Service(
        id=fields.text("ID"),
        name=spec.text("Name"),
        image_ref=container.text("Image", ""),
        mode=_MODES.get(mode, "replicated"),
        replicas=asked.integer("Replicas", status.integer("DesiredTasks", 0)),
        running=status.integer("RunningTasks", 0),
        labels={**told, **spec.labels("Labels")},
        created_at=fields.moment("CreatedAt"),
        update_state=fields.nested("UpdateStatus").text("State", ""),
        updated_at=fields.nested("UpdateStatus").moment("StartedAt"),
        published=tuple(_port(each) for each in fields.nested("Endpoint").objects("Ports")),
        networks=tuple(each.text("Target", "") for each in task.objects("Networks")),
        mounts=tuple(_mount(each) for each in container.objects("Mounts")),
        memory_limit_bytes=limits.integer("MemoryBytes", 0),
        memory_reservation_bytes=task.nested("Resources").nested("Reservations").integer("MemoryBytes", 0),
        cpu_limit=limits.integer("NanoCPUs", 0) / _NANO,
        pids_limit=limits.integer("Pids", 0),
        update_failure_action=spec.nested("UpdateConfig").text("FailureAction", "") or "pause",
        healthcheck=has_healthcheck(container),
        restart_condition=task.nested("RestartPolicy").text("Condition", "") or "any",
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


def ask_needs(client: Client) -> Needs:
    """What services need. First who answers: an engine that manages no swarm logs the question itself as an error.

    One before 23.0 starts programs to answer that, so it is believed for a moment that it is in no swarm.
    """
    if time.monotonic() < client.alone_until:
        return ()
    with client.get(f"{client.base_url}/_ping") as answer:
        role = answer.headers.get("Swarm", "") if answer.ok else ""
    if not role:
        node = Fields(client.info(), "info").nested("Swarm")
        role = node.text("LocalNodeState", "") or "inactive"
        role += "/manager" if node.flag("ControlAvailable") else ""
        client.alone_until = time.monotonic() + _ALONE_SECONDS if role == "inactive" else 0.0
    if role == "inactive":
        return ()
    if role != "active/manager":
        return None
    try:
        return needs(client.services())  # type: ignore[no-untyped-call]
    except APIError:  # no leader now, or a proxy denies it
        return None


def needs(raw: object) -> list[Need]:
    return [_need(Fields(each, "service list")) for each in rows(raw, "service list")]


def _need(service: Fields) -> Need:
    images: set[str] = set()
    volumes: set[str] = set()
    for spec in (service.nested("Spec"), service.nested("PreviousSpec")):
        container = spec.nested("TaskTemplate").nested("ContainerSpec")
        images.update(_names(container.text("Image", "")))
        for mount in container.objects("Mounts"):
            source = mount.text("Source", "")
            if mount.text("Type", "") == "image":
                images.update(_names(source))
            elif source:
                volumes.add(_TEMPLATE.sub("*", source))
    return Need(service.nested("Spec").text("Name", ""), frozenset(images), frozenset(volumes))


def _names(image: str) -> Iterator[str]:
    """All by which a node may know the image that a spec names."""
    if reference.is_image_id(image):
        yield f"sha256:{image.removeprefix('sha256:')}"
        return
    parsed = reference.parsed(image)
    if parsed and parsed.tag:
        yield parsed.tagged
    if parsed and parsed.digest:
        yield f"{parsed.repository}@{parsed.digest}"

"""What the services of a swarm need of a node, as their specs tell its managers.

Input: a client. Output: values of ``model``. Out of bounds: services by themselves.
"""

import re
from collections.abc import Iterator

from docker.errors import APIError

from dockwarden import reference
from dockwarden.engine.fields import Fields, rows
from dockwarden.engine.transport import Client
from dockwarden.model import Need, Needs

_TEMPLATE = re.compile(r"\{\{.*?\}\}")


def ask(client: Client) -> Needs:
    """What services need. First who answers: an engine that manages no swarm logs the question itself as an error."""
    with client.get(f"{client.base_url}/_ping") as answer:
        role = answer.headers.get("Swarm", "") if answer.ok else ""
    if not role:  # an engine before 23.0
        node = Fields(client.info(), "info").nested("Swarm")
        role = node.text("LocalNodeState", "") or "inactive"
        role += "/manager" if node.flag("ControlAvailable") else ""
    if role == "inactive":
        return ()
    if role != "active/manager":
        return None
    try:
        return needs(client.services())  # type: ignore[no-untyped-call]
    except APIError:  # no leader now, or a proxy denies it
        return None


def needs(raw: object) -> list[Need]:
    """What each service of a list needs."""
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
    try:
        parsed = reference.parse(image)
    except ValueError:
        return
    if parsed.tag:
        yield f"{parsed.repository}:{parsed.tag}"
    if parsed.digest:
        yield f"{parsed.repository}@{parsed.digest}"

"""Short ways to make the values of ``model``: a test names what matters to it, the rest is unremarkable.

Input: keyword arguments. Output: frozen values, and policies compiled by the real compiler over the real vocabulary.
Out of bounds: behaviour; that is in ``fakes``.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dockwarden import reference
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.memory import Memory, ObservationClock
from dockwarden.model import (
    Candidate,
    Cause,
    Container,
    ContainerConfig,
    EngineInfo,
    Image,
    ImageDetails,
    ImageStore,
    Kind,
    Limits,
    Mode,
    Mount,
    Network,
    Policy,
    PolicySet,
    Program,
    Recipe,
    Ref,
    Report,
    Result,
    Service,
    Severity,
    Status,
    Step,
    Thing,
    TriggerSpec,
    Volume,
)
from dockwarden.policy.cel import Compiler

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dockwarden.model import FactValue

HOUR, DAY = 3600.0, 86400.0
NOW = 1_800_000_000.0
"""A moment in 2027 that tests take for now."""

UNLIMITED = ContainerConfig(
    memory_limit_bytes=0,
    memory_reservation_bytes=0,
    cpu_limit=0.0,
    cpu_shares=0,
    pids_limit=0,
    privileged=False,
    pid_mode="",
    ipc_mode="private",
    uts_mode="",
    userns_mode="",
    read_only=False,
    user="",
    cap_add=(),
    cap_drop=(),
    security_opt=(),
    devices=(),
    ulimits=(),
    restart_policy="no",
    restart_max=0,
    restart_count=0,
    log_driver="json-file",
    healthcheck=False,
    env_names=(),
    apparmor="",
)


def hexadecimal(word: str) -> str:
    """64 hexadecimal digits that are always the same for a word."""
    return hashlib.sha256(word.encode()).hexdigest()


def image_id(word: str) -> str:
    """The ID of the image that a test calls by this word."""
    return f"sha256:{hexadecimal(word)}"


def digest_of(repository: str, word: str) -> str:
    """A digest reference, ``docker.io/library/app@sha256:…``."""
    return f"{reference.parse(repository).repository}@sha256:{hexadecimal(word)}"


def details(
    *,
    layers: tuple[str, ...] = ("l1",),
    user: str = "",
    healthcheck: bool = False,
    platform: str = "linux/amd64",
) -> ImageDetails:
    """What an inspect tells of an image; a platform may have a variant, ``linux/arm/v7``."""
    system, architecture, *variant = platform.split("/")
    return ImageDetails(
        os=system,
        architecture=architecture,
        variant="".join(variant),
        user=user,
        healthcheck=healthcheck,
        layers=tuple(f"sha256:{hexadecimal(layer)}" for layer in layers),
        env_names=("PATH",),
        ports=("80/tcp",),
    )


def an_image(
    word: str = "app",
    *tags: str,
    digests: tuple[str, ...] = (),
    markers: tuple[str, ...] = (),
    labels: Mapping[str, str] | None = None,
    size_bytes: int = 1000,
    created_at: float | None = NOW - 10 * DAY,
    inspected: ImageDetails | None = None,
) -> Image:
    """An image; tags may be short, they become full references."""
    return Image(
        id=image_id(word),
        tags=tuple(sorted(reference.full(tag) for tag in tags)),
        digests=tuple(sorted(digests)),
        markers=markers,
        size_bytes=size_bytes,
        labels=labels or {},
        created_at=created_at,
        details=inspected,
    )


def a_mount(name: str = "", destination: str = "/data", type_: str = "volume", source: str = "") -> Mount:
    """A mount; a volume if it has a name."""
    return Mount(type_, name, source or f"/var/lib/docker/volumes/{name}/_data", destination, "local", writable=True)


def a_container(
    name: str = "web",
    image_ref: str = "app:1",
    image: str = "app",
    *,
    running: bool = True,
    health: str = "",
    exit_code: int = 0,
    labels: Mapping[str, str] | None = None,
    started_at: float | None = NOW - HOUR,
    networks: tuple[str, ...] = ("bridge",),
    mounts: tuple[Mount, ...] = (),
    ports: tuple[str, ...] = (),
    config: ContainerConfig = UNLIMITED,
) -> Container:
    """A container of the image that the test calls ``image``."""
    return Container(
        id=hexadecimal(f"container {name}"),
        name=name,
        image_ref=image_ref,
        image_id=image_id(image),
        running=running,
        state="running" if running else "exited",
        health=health,
        exit_code=exit_code,
        labels=labels or {},
        created_at=NOW - 2 * HOUR,
        started_at=started_at,
        finished_at=None,
        network_mode=networks[0] if networks else "none",
        networks=networks,
        mounts=mounts,
        ports=ports,
        config=config,
    )


def a_volume(name: str = "data", *, anonymous: bool = False, labels: Mapping[str, str] | None = None) -> Volume:
    """A volume."""
    return Volume(name, "local", labels or {}, anonymous, NOW - DAY)


def a_network(name: str = "front", *, builtin: bool = False, labels: Mapping[str, str] | None = None) -> Network:
    """A network."""
    return Network(hexadecimal(f"network {name}"), name, "bridge", labels or {}, NOW - DAY, builtin, internal=False)


def a_service(name: str = "web", image_ref: str = "nginx:1", **others: Any) -> Service:
    """A service of two replicas, without limits."""
    return replace(
        Service(
            id=hexadecimal(f"service {name}")[:25],
            name=name,
            image_ref=image_ref,
            mode="replicated",
            replicas=2,
            running=2,
            labels={"com.docker.stack.namespace": "shop"},
            created_at=NOW - DAY,
            update_state="",
            published=((80, 8080, "tcp", "ingress"),),
            networks=(),
            mounts=(a_mount("data"),),
            memory_limit_bytes=0,
            memory_reservation_bytes=0,
            cpu_limit=0.0,
            pids_limit=0,
            update_failure_action="pause",
            healthcheck=False,
        ),
        **others,
    )


def an_engine(store: ImageStore = ImageStore.GRAPH, identity: str = "ABCD /var/lib/docker host") -> EngineInfo:
    """What an engine says of itself."""
    return EngineInfo(
        identity=identity,
        name="host",
        version="20.10.24",
        api_version="1.41",
        image_store=store,
        swarm=False,
        data_root="/var/lib/docker",
        live_restore=False,
        rootless=False,
        userns_remap=False,
        clock_offset_seconds=0.0,
    )


class Ticks:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def an_inventory(ticks: Ticks | None = None, *, store: ImageStore = ImageStore.GRAPH) -> Inventory:
    """An empty inventory of a connected engine whose observation clock runs."""
    clock = ObservationClock(ticks or Ticks())
    clock.resume()
    inventory = Inventory(Memory(clock))
    inventory.info = an_engine(store)
    return inventory


def program(source: str, kind: Kind, params: Mapping[str, FactValue] | None = None, want: str = "bool") -> Program:
    """A compiled expression over the real vocabulary."""
    return Compiler(VOCABULARY, {}).compile(kind, dict(params or {}), source, (want,))


def a_policy(
    name: str = "old-images",
    when: str = "true",
    *,
    subject: Kind = Kind.IMAGE,
    events: Collection[str] = (),
    schedule: str = "",
    every_seconds: float = 0.0,
    mode: Mode = Mode.AUDIT,
    action: str = "",
    severity: Severity = Severity.MEDIUM,
    gate: str = "",
    select: str = "",
    message: str = "",
    for_seconds: float = 0.0,
    order_by: str = "",
    stop_when: str = "",
    owners: Collection[str] = (),
    limits: Limits = Limits(max_objects=1000, max_percent=100.0),  # noqa: B008 - frozen
) -> Policy:
    """A policy as the loader would give it; limits allow everything unless the test says otherwise."""
    condition = program(when, subject)
    chosen = program(select, subject) if select else None
    order = (
        Compiler(VOCABULARY, {}).compile(subject, {}, order_by, ("int", "timestamp", "string")) if order_by else None
    )
    needs = condition.references.union(*(each.references for each in (chosen, order) if each))
    return Policy(
        name=name,
        subject=subject,
        severity=severity,
        mode=mode,
        trigger=TriggerSpec(frozenset(events), schedule, every_seconds),
        when=condition,
        message=(message or name,),
        gate=program(gate, Kind.HOST) if gate else None,
        select=chosen,
        action=action,
        for_seconds=for_seconds,
        order_by=order,
        stop_when=program(stop_when, Kind.HOST) if stop_when else None,
        owners=frozenset(owners),
        limits=limits,
        needs=needs,
        cost=max((VOCABULARY[subject][fact].cost for fact in needs), default=0),
    )


def policies(*given: Policy, sha256: str = "0" * 64) -> PolicySet:
    """A set of policies."""
    return PolicySet(given, sha256)


def a_report(**changed: Any) -> Report:
    """A report of a run in which nothing happened, but for what is changed."""
    return Report("run-1", Cause.EVENT, NOW, 0.5, {}, (), (), (), (), ())._replace(**changed)


def a_result(
    policy: str = "old-images",
    ref: Ref | None = None,
    *,
    name: str = "app:1",
    status: Status = Status.FAIL,
    severity: Severity = Severity.MEDIUM,
    message: str = "it is old",
    reason: str = "",
) -> Result:
    """A result, a finding unless told otherwise."""
    return Result(policy, ref or Ref(Kind.IMAGE, image_id("app")), name, status, severity, message, reason)


def a_candidate(
    image: Image,
    *,
    tag: str = "",
    users: tuple[str, ...] = (),
    tag_users: tuple[str, ...] = (),
    known_for_seconds: float = DAY,
    own: bool = False,
) -> Candidate:
    """A finding on an image, or on one of its tags, with what the planner must know."""
    ref = Ref(Kind.TAG, reference.full(tag)) if tag else Ref(Kind.IMAGE, image.id)
    name = tag or (image.tags[0] if image.tags else reference.short_id(image.id))
    return Candidate(a_result(ref=ref, name=name), image, users, tag_users, known_for_seconds, own)


def a_finding_on(
    thing: Thing | None,
    *,
    held_seconds: float = DAY,
    order: object = None,
    users: tuple[str, ...] = (),
    known_for_seconds: float = DAY,
    idle_seconds: float = DAY,
    own: bool = False,
    owner: str = "",
    size_bytes: int = 0,
) -> Candidate:
    """A finding on anything but a tag, with what the planner must know."""
    match thing:
        case Image():
            ref = Ref(Kind.IMAGE, thing.id)
        case Container():
            ref = Ref(Kind.CONTAINER, thing.id)
        case Volume():
            ref = Ref(Kind.VOLUME, thing.name)
        case Network():
            ref = Ref(Kind.NETWORK, thing.id)
        case Service():
            ref = Ref(Kind.SERVICE, thing.id)
        case _:
            ref = Ref(Kind.HOST, "")
    result = a_result(ref=ref, name=ref.key[:12])._replace(held_seconds=held_seconds, order=order)
    return Candidate(result, thing, users, (), known_for_seconds, own, owner, idle_seconds, size_bytes)


def a_step(image: Image, tag: str = "", policy: str = "old-images") -> Step:
    """The removal of an image, or of one of its tags, as it was judged."""
    candidate = a_candidate(image, tag=tag)
    ref = candidate.result.ref
    action = "untag" if tag else "remove"
    is_all = not tag or len(image.tags) <= 1
    bytes_ = image.size_bytes if is_all else 0
    return Step(policy, action, ref, candidate.result.name, image, "it is old", planned_bytes=bytes_)


def a_recipe(image: Image, method: str = "pull") -> Recipe:
    """What would bring an image back."""
    about: dict[str, object] = {
        "id": image.id,
        "tags": list(image.tags),
        "digests": list(image.digests),
        "platform": "linux/amd64",
    }
    about |= {"size_bytes": image.size_bytes, "labels": dict(image.labels)}
    return Recipe(method, {**about, "from": next(iter(image.digests), "")})


def with_tags(image: Image, *tags: str) -> Image:
    """The same image under other names."""
    return replace(image, tags=tuple(sorted(reference.full(tag) for tag in tags)))

"""The engine's JSON, turned into values of ``model``. Pure.

Input: decoded answers of the engine API, of any version from 1.41 on and of both image stores, and event lines;
their strings come from strangers. Output: frozen values. Out of bounds: asking the engine anything, and trusting
a shape: whatever is missing or of another type ends in an ``AnswerError`` that names the field.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from docker.utils import version_gte

from dockwarden import reference
from dockwarden.engine.fields import Fields, env_names, has_healthcheck, masked, rows
from dockwarden.errors import AnswerError
from dockwarden.model import BuildStep, EngineInfo, Event, Image, ImageDetails, ImageStore, Network, Volume
from dockwarden.ports import Usage
from dockwarden.reference import MARKER_REPOSITORY

DANGLING_NAME = "moby-dangling"
"""The name that a containerd store makes up for an image without one: ``moby-dangling@sha256:…``."""
# The last of a damaged image, whose digest comes without a repository.
_NO_NAMES, _MARKER = (f"{MARKER_REPOSITORY}@", f"{DANGLING_NAME}@", "sha256:"), f"{MARKER_REPOSITORY}:"

_HEX64 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_BUILTIN_NETWORKS = frozenset({"bridge", "host", "none", "ingress", "docker_gwbridge"})
_NANO = 1_000_000_000
_RUN = re.compile(r"RUN |(?=\|\d+ )|(?=/\S*sh .*-\w*c )")
_SHELL = re.compile(r" /\S*sh(?: \S+)*? -\w*c ")
_NAME = re.compile(r"[=\s]")
_PODMAN = "this is Podman, whose deletions mean other things than Docker's, so it is judged only and nothing is changed"
_IDENTITY_SINCE = "1.53"  # of images on a containerd store; a graph store has a digest of what was pulled only


def engine(version: object, info: object, api_version: str, asked_at: float, answered_at: float) -> EngineInfo:
    """Who the engine is; ``asked_at`` and ``answered_at`` are by our clock. A socket may lead to a virtual machine."""
    answer, says = Fields(info, "info"), Fields(version, "version")
    options = answer.texts("SecurityOptions")
    features = {option.split(",")[0] for option in options}
    root = answer.text("DockerRootDir", "")
    system_time = answer.moment("SystemTime")
    told_at = asked_at if system_time is None else system_time
    offset = max(min(0.0, told_at - asked_at), told_at - answered_at)  # none, as far as that explains what it says
    registries = answer.nested("RegistryConfig")
    by_name = registries.nested("IndexConfigs")
    insecure = (name for name in registries.names("IndexConfigs") if not by_name.nested(name).flag("Secure"))
    is_containerd = ["driver-type", "io.containerd.snapshotter.v1"] in answer.items("DriverStatus")
    store = ImageStore.CONTAINERD if is_containerd else ImageStore.GRAPH
    found = EngineInfo(
        # An ID alone is not enough: engines that share a host's key file share the ID as well.
        identity=" ".join((answer.text("ID", ""), root, answer.text("Name", ""))),
        name=answer.text("Name", ""),
        version=says.text("Version"),
        api_version=api_version,
        image_store=store,
        swarm=False,
        data_root=root,
        live_restore=answer.flag("LiveRestoreEnabled"),
        rootless="name=rootless" in features,
        userns_remap="name=userns" in features,
        clock_offset_seconds=offset,
        only_audited=_PODMAN if "Podman Engine" in [p.text("Name", "") for p in says.objects("Components")] else "",
        mirrors=registries.texts("Mirrors"),
        insecure_registries=(*registries.texts("InsecureRegistryCIDRs"), *insecure),
        tells_builds=store is ImageStore.CONTAINERD and version_gte(api_version, _IDENTITY_SINCE),
        security_options=options,
        storage_driver=answer.text("Driver", ""),
        log_driver=answer.text("LoggingDriver", ""),
        memory_bytes=answer.integer("MemTotal", 0),
        cpus=answer.integer("NCPU", 0),
        authorization_plugins=answer.nested("Plugins").texts("Authorization"),
        experimental=answer.flag("ExperimentalBuild"),
        warnings=answer.texts("Warnings"),
        kernel=answer.text("KernelVersion", ""),
        architecture=answer.text("Architecture", ""),
        cgroup_version=int(version) if (version := answer.text("CgroupVersion", "")).isdecimal() else 0,
    )
    return in_swarm(found, info)


def in_swarm(found: EngineInfo, info: object) -> EngineInfo:
    """The same, with its part in a swarm, which it joins and leaves while it runs."""
    swarm = Fields(info, "info").nested("Swarm")
    spec = swarm.nested("Cluster").nested("Spec")
    return replace(
        found,
        swarm=swarm.text("LocalNodeState", "") not in ("", "inactive"),
        swarm_role=_swarm_role(swarm),
        swarm_managers=swarm.integer("Managers", 0),
        swarm_autolock=spec.nested("EncryptionConfig").flag("AutoLockManagers"),
        swarm_certificate_seconds=spec.nested("CAConfig").integer("NodeCertExpiry", 0) / _NANO,
    )


def _swarm_role(swarm: Fields) -> str | None:
    if (state := swarm.text("LocalNodeState", "")) == "active":
        return "manager" if swarm.flag("ControlAvailable") else "worker"
    return "" if state in ("", "inactive") else None  # it joins, is locked or failed


def event(line: bytes) -> Event:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise AnswerError("event: a line is not JSON") from error
    fields = Fields(raw, "event")
    actor = fields.nested("Actor")
    attributes = actor.nested("Attributes")
    kind = fields.text("Type")
    # "health_status: healthy", "exec_create: <a command line>": the suffix may hold secrets
    action = fields.text("Action").partition(": ")[0]
    if action == "commit" and (made := attributes.text("imageID", "")):  # if nameless, nothing else tells of it
        return Event("image", "create", made, attributes.text("imageRef", ""), fields.integer("timeNano"))
    about_container = action in ("connect", "disconnect", "mount", "unmount")
    name = attributes.text("container" if about_container else "name", "")
    identifier = actor.text("ID", "") or name  # Podman leaves it empty where it is the name
    return Event(
        type=kind,
        action=action,
        id=f"sha256:{identifier}" if kind == "image" and _HEX64.fullmatch(identifier) else identifier,
        name=name,
        at_ns=fields.integer("timeNano"),
        image=attributes.text("image", "") if kind == "container" else "",
    )


def images(raw: object, store: ImageStore) -> Iterator[Image]:
    """The rows of a list of images, each freed as soon as it is reduced: there may be ten thousand."""
    left = rows(raw, "image list")
    left.reverse()
    while left:
        yield _image(row := Fields(left.pop(), "image list"), store, row)


def children(raw: object) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in Fields({"all": raw}, "image list").objects("all"):
        found[row.text("ParentId", "")].append(row.text("Id"))
    return found


def image(raw: object, store: ImageStore) -> Image:
    fields = Fields(raw, "image")
    config, identity = fields.nested("Config"), fields.nested("Identity")
    manifests = [each for each in fields.objects("Manifests") if each.text("Kind") == "image"]
    details = ImageDetails(
        os=fields.text("Os", ""),
        architecture=fields.text("Architecture", ""),
        variant=fields.text("Variant", ""),
        user=config.text("User", ""),
        healthcheck=has_healthcheck(config),
        layers=fields.nested("RootFS").texts("Layers"),
        env_names=env_names(config),
        ports=config.names("ExposedPorts"),
        parent=fields.text("Parent", ""),
        # A containerd store inspects the size of what is packed, and lists it with what is unpacked.
        content_bytes=fields.integer("Size") if store is ImageStore.CONTAINERD else 0,
        manifests=tuple(each.text("ID") for each in manifests),
        platforms=tuple(_platform(each) for each in manifests if each.flag("Available")),
        # A pull and a push both leave the name of their repository.
        built_here=any(identity.objects("Build")) and not any(identity.objects("Pull")),
        volumes=config.names("Volumes"),
    )
    found = _image(fields, store, config, details)
    is_built = store is ImageStore.GRAPH and details.parent and not (found.tags or found.digests or found.markers)
    return replace(found, is_step=not fields.nested("Metadata").moment("LastTagTime")) if is_built else found


def _platform(manifest: Fields) -> str:
    says = manifest.nested("ImageData").nested("Platform")
    return "/".join(filter(None, (says.text(key, "") for key in ("os", "architecture", "variant"))))


def _image(fields: Fields, store: ImageStore, labelled: Fields, details: ImageDetails | None = None) -> Image:
    identifier = fields.text("Id")
    tags, digests, markers = _names((*fields.texts("RepoTags"), *fields.texts("RepoDigests")))
    if store is ImageStore.CONTAINERD:
        # There each name also has a digest, which is the ID; the list shows one of them, the inspect all.
        implied = (f"{repository}@{identifier}" for repository in {tag.rpartition(":")[0] for tag in tags})
        digests = tuple(sorted({*digests, *implied}))
    return Image(
        id=identifier,
        tags=tags,
        digests=digests,
        markers=markers,
        size_bytes=fields.integer("Size"),
        labels=labelled.labels("Labels"),
        created_at=fields.moment("Created"),
        details=details,
    )


def _names(listed: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Tags, digests and markers."""
    tags, digests, markers = set(), set(), set()
    for name in listed:
        if "<none>" in name or name.startswith(_NO_NAMES):
            continue
        if name.startswith(_MARKER):
            markers.add(name)
        elif "@" in name:  # a containerd store lists a pull by digest among the tags
            digests.add(reference.full(name))
        else:
            tags.add(reference.full(name))
    return tuple(sorted(tags)), tuple(sorted(digests)), tuple(sorted(markers))


def history(raw: object) -> tuple[BuildStep, ...]:
    """The steps of an image's history, lowest first; one that made no layer has no bytes."""
    listed = (Fields(row, "image history") for row in reversed(rows(raw, "image history")))
    return tuple(
        BuildStep(row.integer("Size", 0), instruction(row.text("CreatedBy", "")), row.moment("Created"))
        for row in listed
    )


def instruction(created_by: str) -> str:
    """A step as a Dockerfile has it, whichever builder wrote it down; arguments and variables without their values."""
    text = " ".join(created_by.removesuffix("# buildkit").split())
    if "#(nop)" in text:  # the classic builder's mark of all but RUN
        text = text.partition("#(nop)")[2].strip()
    elif ran := _RUN.match(text):
        # Values may hold anything, so the command is what follows a shell, or it is not told at all.
        command = text[ran.end() :]
        command = _SHELL.split(f" {command}", maxsplit=1)[-1] if _SHELL.search(f" {command}") else command
        return "RUN" if command.startswith("|") else f"RUN {command}"
    keyword, _, rest = text.partition(" ")
    return f"{keyword} {_NAME.split(rest, maxsplit=1)[0]}" if keyword in ("ENV", "ARG") else text


def usage(raw: object, now: float = 0.0) -> Usage:
    """What the engine says its objects take up. It says -1 where it does not know."""
    fields = Fields(raw, "disk usage")
    containers = {each.text("Id"): max(0, each.integer("SizeRw", 0)) for each in fields.objects("Containers")}
    volumes = {
        each.text("Name"): size
        for each in fields.objects("Volumes")
        if (size := each.nested("UsageData").integer("Size", -1)) >= 0
    }
    cache = [each for each in fields.objects("BuildCache") if not each.flag("Shared")]
    idle = [each for each in cache if not each.flag("InUse")]
    used_at = [each.moment("LastUsedAt") or each.moment("CreatedAt") or now for each in idle]
    return Usage(
        containers=containers,
        volumes=volumes,
        images_bytes=max(0, fields.integer("LayersSize", 0)),
        build_cache_bytes=sum(max(0, each.integer("Size", 0)) for each in cache),
        build_cache_idle_seconds=max(0.0, now - min(used_at, default=now)),
    )


def volumes(raw: object) -> list[Volume]:
    return [volume(each) for each in Fields(raw, "volume list").items("Volumes")]


def volume(raw: object) -> Volume:
    fields = Fields(raw, "volume")
    name, labels = fields.text("Name"), fields.labels("Labels")
    # Engine 20.10 does not mark them: a name that only an engine would think of is the one sign.
    anonymous = "com.docker.volume.anonymous" in labels or _HEX64.fullmatch(name) is not None
    return Volume(
        name=name,
        driver=fields.text("Driver", ""),
        labels=labels,
        anonymous=anonymous,
        created_at=fields.moment("CreatedAt"),
        options=masked(fields.labels("Options")),
    )


def networks(raw: object) -> list[Network]:
    return [network(each) for each in rows(raw, "network list")]


def network(raw: object) -> Network:
    fields = Fields(raw, "network")
    return Network(
        id=fields.text("Id"),
        name=(name := fields.text("Name")),
        driver=fields.text("Driver", ""),
        labels=fields.labels("Labels"),
        created_at=fields.moment("Created"),
        builtin=name in _BUILTIN_NETWORKS or fields.flag("Ingress"),
        internal=fields.flag("Internal"),
        options=masked(fields.labels("Options")),
        config_only=fields.flag("ConfigOnly"),
        config_from=fields.nested("ConfigFrom").text("Network", ""),
        is_of_swarm=fields.text("Scope", "") == "swarm",
    )

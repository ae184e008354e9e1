"""What the engine says of containers, turned into values of ``model``. Pure; see ``translate``.

Input: decoded answers of the engine API. Output: frozen values. Out of bounds: asking the engine anything.
"""

import re
import signal
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from dockwarden.engine.fields import TOLD_BY_TYPE, Fields, clean, env_names, has_healthcheck, masked, rows
from dockwarden.model import Container, ContainerConfig, Mount
from dockwarden.model.told import TOLD

_CPU_PERIOD_MICROSECONDS = 100_000  # the kernel's default
_RETRIES = 3  # of a health check that does not say
_NANO = 1_000_000_000
_ADDRESSES = ("IPAddress", "GlobalIPv6Address")
_TOLD = [(*each.path.rpartition(".")[::2], each) for each in TOLD]
_OF_A_DEVICE = ("PathOnHost", "PathInContainer", "CgroupPermissions")
_OF_A_VOLUME = re.compile(r".*/volumes/([^/]+)/_data(/.*)?", re.DOTALL)


def container_ids(raw: object, image_id: str = "") -> list[str]:
    """The IDs of a list of containers; of those that run exactly this image, if one is given."""
    listed = (Fields(each, "container list") for each in rows(raw, "container list"))
    return [each.text("Id") for each in listed if not image_id or each.text("ImageID", "") == image_id]


def serving(raw: object, addresses: Collection[str], port: int) -> str:
    """The ID of the listed container that answers at one of the addresses, or else publishes the port; "" if none."""
    listed = [Fields(each, "container list") for each in rows(raw, "container list")]
    for each in listed:
        settings = each.nested("NetworkSettings")
        networks = [settings.nested("Networks").nested(name) for name in settings.names("Networks")]
        if not {network.text(key, "") for network in networks for key in _ADDRESSES}.isdisjoint(addresses):
            return each.text("Id")
    for each in listed:
        published = ((entry.integer("PublicPort", 0), entry.text("Type", "tcp")) for entry in each.objects("Ports"))
        if (port, "tcp") in published:
            return each.text("Id")
    return ""


def mounted_images(raw: object) -> list[str]:
    """What an inspected container calls the images that it mounts."""
    mounts = Fields(raw, "container").objects("Mounts")
    return [mount.text("Name", "") for mount in mounts if mount.text("Type", "") == "image"]


def container(raw: object, images: Mapping[str, tuple[str, bool]] = MappingProxyType({})) -> Container:
    """An inspected container. ``images`` that it mounts, by what it calls them: ID, and if it may mean another."""
    fields = Fields(raw, "container")
    config, host = fields.nested("Config"), fields.nested("HostConfig")
    state, settings = fields.nested("State"), fields.nested("NetworkSettings")
    networks = settings.nested("Networks")
    names = settings.names("Networks")
    network_ids = (networks.nested(name).text("NetworkID", "") for name in names)
    health, health_at = _health(state, config.nested("Healthcheck"))
    return Container(
        id=fields.text("Id"),
        name=fields.text("Name").removeprefix("/"),
        image_ref=config.text("Image", ""),
        image_id=fields.text("Image"),
        running=state.flag("Running"),
        state=state.text("Status"),
        health=health,
        health_at=health_at,
        oom_killed=state.flag("OOMKilled"),
        exit_code=state.integer("ExitCode", 0),
        labels=config.labels("Labels"),
        created_at=fields.moment("Created"),
        started_at=state.moment("StartedAt"),
        finished_at=state.moment("FinishedAt"),
        network_mode=host.text("NetworkMode", ""),
        networks=(*names, *(each for each in network_ids if each)),
        mounts=tuple(_mounts(fields, host, images)),
        ports=_ports(settings, config, host),
        config=_container_config(fields, config, host),
        manifest=fields.nested("ImageManifestDescriptor").text("digest", ""),
    )


def processes(raw: object) -> tuple[str, ...]:
    """The command lines of a container's processes, which the engine's own ``ps`` tells in its last column."""
    return tuple(clean(str(row[-1])) for row in Fields(raw, "processes").items("Processes") if isinstance(row, list))


def _health(state: Fields, check: Fields) -> tuple[str, float | None]:
    """The health of what runs, and since when, as far as the probes that the engine remembers reach back.

    Engines call every container with a check unhealthy that is stopped or paused.
    """
    health = state.nested("Health")
    status = health.text("Status", "")
    if state.text("Status") != "running" or status in ("", "none"):
        return "", None
    if status == "starting":
        return status, state.moment("StartedAt")
    probes, retries = list(health.objects("Log")), check.integer("Retries", 0) or _RETRIES
    if status == "unhealthy":  # since as many failures as it takes
        back = min(len(probes), max(1, health.integer("FailingStreak", 0) - retries + 1))
        return status, probes[-back].moment("End") if probes else None
    since, failures = None, 0
    for probe in reversed(probes):
        failures = failures + 1 if probe.integer("ExitCode", 0) else 0
        if failures >= retries:
            break
        since = since if failures else probe.moment("End")
    return status, since


def _container_config(fields: Fields, config: Fields, host: Fields) -> ContainerConfig:
    restart, limits = host.nested("RestartPolicy"), host.objects("Ulimits")
    parts = {"Config": config, "HostConfig": host}
    return ContainerConfig(
        memory_limit_bytes=max(0, host.integer("Memory", 0)),
        memory_reservation_bytes=max(0, host.integer("MemoryReservation", 0)),
        cpu_limit=_cores(host),
        cpu_shares=max(0, host.integer("CpuShares", 0)),
        pids_limit=max(0, host.integer("PidsLimit", 0)),  # null, 0 and -1 all mean none
        privileged=host.flag("Privileged"),
        pid_mode=host.text("PidMode", ""),
        ipc_mode=host.text("IpcMode", ""),
        uts_mode=host.text("UTSMode", ""),
        userns_mode=host.text("UsernsMode", ""),
        read_only=host.flag("ReadonlyRootfs"),
        user=config.text("User", ""),
        cap_add=_capabilities(host, "CapAdd"),
        cap_drop=_capabilities(host, "CapDrop"),
        security_opt=host.texts("SecurityOpt"),
        devices=tuple(":".join(each.text(key, "") for key in _OF_A_DEVICE) for each in host.objects("Devices")),
        ulimits=tuple(f"{u.text('Name')}={u.integer('Soft', 0)}:{u.integer('Hard', 0)}" for u in limits),
        restart_policy=restart.text("Name", "") or "no",
        restart_max=restart.integer("MaximumRetryCount", 0),
        restart_count=fields.integer("RestartCount", 0),
        log_driver=host.nested("LogConfig").text("Type", ""),
        healthcheck=has_healthcheck(config),
        env_names=env_names(config),
        apparmor=fields.text("AppArmorProfile", ""),
        log_opts=masked(host.nested("LogConfig").labels("Config")),
        told={each.name: TOLD_BY_TYPE[each.type](parts[part], key) for part, key, each in _TOLD}
        | {"stop_signal": _signal(config.text("StopSignal", "")), "tmpfs": _tmpfs(fields, host)}
        | {"links": sorted(host.texts("Links"))}  # which the engine tells in another order each time
        | ({} if host.tells("MaskedPaths") or host.flag("Privileged") else {"masked_paths": None}),  # by Podman
    )


def _signal(text: str) -> str:
    """A signal by its name: engines keep 9, KILL and SIGKILL as they were typed."""
    if text.isdecimal():
        text = next((each.name for each in signal.Signals if each.value == int(text)), text)
    return text if text[:3] in ("", "SIG") or text.isdecimal() else f"SIG{text.upper().removeprefix('SIG')}"


def _tmpfs(fields: Fields, host: Fields) -> dict[str, str]:
    """File systems in memory, of both options that make them; of `--mount` engines do not tell the options there."""
    mounts = (mount for mount in fields.objects("Mounts") if mount.text("Type", "") == "tmpfs")
    return {mount.text("Destination", ""): "" for mount in mounts} | host.labels("Tmpfs")


def _mounts(fields: Fields, host: Fields, images: Mapping[str, tuple[str, bool]]) -> Iterator[Mount]:
    told = [_mount(each, images) for each in fields.objects("Mounts")]
    yield from sorted(told, key=lambda mount: mount.destination)  # no engine has an order of them
    for path in sorted(_tmpfs(fields, host).keys() - {mount.destination for mount in told}):
        yield Mount("tmpfs", "", "", path, "", writable=True)


def _cores(host: Fields) -> float:
    """--cpus and --cpu-quota are two ways to set the same limit; the engine keeps them apart."""
    nano = host.integer("NanoCpus", 0)
    if nano > 0:
        return nano / _NANO
    quota = host.integer("CpuQuota", 0)
    return max(0, quota) / (host.integer("CpuPeriod", 0) or _CPU_PERIOD_MICROSECONDS)


def _capabilities(host: Fields, key: str) -> tuple[str, ...]:
    """Engines keep them as typed or with the prefix, by version."""
    return tuple(name.upper().removeprefix("CAP_") for name in host.texts(key))


def volume_of(mount: Fields) -> str:
    """The volume or image that is mounted, "" if none; engines know some volumes, and all in binds, by place only."""
    found = _OF_A_VOLUME.fullmatch(mount.text("Source", ""))
    return mount.text("Name", "") or (found[1] if found else "")


def _mount(fields: Fields, images: Mapping[str, tuple[str, bool]]) -> Mount:
    image_id, may_be_another = images.get(fields.text("Name", ""), ("", False))
    return Mount(
        type=fields.text("Type", ""),
        name=volume_of(fields),
        source=fields.text("Source", ""),
        destination=fields.text("Destination", ""),
        driver=fields.text("Driver", ""),
        writable=fields.flag("RW"),
        propagation=fields.text("Propagation", ""),
        image_id=image_id,
        may_be_another=may_be_another,
    )


def _ports(settings: Fields, config: Fields, host: Fields) -> tuple[str, ...]:
    """``8080/tcp`` or ``0.0.0.0:80->8080/tcp``. A container that is not up has only what was asked for."""
    up = settings.names("Ports")
    ports = settings.nested("Ports") if up else host.nested("PortBindings")
    found: list[str] = []
    for port in up or sorted({*host.names("PortBindings"), *config.names("ExposedPorts")}):
        bindings = [_binding(each) for each in ports.objects(port)]
        found.extend(f"{each}->{port}" for each in bindings)
        if not bindings:
            found.append(port)
    return tuple(found)


def _binding(fields: Fields) -> str:
    address, port = fields.text("HostIp", "") or "0.0.0.0", fields.text("HostPort", "") or "0"  # picked at the start
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

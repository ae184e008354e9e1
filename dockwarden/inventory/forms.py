"""What values facts can have: closed sets of words, forms of texts and numbers, keys of records. Pure.

A condition that compares a fact with a value that it never has is certainly wrong, so policies are held to these.
"""

from dockwarden.model import FactSpec

_LOG_DRIVERS = "json-file|local|journald|syslog|gelf|fluentd|awslogs|splunk|etwlogs|gcplogs|logentries|none|*"
_OWNERS = "|compose|swarm|kubernetes|nomad|ecs"
WORDS = {
    "container.state": "created|running|paused|restarting|removing|exited|dead",
    "container.health": "|healthy|unhealthy|starting",
    "container.freshness": "current|recreate-needed|tag-gone|pinned",
    "container.image_pin": "tag|digest|id",
    "container.owner": _OWNERS,
    "container.restart_policy": "no|always|on-failure|unless-stopped",
    "container.uts_mode": "|host",
    "container.userns_mode": "|host",
    "volume.owner": _OWNERS,
    "network.owner": _OWNERS,
    "registry.state": "|current|drift|other-platform|local|gone",
    "image.origin": "registry|unknown",
    "image.os": "|aix|android|darwin|dragonfly|freebsd|illumos|linux|netbsd|openbsd|plan9|solaris|wasip1|windows",
    "image.architecture": "|386|amd64|arm|arm64|loong64|mips|mips64|mips64le|mipsle|ppc64|ppc64le|riscv64|s390x|wasm",
    "host.image_store": "graph|containerd",
    "container.mounts.type": "bind|volume|tmpfs|npipe|cluster|image",
    "container.mounts.propagation": "|private|rprivate|shared|rshared|slave|rslave",
    "container.published.protocol": "tcp|udp|sctp",
    "host.architecture": "|x86_64|aarch64|armv7l|armv6l|i686|ppc64le|s390x|riscv64|loongarch64|mips64",
    "host.swarm_role": "|manager|worker",
    "service.mode": "replicated|global|replicated-job|global-job",
    "service.update_state": "|updating|paused|completed|rollback_started|rollback_paused|rollback_completed",
    "service.update_failure_action": "pause|continue|rollback",
    "service.published.protocol": "tcp|udp|sctp",
    "service.published.mode": "ingress|host",
    "service.mounts.type": "bind|volume|tmpfs|npipe|cluster|image",
    **dict.fromkeys(("container.log_driver", "host.log_driver"), _LOG_DRIVERS),
    "container.network_mode": "bridge|host|none|*",
    "container.seccomp": "default|unconfined|custom|builtin|*",
    "container.apparmor": "|docker-default|unconfined|*",
    "network.driver": "bridge|host|null|overlay|macvlan|ipvlan|*",
    "volume.driver": "local|*",
    "host.storage_driver": "overlay2|overlay|overlayfs|btrfs|zfs|vfs|fuse-overlayfs|devicemapper|aufs|windowsfilter|*",
}
"""Sets of words, of lists those of their items; the first may be empty, and with ``*`` there are others as well."""

_NAMES = {
    "reference": """
        container.image_ref image.ref image.tags image.same_as
        image.base tag.ref tag.siblings container.sibling_images
        image.bases service.image_ref
    """,
    "repository": "tag.repository image.repositories container.image_repository service.image_repository",
    "digest": "service.image_digest tag.digest registry.digest registry.newest_version_digest",
    "name": "service.name container.name",
    "memory": """
        service.memory_limit service.memory_reservation container.memory_limit container.memory_reservation
    """,
    "registry": "tag.registry",
    "tag": "tag.name registry.newest_version registry.latest_is",
    "version": "tag.version host.api_version",
    "release": "host.engine_version",
    "id": "image.id container.image_id",
    "short_id": "image.short_id",
    "repository_digest": "image.digests",
    "capability": "container.cap_add container.cap_drop",
    "port": "image.ports",
    "bound_port": "container.ports",
    "device": "container.devices",
    "signal": "container.stop_signal",
    "network_mode": "container.network_mode",
    "shared_memory": "container.shm_size",
    "path": "container.mounts.destination",
    "port_number": "container.published.port service.published.port service.published.host_port",
    "ulimit": "container.ulimits",
    "security_opt": "container.security_opt",
    "variable": "container.env_names image.env",
    "percent": """
        host.disk_used_percent host.inodes_used_percent host.data_disk_used_percent host.data_inodes_used_percent
    """,
    "user": "container.user image.user",
    "ip": "container.published.host_ip",
    "exit_code": "container.exit_code",
    "picked": "container.published.host_port",
    "limit": "container.cpu_limit container.pids_limit",
    "mounted": "container.mounts.source",
    "mode": "container.pid_mode container.ipc_mode",
    "bytes": "image.size volume.size container.size_rw container.log_bytes host.disk_free host.memory",
    "any": "container.memory_swap",
    "adjustment": "container.oom_score_adj",
    "free": """
        image.instructions image.history.instruction container.processes container.device_rules
        host.warnings host.security_options
    """,
}
FORMS = {name: form for form, names in _NAMES.items() for name in names.split()}
"""Of texts and numbers with rules of their own; ``policy.doubts`` knows the rules. Other whole numbers are never
below 0."""

RECORDS: dict[str, dict[str, str]] = {
    "container.mounts": {
        **dict.fromkeys(("type", "name", "source", "destination", "driver", "propagation"), "string"),
        "rw": "bool",
        "anonymous": "bool",
    },
    "container.published": {"host_ip": "string", "host_port": "int", "port": "int", "protocol": "string"},
    "service.published": {"host_port": "int", "port": "int", "protocol": "string", "mode": "string"},
    "service.mounts": {**dict.fromkeys(("type", "name", "source", "destination", "driver"), "string"), "rw": "bool"},
    "image.history": {"instruction": "string", "size": "int", "created": "string"},
}
"""Of records: their keys, with the types of the values."""


def spec(name: str, type_: str, cost: int, meaning: str) -> FactSpec:
    """The row of the vocabulary, with what is known here of the fact."""
    words = tuple(WORDS[name].split("|")) if name in WORDS else ()
    keys = {key: spec(f"{name}.{key}", inner, cost, "") for key, inner in RECORDS.get(name, {}).items()}
    return FactSpec(name, type_, cost, meaning, FORMS.get(name, ""), words, keys)

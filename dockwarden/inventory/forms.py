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

FORMS = {
    **dict.fromkeys(("container.image_ref", "image.ref", "image.tags", "image.same_as", "image.base"), "reference"),
    **dict.fromkeys(("tag.ref", "tag.siblings", "container.sibling_images", "image.bases"), "reference"),
    **dict.fromkeys(("tag.repository", "image.repositories", "container.image_repository"), "repository"),
    "service.image_ref": "reference",
    "service.image_repository": "repository",
    "service.image_digest": "digest",
    "service.name": "name",
    **dict.fromkeys(("service.memory_limit", "service.memory_reservation"), "memory"),
    "tag.registry": "registry",
    "tag.name": "tag",
    "tag.version": "version",
    "registry.newest_version": "tag",
    "registry.latest_is": "tag",
    "host.engine_version": "release",
    "host.api_version": "version",
    **dict.fromkeys(("image.id", "container.image_id"), "id"),
    "image.short_id": "short_id",
    **dict.fromkeys(("tag.digest", "registry.digest", "registry.newest_version_digest"), "digest"),
    "image.digests": "repository_digest",
    "container.name": "name",
    **dict.fromkeys(("container.cap_add", "container.cap_drop"), "capability"),
    "image.ports": "port",
    "container.ports": "bound_port",
    "container.devices": "device",
    "container.stop_signal": "signal",
    "container.network_mode": "network_mode",
    "container.shm_size": "shared_memory",
    "container.mounts.destination": "path",
    **dict.fromkeys(
        ("container.published.port", "service.published.port", "service.published.host_port"), "port_number"
    ),
    "container.ulimits": "ulimit",
    "container.security_opt": "security_opt",
    **dict.fromkeys(("container.env_names", "image.env"), "variable"),
    **dict.fromkeys(
        [f"host.{of}{what}_used_percent" for of in ("", "data_") for what in ("disk", "inodes")], "percent"
    ),
    **dict.fromkeys(("container.memory_limit", "container.memory_reservation"), "memory"),
    **dict.fromkeys(("container.user", "image.user"), "user"),
    "container.published.host_ip": "ip",
    "container.exit_code": "exit_code",
    "container.published.host_port": "picked",
    **dict.fromkeys(("container.cpu_limit", "container.pids_limit"), "limit"),
    "container.mounts.source": "mounted",
    **dict.fromkeys(("container.pid_mode", "container.ipc_mode"), "mode"),
    **dict.fromkeys(
        ("image.size", "volume.size", "container.size_rw", "container.log_bytes", "host.disk_free", "host.memory"),
        "bytes",
    ),
    "container.memory_swap": "any",
    "container.oom_score_adj": "adjustment",
    **dict.fromkeys(("image.instructions", "image.history.instruction", "container.processes"), "free"),
    **dict.fromkeys(("container.device_rules", "host.warnings", "host.security_options"), "free"),
}
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

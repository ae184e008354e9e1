"""What values facts can have: closed sets of words, forms of texts and numbers, keys of records. Pure.

A condition that compares a fact with a value that it never has is certainly wrong, so policies are held to these.
"""

from dockwarden.model import FactSpec

WORDS = {
    "state": "created|running|paused|restarting|removing|exited|dead",
    "health": "|healthy|unhealthy|starting",
    "freshness": "current|recreate-needed|tag-gone|pinned",
    "pin": "tag|digest|id",
    "owner": "|compose|swarm|kubernetes|nomad|ecs",
    "restart_policy": "no|always|on-failure|unless-stopped",
    "host_or_own": "|host",
    "registry_state": "|current|drift|other-platform|local|gone",
    "origin": "registry|unknown",
    "os": "|aix|android|darwin|dragonfly|freebsd|illumos|linux|netbsd|openbsd|plan9|solaris|wasip1|windows",
    "platform": "|386|amd64|arm|arm64|loong64|mips|mips64|mips64le|mipsle|ppc64|ppc64le|riscv64|s390x|wasm",
    "image_store": "graph|containerd",
    "mount_type": "bind|volume|tmpfs|npipe|cluster|image",
    "propagation": "|private|rprivate|shared|rshared|slave|rslave",
    "protocol": "tcp|udp|sctp",
    "machine": "|x86_64|aarch64|armv7l|armv6l|i686|ppc64le|s390x|riscv64|loongarch64|mips64",
    "swarm_role": "|manager|worker",
    "service_mode": "replicated|global|replicated-job|global-job",
    "update_state": "|updating|paused|completed|rollback_started|rollback_paused|rollback_completed",
    "failure_action": "pause|continue|rollback",
    "publish_mode": "ingress|host",
    "log_driver": "json-file|local|journald|syslog|gelf|fluentd|awslogs|splunk|etwlogs|gcplogs|logentries|none|*",
    "log_opt": "|max-size|max-file|max-buffer-size|compress|mode|labels|labels-regex|env|env-regex|tag|*",
    "network_mode": "bridge|host|none|*",
    "seccomp": "default|unconfined|custom|builtin|*",
    "apparmor": "|docker-default|unconfined|*",
    "network_driver": "bridge|host|null|overlay|macvlan|ipvlan|*",
    "volume_driver": "local|*",
    "storage_driver": "overlay2|overlay|overlayfs|btrfs|zfs|vfs|fuse-overlayfs|devicemapper|aufs|windowsfilter|*",
}
"""By form, all words there are; the first may be empty, and with ``*`` there are others as well.

Other forms are those of texts and numbers with rules of their own, which ``policy.values`` knows. Whole numbers without
a form are never below 0."""


RECORDS = {
    "mount": """
        type:string:mount_type name:string source:string:mounted destination:string:path driver:string
        propagation:string:propagation rw:bool anonymous:bool
    """,
    "published": "host_ip:string:ip host_port:int:picked port:int:port_number protocol:string:protocol",
    "service_published": """
        host_port:int:port_number port:int:port_number protocol:string:protocol mode:string:publish_mode
    """,
    "service_mount": """
        type:string:mount_type name:string source:string destination:string driver:string rw:bool
    """,
    "step": "instruction:string:free size:int:bytes created:string:moment",
}
"""Of records, their keys, each with the type and form of its values."""


def record(form: str, of: object = None, **given: object) -> dict[str, object]:
    """A record of a form, whose values are given or else attributes of their names."""
    keys = (key.partition(":")[0] for key in RECORDS[form].split())
    return {key: given[key] if key in given else getattr(of, key) for key in keys}


def spec(name: str, type_: str, form: str, cost: int, meaning: str) -> FactSpec:
    """The row of the vocabulary, with what is known here of the fact."""
    words = tuple(WORDS[form].split("|")) if form in WORDS else ()
    parts = (key.split(":") for key in RECORDS.get(form, "").split())
    keys = {key: spec(f"{name}.{key}", inner, "".join(its), cost, "") for key, inner, *its in parts}
    return FactSpec(name, type_, cost, meaning, form, words, keys)

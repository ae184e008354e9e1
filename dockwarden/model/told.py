"""Facts of containers that the engine's inspect tells as they are: what each is called, and where it stands. Pure.

Input: nothing. Output: a table; ``engine.containers`` reads by it, and ``inventory.container_facts`` makes facts of it.
Out of bounds: what needs more than reading, which is a field of its own.
"""

from typing import NamedTuple

from dockwarden.model.policies import FactValue


class Told(NamedTuple):
    """One fact: its name, CEL type, path of keys in the inspect's JSON, meaning and form (see ``inventory.forms``)."""

    name: str
    type: str
    path: str
    meaning: str
    form: str = ""


TOLD = (
    Told("auto_remove", "bool", "HostConfig.AutoRemove", "removed as soon as it stops (`--rm`)"),
    Told("cgroup_parent", "string", "HostConfig.CgroupParent", "parent control group, empty for the default"),
    Told("cpuset", "string", "HostConfig.CpusetCpus", "CPUs it may run on, `0-3`, empty for all"),
    Told("device_rules", "list(string)", "HostConfig.DeviceCgroupRules", "rules for more devices, `c 1:3 rw`", "free"),
    Told("dns", "list(string)", "HostConfig.Dns", "DNS servers set for it, empty for the engine's"),
    Told("extra_hosts", "list(string)", "HostConfig.ExtraHosts", "lines for its /etc/hosts, `name:address`", "hosts"),
    Told("group_add", "list(string)", "HostConfig.GroupAdd", "additional groups"),
    Told("hostname", "string", "Config.Hostname", "host name"),
    Told("init", "bool", "HostConfig.Init", "an init process is asked for, which reaps zombies (`--init`)"),
    Told("links", "list(string)", "HostConfig.Links", "links of the old kind, `/db:/web/db`", "link"),
    Told("masked_paths", "list(string)", "HostConfig.MaskedPaths", "paths of /proc and /sys that it cannot see"),
    Told("memory_swap", "int", "HostConfig.MemorySwap", "bytes of memory and swap, 0: default, -1: no limit", "any"),
    Told("oom_kill_disable", "bool", "HostConfig.OomKillDisable", "the kernel ends none of it for lack of memory"),
    Told("oom_score_adj", "int", "HostConfig.OomScoreAdj", "how soon the kernel ends it, -1000 to 1000", "adjustment"),
    Told("runtime", "string", "HostConfig.Runtime", "runtime, such as runc"),
    Told("shm_size", "int", "HostConfig.ShmSize", "bytes of its /dev/shm", "shared_memory"),
    Told("stdin_open", "bool", "Config.OpenStdin", "its standard input is kept open (`-i`)"),
    Told("stop_signal", "string", "Config.StopSignal", "signal that asks it to stop, empty for SIGTERM", "signal"),
    Told("stop_timeout", "int", "Config.StopTimeout", "seconds that it has to stop, 0 for the engine's ten"),
    Told("sysctls", "map(string)", "HostConfig.Sysctls", "kernel parameters set for it"),
    Told("tmpfs", "map(string)", "HostConfig.Tmpfs", "file systems in memory: path, options"),
    Told("tty", "bool", "Config.Tty", "it has a terminal (`-t`)"),
    Told("volumes_from", "list(string)", "HostConfig.VolumesFrom", "containers whose mounts it has, too"),
    Told("working_dir", "string", "Config.WorkingDir", "directory in which it starts"),
)
EMPTY: dict[str, FactValue] = {"string": "", "int": 0, "bool": False, "list(string)": [], "map(string)": {}}
"""What is told where nothing is."""

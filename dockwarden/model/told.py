"""Facts of containers that the engine's inspect tells as they are: what each is called, and where it stands. Pure.

Input: nothing. Output: a table; ``engine.containers`` reads by it, and ``inventory.settings_facts`` makes facts of it.
Out of bounds: what needs more than reading, which is a field of its own.
"""

from typing import NamedTuple

from dockwarden.model.policies import FactValue


class Told(NamedTuple):
    """One fact: its name, CEL type and meaning, and the path of keys in the inspect's JSON."""

    name: str
    type: str
    path: str
    meaning: str


TOLD = (
    Told("auto_remove", "bool", "HostConfig.AutoRemove", "removed as soon as it stops (`--rm`)"),
    Told("cgroup_parent", "string", "HostConfig.CgroupParent", "parent control group, empty for the default"),
    Told("device_rules", "list(string)", "HostConfig.DeviceCgroupRules", "rules for further devices, `c 188:* rmw`"),
    Told("group_add", "list(string)", "HostConfig.GroupAdd", "additional groups"),
    Told("masked_paths", "list(string)", "HostConfig.MaskedPaths", "paths of /proc and /sys that it cannot see"),
    Told("runtime", "string", "HostConfig.Runtime", "runtime, such as runc"),
    Told("sysctls", "map(string)", "HostConfig.Sysctls", "kernel parameters set for it"),
)
EMPTY: dict[str, FactValue] = {"string": "", "int": 0, "bool": False, "list(string)": [], "map(string)": {}}
"""What is told where nothing is."""

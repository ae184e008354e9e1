"""Facts of what a container was created with: its limits, its isolation, its log. Pure; see ``facts``."""

from collections.abc import Mapping

from dockwarden.inventory.view import Read, Row, View, is_root
from dockwarden.model import Container, FactValue
from dockwarden.model.told import EMPTY, TOLD, Told

_CONFIG_NAMES = {"memory_limit": "memory_limit_bytes", "memory_reservation": "memory_reservation_bytes"}


def _config(name: str) -> Read:
    field = _CONFIG_NAMES.get(name, name)

    def read(container: Container, _view: View) -> FactValue:
        value = getattr(container.config, field)
        return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value

    return read


def _seccomp(container: Container, _view: View) -> str:
    # Engines still take the old form, `seccomp:unconfined`.
    options = (option.replace(":", "=", 1).partition("=") for option in container.config.security_opt)
    profile = next((value for name, _, value in options if name == "seccomp"), "")
    if profile:
        return profile if len(profile) < 100 else "custom"  # noqa: PLR2004 - the engine stores the whole profile
    return "unconfined" if container.config.privileged else "default"


def _no_new_privileges(container: Container, _view: View) -> bool:
    return any(
        option in ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true")
        for option in container.config.security_opt
    )


_CONFIG: tuple[Row, ...] = tuple(
    (name, type_, 1, meaning, _config(name))
    for name, type_, meaning in (
        ("memory_limit", "int", "memory limit in bytes, 0 for none"),
        ("memory_reservation", "int", "memory reservation in bytes, 0 for none"),
        ("cpu_limit", "double", "CPU limit in cores, 0.0 for none"),
        ("cpu_shares", "int", "CPU shares, 0 for the default"),
        ("pids_limit", "int", "limit of processes, 0 for none"),
        ("privileged", "bool", "privileged"),
        ("pid_mode", "string", "PID namespace mode"),
        ("ipc_mode", "string", "IPC namespace mode"),
        ("uts_mode", "string", "UTS namespace mode"),
        ("userns_mode", "string", "user namespace mode"),
        ("read_only", "bool", "its root file system is read-only"),
        ("user", "string", "user as set for it or by its image, empty for root"),
        ("cap_add", "list(string)", "capabilities added"),
        ("cap_drop", "list(string)", "capabilities dropped"),
        ("security_opt", "list(string)", "security options"),
        ("apparmor", "string", "AppArmor profile"),
        ("devices", "list(string)", "host devices, `/dev/fuse:/dev/fuse:rwm`"),
        ("ulimits", "list(string)", "limits, `nofile=1024:2048`"),
        ("restart_policy", "string", "restart policy"),
        ("restart_max", "int", "most restarts of on-failure"),
        ("restart_count", "int", "restarts by the engine"),
        ("log_driver", "string", "log driver"),
        ("log_opts", "map(string)", "options of the log driver, the engine's defaults included; secrets as `***`"),
        ("healthcheck", "bool", "a health check is set"),
        ("env_names", "list(string)", "names of its environment variables, never values"),
    )
)


def _told(each: Told) -> Read:
    return lambda container, _: container.config.told.get(each.name, EMPTY[each.type])


_TOLD: tuple[Row, ...] = tuple((each.name, each.type, 1, each.meaning, _told(each)) for each in TOLD)
_SECURITY: tuple[Row, ...] = (
    ("seccomp", "string", 1, "`default`, `unconfined`, `custom` or a profile name", _seccomp),
    ("no_new_privileges", "bool", 1, "no-new-privileges is set", _no_new_privileges),
    ("root", "bool", 1, "it runs as root, whoever said so", lambda c, _: is_root(c.config.user)),
)

SETTINGS: tuple[Row, ...] = (*_CONFIG, *_TOLD, *_SECURITY)

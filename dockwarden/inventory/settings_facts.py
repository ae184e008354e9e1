"""Facts of what a container was created with: its limits, its isolation, its log. Pure; see ``facts``."""

from dockwarden.inventory.view import Row, View, is_root
from dockwarden.model import Container
from dockwarden.model.told import EMPTY, TOLD, Told


def _seccomp(container: Container, _view: View) -> str:
    # Engines still take the old form, `seccomp:unconfined`.
    options = (option.replace(":", "=", 1).partition("=") for option in container.config.security_opt)
    profile = next((value for name, _, value in options if name == "seccomp"), "")
    if profile:
        return profile if len(profile) < 100 else "custom"  # noqa: PLR2004 - the engine stores the whole profile
    return "unconfined" if container.config.privileged else "default"


_NO_NEW = {"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"}


_CONFIG: tuple[Row, ...] = tuple(
    Row(name, type_, meaning, f"config.{name}" + ("_bytes" if name.startswith("memory_") else ""), cost=1)
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


def _told(each: Told) -> Row:
    return Row(each.name, each.type, each.meaning, lambda c, _: c.config.told.get(each.name, EMPTY[each.type]), cost=1)


_SECURITY: tuple[Row, ...] = (
    Row("seccomp", "string", "`default`, `unconfined`, `custom` or a profile name", _seccomp, cost=1),
    Row(
        "no_new_privileges",
        "bool",
        "no-new-privileges is set",
        lambda c, _: not _NO_NEW.isdisjoint(c.config.security_opt),
        cost=1,
    ),
    Row("root", "bool", "it runs as root, whoever said so", lambda c, _: is_root(c.config.user), cost=1),
)

SETTINGS: tuple[Row, ...] = (*_CONFIG, *map(_told, TOLD), *_SECURITY)

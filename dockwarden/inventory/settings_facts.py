"""Facts of what a container was created with: its limits, its isolation, its log. Pure; see ``facts``."""

from dockwarden.inventory.view import Row, View, is_root, rows
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


_CONFIG = rows(
    """
    memory_limit       int:memory                memory limit in bytes, 0 for none
    memory_reservation int:memory                memory reservation in bytes, 0 for none
    cpu_limit          double:limit              CPU limit in cores, 0.0 for none
    cpu_shares         int                       CPU shares, 0 for the default
    pids_limit         int:limit                 limit of processes, 0 for none
    privileged         bool                      privileged
    pid_mode           string:mode               PID namespace mode
    ipc_mode           string:mode               IPC namespace mode
    uts_mode           string:host_or_own        UTS namespace mode
    userns_mode        string:host_or_own        user namespace mode
    read_only          bool                      its root file system is read-only
    user               string:user               user as set for it or by its image, empty for root
    cap_add            list(string):capability   capabilities added
    cap_drop           list(string):capability   capabilities dropped
    security_opt       list(string):security_opt security options
    apparmor           string:apparmor           AppArmor profile
    devices            list(string):device       host devices, `/dev/fuse:/dev/fuse:rwm`
    ulimits            list(string):ulimit       limits, `nofile=1024:2048`
    restart_policy     string:restart_policy     restart policy
    restart_max        int                       most restarts of on-failure
    restart_count      int                       restarts by the engine
    log_driver         string:log_driver         log driver
    log_opts           map(string):log_opt       options of the log driver, the engine's defaults included; \
        secrets as `***`
    healthcheck        bool                      a health check is set
    env_names          list(string):variable     names of its environment variables, never values
    seccomp            string:seccomp            `default`, `unconfined`, `custom` or a profile name
    no_new_privileges  bool                      no-new-privileges is set
    root               bool                      it runs as root, whoever said so
    """,
    cost=1,
    at="config.",
    memory_limit=lambda c, _: c.config.memory_limit_bytes,
    memory_reservation=lambda c, _: c.config.memory_reservation_bytes,
    seccomp=_seccomp,
    no_new_privileges=lambda c, _: not _NO_NEW.isdisjoint(c.config.security_opt),
    root=lambda c, _: is_root(c.config.user),
)


def _told(each: Told) -> Row:
    empty = EMPTY[each.type]
    return Row(each.name, each.type, each.form, each.meaning, lambda c, _: c.config.told.get(each.name, empty), cost=1)


SETTINGS = (*_CONFIG, *map(_told, TOLD))

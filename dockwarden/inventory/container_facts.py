"""Facts of containers: where they come from, what they are up to, what they were created with, and what is measured.

Pure; see ``facts``.
"""

from collections.abc import Iterator, Mapping

from dockwarden import reference
from dockwarden.inventory.forms import record
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.view import FIRST_DATE, Row, View, is_root, rows
from dockwarden.model import Container, Image, Mount, ref_of
from dockwarden.model.told import EMPTY, TOLD, Told
from dockwarden.text import host_path

_ORCHESTRATORS = (  # by the beginning of a label's name
    ("com.docker.swarm.", "swarm"),
    ("com.docker.stack.namespace", "swarm"),
    ("io.kubernetes.pod.uid", "kubernetes"),
    ("io.kubernetes.pod.name", "kubernetes"),
    ("com.hashicorp.nomad.alloc_id", "nomad"),
    ("com.amazonaws.ecs.task-arn", "ecs"),
    ("com.docker.compose.", "compose"),  # an image that Compose built has the project's label, but no other
)

_NO_NEW = "no-new-privileges"
_YES = {"", "1", "t", "T", "true", "True", "TRUE"}  # as Go reads them; '' of an option that has no value
_LONGEST_NAME = 99  # of a profile; of one that was in a file, the engine stores all of its text


def owner_of(labels: Mapping[str, str]) -> str:
    """Who manages an object: ``swarm``, ``kubernetes``, ``nomad``, ``ecs``, ``compose``, or nobody."""
    return next((owner for start, owner in _ORCHESTRATORS if any(name.startswith(start) for name in labels)), "")


def orchestrator_of(labels: Mapping[str, str]) -> str:
    """Who would put a removed object back or miss it: as ``owner_of``, but Compose leaves that to people."""
    return "" if (owner := owner_of(labels)) == "compose" else owner


def own_labels(container: Container, image: Image | None) -> dict[str, str] | None:
    """Labels given to it itself, as engines add its image's; None if that is gone, so nobody knows whose they are."""
    if image is None:
        return None if container.labels else {}
    return {name: value for name, value in container.labels.items() if image.labels.get(name) != value}


def labels_that_count(container: Container, image: Image | None) -> Mapping[str, str]:
    """Labels that may claim or protect a container: no image can do that. Of those of unknown origin all count."""
    own = own_labels(container, image)
    return container.labels if own is None else own


def exited_seconds(container: Container, inventory: Inventory, now: float) -> float:
    """Seconds since a container ended: by the engine's clock, but no longer than we watched it not run."""
    if container.running or container.started_at is None or container.finished_at is None:
        return 0.0
    return max(0.0, min(now - container.finished_at, inventory.idle_for(ref_of(container))))


def _freshness(container: Container, view: View) -> str | None:
    if container.pin != "tag":
        return "pinned"
    current = view.inventory.tags.get(reference.full(container.image_ref))
    if current is None:
        return "tag-gone"
    if current == container.image_id:
        return "current"
    details = view.inventory.images[current].details
    if container.manifest and details is None:
        return None
    # The same image for this platform in another index, which differs for others only.
    return "current" if details and container.manifest in details.manifests else "recreate-needed"


def _repository(container: Container) -> str:
    parsed = reference.parsed(container.image_ref) if container.pin != "id" else None
    return parsed.repository if parsed else ""


def _mount(mount: Mount, view: View) -> dict[str, object]:
    volume = view.inventory.volumes.get(mount.name)
    anonymous = volume.anonymous if volume else False
    return record("mount", mount, source=host_path(mount.source), rw=mount.writable, anonymous=anonymous)


def _published(container: Container) -> Iterator[dict[str, object]]:
    for text in container.ports:
        here, arrow, inside = text.partition("->")
        if arrow:
            address, _, picked = here.rpartition(":")
            port, _, protocol = inside.partition("/")
            known = {"host_ip": address.strip("[]"), "host_port": int(picked), "port": int(port)}
            yield record("published", **known, protocol=protocol or "tcp")


def _networks(container: Container, view: View) -> list[str]:
    known = view.inventory.networks
    names = {known[each].name if each in known else each for each in container.networks}
    return sorted(name for name in names if not reference.is_image_id(f"sha256:{name}"))  # of one that is gone


def _since(at: float | None, view: View) -> float:
    return max(0.0, view.now - at) if at is not None and at > FIRST_DATE else 0.0


def _state_for(container: Container, view: View) -> float:
    ended = dict.fromkeys(("exited", "dead", "restarting"), container.finished_at)
    at = {"running": container.started_at, "created": container.created_at} | ended
    if (since := at.get(container.state)) is not None and since > FIRST_DATE:
        return _since(since, view)
    return view.inventory.lives.state_for(container.id)


def _sibling_images(container: Container, view: View) -> list[str]:
    tags = view.inventory.tags
    here = view.inventory.repositories.get(_repository(container), ())
    return sorted(tag for tag in here if tags[tag] != container.image_id)


def _security(container: Container) -> dict[str, str]:
    """Its security options by their names; as for the engine, the last of a name counts, and `:` is the old `=`."""
    options = container.config.security_opt
    return dict(option.partition("=" if "=" in option else ":")[::2] for option in options)


def _no_new_privileges(container: Container, view: View) -> bool:
    own = _security(container).get(_NO_NEW)
    of_all = view.info is not None and f"name={_NO_NEW}" in view.info.security_options
    return of_all if own is None else own in _YES


def _seccomp(container: Container, _view: View) -> str:
    if profile := _security(container).get("seccomp"):
        return profile if len(profile) <= _LONGEST_NAME else "custom"
    return "unconfined" if container.config.privileged else "default"


def _told(each: Told) -> Row:
    empty = EMPTY[each.type]
    return Row(each.name, each.type, each.form, each.meaning, lambda c, _: c.config.told.get(each.name, empty), cost=1)


_ITSELF = rows(
    """
    id                 string                 container ID
    name               string:name            name
    image_ref          string:reference       image as full reference, or as it was typed where it is none
    image_repository   string:repository      registry and path of its image, empty if made from an ID
    image_pin          string:pin             how it names its image: `tag`, `digest` or `id`
    image_id           string:id              ID of the image it runs
    freshness          string:freshness       `current`, `recreate-needed` (its tag names another image now), \
        `tag-gone`, `pinned`
    tag_image          string                 ID of the image that its tag names here now; empty if there is none, \
        or it was created from none
    running            bool                   it runs
    state              string:state           created, running, paused, restarting, removing, exited or dead
    health             string:health          healthy, unhealthy or starting; empty without a health check, \
        and unless it is running
    health_for         duration               how long it has had this health at least, as far as probes are \
        remembered; 0 without one
    state_for          duration               how long it has been in its state by the engine's clock; \
        paused: as far as we watched
    restarts_last_hour int                    how often it was started again in the last hour, as far as we watched
    given_up           bool                   a policy has restarted it as often as it may, and it is neither healthy \
        nor started by anybody else since
    oom_killed         bool                   the kernel ended a process of its last run for lack of memory
    exit_code          int:exit_code          exit code of its last run
    labels             map(string)            labels, those of its image included
    own_labels         map(string)            labels that it has itself and not from its image; \
        unknown if the image is gone
    created            timestamp              when it was created
    started            timestamp              when it was last started; unknown if never
    exited_for         duration               how long it has been stopped, as far as we watched; \
        0 for one that runs or never ran
    owner              string:owner           compose, swarm, kubernetes, nomad, ecs, or empty; by its own labels
    networks           list(string)           names of the networks it belongs to
    sibling_images     list(string):reference tags of its image's repository that are here and name other images
    network_mode       string:network_mode    network mode; the engine's default is `bridge`
    mounts             list(map):mount        mounts: type, name, source (of /run as /var/run), destination, driver, \
        rw, anonymous, propagation
    ports              list(string):bound_port published and exposed ports
    published          list(map):published    published ports: host_ip, host_port (0: the engine picks one at start), \
        port, protocol
    """,
    image_ref=lambda c, _: reference.full(c.image_ref) if c.pin != "id" else c.image_ref,
    image_repository=lambda c, _: _repository(c),
    image_pin="pin",
    freshness=_freshness,
    tag_image=lambda c, v: v.inventory.tags.get(reference.full(c.image_ref), "") if c.pin == "tag" else "",
    health_for=lambda c, v: _since(c.health_at if c.health else None, v),
    state_for=_state_for,
    restarts_last_hour=lambda c, v: v.inventory.lives.restarts_last_hour(c, v.now),
    given_up=lambda c, v: v.inventory.memory.is_given_up(ref_of(c)),
    own_labels=lambda c, v: own_labels(c, v.inventory.images.get(c.image_id)),
    created="created_at",
    started="started_at",
    exited_for=lambda c, v: exited_seconds(c, v.inventory, v.now),
    owner=lambda c, v: owner_of(labels_that_count(c, v.inventory.images.get(c.image_id))),
    networks=_networks,
    sibling_images=_sibling_images,
    network_mode=lambda c, _: "bridge" if c.network_mode == "default" else c.network_mode,
    mounts=lambda c, v: [_mount(m, v) for m in c.mounts],
    published=lambda c, _: list(_published(c)),
)
_CONFIG = rows(
    """
    memory_limit       int:memory                memory limit in bytes, 0 for none
    memory_reservation int:reserved              memory reservation in bytes, 0 for none
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
    no_new_privileges  bool                      no-new-privileges is set for it, or for all and not taken back for it
    root               bool                      it runs as root, whoever said so
    """,
    cost=1,
    at="config.",
    memory_limit=lambda c, _: c.config.memory_limit_bytes,
    memory_reservation=lambda c, _: c.config.memory_reservation_bytes,
    seccomp=_seccomp,
    no_new_privileges=_no_new_privileges,
    root=lambda c, _: is_root(c.config.user),
)
_MEASURED = rows(
    """
    size_rw   int:bytes         bytes it has written besides its image
    log_bytes int:bytes         bytes of its log on the engine's disk, where that can be seen
    processes list(string):free command lines of its processes; never shown, as they may hold secrets
    """,
    cost=2,
    size_rw=lambda c, v: v.usage.containers.get(c.id) if v.usage else None,
    log_bytes=lambda c, v: v.measured.get(("container.log_bytes", c.id)),
    processes=lambda c, v: v.measured.get(("container.processes", c.id)) if c.running else [],
)

CONTAINER: tuple[Row, ...] = (*_ITSELF, *_CONFIG, *map(_told, TOLD), *_MEASURED)

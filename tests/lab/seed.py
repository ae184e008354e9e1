"""A lived-in host: what an engine looks like after a year of pulls, builds and forgetting.

Role: fill an empty private engine and registry with the cases that policies are about. In: an engine
that reaches the registry. Out: a `Host` that names what was made. Out of bounds: judging it. Works on
both kinds of engine; takes about five seconds.

| case | where |
| --- | --- |
| a `:latest` that was pulled | `nginx`, container `web` without limits |
| a tag that moved at the registry after the pull | `redis`, container `cache` |
| a tag that was pulled again after the container was made | `worker`, container `worker` |
| two tags of one image, and two old releases | `api` |
| pinned by digest, for several platforms | `haproxy`, `memcached` |
| a base that nobody allowed, by label; a base by its layers | `agent`; `billing` on `base` |
| dangling images | `dangling`; later `make_young_dangling` |
| state | container `db` of a postgres with an anonymous volume |
| isolation given away | containers `debug` (host namespaces, privileged), `portainer` (socket) |
| forgotten | container `migrate` (failed), volumes `orphans`, network `legacy` |
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.lab import images, machine
from tests.lab.images import ImageSpec, rootfs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.engine import LabEngine
    from tests.lab.registry import LabRegistry

BASE_NAME_LABEL = "org.opencontainers.image.base.name"
_HEALTHCHECK = {"Test": ["CMD", "true"], "Interval": 60_000_000_000}
_DECENT: dict[str, object] = {"user": "app", "healthcheck": _HEALTHCHECK}
_RELEASES = {
    "caddy": "2.7.6",
    "grafana": "10.4.2",
    "loki": "2.9.6",
    "minio": "2024.3.15",
    "rabbitmq": "3.13.1",
    "traefik": "2.11.0",
    "vault": "1.15.6",
}
_young = itertools.count(1)


@dataclass(frozen=True)
class Host:
    """Full references and names of what the seed made."""

    nginx: str  # :latest, current
    redis: str  # moved at the registry since the pull
    worker: str  # moved, and pulled again
    api: tuple[str, ...]  # 1.2.0, 1.3.0, 1.4.0, and 1.4, which is 1.4.0
    memcached: str  # a multi-platform index
    haproxy: str  # repository@sha256:…, never tagged here
    postgres: str
    agent: str  # its label names a base that no list allows
    base: str  # a local build
    billing: str  # its layers start with those of base
    decent: tuple[str, ...]  # nothing to complain about
    dangling: tuple[str, ...]  # image IDs
    containers: tuple[str, ...]
    orphans: tuple[str, str]  # volumes: a named one, an anonymous one
    network: str


def seed(engine: LabEngine, registry: LabRegistry, say: Callable[[str], None] = machine.say) -> Host:
    """Make the lived-in host; `registry` must already be reachable from the engine."""
    say("seeding: a registry with fifteen repositories, most of them pulled as they are")
    pulled = _Pulled(engine, registry)
    nginx = pulled.image("library/nginx", "latest", exposed_ports=("80/tcp",))
    redis = pulled.image("library/redis", "7.2", **_DECENT)
    worker = pulled.image("shop/worker", "stable", user="app")
    postgres = pulled.image("library/postgres", "15", volumes=("/var/lib/postgresql/data",))
    agent = pulled.image("tools/agent", "3.1", labels={BASE_NAME_LABEL: "docker.io/library/centos:7"})
    api = tuple(pulled.image("shop/api", f"1.{minor}.0", **_DECENT) for minor in (2, 3, 4))
    api += (pulled.again(api[-1], "1.4"),)
    decent = tuple(pulled.image(f"library/{name}", tag, **_DECENT) for name, tag in _RELEASES.items())
    memcached = pulled.index("library/memcached", "1.6.24")
    haproxy = pulled.by_digest("library/haproxy", "2.9.6")

    say("seeding: local builds, one on top of another, and what builds leave behind")
    base, billing = _local_builds(engine)
    dangling = tuple(make_young_dangling(engine, name) for name in ("old-1", "old-2"))

    say("seeding: containers, running and forgotten, volumes, a network")
    containers = _containers(engine, {"web": nginx, "cache": redis, "worker": worker, "db": postgres})
    orphans = (engine.docker("volume", "create", "backup-2024"), engine.docker("volume", "create"))
    engine.docker("network", "create", "legacy-net")

    say("seeding: redis:7.2 and worker:stable move at the registry; worker is pulled again")
    pulled.move("library/redis", "7.2")
    pulled.move("shop/worker", "stable")
    engine.docker("pull", "--quiet", worker)
    return Host(
        nginx, redis, worker, api, memcached, haproxy, postgres, agent, base, billing, decent,
        dangling, containers, orphans, "legacy-net",
    )  # fmt: skip


def make_young_dangling(engine: LabEngine, name: str = "") -> str:
    """One more image without a name or a user, made now, as builds leave them; its ID."""
    label = name or f"young-{next(_young)}"
    spec = ImageSpec(
        layers=(rootfs({"build": label}),),
        labels={"lab.build": label},
        created=datetime.now(UTC),
    )
    engine.load(spec)
    client = engine.client()
    found = client.images(filters={"dangling": True, "label": f"lab.build={label}"})
    return str(found[0]["Id"])


class _Pulled:
    """Pushes runnable images to the registry and pulls them into the engine."""

    def __init__(self, engine: LabEngine, registry: LabRegistry) -> None:
        self._engine = engine
        self._registry = registry
        self._runnable = images.busybox()
        self._last: dict[str, ImageSpec] = {}
        self._made = datetime.now(UTC) - timedelta(days=120)

    def image(self, repository: str, tag: str, **settings: object) -> str:
        self._push(repository, tag, settings)
        return self._pull(repository, tag)

    def again(self, reference: str, tag: str) -> str:
        """One more tag of what the reference names, at the registry and here."""
        repository = reference.removeprefix(f"{self._registry.host}/").rpartition(":")[0]
        self._registry.push(repository, tag, self._last[repository])
        return self._pull(repository, tag)

    def index(self, repository: str, tag: str) -> str:
        image = self._spec(repository, tag, _DECENT)
        platforms = (f"linux/{images.ARCHITECTURE}", "linux/s390x")
        self._registry.push_index(repository, tag, platforms, image)
        return self._pull(repository, tag)

    def by_digest(self, repository: str, tag: str) -> str:
        digest = self._registry.push(repository, tag, self._spec(repository, tag, _DECENT))
        return self._pull(repository, digest, joint="@")

    def move(self, repository: str, tag: str) -> None:
        """A new release under the old tag, at the registry only."""
        image = replace(self._last[repository], labels={"release": "next"}, created=datetime.now(UTC))
        self._registry.push(repository, tag, image)

    def _push(self, repository: str, tag: str, settings: dict[str, object]) -> None:
        self._last[repository] = self._spec(repository, tag, settings)
        self._registry.push(repository, tag, self._last[repository])

    def _spec(self, repository: str, tag: str, settings: dict[str, object]) -> ImageSpec:
        self._made += timedelta(days=3)
        # Its own first layer, so that nobody takes it for the base of another.
        own = rootfs({"etc/release": f"{repository} {tag}"})
        layers = (own, *self._runnable.layers)
        spec = replace(self._runnable, tags=(), layers=layers, created=self._made)
        return replace(spec, **settings)  # type: ignore[arg-type]

    def _pull(self, repository: str, tag: str, joint: str = ":") -> str:
        reference = f"{self._registry.host}/{repository}{joint}{tag}"
        self._engine.docker("pull", "--quiet", reference)
        return reference


def _local_builds(engine: LabEngine) -> tuple[str, str]:
    base, billing = "company/base:2024.1", "company/billing:5.0.2"
    runnable = images.busybox()
    below = (rootfs({"etc/release": "company base"}), *runnable.layers)
    above = (*below, rootfs({"app/billing": "billing 5.0.2"}))
    made = datetime.now(UTC) - timedelta(days=40)
    engine.load(
        replace(runnable, tags=(base,), layers=below, created=made),
        replace(runnable, tags=(billing,), layers=above, user="app", created=made),
    )
    return base, billing


def _containers(engine: LabEngine, references: dict[str, str]) -> tuple[str, ...]:
    limits = ("--memory=64m", "--cpus=0.5", "--pids-limit=50", "--read-only", "--user=1000")
    socket = f"--volume={engine.socket}:/var/run/docker.sock"
    isolation = ("--privileged", "--pid=host", "--network=host", "--ipc=host")
    engine.docker("volume", "create", "db-config")
    running: dict[str, tuple[str, ...]] = {
        "web": (references["web"],),
        "cache": (*limits, "--restart=on-failure:3", references["cache"]),
        "worker": ("--memory=64m", references["worker"]),
        "db": ("--volume=db-config:/etc/postgresql", references["db"]),
        "portainer": (socket, "company/base:2024.1"),
    }
    for name, arguments in running.items():
        engine.docker("run", "--detach", f"--name={name}", *arguments)
    # Created only: whether a privileged container may start depends on this machine's own jail.
    engine.docker("create", "--name=debug", *isolation, "company/base:2024.1")
    engine.docker("create", "--name=migrate", "company/billing:5.0.2", "sh", "-c", "exit 3")
    engine.docker("start", "migrate")
    engine.docker("wait", "migrate")
    return (*running, "debug", "migrate")


def summary(engine: LabEngine) -> dict[str, int]:
    """How much there is of each kind."""
    counted = json.loads(engine.docker("system", "info", "--format", "{{json .}}"))
    return {
        "images": int(counted["Images"]),
        "containers": int(counted["Containers"]),
        "volumes": len(engine.docker("volume", "ls", "--quiet").split()),
    }

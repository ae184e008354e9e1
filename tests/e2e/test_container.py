"""The image and the Compose files as shipped, built and run without network on a real host's engine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest
import urllib3
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.harness import policy, write_policies
from tests.e2e.supervised import BASE, IMAGE, ROOT, saved_image
from tests.lab import images, machine
from tests.lab.host import LabHost
from tests.lab.images import ImageSpec, rootfs
from tests.lab.machine import LabError
from tests.lab.programs import NOBODY, layer
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.engine, pytest.mark.slow(150)]
COMPOSE = ROOT / "deploy/compose"
MEBIBYTE = 1 << 20
TOO_LATE = ("404", "409")  # it is gone, or has just ended
EVERY_IMAGE = policy(
    "every-image", "image", "image.tags.exists(t, t.matches('/(dockwarden:|keep/)'))",
    mode="enforce", action="remove", trigger={"every": "5s"}, limits={"max_objects": 100, "max_percent": 100},
)  # fmt: skip
EVERY_TAG = {
    **EVERY_IMAGE, "name": "every-tag", "subject": "tag", "action": "untag",
    "when": "tag.ref.matches('/(dockwarden:|keep/)')",
}  # fmt: skip
JUDGING = (
    policy("latest", "tag", "tag.name == 'latest'", trigger={"events": ["image.tag"]}),
    policy("running", "container", "container.running", trigger={"events": ["container.start"]}),
    policy("big-volume", "volume", "volume.size >= 0", trigger={"events": ["volume.create"]}),
    policy("inside", "container", "container.processes.exists(p, p.contains('python'))", trigger={"every": "5s"}),
    policy("network", "network", "true", trigger={"events": ["network.create"]}),
    policy(
        "nameless-one", "image", "image.dangling && image.os == 'linux'", action="remove", trigger={"every": "5s"},
        limits={"max_percent": 100},
    ),
    policy("disk", "host", "host.disk_used_percent >= 0.0", trigger={"every": "1h"}),
)  # fmt: skip


class Stack:
    """Compose on the engine of one host, and the settings that its dockwarden reads."""

    def __init__(self, host: LabHost, settings: Path) -> None:
        self.host = host
        self.settings = settings
        self.engine = host.client()
        self._http = urllib3.PoolManager(retries=False, timeout=PATIENCE)
        self.built: set[str] = set()  # names of the images that every test finds
        self.checked_every = "1h"  # each check of its health starts an interpreter

    def docker(self, *arguments: str, check: bool = True, **variables: str) -> str:
        """The docker command against the host's engine: both its outputs."""
        return self._run(["docker", *arguments], variables, check=check)

    def compose(self, way: str, *arguments: str, check: bool = True, **variables: str) -> str:
        """Compose with the file of one way to the engine."""
        sooner = self.settings.parent / "sooner.yaml"
        sooner.write_text(f"services: {{dockwarden: {{healthcheck: {{interval: {self.checked_every}}}}}}}")
        files = [f"--file={file}" for file in (COMPOSE / "compose.yaml", COMPOSE / f"{way}.yaml", sooner)]
        ours = {"DOCKER_GID": self.gid, "DOCKWARDEN_CONFIG_DIR": str(self.settings), "HAPROXY_IMAGE": "haproxy:lab"}
        return self._run(
            ["docker-compose", "--project-name=lab", *files, *arguments], {**ours, **variables}, check=check
        )

    @property
    def gid(self) -> str:
        return str(self.host.path("/run/docker.sock").stat().st_gid)

    def configure(self, *policies: dict[str, Any]) -> None:
        """Settings with these policies alone; with none of them, nothing is configured, as on a host that is new."""
        shutil.rmtree(self.settings, ignore_errors=True)
        self.settings.mkdir()
        if not policies:
            return
        write_policies(self.settings / "policies/test.yaml", *policies)
        plain = {
            "policies": ["/etc/dockwarden/policies"],
            "minimum_stay": "0s",
            "log": {"format": "json"},
            "schedule": {"jitter": 0},
        }
        (self.settings / "dockwarden.yaml").write_text(yaml.safe_dump(plain))
        for path in (self.settings, *self.settings.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log("dockwarden") if line.startswith("{")]
        return [line for line in lines if line["event"] == event and fields.items() <= line.items()]

    def log(self, service: str) -> list[str]:
        with_what = {"label": [f"com.docker.compose.service={service}"]}
        (found,) = self.engine.containers(all=True, filters=with_what)
        return self.engine.logs(found["Id"]).decode().splitlines()

    def heard(self, event: str, **fields: object) -> dict[str, Any]:
        """The first line of its log with these fields; waits for it."""
        try:
            return until(lambda: self.said(event, **fields), f"{event} {fields}", pause=0.2)[0]
        except LabError as error:
            raise LabError(f"{error}\n" + "\n".join(self.log("dockwarden")[-20:])) from None

    def container(self) -> Any:
        return self.engine.inspect_container("lab_dockwarden_1")

    def found(self, family: str) -> dict[tuple[str, str], float]:
        """What is not 0 of dockwarden_findings or dockwarden_excused, by severity and policy; waits for the first."""

        def read() -> list[Any]:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                answer = self._http.request("GET", f"http://127.0.0.1:{self.host.reach(9877)}/metrics").data.decode()
                families = {one.name: one for one in text_string_to_metric_families(answer)}
                if any(sample.value for sample in families["dockwarden_evaluations"].samples):
                    return families[f"dockwarden_{family}"].samples
            return []

        samples = until(read, "the first judgement", pause=0.2)
        return {(s.labels["severity"], s.labels["policy"]): s.value for s in samples if s.value}

    def asked(self, port: int, path: str) -> Any:
        """What a service beside it answers in JSON on its published port; nothing while it does not."""
        with contextlib.suppress(urllib3.exceptions.HTTPError, ValueError):
            return json.loads(self._http.request("GET", f"http://127.0.0.1:{self.host.reach(port)}{path}").data)
        return {}

    def clean(self) -> None:
        for container in self.engine.containers(all=True):
            self.engine.remove_container(container["Id"], v=True, force=True)
        for volume in self.engine.volumes()["Volumes"] or ():
            self.engine.remove_volume(volume["Name"])
        self.engine.prune_networks()
        for tag in self.tags() - self.built:
            self.engine.remove_image(tag)

    def tags(self) -> set[str]:
        return {tag for image in self.engine.images() for tag in image["RepoTags"] or () if tag != "<none>:<none>"}

    def _run(self, command: list[str], variables: dict[str, str], *, check: bool) -> str:
        done = subprocess.run(
            command,
            env={"PATH": os.environ["PATH"], "HOME": str(self.host.dir), "DOCKER_HOST": self.host.docker_host,
                 "DOCKER_BUILDKIT": "0", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise LabError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        return done.stdout


@pytest.fixture(scope="module")
def built(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A host whose engine has the image, built as documented from a folder of wheels, and HAProxy."""
    machine.ensure({**machine.ENGINE, **machine.PROXY}, "the tests of the container")
    folder = tmp_path_factory.mktemp("build")
    with LabHost(see=[ROOT, folder]) as host:
        stack = Stack(host, folder / "settings")
        saved = saved_image(stack.engine, host.docker_host, shipped)
        if IMAGE not in stack.tags():  # another engine has built it
            stack.docker("load", "--quiet", f"--input={saved}")
        stack.engine.import_image_from_data(layer("haproxy"), repository="haproxy", tag="lab", changes=[
            'CMD ["/usr/sbin/haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]', "USER 99:99",
        ])  # fmt: skip
        stack.built = stack.tags()
        yield stack
        stack.engine.close()


@pytest.fixture
def stack(built: Stack) -> Iterator[Stack]:
    built.configure(*JUDGING)
    built.checked_every = "1h"
    yield built
    built.clean()


def test_image_is_small_locked_up_and_says_what_it_is(stack: Stack) -> None:
    image = stack.engine.inspect_image(IMAGE)
    assert image["Size"] <= 200 * MEBIBYTE  # a hundred of them the base
    config = image["Config"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"])
    assert config["Healthcheck"]["Test"] == ["CMD", "dockwarden", "healthcheck"]
    assert config["Entrypoint"] == ["dockwarden"]
    assert config["Labels"]["org.opencontainers.image.title"] == "dockwarden"
    assert stack.docker("run", "--rm", "--network=none", IMAGE, "version") == "dockwarden 0.1.0\n"
    without_pip = stack.docker("run", "--rm", "--entrypoint=python3", IMAGE, "-m", "pip", check=False)
    assert "No module named pip" in without_pip


def test_sidecar_with_the_socket_judges_and_spares_itself(stack: Stack) -> None:
    stack.configure(*JUDGING, EVERY_IMAGE, EVERY_TAG)
    stack.checked_every = "2s"
    for name in ("keep/one:1", "keep/two:latest"):
        stack.docker("tag", BASE, name)  # more than its own, so that a plan has something to do
    stack.docker("create", BASE, "true")  # whose image stays, whatever name it loses
    stack.compose("socket", "up", "--detach", "--no-build", "dockwarden", DOCKWARDEN_ALLOW="enforce")
    until(lambda: stack.container()["State"]["Health"]["Status"] == "healthy", "its health check", pause=0.5)

    settings = stack.container()["HostConfig"]
    assert settings["ReadonlyRootfs"]
    assert settings["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in settings["SecurityOpt"]
    status = stack.docker("exec", "lab_dockwarden_1", "cat", "/proc/1/status")
    assert "Uid:\t10001\t" in status
    assert "CapEff:\t0000000000000000" in status
    stack.heard("finding.opened", policy="disk")

    stack.heard("action.applied", name="docker.io/keep/two:latest")
    stack.heard("action.refused", policy="every-image", reason="self")
    stack.heard("action.refused", policy="every-tag", reason="self", name=f"docker.io/library/{IMAGE}")
    assert stack.engine.inspect_image(IMAGE)["RepoTags"] == [IMAGE]
    assert not stack.said("ledger.not_writable")
    assert "to use 9 policies" in stack.docker("exec", "lab_dockwarden_1", "dockwarden", "reload")
    stack.heard("config.reloaded")
    stack.docker("stop", "lab_dockwarden_1")
    assert stack.container()["State"]["ExitCode"] == 0


def test_prometheus_and_alertmanager_beside_it_are_set_up_to_watch_it(stack: Stack) -> None:
    machine.ensure(machine.METRICS, "the services beside dockwarden")
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    for name, program, storage, *beside in (
        ("prometheus", "prometheus", "--storage.tsdb.path"),
        ("alertmanager", "prometheus-alertmanager", "--storage.path", "/usr/share/prometheus/alertmanager"),
    ):  # as in the images that the file names, which cannot be pulled here
        command = [machine.find(program), f"--config.file=/etc/{name}/{name}.yml", f"{storage}=/{name}"]
        repository, _, tag = services[name]["image"].rpartition(":")
        changes = [f"ENTRYPOINT {json.dumps(command)}", f"USER {NOBODY}:{NOBODY}"]
        stack.engine.import_image_from_data(
            layer(program, *beside, folder=f"/{name}"), repository, tag, changes=changes
        )
    stack.configure()
    stack.compose("proxy", "up", "--detach", "--no-build", "dockwarden", "prometheus", "alertmanager")
    stack.heard("inventory.listed")

    def targets() -> list[str]:
        found = stack.asked(9090, "/api/v1/targets").get("data", {}).get("activeTargets", [])
        return [target["labels"]["job"] for target in found if target["health"] == "up"]

    until(lambda: "dockwarden" in targets(), "a scrape of dockwarden")
    groups = stack.asked(9090, "/api/v1/rules")["data"]["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    assert any(rule["name"] == "DockwardenDown" for group in groups for rule in group["rules"])
    until(lambda: stack.asked(9090, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"], "the way to Alertmanager")
    until(lambda: stack.asked(9093, "/api/v2/status").get("config"), "an answer of Alertmanager")

    # Nobody is accused of what is shipped so, and no alert is on its way.
    def pending() -> list[Any]:
        return list(stack.asked(9090, "/api/v1/alerts")["data"]["alerts"])

    until(lambda: evaluated(stack) and not pending(), "no alert, after all rules were evaluated")
    assert all({"mem_limit", "cpus", "pids_limit"} <= service.keys() for service in services.values())
    assert {severity for severity, _ in stack.found("findings")} <= {"low", "info"}, stack.found("findings")
    assert stack.found("excused") == {("critical", "host-namespaces"): 1}


def evaluated(stack: Stack) -> bool:
    """Whether each rule was evaluated with what dockwarden said after it had judged everything."""
    stack.found("findings")
    known = stack.asked(9090, "/api/v1/query?query=sum(dockwarden_evaluations_total)%3E0")["data"]["result"]
    groups = stack.asked(9090, "/api/v1/rules")["data"]["groups"]
    return bool(known) and all(rule["health"] == "ok" for group in groups for rule in group["rules"])


@pytest.mark.parametrize("way", ["run", "socket"])
def test_container_run_as_documented_accuses_nobody(stack: Stack, way: str) -> None:
    stack.configure()
    if way == "run":
        text = (ROOT / "docs/operations.md").read_text()
        stack.host.run("sh", "-ec", text[text.index("docker run -d --name dockwarden") :].partition("```")[0])
    else:
        stack.compose("socket", "up", "--detach", "--no-build", "dockwarden")
    assert {severity for severity, _ in stack.found("findings")} <= {"low", "info"}, stack.found("findings")
    assert stack.found("excused") == {("critical", "host-namespaces"): 1}
    (ours,) = (row for row in stack.engine.containers() if row["Image"] == IMAGE)
    limits = stack.engine.inspect_container(ours["Id"])["HostConfig"]
    assert limits["Memory"]
    assert limits["NanoCpus"]
    assert limits["PidsLimit"]


def test_without_the_group_of_the_socket_it_says_what_is_missing(stack: Stack) -> None:
    refused = stack.compose("socket", "config", check=False, DOCKER_GID="")
    assert "set it to the group of the socket: stat -c %g /var/run/docker.sock" in refused
    said = stack.docker(
        "run", "--rm", "--read-only", "--cap-drop=ALL", "--volume=/var/run/docker.sock:/var/run/docker.sock",
        IMAGE, "scan", check=False,
    )  # fmt: skip
    assert f"group {stack.gid}" in said
    assert "--group-add" in said


def others(stack: Stack, *answers: str) -> list[str]:
    """Requests that the proxy answered in another way."""
    return [line for line in stack.log("proxy") if " /" in line and line.split()[-1] not in answers]


def test_proxy_for_judging_lets_through_what_it_lists_and_nothing_else(stack: Stack) -> None:
    stack.engine.load_image(images.archive([ImageSpec(layers=(rootfs({"n": "1"}),), labels={"n": "1"})]))
    gone = {**EVERY_IMAGE, "name": "nameless", "when": "image.dangling"}
    stack.configure(*JUDGING)
    stack.compose("proxy", "up", "--detach", "--no-build", "dockwarden")
    stack.heard("inventory.listed")
    happen(stack)
    stack.heard("finding.opened", policy="disk")
    stack.heard("action.audited", policy="nameless-one")
    assert others(stack, "200", *TOO_LATE) == []
    until(lambda: lists_used(stack, "audit") == patterns("audit"), "each request of the list")

    stack.configure(*JUDGING, gone)  # somebody enforces, and the proxy does not know
    stack.compose("proxy", "up", "--detach", "--no-build", "--force-recreate", "dockwarden", DOCKWARDEN_ALLOW="enforce")
    denied = stack.heard("action.skipped", policy="nameless")
    assert "a socket proxy or an authorization plugin denies this call" in denied["detail"]
    assert stack.engine.images(filters={"dangling": True})


def test_proxy_for_enforcing_lets_through_no_more_than_removals_need(stack: Stack) -> None:
    stack.engine.load_image(images.archive([ImageSpec(layers=(rootfs({"n": "2"}),), labels={"n": "2"})]))
    gone = {**EVERY_IMAGE, "name": "nameless", "when": "image.dangling"}
    stack.configure(*JUDGING, gone)
    stack.compose(
        "proxy", "up", "--detach", "--no-build", "dockwarden", DOCKWARDEN_ALLOW="enforce", DOCKWARDEN_REQUESTS="enforce"
    )
    stack.heard("action.applied", policy="nameless")
    happen(stack)
    assert others(stack, "200", "201", *TOO_LATE) == []
    needed = patterns("audit") | {p for p in patterns("enforce") if "(?!sha256:)" in p}
    until(lambda: lists_used(stack, "enforce") >= needed, "each request of the lists")

    (network,) = (name for name in stack.container()["NetworkSettings"]["Networks"] if "engine" in name)
    asked = (
        ("POST", "/v1.41/containers/create"),
        ("POST", "/v1.41/images/prune"),
        ("DELETE", f"/v1.41/images/{BASE}?force=1"),
        ("DELETE", f"/v1.41/images/{BASE}?forc%65=1"),
        ("DELETE", f"/v1.41/images/{(image := stack.engine.inspect_image(BASE)['Id'])}"),
        ("DELETE", f"/v1.41/images/{image.replace('sha256', 'sha25%36')}"),
        ("DELETE", "/v1.41/images/../containers/lab_dockwarden_1:x"),
        ("GET", "/v1.41/containers/lab_dockwarden_1/archive"),
    )
    ask = "c = http.client.HTTPConnection('proxy', 2375); c.request(*what); print(c.getresponse().status, *what)"
    script = f"import http.client\nfor what in {asked}: {ask}"
    said = stack.docker("run", "--rm", f"--network={network}", "--entrypoint=python3", IMAGE, "-c", script)
    assert said.splitlines() == [f"403 {method} {path}" for method, path in asked]
    assert stack.engine.inspect_image(BASE)


def happen(stack: Stack) -> None:
    """Something of each kind appears, so that dockwarden looks at it."""
    with docker.APIClient(base_url=stack.host.docker_host, version="1.41") as engine:
        engine.create_volume("e2e-volume", labels={"e2e": "1"})
        engine.create_network("e2e-network")
        container = engine.create_container(BASE, "true", name="e2e-container")
        engine.start(container)
        engine.tag(BASE, "e2e/tagged", "latest")
    stack.heard("finding.opened", policy="latest", name="docker.io/e2e/tagged:latest")
    stack.heard("finding.opened", policy="big-volume", name="e2e-volume")
    stack.heard("finding.opened", policy="network", name="e2e-network")
    stack.heard("finding.opened", policy="inside")


def patterns(which: str) -> set[str]:
    """Those of a list that an engine outside of a swarm is asked."""
    lines = (COMPOSE / f"requests-{which}.txt").read_text().split("\n")
    return {line for line in lines if line and not re.search("/(services|tasks|nodes|distribution)", line)}


def lists_used(stack: Stack, which: str) -> set[str]:
    """The patterns of a list that some request needed, by the proxy's own log."""
    requests = {line.rpartition(" ")[0] for line in stack.log("proxy") if re.match(r"[A-Z]+ /", line)}
    return {pattern for pattern in patterns(which) for request in requests if re.search(pattern, request)}

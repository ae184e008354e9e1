"""A host written down, its facts and what planning needs, and looked at again by that file, with no engine.

Input: settings; or a file. Output: the file's text; or the parts of a look, in which the file stands for the engine.
Out of bounds: judging and planning, which are the same as ever; anything that may be a secret.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import structlog

from dockwarden import __version__
from dockwarden.actions.execute import Executor
from dockwarden.app import Parts, open_ledger
from dockwarden.config.settings import Settings
from dockwarden.errors import ConfigError, LedgerError
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.inventory.gather import REGISTRY, USAGE, Gatherer, Gathering, Learnt
from dockwarden.metrics import Metrics
from dockwarden.model.needs import Need
from dockwarden.model.objects import BuildStep, Container, EngineInfo, Image, Network, Observed, Ref, Service, Volume
from dockwarden.model.outcomes import Outcome, Step
from dockwarden.model.policies import Answer, Aside, Facts, Finding, PolicySet, Program, Result
from dockwarden.model.words import Kind, Severity, Status
from dockwarden.oneshot.look import finish, look, settle
from dockwarden.policy.snapshots import Book, Recorded, Snapshot, own_facts, read
from dockwarden.ports import Engine, Usage

_log = structlog.get_logger("dockwarden")
_OURS = re.compile(r"dockwarden\.|com\.docker\.")  # labels that decide what may be done
_HIDDEN = "***"


class Host(Snapshot):
    """A whole host.

    Attributes:
        vocabulary: which facts were known to whoever wrote it.
        clock: the observation clock, by which ``memory`` says when an object was first seen and last used.
        layers: by image, the bytes of its layers, lowest first.
        open: policy, object, severity, definition, when it was opened by both clocks.
    """

    dockwarden: str
    vocabulary: str
    engine: EngineInfo
    own_container: str = ""
    clock: float
    images: list[Image]
    containers: list[Container]
    volumes: list[Volume]
    networks: list[Network]
    services: list[Service] | None = None
    needs: list[Need] | None
    memory: list[tuple[Kind, str, Observed]]
    layers: dict[str, list[int]]
    usage: Usage | None
    open: list[tuple[str, Kind, str, Severity, str, float, float]]
    asides: list[tuple[str, Kind, str, Aside]]


def version() -> str:
    """Of the vocabulary: the names and types of all facts."""
    words = "".join(f"{kind} {s.name} {s.type}\n" for kind in Kind for s in VOCABULARY[kind].values())
    return hashlib.sha256(words.encode()).hexdigest()[:12]


# -- taking -----------------------------------------------------------------------------------------------------------


def take(settings: Settings, *, registry: bool, labels: bool) -> str:
    """A snapshot; ``registry``: ask them; ``labels``: with their values. Raises EngineUnavailableError."""
    parts, info = look(settings)
    now, depth = parts.now(), REGISTRY if registry else USAGE
    learnt: Learnt = {}
    with closing(parts):
        wanted = [(ref, own_facts(ref.kind, VOCABULARY)) for kind in Kind for ref in parts.inventory.all(kind)]
        finish(parts, parts.gatherer.learn(wanted, learnt, depth, now))
        finish(parts, parts.gatherer.all_details(sizes=True))
        parts.collector.usage()
        host = _host(parts, settings, info, learnt, now)
    data = host.model_dump(mode="json", exclude_defaults=False)
    data["engine"] = {**data["engine"], "mirrors": []}  # their addresses may hold passwords
    return json.dumps(data if labels else _without_values(data), indent=1) + "\n"


def _host(parts: Parts, settings: Settings, info: EngineInfo, learnt: Learnt, now: float) -> Host:
    inventory = parts.inventory
    memory = inventory.memory
    remembered = [(ref, memory.of(ref, used=False)) for ref in learnt]
    opened, asides = [], []
    with suppress(LedgerError), closing(open_ledger(settings)) as ledger:  # else no past is known
        opened, asides = ledger.open_findings(), ledger.asides()
    return Host(
        dockwarden=__version__,
        vocabulary=version(),
        taken_at=now,
        engine=info,
        own_container=parts.own,
        clock=memory.clock.read(),
        objects=[_recorded(parts, ref, sheet, why) for ref, (sheet, why) in learnt.items() if inventory.has(ref)],
        images=list(inventory.images.values()),
        containers=list(inventory.containers.values()),
        volumes=list(inventory.volumes.values()),
        networks=list(inventory.networks.values()),
        services=list(inventory.services.values()) if inventory.leads else None,
        needs=None if inventory.needs is None else list(inventory.needs),
        memory=[(*ref, seen) for ref, seen in remembered if seen is not None],
        layers={key: [step.size_bytes for step in steps] for key, steps in inventory.histories.items()},
        usage=parts.collector.known_usage,
        open=[
            (f.result.policy, *f.result.ref, f.result.severity, f.result.definition, f.opened_at, f.opened_seconds)
            for f in opened
        ],
        asides=[(policy, *ref, aside) for policy, ref, aside in asides],
    )


def _recorded(parts: Parts, ref: Ref, sheet: Facts, why: Mapping[str, str]) -> Recorded:
    image = parts.inventory.image_of(ref)
    return Recorded(
        kind=ref.kind,
        key=ref.key,
        name=parts.inventory.name_of(ref),
        image=image.id if image else "",
        facts=dict(sorted(sheet.known.items())),
        unknown={name: word for name, word in why.items() if word},
    )


def _without_values(data: Any, name: str = "") -> Any:
    """The same with ``***`` for the values of labels but those that decide what may be done."""
    if isinstance(data, list):
        return [_without_values(each) for each in data]
    if not isinstance(data, dict):
        return data
    if name.rpartition(".")[2] in ("labels", "own_labels"):
        return {key: value if _OURS.match(key) else _HIDDEN for key, value in data.items()}
    return {key: _without_values(value, key) for key, value in data.items()}


# -- looking at it again ----------------------------------------------------------------------------------------------


def _engine(host: Host) -> Engine:
    """What a look asks of an engine, answered from a snapshot."""
    images = {image.id: image for image in host.images}
    containers = {container.id: container for container in host.containers}
    answers = SimpleNamespace(
        connect=lambda: host.engine,
        in_swarm=lambda info: info,
        now_ns=lambda: int(host.taken_at * 1e9),
        events=lambda *_: iter(()),
        replayed=lambda *_: 0,
        images=lambda *_: host.images,
        image=images.__getitem__,
        container_ids=lambda: list(containers),
        container=containers.__getitem__,
        volumes=lambda: host.volumes,
        networks=lambda: host.networks,
        services=lambda: host.services,
        needs=lambda: host.needs,
        history=lambda key: [BuildStep(size) for size in host.layers.get(key, ())],
        disk_usage=lambda: host.usage,
    )
    return cast("Engine", answers)


class _Gatherer(Gatherer):
    """Has everything that is to be had, and nothing else."""

    book: Book

    def fill(self, _gathering: Gathering, ref: Ref, names: Iterable[str], sheet: Facts) -> None:
        sheet.known |= self.book.facts(ref, (name for name in names if name not in sheet.known))
        sheet.shared = None

    def gather(self, gathering: Gathering, ref: Ref, _missing: str, needs: Iterable[str], sheet: Facts) -> None:
        self.fill(gathering, ref, needs, sheet)

    def why_not(self, _gathering: Gathering, ref: Ref, fact: str) -> str:
        return self.book.why_not(ref, fact)

    def host_says(self, program: Program, _now: float) -> Answer:
        sheet = Facts()
        sheet.known |= self.book.facts(Ref(Kind.HOST, ""), program.references)
        return program.evaluate(sheet)


class _Foresight(Executor):
    """How a deed would be done, only the engine and the registry tell, and neither is asked."""

    def foresee(self, _step: Step) -> str:
        return ""

    def useless(self, _steps: Sequence[Step]) -> list[Outcome]:
        return []


def look_at(settings: Settings, policies: PolicySet, path: Path) -> tuple[Parts, EngineInfo]:
    """The parts as ``look`` gives them, from a snapshot. Raises ConfigError where the file is none."""
    host = read(path, Host)
    try:
        book = Book(host, VOCABULARY)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if host.vocabulary != version():
        note = "facts that only one of the two versions knows are unknown"
        _log.error("snapshot.other_version", file=str(path), dockwarden=host.dockwarden, note=note)
    parts = Parts(settings, Metrics(), engine=_engine(host), gatherer=_Gatherer, own=host.own_container)
    cast("_Gatherer", parts.gatherer).book = book
    parts.now = lambda: host.taken_at
    parts.executes = _Foresight
    inventory = parts.inventory
    inventory.memory.clock.resume(host.clock)
    inventory.memory.clock.hold()
    inventory.memory.recall((Ref(kind, key), seen) for kind, key, seen in host.memory)
    inventory.info = host.engine
    opened = [
        Finding(Result(name, Ref(kind, key), "", Status.FAIL, severity, definition=definition), *at)
        for name, kind, key, severity, definition, *at in host.open
    ]
    parts.findings.recall(opened, [(name, Ref(kind, key), aside) for name, kind, key, aside in host.asides])
    settle(parts, policies)
    return parts, host.engine

"""The races: each sets something up, removes it while somebody else acts, and looks what became of everything.

Role: one round of one race, told in words. In: a host of `tests.integration.test_undo`, which has an engine, a ledger
and all that removes and undoes; chance. Out: words to be counted, of which LOST is what nobody gets back. Out of
bounds: how often, and what a count means.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import docker

from tests.chaos import updates
from tests.commands import command, environment
from tests.e2e.harness import policy, write_policies
from tests.integration import test_recreate
from tests.lab.images import ImageSpec
from tests.lab.machine import LabError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from dockwarden.model import Thing
    from tests.integration.test_undo import Host

LOST = "lost"
_BEFORE, _NEW = 100, 40  # files of a volume
_KILLED = 12
_ALL = {"max_objects": 1000, "max_percent": 100}
_usual: dict[str, float] = {}  # seconds that the removals of each race take, so that moments within are hit


class Race(NamedTuple):
    """One race.

    Attributes:
        play: one round.
        excludable: whether nothing need ever be lost; else the engine leaves a gap that no client can close.
    """

    meaning: str
    play: Callable[[Host, random.Random], Iterator[str]]
    excludable: bool = True


class Became(NamedTuple):
    """What became of a removal: the reasons, and whether the other one's commands all succeeded."""

    reasons: list[str]
    meddled: bool


def removed_amid(
    host: Host, thing: Thing, chance: random.Random, *commands: tuple[str, ...], before: str = ""
) -> Became:
    """Remove something while somebody uses the docker CLI: right before a request, else at a random moment."""
    done: list[bool] = []

    def meddle() -> None:
        with contextlib.suppress(LabError):
            for each in commands:
                host.lab.docker(*each)
            done.append(True)

    race = f"{commands[0][0]} {type(thing).__name__} {before}"
    usual = _usual.get(race, 0.3)
    delay = chance.uniform(-usual, usual)  # he may be first
    thread = threading.Timer(max(0.0, delay), meddle)
    if before:
        _hook(host, before, meddle)
    else:
        thread.start()
        time.sleep(max(0.0, -delay))
    began = time.monotonic()
    outcomes = host.outcomes(thing, run=uuid.uuid4().hex)
    _usual[race] = 0.7 * usual + 0.3 * (time.monotonic() - began)
    if not before:
        thread.join()
    return Became([outcome.reason for outcome in outcomes], bool(done))


def _hook(host: Host, method: str, action: Callable[[], object]) -> None:
    real = getattr(host.engine, method)

    def call(*arguments: Any, **named: Any) -> Any:
        setattr(host.engine, method, real)
        action()
        return real(*arguments, **named)

    setattr(host.engine, method, call)


def volume(host: Host, chance: random.Random) -> Iterator[str]:
    """A container writes into a volume and ends while that is judged, archived and removed."""
    image, mount = host.name("chaos/w:1"), "--volume=data:/data"
    host.built("w", "chaos/w:1")

    def write(what: str, count: int) -> tuple[str, ...]:
        script = f"for i in $(seq {count}); do cat /etc/passwd > /data/{what}$i; done"
        return ("run", "--rm", mount, image, "sh", "-c", script)

    def found() -> Counter[str]:
        with contextlib.suppress(LabError):
            host.lab.docker("volume", "inspect", "data")
            names = host.lab.docker("run", "--rm", mount, image, "ls", "/data").split()
            return Counter(each.strip("0123456789") for each in names)
        return Counter()

    host.lab.docker("volume", "create", "data")
    host.lab.docker(*write("before", _BEFORE))
    became = removed_amid(host, host.engine.volume("data"), chance, write("new", _NEW))
    here = found()
    if "data" in host.undoable() and not here:
        host.undo(host.done()[0].run)
        here = found()
    has_old = here["before"] == _BEFORE or "data" in host.undoable()  # who made a new one of the name keeps that
    yield (
        LOST
        if not has_old or (became.meddled and here["new"] != _NEW)
        else "removed"
        if "removed" in became.reasons
        else "kept"
    )


def name(host: Host, chance: random.Random) -> Iterator[str]:
    """The name of an image moves to a fresh one, at any moment."""
    yield from _moved(host, chance, "")


def name_aimed(host: Host, chance: random.Random) -> Iterator[str]:
    """The same between the last look and the DELETE, every time."""
    yield from _moved(host, chance, "untag")


def _moved(host: Host, chance: random.Random, before: str) -> Iterator[str]:
    old = host.built("old", "chaos/app:1")
    names = ["chaos/new:1", "chaos/new:2"][: chance.choice((1, 2))]
    new, wanted = host.built("new", *names), host.name("chaos/app:1")
    move = ("tag", host.name("chaos/new:1"), wanted), ("rmi", host.name("chaos/new:1"))
    became = removed_amid(host, old, chance, *move, before=before)
    has_it = host.exists(wanted) and host.engine.image(wanted).id == new.id
    if "other_image" in became.reasons:
        yield "hit, told, given back" if has_it else "hit, told, gone"
    else:
        yield LOST if became.meddled and not has_it else "kept"


def network(host: Host, chance: random.Random) -> Iterator[str]:
    """A container is created for the network, and started afterwards, at any moment."""
    yield from _joined(host, chance, "")


def network_aimed(host: Host, chance: random.Random) -> Iterator[str]:
    """The same between the last look and the DELETE, every time."""
    yield from _joined(host, chance, "remove_network")


def _joined(host: Host, chance: random.Random, before: str) -> Iterator[str]:
    host.built("w", "chaos/w:1")
    host.lab.docker("network", "create", "front")
    (found,) = (each for each in host.engine.networks() if each.name == "front")
    answered: list[float] = []
    remove = host.engine.remove_network

    def timed(identifier: str) -> None:
        remove(identifier)
        answered.append(time.time())

    host.engine.remove_network = timed  # type: ignore[method-assign]
    create = ("create", "--name=web", "--network=front", host.name("chaos/w:1"))
    became = removed_amid(host, found, chance, create, before=before)
    end = _started(host, became)
    is_late = end == LOST and (host.engine.container("web").created_at or 0.0) > answered[0]
    yield "created afterwards" if is_late else end


def image(host: Host, chance: random.Random) -> Iterator[str]:
    """A container is created from the image, and started afterwards."""
    found = host.built("w", "chaos/w:1")
    yield _started(host, removed_amid(host, found, chance, ("create", "--name=web", host.name("chaos/w:1"))))


def _started(host: Host, became: Became) -> str:
    if not became.meddled:
        return "removed"
    with contextlib.suppress(LabError):
        host.lab.docker("start", "web")
        return "kept"
    return LOST


def kill(host: Host, chance: random.Random) -> Iterator[str]:
    """`apply` is killed at a random moment, and so is `undo`; then everything is brought back."""
    host.lab.load(*(ImageSpec(tags=(f"chaos/killed:{n}",), labels={"n": str(n)}) for n in range(_KILLED)))
    folder = host.folder.parent / uuid.uuid4().hex
    write_policies(folder / "policies.yaml", policy("all", "image", "true", action="remove", limits=_ALL))
    config, plan = folder / "dockwarden.yaml", folder / "plan"
    settings = {"policies": [str(folder / "policies.yaml")], "state_dir": str(folder / "state"), "minimum_stay": "0s"}
    config.write_text(json.dumps(settings))

    def there() -> set[str]:
        while True:
            with contextlib.suppress(docker.errors.NotFound):  # a containerd store's list trips over what is just going
                return {str(image["Id"]) for image in host.lab.client().images()}

    def killed(*arguments: str) -> None:
        """Soon after its first deed, or at any moment."""
        process = subprocess.Popen(
            [sys.executable, "-m", "dockwarden", arguments[0], "--config", str(config), *arguments[1:]],
            env=environment(host.lab.host),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        now, is_aimed = there(), chance.random() < 0.8
        while is_aimed and process.poll() is None and there() == now:
            pass
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.0, 0.3 if is_aimed else 2.0))
        process.kill()
        process.wait()

    def said(*arguments: str) -> str:
        return command(arguments[0], "--config", config, *arguments[1:], docker_host=host.lab.host).out

    before = there()
    said("plan", "--save", str(plan))
    killed("apply", str(plan), "--yes")
    yield "cut short" if 0 < len(there()) < len(before) else "not begun, or done"
    for is_last in (False, True):
        runs = {row["run"] for row in json.loads(said("undo", "--list", "-o", "json") or "[]")}
        if not runs:  # a first removal that was cut short is found out about by whatever acts next
            said("undo", "x")
            runs = {row["run"] for row in json.loads(said("undo", "--list", "-o", "json") or "[]")}
        for run in runs:
            said("undo", run) if is_last else killed("undo", run)
    yield from [LOST] * len(before - there()) or ["all are back"]


def options(host: Host, chance: random.Random) -> Iterator[str]:
    """Every option of `docker create`: removed, made again, and compared by what inspect says."""
    with test_recreate.prepared(host.lab) as (lab, engine):
        groups = (group.format(LADEN=test_recreate.LADEN) for group in test_recreate.OPTIONS.values())
        every = [line for group in groups for line in group.strip().splitlines()]
        every = [line for line in every if host.lab.kind != "graph" or line not in test_recreate.NOT_ON_OLD_ENGINES]
        for each in chance.sample(every, len(every)):
            yield LOST if test_recreate.unequal(lab, engine, each) else "as it was"


RACES = {
    "update": Race("containers of every kind are updated, half of them to a broken image", updates.every_kind),
    "update-killed": Race("updates are killed at random moments, 25 a round", updates.killed),
    "update-meddled": Race("somebody else does something to it before each step of an update", updates.everybody),
    "update-restarted": Race("the engine is restarted or killed before each step of an update", updates.restarted),
    "update-full": Race("the engine's disk is full before each step of an update", updates.full),
    "volume": Race("a container writes into a volume amid its removal", volume),
    "name": Race("a name moves to another image amid the removal of the one that it named", name),
    "name-aimed": Race("the same, always between the last look and the DELETE", name_aimed),
    "network": Race("a container is created for a network amid its removal", network, excludable=False),
    "network-aimed": Race("the same, always between the last look and the DELETE", network_aimed),
    "image": Race("a container is created from an image amid its removal", image, excludable=False),
    "kill": Race("apply and undo are killed at random moments", kill),
    "options": Race("containers of every create option are removed and brought back", options),
}

"""Updates on real engines: of every kind of container, to images that come up or do not, cut off and meddled with.

Role: one round of each, told in words. In: a host of `tests.integration.test_undo`, chance. Out: words to be counted,
of which LOST is a container that nobody has any more, or has twice, or of which no record tells. Out of bounds: how
often.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shlex
import signal
import time
import uuid
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from dockwarden.actions.containers import ASIDE
from dockwarden.actions.execute import end_intents
from dockwarden.actions.table import VERBS
from dockwarden.errors import EngineError
from dockwarden.model import Kind, Outcome, Ref, Step
from tests.integration import test_recreate
from tests.integration.test_recreate import IMAGE, LADEN, differences, inspected, shape
from tests.integration.test_undo import Host
from tests.lab import images
from tests.lab.engine import LabEngine
from tests.lab.images import rootfs
from tests.lab.machine import LabError
from tests.lab.registry import LabRegistry
from tests.lab.waiting import until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

LOST = "lost"
_NEW_IMAGE = ("Image", "Config.Image", "Config.Healthcheck")
_PLAIN = "--volume data:/data --restart always --network one --network-alias www"


def update(host: Host, name: str = "it", digest: str = "", **options: str | bool) -> Outcome:
    """One update, with a short gate."""
    found, verb = host.engine.container(name), VERBS[Kind.CONTAINER, "update"]
    given = verb.options(**{"steady": "1s", "within": "10s", **options}).model_dump()
    ref = Ref(Kind.CONTAINER, found.id)
    return host.carried_out(Step("test", "update", ref, name, found, "because", given, digest=digest))[0]


@contextlib.contextmanager
def shipped(lab: LabEngine, *, every: bool = True) -> Iterator[None]:
    """An engine with all that `docker create` can ask for, and versions of both images: a bad one, or `every` one."""
    with test_recreate.prepared(lab):
        specs = []
        for tag, spec in test_recreate.specs().items():
            lab.docker("tag", tag, f"{tag}-old")
            own, programs = rootfs({"own": "y"}), images.busybox(own="y").layers
            if spec.healthcheck:
                spec = replace(spec, healthcheck={"Test": ["CMD", "true"], "Interval": 10**9})  # noqa: PLW2901
            specs += [
                replace(spec, tags=(f"{tag}-good",), layers=programs),
                replace(spec, tags=(f"{tag}-bad",), layers=(own,)),  # without a program it cannot come up
            ]
            for word, (program, more) in BROKEN.items() if every else ():
                top = (rootfs({"bin/sleep": program}),) if program else ()
                specs.append(replace(spec, tags=(f"{tag}-{word}",), layers=(*programs, *top), **more))
        lab.load(*specs)
        yield


_CHECK = {"Test": ["CMD", "/bin/busybox", "false"], "Retries": 2}
BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "ends": ("#!/bin/sh\necho cannot\nexit 3\n", {}),
    "loops": ("#!/bin/sh\n/bin/busybox sleep 0.4\n", {}),
    "strange": ("\x7fELF is for no machine", {}),
    "sick": ("", {"healthcheck": {**_CHECK, "Interval": 2 * 10**8}}),
    "starting": ("", {"healthcheck": {**_CHECK, "Interval": 3600 * 10**9}}),
    "nobody": ("", {"user": "nosuch"}),
    "no-group": ("", {"user": "0:nosuch"}),
    "foreign": ("", {"architecture": "riscv64"}),
}
"""Images beside the one that has no program at all: what its program is, and what else they are like."""

_MAY_COME_UP = ("sick", "starting", "nobody", "no-group")
"""Where the container has a user or a check of its own, or none."""


def name(lab: LabEngine, version: str) -> None:
    """Let both tags name this version."""
    for tag in (IMAGE, LADEN):
        lab.docker("tag", f"{tag}-{version}", tag)


def cleared(lab: LabEngine) -> None:
    """All that a round made."""
    for each in lab.client().containers(all=True):
        called = each["Names"][0].removeprefix("/")
        if called.startswith("it") or called == "stranger":
            with contextlib.suppress(LabError):
                lab.docker("rm", "--force", "--volumes", each["Id"])


def kinds(lab: LabEngine) -> list[str]:
    """Options of `docker run`, each of another kind of container."""
    groups = (group.format(LADEN=LADEN) for group in test_recreate.OPTIONS.values())
    every = [line for group in groups for line in group.strip().splitlines()]
    return [line for line in every if lab.kind != "graph" or line not in test_recreate.NOT_ON_OLD_ENGINES]


def run(lab: LabEngine, options: str, called: str = "it") -> bool:
    """A container of this kind that runs; some kinds are for other machines than this one."""
    words = shlex.split(options)
    with contextlib.suppress(LabError):
        words = ["1000" if word == "1" else word for word in words]
        command = [] if LADEN in words else [IMAGE, *(["1000"] if "/bin/sleep" in words else ["sleep", "1000"])]
        lab.docker("run", "--detach", f"--name={called}", *words, *command)
        time.sleep(0.5)  # some end by themselves
        return bool(inspected(lab, called)["State"]["Running"])
    return False


def _seen(lab: LabEngine, called: str) -> dict[str, Any]:
    seen = shape(inspected(lab, called))
    for endpoint in seen["NetworkSettings"].values():
        endpoint["MacAddress"] = ""
    return seen


def every_kind(host: Host, chance: random.Random) -> Iterator[str]:
    """Containers of every kind are updated, half of them to a broken image."""
    with shipped(host.lab):
        every = kinds(host.lab)
        for options in chance.sample(every, len(every)):
            for version in ("good", chance.choice(["bad", *BROKEN])):
                yield _updated(host, options, version)


def _updated(host: Host, options: str, version: str) -> str:
    lab, called = host.lab, f"it-{uuid.uuid4().hex[:8]}"  # a name for which nothing is barred
    cleared(lab)
    name(lab, "old")
    if not run(lab, options, called):
        return "is not for this machine"
    before, first = _seen(lab, called), inspected(lab, called)["Id"]
    name(lab, version)
    outcome = update(host, called, within="3s" if version == "starting" else "30s")
    state, after = inspected(lab, called), _seen(lab, called)
    is_new = outcome.reason == "updated"
    brought = _NEW_IMAGE if is_new else ()
    changed = [f"{key}: {text}" for key, text in differences(before, after) if not key.startswith(brought)]
    again = "" if is_new else update(host, called).reason
    wanted = {"good": ("updated", ""), "foreign": ("other_platform", "other_platform")}
    is_well = state["State"].get("Health", {}).get("Status", "healthy") == "healthy"
    is_right = (outcome.reason, again) == wanted.get(version, ("rolled_back", "barred"))
    is_right = is_right or (is_new and version in _MAY_COME_UP and is_well)
    is_running = state["State"]["Running"] and not state["RestartCount"]
    if not is_right or not is_running or is_new != (state["Id"] != first) or changed:
        return f"{LOST} {options} to {version}: {outcome.reason}, then {again}; {outcome.detail} {changed}"
    return f"{version}: {outcome.reason}, equal"


def _begun(lab: LabEngine, version: str) -> str:
    """One container with data, whose tag names another image by now; its ID."""
    cleared(lab)
    name(lab, "old")
    run(lab, _PLAIN)
    lab.docker("exec", "it", "sh", "-c", "echo kept >/data/file")
    first: str = inspected(lab, "it")["Id"]
    name(lab, version)
    return first


CHANGES = ("create", "stop_container", "rename_container", "set_restart_policy", "start_container", "remove_container")
"""The engine's calls that change something in an update; the ledger's are `_RECORDS`."""

_RECORDS = ("intend", "amend", "conclude")


def _cleaning(docker_host: str, folder: str) -> None:
    """In a process of its own."""
    lab = LabEngine()
    lab.host = docker_host
    with closing(Host(lab, LabRegistry(), Path(folder))) as host:
        end_intents(host.tools(), host.ledger)


def _alone(docker_host: str, folder: str, at: int = -1) -> None:
    """In a process of its own, beside what the other one started; it kills itself before a change of that number."""
    lab = LabEngine()
    lab.host = docker_host
    with closing(Host(lab, LabRegistry(), Path(folder))) as host:
        left = iter(range(at, -1, -1))

        def counted(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
            if at >= 0 and next(left, None) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)

        for part, names in ((host.engine, CHANGES), (host.ledger, _RECORDS)):
            for each in names:
                setattr(part, each, partial(counted, getattr(part, each)))
        with patch.object(host.ledger, "is_barred", return_value=False):
            update(host, steady="0s")


def killed_at_every_step(host: Host, version: str, begin: int = 0) -> Iterator[str]:
    """The process is killed right before each change of an update in turn, until one comes to its end."""
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload([__name__])
    first = _begun(host.lab, version)
    for at in range(begin, 99):
        process = fork.Process(target=_alone, args=(host.lab.host, str(host.folder.parent), at))
        process.start()
        process.join()
        _started_anew(host)
        yield _whole(host, first, f"killed at {at}" if process.exitcode else "done")
        if inspected(host.lab, "it")["Id"] != first or not process.exitcode:
            return


def _started_anew(host: Host) -> int:
    """As a new process would; gives how many updates were cut short."""
    host.ledger.close()
    host.ledger.open()
    host.ledger.claim(host.info.identity)
    cut_short = len(host.ledger.open_intents())
    end_intents(host.tools(), host.ledger)
    return cut_short


def killed(host: Host, chance: random.Random) -> Iterator[str]:
    """The process is killed at a random moment of an update, and again while it cleans up; then it starts anew."""
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload([__name__])
    with shipped(host.lab):
        for _ in range(25):
            yield _killed(host, chance, fork)


def _killed(host: Host, chance: random.Random, fork: Any) -> str:
    lab, version = host.lab, chance.choice(("good", "bad"))
    first = _begun(lab, version)
    process = fork.Process(target=_alone, args=(lab.host, str(host.folder.parent)))
    process.start()
    until(lambda: host.ledger.open_intents() or not process.is_alive(), "the update", pause=0.01)
    process.join(chance.uniform(0.0, 1.4))  # it takes about as long
    process.kill()
    process.join()
    if is_again := bool(host.ledger.open_intents()) and chance.random() < 0.5:
        process = fork.Process(target=_cleaning, args=(lab.host, str(host.folder.parent)))
        process.start()
        process.join(chance.uniform(0.5, 1.5))
        process.kill()
        process.join()
    again = " and once more" if is_again else ""
    is_amid = bool(_started_anew(host)) or is_again

    def is_ended() -> bool:
        return not host.ledger.open_intents() or bool(end_intents(host.tools(), host.ledger))

    with contextlib.suppress(LabError):  # what the engine is still at is tried again every minute
        until(is_ended, "the end", pause=1.0)
    return _whole(host, first, f"killed amid {'one' if is_amid else 'none'}{again}")


def _whole(host: Host, first: str, word: str) -> str:
    """One has the name and runs, with its data and a record; nobody else does."""
    rows = host.lab.client().containers(all=True)
    ours = {row["Names"][0].removeprefix("/"): row for row in rows if row["Names"][0].startswith("/it")}
    running = [called for called, row in ours.items() if row["State"] == "running"]
    aside = [called for called in ours if f".{ASIDE}" in called]
    if running != ["it"] or host.ledger.open_intents():
        return f"{LOST} {word}: {sorted((called, row['State']) for called, row in ours.items())}"
    is_new = ours["it"]["Id"] != first
    has_record = any(done.ref.key == first for done in host.done())
    data = host.lab.docker("exec", "it", "cat", "/data/file")
    policy = inspected(host.lab, "it")["HostConfig"]["RestartPolicy"]["Name"]
    if (is_new, is_new, data, policy) != (has_record, bool(aside), "kept", "always"):
        return f"{LOST} {word}: new {is_new}, recorded {has_record}, aside {aside}, data {data}, policy {policy}"
    return f"{word}, {'new' if is_new else 'as before'}"


# -- others who meddle -----------------------------------------------------------------------------------------------

STEPS = (*CHANGES[:-1], "gate", "last_lines")
"""The engine's calls before which somebody meddles; then the wait for the new one, and where a broken one goes."""

MEDDLERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "stops it": (("stop", "IT"),),
    "kills it": (("kill", "IT"),),
    "restarts it": (("restart", "--time=0", "IT"),),
    "renames it": (("rename", "IT", "IT-renamed"),),
    "limits it": (("update", "--memory=64m", "--memory-swap=64m", "IT"),),
    "removes it": (("rm", "--force", "IT"),),
    "makes it anew": (("rm", "--force", "IT"), ("run", "--detach", "--name=IT", f"{IMAGE}-old")),
    "takes its name": (("create", "--name=IT", IMAGE),),
    "takes its port": (("run", "--detach", "--name=stranger", "--publish=8081:80", f"{IMAGE}-old"),),
    "takes its network": (("network", "disconnect", "--force", "two", "IT"), ("network", "rm", "two")),
    "takes its image": (("rmi", "--force", IMAGE),),
    "moves its tag": (("tag", f"{IMAGE}-old", IMAGE),),
}


def meddled(host: Host, meddler: str, step: str, version: str = "good") -> str:
    """Somebody does that right before a call of an update, and goes away afterwards; then it is looked at once more."""
    lab = host.lab
    cleared(lab)
    name(lab, "old")
    with contextlib.suppress(LabError):
        lab.docker("network", "create", "two")
    it = f"it-{uuid.uuid4().hex[:8]}"  # a name for which nothing is barred
    lab.docker("run", "--detach", f"--name={it}", "--restart=always", "--volume=data:/data", "--publish=8081:80",
               "--network=two", IMAGE)  # fmt: skip
    lab.docker("exec", it, "sh", "-c", "echo kept >/data/file")
    first = inspected(lab, it)["Id"]
    name(lab, version)
    reason = "engine_unavailable"
    _before(host, step, lambda: _done(lab, it, *MEDDLERS[meddler]))
    with contextlib.suppress(EngineError):
        reason = update(host, it).reason
    with contextlib.suppress(LabError):
        lab.docker("rm", "--force", "stranger")
    with contextlib.suppress(LabError):
        lab.docker("network", "create", "two")
    end_intents(host.tools(), host.ledger)
    if meddler == "takes its name" and inspected(lab, it)["State"]["Status"] == "created":
        lab.docker("rm", it)
        end_intents(host.tools(), host.ledger)
    ours = {
        row["Names"][0].removeprefix("/"): row["State"]
        for row in lab.client().containers(all=True)
        if row["Names"][0].startswith("/it")
    }
    running = sorted(called for called, state in ours.items() if state == "running")
    wanted = {
        "removes it": ([], [it]),
        "stops it": ([], [it]),
        "kills it": ([], [it]),
        "renames it": ([f"{it}-renamed"], [it]),
    }
    is_right = running in wanted.get(meddler, ([it],)) and not host.ledger.open_intents()
    kept = {called for called in ours if f".{ASIDE}" in called}
    is_right = is_right and (not kept or host.done() != [])
    return (
        f"{meddler}: whole, {reason}"
        if is_right
        else f"{LOST} {meddler} before {step} to {version}: {reason} {ours} of {first[:12]}"
    )


def _done(lab: LabEngine, it: str, *commands: tuple[str, ...]) -> None:
    with contextlib.suppress(LabError):
        for each in commands:
            lab.docker(*(word.replace("IT", it) for word in each))


def _before(host: Host, step: str, action: Callable[[], object]) -> None:
    """Once, right before the next call, or when the new container has just been started."""
    call, is_gate = ("start_container", True) if step == "gate" else (step, False)
    real = getattr(type(host.engine), call)

    def hooked(*given: Any, **named: Any) -> Any:
        is_first = vars(host.engine).pop(call, None) is not None
        if is_first and not is_gate:
            action()
        answer = real(host.engine, *given, **named)
        if is_first and is_gate:
            action()
        return answer

    setattr(host.engine, call, hooked)


def everybody(host: Host, chance: random.Random) -> Iterator[str]:
    """Each meddler, right before each step."""
    with shipped(host.lab):
        for meddler in MEDDLERS:
            for step in STEPS:
                yield meddled(host, meddler, step, "bad" if step == "last_lines" else "good")


def restarted(host: Host, chance: random.Random) -> Iterator[str]:
    """The engine is restarted right before each step, and killed."""
    with shipped(host.lab):
        for step in STEPS:
            for end in (host.lab.restart, host.lab.kill):
                yield _restarted(host, step, end, "bad" if step == "last_lines" else "good")


def full(host: Host, chance: random.Random) -> Iterator[str]:
    """The engine's disk is filled right before each step, and there is room again afterwards."""
    with shipped(host.lab):
        for step in STEPS:
            for version in ("good", "bad", "ends"):
                yield _full(host, step, version)


def _full(host: Host, step: str, version: str) -> str:
    lab, big = host.lab, host.lab.dir / "data" / "big"
    first = _begun(lab, version)

    def fill() -> None:
        with big.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    with patch.object(host.ledger, "is_barred", return_value=False):
        _before(host, step, fill)
        with contextlib.suppress(EngineError):
            update(host, within="5s")
    vars(host.engine).pop("start_container" if step == "gate" else step, None)  # where it came to no such call
    big.unlink(missing_ok=True)
    end_intents(host.tools(), host.ledger)
    return _whole(host, first, f"full before {step}")


def _restarted(host: Host, step: str, end: Callable[[], object], version: str) -> str:
    lab = host.lab
    first = _begun(lab, version)

    def restart() -> None:
        end()
        if end == lab.kill:
            lab.start_again()

    _before(host, step, restart)
    with contextlib.suppress(EngineError):
        update(host)
    host.engine.connect()
    end_intents(host.tools(), host.ledger)
    with contextlib.suppress(LabError):  # which the verdict tells
        until(lambda: "it" in lab.docker("ps", "--format={{.Names}}").split(), "the container", timeout=10)
    return _whole(host, first, f"restarted before {step}")

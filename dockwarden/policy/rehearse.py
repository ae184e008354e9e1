"""Running a policy on made-up subjects, empty, full and mixed, to find what would fail on a real one. Pure.

Input: compiled expressions and the facts they need. Output: the first that fails, and how. Out of bounds: YAML, and
what is wrong with an expression that runs.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from dockwarden.model import Facts, FactSpec, FactValue, Specs, Values
from dockwarden.policy.cel import Program
from dockwarden.policy.values import ALL_HAVE_ONE, OPEN, never, never_empty

_BETWEEN = ("paused", "restarting", "removing")
_LIVES = (  # what a container is at once: its state, its health, and whether it runs
    *(("running", health, True) for health in ("", "healthy", "unhealthy", "starting")),
    *((state, "", True) for state in _BETWEEN),
    *((state, "", False) for state in (*_BETWEEN, "created", "exited", "dead")),
)


def _life(state: str, health: str, *, runs: bool) -> Values:
    known: Values = {"container.state": state, "container.health": health, "container.running": runs}
    return {**known, "container.exited_for": timedelta()} if runs else known


def _use(kind: str) -> tuple[Values, Values]:
    used: Values = {f"{kind}.in_use": True, f"{kind}.idle_for": timedelta()}
    return used, {f"{kind}.in_use": False, f"{kind}.container_count": 0, f"{kind}.used_by": []}


_NAMELESS: Values = {"image.tags": [], "image.repositories": [], "image.same_as": []}
_IDLE = "idle_for is 0 while it is in use, container_count is 0 and used_by empty while it is not"
# Facts that hang together: all that they may be at once, and what to say of conditions that ask for something else.
_AT_ONCE: tuple[tuple[tuple[Values, ...], str], ...] = (
    (
        tuple(_life(state, health, runs=runs) for state, health, runs in _LIVES),
        "no container is all of this: health is of the state running, exited_for of what does not run",
    ),
    (
        ({"image.dangling": True, **_NAMELESS}, {"image.dangling": False}),
        "no image is all of this: what is dangling has no tags",
    ),
    *((_use(kind), f"no {kind} is all of this: {_IDLE}") for kind in ("image", "volume", "network")),
)
_MIXES = 120
_FEW = 30  # items of a list, among which mixes choose
_MANY = 10**12
_EPOCH, _NOW = datetime.fromtimestamp(0, UTC), datetime(2026, 1, 1, tzinfo=UTC)
_DIGEST = f"sha256:{'0' * 64}"
_TEXTS = {  # by form, what texts look like; two where a fact has them in two ways
    "reference": "docker.io/library/nginx:1.27",
    "repository": "docker.io/library/nginx",
    "registry": "docker.io",
    "tag": "1.27.0",
    "version": "1.27.0",
    "release": "26.1.5+dfsg1",
    "id": _DIGEST,
    "short_id": "0" * 12,
    "digest": _DIGEST,
    "repository_digest": f"docker.io/library/nginx@{_DIGEST}",
    "port": "80/tcp",
    "bound_port": "80/tcp 0.0.0.0:8080->80/tcp",
    "ulimit": "nofile=1024:2048",
    "capability": "SYS_ADMIN",
    "device": "/dev/fuse:/dev/fuse:rwm",
    "host_option": "name=seccomp,profile=default",
    "hosts": "db:10.0.0.1",
    "link": "/db:/web/db",
    "mode": "host",
    "moment": "2026-01-01T00:00:00Z",
    "mounted": "/data",
    "path": "/data",
    "signal": "SIGTERM",
}


class Part(NamedTuple):
    """One expression of a policy, under the key where it is written."""

    key: str
    program: Program


def rehearse(conditions: Sequence[Part], others: Sequence[Part], facts: Specs) -> tuple[Part, str, Values] | None:
    """The first expression that fails on a made-up subject, its error, and what is known of the subject.

    Each of the conditions is asked only where those before it are true, as when a policy judges; the others about a
    finding.
    """
    programs = [program for _, program in (*conditions, *others)]
    mixes = any(program.doubts.risks for program in programs)
    literals = {value for program in programs for value in _literals(program)}
    some = {value for program in programs for value in _literals(program, _FEW)} if mixes else set[object]()
    needs = sorted({name for program in programs for name in program.references})
    choices = {name: samples(facts[name], literals if facts[name].type == "map(string)" else some) for name in needs}
    for known in _subjects(choices, mixes=mixes):
        subject = Facts(known)
        for part in conditions:
            answer = part.program.evaluate(subject)
            if answer.error:
                return part, answer.error, known
            if answer.value is not True:
                break
        else:
            for part in others:
                if error := part.program.evaluate(subject).error:
                    return part, error, known
    return None


def contradiction(conditions: Sequence[Part]) -> str:
    """Why no object is what all of them ask; empty where params or lists have a say: they may be others elsewhere."""
    asked = {name for _, program in conditions for name in program.references}
    if any(program.constants for _, program in conditions):
        return ""
    for worlds, told in _AT_ONCE:
        hang_together = {name for world in worlds for name in world}
        if len(asked & hang_together) > 1 and not any(_may_be(conditions, Facts({**world})) for world in worlds):
            return told
    return ""


def _may_be(conditions: Sequence[Part], world: Facts) -> bool:
    return all(part.program.evaluate(world).value is not False for part in conditions)


def _literals(program: Program, most: int | None = None) -> Iterator[object]:
    """Its constants; of a list so many."""
    yield from program.doubts.literals
    for value in program.constants.values():
        yield from value[:most] if isinstance(value, list) else (value,)


def _subjects(choices: Mapping[str, Sequence[FactValue]], *, mixes: bool) -> Iterator[dict[str, FactValue]]:
    yield {name: values[0] for name, values in choices.items()}
    yield {name: values[-1] for name, values in choices.items()}
    pick = random.Random(0)  # noqa: S311 - the same each time
    for _ in range(_MIXES if mixes else 0):
        yield {name: pick.choice(values) for name, values in choices.items()}


def samples(spec: FactSpec, literals: Iterable[object]) -> list[FactValue]:
    """Values that a fact may have: the empty one first, a full one last, which hangs on literals only of a map."""
    known = sorted(literals, key=repr)
    texts = [text for text in known if isinstance(text, str)]
    numbers = [number for number in known if isinstance(number, int) and not isinstance(number, bool)]
    match spec.type:
        case "bool":
            return [False, True]
        case "int":
            return [0, 1, *(n + more for n in numbers for more in (0, 1) if n >= 0), _MANY]
        case "double":
            return [0.0, *(number for number in known if isinstance(number, float)), 99.5]
        case "string":
            return list(_texts(spec, texts))
        case "duration":
            return [timedelta(), timedelta(hours=1), timedelta(days=4000)]
        case "timestamp":
            return [_EPOCH, _NOW - timedelta(days=1), _NOW]
        case "list(string)":
            *some, full = _texts(spec, texts)
            return [[], *([text] for text in some if text), [full, *(text for text in some if text)], [full]]
        case "map(string)":
            return [
                {},
                {"other": "x"},
                *({text: "x"} for text in texts),
                {**dict.fromkeys(texts, ""), "other": "x"},
                {**dict.fromkeys(texts, "1"), "other": "1"},
                {**dict.fromkeys(texts, "x"), "other": "x"},
            ]
        case _:
            return [[], *_records(spec, texts)]


def _texts(spec: FactSpec, texts: Sequence[str]) -> Iterator[str]:
    if spec.words and OPEN not in spec.words:
        yield from sorted(spec.words)
        return
    full = _TEXTS.get(spec.form, "a").split()
    # Each engine and each step has one; '' stands for a tag without numbers as well.
    has_one = spec.form in ("release", "moment") or spec.name in ALL_HAVE_ONE or never_empty(spec)
    if spec.form == "tag" or not has_one:
        yield ""
    if spec.form not in ("tag", "version", "release"):
        yield from filter(None, (_like(spec, text, full[0]) for text in texts))
    yield from full


def _like(spec: FactSpec, text: str, full: str) -> str:
    """A text that the fact may have, with what a condition asks for at its beginning or its end; else nothing."""
    ends = {len(text), max(0, len(full) - len(text)), *(found.start() for found in re.finditer(r"\b", full))}
    tries = (text, *(text + full[end:] for end in sorted(ends)), *(full[:end] + text for end in sorted(ends)))
    return next((each for each in tries if not never(spec, each)), "")


def _records(spec: FactSpec, texts: Sequence[str]) -> Iterator[list[dict[str, object]]]:
    """Lists of records with every key: one for each value that one of the keys may have."""
    first: dict[str, object] = {key: samples(inner, ())[0] for key, inner in spec.keys.items()}
    full: dict[str, object] = {key: samples(inner, texts)[-1] for key, inner in spec.keys.items()}
    yield [first]
    for key, inner in spec.keys.items():
        yield from ([{**full, key: value}] for value in samples(inner, texts))
    yield [full, first]

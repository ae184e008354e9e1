"""How long it takes from an event, by the engine's clock, to what dockwarden shows of it.

Beside it stands a bare client, which waits for the same events, as far apart, and inspects what they name.

Tags are set one at a time. Each opens a finding of `no-latest-tag`, which is seen in two ways: from outside, as the
finding in `/metrics`, and from inside, as what the event added to `dockwarden_reaction_duration_seconds` (which ends
once that finding can be read there). The time of the event is asked of the engine afterwards. Who looks from outside
asks without a pause, which takes of the daemon's own time, so for the inside it is done again with pauses.
"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from tests.bench.daemon import Daemon, total
from tests.bench.report import Row, percentile
from tests.lab.engine import API_VERSION
from tests.lab.machine import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.host import Host, RawEngine

NAME = "reaction"
_EVENTS, _EVENTS_QUICK = 200, 50
_MOST_P99_MS = {"graph": 100.0, "containerd": 300.0}
_FINDINGS = "dockwarden_findings"
_SUM, _COUNT = "dockwarden_reaction_duration_seconds_sum", "dockwarden_reaction_duration_seconds_count"
_INSPECTS = tuple(f"dockwarden_engine_request_duration_seconds_{part}" for part in ("sum", "count"))
_INSPECT = 'operation="image_inspect"'
_POLICY = 'policy="no-latest-tag"'
_PATIENCE_SECONDS = 30.0
_POLLS = 300
_PAUSE_SECONDS = 0.05
_CONTAINERS = 100
_CROWDED_AT, _TAGS = 100, 100
_POLICIES = Path(__file__).parents[2] / "config" / "policies"
_DEAF = [str(_POLICIES / f"{name}.yaml") for name in ("container-limits", "unused-network")]  # no tag concerns them


class _State(NamedTuple):
    findings: float
    reactions: float
    seconds: float


class _Seen(NamedTuple):
    outside_ms: float
    inside_ms: float


def measure(host: Host, *, quick: bool) -> Iterator[Row]:
    """The rows of one host."""
    events = _EVENTS_QUICK if quick else _EVENTS
    bare = percentile(list(_bare(host, events)), 0.5)
    with Daemon(host.engine) as daemon:
        daemon.settle()
        poll_ms = _poll_cost_ms(daemon)
        raw = host.raw()
        names = host.names(100)
        seen = [_one(daemon, raw, names[i % len(names)], f"e{i}").outside_ms for i in range(events)]
        before = daemon.samples(*_INSPECTS)
        reacted = [_one(daemon, raw, names[i % len(names)], f"p{i}", _PAUSE_SECONDS).inside_ms for i in range(events)]
        after = daemon.samples(*_INSPECTS)
        cpu_ms = _cpu_of_containers(daemon, raw, names[0])
    spent, looks = (total(after, name, _INSPECT) - total(before, name, _INSPECT) for name in _INSPECTS)
    yield from _rows(host, "outside", seen, f"polled, {poll_ms:.1f} ms a poll")
    yield from _rows(host, "inside", reacted, f"{1e3 * spent / looks:.1f} ms the engine's inspect")

    row = partial(Row, measurement=NAME, store=host.store, images=host.images)
    inside = percentile(reacted, 0.5)
    note = f"{bare:.1f} ms from the event to an inspect's answer"
    yield row(figure="inside p50 / a bare client's", value=inside / bare, unit="x", at_most=1.4, note=note)
    note = "the target is what WUD takes"
    yield row(figure="CPU of a container that comes and goes", value=cpu_ms, unit="ms", at_most=2.5, note=note)
    if host.images == _CROWDED_AT:
        for what, cpu_ms in _crowded(host):
            yield row(figure=f"CPU of a tag on an image with 1,000 {what}", value=cpu_ms, unit="ms", at_most=4.0)


def _crowded(host: Host) -> Iterator[tuple[str, float]]:
    """Milliseconds of our CPU for each tag set or taken away, where much depends on the image and nobody listens."""
    raw, image = host.raw(), host.names(1)[0]

    def change(what: str, name: object, *, ends: bool) -> None:
        if what == "tags":
            raw.untag(f"many:{name}") if ends else raw.tag(image, "many", str(name))
        else:
            raw.ask("DELETE", f"/containers/many{name}") if ends else raw.create(image, f"many{name}")

    for what in ("tags", "containers"):
        for number in range(1_000):
            change(what, number, ends=False)
        with Daemon(host.engine, policies=_DEAF) as daemon:
            daemon.settle()
            seen, cpu = _state(daemon).reactions, daemon.cpu_seconds()
            for number in range(2 * _TAGS):
                change("tags", "another", ends=number % 2 == 1)
                time.sleep(_PAUSE_SECONDS)  # or it is handled together with the next
            daemon.settle()
            yield what, 1e3 * (daemon.cpu_seconds() - cpu) / (_state(daemon).reactions - seen)
        for number in range(1_000):
            change(what, number, ends=True)


def _bare(host: Host, events: int) -> Iterator[float]:
    """Milliseconds from an event to the answer of an inspect of what it names."""
    raw, follower, looker = host.raw(), host.raw(), host.raw()
    filters = quote(json.dumps({"event": ["tag"], "type": ["image"]}))
    follower.request("GET", f"/v{API_VERSION}/events?filters={filters}")
    stream = follower.getresponse()
    for number in range(events):
        raw.tag(host.names(100)[number % 100], f"bare/e{number}", "latest")
        event = json.loads(stream.readline())
        looker.ask("GET", f"/images/{event['Actor']['Attributes']['name']}/json")
        yield (time.time_ns() - event["timeNano"]) / 1e6
        time.sleep(_PAUSE_SECONDS)  # as below: who has just done the same is quicker
        raw.untag(f"bare/e{number}:latest")
        time.sleep(_PAUSE_SECONDS)
    follower.close()


def _cpu_of_containers(daemon: Daemon, raw: RawEngine, image: str) -> float:
    """Milliseconds of our CPU for each container that is made and removed."""
    seen = daemon.samples(_COUNT)[_COUNT]
    cpu = daemon.cpu_seconds()
    for number in range(_CONTAINERS):
        raw.container(image, f"bench-{number}")
    # Quiet, when both events of the last one have been handled; the looks at samples are paid for, too.
    _wait(daemon, lambda state: state.reactions >= seen + 2 * _CONTAINERS)
    return 1e3 * (daemon.cpu_seconds() - cpu) / _CONTAINERS


def _rows(host: Host, side: str, values: Sequence[float], note: str) -> Iterator[Row]:
    for share, most in ((0.5, None), (0.99, _MOST_P99_MS[host.store])):
        figure = f"{side} p{100 * share:g}"
        yield Row(
            measurement=NAME,
            store=host.store,
            images=host.images,
            figure=figure,
            value=percentile(values, share),
            unit="ms",
            at_most=most,
            note=note,
        )


def _one(daemon: Daemon, raw: RawEngine, image: str, name: str, pause_seconds: float = 0.0) -> _Seen:
    """Set a tag, wait for what comes of it, and take it away again."""
    before, since = _state(daemon), time.time_ns()
    raw.tag(image, f"bench/{name}", "latest")
    time.sleep(pause_seconds)
    _, seen_ns = _wait(daemon, lambda state: state.findings > before.findings)
    after, _ = _wait(daemon, lambda state: state.reactions > before.reactions)
    event_ns = raw.event_time_ns(since, f"docker.io/bench/{name}:latest")
    raw.untag(f"bench/{name}:latest")
    time.sleep(pause_seconds)
    _wait(daemon, lambda state: state.reactions > after.reactions and state.findings == before.findings)
    inside = (after.seconds - before.seconds) / (after.reactions - before.reactions)
    return _Seen((seen_ns - event_ns) / 1e6, 1e3 * inside)


def _wait(daemon: Daemon, condition: Callable[[_State], bool]) -> tuple[_State, int]:
    """The first state that meets a condition, and when it was seen."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        state, now_ns = _state(daemon), time.time_ns()
        if condition(state):
            return state, now_ns
    raise LabError(f"an event had no effect within {_PATIENCE_SECONDS:g} s")


def _state(daemon: Daemon) -> _State:
    samples = daemon.samples(_FINDINGS, _SUM, _COUNT)
    return _State(total(samples, _FINDINGS, _POLICY), samples[_COUNT], samples[_SUM])


def _poll_cost_ms(daemon: Daemon) -> float:
    began = time.monotonic()
    for _ in range(_POLLS):
        _state(daemon)
    return 1e3 * (time.monotonic() - began) / _POLLS


def ratios(rows: Sequence[Row]) -> Iterator[Row]:
    """How the middle reaction grows from the fewest images to the most; a containerd store's inspect grows, too."""
    for store in sorted({row.store for row in rows if row.measurement == NAME}):
        for side in ("outside", "inside"):
            p50 = {
                r.images: r.value
                for r in rows
                if r.measurement == NAME and r.store == store and r.figure == f"{side} p50"
            }
            few, most = min(p50), max(p50)
            if few < most:
                yield Row(
                    measurement=NAME,
                    store=store,
                    images=most,
                    figure=f"{side} p50 / p50 at {few:,}",
                    value=p50[most] / p50[few],
                    unit="",
                    at_most=1.3 if store == "graph" else None,
                )

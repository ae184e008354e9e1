"""Names and labels come from strangers: whatever they hold, a line stays a line, JSON stays JSON, and all goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.e2e.harness import Policy, full, policy
from tests.lab import images
from tests.lab.images import ImageSpec

if TYPE_CHECKING:
    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

CONTROL = 'a\x1b[31mred\r\nlevel=critical {"event": "daemon.thread_died"}\u2028\u202e\x9b\U0001f433 "q" \\'
LABELLED = policy(
    "labelled", "image", "'evil' in image.labels", trigger={"events": ["image.new"]},
    message="{{ image.labels['evil'] }}",
)  # fmt: skip
ANY_CONTAINER = policy(
    "any-container", "container", "true", trigger={"events": ["container.create"]},
    message="{{ container.name }} {{ container.labels[?'evil'].orValue('') }}",
)  # fmt: skip
ANY_VOLUME = policy("any-volume", "volume", "true", trigger={"events": ["volume.create"]}, message="{{ volume.name }}")
ANY_TAG = policy("any-tag", "tag", "true", trigger={"events": ["image.tag"]})
ALL: list[Policy | str] = [LABELLED, ANY_CONTAINER, ANY_VOLUME, ANY_TAG, "no-latest-tag", "duplicate-tags"]


def hostile_images() -> list[ImageSpec]:
    return [
        ImageSpec(tags=("e2e/control:1",), labels={"evil": CONTROL, CONTROL: "key", "nul": "a\x00b"}),
        ImageSpec(tags=("e2e/long:1",), labels={"evil": "x" * 65536}),
        ImageSpec(tags=("e2e/many:1",), labels={"evil": "many", **{f"label.{i}": "v" * 40 for i in range(5000)}}),
        ImageSpec(tags=(f"e2e/{'r' * 200}:{'t' * 128}",), labels={"evil": ""}),
        ImageSpec(tags=("e2e/template:1",), labels={"evil": "{{ image.id }} %s {0} ${x} `id` $(id) '; DROP TABLE"}),
    ]


def make_the_rest(engine: LabEngine) -> tuple[str, str]:
    """A container and a volume with the longest names that the engine takes, and unkind labels."""
    engine.load(images.busybox("e2e/runs:1"))
    container, volume = "c" * 250, "v" * 255
    client = engine.client()
    client.create_container("e2e/runs:1", name=container, labels={"evil": CONTROL})
    client.create_volume(volume, labels={"evil": CONTROL})
    return container, volume


def test_lines_stay_lines_and_json_stays_json(empty_engine: LabEngine, start: Start) -> None:
    engine = empty_engine
    daemon = start(engine, ALL).ready()
    engine.load(*hostile_images())
    container, volume = make_the_rest(engine)

    messages = {
        name: daemon.wait("finding.opened", policy="labelled", name=full(name))["message"]
        for name in ("e2e/control:1", "e2e/long:1", "e2e/many:1", "e2e/template:1")
    }
    assert messages["e2e/control:1"].isprintable()
    assert messages["e2e/control:1"].startswith(r"a\x1b[31mred\r\nlevel=critical")
    assert len(messages["e2e/long:1"]) <= 2000
    assert messages["e2e/template:1"] == "{{ image.id }} %s {0} ${x} `id` $(id) '; DROP TABLE"
    assert container in daemon.wait("finding.opened", policy="any-container")["message"]
    daemon.wait("finding.opened", policy="any-volume", name=volume)
    long_tag = f"docker.io/e2e/{'r' * 200}:{'t' * 128}"
    daemon.wait("finding.opened", policy="any-tag", name=long_tag)
    daemon.until_true_to(engine)

    # The harness reads one JSON object per line and keeps what is none.
    assert daemon.strange == []
    assert [line for line in daemon.lines if line["level"] in ("error", "critical")] == []
    assert not daemon.said("daemon.thread_died")
    rows = daemon.api("findings")
    assert {row["name"] for row in rows if row["policy"] == "labelled"} >= {full("e2e/control:1"), full("e2e/many:1")}
    metrics = daemon.get("/metrics").text
    for trace in ("e2e/", "evil", "vvvv", "cccc", "red"):
        assert trace not in metrics
    assert daemon.value("dockwarden_events_reconnects_total") == 0

    assert daemon.end() == 0
    daemon.restart()
    daemon.ready()
    assert {row["name"] for row in daemon.api("findings")} == {row["name"] for row in rows}


def test_terminal_is_not_at_their_mercy(any_engine: LabEngine, start: Start) -> None:
    daemon = start(any_engine, ALL, settings={"log": {"format": "console"}})
    daemon.until(lambda: any("inventory.listed" in line for line in daemon.strange), "the first list")
    any_engine.load(*hostile_images())
    make_the_rest(any_engine)
    daemon.until(lambda: any("any-container" in line for line in daemon.strange), "the last finding")
    assert daemon.end() == 0
    written, daemon.strange = daemon.strange, []
    assert [line for line in written if not line.isprintable()] == []
    assert any(r"\x1b[31mred" in line for line in written)


def test_events_larger_than_a_line_may_be_cost_no_truth(any_engine: LabEngine, start: Start) -> None:
    """An image whose labels are 12 MB: its events are refused, so the daemon lists everything instead."""
    engine = any_engine
    daemon = start(engine, [ANY_TAG]).ready()
    engine.load(ImageSpec(tags=("e2e/huge:1",), labels={f"l{i}": "x" * 65536 for i in range(190)}))
    engine.docker("tag", "e2e/huge:1", "e2e/huge:2")
    engine.load(ImageSpec(tags=("e2e/after:1",)))
    for name in ("e2e/huge:1", "e2e/huge:2", "e2e/after:1"):
        daemon.wait("finding.opened", policy="any-tag", name=full(name))
    daemon.until(lambda: daemon.get("/readyz").status == 200, "readiness")
    daemon.until_true_to(engine)
    assert daemon.process.poll() is None
    assert max(len(json.dumps(line)) for line in daemon.lines) < 100_000

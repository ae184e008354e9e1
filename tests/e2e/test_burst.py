"""Four clients tag and untag as fast as the engine lets them: what is left in the inventory is what is there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.e2e.harness import policy
from tests.lab.images import ImageSpec

if TYPE_CHECKING:
    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

CLIENTS = 4
ANY_TAG = policy("any-tag", "tag", "tag.name != 'keep'", trigger={"events": ["image.tag", "image.untag"]})


def test_inventory_is_true_after_a_burst(empty_engine: LabEngine, start: Start) -> None:
    engine = empty_engine
    engine.load(*(ImageSpec(tags=(f"burst/{n}:keep",), labels={"n": str(n)}) for n in range(CLIENTS)))
    daemon = start(engine, [ANY_TAG, "no-latest-tag", "duplicate-tags"]).ready()
    rounds = 60 if engine.kind == "containerd" else 120  # more than the engine remembers
    go = threading.Barrier(CLIENTS)

    def hammer(n: int) -> None:
        client = engine.client()
        go.wait()
        for i in range(rounds):
            client.tag(f"burst/{(n + i) % CLIENTS}:keep", f"burst/{n}", f"t{i % 7}")  # moves, as often as not
            if i % 3:
                client.remove_image(f"burst/{n}:t{i % 7}")

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(hammer, n) for n in range(CLIENTS)]:
            done.result()

    daemon.until_true_to(engine)
    tags = set(daemon.tags())
    daemon.until(
        lambda: daemon.findings("any-tag") == {tag for tag in tags if not tag.endswith(":keep")},
        "the findings to be those of the tags that are left",
    )
    daemon.until(daemon.was_listed_anew_only_when_stalled, "a reason for each list")
    assert daemon.value("dockwarden_events_reconnects_total") == 0
    assert daemon.total("dockwarden_events_received_total", type="image") >= CLIENTS * rounds
    daemon.until_metric(0, "dockwarden_queue_length")
    assert [line for line in daemon.lines if line["level"] in ("error", "critical")] == []

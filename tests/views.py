"""What the web server shows, without a server and without an engine.

Input: policies, findings, an inventory. Output: views that read them. Out of bounds: HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dockwarden.health import Health
from dockwarden.inventory.collect import Collector
from dockwarden.model import Answer, PolicySet
from dockwarden.pipeline.enforce import Enforcer
from dockwarden.policy.findings import Findings
from dockwarden.sinks.board import Board
from dockwarden.web.views import Views
from tests.builders import NOW, a_report, an_inventory
from tests.fakes import FakeEngine, FakeIntents

if TYPE_CHECKING:
    from dockwarden.inventory.live import Inventory
    from dockwarden.model import EngineInfo, Policy, PolicyException


def no_executor(_info: EngineInfo) -> Any:
    raise AssertionError("whoever looks changes nothing")


def a_view(
    *policies: Policy,
    exceptions: tuple[PolicyException, ...] = (),
    findings: Findings | None = None,
    inventory: Inventory | None = None,
    health: Health | None = None,
    **due: float,
) -> tuple[Views, Board]:
    """Views at ``NOW``, and the board that they read; ``due``: next runs by policy."""
    board = Board(lambda _most: (), dict)
    board.record(a_report(policies=PolicySet(policies, "", exceptions=exceptions)))
    inventory = inventory or an_inventory()
    enforcer = Enforcer(
        inventory,
        Collector(FakeEngine(), inventory),
        FakeIntents(),
        no_executor,
        ask_host=lambda _: Answer(),
        now=lambda: NOW,
        minimum_stay_seconds=0.0,
        own_container="",
    )
    findings, health = findings or Findings(), health or Health()
    return Views(board, findings, inventory, enforcer, health, lambda: due, lambda: NOW), board

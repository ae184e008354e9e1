"""A small vocabulary, and short ways to make compiled expressions, policies and facts."""

from datetime import timedelta

from dockwarden.model import FactSpec, FactValue, Kind, Mode, Policy, Program, Severity, TriggerSpec, Vocabulary
from dockwarden.policy.cel import Compiler

_EVERYWHERE = [
    ("now", "timestamp", 0),
    ("host.disk_used_percent", "double", 1),
    ("host.images", "int", 0),
    ("host.images_size", "int", 2),
]
_IMAGE = [
    ("image.ref", "string", 0),
    ("image.size", "int", 0),
    ("image.in_use", "bool", 0),
    ("image.tags", "list(string)", 0),
    ("image.labels", "map(string)", 0),
    ("image.known_for", "duration", 0),
    ("image.created", "timestamp", 0),
    ("image.user", "string", 1),
]
_TAG = [("tag.ref", "string", 0), ("tag.name", "string", 0), ("registry.digest", "string", 3)]
_CONTAINER = [
    ("container.name", "string", 0),
    ("container.cpu_limit", "double", 1),
    ("container.mounts", "list(map)", 0),
]


def _specs(*groups: list[tuple[str, str, int]]) -> dict[str, FactSpec]:
    return {name: FactSpec(name, type_, cost, "") for group in groups for name, type_, cost in group}


VOCABULARY: Vocabulary = {
    Kind.IMAGE: _specs(_IMAGE, _EVERYWHERE),
    Kind.TAG: _specs(_TAG, _IMAGE, _EVERYWHERE),
    Kind.CONTAINER: _specs(_CONTAINER, _IMAGE, _EVERYWHERE),
    Kind.VOLUME: _specs(_EVERYWHERE),
    Kind.NETWORK: _specs(_EVERYWHERE),
    Kind.HOST: _specs(_EVERYWHERE),
}
SCALARS = ("string", "int", "double", "bool", "duration", "timestamp")
PARAMS: dict[str, FactValue] = {"keep": 3, "older_than": timedelta(hours=24), "pattern": "^a", "bad_pattern": "(a"}


def compiler(**lists: list[str]) -> Compiler:
    return Compiler(VOCABULARY, lists)


def program(source: str, kind: Kind = Kind.TAG, want: tuple[str, ...] = ("bool",)) -> Program:
    return compiler(moving=["latest", "edge"]).compile(kind, PARAMS, source, want)


def policy(
    when: str = "image.in_use", select: str = "", gate: str = "", message: tuple[str | Program, ...] = ("in use",)
) -> Policy:
    return Policy(
        name="p",
        subject=Kind.TAG,
        severity=Severity.HIGH,
        mode=Mode.AUDIT,
        trigger=TriggerSpec(),
        when=program(when),
        message=message,
        select=program(select) if select else None,
        gate=program(gate, Kind.HOST) if gate else None,
    )

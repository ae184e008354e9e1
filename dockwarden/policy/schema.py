"""The JSON Schema of policy files, for editors: what may be written where, and what it means. Pure.

Input: the verbs. Output: a schema that completes what has fixed words and refuses what no file may say. Out of bounds:
expressions, which only compiling can check.
"""

from typing import Any

from dockwarden.model import Kind, Mode
from dockwarden.policy import document
from dockwarden.policy.document import Verbs


def schema(verbs: Verbs) -> dict[str, Any]:
    found = document.File.model_json_schema()
    shapes = {"File": found, **found["$defs"]}
    for entry in [entry for shape in shapes.values() for entry in shape.get("properties", {}).values()]:
        entry.pop("title", None)
        if entry.get("default", ...) is None:
            del entry["default"]
        if "description" in entry:
            entry["markdownDescription"] = entry["description"]
    shapes["Trigger"]["anyOf"] = [_with(key) for key in ("events", "schedule", "every")]
    policy = shapes["WrittenPolicy"]
    action = policy["properties"]["action"]
    policy["properties"]["action"] = {key: action[key] for key in ("description", "markdownDescription")}  # by subject
    enforces = {"properties": {"mode": {"const": Mode.ENFORCE.value}}, "required": ["mode"]}
    repeats = {"properties": {"trigger": {"anyOf": [_with("schedule"), _with("every")]}}}
    policy["allOf"] = [
        {"if": enforces, "then": _with("action")},
        {"if": {"required": ["for"]}, "then": repeats},
        *(_of(kind, verbs) for kind in Kind),
    ]
    return found


def _with(key: str) -> dict[str, Any]:
    """What has a key, and something in it."""
    return {"required": [key], "properties": {key: {"minItems": 1, "minLength": 1, "minProperties": 1}}}


def _of(kind: Kind, verbs: Verbs) -> dict[str, Any]:
    """What holds for policies on one kind of subject."""
    own = {name: verb for (subject, name), verb in verbs.items() if subject is kind}
    actions = _action({name: verb.options.model_json_schema() for name, verb in own.items()})
    events = {"items": {"enum": document.events_of(kind)}}
    then: dict[str, Any] = {"properties": {"trigger": {"properties": {"events": events}}, "action": actions}}
    if all(verb.needs_for for verb in own.values()):
        then |= {"if": _with("action"), "then": {"required": ["for"]}}
    return {"if": {"properties": {"subject": {"const": kind.value}}, "required": ["subject"]}, "then": then}


def _action(options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    bare = [name for name, shape in options.items() if "anyOf" not in shape]  # what needs options says so by that
    shapes = {name: {"anyOf": [shape, {"type": "null"}]} if name in bare else shape for name, shape in options.items()}
    whole = {"type": "object", "properties": shapes, "additionalProperties": False, "maxProperties": 1}
    return {"anyOf": [*([{"enum": bare}] if bare else []), whole]}

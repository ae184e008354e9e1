"""The JSON Schema of policy files, for editors: what may be written where, and what it means. Pure.

Input: the verbs. Output: a schema that completes what has fixed words and refuses what no file may say. Out of bounds:
expressions, which only compiling can check.
"""

from typing import Any

from dockwarden.model import Kind, Mode
from dockwarden.policy import document
from dockwarden.policy.document import Verbs
from dockwarden.text import DURATION

_DURATION = {"type": "string", "pattern": f"^(?=.*[1-9]){DURATION[1:]}", "examples": ["24h"]}
_INTERVAL = {**_DURATION, "not": {"pattern": "^(0+[dhm])*0*[1-4]s$"}}
_IDENTIFIER = {"pattern": f"^{document.IDENTIFIER.pattern}$", "not": {"enum": list(document.RESERVED)}}
_NUMBER, _TEXT, _BOOL = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
_CONSTANT = {
    "anyOf": [_NUMBER, _TEXT, _BOOL, {"type": "array", "items": _TEXT}, {"type": "array", "items": _NUMBER}],
}
_EXPRESSION = {"type": "string", "maxLength": 2000, "pattern": r"\S"}
_CRON = {"type": "string", "pattern": r"^(\s*\S+(\s+\S+){4}\s*)?$", "examples": ["0 3 * * *"]}
_SHARE = r"^(?=[^%]*[1-9])(0?\d{1,2}(\.\d+)?|100(\.0+)?)%?$"
_PERCENT = {"anyOf": [{"type": "number", "minimum": 1, "maximum": 100}, {"type": "string", "pattern": _SHARE}]}
_DATE = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d"}
# Where a type of Python says less than a file may say, or more.
_INSTEAD: dict[str, dict[str, dict[str, Any]]] = {
    "File": {
        "lists": {
            "type": "object",
            "propertyNames": _IDENTIFIER,
            "additionalProperties": {"type": "array", "items": _TEXT},
        }
    },
    "Policy": {
        "params": {"type": "object", "propertyNames": _IDENTIFIER, "additionalProperties": _CONSTANT},
        "for": _DURATION,
        "excusable": {"enum": ["label", "file", "never"]},
        **dict.fromkeys(("gate", "select", "when", "order_by", "stop_when"), _EXPRESSION),
    },
    "Trigger": {"every": _INTERVAL, "schedule": _CRON, "events": {"type": "array", "items": _TEXT}},
    "Limits": {"max_percent": _PERCENT},
    "Case": {
        "params": {"type": "object", "propertyNames": _IDENTIFIER, "additionalProperties": _CONSTANT},
        "now": _DATE,
    },
    "Exemption": {"match": _EXPRESSION, "until": _DATE, "reason": {"type": "string", "pattern": r"\S"}},
}


def schema(verbs: Verbs) -> dict[str, Any]:
    found = document.File.model_json_schema()
    shapes = {"File": found, **found["$defs"]}
    for name, keys in _INSTEAD.items():
        shapes[name]["properties"].update({key: dict(shape) for key, shape in keys.items()})
    for name, shape in shapes.items():
        for key, entry in shape.get("properties", {}).items():
            entry.pop("title", None)
            if meaning := MEANINGS.get(f"{name}.{key}"):
                entry["description"] = entry["markdownDescription"] = meaning
    shapes["Trigger"]["anyOf"] = [_with(key) for key in ("events", "schedule", "every")]
    policy = shapes["Policy"]
    meaning = MEANINGS["Policy.action"]
    policy["properties"]["action"] = {"description": meaning, "markdownDescription": meaning}  # the subject decides
    policy["allOf"] = [
        {
            "if": {"properties": {"mode": {"const": Mode.ENFORCE.value}}, "required": ["mode"]},
            "then": _with("action"),
        },
        {
            "if": {"required": ["for"]},
            "then": {"properties": {"trigger": {"anyOf": [_with("schedule"), _with("every")]}}},
        },
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
    bare = [name for name, shape in options.items() if not shape.get("required")]
    shapes = {
        name: shape if shape.get("required") else {"anyOf": [shape, {"type": "null"}]}
        for name, shape in options.items()
    }
    whole = {
        "type": "object",
        "properties": shapes,
        "additionalProperties": False,
        "maxProperties": 1,
    }
    return {"anyOf": [*([{"enum": bare}] if bare else []), whole]}


# As in docs/policies.md, which a test holds them to.
MEANINGS = {
    "File.version": "version of this format",
    "File.lists": "`lists.NAME` in the expressions of **all** files; a name may be given once",
    "File.exceptions": "what is excused, until when, and why",
    "File.policies": "the policies; names are unique over all files",
    "Policy.name": "in metrics, log and settings",
    "Policy.title": "for people",
    "Policy.description": "for people",
    "Policy.remediation": "for people",
    "Policy.refs": "for people; such as `CIS-5.11`",
    "Policy.tags": "for people; such as `CIS-5.11`",
    "Policy.severity": "how much a finding matters",
    "Policy.subject": "what is judged; decides which facts exist",
    "Policy.trigger": "when it runs",
    "Policy.params": "constants by name, as `params.NAME`; a host may set others",
    "Policy.gate": "looked at once per run; unless it is true, the policy does not run",
    "Policy.select": "which objects the policy is about; the others are `skip`",
    "Policy.when": "**true is a finding**",
    "Policy.message": "one line about the finding",
    "Policy.mode": "report, act, or neither; `enforce` needs an `action`",
    "Policy.for": "how long `when` must have held, while dockwarden watched, before it is a finding; until then it is pending",  # noqa: E501
    "Policy.action": "what `enforce` does and `audit` previews",
    "Policy.order_by": "what goes first: the lowest value; of the same value, the lowest ID",
    "Policy.stop_when": "looked at before each step, with the disk measured anew; true ends the run",
    "Policy.limits": "how much one run may touch",
    "Limits.max_objects": "objects",
    "Limits.max_percent": "of all objects of this kind on the host; one object is always allowed",
    "Limits.over": "above a limit: nothing is done, until a person looks, or the first so many in order are, and the rest in later runs. Objects that turn out to stay make room for the next",  # noqa: E501
    "Policy.on_unknown": "`retry`: what could not be judged is judged again after each full list, without asking a registry; `report`: it waits for the policy's trigger",  # noqa: E501
    "Policy.excusable": "who may excuse a finding: labels and files, files only, nobody",
    "Policy.tests": "what must come out of made-up objects; `dockwarden check` and `test` run them",
    "Trigger.events": "names of changes; judged are the objects that changed and those that depend on them",
    "Trigger.schedule": "a cron line of five fields, in the time zone of the settings; judged are all objects of the subject",  # noqa: E501
    "Trigger.every": "an interval of at least `5s`; judged are all objects of the subject",
}

"""The shape of a policy file: which keys there are, of which type, and what may go together.

Input: plain values as YAML gives them. Output: a ``File``, or everything that is wrong with the values, each with its
path. Out of bounds: reading files, lines and columns, compiling expressions.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Literal, Protocol, assert_never

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo, WithJsonSchema
from pydantic.functional_validators import AfterValidator, BeforeValidator, field_validator, model_validator

from dockwarden.config.source import Path, fault_in_words
from dockwarden.cron import Cron
from dockwarden.model import FactValue, Kind, Mode, Severity
from dockwarden.policy import hints
from dockwarden.text import DURATION, duration, is_size, near, one_of, size

MIN_EVERY = timedelta(seconds=5)


class Verb(Protocol):
    """What the loader must know of an action: its options, and whether its policies must say ``for``."""

    @property
    def options(self) -> type[BaseModel]: ...

    @property
    def needs_for(self) -> bool:
        """Whether the condition must have held for a while."""


Verbs = Mapping[tuple[Kind, str], Verb]

_RESERVED = ("in", "null", "true", "false")
_NAMES_OF_POLICIES = "must be words of a-z and 0-9 joined by -, such as no-latest-tag"

NO_ACTION = "enforce needs an action; write `action: {…}`, or `mode: audit`"
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
_MAX_INT = 2**63


def hearing(kind: Kind) -> tuple[tuple[str, ...], tuple[Kind, ...]]:
    """What can happen to a subject, and what it hears: a container's start makes its image used, for instance.

    What happens to tags and to the host is said of images and others.
    """
    match kind:
        case Kind.IMAGE:
            return ("pull", "new", "tag", "untag", "delete"), (Kind.IMAGE, Kind.CONTAINER)
        case Kind.TAG:
            return (), (Kind.IMAGE, Kind.CONTAINER)
        case Kind.CONTAINER:
            happens = ("create", "start", "die", "stop", "update", "rename", "health", "destroy")
            return happens, (Kind.CONTAINER, Kind.IMAGE)  # a moved tag makes it stale
        case Kind.VOLUME | Kind.NETWORK:
            return ("create", "destroy"), (kind, Kind.CONTAINER)
        case Kind.SERVICE:
            return ("create", "update", "scale", "remove"), (kind,)
        case Kind.HOST:
            return (), tuple(Kind)
        case _:
            assert_never(kind)


def constant(value: object) -> FactValue:
    """A param's value: what reads as a duration is one, as a size bytes. Raises ValueError: no param has its type."""
    if isinstance(value, str):
        with suppress(ValueError):
            return duration(value)
        return size(value) if is_size(value) else value
    if isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int) and -_MAX_INT <= value < _MAX_INT:
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    if isinstance(value, list) and all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
        return value if all(isinstance(item, int) for item in value) else [float(item) for item in value]
    if value is None:
        raise ValueError("has no value; one with a comma in it stands in quotes")
    raise ValueError("must be a duration, size, number, text, true, false, or a list of texts or of numbers")


def identifier(name: str) -> str:
    """A name that expressions can use. Raises ValueError: it is none."""
    if not IDENTIFIER.fullmatch(name) or name in _RESERVED:
        raise ValueError("must be a name of letters, digits and _ that an expression can use")
    return name


def _every(value: object) -> timedelta:
    every = duration(value)
    if every < MIN_EVERY:
        raise ValueError("must be at least 5s")
    return every


def _schedule(line: str) -> str:
    _ = Cron(line) if line else None  # which says what is wrong with it
    return line


def _percent(value: object) -> float:
    if isinstance(value, float) and 0 < value < 1:
        raise ValueError(f"is in percent; write {value * 100:g}%, or {value}% if that is meant")
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%?", str(value), re.ASCII)
    if match is None or not 0 < float(match[1]) <= 100:  # noqa: PLR2004 - percent
        raise ValueError("must be above 0 and at most 100, such as 25%")
    return float(match[1])


def _action(value: object) -> object:
    """All three forms as one: ``remove``, ``{remove: }`` and ``{remove: {option: value}}``."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, dict):
        return {name: {} if options is None else options for name, options in value.items()}
    return value


@cache
def _named(options: type[BaseModel]) -> TypeAdapter[dict[str, BaseModel]]:
    """Of an action's options by its name, so that what is wrong with them has its place."""
    return TypeAdapter(dict[str, options])  # type: ignore[valid-type]


def events_of(kind: Kind) -> list[str]:
    """The names of changes that can concern a kind of subject."""
    return [f"{other}.{verb}" for other in hearing(kind)[1] for verb in hearing(other)[0]]


def check_events(kind: Kind, events: Collection[str]) -> None:
    """See that events can concern a kind of subject. Raises ValueError: one of them cannot."""
    heard = events_of(kind)
    for event in events:
        if event not in heard:
            home, _, verb = re.sub(r"[:/ ]", ".", event.lower()).rpartition(".")
            home = home if home in list(Kind) else kind.value  # Docker's own events are named by their verb alone
            meant = near(verb, [each.partition(".")[2] for each in heard if each.startswith(home)], 0.7)
            hint = meant.replace("mean ", f"mean {home}.") or f"; there are {', '.join(heard)}"
            raise ValueError(f"{event} does not concern {kind} policies{hint}")


def _said(value: object) -> object:
    if value is None:
        raise ValueError("has no value; leave it out, or write one")
    return value


# What a file may say, and what an editor is told of that, where a type of Python says less, or more.
_TEXT, _TEXTS = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
_NAMES = {"pattern": f"^{IDENTIFIER.pattern}$", "not": {"enum": list(_RESERVED)}}
_NUMBER, _NUMBERS = {"type": "number"}, {"type": "array", "items": {"type": "number"}}
_CONSTANT = {"anyOf": [_NUMBER, _TEXT, {"type": "boolean"}, _TEXTS, _NUMBERS]}
_DURATION = {**_TEXT, "pattern": f"^(?=.*[1-9]){DURATION[1:]}", "examples": ["24h"]}
_INTERVAL = {**_DURATION, "not": {"pattern": "^(0+[dhm])*0*[1-4]s$"}}
_CRON = {**_TEXT, "pattern": r"^(\s*\S+(\s+\S+){4}\s*)?$", "examples": ["0 3 * * *"]}
_SHARE = {**_TEXT, "pattern": r"^(?=[^%]*[1-9])(0?\d{1,2}(\.\d+)?|100(\.0+)?)%?$"}
_PERCENT = {"anyOf": [{**_NUMBER, "minimum": 1, "maximum": 100}, _SHARE]}
_EXPRESSION = WithJsonSchema({**_TEXT, "maxLength": 2000, "pattern": r"\S"})
_DATE = WithJsonSchema({**_TEXT, "pattern": r"^\d{4}-\d\d-\d\d"})


def _by_name(values: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"type": "object", "propertyNames": _NAMES, "additionalProperties": values})


Identifier = Annotated[str, AfterValidator(identifier)]
_Params = Annotated[dict[Identifier, Annotated[Any, AfterValidator(constant)]], _by_name(_CONSTANT)]
_Condition = Annotated[str | None, BeforeValidator(_said), _EXPRESSION]
_Excusers = Literal["label", "file", "never"]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Trigger(_Shape):
    """When a policy runs; at least one of the three."""

    events: Annotated[list[str], WithJsonSchema(_TEXTS)] = Field(
        [], description="names of changes; judged are the objects that changed and those that depend on them"
    )
    schedule: Annotated[str, AfterValidator(_schedule), WithJsonSchema(_CRON)] = Field(
        "",
        description="a cron line of five fields, in the time zone of the settings; judged are all objects of the "
        "subject",
    )
    every: Annotated[timedelta | None, BeforeValidator(_every), WithJsonSchema(_INTERVAL)] = Field(
        None, description="an interval of at least `5s`; judged are all objects of the subject"
    )

    @model_validator(mode="after")
    def _some(self) -> "Trigger":
        if not (self.events or self.schedule or self.every):
            raise ValueError('needs events, schedule or every, such as {schedule: "0 3 * * *"}')
        return self


class WrittenLimits(_Shape, title="Limits"):
    """How much one run may touch."""

    max_objects: int = Field(20, strict=True, ge=1, description="objects")
    max_percent: Annotated[float, BeforeValidator(_percent), WithJsonSchema(_PERCENT)] = Field(
        25.0, description="of all objects of this kind on the host; one object is always allowed"
    )
    over: Literal["refuse", "take_first"] = Field(
        "refuse",
        description="above a limit: nothing is done, until a person looks, or the first so many in order are, and the "
        "rest in later runs. Objects that turn out to stay make room for the next, but not those whose update failed "
        "and was taken back",
    )


class Case(_Shape):
    """One test of a policy."""

    name: str = ""
    now: Annotated[str, _DATE] = "2026-01-01T00:00:00Z"
    params: _Params = {}
    given: dict[str, Any]
    expect: Literal["pass", "fail", "skip", "unknown", "error", "excused"]
    message: str | None = None


class Exemption(_Shape):
    """One exception as it is written."""

    id: Annotated[str, Field(min_length=1, max_length=100)]
    policies: Annotated[list[str], Field(min_length=1)]
    match: Annotated[str, _EXPRESSION]
    reason: Annotated[str, AfterValidator(str.strip), Field(min_length=1), WithJsonSchema({**_TEXT, "pattern": r"\S"})]
    owner: str = ""
    until: Annotated[str | None, BeforeValidator(_said), _DATE] = None
    effect: Literal["report", "act", "both"] = "both"


class WrittenPolicy(_Shape, title="Policy"):
    """One policy as it is written."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=63, description="in metrics, log and settings")
    title: str = Field("", description="for people")
    description: str = Field("", description="for people")
    remediation: str = Field("", description="for people")
    refs: list[str] = Field([], description="for people; such as `CIS-5.11`")
    tags: list[str] = Field([], description="for people; such as `CIS-5.11`")
    severity: Severity = Field(Severity.MEDIUM, description="how much a finding matters")
    subject: Kind = Field(description="what is judged; decides which facts exist")
    trigger: Trigger = Field(description="when it runs")
    params: _Params = Field({}, description="constants by name, as `params.NAME`; a host may set others")
    gate: _Condition = Field(None, description="looked at once per run; unless it is true, the policy does not run")
    select: _Condition = Field(None, description="which objects the policy is about; the others are `skip`")
    when: Annotated[str, _EXPRESSION] = Field(description="**true is a finding**")
    message: str = Field("", description="one line about the finding")
    mode: Mode = Field(Mode.AUDIT, description="report, act, or neither; `enforce` needs an `action`")
    for_: Annotated[timedelta, BeforeValidator(duration), WithJsonSchema(_DURATION)] = Field(
        default_factory=timedelta,
        alias="for",
        description="how long `when` must have held, while dockwarden watched, before it is a finding; until then it "
        "is pending",
    )
    action: Annotated[dict[str, Any], BeforeValidator(_action)] = Field(
        {}, description="what `enforce` does and `audit` previews"
    )
    limits: WrittenLimits = Field(WrittenLimits.model_construct(), description="how much one run may touch")
    on_unknown: Literal["retry", "report"] = Field(
        "retry",
        description="`retry`: what could not be judged is judged again after each full list, without asking a "
        "registry; `report`: it waits for the policy's trigger",
    )
    order_by: _Condition = Field(
        None, description="what goes first: the lowest value; of the same value, the lowest ID"
    )
    stop_when: _Condition = Field(
        None, description="looked at before each step, with the disk measured anew; true ends the run"
    )
    excusable: Annotated[_Excusers | None, BeforeValidator(_said, json_schema_input_type=_Excusers)] = Field(
        None, description="who may excuse a finding: labels and files, files only, nobody"
    )
    tests: list[Case] = Field(
        [], description="what must come out of made-up objects; `dockwarden check` and `test` run them"
    )

    @model_validator(mode="after")
    def _has_something_to_do(self) -> "WrittenPolicy":
        if self.mode is Mode.ENFORCE and not self.action:
            raise ValueError(NO_ACTION)
        if self.for_ and not (self.trigger.schedule or self.trigger.every):
            raise ValueError("with `for`, the trigger needs schedule or every, or nobody looks when the time has come")
        if "for_" in self.model_fields_set and not self.for_:
            raise ValueError("`for` of 0 has no effect; leave it out")
        return self

    @field_validator("trigger")
    @classmethod
    def _heard(cls, trigger: Trigger, info: ValidationInfo) -> Trigger:
        if kind := info.data.get("subject"):
            check_events(kind, trigger.events)
        return trigger

    @field_validator("action")
    @classmethod
    def _known(cls, action: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if len(action) > 1:
            raise ValueError("one action only")
        verbs: Verbs = info.context or {}
        if (kind := info.data.get("subject")) is None:
            return action
        names = [name for subject, name in verbs if subject is kind]
        for name, options in action.items():
            if name not in names:
                there = f"they have {', '.join(names) or 'none'}; who is told of findings, the settings say"
                raise ValueError(f"{kind} policies have no action {name}{near(name, names, 0.8) or '; ' + there}")
            verb = verbs[kind, name]
            taken = sorted(verb.options.model_fields)
            for option in options.keys() - taken if isinstance(options, dict) else ():
                only = f"only {', '.join(taken)}" if taken else "nor any other"
                raise ValueError(f"{name} of {kind} policies takes no {option}, {only}{near(option, taken)}")
            if verb.needs_for and info.data.get("for_") is not None and not info.data["for_"]:
                raise ValueError(f"{name} of {kind}s needs `for`, how long nobody must have used them, such as 7d")
            named = _named(verb.options)
            return dict(named.dump_python(named.validate_python(action)))
        return action


class File(_Shape):
    """A policy file as it is written."""

    version: int = Field(strict=True, ge=1, le=1, description="version of this format")
    lists: Annotated[dict[Identifier, list[str]], _by_name(_TEXTS)] = Field(
        {}, description="`lists.NAME` in the expressions of **all** files; a name may be given once"
    )
    policies: list[WrittenPolicy] = Field([], description="the policies; names are unique over all files")
    exceptions: list[Exemption] = Field([], description="what is excused, until when, and why")


_KEYS: dict[object, type[BaseModel]] = {
    "policies": WrittenPolicy,
    "trigger": Trigger,
    "limits": WrittenLimits,
    "tests": Case,
    "exceptions": Exemption,
}


def read(data: object, verbs: Verbs) -> tuple[File | None, list[tuple[Path, str]]]:
    """The file, or what is wrong with it: each problem with the path of its key."""
    try:
        return File.model_validate(data, context=verbs), []
    except ValidationError as error:
        return None, list(problems(error))


def problems(error: ValidationError, root: type[BaseModel] = File) -> Iterator[tuple[Path, str]]:
    """What pydantic found, in our words."""
    for fault in error.errors():
        path = tuple(part for part in fault["loc"] if part != "[key]")
        kind, given = fault["type"], fault["input"]
        if kind == "extra_forbidden":
            parent = next((part for part in reversed(path[:-1]) if isinstance(part, str)), None)
            shape = root if parent is None else _KEYS.get(parent)
            hint = _key_hint(str(path[-1]), shape) if shape else ""
            is_rest = given is None and hint[:1] != ","  # of 1,2 in a flow mapping; what is but misspelt has its hint
            yield path, f"unknown key{hint}{'; a value with a comma stands in quotes' if is_rest else ''}"
        elif kind == "enum":
            yield path, one_of(given, re.findall(r"'([^']+)'", fault["ctx"]["expected"]))
        else:
            text = _NAMES_OF_POLICIES if kind == "string_pattern_mismatch" else fault_in_words(fault)
            text = "has no value; write one" if given is None and kind == "string_type" else text
            is_shape = kind in ("list_type", "dict_type", "model_type", "string_type") and path
            example = hints.EXAMPLES.get(str(path[-1])) if path else None
            example = "[no-latest-tag, cis-*]" if len(path) > 1 and path[-1] == "policies" else example
            if isinstance(given, bool):  # `when: true` is only short of its quotes
                example = None
            yield path, f"must be written like {example}" if is_shape and example else text


def _key_hint(key: str, shape: type[BaseModel]) -> str:
    known = [field.alias or name for name, field in shape.model_fields.items()]
    others = [(name, other) for name, other in list(_KEYS.items())[:3] if other is not shape]
    if home := next((name for name, other in others if key in other.model_fields), ""):
        return f"; it belongs below {home}"
    if key in File.model_fields:
        return "; it stands beside policies, where the line begins"
    if meant := next((word for word in known if key in hints.KEYS.get(word, "").split()), ""):
        return f", did you mean {meant}?"
    return near(key, known, 0.75) or f"; there are {', '.join(known)}"

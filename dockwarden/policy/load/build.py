"""From what is written in policy files to compiled policies.

Input: sources, the vocabulary, and what this host overrides. Output: policies; what is wrong is noted in the sources,
what is wrong with the overrides in ``Builder.problems``. Out of bounds: files, YAML, evaluating.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dockwarden import text
from dockwarden.config.source import QUOTE, Path, Source
from dockwarden.model import FactSpec, FactValue, Kind, Limits, Mode, Policy, TriggerSpec, Vocabulary
from dockwarden.policy import document
from dockwarden.policy.cel import Compiler, Program, type_of
from dockwarden.policy.faults import ExpressionError
from dockwarden.policy.rehearse import Part, rehearse

_SCALARS = ("string", "int", "double", "bool", "duration", "timestamp")
_DEAREST_MEASURED_ANEW = 1
_SOFT_TO_HARD = (Mode.OFF, Mode.AUDIT, Mode.ENFORCE)
_PART = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


class Overrides(NamedTuple):
    """What this host says otherwise, by policy.

    ``cap`` is the hardest mode that any policy may have, ``loaded`` the packs and paths that policies come from.
    """

    params: Mapping[str, Mapping[str, object]]
    modes: Mapping[str, Mode]
    triggers: Mapping[str, Mapping[str, object]]
    cap: Mode
    loaded: tuple[str, ...] = ()


class Builder:
    """Builds the policies of some sources, which share their lists."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        verbs: document.Verbs,
        sources: Sequence[Source],
        check_cron: Callable[[str], str],
        host: Overrides,
    ) -> None:
        self.problems: list[str] = []
        self._vocabulary = vocabulary
        self._verbs = verbs
        self._check_cron = check_cron
        self._host = host
        self._sources = sources
        self._used_lists: set[str] = set()
        self._compiler = Compiler(vocabulary, _lists(sources))
        names = _names(sources)
        for key in ("params", "modes", "triggers"):
            for name in getattr(host, key).keys() - names:
                self._refuse(f"{key}.{name}", f"no such policy in {', '.join(host.loaded)}" + text.near(name, names))

    def build(self, source: Source) -> Iterator[Policy]:
        """The policies of one source that can be used."""
        shape, faults = document.read(source.data, self._verbs)
        for path, fault in faults:
            source.refuse(path, fault)
        for path, raw in source.policies():
            self._refuse_cron(source, path, raw)
            params, kind = self._params(raw), raw.get("subject")
            if params is None or kind not in list(Kind):
                continue
            expressions = _Expressions(self._compiler, source, path, Kind(kind), params)
            stop = expressions.conditions.get("stop_when")
            host = self._vocabulary[Kind.HOST]
            for fact in sorted(stop.references if stop else ()):
                if host[fact].cost > _DEAREST_MEASURED_ANEW:
                    source.refuse((*path, "stop_when"), f"{fact} is too dear to be measured before each step", 0)
            if not expressions.failed:
                expressions.rehearse(self._vocabulary[Kind(kind)], host)
                used = expressions.constants()
                self._used_lists |= used
                for key in [key for key in params if f"params.{key}" not in used]:
                    source.refuse((*path, "params", key), f"nothing uses it; write params.{key} where it is meant")
            if shape and not expressions.failed:
                yield self._policy(source, path, shape.policies[int(path[1])], expressions)

    def end(self) -> None:
        """See, after all sources, that every list is used, if there are policies that could use it."""
        for source in self._sources if any(any(each.policies()) for each in self._sources) else ():
            lists = source.data.get("lists")
            for name in lists if isinstance(lists, dict) else ():
                if f"lists.{name}" not in self._used_lists:
                    source.refuse(("lists", name), f"nothing uses it; write lists.{name} where it is meant")

    def _policy(self, source: Source, path: Path, shape: document.Policy, expressions: "_Expressions") -> Policy:
        shape = self._on_this_host(source.at(path), shape)
        trigger, every = shape.trigger, shape.trigger.every.total_seconds() if shape.trigger.every else 0.0
        conditions, message = expressions.conditions, expressions.message
        judging = [program for key, program in conditions.items() if key != "stop_when"]
        used = [*judging, *(part for part in message if not isinstance(part, str))]
        needs = frozenset(name for program in used for name in program.references)
        facts = self._vocabulary[shape.subject]
        action, options = next(iter(shape.action.items()), ("", {}))
        options = dict(options)
        return Policy(
            name=shape.name,
            subject=shape.subject,
            severity=shape.severity,
            mode=min(shape.mode, self._host.cap, key=_SOFT_TO_HARD.index),
            trigger=TriggerSpec(frozenset(trigger.events), trigger.schedule, every),
            when=conditions["when"],
            message=message,
            gate=conditions.get("gate"),
            select=conditions.get("select"),
            for_seconds=shape.for_.total_seconds(),
            action=action,
            owners=frozenset(options.pop("owners", ())),
            unrecoverable=options.pop("unrecoverable", "") == "allow",
            options=options,
            order_by=conditions.get("order_by"),
            stop_when=conditions.get("stop_when"),
            limits=Limits(shape.limits.max_objects, shape.limits.max_percent),
            on_unknown=shape.on_unknown,
            title=shape.title,
            description=shape.description,
            remediation=shape.remediation,
            refs=tuple(shape.refs),
            tags=tuple(shape.tags),
            needs=needs,
            cost=max((facts[name].cost for name in needs), default=0),
            place=f"{source.file}:{source.places[path].line}",
        )

    def _on_this_host(self, raw: Mapping[str, Any], own: document.Policy) -> document.Policy:
        """The policy as if this host's values were written in its file, and refused where they would be there."""
        host = {"mode": ("modes", self._host.modes), "trigger": ("triggers", self._host.triggers)}
        values = {key: given[own.name] for key, (_, given) in host.items() if own.name in given}
        if not values:
            return own
        shape, faults = document.read({"version": 1, "policies": [{**raw, **values}]}, self._verbs)
        for path, fault in faults:
            keys = path[2:3] if path[2:3] and path[2] in values else tuple(values)
            for key in keys:
                self._refuse(".".join(map(str, (host[str(key)][0], own.name, *path[3:]))), fault)
        if shape is None:
            return own
        (merged,) = shape.policies
        if "trigger" in values and merged.trigger.schedule and (reason := self._check_cron(merged.trigger.schedule)):
            self._refuse(f"triggers.{own.name}.schedule", reason)
        return merged

    def _refuse_cron(self, source: Source, path: Path, raw: dict[str, Any]) -> None:
        """See that a written cron line can be used, even where other keys are wrong: all mistakes are told at once."""
        trigger = raw.get("trigger")
        line = trigger.get("schedule") if isinstance(trigger, dict) else None
        if isinstance(line, str) and line and (reason := self._check_cron(line)):
            source.refuse((*path, "trigger", "schedule"), reason)

    def _params(self, raw: dict[str, Any]) -> dict[str, FactValue] | None:
        """A policy's constants with this host's values; None if its own cannot be used, which its shape tells."""
        written = raw.get("params") or {}
        try:
            own = {document.identifier(key): document.constant(value) for key, value in written.items()}
        except (ValueError, AttributeError):
            return None
        name = str(raw.get("name"))
        for key, value in self._host.params.get(name, {}).items():
            try:
                own[key] = _like(own, key, document.constant(value))
            except ValueError as error:
                self._refuse(f"params.{name}.{key}", str(error))
        return own

    def _refuse(self, key: str, text: str) -> None:
        self.problems.append(f"settings {key}: {text}")


class _Expressions:
    """The compiled expressions of one policy, even of one whose other keys are wrong."""

    def __init__(
        self, compiler: Compiler, source: Source, path: Path, kind: Kind, params: Mapping[str, FactValue]
    ) -> None:
        self.failed = False
        self.conditions: dict[str, Program] = {}
        self._starts: dict[Program, int] = {}
        self._compiler = compiler
        self._source = source
        self._path = path
        self._params = params
        raw = source.at(path)
        subjects = {"gate": Kind.HOST, "select": kind, "when": kind, "order_by": kind, "stop_when": Kind.HOST}
        for key, subject in subjects.items():
            if isinstance(raw.get(key), str) and (program := self._program(subject, key, raw[key])):
                self.conditions[key] = program
        for key in (*subjects, "message"):
            if isinstance(raw.get(key), str) and source.is_cut((*path, key)):
                self._refuse(key, f"what follows # is a comment; {QUOTE}, or write the comment above", len(raw[key]))
        message = raw.get("message") or raw.get("name")
        self.message = tuple(self._parts(kind, message)) if isinstance(message, str) else ()

    def constants(self) -> set[str]:
        """The params and lists that are used."""
        parts = [part for part in self.message if not isinstance(part, str)]
        return {name for program in (*self.conditions.values(), *parts) for name in program.constants}

    def rehearse(self, facts: Mapping[str, FactSpec], host: Mapping[str, FactSpec]) -> None:
        """Run everything on made-up subjects, each expression where those that come before it let it."""
        judging = [Part(key, self.conditions[key]) for key in ("select", "when") if key in self.conditions]
        telling = [Part("message", part) for part in self.message if not isinstance(part, str)]
        telling += [Part(key, self.conditions[key]) for key in ("order_by",) if key in self.conditions]
        self._run(judging, telling, facts)
        for key in ("gate", "stop_when"):
            if key in self.conditions:
                self._run([Part(key, self.conditions[key])], [], host)

    def _run(self, conditions: Sequence[Part], others: Sequence[Part], facts: Mapping[str, FactSpec]) -> None:
        if (failed := rehearse(conditions, others, facts)) is None:
            return
        part, error = failed
        risk = next((risk for risk in part.program.risks if re.search(risk.error, error)), None)
        start = self._starts.get(part.program, 0)
        text = f"fails on some objects: {error}"
        self._refuse(part.key, f"{text}; {risk.guard}" if risk else text, start + (risk.at if risk else 0))

    def _parts(self, kind: Kind, text: str) -> Iterator[str | Program]:
        at = 0
        for match in [*_PART.finditer(text), None]:
            between = text[at : match.start() if match else len(text)]
            if loose := re.search(r"\{\{|\}\}", between):
                self._refuse("message", f"{loose[0]} without its other half", at + loose.start())
            if plain := self._plain(kind, between):
                self._refuse("message", plain[1], at + plain[0])
            if between:
                yield re.sub(r"\s+", " ", between)
            if match:
                part = self._program(kind, "message", match[1], match.start(1))
                yield from [part] if part else []
                at = match.end()

    def _plain(self, kind: Kind, text: str) -> tuple[int, str] | None:
        """What in a message looks as if it should be filled in, and is not between {{ and }}."""
        for match in re.finditer(r"[$<{]?[{ ]*([a-z_]+\.[a-z_]+)[} >]*|\{\s*\w+\s*\}|\{%|%[sdv](?!\w)", text):
            if match[1] is None or self._compiler.knows(kind, match[1]):
                meant = match[1] or f"{kind}.name"
                return match.start(), f"'{match[0].strip()}' is printed as it stands; write {{{{ {meant} }}}}"
        return None

    def _program(self, kind: Kind, key: str, text: str, start: int = 0) -> Program | None:
        try:
            wanted = _SCALARS if key in ("message", "order_by") else ("bool",)
            program = self._compiler.compile(kind, self._params, text, wanted)
            if program.doubts:
                raise ExpressionError(*program.doubts)
            self._starts[program] = start
            return program
        except ExpressionError as error:
            lines = text.split("\n")
            for line, column, reason in error.problems:
                offset = sum(len(part) + 1 for part in lines[: line - 1]) + column - 1
                self._refuse(key, reason, start + offset)
        return None

    def _refuse(self, key: str, text: str, offset: int) -> None:
        self.failed = True
        self._source.refuse((*self._path, key), text, offset)


def _like(own: Mapping[str, FactValue], key: str, value: FactValue) -> FactValue:
    """This host's value of a param, of the same type as the policy's own."""
    if key not in own:
        raise ValueError(f"no such param{text.near(key, own) or '; there are: ' + (', '.join(own) or 'none')}")
    wanted, given = type_of(own[key]), type_of(value)
    if (wanted, given) == ("double", "int"):
        return float(str(value))
    if given != wanted and not (value == [] and wanted.startswith("list")):
        raise ValueError(f"is {given}, must be {wanted} as in the policy")
    return value


def _names(sources: Sequence[Source]) -> set[str]:
    first: dict[str, str] = {}
    for source in sources:
        for path, raw in source.policies():
            name = str(raw.get("name", ""))
            if name and name in first:
                source.refuse((*path, "name"), f"is the name of another policy, in {first[name]}")
            first.setdefault(name, f"{source.file}:{source.places[path].line}")
    return set(first)


def _lists(sources: Sequence[Source]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for source in sources:
        raw = source.data.get("lists") if isinstance(source.data, dict) else None
        for name, items in raw.items() if isinstance(raw, dict) else ():
            texts = [text for text in items if isinstance(text, str)] if isinstance(items, list) else []
            if lists.get(name, texts) != texts:
                source.refuse(("lists", name), "is defined differently in another file")
            if document.IDENTIFIER.fullmatch(name):
                lists[name] = texts
    return lists

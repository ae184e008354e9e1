"""From what is written in policy files to compiled policies.

Input: sources, the vocabulary, and what this host's settings say instead. Output: policies and exceptions; what is
wrong is noted in the sources, what is wrong with the settings in ``Builder.problems``. Out of bounds: files, YAML,
evaluating.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from dockwarden import text
from dockwarden.config.settings import Settings
from dockwarden.config.source import Path, Source
from dockwarden.model.policies import FactValue, Limits, Policy, PolicyException, Trial, TriggerSpec, Values, Vocabulary
from dockwarden.model.words import Kind, Mode, Severity
from dockwarden.policy import document, snapshots
from dockwarden.policy.cel import Compiler, type_of
from dockwarden.policy.evaluate import COMES_WITH
from dockwarden.policy.excuses import read_until
from dockwarden.policy.load.expressions import Expressions
from dockwarden.policy.load.trials import trials, uncovered

_DEAREST_MEASURED_ANEW = 1
_AS_WRITTEN = ("name", "subject", "severity", "on_unknown", "title", "description", "remediation")
_GRAVE = (Severity.CRITICAL, Severity.HIGH)
_SOFT_TO_HARD = (Mode.OFF, Mode.AUDIT, Mode.ENFORCE)
# By a policy's key, the setting that says by its name what holds on this host.
_SETTINGS = {"mode": "modes", "trigger": "triggers", "limits": "limits"}


@dataclass(eq=False)
class Builder:
    """``loaded``: the packs and paths that the sources come from; ``warnings``: what is no error and to be known."""

    vocabulary: Vocabulary
    verbs: document.Verbs
    sources: Sequence[Source]
    host: Settings
    loaded: Sequence[str]

    def __post_init__(self) -> None:
        vocabulary, sources, host = self.vocabulary, self.sources, self.host
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._used_lists: set[str] = set()
        self._shapes: list[tuple[Source, document.File]] = []
        self.trials: list[Trial] = []
        self.uncovered: list[str] = []
        # Many tests read the same.
        self._book = cache(lambda file: snapshots.Book(snapshots.read(file, snapshots.Snapshot), vocabulary))
        names = _names(sources)
        for key in ("params", *_SETTINGS.values()):
            for name in sorted(getattr(host, key).keys() - names):
                self._refuse((key, name), f"no such policy in {', '.join(self.loaded)}" + text.near(name, names))
        written = [(source.file, path, raw) for source in sources for path, raw in source.policies()]
        self._written = {str(raw.get("name")): raw for _, _, raw in written}
        self._params = {(file, path): self._params_of(raw) for file, path, raw in written}
        self._compiler = Compiler(vocabulary, _lists(sources), filter(None, self._params.values()))

    def build(self, source: Source, tests: str = "") -> Iterator[Policy]:
        """The policies of one source that can be used; ``tests``: ``read``, or ``cover`` to see what they leave out."""
        shape, faults = document.read(source.data, self.verbs)
        self._shapes += [(source, shape)] if shape else []
        for path, fault in faults:
            source.refuse(path, fault)
        for path, raw in source.policies():
            expressions = self._expressions(source, path, raw)
            if shape is None or expressions is None or expressions.failed:
                continue
            own = shape.policies[int(path[1])]
            policy = self._policy(source, path, own, expressions)
            found = list(trials(source, path, own, policy, self.vocabulary, self._book)) if tests else []
            self.trials += found
            if tests == "cover" and not source.problems:
                self.uncovered += uncovered(policy, found, self._compiler)
            yield policy

    def _expressions(self, source: Source, path: Path, raw: Mapping[str, Any]) -> Expressions | None:
        """A policy's expressions, held to what is known here; None where its subject or its params are no use."""
        params, kind = self._params[source.file, path], raw.get("subject")
        if params is None or kind not in list(Kind):
            return None
        expressions = Expressions(self._compiler, source, path, Kind(kind), params)
        host, stop = self.vocabulary[Kind.HOST], expressions.conditions.get("stop_when")
        for fact in sorted(stop.references if stop else ()):
            if host[fact].cost > _DEAREST_MEASURED_ANEW:
                text = f"{fact} is too dear to be measured before each step; host.disk_free is not"
                source.refuse((*path, "stop_when"), text, 0)
        if expressions.failed:
            return expressions
        expressions.rehearse(self.vocabulary[Kind(kind)], host)
        used, place = expressions.constants(), f"{source.file}:{source.place(path).line}"
        idle = [] if raw.get("action") else sorted({"order_by", "stop_when", "limits"} & raw.keys())
        remarks = [*expressions.remarks(), *(f"without an action {key} has no effect" for key in idle)]
        self.warnings += [f"{place} {raw.get('name')}: {text}" for text in remarks]
        self._used_lists |= used
        for key in [key for key in params if f"params.{key}" not in used]:
            source.refuse((*path, "params", key), f"nothing uses it; write params.{key} where it is meant")
        return expressions

    def exceptions(self, now: float) -> Iterator[PolicyException]:
        """The exceptions of all sources that can be used, after their policies."""
        ids: dict[str, str] = {}
        found = [(source, index, shape) for source, file in self._shapes for index, shape in enumerate(file.exceptions)]
        for source, index, shape in found:
            path: Path = ("exceptions", index)
            place = f"{source.file}:{source.place(path).line}"
            if first := ids.get(shape.id):
                source.refuse((*path, "id"), f"is the id of another exception, in {first}")
            ids.setdefault(shape.id, place)
            names, kind = self._about(source, path, shape)
            until = self._until(source, path, shape, now)
            if kind is None:
                continue
            expressions = Expressions(self._compiler, source, path, kind, {})
            if not expressions.failed:
                expressions.rehearse(self.vocabulary[kind], self.vocabulary[Kind.HOST])
            if not expressions.failed:
                self._used_lists |= expressions.constants()
                told, acted = shape.effect != "act", shape.effect != "report"
                match = expressions.conditions["match"]
                yield PolicyException(shape.id, names, match, shape.reason, shape.owner, until, told, acted, place)

    def _about(self, source: Source, path: Path, shape: document.Exemption) -> tuple[frozenset[str], Kind | None]:
        """The policies that it names, but for those that nobody may excuse, and their subject."""
        names: set[str] = set()
        barred = {name for name, raw in self._written.items() if raw.get("excusable") == "never"}
        for index, pattern in enumerate(shape.policies):
            found = {name for name in self._written if fnmatchcase(name, pattern)}
            if not found:
                known = ", ".join(sorted(self._written)) or "none, so name the files or packs that have them, too"
                hint = text.near(pattern, self._written) or f"; there are {known}"
                source.refuse((*path, "policies", index), f"no policy is called {pattern}{hint}")
            if found and found <= barred:
                why = f"{', '.join(sorted(found))} says that nobody may excuse it (excusable: never)"
                source.refuse((*path, "policies", index), why)
            if pattern in found and self.host.modes.get(pattern, self._written[pattern].get("mode")) == Mode.OFF:
                self.warnings.append(f"{source.file}:{source.place(path).line} exception {shape.id}: {pattern} is off")
            names |= found
        kinds = {self._written[name].get("subject") for name in names}
        if len(kinds) > 1:
            subjects = ", ".join(sorted(map(str, kinds)))
            source.refuse((*path, "policies"), f"must be about one subject; these are about {subjects}")
        (kind,) = kinds if len(kinds) == 1 else (None,)
        return frozenset(names - barred), Kind(kind) if kind in list(Kind) else None

    def _until(self, source: Source, path: Path, shape: document.Exemption, now: float) -> float | None:
        if shape.until is None:
            return None
        try:
            until = read_until(shape.until, self.host.schedule.zone)
        except ValueError:
            source.refuse((*path, "until"), "must be a date or a time, such as 2027-03-31 or 2027-03-31T12:00:00Z")
            return None
        if until < now:
            told = f"exception {shape.id}: it expired on {shape.until} and excuses nothing"
            self.warnings.append(f"{source.file}:{source.place(path).line} {told}")
        return until

    def end(self) -> None:
        """See, after all sources, that every list is used, if there are policies that could use it."""
        for source in self.sources if any(any(each.policies()) for each in self.sources) else ():
            lists = source.data.get("lists")
            for name in lists if isinstance(lists, dict) else ():
                if f"lists.{name}" not in self._used_lists:
                    source.refuse(("lists", name), f"nothing uses it; write lists.{name} where it is meant")

    def _policy(self, source: Source, path: Path, shape: document.WrittenPolicy, expressions: Expressions) -> Policy:
        shape = self._on_this_host(source.at(path), shape)
        trigger, every = shape.trigger, shape.trigger.every.total_seconds() if shape.trigger.every else 0.0
        conditions = expressions.conditions
        used = [*(program for key, program in conditions.items() if key != "stop_when"), *expressions.told]
        needs = frozenset(name for program in used for name in program.references)
        needs |= {COMES_WITH[name] for name in needs - {"registry.state"} if name in COMES_WITH}  # no registry is asked
        facts = self.vocabulary[shape.subject]
        action, options = next(iter(shape.action.items()), ("", {}))
        options = dict(options)
        limits = shape.limits
        own: dict[str, Any] = {name: getattr(shape, name) for name in _AS_WRITTEN} | conditions
        return Policy(
            **own,
            mode=min(shape.mode, self.host.allow, key=_SOFT_TO_HARD.index),
            trigger=TriggerSpec(frozenset(trigger.events), trigger.schedule, every),
            message=expressions.message,
            for_seconds=shape.for_.total_seconds(),
            action=action,
            owners=frozenset(options.pop("owners", ())),
            unrecoverable=options.pop("unrecoverable", "") == "allow",
            options=options,
            limits=Limits(limits.max_objects, limits.max_percent, takes_first=limits.over == "take_first"),
            protect=self.host.protect.by_kind(),
            excusable=shape.excusable or ("file" if shape.severity in _GRAVE else "label"),
            refs=tuple(shape.refs),
            tags=tuple(shape.tags),
            needs=needs,
            cost=max((facts[name].cost for name in needs), default=0),
            place=f"{source.file}:{source.places[path].line}",
        )

    def _on_this_host(self, raw: Mapping[str, Any], own: document.WrittenPolicy) -> document.WrittenPolicy:
        """The policy as if this host's values were written in its file, and refused where they would be there."""
        name, host, values = own.name, self.host, dict[str, Any]()
        if name in host.modes:
            values["mode"] = host.modes[name]
        if name in host.triggers:  # as a whole
            values["trigger"] = host.triggers[name].model_dump(exclude_unset=True)
        if name in host.limits:  # what is left out is as the policy has it
            values["limits"] = (raw.get("limits") or {}) | host.limits[name].model_dump(exclude_unset=True)
        if not values:
            return own
        shape, faults = document.read({"version": 1, "policies": [{**raw, **values}]}, self.verbs)
        for path, fault in faults:
            keys = path[2:3] if path[2:3] and path[2] in values else tuple(values)
            for key in keys:
                self._refuse((_SETTINGS[str(key)], name, *path[3:]), fault)
        if shape is None:
            return own
        (merged,) = shape.policies
        return merged

    def _params_of(self, raw: dict[str, Any]) -> dict[str, FactValue] | None:
        """A policy's constants with this host's values; None if its own cannot be used, which its shape tells."""
        written = raw.get("params") or {}
        try:
            own = {document.identifier(key): document.constant(value) for key, value in written.items()}
        except (ValueError, AttributeError):
            return None
        name = str(raw.get("name"))
        for key, value in self.host.params.get(name, {}).items():
            try:
                own[key] = _like(own, key, document.constant(value))
            except ValueError as error:
                self._refuse(("params", name, key), str(error))
        return own

    def _refuse(self, path: Path, text: str) -> None:
        self.problems.append(self.host.problem(path, text))


def _like(own: Values, key: str, value: FactValue) -> FactValue:
    """This host's value of a param, of the same type as the policy's own."""
    if key not in own:
        raise ValueError(f"no such param{text.near(key, own) or '; there are: ' + (', '.join(own) or 'none')}")
    wanted, given = type_of(own[key]), type_of(value)
    if (wanted, given) == ("double", "int"):
        return float(str(value))
    if given != wanted and not (value == [] and wanted.startswith("list")):
        raise ValueError(f"is {given}, must be {wanted} as in the policy, such as {text.words(own[key])}")
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

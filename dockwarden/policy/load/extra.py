"""From what is written beside policies: their exceptions, and their tests.

Input: shapes, compiled policies, the vocabulary. Output: exceptions and trials; what is wrong is noted in the sources.
Out of bounds: whether a finding is excused, running tests.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from fnmatch import fnmatchcase
from pathlib import Path as FilePath
from typing import Any

from dockwarden.config.source import Path, Source
from dockwarden.errors import ConfigError
from dockwarden.model import Facts, FactValue, Kind, Mode, Policy, PolicyException, Trial, Vocabulary
from dockwarden.policy import document, hints, snapshots, trial
from dockwarden.policy.cel import Compiler, type_of
from dockwarden.policy.excuses import read_until
from dockwarden.policy.load.expressions import Expressions
from dockwarden.text import near

_FROM = ("from", "object")
_Reader = Callable[[FilePath], snapshots.Book]


@dataclass(eq=False)
class Exceptions:
    """``written``: all policies as they are written, by name."""

    compiler: Compiler
    vocabulary: Vocabulary
    written: Mapping[str, dict[str, Any]]
    zone: tzinfo | None
    now: float
    warnings: list[str] = field(default_factory=list)
    lists: set[str] = field(default_factory=set)
    _ids: dict[str, str] = field(default_factory=dict)

    def build(self, source: Source, shapes: Sequence[document.Exemption]) -> Iterator[PolicyException]:
        """The exceptions of one source that can be used."""
        for index, shape in enumerate(shapes):
            path: Path = ("exceptions", index)
            place = f"{source.file}:{source.place(path).line}"
            if first := self._ids.get(shape.id):
                source.refuse((*path, "id"), f"is the id of another exception, in {first}")
            self._ids.setdefault(shape.id, place)
            names, kind = self._about(source, path, shape)
            until = self._until(source, path, shape)
            if kind is None:
                continue
            expressions = Expressions(self.compiler, source, path, kind, {})
            if not expressions.failed:
                expressions.rehearse(self.vocabulary[kind], self.vocabulary[Kind.HOST])
            if not expressions.failed:
                self.lists |= expressions.constants()
                told, acted = shape.effect != "act", shape.effect != "report"
                match = expressions.conditions["match"]
                yield PolicyException(shape.id, names, match, shape.reason, shape.owner, until, told, acted, place)

    def _about(self, source: Source, path: Path, shape: document.Exemption) -> tuple[frozenset[str], Kind | None]:
        """The policies that it names, but for those that nobody may excuse, and their subject."""
        names: set[str] = set()
        barred = {name for name, written in self.written.items() if written.get("excusable") == "never"}
        for index, pattern in enumerate(shape.policies):
            found = {name for name in self.written if fnmatchcase(name, pattern)}
            if not found:
                known = ", ".join(sorted(self.written)) or "none, so name the files or packs that have them, too"
                hint = near(pattern, self.written) or f"; there are {known}"
                source.refuse((*path, "policies", index), f"no policy is called {pattern}{hint}")
            if found and found <= barred:
                text = f"{', '.join(sorted(found))} says that nobody may excuse it (excusable: never)"
                source.refuse((*path, "policies", index), text)
            if pattern in found and self.written[pattern].get("mode") == Mode.OFF:
                self.warnings.append(f"{source.file}:{source.place(path).line} exception {shape.id}: {pattern} is off")
            names |= found
        kinds = {self.written[name].get("subject") for name in names}
        if len(kinds) > 1:
            subjects = ", ".join(sorted(map(str, kinds)))
            source.refuse((*path, "policies"), f"must be about one subject; these are about {subjects}")
        (kind,) = kinds if len(kinds) == 1 else (None,)
        return frozenset(names - barred), Kind(kind) if kind in list(Kind) else None

    def _until(self, source: Source, path: Path, shape: document.Exemption) -> float | None:
        if shape.until is None:
            return None
        try:
            until = read_until(shape.until, self.zone)
        except ValueError:
            source.refuse((*path, "until"), "must be a date or a time, such as 2027-03-31 or 2027-03-31T12:00:00Z")
            return None
        if until < self.now:
            text = f"exception {shape.id}: it expired on {shape.until} and excuses nothing"
            self.warnings.append(f"{source.file}:{source.place(path).line} {text}")
        return until


def trials(
    source: Source, path: Path, shape: document.WrittenPolicy, policy: Policy, vocabulary: Vocabulary, book: _Reader
) -> Iterator[Trial]:
    """A policy's tests; ``book``: reads a snapshot."""
    facts, own = vocabulary[policy.subject], shape.params
    for index, case in enumerate(shape.tests):
        where: Path = (*path, "tests", index)
        given = _recorded(source, where, case.given, policy.subject, facts, book)
        if "now" in case.model_fields_set:
            given.pop("now", None)
        for name, value in case.given.items():
            try:
                if name in _FROM:
                    continue
                if name not in facts:
                    raise ValueError(hints.unknown(name, list(facts), vocabulary))
                given[name] = trial.read_fact(facts[name], value)
            except ValueError as error:
                source.refuse((*where, "given", name), str(error))
        try:
            given.setdefault("now", trial.read_time(case.now))
        except ValueError as error:
            source.refuse((*where, "now"), str(error))
        for name, value in case.params.items():
            if name not in own or type_of(own[name]) != type_of(value):
                wanted = f"must be {type_of(own[name])} as in the policy" if name in own else "no such param"
                source.refuse((*where, "params", name), wanted)
        place = f"{source.file}:{source.place(where).line}"
        params = {**own, **case.params}
        yield Trial(policy.name, case.name or str(index + 1), place, given, params, case.expect, case.message)


def _recorded(
    source: Source, where: Path, given: Mapping[str, object], kind: Kind, facts: Iterable[str], book: _Reader
) -> dict[str, FactValue]:
    """The facts of a snapshot's object, where a test begins with one."""
    file, named = given.get("from"), given.get("object")
    if file is None and named is None:
        return {}
    if not isinstance(file, str) or not isinstance(named, str):
        text = "`from` names a snapshot and `object` one of its objects, such as container/web"
        source.refuse((*where, "given", "object" if isinstance(file, str) else "from"), text)
        return {}
    try:
        host = book(FilePath(source.file).parent / file)
        ref = host.find(named)
        if ref.kind is not kind:
            raise ValueError(f"{named} is no {kind}, which the policy is about")
        return host.facts(ref, facts)
    except (ConfigError, ValueError) as error:
        key = "from" if isinstance(error, ConfigError) else "object"
        source.refuse((*where, "given", key), str(error))
        return {}


def uncovered(policy: Policy, cases: Sequence[Trial], compiler: Compiler) -> Iterator[str]:
    """What the tests of a policy leave untried: outcomes, and operands that never made the difference."""

    def value(leaf: str, case: Trial) -> object:
        return compiler.compile(policy.subject, case.params, leaf).evaluate(Facts(dict(case.given))).value

    missing = {"fail", "pass"} - {case.expect for case in cases}
    for word in sorted(missing):
        yield f"{policy.place} {policy.name}: no test expects {word}"
    for key, program in (("select", policy.select), ("when", policy.when)):
        if program is None:
            continue
        whole = trial.operands(program.source)
        leaves = {leaf.source for leaf in whole.leaves()}
        values = [{leaf: value(leaf, case) for leaf in leaves} for case in cases]
        for leaf in trial.undecided(whole, values):
            yield f"{policy.place} {policy.name}: {key}: no test turns on `{leaf}`"

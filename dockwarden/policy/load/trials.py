"""From the tests written beside policies to trials.

Input: shapes, compiled policies, the vocabulary. Output: trials, and what they leave untried; what is wrong is noted in
the sources. Out of bounds: running tests.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath

from dockwarden.config.source import Path, Source
from dockwarden.errors import ConfigError
from dockwarden.model import Facts, FactValue, Kind, Policy, Trial, Vocabulary
from dockwarden.policy import document, hints, snapshots, trial
from dockwarden.policy.cel import Compiler, type_of

_FROM = ("from", "object")
_Reader = Callable[[FilePath], snapshots.Book]


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

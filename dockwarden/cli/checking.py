"""Commands about settings and policies that need no engine: check, test, facts, schema.

Input: options, files. Output: verdicts, tables, schemas. Out of bounds: what makes a file right or wrong.
"""

import argparse
import fnmatch
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwarden.cli import a_path
from dockwarden.cli.output import CI_FORMATS, add_output, emit, table
from dockwarden.config.files import GOLDEN, content
from dockwarden.config.packs import PACKS
from dockwarden.errors import ConfigError, UsageError
from dockwarden.text import CONFIG, FAILED, OK, because, counted, near, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dockwarden.config.settings import Settings
    from dockwarden.model import PolicySet
    from dockwarden.policy.trial import Tried


_HANDED_OVER = Path("/run/credentials")
_AS_WRITTEN: dict[str, Any] = {"params": {}, "modes": {}, "triggers": {}, "limits": {}}
"""Instead of what this host's settings have for its own policies."""
_COSTS = ("inventory", "inspect", "disk usage", "registry")


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    paths = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    about = "packs, policy files or folders instead of the configured ones; - is standard input"
    paths.add_argument("paths", nargs="*", type=_a_path, metavar="PATH", help=about)
    check = commands.add_parser("check", parents=[common, paths], help="validate settings and policies")
    check.add_argument(
        "--host", action="store_true", help="also ask the engine, and name exceptions that match nothing on it"
    )
    add_output(check, *CI_FORMATS)
    check.set_defaults(run=_check)
    test = commands.add_parser("test", parents=[common, paths], help="run the policies' own tests")
    test.add_argument(
        "--coverage", action="store_true", help="list policies, and parts of conditions, that no test covers"
    )
    test.add_argument("--write", action="store_true", help="rewrite golden files with what is found now")
    add_output(test, *CI_FORMATS)
    test.set_defaults(run=_test)
    facts = commands.add_parser("facts", help="the vocabulary of policies, with types and cost")
    facts.add_argument(
        "subject", nargs="?", metavar="SUBJECT", help="image, tag, container, volume, network, service or host"
    )
    add_output(facts)
    facts.set_defaults(run=_facts)
    schema = commands.add_parser("schema", help="JSON Schema for editors")
    schema.add_argument("what", nargs="?", choices=("settings", "policies"), default="policies")
    schema.set_defaults(run=_schema)


def _a_path(text: str) -> str:
    a_path(text)
    return text  # as it was written, also for messages


def _check(options: argparse.Namespace) -> int:
    if options.output == "table":
        policies, warnings = _checked(options)
        print(*warnings, sep="\n", end="\n" if warnings else "", file=sys.stderr)
        words = f"{counted(len(policies.policies), 'policy')} in {counted(len(policies.files), 'file')}"
        print(f"{words} {'is' if len(policies.policies) == 1 else 'are'} fine (sha256 {policies.sha256[:12]})")
        return OK
    from dockwarden.cli import formats

    named, wrong = {}, []
    try:
        policies, warnings = _checked(options)
    except ConfigError as error:
        verdicts = wrong = [formats.of_problem(problem) for problem in error.problems]
    else:
        named = {policy.name: policy for policy in policies.policies}
        verdicts = [formats.of_problem(text, "warning") for text in warnings]
        verdicts += [formats.Verdict(name, "pass", "info", name, "", each.place) for name, each in named.items()]
    if options.output in CI_FORMATS:
        formats.write(options.output, verdicts, named.values())
    elif not emit(options.output, [verdict.row() for verdict in verdicts]):
        rows = [(verdict.status, verdict.name, verdict.place, verdict.message) for verdict in verdicts]
        table(("RESULT", "NAME", "PLACE", "MESSAGE"), rows, output=options.output)
    return CONFIG if wrong else OK


def _is_later(file: Path) -> bool:
    """Whether it is one that systemd hands over to a unit, and takes away with the process."""
    return _HANDED_OVER in file.parents and not file.parent.exists()


def _check_files(chosen: "Settings") -> list[Path]:
    """Read the files that the settings name; returned are those that are not there yet. Raises ConfigError."""
    access, routes = chosen.web.config_file, chosen.notify.routes
    named = (access, *(route.url_file for route in routes.values()))
    later = [file for file in named if file and _is_later(file)]
    if access and access not in later:
        from dockwarden.web.config import read_access

        read_access(access)
    if routes:
        from dockwarden.sinks.notify import open_routes

        open_routes({name: route for name, route in routes.items() if route.url_file not in later}, chosen.problem)
    return later


def _of_registries(chosen: "Settings") -> "Iterator[str]":
    """What may be meant otherwise, and what cannot be read of their files, without which the daemon goes on as well."""
    from dockwarden.reference import DEFAULT_REGISTRY, hub_elsewhere

    for host in chosen.registries if DEFAULT_REGISTRY not in chosen.registries else ():
        if told := hub_elsewhere(host):
            yield chosen.problem(("registries", host), told)
    for host, key in ((host, key) for host in chosen.registries for key in ("password_file", "ca_file")):
        file = getattr(chosen.registries[host], key)
        try:
            if file and not _is_later(file):
                content(file)
        except OSError as error:
            yield chosen.problem(("registries", host, key), f"{file}: {because(error)}")


def _checked(options: argparse.Namespace) -> "tuple[PolicySet, list[str]]":
    """The policies, and what is worth saying of them. Raises ConfigError for what is wrong."""
    from dockwarden.config import settings
    from dockwarden.pipeline import loading
    from dockwarden.policy.trial import attempts

    chosen = settings.read_settings(options.config)
    routes = {} if options.paths else chosen.notify.routes
    later = _check_files(chosen)
    if options.paths:  # golden files among them are those of `test`, as in a folder
        paths = [path for path in options.paths if not (path.endswith(GOLDEN) and Path(path).is_file())]
        chosen = chosen.model_copy(update={"policies": paths, **_AS_WRITTEN})
    policies = loading.load_policies(chosen, "read")
    if failed := [tried for tried in attempts(policies) if tried.wrong]:
        raise ConfigError(*(f"{each.place} {each.policy}: test {each.name}: {each.wrong}" for each in failed))
    warnings = [*policies.warnings, *(f"{file}: not looked at, it is there only while the unit runs" for file in later)]
    warnings += [] if options.paths else _of_registries(chosen)
    names = [policy.name for policy in policies.policies]
    warnings += [
        chosen.problem(("notify", "routes", name, "policies"), f"{glob} fits no policy{near(glob, names)}")
        for name, route in routes.items()
        for glob in route.policies
        if not fnmatch.filter(names, glob)
    ]
    if options.paths and not policies.files:
        warnings.append("no policies are there: golden files are what `dockwarden test` reads")
    if options.host:
        from dockwarden.oneshot import look

        used = {name for result in look.scan(chosen, policies)[1] for name in result.excuse.ids}
        idle = [exception for exception in policies.exceptions if exception.id not in used]
        warnings += [f"{each.place} exception {each.id} matches nothing on this host" for each in idle]
    return policies, warnings


def _test(options: argparse.Namespace) -> int:
    from dockwarden.config import settings
    from dockwarden.config.files import golden, is_golden
    from dockwarden.pipeline import loading
    from dockwarden.policy.trial import attempts

    chosen = settings.read_settings(options.config)
    files = golden(options.paths or [str(path) for path in chosen.policies if path not in PACKS])
    paths = [path for path in options.paths if not is_golden(path)]
    update = {"policies": paths} if paths else {}
    chosen = chosen.model_copy(update={**update, **_AS_WRITTEN})
    policies = loading.load_policies(chosen, "cover" if options.coverage else "read")
    tried = attempts(policies)
    for file in files:
        tried += _golden(chosen, policies, file, write=options.write)
    rows = [{"policy": each.policy, "test": each.name, "result": each.result, "wrong": each.wrong} for each in tried]
    if options.output in CI_FORMATS:
        _write_tried(options.output, tried, policies)
    elif not emit(options.output, rows, "policy"):
        for each in tried:
            why = f": {each.wrong}" if each.wrong else ""
            print(printable(f"{'FAILED' if each.wrong else 'ok'}  {each.policy}: test {each.name}{why}"))
        print(*policies.uncovered, sep="\n", end="\n" if policies.uncovered else "")
    failed = sum(bool(each.wrong) for each in tried)
    sums = f"{counted(len(tried), 'test')} of {counted(len(policies.policies), 'policy')}, {failed} failed"
    print(sums, file=sys.stderr)
    return FAILED if failed else OK


def _write_tried(form: str, tried: "Sequence[Tried]", policies: "PolicySet") -> None:
    from dockwarden.cli import formats

    severities = {policy.name: policy.severity.value for policy in policies.policies}
    verdicts = [
        formats.Verdict(
            rule=each.policy,
            status="fail" if each.wrong else "pass",
            severity=severities.get(each.policy, "medium"),
            name=each.name,
            message=each.wrong,
            place=each.place,
        )
        for each in tried
    ]
    formats.write(form, verdicts, policies.policies)


def _golden(chosen: "Settings", policies: "PolicySet", file: Path, *, write: bool) -> "Iterator[Tried]":
    from dockwarden.oneshot import golden

    wanted = golden.load(file)
    found = golden.said(chosen, policies, file.parent / wanted.snapshot)
    if write:
        file.write_text(golden.text(wanted, policies, found))
        print(f"{file}: written", file=sys.stderr)
        wanted = golden.load(file)
    return golden.compare(file, wanted, policies, found)


def _facts(options: argparse.Namespace) -> int:
    from dockwarden.inventory.facts import VOCABULARY
    from dockwarden.model import Kind

    kinds = [kind.value for kind in Kind]
    if options.subject is not None and options.subject not in kinds:
        raise UsageError(f"no such subject {options.subject!r}; there are {', '.join(kinds)}")
    rows = [
        (kind.value, spec.name, spec.type, _COSTS[spec.cost], spec.meaning)
        for kind in Kind
        if options.subject in (None, kind.value)
        for spec in VOCABULARY[kind].values()
    ]
    header = ("subject", "name", "type", "cost", "meaning")
    if not emit(options.output, [dict(zip(header, row, strict=True)) for row in rows]):
        table([word.upper() for word in header], rows, output=options.output)
    return OK


def _schema(options: argparse.Namespace) -> int:
    from dockwarden.actions.table import VERBS
    from dockwarden.config import settings
    from dockwarden.policy import schema

    shape = settings.schema() if options.what == "settings" else schema.schema(VERBS)
    print(json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **shape}, indent=2))
    return OK

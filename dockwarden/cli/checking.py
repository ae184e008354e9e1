"""Commands about settings and policies that need no engine: check, facts, schema."""

import argparse
import json
import sys
from typing import Any

from dockwarden.cli.output import table

_COSTS = ("inventory", "inspect", "disk usage", "registry")


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this group's commands to the parser."""
    check = commands.add_parser("check", parents=[common], help="validate settings and policies")
    check.add_argument(
        "paths", nargs="*", metavar="PATH", help="packs, policy files or folders instead of the configured ones"
    )
    check.set_defaults(run=_check)
    facts = commands.add_parser("facts", help="the vocabulary of policies, with types and cost")
    facts.add_argument("subject", nargs="?", metavar="SUBJECT", help="image, tag, container, volume, network or host")
    facts.add_argument("-o", "--output", choices=("table", "json"), default="table")
    facts.set_defaults(run=_facts)
    schema = commands.add_parser("schema", help="JSON Schema for editors")
    schema.add_argument("what", nargs="?", choices=("settings", "policies"), default="policies")
    schema.set_defaults(run=_schema)


def _check(options: argparse.Namespace) -> int:
    from dockwarden import app
    from dockwarden.config import settings
    from dockwarden.sinks.notify import open_routes
    from dockwarden.web.config import read_access

    chosen = settings.read_settings(options.config)
    if chosen.web.config_file:
        read_access(chosen.web.config_file)
    open_routes(chosen.notify.routes)
    if options.paths:
        chosen = chosen.model_copy(update={"policies": options.paths, "params": {}, "modes": {}, "triggers": {}})
    policies = app.load_policies(chosen)
    print(f"{len(policies.policies)} policies in {len(policies.files)} files are fine (sha256 {policies.sha256[:12]})")
    return 0


def _facts(options: argparse.Namespace) -> int:
    from dockwarden.inventory.facts import VOCABULARY
    from dockwarden.model import Kind

    kinds = [kind.value for kind in Kind]
    if options.subject is not None and options.subject not in kinds:
        print(f"dockwarden facts: no such subject {options.subject!r}; there are {', '.join(kinds)}", file=sys.stderr)
        return 2
    rows = [
        (kind.value, spec.name, spec.type, _COSTS[spec.cost], spec.meaning)
        for kind in Kind
        if options.subject in (None, kind.value)
        for spec in VOCABULARY[kind].values()
    ]
    header = ("subject", "name", "type", "cost", "meaning")
    if options.output == "json":
        json.dump([dict(zip(header, row, strict=True)) for row in rows], sys.stdout, indent=2)
        print()
    else:
        table([word.upper() for word in header], rows)
    return 0


def _schema(options: argparse.Namespace) -> int:
    from dockwarden.actions.table import VERBS
    from dockwarden.config.settings import Settings
    from dockwarden.policy import schema

    shape = Settings.model_json_schema() if options.what == "settings" else schema.schema(VERBS)
    json.dump(shape, sys.stdout, indent=2)
    print()
    return 0

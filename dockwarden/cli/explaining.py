"""The command that tells all about one object or one policy on one screen: explain."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dockwarden.cli.output import lines, plain
from dockwarden.cli.shared import settings_of
from dockwarden.text import OK, fact, moment, span, words

if TYPE_CHECKING:
    from dockwarden.pipeline.explain import ExceptionRow, Explanation, Found, PolicyExplanation

_SHORT = 19  # sha256: and twelve digits
_MOST = 20
_SAID = "name title description remediation refs tags severity subject mode action for_seconds place"


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    explain = commands.add_parser(
        "explain", parents=[common], help="all about one object or policy: what is found, what would happen, and why"
    )
    explain.add_argument(
        "name",
        metavar="[KIND/]NAME",
        help="such as web, container/web, image/nginx:1.27, volume/data, network/back, host or policy/no-latest-tag",
    )
    explain.add_argument("-o", "--output", choices=("table", "json"), default="table")
    explain.add_argument("--offline", action="store_true", help="ask no registry")
    explain.set_defaults(run=_explain)


def _explain(options: argparse.Namespace) -> int:
    from dockwarden.oneshot import explain
    from dockwarden.pipeline import loading
    from dockwarden.pipeline.explain import Explanation

    chosen = settings_of(options)
    policies = loading.load_policies(chosen)
    found = explain.explain(chosen, policies, options.name, offline=options.offline)
    if options.output == "json":
        told = found if isinstance(found, Explanation) else _policy_as_json(found)
        json.dump(_plain(told), sys.stdout, default=plain, indent=2)
        print()
    elif isinstance(found, Explanation):
        lines(_of_object(found))
    else:
        lines(_of_policy(found))
    return OK


def _plain(value: Any) -> Any:
    """Dataclasses and named tuples as mappings, whatever they are in."""
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return {name: _plain(inner) for name, inner in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _of_object(found: "Explanation") -> Iterator[str]:
    yield f"{found.kind}/{found.name}" + (f"  {found.id}" if found.id not in ("", found.name) else "")
    about = [(name.partition(".")[2], fact(name, value)) for name, value in found.about.items()]
    yield from _columns(row for row in about if row[1])
    tags = [
        (tag.tag, f"here {_short(tag.digest) or 'no digest'}", _there(tag.digest, tag.registry_digest), tag.state)
        for tag in found.tags
    ]
    yield from _section("tags of its image", tags)
    yield from _section("uses", [(link.how, f"{link.kind}/{link.name}") for link in found.uses])
    yield from _section("what depends on it", [(link.how, f"{link.kind}/{link.name}") for link in found.used_by])
    yield from _findings("findings", found.found, "none", named=False)
    yield "what would happen to it"
    fates = [
        (fate.policy, f"{fate.action} ({fate.mode})", fate.outcome, f"{fate.reason}: {fate.detail}".removesuffix(": "))
        for fate in found.fates
    ]
    yield from _columns(fates or [("nothing: no policy has an action on it",)])
    rows = [(_when(d["at"]), d["policy"], d["action"], d["outcome"], d["reason"]) for d in found.done]
    yield from _section("what was done to it", rows)
    past = [(_when(p["opened_at"]), f"to {_when(p['resolved_at'])}", p["policy"], p["message"]) for p in found.past]
    yield from _section("what was found before", past)


def _of_policy(found: "PolicyExplanation") -> Iterator[str]:
    policy, trigger = found.policy, found.policy.trigger
    action = f", {policy.action} ({policy.mode})" if policy.action else f", {policy.mode}"
    yield f"policy/{policy.name}  {policy.severity}, about each {policy.subject}{action}  {policy.place}"
    yield from (f"  {text}" for text in (policy.title, policy.description.strip()) if text)
    when = [*sorted(trigger.events), trigger.schedule and f"schedule {trigger.schedule}", _every(trigger.every_seconds)]
    rows = [*found.expressions.items(), ("for", span(policy.for_seconds) if policy.for_seconds else "")]
    rows += [(name, words(value)) for name, value in policy.when.constants.items()]
    rows += [
        ("runs on", ", ".join(filter(None, when))),
        ("see", ", ".join(policy.refs)),
        ("how to fix it", policy.remediation),
    ]
    yield from _columns((name, text.strip()) for name, text in rows if text.strip())
    counts = ", ".join(f"{count} {result}" for result, count in sorted(found.counts.items()))
    yield from _findings(f"findings ({counts or 'no objects'})", found.found, "none", named=True)
    yield from _section("exceptions", [_exception(each) for each in found.exceptions])


def _policy_as_json(found: "PolicyExplanation") -> dict[str, Any]:
    policy, trigger = found.policy, found.policy.trigger
    said = {name: getattr(policy, name) for name in _SAID.split()} | {"params": dict(policy.when.constants)}
    runs = {"events": sorted(trigger.events), "schedule": trigger.schedule, "every_seconds": trigger.every_seconds}
    now = {"counts": found.counts, "found": found.found, "exceptions": found.exceptions}
    return {**said, **runs, "select": "", **found.expressions, **now}


def _exception(row: "ExceptionRow") -> Sequence[str]:
    until = f"until {moment(row.until)}" if row.until is not None else "for ever"
    owner = f" ({row.owner})" if row.owner else ""
    return row.id, row.state, f"{row.used} excused", until, f"{row.match}: {row.reason}{owner}"


def _findings(title: str, found: "Sequence[Found]", nobody: str, *, named: bool) -> Iterator[str]:
    yield title
    for each in found[:_MOST]:
        since = f", open since {moment(each.opened_at)}" if each.opened_at is not None else ""
        name = f"{each.subject}/{each.name}" if named else each.policy
        word = each.severity if each.result == "fail" else each.result
        yield f"  {word}  {name}: {each.message or each.reason}{since}"
        if each.message and each.reason:
            yield f"    {each.reason}"
        if each.remediation and not named:
            yield from (f"    {line}" for line in each.remediation.strip().splitlines())
    if len(found) > _MOST:
        yield f"  and {len(found) - _MOST} more"
    if not found:
        yield f"  {nobody}"


def _section(title: str, rows: Sequence[Sequence[object]]) -> Iterator[str]:
    if rows:
        yield title
        yield from _columns(rows)


def _columns(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    cells = [[str(cell) for cell in row] for row in rows]
    count = max((len(row) for row in cells), default=0)
    widths = [max(len(row[at]) if at < len(row) - 1 else 0 for row in cells) for at in range(count)]
    for row in cells:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()


def _there(here: str, there: str) -> str:
    return "at its registry " + ("the same" if there and there == here else _short(there) or "not known")


def _short(digest: str) -> str:
    return digest[:_SHORT]


def _when(at: object) -> str:
    return moment(at) if isinstance(at, float) else ""


def _every(seconds: float) -> str:
    return f"every {span(seconds)}" if seconds else ""

"""Commands that tell what is known of objects and policies: explain, images, history.

Input: options, names as people write them. Output: texts, tables. Out of bounds: finding it out.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

from dockwarden.cli.output import add_output, emit, lines, plain, table
from dockwarden.cli.shared import settings_of
from dockwarden.errors import UsageError
from dockwarden.text import OK, fact, local, moment, near, printable, span, words

if TYPE_CHECKING:
    from dockwarden.oneshot.look import TagRow
    from dockwarden.pipeline.explain import ExceptionRow, Explanation, Found, PolicyExplanation
    from dockwarden.sinks.ledger import Ledger

_Kept = Literal["actions", "findings", "digests"]
_COLUMNS: dict[_Kept, tuple[str, ...]] = {
    "actions": ("at", "policy", "action", "name", "outcome", "reason"),
    "findings": ("opened_at", "resolved_at", "severity", "policy", "name", "message"),
    "digests": ("since", "until", "side", "digest"),
}
_MOST_ROWS = 200
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
    explain.add_argument("-o", "--output", choices=("table", "json", "jsonl"), default="table")
    explain.add_argument("--offline", action="store_true", help="ask no registry")
    explain.set_defaults(run=_explain)
    images = commands.add_parser(
        "images", parents=[common], help="tags by image: digests here and at the registry, age, use"
    )
    add_output(images)
    images.add_argument("--offline", action="store_true", help="ask no registry")
    images.set_defaults(run=_images)
    history = commands.add_parser(
        "history", parents=[common], help="which digest a tag had when; what was done; what was found"
    )
    history.add_argument(
        "ref", nargs="?", metavar="REF", help="a tag, such as nginx:1.27; with --actions and --findings any [KIND/]NAME"
    )
    what = history.add_mutually_exclusive_group()
    what.add_argument("--actions", action="store_true", help="what was done")
    what.add_argument("--findings", action="store_true", help="what was found, and when it ended")
    add_output(history)
    history.set_defaults(run=_history)


def _explain(options: argparse.Namespace) -> int:
    from dockwarden.oneshot import explain
    from dockwarden.pipeline import loading
    from dockwarden.pipeline.explain import Explanation

    chosen = settings_of(options)
    policies = loading.load_policies(chosen)
    found = explain.explain(chosen, policies, options.name, offline=options.offline)
    if options.output != "table":
        told = found if isinstance(found, Explanation) else _policy_as_json(found)
        print(json.dumps(told, default=plain, indent=2 if options.output == "json" else None))
    elif isinstance(found, Explanation):
        lines(_of_object(found))
    else:
        lines(_of_policy(found))
    return OK


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
    yield from _findings("findings", found.found, named=False)
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
    when = [*sorted(trigger.events), trigger.schedule and f"schedule {trigger.schedule}"]
    when += [f"every {span(trigger.every_seconds)}"] if trigger.every_seconds else []
    rows = [*found.expressions.items(), ("for", span(policy.for_seconds) if policy.for_seconds else "")]
    rows += [(name, words(value)) for name, value in policy.when.constants.items()]
    rows += [
        ("runs on", ", ".join(filter(None, when))),
        ("see", ", ".join(policy.refs)),
        ("how to fix it", policy.remediation),
    ]
    yield from _columns((name, text.strip()) for name, text in rows if text.strip())
    counts = ", ".join(f"{count} {result}" for result, count in sorted(found.counts.items()))
    yield from _findings(f"findings ({counts or 'no objects'})", found.found, named=True)
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


def _findings(title: str, found: "Sequence[Found]", *, named: bool) -> Iterator[str]:
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
        yield "  none"


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


def _images(options: argparse.Namespace) -> int:
    from dockwarden.oneshot import look

    chosen = settings_of(options)
    rows = look.look_at_tags(chosen, offline=options.offline)
    if emit(options.output, [{**row._asdict(), "name": row.tag or row.short_id} for row in rows]):
        return OK
    header = ("IMAGE", "TAG", "DIGEST HERE", "AT REGISTRY", "STATE", "SINCE", "KNOWN", "USED BY")
    table(header, list(_grouped(rows)), output=options.output, empty="the engine has no images")
    return OK


def _grouped(rows: "list[TagRow]") -> Any:
    """One line a tag; the image is named on the first line of its group only, so that aliases stand out."""
    former = ""
    for row in rows:
        yield (
            row.short_id if row.image_id != former else "",
            row.tag or (f"{row.repository}:<none>" if row.repository else "<none>"),
            _short(row.digest),
            "same" if row.registry_digest and row.registry_digest == row.digest else _short(row.registry_digest),
            _state(row),
            span(row.state_seconds) if row.state_seconds is not None else "",
            span(row.known_seconds),
            ", ".join(row.used_by),
        )
        former = row.image_id


def _state(row: "TagRow") -> str:
    """``current, is 1.27.3``, ``drift, is 1.28.0 there``, ``current, newest is 1.28.0``, ``? unauthorized``."""
    words = [row.state or (f"? {row.reason}" if row.reason else "")]
    own = row.tag.rpartition(":")[2]
    # Of 1.27.3 and 1.27, the one that says more.
    same = [name for name in row.latest_is if not any(n.startswith(f"{name}.") for n in (own, *row.latest_is))]
    if same:
        words.append(f"is {', '.join(same)}{' there' if row.state == 'drift' else ''}")
    is_newest = own == row.newest_version or row.newest_version_digest == row.registry_digest != ""
    if row.newest_version and not is_newest:
        words.append(f"newest is {row.newest_version}")
    return ", ".join(word for word in words if word)


def _history(options: argparse.Namespace) -> int:
    from dockwarden.app import open_ledger
    from dockwarden.config import settings

    if not (options.ref or options.actions or options.findings):
        raise UsageError("name a tag, or ask for --actions or --findings")
    chosen = settings.read_settings(options.config)
    kept: _Kept = "actions" if options.actions else "findings" if options.findings else "digests"
    columns = _COLUMNS[kept]
    with closing(open_ledger(chosen)) as ledger:
        if not ledger.is_there:
            print(f"dockwarden history: there is no ledger in {chosen.state_dir} yet", file=sys.stderr)
        rows, hint = _past(ledger, kept, options.ref or "")
    if emit(options.output, rows, "name" if "name" in columns else "digest"):
        return OK
    cells = [[_cell(c, row[c]) for c in columns] for row in rows]
    more = "; of what is no tag, --actions and --findings tell" if kept == "digests" else ""
    of = printable(f" of {options.ref}{hint}" if options.ref else "")
    header = [c.removesuffix("_at").upper() for c in columns]
    table(header, cells, output=options.output, empty=f"nothing is known{of}{more}")
    return OK


def _past(ledger: "Ledger", kept: _Kept, asked: str) -> tuple[Sequence[dict[str, object]], str]:
    """What is kept of all that is called so, or of everything; where there is nothing, what may be meant."""
    from dockwarden import reference
    from dockwarden.model import Kind

    kind, _, rest = asked.partition("/")
    prefix, ref = (f"{kind}/", rest) if kind in set(Kind) and rest else ("", asked)
    name, whole = reference.full(ref), reference.full(asked)  # a hub's user may be called as a kind
    about = {f"{prefix}{ref}", f"{prefix}{name}", whole} if asked else ()  # not only tags have names
    if kept == "actions":
        rows = ledger.recent_actions(_MOST_ROWS, about)
    elif kept == "findings":
        rows = ledger.past_findings(_MOST_ROWS, about)
    else:
        past = ledger.history(whole) or ledger.history(name)
        rows = [dict(zip(("side", "digest", "since", "until"), row, strict=True)) for row in past]
    known = ledger.names(kept) if about and not rows else ()
    return rows, near(name, known, 0.9) or near(ref, known)


def _cell(column: str, value: object) -> str:
    if value is None:
        return "now" if column == "until" else ""
    if column == "digest" and not value:
        return "none"
    if column in ("at", "since", "until", "opened_at", "resolved_at") and isinstance(value, int | float):
        return local(value)
    return str(value)

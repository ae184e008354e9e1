"""Commands that tell what is known of images and tags: images, history."""

import argparse
from typing import TYPE_CHECKING, Any

from dockwarden.cli.output import add_output, emit, table
from dockwarden.cli.shared import settings_of
from dockwarden.errors import DockwardenError, UsageError
from dockwarden.text import OK, local

if TYPE_CHECKING:
    from dockwarden.oneshot.look import TagRow

_MOST = 200
_LONGEST_DIGEST = 19  # sha256: and twelve digits


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
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
        "ref", nargs="?", metavar="REF", help="a tag, such as nginx:1.27; with --actions and --findings any name"
    )
    what = history.add_mutually_exclusive_group()
    what.add_argument("--actions", action="store_true", help="what was done")
    what.add_argument("--findings", action="store_true", help="what was found, and when it ended")
    add_output(history)
    history.set_defaults(run=_history)


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
            _age(row.state_seconds) if row.state_seconds is not None else "",
            _age(row.known_seconds),
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


def _short(digest: str) -> str:
    return digest[:_LONGEST_DIGEST]


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def _history(options: argparse.Namespace) -> int:
    from dockwarden import reference
    from dockwarden.app import open_ledger
    from dockwarden.config import settings

    if not (options.ref or options.actions or options.findings):
        raise UsageError("name a tag, or ask for --actions or --findings")
    chosen = settings.read_settings(options.config)
    ledger = open_ledger(chosen)
    if not ledger.is_there:
        raise DockwardenError(f"there is no ledger in {chosen.state_dir} yet")
    name = reference.full(options.ref) if options.ref else ""
    about = {options.ref, name} if options.ref else ()  # not only tags have names
    if options.actions:
        columns: tuple[str, ...] = ("at", "policy", "action", "name", "outcome", "reason")
        rows = ledger.recent_actions(_MOST, about)
    elif options.findings:
        columns = ("opened_at", "resolved_at", "severity", "policy", "name", "message")
        rows = ledger.past_findings(_MOST, about)
    else:
        columns = ("since", "until", "side", "digest")
        rows = [dict(zip(("side", "digest", "since", "until"), row, strict=True)) for row in ledger.history(name)]
    if emit(options.output, rows, "name" if "name" in columns else "digest"):
        return OK
    cells = [[_cell(c, row[c]) for c in columns] for row in rows]
    table([c.removesuffix("_at").upper() for c in columns], cells, output=options.output, empty="nothing is known")
    return OK


def _cell(column: str, value: object) -> str:
    if value is None:
        return "now" if column == "until" else ""
    if column == "digest" and not value:
        return "none"
    if column in ("at", "since", "until", "opened_at", "resolved_at") and isinstance(value, int | float):
        return local(value)
    return str(value)

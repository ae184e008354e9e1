"""Commands that bring back: undo, reset."""

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from dockwarden.cli.output import add_output, emit, is_confirmed, table, tell
from dockwarden.cli.shared import add_yes, settings_of
from dockwarden.errors import UsageError
from dockwarden.text import FAILED, OK, USAGE, in_bytes, local, printable

if TYPE_CHECKING:
    from dockwarden.model import Done, Outcome
    from dockwarden.oneshot.mend import Reset

_COST = {
    "pull": "a pull",
    "load": "an archive of {}",
    "fill": "an archive of {}",
    "tag": "a name",
    "create": "its parameters",
    "start": "a start",
}


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    undo = commands.add_parser("undo", parents=[common], help="bring back what a run or one action removed")
    undo.add_argument("what", nargs="?", default="", metavar="RUN|ACTION", help="as --list and history --actions say")
    undo.add_argument("--list", action="store_true", help="what can still be undone, until when, at what cost")
    add_output(undo)
    undo.set_defaults(run=_undo)
    reset = commands.add_parser(
        "reset", parents=[common], help="remove a bad image with the containers made from it, and pull it again"
    )
    reset.add_argument("image", metavar="IMAGE", help="a tag, such as nginx:1.27")
    add_yes(reset)
    reset.set_defaults(run=_reset)


def _undo(options: argparse.Namespace) -> int:
    from dockwarden.oneshot import mend

    if not options.list and not options.what:
        raise UsageError("name a run or an action, or ask for --list")
    with closing(mend.Mender(settings_of(options))) as mender:
        if options.list:
            _print_list(mender.undoable(options.what), options.output)
            return OK
        undone = []
        for done, outcome in mender.undo(options.what):
            undone.append(_row(done, outcome))
            if options.output in ("table", "wide"):
                tell(outcome)
    emit(options.output, undone, "id")
    return OK if all(row["outcome"] == "applied" for row in undone) else FAILED


def _row(done: "Done", outcome: "Outcome | None" = None) -> dict[str, object]:
    """An action under the names that scripts use; with what came of its undoing, if it was undone."""
    return {
        "id": done.number,
        "run": done.run,
        "policy": done.policy,
        "action": done.action,
        "subject": done.ref.kind.value,
        "object_id": done.ref.key,
        "name": done.name,
        "outcome": outcome.effect.value if outcome else "applied",
        "reason": outcome.reason if outcome else "",
        "at": done.at,
        "undoable_until": done.until,
        "method": done.recipe.method,
        "bytes": done.planned_bytes,
        "archive_bytes": done.recipe.archive_bytes,
        **({"detail": outcome.detail} if outcome else {}),
    }


def _print_list(actions: "list[Done]", output: str) -> None:
    if emit(output, [_row(done) for done in actions], "id"):
        return
    rows = [
        (
            *(str(d.number), d.run, local(d.at), local(d.until)),
            *(d.action, f"{d.ref.kind} {d.name}", in_bytes(d.planned_bytes)),
            _COST.get(d.recipe.method, "").format(in_bytes(d.recipe.archive_bytes)),
        )
        for d in actions
    ]
    table(
        ("ID", "RUN", "AT", "UNTIL", "ACTION", "OBJECT", "BYTES", "FROM"),
        rows,
        output=output,
        empty="nothing can be undone",
    )
    print(f"all archives together: {in_bytes(sum(done.recipe.archive_bytes for done in actions))}", file=sys.stderr)


def _reset(options: argparse.Namespace) -> int:
    from dockwarden.oneshot import mend

    with closing(mend.Mender(settings_of(options, acts=True))) as mender:
        reset = mender.reset(options.image)
        table(("GOES", "NAME"), [(step.ref.kind, _names(reset, step.ref.key) or step.name) for step in reset.steps])
        print(f"then {reset.tag} is pulled, which is {reset.digest} at its registry", file=sys.stderr)
        if not options.yes and not is_confirmed("reset", "Go on? What is removed can be undone."):
            return USAGE
        for outcome in mender.carry_out(reset):
            tell(outcome)
    print(f"{reset.tag} is {reset.digest}, as at its registry", file=sys.stderr)
    if reset.containers:
        names = ", ".join(sorted(container.name for container in reset.containers))
        print(
            f"these containers were removed and must be created again, as they were before: {printable(names)}",
            file=sys.stderr,
        )
    print("the build cache stays, because it belongs to no image; a policy can trim it", file=sys.stderr)
    return OK


def _names(reset: "Reset", image_id: str) -> str:
    return ", ".join(next((image.tags for image in reset.images if image.id == image_id), ()))

"""Commands that plan, act and bring back: plan, apply, undo, reset.

Input: options, and the yes of a person. Output: tables, exit codes. Out of bounds: what goes and what stays.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from dockwarden.cli import a_path, print_unheard
from dockwarden.cli.output import add_output, emit, is_confirmed, table, tell
from dockwarden.cli.shared import add_policy, add_source, add_yes, policies_of, settings_of, source_of
from dockwarden.errors import UsageError
from dockwarden.text import FAILED, OK, USAGE, because, counted, duration, in_bytes, local, printable, span

if TYPE_CHECKING:
    from dockwarden.model import Outcome, Record, Ref
    from dockwarden.oneshot.mend import Reset
    from dockwarden.oneshot.plans import PlanRow

_COST = {
    "pull": "a pull",
    "load": "an archive of {}",
    "fill": "an archive of {}",
    "tag": "a name",
    "create": "its parameters",
    "start": "a start",
}
_AGAIN = "a policy that enforces may do it again, removals after {} (minimum_stay); `protect` in the settings keeps it"
_NEW_SECONDS = 86400.0


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    plan = commands.add_parser(
        "plan", parents=[common], help="what enforcing would do now, in bytes, and why each object goes or stays"
    )
    add_policy(plan)
    add_output(plan)
    plan.add_argument("--save", type=a_path, metavar="FILE", help="write the plan to a file, for apply; - is stdout")
    plan.add_argument("--all", action="store_true", help="also name each object for which `when` is not true")
    plan.add_argument(
        "--watched",
        type=_duration,
        default=0.0,
        metavar="DURATION",
        help="as if everything had been watched for so much longer, such as 30d; such a plan cannot be saved",
    )
    plan.add_argument(
        "--over-limits", action="store_true", help="as if policies had no limits; read such a plan before you apply it"
    )
    add_source(plan)
    plan.set_defaults(run=_plan)
    apply = commands.add_parser(
        "apply", parents=[common], help="carry out a saved plan: only what is still in it and still eligible"
    )
    apply.add_argument("plan", type=a_path, metavar="PLAN", help="what plan --save wrote")
    add_yes(apply)
    apply.set_defaults(run=_apply)
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


def _plan(options: argparse.Namespace) -> int:
    from dockwarden.oneshot import plans

    if options.save and options.watched:
        raise UsageError("what --watched shows is not so yet, so it cannot be saved")
    chosen = settings_of(options)
    planner = plans.Planner(
        chosen,
        policies_of(chosen, options),
        over_limits=options.over_limits,
        watched_seconds=options.watched,
        source=source_of(options),
    )
    for name in options.policy:
        if name not in [policy.name for policy in planner.policies]:
            print(f"dockwarden plan: {name} has no action, or is off: nothing to plan", file=sys.stderr)
    rows, steps = planner.plan()
    if steps and planner.info.only_audited:
        print(planner.info.only_audited, file=sys.stderr)
    if options.save:
        plan = plans.saved(planner.info, rows, steps, over_limits=options.over_limits)
        if str(options.save) == "-":  # as where a file is read
            print(plan, end="")
            return OK
        try:
            options.save.write_text(plan)
        except OSError as error:
            print(f"dockwarden plan: --save {options.save}: {because(error)}", file=sys.stderr)
            return FAILED
    if not emit(options.output, [row._asdict() for row in rows]):
        header = ("OUTCOME", "POLICY", "ACTION", "NAME", "BYTES", "WHY")
        cells = list(_cells(rows, every=options.all))
        table(header, cells, output=options.output, empty="no policy has anything to act on")
        print(_summary(rows) + (f"; if watched {span(options.watched)} longer" if options.watched else ""))
        if not steps and not options.watched and planner.watched_seconds < _NEW_SECONDS:
            print("what was watched for less than a day seldom goes; see also: plan --watched 30d", file=sys.stderr)
    return OK


def _duration(text: str) -> float:
    try:
        return duration(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _cells(rows: "Sequence[PlanRow]", *, every: bool) -> "Iterator[tuple[str, ...]]":
    """The rows for which `when` is true, and one line for the rest of each policy; or every row."""
    rest: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        if every or row.is_found:
            size = "" if row.outcome == "kept" else in_bytes(row.bytes)
            yield row.outcome, row.policy, row.action, row.name, size, _because(row)
        else:
            rest[row.policy, row.action][_group(row)] += 1
    for (policy, action), reasons in rest.items():
        yield "kept", policy, action, counted(reasons.total(), "other"), "", _counts(reasons)


def _group(row: "PlanRow") -> str:
    return row.detail if row.reason in ("pass", "skip", "gate") else row.reason


def _counts(reasons: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())


def _apply(options: argparse.Namespace) -> int:
    from dockwarden.oneshot import plans
    from dockwarden.pipeline import loading

    print_unheard()
    chosen = settings_of(options, acts=True)
    saved = plans.read(options.plan)
    policies = loading.load_policies(chosen)
    with closing(plans.Planner(chosen, policies, acts=True, over_limits=saved.over_limits)) as planner:
        steps, left = planner.still(saved)
        if left:
            table(("STAYS", "POLICY", "WHY"), [(row.name, row.policy, _because(row)) for row in left])
        if not steps:
            print("nothing of the plan is left to do", file=sys.stderr)
            return OK
        sizes = {(step.policy, step.ref): planner.size_of(step) for step in steps}
        rows = [(step.name, step.policy, step.action, in_bytes(sizes[step.policy, step.ref])) for step in steps]
        table(("NAME", "POLICY", "ACTION", "BYTES"), rows)
        question = f"Carry out {counted(len(steps), 'step')}, {_total(sizes.values())}?"
        if not options.yes and not is_confirmed("apply", question):
            return USAGE
        return _told(planner.carry_out(steps), sizes)


def _told(outcomes: "Iterable[Outcome]", sizes: "Mapping[tuple[str, Ref], int | None]") -> int:
    """Print what became of each step as it happens, and the bytes as planned; 1 if something did not work."""
    counts: Counter[str] = Counter()
    gained = []
    for outcome in outcomes:
        counts[outcome.effect.value] += 1
        if outcome.effect.value == "applied":
            gained.append(sizes[outcome.policy, outcome.ref])
        tell(outcome)
    words = [f"{count} {effect}" for effect, count in sorted(counts.items())]
    print(f"{', '.join(words)}; {_total(gained)}", file=sys.stderr)
    return FAILED if counts["failed"] or counts["refused"] else OK


def _because(row: "PlanRow") -> str:
    if row.outcome == "planned" or not row.detail:
        return row.detail or row.reason
    return f"{row.reason}: {row.detail}"


def _summary(rows: "Sequence[PlanRow]") -> str:
    planned = [row for row in rows if row.outcome == "planned"]
    kept = Counter(_group(row) for row in rows if row.outcome != "planned")
    verbs = Counter(row.action.replace("_", " ") for row in planned)
    does = ", ".join(f"{verb} {count:,}" for verb, count in sorted(verbs.items())) or "do nothing"
    words = f"would {does}, {_total([row.bytes for row in planned])}; {kept.total():,} stay"
    return f"{words}: {_counts(kept)}" if kept else words


def _total(sizes: "Collection[int | None]") -> str:
    """The bytes of steps together, in the same words wherever they are told."""
    unknown = sum(size is None for size in sizes)
    return in_bytes(sum(size or 0 for size in sizes)) + (f" and {unknown} of unknown size" if unknown else "")


def _undo(options: argparse.Namespace) -> int:
    from dockwarden.oneshot import mend

    if not (options.list or options.what):
        raise UsageError("name a run or an action, or ask for --list")
    settings = settings_of(options)
    if options.list:
        _print_list(mend.undoable(settings, options.what), options.output)
        return OK
    print_unheard()
    with closing(mend.Mender(settings)) as mender:
        undone = []
        for done, outcome in mender.undo(options.what):
            undone.append(_row(done, outcome))
            if options.output in ("table", "wide"):
                tell(outcome)
    emit(options.output, undone, "id")
    if any(row["outcome"] == "applied" and row["action"] not in ("update", "pull") for row in undone):  # are barred
        print(_AGAIN.format(span(settings.minimum_stay)), file=sys.stderr)
    return OK if all(row["outcome"] == "applied" for row in undone) else FAILED


def _row(done: "Record", outcome: "Outcome | None" = None) -> dict[str, object]:
    """An action under the names that scripts use; with what came of its undoing, if it was undone."""
    return {
        "id": done.number,
        "run": done.run,
        "policy": done.policy,
        "action": done.action,
        "subject": done.ref.kind.value,
        "object_id": done.ref.key,
        "name": done.name,
        "outcome": outcome.effect.value if outcome else done.outcome,
        "reason": outcome.reason if outcome else done.reason,
        "at": done.at,
        "undoable_until": done.until,
        "method": done.recipe.method,
        "bytes": done.planned_bytes,
        "archive_bytes": done.recipe.archive_bytes,
        **({"detail": outcome.detail} if outcome else {}),
    }


def _print_list(actions: "list[Record]", output: str) -> None:
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
    header = ("ID", "RUN", "AT", "UNTIL", "ACTION", "OBJECT", "BYTES", "FROM")
    table(header, rows, output=output, empty="nothing can be undone")
    print(f"all archives together: {in_bytes(sum(done.recipe.archive_bytes for done in actions))}", file=sys.stderr)


def _reset(options: argparse.Namespace) -> int:
    from dockwarden.oneshot import mend

    print_unheard()
    with closing(mend.Mender(settings_of(options, acts=True))) as mender:
        reset = mender.reset(options.image)
        table(("KIND", "NAME"), [(step.ref.kind, _names(reset, step.ref.key) or step.name) for step in reset.steps])
        print(f"then {reset.tag} is pulled, which is {reset.digest} at its registry", file=sys.stderr)
        print(f"`dockwarden undo {reset.run}` brings back what goes, also if this is cut short", file=sys.stderr)
        if not options.yes and not is_confirmed("reset", "Go on?"):
            return USAGE
        for outcome in mender.carry_out(reset):
            tell(outcome)
    print(f"{reset.tag} is {reset.digest}, as at its registry", file=sys.stderr)
    if reset.lost:
        print(f"these names of the old image are gone: {printable(', '.join(reset.lost))}", file=sys.stderr)
    if names := sorted({*reset.before, *(container.name for container in reset.containers)}):
        text = "these containers were removed and must be created again, as they were before"
        print(f"{text}: {printable(', '.join(names))}", file=sys.stderr)
    print("the build cache stays, because it belongs to no image; a policy can trim it", file=sys.stderr)
    return OK


def _names(reset: "Reset", image_id: str) -> str:
    return ", ".join(next((image.tags for image in reset.images if image.id == image_id), ()))

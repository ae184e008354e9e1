"""Commands that plan and act: plan, apply."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwarden.cli.output import is_confirmed, table, tell
from dockwarden.cli.scanning import chosen_policies
from dockwarden.text import in_bytes

if TYPE_CHECKING:
    from dockwarden.model import Outcome
    from dockwarden.oneshot.plans import PlanRow

_USAGE = 2


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this group's commands to the parser."""
    plan = commands.add_parser(
        "plan", parents=[common], help="what enforcing would do now, in bytes, and why each object goes or stays"
    )
    plan.add_argument("--policy", action="append", default=[], metavar="NAME", help="only this policy; may be repeated")
    plan.add_argument("-o", "--output", choices=("table", "json"), default="table")
    plan.add_argument("--save", type=Path, metavar="FILE", help="write the plan to a file, for apply")
    plan.add_argument("--over-limits", action="store_true", help="as if policies had no limits; look before apply")
    plan.set_defaults(run=_plan)
    apply = commands.add_parser(
        "apply", parents=[common], help="carry out a saved plan: only what is still in it and still eligible"
    )
    apply.add_argument("plan", type=Path, metavar="PLAN", help="what plan --save wrote")
    apply.add_argument("--yes", action="store_true", help="do not ask; required where there is no terminal")
    apply.set_defaults(run=_apply)


def _plan(options: argparse.Namespace) -> int:
    from dockwarden import app
    from dockwarden.config import settings
    from dockwarden.oneshot import plans
    from dockwarden.process import logs

    chosen = settings.read_settings(options.config)
    logs.set_up(chosen.log.format, "error", lambda _level: None)
    policies = chosen_policies("plan", app.load_policies(chosen), options.policy)
    if policies is None:
        return _USAGE
    planner = plans.Planner(chosen, policies, over_limits=options.over_limits)
    for name in options.policy:
        if name not in [policy.name for policy in planner.policies]:
            print(f"dockwarden plan: {name} has no action, or is off: nothing to plan", file=sys.stderr)
    rows, steps = planner.plan()
    if options.save:
        try:
            options.save.write_text(plans.saved(planner.info, rows, steps, over_limits=options.over_limits))
        except OSError as error:
            print(f"dockwarden plan: --save {options.save}: {error.strerror}", file=sys.stderr)
            return 1
    if options.output == "json":
        json.dump([row._asdict() for row in rows], sys.stdout, indent=2)
        print()
    else:
        header = ("OUTCOME", "POLICY", "ACTION", "NAME", "BYTES", "WHY")
        table(header, [(r.outcome, r.policy, r.action, r.name, in_bytes(r.bytes), _because(r)) for r in rows])
        print(_summary(rows), file=sys.stderr)
    return 0


def _apply(options: argparse.Namespace) -> int:
    from dockwarden import app
    from dockwarden.config import settings
    from dockwarden.errors import DockwardenError
    from dockwarden.model import Mode
    from dockwarden.oneshot import plans
    from dockwarden.process import logs

    chosen = settings.read_settings(options.config)
    logs.set_up(chosen.log.format, "error", lambda _level: None)
    saved = plans.read(options.plan)
    if chosen.allow is not Mode.ENFORCE:
        raise DockwardenError(f"the settings say allow: {chosen.allow}, so nothing may be done on this host")
    planner = plans.Planner(chosen, app.load_policies(chosen), acts=True, over_limits=saved.over_limits)
    try:
        steps, left = planner.still(saved)
        table(("STAYS", "POLICY", "WHY"), [(row.name, row.policy, _because(row)) for row in left]) if left else None
        if not steps:
            print("nothing of the plan is left to do", file=sys.stderr)
            return 0
        table(("GOES", "POLICY", "ACTION"), [(step.name, step.policy, step.action) for step in steps])
        size = in_bytes(sum(step.planned_bytes for step in steps))
        if not options.yes and not is_confirmed("apply", f"Carry out {len(steps)} steps, {size} as planned?"):
            return _USAGE
        return _told(planner.carry_out(steps))
    finally:
        planner.close()


def _told(outcomes: "Iterable[Outcome]") -> int:
    """Print what became of each step as it happens; 1 if something did not work."""
    counts: Counter[str] = Counter()
    freed = 0
    for outcome in outcomes:
        counts[outcome.effect.value] += 1
        freed += outcome.freed_bytes
        tell(outcome)
    words = [f"{count} {effect}" for effect, count in sorted(counts.items())]
    print(f"{', '.join(words)}; {in_bytes(freed)} freed", file=sys.stderr)
    return 1 if counts["failed"] or counts["refused"] else 0


def _because(row: "PlanRow") -> str:
    if row.outcome == "planned" or not row.detail:
        return row.detail or row.reason
    return f"{row.reason}: {row.detail}"


def _summary(rows: "Sequence[PlanRow]") -> str:
    planned = [row for row in rows if row.outcome == "planned"]
    kept = Counter(row.reason for row in rows if row.outcome != "planned")
    total, unknown = sum(row.bytes or 0 for row in planned), sum(row.bytes is None for row in planned)
    words = f"{len(planned)} would go, {in_bytes(total)}" + (f" and {unknown} of unknown size" if unknown else "")
    reasons = ", ".join(f"{count} {reason}" for reason, count in kept.most_common())
    return f"{words}; {sum(kept.values())} stay" + (f": {reasons}" if reasons else "")

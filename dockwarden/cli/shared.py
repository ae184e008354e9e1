"""What commands share: the settings and policies that they are to use, whether they may act, what stands for an engine.

Input: options. Output: settings, policies. Out of bounds: printing results.
"""

import argparse
from typing import TYPE_CHECKING

from dockwarden.cli import a_path
from dockwarden.errors import DockwardenError, UsageError
from dockwarden.text import near

SEVERITIES = ("critical", "high", "medium", "low", "info")  # as model.words has them, which takes long to import

if TYPE_CHECKING:
    from dockwarden.config.settings import Settings
    from dockwarden.model import PolicySet
    from dockwarden.oneshot.look import PartsOf


def settings_of(options: argparse.Namespace, *, acts: bool = False) -> "Settings":
    """The settings; only errors are logged. Raises DockwardenError if the command acts and they forbid it."""
    from dockwarden.config.settings import read_settings
    from dockwarden.model import Mode
    from dockwarden.process import logs

    chosen = read_settings(options.config)
    logs.set_up(chosen.log.format, "error", lambda _level: None)
    if acts and chosen.allow is not Mode.ENFORCE:
        raise DockwardenError(f"the settings say allow: {chosen.allow}, so nothing may be done on this host")
    return chosen


def add_policy(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--policy", action="append", default=[], metavar="NAME", help="only this policy; may be repeated"
    )


def policies_of(settings: "Settings", options: argparse.Namespace) -> "PolicySet":
    """Those that ``--policy`` names, all if none is named. Raises UsageError if there is no such policy."""
    from dockwarden.pipeline import loading

    policies = loading.load_policies(settings)
    known = [policy.name for policy in policies.policies]
    for name in options.policy:
        if name not in known:
            hint = near(name, known) or f"; there are {', '.join(known)}"
            raise UsageError(f"--policy {name}: no such policy{hint}")
    chosen = tuple(p for p in policies.policies if p.name in options.policy or not options.policy)
    return policies._replace(policies=chosen)


def add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--from", dest="source", type=a_path, metavar="FILE", help="judge what `snapshot` wrote, with no engine"
    )


def source_of(options: argparse.Namespace) -> "PartsOf | None":
    """What stands for the engine, None for the engine itself."""
    from functools import partial

    from dockwarden.oneshot import snapshot

    return partial(snapshot.look_at, path=options.source) if options.source else None


def add_yes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="do not ask; required where there is no terminal")

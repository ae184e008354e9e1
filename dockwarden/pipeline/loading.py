"""The policies of a host: read and compiled with the vocabulary of facts, the table of verbs, and its own settings.

Input: settings. Output: a set of policies, or a ConfigError. Out of bounds: what only a daemon or a look at an engine
needs, so that whoever checks policies need not wait for it to be imported.
"""

import time
from datetime import tzinfo
from zoneinfo import ZoneInfo

from dockwarden.actions.table import VERBS
from dockwarden.config.settings import Settings
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.model import Kind, PolicySet
from dockwarden.policy.load import Overrides, load
from dockwarden.triggers.cron import refuse_cron


def load_policies(settings: Settings, tests: str = "") -> PolicySet:
    """Read and compile everything that the settings name. Raises ConfigError with all problems."""
    host = Overrides(
        settings.params,
        settings.modes,
        {name: trigger.model_dump(exclude_unset=True) for name, trigger in settings.triggers.items()},
        {name: limits.model_dump(exclude_unset=True) for name, limits in settings.limits.items()},
        protected(settings),
        settings.allow,
        zone_of(settings),
    )
    now = time.time()
    return load(settings.policies, VOCABULARY, VERBS, check_cron=refuse_cron, host=host, now=now, tests=tests)


def protected(settings: Settings) -> dict[Kind, tuple[str, ...]]:
    """By kind, globs of the names that this host never lets go."""
    return {Kind(name.removesuffix("s")): tuple(globs) for name, globs in settings.protect}


def zone_of(settings: Settings) -> tzinfo | None:
    """The zone of cron lines and dates, None for the host's."""
    return ZoneInfo(settings.schedule.timezone) if settings.schedule.timezone else None

"""The policies of a host: read and compiled with the vocabulary of facts, the table of verbs, and its own settings.

Input: settings. Output: a set of policies, or a ConfigError. Out of bounds: what only a daemon or a look at an engine
needs, so that whoever checks policies need not wait for it to be imported.
"""

import time

from dockwarden.actions.table import VERBS
from dockwarden.config.settings import Settings
from dockwarden.inventory.facts import VOCABULARY
from dockwarden.model import PolicySet
from dockwarden.policy.load import load


def load_policies(settings: Settings, tests: str = "") -> PolicySet:
    """Read and compile everything that the settings name. Raises ConfigError with all problems."""
    return load(settings.policies, VOCABULARY, VERBS, host=settings, now=time.time(), tests=tests)

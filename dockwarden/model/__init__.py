"""The words of dockwarden as frozen values: what the engine has, what policies say, what a run decided and did.

Input: nothing. Output: the types that stages hand to each other. Out of bounds: I/O, clocks, third-party types.
"""

from dockwarden.model.needs import *
from dockwarden.model.objects import *
from dockwarden.model.outcomes import *
from dockwarden.model.policies import *
from dockwarden.model.words import *

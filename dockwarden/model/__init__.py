"""The words of dockwarden as frozen values: what the engine has, what policies say, what a run decided and did.

Input: nothing. Output: the types that stages hand to each other. Out of bounds: I/O, clocks, third-party types.
"""

from dockwarden.model.needs import Need, Needs, may_be_needed, needed_by
from dockwarden.model.objects import (
    BuildStep,
    Change,
    Container,
    ContainerConfig,
    Dirty,
    EngineInfo,
    Event,
    Image,
    ImageDetails,
    Mount,
    Network,
    Observed,
    Ref,
    Service,
    Thing,
    Volume,
    ref_of,
)
from dockwarden.model.outcomes import (
    Candidate,
    Done,
    Intent,
    Outcome,
    Plan,
    Recipe,
    Report,
    Step,
)
from dockwarden.model.policies import (
    NEVER_SHOWN,
    Answer,
    Aside,
    Excuse,
    Facts,
    FactSpec,
    FactValue,
    Finding,
    Limits,
    Policy,
    PolicyException,
    PolicySet,
    Program,
    Result,
    Trial,
    TriggerSpec,
    Verdict,
    Vocabulary,
)
from dockwarden.model.words import (
    Cause,
    Effect,
    ImageStore,
    Kind,
    Mode,
    Severity,
    Status,
)

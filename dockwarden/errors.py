"""The errors that cross module borders. Library errors are translated into these where the library lives.

Out of bounds: anything that is a normal outcome (an object that is gone, a conflict) of a *run*; those are
values in ``model``. Here they are exceptions of one *call*, which the caller turns into such a value.
"""


class DockwardenError(Exception):
    """Base of all errors that dockwarden raises on purpose; the text is meant for people."""


class UsageError(DockwardenError):
    """A command was asked for something that there is not, or that has several meanings."""


class ConfigError(DockwardenError):
    """Settings or policy files cannot be used. Each entry of ``problems`` is one ``file:line:col key: reason``."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class EngineError(DockwardenError):
    """A call to the engine failed, in one of two ways: it gave no answer, or one that cannot be used."""


class EngineUnavailableError(EngineError):
    """The engine cannot be reached, does not answer in time, or refuses us; retrying later makes sense."""


class DeniedError(EngineUnavailableError):
    """Somebody before the engine, such as a socket proxy, refuses this call, though perhaps no other."""


class AnswerError(EngineError):
    """The engine answered, with something that cannot be used; that concerns this call alone."""


class NotFoundError(AnswerError):
    """The engine does not know the object."""


class MissingError(NotFoundError):
    """What an object needs is gone: something of a kind, by all that it is called."""

    def __init__(self, kind: str, *names: str) -> None:
        super().__init__(f"it needs the {kind} {names[0]}, which is gone")
        self.kind, self.names = kind, frozenset(names)


class ConflictError(AnswerError):
    """The engine refuses because the object is in use (HTTP 409)."""


class LedgerError(DockwardenError):
    """The ledger cannot be written; nothing may be removed until it can."""

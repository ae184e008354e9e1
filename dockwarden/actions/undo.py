"""Bring back what was removed, by the recipes that the ledger kept of it.

Input: actions that can still be undone. Output: an ``Outcome`` for each, which is itself recorded. Out of bounds: which
ones. Nothing that exists now is touched for it: a name that something else has stays there, and the outcome says so.
"""

from collections.abc import Iterator, Sequence

from dockwarden.actions.archive import ArchiveError
from dockwarden.actions.execute import drop
from dockwarden.actions.table import ORDER, verb_of
from dockwarden.actions.verb import Stays, Tools
from dockwarden.errors import AnswerError, ConflictError, DeniedError, EngineUnavailableError, LedgerError, MissingError
from dockwarden.model import Effect, Kind, Outcome, Recipe, Record, Step
from dockwarden.ports import Intents

ACTION = "undo"


class Undoer:
    def __init__(self, tools: Tools, intents: Intents) -> None:
        self._tools = tools
        self._intents = intents

    def undo(self, run: str, actions: Sequence[Record]) -> Iterator[Outcome]:
        """Undo them: what others stand on first, the last that went before the first that went.

        When the ledger cannot be written or the engine goes away, what is left is not undone, and says so.
        """
        stop: Stays | None = None
        for done in sorted(actions, key=_turn, reverse=True):
            step = Step(done.policy, ACTION, done.ref, done.name, None, "it was asked for")
            if stop is None:
                outcome, stop = self._step(run, step, done)
            else:
                outcome = stop.outcome(step)
            yield outcome

    def _step(self, run: str, step: Step, done: Record) -> tuple[Outcome, Stays | None]:
        try:
            number = self._intents.intend(run, step, Recipe("none", {"undoes": done.number}))
            try:
                outcome = self._tried(step, done)
            except EngineUnavailableError as error:
                why = Stays(Effect.FAILED, "engine_unavailable", str(error))
                outcome = why.outcome(step)
                if not isinstance(error, DeniedError):
                    return outcome, why  # its record stays open: what was begun goes on when the engine is back
            self._intents.conclude(number, outcome)
        except LedgerError as error:
            stop = Stays(Effect.REFUSED, "ledger", str(error))
            return stop.outcome(step), stop
        if outcome.effect is Effect.APPLIED:
            drop(self._tools.archive, done.recipe)
        return outcome, None

    def _tried(self, step: Step, done: Record) -> Outcome:
        """What became of it. Raises EngineUnavailableError."""
        try:
            applied = verb_of(done).undo(self._tools, done)
            if done.recipe.archive:  # which goes
                self._tools.settle()
            return step.ended(Effect.APPLIED, *applied)
        except Stays as stays:
            outcome = stays.outcome(step)
        except (ArchiveError, OSError) as error:  # the archive, or the folder that it goes to
            outcome = step.ended(Effect.FAILED, "archive", str(error))
        except MissingError as error:
            outcome = step.ended(Effect.FAILED, "missing", f"{error}: {self._first(error)}")
        except ConflictError as error:
            outcome = step.ended(Effect.REFUSED, "taken", str(error))
        except AnswerError as error:
            outcome = step.ended(Effect.FAILED, "engine_error", str(error))
        is_taken = outcome.reason == "taken"
        return outcome._replace(detail=f"{outcome.detail}{self._later(done)}") if is_taken else outcome

    def _later(self, done: Record) -> str:
        """Which undo must come before, where the same was done to what has its name since; in words."""
        later = (each for each in self._intents.undoable() if each.number > done.number)
        same = (each for each in later if (each.action, each.name) == (done.action, done.name))
        return next((f": `dockwarden undo {each.number}` first" for each in same), "")

    def _first(self, missing: MissingError) -> str:
        """Which undo must come before, in words."""
        for done in self._intents.undoable():
            went = Kind.IMAGE if done.ref.kind is Kind.TAG and done.recipe.method != "tag" else done.ref.kind
            is_kind = went is Kind(missing.kind) and verb_of(done).removes
            if is_kind and not missing.names.isdisjoint((done.ref.key, done.name, done.recipe.parameters.get("id"))):
                return f"`dockwarden undo {done.number}` first"
        return "nothing that can be undone brings it back"


def _turn(done: Record) -> tuple[int, bool, int]:
    """The last first; but networks whose addresses an engine chooses anew after the others, whose it would take."""
    is_chosen_anew = bool((done.recipe.parameters.get("ConfigFrom") or {}).get("Network"))
    return ORDER.index(done.ref.kind), not is_chosen_anew, done.number

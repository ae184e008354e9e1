"""Carry out a plan: one object at a time, by name, never forced, each looked at again immediately before.

Input: the steps of a ``Plan``, ``ports.Engine``, ``ports.Intents``, a ``Keeper``. Output: an ``Outcome`` for each step.
Out of bounds: deciding. An object that is not exactly as it was judged is left alone; a refusal of the engine is
normal; without a record of how to bring the object back nothing is touched. The engine's other users come first: a plan
waits while somebody pulls or builds, and ends when the engine answers much slower than at its start.
"""

import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from dockwarden.actions.keep import Keeper
from dockwarden.actions.remove import Kept, Remover, outcome_of
from dockwarden.errors import EngineError, EngineUnavailableError, LedgerError, NotFoundError
from dockwarden.model import Effect, ImageStore, Outcome, Recipe, Step, Thing
from dockwarden.ports import Engine, Intents

_LONGEST_WAIT_SECONDS = 20.0
_WAIT_SECONDS = 1.0
_SLOW_SECONDS = 0.5  # an answer quicker than this never ends a plan
_SLOWER_TIMES = 10
_RECENT = 3
_LONG_STEP_SECONDS = 0.25
_LONGEST_REST_SECONDS = 5.0


class Surroundings(NamedTuple):
    """What a plan must know of the engine's host.

    Attributes:
        free_bytes: free space of the engine's disk, None where it cannot be seen.
        busy: what is under way there that a plan has to wait for, such as a pull; "" if nothing is known to be.
        now: seconds of a monotonic clock.
        sleep: wait so many seconds.
    """

    free_bytes: Callable[[], int | None]
    busy: Callable[[], str]
    now: Callable[[], float]
    sleep: Callable[[float], object]


class Executor:
    """Carries out one plan on one engine."""

    def __init__(
        self, engine: Engine, intents: Intents, keeper: Keeper, store: ImageStore, surroundings: Surroundings
    ) -> None:
        self._intents = intents
        self._keeper = keeper
        self._remover = Remover(engine, store)
        self._around = surroundings
        self._usual: list[float] = []
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def run(self, run: str, steps: Sequence[Step], enough: Callable[[], str] = str) -> Iterator[Outcome]:
        """Carry out the steps in order.

        When the ledger cannot be written or the engine goes away, what is left is not carried out, and says so; also
        when ``enough``, which is asked before each step, gives a reason.
        """
        self._keeper.prepare(steps)
        stop: Kept | None = None
        for step in steps:
            if stop is None and (why := enough()):
                stop = Kept(Effect.SKIPPED, "enough", why)
            stop = stop or self._must_stop()
            if stop is None:
                began = self._around.now()
                outcome, stop = self._step(run, step)
                self._rest(self._around.now() - began)
            else:
                outcome = stop.outcome(step)
            yield outcome

    def _must_stop(self) -> Kept | None:
        """Wait until nobody pulls or builds; why nothing more may be done now, if so."""
        waited = 0.0
        while busy := self._around.busy():
            if waited >= _LONGEST_WAIT_SECONDS:
                return Kept(Effect.SKIPPED, "busy", f"{busy} is under way")
            self._around.sleep(_WAIT_SECONDS)
            waited += _WAIT_SECONDS
        if len(self._usual) < 2 * _RECENT:
            return None
        usual, recent = statistics.median(self._usual), min(self._recent)
        if recent > max(_SLOW_SECONDS, _SLOWER_TIMES * usual):
            text = f"an answer takes {recent:.1f} seconds, at the beginning {usual:.3f}"
            return Kept(Effect.SKIPPED, "engine_slow", text)
        return None

    def _rest(self, seconds: float) -> None:
        """After a step that kept the engine for long, leave it to others for as long."""
        if seconds > _LONG_STEP_SECONDS:
            self._around.sleep(min(seconds, _LONGEST_REST_SECONDS))

    def _check(self, step: Step) -> Thing | None:
        began = self._around.now()
        found = self._remover.check(step)
        took = self._around.now() - began
        self._recent.append(took)
        if len(self._usual) < 2 * _RECENT:
            self._usual.append(took)
        return found

    def _step(self, run: str, step: Step) -> tuple[Outcome, Kept | None]:
        """Carry out one step; gives also why no other may follow."""
        recipe: Recipe | None = None
        try:
            recipe = self._keeper.recipe(step, self._check(step))
            number = self._intents.intend(run, step, recipe)
        except (Kept, LedgerError, EngineError) as error:
            if recipe is not None:
                self._keeper.drop(recipe)
            return _not_begun(step, error)
        free = self._around.free_bytes()  # now that an archive, perhaps on the same disk, is written
        try:
            outcome = self._act(step)
        except EngineUnavailableError as error:
            # Whether it happened is not known: the record stays open and is closed when the engine is back.
            lost = outcome_of(step, Effect.FAILED, "engine_unavailable", str(error))
            return lost, Kept(Effect.SKIPPED, "engine_unavailable", str(error))
        if outcome.effect is Effect.APPLIED:
            outcome = replace(outcome, freed_bytes=self._freed(step, free))
        try:
            self._intents.conclude(number, outcome)
        except LedgerError as error:  # it did happen, and what the ledger has is enough to find that out
            return outcome, Kept(Effect.REFUSED, "ledger", str(error))
        if outcome.effect is not Effect.APPLIED:
            self._keeper.drop(recipe)
        return outcome, None

    def _act(self, step: Step) -> Outcome:
        """Look once more, because writing the intent down may have taken long, and act."""
        try:
            return self._remover.carry_out(step, self._check(step))
        except Kept as kept:
            return kept.outcome(step)
        except NotFoundError:
            return outcome_of(step, Effect.SKIPPED, "gone")
        except EngineUnavailableError:
            raise
        except EngineError as error:
            return outcome_of(step, Effect.FAILED, "engine_error", str(error))

    def _freed(self, step: Step, before: int | None) -> int:
        """What the disk gained, measured where it can be seen, else as planned."""
        after = self._around.free_bytes() if before is not None else None
        return step.planned_bytes if before is None or after is None else max(0, after - before)


def _not_begun(step: Step, error: Exception) -> tuple[Outcome, Kept | None]:
    match error:
        case Kept():
            return error.outcome(step), None
        case LedgerError():
            stop = Kept(Effect.REFUSED, "ledger", str(error))
            return stop.outcome(step), stop
        case NotFoundError():
            return outcome_of(step, Effect.SKIPPED, "gone"), None
        case EngineUnavailableError():
            stop = Kept(Effect.SKIPPED, "engine_unavailable", str(error))
            return stop.outcome(step), stop
        case _:
            return outcome_of(step, Effect.FAILED, "engine_error", str(error)), None

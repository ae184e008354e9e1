"""Carry out a plan: one object at a time, by name, never forced, each looked at again immediately before.

Input: the steps of a ``Plan``, ``Tools``, ``ports.Intents``. Output: an ``Outcome`` for each step.
Out of bounds: deciding. An object that is not exactly as it was judged is left alone; a refusal of the engine is
normal; without a record of how to bring the object back nothing is touched. The engine's other users come first: a plan
waits while somebody pulls or builds, and ends when the engine answers much slower than at its start.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from dockwarden import errors
from dockwarden.actions.archive import Archive, ArchiveError, GainsNothingError
from dockwarden.actions.table import VERBS, verb_of
from dockwarden.actions.verb import ENDING, Gain, Losable, Stays, Tools, Unfinished, Verb, refuse_needed
from dockwarden.model import Effect, Image, Outcome, Recipe, Record, Ref, Step, Thing
from dockwarden.ports import Engine, Intents

_LONGEST_WAIT_SECONDS = 20.0
_WAIT_SECONDS = 1.0
_SLOW_SECONDS = 0.5  # an answer quicker than this never ends a plan
_SLOWER_TIMES = 10
_RECENT = 3
_LONG_STEP_SECONDS = 0.25
_LONGEST_REST_SECONDS = 5.0


class Executor:
    def __init__(self, tools: Tools, intents: Intents) -> None:
        self._tools = tools
        self._intents = intents
        self._usual: list[float] = []
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._stop: Stays | None = None
        self._took_seconds = 0.0

    def run(self, run: str, steps: Sequence[Step], enough: Callable[[], str] = str) -> Iterator[Outcome]:
        """Carry out the steps in order; may be called again for more of the same plan.

        When the ledger cannot be written, the engine goes away or the process is to end, what is left is not carried
        out, and says so; also when ``enough``, which is asked before each step, gives a reason.
        """
        self._tools.due = frozenset(step.ref.key for step in steps)
        for step in steps:
            verb_of(step).prepare(self._tools, step.object)
        for step in steps:
            if self._stop is None and (why := enough()):
                self._stop = Stays(Effect.SKIPPED, "enough", why)
            self._stop = self._stop or self._must_stop()
            if self._stop is None:
                began = self._tools.now()
                outcome, self._stop = self._step(run, step)
                self._took_seconds = self._tools.now() - began
            else:
                outcome = self._stop.outcome(step)
            yield outcome

    def useless(self, steps: Sequence[Step]) -> list[Outcome]:
        """Those of the steps that are to free a disk and would not, as an archive on it would take their place."""
        found: list[Outcome] = []
        due = [step for step in steps if step.frees and self._tools.shares_disk(step.ref.kind)]
        for step in due:
            verb_of(step).prepare(self._tools, step.object)
        for step in due:
            try:
                self._recipe(step, verb_of(step).find(self._tools.engine, step.ref.key))
            except Stays as stays:
                found += [stays.outcome(step)] if stays.effect is Effect.SKIPPED else []
            except (errors.EngineError, errors.LedgerError):
                continue  # which the step itself will tell
        return found

    def foresee(self, step: Step) -> str:
        """More of what a step would do now, or why not, as far as the engine tells: no registry is asked for images."""
        verb = verb_of(step)
        try:
            if issubclass(verb.options, Losable) and verb.gain is not Gain.LAYERS:
                self._recipe(step, verb.find(self._tools.engine, step.ref.key), is_rehearsed=True)
            return verb.foresee(self._tools, step)
        except (Stays, errors.EngineError) as error:
            return f"but not now: {error.detail if isinstance(error, Stays) else error}"

    def _must_stop(self) -> Stays | None:
        """Wait until nobody pulls or builds; why nothing more may be done now, if so.

        After a step that kept the engine for long, it is left to others for as long.
        """
        if self._took_seconds > _LONG_STEP_SECONDS:
            self._tools.sleep(min(self._took_seconds, _LONGEST_REST_SECONDS))
        waited = 0.0
        while (busy := self._tools.busy()) and not self._tools.is_ending():
            if waited >= _LONGEST_WAIT_SECONDS:
                return Stays(Effect.SKIPPED, "busy", f"{busy} is under way")
            self._tools.sleep(_WAIT_SECONDS)
            waited += _WAIT_SECONDS
        if self._tools.is_ending():
            return ENDING
        if len(self._usual) < 2 * _RECENT:
            return None
        usual, recent = sorted(self._usual)[len(self._usual) // 2], min(self._recent)
        if recent > max(_SLOW_SECONDS, _SLOWER_TIMES * usual):
            text = f"an answer takes {recent:.1f} seconds, at the beginning {usual:.3f}"
            return Stays(Effect.SKIPPED, "engine_slow", text)
        return None

    def _look(self, step: Step, find: Callable[[], Thing | None], *, is_last: bool = False) -> Thing | None:
        """What must hold immediately before a step, looked at twice: before its record is made, and after.

        Who uses it is asked after that, and by a recipe before it copies what may be much.
        """
        began = self._tools.now()
        verb = verb_of(step)
        if is_last:
            verb.check_users(self._tools, step, step.object)
        found = find()
        verb.check(self._tools, step, step.object, found)
        if is_last:
            self._recent.append(self._tools.now() - began)
            self._usual += [self._recent[-1]] if len(self._usual) < 2 * _RECENT else []
        return found

    def _recipe(self, step: Step, found: Thing | None, *, is_rehearsed: bool = False) -> Recipe:
        """What would bring the object back. Raises Stays if nothing would, and the step does not allow that."""
        verb = verb_of(step)
        is_closed = step.frees and self._tools.shares_disk(step.ref.kind)
        archive = replace(self._tools.archive, is_closed=is_closed, is_rehearsed=is_rehearsed)
        tools = replace(self._tools, archive=archive) if is_closed or is_rehearsed else self._tools
        try:
            return verb.recipe(tools, step, found)
        except ArchiveError as error:
            self._look(step, lambda: verb.find(self._tools.engine, step.ref.key))  # or it went, or began to, meanwhile
            if step.unrecoverable:
                return error.without or Recipe("none", verb.about(found))
            effect = Effect.SKIPPED if isinstance(error, GainsNothingError) else Effect.REFUSED
            raise Stays(effect, error.reason, str(error)) from error

    def _step(self, run: str, step: Step) -> tuple[Outcome, Stays | None]:
        """Carry out one step; gives also why no other may follow."""
        verb = verb_of(step)
        recipe: Recipe | None = None
        free = self._tools.free_bytes()  # before an archive, perhaps on the same disk, is written: gains are net of it
        try:
            found = self._look(step, lambda: verb.find(self._tools.engine, step.ref.key))
            recipe = self._recipe(step, found)
            number = self._intents.intend(run, step, recipe)
        except (Stays, errors.LedgerError, errors.EngineError) as error:
            drop(self._tools.archive, recipe)
            why = as_stays(error)
            is_away = isinstance(error, errors.EngineUnavailableError) and not isinstance(error, errors.DeniedError)
            return why.outcome(step), why if is_away or isinstance(error, errors.LedgerError) else None
        self._tools.recipe, self._tools.note = recipe, partial(self._note, number)
        try:
            outcome = self._act(step, recipe, found)._replace(number=number)
        except errors.EngineUnavailableError as error:
            # Whether it happened is not known: the record stays open and is closed when the engine is back.
            return step.ended(Effect.FAILED, "engine_unavailable", str(error)), as_stays(error)
        except (Unfinished, errors.AnswerError) as error:  # or nobody can tell now whether it happened
            return step.ended(Effect.FAILED, "engine_error", str(error)), None
        if outcome.effect is Effect.APPLIED:
            outcome = outcome._replace(freed_bytes=self._freed(step, free))
        ours = outcome
        try:
            if outcome.ref != step.ref and self._is_gone(step.object):  # another image was hit, and ours went as well
                self._intents.conclude(self._intents.intend(run, step, Recipe("none", {})), outcome)
                ours = step.ended(Effect.APPLIED, "found_gone", outcome.detail)
            self._intents.conclude(number, ours)
        except errors.LedgerError as error:  # it did happen, and what the ledger has is enough to find that out
            return outcome, as_stays(error)
        if ours.effect is not Effect.APPLIED:
            drop(self._tools.archive, recipe)
        is_away = outcome.reason == "engine_unavailable"
        return outcome, Stays(Effect.SKIPPED, outcome.reason, outcome.detail) if is_away else None

    def _is_gone(self, thing: Thing | None) -> bool:
        with suppress(errors.EngineError):
            return isinstance(thing, Image) and self._tools.image(thing.id) is None
        return False

    def _note(self, number: int, more: Mapping[str, Any]) -> None:
        recipe = self._tools.recipe = self._tools.recipe._replace(parameters={**self._tools.recipe.parameters, **more})
        self._intents.amend(number, recipe)

    def _act(self, step: Step, recipe: Recipe, found: Thing | None) -> Outcome:
        """Look once more, because writing the intent down may have taken long, and act."""
        verb, is_begun = verb_of(step), False
        try:
            name = verb.last_name(self._tools, step, found)
            news = self._tools.news_of(step) if name else None  # else it is asked after the look, which tells more
            needs = self._tools.engine.needs() if verb.removes else ()
            found = self._look(step, lambda: self._find_last(step, name), is_last=True)
            self._tools.found_by = name
            if news := news if name else self._tools.news_of(step):
                raise Stays(Effect.SKIPPED, "changed", news.text)
            refuse_needed(needs, step)
            is_begun = True
            return step.ended(Effect.APPLIED, *verb.act(self._tools, step, found))
        except errors.EngineUnavailableError as error:
            if is_begun:
                raise
            return step.ended(Effect.FAILED, "engine_unavailable", str(error))
        except (Stays, errors.EngineError) as error:
            why = as_stays(error)
            is_unclear = is_begun and why.effect is Effect.FAILED and why is not error
            if is_unclear and not _is_undone(self._tools.engine, verb, step.ref, recipe):
                return step.ended(Effect.APPLIED, "found_gone", str(error))
            return why.outcome(step)

    def _find_last(self, step: Step, name: str) -> Thing | None:
        """By that name, if it has one. Raises Stays: only the name is gone; NotFoundError: all of it is."""
        find: Callable[[str], Thing | None] = partial(verb_of(step).find, self._tools.engine)
        try:
            return find(name or step.ref.key)
        except errors.NotFoundError:
            if not name:
                raise
            find(step.ref.key)
            raise Stays(Effect.SKIPPED, "changed", f"it is not called {name} any more") from None

    def _freed(self, step: Step, before: int | None) -> int:
        """What the disk gained by a verb that frees some, measured where it can be seen, else as planned."""
        after = self._tools.free_bytes() if before is not None else None
        if before is None or after is None or verb_of(step).gain is Gain.NOTHING:
            return step.planned_bytes
        return max(0, after - before)


def as_stays(error: Exception) -> Stays:
    match error:
        case Stays():
            return error
        case errors.LedgerError():
            return Stays(Effect.REFUSED, "ledger", str(error))
        case errors.MissingError():
            return Stays(Effect.SKIPPED, "gone", str(error))
        case errors.NotFoundError():
            return Stays(Effect.SKIPPED, "gone")
        case errors.ConflictError():  # it came into use
            return Stays(Effect.REFUSED, "conflict", str(error))
        case errors.EngineUnavailableError():
            return Stays(Effect.SKIPPED, "engine_unavailable", str(error))
        case _:
            return Stays(Effect.FAILED, "engine_error", str(error))


def drop(archive: Archive, recipe: Recipe | None) -> None:
    """The recipe is not needed, or not any more."""
    if recipe is not None and recipe.archive:
        archive.remove(recipe.archive)


def end_intents(tools: Tools, intents: Intents, *, watches: bool = True) -> list[Outcome]:
    """The ends of actions that were cut short, told by what is left of their objects, which get back what they lost.

    While another process acts, its actions are under way. What cannot be told or given back now stays open.
    ``watches``: also how that ended which failed for the time being; whoever tells nobody leaves it to the daemon.
    """
    ended: list[Outcome] = []
    with suppress(errors.LedgerError), intents.alone():
        for intent in intents.open_intents():
            if intent.outcome and not watches:
                continue
            with suppress(errors.EngineError, errors.LedgerError, Unfinished):
                outcome = _end(tools, intents, intent)
                intents.conclude(intent.number, outcome)
                ended.append(outcome)
    return ended


def _end(tools: Tools, intents: Intents, intent: Record) -> Outcome:
    verb = VERBS.get((intent.ref.kind, intent.action))
    why = Stays(Effect.SKIPPED, "interrupted")
    if verb is None:  # it was an undo, whose next try finds out how far it came
        for done in intents.undoable(str(intent.recipe.parameters.get("undoes", 0))):  # or of a newer version
            try:
                if (undone := verb_of(done)).goes_on(tools, done):
                    why = Stays(Effect.APPLIED, *undone.undo(tools, done))
            except (Stays, errors.AnswerError) as error:  # once: again and again would stop what somebody mends by hand
                why = as_stays(error)
    elif _is_undone(tools.engine, verb, intent.ref, intent.recipe):
        why = verb.give_back(tools, intent) or why
    else:
        why = Stays(Effect.APPLIED, *verb.finish(tools, intent.ref.key))
    return Outcome(intent.policy, intent.action, intent.ref, intent.name, why.effect, why.reason, detail=why.detail)


def _is_undone(engine: Engine, verb: Verb[Any], ref: Ref, recipe: Recipe) -> bool:
    """Whether a deed that failed or was cut short did not happen, told by its object. Raises EngineError."""
    try:
        return verb.is_undone(recipe, verb.find(engine, ref.key))
    except errors.NotFoundError:
        return verb.is_undone(recipe, None)

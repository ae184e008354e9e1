"""Acting on what a run found: candidates for the planner, the plan, and its execution where the policy enforces.

Input: one policy and its findings of a run. Output: outcomes. Out of bounds: judging, deciding whether a finding may
act at all, and recording. Audit mode means that the plan is not executed; there is no other difference.
"""

from collections.abc import Sequence

from dockwarden import reference
from dockwarden.actions.execute import Executor
from dockwarden.actions.plan import plan
from dockwarden.inventory.live import Inventory
from dockwarden.model import Candidate, Effect, Kind, Mode, Outcome, Policy, Ref, Result, Step
from dockwarden.ports import Engine, Intents


class Enforcer:
    """Acts on one engine."""

    def __init__(
        self,
        engine: Engine,
        inventory: Inventory,
        intents: Intents,
        *,
        minimum_stay_seconds: float,
        own_container: str,
    ) -> None:
        """``own_container``: the ID of the container we run in, "" if in none."""
        self._engine = engine
        self._inventory = inventory
        self._intents = intents
        self._minimum_stay = minimum_stay_seconds
        self._own_container = own_container

    def act(self, policy: Policy, findings: Sequence[Result], run: str) -> tuple[list[Outcome], str]:
        """Plan, and carry out what may be; gives what became of each object, and why a plan was refused as a whole."""
        candidates = [candidate for result in findings if (candidate := self._candidate(result)) is not None]
        if not candidates or self._inventory.info is None:
            return [], ""
        population = self._inventory.counts()[policy.subject]
        planned = plan(policy, candidates, population, self._minimum_stay)
        outcomes = list(planned.kept)
        if policy.mode is Mode.ENFORCE:
            executor = Executor(self._engine, self._intents, self._inventory.info.image_store)
            outcomes += executor.run(run, planned.steps)
        else:
            outcomes += [_audited(step) for step in planned.steps]
        return outcomes, planned.error

    def _candidate(self, result: Result) -> Candidate | None:
        inventory, ref = self._inventory, result.ref
        is_tag = ref.kind is Kind.TAG
        image = inventory.images.get(inventory.tags.get(ref.key, "") if is_tag else ref.key)
        if image is None:
            return None
        tags = (ref.key,) if is_tag else image.tags
        own = inventory.containers.get(self._own_container)
        return Candidate(
            result=result,
            object=image,
            image_users=self._names(inventory.users_of_image(image.id)),
            tag_users=self._names(set().union(*(inventory.users_of_tag(tag) for tag in tags))),
            known_for_seconds=inventory.memory.known_for(Ref(Kind.IMAGE, image.id)),
            own=own is not None and (own.image_id == image.id or reference.full(own.image_ref) in tags),
        )

    def _names(self, containers: set[str]) -> tuple[str, ...]:
        return tuple(sorted(self._inventory.containers[key].name for key in containers))


def _audited(step: Step) -> Outcome:
    return Outcome(step.policy, step.action, step.ref, step.name, Effect.AUDITED, "audit", 0, step.why)

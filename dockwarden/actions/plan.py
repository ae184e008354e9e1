"""From findings to a plan: what is to be removed, in which order, and which rule keeps the rest. Pure.

Input: one policy and its candidates with what must be known of each. Output: a ``Plan``. Out of bounds: looking at the
engine, and carrying out anything. The rules here are the safety rules of the project; execute checks them once more.
"""

import math
from collections.abc import Sequence

from dockwarden.model import Candidate, Effect, Image, Kind, Limits, Outcome, Plan, Policy, Step

PROTECT_LABEL = "dockwarden.protect"


def plan(policy: Policy, candidates: Sequence[Candidate], population: int, minimum_stay_seconds: float) -> Plan:
    """Plan one policy's action.

    Args:
        policy: a policy with an action.
        candidates: its findings of this run, in any order; the plan does not depend on it.
        population: how many objects of the policy's kind exist, for the percentage limit.
        minimum_stay_seconds: images we have watched for less are left alone, whatever the policy says.
    """
    kept: list[Outcome] = []
    steps: dict[str, Step] = {}
    for candidate in sorted(candidates, key=_oldest_first):
        reason, detail = _keep(candidate, minimum_stay_seconds)
        result = candidate.result
        if reason:
            kept.append(Outcome(policy.name, policy.action, result.ref, result.name, Effect.REFUSED, reason, 0, detail))
        else:
            steps[result.ref.key] = Step(
                policy.name, policy.action, result.ref, result.name, candidate.object, result.message
            )
    error = _exceeded(policy.limits, len(steps), population)
    if not error:
        return Plan(policy.name, tuple(steps.values()), tuple(kept))
    kept += [
        Outcome(policy.name, policy.action, step.ref, step.name, Effect.REFUSED, "limits", 0, error)
        for step in steps.values()
    ]
    return Plan(policy.name, (), tuple(kept), error)


def _oldest_first(candidate: Candidate) -> tuple[float, str]:
    return -candidate.known_for_seconds, candidate.result.ref.key


def _keep(candidate: Candidate, minimum_stay_seconds: float) -> tuple[str, str]:
    """Which rule keeps the object, and in words whom it serves; two empty strings if none does."""
    if candidate.own:
        return "self", "it belongs to dockwarden"
    if candidate.object is not None and PROTECT_LABEL in candidate.object.labels:
        return "protected", f"label {PROTECT_LABEL}"
    if candidate.known_for_seconds < minimum_stay_seconds:
        return "too_young", f"watched for {candidate.known_for_seconds:.0f} of {minimum_stay_seconds:.0f} seconds"
    users, image = candidate.tag_users, candidate.object
    if not isinstance(image, Image) or candidate.result.ref.kind is Kind.IMAGE or len(image.tags) <= 1:
        users += candidate.image_users  # the image goes with its last tag
    if users:
        return "in_use", f"used by {', '.join(sorted(set(users))[:5])}"
    return "", ""


def _exceeded(limits: Limits, steps: int, population: int) -> str:
    """Why the limits forbid the whole plan; empty if they do not. One object of any population is always allowed."""
    if steps > limits.max_objects:
        return f"{steps} objects are more than limits.max_objects {limits.max_objects}; nothing was done"
    allowed = max(1, math.floor(population * limits.max_percent / 100))
    if steps > allowed:
        return (
            f"{steps} of {population} objects are more than limits.max_percent {limits.max_percent:g} % "
            f"({allowed} here); nothing was done"
        )
    return ""

"""Judging many objects by the same policies: where it pays, their conditions become one expression. Pure.

Input: compiled policies and the facts of one object after the other. Output: ``Verdict`` values, the same as those of
``evaluate.judge``, and counts of those that nobody must look at. Out of bounds: gathering facts.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from dockwarden.model import Facts, Policy, Status, Verdict
from dockwarden.policy import evaluate
from dockwarden.policy.cel import Joint
from dockwarden.policy.faults import ExpressionError

_WORTH_OBJECTS = 100  # making one expression takes as long as judging about 40 objects
_VERDICTS = (evaluate.SKIP, evaluate.PASS, evaluate.FAIL)  # by the numbers of ``Joint.evaluate``
_FAIL = 2


class Together:
    def __init__(self, policies: Sequence[Policy], *, worth_objects: int = _WORTH_OBJECTS) -> None:
        self._worth_objects = worth_objects
        # What those with a cost need is often not known.
        self._joined = [policy for policy in policies if not policy.cost and Joint.takes(policy.select, policy.when)]
        self._alone = [policy for policy in policies if policy not in self._joined]
        self._joint: Joint | None = None
        self._objects = 0
        self._patterns: Counter[tuple[int, ...]] = Counter()
        self._quiet: Counter[tuple[str, Status]] = Counter()

    def judge(self, facts: Facts, noted: Collection[str]) -> Iterator[tuple[Policy, Verdict]]:
        """Judge one object: each policy when it is its turn, by what is known of the object then.

        A pass or a skip is only counted, but for the policies that are ``noted``: nearly all end so, and there may be
        200,000 of them.
        """
        self._objects += 1
        if self._objects == self._worth_objects and len(self._joined) > 1:
            with suppress(ExpressionError):
                self._joint = Joint([(policy.select, policy.when) for policy in self._joined])
        answers = self._joint.evaluate(facts) if self._joint else None
        if answers is None:
            yield from self._one_by_one(self._joined, facts, noted)
        else:
            self._patterns[answers] += 1
            for policy, answer in zip(self._joined, answers, strict=True):
                if answer == _FAIL or policy.name in noted:
                    if answer != _FAIL:
                        self._quiet[policy.name, _VERDICTS[answer].status] -= 1  # it is in the pattern, too
                    yield policy, _VERDICTS[answer]
        yield from self._one_by_one(self._alone, facts, noted)

    def _one_by_one(
        self, policies: Sequence[Policy], facts: Facts, noted: Collection[str]
    ) -> Iterator[tuple[Policy, Verdict]]:
        for policy in policies:
            verdict = evaluate.judge(policy, facts)
            if (verdict is evaluate.PASS or verdict is evaluate.SKIP) and policy.name not in noted:
                self._quiet[policy.name, verdict.status] += 1
            else:
                yield policy, verdict

    def quiet(self) -> Counter[tuple[str, Status]]:
        """How often each policy gave a pass or a skip that was only counted."""
        if not self._patterns:
            return self._quiet
        total = self._quiet.copy()
        for pattern, objects in self._patterns.items():
            for policy, answer in zip(self._joined, pattern, strict=True):
                if answer != _FAIL:
                    total[policy.name, _VERDICTS[answer].status] += objects
        return +total

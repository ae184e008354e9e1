"""The book of open findings and of objects that could not be judged. Pure.

Input: results of judgements, objects that are gone. Output: which findings opened and which are resolved by that. Out
of bounds: judging, logging, counting.
"""

from collections import Counter
from collections.abc import Collection, Iterable, KeysView, Mapping
from dataclasses import replace

from dockwarden.model import Finding, Kind, Policy, Ref, Result


class Findings:
    """The book. ``counts`` is by policy and severity, ``unknown_counts`` by policy and reason.

    A finding is open from the first fail until a pass, a skip, or the object's end; unknown and error change nothing.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, Ref], Finding] = {}
        self._on: dict[Kind, dict[str, set[str]]] = {kind: {} for kind in Kind}  # by kind and key, names of policies
        self._unknown: dict[Ref, dict[str, str]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.unknown_counts: Counter[tuple[str, str]] = Counter()

    def recall(self, findings: Iterable[Finding]) -> None:
        """Take over the findings that were open before a restart."""
        for finding in findings:
            self._put(finding)

    def note(self, result: Result, now: float, watched: float = 0.0) -> bool:
        """Take in a fail; true if a finding opens with it.

        ``watched`` is the reading of the observation clock. A finding whose opening lies ahead of it was opened on
        another clock: it counts from now.
        """
        self._know(result.policy, result.ref)
        known = self._open.get((result.policy, result.ref))
        opened = known or Finding(result, now, watched)
        self._put(Finding(result, opened.opened_at, min(opened.opened_seconds, watched)))
        return known is None

    def wonder(self, policy: str, ref: Ref, word: str) -> bool:
        """An object could not be judged, for a reason in one stable word; true if that is news."""
        news = self._unknown.get(ref, {}).get(policy) != word
        self._know(policy, ref)
        self._unknown.setdefault(ref, {})[policy] = word
        self.unknown_counts[policy, word] += 1
        return news

    def held_for(self, policy: str, ref: Ref, watched: float) -> float:
        """For how long a finding has been open while somebody watched; 0 where there is none."""
        known = self._open.get((policy, ref))
        return max(0.0, watched - known.opened_seconds) if known else 0.0

    def clear(self, policy: str, ref: Ref, why: str) -> Result | None:
        """The object passes, is excused, or is gone; gives the finding that is resolved by it."""
        self._know(policy, ref)
        finding = self._open.pop((policy, ref), None)
        if finding is None:
            return None
        self.counts[policy, finding.result.severity.value] -= 1
        names = self._on[ref.kind][ref.key]
        names.discard(policy)
        if not names:
            del self._on[ref.kind][ref.key]
        return replace(finding.result, reason=why)

    def concerned_with(self, ref: Ref) -> Collection[str]:
        """Names of the policies with an open finding or question on an object."""
        return {*self.policies_on(ref), *self._unknown.get(ref, ())}

    def policies_on(self, ref: Ref) -> Collection[str]:
        """Names of the policies with an open finding on an object."""
        return self._on[ref.kind].get(ref.key, ())

    def keys(self, kind: Kind) -> KeysView[str]:
        """The keys of the objects of a kind with an open finding."""
        return self._on[kind].keys()

    def drop_objects(self, gone: Iterable[Ref]) -> list[Result]:
        """Resolve everything on objects that are gone."""
        refs = set(gone)
        for policy, its in [(policy, ref) for ref in refs for policy in self._unknown.get(ref, ())]:
            self._know(policy, its)
        pairs = [(policy, ref) for ref in refs for policy in tuple(self.policies_on(ref))]
        return [result for policy, ref in pairs if (result := self.clear(policy, ref, "gone"))]

    def keep_only(self, policies: Mapping[str, Policy]) -> list[Result]:
        """Resolve everything of policies that are not in use any more, or that mean something else by now."""
        for policy, ref in self.unknown():
            if policy not in policies or policies[policy].subject is not ref.kind:
                self._know(policy, ref)
        void = [(key, why) for key, finding in self._open.items() if (why := _void(finding, policies.get(key[0])))]
        resolved = [result for key, why in void if (result := self.clear(*key, why))]
        for counts in (self.counts, self.unknown_counts):
            for pair in [pair for pair in counts if pair[0] not in policies]:
                del counts[pair]
        return resolved

    def refs(self) -> set[Ref]:
        """All objects with an open finding or an open question."""
        return {ref for _, ref in self._open} | set(self._unknown)

    def open(self) -> list[Finding]:
        """All open findings; safe to call from any thread."""
        return list(self._open.values())

    def unknown(self) -> dict[tuple[str, Ref], str]:
        """Which objects could not be judged, and why in one word; safe to call from any thread."""
        return {
            (policy, ref): word for ref, words in list(self._unknown.items()) for policy, word in list(words.items())
        }

    def _know(self, policy: str, ref: Ref) -> None:
        words = self._unknown.get(ref)
        if words is None or policy not in words:
            return
        self.unknown_counts[policy, words.pop(policy)] -= 1
        if not words:
            del self._unknown[ref]

    def _put(self, finding: Finding) -> None:
        key = (finding.result.policy, finding.result.ref)
        old = self._open.get(key)
        self._open[key] = finding
        if old is not None and old.result.severity is finding.result.severity:
            return  # as nearly always when all objects are judged again
        if old is not None:
            self.counts[key[0], old.result.severity.value] -= 1
        self.counts[key[0], finding.result.severity.value] += 1
        self._on[key[1].kind].setdefault(key[1].key, set()).add(key[0])


def _void(finding: Finding, policy: Policy | None) -> str:
    """Why a finding does not stand any more; "" if it does."""
    if policy is None:
        return "policy removed"
    is_same = finding.result.definition in ("", policy.definition) and finding.result.ref.kind is policy.subject
    return "" if is_same else "policy_changed"

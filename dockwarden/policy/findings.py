"""The book of open findings and of objects that could not be judged. Pure.

Input: results of judgements, objects that are gone. Output: which findings opened and which are resolved by that. Out
of bounds: judging, logging, counting.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace

from dockwarden.model import Finding, Ref, Result, Status


class Findings:
    """The book. ``counts`` is by policy and severity, ``unknown_counts`` by policy and reason.

    A finding is open from the first fail until a pass, a skip, or the object's end; unknown and error change nothing.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, Ref], Finding] = {}
        self._by_ref: dict[Ref, set[str]] = defaultdict(set)
        self._unknown: dict[Ref, dict[str, str]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.unknown_counts: Counter[tuple[str, str]] = Counter()

    def recall(self, findings: Iterable[Finding]) -> None:
        """Take over the findings that were open before a restart."""
        for finding in findings:
            self._put(finding)

    def note(self, result: Result, now: float, word: str = "", watched: float = 0.0) -> bool:
        """Take in a result that is not a pass or a skip; true if it is news: a finding opens, a question is new.

        ``word`` says in one stable word why an object could not be judged, ``watched`` is the reading of the
        observation clock. A finding whose opening lies ahead of it was opened on another clock: it counts from now.
        """
        policy, ref = result.policy, result.ref
        if result.status is not Status.FAIL:
            news = self._unknown.get(ref, {}).get(policy) != word
            self._know(policy, ref)
            self._unknown.setdefault(ref, {})[policy] = word
            self.unknown_counts[policy, word] += 1
            return news
        self._know(policy, ref)
        known = self._open.get((policy, ref))
        opened = known or Finding(result, now, watched)
        self._put(Finding(result, opened.opened_at, min(opened.opened_seconds, watched)))
        return known is None

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
        self._by_ref[ref].discard(policy)
        if not self._by_ref[ref]:
            del self._by_ref[ref]
        return replace(finding.result, reason=why)

    def concerned_with(self, ref: Ref) -> Collection[str]:
        """Names of the policies with an open finding or question on an object."""
        return {*self._by_ref.get(ref, ()), *self._unknown.get(ref, ())}

    def policies_on(self, ref: Ref) -> set[str]:
        """Names of the policies with an open finding on an object."""
        return self._by_ref.get(ref, set())

    def drop_objects(self, gone: Iterable[Ref]) -> list[Result]:
        """Resolve everything on objects that are gone."""
        refs = set(gone)
        for policy, its in [(policy, ref) for ref in refs for policy in self._unknown.get(ref, ())]:
            self._know(policy, its)
        pairs = [(policy, ref) for ref in refs for policy in tuple(self.policies_on(ref))]
        return [result for policy, ref in pairs if (result := self.clear(policy, ref, "gone"))]

    def keep_only(self, policies: Iterable[str]) -> list[Result]:
        """Resolve everything of policies that are not in use any more."""
        names = set(policies)
        for policy, ref in [key for key in self.unknown() if key[0] not in names]:
            self._know(policy, ref)
        pairs = [(policy, ref) for policy, ref in self._open if policy not in names]
        resolved = [result for policy, ref in pairs if (result := self.clear(policy, ref, "policy removed"))]
        for counts in (self.counts, self.unknown_counts):
            for key in [key for key in counts if key[0] not in names]:
                del counts[key]
        return resolved

    def refs(self) -> set[Ref]:
        """All objects with an open finding or an open question."""
        return set(self._by_ref) | set(self._unknown)

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
        self._by_ref[finding.result.ref].add(finding.result.policy)

"""The book of open findings, of those set aside, and of objects that could not be judged. Pure.

Input: results of judgements, objects that are gone. Output: which findings opened and which are resolved by that. Out
of bounds: judging, logging, counting.
"""

from collections import Counter
from collections.abc import Collection, Iterable, KeysView, Mapping

from dockwarden.model import Aside, Finding, Kind, Policy, Ref, Result


class Findings:
    """The book. ``counts`` is by policy and severity, ``unknown_counts`` by policy and reason.

    A finding is open from the first fail until a pass, a skip, or the object's end; unknown and error change nothing.
    Set aside is what fails and is not open: pending until it has held long enough, or excused. What has a ``for`` and
    is open stays there as well, for since when it has held.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, Ref], Finding] = {}
        self._on: dict[Kind, dict[str, set[str]]] = {kind: {} for kind in Kind}  # by kind and key, names of policies
        self._unknown: dict[Ref, dict[str, str]] = {}
        self._aside: dict[tuple[str, Ref], Aside] = {}
        self._excuses: dict[tuple[str, Ref], tuple[str, ...]] = {}
        self._unsaved = False
        self.head_start_seconds = 0.0  # for how long what fails for the first time is taken to have held
        self.counts: Counter[tuple[str, str]] = Counter()
        self.unknown_counts: Counter[tuple[str, str]] = Counter()

    def recall(self, findings: Iterable[Finding], asides: Iterable[tuple[str, Ref, Aside]] = ()) -> None:
        """Take over what was open or set aside before a restart."""
        for finding in findings:
            self._put(finding)
        for policy, ref, aside in asides:
            self._set((policy, ref), aside)

    def hold(
        self, policy: Policy, ref: Ref, candidate: str, watched: float, *, excused: bool = False
    ) -> tuple[float, str, Result | None]:
        """An object fails: for how long by now, what excused it before, and the finding that ends by that.

        Another candidate counts anew, and so does what is not excused any more.
        """
        key = (policy.name, ref)
        known, opened = self._aside.get(key), self._open.get(key)
        if not policy.for_seconds:
            if known is not None and not excused:
                self._unset(key)
            return 0.0, known.excuse if known and not excused else "", None
        if known is None and opened is not None:
            known = Aside(policy.severity.value, opened.opened_seconds, candidate)
        was_excused = known is not None and bool(known.excuse) and not excused
        is_other = known is not None and known.candidate != candidate
        resolved = self.clear(policy.name, ref, "other_candidate") if is_other and opened else None
        is_old = known is not None and not was_excused and not is_other
        since = min(known.since_seconds, watched) if known and is_old else watched - self.head_start_seconds
        was = ""
        if known is not None:
            was = known.excuse if was_excused else known.was
        self._set(key, Aside(policy.severity.value, since, candidate, known.excuse if known and excused else "", was))
        return watched - since, was, resolved

    def excuse(self, result: Result, watched: float) -> bool:
        """A fail is excused; true if that is news."""
        key = (result.policy, result.ref)
        known = self._aside.get(key)
        self._close(key)
        aside = known or Aside(result.severity.value, watched)
        self._set(key, aside._replace(excuse=", ".join(result.excuse.ids), was=""))
        return known is None or not known.excuse

    def use(self, policy: str, ref: Ref, ids: tuple[str, ...]) -> None:
        """Which exceptions hold for what a policy finds on an object, which is no question any more."""
        self._know(policy, ref)
        if ids:
            self._excuses[policy, ref] = ids
        else:
            self._excuses.pop((policy, ref), None)

    def used(self) -> Counter[str]:
        """For how many findings each exception holds; safe to call from any thread."""
        return Counter(name for ids in list(self._excuses.values()) for name in ids)

    def asides(self) -> list[tuple[str, Ref, Aside]]:
        """All that is set aside; safe to call from any thread."""
        return [(policy, ref, aside) for (policy, ref), aside in list(self._aside.items())]

    def unsaved(self) -> tuple[tuple[str, Ref, Aside], ...] | None:
        """All that is set aside, if anything of it changed since this was asked last."""
        changed, self._unsaved = self._unsaved, False
        return tuple(self.asides()) if changed else None

    def pending_counts(self) -> Counter[str]:
        """How many findings have yet to hold long enough, by policy."""
        return Counter(key[0] for key, aside in self._aside.items() if not aside.excuse and key not in self._open)

    def excused_counts(self) -> Counter[tuple[str, str]]:
        """How many findings are excused, by policy and severity."""
        return Counter((key[0], aside.severity) for key, aside in self._aside.items() if aside.excuse)

    def _set(self, key: tuple[str, Ref], aside: Aside) -> None:
        self._unsaved = self._unsaved or self._aside.get(key) != aside
        self._aside[key] = aside
        self._on[key[1].kind].setdefault(key[1].key, set()).add(key[0])

    def _unset(self, key: tuple[str, Ref]) -> None:
        if self._aside.pop(key, None) is not None:
            self._unsaved = True
            self._unindex(key)

    def _unindex(self, key: tuple[str, Ref]) -> None:
        policy, ref = key
        if key in self._open or key in self._aside or ref.key not in self._on[ref.kind]:
            return
        names = self._on[ref.kind][ref.key]
        names.discard(policy)
        if not names:
            del self._on[ref.kind][ref.key]

    def _close(self, key: tuple[str, Ref]) -> Finding | None:
        finding = self._open.pop(key, None)
        if finding is not None:
            self.counts[key[0], finding.result.severity.value] -= 1
            self._unindex(key)
        return finding

    def note(self, result: Result, now: float, watched: float = 0.0) -> bool:
        """Take in a fail; true if a finding opens with it.

        ``watched`` is the reading of the observation clock. A finding whose opening lies ahead of it was opened on
        another clock: it counts from now.
        """
        self._know(result.policy, result.ref)
        known = self._open.get((result.policy, result.ref))
        opened = known or Finding(result, now, watched)
        if known is None and (aside := self._aside.get((result.policy, result.ref))) is not None:
            self._set((result.policy, result.ref), aside._replace(was=""))
            self._unsaved = True  # it is not pending any more
        self._put(Finding(result, opened.opened_at, min(opened.opened_seconds, watched)))
        return known is None

    def wonder(self, policy: str, ref: Ref, word: str) -> bool:
        """An object could not be judged, for a reason in one stable word; true if that is news."""
        news = self._unknown.get(ref, {}).get(policy) != word
        self._know(policy, ref)
        self._unknown.setdefault(ref, {})[policy] = word
        self.unknown_counts[policy, word] += 1
        return news

    def clear(self, policy: str, ref: Ref, why: str) -> Result | None:
        """The object passes, is excused, or is gone; gives the finding that is resolved by it."""
        self._know(policy, ref)
        self._unset((policy, ref))
        self._excuses.pop((policy, ref), None)
        finding = self._close((policy, ref))
        return None if finding is None else finding.result._replace(reason=why)

    def concerned_with(self, ref: Ref) -> Collection[str]:
        """Names of the policies with an open finding or question on an object."""
        return {*self.policies_on(ref), *self._unknown.get(ref, ())}

    def policies_on(self, ref: Ref) -> Collection[str]:
        """Names of the policies with a finding on an object, open or set aside."""
        return self._on[ref.kind].get(ref.key, ())

    def keys(self, kind: Kind) -> KeysView[str]:
        return self._on[kind].keys()

    def drop_objects(self, gone: Iterable[Ref]) -> list[Result]:
        """Resolve everything on objects that are gone."""
        refs = set(gone)
        for policy, its in [(policy, ref) for ref in refs for policy in self._unknown.get(ref, ())]:
            self._know(policy, its)
        pairs = [(policy, ref) for ref in refs for policy in tuple(self.policies_on(ref))]
        return [result for policy, ref in pairs if (result := self.clear(policy, ref, "gone"))]

    def keep_only(self, policies: Mapping[str, Policy]) -> list[Result]:
        """Resolve everything of policies that are not in use any more, or that mean something else by now.

        What stays is as severe as its policy is now, also if that cannot be judged before its next trigger.
        """
        for policy, ref in self.unknown():
            if policy not in policies or policies[policy].subject is not ref.kind:
                self._know(policy, ref)
        for policy, ref in [key for key in self._aside if key not in self._open]:
            if policy not in policies or policies[policy].subject is not ref.kind:
                self.clear(policy, ref, "")
        void = [(key, why) for key, finding in self._open.items() if (why := _void(finding, policies.get(key[0])))]
        resolved = [result for key, why in void if (result := self.clear(*key, why))]
        for (name, ref), aside in list(self._aside.items()):
            self._set((name, ref), aside._replace(severity=policies[name].severity.value))
        for finding in self.open():
            severity = policies[finding.result.policy].severity
            self._put(finding._replace(result=finding.result._replace(severity=severity)))
        for counts in (self.counts, self.unknown_counts):
            for pair in [pair for pair in counts if pair[0] not in policies]:
                del counts[pair]
        return resolved

    def refs(self) -> set[Ref]:
        return {ref for _, ref in self._open} | {ref for _, ref in self._aside} | set(self._unknown)

    def open(self) -> list[Finding]:
        return list(self._open.values())

    def unknown(self) -> dict[tuple[str, Ref], str]:
        """Which objects could not be judged, and why in one word; safe to call from any thread."""
        known = list(self._unknown.items())
        return {(policy, ref): word for ref, words in known for policy, word in list(words.items())}

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
    kinds = (policy.subject, Kind.HOST) if policy.has_marks else (policy.subject,)
    is_same = finding.result.definition in ("", policy.definition) and finding.result.ref.kind in kinds
    return "" if is_same else "policy_changed"

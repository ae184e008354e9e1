"""Judging one object by one policy, and saying it in words. Pure.

Input: a compiled policy and the facts of one object. Output: a ``Verdict``, and for what must be reported a ``Result``.
Out of bounds: gathering facts, deciding whether a finding is excused, acting, clocks.
"""

from collections.abc import Collection
from functools import cache

from dockwarden.model import NEVER_SHOWN, Answer, Facts, Policy, Ref, Result, Status, Verdict
from dockwarden.text import MAX_TEXT, moment, printable, span, words

COMES_WITH = {"container.freshness": "container.tag_image", "registry.state": "registry.digest"}
"""By a fact that says that something else is there, the fact that says what."""
_CANDIDATES = ("container.tag_image", "registry.digest", "registry.newest_version", "registry.newest_version_digest")

# Most judgements end in one of these; they are shared so that the hot path allocates nothing.
PASS = Verdict(Status.PASS)
SKIP = Verdict(Status.SKIP)
FAIL = Verdict(Status.FAIL)


def judge(policy: Policy, facts: Facts, tried: Collection[str] = ()) -> Verdict:
    """Judge one object with what is known of it; only ``fail`` is a finding. ``tried``: facts that cannot be had."""
    if policy.select is not None:
        answer = policy.select.evaluate(facts, tried)
        if answer.value is not True:
            return SKIP if answer.value is False else _trouble(answer)
    answer = policy.when.evaluate(facts, tried)
    if answer.value is False:
        return PASS
    return FAIL if answer.value is True else _trouble(answer)


def finding(policy: Policy, ref: Ref, name: str, facts: Facts) -> Result:
    """The result of a ``fail``: its message, and as evidence the facts that its conditions refer to."""
    evidence = {fact: facts.known[fact] for fact in _used(policy) if fact in facts.known}
    told = render(policy, facts)
    return Result(
        policy.name, ref, name, Status.FAIL, policy.severity, told, evidence=evidence, definition=policy.definition
    )


def candidate(policy: Policy, facts: Facts) -> str:
    """What was found, where it names a digest or a version: another one is another finding."""
    used = _used(policy)
    named = (f"{fact}={facts.known.get(fact)}" for fact in _CANDIDATES if fact in used)
    return " ".join((policy.definition, *named))


def _used(policy: Policy) -> tuple[str, ...]:
    """The facts that its conditions refer to, and what tells more of them, but for what is never shown."""
    return _with_more(policy.when.references | (policy.select.references if policy.select else frozenset()))


@cache
def _with_more(used: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted((used | {COMES_WITH[fact] for fact in used if fact in COMES_WITH}) - NEVER_SHOWN))


def set_aside(policy: Policy, result: Result, status: Status) -> Result:
    """A finding that is pending or excused, with the reason."""
    if status is Status.PENDING:
        why = f"it has held for {span(result.held_seconds)} of {span(policy.for_seconds)}"
    else:
        until = f" until {moment(result.excuse.until_at)}" if result.excuse.until_at is not None else ""
        why = f"{', '.join(result.excuse.ids)}{until}" + (f": {result.excuse.reason}" if result.excuse.reason else "")
    return result._replace(status=status, reason=printable(why, MAX_TEXT))


def unknown(policy: Policy, ref: Ref, name: str, verdict: Verdict, reason: str = "") -> Result:
    """The result of a verdict that is no finding; ``reason`` says why a missing fact could not be had."""
    why = reason or verdict.reason
    if verdict.missing:
        why = f"{verdict.missing} is not known" + (f": {why}" if why else "")
    return Result(policy.name, ref, name, verdict.status, policy.severity, reason=printable(why, MAX_TEXT))


def render(policy: Policy, facts: Facts) -> str:
    """The policy's message for this object: one printable line. What cannot be had reads ``?``."""
    parts = (part if isinstance(part, str) else _word(part.evaluate(facts)) for part in policy.message)
    return printable("".join(parts), MAX_TEXT)


def _word(answer: Answer) -> str:
    return "?" if answer.missing or answer.error else words(answer.value)


def _trouble(answer: Answer) -> Verdict:
    if answer.missing:
        return Verdict(Status.UNKNOWN, missing=answer.missing)
    return Verdict(Status.ERROR, reason=answer.error or "the condition gave no answer")

"""Whether a finding is excused now, by exceptions in files or by the object's own labels. Pure.

Input: a policy that finds fault, the object's facts, the exceptions of the set, the time. Output: an ``Excuse``. Out of
bounds: gathering facts, what is done with the answer. This is the only place that decides it.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, tzinfo

from dockwarden.model import NO_EXCUSE, Excuse, Facts, Kind, Policy, PolicyException

_SKIP, _UNTIL, _REASON = "dockwarden.skip", "dockwarden.skip.until", "dockwarden.skip.reason"
_YEAR_SECONDS = 365 * 86400
_LAST = datetime(9999, 12, 31, 9, 59, 59, tzinfo=UTC).timestamp()  # 9999, for never, has ended nowhere


def labels_of(kind: Kind) -> str:
    """The fact that holds the labels by which an object may excuse itself; of a container only its own."""
    match kind:
        case Kind.IMAGE | Kind.TAG:
            return "image.labels"
        case Kind.CONTAINER:
            return "container.own_labels"
        case Kind.VOLUME | Kind.NETWORK | Kind.SERVICE:
            return f"{kind}.labels"
        case Kind.HOST:
            return ""


def read_until(text: str, zone: tzinfo | None) -> float:
    """When an excuse ends, as epoch seconds; a date: its last second in the zone (None: the machine's). ValueError."""
    if "W" in text:  # as in 2027-W10, of which the library takes the Monday
        raise ValueError("a week is no date")
    try:
        at = datetime.combine(date.fromisoformat(text), time(23, 59, 59))
    except ValueError:
        at = datetime.fromisoformat(text)
    late = max(0, at.year - 9998) * _YEAR_SECONDS
    at = at.replace(year=min(max(at.year, 2), 9998))
    return min(_LAST, (at if at.tzinfo else at.replace(tzinfo=zone)).timestamp() + late)


def excuse(
    policy: Policy, facts: Facts, exceptions: Sequence[PolicyException], now: float, zone: tzinfo | None = None
) -> Excuse:
    """Whether what a policy finds on an object is excused now, by what is known of it."""
    labelled = _by_label(policy, facts, now, zone)
    if not exceptions and labelled is NO_EXCUSE:
        return NO_EXCUSE  # as nearly always
    found = [*(_by_file(each, facts, now) for each in exceptions if policy.name in each.policies), labelled]
    held = [each for each in found if each.ids]
    last = max(held, key=lambda each: float("inf") if each.until_at is None else each.until_at, default=NO_EXCUSE)
    return Excuse(
        ids=tuple(name for each in held for name in each.ids),
        told=any(each.told for each in held),
        acted=any(each.acted for each in held),
        until_at=last.until_at,
        reason=last.reason,
        doubt=next((each.doubt for each in found if each.doubt), ""),
        expired="" if held else "; ".join(each.expired for each in found if each.expired),
    )


def _by_file(exception: PolicyException, facts: Facts, now: float) -> Excuse:
    answer, until = exception.match.evaluate(facts), exception.until_at
    if answer.value is not True:
        return Excuse(doubt="" if answer.value is False else exception.id)
    if until is not None and until < now:
        return Excuse(expired=f"{exception.id} has expired")
    return Excuse((exception.id,), exception.told, exception.acted, until, exception.reason)


def _by_label(policy: Policy, facts: Facts, now: float, zone: tzinfo | None) -> Excuse:
    labels = facts.known.get(labels_of(policy.subject))
    if not isinstance(labels, dict) or _SKIP not in labels:
        return NO_EXCUSE
    names = {name.strip() for name in labels[_SKIP].split(",")}
    if not names & {policy.name, "all"}:
        return NO_EXCUSE
    if policy.excusable != "label":
        return Excuse(expired=f"the label {_SKIP} does not count for this policy")
    until, text = None, labels.get(_UNTIL)
    if text is not None:
        try:
            until = read_until(text, zone)
        except ValueError:
            return Excuse(expired=f"the label {_UNTIL} cannot be read: {text}")
    if until is not None and until < now:
        return Excuse(expired=f"the label {_SKIP} has expired")
    return Excuse(("label",), told=True, acted=True, until_at=until, reason=labels.get(_REASON, ""))

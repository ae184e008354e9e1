"""From findings to a plan: what is to be done, in which order, and which rule keeps the rest. Pure.

Input: one policy and its candidates with what must be known of each. Output: a ``Plan``. Out of bounds: looking at the
engine, and carrying out anything. The rules here are the safety rules of the project; execute checks them once more.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from dockwarden import reference
from dockwarden.actions.containers import compose_service, depends_on, is_aside, shown_as
from dockwarden.actions.table import verb_of
from dockwarden.actions.verb import NEED_UNKNOWN, PROTECT_LABEL, SWARM, Gain, Why
from dockwarden.model.objects import Container, Image, Ref, Thing, Volume
from dockwarden.model.outcomes import Candidate, Outcome, Plan, Step
from dockwarden.model.policies import Policy
from dockwarden.model.words import Effect, Kind, Mode
from dockwarden.text import span

_BYTES = frozenset(f"host.{disk}_{fact}" for disk in ("disk", "data_disk") for fact in ("used_percent", "free"))

Frees = Callable[[Iterable[str]], Sequence[int]]
"""The bytes that the disk gains by each of some images in turn, "" standing for none."""


def plan(
    policy: Policy,
    candidates: Sequence[Candidate],
    population: int,
    minimum_stay_seconds: float,
    frees: Frees | None = None,
) -> Plan:
    """Plan one policy's action on its findings of this run, in any order.

    ``population``: how many objects of the policy's kind exist. What was watched for less than the minimum is not
    removed. ``frees`` tells the bytes of images; without it those are not known.
    """
    kept: list[Outcome] = []
    going: dict[str, Candidate] = {}
    gone_tags: Counter[str] = Counter()
    gone_users: set[str] = set()
    for candidate in _in_order(policy, {each.result.ref.key: each for each in candidates}.values()):
        alone = candidate._replace(users=tuple(user for user in candidate.users if user not in gone_users))
        reason, detail = keep(policy, alone, minimum_stay_seconds, gone_tags)
        if reason:
            kept.append(_kept(policy, candidate, reason, detail))
        else:
            going[candidate.result.ref.key] = candidate
            gone_users |= {candidate.object.name} if isinstance(candidate.object, Container) else set()
            if candidate.result.ref.kind is Kind.TAG and isinstance(candidate.object, Image):
                gone_tags[candidate.object.id] += 1
    # In order anew: what stays has no say in how what goes hangs together.
    ordered = list(_in_order(policy, going.values()))
    within, error = _within(policy, ordered, population)
    left = ordered[len(within) :]
    kept += [_kept(policy, each, "limits", error)._replace(effect=_over(policy)) for each in left]
    is_refused = bool(left) and _over(policy) is Effect.REFUSED
    steps = tuple(_step(policy, candidate) for candidate in (ordered if policy.limits.takes_first else within))
    steps = with_bytes(steps, frees) if frees else steps
    most = len(within)
    return Plan(policy.name, steps[:most], tuple(kept), error if is_refused else "", steps[most:])


def with_bytes(steps: Sequence[Step], frees: Frees) -> tuple[Step, ...]:
    """The same steps, each with what the disk gains by it after those before it; the sum is that of all together."""
    left = {step.object.id: set(step.object.tags) for step in steps if isinstance(step.object, Image)}
    images: list[str] = []  # which go with each step, "" where none does
    for step in steps:
        image = step.object
        if not isinstance(image, Image):
            images.append("")
            continue
        left[image.id] -= {step.ref.key} if step.ref.kind is Kind.TAG else left[image.id]
        images.append("" if left[image.id] else image.id)
    gains = zip(steps, frees(images), strict=True)
    return tuple(step._replace(planned_bytes=gain) if isinstance(step.object, Image) else step for step, gain in gains)


def keep(policy: Policy, candidate: Candidate, minimum_stay_seconds: float, gone_tags: Mapping[str, int]) -> Why:
    """The rule that keeps the object, and whom it serves, "" if none; ``gone_tags``: names already taken, by image."""
    thing, verb = candidate.object, verb_of(policy)
    if reason := _of_ours(candidate):
        return reason
    if thing is not None and PROTECT_LABEL in thing.labels.keys() - candidate.inherited:
        return "protected", f"label {PROTECT_LABEL}"
    if glob := protecting(policy.protect, candidate.result.ref, candidate.result.name, thing):
        return "protected", f"protect in the settings: {glob}"
    if candidate.result.excuse.doubt:
        return "exception_unknown", f"whether {candidate.result.excuse.doubt} excuses it is not known"
    if candidate.result.excuse.acted:
        return "excused", ", ".join(candidate.result.excuse.ids)
    if reason := _others(policy, candidate):
        return reason
    if reason := verb.keeps(policy, candidate, thing, gone_tags.get(thing.id, 0) if isinstance(thing, Image) else 0):
        return reason
    if verb.removes and candidate.known_for_seconds < minimum_stay_seconds:
        return "too_young", f"watched for {span(candidate.known_for_seconds)} of {span(minimum_stay_seconds)}"
    # What came back by an undo may have an open finding of its former life.
    held = min(verb.held_seconds(candidate), candidate.known_for_seconds if verb.removes else float("inf"))
    if held < policy.for_seconds or (verb.needs_for and not policy.for_seconds):
        return "waiting", f"it has held for {span(held)} of {span(policy.for_seconds)}"
    return "", ""


def _others(policy: Policy, candidate: Candidate) -> Why | None:
    """What an orchestrator owns, or perhaps needs, and the policy does not name that."""
    if candidate.owner and candidate.owner not in policy.owners:
        text = f"it belongs to {candidate.owner}, which puts back what is gone; the policy does not name it in owners"
        return "owner", text
    is_removed = verb_of(policy).removes
    return NEED_UNKNOWN if is_removed and candidate.maybe_needed and SWARM not in policy.owners else None


def _of_ours(candidate: Candidate) -> Why | None:
    if candidate.own:
        return "self", "it belongs to dockwarden, or is its way to the engine"
    if isinstance(candidate.object, Container) and is_aside(candidate.object):
        return "aside", "an update keeps it, as the way back"
    return None


def protecting(protect: Mapping[Kind, Sequence[str]], ref: Ref, name: str, thing: Thing | None) -> str:
    """The glob of this host that keeps an object; an image goes with its names, and so they keep each other."""
    names = [(ref.kind, {ref.key, name})]
    if isinstance(thing, Image):
        tags = _spelt(ref.key) if ref.kind is Kind.TAG else _spelt(*thing.tags)
        names = [
            (Kind.IMAGE, {thing.id, reference.short_id(thing.id), *_spelt(*thing.tags, *thing.digests)}),
            (Kind.TAG, tags),
        ]
    elif thing is not None:
        names = [(ref.kind, {thing.name} if isinstance(thing, Volume) else shown_as(thing))]
    kept = ((glob, each) for kind, all_ in names for glob in protect.get(kind, ()) for each in all_)
    return next((glob for glob, each in kept if fnmatchcase(each, glob)), "")


def _spelt(*tags: str) -> set[str]:
    """Names of images as people may write them: whole or short, with a tag or a digest and without."""
    whole = {*tags, *(reference.parse(tag).repository for tag in tags)}
    return {spelling for name in whole for spelling in reference.spellings(name)}


def _in_order(policy: Policy, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """As the policy orders them, else the longest known first; but what others stand on in its turn.

    That is images before those that they are built on, containers before those that they need to start, and in a
    Compose project, where nothing is removed, what others depend on before them.
    """

    def place(each: Candidate) -> tuple[Any, ...]:
        order = each.result.order  # what cannot be ordered comes last
        return order is None, -each.known_for_seconds if order is None else order, each.result.ref.key

    ordered = sorted(candidates, key=place)
    above = _standing(ordered) if verb_of(policy).removes else _needed_first(ordered)
    seen: set[str] = set()
    for candidate in ordered:
        waiting = [] if candidate.result.ref.key in seen else [candidate]
        while waiting:
            seen.add(waiting[-1].result.ref.key)
            first = next((c for c in above.get(waiting[-1].result.ref.key, ()) if c.result.ref.key not in seen), None)
            if first is None:
                yield waiting.pop()
            else:
                waiting.append(first)


def _needed_first(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """By the key of a container, those to go before it in the given order: whom it depends on in its Compose project.

    Before all that, those in its namespaces: they are made again with it, and then are others than were judged.
    """
    services: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    inside: dict[str, list[Candidate]] = defaultdict(list)
    containers = [(each, each.object) for each in candidates if isinstance(each.object, Container)]
    for candidate, container in containers:
        services[compose_service(container)].append(candidate)
        for owner in container.lives_in:
            inside[owner].append(candidate)
    first = {
        candidate.result.ref.key: [*inside[container.id], *inside[container.name]]
        for candidate, container in containers
    }
    for candidate, container in containers:
        needed = (each for name in depends_on(container) for each in services[compose_service(container)[0], name])
        first[candidate.result.ref.key] += [each for each in needed if candidate not in first[each.result.ref.key]]
    return first


def _standing(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """By the key of a candidate, those that stand on it, in the given order."""
    is_of_containers = any(isinstance(each.object, Container) for each in candidates)
    return _needing(candidates) if is_of_containers else _built_on(candidates)


def _needing(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """The containers that need it to start, and those whose recipe can name whose volumes they share only before."""
    containers = [(each, each.object) for each in candidates if isinstance(each.object, Container)]
    known = {name: each for each, thing in containers for name in (thing.id, thing.name)}
    above = {each.result.ref.key: [known[user] for user in each.users if user in known] for each in candidates}
    for each, thing in containers:
        sources: Any = thing.config.told.get("volumes_from", ())
        for owner in {source.partition(":")[0].removeprefix("/") for source in sources} & known.keys():
            above[known[owner].result.ref.key].append(each)
    return above


def _built_on(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """The images that are built directly on its image."""
    images = [(each, each.object) for each in candidates if isinstance(each.object, Image)]
    bottom: dict[object, Candidate] = {}  # by image ID and by layers; of several names the one that goes last
    for each, image in images:
        bottom[image.id] = each
        if image.details:
            bottom[image.details.layers] = each
    above: dict[str, list[Candidate]] = defaultdict(list)
    for each, image in images:
        if image.details is None:
            continue
        layers = image.details.layers
        shorter = (layers[:length] for length in range(len(layers) - 1, 0, -1))
        below = next((bottom[key] for key in (image.details.parent, *shorter) if key in bottom), None)
        if below is not None and isinstance(below.object, Image) and below.object.id != image.id:
            above[below.result.ref.key].append(each)
    return above


def _step(policy: Policy, candidate: Candidate) -> Step:
    result, gain = candidate.result, verb_of(policy).gain
    owners = {"owners": sorted(policy.owners)} if policy.owners else {}
    protect = policy.protect.get(Kind.CONTAINER, ()) if policy.subject is Kind.CONTAINER else ()
    judged = "registry.digest" if policy.options.get("pull", True) else "container.tag_image"
    after = {"after": candidate.users} if isinstance(candidate.object, Container) and candidate.users else {}
    return Step(
        policy=policy.name,
        action=policy.action,
        ref=result.ref,
        name=result.name,
        object=candidate.object,
        why=result.message,
        options={**policy.options, **owners, **({"protect": protect} if protect else {}), **after},
        planned_bytes=candidate.size_bytes if gain is Gain.USAGE else 0,
        unrecoverable=policy.unrecoverable,
        frees=policy.stop_when is not None and not _BYTES.isdisjoint(policy.stop_when.references),
        digest=str(result.evidence.get(judged, "")),
    )


def _kept(policy: Policy, candidate: Candidate, reason: str, detail: str) -> Outcome:
    result = candidate.result
    return Outcome(policy.name, policy.action, result.ref, result.name, Effect.REFUSED, reason, detail=detail)


def _over(policy: Policy) -> Effect:
    """What becomes of objects that the limits leave out; where nothing is done anyway, that is only information."""
    if policy.limits.takes_first:
        return Effect.SKIPPED
    return Effect.REFUSED if policy.mode is Mode.ENFORCE else Effect.AUDITED


def _within(policy: Policy, going: Sequence[Candidate], population: int) -> tuple[Sequence[Candidate], str]:
    """What the limits let go, and why not the rest. One object of any population is always allowed."""
    limits, count = policy.limits, len(going)
    share = max(1, math.floor(population * limits.max_percent / 100))
    allowed = min(limits.max_objects, share)
    if count <= allowed:
        return going, ""
    if count > limits.max_objects:
        why = f"{count} objects are more than limits.max_objects {limits.max_objects}"
    else:
        most = f"{limits.max_percent:g} % ({share} here)"
        why = f"{count} of {population} objects are more than limits.max_percent {most}"
    if limits.takes_first:
        return going[:allowed], f"{why}; the first {allowed} go, the next run goes on"
    command = f"`dockwarden plan --policy {policy.name} --over-limits --save FILE`"
    return (), f"{why}; nothing is done; if it is right, {command}, look, `dockwarden apply FILE`"

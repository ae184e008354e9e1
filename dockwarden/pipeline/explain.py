"""All that is known of one object, or of one policy, as one frozen value: what ``explain`` prints and pages show.

Input: the inventory, results of judging, the policies in use, what the ledger says of the past. Output: an
``Explanation`` or a ``PolicyExplanation``. Out of bounds: asking an engine or a registry, judging, printing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, assert_never

from pydantic import PlainSerializer, WithJsonSchema

from dockwarden import reference
from dockwarden.actions.containers import waits_for
from dockwarden.inventory.live import Inventory
from dockwarden.model.objects import Container, Ref
from dockwarden.model.policies import FactValue, Policy, PolicyException, PolicySet, Result
from dockwarden.model.words import Kind, Mode, Severity, Status
from dockwarden.pipeline.enforce import Enforcer
from dockwarden.policy.findings import Findings
from dockwarden.sinks.board import PastOf
from dockwarden.text import moment

_IMAGE = "size created known_for idle_for origin base root os architecture"


class _Words(NamedTuple):
    """How an object of a kind is told: the facts that say in short what it is, and what a container does with it."""

    subject: str
    facts: str
    how: str = "uses"


def _words(kind: Kind) -> _Words:
    match kind:
        case Kind.IMAGE:
            return _Words("image", _IMAGE, "runs")
        case Kind.TAG:
            return _Words("image", f"short_id {_IMAGE}", "created from")
        case Kind.CONTAINER:
            state = "freshness state state_for health exit_code restart_count created"
            return _Words("container", f"image_ref image_id {state} owner network_mode root", "stands on")
        case Kind.VOLUME:
            return _Words("volume", "driver anonymous created known_for idle_for owner", "mounts")
        case Kind.NETWORK:
            return _Words("network", "driver builtin internal created known_for idle_for owner", "joins")
        case Kind.SERVICE:
            state = "mode replicas update_state memory_limit cpu_limit created"
            return _Words("service", f"stack image_ref image_digest {state}")
        case Kind.HOST:
            size = "disk_used_percent images containers volumes"
            return _Words("host", f"engine_version image_store storage_driver swarm_role kernel {size}")
        case _:
            assert_never(kind)


_NOT_SHOWN = (Status.PASS, Status.SKIP)

FactsOf = Callable[[Ref, Sequence[str]], Mapping[str, FactValue]]
"""The named facts of an object, as far as they are to be had."""


@dataclass(frozen=True, slots=True)
class Link:
    """Another object that an object has to do with, and how."""

    how: str
    kind: str
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class TagLine:
    """A tag of the object's image: the digest here, the one at the registry when it was last seen, the state."""

    tag: str
    digest: str
    registry_digest: str
    state: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a policy says of an object. ``opened_at`` and ``until`` are seconds since the epoch, None for not known."""

    policy: str
    severity: str
    subject: str
    id: str
    name: str
    result: str
    message: str
    reason: str
    remediation: str
    opened_at: float | None
    exceptions: tuple[str, ...]
    until: float | None


@dataclass(frozen=True, slots=True)
class Fate:
    """What a policy with an action would do to an object: ``outcome`` is planned or kept, ``reason`` the rule."""

    policy: str
    action: str
    mode: str
    outcome: str
    reason: str
    detail: str


Time = Annotated[float, PlainSerializer(moment), WithJsonSchema({"type": "string", "format": "date-time"})]
"""Seconds since the epoch, and RFC 3339 in JSON of the API."""


@dataclass(frozen=True, slots=True)
class ExceptionRow:
    """An exception, and how many findings it excuses now; its state is active, unused or expired."""

    id: str
    policies: tuple[str, ...]
    match: str
    reason: str
    owner: str
    until: Time | None
    effect: str
    state: str
    used: int
    place: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One object.

    Attributes:
        about: facts in short, by their names in the vocabulary; what is not known is left out.
        tags: of its image, so that aliases show.
        uses, used_by: what it stands on, and what depends on it.
        found: results but pass and skip, worst first; those of an image include its tags', those of a tag its image's.
        fates: of each policy with an action on this kind.
        done, past: actions on it, and findings on it that are over, newest first, as the ledger has them.
    """

    kind: str
    id: str
    name: str
    about: Mapping[str, FactValue]
    tags: tuple[TagLine, ...]
    uses: tuple[Link, ...]
    used_by: tuple[Link, ...]
    found: tuple[Found, ...]
    fates: tuple[Fate, ...]
    done: tuple[Mapping[str, object], ...]
    past: tuple[Mapping[str, object], ...]


class PolicyExplanation(NamedTuple):
    """One policy, what it finds now, and who is excused from it; ``counts`` are of objects, by result."""

    policy: Policy
    counts: Mapping[str, int]
    found: tuple[Found, ...]
    exceptions: tuple[ExceptionRow, ...]

    @property
    def expressions(self) -> dict[str, str]:
        both = {"select": self.policy.select, "when": self.policy.when}
        return {key: program.source for key, program in both.items() if program is not None}


@dataclass(eq=False)
class Explainer:
    """Explains what is in one inventory by what is in the book of findings.

    Without ``asks`` nothing is asked of the engine, and another thread may be at work with the same parts.
    """

    inventory: Inventory
    findings: Findings
    enforcer: Enforcer
    now: float
    asks: bool = True

    def object(
        self, ref: Ref, policies: Iterable[Policy], results: Sequence[Result], facts: FactsOf, past: PastOf = ([], [])
    ) -> Explanation:
        """Explain an object. ``results``: what the policies say of it, and of what else those with an action find."""
        known, words = {policy.name: policy for policy in policies}, _words(ref.kind)
        near = self.inventory.near(ref)
        return Explanation(
            kind=ref.kind.value,
            id=ref.key,
            name=self.inventory.name_of(ref),
            about=facts(ref, [f"{words.subject}.{name}" for name in words.facts.split()]),
            tags=tuple(self._tag_lines(ref, facts)),
            uses=tuple(self._uses(ref)),
            used_by=tuple(self._used_by(ref)),
            found=self._found(known, [result for result in results if result.ref in near]),
            fates=tuple(self._fates(ref, [p for p in known.values() if p.subject is ref.kind], results)),
            done=tuple(past[0]),
            past=tuple(past[1]),
        )

    def policy(self, name: str, policies: PolicySet, results: Sequence[Result]) -> PolicyExplanation:
        """Explain a policy. Raises KeyError. ``results``: what it says of all objects."""
        policy = {each.name: each for each in policies.policies}[name]
        own = [result for result in results if result.policy == name]
        return PolicyExplanation(
            policy,
            Counter(result.status.value for result in own),
            self._found({name: policy}, own),
            tuple(each for each in self.exceptions(policies.exceptions) if name in each.policies),
        )

    def exceptions(self, exceptions: Iterable[PolicyException]) -> Iterator[ExceptionRow]:
        used = self.findings.used()
        for each in exceptions:
            is_over = each.until_at is not None and each.until_at < self.now
            state = "expired" if is_over else "active" if used[each.id] else "unused"
            effect = "both" if each.told and each.acted else "report" if each.told else "act"
            about = (tuple(sorted(each.policies)), each.match.source, each.reason, each.owner, each.until_at)
            yield ExceptionRow(each.id, *about, effect, state, used[each.id], each.place)

    def standing(self, severities: Mapping[str, Severity]) -> list[Result]:
        """What the book has as results, from any thread: open, aside, not judged. ``severities``: of all policies."""
        results = [finding.result for finding in self.findings.open()]
        told = {(result.policy, result.ref) for result in results}
        for policy, ref, aside in self.findings.asides():
            if (policy, ref) not in told:
                status = Status.EXCUSED if aside.excuse else Status.PENDING
                name, severity = self.inventory.name_of(ref), Severity(aside.severity)
                results.append(Result(policy, ref, name, status, severity, reason=aside.excuse))
        for (policy, ref), word in self.findings.unknown().items():
            if policy in severities:
                status = Status.ERROR if word == "error" else Status.UNKNOWN
                name = self.inventory.name_of(ref)
                results.append(Result(policy, ref, name, status, severities[policy], reason=word))
        return results

    def _found(self, policies: Mapping[str, Policy], results: Iterable[Result]) -> tuple[Found, ...]:
        # What opened in this very look, nobody watched before.
        opened = {(f.result.policy, f.result.ref): f.opened_at for f in self.findings.open() if f.opened_at < self.now}
        shown = [result for result in results if result.status not in _NOT_SHOWN and result.policy in policies]
        shown.sort(key=lambda r: (r.status is not Status.FAIL, r.severity.rank, r.policy, r.name))
        return tuple(
            Found(
                policy=result.policy,
                severity=result.severity.value,
                subject=result.ref.kind.value,
                id=result.ref.key,
                name=result.name,
                result=result.status.value,
                message=result.message,
                reason=result.reason,
                remediation=policies[result.policy].remediation,
                opened_at=opened.get((result.policy, result.ref)),
                exceptions=result.excuse.ids,
                until=result.excuse.until_at,
            )
            for result in shown
        )

    def _fates(self, ref: Ref, policies: Iterable[Policy], results: Sequence[Result]) -> Iterator[Fate]:
        for policy in policies:
            if not policy.action or policy.mode is Mode.OFF:
                continue
            own = [result for result in results if result.policy == policy.name]
            found = [result for result in own if result.status.is_found]
            plan = self.enforcer.plan(policy, found, asks=self.asks)
            rows = [("planned", "finding", step.why) for step in plan.steps if step.ref == ref]
            rows += [("kept", outcome.reason, outcome.detail) for outcome in plan.kept if outcome.ref == ref]
            rest = [result for result in own if result.ref == ref]
            if not rows and rest:
                rows = [("kept", *self.enforcer.why_unplanned(policy, rest[0]))]
            elif not rows and policy.gate is not None and not own:
                rows = [("kept", "gate", "its gate is closed")]
            yield from (Fate(policy.name, policy.action, policy.mode.value, *row) for row in rows[:1])

    def _tag_lines(self, ref: Ref, facts: FactsOf) -> Iterator[TagLine]:
        digests, image = self.inventory.digests, self.inventory.image_of(ref)
        for tag in image.tags if image else ():
            here = digests.pick(tag, image.digests) if image else ""
            state = facts(Ref(Kind.TAG, tag), ("registry.state",)).get("registry.state", "")
            yield TagLine(tag, here, digests.present(tag, "registry"), str(state))

    def _uses(self, ref: Ref) -> Iterator[Link]:
        thing = self.inventory.get(ref)
        if not isinstance(thing, Container):
            return
        for used in sorted({*self.inventory.uses(thing)}):
            yield self._link(_words(used.kind).how, used)
        for mount in thing.mounts:
            if not mount.name:
                yield Link("mounts", mount.type, mount.source, mount.source or mount.destination)

    def _used_by(self, ref: Ref) -> Iterator[Link]:
        inventory = self.inventory
        for user in sorted(inventory.users_of(inventory.watched(ref))):
            yield self._link("used by", user)
        thing = inventory.get(ref)
        if not isinstance(thing, Container):
            return
        for other in list(inventory.containers.values()):
            if waits_for(other, thing) is not None:
                yield self._link("depends on it", Ref(Kind.CONTAINER, other.id))

    def _link(self, how: str, ref: Ref) -> Link:
        return Link(how, ref.kind.value, ref.key, self.inventory.name_of(ref))


def refs_named(name: str, inventory: Inventory) -> list[Ref]:
    """What ``[KIND/]NAME`` may mean, as people name objects: by name, reference, or the beginning of an ID."""
    kind, _, rest = name.partition("/")
    if kind in list(Kind) and (rest or kind == Kind.HOST):
        return _of_kind(Kind(kind), rest, inventory)
    if name == Kind.HOST:
        return [Ref(Kind.HOST, "")]
    found = [ref for each in Kind if each is not Kind.HOST for ref in _of_kind(each, name, inventory)]
    tagged = {inventory.tags[ref.key] for ref in found if ref.kind is Kind.TAG}  # whoever names a tag means the tag
    return [ref for ref in found if not (ref.kind is Kind.IMAGE and ref.key in tagged)]


_LEAST_ID_DIGITS = 4


def _of_kind(kind: Kind, name: str, inventory: Inventory) -> list[Ref]:
    if kind is Kind.HOST:
        return [Ref(kind, "")] if name in ("", inventory.name_of(Ref(kind, ""))) else []
    full = reference.full(name)
    exact = [ref for ref in inventory.all(kind) if name in (ref.key, inventory.name_of(ref))]
    exact += [ref for ref in inventory.all(kind) if ref.key == full and ref not in exact]
    if kind is Kind.IMAGE:
        exact += [Ref(kind, image.id) for image in inventory.images.values() if full in (*image.tags, *image.digests)]
    digits = name.removeprefix("sha256:")
    if exact or len(digits) < _LEAST_ID_DIGITS or kind in (Kind.TAG, Kind.VOLUME):
        return list(dict.fromkeys(exact))
    return [ref for ref in inventory.all(kind) if ref.key.removeprefix("sha256:").startswith(digits)]

"""Bringing back what was removed, and starting from scratch with a bad image. What ``undo`` and ``reset`` do.

Input: settings, what a person named. Output: what can be undone, a plan, outcomes. Out of bounds: printing, asking.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from dockwarden import reference
from dockwarden.actions.images import give_names
from dockwarden.actions.plan import protecting
from dockwarden.actions.repull import reply_to
from dockwarden.actions.undo import Undoer
from dockwarden.actions.verb import PROTECT_LABEL, SWARM
from dockwarden.app import Parts, open_ledger
from dockwarden.config.settings import Settings
from dockwarden.errors import DockwardenError, EngineError, NotFoundError, UsageError
from dockwarden.inventory.container_facts import labels_that_count, orchestrator_of
from dockwarden.metrics import Metrics
from dockwarden.model import Container, Effect, EngineInfo, Image, Kind, Outcome, Record, Ref, Step, Thing, ref_of
from dockwarden.oneshot.look import take
from dockwarden.ports import Ask

_POLICY = "reset"
_SHORTEST = 4  # of what stands for a run


def undoable(settings: Settings, what: str) -> list[Record]:
    """What can still be undone, newest first: all, or of one run or action. Asks no engine. Raises LedgerError."""
    with closing(open_ledger(settings)) as ledger:
        return ledger.undoable(_whole(what, ledger.undoable()))


def _whole(what: str, undoable: Iterable[Record]) -> str:
    """The run that begins so, which no number of an action does. Raises UsageError: there are several."""
    runs = {done.run for done in undoable if done.run.startswith(what)}
    if what in runs or what.isdecimal() or len(what) < _SHORTEST:
        return what
    if len(runs) > 1:
        raise UsageError(f"{what} may be {', '.join(sorted(runs))}")
    return next(iter(runs), what)


class Mender:
    """Undoes actions, and carries out resets, on one engine; to be closed."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError."""
        self._parts = Parts(settings, Metrics())
        self._protected = settings.protect.by_kind()

    def close(self) -> None:
        self._parts.close()

    def undo(self, what: str) -> Iterator[tuple[Record, Outcome]]:
        """Undo a run or an action. Raises EngineUnavailableError.

        DockwardenError: nothing can be undone, or the ledger is of another engine; UsageError: several runs begin so.
        """
        info = self._parts.engine.connect()
        taken = list(take(self._parts, info))
        what = _whole(what, [*self._parts.ledger.undoable(), *(done for done, _ in taken)])
        back = [each for each in taken if what in (each[0].run, str(each[0].number))]
        yield from back
        actions = self._parts.ledger.undoable(what)
        if not (actions or back):
            raise DockwardenError(f"{what}: nothing of it can be undone; `dockwarden undo --list` shows what can")
        with self._parts.ledger.alone():
            yield from self._undo(info, actions)

    def _undo(self, info: EngineInfo, actions: Sequence[Record]) -> Iterator[tuple[Record, Outcome]]:
        parts = self._parts
        by_object = {(done.ref, done.name): done for done in actions}
        for outcome in Undoer(parts.tools(info), parts.ledger).undo(uuid.uuid4().hex[:12], actions):
            yield by_object[outcome.ref, outcome.name], outcome

    def reset(self, name: str) -> "Reset":
        """Find out what hangs on an image and whether a fresh one can be had; changes nothing.

        Raises EngineUnavailableError. DockwardenError: it cannot be done, and why.
        """
        engine = self._parts.engine
        info = engine.connect()
        take(self._parts, info)
        try:
            tag = str(reference.parse(name))
            image = engine.image(tag)
        except (ValueError, NotFoundError):
            gone, full = self._parts.ledger.undoable(), reference.full(name)
            runs = (each.run for each in gone if full in each.recipe.parameters.get("tags", ()))
            way = next((f"`dockwarden undo {run}` brings it back" for run in runs), "reset takes a tag")
            raise DockwardenError(f"{name}: there is no such tag here; {way}") from None
        if "@" in tag:
            raise DockwardenError(f"{name}: reset takes a tag, as a digest always names the same image")
        digest = self._served(tag)
        images = [image, *self._predecessors(tag, image)]
        containers = [engine.container(each) for each in engine.container_ids()]
        ids = {each.id for each in images}
        hanging = [each for each in containers if each.image_id in ids or reference.full(each.image_ref) == tag]
        self._refuse(images, hanging)
        self._refuse_dependents(ids, hanging, containers)
        return Reset(uuid.uuid4().hex[:12], info, tag, digest, image, images, hanging, self._cut_short(tag, containers))

    def _cut_short(self, tag: str, containers: Sequence[Container]) -> list[str]:
        """The containers that resets of it took which never came to its image, but for names that are here again."""
        took = [each for each in self._parts.ledger.undoable() if each.policy == _POLICY]
        here = {each.name for each in containers}
        ended = {each.run for each in took if each.ref.kind is Kind.IMAGE}
        of_it = [each for each in took if reference.full(str(each.recipe.parameters.get("image_ref"))) == tag]
        return [each.name for each in of_it if each.run not in ended and each.name not in here]

    def _served(self, tag: str) -> str:
        """The digest that the registry would give now."""
        registry = self._parts.registry
        reply = reply_to(registry.ask(Ask("digest", tag), 0.0))
        if not reply.reason:
            name = f"{tag.rpartition(':')[0]}@{reply.digest}"
            found = reply_to(registry.ask(Ask("manifest", name), 0.0))
            if not found.reason:
                return reply.digest
            reply = found
        raise DockwardenError(f"{tag}: its registry does not give a fresh one ({reply.reason}); nothing was removed")

    def _predecessors(self, tag: str, image: Image) -> list[Image]:
        """Untagged images that had this tag, by the digests that we saw it have."""
        past = {digest for side, digest, _, _ in self._parts.ledger.history(tag) if side == "local"}
        found = [
            each
            for each in self._parts.engine.images()
            if not each.tags and each.id != image.id
            if each.id in past or past & {digest.partition("@")[2] for digest in each.digests}
        ]
        return [self._parts.engine.image(each.id) for each in found]

    def _refuse(self, images: Sequence[Image], containers: Sequence[Container]) -> None:
        running = [each.name for each in containers if each.running]
        if any(each.id == self._parts.own for each in containers):
            raise DockwardenError("it is dockwarden's own image; nothing was removed")
        if running:
            raise DockwardenError(f"running containers use it: {', '.join(sorted(running))}; stop them first")
        by_id = {each.id: each for each in images}
        theirs = [labels_that_count(each, by_id.get(each.image_id)) for each in containers]
        managers = zip(containers, map(orchestrator_of, theirs), strict=True)
        owned = [f"{each.name} ({manager})" for each, manager in managers if manager]
        if owned:
            raise DockwardenError(f"an orchestrator manages {', '.join(sorted(owned))}; let it drain this host first")
        things: list[Thing] = [*images, *containers]
        for each in things:
            if glob := protecting(self._protected, ref_of(each), "", each):
                raise DockwardenError(f"protect in the settings: {glob}; nothing was removed")
        if any(PROTECT_LABEL in each for each in (*theirs, *(image.labels for image in images))):
            raise DockwardenError(f"the label {PROTECT_LABEL} protects it or a container of it; nothing was removed")

    def _refuse_dependents(
        self, ids: Collection[str], hanging: Sequence[Container], containers: Sequence[Container]
    ) -> None:
        """Where containers need those that hang on the images, or mount these, or images were built on them."""
        going = {name for each in hanging for name in (each.id, each.name)}
        if left := [each.name for each in containers if each not in hanging and not going.isdisjoint(each.stands_on)]:
            raise DockwardenError(f"without its containers these could not start: {', '.join(left)}; remove them first")
        others = (each for each in containers if each not in hanging)
        if left := [each.name for each in others if any(mount.image_id in ids for mount in each.mounts)]:
            raise DockwardenError(f"containers mount it: {', '.join(left)}; remove them first")
        children, above = self._parts.engine.children(), list(ids)  # also those between, which no list shows
        for key in above:
            above += set(children.get(key, ())).difference(above)
        if built := [each for each in self._parts.engine.images() if each.id not in ids and each.id in above]:
            names = ", ".join(next(iter(each.tags), reference.short_id(each.id)) for each in built)
            raise DockwardenError(f"images were built from it: {names}; remove them first, then build them anew")

    def carry_out(self, reset: "Reset") -> Iterator[Outcome]:
        """Remove, pull and verify; where something fails on the way, what was removed is brought back.

        Raises DockwardenError: it failed, and what came of it.
        """
        with self._parts.ledger.alone():
            try:
                yield from self._start_afresh(reset)
            except DockwardenError as error:
                for _, outcome in self._undo(reset.info, self._parts.ledger.undoable(reset.run)):
                    yield outcome
                later = f"what is still missing, if anything is, comes back with `dockwarden undo {reset.run}`"
                raise DockwardenError(f"{error}; {later}") from error

    def _start_afresh(self, reset: "Reset") -> Iterator[Outcome]:
        for outcome in self._parts.executor(reset.info).run(reset.run, reset.steps):
            yield outcome
            if outcome.effect is not Effect.APPLIED:
                raise DockwardenError(f"{outcome.name} could not be removed: {outcome.reason}: {outcome.detail}")
        try:
            fresh = self._pulled(reset)
        except EngineError as error:
            raise DockwardenError(f"the pull failed: {error}") from error
        if f"{reset.tag.rpartition(':')[0]}@{reset.digest}" not in fresh.digests:
            with suppress(EngineError):  # the old one is to have it again
                self._parts.engine.untag(reset.tag)
            told = f"its digest is not {reset.digest}, which the registry had told"
            raise DockwardenError(f"{reset.tag} was pulled, but {told}")

    def _pulled(self, reset: "Reset") -> Image:
        engine = self._parts.engine
        engine.pull_image(reset.tag, "", self._parts.registry.login(reference.parse(reset.tag).registry))
        fresh = engine.image(reset.tag)
        if fresh.id == reset.image.id:
            give_names(engine, fresh.id, reset.image.tags)
        else:
            reset.lost.extend(tag for tag in reset.image.tags if tag != reset.tag)
        return fresh


@dataclass(frozen=True)
class Reset:
    """What a reset would do.

    Attributes:
        digest: what the registry has for the tag.
        images: the image and the untagged ones that had its tag before.
        containers: those made from them, none of which runs; whoever made them has to recreate them.
        before: containers that resets of it took which were cut short.
        lost: once it is carried out, the other tags of an image that came back as another one.
    """

    run: str
    info: EngineInfo
    tag: str
    digest: str
    image: Image
    images: Sequence[Image]
    containers: Sequence[Container]
    before: Sequence[str] = ()
    lost: list[str] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        why = f"reset of {self.tag}"
        gone = [Step(_POLICY, "remove", Ref(Kind.CONTAINER, each.id), each.name, each, why) for each in self.containers]
        for each in self.images:
            name = each.tags[0] if each.tags else reference.short_id(each.id)
            swarm = {"owners": [SWARM]}  # where nobody here knows of services: it is pulled again
            gone.append(Step(_POLICY, "remove", Ref(Kind.IMAGE, each.id), name, each, why, swarm))
        return gone

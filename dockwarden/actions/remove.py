"""Each action on one object: whether it is still what was judged, and the deed itself, never forced.

Input: a ``Step``, ``ports.Engine``. Output: the object as it is now, then an ``Outcome``. Out of bounds: deciding, the
ledger, the order of steps, and any request that takes more than the one thing that was judged.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress

from dockwarden import reference
from dockwarden.errors import ConflictError, EngineError, EngineUnavailableError, NotFoundError
from dockwarden.model import Container, Effect, Image, ImageStore, Intent, Kind, Network, Outcome, Step, Thing, Volume
from dockwarden.ports import Engine


class Kept(Exception):  # noqa: N818 - not an error: a rule found at the last moment
    """The object stays, and why."""

    def __init__(self, effect: Effect, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self._effect, self._reason, self._detail = effect, reason, detail

    def outcome(self, step: Step) -> Outcome:
        """What it means for a step."""
        return outcome_of(step, self._effect, self._reason, self._detail)


def outcome_of(step: Step, effect: Effect, reason: str, detail: str = "") -> Outcome:
    """The outcome of a step; what it freed is measured elsewhere."""
    return Outcome(
        step.policy, step.action, step.ref, step.name, effect, reason, detail=detail, planned_bytes=step.planned_bytes
    )


class Remover:
    """Acts on the objects of one engine. The store decides by which name a nameless image can safely be removed."""

    def __init__(self, engine: Engine, store: ImageStore) -> None:
        self._engine = engine
        self._store = store
        self._taken: dict[str, set[str]] = defaultdict(set)  # by image, the names that it lost to this plan

    # -- looking -------------------------------------------------------------------------------------------

    def check(self, step: Step) -> Thing | None:
        """The object as it is now; None for the host.

        Raises:
            Kept: it is not what was judged, or it is in use.
            NotFoundError: it is gone.
        """
        match step.object:
            case Image() as judged:
                return self._check_image(step, judged)
            case Container() as judged:
                return self._check_container(step, judged)
            case Volume() as judged:
                volume = self._engine.volume(judged.name)
                _refuse_change(unless=volume == judged)
                self._refuse_users(self._engine.users_of_volume(judged.name))
                return volume
            case Network() as judged:
                network = self._engine.network(judged.id)
                _refuse_change(unless=network == judged and not network.builtin)
                self._refuse_users(self._engine.users_of_network(judged.name))
                return network
            case None:
                return None

    def _check_image(self, step: Step, judged: Image) -> Image:
        image = self._engine.image(judged.id if step.ref.kind is Kind.IMAGE else step.ref.key)
        _refuse_change(unless=_is_as_judged(image, judged, self._taken[image.id]))
        users = self._engine.users_of(image.id)
        if users and (step.ref.kind is Kind.IMAGE or len(image.tags) <= 1):
            self._refuse_users(users)
        for user in users:
            with suppress(NotFoundError):  # it went a moment ago
                if reference.full(self._engine.container(user).image_ref) == step.ref.key:
                    raise Kept(Effect.REFUSED, "in_use", "a container was created from this tag")
        return image

    def _check_container(self, step: Step, judged: Container) -> Container:
        container = self._engine.container(judged.id)
        same = (container.name, container.running, container.state, container.started_at, container.finished_at)
        before = (judged.name, judged.running, judged.state, judged.started_at, judged.finished_at)
        _refuse_change(unless=same == before and dict(container.labels) == dict(judged.labels))
        if step.action == "remove" and container.running:
            raise Kept(Effect.REFUSED, "in_use", "it runs")
        return container

    def _refuse_users(self, users: Sequence[str]) -> None:
        if users:
            raise Kept(Effect.REFUSED, "in_use", f"{len(users)} containers")

    # -- doing ---------------------------------------------------------------------------------------------

    def carry_out(self, step: Step, found: Thing | None) -> Outcome:
        """Do it to the object that ``check`` found a moment ago.

        Raises:
            NotFoundError: it is gone.
            EngineUnavailableError: whether it happened is not known.
            EngineError: the engine did not do it.
        """
        if isinstance(found, Image):
            return self._remove_image(step, found)
        try:
            return self._act(step, found)
        except ConflictError as error:  # it came into use
            return outcome_of(step, Effect.REFUSED, "conflict", str(error))

    def _act(self, step: Step, found: Container | Volume | Network | None) -> Outcome:
        match found:
            case Container() if step.action == "stop":
                self._engine.stop_container(found.id)
                return outcome_of(step, Effect.APPLIED, "stopped")
            case Container():
                self._engine.remove_container(found.id)
            case Volume():
                self._engine.remove_volume(found.name)
            case Network():
                self._engine.remove_network(found.id)
            case None:
                said = self._engine.trim_build_cache(step.options["max_used_bytes"])
                return outcome_of(step, Effect.APPLIED, "trimmed", f"the engine says {said} bytes")
        return outcome_of(step, Effect.APPLIED, "removed")

    def _remove_image(self, step: Step, image: Image) -> Outcome:
        taken = self._taken[image.id]
        try:
            for number, name in enumerate((step.ref.key,) if step.ref.kind is Kind.TAG else self._names(image)):
                if number and self._engine.image(name).id != image.id:
                    moved = outcome_of(step, Effect.SKIPPED, "changed", f"{name} names another image now")
                    return self._give_back(step, image, moved)
                if name == reference.marker(image.id):
                    self._engine.tag(image.id, name)
                self._engine.untag(name)
                taken.add(name)
        except ConflictError as error:  # it came into use
            return self._give_back(step, image, outcome_of(step, Effect.REFUSED, "conflict", str(error)))
        except NotFoundError:
            pass  # somebody else was quicker, or it got another name: what is left decides
        except EngineUnavailableError:
            raise
        except (EngineError, ValueError) as error:
            return self._give_back(step, image, outcome_of(step, Effect.FAILED, "engine_error", str(error)))
        return self._what_is_left(step, image)

    def _give_back(self, step: Step, image: Image, outcome: Outcome) -> Outcome:
        """The image stays, so it gets back the names that this step took; none is taken from another image."""
        names = self._taken[image.id].intersection((step.ref.key,) if step.ref.kind is Kind.TAG else image.tags)
        for name in sorted(names):
            try:
                if name_free(self._engine, name):
                    self._engine.tag(image.id, name)
                    self._taken[image.id].discard(name)
            except EngineUnavailableError:
                raise
            except EngineError as error:
                return outcome_of(step, Effect.FAILED, "engine_error", f"{name} could not be given back: {error}")
        return outcome

    def _names(self, image: Image) -> Sequence[str]:
        """The names whose removal removes the image; an unforced removal by ID would take a tag set a moment ago."""
        repositories = {tag.rpartition(":")[0] for tag in image.tags}
        # A digest goes with the last tag of its repository; one without is a name of its own, and cannot be given back.
        names = (*image.tags, *(name for name in image.digests if name.partition("@")[0] not in repositories))
        if names:
            return names
        if self._store is ImageStore.CONTAINERD:
            return (f"moby-dangling@{image.id}",)
        return (reference.marker(image.id),)

    def _what_is_left(self, step: Step, image: Image) -> Outcome:
        try:
            left = self._engine.image(image.id)
        except NotFoundError:
            return outcome_of(step, Effect.APPLIED, "removed")
        except EngineError as error:
            return outcome_of(step, Effect.APPLIED, "unverified", str(error))
        if step.ref.kind is Kind.TAG and step.ref.key not in left.tags:
            return outcome_of(step, Effect.APPLIED, "untagged")
        if left.tags or left.digests:
            kept = outcome_of(step, Effect.SKIPPED, "renamed", "it got another name in the meantime")
        else:
            kept = outcome_of(step, Effect.REFUSED, "conflict", "other images were built from it")
        return self._give_back(step, image, kept)


def name_free(engine: Engine, name: str) -> bool:
    """Whether no image has this name."""
    try:
        engine.image(name)
    except NotFoundError:
        return True
    return False


def _refuse_change(*, unless: bool) -> None:
    if not unless:
        raise Kept(Effect.SKIPPED, "changed", "it is not what was judged any more")


def _is_as_judged(image: Image, judged: Image, taken: set[str]) -> bool:
    """Whether it is the image that was judged, but for names that the same plan took; with them its digests may go."""
    digests, before = set(image.digests), set(judged.digests)
    return (
        image.id == judged.id
        and set(image.tags) == set(judged.tags) - taken
        and (digests == before or (bool(taken) and digests < before))
        and dict(image.labels) == dict(judged.labels)
    )


def close_intent(engine: Engine, intent: Intent, *, still_there: bool) -> Outcome:
    """The end of an action that was cut short, told by whether its object is still as it was.

    An image that is still there gets back the names that it had lost by then, but for those that another one has.
    """
    effect, reason = (Effect.SKIPPED, "interrupted") if still_there else (Effect.APPLIED, "found_gone")
    if still_there and intent.action == "remove":
        for name in intent.recipe.parameters.get("tags", ()):
            with suppress(EngineError):
                if name_free(engine, name):
                    engine.tag(intent.image_id, name)
    return Outcome(intent.policy, intent.action, intent.ref, intent.name, effect, reason)


def sweep_markers(engine: Engine, images: Iterable[Image]) -> None:
    """Take our marker off images that got another name since; one without stays marked until its policy runs again."""
    for image in images:
        if image.tags or image.digests:
            for marker in image.markers:
                with suppress(EngineError):
                    engine.untag(marker)

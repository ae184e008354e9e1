"""What verbs on images and tags share: its names go, and come back. Pure but for its tools.

Input: an image as it was judged, the names that are to go. Output: the image without them, or with all of them again.
Out of bounds: removing by ID: an unforced removal by ID would take a tag that somebody set a moment ago.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from pydantic import BaseModel

from dockwarden import reference
from dockwarden.actions import verb
from dockwarden.actions.archive import ArchiveError, Write
from dockwarden.actions.repull import FRESH_SECONDS, give_digests, is_served, other_platforms, pull
from dockwarden.actions.verb import Applied, Gain, OwnedLosable, Stays, Tools, Unfinished, Verb
from dockwarden.errors import AnswerError, EngineError, MissingError, NotFoundError
from dockwarden.model import Effect, Event, Image, ImageStore, Kind, Recipe, Record, Ref, Step
from dockwarden.ports import Ask, Engine

DANGLING = "moby-dangling@"
"""What the name begins with that a containerd store makes up for an image without one."""

_TAR_SHARE = 1.125  # of an image's size that its tar takes, at most, but for thousands of tiny files


class ImageVerb(Verb[Image]):
    options: ClassVar[type[BaseModel]] = OwnedLosable
    gain = Gain.LAYERS

    @abstractmethod
    def names(self, tools: Tools, step: Step, image: Image) -> Sequence[str]:
        """The names that are to go."""

    def about(self, found: Image) -> Mapping[str, Any]:
        return {
            "id": found.id,
            "tags": list(found.tags),
            "digests": list(found.digests),
            "size_bytes": found.size_bytes,
            "labels": dict(found.labels),
            "platform": platform_of(found),
            "platforms": list(found.details.platforms) if found.details else [],
        }

    # -- before ------------------------------------------------------------------------------------------------

    def last_name(self, tools: Tools, step: Step, found: Image) -> str:
        """That which goes first, if it has one: somebody may move it until the very end."""
        name = next(iter(self.names(tools, step, found)), "")
        return "" if name.startswith((DANGLING, reference.marker(found.id))) else name

    def check(self, tools: Tools, step: Step, judged: Image, found: Image) -> None:
        """As it was judged, but for the names that this plan took."""
        taken, digests, before = tools.taken[found.id], set(found.digests), set(judged.digests)
        verb.refuse_change(
            unless=found.id == judged.id
            and set(found.tags) == set(judged.tags) - taken
            and (digests == before or (bool(taken) and digests < before))  # digests go with names
            and dict(found.labels) == dict(judged.labels)
        )

    def prepare(self, tools: Tools, thing: Image) -> None:
        """Ask registries whether they still have it."""
        tools.asked |= {name: tools.registry.ask(Ask("digest", name), FRESH_SECONDS) for name in thing.digests}

    def recipe(self, tools: Tools, step: Step, found: Image) -> Recipe:
        """A pull where a registry still has it, else an archive."""
        known = {**self.about(found), "store": tools.store}
        for name in found.digests:
            if is_served(tools, name):
                return Recipe("pull", {**known, "from": name})

        def save(write: Write) -> None:
            self.check_users(tools, step, found)
            _refuse_copy(tools, found)
            try:
                tools.engine.save_image(found.id, write)
            except AnswerError as error:
                raise ArchiveError(f"the engine cannot save it: {error}") from error

        try:
            kept = tools.archive.write(save, found.size_bytes, proof=found.id.partition(":")[2])
        except ArchiveError as error:
            raise type(error)(f"no registry serves it, and {error}") from error
        return Recipe("load", known, *kept)

    # -- the deed ------------------------------------------------------------------------------------------------

    def act(self, tools: Tools, step: Step, found: Image) -> Applied:
        """Take the names, one by one; where the image stays, it gets back those that this step took."""
        gone: list[str] = []
        try:
            for name in self.names(tools, step, found):
                gone.append(name)  # also where an error comes after the deed
                went = _take(tools, found, name)
                if went and tools.store is ImageStore.GRAPH:  # the other says so, too, of one that another record keeps
                    _take_steps(tools, found)
                    return Applied("removed")
                with suppress(Stays):  # what was begun is ended, as what came back would lack its digests
                    tools.archive.progress()  # a thousand names take minutes, and more events than engines remember
        except NotFoundError:
            gone.pop()  # somebody else was quicker, or it got another name: what is left decides
        except (Stays, AnswerError, ValueError) as error:
            is_misdirected = isinstance(error, Stays) and error.ref is not None
            if is_misdirected:
                gone.pop()  # it was another's
            if not _return(tools, found, gone) and not is_misdirected:
                return Applied("found_gone", str(error))
            if isinstance(error, ValueError):
                raise Stays(Effect.FAILED, "engine_error", str(error)) from error
            raise
        return self._what_is_left(tools, step, found, gone)

    def is_gone(self, step: Step, left: Image) -> bool:
        """Whether what is left of the image is as it was to be."""
        return False

    def _what_is_left(self, tools: Tools, step: Step, image: Image, gone: Sequence[str]) -> Applied:
        try:
            left = tools.engine.image(image.id)
        except NotFoundError:
            return Applied("removed")
        except EngineError as error:
            return Applied("unverified", str(error))
        if self.is_gone(step, left):
            return Applied("untagged")
        if not _return(tools, image, gone):
            return Applied("removed")
        if left.tags or left.digests:
            raise Stays(Effect.SKIPPED, "renamed", "it got another name in the meantime")
        raise _built_upon()

    # -- afterwards ----------------------------------------------------------------------------------------------

    def undo(self, tools: Tools, done: Record) -> Applied:
        """Have the image again, then give it its names; both can be tried again.

        The same image has another ID in another store, to which the engine may have been switched.
        """
        about, method = done.recipe.parameters, done.recipe.method
        is_switched = about.get("store", tools.store) != tools.store
        image = _again(tools, done, is_switched=is_switched)
        is_pulled = method == "pull" and tools.store is ImageStore.CONTAINERD
        repository = str(about.get("from")).partition("@")[0]
        lacking = (tag for tag in about["tags"] if tag.rpartition(":")[0] == repository and not tools.image(tag))
        if is_pulled and any(lacking):
            drop_digest(tools.engine, image, str(about["from"]))
        taken = give_names(tools.engine, image.id, about["tags"])
        with suppress(EngineError):  # the next list of everything takes it off; also that of a try that was cut short
            sweep_markers(tools.engine, [tools.engine.image(image.id)])
        is_bare = tools.store is ImageStore.GRAPH and not is_switched
        lost = give_digests(tools, image, about, method) if is_bare else ()
        is_nameless = not about["tags"] and set(about["digests"]) - set(image.digests)
        notes = [f"without {', '.join(taken)}, which name another image now"] if taken else []
        notes += ["without its digest, which only a pull gives"] if lost or is_nameless else []
        notes += other_platforms(tools, image, about) if is_pulled else ()
        return Applied("restored", "; ".join(notes))


def _refuse_copy(tools: Tools, image: Image) -> None:
    """A graph store copies all of an image to its own disk before it gives any. ArchiveError if that would fill it.

    No more is asked for: the copy goes at once, and the image after it, which is what a disk that is nearly full needs.
    """
    free = tools.free_bytes() if tools.store is ImageStore.GRAPH else None
    copies = 2 if tools.shares_disk(Kind.IMAGE) else 1  # the archive is the other
    if free is not None and free < copies * image.size_bytes * _TAR_SHARE:
        text = f"the engine first copies its {image.size_bytes} bytes to its own disk, of which {free} are free"
        raise ArchiveError(f"{text}: too few{' for that and the archive' if copies > 1 else ''}")


def _again(tools: Tools, done: Record, *, is_switched: bool) -> Image:
    """The image that was removed, from wherever its recipe has it. Raises Stays."""
    about, method = done.recipe.parameters, done.recipe.method
    if tools.image(about["id"]) is not None:
        pass  # an earlier try brought it, or only names of it went
    elif method == "tag":
        raise MissingError(Kind.IMAGE, reference.short_id(about["id"]), about["id"])
    elif method == "pull":
        pull(tools, about)
    elif is_switched:
        text = f"the engine has another image store by now; `docker load` takes {done.recipe.archive}"
        raise Stays(Effect.REFUSED, "other_image", text)
    else:
        tools.engine.load_image(tools.archive.read(done.recipe))
    image = tools.image(about["from"] if is_switched and method == "pull" else about["id"])
    if image is None:
        raise Stays(Effect.FAILED, "other_image", "what came back is not the image that was removed")
    return image


def refuse_parent(tools: Tools, image: Image) -> None:
    """A graph store refuses its last name only, when what cannot be given back, its digests, is gone."""
    if tools.children is None:
        tools.children = tools.engine.children() if tools.store is ImageStore.GRAPH else {}
    for child in tools.children.get(image.id, ()):
        with suppress(NotFoundError):  # it went with this plan
            tools.engine.image(child)
            raise _built_upon()


def _built_upon() -> Stays:
    return Stays(Effect.REFUSED, "conflict", "other images were built from it")


def give_names(engine: Engine, image_id: str, names: Iterable[str]) -> list[str]:
    """Give an image names, but for those that another one has, which are returned."""
    taken = []
    for name in names:
        try:
            if engine.image(name).id != image_id:
                taken.append(name)
        except NotFoundError:
            engine.tag(image_id, name)
    return taken


def platform_of(image: Image) -> str:
    """``linux/arm64/v8``."""
    details = image.details
    parts = (details.os, details.architecture, details.variant) if details else ()
    return "/".join(part for part in parts if part)


def sweep_markers(engine: Engine, images: Iterable[Image]) -> None:
    """Take our marker off images that got another name since; one without stays marked until its policy runs again."""
    for image in images:
        if image.tags or image.digests:
            for marker in image.markers:
                with suppress(EngineError):
                    engine.untag(marker)


def _take(tools: Tools, image: Image, name: str) -> bool:
    """Take one name: the only place where an image loses one. Gives whether the image went with it.

    Nothing comes between the look at whose name it is and the request that takes it. Somebody may still move the name
    in between, so what went is read from the answer and, where that does not tell, from the events.
    """
    if name == reference.marker(image.id):
        tools.engine.tag(image.id, name)
    elif name != tools.found_by and not name.startswith(DANGLING) and tools.engine.image(name).id != image.id:
        raise Stays(Effect.SKIPPED, "changed", f"{name} names another image now")
    tools.found_by = ""
    began_ns = tools.engine.now_ns()
    went = tools.engine.untag(name)
    tools.taken[image.id].add(name)
    if image.id in went:
        return True
    if (other := _other_loser(tools.engine, image, name, began_ns)) is not None:
        tools.taken[image.id].discard(name)
        raise Stays(Effect.FAILED, "other_image", _mend(tools.engine, other, name), Ref(Kind.IMAGE, other))
    return False


def _take_steps(tools: Tools, image: Image) -> None:
    """The steps of a build up to an image go with it, as they do by ``docker rmi``.

    Nobody has seen them or could name them. Left behind, they would come to light one by one, each only after the one
    above it has gone, and each archived with all layers below it. What ever had a name is no step, and is judged.
    """
    with suppress(Stays, EngineError):  # what stays is judged when it comes to light
        while image.details and (below := image.details.parent) and below not in tools.due:
            image = tools.engine.image(below)
            if not image.is_step:
                return
            verb.refuse_users(tools.engine.users_of(below))
            refuse_parent(tools, image)
            if not _take(tools, image, reference.marker(below)):
                return


def _other_loser(engine: Engine, image: Image, name: str, began_ns: int) -> str | None:
    """The ID of the image that lost the name instead of ours, because somebody moved it a moment before."""
    losers: list[Event] = []
    with suppress(EngineError):  # then what is left of the image decides
        seen = engine.events(began_ns, engine.now_ns())
        losers = [event for event in seen if event.type == Kind.IMAGE and event.action in ("untag", "delete")]
    if not losers or any(event.id == image.id for event in losers):
        return None
    named = [event for event in losers if reference.full(event.name) == name]  # a graph store does not name it
    return (named or losers)[0].id


def _mend(engine: Engine, other: str, name: str) -> str:
    """Give the name back to the image that lost it; says how that went."""
    text = f"{name} was moved to {reference.short_id(other)} a moment before, which lost it"
    try:
        return f"{text} and has it again" if not give_names(engine, other, [name]) else f"{text}; another has it now"
    except NotFoundError:
        return f"{text} and was removed with it: pull or build it again"
    except EngineError as error:
        return f"{text}; it could not be given back: {error}"


def _return(tools: Tools, image: Image, gone: Iterable[str]) -> bool:
    """The image stays, so it gets back its tags, but for markers and digests; False if it is gone nevertheless."""
    back = sorted(set(gone) & set(image.tags))
    try:
        give_names(tools.engine, image.id, back)
    except NotFoundError:
        return False
    except AnswerError as error:
        raise Unfinished(f"{', '.join(back)} could not be given back: {error}") from error
    tools.taken[image.id].difference_update(back)
    return True


def drop_digest(engine: Engine, image: Image, source: str) -> bool:
    """A pull by digest leaves that as a name, which on a containerd store goes only with all tags of its repository.

    It keeps an image for ever; so it goes before the image gets a tag of that. Gives whether our marker bridges that.
    """
    is_needed = source in image.digests and not image.tags
    if is_needed:
        engine.tag(image.id, reference.marker(image.id))
        engine.untag(source)
    return is_needed

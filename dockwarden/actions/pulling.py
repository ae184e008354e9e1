"""What a tag names at its registry, brought here, and only that. Pure but for its tools.

Input: a tag and the digest that was judged. Output: the image, and the tag on it, or all as before. Out of bounds:
containers. It is pulled by its digest and then gets the tag, so that a pull that is cut off leaves nothing named, and a
tag that moves at the registry meanwhile brings nothing that nobody judged.
"""

from contextlib import suppress

from dockwarden import reference
from dockwarden.actions.images import drop_digest, platform_of
from dockwarden.actions.repull import FRESH_SECONDS, reply_to
from dockwarden.actions.verb import Stays, Tools, refuse_change
from dockwarden.errors import AnswerError, EngineError, NotFoundError
from dockwarden.model import Effect, Image, ImageStore
from dockwarden.ports import Ask, Engine


def served(tools: Tools, tag: str, judged: str) -> str:
    """The digest that a tag has at its registry now. Raises Stays if that is another than was judged, or not known."""
    reply = reply_to(tools.registry.ask(Ask("digest", tag), FRESH_SECONDS))
    if not reply.digest:
        raise Stays(Effect.SKIPPED, "registry", f"what {tag} is at its registry is not known: {reply.reason}")
    if judged not in ("", reply.digest):
        raise Stays(Effect.SKIPPED, "changed", f"{tag} is {reply.digest} at its registry now")
    return reply.digest


def bring(tools: Tools, source: str, like: Image) -> Image:
    """What a digest names, ``repository@sha256:…``, for the platform of another image; no tag of it is touched."""
    if is_new := tools.image(source) is None:
        login = tools.registry.login(reference.parse(source).registry)
        try:
            tools.engine.pull_image(source, platform_of(like), login, lambda *said: tools.pulling(source, *said))
        except NotFoundError as error:  # a part of it, at the registry; what is to get it is here
            raise AnswerError(f"{source} cannot be pulled: {error}") from error
    new = tools.engine.image(source)
    if platform_of(new) != platform_of(like):
        if is_new:
            leave(tools.engine, source)
        raise Stays(Effect.REFUSED, "other_platform", f"{source} is for {platform_of(new)}, not {platform_of(like)}")
    return new


def move(tools: Tools, tag: str, old: Image, source: str, new: Image) -> None:
    """Let a tag name what ``bring`` brought. Raises Stays if somebody else moved it meanwhile."""
    is_marked = tools.store is ImageStore.CONTAINERD and drop_digest(tools.engine, new, source)
    now = tools.image(tag)
    if is_change := now is None or now.id not in (old.id, new.id):
        leave(tools.engine, source)
    else:
        tools.engine.tag(new.id, tag)
    if is_marked:
        with suppress(EngineError):
            tools.engine.untag(reference.marker(new.id))
    refuse_change(unless=not is_change)


def leave(engine: Engine, source: str) -> None:
    """Let go what ``bring`` brought and nothing named since; what a container uses stays."""
    with suppress(EngineError):
        if not engine.image(source).tags:
            engine.untag(source)


def move_back(engine: Engine, tag: str, old_id: str, new_id: str) -> None:
    """Let a tag name the image that it named before; not if somebody moved it since, or containers run the new one."""
    with suppress(NotFoundError):
        if engine.image(tag).id == new_id and not engine.users_of(new_id):
            engine.tag(old_id, tag)

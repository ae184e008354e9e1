"""An image that was removed, from a registry again. Pure but for its tools.

Input: what its record says of it. Output: the image, its digests, and what did not come. Out of bounds: its tags.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dockwarden import reference
from dockwarden.actions.verb import Stays, Tools
from dockwarden.errors import EngineError, NotFoundError
from dockwarden.model import Effect, Image, ImageStore
from dockwarden.ports import Ask, Entry, Reply

if TYPE_CHECKING:
    from concurrent.futures import Future

FRESH_SECONDS = 5.0
_REPLY_SECONDS = 120.0  # no registry is waited for that long; it is the end of a thread that died
_MOST_ENTRIES = 50  # of an index that are looked into


def pull(tools: Tools, about: Mapping[str, Any]) -> None:
    """For the platforms that were here, or, where the engine did not tell them or can have one, for the image's."""
    source = str(about["from"])
    known = about.get("platforms") if tools.store is ImageStore.CONTAINERD else ()
    platforms = known or [_platform_at(tools, about, source)]
    login = tools.registry.login(reference.parse(source).registry)
    missing = []
    for platform in platforms:
        try:
            tools.engine.pull_image(source, platform, login)
        except NotFoundError as error:  # of one among several it is said that it is missing
            missing.append(error)
    if len(missing) == len(platforms):
        text = f"the registry served {source} when the image was removed and does not any more: {missing[0]}"
        raise Stays(Effect.FAILED, "not_served", text) from missing[0]


def _platform_at(tools: Tools, about: Mapping[str, Any], name: str) -> str:
    """For which platform a graph store gets the image by this digest, of an index perhaps.

    Images may not say which variant they are for, nor that they are not for the platform that they were built on.
    """

    def unlikeness(entry: Entry) -> tuple[bool, bool]:  # registries count questions, and may refuse the last ones
        own = str(about["platform"])
        return [entry.os, entry.architecture] != own.split("/")[:2], _platform(entry) != own

    repository, _, digest = name.partition("@")
    is_index = digest == about["id"]  # as a containerd store calls images: it needs none of its entries
    entries = () if is_index else reply_to(tools.registry.ask(Ask("manifest", name))).entries
    for entry in sorted(entries, key=unlikeness)[:_MOST_ENTRIES]:
        found = reply_to(tools.registry.ask(Ask("manifest", f"{repository}@{entry.digest}")))
        if found.config == about["id"]:
            return _platform(entry)
        if found.reason not in ("", "not_found", "bad_answer"):  # nor will it answer for the others, after minutes
            break
    return str(about["platform"])


def _platform(entry: Entry) -> str:
    return "/".join(filter(None, entry[1:4]))


def give_digests(tools: Tools, image: Image, about: Mapping[str, Any], method: str) -> set[str]:
    """On a graph store a digest goes with the last tag of its repository, and comes back by a pull, of a manifest only.

    Gives those that did not come.
    """
    tagged = {tag.rpartition(":")[0] for tag in about["tags"]}
    lost = {each for each in about["digests"] if method != "tag" or each.partition("@")[0] in tagged}
    lost -= set(image.digests)
    for name in sorted(lost) if method != "load" else ():  # no registry served that
        with suppress(EngineError):
            if is_served(tools, name):
                login = tools.registry.login(reference.parse(name).registry)
                tools.engine.pull_image(name, _platform_at(tools, about, name), login)
                if tools.engine.image(name).id == image.id:  # it may have been one of another platform
                    lost.discard(name)
    return lost


def reply_to(asked: "Future[Reply]") -> Reply:
    try:
        return asked.result(_REPLY_SECONDS)
    except TimeoutError:
        return Reply(reason="timeout")


def is_served(tools: Tools, name: str) -> bool:
    """Whether a registry has what this digest names; no answer is not a yes."""
    asked = tools.asked.get(name) or tools.registry.ask(Ask("digest", name), FRESH_SECONDS)
    return reply_to(asked).digest == name.partition("@")[2]


def other_platforms(tools: Tools, image: Image, about: Mapping[str, Any]) -> list[str]:
    """What is to be said of other platforms, which engines before 28 do not tell."""
    if known := about.get("platforms", ()):
        lost = sorted(set(known) - set(image.details.platforms if image.details else ()))
        return [f"without {', '.join(lost)}, which it was here for, too"] if lost else []
    told = reply_to(tools.registry.ask(Ask("manifest", str(about["from"]))))
    offered = set(map(_platform, told.entries))
    others = sorted(offered - {about["platform"]})
    return [f"for {about['platform']} only; if it was here for {', '.join(others)}, pull that"] if others else []

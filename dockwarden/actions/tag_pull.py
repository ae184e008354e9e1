"""tag pull: what the registry has under the tag, as it was judged; no container is touched. Pure but for its tools."""

from collections.abc import Sequence

from dockwarden import reference
from dockwarden.actions.images import ImageVerb, platform_of
from dockwarden.actions.pulling import bring, leave, move, served
from dockwarden.actions.verb import Applied, Gain, NoOptions, Stays, Tools, Why, refuse_barred, refuse_change
from dockwarden.errors import MissingError
from dockwarden.model import Candidate, Effect, Image, Kind, Policy, Recipe, Record, Step


class TagPull(ImageVerb):
    subject, name = Kind.TAG, "pull"
    options = NoOptions
    removes = False
    gain = Gain.NOTHING

    def keeps(self, policy: Policy, candidate: Candidate, thing: Image, gone_tags: int) -> Why | None:
        """Nothing: whoever runs the image goes on with it."""
        return None

    def prepare(self, tools: Tools, thing: Image) -> None:
        """Nothing: what the registry has now is asked at the last look."""

    def check(self, tools: Tools, step: Step, judged: Image, found: Image) -> None:
        super().check(tools, step, judged, found)
        _refuse(tools, step, found, _source(tools, step))

    def foresee(self, tools: Tools, step: Step) -> str:
        if not step.digest:  # its policy asks no registry; to do so for each tag, one by one, may take minutes
            return ""
        found, source = self.find(tools.engine, step.ref.key), _named(step, step.digest)
        _refuse(tools, step, found, source)
        return f"from {reference.short_id(found.id)} to {source}"

    def recipe(self, tools: Tools, step: Step, found: Image) -> Recipe:
        source = _source(tools, step)
        is_here = tools.image(source) is not None
        return Recipe("tag", {**self.about(found), "tag": step.ref.key, "from": source, "was_here": is_here})

    def names(self, tools: Tools, step: Step, image: Image) -> Sequence[str]:
        return ()

    def act(self, tools: Tools, step: Step, found: Image) -> Applied:
        about = tools.recipe.parameters
        new = bring(tools, about["from"], found)
        tools.note({"new_image_id": new.id})
        move(tools, step.ref.key, found, about["from"], new)
        return Applied("pulled", f"it is {reference.short_id(new.id)} now")

    def is_undone(self, recipe: Recipe, now: Image | None) -> bool:
        return now is None or now.id == recipe.parameters["id"]

    def give_back(self, tools: Tools, intent: Record) -> None:
        if not intent.recipe.parameters["was_here"]:
            leave(tools.engine, intent.recipe.parameters["from"])

    def undo(self, tools: Tools, done: Record) -> Applied:
        """The tag names the image that it named before; what was pulled stays."""
        about = done.recipe.parameters
        old, now = tools.image(about["id"]), tools.image(about["tag"])
        if old is None:
            raise MissingError(Kind.IMAGE, about["tag"], about["id"])
        if now is not None and now.id not in (old.id, about["new_image_id"]):
            raise Stays(Effect.REFUSED, "taken", f"{about['tag']} names another image by now")
        tools.engine.tag(old.id, about["tag"])
        return Applied("restored", f"it is {reference.short_id(old.id)} again")


def _source(tools: Tools, step: Step) -> str:
    """What the tag is at its registry, by digest. Raises Stays."""
    return _named(step, served(tools, step.ref.key, step.digest))


def _named(step: Step, digest: str) -> str:
    return f"{step.ref.key.rpartition(':')[0]}@{digest}"


def _refuse(tools: Tools, step: Step, found: Image, source: str) -> None:
    """Raises Stays if it is that already, or was in vain."""
    refuse_change(unless=source not in found.digests)
    refuse_barred(tools, step, source, platform=platform_of(found))

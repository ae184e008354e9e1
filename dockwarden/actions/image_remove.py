"""image remove: it goes by its names, all of them. Pure but for its tools."""

from collections.abc import Sequence

from dockwarden import reference
from dockwarden.actions.images import DANGLING, ImageVerb, give_names, refuse_parent
from dockwarden.actions.verb import Tools, Why, in_use, refuse_users
from dockwarden.model import Candidate, Image, ImageStore, Kind, Policy, Record, Step


class ImageRemove(ImageVerb):
    subject, name = Kind.IMAGE, "remove"

    def keeps(self, policy: Policy, candidate: Candidate, thing: Image, gone_tags: int) -> Why | None:
        return in_use(candidate.tag_users) or in_use(candidate.users)

    def check_users(self, tools: Tools, step: Step, judged: Image) -> None:
        refuse_users(tools.engine.users_of(judged.id))
        refuse_parent(tools, judged)

    def names(self, tools: Tools, step: Step, image: Image) -> Sequence[str]:
        repositories = {tag.rpartition(":")[0] for tag in image.tags}
        # A digest goes with the last tag of its repository; one without is a name of its own, and cannot be given back.
        names = (*image.tags, *(name for name in image.digests if name.partition("@")[0] not in repositories))
        if names:
            return names
        if tools.store is ImageStore.CONTAINERD:
            return (f"{DANGLING}{image.id}",)
        return (reference.marker(image.id),)

    def give_back(self, tools: Tools, intent: Record) -> None:
        about = intent.recipe.parameters
        give_names(tools.engine, str(about.get("id", "")), about.get("tags", ()))

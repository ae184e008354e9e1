"""tag untag: one name of an image goes, and the image with the last one. Pure but for its tools."""

from collections.abc import Sequence
from contextlib import suppress

from dockwarden import reference
from dockwarden.actions.images import ImageVerb
from dockwarden.actions.verb import Stays, Tools, Why, in_use, refuse_users
from dockwarden.errors import NotFoundError
from dockwarden.model import Candidate, Effect, Image, Kind, Policy, Recipe, Step


class TagUntag(ImageVerb):
    """Take a tag that no container was made from; the last one only of an image that none uses."""

    subject, name = Kind.TAG, "untag"

    def keeps(self, policy: Policy, candidate: Candidate, thing: Image, gone_tags: int) -> Why | None:
        is_last = len(thing.tags) - gone_tags <= 1  # the image would go with it
        last = in_use(candidate.users, "the last name of an image that is used by") if is_last else None
        return in_use(candidate.tag_users) or last

    def check_users(self, tools: Tools, step: Step, judged: Image) -> None:
        users = tools.engine.users_of(judged.id)
        if len(set(judged.tags) - tools.taken[judged.id]) <= 1:
            refuse_users(users)
        for user in users:
            with suppress(NotFoundError):  # it went a moment ago
                if reference.full(tools.engine.container(user).image_ref) == step.ref.key:
                    raise Stays(Effect.REFUSED, "in_use", "a container was created from this tag")

    def recipe(self, tools: Tools, step: Step, found: Image) -> Recipe:
        if len(found.tags) > 1:
            return Recipe("tag", {**self.about(found), "tags": [step.ref.key]})
        return super().recipe(tools, step, found)

    def names(self, tools: Tools, step: Step, image: Image) -> Sequence[str]:
        return (step.ref.key,)

    def is_gone(self, step: Step, left: Image) -> bool:
        return step.ref.key not in left.tags

    def is_undone(self, recipe: Recipe, now: Image | None) -> bool:
        return now is not None and now.id == recipe.parameters.get("id")

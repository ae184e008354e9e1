"""network remove: recreated by undo, under another ID. Pure but for its tools."""

from collections import deque
from contextlib import suppress

from dockwarden import reference
from dockwarden.actions.verb import Applied, Owned, Stays, Tools, Verb, Why, in_use, refuse_change, refuse_users
from dockwarden.errors import ConflictError, NotFoundError
from dockwarden.model import Candidate, Effect, Kind, Network, Policy, Record, Ref, Step
from dockwarden.text import counted

_UNDER_WAY_NS = 300_000_000  # a create that has begun is seen by nobody before its end


class NetworkRemove(Verb[Network]):
    subject, name = Kind.NETWORK, "remove"
    options = Owned

    def keeps(self, policy: Policy, candidate: Candidate, thing: Network, gone_tags: int) -> Why | None:
        if not thing.driver:
            return "unrecoverable", "its swarm could not set it up, and engines do not tell what it was to be like"
        return ("builtin", "it belongs to the engine") if thing.builtin else in_use(candidate.users)

    def check(self, tools: Tools, step: Step, judged: Network, found: Network) -> None:
        refuse_change(unless=found == judged and not found.builtin)

    def check_users(self, tools: Tools, step: Step, judged: Network) -> None:
        refuse_users(tools.engine.users_of(judged.name, Kind.NETWORK))
        if judged.config_only and (made := [n.name for n in tools.engine.networks() if n.config_from == judged.name]):
            raise Stays(Effect.REFUSED, "in_use", f"{', '.join(made)} were made from it")

    def act(self, tools: Tools, step: Step, found: Network) -> Applied:
        """By its ID: several may have one name. The engine removes one for which a container was made a moment ago."""
        again = tools.engine.parameters(Ref(Kind.NETWORK, found.id))
        tools.engine.remove_network(found.id)
        for wait_ns in (0, _UNDER_WAY_NS):
            now = tools.engine.now_ns()
            deque(tools.engine.events(now, now + wait_ns) if wait_ns else (), maxlen=0)
            if users := tools.engine.users_of(found.name, Kind.NETWORK):
                tools.engine.create(Kind.NETWORK, again)
                text = f"made for {counted(len(users), 'container')} a moment before; it was made again"
                raise Stays(Effect.REFUSED, "conflict", text)
        return Applied("removed")

    def undo(self, tools: Tools, done: Record) -> Applied:
        """Make one of the same name, address range and options, if an earlier try did not."""
        wanted = done.recipe.parameters
        try:
            return super().undo(tools, done)
        except ConflictError as error:
            with suppress(NotFoundError):  # then it is another's name or addresses
                key = self.find(tools.engine, wanted["Name"]).id
                if tools.engine.parameters(Ref(Kind.NETWORK, key)) == wanted:
                    return Applied("restored", f"its ID is {reference.short_id(key)} now")
            raise ConflictError(f"{error}; it can come back when another network gives that up") from error

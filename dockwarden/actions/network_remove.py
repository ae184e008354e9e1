"""network remove: made anew by undo, under another ID. Pure but for its tools."""

from dockwarden.actions.verb import Applied, Owned, Tools, Verb, Why, in_use, refuse_change, refuse_users
from dockwarden.model import Candidate, Kind, Network, Policy, Step


class NetworkRemove(Verb[Network]):
    """Remove a network that no container uses, running or not."""

    subject, name = Kind.NETWORK, "remove"
    options = Owned

    def keeps(self, policy: Policy, candidate: Candidate, thing: Network, gone_tags: int) -> Why | None:
        """What the engine made for itself, or somebody uses."""
        return ("builtin", "it belongs to the engine") if thing.builtin else in_use(candidate.users)

    def look(self, tools: Tools, step: Step, judged: Network) -> Network:
        found = tools.engine.network(judged.id)
        refuse_change(unless=found == judged and not found.builtin)
        refuse_users(tools.engine.users_of_network(judged.name))
        return found

    def act(self, tools: Tools, step: Step, found: Network) -> Applied:
        """By its ID, as several may have one name."""
        tools.engine.remove_network(found.id)
        return Applied("removed")

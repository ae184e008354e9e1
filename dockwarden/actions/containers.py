"""What verbs on containers share: the last look. Pure but for its tools."""

from dockwarden.actions.verb import Tools, refuse_change
from dockwarden.model import Container


def look(tools: Tools, judged: Container) -> Container:
    """The container as it is now. Raises Stays if it is not as it was judged."""
    container = tools.engine.container(judged.id)
    same = (container.name, container.running, container.state, container.started_at, container.finished_at)
    before = (judged.name, judged.running, judged.state, judged.started_at, judged.finished_at)
    refuse_change(unless=same == before and dict(container.labels) == dict(judged.labels))
    return container

"""What verbs on containers share: finding one, and the last look at it. Pure but for its tools."""

from dockwarden.actions.verb import Tools, Verb, refuse_change
from dockwarden.model import Container, Kind, Step
from dockwarden.ports import Engine

ASIDE = "dw-"
"""What a part of the name begins with that a container has while, and after, another takes its place."""


class ContainerVerb(Verb[Container]):
    """Something about one container."""

    subject = Kind.CONTAINER

    def find(self, engine: Engine, key: str) -> Container:
        return engine.container(key)

    def check(self, tools: Tools, step: Step, judged: Container, found: Container) -> None:
        same = (found.name, found.running, found.state, found.started_at, found.finished_at)
        before = (judged.name, judged.running, judged.state, judged.started_at, judged.finished_at)
        refuse_change(unless=same == before and dict(found.labels) == dict(judged.labels))

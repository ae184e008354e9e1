"""What verbs on containers share: finding one, the last look at it, and who belongs to it. Pure but for its tools."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from operator import attrgetter

from dockwarden.actions.verb import PROTECT_LABEL, Stays, Tools, Verb, Why, refuse_change
from dockwarden.errors import AnswerError, NotFoundError
from dockwarden.model import JOINED, Container, Effect, Kind, Network, Service, Step
from dockwarden.ports import Engine

ASIDE = "dw-"
"""What a part of the name begins with that a container has while, and after, another takes its place."""

AUTO_REMOVE: Why = ("auto_remove", "it is removed with its volumes as soon as it stops (--rm)")

_STALE = "lives in a namespace of {}, or is linked to it, which does not run"
_ASIDE = re.compile(rf"\.{ASIDE}[0-9a-f]{{8}}\.(?:old|new)$")
_STATE = attrgetter("name", "running", "state", "started_at", "finished_at", "labels", "networks", "config")
_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_DEPENDS_ON, _ONE_OFF = "com.docker.compose.depends_on", "com.docker.compose.oneoff"
_VERSION = "com.docker.compose.version"
_OF_CONTAINERS = ("com.docker.compose.config-hash", "com.docker.compose.container-number")


class ContainerVerb(Verb[Container]):
    subject = Kind.CONTAINER

    def check(self, tools: Tools, step: Step, judged: Container, found: Container) -> None:
        refuse_change(unless=_STATE(found) == _STATE(judged))


def refuse_stale(tools: Tools, found: Container) -> None:
    """Raises Stays if it runs and could not start again, as one that it needs for that does not run."""
    if found.running and (owner := needs_running(tools.engine, found)):
        raise Stays(Effect.REFUSED, "stale_namespace", f"it {_STALE.format(owner)}")


def needs_running(engine: Engine, container: Container) -> str:
    """The container that does not run and without which it could not start; "" if there is none."""
    for called in container.stands_on:
        with suppress(NotFoundError):
            owner = engine.container(called)
            if owner.running:
                continue
            return owner.name
        return called
    return ""


def others(engine: Engine, container: Container) -> Iterator[Container]:
    for identifier in engine.container_ids():
        with suppress(NotFoundError):
            if identifier != container.id:
                yield engine.container(identifier)


def is_joined(each: Container, owner: Container) -> bool:
    """Whether it lives in a namespace of the other, and is dead without it."""
    return not {owner.id, owner.name}.isdisjoint(each.lives_in)


def is_aside(container: Container) -> bool:
    return _ASIDE.search(container.name) is not None


def successor(container: Container) -> str:
    """The name of the one that an update put in its place."""
    return _ASIDE.sub("", container.name)


def shown_as(thing: Container | Network | Service) -> set[str]:
    """What lists show it as: its name, and its ID, whole and short."""
    return {thing.name, thing.id, thing.id[:12]}


def must_stay(tools: Tools, step: Step, each: Container) -> bool:
    """Whether nothing is done to it for the sake of another either: it is ours, our way to the engine, or protected."""
    globs = step.options.get("protect", ())
    is_named = any(fnmatchcase(name, glob) for name in shown_as(each) for glob in globs)
    return is_named or each.id in tools.own or PROTECT_LABEL in each.labels


def is_brief(container: Container) -> bool:
    return bool(container.config.told.get("auto_remove"))


def refuse_dependents(
    tools: Tools, step: Step, owner: Container, after: Sequence[Container], paused: Iterable[Container] = ()
) -> None:
    """Raises Stays if one of those that stop or are restarted after the owner must stay, or would not come back.

    ``paused``: of which none may live in a PID namespace that ends.
    """
    ending = {f"{JOINED}{called}" for each in (owner, *after) for called in (each.id, each.name)}
    brief = (each for each in after if is_brief(each))
    lost = {each.name for each in (*brief, *paused) if each.config.pid_mode in ending}  # whose processes end, too
    if lost := lost.union(each.name for each in after if must_stay(tools, step, each)):
        text = "it lives in its namespaces, and must stay as it is, is removed (--rm), or is paused: unpause it first"
        text = f"{', '.join(sorted(lost))}: {text}"
        raise Stays(Effect.REFUSED, "dependents", text)


def followers(tools: Tools, step: Step, owner: Container, every: Iterable[Container]) -> list[Container]:
    """The running ones to restart after it, in order: theirs is dead without one before, or Compose says so.

    Of those that must stay only the dead ones.
    """
    running = [each for each in every if each.state == "running"]
    free = {each.id for each in running if not must_stay(tools, step, each)}
    return following(owner, running, lambda each, on: is_joined(each, on) or (each.id in free and _asks(each, on)))


def following(
    owner: Container, every: Iterable[Container], follows: Callable[[Container, Container], bool]
) -> list[Container]:
    """Who follows it, or one that does, each after all that it follows, but for circles."""
    found = [owner]
    for before in found:  # which grows meanwhile
        found += [each for each in every if each not in found and follows(each, before)]
    left, ordered = found[1:], list[Container]()
    while left:
        late = ((each, any(follows(each, other) for other in left)) for each in left)
        ordered.append(next((each for each, waits in late if not waits), left[0]))
        left.remove(ordered[-1])
    return ordered


def restarted(
    engine: Engine, owner: str, started: Mapping[str, float | None], seconds: int | None = None
) -> dict[str, str]:
    """Restart containers by ID, each unless it was started since; gives those that could not be, and why.

    What could not start again is not stopped: the engine would remove one with ``--rm`` for that.

    ``owner``: without which the others wait. ``seconds``: how long it may take to stop, else as long as it says.
    """
    troubles: dict[str, str] = {}
    for key, before in started.items():
        try:
            if owner in troubles:
                troubles[key] = troubles[owner]
            elif (found := engine.container(key)).started_at == before:
                if needed := needs_running(engine, found):
                    troubles[key] = f"{found.name} {_STALE.format(needed)}"
                else:
                    engine.restart_container(key, seconds if key == owner else None)
        except NotFoundError:
            if key == owner:
                raise
        except AnswerError as error:
            troubles[key] = str(error)
    return troubles


def _asks(each: Container, owner: Container) -> bool:
    """Whether Compose says ``depends_on`` with ``restart: true``."""
    return bool(waits_for(each, owner)) and not runs_once(each)


def waits_for(each: Container, owner: Container) -> bool | None:
    """Whether it is to be restarted with the other, as Compose says; None if it does not depend on its service."""
    project, service = compose_service(owner)
    return depends_on(each).get(service) if service and compose_service(each)[0] == project else None


def runs_once(container: Container) -> bool:
    """Whether `docker compose run` made it."""
    return container.labels.get(_ONE_OFF) == "True"


def compose_service(container: Container) -> tuple[str, str]:
    """Project and service, empty if Compose did not make it: an image that it built hands on both, with its version."""
    labels = container.labels
    if _VERSION in labels and not any(name in labels for name in _OF_CONTAINERS):
        return "", ""
    return labels.get(_PROJECT, ""), labels.get(_SERVICE, "")


def several(container: Container) -> str:
    """What Compose has several such containers of, "" if it did not make it."""
    project, service = compose_service(container)
    return f"{project}/{service}" if service else ""


def depends_on(container: Container) -> dict[str, bool]:
    """The services that it depends on, and if it restarts with each, by Compose's ``service:condition:restart,…``."""
    asked = (entry.split(":") for entry in container.labels.get(_DEPENDS_ON, "").split(","))
    return {entry[0]: entry[-1] == "true" for entry in asked if entry[0]}

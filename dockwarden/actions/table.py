"""The verbs, in the order in which they are done: what stands on others goes first. Undo goes the other way. Pure."""

from collections.abc import Mapping
from typing import Any

from dockwarden.actions.container_remove import ContainerRemove
from dockwarden.actions.container_restart import ContainerRestart
from dockwarden.actions.container_stop import ContainerStop
from dockwarden.actions.container_update import ContainerUpdate
from dockwarden.actions.host_trim_build_cache import TrimBuildCache
from dockwarden.actions.image_remove import ImageRemove
from dockwarden.actions.network_remove import NetworkRemove
from dockwarden.actions.service_update import ServiceUpdate
from dockwarden.actions.tag_pull import TagPull
from dockwarden.actions.tag_untag import TagUntag
from dockwarden.actions.verb import Verb
from dockwarden.actions.volume_remove import VolumeRemove
from dockwarden.model import Kind, Policy, Record, Step

_ALL: tuple[Verb[Any], ...] = (
    ContainerStop(),
    ContainerRemove(),
    ContainerRestart(),
    ContainerUpdate(),
    ServiceUpdate(),
    TagPull(),
    TagUntag(),
    ImageRemove(),
    VolumeRemove(),
    NetworkRemove(),
    TrimBuildCache(),
)
VERBS: Mapping[tuple[Kind, str], Verb[Any]] = {(verb.subject, verb.name): verb for verb in _ALL}
ORDER = tuple(dict.fromkeys(kind for kind, _ in VERBS))


def verb_of(what: Policy | Step | Record) -> Verb[Any]:
    """The verb of a policy that has an action, or of what came of one."""
    return VERBS[what.subject if isinstance(what, Policy) else what.ref.kind, what.action]

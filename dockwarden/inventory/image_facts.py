"""Facts of images and tags. Pure; see ``facts`` for how they are used."""

from collections.abc import Callable, Iterable
from typing import Any

from dockwarden import reference, versions
from dockwarden.inventory.live import Inventory
from dockwarden.inventory.registry_facts import recoverable
from dockwarden.inventory.view import FIRST_DATE, View, is_root, rows, used_by
from dockwarden.model import Image, ImageStore, Kind, Ref, ref_of
from dockwarden.text import moment

BASE_LABEL = "org.opencontainers.image.base.name"
_BASE_DIGEST_LABEL = "org.opencontainers.image.base.digest"


def is_dangling(image: Image, inventory: Inventory) -> bool:
    """Untagged and superseded. A digest without a tag that we ever saw means pinned, which is not dangling."""
    if image.tags or not image.digests:
        return not image.tags
    # Only the graph store leaves an image its digest when a pull takes its tag away.
    return inventory.store is ImageStore.GRAPH and inventory.memory.had_tag(ref_of(image))


def _origin(image: Image, view: View) -> str:
    # The containerd store invents a digest for every name, so there only a registry's word counts.
    digests = view.inventory.digests
    seen = (digests.present(tag, "registry") for tag in image.tags)
    named = {name.rpartition("@")[2] for name in image.digests}
    is_graph = view.inventory.store is ImageStore.GRAPH
    is_proven = bool(named) if is_graph else any(digest in named for digest in seen if digest)
    return "registry" if is_proven else "unknown"


def _there(keys: Iterable[str], view: View) -> list[Image]:
    return [image for key in keys if (image := view.inventory.images.get(key))]


def _own_label(image: Image, view: View, label: str) -> str:
    """What the image says of itself; children inherit the labels of their base, whose word is about its own."""
    said = image.labels.get(label, "")
    above = view.bases.above.get(image.id, ()) if view.bases else ()
    return "" if any(base.labels.get(label) == said for base in _there(above, view)) else said


def _base(image: Image, view: View) -> str | None:
    if view.bases is None or image.id not in view.bases.above:
        return None
    if said := _own_label(image, view, BASE_LABEL):
        return reference.full(said)
    nearest = _there(view.bases.nearest(image.id), view)
    if len(nearest) > 1 or any(not base.tags for base in nearest):
        return None
    return nearest[0].tags[0] if nearest else ""


def _bases(image: Image, view: View) -> list[str] | None:
    if view.bases is None or image.id not in view.bases.above:
        return None
    above = [tag for base in _there(view.bases.above[image.id], view) for tag in base.tags]
    said = _own_label(image, view, BASE_LABEL)
    return list(dict.fromkeys([reference.full(said), *above] if said else above))


def _base_digest(image: Image, view: View) -> str | None:
    base = _base(image, view)
    if base is None or (said := _own_label(image, view, _BASE_DIGEST_LABEL)):
        return None if base is None else said
    return _digest(base, view).rpartition("@")[2] if base in view.inventory.tags else ""


def _children(image: Image, view: View) -> list[str] | None:
    if view.bases is None or image.id not in view.bases.below:
        return None
    return sorted(view.inventory.name_of(Ref(Kind.IMAGE, key)) for key in view.bases.below[image.id])


def _history(image: Image, view: View) -> list[dict[str, object]] | None:
    steps = view.inventory.histories.get(image.id)
    if steps is None:
        return None
    # As text, because the values of records are not typed and the language takes no times there.
    return [{"instruction": each[1], "size": each[0], "created": moment(each[2] or 0.0)} for each in steps]


IMAGE = (
    *rows(
        """
        id              string:id                      image ID
        short_id        string:short_id                first 12 characters of the ID
        ref             string:reference               first tag, or the short ID
        tags            list(string):reference         all tags as full references
        repositories    list(string):repository        repositories that its tags belong to
        digests         list(string):repository_digest repository digests, `repository@sha256:…`
        size            int:bytes                      size in bytes, shared layers included
        labels          map(string)                    labels
        created         timestamp                      build date in the image, unknown if it has none or one \
            before 1981; says nothing about its arrival
        dangling        bool                           untagged and superseded; an image pulled by digest alone is not
        in_use          bool                           a container, running or not, or a service was made from it
        container_count int                            containers made from it
        used_by         list(string):name              names of the containers and services made from it
        known_for       duration                       how long we have watched it exist
        last_used       timestamp                      when we last saw it used or pulled, else since when we know it
        idle_for        duration                       how long we have watched it without a container or a pull
        origin          string:origin                  `registry` where a digest proves it, else `unknown`
        same_as         list(string):reference         its other tags, beyond the first
        """,
        short_id=lambda i, _: reference.short_id(i.id),
        ref=lambda i, _: i.tags[0] if i.tags else reference.short_id(i.id),
        repositories=lambda i, _: sorted({tag.rpartition(":")[0] for tag in i.tags}),
        size="size_bytes",
        created="created_at",
        dangling=lambda i, v: is_dangling(i, v.inventory),
        in_use=lambda i, v: v.inventory.is_used(ref_of(i)),
        container_count=lambda i, v: len(v.inventory.users_of(ref_of(i))),
        used_by=used_by,
        known_for=lambda i, v: v.inventory.known_for(ref_of(i)),
        last_used=lambda i, v: v.now - v.inventory.idle_for(ref_of(i)),
        idle_for=lambda i, v: v.inventory.idle_for(ref_of(i)),
        origin=_origin,
        same_as=lambda i, _: i.tags[1:],
    ),
    *rows(
        """
        unique_size int:bytes bytes that the disk gains if this image alone goes, what it shares with others excepted
        """,
        cost=2,
        unique_size=lambda i, v: v.unique.get(i.id) if v.unique is not None else None,
    ),
    *rows("recoverable bool a registry still serves one of its digests", cost=3, recoverable=recoverable),
    *rows(
        """
        os             string:os              operating system
        architecture   string:platform        architecture
        user           string:user            user it runs as, empty for root
        root           bool                   it runs as root
        healthcheck    bool                   it defines a health check
        layers         int                    number of layers
        base           string:reference       base image: its label, or the local image it begins with; \
            empty if none is here, unknown if several may be it
        base_known     bool                   the base could be told
        bases          list(string):reference all tags of all local images that it is or may be built on, nearest first
        base_digest    string                 digest of its base: its label, or the local image's; empty if none
        children       list(string)           local images that are built on it
        is_base        bool                   a local image is built on it
        instructions   list(string):free      its build as lines of a Dockerfile, those of its base first; \
            never shown, as they may hold secrets
        history        list(map):step         the same with more: instruction, size, created; never shown
        volumes        list(string)           paths that get a volume in each container
        env            list(string):variable  names of its environment variables
        ports          list(string):port      exposed ports
        setuid_unknown bool                   always true: layers are not searched for setuid files
        """,
        cost=1,
        at="details.",
        root=lambda i, _: is_root(i.details.user) if i.details else None,
        layers=lambda i, _: len(i.details.layers) if i.details else None,
        base=_base,
        base_known=lambda i, v: bool(_base(i, v)) if v.bases else None,
        bases=_bases,
        base_digest=_base_digest,
        children=_children,
        is_base=lambda i, v: None if (found := _children(i, v)) is None else bool(found),
        instructions=lambda i, v: (told := v.inventory.histories.get(i.id)) and [step.instruction for step in told],
        history=_history,
        env="details.env_names",
        setuid_unknown=lambda i, _: True if i.details else None,
    ),
)


def _ranks(tag: str, view: View, *keys: Callable[[str, View], float | None]) -> int:
    """How many images of the tag's family are ahead of its own, the highest keys first.

    A key that is not known of every image says nothing; equal ones are ordered by version, then by first sight. Images
    that are equal in all of this have one rank.
    """
    inventory = view.inventory
    repository, _, name = tag.rpartition(":")
    family, reading = versions.family(name), inventory.memory.clock.read()
    tags = [t for t in inventory.repositories.get(repository, ()) if versions.family(t.rpartition(":")[2]) == family]
    known = [key for key in keys if all(key(other, view) is not None for other in tags)]
    named: dict[str, list[str]] = {}
    for other in tags:
        named.setdefault(inventory.tags[other], []).append(other)
    places: dict[str, tuple[Any, ...]] = {}
    for image_id, names in named.items():
        age = inventory.memory.known_for(Ref(Kind.IMAGE, image_id), reading)
        numbers = _numbers(names, repository, inventory.images[image_id])
        places[image_id] = (*(key(names[0], view) for key in known), numbers, -age)
    return sum(place > places[inventory.tags[tag]] for place in places.values())


def _numbers(names: Iterable[str], repository: str, image: Image) -> tuple[tuple[int, ...], ...]:
    """What orders an image's releases by name; 2 is whatever its longer names say it is now, such as 2.1.2-alpine."""
    builds: dict[tuple[int, ...], tuple[int, ...]] = {}
    for found in (versions.release(name.rpartition(":")[2]) for name in names):
        if found:
            builds[found.numbers] = max(found.build, builds.get(found.numbers, found.build))
    if not builds:
        return ()

    def begun(numbers: tuple[int, ...]) -> list[tuple[int, ...]]:
        lines = (numbers[:count] for count in range(len(numbers) + 1))
        return [builds[line] for line in lines if line in builds]

    others = (versions.release(name) for of, _, name in (tag.rpartition(":") for tag in image.tags) if of == repository)
    highest = max((*builds, *(other.numbers for other in others if other and begun(other.numbers))))
    return highest, max(begun(highest))


def _created(tag: str, view: View) -> float | None:
    """The build date, if it is one: a build that can be repeated writes 1970 or 1980."""
    at = view.inventory.images[view.inventory.tags[tag]].created_at
    return at if at and at > FIRST_DATE else None


def _used(tag: str, view: View) -> float:
    ref = Ref(Kind.IMAGE, view.inventory.tags[tag])
    return float("inf") if view.inventory.is_used(ref) else view.inventory.memory.used_at(ref) or -1.0


def _version(tag: str, _view: View) -> str:
    found = versions.release(tag.rpartition(":")[2])
    return ".".join(map(str, found.numbers)) if found else ""


def _digest(tag: str, view: View) -> str:
    return view.inventory.digests.pick(tag, view.inventory.images[view.inventory.tags[tag]].digests)


TAG = rows(
    """
    ref             string:reference       full reference, `docker.io/library/busybox:latest`
    registry        string:registry        registry host
    repository      string:repository      registry and path without the tag
    name            string:tag             the tag alone
    digest          string:digest          digest that the engine has for it in this repository, empty if none
    version         string:version         the release version it names, empty if none
    variant         string:variant         what follows the version, but for numbers of builds: \
        `alpine` of `1.27-alpine`
    rank_by_created int                    0 for the image built last among the releases of its repository and variant \
        or, of a tag that is no release, among the tags that begin with the same word, as `pr-101` and `pr-102` do; \
        other tags of one image count once
    rank_by_used    int                    0 for the image among the same that is in use or was last, \
        1 for the one before
    siblings        list(string):reference the other tags of its repository that are here
    rank_by_version int                    0 for the highest release of its repository and variant
    """,
    ref=lambda t, _: t,
    registry=lambda t, _: t.partition("/")[0],
    repository=lambda t, _: t.rpartition(":")[0],
    name=lambda t, _: t.rpartition(":")[2],
    digest=_digest,
    version=_version,
    variant=lambda t, _: versions.variant(t.rpartition(":")[2]),
    rank_by_created=lambda t, v: _ranks(t, v, _created),
    rank_by_used=lambda t, v: _ranks(t, v, _used),
    siblings=lambda t, v: sorted(v.inventory.repositories[t.rpartition(":")[0]] - {t}),
    rank_by_version=lambda t, v: _ranks(t, v) if versions.release(t.rpartition(":")[2]) else 0,
)

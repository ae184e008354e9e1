"""What a fact can never be: words outside of closed sets, texts of another form, numbers out of range. Pure.

Input: the spec of a fact, and a value that it is compared with, or a part of one. Output: why that is never so, with
what to write instead; empty where it can be. Out of bounds: expressions.
"""

import math
import re

from dockwarden import reference
from dockwarden.model import FactSpec
from dockwarden.text import near

OPEN = "*"
"""Among the words of a fact: it may be others, too, such as plugins."""

_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "bool": (bool,), "int": (int,), "double": (float,)}
_MEANT = {"stopped": "exited", "stop": "exited", "up": "running", "down": "exited", "started": "running"}
_MEANT |= {"x86_64": "amd64", "x86": "386", "aarch64": "arm64", "armv7": "arm", "armhf": "arm", "never": "no"}
_MEANT |= {"outdated": "drift", "stale": "drift", "overlay2": "graph", "none": "", "docker-compose": "compose"}
_MEANT |= {"k8s": "kubernetes", "json": "json-file", "default": "bridge", "off": "unconfined"}
_MEANT |= {"runtime/default": "default", "runtimedefault": "default"}  # as Kubernetes calls the profile of seccomp
# Facts that are '' for many objects, so that "differs from" alone finds those, too; and which facts tell them apart.
MAY_BE_NONE = {
    "container.health": ("where no check is set, and unless it runs", "container.healthcheck", "image.healthcheck"),
    "container.mounts.propagation": ("of what is no bind", "container.mounts.type"),
    "service.update_state": ("before the first update",),
    "registry.state": ("where no registry was asked",),
    "tag.digest": ("where it has none", "registry.state"),
    **dict.fromkeys(("registry.newest_version", "registry.newest_version_digest"), ("where there is none",)),
    **dict.fromkeys(("image.base", "image.base_digest"), ("where there is none",)),
}
_PATH = "paths are written in full, with no / at the end, as in '/etc'; /run is told as /var/run"
_DIGEST_START = r"|s|sh|sha\d*|sha\d+:[0-9a-f]*"
# What a text of a form must look like, what to write where one does not, and what it may begin with.
_FORMS: dict[str, tuple[str, ...]] = {
    "tag": (r"[\w.-]*", "a tag alone has no : and no /, as in '1.27'; the whole reference is tag.ref"),
    "version": (r"(\d+(\.\d+)*)?", "a version is numbers and dots, as in '1.27.3'"),
    "release": (r"\d+\.\d+\.\d.*", "it begins with a number and has three, as in '26.1.5'", r"\d.*"),
    "variant": (r"(?!-).*", "it is what follows the version and its -, as in 'alpine'", r"(?!-).*"),
    "host_option": (
        r"name=(?!seccomp$).*",
        "these are written as in 'name=rootless', 'name=seccomp,profile=default'",
        r"n?a?m?e?(=.*)?",
    ),
    "link": (r"/[^:]+:/.+", "links are written '/db:/web/db'"),
    "hosts": (r"[^:=]+[:=].+", "these are written 'name:address'; use startsWith('name:')"),
    "id": (
        r"sha256:[0-9a-f]{64}",
        "an ID is 'sha256:' and 64 digits; image.short_id has the first 12 of them",
        _DIGEST_START,
    ),
    "short_id": (r"([0-9a-f]{12})?", "a short ID has 12 digits of 0-9a-f"),
    "digest": (r"sha\d+:[0-9a-f]{64,}", "a digest is 'sha256:' and 64 digits", _DIGEST_START),
    "repository_digest": (
        r".+@sha\d+:[0-9a-f]{64,}",
        "these are written 'docker.io/library/nginx@sha256:…'",
        r"(?!sha\d+:).*",
    ),
    "name": (r"[^/].*", "names have no / at their beginning", r"[^/].*"),
    "capability": (
        r"(?!CAP_)[A-Z0-9_]+",
        "capabilities are written in capitals and without CAP_, as in 'SYS_ADMIN'",
        r"(?!CAP_).*",
    ),
    "port": (r"\d+(-\d+)?/[a-z]+", "ports are written '80/tcp'"),
    "bound_port": (
        r".*->\d+/[a-z]+",
        "a published port is written '0.0.0.0:8080->80/tcp'; use .exists(p, p.matches('(^|->)80/tcp$'))",
    ),
    "device": (r"[^:]+:[^:]+:.*", "devices are written '/dev/fuse:/dev/fuse:rwm'; use startsWith('/dev/fuse:')"),
    "signal": (r"SIG.+", "signals are told by their names, as in 'SIGKILL'", r"SIG.*|S?I?"),
    "ulimit": (r"\w+=-?\d+:-?\d+", "limits are written 'nofile=1024:2048'; use .exists(u, u.startsWith('nofile='))"),
    "security_opt": (
        r"(?!no-new-priv|seccomp|apparmor).*",
        "it is written in several ways; use container.no_new_privileges, container.seccomp or container.apparmor",
    ),
    "ip": (r"[0-9a-fA-F.:]*(%.+)?", "it is an address, as in '0.0.0.0', '::' or '127.0.0.1'"),
    "moment": (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "it is a time in UTC, as in '2026-01-31T00:00:00Z'", r"\d.*"),
    "path": (r"/|(/[^/]+)+", _PATH, r"/.*"),
    "mounted": (r"/|(?!/run(/|$))(/[^/]+)+", f"{_PATH}, as in '/var/run/docker.sock'", r"(?!/run(/|$))/.*"),
    "mode": (r"|host|none|private|shareable|container:.+", "it may be 'host', or begin with 'container:'"),
    "network_mode": (r"(?!container$).*", "it begins with 'container:' where another's network is joined"),
    "variable": (r"[^=]*", "there are names only, never values"),
    "key": (r"[^=]*", "keys and values are apart, as in labels[?'team'].orValue('') == 'web'"),
    "registry": (
        r"(?!.*/).*[.:].*|localhost|",
        "a registry is a host, as in 'docker.io' or 'registry.example.com:5000'",
    ),
}
# Of these forms, what any part of a text looks like.
_UNTAGGED = "what has no name has no tags: size(image.tags) == 0"
_NEVER_EMPTY = {"tag.registry": "of Docker Hub it is 'docker.io'", "volume.name": "ask for volume.anonymous"}
_NEVER_EMPTY |= dict.fromkeys(("image.ref", "tag.ref", "tag.name", "tag.repository"), _UNTAGGED)
ALL_HAVE_ONE = {"image.short_id", *(f"{kind}.id" for kind in ("container", "image", "network", "service"))}
ALL_HAVE_ONE |= {f"{kind}.name" for kind in ("container", "network", "service")}
_ALPHABETS = {"tag": r"[\w.-]*", "version": r"[\d.]*", "short_id": r"[0-9a-f]*", "digest": r"[^/@]*", "name": r"[^/]*"}
_ALPHABETS |= dict.fromkeys(("variable", "key"), r"[^=]*")
_APART = {"reference", "repository", "tag", "registry", "short_id", "id", "digest", "repository_digest"}
# A store's IDs may be digests, and an ID or a digest may have been typed as what is run.
_NOT_APART = ({"id", "reference"}, {"id", "digest"}, {"reference", "repository_digest"})
_CASES = {"lowerAscii": r"[^A-Z]*", "upperAscii": r"[^a-z]*", "free": r".*"}
_RANGES: dict[str, tuple[float, float]] = {
    "percent": (0, 100),
    "port_number": (0, 65535),
    "picked": (0, 65535),
    "any": (-math.inf, math.inf),
    "adjustment": (-1000, 1000),
    "exit_code": (-1, 255),
    "cgroup": (0, 2),
    "getMonth": (0, 11),
    "getDayOfWeek": (0, 6),
    "getHours": (0, 23),
    "getDayOfMonth": (0, 30),
    "getMinutes": (0, 59),
    "getSeconds": (0, 59),
    "getDate": (1, 31),
}
_FULL_START = re.compile(r"[\w-]+(\.[\w-]*)+(:\d*)?(/.*)?|[\w.-]+:\d{3,5}(/.*)?|localhost(:\d*)?(/.*)?", re.ASCII)
_HOST_START = re.compile(r"cr$|docker|registry|quay|harbor|^local|^k8s|^\d+$")  # as of ghcr, europe-docker, my-registry
_LEAST_MEMORY = 4_000_000  # no engine takes a lower limit
_CAPABILITIES = (  # of Linux 6; a newer kernel may have more
    "ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH "
    "FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN "
    "NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT "
    "SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"
)


def never(spec: FactSpec, value: object) -> str:
    """Why a fact, or an item of a list, can never have a value; empty if it can."""
    if spec.name.count(".") > 1 and not isinstance(value, _TYPES.get(spec.type, (object,))):
        # The library does not check values of records.
        kind = "true or false" if spec.type == "bool" else "a text" if spec.type == "string" else "a number"
        return f"{spec.name} is {kind}, so it is never {value!r}"
    if spec.form in _CASES:
        return _case(spec, value)
    if isinstance(value, str):
        return _word(spec, value) or _wild(spec, value) or _form(spec, value)
    return never_number(spec, value) if spec.type in ("int", "double") else ""


def unfamiliar(spec: FactSpec, value: object) -> str:
    """What may be misspelt, and may also be newer than we are; empty where it is neither."""
    if spec.form != "capability" or value in ("", *(known := _CAPABILITIES.split())):
        return ""
    return f"{spec.name}: no capability '{value}' is known{near(value, known)}"


def never_empty(spec: FactSpec) -> str:
    return f"{spec.name} is never ''; {_NEVER_EMPTY[spec.name]}" if spec.name in _NEVER_EMPTY else ""


def apart(one: FactSpec, other: FactSpec) -> str:
    """Why two facts are never equal."""
    words, others = ({word for word in spec.words if word} for spec in (one, other))
    if OPEN not in words | others and words and others and words.isdisjoint(others):
        return f"{one.name} is one of {', '.join(sorted(words))}, {other.name} never is"
    types = {one.type, other.type}  # of facts the library says it; of what has other types for each key it cannot
    if len(types) > 1 and one.name < other.name and "bool" in types and not any("(" in each for each in types):
        return f"{one.name} is {one.type}, {other.name} is {other.type}, which are never the same"
    forms = {one.form, other.form}
    if len(forms) > 1 and forms <= _APART and forms not in _NOT_APART and one.name < other.name:
        kinds = [each.form.replace("_", " ") for each in (one, other)]
        return f"{one.name} is of the form {kinds[0]}, {other.name} of the form {kinds[1]}, which are never the same"
    return ""


def never_number(spec: FactSpec, value: object) -> str:
    """Why a number is never compared with a value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if spec.form == "percent" and 0 < value <= 1:
        return f"{spec.name} runs from 0 to 100; write {value * 100:.1f} for {value * 100:g} %"
    if spec.form in ("memory", "reserved") and 1 < value < _LEAST_MEMORY:
        return f"{spec.name} is in bytes; write a param, such as `least: {value}MB`, and compare with params.least"
    return out_of_range(spec, value)


def out_of_range(spec: FactSpec, value: float) -> str:
    least, most = bounds(spec)
    if value < least:
        return f"{spec.name} is never below {least:g}" + ("; 0 stands for none" if least == 0 else "")
    return f"{spec.name} is never above {most:g}" if value > most else ""


def bounds(spec: FactSpec) -> tuple[float, float]:
    return _RANGES.get(spec.form, (0, math.inf)) if spec.type in ("int", "double") else (-math.inf, math.inf)


def never_part(spec: FactSpec, part: str, value: str) -> str:
    """Why a text can never begin with, end with, contain or match another; ``part`` is the function."""
    if spec.words and OPEN not in spec.words:
        hold = {"startsWith": str.startswith, "endsWith": str.endswith}.get(part, str.__contains__)
        possible = any(_found(value, word) if part == "matches" else hold(word, value) for word in spec.words)
        return "" if possible else f"{spec.name} is one of {', '.join(filter(None, spec.words))}, none fits '{value}'"
    if spec.form in _CASES:
        return "" if part == "matches" else _case(spec, value)
    if part == "matches":
        return _never_match(spec, value)
    return _wild(spec, value) or _pattern(spec, value) or _unlike(spec, part, value)


def _never_match(spec: FactSpec, value: str) -> str:
    if glob := re.fullmatch(r"(\^?)([\w/-]+)\*(\$?)", value):
        return f"in a pattern * repeats the sign before it; write matches('^{glob[2]}')"
    if (slashed := re.fullmatch(r"/(.+)/([a-z]*)", value)) and spec.form in _ALPHABETS.keys() - {"key"}:
        return f"a pattern has no / around it; write matches('{'(?i)' if 'i' in slashed[2] else ''}{slashed[1]}')"
    if choice := re.match(r"\^\((?:\?:)?([^()|]+(?:\|[^()|]+)+)\)(?![?*+{])", value):
        found = (_never_match(spec, f"^{each}{value[choice.end() :]}") for each in choice[1].split("|"))
        return next(filter(None, found), "")
    start = re.split(r".[*?{]|[\\.\[(+|$]", value.removeprefix("^"))[0]
    is_whole = value.removeprefix("^")[len(start) :] in ("", "$", ".*", ".*$") and not _HOST_START.search(start)
    is_short = spec.form in ("reference", "repository") and not start.endswith(("/", ":")) and not is_whole
    return "" if is_short or not value.startswith("^") else _unlike(spec, "startsWith", start)


def _unlike(spec: FactSpec, part: str, value: str) -> str:
    """What no text of a form has in it, or at an end."""
    if part == "endsWith" and spec.form == "reference" and re.search(r"/[^:@]+$", value):
        return f"{spec.name} never ends with '{value}', it ends with a tag or a digest; write contains('{value}:')"
    if part == "endsWith" and spec.form == "repository" and re.search(r"[:@][^/]*$|/$", value):
        return f"{spec.name} never ends with '{value}': it has no tag, and no / at its end"
    if part == "startsWith" and value and spec.form in ("reference", "repository"):
        return _reference_start(spec, value)
    _, hint, start, *_ = (*_FORMS.get(spec.form, ("", "")), ".*")
    fits = bool(re.fullmatch(_ALPHABETS.get(spec.form, ".*"), value, re.DOTALL))
    if part != "startsWith":
        return "" if fits else f"'{value}' is in no {spec.name}: {hint}"
    begins = fits and (not value or re.fullmatch(start, value, re.DOTALL))
    return "" if begins else f"{spec.name} never begins with '{value}': {hint}"


def _word(spec: FactSpec, value: str) -> str:
    if not spec.words or value in spec.words:
        return ""
    known = [word for word in spec.words if word and word != OPEN]
    lower = value.lower()
    meant = {_plain(word): word for word in known}.get(_plain(value), _MEANT.get(lower, lower))
    hint = f", did you mean '{meant}'?" if meant in spec.words else near(lower, known, 0.75)
    if OPEN in spec.words and value:
        extends = any(word in lower or lower in word for word in known)
        other = meant in spec.words or (not extends and near(lower, known, 0.82))
        return f"{spec.name} is never '{value}'{hint}" if other else ""
    empty = " or ''" if "" in spec.words else ""
    return f"{spec.name} is never '{value}'{hint or '.'} It is one of {', '.join(known)}{empty}"


def _case(spec: FactSpec, value: object) -> str:
    is_so = not isinstance(value, str) or re.fullmatch(_CASES[spec.form], value, re.DOTALL)
    return "" if is_so else f"{spec.name} gives letters of one case, never '{value}'"


def _plain(word: str) -> str:
    return re.sub(r"[-_ ]", "", word.lower())


def _wild(spec: FactSpec, value: str) -> str:
    """Patterns of other languages: nothing that an engine names so has these signs."""
    if value == "<none>" or value.endswith(":<none>"):
        return f"{spec.name} is never '{value}'; {_UNTAGGED}, or image.dangling"
    if "://" in value and spec.form in ("reference", "repository", "registry"):
        bare = value.partition("://")[2]
        return f"{spec.name} has no scheme" + (f"; write '{bare}'" if bare else "")
    if value.startswith("~/"):
        return f"{spec.name} is never '{value}'; paths are written in full, as in '/home/me/…'"
    if not value.strip("*") or "*" not in value:
        return ""
    start, _, end = value.partition("*")
    if "*" in end or (start and end):
        meant = f"a.matches('^{re.escape(value).replace(chr(92) + '*', '.*')}$')".replace(chr(92), chr(92) * 2)
    else:
        meant = f"a.startsWith('{start}')" if start else f"a.endsWith('{end}')"
    return f"{spec.name} is never '{value}', * stands for itself; write {meant}"


def _pattern(spec: FactSpec, value: str) -> str:
    if spec.form in ("name", "reference", "repository", "tag", "variable") and re.search(r"^\^|\$$|\|", value):
        return f"{spec.name}: '{value}' is taken as it stands, it is no pattern; write a.matches('{value}')"
    return ""


def _form(spec: FactSpec, value: str) -> str:
    if not value and spec.form != "user":
        return ""
    if spec.form in ("reference", "repository"):
        return _reference(spec, value)
    if spec.form == "registry" and value in reference.NO_REGISTRIES:
        return f"{spec.name} is never '{value}'; of Docker Hub it is 'docker.io'"
    if spec.form == "user" and re.fullmatch(r"(root|0)?(:.*)?", value):
        return f"{spec.name}: root has more names than '{value}'; use container.root or image.root"
    pattern, hint, *_ = _FORMS.get(spec.form, (".*", ""))
    return "" if re.fullmatch(pattern, value, re.DOTALL) else f"{spec.name} is never '{value}'; {hint}"


def _reference(spec: FactSpec, value: str) -> str:
    parsed = reference.parsed(value)
    if parsed is None or re.fullmatch(r"[0-9a-f]{4,64}", value):
        return ""  # what a container was created from may be anything
    wanted = parsed.repository if spec.form == "repository" else str(parsed)
    if value == wanted:
        return ""
    if value.startswith("sha256:"):
        return f"{spec.name} is never an ID such as '{value}'; compare container.image_id or image.id"
    alone = f"; of the tag alone, write t.endsWith(':{value}')" if value in ("latest", "stable", "edge") else ""
    return f"{spec.name} is never '{value}', it is written in full: '{wanted}'{alone}"


def _reference_start(spec: FactSpec, value: str) -> str:
    bare = value.rstrip(":@/")
    full = reference.full(bare).removesuffix(":latest")
    if not _FULL_START.fullmatch(value):
        return (
            f"{spec.name} is written in full, so it begins with its registry: write '{full}{value[len(bare) :]}', "
            f"or the registry's host up to a dot"
        )
    if value[-1] in ":@" and "/" in value and full != bare:
        return f"{spec.name} never begins with '{value}'; write '{full}{value[-1]}'"
    return ""


def _found(pattern: str, word: str) -> bool:
    try:
        return re.search(pattern, word) is not None
    except re.error:
        return True  # the library's expressions are of another kind

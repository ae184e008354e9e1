"""What compiles and is certainly wrong, or can fail on some object. Pure, and without the library.

Input: the tree of an expression, the facts and constants that it may use. Output: ``Problem`` values; ``Risk`` values
of what may fail. Out of bounds: running anything.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dockwarden import reference
from dockwarden.model import FactSpec, FactValue
from dockwarden.policy.faults import Problem, place
from dockwarden.policy.tree import Node
from dockwarden.text import near

_STRING, _LIST_OF_RECORDS = b"\x18\x05", b"2\x0c\n\n:\x08\n\x02\x18\x05\x12\x02\n\x00"
_PARTS = ("startsWith", "endsWith", "contains", "matches")
_ORDER = ("_<_", "_<=_", "_>_", "_>=_")
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "bool": (bool,), "int": (int,), "double": (float,)}
_VERSION_LIKE = re.compile(r"v?\d+(\.\d+)*(-[\w.]+)?", re.ASCII)
_MEANT = {"stopped": "exited", "stop": "exited", "up": "running", "down": "exited", "started": "running"}
_MEANT |= {"x86_64": "amd64", "x86": "386", "aarch64": "arm64", "armv7": "arm", "armhf": "arm", "never": "no"}
_MEANT |= {"outdated": "drift", "stale": "drift", "overlay2": "graph", "none": "", "docker-compose": "compose"}
_REGISTRIES = ("hub.docker.com", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "docker.com")
# What a text of a form must look like, and what to write where one does not.
_FORMS = {
    "tag": (r"[\w.-]*", "a tag alone has no : and no /, as in '1.27'; the whole reference is tag.ref"),
    "version": (r"(\d+(\.\d+)*)?", "a version is numbers and dots, as in '1.27.3'"),
    "id": (r"(sha256:[0-9a-f]{64})?", "an ID is 'sha256:' and 64 digits; image.short_id has the first 12 of them"),
    "short_id": (r"([0-9a-f]{12})?", "a short ID has 12 digits of 0-9a-f"),
    "digest": (r"(sha\d+:[0-9a-f]{64,})?", "a digest is 'sha256:' and 64 digits"),
    "repository_digest": (r".+@sha\d+:[0-9a-f]{64,}", "these are written 'docker.io/library/nginx@sha256:…'"),
    "name": (r"[^/].*|", "names have no / at their beginning"),
    "capability": (r"(?!CAP_)[A-Z0-9_]+", "capabilities are written in capitals and without CAP_, as in 'SYS_ADMIN'"),
    "port": (r"(.*->)?\d+(-\d+)?/[a-z]+", "ports are written '80/tcp' or '0.0.0.0:8080->80/tcp'"),
    "ulimit": (r"\w+=-?\d+:-?\d+", "limits are written 'nofile=1024:2048'; use .exists(u, u.startsWith('nofile='))"),
    "security_opt": (
        r"(?!no-new-priv|seccomp|apparmor).*",
        "it is written in several ways; use container.no_new_privileges, container.seccomp or container.apparmor",
    ),
    "user": (r"(?!(root|0)?(:.*)?$).*", "root has several names; use container.root or image.root"),
    "ip": (r"[0-9a-fA-F.:]*", "it is an address, as in '0.0.0.0', '::' or '127.0.0.1'"),
    "mounted": (r"(?!/run(/|$)).*", "/run is told as /var/run, which is the same: write '/var/run/docker.sock'"),
    "mode": (r"|host|none|private|shareable|container:.+", "it may be 'host', or begin with 'container:'"),
    "variable": (r"[^=]*", "there are names only, never values"),
    "registry": (r".*[.:].*|localhost|", "a registry is a host, as in 'docker.io' or 'registry.example.com:5000'"),
}
_FULL_START = re.compile(r"[\w-]+(\.[\w-]*)+(:\d*)?(/.*)?|[\w.-]+:\d{3,5}(/.*)?|localhost(:\d*)?(/.*)?", re.ASCII)
_LEAST_MEMORY = 4_000_000  # no engine takes a lower limit
_LEAST_BYTES = 10_000  # whoever compares a size with less means another unit
_NO_PORT = "is 0 where the engine picks a port when the container starts"


MAY_BE_NONE = frozenset(
    {"registry.newest_version", "registry.newest_version_digest", "image.base", "image.base_digest"}
)
"""Facts that are '' for most objects, so that "differs from" alone finds those, too."""


class Risk(NamedTuple):
    """What may fail: where, how the library says so, and how to guard it."""

    at: int
    error: str
    guard: str


class _Meant(NamedTuple):
    """What a node stands for: a fact, an item or a record of it (``many`` if the list of them), or known values."""

    spec: FactSpec | None = None
    many: bool = False
    values: tuple[object, ...] = ()


class Doubts:
    """The doubts about one expression."""

    def __init__(self, source: str, facts: Mapping[str, FactSpec], constants: Mapping[str, FactValue]) -> None:
        self._source = source
        self._facts = facts
        self._constants = constants
        self.problems: list[Problem] = []
        self.risks: list[Risk] = []
        self.literals: set[object] = set()
        self.names: set[str] = set()
        self._bounded: dict[str, list[tuple[Node, bool]]] = {}  # by fact: comparisons, and whether it is the lower side
        self._asked_for_none: set[str] = set()
        self.remarks: list[str] = []
        self._unlike: list[tuple[Node, str]] = []

    def look(self, node: Node, scope: Mapping[str, _Meant]) -> _Meant:
        """Look at a node and all below it, noting what is found; gives what it stands for."""
        if node.op == "fold":
            return self._fold(node, scope)
        args = [self.look(arg, scope) for arg in node.args]
        match node.op:
            case "const":
                self._literal(node)
                return _Meant(values=(node.value,))
            case "list":
                return _Meant(many=True, values=tuple(value for arg in args for value in arg.values))
            case "name" if node.value in scope:
                return scope[str(node.value)]
            case "name":
                return self._named(str(node.value))
            case "select":
                return self._key(node, args[0], str(node.value))
            case "call":
                return self._call(node, args)
        return _Meant()

    def _named(self, name: str) -> _Meant:
        self.names.add(name)
        if name in self._facts:
            spec = self._facts[name]
            return _Meant(spec, many=spec.type.startswith("list"))
        value = self._constants.get(name)
        if isinstance(value, list):
            return _Meant(many=True, values=tuple(value))
        return _Meant(values=(value,)) if name in self._constants else _Meant()

    def _fold(self, node: Node, scope: Mapping[str, _Meant]) -> _Meant:
        item, result = node.value if isinstance(node.value, tuple) else ("", "")
        ranged = self.look(node.args[0], scope)
        inner = {**scope, item: ranged._replace(many=False) if ranged.many else _Meant()}
        first = self.look(node.args[1], scope)
        inner[result] = first if item == "#unused" else _Meant()
        for arg in node.args[2:]:
            self.look(arg, inner)
        return ranged if node.type == _LIST_OF_RECORDS else _Meant()

    def _literal(self, node: Node) -> None:
        if isinstance(node.value, str):
            self.literals.add(node.value)
            if found := re.search(r"\$\{|\{\{", node.value):
                self._doubt(node, f"'{found[0]}' means nothing in a text; join texts with +, as in 'a ' + image.ref")
        elif node.value is not None:
            self.literals.add(node.value)

    def _doubt(self, node: Node, text: str) -> None:
        self.problems.append(Problem(*place(self._source, node.at), text))

    # -- parts of values ------------------------------------------------------------------------------------

    def _key(self, node: Node, whole: _Meant, key: str) -> _Meant:
        if whole.spec is not None and whole.spec.keys and not whole.many:
            if key in whole.spec.keys:
                return _Meant(whole.spec.keys[key])
            keys = whole.spec.keys
            hint = near(key, keys, 0.75) or f"; they have {', '.join(keys)}"
            self._doubt(node, f"no record of {whole.spec.name} has the key {key}{hint}")
        elif whole.spec is None or whole.spec.type == "map(string)":
            self._risk_key(node, node.args[0], f"'{key}'", key)
        return _Meant()

    def _risk_key(self, node: Node, whole: Node, written: str, key: str) -> None:
        name = say(whole)
        guard = f"write {name}[?{written}].orValue('') instead, or before it {written} in {name} && …"
        self.risks.append(Risk(node.at, f'Key not found in map : "{key}' if key else "Key not found", guard))

    def _call(self, node: Node, args: list[_Meant]) -> _Meant:
        match node.value, args:
            case "_==_" | "_!=_", [a, b]:
                self._equal(node, a, b)
                self._equal(node, b, a)
                self._none(node, a, b)
            case "_||_" | "_&&_", _:
                self._always(node)
            case "@in", [a, b]:
                self._equal(node, a, b) if b.values else self._equal(node, b._replace(many=False), a)
                if b.spec is not None and b.spec.keys and not b.many:
                    self._key(node, b, str(a.values[0]) if a.values else "")
            case str(order), [a, b] if order in _ORDER:
                self._compared(node, a, b)
                self._compared(node, b, a)
                self._ordered(node, a, b)
            case str(part), [a, b] if part in _PARTS and a.spec is not None and not a.many:
                for value in b.values:
                    if isinstance(value, str) and (why := _never_part(a.spec, part, value)):
                        self._doubt(node, why)
            case "_[_]", [whole, index]:
                return self._indexed(node, whole, index)
        self._risks(node)
        return _Meant()

    def _indexed(self, node: Node, whole: _Meant, index: _Meant) -> _Meant:
        key = index.values[0] if index.values else None
        if whole.many or node.args[0].type[:1] == b"2":
            guard = f"before it write size({say(node.args[0])}) > {key if isinstance(key, int) else '…'} && …"
            self.risks.append(Risk(node.at, "Index error", guard))
            return whole._replace(many=False) if whole.many else _Meant()
        if isinstance(key, str) and whole.spec is not None and whole.spec.keys:
            return self._key(node, whole, key)
        self._risk_key(node, node.args[0], say(node.args[1]), key if isinstance(key, str) else "")
        return _Meant()

    def _risks(self, node: Node) -> None:
        name, first = str(node.value), node.args[0] if node.args else node
        if name in ("_/_", "_%_"):
            second = node.args[1]
            if second.op != "const":
                guard = f"before it write {say(second)} != 0 && …"
                self.risks.append(Risk(node.at, "divide by zero|modulus by zero", guard))
        elif name in ("int", "double", "bool", "timestamp", "duration", "uint") and first.op != "const":
            if first.type == _STRING or first.type[:1] != b"\x18":
                guard = f"before it test the text, as in {say(first)}.matches('^[0-9]+$') && …"
                self.risks.append(Risk(node.at, "onver", guard))
        elif name == "version":
            guard = f"before it write {say(first)} != '' && …, or {say(first)}.matches('^v?[0-9]') && …"
            self.risks.append(Risk(node.at, "no version", guard))
        elif name in ("substring", "charAt", "indexOf", "lastIndexOf"):
            self.risks.append(
                Risk(node.at, "substring|charAt|index out", f"before it write size({say(first)}) > … && …")
            )
        elif name in ("value", "matches", "format"):
            guard = "write .orValue('') instead of .value()" if name == "value" else ""
            self.risks.append(Risk(node.at, "dereference" if name == "value" else "regular|clause|format", guard))

    # -- comparisons ----------------------------------------------------------------------------------------

    def _equal(self, node: Node, one: _Meant, other: _Meant) -> None:
        if one.spec is None or one.many:
            return
        words = {word for word in one.spec.words if word}
        if other.spec is not None and words and other.spec.words and words.isdisjoint(other.spec.words):
            self._doubt(node, f"{one.spec.name} is one of {', '.join(sorted(words))}, {other.spec.name} never is")
        for value in other.values:
            if why := never(one.spec, value):
                self._doubt(node, why)

    def _none(self, node: Node, a: _Meant, b: _Meant) -> None:
        """Comparisons with what stands for none, and of what may be none with what is something."""
        for one, other in ((a, b), (b, a)):
            if one.spec is None or one.many:
                continue
            if {"", 0} & {value for value in other.values if not isinstance(value, list)}:
                self._asked_for_none.add(one.spec.name)
            elif one.spec.name in MAY_BE_NONE and node.value == "_!=_" and not other.values:
                self._unlike.append((node, one.spec.name))

    def _compared(self, node: Node, one: _Meant, other: _Meant) -> None:
        if one.spec is None or one.many:
            return
        for value in other.values:
            if one.spec.form == "bytes" and isinstance(value, int) and 1 < value < _LEAST_BYTES:
                self.remarks.append(f"{one.spec.name} is in bytes; a param may be {value}MB, or whatever is meant")
            if why := _never_number(one.spec, value):
                self._doubt(node, why)

    def _ordered(self, node: Node, a: _Meant, b: _Meant) -> None:
        least, most = (a, b) if node.value == "_<_" else (b, a)
        if node.value in ("_<_", "_>_") and most.values == (0,) and least.spec and least.spec.form != "any":
            self._doubt(node, f"{least.spec.name} is never below 0; 0 stands for none")
        self._lowest(node, *((a, b) if str(node.value).startswith("_<") else (b, a)))
        if any(arg.type != _STRING for arg in node.args):
            return
        forms = {meant.spec.form for meant in (a, b) if meant.spec is not None}
        looks = [value for meant in (a, b) for value in meant.values if isinstance(value, str)]
        if forms & {"version", "release", "tag"} or any(map(_VERSION_LIKE.fullmatch, looks)):
            left, right = (f"version({say(arg)})" for arg in node.args)
            operator = str(node.value).strip("_")
            self._doubt(node, f"texts are compared letter by letter, '10' < '9'; write {left} {operator} {right}")

    def _lowest(self, node: Node, lower: _Meant, upper: _Meant) -> None:
        """Where 0 stands for nothing that is low, an upper bound alone finds it, too."""
        for meant, other in ((lower, upper), (upper, lower)):
            if set(other.values) & {0, 1} and meant.spec is not None:
                self._asked_for_none.add(meant.spec.name)
            elif meant.spec is not None and meant.spec.form in ("picked", "limit", "memory"):
                self._bounded.setdefault(meant.spec.name, []).append((node, meant is lower))

    def end(self) -> None:
        """After all of an expression was looked at: what hangs on the rest of it."""
        for name, bounds in self._bounded.items():
            if name in self._asked_for_none:
                continue
            node = bounds[0][0]
            if not name.endswith("_port"):
                way_out = f"say what you mean of those by {name} == 0 || …, or by {name} > 0 && …"
                self.remarks.append(f"{name} is 0 where there is no limit; {way_out}")
            elif all(is_lower for _, is_lower in bounds):
                item = say(next(arg for arg in node.args if arg.op == "select"))
                self._doubt(node, f"{name} {_NO_PORT}; before it write {item} > 0 && …")
        for node, name in self._unlike:
            if name not in self._asked_for_none:
                self._doubt(node, f"{name} is '' where there is none; before it write {name} != '' && …")

    def _always(self, node: Node) -> None:
        """Chains of comparisons of one thing with several values, of which one always holds, or which never do."""
        compared, word = ("_!=_", "always") if node.value == "_||_" else ("_==_", "never")
        seen: dict[str, Node] = {}
        for part in _chain(node, str(node.value)):
            if part.op != "call" or part.value != compared or part.args[1].op != "const":
                continue
            name, other = say(part.args[0]), seen.get(say(part.args[0]))
            if other is not None and "…" not in name and other.value != part.args[1].value:
                values = f"{name} in [{say(other)}, {say(part.args[1])}]"
                meant = f"!({values})" if word == "always" else values
                self._doubt(
                    part,
                    f"{name} {word} differs from one of them; write {meant}"
                    if word == "always"
                    else f"{name} is never both; write {meant}",
                )
            seen.setdefault(name, part.args[1])


def _chain(node: Node, joint: str) -> Iterator[Node]:
    for arg in node.args:
        if arg.op == "call" and arg.value == joint:
            yield from _chain(arg, joint)
        else:
            yield arg


def say(node: Node) -> str:
    """A node as source, as far as a hint needs it."""
    match node.op:
        case "name":
            return str(node.value)
        case "const":
            return f"'{node.value}'" if isinstance(node.value, str) else str(node.value).lower()
        case "select":
            return f"{say(node.args[0])}.{node.value}"
        case "call" if node.value in ("_[_]", "_[?_]"):
            return f"{say(node.args[0])}[{'?' if '?' in str(node.value) else ''}{say(node.args[1])}]"
        case "call" if node.args and str(node.value).isidentifier():
            return f"{say(node.args[0])}.{node.value}({', '.join(map(say, node.args[1:]))})"
    return "…"


def _never_wild(spec: FactSpec, value: str) -> str:
    """Patterns of other languages: nothing that an engine names so has these signs."""
    if spec.form == "free":
        return ""
    if value == "<none>" or value.endswith(":<none>"):
        return f"{spec.name} is never '{value}'; what has no name has no tags: size(image.tags) == 0, or image.dangling"
    if value.startswith("~/"):
        return f"{spec.name} is never '{value}'; paths are written in full, as in '/home/me/…'"
    if "*" not in value:
        return ""
    start, _, end = value.partition("*")
    if "*" in end or (start and end):
        meant = f"a.matches('^{re.escape(value).replace(chr(92) + '*', '.*')}$')".replace(chr(92), chr(92) * 2)
    else:
        meant = f"a.startsWith('{start}')" if start else f"a.endsWith('{end}')"
    return f"{spec.name} is never '{value}', * stands for itself; write {meant}"


def never(spec: FactSpec, value: object) -> str:
    """Why a fact, or an item of a list, can never have a value; empty if it can."""
    name = spec.name
    if name.count(".") > 1 and not isinstance(
        value, _TYPES.get(spec.type, (object,))
    ):  # the library does not check values of records
        return f"{name} is {'true or false' if spec.type == 'bool' else 'a ' + spec.type}, so it is never {value!r}"
    if isinstance(value, str):
        return _never_word(spec, value) or _never_wild(spec, value) or _never_form(spec, value)
    return _never_number(spec, value) if spec.type == "int" else ""


def _never_word(spec: FactSpec, value: str) -> str:
    if not spec.words or value in spec.words:
        return ""
    known = [word for word in spec.words if word]
    meant = _MEANT.get(value.lower(), value.lower())
    hint = f", did you mean '{meant}'?" if meant in spec.words else near(value.lower(), known, 0.75)
    empty = " or ''" if "" in spec.words else ""
    return f"{spec.name} is never '{value}'{hint or '.'} It is one of {', '.join(known)}{empty}"


def _never_form(spec: FactSpec, value: str) -> str:
    if not value and spec.form != "user":
        return ""
    if spec.form in ("reference", "repository"):
        return _never_reference(spec, value)
    if spec.form == "registry" and value in _REGISTRIES:
        return f"{spec.name} is never '{value}'; of Docker Hub it is 'docker.io'"
    pattern, hint = _FORMS.get(spec.form, (".*", ""))
    return "" if re.fullmatch(pattern, value, re.DOTALL) else f"{spec.name} is never '{value}'; {hint}"


def _never_reference(spec: FactSpec, value: str) -> str:
    try:
        parsed = reference.parse(value)
    except ValueError:
        return ""  # what a container was created from may be anything
    if re.fullmatch(r"[0-9a-f]{4,64}", value):
        return ""
    wanted = parsed.repository if spec.form == "repository" else str(parsed)
    if value == wanted:
        return ""
    if value.startswith("sha256:"):
        return f"{spec.name} is never an ID such as '{value}'; compare container.image_id or image.id"
    return f"{spec.name} is never '{value}', it is written in full: '{wanted}'"


def _never_part(spec: FactSpec, part: str, value: str) -> str:
    """Why a text can never begin with, end with or contain another."""
    if spec.words:
        hold = {"startsWith": str.startswith, "endsWith": str.endswith}.get(part, str.__contains__)
        possible = any(_found(value, word) if part == "matches" else hold(word, value) for word in spec.words)
        return "" if possible else f"{spec.name} is one of {', '.join(filter(None, spec.words))}, none fits '{value}'"
    if part != "matches" and (wild := _never_wild(spec, value)):
        return wild
    if spec.form == "mounted" and part == "startsWith" and re.match("/run(/|$)", value):
        return f"{spec.name} never begins with '{value}'; {_FORMS['mounted'][1]}"
    if part == "matches" and value.startswith("^"):
        part, value = "startsWith", re.split(r"[\\.\[({*+?|$]", value[1:])[0]
        if not value.endswith(("/", ":")):
            return ""
    if part != "startsWith" or not value:
        return ""
    if spec.form == "capability" and value.startswith("CAP_"):
        return f"{spec.name}: {_FORMS['capability'][1]}"
    if spec.form == "name" and value.startswith("/"):
        return f"{spec.name}: {_FORMS['name'][1]}"
    if spec.form in ("reference", "repository"):
        return _never_start(spec, value)
    return ""


def _found(pattern: str, word: str) -> bool:
    try:
        return re.search(pattern, word) is not None
    except re.error:
        return True  # the library's expressions are of another kind


def _never_start(spec: FactSpec, value: str) -> str:
    bare = value.rstrip(":@/")
    if not _FULL_START.fullmatch(value):
        full = reference.full(bare).removesuffix(":latest")
        return (
            f"{spec.name} is written in full, so it begins with its registry: write '{full}{value[len(bare) :]}', "
            f"or the registry's host up to a dot"
        )
    if value[-1] in ":@" and "/" in value and reference.full(bare).removesuffix(":latest") != bare:
        full = reference.full(bare).removesuffix(":latest")
        return f"{spec.name} never begins with '{value}'; write '{full}{value[-1]}'"
    return ""


def _never_number(spec: FactSpec, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if spec.form == "percent" and 0 < value <= 1:
        return f"{spec.name} runs from 0 to 100; write {value * 100:.1f} for {value * 100:g} %"
    if spec.form == "memory" and 1 < value < _LEAST_MEMORY:
        return f"{spec.name} is in bytes; write a param, such as `least: {value}MB`, and compare with params.least"
    if spec.type in ("int", "double") and spec.form != "any" and value < 0:
        return f"{spec.name} is never below 0; 0 stands for none"
    return ""

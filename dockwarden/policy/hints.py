"""What to write instead: hints for people who come from other languages. Pure.

Input: what the libraries found fault with. Output: the end of a sentence. Out of bounds: finding the fault.
"""

import re
from collections.abc import Collection

from dockwarden.model import Vocabulary
from dockwarden.text import near

_FUNCTIONS = (
    "all bool charAt contains double duration endsWith exists exists_one filter format getDate getDayOfWeek "
    "getFullYear getHours getMinutes getMonth getSeconds has indexOf int join lastIndexOf lowerAscii map matches "
    "orValue replace size split startsWith string substring timestamp trim upperAscii version"
)
_A_DURATION = "a duration is written duration('24h')"
_EMPTY = "facts always have a value; where there is none it is '', 0, false or []"
_HERE = "facts are named by their subject, such as container.name or image.tags"
WEAK = ("; a text stands in quotes", _HERE)
_LABELS = "write 'key' in container.labels, or container.labels[?'key'].orValue('')"
# What people write who come from other languages, and what it is here.
_INSTEAD = {
    "size(x)": "len count length strlen cardinality",
    "x.exists(i, …)": "any some has_any anyMatch",
    "x.all(i, …)": "every each all_of",
    "a.contains('b') for texts, 'b' in list for lists": "includes include contain icontains in_list member substr",
    "a.matches('^b$')": "match test regex re search like regexMatch re_match glob fnmatch",
    "x.lowerAscii()": "lower toLowerCase lowercase downcase ascii_downcase to_lower tolower toLower",
    "x.upperAscii()": "upper toUpperCase uppercase upcase to_upper toupper toUpper",
    "!(…)": "not Not NOT",
    "string(x)": "str toString to_string text String",
    "int(x)": "integer Integer parseInt to_number tonumber Number",
    "now - x, as in now - image.created > duration('24h')": "age since ago timeSince older_than olderThan days hours",
    "timestamp('2026-01-31T00:00:00Z')": "date datetime Date parse_time strptime",
    "now, without brackets": "today time current_time NOW",
    "version(a) < version(b)": "semver semver_compare compareVersions compare_versions parse_version semverCompare",
    "a param such as `most: 10GB`": "quantity bytes to_bytes bytesize",
    "x.filter(i, …)": "find select where reject filterBy",
    "size(x) == 0, or x == '' for texts": "empty isEmpty is_empty blank isBlank",
    "x.split(',')": "explode tokenize",
    "x.trim()": "strip",
    "x[?'key'].orValue('')": "get get_or_default getOrDefault lookup default",
    "x.startsWith('a')": "starts_with hasPrefix has_prefix begins_with startsWithAny",
    "x.endsWith('a')": "ends_with hasSuffix has_suffix",
    "'%s of %s'.format([a, b]), or a + ' of ' + b": "sprintf printf concat",
    "list.exists(i, i in ['a', 'b'])": "containsAny intersects hasAny any_of anyOf overlaps",
    "['a', 'b'].all(i, i in list)": "containsAll hasAll all_in",
    "a < b": "before after isBefore isAfter",
    "x.exists(k, …), which goes through the keys": "keys values items entries",
    "true": "True TRUE yes on",
    "false": "False FALSE no off",
}
_MEANT = {word: meant for meant, words in _INSTEAD.items() for word in words.split()}
_FACTS = {  # what no fact is called at all, or one that is called alike is not
    "image.name": "image.ref or image.tags", "image.age": "now - image.created", "image.used": "image.in_use",
    "image.unused": "!image.in_use", "image.untagged": "image.dangling", "tag.tag": "tag.name",
    "container.image": "container.image_ref",
    "tag.image": "tag.ref", "tag.latest": "tag.name == 'latest'", "container.status": "container.state",
    "container.tag": "container.image_ref", "container.restarts": "container.restart_count",
    "container.age": "now - container.created", "container.uptime": "now - container.started",
    "container.cpus": "container.cpu_limit", "container.volumes": "container.mounts",
    "container.capabilities": "container.cap_add", "container.logging": "container.log_driver",
    "container.image_tag": "container.image_ref", "container.registry": "container.image_repository",
    "container.binds": "container.mounts", "container.finished": "container.exited_for",
    "container.exited_at": "container.exited_for", "container.compose_project": "container.labels",
    "container.command": "container.processes", "container.entrypoint": "container.processes",
    "container.ip": "container.networks", "container.gpus": "container.device_rules",
    "image.unused_for": "image.idle_for", "volume.unused": "!volume.in_use",
    "volume.unused_for": "volume.idle_for", "network.unused": "!network.in_use",
    "image.containers": "image.used_by", "volume.containers": "volume.used_by", "network.containers": "network.used_by",
    "container.short_id": "container.id", "container.idle_for": "container.exited_for",
    "container.environment": "container.env_names", "container.finished_at": "container.exited_for",
    "image.exposed_ports": "image.ports", "image.registry": "image.repositories", "image.cmd": "image.instructions",
    "image.entrypoint": "image.instructions", "container.project": "container.labels",
    "volume.used": "volume.in_use", "volume.dangling": "!volume.in_use", "network.used": "network.in_use",
    "host.disk_usage": "host.disk_used_percent", "host.version": "host.engine_version",
}  # fmt: skip
KEYS = {
    "trigger": "on triggers cron event interval",
    "when": "if condition conditions expression expr check rule query where deny assert validate",
    "select": "match filter exclude unless except skip ignore selector only not",
    "subject": "kind target resource scope object type",
    "schedule": "cron crontab at",
    "every": "interval period",
    "events": "event on",
    "action": "actions do then remediate",
    "mode": "enabled disabled enforce effect enforcement dry_run validationFailureAction",
    "for": "wait delay grace grace_period",
    "params": "vars variables parameters constants args values",
    "message": "msg summary text annotations output",
    "description": "desc details rationale why",
    "remediation": "fix recommendation solution howto",
    "severity": "level priority importance",
    "refs": "ref references cis controls links",
    "name": "id alert",
    "policies": "policy rules checks spec groups",
    "version": "apiVersion",
    "until": "expires expiry expire expires_at valid_until end till",
    "match": "object objects condition container image",
    "reason": "comment justification note",
    "given": "input facts data with",
    "expect": "expected result outcome want wanted",
    "max_objects": "max count objects",
    "max_percent": "percent max_percentage",
}
"""By a key of a policy file, what others call it."""
EXAMPLES = {
    "trigger": '{every: 1h}, {schedule: "0 3 * * *"} or {events: [container.start]}',
    "events": "[container.start]",
    "limits": "{max_objects: 5}",
    "params": "{older_than: 24h}",
    "lists": "{teams: [web, data]}",
    "policies": "- name: no-latest-tag, and what belongs to it, indented",
    **dict.fromkeys(("when", "select", "gate", "stop_when", "match"), "a == 1 && b == 2, as one text"),
    "order_by": "image.last_used, one value",
    "action": "remove, one action",
    "schedule": '"0 3 * * *"',
    "until": "2027-03-31",
}
"""By a key, how its value is written."""
_EMPTIES = ("None", "nil", "undefined", "NULL", "Null", "null", "NaN")
_ROOTS = ("input", "object", "request", "resource", "self", "this", "item", "it", "obj", "data", "spec", "metadata")
# What a line with a syntax error has that other languages have, and what to write.
_FOREIGN = (
    (r"[\u00a0\u00ad\u2000-\u200f\u2028-\u202f\u2060\ufeff]", "an invisible sign is in it; write a plain blank"),
    (r"[\u2010-\u2015\u2212]", "a minus is written -"),
    (r"[≠≤≥]", "write !=, <= or >="),
    (r"[\u2018-\u201f]", "quotes are ' or \", not curly ones"),
    (r"\{\{|\}\}", "{{ }} belongs into message only; here the expression stands by itself"),
    (r"\$\{|\$", "there are no $ variables; facts are written plainly, as in container.name"),
    (r"~", "write a.matches('^b$')"),
    (r"===", "did you mean ==?"),
    (r"!==|<>", "did you mean !=?"),
    (r"=<", "did you mean <=?"),
    (r"=>\s*[-\d'\"]", "did you mean >=?"),
    (r"=>|\blambda\b", "write list.exists(i, i.key == 'a')"),
    (r":=", "did you mean ==?"),
    (r"\bnot\s+in\b", "write !(a in b)"),
    (r"(?i)\b(not\s+)?i?like\b", "write a.matches('^b'), or a.startsWith('b')"),
    (r"\bis\s+not\b", "did you mean !=?"),
    (r"(?i)\bnot\b", "did you mean !, as in !image.in_use?"),
    (r"(?<!\|)\|\s*[a-z_]+\b(?!\.)", "there are no filters; functions follow a dot, as in a.upperAscii()"),
    (r"(?i)\band\b|(?<!&)&(?!&)", "did you mean &&?"),
    (r"(?i)\bor\b|(?<!\|)\|(?!\|)", "did you mean ||?"),
    (r"\d\s*\^\s*\d|\*\*", "there are no powers; sizes can be params, as in `most: 10GB`"),
    (r"(?i)\bxor\b|\^", "write (a && !b) || (!a && b)"),
    (r"(?i)\bis\b|\beq(?:uals)?\b", "did you mean ==?"),
    (r"(?i)\bne\b", "did you mean !=?"),
    (r"(?i)\bgte\b|\bge\b", "did you mean >=?"),
    (r"(?i)\blte\b|\ble\b", "did you mean <=?"),
    (r"(?i)\bgt\b", "did you mean >?"),
    (r"(?i)\blt\b", "did you mean <?"),
    (r"\.\.", "write a >= 1 && a <= 5"),
    (r"(?i)\bbetween\b", "write a >= 1 && a <= 5"),
    (
        r"\b(i?contains|includes|startsWith|startswith|endsWith|endswith|matches|match)\b(?!\s*\()",
        "functions have brackets, as in a.contains('b')",
    ),
    (r"(?i)\b(a|de)sc(ending)?\b", "the lowest goes first; to turn it round write now - a of a time, -a of a number"),
    (r"\bif\b|\bthen\b|\belse\b|\bunless\b", "write condition ? this : that"),
    (r"\bfor\b|\bsome\b|\[\*?\]|\[_\]", "write list.exists(i, i.key == 'a')"),
    (r"\?\?|\?\.|->", "write labels[?'key'].orValue('')"),
    (r"\b\d[\d.]*\s?([kKMGT]i?B|[KMGT]i|[kKMGT])\b", "a size is a param, as in `most: 10GB`, used as params.most"),
    (r"\b\d+\s?(s|m|h|d|w|sec|min|minutes?|hours?|days?|weeks?|months?|years?)\b", _A_DURATION),
    (r"\b\d+_\d", "numbers have no _; sizes can be params, as in `most: 10GB`"),
    (r"%", "percents are plain numbers, as in host.disk_used_percent > 85.0"),
    (r"`", "texts are written in ' or \""),
    (r"(?<![\w)\]])\s*/[^/ ]+/", "write a.matches('^b$')"),
    (r"/\*", "a comment begins with // and ends with the line"),
    (r"(?m)^\s*#|#", "a comment begins with // in an expression"),
    (r"\breturn\b", "the expression stands by itself"),
    (r"(?i)\bin\s*[({][^)}]*", "lists are written in [ ], as in a in ['b', 'c']"),
    (r"\+\+|--", ""),
    (r"(?<![=!<>])=(?![=~])", "did you mean ==?"),
    (r"@", "names have no @"),
    (r"\[\s*-?\d*\s*:", "write a.substring(0, 3), or a.startsWith('b')"),
    (r"\b\d+,\d+\b", "numbers have a point, as in 1.5"),
    (r";|,", "join conditions with && or ||"),
)
_OVERLOAD = re.compile(r"No matching overloads found : (?:\((\w+)\)\.)?([^(]+)(?:\((.*)\))?")
_STRINGS = re.compile(r"[rR]?(?:'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")")
# What is told of an operator or function and the types it was given.
_MISMATCHES = (
    (r"null_type", _EMPTY),
    (r"optional_type", "write x[?'key'].orValue('')"),
    (r"^(startsWith|endsWith|contains|matches)\(string, list", "write list.exists(i, a.startsWith(i))"),
    (r"map\(string, dyn\)", "these are records; ask their keys, as in list.exists(m, m.source == '/etc')"),
    (r"^in\((int|double), list\(string|^in\(string, list\((int|double)", "its items are texts, in quotes"),
    (r"^in\(", "`in` looks into lists and keys of maps, for texts write a.contains('b')"),
    (r"^!\(string", "write !(a in b), or compare, as in a == ''"),
    (r"^[!=]=\((list|.*, list)", "write 'a' in list, or size(list) == 1 && list[0] == 'a'"),
    (r"^!\((Timestamp|Duration)", "compare it, as in now - a > duration('24h')"),
    (r"^!\(", "compare it, as in a == 0"),
    (r"^size\((int|double)", "it is a number itself"),
    (r"^(&&|\|\|)", "both sides are conditions, as in a == 'x' || a == 'y', or a in ['x', 'y']"),
    (r"^[*/%].*Duration", "durations are added only; write a.getHours() > 24 * b, or duration(string(24 * b) + 'h')"),
    (r"Duration", f"{_A_DURATION}, or is a param"),
    (r"Timestamp", "an age is now - image.created > duration('24h'), a time timestamp('2026-01-31T00:00:00Z')"),
    (r"bytes", "write version(…) on both sides"),
    (r"^\w+\(map", _LABELS),
    (r"^([^=!]+|.=?[<>]=?)\(list", "of a list ask its items, as in list.exists(i, i.startsWith('a')), or 'a' in list"),
    (r"^[<>]=?\(bool", "write a < b && b < c"),
    (r"^\[_\]\(string", "write a.charAt(0), a.substring(0, 3) or a.startsWith('b')"),
    (r"\(int, double\)", "write a whole number, or double(a)"),
    (r"\(double, int\)", "write the number with a point, as in 85.0, or double(b)"),
    (r"bool", "a bool stands by itself, as in a or !a; labels are texts: == 'true'"),
    (r"\((string, (int|double)|(int|double), string)\)",
     "numbers stand without quotes, sizes are params, as in `most: 10GB`; labels are texts: == '1'"),
)  # fmt: skip


def unknown(name: str, names: list[str], vocabulary: Vocabulary, *, called: bool = False) -> str:
    """What to say of a name that does not exist; ``names`` are those that do; ``called``: brackets follow it."""
    if name in names:
        return f"{name} is no function; write it without brackets"
    if owners := [kind for kind, facts in vocabulary.items() if name in facts]:
        return f"{name} is known for {', '.join(owners)}, not here"
    root, dot, rest = name.partition(".")
    meant = _FACTS.get(name, "")
    if any(word in names for word in re.findall(r"[a-z_.]+", meant)):
        hint = f", did you mean {meant}?"
    elif name in _MEANT:
        hint = f"; write {_MEANT[name]}"
    elif name in _EMPTIES or root in _ROOTS:
        hint = f"; {_EMPTY if name in _EMPTIES else _HERE}"
    else:
        hint = _fact(root, rest, names, vocabulary) if dot else _word(name, names, called=called)
    return f"unknown name {name}{hint}"


def _word(name: str, names: list[str], *, called: bool) -> str:
    if below := next((fact for fact in names if fact.startswith(f"{name}.")), ""):
        return f"; facts are written by their whole names, such as {below}"
    if name in _FUNCTIONS.split():
        macro = name in ("all", "exists", "exists_one", "filter", "map")
        example = f"list.{name}(i, i == 'a')" if macro else "'key' in labels" if name == "has" else f"a.{name}(…)"
        return f"; it is written {example}"
    if bare := [fact for fact in names if fact.endswith(f".{name}")]:
        return f", did you mean {' or '.join(bare[:3])}?"
    return near(name, _FUNCTIONS.split(), 0.7) or (f"; functions are {_FUNCTIONS}" if called else WEAK[0])


def _fact(root: str, rest: str, names: list[str], vocabulary: Vocabulary) -> str:
    same = [fact for fact in names if fact.startswith(f"{root}.")]
    if root in ("params", "lists"):
        hint = near(f"{root}.{rest}", same, 0.75)
        return hint or (f"; there are {', '.join(same)}" if same else f"; there are no {root} here")
    if not same:
        return f"; {_HERE}"
    if rest in names:  # container.image.dangling: the facts of its image stand beside its own
        return f", did you mean {rest}?"
    if begun := [fact for fact in same if rest and fact.startswith(f"{root}.{rest}")]:
        return f", did you mean {' or '.join(begun[:4])}?"
    close = near(rest, [fact.partition(".")[2] for fact in same], 0.75)
    if close:
        return close.replace("mean ", f"mean {root}.")
    # As inspect has it, HostConfig.NetworkMode, of the object alone; but a name, among parts, is that of anything.
    last = re.sub("(?<=[a-z])(?=[A-Z])", "_", rest.rpartition(".")[2]).lower()
    those = same if "." in rest else [fact for fact in names if fact[:5] != "host."]
    if meant := sorted(fact for fact in those if fact.endswith(f".{last}") and last != "name"):
        return f", did you mean {next((fact for fact in meant if fact in same), meant[0])}?"
    home = next((kind for kind, facts in vocabulary.items() if same[0] in facts), root)
    return f"; `dockwarden facts {root if root in vocabulary else home}` lists what there is"


def of_result(given: str, want: Collection[str]) -> str:
    """What to write where an expression gives another type than wanted."""
    if given == "dyn":
        return "; wrap it in string(...)" if "string" in want else ""
    if "bool" in want and len(want) == 1:
        examples = {"int": "; compare it, as in a > 0", "string": "; compare it, as in a == 'b'"}
        return examples.get(given, "; write size(list) > 0" if given.startswith(("list", "map")) else "")
    return "; write list.join(', ')" if given == "list<string>" else ""


def of_part(type_: str, written: str, column: int) -> str:
    """What to write instead of a part of what has none."""
    key = written[column:].strip()
    if re.match(r"(length|size|count|len)\b", key):
        return "; write size(x)"
    if type_ in ("Timestamp", "Duration"):
        return f"; write x.getHours(), or another of {' '.join(w for w in _FUNCTIONS.split() if w[:3] == 'get')}"
    if type_.startswith("list"):
        return "; ask its items, as in list.exists(i, i.key == 'a')"
    if ".labels." in written:
        return "; a key with dots stands in brackets: labels[?'com.example.team'].orValue('')"
    if type_ in ("string", "int", "bool", "double"):
        return "; it is one value by itself, to be compared, or for texts x.endsWith('a')"
    return ""


def mismatch(operator: str, types: str, written: str, column: int) -> str:
    """What to write where an operator or function does not take what it is given: ``>``, ``(int, string)``."""
    beside = re.search(r"params\.\w+\s*$", written[: column - 1]) or re.match(r"\W*params\.", written[column - 1 :])
    if beside and re.search(r"(int|double|Duration|Timestamp|bool), string|string, (int|double|Dur|bool)", types):
        text = "; params such as 7d are durations, 10MB and 10GiB sizes, true and false are written in small letters"
        return f"{text}; numbers stand without quotes, all else is text"
    if beside and types in ("(int, Duration)", "(Duration, int)"):
        return "; a param such as 7d or 512m is a duration, and one such as 512MiB a size"
    return next((f"; {hint}" for pattern, hint in _MISMATCHES if re.search(pattern, operator + types)), "")


def of_failure(error: str) -> str:
    """An error of a run, where types do not fit in the words for that: those of records are known only then."""
    if (found := _OVERLOAD.fullmatch(error)) is None:
        return error
    operator = found[2].strip("_")
    types = ", ".join(filter(None, (found[1], found[3]))).replace("int64", "int")
    types = re.sub("timestamp|duration", lambda name: name[0].capitalize(), types)
    return f"'{operator}' does not take {f'({types})' if types else 'that'}{mismatch(operator, f'({types})', '', 0)}"


def of_syntax(source: str, line: str, column: int, text: str) -> str:
    """What to write where the source is no expression; ``text`` is the library's word for it."""
    if "token recognition" in text and re.search(r"\\[^\\'\"`abfnrtvuUxX0-7?]", source):
        return r"; in an expression write \\d for \d, or r'…' around the pattern"
    if not source.strip():
        return "; it is empty"
    if text.startswith("has()"):
        return "; it is written 'key' in labels"
    bare = re.sub(r"//.*", "", _STRINGS.sub(lambda match: " " * len(match[0]), source))
    here = re.sub(r"//.*", "", _STRINGS.sub(lambda match: " " * len(match[0]), line))
    found = [(pattern, hint) for pattern, hint in _FOREIGN if re.search(pattern, bare)]
    found.sort(key=lambda one: all(not m.start() < column <= m.end() for m in re.finditer(one[0], here)))
    for hint in [hint for _, hint in found if hint][:1]:  # that of what stands where the library stumbled, if any does
        return f", {hint}" if hint.startswith("did") else f"; {hint}"
    if bare.count("'") % 2 or bare.count('"') % 2:
        return "; a quote is not closed, or stands within a text; texts may stand in ' or in \""
    if bare.count("(") != bare.count(")") or bare.count("[") != bare.count("]"):
        return "; the brackets do not match"
    if "<EOF>" in text and column >= len(line.rstrip()):
        return "; it ends too early"
    return "; before it an operator is missing, such as && or ==, or a comma" if "input" in text else ""

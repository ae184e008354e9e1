"""What scan, check and test found, in the formats of CI systems: SARIF 2.1.0, JUnit XML, Markdown, commands of GitHub.

Input: verdicts. Output: text. Out of bounds: judging; where the text goes. Names and messages come from strangers;
they are escaped as each format asks.
"""

import html
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from dockwarden import __version__
from dockwarden.text import counted, named, printable

if TYPE_CHECKING:
    from dockwarden.model import Policy, Result

_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}
_SCORES = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "3.0", "info": "1.0"}
_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
_PLACE = re.compile(r"(?P<file>[^\n]+?):(?P<line>[1-9]\d*)(?::(?P<column>[1-9]\d*))?(?:[ :]|$)")
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


class Verdict(NamedTuple):
    """One rule's result for one object.

    Attributes:
        status: as of a ``Result``; ``warning`` for what is worth saying of a policy file.
        place: where the rule, or what is wrong with it, is written: ``file:line`` or ``file:line:column``.
    """

    rule: str
    status: str
    severity: str
    name: str
    message: str
    place: str = ""
    kind: str = ""

    @property
    def level(self) -> str:
        """How loud it is in SARIF's words."""
        if self.status == "fail":
            return _LEVELS[self.severity]
        return {"error": "error", "unknown": "warning", "warning": "warning"}.get(self.status, "none")

    def row(self) -> dict[str, str]:
        return {"policy": self.rule, "result": self.status, **dict(zip(self._fields[2:6], self[2:6], strict=True))}

    def where(self) -> tuple[str, int, int]:
        """The file, as seen from the working directory, line and column; "" and zeros where there is no such place."""
        found = _PLACE.match(self.place)
        if not found:
            return "", 0, 0
        path = Path(found["file"])
        if path.is_relative_to(Path.cwd()):
            path = path.relative_to(Path.cwd())
        return path.as_posix(), int(found["line"]), int(found["column"] or 0)


def of_result(result: "Result", policies: "Mapping[str, Policy]") -> Verdict:
    policy = policies.get(result.policy)
    told = result.message if result.status.value == "fail" else result.reason or result.message
    place = policy.place if policy else ""
    return Verdict(
        result.policy, result.status.value, result.severity.value, result.name, told, place, result.ref.kind.value
    )


def of_problem(text: str, status: str = "fail") -> Verdict:
    """What is wrong with settings or a policy file; its place stands at its beginning."""
    place = _PLACE.match(text)
    said = text[place.end() :] if place else text
    where = place[0].rstrip(" :") if place else ""
    return Verdict("configuration", status, "high", place["file"] if place else "settings", said, where)


def write(form: str, verdicts: Sequence[Verdict], policies: "Iterable[Policy]") -> None:
    """Print them in a format, but no empty line where there is nothing to say; ``policies``: the rules."""
    text = render(form, verdicts, {policy.name: policy for policy in policies})
    print(text, end="\n" if text else "")


def render(form: str, verdicts: Sequence[Verdict], policies: "Mapping[str, Policy]") -> str:
    forms: dict[str, Callable[[], str]] = {
        "sarif": lambda: _sarif(verdicts, policies),
        "junit": lambda: _junit(verdicts),
        "markdown": lambda: _markdown(verdicts),
        "github": lambda: "\n".join(_github(verdict) for verdict in verdicts if verdict.level != "none"),
    }
    return forms[form]()


def _sarif(verdicts: Sequence[Verdict], policies: "Mapping[str, Policy]") -> str:
    found = [verdict for verdict in verdicts if verdict.status in ("fail", "excused", "warning")]
    rules = sorted({*policies, *(verdict.rule for verdict in found)})
    troubled = [verdict for verdict in verdicts if verdict.status in ("error", "unknown")]
    notes = [{"level": v.level, "message": {"text": _said(v)}, "descriptor": {"id": v.rule}} for v in troubled]
    succeeded = not any(verdict.status == "error" for verdict in verdicts)
    driver = {
        "name": "dockwarden",
        "semanticVersion": __version__,
        "rules": [_rule(name, policies.get(name)) for name in rules],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": succeeded, "toolExecutionNotifications": notes}],
        "results": [_sarif_result(verdict, rules.index(verdict.rule)) for verdict in found],
        "columnKind": "unicodeCodePoints",
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(name: str, policy: "Policy | None") -> dict[str, object]:
    if policy is None:
        return {"id": name}
    severity = policy.severity.value
    texts = {"fullDescription": policy.description, "help": policy.remediation}
    return {
        "id": name,
        "shortDescription": {"text": policy.title or name},
        **{key: {"text": text} for key, text in texts.items() if text},
        "defaultConfiguration": {"level": _LEVELS[severity]},
        "properties": {
            "tags": sorted({*policy.tags, *policy.refs, policy.subject.value}),
            "security-severity": _SCORES[severity],
        },
    }


def _sarif_result(verdict: Verdict, index: int) -> dict[str, object]:
    file, line, column = verdict.where()
    place: dict[str, object] = {}
    if file:
        region = {"startLine": line, **({"startColumn": column} if column else {})}
        uri = Path(file).as_uri() if file.startswith("/") else quote(file, errors="replace")
        place = {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}
    if verdict.kind:
        name = printable(verdict.name)
        logical = {"name": name, "fullyQualifiedName": f"{verdict.kind}/{name}", "kind": "resource"}
        place["logicalLocations"] = [logical]
    excused = verdict.status == "excused"
    print_ = sha256(f"{verdict.rule}\0{verdict.kind}\0{verdict.name}".encode("utf-8", "replace")).hexdigest()
    return {
        "ruleId": verdict.rule,
        "ruleIndex": index,
        "level": _LEVELS[verdict.severity] if excused else verdict.level,
        "message": {"text": _said(verdict)},
        **({"locations": [place]} if place else {}),
        "partialFingerprints": {"dockwarden/v1": print_[:32]},
        **({"suppressions": [{"kind": "external", "justification": printable(verdict.message)}]} if excused else {}),
    }


def _junit(verdicts: Sequence[Verdict]) -> str:
    by_rule: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_rule[verdict.rule].append(verdict)
    about = {"time": "0", "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "hostname": "localhost"}
    root = Element("testsuites")
    for number, (rule, found) in enumerate(sorted(by_rule.items())):
        count = Counter(_junit_word(verdict) for verdict in found)
        which = {"id": str(number), "package": "dockwarden", "name": rule, "tests": str(len(found))}
        sums = {word: str(count[word.removesuffix("s")]) for word in ("failures", "errors", "skipped")}
        suite = SubElement(root, "testsuite", which | sums | about)
        SubElement(suite, "properties")
        for verdict in found:
            case = SubElement(suite, "testcase", classname=rule, name=printable(verdict.name), time="0")
            if word := _junit_word(verdict):
                told = {"type": verdict.severity, "message": printable(verdict.message)}
                SubElement(case, word, {} if word == "skipped" else told)  # of which some readers know no message
        SubElement(suite, "system-out")
        SubElement(suite, "system-err")
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, "unicode")}'


def _junit_word(verdict: Verdict) -> str:
    return {"fail": "failure", "error": "error", "pass": "", "warning": ""}.get(verdict.status, "skipped")


def _said(verdict: Verdict) -> str:
    return named(printable(verdict.name), printable(verdict.message))


def _markdown(verdicts: Sequence[Verdict]) -> str:
    shown = [verdict for verdict in verdicts if verdict.status not in ("pass", "skip")]
    rows = [(v.severity if v.status == "fail" else v.status, v.rule, v.name or v.place, v.message) for v in shown]
    head = ["| Severity | Policy | Name | Message |", "| --- | --- | --- | --- |"]
    lines = [*head, *(f"| {' | '.join(map(_cell, row))} |" for row in rows), ""] if rows else []
    return "\n".join([*lines, _sum(verdict.status for verdict in verdicts)])


def _sum(statuses: Iterable[str]) -> str:
    counts = Counter(statuses)
    found = counted(counts["fail"], "finding")
    shown = [status for status in sorted(counts) if status not in ("fail", "skip")]
    nouns = ("error", "warning")
    others = [counted(counts[word], word) if word in nouns else f"{counts[word]:,} {word}" for word in shown]
    return ", ".join([found, *others])


def _cell(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]|~#@])", r"\\\1", html.escape(printable(text), quote=False))


def _github(verdict: Verdict) -> str:
    file, line, column = verdict.where()
    keys = {"file": file, "line": line, "col": column, "title": f"dockwarden: {verdict.rule}"}
    told = ",".join(f"{key}={_escaped(printable(str(value)), ':,')}" for key, value in keys.items() if value)
    return f"::{_COMMANDS[verdict.level]} {told}::{_escaped(_said(verdict))}"


def _escaped(text: str, more: str = "") -> str:
    """As GitHub's runner reads it back."""
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text

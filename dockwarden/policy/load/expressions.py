"""The expressions of one policy or exception: compiled, held to what is certainly wrong, and rehearsed.

Input: what is written under one path of a source. Output: programs by key; what is wrong is noted in the source. Out of
bounds: what the expressions are for.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from dockwarden.config.source import QUOTE, Path, Source
from dockwarden.model import Facts, FactValue, Kind, Specs, Values
from dockwarden.policy import hints
from dockwarden.policy.cel import Compiler, Program
from dockwarden.policy.faults import ExpressionError
from dockwarden.policy.rehearse import Part, contradiction, rehearse

_SCALARS = ("string", "int", "double", "bool", "duration", "timestamp")
_PART = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
# A word, and what stands before it, is looked at once, from its beginning.
_UNFILLED = re.compile(
    r"(?:(?:[$<]|(?<![{ ]))[{ ]*)?(?<![a-z_])([a-z_]+\.[a-z_]+)[} >]*|\{\s*\w+\s*\}|\{%|%(\(\w+\))?[sdv](?!\w)"
)
_COMMENT = re.compile(r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^/'"]|/(?!/))*(//.*)""")
_OF_HOST = ("gate", "stop_when")
_KEYS = ("match", "gate", "select", "when", "order_by", "stop_when")
# By subject: what a condition asks, objects that have none of it, so that it may hold for each; what keeps these out.
_BARE: dict[str, tuple[str, dict[str, FactValue], str]] = {
    "host": (
        r"host\.swarm_",
        {"host.swarm_managers": 0, "host.swarm_autolock": False, "host.swarm_certificates_last": timedelta()},
        "hosts outside of a swarm; unless that is meant, before it write host.swarm_role == 'manager' && …",
    ),
    "image": (
        r"image\.(tags|repositories)\b[^&|]*\.all\(",
        {"image.tags": [], "image.repositories": [], "image.same_as": []},
        "images without a tag; if not meant, write size(image.tags) > 0 && …",
    ),
}
_EITHER = re.compile(r"\|\|| \? ")
_BARE_IS_MEANT = re.compile(
    r"host\.swarm\b|host\.swarm_(?:role|leader|managers (?:[=<]= 0|< 1)\b)"
    r"|image\.dangling|(?:size\(image\.tags\)|image\.tags(?:\.size\(\))?) == (?:0|\[\])"
)


class Expressions:
    """The compiled expressions of one policy or exception, even of one whose other keys are wrong."""

    def __init__(self, compiler: Compiler, source: Source, path: Path, kind: Kind, params: Values) -> None:
        self.failed = False
        self.conditions: dict[str, Program] = {}
        self._starts: dict[Program, int] = {}
        self._compiler = compiler
        self._source = source
        self._path = path
        self._params = params
        self._kind = kind
        raw = source.at(path)
        for key in _KEYS:
            subject = Kind.HOST if key in _OF_HOST else kind
            if isinstance(raw.get(key), str) and (program := self._program(subject, key, raw[key])):
                self.conditions[key] = program
        for key in (*_KEYS, "message"):
            if isinstance(raw.get(key), str) and source.is_cut((*path, key)):
                self._refuse(key, f"what follows # is a comment; {QUOTE}, or write the comment above", len(raw[key]))
            elif (
                key in self.conditions
                and (comment := _COMMENT.match(raw[key]))
                and not all(line.strip().startswith("//") for line in source.joined((*path, key), *comment.span(1)))
            ):
                text = "YAML makes one line of it, so all after // is a comment; write it after |"
                self._refuse(key, text, comment.start(1))
        message = raw.get("message")
        is_written = message and isinstance(message, str)
        self.message = tuple(self._parts(kind, message)) if is_written else (str(raw.get("name")),)
        self.told = [part for part in self.message if not isinstance(part, str)]

    def constants(self) -> set[str]:
        return {name for program in (*self.conditions.values(), *self.told) for name in program.constants}

    def remarks(self) -> list[str]:
        """What conditions may mean besides what they say."""
        said = dict.fromkeys(text for program in self.conditions.values() for text in program.doubts.remarks)
        sign, bare, who = _BARE.get(self._kind, ("", {}, ""))
        asked = [self.conditions[key] for key in ("gate", "select", "when") if key in self.conditions]
        is_about = any(bare and re.search(sign, program.source) for program in asked)
        is_about = is_about and not any(_BARE_IS_MEANT.search(program.source) for program in asked)
        answers = [(program.evaluate(Facts({**bare})), program.source) for program in asked if is_about]
        # What is unknown is what else must hold; beside an alternative they may be found for another reason.
        if answers and all(each.value is True or (each.missing and not _EITHER.search(text)) for each, text in answers):
            said[f"it finds {who}"] = None
        return list(said)

    def rehearse(self, facts: Specs, host: Specs) -> None:
        """Run everything on made-up subjects, each expression where those that come before it let it."""
        judging = [Part(key, self.conditions[key]) for key in ("match", "select", "when") if key in self.conditions]
        telling = [Part("message", part) for part in self.told]
        telling += [Part("order_by", self.conditions["order_by"])] if "order_by" in self.conditions else []
        self._run(judging, telling, facts)
        for key in _OF_HOST:
            if key in self.conditions:
                self._run([Part(key, self.conditions[key])], [], host)

    def _run(self, conditions: Sequence[Part], others: Sequence[Part], facts: Specs) -> None:
        if told := contradiction(conditions):
            self._refuse(conditions[-1].key, told, 0)
        if (failed := rehearse(conditions, others, facts)) is None:
            return
        part, error, known = failed
        risks = [risk for risk in part.program.doubts.risks if re.search(risk.error, error)]
        risk = next((risk for risk in risks if _explains(known.get(risk.of), error)), risks[0] if risks else None)
        start = self._starts.get(part.program, 0)
        text = f"fails on some objects: {hints.of_failure(error)}; {risk.guard if risk else ''}".removesuffix("; ")
        self._refuse(part.key, text, start + (risk.at if risk else 0))

    def _parts(self, kind: Kind, text: str) -> Iterator[str | Program]:
        at = 0
        for match in [*_PART.finditer(text, 0, text.rfind("}}") + 2), None]:
            between = text[at : match.start() if match else len(text)]
            if loose := re.search(r"\{\{|\}\}", between):
                self._refuse("message", f"{loose[0]} without its other half", at + loose.start())
            if plain := self._plain(kind, between):
                self._refuse("message", plain[1], at + plain[0])
            if between:
                yield re.sub(r"\s+", " ", between)
            if match:
                part = self._program(kind, "message", match[1], match.start(1))
                yield from [part] if part else []
                at = match.end()

    def _plain(self, kind: Kind, text: str) -> tuple[int, str] | None:
        """What in a message looks as if it should be filled in, and is not between {{ and }}."""
        for match in _UNFILLED.finditer(text):
            if match[1] is None or self._compiler.knows(kind, match[1]):
                meant = match[1] or f"{kind}.name"
                return match.start(), f"'{match[0].strip()}' is printed as it stands; write {{{{ {meant} }}}}"
        return None

    def _program(self, kind: Kind, key: str, text: str, start: int = 0) -> Program | None:
        try:
            wanted = _SCALARS if key in ("message", "order_by") else ("bool",)
            before = self.conditions.get("select") if key == "when" else None
            settled = before.doubts.settled | before.doubts.names if before else set[str]()
            program = self._compiler.compile(kind, self._params, text, wanted, settled)
            if program.doubts.problems:
                raise ExpressionError(*program.doubts.problems)
            self._starts[program] = start
            return program
        except ExpressionError as error:
            lines = text.split("\n")
            for line, column, reason in error.problems:
                offset = sum(len(part) + 1 for part in lines[: line - 1]) + column - 1
                self._refuse(key, reason, start + offset)
        return None

    def _refuse(self, key: str, text: str, offset: int) -> None:
        self.failed = True
        self._source.refuse((*self._path, key), text, offset)


def _explains(value: FactValue | None, error: str) -> bool:
    """Whether this value of a fact may be why an expression fails so; None if no fact is concerned."""
    if isinstance(value, dict):
        return not any(f'"{key}"' in error for key in value)
    return f"'{value}'" in error if isinstance(value, str) else not value

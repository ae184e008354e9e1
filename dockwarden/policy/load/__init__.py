"""Loading policies: YAML files in, a compiled set out, or everything that is wrong with them at once.

Input: paths of files and folders, the vocabulary of facts, and what this host overrides. Output: a ``PolicySet``.
Out of bounds: watching files, evaluating, knowing who runs a schedule. With ``settings`` the only home of yaml.

YAML is read more strictly than its library would: no anchors, aliases or tags, no key twice, one document per file,
``true`` and ``false`` are the only booleans, and numbers are written in decimal.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dockwarden.errors import ConfigError
from dockwarden.model import Mode, PolicySet, Vocabulary
from dockwarden.policy.load.build import Builder, Overrides
from dockwarden.policy.load.source import QUOTE, Place, Source

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)", re.ASCII)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_KEY_LINE = re.compile(r"\s*(?:- +)?([\w-]+) *:")
_QUOTABLE = ("gate", "select", "when", "message", "schedule", "title", "description", "remediation")


def load(
    paths: Iterable[str | Path],
    vocabulary: Vocabulary,
    *,
    check_cron: Callable[[str], str],
    params: Mapping[str, Mapping[str, object]] | None = None,
    modes: Mapping[str, Mode] | None = None,
    triggers: Mapping[str, Mapping[str, object]] | None = None,
    cap: Mode = Mode.ENFORCE,
) -> PolicySet:
    """Read and compile everything, then return it.

    Args:
        paths: files, or folders whose ``*.yaml`` and ``*.yml`` are meant, hidden ones excepted.
        vocabulary: the facts that expressions may use.
        check_cron: gives the reason why a cron line cannot be used, or nothing.
        params: this host's values of params, by policy and param; of the same type as the policy's own.
        modes: this host's modes, by policy.
        triggers: this host's triggers, by policy; each replaces the policy's trigger as a whole.
        cap: the hardest mode that any policy may have.

    Raises:
        ConfigError: with all problems of all files.
    """
    problems: list[str] = []
    digest = hashlib.sha256()
    sources = []
    for file, content in _contents(paths, problems):
        digest.update(b"%b\0%d\0%b" % (os.fsencode(file.name), len(content), content))
        source = read(str(file), content)
        if source.data is None and not source.problems:
            source.note(1, 1, "file: empty; a policy file starts with `version: 1`")
        sources.append(source)
    readable = [source for source in sources if not source.problems]
    builder = Builder(vocabulary, readable, check_cron, Overrides(params or {}, modes or {}, triggers or {}, cap))
    policies = [policy for source in readable for policy in builder.build(source)]
    problems += [problem for source in sources for problem in source.problems] + builder.problems
    if problems:
        raise ConfigError(*problems)
    return PolicySet(tuple(policies), digest.hexdigest(), tuple(source.file for source in sources))


# -- files ------------------------------------------------------------------------------------------------------------


def _contents(paths: Iterable[str | Path], problems: list[str]) -> Iterator[tuple[Path, bytes]]:
    seen = set()
    for path in map(Path, paths):
        try:
            files = list(_files(path)) if path.is_dir() else [path]
            if not files:
                problems.append(f"{path}: no *.yaml or *.yml file in it")
            for file in files:
                if file.resolve() not in seen:
                    seen.add(file.resolve())
                    yield file, _content(file)
        except OSError as error:
            problems.append(f"{error.filename or path}: {error.strerror}")


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder, onerror=_stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith((".yaml", ".yml")) and not name.startswith("."):
                yield Path(where, name)


def _stop(error: OSError) -> None:
    raise error


def _content(file: Path) -> bytes:
    if file.exists() and not file.is_file():
        raise OSError(None, "not a regular file", str(file))
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(None, "larger than 1 MiB", str(file))
    return content


# -- YAML -------------------------------------------------------------------------------------------------------------


@dataclass
class _Frame:
    """A mapping or list that is being read; ``key`` waits for its value and stands at ``mark``."""

    container: Any
    path: tuple[str | int, ...]
    key: str | None = None
    mark: Any = None


def read(file: str, content: bytes) -> Source:
    """Read one YAML file, strictly. What is wrong is in its ``problems``; then ``data`` may be incomplete or None."""
    source = Source(file)
    try:
        source.text = content.decode("utf-8-sig")
        _fill(source)
    except UnicodeDecodeError as error:
        source.note(content.count(b"\n", 0, error.start) + 1, 1, "file: not UTF-8")
    except yaml.reader.ReaderError as error:
        before = source.text[: error.position]
        column = error.position - before.rfind("\n")
        source.note(before.count("\n") + 1, column, f"file: the character U+{error.character:04X} is not allowed")
    except yaml.MarkedYAMLError as error:
        _explain(source, error)
    return source


_read = read


def _explain(source: Source, error: yaml.MarkedYAMLError) -> None:
    mark: Any = error.problem_mark or error.context_mark
    lines = source.text.split("\n")[: mark.line + 1]
    key = next((match[1] for line in reversed(lines) if (match := _KEY_LINE.match(line))), "file")
    text = ", ".join(part for part in (error.context, error.problem) if part)
    if "\\t" in text:
        text += "; indent with blanks"
    elif key in _QUOTABLE:
        text += f"; {QUOTE}"
    source.note(mark.line + 1, mark.column + 1, f"{key}: {text}")


def _fill(source: Source) -> None:
    """Build the values from the library's events, without recursion."""
    stack: list[_Frame] = []
    documents = 0
    for event in yaml.parse(source.text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                _fault(event.start_mark, "one document per file")
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            _check(event, len(stack))
            _put(source, stack, event)


def _fault(mark: Any, text: str) -> None:
    raise yaml.MarkedYAMLError(problem=text, problem_mark=mark)


def _check(event: Any, depth: int) -> None:
    if event.anchor is not None:
        _fault(event.start_mark, "anchors and aliases (& and *) are not allowed")
    if getattr(event, "tag", None) is not None:
        _fault(event.start_mark, f"tags such as {event.tag} are not allowed")
    if depth > MAX_DEPTH:
        _fault(event.start_mark, f"nested deeper than {MAX_DEPTH}")


def _put(source: Source, stack: list[_Frame], event: Any) -> None:
    value, mark, frame = _value(event), event.start_mark, stack[-1] if stack else _Frame(None, ())
    path = frame.path
    if not stack:
        source.data = value
    elif isinstance(frame.container, list):
        path = (*path, len(frame.container))
        frame.container.append(value)
    elif frame.key is None:
        if not isinstance(value, str):
            _fault(mark, "a key must be text; put it in quotes")
        if value in frame.container:
            source.note(mark.line + 1, mark.column + 1, f"{value}: the same key twice")
        frame.key, frame.mark = value, mark
        return
    else:
        path, mark = (*path, frame.key), frame.mark
        frame.container[frame.key], frame.key = value, None
    style = getattr(event, "style", None)
    source.places[path] = Place(mark.line + 1, mark.column + 1, event.start_mark.index, event.end_mark.index, style)
    if isinstance(event, yaml.CollectionStartEvent):
        stack.append(_Frame(value, path))


def _value(event: Any) -> Any:
    """The value of a scalar, or an empty container. Only plain scalars may be something else than text."""
    if not isinstance(event, yaml.ScalarEvent):
        return [] if isinstance(event, yaml.SequenceStartEvent) else {}
    text = event.value
    if event.style is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text

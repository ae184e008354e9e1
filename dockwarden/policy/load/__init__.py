"""Loading policies: YAML files in, a compiled set out, or everything that is wrong with them at once.

Input: paths of files and folders, the vocabulary, the verbs, and this host's settings. Output: a ``PolicySet``. Out of
bounds: watching files, evaluating.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dockwarden.config import packs
from dockwarden.config.files import GOLDEN, STDIN, below, content
from dockwarden.config.places import quoted
from dockwarden.config.settings import Settings
from dockwarden.config.source import Source, read
from dockwarden.errors import ConfigError
from dockwarden.model import PolicySet, Vocabulary
from dockwarden.policy.document import Verbs
from dockwarden.policy.load.build import Builder
from dockwarden.text import because, near, printable


def load(
    paths: Iterable[str | Path],
    vocabulary: Vocabulary,
    verbs: Verbs,
    *,
    host: Settings | None = None,
    now: float = 0.0,
    tests: str = "",
) -> PolicySet:
    """Read and compile everything, then return it. Raises ConfigError: with all problems of all files.

    ``paths``: packs, files, or folders whose ``*.yaml`` and ``*.yml`` are meant, hidden ones excepted; where a file of
    the host's own has a policy of a pack's name, the pack's file is left out. ``host``: what holds here instead of what
    the files say. ``now``: what is past, in seconds since the epoch. ``tests``: ``read`` for the policies' own tests,
    ``cover`` for what they leave out as well.
    """
    problems: list[str] = []
    named = [str(path) for path in paths]
    digest = hashlib.sha256()
    sources = _sources(named, digest, problems)
    readable = [source for source in sources if not source.problems]
    builder = Builder(vocabulary, verbs, readable, host or Settings(), named)
    policies = [policy for source in readable for policy in builder.build(source, tests)]
    exceptions = tuple(builder.exceptions(now))
    if not any(source.problems for source in sources):
        builder.end()
    problems += [problem for source in sources for problem in source.problems] + builder.problems
    if problems:
        raise ConfigError(*problems)
    return PolicySet(
        policies=tuple(policies),
        sha256=digest.hexdigest(),
        files=tuple(source.file for source in sources),
        origins=tuple(named),
        exceptions=exceptions,
        trials=tuple(builder.trials),
        uncovered=tuple(builder.uncovered),
        warnings=tuple(builder.warnings),
    )


def _sources(named: Sequence[str], digest: "hashlib._Hash", problems: list[str]) -> list[Source]:
    """All files that were read; a pack's file whose policy the host has a policy of its own for is left out."""
    packed = {str(file) for pack in packs.PACKS if pack in named for file in packs.files(pack)}
    sources = []
    for file, text in _contents(named, problems):
        digest.update(b"%b\0%d\0%b" % (os.fsencode(file.name), len(text), text))
        source = read(str(file), text)
        if source.data is None and not source.problems:
            source.note(1, 1, "file: empty; a policy file starts with `version: 1`")
        keys = source.data.keys() - {"policies"} if isinstance(source.data, dict) else set()
        if keys and keys <= Settings.model_fields.keys() and not any(source.policies()):
            problems.append(printable(f"{file}: settings, no policies; `dockwarden check --config {file}` checks them"))
            continue
        sources.append(source)
    named_in = [(source, {str(raw.get("name")) for _, raw in source.policies()}) for source in sources]
    own = {name for source, names in named_in if source.file not in packed for name in names}
    return [source for source, names in named_in if source.file not in packed or own.isdisjoint(names)]


def _contents(paths: Sequence[str], problems: list[str]) -> Iterator[tuple[Path, bytes]]:
    seen = set()
    for path in paths:
        try:
            files = packs.files(path) if path in packs.PACKS else _files(Path(path))
            if not files and (path != str(packs.OWN) or len(paths) == 1):  # one's own may be empty beside others
                problems.append(printable(f"{path}: no *.yaml or *.yml file in it"))
            for file in files:
                stat = os.stat(0) if file == STDIN else file.stat()
                if (stat.st_dev, stat.st_ino) not in seen:
                    seen.add((stat.st_dev, stat.st_ino))
                    yield file, content(file)
        except OSError as error:
            way_out = "" if path[:1] == "/" else "; a path that holds everywhere is written in full, without ~ or *"
            parts = path.split(",") if "," in path else ()  # which a name may have as well
            is_list = any(part in packs.PACKS or (part and packs.is_there(Path(part))) for part in parts)
            apart = "; between paths stands `:` in DOCKWARDEN_POLICIES, a blank after a command" if is_list else ""
            hint = apart or quoted(path) or near(path, packs.PACKS) or way_out if error.errno == errno.ENOENT else ""
            problems.append(printable(f"{error.filename or path}: {because(error)}{hint}"))


def _files(path: Path) -> list[Path]:
    if path.name.endswith(GOLDEN) and path.is_file():
        why = "is a golden file, which `dockwarden test` reads; a policy file has another name"
        raise OSError(None, why, str(path))
    if not path.is_dir():
        return [path]
    return [file for file in below(path, (".yaml", ".yml")) if not file.name.endswith(GOLDEN)]

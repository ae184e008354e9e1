"""dockwarden's commands as people and scripts meet them: arguments, an exit code, what is written on which side.

Role: run one to its end in this process, so that a test waits for no interpreter to start. In: arguments, variables.
Out: a `Done`. Out of bounds: signals, terminals and what else only a process of its own has: few tests start one.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import structlog

from dockwarden.cli import main
from dockwarden.registry import HttpRegistry
from tests.forked import Forked
from tests.lab.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Done(NamedTuple):
    """A command that is over."""

    code: int
    out: str
    err: str


def environment(docker_host: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command: nothing of ours that could be a setting of dockwarden or Docker."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKWARDEN_", "DOCKER_", "STATE_DIRECTORY"))}
    return {**ours, "DOCKER_HOST": docker_host, "NO_COLOR": "1", **(more or {})}


def command(
    *arguments: str | Path, docker_host: str = "unix:///nowhere/docker.sock", more: Mapping[str, str] | None = None
) -> Done:
    """Run one command of dockwarden to its end; not in two threads at once.

    `run` takes over its process, so it gets one.
    """
    variables = environment(docker_host, more)
    if "run" in arguments[:1]:
        return process(*map(str, arguments), variables=variables)
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, variables, clear=True),
        patch.object(sys, "stdin", io.StringIO()),
        redirect_stdout(out),
        redirect_stderr(err),
        logging_of_its_own(),
        _closed_registries(),
    ):
        try:
            code = main([*map(str, arguments)])
        except SystemExit as end:  # as argparse ends
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def process(*arguments: str, variables: Mapping[str, str]) -> Done:
    """Run one command as a process of its own; what it writes must fit into a pipe."""
    with tempfile.NamedTemporaryFile() as out:
        started = Forked(arguments, variables, out.name)
        with started.stderr:
            try:
                code = started.wait(PATIENCE)
            finally:
                started.kill()
            return Done(code, out.read().decode(), started.stderr.read())


@contextmanager
def _closed_registries() -> Iterator[None]:
    """Connections that the end of the process would close, and else the garbage collector, with a warning."""
    made = []

    def remembered(*arguments: Any, **options: Any) -> HttpRegistry:
        made.append(HttpRegistry(*arguments, **options))
        return made[-1]

    with patch("dockwarden.app.HttpRegistry", remembered):
        try:
            yield
        finally:
            for registry in made:
                registry.close()


@contextmanager
def logging_of_its_own() -> Iterator[None]:
    """What a command sets up goes with it: no logger is kept, which else would be for the life of the process."""
    root, before, configure = logging.getLogger(), structlog.get_config(), structlog.configure
    handlers, level = root.handlers[:], root.level

    def forgetful(**given: object) -> None:
        configure(**{**given, "cache_logger_on_first_use": False})  # type: ignore[arg-type]

    with patch.object(structlog, "configure", forgetful):
        try:
            yield
        finally:
            logging.captureWarnings(capture=False)
            root.handlers[:] = handlers
            root.setLevel(level)
            configure(**before)

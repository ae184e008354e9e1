"""Logging as a process does it: lines on stderr, for programs or for people, without secrets and without tricks.

Each test is a process of its own, because logging is set up once in a process.
"""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from dockwarden.process import logs
from tests.commands import Done, process

ROOT = Path(__file__).parents[2]
_SET_UP = """
import logging, sys, warnings
import structlog
from dockwarden.process import logs
counted = []
logs.set_up({form!r}, {level!r}, counted.append)
log = structlog.get_logger("dockwarden.test")
"""


def written(program: str, form: str = "json", level: str = "info", **environment: str) -> Done:
    """What a process that logs writes."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "JOURNAL_STREAM")}
    code = _SET_UP.format(form=form, level=level) + program
    done = process("-c", code, variables={**inherited, **environment})
    assert done.code == 0, done.err
    return done


def lines(program: str, **how: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(program, **how).err.splitlines()]


def test_a_test_hears_a_logger_that_a_command_used_in_this_process_before() -> None:
    log, before, root = structlog.get_logger("dockwarden.test"), structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.set_up("json", "error", lambda _level: None)
    log.error("x")
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)
    with capture_logs() as heard:
        log.info("y")
    assert [line["event"] for line in heard] == ["y"]


# -- for programs ------------------------------------------------------------------------------------------


def test_a_line_is_json_with_event_level_time_and_logger() -> None:
    [line] = lines("log.info('finding.opened', policy='p', name='x', bytes=3)")
    assert line.pop("timestamp").endswith("Z")
    expected = {"event": "finding.opened", "level": "info", "logger": "dockwarden.test", "policy": "p", "name": "x"}
    assert line == {**expected, "bytes": 3}


def test_nothing_goes_to_stdout() -> None:
    assert written("log.error('x')").out == ""


def test_long_lines_of_threads_that_write_at_once_stay_whole_on_an_unbuffered_stream() -> None:
    program = """
from threading import Thread
def write(letter):
    for _ in range(10):
        log.info(letter, text=letter * 100_000)  # more than a pipe holds
        logging.getLogger("library").info(letter * 100_000)
threads = [Thread(target=write, args=(letter,)) for letter in "abcd"]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    code = _SET_UP.format(form="json", level="info") + program
    done = subprocess.run(
        [sys.executable, "-u", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    shown = [json.loads(line) for line in done.stderr.splitlines()]
    assert {len({*line.get("text", ""), *line["event"]}) for line in shown} == {1}


def test_without_a_stderr_nothing_is_written_and_nothing_fails() -> None:
    program = "sys.stderr = None; logs.set_up('json', 'info', counted.append); log.error('x'); logging.error('y')"
    assert written(program, JOURNAL_STREAM="1:2").err == ""


def test_what_is_none_is_left_out() -> None:
    [line] = lines("log.info('x', job=None, zero=0, empty='')")
    assert "job" not in line
    assert (line["zero"], line["empty"]) == (0, "")


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_lines_below_the_level_are_not_written(level: str, expected: list[str]) -> None:
    program = "for each in (log.debug, log.info, log.warning, log.error): each('x')"
    assert [line["level"] for line in lines(program, level=level)] == expected


def test_every_line_is_counted_by_level() -> None:
    done = written("log.info('x'); log.error('y'); log.debug('z'); logging.getLogger('a').warning('w'); print(counted)")
    assert done.out.strip() == "['info', 'error', 'warning']"


def test_lines_of_libraries_and_warnings_come_in_the_same_form() -> None:
    program = "logging.getLogger('urllib3.connectionpool').warning('retrying %s', 1); warnings.warn('old')"
    first, second = lines(program)
    assert (first["event"], first["level"], first["logger"]) == ("retrying 1", "warning", "urllib3.connectionpool")
    assert (second["logger"], second["level"]) == ("py.warnings", "warning")
    assert "old" in second["event"]


def test_chatty_libraries_are_heard_from_warnings_on() -> None:
    program = """
for name in ("urllib3", "docker.api", "apscheduler.scheduler"):
    logging.getLogger(name).info("chatter")
    logging.getLogger(name).warning("trouble")
"""
    assert [line["event"] for line in lines(program, level="debug")] == ["trouble"] * 3


def test_requests_that_are_answered_with_an_error_are_not_logged() -> None:
    assert lines("from tornado.log import access_log\naccess_log.error('503 GET /readyz')\nassert counted == []") == []


def test_text_of_strangers_stays_one_line_of_json() -> None:
    odd = "a\nb\x1b[31m\u202e\u2028\ud800"
    done = written(f"log.info('x', name={odd!r})")
    assert len(done.err.splitlines()) == 1
    assert json.loads(done.err)["name"] == odd


# -- tracebacks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_has_no_values_of_variables(form: str) -> None:
    program = """
def fail(token):
    password = "hunter" + "2"
    raise ValueError("it broke")
try:
    fail("s3cr" + "et")
except ValueError:
    log.exception("run.error")
"""
    shown = written(program, form=form).err
    assert "it broke" in shown
    assert "in fail" in shown
    assert "hunter2" not in shown
    assert "s3cret" not in shown


# -- for people ----------------------------------------------------------------------------------------------


FOR_PEOPLE = (
    (
        "log.warning('finding.opened', policy='p', severity='high', name='docker.io/a', message='docker.io/a is old')",
        "high      p                       a is old",
    ),
    ("log.info('finding.resolved', policy='p', name='x', why='gone')", "resolved  p                       x: gone"),
    (
        "log.info('action.applied', policy='p', action='remove', name='x', reason='removed', bytes=2_000_000)",
        "removed   p                       x (2.0 MB freed)",
    ),
    (
        "log.error('action.failed', policy='p', name='x', reason='failed', detail='no ' + 'cd' * 32)",
        "failed    p                       x: no cdcdcdcdcdcd",
    ),
    ("log.info('action.audited', policy='p', name='x', reason='audit', detail='x is old')", ""),
    (
        "log.info('run.completed', run='1', cause='schedule', job='p', judged=3, opened=1, audited=1, steps=1)",
        "info      run.completed           p: 3 judged, 1 found, 1 would be done (audit)",
    ),
    ("log.info('run.completed', run='1', cause='event', judged=3, opened=1, steps=0)", ""),
    ("log.info('run.completed', run='1', cause='schedule', job='p', judged=3, opened=0, audited=1, steps=1)", ""),
    ("log.error('engine.unreachable', error='refused')", "error     engine.unreachable      refused"),
    ("logging.getLogger('a').warning('b %s', 1)", "warning   b 1"),
)


def test_for_people_a_line_says_what_counts_first_and_nothing_twice() -> None:
    shown = written("\n".join(call for call, _ in FOR_PEOPLE), form="console").err
    assert "\x1b" not in shown, "colours go to terminals only"
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in shown.splitlines()] == [
        line for _, line in FOR_PEOPLE if line
    ]


def test_control_characters_of_strangers_do_not_reach_a_terminal() -> None:
    program = r"log.info('x', name='\x1b[2Jgone\nline\u202etxt', other=3); log.info('e\x1b[31mvent')"
    shown = written(program, form="console").err
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(shown.splitlines()) == 2
    assert r"\x1b[2Jgone\nline\u202etxt" in shown.replace("\\\\", "\\")


def test_auto_is_json_unless_stderr_is_a_terminal() -> None:
    assert json.loads(written("log.info('x')", form="auto").err)["event"] == "x"


@pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
def test_on_a_terminal_auto_is_text_with_colours_unless_nobody_wants_them(*, no_color: str, colored: bool) -> None:
    leader, follower = pty.openpty()
    code = _SET_UP.format(form="auto", level="info") + "log.info('hello', name='x')"
    environment = {**os.environ, "NO_COLOR": no_color, "CLICOLOR": "", "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", code], stderr=follower, cwd=ROOT, env=environment, check=True, timeout=60)
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "hello" in shown
    assert ("\x1b[" in shown) is colored
    assert not shown.lstrip("\x1b[0123456789;m").startswith("{")


# -- the journal ---------------------------------------------------------------------------------------------


def test_the_journal_is_told_the_priority() -> None:
    program = """
for each in (log.debug, log.info, log.warning, log.error, log.critical): each("x")
"""
    code = (
        "import os, sys; s = os.fstat(2); os.environ['JOURNAL_STREAM'] = f'{s.st_dev}:{s.st_ino}'\n"
        + _SET_UP.format(form="json", level="debug")
        + program
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    assert [line[:3] for line in done.stderr.splitlines()] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert json.loads(done.stderr.splitlines()[0][3:])["event"] == "x"


def test_a_journal_of_somebody_else_is_not_ours() -> None:
    assert written("log.info('x')", JOURNAL_STREAM="1:2").err.startswith("{")

"""Logging: structlog for us, the standard library's records bridged into the same lines.

Input: a format, a level, a counter. Output: lines on stderr, JSON or for people. Out of bounds: what is logged. Local
variables never reach a traceback, because they hold strangers' data and secrets.
"""

import json
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from threading import RLock

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from dockwarden.text import brief, colored, in_bytes, named, printable

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_LEAST = {
    **dict.fromkeys(("urllib3", "docker", "apscheduler"), logging.WARNING),
    **dict.fromkeys(("tornado", "urllib3.connection"), logging.ERROR),  # warn of what any client or server can do
    "tornado.access": logging.CRITICAL,  # every 503 of /readyz would be an error of ours
}
_SENTENCES = ("message", "error", "reason", "detail", "why", "note", "hint")
_IMPLIED = {"event", "level", "logger", "timestamp", "severity", "policy", "name", "id", "subject", "exception", "run"}
_IMPLIED |= {"action", "bytes", "planned_bytes"}
_COUNTS = {
    "judged": "judged",
    "opened": "found",
    "resolved": "resolved",
    "applied": "done",
    "audited": "would be done (audit)",
    "skipped": "skipped",
    "refused": "refused",
    "failed": "failed",
}
_MARGIN = 44


def set_up(form: str, level: str, count: Callable[[str], None]) -> None:
    """Log to stderr: ``json``, ``console``, ``auto`` (console on a terminal). ``count`` is told each line's level."""
    as_text = form == "console" or (form == "auto" and sys.stderr.isatty())

    def counted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        count(str(event.get("level", "info")))
        return {key: value for key, value in event.items() if value is not None}

    to_json = json.JSONEncoder(default=repr).encode
    render: Callable[..., object] = _as_text if as_text else lambda _logger, _method, event: to_json(event)
    to_journal = _to_journal()

    def rendered(logger: WrappedLogger, method: str, event: EventDict) -> str:
        priority = f"<{_PRIORITIES.get(event['level'], 6)}>" if to_journal else ""
        return f"{priority}{render(logger, method, event)}"

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        counted,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.lock = _Stderr.lock
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[meta, rendered]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _LEAST.items():
        logging.getLogger(name).setLevel(max(root.level, least))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*shared, *([_only_news] if as_text else []), rendered],
        logger_factory=_Stderr,
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=True,  # an event logs four lines
    )


class _Stderr:
    """Writes lines, in a third of the time that the standard library takes for its records; never raises."""

    lock = RLock()  # of an unbuffered stream the system takes a long line in parts, between those of other threads

    def __init__(self, name: str = "") -> None:
        self.name = name

    def info(self, line: str) -> None:
        with self.lock, suppress(OSError, ValueError, AttributeError):  # nobody reads it, it is closed, there is none
            sys.stderr.write(f"{line}\n")  # which is flushed at each line

    debug = warning = error = critical = info


def _to_journal() -> bool:
    """Whether stderr is the journal: systemd names its device and inode, and leaves the variable to child processes."""
    with suppress(OSError, ValueError, AttributeError):
        stat = os.fstat(sys.stderr.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"
    return False


def _only_news(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Drop lines that tell people what another line does: the end of a run counts what was only previewed."""
    is_news = line["event"] not in ("action.audited", "action.skipped")
    if line["event"] == "run.completed":
        has_acted = any(line.get(effect) for effect in ("applied", "refused", "failed"))
        is_news = line.get("cause") == "startup" or has_acted or bool(line.get("opened") and line.get("steps"))
    if not is_news:
        raise structlog.DropEvent
    return line


def _as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Local time, severity or what happened, policy or event, the message; nothing twice, and no control characters."""
    on_terminal = sys.stderr.isatty()
    word, about = str(event["level"]), str(event["event"])
    if "policy" in event:
        word = str(event.get("severity") or about.partition(".")[2])
        word, about = str(event["reason"]) if word == "applied" else word, str(event["policy"])
    at = datetime.fromisoformat(event["timestamp"]).astimezone().strftime("%H:%M:%S")
    label = f"{word:8}"
    if on_terminal:
        label = colored(word, label, os.environ)
    text = brief(printable(_story(event, word)))
    if on_terminal:
        room = max(30, shutil.get_terminal_size().columns - _MARGIN)
        lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
        text = f"\n{'':{_MARGIN}}".join(lines)
    trace = f"\n{event['exception']}" if "exception" in event else ""
    return f"{at}  {label}  {printable(about):<{_MARGIN - 22}}  {text}".rstrip() + trace


def _story(event: EventDict, word: str) -> str:
    """What a line says beside its first columns."""
    if event["event"] == "run.completed":
        counts = ", ".join(f"{event[key]} {words}" for key, words in _COUNTS.items() if event.get(key))
        return f"{event.get('job') or event['cause']}: {counts}"
    said = ""
    for key in _SENTENCES:
        text = str(event.get(key, ""))
        if text and text != word and text not in said:
            said += f"; {text}" if said else text
    if name := str(event.get("name", "")):
        said = named(name, said)
    rest = [f"{key} {value}" for key, value in event.items() if key not in {*_IMPLIED, *_SENTENCES}]
    if freed := event.get("bytes"):
        rest.append(f"{in_bytes(freed)} freed")
    return f"{said} ({', '.join(rest)})" if said and rest else said or ", ".join(rest)

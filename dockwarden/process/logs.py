"""Logging: structlog for us, the standard library's records bridged into the same lines.

Input: a format, a level, a counter. Output: lines on stderr, JSON or for people. Out of bounds: what is logged. Local
variables never reach a traceback, because they hold strangers' data and secrets.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from dockwarden.text import printable

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_NOISY = ("urllib3", "docker", "apscheduler")
_FLOODED = ("tornado",)  # warns of what any client can do


def set_up(form: str, level: str, count: Callable[[str], None]) -> None:
    """Send all logging to stderr.

    Args:
        form: ``json``, ``console``, or ``auto``: console on a terminal, else JSON.
        level: the lowest level that is written.
        count: told the level of every message.
    """
    as_text = form == "console" or (form == "auto" and sys.stderr.isatty())

    def counted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        count(str(event.get("level", "info")))
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.UnicodeDecoder(),
        structlog.processors.format_exc_info,
        _without_nothing,
        counted,
    ]
    render: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_text:
        colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        render += [_printable, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=22)]
    else:
        render.append(structlog.processors.JSONRenderer())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(foreign_pre_chain=shared, processors=render))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    for name in _FLOODED:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)  # every 503 of /readyz would be an error of ours
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # few lines are logged, and who configures again must be heard
    )


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Puts systemd's priority in front of each line where the journal is listening."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return f"<{_PRIORITIES.get(record.levelname.lower(), 6)}>{line}" if _to_journal() else line


def _to_journal() -> bool:
    """Whether stderr is the journal: systemd names its device and inode, and leaves the variable to child processes."""
    if "JOURNAL_STREAM" not in os.environ:
        return False
    try:
        stat = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


def _without_nothing(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: value for key, value in event.items() if value is not None}


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> Mapping[str, object]:
    """Names and labels come from strangers; a terminal obeys control characters."""
    return {
        key: printable(value) if isinstance(value, str) and key != "exception" else value
        for key, value in event.items()
    }

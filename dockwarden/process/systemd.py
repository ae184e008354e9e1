"""What systemd is told: that we are ready, alive, reloading or ending, and how things are. Without it nothing is told.

Input: the health record and what the daemon does. Output: datagrams to ``$NOTIFY_SOCKET``, as sd_notify(3) has them.
Out of bounds: judging whether a thread makes progress, and ending the process.
"""

import os
import socket
import time
from collections.abc import Mapping

import structlog

from dockwarden.health import Health

_MORE_START_SECONDS = 60
_log = structlog.get_logger("dockwarden.systemd")


class ServiceManager:
    """The one who started us, if it wants to hear from us."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """``environ``: where systemd leaves its address and how often it wants a sign of life."""
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        span = environ.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(span) / 1e6 if ours and span.isdigit() else 0.0
        self._ready = not address
        self._trouble = ""

    @property
    def patience_seconds(self) -> float:
        """How long it can wait for the next ``report``; short before it was told that we are ready."""
        if not self._ready:
            return 0.1
        return self.watchdog_seconds / 3 or float("inf")

    def report(self, health: Health) -> None:
        """All threads make progress, so say that and how we are.

        Ready means that everything was listed once, or that the engine turned out to be away: to wait for it is then
        our work, and a start that lasts until it comes would hold up the whole machine's.
        """
        if not self._address:
            return
        if not self._ready and not (health.inventory_complete or health.engine_away):
            # A long list is no failure: more time, as long as the threads make progress.
            self._tell(f"EXTEND_TIMEOUT_USEC={_MORE_START_SECONDS * 1_000_000}", "STATUS=listing everything")
            return
        status = "; ".join(health.unready()) or "watching"
        if self._trouble:
            status = f"{status}; {self._trouble}"
        self._tell("WATCHDOG=1", f"STATUS={status}", *([] if self._ready else ["READY=1"]))
        self._ready = True

    def begin_reload(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def end_reload(self, trouble: str = "") -> None:
        """They are in use, or for the reason given those of before still are."""
        self._trouble = trouble
        if self._ready:
            self._tell("READY=1")

    def stop(self) -> None:
        self._tell("STOPPING=1", "STATUS=finishing what is under way")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        text = "\n".join(" ".join(line.split()) for line in lines)  # an engine's error may have lines of its own
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ear:
                ear.settimeout(1)
                ear.sendto(text.encode(errors="replace"), self._address)
        except OSError as error:
            _log.warning("daemon.notify_failed", error=str(error))

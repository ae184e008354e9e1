"""Notifications: what opened, was resolved or was done, told to people through apprise, as plain text.

Input: reports, and routes that say who hears of what. Output: messages, one for all that happened within a moment. Out
of bounds: the worker's time. Each route has a thread and one message of bounded size that waits to be sent, so that a
service that is down or slow costs nobody anything but its own readers, and thousands of findings are one message.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import structlog

from dockwarden.config.files import secret
from dockwarden.config.places import Places
from dockwarden.config.settings import RouteSettings
from dockwarden.config.source import Path as KeyPath
from dockwarden.errors import ConfigError
from dockwarden.metrics import Metrics
from dockwarden.model import Effect, Policy, Report, Severity
from dockwarden.sinks.notify.message import ACTED, EXCUSED, EXPIRED, FAILED, OPENED, RESOLVED, Alarm, Message, News
from dockwarden.text import because, named

_SOMEWHERE = Places().problem
_LIKE = {EXCUSED: RESOLVED, EXPIRED: OPENED, FAILED: ACTED}  # who is told of the one is told of the other
_PAUSES_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0)
_LAST_WORDS_SECONDS = 3.0
_LEADS_ON, _LEADS_AWAY = ("307", "308"), ("301", "302", "303")  # with the text, and without it
_log = structlog.get_logger("dockwarden.notify")

Send = Callable[[str, str, Alarm], str]
"""Sends subject and text; why that failed, else ""."""


class _Answer(logging.Handler):
    """Keeps, for each thread, the status that a service answered last; else what apprise logs may contain addresses."""

    said = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.search(r"\berror=(\d{3})\b", record.getMessage()):
            self.said.status = found[1]


class _Channel(threading.Thread):
    def __init__(self, name: str, options: RouteSettings, send: Send, notifier: "Notifier") -> None:
        super().__init__(name=f"notify {name}", daemon=True)
        self._route = name
        self._options = options
        self._send = send
        self._notifier = notifier
        self._changed = threading.Condition()
        self._pending = Message()
        self._stopping = False

    def take(self, news: Sequence[News]) -> None:
        wanted = [one for one in news if self._wants(one)]
        if wanted:
            with self._changed:
                for one in wanted:
                    self._pending.add(one)
                self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        while (message := self._next()) is not None:
            self._deliver(message)

    def _wants(self, news: News) -> bool:
        options = self._options
        return (
            _LIKE.get(news.what, news.what) in options.events
            and news.severity.rank <= options.severity.rank
            and any(fnmatchcase(news.policy, pattern) for pattern in options.policies)
        )

    def _next(self) -> Message | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pending.total or self._stopping)
            self._changed.wait_for(lambda: self._stopping, self._notifier.wait_seconds)
            message, self._pending = self._pending, Message()
        return message if message.total else None

    def _deliver(self, message: Message) -> None:
        metrics = self._notifier.metrics
        notifier, options = self._notifier, self._options
        title, body = message.write(notifier.host(), notifier.link, options.title, options.body)
        why = ""
        for tried, pause in enumerate((*self._notifier.pauses_seconds, None)):
            if not (why := self._send(title, body, message.alarm())):
                metrics.notifications.labels(self._route, "sent").inc()
                return
            if not tried:
                said = {"error": why, "note": "it is tried again"}
                _log.warning("notify.not_sent", route=self._route, news=message.total, **said)
            with self._changed:
                if pause is None or self._changed.wait_for(lambda: self._stopping, pause):
                    break
        metrics.notifications.labels(self._route, "failed").inc()
        metrics.notifications_dropped.labels(self._route).inc(message.total)
        said = {"error": why, "note": "given up; the API and the log have it"}
        _log.error("notify.failed", route=self._route, news=message.total, **said)


@dataclass(eq=False, repr=False)
class Notifier:
    """All routes. ``record`` costs the caller next to nothing, whatever the services do.

    ``wait_seconds``: what happens within is one message; ``pauses_seconds``: between tries; ``link``: to find more.
    """

    routes: Mapping[str, tuple[RouteSettings, Send]]
    metrics: Metrics
    host: Callable[[], str]
    wait_seconds: float
    pauses_seconds: Sequence[float] = _PAUSES_SECONDS
    link: str = ""

    def __post_init__(self) -> None:
        self._policies: Mapping[str, Policy] = {}
        self._channels = [_Channel(name, options, send, self) for name, (options, send) in self.routes.items()]
        for name in self.routes:
            self.metrics.notifications.labels(name, "sent")
            self.metrics.notifications.labels(name, "failed")
            self.metrics.notifications_dropped.labels(name)

    def start(self) -> None:
        for channel in self._channels:
            channel.start()

    def record(self, report: Report) -> None:
        """Note the transitions of a run; what was done is as severe as its policy."""
        if report.policies is not None:
            self._policies = {policy.name: policy for policy in report.policies.policies}
        if self._channels and (news := list(_news(report, self._policies))):
            for channel in self._channels:
                channel.take(news)

    def stop(self) -> None:
        """Send once what is left, and end."""
        for channel in self._channels:
            channel.stop()
        for channel in self._channels:
            if channel.is_alive():
                channel.join(_LAST_WORDS_SECONDS)


def _news(report: Report, policies: Mapping[str, Policy]) -> Iterator[News]:
    for what, results in ((OPENED, report.opened), (RESOLVED, report.resolved), (EXCUSED, report.newly_excused)):
        for r in results:
            is_expired = what is OPENED and r.reason.startswith("expired: ")
            text = named(r.name, r.message if what is OPENED else r.reason)
            yield News(EXPIRED if is_expired else what, r.severity, r.policy, text, policies.get(r.policy))
    for outcome in report.outcomes:
        if outcome.effect in (Effect.APPLIED, Effect.FAILED):
            policy = policies.get(outcome.policy)
            severity = policy.severity if policy else Severity.INFO
            text = named(f"{outcome.name}, {outcome.action} {outcome.effect.value}", outcome.detail or outcome.reason)
            yield News(ACTED if outcome.effect is Effect.APPLIED else FAILED, severity, outcome.policy, text, policy)


def open_routes(
    routes: Mapping[str, RouteSettings], problem: Callable[[KeyPath, str], str] = _SOMEWHERE
) -> dict[str, tuple[RouteSettings, Send]]:
    """What sends for each route.

    Raises ConfigError: apprise is missing, or an address cannot be read or is of no kind that it knows. Addresses
    contain passwords, so they are never told.
    """
    if not routes:
        return {}
    try:
        import apprise  # noqa: PLC0415, F401 - an extra, and slow to import
    except ImportError as error:
        raise ConfigError(
            "notify.routes: notifications need apprise; run: make install NOTIFY=1, or pip install apprise"
        ) from error
    (said := logging.getLogger("apprise")).propagate = False
    said.handlers[:] = [_Answer()]
    said.setLevel(logging.WARNING)
    problems, opened = [], {}
    for name, options in routes.items():
        try:
            opened[name] = (options, _sender(_address(options)))
        except (OSError, ValueError) as error:
            key = "url" if options.url_file is None else "url_file"
            problems.append(problem(("notify", "routes", name, key), because(error)))
    if problems:
        raise ConfigError(*problems)
    return opened


def _address(options: RouteSettings) -> str:
    if options.url is not None:
        return options.url.get_secret_value()
    if options.url_file is None:
        raise ValueError("needs url or url_file")
    try:
        return secret(options.url_file).strip()
    except OSError as error:
        raise ValueError(f"{options.url_file}: {because(error)}") from error


def _sender(address: str) -> Send:
    import apprise  # noqa: PLC0415 - as above

    asset = apprise.AppriseAsset(app_id="dockwarden", app_desc="dockwarden", app_url="", async_mode=False)
    service = apprise.Apprise(asset=asset)
    if not address or not service.add(address):
        raise ValueError("apprise knows no such address; see https://appriseit.com for how to write one")
    for one in service:
        one.notify_format = apprise.NotifyFormat.TEXT  # some would make HTML of it
        if "overflow=" not in address:
            one.overflow_mode = apprise.OverflowMode.SPLIT  # rather two messages than half of one

    def send(title: str, body: str, alarm: Alarm) -> str:
        kind = apprise.NotifyType(alarm)

        def is_taken(*, along: bool) -> bool:
            for one in service if "redirect=" not in address else ():
                one.redirects = along
            _Answer.said.status = ""
            sent = service.notify(body, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT)
            return bool(sent)

        try:
            is_sent = is_taken(along=False) or (_Answer.said.status in _LEADS_ON and is_taken(along=True))
        except Exception as error:  # noqa: BLE001 - more than a hundred plugins, none of which may end the thread
            _log.warning("notify.plugin_failed", error=type(error).__name__)
            return type(error).__name__
        status = _Answer.said.status
        if not is_sent and status in _LEADS_AWAY:
            told = f"it answered {status}, which loses the text: write the address that it leads to"
            return f"{told}; or, if it had taken the text by then, add redirect=yes"
        return "" if is_sent else f"it answered {status}" if status else "it cannot be reached, or did not take it"

    return send

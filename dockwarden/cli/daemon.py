"""Commands that concern the daemon: run, reload, healthcheck, notify-test.

Input: options. Output: a daemon, or words to and of one. Out of bounds: what it does.
"""

import argparse
import os

from dockwarden.errors import DockwardenError
from dockwarden.text import FAILED, OK, because, counted

TYPE_CHECKING = False  # see __init__
if TYPE_CHECKING:
    from typing import Any, NoReturn

_AT_ONCE = ("allow", "policies", "params", "modes", "triggers", "limits", "protect")  # what a reload takes
_DEFAULT_ADDRESS = "127.0.0.1:9877"
_FINE = 200  # of HTTP
_LAST_PORT = 65535


def add_commands(commands: "Any", common: argparse.ArgumentParser) -> None:
    run = commands.add_parser("run", parents=[common], help="the daemon: watch the engine, judge, act")
    run.add_argument("--audit", action="store_true", help="cap every policy at audit: nothing is removed")
    run.set_defaults(run=_run)
    reload = commands.add_parser(
        "reload",
        parents=[common],
        help="let the daemon read settings and policies again; exit 78 if it will refuse them",
    )
    reload.set_defaults(run=_reload)
    health = commands.add_parser("healthcheck", help="exit 0 if the daemon answers")
    health.add_argument("--ready", action="store_true", help="also ask whether it is ready")
    health.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=address,
        default=os.environ.get("DOCKWARDEN_WEB__LISTEN", _DEFAULT_ADDRESS),
        help=f"where it listens (default: $DOCKWARDEN_WEB__LISTEN or {_DEFAULT_ADDRESS})",
    )
    health.add_argument("--cert", metavar="FILE", help="client certificate and key (PEM), if the daemon requires one")
    health.set_defaults(run=_healthcheck)
    notify = commands.add_parser("notify-test", parents=[common], help="send a message along every route of notify")
    notify.set_defaults(run=_notify_test)


def _run(options: argparse.Namespace) -> "NoReturn":
    import faulthandler
    import gc
    import logging

    import structlog

    gc.set_threshold(700)  # as ever: a daemon is to stay small
    faulthandler.enable()
    from dockwarden import app
    from dockwarden.config import settings
    from dockwarden.metrics import Metrics
    from dockwarden.pipeline import loading
    from dockwarden.process import logs

    log = structlog.get_logger("dockwarden")
    chosen = settings.read_settings(options.config, audit=options.audit)
    metrics = Metrics()
    logs.set_up(chosen.log.format, chosen.log.level, lambda level: metrics.log_messages.labels(level).inc())
    policies = loading.load_policies(chosen)

    def reload() -> "Any":
        now = settings.read_settings(options.config, audit=options.audit)
        loaded = loading.load_policies(now)
        differ = (n for n in type(now).model_fields if getattr(now, n) != getattr(chosen, n))
        if waiting := [name for name in differ if name not in _AT_ONCE]:
            log.warning("config.waiting", settings=waiting, note="they take effect at the next start")
        return loaded

    code = app.daemon(chosen, metrics, reload).run(policies)
    logging.shutdown()
    # At its end the interpreter stops threads where they are; inside of the CEL library that aborts the process.
    os._exit(code)


def _reload(options: argparse.Namespace) -> int:
    import signal

    from dockwarden.config import settings
    from dockwarden.pipeline import loading
    from dockwarden.process import claim

    named = os.environ.get("MAINPID", "")  # systemd knows best
    try:
        process = int(named) if named else claim.holder(settings.read_settings(options.config).state_dir)
        if not process:
            raise DockwardenError("no daemon that can be seen from here uses this state_dir")
        os.kill(process, signal.SIGHUP)
    except (OSError, ValueError) as error:
        raise DockwardenError(f"the daemon cannot be told: {because(error)}") from error
    policies = loading.load_policies(settings.read_settings(options.config))
    print(f"told process {process} to use {counted(len(policies.policies), 'policy')} (sha256 {policies.sha256[:12]})")
    return OK


def _notify_test(options: argparse.Namespace) -> int:
    from dockwarden.cli.output import table
    from dockwarden.config import settings
    from dockwarden.sinks.notify import open_routes

    chosen = settings.read_settings(options.config)
    routes = open_routes(chosen.notify.routes, chosen.problem)
    if not routes:
        raise DockwardenError("notify.routes is empty, so no notification is sent")
    troubles = {name: send("dockwarden: a test", "This route works.", "info") for name, (_, send) in routes.items()}
    table(("ROUTE", "RESULT"), [(name, f"failed: {why}" if why else "sent") for name, why in troubles.items()])
    return FAILED if any(troubles.values()) else OK


def address(text: str) -> tuple[str, int]:
    """Where to ask a daemon that listens there."""
    from dockwarden.process.ask import reached

    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= _LAST_PORT):
        raise argparse.ArgumentTypeError("write HOST:PORT, such as 127.0.0.1:9877")
    return reached(host), int(port)


def _healthcheck(options: argparse.Namespace) -> int:
    # Runs every few seconds in a container, so it imports next to nothing.
    from dockwarden.process.ask import ask

    host, port = options.listen
    hint = "if web.listen is another, name it with --listen; a client certificate, with --cert"
    try:
        status, text = ask(host, port, "/readyz" if options.ready else "/healthz", options.cert)
    except (OSError, OverflowError, ValueError) as error:
        raise DockwardenError(f"no answer from {host}:{port}: {because(error)}; {hint}") from error
    if text.lstrip().startswith(b"<"):  # a page, whatever its status: we answer in plain words
        raise DockwardenError(f"{host}:{port} is answered by another program, with status {status}; {hint}")
    print(text.decode("utf-8", "replace").strip())
    return OK if status == _FINE else FAILED

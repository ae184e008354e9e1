"""The command that shows on one screen what the daemon knows, found and did, and what it will do: status.

Input: what the daemon answers by HTTP, which takes no right but to reach it. Output: a screen, or an object. Out of
bounds: the engine, the ledger.
"""

import argparse
import json
import re
import select
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from dockwarden.cli import a_path
from dockwarden.cli.daemon import address
from dockwarden.cli.output import table
from dockwarden.cli.shared import SEVERITIES
from dockwarden.errors import DockwardenError
from dockwarden.text import FAILED, OK, because, counted, in_bytes, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_EVERY_SECONDS = 2.0
_MOST = 8
_MOST_BYTES = 1 << 24
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"
_FINDING = itemgetter("severity", "policy", "name", "message")


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    status = commands.add_parser(
        "status", parents=[common], help="one screen: what the daemon knows, found and did, and what it will do"
    )
    status.add_argument("--watch", action="store_true", help=f"again every {_EVERY_SECONDS:.0f} seconds, until Ctrl-C")
    status.add_argument(
        "--listen", metavar="HOST:PORT", type=address, help="where the daemon listens (default: as web.listen says)"
    )
    status.add_argument("--cert", metavar="FILE", help="client certificate and key (PEM), if the daemon requires one")
    status.add_argument(
        "--login", metavar="FILE", type=a_path, help="a file with NAME:PASSWORD, if the daemon asks for a password"
    )
    status.add_argument("-o", "--output", choices=("table", "json", "jsonl"), default="table")
    status.set_defaults(run=_status)


def _status(options: argparse.Namespace) -> int:
    from dockwarden.config.files import secret

    if not options.listen:  # else it answers at once, without the library of the settings
        from dockwarden.config.settings import read_settings

        options.listen = address(read_settings(options.config).web.listen)
    host, port = options.listen
    login = secret(options.login).strip() if options.login else ""
    reader = select.poll()
    if options.watch:
        reader.register(sys.stdout, 0)  # of nothing but its end
    while True:
        seen = _look(host, port, options.cert, login)
        if options.output == "table":
            print(_CLEAR if options.watch and sys.stdout.isatty() else "", end="")
            _show(seen)
        else:
            print(json.dumps(seen, indent=2 if options.output == "json" else None))
        if not options.watch:
            return OK if seen["ready"] else FAILED
        sys.stdout.flush()
        if reader.poll(_EVERY_SECONDS * 1000):
            return OK


def _look(host: str, port: int, certificate: str | None, login: str) -> dict[str, Any]:
    from dockwarden.process.ask import ask

    def answer(path: str, *fine: int) -> tuple[int, str]:
        try:
            status, body = ask(host, port, path, certificate, _MOST_BYTES, login)
        except (OSError, ValueError) as error:
            hint = "is it running? `dockwarden history` tells what is written down without it"
            raise DockwardenError(f"no daemon answers at {host}:{port}: {because(error)}; {hint}") from error
        if status not in (HTTPStatus.OK, *fine):
            asks = status == HTTPStatus.UNAUTHORIZED
            hint = "; it asks for a name and password, see --login" if asks else ""
            raise DockwardenError(f"{host}:{port}{path} answered with status {status}{hint}")
        return status, body.decode("utf-8", "replace")

    status, reasons = answer("/readyz", HTTPStatus.SERVICE_UNAVAILABLE)
    ready = status == HTTPStatus.OK
    sums = partial(_sums, answer("/metrics")[1])
    found = sums("dockwarden_findings", "severity")
    worst = json.loads(answer(f"/api/v1/findings?limit={_MOST}")[1])["items"]
    done = "outcome=applied&outcome=failed&outcome=refused"  # not what audit mode only previews
    actions = json.loads(answer(f"/api/v1/actions?{done}&limit={_MOST}")[1])["items"]
    due = sorted((at, name) for name, at in sums("dockwarden_job_next_run_timestamp_seconds", "policy").items())
    return {
        "address": f"{host}:{port}",
        "ready": ready,
        "reasons": [] if ready else reasons.splitlines(),
        "version": "".join(sums("dockwarden_build_info", "version")),
        "engine": {
            "up": bool(sums("dockwarden_engine_up")[""]),
            "version": "".join(sums("dockwarden_engine_info", "version")),
            "image_store": "".join(sums("dockwarden_engine_info", "image_store")),
        },
        "objects": {kind: int(count) for kind, count in sums("dockwarden_inventory_objects", "subject").items()},
        "policies": {mode: int(count) for mode, count in sums("dockwarden_policy_info", "mode").items()},
        "findings": {severity: int(found[severity]) for severity in SEVERITIES},
        "unknown": int(sums("dockwarden_unknown")[""]),
        "ledger_writable": bool(sums("dockwarden_ledger_writable")[""]),
        "reclaimed_bytes": int(sums("dockwarden_reclaimed_bytes_total")[""]),
        "worst": worst,
        "actions": actions,
        "next": [{"policy": name, "at": at} for at, name in due if at][:_MOST],
    }


def _sums(text: str, name: str, label: str = "") -> "Mapping[str, float]":
    """The values of a metric in an exposition, added up by a label; the one key is what an ``_info`` says there."""
    sums: defaultdict[str, float] = defaultdict(float)
    for labels, value in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE):
        sums[dict(_LABEL.findall(labels)).get(label, "")] += float(value)
    return sums


def _show(seen: "Mapping[str, Any]") -> None:
    for name, words in _head(seen):
        print(f"{name:9} {words}".rstrip())
    for title, header, rows in (
        ("Worst findings", ("SEVERITY", "POLICY", "NAME", "MESSAGE"), [*map(_FINDING, seen["worst"])]),
        ("Last actions", ("OUTCOME", "AGO", "POLICY", "ACTION", "NAME"), _actions(seen["actions"])),
        ("Next runs", ("IN", "POLICY"), [(span(row["at"] - time.time()), row["policy"]) for row in seen["next"]]),
    ):
        print(f"\n{title}" + ("" if rows else ": none"))
        if rows:
            table(header, rows)


def _head(seen: "Mapping[str, Any]") -> "Iterator[tuple[str, str]]":
    yield "daemon", f"dockwarden {seen['version']} at {seen['address']}, {'ready' if seen['ready'] else 'not ready'}"
    yield from (("", reason) for reason in seen["reasons"])
    engine = seen["engine"]
    about = f"Docker {engine['version']}, {engine['image_store']} image store" if engine["version"] else "not known yet"
    yield "engine", f"{about}, {'connected' if engine['up'] else 'not connected'}"
    yield (
        "objects",
        ", ".join(counted(count, kind) for kind, count in seen["objects"].items() if count and kind != "host"),
    )
    modes = [f"{count} in mode {mode}" for mode, count in sorted(seen["policies"].items()) if count]
    yield "policies", ", ".join(modes)
    found = [f"{count} {severity}" for severity, count in seen["findings"].items() if count]
    found += [f"{seen['unknown']} unknown"] if seen["unknown"] else []
    yield "findings", ", ".join(found) or "none"
    writable = "writable" if seen["ledger_writable"] else "not writable, so nothing is removed"
    yield "ledger", f"{writable}; {in_bytes(seen['reclaimed_bytes'])} freed since the start"


def _actions(rows: "Sequence[Mapping[str, Any]]") -> list[tuple[str, ...]]:
    now = datetime.now(UTC)
    return [
        (row["outcome"], span(now - datetime.fromisoformat(row["at"])), row["policy"], row["action"], row["name"])
        for row in rows
    ]

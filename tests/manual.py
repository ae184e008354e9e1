"""The manual page, made from the command line itself.

In: the parser of the commands. Out: the text of deploy/man/dockwarden.8, in man(7), which `make docs` writes. Out of
bounds: explaining policies and operation, for which the page points to the documents.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dockwarden import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

_BEGIN = r""".\" made by `make docs` from the commands; changes made here are lost
.TH DOCKWARDEN 8 "" dockwarden "System Administration"
.SH NAME
dockwarden \- keep a Docker host clean, honest and safe by policies in YAML
.SH SYNOPSIS
.B dockwarden
.I COMMAND
.RI [ OPTION ]...
.SH DESCRIPTION
dockwarden watches one Docker Engine, judges its images, tags, containers, volumes, networks and the host itself by
policies, acts where a policy says so, and tells Prometheus.
Results go to standard output, logs to standard error.
.SH COMMANDS
"""

_END = r""".SH EXIT STATUS
.TP
.B 0
fine
.TP
.B 1
findings at or above \-\-fail\-on, a policy that failed on an object, or a failure
.TP
.B 2
wrong usage
.TP
.B 69
the engine is unavailable
.TP
.B 78
the settings or a policy cannot be used; each mistake is printed with its place
.TP
.B 130
interrupted
.SH ENVIRONMENT
.TP
.B DOCKWARDEN_CONFIG
the settings file
.TP
.B DOCKWARDEN_SECTION__KEY
any setting, such as DOCKWARDEN_WEB__LISTEN
.TP
.BR DOCKER_HOST ", " DOCKER_CONTEXT ", " DOCKER_TLS_VERIFY ", " DOCKER_CERT_PATH
where the engine is, as for docker
.TP
.BR DOCKER_CONFIG ", " DOCKER_AUTH_CONFIG
the credentials for registries, as for docker
.TP
.BR NO_COLOR ", " CLICOLOR=0 ", " TERM=dumb
no colours
.SH FILES
.TP
.I /etc/dockwarden/dockwarden.yaml
settings
.TP
.I /etc/dockwarden/policies
policies of this host, added to those that come with dockwarden
.TP
.I /var/lib/dockwarden/ledger.db
what was found and done, and since when each image has been watched
.SH SIGNALS
.TP
.B SIGHUP
the daemon reads settings and policies again; with a mistake in them nothing changes
.TP
.B SIGTERM
what is being looked at or removed is finished, then the daemon ends
.SH SEE ALSO
.BR docker (1),
.BR systemctl (1),
docs/policies.md, docs/operations.md and docs/runbooks.md of the source
"""


def page(_old: str) -> str:
    """The whole page."""
    parser, _ = cli._parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in commands._choices_actions}
    lines = [line for name, one in commands.choices.items() for line in _command(name, helps[name], one)]
    return _BEGIN + "\n".join(lines) + "\n" + _END


def _command(name: str, text: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    actions = [action for action in parser._actions if action.dest != "help"]
    yield f".SS {_escaped(' '.join([name, *map(_usage, actions)]))}"
    yield _sentence(text)
    for action in actions:
        if action.help:
            names = ", ".join(rf"\fB{_escaped(each)}\fR" for each in action.option_strings)
            yield ".TP"
            yield f"{names} {_value(action)}".strip()
            yield _escaped(action.help)
    yield from (".PP", ".EX", *(_escaped(f"dockwarden {line}") for line in cli._EXAMPLES[name]), ".EE")


def _usage(action: argparse.Action) -> str:
    value = (action.metavar if isinstance(action.metavar, str) else "") or "|".join(map(str, action.choices or ()))
    if not action.option_strings:
        value = value or action.dest.upper()
        return {"*": f"[{value}]...", "?": f"[{value}]", "+": f"{value}..."}.get(str(action.nargs), value)
    option = action.option_strings[0]
    return f"[{option}]" if action.nargs == 0 else f"[{option} {value or action.dest.upper()}]"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    words = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return rf"\fI{_escaped(words)}\fR"


def _sentence(text: str) -> str:
    return _escaped(text[:1].upper() + text[1:] + ".")


def _escaped(text: str) -> str:
    safe = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{safe}" if safe.startswith((".", "'")) else safe

"""The command line: arguments, exit codes, and nothing that a library would have to be imported for.

Input: arguments. Output: results on stdout, messages on stderr, an exit code: 0 fine, 1 findings at or above
``--fail-on`` or a failure, 2 usage, 69 engine unavailable, 78 configuration, 130 interrupted. Each group of
commands has a file; what they need is imported when they run, so that ``--help`` answers at once.
"""

import argparse
import atexit
import gc
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module

from dockwarden import __version__
from dockwarden.errors import ConfigError, DockwardenError, EngineUnavailableError, UsageError
from dockwarden.text import CONFIG, FAILED, INTERRUPTED, OK, UNAVAILABLE, USAGE, because, near, printable

TYPE_CHECKING = False  # as type checkers know it; to import `typing` and `pathlib` is a fifth of a health check
if TYPE_CHECKING:
    from pathlib import Path
    from sys import UnraisableHookArgs
    from typing import Any, NoReturn, TextIO

_EXAMPLES = {
    "run": ("run", "run --audit"),
    "status": ("status", "status --watch"),
    "scan": ("scan --fail-on high", "scan --policy no-latest-tag -o wide", "scan -o sarif > dockwarden.sarif"),
    "snapshot": ("snapshot > host.json", "snapshot --registry --no-labels > host.json"),
    "plan": ("plan", "plan --policy prune-dangling --save tonight.json"),
    "apply": ("apply tonight.json",),
    "undo": ("undo --list", "undo 17"),
    "reset": ("reset nginx:1.27",),
    "explain": ("explain web", "explain image/nginx:1.27", "explain policy/no-latest-tag"),
    "images": ("images", "images --offline -o name"),
    "history": ("history nginx:1.27", "history --actions", "history web --findings"),
    "check": ("check", "check -o github policies/"),
    "test": ("test policies/ --coverage", "test -o junit > tests.xml", "test policies/ host.test.yaml --write"),
    "facts": ("facts container",),
    "schema": ("schema policies > policies.schema.json",),
    "reload": ("reload",),
    "healthcheck": ("healthcheck --ready",),
    "notify-test": ("notify-test",),
    "completion": ("completion bash > /etc/bash_completion.d/dockwarden",),
    "version": ("version",),
}
_NAMES = {
    "policy": "dockwarden check -o name 2>/dev/null",
    "what": "dockwarden undo --list -o name 2>/dev/null",
    "ref": "dockwarden images --offline -o name 2>/dev/null",
    "image": "dockwarden images --offline -o name 2>/dev/null",
}
_SOON_SECONDS = 0.1  # after the callback is over, also on a busy machine: an interrupt amid it would be ignored as well
_CODES: Mapping[type[DockwardenError], int] = {
    ConfigError: CONFIG,
    EngineUnavailableError: UNAVAILABLE,
    UsageError: USAGE,
}
_GROUPS = {
    "daemon": ("run", "reload", "healthcheck", "notify-test"),
    "status": ("status",),
    "scanning": ("scan", "snapshot"),
    "acting": ("plan", "apply", "undo", "reset"),
    "explaining": ("explain", "images", "history"),
    "checking": ("check", "test", "facts", "schema"),
}
_EPILOG = "exit codes: 0 fine, 1 findings or failure, 2 usage, 69 engine unavailable, 78 configuration, 130 interrupted"


def main(arguments: Sequence[str] | None = None) -> int:
    sys.unraisablehook = sys.unraisablehook if arguments else _interrupt_again  # of others where they call us
    gc.set_threshold(200_000)  # what is imported stays, and need not be looked through a hundred times
    atexit.register(gc.freeze)  # nor be taken apart at the end, which is a tenth of a health check
    # Or it would read what each installed package says of itself, looking for plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # it was closed, and nothing that is opened later is to take its number
            setattr(sys, name, open(os.devnull, "w" if number else "r"))  # noqa: PTH123, SIM115 - as long as we live
    getattr(sys.stdout, "reconfigure", dict)(errors="backslashreplace")  # a locale may have few letters
    print_unheard(BrokenPipeError)  # whose reader has had enough of the text waits for the code all the same
    given = sys.argv[1:] if arguments is None else arguments
    try:
        parser, commands = _parser(first := given[0] if given else "")
        if first.startswith("-") and first not in ("-h", "--help", "--version"):
            only = "only --help and --version stand before the command, all else behind it"
            parser.error(f"{first}: {only}, as in `dockwarden scan --config FILE`")
        options, unknown = parser.parse_known_args(given)
        if unknown:
            of_it = next(commands[word] for word in given if word in commands)
            hint = near(unknown[0].partition("=")[0], re.findall(r"(?<![\w-])--?[\w-]+", of_it.format_help()))
            of_it.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except DockwardenError as error:
        print_unheard()  # the code says it as well
        lines = error.problems if isinstance(error, ConfigError) else (f"dockwarden: {error}",)
        print(*map(printable, lines), sep="\n", file=sys.stderr)
        return next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        print_unheard()
        print(printable(f"dockwarden: {error.filename or 'the system'}: {because(error)}"), file=sys.stderr)
        return FAILED


def _interrupt_again(ignored: "UnraisableHookArgs") -> None:
    """A ^C amid a callback, as the end of an import has some, is only printed by Python: it comes once more."""
    if ignored.exc_type is KeyboardInterrupt:
        import signal

        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, _SOON_SECONDS)
    else:
        sys.__unraisablehook__(ignored)


def print_unheard(lost: type[OSError] = OSError) -> None:
    """Go on where nobody reads what is printed; one that acts, also where the terminal is gone or a disk is full."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, _Unheard(getattr(sys, name), lost))


class _Unheard:
    def __init__(self, stream: "TextIO", lost: type[OSError]) -> None:
        self._stream, self._lost = stream, lost

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(self._lost):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(self._lost):
            self._stream.flush()


class _Parser(argparse.ArgumentParser):
    def __init__(self, **given: "Any") -> None:
        super().__init__(**{"formatter_class": _formatter(argparse.HelpFormatter), "allow_abbrev": False, **given})

    def exit(self, status: int = 0, message: str | None = None) -> "NoReturn":
        sys.stdout.flush()  # else what cannot be written comes to light when nobody is left to say so
        super().exit(status, message)

    def error(self, message: str) -> "NoReturn":
        found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        super().error(printable(message + near(found[1], re.findall(r"[\w-]+", found[2])) if found else message))


def _formatter(kind: type[argparse.HelpFormatter]) -> "Any":
    """With the width that it would ask ``shutil`` for, which takes a tenth of a health check to import."""
    columns = 0
    with suppress(ValueError):
        columns = int(os.environ.get("COLUMNS", ""))
    if columns <= 0:
        with suppress(OSError):
            columns = os.get_terminal_size().columns
    return partial(kind, width=(columns if columns > 0 else 80) - 2)


def _parser(command: str = "") -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser, and that of each command; where it is known which one it will be, of its group only."""
    parser = _Parser(
        prog="dockwarden",
        description="Keep a Docker host clean, honest and safe by policies in YAML.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"dockwarden {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    common = _Parser(add_help=False)
    common.add_argument(
        "--config",
        type=a_path,
        metavar="FILE",
        help="settings file (default: $DOCKWARDEN_CONFIG or /etc/dockwarden/dockwarden.yaml)",
    )
    for group in [name for name, its in _GROUPS.items() if command in its] or _GROUPS:
        import_module(f"{__name__}.{group}").add_commands(commands, common)
    completion = commands.add_parser("completion", help="a script that lets a shell complete dockwarden's commands")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(run=_completion)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    for name, of_it in commands.choices.items():
        of_it.formatter_class = _formatter(argparse.RawDescriptionHelpFormatter)
        of_it.epilog = "\n".join(["examples:", *(f"  dockwarden {line}" for line in _EXAMPLES[name]), "", _EPILOG])
    return parser, commands.choices


def a_path(text: str) -> "Path":
    if not text:  # which pathlib takes for the folder one is in
        raise argparse.ArgumentTypeError("it is empty")
    from pathlib import Path

    return Path(text)


def _completion(options: argparse.Namespace) -> int:
    import shtab

    parser, commands = _parser()
    for command in commands.values():
        for action in command._actions:  # noqa: SLF001 - the library reads the same attribute
            if action.type is a_path or action.dest == "paths":
                action.complete = shtab.FILE  # type: ignore[attr-defined] # where the library looks
            elif action.dest in _NAMES and not action.choices:
                action.complete = shtab.cmd(_NAMES[action.dest])  # type: ignore[attr-defined]
    print(shtab.complete(parser, options.shell))
    if options.shell == "bash":
        print("COMP_WORDBREAKS=${COMP_WORDBREAKS//:}  # or bash would complete what stands behind a colon on its own")
    return OK


def _version(_options: argparse.Namespace) -> int:
    print(f"dockwarden {__version__}")
    return OK

"""Docker's credential helpers: programs that are asked for one login.

Input: a helper's name, a registry. Output: name and secret, or None if it knows none. Out of bounds: what a login is
for. A helper has ten seconds and may say a bounded amount; what it says on stderr, and any secret, goes nowhere.
"""

import json
import os
import re
import select
import signal
import subprocess
import time
from contextlib import suppress

_SECONDS = 10.0
_OUTPUT_BYTES = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_NOT_FOUND = b"credentials not found"


class HelperError(Exception):
    """A helper cannot be used; the text says why, and nothing that the helper said."""


def ask_helper(name: str, server: str) -> tuple[str, str] | None:
    """Ask ``docker-credential-<name>`` for the login of a server. Raises HelperError."""
    if not _NAME.fullmatch(name):
        raise HelperError("its credential helper has no proper name")
    program = f"docker-credential-{name}"
    try:
        # A session of its own, so that whatever it starts can be ended with it.
        process = subprocess.Popen(  # noqa: S603 - the name is checked, and the user's file names it
            [program, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise HelperError(f"{program} cannot be run: {error.strerror}") from None
    with process:
        try:
            output, code = _talk(process, server.encode())
        except HelperError as error:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            raise HelperError(f"{program} {error}") from None
    if code and _NOT_FOUND in output:
        return None
    if code:
        raise HelperError(f"{program} failed with code {code}")
    return _parsed(program, output)


def _talk(process: "subprocess.Popen[bytes]", question: bytes) -> tuple[bytes, int]:
    ends_at = time.monotonic() + _SECONDS
    if process.stdin is None or process.stdout is None:
        raise HelperError("has no pipes")
    with suppress(BrokenPipeError):  # it fits any pipe, so this does not wait
        process.stdin.write(question)
        process.stdin.close()
    output = b""
    source = process.stdout.fileno()
    poll = select.poll()
    poll.register(source, select.POLLIN | select.POLLHUP)
    while poll.poll(max(0.0, ends_at - time.monotonic()) * 1000):
        piece = os.read(source, 65536)
        if not piece:
            break
        output += piece
        if len(output) > _OUTPUT_BYTES:
            raise HelperError("says too much")
    try:
        return output, process.wait(max(0.0, ends_at - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise HelperError(f"did not answer in {_SECONDS:g} s") from None


def _parsed(program: str, output: bytes) -> tuple[str, str] | None:
    try:
        document = json.loads(output)
    except (ValueError, RecursionError):
        document = None
    document = document if isinstance(document, dict) else {}
    username, secret = document.get("Username"), document.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise HelperError(f"{program} answered with something else than a login")
    return (username, secret) if username and secret else None

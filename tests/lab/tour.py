"""`make tour`: the opening of the README, made from a real run of `make run`, and a picture of its page.

Role: run it on a terminal of 100 columns to the end of its tour, look at its page meanwhile. In: nothing. Out: what it
wrote, between the marks in README.md, and docs/page.png. Out of bounds: changing what was written, but for ports and
folders, which are others in each run, and most findings of the first look.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from pathlib import Path

from tests import docs
from tests.lab.browser import Browser

_COLUMNS = 100
_END = "that was the tour"
_FINDING = re.compile(r"\d\d:\d\d:\d\d  (?:critical|high|medium|low|info) +[a-z]+(?:-[a-z]+)+ .*(?:\n {20,}.*)*")
_SHOWN = 4


def main() -> None:
    child, terminal = pty.fork()
    if child == 0:
        nobody = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "NO_COLOR": "1", "TERM": "dumb"}
        os.execve(sys.executable, [sys.executable, "-m", "tests.lab.run"], os.environ | nobody)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, _COLUMNS, 0, 0))
    said = ""
    while _END not in said:
        said += os.read(terminal, 65536).decode()
    address = re.search(r"the page: (\S+)", said)
    assert address is not None, said
    with Browser() as browser:
        browser.look(address[1], width=1280)
        browser.take_picture(docs.ROOT / "docs/page.png")
    os.kill(child, signal.SIGINT)
    os.waitpid(child, 0)
    readme = docs.ROOT / "README.md"
    readme.write_text(docs.between(readme.read_text(), "tour", f"```text\n{_told(said)}\n```"))


def _told(said: str) -> str:
    """From the daemon's first line to the end of the tour; ports and folders as they could be anywhere."""
    text = said.replace("\r\n", "\n").partition(f"==> {_END}")[0]
    port = re.search(r"listen (\d+)", text)
    text = text.replace(port[1] if port else "9877", "9877")
    text = re.sub(r"127\.0\.0\.1:(?!9877)\d+/", "registry:5000/", text)
    text = re.sub(rf"{Path(sys.executable).parent}/", "", text)
    text = re.sub(r"/tmp/dockwarden-lab-[0-9a-f]+/", "/run/private/", text)
    lines = [line for line in text.splitlines() if not line.startswith("    export ")]
    return shortened("\n".join(line.rstrip() for line in lines if "seeding" not in line and "is taken" not in line))


def shortened(text: str) -> str:
    """Of the first look's findings, the worst, and how many more there are."""
    first, ended, rest = text.partition("\n==> the policy")
    found = list(_FINDING.finditer(first))
    if len(found) > _SHOWN:
        more = f"          and {len(found) - _SHOWN} more"
        first = first[: found[_SHOWN].start()] + more + first[found[-1].end() :]
    return first + ended + rest


if __name__ == "__main__":
    main()

"""A headless Chromium that a test looks at pages with.

Role: start Debian's Chromium, tell it where to go, how wide and how dark it is there, and ask it what it sees. In: an
address. Out: values of expressions, messages of its console, pictures. Out of bounds: anything but loopback. It is told
what to do over a pair of pipes, so that no port and no library is needed.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.lab import machine
from tests.lab.machine import LabError
from tests.lab.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

_READ, _WRITE = 3, 4  # where Chromium looks for its pipes
_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # it runs as root here, and sees our own pages only
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Browser:
    """One page of one browser; a context manager that is over when its processes are.

    Attributes:
        said: messages of its console and exceptions of its scripts, of all pages so far.
        asked: the addresses that pages asked for.
    """

    def __init__(self) -> None:
        machine.ensure(machine.BROWSER, "a headless browser")
        self.said: list[str] = []
        self.asked: list[str] = []
        self._events: list[str] = []
        self._number = 0
        self._session = ""
        self._rest = b""

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="dockwarden-browser-"))
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # The shell puts the pipes where they are looked for; exec leaves one process, which ends with us.
        script = f'exec "$@" {_READ}<&{theirs_in} {_WRITE}>&{theirs_out}'
        command = [machine.find("chromium") or "chromium", *_OPTIONS, f"--user-data-dir={self._folder}", "about:blank"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "bash", "-c", script, "chromium", *command],
                pass_fds=(theirs_in, theirs_out),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(self._folder)},
            )
        os.close(theirs_in)
        os.close(theirs_out)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)  # which ends it
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        shutil.rmtree(self._folder, ignore_errors=True)

    def look(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Go to a page and wait until it is loaded."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self._events.clear()
        answer = self._call("Page.navigate", url=url)
        if "errorText" in answer:
            raise LabError(f"{url}: {answer['errorText']}")
        while "Page.loadEventFired" not in self._events:
            self._take()

    def see(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, whatever the page itself may run."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise LabError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press Tab or Enter, one after the other, and wait until the page has acted on it."""
        for key in keys:
            code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
            for kind in ("keyDown", "keyUp"):
                more = {"text": text} if text and kind == "keyDown" else {}
                self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def take_picture(self, file: Path) -> None:
        """The whole page, as PNG."""
        picture = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(picture["data"]))

    # -- the pipes -------------------------------------------------------------------------------------------

    def _call(self, method: str, **arguments: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._take()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise LabError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _take(self) -> Mapping[str, Any]:
        """The next message, noted if it is an event."""
        while b"\0" not in self._rest:
            part = os.read(self._from, 1 << 20)
            if not part:
                raise LabError(f"the browser is gone: {(self._folder / 'log').read_text(errors='replace')[-2000:]}")
            self._rest += part
        raw, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        event, told = message.get("method", ""), message.get("params", {})
        self._events.append(event)
        if event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(json.dumps(told))
        elif event == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        return message

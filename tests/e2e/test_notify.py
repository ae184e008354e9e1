"""Notifications of a real daemon, taken by a real HTTP server and a real mail server."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller

from tests.commands import command
from tests.e2e.harness import policy
from tests.lab.images import ImageSpec
from tests.lab.loopback import free_port
from tests.lab.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiosmtpd.smtp import SMTP, Envelope, Session

    from tests.e2e.conftest import Start
    from tests.lab.engine import LabEngine

CONFIG = 78
LATEST = "no-latest-tag"
UNTAG = policy(
    "untags", "tag", "tag.name == 'gone'", action="untag", mode="enforce", trigger={"events": ["image.tag"]},
    limits={"max_objects": 100, "max_percent": 100}, severity="low",
)  # fmt: skip
LABELLED = policy(
    "labelled", "image", "'evil' in image.labels", trigger={"events": ["image.new"]}, severity="high",
    message="{{ image.labels['evil'] }}",
)  # fmt: skip


class Receiver:
    """An HTTP server that takes what apprise posts as JSON, after it has refused as often as it was told to."""

    def __init__(self, refusals: int = 0) -> None:
        self.got: list[dict[str, Any]] = []
        self.refused = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if receiver.refused < refusals:
                    receiver.refused += 1
                    self.send_response(503)
                else:
                    receiver.got.append({**body, "path": self.path, "login": self.headers["Authorization"]})
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def texts(self) -> list[str]:
        return [f"{one['title']}\n{one['message']}" for one in self.got]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    started = Receiver(getattr(request, "param", 0))
    yield started
    started.stop()


def routes(**each: dict[str, object]) -> dict[str, object]:
    return {"notify": {"wait": "1s", "routes": each}}


@pytest.mark.slow
def test_a_digest_first_and_then_transitions(
    any_engine: LabEngine, start: Start, receiver: Receiver, tmp_path: Path
) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/one:1", *(f"e2e/app{n}:latest" for n in range(60)))))
    secret = tmp_path / "url"
    secret.write_text(f"json://alice:hush-hush@{receiver.address}/secret-path\n")
    settings = routes(team={"url_file": str(secret)}) | {
        "minimum_stay": "0s",
        "log": {"format": "json", "level": "debug"},
        "web": {"listen": "127.0.0.1:0", "external_url": "https://web-7.example.net/warden/"},
    }
    daemon = start(engine, [LATEST, UNTAG], settings=settings).ready()

    until(lambda: receiver.got, "the digest")
    assert len(receiver.got) == 1
    assert receiver.got[0]["path"] == "/secret-path"
    assert receiver.got[0]["login"].startswith("Basic ")
    [digest] = receiver.texts()
    assert digest.splitlines()[0] == f"dockwarden: 60 medium on {engine.client().info()['Name']}"
    assert "- and 50 more" in digest
    assert f"opened, medium, {LATEST}" in digest
    assert "What to do: " in digest
    assert digest.endswith("\nhttps://web-7.example.net/warden/")
    assert receiver.got[0]["type"] == "warning"

    engine.docker("tag", "e2e/one:1", "e2e/two:latest")
    until(lambda: "- docker.io/e2e/two:latest" in "\n".join(receiver.texts()), "the opening")
    engine.docker("rmi", "e2e/two:latest")
    until(lambda: "- docker.io/e2e/two:latest: gone" in "\n".join(receiver.texts()), "the end")
    engine.docker("tag", "e2e/one:1", "e2e/two:gone")
    until(
        lambda: "acted, low, untags\n- docker.io/e2e/two:gone, untag applied" in "\n".join(receiver.texts()), "the deed"
    )
    until(lambda: "- docker.io/e2e/two:gone: gone" in "\n".join(receiver.texts()), "what it led to")
    daemon.until(lambda: daemon.total("dockwarden_notifications_total", result="sent") >= 4, "the count")
    assert daemon.total("dockwarden_notifications_dropped_total") == 0

    before = len(receiver.got)
    assert daemon.end() == 0
    daemon.restart()
    daemon.ready()
    assert daemon.end() == 0, "an end sends what waits, and nothing was new"
    assert len(receiver.got) == before
    written = json.dumps(daemon.lines)
    assert "hush" not in written
    assert "secret-path" not in written


@pytest.mark.slow
@pytest.mark.parametrize("receiver", [1], indirect=True)
def test_a_service_that_was_down_gets_it_later_and_the_worker_waits_for_none(
    any_engine: LabEngine, start: Start, receiver: Receiver
) -> None:
    engine = any_engine
    engine.load(ImageSpec(tags=("e2e/app:latest",)))
    nowhere = f"json://127.0.0.1:{free_port()}"
    daemon = start(
        engine, [LATEST], settings=routes(team={"url": f"json://{receiver.address}"}, dead={"url": nowhere})
    ).ready()
    daemon.wait("notify.not_sent", route="team")
    daemon.wait("notify.not_sent", route="dead")
    engine.docker("tag", "e2e/app:latest", "e2e/next:latest")
    daemon.wait("finding.opened", name="docker.io/e2e/next:latest")
    until(lambda: "app:latest" in "\n".join(receiver.texts()), "the second try")
    assert daemon.end() == 0
    assert "next:latest" in "\n".join(receiver.texts())
    assert daemon.said("notify.failed", route="dead")


class Mailbox:
    """What a mail server was given."""

    def __init__(self) -> None:
        self.got: list[Envelope] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.got.append(envelope)
        return "250 OK"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mail_is_plain_text_whatever_strangers_wrote(any_engine: LabEngine, start: Start, tmp_path: Path) -> None:
    mailbox = Mailbox()
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port(), ready_timeout=PATIENCE)
    server.start()
    try:
        evil = "<a href='http://evil.example'>click</a> @everyone [x](javascript:y)\r\nBcc: all@example.org"
        any_engine.load(ImageSpec(tags=("e2e/evil:1",), labels={"evil": evil}))
        url = f"mailto://127.0.0.1:{server.port}?mode=insecure&from=warden@example.org&to=ops@example.org"
        settings = routes(mail={"url": url, "severity": "high"})
        daemon = start(any_engine, [LABELLED, LATEST], settings=settings).ready()
        until(lambda: mailbox.got, "the mail")
        command_line = command("notify-test", "--config", daemon.config)
        assert (command_line.code, command_line.out.split()) == (0, ["ROUTE", "RESULT", "mail", "sent"])
    finally:
        server.stop()
    content = mailbox.got[0].content
    text = content.decode() if isinstance(content, bytes) else str(content)
    assert mailbox.got[0].rcpt_tos == ["ops@example.org"]
    head, _, _ = text.partition("\r\n\r\n")
    assert "text/plain" in text
    assert "text/html" not in text
    assert "Subject: " in head
    assert "Bcc" not in head
    for trap in ("http://evil", "<a ", "](javascript"):
        assert trap not in text
    assert len(mailbox.got) == 2


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # a matter of apprise's
def test_mistakes_are_told_before_anything_starts(tmp_path: Path) -> None:
    config = tmp_path / "dockwarden.yaml"
    config.write_text("notify: {routes: {team: {url: 'nosuch://hush@x'}, other: {url_file: /nowhere/url}}}\n")
    for what in ("run", "check", "notify-test"):
        done = command(what, "--config", config)
        assert done.code == CONFIG
        assert "notify.routes.team.url: apprise knows no such address" in done.err
        assert "notify.routes.other.url_file: /nowhere/url: No such file" in done.err
        assert "hush" not in done.err
    missing = tmp_path / "lib"
    missing.mkdir()
    (missing / "apprise.py").write_text("raise ImportError\n")
    done = command("run", "--config", config, more={"PYTHONPATH": str(missing)})
    assert done.code == CONFIG
    assert "notifications need apprise" in done.err

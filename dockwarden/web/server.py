"""The server: one thread reads and writes for all connections, a few answer, so that nobody waits for a silent client.

Input: a site, an address, and who may connect. Output: HTTP, or HTTPS, on a socket. Out of bounds: what is answered.
"""

import asyncio
import resource
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import structlog
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError, UnsatisfiableReadError
from tornado.netutil import add_accept_handler, bind_sockets
from tornado.wsgi import WSGIContainer

from dockwarden.web.config import LiveAccess
from dockwarden.web.guard import BasicAuth
from dockwarden.web.site import STRANGER, Application

_THREADS = 4
_MOST_CONNECTIONS = 500  # and half of what we may open, as the engine, the ledger and registries need some
_BACKLOG = 512
_SILENT_SECONDS = 30
_MOST_REQUEST_BYTES = 64 * 1024
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_log = structlog.get_logger("dockwarden.web")


class _Container(WSGIContainer):
    """Tells the site whether we know who asks, and sees each answer to its end."""

    def __init__(
        self, site: Application, pool: ThreadPoolExecutor, access: LiveAccess, refused: Callable[[], object]
    ) -> None:
        super().__init__(site, pool)
        self.guard = BasicAuth()
        self._access = access
        self._count = refused
        self._unsaid, self._said_at = 0, -float(_SILENT_SECONDS)
        self._strangers: set[HTTPServerRequest] = set()

    async def handle_request(self, request: HTTPServerRequest) -> None:
        """Answer one request, whatever happens; a client who does not take the answer is left."""
        stream: IOStream = request.connection.stream  # type: ignore[union-attr] # an HTTP1Connection
        try:
            users = (await self._access.fresh()).users
            login = request.headers.get("Authorization", "")
            if users and not await self.guard.admits(login, users):
                self._strangers.add(request)
                if login:
                    self._refused(str(request.remote_ip))
            await super().handle_request(request)
            await asyncio.wait_for(stream.write(b""), _SILENT_SECONDS)
        except (StreamClosedError, TimeoutError):
            stream.close()
        except Exception as error:  # noqa: BLE001 - a request must not hang, whatever a stranger put into it
            _log.debug("web.request_failed", error=repr(error))  # anybody could fill the log with it
            stream.close()
        finally:
            self._strangers.discard(request)

    def _refused(self, address: str) -> None:
        """Count each; tell in the log of one in half a minute, with the number of those before it."""
        self._count()
        self._unsaid += 1
        if (now := time.monotonic()) - self._said_at >= _SILENT_SECONDS:
            _log.warning("web.login_failed", address=address, logins=self._unsaid)
            self._unsaid, self._said_at = 0, now

    def environ(self, request: HTTPServerRequest) -> dict[str, Any]:
        """As the library makes it, and whether we know who asks."""
        request.host = ""  # it fails where no number follows a colon; the site reads the header
        return {**super().environ(request), STRANGER: request in self._strangers}


class _Plain(IOStream):
    """Says why it hangs up, where the head of a request is longer than we read."""

    def close(self, exc_info: Any = None) -> None:
        if isinstance(exc_info, UnsatisfiableReadError) and not self.writing():
            with suppress(OSError):
                self.write_to_fd(memoryview(_TOO_LONG))
        super().close(exc_info)


class _Secure(_Plain, SSLIOStream):
    pass


class Server:
    """Serves a site in threads of its own. Raises OSError: the address cannot be listened on."""

    def __init__(
        self, site: Application, host: str, port: int, access: LiveAccess, refused: Callable[[], object] = bool
    ) -> None:
        """``refused`` is called for each login that is wrong."""
        self._access = access
        self._taking: set[asyncio.Task[None]] = set()
        self._sockets = bind_sockets(port, host, backlog=_BACKLOG)
        self.port = int(self._sockets[0].getsockname()[1])
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="answer")
        self._container = _Container(site, self._pool, access, refused)
        self._streams: list[IOStream] = []
        self._most = min(_MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        for listening in self._sockets:
            listening.close()
        self._container.guard.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._listen)
        self._loop.run_forever()
        for stream in self._streams:
            stream.close()
        for task in (left := asyncio.all_tasks(self._loop)):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    def _listen(self) -> None:
        self._server = HTTPServer(
            self._container,
            idle_connection_timeout=_SILENT_SECONDS,
            body_timeout=_SILENT_SECONDS,
            max_header_size=_MOST_REQUEST_BYTES,
            max_body_size=_MOST_REQUEST_BYTES,
        )
        for listening in self._sockets:
            add_accept_handler(listening, self._accept)

    def _accept(self, connection: socket.socket, address: Any) -> None:
        task = self._loop.create_task(self._take(connection, address))
        self._taking.add(task)  # else nobody would hold it
        task.add_done_callback(self._taking.discard)

    async def _take(self, connection: socket.socket, address: Any) -> None:
        """Take a connection; the handshake is done piece by piece, as the client's bytes come."""
        context = (await self._access.fresh()).context
        self._make_room()
        stream: IOStream
        try:
            if context is None:
                stream = _Plain(connection)
            else:
                secure = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                stream = _Secure(secure)
        except OSError:  # it has gone already
            connection.close()
            return
        self._streams.append(stream)
        self._server.handle_stream(stream, address)

    def _make_room(self) -> None:
        """Whoever has been here longest goes: one who hangs on for nothing, or who will come again."""
        self._streams = [stream for stream in self._streams if not stream.closed()]
        if len(self._streams) >= self._most:
            self._streams.pop(0).close()

"""Asking the daemon of this host over HTTP, with nothing but the standard library, so that it is quick.

Input: where it listens, a path. Output: its answer. Out of bounds: what the answer means. TLS is noticed.
"""

import binascii
import re
import socket
from contextlib import suppress

_PATIENCE_SECONDS = 8.0
_HEAD_BYTES = 16384


def reached(host: str) -> str:
    """By which address a daemon is reached from here that listens at this one."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "::1", "::": "::1", "": "127.0.0.1"}.get(host, host.strip("[]"))


def ask(
    host: str, port: int, path: str, certificate: str | None = None, most: int = 2000, login: str = ""
) -> tuple[int, bytes]:
    """Status, and at most ``most`` bytes of body. ``login``: ``name:password``. OSError, ValueError: no HTTP answer."""
    request = f"GET {path} HTTP/1.0\r\nHost: {f'[{host}]' if ':' in host else host}:{port}\r\n".encode()
    known = b"Authorization: Basic %s\r\n" % binascii.b2a_base64(login.encode(), newline=False) if login else b""
    said = _exchange(_connected(host, port), request, most)
    if not said.startswith(b"HTTP/"):  # as one who expects TLS answers
        said = _exchange(_secure(host, port, certificate), request + known, most)
    elif known:  # only now, so that nobody who expects TLS is sent a password without it
        said = _exchange(_connected(host, port), request + known, most)
    head, _, body = said.partition(b"\r\n\r\n")
    if not (status := re.match(rb"HTTP/1\.[01] (\d{3})\b", head)):
        raise ValueError("what answers there does not speak HTTP" if said else "the connection ended without an answer")
    return int(status[1]), body[:most]


def _connected(host: str, port: int) -> socket.socket:
    # As bytes, or the codec of international names is imported first.
    name = host.encode() if host.isascii() else host
    return socket.create_connection((name, port), _PATIENCE_SECONDS)  # type: ignore[arg-type] # it takes both


def _exchange(connection: socket.socket, request: bytes, most: int) -> bytes:
    # http.client brings TLS and MIME with it: to import them takes several times as long as to ask.
    said = bytearray()
    with connection, suppress(ConnectionResetError):
        connection.sendall(request + b"\r\n")
        while len(said) < most + _HEAD_BYTES and (chunk := connection.recv(65536)):
            said += chunk
    return bytes(said)


def _secure(host: str, port: int, certificate: str | None) -> socket.socket:
    import ssl  # noqa: PLC0415 - takes longer to import than the rest of a health check

    context = ssl.create_default_context()
    # It asks a daemon of this host how it is and tells it nothing, so it does not matter who answers for the name.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    return context.wrap_socket(_connected(host, port), server_hostname=host)

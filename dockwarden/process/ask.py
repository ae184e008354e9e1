"""Asking the daemon of this host over HTTP, with nothing but the standard library, so that it is quick.

Input: where it listens, a path. Output: its answer. Out of bounds: what the answer means. TLS is noticed.
"""

import http.client
import ssl

_PATIENCE_SECONDS = 8.0


def reached(host: str) -> str:
    """By which address a daemon is reached from here that listens at this one."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "::1", "::": "::1", "": "127.0.0.1"}.get(host, host.strip("[]"))


def ask(host: str, port: int, path: str, certificate: str | None = None, most: int = 2000) -> tuple[int, bytes]:
    """Status and body, of which at most ``most`` bytes are read.

    Raises:
        OSError, http.client.HTTPException: there is no answer.
    """
    plain = http.client.HTTPConnection(host, port, timeout=_PATIENCE_SECONDS)
    try:
        return _answer(plain, path, most)
    except (http.client.BadStatusLine, ConnectionResetError):  # as one who expects TLS answers
        return _answer(_secure(host, port, certificate), path, most)


def _answer(connection: http.client.HTTPConnection, path: str, most: int) -> tuple[int, bytes]:
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(most)
    finally:
        connection.close()


def _secure(host: str, port: int, certificate: str | None) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    # It asks a daemon of this host how it is and tells it nothing, so it does not matter who answers for the name.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    return http.client.HTTPSConnection(host, port, timeout=_PATIENCE_SECONDS, context=context)

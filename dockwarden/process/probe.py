"""Whether somebody serves at an address, over HTTP, HTTPS or TCP.

Input: an address as people write it. Output: why nobody does. Out of bounds: what the answer means, certificates.
"""

import socket
import ssl
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlsplit

_PATIENCE_SECONDS = 8.0


def probe(url: str, addresses: Iterable[str]) -> str:
    """Why nobody serves at ``http://host:port/path`` or ``tcp://…``, else "".

    ``addresses``: for a host left out; whoever serves at one of them does, as not all can be reached from everywhere.
    """
    parts = urlsplit(url)
    silences = []
    for host in [parts.hostname] if parts.hostname else addresses:
        if not (silence := _silence(parts, host)):
            return ""
        silences.append(silence)
    return "; ".join(dict.fromkeys(silences)) or "it has no address in a network"


def _silence(parts: SplitResult, host: str) -> str:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        if parts.scheme == "tcp":
            socket.create_connection((host, port), _PATIENCE_SECONDS).close()
            return ""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connect = partial(HTTPSConnection, context=context) if parts.scheme == "https" else HTTPConnection
        with closing(connect(host, port, timeout=_PATIENCE_SECONDS)) as to:
            to.request("GET", path)
            status = to.getresponse().status
    except (OSError, ValueError, HTTPException) as error:
        return str(error) or type(error).__name__
    return "" if status < HTTPStatus.BAD_REQUEST else f"it answers {status}"

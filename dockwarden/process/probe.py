"""Whether somebody serves at an address, over HTTP, HTTPS or TCP.

Input: an address as people write it. Output: why nobody does. Out of bounds: what the answer means, certificates.
"""

import socket
import ssl
from contextlib import closing
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

_PATIENCE_SECONDS = 8.0


def probe(url: str, address: str) -> str:
    """Why nobody serves at ``http://host:port/path`` or ``tcp://…``, else ""; ``address``: for a host left out."""
    parts = urlsplit(url)
    host, port = parts.hostname or address, parts.port or (443 if parts.scheme == "https" else 80)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    if not host:
        return "it has no address in a network"
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

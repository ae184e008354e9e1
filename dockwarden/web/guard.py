"""Basic authentication: whether a password is the one of which a bcrypt hash is known.

Input: an Authorization header and the hashes by name. Output: yes or no. Out of bounds: answering. Checking a password
takes a tenth of a second by design, so it has a thread of its own, in which strangers only wait for each other, and
who was right once is let in at once.
"""

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

_MOST_REMEMBERED = 100
_MOST_PASSWORD_BYTES = 72  # bcrypt looks at no more
# Compared with where there is no such user, so that the time taken does not tell who exists.
_NOBODY = "$2b$10$6pOuMo/K1.J5MvKEZ7qskuN40r.3PefWK4lOqW2kYLzq.9hEo.xdS"


class Guard:
    """Remembers who was right, by a salted hash; who is wrong is checked anew, and so pushes nobody out."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(16)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="password")

    async def admits(self, authorization: str, users: Mapping[str, str]) -> bool:
        """Whether the header names one of these users and the right password."""
        login = _login(authorization)
        if login is None:
            return False
        name, password = login
        hashed = users.get(name, _NOBODY)
        key = hashlib.sha256(b"\0".join((self._salt, name.encode(), hashed.encode(), password))).digest()
        if key not in self._right:
            loop = asyncio.get_running_loop()
            if not await loop.run_in_executor(self._pool, _is_right, password, hashed) or name not in users:
                return False
            self._right[key] = None
            if len(self._right) > _MOST_REMEMBERED:
                self._right.popitem(last=False)
        self._right.move_to_end(key)
        return True

    def close(self) -> None:
        """Check no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _login(authorization: str) -> tuple[str, bytes] | None:
    kind, _, text = authorization.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(text.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def _is_right(password: bytes, hashed: str) -> bool:
    import bcrypt  # noqa: PLC0415 - memory, for those who have passwords

    try:
        return bcrypt.checkpw(password[:_MOST_PASSWORD_BYTES], hashed.encode())
    except ValueError:  # a NUL within it
        return False

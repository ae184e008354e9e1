"""Basic authentication: whether a password is the one of which a bcrypt hash is known.

Input: an Authorization header and the hashes by name. Output: yes or no. Out of bounds: answering. Checking a password
takes a tenth of a second by design, so it has a thread of its own, in which strangers only wait for each other, and
who was right once is let in at once.
"""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

_MOST_REMEMBERED = 100
_MOST_PASSWORD_BYTES = 72  # bcrypt looks at no more
_NOBODY = "6pOuMo/K1.J5MvKEZ7qskuN40r.3PefWK4lOqW2kYLzq.9hEo.xdS"


class BasicAuth:
    """Remembers who was right, by a salted hash; who is wrong is checked anew, and so pushes nobody out."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(16)
        self._right: set[bytes] = set()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="password")

    async def admits(self, authorization: str, users: Mapping[str, str]) -> bool:
        """Whether the header names one of these users and the right password."""
        login = _login(authorization)
        if login is None:
            return False
        name, password = login
        hashed = users.get(name, "")
        key = hashlib.sha256(b"\0".join((self._salt, name.encode(), hashed.encode(), password))).digest()
        if key not in self._right:
            loop = asyncio.get_running_loop()
            costs = {each.split("$")[2] for each in users.values()}
            if not await loop.run_in_executor(self._pool, _is_right, password, hashed, costs):
                return False
            if len(self._right) >= _MOST_REMEMBERED:
                self._right.clear()
            self._right.add(key)
        return True

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _login(authorization: str) -> tuple[str, bytes] | None:
    kind, _, text = authorization.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(text.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except ValueError:
        return None


def _is_right(password: bytes, hashed: str, costs: Iterable[str]) -> bool:
    """Check one hash of each cost that any user has, so that the time taken does not tell who exists."""
    import bcrypt  # noqa: PLC0415 - memory, for those who have passwords

    tried = password[:_MOST_PASSWORD_BYTES].replace(b"\0", b"?")  # which no password has, and bcrypt refuses at once
    right = False
    for cost in costs:
        is_own = hashed.split("$")[2:3] == [cost]
        is_equal = bcrypt.checkpw(tried, (hashed if is_own else f"$2b${cost}${_NOBODY}").encode())
        right |= is_own and is_equal
    return right and b"\0" not in password

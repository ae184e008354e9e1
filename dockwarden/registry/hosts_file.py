"""Whom an engine with a containerd store asks for a registry: the ``hosts.toml`` in its folder of certificates.

Input: that file. Output: ``Host`` values, in the order in which they are tried. Out of bounds: asking them, and what
the file says of headers, certificates of clients and pushing.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dockwarden.config.files import content
from dockwarden.model import EngineInfo, ImageStore

_DEFAULT = "_default"
_SINCE = (1, 48)
_NEEDED = {"pull", "resolve"}
_CAPABILITIES = _NEEDED | {"push", "referrers"}


class Host(NamedTuple):
    """One of them.

    Attributes:
        server: its URL, "" for the registry itself.
        is_whole: the path of the URL is all that comes before a repository.
        is_verified: by its certificate.
        authorities: files with certificates of them.
    """

    server: str
    is_whole: bool
    is_verified: bool
    authorities: tuple[Path, ...]


def is_read_by(engine: EngineInfo) -> bool:
    """Whether an engine follows it: from 28 on; a rootless one has the folder of its user instead."""
    version = tuple(int(part) for part in engine.api_version.split("."))
    return engine.image_store is ImageStore.CONTAINERD and version >= _SINCE and not engine.rootless


def find(folder: Path, registry: str) -> Path | None:
    """Where the file of a registry would be; None if it has no folder."""
    host, _, port = registry.rpartition(":")
    names = (f"{host}_{port}_", registry, _DEFAULT) if host else (registry, _DEFAULT)
    found = next((folder / name for name in names if (folder / name).is_dir()), None)
    return found and found / "hosts.toml"


def hosts(path: Path) -> Iterator[Host]:
    """Those that may say what a tag names. Raises OSError, ValueError, TypeError."""
    document = tomllib.loads(content(path).decode())
    listed = document.get("host", {})
    for server, said in (*listed.items(), (document.get("server", ""), document)):
        if not isinstance(said, dict) or not isinstance(server, str):
            raise TypeError("malformed")
        ca = said.get("ca", [])
        names = [ca] if isinstance(ca, str) else ca
        allowed = {word.lower() for word in said.get("capabilities", ())}
        if not allowed <= _CAPABILITIES or not isinstance(said.get("skip_verify", False), bool):
            raise ValueError("malformed")
        if not server or not allowed or allowed >= _NEEDED:  # the registry itself is asked whatever is said of it
            url = server if not server or server.startswith("http") else f"https://{server}"
            files = tuple(path.parent / str(name) for name in names)
            yield Host(url, said.get("override_path") is True, not said.get("skip_verify"), files)

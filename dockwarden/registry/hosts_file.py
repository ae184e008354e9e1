"""Whom an engine with a containerd store asks for a registry: the ``hosts.toml`` in its folder of certificates.

Input: that file. Output: ``Host`` values, in the order in which they are tried. Out of bounds: asking them, and what
the file says of pushing.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
        ours: files with a certificate of ours, each with that of its key.
        headers: what it is to be told with each request.
    """

    server: str
    is_whole: bool
    is_verified: bool
    authorities: tuple[Path, ...]
    ours: tuple[tuple[Path, Path], ...]
    headers: Mapping[str, str]


def is_read_by(engine: EngineInfo) -> bool:
    """Whether an engine follows it: from 28 on; a rootless one has the folder of its user instead."""
    version = tuple(int(part) for part in engine.api_version.split("."))
    return engine.image_store is ImageStore.CONTAINERD and version >= _SINCE and not engine.rootless


def folder(certificates: Path, registry: str) -> Path | None:
    """Where the file of a registry would be, or else certificates; None if it has no folder."""
    host, _, port = registry.rpartition(":")
    names = (f"{host}_{port}_", registry, _DEFAULT) if host else (registry, _DEFAULT)
    return next((certificates / name for name in names if (certificates / name).is_dir()), None)


def hosts(path: Path) -> Iterator[Host]:
    """Those that may say what a tag names. Raises OSError, ValueError, TypeError, also where it says nothing at all."""
    if not (text := content(path).decode()):
        raise ValueError("empty")
    document = tomllib.loads(text)
    listed = document.get("host", {})
    for server, said in (*listed.items(), (document.get("server", ""), document)):
        if not isinstance(said, dict) or not isinstance(server, str):
            raise TypeError("malformed")
        allowed = {word.lower() for word in said.get("capabilities", ())}
        if not allowed <= _CAPABILITIES or not isinstance(said.get("skip_verify", False), bool):
            raise ValueError("malformed")
        if not server or not allowed or allowed >= _NEEDED:  # the registry itself is asked whatever is said of it
            url = server if not server or server.startswith("http") else f"https://{server}"
            authorities = tuple(path.parent / name for name in _several(said.get("ca", [])))
            pairs = [(each, each) if isinstance(each, str) else each for each in _several(said.get("client", []))]
            ours = tuple((path.parent / certificate, path.parent / key) for certificate, key in pairs)
            headers = {name.title(): ", ".join(_several(value)) for name, value in said.get("header", {}).items()}
            is_whole, is_verified = said.get("override_path") is True, not said.get("skip_verify")
            yield Host(url, is_whole, is_verified, authorities, ours, headers)


def _several(said: Any) -> list[Any]:
    """One, or a list of them."""
    if not isinstance(said, str | list):
        raise TypeError("malformed")
    return [said] if isinstance(said, str) else said

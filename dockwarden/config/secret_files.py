"""Settings out of secret files: one file per setting, named like its environment variable.

Input: ``/run/secrets`` (Docker, Podman) and the folder that systemd names in ``$CREDENTIALS_DIRECTORY``. Output: values
as they would stand in the settings file, and where each comes from. Out of bounds: whether a value is any good.

Lists and mappings are JSON, as in variables. So a registry's port, whose colon neither systemd nor Docker allows in the
name of a secret, stands in ``dockwarden_registries`` with ``{"host:5000": {"password": "…"}}``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

from dockwarden.config.files import secret
from dockwarden.config.source import shape_at
from dockwarden.text import because

FOLDER = Path("/run/secrets")
VARIABLE = "CREDENTIALS_DIRECTORY"


def read_secrets(
    prefix: str, shape: Any, environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Values, nested; the place of each by its variable; and what is wrong, with nothing of any content in it.

    ``shape`` is the type of all settings. A file that only begins like one of ours may be meant for ``password_file``,
    so it is left alone; but not if it goes on with ``__``.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    for file in _files(prefix, environ, problems):
        top, *rest = path = file.name.lower().removeprefix(prefix.lower()).split("__")
        if top in shape.model_fields:
            try:
                text = secret(file)
                meant = shape_at(shape, tuple(path))
                holds_more = get_origin(meant) in (dict, list) or hasattr(meant, "model_fields")
                value: Any = json.loads(text) if holds_more and text.lstrip()[:1] in ("{", "[") else text
                for part in reversed(path):
                    value = {part: value}
                values = merged(values, value)
            except (OSError, ValueError, RecursionError) as error:
                reason = because(error) if isinstance(error, OSError) else 'must be JSON, such as ["a"] or {"a": "b"}'
                problems.append(f"secret {file}: {reason}")
            places[file.name.upper()] = f"secret {file}"
        elif rest:
            problems.append(f"secret {file}: no such setting")
    return values, places, problems


def _files(prefix: str, environ: Mapping[str, str], problems: list[str]) -> list[Path]:
    """Ours in both folders; what systemd gives comes later, and so wins."""
    folders = [(FOLDER, False)]
    if environ.get(VARIABLE):
        folders.append((Path(environ[VARIABLE]), True))
    found: list[Path] = []
    for folder, is_named in folders:
        try:
            found += sorted(file for file in folder.iterdir() if file.name.lower().startswith(prefix.lower()))
        except OSError as error:
            if is_named:  # the other one, where it exists at all, may be meant for others
                problems.append(f"{VARIABLE}, {folder}: {because(error)}")
    return found


def merged(under: Any, over: Any) -> Any:
    """Both; where both say something, the second, except that mappings are joined."""
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: merged(under.get(key), value) for key, value in over.items()}
    return over

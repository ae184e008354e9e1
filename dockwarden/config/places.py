"""Where the settings of this host come from, so that whatever is wrong with one is told with its place.

Input: the settings file, and the variables and secret files that say something else. Output: problems in words. Out of
bounds: what is wrong.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dockwarden.config.source import Path, Source, fault_in_words, keys_beside
from dockwarden.text import near

PREFIX = "DOCKWARDEN_"
CONFIG_VARIABLE = "DOCKWARDEN_CONFIG"
_RENAMED = {"mode": "allow"}
_QUOTED = re.compile(r"""(['"])((?!\1).)*\1""", re.DOTALL)  # as a whole


@dataclass(frozen=True)
class Places:
    """All are equal: settings are, wherever they come from.

    ``named``: variables and secret files, by the variable. ``told``: what these say.
    """

    source: Source | None = field(default=None, repr=False, compare=False)
    named: Mapping[str, str] = field(default_factory=dict, compare=False)
    told: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def problem(self, path: Path, reason: str) -> str:
        """What is wrong with the value at a path, with the variable, the secret, or the line where it is written."""
        key = ".".join(str(part).rpartition("@")[2] for part in path)  # before it a password may stand
        variable = own = PREFIX + "__".join(str(part).upper() for part in path)
        if below := next((name for name in self.named if name.startswith(f"{variable}__")), ""):
            return f"{self.named[below]}: {key}: {reason}"
        while variable != PREFIX and variable not in self.named and "__" in variable:
            variable = variable.rpartition("__")[0]
        if variable == own and own in self.named:
            return f"{self.named[own]}: {reason}"
        is_in_file = self.source is not None and path in self.source.places
        if variable in self.named and (_holds(self.told, path) or not is_in_file):
            return f"{self.named[variable]}: {key}: {reason}"
        if self.source is None:
            return f"settings {key}: {reason}"
        place = self.source.place(path)
        return f"{self.source.file}:{place.line}:{place.column} {key}: {reason}"

    def fault(self, shape: Any, entry: Any) -> str:
        """What the library of shapes finds fault with; ``shape`` is the type of all settings."""
        path = tuple(part for part in entry["loc"] if not str(part).startswith(("function-", "literal[")))
        is_unknown = entry["type"] == "extra_forbidden"
        if not is_unknown:
            return self.problem(path, fault_in_words(entry) + quoted(entry["input"]))
        name = str(path[-1]).rpartition(".")[2]
        above = next((top for top in keys_beside(shape, path) if name in keys_beside(shape, (top, name))), "")
        if above and len(path) == 1:
            return self.problem(path, f"no such setting here; {name} is written below {above}, indented")
        return self.problem(path, _unknown(str(path[-1]), keys_beside(shape, path)))


def quoted(value: object) -> str:
    """What to say of quotes that a shell takes away, and others do not: `docker run --env-file`, lists of Compose."""
    is_quoted = isinstance(value, str) and _QUOTED.fullmatch(value.strip())
    return "; the quotes are part of the value here, leave them out" if is_quoted else ""


def _holds(values: Any, path: Path) -> bool:
    for part in path:
        try:
            values = values[part]
        except (LookupError, TypeError):
            return False
    return True


def misspelt(shape: Any, environ: Mapping[str, str]) -> list[str]:
    """Variables that are called almost as ours are."""
    known = [PREFIX + name.upper() for name in shape.model_fields] + [CONFIG_VARIABLE]
    services = [name.removesuffix("SERVICE_HOST") for name in environ if name.endswith("_SERVICE_HOST")]
    links = tuple(name + part for name in services for part in ("SERVICE_", "PORT_"))  # Kubernetes' words to each pod
    ours = (name for name in sorted(environ) if name.upper().startswith(PREFIX) and not f"{name}_".startswith(links))
    tops = {name: name.partition("__")[0].upper() for name in ours}
    below = [(section, key) for section in shape.model_fields for key in keys_beside(shape, (section, ""))]
    meant = [*known, *(f"{PREFIX}{section}__{key}".upper() for section, key in below)]
    return [f"environment {name}: {_unknown(top, meant)}" for name, top in tops.items() if top not in known]


def _unknown(name: str, known: list[str]) -> str:
    prefix = PREFIX if name.startswith(PREFIX) else ""
    if now := _RENAMED.get(name.removeprefix(prefix).lower()):
        return f"it is called {prefix}{now.upper() if prefix else now} now"
    return f"no such setting{near(name, known) or ('' if prefix else '; there are ' + ', '.join(known))}"

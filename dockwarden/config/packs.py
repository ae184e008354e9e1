"""Packs: sets of policies that come along with dockwarden and have a name.

Input: what the settings or a command line name. Output: files and folders. Out of bounds: reading policies.
"""

from pathlib import Path

PACKS = ("shipped", "cis", "baseline")
"""The everyday ones; the CIS Docker Benchmark; the pod security standards, for containers."""

OWN = Path("/etc/dockwarden/policies")
"""Where a host has policies of its own, unless its settings say otherwise."""


def folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    places = (*(up / "share/dockwarden/policies" for up in package.parents), package.parent / "config/policies")
    return next((place for place in places if place.is_dir()), places[-1])


def files(pack: str) -> list[Path]:
    """The files of a pack; the everyday ones lie beside the folders of the others."""
    return sorted((folder() if pack == "shipped" else folder() / pack).glob("*.yaml"))


def default() -> list[str]:
    """Where policies come from if nobody says: the everyday ones, and what the host adds to them."""
    return ["shipped", *([str(OWN)] if is_there(OWN) else [])]


def is_there(path: Path) -> bool:
    """Whether anybody put anything there, if only a link that leads nowhere: to be read, or told why that fails."""
    try:
        path.lstat()
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True

"""Two thirds of Docker's official catalogue, of August 2026, and what a reader of it says that `latest` is.

`official-tags.txt.xz` holds, of each repository, the tags of each image on one line, and after `- ` the tags that the
catalogue once had and that a registry most likely still has. The verdicts below were written by hand, by reading: of
each repository that they do not name, `latest` is the newest release.

`python -m tests.bench.versions` prints how often `newest` is right.
"""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from dockwarden.inventory.newest import Look, UnclearError, newest

_FILE = Path(__file__).with_name("official-tags.txt.xz")

NEWER = {"amazoncorretto": ["26.0.2", "26"], "eclipse-temurin": ["26", "26.0.2_10-jdk"]}
"""Where `latest` is not the newest release: Java 8 and 25, while there is 26."""
WORDS = ["alt", "buildpack-deps", "hello-world", "open-liberty", "websphere-liberty"]
"""Where `latest` is no version of its repository."""
ABANDONED = {"ibmjava": ["9", "11"]}
"""Where something higher was given up long ago: whether that is newer, nobody can say."""


@dataclass
class Repository:
    """Tags with the word of their image, and which of them somebody asked about."""

    images: dict[str, str]
    asked: list[str] = field(default_factory=list)

    def digest(self, tag: str) -> str:
        self.asked.append(tag)
        return self.images.get(tag, "")

    def newest(self, name: str, tags: list[str] | None = None) -> str | None:
        """None: unclear."""
        self.asked = []
        look = Look(lambda tag: self.digest(tag) == self.images[name], self.digest)
        try:
            return newest(name, tuple(self.images if tags is None else tags), look)
        except UnclearError:
            return None

    def is_same(self, one: str, other: str) -> bool:
        return self.images[one] == self.images[other]


@cache
def catalogue(*, gone: bool) -> dict[str, Repository]:
    """All repositories, with or without the tags that are not in the catalogue any more."""
    found: dict[str, Repository] = {}
    now = Repository({})
    for line in lzma.decompress(_FILE.read_bytes()).decode().splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "#":
            found[rest] = now = Repository({})
        elif mark != "-":
            now.images |= dict.fromkeys(line.split(), line)
        elif gone:
            now.images |= {tag: tag for tag in rest.split()}
    return found


def verdicts(*, gone: bool) -> Iterator[tuple[str, str]]:
    """Of each repository that has a `latest`, its name and what its answer is worth."""
    for name, repository in catalogue(gone=gone).items():
        if "latest" not in catalogue(gone=False)[name].images:
            continue
        found = repository.newest("latest")
        if not found:
            yield name, "unknown, rightly" if name in WORDS else "unknown"
        elif repository.is_same(found, "latest"):
            yield name, "missed" if name in NEWER else "silent"
        else:
            unclear = "flagged, unclear" if found in ABANDONED.get(name, ()) else "flagged, wrong"
            yield name, "flagged, right" if found in NEWER.get(name, ()) else unclear


def main() -> None:
    """Print the figures."""
    for gone in (False, True):
        counts = Counter(verdict for _, verdict in verdicts(gone=gone))
        print("With all tags that ever were:" if gone else "With the tags of today:", f"{counts.total()} repositories")
        for verdict, count in sorted(counts.items()):
            print(f"  {verdict}: {count}")


if __name__ == "__main__":
    main()

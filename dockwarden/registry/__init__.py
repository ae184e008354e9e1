"""Image registries behind ``ports.Registry``.

Input: questions about tags, digests and repositories; per host, how to reach it and as whom. Output: futures
of replies. Out of bounds: pulling, pushing, and any request that a registry counts as a pull where one that it does
not count will do.
"""

from dockwarden.registry.client import HttpRegistry

__all__ = ["HttpRegistry"]

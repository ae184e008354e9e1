"""The Docker Engine behind ``ports.Engine``: the only package that knows docker-py and requests.

``client`` asks, ``transport`` carries requests and errors, ``translate`` turns JSON into values of ``model``.
"""

from dockwarden.engine.client import DockerEngine
from dockwarden.engine.translate import DANGLING_NAME, MARKER_REPOSITORY
from dockwarden.engine.transport import Endpoint, from_environment

__all__ = ["DANGLING_NAME", "MARKER_REPOSITORY", "DockerEngine", "Endpoint", "from_environment"]

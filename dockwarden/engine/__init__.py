"""The Docker Engine behind ``ports.Engine``: the only package that knows docker-py and requests.

``endpoint`` says where it is, ``client`` asks, ``changes`` and ``recreate`` change, ``transport`` carries requests and
errors, ``translate`` turns JSON into values of ``model``, ``disk`` sees what the API does not tell.
"""

from dockwarden.engine.client import DockerEngine
from dockwarden.engine.endpoint import Connection, Tls, from_environment

__all__ = ["Connection", "DockerEngine", "Tls", "from_environment"]

"""The Docker Engine behind ``ports.Engine``: the only package that knows docker-py and requests.

``endpoint`` says where it is, ``client`` asks, ``changes`` and ``recreate`` change, ``transport`` carries requests and
errors, ``translate`` turns JSON into values of ``model``, ``disk`` sees what the API does not tell.
"""

import sys
import warnings

with warnings.catch_warnings():
    # 3 MiB to guess in which encoding an answer is that names none; an engine's are UTF-8.
    sys.modules.setdefault("charset_normalizer", None)  # type: ignore[arg-type] # as which an import fails
    warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
    from dockwarden.engine.client import DockerEngine
from dockwarden.engine.endpoint import Connection, Tls, from_environment

__all__ = ["Connection", "DockerEngine", "Tls", "from_environment"]

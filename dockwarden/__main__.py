"""``python -m dockwarden``: the command line, nothing else."""

import sys

from dockwarden.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""Programs of this machine as layers of images, for services whose images cannot be pulled here.

In: the name of a program. Out: a tar of it and of all that it loads. Out of bounds: running it.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile

from tests.lab import machine

NOBODY = 65534


def layer(name: str, *beside: str, folder: str = "") -> bytes:
    """A program of this machine with all that it loads and needs beside it, as a layer; and a folder of nobody's."""
    program = machine.find(name)
    assert program
    loaded = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    files = [program, *re.findall(r"/\S+(?= \(0x)", loaded), *beside]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", dereference=True) as tar:
        for file in files:
            tar.add(file)
        if folder:
            own = tarfile.TarInfo(folder)
            own.type, own.mode, own.uid, own.gid = tarfile.DIRTYPE, 0o755, NOBODY, NOBODY
            tar.addfile(own)
    return out.getvalue()

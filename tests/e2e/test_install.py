"""Installed, upgraded and taken away as documented, on a booted Debian with the distribution's own docker.service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import docs
from tests.e2e.harness import policy
from tests.e2e.supervised import INSTALL, ROOT, SETTINGS, Unit, wheels
from tests.e2e.test_ansible import check_role
from tests.lab.host import LabHost

pytestmark = pytest.mark.engine
LATEST = policy("latest", "tag", "tag.name == 'latest'", trigger={"events": ["image.tag"]})


@pytest.mark.slow(300)
def test_install_upgrade_and_removal(shipped: Path, tmp_path: Path) -> None:
    """Mostly by the role, which runs the installer; test_systemd.py begins with the installer itself."""
    newer = wheels(tmp_path / "n", "0.1.1")
    broken = wheels(tmp_path / "b", "0.1.2", cli__daemon=("faulthandler.enable()", "raise OSError"))
    with LabHost(see=[ROOT, broken]) as host:
        check_role(Unit(host), tmp_path / "role", shipped, newer, broken)
        assert left_behind(host) == []


@pytest.mark.slow(60)
def test_debian_packages(shipped: Path, tmp_path: Path) -> None:
    deb = debian(shipped, tmp_path)
    files = subprocess.run(["dpkg-deb", "--contents", deb], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^.{7}-.*|.*password$", files, re.MULTILINE) == []
    subprocess.run(["dpkg-deb", "--extract", deb, tmp_path / "x"], check=True)
    pages = sorted((tmp_path / "x/usr/share/doc/dockwarden").rglob("*.md"))
    assert len(pages) > 20
    assert [(page.name, link) for page in pages for link in docs.broken(page)] == []
    newer = later(deb)
    (nothing := tmp_path / "nothing").mkdir()
    with LabHost(see=[ROOT, tmp_path]) as host:
        unit = Unit(host)
        assert "with its version of Python" in host.run(INSTALL, "install", str(nothing), check=False)
        assert left_behind(host) == []
        checkout = host.path("/opt/dockwarden/current")
        checkout.mkdir(parents=True)
        assert "install.sh uninstall" in host.run("dpkg", "--install", str(deb), check=False)
        checkout.rmdir()
        checkout.parent.rmdir()
        host.run("dpkg", "--install", str(deb))
        assert unit.shows("ActiveState", "UnitFileState") == {"ActiveState": "active", "UnitFileState": "enabled"}
        unit.wait("watching", "StatusText")
        assert "in mode audit" in host.run("dockwarden", "status")
        assert "apt remove dockwarden" in host.run(INSTALL, "install", check=False)
        unit.configure(LATEST)
        kept = host.path(SETTINGS).read_text()
        host.run("dpkg", "--install", str(newer))
        unit.wait("watching", "StatusText")
        assert 'version="0.1.1"' in unit.get("/metrics")
        assert [row["name"] for row in unit.api("policies")] == ["latest"]
        host.run("dpkg", "--remove", "dockwarden")
        assert unit.show("LoadState") == "not-found"
        assert host.path(SETTINGS).read_text() == kept
        host.run("dpkg", "--install", str(newer))  # again, which is as the first time
        assert unit.shows("ActiveState", "UnitFileState") == {"ActiveState": "active", "UnitFileState": "enabled"}
        unit.fail()
        checkout.mkdir(parents=True)
        host.run("sh", "/var/lib/dpkg/info/dockwarden.postrm", "purge")
        assert host.path("/var/lib/private/dockwarden").exists()
        checkout.rmdir()
        checkout.parent.rmdir()
        host.run("dpkg", "--purge", "dockwarden")
        assert unit.show("ActiveState") == "inactive"
        assert left_behind(host) == []


def debian(house: Path, folder: Path) -> Path:
    """The Debian package of what is in a folder of wheels, from a checkout that only its owner may read."""
    checkout = folder / "checkout"
    for part in ("config", "deploy", "docs"):
        shutil.copytree(ROOT / part, checkout / part)
    for file in (*ROOT.glob("[!.]*.*"), ROOT / "LICENSE", ROOT / ".pre-commit-hooks.yaml"):
        shutil.copy(file, checkout)
    own = checkout / "deploy/swarm/secrets/password"
    own.parent.mkdir()
    own.write_text("secret")
    for path in checkout.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    variables = {**os.environ, "PIP": str(Path(sys.executable).with_name("pip")), "DIST": str(folder)}
    variables["DPKG_DEB_COMPRESSOR_LEVEL"] = "0"  # nobody has to download it
    done = subprocess.run(
        [checkout / "deploy/debian/build.sh", house], env=variables, capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


def later(package: Path) -> Path:
    """The same package with a higher version, as a build of another checkout would be."""
    root = package.with_suffix("")
    subprocess.run(["dpkg-deb", "--raw-extract", package, root], check=True)
    own = root / "usr/lib/dockwarden/dockwarden"
    for file in (root / "DEBIAN/control", own / "__init__.py"):
        file.write_text(file.read_text().replace("0.1.0", "0.1.1"))
    next(own.glob("__pycache__/__init__.*.pyc")).unlink()
    newer = package.with_name(package.name.replace("0.1.0", "0.1.1"))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, newer], check=True)
    return newer


def left_behind(host: LabHost) -> list[str]:
    found = host.run(
        "find", "/etc", "/opt", "/usr", "/var", "-xdev", "-path", "*dockwarden*", "-not", "-path", "*/log/*"
    )
    own = (str(ROOT), "/var/lib/dpkg/info/dockwarden.list")
    return [path for path in found.splitlines() if not path.startswith(own)]

#!/bin/sh
# Builds dockwarden_VERSION_ARCH.deb in dist, for this machine's Python and the Debian that has it. From a checkout:
#
#   deploy/debian/build.sh [WHEELS]   With WHEELS, a folder that `make wheels` filled, nothing is downloaded. PIP: which
#                                     pip to use; NOTIFY=1: with what notifications need; DIST: where it goes
#
# The program with all it needs lies below /usr/lib/dockwarden, apart from Debian's own Python packages.
set -eu

source=$(cd "$(dirname "$0")/../.." && pwd)
wheels=${1:-}
pip=${PIP:-$source/.venv/bin/pip}
requirements=$source/requirements${NOTIFY:+-notify}.txt
python=$("${pip%/*}/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
next=${python%.*}.$((${python#*.} + 1))
architecture=$(dpkg --print-architecture)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
umask 022
library=$root/usr/lib/dockwarden

run_pip() { "$pip" install --quiet --disable-pip-version-check --no-warn-script-location --no-compile "$@"; }
if [ -n "$wheels" ]; then
  run_pip --no-index --find-links "$wheels" --target "$library" --require-hashes -r "$requirements"
  run_pip --no-index --find-links "$wheels" --target "$root/own" --no-deps dockwarden
else
  run_pip --target "$library" --require-hashes -r "$requirements"
  run_pip --target "$root/own" --no-deps "$source"
fi
# Into the same folder, which pip will not do with the data files that come along.
cp -R "$root/own/." "$library"
rm -rf "$root/own" "$library/bin"
version=$(basename "$library"/dockwarden-*.dist-info .dist-info | cut -d- -f2)
target=${DIST:-$source/dist}/dockwarden_${version}_$architecture.deb
"${pip%/*}/python" -m compileall -q --invalidation-mode unchecked-hash -s "$root" "$library" || true # libraries' tests

mkdir -p "$root/usr/bin"
cat >"$root/usr/bin/dockwarden" <<END
#!/usr/bin/python$python -IB
import sys

sys.path.insert(0, "/usr/lib/dockwarden")
from dockwarden.cli import main

sys.exit(main())
END
chmod 755 "$root/usr/bin/dockwarden"

put() { install -D -m 644 "$1" "$root$2"; }
share=$library/share/dockwarden
mkdir -p "$root/usr/lib/systemd/system" "$root/usr/share/doc/dockwarden"
sed 's#/opt/dockwarden/current/bin/#/usr/bin/#' "$share/dockwarden.service" >"$root/usr/lib/systemd/system/dockwarden.service"
put "$share/dockwarden.yaml" /etc/dockwarden/dockwarden.yaml
mkdir -p "$root/usr/share/man/man8"
gzip -9n <"$library/share/man/man8/dockwarden.8" >"$root/usr/share/man/man8/dockwarden.8.gz"
put "$source/LICENSE" /usr/share/doc/dockwarden/copyright
ln -s copyright "$root/usr/share/doc/dockwarden/LICENSE"
# The documents and all that they lead to, in the same places, but what somebody put there who deploys from here.
(cd "$source" && tar --create --mode=u=rwX,go=rX --exclude=deploy/ansible/files --exclude=deploy/ansible/inventory.yml \
  --exclude=deploy/compose/.env --exclude=deploy/compose/dockwarden --exclude=deploy/swarm/secrets \
  ./*.md .pre-commit-hooks.yaml action.yml config deploy docs) | tar --extract --directory="$root/usr/share/doc/dockwarden"
for each in bash-completion/completions/dockwarden zsh/vendor-completions/_dockwarden fish/vendor_completions.d/dockwarden.fish; do
  mkdir -p "$root/usr/share/${each%/*}"
  PYTHONPATH=$library "${pip%/*}/python" -B -m dockwarden completion "${each%%[-/]*}" >"$root/usr/share/$each"
done

mkdir "$root/DEBIAN"
echo /etc/dockwarden/dockwarden.yaml >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/control" <<END
Package: dockwarden
Version: $version
Architecture: $architecture
Maintainer: The dockwarden authors <dockwarden@localhost>
Depends: python3 (>= $python), python3 (<< $next)
Recommends: docker.io | docker-ce
Section: admin
Priority: optional
Installed-Size: $(du -sk "$root" | cut -f1)
Description: policies for a Docker host
 Watches one Docker Engine, judges its images, tags, containers, volumes,
 networks and the host itself by policies, acts where a policy says so, and
 tells Prometheus.
END
cat >"$root/DEBIAN/preinst" <<'END'
#!/bin/sh
set -e
if [ -e /opt/dockwarden/current ]; then
  echo "dockwarden is installed from a checkout; remove that first: deploy/install.sh uninstall" >&2
  exit 1
fi
END
cat >"$root/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
# As debhelper does it, also for a system that is not running yet, and for one that had the package before.
[ "$1" = configure ] || exit 0
if ! getent group docker >/dev/null; then
  echo "dockwarden: install the Docker Engine, then: systemctl enable --now dockwarden" >&2
  exit 0
fi
if deb-systemd-helper --quiet was-enabled dockwarden.service; then
  deb-systemd-helper enable dockwarden.service >/dev/null
else
  deb-systemd-helper update-state dockwarden.service >/dev/null
fi
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  deb-systemd-invoke restart dockwarden.service >/dev/null ||
    echo "dockwarden does not start: journalctl -u dockwarden" >&2
fi
END
cat >"$root/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then deb-systemd-invoke stop dockwarden.service; fi
END
cat >"$root/DEBIAN/postrm" <<'END'
#!/bin/sh
set -e
if [ "$1" = purge ] && [ ! -e /opt/dockwarden/current ]; then # else they are those of a checkout by now
  deb-systemd-helper purge dockwarden.service >/dev/null
  rm -rf /etc/dockwarden /etc/default/dockwarden /etc/systemd/system/dockwarden.service.d
  rm -rf /var/lib/private/dockwarden /var/lib/dockwarden
fi
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl reset-failed dockwarden.service 2>/dev/null || true
fi
END
chmod 755 "$root"/DEBIAN/p*

mkdir -p "${target%/*}"
dpkg-deb --root-owner-group -Zgzip --build "$root" "$target" >/dev/null
echo "$target"

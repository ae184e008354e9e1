#!/bin/sh
# Puts dockwarden on a host that has systemd, or takes it away again. As root, from a checkout:
#
#   deploy/install.sh install [WHEELS]   program, unit and settings; once more to upgrade. With WHEELS, a folder that
#                                        `make wheels` filled, nothing is downloaded. PYTHON: which one to use;
#                                        NOTIFY=1: with what notifications need
#   deploy/install.sh uninstall          the program and the unit go; settings, policies and state stay
#   deploy/install.sh purge              those go too
#
# Each version has a folder of its own below /opt/dockwarden, and `current` points to the one in use. An upgrade whose
# program refuses the settings, or does not start, leaves or brings back the version before it.
set -eu
umask 022 # what the unit's user must be able to read, on hosts that are stricter, too
# What would lead pip elsewhere than into the environment that is made here.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX
export PIP_USER=0

home=/opt/dockwarden
settings=/etc/dockwarden/dockwarden.yaml
unit=/usr/local/lib/systemd/system/dockwarden.service
command=/usr/local/bin/dockwarden
manual=/usr/local/share/man/man8/dockwarden.8
completions="bash-completion/completions/dockwarden zsh/site-functions/_dockwarden fish/vendor_completions.d/dockwarden.fish"
source=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
requirements=$source/requirements${NOTIFY:+-notify}.txt

say() { echo "dockwarden: $*" >&2; }
die() { say "$*"; exit 1; }

point_to() { # so that there is never a moment without a program
  ln -sfn "$1" "$home/current.new"
  mv -T "$home/current.new" "$home/current"
}

run_pip() {
  "$made/bin/python" "$made/.pip/pip" install --quiet --disable-pip-version-check "$@" ||
    die "nothing was changed; a host without network takes a folder that \`make wheels\` filled with its version of Python"
}

build() { # a folder with the program, ready to run; pip is the one that comes with Python, and does not stay
  wheel=$("$python" -c '
import ensurepip, glob, sysconfig
places = sysconfig.get_config_var("WHEEL_PKG_DIR"), ensurepip.__path__[0] + "/_bundled"
print(next(wheel for place in places for wheel in glob.glob(f"{place}/pip-*.whl")))') &&
    "$python" -m venv --without-pip "$1" &&
    "$python" -m zipfile -e "$wheel" "$1/.pip" || # from the wheel itself, each call would compile all of it
    die "cannot make an environment; on Debian: apt-get install python3-venv"
  made=$1
  if [ -n "$2" ]; then
    run_pip --no-index --find-links "$2" --require-hashes -r "$requirements"
    run_pip --no-index --find-links "$2" --no-deps dockwarden
  else
    run_pip --require-hashes -r "$requirements"
    run_pip --no-deps "$source"
  fi
  rm -rf "$1/.pip"
  for each in $completions; do
    "$1/bin/dockwarden" completion "${each%%[-/]*}" >"$1/share/dockwarden/completion.${each%%[-/]*}"
  done
  chmod 755 "$1"
}

put_settings() { # those of version $1, unless what is there is not as version $2 brought it
  if [ ! -e "$settings" ] || cmp -s "$settings" "$2/share/dockwarden/dockwarden.yaml"; then
    install -D -m 644 "$1/share/dockwarden/dockwarden.yaml" "$settings"
  elif ! cmp -s "$1/share/dockwarden/dockwarden.yaml" "$2/share/dockwarden/dockwarden.yaml"; then
    say "$settings was edited and stays; all settings with their defaults: $1/share/dockwarden/dockwarden.yaml"
  fi
}

put_unit() { # that of version $1
  install -D -m 644 "$1/share/dockwarden/dockwarden.service" "$unit.new"
  mv "$unit.new" "$unit"
  systemctl daemon-reload
}

put_help() { # that of the version in use
  mkdir -p "${manual%/*}"
  ln -sfn "$home/current/share/man/man8/dockwarden.8" "$manual"
  for each in $completions; do
    mkdir -p "/usr/local/share/${each%/*}"
    ln -sfn "$home/current/share/dockwarden/completion.${each%%[-/]*}" "/usr/local/share/$each"
  done
}

install_it() {
  wheels=${1:-}
  [ -z "$wheels" ] || [ -d "$wheels" ] || die "$wheels is not a folder; make one with: make wheels"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "needs Python 3.11 or newer; set PYTHON"
  case $("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))') in
  /home/* | /root/* | /run/user/*) die "the unit cannot see a Python in a home; set PYTHON to another" ;;
  esac
  [ ! -e /usr/lib/dockwarden ] || die "the Debian package is installed: apt remove dockwarden, which keeps settings and state"
  getent group docker >/dev/null || die "there is no group docker: install the Docker Engine first"
  before=$(readlink -f "$home/current" 2>/dev/null || true)
  install -d -m 755 "$home"
  new=$(mktemp -d "$home/$(date +%Y%m%d-%H%M%S)-XXXX")
  trap 'rm -rf "$new"; rmdir --ignore-fail-on-non-empty "$home"' EXIT
  build "$new" "$wheels"
  if [ -e "$settings" ]; then
    "$new/bin/dockwarden" check --config "$settings" >&2 || die "the new version refuses these; nothing was changed"
  fi
  put_settings "$new" "${before:-/nowhere}"
  point_to "$new"
  trap - EXIT
  put_help
  put_unit "$new"
  verb=try-restart # which leaves alone what somebody stopped
  ! systemctl --quiet is-failed dockwarden.service || verb=restart
  if [ ! -L "$command" ]; then # nobody has come this far yet
    systemctl enable --quiet dockwarden.service
    before='' verb=restart
  fi
  ln -sfn "$home/current/bin/dockwarden" "$command"
  if ! systemctl "$verb" dockwarden.service; then
    [ -n "$before" ] || die "it does not start: journalctl -u dockwarden"
    point_to "$before"
    put_settings "$before" "$new"
    put_unit "$before"
    systemctl restart dockwarden.service || true
    rm -rf "$new"
    die "the new version does not start, the one before is back: journalctl -u dockwarden"
  fi
  for old in "$home"/*-*; do
    [ "$old" = "$new" ] || rm -rf "$old"
  done
  say "$("$command" version | cut -d' ' -f2) is installed; settings: $settings; state: systemctl status dockwarden"
}

uninstall() {
  systemctl disable --quiet --now dockwarden.service 2>/dev/null || true
  rm -rf "$home" "$unit" "$command" "$manual"
  for each in $completions; do rm -f "/usr/local/share/$each"; done
  systemctl daemon-reload
  systemctl reset-failed dockwarden.service 2>/dev/null || true
}

purge() {
  uninstall
  rm -rf /etc/dockwarden /etc/default/dockwarden /etc/systemd/system/dockwarden.service.d
  rm -rf /var/lib/private/dockwarden /var/lib/dockwarden
  systemctl daemon-reload
}

[ "$(id -u)" = 0 ] || die "run it as root"
[ -d /run/systemd/system ] || die "this host does not run systemd; see docs/operations.md for containers"
case ${1:-} in
install) install_it "${2:-}" ;;
uninstall) uninstall && say "uninstalled; settings in /etc/dockwarden and state in /var/lib/dockwarden stay" ;;
purge) purge && say "nothing of dockwarden is left" ;;
*) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

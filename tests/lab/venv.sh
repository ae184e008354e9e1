#!/bin/sh
# Makes .venv: the locked development requirements, checked by hash, and dockwarden itself, editable.
# Does nothing if it was made from the same inputs. Names what the machine lacks, asks on a terminal,
# and installs it with apt; without root or apt it only says what to install.
# In: PYTHON (default python3). Out: .venv/. Out of bounds: anything but .venv and the named packages.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}

install() {
    command="apt-get install -y --no-install-recommends $*"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "venv: cannot install $* here; please run as root: $command" >&2
        exit 1
    fi
    echo "venv: will install the Debian package(s) $*: a Python virtual environment needs them" >&2
    if [ -t 0 ]; then
        printf 'venv: go ahead? [y/N] ' >&2
        read -r answer
        case $answer in [yY]*) ;; *) exit 1 ;; esac
    fi
    (
        flock 9 # the lab may install what it needs at the same time
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive $command >&2
    ) 9>"${TMPDIR:-/tmp}/dockwarden-lab-apt.lock"
}

has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }

has_venv || install python3 python3-venv
has_venv || { echo "venv: $python still cannot make a virtual environment" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "venv: $python is older than 3.11; name a newer one: make venv PYTHON=python3.12" >&2
    exit 1
}

outer=$({ "$python" -VV; pwd; cat requirements-dev.txt; } | sha256sum)
own=$(sha256sum <pyproject.toml)
pip=".venv/bin/python -m pip"
options="-qq --disable-pip-version-check --no-compile --no-deps" # Python compiles what is used

if [ "$(cat .venv/made-from 2>/dev/null)" != "$outer" ]; then
    echo "venv: making .venv from requirements-dev.txt" >&2
    rm -rf .venv
    # With the pip that comes with Python, which is not installed for it: another one is about to be.
    "$python" -m venv --without-pip .venv
    "$python" -m zipfile -e "$("$python" -c 'import ensurepip, glob, sysconfig
places = sysconfig.get_config_var("WHEEL_PKG_DIR"), ensurepip.__path__[0] + "/_bundled"
print(next(wheel for place in places for wheel in glob.glob(f"{place}/pip-*.whl")))')" .venv/pip
    rm -rf .venv/pip/*.dist-info # or it would take itself for installed, and replace itself
    pip=".venv/bin/python .venv/pip/pip"
    # In two halves beside each other: one alone mostly waits for the network, or leaves a core idle.
    awk '/^[^ #]/ { n++ } { print > (".venv/half-" n % 2) }' requirements-dev.txt
    $pip install $options --require-hashes -r .venv/half-0 &
    trap 'kill $! 2>/dev/null; wait; exit 130' INT TERM # what is in the background does not hear of ^C
    $pip install $options --require-hashes -r .venv/half-1 || { wait; exit 1; }
    wait $!
    echo "$outer" >.venv/made-from
fi
if [ "$(cat .venv/installed-from 2>/dev/null)" != "$own" ]; then
    $pip install $options --no-build-isolation --editable .
    rm -rf .venv/pip
    echo "$own" >.venv/installed-from
fi


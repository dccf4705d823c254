# Sourced by the scripts beside it: goes to the root of the tree, keeps the virtual environment
# .venv, and installs usbmon and what its checks need into it. Repeating costs nothing: what is
# installed is remembered by a fingerprint of what it was made of.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH PYTHONHOME
export LC_ALL=C.UTF-8 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

say() { printf '==> %s\n' "$*"; }
die() { printf 'usbmon: %s\n' "$*" >&2; exit 1; }

# debian WHY PACKAGE…: install Debian packages, or say in one line what to install.
debian() {
    local why=$1 log as_root=()
    shift
    command -v apt-get >/dev/null || die "$why: install it (on Debian: $*) and try again"
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || die "$why: run \`sudo apt-get install $*\` and try again"
        as_root=(sudo -n)
    fi
    say "$why: installing $* with apt-get"
    log=$(mktemp)
    if ! "${as_root[@]}" apt-get -q update </dev/null >"$log" 2>&1 ||
        ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -qy --no-install-recommends install "$@" </dev/null >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        die "$why, and apt-get could not install $*"
    fi
    rm -f "$log"
}

# Sets PYTHON to the first Python that is new enough.
find_python() {
    local candidate enough='import sys; sys.exit(sys.version_info < (3, 11))'
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c "$enough" 2>/dev/null; then
            PYTHON=$candidate
            return
        fi
    done
    candidate=${PYTHON:-python3}
    command -v "$candidate" >/dev/null ||
        die "there is no $candidate: install Python 3.11 or newer (on Debian: python3 python3-venv)"
    die "$candidate is older than 3.11: install a newer Python and name it, as in PYTHON=python3.12"
}

# Makes .venv, unless there is one that works.
make_venv() {
    local version
    [ ! -e .venv ] || [ -w .venv ] || die ".venv belongs to another user: remove it and try again"
    [ -w . ] || die "this folder cannot be written to: make a copy of your own and try again"
    .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    find_python
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        debian "$PYTHON cannot make virtual environments" "python$version-venv"
    say "making a virtual environment in .venv (Python $version)"
    rm -rf .venv
    "$PYTHON" -m venv .venv || die "$PYTHON could not make a virtual environment, see above"
}

# What the package is made of and with.
fingerprint() {
    {
        pwd
        .venv/bin/python -VV
        compiler_lacks
        echo "${USBMON_NO_COMPILE-}"
        find pyproject.toml setup.py src -type f ! -name '*.py[co]' ! -name '*.so' \
            ! -path '*.egg-info/*' -print0 | sort -z | xargs -0 sha256sum
    } | sha256sum
}

# The Debian packages that compiling needs and that are not there.
compiler_lacks() {
    .venv/bin/python - <<'END'
import os, pathlib, shutil, sys, sysconfig
compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
if not shutil.which(compiler):
    print("gcc")
if not pathlib.Path("/usr/include/stdio.h").exists():  # a bare gcc comes without
    print("libc6-dev")
if not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists():
    print("python%d.%d-dev" % sys.version_info[:2])
END
}

# Is each module of the installed kernel compiled?
is_compiled() {
    .venv/bin/python -P - <<'END'
import importlib.machinery, importlib.util, pathlib, sys
package = importlib.util.find_spec("usbmon")
kernel = pathlib.Path(package.submodule_search_locations[0], "_kernel")
names = {path.stem for path in kernel.glob("*.py")} - {"__init__", "fields"}
suffixes = importlib.machinery.EXTENSION_SUFFIXES
sys.exit(not all(any((kernel / (n + s)).exists() for s in suffixes) for n in names))
END
}

pip() { .venv/bin/python -m pip --quiet "$@"; }

# Installs usbmon as its users do: no editable install, whose compiled half would grow old.
install() {
    local now reason
    make_venv
    now=$(fingerprint)
    [ "$(cat .venv/usbmon.installed 2>/dev/null)" != "$now" ] || return 0
    say "installing usbmon into .venv (compiling its kernel takes a minute)"
    rm -f .venv/usbmon.installed
    pip install . 2>.venv/install.log || { cat .venv/install.log >&2; die "the install failed, see above"; }
    echo "$now" >.venv/usbmon.installed
    reason=$(compiler_lacks | paste -sd ' ')
    reason=${reason:+"to compile it, install $reason"}
    is_compiled || { : >/dev/tty; } 2>/dev/null || # on a terminal, setup.py has said so
        say "the kernel is interpreted, slower but with the same results: ${reason:-see build/kernel.log}"
}

# install, and all extras, pytest, ruff and the like.
install_dev() {
    local now
    make_venv
    now=$({ .venv/bin/python -VV; sha256sum pyproject.toml; } | sha256sum)
    if [ "$(cat .venv/dev.installed 2>/dev/null)" != "$now" ]; then
        say "installing what tests and checks need into .venv"
        rm -f .venv/usbmon.installed .venv/dev.installed
        { pip install --upgrade 'pip>=25.1' && pip install --group test --group lint '.[all]'; } \
            2>.venv/install.log || { cat .venv/install.log >&2; die "the install failed, see above"; }
        echo "$now" >.venv/dev.installed
        fingerprint >.venv/usbmon.installed
    fi
    install
}

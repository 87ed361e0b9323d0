# Sourced by examples/tour and tests/run from the repository's root: makes .venv and installs this package into it.
# shellcheck shell=sh

VENV=${CASYNC_PY_VENV:-.venv}

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

# run_as_root COMMAND...: directly, or with sudo where that asks for no password; fails where neither is possible
run_as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# apt_install PACKAGE...: true if they are installed afterwards
apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    run_as_root true || return 1
    printf 'Installing with apt-get: %s\n' "$*" >&2
    if [ -z "${APT_UPDATED:-}" ]; then
        run_as_root apt-get -qq update >&2 || return 1
        APT_UPDATED=yes
    fi
    run_as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

# find_python: sets PYTHON to an interpreter that can make virtual environments
find_python() {
    PYTHON=${PYTHON:-python3}
    command -v "$PYTHON" >/dev/null 2>&1 || apt_install python3 python3-venv ||
        die "There is no $PYTHON. Install Python 3.11 or later (Debian's packages: python3 python3-venv) and run this again"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$PYTHON is $("$PYTHON" --version); casync_py needs 3.11 or later (set PYTHON=/path/to/python3.11)"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv ||
        die "$PYTHON cannot make virtual environments. Install Debian's package python3-venv and run this again"
}

# install_package [EXTRA]: this package, not editable, with the extra's dependencies
install_package() {
    find_python
    if [ ! -x "$VENV/bin/pip" ]; then
        "$PYTHON" -m venv "$VENV" || die "Cannot make a virtual environment in $VENV (CASYNC_PY_VENV names another place)"
    fi
    rm -rf build/lib* build/bdist* # setuptools would install modules that no longer exist
    "$VENV/bin/pip" install --quiet --disable-pip-version-check ".${1:+[$1]}" ||
        die "pip could not install the package and its dependencies (is a package index reachable?)"
}

#!/usr/bin/env bash
# The CalDAV clients that the tests run against the calendar service.
#
#   clients=$(.ci/caldav_clients.sh start); eval "$clients"
#           installs them unless they are there, and prints `export LUDUS_TEST_CALDAV_CLIENTS=FOLDER`
#
# They live under build/caldav_clients, in an environment of their own: caldav brings a fork of urllib3 that replaces
# the one that other packages need.
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(vdirsyncer==0.21.0 khal==0.14.1 caldav==3.6.0)
HOME_FOLDER=$PWD/build/caldav_clients
INSTALLED=$HOME_FOLDER/installed             # says which packages the environment has

say() { printf 'CalDAV clients: %s\n' "$*" >&2; }

install_packages() {
    [[ -s $INSTALLED && $(< "$INSTALLED") == "${PACKAGES[*]}" ]] && return 0
    say "installing ${PACKAGES[*]}, the log is build/caldav_clients/install.log"
    rm -rf "$HOME_FOLDER/venv"
    .venv/bin/python -m venv "$HOME_FOLDER/venv"
    local pip=("$HOME_FOLDER/venv/bin/python" -m pip --disable-pip-version-check)
    if ! "${pip[@]}" install --no-compile "${PACKAGES[@]}" > "$HOME_FOLDER/install.log" 2>&1; then
        tail -n 5 "$HOME_FOLDER/install.log" >&2
        return 1
    fi
    echo "${PACKAGES[*]}" > "$INSTALLED"
}

case ${1:-} in
start)
    mkdir -p "$HOME_FOLDER"
    exec 9> "$HOME_FOLDER/lock"
    flock 9  # one installation at a time: the second finds that of the first
    install_packages
    echo "export LUDUS_TEST_CALDAV_CLIENTS=$HOME_FOLDER/venv/bin"
    ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

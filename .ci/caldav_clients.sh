#!/usr/bin/env bash
# The CalDAV clients that the tests run against the calendar service, in an environment of their own: caldav brings a
# fork of urllib3 in place of the one that other packages need.
#
#   clients=$(.ci/caldav_clients.sh start); eval "$clients"
#           installs them into build/caldav_clients unless they are there, and prints
#           `export LUDUS_TEST_CALDAV_CLIENTS=FOLDER`
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(vdirsyncer==0.21.0 khal==0.14.1 caldav==3.6.0)
HOME_FOLDER=$PWD/build/caldav_clients
INSTALLED=$HOME_FOLDER/installed             # says which packages the environment has

[[ ${1:-} == start ]] || { sed -n '2,7p' "$0" >&2; exit 2; }
if [[ ! -s $INSTALLED || $(< "$INSTALLED") != "${PACKAGES[*]}" ]]; then
    printf 'CalDAV clients: installing %s into build/caldav_clients\n' "${PACKAGES[*]}" >&2
    rm -rf "$HOME_FOLDER"
    mkdir -p "$HOME_FOLDER"
    .venv/bin/python -m venv "$HOME_FOLDER/venv"
    if ! "$HOME_FOLDER/venv/bin/python" -m pip --disable-pip-version-check install --no-compile "${PACKAGES[@]}" \
        > "$HOME_FOLDER/install.log" 2>&1; then
        tail -n 5 "$HOME_FOLDER/install.log" >&2
        exit 1
    fi
    echo "${PACKAGES[*]}" > "$INSTALLED"
fi
printf 'export LUDUS_TEST_CALDAV_CLIENTS=%q\n' "$HOME_FOLDER/venv/bin"

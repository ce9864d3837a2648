#!/usr/bin/env bash
# Inspect AI and datasets for the tests of exports, in an environment of their own.
#
#   inspect=$(.ci/inspect.sh start); eval "$inspect"
#           installs them into build/inspect unless they are there, and prints `export LUDUS_TEST_INSPECT=FOLDER`
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(inspect_ai==0.3.285 datasets==5.2.0)
HOME_FOLDER=$PWD/build/inspect
INSTALLED=$HOME_FOLDER/installed             # says which packages the environment has

[[ ${1:-} == start ]] || { sed -n '2,5p' "$0" >&2; exit 2; }
if [[ ! -s $INSTALLED || $(< "$INSTALLED") != "${PACKAGES[*]}" ]]; then
    printf 'inspect: installing %s into build/inspect\n' "${PACKAGES[*]}" >&2
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
printf 'export LUDUS_TEST_INSPECT=%q\n' "$HOME_FOLDER/venv"

#!/usr/bin/env bash
# An interpreter with Ludus and one of the extras of other frameworks.
#
#   surface=$(.ci/surface.sh start openenv); eval "$surface"
#           installs both into build/openenv unless they are there, and prints `export LUDUS_TEST_OPENENV=PROGRAM`
#   surface=$(.ci/surface.sh start trl); eval "$surface"
#           likewise, into build/trl: `export LUDUS_TEST_TRL=PROGRAM`
#   surface=$(.ci/surface.sh start verifiers); eval "$surface"
#           likewise, into build/verifiers: `export LUDUS_TEST_VERIFIERS=PROGRAM`
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-} ${2:-}" in
    "start openenv")   OTHERS=. ;;             # the lines of constraints.txt in whose place it wants others
    "start trl")       OTHERS='^$' ;;
    "start verifiers") OTHERS='^mcp' ;;
    *) sed -n '2,9p' "$0" >&2; exit 2 ;;
esac
NAME=$2
HOME_FOLDER=$PWD/build/$NAME
INSTALLED=$HOME_FOLDER/installed             # the requirements that the environment was made with
LUDUS_INSTALLED=$HOME_FOLDER/ludus           # younger than pyproject.toml, where this clone is in it
PIP=(.venv/bin/python -m pip --python "$HOME_FOLDER/venv/bin/python" --disable-pip-version-check install --no-compile)

# Installs something, which the words after the first say.
install() {
    printf '%s: installing %s into build/%s, the log is install.log there\n' "$NAME" "$1" "$NAME" >&2
    "${PIP[@]}" "${@:2}" >> "$HOME_FOLDER/install.log" 2>&1 && return 0
    tail -n 5 "$HOME_FOLDER/install.log" >&2
    return 1
}

WANTED=$(.venv/bin/python .ci/extra.py dependencies "$NAME" && printf '%s\n' pytest pytest-timeout hypothesis)
if [[ ! -s $INSTALLED || $(< "$INSTALLED") != "$WANTED" ]]; then
    rm -rf "$HOME_FOLDER"
    mkdir -p "$HOME_FOLDER"
    .venv/bin/python -m venv --without-pip "$HOME_FOLDER/venv"
    sed "/$OTHERS/d" constraints.txt > "$HOME_FOLDER/constraints.txt"
    install "its packages" -c "$HOME_FOLDER/constraints.txt" -r /dev/stdin <<< "$WANTED"
    echo "$WANTED" > "$INSTALLED"
fi
if [[ ! $LUDUS_INSTALLED -nt pyproject.toml ]]; then
    install Ludus --no-deps -e .
    touch "$LUDUS_INSTALLED"
fi
printf 'export LUDUS_TEST_%s=%q\n' "${NAME^^}" "$HOME_FOLDER/venv/bin/python"

#!/usr/bin/env bash
# Tests the environments whose tasks are another library's, in an environment of their own under build/foreign: the
# libraries pin what does not go together with what we do. `benchmarks/foreign.py` runs in it, too.
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(reasoning-gym==0.1.25 textarena==0.7.4)
HOME_FOLDER=$PWD/build/foreign
PYTHON=$HOME_FOLDER/venv/bin/python
INSTALLED=$HOME_FOLDER/installed             # says what the environment has

wanted=$(.venv/bin/python .ci/extra.py dependencies && printf '%s\n' "${PACKAGES[@]}" setuptools pytest pytest-timeout hypothesis)
if [[ ! -s $INSTALLED || $(< "$INSTALLED") != "$wanted" ]]; then
    echo "installing ${PACKAGES[*]} into build/foreign, the log is build/foreign/install.log"
    rm -rf "$HOME_FOLDER"
    mkdir -p "$HOME_FOLDER"
    .venv/bin/python -m venv "$HOME_FOLDER/venv"
    grep -v '^tabulate==' constraints.txt > "$HOME_FOLDER/constraints.txt"   # reasoning-gym pins an older one
    pip=("$PYTHON" -m pip --disable-pip-version-check install --no-compile -c "$HOME_FOLDER/constraints.txt")
    if ! { "${pip[@]}" -r /dev/stdin <<< "$wanted" && "${pip[@]}" --no-build-isolation --no-deps -e .; } \
        > "$HOME_FOLDER/install.log" 2>&1; then
        tail -n 5 "$HOME_FOLDER/install.log" >&2
        exit 1
    fi
    echo "$wanted" > "$INSTALLED"
fi
"$PYTHON" -m pytest tests/envs/foreign

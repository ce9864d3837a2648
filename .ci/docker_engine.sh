#!/usr/bin/env bash
# A Docker engine of its own for the tests, with the sandbox's image in it.
#
#   engine=$(.ci/docker_engine.sh start); eval "$engine"
#           installs what is missing, starts the engine unless it runs, makes the image unless it is there, and
#           prints `export DOCKER_HOST=…`
#   .ci/docker_engine.sh stop
#           stops it, and leaves nothing running or mounted
#
# It needs Debian or Ubuntu and root; elsewhere `start` says so, prints nothing, and the tests of the backend `docker`
# skip with the reason. Everything lives under build/docker, but for the sockets, whose paths must be short.
set -euo pipefail
cd "$(dirname "$0")/.."

HOME_FOLDER=$PWD/build/docker
RUN_FILE=$HOME_FOLDER/run                    # names the folder of the engine's sockets
ROOT_TAR=$HOME_FOLDER/rootfs.tar
# What the tests of the backend `docker` import in their guests.
PACKAGES=(numpy)

say() { printf 'docker engine: %s\n' "$*" >&2; }

install_packages() {
    local missing=() program
    declare -A package=([dockerd]=docker.io)
    for program in "${!package[@]}"; do
        command -v "$program" > /dev/null || missing+=("${package[$program]}")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null
}

# A minimal system with Python.
make_root_filesystem() {
    [[ -s $ROOT_TAR ]] && return 0
    local folder=$HOME_FOLDER/rootfs
    say "making a root filesystem (a minute)"
    rm -rf "$folder"
    .ci/debian_root.sh "$folder" python3
    rm -rf "$folder"/var/{cache/apt,lib/apt/lists}/* "$folder"/usr/share/{doc,man,locale,info}
    tar -C "$folder" -cf "$ROOT_TAR.part" .
    mv "$ROOT_TAR.part" "$ROOT_TAR"
    rm -rf "$folder"
}

is_running() {
    [[ -s $RUN_FILE ]] || return 1
    local run
    run=$(< "$RUN_FILE")
    [[ -s $run/pid ]] && [[ $(< "/proc/$(< "$run/pid")/comm") == dockerd ]] 2> /dev/null
}

start_engine() {
    is_running && return 0
    local run
    run=$(mktemp -d /tmp/ludus-engine.XXXXXX)
    echo "$run" > "$RUN_FILE"
    say "starting dockerd at $run/docker.sock, its log is build/docker/dockerd.log"
    # No bridge and no packet filter: its containers have no network, and the machine's rules stay what they are.
    setsid dockerd --host "unix://$run/docker.sock" --data-root "$HOME_FOLDER/data" --exec-root "$run/exec" \
        --pidfile "$run/pid" --bridge=none --iptables=false --ip-forward=false --ip-masq=false \
        > "$HOME_FOLDER/dockerd.log" 2>&1 < /dev/null &
    local attempt
    for attempt in $(seq 300); do
        .venv/bin/python -c "import docker; docker.APIClient(base_url='unix://$run/docker.sock').ping()" 2> /dev/null &&
            return 0
        kill -0 $! 2> /dev/null || break
        sleep 0.1
    done
    tail -n 5 "$HOME_FOLDER/dockerd.log" >&2
    return 1
}

make_image() {
    local label
    label=$(.venv/bin/python -c "
import docker
from ludus.tools.sandbox.engine import PACKAGES_LABEL, image_name
try:
    print(docker.from_env().api.inspect_image(image_name())['Config']['Labels'][PACKAGES_LABEL])
except docker.errors.ImageNotFound:
    print()")
    [[ $label == "$(IFS=,; echo "${PACKAGES[*]}")" ]] && return 0
    make_root_filesystem
    say "making the sandbox's image"
    .venv/bin/python -c "
from pathlib import Path
from ludus.tools.sandbox.build import build_image
build_image('${PACKAGES[*]}'.split(), Path('$ROOT_TAR'))"
}

case ${1:-} in
start)
    if [[ $(id -u) != 0 ]] || ! command -v apt-get > /dev/null; then
        say "not started: this needs root on Debian or Ubuntu"
        exit 0
    fi
    mkdir -p "$HOME_FOLDER"
    install_packages
    start_engine
    export DOCKER_HOST=unix://$(< "$RUN_FILE")/docker.sock
    make_image
    say "ready"
    echo "export DOCKER_HOST=$DOCKER_HOST"
    ;;
stop)
    if is_running; then
        run=$(< "$RUN_FILE")
        say "stopping dockerd"
        kill "$(< "$run/pid")"
        # Its last act; the process itself may stay as a zombie where nobody takes orphans.
        for attempt in $(seq 300); do
            [[ -e $run/pid ]] || break
            sleep 0.1
        done
    fi
    if [[ -s $RUN_FILE ]]; then
        rm -rf "$(< "$RUN_FILE")" "$RUN_FILE"
    fi
    ;;
*)
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

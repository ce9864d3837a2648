#!/usr/bin/env bash
# Other people's programs that the tests run beside ours, each in an environment of its own: what they pin does not go
# together with what we do.
#
#   peer=$(.ci/peers.sh start caldav_clients); eval "$peer"
#           installs them into build/caldav_clients unless they are there, and prints
#           `export LUDUS_TEST_CALDAV_CLIENTS=FOLDER`, the folder of their programs. `research` and `agilerl` also
#           see what is in .venv, Ludus and torch among it, and get only what is missing there
set -euo pipefail
cd "$(dirname "$0")/.."

OURS=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
case "${1:-} ${2:-}" in
    "start caldav_clients") PACKAGES=(vdirsyncer==0.21.0 khal==0.14.1 caldav==3.6.0) ;;
    "start inspect")        PACKAGES=(inspect_ai==0.3.285 datasets==5.2.0) ;;
    "start open_spiel")     PACKAGES=(open_spiel==2.0.2) ;;
    "start langchain")      PACKAGES=(langchain-community==0.4.2) ;;
    "start chat_clients")   PACKAGES=(openai==3.57.0 langchain==1.5.2 langchain-openai==1.7.4 smolagents==1.26.0) ;;
    "start research")       PACKAGES=(torchrl==0.14.1 pygame==2.6.1 moviepy==2.2.1 skyrl-gym==0.4.0)
                            BESIDE=$OURS ;;
    "start agilerl")        PACKAGES=(agilerl==2.58.0 'pettingzoo<1.27') BESIDE=$OURS ;;
    *) sed -n '2,8p' "$0" >&2; exit 2 ;;
esac
NAME=$2
HOME_FOLDER=$PWD/build/$NAME
INSTALLED=$HOME_FOLDER/installed             # says which packages the environment has
WANTED=${PACKAGES[*]}${BESIDE:+ beside $BESIDE}

if [[ ! -s $INSTALLED || $(< "$INSTALLED") != "$WANTED" ]]; then
    printf '%s: installing %s into build/%s\n' "$NAME" "${PACKAGES[*]}" "$NAME" >&2
    rm -rf "$HOME_FOLDER"
    mkdir -p "$HOME_FOLDER"
    .venv/bin/python -m venv "$HOME_FOLDER/venv"
    if [[ -n ${BESIDE:-} ]]; then
        echo "import site; site.addsitedir('$BESIDE')" > "$(echo "$HOME_FOLDER"/venv/lib/python*/site-packages)/beside.pth"
    fi
    if ! "$HOME_FOLDER/venv/bin/python" -m pip --disable-pip-version-check install --no-compile "${PACKAGES[@]}" \
        > "$HOME_FOLDER/install.log" 2>&1; then
        tail -n 5 "$HOME_FOLDER/install.log" >&2
        exit 1
    fi
    echo "$WANTED" > "$INSTALLED"
fi
printf 'export LUDUS_TEST_%s=%q\n' "${NAME^^}" "$HOME_FOLDER/venv/bin"

#!/usr/bin/env bash
# `make train` and `make test` on a machine that has nothing but what the README asks for.
#
#   benchmarks/fresh_machine.sh [COMMAND…]     default: 'make train' 'make test'
#
# Makes a minimal system (Python, git, make, a C compiler) in build/fresh, clones the last commit into it, and runs the
# commands there: in mount and process namespaces of its own, as a container would. A chroot is not enough, since the
# kernel refuses user namespaces to whoever lives in one. pip is set up as it is here. Writes
# benchmarks/results/fresh-machine.log. Needs root on Debian or Ubuntu.
set -euo pipefail
cd "$(dirname "$0")/.."

FOLDER=$PWD/build/fresh
ROOT=$FOLDER/root
LOG=benchmarks/results/fresh-machine.log
PACKAGES=(python3 python3-venv git make gcc libc6-dev ca-certificates)
(($#)) || set -- 'make train' 'make test'

# Whatever pip is told here, by files and by variables, as variables: a line PIP_NAME=value each.
pip_settings() {
    python3 -m pip config list | sed -n "s/^[^=]*\.\([a-z-]*\)='\(.*\)'\$/\1 \2/p" | sort -u -k1,1 |
        while read -r name value; do
            printf 'PIP_%s=%s\n' "$(tr 'a-z-' 'A-Z_' <<< "$name")" "$value"
        done
}

# The files and folders of this machine that those settings name. An index in a folder may point beside itself.
named_paths() { tr ' =' '\n\n' | sed -n 's#^file://\(/.*\)/[^/]*$#\1#p; s#^/..*#&#p' | sort -u; }

rm -rf "$FOLDER"
mkdir -p "$FOLDER"
.ci/debian_root.sh "$ROOT" "${PACKAGES[@]}"
cp /etc/resolv.conf /etc/hosts "$ROOT/etc/"
git clone --quiet --no-hardlinks . "$ROOT/srv/ludus"
mapfile -t settings < <(pip_settings)
mapfile -t paths < <(printf '%s\n' "${settings[@]}" | named_paths)

# Runs a command in the new root, in which pip finds what its settings name.
inside() {
    env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root LANG=C.UTF-8 TERM=dumb "${settings[@]}" \
        $(env | grep -iE '^(http|https|no)_proxy=' || true) unshare --mount --pid --fork --kill-child --propagation private -- bash -euc '
        mount --bind "$1" "$1"
        cd "$1"
        for path in "${@:3}"; do
            [[ -e $path ]] || continue
            mkdir -p ".$(dirname "$path")"
            if [[ -d $path ]]; then mkdir -p ".$path"; else touch ".$path"; fi
            mount --bind -o ro "$path" ".$path"
        done
        mkdir -p .outside
        pivot_root . .outside
        mount -t proc proc /proc
        mount --rbind /.outside/dev /dev
        mount --rbind /.outside/sys /sys
        mount -t tmpfs tmpfs /tmp
        umount --lazy /.outside
        cd /srv/ludus
        exec bash -c "$2"' bash "$ROOT" "$1" "${paths[@]}"
}

{
    printf 'commit      %s\n' "$(git log -1 --format='%h %cs')"
    printf 'machine     %s, %s cores, %s of memory\n' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
        "$(nproc)" "$(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
    printf 'system      %s, Linux %s\n' "$(. "$ROOT/etc/os-release" && echo "$PRETTY_NAME")" "$(uname -r)"
    printf 'packages    %s\n' "minbase, ${PACKAGES[*]}"
    inside 'python3 --version; gcc --version | head -n 1; command -v bwrap curl || echo "neither bwrap nor curl"'
} > "$FOLDER/log"

status=0
for command in "$@"; do
    output=$FOLDER/${command//[ \/]/-}.log
    code=0 begin=$SECONDS
    inside "$command" > "$output" 2>&1 < /dev/null || code=$?
    ((code)) && status=1
    {
        printf '\n$ %s\n' "$command"
        grep -v '^WARNING: Location' "$output" | tail -n 40
        printf 'exit code %d after %d s\n' "$code" $((SECONDS - begin))
    } >> "$FOLDER/log"
done
cp "$FOLDER/log" "$LOG"
cat "$LOG"
exit "$status"

#!/usr/bin/env bash
# Makes a minimal Debian or Ubuntu in a folder: .ci/debian_root.sh FOLDER PACKAGE…
# Of the release, and from the mirror, that apt is set up with on this machine. Needs root, and installs debootstrap.
set -euo pipefail

folder=$1
packages=$(IFS=,; echo "${*:2}")
if ! command -v debootstrap > /dev/null; then
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends debootstrap > /dev/null
fi
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    awk -v release="$release" '$2 == release && $3 == "main" { print $1; exit }')
if ! debootstrap --variant=minbase --include="$packages" "$release" "$folder" "$mirror" > "$folder.log" 2>&1; then
    tail -n 5 "$folder.log" >&2
    exit 1
fi

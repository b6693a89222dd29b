#!/usr/bin/env bash
# Install the real Caffe 1.0 (CPU only) into a Debian bullseye root, the last release that packages it.
#
#   tools/install_caffe.sh [ROOT]      default: ${XDG_CACHE_HOME:-$HOME/.cache}/netbuilder/caffe-bullseye
#
# Needs root, apt-get (Debian, Ubuntu), about 1.5 minutes and 1 GB; debootstrap and apt find the package mirrors
# themselves. Nothing outside ROOT changes, except that debootstrap is installed if it is missing. The script
# leaves a complete install alone; an incomplete one never gets ROOT's name.
# Exit status: 0 installed, 1 failed, 3 not possible on this machine (the reason is printed).
set -euo pipefail

case ${1-} in
    -h | --help)
        sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
        exit 0
        ;;
    -*)
        echo "install_caffe: unknown flag $1 (try --help)" >&2
        exit 1
        ;;
esac

ROOT=${1:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/netbuilder/caffe-bullseye}
SUITE=bullseye
PACKAGES=(caffe python3-caffe libopenblas0-pthread)
LAYER_TYPES=61 # of BVLC Caffe 1.0: a build with more or fewer is something else
STAMP=.netbuilder-caffe

say() { echo "install_caffe: [${SECONDS} s] $*"; }
cannot() {
    echo "install_caffe: cannot install real Caffe here: $*" >&2
    exit 3
}

# In the root: a clean environment, so that a PYTHONPATH, a locale or a TMPDIR of ours does not leak in.
in_root() {
    local root=$1 name
    local -a env=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive)
    for name in http_proxy https_proxy no_proxy OPENBLAS_CORETYPE OPENBLAS_L2_SIZE; do
        [ -z "${!name-}" ] || env+=("$name=${!name}")
    done
    shift
    env -i "${env[@]}" chroot "$root" "$@" < /dev/null
}

caffe_works() {
    in_root "$1" python3 -W ignore -c "
import caffe
found = len(caffe.layer_type_list())
assert found == $LAYER_TYPES, 'this Caffe has %d layer types, not $LAYER_TYPES' % found
print(caffe.__version__)"
}

# A step whose output matters only when it fails.
logged() {
    "$@" >> "$LOG" 2>&1 || {
        echo "install_caffe: failed: $*" >&2
        echo "install_caffe: the end of $LOG:" >&2
        tail -n 25 "$LOG" >&2
        exit 1
    }
}

remove_tree() {
    local mount
    # An interrupted debootstrap leaves /proc and /sys of the root mounted.
    while read -r mount; do
        umount -l "$mount" 2> /dev/null || true
    done < <(awk -v dir="$1/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    rm -rf --one-file-system "$1"
}

[ "$(uname -s)" = Linux ] || cannot "a Debian root needs Linux, this is $(uname -s)"
[ "$(id -u)" = 0 ] || cannot "chroot needs root; run it as root (sudo), or set NETBUILDER_CAFFE to a Python that has pycaffe"
command -v chroot > /dev/null && command -v flock > /dev/null || cannot "chroot or flock is missing"

case $ROOT in /*) ;; *) ROOT=$PWD/$ROOT ;; esac
ROOT=${ROOT%/}
mkdir -p "$(dirname "$ROOT")"
ROOT=$(cd "$(dirname "$ROOT")" && pwd -P)/$(basename "$ROOT")
PARTIAL=$ROOT.partial
LOG=$ROOT.log

exec 9> "$ROOT.lock"
flock -n 9 || {
    say "another install into $ROOT is running; waiting for it"
    flock 9
}

if [ -e "$ROOT/$STAMP" ]; then
    if caffe_works "$ROOT" > /dev/null 2>&1; then
        say "real Caffe is there: $ROOT"
        exit 0
    fi
    say "the install in $ROOT no longer works; installing it again"
    remove_tree "$ROOT"
elif [ -e "$ROOT" ]; then
    # rmdir: an empty folder may be replaced, anything else is not ours to delete.
    rmdir "$ROOT" 2> /dev/null || {
        echo "install_caffe: $ROOT exists and was not made by this script; remove it or name another place" >&2
        exit 1
    }
fi

command -v apt-get > /dev/null || cannot "no apt-get: this is not a Debian-like system"
: > "$LOG"

# The machine's own apt proxy, where it has one, also for what happens in the root.
if [ -z "${http_proxy-}" ] && command -v apt-config > /dev/null; then
    proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    case $proxy in '' | DIRECT) ;; *) export http_proxy=$proxy ;; esac
fi

if ! command -v debootstrap > /dev/null; then
    say "installing debootstrap"
    logged apt-get update
    logged env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends debootstrap debian-archive-keyring
fi

remove_tree "$PARTIAL"
say "making a Debian $SUITE root in $ROOT (log: $LOG)"
# The log's descriptor 9 is the lock: children that outlive us must not hold it.
logged debootstrap --variant=minbase "$SUITE" "$PARTIAL" 9>&-

# No service may start in there, and nobody reads its manuals; unsafe I/O only means less waiting for the disk.
printf '#!/bin/sh\nexit 101\n' > "$PARTIAL/usr/sbin/policy-rc.d"
chmod 755 "$PARTIAL/usr/sbin/policy-rc.d"
cat > "$PARTIAL/etc/dpkg/dpkg.cfg.d/netbuilder" << 'EOF'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/doc/*/copyright
EOF

say "installing ${PACKAGES[*]}"
logged in_root "$PARTIAL" apt-get -o Acquire::Retries=3 install -y --no-install-recommends "${PACKAGES[@]}" 9>&-
logged in_root "$PARTIAL" apt-get clean
rm -rf "$PARTIAL"/var/lib/apt/lists/*

say "trying it"
logged caffe_works "$PARTIAL"
version=$(tail -n 1 "$LOG")
packaged=$(in_root "$PARTIAL" dpkg-query -W -f '${Version}' python3-caffe)
# The stamp is inside before the rename: a root of this name is a whole one.
printf 'Caffe %s (Debian python3-caffe %s)\n' "$version" "$packaged" > "$PARTIAL/$STAMP"
mv -T "$PARTIAL" "$ROOT"
rm -f "$LOG"
say "done: Caffe $version, $LAYER_TYPES layer types, in $ROOT"

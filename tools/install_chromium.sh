#!/usr/bin/env bash
# Install Chromium for the tests of drawn pages, if it is missing, from the packages of Debian.
#
#   tools/install_chromium.sh
#
# Needs root and apt-get. Exit status: 0 there is a Chromium, 1 failed, 3 not possible on this machine (with the reason).
set -euo pipefail

case ${1-} in
    -h | --help)
        sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
        exit 0
        ;;
esac

cannot() {
    echo "install_chromium: cannot install Chromium here: $*" >&2
    exit 3
}

# Ubuntu's package is a stub that starts a snap, so that the command is there and does not work.
chromium_works() {
    local name
    for name in "${NETBUILDER_CHROMIUM:-chromium}" chromium-browser google-chrome; do
        "$name" --version > /dev/null 2>&1 && return 0
    done
    return 1
}

if chromium_works; then
    exit 0
fi
[ "$(id -u)" = 0 ] || cannot "apt-get needs root; run it as root (sudo), or install Chromium yourself"
command -v apt-get > /dev/null || cannot "no apt-get: this is not a Debian-like system"
export DEBIAN_FRONTEND=noninteractive
apt-get update > /dev/null
apt-cache show chromium > /dev/null 2>&1 || cannot "no package chromium"
echo "install_chromium: installing chromium"
apt-get -o Acquire::Retries=3 install -y --no-install-recommends chromium fonts-dejavu-core > /dev/null
chromium_works || cannot "the package chromium gives no browser that starts"

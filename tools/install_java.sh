#!/usr/bin/env bash
# Install Java 17 or newer for Spark, if it is missing, from the packages of Debian or Ubuntu.
#
#   tools/install_java.sh
#
# Needs root and apt-get. Exit status: 0 there is a Java, 1 failed, 3 not possible on this machine (with the reason).
set -euo pipefail

case ${1-} in
    -h | --help)
        sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
        exit 0
        ;;
esac

PACKAGES=(openjdk-17-jre-headless openjdk-21-jre-headless) # the versions that Spark 4 takes, the tested one first

cannot() {
    echo "install_java: cannot install Java here: $*" >&2
    exit 3
}

java_works() {
    local java=${JAVA_HOME:+$JAVA_HOME/bin/}java version
    version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p') || return 1
    [ "${version:-0}" -ge 17 ]
}

if java_works; then
    exit 0
fi
[ "$(id -u)" = 0 ] || cannot "apt-get needs root; run it as root (sudo), or install Java 17 yourself"
command -v apt-get > /dev/null || cannot "no apt-get: this is not a Debian-like system"
export DEBIAN_FRONTEND=noninteractive
apt-get update > /dev/null
for package in "${PACKAGES[@]}"; do
    if apt-cache show "$package" > /dev/null 2>&1; then
        echo "install_java: installing $package"
        apt-get -o Acquire::Retries=3 install -y --no-install-recommends "$package" > /dev/null
        java_works || { echo "install_java: $package does not give Java 17 or newer" >&2; exit 1; }
        exit 0
    fi
done
cannot "no package of ${PACKAGES[*]}"

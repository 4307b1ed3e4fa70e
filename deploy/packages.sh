# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Debian packages: what building and running needs, and how they are installed. Sourced by deploy/try and tests/run.

# shellcheck disable=SC2034 # used by those who source this
build_packages=(gcc libc6-dev make autoconf automake pkg-config libh2o-evloop-dev libssl-dev libpq-dev
    libmsgpack-dev libjansson-dev libyaml-dev libcurl4-openssl-dev libunbound-dev libcmocka-dev)
# shellcheck disable=SC2034
run_packages=(postgresql-15 openssl ca-certificates curl lego)

missing_packages() {
    local installed
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || :)
    local package
    for package in "$@"; do
        grep -qxF "installed $package" <<<"$installed" || printf '%s\n' "$package"
    done
}

apt() {
    local prefix=()
    [[ $(id -u) -eq 0 ]] || prefix=(sudo)
    "${prefix[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Options::=--force-confold "$@"
}

install_packages() {
    apt update
    if [[ " $* " == *" postgresql-15 "* ]]; then
        # The package would create and start a cluster of its own; this environment has a private one.
        apt install --no-install-recommends postgresql-common
        local conf=/etc/postgresql-common/createcluster.conf prefix=()
        [[ $(id -u) -eq 0 ]] || prefix=(sudo)
        "${prefix[@]}" sed -i -E 's/^#? *create_main_cluster *=.*/create_main_cluster = false/' "$conf"
    fi
    apt install --no-install-recommends "$@"
}

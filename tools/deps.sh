#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Installs the Debian packages that building and testing need. Silent and without the network when
# all are there; otherwise it says which are missing and, as root, installs these.
set -u

build="gcc libc6-dev make pkg-config clang llvm bpftool linux-libc-dev libbpf-dev libxdp-dev
	libelf-dev zlib1g-dev libmnl-dev libjson-c-dev libcmocka-dev libclang-rt-dev"
run="iproute2 iputils-ping ethtool procps util-linux curl nginx-light python3 jq tcpdump man-db openssl
	redis-server redis-tools memcached haproxy iperf3 wrk dnsmasq-base unbound bind9-dnsutils
	postgresql postgresql-contrib openssh-server openssh-client"

# Without root the tests that need more than a build are skipped.
[ "$(id -u)" = 0 ] || run=
# shellcheck disable=SC2086 # lists of words
command -v dpkg-query >/dev/null || {
	echo "deps: this is not Debian; install by its names for them:" $build $run
	exit 0
}

missing=
for p in $build $run; do
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] ||
		missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "deps: missing packages; as root:  apt-get install$missing" >&2
	exit 1
fi
echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends $missing; }; then
	echo "deps: apt-get failed; see above" >&2
	exit 1
fi
# The tests run servers of their own; those that the packages start are not wanted.
[ -d /run/systemd/system ] || exit 0
for service in nginx redis-server memcached haproxy iperf3 postgresql ssh; do
	case "$missing " in
	*" $service "* | *" $service-light "* | *" open$service-server "*)
		echo "deps: stopping and disabling the $service service that its package has just started"
		systemctl disable --now "$service"
		;;
	esac
done

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Programs of our own, written for the kernel's sockets (selftests/app), on these and then under
# `tandem run`: both times they must print the same.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          peer.py, kernel's sockets        PROGRAM; tandem run -- PROGRAM

. "$(dirname "$0")/../lib.sh"
setup
# Each program meets as many closed ports as it likes, and hears of all.
in_a sysctl -qw net.ipv4.icmp_ratelimit=0
start_a python3 "$TOP/selftests/app/peer.py" "$IP_A" >"$TMP/peer" 2>&1
wait_for 10 grep -q listening "$TMP/peer" || die "peer.py"
in_b sysctl -qw net.ipv6.conf.lo.disable_ipv6=0 # ::1, for dual.c, udp6.c
programs=$(cd "$TOP/selftests/app" && echo *.c)

on() { # kernel|tandem COMMAND...: each program's output to its own file
	local side=$1 p
	shift
	for p in $programs; do
		p=${p%.c}
		in_b timeout 100 "$@" "$B/selftests/app/$p" $IP_A $IP_B >"$TMP/$side.$p" 2>&1
		echo "exit $?" >>"$TMP/$side.$p"
	done
}
on kernel
attach || die "attach"
on tandem "$TANDEM" run --on "$TD" --
for p in $programs; do
	p=${p%.c}
	check "$p runs on the kernel's sockets" grep -qx 'exit 0' "$TMP/kernel.$p"
	check "$p prints the same on tandem" diff "$TMP/kernel.$p" "$TMP/tandem.$p"
done
check "and tandem it was" [ "$(xdp flow_direct)" -gt 1000 ]
check "datagrams too" \
	[ "$("$TANDEM" stat "$TD" --json | jq .counters.UdpInDatagrams)" -gt 20 ]
check "no flow is left but those in TIME_WAIT" wait_for 20 flows_live 0
check "detach" detach

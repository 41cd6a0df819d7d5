#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# ARP and ICMP echo are answered by the XDP program: the kernel behind it sees neither.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          ping                             tandem, no application

. "$(dirname "$0")/../lib.sh"
setup

# shellcheck disable=SC2016 # awk, not ours
kernel_echos() { in_b awk '/^Icmp: [0-9]/ { print $10 }' /proc/net/snmp; }

for mode in generic native; do
	attach --mode $mode || die "attach --mode $mode"
	in_a ip neigh flush all
	kernel=$(kernel_echos)
	check "$mode: ping is answered" in_a ping -q -c 20 -i 0.01 -W 2 $IP_B
	if status | jq -e '.reply_mode != "none"' >/dev/null; then
		check "$mode: by the XDP program, each one" [ "$(xdp echo_reply)" = 20 ]
		check "$mode: not by the kernel" [ "$(kernel_echos)" = "$kernel" ]
		check "$mode: ARP too" [ "$(xdp arp_reply)" -ge 1 ]
	else
		skip "$mode: replies of the XDP program do not reach the peer here"
	fi
	# What the program leaves alone is answered all the same.
	check "$mode: fragmented echo" in_a ping -q -c 2 -i 0.1 -W 2 -s 4000 $IP_B
	check "$mode: echo with IP options" in_a ping -q -c 2 -i 0.1 -W 2 -R $IP_B
	check "$mode: largest echo in one packet" in_a ping -q -c 2 -i 0.1 -W 2 -M do -s 1472 $IP_B
	check "$mode: to another address, not ours" not in_a ping -q -c 1 -W 0.2 10.77.0.99
	check "$mode: the other direction, by the kernel" in_b ping -q -c 2 -i 0.1 -W 2 $IP_A
	detach || fail "detach"
	check "$mode: the kernel answers again" in_a ping -q -c 1 -W 2 $IP_B
done

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# ARP and ICMP echo are answered by the XDP program, and the kernel behind it sees neither, wherever
# its replies reach the other end; where they do not, they are answered all the same.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          ping                             tandem, no application

. "$(dirname "$0")/../lib.sh"
setup

# shellcheck disable=SC2016 # awk, not ours
kernel_echos() { in_b awk '/^Icmp: [0-9]/ { print $10 }' /proc/net/snmp; }

# MODE, how replies leave in it, what is said of the peer
round() {
	local mode=$1 replies=$2 what=$3 kernel
	attach --mode "$mode" || die "attach --mode $mode"
	check "$what: replies leave by $replies" status_is ".interfaces[].reply_mode == \"$replies\""
	in_a ip neigh flush all
	kernel=$(kernel_echos)
	check "$what: ping is answered" in_a ping -q -c 20 -i 0.01 -W 2 $IP_B
	check "$what: not by the kernel" [ "$(kernel_echos)" = "$kernel" ]
	if [ "$replies" = none ]; then
		check "$what: by the slow path, each one" [ "$(xdp echo_slow)" = 20 ]
	else
		check "$what: by the XDP program, each one" [ "$(xdp echo_reply)" = 20 ]
		check "$what: ARP too" [ "$(xdp arp_reply)" -ge 1 ]
	fi
	# What the program leaves alone is answered as well.
	check "$what: fragmented echo" in_a ping -q -c 2 -i 0.1 -W 2 -s 4000 $IP_B
	check "$what: echo with IP options" in_a ping -q -c 2 -i 0.1 -W 2 -R $IP_B
	check "$what: largest echo in one packet" in_a ping -q -c 2 -i 0.1 -W 2 -M "do" -s 1472 $IP_B
	check "$what: to another address, not ours" not in_a ping -q -c 1 -W 0.2 10.77.0.99
	check "$what: the other direction, by the kernel" in_b ping -q -c 2 -i 0.1 -W 2 $IP_A
	check "$what: detach" detach
	check "$what: the kernel answers again" in_a ping -q -c 1 -W 2 $IP_B
}

round generic tx "generic"
round native none "native"
in_a ethtool -K eth0 gro on # only then the driver of a peer without XDP takes what is sent to it
round native redirect "native, peer with GRO"

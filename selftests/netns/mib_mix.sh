#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Each packet is counted as the kernel counts it, and once: the same good and bad packets are sent to a
# program on the kernel's sockets, and to one on tandem. In the second case tandem counts what it took,
# and the kernel of $NS_B what it was left; both together are what the kernel counted alone.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          ipmix.py far, a packet socket    ipmix.py near; tandem run -- ipmix.py near

. "$(dirname "$0")/../lib.sh"
setup
PY=$TOP/selftests/app/ipmix.py
in_b sysctl -qw net.ipv4.ipfrag_time=1
# It answers what is sent to ports that nobody has there, as often the second time as the first.
in_a sysctl -qw net.ipv4.icmp_echo_ignore_all=1 net.ipv4.icmp_ratelimit=0
echo "ipfrag_time = 1" >"$TMP/conf"
mac() { ip -n "$1" -j link show eth0 | jq -r ".[0].address"; }

kernel_mib() {
	in_b cat /proc/net/snmp /proc/net/netstat | awk '
		$1 == group { for (i = 2; i <= NF; i++) print substr(group, 1, length(group) - 1) name[i], $i; group = ""; next }
		{ group = $1; for (i = 2; i <= NF; i++) name[i] = $i }'
}
tandem_mib() { "$TANDEM" stat "$TD" --json | jq -r '.counters | to_entries[] | "\(.key) \(.value)"'; }
differences() { awk 'NR == FNR { was[$1] = $2; next } { print $1, $2 - was[$1] }' "$1" "$2" | sort; }
mix() { # OUT COMMAND...
	local out=$TMP/$1
	shift
	serve_on "$TMP/near" "$@" python3 "$PY" near $IP_B || exit 1
	near=$PID
	kernel_mib >"$TMP/k0"
	[ $# = 0 ] || tandem_mib >"$TMP/t0"
	in_a timeout 60 python3 "$PY" far eth0 $IP_A "$(mac "$NS_A")" $IP_B "$(mac "$NS_B")" >"$TMP/far" 2>&1 || {
		cat "$TMP/far"
		fail "the packets are sent"
	}
	kernel_mib >"$TMP/k1"
	[ $# = 0 ] || tandem_mib >"$TMP/t1"
	differences "$TMP/k0" "$TMP/k1" >"$out.kernel"
	: >"$out.tandem"
	[ $# = 0 ] || differences "$TMP/t0" "$TMP/t1" >"$out.tandem"
	stop "$near"
}
mix alone
attach --claim all --config "$TMP/conf" || die "attach"
echoes=$(xdp echo_reply)
mix with "$TANDEM" run --on "$TD" --
echoes=$(($(xdp echo_reply) - echoes))
count() { awk -v m="$2" '$1 == m { print $2; n = 1 } END { if (!n) print 0 }' "$TMP/$1"; }
# same COUNTER [MORE]: MORE is what neither stack counts of it when tandem is there
same() {
	local k t r
	k=$(count alone.kernel "$1") t=$(count with.tandem "$1") r=$(count with.kernel "$1")
	check "$1: $k" [ $((t + r + ${2:-0})) = "$k" ] || echo "kernel alone: $k; tandem: $t, and the kernel beside it: $r"
}
check "the packets were bad in many ways" [ "$(count alone.kernel IpInHdrErrors) $(count alone.kernel UdpInErrors)" = "13 10" ]

# What the XDP program answered and dropped is in the counters, too: twelve echo requests, seven with a
# wrong ICMP checksum, two with one in the IP header, six bad IP headers, two datagrams longer than
# their frame, three ICMP headers that are cut short, six bad UDP headers, and nine of TCP.
check "echoes answered by the XDP program" [ "$echoes" = 12 ]
dropped() { check "$1: $2" [ "$(xdp "$1")" = "$2" ] || xdp "$1"; }
dropped drop_icmp_csum 7
dropped drop_ip_csum 2
dropped drop_ip_header 6
dropped drop_ip_cut 2
dropped drop_icmp_cut 3
dropped drop_udp_header 6
dropped drop_tcp_header 4
dropped drop_tcp_cut 5
# What the daemon has put together of fragments (4) the application receives once more.
same IpInReceives -4
same IpInDelivers -4
same IpExtInOctets $((-4 * 3028))
same IpExtInNoECTPkts -4
for m in IpInHdrErrors IpExtInTruncatedPkts IpExtInCsumErrors IpExtInECT1Pkts IpExtInECT0Pkts IpExtInCEPkts \
	IpExtOutOctets IpOutRequests IcmpInMsgs IcmpInEchos IcmpOutMsgs\
	IcmpOutEchoReps IcmpInErrors IcmpInCsumErrors UdpInErrors TcpInSegs IpInAddrErrors IpInUnknownProtos IpReasmReqds IpReasmOKs IpReasmFails IpReasmTimeout IpFragOKs IpFragFails \
	IpFragCreates IpOutDiscards IpOutNoRoutes IcmpInDestUnreachs IcmpOutDestUnreachs UdpInDatagrams UdpNoPorts \
	UdpOutDatagrams UdpRcvbufErrors UdpInCsumErrors TcpActiveOpens TcpPassiveOpens TcpAttemptFails TcpEstabResets \
	TcpInErrs TcpOutRsts TcpInCsumErrors TcpOutSegs TcpExtListenDrops TcpExtListenOverflows; do
	same $m
done
check "detach" detach

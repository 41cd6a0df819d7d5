#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What a connection tells of itself, getsockopt(TCP_INFO) and `tandem ss`, is compared with what the
# kernel at its other end says of it: TCP_INFO there, and ss(8).
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          tcpinfo.py client, kernel        tandem run -- tcpinfo.py server

. "$(dirname "$0")/../lib.sh"
setup
attach || die "attach"
PY=$TOP/selftests/app/tcpinfo.py
mkfifo "$TMP/hold"
serve_on "$TMP/ours" "$TANDEM" run --on "$TD" -- python3 "$PY" server $IP_B 80 <>"$TMP/hold" || exit 1
server=$PID
start_a python3 "$PY" client $IP_B 80 <>"$TMP/hold" >"$TMP/theirs" 2>&1
client=$PID
for f in ours theirs; do
	wait_for 20 grep -q '^{' "$TMP/$f" || { cat "$TMP/$f"; die "$f: no TCP_INFO"; }
done

jq -n --slurpfile o <(grep '^{' "$TMP/ours") --slurpfile t <(grep '^{' "$TMP/theirs") \
	'{o: $o[0], t: $t[0]}' >"$TMP/both"
holds() { # TEXT EXPRESSION: .o: ours, .t: the kernel's at the other end
	if jq -e "$2" "$TMP/both" >/dev/null; then
		pass "$1"
	else
		fail "$1: $2"
		jq -c '.o, .t' "$TMP/both"
	fi
}
holds "established at both ends" '.o.state == 1 and .t.state == 1'
holds "nothing is wrong" '[.o.ca_state, .o.retransmits, .o.probes, .o.backoff] == [0, 0, 0, 0]'
holds "the same options" '(.o.options % 8) == (.t.options % 8)'
holds "window scales crosswise" '.o.snd_wscale == .t.rcv_wscale and .o.rcv_wscale == .t.snd_wscale'
holds "the same segment sizes" '.o.snd_mss == .t.snd_mss and .o.advmss == .t.advmss and .o.pmtu == .t.pmtu'
holds "rcv_mss is at least what the peer's segments have" '.o.rcv_mss >= .t.snd_mss'
holds "bytes that were sent here came there" '.o.bytes_acked == .t.bytes_received and .t.bytes_received == 300001'
# The kernel counts its SYN (and says so nowhere).
holds "bytes that were sent there came here" '.t.bytes_acked - .o.bytes_received | . == 0 or . == 1'
holds "and they are all" '.o.bytes_received == 1000001'
holds "all is acknowledged" '[.o.unacked, .o.sacked, .o.lost, .o.retrans, .o.notsent_bytes] == [0, 0, 0, 0, 0]'
holds "a round trip was measured" '.o.rtt > 0 and .o.rtt < 100000 and .o.rttvar > 0 and .o.rttvar < 200000'
holds "RTO as RFC 6298 and the kernel bound it" '.o.rto >= 200000 and .o.rto < 400000 and (.o.rto - .t.rto | fabs) < 150000'
holds "cwnd is no less than at the beginning" '.o.snd_cwnd >= 10 and .o.snd_ssthresh > 2'
holds "segments went out and came in" '.o.segs_out > 20 and .o.segs_in > 20 and .t.segs_in > 20'
holds "times are in milliseconds and recent" '[.o.last_data_sent, .o.last_data_recv, .o.last_ack_recv] | max < 10000'
holds "the receive window's bound" '.o.rcv_space >= 65535 and .o.rcv_ssthresh >= 65535'

# A listener: accept queue and backlog stand where they do in the kernel's.
stop "$client"
stop "$server"
check "no flow is left but those in TIME_WAIT" wait_for 20 flows_live 0
check "detach" detach

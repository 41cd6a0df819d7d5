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

# ---- tandem ss next to the kernel's, about the same connection ----

port=$(in_a ss -tnH dst $IP_B:80 | awk '{ sub(/.*:/, "", $4); print $4 }')
tss() { "$TANDEM" ss "$TD" "$@"; }
"$TANDEM" ss "$TD" -tinmoep state established src $IP_B:80 dst "$IP_A:$port" >"$TMP/ss" 2>&1
in_a ss -tinmo dst $IP_B:80 >"$TMP/kss"
theirs() { grep -oE "\\b$1:[^ ]+" "$TMP/kss" | cut -d: -f2; }
says() { # TEXT REGEX: tandem ss does
	if grep -qE "$2" "$TMP/ss"; then
		pass "ss: $1"
	else
		fail "ss: $1: $2"
		cat "$TMP/ss" "$TMP/kss"
	fi
}
says "one connection, in columns" "^ESTAB +0 +0 +$IP_B:80 +$IP_A:$port users:\(\(\"python3\",pid=$server\)\)"
check "and no other line of one" [ "$(grep -c ESTAB "$TMP/ss")" = 1 ]
says "its number and owner" ' conn:[0-9]+ gen:[0-9]+ slot:1 dev:eth0'
says "buffers" 'skmem:\(r0,rb[0-9]+,t0,tb[0-9]+,f0,w0,o0,bl0,d0\)'
says "options and congestion control" ' ts sack (reno|cubic|bbr) wscale:'
says "the kernel's window scales crosswise" "wscale:$(theirs wscale | awk -F, '{ print $2 "," $1 }') "
says "the kernel's segment size" " mss:$(theirs mss) "
says "bytes as the kernel counts them" " bytes_acked:$(theirs bytes_received) "
says "rto in ms" ' rto:(2[0-9][0-9]|3[0-9][0-9])(\.[0-9]+)? '
says "rtt in ms" ' rtt:[0-9.]+/[0-9.]+ '
says "cwnd" ' cwnd:[1-9][0-9]+ '
check "by address and port" [ "$(tss -H dst "$IP_A:$port" | wc -l)" = 1 ]
check "by a port that it has not" [ "$(tss -H dst "$IP_A:1" | wc -l)" = 0 ]
check "by another state" [ "$(tss -H state time-wait | wc -l)" = 0 ]
check "listeners only with -l or -a" [ "$(tss -Hl | wc -l) $(tss -H | wc -l) $(tss -Ha | wc -l)" = "1 1 2" ]
check "a listener's queue and backlog" grep -qE "^LISTEN +0 +17 +(\*|$IP_B):80 +\*:\* users:" <(tss -Hlp)
"$TANDEM" ss "$TD" --json >"$TMP/ss.json"
check "JSON has both" jq -e ".listeners[0].send_q == 17 and (.connections | length == 1) and
	.connections[0].pid == $server and .connections[0].info.bytes_received == 1000001" "$TMP/ss.json" >/dev/null
check "JSON is filtered, too" jq -e '.listeners == [] and .connections == []' <(tss --json dst 192.0.2.1) >/dev/null
check "a mistake in a filter is one in the command line" [ "$(tss state nothing 2>/dev/null; echo $?)" = 2 ]

stop "$client"
stop "$server"
# The client went first: its FIN, then ours, so that TIME_WAIT is at its end.
check "no flow is left but those in TIME_WAIT" wait_for 20 flows_live 0
check "detach" detach

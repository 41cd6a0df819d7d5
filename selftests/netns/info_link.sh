#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# TCP_INFO field by field: the same traffic over the same link, once by the kernel's sockets in $NS_B
# and once by tandem, is told of alike. What is told of timing and luck may differ by as much as the
# link makes it; counts must not.
#
#   $NS_A  eth0 10.77.0.1/24 ─── veth ─── ra impair rb ─── veth ─── eth0 10.77.0.2/24  $NS_B
#          tcpinfo_link.py far, kernel                  tcpinfo_link.py near, kernel or tandem

. "$(dirname "$0")/../../tools/impair-lib.sh"
relay_setup
# The kernel's own default is the host's.
ip -n "$NS_B" route change 10.77.0.0/24 dev eth0 proto kernel scope link src $IP_B congctl cubic
ip -n "$NS_A" route change 10.77.0.0/24 dev eth0 proto kernel scope link src $IP_A congctl cubic
PY=$TOP/selftests/app/tcpinfo_link.py

talk() { # OUT WHAT PORT COMMAND...: between one near and one far
	local out=$TMP/$1 what=$2 port=$3
	shift 3
	serve_on "$out" "$@" python3 "$PY" near $IP_B "$port" "$what" || return 1
	near=$PID
	start_a python3 "$PY" far $IP_B "$port" "$what" >"$TMP/far" 2>&1
	wait_for 60 grep -q '^{' "$out" || {
		cat "$out" "$TMP/far"
		fail "$what: no TCP_INFO"
	}
	stop $PID
	stop $near
}
# "GroupName VALUE" lines of the kernel in $NS_B; of tandem, which begins at 0 with each attach
kernel_mib() {
	in_b cat /proc/net/snmp /proc/net/netstat | awk '
		$1 == group { for (i = 2; i <= NF; i++) print substr(group, 1, length(group) - 1) name[i], $i; group = ""; next }
		{ group = $1; for (i = 2; i <= NF; i++) name[i] = $i }'
}
tandem_mib() { "$TANDEM" stat "$TD" --json | jq -r '.counters | to_entries[] | "\(.key) \(.value)"'; }
both() { # WHAT RELAY-OPTIONS...: the same link twice
	local what=$1 stack
	shift
	for stack in k t; do
		relay --seed 7 "$@" || die "the relay starts"
		if [ $stack = k ]; then
			kernel_mib >"$TMP/before"
			talk k "$what" 9000
			kernel_mib | awk 'NR == FNR { was[$1] = $2; next } { print $1, $2 - was[$1] }' "$TMP/before" - >"$TMP/mib.k"
		else
			attach >/dev/null || die "attach"
			talk t "$what" 9001 "$TANDEM" run --on "$TD" --
			tandem_mib >"$TMP/mib.t"
			detach >/dev/null || die "detach"
		fi
		relay_end
	done
	jq -n --arg what "$what" --slurpfile k <(grep '^{' "$TMP/k") --slurpfile t <(grep '^{' "$TMP/t") \
		'{k: $k[0], t: $t[0]}' >"$TMP/both"
}
holds() { # TEXT EXPRESSION: .t: tandem's, .k: the kernel's
	if jq -e "def near(f; \$by): (.k | f) as \$a | (.t | f) as \$b | (\$a - \$b | fabs) <= \$by * ([\$a, \$b] | max);
		def both(f): (.k | f) and (.t | f); $2" "$TMP/both" >/dev/null; then
		pass "$1"
	else
		fail "$1: $2"
		jq -c '.k, .t' "$TMP/both"
	fi
}

both talk --delay 10
holds "talk: every field that counts is the same" '[.k, .t] |
	map([.state, .ca_state, .retransmits, .probes, .backoff, .options, .snd_mss, .advmss, .pmtu, .unacked,
	.sacked, .lost, .retrans, .fackets, .last_ack_sent, .total_retrans, .bytes_received, .notsent_bytes,
	.data_segs_in, .data_segs_out, .delivered, .delivered_ce, .bytes_sent, .bytes_retrans, .dsack_dups,
	.reord_seen, .rcv_ooopack, .snd_ssthresh, .reordering, .rehash, .total_rto, .total_rto_recoveries,
	.total_rto_time, .rwnd_limited, .sndbuf_limited]) | .[0] == .[1]'
holds "talk: round trips" 'near(.min_rtt; .1) and near(.rtt; .2) and near(.rto; .2)'
holds "talk: busy while an answer is under way" 'near(.busy_time; .2)'
holds "talk: times since" '([.k, .t] | map(.last_data_sent, .last_data_recv) | min > 900 and max < 2500) and
	near(.last_ack_recv; .3)'
holds "talk: segments" 'near(.segs_in; .1) and near(.segs_out; .1)'
holds "talk: cwnd is not used up" 'near(.snd_cwnd; .5)'
holds "talk: windows" 'both(.snd_wnd > 0 and .rcv_wnd > 0) and near(.snd_wnd; .3)'

both bulk --delay 10 --loss 1 --reorder 2 --reorder-by 5
holds "bulk: bytes" '[.k, .t] | map([.bytes_received, .bytes_sent - .bytes_retrans]) | .[0] == .[1]'
holds "bulk: what was sent again is a few percent" 'both(.bytes_retrans > 0 and .bytes_retrans < .bytes_sent * .1 and
	(.bytes_retrans / .snd_mss | floor) <= .total_retrans)'
holds "bulk: delivered is what was sent, and what was sent for nothing" 'both(
	(.data_segs_out - .total_retrans + .dsack_dups + 1 - .delivered | fabs) <= 2)'
holds "bulk: segments with text" 'near(.data_segs_out; .1) and near(.data_segs_in; .1)'
holds "bulk: out of order" 'both(.rcv_ooopack > 10) and (.t | .reord_seen > 0)'
holds "bulk: the least round trip" 'near(.min_rtt; .1) and both(.min_rtt >= 19000)'
holds "bulk: the receiver sees the round trip, too" 'both(.rcv_rtt >= 10000 and .rcv_rtt < 100000)'
holds "bulk: a program that reads all gets room" 'both(.rcv_space >= 14000)'
holds "bulk: busy, and not for the peer's or the program's sake" 'both(.busy_time > 100000 and
	.rwnd_limited < .busy_time / 2 and .sndbuf_limited < .busy_time / 2)'

# The link loses other segments of each, so the counters of loss are of one order, and those of traffic close.
counted() { awk -v m="$2" '$1 == m { print $2; n = 1 } END { if (!n) print 0 }' "$TMP/mib.$1"; }
close() { # COUNTER PERCENT [SLACK]: that far apart at most, and SLACK more
	local k t slack=${3:-0}
	k=$(counted k "$1") t=$(counted t "$1")
	check "bulk: $1: $t where the kernel has $k" [ $((100 * k)) -le $(((100 + $2) * (t + slack))) -a \
		$((100 * t)) -le $(((100 + $2) * (k + slack))) ]
}
close TcpPassiveOpens 0
close TcpExtTCPOrigDataSent 5
close TcpInSegs 60 # GRO is off, but each decides when to acknowledge
close TcpOutSegs 60
close TcpRetransSegs 300 4
close TcpExtTCPFastRetrans 300 4
close TcpExtTCPSackRecovery 300 4
close TcpExtTCPOFOQueue 300 4
close TcpExtPAWSEstab 300 4
for m in TcpInErrs TcpInCsumErrors TcpAttemptFails TcpEstabResets TcpExtTCPAbortOnTimeout \
	TcpExtTCPSACKReneging TcpExtTCPRenoRecovery TcpExtTCPAbortOnMemory TcpExtPruneCalled TcpExtTCPRcvQDrop; do
	check "bulk: $m: 0" [ "$(counted k $m) $(counted t $m)" = "0 0" ] || echo "kernel: $(counted k $m), tandem: $(counted t $m)"
done


both window --delay 5
holds "window: limited by the peer for a second" 'near(.rwnd_limited; .3) and both(.rwnd_limited > 500000)'
holds "window: that is part of the time with something to send" 'both(.rwnd_limited <= .busy_time)'
holds "window: not by the buffer" 'both(.sndbuf_limited < 300000)'

both buffer --delay 10
# The kernel looks whether the program waits only when it has just sent, which is before it does.
holds "buffer: limited by it" '.t.sndbuf_limited > .t.busy_time * .5'
holds "buffer: not by the peer" 'both(.rwnd_limited < .busy_time * .1)'

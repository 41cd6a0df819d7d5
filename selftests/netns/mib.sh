#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The counters of `tandem stat` mean what the kernel's mean: the same workload, once on the kernel's
# sockets and once on tandem, counts the same. And in the OpenMetrics format a parser reads them.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          tcpload.py far, kernel           tcpload.py near; tandem run -- tcpload.py near

. "$(dirname "$0")/../lib.sh"
setup
PY=$TOP/selftests/app/tcpload.py

# "GroupName VALUE" lines of the kernel in $NS_B, of tandem
kernel_mib() {
	in_b cat /proc/net/snmp /proc/net/netstat | awk '
		$1 == group { for (i = 2; i <= NF; i++) print substr(group, 1, length(group) - 1) name[i], $i; group = ""; next }
		{ group = $1; for (i = 2; i <= NF; i++) name[i] = $i }'
}
tandem_mib() { "$TANDEM" stat "$TD" --json | jq -r '.counters | to_entries[] | "\(.key) \(.value)"'; }

workload() { # MIB-COMMAND OUTFILE COMMAND...
	local mib=$1 out=$2 near far
	shift 2
	"$mib" >"$TMP/before"
	rm -f "$TMP/in.near" "$TMP/in.far"
	mkfifo "$TMP/in.near" "$TMP/in.far"
	start_b "$@" python3 "$PY" near $IP_B 80 $IP_A 7000 7001 <>"$TMP/in.near" >"$TMP/near" 2>&1
	near=$PID
	wait_for 10 grep -q listening "$TMP/near" # a refused connect() would be counted
	start_a python3 "$PY" far $IP_B 80 $IP_A 7000 <>"$TMP/in.far" >"$TMP/far" 2>&1
	far=$PID
	if ! wait_for 30 grep -q held "$TMP/near"; then
		fail "$out: the workload"
		cat "$TMP/near" "$TMP/far"
	fi
	"$mib" | awk '$1 == "TcpCurrEstab" { print "held", $2 }' >"$TMP/held"
	echo >"$TMP/in.far"
	wait_for 30 grep -q done "$TMP/near" || fail "$out: its end"
	# What is counted behind the program's back: the last ACK.
	wait_for 10 settled "$mib" "$out"
	stop "$near"
	stop "$far"
}
settled() { # differences since before; true when all connections have ended
	"$1" >"$TMP/after"
	{
		cat "$TMP/held"
		awk 'NR == FNR { was[$1] = $2; next } { print $1, $2 - was[$1] }' "$TMP/before" "$TMP/after"
	} | sort >"$TMP/$2"
	grep -qx 'TcpCurrEstab 0' "$TMP/$2"
}
workload kernel_mib kernel
attach || die "attach"
workload tandem_mib tandem "$TANDEM" run --on "$TD" --

for m in held TcpActiveOpens TcpPassiveOpens TcpAttemptFails TcpEstabResets TcpCurrEstab TcpOutRsts \
	TcpRetransSegs TcpInErrs TcpInCsumErrors TcpExtTCPAbortOnClose TcpExtTCPAbortOnData \
	TcpExtTCPAbortOnTimeout TcpExtTCPAbortOnMemory TcpExtTCPAbortOnLinger TcpExtTCPTimeouts \
	TcpExtTCPLossProbes TcpExtTCPSynRetrans TcpExtTCPKeepAlive TcpExtTCPOrigDataSent \
	TcpExtListenOverflows TcpExtListenDrops TcpExtSyncookiesSent TcpExtTCPFastRetrans \
	TcpExtTCPSackRecovery TcpExtTCPOFOQueue TcpExtTCPDSACKOldSent TcpExtTCPDSACKRecv \
	TcpExtTCPToZeroWindowAdv TcpExtTCPFromZeroWindowAdv TcpExtTCPChallengeACK TcpExtPAWSEstab \
	TcpExtPAWSOldAck TcpExtEmbryonicRsts TcpExtTCPDSACKRecvSegs TcpExtTCPOFOMerge TcpExtTCPSackFailures \
	TcpExtTCPRenoFailures TcpExtTCPLossFailures TcpExtTCPSackRecoveryFail TcpExtTCPRenoRecoveryFail \
	TcpExtTCPZeroWindowDrop TcpExtTCPACKSkippedSeq; do
	k=$(grep "^$m " "$TMP/kernel") t=$(grep "^$m " "$TMP/tandem")
	check "$m: ${k#* }" [ -n "$k" -a "$k" = "$t" ] || echo "kernel: $k, tandem: $t"
done
# How many ACKs go with it is each stack's own choice; no datagram is lost on either.
for m in TcpInSegs TcpOutSegs; do
	k=$(awk -v m=$m '$1 == m { print $2 }' "$TMP/kernel") t=$(awk -v m=$m '$1 == m { print $2 }' "$TMP/tandem")
	check "$m: $t where the kernel has $k" [ "$t" -ge $((k * 8 / 10)) -a "$t" -le $((k * 12 / 10)) ]
done
check "each counter with the kernel's name is one of the kernel's" [ -z "$(comm -23 \
	<(cut -d' ' -f1 "$TMP/tandem" | grep -v '^Td' | sort) <(cut -d' ' -f1 "$TMP/kernel" | sort))" ] ||
	comm -23 <(cut -d' ' -f1 "$TMP/tandem" | grep -v '^Td' | sort) <(cut -d' ' -f1 "$TMP/kernel" | sort)

"$TANDEM" stat "$TD" --openmetrics >"$TMP/metrics"
python3 "$TOP/selftests/app/openmetrics.py" <"$TMP/metrics" >"$TMP/families" 2>"$TMP/parse"
check "OpenMetrics text can be parsed" [ $? = 0 ] || cat "$TMP/parse"
n=$(tandem_mib | wc -l)
check "with a family for each of $n counters" [ "$(grep -c "^tandem_netstat_" "$TMP/families")" = "$n" ] || cat "$TMP/families"
check "and its value" grep -qx "tandem_netstat_Tcp_ActiveOpens_total{attachment=\"$TD\"} 7" "$TMP/metrics"
check "packets by reason" grep -qE "^tandem_xdp_packets_total\{attachment=\"$TD\",reason=\"flow_direct\"\} [1-9]" "$TMP/metrics"
check "no flow is left but those in TIME_WAIT" wait_for 20 flows_live 0
check "detach" detach

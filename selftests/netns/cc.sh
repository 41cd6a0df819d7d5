#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Congestion control and ECN with the kernel as the peer: each algorithm sends over a link that
# loses, by the daemon's default and by setsockopt(); marks of the link are told back, both ways,
# for connections that either side opens. Every byte is compared.
# SEED: of what the links do, to repeat a run; SECONDS_EACH: how long is sent over each (1).
#
#   $NS_A  eth0 10.77.0.1/24 ─── veth ─── ra impair rb ─── veth ─── eth0 10.77.0.2/24  $NS_B
#          kernel: goodput                                          tandem: goodput

. "$(dirname "$0")/../../tools/impair-lib.sh"
: "${SEED:=$RANDOM}" "${SECONDS_EACH:=1}"
echo "# SEED=$SEED"
relay_setup

port=9000
# transfer SENDER LISTENER [B-OPTIONS...]: SENDER and LISTENER are a (kernel) or b (tandem).
transfer() {
	local sender=$1 listener=$2 side p rc=0 pids=()
	shift 2
	port=$((port + 1))
	for side in "$listener" "$([ "$listener" = a ] && echo b || echo a)"; do
		local ns=$NS_B opts=("$@") what=recv how=(--to)
		[ "$side" = b ] || { ns=$NS_A opts=(--kernel); }
		[ "$side" != "$sender" ] || what=send
		[ "$side" != "$listener" ] || how=(--listen)
		[ "$listener" = b ] && how+=("$IP_B") || how+=("$IP_A")
		start_in "$ns" timeout 60 "$B/tools/goodput" $what "${how[@]}" --port $port \
			--seconds "$SECONDS_EACH" "${opts[@]}" >"$TMP/$side" 2>&1
		pids+=("$PID")
		[ "$side" != "$listener" ] || wait_for 10 grep -q ready "$TMP/$side" || rc=1
	done
	for p in "${pids[@]}"; do wait "$p" || rc=1; done
	[ $rc = 0 ] || cat "$TMP/a" "$TMP/b"
	[ "$(bytes a)" -gt 0 ] && [ "$(bytes a)" = "$(bytes b)" ] || rc=1
	echo "# ${*:-} $sender sends, $listener listens: $(jq -R 'fromjson? | .mbit_s' "$TMP/$sender" | head -1) Mbit/s"
	return $rc
}
bytes() { jq -R 'fromjson? | .bytes' "$TMP/$1" | grep . || echo 0; }

restart() { # LINES OF CONFIGURATION
	detach >/dev/null 2>&1
	printf '%s\n' "$@" >"$TMP/conf"
	attach --config "$TMP/conf" || die "attach"
}
link() { relay --seed "$SEED" --rate 100 --queue 512 --delay 5 "$@" || die "the relay starts"; }
mib() { "$TANDEM" stat "$TD" --json | jq ".counters.$1"; }
kernel_mib() { in_a cat /proc/net/netstat | awk -v n="$1" '
	$1 == "IpExt:" { if (!h) { for (i = 2; i <= NF; i++) if ($i == n) h = i } else print $h }'; }
grown() { [ "$2" -gt "$1" ]; } # BEFORE AFTER

for cc in reno cubic bbr dctcp; do
	restart "congestion_control = $cc"
	link --loss 1
	check "$cc by default: tandem sends, the kernel receives" transfer b a
	check "$cc by default: accepted by tandem" transfer b b
	relay_end
done

restart "congestion_control = reno"
link --loss 1
check "setsockopt(TCP_CONGESTION): bbr" transfer b a --cc bbr
check "setsockopt(TCP_CONGESTION): dctcp of a listener" transfer b b --cc dctcp
check "an unknown name is refused" not transfer b a --cc nonesuch
relay_end

# Marked are packets of both directions, so each end's data and, of DCTCP, ACKs.
ecn() { # WHAT SENDER LISTENER [B-OPTIONS...]
	local what=$1 sender=$2 k0 t0 e0
	shift
	link --ce 2
	k0=$(kernel_mib InCEPkts) t0=$(mib IpExtInCEPkts) e0=$(mib TcpExtTCPDeliveredCE)
	check "$what" transfer "$@"
	relay_end
	check "$what: $(relayed marked) packets marked" [ "$(relayed marked)" -gt 0 ]
	if [ "$sender" = b ]; then
		check "$what: the kernel has seen marks" grown "$k0" "$(kernel_mib InCEPkts)"
		check "$what: tandem was told" grown "$e0" "$(mib TcpExtTCPDeliveredCE)"
	else
		check "$what: tandem has seen marks" grown "$t0" "$(mib IpExtInCEPkts)"
	fi
}
no_ecn() { # WHAT SENDER LISTENER
	local what=$1
	shift
	link --ce 20
	check "$what" transfer "$@"
	relay_end
	check "$what: nothing is ECN-capable" [ "$(relayed marked)" = 0 ]
}

in_a sysctl -qw net.ipv4.tcp_ecn=1
restart "tcp_ecn = 2"
ecn "ECN that the kernel asks for, tandem sends" b b
ecn "ECN that the kernel asks for, tandem receives" a b
no_ecn "tcp_ecn = 2 does not ask" b a
in_a sysctl -qw net.ipv4.tcp_ecn=2
restart "tcp_ecn = 1"
ecn "ECN that tandem asks for, tandem sends" b a
ecn "ECN that tandem asks for, tandem receives" a a
no_ecn "the kernel does not ask" b b
in_a sysctl -qw net.ipv4.tcp_ecn=1
restart "tcp_ecn = 0"
no_ecn "tcp_ecn = 0 does not agree" b b
restart "tcp_ecn = 1" "tcp_syncookies = 2"
ecn "ECN through a SYN cookie" b b
restart "congestion_control = bbr" "tcp_ecn = 1"
ecn "bbr with ECN" b a
restart "congestion_control = dctcp" "tcp_ecn = 0"
ecn "dctcp agrees whatever tcp_ecn says" b b
relay --seed "$SEED" --rate 50 --queue 512 --delay 1 --mark 16 || die "the relay starts"
check "dctcp over a link with a short queue" transfer b b
relay_end
check "dctcp: $(relayed marked) packets marked, none lost" \
	[ "$(relayed marked)" -gt 0 -a "$(relayed queue_full)" = 0 ]
check "detach" detach

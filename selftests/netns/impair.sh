#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Bad links: every byte arrives and is the right one, and each connection ends in order, whatever the
# link does. Four connections at once over each link: tandem and the kernel each accept and connect,
# send and receive.
# SEED: of what the links do, to repeat a run; SECONDS_EACH: how long is sent over each (1).
#
#   $NS_A  eth0 10.77.0.1/24 ─── veth ─── ra impair rb ─── veth ─── eth0 10.77.0.2/24  $NS_B
#          kernel: goodput                                          tandem: goodput

. "$(dirname "$0")/../../tools/impair-lib.sh"
: "${SEED:=$RANDOM}" "${SECONDS_EACH:=1}"
echo "# SEED=$SEED"
relay_setup

goodput() { # OUT NS LISTEN-OR-TO ADDR PORT send|recv [--kernel]
	start_in "$2" timeout 60 "$B/tools/goodput" "$6" "--$3" "$4" --port "$5" \
		--seconds "$SECONDS_EACH" "${@:7}" >"$TMP/$1" 2>&1
	transfers+=("$PID")
}
# The same connections, by who listens there and what tandem does.
transfer_all() {
	local i p rc=0 transfers=()
	goodput l1 "$NS_B" listen $IP_B 9001 send
	goodput l2 "$NS_B" listen $IP_B 9002 recv
	goodput l3 "$NS_A" listen $IP_A 9003 recv --kernel
	goodput l4 "$NS_A" listen $IP_A 9004 send --kernel
	for i in 1 2 3 4; do
		wait_for 10 grep -q ready "$TMP/l$i" || rc=1
	done
	goodput t1 "$NS_A" to $IP_B 9001 recv --kernel
	goodput t2 "$NS_A" to $IP_B 9002 send --kernel
	goodput t3 "$NS_B" to $IP_A 9003 send
	goodput t4 "$NS_B" to $IP_A 9004 recv
	for p in "${transfers[@]}"; do
		wait "$p" || rc=1
	done
	for i in 1 2 3 4; do
		[ "$(bytes "l$i")" -gt 0 ] && [ "$(bytes "l$i")" = "$(bytes "t$i")" ] || rc=1
		cat "$TMP/l$i" "$TMP/t$i"
	done
	return $rc
}
bytes() { jq -R 'fromjson? | .bytes' "$TMP/$1" | grep . || echo 0; }
rate() { jq -R 'fromjson? | .mbit_s' "$TMP/$1" | grep . || echo 0; }

link() { # WHAT COUNTER OPTIONS...
	local what=$1 counter=$2
	shift 2
	relay --seed "$SEED" "$@" || die "the relay starts"
	check "$what: all bytes, both ways" transfer_all
	relay_end
	# A link that did nothing bad would prove nothing.
	check "$what: $(relayed "$counter") frames $counter" [ "$(relayed "$counter")" -gt 0 ]
	check "$what: the relay kept up" [ "$(relayed overrun)" = 0 ]
	echo "# Mbit/s: tandem sends $(rate t1) and $(rate l3), receives $(rate l2) and $(rate t4)"
}

attach || die "attach"
fast=(--rate 200 --queue 512)
link "1 ms" forwarded "${fast[@]}" --delay 0.5
link "loss" lost "${fast[@]}" --delay 2 --loss 2
link "loss in bursts" lost "${fast[@]}" --delay 2 --loss 1 --burst 4
link "reordering" reordered "${fast[@]}" --delay 2 --jitter 1 --reorder 3 --reorder-by 4
link "duplication" duplicated "${fast[@]}" --delay 2 --dup 10
link "bit errors" corrupted "${fast[@]}" --delay 2 --corrupt 2
link "long and jittery" forwarded --rate 100 --queue 4096 --delay 40 --jitter 20
link "narrow, a short queue" queue_full --rate 20 --queue 24 --delay 5
link "all of it" lost --rate 50 --queue 128 --delay 5 --jitter 3 --loss 1 --burst 2 \
	--reorder 2 --reorder-by 8 --dup 2 --corrupt 1

relay || die "the relay starts"
check "no flow is left but those in TIME_WAIT" wait_for 10 flows_live 0
check "no connection is left in the daemon" \
	wait_for 10 status_is ".slow_path | .connections == 0 and .orphans == 0"
check "no frame is lost" wait_for 15 status_is \
	'.frames | .bad == 0 and .tx == 0 and .pool + .fill + .owned == .total'
check "detach" detach

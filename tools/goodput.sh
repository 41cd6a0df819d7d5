#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# make goodput: what one connection carries over bad links, tandem's share of what the kernel gets out of
# the same link with the same congestion control. Medians of ROUNDS rounds as a table and as JSON in
# build/goodput.json. It fails where bytes are wrong or a connection does not end, not for a ratio.
#
#   $NS_A  eth0 10.77.0.1/24 ─── veth ─── ra impair rb ─── veth ─── eth0 10.77.0.2/24  $NS_B
#          kernel                                                   kernel, then tandem
#
# Set-ups: kernel (both ends), send (tandem sends to the kernel), recv (the kernel sends to tandem).
# The link loses frames of both directions at random, has a rate of RATE_MBIT and a queue of what fits into
# a round trip (64 KB at least). Counted is what the receiver got in the first SECONDS_EACH.
#
# Data meets the same losses in each set-up, as far as it is sent alike; rounds differ in them, and by
# much where little gets through. So there are two ratios: of the medians, and the median of the rounds'.
#
# ROUNDS (3), SECONDS_EACH (5), CCS ("reno cubic"), LOSSES ("0 0.1 1 5", %), RTTS ("1 20 100", ms),
# RATE_MBIT (100), SEED (1), DRAIN (300): seconds that a sender may take for what it still holds.
# LINK (none): what the link does besides, as "--reorder 2 --reorder-by 5" (tools/impair --help).

. "$(dirname "$0")/impair-lib.sh"
: "${ROUNDS:=3}" "${SECONDS_EACH:=5}" "${CCS:=reno cubic}" "${LOSSES:=0 0.1 1 5}" "${RTTS:=1 20 100}"
: "${RATE_MBIT:=100}" "${SEED:=1}" "${DRAIN:=300}" "${LINK:=}"
relay_setup
RAW=$TMP/raw
: >"$RAW"

link() { # LOSS RTT ROUND
	local queue
	queue=$(awk "BEGIN { q = $RATE_MBIT / 8 * $2; printf \"%d\", q < 64 ? 64 : q }")
	relay --rate "$RATE_MBIT" --queue "$queue" --loss "$1" --delay "$(awk "BEGIN { print $2 / 2 }")" \
		--seed $((SEED + $3)) $LINK # several words
}

# B accepts, so that nothing but who sends differs.
transfer() { # B-SENDS-OR-RECEIVES A-DOES B-OPTIONS...
	local b rc
	start_b timeout $((SECONDS_EACH + DRAIN)) "$B/tools/goodput" "$1" --listen $IP_B --port "$port" \
		--seconds "$SECONDS_EACH" "${@:3}" >"$TMP/b" 2>&1
	b=$PID
	wait_for 10 grep -q ready "$TMP/b" &&
		in_a timeout $((SECONDS_EACH + DRAIN)) "$B/tools/goodput" "$2" --to $IP_B --port "$port" \
			--seconds "$SECONDS_EACH" --kernel >"$TMP/a" 2>&1
	rc=$?
	[ $rc = 0 ] || stop "$b"
	wait "$b" && [ $rc = 0 ]
}

one() { # SETUP LOSS RTT ROUND
	local from=a
	RELAY_ENDS=(rb ra)
	[ "$1" != recv ] || RELAY_ENDS=(ra rb)
	link "$2" "$3" "$4" || die "the relay starts"
	port=$((port + 1))
	case $1 in
	kernel) transfer send recv --kernel ;;
	send) transfer send recv ;;
	recv) from=b && transfer recv send ;;
	esac || {
		fail "$cc, $2 % loss, $3 ms, $1: $(cat "$TMP/a" "$TMP/b")"
		return
	}
	relay_end
	jq -Rc --arg setup "$1" --arg cc "$cc" --argjson loss "$2" --argjson rtt "$3" --argjson round "$4" \
		--argjson relay "$(grep '^{' "$TMP/relay")" \
		'fromjson? | {cc: $cc, loss: $loss, rtt_ms: $rtt, setup: $setup, round: $round, mbit_s, bytes, took_s, relay: $relay}' \
		"$TMP/$from" | tee -a "$RAW" |
		jq -r '"  \(.cc), \(.loss) % loss, \(.rtt_ms) ms, \(.setup): \(.mbit_s) Mbit/s, all there after \(.took_s) s"'
	[ "$(jq -s 'map(.forth.overrun + .back.overrun) | add' <(grep '^{' "$TMP/relay"))" = 0 ] ||
		echo "  (the relay did not keep up: this value is too low)"
}

cells() { # ROUND SETUP...
	local loss rtt setup
	for loss in $LOSSES; do
		for rtt in $RTTS; do
			for setup in "${@:2}"; do
				one "$setup" "$loss" "$rtt" "$1"
			done
		done
	done
}

kernel_cc() { # NAMESPACE ADDRESS: by the route, as a namespace may not choose all of them by sysctl
	ip -n "$1" route change 10.77.0.0/24 dev eth0 proto kernel scope link src "$2" congctl "$cc"
}

summary() {
	jq -s --argjson rate "$RATE_MBIT" --argjson rounds "$ROUNDS" --argjson seconds "$SECONDS_EACH" '
		def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
			else (.[length / 2 - 1] + .[length / 2]) / 2 end;
		def of($s): map(select(.setup == $s) | .mbit_s) | median;
		def ratio($k): if . == null or $k == null or $k == 0 then null else . / $k * 1000 | round / 1000 end;
		def paired($s): group_by(.round) | map(select(any(.[]; .setup == $s) and any(.[]; .setup == "kernel"))
			| of("kernel") as $k | of($s) | ratio($k) | values) | median;
		{rate_mbit: $rate, rounds: $rounds, seconds: $seconds, results: (group_by([.cc, .loss, .rtt_ms])
			| map(of("kernel") as $k | {cc: .[0].cc, loss: .[0].loss, rtt_ms: .[0].rtt_ms, kernel: $k,
				send: of("send"), recv: of("recv"),
				ratio_send: (of("send") | ratio($k)), ratio_recv: (of("recv") | ratio($k)),
				paired_send: paired("send"), paired_recv: paired("recv")})), raw: .}' "$RAW"
}

table() {
	printf '  %-6s %7s %7s %14s %24s %24s\n' cc "loss %" "RTT ms" "kernel Mbit/s" "tandem sends" "tandem receives"
	jq -r 'def r: . * 1000 | round / 1000; .results[] | [.cc, .loss, .rtt_ms, (.kernel | r),
		"\(.send | r) (\(.ratio_send), \(.paired_send | r) x)",
		"\(.recv | r) (\(.ratio_recv), \(.paired_recv | r) x)"] | @tsv' "$B/goodput.json" |
		awk -F'\t' '{ printf "  %-6s %7s %7s %14s %24s %24s\n", $1, $2, $3, $4, $5, $6 }'
}

port=9000
for ((r = 1; r <= ROUNDS; r++)); do
	for cc in $CCS; do
		echo "round $r of $ROUNDS, $cc"
		relay || die "the relay starts"
		kernel_cc "$NS_A" $IP_A && kernel_cc "$NS_B" $IP_B || die "the kernel has no $cc"
		cells "$r" kernel
		echo "congestion_control = $cc" >"$TMP/conf"
		attach --config "$TMP/conf" || die "attach"
		cells "$r" send recv
		detach >/dev/null || die "detach"
	done
done
summary >"$B/goodput.json"
echo
echo "Goodput of one connection over $RATE_MBIT Mbit/s, medians of $ROUNDS rounds of $SECONDS_EACH s; x: of the kernel's, by the medians and by the rounds"
table
echo "  all values: $B/goodput.json"
check "every byte of each connection was the right one, and each has ended in order" [ $n_failed = 0 ]

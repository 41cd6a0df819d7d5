#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# make bench: the same program (tools/bench_app.c) on the kernel's sockets and on tandem, over the
# same veth pair, in turns. Medians of ROUNDS rounds and their ratio to the kernel's, as a table
# and as JSON in build/bench.json.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          client                           server
#
# Set-ups: kernel (nothing attached), server (tandem serves, the kernel is the client), both.
# The kernel is measured with nothing attached, as an XDP program would cost it something.
# Server and client have a CPU each, so that the scheduler's choice does not decide: with both on one
# CPU a wake-up costs a fraction of one across. That case has a test of its own, rr1-onecpu.
# ROUNDS (5), SECONDS_EACH (3), IDLE ("10000 100000"): connections for the memory part; "" for none.
# ROUNDS=0 (make bench-memory): the memory part alone.

. "$(dirname "$0")/../selftests/lib.sh"
: "${ROUNDS:=5}" "${SECONDS_EACH:=3}" "${IDLE=10000 100000}"
setup
RAW=$TMP/raw
APP=$B/tools/bench_app
SERVER_CPU=0 OTHER_CPU=$(($(nproc) > 1))
CLIENT_CPU=$OTHER_CPU

# One measurement; its line of JSON, with where it belongs, goes to $RAW.
measure() { # SETUP TEST [--kernel|--busy-poll N] MODE [OPTIONS]
	local setup=$1 test=$2 stack=() line
	shift 2
	while [[ $1 == --* ]]; do
		stack+=("$1")
		if [ "$1" = --busy-poll ]; then
			stack+=("$2")
			shift
		fi
		shift
	done
	line=$(in_a taskset -c $CLIENT_CPU timeout $((SECONDS_EACH + 30)) "$APP" "$@" --addr $IP_B --port $port \
		--seconds "$SECONDS_EACH" "${stack[@]}" 2>"$TMP/err") || {
		fail "$setup $test: exit status $?, $(head -n 1 "$TMP/err")"
		return
	}
	jq -c --arg setup "$setup" --arg test "$test" '. + {setup: $setup, test: $test}' <<<"$line" >>"$RAW"
	jq -r --arg what "$setup $test" '"  \($what): " +
		if .rate then "\(.rate)/s, p50 \(.p50_us) us, p99 \(.p99_us) us" else "\(.mbit_s) Mbit/s" end' <<<"$line"
}

# All tests against the server that runs; $2...: options of the client's stack.
tests() { # SETUP SPIN CLIENT-OPTIONS...
	local setup=$1 spin=$2
	shift 2
	if [ "$spin" = sleep ]; then
		measure "$setup" rr1-sleep "$@" rr
		measure "$setup" udp1-sleep "$@" udp
		return
	fi
	measure "$setup" rr1 "$@" rr
	CLIENT_CPU=$SERVER_CPU
	measure "$setup" rr1-onecpu "$@" rr
	CLIENT_CPU=$OTHER_CPU
	measure "$setup" rr64 "$@" rr --conns 64
	measure "$setup" udp1 "$@" udp
	measure "$setup" udp64 "$@" udp --conns 64
	measure "$setup" crr "$@" crr
	measure "$setup" to-server "$@" send
	measure "$setup" from-server "$@" recv
}

server() { # OPTIONS...
	serve_on "$TMP/server" taskset -c $SERVER_CPU "$APP" server --port $port "$@" || exit 1
}

# In $NS_A as $TD-a, for the client, when both ends are tandem's.
attach_a() { "$TANDEM" attach eth0 --netns "$NS_A" --name "$TD-a" >"$TMP/attach-a" 2>&1; }

round() {
	local busy port=9000
	server --kernel
	tests kernel spin --kernel
	stop "$PID"
	attach || exit 1
	port=9001
	for busy in spin sleep; do
		if [ $busy = spin ]; then server; else server --busy-poll 0; fi
		tests server $busy --kernel
		stop "$PID"
	done
	attach_a || { cat "$TMP/attach-a"; die "attach in $NS_A"; }
	port=9002 # where no connection of another client is still in TIME_WAIT
	server
	tests both spin
	stop "$PID"
	server --busy-poll 0
	tests both sleep --busy-poll 0
	stop "$PID"
	"$TANDEM" detach "$TD-a" >/dev/null || die "detach"
	detach >/dev/null || die "detach"
}

# ---- memory of idle connections ----

# shellcheck disable=SC2016 # for jq
IDLE_TEXT='\(.test): \(.user) bytes of user space for each (arenas \(.arenas), daemon \(.daemon), '
IDLE_TEXT+='application \(.application)), \(.flow_entry) of the flow table: \(1e9 / .total | floor) in 1 GB; '
IDLE_TEXT+='\(.cpu_percent) % CPU of daemon and application'

idle() { # COUNT
	local count=$1 left=$1 each ports daemon app before clients=() p log cpu port=9000
	ports=$((count / 30000 + 1))
	attach || exit 1
	server --ports $ports
	app=$PID
	daemon=$(status | jq .pid)
	before=$(memory_of "$daemon" "$app")
	mkfifo "$TMP/idle.$count" # never at its end, so the clients hold until they are stopped
	# A process may open 20,000 files here, so several hold them.
	while [ "$left" -gt 0 ]; do
		each=$((left < 15000 ? left : 15000))
		log=$TMP/idle.$count.$left
		start_a "$APP" idle --kernel --addr $IP_B --conns $each --ports $ports \
			<>"$TMP/idle.$count" >"$log" 2>&1
		clients+=("$PID")
		wait_for 120 grep -q . "$log"
		if ! grep -q '^ready' "$log"; then
			fail "$count idle connections: $(cat "$log")"
			break
		fi
		left=$((left - each))
	done
	if [ "$left" = 0 ] && wait_for 30 flows_are "$count"; then
		cpu=$(($(cpu_us "$daemon") + $(cpu_us "$app")))
		sleep 3
		cpu=$(($(cpu_us "$daemon") + $(cpu_us "$app") - cpu))
		memory_of "$daemon" "$app" | jq -c --argjson n "$count" --argjson was "$before" --argjson cpu $cpu '
			def each(f): (f - ($was | f)) / $n | round;
			{setup: "idle", test: "idle-\($n)", connections: $n, cpu_percent: ($cpu / 300 | round / 100),
			 arenas: each(.arenas), daemon: each(.daemon), application: each(.application),
			 flow_entry: (if .flows > $was.flows then each(.flows) else .flow_entry | round end)}
			| .user = .arenas + .daemon + .application | .total = .user + .flow_entry' |
			tee -a "$RAW" | jq -r "\"  $IDLE_TEXT\""
	fi
	for p in "${clients[@]}"; do stop "$p"; done
	stop "$app"
	detach >/dev/null || die "detach"
}

# The kernel's own: what the slabs of both ends take, half of it for each. The server may open
# 20,000 files here.
KERNEL_IDLE=15000
slab_bytes() { awk '/^Slab:/ { print $2 * 1024 }' /proc/meminfo; }
kernel_idle() {
	local app before each log=$TMP/idle.kernel port=9000
	server --kernel
	app=$PID
	before=$(slab_bytes)
	mkfifo "$TMP/idle.fifo"
	start_a "$APP" idle --kernel --addr $IP_B --conns $KERNEL_IDLE <>"$TMP/idle.fifo" >"$log" 2>&1
	wait_for 120 grep -q . "$log"
	each=$((($(slab_bytes) - before) / 2 / KERNEL_IDLE))
	if grep -q '^ready' "$log"; then
		jq -nc "{setup: \"idle-kernel\", test: \"idle-kernel\", connections: $KERNEL_IDLE, total: $each}" >>"$RAW"
	else
		fail "$KERNEL_IDLE idle connections of the kernel's: $(cat "$log")"
	fi
	stop "$PID"
	stop "$app"
}

summary() {
	jq -s '
		def median: sort | if length % 2 == 1 then .[length / 2 | floor]
			else (.[length / 2 - 1] + .[length / 2]) / 2 end;
		def key: if .rate then (if (.test | test("^(rr|udp)1(-|$)")) then "p50_us" else "rate" end)
			elif .mbit_s then "mbit_s" else "total" end;
		. as $raw
		| (map(select(.setup | IN("idle", "idle-kernel", "xdp") | not)) | group_by([.setup, .test]) | map(
			(.[0] | key) as $k | {setup: .[0].setup, test: .[0].test, unit: $k,
				rounds: length, median: (map(.[$k]) | median * 10 | round / 10),
				min: (map(.[$k]) | min), max: (map(.[$k]) | max)})) as $m
		| {results: ($m | map(. as $r | . + {ratio_to_kernel:
			(first($m[] | select(.setup == "kernel" and .test == ($r.test | sub("-sleep$"; ""))) | .median) as $kernel
			 | $r.median / $kernel * 1000 | round / 1000)})),
		   idle: (map(select(.setup == "idle")) | sort_by(.connections)
			| if length > 1 then . + [.[0] as $a | .[-1] as $b
				| def further(f): (($b | f) * $b.connections - ($a | f) * $a.connections)
					/ ($b.connections - $a.connections) | round;
				{test: "each-further", arenas: further(.arenas), daemon: further(.daemon),
				 application: further(.application), user: further(.user), total: further(.total)}]
			  else . end),
		   idle_kernel: (first(.[] | select(.setup == "idle-kernel")) // null), xdp: map(select(.setup == "xdp")), raw: $raw}' "$RAW"
}

table() {
	jq -r '
		.results as $all | $all | group_by(.test)[] | . as $rows
		| [.[0].test, .[0].unit] + [("kernel", "server", "both") as $s
			| first(($rows[], ($all[] | select(.test + "-sleep" == $rows[0].test)))
				| select(.setup == $s)) // null
			| if . == null then "-" elif .setup == "kernel" then "\(.median)"
			  else "\(.median) (\(.ratio_to_kernel) x)" end]
		| @tsv' "$B/bench.json" | awk -F'\t' '
		BEGIN { printf "  %-12s %-8s %14s %24s %24s\n", "test", "unit", "kernel", "tandem server", "tandem both ends" }
		{ printf "  %-12s %-8s %14s %24s %24s\n", $1, $2, $3, $4, $5 }'
}

for ((r = 1; r <= ROUNDS; r++)); do
	echo "round $r of $ROUNDS"
	round
done
if [ -n "$IDLE" ]; then
	echo "$KERNEL_IDLE idle connections of the kernel's"
	kernel_idle
fi
for n in $IDLE; do
	echo "$n idle connections"
	idle "$n"
done
if [ "$ROUNDS" -gt 0 ] && [ -x "$B/selftests/bpf/bench_xdp" ]; then
	echo "the XDP program"
	"$B/selftests/bpf/bench_xdp" | tee "$TMP/xdp" | sed 's/^/  /'
	jq -Rc '{setup: "xdp", test: "xdp", text: .}' "$TMP/xdp" >>"$RAW"
fi
summary >"$B/bench.json"
echo
if [ "$ROUNDS" -gt 0 ]; then
	echo "Medians of $ROUNDS rounds of $SECONDS_EACH s (rr1, udp1: median latency of one request; smaller is better)"
	table
fi
jq -r ".idle[] | select(.setup) | \"  $IDLE_TEXT\"" "$B/bench.json"
jq -r '.idle[] | select(.test == "each-further") | "  each further connection: \(.user) bytes of user space (arenas \(.arenas), daemon \(.daemon), application \(.application)), \(.total) in all: \(1e9 / .total | floor) in 1 GB"' "$B/bench.json"
jq -r '.idle_kernel | select(.) | "  the kernel'"'"'s: \(.total) bytes of slab memory for each: \(1e9 / .total | floor) in 1 GB"' "$B/bench.json"
echo "  all values: $B/bench.json"

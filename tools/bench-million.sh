#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# make bench-million: CONNS idle connections (1,000,000) to one server on tandem, and what each takes: of the
# daemon, of the application, of what they share, of the XDP program's flow table. The clients are frames that
# tools/crowd builds, from a second network behind $NS_A: sockets of the kernel would take more memory than
# what is measured. In the end SAMPLE of them (1,000) must still echo. A table, and JSON in build/million.json.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          tools/crowd, as 10.96.0.1 …      bench_app on libtandem
#
# SECONDS_MAX (300) bounds the time for opening them, MEMORY_MAX (16000) the daemon's and application's memory, in MB.

. "$(dirname "$0")/../selftests/lib.sh"
: "${CONNS:=1000000}" "${SAMPLE:=1000}" "${SECONDS_MAX:=300}" "${MEMORY_MAX:=16000}"
setup
APP=$B/tools/bench_app
PORT=9000 PORTS=8

room=$((CONNS + CONNS / 8 + 4096))
cat >"$TMP/million.conf" <<-END
	max_flows = $room
	max_connections = $room
END
ip -n "$NS_B" route add 10.96.0.0/11 via $IP_A
attach --config "$TMP/million.conf" || exit 1
daemon=$(status | jq .pid)
serve_on "$TMP/server" "$APP" server --port $PORT --ports $PORTS || exit 1
app=$PID
mac=$(ip -n "$NS_B" -j link show eth0 | jq -r '.[0].address')
in_b ping -q -c 1 -W 1 $IP_A >/dev/null # the next hop is known

memory_of "$daemon" "$app" >"$TMP/before"
start_a "$B/tools/crowd" --if eth0 --mac "$mac" --to $IP_B:$PORT --ports $PORTS --from 10.96.0.1 \
	--conns "$CONNS" --sample "$SAMPLE" --seconds "$SECONDS_MAX" >"$TMP/crowd" 2>&1
crowd=$PID
looks=0
mb() { memory_of "$daemon" "$app" | jq '(.daemon + .application + .arenas + .flows) / 1e6 | floor'; }
opened() {
	grep -q '^{"open"' "$TMP/crowd" && return
	if ! alive "$crowd"; then return; fi
	[ $((++looks % 100)) != 0 ] || [ "$(mb)" -le "$MEMORY_MAX" ] || {
		fail "more than $MEMORY_MAX MB"
		stop "$crowd"
	}
	return 1
}
wait_for $((SECONDS_MAX + 30)) opened
cat "$TMP/crowd" "$TMP/server" | grep -v ready
all_open() { grep -q "^{\"open\":$CONNS," "$TMP/crowd"; }
check "$CONNS connections are open" all_open
in_table() { status_is ".slow_path.records == $CONNS"; }
check "… and in the daemon's records" wait_for 30 in_table

# What was needed to open them goes back within some seconds.
last='' since=$(now_ms)
at_rest() {
	local now
	now=$(memory_of "$daemon" "$app")
	if [ "$now" != "$last" ]; then
		last=$now since=$(now_ms)
	fi
	[ $(($(now_ms) - since)) -gt 3000 ]
}
wait_for 60 at_rest
cpu=$(($(cpu_us "$daemon") + $(cpu_us "$app")))
sleep 3
cpu=$(($(cpu_us "$daemon") + $(cpu_us "$app") - cpu))
kill -USR1 "$crowd"
echoed() { grep -q '^{"echoes"' "$TMP/crowd"; }
wait_for 30 echoed
check "a sample of $SAMPLE echoes" grep -qx "{\"echoes\":$SAMPLE,\"of\":$SAMPLE}" "$TMP/crowd"

jq -n --argjson n "$CONNS" --argjson cpu $cpu --argjson now "$last" --slurpfile was "$TMP/before" \
	--slurpfile crowd "$TMP/crowd" '
	def each(f): (($now | f) - ($was[0] | f)) / $n | round;
	{connections: $n, seconds: $crowd[0].seconds, sent_again: $crowd[0].sent_again,
	 arenas: each(.arenas), daemon: each(.daemon), application: each(.application),
	 flow_entry: (if $now.flows > $was[0].flows then each(.flows) else $now.flow_entry | round end),
	 echoes: ($crowd[1].echoes // 0), cpu_percent: ($cpu / 300 | round / 100)}
	| .user = .arenas + .daemon + .application | .total = .user + .flow_entry' >"$B/million.json"
jq -r '"  \(.connections) connections, opened in \(.seconds) s: \(.user) bytes of user space for each (arenas \(.arenas), " +
	"daemon \(.daemon), application \(.application)), \(.flow_entry) of the flow table; " +
	"\(.cpu_percent) % CPU of daemon and application at rest"' "$B/million.json"
stop "$crowd"
stop "$app"
check "detach" detach

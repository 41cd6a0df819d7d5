#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What an idle connection takes of user space, daemon, application and what they share together: each further
# one 512 bytes at most (make bench-memory measures it at 100,000), also when the server is behind for a while, and
# connections and what they have sent wait in the daemon.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel's sockets                 bench_app on libtandem

. "$(dirname "$0")/../lib.sh"
STEP=10000 BEHIND=4000
setup
# Who shakes hands: the daemon, where connections wait while the server is behind, or the application.
echo "listen_in_app = 0" >"$TMP/daemon.conf"
attach --config "$TMP/daemon.conf" || die "attach"
daemon=$(status | jq .pid)
daemon_arena() {
	local f
	for f in "/proc/$daemon/fd/"*; do
		if [[ $(readlink "$f") == *tandem-arena* ]]; then stat -L -c %i "$f"; fi
	done | sort -u
}
arena=$(daemon_arena)
check "the daemon has one arena before there is a program" [ "$(wc -w <<<"$arena")" = 1 ]
daemon_arena_bytes() {
	local f
	f=$(find -L "/proc/$daemon/fd" -inum "$arena" -print -quit)
	stat -L -c '%b' "$f" | awk '{ print $1 * 512 }'
}
serve_on "$TMP/server" "$B/tools/bench_app" server --port 9000 || exit 1
app=$PID
mkfifo "$TMP/hold" # never at its end, so the clients hold until they are stopped
more() { # N connections more
	start_a "$B/tools/bench_app" idle --kernel --addr $IP_B --port 9000 --conns "$1" \
		<>"$TMP/hold" >"$TMP/idle" 2>&1
	wait_for 120 grep -q . "$TMP/idle"
	cat "$TMP/idle"
	grep -q "^ready $1" "$TMP/idle"
}
used() { memory_of "$daemon" "$app" | jq '.daemon + .arenas + .application'; }
# Buffers that many connections needed at one time go back when they have not been needed for a second or two.
last=0 since=0
at_rest() {
	local now
	now=$(used)
	if [ "$now" != "$last" ]; then
		last=$now since=$(now_ms)
	fi
	[ $(($(now_ms) - since)) -gt 3000 ]
}

n=0
settled() { # N connections more, until nothing changes any more
	n=$((n + $1))
	check "… are in the flow table" wait_for 30 flows_are $n
	check "… and at rest" wait_for 60 at_rest
}
# BEHIND connections while the server is stopped; its backlog is 4096.
behind() {
	local waiting resting
	kill -STOP "$app"
	check "$BEHIND more while the server is stopped" more $BEHIND
	check "… wait in the daemon" wait_for 10 status_is '.slow_path.chunks >= 2500'
	waiting=$(daemon_arena_bytes)
	kill -CONT "$app"
	settled $BEHIND
	resting=$(daemon_arena_bytes)
	echo "# the daemon's arena: $waiting bytes while they waited, $resting at rest"
	check "the daemon had memory for them and keeps none" \
		[ "$waiting" -gt 10000000 -a "$resting" -lt 1000000 ]
}

check "$STEP connections" more $STEP
settled $STEP
behind
before=$last
check "$STEP more" more $STEP
settled $STEP
behind
each=$(((last - before) / (STEP + BEHIND)))
echo "# $each bytes for each of them"
check "each takes 512 bytes at most" [ $each -le 512 ]
check "detach" detach

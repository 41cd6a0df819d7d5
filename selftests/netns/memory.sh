#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What an idle connection takes of user space, daemon, application and what they share together: each further
# one 512 bytes at most (make bench-memory measures it at 100,000).
# The daemon's own arena is left out: a connection that was handed over has nothing there. What many that waited for
# a busy server at one time have touched of it stays (its memory is sealed), bounded by the backlogs.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel's sockets                 bench_app on libtandem

. "$(dirname "$0")/../lib.sh"
STEP=10000
setup
attach || die "attach"
daemon=$(status | jq .pid)
daemon_arena() {
	local f
	for f in "/proc/$daemon/fd/"*; do
		if [[ $(readlink "$f") == /memfd:*arena* ]]; then stat -L -c %i "$f"; fi
	done | sort -u
}
arena=$(daemon_arena)
check "the daemon has one arena before there is a program" [ "$(wc -w <<<"$arena")" = 1 ]
serve_on "$TMP/server" "$B/tools/bench_app" server --port 9000 || exit 1
app=$PID
mkfifo "$TMP/hold" # never at its end, so the clients hold until they are stopped
more() { # STEP connections more
	start_a "$B/tools/bench_app" idle --kernel --addr $IP_B --port 9000 --conns $STEP \
		<>"$TMP/hold" >"$TMP/idle" 2>&1
	wait_for 120 grep -q . "$TMP/idle"
	cat "$TMP/idle"
	grep -q "^ready $STEP" "$TMP/idle"
}
used() { memory_of "$daemon" "$app" "$arena" | jq '.daemon + .arenas + .application'; }
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

check "$STEP connections" more
check "… are in the flow table" wait_for 30 flows_are $STEP
check "… and at rest" wait_for 60 at_rest
before=$last
check "$STEP more" more
check "… are in the flow table" wait_for 30 flows_are $((2 * STEP))
check "… and at rest" wait_for 60 at_rest
each=$(((last - before) / STEP))
echo "# $each bytes for each of them"
check "each takes 512 bytes at most, the daemon's arena apart" [ $each -le 512 ]
check "detach" detach

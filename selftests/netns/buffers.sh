#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Memory of many connections that have data. Buffers are taken as data come, in the application, in the daemon
# while it waits there, for sending as for receiving, and the memory goes back to the system when the data were
# read or acknowledged. With a small tcp_mem: windows shrink, memory stays bounded, new connections are
# turned away, and of those that were accepted every byte arrives in the end. tools/hoard compares.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel's sockets                 hoard on libtandem

. "$(dirname "$0")/../lib.sh"
setup
PORT=9000
# What is left of many buffers: those that are kept for the next one, rings, TCBs.
REST=4000000

arenas() {
	local f
	for f in "/proc/$daemon/fd/"*; do
		if [[ $(readlink "$f") == *tandem-arena* ]]; then stat -L -c %i "$f"; fi
	done | sort -u
}
arena_bytes() { # INODE: what is allocated of it
	find -L "/proc/$daemon/fd" -inum "$1" -exec stat -L -c %b {} + -quit | awk 'NR == 1 { print $1 * 512 }'
}
arena_at_least() { [ "$(arena_bytes "$1")" -ge "$2" ]; }
arena_at_most() { [ "$(arena_bytes "$1")" -le "$2" ]; }
attached() { # OPTIONS
	attach "$@" || die "attach"
	daemon=$(status | jq .pid)
	own=$(arenas)
}
hold() { # CONNECTIONS BYTES: on tandem, each time on a port of its own
	PORT=$((PORT + 1))
	serve_on "$TMP/hold" "$B/tools/hoard" hold --port $PORT --conns "$1" --bytes "$2" || exit 1
	app=$PID
	theirs=$(arenas | grep -vx "$own")
}
fill() { # CONNECTIONS BYTES: by the kernel
	start_a "$B/tools/hoard" fill --kernel --addr $IP_B --port $PORT --conns "$1" --bytes "$2" >"$TMP/fill" 2>&1
	filler=$PID
}
filled() { wait_for 60 grep -qx sent "$TMP/fill"; }
opened() { wait_for 60 grep -qx open "$TMP/fill"; }
read_all() { # CONNECTIONS BYTES
	kill -USR1 "$app"
	wait_for 60 grep -q '^{' "$TMP/hold"
	tail -n 5 "$TMP/hold" "$TMP/fill"
	tail -n 1 "$TMP/hold" | jq -e ".connections == $1 and .bytes == $1 * $2 and .wrong == 0" >/dev/null
}
done_with() { # PID...
	local p
	for p in "$@"; do stop "$p"; done
	wait_for 30 flows_live 0
}
mib() { "$TANDEM" stat "$TD" --json | jq ".counters.TcpExt$1 // 0"; }

# ---- given back ----

echo "listen_in_app = 0" >"$TMP/daemon.conf" # where connections wait for the application
attached --config "$TMP/daemon.conf"
N=3000 EACH=20000
hold $N $EACH
empty=$(arena_bytes "$theirs")
private=$(private "$app")
fill $N $EACH
check "$N connections send $EACH bytes each" filled
check "what nobody reads is in the application's buffers" wait_for 30 arena_at_least "$theirs" $((N * EACH))
echo "# $(arena_bytes "$theirs") bytes in the application's arena, $empty before"
check "all is read, and right" read_all $N $EACH
check "… and the memory is given back, while the connections live" wait_for 30 arena_at_most "$theirs" $((empty + N * 640 + REST))
echo "# $(arena_bytes "$theirs") bytes are left"
check "… of the process's own little was needed" [ "$(private "$app")" -le $((private + N * 400 + REST)) ]
done_with "$filler" "$app"

EACH=8000
hold $N $EACH
before=$(arena_bytes "$own")
kill -STOP "$app"
fill $N $EACH
check "$N connections send $EACH bytes each to a server that is stopped" filled
check "what it could not take is in the daemon's buffers" wait_for 30 arena_at_least "$own" $((before + N / 2 * EACH))
echo "# $(arena_bytes "$own") bytes in the daemon's arena, $before before"
kill -CONT "$app"
check "it goes on, and all is right" read_all $N $EACH
check "… and the daemon has given the memory back" wait_for 30 arena_at_most "$own" $REST
check "… and the application" wait_for 30 arena_at_most "$theirs" $((N * 640 + REST))
echo "# $(arena_bytes "$own") bytes are left in the daemon's arena, $(arena_bytes "$theirs") in the application's"
done_with "$filler" "$app"

# The other direction: the kernel's sockets do not read what tandem's send.
N=500 EACH=400000
start_a "$B/tools/hoard" hold --kernel --addr $IP_A --port 9100 --conns $N --bytes $EACH >"$TMP/hold" 2>&1
app=$PID
wait_for 10 grep -q ready "$TMP/hold"
start_b "$B/tools/hoard" fill --addr $IP_A --port 9100 --conns $N --bytes $EACH >"$TMP/fill" 2>&1
filler=$PID
check "$N connections of tandem's are open" opened
theirs=$(arenas | grep -vx "$own")
check "what they send and nobody reads is in the application's buffers" \
	wait_for 30 arena_at_least "$theirs" $((N * 50000))
echo "# $(arena_bytes "$theirs") bytes in the application's arena"
check "all is read by the peer, and right" read_all $N $EACH
check "… and the memory is given back" wait_for 30 arena_at_most "$theirs" $((N * 640 + REST))
echo "# $(arena_bytes "$theirs") bytes are left"
done_with "$filler" "$app"
check "detach" detach

# ---- tcp_mem ----

HIGH=3072
echo "tcp_mem = 1024 2048 $HIGH" >"$TMP/tcp_mem.conf"
attached --config "$TMP/tcp_mem.conf"
N=1000 EACH=100000
# A sixth above the limit for data that were asked for before, and for each that has none what one segment needs.
most=$(((HIGH * 7 / 6 + 2 * N) * 4096 + N * 1024))
hold $N $EACH
fill $N $EACH
check "$N connections to a server that does not read, with a tcp_mem of $((HIGH * 4)) KB, are open" opened
check "it comes under pressure" wait_for 30 status_is '.applications[0].mem_pressure'
# How many of the kernel's sockets may send more than four segments (of a window of 0 ss says nothing).
wide() {
	in_a ss -tinH state established "dport = :$PORT" | grep -o 'snd_wnd:[0-9]*' | cut -d: -f2 |
		awk '$1 > 4 * 1460 { n++ } END { print n + 0 }'
}
shrunk() { [ "$(wide)" -le $((N / 20)) ]; }
check "windows shrink" wait_for 60 shrunk
echo "# $(wide) windows of $N are wider than four segments; $(arena_bytes "$theirs") bytes in the application's arena, $most at most"
check "the memory stays bounded" arena_at_most "$theirs" $most
sleep 2 # in which the kernel sends again and again what was not taken
check "… and goes on to" arena_at_most "$theirs" $most
"$TANDEM" stat "$TD" | grep -E 'MemoryPressures|Prune|RcvPruned|RcvQDrop|OFODrop|ZeroWindow|ListenDrops' | sed 's/^/# /'
check "nothing is lost: all is read, and right" read_all $N $EACH
check "the pressure is over" wait_for 30 status_is '.applications[0].mem_pressure | not'
check "… and the memory given back" wait_for 30 arena_at_most "$theirs" $((N * 640 + REST))
done_with "$filler" "$app"

check "detach" detach

# The daemon's own: connections wait there with their data. At the limit SYNs are dropped.
cat "$TMP/daemon.conf" >>"$TMP/tcp_mem.conf"
attached --config "$TMP/tcp_mem.conf"
N=2500 EACH=30000
most=$(((HIGH * 7 / 6 + 2 * N) * 4096 + N * 1024))
hold $N $EACH
kill -STOP "$app"
fill $N $EACH
check "of $N connections to a server that is stopped some are turned away" \
	wait_for 30 status_is '.slow_path.mem_pressure and .slow_path.chunks >= '$HIGH
turned_away() { [ "$(mib ListenDrops)" -gt 0 ]; }
check "… which is counted" wait_for 10 turned_away
echo "# ListenDrops $(mib ListenDrops); $(arena_bytes "$own") bytes in the daemon's arena, $most at most"
check "the daemon's memory stays bounded" arena_at_most "$own" $most
kill -CONT "$app"
check "all come through in the end, and nothing is lost" read_all $N $EACH
check "the memory is given back" wait_for 30 arena_at_most "$own" $REST
done_with "$filler" "$app"
check "detach" detach

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Programs of many kinds start, serve, and are stopped or killed, over and over: frames, slots, ports, flows,
# records, descriptors and memory of the daemon are as before. CYCLES=1000 (make test-cycles) is the whole of it.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel's sockets                 tandem run -- PROGRAM

. "$(dirname "$0")/../lib.sh"
CYCLES=${CYCLES:-30}
SEED=${SEED:-$RANDOM}
RANDOM=$SEED # a sequence that can be repeated
echo "# SEED=$SEED CYCLES=$CYCLES"
setup
printf 'socket_mode = 0666\numem_frames = 131072\n' >"$TMP/tandem.conf"
attach --config "$TMP/tandem.conf" || die "attach"
daemon=$(daemons)
head -c 100000 /dev/urandom >"$TMP/file"

cat >"$TMP/serve.py" <<'END'
import os, signal, socket, subprocess, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
def echo(c):
    while d := c.recv(65536):
        c.sendall(d)
    c.close()
l = socket.create_server((host, port), backlog=64)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if kind == "prefork":
    for _ in range(3):
        if not os.fork():
            break
while True:
    c, _ = l.accept()
    if kind == "fork":
        if not os.fork():
            l.close()
            echo(c)
            os._exit(0)
    elif kind == "exec":
        subprocess.Popen(["cat"], stdin=c, stdout=c)
    else:
        echo(c)
    c.close()
END
cat >"$TMP/ask.py" <<'END'
import os, socket, sys
good = 0
for i in range(int(sys.argv[3])):
    try:
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
        s.settimeout(10)
        d = os.urandom(2000)
        s.sendall(d)
        s.shutdown(socket.SHUT_WR)
        got = b""
        while x := s.recv(65536):
            got += x
        good += got == d
    except OSError as e:
        print(e)
print("good", good)
END
kinds=(plain prefork fork exec)
start() { # KIND PORT
	# a group of its own, so that its children can be ended with it
	start_b setsid "$TANDEM" run --on "$TD" -- python3 "$TMP/serve.py" "$1" $IP_B "$2" >"$TMP/server" 2>&1
	wait_for 20 listens "$2"
}
group_alive() { pgrep -g "$1" >/dev/null; }
end() { # TERM|KILL PID
	kill -"$1" -- -"$2" 2>/dev/null
	wait_for 20 not group_alive "$2"
	wait "$2" 2>/dev/null
}
gone() { status_is '(.applications | length) == 0 and (.listeners | length) == 0'; }
# What must not grow: descriptors of the daemon, frames in use, records beside those in TIME_WAIT.
# That of a `tandem status` may not be closed yet when it has ended.
fds() { find "/proc/$daemon/fd" -mindepth 1 | wc -l; }
fds_not_more() { local now; now=$(fds); echo "$now, before $fds0"; [ "$now" -le "$fds0" ]; }
rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$daemon/status"; }
frames() { status | jq -c '.frames'; }
# cycle N: one program, some clients, its end; without a word if all is well
cycle() {
	local kind=${kinds[$(($1 % 4))]} port=$((9000 + $1 % 7)) how=TERM asked
	[ $((RANDOM % 2)) = 0 ] && how=KILL
	start "$kind" "$port" || { echo "$1: $kind does not listen"; cat "$TMP/server"; return 1; }
	if [ $((RANDOM % 3)) = 0 ]; then
		# in the middle of something
		in_a timeout 30 python3 "$TMP/ask.py" $IP_B "$port" 50 >"$TMP/asked" 2>&1 &
		asked=$!
		wait_for 5 asking
		end $how "$PID"
		kill "$asked" 2>/dev/null
		wait "$asked" 2>/dev/null
	else
		in_a timeout 60 python3 "$TMP/ask.py" $IP_B "$port" 4 >"$TMP/asked" 2>&1
		grep -qx 'good 4' "$TMP/asked" || { echo "$1: $kind"; cat "$TMP/asked" "$TMP/server"; return 1; }
		end $how "$PID"
	fi
	wait_for 20 gone || { echo "$1: $kind is not gone after $how"; status | jq -c '.applications, .listeners'; return 1; }
}
asking() { [ "$(flow_count)" -gt 0 ]; }
cycles() { # FROM TO
	local i
	for ((i = $1; i < $2; i++)); do
		cycle "$i" || return 1
		[ $((i % 50)) != 49 ] || echo "# after $i: $(fds) descriptors, $(rss_kb) kB, frames $(frames)" >&3
	done
}
# Each frame is in the pool, with the kernel for receiving, or in the daemon's cache, which has a bound.
slots_free() {
	status_is '.frames | .owned_by_daemon == .owned and .cached_by_daemon == .owned and .owned <= 704 and
		.injected == 0 and .tx == 0 and .bad == 0 and .pool + .fill + .owned == .total'
}

exec 3>&1 # check() keeps the other
check "one of each kind" cycles 0 4
check "their slots are free" wait_for 10 slots_free
fds0=$(fds) rss0=$(rss_kb)
fill0=$(status | jq .frames.fill)
echo "# before: $fds0 descriptors, $rss0 kB, frames $(frames)"
check "$CYCLES programs start, serve, and are stopped or killed" cycles 4 $((CYCLES + 4))
check "their slots are free" wait_for 10 slots_free
echo "# after: $(fds) descriptors, $(rss_kb) kB, frames $(frames)"
check "the kernel has as many frames to receive into as before" [ "$(status | jq .frames.fill)" -le "$fill0" ]
check "descriptors of the daemon are not more than before" wait_for 5 fds_not_more
# Tables are touched as they are needed, once; a leak of a page for each cycle would be seen.
check "memory of the daemon has hardly grown" [ "$(rss_kb)" -lt $((rss0 + 2000 + CYCLES * 2)) ]
check "no flow is left but those in TIME_WAIT" wait_for 30 flows_live 0
check "no program is left" not pgrep -f "$TMP/serve.py"
check "a program works as in the beginning" cycles 0 4
check "detach" detach

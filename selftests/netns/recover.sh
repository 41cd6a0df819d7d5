#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The daemon is killed (SIGKILL). What goes on, what is told, and that `tandem attach` starts anew at
# once, without a detach, while programs of the dead one still run: they go on with the new one.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          steady.py ─► :7, :9              tandem ─► echo_server :7   listens again
#                                           the kernel ─► echo.py :9   does not notice

. "$(dirname "$0")/../lib.sh"
setup

# Echoes on one connection until SIGTERM: how many, the longest wait for one, and how it ended.
cat >"$TMP/steady.py" <<'END'
import signal, socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
i = worst = 0
how = "stopped"
while not stop:
    t = time.monotonic()
    try:
        s.sendall(b"x" * 64)
        n = 64
        while n:
            got = len(s.recv(n))
            if not got:
                raise EOFError
            n -= got
    except (OSError, EOFError) as e:
        how = type(e).__name__
        break
    worst = max(worst, time.monotonic() - t)
    i += 1
    print(i, flush=True)
    time.sleep(0.01)
print(f"{how} echoes={i} worst_ms={worst * 1000:.0f}")
END
# A server on the kernel's sockets, of one connection.
cat >"$TMP/echo.py" <<'END'
import socket, sys
l = socket.create_server((sys.argv[1], 9))
print("listening", flush=True)
c, _ = l.accept()
while data := c.recv(64):
    c.sendall(data)
END
# Listens, takes a connection, reads it to its end, accepts once more, when that is to be had; says
# what it gets.
cat >"$TMP/told.py" <<'END'
import errno, select, socket, sys
def name(e):
    return errno.errorcode[e.errno]
l = socket.socket()
l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.bind((sys.argv[1], 8))
l.listen()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind((sys.argv[1], 8))
print("listening", flush=True)
c, _ = l.accept()
print("accepted", flush=True)
try:
    print("read", len(c.recv(64)))
except OSError as e:
    print("read", name(e))
p = select.poll()
p.register(l, select.POLLIN)
print("poll", p.poll(0))
l.setblocking(False)
try:
    l.accept()
    print("accept ok")
except OSError as e:
    print("accept", name(e))
l.setblocking(True)
print("waits", flush=True)
print("ready", p.poll(20000)[0][1] == select.POLLIN)
c, _ = l.accept()
c.sendall(c.recv(64))
try:
    socket.create_connection((sys.argv[2], 9999), 5)
    print("connect ok")
except OSError as e:
    print("connect", name(e))
print("told", flush=True)
data, peer = u.recvfrom(64)
u.sendto(data, peer)
END
kill_daemon() {
	local pid
	pid=$(status | jq .pid)
	kill -KILL "$pid"
	wait_for 10 not alive "$pid"
}
echoes() { wc -l <"$1"; }
goes_on() { # FILE: more echoes come
	local n
	n=$(echoes "$1")
	wait_for 10 more_than "$1" $((n + 5))
}
more_than() { [ "$(echoes "$1")" -gt "$2" ]; }
value() { sed -n "s/.*\b$1=\([0-9]*\).*/\1/p" "$2"; }
asks() { in_a timeout 10 bash -c "exec 3<>/dev/tcp/$IP_B/$1; echo hello >&3; read -r x <&3; [ \"\$x\" = hello ]"; }
udp_answers() {
	in_a python3 -c "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.sendto(b'x', ('$IP_B', 8))
s.recv(9)"
}

attach || die "attach"
serve_on "$TMP/echo" "$B/tools/echo_server" --addr $IP_B --port 7 || exit 1
server=$PID
serve_on "$TMP/kernel" python3 "$TMP/echo.py" $IP_B || exit 1
serve_on "$TMP/told" "$TANDEM" run -- python3 "$TMP/told.py" $IP_B $IP_A || exit 1
told=$PID
start_a python3 "$TMP/steady.py" $IP_B 9 >"$TMP/ours" 2>&1
kernels=$PID
start_a python3 "$TMP/steady.py" $IP_B 7 >"$TMP/steady" 2>&1
steady=$PID
start_a bash -c "exec 3<>/dev/tcp/$IP_B/8; read -r -u 3" >"$TMP/peer" 2>&1
check "connections are open" wait_for 10 more_than "$TMP/steady" 5
check "to all" wait_for 10 grep -q accepted "$TMP/told"

kill_daemon
check "without the daemon the connection goes on" goes_on "$TMP/steady"
check "and the kernel's" goes_on "$TMP/ours"
check "status says that it is dead" not status

start=$(now_ms)
check "attach starts anew, without a detach" attach
echo "# after $(($(now_ms) - start)) ms"
check "it says what it found" grep -q '^  removed what a daemon that died' "$TMP/attach"
check "the connection of before has ended" wait_for 10 not alive "$steady"
check "by a reset" grep -q '^ConnectionResetError' "$TMP/steady"
check "the program is told" wait_for 10 grep -q '^waits' "$TMP/told"
check "of its connection: ECONNRESET" grep -q '^read ECONNRESET' "$TMP/told"
check "poll(): nobody is there" grep -q '^poll \[\]' "$TMP/told"
check "accept(): EAGAIN" grep -q '^accept EAGAIN' "$TMP/told"
check "both programs are the new daemon's" wait_for 10 status_is '.applications | length == 2'
check "they listen again" wait_for 10 status_is '[.listeners[].port] | sort == [7, 8]'
check "the server that was there before answers" asks 7
check "over tandem" [ "$(xdp_direct)" -gt 0 ]
check "and the other one" asks 8
check "which has seen it come" wait_for 10 grep -q '^told' "$TMP/told"
check "by poll()" grep -q '^ready True' "$TMP/told"
check "connect() works: the kernel over there refuses" grep -q '^connect ECONNREFUSED' "$TMP/told"
check "its UDP port is tandem's again" status_is '[.udp[].port] == [8]'
check "and answers" wait_for 10 udp_answers
check "and it ends" wait_for 10 not alive "$told"

# Again, with a program that cannot let go.
kill_daemon
kill -STOP "$server"
check "a stopped program keeps the queue: attach fails" not attach
check "and says so" grep -q 'does not let go' "$TMP/attach"
check "the kernel's connection goes on" goes_on "$TMP/ours"
kill -CONT "$server"
check "and again when it runs" attach
check "and listens" wait_for 10 status_is '[.listeners[].port] == [7]'
check "and answers" asks 7

# Clearing up without starting anew at once.
kill_daemon
check "detach clears up what it left" detach
check "attach after that" attach
check "the server of the first daemon listens" wait_for 10 status_is '[.listeners[].port] == [7]'
check "and answers" asks 7

# A daemon that ends in good order.
check "detach while it runs" detach
used=$(cpu_us "$server")
check "and attach" attach
check "the server listens" wait_for 10 status_is '[.listeners[].port] == [7]'
check "and answers" asks 7
check "it did not spin meanwhile" [ $(($(cpu_us "$server") - used)) -lt 1000000 ]
stop "$server"
check "a new server on the same port" serve_on "$TMP/echo2" "$B/tools/echo_server" --addr $IP_B --port 7
server=$PID
check "answers" asks 7

# A program that is run on tandem keeps its port meanwhile, by the kernel; one of the library's does not.
serve_on "$TMP/kept" "$TANDEM" run -- python3 -c "import socket
l = socket.create_server(('$IP_B', 5))
print('listening', flush=True)
while True:
    c, _ = l.accept()
    c.sendall(b'hello')
    c.close()" || exit 1
kept=$PID
serve_on "$TMP/robbed" "$B/tools/echo_server" --addr $IP_B --port 6 || exit 1
robbed=$PID
kill_daemon
check "detach, with a program that waits in accept()" detach
thief() { # PORT
	start_b python3 -c "import signal, socket
l = socket.create_server(('$IP_B', $1))
print('taken', flush=True)
signal.pause()" >"$TMP/thief" 2>&1
	thief=$PID
}
thief 5
check "a program of the kernel's cannot take its port" wait_for 10 grep -q 'already in use' "$TMP/thief"
wait "$thief"
thief 6
check "but that of the library's" wait_for 10 grep -q taken "$TMP/thief"
check "attach" attach
check "which says so" wait_for 10 grep -qi 'address already in use' "$TMP/robbed"
stop "$robbed"
check "others listen" wait_for 10 status_is '[.listeners[].port] | sort == [5, 7]'
check "and answer" sh -c "[ \"\$(nsenter --net=/run/netns/$NS_A timeout 10 curl -s telnet://$IP_B:5 </dev/null)\" = hello ]"
stop "$kept"
stop "$thief"
stop "$server"
kill -TERM "$kernels"
wait "$kernels"
tail -n 1 "$TMP/ours" | sed 's/^/# the kernel: /'
check "the kernel's connection went on throughout" grep -q ^stopped "$TMP/ours"
check "and never paused for long" [ "$(value worst_ms "$TMP/ours")" -lt 5000 ]
check "detach" detach

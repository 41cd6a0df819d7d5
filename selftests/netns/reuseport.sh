#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Several processes with a socket each for one port (SO_REUSEPORT): each shakes hands itself, the XDP
# program chooses. What becomes of connections when one of them joins, is killed, or leaves, and
# under a SYN flood.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          clients of the kernel                tandem ─► servers

. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../who.sh"
setup

cat >"$TMP/server.py" <<'END'
# server.py NAME PORT SOCKETS: echoes, and says who it is first.
import socket, sys, threading
name, port, n = sys.argv[1].encode(), int(sys.argv[2]), int(sys.argv[3])
def echo(c):
    try:
        c.sendall(name)
        while b := c.recv(1000):
            c.sendall(b)
    except OSError:
        pass
    c.close()
def serve(s):
    while True:
        c, _ = s.accept()
        threading.Thread(target=echo, args=(c,), daemon=True).start()
ts = []
for _ in range(n):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("", port))
    s.listen(128)
    ts.append(threading.Thread(target=serve, args=(s,)))
for t in ts:
    t.start()
print("listens", flush=True)
END
cat >"$TMP/hold.py" <<'END'
# hold.py PORT N: open at the same time; at each line on the input, who still answers.
import collections, json, socket, sys
def one():
    s = socket.create_connection(("10.77.0.2", int(sys.argv[1])), 20)
    s.settimeout(20)
    return s.recv(1).decode(), s
conns = [one() for _ in range(int(sys.argv[2]))]
while True:
    count = collections.Counter()
    for name, s in conns:
        try:
            s.sendall(b"hello")
            ok = s.recv(5) == b"hello"
        except OSError:
            ok = False
        count[name + ("+" if ok else "-")] += 1
    print(json.dumps(count), flush=True)
    if not sys.stdin.readline():
        break
END
server() { # NAME PORT SOCKETS
	start_b "$TANDEM" run --on "$TD" -- python3 "$TMP/server.py" "$@" >"$TMP/server.$1" 2>&1
	eval "pid_$1=$PID"
	wait_for 20 grep -q listens "$TMP/server.$1"
}
hold() { # PORT N
	rm -f "$TMP/in2"
	mkfifo "$TMP/in2"
	exec 8<>"$TMP/in2"
	start_a timeout 120 python3 "$TMP/hold.py" "$1" "$2" >"$TMP/hold" 2>&1 <&8
	HOLD=$PID
	wait_for 20 hold_said 1
}
hold_said() { [ "$(wc -l <"$TMP/hold")" -ge "$1" ]; }

attach || die "attach"

# ---- two of them ----
check "one server" server A 7001 1
check "a first connection, after which the way back is known" client 7001 1
check "another one on the same port" server B 7001 1
slow=$(xdp port_slow)
check "400 connections" client 7001 400
check "each gets its half of them" served '.failed == null and .A > 120 and .B > 120'
check "next to none of their packets went to the daemon" [ $(($(xdp port_slow) - slow)) -le 10 ]
check "which handed none over" status_is '[.listeners[].handed_over] | add <= 5'

# ---- one that joins ----
check "20 connections that stay" hold 7001 20
check "load" load 7001 32
check "that goes on" meanwhile
check "a third server joins" server C 7001 1
check "under load" meanwhile 1500
load_ends
check "no connection fails" served '.failed == null and .C > 0 and .A > 0 and .B > 0'
echo >&8
check "those that stay answer" wait_for 20 hold_said 2
check "all of them" sh -c "tail -1 '$TMP/hold' | jq -e '.\"A+\" + .\"B+\" == 20'"
check "300 connections" client 7001 300
check "each gets a third of them" served '.failed == null and .A > 50 and .B > 50 and .C > 50'

# ---- one that is killed ----
check "load" load 7001 32
check "that goes on" meanwhile
kill -9 "$pid_B"
wait "$pid_B" 2>/dev/null
check "a server is killed under load" meanwhile 1500
load_ends
check "only what it had in hand fails" served '(.failed // 0) <= 32 and .A > 0 and .C > 0'
echo >&8
check "of those that stay" wait_for 20 hold_said 3
check "its own have ended, the others go on" sh -c "
	tail -1 '$TMP/hold' | jq -e '.\"A+\" > 0 and .\"B+\" == null and .\"B-\" > 0 and .\"A-\" == null'"
check "200 connections" client 7001 200
check "are for the other two" served '.failed == null and .B == null and .A > 50 and .C > 50'
check "without the daemon" status_is '[.listeners[].handed_over] | add <= 25'
stop "$HOLD" >/dev/null 2>&1
check "another one ends" stop "$pid_C"
slow=$(xdp port_slow)
check "100 connections" client 7001 100
check "are for the one that is left" served '. == {A: 100}'
check "alone" [ $(($(xdp port_slow) - slow)) -le 10 ]

# ---- one that has two sockets, which one stack cannot have ----
check "a server with two sockets" server D 7001 2
check "300 connections" client 7001 300
check "it gets two thirds of them, by way of the daemon" \
	served '.failed == null and .A > 50 and .D > 140'
check "which sees them" [ $(($(xdp port_slow) - slow)) -gt 200 ]
check "it ends" stop "$pid_D"

# ---- a SYN flood ----
check "a second server" server B 7001 1
ip -n "$NS_B" route add 198.18.0.0/15 via $IP_A # where the SYNs say they are from
start_a "$B/tools/flood" syn --if eth0 --mac "$(ip -n "$NS_B" -j link show eth0 | jq -r '.[0].address')" \
	--to $IP_B:7001 --rate 50000 --count 100000000 --seconds 60 >"$TMP/flood" 2>&1
flood=$PID
cookies_are_sent() { [ "$(xdp syn_cookie)" -gt 1000 ]; }
check "under a SYN flood the XDP program answers by cookies" wait_for 20 cookies_are_sent
check "100 connections" client 7001 100
check "go to both all the same" served '.failed == null and .A > 20 and .B > 20'
check "the flood outlasts them" alive "$flood"
kill -TERM "$flood"
wait "$flood"
check "the second one ends" stop "$pid_B"
check "the last one ends" stop "$pid_A"
check "no live flow is left" wait_for 20 flows_live 0
check "detach" detach
